package handlers

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/store"
)

// me handles GET /api/v1/me.
func (s *Server) me(c *fiber.Ctx) error {
	p := principal(c)
	usage, err := s.store.UsageOf(c.UserContext(), p.Owner.ID)
	if err != nil {
		return err
	}
	l := s.cfg.Limits
	return c.JSON(fiber.Map{
		"owner": p.Owner.Slug, "id": p.Owner.ID, "admin": p.Can(auth.Admin), "scopes": p.Scopes,
		"usage": usageJSON{usage.Bytes(), usage.Count()},
		"limits": fiber.Map{
			"file_bytes": l.FileSize, "request_bytes": s.cfg.MaxRequestSize, "bytes": l.OwnerBytes,
			"files": l.OwnerFiles, "active": l.OwnerActive, "temporary_ttl": s.cfg.TemporaryTTL.String(),
		},
	})
}

type keyJSON struct {
	ID         string      `json:"id"`
	Name       string      `json:"name"`
	Scopes     auth.Scopes `json:"scopes"`
	CreatedAt  time.Time   `json:"created_at"`
	ExpiresAt  *time.Time  `json:"expires_at"`
	LastUsedAt *time.Time  `json:"last_used_at"`
	Key        string      `json:"key,omitempty"` // the secret, shown once
}

func keyShape(k auth.Key) keyJSON {
	return keyJSON{
		ID: k.ID, Name: k.Name, Scopes: k.Scopes, CreatedAt: k.CreatedAt.UTC(),
		ExpiresAt: optional(k.ExpiresAt), LastUsedAt: optional(k.LastUsedAt),
	}
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// listKeys handles GET /api/v1/keys.
func (s *Server) listKeys(c *fiber.Ctx) error {
	keys, err := s.auth.ListKeys(c.UserContext(), principal(c).Owner.ID)
	if err != nil {
		return err
	}
	list := make([]keyJSON, len(keys))
	for i, k := range keys {
		list[i] = keyShape(k)
	}
	return c.JSON(fiber.Map{"keys": list})
}

// createKey handles POST /api/v1/keys.
func (s *Server) createKey(c *fiber.Ctx) error {
	var req struct {
		Name      string   `json:"name"`
		Scopes    []string `json:"scopes"`
		ExpiresIn string   `json:"expires_in"`
	}
	if err := readJSON(c, &req); err != nil {
		return err
	}
	spec := auth.KeySpec{Name: req.Name}
	var err error
	if req.Scopes != nil && len(req.Scopes) == 0 { // of a program that found none to name: not all of them
		return store.FieldErrorf("scopes", "Name what the key may do, or leave scopes out for read, write and delete.")
	}
	if spec.Scopes, err = auth.ParseScopes(req.Scopes); err != nil {
		return err
	}
	if req.ExpiresIn != "" {
		if spec.ExpiresIn, err = parseDuration("expires_in", req.ExpiresIn); err != nil {
			return err
		}
		if spec.ExpiresIn == 0 {
			return store.FieldErrorf("expires_in", "A key that expires at once is of no use; name a longer life, for example 30d.")
		}
	}
	key, secret, err := s.auth.NewKey(c.UserContext(), principal(c), spec)
	if err != nil {
		return err
	}
	shape := keyShape(key)
	shape.Key = secret
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.Status(fiber.StatusCreated).JSON(shape)
}

// revokeKey handles DELETE /api/v1/keys/:id.
func (s *Server) revokeKey(c *fiber.Ctx) error {
	if err := s.auth.RevokeKey(c.UserContext(), principal(c), c.Params("id")); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}
