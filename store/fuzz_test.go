package store_test

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"upload-service/store"
	"upload-service/store/kv"
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

// FuzzRecord: a record that makes no sense is an error for whoever asks for
// it, and never a panic.
func FuzzRecord(f *testing.F) {
	w := newWorld(f)
	w.mustPut(alice, "a", "x")
	u := w.mustUpload(alice, "u")
	var records [][]byte
	var keys [][]byte
	w.ok(w.kv.View(f.Context(), func(tx kv.Tx) error {
		for _, prefix := range []string{"f/", "u/", "o/", "q/", "z/", "g/"} {
			err := tx.Scan([]byte(prefix), []byte(prefix+"\xff"), 10, func(k, v []byte) bool {
				keys, records = append(keys, bytes.Clone(k)), append(records, bytes.Clone(v))
				return true
			})
			if err != nil {
				return err
			}
		}
		return nil
	}))
	for i, r := range records {
		f.Add(uint8(i), r)
		f.Add(uint8(i), bytes.Replace(r, []byte(`"ready"`), []byte(`"receiving"`), 1))
		f.Add(uint8(i), []byte{1, '{', '}'})
		f.Add(uint8(i), []byte{2})
	}
	f.Fuzz(func(t *testing.T, which uint8, value []byte) {
		if len(value) > 1<<16 || json.Valid(value) {
			return // no version byte: never written
		}
		key, good := keys[int(which)%len(keys)], records[int(which)%len(keys)]
		put := func(v []byte) {
			if err := w.kv.Update(context.Background(), "", func(tx kv.Tx) error { return tx.Put(key, v) }); err != nil {
				t.Fatal(err)
			}
		}
		put(value)
		defer put(good)
		ctx := t.Context()
		w.store.GetFile(ctx, alice, "a")                                                   //nolint:errcheck // an error is fine, a panic is not
		w.store.ListFiles(ctx, alice, store.Query{Limit: 10})                              //nolint:errcheck // an error is fine, a panic is not
		w.store.GetUpload(ctx, alice, u.Token)                                             //nolint:errcheck // an error is fine, a panic is not
		w.store.ListUploads(ctx, alice, 10, "")                                            //nolint:errcheck // an error is fine, a panic is not
		w.store.OwnerByID(ctx, alice)                                                      //nolint:errcheck // an error is fine, a panic is not
		w.store.UsageOf(ctx, alice)                                                        //nolint:errcheck // an error is fine, a panic is not
		w.store.Sweep(ctx, store.SweepOptions{DryRun: true})                               //nolint:errcheck // an error is fine, a panic is not
		store.Check(ctx, w.opts, store.CheckOptions{Content: true}, func(bool, string) {}) //nolint:errcheck // an error is fine, a panic is not
		if turn, err := w.store.TakeTurn(ctx, alice, u.Token, nil); err == nil {
			turn.Append(ctx, bytes.NewReader(nil), store.Piece{Length: -1, Last: store.AtLength}) //nolint:errcheck // an error is fine, a panic is not
			turn.Release()
		}
	})
}
