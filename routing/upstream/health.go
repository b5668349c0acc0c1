package upstream

import (
	"net/http"
	"sync"
	"time"
)

// Health rules. A key is set aside after the provider refused it; a circuit
// opens after a row of faults of the provider itself, and lets one request
// through now and then to see whether it has recovered.
const (
	openAfter    = 5                // faults in a row
	firstProbe   = time.Second      // after opening; doubles with each probe that fails
	lastProbe    = 15 * time.Second // so that recovery is seen within 30 s
	refusedFor   = time.Minute      // a key that the provider refuses (401, 403)
	throttledFor = time.Second      // a key that is throttled (429) without a Retry-After
	mostAside    = 5 * time.Minute
)

// health is what a client remembers of its provider: circuits by model and
// key, and keys that are set aside. Its lock is held for memory only.
type health struct {
	mu       sync.Mutex
	circuits map[circuitKey]*circuit
	aside    map[string]time.Time // until when, by key
	turn     int
}

type circuitKey struct{ model, key string }

type circuit struct {
	faults int
	wait   time.Duration // until the next probe
	probe  time.Time     // when the next probe may go; zero: closed
}

// maxCircuits bounds the table: model names come from callers.
const maxCircuits = 4096

// pick returns the key for the next request: the next one in turn that is
// not set aside, else the one that is set aside for the shortest time.
func (h *health) pick(keys []string, now time.Time) string {
	switch len(keys) {
	case 0:
		return ""
	case 1:
		return keys[0]
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	best, soonest := "", time.Time{}
	for range keys {
		h.turn = (h.turn + 1) % len(keys)
		k := keys[h.turn]
		until := h.aside[k]
		if !now.Before(until) {
			return k
		}
		if best == "" || until.Before(soonest) {
			best, soonest = k, until
		}
	}
	return best
}

// spare reports whether another key than this one can be used now.
func (h *health) spare(keys []string, key string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, k := range keys {
		if k != key && !now.Before(h.aside[k]) {
			return true
		}
	}
	return false
}

// allow reports whether the circuit lets a request through.
func (h *health) allow(model, key string, now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := h.circuits[circuitKey{model, key}]
	if c == nil || c.probe.IsZero() {
		return true
	}
	if now.Before(c.probe) {
		return false
	}
	c.probe = now.Add(c.wait) // this request is the probe; others wait
	return true
}

// OpenCircuits counts the circuits that are open.
func (c *Client) OpenCircuits() (n int) {
	h := &c.health
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.circuits {
		if !c.probe.IsZero() {
			n++
		}
	}
	return n
}

// note takes the outcome of an attempt into account; nil: it succeeded.
func (h *health) note(model, key string, f *Fault, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	at := circuitKey{model, key}
	if f == nil || !f.providers() {
		if f == nil || f.Class == StatusError {
			delete(h.circuits, at)
		}
		h.setAside(key, f, now)
		return
	}
	c := h.circuits[at]
	if c == nil {
		if len(h.circuits) >= maxCircuits {
			clear(h.circuits)
		}
		if h.circuits == nil {
			h.circuits = map[circuitKey]*circuit{}
		}
		c = &circuit{}
		h.circuits[at] = c
	}
	c.faults++
	if c.faults < openAfter {
		return
	}
	if c.wait == 0 {
		c.wait = firstProbe
	} else if !c.probe.IsZero() {
		c.wait = min(2*c.wait, lastProbe)
	}
	c.probe = now.Add(c.wait)
}

func (h *health) setAside(key string, f *Fault, now time.Time) {
	if key == "" {
		return
	}
	var wait time.Duration
	switch {
	case f == nil:
		delete(h.aside, key)
		return
	case f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden:
		wait = refusedFor
	case f.Status == http.StatusTooManyRequests:
		if wait = f.RetryAfter(now); wait <= 0 {
			wait = throttledFor
		}
	default:
		return
	}
	if h.aside == nil {
		h.aside = map[string]time.Time{}
	}
	h.aside[key] = now.Add(min(wait, mostAside))
}

// providers reports whether the fault says that the provider is not well: not
// one of the caller's, and not a refusal of the key.
func (f *Fault) providers() bool {
	switch f.Class {
	case Cancelled:
		return false
	case StatusError:
		return f.Status >= 500
	}
	return true
}
