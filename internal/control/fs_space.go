//go:build linux || darwin || freebsd

package control

import "golang.org/x/sys/unix"

// freeSpace is what an ordinary user may still write to the file system of dir.
func freeSpace(dir string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return uint64(max(0, int64(st.Bavail))) * uint64(st.Bsize), nil
}
