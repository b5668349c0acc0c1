package control

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Open opens the store in dir and creates it if there is none. All of it is read and verified. What is found damaged is
// moved aside, rebuilt from the other copy, and logged as an error with the revisions that could not be saved, if any.
//
// ErrLocked: another store has dir open; Open tries for two seconds. ErrReadOnly: dir cannot be written. ErrDamaged:
// there is nothing left to rebuild from; nothing was moved or overwritten. ErrNoSpace: the disk is too full to open it the first
// time; a store that was opened before opens on a full disk too, and refuses commits.
func Open(dir string, log *zap.Logger, opts ...Option) (*Store, error) {
	if log == nil {
		log = zap.NewNop()
	}
	opt := defaultOptions()
	for _, o := range opts {
		o(&opt)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening control store: %w", accessError(dir, err))
	}
	lock, err := lockDir(dir, opt.lockWait)
	if err != nil {
		return nil, fmt.Errorf("opening control store: %w", err)
	}
	s := &Store{dir: dir, log: log.With(zap.String("store", dir)), opt: opt, lock: lock}
	if err := s.load(); err != nil {
		s.abandon()
		return nil, fmt.Errorf("opening control store: %w", err)
	}
	s.keeper = keeper{wake: make(chan struct{}, 1), quit: make(chan struct{}), done: make(chan struct{})}
	s.keeper.once = sync.OnceFunc(func() { close(s.keeper.quit) })
	go s.keep() // ends with Close
	if s.journal.records > 0 {
		s.keeper.kick()
	}
	return s, nil
}

// abandon lets go of what a failed Open had acquired.
func (s *Store) abandon() {
	if s.engine != nil {
		if err := s.engine.close(); err != nil {
			s.log.Warn("control store: closing after a failed open", zap.Error(err))
		}
	}
	if s.journal != nil {
		_ = s.journal.close()
	}
	_ = s.lock.release()
}

// load decides what the contents of the store are. Only the store that is being opened uses it.
func (s *Store) load() error {
	if err := sweep(s.dir); err != nil {
		return accessError(s.dir, err)
	}
	files, err := listDir(s.dir)
	if err != nil {
		return accessError(s.dir, err)
	}
	if files.empty() {
		return s.create()
	}
	rec := recoverFiles(s.dir, files)
	if len(files.backups) > 0 {
		s.lastBackup = files.backups[len(files.backups)-1]
	}

	// Opening Badger maps new files. When there may be no blocks for them, do without it for now.
	if space := s.checkSpace(spaceToOpen(s.dir, files)); space != nil {
		if rec.st == nil || rec.known > rec.st.rev {
			return space
		}
		s.log.Error("control store: too little space to open Badger; serving what backup and journal hold, refusing changes", zap.Uint64("revision", rec.st.rev), zap.Error(space))
		s.st = rec.st
		return s.resumeJournal(rec)
	}
	return s.settle(files, rec)
}

// create makes an empty store. Its backup comes first: from then on the directory is known to have been a store.
func (s *Store) create() error {
	if err := s.checkSpace(4 * memTable); err != nil {
		return err
	}
	var id storeID
	_, _ = rand.Read(id[:]) // never fails, see crypto/rand
	s.st = newState(id)
	if err := writeBackup(filepath.Join(s.dir, backupName(0)), s.st); err != nil {
		return err
	}
	var err error
	if s.journal, err = createJournal(s.dir, id, 0); err != nil {
		return err
	}
	s.engine, err = createEngine(s.dir, 1, s.st, 0, s.log)
	return err
}

// settle opens Badger, compares it with what backup and journal hold, serves the newer of what is whole, and brings
// the rest up to that.
func (s *Store) settle(files dirFiles, rec recovered) error {
	e, st, fault := s.openNewest(files)
	if fault != nil && environmental(fault) {
		return accessError(s.dir, fault)
	}
	known := rec.known
	if st != nil {
		known = max(known, st.rev)
	}
	var bad []string // what to move aside
	notes := rec.notes
	switch {
	case st == nil && rec.st == nil:
		return s.beyondRepair(errors.Join(append(notes, fault)...))
	case st == nil:
		for _, n := range files.generations {
			bad = append(bad, generationName(n))
		}
		s.st = rec.st
		notes = append(notes, fault)
	case rec.st == nil || st.rev > rec.st.rev:
		s.st = st
	case st.rev < rec.st.rev || st.id != rec.st.id || st.digest != rec.st.digest:
		// Badger lost what it had acknowledged, or it is not the Badger of these files. Backup and journal belong
		// together and have no hole, so they are right.
		if e != nil {
			if err := e.close(); err != nil {
				s.log.Warn("control store: closing the database that is moved aside", zap.Error(err))
			}
			e = nil
		}
		bad = append(bad, generationName(files.generations[len(files.generations)-1]))
		notes = append(notes, fmt.Errorf("%s holds revision %d, backup and journal hold %d", bad[0], st.rev, rec.st.rev))
		s.st = rec.st
	default:
		s.st = st
	}
	s.engine = e

	// A journal that ends early is no damage when Badger has what follows.
	bad = append(bad, rec.bad...)
	lost := known > s.st.rev
	if lost || len(bad) > 0 {
		moved, err := quarantine(s.dir, s.opt.now(), bad)
		if err != nil {
			return accessError(s.dir, err)
		}
		fields := []zap.Field{
			zap.Strings("damaged", bad), zap.String("moved_to", moved), zap.Errors("found", notes),
			zap.Uint64("serving_revision", s.st.rev), zap.Int("records", len(s.st.items)),
		}
		if lost {
			s.log.Error("control store: damaged, the latest changes are LOST; check prompts, aliases and rollouts", append(fields, zap.Uint64("lost_from_revision", s.st.rev+1), zap.Uint64("lost_to_revision", known))...)
			s.st.rev = known // so that no revision is given to two different contents
		} else {
			s.log.Error("control store: damaged, rebuilt from its other copy; nothing was lost", fields...)
		}
	}
	switch {
	case lost || len(bad) > 0: // said above
	case st == nil && s.st.rev == 0: // the process that created the store died before it had finished
	case st == nil:
		s.log.Error("control store: the Badger database is missing, rebuilding it from backup and journal", zap.Uint64("revision", s.st.rev))
	case len(notes) > 0 || (rec.st != nil && s.st.rev > rec.st.rev+1):
		s.log.Warn("control store: the journal is not whole, rewriting it from Badger; nothing was lost", zap.Errors("found", notes), zap.Uint64("revision", s.st.rev))
	}
	if err := s.settleJournal(rec, lost); err != nil {
		return err
	}
	return s.settleEngine(files, lost)
}

// openNewest opens the generation with the highest number.
func (s *Store) openNewest(files dirFiles) (*engine, *state, error) {
	if len(files.generations) == 0 {
		return nil, nil, errors.New("there is no Badger database")
	}
	return openEngine(s.dir, files.generations[len(files.generations)-1], s.log)
}

// settleJournal goes on with the journal if it leads to the state that is served, and otherwise begins another.
func (s *Store) settleJournal(rec recovered, lost bool) error {
	if s.journal != nil { // attach: it was open all the time
		if s.journal.base+uint64(s.journal.records) == s.st.rev {
			return nil
		}
		s.broken = errors.New("the Badger store is ahead of it")
		return s.rotateLocked()
	}
	whole := rec.st != nil && !lost && len(rec.bad) == 0 && rec.st.rev == s.st.rev && rec.st.id == s.st.id
	if whole && rec.journal != nil {
		return s.resumeJournal(rec)
	}
	if err := s.writeOwnBackup(s.st); err != nil {
		return err
	}
	var err error
	s.journal, err = createJournal(s.dir, s.st.id, s.st.rev)
	return err
}

func (s *Store) resumeJournal(rec recovered) (err error) {
	if rec.journal == nil {
		s.journal, err = createJournal(s.dir, rec.st.id, rec.st.rev)
		return err
	}
	s.journal, err = openJournal(rec.journal.path, rec.journal.base, rec.journal.whole, len(rec.journal.commits))
	return err
}

// settleEngine builds a generation if there is none that holds the state, or if Badger has gathered tables, and removes
// those that are left over.
func (s *Store) settleEngine(files dirFiles, lost bool) error {
	if s.engine != nil && !lost {
		n, size := s.engine.tables()
		if n < 8 && size < 4*s.st.bytes+8<<20 {
			for _, old := range files.generations[:len(files.generations)-1] {
				if err := removeGeneration(filepath.Join(s.dir, generationName(old))); err != nil {
					return accessError(s.dir, err)
				}
			}
			return nil
		}
	}
	return s.regenerate(0)
}

// regenerate writes the state into a new generation with room for extra bytes, and drops the one before. Holds
// commitMu. It is what compaction is elsewhere.
func (s *Store) regenerate(extra int64) error {
	files, err := listDir(s.dir)
	if err != nil {
		return accessError(s.dir, err)
	}
	number := 1
	if n := len(files.generations); n > 0 {
		number = files.generations[n-1] + 1
	}
	if err := s.checkSpace(2 * (s.st.bytes + extra + memTable)); err != nil {
		return err
	}
	next, err := createEngine(s.dir, number, s.st, extra, s.log)
	if err != nil {
		return fmt.Errorf("writing a new generation of the control store: %w", err)
	}
	if s.engine != nil {
		s.engine.drop()
	}
	s.engine = next
	for _, old := range files.generations {
		path := filepath.Join(s.dir, generationName(old))
		if !exists(path) {
			continue
		}
		if err := removeGeneration(path); err != nil {
			s.log.Warn("control store: removing an old generation", zap.Error(err))
		}
	}
	return nil
}

// attach opens Badger in a store that was opened on a full disk. Holds commitMu.
func (s *Store) attach() error {
	files, err := listDir(s.dir)
	if err != nil {
		return accessError(s.dir, err)
	}
	if err := s.checkSpace(spaceToOpen(s.dir, files)); err != nil {
		return err
	}
	before := s.st
	rec := recovered{st: before, known: before.rev}
	s.mu.Lock()
	err = s.settle(files, rec) // replaces s.st; readers wait, once, for as long as Badger takes to open
	s.keys = nil
	s.mu.Unlock()
	if err != nil {
		s.mu.Lock()
		s.st = before
		s.mu.Unlock()
		return err
	}
	s.log.Info("control store: there is space again, accepting changes", zap.Uint64("revision", s.st.rev))
	if changed := before.diff(s.st); len(changed) > 0 {
		turn := s.watchers.enqueue(changed)
		s.watchers.deliver(turn)
	}
	return nil
}

// beyondRepair moves nothing, so that whoever repairs the disk or copies a backup in finds everything as it was.
func (s *Store) beyondRepair(cause error) error {
	return fmt.Errorf("%s: %w and no whole backup is beside it; restore one with `caddy llm store restore`, or move the directory away to begin with an empty store: %w",
		s.dir, ErrDamaged, cause)
}

// spaceToOpen is what opening Badger may write: its new memtable, twice, and the log it flushes.
func spaceToOpen(dir string, files dirFiles) int64 {
	need := int64(4 * memTable)
	for _, n := range files.generations {
		logs, _ := filepath.Glob(filepath.Join(dir, generationName(n), "*.mem"))
		for _, path := range logs {
			if info, err := os.Stat(path); err == nil {
				need += info.Size()
			}
		}
	}
	return need
}

// sweep removes what a process left that died: files not yet renamed, generations not yet complete.
func sweep(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		if strings.HasPrefix(e.Name(), tmpPrefix) || (strings.HasPrefix(e.Name(), "badger-") && exists(filepath.Join(path, building))) {
			if err := os.RemoveAll(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// quarantine moves files of dir into a directory of it that is named after the day.
func quarantine(dir string, now time.Time, names []string) (string, error) {
	if len(names) == 0 {
		return "", nil
	}
	base := filepath.Join(dir, "damaged-"+now.UTC().Format("20060102T150405Z"))
	to := base
	for i := 2; exists(to); i++ {
		to = fmt.Sprintf("%s-%d", base, i)
	}
	if err := os.Mkdir(to, 0o700); err != nil {
		return "", err
	}
	for _, name := range names {
		if err := os.Rename(filepath.Join(dir, name), filepath.Join(to, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return to, err
		}
	}
	return to, errors.Join(syncDir(to), syncDir(dir))
}
