package handlers

import (
	_ "embed"

	"github.com/gofiber/fiber/v2"
)

// openAPIDoc describes every route, what it takes and what it answers. The
// tests hold every request and answer of theirs against it.
//
//go:embed openapi.yaml
var openAPIDoc []byte

// openAPI handles GET /openapi.yaml.
func (s *Server) openAPI(c *fiber.Ctx) error {
	c.Set(fiber.HeaderContentType, "application/yaml") // RFC 9512
	return c.Send(openAPIDoc)
}
