package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestPages runs each script of folder pages in Chromium, against a binary of
// its own in local mode. Screenshots go to test-results, which is not kept.
func TestPages(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("install chromium: make test does")
	}
	shots, err := filepath.Abs("../test-results")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(shots, 0o755); err != nil {
		t.Fatal(err)
	}
	scripts, err := filepath.Glob("pages/*.mjs")
	if err != nil {
		t.Fatal(err)
	}
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".mjs")
		if name == "lib" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			settings := []string{"UPLOAD_LOG_LEVEL=warn"}
			if name == "admin" {
				settings = append(settings, "UPLOAD_TEMPORARY_TTL=1s")
			}
			if name == "quota" {
				settings = append(settings, "UPLOAD_OWNER_QUOTA=50MB", "UPLOAD_MAX_FILE_SIZE=30MB", "UPLOAD_OWNER_MAX_FILES=5")
			}
			if name == "errors" {
				settings = append(settings, "UPLOAD_MAX_FILE_SIZE=1MB")
			}
			dir := t.TempDir()
			s := start(t, dir, settings...)
			job := map[string]any{
				"base": s.url, "key": s.key, "session": s.openSession(t), "chromium": chromium, "shots": shots,
				"scratch": t.TempDir(), "data": filepath.Join(dir, "uploads"),
			}
			switch name {
			case "signin", "tabs":
				addGitHub(t, job)
			case "errors":
				full := start(t, t.TempDir(), "UPLOAD_LOG_LEVEL=error", "UPLOAD_MIN_FREE=1000TB")
				job["full"] = map[string]any{"base": full.url, "session": full.openSession(t)}
			case "upload":
				network := newNetwork(t, s.url)
				network.bad(func(int) fate { return fate{after: 12 << 20, cut: true} })
				job["network"] = network.url()
			}
			runPage(t, script, job)
		})
	}
}

// browsers bounds how many run at once: each of them is busy on several
// processors, and what waits for them has its limits.
var browsers = make(chan struct{}, 2)

// runPage runs a script with a job. What it prints is the log of the test.
func runPage(t *testing.T, script string, job map[string]any) {
	t.Helper()
	arg, err := json.Marshal(job)
	if err != nil {
		t.Fatal(err)
	}
	browsers <- struct{}{}
	defer func() { <-browsers }()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "node", script, string(arg))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it closes its browser
	cmd.WaitDelay = 10 * time.Second
	err = cmd.Run()
	t.Logf("%s", &out)
	if err != nil {
		t.Errorf("%s: %v", script, err)
	}
}

// openSession uses the link up and returns the value of the cookie.
func (s *server) openSession(t testing.TB) string {
	t.Helper()
	link, err := url.Parse(s.signIn)
	if err != nil {
		t.Fatal(err)
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := client.PostForm(s.url+"/login", url.Values{"code": {link.Query().Get("code")}})
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	for _, c := range res.Cookies() {
		if c.Name == "upload_session" {
			return c.Value
		}
	}
	t.Fatalf("sign-in answered %s without a session", res.Status)
	return ""
}
