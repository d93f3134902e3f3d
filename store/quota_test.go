package store_test

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"upload-service/store"
	"upload-service/store/blob"
)

// TestDeclaredSizeIsRefusedFirst: what the head of a request tells is refused
// before a byte of its body, at the edge.
func TestDeclaredSizeIsRefusedFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits = store.Limits{FileSize: 10, OwnerBytes: 15} })
	w.mustPut(alice, "there", "123456")
	for name, c := range map[string]struct {
		spec store.Spec
		want store.Code
	}{
		"the rest of the quota":      {store.Spec{Size: 9}, ""},
		"one byte more":              {store.Spec{Size: 10}, store.CodeQuotaExceeded},
		"the largest file":           {store.Spec{Size: 10, Path: "there"}, ""},
		"one byte larger":            {store.Spec{Size: 11, Path: "there"}, store.CodeTooLarge},
		"no size":                    {store.Spec{Size: -1}, ""},
		"nothing, where all is used": {store.Spec{Size: 0}, ""},
	} {
		w.wantCode(w.store.Admissible(t.Context(), alice, c.spec), c.want, name)
	}
}

// TestQuotaOfLongBodies lets clients without declared sizes, whose bodies take
// many reads, at a quota that fits some of them exactly. They crowd each other
// out in the middle, yet as many as fit get in.
func TestQuotaOfLongBodies(t *testing.T) {
	t.Parallel()
	const size, fit, clients = 300_000, 7, 50
	w := newWorld(t, func(o *store.Options) { o.Limits.OwnerBytes = fit * size })
	var stored atomic.Int32
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			in, err := w.store.Receive(t.Context(), alice, store.Spec{Size: -1})
			if err != nil {
				w.wantCode(err, store.CodeQuotaExceeded, "a refusal before the body")
				return
			}
			defer in.Close(t.Context())
			body := io.LimitReader(letters{}, size)
			if _, err := in.Add(t.Context(), body, store.Content{Name: store.Path(fmt.Sprint(i))}); err != nil {
				w.wantCode(err, store.CodeQuotaExceeded, "a refusal in the body")
				return
			}
			_, _, err = in.StoreFiles(t.Context(), store.Target{})
			w.ok(err)
			stored.Add(1)
		})
	}
	wg.Wait()
	if stored.Load() != fit {
		t.Errorf("stored %d, want %d", stored.Load(), fit)
	}
	w.wantClean("after the race")
}

type letters struct{}

func (letters) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'a'
	}
	return len(p), nil
}

// TestReplacementsNeedNoRoom replaces every file of a full quota at once by
// one of its size.
func TestReplacementsNeedNoRoom(t *testing.T) {
	t.Parallel()
	const files = 20
	limits := store.Limits{OwnerBytes: files * 3, OwnerFiles: files}
	w := newWorld(t, func(o *store.Options) { o.Limits = limits })
	for i := range files {
		w.mustPut(alice, fmt.Sprint(i), "old")
	}
	open := make([]*store.Intake, files)
	for i := range open {
		in, err := w.store.Receive(t.Context(), alice, store.Spec{Size: 3, Path: store.Path(fmt.Sprint(i))})
		w.ok(err)
		open[i] = in
	}
	for i, in := range open {
		_, err := in.Add(t.Context(), strings.NewReader("new"), store.Content{Name: store.Path(fmt.Sprint(i))})
		w.ok(err)
		_, _, err = in.StoreFiles(t.Context(), store.Target{})
		w.ok(err)
		w.ok(in.Close(t.Context()))
	}
	_, err := w.put(alice, "0", "longer")
	w.wantCode(err, store.CodeQuotaExceeded, "a replacement that is larger")
}

// room is a volume with as much room as the test says.
type room struct {
	blob.Store
	free int64
}

func (r *room) Free(context.Context) (int64, error) { return r.free, nil }

// TestAbandonedUploadsLeaveNoTrace gives up and refuses uploads while another
// one runs, and then fills the quota to the byte.
func TestAbandonedUploadsLeaveNoTrace(t *testing.T) {
	t.Parallel()
	const quota = 64
	room := &room{free: quota}
	w := newWorld(t, func(o *store.Options) {
		o.Limits.OwnerBytes, o.Limits.MinFree = quota, 1
		room.Store, o.Blobs = o.Blobs, room
	})
	running, err := w.store.Receive(t.Context(), alice, store.Spec{Size: 0})
	w.ok(err)
	defer running.Close(t.Context())
	for i := range 20 {
		room.free = quota
		_, err := w.store.Receive(t.Context(), alice, store.Spec{Size: quota})
		w.wantCode(err, store.CodeFull, "all that the volume has")
		room.free = 1 << 20
		in, err := w.store.Receive(t.Context(), alice, store.Spec{Size: quota})
		w.ok(err)
		if i%2 == 0 { // refused by its commit
			_, err := in.Add(t.Context(), strings.NewReader(strings.Repeat("x", quota)), store.Content{Name: "f"})
			w.ok(err)
			_, _, err = in.StoreFiles(t.Context(), store.Target{Condition: store.Condition{Exists: true}})
			w.wantCode(err, store.CodePrecondition, "a file that is not there")
		}
		w.ok(in.Close(t.Context()))
	}
	var wg sync.WaitGroup
	for i := range quota {
		wg.Go(func() {
			_, err := w.put(alice, fmt.Sprintf("f%d", i), "x")
			w.wantCode(err, "", "a byte that fits")
		})
	}
	wg.Wait()
	_, err = w.put(alice, "one more", "x")
	w.wantCode(err, store.CodeQuotaExceeded, "one byte more")
}

// TestSizesThatOverflow: with every limit on single files off, a declared size
// must not make the sum with what is there negative, and so pass the quota.
func TestSizesThatOverflow(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits = store.Limits{OwnerBytes: 100} })
	w.mustPut(alice, "there", "1")
	for _, size := range []int64{math.MaxInt64, math.MaxInt64 - 1, 1<<53 + 1} {
		w.wantCode(w.store.Admissible(t.Context(), alice, store.Spec{Size: size}), store.CodeTooLarge, "a file")
		_, err := w.store.BeginUpload(t.Context(), alice, store.Begin{Length: size})
		w.wantCode(err, store.CodeTooLarge, "an upload in pieces")
		u := w.begin(alice, store.Begin{Length: -1})
		u = w.mustAppend(u, "1", store.Piece{})
		_, err = w.appendFrom(u, strings.NewReader("2"), size, store.Piece{Offset: 1})
		w.wantCode(err, store.CodeTooLarge, "a piece")
		_, err = w.append(u, "2", store.Piece{Offset: 1, Length: size})
		w.wantCode(err, store.CodeTooLarge, "a length that comes later")
		w.ok(w.store.DeleteUpload(t.Context(), alice, u.Token))
	}
	_, err := w.store.BeginUpload(t.Context(), alice, store.Begin{Length: 1 << 53})
	w.wantCode(err, store.CodeQuotaExceeded, "the largest size that is compared with the quota")
}

// TestActivePieces: pieces count as uploads that run, and of 50 at once no more
// get in than may. One that is refused leaves its upload as it was.
func TestActivePieces(t *testing.T) {
	t.Parallel()
	const clients, limit = 50, 7
	w := newWorld(t, func(o *store.Options) { o.Limits.OwnerActive = limit })
	uploads := make([]store.Upload, clients)
	for i := range uploads {
		uploads[i] = w.begin(alice, store.Begin{Length: -1})
	}
	bodies := make(chan *io.PipeWriter, clients)
	refused := make(chan error, clients)
	var wg sync.WaitGroup
	for _, u := range uploads {
		wg.Go(func() {
			r, body := io.Pipe()
			bodies <- body
			u, err := w.appendFrom(u, r, -1, store.Piece{Last: store.LastPiece})
			r.CloseWithError(err)
			switch {
			case err != nil:
				refused <- err
				if u.State != store.Receiving || u.Growth.Offset != 0 {
					t.Errorf("a refused piece left %+v", u)
				}
			case u.State != store.Ready:
				t.Errorf("a piece that got in left %+v", u)
			}
		})
	}
	for range clients - limit { // those that are in wait for their bodies
		w.wantCode(<-refused, store.CodeRateLimited, "one too many")
	}
	for range clients {
		body := <-bodies
		if _, err := io.WriteString(body, "x"); err == nil {
			w.ok(body.Close())
		}
	}
	wg.Wait()
	if n := len(refused); n > 0 {
		t.Errorf("%d of those that were in were refused: %v", n, <-refused)
	}
	w.wantClean("after the race")
}
