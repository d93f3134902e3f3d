package transport

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"sync"
	"time"

	"github.com/valyala/fasthttp"
)

// conn is a connection as fasthttp sees it. It remembers why reading ended,
// which fasthttp hides from a handler, and it closes in a way that lets the
// peer read the last answer.
type conn struct {
	net.Conn    // socket, or TLS over it
	socket      *paced
	lingering   chan struct{} // a slot for each connection that closes slowly
	readErr     error         // why nothing more can be read; nil as long as it can
	closeSlowly bool          // part of a body may be on its way
	unasked     bool          // the client waits for no "100 Continue"
	heading     bool          // what comes is kept in head
	head        []byte        // how the request begins, until a handler has it
	closing     sync.Once
}

// tlsConn is a conn that fasthttp recognises as secure.
type tlsConn struct {
	*conn
	tls *tls.Conn
}

// Handshake implements what fasthttp asks of a TLS connection.
func (c *tlsConn) Handshake() error { return c.tls.Handshake() }

// ConnectionState implements what fasthttp asks of a TLS connection.
func (c *tlsConn) ConnectionState() tls.ConnectionState { return c.tls.ConnectionState() }

func (c *conn) base() *conn { return c }

// baseOf is our part of a connection, nil if it is not of our listener.
func baseOf(c net.Conn) *conn {
	if own, ok := c.(interface{ base() *conn }); ok {
		return own.base()
	}
	return nil
}

// Read implements net.Conn. An error comes alone: TLS may give the last bytes
// together with the end, and then those bytes were no sign that more is
// missing.
func (c *conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		if c.heading {
			c.head = append(c.head, p[:min(n, headerBuffer-len(c.head))]...)
		}
		return n, nil
	}
	c.readErr = err
	return 0, err
}

// expectHead has the connection keep how the next request begins. What follows
// another in one packet is not seen.
func (c *conn) expectHead() { c.heading, c.head = true, nil }

// forgetHead ends that.
func (c *conn) forgetHead() { c.heading, c.head = false, nil }

// restore gives a request that was no whole one the method, the address and the
// origin it came with, as far as they were read: fasthttp forgets them, and what
// an answer looks like depends on them.
func (c *conn) restore(req *fasthttp.Request) {
	lines := bytes.Split(c.head, []byte("\n"))
	words := bytes.Split(lines[0], []byte(" "))
	if len(words) < 3 || !bytes.HasPrefix(words[1], []byte("/")) {
		return
	}
	req.Header.SetMethodBytes(words[0])
	req.SetRequestURIBytes(words[1])
	for _, line := range lines[:len(lines)-1] { // the last one may be cut
		name, value, _ := bytes.Cut(line, []byte(":"))
		if bytes.EqualFold(name, []byte(fasthttp.HeaderOrigin)) {
			req.Header.SetBytesV(fasthttp.HeaderOrigin, bytes.TrimSpace(value))
		}
	}
}

// interim is what fasthttp writes, alone, to a client that is to go on.
var interim = []byte("HTTP/1.1 100 Continue\r\n\r\n")

// Write implements net.Conn.
func (c *conn) Write(p []byte) (int, error) {
	if c.unasked && bytes.Equal(p, interim) {
		c.unasked = false
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// ReadFrom lets the kernel copy a file where there is no TLS.
func (c *conn) ReadFrom(r io.Reader) (int64, error) {
	if c.Conn == c.socket {
		return c.socket.ReadFrom(r)
	}
	return io.Copy(struct{ io.Writer }{c.Conn}, r)
}

// Bounds of a slow close.
const (
	lingerBytes = 8 << 20
	lingerTime  = 1 * time.Second
	lingerMax   = 64 // at once
)

// linger has the connection of a request closed slowly after the answer.
func linger(ctx *fasthttp.RequestCtx) {
	if c := baseOf(ctx.Conn()); c != nil {
		c.closeSlowly = true
	}
	ctx.SetConnectionClose()
}

// Close implements net.Conn. The kernel resets a connection that is closed
// with unread input, and the peer loses the answer that says why. So where a
// body may be on its way, only our side is closed at once.
func (c *conn) Close() (err error) {
	c.closing.Do(func() {
		if c.closeSlowly {
			select {
			case c.lingering <- struct{}{}:
				go c.readAway()
				return
			default: // too many of them
			}
		}
		err = c.Conn.Close()
	})
	return err
}

// readAway closes our side, and all of it once the peer has closed its own or
// a bound is reached.
func (c *conn) readAway() {
	defer func() { <-c.lingering }()
	socket := c.socket.Conn
	defer socket.Close()
	defer time.AfterFunc(lingerTime, func() { socket.Close() }).Stop()

	if secure, ok := c.Conn.(*tls.Conn); ok {
		secure.CloseWrite() //nolint:errcheck // the socket is closed in any case
	}
	half, ok := socket.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || socket.SetReadDeadline(time.Time{}) != nil {
		return
	}
	io.CopyN(io.Discard, socket, lingerBytes) //nolint:errcheck // however it ends
}

// cut closes the connection at once, whatever it does.
func (c *conn) cut() {
	c.closing.Do(func() { c.socket.Conn.Close() })
}
