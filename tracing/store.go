package tracing

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
)

// Options are a store's settings. Zero values are the defaults.
type Options struct {
	Retain  time.Duration // 0: DefaultRetain
	MaxDisk int64         // 0: DefaultMaxDisk

	// FlushInterval is how long a record waits at most. Default: 1s.
	FlushInterval time.Duration

	// MinFree is how much space must be left on the disk before anything is
	// written; the control store's own floor is lower, so that traces stop
	// first. Default: 512 MiB.
	MinFree int64

	// FreeSpace tells how much space is left for a directory; tests set it.
	FreeSpace func(dir string) (int64, error)

	// Now is the clock of retention, and Elapsed the time since the store was
	// opened by a clock that nobody can set; tests set them.
	Now     func() time.Time
	Elapsed func() time.Duration
}

// Store keeps traces in a directory of its own: SQLite files, one a UTC day.
// It has one goroutine that writes, started by Open and awaited by Close.
// All methods are safe for concurrent use, after Close too.
type Store struct {
	dir     string
	log     *zap.Logger
	options Options
	lock    *os.File
	queue   *queue
	readers readers

	retain  atomic.Int64
	maxDisk atomic.Int64
	written atomic.Int64
	dropped [dropReasons]atomic.Int64
	damaged atomic.Int64
	warned  atomic.Int64 // when drops were last warned about, Unix seconds

	commands chan command
	stop     chan struct{}
	stopped  chan struct{}
	closing  sync.Once

	mu        sync.Mutex
	files     map[fileKey]bool // that exist
	followers map[*Follower]bool

	writer writer // the writer goroutine's own
}

type command struct {
	do   func() error
	done chan error
}

// dropReason says why a record was not stored.
type dropReason uint8

const (
	stored dropReason = iota
	dropQueueFull
	dropNoSpace
	dropWriteError
	dropClosed
	dropTooLarge
	dropInvalid
	dropReasons
)

func (r dropReason) String() string {
	return [...]string{"", "queue_full", "no_space", "write_error", "closed", "too_large", "invalid_id"}[r]
}

// DropReasons are the words in Counters.Dropped.
func DropReasons() (list []string) {
	for r := dropReason(1); r < dropReasons; r++ {
		list = append(list, r.String())
	}
	return list
}

// ErrClosed says that the store has been closed.
var ErrClosed = errors.New("the trace store is closed")

// Open takes possession of the directory and starts the writer. It is light:
// the day's file is opened when the first record is written.
func Open(dir string, log *zap.Logger, o Options) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening trace store %s: %w", dir, err)
	}
	if o.FlushInterval <= 0 {
		o.FlushInterval = time.Second
	}
	if o.MinFree <= 0 {
		o.MinFree = 512 << 20
	}
	if o.FreeSpace == nil {
		o.FreeSpace = freeSpace
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Elapsed == nil {
		opened := time.Now()
		o.Elapsed = func() time.Duration { return time.Since(opened) }
	}
	if log == nil {
		log = zap.NewNop()
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("opening trace store: %w: create the directory, or give the user that runs caddy the right to (data_dir)", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("opening trace store %s: %w", dir, err)
	}
	s := &Store{
		dir: dir, log: log, options: o, lock: lock, queue: newQueue(), files: map[fileKey]bool{}, followers: map[*Follower]bool{},
		commands: make(chan command), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
	s.readers.init(s)
	s.SetRetention(o.Retain, o.MaxDisk)
	entries, err := os.ReadDir(dir)
	if err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("opening trace store: %w", err)
	}
	for _, e := range entries {
		if key, ok := parseFileName(e.Name()); ok {
			s.files[key] = true
		}
	}
	s.writer.init(s)
	go s.writer.run() // until stop is closed; Close waits for stopped
	return s, nil
}

// Close stores what is queued and releases the directory. Records offered from
// then on are dropped and counted.
func (s *Store) Close() error {
	s.closing.Do(func() {
		s.queue.close()
		close(s.stop)
		<-s.stopped
		s.readers.close()
		if n := s.queue.len(); n > 0 {
			s.log.Error("traces left in a closed queue", zap.Int("traces", n))
		}
		_ = s.lock.Close()
	})
	<-s.stopped
	return nil
}

// SetRetention changes for how long and in how much space traces are kept;
// 0 stands for the default. It is in force within a minute.
func (s *Store) SetRetention(retain time.Duration, maxDisk int64) {
	if retain <= 0 {
		retain = DefaultRetain
	}
	if maxDisk <= 0 {
		maxDisk = DefaultMaxDisk
	}
	s.retain.Store(int64(retain))
	s.maxDisk.Store(max(maxDisk, minMaxDisk))
}

// Dir returns the store's directory.
func (s *Store) Dir() string { return s.dir }

// Sync returns when everything offered before has been stored or dropped.
func (s *Store) Sync(ctx context.Context) error {
	return s.do(ctx, func() error { return nil })
}

// do has the writer store what is queued and then call f.
func (s *Store) do(ctx context.Context, f func() error) error {
	c := command{do: f, done: make(chan error, 1)}
	select {
	case s.commands <- c:
	case <-s.stop:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-c.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Counters is what became of the records offered since the store was opened:
// offered = Written + the sum of Dropped + Queued.
type Counters struct {
	Written int64            `json:"written"`
	Queued  int64            `json:"queued"`
	Dropped map[string]int64 `json:"dropped"` // by reason: queue_full, no_space, write_error, closed, too_large, invalid_id
	Damaged int64            `json:"damaged"` // rows, blocks and files found damaged when they were read
}

// Counters returns the store's counters.
func (s *Store) Counters() Counters {
	c := Counters{Written: s.written.Load(), Queued: int64(s.queue.len()), Damaged: s.damaged.Load(), Dropped: map[string]int64{}}
	for r := dropReason(1); r < dropReasons; r++ {
		if n := s.dropped[r].Load(); n > 0 {
			c.Dropped[r.String()] = n
		}
	}
	return c
}

// offer queues the record, or drops and counts it.
func (s *Store) offer(r *Record) {
	if _, err := parseID(r.Call.ID); err != nil {
		s.drop(r, dropInvalid)
		return
	}
	r.lighten()
	if reason := s.queue.put(r); reason != stored {
		s.drop(r, reason)
	}
}

func (s *Store) drop(r *Record, reason dropReason) {
	r.free()
	s.count(reason, 1)
}

// count counts drops, and warns of them at most once in ten seconds.
func (s *Store) count(reason dropReason, n int64) {
	total := s.dropped[reason].Add(n)
	if reason == dropClosed {
		return
	}
	now := time.Now().Unix()
	last := s.warned.Load()
	if now-last < 10 || !s.warned.CompareAndSwap(last, now) {
		return
	}
	s.log.Warn("traces dropped; requests are not affected", zap.String("reason", reason.String()), zap.Int64("dropped_for_this_reason", total), zap.String("dir", s.dir))
}
