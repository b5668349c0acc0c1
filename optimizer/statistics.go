package optimizer

import (
	"math"
	"math/rand/v2"
	"slices"

	"gonum.org/v1/gonum/stat"
	"gonum.org/v1/gonum/stat/distuv"
)

// Share is how many of several things are so, with the interval that the true
// share is in with 95 % confidence (Wilson 1927).
type Share struct {
	Count int     `json:"count"`
	Of    int     `json:"of"`
	Share float64 `json:"share"` // 0 to 1; 0 of nothing
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// z95 is the two-sided 95 % point of the normal distribution.
var z95 = distuv.UnitNormal.Quantile(0.975)

func shareOf(count, of int) Share {
	s := Share{Count: count, Of: of, High: 1}
	if of == 0 {
		return s
	}
	n, p := float64(of), float64(count)/float64(of)
	s.Share = p
	centre := (p + z95*z95/(2*n)) / (1 + z95*z95/n)
	half := z95 / (1 + z95*z95/n) * math.Sqrt(p*(1-p)/n+z95*z95/(4*n*n))
	s.Low, s.High = max(0, centre-half), min(1, centre+half)
	if count == 0 { // what rounding leaves
		s.Low = 0
	}
	if count == of {
		s.High = 1
	}
	return s
}

// Mean is a mean with the interval that the true one is in with 95 %
// confidence, by the bootstrap (Efron 1979, percentiles).
type Mean struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	Of   int     `json:"of"`
}

// resamples are those of a bootstrap.
const resamples = 2000

// meanOf takes weights along; the seed makes the interval the same each time.
func meanOf(values, weights []float64, seed uint64) *Mean {
	if len(values) == 0 {
		return nil
	}
	m := &Mean{Mean: stat.Mean(values, weights), Of: len(values)}
	r := rand.New(rand.NewPCG(seed, uint64(len(values))))
	means := make([]float64, resamples)
	for i := range means {
		var sum, total float64
		for range values {
			k := r.IntN(len(values))
			sum += values[k] * weights[k]
			total += weights[k]
		}
		if total > 0 {
			means[i] = sum / total
		}
	}
	slices.Sort(means)
	m.Low, m.High = stat.Quantile(0.025, stat.LinInterp, means, nil), stat.Quantile(0.975, stat.LinInterp, means, nil)
	return m
}

// Difference compares a candidate with the baseline on the same records.
type Difference struct {
	Mean
	Wins   int `json:"wins"`   // records on which the candidate scores higher
	Losses int `json:"losses"` // on which it scores lower
	// P is the exact two-sided p-value of McNemar's test: how likely wins and losses are as uneven by chance alone.
	P float64 `json:"p"`
}

// differenceOf is over paired scores.
func differenceOf(candidate, baseline, weights []float64, seed uint64) *Difference {
	if len(candidate) == 0 {
		return nil
	}
	d := new(Difference)
	gains := make([]float64, len(candidate))
	for i := range candidate {
		gains[i] = candidate[i] - baseline[i]
		switch {
		case gains[i] > 0:
			d.Wins++
		case gains[i] < 0:
			d.Losses++
		}
	}
	d.Mean, d.P = *meanOf(gains, weights, seed), mcnemar(d.Wins, d.Losses)
	return d
}

// mcnemar is the exact test (McNemar 1947): under chance, wins are binomial with one half.
func mcnemar(wins, losses int) float64 {
	n := wins + losses
	if n == 0 {
		return 1
	}
	return min(1, 2*distuv.Binomial{N: float64(n), P: 0.5}.CDF(float64(min(wins, losses))))
}

// Quantiles are of durations, in milliseconds.
type Quantiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
}

func quantilesOf(ms []float64) *Quantiles {
	if len(ms) == 0 {
		return nil
	}
	sorted := slices.Sorted(slices.Values(ms))
	if len(sorted) == 1 {
		return &Quantiles{sorted[0], sorted[0]}
	}
	return &Quantiles{stat.Quantile(0.5, stat.LinInterp, sorted, nil), stat.Quantile(0.95, stat.LinInterp, sorted, nil)}
}

// dominated marks those that are not on the Pareto front: another one is as good in
// everything and better in something. A point's values are the better the lower; one with a
// NaN takes no part.
func dominated(points [][]float64) []bool {
	out := make([]bool, len(points))
	for i, p := range points {
		out[i] = slices.ContainsFunc(p, math.IsNaN) || slices.ContainsFunc(points, func(q []float64) bool { return dominates(q, p) })
	}
	return out
}

func dominates(q, p []float64) bool {
	better := false
	for i := range p {
		if math.IsNaN(q[i]) || q[i] > p[i] {
			return false
		}
		better = better || q[i] < p[i]
	}
	return better
}
