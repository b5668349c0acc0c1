package rollout

import (
	"fmt"
	"math"
)

const (
	errorsGuard = "errors"
	formatGuard = "format"

	defaultTolerance = 1.25
	defaultMargin    = 0.02
)

// failureGuard is the guard `errors` (failed requests) and the guard `format`
// (answers that break the declared format). It fails when the evidence that
// the candidate fails more than tolerance times as often as stable reaches
// the limit, and passes when the always-valid upper bound of the difference of
// the rates is at most the margin.
type failureGuard struct {
	kind      string
	tolerance float64
	margin    float64
}

func newFailureGuard(kind string) *failureGuard {
	return &failureGuard{kind: kind, tolerance: defaultTolerance, margin: defaultMargin}
}

// parseFailureGuard reads `errors [tolerance] 1.25x [margin] 2%`, in any order.
func parseFailureGuard(g GuardSpec) (*failureGuard, error) {
	out := newFailureGuard(g.Name)
	seen := map[string]bool{}
	name := ""
	for _, arg := range g.Args {
		if name == "" && (arg == "tolerance" || arg == "margin") {
			name = arg
			continue
		}
		is := ""
		if f, ok := factor(arg); ok && name != "margin" {
			if f < 1 || f > 10 {
				return nil, fmt.Errorf("tolerance %s: want a factor from 1x to 10x", arg)
			}
			out.tolerance, is = f, "tolerance"
		} else if s, ok := share(arg); ok && name != "tolerance" {
			if s <= 0 || s >= 1 {
				return nil, fmt.Errorf("margin %s: want a percentage above 0%% and below 100%%", arg)
			}
			out.margin, is = s, "margin"
		} else {
			return nil, fmt.Errorf("argument %q: want [tolerance 1.25x] [margin 2%%]", arg)
		}
		if seen[is] {
			return nil, fmt.Errorf("%s is there twice; keep one", is)
		}
		seen[is] = true
		name = ""
	}
	if name != "" {
		return nil, fmt.Errorf("%s without a value: want [tolerance 1.25x] [margin 2%%]", name)
	}
	return out, nil
}

func (g *failureGuard) name() string { return g.kind }

func (g *failureGuard) needs() string { return "" }

func (g *failureGuard) of(e *Evidence) *failures {
	if g.kind == formatGuard {
		return e.format
	}
	return e.errors
}

func (g *failureGuard) judge(e *Evidence, _ float64) GuardStatus {
	f := g.of(e)
	failed, requests := f.strata.total(candidate)
	stableFailed, stableRequests := f.strata.control()
	upper := g.upper(failed, requests, stableFailed, stableRequests)
	s := GuardStatus{Name: g.kind, Threshold: number(g.margin), traces: f.lastTraces()}
	if requests > 0 && stableRequests > 0 {
		s.Value, s.High = number(failed/requests-stableFailed/stableRequests), number(upper)
		s.Low = number(g.lower(failed, requests, stableFailed, stableRequests))
		s.words = fmt.Sprintf("%s %s against %s", g.noun(), percent(failed/requests), percent(stableFailed/stableRequests))
		if now, n := f.strata.under(e.mark.Share); n > 0 && n < requests && percent(now/n) != percent(failed/requests) {
			s.words = fmt.Sprintf("%s %s (%s since the first step) against %s", g.noun(), percent(now/n), percent(failed/requests), percent(stableFailed/stableRequests))
		}
		if kind := f.commonest(); kind != "" && g.kind == errorsGuard {
			s.words += ", most often " + kind
		}
	} else {
		s.words = "nothing to compare"
	}
	switch f.verdict {
	case worse:
		s.Outcome = Fail
		s.words += ", evidence " + odd(f.conditional.evidence())
		return s
	case broken:
		s.Outcome = Fail
		s.words = fmt.Sprintf("%s %s now, where at most %s is normal, evidence %s", g.noun(), percent(f.alone.rate()), percent(f.normal()), odd(f.alone.evidence()))
		return s
	case outage:
		s.Outcome = Error
		s.words = "both variants fail: " + s.words
		return s
	}
	if upper <= g.margin {
		s.Outcome = Pass
		return s
	}
	s.Outcome = Inconclusive
	s.Needed = g.needed(failed, requests, stableFailed, stableRequests)
	return s
}

func (g *failureGuard) noun() string {
	if g.kind == formatGuard {
		return "broken formats"
	}
	return "failures"
}

func odd(evidence float64) string {
	if evidence >= 1e6 {
		return "below 1/1000000"
	}
	return fmt.Sprintf("1/%.0f", evidence)
}

// upper is the always-valid upper bound of candidate − stable: the
// candidate's upper bound less stable's lower one, each with half of the level.
func (g *failureGuard) upper(failed, requests, stableFailed, stableRequests float64) float64 {
	if requests == 0 || stableRequests == 0 {
		return 1
	}
	return rare.upper(failed, requests, promoteLevel/2) - rare.lower(stableFailed, stableRequests, promoteLevel/2)
}

// lower is its counterpart.
func (g *failureGuard) lower(failed, requests, stableFailed, stableRequests float64) float64 {
	return rare.lower(failed, requests, promoteLevel/2) - rare.upper(stableFailed, stableRequests, promoteLevel/2)
}

// needed is how many more requests a pass takes if both variants go on as they did.
func (g *failureGuard) needed(failed, requests, stableFailed, stableRequests float64) string {
	switch {
	case g.kind == formatGuard && requests == 0 && stableRequests == 0:
		return "requests with a response format: none had one yet"
	case stableRequests == 0:
		return "requests of stable"
	}
	enough := func(times float64) bool {
		f, n := 0.0, times
		if requests > 0 {
			f, n = failed*times/requests, times
		}
		grown := max(1, n/max(requests, 1))
		return g.upper(f, n, stableFailed*grown, stableRequests*grown) <= g.margin
	}
	const far = 1e6
	low := max(requests, 1)
	high := low
	for !enough(high) {
		if low, high = high, high*2; high > far {
			return fmt.Sprintf("a lower failure rate: at this one the candidate is not within %s of stable", percent(g.margin))
		}
	}
	for high-low > 1+low/50 {
		if mid := (low + high) / 2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	more := math.Ceil(high - requests)
	return fmt.Sprintf("%s more candidate requests", roughly(max(more, 1)))
}

// roughly rounds an estimate to two digits.
func roughly(n float64) string {
	unit := math.Pow(10, max(0, math.Floor(math.Log10(n))-1))
	return fmt.Sprintf("%.0f", math.Ceil(n/unit)*unit)
}
