package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"upload-service/store"
)

// BodyReader is the body of one request. It yields io.EOF only if the body
// came whole: anything else is an error, and stays one.
type BodyReader struct {
	stream io.Reader
	conn   *conn
	length int64 // as declared; -1 if chunked
	limit  int64 // 0 for none
	n      int64
	err    error
}

type bodyKey struct{}

// Body returns the body of the request, nil if it has none: neither
// Content-Length nor Transfer-Encoding.
func Body(c *fiber.Ctx) *BodyReader {
	b, _ := c.Locals(bodyKey{}).(*BodyReader)
	return b
}

// Length is the declared number of bytes, -1 if the request does not say.
func (b *BodyReader) Length() int64 { return b.length }

// Received is how many bytes were read so far.
func (b *BodyReader) Received() int64 { return b.n }

// Limit makes Read fail with too_large behind n bytes.
func (b *BodyReader) Limit(n int64) { b.limit = n }

// Read implements io.Reader. Besides io.EOF its errors are of code truncated,
// timeout, too_large or invalid (malformed chunks).
func (b *BodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.stream == nil {
		b.err = errors.New("the body is read before its head was admitted")
		return 0, b.err
	}
	n, err := b.stream.Read(p)
	b.n += int64(n)
	if b.limit > 0 && b.n > b.limit {
		over := int(min(b.n-b.limit, int64(n)))
		b.err = store.Errorf(store.CodeTooLarge, "A request to this address may have at most %d bytes.", b.limit)
		return n - over, b.err
	}
	b.err = b.judge(err)
	return n, b.err
}

var errTruncated = store.Errorf(store.CodeTruncated, "The body ended before its declared end; send it again.")

// judge tells the end of a body from everything that only looks like it.
// fasthttp reports a connection that was cut in the middle as a plain end of
// file: with a declared length the count shows it, and in chunks the fact that
// the peer had stopped sending before the last chunk was complete.
func (b *BodyReader) judge(err error) error {
	cut := b.conn != nil && b.conn.ended.Load()
	switch {
	case err == nil:
		return nil
	case err == io.EOF && b.length >= 0 && b.n != b.length:
		return errTruncated
	case err == io.EOF && b.length < 0 && cut:
		return errTruncated
	case err == io.EOF:
		return io.EOF
	case errors.Is(err, os.ErrDeadlineExceeded):
		return store.Errorf(store.CodeTimeout, "The body stopped moving; send it again.").WithCause(err)
	case cut:
		return errTruncated.WithCause(err)
	}
	return store.Errorf(store.CodeInvalid, "The body is not well-formed; check its chunks.").WithCause(err)
}

// prepare puts the body of a request in its place, before or at the time when
// it can be read. A client that waited for "100 Continue" passes here twice.
func prepare(c *fiber.Ctx) *BodyReader {
	ctx := c.Context()
	b := Body(c)
	stream := ctx.RequestBodyStream()
	length := ctx.Request.Header.ContentLength()
	if b == nil {
		if stream == nil && !(Waiting(c) && length >= -1) {
			return nil
		}
		b = &BodyReader{length: max(int64(length), -1)}
		b.conn, _ = ctx.Conn().(*conn)
		c.Locals(bodyKey{}, b)
	}
	b.stream = stream
	return b
}

// What is read away behind a handler that left part of a body, so that the
// connection can be kept.
const (
	drainBytes = 64 << 10
	drainTime  = 200 * time.Millisecond
)

// Guard is the middleware that makes bodies safe. Everything that reads one
// comes after it. It also turns a panic into an error.
func Guard(log *slog.Logger) fiber.Handler {
	return func(c *fiber.Ctx) error {
		ctx := c.Context()
		if err := checkFraming(ctx); err != nil {
			linger(ctx)
			return err
		}
		b := prepare(c)
		if b != nil && b.conn != nil && !Waiting(c) {
			b.conn.beginBody()
			defer b.finish(ctx)
		}
		return caught(c, log)
	}
}

// caught runs the handlers behind the guard.
func caught(c *fiber.Ctx, log *slog.Logger) (err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Error("panic in a handler", "path", c.Path(), "panic", r, "stack", string(debug.Stack()))
			linger(c.Context())
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return c.Next()
}

// finish makes sure that what a handler left unread is never taken for the
// next request: a small rest is read away, or else the connection ends.
func (b *BodyReader) finish(ctx *fasthttp.RequestCtx) {
	defer b.conn.endBody()
	if b.err == nil && (b.length < 0 || b.length-b.n <= drainBytes) {
		b.conn.endBody() // the deadline no longer slides
		b.limit = 0
		if b.conn.SetReadDeadline(time.Now().Add(drainTime)) == nil {
			io.CopyN(io.Discard, b, drainBytes+1) //nolint:errcheck // b.err tells
		}
	}
	if b.err != io.EOF {
		linger(ctx)
	}
}

// checkFraming refuses a request that two parties could read differently
// (RFC 9112, 6.1): with both a length and a transfer coding.
func checkFraming(ctx *fasthttp.RequestCtx) error {
	if len(ctx.Request.Header.Peek(fiber.HeaderTransferEncoding)) == 0 && ctx.Request.Header.ContentLength() != -1 {
		return nil
	}
	for line := range bytes.Lines(ctx.Request.Header.RawHeaders()) {
		name, _, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(bytes.TrimSpace(name), []byte(fiber.HeaderContentLength)) {
			return store.Errorf(store.CodeInvalid, "Send either Content-Length or Transfer-Encoding, not both.")
		}
	}
	return nil
}

// FileSection is a response body of n bytes of f from offset. The kernel
// copies it where it can. Closing it closes behind.
func FileSection(f *os.File, offset, n int64, behind io.Closer) io.ReadCloser {
	return &fileSection{f, offset, n, behind}
}

type fileSection struct {
	f            *os.File
	offset, left int64
	behind       io.Closer
}

// Read implements io.Reader, for a connection that cannot take the file.
func (s *fileSection) Read(p []byte) (int, error) {
	if s.left <= 0 {
		return 0, io.EOF
	}
	n, err := s.f.ReadAt(p[:min(int64(len(p)), s.left)], s.offset)
	s.offset += int64(n)
	s.left -= int64(n)
	if err == io.EOF && s.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// WriteTo implements io.WriterTo: a limited *os.File is what sendfile takes.
func (s *fileSection) WriteTo(w io.Writer) (int64, error) {
	if _, err := s.f.Seek(s.offset, io.SeekStart); err != nil {
		return 0, err
	}
	n, err := io.Copy(w, &io.LimitedReader{R: s.f, N: s.left})
	s.offset += n
	s.left -= n
	return n, err
}

// Close implements io.Closer.
func (s *fileSection) Close() error { return s.behind.Close() }
