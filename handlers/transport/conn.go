package transport

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"
)

// conn is every accepted connection. While a body is read it keeps a sliding
// deadline, it remembers whether the peer has stopped sending, and it closes
// in a way that lets the peer read the last answer.
type conn struct {
	net.Conn
	idle time.Duration

	body     atomic.Bool // a body is being read: the deadline slides
	ended    atomic.Bool // the peer ended or broke its side
	lingers  atomic.Bool // close slowly: part of a body is on its way
	readArm  time.Time   // when the read deadline was set last
	writeArm time.Time
	closing  sync.Once
}

// beginBody starts the sliding deadline. Before it, the deadline for the head
// of the request holds.
func (c *conn) beginBody() {
	c.readArm = time.Time{}
	c.body.Store(true)
}

func (c *conn) endBody() { c.body.Store(false) }

// Read implements net.Conn.
func (c *conn) Read(p []byte) (int, error) {
	if c.body.Load() {
		// A deadline costs a timer, so it is not moved at every read.
		if now := time.Now(); now.Sub(c.readArm) > c.idle/8 {
			c.readArm = now
			if err := c.Conn.SetReadDeadline(now.Add(c.idle)); err != nil {
				return 0, err
			}
		}
	}
	n, err := c.Conn.Read(p)
	if err != nil {
		c.ended.Store(true)
	}
	return n, err
}

// writeStep bounds one write under TLS, where a write that timed out cannot
// be continued.
const writeStep = 16 << 10

// Write implements net.Conn: a peer that reads, however slowly, is waited for.
func (c *conn) Write(p []byte) (n int, err error) {
	_, secure := c.Conn.(*tls.Conn)
	for {
		part := p[n:]
		if secure && len(part) > writeStep {
			part = part[:writeStep]
		}
		if err := c.armWrite(); err != nil {
			return n, err
		}
		k, err := c.Conn.Write(part)
		n += k
		if n == len(p) {
			return n, nil
		}
		if err != nil && (secure || k == 0 || !errors.Is(err, os.ErrDeadlineExceeded)) {
			return n, err
		}
		if err != nil {
			c.writeArm = time.Time{} // it moved: a new deadline
		}
	}
}

// ReadFrom lets the kernel copy a file to the socket (sendfile). Like Write it
// goes on as long as bytes move.
func (c *conn) ReadFrom(r io.Reader) (n int64, err error) {
	to, direct := c.Conn.(io.ReaderFrom)
	if !direct {
		return io.Copy(struct{ io.Writer }{c}, r)
	}
	for {
		c.writeArm = time.Time{}
		if err := c.armWrite(); err != nil {
			return n, err
		}
		k, err := to.ReadFrom(r)
		n += k
		if err == nil || k == 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}

func (c *conn) armWrite() error {
	now := time.Now()
	if now.Sub(c.writeArm) <= c.idle/8 {
		return nil
	}
	c.writeArm = now
	return c.Conn.SetWriteDeadline(now.Add(c.idle))
}

// Bounds of a slow close.
const (
	lingerBytes = 8 << 20
	lingerTime  = time.Second
	lingerMax   = 64 // at once
)

var lingering = make(chan struct{}, lingerMax)

// Close implements net.Conn. To close a socket with unread input makes the
// kernel reset it, and the peer loses the answer that says why; so where a
// body is on its way, our side is closed first and some of it is read away.
func (c *conn) Close() (err error) {
	c.closing.Do(func() {
		if !c.lingers.Load() {
			err = c.Conn.Close()
			return
		}
		select {
		case lingering <- struct{}{}:
		default:
			err = c.Conn.Close()
			return
		}
		go func() {
			defer func() { <-lingering }()
			c.readAway()
		}()
	})
	return err
}

// readAway closes the connection after the peer has, or after the bounds.
func (c *conn) readAway() {
	defer c.Conn.Close()
	raw := c.Conn
	if secure, ok := raw.(*tls.Conn); ok {
		secure.CloseWrite() //nolint:errcheck // the close below follows anyway
		raw = secure.NetConn()
	}
	if half, ok := raw.(interface{ CloseWrite() error }); !ok || half.CloseWrite() != nil {
		return
	}
	if raw.SetReadDeadline(time.Now().Add(lingerTime)) != nil {
		return
	}
	io.Copy(io.Discard, io.LimitReader(raw, lingerBytes)) //nolint:errcheck // whatever it is, we close
}

// cut closes the connection at once.
func (c *conn) cut() {
	c.closing.Do(func() { c.Conn.Close() })
}

// linger marks the connection of a request for a slow close after its answer.
func linger(ctx *fasthttp.RequestCtx) {
	if c, ok := ctx.Conn().(*conn); ok {
		c.lingers.Store(true)
	}
	ctx.SetConnectionClose()
}
