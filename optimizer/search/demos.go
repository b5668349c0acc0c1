package search

import (
	"fmt"
	"slices"
	"strings"
)

// demo is a solved example: a record as it stands in a prompt.
type demo struct {
	record int // its index in the problem
	text   string
}

// A demo takes at most this share of the tokens that all of them may.
const demoShare = 3

// newDemo writes a record as a solved example. Braces could make a variable of
// what a record says, so that records with two in a row are none.
func newDemo(c *Case, record int, names []string) (demo, bool) {
	var b strings.Builder
	for _, name := range names {
		value, label := c.Inputs[name], name
		if len(names) == 1 {
			label = "Input"
		}
		fmt.Fprintf(&b, "%s: %s\n", label, strings.TrimSpace(value))
	}
	b.WriteString("Output: " + strings.TrimSpace(c.Expected))
	text := b.String()
	ok := strings.TrimSpace(c.Expected) != "" && !strings.Contains(text, "{{") && len(names) > 0
	return demo{record: record, text: text}, ok
}

// demoBlock is the part of a prompt with the solved examples.
func demoBlock(demos []demo) string {
	if len(demos) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("Examples:")
	for _, d := range demos {
		b.WriteString("\n\n" + d.text)
	}
	return b.String()
}

// alike is how alike every two records are, from 0 to 1: by their inputs, and
// half as much by the answers that are wanted.
func alike(p *Problem, cases []int, names []string) [][]float64 {
	inputs := make([]map[string]bool, len(cases))
	for i, c := range cases {
		var all []string
		for _, name := range names {
			all = append(all, clip(p.Cases[c].Inputs[name], maxValue))
		}
		inputs[i] = grams(strings.Join(all, "\n"))
	}
	out := make([][]float64, len(cases))
	for i := range out {
		out[i] = make([]float64, len(cases))
		for j := range i {
			same := 0.0
			if p.Cases[cases[i]].Expected == p.Cases[cases[j]].Expected {
				same = 1
			}
			out[i][j] = (2*overlap(inputs[i], inputs[j]) + same) / 3
			out[j][i] = out[i][j]
		}
	}
	return out
}

// demoPool picks up to most records as examples that stand for all of them:
// each next one is that which brings the records closest to their nearest
// example, where weight says how much a record counts. That is the greedy
// facility location of submodular selection (Lin and Bilmes 2011), which finds
// the medoids of clusters without a number of clusters.
func demoPool(p *Problem, cases []int, weight []float64, names []string, most, budget int) []demo {
	near := make([]float64, len(cases)) // to the nearest example so far
	sim := alike(p, cases, names)
	texts := map[string]bool{}
	var candidates []int
	demos := make([]demo, len(cases))
	for i, c := range cases {
		d, ok := newDemo(&p.Cases[c], c, names)
		if ok && !texts[d.text] && tokens(d.text) <= budget/demoShare {
			texts[d.text] = true
			demos[i] = d
			candidates = append(candidates, i)
		}
	}
	var pool []demo
	for len(pool) < most && len(candidates) > 0 {
		best, gain := 0, -1.0
		for k, j := range candidates {
			g := 0.0
			for i := range cases {
				if i != j { // never its own example
					g += weight[cases[i]] * max(0, sim[i][j]-near[i])
				}
			}
			if g > gain {
				best, gain = k, g
			}
		}
		j := candidates[best]
		candidates = slices.Delete(candidates, best, best+1)
		pool = append(pool, demos[j])
		for i := range cases {
			if i != j {
				near[i] = max(near[i], sim[i][j])
			}
		}
	}
	return pool
}

// without leaves out the example of a record, and what is its double.
func without(demos []demo, c *Case, record int, names []string) []demo {
	own, _ := newDemo(c, record, names)
	return slices.DeleteFunc(slices.Clone(demos), func(d demo) bool { return d.record == record || d.text == own.text })
}
