package routing

import (
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// measurement is what a request leaves with its route's controller: that its
// variant was drawn, and later what became of it.
type measurement struct {
	rollout.Outcome
	drawn bool // only that
}

// leave hands a measurement over. When it decides something and nobody else is
// at it, that happens here: before leave returns, the next request is split anew.
func (c *controller) leave(m *measurement) {
	c.leaving.Lock()
	c.left = append(c.left, *m)
	c.leaving.Unlock()
	c.work()
}

// work takes what was left, unless somebody is at it, who then does.
func (c *controller) work() {
	for c.waiting() && c.mu.TryLock() {
		c.take()
		c.mu.Unlock()
	}
}

func (c *controller) waiting() bool {
	c.leaving.Lock()
	defer c.leaving.Unlock()
	return len(c.left) > 0
}

func (c *controller) lock() {
	c.mu.Lock()
	c.take()
}

func (c *controller) unlock() {
	c.mu.Unlock()
	c.work()
}

// take gives what was left to the evidence. Holds mu.
func (c *controller) take() {
	c.leaving.Lock()
	list := c.left
	c.left = c.taken[:0]
	c.leaving.Unlock()
	c.taken = list
	if c.evidence == nil {
		return
	}
	for i := range list {
		m := &list[i]
		c.measured = true
		if m.drawn {
			c.evidence.Draw(m.Epoch, m.Share, m.Candidate, m.Unit)
			continue
		}
		if c.evidence.Observe(&m.Outcome) {
			c.step(rollout.Event{Kind: rollout.Decided})
		}
	}
}
