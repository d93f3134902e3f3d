package disk

import "sync"

// shared lets callers that need the same folder synced share one fsync.
//
// The law: a sync covers the changes that were complete when it STARTED. So a
// caller may join a round that waits to start, and never one that is running.
// While one runs, everybody who comes waits together for the next.
type shared struct {
	fsync func(dir string) error

	mu      sync.Mutex
	waiting map[string]*round // not started: may be joined
	running map[string]*round
}

type round struct {
	done chan struct{}
	err  error // set before done is closed
}

func newShared(fsync func(dir string) error) *shared {
	return &shared{fsync: fsync, waiting: map[string]*round{}, running: map[string]*round{}}
}

// sync makes durable what was done in the folder before the call.
func (s *shared) sync(dir string) error {
	// 1. Join the round that waits, or be the first of a new one.
	s.mu.Lock()
	if r := s.waiting[dir]; r != nil {
		s.mu.Unlock()
		<-r.done
		return r.err
	}
	r := &round{done: make(chan struct{})}
	s.waiting[dir] = r
	before := s.running[dir]
	s.mu.Unlock()

	// 2. Its first waits for the round before: that time gathers the others.
	if before != nil {
		<-before.done
	}

	// 3. Nobody can join any more; only then it starts.
	s.mu.Lock()
	delete(s.waiting, dir)
	s.running[dir] = r
	s.mu.Unlock()
	r.err = s.fsync(dir)

	// 4. No new round waits for this one any more; those who joined go on.
	s.mu.Lock()
	delete(s.running, dir)
	s.mu.Unlock()
	close(r.done)
	return r.err
}
