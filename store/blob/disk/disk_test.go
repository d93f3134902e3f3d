package disk_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"upload-service/store/blob"
	"upload-service/store/blob/blobtest"
	"upload-service/store/blob/disk"
)

const epoch = "00000000000000ab"

func ref(n int) blob.Ref { return blob.Ref(fmt.Sprintf("%s/%032x", epoch, n)) }

func open(t testing.TB, dir string) *disk.Store {
	t.Helper()
	s, err := disk.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func create(t testing.TB, s *disk.Store, ref blob.Ref, content string) {
	t.Helper()
	if _, err := s.Create(t.Context(), ref, strings.NewReader(content)); err != nil {
		t.Fatal(err)
	}
}

func TestConformance(t *testing.T) {
	t.Parallel()
	blobtest.Run(t, func(t *testing.T) blob.Store {
		s, err := disk.Open(filepath.Join(t.TempDir(), "blobs"))
		if err != nil {
			t.Fatal(err)
		}
		return s
	})
}

func TestFileIsPlainAndReadOnly(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	create(t, s, ref(1), "content")
	name := filepath.Join(dir, filepath.FromSlash(string(ref(1))))
	if got, err := s.Name(ref(1)); got != name || err != nil {
		t.Errorf("Name = %q, %v; want %q", got, err, name)
	}
	got, err := os.ReadFile(name)
	if err != nil || string(got) != "content" {
		t.Errorf("the file has %q, %v", got, err)
	}
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if mode := info.Mode(); mode&0o222 != 0 {
		t.Errorf("mode = %v, want none that may write", mode)
	}
}

// Name must be usable from anywhere, also if the folder was given relative.
func TestRelativeFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	s := open(t, "blobs")
	create(t, s, ref(1), "x")
	name, err := s.Name(ref(1))
	if err != nil || !filepath.IsAbs(name) {
		t.Errorf("Name = %q, %v; want an absolute one", name, err)
	}
}

func TestReopen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	create(t, open(t, dir), ref(1), "kept")
	s := open(t, dir)
	create(t, s, ref(2), "new")
	for n, want := range map[int]int64{1: 4, 2: 3} {
		if info, err := s.Stat(t.Context(), ref(n)); err != nil || info.Size != want {
			t.Errorf("Stat(%d) = %v, %v; want %d bytes", n, info, err, want)
		}
	}
}

func TestEmptyFoldersGo(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	create(t, s, ref(1), "x")
	create(t, s, ref(2), "x")
	folder := filepath.Join(dir, epoch)

	if _, err := s.Delete(t.Context(), ref(1)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); err != nil {
		t.Errorf("a folder in use: %v", err)
	}
	if _, err := s.Delete(t.Context(), ref(2)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("an empty folder: %v, want it removed", err)
	}
	broken := io.MultiReader(strings.NewReader("some"), errReader{})
	if _, err := s.Create(t.Context(), ref(3), broken); err == nil {
		t.Error("Create of a broken body succeeded")
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the folder of a failed Create: %v, want it removed", err)
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

// Somebody tidies up while the server runs.
func TestFolderRemovedByOthers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := open(t, dir)
	create(t, s, ref(1), "x")
	if err := os.RemoveAll(filepath.Join(dir, epoch)); err != nil {
		t.Fatal(err)
	}
	create(t, s, ref(2), "x")
	if gone, err := s.Delete(t.Context(), ref(1)); err != nil || len(gone) != 1 {
		t.Errorf("Delete = %v, %v", gone, err)
	}
}

func TestStrays(t *testing.T) {
	t.Parallel()
	outside := t.TempDir()
	if err := os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := open(t, dir)
	create(t, s, ref(1), "x")
	put := func(name string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	folder, link := string(ref(7)), string(ref(8))
	put("note.txt")
	put(epoch + "/note.txt")
	err := errors.Join(
		os.Mkdir(filepath.Join(dir, "lost+found"), 0o700),
		os.Mkdir(filepath.Join(dir, folder), 0o700),
		os.Symlink(filepath.Join(outside, "secret"), filepath.Join(dir, link)),
		os.Symlink(outside, filepath.Join(dir, "00000000000000cd")),
	)
	if err != nil {
		t.Fatal(err)
	}

	var strays, blobs []string
	err = s.List(t.Context(), "", func(i blob.Info) bool {
		blobs = append(blobs, string(i.Ref))
		return true
	}, func(name string) { strays = append(strays, name) })
	slices.Sort(strays)
	want := []string{folder, link, epoch + "/note.txt", "00000000000000cd", "lost+found", "note.txt"}
	slices.Sort(want)
	if err != nil || !slices.Equal(strays, want) || !slices.Equal(blobs, []string{string(ref(1))}) {
		t.Errorf("List = %v and strays\n%q, %v; want\n%q", blobs, strays, err, want)
	}

	// What is not a regular file below the folder is no blob.
	for name, r := range map[string]blob.Ref{
		"folder": ref(7), "link": ref(8), "epoch that is a link": blob.Ref("00000000000000cd/" + folder[17:]),
	} {
		if _, err := s.Stat(t.Context(), r); err == nil {
			t.Errorf("Stat of a %s succeeded", name)
		}
		if rc, err := s.Open(t.Context(), r, 0, -1); err == nil {
			rc.Close()
			t.Errorf("Open of a %s succeeded", name)
		}
	}
	if _, err := s.Delete(t.Context(), ref(8)); err != nil {
		t.Errorf("Delete of a link: %v", err)
	}
	if _, err := os.Stat(filepath.Join(outside, "secret")); err != nil {
		t.Errorf("Delete went through a link: %v", err)
	}
}

// A large body costs as much memory as a small one.
func TestMemory(t *testing.T) {
	s := open(t, t.TempDir())
	n := 0
	measure := func(size int64) float64 {
		return testing.AllocsPerRun(3, func() {
			n++
			if _, err := s.Create(t.Context(), ref(n), io.LimitReader(zeroes{}, size)); err != nil {
				t.Error(err)
			}
		})
	}
	small, large := measure(1<<10), measure(64<<20)
	if large > small+20 {
		t.Errorf("64 MiB take %v allocations, 1 KiB takes %v", large, small)
	}
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func BenchmarkCreate(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10, 8 << 20} {
		for _, clients := range []int{1, 64} {
			b.Run(fmt.Sprintf("size=%d/clients=%d", size, clients), func(b *testing.B) {
				s := open(b, b.TempDir())
				content := bytes.Repeat([]byte("x"), size)
				b.SetBytes(int64(size))
				jobs := make(chan int)
				var wg sync.WaitGroup
				b.ResetTimer()
				for range clients {
					wg.Go(func() {
						for n := range jobs {
							if _, err := s.Create(b.Context(), ref(n), bytes.NewReader(content)); err != nil {
								b.Error(err)
							}
						}
					})
				}
				for n := range b.N {
					jobs <- n
				}
				close(jobs)
				wg.Wait()
			})
		}
	}
}
