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

	"github.com/gabriel-vasile/mimetype"

	"upload-service/store/blob"
	"upload-service/store/failpoint"
)

// MaxParts is how many contents one request, and so one upload, may bring.
const MaxParts = 1000

// Spec is what a request says about itself before its body is read.
type Spec struct {
	// Size is the number of bytes to come, of all contents together, or -1
	// if the request does not say.
	Size int64
	// Path is where a direct upload will go, "" if that is not known yet. A
	// file that it replaces makes room for it.
	Path Path
}

// Intake receives the bytes of one request. Add stores one content after the
// other; then StoreFiles or StoreUpload names all of them in one transaction,
// or Close leaves nothing of them. It is used by one goroutine.
type Intake struct {
	s         *Store
	owner     OwnerID
	flight    *flight
	reserved  int64 // bytes set aside
	received  int64 // bytes that came in
	unsent    int64 // reserved and not received: its part of flights.unsent
	replaced  int64 // bytes that the commit gives back
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
	in := &Intake{s: s, owner: o, flight: f}
	if err := in.admit(ctx, spec); err != nil {
		s.release(o, f)
		return nil, err
	}
	return in, nil
}

func (in *Intake) admit(ctx context.Context, spec Spec) error {
	s := in.s
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
		return quotaError(used, s.limits)
	}
	if spec.Size < 0 {
		return s.checkSpace(ctx, 0)
	}
	return in.reserve(ctx, spec.Size)
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

func (in *Intake) reserve(ctx context.Context, n int64) error {
	if err := in.s.reserve(ctx, in.owner, in.flight, n, in.replaced); err != nil {
		return err
	}
	in.reserved += n
	in.account()
	return nil
}

// account keeps the store's sum of unsent bytes right after reserved or
// received changed.
func (in *Intake) account() {
	unsent := max(0, in.reserved-in.received)
	in.s.addUnsent(unsent - in.unsent)
	in.unsent = unsent
}

// arrived counts n more bytes and sees that room is reserved for them: ahead
// in steps where the size is unknown, to the byte when a step no longer fits.
func (in *Intake) arrived(ctx context.Context, n int64) error {
	in.received += n
	missing := in.received - in.reserved
	if missing > 0 {
		err := in.reserve(ctx, max(missing, reserveStep))
		if CodeOf(err) == CodeQuotaExceeded {
			err = in.reserve(ctx, missing)
		}
		if err != nil {
			return err
		}
	}
	in.account()
	return nil
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
	if err != nil {
		return nil, errors.Join(translate(err), s.remove(ctx, ref))
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
	s.addUnsent(-in.unsent)
	if !in.committed {
		in.flight.beginCommit(0)
		in.flight.endCommit(in.reserved)
	}
	s.release(in.owner, in.flight)
	in.flight = nil
	switch {
	case in.committed || len(in.parts) == 0:
		return nil
	case in.submitted:
		return s.condemn(ctx, in.parts)
	}
	failpoint.Hit("intake: abandoned")
	return s.remove(ctx, refsOf(in.parts)...)
}

// remove deletes blobs that no transaction has seen. One that cannot be
// deleted is not settled: its epoch stays open, and recovery finds it.
func (s *Store) remove(ctx context.Context, refs ...blob.Ref) error {
	gone, err := s.blobs.Delete(context.WithoutCancel(ctx), refs...)
	s.settle(gone...)
	return err
}

// commit runs the transaction that names the parts and ends their
// reservation.
func (in *Intake) commit(ctx context.Context, fn func(txn) error) error {
	in.submitted = true
	in.flight.beginCommit(in.reserved)
	err := in.s.update(ctx, in.owner, fn)
	if err != nil {
		in.flight.beginCommit(-in.reserved) // counted nowhere yet: Close gives it back
		return err
	}
	failpoint.Hit("intake: committed")
	in.flight.endCommit(in.reserved)
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
	sum    hash.Hash
	sum512 hash.Hash
	head   []byte // the first bytes, for sniffing
}

const (
	// reserveStep is how far ahead room is reserved for a body of unknown size.
	reserveStep = 8 << 20
	// spaceStep is after how many bytes the free space is looked at again.
	spaceStep = 64 << 20
	sniffLen  = 3072 // what mimetype looks at
)

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if n == 0 {
		return n, err
	}
	before := m.n
	m.n += int64(n)
	if limit := m.in.s.limits.FileSize; limit > 0 && m.n > limit {
		return 0, Errorf(CodeTooLarge, "A file may have at most %d bytes.", limit)
	}
	if err := m.in.arrived(m.ctx, int64(n)); err != nil {
		return 0, err
	}
	if before/spaceStep != m.n/spaceStep {
		if err := m.in.s.checkSpace(m.ctx, 0); err != nil {
			return 0, err
		}
	}
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
	if err != nil || len(declared) > 255 ||
		base == "application/octet-stream" || base == "application/x-www-form-urlencoded" {
		return sniffed
	}
	return mime.FormatMediaType(base, params)
}
