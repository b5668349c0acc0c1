package mind

import (
	"strconv"
	"strings"
)

// weighing is what speaks for each label.
type weighing struct {
	scores []float64
	best   int
	lean   int  // the label that is taken when the best one is missed
	clear  bool // no doubt about it
}

// label chooses one.
func (t *thought) label(labels []Label) string {
	if len(labels) == 1 {
		return labels[0].Name
	}
	w := t.weigh(labels)
	chosen := w.best
	if t.draw("label") < t.doubt(labels, w) {
		chosen = w.lean
	}
	if t.Mistakes > 0 && t.draw("mistake") < t.Mistakes {
		chosen = (chosen + 1 + int(t.draw("which mistake")*float64(len(labels)-1))) % len(labels)
	}
	return labels[chosen].Name
}

// doubt is the probability of missing the best label. What the prompt says
// about the label, examples of it and a closed set of answers lessen it.
func (t *thought) doubt(labels []Label, w weighing) float64 {
	e := 0.04 * (1 - t.Ability)
	if !w.clear {
		e = min(1.9*(1-t.Ability), 0.9)
	}
	p := t.prompt
	if p.Rules.Only.wanted() {
		e *= 1 - 0.65*t.heed()
	}
	if labels[w.best].Definition != "" {
		e *= 1 - 0.7*t.heed()
	}
	shown, wrong := 0, 0
	for _, x := range p.Examples {
		i := labelOf(x.Answer, labels)
		if i == w.best {
			shown++
		}
		if i >= 0 {
			if own, ok := bySentiment(labels, x.Text); ok && own.clear && own.best != i {
				wrong++
			}
		}
	}
	for range min(shown, 3) {
		e *= 1 - 0.6*t.heed()
	}
	if wrong > 0 {
		e += (1 - e) * 0.35 * float64(wrong) / float64(len(p.Examples))
	}
	return e + (1-e)*(1-p.focus())*0.25
}

// weigh adds what the examples tell to what the model knows.
func (t *thought) weigh(labels []Label) weighing {
	p := t.prompt
	w := know(labels, p.Text, p)
	if len(p.Examples) == 0 {
		return w
	}
	v := vectorOf(p.Text)
	votes := make([]float64, len(labels))
	for _, e := range p.Examples {
		i := labelOf(e.Answer, labels)
		if i < 0 {
			continue
		}
		x := vectorOf(e.Text)
		if s := v.cosine(&x); s > 0.15 {
			votes[i] = max(votes[i], s*s)
		}
	}
	lean := w.lean
	for i, vote := range votes {
		w.scores[i] += 1.3 * vote
	}
	known := w.best
	w.rank(0.15)
	if w.best == known {
		w.lean = lean
	}
	return w
}

// rank finds the best and the second, and whether they are apart.
func (w *weighing) rank(margin float64) {
	w.best, w.lean = 0, -1
	for i, s := range w.scores {
		if s > w.scores[w.best] {
			w.best = i
		}
	}
	for i, s := range w.scores {
		if i != w.best && (w.lean < 0 || s > w.scores[w.lean]) {
			w.lean = i
		}
	}
	w.clear = w.clear || w.scores[w.best]-w.scores[w.lean] > margin
}

// know is what the model understands by itself, from the labels' names and definitions.
func know(labels []Label, text string, p *Prompt) weighing {
	if w, ok := bySentiment(labels, text); ok {
		return w
	}
	if w, ok := byRating(labels, text); ok {
		return w
	}
	if w, ok := yesOrNo(labels, text, p.Instructions); ok {
		return w
	}
	w := weighing{scores: make([]float64, len(labels))}
	v := vectorOf(text)
	for i, l := range labels {
		name := vectorOf(l.Bare)
		w.scores[i] = v.cosine(&name)
		if l.Definition != "" {
			meaning := vectorOf(l.Definition)
			w.scores[i] += 1.2 * v.cosine(&meaning)
		}
		if leftover[l.Bare] {
			w.scores[i] = max(w.scores[i], 0.08)
		}
		if rest, ok := strings.CutPrefix(l.Bare, "not "); ok && labelOf(rest, labels) >= 0 {
			w.scores[i] = 0.12
		}
		w.scores[i] += 1e-6 * Draw(0, text, l.Name) // no evidence: some label, and not always the first
	}
	w.rank(0.1)
	return w
}

var leftover = set(`other others none general misc miscellaneous unknown ham normal`)

// bySentiment judges where the labels are opinions.
func bySentiment(labels []Label, text string) (weighing, bool) {
	verdicts := make([]int, len(labels))
	at := map[int]int{} // the first label of a verdict
	for i, l := range labels {
		v, ok := polarity(l.Name)
		if !ok {
			return weighing{}, false
		}
		verdicts[i] = v
		if j, there := at[v]; !there || l.Bare == "neutral" || len(l.Name) < len(labels[j].Name) && labels[j].Bare != "neutral" {
			at[v] = i
		}
	}
	if len(at) < 2 {
		return weighing{}, false
	}
	o := judge(text)
	want := o.verdict()
	if _, there := at[want]; !there {
		switch {
		case want != 0:
			want = 0
		case o.score >= 0:
			want = 1
		default:
			want = -1
		}
	}
	w := weighing{scores: make([]float64, len(labels)), clear: o.clear()}
	for i, v := range verdicts {
		strong := containsAny(labels[i].Bare, []string{"very", "strongly", "extremely"})
		switch {
		case v != want:
		case strong == (max(o.score, -o.score) >= 3.5):
			w.scores[i] = 0.75
		default:
			w.scores[i] = 0.6
		}
		if w.clear {
			w.scores[i] *= 1.6
		}
		if v == 0 && labels[i].Bare == "mixed" && min(o.praise, o.complaint) > 1.5 {
			w.scores[i] += 0.3
		}
	}
	clear := w.clear
	w.rank(2)
	w.clear = clear
	// Models that are not sure tend to be kind; of what is plain they miss that it is strong.
	lean, there := at[1]
	if clear || lean == w.best || !there {
		if lean, there = at[0]; !there || lean == w.best {
			lean = w.lean
		}
	}
	w.lean = lean
	return w, true
}

// byRating judges where the labels are numbers, as of stars.
func byRating(labels []Label, text string) (weighing, bool) {
	lowest, highest := 0, 0
	values := make([]int, len(labels))
	for i, l := range labels {
		n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSuffix(l.Bare, " stars"), " star"))
		if err != nil || n > 1000 || n < -1000 {
			return weighing{}, false
		}
		if values[i] = n; i == 0 {
			lowest, highest = n, n
		}
		lowest, highest = min(lowest, n), max(highest, n)
	}
	o := judge(text)
	share := (max(-4, min(4, o.score)) + 4) / 8
	want := float64(lowest) + share*float64(highest-lowest)
	w := weighing{scores: make([]float64, len(labels))}
	for i, n := range values {
		w.scores[i] = 1 / (1 + max(want-float64(n), float64(n)-want))
	}
	w.rank(0.4)
	return w, true
}

// yesOrNo judges whether a question about the text is to be affirmed.
func yesOrNo(labels []Label, text, question string) (weighing, bool) {
	yes, no := -1, -1
	for i, l := range labels {
		switch l.Bare {
		case "yes", "true", "y":
			yes = i
		case "no", "false", "n":
			no = i
		}
	}
	if yes < 0 || no < 0 || len(labels) > 3 {
		return weighing{}, false
	}
	w := weighing{scores: make([]float64, len(labels))}
	v, q := vectorOf(text), vectorOf(question)
	w.scores[yes], w.scores[no] = v.cosine(&q), 0.1
	if about := judge(question); about.verdict() != 0 {
		o := judge(text)
		w.scores[yes] = 0
		if o.verdict() == about.verdict() {
			w.scores[yes] = 0.5
		}
	}
	w.rank(0.1)
	return w, true
}
