package handlers

import (
	"context"
	"net"
	"net/netip"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/handlers/transport"
	"upload-service/store"
)

const (
	// maxSmallBody bounds JSON documents and forms, in bytes.
	maxSmallBody = 1 << 20
	// maxStrangersBody bounds those that need no credential: they are held in
	// memory, and anybody can send as many at once as there are connections. So
	// much arrives within UPLOAD_HEADER_TIMEOUT.
	maxStrangersBody = 8 << 10
)

// sessionCookie holds a random session id and nothing else.
const sessionCookie = "upload_session"

// admitRoute is the middleware in front of one route's handler. A client that
// waits for "100 Continue" is answered here, before it sends its body.
func (s *Server) admitRoute(r route) fiber.Handler {
	return func(c *fiber.Ctx) error {
		if err := s.admit(c, r); err != nil {
			return err
		}
		if transport.Waiting(c) {
			transport.Admitted(c)
			return nil
		}
		return c.Next()
	}
}

// admit makes every decision that needs only the head of a request, in this
// order, so that a stranger learns nothing and costs little.
func (s *Server) admit(c *fiber.Ctx, r route) error {
	// 1. Not more often than allowed, whoever it is. A request that waited for
	// "100 Continue" comes here twice and counts once. Probes do not count: who
	// is refused one restarts the service.
	counted := c.Locals("counted") != nil || r.need.probe
	c.Locals("counted", true)
	if !counted {
		if err := s.limiter.allow("address " + s.network(c)); err != nil {
			return err
		}
	}
	// 2. Who asks? A credential that is given must be right, even where none
	// is needed, but for getting another one.
	p, known, err := s.identify(c)
	if err != nil && !r.need.stranger {
		return err
	}
	if known && !counted {
		if err := s.limiter.allow("owner " + string(p.Owner.ID)); err != nil {
			return err
		}
	}
	if known {
		c.Locals("principal", p) // the page of a refusal is theirs, too
	}
	// 3. May they?
	if !r.need.public {
		if !known {
			return errSignIn
		}
		if r.need.scope != "" && !p.Can(r.need.scope) {
			return store.Errorf(store.CodeForbidden,
				"This needs the scope %q, which your credential does not have.", r.need.scope).WithCause(errNeedsScope)
		}
	}
	// 4. A body beyond the limit is not even begun.
	if body := transport.Body(c); body != nil {
		limit := s.cfg.MaxRequestSize
		if most := r.maxBody(); most > 0 && (limit <= 0 || limit > most) {
			limit = most
		}
		if limit > 0 {
			if body.Length() > limit {
				return tooLarge(limit)
			}
			body.Limit(limit)
		}
	} else if r.body == bigBody {
		return errNoBody
	}
	// 5. What the route itself can tell from the head.
	if r.check != nil {
		return r.check(c)
	}
	return nil
}

var errNoBody = store.Errorf(store.CodeLengthRequired, "Send a body, with Content-Length or chunked.")

var errSignIn = store.Errorf(store.CodeUnauthenticated, "Sign in, or send an API key: Authorization: Bearer ups_...")

// errOtherOwner is for a page that was made for somebody else than who is signed
// in now: what it asks for must not happen to their files.
var errOtherOwner = store.Errorf(store.CodeUnauthenticated, "Another account is signed in now. Load the page again.")

func tooLarge(limit int64) error {
	return store.TooLarge("A request to this address may have at most %d bytes.", limit)
}

// identify finds the caller. An Authorization header decides alone; only
// without one does a cookie count, and then only for requests that our own
// pages could have made.
func (s *Server) identify(c *fiber.Ctx) (p auth.Principal, known bool, err error) {
	ctx := c.UserContext()
	if header := c.Get(fiber.HeaderAuthorization); header != "" {
		scheme, token, _ := strings.Cut(header, " ")
		if !strings.EqualFold(scheme, "Bearer") || token == "" {
			return p, false, store.Errorf(store.CodeUnauthenticated, "Send the credential as: Authorization: Bearer <key or token>.")
		}
		p, err = s.auth.Bearer(ctx, strings.TrimSpace(token), s.network(c))
		return p, err == nil, err
	}
	id := s.cookie(c, sessionCookie)
	if id == "" {
		return p, false, nil
	}
	p, err = s.auth.Session(ctx, id)
	if store.CodeOf(err) == store.CodeUnauthenticated {
		return p, false, nil // an old cookie is like none
	}
	if err == nil && !safeMethod(c) {
		err = s.checkOrigin(c)
	}
	if owner := c.Get("Upload-Owner"); err == nil && owner != "" && owner != string(p.Owner.ID) {
		err = errOtherOwner
	}
	return p, err == nil, err
}

func safeMethod(c *fiber.Ctx) bool {
	m := c.Method()
	return m == fiber.MethodGet || m == fiber.MethodHead || m == fiber.MethodOptions
}

// checkOrigin refuses requests that another site makes with our cookie.
func (s *Server) checkOrigin(c *fiber.Ctx) error {
	return auth.CheckOrigin(s.origin(c), c.Get("Sec-Fetch-Site"), c.Get(fiber.HeaderOrigin))
}

// origin is our own, as configured or as the client reached us.
func (s *Server) origin(c *fiber.Ctx) string {
	if s.cfg.PublicURL != "" {
		return s.cfg.PublicURL
	}
	return c.Protocol() + "://" + string(c.Request().Host())
}

// stillMay asks for the credential again: what it allowed at the head of a
// long request may have been taken back. The client may be gone by now.
func (s *Server) stillMay(c *fiber.Ctx, scope auth.Scope) func() error {
	return func() error {
		c.SetUserContext(background(c))
		p, known, err := s.identify(c)
		if err == nil && (!known || p.Owner.ID != principal(c).Owner.ID || !p.Can(scope)) {
			err = errSignIn
		}
		return err
	}
}

// principal is who makes this request. Routes that are not public always have
// one.
func principal(c *fiber.Ctx) auth.Principal {
	p, _ := c.Locals("principal").(auth.Principal)
	return p
}

// subject is the owner a request is about: the caller, or the owner with a
// slug if the caller is an admin who reads or deletes. Anyone else learns
// nothing: an owner they may not see does not exist.
func (s *Server) subject(c *fiber.Ctx, slug string) (store.Owner, error) {
	p := principal(c)
	if slug == "" || slug == "me" || strings.EqualFold(slug, p.Owner.Slug) {
		return p.Owner, nil
	}
	if !p.Can(auth.Admin) {
		return store.Owner{}, store.Errorf(store.CodeNotFound, "There is nothing at this address.")
	}
	o, err := s.store.OwnerBySlug(c.UserContext(), slug)
	if m := c.Method(); err == nil && m != fiber.MethodGet && m != fiber.MethodHead && m != fiber.MethodDelete {
		err = store.Errorf(store.CodeForbidden, "An admin may read and delete what others have, not write to it.")
	}
	return o, err
}

// checkHost refuses, in local mode, names that are not of this machine: a
// page elsewhere could otherwise point its own name at 127.0.0.1 and read
// everything (DNS rebinding).
func (s *Server) checkHost(c *fiber.Ctx) error {
	if !s.cfg.Local {
		return nil
	}
	host := string(c.Request().Host())
	if s.cfg.PublicURL != "" && strings.HasSuffix(s.cfg.PublicURL, "://"+host) || s.onContentHost(c) {
		return nil
	}
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.Trim(name, "[]")
	if strings.EqualFold(name, "localhost") || strings.HasSuffix(strings.ToLower(name), ".localhost") {
		return nil
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return nil // an address cannot be rebound
	}
	return store.Errorf(store.CodeForbidden,
		"In local mode the service answers to localhost, to addresses, and to the name and port in UPLOAD_PUBLIC_URL; this request is for %q.",
		host[:min(len(host), 100)])
}

// network is what limits count as one client. Of IPv6 that is a /64: whoever has
// one address of it has all.
func (s *Server) network(c *fiber.Ctx) string {
	from := s.address(c)
	if from.Is6() {
		if net, err := from.WithZone("").Prefix(64); err == nil {
			return net.String()
		}
	}
	return from.String()
}

// address is the client's: the last one that a trusted proxy vouches for. The
// peer of a Unix socket is a proxy that may open it, so it is trusted.
func (s *Server) address(c *fiber.Ctx) netip.Addr {
	peer, _ := netip.AddrFromSlice(c.Context().RemoteIP())
	peer = peer.Unmap()
	socket := c.Context().RemoteAddr().Network() == "unix"
	var hops []string // of all lines: a proxy may add its own
	for _, line := range c.Request().Header.PeekAll(fiber.HeaderXForwardedFor) {
		hops = append(hops, strings.Split(string(line), ",")...)
	}
	for i := len(hops) - 1; i >= 0 && (socket || s.trusted(peer)); i-- {
		socket = false
		hop, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			break
		}
		peer = hop.Unmap()
	}
	return peer
}

func (s *Server) trusted(a netip.Addr) bool {
	for _, prefix := range s.cfg.TrustedProxies {
		if prefix.Contains(a) {
			return true
		}
	}
	return false
}

// background is for work that must end although the client is gone.
func background(c *fiber.Ctx) context.Context { return context.WithoutCancel(c.UserContext()) }
