package handlers

import (
	"net/url"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
	"upload-service/views"
	"upload-service/views/text"
)

// signInPage handles GET /login. With ?code= it shows the button that uses
// the one-time link up: a GET changes nothing, so a link preview cannot.
func (s *Server) signInPage(c *fiber.Ctx) error {
	code := c.Query("code")
	if code != "" {
		if err := s.auth.CheckSignInCode(c.UserContext(), code); err != nil {
			return err
		}
	}
	return render(c, views.SignIn{Shell: s.shell(c, text.Get("signin.title"), ""), Local: s.cfg.Local, Code: code}.Page)
}

// signIn handles POST /login.
func (s *Server) signIn(c *fiber.Ctx) error {
	if err := s.checkOrigin(c); err != nil {
		return err
	}
	form, err := readFormValues(c)
	if err != nil {
		return err
	}
	id, err := s.auth.RedeemSignInCode(c.UserContext(), form.Get("code"), c.Cookies(sessionCookie))
	if err != nil {
		return err
	}
	s.setSession(c, id, 0)
	return c.Redirect("/", fiber.StatusSeeOther)
}

// setSession sets or, with a negative age, removes the cookie.
func (s *Server) setSession(c *fiber.Ctx, id string, age time.Duration) {
	cookie := &fiber.Cookie{
		Name: sessionCookie, Value: id, Path: "/", HTTPOnly: true, SameSite: fiber.CookieSameSiteLaxMode,
		Secure: strings.HasPrefix(s.cfg.PublicURL, "https://") || c.Protocol() == "https",
		MaxAge: int(sessionAge / time.Second),
	}
	if age < 0 {
		cookie.Expires = time.Unix(1, 0)
		cookie.MaxAge = -1
	}
	c.Cookie(cookie)
}

// sessionAge is how long a browser keeps the cookie; the server decides how
// long the session is good.
const sessionAge = 365 * 24 * time.Hour

// signOutPage handles GET /logout: it acts for our own links and shows a
// button to anyone who came from elsewhere.
func (s *Server) signOutPage(c *fiber.Ctx) error {
	switch c.Get("Sec-Fetch-Site") {
	case "same-origin", "none":
		return s.endSession(c)
	case "":
		if sameOrigin(c) {
			return s.endSession(c)
		}
	}
	return render(c, views.SignOut{Shell: s.shell(c, text.Get("signin.out.title"), "")}.Page)
}

// sameOrigin reports whether an old browser says that it came from our pages.
func sameOrigin(c *fiber.Ctx) bool {
	u, err := url.Parse(c.Get(fiber.HeaderReferer))
	return err == nil && u.Host != "" && u.Host == string(c.Request().Host())
}

// signOut handles POST /logout.
func (s *Server) signOut(c *fiber.Ctx) error {
	if err := s.checkOrigin(c); err != nil {
		return err
	}
	return s.endSession(c)
}

func (s *Server) endSession(c *fiber.Ctx) error {
	if id := c.Cookies(sessionCookie); id != "" {
		if err := s.auth.EndSession(c.UserContext(), id); err != nil && store.CodeOf(err) != store.CodeUnauthenticated {
			return err
		}
	}
	s.setSession(c, "", -1)
	return c.Redirect("/", fiber.StatusSeeOther)
}
