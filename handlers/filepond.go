package handlers

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/handlers/transport"
	"upload-service/store"
)

// FilePond (https://pqina.nl/filepond/docs/api/server/): POST brings a file or
// begins one in chunks, PATCH and HEAD with ?patch= go on with it, DELETE
// reverts, GET restores and loads. What it puts into the form is the text of
// the answer as it is: the token of the upload and nothing else.

var errChunks = errors.New("a form without a file, which begins chunks")

// filepondProcess handles POST /filepond: a form with a file, or one without
// that announces chunks.
func (s *Server) filepondProcess(c *fiber.Ctx) error {
	if !isMultipart(c) {
		return store.Errorf(store.CodeUnsupportedType, "Send the file as multipart/form-data, as FilePond does.")
	}
	var u store.Upload
	err := s.receive(c, store.Spec{Size: -1}, func(ctx context.Context, in *store.Intake) error {
		form, files, err := addForm(ctx, in, c, "")
		if err != nil {
			return err
		}
		if files == 0 && form.isBlank() {
			return errNoFile
		}
		if files == 0 {
			return errChunks
		}
		u, err = in.StoreUpload(ctx, "")
		return err
	})
	if errors.Is(err, errChunks) {
		u, err = s.filepondBegin(c)
	}
	if err != nil {
		return err
	}
	c.Set(fiber.HeaderContentType, fiber.MIMETextPlainCharsetUTF8)
	return c.Status(fiber.StatusCreated).SendString(string(u.Token))
}

// filepondBegin makes an upload that comes in chunks. A page that computes its
// headers itself leaves the length to the first chunk.
func (s *Server) filepondBegin(c *fiber.Ctx) (u store.Upload, err error) {
	b := store.Begin{Length: -1}
	if v := c.Get("Upload-Length"); v != "" {
		if b.Length, err = parseLength("Upload-Length", v); err != nil {
			return u, err
		}
	}
	return s.store.BeginUpload(c.UserContext(), principal(c).Owner.ID, b)
}

// filepondChunk handles PATCH /filepond?patch=: a chunk counts when all of it
// has come, since FilePond sends no part of one. It repeats a chunk without
// asking, so one that is there already is acknowledged again.
func (s *Server) filepondChunk(c *fiber.Ctx) error {
	token, err := store.ParseToken(c.Query("patch"))
	if err != nil {
		return err
	}
	if err := once(c, "Upload-Offset", "Upload-Length", "Upload-Name"); err != nil {
		return err
	}
	p := store.Piece{Length: -1, Last: store.AtLength, Whole: true, Allowed: s.stillMay(c, auth.Write)}
	if p.Offset, err = parseLength("Upload-Offset", c.Get("Upload-Offset")); err != nil {
		return err
	}
	if v := c.Get("Upload-Length"); v != "" {
		if p.Length, err = parseLength("Upload-Length", v); err != nil {
			return err
		}
	}
	if v := c.Get("Upload-Name"); v != "" { // UTF-8 as it is
		p.Name = store.CleanName(v, "")
	}
	body := transport.AnyBody(c)
	p.Size = body.Length()
	turn, err := s.store.TakeTurn(c.UserContext(), principal(c).Owner.ID, token, body.Interrupt)
	if err != nil {
		return err
	}
	defer turn.Release()
	g := turn.Upload().Growth
	switch {
	case g == nil:
		return store.Errorf(store.CodeConflict, "This upload did not come in chunks; nothing can be added to it.")
	case p.Offset < g.Offset && p.Size >= 0 && p.Size <= g.Offset-p.Offset,
		turn.Upload().State != store.Receiving && p.Size == 0 && p.Offset == g.Offset:
		_, err = io.Copy(io.Discard, body)
	default:
		err = turn.Append(c.UserContext(), body, p)
	}
	if g := turn.Upload().Growth; g != nil {
		c.Set("Upload-Offset", strconv.FormatInt(g.Offset, 10))
	}
	if err != nil {
		return err
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

// filepondOffset handles HEAD /filepond?patch=: how far an upload has come.
// What can be got can be asked for as well.
func (s *Server) filepondOffset(c *fiber.Ctx) error {
	if c.Query("patch") == "" {
		return s.filepondGet(c)
	}
	token, err := store.ParseToken(c.Query("patch"))
	if err != nil {
		return err
	}
	turn, err := s.store.TakeTurn(c.UserContext(), principal(c).Owner.ID, token, nil)
	if err != nil {
		return err
	}
	defer turn.Release()
	g := turn.Upload().Growth
	if g == nil {
		return store.Errorf(store.CodeNotFound, "There is no such upload.")
	}
	c.Set(fiber.HeaderCacheControl, "no-store")
	c.Set("Upload-Offset", strconv.FormatInt(g.Offset, 10))
	if g.Length >= 0 {
		c.Set("Upload-Length", strconv.FormatInt(g.Length, 10))
	}
	return nil
}

// filepondRevert handles DELETE /filepond: the id is the body, or ?id=.
func (s *Server) filepondRevert(c *fiber.Ctx) error {
	id := c.Query("id")
	if body := transport.Body(c); body != nil && id == "" {
		b, err := io.ReadAll(io.LimitReader(body, 100))
		if err != nil {
			return err
		}
		id = strings.TrimSpace(string(b))
	}
	token, err := store.ParseToken(id)
	if err != nil {
		return err
	}
	if err := s.store.DeleteUpload(c.UserContext(), principal(c).Owner.ID, token); err != nil {
		return err
	}
	c.Status(fiber.StatusNoContent)
	return nil
}

// filepondGet handles GET /filepond: ?restore= is the content of an upload,
// ?load= a file of the caller's, by its id or path.
func (s *Server) filepondGet(c *fiber.Ctx) error {
	switch {
	case c.Query("restore") != "":
		token, err := store.ParseToken(c.Query("restore"))
		if err != nil {
			return err
		}
		return s.serveUpload(c, principal(c).Owner, token)
	case c.Query("load") != "":
		f, err := s.loadFile(c, c.Query("load"))
		if err != nil {
			return err
		}
		return s.serveFile(c, f)
	case c.Query("fetch") != "":
		// The server would get any address for anybody, from inside the network.
		return store.Errorf(store.CodeForbidden, "This server does not fetch addresses; download the file and upload it.")
	}
	return store.FieldErrorf("restore", "Use ?restore=<id> or ?load=<file>.")
}

func (s *Server) loadFile(c *fiber.Ctx, source string) (store.File, error) {
	owner := principal(c).Owner.ID
	if id, err := store.ParseFileID(source); err == nil {
		return s.store.GetFileByID(c.UserContext(), owner, id)
	}
	path, err := store.ParsePath(source)
	if err != nil {
		return store.File{}, err
	}
	return s.store.GetFile(c.UserContext(), owner, path)
}
