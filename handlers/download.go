package handlers

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"mime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/handlers/transport"
	"upload-service/store"
	"upload-service/store/blob"
)

// content is something that can be downloaded.
type content struct {
	name     string
	kind     string // media type as declared
	sniffed  string // media type as the bytes look
	size     int64
	sha256   []byte
	etag     string
	modified time.Time
	open     func(ctx context.Context, offset, length int64) (io.ReadCloser, error)
}

// inlineTypes may be shown by a browser: what it cannot run, judged by the
// bytes and not by what the uploader declared. HTML, SVG and XML are not
// among them.
var inlineTypes = map[string]bool{
	"text/plain": true, "application/pdf": true,
	"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "image/avif": true, "image/bmp": true,
	"audio/mpeg": true, "audio/wav": true, "audio/ogg": true, "audio/flac": true, "audio/aac": true, "audio/mp4": true, "audio/x-m4a": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true, "video/x-m4v": true,
}

// contentPolicy keeps user content from doing anything in our origin, should
// a browser show it after all.
const contentPolicy = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; media-src 'self'"

// programs are what a page may load to run it, by the Sec-Fetch-Dest of its
// browser. No content is one, for no page.
var programs = []string{"script", "style", "worker", "sharedworker", "serviceworker", "audioworklet", "paintworklet", "xslt"}

// pdfPolicy is for a PDF that is shown: no viewer runs it in our origin, and in
// a sandbox some show an empty window. See docs/adr/0008.
const pdfPolicy = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// serve answers a GET or HEAD for a content: conditions, one range, or all.
func serve(c *fiber.Ctx, d content) error {
	if slices.Contains(programs, c.Get("Sec-Fetch-Dest")) {
		return store.Errorf(store.CodeForbidden, "What was uploaded is not for running in a page; host scripts and style sheets elsewhere.")
	}
	modified := d.modified.UTC().Truncate(time.Second)
	c.Set(fiber.HeaderETag, d.etag)
	c.Set(fiber.HeaderLastModified, modified.Format(timeFormat))
	c.Set(fiber.HeaderCacheControl, "private, no-store")
	c.Set(fiber.HeaderAcceptRanges, "bytes")
	c.Set(fiber.HeaderContentSecurityPolicy, contentPolicy)
	switch evaluate(c, d.etag, modified) {
	case failed:
		return store.Errorf(store.CodePrecondition, "The file has changed since; get it again.")
	case notModified:
		return c.SendStatus(fiber.StatusNotModified)
	}

	offset, length, partial, err := byteRange(c, d, modified)
	if err != nil {
		c.Set(fiber.HeaderContentRange, fmt.Sprintf("bytes */%d", d.size))
		return err
	}
	kind, disposition := d.kind, "attachment"
	if base, _, _ := mime.ParseMediaType(d.sniffed); c.QueryBool("inline") && inlineTypes[base] {
		kind, disposition = d.sniffed, "inline"
		if base == "application/pdf" {
			c.Set(fiber.HeaderContentSecurityPolicy, pdfPolicy)
		}
	}
	c.Set(fiber.HeaderContentType, kind)
	c.Set(fiber.HeaderContentDisposition, contentDisposition(disposition, d.name))
	if d.sha256 != nil {
		c.Set("Repr-Digest", "sha-256=:"+base64.StdEncoding.EncodeToString(d.sha256)+":")
	}
	if partial {
		c.Status(fiber.StatusPartialContent)
		c.Set(fiber.HeaderContentRange, fmt.Sprintf("bytes %d-%d/%d", offset, offset+length-1, d.size))
	}
	if c.Method() == fiber.MethodHead {
		c.Response().SkipBody = true
		c.Response().Header.SetContentLength(int(length))
		return nil
	}
	r, err := d.open(c.UserContext(), offset, length)
	if err != nil {
		return err
	}
	if f, ok := r.(blob.File); ok {
		file, at, n := f.Section()
		r = transport.FileSection(file, at, n, r)
	}
	c.Context().SetBodyStream(r, int(length))
	return nil
}

// byteRange reads a Range header (RFC 9110, 14.2). Only one range is served
// as such; several, a unit we do not know, or bad syntax mean the whole.
func byteRange(c *fiber.Ctx, d content, modified time.Time) (offset, length int64, partial bool, err error) {
	whole := func() (int64, int64, bool, error) { return 0, d.size, false, nil }
	unit, spec, _ := strings.Cut(c.Get(fiber.HeaderRange), "=")
	ok := strings.EqualFold(unit, "bytes")
	if c.Method() != fiber.MethodGet { // ranges mean nothing elsewhere
		return whole()
	}
	if !ok || strings.Contains(spec, ",") {
		return whole()
	}
	if v := c.Get(fiber.HeaderIfRange); v != "" && v != d.etag {
		if t, isTime := httpTime(v); !isTime || !t.Equal(modified) {
			return whole()
		}
	}
	first, last, ok := strings.Cut(strings.TrimSpace(spec), "-")
	if !ok {
		return whole()
	}
	unsatisfiable := store.Errorf(store.CodeRange, "The file has %d bytes; ask for a range within them.", d.size)
	if first == "" { // the last n bytes
		n, ok := parseDigits(last)
		if !ok {
			return whole()
		}
		n = min(n, d.size)
		if n == 0 {
			return 0, 0, false, unsatisfiable
		}
		return d.size - n, n, true, nil
	}
	start, ok := parseDigits(first)
	if !ok {
		return whole()
	}
	end := d.size - 1
	if last != "" {
		if end, ok = parseDigits(last); !ok || end < start {
			return whole()
		}
		end = min(end, d.size-1)
	}
	if start >= d.size {
		return 0, 0, false, unsatisfiable
	}
	return start, end - start + 1, true, nil
}

// parseDigits reads a number of digits only; one too large to hold is as good
// as infinite.
func parseDigits(s string) (int64, bool) {
	if s == "" {
		return 0, false
	}
	for _, d := range s {
		if d < '0' || d > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 1<<63 - 1, true
	}
	return n, true
}

// contentDisposition names the download twice: in ASCII for old clients, and
// exactly (RFC 6266, RFC 8187).
func contentDisposition(kind, name string) string {
	ascii := strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune(`"%\`, r) {
			return '_'
		}
		return r
	}, name)
	var exact strings.Builder
	for _, b := range []byte(name) {
		if b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || strings.IndexByte("!#$&+-.^_`|~", b) >= 0 {
			exact.WriteByte(b)
		} else {
			fmt.Fprintf(&exact, "%%%02X", b)
		}
	}
	return fmt.Sprintf(`%s; filename="%s"; filename*=UTF-8''%s`, kind, ascii, exact.String())
}
