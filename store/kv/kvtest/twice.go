package kvtest

import (
	"context"
	"errors"

	"upload-service/store/kv"
)

// ErrWrote is what a store made by Twice returns if a transaction's function
// changed a slice that it was handed, which the laws forbid.
var ErrWrote = errors.New("kvtest: fn wrote into a slice it was handed")

var errAgain = errors.New("kvtest: run again")

// Twice wraps a store so that it uses all the freedom the laws give it, for
// tests of code that must bear it. It runs every function of Update and View
// twice, the first time in a transaction that is rolled back, and overwrites
// every slice it handed to a function once the function has returned. It
// reports functions that write into such a slice with ErrWrote.
func Twice(s kv.Store) kv.Store { return twice{s} }

type twice struct{ kv.Store }

// Unwrap returns the store that was wrapped.
func (s twice) Unwrap() kv.Store { return s.Store }

func (s twice) View(ctx context.Context, fn func(kv.Tx) error) error {
	return runTwice(fn, func(fn func(kv.Tx) error) error { return s.Store.View(ctx, fn) })
}

func (s twice) Update(
	ctx context.Context, affinity string, fn func(kv.Tx) error, opts ...kv.Option,
) error {
	return runTwice(fn, func(fn func(kv.Tx) error) error {
		return s.Store.Update(ctx, affinity, fn, opts...)
	})
}

func (s twice) Snapshot(ctx context.Context, fn func(kv.Tx) error) error {
	return s.Store.Snapshot(ctx, func(tx kv.Tx) error { return lend(tx, fn) })
}

// runTwice runs fn in two transactions of transact and aborts the first.
func runTwice(fn func(kv.Tx) error, transact func(func(kv.Tx) error) error) error {
	err := transact(func(tx kv.Tx) error {
		if err := lend(tx, fn); errors.Is(err, ErrWrote) {
			return err
		}
		return errAgain
	})
	if !errors.Is(err, errAgain) {
		return err // fn did not run, panicked or wrote
	}
	return transact(func(tx kv.Tx) error { return lend(tx, fn) })
}

// lend runs fn on copies of what tx hands out, and spoils them afterwards.
func lend(tx kv.Tx, fn func(kv.Tx) error) error {
	l := &lender{Tx: tx}
	err := fn(l)
	for i, p := range l.lent {
		if string(p) != l.were[i] {
			err = ErrWrote
		}
		for j := range p {
			p[j] = 0xDB
		}
	}
	return err
}

// lender is a transaction that hands out copies and remembers them.
type lender struct {
	kv.Tx
	lent [][]byte
	were []string
}

func (l *lender) copy(p []byte) []byte {
	if p == nil {
		return nil
	}
	c := append(make([]byte, 0, len(p)), p...)
	l.lent = append(l.lent, c)
	l.were = append(l.were, string(c))
	return c
}

func (l *lender) Get(key []byte) ([]byte, error) {
	value, err := l.Tx.Get(key)
	return l.copy(value), err
}

func (l *lender) Scan(lo, hi []byte, limit int, fn func(key, value []byte) bool) error {
	return l.Tx.Scan(lo, hi, limit, func(key, value []byte) bool {
		return fn(l.copy(key), l.copy(value))
	})
}
