package handlers

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
	"upload-service/views"
	"upload-service/views/text"
)

const (
	maxWaiting = 1000            // uploads that the page lists: as many as one form can submit
	maxLooked  = 10 * maxWaiting // uploads among which it looks for them
	maxRecent  = 5
	maxFolders = 100 // that the form suggests
	soon       = time.Hour
)

// homePage handles GET /: files to add, uploads that wait, the form that makes
// them permanent. A stranger reads what to do next.
func (s *Server) homePage(c *fiber.Ctx) error {
	if principal(c).Owner.ID == "" {
		return render(c, s.signInView(c, "").Page)
	}
	return s.home(c, views.Submit{Folder: c.Query("folder"), OnConflict: string(store.Fail)})
}

// home renders the page with the form as it was filled in.
func (s *Server) home(c *fiber.Ctx, form views.Submit) error {
	ctx, owner := c.UserContext(), principal(c).Owner
	storage, err := s.storage(ctx, owner)
	if err != nil {
		return err
	}
	recent, err := s.store.ListFiles(ctx, owner.ID, store.Query{Sort: store.Newest, Limit: maxRecent})
	if err != nil {
		return err
	}
	folders, err := s.store.ListFiles(ctx, owner.ID, store.Query{Delimiter: true, Sort: store.ByPath, Limit: maxFolders})
	if err != nil {
		return err
	}
	waiting, more, err := s.waiting(ctx, owner)
	if err != nil {
		return err
	}
	v := views.Home{
		Shell: s.shell(c, text.Get("home.title"), "upload"), Address: s.origin(c),
		MaxFile: s.cfg.Limits.FileSize, TTL: s.cfg.TemporaryTTL, MaxDescription: store.MaxMetadataValue,
		Storage: storage, Waiting: waiting, More: more, Submit: form, Folders: folders.Folders,
	}
	for i := range v.Waiting {
		v.Waiting[i].Chosen = form.Tokens == nil || slices.Contains(form.Tokens, v.Waiting[i].Token)
	}
	for _, f := range recent.Files {
		v.Recent = append(v.Recent, views.Recent{
			Name: f.Path.Base(), Folder: strings.TrimSuffix(strings.TrimSuffix(string(f.Path), f.Path.Base()), "/"),
			URL: fileURL(owner, f), Size: f.Size, At: f.CreatedAt, Kind: views.KindOf(f.ContentType),
		})
	}
	return render(c, v.Page)
}

func fileURL(owner store.Owner, f store.File) string {
	return "/files/" + escapePath(owner.Slug+"/"+string(f.Path))
}

// storage is what an account uses, and whether more may come.
func (s *Server) storage(ctx context.Context, owner store.Owner) (views.Storage, error) {
	usage, err := s.store.UsageOf(ctx, owner.ID)
	if err != nil {
		return views.Storage{}, err
	}
	full, err := s.store.Full(ctx)
	return views.Storage{
		Used: usage.Bytes(), Quota: s.cfg.Limits.OwnerBytes, Files: usage.Count(), MaxFiles: s.cfg.Limits.OwnerFiles,
		Disk: full,
	}, err
}

// waiting are the newest uploads that are complete and not yet permanent, and
// whether there may be more. Those that are still coming in stand between them.
func (s *Server) waiting(ctx context.Context, owner store.Owner) (list []views.Waiting, more bool, err error) {
	var all []store.Upload
	for cursor, looked := "", 0; len(all) <= maxWaiting; {
		if looked >= maxLooked {
			more = true
			break
		}
		var uploads []store.Upload
		if uploads, cursor, err = s.store.ListUploads(ctx, owner.ID, maxWaiting+1, cursor); err != nil {
			return nil, false, err
		}
		looked += len(uploads)
		for _, u := range uploads {
			if u.State == store.Ready && len(u.Parts) > 0 && (u.Growth == nil || !u.Growth.Partial) {
				all = append(all, u)
			}
		}
		if cursor == "" {
			break
		}
	}
	for _, u := range all[:min(len(all), maxWaiting)] {
		w := views.Waiting{
			Token: string(u.Token), Name: string(u.Parts[0].Name), More: len(u.Parts) - 1,
			Kind: views.KindOf(u.Parts[0].ContentType), ExpiresAt: u.ExpiresAt, Left: time.Until(u.ExpiresAt), Chosen: true,
		}
		w.Soon = w.Left < soon
		for _, p := range u.Parts {
			w.Size += p.Size
		}
		list = append(list, w)
	}
	return list, more || len(all) > maxWaiting, nil
}

// waitingList handles GET /waiting: the rows of what waits, and the storage
// that it takes, for a page that has just uploaded something.
func (s *Server) waitingList(c *fiber.Ctx) error {
	if !isFragment(c) {
		return c.Redirect("/", fiber.StatusSeeOther)
	}
	ctx, owner := c.UserContext(), principal(c).Owner
	list, more, err := s.waiting(ctx, owner)
	if err != nil {
		return err
	}
	storage, err := s.storage(ctx, owner)
	if err != nil {
		return err
	}
	storage.Part = true
	return render(c, views.Home{Waiting: list, More: more, Storage: storage}.Rows)
}

// addWaiting handles POST /waiting: the files of a browser without scripts.
func (s *Server) addWaiting(c *fiber.Ctx) error {
	if !isMultipart(c) {
		return store.Errorf(store.CodeUnsupportedType, "Send the form as multipart/form-data.")
	}
	return s.receive(c, store.Spec{Size: -1}, func(ctx context.Context, in *store.Intake) error {
		_, files, err := addForm(ctx, in, c, "file")
		if err != nil {
			return err
		}
		if files == 0 {
			return errNoFile
		}
		if _, err := in.StoreUpload(ctx, ""); err != nil {
			return err
		}
		return c.Redirect("/", fiber.StatusSeeOther)
	})
}

// discard handles POST /waiting/:token/discard.
func (s *Server) discard(c *fiber.Ctx) error {
	owner, token, err := s.uploadOf(c)
	if err != nil {
		return err
	}
	return s.discardThese(c, owner, []store.Token{token})
}

// discardAll handles POST /waiting/discard: all that the page lists.
func (s *Server) discardAll(c *fiber.Ctx) error {
	owner := principal(c).Owner
	list, _, err := s.waiting(c.UserContext(), owner)
	if err != nil {
		return err
	}
	tokens := make([]store.Token, len(list))
	for i, w := range list {
		tokens[i] = store.Token(w.Token)
	}
	return s.discardThese(c, owner, tokens)
}

// discardThese puts uploads aside; all of them are one undo.
func (s *Server) discardThese(c *fiber.Ctx, owner store.Owner, tokens []store.Token) error {
	batch := store.NewBatchID()
	if len(tokens) > 0 {
		if err := s.store.DiscardUploads(c.UserContext(), owner.ID, batch, tokens); err != nil {
			return err
		}
	}
	said := views.Note{Text: text.Get("home.discarded.n", len(tokens))}
	if s.cfg.Undo > 0 && len(tokens) > 0 {
		said.Undo = "/waiting/restore/" + batch.String()
	}
	return s.waitingChanged(c, said)
}

// restoreWaiting handles POST /waiting/restore/:batch, the undo of a discard.
func (s *Server) restoreWaiting(c *fiber.Ctx) error {
	batch, err := store.ParseBatchID(c.Params("batch"))
	if err != nil {
		return err
	}
	n, err := s.store.RestoreUploads(c.UserContext(), principal(c).Owner.ID, batch)
	if err != nil {
		return err
	}
	return s.waitingChanged(c, views.Note{Text: text.Get("home.back.n", n)})
}

// waitingChanged says what a change of what waits came to. A script is told to
// ask for the list anew: the form beside it stays as it was filled in.
func (s *Server) waitingChanged(c *fiber.Ctx, said views.Note) error {
	if !isFragment(c) {
		if err := s.note(c, said); err != nil {
			return err
		}
		return c.Redirect("/", fiber.StatusSeeOther)
	}
	trigger(c, map[string]any{"waiting": true, "toast": map[string]any{"text": said.Text, "undo": said.Undo}})
	return render(c, func(io.Writer) error { return nil })
}

// submit handles POST /submit: all of the chosen uploads become files, or the
// form comes again as it was, with what is wrong.
func (s *Server) submit(c *fiber.Ctx) error {
	values, err := readFormValues(c)
	if err != nil {
		return err
	}
	form := views.Submit{
		Tokens: values["token"], Folder: strings.Trim(values.Get("folder"), "/ "), Description: values.Get("description"),
		Tags: splitTags(values["tag"]), OnConflict: values.Get("on_conflict"),
	}
	if now := values.Get("on_conflict_now"); now != "" { // the button that answers the question
		form.OnConflict = now
	}
	if form.Tokens == nil {
		form.Tokens = []string{}
	}
	owner := principal(c).Owner
	files, err := s.submitted(c.UserContext(), owner, form)
	if err != nil {
		return s.submitAgain(c, owner, form, err)
	}
	place := owner.Slug + "/" + form.Folder
	err = s.note(c, views.Note{
		Text: text.Get("home.saved.n", len(files), strings.TrimSuffix(place, "/")),
		Link: "/files/" + escapePath(strings.TrimSuffix(place, "/")) + "/",
	})
	if err != nil {
		return err
	}
	return c.Redirect("/", fiber.StatusSeeOther)
}

func (s *Server) submitted(ctx context.Context, owner store.Owner, form views.Submit) ([]store.File, error) {
	conflict, err := store.ParseOnConflict(form.OnConflict)
	if err != nil {
		return nil, err
	}
	req := store.Persist{Folder: form.Folder, Tags: form.Tags, OnConflict: conflict}
	if form.Description != "" {
		req.Metadata = map[string]string{"description": form.Description}
	}
	for _, t := range form.Tokens {
		token, err := store.ParseToken(t)
		if err != nil {
			return nil, err
		}
		req.Tokens = append(req.Tokens, token)
	}
	if len(req.Tokens) == 0 {
		return nil, store.FieldErrorf("token", "%s", text.Get("home.choose"))
	}
	files, _, err := s.store.PersistUploads(ctx, owner.ID, req)
	return files, err
}

// submitAgain shows the form again: nothing was saved, and the tokens are
// still in it.
func (s *Server) submitAgain(c *fiber.Ctx, owner store.Owner, form views.Submit, err error) error {
	e := asError(err)
	p, known := problems[e.Code]
	if !known || e.Code == store.CodeInternal || e.Code == store.CodeUnavailable {
		return err
	}
	form.Field, form.Message = e.Field, formMessage(e)
	if e.Code == store.CodeConflict {
		if form.Taken, err = s.taken(c.UserContext(), owner, form); err != nil {
			return err
		}
	}
	if err := s.missing(c.UserContext(), owner, &form); err != nil {
		return err
	}
	if form.Lost > 0 && (e.Code == store.CodeGone || e.Code == store.CodeNotFound) ||
		form.Saved > 0 && e.Code == store.CodeConflict && form.Taken == nil {
		form.Message = "" // it is about one of these, and they are told together
	}
	c.Status(p.status)
	retarget(c)
	return s.home(c, form)
}

// formMessage says what is wrong in the words of the form's fields.
func formMessage(e *store.Error) string {
	switch e.Field {
	case "path":
		return text.Get("home.wrong.folder")
	case "metadata.description":
		return text.Get("home.wrong.description")
	case "tags":
		return text.Get("home.wrong.tags", store.MaxTags, store.MaxTag)
	}
	return e.Message
}

// missing counts the uploads of a form that wait no longer: another tab may
// have submitted or discarded them.
func (s *Server) missing(ctx context.Context, owner store.Owner, form *views.Submit) error {
	for _, t := range form.Tokens {
		token, err := store.ParseToken(t)
		if err != nil {
			form.Lost++
			continue
		}
		u, err := s.store.GetUpload(ctx, owner.ID, token)
		switch code := store.CodeOf(err); {
		case code == store.CodeNotFound, code == store.CodeGone:
			form.Lost++
		case err != nil:
			return err
		case u.State == store.Persisted:
			form.Saved++
		}
	}
	return nil
}

// taken lists which names of a form are taken where it wants them, by a file
// or by another one of the form.
func (s *Server) taken(ctx context.Context, owner store.Owner, form views.Submit) (list []views.Taken, err error) {
	sizes := map[store.Path]int64{}
	for _, t := range form.Tokens {
		token, err := store.ParseToken(t)
		if err != nil {
			return nil, nil
		}
		u, err := s.store.GetUpload(ctx, owner.ID, token)
		if store.CodeOf(err) == store.CodeNotFound || store.CodeOf(err) == store.CodeGone {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, part := range u.Parts {
			p, err := store.ParsePath(strings.TrimPrefix(form.Folder+"/"+string(part.Name), "/"))
			if err != nil {
				return nil, nil
			}
			taken := views.Taken{Name: string(part.Name), NewSize: part.Size}
			if taken.Size, taken.Twice = sizes[p]; !taken.Twice {
				sizes[p] = part.Size
				f, err := s.store.GetFile(ctx, owner.ID, p)
				if store.CodeOf(err) == store.CodeNotFound {
					continue
				}
				if err != nil {
					return nil, err
				}
				taken.Size = f.Size
			}
			list = append(list, taken)
		}
	}
	return list, nil
}

// splitTags reads tags that come one by one or separated by commas.
func splitTags(values []string) (tags []string) {
	for _, v := range values {
		for tag := range strings.SplitSeq(v, ",") {
			if tag = strings.TrimSpace(tag); tag != "" && !slices.Contains(tags, tag) {
				tags = append(tags, tag)
			}
		}
	}
	return tags
}
