package handlers_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"upload-service/auth"
)

// session signs a new browser in and returns its cookie.
func (w *world) session(login string) string {
	b := w.browser()
	b.signIn(login, "/login")
	for name, value := range b.cookies {
		if strings.HasSuffix(name, "upload_session") {
			return name + "=" + value
		}
	}
	w.t.Fatal("signed in without a session")
	return ""
}

// TestKeysPage makes and revokes keys and sessions as a browser does.
func TestKeysPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	form := []string{"Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html"}
	post := func(status int, who, path, body string) answer {
		return w.want(status, who, "POST", path, strings.NewReader(body), form...)
	}

	// 1. The secret is shown once, and works.
	a := post(200, "alice", "/keys", "name=<b>ci&scope=read&life=30")
	secret := between(a.body, `id="secret" readonly value="`, `"`)
	if a.header.Get("Cache-Control") != "no-store" || !strings.HasPrefix(secret, "ups_") {
		t.Fatalf("secret %q, %v", secret, a.header)
	}
	w.keys["ci"] = secret
	w.want(200, "ci", "GET", "/api/v1/files", nil)
	page := w.want(200, "alice", "GET", "/keys", nil, "Accept", "text/html").body
	if strings.Contains(page, secret) || strings.Contains(page, "<b>") || !strings.Contains(page, "&lt;b&gt;ci") || !strings.Contains(page, "expires") {
		t.Errorf("the list: %s", between(page, `id="h-keys"`, "</section>"))
	}

	// 2. What is wrong is said in the form.
	for body, want := range map[string]string{
		"name=kept": "Choose what the key may do.", "scope=other": "The scopes are", "scope=read&life=x": "Choose when",
	} {
		if a := post(400, "alice", "/keys", body); !strings.Contains(a.body, want) {
			t.Errorf("%s: %s", body, between(a.body, `id="h-new"`, "</form>"))
		}
	}
	post(403, "ci", "/keys", "scope=write")
	id := between(page, `action="/keys/`, `/revoke"`)
	write := post(200, "alice", "/keys", "name=w&scope=write")
	other := between(write.body, `action="/keys/`, `/revoke"`)
	if other == id {
		other = between(write.body[strings.Index(write.body, id)+len(id):], `action="/keys/`, `/revoke"`)
	}
	post(403, "ci", "/keys/"+other+"/revoke", "")
	post(303, "alice", "/keys/"+id+"/revoke", "")
	w.want(401, "ci", "GET", "/api/v1/files", nil)

	// 3. Sessions: this one is marked, another can be ended.
	mine, others := w.session("alice"), w.session("alice")
	page = w.want(200, "anonymous", "GET", "/keys", nil, "Cookie", mine, "Accept", "text/html").body
	if strings.Count(page, "This browser") != 1 || strings.Count(page, `action="/sessions/`) != 2 {
		t.Errorf("sessions: %s", between(page, `id="h-sessions"`, "</section>"))
	}
	for agent, want := range map[string]string{
		"Mozilla/5.0 (X11; Linux x86_64; rv:146.0) Gecko/20100101 Firefox/146.0":                                                                  "Firefox on Linux",
		"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0":               "Edge on Windows",
		"Mozilla/5.0 (iPhone; CPU iPhone OS 18_7 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Mobile/15E148 Safari/604.1": "Safari on iPhone",
		"Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36":                         "Chrome on Android",
		"<script>alert(1)</script> \xff Firefox/" + strings.Repeat("x", 4000):                                                                     "Firefox",
		"curl/8.5.0": "Unknown browser",
		"Linux":      "Unknown browser on Linux",
	} {
		b := w.browser()
		w.github.SignInAs("bob")
		b.do(303, "GET", b.visit("/login"), "User-Agent", agent)
		list := between(b.do(200, "GET", "/keys").body, `id="h-sessions"`, "</section>")
		if !strings.Contains(list, ">"+want+"</p>") || strings.Contains(list, "alert") || strings.Contains(list, "Mozilla") {
			t.Errorf("%s is not called %s: %s", agent, want, list)
		}
	}
	ses := between(strings.Replace(page, `action="/sessions/end"`, "", 1), `action="/sessions/`, `/end"`)
	if strings.Contains(mine+others, ses) {
		t.Error("the page tells what is in a cookie")
	}
	w.want(404, "bob", "POST", "/sessions/"+ses+"/end", nil)
	w.want(303, "anonymous", "POST", "/sessions/"+ses+"/end", nil, "Cookie", mine, "Sec-Fetch-Site", "same-origin")
	w.want(200, "anonymous", "GET", "/api/v1/me", nil, "Cookie", mine)
	w.want(401, "anonymous", "GET", "/api/v1/me", nil, "Cookie", others)
}

// TestAdminPage previews and removes, and looks after an account.
func TestAdminPage(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	post := func(status int, path string, form url.Values) answer {
		return w.want(status, "root", "POST", path, strings.NewReader(form.Encode()),
			"Content-Type", "application/x-www-form-urlencoded", "Accept", "text/html")
	}
	w.want(200, "alice", "GET", "/api/v1/me", nil)
	if body := post(200, "/admin/cleanup", url.Values{"owner": {"alice"}}).body; !strings.Contains(body, "Nothing to remove.") {
		t.Errorf("an empty preview: %s", between(body, `id="cleanup"`, "</section>"))
	}

	dry := w.want(200, "root", "POST", "/api/v1/admin/cleanup", strings.NewReader(`{"dry_run":true}`), "Content-Type", "application/json")
	if a := post(200, "/admin/cleanup", url.Values{"older_than": {"7d"}}); !strings.Contains(a.body, `value="7d"`) {
		t.Error("days are not taken")
	}
	post(303, "/admin/cleanup", url.Values{"preview": {field(t, dry, "preview")}})
	post(410, "/admin/cleanup", url.Values{"preview": {"unknown"}})
	post(404, "/admin/cleanup", url.Values{"owner": {"nobody"}})
	if a := post(400, "/admin/cleanup", url.Values{"older_than": {"soon"}}); !strings.Contains(a.body, `value="soon"`) {
		t.Error("the form is empty again")
	}
	page := w.want(200, "root", "GET", "/admin", nil, "Accept", "text/html").body
	for _, want := range []string{`href="/admin/owners/alice"`, "github:1", "Free on the volume", "test"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page has no %s", want)
		}
	}

	// The accounts, by what they use, and those that a search finds.
	w.want(201, "bob", "PUT", "/files/me/large", strings.NewReader(strings.Repeat("x", 1000)))
	w.want(201, "alice", "PUT", "/files/me/a/name", strings.NewReader("x"))
	for query, want := range map[string]string{
		"": "bob alice root", "?sort=name": "alice bob root", "?q=AL": "alice", "?q=github:2": "bob", "?q=nobody": "", "?from=1": "alice root",
	} {
		body := w.want(200, "root", "GET", "/admin"+query, nil, "Accept", "text/html").body
		var got []string
		for _, m := range regexp.MustCompile(`href="/admin/owners/([a-z]+)"`).FindAllStringSubmatch(body, -1) {
			got = append(got, m[1])
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%q lists %v, want %s", query, got, want)
		}
	}

	// When an account was seen last, or that it never was.
	if _, err := w.store.EnsureOwner(t.Context(), "github:77", "zoe"); err != nil {
		t.Fatal(err)
	}
	page = w.want(200, "root", "GET", "/admin?sort=seen", nil, "Accept", "text/html").body
	if row := between(page, `href="/admin/owners/zoe"`, "</tr>"); !strings.Contains(row, ">never<") || strings.Contains(row, "alice") {
		t.Errorf("never seen, and not last: %s", row)
	}
	if row := between(page, `href="/admin/owners/alice"`, "</tr>"); strings.Count(row, "<time") != 2 {
		t.Errorf("not seen: %s", row)
	}
	if page := w.want(200, "root", "GET", "/admin/owners/alice", nil, "Accept", "text/html").body; !strings.Contains(page, "Last seen: <time") {
		t.Errorf("not seen: %s", between(page, "<h1>", "</div>"))
	}
	if a := w.want(200, "root", "GET", "/api/v1/admin/owners", nil); !strings.Contains(a.body, `"last_seen_at":null`) || !strings.Contains(a.body, `"last_seen_at":"20`) {
		t.Errorf("the API tells %s", a.body)
	}

	// What goes is told by its name, in groups.
	w.usedPart("x")
	if a := post(200, "/admin/cleanup", url.Values{"owner": {"alice"}}); !strings.Contains(a.body, "Contents that nothing holds any more") {
		t.Errorf("the groups: %s", between(a.body, `id="cleanup"`, "</section>"))
	}

	// An account: its keys and sessions end.
	key := field(t, w.want(201, "alice", "POST", "/api/v1/keys", strings.NewReader(`{"name":"k"}`), "Content-Type", "application/json"), "key")
	cookie, other := w.session("alice"), w.session("alice")
	page = w.want(200, "root", "GET", "/admin/owners/alice", nil, "Accept", "text/html").body
	one := "/admin/owners/alice/sessions/" + auth.SessionID(strings.TrimPrefix(other, "upload_session=")) + "/end"
	if !strings.Contains(page, `action="`+one+`"`) || strings.Count(page, `<time datetime=`) < 4 {
		t.Errorf("the sessions are not listed: %s", between(page, `id="h-sessions"`, "</section>"))
	}
	post(303, one, nil)
	post(404, one, nil)
	w.want(401, "anonymous", "GET", "/api/v1/me", nil, "Cookie", other)
	w.want(200, "anonymous", "GET", "/api/v1/me", nil, "Cookie", cookie)
	post(303, "/admin/owners/alice/keys/"+between(page, "/admin/owners/alice/keys/", "/revoke")+"/revoke", nil)
	post(303, "/admin/owners/alice/sessions/end", nil)
	w.keys["gone"] = key
	w.want(401, "gone", "GET", "/api/v1/me", nil)
	w.want(401, "anonymous", "GET", "/api/v1/me", nil, "Cookie", cookie)
	w.want(404, "root", "GET", "/admin/owners/nobody", nil)
	post(404, "/admin/owners/nobody/sessions/end", nil)
	post(404, "/admin/owners/alice/keys/none/revoke", nil)
}
