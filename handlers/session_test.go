package handlers_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"upload-service/auth"
	"upload-service/auth/githubtest"
	"upload-service/handlers"
)

// browser keeps cookies, and follows no redirect by itself.
type browser struct {
	w       *world
	cookies map[string]string
}

func (w *world) browser() *browser { return &browser{w, map[string]string{}} }

func (b *browser) do(want int, method, path string, headers ...string) answer {
	b.w.t.Helper()
	var pairs []string
	for name, value := range b.cookies {
		pairs = append(pairs, name+"="+value)
	}
	headers = append([]string{"Accept", "text/html"}, headers...)
	if len(pairs) > 0 {
		headers = append(headers, "Cookie", strings.Join(pairs, "; "))
	}
	a := b.w.want(want, "anonymous", method, path, nil, headers...)
	for _, line := range a.header.Values("Set-Cookie") {
		c, err := http.ParseSetCookie(line)
		b.w.ok(err)
		if c.MaxAge < 0 || c.Value == "" {
			delete(b.cookies, c.Name)
		} else {
			b.cookies[c.Name] = c.Value
		}
	}
	return a
}

// visit begins a sign-in, goes to GitHub, and returns what the browser brings
// back: the path and query of the callback.
func (b *browser) visit(path string) string {
	b.w.t.Helper()
	res, err := client.Get(b.do(303, "GET", path).header.Get("Location"))
	if err != nil {
		b.w.t.Fatal(err)
	}
	b.w.ok(res.Body.Close())
	back, err := res.Location()
	if err != nil {
		b.w.t.Fatalf("GitHub answers %s", res.Status)
	}
	return back.RequestURI()
}

// signIn signs the browser in as somebody and returns where it ends.
func (b *browser) signIn(login, path string) string {
	b.w.t.Helper()
	b.w.github.SignInAs(login)
	return b.do(303, "GET", b.visit(path)).header.Get("Location")
}

func cookieLine(a answer, name string) string {
	for _, line := range a.header.Values("Set-Cookie") {
		if strings.HasPrefix(line, name+"=") {
			return line
		}
	}
	return ""
}

// TestSignInWithGitHub takes the whole way, from a page that asks for it.
func TestSignInWithGitHub(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	b := w.browser()
	b.cookies["upload_session"] = "fixed" // by whoever hopes that the sign-in keeps it
	page := b.do(401, "GET", "/files/me/?sort=size")
	link := between(page.body, `class="btn btn-k btn-w" href="`, `"`)
	if link != "/login?next=%2ffiles%2fme%2f%3fsort%3dsize" {
		t.Fatalf("the page leads to %q", link)
	}

	begun := b.do(303, "GET", link)
	at, err := url.Parse(begun.header.Get("Location"))
	w.ok(err)
	if got := at.Query().Get("redirect_uri"); got != w.url+"/login/authorized" {
		t.Errorf("GitHub sends back to %s", got)
	}
	if line := cookieLine(begun, "upload_signin"); !strings.Contains(line, "max-age=600; path=/; HttpOnly; SameSite=Lax") {
		t.Errorf("the cookie of the sign-in: %s", line)
	}
	back, pending := b.visit(link), b.cookies["upload_signin"]
	ended := b.do(303, "GET", back)
	if got := ended.header.Get("Location"); got != "/files/me/?sort=size" {
		t.Errorf("the sign-in ends at %s", got)
	}
	if line := cookieLine(ended, "upload_session"); !strings.Contains(line, "path=/; HttpOnly; SameSite=Lax") || strings.Contains(line, "secure") {
		t.Errorf("the cookie of the session: %s", line)
	}
	first := b.cookies["upload_session"]
	if first == "fixed" || b.cookies["upload_signin"] != "" {
		t.Errorf("cookies after the sign-in: %v", b.cookies)
	}
	if me := b.do(200, "GET", "/api/v1/me"); !strings.Contains(me.body, `"owner":"alice"`) {
		t.Errorf("signed in as %s", me.body)
	}
	b.do(200, "GET", "/signed-in")

	// The way back works once, and nowhere else.
	b.do(400, "GET", back)
	b.cookies["upload_signin"] = pending
	again := b.do(400, "GET", back)
	if !strings.Contains(again.body, "Sign in again.") || !strings.Contains(again.body, `href="/login?next=`) {
		t.Errorf("no way to begin again: %s", again.body)
	}
	victim := w.browser()
	if a := victim.do(400, "GET", b.visit("/login")); !strings.Contains(a.body, "Allow cookies for this site") || len(victim.cookies) > 0 {
		t.Errorf("another browser's way back: %v %s", victim.cookies, a.body)
	}

	// To sign in again ends the session before.
	b.signIn("alice", "/login")
	second := b.cookies["upload_session"]
	if second == first {
		t.Error("the session has the same id")
	}
	w.want(401, "anonymous", "GET", "/api/v1/me", nil, "Cookie", "upload_session="+first)
	w.want(401, "anonymous", "GET", "/api/v1/me", nil, "Cookie", "upload_session=fixed")

	u, err := url.Parse(back)
	w.ok(err)
	for _, secret := range []string{u.Query().Get("code"), u.Query().Get("state"), pending, first, second} {
		if strings.Contains(w.log.String(), secret) {
			t.Errorf("the log has the secret %s", secret)
		}
	}
}

func TestSignInBehindHTTPS(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{http: func(c *handlers.Config) { c.PublicURL = "https://files.example" }})
	b := w.browser()
	begun := b.do(303, "GET", "/login")
	if to := begun.header.Get("Location"); !strings.Contains(to, "redirect_uri=https%3A%2F%2Ffiles.example%2Flogin%2Fauthorized&") {
		t.Errorf("GitHub sends back to %s", to)
	}
	ended := b.do(303, "GET", b.visit("/login"))
	form := []string{"Content-Type", "application/x-www-form-urlencoded"}
	themed := w.want(303, "anonymous", "POST", "/theme", strings.NewReader("theme=dark"), form...)
	noted := b.do(303, "POST", "/sessions/end", "Origin", "https://files.example")
	for line, a := range map[string]answer{
		"__Host-upload_signin": begun, "__Host-upload_session": ended, "__Host-upload_note": noted, "theme": themed,
	} {
		if got := cookieLine(a, line); !strings.Contains(got, "; secure") || !strings.Contains(got, "path=/;") {
			t.Errorf("%s: not only over https, or not for the whole host: %s", line, got)
		}
	}

	// A neighbour can plant a cookie without the prefix; it is none.
	b.signIn("alice", "/login")
	id := b.cookies["__Host-upload_session"]
	w.want(200, "anonymous", "GET", "/api/v1/me", nil, "Cookie", "__Host-upload_session="+id)
	w.want(401, "anonymous", "GET", "/api/v1/me", nil, "Cookie", "upload_session="+id)
}

// TestNext tries to end a sign-in where it must not end.
func TestNext(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	for next, want := range map[string]string{
		"":                              "/",
		"/keys":                         "/keys",
		"/files/me/a b/?q=x&r=%2F":      "/files/me/a%20b/?q=x&r=%2F",
		"/files/me/ä":                   "/files/me/%C3%A4",
		"/%2Fevil.example":              "/",
		"//evil.example":                "/",
		"///evil.example":               "/",
		`/\evil.example`:                "/",
		`\\evil.example`:                "/",
		"/\t/evil.example":              "/",
		"/\r\nX: y":                     "/",
		"https://evil.example":          "/",
		"https:/evil.example":           "/",
		"javascript:alert(1)":           "/",
		"evil.example":                  "/",
		"?x":                            "/",
		"/login":                        "/", // it would go round for ever
		"/login/authorized?x":           "/",
		"/logout":                       "/",
		"/" + strings.Repeat("x", 2000): "/",
	} {
		b := w.browser()
		if got := b.signIn("alice", "/login?next="+url.QueryEscape(next)); got != want {
			t.Errorf("next %.40q: the sign-in ends at %q, want %q", next, got, want)
		}
	}
}

// TestNotSignedIn shows the page for each way in which a sign-in can fail.
func TestNotSignedIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{auth: func(c *auth.Config) { c.Restricted, c.AllowedUsers = true, []string{"alice"} }})
	b := w.browser()
	for _, row := range []struct {
		name, login string
		fault       func(http.ResponseWriter, *http.Request) bool
		status      int
		says        []string
	}{
		{"not on the list", "bob", nil, 403, []string{
			"“bob” is not allowed here", "The account bob is not on the list", `href="/login?next=%2fkeys&amp;account=other"`,
			"Use another account",
		}},
		{"refused by the person", githubtest.Cancel, nil, 403, []string{
			"You did not let GitHub tell us who you are", `href="/login?next=%2fkeys"`, "Sign in with GitHub",
		}},
		{"GitHub is down", "alice", func(w http.ResponseWriter, _ *http.Request) bool { w.WriteHeader(502); return true }, 503,
			[]string{"GitHub does not answer. Try again in a minute.", "Sign in with GitHub"}},
		{"GitHub limits us", "alice", func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "60")
			w.WriteHeader(429)
			return true
		}, 503, []string{"GitHub limits how often we may ask. Try again in 60 seconds."}},
	} {
		w.github.SignInAs(row.login)
		back := b.visit("/login?next=/keys")
		w.github.Fail(row.fault)
		a := b.do(row.status, "GET", back)
		w.github.Fail(nil)
		for _, want := range row.says {
			if !strings.Contains(a.body, want) {
				t.Errorf("%s: the page has no %s: %s", row.name, want, between(a.body, "<main", "</main>"))
			}
		}
		if b.cookies["upload_session"] != "" {
			t.Errorf("%s: signed in", row.name)
		}
		// A program is told the same.
		if row.status == 503 {
			w.github.Fail(row.fault)
			a = w.want(503, "anonymous", "GET", back, nil, "Cookie", "upload_signin="+b.cookies["upload_signin"])
			w.github.Fail(nil)
			if a.code(t) != "unavailable" || a.header.Get("Retry-After") == "" {
				t.Errorf("%s: a program gets %v %s", row.name, a.header, a.body)
			}
			// And when GitHub is back, to load the page again is enough.
			b.do(303, "GET", back)
			b.do(303, "GET", "/logout", "Sec-Fetch-Site", "same-origin")
		}
	}
	if to := b.do(303, "GET", "/login?account=other").header.Get("Location"); !strings.Contains(to, "&prompt=select_account&") {
		t.Errorf("GitHub does not ask which account: %s", to)
	}
}

// TestMembershipIsOld: whose membership has not been confirmed for long can
// sign in again, and only that.
func TestMembershipIsOld(t *testing.T) {
	t.Parallel()
	var later atomic.Int64
	w := newWorld(t, setup{auth: func(c *auth.Config) {
		c.Restricted, c.AllowedOrgs = true, []string{"acme"}
		c.Now = func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	}})
	b := w.browser()
	b.signIn("alice", "/login")
	later.Store(int64(29 * 24 * time.Hour))
	b.do(200, "GET", "/")
	later.Store(int64(31 * 24 * time.Hour))
	page := b.do(403, "GET", "/")
	if !strings.Contains(page.body, "last confirmed 31 days ago") || !strings.Contains(page.body, "Sign in with GitHub") {
		t.Errorf("no way to sign in again: %s", page.body)
	}
	b.do(200, "GET", between(between(page.body, `rel="stylesheet"`, `>`), `href="`, `"`))
	b.signIn("alice", "/login")
	b.do(200, "GET", "/")
}

// TestAnotherAccount: a page that was made for one account does nothing for the
// other one that has signed in since.
func TestAnotherAccount(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	b := w.browser()
	b.signIn("alice", "/login")
	page := b.do(200, "GET", "/")
	alice := between(page.body, ` data-owner="`, `"`)
	act := func(want int, path string, headers ...string) answer {
		t.Helper()
		return b.do(want, "POST", path, append(headers, "Sec-Fetch-Site", "same-origin", "Upload-Owner", alice)...)
	}
	tus := []string{"Tus-Resumable", "1.0.0", "Upload-Length", "1"}
	act(201, "/tus/", tus...)
	act(303, "/waiting/discard")

	b.signIn("bob", "/login")
	for _, a := range []answer{
		act(401, "/tus/", tus...), act(401, "/waiting/discard"), act(401, "/keys"), b.do(401, "GET", "/files/me/", "Upload-Owner", alice),
	} {
		if a.header.Get("Location") != "" {
			t.Errorf("it was done: %v", a.header)
		}
	}
	a := act(401, "/tus/", append(tus, "Accept", "application/json")...)
	if doc := field(t, a, "detail"); doc != "Another account is signed in now. Load the page again." {
		t.Errorf("it is said: %q", doc)
	}
	if list := b.do(200, "GET", "/api/v1/uploads"); strings.Contains(list.body, "token") {
		t.Errorf("bob has uploads now: %s", list.body)
	}
	b.signIn("alice", "/login")
	act(201, "/tus/", tus...)
}

// TestSignOutEverywhere ends the sessions of all browsers, and no other's.
func TestSignOutEverywhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, setup{})
	one, two, bob := w.browser(), w.browser(), w.browser()
	one.signIn("alice", "/login")
	two.signIn("alice", "/login")
	bob.signIn("bob", "/login")
	one.do(403, "POST", "/sessions/end", "Sec-Fetch-Site", "cross-site")
	two.do(200, "GET", "/signed-in")
	if got := one.do(303, "POST", "/sessions/end", "Sec-Fetch-Site", "same-origin").header.Get("Location"); got != "/" {
		t.Errorf("it ends at %s", got)
	}
	if page := one.do(200, "GET", "/"); !strings.Contains(page.body, "Every browser is signed out.") || !strings.Contains(page.body, "Sign in with GitHub") {
		t.Errorf("the page does not say so: %s", page.body)
	}
	two.do(401, "GET", "/signed-in")
	bob.do(200, "GET", "/signed-in")
}
