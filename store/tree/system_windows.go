package tree

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/windows"
)

// links is how many names a file has.
func links(root *os.Root, name string, _ fs.FileInfo) (uint64, error) {
	f, err := root.Open(name)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var info windows.ByHandleFileInformation
	if err := windows.GetFileInformationByHandle(windows.Handle(f.Fd()), &info); err != nil {
		return 0, err
	}
	return uint64(info.NumberOfLinks), nil
}

// cannotLink reports whether a link failed because there can be none here.
func cannotLink(err error) bool {
	return errors.Is(err, windows.ERROR_NOT_SAME_DEVICE) || errors.Is(err, windows.ERROR_TOO_MANY_LINKS) ||
		errors.Is(err, windows.ERROR_INVALID_FUNCTION) || errors.Is(err, errors.ErrUnsupported)
}

// removeFolder removes an empty folder. The slash makes Root look whether it
// is one; Windows has no call below a root that does both at once.
func removeFolder(root *os.Root, name string) error { return root.Remove(name + "/") }

// syncFolder does nothing: folders cannot be synced there.
func syncFolder(*os.Root, string) error { return nil }
