package handlers

import (
	_ "embed"
	"fmt"
	"sync"

	"github.com/gofiber/fiber/v2"

	"upload-service/views"
	"upload-service/views/text"
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

// api is the document as the reference shows it. New asks for it, so that one
// that cannot be shown is found at the start.
var api = sync.OnceValue(func() *views.API {
	a, err := views.ParseAPI(openAPIDoc)
	if err != nil {
		panic(fmt.Sprintf("handlers/openapi.yaml: %v", err))
	}
	return a
})

// referencePage handles GET /docs/api: the document for people.
func (s *Server) referencePage(c *fiber.Ctx) error {
	return render(c, views.Reference{
		Shell: s.shell(c, text.Get("docs.reference"), "api"), API: api(), Address: s.origin(c),
	}.Page)
}
