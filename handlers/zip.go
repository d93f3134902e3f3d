package handlers

import (
	"archive/zip"
	"context"
	"io"
	"path"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
)

// zipPage is how many records are read at a time for an archive.
const zipPage = 512

// zipFolder handles GET and POST /zip/:slug/*: an archive of a folder, or of the
// files and folders that id and folder name, in the address or, when they are
// too many for it, in a form. It is made while it is sent: no
// transaction is open meanwhile and nothing is kept.
func (s *Server) zipFolder(c *fiber.Ctx) error {
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
	folder, err := store.ParseFolder(raw)
	if err != nil {
		return err
	}
	a := archive{server: s, owner: owner.ID, folder: folder}
	form, err := actionValues(c)
	if err != nil {
		return err
	}
	if len(form["id"]) > store.MaxBatch {
		return store.FieldErrorf("id", "Name at most %d files, or their folder.", store.MaxBatch)
	}
	for _, text := range form["id"] {
		id, err := store.ParseFileID(text)
		if err != nil {
			return err
		}
		f, err := s.store.GetFileByID(c.UserContext(), owner.ID, id)
		if err != nil {
			return err
		}
		a.files = append(a.files, f)
	}
	for _, text := range form["folder"] {
		f, err := store.ParseFolder(text)
		if err != nil {
			return err
		}
		a.folders = append(a.folders, f)
	}
	if len(a.files)+len(a.folders) == 0 {
		page, err := s.store.ListFiles(c.UserContext(), owner.ID, store.Query{Prefix: below(folder), Sort: store.ByPath, Limit: 1})
		if err != nil {
			return err
		}
		if len(page.Files) == 0 {
			return store.Errorf(store.CodeNotFound, "There are no files in this folder.")
		}
		a.folders = []string{folder}
	}
	name := path.Base("/" + folder)
	if folder == "" {
		name = owner.Slug
	}
	c.Set(fiber.HeaderContentType, "application/zip")
	c.Set(fiber.HeaderContentDisposition, contentDisposition("attachment", name+".zip"))
	c.Set(fiber.HeaderCacheControl, "private, no-store")
	c.Set(fiber.HeaderContentSecurityPolicy, contentPolicy)
	if c.Method() == fiber.MethodHead {
		c.Response().SkipBody = true
		return nil
	}
	ctx, cancel := context.WithCancel(background(c))
	r, w := io.Pipe()
	request := requestID(c)
	go func() {
		err := a.write(ctx, w)
		if err != nil && ctx.Err() == nil { // the reader is there, and has its status
			s.log.Error("an archive was cut off", "request", request, "error", err)
		}
		w.CloseWithError(err)
	}()
	c.Context().SetBodyStream(stopping{r, cancel}, -1)
	return nil
}

// stopping ends the making of an archive that nobody reads any more.
type stopping struct {
	*io.PipeReader
	stop context.CancelFunc
}

// Close implements io.Closer.
func (s stopping) Close() error {
	s.stop()
	return s.PipeReader.Close()
}

func below(folder string) string {
	if folder == "" {
		return ""
	}
	return folder + "/"
}

// archive is what goes into a zip file.
type archive struct {
	server  *Server
	owner   store.OwnerID
	folder  string // names are relative to it
	files   []store.File
	folders []string
}

// write makes the archive. An error leaves it without its end, so that nobody
// takes it for complete; a file that is deleted meanwhile is named in it.
func (a archive) write(ctx context.Context, w io.Writer) error {
	z := zip.NewWriter(w)
	var missing []string
	list := "MISSING.txt"
	add := func(f store.File) error {
		name := strings.TrimPrefix(string(f.Path), below(a.folder))
		if name == list {
			list = "_" + list
		}
		err := a.add(ctx, z, name, f)
		if store.CodeOf(err) == store.CodeNotFound {
			missing = append(missing, name)
			return nil
		}
		return err
	}
	for _, f := range a.files {
		inside := func(folder string) bool { return strings.HasPrefix(string(f.Path), below(folder)) }
		if slices.ContainsFunc(a.folders, inside) {
			continue // it comes with its folder
		}
		if err := add(f); err != nil {
			return err
		}
	}
	for _, folder := range a.folders {
		q := store.Query{Prefix: below(folder), Sort: store.ByPath, Limit: zipPage}
		for {
			page, err := a.server.store.ListFiles(ctx, a.owner, q)
			if err != nil {
				return err
			}
			for _, f := range page.Files {
				if err := add(f); err != nil {
					return err
				}
			}
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
	}
	if len(missing) > 0 {
		e, err := z.Create(list)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(e, strings.Join(missing, "\n")+"\n"); err != nil {
			return err
		}
	}
	return z.Close()
}

// add writes one file. It is stored as it is: most are compressed already.
func (a archive) add(ctx context.Context, z *zip.Writer, name string, f store.File) error {
	r, err := a.server.store.OpenFile(ctx, f, 0, f.Size)
	if store.CodeOf(err) == store.CodeNotFound { // replaced since it was listed?
		if f, err = a.server.store.GetFileByID(ctx, a.owner, f.ID); err != nil {
			return err
		}
		r, err = a.server.store.OpenFile(ctx, f, 0, f.Size)
	}
	if err != nil {
		return err
	}
	defer r.Close()
	e, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store, Modified: f.UpdatedAt.UTC()})
	if err != nil {
		return err
	}
	n, err := io.Copy(e, r)
	if err == nil && n != f.Size {
		err = io.ErrUnexpectedEOF
	}
	return err
}
