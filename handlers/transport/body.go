package transport

import (
	"errors"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"upload-service/store"
)

// BodyReader is the body of one request. It yields io.EOF only if the body
// came whole; anything else is an error, and stays one.
type BodyReader struct {
	stream io.Reader // nil as long as the client waits for "100 Continue"
	conn   *conn     // nil if the connection is not of our listener
	length int64     // as declared; -1 if chunked
	limit  int64     // 0 for none
	n      int64
	err    error

	mu          sync.Mutex
	interrupted bool
	finished    bool // the connection has gone on to the next request
}

type bodyKey struct{}

// Body returns the body of the request, nil if it has neither Content-Length
// nor Transfer-Encoding. It is the same when a client that waited for "100
// Continue" passes again, and keeps its limit.
func Body(c *fiber.Ctx) *BodyReader {
	b, _ := c.Locals(bodyKey{}).(*BodyReader)
	return b
}

// AnyBody is Body, but empty where the request has none.
func AnyBody(c *fiber.Ctx) *BodyReader {
	if b := Body(c); b != nil {
		return b
	}
	return &BodyReader{stream: strings.NewReader("")}
}

// prepare makes Body work: at the first pass of a client that waits without a
// stream, later with it.
func prepare(c *fiber.Ctx) *BodyReader {
	ctx := c.Context()
	b, stream := Body(c), ctx.RequestBodyStream()
	if b == nil {
		length := ctx.Request.Header.ContentLength() // -2 for neither header
		if stream == nil && (length < -1 || !Waiting(c)) {
			return nil
		}
		b = &BodyReader{length: int64(length), conn: baseOf(ctx.Conn())}
		c.Locals(bodyKey{}, b)
	}
	b.stream = stream
	return b
}

// Length is the declared number of bytes, -1 if the request does not say.
func (b *BodyReader) Length() int64 { return b.length }

// Received is how many bytes were read so far.
func (b *BodyReader) Received() int64 { return b.n }

// Limit makes Read fail with too_large behind n bytes; 0 is no limit.
func (b *BodyReader) Limit(n int64) { b.limit = n }

var (
	errNotYet = errors.New("the body is read while the client waits for 100 Continue")
	errCut    = store.Errorf(store.CodeTruncated, "The body ended before its end; send it again.")
	errTaken  = store.Errorf(store.CodeLocked, "Another request went on with this upload; ask how far it has come.")
	errStall  = store.Errorf(store.CodeTimeout, "The body stopped moving; send it again.")
	errChunks = store.Errorf(store.CodeInvalid, "The body is not well-formed; check its chunks.")
)

// Interrupt makes a running Read, and any later one, fail with code locked. It
// may be called from any goroutine, more than once, and too late.
func (b *BodyReader) Interrupt() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn == nil || b.finished {
		return
	}
	b.interrupted = true
	b.conn.socket.interrupt()
}

func (b *BodyReader) isInterrupted() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.interrupted
}

// Read implements io.Reader. Besides io.EOF its errors are of code truncated,
// timeout, locked, too_large, or invalid for malformed chunks.
func (b *BodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if b.stream == nil {
		return 0, errNotYet
	}
	n, err := b.stream.Read(p)
	b.n += int64(n)
	if over := b.n - b.limit; b.limit > 0 && over > 0 {
		b.err = store.TooLarge("A request to this address may have at most %d bytes.", b.limit)
		return n - int(min(over, int64(n))), b.err
	}
	b.err = b.judge(err)
	return n, b.err
}

// judge tells the end of a body from what only looks like it: fasthttp reports
// a connection that was cut as a plain end of file. With a declared length the
// count shows it. Chunks are whole if the last one was, and then nothing had
// to be read behind it.
func (b *BodyReader) judge(err error) error {
	var broken error
	if b.conn != nil {
		broken = b.conn.readErr
	}
	switch {
	case err == nil:
		return nil
	case err == io.EOF && b.n == b.length, err == io.EOF && b.length < 0 && broken == nil:
		return io.EOF
	case broken != nil && b.isInterrupted():
		return errTaken
	case errors.Is(broken, os.ErrDeadlineExceeded):
		return errStall
	case err == io.EOF, broken != nil:
		return errCut // without its cause: that is often io.EOF, which would pass for the end
	}
	return errChunks.WithCause(err)
}

// What is read away behind a handler that left part of a body, so that the
// connection can be kept.
const (
	drainBytes = 64 << 10
	drainTime  = 200 * time.Millisecond
)

// finish sees to it that what a handler left unread is never taken for the
// next request: a small rest is read away, else the connection ends.
func (b *BodyReader) finish(ctx *fasthttp.RequestCtx) {
	b.mu.Lock()
	b.finished = true
	b.mu.Unlock()
	b.conn.socket.receive(false)
	if b.err == nil && b.length-b.n <= drainBytes &&
		b.conn.SetReadDeadline(time.Now().Add(drainTime)) == nil {
		b.limit = 0
		io.CopyN(io.Discard, b, drainBytes+1) //nolint:errcheck // b.err has it
	}
	if b.err != io.EOF {
		linger(ctx)
	}
}
