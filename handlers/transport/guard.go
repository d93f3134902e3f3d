package transport

import (
	"bytes"
	"fmt"
	"runtime/debug"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"upload-service/store"
)

// Guard is the middleware that makes bodies safe: Body works behind it, and
// what a handler leaves of a body is taken care of. It also turns a panic into
// an error, which closes the connection.
func Guard() fiber.Handler {
	return func(c *fiber.Ctx) (err error) {
		b := prepare(c)
		if b != nil && b.conn != nil && !Waiting(c) {
			b.conn.socket.receive(true)
			defer b.finish(c.Context())
		}
		defer func() {
			if r := recover(); r != nil {
				linger(c.Context())
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
		}()
		return c.Next()
	}
}

// checkFraming refuses a request whose end two parties could see in different
// places (RFC 9112, 2.2, 5.2 and 6.3), as far as fasthttp does not: one with
// bare line feeds or folded lines, or with Transfer-Encoding that also has a
// length or is not chunked.
func checkFraming(h *fasthttp.RequestHeader) error {
	var coding, length bool
	for line := range bytes.Lines(h.RawHeaders()) {
		if !bytes.HasSuffix(line, []byte("\r\n")) || line[0] == ' ' || line[0] == '\t' {
			return store.Errorf(store.CodeInvalid, "End each header line with CR and LF, and fold none.")
		}
		name, _, _ := bytes.Cut(line, []byte(":"))
		coding = coding || bytes.EqualFold(name, []byte(fiber.HeaderTransferEncoding))
		length = length || bytes.EqualFold(name, []byte(fiber.HeaderContentLength))
	}
	switch {
	case coding && length:
		return store.Errorf(store.CodeInvalid, "Send Content-Length or Transfer-Encoding, not both.")
	case coding && h.ContentLength() != -1:
		return store.Errorf(store.CodeInvalid, "The only transfer coding here is chunked.")
	}
	return nil
}

// hasField reports whether the client sent a header field.
func hasField(h *fasthttp.RequestHeader, field string) bool {
	for line := range bytes.Lines(h.RawHeaders()) {
		if name, _, _ := bytes.Cut(line, []byte(":")); bytes.EqualFold(name, []byte(field)) {
			return true
		}
	}
	return false
}
