package kvtest

import (
	"bytes"
	"context"
	"errors"
	"sync"

	"upload-service/store/kv"
)

// Supposed is a store in which one record is another one, for as long as it is
// set. Nothing that a transaction does then is kept.
type Supposed struct {
	kv.Store

	mu         sync.Mutex
	key, value []byte // guarded by mu
	left       int    // transactions before it refuses; guarded by mu
}

var errSupposed = errors.New("not kept")

// Set supposes the value at a key for so many transactions; a nil key ends it.
// What repeats until nothing is left would never end, so then it refuses.
func (s *Supposed) Set(key, value []byte, transactions int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.key, s.value, s.left = key, value, transactions
}

// next is the record for one more transaction.
func (s *Supposed) next() (key, value []byte, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.left--; s.key != nil && s.left < 0 {
		return nil, nil, errSupposed
	}
	return s.key, s.value, nil
}

// Update implements kv.Store.
func (s *Supposed) Update(ctx context.Context, o string, fn func(kv.Tx) error, opts ...kv.Option) error {
	key, value, err := s.next()
	if err != nil {
		return err
	}
	if key == nil {
		return s.Store.Update(ctx, o, fn, opts...)
	}
	var answer error
	err = s.Store.Update(ctx, o, func(tx kv.Tx) error {
		if answer = tx.Put(key, value); answer == nil {
			answer = fn(tx)
		}
		return errSupposed
	})
	if err == errSupposed {
		err = answer
	}
	return err
}

// View implements kv.Store.
func (s *Supposed) View(ctx context.Context, fn func(kv.Tx) error) error {
	key, value, err := s.next()
	if err != nil {
		return err
	}
	return s.Store.View(ctx, func(tx kv.Tx) error { return fn(supposedTx{tx, key, value}) })
}

// Snapshot implements kv.Store.
func (s *Supposed) Snapshot(ctx context.Context, fn func(kv.Tx) error) error { return s.View(ctx, fn) }

// supposedTx reads another value at a key that is there.
type supposedTx struct {
	kv.Tx
	key, value []byte
}

func (t supposedTx) Get(key []byte) ([]byte, error) {
	if bytes.Equal(key, t.key) {
		return t.value, nil
	}
	return t.Tx.Get(key)
}

func (t supposedTx) Scan(lo, hi []byte, limit int, fn func(k, v []byte) bool) error {
	return t.Tx.Scan(lo, hi, limit, func(k, v []byte) bool {
		if bytes.Equal(k, t.key) {
			v = t.value
		}
		return fn(k, v)
	})
}
