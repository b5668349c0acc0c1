package rollout

import (
	"fmt"
	"math"
	"slices"
)

const (
	latencyGuard = "latency"

	defaultLatencyRatio = 1.5
	// ttftShare is the part of both variants' units that must be streamed for the
	// time to the first token to be waited for.
	ttftShare = 0.2
)

// latencyOf are the quantiles that can be compared. p50 and p95 are of the time
// to the end of the answer, ttft the median to its first content.
var latencyOf = map[string]float64{"p50": 0.5, "p95": 0.95, "ttft": 0.5}

// latency is the guard `latency`: always-valid confidence sequences of a
// quantile of each variant (Howard, Ramdas 2022). It fails when the candidate's
// lower bound is above ratio times stable's upper one, and passes when its
// upper bound is at most ratio times stable's lower one. A failed request took for ever.
type latency struct {
	ratio float64
	of    []string
}

// parseLatency reads `latency [1.5x] [p50|p95|ttft …]`, in any order.
func parseLatency(args []string) (*latency, error) {
	l := &latency{}
	for _, arg := range args {
		f, isFactor := factor(arg)
		switch {
		case isFactor && l.ratio != 0:
			return nil, fmt.Errorf("the factor is there twice; keep one")
		case isFactor && (f < 1 || f > 100):
			return nil, fmt.Errorf("factor %s: want one from 1x to 100x", arg)
		case isFactor:
			l.ratio = f
		case latencyOf[arg] == 0:
			return nil, fmt.Errorf("argument %q: want [1.5x] [p50|p95|ttft]", arg)
		case slices.Contains(l.of, arg):
			return nil, fmt.Errorf("%s is there twice; keep one", arg)
		default:
			l.of = append(l.of, arg)
		}
	}
	if l.ratio == 0 {
		l.ratio = defaultLatencyRatio
	}
	if l.of == nil {
		l.of = []string{"p50", "ttft"}
	}
	return l, nil
}

func (l *latency) name() string  { return latencyGuard }
func (l *latency) needs() string { return "" }

// judge reports the worst of what is compared; the first of equally bad ones.
func (l *latency) judge(e *Evidence, alpha float64) GuardStatus {
	var out GuardStatus
	for _, of := range l.of {
		s := l.compare(e, of, alpha/float64(len(l.of)))
		if of == "ttft" && s.Outcome == Inconclusive && len(l.of) > 1 && !streamed(e) {
			continue
		}
		if out.Name == "" || severity[s.Outcome] > severity[out.Outcome] {
			out = s
		}
	}
	return out
}

var severity = map[Result]int{Pass: 0, Inconclusive: 1, Error: 2, Fail: 3}

// streamed reports whether enough requests are streamed for ttft to count.
func streamed(e *Evidence) bool {
	for v := range e.steps {
		if m := &e.steps[v]; float64(m.ttft.n) < ttftShare*float64(m.latency.n) {
			return false
		}
	}
	return true
}

func (l *latency) compare(e *Evidence, of string, alpha float64) GuardStatus {
	get := func(v int) *histogram {
		if of == "ttft" {
			return &e.steps[v].ttft
		}
		return &e.steps[v].latency
	}
	p := latencyOf[of]
	mine, theirs := get(candidate), get(stable)
	now, was := mine.quantile(p), theirs.quantile(p)
	s := GuardStatus{Name: latencyGuard, Outcome: Inconclusive, Value: number(now / was), Threshold: number(l.ratio)}
	s.words = fmt.Sprintf("%s %s against %s", of, seconds(now), seconds(was))
	bottom, top := mine.bounds(p, promoteLevel/2)
	floor, ceiling := theirs.bounds(p, promoteLevel/2)
	s.Low, s.High = number(bottom/ceiling), number(top/floor)
	low, _ := mine.bounds(p, alpha/2)
	_, high := theirs.bounds(p, alpha/2)
	if low > l.ratio*high {
		s.Outcome = Fail
		s.words += fmt.Sprintf(", more than %gx at every look", l.ratio)
		return s
	}
	if top <= l.ratio*floor && !math.IsInf(top, 1) {
		s.Outcome = Pass
		return s
	}
	s.Needed = l.needed(of, mine, theirs, top, floor)
	return s
}

// needed says what is missing: requests for the bounds to exist at all, or
// more of them for the bounds to come nearer.
func (l *latency) needed(of string, mine, theirs *histogram, top, floor float64) string {
	least := leastFor(latencyOf[of])
	switch p := latencyOf[of]; {
	case mine.n < least:
		return fmt.Sprintf("%d more candidate requests for %s, at least", least-mine.n, of)
	case theirs.n < least:
		return fmt.Sprintf("%d more requests of stable for %s, at least", least-theirs.n, of)
	default:
		limit := l.ratio * theirs.quantile(p)
		now := mine.quantile(p)
		if !(now < limit) {
			return fmt.Sprintf("a lower %s: it is at %.3gx, where %gx is allowed", of, now/theirs.quantile(p), l.ratio)
		}
		// The width of the bounds shrinks with the square root of the number.
		wide := (math.Log(top/now) + math.Log(theirs.quantile(p)/floor)) / math.Log(limit/now)
		more := float64(mine.n) * (wide*wide - 1)
		if math.IsNaN(more) || math.IsInf(more, 0) {
			return fmt.Sprintf("more candidate requests for %s", of)
		}
		return fmt.Sprintf("about %s more candidate requests for %s", roughly(max(more, 10)), of)
	}
}

// leastFor is the number of observations from which on the upper bound of the
// p-quantile exists.
func leastFor(p float64) int {
	n := 1
	for ; n < 10_000; n++ {
		if _, high := ranks(n, p, promoteLevel/2); high <= n {
			break
		}
	}
	return n
}

func seconds(s float64) string {
	switch {
	case math.IsNaN(s):
		return "unknown"
	case math.IsInf(s, 0):
		return "never"
	case s < 1:
		return fmt.Sprintf("%.0f ms", s*1000)
	}
	return fmt.Sprintf("%.3g s", s)
}
