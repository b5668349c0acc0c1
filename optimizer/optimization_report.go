package optimizer

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/caddy-frontier/frontier/optimizer/search"
	"github.com/caddy-frontier/frontier/prompts"
)

// Optimization is the report of an optimisation.
type Optimization struct {
	OptimizationResult
	Template prompts.Template `json:"template"` // the best prompt's
	Original prompts.Template `json:"original"`
	Diff     string           `json:"diff"` // of the templates, by lines, as diff -u prints it
	// Lines are what the lines and examples that are new have earned: the mean score with one less that without it.
	Lines   []search.Line   `json:"lines"`
	Records []BeforeAfter   `json:"records"`
	Curve   []CurvePoint    `json:"curve"` // the best score so far, by calls
	Tried   []TriedReport   `json:"tried"`
	Trained []string        `json:"trained_on"` // the ids of the records that were learned from
	Scorer  json.RawMessage `json:"scorer"`
}

// OptimizationResult is an optimisation's result.
type OptimizationResult struct {
	Prompt     string     `json:"prompt"` // the URI of the version that was optimised
	Model      string     `json:"model"`
	Dataset    DatasetRef `json:"dataset"`
	Registered string     `json:"registered"`   // the new version's URI; "": the original is kept
	Better     bool       `json:"better"`       // the best prompt is proven better
	Evidence   string     `json:"evidence"`     // how: holdout or small_sample
	Reason     string     `json:"reason"`       // why it ended, and why this is the best
	Before     *float64   `json:"before"`       // the original's mean score over the records learned from; null: there is none
	After      *float64   `json:"after"`        // the best prompt's
	Learned    int        `json:"learned_from"` // records
	Calls      int        `json:"calls"`
	SpentUSD   *float64   `json:"spent_usd"` // null: a price is unknown
}

// BeforeAfter is one record under the original and under the best prompt.
type BeforeAfter struct {
	ID       string            `json:"id"`
	Inputs   map[string]string `json:"inputs"`
	Expected json.RawMessage   `json:"expected"`
	Before   search.CaseScore  `json:"before"`
	After    search.CaseScore  `json:"after"`
	Change   string            `json:"change"` // fixed, broken, better, worse or same
}

// CurvePoint is how good the best prompt was after so many calls.
type CurvePoint struct {
	Calls int     `json:"calls"`
	Score float64 `json:"score"`
}

// TriedReport is a prompt that was tried.
type TriedReport struct {
	Number   int              `json:"number"`
	Parent   int              `json:"parent"`
	Move     string           `json:"move"`
	Score    *float64         `json:"score"` // mean over the records it was tried on
	Cases    int              `json:"cases"`
	Calls    int              `json:"calls"` // that had been made when it was found
	Template prompts.Template `json:"template"`
}

// Short is the part of the report that is the run's result.
func (o *Optimization) Short() OptimizationResult { return o.OptimizationResult }

// gain says in words what became better.
func (o *Optimization) gain() string {
	if o.Before == nil || o.After == nil {
		return "no scores"
	}
	return fmt.Sprintf("%s → %s", percent(*o.Before), percent(*o.After))
}

func (o *optimization) report(found *search.Result, again map[int][]search.Outcome) *Optimization {
	version := o.dataset.Version
	r := &Optimization{
		OptimizationResult: OptimizationResult{
			Prompt: o.version.URI, Model: o.spec.Model, Dataset: version, Better: found.Better, Evidence: found.Evidence, Reason: found.Reason, Learned: len(o.train),
		},
		Template: found.Best.Prompt, Original: found.Original.Prompt, Lines: found.Lines, Scorer: o.spec.Scorer,
	}
	before, after := freshScores(found.Original, again), freshScores(found.Best, again)
	r.Before, r.After = meanScore(before), meanScore(after)
	for i := range o.train {
		rec := &o.train[i]
		r.Trained = append(r.Trained, rec.ID)
		b := BeforeAfter{ID: rec.ID, Inputs: rec.Inputs, Expected: rec.Expected}
		if i < len(before) {
			b.Before = before[i]
		}
		if i < len(after) {
			b.After = after[i]
		}
		b.Change = changeOf(b.Before.Score, b.After.Score)
		r.Records = append(r.Records, b)
	}
	renamed := *o.version
	renamed.Template, renamed.Version, renamed.URI = found.Best.Prompt, 0, "optimised"
	r.Diff = prompts.Compare(o.version, &renamed).Diff
	for _, c := range found.Tried {
		r.Tried = append(r.Tried, TriedReport{Number: c.Number, Parent: c.Parent, Move: c.Move, Score: meanScore(c.Scores), Cases: scored(c.Scores), Calls: c.Calls, Template: c.Prompt})
	}
	r.Curve = curve(r.Tried, len(o.train))
	return r
}

// freshScores are a candidate's scores, by fresh answers where there are some.
func freshScores(c search.Candidate, again map[int][]search.Outcome) []search.CaseScore {
	outcomes := again[c.Number]
	if outcomes == nil {
		return c.Scores
	}
	scores := slices.Clone(c.Scores)
	for i := range scores {
		out := outcomes[i]
		scores[i].Score, scores[i].Output, scores[i].Why = nil, out.Output, out.Feedback
		if out.Err == nil {
			scores[i].Score = &out.Score
		} else {
			scores[i].Why = out.Err.Error()
		}
	}
	return scores
}

func changeOf(before, after *float64) string {
	switch {
	case before == nil || after == nil || *before == *after:
		return "same"
	case *after == 1:
		return "fixed"
	case *before == 1:
		return "broken"
	case *after > *before:
		return "better"
	}
	return "worse"
}

// meanScore is over the cases that have a score; nil: none has.
func meanScore(scores []search.CaseScore) *float64 {
	sum, n := 0.0, 0
	for _, s := range scores {
		if s.Score != nil {
			sum += *s.Score
			n++
		}
	}
	if n == 0 {
		return nil
	}
	mean := sum / float64(n)
	return &mean
}

func scored(scores []search.CaseScore) (n int) {
	for _, s := range scores {
		if s.Score != nil {
			n++
		}
	}
	return n
}

// curve is the best score so far of those that were tried on all records.
func curve(tried []TriedReport, records int) (points []CurvePoint) {
	sorted := slices.Clone(tried)
	slices.SortStableFunc(sorted, func(a, b TriedReport) int { return cmp.Compare(a.Calls, b.Calls) })
	best := -1.0
	for _, t := range sorted {
		if t.Cases >= records && t.Score != nil && *t.Score > best {
			best = *t.Score
			points = append(points, CurvePoint{t.Calls, best})
		}
	}
	return points
}
