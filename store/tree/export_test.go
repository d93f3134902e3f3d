package tree

import "syscall"

// WithoutLinks makes t behave as on a file system that cannot link.
func WithoutLinks(t *Tree) {
	t.link = func(string, string) error { return syscall.EPERM }
}

// WatchSync calls sync before a folder is synced, and fails if it does.
func WatchSync(t *Tree, sync func(folder string) error) {
	inner := t.sync
	t.sync = func(folder string) error {
		if err := sync(folder); err != nil {
			return err
		}
		return inner(folder)
	}
}
