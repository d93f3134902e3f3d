package disk

import (
	"os"
)

// calls are all the ways in which the store changes the disk. What is true
// after a crash depends on these and their order alone, which is why the crash
// test puts a recorder in their place.
type calls interface {
	// create makes a new file that this descriptor alone can write: the name
	// is read-only from the first moment.
	create(name string) (*os.File, error)
	write(f *os.File, p []byte) (int, error)
	sync(f *os.File) error
	unlink(name string) error
	mkdir(name string) error
	// rmdir fails for a folder that is not empty.
	rmdir(name string) error
	// syncDir makes the names in a folder durable.
	syncDir(name string) error
}

// system makes the calls.
type system struct{ root *os.Root }

func (c system) create(name string) (*os.File, error) {
	return c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o444)
}

func (c system) write(f *os.File, p []byte) (int, error) { return f.Write(p) }

func (c system) sync(f *os.File) error { return f.Sync() }

func (c system) unlink(name string) error { return c.root.Remove(name) }

func (c system) mkdir(name string) error { return c.root.Mkdir(name, 0o700) }

func (c system) rmdir(name string) error { return c.root.Remove(name) }

func (c system) syncDir(name string) (err error) {
	d, err := c.root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return syncFolder(d)
}
