package disk_test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"upload-service/store"
	"upload-service/store/blob"
)

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
	content
	durable content // of the bytes, how many
	names   folder
}

// content is what a file has.
type content struct {
	data []byte
	mode fs.FileMode
}

func (n *inode) synced() bool {
	return len(n.durable.data) == len(n.data) && n.durable.mode == n.mode
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
	last  string                // kind of event
	root  folder                // blobs/
	tree  map[string][]blob.Ref // like a folder's history; "" is absence
	bytes map[blob.Ref]content  // of every blob there ever was
	image image
}

func newReplay() *replay {
	return &replay{root: folder{}, tree: map[string][]blob.Ref{}, bytes: map[blob.Ref]content{}}
}

func (r *replay) apply(e event) {
	r.last = e.Kind
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
		made := content{mode: e.Mode}
		in.set(path.Base(e.Name), &inode{content: made, durable: made})
	case "link":
		shown := last(r.tree[e.From]) // it may have had another link, before a crash
		there := r.bytes[shown]
		in.set(path.Base(e.Name), &inode{content: there, durable: there})
		r.bytes[blob.Ref(e.Name)] = there
		for i, ref := range r.tree[e.From] { // it is the same file now
			if ref == shown {
				r.tree[e.From][i] = blob.Ref(e.Name)
			}
		}
	case "write", "truncate", "chmod", "sync":
		n := last(in[path.Base(e.Name)])
		if n == nil {
			return // its name was lost
		}
		switch e.Kind {
		case "write":
			n.data = append(slices.Clip(n.data), e.Data...)
		case "truncate":
			n.data = n.data[:e.Size]
			n.durable.data = n.durable.data[:min(len(n.durable.data), int(e.Size))]
		case "chmod":
			n.mode = e.Mode
		case "sync":
			n.durable = n.content
		}
		r.bytes[blob.Ref(e.Name)] = n.content
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
		if _, known := r.bytes[e.ref]; !known {
			r.bytes[e.ref] = content{e.Data, e.Mode} // was there before the recording
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

// existing stands for the ref of a file that no blob's name leads to yet.
func existing(name string) blob.Ref { return blob.Ref("existing " + name) }

// state is one thing that a start can find.
type state struct {
	image   image
	folders []string
	blobs   map[string]content
	tree    map[string]blob.Ref
	bytes   map[blob.Ref]content
}

// latest is the state without any loss.
func (r *replay) latest() state {
	s := state{image: r.image, blobs: map[string]content{}, tree: map[string]blob.Ref{}, bytes: r.bytes}
	for epoch, history := range r.root {
		if d := last(history); d != nil {
			s.addFolder(epoch)
			for id, history := range d.names {
				if n := last(history); n != nil {
					s.blobs[epoch+"/"+id] = n.content
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

// torn are the contents that a file may have of which not all is synced.
func torn(n *inode, garbage bool) (variants []content) {
	whole, safe := n.data, n.durable.data
	bytes := [][]byte{whole}
	if lost := len(whole) - len(safe); lost > 0 {
		bytes = append(bytes, safe, whole[:len(safe)+lost/2])
		if garbage {
			bytes = append(bytes, append(slices.Clip(safe), make([]byte, lost)...))
		}
	}
	for _, b := range bytes {
		variants = append(variants, content{b, n.mode})
		if garbage && n.durable.mode != n.mode {
			variants = append(variants, content{b, n.durable.mode})
		}
	}
	return variants
}

// strictStates are all combinations of what may be lost among the blobs, each
// with the latest tree; and with the latest blobs, each tree in which one entry
// or all of them are older.
func (r *replay) strictStates(yield func(state) bool) {
	// 1. The blobs.
	empty := newReplay()
	empty.image, empty.bytes, empty.tree = r.image, r.bytes, r.tree
	states := []state{empty.latest()}
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
	// 2. The tree, where the event can have made a difference to it.
	switch r.last {
	case "show", "hide", "syncTree", "commit", "done":
	default:
		return
	}
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
				names := e.Kind != "write" && e.Kind != "truncate" && e.Kind != "sync" && e.Kind != "commit"
				if i < cut || !names {
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

type unsynced struct {
	name  string
	inode *inode
}

func (r *replay) unsynced() (list []unsynced) {
	for epoch, history := range r.root {
		if d := last(history); d != nil {
			for id, history := range d.names {
				if n := last(history); n != nil && !n.synced() {
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
		fmt.Fprintf(h, "%q %q %o", name, s.blobs[name].data, s.blobs[name].mode)
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
		if err := content.write(filepath.Join(blobs, name)); err != nil {
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
			err = s.bytes[ref].write(entry)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c content) write(name string) error {
	return errors.Join(os.WriteFile(name, c.data, c.mode), os.Chmod(name, c.mode))
}
