package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"upload-service/store"
	"upload-service/store/kv"
)

// TestBatch deletes and moves many files at once, and takes it back.
func TestBatch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := context.Background()
	var ids []store.FileID
	for i := range 5 {
		ids = append(ids, w.mustPut(alice, fmt.Sprintf("d/%d", i), "x").ID)
	}
	count := func(prefix string) int {
		page, err := w.store.ListFiles(ctx, alice, store.Query{Prefix: prefix, Sort: store.ByPath, Limit: 1000})
		w.ok(err)
		return len(page.Files)
	}

	// 1. One that is not there: none goes.
	batch := store.NewBatchID()
	if err := w.store.DeleteFiles(ctx, alice, batch, append([]store.FileID{ids[0]}, store.FileID{1})); store.CodeOf(err) != store.CodeNotFound {
		t.Errorf("a file that is not there: %v", err)
	}
	if err := w.store.DeleteFiles(ctx, bob, batch, ids); store.CodeOf(err) != store.CodeNotFound {
		t.Errorf("another's files: %v", err)
	}
	if got := count("d/"); got != 5 {
		t.Fatalf("%d files left, want 5", got)
	}

	// 2. All go, and come back; another owner cannot.
	w.ok(w.store.DeleteFiles(ctx, alice, batch, ids))
	if _, _, err := w.store.RestoreBatch(ctx, bob, batch); store.CodeOf(err) != store.CodeNotFound {
		t.Errorf("another's undo: %v", err)
	}
	w.mustPut(alice, "d/3", "in the way")
	restored, taken, err := w.store.RestoreBatch(ctx, alice, batch)
	w.ok(err)
	if len(restored) != 4 || len(taken) != 1 || taken[0] != "d/3" {
		t.Errorf("restored %d, taken %v", len(restored), taken)
	}

	// 3. What was in the way went: the rest of the same undo.
	w.ok(w.store.DeleteFile(ctx, alice, "d/3", store.Condition{}))
	if restored, taken, err = w.store.RestoreBatch(ctx, alice, batch); err != nil || len(restored) != 1 || len(taken) != 0 {
		t.Errorf("the rest: %d, %v, %v", len(restored), taken, err)
	}
	if _, _, err := w.store.RestoreBatch(ctx, alice, batch); store.CodeOf(err) != store.CodeNotFound {
		t.Errorf("twice: %v", err)
	}

	// 4. Moved together or not at all, and back the same way.
	w.mustPut(alice, "to/2", "taken")
	if _, err := w.store.MoveFiles(ctx, alice, batch, ids, nil, "to"); store.CodeOf(err) != store.CodeConflict {
		t.Errorf("a taken name: %v", err)
	}
	if got := count("d/"); got != 5 {
		t.Errorf("%d files left of a refused move, want 5", got)
	}
	if _, err := w.store.MoveFiles(ctx, alice, batch, ids, nil, "../x"); store.CodeOf(err) != store.CodeInvalid {
		t.Errorf("a bad folder: %v", err)
	}
	for _, to := range []string{"d", "d/e"} {
		if _, err := w.store.MoveFiles(ctx, alice, batch, nil, []string{"d"}, to); store.CodeOf(err) != store.CodeInvalid {
			t.Errorf("a folder into itself, %s: %v", to, err)
		}
	}
	if _, err := w.store.MoveFiles(ctx, alice, batch, nil, []string{"none"}, "x"); store.CodeOf(err) != store.CodeNotFound {
		t.Errorf("a folder that is not there: %v", err)
	}
	batch = store.NewBatchID()
	n, err := w.store.MoveFiles(ctx, alice, batch, ids[:2], []string{"d"}, "both")
	w.ok(err)
	if n != 5 || count("both/d/") != 3 {
		t.Errorf("two alone and their folder: moved %d, %d with the folder", n, count("both/d/"))
	}
	_, _, err = w.store.RestoreBatch(ctx, alice, batch)
	w.ok(err)
	batch = store.NewBatchID()
	w.mustPut(alice, "other/6", "x")
	single := w.mustPut(alice, "other/7", "x").ID
	n, err = w.store.MoveFiles(ctx, alice, batch, []store.FileID{single}, []string{"d"}, "new/place/")
	w.ok(err)
	if n != 6 || count("new/place/d/") != 5 || count("new/place/") != 6 || count("d/") != 0 {
		t.Errorf("moved %d, %d are there", n, count("new/place/"))
	}
	w.mustPut(alice, "d/1", "in the way")
	if _, _, err := w.store.RestoreBatch(ctx, alice, batch); store.CodeOf(err) != store.CodeConflict {
		t.Errorf("a move back onto a taken name: %v", err)
	}
	if got := count("new/place/"); got != 6 {
		t.Errorf("%d files left of a refused move back, want 6", got)
	}
	w.ok(w.store.DeleteFile(ctx, alice, "d/1", store.Condition{}))
	w.ok(w.store.DeleteFile(ctx, alice, "new/place/d/4", store.Condition{}))
	restored, _, err = w.store.RestoreBatch(ctx, alice, batch)
	w.ok(err)
	if len(restored) != 5 || count("d/") != 4 || count("other/") != 2 || count("new/") != 0 {
		t.Errorf("moved back %d", len(restored))
	}
	if _, _, err := w.store.RestoreBatch(ctx, alice, batch); store.CodeOf(err) != store.CodeNotFound {
		t.Errorf("moved back twice: %v", err)
	}
	_, err = w.store.MoveFiles(ctx, alice, batch, nil, []string{"d"}, "new")
	w.ok(err)

	// 5. A folder goes as one, and the sweep ends the undo.
	deleted := store.NewBatchID()
	n, err = w.store.DeleteFolder(ctx, alice, deleted, "new")
	w.ok(err)
	if n != 4 || count("new/") != 0 {
		t.Errorf("deleted %d of a folder", n)
	}
	if _, err := w.store.DeleteFolder(ctx, alice, deleted, "new"); store.CodeOf(err) != store.CodeNotFound {
		t.Errorf("an empty folder: %v", err)
	}
	if findings, _ := w.check(store.CheckOptions{}); len(findings) != 0 {
		t.Errorf("check found %v", findings)
	}
	later := store.NewBatchID()
	_, err = w.store.MoveFiles(ctx, alice, later, []store.FileID{single}, nil, "")
	w.ok(err)
	w.clock.advance(2 * time.Hour)
	_, err = w.store.Sweep(ctx, store.SweepOptions{})
	w.ok(err)
	for _, b := range []store.BatchID{batch, deleted, later} {
		if _, _, err := w.store.RestoreBatch(ctx, alice, b); store.CodeOf(err) != store.CodeNotFound {
			t.Errorf("after the undo time: %v", err)
		}
	}
	if findings, _ := w.check(store.CheckOptions{}); len(findings) != 0 {
		t.Errorf("check found %v", findings)
	}
}

// TestMoveIsOne: files that are moved together are not in the way of each other,
// there nor back, in whatever order.
func TestMoveIsOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	a, b := w.mustPut(alice, "a", "1").ID, w.mustPut(alice, "b", "2").ID
	w.mustPut(alice, "x/y/z", "3")
	w.mustPut(alice, "o/x/y/z", "4")
	for range 4 { // ids are in no order
		for _, order := range []bool{true, false} {
			files, folders := []store.FileID{a, b}, []string{"x/y", "o/x"}
			if order {
				slices.Reverse(files)
				slices.Reverse(folders)
			}
			into, up := store.NewBatchID(), store.NewBatchID()
			_, err := w.store.MoveFiles(ctx, alice, into, files, nil, "a")
			w.ok(err)
			_, err = w.store.MoveFiles(ctx, alice, up, nil, folders, "")
			w.ok(err)
			for path, content := range map[string]string{"a/a": "1", "a/b": "2", "y/z": "3", "x/y/z": "4"} {
				w.wantFile(alice, path, content)
			}
			for _, batch := range []store.BatchID{into, up} {
				_, _, err = w.store.RestoreBatch(ctx, alice, batch)
				w.ok(err)
			}
			for path, content := range map[string]string{"a": "1", "b": "2", "x/y/z": "3", "o/x/y/z": "4"} {
				w.wantFile(alice, path, content)
			}
		}
	}
	w.wantClean("moved there and back")
}

// TestBatchIsChecked loses a trash record of a batch.
func TestBatchIsChecked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.mustPut(alice, "a", "x")
	w.ok(w.store.DeleteFiles(t.Context(), alice, store.NewBatchID(), []store.FileID{f.ID}))
	w.ok(w.kv.Update(t.Context(), "", func(tx kv.Tx) error {
		var trash [][]byte
		err := tx.Scan([]byte("z/"), []byte("z0"), 10, func(k, _ []byte) bool {
			trash = append(trash, bytes.Clone(k))
			return true
		})
		for _, k := range trash {
			err = errors.Join(err, tx.Delete(k))
		}
		return err
	}))
	findings, _ := w.check(store.CheckOptions{})
	if !slices.ContainsFunc(findings, func(f string) bool { return strings.Contains(f, "deleted with") }) {
		t.Errorf("check found %v", findings)
	}
}

// BenchmarkBatch deletes, restores and moves a thousand files.
func BenchmarkBatch(b *testing.B) {
	w := newWorld(b)
	ctx := context.Background()
	var ids []store.FileID
	for i := range store.MaxBatch {
		ids = append(ids, w.mustPut(alice, fmt.Sprintf("d/%d", i), "x").ID)
	}
	var restoring time.Duration
	for b.Loop() {
		batch := store.NewBatchID()
		w.ok(w.store.DeleteFiles(ctx, alice, batch, ids))
		began := time.Now()
		_, _, err := w.store.RestoreBatch(ctx, alice, batch)
		w.ok(err)
		restoring += time.Since(began)
	}
	b.ReportMetric(float64(restoring.Milliseconds())/float64(b.N), "ms/restore")
}

// TestUndoThatNeedsNoRoom: an upload that will replace a file may take an owner
// over the limit until it is complete. What brings no bytes back goes on.
func TestUndoThatNeedsNoRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits.OwnerBytes = 10 })
	f := w.mustPut(alice, "f", "0123456789")
	batch := store.NewBatchID()
	_, err := w.store.MoveFiles(t.Context(), alice, batch, []store.FileID{f.ID}, nil, "folder")
	w.ok(err)
	w.begin(alice, store.Begin{Name: "folder/f", Length: 10, Then: &store.Goal{OnConflict: store.Replace}})
	_, _, err = w.store.RestoreBatch(t.Context(), alice, store.NewBatchID())
	w.wantCode(err, store.CodeNotFound, "the undo of nothing")
	_, _, err = w.store.RestoreBatch(t.Context(), alice, batch)
	w.wantCode(err, "", "the undo of a move")
	w.wantFile(alice, "f", "0123456789")
}
