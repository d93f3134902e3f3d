package tree

import "syscall"

// WithoutLinks makes t behave as on a file system that cannot link.
func WithoutLinks(t *Tree) {
	t.link = func(string, string) error { return syscall.EPERM }
}
