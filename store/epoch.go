package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"sync"
	"time"

	"upload-service/store/blob"
	"upload-service/store/failpoint"
)

// An epoch bounds what recovery has to look at. The record e/<epoch> is
// committed before the first blob of the epoch is created and removed when
// every one of its blobs is settled: named by a record, or certainly gone.
// So after a crash a blob without a record can only lie in an epoch whose
// record is still there.
const (
	epochBlobs = 65536
	epochLife  = time.Hour
)

type epochs struct {
	mu      sync.Mutex
	current string
	issued  int
	started time.Time
	pending map[string]int // epoch -> blobs issued and not settled
	left    []*Part        // of those, what nobody works on any more: for the next sweep
}

// newRef issues the id of a blob that is about to be created. The caller
// settles it.
func (s *Store) newRef(ctx context.Context) (blob.Ref, error) {
	e := &s.epochs
	e.mu.Lock()
	defer e.mu.Unlock()
	now := s.now()
	if e.current == "" || e.issued >= epochBlobs || now.Sub(e.started) >= epochLife {
		name := fmt.Sprintf("%016x", now.UnixNano())
		err := s.update(ctx, "", func(t txn) error { return t.Put(epochKey(name), []byte{recordVersion}) })
		if err != nil {
			return "", fmt.Errorf("open epoch: %w", err)
		}
		failpoint.Hit("epoch: opened")
		e.current, e.issued, e.started = name, 0, now
		e.pending[name] = 0
	}
	var id [16]byte
	rand.Read(id[:]) // never fails (crypto/rand, Go 1.24)
	e.issued++
	e.pending[e.current]++
	return blob.Ref(e.current + "/" + hex.EncodeToString(id[:])), nil
}

// settle says that the blobs are named by a record or certainly gone.
func (s *Store) settle(refs ...blob.Ref) {
	s.epochs.mu.Lock()
	defer s.epochs.mu.Unlock()
	for _, r := range refs {
		s.epochs.pending[r.Epoch()]--
	}
}

// retireEpochs removes the records of finished epochs whose blobs are all
// settled. At shutdown the current one counts as finished.
func (s *Store) retireEpochs(ctx context.Context, shutdown bool) error {
	e := &s.epochs
	e.mu.Lock()
	var done []string
	for name, n := range e.pending {
		if n == 0 && (shutdown || name != e.current) {
			done = append(done, name)
		}
	}
	for _, name := range done {
		delete(e.pending, name)
		if name == e.current {
			e.current = ""
		}
	}
	e.mu.Unlock()
	if len(done) == 0 {
		return nil
	}
	return s.update(ctx, "", func(t txn) error {
		for _, name := range done {
			if err := t.Delete(epochKey(name)); err != nil {
				return err
			}
		}
		return nil
	})
}

// recoverEpochs runs at start, before the first request: it removes the blobs
// of open epochs that no record names, then the epochs' records.
func (s *Store) recoverEpochs(ctx context.Context) error {
	var open []string
	err := s.view(ctx, func(t txn) (err error) {
		open, err = t.openEpochs()
		return err
	})
	if err != nil {
		return err
	}
	for _, name := range open {
		orphans, err := s.orphans(ctx, name)
		if err != nil {
			return err
		}
		failpoint.Hit("recover: orphans listed")
		_, err = s.blobs.Delete(ctx, orphans...)
		if err != nil {
			// What cannot be removed must not keep the server from starting:
			// the epoch stays open and the next start tries again.
			s.log.Warn("could not remove unfinished uploads", "epoch", name, "error", err)
			continue
		}
		if len(orphans) > 0 {
			s.log.Info("removed unfinished uploads", "epoch", name, "blobs", len(orphans))
		}
		err = s.update(ctx, "", func(t txn) error { return t.Delete(epochKey(name)) })
		if err != nil {
			return err
		}
	}
	return nil
}

func (t txn) openEpochs() (names []string, err error) {
	lo := []byte(prefixEpoch)
	err = t.Scan(lo, prefixEnd(lo), maxOpenEpochs, func(k, _ []byte) bool {
		names = append(names, string(k[len(lo):]))
		return true
	})
	return names, err
}

// maxOpenEpochs is far above what an hour-long epoch and the longest upload
// can leave; more would be retired by the following start.
const maxOpenEpochs = 10000

// orphans are the blobs of an epoch that neither a record nor the garbage
// names.
func (s *Store) orphans(ctx context.Context, epoch string) ([]blob.Ref, error) {
	var all, orphans []blob.Ref
	err := s.blobs.List(ctx, epoch, func(i blob.Info) bool {
		all = append(all, i.Ref)
		return true
	}, nil)
	if err != nil {
		return nil, err
	}
	err = s.view(ctx, func(t txn) error {
		orphans = nil
		for _, r := range all {
			named, err := t.names(r)
			if err != nil {
				return err
			}
			if !named {
				orphans = append(orphans, r)
			}
		}
		return nil
	})
	return orphans, err
}

// names reports whether a record or the garbage names the blob.
func (t txn) names(r blob.Ref) (bool, error) {
	holder, err := t.Get(blobKey(r))
	if err != nil || holder != nil {
		return holder != nil, err
	}
	waste, err := t.Get(garbageKey(r))
	return waste != nil, err
}

// condemn is for blobs whose commit failed. The request must not delete them
// itself: on some engines a failed Update may still take effect. A
// transaction of its own decides: what no record names becomes garbage, which
// condemn returns. If not even that works, the next sweep tries again, and at
// the latest recovery decides, since the epoch stays open.
func (s *Store) condemn(ctx context.Context, parts []*Part, sweep string) (waste []blob.Ref, err error) {
	if len(parts) == 0 {
		return nil, nil
	}
	now := s.now()
	err = s.update(ctx, "", func(t txn) error {
		waste = nil
		for _, p := range parts {
			named, err := t.names(p.Blob)
			if err != nil {
				return err
			}
			if named {
				continue
			}
			waste = append(waste, p.Blob)
			g := garbage{Size: p.Size, At: now, Reason: "refused", Sweep: sweep}
			if err := t.write(garbageKey(p.Blob), g); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.leave(parts)
		return nil, err
	}
	failpoint.Hit("refuse: condemned")
	s.settle(refsOf(parts)...)
	return waste, nil
}

// discardRefused condemns parts and removes what became garbage.
func (s *Store) discardRefused(ctx context.Context, parts ...*Part) error {
	waste, err := s.condemn(ctx, parts, "")
	if err != nil {
		return err
	}
	_, err = s.reclaim(ctx, waste...)
	return err
}

// leave hands unsettled parts to the next sweep.
func (s *Store) leave(parts []*Part) {
	s.epochs.mu.Lock()
	defer s.epochs.mu.Unlock()
	s.epochs.left = append(s.epochs.left, parts...)
}

// takeLeft returns what was left and forgets it.
func (s *Store) takeLeft() []*Part {
	s.epochs.mu.Lock()
	defer s.epochs.mu.Unlock()
	parts := s.epochs.left
	s.epochs.left = nil
	return parts
}
