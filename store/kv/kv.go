// Package kv is the metadata seam: an ordered key-value store with
// transactions. The domain (package store) is written once on top of it; an
// engine such as bbolt (package bolt) or PostgreSQL lives below it.
//
// The laws of the seam are the comments here and the conformance suite in
// package kvtest; an engine that passes the suite can be used.
package kv

import (
	"context"
	"errors"
)

// Tx is one transaction. It is valid only inside the function it was given
// to, and must be used by one goroutine.
//
// Keys are 1 to MaxKey bytes and compare as bytes.Compare does; values are at
// most MaxValue bytes. Slices passed in may be reused by the caller once the
// method returned; slices handed out are read-only and valid until the
// transaction's function returns.
type Tx interface {
	// Get returns the value of key, or nil if there is none. An empty value
	// is returned as an empty, non-nil slice.
	Get(key []byte) ([]byte, error)
	// Put sets the value of key. In a read-only transaction it fails.
	Put(key, value []byte) error
	// Delete removes key; removing an absent key is not an error.
	Delete(key []byte) error
	// Scan calls fn for at most limit pairs with lo <= key < hi in ascending
	// order, the transaction's own writes included, until fn returns false.
	// A nil hi means no upper bound; limit must be positive. fn may use the
	// Tx: what it writes behind the current key is not visited, what it
	// writes or deletes ahead of it is taken into account.
	Scan(lo, hi []byte, limit int, fn func(key, value []byte) bool) error
}

// Sizes that every engine accepts, in bytes.
const (
	MaxKey   = 2048
	MaxValue = 4 << 20
)

// Store is an open store. All methods may be called concurrently, but not from
// the function of a transaction: an engine may wait for itself for ever.
type Store interface {
	// View runs fn in a read-only transaction: one consistent state, no
	// writes of unfinished updates; it returns only when what fn could see
	// is durable. fn may run more than once. A panic of fn passes through.
	View(ctx context.Context, fn func(Tx) error) error

	// Update runs fn in a serializable transaction and returns nil only
	// after everything fn wrote is durable (survives power loss).
	//
	// If fn returns an error, nothing it wrote is kept and Update returns
	// that error unchanged, unless the commit that it shared fails: fn may
	// have seen what was then not kept. fn may run more than once and so has
	// no side effects: ids and times are made before it. Calls with the same
	// affinity, usually the owner, may share a commit; neither a failing nor
	// a panicking fn affects another call. A panic of fn is returned as an
	// error that wraps ErrPanic. fn must not end its goroutine
	// (runtime.Goexit, testing.T.FailNow): it may be another call's.
	//
	// An error that wraps ErrInDoubt means that the commit may or may not
	// have happened; repeating the same Update is safe. If ctx is done
	// before the transaction starts, Update returns ctx.Err() and fn has not
	// run; once fn's writes are being committed ctx is no longer looked at.
	Update(ctx context.Context, affinity string, fn func(Tx) error, opts ...Option) error

	// Snapshot runs fn once over one consistent state, however long that
	// takes. It is meant for passes over everything (check, backup, export);
	// a request uses View.
	Snapshot(ctx context.Context, fn func(Tx) error) error

	// Close waits for running transactions and releases the store. Later
	// calls, and updates that no transaction has taken yet, return ErrClosed
	// and have no effect; closing twice is not an error.
	Close() error
}

// Option changes one Update.
type Option int

// SnapshotOK allows snapshot isolation instead of serializability, for
// transactions that write every key that decides (the quota row, say). An
// engine may ignore it.
const SnapshotOK Option = iota + 1

// Errors of a Store, to be compared with errors.Is.
var (
	// ErrInDoubt: the commit failed in a way that leaves its outcome
	// unknown, for example in fsync. The process must not go on as if it
	// knew: it answers 5xx and exits, and recovery decides.
	ErrInDoubt = errors.New("kv: outcome of the commit is unknown")
	// ErrFull: there is no room left on the device; nothing was committed.
	ErrFull = errors.New("kv: no space left")
	// ErrDamaged: what is stored makes no sense; only a backup helps.
	ErrDamaged = errors.New("kv: the metadata is damaged")
	// ErrBusy: another process has the store open.
	ErrBusy = errors.New("kv: in use by another process")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("kv: closed")
	// ErrReadOnly: Put or Delete in a View or Snapshot.
	ErrReadOnly = errors.New("kv: read-only transaction")
	// ErrTooLarge: a key or value beyond MaxKey or MaxValue, or an empty key.
	ErrTooLarge = errors.New("kv: key or value size not allowed")
	// ErrPanic: the transaction's function panicked.
	ErrPanic = errors.New("kv: panic in transaction")
)
