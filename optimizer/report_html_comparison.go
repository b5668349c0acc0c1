package optimizer

import (
	"fmt"
	"strings"
)

// comparisonPage is what the page of a comparison shows.
type comparisonPage struct {
	Summary    string
	Incomplete string
	Cards      []verdictCard
	Headline   *reportTable
	Plots      []plot
	Tables     []*reportTable
	Confusions []*reportTable
	Agreement  string
	Candidates []shownCandidate
	Filters    []filter
	Shown      string // which of the records are shown
	Records    []shownRecord
}

// verdictCard is a candidate at a glance.
type verdictCard struct {
	shownCandidate
	Consistency string
	Interval    plot
	Figures     []fact
}

// shownRecord is a record with all answers to it.
type shownRecord struct {
	ID       string
	Class    string // of the filters that show it
	Tag      string // fixed or broken
	Line     string
	Inputs   []namedText
	Expected string
	Answers  []shownAnswer
}

type shownAnswer struct {
	*AnswerReport
	Candidate *shownCandidate
	Mark      string // agrees, differs or unknown
	Text      string
	Fault     string
	Problem   string
}

func comparisonHTML(run *Run, c *Comparison) ([]byte, error) {
	list := shownCandidates(c.Candidates)
	b := &comparisonPage{
		Summary: c.Summary, Incomplete: c.Incomplete, Headline: headline(list), Candidates: list,
		Plots: []plot{costPlot(list), latencyPlot(list), spreadPlot(list, c.Records)}, Confusions: confusions(list), Agreement: agreementText(c.Agreement),
	}
	for i := range list {
		b.Cards = append(b.Cards, cardOf(list[i], c.Ready.Consistency))
	}
	for _, t := range []*reportTable{details(list), against(list), parts(list)} {
		if t != nil {
			b.Tables = append(b.Tables, t)
		}
	}
	b.showRecords(c.Records)
	p := page{
		Kind: "Comparison", Title: fmt.Sprintf("%s/%d", c.Dataset.Name, c.Dataset.Version),
		Facts: runFacts(run, c.Dataset, c.Scorer, c.Calls, c.SpentUSD), Body: b,
	}
	return p.render("report_comparison.html")
}

func cardOf(s shownCandidate, wanted float64) verdictCard {
	card := verdictCard{shownCandidate: s, Consistency: none}
	if s.Consistency.Of > 0 {
		card.Consistency = hundredths(s.Consistency.Share, s.Consistency.Of) + " %"
		if !s.Baseline {
			card.Interval = intervalPlot(s.CandidateReport, wanted)
		}
	}
	card.Figures = []fact{{"Latency p50", showP50(s.LatencyMS)}, {"Per 1,000 requests", showUSD(s.CostPer1K)}}
	if s.Score != nil {
		card.Figures = append([]fact{{"Score", showPercent(&s.Score.Mean, s.Score.Of)}}, card.Figures...)
	}
	return card
}

// intervalPlot is a candidate's consistency with its interval, and what is wanted.
func intervalPlot(r *CandidateReport, wanted float64) plot {
	p := plot{Width: 220, Height: 30, Title: "Consistency"}
	x := scale{high: 1, from: 8, to: 212}
	p.Desc = fmt.Sprintf("%s, %s %% are wanted", showShare(r.Consistency), hundredths(wanted, 1))
	p.line("track", x.at(0), 12, x.at(1), 12)
	p.bar("span", x.at(r.Consistency.Low), 8.5, x.at(r.Consistency.High)-x.at(r.Consistency.Low), 7, "")
	if wanted > 0 && wanted <= 1 {
		p.line("wanted", x.at(wanted), 2, x.at(wanted), 19)
		anchor := "middle"
		if wanted > 0.8 {
			anchor = "end"
		}
		p.text("tick", anchor, x.at(wanted)+3, 29, hundredths(wanted, 1)+" % wanted")
	}
	p.dot("at", x.at(r.Consistency.Share), 12, 5, "")
	return p
}

// showRecords chooses the records: if they are too many, those that differ before the others.
func (b *comparisonPage) showRecords(records []RecordReport) {
	pairs := false
	for i := range b.Candidates {
		pairs = pairs || b.Candidates[i].Before >= 0
	}
	all, differs, fixes, breaks := filter{Name: "all"}, filter{Name: "differs"}, filter{Name: "fixed"}, filter{Name: "broken"}
	room := map[bool]int{}
	for i := range records {
		if records[i].Differs {
			room[true]++
		}
	}
	differ := room[true]
	room[true] = min(room[true], mostShown)
	room[false] = mostShown - room[true]
	most := shownOf(len(records))
	for i := range records {
		rec := &records[i]
		if room[rec.Differs] == 0 {
			continue
		}
		room[rec.Differs]--
		classes := []string{"all"}
		all.Count++
		fixed, broken := changed(b.Candidates, rec)
		for _, of := range []struct {
			*filter
			in bool
		}{{&differs, rec.Differs}, {&fixes, fixed}, {&breaks, broken}} {
			if of.in {
				of.Count++
				classes = append(classes, of.Name)
			}
		}
		shown := b.record(rec, strings.Join(classes, " "), most)
		switch {
		case broken:
			shown.Tag = breaks.Name
		case fixed:
			shown.Tag = fixes.Name
		}
		b.Records = append(b.Records, shown)
	}
	b.Filters = []filter{all, differs}
	if pairs {
		b.Filters = append(b.Filters, fixes, breaks)
	}
	if n := len(b.Records); n < len(records) {
		b.Shown = fmt.Sprintf("%s of %s records are shown: those that differ (%s in all) before the others. CSV and JSON have them all.", showCount(n), showCount(len(records)), showCount(differ))
	}
}

func (b *comparisonPage) record(rec *RecordReport, class string, most int) shownRecord {
	out := shownRecord{
		ID: oneLine(rec.ID, 60), Class: class, Line: inputLine(rec.Inputs, rec.Messages, 140),
		Inputs: inputsOf(rec.Inputs, rec.Messages, most), Expected: cut(expectedText(rec.Expected), most),
	}
	for k := range rec.Answers {
		a := shownAnswer{
			AnswerReport: &rec.Answers[k], Candidate: &b.Candidates[k], Mark: "unknown",
			Text: cut(rec.Answers[k].Output, most), Fault: cut(rec.Answers[k].Why, most), Problem: cut(rec.Answers[k].Error, most),
		}
		if agrees := rec.Answers[k].Agrees; agrees != nil {
			a.Mark = "differs"
			if *agrees {
				a.Mark = "agrees"
			}
		}
		out.Answers = append(out.Answers, a)
	}
	return out
}
