package store

import (
	"context"
	"errors"
	"io"
	"maps"
	"time"

	"upload-service/store/blob"
	"upload-service/store/failpoint"
)

// GetFile returns the owner's file at a path, or CodeNotFound.
func (s *Store) GetFile(ctx context.Context, o OwnerID, p Path) (f File, err error) {
	err = s.view(ctx, func(t txn) (err error) {
		var found bool
		f, found, err = t.file(o, p)
		if err == nil && !found {
			err = errNoFile
		}
		return err
	})
	return f, err
}

// GetFileByID returns the owner's file with an id, or CodeNotFound.
func (s *Store) GetFileByID(ctx context.Context, o OwnerID, id FileID) (f File, err error) {
	err = s.view(ctx, func(t txn) (err error) {
		f, err = t.fileByID(o, id)
		return err
	})
	return f, err
}

// OpenFile reads length bytes of the file from offset (-1: to the end). No
// lock is held: what was opened can be read to its end, whatever happens to
// the file. CodeNotFound means that the content was replaced or removed after
// f was read; get the file again.
func (s *Store) OpenFile(ctx context.Context, f File, offset, length int64) (io.ReadCloser, error) {
	return s.open(ctx, f.Blob, offset, length, errNoFile)
}

// OpenPart reads a content of a temporary upload, like OpenFile.
func (s *Store) OpenPart(ctx context.Context, p Part, offset, length int64) (io.ReadCloser, error) {
	return s.open(ctx, p.Blob, offset, length, errNoUpload)
}

func (s *Store) open(ctx context.Context, ref blob.Ref, offset, length int64, absent *Error) (io.ReadCloser, error) {
	r, err := s.blobs.Open(ctx, ref, offset, length)
	if errors.Is(err, blob.ErrNotExist) {
		return nil, absent.WithCause(err)
	}
	return r, err
}

// Change alters a file; nil members stay as they are.
type Change struct {
	Path          *Path
	Metadata      map[string]*string // RFC 7396: a nil value removes the key
	ClearMetadata bool               // before Metadata is applied
	Tags          *[]string
}

// ChangeFile applies a change to the file with an id. A path that is taken is
// CodeConflict.
func (s *Store) ChangeFile(ctx context.Context, o OwnerID, id FileID, c Change, cond Condition) (f File, err error) {
	now, stamp := s.now(), newStamp()
	var marks []mark
	err = s.update(ctx, o, func(t txn) (err error) {
		f, marks, err = s.change(t, o, id, c, cond, now, stamp)
		return err
	})
	if err != nil {
		return File{}, err
	}
	s.show(ctx, marks)
	return f, nil
}

func (s *Store) change(
	t txn, o OwnerID, id FileID, c Change, cond Condition, now time.Time, stamp []byte,
) (f File, marks []mark, err error) {
	old, err := t.fileByID(o, id)
	if err != nil {
		return File{}, nil, err
	}
	if err := cond.Check(&old); err != nil {
		return File{}, nil, err
	}
	if f, err = c.apply(old); err != nil {
		return File{}, nil, err
	}
	f.Version, f.UpdatedAt = old.Version+1, now
	if err := t.dropFile(old); err != nil {
		return File{}, nil, err
	}
	if f.Path != old.Path {
		if err := t.checkFree(o, f.Path); err != nil {
			return File{}, nil, err
		}
		marks = []mark{{o, old.Path, stamp}, {o, f.Path, stamp}}
	}
	for _, m := range marks {
		if err := s.mark(t, m); err != nil {
			return File{}, nil, err
		}
	}
	return f, marks, t.putFile(f)
}

func (c Change) apply(f File) (File, error) {
	if c.Path != nil {
		f.Path = *c.Path
	}
	if c.Metadata != nil || c.ClearMetadata {
		meta := map[string]string{}
		if !c.ClearMetadata {
			maps.Copy(meta, f.Metadata)
		}
		for k, v := range c.Metadata {
			if v == nil {
				delete(meta, k)
			} else {
				meta[k] = *v
			}
		}
		var err error
		if f.Metadata, err = CheckMetadata(meta); err != nil {
			return File{}, err
		}
	}
	if c.Tags != nil {
		var err error
		if f.Tags, err = checkTags(*c.Tags); err != nil {
			return File{}, err
		}
	}
	return f, nil
}

// DeleteFile removes the file at a path. It can be restored by its id until
// the undo time is over.
func (s *Store) DeleteFile(ctx context.Context, o OwnerID, p Path, cond Condition) error {
	return s.deleteFile(ctx, o, cond, func(t txn) (File, error) {
		f, found, err := t.file(o, p)
		if err == nil && !found {
			err = errNoFile
		}
		return f, err
	})
}

// DeleteFileByID is DeleteFile for the file with an id.
func (s *Store) DeleteFileByID(ctx context.Context, o OwnerID, id FileID, cond Condition) error {
	return s.deleteFile(ctx, o, cond, func(t txn) (File, error) { return t.fileByID(o, id) })
}

func (s *Store) deleteFile(ctx context.Context, o OwnerID, cond Condition, find func(txn) (File, error)) error {
	now := s.now()
	m := mark{owner: o, stamp: newStamp()}
	err := s.update(ctx, o, func(t txn) error {
		f, err := find(t)
		if err != nil {
			return err
		}
		if err := cond.Check(&f); err != nil {
			return err
		}
		m.path = f.Path
		return s.deleteOne(t, f, m, BatchID{}, now)
	})
	if err != nil {
		return err
	}
	failpoint.Hit("delete: committed")
	s.show(ctx, []mark{m})
	return nil
}

// RestoreFile undoes the latest delete or replacement of the file with an id,
// as long as the undo time lasts; after that it is CodeNotFound. What is at
// the file's path under the same id goes to the trash in its turn; another
// file there is CodeConflict.
func (s *Store) RestoreFile(ctx context.Context, o OwnerID, id FileID) (f File, err error) {
	now, stamp := s.now(), newStamp()
	var marks []mark
	err = s.update(ctx, o, func(t txn) error {
		z, err := t.latestTrash(o, id)
		if err == nil {
			f, marks, err = s.restore(t, z, now, stamp)
		}
		if err != nil {
			return err
		}
		return s.checkQuota(t, o)
	})
	if err != nil {
		return File{}, err
	}
	s.show(ctx, marks)
	return f, nil
}

// restore takes a file out of the trash. Nothing is written before a
// CodeConflict, unless the file's id is in use; f says which it is then, too.
func (s *Store) restore(t txn, z trashed, now time.Time, stamp []byte) (f File, marks []mark, err error) {
	if !now.Before(z.Until) {
		return File{}, nil, errNoFile
	}
	f = z.File
	f.Version, f.UpdatedAt = f.Version+1, now
	current, err := t.fileByID(f.Owner, f.ID)
	switch {
	case err == nil:
		f.Version = current.Version + 1
		marks = []mark{{f.Owner, current.Path, stamp}}
		err = all(t.dropFile(current), t.bury(current, now, s.undo, "replaced", BatchID{}), s.mark(t, marks[0]))
	case CodeOf(err) == CodeNotFound:
		err = nil
	}
	if err != nil {
		return f, nil, err
	}
	if err := t.checkFree(f.Owner, f.Path); err != nil {
		return f, nil, err
	}
	m := mark{f.Owner, f.Path, stamp}
	return f, append(marks, m), all(t.unbury(z), t.putFile(f), s.mark(t, m))
}

// latestTrash returns the highest version of a file in the trash.
func (t txn) latestTrash(o OwnerID, id FileID) (z trashed, err error) {
	prefix := owned(prefixTrash, o, id[:])
	found := false
	var failed error
	err = t.Scan(prefix, prefixEnd(prefix), 1, func(_, v []byte) bool {
		found, failed = true, decode(v, &z)
		return false
	})
	if err = all(err, failed); err == nil && !found {
		err = errNoFile
	}
	return z, err
}
