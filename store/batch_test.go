package store_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"upload-service/store"
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

	// 4. Moved together or not at all.
	w.mustPut(alice, "to/2", "taken")
	if _, err := w.store.MoveFiles(ctx, alice, ids, "to"); store.CodeOf(err) != store.CodeConflict {
		t.Errorf("a taken name: %v", err)
	}
	if got := count("d/"); got != 5 {
		t.Errorf("%d files left of a refused move, want 5", got)
	}
	if _, err := w.store.MoveFiles(ctx, alice, ids, "../x"); store.CodeOf(err) != store.CodeInvalid {
		t.Errorf("a bad folder: %v", err)
	}
	moved, err := w.store.MoveFiles(ctx, alice, ids, "new/place/")
	w.ok(err)
	if len(moved) != 5 || moved[1].Path != "new/place/1" || count("d/") != 0 {
		t.Errorf("moved %v", moved)
	}

	// 5. A folder goes as one, and the sweep ends the undo.
	n, err := w.store.DeleteFolder(ctx, alice, batch, "new")
	w.ok(err)
	if n != 5 || count("new/") != 0 {
		t.Errorf("deleted %d of a folder", n)
	}
	if _, err := w.store.DeleteFolder(ctx, alice, batch, "new"); store.CodeOf(err) != store.CodeNotFound {
		t.Errorf("an empty folder: %v", err)
	}
	w.clock.advance(2 * time.Hour)
	_, err = w.store.Sweep(ctx, store.SweepOptions{})
	w.ok(err)
	if _, _, err := w.store.RestoreBatch(ctx, alice, batch); store.CodeOf(err) != store.CodeNotFound {
		t.Errorf("after the undo time: %v", err)
	}
	if findings, _ := w.check(store.CheckOptions{}); len(findings) != 0 {
		t.Errorf("check found %v", findings)
	}
}
