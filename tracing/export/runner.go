package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/wholefile"
	"github.com/caddy-frontier/frontier/tracing"
)

// The times of delivery.
const (
	saveEvery = time.Second      // positions, while there is always more
	lastWords = 10 * time.Second // for a destination that a reload has removed
	inFlight  = 2 * time.Second  // for an attempt that is under way when its time is over: it may have been taken already
)

// The bounds of a batch: as many traces as MLflow takes best.
const (
	batchTraces = 32
	batchBytes  = 4 << 20
)

// refusals is how often something must be refused alone before it is left
// out: receivers answer with such a status to passing troubles of their own too.
const refusals = 12

// runner delivers to one destination. It follows the trace store, one batch at
// a time, and keeps how far it has come in a file.
type runner struct {
	set         *Set
	destination string
	path        string // of the file with the positions
	log         *zap.Logger
	woken       chan struct{} // there are new settings
	stop        chan struct{} // closed by finish
	limit       time.Duration // from then on
	stopped     chan struct{}

	using      []tracing.Exporter // of the configurations that have it; the last one's settings are in force
	before     *runner            // whose place this one takes
	handedOver bool               // another runner takes its place

	exported, feedback, refused, failures atomic.Int64
	failed                                atomic.Pointer[string]

	// The goroutine's own.
	follower *tracing.Follower
	saved    time.Time
	unsaved  bool
}

func newRunner(s *Set, destination string) *runner {
	return &runner{
		set: s, destination: destination, path: filepath.Join(s.dir, fmt.Sprintf("%016x.json", xxhash.Sum64String(destination))),
		log: s.log.With(zap.String("destination", destination)), woken: make(chan struct{}, 1), stop: make(chan struct{}), stopped: make(chan struct{}),
	}
}

// known reports whether the destination was delivered to before.
func (r *runner) known() bool {
	_, err := os.Stat(r.path)
	return err == nil
}

func (r *runner) wake() {
	select {
	case r.woken <- struct{}{}:
	default:
	}
}

// finish has the runner stop when everything is delivered, at the latest
// after the limit. The set is locked.
func (r *runner) finish(limit time.Duration) {
	if !r.finishing() {
		r.limit = limit
		close(r.stop)
	}
}

func (r *runner) finishing() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

func (r *runner) status() Status {
	return Status{r.destination, r.exported.Load(), r.feedback.Load(), r.refused.Load(), r.failures.Load(), r.failed.Load()}
}

// exporter returns the settings in force.
func (r *runner) exporter() tracing.Exporter {
	r.set.mu.Lock()
	defer r.set.mu.Unlock()
	return r.using[len(r.using)-1]
}

func (r *runner) run() {
	defer func() {
		r.set.mu.Lock()
		if r.set.runners[r.destination] == r {
			delete(r.set.runners, r.destination)
		}
		r.set.mu.Unlock()
		close(r.stopped)
	}()
	// last ends new work, and attempts the one that is under way.
	attempts, abort := context.WithCancel(context.Background())
	defer abort()
	last, cancel := context.WithCancel(attempts)
	defer cancel()
	go func() { // ends when the runner does, or a moment after it is told to
		select {
		case <-r.stop:
		case <-attempts.Done():
			return
		}
		for _, end := range []struct {
			after  time.Duration
			cancel func()
		}{{r.limit, cancel}, {inFlight, abort}} {
			select {
			case <-time.After(end.after):
				end.cancel()
			case <-attempts.Done():
				return
			}
		}
	}()
	if err := r.begin(last); err != nil {
		if last.Err() == nil && !errors.Is(err, tracing.ErrClosed) {
			r.log.Error("traces are not exported", zap.Error(err))
		}
		return
	}
	defer r.follower.Stop()
	defer func() { r.save(true) }()
	for {
		b, err := r.follower.Next(last, batchTraces, batchBytes)
		switch {
		case errors.Is(err, tracing.ErrClosed) || last.Err() != nil:
			return
		case err != nil:
			r.log.Error("reading traces for export", zap.Error(err))
			if !r.pause(last, r.set.maxBackoff) {
				return
			}
			continue
		case b == nil:
			r.save(true)
			if r.finishing() {
				return
			}
			select {
			case <-r.follower.Ready():
			case <-r.stop:
			}
			continue
		}
		b.PromptTags = r.set.tags
		if !r.deliver(last, attempts, b) {
			return
		}
		r.follower.Done(b)
		r.unsaved = true
		r.save(false)
	}
}

// begin opens the follower where this destination, or the one whose place it
// takes, has come to.
func (r *runner) begin(ctx context.Context) error {
	from, err := r.load()
	if r.before != nil {
		select {
		case <-r.before.stopped:
		case <-r.stop: // the configuration that wanted it was refused after all
			r.set.mu.Lock()
			r.before.handedOver = false
			r.set.mu.Unlock()
			return context.Canceled
		}
		if f := r.before.follower; f != nil {
			from = f.Positions()
		}
		r.set.mu.Lock()
		r.before = nil
		r.set.mu.Unlock()
	}
	if err != nil {
		r.log.Error("how far traces were exported is not known any more; they are exported from now on", zap.Error(err))
	}
	r.follower, err = r.set.store.Follow(ctx, from)
	r.unsaved = true
	if err == nil {
		r.save(true)
	}
	return err
}

// deliver exports the batch, for as long as it takes. It reports whether the
// runner may go on.
func (r *runner) deliver(last, attempts context.Context, b *tracing.Batch) bool {
	alone := 0
	for try := 0; ; try++ {
		err := r.exporter().Export(attempts, b)
		if err == nil {
			r.delivered(b)
			return true
		}
		if attempts.Err() != nil {
			return false
		}
		message := err.Error()
		if r.failed.Swap(&message) == nil {
			r.log.Warn("traces cannot be exported; they wait in the trace store, requests are not affected", zap.Error(err))
		}
		r.failures.Add(1)
		if _, rejected := errors.AsType[*tracing.RejectedError](err); rejected {
			if b.Len() > 1 {
				first, second := b.Split()
				return r.deliver(last, attempts, first) && r.deliver(last, attempts, second)
			}
			if alone++; alone >= refusals {
				r.refused.Add(1)
				r.log.Error("a trace is not accepted; it is left out", zap.String("trace", traceOf(b)), zap.Error(err))
				return true
			}
		}
		if !r.pause(last, min(r.set.minBackoff<<min(try, 10), r.set.maxBackoff)) {
			return false
		}
	}
}

func (r *runner) delivered(b *tracing.Batch) {
	r.exported.Add(int64(len(b.Traces)))
	r.feedback.Add(int64(len(b.Feedback)))
	if r.failed.Swap(nil) != nil {
		r.log.Info("traces are exported again")
	}
}

func traceOf(b *tracing.Batch) string {
	for _, f := range b.Feedback {
		return f.TraceID
	}
	return b.Traces[0].ID
}

// pause waits, but not for longer than until there are new settings. It
// reports whether the runner may go on.
func (r *runner) pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
	case <-r.woken:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// positions is what a runner's file holds.
type positions struct {
	Destination string                      `json:"destination"`
	Files       map[string]tracing.Position `json:"files"`
}

// load returns nil when the destination is new.
func (r *runner) load() (map[string]tracing.Position, error) {
	raw, err := os.ReadFile(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var p positions
	if err := json.Unmarshal(raw, &p); err != nil {
		return nil, fmt.Errorf("reading %s: %w", r.path, err)
	}
	if p.Files == nil {
		p.Files = map[string]tracing.Position{}
	}
	return p.Files, nil
}

// save keeps how far the runner has come. What was delivered since the last
// time is delivered once more if the process dies: under the same ids.
func (r *runner) save(now bool) {
	if !r.unsaved || !now && time.Since(r.saved) < saveEvery {
		return
	}
	r.saved, r.unsaved = time.Now(), false
	raw, err := json.Marshal(positions{r.destination, r.follower.Positions()})
	if err == nil {
		err = os.MkdirAll(filepath.Dir(r.path), 0o700)
	}
	if err == nil {
		err = wholefile.Replace(r.path, raw)
	}
	if err != nil {
		r.log.Error("keeping how far traces were exported", zap.Error(err))
	}
}
