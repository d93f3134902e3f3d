//go:build aix || darwin || dragonfly || freebsd

package disk

import "golang.org/x/sys/unix"

// free is what an unprivileged process can still write, in bytes.
func free(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
