package disk

import (
	"io/fs"
	"os"
	"path/filepath"
)

// MaxKept is how many contents are held open between their pieces.
const MaxKept = maxKept

// Call is one change of the disk that a store asked for. Names are relative to
// the store's folder.
type Call struct {
	Kind string // create, link, write, truncate, chmod, sync, unlink, mkdir, rmdir or syncDir
	Name string
	Data []byte      // of a write
	Size int64       // of a truncate
	Mode fs.FileMode // of a create or chmod
	From string      // of a link: the name that the file has, below the other root
}

// Record hands every call of s to around, which makes it by calling do.
func Record(s *Store, around func(c Call, do func() error) error) {
	r := recorder{system{s.root}, around}
	s.calls, s.shared = r, newShared(r.syncDir)
}

// recorder embeds nothing: a call that it does not know does not compile.
type recorder struct {
	made   system
	around func(c Call, do func() error) error
}

var _ calls = recorder{}

func (r recorder) create(name string) (f *os.File, err error) {
	err = r.around(Call{Kind: "create", Name: name, Mode: sealed}, func() (err error) {
		f, err = r.made.create(name)
		return err
	})
	return f, err
}

func (r recorder) grow(name string) (f *os.File, err error) {
	err = r.around(Call{Kind: "create", Name: name, Mode: growing}, func() (err error) {
		f, err = r.made.grow(name)
		return err
	})
	return f, err
}

// reopen changes nothing.
func (r recorder) reopen(name string) (*os.File, error) { return r.made.reopen(name) }

func (r recorder) truncate(f *os.File, size int64) error {
	return r.around(Call{Kind: "truncate", Name: r.name(f), Size: size}, func() error { return r.made.truncate(f, size) })
}

func (r recorder) seal(f *os.File) error {
	return r.around(Call{Kind: "chmod", Name: r.name(f), Mode: sealed}, func() error { return r.made.seal(f) })
}

func (r recorder) unseal(name string) error {
	return r.around(Call{Kind: "chmod", Name: name, Mode: growing}, func() error { return r.made.unseal(name) })
}

func (r recorder) link(root *os.Root, from, to string) error {
	name, err := filepath.Rel(r.made.root.Name(), filepath.Join(root.Name(), to))
	if err != nil {
		return err
	}
	return r.around(Call{Kind: "link", Name: name, From: from}, func() error { return r.made.link(root, from, to) })
}

func (r recorder) protect(name string, mode os.FileMode) error {
	return r.around(Call{Kind: "chmod", Name: name, Mode: mode.Perm() &^ 0o222}, func() error { return r.made.protect(name, mode) })
}

func (r recorder) flush(name string) error {
	return r.around(Call{Kind: "sync", Name: name}, func() error { return r.made.flush(name) })
}

func (r recorder) write(f *os.File, p []byte) (n int, err error) {
	err = r.around(Call{Kind: "write", Name: r.name(f), Data: p}, func() (err error) {
		n, err = r.made.write(f, p)
		return err
	})
	return n, err
}

func (r recorder) sync(f *os.File) error {
	return r.around(Call{Kind: "sync", Name: r.name(f)}, func() error { return r.made.sync(f) })
}

func (r recorder) unlink(name string) error {
	return r.around(Call{Kind: "unlink", Name: name}, func() error { return r.made.unlink(name) })
}

func (r recorder) mkdir(name string) error {
	return r.around(Call{Kind: "mkdir", Name: name}, func() error { return r.made.mkdir(name) })
}

func (r recorder) rmdir(name string) error {
	return r.around(Call{Kind: "rmdir", Name: name}, func() error { return r.made.rmdir(name) })
}

func (r recorder) syncDir(name string) error {
	return r.around(Call{Kind: "syncDir", Name: name}, func() error { return r.made.syncDir(name) })
}

func (r recorder) name(f *os.File) string {
	name, err := filepath.Rel(r.made.root.Name(), f.Name())
	if err != nil {
		panic(err)
	}
	return name
}
