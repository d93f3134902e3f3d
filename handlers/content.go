package handlers

import (
	"crypto/hmac"
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
)

// With UPLOAD_CONTENT_URL browsers get contents from a host of their own, where
// no session is: whatever a browser makes of the bytes, it is not done on the
// host of the pages. A ticket in the address says which content; nothing but
// tickets works there.

// ticketLife is how long a ticket works: long enough to begin a download, and
// to go on with a video.
const ticketLife = 6 * time.Hour

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
	to := s.cfg.ContentURL + contentPath + s.ticket(f.Owner, f.ID, time.Now().Add(ticketLife)) + "/" +
		url.PathEscape(f.Path.Base())
	if c.QueryBool("inline") {
		to += "?inline=1"
	}
	c.Set(fiber.HeaderCacheControl, "private, no-store")
	return c.Redirect(to, fiber.StatusFound)
}

// ticket is a MAC, a time and what may be read, as text for an address.
func (s *Server) ticket(o store.OwnerID, id store.FileID, until time.Time) string {
	payload := binary.BigEndian.AppendUint64(nil, uint64(until.Unix()))
	payload = append(append(payload, id[:]...), o...)
	return base64.RawURLEncoding.EncodeToString(append(s.mac("ticket", payload), payload...))
}

var errTicket = store.Errorf(store.CodeGone, "This link has expired; open the file again from its page.")

func (s *Server) readTicket(text string) (o store.OwnerID, id store.FileID, err error) {
	const head = macSize + 8 + len(id)
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) <= head || !hmac.Equal(b[:macSize], s.mac("ticket", b[macSize:])) ||
		time.Now().Unix() > int64(binary.BigEndian.Uint64(b[macSize:])) {
		return "", id, errTicket
	}
	copy(id[:], b[macSize+8:])
	return store.OwnerID(b[head:]), id, nil
}

// ticketContent handles GET /content/:ticket/:name.
func (s *Server) ticketContent(c *fiber.Ctx) error {
	o, id, err := s.readTicket(c.Params("ticket"))
	if err != nil {
		return err
	}
	f, err := s.store.GetFileByID(c.UserContext(), o, id)
	if err != nil {
		return err
	}
	return s.serveFile(c, f)
}
