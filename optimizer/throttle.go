package optimizer

import (
	"context"
	"sync"
	"time"
)

// throttle bounds how many calls are under way at one provider, over all runs.
// A 429 halves the bound and holds calls back for as long as the provider asks;
// answers raise it again, by one for each round of them (AIMD, as TCP does:
// RFC 5681).
type throttle struct {
	mu      sync.Mutex
	limit   float64
	busy    int
	until   time.Time // nothing is sent before
	changed chan struct{}
}

const (
	mostBusy = maxParallelism
	// defaultWait is how long calls are held back after a 429 that names no time.
	defaultWait = time.Second
	// longestWait bounds how long a provider can make calls wait.
	longestWait = 2 * time.Minute
)

func newThrottle() *throttle { return &throttle{limit: mostBusy, changed: make(chan struct{})} }

// acquire waits for its turn.
func (t *throttle) acquire(ctx context.Context) error {
	for {
		t.mu.Lock()
		wait := time.Until(t.until)
		if wait <= 0 && t.busy < int(t.limit) {
			t.busy++
			t.mu.Unlock()
			return nil
		}
		changed := t.changed
		t.mu.Unlock()
		if wait <= 0 {
			wait = time.Hour // it is told when there is room
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-changed:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// release ends a turn. limited says that the provider answered with 429, after which it wants to be left alone for a while.
func (t *throttle) release(limited bool, after time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.busy--
	if limited {
		t.limit = max(1, min(t.limit, float64(t.busy+1))/2)
		if after <= 0 {
			after = defaultWait
		}
		if until := time.Now().Add(min(after, longestWait)); until.After(t.until) {
			t.until = until
		}
	} else if t.busy+1 >= int(t.limit) { // a bound that nobody has met says nothing
		t.limit = min(mostBusy, t.limit+1/t.limit)
	}
	close(t.changed)
	t.changed = make(chan struct{})
}
