package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"upload-service/store"
)

func TestPutAndReplace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.mustPut(alice, "docs/a.txt", "one")
	w.wantFile(alice, "docs/a.txt", "one")
	second := w.mustPut(alice, "docs/a.txt", "three")
	w.wantFile(alice, "docs/a.txt", "three")
	if second.ID != first.ID || second.Version != 2 || second.ETag() == first.ETag() {
		t.Errorf("a replacement keeps the id and counts up: %s then %s", first.ETag(), second.ETag())
	}
	if got, want := w.usage(alice), (store.Usage{Files: 1, FileBytes: 5}); got != want {
		t.Errorf("usage: got %+v, want %+v", got, want)
	}
	if _, code := w.read(bob, "docs/a.txt"); code != store.CodeNotFound {
		t.Errorf("another owner reads the file: %s", code)
	}
	w.wantNoFindings("after a replacement")
}

func TestShape(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustPut(alice, "a/b", "x")
	_, err := w.put(alice, "a", "x")
	w.wantCode(err, store.CodeConflict, "a file where a folder is")
	_, err = w.put(alice, "a/b/c", "x")
	w.wantCode(err, store.CodeConflict, "a file below a file")
	w.mustPut(alice, "a/bc", "x") // shares bytes of the name, not a folder
	if n := w.blobCount(); n != 2 {
		t.Errorf("refused uploads left blobs: got %d, want 2", n)
	}
	w.wantClean("after refusals")
}

func TestConditions(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := t.Context()
	put := func(cond store.Condition) error {
		in, err := w.store.Receive(ctx, alice, store.Spec{Size: 1})
		w.ok(err)
		defer in.Close(ctx)
		_, err = in.Add(ctx, strings.NewReader("x"), store.Content{Name: "f"})
		w.ok(err)
		_, _, err = in.StoreFiles(ctx, store.Target{Condition: cond})
		return err
	}
	w.wantCode(put(store.Condition{Exists: true}), store.CodePrecondition, "If-Match: * on nothing")
	w.wantCode(put(store.Condition{Absent: true}), "", "If-None-Match: * on nothing")
	w.wantCode(put(store.Condition{Absent: true}), store.CodePrecondition, "If-None-Match: * on a file")
	f, err := w.store.GetFile(ctx, alice, "f")
	w.ok(err)
	w.wantCode(put(store.Condition{Match: []string{`"other"`}}), store.CodePrecondition, "another ETag")
	w.wantCode(put(store.Condition{Match: []string{f.ETag()}}), "", "the ETag")
	w.wantCode(put(store.Condition{Match: []string{f.ETag()}}), store.CodePrecondition, "the ETag of before")
	w.wantCode(put(store.Condition{Match: []string{}}), store.CodePrecondition, "a list that matches nothing")
}

func TestRefusedLeavesNothing(t *testing.T) {
	t.Parallel()
	broken := errors.New("the line went dead")
	cases := map[string]struct {
		body    io.Reader
		content store.Content
		limits  store.Limits
		want    store.Code
	}{
		"too large":      {body: strings.NewReader("123456"), limits: store.Limits{FileSize: 5}, want: store.CodeTooLarge},
		"over quota":     {body: strings.NewReader("123456"), limits: store.Limits{OwnerBytes: 5}, want: store.CodeQuotaExceeded},
		"wrong sha-256":  {body: strings.NewReader("x"), content: store.Content{SHA256: make([]byte, 32)}, want: store.CodeBadDigest},
		"wrong sha-512":  {body: strings.NewReader("x"), content: store.Content{SHA512: make([]byte, 64)}, want: store.CodeBadDigest},
		"short digest":   {body: strings.NewReader("x"), content: store.Content{SHA256: []byte{1}}, want: store.CodeBadDigest},
		"client is gone": {body: io.MultiReader(strings.NewReader("x"), errReader{broken}), want: store.CodeInternal},
		"disk reserve":   {body: strings.NewReader("x"), limits: store.Limits{MinFree: 1 << 62}, want: store.CodeFull},
		"no files left":  {body: strings.NewReader("x"), limits: store.Limits{OwnerFiles: 1}, want: store.CodeQuotaExceeded},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, func(o *store.Options) { o.Limits = c.limits })
			ctx := t.Context()
			err := func() error {
				in, err := w.store.Receive(ctx, alice, store.Spec{Size: -1})
				if err != nil {
					return err
				}
				defer in.Close(ctx)
				c.content.Name = "f"
				if _, err := in.Add(ctx, c.body, c.content); err != nil {
					return err
				}
				if _, err := in.Add(ctx, strings.NewReader("y"), store.Content{Name: "g"}); err != nil {
					return err
				}
				_, _, err = in.StoreFiles(ctx, store.Target{})
				return err
			}()
			w.wantCode(err, c.want, name)
			if name == "client is gone" && !errors.Is(err, broken) {
				t.Errorf("the reader's error is lost: %v", err)
			}
			if n := w.blobCount(); n != 0 {
				t.Errorf("%d blobs are left", n)
			}
			if got := w.usage(alice); got != (store.Usage{}) {
				t.Errorf("usage is left: %+v", got)
			}
			w.wantClean(name)
		})
	}
}

type errReader struct{ err error }

func (r errReader) Read([]byte) (int, error) { return 0, r.err }

// TestQuotaUnderRaces lets 50 clients at a quota that fits exactly 20 of
// their uploads, with and without declared sizes: 20 get in, however they
// race, and the counters never pass the limit.
func TestQuotaUnderRaces(t *testing.T) {
	t.Parallel()
	for name, declared := range map[string]bool{"declared": true, "undeclared": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			const size, fit, clients = 1000, 20, 50
			w := newWorld(t, func(o *store.Options) { o.Limits.OwnerBytes = fit * size })
			var stored, refused atomic.Int32
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() {
					ctx := context.Background()
					spec := store.Spec{Size: -1}
					if declared {
						spec.Size = size
					}
					err := func() error {
						in, err := w.store.Receive(ctx, alice, spec)
						if err != nil {
							return err
						}
						defer in.Close(ctx)
						body := bytes.NewReader(make([]byte, size))
						if _, err := in.Add(ctx, body, store.Content{Name: store.Path(fmt.Sprintf("f%d", i))}); err != nil {
							return err
						}
						_, _, err = in.StoreFiles(ctx, store.Target{})
						return err
					}()
					switch store.CodeOf(err) {
					case "":
						stored.Add(1)
					case store.CodeQuotaExceeded:
						refused.Add(1)
					default:
						t.Errorf("unexpected: %v", err)
					}
				})
			}
			wg.Wait()
			if stored.Load() != fit || refused.Load() != clients-fit {
				t.Errorf("stored %d and refused %d, want %d and %d", stored.Load(), refused.Load(), fit, clients-fit)
			}
			if got := w.usage(alice).Bytes(); got != fit*size {
				t.Errorf("used %d bytes, want %d", got, fit*size)
			}
			if n := w.blobCount(); n != fit {
				t.Errorf("%d blobs, want %d", n, fit)
			}
			w.wantClean("after the race")
		})
	}
}

// TestQuotaToTheByte fills the quota exactly, many times in a row: a
// reservation that is given back a moment too late would refuse.
func TestQuotaToTheByte(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits.OwnerBytes = 64 })
	var wg sync.WaitGroup
	for i := range 64 {
		wg.Go(func() {
			if _, err := w.put(alice, fmt.Sprintf("f%d", i), "x"); err != nil {
				t.Errorf("upload %d: %v", i, err)
			}
		})
	}
	wg.Wait()
	_, err := w.put(alice, "one more", "x")
	w.wantCode(err, store.CodeQuotaExceeded, "one byte more")
	_, err = w.put(alice, "f0", "y") // replaces a byte by a byte
	w.wantCode(err, "", "a replacement of the same size")
}

func TestActiveUploads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(o *store.Options) { o.Limits.OwnerActive = 2 })
	ctx := t.Context()
	var open []*store.Intake
	for range 2 {
		in, err := w.store.Receive(ctx, alice, store.Spec{Size: -1})
		w.ok(err)
		open = append(open, in)
	}
	_, err := w.store.Receive(ctx, alice, store.Spec{Size: -1})
	w.wantCode(err, store.CodeRateLimited, "the third at once")
	other, err := w.store.Receive(ctx, bob, store.Spec{Size: -1})
	w.wantCode(err, "", "another owner")
	w.ok(other.Close(ctx))
	w.ok(open[0].Close(ctx))
	w.ok(open[0].Close(ctx)) // twice is fine
	third, err := w.store.Receive(ctx, alice, store.Spec{Size: -1})
	w.wantCode(err, "", "when one is done")
	w.ok(third.Close(ctx))
	w.ok(open[1].Close(ctx))
}

// TestRecoveryRemovesUnfinished leaves a content without a record, as a crash
// does, and opens the store again.
func TestRecoveryRemovesUnfinished(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustPut(alice, "kept", "kept")
	in, err := w.store.Receive(t.Context(), alice, store.Spec{Size: -1})
	w.ok(err)
	_, err = in.Add(t.Context(), strings.NewReader("lost"), store.Content{Name: "lost"})
	w.ok(err)
	if n := w.blobCount(); n != 2 {
		t.Fatalf("got %d blobs, want 2", n)
	}
	findings, waiting := w.check(store.CheckOptions{}) // opens the store again
	if len(findings) != 0 || len(waiting) != 1 {
		t.Errorf("findings %q, waiting %q: want none and one", findings, waiting)
	}
	if n := w.blobCount(); n != 1 {
		t.Errorf("recovery left %d blobs, want 1", n)
	}
	w.wantFile(alice, "kept", "kept")
	w.wantClean("after recovery")
}

func TestEpochsEnd(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.mustPut(alice, "a", "a")
	w.clock.advance(2 * time.Hour)
	second := w.mustPut(alice, "b", "b")
	if first.Blob.Epoch() == second.Blob.Epoch() {
		t.Error("an epoch lasts longer than an hour")
	}
}
