// Package blobtest is the conformance suite of the blob seam: the laws of
// package blob as tests. A store that passes Run can be used by the domain.
//
// It sees a store only through the seam, so it does not show what survives
// power loss; that is for the tests of the implementation.
package blobtest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"upload-service/store/blob"
)

// Run tests the store that open opens, which must be empty. Run closes it.
func Run(t *testing.T, open func(t *testing.T) blob.Store) {
	tests := []struct {
		name string
		run  func(t *testing.T, s blob.Store)
	}{
		{"Content", testContent},
		{"Exists", testExists},
		{"FailingReader", testFailingReader},
		{"PanickingReader", testPanickingReader},
		{"CanceledContext", testCanceledContext},
		{"OneCreateWins", testOneCreateWins},
		{"Ranges", testRanges},
		{"OpenOutlivesDelete", testOpenOutlivesDelete},
		{"Absent", testAbsent},
		{"BadRef", testBadRef},
		{"Delete", testDelete},
		{"DeleteGoesOn", testDeleteGoesOn},
		{"List", testList},
		{"CreateBesideDelete", testCreateBesideDelete},
		{"Free", testFree},
		{"Append", testAppend},
		{"AppendRefusals", testAppendRefusals},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			t.Cleanup(func() {
				if err := s.Close(); err != nil {
					t.Errorf("Close: %v", err)
				}
			})
			tt.run(t, s)
		})
	}
}

func testContent(t *testing.T, s blob.Store) {
	for _, size := range []int{0, 1, 4096, 32<<10 - 1, 32 << 10, 32<<10 + 1, 64 << 10, 1<<20 + 7, 3 << 20} {
		ref, content := newRef(1), random(size)
		// Pieces of any size may arrive.
		n, err := s.Create(t.Context(), ref, iotest.HalfReader(bytes.NewReader(content)))
		if err != nil || n != int64(size) {
			t.Fatalf("Create of %d bytes = %d, %v", size, n, err)
		}
		if got := read(t, s, ref); !bytes.Equal(got, content) {
			t.Errorf("%d bytes came back as %d others", size, len(got))
		}
		info, err := s.Stat(t.Context(), ref)
		if want := (blob.Info{Ref: ref, Size: int64(size)}); err != nil || info != want {
			t.Errorf("Stat = %v, %v; want %v", info, err, want)
		}
	}
}

func testExists(t *testing.T, s blob.Store) {
	ref := create(t, s, 1, "first")
	n, err := s.Create(t.Context(), ref, strings.NewReader("second"))
	if !errors.Is(err, blob.ErrExist) || n != 0 {
		t.Errorf("Create of an existing ref = %d, %v; want ErrExist", n, err)
	}
	if got := read(t, s, ref); string(got) != "first" {
		t.Errorf("content = %q, want %q", got, "first")
	}
}

func testFailingReader(t *testing.T, s blob.Store) {
	for _, cause := range []error{
		errors.New("the client went away"), io.ErrUnexpectedEOF,
		fs.ErrNotExist, fs.ErrExist, // not what they mean in the store
	} {
		for _, size := range []int{0, 100, 1 << 20} {
			ref := newRef(1)
			r := io.MultiReader(bytes.NewReader(random(size)), iotest.ErrReader(cause))
			n, err := s.Create(t.Context(), ref, r)
			if !errors.Is(err, cause) || n != 0 {
				t.Errorf("Create = %d, %v; want 0 and %v", n, err, cause)
			}
			if errors.Is(err, blob.ErrExist) || errors.Is(err, blob.ErrNotExist) {
				t.Errorf("Create made an error of the store of the reader's: %v", err)
			}
			absent(t, s, ref)
		}
	}
	if got := list(t, s, ""); len(got) != 0 {
		t.Errorf("failed creates left %v", got)
	}
}

func testPanickingReader(t *testing.T, s blob.Store) {
	ref := newRef(1)
	func() {
		defer func() {
			if recover() == nil {
				t.Error("the panic of the reader was swallowed")
			}
		}()
		s.Create(t.Context(), ref, io.MultiReader(strings.NewReader("some"), panicking{})) //nolint:errcheck // it panics
	}()
	absent(t, s, ref)
}

type panicking struct{}

func (panicking) Read([]byte) (int, error) { panic("reader") }

func testCanceledContext(t *testing.T, s blob.Store) {
	ref := newRef(1)
	ctx, cancel := context.WithCancel(t.Context())
	endless := readFunc(func(p []byte) (int, error) {
		cancel()
		return len(p), nil
	})
	n, err := s.Create(ctx, ref, endless)
	if !errors.Is(err, context.Canceled) || n != 0 {
		t.Errorf("Create = %d, %v; want context.Canceled", n, err)
	}
	absent(t, s, ref)
}

type readFunc func(p []byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }

func testOneCreateWins(t *testing.T, s blob.Store) {
	ref := newRef(1)
	var won [16]bool
	var wg sync.WaitGroup
	for i := range won {
		wg.Go(func() {
			_, err := s.Create(t.Context(), ref, strings.NewReader(fmt.Sprint(i)))
			if won[i] = err == nil; err != nil && !errors.Is(err, blob.ErrExist) {
				t.Errorf("Create: %v, want ErrExist", err)
			}
		})
	}
	wg.Wait()
	winner := slices.Index(won[:], true)
	if winner < 0 || slices.Contains(won[winner+1:], true) {
		t.Fatalf("winners = %v, want one", won)
	}
	if got := read(t, s, ref); string(got) != fmt.Sprint(winner) {
		t.Errorf("content = %q, want that of %d", got, winner)
	}
}

func testRanges(t *testing.T, s blob.Store) {
	const content = "0123456789"
	ref := create(t, s, 1, content)
	const huge = 1<<63 - 1
	tests := []struct {
		name           string
		offset, length int64
		want           string
		err            error
	}{
		{"all", 0, -1, content, nil},
		{"all, by length", 0, 10, content, nil},
		{"first", 0, 1, "0", nil},
		{"last", 9, 1, "9", nil},
		{"middle", 3, 4, "3456", nil},
		{"to the end", 7, -1, "789", nil},
		{"nothing", 4, 0, "", nil},
		{"nothing at the end", 10, -1, "", nil},
		{"behind the end", 11, -1, "", blob.ErrRange},
		{"behind the end, empty", 11, 0, "", blob.ErrRange},
		{"too long", 0, 11, "", blob.ErrRange},
		{"too long from the middle", 5, 6, "", blob.ErrRange},
		{"negative offset", -1, 1, "", blob.ErrRange},
		{"overflow", 1, huge, "", blob.ErrRange},
		{"overflow of both", huge, huge, "", blob.ErrRange},
	}
	for _, tt := range tests {
		r, err := s.Open(t.Context(), ref, tt.offset, tt.length)
		if !errors.Is(err, tt.err) {
			t.Errorf("%s: Open = %v, want %v", tt.name, err, tt.err)
		}
		if err != nil {
			continue
		}
		if f, ok := r.(blob.File); ok {
			file, offset, length := f.Section()
			got, err := io.ReadAll(io.NewSectionReader(file, offset, length))
			if err != nil || string(got) != tt.want {
				t.Errorf("%s: section = %q, %v; want %q", tt.name, got, err, tt.want)
			}
		}
		got, err := io.ReadAll(r)
		if err = errors.Join(err, r.Close()); err != nil || string(got) != tt.want {
			t.Errorf("%s: read %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func testOpenOutlivesDelete(t *testing.T, s blob.Store) {
	content := random(1 << 20)
	ref := newRef(1)
	if _, err := s.Create(t.Context(), ref, bytes.NewReader(content)); err != nil {
		t.Fatal(err)
	}
	r, err := s.Open(t.Context(), ref, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	remove(t, s, ref)
	absent(t, s, ref)
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil || !bytes.Equal(got, content) {
		t.Errorf("read %d bytes, %v; want the %d of the deleted blob", len(got), err, len(content))
	}
}

func testAbsent(t *testing.T, s blob.Store) {
	absent(t, s, newRef(1)) // no such epoch
	create(t, s, 1, "x")
	absent(t, s, newRef(1)) // no such id
}

func testBadRef(t *testing.T, s blob.Store) {
	good := string(create(t, s, 1, "x"))
	epoch := good[:16]
	for _, bad := range []string{
		"", ".", "..", "/", epoch, epoch + "/", epoch + "/..", "../" + good, good + "/", good + "/x",
		"/" + good, "./" + good, epoch + "/*", epoch + "/" + strings.Repeat("?", 32), good[1:],
		strings.ToUpper(epoch) + "/" + strings.Repeat("A", 32), epoch + `\` + good[17:], good + "\x00", good + "\n",
	} {
		ref := blob.Ref(bad)
		_, create := s.Create(t.Context(), ref, strings.NewReader("y"))
		r, open := s.Open(t.Context(), ref, 0, -1)
		if open == nil {
			r.Close()
		}
		_, stat := s.Stat(t.Context(), ref)
		gone, del := s.Delete(t.Context(), ref)
		for method, err := range map[string]error{"Create": create, "Open": open, "Stat": stat, "Delete": del} {
			if !errors.Is(err, blob.ErrBadRef) {
				t.Errorf("%s(%q) = %v, want ErrBadRef", method, bad, err)
			}
		}
		if len(gone) != 0 {
			t.Errorf("Delete(%q) says %v is gone", bad, gone)
		}
	}
	for _, bad := range []string{".", "..", "/", epoch[1:], epoch + "/", epoch + "/..", "*"} {
		err := s.List(t.Context(), bad, func(blob.Info) bool { return true }, nil)
		if !errors.Is(err, blob.ErrBadRef) {
			t.Errorf("List(%q) = %v, want ErrBadRef", bad, err)
		}
	}
	if got, want := list(t, s, ""), []string{good + " 1"}; !slices.Equal(got, want) {
		t.Errorf("afterwards there is %v, want %v", got, want)
	}
}

func testDelete(t *testing.T, s blob.Store) {
	var refs []blob.Ref
	for i := range 10 {
		refs = append(refs, create(t, s, uint64(i%3), "x"))
	}
	stays := create(t, s, 1, "stays")
	remove(t, s) // nothing
	remove(t, s, append(refs, newRef(1), newRef(9))...)
	remove(t, s, refs...) // once more
	if got, want := list(t, s, ""), []string{string(stays) + " 5"}; !slices.Equal(got, want) {
		t.Errorf("left: %v, want %v", got, want)
	}
	// An epoch that became empty can be used again.
	ref := create(t, s, 0, "again")
	if got := read(t, s, ref); string(got) != "again" {
		t.Errorf("content = %q, want %q", got, "again")
	}
}

func testDeleteGoesOn(t *testing.T, s blob.Store) {
	a, b := create(t, s, 1, "a"), create(t, s, 2, "b")
	gone, err := s.Delete(t.Context(), a, "bad", b)
	if !errors.Is(err, blob.ErrBadRef) || !sameRefs(gone, []blob.Ref{a, b}) {
		t.Errorf("Delete = %v, %v; want both good refs, and ErrBadRef", gone, err)
	}
	absent(t, s, a)
	absent(t, s, b)
}

func testList(t *testing.T, s blob.Store) {
	want := map[string][]string{}
	for i := range 30 {
		epoch := uint64(i % 3)
		ref := create(t, s, epoch, strings.Repeat("x", i))
		entry := fmt.Sprintf("%s %d", ref, i)
		want[ref.Epoch()] = append(want[ref.Epoch()], entry)
		want[""] = append(want[""], entry)
	}
	for epoch, want := range want {
		slices.Sort(want)
		if got := list(t, s, epoch); !slices.Equal(got, want) {
			t.Errorf("List(%q) = %v, want %v", epoch, got, want)
		}
	}
	if got := list(t, s, newRef(99).Epoch()); len(got) != 0 {
		t.Errorf("an epoch without blobs has %v", got)
	}
	calls := 0
	err := s.List(t.Context(), "", func(blob.Info) bool { calls++; return calls < 12 }, nil)
	if err != nil || calls != 12 {
		t.Errorf("List went on for %d calls, %v; want 12 and no error", calls, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.List(ctx, "", func(blob.Info) bool { return true }, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("List with a canceled context = %v", err)
	}
}

// testCreateBesideDelete empties an epoch again and again while others use it.
func testCreateBesideDelete(t *testing.T, s blob.Store) {
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range 20 {
				ref, content := newRef(1), fmt.Sprint("content ", i)
				n, err := s.Create(t.Context(), ref, strings.NewReader(content))
				if err != nil || n != int64(len(content)) {
					t.Errorf("Create = %d, %v", n, err)
					return
				}
				if info, err := s.Stat(t.Context(), ref); err != nil || info.Size != n {
					t.Errorf("Stat = %v, %v; want %d bytes", info, err, n)
				}
				if gone, err := s.Delete(t.Context(), ref); err != nil || len(gone) != 1 {
					t.Errorf("Delete = %v, %v", gone, err)
				}
			}
		})
	}
	wg.Wait()
	if got := list(t, s, ""); len(got) != 0 {
		t.Errorf("left: %v", got)
	}
}

func testFree(t *testing.T, s blob.Store) {
	if n, err := s.Free(t.Context()); err != nil || n == 0 {
		t.Errorf("Free = %d, %v; want some bytes, or a negative number", n, err)
	}
}

// newRef makes a Ref that was never used.
func newRef(epoch uint64) blob.Ref {
	return blob.Ref(fmt.Sprintf("%016x/%s", epoch, hex.EncodeToString(random(16))))
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func create(t *testing.T, s blob.Store, epoch uint64, content string) blob.Ref {
	t.Helper()
	ref := newRef(epoch)
	if n, err := s.Create(t.Context(), ref, strings.NewReader(content)); err != nil || n != int64(len(content)) {
		t.Fatalf("Create = %d, %v; want %d", n, err, len(content))
	}
	return ref
}

func read(t *testing.T, s blob.Store, ref blob.Ref) []byte {
	t.Helper()
	r, err := s.Open(t.Context(), ref, 0, -1)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		t.Fatalf("read: %v", err)
	}
	return got
}

func remove(t *testing.T, s blob.Store, refs ...blob.Ref) {
	t.Helper()
	if gone, err := s.Delete(t.Context(), refs...); err != nil || !sameRefs(gone, refs) {
		t.Errorf("Delete = %v, %v; want all of %v", gone, err, refs)
	}
}

func sameRefs(a, b []blob.Ref) bool {
	return slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

func absent(t *testing.T, s blob.Store, ref blob.Ref) {
	t.Helper()
	if info, err := s.Stat(t.Context(), ref); !errors.Is(err, blob.ErrNotExist) {
		t.Errorf("Stat of an absent blob = %v, %v; want ErrNotExist", info, err)
	}
	r, err := s.Open(t.Context(), ref, 0, -1)
	if !errors.Is(err, blob.ErrNotExist) {
		t.Errorf("Open of an absent blob = %v, want ErrNotExist", err)
	}
	if err == nil {
		r.Close()
	}
}

// list returns what List tells, as "<ref> <size>" in order, and takes a stray
// for an error.
func list(t *testing.T, s blob.Store, epoch string) (entries []string) {
	t.Helper()
	err := s.List(t.Context(), epoch, func(i blob.Info) bool {
		entries = append(entries, fmt.Sprintf("%s %d", i.Ref, i.Size))
		return true
	}, func(name string) { t.Errorf("stray: %s", name) })
	if err != nil {
		t.Errorf("List: %v", err)
	}
	slices.Sort(entries)
	return entries
}

func testAppend(t *testing.T, s blob.Store) {
	ref, content := newRef(1), random(300<<10)
	const at = 100 << 10
	piece := func(offset int64, b []byte, seal bool) {
		t.Helper()
		w, err := s.Append(t.Context(), ref, offset)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := w.Write(b); err != nil || n != len(b) {
			t.Fatalf("Write = %d, %v", n, err)
		}
		end := w.Sync
		if seal {
			end = w.Seal
		}
		if err := errors.Join(end(), w.Close()); err != nil {
			t.Fatal(err)
		}
	}
	piece(0, content[:at+5], false)
	// Five bytes were not recorded; the next piece does not know of them.
	piece(at, content[at:], true)
	if got := read(t, s, ref); !bytes.Equal(got, content) {
		t.Errorf("%d bytes came back as %d others", len(content), len(got))
	}
	// Sealed, but that was not recorded: the last piece comes again.
	piece(at, content[at:at+10], true)
	if got := read(t, s, ref); !bytes.Equal(got, content[:at+10]) {
		t.Errorf("got %d bytes, want %d", len(got), at+10)
	}
	piece(at+10, nil, true)
	if info, err := s.Stat(t.Context(), ref); err != nil || info.Size != at+10 {
		t.Errorf("Stat = %v, %v", info, err)
	}
	gone, err := s.Delete(t.Context(), ref)
	if err != nil || len(gone) != 1 {
		t.Errorf("Delete = %v, %v", gone, err)
	}
}

func testAppendRefusals(t *testing.T, s blob.Store) {
	sealed, absent := newRef(1), newRef(2)
	if _, err := s.Create(t.Context(), sealed, strings.NewReader("12345")); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		ref    blob.Ref
		offset int64
		want   error
	}{
		{"a new one that exists", sealed, 0, blob.ErrExist},
		{"behind the end", sealed, 6, blob.ErrRange},
		{"before the start", sealed, -1, blob.ErrRange},
		{"absent", absent, 1, blob.ErrNotExist},
		{"malformed", "../x", 0, blob.ErrBadRef},
	} {
		if _, err := s.Append(t.Context(), tt.ref, tt.offset); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	if got := read(t, s, sealed); string(got) != "12345" {
		t.Errorf("a refused Append left %q", got)
	}
	if _, err := s.Stat(t.Context(), absent); !errors.Is(err, blob.ErrNotExist) {
		t.Errorf("a refused Append made something: %v", err)
	}
}
