//go:build linux || darwin

package tracing

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// lockDir makes sure that one process and one store at a time write to the
// directory. The lock goes with the file, and so with the process.
func lockDir(dir string) (*os.File, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("%w: give the user that runs caddy the right to write there", err)
	}
	for wait := 10 * time.Millisecond; ; wait *= 2 { // the store before may be closing
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) || wait > 500*time.Millisecond {
			break
		}
		time.Sleep(wait)
	}
	_ = f.Close()
	if errors.Is(err, unix.EWOULDBLOCK) {
		return nil, errors.New("another process writes traces there: stop it, use caddy reload, or give this one its own data_dir")
	}
	return nil, fmt.Errorf("locking: %w", err)
}

// freeSpace is what an unprivileged user may still write, in bytes.
func freeSpace(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
