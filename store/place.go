package store

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"
)

// OnConflict says what to do when a path is taken.
type OnConflict string

// The choices of OnConflict.
const (
	Fail    OnConflict = "fail"    // CodeConflict
	Replace OnConflict = "replace" // the new content takes the old one's id and path
	Rename  OnConflict = "rename"  // "name (1).ext", the first that is free
)

// ParseOnConflict reads a choice; empty means Fail.
func ParseOnConflict(s string) (OnConflict, error) {
	switch c := OnConflict(s); c {
	case "":
		return Fail, nil
	case Fail, Replace, Rename:
		return c, nil
	}
	return "", FieldErrorf("on_conflict", "Use fail, replace or rename.")
}

// Condition is a precondition on what is at a path (RFC 9110, 13.1). The zero
// value holds always.
type Condition struct {
	Absent bool     // If-None-Match: *
	Exists bool     // If-Match: *
	Match  []string // If-Match: one of these strong ETags, quotes included
	Differ []string // If-None-Match: none of these ETags
	// NotSince, unless zero, is If-Unmodified-Since: not changed after this second.
	NotSince time.Time
}

// Check returns CodePrecondition if the condition does not hold for f, nil
// meaning that nothing is there.
func (c Condition) Check(f *File) error {
	is := func(tags []string) bool {
		for _, tag := range tags {
			if f != nil && tag == f.ETag() {
				return true
			}
		}
		return false
	}
	changed := f != nil && !c.NotSince.IsZero() && f.UpdatedAt.Truncate(time.Second).After(c.NotSince)
	if c.Absent && f != nil || c.Exists && f == nil || c.Match != nil && !is(c.Match) || is(c.Differ) || changed {
		return Errorf(CodePrecondition, "The file is not in the state the request asks for; get its current ETag and decide again.")
	}
	return nil
}

// placement is one content about to become a file. Everything random is made
// before the transaction, which may run more than once.
type placement struct {
	part  Part
	path  Path
	meta  map[string]string
	tags  []string
	id    FileID
	stamp []byte
}

func newPlacement(part Part, path Path) placement {
	return placement{part: part, path: path, id: NewFileID(), stamp: newStamp()}
}

// holds reports whether the placement is of this very content.
func (p placement) holds(part Part) bool {
	return p.part.Blob == part.Blob && p.part.Name == part.Name
}

// mark says that the visible tree may differ from the records at a path. The
// stamp tells this mark from a later one for the same path.
type mark struct {
	owner OwnerID
	path  Path
	stamp []byte
}

func newStamp() []byte {
	b := make([]byte, 16)
	rand.Read(b) // never fails (crypto/rand, Go 1.24)
	return b
}

// CheckPath reports what placing a file at a path would refuse now: for a
// client that asks before it sends.
func (s *Store) CheckPath(ctx context.Context, o OwnerID, p Path, cond Condition) error {
	return s.view(ctx, func(t txn) error {
		if err := t.checkShape(o, p); err != nil {
			return err
		}
		f, found, err := t.file(o, p)
		if err != nil {
			return err
		}
		if !found {
			return cond.Check(nil)
		}
		return cond.Check(&f)
	})
}

// place makes one content a file inside a transaction.
func (s *Store) place(t txn, o OwnerID, p placement, c OnConflict, cond Condition, now time.Time) (File, error) {
	// 1. A file cannot be where a folder is, nor lie below a file.
	if err := t.checkShape(o, p.path); err != nil {
		return File{}, err
	}
	// 2. What is there now?
	old, taken, err := t.file(o, p.path)
	if err != nil {
		return File{}, err
	}
	var there *File
	if taken {
		there = &old
	}
	if err := cond.Check(there); err != nil {
		return File{}, err
	}
	if taken && c == Fail {
		return File{}, takenError(p.path)
	}
	if taken && c == Rename {
		if p.path, err = t.roomFor(o, p.path); err != nil {
			return File{}, err
		}
		taken = false
	}
	// 3. The new record. A replacement keeps the file's id, so that links by
	// id go on working, and counts its version up.
	f := File{
		ID: p.id, Owner: o, Path: p.path, Version: 1, Size: p.part.Size,
		ContentType: p.part.ContentType, Sniffed: p.part.Sniffed, SHA256: p.part.SHA256,
		CreatedAt: now, UpdatedAt: now, Metadata: p.meta, Tags: p.tags, Blob: p.part.Blob,
	}
	if taken {
		f.ID, f.Version, f.CreatedAt = old.ID, old.Version+1, old.CreatedAt
		if err := all(t.dropFile(old), t.bury(old, now, s.undo, "replaced", BatchID{})); err != nil {
			return File{}, err
		}
	}
	return f, all(t.putFile(f), s.mark(t, mark{o, f.Path, p.stamp}))
}

func takenError(p Path) error {
	return Errorf(CodeConflict, "There is already a file %q; choose another name, or replace or rename on conflict.", p)
}

// checkFree refuses a path where no new file can be.
func (t txn) checkFree(o OwnerID, p Path) error {
	_, taken, err := t.file(o, p)
	if err == nil && taken {
		err = takenError(p)
	}
	return all(err, t.checkShape(o, p))
}

// checkShape refuses a path that is a folder or lies below a file.
func (t txn) checkShape(o OwnerID, p Path) error {
	for _, dir := range p.Ancestors() {
		b, err := t.Get(fileKey(o, dir))
		if err != nil {
			return err
		}
		if b != nil {
			return Errorf(CodeConflict, "%q is a file, so nothing can lie below it.", dir)
		}
	}
	isFolder := false
	below := append(fileKey(o, p), '/')
	err := t.Scan(below, prefixEnd(below), 1, func(_, _ []byte) bool {
		isFolder = true
		return false
	})
	if err == nil && isFolder {
		err = Errorf(CodeConflict, "%q is a folder; choose another name.", p)
	}
	return err
}

// maxRenames bounds the search for a free name.
const maxRenames = 1000

// roomFor is p if nothing is there, else the first of "name (1).ext", "name
// (2).ext", ... that is free. Where a file is in the place of one of p's
// folders, that folder gets the other name.
func (t txn) roomFor(o OwnerID, p Path) (Path, error) {
	taken := p
	for _, dir := range p.Ancestors() {
		b, err := t.Get(fileKey(o, dir))
		if err != nil {
			return "", err
		}
		if b != nil {
			taken = dir
			break
		}
	}
	rest := p[len(taken):]
	for n := range maxRenames + 1 {
		candidate, err := taken.numbered(n)
		if err == nil {
			candidate, err = ParsePath(string(candidate + rest))
		}
		if err != nil {
			return "", err
		}
		b, err := t.Get(fileKey(o, candidate))
		if err != nil {
			return "", err
		}
		if b == nil && t.checkShape(o, candidate) == nil {
			return candidate, nil
		}
	}
	return "", takenError(p)
}

// numbered is p with " (n)" before the extension of its last segment, and p
// itself for 0.
func (p Path) numbered(n int) (Path, error) {
	if n == 0 {
		return p, nil
	}
	base, ext := p.Base(), ""
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		base, ext = base[:i], base[i:]
	}
	suffix := fmt.Sprintf(" (%d)%s", n, ext)
	return Path(truncate(base, MaxSegment-len(suffix)) + suffix).Join(p.Dir())
}

// Target says where and how parts become files.
type Target struct {
	Folder    string            // in front of every name
	Metadata  map[string]string // of every file
	Condition Condition         // on what is at the path now
}

// StoreFiles makes the parts permanent files at their names, in order, all or
// none. A name that is taken is replaced. replaced says so for each.
func (in *Intake) StoreFiles(ctx context.Context, to Target) (files []File, replaced []bool, err error) {
	meta, err := CheckMetadata(to.Metadata)
	if err != nil {
		return nil, nil, err
	}
	s, now := in.s, in.s.now()
	places := make([]placement, len(in.parts))
	for i, part := range in.parts {
		path, err := part.Name.Join(to.Folder)
		if err != nil {
			return nil, nil, err
		}
		places[i] = newPlacement(*part, path)
		places[i].meta = meta
	}
	err = in.commit(ctx, func(t txn) error {
		files, replaced = nil, nil
		for _, p := range places {
			f, err := s.place(t, in.owner, p, Replace, to.Condition, now)
			if err != nil {
				return err
			}
			files = append(files, f)
			replaced = append(replaced, f.Version > 1)
		}
		return s.checkQuota(t, in.owner)
	})
	if err != nil {
		return nil, nil, err
	}
	s.show(ctx, marksOf(in.owner, files, places))
	return files, replaced, nil
}

func marksOf(o OwnerID, files []File, places []placement) []mark {
	marks := make([]mark, len(files))
	for i, f := range files {
		marks[i] = mark{o, f.Path, places[i].stamp}
	}
	return marks
}
