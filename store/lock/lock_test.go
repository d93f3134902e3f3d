package lock_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"sync"
	"testing"
	"time"

	"github.com/gofrs/flock"

	"upload-service/store/lock"
)

// holdFile makes the test binary a foreign process that holds a lock file.
const holdFile = "LOCK_TEST_HOLD_FILE"

func TestMain(m *testing.M) {
	if name := os.Getenv(holdFile); name != "" {
		hold(name)
		return
	}
	os.Exit(m.Run())
}

// hold keeps the lock until its standard input ends.
func hold(name string) {
	f := flock.New(name)
	if err := f.Lock(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println("held")
	bufio.NewReader(os.Stdin).ReadByte() //nolint:errcheck // its end is all that counts
}

// foreign starts another process that holds the lock file of a stripe, and
// returns what ends it.
func foreign(t *testing.T, dir, file string) (release func()) {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), holdFile+"="+filepath.Join(dir, file))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	release = sync.OnceFunc(func() {
		if err := errors.Join(in.Close(), cmd.Wait()); err != nil {
			t.Errorf("the other process: %v", err)
		}
	})
	t.Cleanup(release)
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("the other process said %q, %v", line, err)
	}
	return release
}

func open(t testing.TB) (*lock.Locks, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "locks")
	l, err := lock.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return l, dir
}

// stripe is the documented hash: what an outside tool computes.
func stripe(name string) string {
	h := fnv.New32a()
	h.Write([]byte(name))
	return fmt.Sprintf("%02x", h.Sum32()%256)
}

// sameStripe returns a second name of the stripe of name.
func sameStripe(name string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint(i); stripe(other) == stripe(name) {
			return other
		}
	}
}

func otherStripe(name string) string {
	for i := 0; ; i++ {
		if other := fmt.Sprint(i); stripe(other) != stripe(name) {
			return other
		}
	}
}

// free reports whether all names can be locked at once.
func free(t *testing.T, l *lock.Locks, names ...string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	unlock, err := l.Lock(ctx, names...)
	if err != nil {
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Lock(%q) = %v, want the context's error", names, err)
		}
		return false
	}
	unlock()
	return true
}

// The hash is a contract with outside tools.
func TestStripeOfKnownNames(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"": "c5", "a": "2c", "foobar": "68"} { // FNV-1a test vectors
		l, dir := open(t)
		unlock, err := l.Lock(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) != 1 || entries[0].Name() != want {
			t.Errorf("Lock(%q) made %v, %v; want %s", name, entries, err, want)
		}
		unlock()
		if _, err := os.Stat(filepath.Join(dir, want)); err != nil {
			t.Errorf("after unlock: %v; a lock file is never removed", err)
		}
	}
}

func TestExclusive(t *testing.T) {
	t.Parallel()
	l, _ := open(t)
	unlock, err := l.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"a": false, sameStripe("a"): false, otherStripe("a"): true} {
		if got := free(t, l, name); got != want {
			t.Errorf("while a is locked, %q is free: %v, want %v", name, got, want)
		}
	}
	unlock()
	if !free(t, l, "a") {
		t.Error("a is not free after unlock")
	}
}

func TestUnlockTwice(t *testing.T) {
	t.Parallel()
	l, _ := open(t)
	first, err := l.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	first()
	second, err := l.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer second()
	first() // must not take the lock from its new owner
	if free(t, l, "a") {
		t.Error("unlocking twice released somebody else's lock")
	}
}

// 64 goroutines: nobody is ever inside together, whatever they lock.
func TestManyGoroutines(t *testing.T) {
	t.Parallel()
	l, _ := open(t)
	names := []string{"a", sameStripe("a"), otherStripe("a"), "d", "e"}
	inside := map[string]*int{} // by stripe: the race detector watches too
	for _, name := range names {
		inside[stripe(name)] = new(int)
	}
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 30 {
				// Up to three names in any order, perhaps the same stripe twice.
				pick := make([]string, 1+rand.IntN(3))
				held := map[string]bool{}
				for i := range pick {
					pick[i] = names[rand.IntN(len(names))]
					held[stripe(pick[i])] = true
				}
				unlock, err := l.Lock(t.Context(), pick...)
				if err != nil {
					t.Error(err)
					return
				}
				for s := range held {
					if *inside[s]++; *inside[s] != 1 {
						t.Errorf("%d are inside stripe %s", *inside[s], s)
					}
				}
				runtime.Gosched()
				for s := range held {
					*inside[s]--
				}
				unlock()
			}
		})
	}
	wg.Wait()
}

func TestNamesInOppositeOrder(t *testing.T) {
	t.Parallel()
	l, _ := open(t)
	a, b := "a", otherStripe("a")
	var wg sync.WaitGroup
	for _, names := range [][]string{{a, b}, {b, a}} {
		wg.Go(func() {
			for range 500 {
				unlock, err := l.Lock(t.Context(), names...)
				if err != nil {
					t.Error(err)
					return
				}
				unlock()
			}
		})
	}
	wg.Wait() // a deadlock ends the test
}

func TestNoNames(t *testing.T) {
	t.Parallel()
	l, _ := open(t)
	unlock, err := l.Lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestCanceledContext(t *testing.T) {
	t.Parallel()
	l, _ := open(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Lock(ctx, "a"); !errors.Is(err, context.Canceled) {
		t.Errorf("Lock of a free name = %v, want context.Canceled", err)
	}

	unlock, err := l.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel = context.WithCancel(t.Context())
	result := make(chan error)
	go func() {
		_, err := l.Lock(ctx, "a")
		result <- err
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		t.Errorf("Lock of a held name = %v, want context.Canceled", err)
	}
}

// Who gives up waiting for one name keeps none of the others.
func TestAllOrNone(t *testing.T) {
	t.Parallel()
	l, _ := open(t)
	a, b := "a", otherStripe("a")
	unlock, err := l.Lock(t.Context(), a)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	if free(t, l, a, b) {
		t.Error("both are free")
	}
	if !free(t, l, b) {
		t.Error("the other one stayed locked")
	}
}

func TestOtherProcess(t *testing.T) {
	t.Parallel()
	l, dir := open(t)
	release := foreign(t, dir, stripe("a"))
	if free(t, l, "a") {
		t.Error("a is free while another process holds its stripe")
	}
	if other := otherStripe("a"); !free(t, l, other) {
		t.Errorf("%q is not free", other)
	}

	// 64 wait, none of them in a thread of its own.
	threads := pprof.Lookup("threadcreate").Count()
	var wg sync.WaitGroup
	inside := 0
	for range 64 {
		wg.Go(func() {
			unlock, err := l.Lock(t.Context(), "a")
			if err != nil {
				t.Error(err)
				return
			}
			defer unlock()
			inside++
		})
	}
	if free(t, l, "a") {
		t.Error("a is free while 64 wait for it")
	}
	if n := pprof.Lookup("threadcreate").Count() - threads; n > 16 {
		t.Errorf("waiting took %d threads", n)
	}
	release()
	wg.Wait()
	if inside != 64 {
		t.Errorf("%d of 64 were inside", inside)
	}
}

// The other process sees our lock as well.
func TestOtherProcessIsExcluded(t *testing.T) {
	t.Parallel()
	l, dir := open(t)
	unlock, err := l.Lock(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	// Another open file is another owner to flock(2), like another process.
	tool := flock.New(filepath.Join(dir, stripe("a")))
	if ok, err := tool.TryLock(); ok || err != nil {
		t.Errorf("a tool could lock what we hold: %v, %v", ok, err)
	}
	unlock()
	if ok, err := tool.TryLock(); !ok || err != nil {
		t.Errorf("a tool could not lock what is free: %v, %v", ok, err)
	}
	if err := tool.Unlock(); err != nil {
		t.Error(err)
	}
}

func BenchmarkLock(b *testing.B) {
	l, _ := open(b)
	for b.Loop() {
		unlock, err := l.Lock(b.Context(), "a")
		if err != nil {
			b.Fatal(err)
		}
		unlock()
	}
}
