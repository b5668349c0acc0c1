package optimizer

import (
	"fmt"
	"math"
	"strings"

	"github.com/caddy-frontier/frontier/prompts"
)

// optimizationPage is what the page of an optimisation shows.
type optimizationPage struct {
	Gain     gained
	Reason   string
	Model    string
	Diff     []diffLine
	Lines    []earnedLine
	Curve    plot
	Filters  []filter
	Shown    string
	Records  []shownChange
	Attempts *reportTable
	Best     []prompts.Message
	Original []prompts.Message
}

// diffLine is a line of a diff.
type diffLine struct{ Class, Sign, Text string }

// earnedLine is a new line of the prompt, and what it has earned.
type earnedLine struct {
	Text, Earned, Cases string
	Bar                 plot
}

// shownChange is a record before and after.
type shownChange struct {
	*BeforeAfter
	Class         string
	Line          string
	Inputs        []namedText
	Expected      string
	Before, After shownScore
}

type shownScore struct{ Score, Text, Fault string }

func optimizationHTML(run *Run, o *Optimization) ([]byte, error) {
	b := &optimizationPage{
		Gain: gainOf(o), Reason: cut(o.Reason, shownText), Model: o.Model, Diff: diffLines(o.Diff), Curve: curvePlot(o), Attempts: attempts(o),
		Best: shownTemplate(&o.Template), Original: shownTemplate(&o.Original),
	}
	most := 0.0
	for _, l := range o.Lines {
		most = max(most, math.Abs(l.Earned))
	}
	for _, l := range o.Lines {
		b.Lines = append(b.Lines, earnedLine{Text: cut(l.Text, shownText), Earned: showPoints(l.Earned), Cases: counted(l.Cases, "record"), Bar: earnedBar(l.Earned, most)})
	}
	b.showRecords(o.Records)
	p := page{
		Kind: "Optimisation", Title: shortPrompt(o.Prompt), Facts: optimizationFacts(run, o), Body: b,
	}
	return p.render("report_optimization.html")
}

func (b *optimizationPage) showRecords(records []BeforeAfter) {
	shown := changedFirst(records, mostShown)
	most := shownOf(len(records))
	count := map[string]int{}
	for _, rec := range shown {
		class := "all " + rec.Change
		count["all"]++
		count[rec.Change]++
		if rec.Change != "same" {
			class += " changed"
			count["changed"]++
		}
		b.Records = append(b.Records, shownChange{
			BeforeAfter: rec, Class: class, Line: inputLine(rec.Inputs, nil, 140),
			Inputs: inputsOf(rec.Inputs, nil, most), Expected: cut(expectedText(rec.Expected), most),
			Before: shownScore{showScore(rec.Before.Score), cut(rec.Before.Output, most), cut(rec.Before.Why, most)},
			After:  shownScore{showScore(rec.After.Score), cut(rec.After.Output, most), cut(rec.After.Why, most)},
		})
	}
	for _, name := range []string{"all", "changed", "fixed", "broken", "better", "worse"} {
		b.Filters = append(b.Filters, filter{name, count[name]})
	}
	if len(shown) < len(records) {
		b.Shown = fmt.Sprintf("%s of %s records are shown, those that changed before the others. CSV and JSON have them all.", showCount(len(shown)), showCount(len(records)))
	}
}

// diffLines are those of a diff as diff -u prints it.
func diffLines(diff string) (out []diffLine) {
	for text := range strings.Lines(diff) {
		text = strings.TrimSuffix(text, "\n")
		l := diffLine{Class: "same", Text: text}
		switch {
		case len(out) < 2 && (strings.HasPrefix(text, "--- ") || strings.HasPrefix(text, "+++ ")), strings.HasPrefix(text, "\\"):
			l.Class = "file"
		case strings.HasPrefix(text, "@@"):
			l.Class = "hunk"
		case strings.HasPrefix(text, "+"):
			l = diffLine{"new", "+", text[1:]}
		case strings.HasPrefix(text, "-"):
			l = diffLine{"old", "−", text[1:]}
		default:
			l.Text = strings.TrimPrefix(text, " ")
		}
		out = append(out, l)
	}
	return out
}

// shownTemplate is a prompt as messages; that of a text has no role.
func shownTemplate(t *prompts.Template) (out []prompts.Message) {
	const most = 50_000 // bytes
	for _, m := range t.Messages() {
		role := m.Role
		if !t.IsChat() {
			role = ""
		}
		out = append(out, prompts.Message{Role: role, Content: cut(m.Content, most)})
	}
	return out
}
