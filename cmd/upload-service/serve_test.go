package main

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// untilReady collects what is printed and stops the service once it is ready.
type untilReady struct {
	bytes.Buffer
	stop func()
}

// Write implements io.Writer.
func (u *untilReady) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte("Ready")) {
		u.stop()
	}
	return u.Buffer.Write(b)
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
			`(?s)Address  https://u\.example\n.*Sign-in  https://u\.example/login\?code=`, `unix`},
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
	_, stdout, _ := execute(t, environ, "keys", "list")
	id, _, _ := strings.Cut(stdout, " ")
	execute(t, environ, "keys", "revoke", id)
	if code, stdout, stderr := execute(t, environ, "keys", "list"); code != 0 || stdout != "No keys.\n" {
		t.Errorf("got exit code %d, %q, %s", code, stdout, stderr)
	}
}
