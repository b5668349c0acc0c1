package optimizer

import (
	"fmt"
	"slices"
)

// curvePlot is the best score by calls, with all prompts that were tried as dots.
func curvePlot(o *Optimization) plot {
	p := plot{ID: "curve", Title: "The best score by calls"}
	curve := slices.DeleteFunc(slices.Clone(o.Curve), func(c CurvePoint) bool { return !finite(c.Score) })
	var xs, ys []float64
	last := float64(o.Calls)
	for _, c := range curve {
		xs, ys, last = append(xs, float64(c.Calls)), append(ys, c.Score), max(last, float64(c.Calls))
	}
	for i := range o.Tried {
		if s := o.Tried[i].Score; s != nil && finite(*s) {
			xs, ys, last = append(xs, float64(o.Tried[i].Calls)), append(ys, *s), max(last, float64(o.Tried[i].Calls))
		}
	}
	if len(xs) == 0 {
		p.Missing = "There is no plot: no prompt has a score."
		return p
	}
	p.Width, p.Height = 520, 330
	f := frame{left: 52, top: 40, right: 504, bottom: 276}
	f.x = scale{low: 0, high: max(1, last), from: f.left + 6, to: f.right - 8}
	f.y = shareScale(ys, f.bottom-6, f.top+6)
	p.axes(f, "calls", "mean score", tickNumber, tickPercent)
	for i := range o.Tried {
		c := &o.Tried[i]
		if c.Score == nil || !finite(*c.Score) {
			continue
		}
		text := fmt.Sprintf("prompt %d, %s: %s over %s", c.Number, c.Move, showPercent(c.Score, c.Cases), counted(c.Cases, "record"))
		p.dot("tried", f.x.at(float64(c.Calls)), f.y.at(*c.Score), 4.5, text)
	}
	var line []place
	for _, c := range curve {
		line = append(line, place{f.x.at(float64(c.Calls)), f.y.at(c.Score)})
	}
	if n := len(line); n > 0 {
		p.steps("climb", append(line[:n:n], place{f.x.at(last), line[n-1].y}))
		for i, at := range line {
			p.dot("best", at.x, at.y, 4.5, fmt.Sprintf("%s after %s", tickPercent(curve[i].Score), counted(curve[i].Calls, "call")))
		}
		p.text("label s2", "end", f.right, line[n-1].y-9, tickPercent(curve[n-1].Score))
	}
	p.Desc = fmt.Sprintf("%s were tried.", counted(len(o.Tried), "prompt"))
	if n := len(curve); n > 0 {
		p.Desc += fmt.Sprintf(" The best score went from %s to %s within %s.", tickPercent(curve[0].Score), tickPercent(curve[n-1].Score), counted(o.Calls, "call"))
	}
	return p
}

// earnedBar is a bar of what a line has earned, from the middle; most is what the one that matters most has.
func earnedBar(earned, most float64) plot {
	p := plot{Width: 100, Height: 10}
	if !finite(earned) || !finite(most) || most <= 0 {
		return p
	}
	share := min(max(earned/most, -1), 1) * 50
	class := "good"
	x := 50.0
	if share < 0 {
		class, x = "bad", 50+share
		share = -share
	}
	p.line("axis", 50, 0, 50, 10)
	p.bar(class, x, 1, max(share, 0.5), 8, "")
	return p
}
