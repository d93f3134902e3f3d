package store

import (
	"context"
	"fmt"
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
	now, stamp := s.now(), newStamp()
	var marks []mark
	err := s.update(ctx, o, func(t txn) error {
		marks = nil
		for _, id := range ids {
			f, err := t.fileByID(o, id)
			if err != nil {
				return err
			}
			m := mark{o, f.Path, stamp}
			if err := s.deleteOne(t, f, m, batch, now); err != nil {
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

func (s *Store) deleteOne(t txn, f File, m mark, batch BatchID, now time.Time) error {
	return all(t.dropFile(f), t.bury(f, now, s.undo, "deleted", batch), s.mark(t, m))
}

// DeleteFolder deletes what lies in a folder and below it, and returns how many
// files there were. Up to MaxBatch go as one; of more each MaxBatch do. A folder
// with none is CodeNotFound.
func (s *Store) DeleteFolder(ctx context.Context, o OwnerID, batch BatchID, folder string) (n int, err error) {
	prefix, err := ParseFolder(folder)
	if err != nil {
		return 0, err
	}
	if prefix == "" {
		return 0, FieldErrorf("folder", "Name the folder to delete.")
	}
	lo := fileKey(o, Path(prefix+"/"))
	for hi, now := prefixEnd(lo), s.now(); lo != nil; {
		var marks []mark
		var damaged []error
		var next []byte
		stamp := newStamp()
		err := s.update(ctx, o, func(t txn) (err error) {
			// Found and deleted in one: what leaves the folder meanwhile stays.
			var files []File
			if files, next, damaged, err = t.filePage(lo, hi); err != nil {
				return err
			}
			marks = nil
			for _, f := range files {
				m := mark{o, f.Path, stamp}
				if err := s.deleteOne(t, f, m, batch, now); err != nil {
					return err
				}
				marks = append(marks, m)
			}
			return nil
		})
		s.logDamaged(o, damaged)
		if err != nil {
			return n, err
		}
		s.show(ctx, marks)
		n += len(marks)
		lo = next
	}
	if n == 0 {
		return 0, Errorf(CodeNotFound, "There is no such folder.")
	}
	return n, nil
}

// filePage reads up to MaxBatch files; next is where the others begin, nil at
// the end.
func (t txn) filePage(lo, hi []byte) (files []File, next []byte, damaged []error, err error) {
	examined := 0
	var last []byte
	err = t.Scan(lo, hi, MaxBatch, func(k, v []byte) bool {
		examined++
		last = append(last[:0], k...)
		var f File
		if err := decode(v, &f); err != nil {
			damaged = append(damaged, fmt.Errorf("file %q: %w", k, err))
		} else {
			files = append(files, f)
		}
		return true
	})
	if examined == MaxBatch {
		next = after(last)
	}
	return files, next, damaged, err
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
			var moves []move
			for _, b := range page {
				if b.from != "" {
					old, err := t.fileByID(o, b.id)
					if err == nil {
						moves = append(moves, move{old, b.from})
					} else if CodeOf(err) != CodeNotFound { // that one went meanwhile
						return err
					}
					if err := t.Delete(batchKey(o, batch, b.id)); err != nil {
						return err
					}
					continue
				}
				f, m, err := s.takeBack(t, o, b.id, now, stamp)
				switch {
				case err == nil:
					files, marks, grows = append(files, f), append(marks, m...), true
				case CodeOf(err) == CodeConflict:
					stay = append(stay, f.Path)
				case CodeOf(err) != CodeNotFound:
					return err
				}
			}
			back, m, err := s.carry(t, moves, now, stamp)
			if err != nil {
				return err
			}
			files, marks = append(files, back...), append(marks, m...)
			if len(page) < MaxBatch && len(restored)+len(taken)+len(files)+len(stay) == 0 {
				return errNoFile
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

// takeBack restores one deleted file. CodeConflict leaves the transaction as it
// was, and f says which it is.
func (s *Store) takeBack(t txn, o OwnerID, id FileID, now time.Time, stamp []byte) (f File, marks []mark, err error) {
	z, err := t.latestTrash(o, id)
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
		moves, err := t.moves(o, ids, folders, prefix)
		if err != nil {
			return err
		}
		var files []File
		if files, marks, err = s.carry(t, moves, now, stamp); err != nil {
			return err
		}
		for i, f := range files {
			if s.undo > 0 {
				err = all(err, t.Put(batchKey(o, batch, f.ID), []byte(moves[i].file.Path)))
			}
		}
		n = len(moves)
		if err != nil || s.undo <= 0 {
			return err
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

// carry moves files, all at once: none is in the way of another by where it was.
func (s *Store) carry(t txn, moves []move, now time.Time, stamp []byte) (files []File, marks []mark, err error) {
	for _, m := range moves {
		f := m.file
		f.Path, f.Version, f.UpdatedAt = m.to, f.Version+1, now
		files = append(files, f)
		left, come := mark{f.Owner, m.file.Path, stamp}, mark{f.Owner, f.Path, stamp}
		marks = append(marks, left, come)
		if err := all(t.dropFile(m.file), s.mark(t, left), s.mark(t, come)); err != nil {
			return nil, nil, err
		}
	}
	for _, f := range files {
		if err := all(t.checkFree(f.Owner, f.Path), t.putFile(f)); err != nil {
			return nil, nil, err
		}
	}
	return files, marks, nil
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
