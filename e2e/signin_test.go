package e2e_test

import (
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"testing"

	"upload-service/auth/githubtest"
)

// person is a browser: it follows redirects, to GitHub and back, and keeps
// cookies.
type person struct {
	t      *testing.T
	client *http.Client
	url    string
}

func newPerson(t *testing.T, s *server) *person {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	return &person{t, &http.Client{Jar: jar}, s.url}
}

// visit asks for a page and returns it, and where it was found.
func (p *person) visit(want int, path string) (at, page string) {
	p.t.Helper()
	return p.send(want, http.MethodGet, path, nil, "")
}

func (p *person) send(want int, method, path string, body io.Reader, contentType string) (at, page string) {
	p.t.Helper()
	req, err := http.NewRequest(method, p.url+path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Accept", "text/html")
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	res, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	if res.StatusCode != want {
		p.t.Fatalf("%s %s: got %d, want %d: %s", method, path, res.StatusCode, want, b)
	}
	return res.Request.URL.RequestURI(), string(b)
}

// TestSignInWithGitHub is what people do with the service of their company: an
// Enterprise Server below a path, an organization that may use it, one account
// that is on the list. Then the lists change.
func TestSignInWithGitHub(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	github := githubtest.NewEnterprise(t)
	s := start(t, dir, append(github.Settings(), "GITHUB_ALLOWED_ORGS=acme", "GITHUB_ALLOWED_USERS=root")...)

	alice, phone, bob, root := newPerson(t, s), newPerson(t, s), newPerson(t, s), newPerson(t, s)
	if at, _ := alice.visit(200, "/login?next=/files/me/"); at != "/files/me/" {
		t.Errorf("the sign-in ends at %s", at)
	}
	phone.visit(200, "/login")
	github.SignInAs("root")
	root.visit(200, "/login")
	github.SignInAs("bob")
	if _, page := bob.visit(403, "/login"); !strings.Contains(page, "“bob” is not allowed here") {
		t.Errorf("bob is not told: %s", page)
	}

	form := "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"report.txt\"\r\n\r\nfigures\r\n--b--\r\n"
	if at, _ := alice.send(200, "POST", "/upload", strings.NewReader(form), "multipart/form-data; boundary=b"); at != "/" {
		t.Errorf("the upload ends at %s", at)
	}
	if _, page := phone.visit(200, "/files/me/"); !strings.Contains(page, "/files/alice/report.txt") {
		t.Errorf("the file is not listed: %s", page)
	}
	if _, content := phone.visit(200, "/files/me/report.txt"); content != "figures" {
		t.Errorf("the file is %q", content)
	}

	// One browser signs out, then all do.
	phone.send(200, "POST", "/logout", nil, "")
	phone.visit(401, "/files/me/")
	alice.visit(200, "/files/me/")
	github.SignInAs("alice")
	phone.visit(200, "/login")
	if _, page := phone.send(200, "POST", "/sessions/end", nil, ""); !strings.Contains(page, "Every browser is signed out.") {
		t.Errorf("it is not said: %s", page)
	}
	alice.visit(401, "/files/me/")
	root.visit(200, "/files/me/")

	// A sign-in that has begun outlives a restart, and so does what the next page
	// is to say. Who was struck off the list does not, and can use another account.
	phone.visit(200, "/login")
	phone.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	phone.send(201, "PUT", "/files/me/old/report.txt", strings.NewReader("figures"), "")
	phone.send(303, "POST", "/actions/delete", strings.NewReader("folder=old/"), "application/x-www-form-urlencoded")
	github.SignInAs("")
	at, choice := alice.visit(200, "/login")
	if !strings.HasPrefix(at, "/ghe/login/oauth/authorize?") || !strings.Contains(choice, "Continue as alice") {
		t.Fatalf("GitHub does not ask: %s %s", at, choice)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.url)
	if err != nil {
		t.Fatal(err)
	}
	s = start(t, dir, append(github.Settings(), "GITHUB_ALLOWED_ORGS=acme", "UPLOAD_ADDR="+u.Host)...)
	alice.url = strings.TrimSuffix(github.URL, "/ghe")
	if at, _ := alice.visit(200, at+"&as=alice"); at != "/" {
		t.Errorf("the sign-in ends at %s", at)
	}
	if _, page := phone.visit(200, "/"); !strings.Contains(page, "Deleted 1 file.") {
		t.Errorf("the delete is not told: %s", page)
	}
	_, page := root.visit(403, "/")
	if !strings.Contains(page, "“root” is not allowed here") {
		t.Errorf("root is not told: %s", page)
	}
	github.SignInAs("alice")
	root.visit(200, "/login")
	if _, me := root.visit(200, "/api/v1/me"); !strings.Contains(me, `"owner":"alice"`) {
		t.Errorf("signed in as %s", me)
	}
	if log := s.log.String(); strings.Contains(log, githubtest.ClientSecret) || strings.Contains(log, "gho_") {
		t.Error("a secret is in the log")
	}
}

// addGitHub starts what signin.mjs needs: a service whose GitHub asks who one
// is, one whose GitHub does not answer questions, and a one-time link.
func addGitHub(t *testing.T, job map[string]any) {
	github := githubtest.New(t)
	github.SignInAs("")
	settings := append(github.Settings(), "GITHUB_ALLOWED_USERS=alice,root", "UPLOAD_ADMINS=root", "UPLOAD_LOG_LEVEL=warn")
	job["github"] = start(t, t.TempDir(), settings...).url
	job["down"] = start(t, t.TempDir(), append(settings, "GITHUB_API_URL=http://127.0.0.1:1")...).url
	job["fresh"] = start(t, t.TempDir()).signIn
}
