package search

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-frontier/frontier/prompts"
)

const (
	maxValue    = 2000 // bytes of a record's value in a question
	temperature = 1    // of reflection: proposals must differ
)

// shown is a record in a question, with what was answered.
type shown struct {
	record  int
	outcome Outcome
}

// ask writes the question for an improved prompt. It gives the prompt, what
// went wrong with it, and what was tried and did not help, and wants all of
// the new text, which models do more reliably than patches; what it changed is
// found by comparing (GEPA, arXiv 2507.19457; ProTeGi, arXiv 2305.03495).
func ask(p *Problem, s *sheet, parent []source, bad, good []shown, tried []string, rewrite bool) Question {
	var b strings.Builder
	b.WriteString("A language model is given the prompt below. Improve the prompt so that the model answers as expected, on these records and on others like them.\n\n")
	fmt.Fprintf(&b, "<current_prompt>\n%s\n</current_prompt>\n", text(parent))
	if len(bad) > 0 {
		b.WriteString("\nRecords where the answer was wrong:\n")
		for i, r := range bad {
			record(&b, p, s, i+1, r)
		}
	}
	if len(good) > 0 {
		b.WriteString("\nRecords where the answer was right, and must stay so:\n")
		for i, r := range good {
			record(&b, p, s, len(bad)+i+1, r)
		}
	}
	if len(tried) > 0 {
		b.WriteString("\nThese lines were tried and did not help; do not propose them again:\n")
		for _, t := range tried {
			b.WriteString("- " + clip(t, 300) + "\n")
		}
	}
	b.WriteString("\nFind out what the wrong answers have in common: the form of the answer, and what the task asks for but the prompt does not say. ")
	if rewrite {
		b.WriteString("Then write the best prompt for this task.\n\nRules:\n")
	} else {
		b.WriteString("Then add the few instructions that are missing, and change or remove those that mislead.\n\nRules:\n- Keep all other lines exactly as they are.\n")
	}
	b.WriteString("- Write each instruction on a line of its own, short and specific.\n- State general rules. Never repeat a record: solved examples are added apart from this.\n")
	if len(s.names) > 0 {
		names := make([]string, len(s.names))
		for i, n := range s.names {
			names[i] = "{{" + n + "}}"
		}
		fmt.Fprintf(&b, "- Keep %s exactly as written, and add no others.\n", strings.Join(names, ", "))
	}
	if s.chat {
		b.WriteString("- Keep the lines in square brackets: they begin the messages.\n")
	}
	b.WriteString("\nAnswer with the complete new prompt in one fenced block (```), and nothing after it.")
	return Question{Messages: []prompts.Message{{Role: "user", Content: b.String()}}, Temperature: temperature}
}

func record(b *strings.Builder, p *Problem, s *sheet, number int, r shown) {
	c := &p.Cases[r.record]
	fmt.Fprintf(b, "\n## Record %d\n", number)
	for _, name := range s.names {
		fmt.Fprintf(b, "%s: %s\n", name, clip(c.Inputs[name], maxValue))
	}
	fmt.Fprintf(b, "Output: %s\nExpected: %s\n", clip(r.outcome.Output, maxValue), clip(c.Expected, maxValue))
	if r.outcome.Feedback != "" {
		fmt.Fprintf(b, "Feedback: %s\n", clip(r.outcome.Feedback, maxValue))
	}
}

// answered finds the prompt in a reflector's answer: the fenced block that has
// most of the parent's lines, blocks in blocks included; without one, all of
// the answer when it has any of them.
func answered(parent []source, answer string) (string, error) {
	switch {
	case strings.TrimSpace(answer) == "":
		return "", errors.New("the answer is empty")
	case len(answer) > maxAnswer:
		return "", fmt.Errorf("the answer has %d bytes; the limit is %d", len(answer), maxAnswer)
	}
	lines := strings.Split(strings.ReplaceAll(answer, "\r\n", "\n"), "\n")
	own := map[string]bool{}
	for _, l := range parent {
		if key(l.text) != "" {
			own[trim(l.text)] = true
		}
	}
	common := func(lines []string) int {
		n := 0
		for _, l := range lines {
			if own[trim(l)] {
				n++
			}
		}
		return n
	}
	var fences []int
	for i, l := range lines {
		if strings.HasPrefix(strings.TrimSpace(l), "```") {
			fences = append(fences, i)
		}
	}
	best, most := []string(nil), -1
	try := func(from, to int) {
		if n := common(lines[from:to]); n > most {
			best, most = lines[from:to], n
		}
	}
	for i := range max(0, len(fences)-1) {
		try(fences[i]+1, fences[i+1])
	}
	if len(fences) > 2 {
		try(fences[0]+1, fences[len(fences)-1])
	}
	if len(fences) == 1 {
		try(fences[0]+1, len(lines))
	}
	if len(fences) == 0 {
		try(0, len(lines))
	}
	if most <= 0 && !hasAll(strings.Join(best, "\n"), parent) {
		return "", errors.New("the answer does not hold the prompt")
	}
	text := strings.Join(best, "\n")
	text = strings.TrimPrefix(strings.TrimSpace(text), "<current_prompt>\n")
	return strings.TrimSuffix(text, "\n</current_prompt>"), nil
}

// hasAll reports whether text has all variables of the parent, and is so a prompt like it.
func hasAll(text string, parent []source) bool {
	found := 0
	for _, l := range parent {
		t, err := prompts.ParseText(cmp.Or(l.text, " "))
		if err != nil {
			return false
		}
		for _, name := range t.Variables() {
			if !strings.Contains(text, "{{"+name+"}}") {
				return false
			}
			found++
		}
	}
	return found > 0
}

// reflectOn asks for n proposals and puts their edits into the pool.
func (e *engine) reflectOn(n int) error {
	if !e.reflect || e.silent > 1 || n <= 0 {
		return nil
	}
	var questions []Question
	var parents []design
	for range n {
		var d design
		if e.model != nil {
			d = e.choose(e.draw(e.r), tune.Mixing)
		}
		bad, good := e.records()
		if len(bad) == 0 {
			break
		}
		questions = append(questions, ask(e.p, e.s, e.s.numbered(e.editsOf(d)), bad, good, e.worthless(), e.rewrite))
		parents = append(parents, d)
	}
	if len(questions) == 0 {
		return nil
	}
	replies, err := e.lab.Ask(e.ctx, questions)
	if err != nil {
		return err
	}
	e.calls += len(questions)
	e.silent++
	for i, r := range replies {
		if err := r.Err; err == nil {
			e.silent = 0
		}
		e.propose(parents[i], r)
	}
	return nil
}

// propose takes a reply apart, and notes what became of it.
func (e *engine) propose(parent design, r Reply) {
	rejected := func(text string, edits []string) {
		e.lab.Note(Event{Kind: "rejected", Move: "reflect", Text: text, Edits: edits})
	}
	if r.Err != nil {
		rejected("the reflector did not answer: "+r.Err.Error(), nil)
		return
	}
	lines := e.s.numbered(e.editsOf(parent))
	text, err := answered(lines, r.Text)
	if err != nil {
		rejected(err.Error(), nil)
		return
	}
	p := e.s.diff(lines, text)
	var good []*edit
	for _, edit := range p.edits {
		if edit.kind != dropLine && e.quotes.in(edit.text, e.quoteFew) {
			p.rejected = append(p.rejected, fmt.Sprintf("%q: it repeats a record", clip(edit.text, 80)))
			continue
		}
		good = append(good, edit)
	}
	if len(p.rejected) > 0 {
		rejected("some lines are not allowed", p.rejected)
	}
	if len(good) == 0 {
		return
	}
	d := design{edits: e.add(good), demos: parent.demos}
	words := e.words(design{edits: d.edits})
	for _, i := range parent.edits {
		if !slices.Contains(p.against, e.edits[i]) && !slices.ContainsFunc(d.edits, func(j int) bool { return e.edits[j].clashes(e.edits[i]) }) {
			d.edits = append(d.edits, i)
		}
	}
	slices.Sort(d.edits)
	d.edits = slices.Compact(d.edits)
	e.fresh = append(e.fresh, d)
	e.lab.Note(Event{Kind: "phase", Move: "reflect", Text: "edits were proposed", Edits: words})
}

// records draws failing and passing records, as they were answered last.
func (e *engine) records() (bad, good []shown) {
	last := make([]*Outcome, len(e.p.Cases))
	for i := range e.results {
		last[e.results[i].record] = &e.results[i].outcome
	}
	for _, i := range e.r.Perm(len(e.cases)) {
		r := e.cases[i]
		switch o := last[r]; {
		case o == nil:
		case o.Score < e.passed():
			if len(bad) < tune.Failing {
				bad = append(bad, shown{r, *o})
			}
		case len(good) < tune.Passing:
			good = append(good, shown{r, *o})
		}
	}
	return bad, good
}

const (
	mostWorthless = 8
	oftenTried    = 9    // trials, from which a line's harm is believed
	harm          = -0.3 // in logits
)

// worthless are new lines that were tried and made answers worse, the worst first.
func (e *engine) worthless() []string {
	if e.model == nil {
		return nil
	}
	times := make([]int, len(e.edits))
	for _, t := range e.results {
		for _, i := range t.design.edits {
			times[i]++
		}
	}
	loss := make([]float64, len(e.edits))
	for i := range loss {
		column := e.editColumn(i)
		loss[i] = -min(e.model.mean[column], 0) - min(e.form.mean[column], 0)
	}
	var out []string
	for _, i := range ranked(loss) {
		if loss[i] < -harm || len(out) == mostWorthless {
			break
		}
		if times[i] >= oftenTried && e.edits[i].kind == addLine {
			out = append(out, e.edits[i].text)
		}
	}
	return out
}
