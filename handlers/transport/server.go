// Package transport makes Fiber and fasthttp safe for streamed bodies: what
// happens on a connection before, beside and after a handler. It knows no
// route and decides no status of the domain.
//
// It owns the settings of fasthttp, the listener (listen.go), the connection
// (conn.go, pace.go), the only way to read a body (body.go, guard.go), large
// responses (section.go) and the shutdown. What always holds: a body cut short
// is never read as complete; bytes that a handler left unread are never parsed
// as a request; a transfer that moves is never cut, and one that stalls is; a
// client that is refused can read why.
//
// Handlers read Body(c), and never c.Body(), c.FormFile() or c.SendFile().
// Those hold an upload in memory, or answer with what a file once was.
package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/valyala/fasthttp"

	"upload-service/store"
)

// Config is how a Server treats its connections. Every field is needed.
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
	c.StreamRequestBody = true
	c.DisablePreParseMultipartForm = true
	c.BodyLimit = math.MaxInt // for streams it is no limit; BodyReader has one
	return c
}

// Server serves an app on one listener, once.
type Server struct {
	app       *fiber.App
	run       fasthttp.RequestHandler // the app
	methods   []string                // that the app knows
	cfg       Config
	http      *fasthttp.Server
	lingering chan struct{}

	mu       sync.Mutex
	ln       net.Listener
	conns    map[*conn]fasthttp.ConnState
	stopping bool
}

// NewServer makes a server for an app that was made with AppConfig and has
// Guard in front of everything that reads a body.
func NewServer(app *fiber.App, cfg Config) *Server {
	s := &Server{
		app: app, run: app.Handler(), methods: app.Config().RequestMethods, cfg: cfg,
		lingering: make(chan struct{}, lingerMax),
		conns:     map[*conn]fasthttp.ConnState{},
	}
	s.http = &fasthttp.Server{
		Handler:                      s.handle,
		ErrorHandler:                 s.malformed,
		HeaderReceived:               decideFirst,
		ExpectHandler:                s.expect,
		ConnState:                    s.track,
		ReadTimeout:                  cfg.HeaderTimeout,
		IdleTimeout:                  cfg.IdleTimeout,
		ReadBufferSize:               headerBuffer,
		MaxRequestBodySize:           math.MaxInt, // see AppConfig
		StreamRequestBody:            true,
		DisablePreParseMultipartForm: true,
		ReduceMemoryUsage:            true, // an idle connection keeps no write buffer
		NoDefaultServerHeader:        true,
		NoDefaultContentType:         true,
		SecureErrorLogMessage:        true, // no header values
		Logger:                       logger{cfg.Log},
	}
	return s
}

// Serve accepts connections until Shutdown, and then returns nil.
func (s *Server) Serve(ln *Listener) error {
	s.mu.Lock()
	s.ln = ln
	stopping := s.stopping
	s.mu.Unlock()
	if stopping {
		return ln.Close()
	}
	return s.http.Serve(&acceptor{ln, s.cfg.IdleTimeout, s.lingering})
}

// handle runs the app for a request.
func (s *Server) handle(ctx *fasthttp.RequestCtx) {
	if own := baseOf(ctx.Conn()); own != nil {
		own.forgetHead()
	}
	s.answer(ctx)
}

// answer runs the app.
func (s *Server) answer(ctx *fasthttp.RequestCtx) {
	// Panics in handlers end in Guard. One in the app itself must not end the
	// process either.
	defer func() {
		if r := recover(); r != nil {
			// Not the path, which may carry a ticket.
			s.cfg.Log.Error("panic", "method", string(ctx.Method()), "reason", r, "stack", string(debug.Stack()))
			answerInternal(ctx)
		}
	}()
	if err := s.check(ctx); err != nil {
		s.refuse(ctx, err)
		return
	}
	s.run(ctx)
	if s.isStopping() {
		ctx.SetConnectionClose()
	}
}

// decideFirst has a request with a large body pass as if its client waited for
// "100 Continue". Otherwise fasthttp asks the app only when the first 8 KiB of
// the body are there, and a client that sends none learns of no refusal. Of a
// small body the rest is read away behind a refusal, and the connection kept.
func decideFirst(h *fasthttp.RequestHeader) (none fasthttp.RequestConfig) {
	if h.IsHTTP11() && h.ContentLength() > drainBytes && len(h.Peek(fasthttp.HeaderExpect)) == 0 {
		h.Set(fasthttp.HeaderExpect, "100-continue")
	}
	return none
}

// expect runs the app for the head of a request whose client waits for "100
// Continue" (RFC 9110, 10.1.1). Unless the app admits the request, its answer
// stands and the body is not asked for.
func (s *Server) expect(ctx *fasthttp.RequestCtx) int {
	if own := baseOf(ctx.Conn()); own != nil {
		own.unasked = !hasField(&ctx.Request.Header, fasthttp.HeaderExpect) // see decideFirst
	}
	admitted := false
	ctx.SetUserValue(waitingKey{}, &admitted)
	s.answer(ctx)
	ctx.RemoveUserValue(waitingKey{})
	if !admitted {
		linger(ctx) // the client may have begun to send all the same
		return ctx.Response.StatusCode()
	}
	ctx.Response.Reset()
	ctx.Response.Header.SetNoDefaultContentType(true) // Reset forgets it
	return fasthttp.StatusContinue
}

type waitingKey struct{}

// Waiting reports whether the client waits for "100 Continue". The app then
// decides from the head of the request and calls Admitted in place of the
// handler that reads the body. When the body comes the request passes again,
// with the same Locals and a fresh response.
func Waiting(c *fiber.Ctx) bool {
	_, ok := c.Locals(waitingKey{}).(*bool)
	return ok
}

// Admitted lets a client that waits send its body.
func Admitted(c *fiber.Ctx) {
	if admitted, ok := c.Locals(waitingKey{}).(*bool); ok {
		*admitted = true
	}
}

// check refuses what must not reach the app, which answers a method it does
// not know before any middleware.
func (s *Server) check(ctx *fasthttp.RequestCtx) error {
	if !slices.Contains(s.methods, string(ctx.Method())) {
		return store.Errorf(store.CodeMethodNotAllowed, "This service does not know the method.")
	}
	return checkFraming(&ctx.Request.Header)
}

// refuse answers what does not reach the app, by its error handler, and ends
// the connection, because where the request ends is not known.
func (s *Server) refuse(ctx *fasthttp.RequestCtx, err error) {
	c := s.app.AcquireCtx(ctx)
	defer s.app.ReleaseCtx(c)
	if s.app.ErrorHandler(c, err) != nil {
		answerInternal(ctx)
	}
	linger(ctx)
}

// track follows the state of each connection. A request runs from its first
// byte to the last byte of its answer.
func (s *Server) track(c net.Conn, state fasthttp.ConnState) {
	own := baseOf(c)
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == fasthttp.StateClosed {
		delete(s.conns, own)
		return
	}
	s.conns[own] = state
	if state == fasthttp.StateNew || state == fasthttp.StateIdle {
		own.expectHead()
	}
	if s.stopping && state != fasthttp.StateActive {
		own.cut()
	}
}

func (s *Server) isStopping() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopping
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

// Refused is the number of connections that got no answer but 503, because as
// many were open as can be served.
func (s *Server) Refused() uint32 { return s.http.GetRejectedConnectionsCount() }

// cutWait is how long Shutdown waits for handlers whose connections it cut.
const cutWait = 10 * time.Second

// Shutdown ends the server. If ctx ends before the running requests have, they
// are cut off, and the error wraps ctx.Err(). When Shutdown returns, no handler
// runs any more, unless one did not end for ten seconds without a connection;
// the error says so.
func (s *Server) Shutdown(ctx context.Context) error {
	// 1. No new connections, and none that only waits for a request.
	s.mu.Lock()
	s.stopping = true
	ln := s.ln
	s.mu.Unlock()
	var closed error
	if ln != nil {
		closed = ln.Close()
	}
	if errors.Is(closed, net.ErrClosed) {
		closed = nil
	}
	s.cut(func(state fasthttp.ConnState) bool { return state != fasthttp.StateActive })

	// 2. Running requests to their end, or to the end of ctx.
	var unfinished error
	if !s.drained(ctx) {
		unfinished = fmt.Errorf("cut off %d requests: %w", s.Running(), ctx.Err())
		s.cut(func(fasthttp.ConnState) bool { return true })
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), cutWait)
		defer cancel()
		if !s.drained(last) {
			unfinished = fmt.Errorf("%w; %d of them still run", unfinished, s.Running())
		}
	}

	// 3. Answers that are still being read, which takes lingerTime at most.
	for range cap(s.lingering) {
		s.lingering <- struct{}{} // all of the slots: nobody has one
	}
	for range cap(s.lingering) {
		<-s.lingering
	}
	return errors.Join(closed, unfinished)
}

func (s *Server) cut(which func(fasthttp.ConnState) bool) {
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
	tick := time.NewTicker(time.Millisecond)
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

// malformed answers what is no request, or came too slowly to be one. Its cause
// stays out: it may quote the client.
func (s *Server) malformed(ctx *fasthttp.RequestCtx, err error) {
	var small *fasthttp.ErrSmallBuffer
	var network net.Error
	var errno syscall.Errno
	if own := baseOf(ctx.Conn()); own != nil {
		own.restore(&ctx.Request)
	}
	switch {
	case errors.As(err, &errno):
		return // the connection broke: nobody asks any more
	case errors.As(err, &small):
		s.refuse(ctx, store.Errorf(store.CodeHeaderTooLarge,
			"Keep the request line and the header fields below %d bytes.", headerBuffer))
	case errors.As(err, &network) && network.Timeout():
		s.refuse(ctx, store.Errorf(store.CodeTimeout, "The request did not arrive in time."))
	default:
		s.refuse(ctx, store.Errorf(store.CodeInvalid, "This is not a well-formed HTTP request."))
	}
}

// answerInternal is for where the app failed and cannot be asked.
func answerInternal(ctx *fasthttp.RequestCtx) {
	ctx.Response.Reset()
	ctx.SetStatusCode(fasthttp.StatusInternalServerError)
	ctx.SetContentType("application/problem+json")
	fmt.Fprintf(ctx, `{"type":"/docs/errors#%[1]s","title":"Internal error","status":%[2]d,`+
		`"detail":"Something went wrong on our side.","code":%[1]q}`, store.CodeInternal, ctx.Response.StatusCode())
	linger(ctx)
}

// logger takes what fasthttp says about connections that failed. What may be
// text of a client stays out, because it may be a credential; what remains are
// system errors, broken files, panics below a response, and (once a minute)
// that there are more connections than fasthttp serves.
type logger struct{ log *slog.Logger }

func (l logger) Printf(format string, args ...any) {
	if strings.Contains(format, "Server.Concurrency") {
		l.log.Warn("connections are refused: as many are open as can be served", "open", args)
		return
	}
	for _, arg := range args {
		err, _ := arg.(error)
		var errno syscall.Errno
		var panicked *fasthttp.ErrBodyStreamWritePanic
		if errors.As(err, &errno) || errors.As(err, &panicked) || errors.Is(err, errShortFile) {
			l.log.Warn("connection failed", "error", err)
		}
	}
}
