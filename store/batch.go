package store

import (
	"context"
)

// MaxBatch is how many files one DeleteFiles or MoveFiles may name.
const MaxBatch = 1000

var errBatch = FieldErrorf("id", "Name from 1 to %d files at once.", MaxBatch)

// DeleteFiles deletes all of the files or none. What has the same batch can be
// undone together.
func (s *Store) DeleteFiles(ctx context.Context, o OwnerID, batch BatchID, ids []FileID) error {
	if len(ids) == 0 || len(ids) > MaxBatch {
		return errBatch
	}
	now := s.now()
	stamps := newStamps(len(ids))
	var marks []mark
	err := s.update(ctx, o, func(t txn) error {
		marks = nil
		for i, id := range ids {
			f, err := t.fileByID(o, id)
			if err != nil {
				return err
			}
			m := mark{owner: o, path: f.Path, stamp: stamps[i]}
			if err := all(t.dropFile(f), t.bury(f, now, s.undo, "deleted", batch), s.mark(t, m)); err != nil {
				return err
			}
			marks = append(marks, m)
		}
		return nil
	})
	if err != nil {
		return err
	}
	s.show(ctx, marks)
	return nil
}

func newStamps(n int) [][]byte {
	stamps := make([][]byte, n)
	for i := range stamps {
		stamps[i] = newStamp()
	}
	return stamps
}

// DeleteFolder deletes what lies in a folder and below it, MaxBatch files at a
// time, and returns how many there were. A folder with none is CodeNotFound.
func (s *Store) DeleteFolder(ctx context.Context, o OwnerID, batch BatchID, folder string) (n int, err error) {
	prefix, err := ParseFolder(folder)
	if err != nil {
		return 0, err
	}
	if prefix == "" {
		return 0, FieldErrorf("folder", "Name the folder to delete.")
	}
	for {
		page, err := s.ListFiles(ctx, o, Query{Prefix: prefix + "/", Sort: ByPath, Limit: MaxBatch})
		if err != nil {
			return n, err
		}
		if len(page.Files) == 0 {
			break
		}
		ids := make([]FileID, len(page.Files))
		for i, f := range page.Files {
			ids[i] = f.ID
		}
		switch err := s.DeleteFiles(ctx, o, batch, ids); {
		case CodeOf(err) == CodeNotFound: // one went meanwhile: look again
			continue
		case err != nil:
			return n, err
		}
		n += len(ids)
	}
	if n == 0 {
		return 0, Errorf(CodeNotFound, "There is no such folder.")
	}
	return n, nil
}

// RestoreBatch undoes a delete as long as the undo time lasts. It costs O(what
// was deleted). Where a path is taken meanwhile the file stays deleted, and
// the path is in taken. A batch that is not there is CodeNotFound.
func (s *Store) RestoreBatch(ctx context.Context, o OwnerID, batch BatchID) (restored []File, taken []Path, err error) {
	lo := owned(prefixBatch, o, batch[:])
	hi := prefixEnd(lo)
	for {
		var ids []FileID
		err := s.view(ctx, func(t txn) error {
			ids = nil
			return t.Scan(lo, hi, MaxBatch, func(k, _ []byte) bool {
				var id FileID
				copy(id[:], k[len(k)-len(id):])
				ids = append(ids, id)
				return true
			})
		})
		if err != nil {
			return restored, taken, err
		}
		for _, id := range ids {
			lo = append(owned(prefixBatch, o, batch[:], id[:]), 0)
			f, err := s.RestoreFile(ctx, o, id)
			switch CodeOf(err) {
			case "":
				restored = append(restored, f)
			case CodeConflict:
				p, err := s.trashedPath(ctx, o, id)
				if err != nil {
					return restored, taken, err
				}
				taken = append(taken, p)
			case CodeNotFound: // the undo time ended meanwhile
			default:
				return restored, taken, err
			}
		}
		if len(ids) < MaxBatch {
			break
		}
	}
	if len(restored)+len(taken) == 0 {
		return nil, nil, errNoFile
	}
	return restored, taken, nil
}

func (s *Store) trashedPath(ctx context.Context, o OwnerID, id FileID) (p Path, err error) {
	err = s.view(ctx, func(t txn) error {
		z, err := t.latestTrash(o, id)
		p = z.File.Path
		return err
	})
	return p, err
}

// MoveFiles moves all of the files into a folder, or none. A name that is taken
// there is CodeConflict.
func (s *Store) MoveFiles(ctx context.Context, o OwnerID, ids []FileID, folder string) (files []File, err error) {
	if len(ids) == 0 || len(ids) > MaxBatch {
		return nil, errBatch
	}
	prefix, err := ParseFolder(folder)
	if err != nil {
		return nil, err
	}
	if prefix != "" {
		prefix += "/"
	}
	now := s.now()
	stamps := newStamps(2 * len(ids))
	var marks []mark
	err = s.update(ctx, o, func(t txn) error {
		files, marks = nil, nil
		for i, id := range ids {
			old, err := t.fileByID(o, id)
			if err != nil {
				return err
			}
			p, err := ParsePath(prefix + old.Path.Base())
			if err != nil {
				return err
			}
			f, m, err := s.change(t, o, id, Change{Path: &p}, Condition{}, now, [2][]byte(stamps[2*i:2*i+2]))
			if err != nil {
				return err
			}
			files, marks = append(files, f), append(marks, m...)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.show(ctx, marks)
	return files, nil
}
