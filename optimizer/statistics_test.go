package optimizer

import (
	"math"
	"testing"
)

func near(a, b, by float64) bool { return math.Abs(a-b) <= by }

// The intervals are those of R: prop.test(k, n, correct = FALSE) and binom.test.
func TestShareHasWilsonsInterval(t *testing.T) {
	for _, c := range []struct {
		count, of int
		low, high float64
	}{{6, 10, .3127, .8318}, {10, 10, .7225, 1}, {0, 10, 0, .2775}, {32, 35, .7762, .9704}, {0, 0, 0, 1}} {
		s := shareOf(c.count, c.of)
		if !near(s.Low, c.low, 5e-4) || !near(s.High, c.high, 5e-4) {
			t.Errorf("%d of %d: got %.4f–%.4f, want %.4f–%.4f", c.count, c.of, s.Low, s.High, c.low, c.high)
		}
	}
}

func TestMcNemarIsExact(t *testing.T) {
	for _, c := range []struct {
		wins, losses int
		p            float64
	}{{0, 0, 1}, {5, 0, .0625}, {6, 0, .03125}, {10, 2, .03857}, {3, 3, 1}, {0, 8, .0078125}} {
		if p := mcnemar(c.wins, c.losses); !near(p, c.p, 1e-4) {
			t.Errorf("%d wins, %d losses: got %g, want %g", c.wins, c.losses, p, c.p)
		}
	}
}

func TestDifferenceIsPaired(t *testing.T) {
	ones := []float64{1, 1, 1, 1}
	d := differenceOf([]float64{1, 1, 0, 1}, []float64{0, 1, 1, 0}, ones, 7)
	if d.Wins != 2 || d.Losses != 1 || d.Mean.Mean != 0.25 || d.Low > 0.25 || d.High < 0.25 || d.Low < -1 || d.High > 1 {
		t.Errorf("got %+v", d)
	}
	if again := differenceOf([]float64{1, 1, 0, 1}, []float64{0, 1, 1, 0}, ones, 7); *again != *d {
		t.Errorf("the same records give another interval: %+v, %+v", d, again)
	}
	if differenceOf(nil, nil, nil, 1) != nil {
		t.Error("there is a difference of nothing")
	}
}

func TestDominatedMarksAllButTheFront(t *testing.T) {
	got := dominated([][]float64{{1, 3}, {2, 2}, {3, 1}, {3, 3}, {2, 2}, {math.NaN(), 0}})
	for i, want := range []bool{false, false, false, true, false, true} {
		if got[i] != want {
			t.Errorf("point %d: got %v, want %v", i, got[i], want)
		}
	}
}

func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name            string
		agreed, of      int
		errors, records int
		want            string
	}{
		{"small and good", 10, 10, 0, 10, "ready (small sample, n=10)"},
		{"small and bad", 6, 10, 0, 10, "not ready"},
		{"enough and good", 100, 100, 0, 100, "ready"},
		{"enough and bad", 70, 100, 0, 100, "not ready"},
		{"enough and between", 91, 100, 0, 100, "inconclusive"},
		{"thirty-five, all right", 35, 35, 0, 35, "ready"},
		{"one error in ten", 9, 9, 1, 10, "inconclusive"},
		{"one error in a hundred", 99, 99, 1, 100, "ready"},
		{"no answers", 0, 0, 10, 10, "inconclusive"},
	} {
		r := CandidateReport{Consistency: shareOf(c.agreed, c.of), Errors: c.errors}
		r.judge(0.9, c.records)
		if r.Status() != c.want {
			t.Errorf("%s: got %q (%s), want %q", c.name, r.Status(), r.Why, c.want)
		}
	}
}
