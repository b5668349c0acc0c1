package optimizer

import (
	"fmt"
	"strings"
)

// bins is how many bars a distribution has.
const bins = 44

// spreadPlot shows the latencies of each candidate as a row of bars, with p50 and p95.
func spreadPlot(list []shownCandidate, records []RecordReport) plot {
	p := plot{ID: "spread", Title: "How latencies are distributed"}
	type spread struct {
		*shownCandidate
		values []float64
	}
	var rows []spread
	var all []float64
	var without, told []string
	for k := range list {
		s := spread{shownCandidate: &list[k]}
		for i := range records {
			if ms := records[i].Answers[k].LatencyMS; ms != nil && finite(*ms) && *ms >= 0 {
				s.values = append(s.values, *ms)
			}
		}
		if len(s.values) == 0 || list[k].LatencyMS == nil {
			without = append(without, list[k].Short)
			continue
		}
		rows, all = append(rows, s), append(append(all, s.values...), list[k].LatencyMS.P50, list[k].LatencyMS.P95)
	}
	if len(rows) == 0 {
		p.Missing = "There is no plot: no latency is known."
		return p
	}
	const head, foot = 24.0, 54.0
	row := min(max(56, (330-head-foot)/float64(len(rows))), 86)
	tall := row - 34 // the highest bar
	p.Width, p.Height = 460, head+row*float64(len(rows))+foot
	f := frame{left: 14, top: head, right: 446, bottom: p.Height - foot}
	f.x = newScale(all, f.left, f.right)
	for i, s := range rows {
		base := head + row*float64(i+1) - 6
		counts, most := make([]int, bins), 0
		for _, ms := range s.values {
			bin := min(int((f.x.at(ms)-f.left)/(f.right-f.left)*bins), bins-1)
			counts[bin]++
			most = max(most, counts[bin])
		}
		width := (f.right - f.left) / bins
		for b, n := range counts {
			if n > 0 {
				height := 3 + (tall-3)*float64(n)/float64(most)
				p.bar(series("bar", s.Number), f.left+width*float64(b)+0.5, base-height, width-1, height, counted(n, "answer"))
			}
		}
		p.line("grid", f.left, base, f.right, base)
		q := s.LatencyMS
		p.line(series("mark", s.Number), f.x.at(q.P50), base-tall-4, f.x.at(q.P50), base+3)
		p.line(series("mark dashed", s.Number), f.x.at(q.P95), base-tall-4, f.x.at(q.P95), base+3)
		p.text(series("label", s.Number), "start", f.left, base-tall-10, oneLine(s.Short, 2*shownLabel-22))
		p.text("tick", "end", f.right, base-tall-10, "p50 "+showMS(q.P50)+" · p95 "+showMS(q.P95))
		told = append(told, fmt.Sprintf("%s: half of %s within %s, 95 %% within %s", s.Short, counted(len(s.values), "answer"), showMS(q.P50), showMS(q.P95)))
	}
	for _, v := range f.x.ticks(5) {
		p.line("stub", f.x.at(v), f.bottom, f.x.at(v), f.bottom+5)
		anchor := "middle"
		switch x := f.x.at(v); {
		case x < f.left+16:
			anchor = "start"
		case x > f.right-16:
			anchor = "end"
		}
		p.text("tick", anchor, f.x.at(v), f.bottom+20, tickMS(v))
	}
	name := "latency"
	if f.x.log {
		name += ", logarithmic"
	}
	p.text("name", "end", f.right, f.bottom+40, name)
	p.text("name", "start", f.left, f.bottom+40, "solid: p50 · dashed: p95")
	p.Desc = leftOut(strings.Join(told, "; ")+".", without)
	return p
}
