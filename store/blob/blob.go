// Package blob is the bytes seam: immutable contents under ids that the
// server makes. It knows no names, owners or records; package store decides
// what a blob means and when it goes. Package disk is the implementation for
// one machine.
//
// The laws of the seam are the comments here and the conformance suite in
// package blobtest.
package blob

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
)

// Ref names a blob: "<epoch>/<id>", both made by the server. It is unique for
// ever: a Ref is used for one Create in the life of the store.
type Ref string

// Lengths of the parts of a Ref.
const (
	epochLen = 16
	idLen    = 32
)

// ParseRef returns s as a Ref: 16 lower-case hex digits (the epoch), a slash
// and 32 lower-case hex digits (128 random bits).
func ParseRef(s string) (Ref, error) {
	if len(s) != epochLen+1+idLen || s[epochLen] != '/' {
		return "", ErrBadRef
	}
	for i := range len(s) {
		if c := s[i]; i != epochLen && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", ErrBadRef
		}
	}
	return Ref(s), nil
}

// Epoch is the part of the Ref before the slash: the blobs of one epoch are
// listed together.
func (r Ref) Epoch() string {
	if len(r) < epochLen {
		return ""
	}
	return string(r[:epochLen])
}

// Info describes a stored blob.
type Info struct {
	Ref  Ref
	Size int64 // bytes
}

// Store keeps blobs. All methods may be called concurrently. A Ref that
// ParseRef refuses is ErrBadRef everywhere.
type Store interface {
	// Create stores everything r yields under ref and returns the number of
	// bytes. When it returns nil, content and name survive power loss.
	// On any error, r's own included, nothing is visible under ref and no
	// space is kept, also after power loss; r's error is wrapped unchanged and
	// never taken for one of the store. If ref exists it fails with ErrExist
	// and leaves what is there.
	Create(ctx context.Context, ref Ref, r io.Reader) (int64, error)

	// Open reads length bytes from offset; a length of -1 means to the end.
	// The range must lie within the blob, else ErrRange. Absent: ErrNotExist.
	// An open reader goes on working when the blob is deleted. A reader that
	// is backed by a real file also implements File.
	Open(ctx context.Context, ref Ref, offset, length int64) (io.ReadCloser, error)

	// Stat describes one blob. Absent: ErrNotExist.
	Stat(ctx context.Context, ref Ref) (Info, error)

	// Delete removes blobs, durably when it returns nil; an absent one is
	// not an error. It goes on after a failure and returns the refs that are
	// certainly gone, with the joined errors of the others. It may run beside
	// a Create of the same epoch.
	Delete(ctx context.Context, refs ...Ref) (gone []Ref, err error)

	// List calls fn for the blobs of one epoch, or of all epochs if epoch is
	// "", in any order, until fn returns false. What it finds that is not a
	// blob is passed by name to stray, if that is not nil. An epoch without
	// blobs is empty, not an error; a malformed one is ErrBadRef.
	List(ctx context.Context, epoch string, fn func(Info) bool, stray func(name string)) error

	// Free is the number of bytes that can still be stored, or a negative
	// number where that is not limited or not known.
	Free(ctx context.Context) (int64, error)

	// Append begins to write at offset of a content that comes in pieces. At
	// offset 0 the content is new, as in Create, or ErrExist. At a later one,
	// which is at most the size that a Sync or Seal made durable (else
	// ErrRange), it goes on: what lies behind offset was never recorded by
	// the caller and is cut off. Absent: ErrNotExist. One Writer at a time is
	// used for a ref, and no reader before Seal. Until then the content is
	// listed and deleted like any other.
	Append(ctx context.Context, ref Ref, offset int64) (Writer, error)

	// Close releases the store.
	Close() error
}

// Writer writes one piece of a content. It is used by one goroutine.
type Writer interface {
	io.Writer
	// Sync makes everything written so far durable, and the name with it.
	Sync() error
	// Seal makes the content immutable as it is now, and durable. Nothing is
	// written behind it, but a later Append may reopen what was sealed: the
	// caller's record of it may have been lost.
	Seal() error
	// Close ends the writing. What was not synced may or may not be there.
	Close() error
}

// File is implemented by readers of Open whose bytes are a section of a real
// file, so that a download can use sendfile(2). The file belongs to the
// reader: it is closed by the reader's Close.
type File interface {
	// Section returns the file and the range in it that Open was asked for.
	Section() (f *os.File, offset, length int64)
}

// Adopter is implemented by a store that can take over files which were there
// before it, without moving a byte: each gets one more name.
type Adopter interface {
	// Adopt stores files below root under refs that are new, and returns an
	// error for each. With nil the ref is another name of the file, and the
	// file is read-only; both survive power loss. The name it had stays.
	// With an error nothing is visible under the ref. The caller has synced
	// the contents and sees to it that nobody writes to them any more.
	//
	// ErrNotExist: under the name is not, or no longer, the file of Info.
	// ErrNoLink: this file cannot have one more name here; Create a copy.
	Adopt(ctx context.Context, root *os.Root, files []Existing) []error
	// StatFile describes the file of a blob, for os.SameFile and the time of
	// its last change. Absent: ErrNotExist.
	StatFile(ref Ref) (fs.FileInfo, error)
}

// Existing is a file to be adopted.
type Existing struct {
	Ref  Ref
	Name string      // below the root
	Info fs.FileInfo // by which the caller knows the file
}

// Errors of a Store, to be compared with errors.Is.
var (
	ErrNotExist = errors.New("blob: does not exist")
	ErrExist    = errors.New("blob: exists")
	ErrRange    = errors.New("blob: range outside the content")
	ErrBadRef   = errors.New("blob: malformed reference")
	// ErrNoLink: see Adopter.
	ErrNoLink = errors.New("blob: the file cannot be linked")
	// ErrFull: no space or quota left on the device.
	ErrFull = errors.New("blob: no space left")
)
