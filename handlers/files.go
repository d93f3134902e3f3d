package handlers

import (
	"context"
	"encoding/json"
	"io"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
)

// getPath handles GET and HEAD /files/:slug/*: a file, or a folder's list.
func (s *Server) getPath(c *fiber.Ctx) error {
	slug, err := pathSlug(c)
	if err != nil {
		return err
	}
	owner, err := s.subject(c, slug)
	if err != nil {
		return err
	}
	raw, err := decodePath(c.Params("*"))
	if err != nil {
		return err
	}
	if raw == "" || strings.HasSuffix(raw, "/") {
		return s.listFolder(c, owner, raw)
	}
	p, err := store.ParsePath(raw)
	if err != nil {
		return err
	}
	f, err := s.store.GetFile(c.UserContext(), owner.ID, p)
	if err != nil {
		return err
	}
	return s.serveFile(c, f)
}

// serveFile sends a file. One that is replaced between the look at its record
// and at its bytes is looked up once more.
func (s *Server) serveFile(c *fiber.Ctx, f store.File) error {
	if s.redirectsContent(c) {
		return s.toContent(c, f)
	}
	err := serve(c, s.fileContent(f))
	if store.CodeOf(err) != store.CodeNotFound {
		return err
	}
	if f, err = s.store.GetFileByID(c.UserContext(), f.Owner, f.ID); err != nil {
		return err
	}
	c.Status(fiber.StatusOK)
	c.Response().Header.Del(fiber.HeaderContentRange)
	return serve(c, s.fileContent(f))
}

func (s *Server) fileContent(f store.File) content {
	return content{
		name: f.Path.Base(), kind: f.ContentType, sniffed: f.Sniffed, size: f.Size, sha256: f.SHA256,
		etag: f.ETag(), modified: f.UpdatedAt,
		open: func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
			return s.store.OpenFile(ctx, f, offset, length)
		},
	}
}

// deletePath handles DELETE /files/:slug/*.
func (s *Server) deletePath(c *fiber.Ctx) error {
	slug, err := pathSlug(c)
	if err != nil {
		return err
	}
	owner, err := s.subject(c, slug)
	if err != nil {
		return err
	}
	p, err := filePath(c)
	if err != nil {
		return err
	}
	cond, err := condition(c)
	if err != nil {
		return err
	}
	if err := s.store.DeleteFile(c.UserContext(), owner.ID, p, cond); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// fileOf is the owner and the file id that a route by id is about.
func (s *Server) fileOf(c *fiber.Ctx) (owner store.Owner, id store.FileID, err error) {
	if owner, err = s.subject(c, c.Query("owner")); err != nil {
		return owner, id, err
	}
	id, err = store.ParseFileID(c.Params("id"))
	return owner, id, err
}

// getFile handles GET /api/v1/files/:id.
func (s *Server) getFile(c *fiber.Ctx) error {
	owner, id, err := s.fileOf(c)
	if err != nil {
		return err
	}
	f, err := s.store.GetFileByID(c.UserContext(), owner.ID, id)
	if err != nil {
		return err
	}
	return s.sendFileShape(c, owner, f)
}

func (s *Server) sendFileShape(c *fiber.Ctx, owner store.Owner, f store.File) error {
	c.Set(fiber.HeaderETag, f.ETag())
	return c.JSON(s.fileShape(owner.Slug, f))
}

// deleteFile handles DELETE /api/v1/files/:id.
func (s *Server) deleteFile(c *fiber.Ctx) error {
	owner, id, err := s.fileOf(c)
	if err != nil {
		return err
	}
	cond, err := condition(c)
	if err != nil {
		return err
	}
	if err := s.store.DeleteFileByID(c.UserContext(), owner.ID, id, cond); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// restoreFile handles POST /api/v1/files/:id/restore.
func (s *Server) restoreFile(c *fiber.Ctx) error {
	owner, id, err := s.fileOf(c)
	if err != nil {
		return err
	}
	f, err := s.store.RestoreFile(c.UserContext(), owner.ID, id)
	if err != nil {
		return err
	}
	return s.sendFileShape(c, owner, f)
}

// changeFile handles PATCH /api/v1/files/:id with a merge patch (RFC 7396).
func (s *Server) changeFile(c *fiber.Ctx) error {
	owner, id, err := s.fileOf(c)
	if err != nil {
		return err
	}
	cond, err := condition(c)
	if err != nil {
		return err
	}
	if kind := mediaTypeOf(c); kind != "application/merge-patch+json" && kind != fiber.MIMEApplicationJSON {
		return store.Errorf(store.CodeUnsupportedType, "Send the change as application/merge-patch+json.")
	}
	change, err := readChange(c)
	if err != nil {
		return err
	}
	f, err := s.store.ChangeFile(c.UserContext(), owner.ID, id, change, cond)
	if err != nil {
		return err
	}
	return s.sendFileShape(c, owner, f)
}

// readChange reads a merge patch. A member that is null is removed, which
// only metadata and tags allow.
func readChange(c *fiber.Ctx) (change store.Change, err error) {
	var doc struct {
		Path     *string         `json:"path"`
		Metadata json.RawMessage `json:"metadata"`
		Tags     json.RawMessage `json:"tags"`
	}
	if err := readJSON(c, &doc); err != nil {
		return change, err
	}
	if doc.Path != nil {
		p, err := store.ParsePath(*doc.Path)
		if err != nil {
			return change, err
		}
		change.Path = &p
	}
	if doc.Metadata != nil {
		if err := json.Unmarshal(doc.Metadata, &change.Metadata); err != nil {
			return change, store.FieldErrorf("metadata", "Metadata is an object of texts; null removes a key.").WithCause(err)
		}
		change.ClearMetadata = change.Metadata == nil
	}
	if doc.Tags != nil {
		tags := []string{}
		if err := json.Unmarshal(doc.Tags, &tags); err != nil {
			return change, store.FieldErrorf("tags", "Tags are a list of texts.").WithCause(err)
		}
		change.Tags = &tags
	}
	return change, nil
}
