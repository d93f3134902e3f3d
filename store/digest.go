package store

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"upload-service/store/blob"
)

// undigested is a content whose SHA-256 is not known: it was adopted. Size and
// time say what the record was made for.
type undigested struct {
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

func (t txn) putUndigested(ref blob.Ref, info fs.FileInfo) error {
	return t.write(undigestedKey(ref), undigested{info.Size(), info.ModTime().UTC()})
}

const (
	digestPage  = 256     // contents of one transaction
	digestBytes = 1 << 30 // bytes after which a page ends early
	digestStep  = 1 << 20 // bytes between two looks at the time
	digestWork  = 10 * time.Millisecond
)

// digest is what a content was found to hash to, and when it was last written.
type digest struct {
	ref      blob.Ref
	sum      []byte // nil: the content is gone
	size     int64
	modified time.Time
}

// DigestAdopted computes the SHA-256 of adopted contents, until all are known
// or ctx is done. It works half of the time, so that others come to theirs. A
// content that changes while it is read is left to the next call. It
// returns how many became known.
func (s *Store) DigestAdopted(ctx context.Context) (known int64, err error) {
	lo, hi := []byte(prefixUndigested), prefixEnd([]byte(prefixUndigested))
	p := &pace{time.Now()}
	for {
		var page []blob.Ref
		err := s.view(ctx, func(t txn) error {
			page = nil
			return t.Scan(lo, hi, digestPage, func(k, _ []byte) bool {
				page = append(page, blob.Ref(k[len(prefixUndigested):]))
				return true
			})
		})
		if err != nil || len(page) == 0 {
			return known, err
		}
		var found []digest
		var size int64
		for _, ref := range page {
			d, stable, err := s.digest(ctx, ref, p)
			if ctx.Err() != nil {
				break // what was read already is kept
			}
			if err != nil {
				s.log.Warn("cannot compute a SHA-256", "blob", ref, "error", err)
			} else if stable {
				found = append(found, d)
			}
			lo = after(undigestedKey(ref))
			if size += d.size; size >= digestBytes {
				break
			}
		}
		if found, err = s.setDigests(context.WithoutCancel(ctx), found); err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return known, err
		}
		for _, d := range found {
			if d.sum != nil {
				known++
			}
		}
	}
}

// setDigests records what was found in one transaction. A digest that fails, of
// a damaged record, is logged, and the others are recorded without it; it returns
// these.
func (s *Store) setDigests(ctx context.Context, found []digest) ([]digest, error) {
	now := s.now()
	for {
		stuck := -1
		err := s.update(ctx, "", func(t txn) error {
			stuck = -1
			for i, d := range found {
				if err := t.setDigest(d, now); err != nil {
					stuck = i
					return err
				}
			}
			return nil
		})
		if err == nil || stuck < 0 {
			return found, err
		}
		s.log.Error("a SHA-256 cannot be recorded; run check on the stopped service", "blob", found[stuck].ref, "error", err)
		found = slices.Delete(found, stuck, stuck+1)
	}
}

// digest reads one content. It is not stable if the content changed meanwhile.
func (s *Store) digest(ctx context.Context, ref blob.Ref, p *pace) (d digest, stable bool, err error) {
	adopter := s.blobs.(blob.Adopter)
	before, err := adopter.StatFile(ref)
	if errors.Is(err, blob.ErrNotExist) {
		return digest{ref: ref}, true, nil
	}
	if err != nil {
		return d, false, err
	}
	r, err := s.blobs.Open(ctx, ref, 0, -1)
	if err != nil {
		return d, false, err
	}
	defer r.Close()
	sum := sha256.New()
	for err == nil {
		if _, err = io.CopyN(sum, r, digestStep); err == nil {
			err = p.rest(ctx)
		}
	}
	if err != io.EOF {
		return d, false, err
	}
	after, err := adopter.StatFile(ref)
	if err != nil {
		return d, false, err
	}
	return digest{ref, sum.Sum(nil), after.Size(), after.ModTime().UTC()}, sameContent(before, after), nil
}

// pace lets a long work take half of the time.
type pace struct{ since time.Time }

// rest waits as long as was worked since it last did.
func (p *pace) rest(ctx context.Context) error {
	worked := time.Since(p.since)
	if worked < digestWork {
		return ctx.Err()
	}
	select {
	case <-time.After(worked):
	case <-ctx.Done():
	}
	p.since = time.Now()
	return ctx.Err()
}

// setDigest writes a digest into the record that holds the content. One that
// was written to since it was adopted is another content: its record gets the
// size it has now and, being a file, a new version.
func (t txn) setDigest(d digest, now time.Time) error {
	var was undigested
	pending, err := t.read(undigestedKey(d.ref), &was)
	if err != nil || !pending {
		return err
	}
	holder, err := t.Get(blobKey(d.ref))
	if err == nil {
		err = t.Delete(undigestedKey(d.ref))
	}
	if err != nil || len(holder) == 0 || d.sum == nil {
		return err // nobody's any more
	}
	changed := d.size != was.Size || !d.modified.Equal(was.Modified)
	kind := holder[0]
	o, id, _ := splitOwned(string(kind), holder)
	switch kind {
	case heldByFile:
		if len(id) != len(FileID{}) {
			return fmt.Errorf("blob %s: its holder is no file", d.ref)
		}
		old, err := t.fileByID(o, FileID(id))
		if err != nil {
			return err
		}
		f := old
		f.SHA256, f.Size = d.sum, d.size
		if changed {
			f.Version, f.UpdatedAt = old.Version+1, now
		}
		return all(t.dropFile(old), t.putFile(f))
	case heldByTrash:
		key := owned(prefixTrash, o, id)
		var z trashed
		if _, err := t.read(key, &z); err != nil {
			return err
		}
		z.File.SHA256, z.File.Size = d.sum, d.size
		return t.write(key, z)
	case heldByUpload:
		old, err := t.upload(o, tokenOf(id))
		if err != nil {
			return err
		}
		u := old
		u.Parts = slices.Clone(old.Parts)
		for i := range u.Parts {
			if u.Parts[i].Blob == d.ref {
				u.Parts[i].SHA256, u.Parts[i].Size = d.sum, d.size
			}
		}
		return t.changeUpload(old, u)
	}
	return fmt.Errorf("blob %s: unknown holder", d.ref)
}
