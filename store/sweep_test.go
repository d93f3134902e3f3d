package store_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"upload-service/store"
	"upload-service/store/kv"
)

func TestSweep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	abandoned := w.mustUpload(alice, "12345", "678")
	w.clock.advance(ttl / 2)
	touched := w.mustUpload(alice, "touched")
	w.mustPut(alice, "f", "old!")
	w.mustPut(alice, "f", "new")
	w.clock.advance(ttl/2 + time.Minute)

	_, err := w.store.GetUpload(ctx, alice, abandoned.Token)
	w.wantCode(err, store.CodeGone, "expired and not swept yet")
	_, err = w.store.Touch(ctx, alice, abandoned.Token)
	w.wantCode(err, store.CodeGone, "touch an expired upload")
	before, err := w.store.Touch(ctx, alice, touched.Token)
	w.ok(err)

	dry := w.sweep(store.SweepOptions{DryRun: true})
	if dry.Uploads != 1 || dry.Blobs != 3 || dry.Bytes != 12 || dry.Preview == "" || len(dry.Items) != 2 {
		t.Errorf("dry run: %+v", dry)
	}
	if n := w.blobCount(); n != 5 {
		t.Fatalf("a dry run removed something: %d blobs, want 5", n)
	}
	real := w.sweep(store.SweepOptions{})
	if real.Uploads != dry.Uploads || real.Blobs != dry.Blobs || real.Bytes != dry.Bytes || len(real.Errors) != 0 {
		t.Errorf("the sweep did %+v, the dry run said %+v", real, dry)
	}
	if n := w.blobCount(); n != 2 {
		t.Errorf("%d blobs are left, want 2", n)
	}
	_, err = w.store.GetUpload(ctx, alice, abandoned.Token)
	w.wantCode(err, store.CodeGone, "the tombstone")
	w.wantFile(alice, "f", "new")
	after, err := w.store.GetUpload(ctx, alice, touched.Token)
	w.ok(err)
	if !after.ExpiresAt.Equal(before.ExpiresAt) {
		t.Error("the sweep changed an upload that is not due")
	}
	w.wantClean("after the sweep")
	if again := w.sweep(store.SweepOptions{}); again.Uploads+again.Blobs != 0 {
		t.Errorf("a second sweep found %+v", again)
	}
	list, err := w.store.ListSweeps(ctx)
	w.ok(err)
	if len(list) != 1 || list[0].Bytes != 12 {
		t.Errorf("the history is %+v", list)
	}
	w.clock.advance(3 * ttl)
	w.sweep(store.SweepOptions{})
	_, err = w.store.GetUpload(ctx, alice, abandoned.Token)
	w.wantCode(err, store.CodeNotFound, "after the tombstone")
}

func TestTouchIsCapped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustUpload(alice, "x")
	for range 20 {
		w.clock.advance(ttl / 2)
		if _, err := w.store.Touch(t.Context(), alice, u.Token); err != nil {
			w.wantCode(err, store.CodeGone, "touch")
			break
		}
	}
	_, err := w.store.GetUpload(t.Context(), alice, u.Token)
	w.wantCode(err, store.CodeGone, "after the cap")
}

// TestPreviewIsExact changes things between a dry run and its execution.
func TestPreviewIsExact(t *testing.T) {
	t.Parallel()
	var late func() // called once, between a request's look at the clock and its transaction
	w := newWorld(t, func(o *store.Options) {
		now := o.Now
		o.Now = func() time.Time {
			at, f := now(), late
			if late = nil; f != nil {
				f()
			}
			return at
		}
	})
	ctx := t.Context()
	w.mustUpload(alice, "abandoned")
	used := w.mustUpload(alice, "used since")
	held := w.begin(alice, store.Begin{Length: 10})
	held = w.mustAppend(held, "held", store.Piece{Last: store.AtLength})
	w.clock.advance(ttl - time.Minute)
	later := w.mustUpload(alice, "not due in the dry run")
	f := w.mustPut(alice, "f", "deleted after the dry run")

	// An append of one upload has begun, and a persist of another one is just
	// in time, when both expire and the dry run looks. The append ends without
	// a byte; the persist commits.
	turn, err := w.store.TakeTurn(ctx, alice, held.Token, nil)
	w.ok(err)
	var dry store.SweepReport
	late = func() {
		w.clock.advance(ttl/10 + time.Minute)
		dry = w.sweep(store.SweepOptions{DryRun: true})
	}
	files, _, err := w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{used.Token}})
	w.ok(err)
	turn.Release()
	if dry.Uploads != 3 {
		t.Fatalf("dry run: %+v", dry)
	}

	w.ok(w.store.DeleteFile(ctx, alice, "f", store.Condition{}))
	w.clock.advance(previewWait)
	done := w.sweep(store.SweepOptions{Preview: dry.Preview})
	var listed, removed []string
	for _, i := range dry.Items {
		if i.ID != string(used.Token) {
			listed = append(listed, i.ID)
		}
	}
	for _, i := range done.Items {
		removed = append(removed, i.ID)
	}
	slices.Sort(listed)
	slices.Sort(removed)
	if !slices.Equal(removed, listed) || done.Uploads != 2 || done.Bytes != dry.Bytes-files[0].Size {
		t.Errorf("the preview removed %+v, it said %+v", done, dry)
	}
	w.wantFile(alice, string(files[0].Path), "used since")
	if _, err := w.store.GetUpload(ctx, alice, later.Token); err != nil {
		t.Errorf("an upload that was not due is gone: %v", err)
	}
	if _, err := w.store.RestoreFile(ctx, alice, f.ID); err != nil {
		t.Errorf("a file deleted after the dry run cannot be restored: %v", err)
	}
	_, err = w.store.Sweep(ctx, store.SweepOptions{Preview: "unknown"})
	w.wantCode(err, store.CodeGone, "an unknown preview")
	w.clock.advance(2 * time.Hour)
	_, err = w.store.Sweep(ctx, store.SweepOptions{Preview: dry.Preview})
	w.wantCode(err, store.CodeGone, "an old preview")
}

const previewWait = 5 * time.Minute

func TestSweepNarrowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustUpload(alice, "a")
	w.mustUpload(bob, "b")
	w.clock.advance(ttl + time.Minute)
	if r := w.sweep(store.SweepOptions{OlderThan: 2 * ttl}); r.Uploads != 0 {
		t.Errorf("older_than does not narrow: %+v", r)
	}
	if r := w.sweep(store.SweepOptions{Owner: bob}); r.Uploads != 1 || r.Items[0].Owner != bob {
		t.Errorf("owner does not narrow: %+v", r)
	}
	if r := w.sweep(store.SweepOptions{}); r.Uploads != 1 || r.Items[0].Owner != alice {
		t.Errorf("the rest: %+v", r)
	}
}

// TestStuckFile puts a folder where a blob was, which cannot be unlinked: the
// sweep says so, removes everything else, and tries again next time.
func TestStuckFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Undo = 0; o.Tree = nil })
	ctx := t.Context()
	stuck := w.mustPut(alice, "stuck", "stuck")
	w.mustPut(alice, "other", "other")
	name := filepath.Join(w.dir, ".upload-service", "blobs", filepath.FromSlash(string(stuck.Blob)))
	w.ok(os.Remove(name))
	w.ok(os.MkdirAll(filepath.Join(name, "in the way"), 0o755))
	w.ok(w.store.DeleteFile(ctx, alice, "stuck", store.Condition{}))
	w.ok(w.store.DeleteFile(ctx, alice, "other", store.Condition{}))

	r := w.sweep(store.SweepOptions{})
	if r.Blobs != 1 || len(r.Errors) != 1 || !strings.Contains(r.Errors[0], string(stuck.Blob)) {
		t.Errorf("got %+v, want one blob removed and one error about %s", r, stuck.Blob)
	}
	w.ok(os.RemoveAll(name))
	if r := w.sweep(store.SweepOptions{}); r.Blobs != 1 || len(r.Errors) != 0 {
		t.Errorf("the next sweep: %+v", r)
	}
	w.wantClean("after the second sweep")
}

// TestDamagedRecord breaks one record that is due: the sweep reports it and
// removes the rest.
func TestDamagedRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	u := w.mustUpload(alice, "damaged")
	w.mustUpload(alice, "fine")
	w.tamper("u/", func(k []byte) bool { return strings.Contains(string(k), string(tokenBytes(t, u.Token))) }, []byte{1, '{'})
	w.clock.advance(ttl + time.Minute)
	r := w.sweep(store.SweepOptions{})
	if r.Uploads != 1 || len(r.Errors) != 1 {
		t.Errorf("got %+v, want one upload and one error", r)
	}
}

// tamper overwrites (or, with nil, deletes) the records with a prefix that
// match, behind the store's back.
func (w *world) tamper(prefix string, match func(k []byte) bool, value []byte) {
	w.t.Helper()
	n := 0
	w.ok(w.kv.Update(context.Background(), "", func(tx kv.Tx) error {
		var keys [][]byte
		err := tx.Scan([]byte(prefix), []byte(prefix[:1]+"0"), 1000, func(k, _ []byte) bool {
			if match == nil || match(k) {
				keys = append(keys, slices.Clone(k))
			}
			return true
		})
		n = len(keys)
		for _, k := range keys {
			if err != nil {
				return err
			}
			if value == nil {
				err = tx.Delete(k)
			} else {
				err = tx.Put(k, value)
			}
		}
		return err
	}))
	if n == 0 {
		w.t.Fatalf("nothing with the prefix %s to tamper with", prefix)
	}
}

func tokenBytes(t *testing.T, token store.Token) []byte {
	t.Helper()
	id, err := parseUUID(string(token))
	if err != nil {
		t.Fatal(err)
	}
	return id
}
