package store_test

import (
	"crypto/sha256"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"upload-service/store"
)

func TestPersist(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	u := w.mustUpload(alice, "one", "two")
	req := store.Persist{Tokens: []store.Token{u.Token}, Folder: "in/", Tags: []string{"b", "a", "a"}}

	files, repeated, err := w.store.PersistUploads(ctx, alice, req)
	w.ok(err)
	if repeated || len(files) != 2 || files[0].Path != "in/a" || len(files[0].Tags) != 2 {
		t.Fatalf("got %+v repeated %v", files, repeated)
	}
	w.wantFile(alice, "in/a", "one")
	w.wantFile(alice, "in/b", "two")
	if got, want := w.usage(alice), (store.Usage{Files: 2, FileBytes: 6}); got != want {
		t.Errorf("usage: got %+v, want %+v", got, want)
	}

	again, repeated, err := w.store.PersistUploads(ctx, alice, req)
	w.ok(err)
	if !repeated || len(again) != 2 || again[0].ID != files[0].ID {
		t.Errorf("repeated: got %+v %v", again, repeated)
	}
	req.Folder = "elsewhere"
	_, _, err = w.store.PersistUploads(ctx, alice, req)
	w.wantCode(err, store.CodeConflict, "a different request")
	w.wantCode(w.store.DeleteUpload(ctx, alice, u.Token), store.CodeConflict, "delete a persisted upload")
	w.wantFile(alice, "in/a", "one")
	w.wantClean("after persist")

	w.clock.advance(ttl + time.Minute)
	w.sweep(store.SweepOptions{})
	_, _, err = w.store.PersistUploads(ctx, alice, req)
	w.wantCode(err, store.CodeNotFound, "after the tombstone")
	w.wantFile(alice, "in/a", "one")
}

// TestTombstone: what is left of a persisted upload answers HEAD and the same
// persist again, and keeps nothing that nobody asks for.
func TestTombstone(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustPut(alice, "f", "in the way")
	sum := sha256.Sum256([]byte("content"))
	u := w.begin(alice, store.Begin{
		Name: "f", Length: 7, Purpose: "invoice", Label: "its label", Want: store.Digest{SHA256: sum[:]},
		Then: &store.Goal{OnConflict: store.Fail},
	})
	_, err := w.append(u, "content", store.Piece{Last: store.AtLength})
	w.wantCode(err, store.CodeConflict, "a file that is there")
	req := store.Persist{
		Tokens: []store.Token{u.Token}, Folder: "to", Metadata: map[string]string{"k": "v"}, Tags: []string{"t"},
		Expect: store.Expect{Purpose: "invoice"},
	}
	first, _, err := w.store.PersistUploads(t.Context(), alice, req)
	w.ok(err)
	again, repeated, err := w.store.PersistUploads(t.Context(), alice, req)
	w.ok(err)
	if !repeated || !reflect.DeepEqual(first, again) {
		t.Errorf("became %+v, and again %+v", first, again)
	}
	u, err = w.store.GetUpload(t.Context(), alice, u.Token)
	w.ok(err)
	want := store.Growth{Offset: 7, Length: 7, Label: "its label"}
	if u.Purpose != "" || u.Growth == nil || !reflect.DeepEqual(*u.Growth, want) {
		t.Errorf("left are %q and %+v", u.Purpose, u.Growth)
	}
}

// TestLargestPersist persists as much as one upload can bring, with all the
// metadata that a file can have: the records stay within what the seam takes.
func TestLargestPersist(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Tree = nil })
	ctx := t.Context()
	in, err := w.store.Receive(ctx, alice, store.Spec{Size: -1})
	w.ok(err)
	defer in.Close(ctx)
	segment := strings.Repeat("<", 250)
	for i := range store.MaxParts {
		name := fmt.Sprintf("%s/%s/%s/%04d", segment, segment, segment, i)
		_, err := in.Add(ctx, strings.NewReader(""), store.Content{Name: w.path(name)})
		w.ok(err)
	}
	_, err = in.Add(ctx, strings.NewReader(""), store.Content{Name: "one more"})
	w.wantCode(err, store.CodeTooLarge, "one part more")
	u, err := in.StoreUpload(ctx, "")
	w.ok(err)
	more := w.mustUpload(alice, "one more")
	_, _, err = w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{u.Token, more.Token}})
	w.wantCode(err, store.CodeInvalid, "more contents than one transaction takes")
	w.ok(w.store.DeleteUpload(ctx, alice, more.Token))
	w.sweep(store.SweepOptions{})
	meta := map[string]string{}
	for i := range store.MaxMetadataKeys {
		meta[fmt.Sprintf("k%d", i)] = strings.Repeat("<", store.MaxMetadataValue)
	}
	req := store.Persist{Tokens: []store.Token{u.Token}, Folder: segment, Metadata: meta}
	files, _, err := w.store.PersistUploads(ctx, alice, req)
	w.ok(err)
	again, repeated, err := w.store.PersistUploads(ctx, alice, req)
	w.ok(err)
	if len(files) != store.MaxParts || !repeated || !reflect.DeepEqual(again[7].Metadata, files[7].Metadata) {
		t.Errorf("got %d files, repeated %v", len(files), repeated)
	}
	w.wantClean("after the largest persist")
}

func TestPersistRefusals(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	u := w.mustUpload(alice, "one")
	other := w.mustUpload(alice, "two")
	gone := w.mustUpload(alice, "three")
	w.ok(w.store.DeleteUpload(ctx, alice, gone.Token))
	w.mustPut(alice, "a", "taken")
	cases := []struct {
		name string
		as   store.OwnerID
		req  store.Persist
		want store.Code
	}{
		{"no tokens", alice, store.Persist{}, store.CodeInvalid},
		{"twice the same", alice, store.Persist{Tokens: []store.Token{u.Token, u.Token}}, store.CodeInvalid},
		{"somebody else", bob, store.Persist{Tokens: []store.Token{u.Token}}, store.CodeNotFound},
		{"unknown", alice, store.Persist{Tokens: []store.Token{store.NewToken()}}, store.CodeNotFound},
		{"deleted", alice, store.Persist{Tokens: []store.Token{gone.Token}, Folder: "x"}, store.CodeGone},
		{"taken", alice, store.Persist{Tokens: []store.Token{u.Token}}, store.CodeConflict},
		{"the second is taken", alice, store.Persist{Tokens: []store.Token{other.Token, u.Token}, Folder: "f"}, store.CodeConflict},
		{"bad folder", alice, store.Persist{Tokens: []store.Token{u.Token}, Folder: "../x"}, store.CodeInvalid},
		{"bad metadata", alice, store.Persist{Tokens: []store.Token{u.Token}, Folder: "x", Metadata: map[string]string{"A": "x"}}, store.CodeInvalid},
		{"another digest", alice, store.Persist{Tokens: []store.Token{u.Token}, Folder: "x", Expect: store.Expect{SHA256: sumOf("else")}}, store.CodeConflict},
		{"another purpose", alice, store.Persist{Tokens: []store.Token{u.Token}, Folder: "x", Expect: store.Expect{Purpose: "p"}}, store.CodeConflict},
		{"one of two is gone", alice, store.Persist{Tokens: []store.Token{u.Token, gone.Token}, Folder: "x"}, store.CodeGone},
	}
	for _, c := range cases {
		_, _, err := w.store.PersistUploads(ctx, c.as, c.req)
		w.wantCode(err, c.want, c.name)
	}
	page, err := w.store.ListFiles(ctx, alice, store.Query{Limit: 10, Sort: store.ByPath})
	w.ok(err)
	if len(page.Files) != 1 {
		t.Errorf("a refused request stored something: %+v", page.Files)
	}
	_, _, err = w.store.PersistUploads(ctx, alice, store.Persist{
		Tokens: []store.Token{u.Token}, Folder: "x", Expect: store.Expect{SHA256: sumOf("one")},
	})
	w.wantCode(err, "", "the right digest")
}

func TestPersistOnConflict(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	w.mustPut(alice, "a", "old")
	rename := func(want store.Path) {
		t.Helper()
		u := w.mustUpload(alice, "new")
		files, _, err := w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{u.Token}, OnConflict: store.Rename})
		w.ok(err)
		if files[0].Path != want {
			t.Errorf("renamed to %s, want %s", files[0].Path, want)
		}
	}
	rename("a (1)")
	rename("a (2)")
	u := w.mustUpload(alice, "new")
	files, _, err := w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{u.Token}, OnConflict: store.Replace})
	w.ok(err)
	if files[0].Version != 2 {
		t.Errorf("version %d, want 2", files[0].Version)
	}
	w.wantFile(alice, "a", "new")
	w.wantNoFindings("after renames")
}

// TestInvariant3 lets persist, delete, replace, expire and sweep meet on the
// same uploads and paths. Each request gets a clear answer, and what was
// acknowledged last at a path is there.
// TestPersistWantedTwice: of two contents that come together under one name
// neither replaces the other.
func TestPersistWantedTwice(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	one, two := w.mustUpload(alice, "first"), w.mustUpload(alice, "second")
	both := []store.Token{one.Token, two.Token}
	for _, c := range []store.OnConflict{store.Fail, store.Replace} {
		_, _, err := w.store.PersistUploads(ctx, alice, store.Persist{Tokens: both, OnConflict: c})
		w.wantCode(err, store.CodeConflict, string(c))
	}
	files, _, err := w.store.PersistUploads(ctx, alice, store.Persist{Tokens: both, OnConflict: store.Rename})
	w.ok(err)
	w.wantFile(alice, string(files[0].Path), "first")
	w.wantFile(alice, string(files[1].Path), "second")
}

func TestInvariant3(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	for range 30 {
		u := w.mustUpload(alice, "upload")
		w.clock.advance(ttl - time.Second) // about to expire
		var wg sync.WaitGroup
		var persisted, deleted, late int
		var mu sync.Mutex
		count := func(n *int) { mu.Lock(); *n++; mu.Unlock() }
		for range 3 {
			wg.Go(func() {
				_, repeated, err := w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{u.Token}, OnConflict: store.Replace})
				switch store.CodeOf(err) {
				case "":
					if !repeated {
						count(&persisted)
					}
				case store.CodeGone:
					count(&late)
				default:
					t.Errorf("persist: %v", err)
				}
			})
		}
		wg.Go(func() {
			switch err := w.store.DeleteUpload(ctx, alice, u.Token); store.CodeOf(err) {
			case "":
				count(&deleted)
			case store.CodeConflict, store.CodeGone:
			default:
				t.Errorf("delete: %v", err)
			}
		})
		wg.Go(func() {
			w.clock.advance(2 * time.Second) // now it has expired
			if _, err := w.store.Sweep(ctx, store.SweepOptions{}); err != nil {
				t.Errorf("sweep: %v", err)
			}
		})
		wg.Wait()
		if persisted > 1 || persisted == 1 && deleted == 1 {
			t.Fatalf("persisted %d times and deleted %d times", persisted, deleted)
		}
		if persisted == 1 {
			w.wantFile(alice, "a", "upload")
		}
		// Replace, delete and restore on one path.
		for range 4 {
			wg.Go(func() {
				if _, err := w.put(alice, "p", "direct"); err != nil {
					t.Errorf("put: %v", err)
				}
			})
			wg.Go(func() {
				if err := w.store.DeleteFile(ctx, alice, "p", store.Condition{}); err != nil && store.CodeOf(err) != store.CodeNotFound {
					t.Errorf("delete: %v", err)
				}
			})
		}
		wg.Wait()
		w.mustPut(alice, "p", "last")
		w.wantFile(alice, "p", "last")
	}
	w.wantNoFindings("after the races")
	w.clock.advance(2 * ttl)
	w.sweep(store.SweepOptions{})
	w.wantClean("one sweep later")
}
