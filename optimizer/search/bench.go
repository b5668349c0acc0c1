package search

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/caddy-frontier/frontier/prompts"
)

// design is a prompt as a choice of edits and solved examples, by their
// indexes in the bench's pools: edits ascending, examples in the pool's order.
type design struct{ edits, demos []int }

// trialed is a trial that has a score.
type trialed struct {
	design  design // without the example that was the case's own
	record  int
	outcome Outcome
}

// bench is where designs are tried: it knows the pools, pays, and keeps what
// came out.
type bench struct {
	ctx   context.Context
	lab   Lab
	p     *Problem
	s     *sheet
	edits []*edit
	pool  []demo

	cases   []int // records that the search may use, ascending
	kept    int   // calls that are kept for what comes after the search
	results []trialed
	tried   []Candidate
	number  map[string]int // of candidates, by their prompts
	calls   int            // that were made
	designs []design       // of candidates
}

func newBench(ctx context.Context, p *Problem, lab Lab) *bench {
	b := &bench{ctx: ctx, lab: lab, p: p, s: newSheet(p.Prompt), number: map[string]int{}}
	for i := range p.Cases {
		b.cases = append(b.cases, i)
	}
	return b
}

// errModel says that the model or the scorer fails so often that going on would only burn the budget.
var errModel = errors.New("the model or the scorer keeps failing")

// weight is how much a record counts.
func (b *bench) weight(record int) float64 {
	if w := b.p.Cases[record].Weight; w > 0 {
		return w
	}
	return 1
}

func (b *bench) editsOf(d design) []*edit {
	out := make([]*edit, len(d.edits))
	for i, e := range d.edits {
		out[i] = b.edits[e]
	}
	return out
}

// compose makes the prompt of a design as it is for a record; -1: as it is for use.
func (b *bench) compose(d design, record int) (prompts.Template, error) {
	demos := make([]demo, 0, len(d.demos))
	for _, i := range d.demos {
		demos = append(demos, b.pool[i])
	}
	if record >= 0 {
		demos = without(demos, &b.p.Cases[record], record, b.s.names)
	}
	return b.s.compose(b.editsOf(d), demoBlock(demos))
}

// job is a design to be tried on records.
type job struct {
	move    string
	design  design
	records []int
	parent  int
}

// of is whose trial one is: a job's, on a record.
type of struct{ job, record int }

// trials are those of jobs. A job whose prompt cannot be composed has none, and its error in its place.
func (b *bench) trials(jobs []job) (trials []Trial, whose []of, errs []error) {
	errs = make([]error, len(jobs))
	for j, job := range jobs {
		if _, errs[j] = b.compose(job.design, -1); errs[j] != nil {
			continue
		}
		for _, r := range job.records {
			if t, err := b.compose(job.design, r); err == nil {
				trials = append(trials, Trial{Prompt: t, Case: r})
				whose = append(whose, of{j, r})
			}
		}
	}
	return trials, whose, errs
}

// try makes the trials of all jobs in one batch, and returns the numbers of
// their candidates, which are given in the order of the jobs; -1 is a prompt
// that cannot be composed.
func (b *bench) try(jobs []job) ([]int, error) {
	trials, whose, errs := b.trials(jobs)
	cost := b.lab.Cost(trials)
	outcomes, err := b.lab.Try(b.ctx, trials)
	if err != nil {
		return nil, err
	}
	numbers := make([]int, len(jobs))
	for j, job := range jobs {
		if errs[j] != nil {
			numbers[j] = -1
			b.lab.Note(Event{Kind: "rejected", Move: job.move, Text: errs[j].Error(), Edits: b.words(job.design)})
			continue
		}
		numbers[j] = b.candidate(job)
	}
	b.calls += cost
	failed := 0
	var last error
	for k, o := range outcomes {
		if o.Err != nil {
			failed++
			last = o.Err
		}
		b.record(jobs[whose[k].job], numbers[whose[k].job], whose[k].record, o)
	}
	for j := range jobs {
		if numbers[j] > 0 {
			b.noteCandidate(jobs[j], numbers[j])
		}
	}
	if failed > 0 && failed*2 >= len(outcomes) && failed >= min(4, len(b.cases)) {
		return numbers, fmt.Errorf("%w: %d of %d trials: %w", errModel, failed, len(outcomes), last)
	}
	return numbers, nil
}

func (b *bench) noteCandidate(j job, number int) {
	if mean, n := b.mean(number); n > 0 {
		b.lab.Note(Event{Kind: "candidate", Move: j.move, Candidate: number, Parent: j.parent, Score: &mean, Cases: n, Edits: b.words(j.design)})
	}
}

// candidate numbers a prompt, and begins its row of scores.
func (b *bench) candidate(j job) int {
	t, _ := b.compose(j.design, -1)
	raw, _ := t.MarshalJSON()
	n, ok := b.number[string(raw)]
	if !ok {
		n = len(b.tried)
		b.number[string(raw)] = n
		c := Candidate{Number: n, Parent: j.parent, Move: j.move, Prompt: t, Calls: b.calls, Scores: make([]CaseScore, len(b.p.Cases))}
		for i := range c.Scores {
			c.Scores[i].ID = b.p.Cases[i].ID
		}
		b.tried = append(b.tried, c)
		b.designs = append(b.designs, j.design)
	}
	return n
}

func (b *bench) record(j job, candidate, record int, o Outcome) {
	s := &b.tried[candidate].Scores[record]
	if o.Err != nil {
		s.Why = o.Err.Error()
		return
	}
	if s.Score == nil {
		b.results = append(b.results, trialed{design: b.own(j.design, record), record: record, outcome: o})
	}
	score := o.Score
	s.Score, s.Output, s.Why = &score, o.Output, o.Feedback
}

// mean is a candidate's weighted mean over the records that were tried, and how many those are.
func (b *bench) mean(candidate int) (float64, int) {
	sum, weight, n := 0.0, 0.0, 0
	for i, s := range b.tried[candidate].Scores {
		if s.Score != nil {
			sum += *s.Score * b.weight(i)
			weight += b.weight(i)
			n++
		}
	}
	if n == 0 {
		return 0, 0
	}
	return sum / weight, n
}

// words are a design's edits and examples, as they are shown.
func (b *bench) words(d design) []string {
	var out []string
	for _, e := range d.edits {
		out = append(out, b.edits[e].String())
	}
	for _, i := range d.demos {
		out = append(out, "example "+b.p.Cases[b.pool[i].record].ID)
	}
	return out
}

// passed is the score from which an answer counts as right.
func (b *bench) passed() float64 {
	if b.p.Noisy {
		return 0.5
	}
	return 0.999
}

// probe tries the original on all records, a few at first, so that a model
// that always fails costs little.
func (b *bench) probe() error {
	few := min(len(b.cases), 6)
	for _, records := range [][]int{b.cases[:few], b.cases[few:]} {
		if len(records) == 0 {
			continue
		}
		if _, err := b.try([]job{{move: "original", records: records}}); err != nil {
			return err
		}
	}
	mean, n := b.mean(0)
	b.lab.Note(Event{Kind: "probe", Score: &mean, Cases: n})
	return nil
}

// add puts edits into the pool; the same edits become one. It returns their indexes.
func (b *bench) add(edits []*edit) []int {
	var out []int
	for _, e := range edits {
		i := slices.IndexFunc(b.edits, func(o *edit) bool { return o.same(e) })
		if i < 0 {
			i = len(b.edits)
			b.edits = append(b.edits, e)
		}
		b.edits[i].votes++
		out = append(out, i)
	}
	slices.SortFunc(out, cmp.Compare[int])
	return slices.Compact(out)
}

// allPass reports whether a candidate passes all records.
func (b *bench) allPass(candidate int) bool {
	for _, i := range b.cases {
		if s := b.tried[candidate].Scores[i].Score; s == nil || *s < b.passed() {
			return false
		}
	}
	return true
}

// whole reports whether a candidate was tried on all records.
func (b *bench) whole(candidate int) bool {
	for _, i := range b.cases {
		if s := b.tried[candidate].Scores[i]; s.Score == nil && s.Why == "" {
			return false
		}
	}
	return true
}

// own is the design as a record sees it: without the example that it is itself.
func (b *bench) own(d design, record int) design {
	out := design{edits: d.edits}
	for _, i := range d.demos {
		if len(without(b.pool[i:i+1], &b.p.Cases[record], record, b.s.names)) > 0 {
			out.demos = append(out.demos, i)
		}
	}
	return out
}

func has(s []int, i int) bool { return slices.Contains(s, i) }

// cut is s without its k-th element.
func cut(s []int, k int) []int { return slices.Delete(slices.Clone(s), k, k+1) }
