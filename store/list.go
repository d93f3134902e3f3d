package store

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/text/unicode/norm"
)

// Sort is the order of a listing.
type Sort string

// The orders of a listing.
const (
	ByPath Sort = "path"
	Newest Sort = "-created_at"
)

// maxExamined bounds the records that a filter looks at for one page; the
// page may then be short and carry a cursor.
const maxExamined = 10000

// Query selects files of one owner. The zero value of a member selects all.
type Query struct {
	Prefix    string
	Delimiter bool   // group what lies below the next slash into folders
	Contains  string // part of the path, compared without case
	Tags      []string
	Metadata  map[string]string
	Sort      Sort
	Limit     int    // files and folders of a page, at least 1
	Cursor    string // of the page before
}

// Page is a part of a listing. Next is "" at the end.
type Page struct {
	Files   []File
	Folders []string // with a trailing slash
	Next    string
}

// add adds a file to a page of at most limit, whose room is made once.
func (p *Page) add(f File, limit int) {
	if p.Files == nil {
		p.Files = make([]File, 0, limit)
	}
	p.Files = append(p.Files, f)
}

var errCursor = FieldErrorf("cursor", "This cursor does not belong to this listing; start again without one.")

// ListFiles returns one page. It costs O(page): with a delimiter each folder
// is one seek, whatever lies in it; a filter looks at maxExamined records.
func (s *Store) ListFiles(ctx context.Context, o OwnerID, q Query) (page Page, err error) {
	cursor, err := base64.RawURLEncoding.DecodeString(q.Cursor)
	if err != nil {
		return Page{}, errCursor
	}
	q.Prefix, q.Contains = norm.NFC.String(q.Prefix), strings.ToLower(norm.NFC.String(q.Contains)) // as paths are
	if q.Delimiter && (q.Sort == Newest || q.filters()) {
		return Page{}, FieldErrorf("delimiter", "A delimiter goes with sort=path and without q, tag and meta.")
	}
	var damaged []error
	err = s.view(ctx, func(t txn) error {
		page, damaged = Page{}, nil
		skip := func(err error) { damaged = append(damaged, err) }
		if q.Sort == Newest {
			return t.listNewest(o, q, cursor, &page, skip)
		}
		return t.listByPath(o, q, cursor, &page, skip)
	})
	s.logDamaged(o, damaged)
	return page, err
}

// logDamaged names the records that a listing leaves out because they cannot
// be read: they must not hide all others.
func (s *Store) logDamaged(o OwnerID, damaged []error) {
	for _, err := range damaged {
		s.log.Error("a record is left out of a listing; run check on the stopped service", "owner", o, "error", err)
	}
}

func (q *Query) filters() bool {
	return q.Contains != "" || len(q.Tags) > 0 || len(q.Metadata) > 0
}

func (q *Query) matches(f *File) bool {
	if !strings.HasPrefix(string(f.Path), q.Prefix) {
		return false
	}
	if q.Contains != "" && !strings.Contains(strings.ToLower(string(f.Path)), q.Contains) {
		return false
	}
	for _, tag := range q.Tags {
		if !slices.Contains(f.Tags, tag) {
			return false
		}
	}
	for k, want := range q.Metadata {
		if got, ok := f.Metadata[k]; !ok || got != want {
			return false
		}
	}
	return true
}

// listByPath walks the paths in order. A cursor is the last path seen, or the
// last folder with its slash.
func (t txn) listByPath(o OwnerID, q Query, cursor []byte, page *Page, damaged func(error)) error {
	prefix := fileKey(o, Path(q.Prefix))
	end := prefixEnd(prefix)
	lo := prefix
	if len(cursor) > 0 {
		lo = skip(owned(prefixFile, o, cursor))
		if bytes.Compare(lo, prefix) < 0 {
			return errCursor
		}
	}
	root := len(owned(prefixFile, o))
	examined := 0
	for {
		var last []byte // the last key looked at
		var folder []byte
		err := t.Scan(lo, end, maxExamined-examined, func(k, v []byte) bool {
			if len(page.Files)+len(page.Folders) == q.Limit {
				page.Next = base64.RawURLEncoding.EncodeToString(last[root:])
				return false
			}
			if q.Delimiter {
				if i := bytes.IndexByte(k[len(prefix):], '/'); i >= 0 {
					folder = bytes.Clone(k[:len(prefix)+i+1])
					return false
				}
			}
			examined++
			last = append(last[:0], k...)
			var f File
			if err := decode(v, &f); err != nil {
				damaged(fmt.Errorf("file %q: %w", k[root:], err))
			} else if q.matches(&f) {
				page.add(f, q.Limit)
			}
			return true
		})
		if err != nil || page.Next != "" {
			return err
		}
		if folder == nil {
			if examined == maxExamined {
				page.Next = base64.RawURLEncoding.EncodeToString(last[root:])
			}
			return nil
		}
		page.Folders = append(page.Folders, string(folder[root:]))
		lo = skip(folder)
		if len(page.Files)+len(page.Folders) == q.Limit {
			more, err := t.any(lo, end)
			if more {
				page.Next = base64.RawURLEncoding.EncodeToString(folder[root:])
			}
			return err
		}
	}
}

// skip is the first key behind k: behind the whole folder if k ends in a slash.
func skip(k []byte) []byte {
	if k[len(k)-1] == '/' {
		return prefixEnd(k)
	}
	return after(k)
}

func (t txn) any(lo, hi []byte) (found bool, err error) {
	err = t.Scan(lo, hi, 1, func(_, _ []byte) bool {
		found = true
		return false
	})
	return found, err
}

// listNewest walks the time index. A cursor is the last index entry seen.
func (t txn) listNewest(o OwnerID, q Query, cursor []byte, page *Page, damaged func(error)) error {
	prefix := owned(prefixNewFile, o)
	lo := prefix
	if len(cursor) > 0 {
		if len(cursor) != 8+len(FileID{}) {
			return errCursor
		}
		lo = after(append(bytes.Clone(prefix), cursor...))
	}
	var last []byte
	examined := 0
	err := t.Scan(lo, prefixEnd(prefix), maxExamined, func(k, path []byte) bool {
		if len(page.Files) == q.Limit {
			page.Next = base64.RawURLEncoding.EncodeToString(last)
			return false
		}
		examined++
		last = append(last[:0], k[len(prefix):]...)
		f, found, err := t.file(o, Path(path))
		if err != nil {
			damaged(fmt.Errorf("file %q: %w", path, err))
		} else if found && q.matches(&f) {
			page.add(f, q.Limit)
		}
		return true
	})
	if examined == maxExamined && page.Next == "" {
		page.Next = base64.RawURLEncoding.EncodeToString(last)
	}
	return err
}
