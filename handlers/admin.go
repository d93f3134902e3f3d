package handlers

import (
	"time"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
)

// cleanup handles POST /api/v1/admin/cleanup.
func (s *Server) cleanup(c *fiber.Ctx) error {
	var req struct {
		DryRun    bool   `json:"dry_run"`
		OlderThan string `json:"older_than"`
		Owner     string `json:"owner"`
		Preview   string `json:"preview"`
	}
	if err := readJSON(c, &req); err != nil {
		return err
	}
	opts := store.SweepOptions{DryRun: req.DryRun, Preview: req.Preview}
	if req.Preview != "" && (req.DryRun || req.OlderThan != "" || req.Owner != "") {
		return store.FieldErrorf("preview", "A preview is carried out as it is; send nothing else with it.")
	}
	if req.OlderThan != "" {
		age, err := parseDuration("older_than", req.OlderThan)
		if err != nil {
			return err
		}
		opts.OlderThan = age
	}
	if req.Owner != "" {
		owner, err := s.store.OwnerBySlug(c.UserContext(), req.Owner)
		if err != nil {
			return err
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
	return c.JSON(shape)
}

type sweepJSON struct {
	DryRun   bool        `json:"dry_run"`
	Preview  string      `json:"preview,omitempty"`
	At       time.Time   `json:"at"`
	Duration string      `json:"duration"`
	Removed  removedJSON `json:"removed"`
	Items    []sweptJSON `json:"items"`
	Errors   []string    `json:"errors"`
}

type removedJSON struct {
	Uploads int64 `json:"uploads"`
	Blobs   int64 `json:"blobs"`
	Bytes   int64 `json:"bytes"`
}

type sweptJSON struct {
	Kind   string `json:"kind"`
	ID     string `json:"id"`
	Owner  string `json:"owner"`
	Name   string `json:"name,omitempty"`
	Bytes  int64  `json:"bytes"`
	Reason string `json:"reason"`
}

func (s *Server) sweepShape(c *fiber.Ctx, r store.SweepReport) (sweepJSON, error) {
	j := sweepJSON{
		DryRun: r.DryRun, Preview: r.Preview, At: r.At.UTC(), Duration: r.Duration.String(),
		Removed: removedJSON{r.Uploads, r.Blobs, r.Bytes},
		Items:   []sweptJSON{}, Errors: append([]string{}, r.Errors...),
	}
	slugs := map[store.OwnerID]string{"": ""}
	for _, i := range r.Items {
		slug, known := slugs[i.Owner]
		if !known {
			owner, err := s.store.OwnerByID(c.UserContext(), i.Owner)
			if err != nil {
				return j, err
			}
			slug = owner.Slug
			slugs[i.Owner] = slug
		}
		j.Items = append(j.Items, sweptJSON{i.Kind, i.ID, slug, i.Name, i.Bytes, i.Reason})
	}
	return j, nil
}

// listSweeps handles GET /api/v1/admin/sweeps.
func (s *Server) listSweeps(c *fiber.Ctx) error {
	reports, err := s.store.ListSweeps(c.UserContext())
	if err != nil {
		return err
	}
	list := make([]sweepJSON, len(reports))
	for i, r := range reports {
		if list[i], err = s.sweepShape(c, r); err != nil {
			return err
		}
	}
	return c.JSON(fiber.Map{"sweeps": list})
}

type ownerJSON struct {
	Owner     string     `json:"owner"`
	ID        string     `json:"id"`
	Login     string     `json:"login"`
	CreatedAt time.Time  `json:"created_at"`
	SeenAt    *time.Time `json:"last_seen_at"`
	Usage     usageJSON  `json:"usage"`
}

type usageJSON struct {
	Bytes int64 `json:"bytes"`
	Files int64 `json:"files"`
}

// listOwners handles GET /api/v1/admin/owners.
func (s *Server) listOwners(c *fiber.Ctx) error {
	limit, err := pageLimit(c)
	if err != nil {
		return err
	}
	accounts, next, err := s.store.ListOwners(c.UserContext(), limit, c.Query("cursor"))
	if err != nil {
		return err
	}
	list := make([]ownerJSON, len(accounts))
	for i, a := range accounts {
		list[i] = ownerJSON{
			a.Owner.Slug, string(a.Owner.ID), a.Owner.Login, a.Owner.CreatedAt.UTC(), optional(a.Owner.SeenAt),
			usageJSON{a.Usage.Bytes(), a.Usage.Count()},
		}
	}
	return c.JSON(fiber.Map{"owners": list, "next_cursor": next})
}

// stats handles GET /api/v1/admin/stats.
func (s *Server) stats(c *fiber.Ctx) error {
	st, err := s.store.Stats(c.UserContext())
	if err != nil {
		return err
	}
	return c.JSON(fiber.Map{
		"version": s.cfg.Version, "owners": st.Owners, "files": st.Usage.Files, "file_bytes": st.Usage.FileBytes,
		"temporary_files": st.Usage.Uploads, "temporary_bytes": st.Usage.UploadBytes,
		"free_bytes": st.Free, "reserve_bytes": s.cfg.Limits.MinFree,
	})
}
