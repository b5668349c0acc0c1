package optimizer

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/net/html"
)

// drawings are the SVGs of a page; each must be well-formed XML with numbers for coordinates.
func drawings(t *testing.T, page []byte) []string {
	t.Helper()
	all := regexp.MustCompile(`(?s)<svg .*?</svg>`).FindAllString(string(page), -1)
	for _, svg := range all {
		d := xml.NewDecoder(strings.NewReader(svg))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, svg)
			}
			start, ok := token.(xml.StartElement)
			if !ok {
				continue
			}
			for _, a := range start.Attr {
				switch a.Name.Local {
				case "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "width", "height":
					if !regexp.MustCompile(`^-?[0-9]+(\.[0-9])?$`).MatchString(a.Value) {
						t.Errorf("%s %s=%q", start.Name.Local, a.Name.Local, a.Value)
					}
				case "d":
					if !regexp.MustCompile(`^M[-0-9. HV]+$`).MatchString(a.Value) {
						t.Errorf("path %q", a.Value)
					}
				}
			}
		}
		if strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
			t.Errorf("no number in %s", svg)
		}
	}
	return all
}

// wellFormed checks that a page's elements are closed in their order, and what is in none of them.
func wellFormed(t *testing.T, page []byte) {
	t.Helper()
	if strings.Contains(string(page), "ZgotmplZ") {
		t.Error("the template has refused a value")
	}
	var open []string
	z := html.NewTokenizer(strings.NewReader(string(page)))
	for {
		switch z.Next() {
		case html.ErrorToken:
			if !errors.Is(z.Err(), io.EOF) {
				t.Fatal(z.Err())
			}
			if len(open) > 0 {
				t.Errorf("left open: %v", open)
			}
			return
		case html.StartTagToken:
			name, attributes := z.TagName()
			for attributes {
				var key, val []byte
				key, val, attributes = z.TagAttr()
				switch k := string(key); {
				case strings.HasPrefix(k, "on"), k == "src", k == "style", k == "href" && string(val) != "data:,":
					t.Errorf("<%s %s=%q>", name, key, val)
				}
			}
			switch string(name) {
			case "meta", "link", "input", "br":
			case "script", "iframe", "object", "embed", "img", "form", "base", "a":
				t.Errorf("there is a <%s>", name)
			default:
				open = append(open, string(name))
			}
		case html.EndTagToken:
			name, _ := z.TagName()
			if len(open) == 0 || open[len(open)-1] != string(name) {
				t.Fatalf("</%s> closes %v", name, open)
			}
			open = open[:len(open)-1]
		default:
		}
	}
}

// plotsOf are the drawings for candidates with such figures.
func plotsOf(t *testing.T, figures [][3]float64) (points []plotted, page []byte) {
	t.Helper()
	c := &Comparison{Dataset: DatasetRef{Name: "d", Version: 1}}
	rec := RecordReport{ID: "1"}
	for k, f := range figures {
		usd, ms := f[1], f[2]
		r := CandidateReport{Name: fmt.Sprintf("a candidate with number %d", k), Baseline: k == 0, Verdict: Ready, Score: &Mean{Mean: f[0], Low: max(0, f[0]-0.2), High: min(1, f[0]+0.1), Of: 9}}
		r.CostPer1K, r.LatencyMS, r.Consistency = &usd, &Quantiles{ms, 2 * ms}, shareOf(min(k, 9), 9)
		c.Candidates = append(c.Candidates, r)
		rec.Answers = append(rec.Answers, AnswerReport{LatencyMS: &ms})
		points = append(points, plotted{r.Name, k, usd, f[0], r.Score.Low, r.Score.High})
	}
	c.Records = []RecordReport{rec}
	return points, forms(t, finishedRun(KindComparison), c)["html"]
}

func TestReportPlotsOfAnything(t *testing.T) {
	for name, figures := range map[string][][3]float64{
		"one":       {{0.5, 1, 100}},
		"equal":     {{0.5, 1, 100}, {0.5, 1, 100}, {0.5, 1, 100}},
		"nothing":   {{0, 0, 0}, {0, 0, 0}},
		"perfect":   {{1, 0.000001, 1}, {1, 1e6, 1e9}},
		"huge":      {{1, 1e300, 1e300}, {0, -1e300, 1e-300}},
		"tiny":      {{1, 5e-324, 5e-324}, {0.3, 1, 1}},
		"near":      {{0.9, 1, 100}, {0.9, 1 + 1e-15, 100 + 1e-13}},
		"outside":   {{7, 1, 100}, {-3, 2, 50}},
		"wide":      {{0.2, 0.001, 1}, {0.4, 1000, 1e7}},
		"negatives": {{0.2, -1, -5}, {0.4, -2, -7}},
	} {
		t.Run(name, func(t *testing.T) {
			_, page := plotsOf(t, figures)
			wellFormed(t, page)
			drawings(t, page)
		})
	}
}

func TestReportPlotsAtRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 60 {
		var figures [][3]float64
		for range 1 + r.IntN(12) {
			figures = append(figures, [3]float64{r.Float64(), math.Exp(8 * r.NormFloat64()), math.Exp(5 * r.NormFloat64())})
		}
		_, page := plotsOf(t, figures)
		drawings(t, page)
	}
}

func TestReportLabelsDoNotOverlap(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	f := frame{left: 52, top: 40, right: 446, bottom: 276}
	placed, all := 0, 0
	for range 200 {
		var points []plotted
		var places []place
		for k := range 2 + r.IntN(7) {
			points = append(points, plotted{name: fmt.Sprintf("gpt-4o-mini optimised %d", k), series: k})
			places = append(places, place{f.left + r.Float64()*394, f.top + r.Float64()*230})
		}
		var seen []box
		for _, l := range placeLabels(points, places, nil, f) {
			all++
			if l.text == "" {
				continue
			}
			placed++
			b := l.box()
			for _, o := range seen {
				if b.meets(o) {
					t.Fatalf("%v is upon %v", b, o)
				}
			}
			for _, p := range places {
				if p.x > b.left && p.x < b.right && p.y > b.top && p.y < b.bottom {
					t.Fatalf("%v is upon the point %v", b, p)
				}
			}
			seen = append(seen, b)
		}
	}
	if placed*100 < all*98 {
		t.Errorf("%d of %d labels have a place", placed, all)
	}
}

func TestReportScale(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []float64
		log    bool
		ticks  []float64
	}{
		{"from nothing", []float64{10, 100}, false, []float64{0, 25, 50, 75, 100}},
		{"far apart", []float64{0.03, 1.5}, true, []float64{0.05, 0.1, 0.2, 0.5, 1, 2}},
		{"decades", []float64{1, 1e6}, true, []float64{1, 100, 1e4, 1e6}},
		{"near", []float64{1000, 1010}, false, []float64{1000, 1002.5, 1005, 1007.5, 1010}},
		{"one", []float64{8}, false, []float64{4, 6, 8, 10, 12}},
		{"none", nil, false, []float64{0, 0.25, 0.5, 0.75, 1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newScale(test.values, 0, 100)
			if s.log != test.log {
				t.Errorf("logarithmic: %t", s.log)
			}
			got := s.ticks(5)
			if fmt.Sprintf("%.4g", got) != fmt.Sprintf("%.4g", test.ticks) {
				t.Errorf("got %.6g, want %.6g; %+v", got, test.ticks, s)
			}
			for _, x := range test.values {
				if at := s.at(x); at < 0 || at > 100 {
					t.Errorf("%g is at %g", x, at)
				}
			}
		})
	}
}

func TestReportPlotLeftOut(t *testing.T) {
	c := sentiment()
	for i := range c.Candidates {
		c.Candidates[i].CostPer1K, c.Candidates[i].CostPerMillion, c.Candidates[i].CostUSD = nil, nil, nil
	}
	page := string(forms(t, finishedRun(KindComparison), c)["html"])
	if !strings.Contains(page, "no candidate has both a known cost and a score") {
		t.Error("the page does not say why there is no plot")
	}
}
