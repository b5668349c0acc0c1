package rollout

import "math"

// point is a value in [0,1] and how often it was seen.
type point struct {
	value, n float64
}

// bets are the fractions of what may be lost at one observation. Fortunes of
// fixed bets do not depend on the order of the observations.
var bets = [...]float64{0.9, 0.6, 0.4, 0.25, 0.16, 0.1, 0.06, 0.04, 0.025, 0.016, 0.01, 0.005}

// fortune is the logarithm of what has become of 1, spread over the bets that
// the mean is above m. While the mean is at most m it is a supermartingale.
func fortune(points []point, m float64) float64 {
	var logs [len(bets)]float64
	top := math.Inf(-1)
	for i, b := range bets {
		for _, p := range points {
			logs[i] += p.n * math.Log1p(b*(p.value/m-1))
		}
		top = max(top, logs[i])
	}
	sum := 0.0
	for _, l := range logs {
		sum += math.Exp(l - top)
	}
	return top + math.Log(sum/float64(len(bets)))
}

// meanAbove is the lower end of the betting confidence sequence of a mean in
// [0,1] (Waudby-Smith, Ramdas: Estimating means of bounded random variables by
// betting, 2024): every mean against which a fortune of 1/α has been made is
// refuted, at all looks together, whatever the distribution.
func meanAbove(points []point, alpha float64) float64 {
	if len(points) == 0 {
		return 0
	}
	limit, low, high := -math.Log(alpha), 0.0, 1.0
	for range 18 {
		if mid := (low + high) / 2; fortune(points, mid) >= limit {
			low = mid
		} else {
			high = mid
		}
	}
	return low
}

// meanBelow is the upper end.
func meanBelow(points []point, alpha float64) float64 {
	mirrored := make([]point, len(points))
	for i, p := range points {
		mirrored[i] = point{1 - p.value, p.n}
	}
	return 1 - meanAbove(mirrored, alpha)
}

// mean is the average of the points; NaN: there are none.
func mean(points []point) float64 {
	sum, n := 0.0, 0.0
	for _, p := range points {
		sum += p.value * p.n
		n += p.n
	}
	return sum / n
}
