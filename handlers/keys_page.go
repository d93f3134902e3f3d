package handlers

import (
	"strconv"
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
	"upload-service/store"
	"upload-service/views"
	"upload-service/views/text"
)

// keysPage handles GET /keys.
func (s *Server) keysPage(c *fiber.Ctx) error {
	return s.showKeys(c, views.Keys{Scopes: []string{"read", "write"}})
}

// showKeys renders the page with what its form came to.
func (s *Server) showKeys(c *fiber.Ctx, v views.Keys) error {
	ctx, p := c.UserContext(), principal(c)
	v.Shell = s.shell(c, text.Get("keys.title"), "keys")
	v.Admin = p.Can(auth.Admin)
	keys, err := s.auth.ListKeys(ctx, p.Owner.ID)
	if err != nil {
		return err
	}
	v.Keys = keyViews(keys, "/keys/")
	sessions, err := s.auth.ListSessions(ctx, p.Owner.ID)
	if err != nil {
		return err
	}
	v.Sessions = s.sessionViews(sessions, "/sessions/", c)
	return render(c, v.Page)
}

func (s *Server) sessionViews(sessions []auth.OpenSession, at string, c *fiber.Ctx) (list []views.Session) {
	this := auth.SessionID(s.cookie(c, sessionCookie))
	for _, o := range sessions {
		list = append(list, views.Session{
			ID: o.ID, This: o.ID == this, CreatedAt: o.CreatedAt, LastUsedAt: o.LastUsedAt,
			Family: o.From.Family, System: o.From.System, End: at + o.ID + "/end",
		})
	}
	return list
}

func keyViews(keys []auth.Key, at string) (list []views.Key) {
	for _, k := range keys {
		v := views.Key{
			ID: k.ID, Name: k.Name, CreatedAt: k.CreatedAt, LastUsedAt: k.LastUsedAt, ExpiresAt: k.ExpiresAt,
			Revoke: at + k.ID + "/revoke",
		}
		for _, scope := range auth.AllScopes { // in the order of the form
			if k.Scopes.Has(scope) {
				v.Scopes = append(v.Scopes, string(scope))
			}
		}
		list = append(list, v)
	}
	return list
}

// makeKey handles POST /keys. The answer shows the secret, once: it goes
// through no redirect, no cookie and no cache.
func (s *Server) makeKey(c *fiber.Ctx) error {
	form, err := readFormValues(c)
	if err != nil {
		return err
	}
	v := views.Keys{Name: form.Get("name"), Scopes: form["scope"]}
	secret, err := s.newKey(c, form.Get("name"), form["scope"], form.Get("life"))
	if code := store.CodeOf(err); code == store.CodeInvalid || code == store.CodeConflict || code == store.CodeQuotaExceeded {
		e := asError(err)
		v.Message = e.Message
		c.Status(problems[e.Code].status)
		retarget(c)
		return s.showKeys(c, v)
	}
	if err != nil {
		return err
	}
	return s.showKeys(c, views.Keys{Secret: secret, Scopes: []string{"read", "write"}})
}

func (s *Server) newKey(c *fiber.Ctx, name string, names []string, life string) (secret string, err error) {
	if len(names) == 0 {
		return "", store.FieldErrorf("scopes", "Choose what the key may do.")
	}
	spec := auth.KeySpec{Name: name}
	if spec.Scopes, err = auth.ParseScopes(names); err != nil {
		return "", err
	}
	if life != "" {
		days, err := strconv.Atoi(life)
		if err != nil || days < 1 || days > 3650 {
			return "", store.FieldErrorf("life", "Choose when the key expires.")
		}
		spec.ExpiresIn = time.Duration(days) * 24 * time.Hour
	}
	_, secret, err = s.auth.NewKey(c.UserContext(), principal(c), spec)
	return secret, err
}

// revokeKeyForm handles POST /keys/:id/revoke.
func (s *Server) revokeKeyForm(c *fiber.Ctx) error {
	if err := s.auth.RevokeKey(c.UserContext(), principal(c), c.Params("id")); err != nil {
		return err
	}
	return s.noted(c, "/keys", text.Get("keys.revoked"))
}

// noted goes to a page and says there what an action came to.
func (s *Server) noted(c *fiber.Ctx, to, said string) error {
	if err := s.note(c, views.Note{Text: said}); err != nil {
		return err
	}
	return c.Redirect(to, fiber.StatusSeeOther)
}

// endOneSession handles POST /sessions/:id/end.
func (s *Server) endOneSession(c *fiber.Ctx) error {
	if err := s.auth.DropSession(c.UserContext(), principal(c).Owner.ID, c.Params("id")); err != nil {
		return err
	}
	return s.noted(c, "/keys", text.Get("keys.session.ended"))
}
