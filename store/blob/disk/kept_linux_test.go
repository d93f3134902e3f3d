package disk_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"upload-service/store/blob"
	"upload-service/store/blob/disk"
)

// TestKeptOpen: contents that go on are held open, but only so many, and none
// whose name is gone.
func TestKeptOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	begin := func(ref blob.Ref, offset int64) blob.Writer {
		t.Helper()
		w, err := s.Append(t.Context(), ref, offset)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte("piece")); err != nil {
			t.Fatal(err)
		}
		if err := w.Sync(); err != nil {
			t.Fatal(err)
		}
		return w
	}
	end := func(w blob.Writer) {
		t.Helper()
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
	}
	remove := func(ref blob.Ref) {
		t.Helper()
		if _, err := s.Delete(t.Context(), ref); err != nil {
			t.Fatal(err)
		}
	}
	const many = disk.MaxKept + 10
	var refs []blob.Ref
	for n := range many {
		refs = append(refs, ref(n))
		end(begin(refs[n], 0))
	}
	if n := openIn(t, dir); n != disk.MaxKept {
		t.Errorf("%d contents are open, want %d", n, disk.MaxKept)
	}
	for _, ref := range refs {
		end(begin(ref, 5)) // whether it was kept or not
	}
	// Deleted while nobody writes, while somebody does, and by somebody else.
	remove(refs[many-1])
	w := begin(refs[many-2], 10)
	remove(refs[many-2])
	end(w)
	if n := openIn(t, dir); n > disk.MaxKept-2 {
		t.Errorf("%d contents are open, although the last two are deleted", n)
	}
	removed, renamed := refs[many-3], refs[many-4]
	if err := os.Remove(filepath.Join(dir, string(removed))); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, string(renamed)), filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []blob.Ref{removed, renamed} {
		if _, err := s.Append(t.Context(), ref, 10); !errors.Is(err, blob.ErrNotExist) {
			t.Errorf("what was removed or renamed by hand goes on: %v", err)
		}
	}
	// A writer that is closed twice gives nothing to anybody.
	w = begin(refs[0], 10)
	end(w)
	next := begin(refs[0], 10)
	if err := w.Close(); err == nil {
		t.Error("a second Close found something to close")
	}
	if _, err := w.Write([]byte("late")); err == nil {
		t.Error("a closed writer writes")
	}
	end(next)
	// What is sealed is closed.
	for _, ref := range refs[:many-4] {
		w := begin(ref, 10)
		if err := w.Seal(); err != nil {
			t.Fatal(err)
		}
		end(w)
	}
	if n := openIn(t, dir); n != 0 {
		t.Errorf("%d contents are open, although all are sealed or deleted", n)
	}
	end(begin(ref(many), 0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := openIn(t, dir); n != 0 {
		t.Errorf("%d contents are open, although the store is closed", n)
	}
}

// openIn counts the descriptors of this process for contents below dir, also of
// deleted ones.
func openIn(t *testing.T, dir string) (n int) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if name, err := os.Readlink(fd); err == nil && strings.HasPrefix(name, filepath.Join(dir, epoch)+"/") {
			n++
		}
	}
	return n
}
