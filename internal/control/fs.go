package control

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// touch writes every page of f with what is in it, so that the file has no holes. It is for file systems that cannot
// allocate. Those that copy on write (ZFS, btrfs with snapshots) promise nothing by it: there the free-space floor is
// what protects the process.
func touch(f *os.File, size int64) error {
	page := make([]byte, 1)
	for at := int64(0); at < size; at += 4096 {
		if _, err := f.ReadAt(page, at); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if _, err := f.WriteAt(page, at); err != nil {
			return err
		}
	}
	return f.Sync()
}

const lockName = "LOCK"

// dirLock says that a store directory is ours.
type dirLock struct{ f *os.File }

// lockDir waits a little: after a reload the old configuration may still be letting go of the directory.
func lockDir(dir string, wait time.Duration) (*dirLock, error) {
	path := filepath.Join(dir, lockName)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, accessError(path, err)
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(50 * time.Millisecond) {
		held, err := tryLock(f)
		if err != nil {
			_ = f.Close()
			return nil, accessError(path, err)
		}
		if held {
			break
		}
		if time.Now().After(deadline) {
			owner, _ := io.ReadAll(io.LimitReader(f, 64))
			_ = f.Close()
			who := strings.TrimSpace(string(owner))
			if who == fmt.Sprintf("pid %d", os.Getpid()) {
				who += ", this process"
			}
			return nil, fmt.Errorf("%s: %w (%s); stop that process, or use `caddy reload` instead of starting another, or give each its own data directory",
				dir, ErrLocked, who)
		}
	}
	// Only for people to read.
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "pid %d\n", os.Getpid()), 0)
	}
	return &dirLock{f: f}, nil
}

// release ends the lock by closing the file. The file stays: removing it would let two processes lock two files.
func (l *dirLock) release() error { return l.f.Close() }
