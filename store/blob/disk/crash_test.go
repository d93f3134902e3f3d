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
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"upload-service/store"
	"upload-service/store/blob"
	"upload-service/store/blob/disk"
	"upload-service/store/kv"
	"upload-service/store/kv/bolt"
	"upload-service/store/lock"
	"upload-service/store/tree"
)

// This file proves the order of the protocols. A real store does a bit of
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

func (k recordedKV) Update(ctx context.Context, affinity string, fn func(kv.Tx) error, opts ...kv.Option) error {
	var image image
	return k.r.note(func() (err error) {
		if err = k.Store.Update(ctx, affinity, fn, opts...); err != nil {
			return err
		}
		image, err = readImage(k.file)
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
	r := &recording{clock: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s, err := openService(t.TempDir(), r)
	ok(err)
	s.store, err = store.Open(ctx, s.opts)
	ok(err)
	_, err = s.store.EnsureOwner(ctx, crashOwner, "alice")
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
		_, _, err := s.store.PersistUploads(ctx, crashOwner, store.Persist{Tokens: []store.Token{u.Token}, Folder: "p"})
		return err
	})
	gone := upload("z", "fifth")
	request(func(next promise) error {
		delete(next.uploads, gone.Token)
		return s.store.DeleteUpload(ctx, crashOwner, gone.Token)
	})
	late := upload("z", "sixth")
	// 3. Refused after the bytes: before and in the transaction.
	request(func(promise) error {
		in := receive("refused", "seventh")
		_, err := in.Add(ctx, strings.NewReader("x"), store.Content{Name: "refused too", SHA256: make([]byte, 32)})
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

// What a crash may take away.
type loss string

const (
	// kill: every call that returned has happened.
	kill loss = "kill"
	// journal: power loss on a file system that keeps the order of changes to
	// names and makes all earlier ones durable with any sync (ext4, xfs). Of
	// bytes not synced any beginning may be there.
	journal loss = "power loss, ordered journal"
	// strict: power loss where POSIX is taken by the word. Bytes are there if
	// the file was synced, a name if its folder was; else each for itself may
	// be there or not, and bytes may be wrong.
	strict loss = "power loss, strict POSIX"
)

// inode is a file or, with names, a folder.
type inode struct {
	data   []byte
	synced bool
	names  folder
}

// folder has, for each name, what it may lead to after a crash: what was
// durable first, then each change since. nil is absence.
type folder map[string][]*inode

func (f folder) set(name string, n *inode) {
	if f[name] == nil {
		f[name] = []*inode{nil}
	}
	f[name] = append(f[name], n)
}

func (f folder) sync() {
	for name, history := range f {
		f[name] = history[len(history)-1:]
	}
}

func last[T any](s []T) (v T) {
	if len(s) > 0 {
		v = s[len(s)-1]
	}
	return v
}

// replay applies events to what the disk holds and may hold.
type replay struct {
	root  folder                // blobs/
	tree  map[string][]blob.Ref // like a folder's history; "" is absence
	bytes map[blob.Ref][]byte   // of every blob there ever was
	image image
}

func newReplay() *replay {
	return &replay{root: folder{}, tree: map[string][]blob.Ref{}, bytes: map[blob.Ref][]byte{}}
}

func (r *replay) apply(e event) {
	dir, _ := path.Split(e.Name)
	var in folder
	if dir != "" {
		if d := last(r.root[path.Clean(dir)]); d != nil {
			in = d.names
		}
	}
	switch e.Kind {
	case "mkdir":
		r.root.set(e.Name, &inode{names: folder{}})
	case "rmdir":
		r.root.set(e.Name, nil)
	case "create":
		in.set(path.Base(e.Name), &inode{})
	case "write":
		n := last(in[path.Base(e.Name)])
		n.data, n.synced = append(n.data, e.Data...), false
		r.bytes[blob.Ref(e.Name)] = n.data
	case "sync":
		last(in[path.Base(e.Name)]).synced = true
	case "unlink":
		if in != nil { // else a mistake has moved it
			in.set(path.Base(e.Name), nil)
		}
	case "syncDir":
		if e.Name == "." {
			r.root.sync()
		} else if d := last(r.root[e.Name]); d != nil {
			d.names.sync()
		}
	case "show", "hide":
		if r.bytes[e.ref] == nil {
			r.bytes[e.ref] = e.Data // of a recording that begins in the middle
		}
		if r.tree[e.Name] == nil {
			r.tree[e.Name] = []blob.Ref{""}
		}
		r.tree[e.Name] = append(r.tree[e.Name], e.ref)
	case "syncTree":
		for name, history := range r.tree {
			r.tree[name] = history[len(history)-1:]
		}
	case "commit":
		r.image = e.image
	}
}

// state is one thing that a start can find.
type state struct {
	image   image
	folders []string
	blobs   map[string][]byte
	tree    map[string]blob.Ref
	bytes   map[blob.Ref][]byte
}

// latest is the state without any loss.
func (r *replay) latest() state {
	s := state{image: r.image, blobs: map[string][]byte{}, tree: map[string]blob.Ref{}, bytes: r.bytes}
	for epoch, history := range r.root {
		if d := last(history); d != nil {
			s.addFolder(epoch)
			for id, history := range d.names {
				if n := last(history); n != nil {
					s.blobs[epoch+"/"+id] = n.data
				}
			}
		}
	}
	for name, history := range r.tree {
		s.show(name, last(history))
	}
	return s
}

func (s *state) addFolder(epoch string) { s.folders = append(slices.Clone(s.folders), epoch) }

func (s *state) show(name string, ref blob.Ref) {
	if ref != "" {
		s.tree[name] = ref
	}
}

// with is a copy of s that differs in one thing.
func (s state) with(change func(*state)) state {
	s.blobs, s.tree = maps.Clone(s.blobs), maps.Clone(s.tree)
	change(&s)
	return s
}

// torn are the contents that an unsynced file may have.
func torn(n *inode, garbage bool) [][]byte {
	variants := [][]byte{n.data}
	if n.synced || len(n.data) == 0 {
		return variants
	}
	variants = append(variants, nil, n.data[:len(n.data)/2])
	if garbage {
		variants = append(variants, make([]byte, len(n.data)))
	}
	return variants
}

// strictStates are all combinations of what may be lost among the blobs, each
// with the latest tree; and with the latest blobs, each tree in which one entry
// or all of them are older.
func (r *replay) strictStates(yield func(state) bool) {
	// 1. The blobs.
	states := []state{{image: r.image, blobs: map[string][]byte{}, tree: map[string]blob.Ref{}, bytes: r.bytes}}
	for name, history := range r.tree {
		states[0].show(name, last(history))
	}
	for _, epoch := range slices.Sorted(maps.Keys(r.root)) {
		var more []state
		for _, d := range distinct(r.root[epoch]) {
			if d == nil {
				more = append(more, states...)
				continue
			}
			branch := make([]state, len(states))
			for i, s := range states {
				branch[i] = s.with(func(s *state) { s.addFolder(epoch) })
			}
			for _, id := range slices.Sorted(maps.Keys(d.names)) {
				var next []state
				for _, n := range distinct(d.names[id]) {
					if n == nil {
						next = append(next, branch...)
						continue
					}
					for _, content := range torn(n, true) {
						for _, s := range branch {
							next = append(next, s.with(func(s *state) { s.blobs[epoch+"/"+id] = content }))
						}
					}
				}
				branch = next
			}
			more = append(more, branch...)
		}
		states = more
	}
	for _, s := range states {
		if !yield(s) {
			return
		}
	}
	// 2. The tree.
	latest := r.latest()
	oldest := latest.with(func(s *state) {
		clear(s.tree)
		for name, history := range r.tree {
			s.show(name, history[0])
		}
	})
	if oldest.plausible() && !yield(oldest) {
		return
	}
	for name, history := range r.tree {
		for _, ref := range distinct(history) {
			s := latest.with(func(s *state) { delete(s.tree, name); s.show(name, ref) })
			if s.plausible() && !yield(s) {
				return
			}
		}
	}
}

func distinct[T comparable](list []T) (set []T) {
	for _, v := range list {
		if !slices.Contains(set, v) {
			set = append(set, v)
		}
	}
	return set
}

// plausible: a name is not a file and a folder at once.
func (s *state) plausible() bool {
	for name := range s.tree {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if _, is := s.tree[dir]; is {
				return false
			}
		}
	}
	return true
}

// states yields every state in which a crash after the events can leave the
// disk.
func states(events []event, by loss, yield func(state) bool) {
	r := newReplay()
	switch by {
	case kill:
		for _, e := range events {
			r.apply(e)
		}
		yield(r.latest())
	case strict:
		for _, e := range events {
			r.apply(e)
		}
		r.strictStates(yield)
	case journal:
		// Changes of names since the last sync are lost from some point on.
		barrier := 0
		for i, e := range events {
			if e.Kind == "sync" || e.Kind == "syncDir" || e.Kind == "syncTree" {
				barrier = i
			}
		}
		for cut := barrier; cut <= len(events); cut++ {
			r := newReplay()
			for i, e := range events {
				names := e.Kind != "write" && e.Kind != "sync" && e.Kind != "commit"
				if i < cut || !names && (e.Kind != "write" || r.exists(e.Name)) {
					r.apply(e)
				}
			}
			s := r.latest()
			for _, lost := range r.unsynced() {
				for _, content := range torn(lost.inode, false) {
					if !yield(s.with(func(s *state) { s.blobs[lost.name] = content })) {
						return
					}
				}
			}
			if !yield(s) {
				return
			}
		}
	}
}

func (r *replay) exists(name string) bool {
	dir, id := path.Split(name)
	d := last(r.root[path.Clean(dir)])
	return d != nil && last(d.names[id]) != nil
}

type unsynced struct {
	name  string
	inode *inode
}

func (r *replay) unsynced() (list []unsynced) {
	for epoch, history := range r.root {
		if d := last(history); d != nil {
			for id, history := range d.names {
				if n := last(history); n != nil && !n.synced {
					list = append(list, unsynced{epoch + "/" + id, n})
				}
			}
		}
	}
	return list
}

// key tells states apart.
func (s *state) key() [32]byte {
	h := sha256.New()
	slices.Sort(s.folders)
	fmt.Fprintf(h, "%x %q", s.image.sum, s.folders)
	for _, name := range slices.Sorted(maps.Keys(s.blobs)) {
		fmt.Fprintf(h, "%q %q", name, s.blobs[name])
	}
	for _, name := range slices.Sorted(maps.Keys(s.tree)) {
		fmt.Fprintf(h, "%q %q", name, s.tree[name])
	}
	return [32]byte(h.Sum(nil))
}

// build makes the state real below dir.
func (s *state) build(dir string) error {
	inner := filepath.Join(dir, store.InternalDir)
	blobs := filepath.Join(inner, "blobs")
	if err := os.MkdirAll(blobs, 0o700); err != nil {
		return err
	}
	if s.image.size > 0 {
		meta := filepath.Join(inner, "meta.db")
		err := errors.Join(os.WriteFile(meta, s.image.bytes, 0o600), os.Truncate(meta, s.image.size))
		if err != nil {
			return err
		}
	}
	for _, epoch := range s.folders {
		if err := os.Mkdir(filepath.Join(blobs, epoch), 0o700); err != nil {
			return err
		}
	}
	for name, content := range s.blobs {
		if err := os.WriteFile(filepath.Join(blobs, name), content, 0o444); err != nil {
			return err
		}
	}
	for name, ref := range s.tree {
		entry := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(entry), 0o755); err != nil {
			return err
		}
		err := os.Link(filepath.Join(blobs, string(ref)), entry)
		if errors.Is(err, fs.ErrNotExist) { // the tree has the last name of these bytes
			err = os.WriteFile(entry, s.bytes[ref], 0o444)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// examine starts a store over a state and returns what is wrong afterwards,
// and what it did.
func (s *state) examine(t testing.TB, now time.Time, before, after promise) (wrong []string, did []event) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	dir := t.TempDir()
	if err := s.build(dir); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)

	// 1. Recovery.
	ctx := context.Background()
	r := &recording{clock: now}
	v, err := openService(dir, r)
	if err != nil {
		return []string{err.Error()}, nil
	}
	defer v.close()
	reopen := func() {
		if v.store, err = store.Open(ctx, v.opts); err != nil {
			complain("open: %v", err)
		}
	}
	check := func(when string, waitingToo bool) {
		if err := v.store.Close(ctx); err != nil {
			complain("close: %v", err)
		}
		_, err := store.Check(ctx, v.opts, store.CheckOptions{Content: true}, func(finding bool, what string) {
			if finding || waitingToo {
				complain("%s: %s", when, what)
			}
		})
		if err != nil {
			complain("check: %v", err)
		}
	}
	if reopen(); err != nil {
		return wrong, r.events
	}
	// 2. What was acknowledged is there; what was being done, or not yet.
	got, err := v.look(ctx, before, after)
	if err != nil {
		complain("%v", err)
	}
	if !maps.Equal(got.files, before.files) && !maps.Equal(got.files, after.files) {
		complain("there is %v, promised was %v, and %v was asked", got.files, before.files, after.files)
	}
	for token, content := range before.uploads {
		if after.uploads[token] == content && got.uploads[token] != content {
			complain("the upload of %q is lost", content)
		}
	}
	check("after recovery", false)
	// 3. A sweep later there is nothing else.
	if reopen(); err != nil {
		return wrong, r.events
	}
	r.advance(2 * crashTTL)
	for range 2 { // what the first discarded has its tombstones removed by the second
		if report, err := v.store.Sweep(ctx, store.SweepOptions{}); err != nil || len(report.Errors) > 0 {
			complain("sweep: %v %q", err, report.Errors)
		}
		r.advance(2 * crashTTL)
	}
	check("after the sweep", true)
	for _, inner := range []string{"tmp", "displaced"} {
		if left := entries(t, filepath.Join(dir, store.InternalDir, inner)); len(left) > 0 {
			complain("%s is left in %s", left, inner)
		}
	}
	return wrong, r.events
}

// look reads everything that was promised through the front door.
func (v *service) look(ctx context.Context, promises ...promise) (promise, error) {
	got := promise{map[string]string{}, map[store.Token]string{}}
	read := func(r io.ReadCloser, err error) (string, error) {
		if err != nil {
			return "", err
		}
		defer r.Close()
		b, err := io.ReadAll(r)
		return string(b), err
	}
	page, err := v.store.ListFiles(ctx, crashOwner, store.Query{Limit: 1000})
	if err != nil {
		return got, err
	}
	for _, f := range page.Files {
		if got.files[string(f.Path)], err = read(v.store.OpenFile(ctx, f, 0, -1)); err != nil {
			return got, fmt.Errorf("read %s: %w", f.Path, err)
		}
	}
	for _, p := range promises {
		for token := range p.uploads {
			u, err := v.store.GetUpload(ctx, crashOwner, token)
			if err != nil || u.State != store.Ready {
				continue
			}
			if got.uploads[token], err = read(v.store.OpenPart(ctx, u.Parts[0], 0, -1)); err != nil {
				return got, fmt.Errorf("read an upload: %w", err)
			}
		}
	}
	return got, nil
}

// checker examines states and collects what is wrong.
type checker struct {
	t      testing.TB
	by     loss
	enough int  // violations after which it stops
	twice  bool // a second crash comes while the first is recovered from

	mu      sync.Mutex
	checked int
	wrong   []string
	stop    chan struct{}
}

func newChecker(t testing.TB, by loss, enough int) *checker {
	return &checker{t: t, by: by, enough: enough, stop: make(chan struct{})}
}

// run examines every state after each of the events from the first on, each
// different one once.
func (c *checker) run(events []event, first int) {
	type job struct {
		n             int
		state         state
		before, after promise
	}
	jobs := make(chan job)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for j := range jobs {
				e := events[j.n-1]
				wrong, did := j.state.examine(c.t, e.now, j.before, j.after)
				if len(wrong) > 0 {
					c.violated(fmt.Sprintf("%s after event %d, %s %s: %s",
						c.by, j.n, e.Kind, e.Name, strings.Join(wrong, "; ")))
				}
				c.mu.Lock()
				c.checked++
				c.mu.Unlock()
				if c.twice {
					second := newChecker(c.t, c.by, 1)
					start := j.state.events(e.now, j.before)
					all := append(append(start, did...), event{Call: disk.Call{Kind: "done"}, state: j.after, now: e.now})
					second.run(all, len(start))
					c.mu.Lock()
					c.checked += second.checked
					c.mu.Unlock()
					for _, w := range second.wrong {
						c.violated(fmt.Sprintf("%s after event %d, and again: %s", c.by, j.n, w))
					}
				}
			}
		})
	}
	c.feed(events, first, func(n int, s state, before, after promise) bool {
		select {
		case jobs <- job{n, s, before, after}:
			return true
		case <-c.stop:
			return false
		}
	})
	close(jobs)
	workers.Wait()
}

func (c *checker) violated(what string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.wrong) < c.enough {
		c.wrong = append(c.wrong, what)
		if len(c.wrong) == c.enough {
			close(c.stop)
		}
	}
}

// feed passes on the states, with what was promised before the crash and what
// the request that was running would have been promised.
func (c *checker) feed(events []event, first int, yield func(n int, s state, before, after promise) bool) {
	seen := map[[32]byte]bool{}
	var before promise
	running, more := false, true
	for n := 1; n <= len(events) && more; n++ {
		switch e := events[n-1]; e.Kind {
		case "begin":
			running = true
		case "done":
			before, running = e.state, false
			clear(seen) // the same state has to keep another promise now
		}
		if n < first {
			continue
		}
		after := before
		if running {
			for _, e := range events[n:] {
				if e.Kind == "done" {
					after = e.state
					break
				}
			}
		}
		states(events[:n], c.by, func(s state) bool {
			if k := s.key(); !seen[k] {
				seen[k] = true
				more = yield(n, s, before, after)
			}
			return more
		})
	}
}

// events are a recording that leads to the state, in which all of it is
// durable, and to the promises that have to be kept.
func (s *state) events(now time.Time, before promise) (list []event) {
	add := func(kind, name string, data []byte, ref blob.Ref) {
		list = append(list, event{Call: disk.Call{Kind: kind, Name: name, Data: data}, ref: ref, now: now})
	}
	for _, epoch := range s.folders {
		add("mkdir", epoch, nil, "")
	}
	add("syncDir", ".", nil, "")
	for name, content := range s.blobs {
		add("create", name, nil, "")
		add("write", name, content, "")
		add("sync", name, nil, "")
	}
	for _, epoch := range s.folders {
		add("syncDir", epoch, nil, "")
	}
	for name, ref := range s.tree {
		add("show", name, s.bytes[ref], ref)
	}
	add("syncTree", "", nil, "")
	return append(list,
		event{Call: disk.Call{Kind: "commit"}, image: s.image, now: now},
		event{Call: disk.Call{Kind: "done"}, state: before, now: now},
		event{Call: disk.Call{Kind: "begin"}, now: now})
}

// TestEveryCrashState: whatever a crash leaves, nothing acknowledged is lost
// and nothing is left over. The long form lets a second crash come while the
// first is recovered from.
func TestEveryCrashState(t *testing.T) {
	t.Parallel()
	events := record(t)
	for _, by := range []loss{kill, journal, strict} {
		t.Run(string(by), func(t *testing.T) {
			t.Parallel()
			c := newChecker(t, by, 5)
			c.twice = os.Getenv("CRASH_STATES") == "twice"
			c.run(events, 1)
			t.Logf("%d events, %d states checked", len(events), c.checked)
			for _, w := range c.wrong {
				t.Error(w)
			}
		})
	}
}

// TestCrashStatesFindMistakes breaks the recorded protocol in one place at a
// time, as a mistake in the code would, and the states must show it.
func TestCrashStatesFindMistakes(t *testing.T) {
	t.Parallel()
	events := record(t)
	without := func(drop func(e event) bool) func() []event {
		return func() []event { return slices.DeleteFunc(slices.Clone(events), drop) }
	}
	// first moves events to the begin of their request.
	first := func(moved func(e event) bool) func() []event {
		return func() (list []event) {
			begin := 0
			for _, e := range events {
				if moved(e) {
					list = slices.Insert(list, begin, e)
					begin++
					continue
				}
				if list = append(list, e); e.Kind == "begin" {
					begin = len(list)
				}
			}
			return list
		}
	}
	is := func(kind string) func(e event) bool { return func(e event) bool { return e.Kind == kind } }
	folder := func(root bool) func(e event) bool {
		return func(e event) bool { return e.Kind == "syncDir" && (e.Name == ".") == root }
	}
	for name, c := range map[string]struct {
		mistake func() []event
		by      loss
	}{
		"answer before the commit":                {first(is("done")), kill},
		"record before the bytes":                 {first(is("commit")), kill},
		"bytes deleted before the record":         {first(is("unlink")), kill},
		"file not synced, journal":                {without(is("sync")), journal},
		"file not synced, strict":                 {without(is("sync")), strict},
		"epoch's folder not synced":               {without(folder(false)), strict},
		"name of the epoch's folder not synced":   {without(folder(true)), strict},
		"marks cleared before the tree is synced": {without(is("syncTree")), journal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checker := newChecker(t, c.by, 1)
			checker.run(c.mistake(), 1)
			if len(checker.wrong) == 0 {
				t.Errorf("%d states checked and nothing found", checker.checked)
			}
			for _, w := range checker.wrong {
				t.Logf("found in %d states: %s", checker.checked, w)
			}
		})
	}
}
