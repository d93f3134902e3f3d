package disk

import (
	"errors"
	"math"
	"os"

	"golang.org/x/sys/windows"
)

// syncFolder has nothing to call: Windows cannot flush a folder, and NTFS
// keeps names in its journal.
func syncFolder(*os.File) error { return nil }

// free is what this user can still write, in bytes.
func free(dir string) (int64, error) {
	p, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, err
	}
	var available uint64
	if err := windows.GetDiskFreeSpaceEx(p, &available, nil, nil); err != nil {
		return 0, err
	}
	return int64(min(available, math.MaxInt64)), nil
}

func isFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// hasName is false, so that no file is held open: not every volume lets an open
// one be deleted here.
func hasName(*os.File) bool { return false }

// cannotLink reports whether a file cannot have one more name: it lies on
// another volume, or the file system knows no links.
func cannotLink(err error) bool {
	return errors.Is(err, windows.ERROR_NOT_SAME_DEVICE) ||
		errors.Is(err, windows.ERROR_INVALID_FUNCTION) || errors.Is(err, errors.ErrUnsupported)
}
