package control

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives every page of f a block on the disk, so that writing to it through a memory map cannot fail.
func allocate(f *os.File, size int64) error {
	err := retry(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return touch(f, size)
	}
	return err
}

// reserveBeyond reserves blocks up to size without changing the length of f. Where that is not supported it does
// nothing: f is written with write(2), which reports a full disk.
func reserveBeyond(f *os.File, size int64) error {
	err := retry(func() error { return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size) })
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return nil
	}
	return err
}

// syncData makes what was written durable, and the length of the file with it, but not its times.
func syncData(f *os.File) error {
	return retry(func() error { return unix.Fdatasync(int(f.Fd())) })
}

func retry(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
