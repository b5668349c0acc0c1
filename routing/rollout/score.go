package rollout

import "fmt"

const (
	consistencyGuard = "consistency"
	qualityGuard     = "quality"

	defaultConsistency = 0.9
	defaultQuality     = 0.05
)

// score is the guard `consistency` (the candidate's mean score is at least a
// given one) and the guard `quality` (it is at most a margin below stable's), by
// betting confidence sequences on [0,1].
type score struct {
	kind  string
	least float64 // of consistency
	loss  float64 // of quality: the margin
}

// parseScore reads `consistency [90%]` and `quality [margin] [5%]`.
func parseScore(g GuardSpec) (*score, error) {
	s := &score{kind: g.Name, least: defaultConsistency, loss: defaultQuality}
	args := g.Args
	if g.Name == qualityGuard && len(args) > 1 && args[0] == "margin" {
		args = args[1:]
	}
	if len(args) == 0 {
		return s, nil
	}
	v, ok := share(args[0])
	if len(args) > 1 || !ok || v <= 0 || v >= 1 {
		return nil, fmt.Errorf("arguments %q: want one percentage above 0%% and below 100%%, such as 90%%", g.Args)
	}
	if g.Name == consistencyGuard {
		s.least = v
	} else {
		s.loss = v
	}
	return s, nil
}

func (g *score) name() string  { return g.kind }
func (g *score) needs() string { return "scorer" }

func (g *score) judge(e *Evidence, alpha float64) GuardStatus {
	mine, theirs := &e.steps[candidate].score, &e.steps[stable].score
	s := GuardStatus{Name: g.kind, Outcome: Inconclusive, Value: number(mean(mine.points(1, false)))}
	low := func(h *histogram, a float64) float64 { return meanAbove(h.points(1, false), a) }
	high := func(h *histogram, a float64) float64 { return meanBelow(h.points(1, true), a) }
	var fails, passes bool
	if g.kind == consistencyGuard {
		s.Threshold = number(g.least)
		s.words = fmt.Sprintf("consistency %s, where %s is wanted", percent(mean(mine.points(1, false))), percent(g.least))
		s.Low, s.High = number(low(mine, promoteLevel)), number(high(mine, promoteLevel))
		fails, passes = high(mine, alpha) < g.least, *s.Low >= g.least
	} else {
		s.Value = number(mean(mine.points(1, false)) - mean(theirs.points(1, false)))
		s.Threshold = number(-g.loss)
		s.words = fmt.Sprintf("quality %s against %s", percent(mean(mine.points(1, false))), percent(mean(theirs.points(1, false))))
		s.Low = number(low(mine, promoteLevel/2) - high(theirs, promoteLevel/2))
		s.High = number(high(mine, promoteLevel/2) - low(theirs, promoteLevel/2))
		fails = high(mine, alpha/2) < low(theirs, alpha/2)-g.loss
		passes = *s.Low >= -g.loss
	}
	switch {
	case mine.n == 0, g.kind == qualityGuard && theirs.n == 0:
		s.Needed, s.words = "scores", "no scores"
	case fails:
		s.Outcome = Fail
	case passes:
		s.Outcome = Pass
	default:
		s.Needed = fmt.Sprintf("more scores than %d", mine.n)
	}
	return s
}
