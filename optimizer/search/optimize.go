package search

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
)

// optimize runs an engine on a problem.
func optimize(ctx context.Context, p *Problem, lab Lab, m moves) (*Result, error) {
	if p.InstructionsOnly {
		m.demos = 0
	}
	if m.quoteFew = 3; p.InstructionsOnly {
		m.quoteFew = len(p.Cases) + 1
	}
	switch n := len(p.Cases); {
	case n == 0:
		return untried(p, "there are no records to learn from"), nil
	case lab.Left() < 1:
		return untried(p, "the budget allows no calls"), nil
	case m.demos == 0 && !m.reflect:
		return untried(p, "solved examples are not allowed, and nothing else may be changed"), nil
	}
	e := newEngine(ctx, p, lab, m)
	var holdout []int
	e.cases, holdout = split(p, lab.Left())
	if n := len(e.cases); lab.Left() < n {
		return untried(p, fmt.Sprintf("the budget of %d calls is less than one pass over the %d records", lab.Left(), n)), nil
	}
	e.kept = 2 * len(holdout)
	reason, err := e.run()
	res, err := e.result(reason, err)
	if err != nil {
		return nil, err
	}
	return e.prove(res, holdout)
}

const (
	holdoutFrom  = 40  // records from which a fifth is held out
	leastPasses  = 5   // over the records that are searched with
	mostSearched = 150 // records: what is learned grows little beyond, and the time with the cube
)

// split parts the records into those that are searched with and, when there
// are enough, a fifth that the search never sees. With so many records that
// the budget would not allow to try several prompts on all of them, the search
// takes as many as allow it.
func split(p *Problem, budget int) (search, holdout []int) {
	n := len(p.Cases)
	order := stratified(p)
	if n >= holdoutFrom {
		h := min((n+4)/5, budget/6)
		holdout = order[:h]
		order = order[h:]
	}
	most := min(max((budget-2*len(holdout))/leastPasses, 30), mostSearched)
	search = slices.Clone(order[:min(len(order), most)])
	slices.Sort(search)
	slices.Sort(holdout)
	return search, holdout
}

// stratified orders the records so that any first part of them has its share
// of each expected answer: shuffled, then every answer's records spread evenly.
func stratified(p *Problem) []int {
	r := rand.New(rand.NewPCG(p.Seed, 0x5711))
	position := make([]float64, len(p.Cases))
	groups := map[string][]int{}
	for _, i := range r.Perm(len(p.Cases)) {
		groups[p.Cases[i].Expected] = append(groups[p.Cases[i].Expected], i)
	}
	for _, name := range sortedKeys(groups) {
		g := groups[name]
		start := r.Float64()
		for k, i := range g {
			position[i] = -(float64(k) + start) / float64(len(g))
		}
	}
	return ranked(position)
}

func sortedKeys(m map[string][]int) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// prove asks of the best prompt that it is better on records the search never
// saw, or without any that no record got worse. See Gate.
func (e *engine) prove(res *Result, holdout []int) (*Result, error) {
	res.Evidence = "none"
	if res.Best.Number == 0 {
		return res, nil
	}
	records := e.cases
	if len(holdout) > 0 {
		records = holdout
		jobs := []job{{move: "original", records: holdout}, {move: "best", design: e.designs[res.Best.Number], records: holdout}}
		if _, err := e.try(jobs); err != nil {
			// The search's result stands, unproven.
			if _, err = e.result("", err); err != nil {
				return nil, err
			}
			res.Reason += "; it could not be proven on the held-out records"
			return res, nil
		}
		res.Original, res.Best, res.Tried = e.tried[0], e.tried[res.Best.Number], e.tried
	}
	v := Gate(e.pairs(0, res.Best.Number, records), len(holdout) > 0, e.p.Noisy)
	res.Better, res.Evidence, res.Verdict = v.Better, v.Evidence, &v
	res.Reason += "; " + v.Text
	if len(holdout) > 0 && v.Gain < 0 {
		res.Best, res.Lines = res.Original, nil
		res.Reason += "; the original is kept"
	}
	return res, nil
}
