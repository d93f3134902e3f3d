package store_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/uuid"

	"upload-service/store"
	"upload-service/store/kv"
)

func parseUUID(s string) ([]byte, error) {
	id, err := uuid.Parse(s)
	return id[:], err
}

// TestCheckFindsDamage breaks one thing at a time and asks the check.
// deleteBatch deletes a file as one of several.
func deleteBatch(w *world) {
	w.t.Helper()
	gone := w.mustPut(alice, "gone", "gone")
	w.ok(w.store.DeleteFiles(w.t.Context(), alice, store.NewBatchID(), []store.FileID{gone.ID}))
}

func TestCheckFindsDamage(t *testing.T) {
	t.Parallel()
	blobFile := func(w *world, f store.File) string {
		return filepath.Join(w.dir, ".upload-service", "blobs", filepath.FromSlash(string(f.Blob)))
	}
	put := func(w *world, key string, value []byte) {
		w.ok(w.kv.Update(context.Background(), "", func(tx kv.Tx) error { return tx.Put([]byte(key), value) }))
	}
	cases := map[string]struct {
		damage func(w *world, f store.File)
		want   string // part of a finding
	}{
		"blob is missing": {func(w *world, f store.File) { w.ok(os.Remove(blobFile(w, f))) }, "are missing"},
		"blob is shorter": {func(w *world, f store.File) {
			w.ok(os.Chmod(blobFile(w, f), 0o600))
			w.ok(os.Truncate(blobFile(w, f), 1))
		}, "bytes on disk"},
		"a bit has flipped": {func(w *world, f store.File) {
			w.ok(os.Chmod(blobFile(w, f), 0o600))
			w.ok(os.WriteFile(blobFile(w, f), []byte("Content"), 0o600))
		}, "have changed"},
		"blob without a record": {func(w *world, f store.File) {
			w.ok(os.WriteFile(filepath.Join(filepath.Dir(blobFile(w, f)), strings.Repeat("a", 32)), nil, 0o400))
		}, "belongs to no record"},
		"stray file among blobs": {func(w *world, f store.File) {
			w.ok(os.WriteFile(filepath.Join(filepath.Dir(blobFile(w, f)), "notes.txt"), nil, 0o600))
		}, "is none"},
		"record is unreadable":    {func(w *world, f store.File) { w.tamper("f/", nil, []byte("\x01{")) }, "cannot be used"},
		"record is of the future": {func(w *world, f store.File) { w.tamper("f/", nil, []byte("\x09{}")) }, "newer program"},
		"record is gone":          {func(w *world, f store.File) { w.tamper("f/", nil, nil) }, "leads to"},
		"id index is gone":        {func(w *world, f store.File) { w.tamper("i/", nil, nil) }, "index of ids"},
		"time index is gone":      {func(w *world, f store.File) { w.tamper("c/", nil, nil) }, "index of times"},
		"holder is gone":          {func(w *world, f store.File) { w.tamper("b/", nil, nil) }, "holder of its bytes"},
		"holder is another":       {func(w *world, f store.File) { w.tamper("b/", nil, []byte("fgithub:2\x00xxxxxxxxxxxxxxxx")) }, "does not hold"},
		"counter is wrong":        {func(w *world, f store.File) { put(w, "q/github:1", []byte("\x01{}")) }, "counters of github:1"},
		"counter is gone":         {func(w *world, f store.File) { w.tamper("q/", nil, nil) }, "no counters"},
		"upload expiry is gone":   {func(w *world, f store.File) { w.tamper("x/", nil, nil) }, "index of expiry"},
		"upload index is gone":    {func(w *world, f store.File) { w.tamper("n/", nil, nil) }, "index of times"},
		"upload is gone":          {func(w *world, f store.File) { w.tamper("u/", nil, nil) }, "does not lead to an upload"},
		"batch index is gone":     {func(w *world, f store.File) { deleteBatch(w); w.tamper("y/", nil, nil) }, "deleted together"},
		"batch leads nowhere":     {func(w *world, f store.File) { deleteBatch(w); w.tamper("z/", nil, nil) }, "not among what was deleted"},
		"slug leads nowhere":      {func(w *world, f store.File) { put(w, "l/ghost", []byte("github:9")) }, "slug ghost"},
		"owner without slug":      {func(w *world, f store.File) { w.tamper("l/", nil, nil) }, "under its slug"},
		"tree entry is gone":      {func(w *world, f store.File) { w.ok(os.Remove(filepath.Join(w.dir, "alice", "f"))) }, "does not show alice/f"},
		"tree has a stranger":     {func(w *world, f store.File) { w.ok(os.WriteFile(filepath.Join(w.dir, "alice", "g"), nil, 0o600)) }, "alice/g has no record"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			f := w.mustPut(alice, "f", "content")
			w.mustUpload(alice, "waiting")
			w.wantClean("before the damage")
			c.damage(w, f)
			findings, _ := w.check(store.CheckOptions{})
			if !strings.Contains(strings.Join(findings, "\n"), c.want) {
				t.Errorf("findings %q do not mention %q", findings, c.want)
			}
		})
	}
}

func TestCheckRepairsTheTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustPut(alice, "a/f", "content")
	w.ok(os.RemoveAll(filepath.Join(w.dir, "alice")))
	if findings, _ := w.check(store.CheckOptions{Repair: true}); len(findings) != 0 {
		t.Errorf("findings %q, want none after the repair", findings)
	}
	if b, err := os.ReadFile(filepath.Join(w.dir, "alice", "a", "f")); err != nil || string(b) != "content" {
		t.Errorf("the tree shows %q, %v", b, err)
	}
}

func TestSlugs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for _, c := range []struct {
		id          store.OwnerID
		login, want string
	}{
		{"github:10", "Octocat", "Octocat"},
		{"github:11", "octoCAT", "octoCAT~11"}, // the login was given to another account
		{"github:10", "renamed", "Octocat"},    // a slug never changes
		{"github:12", "me", "me~12"},
		{"github:13", "Local", "Local~13"},
		{store.LocalOwner, "local", "local"},
	} {
		o, err := w.store.EnsureOwner(ctx, c.id, c.login)
		w.ok(err)
		if o.Slug != c.want || o.Login != c.login {
			t.Errorf("%s as %s: got slug %s login %s, want %s", c.id, c.login, o.Slug, o.Login, c.want)
		}
	}
	o, err := w.store.OwnerBySlug(ctx, "OCTOCAT")
	w.ok(err)
	if o.ID != "github:10" {
		t.Errorf("got %s", o.ID)
	}
	_, err = w.store.OwnerBySlug(ctx, "nobody")
	w.wantCode(err, store.CodeNotFound, "an unknown slug")
}
