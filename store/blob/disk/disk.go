// Package disk keeps blobs as files of one folder:
//
//	<dir>/<epoch>/<id>   read-only, the content and nothing else
//
// A file that was there before (adopt.go) gets that name besides its own. A
// content that comes in pieces (append.go) grows under that name, writable
// for its owner alone, until it is sealed.
//
// A blob is written under its final name and is durable when Create returns:
// the file is synced, then the folder that names it; the folder's own name was
// synced before its first blob. Nothing is ever renamed or overwritten, so a
// reader needs no lock, and a crash leaves at most a file that no record names.
//
// One process at a time may use a folder; the metadata's lock sees to that.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"upload-service/store/blob"
	"upload-service/store/failpoint"
)

// Store is an open folder of blobs. It implements blob.Store.
type Store struct {
	dir    string // absolute
	root   *os.Root
	calls  calls
	shared *shared // how the epochs' folders are synced
	kept   *kept   // contents that grow, open between their pieces

	// An epoch's folder appears and disappears under the write lock. The read
	// lock is held while a name is made in it, and from the removal of names
	// until that is synced. So a folder whose name is not durable gets no
	// blob, and one that vanishes takes no unsynced removal along.
	folders sync.RWMutex
	durable map[string]bool // epochs whose folder exists and survives power loss
}

// Open makes the folder if it is missing. What it lies in must exist.
func Open(dir string) (*Store, error) {
	// Absolute, since Name is compared with other absolute names.
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder for contents: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for contents: %w", err)
	}
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return nil, fmt.Errorf("open the folder for contents: %w", err)
	}
	defer parent.Close()
	if err := (system{parent}).syncDir("."); err != nil {
		return nil, fmt.Errorf("sync the folder for contents: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder for contents: %w", err)
	}
	c := system{root}
	return &Store{
		dir: dir, root: root, calls: c, shared: newShared(c.syncDir), kept: newKept(), durable: map[string]bool{},
	}, nil
}

// Close releases the folder.
func (s *Store) Close() error {
	s.kept.close()
	return s.root.Close()
}

// name is the file of a blob, below the store's folder.
func name(ref blob.Ref) (string, error) {
	if _, err := blob.ParseRef(string(ref)); err != nil {
		return "", fmt.Errorf("%w: %.60q", err, string(ref))
	}
	return filepath.FromSlash(string(ref)), nil
}

// Create implements blob.Store.
func (s *Store) Create(ctx context.Context, ref blob.Ref, r io.Reader) (n int64, err error) {
	file, err := name(ref)
	if err != nil {
		return 0, err
	}
	// 1. The name, which must be new.
	f, err := s.create(file, ref.Epoch(), s.calls.create)
	if err != nil {
		return 0, wrap("create blob", ref, err)
	}
	// If r panics, this runs too. The removal is as durable as a blob: a
	// neighbor's sync may have made the name so, and the caller takes it
	// that nothing is left to recover.
	complete := false
	defer func() {
		if !complete {
			f.Close()
			_, undone := s.Delete(context.WithoutCancel(ctx), ref)
			n, err = 0, errors.Join(err, undone)
		}
	}()
	// 2. The content.
	if n, err = s.copy(ctx, ref, f, r); err != nil {
		return 0, err
	}
	failpoint.Hit("blob: written")
	// 3. The content becomes durable, then the name.
	if err = s.calls.sync(f); err != nil {
		return 0, wrap("sync blob", ref, err)
	}
	if err = f.Close(); err != nil {
		return 0, wrap("close blob", ref, err)
	}
	if err = s.shared.sync(ref.Epoch()); err != nil {
		return 0, wrap("sync the folder of blob", ref, err)
	}
	failpoint.Hit("blob: synced")
	complete = true
	return n, nil
}

// create makes the file by call, and the epoch's folder for the first one.
func (s *Store) create(file, epoch string, call func(string) (*os.File, error)) (*os.File, error) {
	for {
		f, err := s.createIn(file, epoch, call)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if err := s.makeFolder(epoch); err != nil {
			return nil, err
		}
	}
}

// createIn fails with fs.ErrNotExist unless the folder is there and durable.
func (s *Store) createIn(file, epoch string, call func(string) (*os.File, error)) (*os.File, error) {
	s.folders.RLock()
	defer s.folders.RUnlock()
	if !s.durable[epoch] {
		return nil, fs.ErrNotExist
	}
	return call(file)
}

func (s *Store) makeFolder(epoch string) error {
	s.folders.Lock()
	defer s.folders.Unlock()
	err := s.calls.mkdir(epoch)
	if errors.Is(err, fs.ErrExist) {
		if s.durable[epoch] {
			return nil // somebody was faster
		}
		err = nil // of an earlier process, which may not have synced it
	}
	if err != nil {
		return err
	}
	delete(s.durable, epoch)
	if err := s.calls.syncDir("."); err != nil {
		return err
	}
	s.durable[epoch] = true
	return nil
}

// removeFolder removes the epoch's folder if it is empty.
func (s *Store) removeFolder(epoch string) {
	s.folders.Lock()
	defer s.folders.Unlock()
	if s.calls.rmdir(epoch) == nil {
		delete(s.durable, epoch)
	}
}

// copy copies r to f. It looks at ctx between reads. An error of r stays what
// it is: only the disk's own errors mean that a blob exists or space is short.
func (s *Store) copy(ctx context.Context, ref blob.Ref, f *os.File, r io.Reader) (n int64, err error) {
	var buf blob.Buffer
	defer buf.Free()
	back := writeback{f: f}
	k := 0 // what the last read yielded
	for {
		if err := ctx.Err(); err != nil {
			return n, fmt.Errorf("receive blob %s: %w", ref, err)
		}
		b := buf.Next(int64(k))
		var rerr error
		k, rerr = r.Read(b)
		if k > 0 {
			w, err := s.calls.write(f, b[:k])
			n += int64(w)
			back.wrote(w)
			if err != nil {
				return n, wrap("write blob", ref, err)
			}
		}
		if rerr == io.EOF {
			return n, nil
		}
		if rerr != nil {
			return n, fmt.Errorf("receive blob %s: %w", ref, rerr)
		}
	}
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, refs ...blob.Ref) (gone []blob.Ref, err error) {
	gone, err = s.unlink(ctx, refs)
	for _, epoch := range epochs(gone) {
		s.removeFolder(epoch)
	}
	return gone, err
}

func (s *Store) unlink(ctx context.Context, refs []blob.Ref) (gone []blob.Ref, err error) {
	s.folders.RLock()
	defer s.folders.RUnlock()
	// 1. The names go.
	var errs []error
	var unlinked []blob.Ref
	for _, ref := range refs {
		file, err := name(ref)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = s.calls.unlink(file)
			s.kept.drop(ref)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, wrap("delete blob", ref, err))
			continue
		}
		unlinked = append(unlinked, ref)
	}
	failpoint.Hit("blob: unlinked")
	// 2. That becomes durable: one sync for each folder, also for names that
	// were absent, since their removal may not have been synced. A folder that
	// is absent was empty and synced.
	failed := map[string]bool{}
	for _, epoch := range epochs(unlinked) {
		if err := s.shared.sync(epoch); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("sync epoch %s: %w", epoch, err))
			failed[epoch] = true
		}
	}
	// 3. Only now they are certainly gone.
	for _, ref := range unlinked {
		if !failed[ref.Epoch()] {
			gone = append(gone, ref)
		}
	}
	return gone, errors.Join(errs...)
}

// epochs are the different epochs of refs.
func epochs(refs []blob.Ref) (names []string) {
	for _, ref := range refs {
		if !slices.Contains(names, ref.Epoch()) {
			names = append(names, ref.Epoch())
		}
	}
	return names
}

// errStray: something lies under a blob's name and is none.
var errStray = fmt.Errorf("not a regular file: %w", fs.ErrNotExist)

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, ref blob.Ref) (blob.Info, error) {
	info, err := s.StatFile(ref)
	if err != nil {
		return blob.Info{}, err
	}
	return blob.Info{Ref: ref, Size: info.Size()}, nil
}

// StatFile implements blob.Adopter.
func (s *Store) StatFile(ref blob.Ref) (fs.FileInfo, error) {
	file, err := name(ref)
	if err != nil {
		return nil, err
	}
	info, err := s.root.Lstat(file)
	if err == nil && !info.Mode().IsRegular() {
		err = errStray
	}
	if err != nil {
		return nil, wrap("stat blob", ref, err)
	}
	return info, nil
}

// Open implements blob.Store. The reader implements blob.File.
func (s *Store) Open(ctx context.Context, ref blob.Ref, offset, length int64) (io.ReadCloser, error) {
	file, err := name(ref)
	if err != nil {
		return nil, err
	}
	f, err := s.root.Open(file)
	if err != nil {
		return nil, wrap("open blob", ref, err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errStray
	}
	if err == nil && length < 0 {
		length = info.Size() - offset
	}
	if err == nil && (offset < 0 || length < 0 || offset > info.Size()-length) {
		err = blob.ErrRange
	}
	if err != nil {
		f.Close()
		return nil, wrap("open blob", ref, err)
	}
	return &section{io.NewSectionReader(f, offset, length), f, offset, length}, nil
}

type section struct {
	*io.SectionReader
	f              *os.File
	offset, length int64
}

func (s *section) Close() error                      { return s.f.Close() }
func (s *section) Section() (*os.File, int64, int64) { return s.f, s.offset, s.length }

// List implements blob.Store.
func (s *Store) List(ctx context.Context, epoch string, fn func(blob.Info) bool, stray func(string)) error {
	if stray == nil {
		stray = func(string) {}
	}
	epochs := []string{epoch}
	if epoch == "" {
		epochs = nil
		err := s.readDir(ctx, ".", func(e fs.DirEntry) (bool, error) {
			if _, err := blob.ParseRef(e.Name() + "/" + anyID); err != nil || !e.IsDir() {
				stray(e.Name())
			} else {
				epochs = append(epochs, e.Name())
			}
			return true, nil
		})
		if err != nil {
			return err
		}
	} else if _, err := blob.ParseRef(epoch + "/" + anyID); err != nil {
		return fmt.Errorf("list epoch %.60q: %w", epoch, err)
	}
	more := true
	for _, epoch := range epochs {
		err := s.readDir(ctx, epoch, func(e fs.DirEntry) (bool, error) {
			ref, err := blob.ParseRef(epoch + "/" + e.Name())
			if err != nil || !e.Type().IsRegular() {
				stray(epoch + "/" + e.Name())
				return true, nil
			}
			info, err := e.Info()
			if errors.Is(err, fs.ErrNotExist) {
				return true, nil // removed meanwhile
			}
			if err != nil {
				return false, err
			}
			more = fn(blob.Info{Ref: ref, Size: info.Size()})
			return more, nil
		})
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// anyID stands for an id where only the syntax of an epoch is in question.
var anyID = strings.Repeat("0", 32)

// readDir calls fn for the entries of a folder, a page at a time, so that
// memory does not grow with their number, until it returns false. An absent
// folder has none.
func (s *Store) readDir(ctx context.Context, dir string, fn func(fs.DirEntry) (bool, error)) error {
	d, err := s.root.Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	defer d.Close()
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("list %s: %w", dir, err)
		}
		entries, end := d.ReadDir(1000)
		for _, e := range entries {
			if more, err := fn(e); err != nil || !more {
				return err
			}
		}
		if end == io.EOF {
			return nil
		}
		if end != nil {
			return fmt.Errorf("list %s: %w", dir, end)
		}
	}
}

// Free implements blob.Store.
func (s *Store) Free(ctx context.Context) (int64, error) {
	n, err := free(s.dir)
	if err != nil {
		return 0, fmt.Errorf("ask for free space in %s: %w", s.dir, err)
	}
	return n, nil
}

// Name is the absolute name of the file of a blob, for a view that links to
// it. Its bytes must not be changed.
func (s *Store) Name(ref blob.Ref) (string, error) {
	file, err := name(ref)
	if err != nil {
		return "", err
	}
	return filepath.Join(s.dir, file), nil
}

// wrap adds the operation and the seam's meaning to an error of the disk.
func wrap(what string, ref blob.Ref, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("%w: %w", blob.ErrNotExist, err)
	case errors.Is(err, fs.ErrExist):
		err = fmt.Errorf("%w: %w", blob.ErrExist, err)
	case isFull(err):
		err = fmt.Errorf("%w: %w", blob.ErrFull, err)
	}
	return fmt.Errorf("%s %s: %w", what, ref, err)
}
