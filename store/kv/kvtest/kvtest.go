// Package kvtest is the conformance suite of the kv seam: the laws of package
// kv as tests. An engine that passes Run can be used by the domain.
//
// It also offers Twice and Supposed, stores for the tests of code that uses the
// seam.
//
// The suite itself keeps the laws: its transaction functions can run more than
// once, and it passes on a store wrapped by Twice.
package kvtest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"upload-service/store/kv"
)

// Run tests the engine that open opens. Open returns the store that belongs to
// t.Name(): empty at first, and with what was committed to it when it is
// opened again after it was closed. Run closes what it opens.
func Run(t *testing.T, open func(t *testing.T) kv.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, open func(t *testing.T) kv.Store)
	}{
		{"GetPutDelete", testGetPutDelete},
		{"ReadYourWrites", testReadYourWrites},
		{"Scan", testScan},
		{"ScanLimit", testScanLimit},
		{"ScanWhileWriting", testScanWhileWriting},
		{"Model", testModel},
		{"Sizes", testSizes},
		{"ReadOnly", testReadOnly},
		{"ArgumentsMayBeReused", testArgumentsMayBeReused},
		{"HandedOutStays", testHandedOutStays},
		{"FailingFn", testFailingFn},
		{"PanickingFn", testPanickingFn},
		{"PanickingView", testPanickingView},
		{"MixedBatch", testMixedBatch},
		{"CanceledContext", testCanceledContext},
		{"HotCounter", testHotCounter},
		{"WriteSkew", testWriteSkew},
		{"Phantom", testPhantom},
		{"ConstantSum", testConstantSum},
		{"ViewIsOneState", testViewIsOneState},
		{"ViewDuringUpdate", testViewDuringUpdate},
		{"SnapshotRunsOnce", testSnapshotRunsOnce},
		{"Reopen", testReopen},
		{"Close", testClose},
		{"CloseWaitsForReaders", testCloseWaitsForReaders},
		{"CloseRace", testCloseRace},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.run(t, func(t *testing.T) kv.Store {
				t.Helper()
				s := open(t)
				t.Cleanup(func() {
					if err := s.Close(); err != nil {
						t.Errorf("Close: %v", err)
					}
				})
				return s
			})
		})
	}
}

// errRefused is what functions of the suite fail with.
var errRefused = errors.New("refused")

const all = 1 << 30 // a scan limit that no test reaches

func testGetPutDelete(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error {
		return errors.Join(put(tx, "a", "1"), put(tx, "b", ""), put(tx, "c", "3"))
	})
	expect(t, s, "a=1 b= c=3")

	update(t, s, func(tx kv.Tx) error {
		return errors.Join(put(tx, "a", "one"), del(tx, "c"), del(tx, "absent"))
	})
	expect(t, s, "a=one b=")

	view(t, s, func(tx kv.Tx) error {
		for key, want := range map[string][]byte{"a": []byte("one"), "b": {}, "c": nil, "": nil} {
			got, err := tx.Get([]byte(key))
			if err != nil || string(got) != string(want) || (got == nil) != (want == nil) {
				t.Errorf("Get(%q) = %#v, %v; want %#v", key, got, err, want)
			}
		}
		return nil
	})
}

func testReadYourWrites(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return errors.Join(put(tx, "a", "1"), put(tx, "b", "2")) })
	update(t, s, func(tx kv.Tx) error {
		if err := errors.Join(put(tx, "a", "new"), put(tx, "c", ""), del(tx, "b")); err != nil {
			return err
		}
		for key, want := range map[string][]byte{"a": []byte("new"), "b": nil, "c": {}} {
			got, err := tx.Get([]byte(key))
			if err != nil || string(got) != string(want) || (got == nil) != (want == nil) {
				t.Errorf("Get(%q) = %#v, %v; want %#v", key, got, err, want)
			}
		}
		if err := errors.Join(put(tx, "b", "back"), del(tx, "c")); err != nil {
			return err
		}
		got, err := scan(tx, "", "", all)
		if want := "a=new b=back"; err != nil || got != want {
			t.Errorf("Scan = %q, %v; want %q", got, err, want)
		}
		return nil
	})
	expect(t, s, "a=new b=back")
}

func testScan(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	keys := []string{"a", "a\x00", "a\x00\x00", "ab", "b", "b\xff", "\xff", "\xff\xff"}
	update(t, s, func(tx kv.Tx) error {
		for _, i := range []int{3, 0, 7, 5} {
			if err := put(tx, keys[i], strconv.Itoa(i)); err != nil {
				return err
			}
		}
		return put(tx, "aa", "deleted below")
	})
	tests := []struct {
		name   string
		lo, hi string // hi "" is nil
		limit  int
		want   string // values, which are indexes of keys
	}{
		{"everything", "", "", all, "0 1 2 3 4 5 6 7"},
		{"lo is included", "ab", "", all, "3 4 5 6 7"},
		{"lo between keys", "aab", "", all, "3 4 5 6 7"},
		{"hi is excluded", "", "b", all, "0 1 2 3"},
		{"hi between keys", "", "b\x01", all, "0 1 2 3 4"},
		{"a prefix", "a\x00", "a\x01", all, "1 2"},
		{"limit", "a", "", 3, "0 1 2"},
		{"limit beyond hi", "a", "a\x00\x00", 3, "0 1"},
		{"one", "b", "", 1, "4"},
		{"behind the last", "\xff\xff\xff", "", all, ""},
		{"lo is hi", "b", "b", all, ""},
		{"lo above hi", "c", "a", all, ""},
	}
	check := func(tx kv.Tx) error {
		for _, tt := range tests {
			got, err := scan(tx, tt.lo, tt.hi, tt.limit)
			var values []string
			for _, pair := range strings.Fields(got) {
				_, value, _ := strings.Cut(pair, "=")
				values = append(values, value)
			}
			if got := strings.Join(values, " "); err != nil || got != tt.want {
				t.Errorf("%s: Scan = %q, %v; want %q", tt.name, got, err, tt.want)
			}
		}
		return nil
	}
	// Once over a mix of committed pairs and own writes, once all committed.
	update(t, s, func(tx kv.Tx) error {
		for _, i := range []int{6, 1, 4, 2, 5} {
			if err := put(tx, keys[i], strconv.Itoa(i)); err != nil {
				return err
			}
		}
		if err := del(tx, "aa"); err != nil {
			return err
		}
		return check(tx)
	})
	view(t, s, check)
}

func testScanLimit(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return errors.Join(put(tx, "a", "1"), put(tx, "b", "2")) })
	view(t, s, func(tx kv.Tx) error {
		for _, limit := range []int{0, -1} {
			if _, err := scan(tx, "", "", limit); err == nil {
				t.Errorf("Scan with limit %d: no error", limit)
			}
		}
		calls := 0
		err := tx.Scan(nil, nil, all, func(_, _ []byte) bool { calls++; return false })
		if err != nil || calls != 1 {
			t.Errorf("Scan stopped by fn: %d calls, %v; want 1", calls, err)
		}
		return nil
	})
}

func testScanWhileWriting(t *testing.T, open func(*testing.T) kv.Store) {
	tests := []struct{ name, committed, written string }{
		{"over committed pairs", "a b c d f", ""},
		{"over own writes", "", "a b c d f"},
		{"over both", "a c f", "b d"},
		{"over both, the other way", "b d", "a c f"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			puts := func(tx kv.Tx, keys string) error {
				for _, key := range strings.Fields(keys) {
					if err := put(tx, key, "old"); err != nil {
						return err
					}
				}
				return nil
			}
			update(t, s, func(tx kv.Tx) error { return puts(tx, tt.committed) })
			update(t, s, func(tx kv.Tx) error {
				if err := puts(tx, tt.written); err != nil {
					return err
				}
				var visited []string
				var inner string
				var errs []error
				err := tx.Scan(nil, nil, all, func(key, value []byte) bool {
					visited = append(visited, string(key)+"="+string(value))
					if string(key) != "b" {
						return true
					}
					var err error
					inner, err = scan(tx, "b", "d", all)
					errs = append(errs, err,
						put(tx, "aa", "behind"), del(tx, "a"),
						del(tx, "b"),
						del(tx, "c"), put(tx, "d", "new"), put(tx, "e", "ahead"))
					return true
				})
				if err := errors.Join(append(errs, err)...); err != nil {
					return err
				}
				if want := "b=old c=old"; inner != want {
					t.Errorf("inner scan %q, want %q", inner, want)
				}
				got := strings.Join(visited, " ")
				if want := "a=old b=old d=new e=ahead f=old"; got != want {
					t.Errorf("visited %q, want %q", got, want)
				}
				return nil
			})
			expect(t, s, "aa=behind d=new e=ahead f=old")
		})
	}
}

// testModel compares random transactions with a map.
func testModel(t *testing.T, open func(*testing.T) kv.Store) {
	type op struct {
		kind  string
		a, b  string
		limit int
		want  string
	}
	s := open(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	key := func() string { return strings.Repeat("k", 1+rnd.IntN(3)) + strconv.Itoa(rnd.IntN(40)) }
	pairs := func(m map[string]string, lo, hi string, limit int) string {
		var keys []string
		for k := range m {
			if k >= lo && (hi == "" || k < hi) {
				keys = append(keys, k)
			}
		}
		slices.Sort(keys)
		keys = keys[:min(limit, len(keys))]
		for i, k := range keys {
			keys[i] = k + "=" + m[k]
		}
		return strings.Join(keys, " ")
	}

	state := map[string]string{}
	for round := range 100 {
		// The operations and what they should find are made before the
		// transaction, which may run more than once.
		next := make(map[string]string, len(state))
		for k, v := range state {
			next[k] = v
		}
		var ops []op
		for range 1 + rnd.IntN(20) {
			o := op{kind: []string{"put", "put", "delete", "get", "scan"}[rnd.IntN(5)], a: key()}
			switch o.kind {
			case "put":
				o.b = strings.Repeat("v", rnd.IntN(3000)) + strconv.Itoa(rnd.Int())
				next[o.a] = o.b
			case "delete":
				delete(next, o.a)
			case "get":
				o.want = next[o.a]
			case "scan":
				o.b, o.limit = key(), 1+rnd.IntN(30)
				o.want = pairs(next, o.a, o.b, o.limit)
			}
			ops = append(ops, o)
		}
		abort := rnd.IntN(4) == 0
		err := s.Update(t.Context(), "model", func(tx kv.Tx) error {
			for i, o := range ops {
				var got string
				var err error
				switch o.kind {
				case "put":
					err = put(tx, o.a, o.b)
				case "delete":
					err = del(tx, o.a)
				case "get":
					var value []byte
					value, err = tx.Get([]byte(o.a))
					got = string(value)
				case "scan":
					got, err = scan(tx, o.a, o.b, o.limit)
				}
				if err != nil || got != o.want {
					return fmt.Errorf("operation %d: %s %s: got %.100q, %v; want %.100q",
						i, o.kind, o.a, got, err, o.want)
				}
			}
			if abort {
				return errRefused
			}
			return nil
		})
		switch {
		case abort && err == errRefused:
		case !abort && err == nil:
			state = next
		default:
			t.Fatalf("round %d: Update: %v", round, err)
		}
		expect(t, s, pairs(state, "", "", all))
	}
}

func testSizes(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	key := bytes.Repeat([]byte{'k'}, kv.MaxKey+1)
	value := bytes.Repeat([]byte{'v'}, kv.MaxValue+1)
	tests := []struct {
		name string
		do   func(tx kv.Tx) error
		want error
	}{
		{"largest", func(tx kv.Tx) error {
			return tx.Put(key[:kv.MaxKey], value[:kv.MaxValue])
		}, nil},
		{"put an empty key", func(tx kv.Tx) error { return tx.Put(nil, nil) }, kv.ErrTooLarge},
		{"put a key too large", func(tx kv.Tx) error { return tx.Put(key, nil) }, kv.ErrTooLarge},
		{"put a value too large", func(tx kv.Tx) error {
			return tx.Put([]byte("large"), value)
		}, kv.ErrTooLarge},
		{"delete an empty key", func(tx kv.Tx) error { return tx.Delete(nil) }, kv.ErrTooLarge},
		{"delete a key too large", func(tx kv.Tx) error { return tx.Delete(key) }, kv.ErrTooLarge},
	}
	for _, tt := range tests {
		// A refused operation changes nothing, and the transaction goes on.
		update(t, s, func(tx kv.Tx) error {
			if err := tt.do(tx); !errors.Is(err, tt.want) {
				t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
			}
			return nil
		})
	}
	var keys int
	var got []byte
	view(t, s, func(tx kv.Tx) error {
		keys, got = 0, nil
		return tx.Scan(nil, nil, all, func(_, v []byte) bool {
			keys++
			got = bytes.Clone(v)
			return true
		})
	})
	if keys != 1 || !bytes.Equal(got, value[:kv.MaxValue]) {
		t.Errorf("%d keys, %d bytes; want only the largest pair", keys, len(got))
	}
}

func testReadOnly(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return put(tx, "a", "1") })
	reads := map[string]func(context.Context, func(kv.Tx) error) error{
		"View": s.View, "Snapshot": s.Snapshot,
	}
	for name, read := range reads {
		err := read(t.Context(), func(tx kv.Tx) error {
			if err := put(tx, "b", "2"); !errors.Is(err, kv.ErrReadOnly) {
				t.Errorf("Put in %s: %v, want %v", name, err, kv.ErrReadOnly)
			}
			if err := del(tx, "a"); !errors.Is(err, kv.ErrReadOnly) {
				t.Errorf("Delete in %s: %v, want %v", name, err, kv.ErrReadOnly)
			}
			return errRefused
		})
		if err != errRefused {
			t.Errorf("%s returned %v, want the error of its function", name, err)
		}
	}
	expect(t, s, "a=1")
}

func testArgumentsMayBeReused(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return errors.Join(put(tx, "a", "0"), put(tx, "z", "0")) })
	update(t, s, func(tx kv.Tx) error {
		key, value := make([]byte, 1), make([]byte, 1)
		for i := range byte(3) {
			key[0], value[0] = 'a'+i, '1'+i
			if err := tx.Put(key, value); err != nil {
				return err
			}
		}
		key[0] = 'z'
		if err := tx.Delete(key); err != nil {
			return err
		}
		key[0], value[0] = '!', '!'
		return nil
	})
	expect(t, s, "a=1 b=2 c=3")
}

func testHandedOutStays(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return put(tx, "committed", "old") })
	update(t, s, func(tx kv.Tx) error {
		if err := put(tx, "written", "old"); err != nil {
			return err
		}
		var handed [][]byte
		err := tx.Scan(nil, nil, all, func(k, v []byte) bool {
			handed = append(handed, k, v)
			return true
		})
		if err != nil {
			return err
		}
		for _, key := range []string{"committed", "written"} {
			v, err := tx.Get([]byte(key))
			handed = append(handed, v)
			if err := errors.Join(err, put(tx, key, "new"), del(tx, key)); err != nil {
				return err
			}
		}
		if err := put(tx, "another", "1"); err != nil {
			return err
		}
		got := string(bytes.Join(handed, []byte(" ")))
		if want := "committed old written old old old"; got != want {
			t.Errorf("slices handed out now read %q, want %q", got, want)
		}
		return nil
	})
	expect(t, s, "another=1")
}

func testFailingFn(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return put(tx, "a", "1") })
	err := s.Update(t.Context(), "owner", func(tx kv.Tx) error {
		if err := errors.Join(put(tx, "a", "2"), put(tx, "b", "2")); err != nil {
			return err
		}
		return errRefused
	})
	if err != errRefused {
		t.Errorf("Update returned %v, want the error of its function unchanged", err)
	}
	expect(t, s, "a=1")
}

func testPanickingFn(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	err := s.Update(t.Context(), "owner", func(tx kv.Tx) error {
		if err := put(tx, "a", "1"); err != nil {
			return err
		}
		panic("on purpose")
	})
	if !errors.Is(err, kv.ErrPanic) || !strings.Contains(err.Error(), "on purpose") {
		t.Errorf("Update returned %v, want ErrPanic and the cause", err)
	}
	update(t, s, func(tx kv.Tx) error { return put(tx, "b", "2") })
	expect(t, s, "b=2")
}

func testPanickingView(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	func() {
		defer func() {
			if p := recover(); p != "on purpose" {
				t.Errorf("recovered %v, want the panic of fn", p)
			}
		}()
		_ = s.View(t.Context(), func(kv.Tx) error { panic("on purpose") })
	}()
	if err := s.Close(); err != nil { // hangs if the transaction is still open
		t.Errorf("Close: %v", err)
	}
}

// testMixedBatch queues calls behind a slow one, so that an engine that shares
// commits shares this one, and makes some of them fail.
func testMixedBatch(t *testing.T, open func(*testing.T) kv.Store) {
	const calls = 64
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return put(tx, "n", "0") })

	began, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(began) })
	var wg, queued sync.WaitGroup
	wg.Go(func() {
		err := s.Update(t.Context(), "slow", func(tx kv.Tx) error {
			once()
			<-release
			return put(tx, "slow", "done")
		})
		if err != nil {
			t.Errorf("the slow Update: %v", err)
		}
	})
	wait(t, began, "the slow Update to begin")

	queued.Add(calls)
	for i := range calls {
		want := []error{nil, errRefused, nil, kv.ErrPanic}[i%4]
		wg.Go(func() {
			queued.Done()
			err := s.Update(t.Context(), strconv.Itoa(i), func(tx kv.Tx) error {
				if err := errors.Join(add(tx, "n", 1), put(tx, fmt.Sprintf("call%02d", i), "")); err != nil {
					return err
				}
				if want == kv.ErrPanic {
					panic("on purpose")
				}
				return want
			})
			if !errors.Is(err, want) {
				t.Errorf("call %d: %v, want %v", i, err, want)
			}
		})
	}
	queued.Wait()
	close(release)
	wg.Wait()

	var want strings.Builder
	for i := 0; i < calls; i += 2 {
		fmt.Fprintf(&want, "call%02d= ", i)
	}
	expect(t, s, want.String()+"n=32 slow=done")
}

func testCanceledContext(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	fn := func(kv.Tx) error {
		t.Error("fn ran though the context was done")
		return nil
	}
	calls := map[string]func() error{
		"View":     func() error { return s.View(ctx, fn) },
		"Update":   func() error { return s.Update(ctx, "owner", fn) },
		"Snapshot": func() error { return s.Snapshot(ctx, fn) },
	}
	for name, call := range calls {
		for range 20 { // whatever a select picks
			if err := call(); err != context.Canceled {
				t.Errorf("%s: %v, want %v", name, err, context.Canceled)
			}
		}
	}
}

func testHotCounter(t *testing.T, open func(*testing.T) kv.Store) {
	const clients, each = 64, 8
	s := open(t)
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			for range each {
				err := s.Update(t.Context(), strconv.Itoa(i%3), func(tx kv.Tx) error {
					return add(tx, "n", 1)
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	wg.Wait()
	expect(t, s, fmt.Sprintf("n=%d", clients*each))
}

// testWriteSkew: two calls read both keys, and each clears its own if the
// other is still set. One of them has to see the other's write.
func testWriteSkew(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	for range 30 {
		update(t, s, func(tx kv.Tx) error {
			return errors.Join(put(tx, "a", "1"), put(tx, "b", "1"))
		})
		var wg sync.WaitGroup
		for _, own := range []string{"a", "b"} {
			wg.Go(func() {
				err := s.Update(t.Context(), own, func(tx kv.Tx) error {
					got, err := scan(tx, "", "", all)
					if err != nil || got != "a=1 b=1" {
						return err
					}
					return put(tx, own, "0")
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			})
		}
		wg.Wait()
		view(t, s, func(tx kv.Tx) error {
			if got, err := scan(tx, "", "", all); err != nil || got == "a=0 b=0" {
				t.Errorf("after two calls %q, %v; want one of the keys set", got, err)
			}
			return nil
		})
	}
}

// testPhantom: each call counts a range and adds to it below a limit.
func testPhantom(t *testing.T, open func(*testing.T) kv.Store) {
	const clients, limit = 32, 5
	s := open(t)
	var wg sync.WaitGroup
	var added atomic.Int32
	for i := range clients {
		wg.Go(func() {
			err := s.Update(t.Context(), strconv.Itoa(i), func(tx kv.Tx) error {
				n := 0
				err := tx.Scan([]byte("p"), []byte("q"), all, func(_, _ []byte) bool { n++; return true })
				if err != nil {
					return err
				}
				if n >= limit {
					return errRefused
				}
				return put(tx, fmt.Sprintf("p%02d", i), "")
			})
			switch err {
			case nil:
				added.Add(1)
			case errRefused:
			default:
				t.Errorf("Update: %v", err)
			}
		})
	}
	wg.Wait()
	view(t, s, func(tx kv.Tx) error {
		got, err := scan(tx, "p", "q", all)
		if n := len(strings.Fields(got)); err != nil || n != limit || added.Load() != limit {
			t.Errorf("%d keys, %d calls added one, %v; want %d", n, added.Load(), err, limit)
		}
		return nil
	})
}

// testConstantSum moves amounts between accounts while readers add them up.
func testConstantSum(t *testing.T, open func(*testing.T) kv.Store) {
	const accounts, sum = 10, 1000
	account := func(i int) string { return fmt.Sprintf("account%d", i) }
	s := open(t)
	update(t, s, func(tx kv.Tx) error {
		for i := range accounts {
			if err := add(tx, account(i), sum/accounts); err != nil {
				return err
			}
		}
		return nil
	})

	moved := make(chan struct{})
	var movers, readers sync.WaitGroup
	for m := range 8 {
		movers.Go(func() {
			for i := range 20 {
				err := s.Update(t.Context(), strconv.Itoa(m), func(tx kv.Tx) error {
					return errors.Join(
						add(tx, account((m+i)%accounts), -3), add(tx, account((m+3*i+1)%accounts), 3))
				})
				if err != nil {
					t.Errorf("Update: %v", err)
				}
			}
		})
	}
	for _, read := range []func(context.Context, func(kv.Tx) error) error{s.View, s.Snapshot} {
		readers.Go(func() {
			for done := false; !done; {
				select {
				case <-moved:
					done = true // and look once more
				default:
				}
				var total int
				err := read(t.Context(), func(tx kv.Tx) error {
					total = 0
					return tx.Scan(nil, nil, all, func(_, v []byte) bool {
						n, err := strconv.Atoi(string(v))
						if err != nil {
							t.Error(err)
						}
						total += n
						return true
					})
				})
				if err != nil || total != sum {
					t.Errorf("the accounts hold %d, %v; want %d", total, err, sum)
					return
				}
			}
		})
	}
	movers.Wait()
	close(moved)
	readers.Wait()
}

// testViewIsOneState commits while a read is open.
func testViewIsOneState(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return errors.Join(put(tx, "a", "1"), put(tx, "b", "1")) })

	reads := map[string]func(context.Context, func(kv.Tx) error) error{
		"View": s.View, "Snapshot": s.Snapshot,
	}
	for name, read := range reads {
		began, release := make(chan struct{}), make(chan struct{})
		once := sync.OnceFunc(func() { close(began) })
		done := make(chan error, 1)
		go func() {
			done <- read(t.Context(), func(tx kv.Tx) error {
				before, err := scan(tx, "", "", all)
				if err != nil {
					return err
				}
				once()
				<-release
				after, err := scan(tx, "", "", all)
				if err == nil && after != before {
					err = fmt.Errorf("%q became %q", before, after)
				}
				return err
			})
		}()
		wait(t, began, name+" to begin")
		update(t, s, func(tx kv.Tx) error {
			return errors.Join(add(tx, "a", 1), del(tx, "b"), put(tx, "c", name))
		})
		close(release)
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// testViewDuringUpdate reads while an update is running.
func testViewDuringUpdate(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return put(tx, "a", "1") })

	began, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(began) })
	done := make(chan error, 1)
	go func() {
		done <- s.Update(t.Context(), "slow", func(tx kv.Tx) error {
			if err := put(tx, "a", "2"); err != nil {
				return err
			}
			once()
			<-release
			return nil
		})
	}()
	wait(t, began, "the Update to begin")
	expect(t, s, "a=1")
	close(release)
	if err := <-done; err != nil {
		t.Errorf("Update: %v", err)
	}
	expect(t, s, "a=2")
}

func testSnapshotRunsOnce(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return put(tx, "a", "1") })
	runs := 0
	err := s.Snapshot(t.Context(), func(tx kv.Tx) error {
		runs++
		got, err := scan(tx, "", "", all)
		if got != "a=1" {
			t.Errorf("Snapshot finds %q, want %q", got, "a=1")
		}
		return err
	})
	if err != nil || runs != 1 {
		t.Errorf("Snapshot ran fn %d times: %v; want once", runs, err)
	}
}

func testReopen(t *testing.T, open func(*testing.T) kv.Store) {
	for i := range 3 {
		s := open(t)
		update(t, s, func(tx kv.Tx) error { return errors.Join(add(tx, "n", 1), put(tx, "x", "")) })
		update(t, s, func(tx kv.Tx) error { return del(tx, "x") })
		err := s.Update(t.Context(), "owner", func(tx kv.Tx) error {
			return errors.Join(put(tx, "y", ""), errRefused)
		})
		if !errors.Is(err, errRefused) {
			t.Fatalf("Update: %v, want %v", err, errRefused)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
		s = open(t)
		expect(t, s, fmt.Sprintf("n=%d", i+1))
		if err := s.Close(); err != nil {
			t.Fatalf("Close: %v", err)
		}
	}
}

func testClose(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return put(tx, "a", "1") })
	for range 2 {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
	fn := func(kv.Tx) error {
		t.Error("fn ran though the store was closed")
		return nil
	}
	calls := map[string]func() error{
		"View":     func() error { return s.View(t.Context(), fn) },
		"Update":   func() error { return s.Update(t.Context(), "owner", fn) },
		"Snapshot": func() error { return s.Snapshot(t.Context(), fn) },
	}
	for name, call := range calls {
		if err := call(); !errors.Is(err, kv.ErrClosed) {
			t.Errorf("%s after Close: %v, want %v", name, err, kv.ErrClosed)
		}
	}
}

func testCloseWaitsForReaders(t *testing.T, open func(*testing.T) kv.Store) {
	s := open(t)
	update(t, s, func(tx kv.Tx) error { return put(tx, "a", "1") })
	began, release := make(chan struct{}), make(chan struct{})
	read, closed := make(chan error, 1), make(chan error, 1)
	go func() {
		read <- s.Snapshot(t.Context(), func(tx kv.Tx) error {
			close(began)
			<-release
			got, err := scan(tx, "", "", all)
			if got != "a=1" {
				t.Errorf("a read that Close waits for finds %q, want %q", got, "a=1")
			}
			return err
		})
	}()
	wait(t, began, "the read to begin")
	go func() { closed <- s.Close() }()

	// Once updates are refused, Close is under way and waits for the read.
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := s.Update(t.Context(), "owner", func(kv.Tx) error { return nil })
		if errors.Is(err, kv.ErrClosed) {
			break
		}
		if err != nil || time.Now().After(deadline) {
			t.Fatalf("Update while closing: %v, want %v in the end", err, kv.ErrClosed)
		}
	}
	select {
	case err := <-closed:
		t.Errorf("Close returned %v before the read had finished", err)
	default:
	}
	close(release)
	if err := errors.Join(<-read, <-closed); err != nil {
		t.Error(err)
	}
}

// testCloseRace closes a busy store: each call is either done and durable, or
// refused and without effect.
func testCloseRace(t *testing.T, open func(*testing.T) kv.Store) {
	const clients = 16
	s := open(t)
	var wg, busy sync.WaitGroup
	var acknowledged [clients]int
	busy.Add(2 * clients)
	for i := range clients {
		key := fmt.Sprintf("client%02d", i)
		wg.Go(func() {
			for n := 0; ; n++ {
				err := s.Update(t.Context(), key, func(tx kv.Tx) error { return add(tx, key, 1) })
				if n == 0 {
					busy.Done()
				}
				if errors.Is(err, kv.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("Update: %v", err)
					return
				}
				acknowledged[i]++
			}
		})
		wg.Go(func() {
			for n := 0; ; n++ {
				err := s.View(t.Context(), func(tx kv.Tx) error {
					_, err := scan(tx, "", "", all)
					return err
				})
				if n == 0 {
					busy.Done()
				}
				if errors.Is(err, kv.ErrClosed) {
					return
				}
				if err != nil {
					t.Errorf("View: %v", err)
					return
				}
			}
		})
	}
	busy.Wait()
	for range 2 {
		wg.Go(func() {
			if err := s.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		})
	}
	wg.Wait()

	var want []string
	for i, n := range acknowledged {
		want = append(want, fmt.Sprintf("client%02d=%d", i, n))
	}
	expect(t, open(t), strings.Join(want, " "))
}

func update(t *testing.T, s kv.Store, fn func(kv.Tx) error) {
	t.Helper()
	if err := s.Update(t.Context(), "owner", fn); err != nil {
		t.Fatalf("Update: %v", err)
	}
}

func view(t *testing.T, s kv.Store, fn func(kv.Tx) error) {
	t.Helper()
	if err := s.View(t.Context(), fn); err != nil {
		t.Fatalf("View: %v", err)
	}
}

// expect compares the whole store with want, written as scan writes it.
func expect(t *testing.T, s kv.Store, want string) {
	t.Helper()
	var got string
	view(t, s, func(tx kv.Tx) (err error) {
		got, err = scan(tx, "", "", all)
		return err
	})
	if got != want {
		t.Errorf("the store holds %.1000q, want %.1000q", got, want)
	}
}

// scan returns the pairs of a range as "key=value key=value". An empty hi is
// none.
func scan(tx kv.Tx, lo, hi string, limit int) (string, error) {
	var bound []byte
	if hi != "" {
		bound = []byte(hi)
	}
	var pairs []string
	err := tx.Scan([]byte(lo), bound, limit, func(k, v []byte) bool {
		pairs = append(pairs, string(k)+"="+string(v))
		return true
	})
	return strings.Join(pairs, " "), err
}

func put(tx kv.Tx, key, value string) error { return tx.Put([]byte(key), []byte(value)) }

func del(tx kv.Tx, key string) error { return tx.Delete([]byte(key)) }

// add adds n to the number under key.
func add(tx kv.Tx, key string, n int) error {
	value, err := tx.Get([]byte(key))
	if err != nil {
		return err
	}
	if value != nil {
		old, err := strconv.Atoi(string(value))
		if err != nil {
			return err
		}
		n += old
	}
	return put(tx, key, strconv.Itoa(n))
}

// wait waits until ch is closed.
func wait(t *testing.T, ch <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		t.Fatalf("waited 10 s for %s", what)
	}
}
