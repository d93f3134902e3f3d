package handlers

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
)

// uploadOf is the owner and the token that a route is about.
func (s *Server) uploadOf(c *fiber.Ctx) (owner store.Owner, token store.Token, err error) {
	if owner, err = s.subject(c, c.Query("owner")); err != nil {
		return owner, token, err
	}
	token, err = store.ParseToken(c.Params("token"))
	return owner, token, err
}

// listUploads handles GET /api/v1/uploads.
func (s *Server) listUploads(c *fiber.Ctx) error {
	owner, err := s.subject(c, c.Query("owner"))
	if err != nil {
		return err
	}
	limit, err := pageLimit(c)
	if err != nil {
		return err
	}
	list, next, err := s.store.ListUploads(c.UserContext(), owner.ID, limit, c.Query("cursor"))
	if err != nil {
		return err
	}
	shapes := make([]uploadJSON, len(list))
	for i, u := range list {
		shapes[i] = uploadShape(u)
	}
	return c.JSON(fiber.Map{"uploads": shapes, "next_cursor": next})
}

// getUpload handles GET /api/v1/uploads/:token.
func (s *Server) getUpload(c *fiber.Ctx) error {
	owner, token, err := s.uploadOf(c)
	if err != nil {
		return err
	}
	u, err := s.store.GetUpload(c.UserContext(), owner.ID, token)
	if err != nil {
		return err
	}
	// A request that appends is not stopped, as HEAD does it. So the offset is
	// not the last word, and is not told as such.
	if u.State != store.Receiving || !s.store.InUse(owner.ID, token) {
		s.describe(c, u)
	}
	c.Set("Upload-Limit", s.uploadLimit(time.Until(u.ExpiresAt)))
	c.Set(fiber.HeaderCacheControl, "no-store")
	return c.JSON(uploadShape(u))
}

// deleteUpload handles DELETE /api/v1/uploads/:token.
func (s *Server) deleteUpload(c *fiber.Ctx) error {
	owner, token, err := s.uploadOf(c)
	if err != nil {
		return err
	}
	if err := s.store.DeleteUpload(c.UserContext(), owner.ID, token); err != nil {
		return err
	}
	return c.SendStatus(fiber.StatusNoContent)
}

// touchUpload handles POST /api/v1/uploads/:token/touch.
func (s *Server) touchUpload(c *fiber.Ctx) error {
	owner, token, err := s.uploadOf(c)
	if err != nil {
		return err
	}
	u, err := s.store.Touch(c.UserContext(), owner.ID, token)
	if err != nil {
		return err
	}
	return c.JSON(uploadShape(u))
}

// uploadContent handles GET and HEAD /api/v1/uploads/:token/content: the bytes
// of an upload that is not permanent yet; with several, ?file= names one.
func (s *Server) uploadContent(c *fiber.Ctx) error {
	owner, token, err := s.uploadOf(c)
	if err != nil {
		return err
	}
	return s.serveUpload(c, owner, token)
}

func (s *Server) serveUpload(c *fiber.Ctx, owner store.Owner, token store.Token) error {
	u, err := s.store.GetUpload(c.UserContext(), owner.ID, token)
	if err != nil {
		return err
	}
	if u.State != store.Ready {
		return store.Errorf(store.CodeConflict, "This upload is %s; its bytes can be read here only while it is ready.", u.State)
	}
	part, err := pickPart(u, c.Query("file"))
	if err != nil {
		return err
	}
	return serve(c, content{
		name: part.Name.Base(), kind: part.ContentType, sniffed: part.Sniffed, size: part.Size, sha256: part.SHA256,
		etag: part.ETag(), modified: u.CreatedAt,
		open: func(ctx context.Context, offset, length int64) (io.ReadCloser, error) {
			return s.store.OpenPart(ctx, part, offset, length)
		},
	})
}

func pickPart(u store.Upload, name string) (store.Part, error) {
	if name == "" && len(u.Parts) == 1 {
		return u.Parts[0], nil
	}
	if name == "" {
		return store.Part{}, store.FieldErrorf("file", "This upload has several files; name one with ?file=.")
	}
	for _, p := range u.Parts {
		if string(p.Name) == name {
			return p, nil
		}
	}
	return store.Part{}, store.Errorf(store.CodeNotFound, "This upload has no file of that name.")
}

// persistJSON is the body of both persist routes.
type persistJSON struct {
	Tokens     []string          `json:"tokens"`
	Folder     string            `json:"folder"`
	Metadata   map[string]string `json:"metadata"`
	Tags       []string          `json:"tags"`
	OnConflict string            `json:"on_conflict"`
	Expect     store.Expect      `json:"expect"`
}

// persistFields are what the form of both has.
var persistFields = []string{"token", "folder", "tag", "on_conflict"}

// persistOne handles POST /api/v1/uploads/:token/persist.
func (s *Server) persistOne(c *fiber.Ctx) error {
	req, err := readPersist(c)
	if err != nil {
		return err
	}
	if len(req.Tokens) > 0 {
		return store.FieldErrorf("tokens", "The address names the upload; send several tokens to /api/v1/persist.")
	}
	req.Tokens = []string{c.Params("token")}
	return s.persist(c, req)
}

// persistMany handles POST /api/v1/persist: all of the uploads or none.
func (s *Server) persistMany(c *fiber.Ctx) error {
	req, err := readPersist(c)
	if err != nil {
		return err
	}
	return s.persist(c, req)
}

func readPersist(c *fiber.Ctx) (req persistJSON, err error) {
	switch mediaTypeOf(c) {
	case fiber.MIMEApplicationForm:
	case fiber.MIMEMultipartForm:
		return req, store.Errorf(store.CodeUnsupportedType, "Send JSON or application/x-www-form-urlencoded.")
	default:
		return req, readJSON(c, &req)
	}
	form, err := readFormValues(c)
	if err != nil {
		return req, err
	}
	for field := range form { // see readJSON
		if !slices.Contains(persistFields, field) {
			return req, store.Errorf(store.CodeInvalid, "The fields of this form are %s.", strings.Join(persistFields, ", "))
		}
	}
	return persistJSON{
		Tokens: form["token"], Folder: form.Get("folder"), Tags: form["tag"], OnConflict: form.Get("on_conflict"),
	}, nil
}

func (s *Server) persist(c *fiber.Ctx, j persistJSON) error {
	conflict, err := store.ParseOnConflict(j.OnConflict)
	if err != nil {
		return err
	}
	req := store.Persist{Folder: j.Folder, Metadata: j.Metadata, Tags: j.Tags, OnConflict: conflict, Expect: j.Expect}
	for _, text := range j.Tokens {
		token, err := store.ParseToken(text)
		if err != nil {
			return err
		}
		req.Tokens = append(req.Tokens, token)
	}
	owner := principal(c).Owner
	files, repeated, err := s.store.PersistUploads(c.UserContext(), owner.ID, req)
	if err != nil {
		return err
	}
	if wantsHTML(c) { // a form of a page
		return seeFolder(c, req.Folder)
	}
	if !repeated {
		c.Status(fiber.StatusCreated)
	}
	return c.JSON(fiber.Map{"files": s.fileShapes(owner.Slug, files)})
}
