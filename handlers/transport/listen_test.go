package transport_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/handlers/transport"
)

func TestListen(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, addr string }{
		{"IPv4", "127.0.0.1:0"},
		{"IPv6", "[::1]:0"},
		{"every address", ":0"},
		{"Unix", "unix:" + filepath.Join(t.TempDir(), "s")},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			w := startOn(t, patient(), test.addr, transport.TLS{})
			c := w.dial()
			c.wantAlive()
			c.send(put("/sink", length(3)) + "abc")
			c.want(200, "3")
			c.send("GET /protocol HTTP/1.1\r\nHost: h\r\n\r\n")
			c.want(200, "http")
		})
	}
}

func TestListenUnixSocketFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "s")
	listen := func() (*transport.Listener, error) {
		return transport.Listen("unix:"+path, transport.TLS{})
	}

	ln, err := listen()
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o660 {
		t.Errorf("got mode %v, want 0660", got)
	}
	if _, err := listen(); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("beside a running server: got %v, want %v", err, syscall.EADDRINUSE)
	}

	// A server that was killed leaves its socket behind.
	ln.Listener.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if ln, err = listen(); err != nil {
		t.Fatalf("over a stale socket: %v", err)
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("behind a clean end the socket is still there: %v", err)
	}

	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := listen(); err == nil {
		t.Error("a file that is no socket was taken for one")
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "precious" {
		t.Errorf("got %q, %v, want the file as it was", got, err)
	}
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	if _, err := transport.Listen(taken.Addr().String(), transport.TLS{}); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want %v", err, syscall.EADDRINUSE)
	}
	const nowhere = "/nowhere"
	for _, files := range []transport.TLS{{Cert: nowhere, Key: nowhere}, {Key: nowhere}} {
		if _, err := transport.Listen("127.0.0.1:0", files); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%+v: got %v, want %v", files, err, fs.ErrNotExist)
		}
	}
}

func TestTLS(t *testing.T) {
	t.Parallel()
	_, c := startSecure(t, patient(), true)
	c.send("GET /protocol HTTP/1.1\r\nHost: h\r\n\r\n")
	c.want(200, "https")
	c.send(put("/sink", length(100_000)) + string(make([]byte, 100_000)))
	c.want(200, "100000")
	c.send(put("/sink", "Authorization: none", length(100_000)) + string(make([]byte, 100_000)))
	c.want(401)
	c.wantEnd()
}

// A chunked upload is whole even if the end of the connection comes together
// with its end, which TLS 1.2 reports in one read.
func TestTLSEndWithTheLastChunk(t *testing.T) {
	t.Parallel()
	w, _ := startSecure(t, patient(), true)
	raw, err := net.Dial("tcp", w.addr.String())
	if err != nil {
		t.Fatal(err)
	}
	together := &gather{Conn: raw}
	config := &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	c := w.client(tls.Client(together, config))
	c.wantAlive()
	together.hold = true
	c.send(put("/sink", chunked) + chunks("hello"))
	c.endSending() // which also ends writing to raw, by a deadline
	if err := raw.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := raw.Write(together.held); err != nil {
		t.Fatal(err)
	}
	c.want(200, "5")
	c.wantEnd()
}

// gather holds back what is written.
type gather struct {
	net.Conn
	hold bool
	held []byte
}

func (g *gather) Write(p []byte) (int, error) {
	if !g.hold {
		return g.Conn.Write(p)
	}
	g.held = append(g.held, p...)
	return len(p), nil
}

// exhausted is a listener that has no descriptors left for a while.
type exhausted struct {
	net.Listener
	times int
}

func (e *exhausted) Accept() (net.Conn, error) {
	if e.times > 0 {
		e.times--
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return e.Listener.Accept()
}

func TestServeSurvivesExhaustedDescriptors(t *testing.T) {
	t.Parallel()
	ln, err := transport.Listen("127.0.0.1:0", transport.TLS{})
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, cfg: patient(), addr: ln.Addr()}
	ln.Listener = &exhausted{ln.Listener, 3}
	w.cfg.Log = slog.New(slog.DiscardHandler)
	app := fiber.New(transport.AppConfig(fiber.Config{}))
	app.Get("/ok", func(c *fiber.Ctx) error { return c.SendString("ok") })
	srv := transport.NewServer(app, w.cfg)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	w.dial().wantAlive()
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
}

// certificate writes a certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) transport.TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := transport.TLS{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
	for name, block := range map[string]*pem.Block{
		files.Cert: {Type: "CERTIFICATE", Bytes: der}, files.Key: {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
