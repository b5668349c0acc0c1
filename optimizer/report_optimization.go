package optimizer

import (
	"fmt"
	"strings"
)

// gained is what an optimisation has come to, in words.
type gained struct {
	Headline string // what became of the prompt
	Tone     string
	Before   string
	After    string
	Points   string // "": a score is missing
	Evidence string
	Change   string // wins and losses on the records learned from
}

func gainOf(o *Optimization) gained {
	n := len(o.Records)
	g := gained{Before: showPercent(o.Before, n), After: showPercent(o.After, n), Tone: "calm"}
	if o.Before != nil && o.After != nil {
		g.Points = showPoints(*o.After-*o.Before) + " points"
	}
	switch {
	case o.Registered != "" && o.Better:
		g.Headline, g.Tone = "A better prompt is registered as "+shortPrompt(o.Registered), "good"
	case o.Registered != "":
		g.Headline, g.Tone = "A new prompt is registered as "+shortPrompt(o.Registered)+", though it is not proven better", "unsure"
	case o.Better:
		g.Headline, g.Tone = "A better prompt was found; it is not registered, as was asked for", "good"
	default:
		g.Headline = "The original prompt is kept"
	}
	switch o.Evidence {
	case "holdout":
		g.Evidence = "Proven on records that the search kept out until the end."
	case "small_sample":
		g.Evidence = "Small sample: there are wins and no record got worse, over too few records for a test."
	case "":
		g.Evidence = "Nothing is proven better than the original."
	default:
		g.Evidence = "Evidence: " + o.Evidence + "."
	}
	var before, after, weights []float64
	for i := range o.Records {
		if b, a := o.Records[i].Before.Score, o.Records[i].After.Score; b != nil && a != nil {
			before, after, weights = append(before, *b), append(after, *a), append(weights, 1)
		}
	}
	if d := differenceOf(after, before, weights, seedOf(o.Dataset.Hash)); d != nil {
		g.Change = fmt.Sprintf("Of %s learned from, %d got better and %d worse (McNemar p = %s).", counted(d.Of, "record"), d.Wins, d.Losses, strings.Replace(showP(d.P), "<", "below ", 1))
	}
	return g
}

// optimizationFacts are those of a run, and what the prompt was made with.
func optimizationFacts(run *Run, o *Optimization) []fact {
	facts := []fact{{"Prompt", shortPrompt(o.Prompt)}, {"Model", o.Model}, {"Learned from", fmt.Sprintf("%s of %s", showCount(o.Learned), counted(o.Dataset.Records, "record"))}}
	if len(o.Tried) > 0 {
		facts = append(facts, fact{"Tried", counted(len(o.Tried), "prompt")})
	}
	return append(facts, runFacts(run, o.Dataset, o.Scorer, o.Calls, o.SpentUSD)...)
}

// earned is what each new line has earned.
func earned(o *Optimization) *reportTable {
	t := &reportTable{
		Title: "What each new line earned", Note: "The mean score with the line less that without it, in points, over so many records.",
		Columns: append(numbers("Earned", "Records"), words("Line")...),
	}
	for _, l := range o.Lines {
		t.row(showPoints(l.Earned), showCount(l.Cases), oneLine(l.Text, 2*shownCell))
	}
	return t.orNil()
}

// climb is the best score by calls.
func climb(o *Optimization) *reportTable {
	t := &reportTable{Title: "The best score by calls", Columns: numbers("Calls", "Best score")}
	for _, p := range o.Curve {
		t.row(showCount(p.Calls), showPercent(&p.Score, len(o.Records)))
	}
	return t.orNil()
}

// attempts are the prompts that were tried.
func attempts(o *Optimization) *reportTable {
	t := &reportTable{
		Title: "Prompts that were tried", Columns: append(append(numbers("Number", "From"), words("Move")...), numbers("Score", "Records", "After calls")...),
	}
	for i := range o.Tried {
		c := &o.Tried[i]
		parent := any(c.Parent)
		if c.Number == 0 {
			parent = none
		}
		t.row(c.Number, parent, oneLine(c.Move, shownLabel), showPercent(c.Score, c.Cases), showCount(c.Cases), showCount(c.Calls))
	}
	return t.orNil()
}

func optimizationMarkdown(run *Run, o *Optimization) ([]byte, error) {
	m, g := new(markdown), gainOf(o)
	m.heading(1, fmt.Sprintf("Optimisation of %s for %s", shortPrompt(o.Prompt), o.Model))
	m.paragraph("**" + literal(g.Headline) + ".**")
	line := fmt.Sprintf("**%s → %s**", g.Before, g.After)
	if g.Points != "" {
		line += " (" + g.Points + ")"
	}
	m.paragraph(line + ". " + literal(strings.TrimSpace(g.Evidence+" "+g.Change)))
	if o.Reason != "" {
		m.paragraph("Why it ended: " + literal(cut(o.Reason, shownText)))
	}
	if o.Diff != "" {
		m.heading(2, "The change")
		m.block("diff", o.Diff)
	}
	m.table(earned(o))
	m.table(beforeAfter(o.Records))
	m.table(climb(o))
	m.heading(2, "The run")
	m.facts(optimizationFacts(run, o))
	return m.document(), nil
}

// beforeAfter are the records, those that have changed before the others.
func beforeAfter(records []BeforeAfter) *reportTable {
	if len(records) == 0 {
		return nil
	}
	t := &reportTable{
		Title:   "Records before and after",
		Columns: append(append(words("Record", "Input", "Expected", "Change"), numbers("Before", "After")...), words("Answer before", "Answer after")...),
	}
	for _, rec := range changedFirst(records, mostRows) {
		t.row(
			oneLine(rec.ID, shownCell), inputLine(rec.Inputs, nil, shownCell), oneLine(expectedText(rec.Expected), shownCell), rec.Change,
			showScore(rec.Before.Score), showScore(rec.After.Score), oneLine(rec.Before.Output, shownCell), oneLine(rec.After.Output, shownCell),
		)
	}
	if len(records) > mostRows {
		t.Note = fmt.Sprintf("%d of %s, those that changed first. The report's other forms have them all.", mostRows, counted(len(records), "record"))
	}
	return t
}

// changedFirst are at most so many records: those whose score has changed, then the others.
func changedFirst(records []BeforeAfter, most int) (out []*BeforeAfter) {
	for _, same := range []bool{false, true} {
		for i := range records {
			if (records[i].Change == "same") == same && len(out) < most {
				out = append(out, &records[i])
			}
		}
	}
	return out
}
