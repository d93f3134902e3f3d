package handlers

import (
	"context"
	"encoding/hex"
	"io"
	"mime"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
	"upload-service/views"
	"upload-service/views/text"
)

// maxPreview is how much of a text a page shows, in bytes.
const maxPreview = 64 << 10

// filesPage shows one folder of an owner, or what a search found below it, and
// the details of the file that ?open= names. The whole of it is in the
// address.
func (s *Server) filesPage(c *fiber.Ctx, owner store.Owner, folder string) error {
	ctx := c.UserContext()
	prefix := folder
	if prefix != "" {
		prefix += "/"
	}
	limit, err := pageLimit(c)
	if err != nil {
		return err
	}
	q := store.Query{
		Prefix: prefix, Contains: c.Query("q"), Sort: store.ByPath, Limit: limit, Cursor: c.Query("cursor"),
	}
	if store.Sort(c.Query("sort")) == store.Newest {
		q.Sort = store.Newest
	}
	q.Delimiter = q.Contains == "" && q.Sort == store.ByPath
	page, err := s.store.ListFiles(ctx, owner.ID, q)
	if err != nil {
		return err
	}
	usage, err := s.store.UsageOf(ctx, owner.ID)
	if err != nil {
		return err
	}
	at := func(change func(url.Values)) string { // this page, but for a change
		v := url.Values{}
		for _, name := range []string{"q", "sort", "open", "limit"} {
			if value := c.Query(name); value != "" {
				v.Set(name, value)
			}
		}
		change(v)
		base := "/files/" + escapePath(owner.Slug+"/"+prefix)
		if len(v) == 0 {
			return base
		}
		return base + "?" + v.Encode()
	}
	v := views.Files{
		Shell: s.shell(c, text.Get("files.title"), "files"), Owner: owner.Slug,
		Mine: owner.ID == principal(c).Owner.ID, Final: s.cfg.Undo <= 0, Folder: prefix,
		URL: "/files/" + escapePath(owner.Slug+"/"+prefix), Zip: "/zip/" + escapePath(owner.Slug+"/"+prefix),
		Crumbs: crumbs(owner.Slug, prefix), Query: q.Contains, Sort: string(q.Sort),
		Storage: views.Storage{Used: usage.Bytes(), Quota: s.cfg.Limits.OwnerBytes, Files: usage.Files},
		Close:   at(func(v url.Values) { v.Del("open") }),
	}
	if page.Next != "" {
		v.Next = at(func(v url.Values) { v.Set("cursor", page.Next) })
	}
	details := v.Close + "?open="
	if strings.Contains(v.Close, "?") {
		details = v.Close + "&open="
	}
	for _, f := range page.Folders {
		v.Rows = append(v.Rows, views.Row{
			Name: strings.TrimSuffix(strings.TrimPrefix(f, prefix), "/"), Path: strings.TrimSuffix(f, "/"),
			URL: "/files/" + escapePath(owner.Slug+"/"+f), Kind: views.FolderKind, IsFolder: true,
		})
	}
	for _, f := range page.Files {
		id := f.ID.String()
		v.Rows = append(v.Rows, views.Row{
			ID: id, Name: strings.TrimPrefix(string(f.Path), prefix), URL: fileURL(owner, f), Details: details + id,
			Size: f.Size, Created: f.CreatedAt, Kind: views.KindOf(f.ContentType), Tags: f.Tags, IsOpen: id == c.Query("open"),
		})
	}
	if open := c.Query("open"); open != "" {
		if v.Open, err = s.details(c, owner, open); err != nil {
			return err
		}
	}
	return render(c, v.Page)
}

// crumbs are the folders above and including prefix; the last one is here.
func crumbs(slug, prefix string) []views.Crumb {
	list := []views.Crumb{{Name: slug, URL: "/files/" + escapePath(slug) + "/"}}
	for i, r := range prefix {
		if r == '/' {
			folder := prefix[:i+1]
			name := folder[strings.LastIndexByte(folder[:i], '/')+1 : i]
			list = append(list, views.Crumb{Name: name, URL: "/files/" + escapePath(slug+"/"+folder)})
		}
	}
	list[len(list)-1].URL = ""
	return list
}

// details is what the page shows of one file. One that is gone is nothing.
func (s *Server) details(c *fiber.Ctx, owner store.Owner, open string) (*views.Details, error) {
	id, err := store.ParseFileID(open)
	if err != nil {
		return nil, nil
	}
	f, err := s.store.GetFileByID(c.UserContext(), owner.ID, id)
	if store.CodeOf(err) == store.CodeNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	d := &views.Details{
		ID: open, Name: f.Path.Base(), Folder: strings.TrimSuffix(strings.TrimSuffix(string(f.Path), f.Path.Base()), "/"),
		URL: fileURL(owner, f), Full: s.origin(c) + fileURL(owner, f), Size: f.Size, Type: f.ContentType,
		Created: f.CreatedAt, Updated: f.UpdatedAt, SHA256: hex.EncodeToString(f.SHA256), Tags: f.Tags,
		Metadata: f.Metadata, ETag: f.ETag(), Kind: views.KindOf(f.ContentType), Preview: preview(f),
	}
	if d.Preview == "text" {
		if d.Text, err = s.beginning(c.UserContext(), f); err != nil {
			return nil, err
		}
		d.Cut = f.Size > maxPreview
	}
	return d, nil
}

// preview is how a page may show a file: only what a browser cannot run, by
// what the bytes look like.
func preview(f store.File) string {
	kind, _, err := mime.ParseMediaType(f.Sniffed)
	top, _, _ := strings.Cut(kind, "/")
	switch {
	case strings.HasSuffix(kind, "json"): // with application/geo+json and the like
		return "text"
	case err != nil, !inlineTypes[kind] && top != "text":
		return ""
	case kind == "application/pdf":
		return "pdf"
	}
	return top // of HTML and the like the source: as text it is harmless
}

// beginning reads the start of a text, cut between two characters.
func (s *Server) beginning(ctx context.Context, f store.File) (string, error) {
	r, err := s.store.OpenFile(ctx, f, 0, min(f.Size, maxPreview))
	if err != nil {
		return "", err
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxPreview))
	for i := 0; i < utf8.UTFMax && len(b) > 0 && !utf8.Valid(b[max(0, len(b)-utf8.UTFMax):]); i++ {
		b = b[:len(b)-1]
	}
	return strings.ToValidUTF8(string(b), "\ufffd"), err
}

// seeFolder sends a browser back to the folder it uploaded to.
func seeFolder(c *fiber.Ctx, folder string) error {
	to := "/"
	if folder != "" {
		to = "/files/me/" + escapePath(strings.TrimSuffix(folder, "/")) + "/"
	}
	return c.Redirect(to, fiber.StatusSeeOther)
}

// uploaded answers the form of the earlier service's page: an HTMX request
// gets the new rows, everybody else is sent back to the folder.
func (s *Server) uploaded(c *fiber.Ctx, folder string, files []store.File) error {
	if !isFragment(c) {
		return seeFolder(c, folder)
	}
	owner := principal(c).Owner
	var v views.Files
	for _, f := range files {
		v.Rows = append(v.Rows, views.Row{
			ID: f.ID.String(), Name: f.Path.Base(), URL: fileURL(owner, f), Details: fileURL(owner, f), Size: f.Size,
			Created: f.CreatedAt, Kind: views.KindOf(f.ContentType), Tags: f.Tags,
		})
	}
	return render(c, v.Fragment)
}

// chosen are the files and folders that a form names: one by its button, else
// all that are checked.
func chosen(form url.Values) (ids []store.FileID, folders []string, err error) {
	texts, folders := form["id"], form["folder"]
	if one := form.Get("only"); one != "" {
		texts, folders = []string{one}, nil
	}
	if one := form.Get("only_folder"); one != "" {
		texts, folders = nil, []string{one}
	}
	for _, t := range texts {
		id, err := store.ParseFileID(t)
		if err != nil {
			return nil, nil, err
		}
		ids = append(ids, id)
	}
	named := ids != nil || folders != nil
	for _, folder := range folders { // before anything is done to the others
		p, err := store.ParseFolder(folder)
		if err != nil {
			return nil, nil, err
		}
		named = named && p != ""
	}
	if !named {
		return nil, nil, store.FieldErrorf("id", "%s", text.Get("files.choose"))
	}
	return ids, folders, nil
}

// actionValues are the fields of an action: of its form, or of the address of
// an undo.
func actionValues(c *fiber.Ctx) (url.Values, error) {
	form, err := readFormValues(c)
	if err != nil {
		return nil, err
	}
	for k, v := range c.Context().QueryArgs().All() {
		form.Add(string(k), string(v))
	}
	return form, nil
}

// seeAgain goes back to the folder in which an action was made.
func (s *Server) seeAgain(c *fiber.Ctx, folder string, n views.Note) error {
	if err := s.note(c, n); err != nil {
		return err
	}
	slug := principal(c).Owner.Slug
	to := strings.Trim(slug+"/"+folder, "/") + "/"
	return c.Redirect("/files/"+escapePath(to), fiber.StatusSeeOther)
}

// deleteChosen handles POST /actions/delete. All of it is one undo.
func (s *Server) deleteChosen(c *fiber.Ctx) error {
	form, err := actionValues(c)
	if err != nil {
		return err
	}
	ids, folders, err := chosen(form)
	if err != nil {
		return err
	}
	ctx, owner := c.UserContext(), principal(c).Owner.ID
	batch := store.NewBatchID()
	n := len(ids)
	if n > 0 {
		if err := s.store.DeleteFiles(ctx, owner, batch, ids); err != nil {
			return err
		}
	}
	for _, folder := range folders {
		files, err := s.store.DeleteFolder(ctx, owner, batch, folder)
		if err != nil && (store.CodeOf(err) != store.CodeNotFound || n == 0) {
			return err // else it went meanwhile, and the rest keeps its undo
		}
		n += files
	}
	said := views.Note{Text: text.Get("files.deleted.n", n), Undo: s.undo(batch, form.Get("in"))}
	return s.seeAgain(c, form.Get("in"), said)
}

// restoreBatch handles POST /actions/restore/:batch, the undo of a delete or a
// move.
func (s *Server) restoreBatch(c *fiber.Ctx) error {
	batch, err := store.ParseBatchID(c.Params("batch"))
	if err != nil {
		return err
	}
	files, taken, err := s.store.RestoreBatch(c.UserContext(), principal(c).Owner.ID, batch)
	if err != nil {
		return err
	}
	said := text.Get("files.restored.n", len(files))
	if len(taken) > 0 {
		said += " " + text.Get("files.not_restored.n", len(taken))
	}
	return s.seeAgain(c, c.Query("in"), views.Note{Text: said, Bad: len(taken) > 0})
}

// moveChosen handles POST /actions/move. All of it is one undo.
func (s *Server) moveChosen(c *fiber.Ctx) error {
	form, err := actionValues(c)
	if err != nil {
		return err
	}
	ids, folders, err := chosen(form)
	if err != nil {
		return err
	}
	owner, to, batch := principal(c).Owner, strings.Trim(form.Get("to"), "/ "), store.NewBatchID()
	moved, err := s.store.MoveFiles(c.UserContext(), owner.ID, batch, ids, folders, to)
	if err != nil {
		return err
	}
	place := strings.TrimSuffix(owner.Slug+"/"+to, "/")
	said := views.Note{
		Text: text.Get("files.moved.n", moved, place), Link: "/files/" + escapePath(place) + "/",
		Undo: s.undo(batch, form.Get("in")),
	}
	return s.seeAgain(c, form.Get("in"), said)
}

// undo is where a batch is taken back, "" if nothing can be.
func (s *Server) undo(batch store.BatchID, folder string) string {
	if s.cfg.Undo <= 0 {
		return ""
	}
	return "/actions/restore/" + batch.String() + "?in=" + url.QueryEscape(folder)
}

// changeOne handles POST /actions/change: name, folder and tags of one file.
// Its undo is the change back.
func (s *Server) changeOne(c *fiber.Ctx) error {
	form, err := actionValues(c)
	if err != nil {
		return err
	}
	id, err := store.ParseFileID(form.Get("id"))
	if err != nil {
		return err
	}
	ctx, owner := c.UserContext(), principal(c).Owner.ID
	old, err := s.store.GetFileByID(ctx, owner, id)
	if err != nil {
		return err
	}
	p, err := store.ParsePath(strings.TrimPrefix(strings.Trim(form.Get("to"), "/ ")+"/"+form.Get("name"), "/"))
	if err != nil {
		return err
	}
	tags := splitTags(form["tag"])
	if tags == nil {
		tags = []string{}
	}
	cond := store.Condition{}
	if match := form.Get("if_match"); match != "" {
		cond.Match = []string{match}
	}
	f, err := s.store.ChangeFile(ctx, owner, id, store.Change{Path: &p, Tags: &tags}, cond)
	if err != nil {
		return err
	}
	said := views.Note{Text: text.Get("files.changed")}
	if s.cfg.Undo <= 0 {
		return s.seeAgain(c, form.Get("in"), said)
	}
	back := url.Values{ // unless it was changed again
		"id": {form.Get("id")}, "if_match": {f.ETag()}, "name": {old.Path.Base()}, "in": {form.Get("in")}, "tag": {strings.Join(old.Tags, ",")},
		"to": {strings.TrimSuffix(strings.TrimSuffix(string(old.Path), old.Path.Base()), "/")},
	}
	said.Undo = "/actions/change?" + back.Encode()
	return s.seeAgain(c, form.Get("in"), said)
}
