// Package disk keeps blobs as files of one folder:
//
//	<dir>/<epoch>/<id>   read-only, the content and nothing else
//
// A blob is written under its final name and is durable when Create returns:
// the file is synced, then the folder that names it. Nothing is ever renamed
// or overwritten, so a reader needs no lock, and a crash leaves at most a file
// that no record names.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"upload-service/store/blob"
	"upload-service/store/failpoint"
)

// Store is an open folder of blobs. It implements blob.Store.
type Store struct {
	dir  string
	root *os.Root
}

// Open makes the folder if it is missing.
func Open(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for contents: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the folder for contents: %w", err)
	}
	return &Store{dir: dir, root: root}, nil
}

// Close releases the folder.
func (s *Store) Close() error { return s.root.Close() }

func name(ref blob.Ref) (string, error) {
	if _, err := blob.ParseRef(string(ref)); err != nil {
		return "", err
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
	f, err := s.create(file, ref.Epoch())
	if err != nil {
		return 0, wrap("create blob", ref, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			s.root.Remove(file) //nolint:errcheck // recovery removes what is left
		}
	}()
	// 2. The content.
	if n, err = copyTo(ctx, f, r); err != nil {
		return 0, wrap("write blob", ref, err)
	}
	failpoint.Hit("blob: written")
	// 3. The content becomes durable, then the name.
	if err = f.Sync(); err != nil {
		return 0, wrap("sync blob", ref, err)
	}
	if err = f.Close(); err != nil {
		return 0, wrap("close blob", ref, err)
	}
	if err = s.syncDir(ref.Epoch()); err != nil {
		return 0, wrap("sync the folder of blob", ref, err)
	}
	failpoint.Hit("blob: synced")
	return n, nil
}

// create opens a new file, and makes the epoch's folder for the first one. A
// concurrent Delete may remove the folder when it becomes empty; then it is
// made again.
func (s *Store) create(file, epoch string) (*os.File, error) {
	for {
		f, err := s.root.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
		if !errors.Is(err, fs.ErrNotExist) {
			return f, err
		}
		if err := s.root.Mkdir(epoch, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return nil, err
		}
		if err := s.syncDir("."); err != nil {
			return nil, err
		}
	}
}

// Small bodies are the most frequent; they should not touch a large buffer.
var (
	small = sync.Pool{New: func() any { b := make([]byte, 32<<10); return &b }}
	large = sync.Pool{New: func() any { b := make([]byte, 512<<10); return &b }}
)

// copyTo copies r to f. It looks at ctx between reads.
func copyTo(ctx context.Context, f *os.File, r io.Reader) (n int64, err error) {
	pool := &small
	buf := pool.Get().(*[]byte)
	defer func() { pool.Put(buf) }()
	for {
		if err := ctx.Err(); err != nil {
			return n, err
		}
		k, err := r.Read(*buf)
		if k > 0 {
			w, werr := f.Write((*buf)[:k])
			n += int64(w)
			if werr != nil {
				return n, werr
			}
		}
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		if pool == &small && n >= 64<<10 {
			pool.Put(buf)
			pool = &large
			buf = pool.Get().(*[]byte)
		}
	}
}

func (s *Store) syncDir(dir string) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, refs ...blob.Ref) (gone []blob.Ref, err error) {
	// 1. The names go.
	var errs []error
	byEpoch := map[string][]blob.Ref{}
	for _, ref := range refs {
		file, err := name(ref)
		if err == nil {
			err = s.root.Remove(file)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, wrap("delete blob", ref, err))
			continue
		}
		byEpoch[ref.Epoch()] = append(byEpoch[ref.Epoch()], ref)
	}
	failpoint.Hit("blob: unlinked")
	// 2. That becomes durable: one sync for each folder. Only then are they
	// certainly gone.
	for epoch, refs := range byEpoch {
		if err := s.syncDir(epoch); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, fmt.Errorf("sync epoch %s: %w", epoch, err))
			continue
		}
		gone = append(gone, refs...)
		s.root.Remove(epoch) //nolint:errcheck // fails while it is not empty, as it should
	}
	return gone, errors.Join(errs...)
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, ref blob.Ref) (blob.Info, error) {
	file, err := name(ref)
	if err != nil {
		return blob.Info{}, err
	}
	info, err := s.root.Lstat(file)
	if err != nil {
		return blob.Info{}, wrap("stat blob", ref, err)
	}
	return blob.Info{Ref: ref, Size: info.Size()}, nil
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
	epochs := []string{epoch}
	if epoch == "" {
		epochs = nil
		err := s.readDir(".", func(e fs.DirEntry) bool {
			epochs = append(epochs, e.Name())
			return true
		})
		if err != nil {
			return err
		}
	}
	for _, e := range epochs {
		more := true
		err := s.readDir(e, func(entry fs.DirEntry) bool {
			ref, err := blob.ParseRef(e + "/" + entry.Name())
			if err != nil || !entry.Type().IsRegular() {
				if stray != nil {
					stray(e + "/" + entry.Name())
				}
				return true
			}
			info, err := entry.Info()
			if err != nil {
				return true // removed meanwhile
			}
			more = fn(blob.Info{Ref: ref, Size: info.Size()})
			return more && ctx.Err() == nil
		})
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil && stray != nil && epoch == "":
			stray(e)
		case err != nil:
			return err
		}
		if !more || ctx.Err() != nil {
			break
		}
	}
	return ctx.Err()
}

// readDir calls fn for the entries of a folder, a page at a time, so that
// memory does not grow with their number.
func (s *Store) readDir(dir string, fn func(fs.DirEntry) bool) error {
	d, err := s.root.Open(dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	defer d.Close()
	for {
		entries, err := d.ReadDir(1000)
		for _, e := range entries {
			if !fn(e) {
				return nil
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", dir, err)
		}
	}
}

// Free implements blob.Store.
func (s *Store) Free(ctx context.Context) (int64, error) { return free(s.dir) }

// Name is where the bytes of a blob lie, for a view that links to them. They
// must not be changed.
func (s *Store) Name(ref blob.Ref) (string, error) {
	file, err := name(ref)
	return filepath.Join(s.dir, file), err
}

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
