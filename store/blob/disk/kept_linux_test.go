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

// piece begins to write at offset of a content: five bytes, which are durable.
func piece(t *testing.T, s *disk.Store, ref blob.Ref, offset int64) blob.Writer {
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

func end(t *testing.T, w blob.Writer) {
	t.Helper()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestKeptOpen: contents that go on are held open, but only so many, and none
// that is deleted or sealed.
func TestKeptOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
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
		end(t, piece(t, s, refs[n], 0))
	}
	if n := openIn(t, dir); n != disk.MaxKept {
		t.Errorf("%d contents are open, want %d", n, disk.MaxKept)
	}
	for _, ref := range refs {
		end(t, piece(t, s, ref, 5)) // whether it was kept or not
	}
	// Deleted while nobody writes, and while somebody does. The last one is kept
	// for certain; to keep it, any other may have been closed.
	remove(refs[many-1])
	w := piece(t, s, refs[many-2], 10)
	remove(refs[many-2])
	end(t, w)
	if n := openIn(t, dir); n > disk.MaxKept-1 {
		t.Errorf("%d contents are open, although one that was kept is deleted", n)
	}
	for _, ref := range refs[:many-2] {
		w := piece(t, s, ref, 10)
		if err := w.Seal(); err != nil {
			t.Fatal(err)
		}
		end(t, w)
	}
	if n := openIn(t, dir); n != 0 {
		t.Errorf("%d contents are open, although all are sealed or deleted", n)
	}
	end(t, piece(t, s, ref(many), 0))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if n := openIn(t, dir); n != 0 {
		t.Errorf("%d contents are open, although the store is closed", n)
	}
}

// TestKeptFollowsItsName: what counts is the file that has the name, whatever
// somebody else did to it between two pieces.
func TestKeptFollowsItsName(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	removed, renamed, replaced := ref(1), ref(2), ref(3)
	for _, ref := range []blob.Ref{removed, renamed, replaced} {
		end(t, piece(t, s, ref, 0))
	}
	name := func(ref blob.Ref) string { return filepath.Join(dir, string(ref)) }
	elsewhere := filepath.Join(dir, "elsewhere")
	if err := errors.Join(
		os.Remove(name(removed)),
		os.Rename(name(renamed), elsewhere),
		os.WriteFile(name(replaced)+"~", []byte("PIECE"), 0o600),
		os.Rename(name(replaced)+"~", name(replaced)),
	); err != nil {
		t.Fatal(err)
	}
	for _, ref := range []blob.Ref{removed, renamed} {
		if _, err := s.Append(t.Context(), ref, 5); !errors.Is(err, blob.ErrNotExist) {
			t.Errorf("what was removed or renamed goes on: %v", err)
		}
	}
	end(t, piece(t, s, replaced, 5))
	for file, want := range map[string]string{elsewhere: "piece", name(replaced): "PIECEpiece"} {
		if got, err := os.ReadFile(file); err != nil || string(got) != want {
			t.Errorf("%s has %q, want %q: %v", file, got, want, err)
		}
	}
}

// TestClosedTwice: a writer that was closed gives its file to nobody.
func TestClosedTwice(t *testing.T) {
	t.Parallel()
	s := open(t, t.TempDir())
	w := piece(t, s, ref(1), 0)
	end(t, w)
	next := piece(t, s, ref(1), 5)
	if err := w.Close(); err == nil {
		t.Error("a second Close found something to close")
	}
	if _, err := w.Write([]byte("late")); err == nil {
		t.Error("a closed writer writes")
	}
	end(t, next)
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
