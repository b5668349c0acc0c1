package control

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/table"
	"go.uber.org/zap"
)

// Verify reads all copies again and compares them with what is served. ErrDamaged says what is wrong; what is served
// stays as it is, and the next Open repairs. Commits wait meanwhile.
func (s *Store) Verify() error {
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	if s.closed {
		return ErrClosed
	}
	var faults []error
	if err := s.st.verify(); err != nil {
		faults = append(faults, err)
	}
	s.backupMu.Lock() // no backup may be written, and nothing pruned, between listing and reading
	files, err := listDir(s.dir)
	if err != nil {
		s.backupMu.Unlock()
		return accessError(s.dir, err)
	}
	rec := recoverFiles(s.dir, files)
	s.backupMu.Unlock()
	faults = append(faults, rec.notes...)
	switch rec.st {
	case nil:
		faults = append(faults, errors.New("backup and journal hold nothing"))
	default:
		if d := s.st.differs(rec.st); d != "" {
			faults = append(faults, fmt.Errorf("backup and journal: %s", d))
		}
	}
	if s.engine != nil {
		if err := s.engine.verify(s.st); err != nil {
			faults = append(faults, err)
		}
	}
	if len(faults) > 0 {
		return fmt.Errorf("%s: %w: %w", s.dir, ErrDamaged, errors.Join(faults...))
	}
	return nil
}

// verify checks the files first, because Badger must not meet damage, and then what Badger makes of them.
func (e *engine) verify(want *state) error {
	tables, err := inspectManifest(filepath.Join(e.path, badger.ManifestFilename))
	if err != nil {
		return err
	}
	for id := range tables {
		if err := inspectTable(table.NewFilename(id, e.path)); err != nil {
			return err
		}
	}
	if err := e.verifyLog(); err != nil {
		return err
	}
	var st *state
	err = guarded(func() (err error) {
		st, err = e.read()
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", e.path, err)
	}
	if d := want.differs(st); d != "" {
		return fmt.Errorf("%s: %s", e.path, d)
	}
	return nil
}

// verifyLog sees whether the write-ahead log on the disk ends with the transaction that Badger believes to be the last:
// Badger itself reads it from memory.
func (e *engine) verifyLog() error {
	logs, err := filepath.Glob(filepath.Join(e.path, "*.mem"))
	if err != nil || e.used == 0 {
		return err
	}
	var last uint64
	for _, path := range logs {
		data, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			continue // flushed meanwhile
		}
		if err != nil {
			return err
		}
		if len(data) > logHeader {
			_, txn := scanLog(data)
			last = max(last, txn)
		}
	}
	if want := e.db.MaxVersion(); last != want {
		return fmt.Errorf("%s: the write-ahead log is whole up to transaction %d of %d", e.path, last, want)
	}
	return nil
}

// Restore makes the store in dir what it was when the backup was written: one of Store.Backup, or one of the files
// named backup-… in a store directory. The store must not be open. What was in dir is kept beside it, in replaced-….
func Restore(dir, backup string) error {
	st, err := readBackup(backup)
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("restoring: %w", accessError(dir, err))
	}
	lock, err := lockDir(dir, 0)
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	err = replace(dir, st)
	if err = errors.Join(err, lock.release()); err != nil {
		return fmt.Errorf("restoring %s: %w", dir, err)
	}
	// Builds the database, and proves that it opens.
	s, err := Open(dir, zap.NewNop())
	if err != nil {
		return fmt.Errorf("restoring: %w", err)
	}
	return errors.Join(s.Verify(), s.Close())
}

// replace moves everything in dir aside and puts a backup and an empty journal there.
func replace(dir string, st *state) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return accessError(dir, err)
	}
	aside, err := os.MkdirTemp(dir, "replaced-"+time.Now().UTC().Format("20060102T150405Z")+"-*")
	if err != nil {
		return accessError(dir, err)
	}
	// The backup goes first: after a crash in the middle there is a whole store in one place or the other.
	if err := writeBackup(filepath.Join(aside, "restored"), st); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() == lockName || strings.HasPrefix(e.Name(), "replaced-") {
			continue
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(aside, e.Name())); err != nil {
			return accessError(dir, err)
		}
	}
	if err := os.Rename(filepath.Join(aside, "restored"), filepath.Join(dir, backupName(st.rev))); err != nil {
		return accessError(dir, err)
	}
	return errors.Join(syncDir(aside), syncDir(dir))
}
