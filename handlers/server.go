// Package handlers is the HTTP side of the service: it parses a request,
// decides whether the caller may make it, makes one call of the store and
// renders the answer. It owns no rule about files, and it never touches the
// file system.
//
// routes.go shows every route with what it asks of the caller; errors.go is
// the only place where a status is decided; package transport below makes
// the connection safe. User content never runs in our origin: it is served as
// an attachment or under a sandbox policy (download.go).
package handlers

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/cors"
	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/segmentio/encoding/json"

	"upload-service/auth"
	"upload-service/handlers/transport"
	"upload-service/static"
	"upload-service/store"
)

// Config is what the HTTP side needs to know.
type Config struct {
	PublicURL      string         // scheme and host, no trailing slash; "" for path-absolute links
	Local          bool           // local mode: one owner, names of this machine only
	MaxRequestSize int64          // bytes; 0 for none
	RateLimit      int            // requests a minute, per owner and per network of a client; 0 for none
	CORSOrigins    []string       // origins, or "*"
	TrustedProxies []netip.Prefix // whose X-Forwarded-For is believed
	Limits         store.Limits   // shown by GET /api/v1/me
	TemporaryTTL   time.Duration  // shown by GET /api/v1/me
	Undo           time.Duration  // how long a delete can be taken back; 0 is not at all
	Version        string
	Assets         *static.Assets   // style sheet and scripts of the pages
	ContentURL     string           // scheme and host from which browsers get contents; "" for our own
	Now            func() time.Time // the clock of what goes out with a time of its own
	SigningKey     []byte           // of notes and tickets, see auth.SigningKey
	StaticURL      string           // in front of their names, no trailing slash; "" for our own /static
	Settings       []Setting        // shown to the operator
}

// Setting is one of the service, as it runs.
type Setting struct {
	Group, Name, Value, Help string
	Secret                   bool // then there is no value here
	Set                      bool // tells a secret, and a list that is empty, from what is absent
}

// Server holds what the handlers use. Its methods are the handlers.
type Server struct {
	cfg     Config
	store   *store.Store
	auth    *auth.Service
	log     *slog.Logger
	metrics *metrics
	limiter *limiter
	ready   func() bool

	contentHost string // of UPLOAD_CONTENT_URL, "" without
}

// New makes the app. ready is false while the process starts or drains.
// Metrics are registered with reg.
func New(cfg Config, st *store.Store, au *auth.Service, log *slog.Logger, reg *prometheus.Registry, ready func() bool) *fiber.App {
	s := &Server{cfg: cfg, store: st, auth: au, log: log, ready: ready}
	if s.cfg.StaticURL == "" {
		s.cfg.StaticURL = "/static"
	}
	_, s.contentHost, _ = strings.Cut(s.cfg.ContentURL, "://")
	s.metrics = newMetrics(reg)
	s.limiter = newLimiter(cfg.RateLimit)

	proxies := make([]string, len(cfg.TrustedProxies))
	for i, p := range cfg.TrustedProxies {
		proxies[i] = p.String()
	}
	app := fiber.New(transport.AppConfig(fiber.Config{
		AppName:                 "upload-service",
		JSONEncoder:             writeJSON,
		ErrorHandler:            s.refused,
		EnableTrustedProxyCheck: true, // X-Forwarded-Proto counts from these only
		TrustedProxies:          proxies,
	}))
	app.Use(s.observe)
	app.Use(transport.Guard())
	app.Use(s.secure)
	app.Use(s.splitHosts)
	if len(cfg.CORSOrigins) > 0 {
		preflight := cors.New(corsConfig(cfg.CORSOrigins))
		app.Use(func(c *fiber.Ctx) error {
			// A question about us, which a page asks behind its preflight: the
			// library takes it for nothing of its business.
			if c.Method() == fiber.MethodOptions && c.Get(fiber.HeaderAccessControlRequestMethod) == "" {
				s.letRead(c)
				return c.Next()
			}
			return preflight(c)
		})
	}
	app.Use("/tus", s.tusHeaders)
	for _, r := range s.table() {
		app.Add(r.method, r.path, s.admitRoute(r), r.handle)
		if r.method == fiber.MethodGet { // what can be got can be asked for (RFC 9110, 9.3.2)
			app.Add(fiber.MethodHead, r.path, s.admitRoute(r), r.handle)
		}
	}
	app.Use(withoutSlash)
	return app
}

// writeJSON is what answers are written with: for people with curl, too, so
// addresses are legible and the prompt begins a line. See docs/adr/0005.
func writeJSON(v any) ([]byte, error) {
	buf := jsonBuffers.Get().(*[]byte)
	defer jsonBuffers.Put(buf)
	b, err := json.Append((*buf)[:0], v, json.SortMapKeys)
	b = append(b, '\n')
	if cap(b) <= jsonBufferMax {
		*buf = b
	}
	return bytes.Clone(b), err
}

// jsonBuffers are where answers are written before their length is known: a
// page of a thousand files, grown from nothing, left four times its size behind.
var jsonBuffers = sync.Pool{New: func() any { return new([]byte) }}

const jsonBufferMax = 1 << 20 // bytes that are worth keeping

// requestID is the id that errors and logs of a request share.
func requestID(c *fiber.Ctx) string {
	id, ok := c.Locals("request").(string)
	if !ok {
		id = uuid.NewString()
		c.Locals("request", id)
	}
	return id
}
