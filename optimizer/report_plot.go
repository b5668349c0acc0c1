package optimizer

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// plot is a drawing, as the template `plot` of report_plot.html writes it. It
// is text and numbers only, which the template escapes.
type plot struct {
	ID            string // tells the plots of a page apart
	Title         string
	Desc          string // for those who do not see it
	Missing       string // why there is no drawing; "": there is
	Width, Height float64
	Marks         []mark
}

// mark is one element of a drawing. Coordinates are texts, so that each was looked at by coord.
type mark struct {
	Kind         string // line, path, dot, bar, text
	Class        string
	X, Y, X2, Y2 string // of bar: X2 and Y2 are its width and height; of dot: X2 is the radius
	D            string // of path
	Text         string // of text, and what is shown when one points at a dot or a bar
	Anchor       string // of text: start, middle or end
}

// coord writes a coordinate. What is no number is never written.
func coord(x float64) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		x = 0
	}
	x = math.Round(min(max(x, -1e6), 1e6)*10) / 10
	if x == 0 { // not -0
		x = 0
	}
	return strconv.FormatFloat(x, 'f', -1, 64)
}

func (p *plot) line(class string, x, y, x2, y2 float64) {
	p.Marks = append(p.Marks, mark{Kind: "line", Class: class, X: coord(x), Y: coord(y), X2: coord(x2), Y2: coord(y2)})
}

func (p *plot) dot(class string, x, y, r float64, text string) {
	p.Marks = append(p.Marks, mark{Kind: "dot", Class: class, X: coord(x), Y: coord(y), X2: coord(r), Text: text})
}

func (p *plot) bar(class string, x, y, width, height float64, text string) {
	p.Marks = append(p.Marks, mark{Kind: "bar", Class: class, X: coord(x), Y: coord(y), X2: coord(max(0, width)), Y2: coord(max(0, height)), Text: text})
}

func (p *plot) text(class, anchor string, x, y float64, text string) {
	p.Marks = append(p.Marks, mark{Kind: "text", Class: class, Anchor: anchor, X: coord(x), Y: coord(y), Text: text})
}

// steps joins points by a line that goes across and then up or down.
func (p *plot) steps(class string, points []place) {
	if len(points) < 2 {
		return
	}
	var d strings.Builder
	d.WriteString("M" + coord(points[0].x) + " " + coord(points[0].y))
	for _, at := range points[1:] {
		d.WriteString("H" + coord(at.x) + "V" + coord(at.y))
	}
	p.Marks = append(p.Marks, mark{Kind: "path", Class: class, D: d.String()})
}

// place is a point of a drawing.
type place struct{ x, y float64 }

// least is the smallest amount that differs from nothing in a plot.
const least = 1e-12

// finite reports whether a value can be drawn.
func finite(x float64) bool { return !math.IsNaN(x) && !math.IsInf(x, 0) && math.Abs(x) < 1e15 }

// scale maps values to coordinates.
type scale struct {
	low, high float64 // values
	from, to  float64 // coordinates
	log       bool
}

// wide is how far values are apart, as a ratio, for their axis to be logarithmic.
const wide = 20

// newScale covers all values with some room beside them. It may be logarithmic where they are amounts.
func newScale(values []float64, from, to float64) scale {
	low, high := bounds(values)
	s := scale{low: low, high: high, from: from, to: to}
	if s.log = low > least && high/low > wide; s.log {
		room := math.Pow(high/low, 0.08)
		s.low, s.high = low/room, high*room
		return s
	}
	room := (high - low) * 0.12
	if room <= math.Abs(high)*1e-9 { // all the same
		room = math.Abs(high) * 0.5
	}
	if room == 0 {
		room = 1
	}
	s.low, s.high = low-room, high+room
	if low >= 0 { // amounts are never below nothing, and nothing is worth showing when it is near
		s.low = max(0, s.low)
		if low < (high-low)*0.6 {
			s.low = 0
		}
	}
	return s
}

// shareScale is for shares, from 0 to 1 at most.
func shareScale(values []float64, from, to float64) scale {
	low, high := bounds(values)
	s := scale{low: min(max(low, 0), 1), high: min(max(high, 0), 1), from: from, to: to}
	s.low = math.Floor(s.low*10-0.2) / 10
	s.high = math.Ceil(s.high*10+0.2) / 10
	s.low, s.high = max(0, s.low), min(1, s.high)
	if s.high-s.low < 0.2 {
		s.low, s.high = max(0, s.high-0.2), min(1, max(0, s.high-0.2)+0.2)
	}
	return s
}

// bounds are those of what can be drawn.
func bounds(values []float64) (low, high float64) {
	values = slices.DeleteFunc(slices.Clone(values), func(x float64) bool { return !finite(x) })
	if len(values) == 0 {
		return 0, 1
	}
	return slices.Min(values), slices.Max(values)
}

// at is the coordinate of a value; what is outside is put at the edge.
func (s scale) at(x float64) float64 {
	if math.IsNaN(x) {
		x = s.low
	}
	x = min(max(x, s.low), s.high)
	share := (x - s.low) / (s.high - s.low)
	if s.log {
		share = math.Log(x/s.low) / math.Log(s.high/s.low)
	}
	return s.from + share*(s.to-s.from)
}

// ticks are round values within, about so many.
func (s scale) ticks(about int) (out []float64) {
	if s.log {
		return s.logTicks(about)
	}
	step := niceStep((s.high - s.low) / float64(max(about, 1)))
	first := math.Ceil(s.low/step - 1e-9)
	for i := range 4 * max(about, 1) {
		x := (first + float64(i)) * step
		if x > s.high+step*1e-9 {
			break
		}
		if math.Abs(x) < step*1e-9 {
			x = 0
		}
		out = append(out, x)
	}
	return out
}

// logTicks are powers of ten, and what is between where those are few.
func (s scale) logTicks(about int) (out []float64) {
	low, high := int(math.Floor(math.Log10(s.low))), int(math.Ceil(math.Log10(s.high)))
	every := max(1, (high-low+about-1)/max(about, 1))
	for _, between := range [][]float64{{1, 2, 5}, {1, 3}, {1}} {
		if every > 1 {
			between = between[:1]
		}
		out = out[:0]
		for e := low - low%every; e <= high; e += every {
			for _, m := range between {
				if x := m * math.Pow(10, float64(e)); x >= s.low*(1-1e-9) && x <= s.high*(1+1e-9) {
					out = append(out, x)
				}
			}
		}
		if len(out) <= about+1 {
			break
		}
	}
	return out
}

// niceStep is the next larger of 1, 2, 2.5 and 5 times a power of ten.
func niceStep(raw float64) float64 {
	if !finite(raw) || raw <= 0 {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(raw)))
	for _, m := range []float64{1, 2, 2.5, 5} {
		if raw <= m*power*(1+1e-9) {
			return m * power
		}
	}
	return 10 * power
}

// frame is the area of a plot that its axes bound.
type frame struct {
	left, top, right, bottom float64
	x, y                     scale
}

// axes draws the ticks of both axes, and says what they are.
func (p *plot) axes(f frame, xName, yName string, xText, yText func(float64) string) {
	for _, v := range f.y.ticks(5) {
		y := f.y.at(v)
		p.line("grid", f.left, y, f.right, y)
		p.text("tick", "end", f.left-7, y+4, yText(v))
	}
	for _, v := range f.x.ticks(5) {
		x := f.x.at(v)
		p.line("stub", x, f.bottom, x, f.bottom+5)
		p.text("tick", "middle", x, f.bottom+20, xText(v))
	}
	p.line("axis", f.left, f.bottom, f.right, f.bottom)
	if f.x.log {
		xName += ", logarithmic"
	}
	p.text("name", "end", f.right, f.bottom+40, xName)
	p.text("name", "start", 4, 13, yName)
}

// tickPercent is a share at an axis.
func tickPercent(x float64) string { return minus(trimmed(x*100, 1)) + " %" }

// tickUSD is an amount at an axis.
func tickUSD(x float64) string {
	if x > 0 && x < 1 {
		return showUSD(&x)
	}
	return "$" + tickNumber(x)
}

// tickMS is a duration at an axis.
func tickMS(x float64) string {
	if x >= 1000 {
		return tickNumber(x/1000) + " s"
	}
	return tickNumber(x) + " ms"
}

// tickNumber has as many digits as a tick needs.
func tickNumber(x float64) string {
	switch a := math.Abs(x); {
	case a >= 1e9 || a > 0 && a < 1e-6:
		return minus(strconv.FormatFloat(x, 'g', 2, 64))
	case a >= 1e6:
		return minus(trimmed(x/1e6, 2)) + " M"
	case a >= 1e4:
		return minus(trimmed(x/1e3, 1)) + " k"
	case a >= 1 || a == 0:
		return minus(trimmed(x, 2))
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(x))))
	return minus(trimmed(x, digits))
}
