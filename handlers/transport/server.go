// Package transport makes Fiber and fasthttp safe for streamed uploads: what
// happens on a connection before, beside and after a handler.
//
// It owns the settings of the server, the listener, the wrapped connection
// (conn.go), the only way to read a body (body.go) and the shutdown. Its
// promises: a body cut short is never read as complete; bytes that a handler
// left unread are never parsed as a request; a transfer that moves is never
// cut and one that stalls is; a client that is refused gets to read why.
//
// Handlers read Body(c) and never c.Body() or c.FormFile(), which would hold a
// whole upload in memory.
package transport

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"
)

// Config is how a Server treats its connections.
type Config struct {
	HeaderTimeout time.Duration // for the head of a request and the first 8 KiB of its body
	IdleTimeout   time.Duration // for a transfer that does not move, and between requests
	Log           *slog.Logger
}

// headerBuffer bounds the head of a request, in bytes.
const headerBuffer = 16 << 10

// AppConfig completes the configuration of an app that a Server serves.
func AppConfig(c fiber.Config) fiber.Config {
	c.Immutable = true // values outlive the request: they go to the store
	c.CaseSensitive = true
	c.StrictRouting = true
	c.DisableStartupMessage = true
	c.BodyLimit = math.MaxInt // in stream mode it limits nothing; Body does
	return c
}

// Server serves an app on one listener.
type Server struct {
	http *fasthttp.Server
	idle time.Duration

	mu       sync.Mutex
	ln       net.Listener
	conns    map[*conn]fasthttp.ConnState
	stopping bool
}

// NewServer makes a server for an app made with AppConfig, whose first
// middleware that reads bodies is Guard.
func NewServer(app *fiber.App, cfg Config) *Server {
	s := &Server{idle: cfg.IdleTimeout, conns: map[*conn]fasthttp.ConnState{}}
	s.http = &fasthttp.Server{
		Handler:                      app.Handler(),
		ErrorHandler:                 answerMalformed,
		ExpectHandler:                expect(app.Handler()),
		ConnState:                    s.track,
		ReadTimeout:                  cfg.HeaderTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		ReadBufferSize:               headerBuffer,
		MaxRequestBodySize:           math.MaxInt, // see AppConfig
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		ReduceMemoryUsage:            true, // an idle connection holds no buffers
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true,
		Logger:                       logger{cfg.Log},
		Concurrency:                  1 << 20,
	}
	return s
}

// Serve accepts connections until Shutdown, and then returns nil.
func (s *Server) Serve(ln net.Listener) error {
	s.mu.Lock()
	s.ln = ln
	stopping := s.stopping
	s.mu.Unlock()
	if stopping {
		return ln.Close()
	}
	err := s.http.Serve(&listener{ln, s.idle})
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// track follows the state of each connection. A request is running from its
// first byte to the last byte of its answer, downloads included.
func (s *Server) track(c net.Conn, state fasthttp.ConnState) {
	own, ok := c.(*conn)
	if !ok {
		return
	}
	s.mu.Lock()
	stopping := s.stopping
	if state == fasthttp.StateClosed || state == fasthttp.StateHijacked {
		delete(s.conns, own)
	} else {
		s.conns[own] = state
	}
	s.mu.Unlock()
	if stopping && state == fasthttp.StateIdle {
		own.Close()
	}
}

// Running is the number of requests that are running.
func (s *Server) Running() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, state := range s.conns {
		if state == fasthttp.StateActive {
			n++
		}
	}
	return n
}

// cutWait is how long Shutdown waits for handlers whose connections it cut.
const cutWait = 10 * time.Second

// Shutdown stops accepting, closes connections without a running request at
// once, and waits for the others until ctx is done; then it cuts them and
// returns ctx.Err(). When it returns, no handler is running any more.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping = true
	ln := s.ln
	s.mu.Unlock()
	var err error
	if ln != nil {
		err = ln.Close()
	}
	s.closeConns(func(state fasthttp.ConnState) bool { return state != fasthttp.StateActive })
	if s.drained(ctx) {
		return err
	}
	s.closeConns(func(fasthttp.ConnState) bool { return true })
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutWait)
	defer cancel()
	s.drained(last)
	return ctx.Err()
}

func (s *Server) closeConns(which func(fasthttp.ConnState) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, state := range s.conns {
		if which(state) {
			c.cut()
		}
	}
}

// drained waits until no connection is left, or ctx is done.
func (s *Server) drained(ctx context.Context) bool {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		s.mu.Lock()
		left := len(s.conns)
		s.mu.Unlock()
		if left == 0 {
			return true
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return false
		}
	}
}

// expect answers a client that waits for "100 Continue": the app handles the
// head of the request, up to the point where it would read the body. What
// refuses it there is the answer, and the body is not sent.
func expect(handle fasthttp.RequestHandler) func(*fasthttp.RequestCtx) int {
	return func(ctx *fasthttp.RequestCtx) int {
		ctx.SetUserValue(waitingKey{}, true)
		handle(ctx)
		admitted := ctx.UserValue(admittedKey{}) != nil
		ctx.SetUserValue(waitingKey{}, nil)
		if admitted {
			ctx.Response.Reset()
			return fasthttp.StatusContinue
		}
		linger(ctx) // the client may have begun to send all the same
		return ctx.Response.StatusCode()
	}
}

type (
	waitingKey  struct{}
	admittedKey struct{}
)

// Waiting reports whether the client waits for "100 Continue". The app then
// decides from the head of the request, calls Admitted instead of the handler
// that reads the body, and sees the request again when the body comes.
func Waiting(c *fiber.Ctx) bool { return c.Locals(waitingKey{}) != nil }

// Admitted lets a waiting client send its body.
func Admitted(c *fiber.Ctx) { c.Locals(admittedKey{}, true) }

// answerMalformed answers what is no request, or came too slowly to be one.
func answerMalformed(ctx *fasthttp.RequestCtx, err error) {
	linger(ctx)
	status, code, title := fasthttp.StatusBadRequest, "invalid", "Invalid request"
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	switch {
	case errors.As(err, &small):
		status, code, title = fasthttp.StatusRequestHeaderFieldsTooLarge, "too_large", "Header too large"
	case errors.As(err, &network) && network.Timeout():
		status, code, title = fasthttp.StatusRequestTimeout, "timeout", "Too slow"
	}
	ctx.Response.Reset()
	ctx.SetStatusCode(status)
	ctx.SetContentType("application/problem+json")
	ctx.SetBodyString(`{"type":"/docs/errors#` + code + `","title":"` + title + `","code":"` + code + `"}`)
}

// logger passes what fasthttp says about single connections on as debug
// messages: clients cause it, and operators need it rarely.
type logger struct{ log *slog.Logger }

func (l logger) Printf(format string, args ...any) {
	if l.log != nil {
		l.log.Debug("connection", "message", format, "args", args)
	}
}
