package handlers

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/store"
	"upload-service/views"
	"upload-service/views/text"
)

// minCompressed is from which size on a page is compressed, in bytes: what fits
// into one packet gains nothing.
const minCompressed = 1400

// maxTight is up to which size a page is compressed as far as it goes, in
// bytes: of a long list the time counts for more.
const maxTight = 64 << 10

// render answers with a page or a fragment. Compression tells nobody a secret:
// other sites cannot make a signed-in browser ask for what holds one.
func render(c *fiber.Ctx, to func(io.Writer) error) error {
	c.Set(fiber.HeaderContentType, "text/html; charset=utf-8")
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Vary("HX-Request", "HX-Boosted", "HX-History-Restore-Request", fiber.HeaderAcceptEncoding)
	var page bytes.Buffer
	if err := to(&page); err != nil {
		return err
	}
	if page.Len() < minCompressed || !takes(c, "gzip") {
		return c.Send(page.Bytes())
	}
	c.Set(fiber.HeaderContentEncoding, "gzip")
	level := gzip.BestSpeed
	if page.Len() <= maxTight {
		level = gzip.BestCompression
	}
	w, err := gzip.NewWriterLevel(c.Response().BodyWriter(), level)
	if err != nil {
		return err
	}
	_, err = w.Write(page.Bytes())
	return errors.Join(err, w.Close())
}

// takes reports whether the client asks for an encoding.
func takes(c *fiber.Ctx, encoding string) bool {
	return c.Get(fiber.HeaderAcceptEncoding) != "" && c.AcceptsEncodings(encoding) == encoding
}

// isFragment reports whether a script asks for a part of a page. A boosted
// link or form, and a return in the history, want the whole page.
func isFragment(c *fiber.Ctx) bool {
	return c.Get("HX-Request") == "true" && c.Get("HX-Boosted") == "" && c.Get("HX-History-Restore-Request") == ""
}

// shell is what surrounds the content of a page, with the policy for it.
func (s *Server) shell(c *fiber.Ctx, title, nav string) views.Shell {
	nonce := rand.Text()
	c.Set(fiber.HeaderContentSecurityPolicy, s.pagePolicy(nonce))
	shell := views.Shell{
		Title: title, Nav: nav, Theme: theme(c.Cookies(themeCookie)), Note: s.takeNote(c), Nonce: nonce,
		Assets: s.cfg.Assets, StaticURL: s.cfg.StaticURL,
	}
	if p := principal(c); p.Owner.ID != "" {
		shell.Viewer = &views.Viewer{
			ID: string(p.Owner.ID), Slug: p.Owner.Slug, Login: p.Owner.Login, Admin: p.Can(auth.Admin),
		}
	}
	return shell
}

const (
	themeCookie = "theme"
	noteCookie  = "upload_note"
	noteLife    = time.Minute
	maxNote     = 3900 // bytes; a browser keeps a cookie of 4,096
)

// theme is a choice that there is, or "" for the system's.
func theme(choice string) string {
	if choice == "light" || choice == "dark" {
		return choice
	}
	return ""
}

// setTheme handles POST /theme.
func (s *Server) setTheme(c *fiber.Ctx) error {
	form, err := readFormValues(c)
	if err != nil {
		return err
	}
	c.Cookie(&fiber.Cookie{
		Name: themeCookie, Value: theme(form.Get("theme")), Path: "/", MaxAge: int(sessionAge / time.Second),
		SameSite: fiber.CookieSameSiteLaxMode, Secure: s.overTLS(c), // page.js sets it, too
	})
	return c.Redirect(s.cameFrom(c), fiber.StatusSeeOther)
}

// cameFrom is the page of ours that a form stands on, or the first one.
func (s *Server) cameFrom(c *fiber.Ctx) string {
	u, err := url.Parse(c.Get(fiber.HeaderReferer))
	if err != nil || u.Scheme+"://"+u.Host != s.origin(c) || strings.HasPrefix(u.Path, "//") {
		return "/"
	}
	return u.RequestURI()
}

// note keeps what an action came to for the page that follows it. The cookie
// is signed, so that nobody else can put words into our mouth. One that is too
// long for a cookie loses its link before its undo.
func (s *Server) note(c *fiber.Ctx, n views.Note) error {
	value, err := s.packNote(n)
	if err == nil && len(value) > maxNote {
		n.Link = ""
		value, err = s.packNote(n)
	}
	if err != nil || len(value) > maxNote {
		return err // it is only words
	}
	s.setCookie(c, noteCookie, value, noteLife)
	return nil
}

// packNote writes a note as a cookie. It is compressed: the names in it come
// several times, and escaped.
func (s *Server) packNote(n views.Note) (string, error) {
	plain, err := json.Marshal(n)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestCompression)
	if err != nil {
		return "", err
	}
	_, err = w.Write(plain)
	if err := errors.Join(err, w.Close()); err != nil {
		return "", err
	}
	return base64.RawURLEncoding.EncodeToString(append(s.mac("note", b.Bytes()), b.Bytes()...)), nil
}

const macSize = sha256.Size

// mac signs what goes out and comes back, for one purpose each.
func (s *Server) mac(purpose string, b []byte) []byte {
	mac := hmac.New(sha256.New, s.cfg.SigningKey)
	mac.Write([]byte(purpose + "\x00"))
	mac.Write(b)
	return mac.Sum(nil)
}

// takeNote returns the note that is due, once.
func (s *Server) takeNote(c *fiber.Ctx) *views.Note {
	value := s.cookie(c, noteCookie)
	if value == "" {
		return nil
	}
	s.setCookie(c, noteCookie, "", 0)
	b, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(b) < macSize || !hmac.Equal(b[:macSize], s.mac("note", b[macSize:])) {
		return nil
	}
	var n views.Note
	if json.NewDecoder(flate.NewReader(bytes.NewReader(b[macSize:]))).Decode(&n) != nil {
		return nil
	}
	return &n
}

// staticFile handles GET /static/:name. Names carry a hash of the content, so
// they can be kept for ever. Any origin may load them: with UPLOAD_STATIC_URL
// they come from another one.
func (s *Server) staticFile(c *fiber.Ctx) error {
	asset, ok := s.cfg.Assets.Get(c.Params("name"))
	if !ok {
		return store.Errorf(store.CodeNotFound, "There is nothing at this address.")
	}
	content := asset.Plain
	if takes(c, "br") {
		content = asset.Brotli
		c.Set(fiber.HeaderContentEncoding, "br")
	} else if takes(c, "gzip") {
		content = asset.Gzip
		c.Set(fiber.HeaderContentEncoding, "gzip")
	}
	c.Vary(fiber.HeaderAcceptEncoding)
	c.Set(fiber.HeaderContentType, asset.Type)
	c.Set(fiber.HeaderCacheControl, "public, max-age=31536000, immutable")
	c.Set(fiber.HeaderAccessControlAllowOrigin, "*")
	return c.Send(content)
}

// docsPage handles GET /docs: how a developer begins.
func (s *Server) docsPage(c *fiber.Ctx) error {
	return render(c, views.Docs{Shell: s.shell(c, text.Get("docs.title"), "api"), Address: s.origin(c)}.Page)
}

// errorsPage handles GET /docs/errors: what each code means.
func (s *Server) errorsPage(c *fiber.Ctx) error {
	v := views.Errors{Shell: s.shell(c, text.Get("common.errors.title"), "api")}
	for code, p := range problems {
		v.Codes = append(v.Codes, views.Code{Code: string(code), Status: p.status, Title: p.title, Help: text.Get("error.help." + string(code))})
	}
	slices.SortFunc(v.Codes, func(a, b views.Code) int {
		if a.Status != b.Status {
			return a.Status - b.Status
		}
		return strings.Compare(a.Code, b.Code)
	})
	return render(c, v.Page)
}
