package store

import (
	"context"
	"strings"
	"time"
)

// MaxBatch is how many files one DeleteFiles or MoveFiles takes.
const MaxBatch = 1000

var errBatch = FieldErrorf("id", "Name from 1 to %d files at once.", MaxBatch)

// DeleteFiles deletes all of the files or none. What has the same batch can be
// undone together.
func (s *Store) DeleteFiles(ctx context.Context, o OwnerID, batch BatchID, ids []FileID) error {
	if len(ids) == 0 || len(ids) > MaxBatch {
		return errBatch
	}
	now := s.now()
	stamp := newStamp()
	var marks []mark
	err := s.update(ctx, o, func(t txn) error {
		marks = nil
		for _, id := range ids {
			f, err := t.fileByID(o, id)
			if err != nil {
				return err
			}
			m := mark{owner: o, path: f.Path, stamp: stamp}
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

// RestoreBatch undoes a delete or a move as long as the undo time lasts. It
// costs O(batch). What was deleted comes back file by file: where a path is
// taken meanwhile the file stays deleted, and the path is in taken. What was
// moved goes back as one, or is CodeConflict. A batch that is not there is
// CodeNotFound.
func (s *Store) RestoreBatch(ctx context.Context, o OwnerID, batch BatchID) (restored []File, taken []Path, err error) {
	lo := owned(prefixBatch, o, batch[:])
	hi := prefixEnd(lo)
	now := s.now()
	for {
		stamp := newStamp()
		var page []batched
		var files []File
		var stay []Path
		var marks []mark
		err := s.update(ctx, o, func(t txn) (err error) {
			files, stay, marks = nil, nil, nil
			grows := false
			if page, err = t.batchPage(lo, hi); err != nil {
				return err
			}
			for _, b := range page {
				f, m, err := s.takeBack(t, o, batch, b, now, stamp)
				switch {
				case err == nil:
					files, marks = append(files, f), append(marks, m...)
					grows = grows || b.from == ""
				case CodeOf(err) == CodeConflict && b.from == "":
					stay = append(stay, f.Path)
				case CodeOf(err) != CodeNotFound: // that one went meanwhile
					return err
				}
			}
			if !grows {
				return nil // the owner may be at the limit, or over it while a replacement comes in
			}
			return s.checkQuota(t, o)
		})
		if err != nil {
			return restored, taken, err
		}
		s.show(ctx, marks)
		restored, taken = append(restored, files...), append(taken, stay...)
		if len(page) < MaxBatch {
			break
		}
		lo = after(batchKey(o, batch, page[len(page)-1].id))
	}
	if len(restored)+len(taken) == 0 {
		return nil, nil, errNoFile
	}
	return restored, taken, nil
}

// batched is one file of a batch; from is where a moved one came from.
type batched struct {
	id   FileID
	from Path
}

func (t txn) batchPage(lo, hi []byte) (page []batched, err error) {
	err = t.Scan(lo, hi, MaxBatch, func(k, v []byte) bool {
		page = append(page, batched{FileID(k[len(k)-len(FileID{}):]), Path(v)})
		return true
	})
	return page, err
}

// takeBack undoes what was done to one file. CodeConflict for a deleted one
// leaves the transaction as it was, and f says which it is.
func (s *Store) takeBack(
	t txn, o OwnerID, batch BatchID, b batched, now time.Time, stamp []byte,
) (f File, marks []mark, err error) {
	if b.from != "" {
		f, marks, err = s.change(t, o, b.id, Change{Path: &b.from}, Condition{}, now, stamp)
		return f, marks, all(err, t.Delete(batchKey(o, batch, b.id)))
	}
	z, err := t.latestTrash(o, b.id)
	if err != nil {
		return File{}, nil, err
	}
	return s.restore(t, z, now, stamp)
}

// MoveFiles moves files, and folders with all that lies in them, into the
// folder to: all of it or nothing, MaxBatch files at most, and returns how many
// there were. A name that is taken there is CodeConflict. RestoreBatch takes
// it back.
func (s *Store) MoveFiles(
	ctx context.Context, o OwnerID, batch BatchID, ids []FileID, folders []string, to string,
) (n int, err error) {
	prefix, err := ParseFolder(to)
	if err != nil {
		return 0, err
	}
	for i, f := range folders {
		if folders[i], err = ParseFolder(f); err != nil {
			return 0, err
		}
		if f := folders[i]; f == "" || strings.HasPrefix(prefix+"/", f+"/") {
			return 0, FieldErrorf("to", "A folder cannot be moved into itself.")
		}
	}
	now, stamp := s.now(), newStamp()
	var marks []mark
	err = s.update(ctx, o, func(t txn) error {
		marks, n = nil, 0
		moves, err := t.moves(o, ids, folders, prefix)
		if err != nil {
			return err
		}
		for _, m := range moves {
			f, changed, err := s.change(t, o, m.file.ID, Change{Path: &m.to}, Condition{}, now, stamp)
			if err != nil {
				return err
			}
			if s.undo > 0 {
				err = t.Put(batchKey(o, batch, f.ID), []byte(m.file.Path))
			}
			if err != nil {
				return err
			}
			marks = append(marks, changed...)
		}
		n = len(moves)
		if s.undo <= 0 {
			return nil
		}
		return t.Put(expiryKey(now.Add(s.undo+time.Minute), expireMove, o, batch[:]), nil)
	})
	if err != nil {
		return 0, err
	}
	s.show(ctx, marks)
	return n, nil
}

type move struct {
	file File
	to   Path
}

// moves says where each file goes: one that is named directly into the folder,
// one of a folder keeps its path from that folder on.
func (t txn) moves(o OwnerID, ids []FileID, folders []string, to string) (list []move, err error) {
	named := map[FileID]bool{} // a file may be named, and lie in a folder that is
	add := func(f File, name string) error {
		if named[f.ID] {
			return nil
		}
		named[f.ID] = true
		if len(list) == MaxBatch {
			return errBatch
		}
		p, err := ParsePath(strings.TrimPrefix(to+"/"+name, "/"))
		list = append(list, move{f, p})
		return err
	}
	for _, id := range ids {
		f, err := t.fileByID(o, id)
		if err == nil {
			err = add(f, f.Path.Base())
		}
		if err != nil {
			return nil, err
		}
	}
	for _, folder := range folders {
		var failed error
		lo := fileKey(o, Path(folder+"/"))
		err := t.Scan(lo, prefixEnd(lo), MaxBatch+1, func(_, v []byte) bool {
			var f File
			if failed = decode(v, &f); failed == nil {
				failed = add(f, strings.TrimPrefix(string(f.Path), folder[:len(folder)-len(Path(folder).Base())]))
			}
			return failed == nil
		})
		if err := all(err, failed); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, errNoFile
	}
	return list, nil
}
