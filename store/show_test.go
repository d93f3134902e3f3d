package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"upload-service/store"
)

// TestFolderBecomesFile stops between the commit of a rename and the tree. The
// next start finds a folder where a file has to be, and what is in it is ours.
func TestFolderBecomesFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.mustPut(alice, "a/b", "content")
	from, upto := store.LockKey("alice", "a/b"), store.LockKey("alice", "a")
	unlock, err := w.opts.Locks.Lock(t.Context(), from, upto)
	w.ok(err)
	to := store.Path("a")
	_, err = w.store.ChangeFile(t.Context(), alice, f.ID, store.Change{Path: &to}, store.Condition{})
	w.ok(err)
	stopped, stop := context.WithCancel(t.Context())
	stop()
	err = w.store.Close(stopped) // does not wait for the lock
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	unlock()
	w.store, err = store.Open(t.Context(), w.opts)
	w.ok(err)
	if b, err := os.ReadFile(filepath.Join(w.dir, "alice", "a")); err != nil || string(b) != "content" {
		t.Errorf("the tree shows %q, %v", b, err)
	}
	if _, err := os.Stat(filepath.Join(w.dir, store.InternalDir, "displaced")); !os.IsNotExist(err) {
		t.Errorf("an entry of ours was moved aside: %v", err)
	}
	w.wantClean("after the start")
}

// TestTreeIsDurableFirst: as long as the tree cannot be synced, the bytes of
// what it no longer shows stay, and the marks that lead there.
func TestTreeIsDurableFirst(t *testing.T) {
	t.Parallel()
	var shown unsyncedTree
	w := newWorld(t, func(o *store.Options) {
		shown = unsyncedTree{o.Tree, new(error)}
		o.Tree = shown
	})
	w.mustPut(alice, "f", "content")
	w.ok(w.store.DeleteFile(t.Context(), alice, "f", store.Condition{}))
	w.clock.advance(undo)
	*shown.err = errors.New("input/output error")
	if r := w.sweep(store.SweepOptions{}); r.Blobs != 0 || len(r.Errors) != 1 {
		t.Errorf("got %+v, want nothing removed and one error", r)
	}
	*shown.err = nil
	if r := w.sweep(store.SweepOptions{}); r.Blobs != 1 || len(r.Errors) != 0 {
		t.Errorf("got %+v, want one blob removed", r)
	}
	w.wantClean("after the second sweep")
}

// unsyncedTree fails to sync while err is set.
type unsyncedTree struct {
	store.Tree
	err *error
}

func (t unsyncedTree) Sync(ctx context.Context) error {
	if *t.err != nil {
		return *t.err
	}
	return t.Tree.Sync(ctx)
}
