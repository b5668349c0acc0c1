package optimizer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/wholefile"
)

// execution is a run in this process: its record, those who watch it, and the
// goroutine that works on it, if one does.
type execution struct {
	runs *Runs
	id   string

	mu       sync.Mutex
	record   Run
	waiting  []*string // what keeps its calls from being made, one for each that waits
	events   []Event
	watchers map[chan struct{}]struct{}
	began    time.Time     // of this stretch of work
	at       int           // done when it began
	worked   time.Duration // in the stretches before
	stop     context.CancelCauseFunc
	abort    context.CancelCauseFunc
	stopped  chan struct{} // closed when no goroutine works on it
}

// The causes by which work on a run ends before its time.
var (
	errPaused    = errors.New("paused")
	errCancelled = errors.New("cancelled")
	errShutdown  = errors.New("the process ends")
	// errAborted ends calls that are under way, too.
	errAborted = errors.New("the call was given up")
)

func newExecution(runs *Runs, record Run) *execution {
	stopped := make(chan struct{})
	close(stopped)
	return &execution{runs: runs, id: record.ID, record: record, watchers: map[chan struct{}]struct{}{}, stopped: stopped}
}

func (x *execution) dir() string { return filepath.Join(x.runs.dir, x.id) }

// view is the run as it is shown.
func (x *execution) view() Run {
	x.mu.Lock()
	defer x.mu.Unlock()
	r := x.record
	if n := len(x.waiting); r.State == Running && n > 0 {
		r.State, r.Error = Paused, x.waiting[n-1]
	}
	if r.State == Running && !x.began.IsZero() && r.Progress.Done > x.at && r.Progress.Total > r.Progress.Done {
		each := time.Since(x.began) / time.Duration(r.Progress.Done-x.at)
		ms := float64((each * time.Duration(r.Progress.Total-r.Progress.Done)).Milliseconds())
		r.Progress.ETAMS = &ms
	}
	return r
}

// begin starts to work on it; the run's state is Running already. The goroutine ends
// when the run does, or by stop; Runs.Close waits for it.
func (x *execution) begin() {
	x.mu.Lock()
	defer x.mu.Unlock()
	before := x.stopped
	stopped := make(chan struct{})
	ctx, stop := context.WithCancelCause(context.Background())
	calls, abort := context.WithCancelCause(context.Background())
	if earlier := x.abort; earlier != nil { // a stretch that was paused may still wait for its calls
		x.abort = func(cause error) { earlier(cause); abort(cause) }
	} else {
		x.abort = abort
	}
	x.stop, x.stopped = stop, stopped
	go func() {
		defer close(stopped)
		defer abort(nil)
		defer stop(nil)
		<-before
		x.work(ctx, calls)
	}()
}

// work runs the job, and keeps what became of it.
func (x *execution) work(ctx, calls context.Context) {
	report, result, err := x.guard(func() (any, any, error) { return x.job(ctx, calls) })
	switch cause := context.Cause(ctx); {
	case errors.Is(cause, errShutdown):
		return // it goes on with the next process, or the next time that the directory is opened
	case errors.Is(cause, errPaused), errors.Is(cause, errCancelled):
		return // the state says so already
	case err == nil:
		err = x.keep(ctx, report, result)
	}
	if err == nil || ctx.Err() != nil {
		return
	}
	state := Failed
	if _, ok := errors.AsType[*pauseError](err); ok {
		state = Paused
	}
	text := err.Error()
	x.runs.log.Warn("a run has ended", zap.String("run", x.id), zap.String("state", string(state)), zap.String("reason", text))
	x.end(ctx, state, &text)
}

// guard makes an error of a panic, a guest module's perhaps: the process must not go with it.
func (x *execution) guard(job func() (any, any, error)) (report, result any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the run met a programming error: %v", p)
			x.runs.log.Error("a run panicked", zap.String("run", x.id), zap.Any("panic", p), zap.Stack("stack"))
		}
	}()
	return job()
}

// job makes the job and its session, and runs it.
func (x *execution) job(ctx, calls context.Context) (report, result any, err error) {
	x.mu.Lock()
	run := x.record
	x.mu.Unlock()
	if err := os.MkdirAll(x.dir(), 0o700); err != nil {
		return nil, nil, fmt.Errorf("making the run's directory: %w", err)
	}
	gateway, err := x.runs.gateway(ctx, x, modelsOf(run.Spec)...)
	if err != nil {
		return nil, nil, err
	}
	modules, release := moduleContext(ctx)
	defer release()
	j, parallel, budget, err := x.runs.make(modules, gateway, &run)
	if err != nil {
		return nil, nil, err
	}
	log, entries, err := openJournal(filepath.Join(x.dir(), "journal"), x.runs.room)
	if err != nil {
		return nil, nil, err
	}
	defer log.close()
	s := &session{
		run: x, journal: log, parallel: parallel, calls: calls, ledger: &ledger{calls: budget.Calls, usd: budget.USD, now: time.Now},
		answers: map[string]answered{}, paid: map[string]answeredEntry{}, judged: map[string]judgedEntry{},
	}
	s.known(entries)
	x.mu.Lock()
	x.began, x.at, x.worked = time.Now(), x.record.Progress.Done, run.worked()
	x.events = nil
	for _, e := range entries {
		if e.Noted != nil {
			x.events = append(x.events, *e.Noted)
		}
	}
	x.mu.Unlock()
	s.ledger.until = budget.deadline(x.worked, time.Now())
	x.spent(s.ledger)
	defer x.spent(s.ledger)
	return j.run(ctx, s)
}

// keep writes the report and ends the run. While the disk is full it waits.
func (x *execution) keep(ctx context.Context, report, result any) error {
	doc, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	short, err := json.Marshal(result)
	if err != nil {
		return fmt.Errorf("writing the result: %w", err)
	}
	for {
		err := x.runs.room()
		if err == nil {
			err = wholefile.Replace(x.reportFile(), doc)
		}
		if err == nil {
			break
		}
		if err := pass(ctx, x, "waits for the disk: "+err.Error(), time.After(diskRetry)); err != nil {
			return err
		}
	}
	x.mu.Lock()
	x.record.Result, x.record.ReportHash = short, digest(string(doc))
	x.mu.Unlock()
	x.end(ctx, Succeeded, nil)
	return nil
}

func (x *execution) reportFile() string { return filepath.Join(x.dir(), "report.json") }

// end gives the run its last state, or pauses it. While the disk is full it waits.
func (x *execution) end(ctx context.Context, state State, reason *string) {
	for {
		err := x.change(func(r *Run) error {
			if context.Cause(ctx) != nil {
				return context.Cause(ctx)
			}
			r.State, r.Error = state, reason
			if state != Paused {
				now := time.Now().UTC()
				r.Ended = &now
			}
			return nil
		})
		if err == nil || ctx.Err() != nil {
			return
		}
		if pass(ctx, x, "waits for the disk: "+err.Error(), time.After(diskRetry)) != nil {
			return
		}
	}
}

// change changes the record and stores it; after an error nothing has changed.
func (x *execution) change(fn func(*Run) error) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	next := x.record
	if err := fn(&next); err != nil {
		return err
	}
	if !x.began.IsZero() {
		next.WorkedMS = (x.worked + time.Since(x.began)).Milliseconds()
	}
	if err := x.runs.store(next); err != nil {
		return err
	}
	x.record = next
	x.wake()
	return nil
}

// The methods below are what a session tells.

// pass waits until the channel has something, and shows meanwhile what the run waits for.
func pass[T any](ctx context.Context, x *execution, reason string, until <-chan T) error {
	show := func(change func()) {
		x.mu.Lock()
		defer x.mu.Unlock()
		change()
		x.wake()
	}
	show(func() { x.waiting = append(x.waiting, &reason) })
	defer show(func() {
		x.waiting = slices.DeleteFunc(x.waiting, func(have *string) bool { return have == &reason })
	})
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-until:
		return nil
	}
}

func (x *execution) progress(done, total int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.record.Progress.Done, x.record.Progress.Total = done, total
	x.wake()
}

func (x *execution) spent(l *ledger) {
	calls, usd := l.spending()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.record.Progress.Calls, x.record.Progress.SpentUSD = calls, usd
	x.wake()
}

// heard reports whether an event was noted already.
func (x *execution) heard(number int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return number <= len(x.events)
}

func (x *execution) tell(e Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.events = append(x.events, e)
	x.wake()
}

// wake tells those who watch that there is something to see. x.mu is held.
func (x *execution) wake() {
	for w := range x.watchers {
		select {
		case w <- struct{}{}:
		default:
		}
	}
}

// watch returns a channel that has an element when there is something new; stop ends it.
func (x *execution) watch() (changed <-chan struct{}, stop func()) {
	w := make(chan struct{}, 1)
	x.mu.Lock()
	defer x.mu.Unlock()
	x.watchers[w] = struct{}{}
	return w, func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		delete(x.watchers, w)
	}
}

// eventsAfter returns the events behind a number. Of a run that is not worked on they are read from its journal.
func (x *execution) eventsAfter(number int) []Event {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.events == nil && x.began.IsZero() {
		x.events = notedIn(filepath.Join(x.dir(), "journal"))
	}
	if number >= len(x.events) {
		return nil
	}
	return x.events[max(number, 0):len(x.events):len(x.events)]
}

// tags are those of the traces of a run's calls.
func (x *execution) tags(purpose string, more map[string]string) map[string]string {
	t := map[string]string{"run": x.id, "purpose": purpose}
	maps.Copy(t, more)
	return t
}

func (r *Run) worked() time.Duration { return time.Duration(r.WorkedMS) * time.Millisecond }
