// Package bolt is the kv engine for one process: one bbolt file, nothing else
// to run.
//
// One update at a time is the writer. It runs its own function and those of all
// updates that wait, one after the other in one bbolt transaction, and commits
// once for all of them. So many clients share the cost of a commit, while a
// single one neither waits for company nor for another goroutine to do its
// work. Running one after the other also makes updates serializable.
//
// The invariant: what a call was answered, be it an Update or a View, is
// durable. When that can no longer be known the store stops for good.
package bolt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"upload-service/store/failpoint"
	"upload-service/store/kv"
)

const (
	// bucketName is the one bucket: the seam's key space is flat.
	bucketName = "kv"

	// maxBatch bounds the calls that share a commit, and with it the time the
	// first of them waits for the last.
	maxBatch = 256

	// mmapSize is the address space reserved for the file, in bytes. bbolt
	// moves its mapping when the file outgrows it, and has to wait for every
	// open read transaction to do so: one slow reader would stop all writers.
	// Reserved addresses cost no memory, but 32-bit systems have none to
	// spare: there this is 0, which lets bbolt choose.
	mmapSize = 16 << 30 * (strconv.IntSize / 64)

	// maxListed bounds the free pages that a commit lists in the file. With the
	// list the next Open is done at once; without it, Open looks at every page:
	// a second for a million files. A list takes 8 bytes and some 15 ns of a
	// commit for each page, so at most 1 MiB and 2 ms. Where more is free, 512
	// MiB, a quick start is not worth what each commit would pay for it.
	maxListed = 1 << 17
)

// Options are the settings of Open.
type Options struct {
	// Timeout is how long Open waits while another process has the file
	// open; 0 means one second.
	Timeout time.Duration
}

// Store is an open bbolt file. It implements kv.Store.
type Store struct {
	db     *bbolt.DB
	writer chan struct{} // holds one element while a call, or Close, is the writer
	queue  chan *call    // unbuffered: a call is either taken by the writer or still its caller's

	committing sync.RWMutex // write-held during a commit
	durable    atomic.Int64 // id of the last transaction known to be durable

	failed  chan struct{} // closed when a commit is in doubt
	closing chan struct{} // closed by Close

	maxListed int

	closeOnce sync.Once
	closeErr  error
}

// call is one Update on its way through the writer.
type call struct {
	ctx  context.Context
	fn   func(kv.Tx) error
	err  error
	done chan error // buffered: the writer never waits for a caller
}

var _ kv.Store = (*Store)(nil)

var errEnded = fmt.Errorf("%w: a function of the batch ended the goroutine", kv.ErrPanic)

var errFailed = fmt.Errorf("bolt: stopped after a failed commit: %w", kv.ErrInDoubt)

// Open opens the store in the file path, and creates the file with mode 0600
// if it is not there; its directory must exist. The error wraps kv.ErrBusy if
// another process has the file open, and kv.ErrDamaged if the file is one that
// cannot be opened, or that was cut.
func Open(path string, opts Options) (s *Store, err error) {
	// bbolt panics at a page that makes no sense, and reads behind the end of a
	// file that was cut, which faults.
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, fmt.Errorf("open %s: %w: %v", path, kv.ErrDamaged, p)
		}
	}()
	options := bbolt.Options{
		Timeout:         opts.Timeout,
		NoFreelistSync:  true,                    // each commit decides
		FreelistType:    bbolt.FreelistArrayType, // kept in order: a map sorts it for each list
		InitialMmapSize: mmapSize,
	}
	if options.Timeout == 0 {
		options.Timeout = time.Second
	}
	if runtime.GOOS == "windows" {
		options.InitialMmapSize = 0 // there the file grows to the size of its mapping
	}

	// 1. Open the file and take its lock.
	db, err := bbolt.Open(path, 0o600, &options)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		err = kv.ErrBusy
	case err != nil && !errors.As(err, new(syscall.Errno)): // not of the system, so of what bbolt has read
		err = fmt.Errorf("%w: %w", kv.ErrDamaged, err)
	case err == nil:
		if err = whole(db, path); err != nil {
			err = errors.Join(err, db.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}

	// 2. Commit once, even if the bucket exists. A process that died between
	// writing and syncing its last commit left it visible but not durable;
	// this commit builds on it and makes it so.
	s = &Store{
		db:      db,
		writer:  make(chan struct{}, 1),
		queue:   make(chan *call),
		failed:  make(chan struct{}),
		closing: make(chan struct{}),

		maxListed: maxListed,
	}
	s.listFreePages()
	err = db.Update(func(btx *bbolt.Tx) error {
		s.durable.Store(int64(btx.ID()))
		_, err := btx.CreateBucketIfNotExists([]byte(bucketName))
		return err
	})

	// 3. Make the name of a new file durable.
	if err == nil {
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("prepare %s: %w", path, err), db.Close())
	}
	return s, nil
}

// whole reports as damaged a file that is shorter than what it records: a read
// of what is missing would fault.
func whole(db *bbolt.DB, path string) error {
	return db.View(func(btx *bbolt.Tx) error {
		info, err := os.Stat(path)
		if err == nil && info.Size() < btx.Size() {
			err = fmt.Errorf("%w: it has %d bytes and should have %d", kv.ErrDamaged, info.Size(), btx.Size())
		}
		return err
	})
}

// syncDir makes the entries of a directory durable.
func syncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil // directories cannot be synced there
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Failed is closed when the outcome of a commit is unknown. From then on every
// call returns an error that wraps kv.ErrInDoubt; the process should exit, and
// what the file holds when it is opened again is what counts.
func (s *Store) Failed() <-chan struct{} { return s.failed }

// Close waits for the commit under way and for running reads, and closes the
// file. An Update that no commit has taken yet returns kv.ErrClosed.
func (s *Store) Close() error {
	s.closeOnce.Do(func() {
		close(s.closing)
		select {
		case s.writer <- struct{}{}: // and remains it
		case <-s.failed:
		}
		if err := s.db.Close(); err != nil {
			s.closeErr = fmt.Errorf("close metadata: %w", err)
		}
	})
	return s.closeErr
}

// View runs fn, once, over the last committed state, and does not hold up the
// writer. It looks at ctx only before it starts.
func (s *Store) View(ctx context.Context, fn func(kv.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closing:
		return kv.ErrClosed
	case <-s.failed:
		return errFailed
	default:
	}

	// 1. Read.
	btx, err := s.db.Begin(false)
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		return kv.ErrClosed
	}
	if err != nil {
		return fmt.Errorf("begin read: %w", err)
	}
	id := int64(btx.ID())
	err = func() error {
		defer func() { _ = btx.Rollback() }() // fails only if it was called before
		return fn(&tx{base: btx.Bucket([]byte(bucketName))})
	}()

	// 2. bbolt shows a commit to readers before it has synced it. Whoever saw
	// one may speak of it only when it is durable.
	if id > s.durable.Load() {
		s.committing.RLock()
		defer s.committing.RUnlock()
		select {
		case <-s.failed:
			return errFailed
		default:
		}
	}
	return err
}

// Snapshot is View: a bbolt read transaction may last as long as it likes.
// While it does, pages that updates replace are not reused and the file grows.
func (s *Store) Snapshot(ctx context.Context, fn func(kv.Tx) error) error {
	return s.View(ctx, fn)
}

// Update hands fn to the writer or, if there is none, is the writer until its
// own commit is done. Affinity and options change nothing: all calls share
// commits, and all are serializable.
func (s *Store) Update(ctx context.Context, _ string, fn func(kv.Tx) error, _ ...kv.Option) error {
	c := &call{ctx: ctx, fn: fn, done: make(chan error, 1)}
	select {
	case s.queue <- c:
	case s.writer <- struct{}{}:
		s.lead(c)
	case <-ctx.Done():
		return ctx.Err()
	case <-s.closing:
		return kv.ErrClosed
	case <-s.failed:
		return errFailed
	}
	return <-c.done
}

// lead makes the caller the writer for one batch.
func (s *Store) lead(c *call) {
	var err error
	defer func() {
		if !errors.Is(err, kv.ErrInDoubt) {
			<-s.writer // else there must be no other
		}
	}()
	err = s.batch(c)
}

// batch runs c and the calls that wait behind it in one transaction and
// answers each. It returns the error of the transaction itself.
func (s *Store) batch(c *call) error {
	// 1. Begin.
	btx, err := s.db.Begin(true)
	if err != nil {
		err = fmt.Errorf("begin update: %w", err)
		c.done <- err
		return err
	}
	base := btx.Bucket([]byte(bucketName))

	// 2. Run the calls in turn. Each sees what those before it wrote, and
	// what it wrote itself is kept only if it returned nil.
	var ran []*call
	wrote := false
	// A function that ends the goroutine (runtime.Goexit) ends this loop, too.
	// Nothing is committed then, and nobody may be left waiting.
	running := true
	defer func() {
		if running {
			_ = btx.Rollback() // fails only if it was called before
			for _, c := range ran {
				c.done <- errEnded
			}
		}
	}()
	for c != nil && err == nil {
		if ctxErr := c.ctx.Err(); ctxErr != nil {
			c.done <- ctxErr
		} else {
			t := &tx{base: base, writable: true}
			ran = append(ran, c)
			c.err = c.run(t)
			if c.err == nil && len(t.writes) > 0 {
				wrote = true
				err = t.merge()
			}
		}
		c = nil
		if err == nil && len(ran) < maxBatch {
			select {
			case c = <-s.queue:
			default:
			}
		}
	}

	running = false

	// 3. Commit what there is to commit.
	if err == nil && wrote {
		err = s.commit(btx)
	} else {
		_ = btx.Rollback() // fails only if it was called before
	}

	// 4. Answer, all of them only now: also a call that failed or only read
	// may have seen what another wrote, and means nothing without it.
	for _, c := range ran {
		if err != nil {
			c.err = err
		}
		c.done <- c.err
	}
	return err
}

// run runs the call's function and turns a panic into an error.
func (c *call) run(t *tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("%w: %v\n%s", kv.ErrPanic, p, debug.Stack())
		}
	}()
	return c.fn(t)
}

// listFreePages decides whether the next commit lists the free pages.
func (s *Store) listFreePages() {
	stats := s.db.Stats()
	s.db.NoFreelistSync = stats.FreePageN+stats.PendingPageN > s.maxListed
}

// Verify looks at every page of the file and passes on what is wrong: a page
// that is used twice, or damaged, keys out of order. Nothing may be updated
// meanwhile. It costs O(file).
func (s *Store) Verify(found func(error)) error {
	btx, err := s.db.Begin(false)
	if err != nil {
		return fmt.Errorf("verify: %w", err)
	}
	defer btx.Rollback() //nolint:errcheck // it only reads
	for mistake := range btx.Check() {
		found(mistake)
	}
	return nil
}

// commit commits btx. If the outcome is in doubt it fails the store.
func (s *Store) commit(btx *bbolt.Tx) error {
	s.committing.Lock()
	defer s.committing.Unlock()
	id := int64(btx.ID())
	s.listFreePages()
	failpoint.Hit("commit: before")
	err := btx.Commit()
	if err == nil {
		err = failpoint.Err("commit: the sync of the meta page")
	}
	if err != nil {
		err = s.outcome(id, err)
		if errors.Is(err, kv.ErrInDoubt) {
			close(s.failed)
		}
		return err
	}
	failpoint.Hit("commit: after")
	s.durable.Store(id)
	return nil
}

// outcome tells what became of transaction id, whose commit failed with cause.
//
// A bbolt commit writes and syncs its pages, all of them free until then, and
// afterwards writes and syncs a meta page with its id, which alone makes them
// count. So if readers still find an older id, nothing was committed, whatever
// failed, and the next commit starts clean. If they find this one, it is
// written but perhaps not durable, and no second sync could tell: the kernel
// may have dropped the page.
func (s *Store) outcome(id int64, cause error) error {
	btx, err := s.db.Begin(false)
	if err != nil { // the file is not mapped any more: nothing can go on
		return fmt.Errorf("commit: %w: %w (%w)", kv.ErrInDoubt, cause, err)
	}
	seen := int64(btx.ID())
	_ = btx.Rollback() // fails only if it was called before

	switch {
	case seen >= id:
		return fmt.Errorf("commit: %w: %w", kv.ErrInDoubt, cause)
	case errors.Is(cause, syscall.ENOSPC), errors.Is(cause, syscall.EDQUOT):
		return fmt.Errorf("commit: %w: %w", kv.ErrFull, cause)
	}
	return fmt.Errorf("commit: %w", cause)
}
