package rollout

// odds are the alternatives of the conditional test: how many times as likely
// as stable's a failure of the candidate is.
var odds = [...]float64{1.5, 2, 3, 5, 10, 30}

// conditional tests, failure by failure, whether failures fall on the
// candidate more often than the boundary allows. Given that a unit assigned
// with share w for the candidate fails, it is the candidate's with probability
// w·t/(w·t+1−w) when the candidate fails t times as often. That holds whatever
// the rate is and however it moves, so an outage of both cancels out, and the
// share may change between failures.
//
// The evidence is an e-process (Ramdas, Grünwald, Vovk, Shafer: Game-theoretic
// statistics and safe anytime-valid inference, 2023): a likelihood ratio
// averaged over odds, and over the failure at which the fault began (as in
// Shin, Ramdas, Rinaldo: E-detectors, 2024, here with a prior of weight 1, which
// keeps the guarantee for all time). While the candidate's odds are at or below
// the tolerance, the chance that it ever reaches 1/α is at most α.
type conditional struct {
	tolerance float64
	starts    starts
	ratio     [len(odds)]float64 // of each odds, over the starts so far
}

func newConditional(tolerance float64) conditional {
	return conditional{tolerance: tolerance, starts: newStarts()}
}

// add takes the first failure of a unit. Without both variants in traffic it says nothing.
func (c *conditional) add(candidate bool, share float64) {
	if !(share > 0 && share < 1) {
		return
	}
	prior := c.starts.next()
	rest := 1 - share
	bound := share*c.tolerance + rest
	for i, o := range odds {
		var l float64 // an alternative within the tolerance bets nothing
		switch {
		case o <= c.tolerance:
			l = 1
		case candidate:
			l = o / c.tolerance * bound / (share*o + rest)
		default:
			l = bound / (share*o + rest)
		}
		c.ratio[i] = min((c.ratio[i]+prior)*l, most)
	}
}

// evidence is the e-process's value.
func (c *conditional) evidence() float64 {
	sum := 0.0
	for _, r := range c.ratio {
		sum += r
	}
	return sum/float64(len(odds)) + c.starts.left
}
