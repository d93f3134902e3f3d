package handlers

import (
	"net/url"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
)

// decodePath decodes a path of the URL once. An encoded slash, backslash or
// zero byte is refused: proxies disagree about what they mean.
func decodePath(raw string) (string, error) {
	upper := strings.ToUpper(raw)
	for _, bad := range []string{"%2F", "%5C", "%00"} {
		if strings.Contains(upper, bad) {
			return "", store.FieldErrorf("path", "The address contains %s; use plain slashes between folders.", bad)
		}
	}
	s, err := url.PathUnescape(raw)
	if err != nil {
		return "", store.FieldErrorf("path", "The address contains a percent sign that is not an escape; write it as %%25.")
	}
	return s, nil
}

// filePath is the path of a file in the URL, behind the slug.
func filePath(c *fiber.Ctx) (store.Path, error) {
	s, err := decodePath(c.Params("*"))
	if err != nil {
		return "", err
	}
	if strings.HasSuffix(s, "/") || s == "" {
		return "", store.FieldErrorf("path", "This is the address of a folder; add the name of a file.")
	}
	return store.ParsePath(s)
}

// pathSlug is the slug in the URL.
func pathSlug(c *fiber.Ctx) (string, error) { return decodePath(c.Params("slug")) }
