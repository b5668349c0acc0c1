package search

import (
	"fmt"
	"math/rand/v2"
)

// conclude chooses the best of the candidates that were tried on all records.
// They are compared by what the model expects of them, which draws a lucky
// candidate towards what all other trials say of its parts; the best of many
// means would be the luckiest. Of those that are as good the shortest is
// taken, and the original stays unless it is likely to be worse.
func (e *engine) conclude(reason string) (*Result, error) {
	res := &Result{Original: e.tried[0], Best: e.tried[0], Tried: e.tried}
	defer func() { res.Reason = reason }()
	if e.model == nil {
		return res, nil
	}
	e.fit()
	expected := make([]float64, len(e.tried))
	top := -1.0
	for n := range e.tried {
		if e.whole(n) {
			expected[n] = e.expected(n)
			top = max(top, expected[n])
		}
	}
	best := 0
	for n := range e.tried {
		if !e.whole(n) || expected[n] < top-tune.Epsilon {
			continue
		}
		if expected[best] < top-tune.Epsilon || e.nicer(n, best) {
			best = n
		}
	}
	if best == 0 {
		reason += "; nothing that was tried is better than the original"
		return res, nil
	}
	was, _ := e.mean(0)
	is, cases := e.mean(best)
	sure := e.chanceBetter(best)
	wins, losses := e.against(best)
	luck := signTest(wins, losses)
	few := cases < fewRecords && wins > 0 && losses == 0
	if is <= was || !few && (sure < tune.Sure || luck > tune.Luck) {
		reason += fmt.Sprintf("; the best other prompt scores %.2f where the original scores %.2f, with %d better and %d worse, which may be chance: the original stays", is, was, wins, losses)
		return res, nil
	}
	res.Best = e.tried[best]
	res.Lines = e.lines(best)
	reason += fmt.Sprintf("; the best prompt scores %.2f on the %d records, the original %.2f", is, cases, was)
	e.noteBest(best, e.designs[best])
	return res, nil
}

// With fewer records than this, wins without a loss are all that can be asked for.
const fewRecords = 10

// nicer reports whether of two candidates that are as good a is to be
// preferred: that with which no record got worse, then the shorter.
func (e *engine) nicer(a, b int) bool {
	_, lossesA := e.against(a)
	_, lossesB := e.against(b)
	if (lossesA == 0) != (lossesB == 0) {
		return lossesA == 0
	}
	return size(e.tried[a].Prompt) < size(e.tried[b].Prompt)
}

// against counts the records that a candidate made better and worse.
func (e *engine) against(n int) (wins, losses int) {
	v := Gate(e.pairs(0, n, e.cases), false, e.p.Noisy)
	return v.Wins, v.Losses
}

// pairs are two candidates' scores of records.
func (e *engine) pairs(a, b int, records []int) []Pair {
	var pairs []Pair
	for _, i := range records {
		was, is := e.tried[a].Scores[i].Score, e.tried[b].Scores[i].Score
		if was != nil && is != nil {
			pairs = append(pairs, Pair{Was: *was, Is: *is})
		}
	}
	return pairs
}

// expected is a candidate's mean score as the model expects it.
func (e *engine) expected(n int) float64 {
	return e.average(e.likeliest(), e.designs[n])
}

// average is a design's mean chance over the records, with given effects.
func (e *engine) average(b belief, d design) float64 {
	sum, weights := 0.0, 0.0
	for _, i := range e.cases {
		at, x := e.columns(e.own(d, i), i)
		sum += logistic(dot(b.content, at, x)) * logistic(dot(b.form, at, x)) * e.weight(i)
		weights += e.weight(i)
	}
	return sum / weights
}

// chanceBetter is how likely a candidate is to be better than the original.
func (e *engine) chanceBetter(n int) float64 {
	r := rand.New(rand.NewPCG(e.p.Seed, 0xc4a9ce))
	better := 0
	for range draws {
		b := e.draw(r)
		if e.average(b, e.designs[n]) > e.average(b, design{}) {
			better++
		}
	}
	return float64(better) / draws
}

// draws is how many draws of the effects a chance is taken from.
const draws = 300

// lines are what the parts of a design earn by all trials.
func (e *engine) lines(n int) []Line {
	d := e.designs[n]
	with := e.average(e.likeliest(), d)
	var out []Line
	line := func(text string, less design, has func(design) bool) {
		cases := map[int]bool{}
		for _, t := range e.results {
			if has(t.design) {
				cases[t.record] = true
			}
		}
		out = append(out, Line{Text: text, Earned: with - e.average(e.likeliest(), less), Cases: len(cases)})
	}
	for k, i := range d.edits {
		less := design{edits: cut(d.edits, k), demos: d.demos}
		line(e.edits[i].String(), less, func(t design) bool { return has(t.edits, i) })
	}
	for k, i := range d.demos {
		less := design{edits: d.edits, demos: cut(d.demos, k)}
		line(e.pool[i].text, less, func(t design) bool { return has(t.demos, i) })
	}
	return out
}
