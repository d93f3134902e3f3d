//go:build netbsd || solaris

package disk

import "golang.org/x/sys/unix"

// free is what an unprivileged process can still write, in bytes.
func free(dir string) (int64, error) {
	var st unix.Statvfs_t
	if err := unix.Statvfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Frsize), nil
}
