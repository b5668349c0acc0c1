package rollout

import "math/bits"

// The variants, as indices.
const (
	stable    = 0
	candidate = 1
)

const (
	maxKinds  = 8
	maxTraces = 8
	// maxText bounds the kinds and trace ids that are kept.
	maxText = 64
)

// failures judges one kind of event that must not become more frequent: what
// the guards errors and format watch. A unit counts until its first failure and
// that failure once: five failures of one broken session are not five pieces
// of evidence. It is updated with each outcome; the e-processes are never
// looked at again, so a crossing is kept.
type failures struct {
	limit float64 // of evidence: 1/α

	failed      units
	strata      strata
	conditional conditional
	alone       alone
	recent      recent
	verdict     verdict

	base    float64 // the bound of the one-sample test; 0: to be made
	baseOf  int64   // stable's requests when it was made
	baseNew int64   // those since then

	kinds  [maxKinds]kind // of the candidate's failures
	traces [maxTraces]string
	traced int
}

type kind struct {
	name string
	n    int64
}

// verdict is what continuous watching has come to.
type verdict uint8

const (
	open   verdict = iota
	worse          // the candidate fails more often than stable
	broken         // the candidate fails, with hardly a control
	outage         // both fail
)

func newFailures(tolerance, alpha float64) *failures {
	return &failures{limit: 1 / alpha, conditional: newConditional(tolerance), alone: newAlone()}
}

// add takes an outcome and reports whether it decided something.
func (f *failures) add(o *Outcome, bad bool) (decided bool) {
	found, sampled := f.failed.has(o.Unit)
	if found || !sampled {
		return false
	}
	v := stable
	if o.Candidate {
		v = candidate
	}
	s := f.strata.of(o.Share)
	seen := s.seen()
	s.requests[v]++
	f.recent.add(v, bad)
	if bad {
		s.failures[v]++
		f.failed.add(o.Unit)
		f.conditional.add(o.Candidate, seen)
		f.remember(o)
	}
	if v == stable {
		f.alone.control(bad)
		if f.baseNew++; bad || f.baseNew > 8+f.baseOf/16 {
			f.base = 0
		}
	} else if o.Share > aloneAbove {
		f.alone.add(bad, f.bound())
	}
	return bad && f.judge(o.Share)
}

// judge looks whether a limit has been reached. An outage is not the last word:
// when stable recovers from it and the candidate does not, the candidate is broken.
func (f *failures) judge(share float64) bool {
	before := f.verdict
	switch {
	case before != open && before != outage:
	case f.conditional.evidence()*(1-aloneLevel) >= f.limit:
		f.verdict = worse
	case f.alone.evidence()*aloneLevel >= f.limit && (share >= 1 || !f.alone.shared()):
		f.verdict = broken
	case f.alone.evidence()*aloneLevel >= f.limit, f.recent.outage():
		f.verdict = outage
	}
	return f.verdict != before
}

// bound is what the candidate alone may fail, made again now and then.
func (f *failures) bound() float64 {
	if f.base == 0 {
		_, requests := f.strata.total(stable)
		f.base, f.baseOf, f.baseNew = f.normal(), int64(requests), 0
	}
	return f.base
}

// normal is the highest failure rate that stable makes no reason for an abort.
func (f *failures) normal() float64 {
	failed, requests := f.strata.total(stable)
	if requests < baseRequests {
		return baseUnknown
	}
	return min(max(baseFloor, baseSlack*rare.upper(failed, requests, baseLevel)), baseMost)
}

func (f *failures) remember(o *Outcome) {
	if !o.Candidate {
		return
	}
	f.traces[f.traced%maxTraces] = clip(o.Trace)
	f.traced++
	name := clip(o.Kind)
	for i := range f.kinds {
		k := &f.kinds[i]
		if k.n == 0 {
			k.name = name
		}
		if k.name == name || i == maxKinds-1 {
			k.n++
			return
		}
	}
}

func clip(s string) string { return s[:min(len(s), maxText)] }

// lastTraces are the latest of the candidate's failures, newest first.
func (f *failures) lastTraces() []string {
	var out []string
	for i := f.traced - 1; i >= 0 && i >= f.traced-maxTraces; i-- {
		if t := f.traces[i%maxTraces]; t != "" {
			out = append(out, t)
		}
	}
	return out
}

// leftAlone is the kind of a request that was not sent because so many before had
// failed. It says nothing of why they did.
const leftAlone = "circuit_open"

// commonest is the kind that most of the candidate's failures were of.
func (f *failures) commonest() string {
	best := kind{}
	for _, k := range f.kinds {
		if k.n > best.n && k.name != leftAlone || best.n == 0 {
			best = k
		}
	}
	return best.name
}

// recent remembers whether the last outcomes of each variant failed.
type recent struct {
	failed [2]uint32 // the newest in the lowest bit
	seen   [2]uint8  // of these, at most outageOf
}

// outageOf is of how many last outcomes of each variant half must have failed
// for an outage of both.
const outageOf = 20

func (r *recent) add(v int, bad bool) {
	r.failed[v] <<= 1
	if bad {
		r.failed[v] |= 1
	}
	r.seen[v] = min(r.seen[v]+1, outageOf)
}

// outage reports whether both variants are failing half of their requests.
func (r *recent) outage() bool {
	for v := range r.failed {
		if r.seen[v] < outageOf || 2*bits.OnesCount32(r.failed[v]&(1<<outageOf-1)) < outageOf {
			return false
		}
	}
	return true
}
