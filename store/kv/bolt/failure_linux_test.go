package bolt_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"upload-service/store/kv"
)

// TestFailedCommit makes commits fail before their meta page is written, by
// putting a device in the place of the file under bbolt's descriptor. Nothing
// is committed, and the store goes on once the fault is gone.
func TestFailedCommit(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		device string
		size   int // of the value
		full   bool
	}{
		{"no room for pages", "/dev/full", 1, true},       // refuses writes
		{"pages cannot be synced", "/dev/null", 1, false}, // takes writes, refuses fdatasync
		{"file cannot grow", "/dev/null", 1 << 20, false}, // has no size
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "meta.db")
			s := open(t, path)
			for i := range 5 { // leave free pages behind, so that small commits need not grow
				put(t, s, "key", fmt.Sprint(i))
			}

			repair := breakFile(t, path, tt.device)
			for range 3 {
				err := s.Update(t.Context(), "", func(tx kv.Tx) error {
					return tx.Put([]byte("key"), bytes.Repeat([]byte{'x'}, tt.size))
				})
				if err == nil || errors.Is(err, kv.ErrInDoubt) || errors.Is(err, kv.ErrFull) != tt.full {
					t.Errorf("Update: %v; want ErrFull %v, and no doubt", err, tt.full)
				}
			}
			if got := get(t, s, "key"); got != "4" {
				t.Errorf("after failed commits Get = %q, want %q", got, "4")
			}
			repair()

			put(t, s, "more", "1")
			select {
			case <-s.Failed():
				t.Error("the store has failed though nothing was in doubt")
			default:
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			s = open(t, path)
			defer s.Close()
			if key, more := get(t, s, "key"), get(t, s, "more"); key != "4" || more != "1" {
				t.Errorf("reopened: key=%.10q more=%q, want 4 and 1", key, more)
			}
		})
	}
}

// TestFailedCommitFailsReaders: a call that only read what another call of its
// batch wrote fails with it.
func TestFailedCommitFailsReaders(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "meta.db")
	s := open(t, path)
	defer s.Close()
	put(t, s, "key", "old")
	put(t, s, "key", "old")
	defer breakFile(t, path, "/dev/full")()

	refused := errors.New("refused")
	for range 10_000 { // until the reader was in the writer's batch
		began, release := make(chan struct{}), make(chan struct{})
		writer := make(chan error, 1)
		go func() {
			writer <- s.Update(t.Context(), "", func(tx kv.Tx) error {
				close(began)
				<-release
				return tx.Put([]byte("key"), []byte("new"))
			})
		}()
		<-began
		go close(release)
		var saw string
		err := s.Update(t.Context(), "", func(tx kv.Tx) error {
			got, err := tx.Get([]byte("key"))
			saw = string(got)
			return errors.Join(err, refused)
		})
		if err := <-writer; !errors.Is(err, kv.ErrFull) {
			t.Fatalf("the writer: %v, want %v", err, kv.ErrFull)
		}
		want := refused
		if saw == "new" {
			want = kv.ErrFull
		}
		if !errors.Is(err, want) {
			t.Fatalf("the reader saw %q and got %v, want %v", saw, err, want)
		}
		if saw == "new" {
			return
		}
	}
	t.Error("the reader never shared the writer's batch")
}

// breakFile puts device in the place of this process's descriptor of the file
// path, and returns a function that undoes it.
func breakFile(t *testing.T, path, device string) (repair func()) {
	t.Helper()
	fd := -1
	for i := range 1000 {
		if name, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", i)); err == nil && name == path {
			fd = i
		}
	}
	if fd < 0 {
		t.Fatalf("%s is not open", path)
	}
	file, err := syscall.Dup(fd) // also keeps the lock
	if err != nil {
		t.Fatal(err)
	}
	broken, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer broken.Close()
	if err := syscall.Dup3(int(broken.Fd()), fd, syscall.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := syscall.Dup3(file, fd, syscall.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Close(file); err != nil {
			t.Error(err)
		}
	}
}
