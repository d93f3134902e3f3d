package handlers

import (
	"io"
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/static"
	"upload-service/store"
	"upload-service/views"
)

// render answers with a page or a fragment.
func render(c *fiber.Ctx, to func(io.Writer) error) error {
	c.Set(fiber.HeaderContentType, "text/html; charset=utf-8")
	c.Set(fiber.HeaderCacheControl, "no-store")
	return to(c.Response().BodyWriter())
}

// pageRows is how many files a page shows at once.
const pageRows = 200

// homePage handles GET /: the caller's files and a form to upload, or
// what a stranger can do next.
func (s *Server) homePage(c *fiber.Ctx) error {
	p := principal(c)
	if p.Owner.ID == "" {
		return render(c, views.Welcome{Local: s.cfg.Local, Address: s.origin(c)}.Page)
	}
	page, err := s.store.ListFiles(c.UserContext(), p.Owner.ID, store.Query{Delimiter: true, Sort: store.ByPath, Limit: pageRows})
	if err != nil {
		return err
	}
	return s.folderPage(c, p.Owner, "", page)
}

// folderPage shows one folder of an owner.
func (s *Server) folderPage(c *fiber.Ctx, owner store.Owner, prefix string, page store.Page) error {
	usage, err := s.store.UsageOf(c.UserContext(), owner.ID)
	if err != nil {
		return err
	}
	v := views.Folder{
		Slug: owner.Slug, Path: prefix, Mine: owner.ID == principal(c).Owner.ID, Next: page.Next,
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

// uploaded answers the form of the page: an HTMX request gets the new rows,
// everybody else is sent back to the folder.
func (s *Server) uploaded(c *fiber.Ctx, folder string, files []store.File) error {
	slug := principal(c).Owner.Slug
	if c.Get("HX-Request") != "true" {
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

// staticFile handles GET /static/:name. Names carry a hash of the content, so
// they can be kept for ever.
func (s *Server) staticFile(c *fiber.Ctx) error {
	asset, ok := static.Get(c.Params("name"))
	if !ok {
		return store.Errorf(store.CodeNotFound, "There is nothing at this address.")
	}
	c.Set(fiber.HeaderContentType, asset.Type)
	c.Set(fiber.HeaderCacheControl, "public, max-age=31536000, immutable")
	return c.Send(asset.Content)
}

// errorsPage handles GET /docs/errors: what each code means.
func (s *Server) errorsPage(c *fiber.Ctx) error {
	var v views.Errors
	for code, p := range problems {
		v.Codes = append(v.Codes, views.Code{Code: string(code), Status: p.status, Title: p.title, Help: help[code]})
	}
	slices.SortFunc(v.Codes, func(a, b views.Code) int {
		if a.Status != b.Status {
			return a.Status - b.Status
		}
		return strings.Compare(a.Code, b.Code)
	})
	return render(c, v.Page)
}

// help explains each code to the developer of a client.
var help = map[store.Code]string{
	store.CodeInvalid:          "The request does not make sense as it is. The detail says which part; field names it. Do not retry unchanged.",
	store.CodeTruncated:        "The body ended before its declared end. Nothing was stored. Send it again.",
	store.CodeBadDigest:        "The bytes that arrived do not have the digest that the request declares. Nothing was stored. Send it again.",
	store.CodeUnauthenticated:  "No credential, or one that is not valid. Get a key or sign in.",
	store.CodeForbidden:        "The credential is good, but it does not allow this.",
	store.CodeNotFound:         "There is nothing here, or nothing that you may know of.",
	store.CodeMethodNotAllowed: "The address exists and does not take this method.",
	store.CodeTimeout:          "The client stopped sending. Nothing was stored. Send it again.",
	store.CodeConflict:         "The state does not allow it: a name is taken, or an upload is not complete or was made permanent differently.",
	store.CodeGone:             "It existed, and it has expired or was deleted. Upload it again.",
	store.CodeLengthRequired:   "The request needs a body: send Content-Length, or chunked.",
	store.CodePrecondition:     "If-Match or If-None-Match does not hold. Get the current ETag and decide again.",
	store.CodeTooLarge:         "Beyond a fixed limit. Do not retry.",
	store.CodeHeaderTooLarge:   "The request line and the header fields are longer than 16 KiB. Send less metadata in them.",
	store.CodeQuotaExceeded:    "Beyond the owner's storage. Delete something before you retry.",
	store.CodeUnsupportedType:  "This address does not take this Content-Type or Content-Encoding.",
	store.CodeRange:            "The range lies outside the file. Content-Range says how long it is.",
	store.CodeLocked:           "Another request is at this upload, or went on with it. Ask how far the upload has come, and go on from there.",
	store.CodeBadChecksum:      "The piece does not have the checksum that the request declares. Nothing of it was stored. Send the piece again.",
	store.CodeRateLimited:      "Too many requests, or too many uploads at once. Wait for Retry-After seconds.",
	store.CodeInternal:         "Our fault. The operator finds the cause in the log by the request id in instance.",
	store.CodeUnavailable:      "Something that the service needs is not there now, or it is shutting down. Wait for Retry-After seconds.",
	store.CodeFull:             "The disk has reached its reserve. Wait for Retry-After seconds, or tell the operator.",
}
