package handlers

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/handlers/jsonupload"
	"upload-service/handlers/transport"
	"upload-service/store"
)

// checkIngest runs before the body of a request that brings new contents.
func (s *Server) checkIngest(c *fiber.Ctx) error {
	if err := plainBody(c); err != nil {
		return err
	}
	if err := bodyOrPieces(c); err != nil {
		return err
	}
	spec := s.spec(c)
	var err error
	if spec.Size, err = announcedSize(c, spec.Size); err != nil {
		return err
	}
	return s.admissible(c, spec)
}

// bodyOrPieces refuses a request without a body, unless it begins an upload whose
// pieces come later.
func bodyOrPieces(c *fiber.Ctx) error {
	if _, ok := resumes(c); !ok && transport.Body(c) == nil {
		return errNoBody
	}
	return nil
}

// admissible tells a client that waits for "100 Continue" what the store would
// refuse. Any other request asks the store with the same words a moment later.
func (s *Server) admissible(c *fiber.Ctx, spec store.Spec) error {
	if !transport.Waiting(c) {
		return nil
	}
	return s.store.Admissible(c.UserContext(), principal(c).Owner.ID, spec)
}

// spec is what the head of a request says about the size of its contents. Of
// a form or a JSON document it says nothing exact.
func (s *Server) spec(c *fiber.Ctx) store.Spec {
	if c.Path() == "/api/v1/uploads" && !isMultipart(c) {
		return store.Spec{Size: transport.AnyBody(c).Length()}
	}
	return store.Spec{Size: -1}
}

// plainBody refuses what would have to be decoded or pieced together first.
func plainBody(c *fiber.Ctx) error {
	if e := c.Get(fiber.HeaderContentEncoding); e != "" && !strings.EqualFold(e, "identity") {
		return store.Errorf(store.CodeUnsupportedType, "Send the content without Content-Encoding; it is stored as it comes.")
	}
	if c.Get(fiber.HeaderContentRange) != "" {
		return store.Errorf(store.CodeInvalid, "A part of a file cannot be uploaded this way; send the whole file without Content-Range.")
	}
	return nil
}

func isMultipart(c *fiber.Ctx) bool { return mediaTypeOf(c) == fiber.MIMEMultipartForm }

// receive runs fn with an intake and closes it, whatever happens.
func (s *Server) receive(c *fiber.Ctx, spec store.Spec, fn func(context.Context, *store.Intake) error) (err error) {
	ctx := c.UserContext()
	spec.Allowed = s.stillMay(c, auth.Write)
	in, err := s.store.Receive(ctx, principal(c).Owner.ID, spec)
	if err != nil {
		return err
	}
	defer func() {
		if e := in.Close(background(c)); e != nil {
			s.log.Warn("an unfinished upload could not be removed yet", "request", requestID(c), "error", e)
		}
	}()
	return fn(ctx, in)
}

// legacyUpload handles PUT /api/upload: a JSON array of files, stored at
// their names.
func (s *Server) legacyUpload(c *fiber.Ctx) error {
	return s.receive(c, store.Spec{Size: -1}, func(ctx context.Context, in *store.Intake) error {
		if err := addJSON(ctx, in, transport.Body(c)); err != nil {
			return err
		}
		files, _, err := in.StoreFiles(ctx, store.Target{})
		if err != nil {
			return err
		}
		return c.JSON(fiber.Map{"success": true, "files": s.fileShapes(principal(c).Owner.Slug, files)})
	})
}

// legacyTemporary handles PUT /api/upload_temporary: the same body, kept
// under a token until a form makes it permanent.
func (s *Server) legacyTemporary(c *fiber.Ctx) error {
	return s.receive(c, store.Spec{Size: -1}, func(ctx context.Context, in *store.Intake) error {
		if err := addJSON(ctx, in, transport.Body(c)); err != nil {
			return err
		}
		u, err := in.StoreUpload(ctx, "")
		if err != nil {
			return err
		}
		shape := uploadShape(u)
		return c.JSON(fiber.Map{"token": shape.Token, "expires_at": shape.ExpiresAt, "files": shape.Files})
	})
}

// addJSON stores the files of a JSON array one after the other. A content may
// come before its name.
func addJSON(ctx context.Context, in *store.Intake, body io.Reader) error {
	r := jsonupload.New(body, jsonupload.Limits{Entries: store.MaxParts})
	defer r.Close()
	for n := 0; ; n++ {
		entry, err := r.Next()
		if err == io.EOF && n == 0 {
			return store.Errorf(store.CodeInvalid, "The array is empty; send at least one file.")
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		part, err := in.Add(ctx, entry, store.Content{})
		if err != nil {
			return err
		}
		name, err := entry.Finish()
		if err != nil {
			return err
		}
		if part.Name, err = store.ParsePath(name); err != nil {
			return err
		}
	}
}

// createUpload handles POST /api/v1/uploads: one raw content, or a form with
// several. All of it becomes one temporary upload.
func (s *Server) createUpload(c *fiber.Ctx) error {
	if r, ok := resumes(c); ok {
		if isMultipart(c) {
			return store.Errorf(store.CodeUnsupportedType, "Only a raw content can be resumed; send the file without a form around it.")
		}
		return s.resumableCreate(c, r, store.Begin{Name: rawName(c), Purpose: c.Query("purpose")})
	}
	if err := checkWhole(c); err != nil {
		return err
	}
	return s.receive(c, s.spec(c), func(ctx context.Context, in *store.Intake) error {
		purpose := c.Query("purpose")
		if isMultipart(c) {
			form, files, err := addForm(ctx, in, c, "")
			if err != nil {
				return err
			}
			if files == 0 {
				return errNoFile
			}
			if form.Get("purpose") != "" {
				purpose = form.Get("purpose")
			}
		} else if err := addRaw(ctx, in, c); err != nil {
			return err
		}
		u, err := in.StoreUpload(ctx, purpose)
		if err != nil {
			return err
		}
		c.Set(fiber.HeaderLocation, s.uploadURL(u.Token))
		if len(u.Parts) == 1 {
			reprDigest(c, u.Parts[0].SHA256)
		}
		wasWhole(c)
		return c.Status(fiber.StatusCreated).JSON(uploadShape(u))
	})
}

// rawName is the name that a request gives to a raw content, "" if none.
func rawName(c *fiber.Ctx) store.Path {
	if name := c.Query("filename"); name != "" {
		return store.CleanName(name, "")
	}
	_, params, err := mime.ParseMediaType(c.Get(fiber.HeaderContentDisposition))
	if err != nil || params["filename"] == "" {
		return ""
	}
	return store.CleanName(params["filename"], "")
}

func addRaw(ctx context.Context, in *store.Intake, c *fiber.Ctx) error {
	content, err := declared(c)
	if err != nil {
		return err
	}
	content.Name = rawName(c)
	_, err = in.Add(ctx, transport.Body(c), content)
	return err
}

// Bounds of the fields of a form, in bytes.
const (
	maxField      = 64 << 10
	maxFields     = 1 << 20 // all of them together
	maxFieldCount = 1000
	maxFieldName  = 256
	maxPartHead   = 16 << 10 // of each part: its name, file name and type
	maxEpilogue   = 64 << 10 // behind the last boundary
)

// formFields are the fields of a form that carry no file.
type formFields map[string][]string

// Get returns the first value of a field, "" if there is none.
func (f formFields) Get(name string) string {
	if len(f[name]) == 0 {
		return ""
	}
	return f[name][0]
}

// isBlank reports whether no field has a value: a file control that was left
// empty has none.
func (f formFields) isBlank() bool {
	for _, values := range f {
		for _, v := range values {
			if v != "" {
				return false
			}
		}
	}
	return true
}

// addForm stores the files of a multipart form as they come, wherever they
// stand among the fields, and reads the form to its very end. With a field
// name given, only files in that field are taken. files is their number.
func addForm(ctx context.Context, in *store.Intake, c *fiber.Ctx, field string) (form formFields, files int, err error) {
	body := transport.Body(c)
	_, params, err := mime.ParseMediaType(c.Get(fiber.HeaderContentType))
	if err != nil || params["boundary"] == "" {
		return nil, 0, store.Errorf(store.CodeInvalid, "The form has no boundary in its Content-Type.")
	}
	head := &bounded{r: body}
	r := multipart.NewReader(head, params["boundary"])
	form = formFields{}
	size, count := 0, 0
	for {
		head.left = maxPartHead
		part, err := r.NextRawPart()
		head.left = -1
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, 0, formError(err)
		}
		if part.FileName() != "" && (field == "" || field == part.FormName()) {
			content := store.Content{Name: store.CleanName(part.FileName(), ""), Type: part.Header.Get("Content-Type")}
			if _, err := in.Add(ctx, part, content); err != nil {
				return nil, 0, formError(err)
			}
			files++
			continue
		}
		// A file control that was left empty comes as a file without a name.
		value, err := io.ReadAll(io.LimitReader(part, maxField+1))
		if err != nil {
			return nil, 0, formError(err)
		}
		size += len(value) + len(part.FormName())
		count++
		if len(part.FormName()) > maxFieldName {
			return nil, 0, store.Errorf(store.CodeInvalid, "The name of a field has at most %d bytes.", maxFieldName)
		}
		if len(value) > maxField || size > maxFields || count > maxFieldCount {
			return nil, 0, store.FieldErrorf(part.FormName(), "The fields of the form are too long or too many.")
		}
		form[part.FormName()] = append(form[part.FormName()], string(value))
	}
	// The epilogue belongs to the body; what is left unread would be taken
	// for the next request.
	switch _, err := io.CopyN(io.Discard, body, maxEpilogue+1); {
	case err == nil:
		return nil, 0, store.Errorf(store.CodeInvalid, "More than %d bytes follow the last boundary of the form.", maxEpilogue)
	case err != io.EOF:
		return nil, 0, formError(err)
	}
	return form, files, nil
}

// bounded yields at most left bytes while that is not negative. The reader of
// forms holds the head of a part in memory, however long it is.
type bounded struct {
	r    io.Reader
	left int
}

// Read implements io.Reader.
func (b *bounded) Read(p []byte) (int, error) {
	if b.left < 0 {
		return b.r.Read(p)
	}
	if b.left == 0 {
		return 0, store.Errorf(store.CodeInvalid, "The head of a part of the form is longer than %d bytes.", maxPartHead)
	}
	n, err := b.r.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

var errNoFile = store.Errorf(store.CodeInvalid, "The form carries no file; add one with a file name.")

// formError names the cause of a failed form: an error of ours, or a form
// that is not well-formed.
func formError(err error) error {
	var e *store.Error
	if errors.As(err, &e) {
		return err
	}
	return store.Errorf(store.CodeInvalid, "The form is malformed or ends before its last boundary.").WithCause(err)
}

// uploadForm handles POST /upload, the form of the page: its files become
// permanent at once.
func (s *Server) uploadForm(c *fiber.Ctx) error {
	if !isMultipart(c) {
		return store.Errorf(store.CodeUnsupportedType, "Send the form as multipart/form-data.")
	}
	return s.receive(c, store.Spec{Size: -1}, func(ctx context.Context, in *store.Intake) error {
		form, files, err := addForm(ctx, in, c, "file")
		if err != nil {
			return err
		}
		if files == 0 {
			return errNoFile
		}
		folder, err := store.ParseFolder(form.Get("folder"))
		if err != nil {
			return err
		}
		stored, _, err := in.StoreFiles(ctx, store.Target{Folder: folder})
		if err != nil {
			return err
		}
		return s.uploaded(c, folder, stored)
	})
}
