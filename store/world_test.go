package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"upload-service/store"
	"upload-service/store/blob"
	"upload-service/store/blob/disk"
	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
	"upload-service/store/kv/kvtest"
	"upload-service/store/lock"
	"upload-service/store/tree"
)

// world is a real store in a temporary folder, with a clock of the test's
// own. Every transaction runs twice, on values that are overwritten after it.
type world struct {
	t     testing.TB
	dir   string
	opts  store.Options
	store *store.Store
	kv    kv.Store
	blobs *disk.Store
	clock *clock
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

const (
	alice store.OwnerID = "github:1"
	bob   store.OwnerID = "github:2"
	ttl                 = time.Hour
	undo                = 10 * time.Minute
)

func newWorld(t testing.TB, change ...func(*store.Options)) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), clock: &clock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}}
	w.open(change...)
	t.Cleanup(w.close)
	w.adopt(nil) // there is nothing
	for id, login := range map[store.OwnerID]string{alice: "alice", bob: "bob"} {
		if _, err := w.store.EnsureOwner(t.Context(), id, login); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// parts opens everything below the store.
func (w *world) parts() {
	w.t.Helper()
	var err error
	w.blobs, err = disk.Open(filepath.Join(w.dir, ".upload-service", "blobs"))
	w.ok(err)
	db, err := bolt.Open(filepath.Join(w.dir, ".upload-service", "meta.db"), bolt.Options{})
	w.ok(err)
	w.kv = db
	locks, err := lock.Open(filepath.Join(w.dir, ".upload-service", "locks"))
	w.ok(err)
	shown, err := tree.Open(w.dir, w.blobs)
	w.ok(err)
	w.opts = store.Options{
		KV: kvtest.Twice(db), Blobs: w.blobs, Tree: shown, Locks: locks,
		TemporaryTTL: ttl, Undo: undo, Now: w.clock.Now, Log: slog.New(slog.DiscardHandler),
	}
}

func (w *world) open(change ...func(*store.Options)) {
	w.t.Helper()
	w.parts()
	for _, f := range change {
		f(&w.opts)
	}
	var err error
	w.store, err = store.Open(context.Background(), w.opts)
	w.ok(err)
}

func (w *world) close() {
	if w.store != nil {
		w.ok(w.store.Close(context.Background()))
		w.store = nil
	}
	w.ok(w.blobs.Close())
	w.ok(w.kv.Close())
}

func (w *world) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// wantCode fails unless err carries the code; "" means no error.
func (w *world) wantCode(err error, want store.Code, what string) {
	w.t.Helper()
	if got := store.CodeOf(err); got != want {
		w.t.Fatalf("%s: got code %q (%v), want %q", what, got, err, want)
	}
}

func (w *world) path(s string) store.Path {
	w.t.Helper()
	p, err := store.ParsePath(s)
	w.ok(err)
	return p
}

// put stores a file directly.
func (w *world) put(o store.OwnerID, path, content string) (store.File, error) {
	ctx := w.t.Context()
	in, err := w.store.Receive(ctx, o, store.Spec{Size: int64(len(content)), Path: w.path(path)})
	if err != nil {
		return store.File{}, err
	}
	defer in.Close(ctx)
	if _, err := in.Add(ctx, strings.NewReader(content), store.Content{Name: w.path(path)}); err != nil {
		return store.File{}, err
	}
	files, _, err := in.StoreFiles(ctx, store.Target{})
	if err != nil {
		return store.File{}, err
	}
	return files[0], nil
}

func (w *world) mustPut(o store.OwnerID, path, content string) store.File {
	w.t.Helper()
	f, err := w.put(o, path, content)
	w.ok(err)
	return f
}

// upload stores contents as one temporary upload, named a, b, c, ...
func (w *world) upload(o store.OwnerID, contents ...string) (store.Upload, error) {
	ctx := w.t.Context()
	in, err := w.store.Receive(ctx, o, store.Spec{Size: -1})
	if err != nil {
		return store.Upload{}, err
	}
	defer in.Close(ctx)
	for i, content := range contents {
		name := store.Path(rune('a' + i))
		if _, err := in.Add(ctx, strings.NewReader(content), store.Content{Name: name}); err != nil {
			return store.Upload{}, err
		}
	}
	return in.StoreUpload(ctx, "")
}

func (w *world) mustUpload(o store.OwnerID, contents ...string) store.Upload {
	w.t.Helper()
	u, err := w.upload(o, contents...)
	w.ok(err)
	return u
}

// adopt runs an adoption and returns its report and what was left.
func (w *world) adopt(resolve func(context.Context, string) (store.OwnerID, error)) (store.AdoptReport, []string) {
	w.t.Helper()
	root, err := os.OpenRoot(w.dir)
	w.ok(err)
	defer root.Close()
	var left []string
	a, err := w.store.BeginAdoption(w.t.Context(), store.AdoptOptions{
		Root: root, Resolve: resolve,
		Left: func(name, reason string) { left = append(left, name+": "+reason) },
	})
	w.ok(err)
	report, err := a.Run(w.t.Context())
	w.ok(err)
	slices.Sort(left)
	return report, left
}

// read returns the content of a file, or "" and the code.
func (w *world) read(o store.OwnerID, path string) (string, store.Code) {
	w.t.Helper()
	f, err := w.store.GetFile(w.t.Context(), o, w.path(path))
	if err != nil {
		return "", store.CodeOf(err)
	}
	r, err := w.store.OpenFile(w.t.Context(), f, 0, -1)
	w.ok(err)
	defer r.Close()
	b, err := io.ReadAll(r)
	w.ok(err)
	sum := sha256.Sum256(b)
	if f.SHA256 != nil && !bytes.Equal(sum[:], f.SHA256) {
		w.t.Fatalf("%s: content does not match its digest", path)
	}
	return string(b), ""
}

func (w *world) wantFile(o store.OwnerID, path, want string) {
	w.t.Helper()
	if got, code := w.read(o, path); code != "" || got != want {
		w.t.Fatalf("%s: got %q (%s), want %q", path, got, code, want)
	}
}

func (w *world) usage(o store.OwnerID) store.Usage {
	w.t.Helper()
	u, err := w.store.UsageOf(w.t.Context(), o)
	w.ok(err)
	return u
}

func (w *world) sweep(opts store.SweepOptions) store.SweepReport {
	w.t.Helper()
	r, err := w.store.Sweep(w.t.Context(), opts)
	w.ok(err)
	return r
}

// blobCount is how many blobs lie on the disk.
func (w *world) blobCount() (n int) {
	w.t.Helper()
	w.ok(w.blobs.List(w.t.Context(), "", func(blob.Info) bool {
		n++
		return true
	}, nil))
	return n
}

// check closes the store, checks it and opens it again. It returns the
// findings and what waits or was mended.
func (w *world) check(opts store.CheckOptions) (findings, waiting []string) {
	w.t.Helper()
	w.ok(w.store.Close(context.Background()))
	opts.Content = true
	_, err := store.Check(w.t.Context(), w.opts, opts, func(o store.Outcome, s string) {
		if o == store.Found {
			findings = append(findings, s)
		} else {
			waiting = append(waiting, s)
		}
	})
	w.ok(err)
	w.store, err = store.Open(context.Background(), w.opts)
	w.ok(err)
	return findings, waiting
}

// wantClean fails if the check finds anything at all.
func (w *world) wantClean(what string) {
	w.t.Helper()
	findings, waiting := w.check(store.CheckOptions{})
	if len(findings)+len(waiting) > 0 {
		w.t.Fatalf("%s: findings %q, waiting %q", what, findings, waiting)
	}
}

func (w *world) wantNoFindings(what string) {
	w.t.Helper()
	if findings, _ := w.check(store.CheckOptions{}); len(findings) > 0 {
		w.t.Fatalf("%s: findings %q", what, findings)
	}
}

func sumOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}
