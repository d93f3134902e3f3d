package transport

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// paced is an accepted socket whose deadlines slide: a transfer that moves is
// never cut, however slowly it moves, and one that does not is. It lies below
// TLS, where a read or write that timed out could not be continued.
type paced struct {
	net.Conn // TCP or Unix
	idle     time.Duration

	stopped   atomic.Bool // nothing more is read of this body
	receiving bool        // a body is being read; otherwise the read deadline is fasthttp's
	readArm   time.Time   // when the read deadline was set last
	writeArm  time.Time
	sent      int64 // bytes given to the kernel
	taken     int64 // of these, how many the peer had taken at writeArm
}

// A deadline is moved when an eighth of it has passed, because moving it costs
// a timer (and for writes a system call).
func (p *paced) due(armed, now time.Time) bool { return now.Sub(armed) > p.idle/8 }

// receive begins or ends the time in which a body is read.
func (p *paced) receive(on bool) {
	p.stopped.Store(false)
	p.receiving = on
	p.readArm = time.Time{}
}

// interrupt ends the reading of a body, from any goroutine.
func (p *paced) interrupt() {
	p.stopped.Store(true)
	p.SetReadDeadline(time.Unix(1, 0)) //nolint:errcheck // fails only when closed
}

// Read implements net.Conn.
func (p *paced) Read(b []byte) (int, error) {
	if now := time.Now(); p.receiving && p.due(p.readArm, now) {
		if err := p.SetReadDeadline(now.Add(p.idle)); err != nil {
			return 0, err
		}
		p.readArm = now
	}
	if p.stopped.Load() { // the deadline just set may have replaced that of interrupt
		return 0, os.ErrDeadlineExceeded
	}
	return p.Conn.Read(b)
}

// Write implements net.Conn.
func (p *paced) Write(b []byte) (n int, err error) {
	for {
		if err := p.armWrite(); err != nil {
			return n, err
		}
		k, err := p.Conn.Write(b[n:])
		n += k
		p.sent += int64(k)
		if !p.moved(err) {
			return n, err
		}
	}
}

// ReadFrom lets the kernel copy a section of a file to a TCP socket.
func (p *paced) ReadFrom(r io.Reader) (n int64, err error) {
	tcp, _ := p.Conn.(*net.TCPConn)
	section, _ := r.(*io.LimitedReader)
	if tcp == nil || section == nil {
		return io.Copy(struct{ io.Writer }{p}, r)
	}
	file, ok := section.R.(*os.File)
	if !ok {
		return io.Copy(struct{ io.Writer }{p}, r)
	}
	size := section.N
	start, err := file.Seek(0, io.SeekCurrent)
	if err != nil {
		return 0, err
	}
	for {
		if err := p.armWrite(); err != nil {
			return n, err
		}
		k, err := tcp.ReadFrom(section)
		n += k
		p.sent += k
		if !p.moved(err) {
			return n, err
		}
		// On a file system without sendfile more was read than written.
		section.N = size - n
		if _, err := file.Seek(start+n, io.SeekStart); err != nil {
			return n, err
		}
	}
}

func (p *paced) armWrite() error {
	now := time.Now()
	if !p.due(p.writeArm, now) {
		return nil
	}
	p.writeArm = now
	p.taken = p.sent - queued(p.Conn)
	return p.SetWriteDeadline(now.Add(p.idle))
}

// moved reports whether err is a write deadline that passed although the peer
// took something in that time. What it took is asked of the kernel: the kernel
// wakes a writer only when a good part of a buffer of megabytes is free again,
// which with a slow reader takes minutes. A peer that stops is noticed after
// one to two idle times.
func (p *paced) moved(err error) bool {
	if !errors.Is(err, os.ErrDeadlineExceeded) || p.sent-queued(p.Conn) <= p.taken {
		return false
	}
	p.writeArm = time.Time{} // due now
	return true
}
