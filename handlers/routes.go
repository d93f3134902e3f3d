package handlers

import (
	"slices"
	"strings"

	"github.com/gofiber/fiber/v2"

	"upload-service/auth"
)

// route is one row of the API. need is what the caller must be allowed; body
// is how much of a body it takes; check, if any, is decided from the headers
// alone, before a byte of the body is asked for.
type route struct {
	method string
	path   string
	need   need
	body   bodyKind
	handle fiber.Handler
	check  func(*fiber.Ctx) error
}

// pageAddresses are those of pages that people type; a slash at their end is
// too much. Not of files: there it means a folder.
var pageAddresses = []string{"/login", "/keys", "/admin", "/admin/settings", "/docs", "/docs/api", "/docs/errors"}

// withoutSlash comes after all routes.
func withoutSlash(c *fiber.Ctx) error {
	at, _ := strings.CutSuffix(c.Path(), "/")
	if at == c.Path() || !slices.Contains(pageAddresses, at) || !safeMethod(c) {
		return c.Next()
	}
	if query := c.Request().URI().QueryString(); len(query) > 0 {
		at += "?" + string(query)
	}
	return c.Redirect(at, fiber.StatusPermanentRedirect)
}

// need says who may make a request.
type need struct {
	public   bool
	probe    bool // of the one who runs the service: never too often
	stranger bool // also with a credential that is not good: to get a good one
	scope    auth.Scope
}

var (
	anyone   = need{public: true}
	probe    = need{public: true, probe: true}
	stranger = need{public: true, stranger: true}
	signed   = need{} // any credential of an owner
	read     = need{scope: auth.Read}
	write    = need{scope: auth.Write}
	remove   = need{scope: auth.Delete}
	admin    = need{scope: auth.Admin}
)

// bodyKind says what body a route reads.
type bodyKind int

const (
	noBody    bodyKind = iota // read and dropped within transport's bound
	smallBody                 // a JSON document or form, held in memory
	anyBody                   // content, or none
	bigBody                   // content: streamed, bounded by UPLOAD_MAX_REQUEST_SIZE
)

// maxBody bounds the body of a request, in bytes, besides
// UPLOAD_MAX_REQUEST_SIZE; 0 is no bound.
func (r route) maxBody() int64 {
	switch {
	case r.body == bigBody, r.body == anyBody:
		return 0
	case r.need.public:
		return maxStrangersBody
	}
	return maxSmallBody
}

// table is every route there is; a GET also answers HEAD, unless that has a
// row of its own in front of it.
func (s *Server) table() []route {
	const (
		get, put, post, patch, del = fiber.MethodGet, fiber.MethodPut, fiber.MethodPost, fiber.MethodPatch, fiber.MethodDelete
		head, options              = fiber.MethodHead, fiber.MethodOptions
	)
	return []route{
		// Pages.
		{get, "/", anyone, noBody, s.homePage, nil},
		{post, "/upload", write, bigBody, s.uploadForm, s.checkIngest},
		{get, "/waiting", read, noBody, s.waitingList, nil},
		{post, "/waiting", write, bigBody, s.addWaiting, s.checkIngest},
		{post, "/waiting/:token/discard", write, smallBody, s.discard, nil},
		{post, "/waiting/discard", write, smallBody, s.discardAll, nil},
		{post, "/waiting/restore/:batch", write, smallBody, s.restoreWaiting, nil},
		{post, "/submit", write, smallBody, s.submit, nil},
		{get, "/login", stranger, noBody, s.signInPage, nil},
		{post, "/login", stranger, smallBody, s.signIn, nil},
		{get, "/login/authorized", stranger, noBody, s.authorized, nil},
		{get, "/signed-in", signed, noBody, s.signedIn, nil},
		{get, "/logout", stranger, noBody, s.signOutPage, nil},
		{post, "/logout", stranger, smallBody, s.signOut, nil},
		{post, "/sessions/end", write, smallBody, s.endSessions, nil},
		{post, "/sessions/:id/end", write, smallBody, s.endOneSession, nil},
		{get, "/keys", signed, noBody, s.keysPage, nil},
		{post, "/keys", signed, smallBody, s.makeKey, nil},
		{post, "/keys/:id/revoke", signed, smallBody, s.revokeKeyForm, nil},
		{get, "/admin", admin, noBody, s.adminPage, nil},
		{get, "/admin/settings", admin, noBody, s.settingsPage, nil},
		{post, "/admin/cleanup", admin, smallBody, s.cleanupForm, nil},
		{get, "/admin/owners/:slug", admin, noBody, s.ownerPage, nil},
		{post, "/admin/owners/:slug/keys/:id/revoke", admin, smallBody, s.revokeOwnersKey, nil},
		{post, "/admin/owners/:slug/sessions/:id/end", admin, smallBody, s.endOwnersSession, nil},
		{post, "/admin/owners/:slug/sessions/end", admin, smallBody, s.endOwnersSessions, nil},
		{post, "/actions/delete", remove, smallBody, s.deleteChosen, nil},
		{post, "/actions/restore/:batch", write, smallBody, s.restoreBatch, nil},
		{post, "/actions/move", write, smallBody, s.moveChosen, nil},
		{post, "/actions/change", write, smallBody, s.changeOne, nil},
		{get, "/zip/:slug/*", read, noBody, s.zipFolder, nil},
		{post, "/zip/:slug/*", read, smallBody, s.zipFolder, nil},
		{get, "/content/:ticket/:name", stranger, noBody, s.ticketContent, nil},
		{post, "/theme", anyone, smallBody, s.setTheme, nil},
		{get, "/static/:name", stranger, noBody, s.staticFile, nil},
		{get, "/docs", anyone, noBody, s.docsPage, nil},
		{get, "/docs/api", anyone, noBody, s.referencePage, nil},
		{get, "/docs/errors", anyone, noBody, s.errorsPage, nil},
		{get, "/openapi.yaml", anyone, noBody, s.openAPI, nil},

		// Requests of the earlier service.
		{put, "/api/upload", write, bigBody, s.legacyUpload, s.checkIngest},
		{put, "/api/upload_temporary", write, bigBody, s.legacyTemporary, s.checkIngest},

		// Files by path.
		{options, "/files/:slug/*", anyone, noBody, s.resumableOptions, nil},
		{put, "/files/:slug/*", write, anyBody, s.putFile, s.checkPut},
		{get, "/files/:slug", read, noBody, s.getPath, nil},
		{get, "/files/:slug/*", read, noBody, s.getPath, nil},
		{del, "/files/:slug/*", remove, noBody, s.deletePath, nil},

		// Uploads.
		{post, "/api/v1/uploads", write, anyBody, s.createUpload, s.checkIngest},
		{options, "/api/v1/uploads", anyone, noBody, s.resumableOptions, nil},
		{get, "/api/v1/uploads", read, noBody, s.listUploads, nil},
		{head, "/api/v1/uploads/:token", write, noBody, s.resumableHead, nil},
		{patch, "/api/v1/uploads/:token", write, anyBody, s.resumablePatch, plainBody},
		{get, "/api/v1/uploads/:token", read, noBody, s.getUpload, nil},
		{del, "/api/v1/uploads/:token", write, noBody, s.deleteUpload, nil},
		{get, "/api/v1/uploads/:token/content", read, noBody, s.uploadContent, nil},
		{post, "/api/v1/uploads/:token/touch", write, noBody, s.touchUpload, nil},
		{post, "/api/v1/uploads/:token/persist", write, smallBody, s.persistOne, nil},
		{post, "/api/v1/persist", write, smallBody, s.persistMany, nil},

		// Resumable uploads: tus.
		{options, "/tus", anyone, noBody, s.tusOptions, nil},
		{options, "/tus/", anyone, noBody, s.tusOptions, nil},
		{options, "/tus/:token", anyone, noBody, s.tusOptions, nil},
		{post, "/tus", write, anyBody, s.tusCreate, s.checkTusCreate},
		{post, "/tus/", write, anyBody, s.tusCreate, s.checkTusCreate},
		{post, "/tus/:token", write, anyBody, s.tusOverride, s.checkTus},
		{patch, "/tus/:token", write, anyBody, s.tusPatch, s.checkTus},
		{head, "/tus/:token", write, noBody, s.tusHead, s.checkTus},
		{del, "/tus/:token", write, noBody, s.tusDelete, s.checkTus},
		{get, "/tus/:token", read, noBody, s.uploadContent, s.checkTus},

		// Resumable uploads: FilePond.
		{post, "/filepond", write, bigBody, s.filepondProcess, s.checkIngest},
		{patch, "/filepond", write, anyBody, s.filepondChunk, plainBody},
		{head, "/filepond", write, noBody, s.filepondOffset, nil},
		{del, "/filepond", write, smallBody, s.filepondRevert, nil},
		{get, "/filepond", read, noBody, s.filepondGet, nil},

		// Files by id.
		{get, "/api/v1/files", read, noBody, s.listFiles, nil},
		{get, "/api/v1/files/:id", read, noBody, s.getFile, nil},
		{patch, "/api/v1/files/:id", write, smallBody, s.changeFile, nil},
		{del, "/api/v1/files/:id", remove, noBody, s.deleteFile, nil},
		{post, "/api/v1/files/:id/restore", write, noBody, s.restoreFile, nil},

		// The caller.
		{get, "/api/v1/me", signed, noBody, s.me, nil},
		{get, "/api/v1/keys", signed, noBody, s.listKeys, nil},
		{post, "/api/v1/keys", signed, smallBody, s.createKey, nil},
		{del, "/api/v1/keys/:id", signed, noBody, s.revokeKey, nil},

		// The operator.
		{post, "/api/v1/admin/cleanup", admin, smallBody, s.cleanup, nil},
		{get, "/api/v1/admin/sweeps", admin, noBody, s.listSweeps, nil},
		{get, "/api/v1/admin/owners", admin, noBody, s.listOwners, nil},
		{get, "/api/v1/admin/stats", admin, noBody, s.stats, nil},
		{get, "/metrics", admin, noBody, s.metricsPage, nil},
		{get, "/healthz", probe, noBody, s.healthz, nil},
		{get, "/readyz", probe, noBody, s.readyz, nil},
	}
}
