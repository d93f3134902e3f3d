//go:build unix

package disk

import (
	"io/fs"
	"os"
	"syscall"
)

// Linkable foretells whether Adopt can link a file into a store that lies in a
// folder: not from another volume, nor a file of another user.
func Linkable(folder, file fs.FileInfo) bool {
	to, ok := folder.Sys().(*syscall.Stat_t)
	from, ok2 := file.Sys().(*syscall.Stat_t)
	user := os.Geteuid()
	return !ok || !ok2 || from.Dev == to.Dev && (user == 0 || int(from.Uid) == user)
}
