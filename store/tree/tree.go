// Package tree shows files under their names on disk:
//
//	<dir>/<slug>/<path>
//
// It is a view for people: each entry is a hard link to a blob, or a read-only
// copy where there can be no link. The records are the truth, the caller holds
// the lock of the path, and whatever a crash leaves undone is done again from
// the records. So Set and Remove sync nothing: that would cost every upload.
// Sync does, for all of them together, when the caller wants to forget what
// would have to be done again.
//
// Nothing of a person's is destroyed: what lies where the tree needs the place
// and was not put there by this package is moved to
//
//	<dir>/.upload-service/displaced/<slug>/<path>.<nanoseconds since 1970>
//
// and stays there until a person removes it. Symbolic links are never
// followed: one in the place of an entry is moved, one in the place of a
// folder is an error.
package tree

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"upload-service/store/blob"
)

// Source is what the tree needs of the blobs, which lie in the same folder.
type Source interface {
	// Name is the absolute name of the file of a blob.
	Name(ref blob.Ref) (string, error)
	// Open reads a blob, for a copy.
	Open(ctx context.Context, ref blob.Ref, offset, length int64) (io.ReadCloser, error)
}

const (
	internal  = ".upload-service"
	scratch   = internal + "/tmp"       // what is on its way into the tree
	displaced = internal + "/displaced" // what was in its way
)

// Tree is the visible tree of one upload folder. Its methods may be called
// concurrently for different paths.
type Tree struct {
	// Aside is called for each thing that is moved aside, with the names it had
	// and got below the folder, if it is not nil.
	Aside func(from, to string)

	dir    string // absolute
	root   *os.Root
	source Source
	link   func(from, to string) error // of root; a test lets it fail
	sync   func(folder string) error   // below root; likewise

	moving sync.Mutex // held while something is moved aside

	mu      sync.Mutex
	changed map[string]bool // folders to sync
}

// Open opens the tree below dir, which must exist, and removes what an earlier
// process left on its way.
func Open(dir string, source Source) (*Tree, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open the visible tree: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the visible tree: %w", err)
	}
	err = root.RemoveAll(scratch)
	if err == nil {
		err = root.MkdirAll(scratch, 0o700)
	}
	if err != nil {
		root.Close()
		return nil, fmt.Errorf("open the visible tree: %w", err)
	}
	return &Tree{
		dir: dir, root: root, source: source, link: root.Link,
		sync:    func(folder string) error { return syncFolder(root, folder) },
		changed: map[string]bool{},
	}, nil
}

// Close releases the folder.
func (t *Tree) Close() error { return t.root.Close() }

// entryName joins what names an entry. It refuses what could lead out of the
// owner's folder; the callers' paths never do.
func entryName(slug, name string) (string, error) {
	entry := slug + "/" + name
	if !fs.ValidPath(entry) || !filepath.IsLocal(filepath.FromSlash(entry)) ||
		strings.Contains(slug, "/") || slug == internal {
		return "", fmt.Errorf("visible tree: %q is not an entry", entry)
	}
	return entry, nil
}

// tries bounds how often Set starts again. Each time somebody else changed
// the same folders at the same moment.
const tries = 100

// Set makes the entry show the blob.
func (t *Tree) Set(ctx context.Context, slug, name string, ref blob.Ref) error {
	entry, err := entryName(slug, name)
	if err != nil {
		return err
	}
	from, content, err := t.blob(ref)
	if err != nil {
		return fmt.Errorf("show %s: %w", entry, err)
	}
	defer t.touch(entry)
	for range tries {
		err = t.set(ctx, entry, ref, from, content)
		// A neighbor's Remove took the folders away, or somebody put a file
		// there, between two steps.
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("show %s: %w", entry, err)
	}
	return nil
}

func (t *Tree) set(ctx context.Context, entry string, ref blob.Ref, from string, content fs.FileInfo) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	// 1. The folders.
	if err := t.makeFolders(path.Dir(entry)); err != nil {
		return err
	}
	// 2. What is there? If it is not ours, it goes aside.
	info, err := t.root.Lstat(entry)
	present := err == nil
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if present && info.IsDir() {
		if err := t.folderForFile(entry); err != nil {
			return err
		}
	}
	if present {
		if same, err := t.shows(entry, info, from, content); err != nil || same {
			return err
		}
		if present, err = t.ours(entry, info); err == nil && !present {
			err = t.moveAside(entry, info)
		}
		if err != nil {
			return err
		}
	}
	// 3. A link where nothing is: it never replaces anything.
	if !present {
		if err := t.link(from, entry); !cannotLink(err) {
			return err
		}
	}
	// 4. Else a new name beside the tree takes the place at once. Rename does
	// nothing if both are links to one file, so the new name goes in any case.
	tmp := temporary()
	defer t.root.Remove(tmp) //nolint:errcheck // usually it was renamed
	err = t.link(from, tmp)
	if cannotLink(err) {
		err = t.copy(ctx, ref, tmp, content.ModTime())
	}
	if err != nil {
		return err
	}
	return t.root.Rename(tmp, entry)
}

func temporary() string { return scratch + "/" + rand.Text() }

// blob returns the file of a blob, named as the root sees it.
func (t *Tree) blob(ref blob.Ref) (name string, info fs.FileInfo, err error) {
	if name, err = t.source.Name(ref); err != nil {
		return "", nil, err
	}
	if name, err = filepath.Rel(t.dir, name); err != nil {
		return "", nil, err
	}
	info, err = t.root.Lstat(name)
	return name, info, err
}

// copy makes a copy that has the blob's time, by which it is known again.
func (t *Tree) copy(ctx context.Context, ref blob.Ref, to string, modified time.Time) error {
	r, err := t.source.Open(ctx, ref, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := t.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, untilDone{ctx, r})
	if err == nil {
		err = f.Sync() // a copy is known by its size and time, not by its bytes
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return t.root.Chtimes(to, modified, modified)
}

// untilDone ends a long copy when its context is done.
type untilDone struct {
	ctx context.Context
	r   io.Reader
}

func (u untilDone) Read(p []byte) (int, error) {
	if err := u.ctx.Err(); err != nil {
		return 0, err
	}
	return u.r.Read(p)
}

// folders yields a, a/b and a/b/c for a/b/c.
func folders(dir string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for i := range len(dir) + 1 {
			if (i == len(dir) || dir[i] == '/') && !yield(dir[:i]) {
				return
			}
		}
	}
}

// isFolder is false for what is absent or a file.
func (t *Tree) isFolder(name string) (bool, error) {
	info, err := t.root.Lstat(name)
	if err != nil {
		if isAbsent(err) {
			err = nil
		}
		return false, err
	}
	if info.Mode()&fs.ModeSymlink != 0 {
		return false, fmt.Errorf("%s is a symbolic link, and those are not followed", name)
	}
	return info.IsDir(), nil
}

// hasFolders reports whether an entry's folders exist.
func (t *Tree) hasFolders(dir string) (bool, error) {
	for name := range folders(dir) {
		if is, err := t.isFolder(name); err != nil || !is {
			return false, err
		}
	}
	return true, nil
}

func (t *Tree) makeFolders(dir string) error {
	for name := range folders(dir) {
		is, err := t.isFolder(name)
		if err != nil {
			return err
		}
		if is {
			continue
		}
		if err = t.root.Mkdir(name, 0o755); errors.Is(err, fs.ErrExist) {
			err = t.fileForFolder(name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fileForFolder is for a file in the place of a folder. One of ours is the
// business of its own path: its removal is under way. What is not ours goes
// aside, and fs.ErrExist tells the caller to start again.
func (t *Tree) fileForFolder(name string) error {
	info, err := t.root.Lstat(name)
	if err != nil || info.IsDir() {
		return err // somebody else made the folder
	}
	ours, err := t.ours(name, info)
	if err != nil {
		return err
	}
	if ours {
		return fmt.Errorf("%s is still a file and has to become a folder", name)
	}
	if err := t.moveAside(name, info); err != nil {
		return err
	}
	return fs.ErrExist
}

// folderForFile is for a folder in the place of a file. Entries of ours in it
// are the business of their own paths: their removal is under way. A folder
// without any is not ours.
func (t *Tree) folderForFile(name string) error {
	return t.walk(name, func(slug, rest string, info fs.FileInfo) error {
		entry := slug + "/" + rest
		ours, err := t.ours(entry, info)
		if err == nil && ours {
			err = fmt.Errorf("%s still has %s and has to become a file", name, entry)
		}
		return err
	})
}

// Remove removes the entry, and the folders that become empty up to the
// owner's. A folder under the entry's name is not the entry: it stays.
func (t *Tree) Remove(ctx context.Context, slug, name string) error {
	return t.takeAway(slug, name, t.moveAside)
}

// takeAway removes an entry; what is not ours is left to foreign.
func (t *Tree) takeAway(slug, name string, foreign func(entry string, info fs.FileInfo) error) error {
	entry, err := entryName(slug, name)
	if err != nil {
		return err
	}
	defer t.touch(entry)
	if err := t.remove(entry, foreign); err != nil && !isAbsent(err) {
		return fmt.Errorf("stop showing %s: %w", entry, err)
	}
	return nil
}

func (t *Tree) remove(entry string, foreign func(entry string, info fs.FileInfo) error) error {
	// 1. The entry.
	if there, err := t.hasFolders(path.Dir(entry)); err != nil || !there {
		return err
	}
	info, err := t.root.Lstat(entry)
	if err != nil || info.IsDir() {
		return err
	}
	ours, err := t.ours(entry, info)
	if err != nil {
		return err
	}
	if ours {
		err = t.root.Remove(entry)
	} else {
		err = foreign(entry, info)
	}
	if err != nil {
		return err
	}
	// 2. The folders. By now a neighbor may have pruned one and another put a
	// file there, which must stay.
	for dir := path.Dir(entry); strings.Contains(dir, "/"); dir = path.Dir(dir) {
		if removeFolder(t.root, dir) != nil {
			break // not empty, or somebody else was faster
		}
	}
	return nil
}

// touch notes the folders of an entry for Sync, once the change is made.
func (t *Tree) touch(entry string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed["."] = true
	for name := range folders(path.Dir(entry)) {
		t.changed[name] = true
	}
}

// Sync makes durable what Set and Remove did before the call, or found done.
func (t *Tree) Sync(ctx context.Context) error {
	t.mu.Lock()
	names := t.changed
	t.changed = map[string]bool{}
	t.mu.Unlock()
	var failed []error
	for name := range names {
		err := ctx.Err()
		if err == nil {
			err = t.sync(name)
		}
		if err != nil && !isAbsent(err) { // what is absent was removed from one of the others
			failed = append(failed, fmt.Errorf("sync folder %s of the visible tree: %w", name, err))
			t.mu.Lock()
			t.changed[name] = true
			t.mu.Unlock()
		}
	}
	return errors.Join(failed...)
}

// isAbsent: also below a file there is nothing.
func isAbsent(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// ours reports whether an entry can go without loss. All that we make is
// read-only. With several names it can go: it is our link, or a person has it
// elsewhere. With one name it can only be our copy, which lies where there can
// be no link; if it can be linked now, we would have linked it, and it is a
// person's.
func (t *Tree) ours(entry string, info fs.FileInfo) (bool, error) {
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o222 != 0 {
		return false, nil
	}
	n, err := links(t.root, entry, info)
	if err != nil || n > 1 {
		return err == nil, err
	}
	tmp := temporary()
	err = t.link(entry, tmp)
	if cannotLink(err) {
		return true, nil
	}
	if err == nil {
		err = t.root.Remove(tmp)
	}
	return false, err
}

// moveAside moves what is not ours, described by info, out of the tree. If it
// is no longer there it does nothing. A folder without a file, which has nothing
// to keep, is removed: most likely a neighbor is pruning it.
func (t *Tree) moveAside(entry string, info fs.FileInfo) error {
	// Two paths may find the same file in their way. The second must not move
	// what the first put in its place.
	t.moving.Lock()
	defer t.moving.Unlock()
	now, err := t.root.Lstat(entry)
	if err != nil || !os.SameFile(info, now) {
		return err
	}
	if info.IsDir() && t.removeEmpty(entry) == nil {
		return nil
	}
	to := displacedName(entry, time.Now())
	if err := t.root.MkdirAll(path.Dir(to), 0o700); err != nil {
		return err
	}
	if err := t.root.Rename(entry, to); err != nil {
		return err
	}
	if t.Aside != nil {
		t.Aside(entry, to)
	}
	// The new name is durable before the next Sync makes the loss of the old one so.
	for name := range folders(path.Dir(to)) {
		if err := t.sync(name); err != nil {
			return fmt.Errorf("sync folder %s: %w", name, err)
		}
	}
	return nil
}

// removeEmpty removes a folder in which there are at most other empty ones.
func (t *Tree) removeEmpty(dir string) error {
	if err := removeFolder(t.root, dir); err == nil || isAbsent(err) {
		return nil
	}
	inner, err := fs.ReadDir(t.root.FS(), dir)
	for _, e := range inner {
		if err == nil && !e.IsDir() {
			err = fs.ErrExist
		}
		if err == nil {
			err = t.removeEmpty(dir + "/" + e.Name())
		}
	}
	if err != nil {
		return err
	}
	return removeFolder(t.root, dir)
}

// displacedName is where an entry is moved to. A name that becomes longer than
// the 255 bytes of a file system loses its end.
func displacedName(entry string, now time.Time) string {
	suffix := fmt.Sprintf(".%d", now.UnixNano())
	dir, base := path.Split(entry)
	base = base[:min(len(base), 255-len(suffix))]
	return displaced + "/" + dir + strings.ToValidUTF8(base, "") + suffix
}

// Hidden is the tree where nothing is to be shown. Entries that are there all
// the same, of files that were adopted or shown before, go when their files
// change or go: they are names of their bytes. What is not ours stays.
type Hidden struct{ *Tree }

// Set removes the entry.
func (h Hidden) Set(ctx context.Context, slug, name string, _ blob.Ref) error {
	return h.Remove(ctx, slug, name)
}

// Remove removes the entry, if it is ours.
func (h Hidden) Remove(_ context.Context, slug, name string) error {
	return h.takeAway(slug, name, func(string, fs.FileInfo) error { return nil })
}

// Matches reports whether the entry shows nothing but the blob.
func (h Hidden) Matches(slug, name string, ref blob.Ref) (bool, error) {
	same, err := h.Tree.Matches(slug, name, ref)
	if err != nil || same {
		return same, err
	}
	entry, err := entryName(slug, name)
	if err != nil {
		return false, err
	}
	if there, err := h.hasFolders(path.Dir(entry)); err != nil || !there {
		return err == nil, err
	}
	info, err := h.root.Lstat(entry)
	if isAbsent(err) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	ours, err := h.ours(entry, info)
	return !ours, err
}

// Matches reports whether the entry shows the blob.
func (t *Tree) Matches(slug, name string, ref blob.Ref) (bool, error) {
	entry, err := entryName(slug, name)
	if err != nil {
		return false, err
	}
	same, err := t.matches(entry, ref)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", entry, err)
	}
	return same, nil
}

func (t *Tree) matches(entry string, ref blob.Ref) (bool, error) {
	file, content, err := t.blob(ref)
	if err != nil {
		return false, err
	}
	if there, err := t.hasFolders(path.Dir(entry)); err != nil || !there {
		return false, err
	}
	info, err := t.root.Lstat(entry)
	if isAbsent(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return t.shows(entry, info, file, content)
}

// shows reports whether an entry is the blob's file, or a copy by size and
// time. Times may differ by the two seconds to which FAT rounds.
func (t *Tree) shows(entry string, info fs.FileInfo, file string, content fs.FileInfo) (bool, error) {
	if os.SameFile(info, content) {
		return true, nil
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o222 != 0 || info.Size() != content.Size() ||
		info.ModTime().Sub(content.ModTime()).Abs() > 2*time.Second {
		return false, nil
	}
	names, err := links(t.root, entry, info)
	if err != nil {
		return false, err
	}
	others, err := links(t.root, file, content)
	return names == 1 && others == 1, err
}

// Shown reports whether a blob has another name than its own: an entry, or one
// that a person gave it. A copy is none.
func (t *Tree) Shown(ref blob.Ref) (bool, error) {
	file, info, err := t.blob(ref)
	if isAbsent(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at blob %s: %w", ref, err)
	}
	n, err := links(t.root, file, info)
	return n > 1, err
}

// Walk calls fn for everything in the tree that is not a folder, in no order;
// path is "" for what lies beside the owners' folders. An error of fn ends it.
func (t *Tree) Walk(fn func(slug, path string, info fs.FileInfo) error) error {
	return t.walk(".", fn)
}

func (t *Tree) walk(dir string, fn func(slug, path string, info fs.FileInfo) error) error {
	var inner []string
	d, err := t.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed meanwhile
	}
	if err != nil {
		return fmt.Errorf("walk the visible tree: %w", err)
	}
	defer d.Close()
	// A page at a time: memory does not grow with the number of files.
	for {
		entries, end := d.ReadDir(1000)
		for _, e := range entries {
			name := path.Join(dir, e.Name())
			if name == internal {
				continue
			}
			if e.IsDir() {
				inner = append(inner, name)
				continue
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err != nil {
				return fmt.Errorf("walk the visible tree: %w", err)
			}
			slug, rest, _ := strings.Cut(name, "/")
			if err := fn(slug, rest, info); err != nil {
				return err
			}
		}
		if end == io.EOF {
			break
		}
		if end != nil {
			return fmt.Errorf("walk the visible tree: %w", end)
		}
	}
	d.Close() // before going down, so that depth does not cost descriptors
	for _, name := range inner {
		if err := t.walk(name, fn); err != nil {
			return err
		}
	}
	return nil
}
