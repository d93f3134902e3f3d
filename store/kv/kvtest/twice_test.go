package kvtest_test

import (
	"errors"
	"path/filepath"
	"testing"

	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
	"upload-service/store/kv/kvtest"
)

func TestTwice(t *testing.T) {
	t.Parallel()
	inner, err := bolt.Open(filepath.Join(t.TempDir(), "meta.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := kvtest.Twice(inner)
	defer s.Close()

	// A function with a side effect shows it twice, and commits once.
	runs := 0
	err = s.Update(t.Context(), "", func(tx kv.Tx) error {
		runs++
		got, err := tx.Get([]byte("key"))
		if got != nil {
			t.Errorf("run %d sees %q, want nothing of the run before", runs, got)
		}
		return errors.Join(err, tx.Put([]byte("key"), []byte("value")))
	})
	if err != nil || runs != 2 {
		t.Fatalf("Update: %d runs, %v; want 2", runs, err)
	}

	// What a function keeps is spoiled.
	var kept [3][]byte
	err = s.View(t.Context(), func(tx kv.Tx) error {
		got, err := tx.Get([]byte("key"))
		kept[0] = got
		return errors.Join(err, tx.Scan(nil, nil, 1, func(k, v []byte) bool {
			kept[1], kept[2] = k, v
			if string(k) != "key" || string(v) != "value" || string(got) != "value" {
				t.Errorf("inside: %q=%q, Get %q; want key=value, value", k, v, got)
			}
			return true
		}))
	})
	if err != nil {
		t.Fatalf("View: %v", err)
	}
	for i, p := range kept {
		if len(p) == 0 || p[0] != 0xDB {
			t.Errorf("slice %d still reads %q after the transaction", i, p)
		}
	}

	// Writing into what was handed out is found, also in a run that fails.
	err = s.Update(t.Context(), "", func(tx kv.Tx) error {
		got, err := tx.Get([]byte("key"))
		got[0] = 'V'
		return errors.Join(err, errors.New("refused"))
	})
	if !errors.Is(err, kvtest.ErrWrote) {
		t.Errorf("Update that writes into a slice: %v, want %v", err, kvtest.ErrWrote)
	}
}
