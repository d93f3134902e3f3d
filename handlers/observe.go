package handlers

import (
	"bytes"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/gofiber/fiber/v2/middleware/cors"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"

	"upload-service/handlers/transport"
	"upload-service/store"
)

// observe is the outermost middleware: it gives the request its id, renders
// its error, counts it and writes the access log.
func (s *Server) observe(c *fiber.Ctx) error {
	start := time.Now()
	c.Set("X-Request-Id", requestID(c))
	err := c.Next()
	if err != nil {
		if err := s.handleError(c, err); err != nil {
			return err
		}
	}
	if transport.Waiting(c) && err == nil {
		return nil // it comes again, with its body
	}
	route := c.Route().Path
	took := time.Since(start)
	s.metrics.duration.WithLabelValues(route).Observe(took.Seconds())
	s.record(c, route, took)
	return nil
}

// refused answers a request that transport does not let through to the router,
// and one whose answer failed. It is counted without a route.
func (s *Server) refused(c *fiber.Ctx, err error) error {
	c.Set("X-Request-Id", requestID(c))
	if isTus(c) {
		c.Set("Tus-Resumable", tusVersion)
	}
	s.letRead(c)
	if err := s.handleError(c, err); err != nil {
		return err
	}
	s.record(c, "", 0)
	return nil
}

// letRead lets a page of another origin read an answer that passes no
// middleware: to its client it would be a broken network, which is tried
// again. Where only one origin may, it is told without being asked: in a head
// that is too large the field may not have been reached.
func (s *Server) letRead(c *fiber.Ctx) {
	origin := strings.ToLower(c.Get(fiber.HeaderOrigin))
	if len(s.cfg.CORSOrigins) == 1 {
		origin = s.cfg.CORSOrigins[0] // an origin, or "*"
	} else {
		c.Vary(fiber.HeaderOrigin)
	}
	if slices.Contains(s.cfg.CORSOrigins, origin) {
		c.Set(fiber.HeaderAccessControlAllowOrigin, origin)
		c.Set(fiber.HeaderAccessControlExposeHeaders, exposedHeaders)
	}
}

// record counts a request that was answered and writes the access log.
func (s *Server) record(c *fiber.Ctx, route string, took time.Duration) {
	status := c.Response().StatusCode()
	var received int64
	if body := transport.Body(c); body != nil {
		received = body.Received()
	}
	method := methodOf(c)
	s.metrics.requests.WithLabelValues(method, route, strconv.Itoa(status)).Inc()
	s.metrics.received.Add(float64(received))
	level := slog.LevelInfo
	if route == "/healthz" || route == "/readyz" || route == "/metrics" {
		level = slog.LevelDebug
	}
	s.log.Log(c.UserContext(), level, "request",
		"id", requestID(c), "method", method, "path", loggedPath(c), "status", status, "received", received,
		"ms", took.Milliseconds(), "owner", principal(c).Owner.Slug, "from", s.address(c).String())
}

// loggedPath is the path without what opens something: neither the query, which
// may carry a sign-in code, nor a ticket.
func loggedPath(c *fiber.Ctx) string {
	path := c.Path()
	if rest, ok := strings.CutPrefix(path, contentPath); ok {
		_, name, _ := strings.Cut(rest, "/")
		return contentPath + "-/" + name
	}
	return path
}

// methodOf is the method for logs and labels: never a word that only the client
// knows.
func methodOf(c *fiber.Ctx) string {
	if m := c.Method(); slices.Contains(c.App().Config().RequestMethods, m) {
		return m
	}
	return "other"
}

// secure sets what every answer carries, and checks the name we were asked by.
func (s *Server) secure(c *fiber.Ctx) error {
	c.Set(fiber.HeaderXContentTypeOptions, "nosniff")
	c.Set(fiber.HeaderReferrerPolicy, "same-origin")
	c.Set(fiber.HeaderXFrameOptions, "DENY")
	c.Set(fiber.HeaderContentSecurityPolicy, nothingPolicy)
	if err := s.checkHost(c); err != nil {
		return err
	}
	return c.Next()
}

// nothingPolicy is for what is not a page: should a browser show it, it is only
// text.
const nothingPolicy = "default-src 'none'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"

// pagePolicy allows the script and the style sheet that carry the nonce of this
// page, what that script loads, pictures and sound also of UPLOAD_CONTENT_URL,
// and nothing inline. Our own origin is not enough to be a script: uploads are
// there too.
func (s *Server) pagePolicy(nonce string) string {
	media := "'self'"
	if s.cfg.ContentURL != "" {
		media += " " + s.cfg.ContentURL
	}
	return "default-src 'none'; script-src 'nonce-" + nonce + "' 'strict-dynamic'; style-src 'nonce-" + nonce +
		"'; img-src " + media + " blob: data:; media-src " + media + "; connect-src 'self'; form-action 'self'; " +
		"base-uri 'none'; frame-ancestors 'none'"
}

// exposedHeaders are those that pages of other origins may read.
const exposedHeaders = "ETag,Location,Content-Range,Content-Length,Content-Disposition,Retry-After,Repr-Digest,X-Request-Id," +
	"Tus-Version,Tus-Resumable,Tus-Max-Size,Tus-Extension,Tus-Checksum-Algorithm," +
	"Upload-Offset,Upload-Length,Upload-Metadata,Upload-Defer-Length,Upload-Concat,Upload-Expires,Upload-Token," +
	"Upload-Complete,Upload-Limit,X-Content-Transfer-Id"

// corsConfig lets pages of other origins call the API with a credential of
// their own. Cookies are never among them: what a cookie may do is decided by
// the origin of the request (checkOrigin).
func corsConfig(origins []string) cors.Config {
	// No AllowHeaders: an origin that is allowed may send any header.
	return cors.Config{
		AllowOrigins: strings.Join(origins, ","), AllowMethods: "GET,HEAD,PUT,POST,PATCH,DELETE,OPTIONS",
		ExposeHeaders: exposedHeaders, MaxAge: 86400,
	}
}

// metrics are what a monitoring system reads. Route patterns are labels, so
// their number is fixed; names and tokens never are.
type metrics struct {
	registry *prometheus.Registry
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	received prometheus.Counter
}

func newMetrics(reg *prometheus.Registry) *metrics {
	m := &metrics{
		registry: reg,
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "upload_requests_total", Help: "Requests by method, route and status.",
		}, []string{"method", "route", "status"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "upload_request_seconds", Help: "Time until the handler was done, by route.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 9),
		}, []string{"route"}),
		received: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "upload_received_bytes_total", Help: "Bytes of request bodies that were read.",
		}),
	}
	reg.MustRegister(m.requests, m.duration, m.received)
	return m
}

// metricsPage handles GET /metrics in the Prometheus text format.
func (s *Server) metricsPage(c *fiber.Ctx) error {
	families, err := s.metrics.registry.Gather()
	if err != nil {
		return err
	}
	format := expfmt.NewFormat(expfmt.TypeTextPlain)
	var out bytes.Buffer
	e := expfmt.NewEncoder(&out, format)
	for _, family := range families {
		if err := e.Encode(family); err != nil {
			return err
		}
	}
	c.Set(fiber.HeaderContentType, string(format))
	return c.Send(out.Bytes())
}

// healthz handles GET /healthz: the process is alive and answers.
func (s *Server) healthz(c *fiber.Ctx) error {
	return c.JSON(fiber.Map{"status": "ok"})
}

// readyz handles GET /readyz: it can take uploads now.
func (s *Server) readyz(c *fiber.Ctx) error {
	if !s.ready() {
		return &store.Error{Code: store.CodeUnavailable, Message: "The server is starting or shutting down.", RetryAfter: time.Second}
	}
	if _, err := s.store.Full(c.UserContext()); err != nil {
		return (&store.Error{
			Code: store.CodeUnavailable, Message: "The upload folder cannot be reached.", RetryAfter: time.Second,
		}).WithCause(err)
	}
	return c.JSON(fiber.Map{"status": "ready"})
}
