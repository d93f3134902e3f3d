package store_test

import (
	"bytes"
	"context"
	"sync"
	"testing"

	"upload-service/store"
	"upload-service/store/kv"
)

// BenchmarkPieces has 64 clients append pieces of 64 KiB, each to an upload of
// its own: with commits that are shared, and with one db.Update for each.
func BenchmarkPieces(b *testing.B) {
	for name, change := range map[string]func(*world){
		"shared": func(w *world) { w.opts.KV = w.kv },
		"alone":  func(w *world) { w.opts.KV = &alone{Store: w.kv} },
	} {
		b.Run(name, func(b *testing.B) {
			w := newWorld(b)
			w.ok(w.store.Close(b.Context()))
			change(w)
			var err error
			w.store, err = store.Open(b.Context(), w.opts)
			w.ok(err)
			piece := bytes.Repeat([]byte("0123456789abcdef"), 4<<10)
			b.SetBytes(int64(len(piece)))
			var wg sync.WaitGroup
			next := make(chan struct{}, b.N)
			for range b.N {
				next <- struct{}{}
			}
			close(next)
			b.ResetTimer()
			for range 64 {
				u := w.begin(alice, store.Begin{Length: -1})
				wg.Go(func() {
					for range next {
						turn, err := w.store.TakeTurn(b.Context(), alice, u.Token, nil)
						if err == nil {
							err = turn.Append(b.Context(), bytes.NewReader(piece), store.Piece{
								Offset: turn.Upload().Growth.Offset, Size: int64(len(piece)), Length: -1,
							})
							turn.Release()
						}
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
		})
	}
}

// alone lets no two updates share a commit.
type alone struct {
	kv.Store
	mu sync.Mutex
}

func (a *alone) Update(ctx context.Context, affinity string, fn func(kv.Tx) error, opts ...kv.Option) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.Store.Update(ctx, affinity, fn, opts...)
}
