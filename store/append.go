package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/sha512"
	"encoding"
	"errors"
	"fmt"
	"hash"
	"io"
	"sync"
	"time"

	"github.com/gabriel-vasile/mimetype"

	"upload-service/store/blob"
	"upload-service/store/failpoint"
)

const (
	// checkpointStep is how many bytes of one piece may come before they are
	// made durable and recorded, and the largest step in which room is set aside
	// for a content of unknown length.
	checkpointStep = 64 << 20
	// turnWait is how long a newcomer waits for the last write of the request
	// that it stopped.
	turnWait = 10 * time.Second
)

// Begin is what a request says about an upload that will come in pieces.
type Begin struct {
	Name    Path   // "": made from the token
	Type    string // media type, "" if not declared
	Length  int64  // bytes in all, -1 if not known yet
	Purpose string
	Label   string // the client's own description, given back as it came
	Partial bool   // only good for a Concatenate
	Want    Digest // what the whole must hash to
	Then    *Goal  // what it becomes when it is complete; nil: it waits for a persist
	// Allowed is asked before a Concatenate, which can take long, makes something
	// of the parts; nil allows it. Its error becomes that of the Concatenate.
	Allowed func() error
}

// BeginUpload makes an upload that will come in pieces. Room for its length is
// set aside for as long as it lives. Errors: invalid, too_large,
// quota_exceeded, full, and what placing the file would refuse now.
func (s *Store) BeginUpload(ctx context.Context, o OwnerID, b Begin) (Upload, error) {
	now := s.now()
	u, err := s.begun(ctx, o, b, now)
	if err != nil {
		return Upload{}, err
	}
	if err := s.claim(ctx, max(0, b.Length)); err != nil {
		return Upload{}, err
	}
	s.unclaim(max(0, b.Length)) // its bytes come later, if at all
	err = s.update(ctx, o, func(t txn) error {
		return all(t.putUpload(u), s.checkRoom(t, u))
	})
	return u, err
}

// checkRoom is checkQuota while an upload grows. The file that it will replace
// makes room for it, as for one that comes whole.
func (s *Store) checkRoom(t txn, u Upload) error {
	used, err := t.usage(u.Owner)
	if err != nil {
		return err
	}
	if goal := u.Growth.Then; goal != nil && goal.OnConflict == Replace {
		path, err := u.Parts[0].Name.Join(goal.Folder)
		if err != nil {
			return err
		}
		old, found, err := t.file(u.Owner, path)
		if err != nil {
			return err
		}
		if found {
			used = used.plus(Usage{Files: -1, FileBytes: -old.Size})
		}
	}
	return s.checkUsage(used)
}

// begun is the record of an upload that begins.
func (s *Store) begun(ctx context.Context, o OwnerID, b Begin, now time.Time) (Upload, error) {
	if err := s.checkLength(b.Length); err != nil {
		return Upload{}, err
	}
	if len(b.Purpose) > maxPurpose {
		return Upload{}, FieldErrorf("purpose", "The purpose is longer than %d bytes.", maxPurpose)
	}
	u := Upload{
		Token: NewToken(), Owner: o, State: Receiving, Purpose: b.Purpose, CreatedAt: now, ExpiresAt: now.Add(s.ttl),
		Growth: &Growth{
			Length: b.Length, Reserved: max(0, b.Length), Want: b.Want, Then: b.Then, Partial: b.Partial, Label: b.Label,
		},
	}
	if b.Name == "" {
		b.Name = CleanName("", "upload-"+string(u.Token[:8]))
	}
	u.Parts = []Part{{Name: b.Name, ContentType: b.Type}}
	if b.Then == nil {
		return u, nil
	}
	path, err := b.Name.Join(b.Then.Folder)
	if err != nil {
		return Upload{}, err
	}
	if b.Then.Metadata, err = CheckMetadata(b.Then.Metadata); err != nil {
		return Upload{}, err
	}
	return u, s.CheckPath(ctx, o, path, b.Then.Condition)
}

// checkLength refuses a content of n bytes that is too large, for any limit or
// for sums that are to be compared with one.
func (s *Store) checkLength(n int64) error {
	if limit := s.limits.FileSize; limit > 0 && n > limit {
		return fileTooLarge(limit)
	}
	if n > maxContent {
		return fileTooLarge(maxContent)
	}
	return nil
}

// maxContent is far above what any file system takes as one file. What an
// owner has and what a request declares never add up to an overflow.
const maxContent = 1 << 53

// turns are the requests that are at an upload right now: one for each.
type turns struct {
	mu   sync.Mutex
	held map[turnKey]*holder
}

// turnKey has the owner in it: nobody disturbs what is not theirs, nor learns
// that it is there.
type turnKey struct {
	owner OwnerID
	token Token
}

type holder struct {
	stop func()        // asks it to end; may be nil
	done chan struct{} // closed when it has
}

// Turn is the exclusive use of an upload by one request. It is used by one
// goroutine, which releases it.
type Turn struct {
	s    *Store
	key  turnKey
	self *holder
	u    Upload
	read []byte // the record of u; nil once this turn has changed it
}

var errLocked = &Error{
	Code:       CodeLocked,
	Message:    "Another request is at this upload; try again in a moment.",
	RetryAfter: time.Second,
}

// TakeTurn gives the caller the upload for itself. A request that has it now
// is asked to stop, since its connection is most often dead: what it received
// is kept, and the newcomer goes on from there. Later newcomers call stop,
// maybe several times and from any goroutine; nil means that the turn is short.
//
// Errors: not_found, gone, and locked if the other one does not end in time.
func (s *Store) TakeTurn(ctx context.Context, o OwnerID, token Token, stop func()) (*Turn, error) {
	t, err := s.hold(ctx, turnKey{o, token}, stop)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(tx txn) (err error) {
		record, err := tx.Get(uploadKey(o, token))
		if err != nil {
			return err
		}
		t.read = bytes.Clone(record)
		if t.u, err = decodeUpload(record, o, token); err != nil {
			return err
		}
		return t.u.live(s.now())
	})
	if err != nil {
		t.Release()
		return nil, err
	}
	return t, nil
}

// hold is TakeTurn without a look at the upload, which need not be there.
func (s *Store) hold(ctx context.Context, key turnKey, stop func()) (*Turn, error) {
	t := &Turn{s: s, key: key, self: &holder{stop, make(chan struct{})}}
	var late <-chan time.Time
	for {
		s.turns.mu.Lock()
		other := s.turns.held[t.key]
		if other == nil {
			s.turns.held[t.key] = t.self
		}
		s.turns.mu.Unlock()
		if other == nil {
			return t, nil
		}
		if late == nil {
			late = time.After(turnWait)
		}
		if other.stop != nil {
			other.stop()
		}
		select {
		case <-other.done:
		case <-late:
			return nil, errLocked
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// Release ends the turn.
func (t *Turn) Release() {
	t.s.turns.mu.Lock()
	delete(t.s.turns.held, t.key)
	t.s.turns.mu.Unlock()
	close(t.self.done)
}

// InUse reports whether a request is at the upload right now.
func (s *Store) InUse(o OwnerID, token Token) bool {
	s.turns.mu.Lock()
	defer s.turns.mu.Unlock()
	return s.turns.held[turnKey{o, token}] != nil
}

// Upload is the upload as it is recorded.
func (t *Turn) Upload() Upload { return t.u }

// Last says when a piece is the last one.
type Last int

// The choices of Last.
const (
	NotLast   Last = iota // more will come, even if the length is reached
	AtLength              // if the declared length is reached with it
	LastPiece             // if it comes whole
)

// Piece is what is declared about some more bytes of an upload.
type Piece struct {
	Offset int64   // where they begin: the upload's offset
	Size   int64   // their number, -1 if not declared
	Length int64   // of the whole upload, -1 if this request does not say
	Name   Path    // of the content, "" to leave it
	Last   Last    // whether the upload is complete with them
	Whole  bool    // all of them or none: of a piece that is cut nothing is kept
	Check  Checker // implies Whole; nil for no check

	Allowed  func() error       // asked once more before the upload is complete; nil for no question
	Recorded func(offset int64) // called when a part of the piece is recorded; nil for nothing
}

// Checker judges a piece by its bytes.
type Checker interface {
	io.Writer
	// Check is called when all bytes have come. An error refuses the piece.
	Check() error
}

// Append adds a piece. What it acknowledges is durable and survives a crash.
// An error of r, and a limit that is reached on the way, ends the piece: what
// was read before is kept, unless the piece is a whole one. Upload tells how
// far the upload has come, whatever Append returns.
//
// Errors: conflict (not the offset of the upload, or it is complete), invalid
// (lengths that contradict each other, see IsLength), too_large (also beyond the length), quota_exceeded,
// rate_limited, full, those of Check and Allowed, bad_digest (the whole is not what was
// announced: the upload is gone), and those of placing the file; then the
// upload is complete and waits for a persist.
func (t *Turn) Append(ctx context.Context, r io.Reader, p Piece) error {
	g := t.u.Growth
	p.Whole = p.Whole || p.Check != nil
	// 1. Does the piece fit behind what is there?
	if g == nil || t.u.State != Receiving {
		if g != nil && p.Size == 0 && p.Offset == g.Offset && (p.Length < 0 || p.Length == g.Length) {
			if p.Check != nil {
				if err := p.Check.Check(); err != nil {
					return err
				}
			}
			return t.u.Refusal() // the end of what is complete already
		}
		return Errorf(CodeConflict, "This upload is complete; nothing can be added to it.")
	}
	if p.Offset != g.Offset {
		return Errorf(CodeConflict, "The upload has %d bytes, so the next piece does not begin at %d.", g.Offset, p.Offset)
	}
	length, err := t.lengthWith(p)
	if err != nil {
		return err
	}
	// 2. Is there room? What is known about the size is set aside first.
	if p.Size != 0 { // nothing takes no time
		f, err := t.s.take(t.u.Owner)
		if err != nil {
			return err
		}
		defer t.s.release(t.u.Owner, f)
	}
	a := &appending{t: t, p: p, length: length, offset: p.Offset, recorded: p.Offset, ref: t.u.Parts[0].Blob}
	if err := a.claim(ctx, max(0, p.Size)); err != nil {
		return err
	}
	defer func() { t.s.unclaim(a.unwritten) }()
	// A length that is reached already is recorded by what completes the upload.
	ends := p.Last == AtLength && length == p.Offset
	if !ends && (length != g.Length || p.Size >= 0 && p.Offset+p.Size > g.Reserved) {
		if err := t.reserve(ctx, length, p.Offset+max(0, p.Size)); err != nil {
			return err
		}
	}
	// 3. The bytes.
	defer a.close()
	if err := a.resumeHashes(); err != nil {
		return err
	}
	failpoint.Hit("append: before the bytes")
	cut := a.receive(ctx, r)
	// 4. A piece that must come whole counts only now, and only if it is right.
	if p.Whole && cut != nil {
		return cut
	}
	if p.Check != nil {
		if err := p.Check.Check(); err != nil {
			return err
		}
	}
	// 5. The end of the piece, although the client may be gone.
	ctx = context.WithoutCancel(ctx)
	switch {
	case a.atLength() && CodeOf(cut) == CodeTooLarge:
		// More came than the whole has, which shows only now. What was
		// recorded stays short of the end.
		return cut
	case a.atLength(): // whatever became of the connection behind the last byte
		return a.complete(ctx)
	case cut == nil && p.Last == LastPiece && length >= 0 && a.offset != length:
		cut = lengthErrorf("The upload was to have %d bytes, and ends with %d.", length, a.offset)
	case cut == nil && p.Last == LastPiece:
		return a.complete(ctx)
	}
	return errors.Join(cut, a.checkpoint(ctx))
}

// lengthWith is the upload's length, as known with the piece.
func (t *Turn) lengthWith(p Piece) (int64, error) {
	length := t.u.Growth.Length
	if p.Length >= 0 {
		if length >= 0 && length != p.Length || p.Length < p.Offset {
			return 0, lengthErrorf("The length of this upload is %d; it cannot become %d.",
				max(length, p.Offset), p.Length)
		}
		length = p.Length
	}
	if length >= 0 && p.Size > length-p.Offset {
		return 0, errBeyond(length)
	}
	if err := t.s.checkLength(p.Size); err != nil {
		return 0, err
	}
	return length, t.s.checkLength(max(length, p.Offset+p.Size))
}

// lengthField is the Field of an error about lengths that contradict each other.
const lengthField = "length"

func lengthErrorf(format string, args ...any) error {
	return FieldErrorf(lengthField, format, args...)
}

// IsLength reports whether a piece was refused because the lengths that were
// announced for its upload contradict each other.
func IsLength(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Field == lengthField
}

func errBeyond(length int64) error {
	return Errorf(CodeTooLarge, "This goes beyond the %d bytes that the upload was announced with.", length)
}

// reserve records the length, if it is known, and sets room aside for the
// first n bytes: for all of them, else in steps of a quarter of what there is,
// which shrink near the quota.
func (t *Turn) reserve(ctx context.Context, length, n int64) error {
	for step := min(max(1<<20, n/4), checkpointStep); ; step /= 4 {
		if step < 1<<20 {
			step = 1
		}
		room := max(t.u.Growth.Reserved, (n+step-1)/step*step)
		if limit := t.s.limits.FileSize; limit > 0 {
			room = min(room, limit)
		}
		if length >= 0 {
			room = length
		}
		err := t.change(ctx, func(u *Upload) { u.Growth.Length, u.Growth.Reserved = length, room })
		if CodeOf(err) != CodeQuotaExceeded || length >= 0 || step == 1 {
			return err
		}
	}
}

// change applies fn to the record of an upload that is still receiving, and
// gives it a new lifetime.
func (t *Turn) change(ctx context.Context, fn func(*Upload)) error {
	s, now := t.s, t.s.now()
	var u Upload
	err := s.update(ctx, t.u.Owner, func(tx txn) error {
		old, err := t.growing(tx)
		if err != nil {
			return err
		}
		u = old.clone()
		fn(&u)
		u.ExpiresAt = s.nextExpiry(u, now)
		if err := tx.changeUpload(old, u); err != nil {
			return err
		}
		if u.size() > old.size() {
			return s.checkRoom(tx, u)
		}
		return nil
	})
	if err == nil {
		t.u, t.read = u, nil
	}
	return err
}

// growing is the upload as it is now, if it has not ended since it was read. A
// record that is still the same is not decoded again.
func (t *Turn) growing(tx txn) (Upload, error) {
	record, err := tx.Get(uploadKey(t.u.Owner, t.u.Token))
	if err != nil {
		return Upload{}, err
	}
	now := t.u
	if t.read == nil || !bytes.Equal(record, t.read) {
		now, err = decodeUpload(record, t.u.Owner, t.u.Token)
	}
	if err == nil && now.State != Receiving {
		err = Errorf(CodeGone, "This upload ended while a piece of it came in.")
	}
	return now, err
}

// clone copies what a change of the record may alter.
func (u Upload) clone() Upload {
	g := *u.Growth
	u.Growth = &g
	u.Parts = append([]Part(nil), u.Parts...)
	return u
}

// nextExpiry is when an upload expires that is in use now.
func (s *Store) nextExpiry(u Upload, now time.Time) time.Time {
	until := now.Add(s.ttl)
	if last := u.CreatedAt.Add(touchCap * s.ttl); until.After(last) {
		until = last
	}
	if until.Before(u.ExpiresAt) {
		return u.ExpiresAt
	}
	return until
}

// appending is one piece on its way in.
type appending struct {
	t         *Turn
	p         Piece
	length    int64 // of the upload, -1 if not known
	offset    int64 // bytes written
	recorded  int64 // of these, durable and recorded
	unwritten int64 // its part of flights.unwritten
	sum       hash.Hash
	sum512    hash.Hash // nil unless the upload wants it
	ref       blob.Ref  // "" until there is a byte
	w         blob.Writer
	fresh     bool // no record names the blob yet
	tried     bool // a transaction may have named it
}

// resumeHashes continues the digests where the last piece ended.
func (a *appending) resumeHashes() error {
	g := a.t.u.Growth
	var err error
	if a.sum, err = resumeHash(sha256.New(), g.Sum); err != nil {
		return err
	}
	if g.Want.SHA512 != nil {
		a.sum512, err = resumeHash(sha512.New(), g.Sum512)
	}
	return err
}

func resumeHash(h hash.Hash, state []byte) (hash.Hash, error) {
	if state == nil {
		return h, nil
	}
	if err := h.(encoding.BinaryUnmarshaler).UnmarshalBinary(state); err != nil {
		return nil, fmt.Errorf("resume the digest of an upload: %w", err)
	}
	return h, nil
}

// open begins to write: an upload has no blob before its first byte.
func (a *appending) open(ctx context.Context) (err error) {
	if a.w != nil {
		return nil
	}
	if a.ref == "" {
		if a.ref, err = a.t.s.newRef(ctx); err != nil {
			return err
		}
		a.fresh = true
	}
	a.w, err = a.t.s.blobs.Append(ctx, a.ref, a.recorded)
	if !a.fresh && (errors.Is(err, blob.ErrNotExist) || errors.Is(err, blob.ErrRange)) {
		// What is recorded is not there any more, and never will be.
		a.t.s.log.Error("an upload has lost its bytes; check the volume, and run the command check", "blob", a.ref, "error", err)
		return errors.Join(
			Errorf(CodeGone, "This upload is gone: it %s. Upload the file again.", reasonLost),
			a.t.Drop(ctx, reasonLost))
	}
	return Translate(err)
}

// claim sees that there is room for n more bytes on the volume.
func (a *appending) claim(ctx context.Context, n int64) error {
	if n <= 0 {
		return nil
	}
	if err := a.t.s.claim(ctx, n); err != nil {
		return err
	}
	a.unwritten += n
	return nil
}

// receive writes what r yields, up to the limits.
func (a *appending) receive(ctx context.Context, r io.Reader) error {
	var buf blob.Buffer
	defer buf.Free()
	got := a.p.Size
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		b := buf.Next(got)
		n, end := r.Read(b)
		got = int64(n)
		if n > 0 {
			if err := a.write(ctx, b[:n]); err != nil {
				return err
			}
		}
		if end == io.EOF {
			return nil
		}
		if end != nil {
			return end
		}
		if a.offset-a.recorded >= checkpointStep && !a.p.Whole && !a.atLength() {
			if err := a.checkpoint(ctx); err != nil {
				return err
			}
			if a.p.Recorded != nil {
				a.p.Recorded(a.offset)
			}
		}
	}
}

func (a *appending) write(ctx context.Context, b []byte) error {
	next := a.offset + int64(len(b))
	if a.length >= 0 && next > a.length {
		return errBeyond(a.length)
	}
	if err := a.t.s.checkLength(next); err != nil {
		return err
	}
	if next > a.t.u.Growth.Reserved {
		if err := a.t.reserve(ctx, a.length, next); err != nil {
			return err
		}
	}
	if err := a.claim(ctx, int64(len(b))-a.unwritten); err != nil {
		return err
	}
	if err := a.open(ctx); err != nil {
		return err
	}
	if _, err := a.w.Write(b); err != nil {
		return Translate(err)
	}
	a.offset = next
	a.sum.Write(b)
	if a.sum512 != nil {
		a.sum512.Write(b)
	}
	if a.p.Check != nil {
		a.p.Check.Write(b) //nolint:errcheck // a hash never fails
	}
	a.unwritten -= int64(len(b))
	a.t.s.unclaim(int64(len(b)))
	return nil
}

// atLength reports whether the upload is complete with what was written. Then
// only complete may record it: a client that finds its upload at its length
// never comes back.
func (a *appending) atLength() bool { return a.p.Last == AtLength && a.offset == a.length }

// checkpoint makes what was written durable, then records it: a crash leaves
// bytes behind the recorded offset at most, and they are cut off.
func (a *appending) checkpoint(ctx context.Context) error {
	if a.offset == a.recorded {
		return nil
	}
	if err := a.w.Sync(); err != nil {
		return Translate(err)
	}
	failpoint.Hit("append: bytes durable")
	sum, err := hashState(a.sum)
	sum512, err512 := hashState(a.sum512)
	if err := errors.Join(err, err512); err != nil {
		return err
	}
	a.tried = true
	err = a.t.change(ctx, func(u *Upload) {
		u.Growth.Offset, u.Growth.Sum, u.Growth.Sum512 = a.offset, sum, sum512
		u.Parts[0].Blob, u.Parts[0].Size, u.Parts[0].Name = a.ref, a.offset, a.name()
	})
	if err != nil {
		return err
	}
	failpoint.Hit("append: recorded")
	a.isRecorded()
	return nil
}

func (a *appending) name() Path {
	if a.p.Name != "" {
		return a.p.Name
	}
	return a.t.u.Parts[0].Name
}

func hashState(h hash.Hash) ([]byte, error) {
	if h == nil {
		return nil, nil
	}
	return h.(encoding.BinaryMarshaler).MarshalBinary()
}

func (a *appending) isRecorded() {
	a.recorded = a.offset
	if a.fresh {
		a.fresh = false
		a.t.s.settle(a.ref)
	}
}

// complete ends the upload: sealed bytes, then one transaction that makes it
// ready, or the file that it was meant to be.
func (a *appending) complete(ctx context.Context) error {
	s, t := a.t.s, a.t
	// 1. May the caller still do this? If not, this piece is not recorded: the
	// upload stays short of its end, and whoever may can go on. Then no byte
	// changes any more.
	if a.p.Allowed != nil {
		if err := a.p.Allowed(); err != nil {
			return err
		}
	}
	if err := a.open(ctx); err != nil {
		return err
	}
	if err := a.w.Seal(); err != nil {
		return Translate(err)
	}
	failpoint.Hit("append: sealed")
	// 2. Is it what was announced?
	part := t.u.Parts[0]
	part.Blob, part.Size, part.Name, part.SHA256 = a.ref, a.offset, a.name(), a.sum.Sum(nil)
	want := t.u.Growth.Want
	if want.SHA256 != nil && !bytes.Equal(want.SHA256, part.SHA256) ||
		want.SHA512 != nil && !bytes.Equal(want.SHA512, a.sum512.Sum(nil)) {
		return errors.Join(
			Errorf(CodeBadDigest, "The bytes that arrived do not match the announced digest; upload the file again."),
			t.Drop(ctx, "did not match its digest"))
	}
	if err := s.sniff(ctx, &part); err != nil {
		return err
	}
	// 3. One transaction.
	a.tried = true
	err := t.finish(ctx, part, nil)
	if code := CodeOf(err); code == CodeConflict || code == CodePrecondition {
		// It cannot be the file that it was meant to be, but it is whole: it
		// waits for somebody to decide.
		err = t.finish(ctx, part, err)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("append: completed")
	a.isRecorded()
	return t.u.Refusal()
}

// sniff looks at the first bytes of a part.
func (s *Store) sniff(ctx context.Context, p *Part) error {
	r, err := s.blobs.Open(ctx, p.Blob, 0, min(p.Size, sniffLen))
	if err != nil {
		return err
	}
	defer r.Close()
	m, err := mimetype.DetectReader(r)
	if err != nil {
		return fmt.Errorf("look at the first bytes of blob %s: %w", p.Blob, err)
	}
	p.Sniffed = m.String()
	p.ContentType = mediaType(p.ContentType, p.Sniffed)
	return nil
}

// finish makes the upload the file that it was meant to be; or ready with its
// one part, if it was meant to be none or that was refused.
func (t *Turn) finish(ctx context.Context, part Part, refused error) error {
	e, err := newEnding(t.u, part, refused, t.s)
	if err != nil {
		return err
	}
	err = t.s.update(ctx, t.u.Owner, func(tx txn) error {
		old, err := t.growing(tx)
		if err != nil {
			return err
		}
		return e.apply(tx, old)
	})
	if err != nil {
		return err
	}
	t.u, t.read = e.end, nil
	e.show(ctx)
	return nil
}

// ending turns an upload whose content is whole into what it becomes. What is
// random about it is made before the transaction.
type ending struct {
	s       *Store
	now     time.Time
	part    Part
	goal    *Goal  // nil: it waits for a persist
	refused *Error // why it is not what it was meant to be
	target  placement
	print   []byte
	end     Upload // set by apply
	file    File   // set by apply
}

func newEnding(u Upload, part Part, refused error, s *Store) (*ending, error) {
	e := &ending{s: s, now: s.now(), part: part}
	goal := u.Growth.Then
	if errors.As(refused, &e.refused) || goal == nil {
		return e, nil
	}
	path, err := part.Name.Join(goal.Folder)
	if err != nil {
		return nil, err
	}
	e.goal, e.target = goal, newPlacement(part, path)
	e.target.meta = goal.Metadata
	req := Persist{Tokens: []Token{u.Token}, Folder: goal.Folder, Metadata: goal.Metadata, OnConflict: goal.OnConflict}
	e.print, err = req.fingerprint()
	return e, err
}

// apply replaces old, which may be new and without a record.
func (e *ending) apply(t txn, old Upload) error {
	u := old.clone()
	u.State, u.Parts, u.ExpiresAt = Ready, []Part{e.part}, e.now.Add(e.s.ttl)
	g := u.Growth
	g.Offset, g.Length, g.Reserved, g.Sum, g.Sum512, g.Then, g.Refused = e.part.Size, e.part.Size, 0, nil, nil, nil, e.refused
	if e.goal != nil {
		file, err := e.s.place(t, u.Owner, e.target, e.goal.OnConflict, e.goal.Condition, e.now)
		if err != nil {
			return err
		}
		e.file = file
		u = u.tombstone(Persisted, u.ExpiresAt)
		u.Fingerprint, u.Metadata = e.print, e.goal.Metadata
		file.Metadata = nil
		u.Files = []File{file}
	}
	e.end = u
	if err := t.changeUpload(old, u); err != nil || old.Growth.Then == nil {
		return err
	}
	return e.s.checkQuota(t, u.Owner) // it was begun with the room of what it replaces
}

// show lets the visible tree follow.
func (e *ending) show(ctx context.Context) {
	if e.goal != nil {
		e.s.show(ctx, []mark{{e.file.Owner, e.file.Path, e.target.stamp}})
	}
}

// Drop ends the upload without a content; reason completes "it ...".
func (t *Turn) Drop(ctx context.Context, reason string) error {
	now := t.s.now()
	err := t.s.update(ctx, t.u.Owner, func(tx txn) error {
		u, err := t.growing(tx)
		if err != nil {
			return err
		}
		return tx.dropUpload(u, now, t.s.ttl, reason, "")
	})
	if err == nil {
		t.u.State = Gone
	}
	return err
}

// close ends the piece. A blob that no record names goes.
func (a *appending) close() {
	s := a.t.s
	var err error
	if a.w != nil {
		err = a.w.Close()
	}
	if a.fresh {
		ctx := context.Background()
		if a.tried {
			err = errors.Join(err, s.discardRefused(ctx, &Part{Blob: a.ref, Size: a.offset}))
		} else {
			err = errors.Join(err, s.remove(ctx, &Part{Blob: a.ref, Size: a.offset}))
		}
	}
	if err != nil {
		s.log.Warn("a piece of an upload could not be put away", "error", err)
	}
}
