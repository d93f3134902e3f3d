package disk_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"upload-service/store/blob"
	"upload-service/store/blob/disk"
)

var _ blob.Adopter = (*disk.Store)(nil)

// old is a folder with files of somebody else, and a store inside it.
func old(t *testing.T, names ...string) (*os.Root, *disk.Store) {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(name), 0o640); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root, open(t, filepath.Join(dir, "blobs"))
}

func lstat(t *testing.T, root *os.Root, name string) fs.FileInfo {
	t.Helper()
	info, err := root.Lstat(name)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

func TestAdopt(t *testing.T) {
	t.Parallel()
	root, s := old(t, "a", "b", "swapped", "gone")
	swapped, gone := lstat(t, root, "swapped"), lstat(t, root, "gone")
	create(t, s, ref(9), "there before")
	if err := errors.Join(
		root.Remove("swapped"), root.Symlink("b", "swapped"), root.Remove("gone"),
	); err != nil {
		t.Fatal(err)
	}
	files := []blob.Existing{
		{Ref: ref(1), Name: "a", Info: lstat(t, root, "a")},
		{Ref: ref(2), Name: "b", Info: lstat(t, root, "b")},
		{Ref: ref(3), Name: "swapped", Info: swapped},
		{Ref: ref(4), Name: "gone", Info: gone},
		{Ref: ref(9), Name: "a", Info: lstat(t, root, "a")},
		{Ref: "../x", Name: "a", Info: lstat(t, root, "a")},
	}
	want := []error{nil, nil, blob.ErrNotExist, blob.ErrNotExist, blob.ErrExist, blob.ErrBadRef}
	for i, err := range s.Adopt(t.Context(), root, files) {
		if !errors.Is(err, want[i]) || err != nil && want[i] == nil {
			t.Errorf("%s: got %v, want %v", files[i].Name, err, want[i])
		}
	}
	for i, name := range []string{"a", "b"} {
		info, err := s.StatFile(ref(i + 1))
		if err != nil {
			t.Fatal(err)
		}
		if !os.SameFile(info, lstat(t, root, name)) {
			t.Errorf("%s and its blob are two files", name)
		}
		if got := info.Mode().Perm(); got != 0o440 {
			t.Errorf("%s has mode %o, want 440", name, got)
		}
	}
	for _, r := range []blob.Ref{ref(3), ref(4)} {
		if _, err := s.StatFile(r); !errors.Is(err, blob.ErrNotExist) {
			t.Errorf("a refused file left %s: %v", r, err)
		}
	}
	// The blob goes, the file stays.
	if _, err := s.Delete(t.Context(), ref(1)); err != nil {
		t.Fatal(err)
	}
	if b, err := root.ReadFile("a"); err != nil || string(b) != "a" {
		t.Errorf("the file has %q, %v", b, err)
	}
}

// A store elsewhere cannot link what it is shown.
func TestAdoptFromElsewhere(t *testing.T) {
	t.Parallel()
	root, _ := old(t, "a")
	s := open(t, t.TempDir())
	errs := s.Adopt(t.Context(), root, []blob.Existing{
		{Ref: ref(1), Name: "a", Info: lstat(t, root, "a")},
	})
	if !errors.Is(errs[0], blob.ErrNoLink) {
		t.Errorf("got %v, want %v", errs[0], blob.ErrNoLink)
	}
	if _, err := s.StatFile(ref(1)); !errors.Is(err, blob.ErrNotExist) {
		t.Errorf("something was left: %v", err)
	}
}
