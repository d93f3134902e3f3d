// Package tree shows files under their names on disk:
//
//	<dir>/<slug>/<path>
//
// It is a view for people: each entry is a hard link to a blob, or a copy
// where the file system cannot link. The records are the truth, the caller
// holds the lock of the path, and whatever a crash leaves undone is done again
// from the records, so nothing here is synced.
//
// Nothing of a person's is destroyed: what lies where an entry must go and was
// not put there by this package is moved to .upload-service/displaced. Symbolic
// links are never followed.
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
	"time"

	"upload-service/store/blob"
)

// Source is what the tree needs of the blobs.
type Source interface {
	// Name is where the bytes of a blob lie.
	Name(ref blob.Ref) (string, error)
	// Open reads a blob, for a copy.
	Open(ctx context.Context, ref blob.Ref, offset, length int64) (io.ReadCloser, error)
}

const internal = ".upload-service"

// Tree is the visible tree of one upload folder.
type Tree struct {
	dir    string
	root   *os.Root
	source Source
}

// Open opens the tree below dir, which must exist.
func Open(dir string, source Source) (*Tree, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the visible tree: %w", err)
	}
	t := &Tree{dir, root, source}
	if err := root.MkdirAll(t.internal("tmp"), 0o700); err != nil {
		root.Close()
		return nil, fmt.Errorf("open the visible tree: %w", err)
	}
	return t, nil
}

// Close releases the folder.
func (t *Tree) Close() error { return t.root.Close() }

func (t *Tree) internal(name string) string { return internal + "/" + name }

// Set makes the entry show the blob.
func (t *Tree) Set(ctx context.Context, slug, name string, ref blob.Ref) error {
	entry := path.Join(slug, name)
	if same, err := t.Matches(slug, name, ref); err != nil || same {
		return err
	}
	// 1. A new entry beside the tree.
	tmp := t.internal("tmp/" + rand.Text())
	if err := t.link(ref, tmp); err != nil {
		if err := t.copy(ctx, ref, tmp); err != nil {
			return err
		}
	}
	defer t.root.Remove(tmp) //nolint:errcheck // it was renamed, or is of no use
	// 2. Room for it.
	if err := t.displace(slug, name, false); err != nil {
		return err
	}
	// 3. Into its place at once. Folders may vanish while a neighbour is
	// removed; then they are made again.
	for try := 0; ; try++ {
		if err := t.mkdirs(path.Dir(entry)); err != nil {
			return err
		}
		err := t.root.Rename(tmp, entry)
		if err == nil || !errors.Is(err, fs.ErrNotExist) || try == 100 {
			return err
		}
	}
}

func (t *Tree) link(ref blob.Ref, to string) error {
	name, err := t.source.Name(ref)
	if err != nil {
		return err
	}
	from, err := filepath.Rel(t.dir, name)
	if err != nil {
		return err
	}
	return t.root.Link(from, to)
}

func (t *Tree) copy(ctx context.Context, ref blob.Ref, to string) error {
	r, err := t.source.Open(ctx, ref, 0, -1)
	if err != nil {
		return err
	}
	defer r.Close()
	f, err := t.root.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		t.root.Remove(to) //nolint:errcheck // the first error counts
	}
	return err
}

// mkdirs makes the folders of an entry. A symbolic link in their place is
// refused: what is behind it is not ours.
func (t *Tree) mkdirs(dir string) error {
	made := ""
	for segment := range strings.SplitSeq(dir, "/") {
		made = path.Join(made, segment)
		err := t.root.Mkdir(made, 0o755)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
		info, err := t.root.Lstat(made)
		if errors.Is(err, fs.ErrNotExist) {
			return nil // vanished again: the caller's rename fails and it tries anew
		}
		if err != nil {
			return err
		}
		if !info.IsDir() {
			return fmt.Errorf("%s is in the way: it is not a folder", made)
		}
	}
	return nil
}

// Remove removes the entry and the folders that become empty, up to the
// owner's.
func (t *Tree) Remove(ctx context.Context, slug, name string) error {
	if err := t.displace(slug, name, true); err != nil {
		return err
	}
	entry := path.Join(slug, name)
	if err := t.root.Remove(entry); err != nil && !gone(err) {
		return err
	}
	for dir := path.Dir(entry); dir != slug && dir != "."; dir = path.Dir(dir) {
		if err := t.root.Remove(dir); err != nil {
			break // not empty
		}
	}
	return nil
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "not a directory")
}

// displace moves what is not ours out of the way. Ours is a regular file that
// shares its bytes with a blob, or is read-only as our copies are.
func (t *Tree) displace(slug, name string, keepFolders bool) error {
	entry := path.Join(slug, name)
	info, err := t.root.Lstat(entry)
	if err != nil {
		if gone(err) {
			return nil
		}
		return err
	}
	switch {
	case info.IsDir() && keepFolders:
		return nil
	case info.Mode().IsRegular() && (links(info) > 1 || info.Mode().Perm() == 0o444):
		return nil
	case info.IsDir() && t.root.Remove(entry) == nil:
		return nil // it was empty
	}
	to := fmt.Sprintf("%s.%d", t.internal("displaced/"+entry), time.Now().UnixNano())
	if err := t.root.MkdirAll(path.Dir(to), 0o700); err != nil {
		return err
	}
	return t.root.Rename(entry, to)
}

// Matches reports whether the entry shows the blob: it is the same file, or a
// copy of the same size.
func (t *Tree) Matches(slug, name string, ref blob.Ref) (bool, error) {
	info, err := t.root.Lstat(path.Join(slug, name))
	if err != nil {
		if gone(err) {
			return false, nil
		}
		return false, err
	}
	of, err := t.source.Name(ref)
	if err != nil {
		return false, err
	}
	bytes, err := os.Lstat(of)
	if err != nil {
		return false, err
	}
	if os.SameFile(info, bytes) {
		return true, nil
	}
	copied := info.Mode().IsRegular() && info.Mode().Perm() == 0o444 && links(info) == 1 &&
		info.Size() == bytes.Size() && !info.ModTime().Before(bytes.ModTime())
	return copied && links(bytes) == 1, nil
}

// Walk calls fn for every entry that is not a folder.
func (t *Tree) Walk(fn func(slug, path string, info fs.FileInfo) error) error {
	return fs.WalkDir(t.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case name == internal:
			return fs.SkipDir
		case d.IsDir():
			return nil
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		slug, rest, _ := strings.Cut(name, "/")
		return fn(slug, rest, info)
	})
}
