package handlers

import (
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
	"upload-service/views"
	"upload-service/views/text"
)

const ownersOnPage = 50

// adminPage handles GET /admin.
func (s *Server) adminPage(c *fiber.Ctx) error { return s.showAdmin(c, views.Admin{}) }

// showAdmin renders the page with what its cleanup came to.
func (s *Server) showAdmin(c *fiber.Ctx, v views.Admin) error {
	ctx := c.UserContext()
	st, err := s.store.Stats(ctx)
	if err != nil {
		return err
	}
	accounts, next, err := s.store.ListOwners(ctx, ownersOnPage, c.Query("cursor"))
	if err != nil {
		return err
	}
	sweeps, err := s.store.ListSweeps(ctx)
	if err != nil {
		return err
	}
	v.Shell = s.shell(c, text.Get("admin.title"), "admin")
	v.Version, v.Owners, v.Free, v.Reserve, v.Next = s.cfg.Version, st.Owners, st.Free, s.cfg.Limits.MinFree, next
	v.Files, v.FileBytes = st.Usage.Files, st.Usage.FileBytes
	v.Temporary, v.TemporaryBytes = st.Usage.Uploads, st.Usage.UploadBytes
	for _, a := range accounts {
		v.Accounts = append(v.Accounts, views.Account{
			Slug: a.Owner.Slug, ID: string(a.Owner.ID), Files: a.Usage.Count(), Bytes: a.Usage.Bytes(), Since: a.Owner.CreatedAt,
		})
	}
	for _, r := range sweeps {
		v.Sweeps = append(v.Sweeps, views.Sweep{
			At: r.At, Uploads: r.Uploads, Blobs: r.Blobs, Bytes: r.Bytes, Duration: r.Duration.Round(time.Millisecond), Errors: r.Errors,
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
		if opts.OlderThan, err = time.ParseDuration(v.OlderThan); err != nil || opts.OlderThan < 0 {
			return s.adminAgain(c, v, store.FieldErrorf("older_than", "Write the age as a duration, for example 90m or 24h."))
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
	v.Preview = &views.Preview{ID: report.Preview, Count: int(report.Uploads + report.Blobs), Bytes: report.Bytes}
	for _, i := range shape.Items {
		v.Preview.Items = append(v.Preview.Items, views.SweepItem{Kind: i.Kind, ID: i.ID, Owner: i.Owner, Reason: i.Reason, Bytes: i.Bytes})
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
		Files: usage.Count(), Bytes: usage.Bytes(), Sessions: len(sessions),
		Keys: keyViews(keys, "/admin/owners/"+owner.Slug+"/keys/"),
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
