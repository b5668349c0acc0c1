package tracing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// readers keeps read-only connections to the files for queries. They never
// make the writer wait (WAL).
type readers struct {
	store *Store
	slots chan struct{} // one for each query that runs

	mu     sync.Mutex
	idle   map[fileKey][]*readFile
	count  int
	closed bool
}

const (
	maxQueries = 4
	maxIdle    = 8
)

func (r *readers) init(s *Store) {
	r.store = s
	r.slots = make(chan struct{}, maxQueries)
	r.idle = map[fileKey][]*readFile{}
}

// begin waits until the query may run. The returned function ends it.
func (r *readers) begin(ctx context.Context) (func(), error) {
	select {
	case r.slots <- struct{}{}:
		return func() { <-r.slots }, nil
	case <-r.store.stop:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// open returns a connection to the file, nil when the file is not there.
func (r *readers) open(ctx context.Context, key fileKey) (*readFile, error) {
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		return nil, ErrClosed
	}
	var f *readFile
	if list := r.idle[key]; len(list) > 0 {
		f = list[len(list)-1]
		r.idle[key] = list[:len(list)-1]
		r.count--
	}
	r.mu.Unlock()
	if f == nil {
		path := filepath.Join(r.store.dir, key.name())
		if missing(path) {
			return nil, nil
		}
		conn, err := sqlite.OpenConn(path, sqlite.OpenReadOnly)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", key.name(), err)
		}
		conn.SetBusyTimeout(5 * time.Second)
		for _, pragma := range []string{"PRAGMA cache_size = -2048", "PRAGMA cell_size_check = on"} {
			if err := sqlitex.ExecuteTransient(conn, pragma, nil); err != nil {
				_ = conn.Close()
				return nil, fmt.Errorf("reading %s: %w", key.name(), err)
			}
		}
		// A process that died at the right moment leaves a file with nothing in it.
		if n, err := pragmaInt(conn, "SELECT count(*) FROM sqlite_schema"); err != nil || n == 0 {
			_ = conn.Close()
			if err != nil {
				err = fmt.Errorf("reading %s: %w", key.name(), err)
			}
			return nil, err
		}
		f = &readFile{store: r.store, key: key, conn: conn, series: map[uint32]series{}}
	}
	f.conn.SetInterrupt(ctx.Done())
	if err := f.loadSeries(); err != nil {
		f.conn.SetInterrupt(nil)
		f.close()
		return nil, fmt.Errorf("reading %s: %w", key.name(), err)
	}
	return f, nil
}

// done takes the connection back. After an error it is not used again.
func (r *readers) done(f *readFile, err error) {
	f.conn.SetInterrupt(nil)
	f.block, f.blockData = 0, nil
	r.mu.Lock()
	keep := err == nil && !r.closed && r.count < maxIdle && r.store.has(f.key)
	if keep {
		r.idle[f.key] = append(r.idle[f.key], f)
		r.count++
	}
	r.mu.Unlock()
	if !keep {
		f.close()
	}
}

// forget closes the idle connections to a file that goes away.
func (r *readers) forget(key fileKey) {
	r.mu.Lock()
	list := r.idle[key]
	delete(r.idle, key)
	r.count -= len(list)
	r.mu.Unlock()
	for _, f := range list {
		f.close()
	}
}

func (r *readers) close() {
	r.mu.Lock()
	r.closed = true
	all := r.idle
	r.idle, r.count = map[fileKey][]*readFile{}, 0
	r.mu.Unlock()
	for _, list := range all {
		for _, f := range list {
			f.close()
		}
	}
	for range maxQueries { // and wait for the queries that run
		r.slots <- struct{}{}
	}
}

func (s *Store) has(key fileKey) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.files[key]
}

// noteDamage counts what was found damaged, and logs it.
func (s *Store) noteDamage(file, what string, err error) {
	n := s.damaged.Add(1)
	if n > 100 && n%1000 != 0 {
		return // what is damaged is met again with every query
	}
	s.log.Error("damaged trace data", zap.String("file", file), zap.String("what", what), zap.Error(err))
}

// readFile is a file as a query has it open.
type readFile struct {
	store      *Store
	key        fileKey
	conn       *sqlite.Conn
	series     map[uint32]series
	lastSeries int64
	block      int64 // that blockData is of
	blockData  []byte
	blockErr   error
	buffer     []byte
	blocks     *os.File
}

func (f *readFile) loadSeries() error {
	stmt, err := f.conn.Prepare("SELECT * FROM series WHERE id > ?1 ORDER BY id")
	if err != nil {
		return err
	}
	stmt.BindInt64(1, f.lastSeries)
	for {
		more, err := stmt.Step()
		if err != nil || !more {
			return err
		}
		id, s, ok := readSeries(stmt)
		if ok {
			f.series[uint32(id)] = s
		} else {
			f.store.noteDamage(f.key.name(), fmt.Sprintf("series %d", id), errDamaged)
		}
		f.lastSeries = id
	}
}

// span is the place of a segment: where its digests are, and of which time.
type span struct {
	file     *readFile
	n        int64
	min, max int64
	rows     bool // its digests are made from rows: the segments are damaged
}

// spans lists the file's segments between two keys. When segments are
// missing, rows take their place.
func (f *readFile) spans(dst []span, from, to int64) ([]span, error) {
	start := len(dst)
	var count, first, last int64
	stmt, err := f.conn.Prepare("SELECT n, min_seq, max_seq FROM segments INDEXED BY segments_time")
	if err != nil {
		return dst, err
	}
	for {
		more, err := stmt.Step()
		if err != nil {
			if ctxErr(err) {
				return dst, err
			}
			f.store.noteDamage(f.key.name(), "segments", err)
			return f.rowSpans(dst[:start], from, to)
		}
		if !more {
			break
		}
		s := span{file: f, n: stmt.ColumnInt64(0), min: stmt.ColumnInt64(1), max: stmt.ColumnInt64(2)}
		if count == 0 {
			first, last = s.n, s.n
		}
		count++
		first, last = min(first, s.n), max(last, s.n)
		if s.max >= from && s.min < to {
			dst = append(dst, s)
		}
	}
	if count > 0 && (first != 1 || last != count) {
		f.store.noteDamage(f.key.name(), "segments", fmt.Errorf("%w: %d of %d segments", errDamaged, count, last))
		return f.rowSpans(dst[:start], from, to)
	}
	return dst, nil
}

// rowSpans cuts the rows themselves into spans.
func (f *readFile) rowSpans(dst []span, from, to int64) ([]span, error) {
	stmt, err := f.conn.Prepare("SELECT seq FROM calls WHERE seq >= ?1 AND seq < ?2 ORDER BY seq")
	if err != nil {
		return dst, err
	}
	stmt.BindInt64(1, from)
	stmt.BindInt64(2, to)
	n := 0
	for {
		more, err := stmt.Step()
		if err != nil {
			if ctxErr(err) {
				return dst, err
			}
			f.store.noteDamage(f.key.name(), "rows", err)
			return dst, nil
		}
		if !more {
			return dst, nil
		}
		seq := stmt.ColumnInt64(0)
		if n%segmentLength == 0 {
			dst = append(dst, span{file: f, min: seq, max: seq, rows: true})
		}
		n++
		dst[len(dst)-1].max = seq
	}
}

// digests reads a segment. The result is good until the next call.
func (f *readFile) digests(s span) ([]byte, error) {
	if s.rows {
		return f.rowDigests(s.min, s.max)
	}
	stmt, err := f.lookUp("SELECT min_seq, max_seq, crc, digests FROM segments WHERE n = ?1", s.n, "segment")
	if err != nil {
		return nil, err
	}
	defer func() { _ = stmt.Reset() }()
	size := stmt.ColumnLen(3)
	f.buffer = slices.Grow(f.buffer[:0], size)[:size]
	stmt.ColumnBytes(3, f.buffer)
	if size%digestSize != 0 || checksum(f.buffer, s.n, stmt.ColumnInt64(0), stmt.ColumnInt64(1)) != stmt.ColumnInt64(2) {
		return nil, fmt.Errorf("%w: checksum of segment %d", errDamaged, s.n)
	}
	return f.buffer, nil
}

func (f *readFile) rowDigests(from, to int64) ([]byte, error) {
	stmt, err := f.conn.Prepare("SELECT * FROM calls WHERE seq BETWEEN ?1 AND ?2 ORDER BY seq")
	if err != nil {
		return nil, err
	}
	stmt.BindInt64(1, from)
	stmt.BindInt64(2, to)
	f.buffer = f.buffer[:0]
	for {
		more, err := stmt.Step()
		if err != nil {
			if ctxErr(err) {
				return nil, err
			}
			f.store.noteDamage(f.key.name(), "rows", err)
			return f.buffer, nil
		}
		if !more {
			return f.buffer, nil
		}
		w, ok := readRow(stmt)
		if !ok { // only its place is to be trusted
			w = row{seq: w.seq, id: w.id, ttft: -1, seriesID: -1}
		}
		f.buffer = appendDigest(f.buffer, &w)
	}
}

// call reads the row of a key. Without an error it is the undamaged row.
func (f *readFile) call(seq int64) (row, error) {
	stmt, err := f.lookUp("SELECT * FROM calls WHERE seq = ?1", seq, "row")
	if err != nil {
		return row{}, err
	}
	defer func() { _ = stmt.Reset() }()
	w, ok := readRow(stmt)
	if !ok {
		return row{seq: seq}, fmt.Errorf("%w: checksum of the row", errDamaged)
	}
	s, ok := f.series[uint32(w.seriesID)]
	if !ok && f.loadSeries() == nil { // the row may have come after the last look
		s, ok = f.series[uint32(w.seriesID)]
	}
	if !ok {
		return row{seq: seq}, fmt.Errorf("%w: the series of the row", errDamaged)
	}
	w.series = s
	return w, nil
}

// entry reads the payloads that belong to a row.
func (f *readFile) entry(w *row) (entry, error) {
	if w.size == 0 {
		return entry{}, nil
	}
	if f.block != w.block {
		f.block = w.block
		f.blockData, f.blockErr = f.readBlock(w.block)
		if f.blockErr != nil {
			f.store.noteDamage(f.key.name(), fmt.Sprintf("block %d", w.block), f.blockErr)
		}
	}
	if f.blockErr != nil {
		return entry{}, f.blockErr
	}
	if w.offset < 0 || w.size < 0 || w.offset+w.size > int64(len(f.blockData)) {
		return entry{}, fmt.Errorf("%w: the entry is not in its block", errDamaged)
	}
	e, err := readEntry(f.blockData[w.offset:w.offset+w.size], func(key uint64) ([]byte, error) {
		stmt, err := f.conn.Prepare("SELECT codec, size, crc, data FROM texts WHERE key = ?1")
		if err != nil {
			return nil, err
		}
		return readText(stmt, key)
	})
	if err != nil {
		return entry{}, err
	}
	if e.id != w.id {
		return entry{}, fmt.Errorf("%w: the entry is another trace's", errDamaged)
	}
	return e, nil
}

// lookUp steps to the one row that a key has; what it holds is what an error
// calls it. Without an error the statement must be reset after use.
func (f *readFile) lookUp(query string, key int64, what string) (*sqlite.Stmt, error) {
	stmt, err := f.conn.Prepare(query)
	if err != nil {
		return nil, err
	}
	stmt.BindInt64(1, key)
	more, err := stmt.Step()
	switch {
	case err == nil && more:
		return stmt, nil
	case err == nil:
		err = fmt.Errorf("%w: %s %d is missing", errDamaged, what, key)
	case !ctxErr(err):
		err = fmt.Errorf("%w: %w", errDamaged, err)
	}
	_ = stmt.Reset()
	return nil, err
}

// close lets go of the files.
func (f *readFile) close() {
	_ = f.conn.Close()
	if f.blocks != nil {
		_ = f.blocks.Close()
	}
}

func (f *readFile) readBlock(n int64) ([]byte, error) {
	stmt, err := f.lookUp("SELECT codec, size, crc, place, length FROM blocks WHERE n = ?1", n, "block")
	if err != nil {
		return nil, err
	}
	defer func() { _ = stmt.Reset() }()
	codec, size := stmt.ColumnInt64(0), stmt.ColumnInt64(1)
	if f.blocks == nil {
		if f.blocks, err = os.Open(filepath.Join(f.store.dir, f.key.name()+blocksSuffix)); err != nil {
			return nil, fmt.Errorf("%w: %w", errDamaged, err)
		}
	}
	blob, err := readBlob(f.blocks, stmt.ColumnInt64(3), stmt.ColumnInt64(4))
	if err != nil {
		return nil, err
	}
	if checksum(blob, n, codec, size) != stmt.ColumnInt64(2) {
		return nil, fmt.Errorf("%w: checksum of block %d", errDamaged, n)
	}
	return unpack(blob, codec, size)
}

// ctxErr reports whether a read failed because its query was given up.
func ctxErr(err error) bool {
	return sqlite.ErrCode(err).ToPrimary() == sqlite.ResultInterrupt || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// show is the row as the API has it.
func (w *row) show() Row {
	s := &w.series
	r := Row{
		ID: fmt.Sprintf("%x", w.id[:]), StartedAt: Time{time.UnixMicro(w.started).UTC()}, DurationMS: milliseconds(w.duration),
		Route: known(s.route), Variant: known(s.variant), Assignment: known(s.assignment), Provider: known(s.provider), Model: known(s.model),
		RequestedModel: known(s.requested), Front: s.front, Stream: s.stream, Status: s.status, ErrorClass: known(s.errorClass),
		FinishReason: known(s.finish), Attempts: int(w.attempts), Session: known(w.session), User: known(w.user), Key: known(w.key),
		Conversation: known(w.conversation), Tags: map[string]string{}, ClientRetry: w.flags&flagRetry != 0, HTTPStatus: known(int(s.httpStatus)),
	}
	if s.prompt != "" {
		r.Prompt = &Prompt{Name: s.prompt, Version: int(s.version), Source: s.source}
	}
	if w.ttft >= 0 {
		ms := milliseconds(w.ttft)
		r.TTFTMS = &ms
	}
	if w.flags&flagUsage != 0 {
		r.Usage = &Usage{
			InputTokens: w.usage.Input, OutputTokens: w.usage.Output, CachedInputTokens: w.usage.CachedInput,
			CacheWriteInputTokens: w.usage.CacheWriteInput, ReasoningOutputTokens: w.usage.Reasoning, Estimated: w.usage.Estimated,
		}
	}
	if w.cost == w.cost {
		cost := w.cost
		r.CostUSD = &cost
	}
	if w.tags != "" {
		_ = json.Unmarshal([]byte(w.tags), &r.Tags)
	}
	return r
}

// damagedRow is what is shown of a trace whose row cannot be read.
func damagedRow(id [16]byte, seq int64, err error) Row {
	return Row{ID: fmt.Sprintf("%x", id[:]), StartedAt: Time{timeOf(seq)}, Tags: map[string]string{}, Damaged: "row: " + err.Error()}
}
