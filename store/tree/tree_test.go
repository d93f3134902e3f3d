package tree_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"upload-service/store/blob"
	"upload-service/store/blob/disk"
	"upload-service/store/tree"
)

// world is an upload folder with blobs and a tree.
type world struct {
	*testing.T
	dir   string
	blobs *disk.Store
	tree  *tree.Tree
	made  int
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, dir: t.TempDir()}
	var err error
	w.blobs, err = disk.Open(filepath.Join(w.dir, ".upload-service", "blobs"))
	w.ok(os.MkdirAll(filepath.Join(w.dir, ".upload-service"), 0o755))
	w.ok(err)
	w.tree, err = tree.Open(w.dir, w.blobs)
	w.ok(err)
	t.Cleanup(func() { w.ok(errors.Join(w.tree.Close(), w.blobs.Close())) })
	return w
}

// both runs a test with links and with copies.
func both(t *testing.T, run func(w *world)) {
	t.Parallel()
	t.Run("links", func(t *testing.T) {
		t.Parallel()
		run(newWorld(t))
	})
	t.Run("copies", func(t *testing.T) {
		t.Parallel()
		w := newWorld(t)
		tree.WithoutLinks(w.tree)
		run(w)
	})
}

func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) blob(content string) blob.Ref {
	w.Helper()
	w.made++
	ref := blob.Ref(fmt.Sprintf("%016x/%032x", 1, w.made))
	_, err := w.blobs.Create(w.Context(), ref, strings.NewReader(content))
	w.ok(err)
	return ref
}

func (w *world) set(name string, ref blob.Ref) {
	w.Helper()
	w.ok(w.tree.Set(w.Context(), "alice", name, ref))
}

func (w *world) remove(name string) {
	w.Helper()
	w.ok(w.tree.Remove(w.Context(), "alice", name))
}

func (w *world) path(name string) string { return filepath.Join(w.dir, "alice", name) }

func (w *world) put(name, content string) {
	w.Helper()
	w.ok(os.MkdirAll(filepath.Dir(w.path(name)), 0o755))
	w.ok(os.WriteFile(w.path(name), []byte(content), 0o644))
}

// below lists the files below a folder, as "name=content" without the time
// that a displaced name ends in.
func (w *world) below(dir string) (files []string) {
	w.Helper()
	dir = filepath.Join(w.dir, dir)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && name == dir {
			return nil
		}
		if err != nil || d.IsDir() {
			return err
		}
		var content string
		if d.Type()&fs.ModeSymlink != 0 {
			content, err = os.Readlink(name)
			content = "-> " + content
		} else {
			var b []byte
			b, err = os.ReadFile(name)
			content = string(b)
		}
		rel, _ := filepath.Rel(dir, name)
		segments := strings.Split(filepath.ToSlash(rel), "/")
		for i, s := range segments {
			if n := len(s) - 20; n > 0 && strings.Trim(s[n:], ".0123456789") == "" {
				segments[i] = s[:n]
			}
		}
		files = append(files, strings.Join(segments, "/")+"="+content)
		return err
	})
	w.ok(err)
	return files
}

func (w *world) shows(want ...string) {
	w.Helper()
	if got := w.below("alice"); !slices.Equal(got, want) {
		w.Errorf("the tree shows %q, want %q", got, want)
	}
	if got := w.below(".upload-service/tmp"); len(got) != 0 {
		w.Errorf("left behind: %q", got)
	}
}

func (w *world) displaced(want ...string) {
	w.Helper()
	if got := w.below(".upload-service/displaced/alice"); !slices.Equal(got, want) {
		w.Errorf("displaced are %q, want %q", got, want)
	}
}

func (w *world) absent(name string) {
	w.Helper()
	if _, err := os.Lstat(w.path(name)); !errors.Is(err, fs.ErrNotExist) {
		w.Errorf("%s: %v, want it gone", name, err)
	}
}

func (w *world) matches(name string, ref blob.Ref, want bool) {
	w.Helper()
	if got, err := w.tree.Matches("alice", name, ref); err != nil || got != want {
		w.Errorf("Matches(%s) = %v, %v; want %v", name, got, err, want)
	}
}

func TestSetReplaceRemove(t *testing.T) {
	both(t, func(w *world) {
		one, two := w.blob("one"), w.blob("two!")
		w.set("a/b/c.txt", one)
		w.set("a/d.txt", two)
		w.set("a/b/c.txt", one) // again: nothing to do
		w.shows("a/b/c.txt=one", "a/d.txt=two!")
		w.matches("a/b/c.txt", one, true)
		w.matches("a/b/c.txt", two, false)
		w.matches("a/none", one, false)
		w.matches("a/d.txt/below", one, false)

		w.set("a/b/c.txt", two)
		w.shows("a/b/c.txt=two!", "a/d.txt=two!")

		w.remove("a/b/c.txt")
		w.remove("a/b/c.txt")   // absent
		w.remove("a/d.txt/b/c") // below a file
		w.remove("never/was")
		w.shows("a/d.txt=two!")
		w.absent("a/b")
		w.remove("a/d.txt")
		w.absent("a")
		if _, err := os.Stat(w.path("")); err != nil {
			w.Errorf("the owner's folder: %v, want it to stay", err)
		}
		w.displaced()
	})
}

func TestEntryIsTheBlob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := w.blob("x")
	w.set("a", ref)
	name, err := w.blobs.Name(ref)
	w.ok(err)
	a, err := os.Stat(w.path("a"))
	w.ok(err)
	b, err := os.Stat(name)
	w.ok(err)
	if !os.SameFile(a, b) {
		t.Error("the entry is not a link to the blob")
	}
}

// UPLOAD_DIR is relative by default; links must be made all the same.
func TestRelativeFolder(t *testing.T) {
	t.Chdir(t.TempDir())
	blobs, err := disk.Open("blobs")
	if err != nil {
		t.Fatal(err)
	}
	defer blobs.Close()
	shown, err := tree.Open(".", blobs)
	if err != nil {
		t.Fatal(err)
	}
	defer shown.Close()
	ref := blob.Ref(fmt.Sprintf("%016x/%032x", 1, 1))
	if _, err := blobs.Create(t.Context(), ref, strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if err := shown.Set(t.Context(), "alice", "a", ref); err != nil {
		t.Fatal(err)
	}
	a, err := os.Stat("alice/a")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.Stat("blobs/" + string(ref)); err != nil || !os.SameFile(a, b) {
		t.Errorf("the entry is not a link to the blob (%v)", err)
	}
}

func TestAbsentBlob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := blob.Ref(fmt.Sprintf("%016x/%032x", 9, 9))
	if err := w.tree.Set(t.Context(), "alice", "a", ref); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Set = %v, want fs.ErrNotExist", err)
	}
	w.shows()
}

func TestForeignFiles(t *testing.T) {
	both(t, func(w *world) {
		ref := w.blob("ours")
		w.put("replaced", "of a person")
		w.put("removed", "of a person")
		w.put("folder/inner", "of a person")
		w.put("file", "of a person")
		w.ok(os.Symlink("/etc/passwd", w.path("link")))
		w.ok(os.Symlink("/etc/passwd", w.path("oldlink")))
		w.ok(os.Mkdir(w.path("empty"), 0o755))

		w.set("replaced", ref)
		w.remove("removed")
		w.set("folder", ref)
		w.set("file/below", ref)
		w.set("link", ref)
		w.remove("oldlink")
		w.set("empty", ref)
		w.shows("empty=ours", "file/below=ours", "folder=ours", "link=ours", "replaced=ours")
		w.displaced("file=of a person", "folder/inner=of a person", "link=-> /etc/passwd",
			"oldlink=-> /etc/passwd", "removed=of a person", "replaced=of a person")
	})
}

// Folders without a file have nothing to keep; a neighbor may be pruning them.
func TestForeignFolders(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(os.MkdirAll(w.path("a/b/c"), 0o755))
	w.ok(os.MkdirAll(w.path("a/d"), 0o755))
	w.set("a", w.blob("ours"))
	w.shows("a=ours")
	if _, err := os.Stat(filepath.Join(w.dir, ".upload-service/displaced")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("they were moved aside (%v)", err)
	}
}

// A person's file may be read-only as well.
func TestForeignReadOnlyFile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"replaced", "removed"} {
		w.put(name, "of a person")
		w.ok(os.Chmod(w.path(name), 0o444))
	}
	w.set("replaced", w.blob("ours"))
	w.remove("removed")
	w.shows("replaced=ours")
	w.displaced("removed=of a person", "replaced=of a person")
}

// A file that can be written to is not ours, whatever other names it has: they
// may be all that somebody is about to make of it.
func TestForeignFileWithTwoNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"replaced", "removed"} {
		w.put(name, "of a person")
		w.ok(os.Link(w.path(name), filepath.Join(w.dir, name+" elsewhere")))
	}
	w.set("replaced", w.blob("ours"))
	w.remove("removed")
	w.shows("replaced=ours")
	w.displaced("removed=of a person", "replaced=of a person")
}

// An editor that saves by renaming puts its own file in the place of ours.
func TestSavedOverTheEntry(t *testing.T) {
	both(t, func(w *world) {
		ref := w.blob("ours")
		w.set("a", ref)
		w.put("new", "edited")
		w.ok(os.Rename(w.path("new"), w.path("a")))
		w.matches("a", ref, false)
		w.set("a", ref)
		w.shows("a=ours")
		w.displaced("a=edited")
	})
}

func TestOursInTheWay(t *testing.T) {
	both(t, func(w *world) {
		ref := w.blob("ours")
		w.set("a", ref)
		if err := w.tree.Set(w.Context(), "alice", "a/b", ref); err == nil {
			w.Error("Set below a shown file succeeded")
		}
		w.shows("a=ours")
		w.remove("a")
		w.set("a/b", ref)
		w.remove("a") // was removed before its place became a folder
		w.shows("a/b=ours")
		w.displaced()
	})
}

func TestSymbolicLinksAreNotFollowed(t *testing.T) {
	both(t, func(w *world) {
		ref := w.blob("ours")
		outside := w.TempDir()
		w.ok(os.WriteFile(filepath.Join(outside, "f"), []byte("secret"), 0o444))
		w.ok(w.tree.Set(w.Context(), "bob", "sub/f", ref))
		w.ok(os.Mkdir(w.path(""), 0o755))
		for link, target := range map[string]string{
			"out": outside, "in": "../bob/sub", "up": "../.upload-service", "loop": "loop",
		} {
			w.ok(os.Symlink(target, w.path(link)))
			for _, name := range []string{"/f", "/sub/f"} {
				if err := w.tree.Set(w.Context(), "alice", link+name, ref); err == nil {
					w.Errorf("Set went through the link %s", link)
				}
				if err := w.tree.Remove(w.Context(), "alice", link+name); err == nil {
					w.Errorf("Remove went through the link %s", link)
				}
				if _, err := w.tree.Matches("alice", link+name, ref); err == nil {
					w.Errorf("Matches went through the link %s", link)
				}
			}
		}
		if got, want := w.below("bob"), []string{"sub/f=ours"}; !slices.Equal(got, want) {
			w.Errorf("another owner's folder has %q, want %q", got, want)
		}
		if b, err := os.ReadFile(filepath.Join(outside, "f")); err != nil || string(b) != "secret" {
			w.Errorf("outside is %q, %v", b, err)
		}
		// The owner's folder itself.
		w.ok(os.Symlink(outside, filepath.Join(w.dir, "mallory")))
		if err := w.tree.Set(w.Context(), "mallory", "g", ref); err == nil {
			w.Error("Set went through a link in the place of an owner's folder")
		}
	})
}

func TestNamesThatLeadOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := w.blob("x")
	for _, tt := range []struct{ slug, name string }{
		{"alice", ""}, {"alice", "."}, {"alice", ".."}, {"alice", "../bob/f"}, {"alice", "a/../../bob/f"},
		{"alice", "/etc/passwd"}, {"alice", "a//b"}, {"alice", "a/"}, {"", "f"}, {"..", "f"}, {"alice/..", "f"},
		{".upload-service", "meta.db"}, {"alice/x", "f"}, {".", "f"},
	} {
		_, matches := w.tree.Matches(tt.slug, tt.name, ref)
		for method, err := range map[string]error{
			"Set":     w.tree.Set(t.Context(), tt.slug, tt.name, ref),
			"Remove":  w.tree.Remove(t.Context(), tt.slug, tt.name),
			"Matches": matches,
		} {
			if err == nil {
				t.Errorf("%s(%q, %q) succeeded", method, tt.slug, tt.name)
			}
		}
	}
}

func TestLongNames(t *testing.T) {
	both(t, func(w *world) {
		ref := w.blob("ours")
		long := strings.Repeat("ä", 127) + "x" // 255 bytes, and a cut falls into a letter
		for _, name := range []string{long, "deep/" + long, strings.Repeat("d", 255) + "/" + long} {
			w.put(name, "of a person")
			w.set(name, ref)
			w.matches(name, ref, true)
			w.remove(name)
			w.absent(name)
		}
		if got := w.below(".upload-service/displaced"); len(got) != 3 {
			w.Errorf("displaced are %q, want three", got)
		}
	})
}

// Neighbors come and go in the same folders; each path has one user, as the
// lock of the path sees to.
func TestRemovePrunesBesideSet(t *testing.T) {
	both(t, func(w *world) {
		refs := []blob.Ref{w.blob("one"), w.blob("two!")}
		var wg sync.WaitGroup
		for i := range 64 {
			name := fmt.Sprintf("a/b/%d/c/f%d", i%4, i)
			wg.Go(func() {
				for round := range 20 {
					ref := refs[(i+round)%2]
					if err := w.tree.Set(w.Context(), "alice", name, ref); err != nil {
						w.Error(err)
						return
					}
					if same, err := w.tree.Matches("alice", name, ref); err != nil || !same {
						w.Errorf("after Set, Matches = %v, %v", same, err)
					}
					if round%3 == 0 {
						continue // replace it
					}
					if err := w.tree.Remove(w.Context(), "alice", name); err != nil {
						w.Error(err)
						return
					}
				}
				if err := w.tree.Remove(w.Context(), "alice", name); err != nil {
					w.Error(err)
				}
			})
		}
		wg.Wait()
		w.shows()
		w.absent("a")
		w.displaced()
	})
}

// A folder that is pruned by two removals at once becomes a file in between:
// the later of them must not take the file for the folder.
func TestPrunedFolderBecomesFile(t *testing.T) {
	both(t, func(w *world) {
		ref := w.blob("ours")
		for range 200 {
			w.set("a/b", ref)
			w.set("a/c", ref)
			var wg sync.WaitGroup
			for _, name := range []string{"a/b", "a/c"} {
				wg.Go(func() {
					if err := w.tree.Remove(w.Context(), "alice", name); err != nil {
						w.Error(err)
					}
				})
			}
			wg.Go(func() {
				for {
					info, err := os.Lstat(w.path("a"))
					if err == nil && info.IsDir() {
						continue // its own removal is under way
					}
					if err := w.tree.Set(w.Context(), "alice", "a", ref); err != nil {
						w.Error(err)
					}
					return
				}
			})
			wg.Wait()
			w.matches("a", ref, true)
			w.remove("a")
		}
		w.displaced()
	})
}

// 64 paths find the same foreign file where they need a folder: it is moved
// once, and nothing that was made in its place.
func TestForeignFileInEverybodysWay(t *testing.T) {
	both(t, func(w *world) {
		w.put("a", "of a person")
		ref := w.blob("ours")
		var wg sync.WaitGroup
		var want []string
		for i := range 64 {
			name := fmt.Sprintf("a/%02d", i)
			want = append(want, name+"=ours")
			wg.Go(func() {
				if err := w.tree.Set(w.Context(), "alice", name, ref); err != nil {
					w.Error(err)
				}
			})
		}
		wg.Wait()
		w.shows(want...)
		w.displaced("a=of a person")
	})
}

func TestCanceledCopy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tree.WithoutLinks(w.tree)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.tree.Set(ctx, "alice", "a", w.blob("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("Set = %v, want context.Canceled", err)
	}
	w.shows()
}

func TestOpenClearsScratch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.ok(os.WriteFile(filepath.Join(w.dir, ".upload-service", "tmp", "half"), []byte("x"), 0o600))
	again, err := tree.Open(w.dir, w.blobs)
	w.ok(err)
	w.ok(again.Close())
	w.shows()
}

func TestWalk(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := w.blob("123")
	w.set("a/b/c", ref)
	w.set("d", ref)
	w.put("e/\xff\xfe/latin", "x") // not UTF-8
	w.ok(w.tree.Set(t.Context(), "bob", "f", ref))
	w.ok(os.WriteFile(filepath.Join(w.dir, "top"), nil, 0o644))
	w.ok(os.Symlink("../bob", w.path("link")))

	var got []string
	walk := func(slug, path string, info fs.FileInfo) error {
		got = append(got, fmt.Sprintf("%s|%s|%v", slug, path, info.Mode().Type()))
		return nil
	}
	w.ok(w.tree.Walk(walk))
	slices.Sort(got)
	want := []string{
		"alice|a/b/c|----------", "alice|d|----------", "alice|e/\xff\xfe/latin|----------",
		"alice|link|L---------", "bob|f|----------", "top||----------",
	}
	if !slices.Equal(got, want) {
		t.Errorf("Walk = %q,\nwant %q", got, want)
	}
	stop := errors.New("stop")
	calls := 0
	err := w.tree.Walk(func(string, string, fs.FileInfo) error { calls++; return stop })
	if !errors.Is(err, stop) || calls != 1 {
		t.Errorf("Walk = %v after %d calls, want the function's error after one", err, calls)
	}
}

// A copy that was made before must be known as ours by its time, however the
// file system rounds it.
func TestCopyOfAnotherBlob(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	tree.WithoutLinks(w.tree)
	one := w.blob("one")
	w.set("a", one)
	w.ok(os.Chtimes(w.path("a"), time.Time{}, time.Now().Add(-time.Hour)))
	w.matches("a", one, false) // same size, another time: nobody knows
	w.set("a", one)
	w.matches("a", one, true)
	w.displaced()
}

// TestSync: every folder in which a name may have changed is synced, once, also
// where Set found nothing to do, and again if it failed.
func TestSync(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var synced []string
	failing := ""
	tree.WatchSync(w.tree, func(folder string) error {
		if synced = append(synced, folder); folder == failing {
			return errors.New("input/output error")
		}
		return nil
	})
	sync := func(fails bool, want ...string) {
		t.Helper()
		synced = nil
		if err := w.tree.Sync(t.Context()); (err != nil) != fails {
			t.Errorf("sync: %v", err)
		}
		if slices.Sort(synced); !slices.Equal(synced, want) {
			t.Errorf("synced %q, want %q", synced, want)
		}
	}
	ref := w.blob("content")
	w.ok(w.tree.Set(t.Context(), "alice", "a/b/f", ref))
	failing = "alice/a"
	sync(true, ".", "alice", "alice/a", "alice/a/b")
	failing = ""
	sync(false, "alice/a")
	sync(false)
	w.ok(w.tree.Set(t.Context(), "alice", "a/b/f", ref)) // shown by a process that did not sync it, say
	sync(false, ".", "alice", "alice/a", "alice/a/b")
	w.ok(w.tree.Remove(t.Context(), "alice", "a/b/f"))
	sync(false, ".", "alice", "alice/a", "alice/a/b") // of which the last two are gone
	// What is moved aside has its new name before the old one is lost.
	w.ok(os.WriteFile(w.path("foreign"), []byte("a person's"), 0o644))
	synced = nil
	w.ok(w.tree.Set(t.Context(), "alice", "foreign", ref))
	if slices.Sort(synced); !slices.Equal(synced, []string{
		".upload-service", ".upload-service/displaced", ".upload-service/displaced/alice",
	}) {
		t.Errorf("moving a file aside synced %q", synced)
	}
	sync(false, ".", "alice")
}

// TestFolderWithOurEntries: a folder in the place of a file is not moved aside
// while something of ours is in it.
func TestFolderWithOurEntries(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ref := w.blob("content")
	w.ok(w.tree.Set(t.Context(), "alice", "a/b/f", ref))
	if err := w.tree.Set(t.Context(), "alice", "a", ref); err == nil {
		t.Error("a folder with an entry of ours became a file")
	}
	w.ok(w.tree.Remove(t.Context(), "alice", "a/b/f"))
	w.ok(w.tree.Set(t.Context(), "alice", "a", ref))
	if _, err := os.Stat(filepath.Join(w.dir, ".upload-service", "displaced")); !os.IsNotExist(err) {
		t.Errorf("something was moved aside: %v", err)
	}
}

// Whoever has to look for what was moved aside is told where it is.
func TestAside(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var moved []string
	w.tree.Aside = func(from, to string) {
		moved = append(moved, from)
		if b, err := os.ReadFile(filepath.Join(w.dir, to)); err != nil || string(b) != "of a person" {
			t.Errorf("%s is %q, %v", to, b, err)
		}
	}
	w.put("a", "of a person")
	w.set("a", w.blob("ours"))
	w.set("a", w.blob("ours, too"))
	w.remove("a")
	if !slices.Equal(moved, []string{"alice/a"}) {
		t.Errorf("moved aside: %q", moved)
	}
}
