package handlers

import (
	"errors"
	"net/url"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/store"
	"upload-service/views"
	"upload-service/views/text"
)

const (
	// signInCookie holds a sign-in with GitHub that has begun.
	signInCookie = "upload_signin"
	signInPath   = "/login"
	callbackPath = "/login/authorized"
	// maxNext bounds an address to go to, in bytes: it has to fit into a cookie.
	maxNext = 1024
)

// nextKey is where a request keeps that it is about signing in: the address to
// go to then.
type nextKey struct{}

// signInView is the page with all ways to sign in.
func (s *Server) signInView(c *fiber.Ctx, next string) views.SignIn {
	return views.SignIn{
		Shell: s.shell(c, text.Get("signin.title"), "signin"), Local: s.cfg.Local, Next: next, TTL: s.cfg.TemporaryTTL,
	}
}

// signInProblem is that page after an error that another way to sign in could
// mend: one of the sign-in itself, or of who is nobody here.
func (s *Server) signInProblem(c *fiber.Ctx, e *store.Error) (v views.SignIn, ok bool) {
	next, signingIn := c.Locals(nextKey{}).(string)
	denied, isDenied := errors.AsType[auth.NotAllowed](e)
	if !signingIn && !isDenied && e.Code != store.CodeUnauthenticated {
		return v, false
	}
	if !signingIn && safeMethod(c) {
		next = ownPath(c.OriginalURL())
	} else if !signingIn {
		next = s.cameFrom(c)
	}
	v = s.signInView(c, next)
	v.Problem = e.Message
	switch {
	case e == errSignIn:
		v.Problem = text.Get("signin.required")
	case e.Code == store.CodeUnavailable, e.Code == store.CodeInternal:
		v.RequestID = requestID(c)
	}
	if !denied.Stale {
		v.Denied = denied.Login
	}
	return v, true
}

// signInPage handles GET /login: it sends the browser to GitHub. In local mode
// it is the page for the one-time code, or with ?code= the button that uses it
// up: a GET changes nothing, so a link preview cannot.
func (s *Server) signInPage(c *fiber.Ctx) error {
	next := ownPath(c.Query("next"))
	c.Locals(nextKey{}, next)
	if !s.cfg.Local {
		address, pending := s.auth.BeginSignIn(s.origin(c)+callbackPath, next, c.Query("account") == "other")
		s.setCookie(c, signInCookie, pending, auth.SignInLife)
		return c.Redirect(address, fiber.StatusSeeOther)
	}
	v := s.signInView(c, next)
	if v.Code = c.Query("code"); v.Code != "" {
		if err := s.auth.CheckSignInCode(c.UserContext(), v.Code); err != nil {
			return err
		}
	}
	return render(c, v.Page)
}

// signIn handles POST /login: it uses a one-time code up.
func (s *Server) signIn(c *fiber.Ctx) error {
	if err := s.checkOrigin(c); err != nil {
		return err
	}
	form, err := readFormValues(c)
	if err != nil {
		return err
	}
	next := ownPath(form.Get("next"))
	c.Locals(nextKey{}, next)
	code := form.Get("code")
	if _, pasted, ok := strings.Cut(code, "code="); ok {
		code = pasted // the whole link
	}
	id, err := s.auth.RedeemSignInCode(c.UserContext(), strings.TrimSpace(code), s.cookie(c, sessionCookie), browserOf(c))
	if err != nil {
		return err
	}
	s.setCookie(c, sessionCookie, id, sessionAge)
	return c.Redirect(next, fiber.StatusSeeOther)
}

// authorized handles GET /login/authorized, where a browser comes back from
// GitHub. The cookie of the sign-in stays when it fails: GitHub may only have
// been away, and then to load the page again is enough.
func (s *Server) authorized(c *fiber.Ctx) error {
	if s.cfg.Local {
		return store.Errorf(store.CodeNotFound, "There is nothing at this address.")
	}
	id, next, err := s.auth.FinishSignIn(c.UserContext(), auth.Callback{
		Address: s.origin(c) + callbackPath, State: c.Query("state"), Code: c.Query("code"), Error: c.Query("error"),
		Pending: s.cookie(c, signInCookie), Old: s.cookie(c, sessionCookie), From: browserOf(c),
	})
	c.Locals(nextKey{}, next)
	if err != nil {
		return err
	}
	s.setCookie(c, signInCookie, "", 0)
	s.setCookie(c, sessionCookie, id, sessionAge)
	return c.Redirect(next, fiber.StatusSeeOther)
}

// ownPath is an address of ours, or the first page instead of any other: a
// sign-in must neither end at another site nor begin anew.
func ownPath(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.Scheme != "" || u.Host != "" || len(next) > maxNext || strings.Contains(next, `\`) ||
		!strings.HasPrefix(next, "/") || strings.HasPrefix(u.Path, "//") ||
		strings.HasPrefix(u.Path, signInPath) || strings.HasPrefix(u.Path, "/logout") {
		return "/"
	}
	return u.RequestURI()
}

// signedIn handles GET /signed-in, where a sign-in in a tab of its own ends.
func (s *Server) signedIn(c *fiber.Ctx) error {
	return render(c, views.SignedIn{Shell: s.shell(c, text.Get("signin.title"), "")}.Page)
}

// overTLS reports whether the browser got here over https, be it to a proxy.
func (s *Server) overTLS(c *fiber.Ctx) bool {
	return strings.HasPrefix(s.cfg.PublicURL, "https://") || c.Protocol() == "https"
}

// cookieName is how a browser calls a cookie of ours. Over https that begins
// with __Host-, which it takes from this host alone: neighbours below the same
// domain could otherwise plant a session or a sign-in of their own.
func (s *Server) cookieName(c *fiber.Ctx, name string) string {
	if s.overTLS(c) {
		return "__Host-" + name
	}
	return name
}

// cookie is what setCookie set, or "".
func (s *Server) cookie(c *fiber.Ctx, name string) string { return c.Cookies(s.cookieName(c, name)) }

// setCookie sets a cookie that no script can read, or removes it if its value
// is empty.
func (s *Server) setCookie(c *fiber.Ctx, name, value string, age time.Duration) {
	cookie := &fiber.Cookie{
		Name: s.cookieName(c, name), Value: value, Path: "/", HTTPOnly: true, SameSite: fiber.CookieSameSiteLaxMode,
		Secure: s.overTLS(c), MaxAge: int(age / time.Second),
	}
	if value == "" {
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
	if id := s.cookie(c, sessionCookie); id != "" {
		if err := s.auth.EndSession(c.UserContext(), id); err != nil && store.CodeOf(err) != store.CodeUnauthenticated {
			return err
		}
	}
	s.setCookie(c, sessionCookie, "", 0)
	return c.Redirect("/", fiber.StatusSeeOther)
}

// endSessions handles POST /sessions/end: the caller is signed out everywhere.
func (s *Server) endSessions(c *fiber.Ctx) error {
	if err := s.auth.EndAllSessions(c.UserContext(), principal(c).Owner.ID); err != nil {
		return err
	}
	s.setCookie(c, sessionCookie, "", 0)
	if err := s.note(c, views.Note{Text: text.Get("signin.out.everywhere")}); err != nil {
		return err
	}
	return c.Redirect("/", fiber.StatusSeeOther)
}
