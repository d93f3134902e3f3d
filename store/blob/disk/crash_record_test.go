package disk_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"upload-service/store"
	"upload-service/store/blob"
	"upload-service/store/blob/disk"
	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
	"upload-service/store/lock"
	"upload-service/store/tree"
)

// The crash test proves the order of the protocols. A real store does a bit of
// everything while each change it makes to the disk is recorded. Then, for
// every moment of that recording and every state in which a crash at that
// moment can leave the disk, the state is built, a real store is opened over
// it, and what was acknowledged must be there and nothing else.

// event is one entry of a recording.
type event struct {
	disk.Call // or, besides its kinds:
	//   commit            a metadata transaction; image is what it left
	//   show, hide        an entry of the visible tree; ref is what it shows
	//   syncTree          what show and hide did is durable
	//   begin, done       of a request; state is what it promises
	image image
	ref   blob.Ref
	state promise
	now   time.Time
}

// image is the metadata file.
type image struct {
	bytes []byte // without the zeros at the end
	size  int64
	sum   [32]byte
}

// readImage reads up to the pages that were never written: bbolt makes the
// file larger than it needs.
func readImage(name string) (i image, err error) {
	f, err := os.Open(name)
	if err != nil {
		return i, err
	}
	defer f.Close()
	page, zeros := make([]byte, 64<<10), make([]byte, 64<<10)
	for {
		n, err := io.ReadFull(f, page)
		if n == 0 || bytes.Equal(page[:n], zeros[:n]) {
			break
		}
		i.bytes = append(i.bytes, page[:n]...)
		if err != nil {
			break
		}
	}
	i.sum = sha256.Sum256(i.bytes)
	info, err := f.Stat()
	if err == nil {
		i.size = info.Size()
	}
	return i, err
}

// promise is what clients were told: contents by path and by token. An upload
// that was to expire may be there or not.
type promise struct {
	files   map[string]string
	uploads map[store.Token]string
}

// recording is the part of the world that takes notes.
type recording struct {
	withImages bool // the metadata, too

	mu     sync.Mutex
	events []event
	clock  time.Time
}

func (r *recording) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clock
}

func (r *recording) advance(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock = r.clock.Add(d)
}

// note makes a change and records it if it happened, with nothing in between.
func (r *recording) note(change func() error, e func() event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := change(); err != nil {
		return err
	}
	n := e()
	n.now = r.clock
	r.events = append(r.events, n)
	return nil
}

func nothing() error { return nil }

// recordedKV notes a commit when it returns: before that its effect is not
// promised, and bbolt makes it atomic.
type recordedKV struct {
	kv.Store
	r    *recording
	file string
}

func (k recordedKV) Update(
	ctx context.Context, affinity string, fn func(kv.Tx) error, opts ...kv.Option,
) error {
	var image image
	return k.r.note(func() (err error) {
		if err = k.Store.Update(ctx, affinity, fn, opts...); err != nil {
			return err
		}
		if k.r.withImages {
			image, err = readImage(k.file)
		}
		return err
	}, func() event { return event{Call: disk.Call{Kind: "commit"}, image: image} })
}

type recordedTree struct {
	*tree.Tree
	r *recording
}

func (t recordedTree) Set(ctx context.Context, slug, name string, ref blob.Ref) error {
	return t.r.note(func() error { return t.Tree.Set(ctx, slug, name, ref) }, func() event {
		return event{Call: disk.Call{Kind: "show", Name: slug + "/" + name}, ref: ref}
	})
}

func (t recordedTree) Remove(ctx context.Context, slug, name string) error {
	return t.r.note(func() error { return t.Tree.Remove(ctx, slug, name) }, func() event {
		return event{Call: disk.Call{Kind: "hide", Name: slug + "/" + name}}
	})
}

func (t recordedTree) Sync(context.Context) error {
	return t.r.note(nothing, func() event { return event{Call: disk.Call{Kind: "syncTree"}} })
}

// service is a real store below a folder, with everything recorded.
type service struct {
	dir   string
	db    *bolt.Store
	blobs *disk.Store
	tree  *tree.Tree
	opts  store.Options
	store *store.Store
}

const (
	crashOwner store.OwnerID = "github:1"
	crashTTL                 = time.Hour
	crashUndo                = 10 * time.Minute
)

func openService(dir string, r *recording) (s *service, err error) {
	s = &service{dir: dir}
	inner := filepath.Join(dir, store.InternalDir)
	meta := filepath.Join(inner, "meta.db")
	if err = os.MkdirAll(inner, 0o700); err != nil {
		return nil, err
	}
	if s.db, err = bolt.Open(meta, bolt.Options{}); err != nil {
		return nil, err
	}
	if s.blobs, err = disk.Open(filepath.Join(inner, "blobs")); err != nil {
		return nil, err
	}
	locks, err := lock.Open(filepath.Join(inner, "locks"))
	if err != nil {
		return nil, err
	}
	if s.tree, err = tree.Open(dir, s.blobs); err != nil {
		return nil, err
	}
	disk.Record(s.blobs, func(c disk.Call, do func() error) error {
		if strings.HasPrefix(c.Kind, "sync") {
			do = nothing // no crash will come; only the order counts
		}
		c.Data = bytes.Clone(c.Data)
		return r.note(do, func() event { return event{Call: c} })
	})
	s.opts = store.Options{
		KV: recordedKV{s.db, r, meta}, Blobs: s.blobs, Tree: recordedTree{s.tree, r}, Locks: locks,
		TemporaryTTL: crashTTL, Undo: crashUndo, Now: r.now, Log: slog.New(slog.DiscardHandler),
	}
	return s, nil
}

func (s *service) close() error {
	return errors.Join(s.tree.Close(), s.blobs.Close(), s.db.Close())
}

// record lets one client do a bit of everything, and returns the events.
func record(t *testing.T) []event {
	t.Helper()
	ok := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	ctx := t.Context()
	r := &recording{withImages: true, clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s, err := openService(t.TempDir(), r)
	ok(err)
	now := promise{map[string]string{}, map[store.Token]string{}}
	request := func(do func(next promise) error) {
		t.Helper()
		ok(r.note(nothing, func() event { return event{Call: disk.Call{Kind: "begin"}} }))
		next := promise{maps.Clone(now.files), maps.Clone(now.uploads)}
		ok(do(next))
		ok(r.note(nothing, func() event { return event{Call: disk.Call{Kind: "done"}, state: next} }))
		now = next
	}
	receive := func(names string, content string) *store.Intake {
		t.Helper()
		in, err := s.store.Receive(ctx, crashOwner, store.Spec{Size: -1})
		ok(err)
		for name := range strings.SplitSeq(names, " ") {
			_, err := in.Add(ctx, strings.NewReader(content), store.Content{Name: store.Path(name)})
			ok(err)
		}
		return in
	}
	put := func(name, content string) (f store.File) {
		t.Helper()
		request(func(next promise) error {
			in := receive(name, content)
			files, _, err := in.StoreFiles(ctx, store.Target{})
			ok(err)
			f, next.files[name] = files[0], content
			return in.Close(ctx)
		})
		return f
	}
	upload := func(names, content string) (u store.Upload) {
		t.Helper()
		request(func(next promise) (err error) {
			in := receive(names, content)
			u, err = in.StoreUpload(ctx, "")
			ok(err)
			next.uploads[u.Token] = content
			return in.Close(ctx)
		})
		return u
	}
	rename := func(id store.FileID, from, to string) {
		t.Helper()
		request(func(next promise) error {
			next.files[to] = next.files[from]
			delete(next.files, from)
			p := store.Path(to)
			_, err := s.store.ChangeFile(ctx, crashOwner, id, store.Change{Path: &p}, store.Condition{})
			return err
		})
	}
	remove := func(name string) {
		t.Helper()
		request(func(next promise) error {
			delete(next.files, name)
			return s.store.DeleteFile(ctx, crashOwner, store.Path(name), store.Condition{})
		})
	}
	sweep := func() {
		t.Helper()
		request(func(promise) error {
			_, err := s.store.Sweep(ctx, store.SweepOptions{})
			return err
		})
	}

	// piece appends to what an upload has.
	piece := func(u store.Upload, made, more string, p store.Piece) {
		t.Helper()
		request(func(next promise) error {
			turn, err := s.store.TakeTurn(ctx, crashOwner, u.Token, nil)
			ok(err)
			defer turn.Release()
			p.Offset, p.Size, p.Length = int64(len(made)), -1, -1
			next.uploads[u.Token] = made + more
			return turn.Append(ctx, strings.NewReader(more), p)
		})
	}
	begin := func(b store.Begin) (u store.Upload) {
		t.Helper()
		request(func(promise) (err error) {
			u, err = s.store.BeginUpload(ctx, crashOwner, b)
			return err
		})
		return u
	}

	// 0. What an earlier service left.
	old := map[string]string{"old": "an earlier service's", "of/old": "another one"}
	for name, content := range old {
		full := filepath.Join(s.dir, "alice", name)
		ok(os.MkdirAll(filepath.Dir(full), 0o755))
		ok(os.WriteFile(full, []byte(content), 0o644))
		ok(r.note(nothing, func() event {
			shown := disk.Call{Kind: "show", Name: "alice/" + name, Data: []byte(content), Mode: 0o644}
			return event{Call: shown, ref: existing("alice/" + name)}
		}))
	}
	ok(r.note(nothing, func() event { return event{Call: disk.Call{Kind: "syncTree", Name: "before"}} }))
	request(func(next promise) error {
		s.store, err = store.Open(ctx, s.opts)
		ok(err)
		maps.Copy(next.files, old)
		return s.adopt(ctx)
	})
	request(func(promise) error {
		_, err := s.store.DigestAdopted(ctx)
		return err
	})
	// 1. Files: new, replaced, deleted, restored, renamed.
	f := put("a/b", "first content")
	put("a/b", "second, longer content")
	g := put("c", "third")
	remove("c")
	request(func(next promise) error {
		next.files["c"] = "third"
		_, err := s.store.RestoreFile(ctx, crashOwner, g.ID)
		return err
	})
	rename(f.ID, "a/b", "a") // a folder becomes a file
	rename(f.ID, "a", "a/b") // and a file a folder
	// 2. Uploads: made permanent, deleted, expired.
	u := upload("x y", "fourth")
	request(func(next promise) error {
		delete(next.uploads, u.Token)
		next.files["p/x"], next.files["p/y"] = "fourth", "fourth"
		_, _, err := s.store.PersistUploads(ctx, crashOwner, store.Persist{
			Tokens: []store.Token{u.Token}, Folder: "p",
		})
		return err
	})
	gone := upload("z", "fifth")
	request(func(next promise) error {
		delete(next.uploads, gone.Token)
		return s.store.DeleteUpload(ctx, crashOwner, gone.Token)
	})
	late := upload("z", "sixth")
	// An upload in pieces, of which one was cut and counts for nothing.
	grown := begin(store.Begin{Name: "grown", Length: -1})
	piece(grown, "", "a piece, ", store.Piece{})
	request(func(promise) error {
		turn, err := s.store.TakeTurn(ctx, crashOwner, grown.Token, nil)
		ok(err)
		defer turn.Release()
		cut := io.MultiReader(strings.NewReader("a piece that ends too early"), iotest.ErrReader(io.ErrUnexpectedEOF))
		err = turn.Append(ctx, cut, store.Piece{Offset: int64(len("a piece, ")), Size: -1, Length: -1, Whole: true})
		if !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("a piece that is cut: %v", err)
		}
		return nil
	})
	piece(grown, "a piece, ", "and the last", store.Piece{Last: store.LastPiece})
	request(func(next promise) error {
		delete(next.uploads, grown.Token)
		next.files["grown"] = "a piece, and the last"
		_, _, err := s.store.PersistUploads(ctx, crashOwner, store.Persist{Tokens: []store.Token{grown.Token}})
		return err
	})
	// Parts that are put together.
	half := begin(store.Begin{Length: 5, Partial: true})
	piece(half, "", "part ", store.Piece{Last: store.AtLength})
	request(func(next promise) error {
		delete(next.uploads, half.Token)
		next.files["whole"] = "part part "
		_, err := s.store.Concatenate(ctx, crashOwner, []store.Token{half.Token, half.Token},
			store.Begin{Name: "whole", Then: &store.Goal{OnConflict: store.Fail}})
		return err
	})
	// Several at once, and what undoes it.
	move, batch := store.NewBatchID(), store.NewBatchID()
	request(func(next promise) error {
		next.files["q/p/x"], next.files["q/p/y"], next.files["q/old"] = next.files["p/x"], next.files["p/y"], next.files["of/old"]
		for _, name := range []string{"p/x", "p/y", "of/old"} {
			delete(next.files, name)
		}
		moved, err := s.store.GetFile(ctx, crashOwner, "of/old")
		ok(err)
		_, err = s.store.MoveFiles(ctx, crashOwner, move, []store.FileID{moved.ID}, []string{"p"}, "q")
		return err
	})
	undo := func(b store.BatchID, files map[string]string) {
		t.Helper()
		request(func(next promise) error {
			clear(next.files)
			maps.Copy(next.files, files)
			_, _, err := s.store.RestoreBatch(ctx, crashOwner, b)
			return err
		})
	}
	kept := maps.Clone(now.files)
	request(func(next promise) error {
		var ids []store.FileID
		for _, name := range []string{"q/old", "whole"} {
			f, err := s.store.GetFile(ctx, crashOwner, store.Path(name))
			ok(err)
			ids = append(ids, f.ID)
			delete(next.files, name)
		}
		return s.store.DeleteFiles(ctx, crashOwner, batch, ids)
	})
	undo(batch, kept)
	kept = maps.Clone(now.files)
	for from, to := range map[string]string{"q/p/x": "p/x", "q/p/y": "p/y", "q/old": "of/old"} {
		kept[to] = kept[from]
		delete(kept, from)
	}
	undo(move, kept)
	remove("old")
	// 3. Refused after the bytes: before and in the transaction.
	request(func(promise) error {
		in := receive("refused", "seventh")
		_, err := in.Add(ctx, strings.NewReader("x"), store.Content{Name: "too", SHA256: make([]byte, 32)})
		if store.CodeOf(err) != store.CodeBadDigest {
			t.Errorf("a wrong digest: %v", err)
		}
		return in.Close(ctx)
	})
	request(func(promise) error {
		in := receive("p", "eighth")
		if _, _, err := in.StoreFiles(ctx, store.Target{}); store.CodeOf(err) != store.CodeConflict {
			t.Errorf("a file where a folder is: %v", err)
		}
		return in.Close(ctx)
	})
	// 4. The sweep, twice: of what is due, and of nothing.
	remove("p/x")
	request(func(next promise) error {
		delete(next.uploads, late.Token)
		r.advance(2 * crashTTL)
		_, err := s.store.Sweep(ctx, store.SweepOptions{})
		return err
	})
	sweep()
	// 5. A start after a crash in the middle of an upload.
	receive("lost", "ninth")
	ok(s.store.Close(ctx))
	s.store, err = store.Open(ctx, s.opts)
	ok(err)
	put("c", "tenth")
	remove("a/b")
	r.advance(2 * crashTTL)
	sweep()
	ok(s.store.Close(ctx))
	ok(s.close())
	if got := entries(t, filepath.Join(s.dir, store.InternalDir, "displaced")); len(got) > 0 {
		t.Errorf("without any crash, %q was moved aside", got)
	}
	return r.events
}

// adopt takes over what an earlier service left, and leaves nothing.
func (s *service) adopt(ctx context.Context) error {
	root, err := os.OpenRoot(s.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	var left []error
	a, err := s.store.BeginAdoption(ctx, store.AdoptOptions{
		Root:    root,
		Resolve: func(context.Context, string) (store.OwnerID, error) { return crashOwner, nil },
		Left:    func(name, reason string) { left = append(left, fmt.Errorf("%s is left: %s", name, reason)) },
	})
	if err == nil {
		_, err = a.Run(ctx)
	}
	return errors.Join(append(left, err)...)
}

// entries are the names below a folder that may be absent.
func entries(t testing.TB, dir string) (names []string) {
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err == nil && name != dir {
			names = append(names, strings.TrimPrefix(name, dir))
		}
		return err
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	return names
}
