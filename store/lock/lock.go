// Package lock has exclusive locks by name that other processes can share.
//
// A name is hashed to one of 256 stripes; the lock of a stripe is flock(2) on
// the file locks/00 ... locks/ff, which is never removed (to remove a locked
// file would give two processes the same lock). The stripe is the FNV-1a hash
// (32 bits) of the name, modulo 256, so a tool takes the same lock with
//
//	flock uploads/.upload-service/locks/ab command
//
// Inside the process each stripe has one owner at a time, and only the owner
// asks the system: flock belongs to an open file, so two goroutines with two
// descriptors would wait for each other's process, and with one descriptor
// would not exclude each other at all. Two names of one stripe wait for each
// other; that is harmless, since a lock is held for a few system calls only.
// For the same reason nobody may lock again while he holds locks: he names all
// he needs in one call.
package lock

import (
	"context"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"
)

const stripes = 256

// Locks is a folder of lock files.
type Locks struct {
	stripes [stripes]stripe
}

type stripe struct {
	owner chan struct{} // holds one value while somebody in this process owns it
	file  *flock.Flock  // used by the owner only
}

// Open makes the folder if it is missing.
func Open(dir string) (*Locks, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder for locks: %w", err)
	}
	l := &Locks{}
	for i := range l.stripes {
		l.stripes[i] = stripe{make(chan struct{}, 1), flock.New(filepath.Join(dir, fmt.Sprintf("%02x", i)))}
	}
	return l, nil
}

// number is the stripe of a name. Tools compute it too: it never changes.
func number(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return int(h.Sum32() % stripes)
}

// Lock takes the exclusive locks of all names, or none when ctx is done first;
// the error then wraps ctx.Err(). The stripes are taken in ascending order and
// each once, so two callers cannot wait for each other. unlock may be called
// more than once.
func (l *Locks) Lock(ctx context.Context, names ...string) (unlock func(), err error) {
	numbers := make([]int, len(names))
	for i, name := range names {
		numbers[i] = number(name)
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)

	held := 0
	release := sync.OnceFunc(func() {
		for _, n := range slices.Backward(numbers[:held]) {
			l.stripes[n].release()
		}
	})
	for _, n := range numbers {
		if err := l.stripes[n].acquire(ctx); err != nil {
			release()
			return nil, fmt.Errorf("lock stripe %02x: %w", n, err)
		}
		held++
	}
	return release, nil
}

func (s *stripe) acquire(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err // a free stripe must not hide it
	}
	// 1. Within this process.
	select {
	case s.owner <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	// 2. Among processes. Asking again and again, and not waiting in the
	// system, keeps it cancellable and costs no thread.
	for wait := time.Millisecond; ; wait = min(2*wait, 20*time.Millisecond) {
		ok, err := s.file.TryLock()
		if ok {
			return nil
		}
		if err == nil {
			select {
			case <-time.After(wait):
				continue
			case <-ctx.Done():
				err = ctx.Err()
			}
		}
		<-s.owner
		return err
	}
}

func (s *stripe) release() {
	s.file.Unlock() //nolint:errcheck // fails only when closed, and the owner alone has it
	<-s.owner
}
