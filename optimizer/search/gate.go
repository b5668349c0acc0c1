package search

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// Pair is one record's score with the original prompt and with the new one.
type Pair struct{ Was, Is float64 }

// Verdict says whether a new prompt is proven to be better.
type Verdict struct {
	Better bool `json:"better"`
	// Evidence is what that rests on: holdout, when it is records the search
	// never saw; small_sample, when it is all records there are.
	Evidence string  `json:"evidence"`
	Cases    int     `json:"cases"`
	Wins     int     `json:"wins"`   // records that got better
	Losses   int     `json:"losses"` // records that got worse
	Gain     float64 `json:"gain"`   // of the mean score
	// Low and High bound the gain: the paired bootstrap's interval of 90 %. Only of a holdout.
	Low  *float64 `json:"low"`
	High *float64 `json:"high"`
	// P is the chance of as many wins, were there no difference: exact McNemar, one-sided. Only of a holdout.
	P    *float64 `json:"p"`
	Text string   `json:"text"`
}

const (
	bootstraps = 4000
	proven     = 0.05 // the chance of a false "better" that is accepted
	noise      = 0.3  // by which a noisy scorer may differ about the same
)

// Gate decides whether a new prompt is better than the original. On records
// that the search never saw the lower end of the paired bootstrap's interval
// must be above zero, and the exact McNemar test (the sign test, of scores
// between 0 and 1) significant, both one-sided at 5 %. Without such records
// nothing can be proven: then there must be wins, and no record may have got
// worse. With a noisy scorer, differences that may be noise count as none.
func Gate(pairs []Pair, holdout, noisy bool) Verdict {
	v := Verdict{Evidence: "small_sample", Cases: len(pairs)}
	tie := 1e-9
	if noisy {
		tie = noise
	}
	for _, p := range pairs {
		d := p.Is - p.Was
		v.Gain += d / float64(len(pairs))
		switch {
		case d > tie:
			v.Wins++
		case d < -tie:
			v.Losses++
		}
	}
	on := fmt.Sprintf("%d got better and %d worse", v.Wins, v.Losses)
	if !holdout {
		v.Better = v.Wins > 0 && v.Losses == 0
		v.Text = fmt.Sprintf("of all %s %s (small sample)", counted(v.Cases, "record"), on)
		return v
	}
	v.Evidence = "holdout"
	p := signTest(v.Wins, v.Losses)
	low, high := bootstrap(pairs)
	v.P, v.Low, v.High = &p, &low, &high
	v.Better = low > 0 && p <= proven
	proof := "which does not prove it better"
	if v.Better {
		proof = "which proves it better"
	}
	v.Text = fmt.Sprintf("of %s that the search never saw %s, the mean changed by %+.2f (%.2f to %.2f), p=%.3f, %s", counted(v.Cases, "record"), on, v.Gain, low, high, p, proof)
	return v
}

// signTest is the chance of at least wins heads in wins+losses throws of a fair coin.
func signTest(wins, losses int) float64 {
	n := wins + losses
	sum := 0.0
	for k := wins; k <= n; k++ {
		sum += math.Exp(binomial(n, k) - float64(n)*math.Ln2)
	}
	return min(1, sum)
}

// binomial is the logarithm of the binomial coefficient.
func binomial(n, k int) float64 {
	a, _ := math.Lgamma(float64(n + 1))
	b, _ := math.Lgamma(float64(k + 1))
	c, _ := math.Lgamma(float64(n - k + 1))
	return a - b - c
}

// bootstrap is the interval of 90 % of the mean difference (Efron's percentile interval).
// It draws from a fixed seed: the same pairs have the same interval.
func bootstrap(pairs []Pair) (low, high float64) {
	if len(pairs) == 0 {
		return 0, 0
	}
	r := rand.New(rand.NewPCG(1, uint64(len(pairs))))
	means := make([]float64, bootstraps)
	for i := range means {
		for range pairs {
			p := pairs[r.IntN(len(pairs))]
			means[i] += (p.Is - p.Was) / float64(len(pairs))
		}
	}
	slices.Sort(means)
	at := int(proven * bootstraps)
	return means[at], means[bootstraps-1-at]
}
