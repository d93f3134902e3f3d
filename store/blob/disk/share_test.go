package disk

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
)

// A caller must never be covered by a sync that started before it came.
func TestSharedStartsAfterTheCall(t *testing.T) {
	t.Parallel()
	var changes atomic.Int64 // stands for what is in the folder
	var durable atomic.Int64 // what the last finished sync covers
	var syncs, running atomic.Int64
	s := newShared(func(string) error {
		if running.Add(1) > 1 {
			t.Error("two syncs of one folder run at the same time")
		}
		defer running.Add(-1)
		syncs.Add(1)
		covered := changes.Load() // what comes later is not covered
		for range 100 {
			runtime.Gosched() // as long as a sync takes
		}
		durable.Store(covered)
		return nil
	})
	const clients, rounds = 64, 50
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range rounds {
				mine := changes.Add(1)
				if err := s.sync("a"); err != nil {
					t.Error(err)
				}
				if got := durable.Load(); got < mine {
					t.Errorf("change %d was called durable when %d were", mine, got)
				}
			}
		})
	}
	wg.Wait()
	if n := syncs.Load(); n >= clients*rounds/2 {
		t.Errorf("%d calls took %d syncs: they are not shared", clients*rounds, n)
	}
	if len(s.waiting)+len(s.running) != 0 {
		t.Errorf("left: %d waiting, %d running", len(s.waiting), len(s.running))
	}
}

// Everybody in a round gets its error, nobody in another does; folders do not
// wait for each other.
func TestSharedErrors(t *testing.T) {
	t.Parallel()
	bad := errors.New("bad folder")
	started, finish := make(chan struct{}), make(chan struct{})
	s := newShared(func(dir string) error {
		if dir == "good" {
			return nil
		}
		started <- struct{}{}
		<-finish
		return bad
	})
	results := make(chan error)
	join := func() { results <- s.sync("bad") }
	go join()
	<-started
	go join() // waits for the next round
	go join()
	if err := s.sync("good"); err != nil {
		t.Errorf("another folder: %v", err)
	}
	close(finish)
	for range 3 {
		for received := false; !received; {
			select {
			case <-started:
			case err := <-results:
				received = true
				if err != bad {
					t.Errorf("sync = %v, want %v", err, bad)
				}
			}
		}
	}
}

// What sharing gains when 64 uploads end in the same folder.
func BenchmarkSyncDir(b *testing.B) {
	for _, mode := range []string{"each", "shared"} {
		b.Run(mode, func(b *testing.B) {
			root, err := os.OpenRoot(b.TempDir())
			if err != nil {
				b.Fatal(err)
			}
			defer root.Close()
			c := system{root}
			sync := c.syncDir
			if mode == "shared" {
				sync = newShared(c.syncDir).sync
			}
			if err := c.mkdir("e"); err != nil {
				b.Fatal(err)
			}
			var n atomic.Int64
			content := make([]byte, 4096)
			b.SetParallelism(32) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					f, err := c.create(filepath.Join("e", fmt.Sprint(n.Add(1))))
					if err == nil {
						_, err = c.write(f, content)
					}
					if err == nil {
						err = errors.Join(c.sync(f), f.Close(), sync("e"))
					}
					if err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}
