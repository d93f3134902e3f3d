//go:build unix

package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func syncFolder(d *os.File) error { return d.Sync() }

// free is what an unprivileged process can still write, in bytes.
func free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}

func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// cannotLink reports whether a file cannot have one more name: it lies on
// another volume or belongs to somebody else, or has too many names.
func cannotLink(err error) bool {
	return errors.Is(err, unix.EXDEV) || errors.Is(err, unix.EPERM) ||
		errors.Is(err, unix.EMLINK) || errors.Is(err, errors.ErrUnsupported)
}
