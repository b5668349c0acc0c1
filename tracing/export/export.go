// Package export ships stored traces to other systems: to MLflow, and to
// anything that takes OpenTelemetry's OTLP. Traces are read from the trace
// store, which is the spool: what cannot be delivered waits there, bounded by
// its retention, over restarts too. No request waits for any of it.
package export

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/tracing"
)

// Set runs the exporters of one data directory, one goroutine for each
// destination. Configurations before and after a reload share it: a
// destination that both have goes on without noticing.
type Set struct {
	store *tracing.Store
	dir   string // of the positions
	tags  func(prompt string, version int) map[string]string
	log   *zap.Logger

	minBackoff, maxBackoff time.Duration

	mu      sync.Mutex // of runners, and of their using and before
	runners map[string]*runner
}

// NewSet returns a set without exporters. It keeps how far each of them has
// come in the directory. tags returns the tags of a prompt version.
func NewSet(store *tracing.Store, dir string, tags func(prompt string, version int) map[string]string, log *zap.Logger) *Set {
	return &Set{store: store, dir: dir, tags: tags, log: log, runners: map[string]*runner{}, minBackoff: 500 * time.Millisecond, maxBackoff: 15 * time.Second}
}

// Check refuses exporters that would send everything to the same place twice.
func Check(exporters []tracing.Exporter) error {
	seen := map[string]bool{}
	for _, e := range exporters {
		d := e.Destination()
		if seen[d] {
			return fmt.Errorf("traces export: %s is there twice; remove one", d)
		}
		seen[d] = true
	}
	return nil
}

// Use starts a configuration's exporters, until Release. A destination that is
// in use goes on with the new settings. A new one gets what is stored from now
// on; but if it is of the same kind as one that the configuration no longer
// has, it takes that one's place, and gets what that one has not delivered.
func (s *Set) Use(exporters []tracing.Exporter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[string]bool{}
	for _, e := range exporters {
		kept[e.Destination()] = true
	}
	for _, e := range exporters {
		d := e.Destination()
		r := s.runners[d]
		if r == nil || r.finishing() {
			before := r
			r = newRunner(s, d)
			if before == nil && !r.known() {
				before = s.replaced(d, kept)
			}
			if r.before = before; before != nil {
				before.handedOver = true
			}
			s.runners[d] = r
			go r.run() // until it is released; Close waits for it
		}
		r.using = append(r.using, e)
		r.wake()
	}
}

// replaced finds the runner of a destination of the same kind that is not kept.
func (s *Set) replaced(destination string, kept map[string]bool) *runner {
	for d, r := range s.runners {
		if kindOf(d) == kindOf(destination) && !kept[d] && !r.handedOver {
			return r
		}
	}
	return nil
}

func kindOf(destination string) string {
	kind, _, _ := strings.Cut(destination, " ")
	return kind
}

// Release ends a configuration's use of its exporters. What the destinations
// take soon is still delivered, in the background.
func (s *Set) Release(exporters []tracing.Exporter) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range exporters {
		r := s.runners[e.Destination()]
		if r == nil {
			continue
		}
		if len(r.using) == 1 && r.using[0] == e {
			limit := lastWords
			if r.handedOver {
				limit = 0
			}
			r.finish(limit) // with the settings that it has
			continue
		}
		r.using = slices.DeleteFunc(r.using, func(u tracing.Exporter) bool { return u == e })
	}
}

// Close gives all exporters that time for what was stored last, and waits for
// them. What is left is delivered after the next start.
func (s *Set) Close(limit time.Duration) {
	s.mu.Lock()
	var all []*runner
	for _, r := range s.runners {
		for ; r != nil; r = r.before {
			r.finish(limit)
			all = append(all, r)
		}
	}
	s.mu.Unlock()
	for _, r := range all {
		<-r.stopped
	}
}

// Status is what became of a destination's traces since it was begun in this process.
type Status struct {
	Destination string  `json:"destination"`
	Exported    int64   `json:"exported"` // traces that were delivered
	Feedback    int64   `json:"feedback"` // feedback that was delivered
	Refused     int64   `json:"refused"`  // both, which the destination does not accept
	Failures    int64   `json:"failures"` // attempts that failed
	Error       *string `json:"error"`    // of the last attempt; null when it succeeded
}

// Status returns the status of all exporters, by destination.
func (s *Set) Status() []Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]Status, 0, len(s.runners))
	for _, r := range s.runners {
		list = append(list, r.status())
	}
	slices.SortFunc(list, func(a, b Status) int { return strings.Compare(a.Destination, b.Destination) })
	return list
}
