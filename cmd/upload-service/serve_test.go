package main

import (
	"bytes"
	"context"
	"html"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// untilReady collects what is printed and stops the service once it is ready.
type untilReady struct {
	bytes.Buffer
	stop func()
}

// Write implements io.Writer.
func (u *untilReady) Write(b []byte) (int, error) {
	n, err := u.Buffer.Write(b)
	if bytes.Contains(b, []byte("Ready")) { // the last line: now others may read
		u.stop()
	}
	return n, err
}

// TestGreeting starts the service and looks at the lines that tell how to reach
// it.
func TestGreeting(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "u.sock")
	const everywhere = `every address of this machine`
	for _, tt := range []struct {
		name      string
		environ   []string
		want, not string
	}{
		{"this machine", []string{"UPLOAD_ADDR=127.0.0.1:0"}, `Address  http://127\.0\.0\.1:\d+\n  Data`, everywhere},
		{"every address", []string{"UPLOAD_ADDR=:0"}, `Address  http://localhost:\d+\n +\(and ` + everywhere, `\[::\]`},
		{"socket", []string{"UPLOAD_ADDR=unix:" + socket},
			`(?s)Address  unix:/.*Sign-in  /login\?code=.*curl --unix-socket ` + socket + ` .* http://localhost/files/me/`, `unix:/\S+/login`},
		{"socket behind a proxy", []string{"UPLOAD_ADDR=unix:" + socket + "2", "UPLOAD_PUBLIC_URL=https://u.example"},
			`(?s)Address  https://u\.example\n +\(behind a proxy, which reaches it at ` + socket + `2\).*Sign-in  https://u\.example/login\?code=`, `unix`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			out := untilReady{stop: cancel}
			var errs bytes.Buffer
			environ := append(tt.environ, "UPLOAD_DIR="+filepath.Join(t.TempDir(), "uploads"), "UPLOAD_MIN_FREE=0")
			if code := run(ctx, []string{"serve"}, environ, &out, &errs); code != 0 {
				t.Fatalf("got exit code %d, %s", code, &errs)
			}
			if got := out.String(); !regexp.MustCompile(tt.want).MatchString(got) || regexp.MustCompile(tt.not).MatchString(got) {
				t.Errorf("want %s and no %s in:\n%s", tt.want, tt.not, got)
			}
		})
	}
}

// TestSettingsPage reads what the operator sees of the settings.
func TestSettingsPage(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	const secret = "must-not-be-seen"
	ready := make(chan struct{})
	out := untilReady{stop: sync.OnceFunc(func() { close(ready) })}
	ended := make(chan int)
	go func() {
		ended <- run(ctx, []string{"serve", "--upload-log-level=warn"}, []string{"UPLOAD_ADDR=127.0.0.1:0", "UPLOAD_MIN_FREE=0",
			"UPLOAD_DIR=" + filepath.Join(t.TempDir(), "uploads"), "SECRET_KEY=" + secret, "GITHUB_ALLOWED_USERS=",
			"UPLOAD_TRUSTED_PROXIES=10.1.2.3,fd00::1/8"}, &out, io.Discard)
	}()
	<-ready
	seen := regexp.MustCompile(`(?s)Address  (\S+)\n.*Key      (\S+)`).FindStringSubmatch(out.String())
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, seen[1]+"/admin/settings", nil)
	req.Header.Set("Authorization", "Bearer "+seen[2])
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("got %s, %v", res.Status, err)
	}
	page := html.UnescapeString(string(body))
	for _, s := range settings() {
		if !strings.Contains(page, s.name+"</dt>") || !strings.Contains(page, s.help) {
			t.Errorf("the page has no %s", s.name)
		}
	}
	for name, want := range map[string]string{
		"UPLOAD_LOG_LEVEL": "<code>WARN<", "UPLOAD_MAX_FILE_SIZE": "<code>5GiB<", "UPLOAD_MIN_FREE": "<code>0B<",
		"UPLOAD_MAX_REQUEST_SIZE": "<code>none<", "UPLOAD_TRUSTED_PROXIES": "<code>10.1.2.3/32, fd00::/8<",
		"UPLOAD_VISIBLE_TREE": "<code>true<", "SECRET_KEY": ">set<", "GITHUB_CLIENT_SECRET": ">not set<",
		"GITHUB_ALLOWED_USERS": ">set, but empty<", "GITHUB_ALLOWED_ORGS": ">not set<",
	} {
		_, rest, _ := strings.Cut(page, name+"</dt>")
		if row, _, _ := strings.Cut(rest, "</dd>"); !strings.Contains(row, want) {
			t.Errorf("%s is shown as %s", name, row)
		}
	}
	for _, s := range shown(Config{GitHubClientSecret: secret, SecretKey: secret}) {
		if s.Secret && !s.Set || strings.Contains(page+s.Value, secret) {
			t.Errorf("a secret is shown, or %s is not told to be set", s.Name)
		}
	}
	cancel()
	if code := <-ended; code != 0 {
		t.Errorf("got exit code %d", code)
	}
}

// TestNoListener is a start that fails for another reason than its address.
func TestNoListener(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	none := filepath.Join(dir, "none.pem")
	code, _, stderr := execute(t, []string{"UPLOAD_ADDR=127.0.0.1:0", "UPLOAD_DIR=" + dir, "UPLOAD_MIN_FREE=0",
		"UPLOAD_TLS_CERT=" + none, "UPLOAD_TLS_KEY=" + none}, "serve")
	if code != 1 || !strings.Contains(stderr, "load the TLS certificate: open "+none) || strings.Contains(stderr, "hint:") {
		t.Errorf("got exit code %d, %s", code, stderr)
	}
}

// TestNoKeys lists the keys of an owner who has none.
func TestNoKeys(t *testing.T) {
	t.Parallel()
	environ := []string{"UPLOAD_ADDR=127.0.0.1:0", "UPLOAD_DIR=" + filepath.Join(t.TempDir(), "uploads"), "UPLOAD_MIN_FREE=0"}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	run(ctx, []string{"serve"}, environ, &untilReady{stop: cancel}, &bytes.Buffer{})
	if code, _, stderr := execute(t, environ, "keys", "list", "--owner", "bob"); code != 1 ||
		!strings.Contains(stderr, `there is no owner "bob"`) || !strings.Contains(stderr, "known are, for example, local") {
		t.Errorf("an unknown owner: exit code %d, %s", code, stderr)
	}
	_, stdout, _ := execute(t, environ, "keys", "list")
	id, _, _ := strings.Cut(stdout, " ")
	execute(t, environ, "keys", "revoke", id)
	if code, stdout, stderr := execute(t, environ, "keys", "list"); code != 0 || stdout != "No keys.\n" {
		t.Errorf("got exit code %d, %q, %s", code, stdout, stderr)
	}
}
