package bolt

import (
	"errors"
	"path/filepath"
	"syscall"
	"testing"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"upload-service/store/kv"
)

// The window between writing a meta page and knowing that it is durable cannot
// be held open from outside, so these tests stand inside.

// TestOutcome: a failed commit is in doubt exactly if readers find it.
func TestOutcome(t *testing.T) {
	t.Parallel()
	s := open(t)
	var id int64
	err := s.db.Update(func(btx *bbolt.Tx) error { id = int64(btx.ID()); return nil })
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name  string
		id    int64
		cause error
		want  error
	}{
		{"visible", id, syscall.EIO, kv.ErrInDoubt},
		{"visible, no room", id, syscall.ENOSPC, kv.ErrInDoubt},
		{"not visible", id + 1, syscall.EIO, syscall.EIO},
		{"not visible, no room", id + 1, syscall.ENOSPC, kv.ErrFull},
		{"not visible, disk quota", id + 1, syscall.EDQUOT, kv.ErrFull},
	}
	for _, tt := range tests {
		got := s.outcome(tt.id, tt.cause)
		if !errors.Is(got, tt.want) || !errors.Is(got, tt.cause) {
			t.Errorf("%s: %v, want %v because of %v", tt.name, got, tt.want, tt.cause)
		}
		if doubt := tt.want == kv.ErrInDoubt; errors.Is(got, kv.ErrInDoubt) != doubt {
			t.Errorf("%s: %v, want in doubt %v", tt.name, got, doubt)
		}
	}
}

// TestViewOfUndurable: a read that saw a commit which then fails to become
// durable does not return as if it had.
func TestViewOfUndurable(t *testing.T) {
	t.Parallel()
	s := open(t)
	s.committing.Lock() // as the writer between write and sync
	s.durable.Add(-1)
	read := make(chan struct{})
	got := make(chan error)
	go func() {
		got <- s.View(t.Context(), func(kv.Tx) error { close(read); return nil })
	}()
	<-read
	close(s.failed) // the sync fails
	s.committing.Unlock()
	if err := <-got; !errors.Is(err, kv.ErrInDoubt) {
		t.Errorf("View: %v, want %v", err, kv.ErrInDoubt)
	}
}

// TestFailedStore: after a commit in doubt nothing is read or written.
func TestFailedStore(t *testing.T) {
	t.Parallel()
	s := open(t)
	closed, err := bbolt.Open(filepath.Join(t.TempDir(), "closed.db"), 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := closed.Close(); err != nil {
		t.Fatal(err)
	}

	// 1. Let a commit fail, and what became of it be impossible to see.
	db := s.db
	err = s.Update(t.Context(), "", func(tx kv.Tx) error {
		db.MaxSize = 1
		s.db = closed
		return tx.Put([]byte("large"), make([]byte, 1<<20))
	})
	s.db = db
	if !errors.Is(err, kv.ErrInDoubt) || !errors.Is(err, bolterrors.ErrMaxSizeReached) {
		t.Errorf("Update: %v, want %v and the cause", err, kv.ErrInDoubt)
	}

	// 2. The process is told, and all else is refused.
	select {
	case <-s.Failed():
	default:
		t.Error("Failed is not closed")
	}
	fn := func(kv.Tx) error {
		t.Error("fn ran in a failed store")
		return nil
	}
	if err := s.Update(t.Context(), "", fn); !errors.Is(err, kv.ErrInDoubt) {
		t.Errorf("Update: %v, want %v", err, kv.ErrInDoubt)
	}
	if err := s.View(t.Context(), fn); !errors.Is(err, kv.ErrInDoubt) {
		t.Errorf("View: %v, want %v", err, kv.ErrInDoubt)
	}
}

func open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "meta.db"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
