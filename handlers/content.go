package handlers

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/store"
)

// With UPLOAD_CONTENT_URL browsers get contents from a host of their own, where
// no session is: whatever a browser makes of the bytes, it is not done on the
// host of the pages. A ticket in the address says which content, and for which
// session: it is good as long as that session could get the content itself.
// Nothing but tickets works there.

// ticketLife is how long a ticket shows the content: long enough to begin a
// download. Later, as for a video that somebody goes on with, it leads back to
// where a fresh one is given to those who still have the session.
const ticketLife = 10 * time.Minute

// onContentHost reports whether the request came to the host of contents.
func (s *Server) onContentHost(c *fiber.Ctx) bool {
	return s.contentHost != "" && strings.EqualFold(string(c.Request().Host()), s.contentHost)
}

// splitHosts keeps the two hosts apart: each has what the other has not.
func (s *Server) splitHosts(c *fiber.Ctx) error {
	if s.onContentHost(c) != strings.HasPrefix(c.Path(), contentPath) {
		return store.Errorf(store.CodeNotFound, "There is nothing at this address.")
	}
	return c.Next()
}

const contentPath = "/content/"

// redirectsContent reports whether a browser that is signed in should get a
// content from the other host. Programs, which have a credential of their own,
// get it here.
func (s *Server) redirectsContent(c *fiber.Ctx) bool {
	return s.contentHost != "" && c.Get(fiber.HeaderAuthorization) == "" && !s.onContentHost(c)
}

// toContent sends a browser to the other host.
func (s *Server) toContent(c *fiber.Ctx, f store.File) error {
	t := ticket{s.cfg.Now().Add(ticketLife), auth.SessionSum(s.cookie(c, sessionCookie)), f.ID, f.Owner}
	to := s.cfg.ContentURL + contentPath + s.writeTicket(t) + "/" + url.PathEscape(f.Path.Base())
	if c.QueryBool("inline") {
		to += "?inline=1"
	}
	c.Set(fiber.HeaderCacheControl, "private, no-store")
	return c.Redirect(to, fiber.StatusFound)
}

// ticket says what may be read, and for whom.
type ticket struct {
	until   time.Time
	session auth.Sum
	file    store.FileID
	owner   store.OwnerID
}

// writeTicket is a MAC and what it is of, as text for an address.
func (s *Server) writeTicket(t ticket) string {
	payload := binary.BigEndian.AppendUint64(nil, uint64(t.until.Unix()))
	payload = append(append(append(payload, t.session[:]...), t.file[:]...), t.owner...)
	return base64.RawURLEncoding.EncodeToString(append(s.mac("ticket", payload), payload...))
}

var errTicket = store.Errorf(store.CodeGone, "This link has expired; open the file again from its page.")

func (s *Server) readTicket(text string) (t ticket, err error) {
	const head = 8 + len(t.session) + len(t.file)
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) <= macSize+head || !hmac.Equal(b[:macSize], s.mac("ticket", b[macSize:])) {
		return t, errTicket
	}
	b = b[macSize:]
	t.until = time.Unix(int64(binary.BigEndian.Uint64(b)), 0)
	copy(t.session[:], b[8:])
	copy(t.file[:], b[8+len(t.session):])
	t.owner = store.OwnerID(b[head:])
	return t, nil
}

// ticketContent handles GET /content/:ticket/:name.
func (s *Server) ticketContent(c *fiber.Ctx) error {
	ctx := c.UserContext()
	t, err := s.readTicket(c.Params("ticket"))
	if err != nil {
		return err
	}
	p, err := s.auth.SessionBySum(ctx, t.session)
	switch code := store.CodeOf(err); {
	case code == store.CodeUnauthenticated, code == store.CodeForbidden:
		return errTicket.WithCause(err)
	case err != nil:
		return err
	case p.Owner.ID != t.owner && !p.Can(auth.Admin):
		return errTicket
	}
	f, err := s.store.GetFileByID(ctx, t.owner, t.file)
	if err != nil {
		return err
	}
	if s.cfg.Now().Before(t.until) {
		return s.serveFile(c, f)
	}
	if s.cfg.PublicURL == "" {
		return errTicket // where the pages are is not known here
	}
	owner, err := s.store.OwnerByID(ctx, t.owner)
	if err != nil {
		return err
	}
	back := s.fileURL(owner.Slug, f.Path)
	if c.QueryBool("inline") {
		back += "?inline=1"
	}
	return c.Redirect(back, fiber.StatusFound)
}
