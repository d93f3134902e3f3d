package disk

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"upload-service/store/blob"
)

// Append implements blob.Store.
func (s *Store) Append(ctx context.Context, ref blob.Ref, offset int64) (blob.Writer, error) {
	file, err := name(ref)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, wrap("append to blob", ref, err)
	}
	w := &writer{s: s, ref: ref, unnamed: offset == 0, back: writeback{from: offset, at: offset}}
	if w.unnamed {
		w.f, err = s.create(file, ref.Epoch(), s.calls.grow)
	} else {
		w.f, err = s.goOn(ref, file, offset)
	}
	if err != nil {
		return nil, wrap("append to blob", ref, err)
	}
	w.back.f = w.f
	return w, nil
}

// goOn opens a content, cut to offset bytes, at its end.
func (s *Store) goOn(ref blob.Ref, file string, offset int64) (f *os.File, err error) {
	if offset < 0 {
		return nil, blob.ErrRange
	}
	f, info := s.goOnKept(ref, file)
	if f == nil {
		if f, err = s.reopen(file); err != nil {
			return nil, err
		}
		info, err = f.Stat()
	}
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = errStray
	case info.Size() < offset:
		err = blob.ErrRange
	case info.Size() > offset:
		err = s.calls.truncate(f, offset)
	}
	if err == nil {
		_, err = f.Seek(offset, io.SeekStart)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// goOnKept is the content that was held open, nil if none was or if somebody
// else removed or replaced it: then the name leads to another file.
func (s *Store) goOnKept(ref blob.Ref, file string) (*os.File, fs.FileInfo) {
	f := s.kept.take(ref)
	if f == nil {
		return nil, nil
	}
	info, err := f.Stat()
	if err == nil {
		// Not by the root, which opens each folder on the way: a name that
		// leads elsewhere leads to another file.
		var named fs.FileInfo
		if named, err = os.Lstat(filepath.Join(s.dir, file)); err == nil && os.SameFile(info, named) {
			return f, info
		}
	}
	f.Close()
	return nil, nil
}

func (s *Store) reopen(file string) (*os.File, error) {
	f, err := s.calls.reopen(file)
	if errors.Is(err, fs.ErrPermission) { // sealed, and its record was lost
		if err = s.calls.unseal(file); err == nil {
			f, err = s.calls.reopen(file)
		}
	}
	return f, err
}

// writer is one piece of a content on its way to the disk.
type writer struct {
	s       *Store
	f       *os.File
	ref     blob.Ref
	unnamed bool // the name is not durable yet
	ended   bool // it is sealed, or something failed
	back    writeback
}

// Write implements blob.Writer.
func (w *writer) Write(p []byte) (int, error) {
	n, err := w.s.calls.write(w.f, p)
	w.back.wrote(n)
	if err != nil {
		w.ended = true
		return n, wrap("write blob", w.ref, err)
	}
	return n, nil
}

// Sync implements blob.Writer: first the content, then the name.
func (w *writer) Sync() error {
	if err := w.s.calls.sync(w.f); err != nil {
		w.ended = true
		return wrap("sync blob", w.ref, err)
	}
	if !w.unnamed {
		return nil
	}
	if err := w.s.shared.sync(w.ref.Epoch()); err != nil {
		w.ended = true
		return wrap("sync the folder of blob", w.ref, err)
	}
	w.unnamed = false
	return nil
}

// Seal implements blob.Writer.
func (w *writer) Seal() error {
	w.ended = true
	if err := w.s.calls.seal(w.f); err != nil {
		return wrap("seal blob", w.ref, err)
	}
	return w.Sync()
}

// Close implements blob.Writer. A content that may go on is kept open, and is
// no longer this writer's.
func (w *writer) Close() error {
	f := w.f
	w.f = nil // every call on it fails with os.ErrInvalid
	if f != nil && !w.ended && w.s.kept.put(w.ref, f) {
		return nil
	}
	if err := f.Close(); err != nil {
		return wrap("close blob", w.ref, err)
	}
	return nil
}
