package control

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"syscall"

	badger "github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

const (
	memTable    = 4 << 20 // the smallest memtable; its arena is in the heap, so it is most of an idle store's memory
	inlineLimit = 64 << 10
	batchLimit  = 384 << 10 // bytes of one Badger transaction; its limit is 15 % of the memtable
	partLimit   = 256 << 10 // below ValueThreshold, so that nothing ever goes to the value log

	// tmpPrefix begins the names of what is not complete; Open removes it.
	tmpPrefix = ".tmp-"
	// building marks a generation that is not complete yet.
	building = "BUILDING"
)

func generationName(n int) string { return fmt.Sprintf("badger-%06d", n) }

// engine is one open Badger database. It only ever appends to its first memtable: the store replaces it by a new
// generation before that memtable is full, see fits.
type engine struct {
	db     *badger.DB
	path   string
	number int
	limit  int64 // what the memtable takes
	used   int64 // an upper bound of what it holds
	failed bool  // a write failed; what Badger holds is uncertain
}

// fits tells whether the memtable has room for n more bytes.
func (e *engine) fits(n int64) bool { return !e.failed && e.used+n <= e.limit-e.limit/8 }

// openBadger opens path with a memtable of the given size and sees to it that no later write through a memory map needs
// a block from the file system. The caller has inspected the files.
func openBadger(path string, memtable int64, log *zap.Logger) (db *badger.DB, err error) {
	opt := badger.DefaultOptions(path).
		WithSyncWrites(true).
		WithMemTableSize(memtable).
		WithNumMemtables(2).
		WithBlockCacheSize(0). // records are read once, at open
		WithIndexCacheSize(0).
		WithCompression(0).
		WithValueThreshold(batchLimit).
		WithValueLogFileSize(1 << 20).
		WithNumVersionsToKeep(1).
		WithNumCompactors(0). // generations take the place of compaction
		WithNumLevelZeroTables(1 << 10).
		WithNumLevelZeroTablesStall(1 << 11).
		WithCompactL0OnClose(false).
		WithDetectConflicts(false). // commits are serialised by the store
		WithMetricsEnabled(false).
		WithBypassLockGuard(true). // the store has a lock of its own, which can be released when Badger cannot be closed
		WithLogger(badgerLogger{log.Named("badger")})
	err = guarded(func() error {
		db, err = badger.Open(opt)
		return err
	})
	if err != nil {
		// Badger does not wrap all causes.
		if !errors.Is(err, ErrNoSpace) && (isNoSpace(err) || strings.Contains(err.Error(), syscall.ENOSPC.Error())) {
			err = fmt.Errorf("%w: %w", ErrNoSpace, err)
		}
		return nil, err
	}
	if err := allocateMapped(path); err != nil {
		return nil, errors.Join(accessError(path, err), guarded(db.Close))
	}
	return db, nil
}

// allocateMapped gives all files that Badger writes through memory maps their blocks.
func allocateMapped(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range entries {
		name := e.Name()
		if !strings.HasSuffix(name, ".mem") && !strings.HasSuffix(name, ".vlog") && name != "DISCARD" {
			continue
		}
		if err := allocateFile(filepath.Join(path, name)); err != nil {
			return err
		}
	}
	return nil
}

func allocateFile(path string) error {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil // a memtable that was replayed has been flushed and deleted meanwhile
	}
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // nothing was written through it
	info, err := f.Stat()
	if err != nil || info.Size() == 0 {
		return err
	}
	if err := allocate(f, info.Size()); err != nil {
		return fmt.Errorf("allocating %s: %w", path, err)
	}
	return nil
}

// openEngine opens an existing generation and reads all of it.
func openEngine(dir string, number int, log *zap.Logger) (e *engine, st *state, err error) {
	path := filepath.Join(dir, generationName(number))
	logged, err := inspect(path)
	if err != nil {
		return nil, nil, err
	}
	// The memtable must be able to take what the logs replay into it. Its nodes cost less than the records in them.
	size := max(memTable, 2*logged)
	db, err := openBadger(path, size, log)
	if err != nil {
		return nil, nil, fmt.Errorf("opening %s: %w", path, err)
	}
	e = &engine{db: db, path: path, number: number, limit: size}
	err = guarded(func() (err error) {
		st, err = e.read()
		return err
	})
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("reading %s: %w", path, err), guarded(db.Close))
	}
	return e, st, nil
}

// createEngine writes st into a new generation with room for extra bytes more. The generation counts as complete, and
// takes part in recovery, once its marker is gone.
func createEngine(dir string, number int, st *state, extra int64, log *zap.Logger) (e *engine, err error) {
	path := filepath.Join(dir, generationName(number))
	marker := filepath.Join(path, building)
	if err := makeGeneration(dir, path); err != nil {
		return nil, accessError(path, err)
	}
	var live int64
	for key, it := range st.items {
		live += writeCost(len(key), len(it.value))
	}
	size := max(memTable, (2*(live+extra)+1<<20)&^(1<<20-1)+1<<20)
	db, err := openBadger(path, size, log)
	if err != nil {
		return nil, err
	}
	e = &engine{db: db, path: path, number: number, limit: size}
	b := batch{e: e}
	for _, key := range sortedKeys(st.items) {
		it := st.items[key]
		b.add(key, it.value, it.rev)
	}
	err = b.finish(manifest{id: st.id, rev: st.rev, count: uint64(len(st.items)), digest: st.digest})
	if err == nil {
		err = os.Remove(marker)
	}
	if err == nil {
		err = syncDir(path)
	}
	if err != nil {
		e.drop()
		return nil, accessError(path, err)
	}
	return e, nil
}

// write makes a commit. Its records and the manifest are in one transaction; values too large for that are written
// before it, where nothing refers to them yet.
func (e *engine) write(m manifest, changes []Change) error {
	b := batch{e: e, atomic: true}
	for _, c := range changes {
		if c.Value == nil {
			b.remove(c.Key)
			continue
		}
		b.add(c.Key, c.Value, m.rev)
	}
	if err := b.finish(m); err != nil {
		e.failed = true
		return err
	}
	return nil
}

// read loads everything and compares it with the manifest.
func (e *engine) read() (*state, error) {
	var m manifest
	var found bool
	type spilled struct {
		key string
		rev uint64
		spill
	}
	var later []spilled
	st := newState(storeID{})
	err := e.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.DefaultIteratorOptions)
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			key := it.Item().KeyCopy(nil)
			if key[0] == 'p' {
				continue
			}
			raw, err := it.Item().ValueCopy(nil)
			if err != nil {
				return fmt.Errorf("record %q: %w", key, err)
			}
			kind, rev, body, err := decodeFrame(key, raw)
			if err != nil {
				return err
			}
			switch {
			case kind == kindManifest && string(key) == manifestKey:
				if m, err = decodeManifest(body); err != nil {
					return err
				}
				found = true
			case kind == kindInline && key[0] == 'r':
				st.put(string(key[1:]), item{value: body, rev: rev})
			case kind == kindSpilled && key[0] == 'r':
				sp, err := decodeSpill(body)
				if err != nil {
					return err
				}
				later = append(later, spilled{key: string(key[1:]), rev: rev, spill: sp})
			default:
				return fmt.Errorf("record %q is of a kind that does not belong there", key)
			}
		}
		for _, sp := range later {
			value, err := readParts(txn, sp.rev, sp.spill)
			if err != nil {
				return fmt.Errorf("record %q: %w", sp.key, err)
			}
			st.put(sp.key, item{value: value, rev: sp.rev})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !found {
		return nil, errors.New("it has no manifest record: Badger opened it empty or in part")
	}
	st.id, st.rev = m.id, m.rev
	if uint64(len(st.items)) != m.count || st.digest != m.digest {
		return nil, fmt.Errorf("it has %d records with digest %016x, its manifest says %d and %016x at revision %d",
			len(st.items), st.digest, m.count, m.digest, m.rev)
	}
	return st, nil
}

func readParts(txn *badger.Txn, rev uint64, sp spill) ([]byte, error) {
	if sp.size > MaxValue || sp.parts > sp.size/partLimit+1 {
		return nil, errChecksum
	}
	value := make([]byte, 0, sp.size)
	for part := range sp.parts {
		key := partKey(rev, sp.seq, part)
		entry, err := txn.Get(key)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", part, err)
		}
		raw, err := entry.ValueCopy(nil)
		if err != nil {
			return nil, fmt.Errorf("part %d: %w", part, err)
		}
		kind, of, body, err := decodeFrame(key, raw)
		if err != nil {
			return nil, err
		}
		if kind != kindPart || of != rev {
			return nil, fmt.Errorf("part %d is another record", part)
		}
		value = append(value, body...)
	}
	if len(value) != int(sp.size) {
		return nil, fmt.Errorf("%d bytes, want %d", len(value), sp.size)
	}
	return value, nil
}

// tables is the number and total size of the tables Badger reads besides the memtable.
func (e *engine) tables() (n int, bytes int64) {
	for _, t := range e.db.Tables() {
		n++
		bytes += int64(t.OnDiskSize)
	}
	return n, bytes
}

// close flushes the memtable into a table. That maps a new file: the caller has checked for space.
func (e *engine) close() error {
	if err := guarded(e.db.Close); err != nil {
		return fmt.Errorf("closing %s: %w", e.path, err)
	}
	return nil
}

// drop closes the database without flushing it, and deletes it.
func (e *engine) drop() {
	// DropAll empties the memtable, so that Close has nothing to flush. Its one new file is written by this goroutine,
	// where a fault can be caught.
	if err := guarded(e.db.DropAll); err == nil {
		_ = guarded(e.db.Close)
	}
	_ = removeGeneration(e.path) // what is left the next generation or the next Open removes
}

// makeGeneration makes a directory that has the marker in it from the first moment.
func makeGeneration(dir, path string) error {
	tmp, err := os.MkdirTemp(dir, tmpPrefix+"*")
	if err != nil {
		return err
	}
	err = os.WriteFile(filepath.Join(tmp, building), nil, 0o600)
	if err == nil {
		err = syncDir(tmp)
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.RemoveAll(tmp)
		return err
	}
	return syncDir(dir)
}

// removeGeneration renames first: a directory of which only a part is gone must not look like a damaged database.
func removeGeneration(path string) error {
	gone := filepath.Join(filepath.Dir(path), tmpPrefix+filepath.Base(path))
	_ = os.RemoveAll(gone)
	if err := os.Rename(path, gone); err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// batch collects writes into as many transactions as they need.
type batch struct {
	e      *engine
	atomic bool // records and manifest must share one transaction, so records are kept small by spilling
	txn    []*badger.Entry
	size   int
	seq    uint32
	err    error

	records []record // atomic: decided about in finish
}

type record struct {
	key   string
	value []byte
	rev   uint64
}

func (b *batch) add(key string, value []byte, rev uint64) {
	if b.atomic {
		b.records = append(b.records, record{key: key, value: value, rev: rev})
		return
	}
	b.record(record{key: key, value: value, rev: rev}, inlineLimit)
}

func (b *batch) remove(key string) {
	b.records = append(b.records, record{key: key})
}

// record writes a record whose value has more than limit bytes in parts.
func (b *batch) record(r record, limit int) {
	key := recordKey(r.key)
	if len(r.value) <= limit {
		b.put(key, encodeFrame(kindInline, key, r.rev, r.value))
		return
	}
	b.put(key, encodeFrame(kindSpilled, key, r.rev, b.parts(r).encode()))
}

func (b *batch) parts(r record) spill {
	sp := spill{seq: b.seq, size: uint32(len(r.value))}
	b.seq++
	for rest := r.value; len(rest) > 0; sp.parts++ {
		n := min(partLimit, len(rest))
		key := partKey(r.rev, sp.seq, sp.parts)
		b.put(key, encodeFrame(kindPart, key, r.rev, rest[:n]))
		rest = rest[n:]
	}
	return sp
}

func (b *batch) put(key, value []byte) {
	n := int(cost(len(key), len(value)))
	if b.size+n > batchLimit && len(b.txn) > 0 {
		b.flush()
	}
	b.txn = append(b.txn, badger.NewEntry(key, value))
	b.size += n
}

func (b *batch) flush() {
	if b.err == nil && len(b.txn) > 0 {
		b.err = guarded(func() error {
			return b.e.db.Update(func(txn *badger.Txn) error {
				for _, entry := range b.txn {
					var err error
					if entry.Value == nil {
						err = txn.Delete(entry.Key)
					} else {
						err = txn.SetEntry(entry)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
		})
		b.e.used += int64(b.size)
	}
	b.txn, b.size = nil, 0
}

// finish writes the manifest, for an atomic batch in one transaction with all its records.
func (b *batch) finish(m manifest) error {
	if b.atomic {
		b.finishAtomic()
	}
	key := []byte(manifestKey)
	b.txn = append(b.txn, badger.NewEntry(key, encodeFrame(kindManifest, key, m.rev, m.encode())))
	b.size += int(cost(len(key), manifestSize+frameHeader))
	b.flush()
	return b.err
}

func (b *batch) finishAtomic() {
	var inline int64
	for _, r := range b.records {
		if len(r.value) <= inlineLimit {
			inline += int64(len(r.value))
		}
	}
	limit := inlineLimit
	if inline > batchLimit/4 {
		limit = 2 * spillSize
	}
	var last []*badger.Entry
	var size int
	for _, r := range b.records {
		key := recordKey(r.key)
		entry := badger.NewEntry(key, nil)
		switch {
		case r.value == nil:
		case len(r.value) <= limit:
			entry.Value = encodeFrame(kindInline, key, r.rev, r.value)
		default:
			entry.Value = encodeFrame(kindSpilled, key, r.rev, b.parts(r).encode())
		}
		last = append(last, entry)
		size += int(cost(len(key), len(entry.Value)))
	}
	b.flush() // the parts, durable before anything refers to them
	b.txn, b.size = last, size
}

// writeCost is an upper bound of the memtable space that writing a record takes, whether it is spilled or not.
func writeCost(key, value int) int64 {
	parts := int64(value/partLimit + 1)
	return cost(key+1, value+frameHeader) + parts*cost(17, frameHeader) + spillSize + frameHeader
}

// guarded turns a panic of fn into an error, also one by a fault at a memory-mapped address (SIGBUS: the disk is full
// or the file was cut), which is otherwise fatal. It can do so for this goroutine only.
func guarded(fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		switch p := recover().(type) {
		case nil:
		case interface{ Addr() uintptr }:
			// What Badger reads was inspected before, so this was a write.
			err = fmt.Errorf("writing through a memory map (%v): %w", p, ErrNoSpace)
		default:
			err = fmt.Errorf("panic in Badger: %v", p)
		}
	}()
	return fn()
}

// badgerLogger writes Badger's messages to zap, one level down: what it calls an error the store handles and reports.
type badgerLogger struct{ log *zap.Logger }

func (l badgerLogger) Errorf(format string, args ...any)   { l.print(l.log.Warn, format, args) }
func (l badgerLogger) Warningf(format string, args ...any) { l.print(l.log.Warn, format, args) }
func (l badgerLogger) Infof(format string, args ...any)    { l.print(l.log.Debug, format, args) }
func (l badgerLogger) Debugf(format string, args ...any)   { l.print(l.log.Debug, format, args) }

func (l badgerLogger) print(to func(string, ...zap.Field), format string, args []any) {
	to(string(bytes.TrimSpace(fmt.Appendf(nil, format, args...))))
}
