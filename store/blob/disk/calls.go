package disk

import (
	"os"
)

// calls are all the ways in which the store changes the disk. What is true
// after a crash depends on these and their order alone.
type calls struct{ root *os.Root }

// create makes a new file that this descriptor alone can write: the name is
// read-only from the first moment.
func (c calls) create(name string) (*os.File, error) {
	return c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, sealed)
}

// grow makes a new file that can be opened for writing again.
func (c calls) grow(name string) (*os.File, error) {
	return c.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, growing)
}

// reopen opens a file that grows for writing.
func (c calls) reopen(name string) (*os.File, error) {
	return c.root.OpenFile(name, os.O_WRONLY, 0)
}

func (c calls) unseal(name string) error { return c.root.Chmod(name, growing) }

// Modes of a file while it grows and from then on.
const (
	growing = 0o600
	sealed  = 0o444
)

// link gives a file of another root, which the folder lies in, one more name.
func (c calls) link(root *os.Root, from, to string) error { return root.Link(from, to) }

// protect takes away everybody's right to write.
func (c calls) protect(name string, mode os.FileMode) error {
	return c.root.Chmod(name, mode.Perm()&^0o222)
}

func (c calls) truncate(f *os.File, size int64) error { return f.Truncate(size) }

func (c calls) seal(f *os.File) error { return f.Chmod(sealed) }

func (c calls) write(f *os.File, p []byte) (int, error) { return f.Write(p) }

func (c calls) sync(f *os.File) error { return f.Sync() }

func (c calls) unlink(name string) error { return c.root.Remove(name) }

func (c calls) mkdir(name string) error { return c.root.Mkdir(name, 0o700) }

// rmdir fails for a folder that is not empty.
func (c calls) rmdir(name string) error { return c.root.Remove(name) }

// syncDir makes the names in a folder durable.
func (c calls) syncDir(name string) (err error) {
	d, err := c.root.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return syncFolder(d)
}
