package store_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
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

// deleteBatch deletes a file as one of several.
func deleteBatch(w *world) {
	w.t.Helper()
	gone := w.mustPut(alice, "gone", "gone")
	w.ok(w.store.DeleteFiles(w.t.Context(), alice, store.NewBatchID(), []store.FileID{gone.ID}))
}

// TestCheckFindsDamage breaks one thing at a time and asks the check. What
// follows from the rest is repaired, and all else is left as it is.
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
		left   bool   // by a repair
	}{
		"blob is missing": {func(w *world, f store.File) { w.ok(os.Remove(blobFile(w, f))) }, "are missing", true},
		"blob is shorter": {func(w *world, f store.File) {
			w.ok(os.Chmod(blobFile(w, f), 0o600))
			w.ok(os.Truncate(blobFile(w, f), 1))
		}, "bytes on disk", true},
		"a bit has flipped": {func(w *world, f store.File) {
			w.ok(os.Chmod(blobFile(w, f), 0o600))
			w.ok(os.WriteFile(blobFile(w, f), []byte("Content"), 0o600))
		}, "have changed", true},
		"blob without a record": {func(w *world, f store.File) {
			w.ok(os.WriteFile(filepath.Join(filepath.Dir(blobFile(w, f)), strings.Repeat("a", 32)), nil, 0o400))
		}, "belongs to no record", true},
		"stray file among blobs": {func(w *world, f store.File) {
			w.ok(os.WriteFile(filepath.Join(filepath.Dir(blobFile(w, f)), "notes.txt"), nil, 0o600))
		}, "is none", true},
		"record is unreadable":    {func(w *world, f store.File) { w.tamper("f/", nil, []byte("\x01{")) }, "cannot be used", true},
		"record is of the future": {func(w *world, f store.File) { w.tamper("f/", nil, []byte("\x09{}")) }, "newer program", true},
		"record is gone":          {func(w *world, f store.File) { w.tamper("f/", nil, nil) }, "leads to", true},
		"id index is gone":        {func(w *world, f store.File) { w.tamper("i/", nil, nil) }, "index of ids", false},
		"time index is gone":      {func(w *world, f store.File) { w.tamper("c/", nil, nil) }, "index of times", false},
		"holder is gone":          {func(w *world, f store.File) { w.tamper("b/", nil, nil) }, "holder of its bytes", false},
		"holder is another":       {func(w *world, f store.File) { w.tamper("b/", nil, []byte("fgithub:2\x00xxxxxxxxxxxxxxxx")) }, "does not hold", true},
		"counter is wrong":        {func(w *world, f store.File) { put(w, "q/github:1", []byte("\x01{}")) }, "counters of github:1", false},
		"counter is gone":         {func(w *world, f store.File) { w.tamper("q/", nil, nil) }, "no counters", false},
		"upload expiry is gone":   {func(w *world, f store.File) { w.tamper("x/", nil, nil) }, "index of expiry", false},
		"upload index is gone":    {func(w *world, f store.File) { w.tamper("n/", nil, nil) }, "index of times", false},
		"upload is gone":          {func(w *world, f store.File) { w.tamper("u/", nil, nil) }, "does not lead to an upload", true},
		"batch index is gone":     {func(w *world, f store.File) { deleteBatch(w); w.tamper("y/", nil, nil) }, "deleted together", false},
		"batch leads nowhere":     {func(w *world, f store.File) { deleteBatch(w); w.tamper("z/", nil, nil) }, "not among what was deleted", true},
		"expiry means nothing":    {func(w *world, f store.File) { put(w, "x/\x00\x00\x00\x00\x00?github:1\x00", nil) }, "has no meaning", false},
		"tree entry was renamed": {func(w *world, f store.File) {
			w.ok(os.Rename(filepath.Join(w.dir, "alice", "f"), filepath.Join(w.dir, "alice", "renamed")))
		}, "alice/renamed is one more name", false},
		"slug leads nowhere":        {func(w *world, f store.File) { put(w, "l/ghost", []byte("github:9")) }, "slug ghost", true},
		"owner without slug":        {func(w *world, f store.File) { w.tamper("l/", nil, nil) }, "under its slug", false},
		"tree entry is gone":        {func(w *world, f store.File) { w.ok(os.Remove(filepath.Join(w.dir, "alice", "f"))) }, "does not show alice/f", false},
		"tree has a stranger":       {func(w *world, f store.File) { w.ok(os.WriteFile(filepath.Join(w.dir, "alice", "g"), nil, 0o600)) }, "alice/g has no record: somebody put it there (adopt takes", true},
		"tree has a link":           {func(w *world, f store.File) { w.ok(os.Symlink("f", filepath.Join(w.dir, "alice", "g"))) }, "alice/g has no record: somebody put it there (adopt leaves it", true},
		"a file beside the folders": {func(w *world, f store.File) { w.ok(os.WriteFile(filepath.Join(w.dir, "notes"), nil, 0o600)) }, "notes has no record: somebody put it there (adopt leaves it", true},
		"a file in nobody's folder": {func(w *world, f store.File) { w.old("no~login/f", "") }, "no~login/f has no record: somebody put it there (adopt leaves it", true},
		"a file in a login's":       {func(w *world, f store.File) { w.old("zoe/f", "") }, "zoe/f has no record: somebody put it there (adopt takes", true},
		"a name we cannot have":     {func(w *world, f store.File) { w.old("alice/a\x01", "") }, "somebody put it there (adopt leaves it", true},
		"owner is another": {func(w *world, f store.File) {
			put(w, "o/github:2", []byte("\x01"+`{"id":"github:1","slug":"alice","login":"alice"}`))
		}, "recorded under another name", true},
		"leftover is unreadable": {func(w *world, f store.File) { put(w, "d/carol/f", []byte("\x01{")) }, "cannot be used", true},
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
			w.check(store.CheckOptions{Repair: true})
			if name == "record is gone" { // its name in the tree is all that is left
				w.wantOnDisk("alice/f")
			}
			if again, _ := w.check(store.CheckOptions{}); len(again) > 0 != c.left {
				t.Errorf("after the repair: findings %q, were %q", again, findings)
			}
		})
	}
}

// While an adoption is due, what it will take over waits for it. The rest is a
// finding then, too.
func TestCheckWhileAdopting(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(w.kv.Update(t.Context(), "", func(tx kv.Tx) error {
		return tx.Put([]byte("m/adoption"), []byte("\x01"+`{"since":"2026-01-02T03:04:05Z"}`))
	}))
	for _, name := range []string{"alice/f", "zoe/f", "no~login/f"} {
		w.old(name, "")
	}
	findings, waiting := w.check(store.CheckOptions{})
	slices.Sort(waiting)
	if len(waiting) != 2 || !strings.HasPrefix(waiting[0], "alice/f is not adopted yet") || !strings.HasPrefix(waiting[1], "zoe/f is") {
		t.Errorf("waiting %q", waiting)
	}
	if len(findings) != 1 || !strings.HasPrefix(findings[0], "no~login/f has no record") {
		t.Errorf("findings %q", findings)
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
