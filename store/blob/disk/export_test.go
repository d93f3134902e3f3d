package disk

import (
	"os"
	"path/filepath"
)

// Call is one change of the disk that a store asked for. Names are relative to
// the store's folder.
type Call struct {
	Kind string // create, write, sync, unlink, mkdir, rmdir or syncDir
	Name string
	Data []byte // of a write
}

// Record hands every call of s to around, which makes it by calling do.
func Record(s *Store, around func(c Call, do func() error) error) {
	r := recorder{system{s.root}, around}
	s.calls, s.shared = r, newShared(r.syncDir)
}

type recorder struct {
	system
	around func(c Call, do func() error) error
}

func (r recorder) create(name string) (f *os.File, err error) {
	err = r.around(Call{Kind: "create", Name: name}, func() (err error) {
		f, err = r.system.create(name)
		return err
	})
	return f, err
}

func (r recorder) write(f *os.File, p []byte) (n int, err error) {
	err = r.around(Call{Kind: "write", Name: r.name(f), Data: p}, func() (err error) {
		n, err = r.system.write(f, p)
		return err
	})
	return n, err
}

func (r recorder) sync(f *os.File) error {
	return r.around(Call{Kind: "sync", Name: r.name(f)}, func() error { return r.system.sync(f) })
}

func (r recorder) unlink(name string) error {
	return r.around(Call{Kind: "unlink", Name: name}, func() error { return r.system.unlink(name) })
}

func (r recorder) mkdir(name string) error {
	return r.around(Call{Kind: "mkdir", Name: name}, func() error { return r.system.mkdir(name) })
}

func (r recorder) rmdir(name string) error {
	return r.around(Call{Kind: "rmdir", Name: name}, func() error { return r.system.rmdir(name) })
}

func (r recorder) syncDir(name string) error {
	return r.around(Call{Kind: "syncDir", Name: name}, func() error { return r.system.syncDir(name) })
}

func (r recorder) name(f *os.File) string {
	name, err := filepath.Rel(r.root.Name(), f.Name())
	if err != nil {
		panic(err)
	}
	return name
}
