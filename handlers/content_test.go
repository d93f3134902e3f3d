package handlers_test

import (
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"upload-service/auth"
	"upload-service/handlers"
)

// TestContentHost serves contents to browsers from a host without sessions.
func TestContentHost(t *testing.T) {
	t.Parallel()
	const host = "content.example"
	var later atomic.Int64
	clock := func() time.Time { return time.Now().Add(time.Duration(later.Load())) }
	w := newWorld(t, setup{
		auth: func(c *auth.Config) {
			c.Restricted, c.AllowedUsers, c.AllowedOrgs, c.Now = true, []string{"root"}, []string{"acme"}, clock
		},
		http: func(c *handlers.Config) {
			c.ContentURL, c.PublicURL, c.Now = "https://"+host, "https://files.example", clock
		},
	})
	w.want(201, "alice", "PUT", "/files/me/d/a.html", strings.NewReader("<script>alert(1)</script>"))
	w.want(201, "alice", "PUT", "/files/me/d/p.txt", strings.NewReader("plain"))
	cookie := w.session("alice")
	ticketOf := func(cookie, path string) string {
		t.Helper()
		to, err := url.Parse(w.want(302, "anonymous", "GET", path, nil, "Cookie", cookie).header.Get("Location"))
		w.ok(err)
		if to.Scheme+"://"+to.Host != "https://"+host {
			t.Fatalf("%s goes to %s", path, to)
		}
		return to.RequestURI()
	}
	ticket := func(path string) string { return ticketOf(cookie, path) }

	// 1. A browser is sent to the other host, where the ticket is all it takes.
	at := ticket("/files/me/d/a.html?inline=1")
	a := w.want(200, "anonymous", "GET", at, nil, "Host", host)
	if a.body != "<script>alert(1)</script>" || !strings.HasPrefix(a.header.Get("Content-Disposition"), "attachment") {
		t.Errorf("a page: %v", a.header)
	}
	if a := w.want(200, "anonymous", "GET", ticket("/files/me/d/p.txt?inline=1"), nil, "Host", host); !strings.HasPrefix(a.header.Get("Content-Disposition"), "inline") {
		t.Errorf("a text: %v", a.header)
	}
	w.want(206, "anonymous", "GET", at, nil, "Host", host, "Range", "bytes=0-3")

	// 2. A program gets it where it asks; a list stays where it is.
	w.want(200, "alice", "GET", "/files/me/d/a.html", nil)
	w.want(200, "anonymous", "GET", "/files/me/d/", nil, "Cookie", cookie, "Accept", "text/html")

	// 3. Nothing else is there, and no ticket works elsewhere.
	for _, path := range []string{"/", "/files/me/d/a.html", "/api/v1/me", "/login", "/healthz"} {
		w.want(404, "anonymous", "GET", path, nil, "Host", host, "Cookie", cookie)
	}
	w.want(404, "anonymous", "GET", at, nil)
	forged := strings.Replace(at, "/content/", "/content/A", 1)
	for _, path := range []string{forged, "/content/x/y", "/content/" + strings.Repeat("A", 120) + "/y"} {
		w.want(410, "anonymous", "GET", path, nil, "Host", host)
	}

	// 4. Who lost the file lost what its tickets show.
	w.want(204, "alice", "DELETE", "/files/me/d/a.html", nil)
	w.want(404, "anonymous", "GET", at, nil, "Host", host)

	// 5. The pages may show its pictures.
	page := w.want(200, "anonymous", "GET", "/files/me/d/", nil, "Cookie", cookie, "Accept", "text/html")
	if policy := page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "img-src 'self' https://content.example ") {
		t.Errorf("policy %s", policy)
	}

	// 6. A ticket is no credential: the log has none, and later it leads back to
	// where the session is asked for.
	at = ticket("/files/me/d/p.txt?inline=1")
	w.want(200, "anonymous", "GET", at, nil, "Host", host)
	if secret := strings.Split(at, "/")[2]; strings.Contains(w.log.String(), secret) {
		t.Error("the log has a ticket")
	}
	if !strings.Contains(w.log.String(), "path=/content/-/p.txt ") {
		t.Error("the log does not tell of contents")
	}
	later.Add(int64(11 * time.Minute))
	a = w.want(302, "anonymous", "GET", at, nil, "Host", host)
	if got := a.header.Get("Location"); got != "https://files.example/files/alice/d/p.txt?inline=1" {
		t.Errorf("an old ticket leads to %s", got)
	}

	// 7. It ends with its session, and with what the account may do.
	admin := w.session("root")
	theirs := ticketOf(admin, "/files/alice/d/p.txt")
	w.want(200, "anonymous", "GET", theirs, nil, "Host", host)
	w.want(303, "anonymous", "POST", "/logout", nil, "Cookie", admin)
	w.want(410, "anonymous", "GET", theirs, nil, "Host", host)
	later.Add(int64(29 * 24 * time.Hour))
	at = ticket("/files/me/d/p.txt")
	later.Add(int64(2 * 24 * time.Hour))
	w.want(410, "anonymous", "GET", at, nil, "Host", host) // no longer known as a member of acme
}
