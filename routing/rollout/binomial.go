package rollout

import (
	"math"
	"sort"
)

// The always-valid bounds of a proportion are those of Robbins' method of
// mixtures (Statistical methods related to the law of the iterated logarithm,
// 1970; Howard, Ramdas, McAuliffe, Sekhon: Time-uniform, nonparametric,
// nonasymptotic confidence sequences, 2021): the likelihood averaged over a beta
// prior, divided by the likelihood at p, is a martingale when p is the truth.
// Where it reaches 1/α, p is refuted at every look together.
type mixture struct {
	a, b, norm float64
}

func newMixture(a, b float64) mixture { return mixture{a, b, logBeta(a, b)} }

// rare is the mixture for failure rates: it looks for small ones.
var rare = newMixture(0.5, 5)

func logBeta(a, b float64) float64 {
	x, _ := math.Lgamma(a)
	y, _ := math.Lgamma(b)
	z, _ := math.Lgamma(a + b)
	return x + y - z
}

// evidence is the logarithm of the martingale against p.
func (m mixture) evidence(hits, misses, p float64) float64 {
	return m.marginal(hits, misses) - likelihood(hits, misses, p)
}

func (m mixture) marginal(hits, misses float64) float64 {
	return logBeta(m.a+hits, m.b+misses) - m.norm
}

func likelihood(hits, misses, p float64) float64 {
	l := 0.0
	if hits > 0 {
		l += hits * math.Log(p)
	}
	if misses > 0 {
		l += misses * math.Log1p(-p)
	}
	return l
}

// upper is the upper confidence bound of a rate.
func (m mixture) upper(hits, total, alpha float64) float64 {
	if total <= 0 {
		return 1
	}
	limit := m.marginal(hits, total-hits) + math.Log(alpha)
	return bisect(hits/total, 1, func(p float64) bool { return likelihood(hits, total-hits, p) > limit })
}

// lower is the lower confidence bound of a rate.
func (m mixture) lower(hits, total, alpha float64) float64 {
	if total <= 0 || hits <= 0 {
		return 0
	}
	limit := m.marginal(hits, total-hits) + math.Log(alpha)
	return 1 - bisect(1-hits/total, 1, func(q float64) bool { return likelihood(hits, total-hits, 1-q) > limit })
}

// bisect is where holds, true at from, stops being so; never short of it.
func bisect(from, to float64, holds func(float64) bool) float64 {
	for range 32 {
		mid := from + (to-from)/2
		if holds(mid) {
			from = mid
		} else {
			to = mid
		}
	}
	return to
}

// ranks are the places in n sorted observations between which the p-quantile
// lies at every look (Howard, Ramdas: Sequential estimation of quantiles with
// applications to A/B testing and best-arm identification, 2022, section 3): how
// many are at or below a quantile is a binomial number. low is the place, from
// 1, of an observation that is at or below the quantile, 0: none is known to
// be; high that of one at or above it, n+1: none is. Each is valid at alpha.
func ranks(n int, p, alpha float64) (low, high int) {
	const weight = 10
	m := newMixture(weight*p, weight*(1-p))
	limit := -math.Log(alpha)
	refuted := func(k int) bool { return m.evidence(float64(k), float64(n-k), p) >= limit }
	mean := int(p * float64(n))
	low = sort.Search(mean+1, func(k int) bool { return !refuted(k) })
	high = mean + sort.Search(n+1-mean, func(k int) bool { return refuted(mean + k) })
	if high <= n && !refuted(high) {
		high = n + 1
	}
	return low, high
}
