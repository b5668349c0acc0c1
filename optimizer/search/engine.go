package search

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
)

// moves is what an engine may do.
type moves struct {
	demos      int // examples in a prompt at most; 0: none
	demoTokens int // tokens of all of them
	reflect    bool
	rewrite    bool // tries proposals whole, and nothing else
	proposals  int  // of a rewriting
	quoteFew   int  // a new line may not repeat what fewer records than this say
}

// engine searches with edits and examples: it mixes what was found by what
// all trials so far say of it, tries the mixes on a few records each, asks for
// more edits where answers are still wrong, and at last tries the best choice
// on all records.
//
// Mixes are drawn by Thompson sampling from the posterior of the effects: the
// likelier a part is to help the more often it is tried, so that budget goes
// where the decision is open (Chapelle and Li, An Empirical Evaluation of
// Thompson Sampling, NIPS 2011).
type engine struct {
	*bench
	moves
	r      *rand.Rand
	model  *effects // of the content of answers
	form   *effects // of the form of those with the right content
	quotes *quotes
	turn   []int // records in the order in which blocks take them
	turned int
	silent int      // rounds in which no question was answered
	fresh  []design // proposals that were not tried whole
	choice string   // the best design of the last round
	same   int      // rounds since it changed
}

func newEngine(ctx context.Context, p *Problem, lab Lab, m moves) *engine {
	e := &engine{bench: newBench(ctx, p, lab), moves: m, r: rand.New(rand.NewPCG(p.Seed, 0x5ea4c4))}
	e.quotes = newQuotes(p.Cases, text(e.s.numbered(nil)))
	return e
}

// run searches, and returns why it ended. The errors are those of the Lab.
func (e *engine) run() (string, error) {
	if err := e.probe(); err != nil {
		return "", err
	}
	if e.allPass(0) {
		return "every record passes with the original prompt: there is nothing to improve", nil
	}
	e.leaveFailed()
	n := len(e.cases)
	left := e.lab.Left() - e.kept
	if left < n {
		return fmt.Sprintf("the budget leaves %d calls after the original was tried, fewer than the %d records that another prompt must be tried on", max(left, 0), n), nil
	}
	if e.demos > 0 {
		e.pool = demoPool(e.p, e.cases, e.doubt(), e.s.names, int(float64(e.demos)*tune.Pool), e.demoTokens)
	}
	if e.rewrite {
		return e.rewritings()
	}
	finals := min(tune.Finals, max(1, left/(3*n)))
	reason, err := e.rounds(finals * n)
	if err != nil {
		return "", err
	}
	return reason, e.finals(finals)
}

// leaveFailed leaves out records on which the model or the scorer failed: they teach nothing.
func (e *engine) leaveFailed() {
	e.cases = slices.DeleteFunc(e.cases, func(i int) bool { return e.tried[0].Scores[i].Score == nil })
}

// doubt is how much each record counts when examples are chosen: those that fail more.
func (e *engine) doubt() []float64 {
	out := make([]float64, len(e.p.Cases))
	for i, s := range e.tried[0].Scores {
		if s.Score != nil {
			out[i] = (1.3 - *s.Score) * e.weight(i)
		}
	}
	return out
}

// rounds spends the budget but for what is reserved.
func (e *engine) rounds(reserve int) (string, error) {
	spare := func() int { return e.lab.Left() - e.kept - reserve }
	if err := e.reflectOn(min(tune.First, spare()/2)); err != nil {
		return "", err
	}
	for {
		e.fit()
		jobs := e.round()
		cost := e.cost(jobs)
		if cost > spare() {
			return "the budget is used up", nil
		}
		if _, err := e.try(jobs); err != nil {
			return "", err
		}
		e.fit()
		before := len(e.edits)
		if err := e.reflectOn(min(tune.Questions, spare()-cost)); err != nil {
			return "", err
		}
		if cost == 0 && len(e.edits) == before {
			return "there is nothing more to try", nil
		}
		done, err := e.settled(spare())
		if err != nil || done != "" {
			return done, err
		}
	}
}

// round makes the jobs of a round: whole proposals that are new, and mixes.
func (e *engine) round() []job {
	var jobs []job
	for range min(tune.Bundles, len(e.fresh)) {
		last := len(e.fresh) - 1
		jobs = append(jobs, job{move: "reflect", design: e.fresh[last], records: e.block(tune.Block)})
		e.fresh = e.fresh[:last]
	}
	for len(jobs) < tune.Mixes {
		jobs = append(jobs, job{move: "mix", design: e.choose(e.draw(e.r), tune.Mixing), records: e.block(tune.Block)})
	}
	return jobs
}

// settled says why the search is over before the budget is, or "".
func (e *engine) settled(spare int) (string, error) {
	e.fit()
	best := e.choose(e.likeliest(), tune.Worth)
	if name := fmt.Sprint(best); name != e.choice {
		e.choice, e.same = name, 0
	} else if e.same++; e.same >= tune.Patient {
		return fmt.Sprintf("the best choice has not changed for %d rounds", e.same), nil
	}
	n := len(e.cases)
	if n > spare || n > tune.Block*tune.Mixes/3 && e.recent(tune.Block*tune.Mixes) < 0.95 {
		return "", nil
	}
	// With few records it costs little to look; with more it must be likely that all pass.
	numbers, err := e.try([]job{{move: "best", design: best, records: e.cases}})
	if err != nil {
		return "", err
	}
	if numbers[0] > 0 && e.allPass(numbers[0]) {
		return "every record passes", nil
	}
	return "", nil
}

// recent is the mean score of the last trials.
func (e *engine) recent(n int) float64 {
	last := e.results[max(0, len(e.results)-n):]
	sum := 0.0
	for _, t := range last {
		sum += t.outcome.Score
	}
	return sum / float64(max(1, len(last)))
}

// finals tries the best choice on all records; what that teaches may make another the best.
func (e *engine) finals(most int) error {
	for range most {
		e.fit()
		best := e.choose(e.likeliest(), tune.Worth)
		jobs := []job{{move: "best", design: best, records: e.cases}}
		if cost := e.cost(jobs); cost > e.lab.Left()-e.kept || cost == 0 {
			break
		}
		numbers, err := e.try(jobs)
		if err != nil {
			return err
		}
		if numbers[0] < 0 {
			break
		}
		e.noteBest(numbers[0], best)
	}
	e.fit()
	return nil
}

func (e *engine) noteBest(number int, d design) {
	mean, n := e.mean(number)
	e.lab.Note(Event{Kind: "best", Move: "best", Candidate: number, Score: &mean, Cases: n, Edits: e.words(d)})
}

// cost is how many calls jobs would be.
func (e *engine) cost(jobs []job) int {
	trials, _, _ := e.trials(jobs)
	return e.lab.Cost(trials)
}

// block returns the next records whose turn it is.
func (e *engine) block(n int) []int {
	var out []int
	for range min(n, len(e.cases)) {
		if e.turned%len(e.cases) == 0 {
			e.turn = slices.Clone(e.cases)
			e.r.Shuffle(len(e.turn), func(i, j int) { e.turn[i], e.turn[j] = e.turn[j], e.turn[i] })
		}
		if r := e.turn[e.turned%len(e.turn)]; !slices.Contains(out, r) {
			out = append(out, r)
		}
		e.turned++
	}
	slices.Sort(out)
	return out
}

// result is what the search has found; err may be one after which that still holds.
func (e *engine) result(reason string, err error) (*Result, error) {
	switch {
	case errors.Is(err, errModel):
		reason = err.Error()
	case errors.Is(err, ErrBudget):
		reason = "the budget is used up"
	case err != nil:
		return nil, err
	}
	if len(e.tried) == 0 {
		return untried(e.p, reason), nil
	}
	return e.conclude(reason)
}

// untried is the result when nothing was tried.
func untried(p *Problem, reason string) *Result {
	c := Candidate{Move: "original", Prompt: p.Prompt, Scores: make([]CaseScore, len(p.Cases))}
	for i := range p.Cases {
		c.Scores[i].ID = p.Cases[i].ID
	}
	return &Result{Original: c, Best: c, Tried: []Candidate{c}, Evidence: "none", Reason: reason}
}
