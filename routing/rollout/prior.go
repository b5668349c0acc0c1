package rollout

import "math"

// The prior over the moment a fault begins: startNow on the first observation,
// the rest spread over all later ones as 1/((n+1) log²(n+1)), which sums to startSum.
const (
	startNow = 0.3
	startSum = 2.1097428
)

// starts hands out the prior weight of each next start time.
type starts struct {
	n    int64
	left float64 // the prior weight of the starts still to come
}

func newStarts() starts { return starts{left: 1} }

// next is the prior weight of a component that starts with the next observation.
func (s *starts) next() float64 {
	s.n++
	l := math.Log(float64(s.n + 1))
	p := (1 - startNow) / startSum / (float64(s.n+1) * l * l)
	if s.n == 1 {
		p += startNow
	}
	p = min(p, s.left)
	s.left -= p
	return p
}

// most bounds an e-process, so that evidence which goes on coming after the
// decision stays a number that can be stored.
const most = 1e200
