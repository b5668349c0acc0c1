package tracing

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// tidy closes files that are not written any more and drops those that are too
// old, or too much. The writer calls it, about once a minute.
func (w *writer) tidy() {
	s := w.store
	now := s.options.Now()
	trusted := w.clockIsTrusted(now)
	w.checked = now
	today := int(now.Unix() / 86400)
	for key, f := range w.files {
		if key.day != today && now.Sub(f.used) > 5*time.Minute {
			w.closeFile(key)
		}
	}
	files, err := s.diskFiles()
	if err != nil {
		s.log.Error("reading the trace directory", zap.Error(err))
		return
	}
	var total int64
	for _, f := range files {
		total += f.size
	}
	retain, maxDisk := time.Duration(s.retain.Load()), s.maxDisk.Load()
	for i, f := range files {
		last := i == len(files)-1
		old := trusted && now.Sub(f.key.end()) > retain
		large := total > maxDisk && !last
		if !old && !large {
			continue
		}
		w.closeFile(f.key)
		if err := s.remove(f); err != nil {
			s.log.Error("dropping old traces", zap.String("file", f.path), zap.Error(err))
			continue
		}
		total -= f.size
		why := "max_disk"
		if old {
			why = "retain"
		}
		s.log.Info("dropped old traces", zap.String("file", f.path), zap.String("because_of", why), zap.Int64("bytes", f.size))
	}
}

// A clock that is set wrong must not cost anybody their traces: when it jumps,
// nothing is dropped for its age for a while, in which somebody may set it right.
const (
	clockJump  = time.Hour
	jumpPeriod = 24 * time.Hour
)

// clockIsTrusted compares the clock with the time that has really passed
// since the last look. What a machine slept counts as a jump, which does no harm.
func (w *writer) clockIsTrusted(now time.Time) bool {
	s := w.store
	elapsed := s.options.Elapsed()
	if !w.checked.IsZero() {
		drift := now.Round(0).Sub(w.checked.Round(0)) - (elapsed - w.elapsed)
		if drift.Abs() > clockJump {
			w.jumped = max(elapsed, 1)
			s.log.Warn("the system's clock has jumped; no trace is dropped for its age for a day", zap.Duration("by", drift.Round(time.Second)))
		}
	}
	w.elapsed = elapsed
	return w.jumped == 0 || elapsed-w.jumped > jumpPeriod
}

// diskFile is a file of traces with what belongs to it; damaged ones count.
type diskFile struct {
	key     fileKey
	path    string
	size    int64
	damaged bool
}

// diskFiles lists what is in the directory, oldest first.
func (s *Store) diskFiles() ([]diskFile, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	byName := map[string]*diskFile{}
	for _, e := range entries {
		name := e.Name()
		base, _, _ := strings.Cut(name, ".db")
		key, ok := parseFileName(base + ".db")
		if !ok {
			continue
		}
		info, err := e.Info()
		if err != nil {
			continue // it has just gone
		}
		whole := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, "-wal"), "-shm"), blocksSuffix)
		f := byName[whole]
		if f == nil {
			f = &diskFile{key: key, path: filepath.Join(s.dir, whole), damaged: whole != key.name()}
			byName[whole] = f
		}
		f.size += info.Size()
	}
	files := make([]diskFile, 0, len(byName))
	for _, f := range byName {
		files = append(files, *f)
	}
	slices.SortFunc(files, func(a, b diskFile) int {
		if c := a.key.compare(b.key); c != 0 {
			return c
		}
		return -strings.Compare(a.path, b.path) // the damaged one before that which took its place
	})
	return files, nil
}

func (s *Store) remove(f diskFile) error {
	if !f.damaged {
		s.mu.Lock()
		delete(s.files, f.key)
		s.mu.Unlock()
		s.readers.forget(f.key)
	}
	var failed error
	for _, suffix := range []string{"", "-wal", "-shm", blocksSuffix} {
		if err := os.Remove(f.path + suffix); err != nil && !os.IsNotExist(err) {
			failed = fmt.Errorf("removing %s: %w", f.path+suffix, err)
		}
	}
	return failed
}

func (s *Store) addFile(key fileKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[key] = true
}

// lastPart is the file that the day's traces are written to.
func (s *Store) lastPart(day int) fileKey {
	s.mu.Lock()
	defer s.mu.Unlock()
	last := fileKey{day, 1}
	for key := range s.files {
		if key.day == day && key.part > last.part {
			last = key
		}
	}
	return last
}

// days groups the files by day, the newest day and the newest part first.
func (s *Store) days(first, last int) [][]fileKey {
	s.mu.Lock()
	var keys []fileKey
	for key := range s.files {
		if key.day >= first && key.day <= last {
			keys = append(keys, key)
		}
	}
	s.mu.Unlock()
	slices.SortFunc(keys, func(a, b fileKey) int { return b.compare(a) })
	var days [][]fileKey
	for i, key := range keys {
		if i == 0 || keys[i-1].day != key.day {
			days = append(days, nil)
		}
		days[len(days)-1] = append(days[len(days)-1], key)
	}
	return days
}

// missing reports whether an error says that a file is not there (any more).
func missing(path string) bool {
	_, err := os.Stat(path)
	return err != nil && os.IsNotExist(err)
}

func (s *Store) path(key fileKey) string { return filepath.Join(s.dir, key.name()) }
