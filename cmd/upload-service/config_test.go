package main

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// load is Load with a .env file of the given text; "" is no file.
func load(t *testing.T, flags map[string]string, environ []string, dotenv string) (Config, []string, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), ".env")
	if dotenv != "" {
		writeFile(t, path, dotenv)
	}
	return Load(flags, environ, path)
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	cfg, warnings, err := load(t, nil, nil, "")
	if err != nil || warnings != nil {
		t.Fatalf("got warnings %q, error %v", warnings, err)
	}
	if !cfg.Local() || cfg.Addr != "127.0.0.1:8000" {
		t.Errorf("got local %t at %s, want local mode at 127.0.0.1:8000", cfg.Local(), cfg.Addr)
	}
	want := Config{
		Addr: "127.0.0.1:8000", Dir: "uploads", GitHubURL: "https://github.com",
		GitHubAPIURL: "https://api.github.com", GitHubTokenPolicy: "pat",
		MaxFileSize: 5 << 30, OwnerQuota: 100 << 30, OwnerMaxFiles: 1_000_000, OwnerMaxActive: 256, MinFree: 1 << 30,
		TemporaryTTL: Duration(24 * time.Hour), CleanupInterval: Duration(10 * time.Minute),
		Undo: Duration(10 * time.Minute), HeaderTimeout: Duration(30 * time.Second),
		IdleTimeout: Duration(time.Minute), ShutdownGrace: Duration(2 * time.Minute),
		VisibleTree: true, LogFormat: "text",
	}
	if !reflect.DeepEqual(cfg, want) {
		t.Errorf("got  %+v\nwant %+v", cfg, want)
	}
}

// TestSettings keeps the tags usable for flags, tables and messages.
func TestSettings(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	list := settings()
	for _, s := range list {
		file := func(f setting) bool { return f.name == s.name+"_FILE" }
		switch {
		case s.name == "" || names[s.name]:
			t.Errorf("%s: name %q is empty or taken", s.field, s.name)
		case s.help == "" || strings.ContainsAny(s.help, "|<>`\n") || strings.HasSuffix(s.help, "."):
			t.Errorf("%s: help %q does not fit into tables and flags", s.name, s.help)
		case s.example == "":
			t.Errorf("%s: neither example nor default", s.name)
		case s.secret && !slices.ContainsFunc(list, file):
			t.Errorf("%s: no setting %s_FILE", s.name, s.name)
		}
		names[s.name] = true
	}
}

func TestPrecedence(t *testing.T) {
	t.Parallel()
	const name = "UPLOAD_DIR"
	for _, tt := range []struct {
		name    string
		flags   map[string]string
		environ []string
		dotenv  string
		want    string
	}{
		{"default", nil, nil, "", "uploads"},
		{"file before default", nil, nil, "UPLOAD_DIR=file", "file"},
		{"environment before file", nil, []string{"UPLOAD_DIR=env"}, "UPLOAD_DIR=file", "env"},
		{"flag before environment", map[string]string{name: "flag"},
			[]string{"UPLOAD_DIR=env"}, "", "flag"},
		{"empty is the default", nil, []string{"UPLOAD_DIR="}, "UPLOAD_DIR=file", "uploads"},
		{"quotes and comments", nil, nil, "# folder\nexport UPLOAD_DIR='a $b' # here\n", "a $b"},
		{"other names", nil, []string{"PATH=/bin", "="}, "POSTGRES_DB=x\nGITHUB_TOKEN=y\n", "uploads"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, warnings, err := load(t, tt.flags, tt.environ, tt.dotenv)
			if err != nil || cfg.Dir != tt.want || warnings != nil {
				t.Errorf("got %q, warnings %q, error %v, want %q", cfg.Dir, warnings, err, tt.want)
			}
		})
	}
}

// TestOwnEnvironment shows that the process's own environment is left alone,
// also when no setting is given.
func TestOwnEnvironment(t *testing.T) {
	t.Setenv("UPLOAD_DIR", "of the process")
	cfg, _, err := load(t, nil, nil, "UPLOAD_LOG_FORMAT=json")
	if err != nil || cfg.Dir != "uploads" {
		t.Errorf("got %q, %v, want uploads", cfg.Dir, err)
	}
	if cfg, _, err = load(t, nil, nil, ""); err != nil || cfg.Dir != "uploads" {
		t.Errorf("without settings: got %q, %v, want uploads", cfg.Dir, err)
	}
	if got := os.Getenv("UPLOAD_LOG_FORMAT"); got != "" {
		t.Errorf("the file was exported: got UPLOAD_LOG_FORMAT=%s", got)
	}
}

func TestValues(t *testing.T) {
	t.Parallel()
	app := []string{"GITHUB_CLIENT_ID=id", "GITHUB_CLIENT_SECRET=secret"}
	for _, tt := range []struct {
		name    string
		environ []string
		get     func(Config) any
		want    any
	}{
		{"address of a GitHub app", app, func(c Config) any { return c.Addr }, ":8000"},
		{"address in local mode", []string{"UPLOAD_ADDR=:8000"},
			func(c Config) any { return c.Addr }, ":8000"},
		{"IPv6", []string{"UPLOAD_ADDR=[::1]:0"}, func(c Config) any { return c.Addr }, "[::1]:0"},
		{"socket", []string{"UPLOAD_ADDR=unix:/run/u.sock"}, func(c Config) any {
			network, address := c.listenAddr()
			return network + " " + address
		}, "unix /run/u.sock"},
		{"public URL", []string{"UPLOAD_PUBLIC_URL=https://files.example.com/"},
			func(c Config) any { return c.PublicURL }, "https://files.example.com"},
		{"Enterprise Server", []string{"GITHUB_API_URL=https://ghe.example.com/api/v3/"},
			func(c Config) any { return c.GitHubAPIURL }, "https://ghe.example.com/api/v3"},
		{"loopback GitHub", []string{"GITHUB_URL=http://127.0.0.1:9"},
			func(c Config) any { return c.GitHubURL }, "http://127.0.0.1:9"},
		{"loopback IPv6", []string{"GITHUB_URL=http://[::1]:9"},
			func(c Config) any { return c.GitHubURL }, "http://[::1]:9"},
		{"old secret key", []string{"SECRET_KEY=any $tring"},
			func(c Config) any { return c.SecretKey }, "any $tring"},
		{"users unset", nil, func(c Config) any { return c.GitHubAllowedUsers }, List(nil)},
		{"users empty", []string{"GITHUB_ALLOWED_USERS="},
			func(c Config) any { return c.GitHubAllowedUsers }, List{}},
		{"users of commas", []string{"GITHUB_ALLOWED_USERS= , "},
			func(c Config) any { return c.GitHubAllowedUsers }, List{}},
		{"users", []string{"GITHUB_ALLOWED_USERS=octocat, github:1,x_corp,"},
			func(c Config) any { return c.GitHubAllowedUsers }, List{"octocat", "github:1", "x_corp"}},
		{"organizations empty", []string{"GITHUB_ALLOWED_ORGS="},
			func(c Config) any { return c.GitHubAllowedOrgs }, List{}},
		{"no reserve", []string{"UPLOAD_MIN_FREE=0"}, func(c Config) any { return c.MinFree }, Size(0)},
		{"no quota", []string{"UPLOAD_OWNER_QUOTA=none"},
			func(c Config) any { return c.OwnerQuota }, Limit(0)},
		{"no undo", []string{"UPLOAD_UNDO=0"}, func(c Config) any { return c.Undo }, Duration(0)},
		{"short life", []string{"UPLOAD_TEMPORARY_TTL=1s"},
			func(c Config) any { return c.TemporaryTTL }, Duration(time.Second)},
		{"every origin", []string{"UPLOAD_CORS_ORIGINS=*"},
			func(c Config) any { return c.CORSOrigins }, List{"*"}},
		{"origins as browsers send them",
			[]string{"UPLOAD_CORS_ORIGINS=https://App.example.com/,http://localhost:3000"},
			func(c Config) any { return c.CORSOrigins }, List{"https://app.example.com", "http://localhost:3000"}},
		{"no visible tree", []string{"UPLOAD_VISIBLE_TREE=false"},
			func(c Config) any { return c.VisibleTree }, false},
		// Package env fills slices of structs from names such as 0_X by itself.
		{"proxies", []string{"UPLOAD_TRUSTED_PROXIES=10.0.0.1", "0_X=1", "1_X=1"},
			func(c Config) any { return len(c.TrustedProxies) }, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, _, err := load(t, nil, tt.environ, "")
			if err != nil {
				t.Fatal(err)
			}
			if got := tt.get(cfg); !reflect.DeepEqual(got, tt.want) {
				t.Errorf("got %#v, want %#v", got, tt.want)
			}
		})
	}
}

func TestProblems(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		environ []string
		want    []string // a part of each line, in any order
	}{
		{"size", []string{"UPLOAD_MAX_FILE_SIZE=5 apples"},
			[]string{`UPLOAD_MAX_FILE_SIZE="5 apples" is not a size, for example UPLOAD_MAX_FILE_SIZE=5GiB`}},
		{"limit of nothing", []string{"UPLOAD_OWNER_QUOTA=0"}, []string{`"none" is no limit`}},
		{"duration", []string{"UPLOAD_IDLE_TIMEOUT=60"},
			[]string{`UPLOAD_IDLE_TIMEOUT="60" is not a duration`}},
		{"short durations", []string{"UPLOAD_TEMPORARY_TTL=10ms", "UPLOAD_HEADER_TIMEOUT=0",
			"UPLOAD_IDLE_TIMEOUT=1ms", "UPLOAD_CLEANUP_INTERVAL=1ns"},
			[]string{`TTL="10ms" must be at least 1s`, `HEADER_TIMEOUT="0" must be at least 100ms`,
				`IDLE_TIMEOUT="1ms" must be at least 100ms`, `INTERVAL="1ns" must be at least 100ms`}},
		{"negative", []string{"UPLOAD_UNDO=-1s", "UPLOAD_RATE_LIMIT=-1", "UPLOAD_MIN_FREE=-1"},
			[]string{"UPLOAD_UNDO=\"-1s\" must not be negative", "must be at least 0", "is not a size"}},
		{"numbers",
			[]string{"UPLOAD_OWNER_MAX_FILES=many", "UPLOAD_OWNER_MAX_ACTIVE=0", "UPLOAD_RATE_LIMIT=99999999999"},
			[]string{"must be a whole number", "must be at least 1", "is too large"}},
		{"bool", []string{"UPLOAD_VISIBLE_TREE=maybe"},
			[]string{"must be true or false, for example UPLOAD_VISIBLE_TREE=true"}},
		{"choices", []string{"UPLOAD_LOG_LEVEL=loud", "UPLOAD_LOG_FORMAT=xml", "GITHUB_TOKEN_POLICY=all"},
			[]string{"must be debug, info, warn or error", "must be one of text, json", "must be one of app, pat, any"}},
		{"address without port", []string{"UPLOAD_ADDR=localhost"}, []string{"neither host:port"}},
		{"address with a bad port", []string{"UPLOAD_ADDR=:80000"}, []string{"port from 0 to 65535"}},
		{"bare IPv6", []string{"UPLOAD_ADDR=::1"}, []string{"neither host:port"}},
		{"relative socket", []string{"UPLOAD_ADDR=unix:u.sock"}, []string{"absolute path"}},
		{"public URL without scheme", []string{"UPLOAD_PUBLIC_URL=files.example.com"},
			[]string{"is not a URL"}},
		{"public URL of another scheme", []string{"UPLOAD_PUBLIC_URL=ftp://files.example.com"},
			[]string{"is not a URL"}},
		{"public URL with query", []string{"UPLOAD_PUBLIC_URL=https://a.example?x=1"},
			[]string{"no user, query or fragment"}},
		{"public URL with path", []string{"UPLOAD_PUBLIC_URL=https://a.example/files"},
			[]string{"has a path"}},
		{"contents from the host of the pages", []string{"UPLOAD_PUBLIC_URL=https://a.example", "UPLOAD_CONTENT_URL=http://A.example:81"},
			[]string{"another host name"}},
		{"contents from another host than an unknown one", []string{"UPLOAD_CONTENT_URL=https://c.example"},
			[]string{"needs UPLOAD_PUBLIC_URL"}},
		{"GitHub in plain",
			[]string{"GITHUB_URL=http://github.com", "GITHUB_API_URL=http://127.0.0.1.example"},
			[]string{"GITHUB_URL=\"http://github.com\" must start with https://", "GITHUB_API_URL="}},
		{"origins", []string{"UPLOAD_CORS_ORIGINS=https://a.example,*"}, []string{"either * or a list"}},
		{"origin with path", []string{"UPLOAD_CORS_ORIGINS=https://a.example/app"},
			[]string{`has "https://a.example/app"`}},
		{"origin with wildcard", []string{"UPLOAD_CORS_ORIGINS=https://*.example"},
			[]string{`has "https://*.example"`}},
		{"origin null", []string{"UPLOAD_CORS_ORIGINS=null"}, []string{`has "null"`}},
		{"proxy", []string{"UPLOAD_TRUSTED_PROXIES=10.0.0.1,proxy"},
			[]string{`has "proxy", which is neither`}},
		{"accounts",
			[]string{"UPLOAD_ADMINS=@me", "GITHUB_ALLOWED_USERS=a b", "GITHUB_ALLOWED_ORGS=github:x"},
			[]string{`has "@me"`, `has "a b"`, `has "github:x"`}},
		{"id without secret", []string{"GITHUB_CLIENT_ID=id"},
			[]string{"GITHUB_CLIENT_SECRET is missing"}},
		{"secret without id", []string{"GITHUB_CLIENT_SECRET=hush"},
			[]string{"GITHUB_CLIENT_ID is missing"}},
		{"certificate without key", []string{"UPLOAD_TLS_CERT=c"}, []string{"UPLOAD_TLS_KEY is missing"}},
		{"key without certificate", []string{"UPLOAD_TLS_KEY=k"}, []string{"UPLOAD_TLS_CERT is missing"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, _, err := load(t, nil, tt.environ, "")
			if err == nil {
				t.Fatal("got no error")
			}
			if lines := strings.Split(err.Error(), "\n"); len(lines) != len(tt.want) {
				t.Errorf("got %d lines, want %d:\n%v", len(lines), len(tt.want), err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want a line with %q", err, want)
				}
			}
		})
	}
}

func TestUnknownNames(t *testing.T) {
	t.Parallel()
	_, warnings, err := load(t, nil,
		[]string{"UPLOAD_SERVICE_PORT=8000", "GITHUB_ALLOWED_USER=octocat", "GITHUB_REPOSITORY=a/b", "UPLOAD_DIR=x"},
		"UPLOAD_MAX_SIZE=hush\nGITHUB_CLIENTID=id\nOTHER=1\n")
	if err == nil || !strings.Contains(err.Error(), "UPLOAD_MAX_SIZE in ") ||
		!strings.HasSuffix(err.Error(), "is not a setting; the nearest is UPLOAD_MAX_FILE_SIZE") ||
		strings.Contains(err.Error(), "hush") {
		t.Errorf("got error %v, want one about UPLOAD_MAX_SIZE without its value", err)
	}
	got := strings.Join(warnings, "\n")
	for _, want := range []string{
		"GITHUB_CLIENTID in ",
		"GITHUB_ALLOWED_USER in the environment is not a setting; the nearest is GITHUB_ALLOWED_USERS",
		"UPLOAD_SERVICE_PORT in the environment",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("got warnings %q, want %q", got, want)
		}
	}
	if len(warnings) != 3 {
		t.Errorf("got %d warnings, want 3: %q", len(warnings), got)
	}
}

func TestSecretFiles(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	secret, empty := filepath.Join(dir, "secret"), filepath.Join(dir, "empty")
	writeFile(t, secret, " hush \r\n")
	writeFile(t, empty, "\n")
	for _, tt := range []struct {
		name    string
		environ []string
		secret  string
		wrong   string // "" for no error
	}{
		{"file", []string{"GITHUB_CLIENT_SECRET_FILE=" + secret}, " hush ", ""},
		{"both",
			[]string{"GITHUB_CLIENT_SECRET_FILE=" + secret, "GITHUB_CLIENT_SECRET=hush"}, "", "keep one"},
		{"missing", []string{"GITHUB_CLIENT_SECRET_FILE=" + secret + "2"}, "", "no such file"},
		{"empty", []string{"GITHUB_CLIENT_SECRET_FILE=" + empty}, "", "is an empty file"},
		{"secret key",
			[]string{"SECRET_KEY_FILE=" + dir, "GITHUB_CLIENT_SECRET=hush"}, "", "SECRET_KEY_FILE="},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			cfg, _, err := load(t, nil, append(tt.environ, "GITHUB_CLIENT_ID=id"), "")
			if tt.wrong == "" {
				if err != nil || cfg.GitHubClientSecret != tt.secret {
					t.Errorf("got %q, %v, want %q", cfg.GitHubClientSecret, err, tt.secret)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.wrong) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got error %v, want one line with %q", err, tt.wrong)
			}
			if err != nil && strings.Contains(err.Error(), "hush") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	for _, dotenv := range []string{
		"SECRET_KEY=hush\nUPLOAD_LOG_FORMAT=xml\nGITHUB_CLIENT_SECRET=hush\n",
		"GITHUB_CLIENT_SECRET=\"hush\n",
		"A=1\nSECRET-KEY=hush\n",
		"UPLOAD_SECRET=hush\n",
	} {
		_, warnings, err := load(t, nil, nil, dotenv)
		if err == nil || strings.Contains(err.Error()+strings.Join(warnings, ""), "hush") {
			t.Errorf("%q: got error %v, warnings %q, want an error without the secret", dotenv, err, warnings)
		}
	}
}

func TestUnreadableDotenv(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text, want string }{
		{"bad name", "A=1\n\nB-C=2\nD=3\n", "line 3 "},
		{"open quote", "A=1\nB=\"2\nC=3\nD=\"4\"\n", "line 2 "},
		{"first line", "?", "line 1 "},
		{"no value", "A=1\nUPLOAD_DIR", "line 2 "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if _, _, err := load(t, nil, nil, tt.text); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
	if _, _, err := Load(nil, nil, t.TempDir()); err == nil {
		t.Error("a folder for a file: got no error")
	}
}

func TestLogger(t *testing.T) {
	t.Parallel()
	cfg, _, err := load(t, nil, []string{"UPLOAD_LOG_FORMAT=json", "UPLOAD_LOG_LEVEL=warn"}, "")
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	log := newLogger(cfg, &out)
	log.Info("quiet")
	log.Warn("heard")
	got := out.String()
	if !strings.HasPrefix(got, "{") || !strings.Contains(got, "heard") || strings.Contains(got, "quiet") {
		t.Errorf("got %q, want one JSON line with the warning", got)
	}
}
