package transport

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"syscall"
	"time"
)

// Listener accepts connections for a Server: TCP or Unix, with TLS or without.
type Listener struct {
	net.Listener
	tls *tls.Config // nil without TLS
}

// TLS names the PEM files of a certificate chain and of its key. With both
// empty there is no TLS.
type TLS struct{ Cert, Key string }

// Listen listens on host:port (IPv4, IPv6, or all addresses without a host) or
// on unix:/path. A socket file that nobody listens on any more is replaced;
// its group may connect.
func Listen(addr string, files TLS) (*Listener, error) {
	var config *tls.Config
	if files != (TLS{}) {
		cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
		if err != nil {
			return nil, fmt.Errorf("load the TLS certificate: %w", err)
		}
		config = &tls.Config{Certificates: []tls.Certificate{cert}, NextProtos: []string{"http/1.1"}}
	}
	ln, err := listen(addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	return &Listener{ln, config}, nil
}

func listen(addr string) (net.Listener, error) {
	path, unix := strings.CutPrefix(addr, "unix:")
	if !unix {
		return net.Listen("tcp", addr)
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// removeStale removes a socket that nobody listens on, and nothing else.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSocket == 0 {
		return errors.New("the file exists and is not a socket")
	}
	c, err := net.Dial("unix", path)
	if err == nil {
		return errors.Join(syscall.EADDRINUSE, c.Close())
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(path)
}

// acceptor makes connections of ours of what a Listener accepts.
type acceptor struct {
	*Listener
	idle      time.Duration
	lingering chan struct{}
}

// acceptPause is how long to wait when the process has no descriptor left for
// a connection. fasthttp would stop serving instead.
const acceptPause = 50 * time.Millisecond

// Accept implements net.Listener.
func (a *acceptor) Accept() (net.Conn, error) {
	accepted, err := a.Listener.Accept()
	for errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) ||
		errors.Is(err, syscall.ENOBUFS) || errors.Is(err, syscall.ENOMEM) {
		time.Sleep(acceptPause)
		accepted, err = a.Listener.Accept()
	}
	if err != nil {
		return nil, err
	}
	socket := &paced{Conn: accepted, idle: a.idle}
	c := &conn{Conn: socket, socket: socket, lingering: a.lingering}
	if a.tls == nil {
		return c, nil
	}
	secure := tls.Server(socket, a.tls)
	c.Conn = secure
	return &tlsConn{c, secure}, nil
}
