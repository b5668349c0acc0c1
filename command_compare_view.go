package frontier

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/caddy-frontier/frontier/optimizer"
	"github.com/caddy-frontier/frontier/optimizer/scorer"
)

// mostDiffering is how many records with different answers are shown.
const mostDiffering = 5

// comparisonResult prints what a comparison found.
func (r *request) comparisonResult(run *optimizer.Run) error {
	var c optimizer.ComparisonResult
	if err := json.Unmarshal(run.Result, &c); err != nil {
		return fmt.Errorf("reading the result of run %s: %w", run.ID, err)
	}
	r.line("")
	r.candidates(c.Candidates)
	if c.Summary != "" {
		r.line(c.Summary)
	}
	r.line("")
	if c.Incomplete != "" {
		r.wrapped("Incomplete: ", printable(c.Incomplete, false))
	}
	for i := range c.Candidates {
		for k, note := range candidateNotes(&c.Candidates[i]) {
			if k == 0 {
				r.line(printable(shownName(&c.Candidates[i]), false))
			}
			r.wrapped("  ", printable(note, false))
		}
	}
	var front []string
	for i := range c.Candidates {
		if c.Candidates[i].Frontier {
			front = append(front, shownName(&c.Candidates[i]))
		}
	}
	if len(front) > 0 && len(c.Candidates) > 2 {
		r.wrapped("On the frontier of quality, cost and latency: ", printable(strings.Join(front, ", "), false))
	}
	if c.Agreement != nil {
		r.wrapped("", agreementText(c.Agreement))
	}
	if err := r.differing(run, &c); err != nil {
		return err
	}
	spent := "at an unknown cost"
	if run.Progress.SpentUSD != nil {
		spent = "for " + dollars(run.Progress.SpentUSD)
	}
	r.line(fmt.Sprintf("%s records of %s/%d, %s %s.", count(float64(c.Dataset.Records)), c.Dataset.Name, c.Dataset.Version, calls(run.Progress.Calls), spent))
	r.note("All records and answers: caddy llm runs report %s --html --output report.html", run.ID)
	return nil
}

// candidates prints the table of a comparison.
func (r *request) candidates(list []optimizer.CandidateReport) {
	named := slices.ContainsFunc(list, func(c optimizer.CandidateReport) bool { return ownName(&c) })
	head := []string{"Model", "Prompt", "Consistency", "Latency p50", "Cost/1M tokens", "Status"}
	if named {
		head = append([]string{"Name"}, head...)
	}
	shares := 0
	for i := range list {
		shares = max(shares, text.StringWidth(share1(list[i].Consistency.Share)))
	}
	prompts, provider := optimizer.PromptWords(list), commonProvider(list)
	rows := [][]string{head}
	for i := range list {
		c := &list[i]
		latency := "-"
		if c.LatencyMS != nil {
			latency = milliseconds(&c.LatencyMS.P50)
		}
		row := []string{strings.TrimPrefix(candidateModel(c), provider), cmp.Or(prompts[i], "-"), consistency(c, shares), latency, millionTokens(c.CostPerMillion), c.Status()}
		if named {
			name := "-"
			if ownName(c) {
				name = c.Name
			}
			row = append([]string{name}, row...)
		}
		rows = append(rows, row)
	}
	r.plainTable(rows, func(row, col int, cell string) string {
		switch {
		case row == 0:
			return paint(text.Bold, cell)
		case col != len(head)-1:
			return cell
		}
		if c := paintVerdict(list[row-1].Verdict); c != text.Reset {
			return paint(c, cell)
		}
		return cell
	})
}

// plainTable prints rows with their columns aligned to the left and nothing else.
func (p printer) plainTable(rows [][]string, colour func(row, col int, cell string) string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for k := range row {
			row[k] = printable(row[k], false)
			widths[k] = max(widths[k], text.StringWidth(row[k]))
		}
	}
	for i, row := range rows {
		var b strings.Builder
		for k, cell := range row {
			pad := ""
			if k < len(row)-1 {
				pad = strings.Repeat(" ", widths[k]-text.StringWidth(cell)+3)
			}
			if p.colour {
				cell = colour(i, k, cell)
			}
			b.WriteString(cell + pad)
		}
		p.line(b.String())
	}
}

// ownName reports whether a candidate was given a name.
func ownName(c *optimizer.CandidateReport) bool {
	return c.Name != c.Model && c.Name != c.Model+" "+c.Prompt && (!c.Baseline || c.Name != "baseline")
}

// shownName is how lines below the table call a candidate.
func shownName(c *optimizer.CandidateReport) string {
	if c.Baseline && c.Name == "baseline" {
		return "the baseline"
	}
	return c.Name
}

// commonProvider is the provider of all models with its slash; "": there are several.
func commonProvider(list []optimizer.CandidateReport) (prefix string) {
	for i := range list {
		name, _, ok := strings.Cut(list[i].Model, "/")
		if name += "/"; !ok || prefix != "" && name != prefix {
			return ""
		}
		prefix = name
	}
	return prefix
}

func candidateModel(c *optimizer.CandidateReport) string {
	if c.Model == "" {
		return "(expected answers)"
	}
	return c.Model
}

// consistency is a share with its interval, such as "60 % (31–83)"; that of the baseline with itself has none.
func consistency(c *optimizer.CandidateReport, width int) string {
	s := c.Consistency
	if s.Of == 0 {
		return "-"
	}
	out := share1(s.Share)
	out = strings.Repeat(" ", max(0, width-text.StringWidth(out))) + out
	if !c.Baseline {
		out += " " + wilson(s)
	}
	return out
}

func wilson(s optimizer.Share) string {
	return fmt.Sprintf("(%.0f–%.0f)", 100*s.Low, 100*s.High)
}

// millionTokens is the price of a million tokens.
func millionTokens(usd *float64) string {
	switch {
	case usd == nil:
		return "-"
	case *usd == 0 || *usd >= 0.1:
		return fmt.Sprintf("$%.2f", *usd)
	}
	return "$" + strconv.FormatFloat(*usd, 'f', 2-int(math.Floor(math.Log10(*usd)))-1, 64)
}

func paintVerdict(v optimizer.Verdict) text.Color {
	switch v {
	case optimizer.Ready:
		return text.FgGreen
	case optimizer.NotReady:
		return text.FgRed
	case optimizer.Inconclusive:
		return text.FgYellow
	}
	return text.Reset
}

// candidateNotes is what a table has no room for.
func candidateNotes(c *optimizer.CandidateReport) (notes []string) {
	if !c.Baseline && (c.Verdict != optimizer.Ready || c.SmallSample) {
		notes = append(notes, c.Why)
	}
	if c.Seen != nil && c.Unseen != nil {
		part := func(p *optimizer.Part) string {
			return fmt.Sprintf("%s of %d records", consistencyOf(p.Consistency), p.Records)
		}
		notes = append(notes, "agrees on "+part(c.Seen)+" that the optimiser learned from, and "+part(c.Unseen)+" that it has not seen")
	}
	if d := c.Difference; d != nil && !c.Baseline && d.Wins+d.Losses > 0 {
		notes = append(notes, fmt.Sprintf("scores higher than the baseline on %d records and lower on %d: %+.1f points (%+.1f to %+.1f), p=%.2g", d.Wins, d.Losses, 100*d.Mean.Mean, 100*d.Low, 100*d.High, d.P))
	}
	for _, n := range []struct {
		count int
		what  string
	}{{c.Errors, "records without an answer"}, {c.Unjudged, "answers without a score"}, {c.FormatBreaks, "answers that do not keep to the declared format"}} {
		if n.count > 0 {
			notes = append(notes, fmt.Sprintf("%s: %d", n.what, n.count))
		}
	}
	return notes
}

func consistencyOf(s optimizer.Share) string {
	if s.Of == 0 {
		return "none"
	}
	return share1(s.Share) + " " + wilson(s)
}

// agreementText says how far the scorer agrees with people.
func agreementText(a *scorer.Agreement) string {
	if a.N == 0 || a.Accuracy == nil {
		return "The scorer gave no score to the labelled answers."
	}
	s := fmt.Sprintf("The scorer agrees with people on %s of %d labelled answers", share1(*a.Accuracy), a.N)
	if a.Kappa != nil {
		s += fmt.Sprintf(" (Cohen's kappa %.2f)", *a.Kappa)
	}
	return s + "."
}

// differing prints what went wrong, and the first records on which a candidate does not agree with the baseline.
func (r *request) differing(run *optimizer.Run, c *optimizer.ComparisonResult) error {
	if !slices.ContainsFunc(c.Candidates, func(c optimizer.CandidateReport) bool {
		return !c.Baseline && c.Consistency.Count < c.Consistency.Of || c.Errors+c.Unjudged > 0
	}) {
		return nil
	}
	answer, err := r.server.do(r.ctx, http.MethodGet, "/llm/runs"+segments(run.ID, "report.json"), nil, nil)
	if err != nil {
		return err
	}
	var report optimizer.Comparison
	if err := r.decode(answer, &report); err != nil {
		return err
	}
	r.faults(&report)
	shown, all := 0, 0
	for i := range report.Records {
		rec := &report.Records[i]
		if !rec.Differs {
			continue
		}
		if all++; shown == mostDiffering {
			continue
		}
		if shown == 0 {
			r.heading("What differs")
		}
		shown++
		r.record(rec, report.Candidates)
	}
	if all > shown {
		r.line(fmt.Sprintf("… and %s more.", count(float64(all-shown))))
	}
	r.line("")
	return nil
}

// mostFaults is how many faults of one candidate are shown.
const mostFaults = 3

// faults prints why records have no answer, or no score: the most frequent reasons.
func (r *request) faults(report *optimizer.Comparison) {
	headed := false
	for k := range report.Candidates {
		found := map[string]int{}
		for i := range report.Records {
			if answers := report.Records[i].Answers; k < len(answers) && answers[k].Error != "" {
				found[excerpted(answers[k].Error, 300)]++
			}
		}
		reasons := sortedKeys(found)
		slices.SortStableFunc(reasons, func(a, b string) int { return cmp.Compare(found[b], found[a]) })
		for i, reason := range reasons[:min(len(reasons), mostFaults)] {
			if !headed {
				r.heading("What went wrong")
				headed = true
			}
			if i == 0 {
				r.line(printable(shownName(&report.Candidates[k]), false))
			}
			r.wrapped(fmt.Sprintf("  %s×  ", count(float64(found[reason]))), printable(reason, false))
		}
	}
}

// record prints one record with the answers that do not agree with the baseline's.
func (r *request) record(rec *optimizer.RecordReport, candidates []optimizer.CandidateReport) {
	head := rec.ID
	if r.colour {
		head = paint(text.Bold, head)
	}
	r.wrapped(head+"  ", printable(excerpted(askedText(rec), 300), false))
	base := answerText(rec.Expected)
	for k, a := range rec.Answers {
		if k < len(candidates) && candidates[k].Baseline && a.Output != "" {
			base = a.Output
		}
	}
	r.wrapped("  baseline: ", printable(excerpted(base, 200), false))
	for k, a := range rec.Answers {
		if k >= len(candidates) || candidates[k].Baseline || a.Agrees == nil || *a.Agrees {
			continue
		}
		line := cmp.Or(excerpted(a.Output, 200), "(nothing)")
		if a.Why != "" {
			line += "  — " + excerpted(a.Why, 300)
		}
		r.wrapped("  "+printable(shownName(&candidates[k]), false)+": ", printable(line, false))
	}
}

// askedText is what a record asks, in a line.
func askedText(rec *optimizer.RecordReport) string {
	if len(rec.Inputs) == 1 {
		for _, v := range rec.Inputs {
			return v
		}
	}
	if len(rec.Inputs) > 0 {
		return labels(rec.Inputs)
	}
	var messages []struct {
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(rec.Messages, &messages) == nil && len(messages) > 0 {
		return answerText(messages[len(messages)-1].Content)
	}
	return string(rec.Messages)
}

// answerText is an answer as records have it: a text, or JSON.
func answerText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

// excerpted is the beginning of a text.
func excerpted(s string, most int) string {
	s = strings.TrimSpace(s)
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
