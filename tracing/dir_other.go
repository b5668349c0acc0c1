//go:build !linux && !darwin

package tracing

import (
	"math"
	"os"
	"path/filepath"
)

// lockDir only holds a file open: elsewhere SQLite's own locks must do.
func lockDir(dir string) (*os.File, error) {
	return os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
}

// freeSpace is not known; a full disk shows as an error when it is written to.
func freeSpace(string) (int64, error) { return math.MaxInt64, nil }
