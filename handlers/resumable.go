package handlers

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"hash"
	"io"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/handlers/transport"
	"upload-service/store"
)

// Resumable Uploads for HTTP (draft-ietf-httpbis-resumable-upload; ADR 6 says
// which text is followed): a request that makes something may say with
// Upload-Complete that it can be interrupted. It gets the address of an upload
// early, in an interim answer 104, and the client goes on there with PATCH.
const partialUpload = "application/partial-upload"

// interopVersions are the drafts whose clients understand us, by the number
// that they send in Upload-Draft-Interop-Version.
var interopVersions = map[string]bool{"8": true, "6": true}

// resumable is what the head of a request says about a resumable upload.
type resumable struct {
	complete bool   // the content ends with this request
	interop  string // "" if the client would not understand a 104
}

// parseResumable reads Upload-Complete. A request without it, or with one that
// does not parse, is not resumable (RFC 9651, 4.2: a bad field is ignored).
func parseResumable(c *fiber.Ctx) (r resumable, ok bool) {
	item, err := httpsfv.UnmarshalItem(lines(c, "Upload-Complete"))
	if err != nil {
		return r, false
	}
	if r.complete, ok = item.Value.(bool); !ok {
		return r, false
	}
	if version := c.Get("Upload-Draft-Interop-Version"); interopVersions[version] {
		r.interop = version
	}
	return r, true
}

// isPiece reports whether a request is about an upload that comes in pieces.
func isPiece(c *fiber.Ctx) bool {
	token, ok := strings.CutPrefix(c.Path(), "/api/v1/uploads/")
	return ok && !strings.Contains(token, "/") && c.Method() != fiber.MethodDelete
}

// resumableError makes what is wrong for a moment only an answer of 5xx: after
// one of 4xx clients do not resume (the draft's sections on the client's
// behavior).
func resumableError(e *store.Error) *store.Error {
	switch e.Code {
	case store.CodeRateLimited, store.CodeTimeout, store.CodeTruncated:
		e = e.WithCause(e)
		e.Code, e.RetryAfter = store.CodeUnavailable, max(e.RetryAfter, time.Second)
	}
	return e
}

// resumes reports whether a request makes an upload that can be resumed. One
// that brings all of it need not: a form is taken whole, and so is what comes
// from a client that an interim answer would not tell where to go on. What was
// set aside for the rest would wait for nobody. (Whether chunks are as many as
// Upload-Length says shows only at the end, which is looked at in one place.)
func resumes(c *fiber.Ctx) (r resumable, ok bool) {
	r, ok = parseResumable(c)
	announced := transport.AnyBody(c).Length() < 0 && c.Get("Upload-Length") != ""
	return r, ok && (!r.complete || !isMultipart(c) && (knowsInterim(c, r) || announced))
}

// knowsInterim reports whether the client understands a 104 (RFC 9110, 15.2).
func knowsInterim(c *fiber.Ctx, r resumable) bool {
	return r.interop != "" && c.Request().Header.IsHTTP11()
}

// checkWhole looks at what a request that cannot be interrupted says all the same
// about the length of what it brings.
func checkWhole(c *fiber.Ctx) error {
	r, ok := parseResumable(c)
	if !ok {
		return nil
	}
	_, err := declaredLength(c, r, 0)
	return err
}

// wasWhole tells the client of such a request that it brought everything.
func wasWhole(c *fiber.Ctx) {
	if _, ok := parseResumable(c); ok {
		c.Set("Upload-Complete", "?1")
	}
}

// lines are the values of a field that may come several times: together they
// are one (RFC 9651, 4.2).
func lines(c *fiber.Ctx, field string) (values []string) {
	for _, v := range c.Request().Header.PeekAll(field) {
		values = append(values, string(v))
	}
	return values
}

// uploadLimit is what Upload-Limit announces of an upload that lives for so
// long yet.
func (s *Server) uploadLimit(life time.Duration) string {
	limits := []string{}
	if n := s.cfg.Limits.FileSize; n > 0 {
		limits = append(limits, fmt.Sprintf("max-size=%d", n))
	} else {
		limits = append(limits, "min-size=0")
	}
	if n := s.cfg.MaxRequestSize; n > 0 {
		limits = append(limits, fmt.Sprintf("max-append-size=%d", n))
	}
	limits = append(limits, fmt.Sprintf("max-age=%d", max(0, int64(math.Ceil(life.Seconds())))))
	return strings.Join(limits, ", ")
}

// resumableOptions handles OPTIONS of what a resumable request can make.
func (s *Server) resumableOptions(c *fiber.Ctx) error {
	c.Set("Upload-Limit", s.uploadLimit(s.cfg.TemporaryTTL))
	c.Set("Accept-Patch", partialUpload)
	c.Status(fiber.StatusNoContent)
	return nil
}

// resumableCreate makes an upload of a request that can be interrupted, and
// appends its body.
func (s *Server) resumableCreate(c *fiber.Ctx, r resumable, b store.Begin) error {
	body := transport.AnyBody(c)
	var err error
	if b.Length, err = declaredLength(c, r, 0); err != nil {
		return err
	}
	content, err := declared(c)
	if err != nil {
		return err
	}
	if !r.complete {
		if _, err := pieceDigest(c); err != nil {
			return err
		}
	}
	b.Type, b.Want = content.Type, store.Digest{SHA256: content.SHA256, SHA512: content.SHA512}
	u, err := s.store.BeginUpload(c.UserContext(), principal(c).Owner.ID, b)
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderLocation, s.uploadURL(u.Token))
	limit := s.uploadLimit(time.Until(u.ExpiresAt))
	c.Set("Upload-Limit", limit)
	s.interim(c, r, fiber.HeaderLocation, s.uploadURL(u.Token), "Upload-Limit", limit)
	return s.resumableAppend(c, r, u.Token, 0, body)
}

// declaredLength is the length of the whole that a request at offset tells, -1
// if it does not: by Upload-Length, or because it brings the rest.
func declaredLength(c *fiber.Ctx, r resumable, offset int64) (int64, error) {
	length := int64(-1)
	item, err := httpsfv.UnmarshalItem(lines(c, "Upload-Length"))
	if n, isInt := item.Value.(int64); err == nil && isInt && n >= 0 {
		length = n
	}
	if rest := transport.AnyBody(c).Length(); r.complete && rest >= 0 {
		if length >= 0 && length != offset+rest {
			return 0, inconsistentLength(c)
		}
		length = offset + rest
	}
	return length, nil
}

// announcedSize is the size that counts before the body: of a request that can be
// interrupted that of the whole, not what it brings of it itself.
func announcedSize(c *fiber.Ctx, size int64) (int64, error) {
	if r, ok := resumes(c); ok {
		return declaredLength(c, r, 0)
	}
	return size, nil
}

// resumablePatch handles PATCH /api/v1/uploads/:token.
func (s *Server) resumablePatch(c *fiber.Ctx) error {
	token, err := store.ParseToken(c.Params("token"))
	if err != nil {
		return err
	}
	if mediaTypeOf(c) != partialUpload {
		c.Set("Accept-Patch", partialUpload)
		return store.Errorf(store.CodeUnsupportedType, "Send the bytes as %s.", partialUpload)
	}
	r, ok := parseResumable(c)
	if !ok {
		return store.FieldErrorf("Upload-Complete", "Say with Upload-Complete: ?1 or ?0 whether these are the last bytes.")
	}
	item, err := httpsfv.UnmarshalItem(lines(c, "Upload-Offset"))
	offset, isInt := item.Value.(int64)
	if err != nil || !isInt || offset < 0 {
		return store.FieldErrorf("Upload-Offset", "Upload-Offset says where the bytes begin: a number.")
	}
	return s.resumableAppend(c, r, token, offset, transport.AnyBody(c))
}

// resumableAppend adds the body of the request to an upload, and answers.
func (s *Server) resumableAppend(c *fiber.Ctx, r resumable, token store.Token, offset int64, body *transport.BodyReader) error {
	turn, err := s.store.TakeTurn(c.UserContext(), principal(c).Owner.ID, token, body.Interrupt)
	if err != nil {
		return err
	}
	defer turn.Release()
	at, _, ok := extent(turn.Upload())
	if !ok {
		return store.Errorf(store.CodeNotFound, "There is no such upload.")
	}
	if offset != at {
		s.describe(c, turn.Upload())
		c.Set("Upload-Complete", "?0") // of this answer, not of the upload
		c.Locals(problemKey{}, problemDetails{
			kind: problemTypes + "mismatching-upload-offset", expected: &at, provided: &offset,
		})
		return store.Errorf(store.CodeConflict, "The upload has %d bytes; go on from there.", at)
	}
	if turn.Upload().State != store.Receiving {
		s.describe(c, turn.Upload())
		if r.complete && body.Length() == 0 { // the last answer got lost
			return s.resumableDone(c, turn.Upload())
		}
		c.Set("Upload-Complete", "?0")
		c.Locals(problemKey{}, problemDetails{kind: problemTypes + "completed-upload"})
		return store.Errorf(store.CodeConflict, "This upload is complete; nothing can be added to it.")
	}
	length, err := declaredLength(c, r, offset)
	if err != nil {
		return err
	}
	g := turn.Upload().Growth
	if beyond := body.Length() > g.Length-offset; g.Length >= 0 && (beyond || length >= 0 && length != g.Length) {
		return s.resumableContradicted(c, turn, beyond)
	}
	p := store.Piece{Offset: offset, Size: body.Length(), Length: length, Last: store.NotLast, Allowed: s.stillMay(c, auth.Write)}
	if r.complete {
		p.Last = store.LastPiece
	}
	// In a request that brings everything, Content-Digest is about the whole,
	// which is checked at the end: what comes before a cut is kept.
	if c.Method() == fiber.MethodPatch || !r.complete {
		if p.Check, err = pieceDigest(c); err != nil {
			return err
		}
	}
	p.Recorded = func(n int64) { s.interim(c, r, "Upload-Offset", strconv.FormatInt(n, 10)) }
	err = turn.Append(c.UserContext(), body, p)
	u := turn.Upload()
	// A request over its own limit is too large as well, but its upload lives.
	if store.CodeOf(err) == store.CodeTooLarge && u.Growth.Length >= 0 && body.Received() > u.Growth.Length-offset {
		return s.resumableContradicted(c, turn, true)
	}
	if u.State == store.Gone {
		return err
	}
	s.describe(c, u)
	if store.IsLength(err) {
		return inconsistentLength(c)
	}
	if err != nil {
		return err
	}
	if u.State == store.Receiving {
		if c.Method() != fiber.MethodPatch {
			c.Status(fiber.StatusCreated)
			return nil
		}
		c.Status(fiber.StatusNoContent)
		return nil
	}
	return s.resumableDone(c, u)
}

// resumableContradicted answers a request whose length contradicts an earlier
// one: nobody knows any more what the whole is. If it announces bytes beyond the
// end, the upload is over.
func (s *Server) resumableContradicted(c *fiber.Ctx, turn *store.Turn, beyond bool) error {
	if beyond {
		if err := turn.Drop(c.UserContext(), "was sent more bytes than it has"); err != nil {
			return err
		}
	}
	return inconsistentLength(c)
}

func inconsistentLength(c *fiber.Ctx) error {
	c.Locals(problemKey{}, problemDetails{kind: problemTypes + "inconsistent-upload-length"})
	return store.FieldErrorf("Upload-Length", "The lengths that were announced for this upload contradict each other.")
}

// resumableDone answers the request that completed an upload, as one that
// could not be interrupted is answered.
func (s *Server) resumableDone(c *fiber.Ctx, u store.Upload) error {
	if err := u.Refusal(); err != nil {
		return err
	}
	var sum []byte
	if u.State == store.Persisted {
		sum = u.Files[0].SHA256
	} else {
		sum = u.Parts[0].SHA256
	}
	reprDigest(c, sum)
	if u.State != store.Persisted {
		c.Set(fiber.HeaderLocation, s.uploadURL(u.Token))
		if c.Method() == fiber.MethodPost {
			c.Status(fiber.StatusCreated)
		}
		return c.JSON(uploadShape(u))
	}
	f := u.Files[0]
	f.Metadata = u.Metadata
	return s.putAnswer(c, f, f.Version > 1)
}

// reprDigest tells the SHA-256 of what was stored, if the request wants it.
// Whether the one that began an upload wanted it is not remembered, so the one
// that ends it need not ask.
func reprDigest(c *fiber.Ctx, sum []byte) {
	want := lines(c, "Want-Repr-Digest")
	if len(want) == 0 && c.Method() == fiber.MethodPatch || wantsSHA256(want) {
		c.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(sum)+":")
	}
}

// resumableHead handles HEAD /api/v1/uploads/:token. A request that still
// appends is stopped, so that the offset is the last word.
func (s *Server) resumableHead(c *fiber.Ctx) error {
	token, err := store.ParseToken(c.Params("token"))
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	turn, err := s.store.TakeTurn(c.UserContext(), principal(c).Owner.ID, token, nil)
	if err != nil {
		return err
	}
	defer turn.Release()
	s.describe(c, turn.Upload())
	c.Set("Upload-Limit", s.uploadLimit(time.Until(turn.Upload().ExpiresAt)))
	return nil
}

// describe says in the headers how far an upload has come.
func (s *Server) describe(c *fiber.Ctx, u store.Upload) {
	if u.State != store.Receiving {
		c.Set("Upload-Complete", "?1")
	} else {
		c.Set("Upload-Complete", "?0")
	}
	if offset, length, ok := extent(u); ok {
		c.Set("Upload-Offset", strconv.FormatInt(offset, 10))
		if length >= 0 {
			c.Set("Upload-Length", strconv.FormatInt(length, 10))
		}
	}
}

// extent is how many bytes of how many an upload has, -1 if that is not known.
// One that came whole has all; one of several contents has no such thing.
func extent(u store.Upload) (offset, length int64, ok bool) {
	switch {
	case u.Growth != nil:
		return u.Growth.Offset, u.Growth.Length, true
	case len(u.Parts) == 1:
		return u.Parts[0].Size, u.Parts[0].Size, true
	case len(u.Files) == 1:
		return u.Files[0].Size, u.Files[0].Size, true
	}
	return 0, 0, false
}

func (s *Server) uploadURL(token store.Token) string {
	return s.cfg.PublicURL + "/api/v1/uploads/" + string(token)
}

// interim sends 104 (Upload Resumption Supported) in front of the answer, to a
// client that said it knows it.
func (s *Server) interim(c *fiber.Ctx, r resumable, fields ...string) {
	if !knowsInterim(c, r) {
		return
	}
	head := "HTTP/1.1 104 Upload Resumption Supported\r\nUpload-Draft-Interop-Version: " + r.interop + "\r\n"
	for i := 0; i < len(fields); i += 2 {
		head += fields[i] + ": " + fields[i+1] + "\r\n"
	}
	//nolint:errcheck // only a hint: a connection that is broken shows when the body is read
	io.WriteString(c.Context().Conn(), head+"\r\n")
}

// pieceDigest reads Content-Digest, which is about the body of this request;
// nil if there is none that is known.
func pieceDigest(c *fiber.Ctx) (store.Checker, error) {
	var content store.Content
	if err := readDigest(lines(c, "Content-Digest"), "Content-Digest", &content); err != nil {
		return nil, err
	}
	if content.SHA256 == nil && content.SHA512 == nil {
		return nil, nil
	}
	return &contentDigest{content, sha256.New(), sha512.New()}, nil
}

type contentDigest struct {
	want           store.Content
	sum256, sum512 hash.Hash
}

// Write implements store.Checker.
func (d *contentDigest) Write(p []byte) (int, error) {
	if d.want.SHA256 != nil {
		d.sum256.Write(p)
	}
	if d.want.SHA512 != nil {
		d.sum512.Write(p)
	}
	return len(p), nil
}

// Check implements store.Checker.
func (d *contentDigest) Check() error {
	if d.want.SHA256 != nil && !bytes.Equal(d.want.SHA256, d.sum256.Sum(nil)) ||
		d.want.SHA512 != nil && !bytes.Equal(d.want.SHA512, d.sum512.Sum(nil)) {
		return store.Errorf(store.CodeBadDigest, "The bytes that arrived do not match Content-Digest; send them again.")
	}
	return nil
}
