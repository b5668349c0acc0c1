package optimizer

import (
	"bytes"
	"fmt"
	"strings"
)

// mostRows is how many records a Markdown report shows.
const mostRows = 50

// markdown is a document that is being written.
type markdown struct{ bytes.Buffer }

// literal is text that Markdown shows as it is: it makes no markup, no table cell, no link, no image and no HTML of it.
func literal(s string) string {
	s = markdownLiteral.Replace(legible(s))
	if strings.Count(s, "$") > 1 { // two are mathematics, one is money
		s = strings.ReplaceAll(s, "$", "\\$")
	}
	return s
}

var markdownLiteral = strings.NewReplacer(
	"\\", "\\\\", "`", "\\`", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "|", "\\|", "~", "\\~",
	"&", "&amp;", "<", "&lt;", ">", "&gt;", "\n", " ↵ ", "\t", " ",
)

// literalCell is of one line, and cut.
func literalCell(s string) string { return literal(oneLine(s, shownCell)) }

func (m *markdown) heading(level int, text string) {
	fmt.Fprintf(m, "%s %s\n\n", strings.Repeat("#", level), literalCell(text))
}

// paragraph is of our own words; what they quote is literal already.
func (m *markdown) paragraph(text string) { fmt.Fprintf(m, "%s\n\n", text) }

func (m *markdown) table(t *reportTable) {
	if t == nil {
		return
	}
	if t.Title != "" {
		m.heading(2, t.Title)
	}
	if len(t.Rows) > 0 {
		for _, c := range t.Columns {
			fmt.Fprintf(m, "| %s ", literal(c.Name))
		}
		m.WriteString("|\n")
		for _, c := range t.Columns {
			if c.Number {
				m.WriteString("| ---: ")
			} else {
				m.WriteString("| --- ")
			}
		}
		m.WriteString("|\n")
		for _, row := range t.Rows {
			for _, c := range row {
				fmt.Fprintf(m, "| %s ", literal(c.Text))
			}
			m.WriteString("|\n")
		}
		m.WriteString("\n")
	}
	if t.Note != "" {
		m.paragraph(literal(t.Note))
	}
}

func (m *markdown) facts(list []fact) {
	for _, f := range list {
		fmt.Fprintf(m, "- %s: %s\n", f.Name, literal(f.Text))
	}
	m.WriteString("\n")
}

// block is text as it is, in a fence that is longer than any in it.
func (m *markdown) block(language, text string) {
	text = legible(text)
	longest, run := 2, 0
	for _, r := range text {
		if run++; r != '`' {
			run = 0
		}
		longest = max(longest, run)
	}
	fence := strings.Repeat("`", longest+1)
	fmt.Fprintf(m, "%s%s\n%s\n%s\n\n", fence, language, strings.TrimSuffix(text, "\n"), fence)
}

// document ends in one newline.
func (m *markdown) document() []byte { return append(bytes.TrimRight(m.Bytes(), "\n"), '\n') }

func comparisonMarkdown(run *Run, c *Comparison) ([]byte, error) {
	m := new(markdown)
	list := shownCandidates(c.Candidates)
	m.heading(1, fmt.Sprintf("Comparison on %s/%d", c.Dataset.Name, c.Dataset.Version))
	if c.Incomplete != "" {
		m.paragraph("**Incomplete:** " + literal(c.Incomplete))
	}
	for i := range list {
		fmt.Fprintf(m, "- **%s: %s** — %s\n", literal(list[i].Short), literal(list[i].Status()), literal(list[i].Why))
	}
	m.WriteString("\n")
	m.table(headline(list))
	if c.Summary != "" {
		m.paragraph("**" + literal(c.Summary) + "**")
	}
	m.table(details(list))
	m.table(against(list))
	m.table(parts(list))
	for _, t := range confusions(list) {
		t.Title = "Labels: " + t.Title
		m.table(t)
	}
	if text := agreementText(c.Agreement); text != "" {
		m.heading(2, "The scorer and people")
		m.paragraph(literal(text))
	}
	m.table(differing(list, c.Records))
	m.heading(2, "The run")
	m.facts(runFacts(run, c.Dataset, c.Scorer, c.Calls, c.SpentUSD))
	return m.document(), nil
}

// differing are the records on which a candidate does not agree with the baseline.
func differing(list []shownCandidate, records []RecordReport) *reportTable {
	t := &reportTable{Columns: words("Record", "Input", "Expected")}
	for i := range list {
		t.Columns = append(t.Columns, words(list[i].Short)...)
	}
	n := 0
	for i := range records {
		rec := &records[i]
		if !rec.Differs {
			continue
		}
		if n++; n > mostRows {
			continue
		}
		row := []any{oneLine(rec.ID, shownCell), inputLine(rec.Inputs, rec.Messages, shownCell), oneLine(expectedText(rec.Expected), shownCell)}
		for k := range list {
			row = append(row, answerLine(&rec.Answers[k]))
		}
		t.row(row...)
	}
	t.Title = fmt.Sprintf("Records that differ (%s of %s)", showCount(n), showCount(len(records)))
	switch {
	case n == 0:
		t.Note = "Every candidate agrees with the baseline wherever the two could be compared."
	case n > mostRows:
		t.Note = fmt.Sprintf("The first %d of %s. The report's other forms have them all.", mostRows, showCount(n))
	}
	return t
}

// answerLine is an answer in a cell: whether it agrees, what it says and what is wrong with it.
func answerLine(a *AnswerReport) string {
	text := oneLine(a.Output, shownCell)
	if a.Agrees != nil && *a.Agrees {
		return "✓ " + text
	}
	mark := "✗ "
	if a.Agrees == nil {
		mark = "? "
	}
	why := a.Error
	if why == "" {
		why = a.Why
	}
	switch {
	case why == "":
		return mark + text
	case text == "":
		return mark + oneLine(why, shownCell)
	}
	return mark + text + " — " + oneLine(why, shownCell)
}
