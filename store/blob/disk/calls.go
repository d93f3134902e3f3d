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
	// grow makes a new file that can be opened for writing again.
	grow(name string) (*os.File, error)
	// reopen opens a file that grows.
	reopen(name string) (*os.File, error)
	truncate(f *os.File, size int64) error
	// seal and unseal change who may open a file for writing.
	seal(f *os.File) error
	unseal(name string) error
	// link gives a file of another root, which the folder lies in, one more name.
	link(root *os.Root, from, to string) error
	// protect takes away everybody's right to write.
	protect(name string, mode os.FileMode) error
	// flush makes a file durable that others have written, and its mode.
	flush(name string) error
	write(f *os.File, p []byte) (int, error)
	sync(f *os.File) error
	unlink(name string) error
	mkdir(name string) error
	// rmdir fails for a folder that is not empty.
	rmdir(name string) error
	// syncDir makes the names in a folder durable.
	syncDir(name string) error
}

// Modes of a file while it grows and from then on.
const (
	growing = 0o600
	sealed  = 0o444
)

// system makes the calls.
type system struct{ root *os.Root }

func (c system) create(name string) (*os.File, error) {
	return c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, sealed)
}

func (c system) grow(name string) (*os.File, error) {
	return c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, growing)
}

func (c system) reopen(name string) (*os.File, error) { return c.root.OpenFile(name, os.O_WRONLY, 0) }

func (c system) truncate(f *os.File, size int64) error { return f.Truncate(size) }

func (c system) seal(f *os.File) error { return f.Chmod(sealed) }

func (c system) unseal(name string) error { return c.root.Chmod(name, growing) }

func (c system) link(root *os.Root, from, to string) error { return root.Link(from, to) }

func (c system) protect(name string, mode os.FileMode) error {
	return c.root.Chmod(name, mode.Perm()&^0o222)
}

func (c system) flush(name string) error { return c.syncDir(name) } // both need it open for reading

// maxWrite bounds a write, in bytes: larger ones took twice the time on a virtual
// machine whose host takes back whole pages of 2 MiB (docs/performance.md).
const maxWrite = 1 << 20

func (c system) write(f *os.File, p []byte) (n int, err error) {
	for err == nil && n < len(p) {
		var k int
		k, err = f.Write(p[n:min(n+maxWrite, len(p))])
		n += k
	}
	return n, err
}

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
