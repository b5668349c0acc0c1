package optimizer

import (
	"fmt"
	"strings"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
)

// reportTable is a table that Markdown and HTML both show. The first cell of a row names it.
type reportTable struct {
	Title   string
	Note    string
	Columns []reportColumn
	Rows    [][]reportCell
}

type reportColumn struct {
	Name   string
	Number bool // it is set to the right
}

type reportCell struct {
	Text  string
	Small string // what a page adds beneath; Markdown leaves it out
	Tone  string // good, bad, unsure, calm, mark: the colour in a page
}

func words(names ...string) (columns []reportColumn) {
	for _, name := range names {
		columns = append(columns, reportColumn{Name: name})
	}
	return columns
}

func numbers(names ...string) (columns []reportColumn) {
	for _, name := range names {
		columns = append(columns, reportColumn{Name: name, Number: true})
	}
	return columns
}

// row makes cells of texts, and of cells as they are.
func (t *reportTable) row(cells ...any) {
	row := make([]reportCell, 0, len(cells))
	for _, c := range cells {
		switch c := c.(type) {
		case reportCell:
			row = append(row, c)
		default:
			row = append(row, reportCell{Text: fmt.Sprint(c)})
		}
	}
	t.Rows = append(t.Rows, row)
}

// headline is the table that a person reads first.
func headline(list []shownCandidate) *reportTable {
	t := &reportTable{Columns: append(append(words("Model", "Prompt"), numbers("Consistency", "Latency p50", "Cost/1M tokens")...), words("Status")...)}
	for i := range list {
		s := &list[i]
		model, word := reportCell{Text: s.Model}, reportCell{Text: s.Word}
		switch {
		case model.Text == "":
			model.Text = s.Short
		case !s.named():
			model.Text, model.Small = s.Short, model.Text
			if s.Short != s.Name {
				model.Text, model.Small = s.Model, s.Name
			}
		}
		switch {
		case word.Text == "":
			word.Text = none
		case !strings.Contains(s.Word, s.Prompt):
			word.Small = s.Prompt
		}
		t.row(model, word, s.Agreed(), showP50(s.LatencyMS), showUSD(s.CostPerMillion), reportCell{Text: s.Status(), Tone: s.Tone()})
	}
	return t
}

// details are the figures that the headline leaves out.
func details(list []shownCandidate) *reportTable {
	t := &reportTable{
		Title: "All figures", Note: "Score and consistency with 95 % intervals. On the frontier: no other is as good in quality, cost and latency, and better in one of them.",
		Columns: append(append(words("Candidate"), numbers("Score", "Latency p95", "First token p50", "Cost/1,000 requests", "Tokens in / out", "Errors", "Not judged", "Format breaks")...), words("Frontier")...),
	}
	for i := range list {
		s := &list[i]
		frontier := reportCell{}
		if s.Frontier {
			frontier = reportCell{Text: "★ frontier", Tone: "mark"}
		}
		t.row(
			s.Short, showMean(s.Score), showP95(s.LatencyMS), showP50(s.TTFTMS), showUSD(s.CostPer1K),
			showCount(s.InputTokens)+" / "+showCount(s.OutputTokens), fault(s.Errors), fault(s.Unjudged), fault(s.FormatBreaks), frontier,
		)
	}
	return t
}

// fault is a count that is best at zero.
func fault(n int) reportCell {
	if n == 0 {
		return reportCell{Text: "0"}
	}
	return reportCell{Text: showCount(n), Tone: "bad"}
}

// against compares the scores with the baseline's; nil: there is nothing to compare.
func against(list []shownCandidate) *reportTable {
	t := &reportTable{
		Title: "Against the baseline", Note: "Scores on the same records: how often each was better, the exact p-value of McNemar's test, and the difference with its 95 % bootstrap interval.",
		Columns: append(words("Candidate"), numbers("Records", "Wins", "Losses", "McNemar p", "Difference")...),
	}
	for i := range list {
		if d := list[i].Difference; d != nil {
			t.row(list[i].Short, showCount(d.Of), showCount(d.Wins), showCount(d.Losses), showP(d.P), showDifference(d))
		}
	}
	return t.orNil()
}

// parts are the records that an optimiser saw and did not see; nil: no prompt is an optimiser's.
func parts(list []shownCandidate) *reportTable {
	t := &reportTable{
		Title: "Seen and unseen records", Note: "An optimiser learned from the seen records, so what counts are the unseen ones.",
		Columns: append(words("Candidate", "Part"), numbers("Records", "Consistency", "Score")...),
	}
	for i := range list {
		for _, p := range []struct {
			name string
			*Part
		}{{"seen", list[i].Seen}, {"unseen", list[i].Unseen}} {
			if p.Part != nil {
				t.row(list[i].Short, p.name, showCount(p.Records), showShare(p.Consistency), showMean(p.Score))
			}
		}
	}
	return t.orNil()
}

// mostLabels is how large a confusion table may be.
const mostLabels = 20

// confusions are the tables of what labels were taken for what; that of a baseline that is always right says nothing.
func confusions(list []shownCandidate) (tables []*reportTable) {
	for i := range list {
		c := list[i].Confusion
		if c == nil || len(c.Labels) == 0 || list[i].Baseline && c.Right == c.N {
			continue
		}
		tables = append(tables, confusion(list[i].Short, c))
	}
	return tables
}

func confusion(name string, c *scorer.Confusion) *reportTable {
	labels := c.Labels[:min(len(c.Labels), mostLabels)]
	t := &reportTable{
		Title: name, Note: fmt.Sprintf("%d of %d right. A row for each expected label, a column for each label found.", c.Right, c.N),
		Columns: words("Expected"),
	}
	if len(labels) < len(c.Labels) {
		t.Note += fmt.Sprintf(" The first %d of %d labels.", len(labels), len(c.Labels))
	}
	for _, l := range labels {
		t.Columns = append(t.Columns, numbers(oneLine(l, 40))...)
	}
	t.Columns = append(t.Columns, numbers("none")...)
	for i, l := range labels {
		row := []any{oneLine(l, 40)}
		for k := range labels {
			n := 0
			if i < len(c.Counts) && k < len(c.Counts[i]) {
				n = c.Counts[i][k]
			}
			row = append(row, hits(n, i == k))
		}
		n := 0
		if i < len(c.None) {
			n = c.None[i]
		}
		t.row(append(row, hits(n, false))...)
	}
	return t
}

func hits(n int, right bool) reportCell {
	switch {
	case n == 0:
		return reportCell{Text: "0", Tone: "faint"}
	case right:
		return reportCell{Text: showCount(n), Tone: "good"}
	}
	return reportCell{Text: showCount(n), Tone: "bad"}
}

func (t *reportTable) orNil() *reportTable {
	if len(t.Rows) == 0 {
		return nil
	}
	return t
}

// agreementText says how far the scorer agrees with people; "": there are no labelled answers.
func agreementText(a *scorer.Agreement) string {
	if a == nil || a.N == 0 {
		return ""
	}
	text := fmt.Sprintf("Judged against %s that people have labelled", counted(a.N, "answer"))
	if a.Accuracy != nil {
		text += fmt.Sprintf(", the scorer agrees on %s of them", showPercent(a.Accuracy, a.N))
	}
	if a.Kappa != nil {
		text += fmt.Sprintf(" (Cohen's κ %s: 1 is full agreement, 0 what chance would give)", minus(trimmed(*a.Kappa, 2)))
	}
	if a.MeanAbsoluteError != nil {
		text += fmt.Sprintf("; its scores are %s apart from theirs in the mean", trimmed(*a.MeanAbsoluteError, 3))
	}
	return text + fmt.Sprintf(". A score of %s and more is a pass.", trimmed(a.Threshold, 3))
}

// fact is one thing to know of a run.
type fact struct{ Name, Text string }

func runFacts(run *Run, d DatasetRef, rawScorer []byte, calls int, usd *float64) []fact {
	facts := []fact{
		{"Dataset", fmt.Sprintf("%s/%d", d.Name, d.Version)},
		{"Hash", d.Hash},
		{"Records", showCount(d.Records)},
		{"Scorer", scorerName(rawScorer)},
		{"Started", showTime(run.Created)},
	}
	if run.Ended != nil {
		facts = append(facts, fact{"Ended", showTime(*run.Ended)})
	}
	if run.WorkedMS > 0 {
		facts = append(facts, fact{"Worked", showMS(float64(run.WorkedMS))})
	}
	facts = append(facts, fact{"Spent", showSpent(calls, usd)}, fact{"Run", run.ID})
	if run.Actor != "" {
		facts = append(facts, fact{"By", run.Actor})
	}
	if run.Reason != "" {
		facts = append(facts, fact{"Reason", cut(run.Reason, shownText)})
	}
	kept := facts[:0]
	for _, f := range facts {
		if f.Text != "" {
			kept = append(kept, f)
		}
	}
	return kept
}
