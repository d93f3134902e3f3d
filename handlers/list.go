package handlers

import (
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
)

// maxPage is the most entries of one page of a listing.
const (
	maxPage     = 1000
	defaultPage = 100
)

// pageLimit reads ?limit=.
func pageLimit(c *fiber.Ctx) (int, error) {
	v := c.Query("limit")
	if v == "" {
		return defaultPage, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > maxPage {
		return 0, store.FieldErrorf("limit", "The limit is a number from 1 to %d.", maxPage)
	}
	return n, nil
}

type pageJSON struct {
	Files      []fileJSON `json:"files"`
	Folders    []string   `json:"folders"`
	NextCursor string     `json:"next_cursor"`
}

func (s *Server) pageShape(owner store.Owner, page store.Page) pageJSON {
	j := pageJSON{Files: s.fileShapes(owner.Slug, page.Files), Folders: page.Folders, NextCursor: page.Next}
	if j.Folders == nil {
		j.Folders = []string{}
	}
	return j
}

// listFiles handles GET /api/v1/files.
func (s *Server) listFiles(c *fiber.Ctx) error {
	owner, err := s.subject(c, c.Query("owner"))
	if err != nil {
		return err
	}
	q, err := readQuery(c)
	if err != nil {
		return err
	}
	page, err := s.store.ListFiles(c.UserContext(), owner.ID, q)
	if err != nil {
		return err
	}
	return c.JSON(s.pageShape(owner, page))
}

func readQuery(c *fiber.Ctx) (q store.Query, err error) {
	q = store.Query{
		Prefix: c.Query("prefix"), Contains: c.Query("q"),
		Sort: store.ByPath, Cursor: c.Query("cursor"),
	}
	if q.Limit, err = pageLimit(c); err != nil {
		return q, err
	}
	switch c.Query("delimiter") {
	case "":
	case "/":
		q.Delimiter = true
	default:
		return q, store.FieldErrorf("delimiter", "The delimiter is / or absent.")
	}
	switch sort := store.Sort(c.Query("sort", string(store.ByPath))); sort {
	case store.ByPath, store.Newest:
		q.Sort = sort
	default:
		return q, store.FieldErrorf("sort", "Sort by path or -created_at.")
	}
	for k, v := range c.Context().QueryArgs().All() {
		switch name := string(k); {
		case name == "tag":
			q.Tags = append(q.Tags, string(v))
		case strings.HasPrefix(name, "meta."):
			if q.Metadata == nil {
				q.Metadata = map[string]string{}
			}
			q.Metadata[name[len("meta."):]] = string(v)
		}
	}
	return q, nil
}

// listFolder answers for a folder of the tree: a page for browsers, JSON for
// everyone else.
func (s *Server) listFolder(c *fiber.Ctx, owner store.Owner, folder string) error {
	limit, err := pageLimit(c)
	if err != nil {
		return err
	}
	prefix, err := store.ParseFolder(folder)
	if err != nil {
		return err
	}
	if wantsHTML(c) || c.Get("HX-Request") == "true" {
		return s.filesPage(c, owner, prefix)
	}
	if prefix != "" {
		prefix += "/"
	}
	page, err := s.store.ListFiles(c.UserContext(), owner.ID, store.Query{
		Prefix: prefix, Delimiter: true, Sort: store.ByPath, Limit: limit, Cursor: c.Query("cursor"),
	})
	if err != nil {
		return err
	}
	return c.JSON(s.pageShape(owner, page))
}
