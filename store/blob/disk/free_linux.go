package disk

import "golang.org/x/sys/unix"

// free is what an unprivileged process can still write, in bytes. The counts
// are in fragments (statfs(2), statvfs(3)); the block size is only what is best
// to transfer at once, which FUSE and network file systems make much larger.
func free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Frsize), nil
}
