package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/segmentio/encoding/json"

	"upload-service/store/blob"
	"upload-service/store/kv"
)

// recordVersion is the first byte of every value. A record of an older
// version is upgraded when it is read, so replacing the binary is the whole
// upgrade; a newer one is refused.
const recordVersion = 1

// encode writes v as JSON; a name of "<" does not take six times its room.
func encode(v any) ([]byte, error) {
	room := make([]byte, 0, 768) // most records fit, none is moved as it grows
	b, err := json.Append(append(room, recordVersion), v, json.SortMapKeys)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", v, err)
	}
	return b, nil
}

func decode(b []byte, v any) error {
	if len(b) == 0 || b[0] != recordVersion {
		return fmt.Errorf("decode %T: unknown record version; was the data written by a newer program?", v)
	}
	if err := json.Unmarshal(b[1:], v); err != nil {
		return fmt.Errorf("decode %T: %w", v, err)
	}
	return nil
}

// txn gives a kv transaction the words of the domain. Its methods keep each
// record and all its index entries together; no other code writes them.
type txn struct{ kv.Tx }

// read decodes the record at key into v and reports whether there is one.
func (t txn) read(key []byte, v any) (bool, error) {
	b, err := t.Get(key)
	if err != nil || b == nil {
		return false, err
	}
	return true, decode(b, v)
}

func (t txn) write(key []byte, v any) error {
	b, err := encode(v)
	if err != nil {
		return err
	}
	return t.Put(key, b)
}

// all returns the first error. Go has run every step by then, in order; that
// is fine inside a transaction, which keeps nothing when one failed.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (t txn) usage(o OwnerID) (u Usage, err error) {
	_, err = t.read(usageKey(o), &u)
	return u, err
}

func (t txn) addUsage(o OwnerID, delta Usage) error {
	u, err := t.usage(o)
	if err != nil {
		return err
	}
	return t.write(usageKey(o), u.plus(delta))
}

// Holders: which record a blob belongs to.
const (
	heldByFile   = 'f'
	heldByTrash  = 'z'
	heldByUpload = 'u'
)

func (t txn) hold(r blob.Ref, kind byte, o OwnerID, id []byte) error {
	return t.Put(blobKey(r), owned(string(kind), o, id))
}

// discard turns the blob of a record that is going into garbage.
func (t txn) discard(r blob.Ref, g garbage) error {
	return all(t.Delete(blobKey(r)), t.write(garbageKey(r), g))
}

// upload returns the upload or errNoUpload.
func (t txn) upload(o OwnerID, token Token) (Upload, error) {
	record, err := t.Get(uploadKey(o, token))
	if err != nil {
		return Upload{}, err
	}
	return decodeUpload(record, o, token)
}

// decodeUpload reads the record of an upload; nil is none.
func decodeUpload(record []byte, o OwnerID, token Token) (u Upload, err error) {
	if record == nil {
		return u, errNoUpload
	}
	if err = decode(record, &u); err == nil && (u.Owner != o || u.Token != token || !u.consistent()) {
		err = fmt.Errorf("upload %s of %s: its record contradicts itself", token, o)
	}
	return u, err
}

// consistent reports whether an upload has what its state promises, so that
// nobody who read one has to ask: contents until it ends, and exactly one while
// it comes, or came, in pieces.
func (u *Upload) consistent() bool {
	switch u.State {
	case Receiving:
		return u.Growth != nil && len(u.Parts) == 1
	case Ready:
		return len(u.Parts) == 1 || u.Growth == nil && len(u.Parts) > 1
	}
	return true
}

// putUpload writes a new upload with its index entries.
func (t txn) putUpload(u Upload) error { return t.changeUpload(Upload{Owner: u.Owner}, u) }

// isListed reports whether the upload is in the index of times: unless it is
// over for good. The many that ended today cost a list nothing.
func (u *Upload) isListed() bool {
	return u.State == Receiving || u.State == Ready || u.State == Discarded
}

// changeUpload replaces old, which may be nothing, by u. What becomes of blobs
// that u no longer has is the caller's business.
func (t txn) changeUpload(old, u Upload) error {
	id := u.Token.bytes()
	if is := u.isListed(); is != old.isListed() {
		key := newUploadKey(u.Owner, u.CreatedAt, u.Token)
		change := t.Delete
		if is {
			change = func(k []byte) error { return t.Put(k, nil) }
		}
		if err := change(key); err != nil {
			return err
		}
	}
	if old.Token == "" || minute(old.ExpiresAt) != minute(u.ExpiresAt) {
		err := t.Put(expiryKey(u.ExpiresAt, expireUpload, u.Owner, id), nil)
		if err == nil && old.Token != "" {
			err = t.Delete(expiryKey(old.ExpiresAt, expireUpload, u.Owner, id))
		}
		if err != nil {
			return err
		}
	}
	for i, p := range u.Parts {
		held := i < len(old.Parts) && old.Parts[i].Blob == p.Blob
		if held || p.Blob == "" { // nothing of it has come yet
			continue
		}
		if err := t.hold(p.Blob, heldByUpload, u.Owner, id); err != nil {
			return err
		}
	}
	if delta := u.usage().minus(old.usage()); delta != (Usage{}) {
		if err := t.addUsage(u.Owner, delta); err != nil {
			return err
		}
	}
	return t.write(uploadKey(u.Owner, u.Token), u)
}

// forgetUpload removes the record of an upload, and what it counts for.
func (t txn) forgetUpload(u Upload) error {
	if counted := u.usage(); counted != (Usage{}) {
		if err := t.addUsage(u.Owner, Usage{}.minus(counted)); err != nil {
			return err
		}
	}
	return all(
		t.Delete(uploadKey(u.Owner, u.Token)),
		t.Delete(newUploadKey(u.Owner, u.CreatedAt, u.Token)),
		t.Delete(expiryKey(u.ExpiresAt, expireUpload, u.Owner, u.Token.bytes())),
	)
}

// tombstone is what stays of an upload: its contents are no longer its own, and
// stop counting. Of how it came it keeps what HEAD and a repeated Concatenate ask
// for.
func (u Upload) tombstone(state State, until time.Time) Upload {
	u.State, u.ExpiresAt, u.Purpose, u.Parts, u.Batch, u.BackUntil = state, until, "", nil, BatchID{}, time.Time{}
	if g := u.Growth; g != nil {
		u.Growth = &Growth{Offset: g.Offset, Length: g.Length, Partial: g.Partial, Of: g.Of, Into: g.Into, Label: g.Label}
	}
	return u
}

// file returns the file at a path.
func (t txn) file(o OwnerID, p Path) (f File, found bool, err error) {
	found, err = t.read(fileKey(o, p), &f)
	return f, found, err
}

// fileByID returns the file or errNoFile.
func (t txn) fileByID(o OwnerID, id FileID) (File, error) {
	p, err := t.Get(fileIDKey(o, id))
	if err != nil {
		return File{}, err
	}
	if p == nil {
		return File{}, errNoFile
	}
	f, found, err := t.file(o, Path(p))
	if err == nil && !found {
		err = fmt.Errorf("file %s: its index entry leads nowhere", id)
	}
	return f, err
}

// putFile writes a file that is not there yet, with its index entries.
func (t txn) putFile(f File) error {
	return all(
		t.write(fileKey(f.Owner, f.Path), f),
		t.Put(fileIDKey(f.Owner, f.ID), []byte(f.Path)),
		t.Put(newFileKey(f.Owner, f.CreatedAt, f.ID), []byte(f.Path)),
		t.hold(f.Blob, heldByFile, f.Owner, f.ID[:]),
		t.addUsage(f.Owner, Usage{Files: 1, FileBytes: f.Size}),
	)
}

// dropFile removes a file's record and index entries; its blob is the
// caller's business.
func (t txn) dropFile(f File) error {
	return all(
		t.Delete(fileKey(f.Owner, f.Path)),
		t.Delete(fileIDKey(f.Owner, f.ID)),
		t.Delete(newFileKey(f.Owner, f.CreatedAt, f.ID)),
		t.addUsage(f.Owner, Usage{Files: -1, FileBytes: -f.Size}),
	)
}

// bury moves the content of a dropped file to the trash, or makes it garbage
// if nothing can be restored (undo is 0, and was since its last version).
// batch is the zero one for what is not deleted together with anything.
func (t txn) bury(f File, now time.Time, undo time.Duration, reason string, batch BatchID) error {
	// No version is forgotten before an older one: a restore counts on from the
	// highest that is known, and would give another content the same ETag.
	until := now.Add(undo)
	older, err := t.latestTrash(f.Owner, f.ID)
	switch {
	case err == nil && older.Until.After(until):
		until = older.Until
	case err != nil && CodeOf(err) != CodeNotFound:
		return err
	}
	if !until.After(now) {
		return t.discard(f.Blob, garbage{Size: f.Size, Owner: f.Owner, Path: f.Path, At: now, Reason: reason})
	}
	return t.entomb(trashed{File: f, At: now, Until: until, Batch: batch})
}

// entomb writes a trash entry with its index entries.
func (t txn) entomb(z trashed) error {
	f := z.File
	key := trashKey(f.Owner, f.ID, f.Version)
	id := key[len(prefixTrash)+len(f.Owner)+1:]
	if z.Batch != (BatchID{}) {
		if err := t.Put(batchKey(f.Owner, z.Batch, f.ID), nil); err != nil {
			return err
		}
	}
	return all(
		t.write(key, z),
		t.hold(f.Blob, heldByTrash, f.Owner, id),
		t.Put(expiryKey(z.Until, expireTrash, f.Owner, id), nil),
	)
}

// unbury removes a trash entry; its blob is the caller's business.
func (t txn) unbury(z trashed) error {
	key := trashKey(z.File.Owner, z.File.ID, z.File.Version)
	id := key[len(prefixTrash)+len(z.File.Owner)+1:]
	return all(
		t.Delete(key),
		t.Delete(expiryKey(z.Until, expireTrash, z.File.Owner, id)),
		t.Delete(batchKey(z.File.Owner, z.Batch, z.File.ID)),
	)
}

// view and update run fn in a transaction and put the seam's errors into the
// words of the domain.

func (s *Store) view(ctx context.Context, fn func(txn) error) error {
	return Translate(s.kv.View(ctx, func(tx kv.Tx) error { return fn(txn{tx}) }))
}

func (s *Store) update(ctx context.Context, o OwnerID, fn func(txn) error) error {
	return Translate(s.kv.Update(ctx, string(o), func(tx kv.Tx) error { return fn(txn{tx}) }))
}

// Translate gives the errors of the seams below their code: full and
// unavailable. Whoever else uses a seam has it done for them at the end, by the
// handler of errors. Any other error stays as it is.
func Translate(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kv.ErrFull), errors.Is(err, blob.ErrFull):
		return fullError.WithCause(err)
	case errors.Is(err, kv.ErrClosed):
		return Errorf(CodeUnavailable, "The server is shutting down; try again in a moment.").WithCause(err)
	}
	return err
}

var fullError = &Error{
	Code:       CodeFull,
	Message:    "The server's disk is full; try again later or tell the operator.",
	RetryAfter: time.Minute,
}
