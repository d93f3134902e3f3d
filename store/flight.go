package store

import (
	"context"
	"sync"
	"time"
)

// Bytes on their way in are reserved in this process, so that parallel
// uploads cannot all stream what only one of them may keep. The transaction
// that commits an upload decides; a reservation only refuses earlier.
type flights struct {
	mu      sync.Mutex
	byOwner map[OwnerID]*flight
	unsent  int64 // reserved and not yet written to the volume, of all owners
}

// flight is what one owner has on the way.
type flight struct {
	active int // requests; guarded by flights.mu

	mu         sync.Mutex
	bytes      int64         // reserved
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

// reserve sets n more bytes of the owner aside, of which replaced will be
// given back by the commit. It refuses what cannot fit.
func (s *Store) reserve(ctx context.Context, o OwnerID, f *flight, n, replaced int64) error {
	if err := s.checkSpace(ctx, n); err != nil {
		return err
	}
	for {
		f.mu.Lock()
		var used Usage
		err := s.view(ctx, func(t txn) (err error) {
			used, err = t.usage(o)
			return err
		})
		limit := s.limits.OwnerBytes
		wanted := used.Bytes() + f.bytes + n - replaced
		switch {
		case err != nil:
			f.mu.Unlock()
			return err
		case limit <= 0 || wanted <= limit:
			f.bytes += n
			f.mu.Unlock()
			return nil
		case wanted-f.committing > limit:
			f.mu.Unlock()
			return quotaError(used, s.limits)
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

// beginCommit and endCommit enclose the transaction that turns n reserved
// bytes into used ones.
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

func quotaError(u Usage, l Limits) *Error {
	return Errorf(CodeQuotaExceeded,
		"This would exceed your storage: %d of %d bytes and %d of %d files are used. Delete something first.",
		u.Bytes(), l.OwnerBytes, u.Count(), l.OwnerFiles)
}

// checkSpace refuses n more bytes when the volume would go below its reserve.
func (s *Store) checkSpace(ctx context.Context, n int64) error {
	if s.limits.MinFree <= 0 {
		return nil
	}
	free, err := s.blobs.Free(ctx)
	if err != nil {
		return err
	}
	s.flights.mu.Lock()
	unsent := s.flights.unsent
	s.flights.mu.Unlock()
	if free >= 0 && free-unsent-n < s.limits.MinFree {
		return fullError
	}
	return nil
}

func (s *Store) addUnsent(n int64) {
	s.flights.mu.Lock()
	s.flights.unsent += n
	s.flights.mu.Unlock()
}
