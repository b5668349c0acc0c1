// Package wholefile replaces small files.
package wholefile

import (
	"os"
	"path/filepath"
)

// Replace puts a file in the place of another one: whoever reads it, after a
// crash too, finds the one or the other, whole. One caller at a time may
// replace the same path.
func Replace(path string, b []byte) error {
	path = filepath.Clean(path)
	tmp := path + ".tmp" // always the same: after a crash nothing piles up
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
	}
	return err
}
