package bolt_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.etcd.io/bbolt"

	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
	"upload-service/store/kv/kvtest"
)

// childFile names the store that this binary, run as a child, writes to until
// it is killed.
const childFile = "BOLT_TEST_CHILD_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childFile); path != "" {
		fmt.Fprintln(os.Stderr, child(path))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// child commits to the store at path from several clients without end, and
// prints each key after its Update returned.
func child(path string) error {
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		return err
	}
	failed := make(chan error)
	for client := range 8 {
		go func() {
			for n := 0; ; n++ {
				key := fmt.Sprintf("%d/%d", client, n)
				err := s.Update(context.Background(), "", func(tx kv.Tx) error {
					return tx.Put([]byte(key), []byte(key))
				})
				if err != nil {
					failed <- err
					return
				}
				fmt.Println(key)
			}
		}()
	}
	return <-failed
}

func TestConformance(t *testing.T) {
	t.Parallel()
	opener := func(t *testing.T) func(t *testing.T) kv.Store {
		dir := t.TempDir()
		return func(t *testing.T) kv.Store {
			return open(t, filepath.Join(dir, strings.ReplaceAll(t.Name(), "/", "_")))
		}
	}
	t.Run("Plain", func(t *testing.T) {
		t.Parallel()
		kvtest.Run(t, opener(t))
	})
	t.Run("Twice", func(t *testing.T) {
		t.Parallel()
		plain := opener(t)
		kvtest.Run(t, func(t *testing.T) kv.Store { return kvtest.Twice(plain(t)) })
	})
}

// TestKilledWriter kills a process that is committing: while it lives its store
// is busy, and all that it was told to be committed is there afterwards.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), childFile+"="+path)
	cmd.Stderr = os.Stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}

	var acknowledged []string
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		acknowledged = append(acknowledged, lines.Text())
		if len(acknowledged) != 200 {
			continue // also reads what was printed up to the kill
		}
		begin := time.Now()
		_, err := bolt.Open(path, bolt.Options{Timeout: 100 * time.Millisecond})
		if took := time.Since(begin); !errors.Is(err, kv.ErrBusy) || took > 5*time.Second {
			t.Errorf("Open of a busy store: %v after %v; want %v soon", err, took, kv.ErrBusy)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
	}
	if err := cmd.Wait(); err == nil || len(acknowledged) < 200 {
		t.Fatalf("the child ended with %v after %d commits, want it killed after 200",
			err, len(acknowledged))
	}
	acknowledged = acknowledged[:len(acknowledged)-1] // the last line may be cut short

	s := open(t, path)
	defer s.Close()
	err = s.View(t.Context(), func(tx kv.Tx) error {
		for _, key := range acknowledged {
			if got, err := tx.Get([]byte(key)); err != nil || string(got) != key {
				t.Errorf("after the kill Get(%q) = %q, %v", key, got, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("View: %v", err)
	}
	put(t, s, "after", "1")
}

func TestOpen(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "meta.db")
	s := open(t, path)
	defer s.Close()

	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode().Perm(); got != 0o600 {
		t.Errorf("mode %v, want 0600", got)
	}
	if got := info.Size(); got > 64<<20 {
		t.Errorf("a new file has %d bytes, as if its whole mapping were in it", got)
	}

	_, err = bolt.Open(filepath.Join(dir, "none", "meta.db"), bolt.Options{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("Open in a missing directory: %v, want %v", err, os.ErrNotExist)
	}
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("not a store\n", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = bolt.Open(text, bolt.Options{})
	if err == nil || !strings.Contains(err.Error(), text) {
		t.Errorf("Open of a text file: %v, want an error that names it", err)
	}
}

// TestFreePagesAreListed: the start does not look at every page, unless so many
// are free that listing them would decide what a commit costs.
func TestFreePagesAreListed(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.SetMaxListed(8192)
	update := func(fn func(tx kv.Tx, key []byte) error, n int) {
		t.Helper()
		err := s.Update(t.Context(), "", func(tx kv.Tx) error {
			for i := range n {
				if err := fn(tx, fmt.Appendf(nil, "key %06d", i)); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	put := func(tx kv.Tx, key []byte) error { return tx.Put(key, make([]byte, 4000)) }
	remove := func(tx kv.Tx, key []byte) error { return tx.Delete(key) }
	for _, step := range []struct {
		name   string
		fn     func(kv.Tx, []byte) error
		n      int
		listed bool
	}{
		{"a few", put, 100, true},
		{"many", put, 10000, true},
		{"many less", remove, 9900, true}, // its pages are free for the next commit
		{"one more", put, 1, false},
		{"one more, with all those free", put, 1, false},
		{"many again", put, 10000, false},
		{"one after them", put, 1, true},
	} {
		update(step.fn, step.n)
		if got := listed(t, path); got != step.listed {
			t.Errorf("after %s the free pages are listed: %t", step.name, got)
		}
		// What a crash leaves opens.
		image := path + ".crashed"
		if b, err := os.ReadFile(path); err != nil || os.WriteFile(image, b, 0o600) != nil {
			t.Fatal(err)
		}
		crashed, err := bolt.Open(image, bolt.Options{})
		if err != nil {
			t.Fatal(err)
		}
		err = crashed.View(t.Context(), func(tx kv.Tx) error {
			v, err := tx.Get([]byte("key 000000"))
			if len(v) != 4000 && step.name != "many less" {
				t.Errorf("after %s there are %d bytes", step.name, len(v))
			}
			return err
		})
		if err := errors.Join(err, crashed.Close()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// listed reports whether the last commit of a bbolt file lists its free pages:
// its meta page, the one with the higher id, says where.
func listed(t *testing.T, path string) bool {
	t.Helper()
	b := make([]byte, 2*os.Getpagesize())
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.ReadFull(f, b); err != nil {
		t.Fatal(err)
	}
	var list, latest uint64
	for _, page := range [][]byte{b, b[os.Getpagesize():]} {
		if id := binary.NativeEndian.Uint64(page[64:]); id >= latest {
			list, latest = binary.NativeEndian.Uint64(page[48:]), id
		}
	}
	return list != math.MaxUint64
}

// waiting is how many goroutines of a test wait for the writer.
func waiting(test string) (n int) {
	all := make([]byte, 4<<20)
	for g := range strings.SplitSeq(string(all[:runtime.Stack(all, true)]), "\n\n") {
		head, frames, _ := strings.Cut(g, "\n")
		if strings.Contains(head, "[select") && strings.Contains(frames, "."+test+".") {
			n++
		}
	}
	return n
}

// TestSharedCommits queues calls behind one that is running: they share its
// commit.
func TestSharedCommits(t *testing.T) {
	t.Parallel()
	const clients = 64
	path := filepath.Join(t.TempDir(), "meta.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	before := lastTx(t, path)

	s := open(t, path) // commits once
	began, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	update := func(fn func(tx kv.Tx) error) {
		if err := s.Update(t.Context(), "", fn); err != nil {
			t.Errorf("Update: %v", err)
		}
	}
	wg.Go(func() {
		update(func(tx kv.Tx) error {
			close(began)
			<-release
			return tx.Put([]byte("first"), nil)
		})
	})
	<-began
	for i := range clients {
		wg.Go(func() {
			update(func(tx kv.Tx) error { return tx.Put([]byte(strconv.Itoa(i)), nil) })
		})
	}
	for deadline := time.Now().Add(time.Minute); waiting("TestSharedCommits") < clients; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("the others do not queue")
		}
	}
	close(release)
	wg.Wait()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	if got := lastTx(t, path) - before - 1; got < 1 || got > 2 {
		t.Errorf("%d updates took %d commits, want 1 or 2", clients+1, got)
	}
}

// TestNothingToCommit: calls that fail or only read cost no commit.
func TestNothingToCommit(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	if err := open(t, path).Close(); err != nil {
		t.Fatal(err)
	}
	before := lastTx(t, path)
	s := open(t, path) // commits once
	if err := s.Update(t.Context(), "", func(kv.Tx) error { return nil }); err != nil {
		t.Errorf("Update: %v", err)
	}
	refused := errors.New("refused")
	err := s.Update(t.Context(), "", func(tx kv.Tx) error {
		return errors.Join(tx.Put([]byte("a"), nil), refused)
	})
	if !errors.Is(err, refused) {
		t.Errorf("Update: %v, want %v", err, refused)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := lastTx(t, path) - before - 1; got != 0 {
		t.Errorf("%d commits, want none", got)
	}
}

// TestContextWhileQueued: a call that waits for the writer can be given up; one
// that is running is finished.
func TestContextWhileQueued(t *testing.T) {
	t.Parallel()
	s := open(t, filepath.Join(t.TempDir(), "meta.db"))
	defer s.Close()

	running, stopRunning := context.WithCancel(t.Context())
	defer stopRunning()
	queued, stopQueued := context.WithCancel(t.Context())
	began, release := make(chan struct{}), make(chan struct{})
	first := make(chan error, 1)
	go func() {
		first <- s.Update(running, "", func(tx kv.Tx) error {
			close(began)
			<-release
			return tx.Put([]byte("first"), []byte("1"))
		})
	}()
	<-began
	stopRunning()
	second := make(chan error, 1)
	go func() {
		second <- s.Update(queued, "", func(kv.Tx) error {
			t.Error("a call that was given up has run")
			return nil
		})
	}()
	stopQueued()
	if err := <-second; err != context.Canceled { // while the writer is held up
		t.Errorf("the queued call: %v, want %v", err, context.Canceled)
	}
	close(release)
	if err := <-first; err != nil {
		t.Errorf("the running call: %v, want it committed", err)
	}
	if got := get(t, s, "first"); got != "1" {
		t.Errorf("the running call wrote %q, want %q", got, "1")
	}
}

// TestCloseWhileQueued: Close finishes the call that is running and turns away
// those that wait.
func TestCloseWhileQueued(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	s := open(t, path)
	began, release := make(chan struct{}), make(chan struct{})
	first, second, closed := make(chan error, 1), make(chan error, 1), make(chan error, 1)
	go func() {
		first <- s.Update(t.Context(), "", func(tx kv.Tx) error {
			close(began)
			<-release
			return tx.Put([]byte("first"), []byte("1"))
		})
	}()
	<-began
	go func() {
		second <- s.Update(t.Context(), "", func(kv.Tx) error {
			t.Error("a call that was turned away has run")
			return nil
		})
	}()
	go func() { closed <- s.Close() }()
	if err := <-second; !errors.Is(err, kv.ErrClosed) {
		t.Errorf("the queued call: %v, want %v", err, kv.ErrClosed)
	}
	close(release)
	if err := errors.Join(<-first, <-closed); err != nil {
		t.Error(err)
	}
	s = open(t, path)
	defer s.Close()
	if got := get(t, s, "first"); got != "1" {
		t.Errorf("the running call wrote %q, want %q", got, "1")
	}
}

func open(t *testing.T, path string) *bolt.Store {
	t.Helper()
	s, err := bolt.Open(path, bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func put(t *testing.T, s kv.Store, key, value string) {
	t.Helper()
	err := s.Update(t.Context(), "", func(tx kv.Tx) error { return tx.Put([]byte(key), []byte(value)) })
	if err != nil {
		t.Fatalf("Update: %v", err)
	}
}

// TestGoexit: a function that ends the goroutine, as FailNow does, leaves
// neither a writer nor a waiting call behind.
func TestGoexit(t *testing.T) {
	t.Parallel()
	s, err := bolt.Open(filepath.Join(t.TempDir(), "meta.db"), bolt.Options{})
	if err != nil {
		t.Fatal(err)
	}
	began, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = s.Update(t.Context(), "", func(tx kv.Tx) error {
			close(began)
			<-release
			return tx.Put([]byte("first"), nil)
		})
	})
	<-began
	ended := make(chan error, 1)
	wg.Go(func() {
		ended <- s.Update(t.Context(), "", func(kv.Tx) error {
			runtime.Goexit()
			return nil
		})
	})
	// It is queued, or comes when the first has ended: then it ends its own.
	runtime.Gosched()
	close(release)
	wg.Wait()
	select {
	case err := <-ended:
		if !errors.Is(err, kv.ErrPanic) {
			t.Errorf("Update returned %v, want ErrPanic", err)
		}
	default:
	}
	put(t, s, "after", "1")
	if got := get(t, s, "after"); got != "1" {
		t.Errorf("after is %q, want 1", got)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func get(t *testing.T, s kv.Store, key string) (value string) {
	t.Helper()
	err := s.View(t.Context(), func(tx kv.Tx) error {
		got, err := tx.Get([]byte(key))
		value = string(got)
		return err
	})
	if err != nil {
		t.Fatalf("View: %v", err)
	}
	return value
}

// lastTx returns the id of the last transaction committed to a closed store.
func lastTx(t *testing.T, path string) (id int) {
	t.Helper()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil }), db.Close())
	if err != nil {
		t.Fatal(err)
	}
	return id
}
