package handlers_test

import (
	"net/url"
	"strings"
	"testing"

	"upload-service/handlers"
)

// TestContentHost serves contents to browsers from a host without sessions.
func TestContentHost(t *testing.T) {
	t.Parallel()
	const host = "content.example"
	w := newWorld(t, setup{http: func(c *handlers.Config) { c.ContentURL = "https://" + host }})
	w.want(201, "alice", "PUT", "/files/me/d/a.html", strings.NewReader("<script>alert(1)</script>"))
	w.want(201, "alice", "PUT", "/files/me/d/p.txt", strings.NewReader("plain"))
	cookie := w.session("alice")
	ticket := func(path string) string {
		t.Helper()
		to, err := url.Parse(w.want(302, "anonymous", "GET", path, nil, "Cookie", cookie).header.Get("Location"))
		w.ok(err)
		if to.Scheme+"://"+to.Host != "https://"+host {
			t.Fatalf("%s goes to %s", path, to)
		}
		return to.RequestURI()
	}

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
}
