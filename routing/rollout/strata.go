package rollout

import "math"

// stratum counts under one share: requests of units up to their first failure,
// and those failures.
type stratum struct {
	share    float64
	requests [2]int64 // of stable, of the candidate
	failures [2]int64
}

// seen is the share of the candidate among the outcomes that are to be
// expected next: that of the assignment, or what it clearly was so far when that is more. A stable
// that takes long to answer is behind with its failures after each step; until
// they come, the candidate's alone are no evidence. A higher share than the
// true one only makes the conditional test more careful.
func (s *stratum) seen() float64 {
	mine := float64(s.requests[candidate])
	n := mine + float64(s.requests[stable])
	if n == 0 {
		return s.share
	}
	return max(s.share, (mine-2*math.Sqrt(n*s.share*(1-s.share)))/n)
}

// maxStrata bounds how many shares are told apart. Of more, the oldest are added up.
const maxStrata = 64

// strata keeps what was measured under different shares apart: what was added
// up would take a bad hour before a step for a fault of the variant that had
// more of the traffic then.
type strata []stratum

// of is where outcomes of units assigned with a share are counted. A share
// that comes back after others continues its own.
func (s *strata) of(share float64) *stratum {
	for i := len(*s) - 1; i >= 0; i-- {
		if (*s)[i].share == share {
			return &(*s)[i]
		}
	}
	if len(*s) < maxStrata {
		*s = append(*s, stratum{share: share})
		return &(*s)[len(*s)-1]
	}
	old := (*s)[0]
	copy(*s, (*s)[1:])
	(*s)[maxStrata-1] = stratum{share: share}
	for v := range old.requests {
		(*s)[0].requests[v] += old.requests[v]
		(*s)[0].failures[v] += old.failures[v]
	}
	return &(*s)[maxStrata-1]
}

// under is what was counted of the candidate under a share.
func (s strata) under(share float64) (failures, requests float64) {
	for i := range s {
		if s[i].share == share {
			return float64(s[i].failures[candidate]), float64(s[i].requests[candidate])
		}
	}
	return 0, 0
}

// total is all that was counted of a variant.
func (s strata) total(variant int) (failures, requests float64) {
	for i := range s {
		failures += float64(s[i].failures[variant])
		requests += float64(s[i].requests[variant])
	}
	return failures, requests
}

// control is what stable's failures would have been at the times when the
// candidate was in traffic: each share's rate, weighted by the candidate's
// requests under it, with the number of requests that an estimate as uncertain
// as this one would have without weights. Shares under which stable had no
// requests say nothing of it.
func (s strata) control() (failures, requests float64) {
	all := 0.0
	for i := range s {
		if s[i].requests[stable] > 0 {
			all += float64(s[i].requests[candidate])
		}
	}
	if all == 0 {
		return s.total(stable)
	}
	rate, spread := 0.0, 0.0
	for i := range s {
		n := float64(s[i].requests[stable])
		if n == 0 {
			continue
		}
		w := float64(s[i].requests[candidate]) / all
		rate += w * float64(s[i].failures[stable]) / n
		spread += w * w / n
	}
	return rate / spread, 1 / spread
}
