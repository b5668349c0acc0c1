package control

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
)

// Limits. Exceeding one is ErrTooLarge and nothing is written.
const (
	MaxKey    = 1 << 10  // bytes of a key
	MaxValue  = 16 << 20 // bytes of a value
	MaxCommit = 32 << 20 // bytes of all keys and values of a commit
	// MaxChanges is the largest number of changes of one commit.
	MaxChanges = 2048
)

// Any is the Expect of a change that is made whatever the record's revision is.
const Any = ^uint64(0)

// Entry is a record as it was found, or as a commit left it.
type Entry struct {
	Key   string
	Value []byte
	// Revision is the number of the commit that wrote the record. Commits of a store are numbered from 1 and no number
	// is given twice.
	Revision uint64
}

// Change is one write of a commit.
type Change struct {
	Key string
	// Value is what to write; nil deletes. An empty value that is not nil is a record.
	Value []byte
	// Expect is the revision the record must have now; 0: there must be no such record; Any: unconditional.
	Expect uint64
}

// Store is an open control store. Its methods may be called concurrently.
type Store struct {
	dir string
	log *zap.Logger
	opt options

	// commitMu serialises everything that writes: commits, the rotation of the journal, Verify, Close. It guards the
	// fields below it; st is replaced or modified only while holding both it and mu.
	commitMu sync.Mutex
	lock     *dirLock
	engine   *engine // nil while there was not enough space to open Badger
	journal  *journal
	broken   error // the journal misses a commit that was acknowledged; no commits until a new backup is written

	// mu is held for memory operations only, never across a disk access: readers do not wait for the disk.
	mu     sync.RWMutex
	st     *state
	keys   []string // sorted keys of st.items; nil: to be made by the next List
	closed bool

	watchers watchers

	backupMu   sync.Mutex // one backup at a time
	lastBackup uint64     // revision of the newest backup in dir
	keeper     keeper
}

// Get returns the record under key, or ErrNotFound. The value is the caller's own copy.
func (s *Store) Get(key string) (Entry, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return Entry{}, ErrClosed
	}
	it, ok := s.st.items[key]
	if !ok {
		return Entry{}, fmt.Errorf("%q: %w", key, ErrNotFound)
	}
	return Entry{Key: key, Value: copied(it.value), Revision: it.rev}, nil
}

// List returns the records whose keys begin with prefix, sorted by key. The values are the caller's own copies.
func (s *Store) List(prefix string) ([]Entry, error) {
	s.mu.RLock()
	if s.keys == nil && !s.closed {
		s.mu.RUnlock()
		s.sortKeys()
		s.mu.RLock()
	}
	defer s.mu.RUnlock()
	if s.closed {
		return nil, ErrClosed
	}
	keys := s.keys
	if keys == nil { // a commit came in between
		keys = sortedKeys(s.st.items)
	}
	var out []Entry
	from, _ := slices.BinarySearch(keys, prefix)
	for _, key := range keys[from:] {
		if !strings.HasPrefix(key, prefix) {
			break
		}
		it := s.st.items[key]
		out = append(out, Entry{Key: key, Value: copied(it.value), Revision: it.rev})
	}
	return out, nil
}

// Revision is the number of the last commit; 0: none yet.
func (s *Store) Revision() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.st.rev
}

// Commit makes all changes or none, and returns the commit's revision. When it returns nil the changes survive a crash
// of the process and of the machine, and every watcher has seen them. Without changes it returns the current revision.
//
// ErrConflict, ErrNoSpace, ErrTooLarge and ErrClosed mean that nothing was written. After another error (a disk that
// fails) the changes are not in force, though after a crash they may be found to have been written.
func (s *Store) Commit(changes ...Change) (uint64, error) {
	changes, size, err := checked(changes)
	if err != nil {
		return 0, err
	}
	s.commitMu.Lock()
	rev, err := s.commitLocked(changes, size)
	var turn *delivery
	if err == nil && len(changes) > 0 {
		entries := make([]Entry, len(changes))
		for i, c := range changes {
			entries[i] = Entry{Key: c.Key, Value: c.Value, Revision: rev}
		}
		turn = s.watchers.enqueue(entries)
	}
	s.commitMu.Unlock()
	s.watchers.deliver(turn)
	return rev, err
}

func (s *Store) commitLocked(changes []Change, size int64) (uint64, error) {
	if s.closed {
		return 0, ErrClosed
	}
	if err := expected(s.st, changes); err != nil {
		return 0, err
	}
	if len(changes) == 0 {
		return s.st.rev, nil
	}
	if err := s.checkSpace(2 * size); err != nil {
		return 0, err
	}
	if s.engine == nil {
		if err := s.attach(); err != nil {
			return 0, err
		}
		if err := expected(s.st, changes); err != nil { // attach may have found a newer state
			return 0, err
		}
	}
	if s.broken != nil {
		if err := s.rotateLocked(); err != nil {
			return 0, fmt.Errorf("the journal failed before (%w) and a new one cannot be begun: %w", s.broken, err)
		}
	}

	rev := s.st.rev + 1
	count, digest := s.st.after(rev, changes)
	record := encodeCommit(rev, digest, changes)
	if err := s.journal.reserve(len(record)); err != nil {
		return 0, accessError(s.journal.path, err)
	}
	if !s.engine.fits(size) {
		if err := s.regenerate(size); err != nil {
			return 0, err
		}
	}
	if err := s.engine.write(manifest{id: s.st.id, rev: rev, count: uint64(count), digest: digest}, changes); err != nil {
		return 0, fmt.Errorf("writing commit %d to %s: %w", rev, s.engine.path, err)
	}
	if err := s.journal.append(record); err != nil {
		// The commit is durable in Badger, so it is in force. Only the second copy is missing: replace it at once, or
		// refuse further commits until that is possible.
		s.broken = err
		s.log.Error("control store: journal not written, rewriting the backup instead", zap.String("file", s.journal.path), zap.Uint64("revision", rev), zap.Error(err))
	}
	s.mu.Lock()
	s.updateKeys(changes)
	s.st.apply(rev, changes)
	s.mu.Unlock()
	if s.broken != nil {
		if err := s.rotateLocked(); err != nil {
			s.log.Error("control store: backup not written, refusing changes until it is", zap.Error(err))
		}
	}
	s.keeper.kick()
	return rev, nil
}

// checkSpace refuses to begin a write that could leave less than the floor.
func (s *Store) checkSpace(need int64) error {
	free, err := s.opt.free(s.dir)
	if err != nil {
		return accessError(s.dir, err)
	}
	if floor := s.opt.minFree; free < floor || free-floor < uint64(need) {
		return fmt.Errorf("%s has %d MiB free, %d MiB must stay free; free some space, nothing was changed: %w",
			s.dir, free>>20, floor>>20, ErrNoSpace)
	}
	return nil
}

// roomForOthers is what must be free beyond the store's own floor before anything else of the control data is written.
const roomForOthers = 64 << 20

// Room says whether the disk has space for files beside the store: ErrNoSpace when they would come near the space that the
// store's own commits need.
func (s *Store) Room() error { return s.checkSpace(roomForOthers) }

// Close writes a last backup and releases the directory. Operations after it return ErrClosed. It may be called again.
func (s *Store) Close() error {
	s.keeper.stop()
	s.commitMu.Lock()
	defer s.commitMu.Unlock()
	s.mu.Lock()
	was := s.closed
	s.closed = true
	s.mu.Unlock()
	if was {
		return nil
	}
	var errs []error
	if s.journal != nil && (s.journal.records > 0 || s.broken != nil) {
		if err := s.rotateLocked(); err != nil {
			// Not an error of Close: Badger and the journal have everything.
			s.log.Warn("control store: no backup on close", zap.Error(err))
		}
	}
	if s.journal != nil {
		errs = append(errs, s.journal.close())
	}
	if s.engine != nil {
		// Closing flushes the memtable into a new mapped file, which is only safe with space to spare.
		if err := s.checkSpace(s.engine.used); err != nil {
			s.log.Warn("control store: left open because the disk is full; nothing is lost", zap.Error(err))
		} else {
			errs = append(errs, s.engine.close())
		}
		s.engine = nil
	}
	errs = append(errs, s.lock.release())
	return errors.Join(errs...)
}

// checked returns the changes with values of our own and their cost.
func checked(changes []Change) ([]Change, int64, error) {
	if len(changes) > MaxChanges {
		return nil, 0, fmt.Errorf("%d changes in one commit, at most %d: %w", len(changes), MaxChanges, ErrTooLarge)
	}
	var size, raw int64
	seen := make(map[string]bool, len(changes))
	own := slices.Clone(changes)
	for i, c := range own {
		switch {
		case c.Key == "":
			return nil, 0, fmt.Errorf("change %d: empty key", i)
		case seen[c.Key]:
			return nil, 0, fmt.Errorf("change %d: %q occurs twice in the commit", i, c.Key)
		case len(c.Key) > MaxKey:
			return nil, 0, fmt.Errorf("change %d: key of %d bytes, at most %d: %w", i, len(c.Key), MaxKey, ErrTooLarge)
		case len(c.Value) > MaxValue:
			return nil, 0, fmt.Errorf("%q: value of %d bytes, at most %d: %w", c.Key, len(c.Value), MaxValue, ErrTooLarge)
		}
		seen[c.Key] = true
		own[i].Value = bytes.Clone(c.Value)
		size += writeCost(len(c.Key), len(c.Value))
		raw += int64(len(c.Key) + len(c.Value))
	}
	if raw > MaxCommit {
		return nil, 0, fmt.Errorf("commit of %d bytes, at most %d: %w", raw, MaxCommit, ErrTooLarge)
	}
	return own, size + cost(len(manifestKey), manifestSize), nil
}

func expected(st *state, changes []Change) error {
	for _, c := range changes {
		it, ok := st.items[c.Key]
		switch {
		case c.Expect == Any:
		case !ok && c.Expect != 0:
			return fmt.Errorf("%q: expected revision %d, there is no such record: %w", c.Key, c.Expect, ErrConflict)
		case ok && c.Expect == 0:
			return fmt.Errorf("%q: expected none, there is one of revision %d: %w", c.Key, it.rev, ErrConflict)
		case ok && c.Expect != it.rev:
			return fmt.Errorf("%q: expected revision %d, found %d: %w", c.Key, c.Expect, it.rev, ErrConflict)
		}
	}
	return nil
}

// updateKeys keeps the sorted keys in step with a small commit and forgets them at a large one. Holds mu; st is still
// what it was before the commit.
func (s *Store) updateKeys(changes []Change) {
	if s.keys == nil {
		return
	}
	if len(changes) > 16 {
		s.keys = nil
		return
	}
	for _, c := range changes {
		at, found := slices.BinarySearch(s.keys, c.Key)
		switch {
		case c.Value == nil && found:
			s.keys = slices.Delete(s.keys, at, at+1)
		case c.Value != nil && !found:
			s.keys = slices.Insert(s.keys, at, c.Key)
		}
	}
}

func (s *Store) sortKeys() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.keys == nil && !s.closed {
		s.keys = sortedKeys(s.st.items)
	}
}

func sortedKeys(items map[string]item) []string {
	keys := make([]string, 0, len(items))
	for key := range items {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}

// copied never returns nil, because a nil value means a deleted record.
func copied(value []byte) []byte {
	return append(make([]byte, 0, len(value)), value...)
}

// options are the knobs of Open.
type options struct {
	minFree  uint64
	free     func(dir string) (uint64, error)
	now      func() time.Time
	lockWait time.Duration
	debounce time.Duration // from a commit to the backup that includes it
}

// Option changes a default of Open.
type Option func(*options)

// MinFree sets how many bytes must stay free on the disk: commits that find less are refused with ErrNoSpace.
// Default: 256 MiB.
func MinFree(n uint64) Option { return func(o *options) { o.minFree = n } }

func defaultOptions() options {
	return options{
		minFree:  256 << 20,
		free:     freeSpace,
		now:      time.Now,
		lockWait: 2 * time.Second,
		debounce: time.Second,
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
