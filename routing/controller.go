package routing

import (
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// controller runs the rollout of one route, by its name: through reloads, for
// all configurations that have it. It keeps what rollout.Step decides: moves
// toward the candidate are stored before they are in force; those toward stable
// are in force at once, stored after, and that is tried again until it works.
//
// Requests leave what they measured and go on; whoever holds mu takes it. So no
// request waits for a decision, for the evidence being written, or for the store.
type controller struct {
	route string
	store records
	file  string // of the measurements
	log   *zap.Logger

	leaving sync.Mutex // held for nanoseconds
	left    []measurement

	moving chan struct{} // full while somebody moves the rollout; never waited for by requests

	mu       sync.Mutex // of what follows; never held for I/O, but for log lines
	routes   []*RouteState
	plan     *rollout.Plan // of the oldest of the routes: a configuration that is refused after all changes nothing
	status   rollout.Status
	evidence *rollout.Evidence
	moves    int    // how often something was decided
	revision uint64 // of the stored status
	unstored bool   // the status is not the stored one
	problem  string // why it, or the next one, could not be stored
	wanted   string // what the next one says, which waits for that
	taken    []measurement
	measured bool  // since the measurements were written
	held     int64 // how long the step was held then

	recognized, unrecognized atomic.Int64 // requests in this step

	untold   chan announcement // events, for Caddy's events app
	unposted chan announcement // and for the webhook
	saving   sync.Mutex        // of the file of measurements
	unsaved  bool              // it could not be written; of who holds saving
	due      atomic.Bool       // time wants a move that must be stored first
	wake     chan struct{}     // for keep
	stop     chan struct{}
	ended    chan struct{} // closed when time does not pass any more
	running  sync.WaitGroup
}

// records is where a controller keeps its status: the control store.
type records interface {
	Get(key string) (control.Entry, error)
	Commit(changes ...control.Change) (uint64, error)
}

const (
	tickEvery    = time.Second
	measureEvery = 5 * time.Second
	// mostUnrecognized is the share of a route's requests in which no prompt was
	// found, above which a rollout does not complete: they would not be moved.
	mostUnrecognized = 0.05
)

// anyRevision is whichever a status has.
const anyRevision = -1

var errNoRollout = errors.New("the route has no rollout")

// refusedError is an operator's action that cannot be, as the rollout stands.
type refusedError struct{ error }

func newController(route, file string, store records, log *zap.Logger) *controller {
	return &controller{
		route: route, file: file, store: store, log: log.With(zap.String("route", route)),
		moving: make(chan struct{}, 1), untold: make(chan announcement, 64), unposted: make(chan announcement, 64),
		wake: make(chan struct{}, 1), stop: make(chan struct{}), ended: make(chan struct{}),
	}
}

// start begins the loops; close ends them, and waits for them.
func (c *controller) start() {
	c.running.Go(c.run)
	c.running.Go(c.keep)
	c.running.Go(c.tell)
	c.running.Go(c.post)
}

func (c *controller) close() {
	close(c.stop)
	c.running.Wait()
}

// run has time pass. It never waits for the store.
func (c *controller) run() {
	defer close(c.ended)
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case <-tick.C:
			c.tick()
		}
	}
}

// keep stores what is to be stored, and makes the moves that must be stored first.
func (c *controller) keep() {
	written := time.Now()
	for {
		select {
		case <-c.ended:
			c.persist()
			c.measurements()
			return
		case <-c.wake:
		}
		if c.due.Swap(false) {
			_ = c.do(c.passing(), anyRevision) // logged where it happens
		}
		c.persist()
		if time.Since(written) >= measureEvery {
			c.measurements()
			written = time.Now()
		}
	}
}

func (c *controller) tick() {
	c.lock()
	idle := len(c.routes) == 0
	if !idle {
		c.look()
	}
	c.unlock()
	if !idle {
		first, _ := c.try(c.passing(), anyRevision)
		c.due.Store(first)
	}
	c.wakeUp()
}

func (c *controller) passing() rollout.Event {
	return rollout.Event{Kind: rollout.Tick, Blocked: c.blocked()}
}

// wakeUp has keep look for what is to be stored.
func (c *controller) wakeUp() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// blocked is what keeps the rollout from completing.
func (c *controller) blocked() string {
	seen, lost := c.recognized.Load(), c.unrecognized.Load()
	if share := float64(lost) / float64(max(seen+lost, 1)); share > mostUnrecognized {
		return fmt.Sprintf("in %.0f %% of the requests no prompt is recognised, at most %.0f %% may be left behind; caddy llm prompts recognize says why", share*100, mostUnrecognized*100)
	}
	return ""
}

// attach adds a configuration's route.
func (c *controller) attach(r *RouteState) {
	c.lock()
	defer c.unlock()
	r.rollout = c
	c.routes = append(c.routes, r)
	if len(c.routes) == 1 {
		c.begin()
		return
	}
	c.applyTo(r)
}

// detach takes a route away; the plan of the next one is then in force.
func (c *controller) detach(r *RouteState) {
	c.lock()
	defer c.unlock()
	for i := range c.routes {
		if c.routes[i] == r {
			c.routes = append(c.routes[:i:i], c.routes[i+1:]...)
			if i == 0 && len(c.routes) > 0 {
				c.begin()
			}
			return
		}
	}
}

// begin puts the oldest route's plan in force. Holds mu.
func (c *controller) begin() {
	plan := c.routes[0].plan
	switch {
	case c.plan == nil:
		c.evidence = c.restore(plan)
		c.status.Clock.TickedAt = time.Time{} // what was between is not held
	case c.plan.Hash() != plan.Hash():
		c.evidence = plan.NewEvidence()
	}
	c.plan = plan
	c.step(rollout.Event{Kind: rollout.Load})
	c.look()
	if s := &c.status; s.Manual || s.Phase == rollout.PhaseCompleted || s.Phase == rollout.PhaseAborted {
		c.log.Warn("the weights in force are those that the rollout has come to; to make them the declared ones: caddy llm routes show "+c.route+" --caddyfile",
			zap.String("phase", string(s.Phase)), zap.Any("weights", s.Weights), zap.String("reason", s.Reason))
	}
}

// retire ends the rollout when no configuration declares it any more.
func (c *controller) retire() {
	c.lock()
	defer c.unlock()
	if len(c.routes) == 0 && c.status.SpecHash != "" {
		c.plan, c.evidence = nil, nil
		c.accept(rollout.Retire(c.status, time.Now()), []rollout.Effect{{Kind: rollout.Persist}})
		c.wakeUp()
	}
}

// look notices what the variants' prompts are. Holds mu.
func (c *controller) look() {
	served, problem := c.routes[0].served()
	if problem == c.status.Unresolved && (problem != "" || maps.Equal(served, c.status.Served)) {
		return
	}
	c.step(rollout.Event{Kind: rollout.Prompts, Reason: problem, Served: served})
}

// prompts is called when prompts have changed, before whoever changed them is answered.
func (c *controller) prompts(r *RouteState) {
	c.lock()
	defer c.unlock()
	if len(c.routes) > 0 && c.routes[0] == r {
		c.look()
	}
}

// step takes an event that is in force at once, and is stored later. Holds mu.
func (c *controller) step(ev rollout.Event) {
	next, effects := rollout.Step(c.status, c.plan, c.evidence, ev, time.Now())
	c.accept(next, effects)
}

// do takes an event; who caused it waits until it is stored, or cannot be. The
// error of a move toward the candidate that could not be stored says that
// nothing has changed. seen is the revision that the status must have.
func (c *controller) do(ev rollout.Event, seen int) error {
	first, err := c.try(ev, seen)
	if err != nil {
		return err
	}
	if !first {
		c.persist() // it is in force even if that fails
		return nil
	}
	c.moving <- struct{}{}
	defer func() { <-c.moving }()
	c.lock()
	next, effects, err := c.next(ev, seen)
	if err != nil {
		c.unlock()
		return err
	}
	moves, revision := c.moves, c.revision
	c.unlock()
	revision, err = c.commit(&next, revision)
	c.lock()
	defer c.unlock()
	if err != nil {
		if ev.Kind == rollout.Tick { // others are told
			c.failed(err)
			c.wanted = next.Reason
		}
		return err
	}
	c.revision, c.problem, c.wanted = revision, "", ""
	if c.moves != moves { // a request ended meanwhile that decided otherwise, an operator did, or a prompt was moved
		c.unstored = true
		return refusedError{fmt.Errorf("meanwhile this was decided: %s", c.status.Reason)}
	}
	c.accept(next, effects)
	c.unstored = false
	return nil
}

// try takes an event, at once, unless it has to be stored first.
func (c *controller) try(ev rollout.Event, seen int) (first bool, err error) {
	c.lock()
	defer c.unlock()
	next, effects, err := c.next(ev, seen)
	if err != nil {
		return false, err
	}
	if storedFirst(ev, effects) {
		return true, nil
	}
	c.accept(next, effects)
	if !c.unstored {
		c.problem = "" // what could not be stored is not wanted any more
	}
	return false, nil
}

// next is what an event makes of the status. Holds mu.
func (c *controller) next(ev rollout.Event, seen int) (next rollout.Status, effects []rollout.Effect, err error) {
	if len(c.routes) == 0 {
		return next, nil, errNoRollout
	}
	if seen != anyRevision && seen != c.status.Revision {
		return next, nil, errStale
	}
	if err := rollout.Check(&c.status, c.plan, ev); err != nil {
		return next, nil, refusedError{err}
	}
	next, effects = rollout.Step(c.status, c.plan, c.evidence, ev, time.Now())
	return next, effects, nil
}

// storedFirst reports whether a move must be stored before it is in force:
// one toward the candidate, and what operators ask for but to stop.
func storedFirst(ev rollout.Event, effects []rollout.Effect) bool {
	if len(effects) == 0 || effects[0].Kind != rollout.Persist {
		return false
	}
	switch ev.Kind {
	case rollout.Promote, rollout.Resume, rollout.Undo, rollout.SetWeights:
		return true
	case rollout.Abort, rollout.Pause:
		return false
	}
	return len(effects) > 1 && effects[1].Kind == rollout.Apply
}

// accept makes next the status, and its effects happen. Holds mu.
func (c *controller) accept(next rollout.Status, effects []rollout.Effect) {
	decided := min(next.Revision-c.status.Revision, len(next.Log))
	moved := next.Mark() != c.status.Mark()
	c.status = next
	if len(effects) > 0 {
		c.moves++
	}
	if moved {
		c.recognized.Store(0)
		c.unrecognized.Store(0)
	}
	for _, e := range next.Log[len(next.Log)-max(decided, 0):] {
		c.say(&e)
	}
	for _, e := range effects {
		switch e.Kind {
		case rollout.Apply:
			c.evidence.Enter(c.plan, c.status.Mark())
			for _, r := range c.routes {
				c.applyTo(r)
			}
		case rollout.Persist:
			c.unstored = true
			c.wakeUp()
		case rollout.Emit:
			c.announce(&e)
		}
	}
}

// say writes a decision into the log.
func (c *controller) say(e *rollout.Entry) {
	write := c.log.Info
	if p := c.status.Phase; p == rollout.PhaseAborted || p == rollout.PhaseInconclusive {
		write = c.log.Warn
	}
	fields := []zap.Field{zap.String("phase", string(c.status.Phase)), zap.Int("step", c.status.Step), zap.Any("weights", c.status.Weights)}
	if e.Actor != "" {
		fields = append(fields, zap.String("actor", e.Actor))
	}
	if len(e.Traces) > 0 {
		fields = append(fields, zap.Strings("traces", e.Traces))
	}
	write("rollout: "+e.Text, fields...)
}

// applyTo puts the weights in force for a route's next request. A route whose
// plan is not the one in force yet gets the weights that it will begin with, and
// measures nothing. Holds mu.
func (c *controller) applyTo(r *RouteState) {
	status := c.status
	if r != c.routes[0] {
		status, _ = rollout.Step(status, r.plan, nil, rollout.Event{Kind: rollout.Load}, time.Now())
	}
	weights, err := r.Config.weights(status.Weights)
	if err != nil { // a status that is not of our making
		c.log.Error("the rollout's weights do not fit the route; all traffic goes to where it began", zap.Error(err))
		weights = r.declared
	}
	s := newSplit(weights)
	if r.plan.Hash() == c.plan.Hash() {
		s.rollout, s.mark = c, c.status.Mark()
		s.from, s.to = r.variant(status.From), r.variant(status.To)
	}
	r.split.Store(s)
}

// served are the prompt versions of the variants that the rollout compares, or why there are none.
func (r *RouteState) served() (versions map[string]string, problem string) {
	versions = map[string]string{}
	spec := r.plan.Spec()
	for _, name := range []string{spec.From, spec.To} {
		v := r.variants[r.variant(name)]
		if v.prompt == nil {
			versions[name] = ""
			continue
		}
		version, err := r.table.resolve(*v.prompt)
		if err != nil {
			return nil, fmt.Sprintf("variant %q binds a prompt that is not there: %s", name, err)
		}
		versions[name] = fmt.Sprintf("%s/%d", version.Name, version.Version)
	}
	return versions, ""
}

// state is the status as it is now.
func (c *controller) state() rollout.Status {
	c.lock()
	defer c.unlock()
	s := c.status
	s.Persisted = !c.unstored
	switch {
	case c.wanted != "":
		s.Reason = "not in force, because it could not be stored: " + c.wanted + "; " + c.problem
	case c.problem != "":
		s.Reason += "; this could not be stored yet: " + c.problem
	}
	return s
}
