package store_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"upload-service/store"
	"upload-service/store/tree"
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

// TestFolderIsStillShown puts a where a/b was deleted, and the tree
// could not follow yet: as soon as it can, it shows both, without a sweep.
func TestFolderIsStillShown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustPut(alice, "a/b", "content")
	unlock, err := w.opts.Locks.Lock(t.Context(), store.LockKey("alice", "a/b"))
	w.ok(err)
	w.ok(w.store.DeleteFile(t.Context(), alice, "a/b", store.Condition{}))
	w.mustPut(alice, "a", "now a file")
	unlock()
	w.ok(w.store.Close(t.Context())) // waits for what runs behind the answers
	w.wantOnDisk("alice/a")
	w.store, err = store.Open(t.Context(), w.opts)
	w.ok(err)
}

// TestSweepWaitsForEveryName moves a file while another program holds the lock
// of its old path, and deletes it. As long as the old path is shown, it would
// be the last name of the bytes, and be taken for a person's file.
func TestSweepWaitsForEveryName(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.mustPut(alice, "a", "content")
	unlock, err := w.opts.Locks.Lock(t.Context(), store.LockKey("alice", "a"))
	w.ok(err)
	to := store.Path("b")
	_, err = w.store.ChangeFile(t.Context(), alice, f.ID, store.Change{Path: &to}, store.Condition{})
	w.ok(err)
	w.ok(w.store.DeleteFile(t.Context(), alice, "b", store.Condition{}))
	w.clock.advance(undo + time.Minute)
	if r := w.sweep(store.SweepOptions{}); r.Blobs != 0 || len(r.Errors) != 1 {
		t.Errorf("while the lock is held: %+v", r)
	}
	unlock()
	if r := w.sweep(store.SweepOptions{}); r.Blobs != 1 || len(r.Errors) != 0 {
		t.Errorf("after that: %+v", r)
	}
	w.wantOnDisk()
	if _, err := os.Stat(filepath.Join(w.dir, store.InternalDir, "displaced")); !os.IsNotExist(err) {
		t.Errorf("deleted bytes were moved aside: %v", err)
	}
	w.wantClean("after the second sweep")
}

func hideTree(o *store.Options) { o.Tree = tree.Hidden{Tree: o.Tree.(*tree.Tree)} }

// TestHiddenTree turns the visible tree off: nothing new is shown, and what was
// shown or adopted before goes with its files, for good.
func TestHiddenTree(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"deleted", "replaced", "moved", "kept"} {
		w.mustPut(alice, name, "shown")
	}
	w.close()
	w.open(hideTree)
	w.old("alice/adopted", "of the earlier service")
	w.old("alice/adopted and kept", "of the earlier service")
	w.adopt(nil)
	w.old("alice/foreign", "of a person")
	if findings, _ := w.check(store.CheckOptions{}); len(findings) != 1 || !strings.Contains(findings[0], "alice/foreign") {
		t.Errorf("findings %q, want a person's file", findings)
	}

	w.mustPut(alice, "new", "not shown")
	w.mustPut(alice, "foreign", "not shown")
	w.mustPut(alice, "replaced", "not shown")
	to := store.Path("moved here")
	f, err := w.store.GetFile(t.Context(), alice, "moved")
	w.ok(err)
	_, err = w.store.ChangeFile(t.Context(), alice, f.ID, store.Change{Path: &to}, store.Condition{})
	w.ok(err)
	w.ok(w.store.DeleteFile(t.Context(), alice, "deleted", store.Condition{}))
	w.ok(w.store.DeleteFile(t.Context(), alice, "adopted", store.Condition{}))
	w.clock.advance(undo + time.Minute)
	if r := w.sweep(store.SweepOptions{}); r.Blobs != 3 || len(r.Errors) != 0 {
		t.Errorf("swept %+v, want 3 contents", r)
	}
	w.wantOnDisk("alice/adopted and kept", "alice/foreign", "alice/kept")
	if _, err := os.Stat(filepath.Join(w.dir, store.InternalDir, "displaced")); !os.IsNotExist(err) {
		t.Errorf("something was moved aside: %v", err)
	}

	// On again: what is not shown yet can be made, and nothing that is gone is.
	w.close()
	w.open()
	if findings, _ := w.check(store.CheckOptions{Repair: true}); len(findings) != 0 {
		t.Errorf("findings %q", findings)
	}
	w.wantOnDisk("alice/adopted and kept", "alice/foreign", "alice/kept", "alice/moved here", "alice/new", "alice/replaced")
	w.wantFile(alice, "foreign", "not shown")
}
