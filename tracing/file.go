package tracing

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"
)

// fileKey names a file of traces: a UTC day, and its part when a day has
// more than one because it grew too large.
type fileKey struct {
	day, part int
}

func (k fileKey) name() string {
	name := "traces-" + time.Unix(int64(k.day)*86400, 0).UTC().Format(time.DateOnly)
	if k.part > 1 {
		name += "." + strconv.Itoa(k.part)
	}
	return name + ".db"
}

// end is when the file's day is over.
func (k fileKey) end() time.Time { return time.Unix(int64(k.day+1)*86400, 0).UTC() }

// compare orders files by day, and the parts of a day.
func (k fileKey) compare(o fileKey) int {
	if k.day != o.day {
		return k.day - o.day
	}
	return k.part - o.part
}

func parseFileName(name string) (k fileKey, ok bool) {
	name, ok = strings.CutPrefix(name, "traces-")
	if !ok {
		return k, false
	}
	name, ok = strings.CutSuffix(name, ".db")
	if !ok {
		return k, false
	}
	date, part, several := strings.Cut(name, ".")
	k.part = 1
	if several {
		n, err := strconv.Atoi(part)
		if err != nil || n < 2 {
			return k, false
		}
		k.part = n
	}
	t, err := time.Parse(time.DateOnly, date)
	if err != nil {
		return k, false
	}
	k.day = int(t.Unix() / 86400)
	return k, true
}

const (
	applicationID = 0x46525452 // "FRTR"
	schemaVersion = 1
)

// schema is that of a day's file. The view traces is for people: everything
// that the list of the admin API shows, in plain SQL.
const schema = `
CREATE TABLE series (
	id INTEGER PRIMARY KEY, front TEXT, route TEXT, variant TEXT, assignment TEXT, provider TEXT, model TEXT, requested_model TEXT,
	prompt TEXT, prompt_version INTEGER, prompt_source TEXT, stream INTEGER, status TEXT, http_status INTEGER, error_class TEXT,
	finish_reason TEXT, crc INTEGER);
CREATE TABLE calls (
	seq INTEGER PRIMARY KEY, id BLOB, series INTEGER, started_us INTEGER, duration_us INTEGER, ttft_us INTEGER,
	input_tokens INTEGER, output_tokens INTEGER, cached_input_tokens INTEGER, cache_write_input_tokens INTEGER,
	reasoning_output_tokens INTEGER, cost_usd REAL, flags INTEGER, attempts INTEGER, session TEXT, user TEXT, key TEXT,
	conversation TEXT, tags TEXT, block INTEGER, entry_offset INTEGER, entry_size INTEGER, crc INTEGER);
CREATE TABLE segments (n INTEGER PRIMARY KEY, min_seq INTEGER, max_seq INTEGER, crc INTEGER, digests BLOB);
CREATE INDEX segments_time ON segments (max_seq, min_seq);
CREATE TABLE blocks (n INTEGER PRIMARY KEY, codec INTEGER, size INTEGER, crc INTEGER, place INTEGER, length INTEGER);
CREATE TABLE texts (key INTEGER PRIMARY KEY, codec INTEGER, size INTEGER, crc INTEGER, data BLOB);
CREATE TABLE feedback (n INTEGER PRIMARY KEY, seq INTEGER, at_us INTEGER, name TEXT, value TEXT, comment TEXT, source TEXT, crc INTEGER);
CREATE INDEX feedback_seq ON feedback (seq);
CREATE VIEW traces AS SELECT
	lower(hex(c.id)) AS id, strftime('%Y-%m-%dT%H:%M:%fZ', c.started_us / 1e6, 'unixepoch') AS started_at, c.duration_us / 1e3 AS duration_ms,
	c.ttft_us / 1e3 AS ttft_ms, s.route, s.variant, s.assignment, s.provider, s.model, s.requested_model, s.prompt, s.prompt_version,
	s.prompt_source, s.front, s.stream, s.status, s.http_status, s.error_class, s.finish_reason, c.attempts, c.input_tokens, c.output_tokens,
	c.cached_input_tokens, c.cache_write_input_tokens, c.reasoning_output_tokens, (c.flags >> 1) & 1 AS estimated, c.cost_usd, c.session,
	c.user, c.key, c.conversation, c.tags, (c.flags >> 2) & 1 AS client_retry
	FROM calls c LEFT JOIN series s ON s.id = c.series;
`

// file is a day's file as the writer has it open.
type file struct {
	key  fileKey
	conn *sqlite.Conn
	used time.Time

	insertCall, insertSegment, insertBlock, insertText, selectText, insertSeries, pageCount *sqlite.Stmt

	series    map[series]int64
	texts     sharedTexts
	nextBlock int64
	blocks    *blockFile
	segment   segment
}

// segment is the one that the writer is filling.
type segment struct {
	n        int64
	min, max int64
	digests  []byte
}

func (s *segment) full() bool { return len(s.digests) >= segmentLength*digestSize }

// next begins another segment; this one has been stored.
func (s *segment) next() {
	s.n++
	s.digests = s.digests[:0]
}

func (s *segment) add(w *row) {
	if len(s.digests) == 0 {
		s.min, s.max = w.seq, w.seq
	}
	s.min, s.max = min(s.min, w.seq), max(s.max, w.seq)
	s.digests = appendDigest(s.digests, w)
}

// errForeign is a database that is none of ours, or of a newer version.
var errForeign = errors.New("not a trace file of this version")

// openFile opens the file for writing and makes it when there is none.
func openFile(dir string, key fileKey) (_ *file, err error) {
	path := filepath.Join(dir, key.name())
	info, statErr := os.Stat(path)
	fresh := errors.Is(statErr, os.ErrNotExist) || statErr == nil && info.Size() == 0
	if fresh { // SQLite takes the mode of a file that is there, for its WAL too
		f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			return nil, err
		}
		_ = f.Close()
	}
	conn, err := sqlite.OpenConn(path, sqlite.OpenReadWrite)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = conn.Close()
		}
	}()
	conn.SetBusyTimeout(5 * time.Second)
	if fresh {
		if err := sqlitex.ExecuteTransient(conn, "PRAGMA page_size = 8192", nil); err != nil {
			return nil, err
		}
	}
	for _, pragma := range []string{
		"PRAGMA journal_mode = wal", "PRAGMA synchronous = full", "PRAGMA cache_size = -4096", "PRAGMA journal_size_limit = 33554432",
		"PRAGMA wal_autocheckpoint = 1024", "PRAGMA cell_size_check = on", "PRAGMA temp_store = memory",
	} {
		if err := sqlitex.ExecuteTransient(conn, pragma, nil); err != nil {
			return nil, err
		}
	}
	f := &file{key: key, conn: conn}
	app, err := pragmaInt(conn, "PRAGMA application_id")
	if err != nil {
		return nil, err
	}
	tables, err := pragmaInt(conn, "SELECT count(*) FROM sqlite_schema")
	if err != nil {
		return nil, err
	}
	if tables == 0 && app == 0 {
		err := sqlitex.ExecuteScript(conn, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d;", applicationID, schemaVersion)+schema, nil)
		if err != nil {
			return nil, err
		}
		app = applicationID
	}
	version, err := pragmaInt(conn, "PRAGMA user_version")
	if err != nil {
		return nil, err
	}
	if app != applicationID || version != schemaVersion {
		return nil, errForeign
	}
	if err := f.prepare(); err != nil {
		return nil, err
	}
	if err := f.load(); err != nil {
		return nil, err
	}
	f.blocks, err = f.openBlocks(path + blocksSuffix)
	return f, err
}

func pragmaInt(conn *sqlite.Conn, query string) (n int64, err error) {
	err = sqlitex.ExecuteTransient(conn, query, &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		n = stmt.ColumnInt64(0)
		return nil
	}})
	return n, err
}

func (f *file) prepare() (err error) {
	for _, p := range []struct {
		stmt **sqlite.Stmt
		sql  string
	}{
		{&f.insertCall, "INSERT OR IGNORE INTO calls VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19,?20,?21,?22,?23)"},
		{&f.insertSegment, "INSERT OR REPLACE INTO segments VALUES (?1,?2,?3,?4,?5)"},
		{&f.insertBlock, "INSERT INTO blocks VALUES (?1,?2,?3,?4,?5,?6)"},
		{&f.insertText, "INSERT OR IGNORE INTO texts VALUES (?1,?2,?3,?4,?5)"},
		{&f.selectText, "SELECT codec, size, crc, data FROM texts WHERE key = ?1"},
		{&f.insertSeries, "INSERT INTO series VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17)"},
		{&f.pageCount, "PRAGMA page_count"},
	} {
		if *p.stmt, err = f.conn.Prepare(p.sql); err != nil {
			return err
		}
	}
	return nil
}

// load continues where the file ends.
func (f *file) load() error {
	var err error
	if f.nextBlock, err = pragmaInt(f.conn, "SELECT coalesce(max(n), 0) + 1 FROM blocks"); err != nil {
		return err
	}
	f.series = map[series]int64{}
	stmt, err := f.conn.Prepare("SELECT * FROM series ORDER BY id DESC LIMIT ?1")
	if err != nil {
		return err
	}
	stmt.BindInt64(1, maxSeries/2)
	for {
		more, err := stmt.Step()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if id, s, ok := readSeries(stmt); ok {
			f.series[s] = id
		}
	}
	if f.segment.n, err = pragmaInt(f.conn, "SELECT coalesce(max(n), 0) FROM segments"); err != nil || f.segment.n == 0 {
		f.segment.n = max(f.segment.n, 1)
		return err
	}
	stmt, err = f.conn.Prepare("SELECT n, min_seq, max_seq, crc, digests FROM segments WHERE n = ?1")
	if err != nil {
		return err
	}
	stmt.BindInt64(1, f.segment.n)
	defer func() { _ = stmt.Reset() }()
	if more, err := stmt.Step(); err != nil || !more {
		return err
	}
	f.segment.min, f.segment.max = stmt.ColumnInt64(1), stmt.ColumnInt64(2)
	f.segment.digests = columnBytes(stmt, 4)
	if checksum(f.segment.digests, f.segment.n, f.segment.min, f.segment.max) != stmt.ColumnInt64(3) {
		// Left as it is: what is damaged is found when it is read.
		f.segment = segment{n: f.segment.n + 1}
	}
	return nil
}

func (f *file) close() {
	_ = f.conn.Close()
	f.blocks.close()
}

// size is how large the file is, or will be after its next checkpoint.
func (f *file) size() (int64, error) {
	defer func() { _ = f.pageCount.Reset() }()
	if _, err := f.pageCount.Step(); err != nil {
		return 0, err
	}
	return f.pageCount.ColumnInt64(0)*8192 + f.blocks.end, nil
}

// maxSeries bounds how many series are remembered; one that is forgotten is
// stored once more.
const maxSeries = 16 << 10

func (f *file) seriesID(s *series) (int64, error) {
	if id, ok := f.series[*s]; ok {
		return id, nil
	}
	if len(f.series) >= maxSeries {
		clear(f.series)
	}
	id, err := pragmaInt(f.conn, "SELECT coalesce(max(id), 0) + 1 FROM series")
	if err != nil {
		return 0, err
	}
	stmt := f.insertSeries
	stmt.BindInt64(1, id)
	bindText(stmt, 2, s.front)
	bindText(stmt, 3, s.route)
	bindText(stmt, 4, s.variant)
	bindText(stmt, 5, s.assignment)
	bindText(stmt, 6, s.provider)
	bindText(stmt, 7, s.model)
	bindText(stmt, 8, s.requested)
	bindText(stmt, 9, s.prompt)
	stmt.BindInt64(10, s.version)
	bindText(stmt, 11, s.source)
	stmt.BindBool(12, s.stream)
	bindText(stmt, 13, s.status)
	stmt.BindInt64(14, s.httpStatus)
	bindText(stmt, 15, s.errorClass)
	bindText(stmt, 16, s.finish)
	stmt.BindInt64(17, s.checksum(id))
	if err := execute(stmt); err != nil {
		return 0, err
	}
	f.series[*s] = id
	return id, nil
}

func (s *series) checksum(id int64) int64 {
	b := make([]byte, 0, 256)
	for _, t := range []string{s.front, s.route, s.variant, s.assignment, s.provider, s.model, s.requested, s.prompt, s.source, s.status, s.errorClass, s.finish} {
		b = binary.AppendUvarint(b, uint64(len(t)))
		b = append(b, t...)
	}
	stream := int64(0)
	if s.stream {
		stream = 1
	}
	return checksum(b, id, s.version, stream, s.httpStatus)
}

// readSeries reads a row of series; ok is false when it is damaged.
func readSeries(stmt *sqlite.Stmt) (id int64, s series, ok bool) {
	id = stmt.ColumnInt64(0)
	s = series{
		front: stmt.ColumnText(1), route: stmt.ColumnText(2), variant: stmt.ColumnText(3), assignment: stmt.ColumnText(4), provider: stmt.ColumnText(5),
		model: stmt.ColumnText(6), requested: stmt.ColumnText(7), prompt: stmt.ColumnText(8), version: stmt.ColumnInt64(9), source: stmt.ColumnText(10),
		stream: stmt.ColumnInt64(11) != 0, status: stmt.ColumnText(12), httpStatus: stmt.ColumnInt64(13), errorClass: stmt.ColumnText(14),
		finish: stmt.ColumnText(15),
	}
	return id, s, s.checksum(id) == stmt.ColumnInt64(16)
}

// insert stores the row. Where another trace has its key, it takes a later one.
func (f *file) insert(w *row, scratch []byte) ([]byte, error) {
	for {
		stmt := f.insertCall
		stmt.BindInt64(1, w.seq)
		stmt.BindBytes(2, w.id[:])
		stmt.BindInt64(3, w.seriesID)
		stmt.BindInt64(4, w.started)
		stmt.BindInt64(5, w.duration)
		bindInt(stmt, 6, w.ttft, w.ttft >= 0)
		used := w.flags&flagUsage != 0
		bindInt(stmt, 7, w.usage.Input, used)
		bindInt(stmt, 8, w.usage.Output, used)
		bindInt(stmt, 9, w.usage.CachedInput, used)
		bindInt(stmt, 10, w.usage.CacheWriteInput, used)
		bindInt(stmt, 11, w.usage.Reasoning, used)
		if math.IsNaN(w.cost) {
			stmt.BindNull(12)
		} else {
			stmt.BindFloat(12, w.cost)
		}
		stmt.BindInt64(13, w.flags)
		stmt.BindInt64(14, w.attempts)
		bindText(stmt, 15, w.session)
		bindText(stmt, 16, w.user)
		bindText(stmt, 17, w.key)
		bindText(stmt, 18, w.conversation)
		bindText(stmt, 19, w.tags)
		stmt.BindInt64(20, w.block)
		stmt.BindInt64(21, w.offset)
		stmt.BindInt64(22, w.size)
		scratch = w.appendTo(scratch[:0])
		stmt.BindInt64(23, checksum(scratch))
		if err := execute(stmt); err != nil {
			return scratch, err
		}
		if f.conn.Changes() > 0 {
			return scratch, nil
		}
		if w.flags>>flagShift&maxShift == maxShift {
			return scratch, fmt.Errorf("more than %d traces of one moment", maxShift)
		}
		w.seq++
		w.flags += 1 << flagShift
	}
}

// appendTo writes what a row's checksum covers.
func (w *row) appendTo(b []byte) []byte {
	le := binary.LittleEndian
	b = append(b, w.id[:]...)
	for _, n := range [...]int64{w.seq, w.seriesID, w.started, w.duration, w.ttft, w.usage.Input, w.usage.Output, w.usage.CachedInput, w.usage.CacheWriteInput, w.usage.Reasoning, w.flags, w.attempts, w.block, w.offset, w.size} {
		b = le.AppendUint64(b, uint64(n))
	}
	cost := uint64(math.MaxUint64)
	if !math.IsNaN(w.cost) {
		cost = math.Float64bits(w.cost)
	}
	b = le.AppendUint64(b, cost)
	for _, s := range [...]string{w.session, w.user, w.key, w.conversation, w.tags} {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	return b
}

// readRow reads a row of calls; ok is false when it is damaged.
func readRow(stmt *sqlite.Stmt) (w row, ok bool) {
	w.seq = stmt.ColumnInt64(0)
	stmt.ColumnBytes(1, w.id[:])
	w.seriesID = stmt.ColumnInt64(2)
	w.started = stmt.ColumnInt64(3)
	w.duration = stmt.ColumnInt64(4)
	w.ttft = -1
	if !stmt.ColumnIsNull(5) {
		w.ttft = stmt.ColumnInt64(5)
	}
	w.usage.Input = stmt.ColumnInt64(6)
	w.usage.Output = stmt.ColumnInt64(7)
	w.usage.CachedInput = stmt.ColumnInt64(8)
	w.usage.CacheWriteInput = stmt.ColumnInt64(9)
	w.usage.Reasoning = stmt.ColumnInt64(10)
	w.cost = math.NaN()
	if !stmt.ColumnIsNull(11) {
		w.cost = stmt.ColumnFloat(11)
	}
	w.flags = stmt.ColumnInt64(12)
	w.attempts = stmt.ColumnInt64(13)
	w.session = stmt.ColumnText(14)
	w.user = stmt.ColumnText(15)
	w.key = stmt.ColumnText(16)
	w.conversation = stmt.ColumnText(17)
	w.tags = stmt.ColumnText(18)
	w.block = stmt.ColumnInt64(19)
	w.offset = stmt.ColumnInt64(20)
	w.size = stmt.ColumnInt64(21)
	w.usage.Estimated = w.flags&flagEstimated != 0
	return w, checksum(w.appendTo(nil)) == stmt.ColumnInt64(22)
}

func (f *file) putSegment() error {
	s := &f.segment
	if len(s.digests) == 0 {
		return nil
	}
	stmt := f.insertSegment
	stmt.BindInt64(1, s.n)
	stmt.BindInt64(2, s.min)
	stmt.BindInt64(3, s.max)
	stmt.BindInt64(4, checksum(s.digests, s.n, s.min, s.max))
	stmt.BindBytes(5, s.digests)
	return execute(stmt)
}

func execute(stmt *sqlite.Stmt) error {
	_, err := stmt.Step()
	if resetErr := stmt.Reset(); err == nil {
		err = resetErr
	}
	return err
}

// bindText binds NULL for the empty text.
func bindText(stmt *sqlite.Stmt, param int, s string) {
	if s == "" {
		stmt.BindNull(param)
		return
	}
	stmt.BindText(param, s)
}

func bindInt(stmt *sqlite.Stmt, param int, n int64, known bool) {
	if !known {
		stmt.BindNull(param)
		return
	}
	stmt.BindInt64(param, n)
}

func columnBytes(stmt *sqlite.Stmt, col int) []byte {
	b := make([]byte, stmt.ColumnLen(col))
	return b[:stmt.ColumnBytes(col, b)]
}
