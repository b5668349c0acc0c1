package routing

import (
	"math"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/price"
)

// draw is how a call came to its variant by weight. Without a split it did not.
type draw struct {
	split   *split // in force then
	variant int
	unit    uint64
}

// outcome is how a call ended for the variant that was drawn for it, after
// that variant's own attempts and before any fallback: an answer that another
// variant gave is a failure of this one (intention to treat).
type outcome struct {
	draw
	failure string        // the class of the failure; "": it answered
	latency time.Duration // of all of its attempts
	ttft    time.Duration // 0: not a stream
	cost    float64       // US dollars; NaN: not known
}

// emptyAnswer is the class of an answer with nothing in it.
const emptyAnswer = "empty"

// outcome is known when the call is over. Calls that a client left, and those
// that an SDK makes again, are no evidence.
func (p *plan) outcome() (o outcome, ok bool) {
	c := p.call
	if p.drawn.split == nil || c.Retry || c.Status == call.StatusCancelled {
		return o, false
	}
	o = outcome{draw: p.drawn, cost: math.NaN()}
	name := p.route.variants[o.variant].Name
	var first, last *call.Attempt
	for i := range c.Attempts {
		if a := &c.Attempts[i]; a.Variant == name {
			if first == nil {
				first = a
			}
			last = a
		}
	}
	if last == nil {
		return o, false
	}
	o.failure = last.ErrorClass
	o.latency = last.Started.Sub(first.Started) + last.Duration
	if last.FirstToken > 0 {
		o.ttft = last.Started.Sub(first.Started) + last.FirstToken
	}
	if o.failure == "" && p.empty {
		o.failure = emptyAnswer
	}
	if u := last.Usage; u != nil {
		if usd, known := p.table.Prices.Cost(last.Provider, last.Model, c.Started, usageOf(u)); known {
			o.cost = usd
		}
	}
	return o, true
}

func usageOf(u *call.Usage) price.Usage {
	return price.Usage{Input: u.Input, Output: u.Output, CachedInput: u.CachedInput, CacheWriteInput: u.CacheWriteInput, Reasoning: u.Reasoning}
}
