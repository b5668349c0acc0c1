package search

import (
	"math"
	"strings"
	"testing"
)

func TestGate(t *testing.T) {
	pairs := func(wins, losses, ties int) []Pair {
		var out []Pair
		for range wins {
			out = append(out, Pair{0, 1})
		}
		for range losses {
			out = append(out, Pair{1, 0})
		}
		for range ties {
			out = append(out, Pair{1, 1})
		}
		return out
	}
	tests := []struct {
		name           string
		pairs          []Pair
		holdout, noisy bool
		better         bool
	}{
		{"nothing", nil, false, false, false},
		{"nothing held out", nil, true, false, false},
		{"one win", pairs(1, 0, 4), false, false, true},
		{"a loss", pairs(4, 1, 0), false, false, false},
		{"ties", pairs(0, 0, 5), false, false, false},
		{"within noise", []Pair{{0.5, 0.7}, {0.9, 0.7}}, false, true, false},
		{"beyond noise", []Pair{{0.1, 0.9}, {0.9, 0.7}}, false, true, true},
		{"proven", pairs(6, 0, 4), true, false, true},
		{"four wins may be chance", pairs(4, 0, 6), true, false, false},
		{"too many losses", pairs(6, 3, 1), true, false, false},
		{"losses outweighed", pairs(14, 2, 4), true, false, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := Gate(tt.pairs, tt.holdout, tt.noisy)
			if v.Better != tt.better || v.Text == "" || (v.Evidence == "holdout") != tt.holdout {
				t.Errorf("verdict %+v", v)
			}
			if strings.Contains(v.Text, "NaN") || math.IsNaN(v.Gain) {
				t.Errorf("verdict %+v", v)
			}
		})
	}
	if p := signTest(5, 0); math.Abs(p-1.0/32) > 1e-9 {
		t.Errorf("five wins have p=%v", p)
	}
	if p := signTest(3, 1); math.Abs(p-5.0/16) > 1e-9 {
		t.Errorf("three of four wins have p=%v", p)
	}
}

func TestFit(t *testing.T) {
	// One effect that helps, one that harms, one that was never tried.
	priors := []prior{{0, 4}, {0, 1}, {0, 1}, {0.2, 1}}
	var samples []sample
	for i := range 200 {
		at, x, y := []int{0}, []float64{1}, 0.5
		if i%2 == 0 {
			at, x, y = append(at, 1), append(x, 1), y+0.3
		}
		if i%4 < 2 {
			at, x, y = append(at, 2), append(x, 1), y-0.3
		}
		samples = append(samples, sample{at, x, y, 1})
	}
	e := fit(priors, samples)
	if e.mean[1] < 0.8 || e.mean[2] > -0.8 || math.Abs(e.mean[3]-0.2) > 1e-6 {
		t.Errorf("effects %v", e.mean)
	}
}
