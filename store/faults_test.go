package store_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"upload-service/store"
	"upload-service/store/blob"
	"upload-service/store/kv"
)

// faults fail calls of the seams below the store. Only what a request does
// itself is failed, which its context tells.
type faults struct {
	mu   sync.Mutex
	plan func(place string) (kind string) // "" lets the call pass; guarded by mu
}

type requested struct{}

// below puts the faults between a store and its parts.
func (f *faults) below(o *store.Options) {
	o.KV, o.Blobs, o.Tree = faultyKV{o.KV, f}, faultyBlobs{o.Blobs, f}, faultyTree{o.Tree, f}
}

func (f *faults) set(plan func(string) string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.plan = plan
}

func (f *faults) at(ctx context.Context, place string) string {
	if ctx.Value(requested{}) == nil {
		return ""
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.plan == nil {
		return ""
	}
	return f.plan(place)
}

// errInjected is in the chain of every injected error.
var errInjected = errors.New("injected")

// Kinds of faults, by the place where they can happen.
var faultKinds = map[string][]string{
	"update": {"full", "broken", "cancelled", "doubt, kept", "doubt, lost", "slow"},
	"view":   {"broken", "cancelled", "slow"},
	"create": {"full", "broken", "cancelled", "left behind", "slow"},
	"delete": {"broken", "half"},
	"open":   {"broken", "cancelled", "slow"},
	"free":   {"broken", "cancelled", "slow"},
	"append": {"full", "broken", "cancelled", "slow"},
	"write":  {"full", "broken", "cancelled", "slow"},
	"sync":   {"full", "broken", "cancelled", "slow"},
	"seal":   {"full", "broken", "cancelled", "sealed", "slow"},
	"tree":   {"broken"},
}

func injected(kind string) error {
	switch kind {
	case "full":
		return fmt.Errorf("%w: %w: %w", errInjected, kv.ErrFull, syscall.ENOSPC)
	case "cancelled":
		return fmt.Errorf("%w: %w", errInjected, context.Canceled)
	}
	return fmt.Errorf("%w: %w", errInjected, syscall.EIO)
}

func slow() { time.Sleep(2 * time.Millisecond) } // is what is tested, nobody waits for it

// TestCloseOnFullDisk: that a full disk keeps the last note from being written is
// no reason to end with an error.
func TestCloseOnFullDisk(t *testing.T) {
	t.Parallel()
	f := &faults{}
	w := newWorld(t, f.below)
	w.mustPut(alice, "f", "1")
	f.set(func(place string) string {
		if place == "update" {
			return "full"
		}
		return ""
	})
	w.ok(w.store.Close(context.WithValue(t.Context(), requested{}, true)))
	f.set(nil)
	var err error
	w.store, err = store.Open(t.Context(), w.opts)
	w.ok(err)
	w.wantFile(alice, "f", "1")
	w.wantClean("after the next start")
}

type faultyKV struct {
	kv.Store
	faults *faults
}

func (k faultyKV) View(ctx context.Context, fn func(kv.Tx) error) error {
	switch kind := k.faults.at(ctx, "view"); kind {
	case "slow":
		slow()
	case "broken", "cancelled":
		return injected(kind)
	}
	return k.Store.View(ctx, fn)
}

func (k faultyKV) Update(
	ctx context.Context, affinity string, fn func(kv.Tx) error, opts ...kv.Option,
) error {
	kind := k.faults.at(ctx, "update")
	switch kind {
	case "cancelled":
		return injected(kind)
	case "slow":
		slow()
	case "full", "broken", "doubt, lost":
		// fn runs, and nothing it wrote is kept.
		err := k.Store.Update(ctx, affinity, func(tx kv.Tx) error {
			if err := fn(tx); err != nil {
				return err
			}
			return injected(kind)
		}, opts...)
		if kind == "doubt, lost" && errors.Is(err, errInjected) {
			err = fmt.Errorf("%w: %w", errInjected, kv.ErrInDoubt)
		}
		return err
	}
	err := k.Store.Update(ctx, affinity, fn, opts...)
	if kind == "doubt, kept" && err == nil {
		err = fmt.Errorf("%w: %w", errInjected, kv.ErrInDoubt)
	}
	return err
}

type faultyBlobs struct {
	blob.Store
	faults *faults
}

func (b faultyBlobs) Create(ctx context.Context, ref blob.Ref, r io.Reader) (int64, error) {
	kind := b.faults.at(ctx, "create")
	switch kind {
	case "slow":
		slow()
	case "full", "broken", "cancelled":
		r = io.MultiReader(io.LimitReader(r, 3), errReader{injected(kind)})
	}
	n, err := b.Store.Create(ctx, ref, r)
	if kind == "left behind" && err == nil { // the disk could not even undo it
		err = injected(kind)
	}
	return n, err
}

func (b faultyBlobs) Open(ctx context.Context, ref blob.Ref, offset, length int64) (io.ReadCloser, error) {
	switch kind := b.faults.at(ctx, "open"); kind {
	case "slow":
		slow()
	case "broken", "cancelled":
		return nil, injected(kind)
	}
	return b.Store.Open(ctx, ref, offset, length)
}

func (b faultyBlobs) Free(ctx context.Context) (int64, error) {
	switch kind := b.faults.at(ctx, "free"); kind {
	case "slow":
		slow()
	case "broken", "cancelled":
		return 0, injected(kind)
	}
	return b.Store.Free(ctx)
}

func (b faultyBlobs) Append(ctx context.Context, ref blob.Ref, offset int64) (blob.Writer, error) {
	switch kind := b.faults.at(ctx, "append"); kind {
	case "slow":
		slow()
	case "full", "broken", "cancelled":
		return nil, injected(kind)
	}
	w, err := b.Store.Append(ctx, ref, offset)
	if err != nil {
		return nil, err
	}
	return faultyWriter{w, ctx, b.faults}, nil
}

// faultyWriter fails for the request that it was made for.
type faultyWriter struct {
	blob.Writer
	ctx    context.Context
	faults *faults
}

func (w faultyWriter) Write(p []byte) (int, error) {
	switch kind := w.faults.at(w.ctx, "write"); kind {
	case "slow":
		slow()
	case "full", "broken", "cancelled": // with half of it written
		n, err := w.Writer.Write(p[:len(p)/2])
		return n, errors.Join(err, injected(kind))
	}
	return w.Writer.Write(p)
}

func (w faultyWriter) Sync() error {
	switch kind := w.faults.at(w.ctx, "sync"); kind {
	case "slow":
		slow()
	case "full", "broken", "cancelled":
		return injected(kind)
	}
	return w.Writer.Sync()
}

func (w faultyWriter) Seal() error {
	kind := w.faults.at(w.ctx, "seal")
	switch kind {
	case "slow":
		slow()
	case "full", "broken", "cancelled":
		return injected(kind)
	}
	err := w.Writer.Seal()
	if kind == "sealed" && err == nil { // it was, but that is not known
		err = injected(kind)
	}
	return err
}

func (b faultyBlobs) Delete(ctx context.Context, refs ...blob.Ref) ([]blob.Ref, error) {
	switch kind := b.faults.at(ctx, "delete"); kind {
	case "broken":
		return nil, injected(kind)
	case "half":
		gone, err := b.Store.Delete(ctx, refs[:len(refs)/2]...)
		return gone, errors.Join(err, injected(kind))
	}
	return b.Store.Delete(ctx, refs...)
}

type faultyTree struct {
	store.Tree
	faults *faults
}

func (t faultyTree) Set(ctx context.Context, slug, path string, ref blob.Ref) error {
	if kind := t.faults.at(context.WithValue(ctx, requested{}, true), "tree"); kind != "" {
		return injected(kind)
	}
	return t.Tree.Set(ctx, slug, path, ref)
}

func (t faultyTree) Remove(ctx context.Context, slug, path string) error {
	if kind := t.faults.at(context.WithValue(ctx, requested{}, true), "tree"); kind != "" {
		return injected(kind)
	}
	return t.Tree.Remove(ctx, slug, path)
}

// TestLeftovers: bytes of a failed request that cannot be removed at once are
// removed by the next sweep, without a restart.
func TestLeftovers(t *testing.T) {
	t.Parallel()
	cases := map[string]func(place string) string{
		"neither commit nor refusal can be recorded": func(place string) string {
			return map[string]string{"update": "full"}[place]
		},
		"the disk fails while writing and removing": func(place string) string {
			return map[string]string{"create": "left behind", "delete": "broken"}[place]
		},
	}
	for name, plan := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &faults{}
			w := newWorld(t, f.below)
			w.mustPut(alice, "kept", "kept") // opens the epoch
			f.set(plan)
			ctx := context.WithValue(t.Context(), requested{}, true)
			in, err := w.store.Receive(ctx, alice, store.Spec{Size: -1})
			w.ok(err)
			if _, err = in.Add(ctx, strings.NewReader("lost"), store.Content{Name: "lost"}); err == nil {
				_, err = in.StoreUpload(ctx, "")
			}
			if err == nil {
				t.Fatal("the upload succeeded")
			}
			in.Close(ctx)
			f.set(nil)
			if r := w.sweep(store.SweepOptions{}); r.Blobs != 1 || len(r.Errors) > 0 || w.blobCount() != 1 {
				t.Errorf("the sweep did %+v, and %d blobs are left; want 1 and 1", r, w.blobCount())
			}
			w.wantClean("after the sweep")
		})
	}
}

// TestDoubtKept: the answer of a commit is lost, but it has happened. What it
// recorded must not be cleaned up as refused.
func TestDoubtKept(t *testing.T) {
	t.Parallel()
	f := &faults{}
	w := newWorld(t, f.below)
	w.mustPut(alice, "before", "opens the epoch")
	used := false
	f.set(func(place string) string {
		if place != "update" || used {
			return ""
		}
		used = true
		return "doubt, kept"
	})
	ctx := context.WithValue(t.Context(), requested{}, true)
	in, err := w.store.Receive(ctx, alice, store.Spec{Size: -1})
	w.ok(err)
	_, err = in.Add(ctx, strings.NewReader("content"), store.Content{Name: "f"})
	w.ok(err)
	if _, _, err = in.StoreFiles(ctx, store.Target{}); !errors.Is(err, kv.ErrInDoubt) {
		t.Fatalf("got %v, want a commit in doubt", err)
	}
	w.ok(in.Close(ctx))
	w.wantFile(alice, "f", "content")
	w.sweep(store.SweepOptions{}) // shows it, too
	w.wantClean("after the sweep")
}
