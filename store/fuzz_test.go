package store_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"upload-service/store"
	"upload-service/store/blob"
	"upload-service/store/blob/disk"
	"upload-service/store/kv"
	"upload-service/store/kv/kvtest"
)

// FuzzCursor: no cursor makes a listing leave its owner, or fail in another
// way than by telling so.
func FuzzCursor(f *testing.F) {
	w := newWorld(f)
	for _, path := range []string{"a", "b/c", "b/d", "e"} {
		w.mustPut(alice, path, "x")
		w.mustPut(bob, path, "y")
	}
	w.mustUpload(alice, "u")
	w.mustUpload(bob, "v")
	page, err := w.store.ListFiles(f.Context(), alice, store.Query{Limit: 1})
	w.ok(err)
	f.Add(page.Next)
	f.Add("")
	f.Add("AAAA")
	f.Add("Z2l0aHViOjI")
	f.Fuzz(func(t *testing.T, cursor string) {
		for _, q := range []store.Query{{}, {Prefix: "b/", Delimiter: true}, {Sort: store.Newest}} {
			q.Limit, q.Cursor = 2, cursor
			page, err := w.store.ListFiles(t.Context(), alice, q)
			if err != nil && store.CodeOf(err) != store.CodeInvalid {
				t.Fatalf("%q: %v", cursor, err)
			}
			for _, file := range page.Files {
				if file.Owner != alice {
					t.Fatalf("%q: leads to %s of %s", cursor, file.Path, file.Owner)
				}
			}
		}
		uploads, _, err := w.store.ListUploads(t.Context(), alice, 2, cursor)
		if err != nil && store.CodeOf(err) != store.CodeInvalid {
			t.Fatalf("%q: %v", cursor, err)
		}
		for _, u := range uploads {
			if u.Owner != alice {
				t.Fatalf("%q: leads to an upload of %s", cursor, u.Owner)
			}
		}
	})
}

// undeleted keeps every blob.
type undeleted struct{ *disk.Store }

func (undeleted) Delete(_ context.Context, refs ...blob.Ref) ([]blob.Ref, error) { return refs, nil }

// FuzzRecord: a record that makes no sense is an error for whoever asks for
// it, and never a panic.
func FuzzRecord(f *testing.F) {
	// 1. A record of every kind, and of every state of an upload.
	s := &kvtest.Supposed{}
	w := newWorld(f, func(o *store.Options) {
		s.Store = o.KV.(interface{ Unwrap() kv.Store }).Unwrap() // once is enough here
		o.KV, o.Blobs, o.Tree = s, undeleted{o.Blobs.(*disk.Store)}, nil
	})
	ctx := f.Context()
	w.old("carol/adopted", "old")
	w.old("carol/"+token+"/waiting", "old, too")
	w.adopt(nil)
	kept, moved, gone := w.mustPut(alice, "a", "x"), w.mustPut(alice, "m/moved", "x"), w.mustPut(alice, "gone", "x")
	w.mustPut(alice, "a", "replaced")
	move, batch := store.NewBatchID(), store.NewBatchID()
	_, err := w.store.MoveFiles(ctx, alice, move, []store.FileID{moved.ID}, nil, "to")
	w.ok(err)
	w.ok(w.store.DeleteFiles(ctx, alice, batch, []store.FileID{gone.ID}))
	part := func(content string) store.Token {
		u := w.begin(alice, store.Begin{Length: int64(len(content)), Partial: true})
		return w.mustAppend(u, content, store.Piece{Last: store.AtLength}).Token
	}
	_, err = w.store.Concatenate(ctx, alice, []store.Token{part("zero")}, store.Begin{}) // the part is garbage
	w.ok(err)
	w.sweep(store.SweepOptions{}) // its report
	dropped := w.mustUpload(alice, "dropped")
	w.ok(w.store.DeleteUpload(ctx, alice, dropped.Token))
	ready, became := w.mustUpload(alice, "u", "v"), w.mustUpload(alice, "w")
	persist := store.Persist{Tokens: []store.Token{became.Token}, Folder: "p", Tags: []string{"t"}}
	_, _, err = w.store.PersistUploads(ctx, alice, persist)
	w.ok(err)
	begun := w.begin(alice, store.Begin{Length: 5, Then: &store.Goal{OnConflict: store.Rename}})
	growing := w.mustAppend(w.begin(alice, store.Begin{Length: 9, Label: "l"}), "1234", store.Piece{})
	used, parts := []store.Token{part("one")}, []store.Token{part("two"), part("three")}
	whole, err := w.store.Concatenate(ctx, alice, used, store.Begin{})
	w.ok(err)
	w.sweep(store.SweepOptions{DryRun: true}) // a preview
	w.ok(w.kv.Update(ctx, "", func(tx kv.Tx) error {
		return tx.Put([]byte("d/carol/adopted"), []byte("\x01"+`{"size":1,"modified":"2026-01-02T03:04:05Z"}`))
	}))
	root, err := os.OpenRoot(w.dir)
	w.ok(err)
	defer root.Close()

	var keys, records [][]byte
	kinds := map[string]bool{}
	w.ok(w.kv.View(ctx, func(tx kv.Tx) error {
		return tx.Scan([]byte{0}, []byte{0xff}, 1000, func(k, v []byte) bool {
			if kind := string(k[:2]); kind == "u/" || !kinds[kind] {
				kinds[kind] = true
				keys, records = append(keys, bytes.Clone(k)), append(records, bytes.Clone(v))
			}
			return true
		})
	}))
	for kind := range strings.FieldsSeq("m/ o/ l/ q/ u/ n/ f/ i/ c/ z/ y/ b/ g/ e/ x/ h/ d/ w/ r/") {
		if !kinds[kind] {
			f.Errorf("there is no record of the kind %s", kind)
		}
	}
	for i, r := range records {
		f.Add(uint8(i), r)
		for _, state := range []store.State{store.Receiving, store.Ready, store.Persisted, store.Gone} {
			from := regexp.MustCompile(`"state":"[a-z]+"`)
			if to := from.ReplaceAll(r, []byte(`"state":"`+state+`"`)); !bytes.Equal(to, r) {
				f.Add(uint8(i), to)
				f.Add(uint8(i), regexp.MustCompile(`"(parts|growth)":.*?[}\]]+,`).ReplaceAll(to, nil))
			}
		}
		f.Add(uint8(i), []byte{1, '{', '}'})
		f.Add(uint8(i), []byte{2})
		f.Add(uint8(i), []byte("f"))
	}

	// 2. Whatever it is instead, no method panics.
	f.Fuzz(func(t *testing.T, which uint8, value []byte) {
		if len(value) > 1<<16 {
			return
		}
		s.Set(keys[int(which)%len(keys)], value, 10000)
		defer s.Set(nil, nil, 0)
		ctx := t.Context()
		asked := func(what string, err error) {
			if errors.Is(err, kv.ErrPanic) {
				t.Errorf("%s: %v", what, err)
			}
		}
		for _, path := range []store.Path{"a", "to/moved", "p/a"} {
			file, err := w.store.GetFile(ctx, alice, path)
			asked("get", err)
			if err == nil {
				asked("by id", w.store.DeleteFileByID(ctx, alice, file.ID, store.Condition{Match: []string{file.ETag()}}))
			}
		}
		for _, q := range []store.Query{{}, {Delimiter: true}, {Sort: store.Newest, Tags: []string{"t"}}} {
			q.Limit = 10
			_, err := w.store.ListFiles(ctx, alice, q)
			asked("list", err)
		}
		_, err := w.store.RestoreFile(ctx, alice, kept.ID)
		asked("restore", err)
		name := "changed"
		_, err = w.store.ChangeFile(ctx, alice, kept.ID, store.Change{Metadata: map[string]*string{"k": &name}}, store.Condition{})
		asked("change", err)
		for _, b := range []store.BatchID{move, batch} {
			_, _, err = w.store.RestoreBatch(ctx, alice, b)
			asked("restore a batch", err)
		}
		asked("delete files", w.store.DeleteFiles(ctx, alice, batch, []store.FileID{kept.ID, moved.ID}))
		_, err = w.store.MoveFiles(ctx, alice, move, []store.FileID{kept.ID}, []string{"to"}, "p")
		asked("move", err)

		all := slices.Concat(parts, used, []store.Token{
			ready.Token, became.Token, begun.Token, growing.Token, whole.Token, dropped.Token,
		})
		if keys[int(which)%len(keys)][0] != 'u' {
			all = all[:1] // nothing else decides about an upload, and bytes take their time
		}
		for _, token := range all {
			_, err := w.store.Touch(ctx, alice, token)
			asked("touch", err)
			asked("drop", w.store.DeleteUpload(ctx, alice, token))
			_, _, err = w.store.PersistUploads(ctx, alice, store.Persist{Tokens: []store.Token{token}})
			asked("persist", err)
			turn, err := w.store.TakeTurn(ctx, alice, token, nil)
			asked("turn", err)
			if err == nil {
				p := store.Piece{Length: -1, Size: -1, Last: store.LastPiece}
				if g := turn.Upload().Growth; g != nil {
					p.Offset = g.Offset
				}
				asked("append", turn.Append(ctx, strings.NewReader("y"), p))
				turn.Release()
			}
		}
		_, _, err = w.store.PersistUploads(ctx, alice, persist)
		asked("persist again", err)
		for _, tokens := range [][]store.Token{used, parts}[:min(len(all), 2)] {
			_, err = w.store.Concatenate(ctx, alice, tokens, store.Begin{})
			asked("concatenate", err)
		}
		uploads, _, err := w.store.ListUploads(ctx, alice, 10, "")
		asked("uploads", err)
		for _, u := range uploads {
			if len(u.Parts) == 0 || u.State == store.Receiving && u.Growth == nil {
				t.Errorf("an upload without what its state promises: %+v", u)
			}
		}

		_, err = w.store.OwnerBySlug(ctx, "alice")
		asked("owner", err)
		_, err = w.store.EnsureOwner(ctx, alice, "alice")
		asked("ensure owner", err)
		_, _, err = w.store.ListOwners(ctx, 10, "")
		asked("owners", err)
		_, err = w.store.Stats(ctx)
		asked("stats", err)
		_, err = w.store.AdoptionDue(ctx)
		asked("adoption", err)
		_, err = w.store.ListSweeps(ctx)
		asked("sweeps", err)
		if kind := keys[int(which)%len(keys)][0]; kind == 'd' || kind == 'm' {
			a, err := w.store.BeginAdoption(ctx, store.AdoptOptions{Root: root, Left: func(string, string) {}})
			asked("begin an adoption", err)
			if err == nil {
				_, err = a.Run(ctx)
				asked("adopt", err)
			}
			if _, gone := root.Stat("carol/adopted"); gone != nil || kind == 'd' && err != nil {
				t.Errorf("a name to remove that makes no sense: %v, %v", gone, err)
			}
		}
		w.clock.advance(2 * ttl)
		defer w.clock.advance(-2 * ttl)
		for _, dry := range []bool{true, false} {
			r, err := w.store.Sweep(ctx, store.SweepOptions{DryRun: dry})
			asked("sweep", err)
			if strings.Contains(strings.Join(r.Errors, "\n"), kv.ErrPanic.Error()) {
				t.Errorf("sweep: %q", r.Errors)
			}
		}
		opts := w.opts
		opts.Tree = nil // it is not what is asked
		_, err = store.Check(ctx, opts, store.CheckOptions{Content: true}, func(store.Outcome, string) {})
		asked("check", err)
		_, err = w.store.DigestAdopted(ctx)
		asked("digest", err)
		s.Set(keys[int(which)%len(keys)], value, 20)
		_, err = w.store.Claim(ctx, "carol", bob)
		asked("claim", err)
	})
}
