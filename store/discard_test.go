package store_test

import (
	"context"
	"testing"
	"time"

	"upload-service/store"
)

// TestDiscard puts uploads aside and takes them back; what stays aside goes
// when the undo time is over, and nothing is counted meanwhile.
func TestDiscard(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t)
	a, b, c := w.mustUpload(alice, "a"), w.mustUpload(alice, "bb"), w.mustUpload(alice, "ccc")
	batch, other := store.NewBatchID(), store.NewBatchID()
	uploads := func(want int64, bytes int64) {
		t.Helper()
		usage, err := w.store.UsageOf(ctx, alice)
		w.ok(err)
		list, _, err := w.store.ListUploads(ctx, alice, 10, "")
		w.ok(err)
		if usage.Uploads != want || usage.UploadBytes != bytes || int64(len(list)) != want {
			t.Errorf("%+v and %d in the list, want %d with %d bytes", usage, len(list), want, bytes)
		}
		w.wantClean("uploads aside")
	}

	// 1. All or none.
	w.wantCode(w.store.DiscardUploads(ctx, alice, batch, []store.Token{a.Token, store.NewToken()}), store.CodeNotFound, "one of them is unknown")
	w.wantCode(w.store.DiscardUploads(ctx, bob, batch, []store.Token{a.Token}), store.CodeNotFound, "of somebody else")
	w.wantCode(w.store.DiscardUploads(ctx, alice, batch, nil), store.CodeInvalid, "none")
	uploads(3, 6)

	// 2. Aside is gone for everybody, and comes back as it was.
	w.ok(w.store.DiscardUploads(ctx, alice, batch, []store.Token{a.Token, b.Token}))
	w.ok(w.store.DiscardUploads(ctx, alice, other, []store.Token{c.Token}))
	uploads(0, 0)
	_, err := w.store.GetUpload(ctx, alice, a.Token)
	w.wantCode(err, store.CodeGone, "look at it")
	_, err = w.store.Touch(ctx, alice, a.Token)
	w.wantCode(err, store.CodeGone, "touch it")
	_, _, err = w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{a.Token}})
	w.wantCode(err, store.CodeGone, "make it permanent")
	w.wantCode(w.store.DiscardUploads(ctx, alice, batch, []store.Token{a.Token}), store.CodeGone, "discard it twice")
	_, err = w.store.RestoreUploads(ctx, bob, batch)
	w.wantCode(err, store.CodeNotFound, "somebody else takes it back")
	n, err := w.store.RestoreUploads(ctx, alice, batch)
	w.ok(err)
	if n != 2 {
		t.Errorf("%d came back, want 2", n)
	}
	uploads(2, 3)
	back, err := w.store.GetUpload(ctx, alice, a.Token)
	w.ok(err)
	if back.State != store.Ready || !back.ExpiresAt.Equal(a.ExpiresAt) {
		t.Errorf("it came back as %+v", back)
	}
	_, err = w.store.RestoreUploads(ctx, alice, batch)
	w.wantCode(err, store.CodeNotFound, "take it back twice")

	// 3. What stays aside goes with the undo time.
	w.clock.advance(undo + time.Minute)
	_, err = w.store.RestoreUploads(ctx, alice, other)
	w.wantCode(err, store.CodeNotFound, "too late")
	before := w.blobCount()
	if r := w.sweep(store.SweepOptions{}); r.Uploads != 1 || len(r.Errors) != 0 {
		t.Errorf("the sweep: %+v", r)
	}
	if n := w.blobCount(); n != before-1 {
		t.Errorf("%d blobs are left of %d", n, before)
	}
	uploads(2, 3)

	// 4. What is permanent is not discarded.
	_, _, err = w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{a.Token}})
	w.ok(err)
	w.wantCode(w.store.DiscardUploads(ctx, alice, batch, []store.Token{a.Token}), store.CodeConflict, "a permanent one")
}

// TestDiscardWithoutUndo takes the bytes at once.
func TestDiscardWithoutUndo(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, func(o *store.Options) { o.Undo = 0 })
	u, batch := w.mustUpload(alice, "x"), store.NewBatchID()
	w.ok(w.store.DiscardUploads(ctx, alice, batch, []store.Token{u.Token}))
	_, err := w.store.RestoreUploads(ctx, alice, batch)
	w.wantCode(err, store.CodeNotFound, "without an undo time")
	w.sweep(store.SweepOptions{})
	w.wantClean("discarded")
}

// TestDiscardKeepsTheQuota: what was put aside may find its place taken.
func TestDiscardKeepsTheQuota(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	w := newWorld(t, func(o *store.Options) { o.Limits.OwnerBytes = 10 })
	u, batch := w.mustUpload(alice, "12345678"), store.NewBatchID()
	w.ok(w.store.DiscardUploads(ctx, alice, batch, []store.Token{u.Token}))
	w.mustUpload(alice, "12345678")
	_, err := w.store.RestoreUploads(ctx, alice, batch)
	w.wantCode(err, store.CodeQuotaExceeded, "the place is taken")
	w.wantClean("over the quota")
}
