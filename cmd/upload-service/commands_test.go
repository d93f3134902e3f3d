package main

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// execute is run with its output.
func execute(t *testing.T, environ []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = run(t.Context(), args, environ, &out, &errs)
	return code, out.String(), errs.String()
}

func TestHelp(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args string
		want []string
		not  string
	}{
		{"", []string{"serve", "check", "sweep", "keys", "healthcheck", "version"}, "--upload-dir"},
		{"serve",
			[]string{"--upload-max-file-size", "--github-client-id", `"5GiB"`}, "--github-client-secret "},
		{"check", []string{"--content", "--repair", "--upload-dir", "exit code"}, "--secret-key "},
		{"sweep", []string{"--dry-run", "--upload-dir"}, "--secret-key "},
		{"adopt", []string{"--dry-run", "--owner", "--upload-dir"}, "--secret-key "},
		{"keys", []string{"list", "new", "revoke", "--upload-dir"}, "--secret-key "},
		{"keys list", []string{"--owner", "--upload-dir"}, "--expires-in"},
		{"keys new", []string{"--name", "--scopes", "(default read,write,delete)", "--expires-in"}, "--secret-key "},
		{"keys revoke", []string{"revoke ID"}, "--secret-key "},
		{"healthcheck", []string{"--upload-addr"}, "--secret-key "},
		{"version", []string{"Go version"}, "--upload-dir"},
	} {
		t.Run("upload-service "+tt.args, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := execute(t, nil, append(strings.Fields(tt.args), "--help")...)
			if code != 0 || stderr != "" {
				t.Errorf("got exit code %d, %q", code, stderr)
			}
			for _, want := range append(tt.want, "Usage:", "Examples:") {
				if !strings.Contains(stdout, want) {
					t.Errorf("got no %q in:\n%s", want, stdout)
				}
			}
			if strings.Contains(stdout, tt.not) {
				t.Errorf("got %q in:\n%s", tt.not, stdout)
			}
		})
	}
}

func TestUsageErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		environ []string
		args    string
		want    string
	}{
		{"command", nil, "serv", "hint: did you mean serve?"},
		{"command like none", nil, "xyz", "hint: upload-service --help"},
		{"command of keys", nil, "keys lst", "hint: did you mean list?"},
		{"no command of keys", nil, "keys", "hint: list, new or revoke"},
		{"argument", nil, "serve now", `"now"`},
		{"no argument", nil, "keys revoke", "revoke needs the id"},
		{"flag", nil, "serve --upload-max-size 1", "hint: the nearest flag is --upload-max-file-size"},
		{"flag that was cut short", nil, "serve --upload-max-file 1", "hint: the nearest flag is --upload-max-file-size"},
		{"flag that lacks a word", nil, "serve --upload-quota 1", "hint: the nearest flag is --upload-owner-quota"},
		{"flag of the root", nil, "--uplod-dir x", "hint: the nearest flag is --upload-dir"},
		{"flag with one dash", nil, "serve -upload-dir x", "hint: the nearest flag is --upload-dir"},
		{"flag of no setting", nil, "check --contnt", "hint: the nearest flag is --content"},
		{"flag without value", nil, "serve --upload-dir", "hint: upload-service serve --help"},
		{"secret", nil, "serve --github-client-secret hush",
			"set GITHUB_CLIENT_SECRET or GITHUB_CLIENT_SECRET_FILE"},
		{"claim without a number", nil, "adopt --owner a=b --owner c", "hint: for example --owner octocat="},
		{"setting", []string{"UPLOAD_ADDR=x"}, "healthcheck", `error: UPLOAD_ADDR="x"`},
		{"setting as a flag", nil, "healthcheck --upload-addr=x", `error: UPLOAD_ADDR="x"`},
		{"setting as a flag of a group", nil, "keys list --upload-addr=x", `error: UPLOAD_ADDR="x"`},
		{"two settings", nil, "healthcheck --upload-addr=x --upload-undo=y",
			"\nupload-service: error: UPLOAD_ADDR"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := execute(t, tt.environ, strings.Fields(tt.args)...)
			if code != 2 || stdout != "" {
				t.Errorf("got exit code %d, output %q, want 2 and none", code, stdout)
			}
			if !strings.HasPrefix(stderr, "upload-service: error: ") || !strings.Contains(stderr, tt.want) {
				t.Errorf("got %q, want %q", stderr, tt.want)
			}
			if strings.Contains(stderr, "hush") {
				t.Errorf("the error shows a secret: %q", stderr)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	t.Parallel()
	_, _, stderr := execute(t, []string{"UPLOAD_PORT=1"}, "healthcheck", "--upload-addr", "127.0.0.1:0")
	if want := "upload-service: warning: UPLOAD_PORT "; !strings.Contains(stderr, want) {
		t.Errorf("got %q, want %q", stderr, want)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	for _, arg := range []string{"version", "--version"} {
		code, stdout, stderr := execute(t, []string{"UPLOAD_ADDR=no matter"}, arg)
		if code != 0 || stderr != "" {
			t.Fatalf("%s: got exit code %d, %q", arg, code, stderr)
		}
		for _, want := range []string{"upload-service " + version + "\n", "commit ", runtime.Version()} {
			if !strings.Contains(stdout, want) {
				t.Errorf("%s: got %q, want %q", arg, stdout, want)
			}
		}
	}
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	healthy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/healthz" || r.Host != "localhost" {
			w.WriteHeader(http.StatusNotFound)
		}
	})
	sick := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	_, port, err := net.SplitHostPort(serveTest(t, "tcp", "127.0.0.1:0", healthy, false))
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(t.TempDir(), "s")
	serveTest(t, "unix", socket, healthy, false)
	for _, tt := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"TCP", []string{"--upload-addr=127.0.0.1:" + port}, 0, "is healthy"},
		{"all addresses", []string{"--upload-addr=:" + port}, 0, "is healthy"},
		{"socket", []string{"--upload-addr=unix:" + socket}, 0, "is healthy"},
		{"TLS", []string{"--upload-addr=" + serveTest(t, "tcp", "127.0.0.1:0", healthy, true),
			"--upload-tls-cert=c", "--upload-tls-key=k"}, 0, "is healthy"},
		{"sick",
			[]string{"--upload-addr=" + serveTest(t, "tcp", "127.0.0.1:0", sick, false)}, 1, "answers 503"},
		{"nobody", []string{"--upload-addr=unix:" + socket + "2"}, 1, "error: no answer from unix:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			code, stdout, stderr := execute(t, nil, append([]string{"healthcheck"}, tt.args...)...)
			if code != tt.code || !strings.Contains(stdout+stderr, tt.want) {
				t.Errorf("got exit code %d, %q%q, want %d, %q", code, stdout, stderr, tt.code, tt.want)
			}
		})
	}
}

// TestHealthcheckWaitsNotForEver asks a service that accepts and is silent.
func TestHealthcheckWaitsNotForEver(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := healthcheck(ctx, Config{Addr: l.Addr().String()}, &bytes.Buffer{}); err == nil {
		t.Error("got no error")
	}
}

// serveTest serves h until the end of the test and returns the address.
func serveTest(t *testing.T, network, address string, h http.Handler, useTLS bool) string {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(h)
	s.Listener.Close()
	s.Listener = l
	if useTLS {
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	return l.Addr().String()
}

// TestCommandAs: the line that works as another user names the folder once, as
// what it is for everybody.
func TestCommandAs(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{
		{"check", "--content"}, {"check", "--upload-dir", "here", "--content"}, {"check", "--upload-dir=here", "--content"},
	} {
		p := &program{args: args, cfg: Config{Dir: "/srv/up loads"}}
		line := p.commandAs(12, 34)
		if !strings.HasSuffix(line, " check --content '--upload-dir=/srv/up loads'") || !strings.Contains(line, "--reuid=12 --regid=34") {
			t.Errorf("%q makes %s", args, line)
		}
	}
}
