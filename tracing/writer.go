package tracing

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"go.uber.org/zap"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// writer is the goroutine that writes. Nothing of it is used by another one.
type writer struct {
	store    *Store
	preparer preparer
	files    map[fileKey]*file
	taken    []*Record
	block    []byte
	packed   []byte
	keys     []uint64 // of the shared texts of one request
	scratch  []byte
	pending  []row // of the block that is being filled
	checked  time.Time
	elapsed  time.Duration // at that time
	jumped   time.Duration // when the clock was seen to have jumped; 0: never
	failing  bool
}

func (w *writer) init(s *Store) {
	w.store = s
	w.files = map[fileKey]*file{}
}

// run writes until the store is closed, and then what is still queued.
func (w *writer) run() {
	s := w.store
	defer close(s.stopped)
	idle := time.NewTicker(time.Minute)
	defer idle.Stop()
	wait := time.NewTimer(0)
	defer wait.Stop()
	w.tidy()
	for {
		select {
		case <-s.queue.first:
			wait.Reset(s.options.FlushInterval)
			if !s.queue.ready() { // an older flush's
				select {
				case <-s.queue.full:
				default:
				}
			}
			select {
			case <-wait.C:
			case <-s.queue.full:
			case c := <-s.commands:
				w.flush()
				c.done <- c.do()
			case <-s.stop:
			}
			w.flush()
		case c := <-s.commands:
			w.flush()
			c.done <- c.do()
		case <-idle.C:
			w.tidy()
		case <-s.stop:
			w.flush()
			for _, f := range w.files {
				f.close()
			}
			return
		}
	}
}

// flush stores everything that is queued, a transaction at a time.
func (w *writer) flush() {
	s := w.store
	for {
		w.taken = s.queue.take(w.taken)
		if len(w.taken) == 0 {
			break
		}
		batch := w.taken
		for len(batch) > 0 {
			n, size := 0, int64(0)
			for n < len(batch) && n < flushRecords && (n == 0 || size+batch[n].size <= flushBytes) {
				size += batch[n].size
				n++
			}
			w.write(batch[:n])
			s.queue.done(n, size)
			batch = batch[n:]
		}
		clear(w.taken)
		if !s.queue.ready() {
			break
		}
	}
	if s.options.Now().Sub(w.checked).Abs() >= time.Minute {
		w.tidy()
	}
}

// write stores the records, and drops and counts those that it cannot store.
func (w *writer) write(batch []*Record) {
	s := w.store
	if free, err := s.options.FreeSpace(s.dir); err == nil && free < s.options.MinFree {
		w.drop(batch, dropNoSpace, fmt.Errorf("%d MiB free, traces stop below %d MiB", free>>20, s.options.MinFree>>20))
		return
	}
	slices.SortStableFunc(batch, func(a, b *Record) int { return cmp.Compare(a.Call.ID, b.Call.ID) })
	for len(batch) > 0 {
		id, _ := parseID(batch[0].Call.ID)
		day := dayOf(seqOf(id))
		n := 1
		for n < len(batch) {
			if id, _ = parseID(batch[n].Call.ID); dayOf(seqOf(id)) != day {
				break
			}
			n++
		}
		w.writeDay(day, batch[:n])
		batch = batch[n:]
	}
}

func (w *writer) writeDay(day int, batch []*Record) {
	s := w.store
	var key fileKey
	for try := 0; ; try++ {
		key = s.lastPart(day)
		err := w.transaction(key, batch)
		if err == nil {
			break
		}
		w.closeFile(key)
		switch {
		case damagedFile(err) && try == 0:
			w.quarantine(key, err)
			continue
		case noSpace(err):
			w.drop(batch, dropNoSpace, err)
		default:
			w.drop(batch, dropWriteError, err)
		}
		return
	}
	if w.failing {
		w.failing = false
		s.log.Info("traces are stored again", zap.String("dir", s.dir))
	}
	s.written.Add(int64(len(batch)))
	s.appended(key)
	for _, r := range batch {
		r.free()
	}
}

func (w *writer) drop(batch []*Record, reason dropReason, err error) {
	if !w.failing {
		w.failing = true
		w.store.log.Error("traces cannot be stored; requests are not affected", zap.String("reason", reason.String()), zap.String("dir", w.store.dir), zap.Error(err))
	}
	for _, r := range batch {
		r.free()
	}
	w.store.count(reason, int64(len(batch)))
}

// transaction stores the records in one. After an error the file has to be
// closed: what is remembered of it may not be in it.
func (w *writer) transaction(key fileKey, batch []*Record) (err error) {
	f, err := w.open(key)
	if err != nil {
		return err
	}
	if err := sqlitex.Execute(f.conn, "BEGIN IMMEDIATE", nil); err != nil {
		return fmt.Errorf("writing %s: %w", key.name(), err)
	}
	if err := w.records(f, batch); err != nil {
		_ = sqlitex.Execute(f.conn, "ROLLBACK", nil)
		return fmt.Errorf("writing %s: %w", key.name(), err)
	}
	if err := f.blocks.sync(); err != nil { // before the rows that refer to them
		_ = sqlitex.Execute(f.conn, "ROLLBACK", nil)
		return fmt.Errorf("writing %s: %w", key.name(), err)
	}
	if err := sqlitex.Execute(f.conn, "COMMIT", nil); err != nil {
		_ = sqlitex.Execute(f.conn, "ROLLBACK", nil)
		return fmt.Errorf("writing %s: %w", key.name(), err)
	}
	size, err := f.size()
	if err == nil && size >= w.partSize() {
		w.closeFile(key)
		w.store.addFile(fileKey{key.day, key.part + 1})
		w.tidy()
	}
	return nil
}

func (w *writer) open(key fileKey) (*file, error) {
	f := w.files[key]
	if f == nil {
		var err error
		if f, err = openFile(w.store.dir, key); err != nil {
			return nil, fmt.Errorf("opening %s: %w", key.name(), err)
		}
		w.files[key] = f
		w.store.addFile(key)
	}
	f.used = w.store.options.Now()
	return f, nil
}

// partSize is how large a file may grow. A day that needs more gets another
// one, so that max_disk can always be kept by dropping the oldest.
func (w *writer) partSize() int64 {
	return min(max(w.store.maxDisk.Load()/8, 4<<20), 4<<30)
}

func (w *writer) records(f *file, batch []*Record) error {
	compress := !w.store.queue.busy()
	w.block, w.pending = w.block[:0], w.pending[:0]
	for i, r := range batch {
		if i%8 == 7 {
			runtime.Gosched() // requests go first
		}
		p, e := w.preparer.prepare(r)
		var err error
		if p.seriesID, err = f.seriesID(&p.series); err != nil {
			return err
		}
		if e.details != nil || e.request != nil || e.response != nil {
			w.keys = w.keys[:0]
			for _, v := range e.shared {
				var key uint64
				if key, w.packed, err = f.shareText(v.Of(e.request), w.packed); err != nil {
					return err
				}
				w.keys = append(w.keys, key)
			}
			p.block, p.offset = f.nextBlock, int64(len(w.block))
			w.block = appendEntry(w.block, &e, w.keys)
			p.size = int64(len(w.block)) - p.offset
		}
		w.pending = append(w.pending, *p)
		if len(w.pending) >= blockEntries || len(w.block) >= blockBytes {
			if err := w.finishBlock(f, compress); err != nil {
				return err
			}
		}
	}
	if err := w.finishBlock(f, compress); err != nil {
		return err
	}
	return f.putSegment()
}

// largeEntry is the mean size from which on a block is stored as it is:
// compressing 100 KB takes more CPU (S2: 0.26 ms) than all the rest of the
// call, while writing them takes 0.1 ms.
const largeEntry = 32 << 10

// finishBlock stores the block and the rows of its traces.
func (w *writer) finishBlock(f *file, compress bool) (err error) {
	if len(w.block) > 0 {
		compress = compress && len(w.block)/len(w.pending) <= largeEntry
		if w.packed, err = f.putBlock(w.block, w.packed, compress); err != nil {
			return err
		}
	}
	for i := range w.pending {
		p := &w.pending[i]
		if f.segment.full() {
			if err := f.putSegment(); err != nil {
				return err
			}
			f.segment.next()
		}
		if w.scratch, err = f.insert(p, w.scratch); err != nil {
			return err
		}
		f.segment.add(p)
	}
	w.pending, w.block = w.pending[:0], w.block[:0]
	if cap(w.block) > 4<<20 {
		w.block, w.packed = nil, nil
	}
	return nil
}

func (w *writer) closeFile(key fileKey) {
	if f := w.files[key]; f != nil {
		f.close()
		delete(w.files, key)
	}
}

// quarantine renames a file that SQLite cannot make sense of, so that a new
// one can be begun, and says so.
func (w *writer) quarantine(key fileKey, cause error) {
	s := w.store
	w.closeFile(key)
	s.readers.forget(key)
	s.begunAgain(key)
	s.damaged.Add(1)
	old := filepath.Join(s.dir, key.name())
	aside := fmt.Sprintf("%s.damaged-%d", old, s.options.Now().Unix())
	err := os.Rename(old, aside)
	for _, suffix := range []string{"-wal", "-shm", blocksSuffix} {
		if e := os.Rename(old+suffix, aside+suffix); e != nil && !errors.Is(e, os.ErrNotExist) && err == nil {
			err = e
		}
	}
	s.log.Error("trace file is damaged; it was renamed and a new one is begun", zap.String("file", old), zap.String("renamed_to", aside), zap.Error(cause), zap.NamedError("rename_error", err))
}

func damagedFile(err error) bool {
	switch sqlite.ErrCode(err).ToPrimary() {
	case sqlite.ResultCorrupt, sqlite.ResultNotADB:
		return true
	}
	return errors.Is(err, errForeign)
}

func noSpace(err error) bool {
	return sqlite.ErrCode(err).ToPrimary() == sqlite.ResultFull || errors.Is(err, syscall.ENOSPC)
}
