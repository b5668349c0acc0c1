package control

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// A backup file is all records at one revision.
//
//	magic, store id, revision, number of records, digest, records (as in the journal), SHA-256 of everything before
var backupMagic = []byte("FRCTLB1\n")

const backupHeader = 8 + 16 + 3*8

func backupName(rev uint64) string { return fmt.Sprintf("backup-%020d", rev) }

// Backup writes all records to a file, which either is complete or does not appear. Restore reads it.
func (s *Store) Backup(path string) error {
	s.mu.RLock()
	closed, st := s.closed, s.st.clone()
	s.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	return writeBackup(path, st)
}

func writeBackup(path string, st *state) error {
	err := writeFile(path, func(f *os.File) error {
		sum := sha256.New()
		w := bufio.NewWriterSize(f, 64<<10)
		out := io.MultiWriter(w, sum)
		head := append(append([]byte{}, backupMagic...), manifest{id: st.id, rev: st.rev, count: uint64(len(st.items)), digest: st.digest}.encode()...)
		if _, err := out.Write(head); err != nil {
			return err
		}
		var buf []byte
		for _, key := range sortedKeys(st.items) {
			it := st.items[key]
			buf = appendEntry(buf[:0], Entry{Key: key, Value: it.value, Revision: it.rev})
			if _, err := out.Write(buf); err != nil {
				return err
			}
		}
		if _, err := w.Write(sum.Sum(nil)); err != nil {
			return err
		}
		return w.Flush()
	})
	if err != nil {
		return accessError(path, err)
	}
	return nil
}

func readBackup(path string) (*state, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) < backupHeader+sha256.Size || !bytes.Equal(b[:8], backupMagic) {
		return nil, fmt.Errorf("%s: not a whole backup of a control store", path)
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if got := sha256.Sum256(body); !bytes.Equal(got[:], sum) {
		return nil, fmt.Errorf("%s: %w", path, errChecksum)
	}
	m, err := decodeManifest(body[8:backupHeader])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	st := newState(m.id)
	st.rev = m.rev
	for rest := body[backupHeader:]; len(rest) > 0; {
		var e Entry
		if e, rest, err = takeEntry(rest); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		st.put(e.Key, item{value: e.Value, rev: e.Revision})
	}
	if uint64(len(st.items)) != m.count || st.digest != m.digest {
		return nil, fmt.Errorf("%s: its records do not match its manifest", path)
	}
	return st, nil
}

// rotateLocked begins a new journal and writes the backup it continues from. Holds commitMu.
func (s *Store) rotateLocked() error {
	st, err := s.beginJournal()
	if err != nil {
		return err
	}
	return s.writeOwnBackup(st)
}

// beginJournal makes later commits go to a new journal and returns the state before them. Holds commitMu. Until the
// backup of that state is written, the old backup and both journals are what is restored from.
func (s *Store) beginJournal() (*state, error) {
	st := s.st.clone()
	if s.journal != nil && s.journal.base == st.rev && s.journal.records == 0 && s.broken == nil {
		return st, nil
	}
	if s.broken != nil {
		// The old journal has a hole at its end, so the new one is no use without the backup: write that first.
		if err := s.writeOwnBackup(st); err != nil {
			return nil, err
		}
	}
	next, err := createJournal(s.dir, st.id, st.rev)
	if err != nil {
		return nil, err
	}
	if s.journal != nil {
		if err := s.journal.close(); err != nil {
			s.log.Warn("control store: closing the old journal", zap.Error(err))
		}
	}
	s.journal, s.broken = next, nil
	return st, nil
}

// writeOwnBackup writes the backup of st beside Badger and removes what is older than the one before it.
func (s *Store) writeOwnBackup(st *state) error {
	s.backupMu.Lock()
	defer s.backupMu.Unlock()
	path := filepath.Join(s.dir, backupName(st.rev))
	if st.rev < s.lastBackup || (st.rev == s.lastBackup && exists(path)) {
		return nil
	}
	if err := s.checkSpace(st.bytes); err != nil {
		return err
	}
	if err := writeBackup(path, st); err != nil {
		return err
	}
	s.lastBackup = st.rev
	return prune(s.dir)
}

// prune keeps the newest two backups and the journals that continue from them.
func prune(dir string) error {
	files, err := listDir(dir)
	if err != nil {
		return err
	}
	if len(files.backups) < 2 {
		return nil
	}
	oldest := files.backups[len(files.backups)-2]
	var errs []error
	for _, rev := range files.backups[:len(files.backups)-2] {
		errs = append(errs, os.Remove(filepath.Join(dir, backupName(rev))))
	}
	for i, base := range files.journals {
		// A journal ends where the next begins.
		if i+1 < len(files.journals) && files.journals[i+1] <= oldest {
			errs = append(errs, os.Remove(filepath.Join(dir, journalName(base))))
		}
	}
	return errors.Join(errs...)
}

// dirFiles is what a store directory contains, each kind in ascending order.
type dirFiles struct {
	generations []int
	backups     []uint64
	journals    []uint64
	damaged     []string
}

func (f dirFiles) empty() bool {
	return len(f.generations)+len(f.backups)+len(f.journals)+len(f.damaged) == 0
}

func listDir(dir string) (dirFiles, error) {
	var out dirFiles
	entries, err := os.ReadDir(dir)
	if err != nil {
		return out, err
	}
	for _, e := range entries {
		name := e.Name()
		kind, rest, _ := strings.Cut(name, "-")
		var n uint64
		if _, err := fmt.Sscanf(rest, "%d", &n); err != nil {
			continue
		}
		switch {
		case kind == "badger" && name == generationName(int(n)):
			out.generations = append(out.generations, int(n))
		case name == backupName(n):
			out.backups = append(out.backups, n)
		case name == journalName(n):
			out.journals = append(out.journals, n)
		case kind == "damaged":
			out.damaged = append(out.damaged, name)
		}
	}
	slices.Sort(out.generations)
	slices.Sort(out.backups)
	slices.Sort(out.journals)
	return out, nil
}

// recovered is what backups and journals hold.
type recovered struct {
	st      *state // nil: nothing can be restored
	known   uint64 // the highest revision that any of the files mentions
	bad     []string
	notes   []error
	journal *loggedJournal // the one that can be continued, or nil
}

// recoverFiles brings the newest whole backup forward with the journals.
func recoverFiles(dir string, files dirFiles) recovered {
	var r recovered
	fault := func(name string, err error) {
		r.bad = append(r.bad, name)
		r.notes = append(r.notes, err)
	}
	for _, rev := range slices.Backward(files.backups) {
		r.known = max(r.known, rev)
		if r.st != nil {
			continue
		}
		st, err := readBackup(filepath.Join(dir, backupName(rev)))
		if err == nil && st.rev != rev {
			err = fmt.Errorf("%s: is of revision %d", backupName(rev), st.rev)
		}
		if err != nil {
			fault(backupName(rev), err)
			continue
		}
		r.st = st
	}
	gap := false
	for _, base := range files.journals {
		name := journalName(base)
		j, err := readJournal(filepath.Join(dir, name))
		if err == nil && j.base != base {
			err = fmt.Errorf("%s: begins at revision %d", name, j.base)
		}
		if err == nil && r.st != nil && j.id != r.st.id {
			err = fmt.Errorf("%s: belongs to another store", name)
		}
		if err != nil {
			fault(name, err)
			r.known = max(r.known, base)
			continue
		}
		r.known = max(r.known, base, j.known)
		if r.st == nil && base == 0 && len(files.backups) == 0 {
			r.st = newState(j.id) // the first backup is of nothing, so without it nothing is missing
		}
		if r.st == nil {
			continue
		}
		applied := 0
		for _, c := range j.commits {
			if c.rev <= r.st.rev {
				applied++
				continue
			}
			if gap || c.rev != r.st.rev+1 {
				gap = true
				break
			}
			if _, digest := r.st.after(c.rev, c.changes); digest != c.digest {
				gap = true
				r.notes = append(r.notes, fmt.Errorf("%s: commit %d does not follow from what was before it", name, c.rev))
				break
			}
			r.st.apply(c.rev, c.changes)
			applied++
		}
		r.journal = nil
		if applied == len(j.commits) && !gap {
			r.journal = j
		}
	}
	if r.st != nil && r.known > r.st.rev {
		r.notes = append(r.notes, fmt.Errorf("backup and journal end at revision %d, revision %d was written", r.st.rev, r.known))
	}
	return r
}

// keeper is the goroutine that rewrites the backup some time after commits.
type keeper struct {
	wake chan struct{}
	quit chan struct{}
	done chan struct{}
	once func()
}

func (k *keeper) kick() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

func (k *keeper) stop() {
	if k.once != nil {
		k.once()
		<-k.done
	}
}

// keep runs until keeper.stop, which Close calls and waits for.
func (s *Store) keep() {
	defer close(s.keeper.done)
	for {
		select {
		case <-s.keeper.quit:
			return
		case <-s.keeper.wake:
		}
		select {
		case <-s.keeper.quit:
			return
		case <-time.After(s.opt.debounce):
		}
		if err := s.refreshBackup(); err != nil {
			s.log.Warn("control store: backup not written; Badger and journal are complete without it", zap.Error(err))
		}
	}
}

// refreshBackup rewrites the backup when that is worth it: always for a small store, and otherwise once the journal has
// grown as large as the store itself, so that a store is never written out more than twice for what went into it.
func (s *Store) refreshBackup() error {
	const small = 1 << 20
	s.commitMu.Lock()
	if s.closed || s.journal == nil || (s.st.bytes > small && s.journal.size < s.st.bytes) {
		s.commitMu.Unlock()
		return nil
	}
	if err := s.checkSpace(s.st.bytes); err != nil {
		s.commitMu.Unlock()
		return err
	}
	st, err := s.beginJournal()
	s.commitMu.Unlock()
	if err != nil {
		return err
	}
	return s.writeOwnBackup(st)
}

// writeFile writes a file that is complete and durable, or does not appear.
func writeFile(path string, write func(*os.File) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), tmpPrefix+"*")
	if err != nil {
		return err
	}
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(path))
}
