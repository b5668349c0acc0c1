package rollout

import "math"

// histogram counts values in buckets so that its size does not depend on how
// many there are. Every bound taken from it is rounded away from the decision, by
// at most a bucket: 2 % of a time or an amount, 0.001 of a score.
type histogram struct {
	linear bool // over [0,1] instead of over the positive numbers
	counts []uint32
	n      int
}

const (
	smallest      = 1e-9
	growth        = 1.02
	logBuckets    = 1746 // up to 1e6; the first holds all up to smallest, the last +Inf
	linearBuckets = 1000
)

var logGrowth = math.Log(growth)

func (h *histogram) buckets() int {
	if h.linear {
		return linearBuckets
	}
	return logBuckets
}

func (h *histogram) add(v float64) {
	if math.IsNaN(v) {
		return
	}
	if h.counts == nil {
		h.counts = make([]uint32, h.buckets())
	}
	h.counts[h.bucket(v)]++
	h.n++
}

func (h *histogram) bucket(v float64) int {
	if h.linear {
		return max(0, min(int(v*linearBuckets), linearBuckets-1))
	}
	switch {
	case v <= smallest:
		return 0
	case math.IsInf(v, 1):
		return logBuckets - 1
	}
	return min(1+int(math.Log(v/smallest)/logGrowth), logBuckets-2)
}

// edges are the least and the greatest value that a bucket may hold.
func (h *histogram) edges(i int) (low, high float64) {
	if h.linear {
		return float64(i) / linearBuckets, float64(i+1) / linearBuckets
	}
	switch i {
	case 0:
		return 0, smallest
	case logBuckets - 1:
		return math.Inf(1), math.Inf(1)
	}
	return smallest * math.Pow(growth, float64(i-1)), smallest * math.Pow(growth, float64(i))
}

// at is the bucket of the k-th smallest value, k from 1 to n.
func (h *histogram) at(k int) int {
	for i, c := range h.counts {
		if k -= int(c); k <= 0 {
			return i
		}
	}
	return h.buckets() - 1
}

// quantile is about the p-quantile of what was counted; NaN: nothing was.
func (h *histogram) quantile(p float64) float64 {
	if h.n == 0 {
		return math.NaN()
	}
	low, high := h.edges(h.at(max(1, int(math.Ceil(p*float64(h.n))))))
	if math.IsInf(high, 1) {
		return high
	}
	return (low + high) / 2
}

// bounds are the always-valid bounds of the p-quantile, each at alpha.
func (h *histogram) bounds(p, alpha float64) (low, high float64) {
	l, u := ranks(h.n, p, alpha)
	high = math.Inf(1)
	if l > 0 {
		low, _ = h.edges(h.at(l))
	}
	if u <= h.n {
		_, high = h.edges(h.at(u))
	}
	return low, high
}

// points are the counted values, in units of limit and at most 1, with how
// often they occur; rounded up or down.
func (h *histogram) points(limit float64, up bool) []point {
	var out []point
	for i, c := range h.counts {
		if c == 0 {
			continue
		}
		v, high := h.edges(i)
		if up {
			v = high
		}
		out = append(out, point{min(v/limit, 1), float64(c)})
	}
	return out
}
