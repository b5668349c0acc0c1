package routing

import (
	"math"
	"strconv"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/price"
	"github.com/caddy-frontier/frontier/routing/rollout"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// draw is how a call came to its variant by weight, when that is evidence for a
// rollout. Without a split it is not.
type draw struct {
	split   *split // in force then
	variant int
	unit    uint64
}

// drew notes that the call's variant was drawn.
func (p *plan) drew(s *split, variant int, unit uint64) {
	if s.rollout == nil {
		return
	}
	s.rollout.recognized.Add(1)
	if p.call.Retry || variant != s.from && variant != s.to {
		return
	}
	p.drawn = draw{s, variant, unit}
	m := p.measurement()
	m.drawn = true
	s.rollout.leave(&m)
}

func (p *plan) measurement() measurement {
	s := p.drawn.split
	return measurement{Outcome: rollout.Outcome{
		Epoch: s.mark.Epoch, Share: s.mark.Share, Candidate: p.drawn.variant == s.to, Unit: p.drawn.unit,
		TTFT: math.NaN(), Cost: math.NaN(), Trace: p.call.ID,
	}}
}

// isEvidence reports whether an answer is of the variant that was drawn for a rollout.
func (p *plan) isEvidence(ans *upstream.Answer) bool {
	return p.drawn.split != nil && ans.Target.Variant == p.route.variants[p.drawn.variant].Name
}

// emptyAnswer is the class of an answer with nothing in it.
const emptyAnswer = "empty"

// settle leaves how the call ended for the variant that was drawn for it, after
// that variant's own attempts and before any fallback: an answer that another
// variant gave is a failure of this one (intention to treat). Calls that their
// client left before that, and those that we refused whatever the variant, are no evidence.
func (p *plan) settle() {
	if p == nil || p.drawn.split == nil {
		return
	}
	c := p.call
	m := p.measurement()
	name := p.route.variants[p.drawn.variant].Name
	var first, last *call.Attempt
	for i := range c.Attempts {
		if a := &c.Attempts[i]; a.Variant == name {
			if first == nil {
				first = a
			}
			last = a
		}
	}
	switch n := len(c.Attempts); {
	case c.Status == call.StatusCancelled && (n == 0 || c.Attempts[n-1].Variant == name):
		return
	case p.unfit != "": // its request could not even be made
		m.Failed, m.Kind = true, p.unfit
	case last == nil:
		return
	case last.ErrorClass != "":
		m.Failed, m.Kind = true, last.ErrorClass
		if m.Kind == string(upstream.StatusError) {
			m.Kind = "status_" + strconv.Itoa(last.HTTPStatus)
		}
	case p.empty:
		m.Failed, m.Kind = true, emptyAnswer
	}
	if last != nil {
		m.Latency = (last.Started.Sub(first.Started) + last.Duration).Seconds()
		switch {
		case last.FirstToken > 0:
			m.TTFT = (last.Started.Sub(first.Started) + last.FirstToken).Seconds()
		case c.Stream:
			m.TTFT = math.Inf(1)
		}
		m.Cost = p.cost(last)
	}
	if !m.Failed {
		m.Format = p.format
	}
	p.drawn.split.rollout.leave(&m)
}

// cost is what an attempt cost in US dollars; NaN: not known.
func (p *plan) cost(a *call.Attempt) float64 {
	if a.Usage == nil {
		return math.NaN()
	}
	usd, known := p.table.Prices.Cost(a.Provider, a.Model, p.call.Started, usageOf(a.Usage))
	if !known {
		return math.NaN()
	}
	return usd
}

func usageOf(u *call.Usage) price.Usage {
	return price.Usage{Input: u.Input, Output: u.Output, CachedInput: u.CachedInput, CacheWriteInput: u.CacheWriteInput, Reasoning: u.Reasoning}
}

// onTrial reports whether a variant is the candidate of a rollout that the call
// is evidence for. What it makes of the call is not the caller's fault before
// another variant has come to the same.
func (p *plan) onTrial(v *variant) bool {
	return p.drawn.split != nil && p.drawn.variant == p.drawn.split.to && p.route.variants[p.drawn.variant] == v
}
