package rollout

import (
	"math"
	"math/rand/v2"
	"testing"
)

// Everything here has to hold at every look: each run looks often, and one miss counts.

func TestRateBoundsCover(t *testing.T) {
	const runs, alpha = 300, 0.05
	for _, p := range []float64{0.01, 0.2} {
		misses := 0
		r := rand.New(rand.NewPCG(1, 2))
		for range runs {
			hits := 0.0
			for n := 1; n <= 2000; n++ {
				if r.Float64() < p {
					hits++
				}
				if n%10 == 0 && (rare.upper(hits, float64(n), alpha) < p || rare.lower(hits, float64(n), alpha) > p) {
					misses++
					break
				}
			}
		}
		if misses > runs*alpha+3*4 {
			t.Errorf("at %v, %d of %d runs left the bounds", p, misses, runs)
		}
	}
}

func TestQuantileBoundsCover(t *testing.T) {
	const runs, alpha = 200, 0.05
	for _, p := range []float64{0.5, 0.95} {
		misses := 0
		r := rand.New(rand.NewPCG(3, 4))
		for range runs {
			var h histogram
			for n := 1; n <= 1000; n++ {
				h.add(r.Float64())
				if n%20 != 0 {
					continue
				}
				if low, high := h.bounds(p, alpha); low > p || high < p {
					misses++
					break
				}
			}
		}
		if misses > 2*runs*alpha+10 {
			t.Errorf("p%v: %d of %d runs left the bounds", 100*p, misses, runs)
		}
	}
}

func TestMeanBoundsCover(t *testing.T) {
	const runs, alpha = 40, 0.05
	misses := 0
	r := rand.New(rand.NewPCG(5, 6))
	width := 0.0
	for range runs {
		h := histogram{linear: true}
		for n := 1; n <= 1000; n++ {
			h.add(math.Pow(r.Float64(), 3)) // mean 1/4
			if n%200 != 0 {
				continue
			}
			low, high := meanAbove(h.points(1, false), alpha), meanBelow(h.points(1, true), alpha)
			if low > 0.25 || high < 0.25 {
				misses++
				break
			}
			width = high - low
		}
	}
	if misses > 2*runs*alpha {
		t.Errorf("%d of %d runs left the bounds", misses, runs)
	}
	if width > 0.08 {
		t.Errorf("after 1000 values the bounds are %.3f apart", width)
	}
}

func TestRanks(t *testing.T) {
	for _, p := range []float64{0.5, 0.95} {
		for _, n := range []int{0, 1, 5, 20, 100, 1000, 20_000} {
			low, high := ranks(n, p, 0.025)
			if low < 0 || low > n || high < 1 || high > n+1 || low >= high {
				t.Errorf("p%v of %d: %d to %d", 100*p, n, low, high)
			}
			if mean := int(p * float64(n)); n >= 1000 && (low < mean-n/8 || high > mean+n/8) {
				t.Errorf("p%v of %d is wide: %d to %d", 100*p, n, low, high)
			}
		}
	}
}

func TestHistogram(t *testing.T) {
	var h histogram
	for _, v := range []float64{0, 1e-12, 0.5, 1, 2, 1e9, math.Inf(1), math.NaN()} {
		h.add(v)
	}
	if h.n != 7 {
		t.Errorf("%d values, want 7", h.n)
	}
	for _, v := range []float64{1e-9, 0.003, 0.5, 1, 2, 60, 1e5} {
		low, high := h.edges(h.bucket(v))
		if v < low*(1-1e-9) || v > high*(1+1e-9) || high > 1.0201*low+2*smallest {
			t.Errorf("%v is between %v and %v", v, low, high)
		}
	}
	if !math.IsInf(h.quantile(1), 1) || h.quantile(0.01) > 1e-9 {
		t.Errorf("quantiles %v, %v", h.quantile(1), h.quantile(0.01))
	}
}

func TestPriorSumsToOne(t *testing.T) {
	s := newStarts()
	for range 3_000_000 {
		s.next()
	}
	if s.left < 0.015 || s.left > 0.03 { // 0.7/2.11/ln n
		t.Errorf("%v is left", s.left)
	}
}

// A conditional test is an e-process: its mean, over what may come, does not grow.
func TestConditionalIsFair(t *testing.T) {
	for _, share := range []float64{0.05, 0.5, 0.9} {
		for ratio, tolerance := range map[float64]float64{0.5: 1.25, 1: 1, 1.25: 1.25, 3: 4, 4: 4} {
			c := newConditional(tolerance)
			r := rand.New(rand.NewPCG(7, 8))
			p := share * ratio / (share*ratio + 1 - share)
			for range 200 {
				before := c.evidence()
				a, b := c, c
				a.add(true, share)
				b.add(false, share)
				if mean := p*a.evidence() + (1-p)*b.evidence(); mean > before*(1+1e-9) {
					t.Fatalf("at %v, %vx, tolerance %vx: evidence %v is %v on average after the next failure", share, ratio, tolerance, before, mean)
				}
				c.add(r.Float64() < p, share)
			}
		}
	}
}

func TestAloneIsFair(t *testing.T) {
	for _, bound := range []float64{0.02, 0.07, 0.3} {
		a := newAlone()
		r := rand.New(rand.NewPCG(9, 10))
		for range 2000 {
			before := a.evidence()
			x, y := a, a
			x.add(true, bound)
			y.add(false, bound)
			if mean := bound*x.evidence() + (1-bound)*y.evidence(); mean > before*(1+1e-9) {
				t.Fatalf("at %v: evidence %v is %v on average after the next request", bound, before, mean)
			}
			a.add(r.Float64() < bound, bound)
		}
	}
}

func TestMismatch(t *testing.T) {
	wrong := 0
	r := rand.New(rand.NewPCG(11, 12))
	for range 200 {
		c, s := 0, 0
		for range 2000 {
			if r.Float64() < 0.05 {
				c++
			} else {
				s++
			}
			if mismatch(c, s, 0.05) {
				wrong++
				break
			}
		}
	}
	if wrong > 1 {
		t.Errorf("%d of 200 fair assignments are called unfair", wrong)
	}
	if !mismatch(1000, 9000, 0.05) || !mismatch(0, 2000, 0.05) || mismatch(520, 9480, 0.05) {
		t.Error("an unfair assignment is not seen, or a fair one is")
	}
}
