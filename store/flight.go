package store

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Bytes on their way in are reserved in this process, so that parallel
// uploads cannot all stream what only one of them may keep. The transaction
// that commits an upload decides; a reservation only refuses earlier.
type flights struct {
	mu      sync.Mutex
	byOwner map[OwnerID]*flight

	space     sync.Mutex
	unwritten int64 // claimed and not on the volume yet, of all owners; guarded by space
}

// flight is what one owner has on the way.
type flight struct {
	active int // requests; guarded by flights.mu

	mu         sync.Mutex
	bytes      int64         // charged
	committing int64         // part of bytes that a running commit may already have counted
	settled    chan struct{} // closed when such a commit has ended
}

var errBusy = &Error{
	Code:       CodeRateLimited,
	Message:    "You have too many uploads running at once; wait for one to finish.",
	RetryAfter: 5 * time.Second,
}

// take admits one more streaming request of an owner.
func (s *Store) take(o OwnerID) (*flight, error) {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	f := s.flights.byOwner[o]
	if f == nil {
		f = &flight{settled: make(chan struct{})}
		s.flights.byOwner[o] = f
	}
	if s.limits.OwnerActive > 0 && f.active >= s.limits.OwnerActive {
		return nil, errBusy
	}
	f.active++
	return f, nil
}

// release ends what take began.
func (s *Store) release(o OwnerID, f *flight) {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	f.active--
	if f.active == 0 {
		delete(s.flights.byOwner, o)
	}
}

// charge sets more bytes of the owner aside for a request that has charged
// some already. It refuses what cannot fit, and gives back what the request
// had in the same step: of several that together are too much, those that fit
// are never all refused.
func (s *Store) charge(ctx context.Context, o OwnerID, f *flight, charged, more int64) error {
	limit := s.limits.OwnerBytes
	for {
		f.mu.Lock()
		var used Usage
		err := s.view(ctx, func(t txn) (err error) {
			used, err = t.usage(o)
			return err
		})
		wanted := used.Bytes() + f.bytes + more
		switch {
		case err != nil:
			f.mu.Unlock()
			return err
		case limit <= 0 || wanted <= limit:
			f.bytes += more
			f.mu.Unlock()
			return nil
		case wanted-f.committing > limit:
			f.bytes -= charged
			f.mu.Unlock()
			return quotaError(used, s.limits, "are")
		}
		// Over the limit only if the bytes of a commit that is ending right
		// now were counted twice: as used and as reserved.
		settled := f.settled
		f.mu.Unlock()
		select {
		case <-settled:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// beginCommit and endCommit enclose the transaction that turns n charged bytes
// into used ones, or is refused.
func (f *flight) beginCommit(n int64) {
	f.mu.Lock()
	f.committing += n
	f.mu.Unlock()
}

func (f *flight) endCommit(n int64) {
	f.mu.Lock()
	f.committing -= n
	f.bytes -= n
	close(f.settled)
	f.settled = make(chan struct{})
	f.mu.Unlock()
}

// refund gives back n charged bytes that no transaction has seen.
func (f *flight) refund(n int64) {
	f.mu.Lock()
	f.bytes -= n
	f.mu.Unlock()
}

// quotaError says how much of an account "are" or "would be" used.
func quotaError(u Usage, l Limits, are string) *Error {
	var full []string
	if l.OwnerBytes > 0 {
		full = append(full, fmt.Sprintf("%d of %d bytes", u.Bytes(), l.OwnerBytes))
	}
	if l.OwnerFiles > 0 {
		full = append(full, fmt.Sprintf("%d of %d files", u.Count(), l.OwnerFiles))
	}
	return Errorf(CodeQuotaExceeded, "This would exceed your storage: %s %s used. Delete something first.",
		strings.Join(full, " and "), are)
}

// claim sets n more bytes of the volume aside. It refuses when the volume
// would go below its reserve. Asking and setting aside are one step, so that
// parallel uploads cannot all be told of the same room.
func (s *Store) claim(ctx context.Context, n int64) error {
	s.flights.space.Lock()
	defer s.flights.space.Unlock()
	if s.limits.MinFree > 0 {
		free, err := s.blobs.Free(ctx)
		if err != nil {
			return err
		}
		if free >= 0 && free-s.flights.unwritten-n < s.limits.MinFree {
			return fullError.WithCause(fmt.Errorf("%d bytes are free and %d on their way; UPLOAD_MIN_FREE keeps %d",
				free, s.flights.unwritten+n, s.limits.MinFree))
		}
	}
	s.flights.unwritten += n
	return nil
}

// Full reports whether the volume has nothing left but its reserve.
func (s *Store) Full(ctx context.Context) (bool, error) {
	err := s.claim(ctx, 1)
	if CodeOf(err) == CodeFull {
		return true, nil
	}
	if err == nil {
		s.unclaim(1)
	}
	return false, err
}

// unclaim gives back n claimed bytes.
func (s *Store) unclaim(n int64) {
	s.flights.space.Lock()
	s.flights.unwritten -= n
	s.flights.space.Unlock()
}
