package handlers

import (
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/handlers/transport"
	"upload-service/store"
)

// tus 1.0.0 (https://tus.io/protocols/resumable-upload): POST makes an upload,
// PATCH appends, HEAD says how far it is, DELETE drops it. It is the same
// upload as every other: its token is the last segment of its address.
const (
	tusVersion    = "1.0.0"
	tusExtensions = "creation,creation-with-upload,creation-defer-length,expiration," +
		"checksum,checksum-trailer,termination,concatenation"
	tusContent = "application/offset+octet-stream"

	methodOverride = "X-HTTP-Method-Override" // of a POST
)

func isTus(c *fiber.Ctx) bool { return strings.HasPrefix(c.Path(), "/tus") }

// tusHeaders is the middleware of every tus route: what each answer carries,
// errors too.
func (s *Server) tusHeaders(c *fiber.Ctx) error {
	c.Set("Tus-Resumable", tusVersion)
	return c.Next()
}

// tusOptions handles OPTIONS: what this server can do.
func (s *Server) tusOptions(c *fiber.Ctx) error {
	c.Set("Tus-Version", tusVersion)
	c.Set("Tus-Extension", tusExtensions)
	c.Set("Tus-Checksum-Algorithm", checksumAlgorithms)
	if limit := s.cfg.Limits.FileSize; limit > 0 {
		c.Set("Tus-Max-Size", strconv.FormatInt(limit, 10))
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

// checkTus runs before the body of every tus request but OPTIONS. A browser
// that merely visits an address sends no version.
func (s *Server) checkTus(c *fiber.Ctx) error {
	err := once(c, "Tus-Resumable", "Upload-Offset", "Upload-Length", "Upload-Defer-Length", "Upload-Metadata", "Upload-Checksum", "Upload-Concat")
	if err != nil {
		return err
	}
	if m := c.Method(); m == fiber.MethodPatch || m == fiber.MethodPost {
		if err := plainBody(c); err != nil {
			return err
		}
	}
	version := c.Get("Tus-Resumable")
	visit := version == "" && (c.Method() == fiber.MethodGet || c.Method() == fiber.MethodHead)
	if version != tusVersion && !visit {
		c.Set("Tus-Version", tusVersion)
		return store.Errorf(store.CodePrecondition, "Send Tus-Resumable: %s; this server speaks no other version.", tusVersion)
	}
	return nil
}

// checkTusCreate is checkTus for a new upload. Its length is declared before any
// byte, so what has no room is told before the body.
func (s *Server) checkTusCreate(c *fiber.Ctx) error {
	if err := s.checkTus(c); err != nil {
		return err
	}
	concat, err := s.parseConcat(c.Get("Upload-Concat"))
	if err != nil || concat.final {
		return err
	}
	spec := store.Spec{}
	if spec.Size, err = tusLength(c, false); err != nil {
		return err
	}
	b, err := parseTusMetadata(c.Get("Upload-Metadata"))
	if err != nil {
		return err
	}
	if b.Then != nil && !concat.partial && b.Name != "" {
		if spec.Path, err = b.Name.Join(b.Then.Folder); err != nil {
			return err
		}
	}
	if _, err := checksum(c); err != nil {
		return err
	}
	return s.admissible(c, spec)
}

// tusError makes what is wrong for a moment only one of the answers that
// clients of tus repeat: 409, 423 and 5xx. Of HEAD that is 423 alone: after
// anything else tus-js-client 4.3.1 begins anew, at byte 0.
func tusError(c *fiber.Ctx, e *store.Error) *store.Error {
	head := c.Method() == fiber.MethodHead || c.Method() == fiber.MethodPost && c.Get(methodOverride) == fiber.MethodHead
	code := store.CodeUnavailable
	if head {
		code = store.CodeLocked
	}
	switch e.Code {
	case store.CodeRateLimited, store.CodeTimeout, store.CodeTruncated:
	default:
		if !head || !problemOf(e).ours() {
			return e
		}
	}
	e = e.WithCause(e)
	e.Code, e.RetryAfter = code, max(e.RetryAfter, time.Second)
	return e
}

// tusFinal makes a conflict that does not pass an answer that is not repeated.
// After a 409 clients ask for the offset, and take an upload that is whole for
// one that is where it was to go.
func tusFinal(err error) error {
	e := asError(err)
	if e.Code != store.CodeConflict || e.RetryAfter > 0 {
		return err
	}
	e = e.WithCause(err)
	e.Code = store.CodeForbidden
	return e
}

// tusCreate handles POST /tus/: a new upload, maybe with its first bytes, or
// one put together from parts.
func (s *Server) tusCreate(c *fiber.Ctx) error {
	b, err := parseTusMetadata(c.Get("Upload-Metadata"))
	if err != nil {
		return err
	}
	concat, err := s.parseConcat(c.Get("Upload-Concat"))
	if err != nil {
		return err
	}
	b.Partial = concat.partial
	if b.Length, err = tusLength(c, concat.final); err != nil {
		return err
	}
	owner := principal(c).Owner.ID
	var u store.Upload
	if concat.final {
		b.Allowed = s.stillMay(c, auth.Write)
		u, err = s.store.Concatenate(c.UserContext(), owner, concat.parts, b)
		if u.Token != "" {
			s.tusUpload(c, u)
			s.tusConcat(c, u.Growth)
			c.Set(fiber.HeaderLocation, s.tusURL(u.Token))
		}
		if err != nil {
			return tusFinal(err)
		}
		c.Status(fiber.StatusCreated)
		return nil
	}
	if b.Partial {
		b.Then = nil // the whole says where it goes
	}
	if u, err = s.store.BeginUpload(c.UserContext(), owner, b); err != nil {
		return tusFinal(err)
	}
	// From here on the client can resume, whatever happens to the body.
	c.Set(fiber.HeaderLocation, s.tusURL(u.Token))
	s.tusUpload(c, u)
	s.tusConcat(c, u.Growth)
	var body *transport.BodyReader
	if mediaTypeOf(c) == tusContent {
		body = transport.AnyBody(c)
	}
	if body != nil || b.Length == 0 {
		token := u.Token
		if u, err = s.tusAppend(c, token, 0, -1, body); u.Token != "" {
			s.tusUpload(c, u)
		}
		if err != nil && b.Length == 0 && u.State != store.Ready {
			// Nobody goes on with what has all its bytes.
			c.Response().Header.Del(fiber.HeaderLocation)
			err = errors.Join(err, s.store.DeleteUpload(c.UserContext(), owner, token))
		}
		if err != nil {
			return err
		}
	}
	c.Status(fiber.StatusCreated)
	return nil
}

// tusLength is the declared length of a new upload, -1 if it is deferred. A
// concatenation has none of its own.
func tusLength(c *fiber.Ctx, final bool) (int64, error) {
	length, deferred := c.Get("Upload-Length"), c.Get("Upload-Defer-Length")
	switch {
	case final && length+deferred == "":
		return -1, nil
	case final:
		return 0, store.FieldErrorf("Upload-Length", "A concatenation has the length of its parts; leave it out.")
	case length != "" && deferred == "":
		return parseLength("Upload-Length", length)
	case length == "" && deferred == "1":
		return -1, nil
	}
	return 0, store.FieldErrorf("Upload-Length", "Send either Upload-Length or Upload-Defer-Length: 1.")
}

// tusPatch handles PATCH /tus/:token.
func (s *Server) tusPatch(c *fiber.Ctx) error {
	if mediaTypeOf(c) != tusContent {
		return store.Errorf(store.CodeUnsupportedType, "Send the bytes as %s.", tusContent)
	}
	offset, err := parseLength("Upload-Offset", c.Get("Upload-Offset"))
	if err != nil {
		return err
	}
	token, err := store.ParseToken(c.Params("token"))
	if err != nil {
		return err
	}
	length := int64(-1)
	if v := c.Get("Upload-Length"); v != "" { // of an upload that deferred it
		if length, err = parseLength("Upload-Length", v); err != nil {
			return err
		}
	}
	u, err := s.tusAppend(c, token, offset, length, transport.AnyBody(c))
	if u.Token != "" {
		s.tusUpload(c, u)
	}
	if err != nil {
		return err
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

// tusAppend adds a body, or nothing, to an upload, which it returns as it is
// then, also beside an error. length is what the request says about the whole, -1
// for nothing.
func (s *Server) tusAppend(c *fiber.Ctx, token store.Token, offset, length int64, body *transport.BodyReader) (u store.Upload, err error) {
	p := store.Piece{Offset: offset, Size: 0, Length: length, Last: store.AtLength, Allowed: s.stillMay(c, auth.Write)}
	if p.Check, err = checksum(c); err != nil {
		return u, err
	}
	var bytes io.Reader = strings.NewReader("")
	var stop func()
	if body != nil {
		bytes, stop, p.Size = body, body.Interrupt, body.Length()
	}
	turn, err := s.store.TakeTurn(c.UserContext(), principal(c).Owner.ID, token, stop)
	if err != nil {
		return u, err
	}
	defer turn.Release()
	switch g := turn.Upload().Growth; {
	case g == nil:
		return u, store.Errorf(store.CodeNotFound, "There is no such upload.")
	case len(g.Of) > 0:
		return u, store.Errorf(store.CodeForbidden, "This upload was put together from parts; nothing can be added to it.")
	}
	err = turn.Append(c.UserContext(), bytes, p)
	if u = turn.Upload(); u.Refusal() != nil {
		err = tusFinal(err)
	}
	return u, err
}

// tusHead handles HEAD /tus/:token. A request that still appends is stopped,
// so that the offset is the last word.
func (s *Server) tusHead(c *fiber.Ctx) error {
	token, err := store.ParseToken(c.Params("token"))
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	owner := principal(c).Owner.ID
	var u store.Upload
	turn, err := s.store.TakeTurn(c.UserContext(), owner, token, nil)
	switch {
	case err == nil:
		defer turn.Release()
		u = turn.Upload()
	case store.CodeOf(err) == store.CodeGone:
		// Whoever lost the answer to a concatenation asks for the parts again,
		// and repeats it if they are complete.
		if u, err = s.store.UsedPart(c.UserContext(), owner, token); err != nil {
			return err
		}
	default:
		return err
	}
	if u.Growth == nil {
		return store.Errorf(store.CodeNotFound, "There is no such upload.")
	}
	if err := u.Refusal(); err != nil { // the answer that said so may be lost
		return tusFinal(err)
	}
	s.tusUpload(c, u)
	g := u.Growth
	if g.Length >= 0 {
		c.Set("Upload-Length", strconv.FormatInt(g.Length, 10))
	} else {
		c.Set("Upload-Defer-Length", "1")
	}
	if g.Label != "" {
		c.Set("Upload-Metadata", g.Label)
	}
	s.tusConcat(c, g)
	return nil
}

// tusDelete handles DELETE /tus/:token.
func (s *Server) tusDelete(c *fiber.Ctx) error {
	token, err := store.ParseToken(c.Params("token"))
	if err != nil {
		return err
	}
	err = s.store.DeleteUpload(c.UserContext(), principal(c).Owner.ID, token)
	if store.CodeOf(err) == store.CodeConflict {
		// 409 would be repeated, and this does not pass.
		return store.Errorf(store.CodeGone, "This upload was made permanent; delete its files instead.")
	}
	if err != nil {
		return err
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

// tusOverride handles POST /tus/:token, for clients behind something that
// knows only GET and POST: the header names the method that is meant.
func (s *Server) tusOverride(c *fiber.Ctx) error {
	switch c.Get(methodOverride) {
	case fiber.MethodPatch:
		return s.tusPatch(c)
	case fiber.MethodDelete:
		return s.tusDelete(c)
	case fiber.MethodHead:
		return s.tusHead(c)
	}
	return store.Errorf(store.CodeMethodNotAllowed, "POST to an upload needs X-HTTP-Method-Override: PATCH, HEAD or DELETE.")
}

// tusUpload describes an upload in the headers of the answer. The token goes
// with what is complete: a form can carry it from then on.
func (s *Server) tusUpload(c *fiber.Ctx, u store.Upload) {
	if u.Growth == nil {
		return
	}
	c.Set("Upload-Offset", strconv.FormatInt(u.Growth.Offset, 10))
	switch u.State {
	case store.Receiving:
		c.Set("Upload-Expires", u.ExpiresAt.UTC().Format(http.TimeFormat))
	case store.Ready, store.Persisted:
		if !u.Growth.Partial {
			c.Set("Upload-Token", string(u.Token))
		}
		c.Response().Header.Del("Upload-Expires")
	}
}

// tusConcat says that an upload is a part, or what it was put together from.
func (s *Server) tusConcat(c *fiber.Ctx, g *store.Growth) {
	switch {
	case g.Partial:
		c.Set("Upload-Concat", "partial")
	case len(g.Of) > 0:
		urls := make([]string, len(g.Of))
		for i, token := range g.Of {
			urls[i] = s.tusURL(token)
		}
		c.Set("Upload-Concat", "final;"+strings.Join(urls, " "))
	}
}

func (s *Server) tusURL(token store.Token) string { return s.cfg.PublicURL + "/tus/" + string(token) }

// concat is what Upload-Concat says.
type concat struct {
	partial bool
	final   bool
	parts   []store.Token
}

// parseConcat reads "partial" or "final;" and the addresses of the parts,
// absolute or relative, which must be ours.
func (s *Server) parseConcat(value string) (c concat, err error) {
	urls, final := strings.CutPrefix(value, "final;")
	switch {
	case value == "":
		return c, nil
	case value == "partial":
		return concat{partial: true}, nil
	case !final:
		return c, store.FieldErrorf("Upload-Concat", "Upload-Concat is partial, or final; with the addresses of the parts.")
	}
	c.final = true
	for _, address := range strings.Fields(urls) {
		token, err := s.tusToken(address)
		if err != nil {
			return c, err
		}
		c.parts = append(c.parts, token)
	}
	return c, nil
}

// tusToken is the token in the address of an upload of ours, absolute or
// relative to that of the collection. Of an absolute one only the path counts: a
// client may know us by any name, and a token says the rest.
func (s *Server) tusToken(address string) (store.Token, error) {
	u, err := url.Parse(address)
	if err == nil {
		u = (&url.URL{Path: "/tus/"}).ResolveReference(u)
		if name, ours := strings.CutPrefix(u.Path, "/tus/"); ours {
			return store.ParseToken(name)
		}
	}
	return "", store.FieldErrorf("Upload-Concat", "A part has an address of this server, as its creation answered it.")
}

// parseLength reads a number of bytes: digits and nothing else.
func parseLength(field, value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || strings.Trim(value, "0123456789") != "" {
		return 0, store.FieldErrorf(field, "%s is a number of bytes: digits only.", field)
	}
	return n, nil
}
