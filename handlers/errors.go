package handlers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
	"upload-service/views"
	"upload-service/views/text"
)

// problem is how one code is answered. This table is the only place where a
// status is decided.
type problem struct {
	status int
	title  string
}

var problems = map[store.Code]problem{
	store.CodeInvalid:          {400, "Invalid request"},
	store.CodeTruncated:        {400, "Upload incomplete"},
	store.CodeBadDigest:        {400, "Digest mismatch"},
	store.CodeUnauthenticated:  {401, "Sign in required"},
	store.CodeForbidden:        {403, "Not allowed"},
	store.CodeNotFound:         {404, "Not found"},
	store.CodeMethodNotAllowed: {405, "Method not allowed"},
	store.CodeTimeout:          {408, "Too slow"},
	store.CodeConflict:         {409, "Conflict"},
	store.CodeGone:             {410, "Gone"},
	store.CodeLengthRequired:   {411, "Length required"},
	store.CodePrecondition:     {412, "Precondition failed"},
	store.CodeTooLarge:         {413, "Too large"},
	store.CodeQuotaExceeded:    {413, "Storage used up"},
	store.CodeUnsupportedType:  {415, "Unsupported media type"},
	store.CodeRange:            {416, "Range not satisfiable"},
	store.CodeLocked:           {423, "In use"},
	store.CodeRateLimited:      {429, "Slow down"},
	store.CodeBadChecksum:      {460, "Checksum mismatch"},
	store.CodeHeaderTooLarge:   {431, "Header too large"},
	store.CodeInternal:         {500, "Internal error"},
	store.CodeUnavailable:      {503, "Try again"},
	store.CodeFull:             {507, "Out of space"},
}

// ours reports whether the server could not do what may well succeed later.
func (p problem) ours() bool { return p.status >= 500 }

func problemOf(e *store.Error) problem {
	if p, known := problems[e.Code]; known {
		return p
	}
	return problems[store.CodeInternal]
}

// problemDoc is an RFC 9457 problem document. Error is the one member that
// clients of the earlier service read.
type problemDoc struct {
	Type       string     `json:"type"`
	Title      string     `json:"title"`
	Status     int        `json:"status"`
	Detail     string     `json:"detail"`
	Instance   string     `json:"instance"`
	Code       store.Code `json:"code"`
	Field      string     `json:"field,omitempty"`
	RetryAfter int        `json:"retry_after,omitempty"` // seconds
	Error      string     `json:"error,omitempty"`

	ExpectedOffset *int64 `json:"expected-offset,omitempty"`
	ProvidedOffset *int64 `json:"provided-offset,omitempty"`
}

// problemDetails is what a handler adds to the problem document of its error:
// a registered type, and the members that come with it.
type problemDetails struct {
	kind               string
	expected, provided *int64
}

type problemKey struct{}

// problemTypes is where IANA registers the types of resumable uploads.
const problemTypes = "https://iana.org/assignments/http-problem-types#"

// errorDocs is the page that explains each code (errorsPage).
const errorDocs = "/docs/errors#"

// handleError answers every error of every route, and logs it once.
func (s *Server) handleError(c *fiber.Ctx, err error) error {
	e := asError(err)
	s.logError(c, e)
	_, pieces := resumes(c)
	switch {
	case isTus(c):
		e = tusError(c, e)
	case pieces || isPiece(c):
		e = resumableError(e)
	}
	p := problemOf(e)

	c.Status(p.status)
	c.Set(fiber.HeaderCacheControl, "no-store")
	if p.status == problems[store.CodeTooLarge].status {
		if _, ok := parseResumable(c); ok {
			c.Set("Upload-Limit", s.uploadLimit(s.cfg.TemporaryTTL))
		}
	}
	if e.RetryAfter > 0 {
		c.Set(fiber.HeaderRetryAfter, strconv.Itoa(seconds(e)))
	}
	if p.status == problems[store.CodeUnauthenticated].status {
		c.Set(fiber.HeaderWWWAuthenticate, `Bearer realm="upload-service"`)
	}
	doc := problemDoc{
		Type: errorDocs + string(e.Code), Title: p.title, Status: p.status, Detail: e.Message,
		Instance: "urn:request:" + requestID(c), Code: e.Code, Field: e.Field, RetryAfter: seconds(e),
	}
	if d, ok := c.Locals(problemKey{}).(problemDetails); ok {
		doc.Type, doc.ExpectedOffset, doc.ProvidedOffset = d.kind, d.expected, d.provided
	}
	page := views.Error{
		Status: p.status, Heading: text.Get("error.title." + string(e.Code)), Message: pageMessage(c, e), RequestID: requestID(c),
	}
	switch {
	case strings.HasPrefix(c.Path(), "/api/upload"):
		doc.Error = e.Message
		return c.JSON(doc) // application/json, as the earlier service answered
	case isFragment(c), keepsPage(c, e):
		toast(c, e)
		return render(c, page.Fragment)
	case wantsHTML(c), c.Get("HX-Boosted") != "":
		retarget(c)
		s.recognize(c)
		if v, ok := s.signInProblem(c, e); ok {
			return render(c, v.Page)
		}
		page.Shell = s.shell(c, page.Heading, "")
		return render(c, page.Page)
	}
	return c.JSON(doc, "application/problem+json")
}

// recognize finds out who sees the page about an address that no route has:
// nobody was asked there. Only a session counts, which is quick to look up.
func (s *Server) recognize(c *fiber.Ctx) {
	if id := s.cookie(c, sessionCookie); id != "" && c.Locals("counted") == nil && !s.onContentHost(c) {
		if p, err := s.auth.Session(c.UserContext(), id); err == nil {
			c.Locals("principal", p)
		}
	}
}

// keepsPage reports whether the page of a script stays when a request of it
// fails, with the rows that were loaded, what is selected, and what was typed:
// after an action, and after what will pass. A form that shows what is wrong
// in it is an answer of its own, and does not come here.
func keepsPage(c *fiber.Ctx, e *store.Error) bool {
	if c.Get("HX-Request") != "true" {
		return false
	}
	switch e.Code {
	case store.CodeUnauthenticated, store.CodeRateLimited, store.CodeTimeout, store.CodeInternal, store.CodeUnavailable:
		return true
	}
	return !safeMethod(c)
}

// errNeedsScope marks what a credential is not allowed: programs are told by
// which scope it would be.
var errNeedsScope = errors.New("the scope is missing")

// pageMessage is what a person reads of an error. Mostly it is what everybody
// is told; for the rest a page has words of its own.
func pageMessage(c *fiber.Ctx, e *store.Error) string {
	switch {
	case e.Code == store.CodeInternal:
		return text.Get("error.internal", requestID(c))
	case errors.Is(e, errNeedsScope):
		return text.Get("error.scope")
	case e.Limit > 0:
		return text.Get("error.limit", views.Limit(e.Limit))
	case e.Code == store.CodeNotFound && safeMethod(c):
		return text.Get("error.not_found")
	case e.Code == store.CodeMethodNotAllowed:
		return text.Get("error.method")
	}
	return e.Message
}

// toast tells the scripts of a page what went wrong with a part of it. Who
// was signed out keeps the page, with uploads and typed text.
func toast(c *fiber.Ctx, e *store.Error) {
	if e.Code == store.CodeUnauthenticated {
		trigger(c, map[string]any{"session-expired": true})
		return
	}
	trigger(c, map[string]any{"toast": map[string]any{"bad": true, "text": pageMessage(c, e)}})
}

// trigger makes the scripts of the page see events, with their details.
func trigger(c *fiber.Ctx, events map[string]any) {
	b, err := json.Marshal(events)
	if err != nil {
		return // text is always encodable
	}
	c.Set("HX-Trigger", asciiJSON(b))
}

// asciiJSON writes what is not ASCII as escapes: header fields are read as
// Latin-1.
func asciiJSON(b []byte) string {
	var out strings.Builder
	for _, r := range string(b) {
		if r < utf8.RuneSelf {
			out.WriteRune(r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			fmt.Fprintf(&out, `\u%04x`, unit)
		}
	}
	return out.String()
}

// retarget lets a page of ours take the place of the present one although its
// status is an error: scripts swap only those that say so, never the page of a
// proxy. The address of an action is not that of a page.
func retarget(c *fiber.Ctx) {
	if c.Get("HX-Request") != "true" {
		return
	}
	c.Set("HX-Retarget", "#main")
	if !safeMethod(c) {
		c.Set("HX-Push-Url", "false")
	}
}

func seconds(e *store.Error) int { return int(math.Ceil(e.RetryAfter.Seconds())) }

// asError turns whatever came up into the one error type. What is not known
// is our fault, and its text stays in the log.
func asError(err error) *store.Error {
	var e *store.Error
	if errors.As(err, &e) {
		if error(e) != err {
			return e.WithCause(err) // keep the whole chain for the log
		}
		return e
	}
	if errors.As(store.Translate(err), &e) { // of a seam that auth uses too
		return e
	}
	var f *fiber.Error // of the router itself
	if errors.As(err, &f) {
		switch f.Code {
		case fiber.StatusNotFound:
			return store.Errorf(store.CodeNotFound, "There is nothing at this address.")
		case fiber.StatusMethodNotAllowed:
			return store.Errorf(store.CodeMethodNotAllowed, "This address does not take this method.")
		}
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return (&store.Error{
			Code: store.CodeUnavailable, Message: "The request was given up; try again.", RetryAfter: time.Second,
		}).WithCause(err)
	}
	return store.Errorf(store.CodeInternal, "Something went wrong on our side; quote the request id when you ask about it.").WithCause(err)
}

// logError logs what an operator has to know; what only concerns the client
// is in the access log.
func (s *Server) logError(c *fiber.Ctx, e *store.Error) {
	args := []any{"request", requestID(c), "method", methodOf(c), "code", e.Code, "error", e}
	switch {
	case !problemOf(e).ours():
		s.log.Debug("request refused", args...)
	case e.Code == store.CodeUnavailable:
		s.log.Warn("request failed", args...)
	default:
		s.log.Error("request failed", args...)
	}
}

// wantsHTML reports whether a browser navigates, rather than a program asks.
func wantsHTML(c *fiber.Ctx) bool {
	return strings.Contains(c.Get(fiber.HeaderAccept), "text/html")
}
