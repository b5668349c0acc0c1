package rollout

// rates are the alternatives of the one-sample test.
var rates = [...]float64{0.05, 0.10, 0.25, 0.50, 0.999}

const (
	// aloneAbove is the share from which on the candidate is also tested alone.
	aloneAbove = 0.5
	// aloneLevel is the part of α that is this test's; the rest is the
	// conditional one's, which is the slower to decide. Together they are α.
	aloneLevel = 0.25
	// Below baseFloor no failure rate is worth an abort without a control,
	// nor below baseSlack times what stable's may be.
	baseFloor = 0.02
	baseSlack = 1.5
	// Of a stable that was hardly measured nothing is known but that it is in use.
	baseUnknown  = 0.5
	baseMost     = 0.9
	baseLevel    = 0.01
	baseRequests = 20
)

// alone tests the candidate's outcomes against a fixed rate, for the time when
// there is hardly a control: an e-process over requests, averaged over rates and
// over start times as conditional is. Each bound is set before the outcome it judges.
type alone struct {
	starts starts
	ratio  [len(rates)]float64
	runs   [len(rates)]run
}

// run is what happened since a fault at one rate most likely began: where its
// likelihood ratio was lowest (Page's CUSUM, 1954).
type run struct {
	score              float64
	requests, failures [2]int64
}

func newAlone() alone { return alone{starts: newStarts()} }

func (a *alone) add(failed bool, bound float64) {
	prior := a.starts.next()
	for i, q := range rates {
		l := 1.0
		switch {
		case q <= bound:
		case failed:
			l = q / bound
		default:
			l = (1 - q) / (1 - bound)
		}
		a.ratio[i] = min((a.ratio[i]+prior)*l, most)
		r := &a.runs[i]
		if r.score = min(r.score*l, most); r.score <= 1 {
			*r = run{score: 1}
			if !failed {
				continue
			}
			r.score = l
		}
		r.count(candidate, failed)
	}
}

// control takes an outcome of stable.
func (a *alone) control(failed bool) {
	for i := range a.runs {
		a.runs[i].count(stable, failed)
	}
}

func (r *run) count(variant int, failed bool) {
	r.requests[variant]++
	if failed {
		r.failures[variant]++
	}
}

func (a *alone) evidence() float64 {
	sum := 0.0
	for _, r := range a.ratio {
		sum += r
	}
	return sum/float64(len(rates)) + a.starts.left
}

// shared reports whether stable has failed too, at least half as often, since
// the candidate's fault most likely began.
func (a *alone) shared() bool {
	r := &a.runs[a.best()]
	n, f := r.requests, r.failures
	return f[stable] > 0 && 2*f[stable]*n[candidate] >= f[candidate]*n[stable]
}

// rate is how often the candidate has failed since its fault most likely began.
func (a *alone) rate() float64 {
	r := &a.runs[a.best()]
	return float64(r.failures[candidate]) / float64(max(r.requests[candidate], 1))
}

// best is the rate that fits best.
func (a *alone) best() int {
	best := 0
	for i := range a.ratio {
		if a.ratio[i] > a.ratio[best] {
			best = i
		}
	}
	return best
}
