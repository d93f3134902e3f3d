package handlers

import (
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/store"
	"upload-service/views"
)

// pageRows is how many files a page shows at once.
const pageRows = 100

// folderPage shows one folder of an owner.
func (s *Server) folderPage(c *fiber.Ctx, owner store.Owner, prefix string, page store.Page) error {
	usage, err := s.store.UsageOf(c.UserContext(), owner.ID)
	if err != nil {
		return err
	}
	v := views.Folder{
		Shell: s.shell(c, "Files", "files"),
		Slug:  owner.Slug, Path: prefix, Mine: owner.ID == principal(c).Owner.ID, Next: page.Next,
		UsedBytes: usage.Bytes(), QuotaBytes: s.cfg.Limits.OwnerBytes, MaxFile: s.cfg.Limits.FileSize,
		Crumbs: crumbs(owner.Slug, prefix),
	}
	for _, folder := range page.Folders {
		v.Rows = append(v.Rows, views.Row{
			Name: strings.TrimPrefix(folder, prefix), URL: "/files/" + escapePath(owner.Slug+"/"+folder), IsFolder: true,
		})
	}
	for _, f := range page.Files {
		v.Rows = append(v.Rows, views.Row{
			Name: strings.TrimPrefix(string(f.Path), prefix), URL: "/files/" + escapePath(owner.Slug+"/"+string(f.Path)),
			Size: f.Size, Created: f.CreatedAt.UTC(),
		})
	}
	slices.SortStableFunc(v.Rows, func(a, b views.Row) int { return strings.Compare(a.Name, b.Name) })
	return render(c, v.Page)
}

// crumbs are the folders above and including prefix.
func crumbs(slug, prefix string) []views.Crumb {
	var list []views.Crumb
	for i, r := range prefix {
		if r == '/' {
			folder := prefix[:i+1]
			name := folder[strings.LastIndexByte(folder[:i], '/')+1 : i]
			list = append(list, views.Crumb{Name: name, URL: "/files/" + escapePath(slug+"/"+folder)})
		}
	}
	return list
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
	slug := principal(c).Owner.Slug
	if !isFragment(c) {
		return seeFolder(c, folder)
	}
	var v views.Folder
	for _, f := range files {
		v.Rows = append(v.Rows, views.Row{
			Name: f.Path.Base(), URL: "/files/" + escapePath(slug+"/"+string(f.Path)), Size: f.Size, Created: f.CreatedAt.UTC(),
		})
	}
	return render(c, v.Fragment)
}
