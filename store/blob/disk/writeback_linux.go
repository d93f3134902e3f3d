package disk

import (
	"os"

	"golang.org/x/sys/unix"
)

// startWriteback asks the kernel to send a range of a file to the volume now.
// It is advice: what fails here fails again, and is reported, in sync.
func startWriteback(f *os.File, from, n int64) {
	unix.SyncFileRange(int(f.Fd()), from, n, unix.SYNC_FILE_RANGE_WRITE) //nolint:errcheck // advice
}
