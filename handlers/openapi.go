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

// api is the document as the reference shows it, read when somebody asks for
// the page first: a start does not wait for it.
var api = sync.OnceValues(func() (*views.API, error) { return views.ParseAPI(openAPIDoc) })

// referencePage handles GET /docs/api: the document for people.
func (s *Server) referencePage(c *fiber.Ctx) error {
	document, err := api()
	if err != nil {
		return fmt.Errorf("read openapi.yaml: %w", err)
	}
	return render(c, views.Reference{
		Shell: s.shell(c, text.Get("docs.reference"), "api"), API: document, Address: s.origin(c),
	}.Page)
}
