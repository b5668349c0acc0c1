package control

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// The errors of this package, to be tested with errors.Is. They come wrapped with the facts: key, revision, path.
var (
	// ErrNotFound: there is no record under the key.
	ErrNotFound = errors.New("no such record")
	// ErrConflict: a record is not at the revision that the change expected; nothing was written.
	ErrConflict = errors.New("the record was changed meanwhile")
	// ErrNoSpace: the disk has less free space than the floor; nothing was written. It passes when there is space again.
	ErrNoSpace = errors.New("not enough free disk space")
	// ErrLocked: another store, in this process or another, has the directory open.
	ErrLocked = errors.New("the control store is already open")
	// ErrReadOnly: the directory cannot be written.
	ErrReadOnly = errors.New("the control store cannot be written")
	// ErrDamaged: records cannot be read back as they were written, and there was nothing to restore them from.
	ErrDamaged = errors.New("the control store is damaged")
	// ErrClosed: the store was closed.
	ErrClosed = errors.New("the control store is closed")
	// ErrTooLarge: a key, a value or a commit exceeds MaxKey, MaxValue or MaxCommit.
	ErrTooLarge = errors.New("too large for the control store")
)

// accessError says what to do about a file system error at path, where it is one that an operator can mend.
func accessError(path string, err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return fmt.Errorf("%s: %w: its file system is mounted read-only; remount it or choose another data directory: %w", path, ErrReadOnly, err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%s: %w: the user that runs Caddy needs read and write access to it and everything in it (chown -R): %w", path, ErrReadOnly, err)
	case isNoSpace(err):
		return fmt.Errorf("%s: %w: %w", path, ErrNoSpace, err)
	}
	return fmt.Errorf("%s: %w", path, err)
}

// environmental tells an error of the system around the store, which passes or can be mended, from damage.
func environmental(err error) bool {
	for _, target := range []error{fs.ErrPermission, syscall.EROFS, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if errors.Is(err, target) {
			return true
		}
	}
	return isNoSpace(err)
}

func isNoSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, ErrNoSpace)
}
