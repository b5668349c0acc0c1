package tracing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"go.uber.org/zap"
	"zombiezen.com/go/sqlite/sqlitex"
)

// Position is how far a follower has come in one file. Traces lie in a file's
// segments in the order in which they were stored, and feedback is numbered.
type Position struct {
	Segment  int64 `json:"segment"`  // the segment of the last trace that was read
	Index    int   `json:"index"`    // how many traces of that segment were read
	Feedback int64 `json:"feedback"` // the number of the last feedback that was read
}

// Batch is what a follower reads at once: traces of one file, or feedback on
// traces that were in batches before.
type Batch struct {
	Traces   []Trace
	Feedback []TraceFeedback

	// PromptTags returns the tags of a prompt version, nil when it is not
	// known (any more). Set by whoever hands the batch to an Exporter.
	PromptTags func(name string, version int) map[string]string

	key  fileKey
	next Position
}

// TraceFeedback is feedback with the trace that it is about.
type TraceFeedback struct {
	TraceID string
	ID      string // the same whenever it is read
	Feedback
}

// Split halves a batch of several traces or feedbacks.
func (b *Batch) Split() (first, second *Batch) {
	x, y := *b, *b
	x.Traces, y.Traces = b.Traces[:len(b.Traces)/2], b.Traces[len(b.Traces)/2:]
	x.Feedback, y.Feedback = b.Feedback[:len(b.Feedback)/2], b.Feedback[len(b.Feedback)/2:]
	return &x, &y
}

// Len is how many traces and feedbacks there are.
func (b *Batch) Len() int { return len(b.Traces) + len(b.Feedback) }

// An Exporter ships finished traces elsewhere. Guest modules of the namespace
// llm.trace_exporters implement it. It is used by one goroutine at a time, and
// never by a request.
type Exporter interface {
	// Destination names where traces go, without secrets: its first word is the
	// kind of exporter. One with the same destination goes on where the one
	// before it stopped, over reloads and restarts.
	Destination() string

	// Export delivers the batch. After an error the same batch is exported
	// again, later, so the receiver must be able to tell that it has a trace
	// already: by its id. A RejectedError says that trying again is of no use.
	Export(ctx context.Context, b *Batch) error
}

// RejectedError says that a receiver does not accept what it was sent. A batch
// is then split, and what is refused alone is left out.
type RejectedError struct{ Err error }

func (e *RejectedError) Error() string { return e.Err.Error() }
func (e *RejectedError) Unwrap() error { return e.Err }

// Follower reads everything that is stored, in the order in which it was
// stored, across files and restarts. Its methods are for one goroutine.
type Follower struct {
	store *Store
	ready chan struct{}
	at    map[fileKey]Position

	mu    sync.Mutex
	ahead map[fileKey]bool // files with something that may not have been read
	again map[fileKey]bool // files that were begun again, because they were damaged
}

// Follow returns a follower that goes on from the positions, as Positions
// returned them; nil: it begins with what is stored from now on. Stop ends it.
func (s *Store) Follow(ctx context.Context, from map[string]Position) (*Follower, error) {
	f := &Follower{store: s, ready: make(chan struct{}, 1), at: map[fileKey]Position{}, ahead: map[fileKey]bool{}, again: map[fileKey]bool{}}
	s.mu.Lock()
	files := maps.Clone(s.files)
	s.followers[f] = true
	s.mu.Unlock()
	for name, p := range from {
		if key, ok := parseFileName(name); ok {
			f.at[key] = p
		}
	}
	for key := range files {
		if from == nil {
			p, err := s.end(ctx, key)
			if err != nil && (ctx.Err() != nil || errors.Is(err, ErrClosed)) {
				f.Stop()
				return nil, err
			}
			f.at[key] = p
			continue
		}
		f.mark(key)
	}
	return f, nil
}

// Stop ends the follower.
func (f *Follower) Stop() {
	f.store.mu.Lock()
	defer f.store.mu.Unlock()
	delete(f.store.followers, f)
}

// Ready has an element when there may be something to read.
func (f *Follower) Ready() <-chan struct{} { return f.ready }

// Positions is how far the follower has come, by file name.
func (f *Follower) Positions() map[string]Position {
	out := make(map[string]Position, len(f.at))
	for key, p := range f.at {
		out[key.name()] = p
	}
	return out
}

func (f *Follower) mark(key fileKey) {
	f.mu.Lock()
	f.ahead[key] = true
	f.mu.Unlock()
	notify(f.ready)
}

// appended tells the followers that there is more in the file.
func (s *Store) appended(key fileKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.followers {
		f.mark(key)
	}
}

// begunAgain tells the followers that the file is a new one.
func (s *Store) begunAgain(key fileKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for f := range s.followers {
		f.mu.Lock()
		f.again[key] = true
		f.mu.Unlock()
	}
}

// Next reads on, at most limit traces of about size bytes. It returns nil when
// everything has been read, and the same again until Done.
func (f *Follower) Next(ctx context.Context, limit, size int) (*Batch, error) {
	for {
		key, some := f.oldest()
		if !some {
			return nil, nil
		}
		b, err := f.read(ctx, key, limit, size)
		if err != nil || b != nil {
			return b, err
		}
	}
}

// Done moves the follower behind the batch.
func (f *Follower) Done(b *Batch) { f.at[b.key] = b.next }

// oldest returns the oldest file that may have more. Its mark is taken away:
// what is appended from now on sets it again.
func (f *Follower) oldest() (oldest fileKey, some bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for key := range f.again {
		delete(f.at, key)
	}
	clear(f.again)
	for key := range f.ahead {
		if !some || key.compare(oldest) < 0 {
			oldest, some = key, true
		}
	}
	delete(f.ahead, oldest)
	return oldest, some
}

func (f *Follower) read(ctx context.Context, key fileKey, limit, size int) (b *Batch, err error) {
	s := f.store
	end, err := s.readers.begin(ctx)
	if err != nil {
		f.mark(key)
		return nil, err
	}
	defer end()
	file, err := s.readers.open(ctx, key)
	if err == nil && file == nil { // dropped by retention, or nothing in it yet
		if !s.has(key) {
			delete(f.at, key)
			s.log.Warn("a file of traces was dropped before all of them were exported", zap.String("file", key.name()))
		}
		return nil, nil
	}
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, ErrClosed) || ctxErr(err) {
			f.mark(key)
			return nil, err
		}
		s.noteDamage(key.name(), "file", err)
		return nil, nil
	}
	defer func() { s.readers.done(file, err) }()
	b = &Batch{key: key, next: f.at[key]}
	// One snapshot for both: feedback never comes before its trace.
	if err = sqlitex.Execute(file.conn, "BEGIN", nil); err == nil {
		if err = file.follow(b, limit, size); err == nil && len(b.Traces) == 0 {
			err = file.followFeedback(b, limit)
		}
		if e := sqlitex.Execute(file.conn, "COMMIT", nil); err == nil {
			err = e
		}
	}
	switch {
	case err != nil && ctxErr(err):
		f.mark(key)
		return nil, err
	case err != nil:
		s.noteDamage(key.name(), "file", err)
		return nil, nil
	case b.Len() == 0:
		f.at[key] = b.next // past what cannot be read
		return nil, nil
	}
	f.mark(key)
	return b, nil
}

// follow reads the traces behind the position.
func (f *readFile) follow(b *Batch, limit, size int) error {
	stmt, err := f.conn.Prepare("SELECT n, min_seq, max_seq, crc, digests FROM segments WHERE n >= ?1 ORDER BY n")
	if err != nil {
		return err
	}
	stmt.BindInt64(1, b.next.Segment)
	defer func() { _ = stmt.Reset() }()
	for {
		more, err := stmt.Step()
		if err != nil || !more {
			return err
		}
		n, digests := stmt.ColumnInt64(0), columnBytes(stmt, 4)
		if n != b.next.Segment {
			b.next.Segment, b.next.Index = n, 0
		}
		if len(digests)%digestSize != 0 || checksum(digests, n, stmt.ColumnInt64(1), stmt.ColumnInt64(2)) != stmt.ColumnInt64(3) {
			f.store.noteDamage(f.key.name(), fmt.Sprintf("segment %d", n), errDamaged)
			continue
		}
		for ; b.next.Index < len(digests)/digestSize; b.next.Index++ {
			if len(b.Traces) >= limit || size <= 0 {
				return nil
			}
			d := digest(digests[b.next.Index*digestSize:])
			t, err := f.traceAt(d.seq(), d.id())
			if errors.Is(err, errDamaged) {
				continue // noted
			}
			if err != nil {
				return err
			}
			size -= len(t.Request) + len(t.Response) + 1<<10
			b.Traces = append(b.Traces, t)
		}
	}
}

// followFeedback reads the feedback behind the position.
func (f *readFile) followFeedback(b *Batch, limit int) error {
	stmt, err := f.conn.Prepare("SELECT feedback.n, feedback.seq, at_us, name, value, comment, source, feedback.crc, calls.id" +
		" FROM feedback JOIN calls ON calls.seq = feedback.seq WHERE feedback.n > ?1 ORDER BY feedback.n LIMIT ?2")
	if err != nil {
		return err
	}
	stmt.BindInt64(1, b.next.Feedback)
	stmt.BindInt64(2, int64(limit))
	for {
		more, err := stmt.Step()
		if err != nil || !more {
			return err
		}
		b.next.Feedback = stmt.ColumnInt64(0)
		fb, err := readFeedback(stmt)
		if err != nil {
			f.store.noteDamage(f.key.name(), fmt.Sprintf("feedback %d", b.next.Feedback), err)
			continue
		}
		b.Feedback = append(b.Feedback, TraceFeedback{
			TraceID: fmt.Sprintf("%x", columnBytes(stmt, 8)), ID: fmt.Sprintf("%s/%d", f.key.name(), b.next.Feedback), Feedback: fb,
		})
	}
}

// end is the position behind everything in the file.
func (s *Store) end(ctx context.Context, key fileKey) (p Position, err error) {
	stop, err := s.readers.begin(ctx)
	if err != nil {
		return p, err
	}
	defer stop()
	f, err := s.readers.open(ctx, key)
	if err != nil || f == nil {
		return p, err
	}
	defer func() { s.readers.done(f, err) }()
	if p.Feedback, err = pragmaInt(f.conn, "SELECT coalesce(max(n), 0) FROM feedback"); err != nil {
		return p, err
	}
	if p.Segment, err = pragmaInt(f.conn, "SELECT coalesce(max(n), 0) FROM segments"); err != nil {
		return p, err
	}
	size, err := pragmaInt(f.conn, fmt.Sprintf("SELECT coalesce(max(length(digests)), 0) FROM segments WHERE n = %d", p.Segment))
	p.Index = int(size) / digestSize
	return p, err
}
