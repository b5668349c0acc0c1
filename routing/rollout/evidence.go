package rollout

// Outcome is what became of one request whose variant was drawn by weight: of
// the variant assigned, after its own retries and before any fallback to
// another. Requests placed otherwise (later turns of a conversation, pinned
// prompts, unrecognised ones, direct calls, shadow, repeats by the client's
// SDK), and those that the client cancelled or we refused, are not outcomes.
type Outcome struct {
	// Which epoch, and which share of the two variants' traffic for the candidate (0–1), was in force when it was drawn.
	Epoch int
	Share float64
	// Whether the candidate was drawn; else stable was.
	Candidate bool
	// A hash of the unit.
	Unit uint64
	// Whether it failed, and how: an error class.
	Failed bool
	Kind   string
	// Whether the answer keeps to the format that the request declares. Breaking it is a failure too.
	Format Format
	// Seconds. TTFT is NaN for what is not streamed, +Inf for a stream that ended before its first content.
	Latency, TTFT float64
	// US dollars; NaN: unknown.
	Cost float64
	// The trace's id.
	Trace string
}

// Format is how an answer stands to the format (a JSON schema) that its request declares.
type Format uint8

// The formats.
const (
	NoFormat Format = iota // none is declared
	FormatKept
	FormatBroken
)

// Mark says what evidence is about. Evidence with another mark than the
// status's is no evidence for it.
type Mark struct {
	Epoch int
	Step  int
	// Share is the candidate's of the traffic of the two variants, 0–1.
	Share float64
}

// Evidence is what was measured in one epoch of a rollout: failures over the
// whole epoch, units, times, costs and scores in the current step. Its size is bounded (see
// units and histogram): about 1.5 MB at most, however many units there are.
//
// It is not safe for concurrent use: whoever owns it holds one lock around
// every method, and around Step while it reads it. Observe and Draw take well
// under a microsecond and allocate only while their tables grow.
type Evidence struct {
	mark   Mark
	errors *failures
	format *failures // nil without the guard
	steps  [2]measured
	// limit is the cost that larger ones are cut to; 0: stable is not yet known well enough.
	limit float64
	// judged is what judge found in it as it is now; without a judge nobody has looked.
	judge  *Plan
	judged []GuardStatus
}

// measured is what one variant did in a step. Each unit counts once, with its
// first request.
type measured struct {
	outcomes int64
	units    units // drawn; marked: with an outcome
	latency  histogram
	ttft     histogram
	cost     histogram
	unknown  int // units without a known cost
	scored   units
	score    histogram
}

func newMeasured() measured { return measured{score: histogram{linear: true}} }

// NewEvidence is empty evidence for the plan.
func (p *Plan) NewEvidence() *Evidence {
	e := new(Evidence)
	e.reset(p)
	return e
}

func (e *Evidence) reset(p *Plan) {
	*e = Evidence{errors: newFailures(p.errors.tolerance, p.alpha), steps: [2]measured{newMeasured(), newMeasured()}}
	if p.format != nil {
		e.format = newFailures(p.format.tolerance, p.alpha)
	}
}

// Mark is what the evidence is about.
func (e *Evidence) Mark() Mark { return e.mark }

// Enter makes the evidence that of a status: with another epoch everything
// begins anew, with another step or share what is measured in steps does. It
// belongs to putting weights in force, and changes nothing when called again.
func (e *Evidence) Enter(p *Plan, m Mark) {
	if m == e.mark {
		return
	}
	if m.Epoch != e.mark.Epoch {
		e.reset(p)
	}
	e.mark, e.judge, e.judged = m, nil, nil
	before := e.steps[stable]
	e.steps = [2]measured{newMeasured(), newMeasured()}
	if m.Share >= 1 { // there will be no other control
		e.steps[stable] = before
	}
}

// Draw notes that a request's variant was drawn, before its outcome is known:
// whether units fall on the variants as the share says is tested on these, as
// a slow variant's outcomes come late.
func (e *Evidence) Draw(epoch int, share float64, toCandidate bool, unit uint64) {
	if epoch == e.mark.Epoch && share == e.mark.Share {
		e.steps[index(toCandidate)].units.add(unit)
	}
}

func index(toCandidate bool) int {
	if toCandidate {
		return candidate
	}
	return stable
}

// Observe takes an outcome, and reports whether it decided something: then
// Step is to be called at once, with the event Decided.
func (e *Evidence) Observe(o *Outcome) (decided bool) {
	if o.Epoch != e.mark.Epoch || !(o.Share >= 0 && o.Share <= 1) {
		return false
	}
	e.judge = nil
	failed := o.Failed || o.Format == FormatBroken
	decided = e.errors.add(o, failed)
	if e.format != nil && !o.Failed && o.Format != NoFormat && e.format.add(o, o.Format == FormatBroken) {
		decided = true
	}
	if o.Share != e.mark.Share {
		return decided // drawn before this step
	}
	m := &e.steps[index(o.Candidate)]
	m.outcomes++
	if !m.units.mark(o.Unit) {
		return decided
	}
	latency := o.Latency
	if failed {
		latency = infinity
	}
	m.latency.add(latency)
	m.ttft.add(o.TTFT)
	switch {
	case o.Failed: // a failure's cost says nothing of what an answer costs
	case o.Cost >= 0 && o.Cost < infinity:
		m.cost.add(o.Cost)
	default:
		m.unknown++
	}
	if m.cost.n == limitAfter && !o.Candidate && e.limit == 0 {
		e.limit = m.cost.quantile(limitQuantile)
	}
	return decided
}

// Score takes a score in [0,1] of an answer, of a judge or of a comparison
// with stable's; one a unit a step.
func (e *Evidence) Score(epoch int, share float64, ofCandidate bool, unit uint64, value float64) {
	if epoch != e.mark.Epoch || share != e.mark.Share || !(value >= 0 && value <= 1) {
		return
	}
	e.judge = nil
	if m := &e.steps[index(ofCandidate)]; m.scored.add(unit) {
		m.score.add(value)
	}
}

// Units is about how many units of each variant have an outcome in this step.
func (e *Evidence) Units() (ofStable, ofCandidate int) {
	return e.steps[stable].units.countMarked(), e.steps[candidate].units.countMarked()
}

// mismatched reports whether units fall on the variants otherwise than the
// share says.
func (e *Evidence) mismatched() bool {
	s, c := &e.steps[stable].units, &e.steps[candidate].units
	level := max(s.level, c.level)
	return mismatch(c.countWithin(level), s.countWithin(level), e.mark.Share)
}
