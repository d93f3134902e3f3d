package handlers_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// accessRow is a request, and how it is answered to whom.
type accessRow struct {
	method, path, body string
	need               string // the scope, none or signed
	ok                 int    // the status for who may
	stranger           int    // the status for bob: ok about himself, or 404 about alice
	root               int    // the status for the admin
}

// TestInvariant6 makes every request of the API as everybody: nobody reads,
// changes, lists, counts or learns of what is not theirs, and nobody does so with
// the cookie of another.
//
// The rows are all routes there are (the test fails on a route without a row).
// Each cell gets files, uploads and keys of alice's own that are fresh, so that
// one cell cannot spoil the next.
func TestInvariant6(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, who := range []string{"alice", "bob", "root"} {
		w.want(200, who, "GET", "/api/v1/me", nil)
	}
	for _, scope := range []string{"read", "write", "delete"} {
		a := w.want(201, "alice", "POST", "/api/v1/keys", strings.NewReader(fmt.Sprintf(`{"scopes":[%q]}`, scope)))
		w.keys["alice's "+scope+" key"] = field(t, a, "key")
	}
	a := w.want(201, "root", "POST", "/api/v1/keys", strings.NewReader(`{"scopes":["admin"]}`))
	w.keys["root's admin key"] = field(t, a, "key")

	const (
		none   = ""      // anybody
		signed = "any"   // any credential
		admin  = "admin" // the scope
	)
	rows := []accessRow{
		{"GET", "/", "", none, 200, 200, 200},
		{"POST", "/upload", "<form>", "write", 303, 303, 303},
		{"GET", "/waiting", "", "read", 303, 303, 303},
		{"POST", "/waiting", "<form>", "write", 303, 303, 303},
		{"POST", "/waiting/<token>/discard", "", "write", 303, 404, 404},
		{"POST", "/submit", "token=<token>&on_conflict=rename", "write", 303, 404, 404},
		{"POST", "/actions/delete", "only=<id>", "delete", 303, 404, 404},
		{"POST", "/waiting/discard", "", "write", 303, 303, 303},
		{"POST", "/waiting/restore/<aside>", "", "write", 303, 404, 404},
		{"POST", "/actions/restore/<batch>", "", "write", 303, 404, 404},
		{"POST", "/actions/move", "id=<id>&to=z<id>", "write", 303, 404, 404},
		{"POST", "/actions/change", "id=<id>&name=z<id>", "write", 303, 404, 404},
		{"GET", "/zip/alice/<path>", "", "read", 404, 404, 404},
		{"GET", "/zip/alice/m/", "", "read", 200, 404, 200},
		{"POST", "/zip/alice/m/", "", "read", 200, 404, 403},
		{"GET", "/keys", "", signed, 200, 200, 200},
		{"POST", "/keys", "name=k&scope=<scope>", signed, 200, 200, 200},
		{"POST", "/keys/<key>/revoke", "", signed, 303, 404, 404},
		{"POST", "/sessions/00112233445566778899aabbccddeeff/end", "", "write", 404, 404, 404},
		{"GET", "/admin", "", admin, 200, 403, 200},
		{"GET", "/admin/settings", "", admin, 200, 403, 200},
		{"POST", "/admin/cleanup", "owner=alice", admin, 200, 403, 200},
		{"GET", "/admin/owners/alice", "", admin, 200, 403, 200},
		{"POST", "/admin/owners/alice/keys/<key>/revoke", "", admin, 303, 403, 303},
		{"POST", "/admin/owners/bob/sessions/end", "", admin, 303, 403, 303},
		{"POST", "/admin/owners/bob/sessions/00112233445566778899aabbccddeeff/end", "", admin, 404, 403, 404},
		{"GET", "/content/x/name", "", none, 404, 404, 404},
		{"POST", "/theme", "theme=dark", none, 303, 303, 303},
		{"GET", "/login", "", none, 303, 303, 303},
		{"POST", "/login", "code=x", none, 401, 401, 401},
		{"GET", "/login/authorized", "", none, 400, 400, 400},
		{"GET", "/signed-in", "", signed, 200, 200, 200},
		{"POST", "/sessions/end", "", "write", 303, 303, 303},
		{"GET", "/logout", "", none, 200, 200, 200},
		{"POST", "/logout", "", none, 303, 303, 303},
		{"GET", "/static/:name", "", none, 404, 404, 404},
		{"GET", "/docs", "", none, 200, 200, 200},
		{"GET", "/docs/api", "", none, 200, 200, 200},
		{"GET", "/docs/errors", "", none, 200, 200, 200},
		{"GET", "/openapi.yaml", "", none, 200, 200, 200},
		{"PUT", "/api/upload", `[{"filename":"l","content":"YQ=="}]`, "write", 200, 200, 200},
		{"PUT", "/api/upload_temporary", `[{"filename":"l","content":"YQ=="}]`, "write", 200, 200, 200},
		{"PUT", "/files/alice/<path>", "x", "write", 200, 404, 403},
		{"GET", "/files/alice", "", "read", 200, 404, 200},
		{"GET", "/files/alice/<path>", "", "read", 200, 404, 200},
		{"HEAD", "/files/alice", "", "read", 200, 404, 200},
		{"HEAD", "/api/v1/files?owner=alice", "", "read", 200, 404, 200},
		{"HEAD", "/metrics", "", admin, 200, 403, 200},
		{"HEAD", "/files/alice/<path>", "", "read", 200, 404, 200},
		{"DELETE", "/files/alice/<path>", "", "delete", 204, 404, 204},
		{"POST", "/api/v1/uploads", "x", "write", 201, 201, 201},
		{"GET", "/api/v1/uploads", "", "read", 200, 200, 200},
		{"GET", "/api/v1/uploads?owner=alice", "", "read", 200, 404, 200},
		{"GET", "/api/v1/uploads/<token>", "", "read", 200, 404, 404},
		{"DELETE", "/api/v1/uploads/<token>", "", "write", 204, 404, 404},
		{"GET", "/api/v1/uploads/<token>/content", "", "read", 200, 404, 404},
		{"HEAD", "/api/v1/uploads/<token>/content", "", "read", 200, 404, 404},
		{"POST", "/api/v1/uploads/<token>/touch", "", "write", 200, 404, 404},
		{"POST", "/api/v1/uploads/<token>/touch?owner=alice", "", "write", 200, 404, 403},
		{"POST", "/api/v1/uploads/<token>/persist", `{"on_conflict":"rename"}`, "write", 201, 404, 404},
		{"POST", "/api/v1/persist", `{"tokens":["<token>"],"on_conflict":"rename"}`, "write", 201, 404, 404},
		{"OPTIONS", "/tus", "", none, 204, 204, 204},
		{"OPTIONS", "/tus/", "", none, 204, 204, 204},
		{"OPTIONS", "/tus/<tus>", "", none, 204, 204, 204},
		{"POST", "/tus", "1234567", "write", 201, 201, 201},
		{"POST", "/tus/", "1234567", "write", 201, 201, 201},
		{"POST", "/tus/<tus>", "1234567", "write", 204, 404, 404},
		{"PATCH", "/tus/<tus>", "1234567", "write", 204, 404, 404},
		{"HEAD", "/tus/<tus>", "", "write", 200, 404, 404},
		{"DELETE", "/tus/<tus>", "", "write", 204, 404, 404},
		{"GET", "/tus/<token>", "", "read", 200, 404, 404},
		{"POST", "/filepond", "<form>", "write", 201, 201, 201},
		{"PATCH", "/filepond?patch=<tus>", "1234567", "write", 204, 404, 404},
		{"HEAD", "/filepond?patch=<tus>", "", "write", 200, 404, 404},
		{"DELETE", "/filepond?id=<tus>", "", "write", 204, 404, 404},
		{"GET", "/filepond?restore=<token>", "", "read", 200, 404, 404},
		{"GET", "/filepond?load=<id>", "", "read", 200, 404, 404},
		{"GET", "/filepond?fetch=http://127.0.0.1/", "", "read", 403, 403, 403},
		{"OPTIONS", "/api/v1/uploads", "", none, 204, 204, 204},
		{"OPTIONS", "/files/alice/<path>", "", none, 204, 204, 204},
		{"HEAD", "/api/v1/uploads/<tus>", "", "write", 200, 404, 404},
		{"PATCH", "/api/v1/uploads/<tus>", "1234567", "write", 200, 404, 404},
		{"GET", "/api/v1/files", "", "read", 200, 200, 200},
		{"GET", "/api/v1/files?owner=alice", "", "read", 200, 404, 200},
		{"GET", "/api/v1/files?owner=nobody", "", "read", 404, 404, 404},
		{"GET", "/api/v1/files/<id>", "", "read", 200, 404, 404},
		{"GET", "/api/v1/files/<id>?owner=alice", "", "read", 200, 404, 200},
		{"PATCH", "/api/v1/files/<id>", `{"tags":["x"]}`, "write", 200, 404, 404},
		{"PATCH", "/api/v1/files/<id>?owner=alice", `{"tags":["x"]}`, "write", 200, 404, 403},
		{"DELETE", "/api/v1/files/<id>", "", "delete", 204, 404, 404},
		{"DELETE", "/api/v1/files/<id>?owner=alice", "", "delete", 204, 404, 204},
		{"POST", "/api/v1/files/<deleted>/restore", "", "write", 200, 404, 404},
		{"GET", "/api/v1/me", "", signed, 200, 200, 200},
		{"GET", "/api/v1/keys", "", signed, 200, 200, 200},
		{"POST", "/api/v1/keys", `{"scopes":["<scope>"]}`, signed, 201, 201, 201},
		{"DELETE", "/api/v1/keys/<key>", "", signed, 204, 404, 404},
		{"POST", "/api/v1/admin/cleanup", `{"dry_run":true}`, admin, 200, 403, 200},
		{"GET", "/api/v1/admin/sweeps", "", admin, 200, 403, 200},
		{"GET", "/api/v1/admin/owners", "", admin, 200, 403, 200},
		{"GET", "/api/v1/admin/stats", "", admin, 200, 403, 200},
		{"GET", "/metrics", "", admin, 200, 403, 200},
		{"GET", "/healthz", "", none, 200, 200, 200},
		{"GET", "/readyz", "", none, 200, 200, 200},
	}

	// 1. Every route has a row.
	var patterns []string
	for _, r := range rows {
		p, _, _ := strings.Cut(r.path, "?")
		p = strings.NewReplacer("/content/x/name", "/content/:ticket/:name", "/alice/m/", "/:slug/*", "00112233445566778899aabbccddeeff", ":id", "/bob", "/:slug", "/alice/<path>", "/:slug/*", "/alice", "/:slug", "<token>", ":token", "<tus>", ":token", "<id>", ":id",
			"<deleted>", ":id", "<key>", ":id", "<batch>", ":batch", "<aside>", ":batch").Replace(p)
		patterns = append(patterns, r.method+" "+p)
	}
	for _, route := range w.app.GetRoutes(true) {
		if route.Method == http.MethodHead {
			continue // every GET has one, and goes the same way
		}
		if !slices.Contains(patterns, route.Method+" "+route.Path) {
			t.Errorf("the route %s %s has no row", route.Method, route.Path)
		}
	}

	// 2. The document tells what the rows prove.
	for i, r := range rows {
		method, path, _ := strings.Cut(patterns[i], " ")
		documented(t).wantScope(t, method, template(path), r.need)
	}

	// 3. Every row as everybody.
	n := 0
	for _, r := range rows {
		for who := range w.keys {
			n++
			want := r.ok
			key, isKey := strings.CutSuffix(strings.TrimPrefix(who, "alice's "), " key")
			switch {
			case r.need == none:
				want = r.ok
			case who == "anonymous":
				want = 401
			case r.need == admin:
				want = 403
				if who == "root" || who == "root's admin key" {
					want = r.ok
				}
			case who == "root's admin key" && r.need != signed:
				want = 403
			case who == "bob":
				want = r.stranger
			case who == "root" || who == "root's admin key":
				want = r.root
			case isKey && r.need != signed && key != r.need:
				want = 403
			}
			scope := "read" // of a key that is there to be revoked: a key can revoke what can do no more
			if isKey && who != "root's admin key" {
				scope = key
			}
			fill := fixture(w, n, scope, r)
			if isKey && who != "root's admin key" {
				fill = append(fill, "<scope>", key)
			} else if who == "root's admin key" {
				fill = append(fill, "<scope>", "admin")
			}
			fill = append(fill, "<scope>", "read", ":name", "unknown.css")
			path, body, headers := r.request(fill)
			a := w.as(who, r.method, path, strings.NewReader(body), headers...)
			if a.status != want {
				t.Errorf("%s: %s %s: got %d, want %d: %s", who, r.method, r.path, a.status, want, a.body)
			}
			if a.status == 404 && r.stranger == 404 && who == "bob" && strings.Contains(a.body, "alice") {
				t.Errorf("%s: %s %s: the answer tells of alice: %s", who, r.method, r.path, a.body)
			}
		}
	}
	t.Logf("%d rows, %d requests", len(rows), n)

	// 4. With the cookie of who may another site's page changes nothing: every
	// request that could is refused, and all is as it was.
	cookie, admins := w.session("alice"), w.session("root")
	fill := append(fixture(w, n+1, "read", rows...), "<scope>", "read")
	state := func() (all []string) {
		for _, path := range []string{
			"/api/v1/me", "/api/v1/files?limit=1000", "/api/v1/uploads?limit=1000", "/api/v1/keys",
			strings.NewReplacer(fill...).Replace("/files/alice/<path>"), strings.NewReplacer(fill...).Replace("/api/v1/uploads/<token>"),
		} {
			all = append(all, w.want(200, "anonymous", "GET", path, nil, "Cookie", cookie).body)
		}
		return all
	}
	before := state()
	for _, r := range rows {
		if r.method == "GET" || r.method == "HEAD" || r.method == "OPTIONS" {
			continue
		}
		path, body, headers := r.request(fill)
		headers = append(headers, "Cookie", cookie)
		if r.need == admin {
			headers[len(headers)-1] = admins
		}
		for _, site := range [][]string{
			{"Sec-Fetch-Site", "cross-site"}, {"Sec-Fetch-Site", "same-site"},
			{"Origin", "https://evil.example"}, {"Origin", "null"},
		} {
			a := w.as("anonymous", r.method, path, strings.NewReader(body), slices.Concat(headers, site)...)
			if a.status != 403 || !strings.Contains(a.body, "made by another site") || a.header.Get("Set-Cookie") != "" {
				t.Errorf("%s %s of another site (%s): got %d %v %s", r.method, r.path, site, a.status, a.header, a.body)
			}
		}
	}
	if after := state(); !slices.Equal(after, before) {
		t.Errorf("another site's requests changed %v\nto %v", before, after)
	}
}

// request is what a row asks for, with the things that fill names.
func (r accessRow) request(fill []string) (path, body string, headers []string) {
	replace := strings.NewReplacer(fill...)
	path, body, headers = replace.Replace(r.path), replace.Replace(r.body), []string{"Content-Type", "application/json"}
	switch {
	case r.body == "<form>":
		body = "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\nx\r\n--b--\r\n"
		headers[1] = "multipart/form-data; boundary=b"
	case strings.HasPrefix(r.path, "/tus"), strings.HasPrefix(r.path, "/filepond?"):
		headers = []string{
			"Tus-Resumable", "1.0.0", "Content-Type", "application/offset+octet-stream", "Upload-Offset", "0",
			"Upload-Length", "7", "X-HTTP-Method-Override", "PATCH",
		}
	case r.method == "PATCH" && strings.HasPrefix(r.path, "/api/v1/uploads"):
		headers = []string{"Content-Type", "application/partial-upload", "Upload-Offset", "0", "Upload-Complete", "?1"}
	case slices.ContainsFunc([]string{"/submit", "/theme", "/actions/", "/keys", "/admin", "/sessions/"},
		func(page string) bool { return strings.HasPrefix(r.path, page) }):
		headers[1] = "application/x-www-form-urlencoded"
	}
	return path, body, headers
}

// fixture makes fresh things of alice's, those that a row names, and returns
// replacements for them.
func fixture(w *world, n int, scope string, rows ...accessRow) (fill []string) {
	t := w.t
	path := fmt.Sprintf("m/f%d", n)
	for name, thing := range map[string]func() string{
		"<id>": func() string {
			return field(t, w.want(201, "alice", "PUT", "/files/alice/"+path, strings.NewReader("content")), "id")
		},
		"<deleted>": func() string {
			a := w.want(201, "alice", "PUT", "/files/alice/"+path+"-gone", strings.NewReader("gone"))
			w.want(204, "alice", "DELETE", "/files/alice/"+path+"-gone", nil)
			return field(t, a, "id")
		},
		"<batch>": func() string { return deletedBatch(w, path) },
		"<aside>": func() string { return discardedBatch(w) },
		"<token>": func() string {
			return field(t, w.want(201, "alice", "POST", "/api/v1/uploads?filename=u", strings.NewReader("content")), "token")
		},
		"<tus>": func() string {
			a := w.want(201, "alice", "POST", "/tus/", nil, "Tus-Resumable", "1.0.0", "Upload-Length", "7")
			return strings.TrimPrefix(a.header.Get("Location"), "/tus/")
		},
		"<key>": func() string { return fixtureKey(w, scope) },
	} {
		if slices.ContainsFunc(rows, func(r accessRow) bool { return r.names(name) }) {
			fill = append(fill, name, thing())
		}
	}
	return append(fill, "<path>", path)
}

// names reports whether the row is about such a thing. The file of <id> is the
// one at <path>, and some row has it in a folder.
func (r accessRow) names(thing string) bool {
	text := r.path + r.body
	return strings.Contains(text, thing) ||
		thing == "<id>" && (strings.Contains(text, "<path>") || strings.Contains(text, "/alice/m/"))
}

// fixtureKey makes a key. The limit of keys is a hundred, so the one before it
// goes.
func fixtureKey(w *world, scope string) string {
	key := field(w.t, w.want(201, "alice", "POST", "/api/v1/keys", strings.NewReader(`{"name":"fixture","scopes":["`+scope+`"]}`)), "id")
	list := w.want(200, "alice", "GET", "/api/v1/keys", nil)
	for _, part := range strings.Split(list.body, `"id":"`)[1:] {
		if strings.Contains(part, `"fixture"`) && !strings.Contains(part, key) {
			w.want(204, "alice", "DELETE", "/api/v1/keys/"+part[:16], nil)
		}
	}
	return key
}

// deletedBatch deletes a file of alice's on the page, and returns the id in the
// undo that the note offers.
func deletedBatch(w *world, path string) string {
	file := w.want(201, "alice", "PUT", "/files/alice/"+path+"-batch", strings.NewReader("gone"))
	a := w.want(303, "alice", "POST", "/actions/delete", strings.NewReader("only="+field(w.t, file, "id")),
		"Content-Type", "application/x-www-form-urlencoded")
	return between(noted(w, a), "/actions/restore/", "?")
}

// discardedBatch discards an upload of alice's on the page, and returns the id
// in the undo that the note offers.
func discardedBatch(w *world) string {
	upload := w.want(201, "alice", "POST", "/api/v1/uploads?filename=u", strings.NewReader("gone"))
	a := w.want(303, "alice", "POST", "/waiting/"+field(w.t, upload, "token")+"/discard", nil)
	return between(noted(w, a), "/waiting/restore/", `"`)
}

// noted is the note of the page that follows an action of alice's.
func noted(w *world, a answer) string {
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	page := w.want(200, "alice", "GET", "/docs", nil, "Cookie", cookie, "Accept", "text/html")
	return between(page.body, "data-toast", "</div>")
}

func between(s, before, after string) string {
	_, rest, _ := strings.Cut(s, before)
	found, _, _ := strings.Cut(rest, after)
	return found
}
