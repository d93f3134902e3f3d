package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"hash"
	"io"
	"mime"
	"slices"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"upload-service/store/blob"
	"upload-service/store/failpoint"
)

// MaxParts is how many contents one request, and so one upload, may bring.
const MaxParts = 1000

// Spec is what a request says about itself before its body is read.
type Spec struct {
	// Size is the number of bytes of the one content to come, or -1 if the
	// request does not say, or brings several.
	Size int64
	// Path is where a direct upload will go, "" if that is not known yet. A
	// file that it replaces makes room for it.
	Path Path
	// Allowed is asked before what came is committed: a body can take hours, and
	// who sends it may have lost the right meanwhile. Its error becomes that of the
	// commit; nil allows it.
	Allowed func() error
}

// Intake receives the bytes of one request. Add stores one content after the
// other; then StoreFiles or StoreUpload names all of them in one transaction,
// or Close leaves nothing of them. It is used by one goroutine.
type Intake struct {
	s         *Store
	owner     OwnerID
	allowed   func() error
	flight    *flight
	reserved  int64 // bytes that there is room for on the volume
	received  int64 // bytes that came in
	unwritten int64 // its part of flights.unwritten
	replaced  int64 // bytes that the commit gives back
	charged   int64 // its part of flight.bytes: reserved, less what it replaces
	parts     []*Part
	submitted bool // the parts were handed to a transaction
	committed bool
}

// Receive admits a request that will bring bytes. Everything that can be
// refused before the body is refused here: too_large, quota_exceeded,
// rate_limited (too many at once), full. The caller closes the Intake.
func (s *Store) Receive(ctx context.Context, o OwnerID, spec Spec) (*Intake, error) {
	f, err := s.take(o)
	if err != nil {
		return nil, err
	}
	in := &Intake{s: s, owner: o, allowed: spec.Allowed, flight: f}
	if err := in.admit(ctx, spec); err != nil {
		in.Close(ctx) // nothing has come yet; what was set aside goes back
		return nil, err
	}
	return in, nil
}

func (in *Intake) admit(ctx context.Context, spec Spec) error {
	s := in.s
	if err := s.checkLength(spec.Size); err != nil {
		return err
	}
	var used Usage
	err := s.view(ctx, func(t txn) (err error) {
		in.replaced = 0
		if used, err = t.usage(in.owner); err != nil || spec.Path == "" {
			return err
		}
		old, found, err := t.file(in.owner, spec.Path)
		if found {
			in.replaced = old.Size
			used.Files--
		}
		return err
	})
	if err != nil {
		return err
	}
	if s.limits.OwnerFiles > 0 && used.Count() >= s.limits.OwnerFiles {
		return quotaError(used, s.limits, "are")
	}
	return in.reserve(ctx, max(spec.Size, 0))
}

func fileTooLarge(limit int64) *Error {
	return TooLarge("A file may have at most %d bytes.", limit)
}

// Admissible reports what Receive would refuse, without admitting anything:
// for a client that asks before it sends ("Expect: 100-continue").
func (s *Store) Admissible(ctx context.Context, o OwnerID, spec Spec) error {
	in, err := s.Receive(ctx, o, spec)
	if err != nil {
		return err
	}
	return in.Close(ctx)
}

// reserve sees that there is room for n more bytes: first of the owner, whose
// refusal is final, then on the volume.
func (in *Intake) reserve(ctx context.Context, n int64) error {
	more := max(0, in.reserved+n-in.replaced) - in.charged
	if err := in.s.charge(ctx, in.owner, in.flight, in.charged, more); err != nil {
		if CodeOf(err) == CodeQuotaExceeded {
			in.charged = 0
		}
		return err
	}
	in.charged += more
	if err := in.s.claim(ctx, n); err != nil {
		return err
	}
	in.reserved += n
	in.unwritten += n
	return nil
}

// arrived counts n more bytes and sees that there is room for them. Where the
// size is unknown that is asked to the byte: room held ahead would refuse
// others for what may never come.
func (in *Intake) arrived(ctx context.Context, n int64) error {
	in.received += n
	if missing := in.received - in.reserved; missing > 0 {
		return in.reserve(ctx, missing)
	}
	return nil
}

// written ends the claim to n bytes: they are on the volume, or will never be.
func (in *Intake) written(n int64) {
	n = min(n, in.unwritten)
	in.unwritten -= n
	in.s.unclaim(n)
}

// Content is what is declared about one content.
type Content struct {
	Name   Path   // may be set on the Part later
	Type   string // media type, "" if not declared
	SHA256 []byte // expected digest, nil if none
	SHA512 []byte // expected digest, nil if none
}

// Add stores one content durably. Errors of r come back in the chain;
// too_large, quota_exceeded, full and bad_digest are found while it streams.
// The Part is not named by any record yet.
func (in *Intake) Add(ctx context.Context, r io.Reader, c Content) (*Part, error) {
	s := in.s
	if len(in.parts) >= MaxParts {
		return nil, Errorf(CodeTooLarge, "One request may bring at most %d files; send the others in another.", MaxParts)
	}
	ref, err := s.newRef(ctx)
	if err != nil {
		return nil, err
	}
	m := &meter{ctx: ctx, in: in, r: r, sum: sha256.New()}
	if c.SHA512 != nil {
		m.sum512 = sha512.New()
	}
	failpoint.Hit("intake: before the bytes")
	n, err := s.blobs.Create(ctx, ref, m)
	in.written(m.last)
	if err != nil {
		return nil, errors.Join(Translate(err), s.remove(ctx, &Part{Blob: ref}))
	}
	failpoint.Hit("intake: bytes durable")
	p := &Part{Name: c.Name, Size: n, SHA256: m.sum.Sum(nil), Sniffed: m.sniff(), Blob: ref}
	p.ContentType = mediaType(c.Type, p.Sniffed)
	in.parts = append(in.parts, p)
	if c.SHA256 != nil && !bytes.Equal(c.SHA256, p.SHA256) ||
		c.SHA512 != nil && !bytes.Equal(c.SHA512, m.sum512.Sum(nil)) {
		return nil, Errorf(CodeBadDigest, "The bytes that arrived do not match the digest in the request; send them again.")
	}
	return p, nil
}

// Close removes what was received and not committed. It may be called after a
// commit, when it only ends the request's reservation.
func (in *Intake) Close(ctx context.Context) error {
	if in.flight == nil {
		return nil
	}
	ctx = context.WithoutCancel(ctx) // the client may be gone; the bytes must go too
	s := in.s
	in.written(in.unwritten)
	in.flight.refund(in.charged)
	s.release(in.owner, in.flight)
	in.flight = nil
	switch {
	case in.committed || len(in.parts) == 0:
		return nil
	case in.submitted:
		return s.discardRefused(ctx, in.parts...)
	}
	failpoint.Hit("intake: abandoned")
	return s.remove(ctx, in.parts...)
}

// remove deletes blobs that no transaction has seen. What cannot be deleted is
// left to the next sweep.
func (s *Store) remove(ctx context.Context, parts ...*Part) error {
	gone, err := s.blobs.Delete(context.WithoutCancel(ctx), refsOf(parts)...)
	s.settle(gone...)
	s.leave(slices.DeleteFunc(slices.Clone(parts), func(p *Part) bool { return slices.Contains(gone, p.Blob) }))
	return err
}

// commit runs the transaction that names the parts and ends their
// reservation.
func (in *Intake) commit(ctx context.Context, fn func(txn) error) error {
	if in.allowed != nil {
		if err := in.allowed(); err != nil {
			return err
		}
	}
	in.submitted = true
	in.flight.beginCommit(in.charged)
	err := in.s.update(ctx, in.owner, fn)
	in.flight.endCommit(in.charged)
	in.charged = 0
	if err != nil {
		return err
	}
	failpoint.Hit("intake: committed")
	in.committed = true
	in.s.settle(refsOf(in.parts)...)
	return nil
}

// meter passes the bytes of one content on, hashes them, and stops them at
// the limits.
type meter struct {
	ctx    context.Context
	in     *Intake
	r      io.Reader
	n      int64
	last   int64 // bytes of the last Read: on the volume when the next begins
	sum    hash.Hash
	sum512 hash.Hash
	head   []byte // the first bytes, for sniffing
}

const (
	// spaceStep is after how many bytes the free space is looked at again.
	spaceStep = 64 << 20
	sniffLen  = 3072 // what mimetype looks at
)

func (m *meter) Read(p []byte) (int, error) {
	m.in.written(m.last)
	m.last = 0
	n, err := m.r.Read(p)
	if n == 0 {
		return n, err
	}
	before := m.n
	m.n += int64(n)
	if err := m.in.s.checkLength(m.n); err != nil {
		return 0, err
	}
	if err := m.in.arrived(m.ctx, int64(n)); err != nil {
		return 0, err
	}
	if before/spaceStep != m.n/spaceStep {
		if err := m.in.s.claim(m.ctx, 0); err != nil {
			return 0, err
		}
	}
	m.last = int64(n)
	if len(m.head) < sniffLen {
		m.head = append(m.head, p[:min(n, sniffLen-len(m.head))]...)
	}
	m.sum.Write(p[:n])
	if m.sum512 != nil {
		m.sum512.Write(p[:n])
	}
	return n, err
}

func (m *meter) sniff() string { return mimetype.Detect(m.head).String() }

func refsOf(parts []*Part) []blob.Ref {
	refs := make([]blob.Ref, len(parts))
	for i, p := range parts {
		refs[i] = p.Blob
	}
	return refs
}

// mediaType is what a content is stored as: the declared type, if it says
// anything, else what the bytes look like. curl declares a form for whatever
// --data-binary sends, so that says nothing.
func mediaType(declared, sniffed string) string {
	base, params, err := mime.ParseMediaType(declared)
	if err != nil || len(declared) > 255 || !strings.Contains(base, "/") ||
		base == "application/octet-stream" || base == "application/x-www-form-urlencoded" {
		return sniffed
	}
	return mime.FormatMediaType(base, params)
}
