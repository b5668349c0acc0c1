package demo

import (
	"context"
	"maps"
	"sync"
	"time"
)

// Traffic is production: so many calls a second, whether or not those before
// are answered, as long as the machine keeps up.
type Traffic struct {
	app     *Application
	stop    context.CancelFunc
	running sync.WaitGroup

	mu    sync.Mutex
	tally Tally
	users map[string]map[string]bool // by variant
}

// Tally is what the users of some traffic had.
type Tally struct {
	Calls  int            // ended
	Failed int            // without an answer
	First  error          // why the first of these failed
	Served map[string]int // answers by variant
	Users  map[string]int // who had any, by variant
}

// Begin lets the application's users call so often in a second, until Stop or
// until ctx is done. atOnce is how many calls are under way at most: beyond
// that users wait, so that a busy machine has fewer calls rather than slower
// ones. next is asked for one call after another.
func (a *Application) Begin(ctx context.Context, rate float64, atOnce int, next func() Call) *Traffic {
	t := &Traffic{app: a, users: map[string]map[string]bool{}, tally: Tally{Served: map[string]int{}}}
	paced, stop := context.WithCancel(ctx)
	t.stop = stop
	t.running.Go(func() { t.run(ctx, paced, rate, atOnce, next) }) // ends with paced; Stop waits
	return t
}

func (t *Traffic) run(ctx, paced context.Context, rate float64, atOnce int, next func() Call) {
	const (
		often = 5 * time.Millisecond
		late  = 20 * often // what is behind by more is not made up for
	)
	tick := time.NewTicker(often)
	defer tick.Stop()
	room := make(chan struct{}, atOnce)
	last, due := time.Now(), 0.0
	for {
		select {
		case <-paced.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		due += rate * min(now.Sub(last), late).Seconds()
		for last = now; due >= 1; due-- {
			select {
			case <-paced.Done():
				return
			case room <- struct{}{}:
			}
			c := next()
			t.running.Go(func() { // ends with its call, which the application bounds; Stop waits
				answer, err := t.app.Ask(ctx, c)
				t.count(ctx, c.User, answer.Variant, err)
				<-room
			})
		}
	}
}

func (t *Traffic) count(ctx context.Context, user, variant string, err error) {
	if err != nil && ctx.Err() != nil {
		return // it was given up
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tally.Calls++
	if err != nil {
		t.tally.Failed++
		if t.tally.First == nil {
			t.tally.First = err
		}
		return
	}
	t.tally.Served[variant]++
	if t.users[variant] == nil {
		t.users[variant] = map[string]bool{}
	}
	t.users[variant][user] = true
}

// Tally is what there was so far.
func (t *Traffic) Tally() Tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.tally
	now.Served, now.Users = maps.Clone(now.Served), map[string]int{}
	for variant, users := range t.users {
		now.Users[variant] = len(users)
	}
	return now
}

// Stop ends it, waits for the calls under way, and returns what there was.
func (t *Traffic) Stop() Tally {
	t.stop()
	t.running.Wait()
	return t.Tally()
}
