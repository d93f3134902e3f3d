package store_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"upload-service/store"
)

// churn lets several clients do everything at once, on paths that collide.
func churn(w *world, clients, steps int) {
	var wg sync.WaitGroup
	for n := range clients {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(7, uint64(n)))
			ctx := w.t.Context()
			owner := []store.OwnerID{alice, bob}[n%2]
			for range steps {
				path := fmt.Sprintf("%c/%c", 'a'+rune(rng.IntN(2)), 'a'+rune(rng.IntN(3)))
				switch rng.IntN(8) {
				case 0, 1:
					w.put(owner, path, path) //nolint:errcheck // refusals are part of it
				case 2:
					w.store.DeleteFile(ctx, owner, store.Path(path), store.Condition{}) //nolint:errcheck // likewise
				case 3:
					if u, err := w.upload(owner, "x", "yy"); err == nil {
						w.store.PersistUploads(ctx, owner, store.Persist{Tokens: []store.Token{u.Token}, Folder: "a", OnConflict: store.Replace}) //nolint:errcheck // likewise
					}
				case 4:
					if u, err := w.upload(owner, "z"); err == nil && rng.IntN(2) == 0 {
						w.store.DeleteUpload(ctx, owner, u.Token) //nolint:errcheck // likewise
					}
				case 5:
					if f, err := w.store.GetFile(ctx, owner, store.Path(path)); err == nil {
						to := store.Path(path + "x")
						w.store.ChangeFile(ctx, owner, f.ID, store.Change{Path: &to}, store.Condition{}) //nolint:errcheck // likewise
						w.store.RestoreFile(ctx, owner, f.ID)                                            //nolint:errcheck // likewise
					}
				case 6:
					w.clock.advance(time.Minute)
				case 7:
					if _, err := w.store.Sweep(ctx, store.SweepOptions{}); err != nil {
						w.t.Errorf("sweep: %v", err)
					}
				}
			}
		})
	}
	wg.Wait()
}

// TestInvariant2: no record without its blob, and one sweep later no blob
// without a record.
func TestInvariant2(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	churn(w, 6, 60)
	w.wantNoFindings("no record without its blob")
	w.clock.advance(2 * ttl)
	w.sweep(store.SweepOptions{})
	w.wantClean("one sweep later")
	files := w.usage(alice).Files + w.usage(bob).Files
	if n := w.blobCount(); int64(n) != files {
		t.Errorf("%d blobs for %d files", n, files)
	}
}

// TestInvariant4: the counters equal the sum of what they count, at every
// moment and within the quota.
func TestInvariant4(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits = store.Limits{OwnerBytes: 40, OwnerFiles: 9} })
	for range 5 {
		churn(w, 6, 15)
		for _, o := range []store.OwnerID{alice, bob} {
			var sum store.Usage
			page, err := w.store.ListFiles(t.Context(), o, store.Query{Limit: 1000, Sort: store.ByPath})
			w.ok(err)
			for _, f := range page.Files {
				sum.Files++
				sum.FileBytes += f.Size
			}
			got := w.usage(o)
			if got.Files != sum.Files || got.FileBytes != sum.FileBytes {
				t.Errorf("%s: counted %+v, there is %+v", o, got, sum)
			}
			if got.Bytes() > 40 || got.Count() > 9 {
				t.Errorf("%s: %+v is over the quota", o, got)
			}
		}
		w.wantNoFindings("the counters")
	}
}
