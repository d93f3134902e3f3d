package handlers_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/gofiber/fiber/v2"
	"github.com/prometheus/client_golang/prometheus"

	"upload-service/auth"
	"upload-service/auth/githubtest"
	"upload-service/handlers"
	"upload-service/handlers/transport"
	"upload-service/static"
	"upload-service/store"
	"upload-service/store/blob/disk"
	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
	"upload-service/store/lock"
	"upload-service/store/tree"
)

// world is the whole service on a real port, with a real store and a stand-in
// for GitHub.
type world struct {
	t     testing.TB
	app   *fiber.App
	url   string
	dir   string // what it stores in
	store *store.Store
	auth  *auth.Service
	log   *lockedBuffer

	github *githubtest.Server // nil in local mode
	keys   map[string]string  // credentials by name
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

type setup struct {
	local  bool
	hidden bool // no visible tree
	auth   func(*auth.Config)
	limits store.Limits
	http   func(*handlers.Config)
	idle   time.Duration
	header time.Duration
	kv     func(kv.Store) kv.Store // what is put before the metadata
}

func newWorld(t testing.TB, s setup) *world {
	t.Helper()
	w := &world{t: t, log: &lockedBuffer{}, keys: map[string]string{}}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	dir := t.TempDir()
	w.dir = dir
	inner := filepath.Join(dir, store.InternalDir)
	blobs, err := disk.Open(filepath.Join(inner, "blobs"))
	w.ok(err)
	db, err := bolt.Open(filepath.Join(inner, "meta.db"), bolt.Options{})
	w.ok(err)
	var meta kv.Store = db
	if s.kv != nil {
		meta = s.kv(db)
	}
	locks, err := lock.Open(filepath.Join(inner, "locks"))
	w.ok(err)
	var shown store.Tree
	if !s.hidden {
		shown, err = tree.Open(dir, blobs)
		w.ok(err)
	}
	w.store, err = store.Open(context.Background(), store.Options{
		KV: meta, Blobs: blobs, Tree: shown, Locks: locks, Limits: s.limits, TemporaryTTL: time.Hour, Undo: time.Hour,
		Now: time.Now, Log: log,
	})
	w.ok(err)
	cfg := auth.Config{Local: s.local, Policy: auth.PolicyPAT, Admins: []string{"root"}, Now: time.Now}
	if !s.local {
		w.github = githubtest.New(t)
		cfg.ClientID, cfg.ClientSecret = githubtest.ClientID, githubtest.ClientSecret
		cfg.GitHubURL, cfg.GitHubAPIURL = w.github.URL, w.github.APIURL
	} else {
		_, err := w.store.EnsureOwner(context.Background(), store.LocalOwner, "local")
		w.ok(err)
	}
	if s.auth != nil {
		s.auth(&cfg)
	}
	w.auth = auth.New(cfg, meta, w.store)
	assets, err := static.Load()
	w.ok(err)
	signing, err := w.auth.SigningKey(context.Background())
	w.ok(err)
	config := handlers.Config{
		Local: s.local, Limits: s.limits, TemporaryTTL: time.Hour, Version: "test", Undo: time.Hour, Assets: assets,
		SigningKey: signing, Now: time.Now,
	}
	if s.http != nil {
		s.http(&config)
	}
	w.app = handlers.New(config, w.store, w.auth, log, prometheus.NewRegistry(), func() bool { return true })
	if s.idle == 0 {
		s.idle = 5 * time.Second
	}
	if s.header == 0 {
		s.header = 5 * time.Second
	}
	srv := transport.NewServer(w.app, transport.Config{HeaderTimeout: s.header, IdleTimeout: s.idle, Log: log})
	ln, err := transport.Listen("127.0.0.1:0", transport.TLS{})
	w.ok(err)
	w.url = "http://" + ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		w.ok(srv.Shutdown(ctx))
		w.ok(<-served)
		w.ok(w.store.Close(ctx))
		w.ok(db.Close())
	})
	for name, token := range map[string]string{"alice": "ghp_alice", "bob": "ghp_bob", "root": "ghp_root"} {
		w.keys[name] = token
	}
	w.keys["anonymous"] = ""
	return w
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Error(err)
	}
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) code(t testing.TB) store.Code {
	t.Helper()
	var doc struct{ Code store.Code }
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatalf("no problem document: %d %s", a.status, a.body)
	}
	return doc.Code
}

var client = &http.Client{
	Timeout:       30 * time.Second,
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// as sends a request with the credential of somebody.
func (w *world) as(who, method, path string, body io.Reader, headers ...string) answer {
	w.t.Helper()
	req, err := http.NewRequest(method, w.url+path, body)
	if err != nil {
		w.t.Fatal(err)
	}
	if secret := w.keys[who]; secret != "" {
		req.Header.Set("Authorization", "Bearer "+secret)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			req.Host = headers[i+1]
		}
	}
	res, err := client.Do(req)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		w.t.Fatalf("%s %s: %v", method, path, err)
	}
	documented(w.t).check(w.t, req, res, b)
	return answer{res.StatusCode, res.Header, string(b)}
}

func (w *world) want(status int, who, method, path string, body io.Reader, headers ...string) answer {
	w.t.Helper()
	a := w.as(who, method, path, body, headers...)
	if a.status != status {
		w.t.Fatalf("%s: %s %s: got %d, want %d: %s", who, method, path, a.status, status, a.body)
	}
	return a
}

func field(t testing.TB, a answer, name string) string {
	t.Helper()
	var doc map[string]any
	if err := json.Unmarshal([]byte(a.body), &doc); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	s, _ := doc[name].(string)
	return s
}

// eventually waits for what happens a moment later.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
