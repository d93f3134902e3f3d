package handlers

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
	"upload-service/views"
	"upload-service/views/text"
)

const (
	ownersOnPage = 50
	maxOwners    = 10_000 // that can be paged through; a search finds the others
)

// adminPage handles GET /admin.
func (s *Server) adminPage(c *fiber.Ctx) error { return s.showAdmin(c, views.Admin{}) }

// showAdmin renders the page with what its cleanup came to.
func (s *Server) showAdmin(c *fiber.Ctx, v views.Admin) error {
	ctx := c.UserContext()
	st, err := s.store.Stats(ctx)
	if err != nil {
		return err
	}
	v.Query, v.Sort = c.Query("q"), c.Query("sort", "used")
	from := max(0, min(maxOwners, c.QueryInt("from")))
	accounts, more, err := s.accounts(ctx, v.Query, v.Sort, from)
	if err != nil {
		return err
	}
	if more {
		v.Next = "/admin?" + url.Values{
			"q": {v.Query}, "sort": {v.Sort}, "from": {strconv.Itoa(from + ownersOnPage)},
		}.Encode()
	}
	sweeps, err := s.store.ListSweeps(ctx)
	if err != nil {
		return err
	}
	v.Shell = s.shell(c, text.Get("admin.title"), "admin")
	v.Version, v.Owners, v.Free, v.Reserve = s.cfg.Version, st.Owners, st.Free, s.cfg.Limits.MinFree
	v.Files, v.FileBytes = st.Usage.Files, st.Usage.FileBytes
	v.Temporary, v.TemporaryBytes = st.Usage.Uploads, st.Usage.UploadBytes
	for _, a := range accounts {
		v.Accounts = append(v.Accounts, views.Account{
			Slug: a.Owner.Slug, ID: string(a.Owner.ID), Files: a.Usage.Count(), Bytes: a.Usage.Bytes(), Since: a.Owner.CreatedAt,
			Seen: a.Owner.SeenAt, All: st.Usage.Bytes(),
		})
	}
	for _, r := range sweeps {
		v.Sweeps = append(v.Sweeps, views.Sweep{
			At: r.At, Uploads: r.Uploads, Blobs: r.Blobs, Bytes: r.Bytes, Duration: r.Duration.Round(time.Millisecond), Errors: r.Errors,
		})
	}
	return render(c, v.Page)
}

// accounts are those that a search finds, in an order, without the first ones;
// more reports that others follow. It looks at every account and keeps few.
func (s *Server) accounts(ctx context.Context, q, sort string, from int) (list []store.Account, more bool, err error) {
	order := map[string]func(a, b store.Account) int{
		"files": func(a, b store.Account) int { return cmp.Compare(b.Usage.Count(), a.Usage.Count()) },
		"seen":  func(a, b store.Account) int { return b.Owner.SeenAt.Compare(a.Owner.SeenAt) },
		"since": func(a, b store.Account) int { return b.Owner.CreatedAt.Compare(a.Owner.CreatedAt) },
		"name":  func(_, _ store.Account) int { return 0 },
	}[sort]
	if order == nil {
		order = func(a, b store.Account) int { return cmp.Compare(b.Usage.Bytes(), a.Usage.Bytes()) }
	}
	q = strings.ToLower(strings.TrimSpace(q))
	for cursor := ""; ; {
		var page []store.Account
		if page, cursor, err = s.store.ListOwners(ctx, 1000, cursor); err != nil {
			return nil, false, err
		}
		for _, a := range page {
			if strings.Contains(strings.ToLower(a.Owner.Slug), q) || strings.Contains(string(a.Owner.ID), q) {
				list = append(list, a)
			}
		}
		slices.SortFunc(list, func(a, b store.Account) int {
			return cmp.Or(order(a, b), strings.Compare(strings.ToLower(a.Owner.Slug), strings.ToLower(b.Owner.Slug)))
		})
		list = list[:min(len(list), from+ownersOnPage+1)]
		if cursor == "" {
			break
		}
	}
	list = list[min(len(list), from):]
	return list[:min(len(list), ownersOnPage)], len(list) > ownersOnPage, nil
}

// settingsPage handles GET /admin/settings.
func (s *Server) settingsPage(c *fiber.Ctx) error {
	v := views.Settings{Shell: s.shell(c, text.Get("admin.settings"), "admin")}
	for _, set := range s.cfg.Settings {
		if n := len(v.Groups); n == 0 || v.Groups[n-1].Name != set.Group {
			v.Groups = append(v.Groups, views.SettingGroup{Name: set.Group})
		}
		g := &v.Groups[len(v.Groups)-1]
		g.Settings = append(g.Settings, views.Setting{
			Name: set.Name, Value: set.Value, Help: set.Help, Secret: set.Secret, Set: set.Set,
		})
	}
	return render(c, v.Page)
}

// cleanupForm handles POST /admin/cleanup: what would go, or exactly that.
func (s *Server) cleanupForm(c *fiber.Ctx) error {
	form, err := readFormValues(c)
	if err != nil {
		return err
	}
	if preview := form.Get("preview"); preview != "" {
		return s.cleanPreview(c, preview, form.Get("count"))
	}
	v := views.Admin{OlderThan: strings.TrimSpace(form.Get("older_than")), Owner: strings.TrimSpace(form.Get("owner"))}
	opts := store.SweepOptions{DryRun: true}
	if v.OlderThan != "" {
		if opts.OlderThan, err = parseDuration("older_than", v.OlderThan); err != nil {
			return s.adminAgain(c, v, err)
		}
	}
	if v.Owner != "" {
		owner, err := s.store.OwnerBySlug(c.UserContext(), v.Owner)
		if err != nil {
			return s.adminAgain(c, v, err)
		}
		opts.Owner = owner.ID
	}
	report, err := s.store.Sweep(background(c), opts)
	if err != nil {
		return err
	}
	shape, err := s.sweepShape(c, report)
	if err != nil {
		return err
	}
	v.Preview = &views.Preview{
		ID: report.Preview, Count: int(report.Uploads + report.Blobs), Bytes: report.Bytes, Shown: len(shape.Items),
	}
	for _, kind := range []string{"upload", "file", "blob"} {
		g := views.SweepGroup{Heading: text.Get("admin.group." + kind)}
		for _, i := range shape.Items {
			if i.Kind == kind {
				g.Bytes += i.Bytes
				g.Items = append(g.Items, views.SweepItem{ID: i.ID, Name: i.Name, Owner: i.Owner, Reason: i.Reason, Bytes: i.Bytes})
			}
		}
		if len(g.Items) > 0 {
			v.Preview.Groups = append(v.Preview.Groups, g)
		}
	}
	return s.showAdmin(c, v)
}

// adminAgain shows the form again with what is wrong.
func (s *Server) adminAgain(c *fiber.Ctx, v views.Admin, err error) error {
	e := asError(err)
	if e.Code != store.CodeInvalid && e.Code != store.CodeNotFound {
		return err
	}
	v.Message = e.Message
	c.Status(problems[e.Code].status)
	retarget(c)
	return s.showAdmin(c, v)
}

// cleanPreview removes what was shown, less what was used since.
func (s *Server) cleanPreview(c *fiber.Ctx, preview, shown string) error {
	report, err := s.store.Sweep(background(c), store.SweepOptions{Preview: preview})
	if err != nil {
		return err
	}
	removed := report.Uploads + report.Blobs
	said := text.Get("admin.removed", removed, views.Bytes(report.Bytes))
	if n, err := strconv.ParseInt(shown, 10, 64); err == nil && n > removed {
		said += " " + text.Get("admin.kept", n-removed)
	}
	return s.noted(c, "/admin", said)
}

// ownerPage handles GET /admin/owners/:slug.
func (s *Server) ownerPage(c *fiber.Ctx) error {
	ctx := c.UserContext()
	owner, err := s.store.OwnerBySlug(ctx, c.Params("slug"))
	if err != nil {
		return err
	}
	usage, err := s.store.UsageOf(ctx, owner.ID)
	if err != nil {
		return err
	}
	keys, err := s.auth.ListKeys(ctx, owner.ID)
	if err != nil {
		return err
	}
	sessions, err := s.auth.ListSessions(ctx, owner.ID)
	if err != nil {
		return err
	}
	return render(c, views.Owner{
		Shell: s.shell(c, owner.Slug, "admin"), Slug: owner.Slug, ID: string(owner.ID),
		Files: usage.Count(), Bytes: usage.Bytes(), Seen: owner.SeenAt,
		Keys:     keyViews(keys, "/admin/owners/"+owner.Slug+"/keys/"),
		Sessions: s.sessionViews(sessions, "/admin/owners/"+owner.Slug+"/sessions/", c),
	}.Page)
}

// revokeOwnersKey handles POST /admin/owners/:slug/keys/:id/revoke.
func (s *Server) revokeOwnersKey(c *fiber.Ctx) error {
	owner, err := s.store.OwnerBySlug(c.UserContext(), c.Params("slug"))
	if err != nil {
		return err
	}
	if err := s.auth.DropKey(c.UserContext(), owner.ID, c.Params("id")); err != nil {
		return err
	}
	return s.noted(c, "/admin/owners/"+owner.Slug, text.Get("keys.revoked"))
}

// endOwnersSession handles POST /admin/owners/:slug/sessions/:id/end.
func (s *Server) endOwnersSession(c *fiber.Ctx) error {
	owner, err := s.store.OwnerBySlug(c.UserContext(), c.Params("slug"))
	if err != nil {
		return err
	}
	if err := s.auth.DropSession(c.UserContext(), owner.ID, c.Params("id")); err != nil {
		return err
	}
	return s.noted(c, "/admin/owners/"+owner.Slug, text.Get("keys.session.ended"))
}

// endOwnersSessions handles POST /admin/owners/:slug/sessions/end.
func (s *Server) endOwnersSessions(c *fiber.Ctx) error {
	owner, err := s.store.OwnerBySlug(c.UserContext(), c.Params("slug"))
	if err != nil {
		return err
	}
	if err := s.auth.EndAllSessions(c.UserContext(), owner.ID); err != nil {
		return err
	}
	return s.noted(c, "/admin/owners/"+owner.Slug, text.Get("admin.sessions.ended", owner.Slug))
}
