package rollout

import (
	"fmt"
	"strconv"
)

const (
	costGuard = "cost"

	defaultCostRatio = 1.2
	// A mean is only bounded for values that are. Larger costs are cut to limitRoom times
	// the ratio times this quantile of stable's, as it is known after limitAfter units: with the quantile
	// alone, a stable whose requests all cost about the same would hide that the
	// candidate costs ten times as much.
	limitQuantile = 0.999
	limitAfter    = 100
	limitRoom     = 2
	// unknownMost is the part of requests whose cost may be unknown.
	unknownMost = 0.05
)

// cost is the guard `cost`: the mean cost of a request, by betting confidence
// sequences of each variant. It fails when the candidate's lower bound is above
// ratio times stable's upper one, and passes when its upper bound is at most
// ratio times stable's lower one.
type cost struct {
	ratio float64
}

// parseCost reads `cost [1.2x]`.
func parseCost(args []string) (*cost, error) {
	if len(args) == 0 {
		return &cost{ratio: defaultCostRatio}, nil
	}
	f, ok := factor(args[0])
	if len(args) > 1 || !ok || f < 1 || f > 100 {
		return nil, fmt.Errorf("arguments %q: want one factor from 1x to 100x, such as 1.2x", args)
	}
	return &cost{ratio: f}, nil
}

// dollars has two digits at least, of however small an amount.
func dollars(usd float64) string {
	digits := 2
	for v := usd; v > 0 && v < 0.1 && digits < 10; v *= 10 {
		digits++
	}
	return "$" + strconv.FormatFloat(usd, 'f', digits, 64)
}

func (c *cost) name() string  { return costGuard }
func (c *cost) needs() string { return "price" }

func (c *cost) judge(e *Evidence, alpha float64) GuardStatus {
	s := GuardStatus{Name: costGuard, Outcome: Inconclusive, Threshold: number(c.ratio)}
	mine, theirs := &e.steps[candidate], &e.steps[stable]
	for v, name := range []string{"stable", "candidate"} {
		if m := &e.steps[v]; m.unknown > 0 && float64(m.unknown) > unknownMost*float64(m.unknown+m.cost.n) {
			s.Needed = fmt.Sprintf("known costs: those of %d of %d %s requests are not; set a price", m.unknown, m.unknown+m.cost.n, name)
			return s
		}
	}
	if e.limit == 0 {
		s.Needed = fmt.Sprintf("%d more requests of stable", max(limitAfter-theirs.cost.n, 1))
		return s
	}
	limit := limitRoom * c.ratio * e.limit
	now, was := mean(mine.cost.points(limit, false)), mean(theirs.cost.points(limit, false))
	s.Value = number(now / was)
	s.words = fmt.Sprintf("%s a request against %s", dollars(now*limit), dollars(was*limit))
	bottom, top := meanAbove(mine.cost.points(limit, false), promoteLevel/2), meanBelow(mine.cost.points(limit, true), promoteLevel/2)
	floor, ceiling := meanAbove(theirs.cost.points(limit, false), promoteLevel/2), meanBelow(theirs.cost.points(limit, true), promoteLevel/2)
	s.Low, s.High = number(bottom/ceiling), number(top/floor)
	if now > c.ratio*was && meanAbove(mine.cost.points(limit, false), alpha/2) > c.ratio*meanBelow(theirs.cost.points(limit, true), alpha/2) {
		s.Outcome = Fail
		return s
	}
	if top <= c.ratio*floor {
		s.Outcome = Pass
		return s
	}
	s.Needed = "more candidate requests"
	if now > c.ratio*was {
		s.Needed = fmt.Sprintf("a lower cost: it is at %.3gx, where %gx is allowed", now/was, c.ratio)
	}
	return s
}
