package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// minUnits is how many distinct units each variant must have in a step.
	minUnits = 20
	// maxGap is the longest time between two ticks that counts as time in which the controller ran.
	maxGap = 30 * time.Second
	// freshFor is how long after the candidate's last outcome the data are fresh.
	freshFor = 10 * time.Minute
)

// Step decides what becomes of a rollout when something happens. It is a pure
// function: the evidence is only read, and must not change meanwhile. The
// status it is given is not changed. The first status of all is the zero value.
func Step(s Status, p *Plan, e *Evidence, ev Event, now time.Time) (Status, []Effect) {
	if ev.ID != "" && slices.Contains(s.Applied, ev.ID) {
		return s, nil
	}
	m := move{Status: s.clone(), plan: p, evidence: e, now: now.UTC().Truncate(time.Millisecond), actor: ev.Actor}
	if m.SpecHash != p.hash {
		m.adopt()
	} else {
		m.fit()
	}
	if Check(&m.Status, p, ev) == nil {
		m.take(ev)
		if ev.ID != "" {
			m.Applied = append(m.Applied, ev.ID)
			m.Applied = m.Applied[max(0, len(m.Applied)-maxApplied):]
			m.changed = true
		}
	}
	return m.Status, m.effects(&s, ev.Kind == Load)
}

// move is a step in the making.
type move struct {
	Status
	plan     *Plan
	evidence *Evidence
	now      time.Time
	actor    string
	changed  bool // something was decided
	emit     []Effect
	found    []string // what the guards have found, in words
}

// effects compares the status with the one before.
func (m *move) effects(before *Status, load bool) []Effect {
	var out []Effect
	persist, apply := Effect{Kind: Persist}, Effect{Kind: Apply, Weights: maps.Clone(m.Weights)}
	moved := !maps.Equal(before.Weights, m.Weights) || before.Mark() != m.Mark()
	switch {
	case moved && m.Weights[m.To] <= before.Weights[m.To]:
		out = append(out, apply, persist)
	case moved:
		out = append(out, persist, apply)
	case load && m.changed:
		out = append(out, apply, persist)
	case load:
		out = append(out, apply)
	case m.changed:
		out = append(out, persist)
	}
	return append(out, m.emit...)
}

func (m *move) running() bool { return m.Phase == PhaseProgressing || m.Phase == PhaseInconclusive }

func (m *move) take(ev Event) {
	switch ev.Kind {
	case Tick:
		m.tick(ev.Blocked)
	case Decided:
		m.decided()
	case Prompts:
		m.prompts(ev.Reason, ev.Served)
	case Stale:
		if m.running() {
			m.pause("the measurement is not to be trusted: "+ev.Reason, true)
		}
	case Promote:
		m.remember()
		if ev.Full || m.Step >= m.Steps {
			m.complete(because("promoted to the end", ev.Reason))
			return
		}
		m.enter(m.Step+1, because("promoted", ev.Reason))
	case Pause:
		m.remember()
		m.pause(because("paused", ev.Reason), false)
	case Resume:
		m.resume(ev.Reason)
	case Abort:
		m.remember()
		m.abort(because("aborted by an operator", ev.Reason), nil)
	case Undo:
		m.undo(ev.Reason)
	case SetWeights:
		m.remember()
		m.Weights = maps.Clone(ev.Weights)
		m.Manual, m.Spoilt = true, false
		m.restart()
		m.to(PhasePaused, because("weights set by hand: "+words(ev.Weights), ev.Reason), nil)
	}
}

func because(what, reason string) string {
	if reason == "" {
		return what
	}
	return what + ": " + reason
}

func words(weights map[string]float64) string {
	var each []string
	for _, v := range slices.Sorted(maps.Keys(weights)) {
		each = append(each, v+" "+percent(weights[v]/100))
	}
	return strings.Join(each, ", ")
}

// tick lets time pass.
func (m *move) tick(blocked string) {
	gap := m.now.Sub(m.Clock.TickedAt)
	m.Clock.TickedAt = m.now
	if gap < 0 || gap > maxGap {
		gap = 0
	}
	switch {
	case m.Phase == PhasePending && m.Unresolved == "":
		m.remember()
		m.enter(1, "started")
	case m.Phase == PhasePending:
		m.Reason = m.Unresolved
	case m.running():
		m.look(gap, blocked)
	case m.watched() && m.measured():
		m.judge(m.plan.Judge(m.evidence))
	}
}

// decided acts on evidence that an outcome has completed. It never promotes.
func (m *move) decided() {
	if (m.running() || m.watched()) && m.measured() {
		m.judge(m.plan.decided(m.evidence))
	}
}

// watched reports whether a paused rollout is aborted when a guard fails:
// unless the weights are an operator's, or the evidence is not to be trusted.
func (m *move) watched() bool {
	return m.Phase == PhasePaused && !m.Manual && (!m.Spoilt || m.Outage) && m.Step > 0
}

// measured reports whether the evidence is of this status.
func (m *move) measured() bool { return m.evidence != nil && m.evidence.mark == m.Mark() }

// judge acts on guards that fail or err, and reports whether the rollout goes on.
func (m *move) judge(guards []GuardStatus) bool {
	m.Guards, m.found = make([]GuardStatus, len(guards)), nil
	for i, g := range guards {
		m.found = append(m.found, g.words)
		g.words, g.traces = "", nil
		m.Guards[i] = g
	}
	s, c := m.evidence.Units()
	m.Units = map[string]int{m.From: s, m.To: c}
	for _, g := range guards {
		if g.Outcome == Fail {
			m.remember()
			m.abort(fmt.Sprintf("aborted at %s: %s", percent(m.Share()), g.words), g.traces)
			return false
		}
	}
	if !m.running() {
		return false
	}
	for _, g := range guards {
		if g.Outcome == Error {
			m.remember()
			m.pause(fmt.Sprintf("guard %s cannot judge: %s", g.Name, g.words), true)
			m.Outage = true
			return false
		}
	}
	if m.evidence.mismatched() {
		m.remember()
		m.pause(fmt.Sprintf("the units do not fall on the variants as the weights say: %d on %s and %d on %s, at %s", s, m.From, c, m.To, percent(m.Share())), true)
		return false
	}
	return true
}

// look is what a running rollout does now and then: hold, go on, or say what is missing.
func (m *move) look(gap time.Duration, blocked string) {
	if !m.measured() {
		m.Reason = "nothing was measured under these weights yet"
		return
	}
	if !m.judge(m.plan.Judge(m.evidence)) {
		return
	}
	step := m.plan.spec.Steps[m.Step-1]
	if n := m.evidence.steps[candidate].outcomes; n != m.Clock.FreshOutcomes {
		m.Clock.FreshOutcomes, m.Clock.FreshAt = n, m.now
	}
	stale := m.now.Sub(m.Clock.FreshAt)
	fresh := stale >= 0 && stale <= freshFor
	if fresh {
		m.HeldMS += gap.Milliseconds()
	}
	m.Clock.RanMS += gap.Milliseconds()

	missing := m.missing(step, fresh)
	left := time.Duration(step.Duration) - time.Duration(m.HeldMS)*time.Millisecond
	over := m.Clock.RanMS >= time.Duration(step.Duration).Milliseconds() && (step.Duration > 0 || !fresh)
	at := percent(m.Share())
	switch {
	case missing != "" && over:
		if m.Phase != PhaseInconclusive {
			m.to(PhaseInconclusive, fmt.Sprintf("held at %s: %s", at, missing), nil)
			m.tell(EventInconclusive, nil)
		}
		m.Reason = fmt.Sprintf("held at %s: %s", at, missing)
	case missing != "":
		m.Reason = fmt.Sprintf("held at %s: %s", at, missing)
	case left > 0:
		m.Reason = fmt.Sprintf("held at %s: %s left", at, left.Round(time.Second))
	case step.Wait:
		m.Reason = fmt.Sprintf("held at %s: waiting for an operator to promote", at)
	case blocked != "" && (m.Step == m.Steps || m.completes(m.Step+1)):
		m.Reason = fmt.Sprintf("held at %s: %s", at, blocked)
	case m.Step == m.Steps:
		m.remember()
		m.complete(m.passed(at))
	default:
		m.remember()
		m.enter(m.Step+1, m.passed(at))
	}
}

// passed says why a step is over, with what the guards have found.
func (m *move) passed(at string) string {
	if len(m.Guards) == 0 {
		return at + " was held"
	}
	return fmt.Sprintf("all guards pass at %s (%s)", at, strings.Join(m.found, "; "))
}

// missing says what the step still needs before it may end, but time.
func (m *move) missing(step StepSpec, fresh bool) string {
	s, c := m.Units[m.From], m.Units[m.To]
	need := max(step.MinRequests, minUnits)
	switch {
	case c == 0:
		return "no candidate requests"
	case c < need:
		return fmt.Sprintf("%d more candidate units needed", need-c)
	case s < minUnits && m.Share() < 1:
		return fmt.Sprintf("%d more units of %s needed", minUnits-s, m.From)
	}
	var each []string
	for _, g := range m.Guards {
		if g.Outcome != Pass {
			each = append(each, g.Name+" needs "+orElse(g.Needed, "more evidence"))
		}
	}
	if len(each) > 0 {
		return strings.Join(each, "; ")
	}
	if !fresh {
		return fmt.Sprintf("no candidate requests for %s", freshFor)
	}
	return ""
}
