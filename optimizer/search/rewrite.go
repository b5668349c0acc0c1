package search

import (
	"cmp"
	"context"
	"fmt"
)

// Rewrite has a reflector write the whole prompt anew from what went wrong,
// a few times, and keeps the best of what it wrote when that is better than
// the original. It needs few calls: one pass over the records for each.
type Rewrite struct {
	// Proposals is how many rewritings are asked for. Default: 3.
	Proposals int `json:"proposals,omitempty"`
}

// Optimize implements Optimizer.
func (r Rewrite) Optimize(ctx context.Context, p Problem, lab Lab) (*Result, error) {
	return optimize(ctx, &p, lab, moves{reflect: true, rewrite: true, proposals: cmp.Or(r.Proposals, defaultProposals)})
}

// rewritings asks for proposals and tries each of them on all records.
func (e *engine) rewritings() (string, error) {
	n := len(e.cases)
	most := min(e.proposals, (e.lab.Left()-e.kept)/(n+1))
	if most == 0 {
		return "the budget does not allow a rewriting to be asked for and tried on all records", nil
	}
	if err := e.reflectOn(most); err != nil {
		return "", err
	}
	var jobs []job
	for _, d := range e.fresh {
		jobs = append(jobs, job{move: "rewrite", design: d, records: e.cases})
	}
	if len(jobs) == 0 {
		return fmt.Sprintf("none of %d rewritings could be used", most), nil
	}
	if _, err := e.try(jobs); err != nil {
		return "", err
	}
	e.fit()
	return fmt.Sprintf("%d rewritings were tried", len(jobs)), nil
}
