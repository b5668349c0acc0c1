package optimizer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/tracing"
)

// runsPrefix is where the records of runs are in the control store.
const runsPrefix = "runs/"

const (
	defaultParallelism = 8
	maxParallelism     = 64
)

// Runs are the runs of a data directory. They belong to it, not to a
// configuration: on a reload they go on with the next one's providers. Those
// that were under way when the process ended, in whatever way, go on when the
// directory is opened again. Only one process has a directory open, so its
// lock is the lease of all runs in it.
type Runs struct {
	control  *control.Store
	dir      string
	log      *zap.Logger
	datasets *Datasets
	registry *prompts.Registry
	traces   *tracing.Store
	// room says whether there is space for what is not in the control store.
	room func() error

	mu        sync.Mutex
	all       map[string]*execution
	gateways  []Gateway     // of the configurations that are in use; the last one's is asked
	changed   chan struct{} // closed when they change
	throttles map[string]*throttle
	closed    bool
}

// Deps are what runs work with, of the same data directory.
type Deps struct {
	Control  *control.Store
	Datasets *Datasets
	Registry *prompts.Registry
	Traces   *tracing.Store
}

// NewRuns reads the runs of a data directory; dir is for what they keep. Close ends its work.
func NewRuns(d Deps, dir string, log *zap.Logger) (*Runs, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the directory of runs: %w", err)
	}
	r := &Runs{
		control: d.Control, dir: dir, log: log, datasets: d.Datasets, registry: d.Registry, traces: d.Traces, room: d.Control.Room,
		all: map[string]*execution{}, changed: make(chan struct{}), throttles: map[string]*throttle{},
	}
	entries, err := d.Control.List(runsPrefix)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var run Run
		if err := json.Unmarshal(e.Value, &run); err != nil {
			log.Error("a run cannot be read and is left out", zap.String("key", e.Key), zap.Error(err))
			continue
		}
		r.all[run.ID] = newExecution(r, run)
	}
	return r, nil
}

// Use lets runs go on with a configuration's providers; those that were under way when the process ended begin again.
func (r *Runs) Use(g Gateway) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := len(r.gateways) == 0
	r.gateways = append(r.gateways, g)
	close(r.changed)
	r.changed = make(chan struct{})
	if !first {
		return
	}
	for _, x := range r.all {
		x.mu.Lock()
		idle := false
		select {
		case <-x.stopped:
			idle = x.record.State == Running
		default:
		}
		x.mu.Unlock()
		if idle {
			x.begin()
		}
	}
}

// Release lets go of a configuration's providers. Calls that are under way may still end.
func (r *Runs) Release(g Gateway) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gateways = slices.DeleteFunc(r.gateways, func(have Gateway) bool { return have == g })
	close(r.changed)
	r.changed = make(chan struct{})
}

// Close stops all work: no new call is made, and those under way have until the
// limit. The runs' states stay, so that they go on when the directory is opened again.
func (r *Runs) Close(limit time.Duration) {
	r.mu.Lock()
	r.closed = true
	all := make([]*execution, 0, len(r.all))
	for _, x := range r.all {
		all = append(all, x)
	}
	r.mu.Unlock()
	timer := time.AfterFunc(limit, func() {
		for _, x := range all {
			x.giveUp()
		}
	})
	defer timer.Stop()
	for _, x := range all {
		x.halt(errShutdown)
	}
	for _, x := range all {
		<-x.idle()
	}
}

// current is the gateway that is asked now, and a channel that is closed when that changes.
func (r *Runs) current() (g Gateway, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.gateways); n > 0 {
		g = r.gateways[n-1]
	}
	return g, r.changed
}

// gateway waits for a configuration that has the models.
func (r *Runs) gateway(ctx context.Context, x *execution, models ...string) (Gateway, error) {
	for {
		g, changed := r.current()
		reason := "waits for a configuration with an LLM gateway"
		if g != nil {
			err := firstError(models, g.CheckModel)
			if err == nil {
				return g, nil
			}
			reason = "waits for its provider: " + err.Error()
		}
		if err := pass(ctx, x, reason, changed); err != nil {
			return nil, err
		}
	}
}

func firstError(models []string, check func(string) error) error {
	for _, m := range models {
		if err := check(m); err != nil {
			return err
		}
	}
	return nil
}

// call makes one call for a run.
func (r *Runs) call(ctx context.Context, s *session, q asked) (*routing.Reply, error) {
	g, err := r.gateway(ctx, s.run, q.Model)
	if err != nil {
		return nil, err
	}
	t := r.throttle(providerOf(q.Model))
	if err := t.acquire(ctx); err != nil {
		return nil, err
	}
	reply, err := g.Ask(s.calls, q.Question)
	fault, _ := errors.AsType[*routing.AskError](err)
	if fault == nil {
		t.release(false, 0)
	} else {
		t.release(fault.Status == 429 && fault.Retry, fault.RetryAfter)
	}
	return reply, err
}

func (r *Runs) throttle(provider string) *throttle {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.throttles[provider]
	if t == nil {
		t = newThrottle()
		r.throttles[provider] = t
	}
	return t
}

// store writes a run's record.
func (r *Runs) store(run Run) error {
	doc, err := json.Marshal(run)
	if err != nil {
		return err
	}
	_, err = r.control.Commit(control.Change{Key: runsPrefix + run.ID, Value: doc, Expect: control.Any})
	return storeError(err)
}

// storeError is an error of the control store as the API tells it.
func storeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, control.ErrNoSpace):
		return api.NoSpace("%s", err)
	case errors.Is(err, control.ErrTooLarge):
		return api.Invalid("", "%s", err)
	}
	return api.Unavailable("%s", err)
}

// who says who makes a change, and why.
type who struct {
	Reason string `json:"reason,omitempty"`
	Actor  string `json:"actor,omitempty"`
}

// start keeps a new run, and begins it.
func (r *Runs) start(kind Kind, spec any, w who) (Run, error) {
	doc, err := json.Marshal(spec)
	if err != nil {
		return Run{}, err
	}
	id, err := uuid.NewV7()
	if err != nil {
		return Run{}, err
	}
	run := Run{ID: id.String(), Kind: kind, State: Running, Spec: doc, Created: time.Now().UTC(), Actor: w.Actor, Reason: w.Reason}
	x := newExecution(r, run)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return Run{}, api.Unavailable("the gateway is being shut down")
	}
	if err := r.exclusive(kind, spec); err != nil {
		return Run{}, err
	}
	if err := r.pin(doc); err != nil {
		return Run{}, err
	}
	if err := r.store(run); err != nil {
		return Run{}, err
	}
	r.all[run.ID] = x
	x.begin()
	return run, nil
}

// pin keeps the versions of the datasets that a run works with.
func (r *Runs) pin(spec json.RawMessage) error {
	var uses struct{ Dataset, Labelled string }
	if err := json.Unmarshal(spec, &uses); err != nil {
		return err
	}
	for _, ref := range []string{uses.Dataset, uses.Labelled} {
		name, number, _ := strings.Cut(ref, "/")
		version, err := strconv.Atoi(number)
		if err != nil { // none is named
			continue
		}
		if _, err := r.datasets.Pin(name, version); err != nil {
			return err
		}
	}
	return nil
}

// exclusive refuses a second optimisation of a prompt for the same model at the same time. r.mu is held.
func (r *Runs) exclusive(kind Kind, spec any) error {
	if kind != KindOptimization {
		return nil
	}
	mine := spec.(*OptimizationSpec)
	for _, x := range r.all {
		run := x.view()
		var other OptimizationSpec
		if run.Kind != kind || run.State.Over() || json.Unmarshal(run.Spec, &other) != nil {
			continue
		}
		if promptName(other.Prompt) == promptName(mine.Prompt) && other.Model == mine.Model {
			return api.Conflict("run %s is optimising prompt %q for %s already; wait for it, or cancel it: caddy llm runs cancel %s", run.ID, promptName(mine.Prompt), mine.Model, run.ID)
		}
	}
	return nil
}

func promptName(ref string) string {
	r, err := prompts.ParseReference(ref)
	if err != nil {
		return ref
	}
	return r.Name
}

// Get returns a run.
func (r *Runs) Get(id string) (Run, error) {
	x, err := r.find(id)
	if err != nil {
		return Run{}, err
	}
	return x.view(), nil
}

// find looks a run up by its id, or by the beginning of it that only one has.
func (r *Runs) find(id string) (*execution, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if x := r.all[id]; x != nil {
		return x, nil
	}
	var found *execution
	for have, x := range r.all {
		if len(id) < 8 || !strings.HasPrefix(have, id) {
			continue
		}
		if found != nil {
			return nil, api.Invalid("id", "more than one run begins with %q; give more of the id", id)
		}
		found = x
	}
	if found == nil {
		return nil, api.NotFound("there is no run %q; caddy llm runs lists those there are", id)
	}
	return found, nil
}

// List returns the runs, the newest first.
func (r *Runs) List() []Run {
	r.mu.Lock()
	all := make([]*execution, 0, len(r.all))
	for _, x := range r.all {
		all = append(all, x)
	}
	r.mu.Unlock()
	list := make([]Run, len(all))
	for i, x := range all {
		list[i] = x.view()
	}
	slices.SortFunc(list, func(a, b Run) int { return cmp.Or(b.Created.Compare(a.Created), strings.Compare(b.ID, a.ID)) })
	return list
}

// Delete removes a run that is over, with all that it kept.
func (r *Runs) Delete(id string) error {
	x, err := r.find(id)
	if err != nil {
		return err
	}
	if run := x.view(); !run.State.Over() {
		return api.Conflict("run %s is %s; cancel it first", run.ID, run.State)
	}
	<-x.idle()
	if _, err := r.control.Commit(control.Change{Key: runsPrefix + x.id, Expect: control.Any}); err != nil {
		return storeError(err)
	}
	r.mu.Lock()
	delete(r.all, x.id)
	r.mu.Unlock()
	if err := os.RemoveAll(x.dir()); err != nil {
		r.log.Warn("what a deleted run kept could not be removed", zap.String("run", x.id), zap.Error(err))
	}
	return nil
}

// Report returns a run's report, as it was written.
func (r *Runs) Report(id string) (Run, json.RawMessage, error) {
	x, err := r.find(id)
	if err != nil {
		return Run{}, nil, err
	}
	run := x.view()
	if run.State != Succeeded {
		return run, nil, api.Conflict("run %s is %s: there is a report when it has succeeded", run.ID, run.State)
	}
	doc, err := os.ReadFile(filepath.Join(x.dir(), "report.json"))
	if err != nil {
		return run, nil, fmt.Errorf("reading the report of run %s: %w", run.ID, err)
	}
	if digest(string(doc)) != run.ReportHash {
		return run, nil, fmt.Errorf("the report of run %s is damaged: %s is not what was written", run.ID, x.reportFile())
	}
	return run, doc, nil
}
