package rollout

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Result is what a guard has come to: Argo's four.
type Result string

// No data is never a pass.
const (
	Pass         Result = "pass"
	Fail         Result = "fail"
	Inconclusive Result = "inconclusive"
	Error        Result = "error" // the measurement itself is wrong
)

// GuardStatus is how a guard stands.
type GuardStatus struct {
	Name    string `json:"name"`
	Outcome Result `json:"outcome"`
	// The candidate against stable as measured, the always-valid interval around it (95 %), and what it may be at
	// most (of consistency: at least): a difference of rates for errors and format, a ratio for latency and cost, a
	// score for consistency, a difference of scores for quality. Null: nothing was measured yet.
	Value     *float64 `json:"value"`
	Low       *float64 `json:"low"`
	High      *float64 `json:"high"`
	Threshold *float64 `json:"threshold"`
	// What is missing, in words.
	Needed string `json:"needed"`

	words  string   // what was found, for the log
	traces []string // the ids of the traces behind it
}

// guard is one promise that the candidate has to keep.
type guard interface {
	name() string
	// needs is what it needs of the route, if anything.
	needs() string
	// judge looks at evidence; any number of times. alpha is the chance of a wrong fail in this step.
	judge(e *Evidence, alpha float64) GuardStatus
}

// promoteLevel is the chance that a guard passes a candidate that is worse than its limit.
const promoteLevel = 0.05

var infinity = math.Inf(1)

const guardNames = "errors, latency, cost, format, consistency, quality"

func parseGuard(g GuardSpec) (guard, error) {
	var parsed guard
	var err error
	switch g.Name {
	case errorsGuard, formatGuard:
		parsed, err = parseFailureGuard(g)
	case latencyGuard:
		parsed, err = parseLatency(g.Args)
	case costGuard:
		parsed, err = parseCost(g.Args)
	case consistencyGuard, qualityGuard:
		parsed, err = parseScore(g)
	default:
		return nil, fmt.Errorf("guard %q: want one of: %s", g.Name, guardNames)
	}
	if err != nil {
		return nil, fmt.Errorf("guard %s: %w", g.Name, err)
	}
	return parsed, nil
}

// factor reads arguments such as 1.5x.
func factor(arg string) (float64, bool) {
	n, ok := strings.CutSuffix(arg, "x")
	v, err := strconv.ParseFloat(n, 64)
	return v, ok && err == nil && !math.IsNaN(v)
}

// share reads arguments such as 2%.
func share(arg string) (float64, bool) {
	n, ok := strings.CutSuffix(arg, "%")
	v, err := strconv.ParseFloat(n, 64)
	return v / 100, ok && err == nil && !math.IsNaN(v)
}

// number is a value that JSON has; null for those it has not.
func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// Judge looks at how the guards stand. Evidence that has not changed since is not looked at again.
func (p *Plan) Judge(e *Evidence) []GuardStatus {
	if e.judge != p {
		e.judge, e.judged = p, p.look(e)
	}
	return e.judged
}

// decided looks at what an outcome can have decided, the guards of failures. The
// others stand as they did when last looked at: that takes milliseconds, which
// the request that decides does not have.
func (p *Plan) decided(e *Evidence) []GuardStatus {
	if len(e.judged) != len(p.guards) {
		return p.Judge(e)
	}
	out := slices.Clone(e.judged)
	for i, g := range p.guards {
		if f, ok := g.(*failureGuard); ok {
			out[i] = f.judge(e, p.alpha)
		}
	}
	return out
}

func (p *Plan) look(e *Evidence) []GuardStatus {
	out := make([]GuardStatus, len(p.guards))
	for i, g := range p.guards {
		a := p.alpha
		if _, whole := g.(*failureGuard); !whole { // begins anew with each step
			a /= float64(len(p.spec.Steps))
		}
		out[i] = g.judge(e, a)
	}
	return out
}
