package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"upload-service/store/blob"
	"upload-service/store/kv"
)

// Limits bound what is accepted. Zero means no limit.
type Limits struct {
	FileSize    int64 // bytes of one file
	OwnerBytes  int64 // bytes of one owner, temporaries included
	OwnerFiles  int64 // files of one owner, temporaries included
	OwnerActive int   // uploads of one owner that stream at the same time
	MinFree     int64 // bytes that stay free on the volume
}

// Tree shows the files of every owner under their names, for people who look
// at the disk. It is a view of the records and never the truth. Methods that
// name a path are called with its lock held.
type Tree interface {
	// Set makes the entry show the blob.
	Set(ctx context.Context, slug, path string, ref blob.Ref) error
	// Remove removes the entry and the folders that become empty.
	Remove(ctx context.Context, slug, path string) error
	// Matches reports whether the entry shows the blob.
	Matches(slug, path string, ref blob.Ref) (bool, error)
	// Shown reports whether the blob has any name but its own.
	Shown(ref blob.Ref) (bool, error)
	// Sync makes durable what Set and Remove did before the call, or found done.
	Sync(ctx context.Context) error
	// Walk calls fn for every entry that is not a folder.
	Walk(fn func(slug, path string, info fs.FileInfo) error) error
}

// Locks are exclusive locks by name, shared with other processes.
type Locks interface {
	// Lock takes all of keys, or none when ctx is done first.
	Lock(ctx context.Context, keys ...string) (unlock func(), err error)
}

// Options are the parts and settings of a Store.
type Options struct {
	KV           kv.Store
	Blobs        blob.Store
	Tree         Tree // nil: no visible tree
	Locks        Locks
	Limits       Limits
	TemporaryTTL time.Duration // life of a temporary upload from its last use
	Undo         time.Duration // how long a deleted or replaced file can be restored; 0: not at all
	Now          func() time.Time
	Log          *slog.Logger
}

// Store is the domain, open for use. All methods may be called concurrently.
type Store struct {
	kv     kv.Store
	blobs  blob.Store
	tree   Tree
	locks  Locks
	limits Limits
	ttl    time.Duration
	undo   time.Duration
	now    func() time.Time
	log    *slog.Logger

	epochs  epochs
	flights flights
	turns   turns
	marks   clearedMarks
	sweeps  sync.Mutex // one sweep at a time

	background context.Context // ends when Close has waited long enough
	cancel     context.CancelFunc
	tasks      sync.WaitGroup // updates of the visible tree
	shows      chan struct{}  // a slot for each of them
}

const format = "upload-service 1"

// Open recovers what a crash left and returns the store. It costs O(recent):
// the blobs of open epochs are listed, nothing else is scanned.
func Open(ctx context.Context, o Options) (*Store, error) {
	s := newStore(o)
	if err := s.checkFormat(ctx); err != nil {
		return nil, err
	}
	if err := s.recoverEpochs(ctx); err != nil {
		return nil, fmt.Errorf("recover uploads: %w", err)
	}
	if err := s.settleMarks(ctx, nil); err != nil {
		return nil, fmt.Errorf("recover the visible tree: %w", err)
	}
	if err := s.finishClaims(ctx); err != nil {
		return nil, fmt.Errorf("recover claims: %w", err)
	}
	go s.clearMarks()
	return s, nil
}

func newStore(o Options) *Store {
	s := &Store{
		kv: o.KV, blobs: o.Blobs, tree: o.Tree, locks: o.Locks, limits: o.Limits,
		ttl: o.TemporaryTTL, undo: o.Undo, now: o.Now, log: o.Log,
	}
	s.shows = make(chan struct{}, maxShows)
	s.flights.byOwner = map[OwnerID]*flight{}
	s.turns.held = map[turnKey]*holder{}
	s.epochs.pending = map[string]int{}
	s.marks.stop, s.marks.done = make(chan struct{}), make(chan struct{})
	s.background, s.cancel = context.WithCancel(context.Background())
	return s
}

func (s *Store) checkFormat(ctx context.Context) error {
	var found string
	err := s.view(ctx, func(t txn) error {
		b, err := t.Get([]byte(keyFormat))
		found = string(b)
		return err
	})
	if err != nil {
		return err
	}
	switch found {
	case format:
		return nil
	case "":
		// What lies in the folder of a new store is to be adopted.
		since := s.now().UTC()
		return s.update(ctx, "", func(t txn) error {
			return all(
				t.Put([]byte(keyFormat), []byte(format)),
				t.write([]byte(keyAdoption), adoption{Since: since}),
			)
		})
	}
	return fmt.Errorf("the metadata is of format %q and this program reads %q: use the program that wrote it, or a newer one", found, format)
}

// Close finishes what runs in the background, and gives up waiting for the
// visible tree when ctx is done. The caller has stopped all
// requests before, and closes the kv and blob stores afterwards.
func (s *Store) Close(ctx context.Context) error {
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	s.tasks.Wait()
	close(s.marks.stop)
	<-s.marks.done
	s.cancel()
	err := s.retireEpochs(context.WithoutCancel(ctx), true)
	switch {
	case errors.Is(err, kv.ErrInDoubt):
		return nil // said where it happened; recovery decides
	case CodeOf(err) == CodeFull:
		s.log.Warn("the disk is too full to note that all is done; the next start looks after it", "error", err)
		return nil
	}
	return err
}
