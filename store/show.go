package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"upload-service/store/failpoint"
)

// The visible tree follows the records. A commit that changes what a path
// shows writes a mark for it; then, under the path's lock, the record is read
// again and the tree is made equal to it. The mark is cleared with a later
// commit, when that is durable too; many paths share both. What a crash leaves
// undone is found at start by the marks.

// mark notes, in the transaction that changes what a path shows, that the
// tree has to follow.
func (s *Store) mark(t txn, m mark) error {
	if s.tree == nil {
		return nil
	}
	return t.Put(markKey(m.owner, m.path), m.stamp)
}

// Other programs may hold the lock of a path. That delays the tree, and never
// a client, a sweep, the start or the end for long: what is not shown in time
// keeps its mark, and the next sweep tries it again.
const (
	showWait  = 100 * time.Millisecond // of an answer, for the tree
	lockWait  = time.Minute            // of an update in the background, for the lock
	sweepWait = time.Second            // of a sweep or a start, for the first lock that is held
	stuckWait = time.Millisecond       // and for each after that
	maxShows  = 1000                   // updates in the background at once
)

// show brings the tree up to date with marks that were just committed,
// normally before it returns, else in the background.
func (s *Store) show(ctx context.Context, marks []mark) {
	if s.tree == nil || len(marks) == 0 {
		return
	}
	select {
	case s.shows <- struct{}{}:
	default:
		return // so many wait for locks already: the sweep will do it
	}
	done := make(chan struct{})
	s.tasks.Go(func() {
		defer func() { <-s.shows; close(done) }()
		for _, m := range marks {
			err := s.settleMark(s.background, lockWait, m.owner, m.path)
			if err != nil && !errors.Is(err, errHeld) && s.background.Err() == nil {
				// Perhaps a delete that was committed before this is not shown yet:
				// of a file in this folder's place, or of one in this file's.
				err = s.settleAround(m)
			}
			if err != nil {
				s.log.Warn("the visible tree lags behind", "owner", m.owner, "path", m.path, "error", err)
			}
		}
	})
	timer := time.NewTimer(showWait)
	defer timer.Stop()
	select {
	case <-done:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// settleAround settles what is marked above and below a path, then the path.
func (s *Store) settleAround(m mark) error {
	ctx := s.background
	var around []Path
	below := append(markKey(m.owner, m.path), '/')
	err := s.view(ctx, func(t txn) error {
		around = m.path.Ancestors()
		return t.Scan(below, prefixEnd(below), markPage, func(k, _ []byte) bool {
			around = append(around, Path(k[len(markKey(m.owner, "")):]))
			return true
		})
	})
	for _, p := range around {
		err = all(err, s.settleMark(ctx, lockWait, m.owner, p))
	}
	return all(err, s.settleMark(ctx, lockWait, m.owner, m.path))
}

// settleMark makes the tree equal to the records at one path, if it is marked.
// It fails with errHeld if the path's lock cannot be had within wait.
func (s *Store) settleMark(ctx context.Context, wait time.Duration, o OwnerID, p Path) error {
	// 1. The slug never changes, so it can be read before the lock it names.
	owner, err := s.OwnerByID(ctx, o)
	if err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	unlock, err := s.locks.Lock(patience, LockKey(owner.Slug, p))
	if err != nil && patience.Err() != nil && ctx.Err() == nil {
		return errHeld
	}
	if err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	defer unlock()

	// 2. Under the lock, what do the records say now?
	var stamp []byte
	var f File
	var exists bool
	err = s.view(ctx, func(t txn) error {
		b, err := t.Get(markKey(o, p))
		if err != nil || b == nil {
			stamp = nil
			return err
		}
		stamp = bytes.Clone(b)
		f, exists, err = t.file(o, p)
		return err
	})
	if err != nil || stamp == nil {
		return err
	}

	failpoint.Hit("tree: locked")
	// 3. Make the tree say the same.
	if exists {
		err = s.tree.Set(ctx, owner.Slug, string(p), f.Blob)
	} else {
		err = s.tree.Remove(ctx, owner.Slug, string(p))
	}
	if err != nil {
		return err
	}

	failpoint.Hit("tree: shown")
	// 4. Clear this mark, not one that came after the read.
	s.marks.add(markKey(o, p), stamp)
	return nil
}

var errHeld = errors.New("another program holds the lock of this path")

// LockKey is the name under which a path is locked; tools that work on the
// visible tree lock the same.
func LockKey(slug string, p Path) string { return slugKey(slug) + "/" + string(p) }

// clearedMarks are marks that are settled and still recorded. They are
// removed together a little later, since the tree has to be durable before: a
// lost removal costs one look at start.
type clearedMarks struct {
	forgetting sync.Mutex // held while some are removed: who comes next waits for them

	mu     sync.Mutex
	stamps map[string][]byte // mark key -> stamp
	stop   chan struct{}     // closed by Close
	done   chan struct{}     // closed when the last ones are removed
}

const (
	clearDelay = time.Second
	markPage   = 1000
)

func (c *clearedMarks) add(key, stamp []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stamps == nil {
		c.stamps = map[string][]byte{}
	}
	c.stamps[string(key)] = stamp
}

// putBack returns marks that could not be removed.
func (c *clearedMarks) putBack(stamps map[string][]byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.Copy(stamps, c.stamps) // those that came since are later ones
	c.stamps = stamps
}

func (c *clearedMarks) take() map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	stamps := c.stamps
	c.stamps = nil
	return stamps
}

// clearMarks runs until Close.
func (s *Store) clearMarks() {
	defer close(s.marks.done)
	tick := time.NewTicker(clearDelay)
	defer tick.Stop()
	for stopping := false; !stopping; {
		select {
		case <-tick.C:
		case <-s.marks.stop:
			stopping = true
		}
		if err := s.forgetMarks(s.background); err != nil {
			s.log.Debug("settled marks are kept until the next sweep", "error", err)
		}
	}
}

// forgetMarks makes the tree durable and removes the marks that are settled,
// but not later ones for the same paths. When it returns nil that is done with
// all that were settled before.
func (s *Store) forgetMarks(ctx context.Context) (err error) {
	s.marks.forgetting.Lock()
	defer s.marks.forgetting.Unlock()
	// 1. First the marks, then the tree: it was changed before they came here.
	stamps := s.marks.take()
	if len(stamps) == 0 {
		return nil
	}
	defer func() {
		if err != nil {
			s.marks.putBack(stamps)
		}
	}()
	if err := s.tree.Sync(ctx); err != nil {
		return fmt.Errorf("sync the visible tree: %w", err)
	}
	failpoint.Hit("tree: before the marks are cleared")
	// 2. Only now nothing has to be done again after a crash.
	for keys := range slices.Chunk(slices.Sorted(maps.Keys(stamps)), markPage) {
		err := s.update(ctx, "", func(t txn) error {
			for _, k := range keys {
				b, err := t.Get([]byte(k))
				if err == nil && bytes.Equal(b, stamps[k]) {
					err = t.Delete([]byte(k))
				}
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// settleMarks goes through all marks: at start and in every sweep. A path
// that cannot be shown is logged, or passed to failed, and stays marked.
func (s *Store) settleMarks(ctx context.Context, failed func(mark, error)) error {
	if s.tree == nil {
		return nil
	}
	if failed == nil {
		failed = func(m mark, err error) {
			s.log.Warn("the visible tree lags behind", "owner", m.owner, "path", m.path, "error", err)
		}
	}
	// Where a folder became a file, the mark of the file comes before those of
	// the entries that have to go first. By the second time they are gone.
	blocked := false
	err := s.settleEach(ctx, func(mark, error) { blocked = true })
	if err == nil && blocked {
		err = s.settleEach(ctx, failed)
	}
	return err
}

func (s *Store) settleEach(ctx context.Context, failed func(mark, error)) error {
	wait := sweepWait
	lo, hi := []byte(prefixMark), prefixEnd([]byte(prefixMark))
	for {
		var page []mark
		err := s.view(ctx, func(t txn) error {
			page = nil
			return t.Scan(lo, hi, markPage, func(k, _ []byte) bool {
				if o, rest, ok := splitOwned(prefixMark, k); ok {
					page = append(page, mark{owner: o, path: Path(rest)})
				}
				return true
			})
		})
		if err != nil || len(page) == 0 {
			return err
		}
		for _, m := range page {
			if err := s.settleMark(ctx, wait, m.owner, m.path); err != nil {
				if ctx.Err() != nil {
					return ctx.Err()
				}
				if errors.Is(err, errHeld) {
					wait = stuckWait
				}
				failed(m, err)
			}
		}
		last := page[len(page)-1]
		lo = after(markKey(last.owner, last.path))
	}
}
