package handlers_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"upload-service/handlers"
	"upload-service/store"
	"upload-service/views/text"
)

// TestUnknownAddress is a page for whoever is signed in, and leads from a page
// with a slash too many to that page.
func TestUnknownAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	b := w.browser()
	if page := b.do(404, "GET", "/nothing").body; !strings.Contains(page, `href="/login"`) {
		t.Errorf("a stranger sees %s", page)
	}
	b.signIn("alice", "/login")
	for _, at := range []string{"/nothing", "/files"} {
		if page := b.do(404, "GET", at).body; !strings.Contains(page, `data-login="alice"`) || !strings.Contains(page, `href="/files/alice/"`) {
			t.Errorf("%s: alice sees %s", at, page)
		}
	}
	b.cookies["upload_session"] = "over"
	if page := b.do(404, "GET", "/nothing").body; strings.Contains(page, "data-login") {
		t.Errorf("a stranger sees %s", page)
	}

	for at, want := range map[string]string{
		"/docs/": "/docs", "/docs/api/": "/docs/api", "/admin/?q=a%20b": "/admin?q=a%20b", "/login/?next=/keys": "/login?next=/keys",
	} {
		if got := w.want(308, "anonymous", "GET", at, nil).header.Get("Location"); got != want {
			t.Errorf("%s leads to %s, want %s", at, got, want)
		}
	}
	w.want(308, "anonymous", "HEAD", "/keys/", nil)
	for _, at := range []string{"/docs//", "//docs/", "/openapi.yaml/", "/api/v1/files/", "/nothing/"} {
		w.want(404, "anonymous", "GET", at, nil)
	}
	w.want(405, "alice", "POST", "/docs", nil)
	w.want(404, "alice", "POST", "/docs/", nil)
}

// TestSubmit drives the form of the first page as a browser without scripts.
func TestSubmit(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	form := func(values url.Values, headers ...string) answer {
		return w.as("alice", "POST", "/submit", strings.NewReader(values.Encode()),
			append([]string{"Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html"}, headers...)...)
	}
	upload := func() string {
		return field(t, w.want(201, "alice", "POST", "/api/v1/uploads?filename=a.txt", strings.NewReader("x")), "token")
	}
	token := upload()
	values := url.Values{
		"token": {token}, "folder": {"docs"}, "description": {"Words"}, "tag": {"b, a", "c"}, "on_conflict": {"fail"},
	}

	// 1. All of it becomes permanent, and the next page says so, once.
	a := form(values)
	if a.status != 303 || a.header.Get("Location") != "/" {
		t.Fatalf("submit: %d %s", a.status, a.header.Get("Location"))
	}
	cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
	page := w.want(200, "alice", "GET", "/", nil, "Cookie", cookie, "Accept", "text/html")
	if !strings.Contains(page.body, "Saved 1 file to alice/docs.") || !strings.Contains(page.body, `href="/files/alice/docs/"`) {
		t.Errorf("no note of what was saved: %s", between(page.body, "<main", "</main>"))
	}
	if !strings.Contains(page.header.Get("Set-Cookie"), "upload_note=;") {
		t.Errorf("the note is kept: %s", page.header.Get("Set-Cookie"))
	}
	file := w.want(200, "alice", "GET", "/api/v1/files?prefix=docs/", nil)
	for _, want := range []string{`"path":"docs/a.txt"`, `"tags":["a","b","c"]`, `"description":"Words"`} {
		if !strings.Contains(file.body, want) {
			t.Errorf("the file has no %s: %s", want, file.body)
		}
	}

	// 2. What is refused comes again as it was, with the tokens.
	values.Set("token", upload())
	for _, refused := range []struct {
		status        int
		name, value   string
		want, headers []string
	}{
		{409, "folder", "docs", []string{"1 name is already taken in docs", `value="replace"`}, nil},
		{400, "folder", "a/../b", []string{`value="a/../b"`, `aria-invalid="true"`}, []string{"HX-Request", "true", "HX-Boosted", "true"}},
	} {
		values.Set(refused.name, refused.value)
		a := form(values, refused.headers...)
		if a.status != refused.status {
			t.Errorf("%s %q: got %d, want %d", refused.name, refused.value, a.status, refused.status)
		}
		for _, want := range append(refused.want, ">Words</textarea>", `value="`+values.Get("token")+`" form="submit" checked`) {
			if !strings.Contains(a.body, want) {
				t.Errorf("%s %q: the page has no %s", refused.name, refused.value, want)
			}
		}
		if got := a.header.Get("HX-Retarget"); (got != "") != (refused.headers != nil) {
			t.Errorf("%s %q: HX-Retarget %q", refused.name, refused.value, got)
		}
		if got := a.header.Get("HX-Push-Url"); (got == "false") != (refused.headers != nil) {
			t.Errorf("%s %q: HX-Push-Url %q", refused.name, refused.value, got)
		}
	}

	twice := values.Get("token")
	a = form(url.Values{"token": {twice, upload()}, "folder": {"new"}, "on_conflict": {"fail"}})
	if a.status != 409 || !strings.Contains(a.body, "1 name is already taken in new") || !strings.Contains(a.body, "twice among your files") {
		t.Errorf("a name twice: %d: %s", a.status, between(a.body, `id="submit"`, "</form>"))
	}

	// 3. The answer to the question wins over the choice.
	values.Set("folder", "docs")
	values.Set("on_conflict_now", "rename")
	if a := form(values); a.status != 303 {
		t.Errorf("rename: got %d: %s", a.status, a.body)
	}

	// 4. An upload that is gone is said, and the others stay chosen.
	lost, kept := upload(), upload()
	w.want(204, "alice", "DELETE", "/api/v1/uploads/"+lost, nil)
	a = form(url.Values{"token": {lost, kept}})
	if a.status != 410 || !strings.Contains(a.body, "1 file expired") || !strings.Contains(a.body, kept+`" form="submit" checked`) {
		t.Errorf("a lost token: %d: %s", a.status, between(a.body, `id="submit"`, "</form>"))
	}
	if a := form(url.Values{}); a.status != 400 || !strings.Contains(a.body, "Choose at least one file") {
		t.Errorf("no token: %d", a.status)
	}

	// 5. The form of a second window learns what the first one did.
	done := upload()
	if a := form(url.Values{"token": {done}, "folder": {"first"}}); a.status != 303 {
		t.Fatalf("the first window: %d", a.status)
	}
	a = form(url.Values{"token": {done, kept}, "folder": {"second"}})
	if a.status != 409 || !strings.Contains(a.body, "1 file was submitted before") || strings.Contains(a.body, "expired or") ||
		strings.Contains(a.body, "different request") || !strings.Contains(a.body, kept+`" form="submit" checked`) {
		t.Errorf("the second window: %d: %s", a.status, between(a.body, `id="submit"`, "</form>"))
	}
	a = form(url.Values{"token": {lost, kept}, "folder": {"a/../b"}})
	if !strings.Contains(a.body, "1 file expired") || !strings.Contains(a.body, `id="folder-wrong"`) {
		t.Errorf("two mistakes: %s", between(a.body, `id="submit"`, "</form>"))
	}

	// 6. A field that is wrong is marked, in words for people.
	for field, value := range map[string]string{
		"description": strings.Repeat("я", 600), "tag": strings.Repeat("t", 100), "folder": "a/../b",
	} {
		a := form(url.Values{"token": {kept}, field: {value}})
		id := field
		if field == "tag" {
			id = "tags"
		}
		tag := between(a.body, `id="`+id+`" name="`, ">")
		if a.status != 400 || !strings.Contains(tag, `aria-invalid="true"`) || !strings.Contains(tag, id+"-wrong") ||
			!strings.Contains(a.body, `class="err" id="`+id+`-wrong"`) || strings.Contains(between(a.body, `-wrong">`, "</p>"), "bytes") {
			t.Errorf("%s: %d: %s", field, a.status, between(a.body, `id="submit"`, "</form>"))
		}
	}
}

// TestManyWait asks for more uploads than a page of the listing has: all of
// them are in the form.
func TestManyWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	const n = 201
	for range n {
		w.want(201, "alice", "POST", "/api/v1/uploads?filename=a.txt", strings.NewReader("x"))
	}
	for path, headers := range map[string][]string{"/": {"Accept", "text/html"}, "/waiting": {"HX-Request", "true"}} {
		a := w.want(200, "alice", "GET", path, nil, headers...)
		if got := strings.Count(a.body, `name="token"`); got != n {
			t.Errorf("%s lists %d of %d", path, got, n)
		}
	}
}

// TestWaiting adds and removes without scripts, and as the scripts do.
func TestWaiting(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{limits: store.Limits{FileSize: 100}})
	post := func(body string, headers ...string) answer {
		return w.as("alice", "POST", "/waiting", strings.NewReader(body),
			append([]string{"Content-Type", "multipart/form-data; boundary=b"}, headers...)...)
	}
	part := func(content string) string {
		return "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"<b>.html\"\r\n\r\n" + content + "\r\n--b--\r\n"
	}
	for body, want := range map[string]int{
		part("x"): 303, part(strings.Repeat("x", 101)): 413, "--b--\r\n": 400,
	} {
		if a := post(body); a.status != want {
			t.Errorf("%.20q: got %d, want %d: %s", body, a.status, want, a.body)
		}
	}
	w.want(415, "alice", "POST", "/waiting", strings.NewReader("x"), "Content-Type", "text/plain")
	a := w.want(200, "alice", "GET", "/waiting", nil, "HX-Request", "true")
	if !strings.Contains(a.body, `id="storage"`) || !strings.Contains(a.body, `hx-swap-oob="true"`) {
		t.Errorf("the storage does not come along: %s", a.body)
	}
	if strings.Contains(a.body, "<html") || strings.Contains(a.body, "<b>") || !strings.Contains(a.body, "&lt;b&gt;") {
		t.Errorf("the rows: %s", a.body)
	}
	token := between(a.body, `data-token="`, `"`)
	events := w.want(200, "alice", "POST", "/waiting/"+token+"/discard", nil, "HX-Request", "true").header.Get("HX-Trigger")
	if undo := between(events, `"undo":"`, `"`); !strings.Contains(events, `"waiting":true`) || undo == "" {
		t.Errorf("a discard says %s", events)
	} else {
		w.want(404, "bob", "POST", undo, nil)
		w.want(200, "alice", "POST", undo, nil, "HX-Request", "true")
		w.want(404, "alice", "POST", undo, nil)
	}
	w.want(200, "alice", "POST", "/waiting/discard", nil, "HX-Request", "true")
	if left := w.want(200, "alice", "GET", "/waiting", nil, "HX-Request", "true").body; strings.Contains(left, "data-token") {
		t.Errorf("after all were discarded: %s", left)
	}
	w.want(303, "alice", "POST", "/waiting/discard", nil)
	w.want(404, "bob", "POST", "/waiting/"+token+"/discard", nil)
	done := field(t, w.want(201, "alice", "POST", "/api/v1/uploads?filename=p", strings.NewReader("x")), "token")
	w.want(201, "alice", "POST", "/api/v1/uploads/"+done+"/persist", strings.NewReader("{}"), "Content-Type", "application/json")
	w.want(409, "alice", "POST", "/waiting/"+done+"/discard", nil)
}

// TestNote refuses words that are not ours.
func TestNote(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, cookie := range []string{"upload_note=e30", "upload_note=%%%", "upload_note=" + strings.Repeat("A", 200)} {
		if a := w.want(200, "alice", "GET", "/", nil, "Cookie", cookie); strings.Contains(a.body, "data-toast") {
			t.Errorf("%s was shown", cookie)
		}
	}
}

// TestLongNote renames in a folder whose name is as long as one can be: the
// note and its undo still come.
func TestLongNote(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	folder := strings.Repeat("Ж", 120) + "/" + strings.Repeat("щ", 120) + "/" + strings.Repeat("ю", 120)
	id := field(t, w.want(201, "alice", "PUT", "/files/me/"+url.PathEscape(folder[:240])+"/"+url.PathEscape(folder[241:481])+"/"+
		url.PathEscape(folder[482:])+"/a.txt", strings.NewReader("x")), "id")
	a := w.want(303, "alice", "POST", "/actions/change", strings.NewReader(url.Values{
		"id": {id}, "name": {"b.txt"}, "to": {folder}, "in": {folder},
	}.Encode()), "Content-Type", "application/x-www-form-urlencoded")
	if note := noted(w, a); !strings.Contains(note, "Saved.") || !strings.Contains(note, "/actions/change?") {
		t.Errorf("the note is %q", note)
	}
}

// TestStatic loads what a page names, in each encoding.
func TestStatic(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	page := w.want(200, "alice", "GET", "/", nil)
	names := regexp.MustCompile(`(?:src|href)="(/static/[^"]+)"`).FindAllStringSubmatch(page.body, -1)
	if len(names) != 2 {
		t.Fatalf("the page names %v, want a style sheet and a script", names)
	}
	for _, name := range names {
		plain := w.want(200, "anonymous", "GET", name[1], nil, "Accept-Encoding", "identity")
		zipped := w.want(200, "anonymous", "GET", name[1], nil, "Accept-Encoding", "gzip")
		small := w.want(200, "anonymous", "GET", name[1], nil, "Accept-Encoding", "gzip, deflate, br")
		if e := small.header.Get("Content-Encoding"); e != "br" || len(small.body) >= len(zipped.body) {
			t.Errorf("%s: encoding %q, %d bytes; gzip has %d", name[1], e, len(small.body), len(zipped.body))
		}
		r, err := gzip.NewReader(strings.NewReader(zipped.body))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, []byte(plain.body)) {
			t.Errorf("%s: gzip is not the plain file: %v", name[1], err)
		}
		for header, want := range map[string]string{
			"Cache-Control": "public, max-age=31536000, immutable", "Access-Control-Allow-Origin": "*", "Vary": "Accept-Encoding",
		} {
			if got := plain.header.Get(header); got != want {
				t.Errorf("%s: %s is %q, want %q", name[1], header, got, want)
			}
		}
	}

	cdn := newWorld(t, setup{http: func(c *handlers.Config) { c.StaticURL = "https://cdn.example/assets" }})
	page = cdn.want(200, "alice", "GET", "/", nil)
	if !strings.Contains(page.body, `src="https://cdn.example/assets/app.`) {
		t.Error("the page does not load its script from UPLOAD_STATIC_URL")
	}
}

// TestPagePolicy asks that no page, whatever it shows, has a script, style or
// handler of its own, and that its policy lets nothing run but its one script:
// what was uploaded comes from the same origin.
func TestPagePolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	form := []string{"Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html"}
	id := field(t, w.want(201, "alice", "PUT", "/files/me/d/x.txt", strings.NewReader("x")), "id")
	fill := strings.NewReplacer(":slug", "alice", "*", "d/", ":id", "x", ":token", "x", ":ticket", "x", ":name", "x")
	type visit struct{ method, path, body string }
	visits := []visit{
		{"GET", "/nothing", ""}, {"GET", "/files/me/d/?q=nothing", ""}, {"GET", "/files/me/d/?open=" + id, ""},
		{"GET", "/login?code=x", ""}, {"POST", "/submit", ""}, {"POST", "/keys", "name=x"}, {"POST", "/keys", "name=x&scope=read"},
		{"POST", "/admin/cleanup", "older_than=x"}, {"POST", "/admin/cleanup", ""}, {"POST", "/actions/change", ""},
	}
	for _, r := range w.app.GetRoutes(true) {
		if r.Method == "GET" {
			visits = append(visits, visit{"GET", fill.Replace(r.Path), ""})
		}
	}
	inline := regexp.MustCompile(`(?i)<style|\sstyle=|\son[a-z]+=|javascript:|<script(?: [^>]*)?>[^<]`)
	policy := regexp.MustCompile(`^default-src 'none'; script-src 'nonce-(\w{26,})' 'strict-dynamic'; style-src 'nonce-(\w+)'; ` +
		`img-src 'self' blob: data:; media-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'$`)
	pages := map[string]bool{}
	for _, v := range visits {
		for _, who := range []string{"anonymous", "alice", "root"} {
			a := w.as(who, v.method, v.path, strings.NewReader(v.body), form...)
			what := fmt.Sprintf("%s %s as %s", v.method, v.path, who)
			if !strings.HasPrefix(a.body, "<!doctype html>") {
				if p := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(p, "default-src 'none';") && !strings.HasPrefix(p, "sandbox;") {
					t.Errorf("%s, which is no page, has the policy %q", what, p)
				}
				continue
			}
			if found := inline.FindString(a.body); found != "" {
				t.Errorf("%s has %q", what, found)
			}
			m := policy.FindStringSubmatch(a.header.Get("Content-Security-Policy"))
			if m == nil || m[1] != m[2] || strings.Count(a.body, `nonce="`+m[1]+`"`) != 2 {
				t.Errorf("%s has the policy %q", what, a.header.Get("Content-Security-Policy"))
				continue
			}
			if pages[m[1]] {
				t.Errorf("%s has the nonce of another page", what)
			}
			pages[m[1]] = true
		}
	}
	if len(pages) < 40 {
		t.Errorf("only %d pages were looked at", len(pages))
	}
}

// TestBoostedErrors sends what a script has to know to show an error.
func TestBoostedErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	a := w.want(404, "alice", "GET", "/files/me/none", nil, "HX-Request", "true", "HX-Boosted", "true")
	if a.header.Get("HX-Retarget") != "#main" || !strings.Contains(a.body, `<main id="main"`) {
		t.Errorf("a boosted link: %v", a.header)
	}
	a = w.want(404, "alice", "GET", "/files/me/none", nil, "HX-Request", "true")
	if !strings.Contains(a.header.Get("HX-Trigger"), `"toast"`) {
		t.Errorf("a part of a page: %v", a.header)
	}
	a = w.want(401, "anonymous", "GET", "/waiting", nil, "HX-Request", "true")
	if !strings.Contains(a.header.Get("HX-Trigger"), `"session-expired"`) {
		t.Errorf("without a session: %v", a.header)
	}

	// What was typed stays on the page: a session that ended and an action that
	// failed take nothing away.
	for _, r := range []struct {
		status            int
		who, method, path string
		want              string
	}{
		{401, "anonymous", "POST", "/submit", `"session-expired"`},
		{401, "anonymous", "GET", "/keys", `"session-expired"`},
		{404, "alice", "POST", "/sessions/00000000000000000000000000000000/end", `"toast"`},
		{404, "root", "POST", "/admin/owners/nobody/sessions/end", `"toast"`},
	} {
		a := w.want(r.status, r.who, r.method, r.path, nil, "HX-Request", "true", "HX-Boosted", "true", "Accept", "text/html")
		if a.header.Get("HX-Retarget") != "" || !strings.Contains(a.header.Get("HX-Trigger"), r.want) {
			t.Errorf("%s %s: the page goes: %v", r.method, r.path, a.header)
		}
	}
	slow := newWorld(t, setup{http: func(c *handlers.Config) { c.RateLimit = 1 }})
	for slow.as("alice", "GET", "/api/v1/me", nil).status != 429 { // it lets a few through
	}
	a = slow.want(429, "alice", "POST", "/submit", strings.NewReader("token=x"), "HX-Request", "true",
		"HX-Boosted", "true", "Content-Type", "application/x-www-form-urlencoded")
	if a.header.Get("HX-Retarget") != "" || !strings.Contains(a.header.Get("HX-Trigger"), `"toast"`) {
		t.Errorf("too many requests: %v", a.header)
	}
}

// TestErrorWords asks that a page has words of its own for every code, and that
// it speaks to a person.
func TestErrorWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for _, m := range regexp.MustCompile(`<dt id="([a-z_]+)">`).FindAllStringSubmatch(w.want(200, "anonymous", "GET", "/docs/errors", nil).body, -1) {
		if key := "error.title." + m[1]; text.Get(key) == key {
			t.Errorf("%s has no title for pages", m[1])
		}
	}
	for path, want := range map[string]string{
		"/admin":   "Your account has no permission for this.",
		"/nothing": "The page was moved or removed",
	} {
		if a := w.as("alice", "GET", path, nil, "Accept", "text/html"); !strings.Contains(a.body, want) {
			t.Errorf("%s: %s", path, between(a.body, "<main", "</main>"))
		}
	}
}

// TestTheme keeps the choice, and goes back to where it was made.
func TestTheme(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for referer, want := range map[string]string{
		w.url + "/files/alice/?q=a": "/files/alice/?q=a", "https://evil.example/x": "/", "": "/", w.url + "//evil.example": "/",
	} {
		a := w.want(303, "alice", "POST", "/theme", strings.NewReader("theme=dark"),
			"Content-Type", "application/x-www-form-urlencoded", "Referer", referer)
		if got := a.header.Get("Location"); got != want {
			t.Errorf("from %q: Location %q, want %q", referer, got, want)
		}
		cookie := (&http.Response{Header: a.header}).Cookies()
		if len(cookie) == 0 || cookie[0].Value != "dark" || cookie[0].MaxAge < int((30*24*time.Hour).Seconds()) {
			t.Errorf("cookie %v", cookie)
		}
	}
	page := w.want(200, "alice", "GET", "/", nil, "Cookie", "theme=dark")
	if !strings.Contains(page.body, `<html lang="en" data-theme="dark">`) {
		t.Error("the page is not dark")
	}
	page = w.want(200, "alice", "GET", "/", nil, "Cookie", `theme="><script>`)
	if strings.Contains(page.body, `"><script>`) {
		t.Error("the cookie is markup")
	}
}
