package routing

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// weightsPrefix is where weights set at run time are kept in the control store.
const weightsPrefix = "routing/weights/"

// saveEvery is how often the conversation table is written, when it changed.
const saveEvery = time.Minute

// Override is what an operator decided at run time: it holds, through reloads
// and restarts, until the declared weights are changed.
type Override struct {
	Weights   map[string]float64 `json:"weights"`
	Declared  map[string]float64 `json:"declared"` // what it overrode
	ChangedAt time.Time          `json:"changed_at"`
	Actor     string             `json:"actor,omitempty"`
	Reason    string             `json:"reason,omitempty"`

	revision uint64
}

// State is what routing knows beyond its configuration. It belongs to the data
// directory and is shared by the configurations before and after a reload.
type State struct {
	store         *control.Store
	log           *zap.Logger
	file          string
	measured      string // folder of what rollouts have measured
	conversations *conversations

	mu        sync.Mutex
	overrides map[string]Override
	tables    map[*Table]struct{}
	rollouts  map[string]*controller // of routes that have a rollout, or had one

	saving sync.Mutex
	stop   chan struct{}
	done   chan struct{}
}

// NewState reads the state from the control store, and the conversation table
// from dir. Close stops its goroutine and saves the table.
func NewState(store *control.Store, dir string, log *zap.Logger) (*State, error) {
	s := &State{
		store: store, log: log, file: filepath.Join(dir, "conversations"), conversations: newConversations(time.Now),
		overrides: map[string]Override{}, tables: map[*Table]struct{}{}, rollouts: map[string]*controller{}, stop: make(chan struct{}), done: make(chan struct{}),
	}
	entries, err := store.List(weightsPrefix)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		var o Override
		if err := json.Unmarshal(e.Value, &o); err != nil {
			return nil, fmt.Errorf("reading the weights of %s: %w", e.Key, err)
		}
		o.revision = e.Revision
		s.overrides[e.Key[len(weightsPrefix):]] = o
	}
	if err := s.readRollouts(filepath.Join(dir, "rollouts")); err != nil {
		return nil, err
	}
	if err := s.conversations.load(s.file); err != nil && !errors.Is(err, os.ErrNotExist) {
		log.Warn("the conversation table could not be read: conversations under way may change their variant once", zap.Error(err))
	}
	go s.run() // ends with Close, which waits for it
	return s, nil
}

func (s *State) run() {
	defer close(s.done)
	tick := time.NewTicker(saveEvery)
	defer tick.Stop()
	saved := s.conversations.changes.Load()
	for {
		select {
		case <-s.stop:
			s.Save()
			return
		case <-tick.C:
			if n := s.conversations.changes.Load(); n != saved {
				s.Save()
				saved = n
			}
			s.mu.Lock()
			s.forget()
			s.mu.Unlock()
		}
	}
}

// Save writes the conversation table.
func (s *State) Save() {
	s.saving.Lock()
	defer s.saving.Unlock()
	if err := s.conversations.save(s.file); err != nil {
		s.log.Warn("the conversation table could not be saved", zap.Error(err))
	}
}

// Flush writes what is in memory alone: the conversation table, what rollouts
// have measured, and decisions that could not be stored yet.
func (s *State) Flush() {
	s.Save()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.rollouts {
		c.persist()
		c.measurements()
	}
}

// Close saves the conversation table and what rollouts have measured, and stops.
func (s *State) Close() {
	close(s.stop)
	<-s.done
	for _, c := range s.rollouts {
		c.close()
	}
}

// attach puts the state in force for a configuration's table.
func (s *State) attach(t *Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tables[t] = struct{}{}
	for _, r := range t.Routes {
		if r.plan != nil {
			s.controller(r.Name).attach(r)
			continue
		}
		o, ok := s.overrides[r.Name]
		r.apply(o, ok, s.log)
	}
}

func (s *State) detach(t *Table) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.tables, t)
	for _, r := range t.Routes {
		if r.rollout != nil {
			r.rollout.detach(r)
		}
	}
	s.forget()
}

// forget removes weights set at run time that changed declarations have
// replaced, so that they do not come back when the old declaration does, and
// ends rollouts that are not declared any more. While
// a configuration has them in force, they stay: the one that replaces them may
// yet be refused. Holds mu.
func (s *State) forget() {
	if len(s.tables) > 0 {
		for _, c := range s.rollouts {
			c.retire()
		}
	}
	for name, o := range s.overrides {
		declared, inForce := false, false
		for t := range s.tables {
			if r := t.byName[name]; r != nil {
				declared = true
				inForce = inForce || r.override.Load() != nil
			}
		}
		if !declared || inForce {
			continue
		}
		if _, err := s.store.Commit(control.Change{Key: weightsPrefix + name, Expect: o.revision}); err != nil {
			s.log.Warn("weights that were replaced could not be removed; that is tried again", zap.String("route", name), zap.Error(err))
			continue
		}
		delete(s.overrides, name)
		for t := range s.tables {
			if r := t.byName[name]; r != nil {
				r.revision.Store(0)
			}
		}
	}
}

// errStale means that the state has changed since the caller read it.
var errStale = errors.New("it has changed since you read it")

// setWeights persists new weights of a route, then puts them in force for the
// next request. revision is the one they must have now; control.Any: whichever.
func (s *State) setWeights(r *RouteState, o Override, revision uint64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if revision != control.Any && revision != s.overrides[r.Name].revision {
		return errStale
	}
	value, err := json.Marshal(o)
	if err != nil {
		return err
	}
	o.revision, err = s.store.Commit(control.Change{Key: weightsPrefix + r.Name, Value: value, Expect: s.overrides[r.Name].revision})
	if err != nil {
		return err
	}
	s.overrides[r.Name] = o
	for t := range s.tables {
		if r := t.byName[r.Name]; r != nil {
			r.apply(o, true, zap.NewNop()) // who sets them knows
		}
	}
	return nil
}

// apply puts declared weights or those set at run time in force.
func (r *RouteState) apply(o Override, set bool, log *zap.Logger) {
	weights := r.declared
	var inForce *Override
	if set {
		w, err := r.Config.weights(o.Weights)
		switch {
		case err != nil:
			log.Warn("weights set at run time do not fit the route any more; the declared ones are in force",
				zap.String("route", r.Name), zap.Error(err))
		case !maps.Equal(o.Declared, r.Config.named(r.declared)):
			log.Info("the declared weights were changed: they replace those set at run time", zap.String("route", r.Name),
				zap.Any("declared", r.Config.named(r.declared)), zap.Any("replaced", o.Weights))
		default:
			weights = w
			inForce = &o
			if !maps.Equal(o.Weights, o.Declared) {
				log.Warn("weights set at run time are in force, not the declared ones; to keep them, declare them: caddy llm routes show "+r.Name+" --caddyfile prints the lines",
					zap.String("route", r.Name), zap.Any("weights", o.Weights), zap.Any("declared", o.Declared))
			}
		}
	}
	r.revision.Store(o.revision)
	r.override.Store(inForce)
	r.split.Store(newSplit(weights))
}

// named gives weights their variants' names, in percent.
func (r *Route) named(weights []uint16) map[string]float64 {
	m := make(map[string]float64, len(weights))
	for i, v := range r.Variants {
		m[v.Name] = float64(weights[i]) / 100
	}
	return m
}

// readRollouts makes the controllers of the rollouts that are stored.
func (s *State) readRollouts(dir string) error {
	s.measured = dir
	entries, err := s.store.List(rolloutPrefix)
	if err != nil {
		return err
	}
	for _, e := range entries {
		route := e.Key[len(rolloutPrefix):]
		c := s.newController(route)
		if err := json.Unmarshal(e.Value, &c.status); err != nil {
			s.log.Error("the stored status of a rollout cannot be read; the rollout begins anew", zap.String("route", route), zap.Error(err))
			c.status = rollout.Status{}
		}
		c.revision = e.Revision
		s.rollouts[route] = c
	}
	for _, c := range s.rollouts {
		c.start()
	}
	return nil
}

// controller is that of the route's rollout. Holds mu.
func (s *State) controller(route string) *controller {
	c := s.rollouts[route]
	if c == nil {
		c = s.newController(route)
		s.rollouts[route] = c
		c.start()
	}
	return c
}

func (s *State) newController(route string) *controller {
	return newController(route, measurementsFile(s.measured, route), s.store, s.log)
}
