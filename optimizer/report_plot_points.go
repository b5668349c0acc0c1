package optimizer

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// plotted is a candidate in a plot of quality against something that is the better the lower.
type plotted struct {
	name         string
	series       int
	x            float64
	y, low, high float64
}

// frontierPlot draws quality against an amount, and the front of those that no other beats in both.
func frontierPlot(p plot, points []plotted, xName, yName string, xText func(float64) string, tell func(*plotted) string) plot {
	p.Width, p.Height = 460, 330
	var xs, ys []float64
	for _, c := range points {
		xs, ys = append(xs, c.x), append(ys, c.y, c.low, c.high)
	}
	f := frame{left: 52, top: 40, right: 446, bottom: 276}
	f.x, f.y = newScale(xs, f.left+10, f.right-10), shareScale(ys, f.bottom-6, f.top+4)
	p.axes(f, xName, yName, xText, tickPercent)
	line := front(points, f)
	p.steps("front", line)
	places := make([]place, len(points))
	var told []string
	for i, c := range points {
		places[i] = place{f.x.at(c.x), f.y.at(c.y)}
		if c.low < c.high {
			p.line(series("range", c.series), places[i].x, f.y.at(c.low), places[i].x, f.y.at(c.high))
		}
		told = append(told, tell(&points[i]))
	}
	for i, c := range points {
		p.dot(series("dot", c.series), places[i].x, places[i].y, 6.5, told[i])
	}
	p.Desc = strings.Join(told, "; ") + "."
	for i, l := range placeLabels(points, places, line, f) {
		if l.leader {
			p.line("leader", places[i].x, places[i].y, l.at.x, l.at.y-4)
		}
		if l.text != "" {
			p.text(series("label", points[i].series), l.anchor, l.at.x, l.at.y, l.text)
		}
	}
	return p
}

// series is a class with the colour of a candidate, of which there are eight.
func series(class string, n int) string {
	if n == 0 {
		return class + " s0"
	}
	return fmt.Sprintf("%s s%d", class, 1+(n-1)%7)
}

// front is the line along the points that no other is as good as and better in one way.
func front(points []plotted, f frame) (line []place) {
	values := make([][]float64, len(points))
	for i, c := range points {
		values[i] = []float64{c.x, -c.y}
	}
	for i, beaten := range dominated(values) {
		if !beaten {
			line = append(line, place{f.x.at(points[i].x), f.y.at(points[i].y)})
		}
	}
	slices.SortFunc(line, func(a, b place) int {
		return cmp.Or(cmp.Compare(a.x, b.x), cmp.Compare(b.y, a.y))
	})
	line = slices.Compact(line)
	if len(line) == 0 {
		return nil
	}
	// It goes on to both edges of what is reached.
	first, last := line[0], line[len(line)-1]
	return append(append([]place{{first.x, f.bottom}}, line...), place{f.right, last.y})
}

// label is where a point's name stands. One without text found no room; the key below the plots names it.
type label struct {
	text   string
	anchor string
	at     place // of the text's baseline, at its anchor
	leader bool  // it is so far away that a line leads to it
}

// box is the area that a text or a point takes.
type box struct{ left, top, right, bottom float64 }

func (b box) meets(o box) bool {
	return b.left < o.right && o.left < b.right && b.top < o.bottom && o.top < b.bottom
}

// letter is about how wide a letter of a label is.
const letter = 7.6

// box is the area of a label.
func (l *label) box() box {
	width := letter * float64(len([]rune(l.text)))
	b := box{l.at.x, l.at.y - 12, l.at.x + width, l.at.y + 4}
	switch l.anchor {
	case "end":
		b.left, b.right = l.at.x-width, l.at.x
	case "middle":
		b.left, b.right = l.at.x-width/2, l.at.x+width/2
	}
	return b
}

// placeLabels puts names beside their points such that none is upon another, upon a point or outside,
// and, where that is possible, none upon the line.
func placeLabels(points []plotted, places, line []place, f frame) []label {
	var taken, crossed []box
	for i := 1; i < len(line); i++ {
		a, b := line[i-1], line[i]
		crossed = append(crossed, box{a.x, a.y - 1, b.x, a.y + 1}, box{b.x - 1, min(a.y, b.y), b.x + 1, max(a.y, b.y)})
	}
	for _, at := range places {
		taken = append(taken, box{at.x - 8, at.y - 8, at.x + 8, at.y + 8})
	}
	out := make([]label, len(points))
	for i, at := range places {
		var free []label
		for _, most := range []int{shownLabel, shownLabel / 2} {
			free = append(free, slices.DeleteFunc(around(at, oneLine(points[i].name, most)), func(l label) bool {
				b := l.box()
				return b.left < f.left+2 || b.right > f.right+12 || b.top < 18 || b.bottom > f.bottom-1 || slices.ContainsFunc(taken, b.meets)
			})...)
		}
		if len(free) == 0 {
			continue
		}
		best := max(0, slices.IndexFunc(free, func(l label) bool { return !slices.ContainsFunc(crossed, l.box().meets) }))
		out[i], taken = free[best], append(taken, free[best].box())
	}
	return out
}

// around are the places for a name, the best first.
func around(at place, text string) []label {
	list := []label{
		{text, "start", place{at.x + 11, at.y + 4}, false},
		{text, "end", place{at.x - 11, at.y + 4}, false},
		{text, "middle", place{at.x, at.y - 12}, false},
		{text, "middle", place{at.x, at.y + 22}, false},
		{text, "start", place{at.x + 8, at.y - 10}, false},
		{text, "end", place{at.x - 8, at.y - 10}, false},
		{text, "start", place{at.x + 8, at.y + 18}, false},
		{text, "end", place{at.x - 8, at.y + 18}, false},
	}
	for away := 28.0; away <= 160; away += 16 {
		for _, dy := range []float64{away, -away} {
			list = append(list,
				label{text, "start", place{at.x + 14, at.y + dy}, true},
				label{text, "end", place{at.x - 14, at.y + dy}, true},
			)
		}
	}
	return list
}

// costPlot is quality against cost.
func costPlot(list []shownCandidate) plot {
	p := plot{ID: "cost", Title: "Quality against cost"}
	what, quality := qualityOf(list)
	var points []plotted
	var without []string
	for i := range list {
		at, low, high, ok := quality(&list[i])
		x := value(list[i].CostPer1K)
		if !ok || !finite(x) {
			without = append(without, list[i].Short)
			continue
		}
		points = append(points, plotted{list[i].Short, list[i].Number, x, at, low, high})
	}
	if len(points) == 0 {
		p.Missing = "There is no plot: no candidate has both a known cost and a " + what + "."
		return p
	}
	p = frontierPlot(p, points, "cost per 1,000 requests", what, tickUSD, func(c *plotted) string {
		return fmt.Sprintf("%s: %s %s at %s per 1,000 requests", c.name, what, showPercent(&c.y, 1), showUSD(&c.x))
	})
	p.Desc = leftOut(p.Desc, without)
	return p
}

// latencyPlot is quality against the median latency.
func latencyPlot(list []shownCandidate) plot {
	p := plot{ID: "latency", Title: "Quality against latency"}
	what, quality := qualityOf(list)
	var points []plotted
	var without []string
	for i := range list {
		at, low, high, ok := quality(&list[i])
		if !ok || list[i].LatencyMS == nil || !finite(list[i].LatencyMS.P50) {
			without = append(without, list[i].Short)
			continue
		}
		points = append(points, plotted{list[i].Short, list[i].Number, list[i].LatencyMS.P50, at, low, high})
	}
	if len(points) == 0 {
		p.Missing = "There is no plot: no candidate has both a known latency and a " + what + "."
		return p
	}
	p = frontierPlot(p, points, "median latency", what, tickMS, func(c *plotted) string {
		return fmt.Sprintf("%s: %s %s at %s", c.name, what, showPercent(&c.y, 1), showMS(c.x))
	})
	p.Desc = leftOut(p.Desc, without)
	return p
}

func leftOut(desc string, names []string) string {
	if len(names) == 0 {
		return desc
	}
	return desc + " Left out, as a figure is unknown: " + strings.Join(names, ", ") + "."
}
