package transport_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/handlers/transport"
	"upload-service/store"
)

// Most tests here wait for a timeout and need no processor meanwhile, so more
// of them than there are processors can run at once.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// world is a running server with a small app, which has every kind of handler
// that a connection can suffer from.
type world struct {
	t    *testing.T
	cfg  transport.Config
	srv  *transport.Server
	addr net.Addr
	dir  string        // what GET /file/... serves
	log  lines         // of the server
	held chan struct{} // GET /hold answers when it is closed

	stored   atomic.Int64               // bodies that were read to their end
	pwned    atomic.Int64               // requests to /pwned, which only a smuggled one makes
	failures chan error                 // of reading a body
	closed   chan string                // responses from files that were closed
	bodies   chan *transport.BodyReader // of PUT /taken
}

// patient are timeouts that no test reaches.
func patient() transport.Config {
	return transport.Config{HeaderTimeout: time.Minute, IdleTimeout: time.Minute}
}

// start serves on 127.0.0.1.
func start(t *testing.T, cfg transport.Config) *world {
	t.Helper()
	return startOn(t, cfg, "127.0.0.1:0", transport.TLS{})
}

func startOn(
	t *testing.T, cfg transport.Config, addr string, files transport.TLS, change ...func(*transport.Server),
) *world {
	t.Helper()
	w := &world{
		t: t, cfg: cfg, dir: t.TempDir(), held: make(chan struct{}),
		failures: make(chan error, 1000), closed: make(chan string, 1000),
		bodies: make(chan *transport.BodyReader, 1),
	}
	w.cfg.Log = slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.srv = transport.NewServer(w.app(), w.cfg)
	for _, f := range change {
		f(w.srv)
	}
	ln, err := transport.Listen(addr, files)
	if err != nil {
		t.Fatalf("listen: %v", err)
	}
	w.addr = ln.Addr()
	served := make(chan error, 1)
	go func() { served <- w.srv.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		if err := w.srv.Shutdown(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("shutdown: %v", err)
		}
		if err := <-served; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return w
}

func (w *world) app() *fiber.App {
	app := fiber.New(transport.AppConfig(fiber.Config{ErrorHandler: w.answerError}))
	app.Use(transport.Guard())

	// What comes before a handler: who may, and how much.
	admit := func(c *fiber.Ctx) error {
		if c.Get("Authorization") == "none" {
			return store.Errorf(store.CodeUnauthenticated, "who are you?")
		}
		if limit, err := strconv.ParseInt(c.Get("Limit"), 10, 64); err == nil {
			b := transport.Body(c)
			if b.Length() > limit {
				return store.Errorf(store.CodeTooLarge, "declared")
			}
			b.Limit(limit)
		}
		if c.Get("Panic") != "" {
			panic("in the middle")
		}
		if transport.Waiting(c) {
			c.Locals("waited", true)
			c.Set("First-Pass", "1")
			transport.Admitted(c)
			return nil
		}
		return c.Next()
	}
	app.Get("/ok", func(c *fiber.Ctx) error { return c.SendString("ok") })
	app.Get("/pwned", func(c *fiber.Ctx) error {
		w.pwned.Add(1)
		return c.SendString("pwned")
	})
	app.Get("/protocol", func(c *fiber.Ctx) error { return c.SendString(c.Protocol()) })
	app.Put("/sink", admit, func(c *fiber.Ctx) error {
		n, err := io.Copy(io.Discard, transport.Body(c))
		if err != nil {
			w.failures <- err
			return err
		}
		w.stored.Add(1)
		if c.Locals("waited") != nil {
			c.Set("Waited", "1")
		}
		return c.SendString(fmt.Sprint(n))
	})
	app.Put("/taken", func(c *fiber.Ctx) error {
		b := transport.Body(c)
		w.bodies <- b
		_, err := io.Copy(io.Discard, b)
		if err != nil {
			w.failures <- err
		}
		return err
	})
	app.Put("/unread", admit, func(c *fiber.Ctx) error { return c.SendString("unread") })
	app.Put("/none", func(c *fiber.Ctx) error {
		return c.SendString(fmt.Sprint(transport.Body(c) == nil))
	})
	app.Put("/again", func(c *fiber.Ctx) error {
		b := transport.Body(c)
		_, first := io.Copy(io.Discard, b)
		n, second := b.Read(make([]byte, 100))
		return c.SendString(fmt.Sprint(first, " ", n, " ", second))
	})
	app.Get("/hold", func(c *fiber.Ctx) error {
		<-w.held
		return c.SendString("held")
	})
	app.Get("/panic", func(*fiber.Ctx) error { panic("in the handler") })
	app.Get("/file/:name", func(c *fiber.Ctx) error {
		f, err := os.Open(w.dir + "/" + c.Params("name"))
		if err != nil {
			return fiber.ErrNotFound
		}
		info, err := f.Stat()
		if err != nil {
			return err
		}
		from := int64(c.QueryInt("from"))
		size := info.Size() - from
		size += int64(c.QueryInt("beyond"))
		body := transport.FileSection(f, from, size, closer{f, w.closed})
		c.Context().SetBodyStream(body, int(size))
		return nil
	})
	return app
}

func (w *world) answerError(c *fiber.Ctx, err error) error {
	status := map[store.Code]int{
		store.CodeTruncated: 400, store.CodeInvalid: 400, store.CodeUnauthenticated: 401,
		store.CodeMethodNotAllowed: 405, store.CodeTimeout: 408, store.CodeTooLarge: 413,
		store.CodeLocked:         423,
		store.CodeHeaderTooLarge: 431,
	}[store.CodeOf(err)]
	var f *fiber.Error
	switch {
	case errors.As(err, &f):
		status = f.Code
	case status == 0:
		status = 500
		w.cfg.Log.Error("failed", "error", err)
	}
	return c.Status(status).SendString(err.Error())
}

// closer tells what was closed.
type closer struct {
	f    *os.File
	told chan string
}

func (c closer) Close() error {
	c.told <- c.f.Name()
	return c.f.Close()
}

// lines is a log to look at while it is written.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// client is a raw connection.
type client struct {
	net.Conn
	t *testing.T
	r *bufio.Reader
}

func (w *world) dial() *client {
	w.t.Helper()
	c, err := net.Dial(w.addr.Network(), w.addr.String())
	if err != nil {
		w.t.Fatalf("dial: %v", err)
	}
	return w.client(c)
}

func (w *world) client(c net.Conn) *client {
	w.t.Helper()
	w.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		w.t.Fatalf("deadline: %v", err)
	}
	return &client{c, w.t, bufio.NewReader(c)}
}

func (c *client) send(text string) {
	c.t.Helper()
	if _, err := io.WriteString(c, text); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// endSending closes our side and leaves the other open.
func (c *client) endSending() {
	c.t.Helper()
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		c.t.Fatalf("a %T cannot be closed by half", c.Conn)
	}
	if err := half.CloseWrite(); err != nil {
		c.t.Fatalf("close write: %v", err)
	}
}

type response struct {
	status int
	header http.Header
	body   string
	closes bool // it says Connection: close
}

func (c *client) response() response {
	c.t.Helper()
	r, err := c.tryResponse("GET")
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	return r
}

func (c *client) tryResponse(method string) (response, error) {
	r, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		return response{}, err
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return response{}, err
	}
	return response{r.StatusCode, r.Header, string(body), r.Close}, nil
}

// want reads a response and compares its status, and its body if one is given.
func (c *client) want(status int, body ...string) response {
	c.t.Helper()
	r := c.response()
	if r.status != status || len(body) > 0 && !strings.Contains(r.body, body[0]) {
		c.t.Fatalf("got %d %q, want %d %q", r.status, r.body, status, body)
	}
	return r
}

// wantEnd reads until the connection ends, and wants nothing more to come.
func (c *client) wantEnd() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if len(rest) > 0 {
		c.t.Errorf("got %q behind the last answer, want the end", rest)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		c.t.Errorf("the connection stays open")
	}
}

// wantAlive shows that the connection is still good for a request.
func (c *client) wantAlive() {
	c.t.Helper()
	c.send("GET /ok HTTP/1.1\r\nHost: h\r\n\r\n")
	c.want(200, "ok")
}

// soon polls until the condition holds.
func soon(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

// put is the head of an upload.
func put(path string, fields ...string) string {
	return "PUT " + path + " HTTP/1.1\r\nHost: h\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n"
}

// length is a field.
func length(n int) string { return fmt.Sprintf("Content-Length: %d", n) }

// chunks is s as a chunked body.
func chunks(s string) string { return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(s), s) }

const (
	chunked = "Transfer-Encoding: chunked"
	pwned   = "GET /pwned HTTP/1.1\r\nHost: h\r\n\r\n"
)

// overTLS makes a secure client.
func (w *world) overTLS() *client {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr.String())
	if err != nil {
		w.t.Fatalf("dial: %v", err)
	}
	return w.client(secured(c))
}

// secured is a client's TLS that trusts everybody.
func secured(c net.Conn) *tls.Conn {
	return tls.Client(c, &tls.Config{InsecureSkipVerify: true})
}
