package store_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"upload-service/store"
)

func TestDeleteAndRestore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	f := w.mustPut(alice, "d/f", "content")
	w.wantCode(w.store.DeleteFile(ctx, bob, "d/f", store.Condition{}), store.CodeNotFound, "another owner")
	w.ok(w.store.DeleteFile(ctx, alice, "d/f", store.Condition{}))
	w.wantCode(w.store.DeleteFile(ctx, alice, "d/f", store.Condition{}), store.CodeNotFound, "again")
	if got := w.usage(alice); got != (store.Usage{}) {
		t.Errorf("a deleted file counts: %+v", got)
	}
	w.wantNoFindings("with a file in the trash")
	_, err := w.store.RestoreFile(ctx, bob, f.ID)
	w.wantCode(err, store.CodeNotFound, "restore by another owner")
	back, err := w.store.RestoreFile(ctx, alice, f.ID)
	w.ok(err)
	w.wantFile(alice, "d/f", "content")
	if back.ETag() == f.ETag() {
		t.Error("a restored file has the ETag of before")
	}
	w.ok(w.store.DeleteFileByID(ctx, alice, f.ID, store.Condition{Match: []string{back.ETag()}}))
	w.mustPut(alice, "d/f", "another")
	_, err = w.store.RestoreFile(ctx, alice, f.ID)
	w.wantCode(err, store.CodeConflict, "restore over another file")
	w.clock.advance(undo)
	_, err = w.store.RestoreFile(ctx, alice, f.ID)
	w.wantCode(err, store.CodeNotFound, "restore too late")
	w.sweep(store.SweepOptions{})
	w.wantFile(alice, "d/f", "another")
	w.wantClean("after the trash")
}

func TestRestoreReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.mustPut(alice, "f", "one")
	w.mustPut(alice, "f", "two")
	back, err := w.store.RestoreFile(t.Context(), alice, f.ID)
	w.ok(err)
	w.wantFile(alice, "f", "one")
	if back.Version != 3 {
		t.Errorf("version %d, want 3", back.Version)
	}
	_, err = w.store.RestoreFile(t.Context(), alice, f.ID) // undo the undo
	w.ok(err)
	w.wantFile(alice, "f", "two")
	w.wantNoFindings("after restores")
}

func TestUndoOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Undo = 0 })
	f := w.mustPut(alice, "f", "one")
	w.ok(w.store.DeleteFile(t.Context(), alice, "f", store.Condition{}))
	_, err := w.store.RestoreFile(t.Context(), alice, f.ID)
	w.wantCode(err, store.CodeNotFound, "restore")
	w.sweep(store.SweepOptions{})
	if n := w.blobCount(); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
	w.wantClean("after the sweep")
}

// TestReadersSurviveDelete reads on in a file that is deleted, swept and gone.
func TestReadersSurviveDelete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Undo = 0 })
	f := w.mustPut(alice, "f", "content")
	r, err := w.store.OpenFile(t.Context(), f, 0, -1)
	w.ok(err)
	defer r.Close()
	w.ok(w.store.DeleteFile(t.Context(), alice, "f", store.Condition{}))
	w.sweep(store.SweepOptions{})
	if b, err := io.ReadAll(r); err != nil || string(b) != "content" {
		t.Errorf("read %q, %v", b, err)
	}
	_, err = w.store.OpenFile(t.Context(), f, 0, -1)
	w.wantCode(err, store.CodeNotFound, "open it again")
}

func TestChange(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	f := w.mustPut(alice, "a/f", "content")
	w.mustPut(alice, "taken", "x")
	one, to, taken, below := "1", store.Path("b/g"), store.Path("taken"), store.Path("taken/x")
	tags := []string{"t"}

	g, err := w.store.ChangeFile(ctx, alice, f.ID, store.Change{
		Path: &to, Metadata: map[string]*string{"k": &one}, Tags: &tags,
	}, store.Condition{Match: []string{f.ETag()}})
	w.ok(err)
	if g.Path != "b/g" || g.Metadata["k"] != "1" || g.Tags[0] != "t" || g.Version != 2 {
		t.Errorf("got %+v", g)
	}
	if _, code := w.read(alice, "a/f"); code != store.CodeNotFound {
		t.Error("the old path still exists")
	}
	w.wantFile(alice, "b/g", "content")

	_, err = w.store.ChangeFile(ctx, alice, f.ID, store.Change{}, store.Condition{Match: []string{f.ETag()}})
	w.wantCode(err, store.CodePrecondition, "an old ETag")
	_, err = w.store.ChangeFile(ctx, alice, f.ID, store.Change{Path: &taken}, store.Condition{})
	w.wantCode(err, store.CodeConflict, "a path that is taken")
	_, err = w.store.ChangeFile(ctx, alice, f.ID, store.Change{Path: &below}, store.Condition{})
	w.wantCode(err, store.CodeConflict, "a path below a file")
	_, err = w.store.ChangeFile(ctx, bob, f.ID, store.Change{Path: &to}, store.Condition{})
	w.wantCode(err, store.CodeNotFound, "another owner")
	g, err = w.store.ChangeFile(ctx, alice, f.ID, store.Change{Metadata: map[string]*string{"k": nil}}, store.Condition{})
	w.ok(err)
	if len(g.Metadata) != 0 {
		t.Errorf("null does not remove: %v", g.Metadata)
	}
	w.wantClean("after changes")
}

// TestInvariant9 compares the visible tree with the records after every kind
// of change.
func TestInvariant9(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	shows := func(path, want string) {
		t.Helper()
		b, err := os.ReadFile(filepath.Join(w.dir, "alice", path))
		if want == "" && !os.IsNotExist(err) || want != "" && (err != nil || string(b) != want) {
			t.Errorf("the tree shows %q (%v) at %s, want %q", b, err, path, want)
		}
	}
	f := w.mustPut(alice, "a/b", "one")
	shows("a/b", "one")
	w.mustPut(alice, "a/b", "two")
	shows("a/b", "two")
	to := store.Path("c")
	_, err := w.store.ChangeFile(ctx, alice, f.ID, store.Change{Path: &to}, store.Condition{})
	w.ok(err)
	shows("a/b", "")
	shows("c", "two")
	if _, err := os.Stat(filepath.Join(w.dir, "alice", "a")); !os.IsNotExist(err) {
		t.Errorf("an empty folder is left: %v", err)
	}
	w.ok(w.store.DeleteFile(ctx, alice, "c", store.Condition{}))
	shows("c", "")
	_, err = w.store.RestoreFile(ctx, alice, f.ID)
	w.ok(err)
	shows("c", "two")
	u := w.mustUpload(alice, "three")
	shows("a", "")
	_, _, err = w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{u.Token}})
	w.ok(err)
	shows("a", "three")
	w.wantNoFindings("the tree")
}

// TestHeldLockStopsNothing holds the lock of a path from outside for ever:
// uploads, the sweep, the end and the start go on without that path.
func TestHeldLockStopsNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Undo = 0 })
	ctx := t.Context()
	locks := w.opts.Locks
	unlock, err := locks.Lock(ctx, store.LockKey("alice", "f"))
	w.ok(err)
	w.mustPut(alice, "f", "held")
	w.mustPut(alice, "g", "old")
	w.mustPut(alice, "g", "new")
	soon := func(what string, fn func()) {
		t.Helper()
		began := time.Now()
		fn()
		if took := time.Since(began); took > 20*time.Second {
			t.Fatalf("%s took %s", what, took)
		}
	}
	soon("the sweep", func() {
		report := w.sweep(store.SweepOptions{})
		if report.Blobs != 1 || len(report.Errors) != 1 {
			t.Errorf("got %+v", report)
		}
	})
	soon("the end", func() {
		last, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		w.ok(w.store.Close(last))
	})
	soon("the start", func() {
		w.store, err = store.Open(context.Background(), w.opts)
		w.ok(err)
	})
	w.wantFile(alice, "f", "held")
	unlock()
	w.sweep(store.SweepOptions{})
	if b, err := os.ReadFile(filepath.Join(w.dir, "alice", "f")); string(b) != "held" {
		t.Errorf("the tree shows %q, %v", b, err)
	}
	w.wantClean("when the lock is free")
}

// TestTreeCatchesUp holds the lock of a path from outside: the client does
// not wait for it, and the tree follows when it is free.
func TestTreeCatchesUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	unlock, err := w.opts.Locks.Lock(t.Context(), store.LockKey("alice", "f"))
	w.ok(err)
	start := time.Now()
	w.mustPut(alice, "f", "content")
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("the client waited %s for the tree", took)
	}
	shown := filepath.Join(w.dir, "alice", "f")
	if _, err := os.Stat(shown); !os.IsNotExist(err) {
		t.Fatalf("the tree changed under a lock: %v", err)
	}
	unlock()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if b, err := os.ReadFile(shown); err == nil && string(b) == "content" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the tree does not follow")
		}
		<-time.After(time.Millisecond)
	}
}

// TestRestoreCountsOn lowers the undo time between two starts, so that a newer
// version would leave the trash before an older one: no ETag comes twice.
func TestRestoreCountsOn(t *testing.T) {
	t.Parallel()
	for _, less := range []time.Duration{time.Minute, 0} {
		w := newWorld(t)
		first := w.mustPut(alice, "f", "first")
		second := w.mustPut(alice, "f", "second")
		w.close()
		w.open(func(o *store.Options) { o.Undo = less })
		w.ok(w.store.DeleteFile(t.Context(), alice, "f", store.Condition{}))
		w.clock.advance(2 * time.Minute)
		w.sweep(store.SweepOptions{})
		back, err := w.store.RestoreFile(t.Context(), alice, first.ID)
		w.ok(err)
		if back.Version <= second.Version {
			t.Errorf("undo %s: restored with the ETag %s; the second was %s", less, back.ETag(), second.ETag())
		}
		w.clock.advance(undo)
		w.sweep(store.SweepOptions{})
		w.wantClean("after the undo time")
	}
}
