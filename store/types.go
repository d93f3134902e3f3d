package store

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"path"
	"strconv"
	"time"

	"github.com/google/uuid"

	"upload-service/store/blob"
)

// Token is the unguessable id of an upload: a UUIDv4 in its text form.
type Token string

// NewToken makes a token from 122 random bits.
func NewToken() Token { return Token(uuid.NewString()) }

// ParseToken accepts the 36-character lower-case form of a UUID and nothing
// else. A malformed token is CodeNotFound, like one that does not exist.
func ParseToken(s string) (Token, error) {
	id, err := uuid.Parse(s)
	if err != nil || id.String() != s {
		return "", errNoUpload
	}
	return Token(s), nil
}

// numbered makes the n-th token after t, as hard to guess as t is.
func (t Token) numbered(n int) Token {
	return Token(uuid.NewSHA1(uuid.UUID(t.bytes()), []byte(strconv.Itoa(n))).String())
}

func (t Token) bytes() []byte {
	id, err := uuid.Parse(string(t))
	if err != nil {
		return nil // no record has an empty id: reads as absent
	}
	return id[:]
}

// FileID names a file for as long as it exists, through renames and
// replacements. Its text form is 32 hex digits.
type FileID [16]byte

// NewFileID makes an id from 128 random bits.
func NewFileID() (id FileID) {
	rand.Read(id[:]) // never fails (crypto/rand, Go 1.24)
	return id
}

// ParseFileID accepts 32 lower-case hex digits; anything else is CodeNotFound.
func ParseFileID(s string) (id FileID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return id, errNoFile
	}
	return FileID(b), nil
}

func (id FileID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText writes the id as 32 hex digits.
func (id FileID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (id *FileID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseFileID(string(b))
	return err
}

// Part is one content that came in: a blob and what is known about it.
type Part struct {
	Name        Path     `json:"name"`
	ContentType string   `json:"type,omitempty"`    // as the client declared it, or as sniffed
	Sniffed     string   `json:"sniffed,omitempty"` // as the first bytes look
	Size        int64    `json:"size"`              // bytes
	SHA256      []byte   `json:"sha256,omitempty"`
	Blob        blob.Ref `json:"blob"`
}

// ETag is the strong entity tag of the content, in quotes (RFC 9110, 8.8.3). It
// does not depend on the digest, which may become known later.
func (p *Part) ETag() string { return `"` + path.Base(string(p.Blob)) + `"` }

// State says how far an upload is.
type State string

// The states of an upload. Persisted and Gone are tombstones: they answer
// late and repeated requests for one temporary lifetime and hold no bytes.
const (
	Receiving State = "receiving"
	Ready     State = "ready"
	Persisted State = "persisted"
	Gone      State = "gone"

	// Discarded is gone for everybody, but can still come back, and has its
	// bytes until it expires.
	Discarded State = "discarded"
)

// Upload is bytes waiting to be made permanent: always temporary, always with
// an expiry.
type Upload struct {
	Token     Token     `json:"token"`
	Owner     OwnerID   `json:"owner"`
	State     State     `json:"state"`
	Purpose   string    `json:"purpose,omitempty"` // what it was uploaded for; Expect can ask for it
	CreatedAt time.Time `json:"created"`
	ExpiresAt time.Time `json:"expires"` // of a tombstone: when it is forgotten
	Parts     []Part    `json:"parts,omitempty"`
	Growth    *Growth   `json:"growth,omitempty"` // of an upload that comes in pieces, also when it is complete
	Reason    string    `json:"reason,omitempty"` // why it is gone

	// Of a discarded upload: what it came along with, and when it would have
	// expired.
	Batch     BatchID   `json:"batch,omitzero"`
	BackUntil time.Time `json:"back,omitzero"`

	// Of a persisted upload: the request, and what it became, as answered.
	// Metadata and tags are the same for all files and stand here once.
	Fingerprint []byte            `json:"print,omitempty"`
	Files       []File            `json:"files,omitempty"`
	Metadata    map[string]string `json:"meta,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
}

// Growth is how far an upload that comes in pieces has come.
type Growth struct {
	Offset   int64   `json:"offset"`            // bytes that are durable, hashed and acknowledged
	Length   int64   `json:"length"`            // bytes in all, -1 while that is not known
	Reserved int64   `json:"reserved"`          // bytes that count against the quota while it grows
	Sum      []byte  `json:"sum,omitempty"`     // state of SHA-256 after Offset bytes
	Sum512   []byte  `json:"sum512,omitempty"`  // of SHA-512, where Want has one
	Want     Digest  `json:"want,omitzero"`     // what the whole must hash to
	Then     *Goal   `json:"then,omitempty"`    // what it becomes when it is complete
	Refused  *Error  `json:"refused,omitempty"` // why it did not become that
	Partial  bool    `json:"partial,omitempty"` // only good for a concatenation
	Of       []Token `json:"of,omitempty"`      // what it was concatenated from
	Into     Token   `json:"into,omitempty"`    // what it was concatenated to
	Label    string  `json:"label,omitempty"`   // the client's own description, given back as it came
}

// Digest is what a content is expected to hash to; nil asks nothing.
type Digest struct {
	SHA256 []byte `json:"sha256,omitempty"`
	SHA512 []byte `json:"sha512,omitempty"`
}

// Goal is the file that an upload becomes by itself when it is complete.
type Goal struct {
	Folder     string            `json:"folder,omitempty"`
	Metadata   map[string]string `json:"meta,omitempty"`
	OnConflict OnConflict        `json:"on_conflict"`
	Condition  Condition         `json:"condition,omitzero"`
}

// Refusal is why an upload that is whole did not become the file that it was
// meant to be, nil if it did or nobody asked for that.
func (u *Upload) Refusal() error {
	if u.State != Ready || u.Growth == nil || u.Growth.Refused == nil {
		return nil
	}
	return u.Growth.Refused
}

// size is what counts against the quota, in bytes.
func (u *Upload) size() (n int64) {
	if u.State == Receiving && u.Growth != nil {
		return u.Growth.Reserved
	}
	_, n = u.stored()
	return n
}

// usage is what the upload counts for: nothing once its owner is rid of it.
func (u *Upload) usage() Usage {
	switch u.State {
	case Discarded:
		return Usage{}
	case Gone:
		return Usage{Ended: 1}
	}
	return Usage{Uploads: int64(len(u.Parts)), UploadBytes: u.size()}
}

// stored is what the upload has on disk.
func (u *Upload) stored() (blobs, bytes int64) {
	for _, p := range u.Parts {
		if p.Blob != "" {
			blobs++
			bytes += p.Size
		}
	}
	return blobs, bytes
}

// File is a permanent file of an owner.
type File struct {
	ID          FileID            `json:"id"`
	Owner       OwnerID           `json:"owner"`
	Path        Path              `json:"path"`
	Version     uint64            `json:"v"` // counts every change, starting at 1
	Size        int64             `json:"size"`
	ContentType string            `json:"type,omitempty"`
	Sniffed     string            `json:"sniffed,omitempty"`
	SHA256      []byte            `json:"sha256,omitempty"` // nil until known
	CreatedAt   time.Time         `json:"created"`
	UpdatedAt   time.Time         `json:"updated"`
	Metadata    map[string]string `json:"meta,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	Blob        blob.Ref          `json:"blob"`
}

// ETag is the strong entity tag of the file, in quotes (RFC 9110, 8.8.3).
func (f *File) ETag() string { return fmt.Sprintf(`"%s-%d"`, f.ID, f.Version) }

// Usage is what an owner has stored. Deleted and replaced bytes do not count.
type Usage struct {
	Files       int64 `json:"files,omitempty"`
	FileBytes   int64 `json:"file_bytes,omitempty"`
	Uploads     int64 `json:"uploads,omitempty"` // contents of temporary uploads
	UploadBytes int64 `json:"upload_bytes,omitempty"`
	Ended       int64 `json:"ended,omitempty"` // uploads that are gone and remembered; they count against nothing
}

// Bytes is what counts against the quota, in bytes.
func (u Usage) Bytes() int64 { return u.FileBytes + u.UploadBytes }

// Count is what counts against the limit on files.
func (u Usage) Count() int64 { return u.Files + u.Uploads }

func (u Usage) plus(d Usage) Usage {
	return Usage{
		u.Files + d.Files, u.FileBytes + d.FileBytes, u.Uploads + d.Uploads, u.UploadBytes + d.UploadBytes,
		u.Ended + d.Ended,
	}
}

func (u Usage) minus(d Usage) Usage {
	return u.plus(Usage{-d.Files, -d.FileBytes, -d.Uploads, -d.UploadBytes, -d.Ended})
}

// trashed is a deleted or replaced content that can still be restored.
type trashed struct {
	File  File      `json:"file"`
	At    time.Time `json:"at"`
	Until time.Time `json:"until"`
	Batch BatchID   `json:"batch,omitzero"` // what it was deleted together with
}

// BatchID names what was deleted together, so that it can be undone together.
type BatchID [16]byte

// NewBatchID makes an id from 128 random bits.
func NewBatchID() (id BatchID) {
	rand.Read(id[:])
	return id
}

// ParseBatchID accepts 32 hex digits. Another text is CodeNotFound, like a
// batch that does not exist.
func ParseBatchID(s string) (id BatchID, err error) {
	if n, err := hex.Decode(id[:], []byte(s)); len(s) != 2*len(id) || err != nil || n != len(id) {
		return BatchID{}, errNoFile
	}
	return id, nil
}

func (id BatchID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id BatchID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (id *BatchID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseBatchID(string(b))
	return err
}

// garbage is a blob that no record holds any more and whose bytes are to go.
type garbage struct {
	Size   int64     `json:"size"`
	Owner  OwnerID   `json:"owner,omitempty"`
	Path   Path      `json:"path,omitempty"` // where the visible tree may still show it
	At     time.Time `json:"at"`
	Reason string    `json:"reason"`
	Sweep  string    `json:"sweep,omitempty"` // the sweep that discarded it
}

var (
	errNoUpload = Errorf(CodeNotFound, "There is no such upload.")
	errNoFile   = Errorf(CodeNotFound, "There is no such file.")
	errNoOwner  = Errorf(CodeNotFound, "There is no such owner.")
)

// tokenOf is the inverse of Token.bytes.
func tokenOf(b []byte) Token {
	id, err := uuid.FromBytes(b)
	if err != nil {
		return ""
	}
	return Token(id.String())
}
