package search

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
)

// The model's columns: one for all trials, two for the lengths of the edits and
// of the examples, then one for each record that is searched with, edit and example.
const (
	commonColumn = iota
	editLength
	demoLength
	firstColumn
)

func (b *bench) editColumn(i int) int { return firstColumn + len(b.cases) + i }
func (b *bench) demoColumn(i int) int { return b.editColumn(len(b.edits)) + i }

// columns are the columns of a trial in the model.
func (b *bench) columns(d design, record int) (at []int, x []float64) {
	edits, demos := 0.0, 0.0
	put := func(column int, value float64) { at, x = append(at, column), append(x, value) }
	put(commonColumn, 1)
	if i, ok := slices.BinarySearch(b.cases, record); ok {
		put(firstColumn+i, 1)
	}
	for _, i := range d.edits {
		put(b.editColumn(i), 1)
		edits += b.length(b.edits[i])
	}
	for _, i := range d.demos {
		put(b.demoColumn(i), 1)
		demos += float64(tokens(b.pool[i].text)) / 100
	}
	put(editLength, edits)
	put(demoLength, demos)
	return at, x
}

// length is how many hundreds of tokens an edit adds. What it takes away is no
// credit: a line of the original is dropped for what that earns alone.
func (b *bench) length(e *edit) float64 {
	n := tokens(e.text)
	if e.kind != addLine {
		n -= tokens(b.s.lines[e.at].text)
	}
	return float64(max(0, n)) / 100
}

// belief is what is known of the effects. A wrong answer may have the right
// content in a form that does not count, which other lines cure than those
// that make the content right: so both have their own effects, and the
// expected score is the product of both chances.
type belief struct{ content, form []float64 }

// fit learns the effects of everything from all trials so far.
func (e *engine) fit() {
	priors := make([]prior, e.demoColumn(len(e.pool)))
	form := make([]prior, len(priors))
	priors[commonColumn], form[commonColumn] = prior{0, 4}, prior{1, 4}
	priors[editLength] = prior{tune.EditLength, square(tune.LengthSD)}
	priors[demoLength] = prior{tune.DemoLength, square(tune.LengthSD)}
	form[editLength], form[demoLength] = prior{0, square(tune.FormLengthSD)}, prior{0, square(tune.FormLengthSD)}
	for i := range e.cases {
		priors[firstColumn+i] = prior{0, square(tune.CaseSD)}
		form[firstColumn+i] = prior{0, square(tune.CaseSD) / 2}
	}
	for i, edit := range e.edits {
		vote, touch := tune.Vote*float64(min(edit.votes, 5)-1), 0.0
		if edit.kind != addLine {
			touch = tune.TouchMean
		}
		priors[e.editColumn(i)] = prior{tune.EditMean + vote + touch, square(tune.EditSD)}
		form[e.editColumn(i)] = prior{tune.EditForm + touch, square(tune.FormSD)}
	}
	for i := range e.pool {
		priors[e.demoColumn(i)] = prior{tune.DemoMean, square(tune.DemoSD)}
		form[e.demoColumn(i)] = prior{tune.DemoForm, square(tune.FormSD)}
	}
	weights := 0.0
	for _, t := range e.results {
		weights += e.weight(t.record)
	}
	weights /= float64(len(e.results))
	content, formed := make([]sample, len(e.results)), make([]sample, len(e.results))
	for i, t := range e.results {
		at, x := e.columns(t.design, t.record)
		c := max(t.outcome.Score, recall(t.outcome.Output, e.p.Cases[t.record].Expected))
		w := e.weight(t.record) / weights
		content[i] = sample{at, x, c, w}
		f := 1.0
		if c > 0 {
			f = t.outcome.Score / c
		}
		formed[i] = sample{at, x, f, w * c}
	}
	e.model, e.form = fit(priors, content), fit(form, formed)
}

func square(x float64) float64 { return x * x }

// recall is the share of the expected answer's words that an output has.
func recall(output, expected string) float64 {
	want := words(expected)
	if len(want) == 0 {
		return 0
	}
	have := map[string]int{}
	for _, w := range words(output) {
		have[w]++
	}
	n := 0
	for _, w := range want {
		if have[w] > 0 {
			have[w]--
			n++
		}
	}
	return float64(n) / float64(len(want))
}

// likeliest is what is most probable.
func (e *engine) likeliest() belief { return belief{e.model.mean, e.form.mean} }

// draw is what may be so.
func (e *engine) draw(r *rand.Rand) belief { return belief{e.model.draw(r), e.form.draw(r)} }

// part is an edit or an example that a design may have.
type part struct {
	edit, demo    int // -1: not that
	content, form float64
	tokens        int
}

// choose adds to the original what raises the expected score most, part by
// part, until nothing raises it by more than worth.
func (e *engine) choose(b belief, worth float64) design {
	var parts []part
	for i, edit := range e.edits {
		n := e.length(edit)
		parts = append(parts, part{i, -1, b.content[e.editColumn(i)] + n*min(0, b.content[editLength]), b.form[e.editColumn(i)] + n*b.form[editLength], 0})
	}
	for i := range e.pool {
		n := tokens(e.pool[i].text)
		parts = append(parts, part{-1, i, b.content[e.demoColumn(i)] + float64(n)/100*min(0, b.content[demoLength]), b.form[e.demoColumn(i)] + float64(n)/100*b.form[demoLength], n})
	}
	content, form := make([]float64, len(e.cases)), make([]float64, len(e.cases))
	for k := range e.cases {
		content[k] = b.content[commonColumn] + b.content[firstColumn+k]
		form[k] = b.form[commonColumn] + b.form[firstColumn+k]
	}
	score := func(p part) float64 {
		sum := 0.0
		for k, i := range e.cases {
			c, f := content[k], form[k]
			if p.demo < 0 || e.pool[p.demo].record != i {
				c, f = c+p.content, f+p.form
			}
			sum += e.weight(i) / (1 + math.Exp(-c)) / (1 + math.Exp(-f))
		}
		return sum
	}
	total := 0.0
	for _, i := range e.cases {
		total += e.weight(i)
	}
	var d design
	left := e.demoTokens
	now := score(part{demo: -1})
	for {
		best, most := -1, now+worth*total
		for k, p := range parts {
			if p.edit >= 0 && (len(d.edits) == tune.Edits || slices.ContainsFunc(d.edits, func(j int) bool { return e.edits[p.edit].clashes(e.edits[j]) })) {
				continue
			}
			if p.demo >= 0 && (len(d.demos) == e.demos || p.tokens > left) {
				continue
			}
			if s := score(p); s > most {
				best, most = k, s
			}
		}
		if best < 0 {
			break
		}
		p := parts[best]
		parts = slices.Delete(parts, best, best+1)
		now = most
		for k, i := range e.cases {
			if p.demo < 0 || e.pool[p.demo].record != i {
				content[k] += p.content
				form[k] += p.form
			}
		}
		if p.edit >= 0 {
			d.edits = append(d.edits, p.edit)
		} else {
			d.demos = append(d.demos, p.demo)
			left -= p.tokens
		}
	}
	slices.Sort(d.edits)
	slices.Sort(d.demos)
	return d
}

// ranked are the indexes of values, the largest value first.
func ranked(values []float64) []int {
	out := make([]int, len(values))
	for i := range out {
		out[i] = i
	}
	slices.SortStableFunc(out, func(a, b int) int { return cmp.Compare(values[b], values[a]) })
	return out
}
