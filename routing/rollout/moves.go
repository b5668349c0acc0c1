package rollout

import (
	"fmt"
	"maps"
	"math"
	"time"
)

// to enters a phase, with a line in the log.
func (m *move) to(phase Phase, reason string, traces []string) {
	m.Phase, m.Reason, m.Actor, m.Since, m.Outage = phase, reason, m.actor, m.now, false
	m.note(reason, traces)
}

// note writes a line in the log.
func (m *move) note(text string, traces []string) {
	m.Log = append(m.Log, Entry{At: m.now, Text: text, Actor: m.actor, Traces: traces})
	m.Log = m.Log[max(0, len(m.Log)-maxLog):]
	m.Revision++
	m.changed = true
}

func (m *move) tell(event string, traces []string) {
	m.emit = append(m.emit, Effect{Kind: Emit, Name: event, Text: m.Reason, Traces: traces})
}

// restart begins a new epoch: what was measured does not count any more, and
// the step is held from the beginning.
func (m *move) restart() {
	m.Epoch++
	m.begin()
}

// begin holds a step from the beginning.
func (m *move) begin() {
	m.HeldMS, m.Guards, m.Units = 0, nil, nil
	m.Clock = Clock{TickedAt: m.now, FreshAt: m.now}
}

// remember keeps what undo goes back to.
func (m *move) remember() {
	m.Undo = append(m.Undo, Before{
		Phase: m.Phase, Step: m.Step, Reason: m.Reason, Weights: maps.Clone(m.Weights), HeldMS: m.HeldMS, Epoch: m.Epoch, Manual: m.Manual, Spoilt: m.Spoilt,
	})
	m.Undo = m.Undo[max(0, len(m.Undo)-maxUndo):]
}

// enter begins a step.
func (m *move) enter(step int, reason string) {
	if m.completes(step) {
		m.complete(reason)
		return
	}
	spec := m.plan.spec.Steps[step-1]
	m.Step = step
	m.Weights = m.plan.weights(spec.Percent)
	if m.Manual || m.Spoilt {
		m.Manual, m.Spoilt = false, false
		m.Epoch++
	}
	m.begin()
	m.to(PhaseProgressing, fmt.Sprintf("%s: step %d of %d, %s for %s", reason, step, m.Steps, percent(spec.Percent/100), m.To), nil)
	m.tell(EventAdvanced, nil)
}

// completes reports whether entering a step is completing the rollout.
func (m *move) completes(step int) bool {
	spec := m.plan.spec.Steps[step-1]
	return step == m.Steps && spec.Percent == 100 && spec.Duration == 0 && !spec.Wait
}

func (m *move) complete(reason string) {
	m.Step = m.Steps
	m.Weights = m.plan.weights(100)
	m.Manual, m.Spoilt = false, false
	guards, units := m.Guards, m.Units
	m.begin()
	m.Guards, m.Units = guards, units // what decided it stays to be read
	m.to(PhaseCompleted, reason+": completed, all traffic is on "+m.To, nil)
	m.tell(EventCompleted, nil)
}

// abort gives all traffic to stable, until a human acts. What the guards saw stays to be read.
func (m *move) abort(reason string, traces []string) {
	m.Weights = m.plan.weights(0)
	m.Manual, m.Spoilt = false, false
	m.to(PhaseAborted, reason, traces)
	m.tell(EventAborted, traces)
}

// pause keeps the weights. After a spoilt measurement resuming begins a new epoch.
func (m *move) pause(reason string, spoilt bool) {
	m.Spoilt = m.Spoilt || spoilt
	m.to(PhasePaused, reason, nil)
}

func (m *move) resume(reason string) {
	m.remember()
	switch {
	case m.Phase == PhaseAborted || m.Step == 0:
		m.Step, m.Manual, m.Spoilt = 0, false, false
		m.restart()
		m.to(PhasePending, because("resumed", reason), nil)
		if m.Unresolved == "" {
			m.enter(1, because("begun again", reason))
		}
	case m.Manual, m.Spoilt:
		m.enter(m.Step, because("resumed with new evidence", reason))
	default:
		m.Clock.TickedAt, m.Clock.FreshAt = m.now, m.now
		m.to(PhaseProgressing, because("resumed", reason), nil)
	}
}

// undo goes back to what was before the last decision. When that brings other
// weights back, or what was measured then is gone, it is measured anew.
func (m *move) undo(reason string) {
	last := len(m.Undo) - 1
	b := m.Undo[last]
	m.Undo = m.Undo[:last]
	moved := m.Step != b.Step || m.Epoch != b.Epoch || !maps.Equal(m.Weights, b.Weights)
	m.Step, m.Weights, m.HeldMS, m.Manual, m.Spoilt = b.Step, maps.Clone(b.Weights), b.HeldMS, b.Manual, b.Spoilt
	m.Clock.TickedAt, m.Clock.FreshAt = m.now, m.now
	if moved {
		m.restart()
	}
	m.to(b.Phase, because(fmt.Sprintf("undone: %s again, %s", b.Phase, words(b.Weights)), reason), nil)
}

// adopt begins a generation: the first one, or that of a changed spec.
func (m *move) adopt() {
	p := m.plan
	first := m.SpecHash == ""
	if m.Phase == PhaseCompleted && m.From == p.spec.From && m.To == p.spec.To {
		m.SpecHash, m.Target, m.Steps, m.Step = p.hash, p.target, len(p.spec.Steps), len(p.spec.Steps)
		m.Weights = p.kept(m.Weights)
		m.note("the spec was changed; the rollout stays completed", nil)
		return
	}
	another := m.Target != p.target || m.To != p.spec.To
	m.Generation++
	m.SpecHash, m.From, m.To, m.Target, m.Steps, m.Step = p.hash, p.spec.From, p.spec.To, p.target, len(p.spec.Steps), 0
	m.Undo, m.Served, m.Manual, m.Spoilt = nil, nil, false, false
	m.Unresolved = "the prompts were not looked up yet"
	switch {
	case len(m.Weights) == 0:
		m.Weights = p.weights(0)
	default:
		m.Weights = p.kept(m.Weights)
		if another {
			m.withdraw()
		}
	}
	m.restart()
	if first {
		m.to(PhasePending, "waiting for the prompts", nil)
		return
	}
	m.to(PhasePending, fmt.Sprintf("the spec was changed: generation %d, %s", m.Generation, words(m.Weights)), nil)
}

// fit makes a status that was stored one of this route: variants that take no
// part in the rollout come and go without a new generation. What was stored may
// have been edited by hand.
func (m *move) fit() {
	m.Steps = len(m.plan.spec.Steps)
	if m.running() && (m.Step < 1 || m.Step > m.Steps) {
		m.Step = 0
		m.restart()
		m.to(PhasePending, "what was stored is at no step: it begins again", nil)
	}
	m.Step = max(0, min(m.Step, m.Steps))
	m.From, m.To = m.plan.spec.From, m.plan.spec.To
	if !m.plan.fits(m.Weights) {
		m.Weights = m.plan.kept(m.Weights)
		m.note("the route has other variants now: "+words(m.Weights), nil)
	}
}

// withdraw gives stable the weight of a candidate of which nothing was ever
// measured: what it had was another's.
func (m *move) withdraw() {
	m.Weights[m.From] = math.Round(100*(m.Weights[m.From]+m.Weights[m.To])) / 100
	m.Weights[m.To] = 0
}

// prompts notes whether the variants' prompts resolve, and to what.
func (m *move) prompts(problem string, served map[string]string) {
	if m.Unresolved != problem {
		m.Unresolved = problem
		m.changed = true
		if problem != "" && m.running() {
			m.remember()
			m.pause("the prompts do not resolve any more: "+problem, false)
		}
		switch {
		case m.Phase == PhasePending && problem != "":
			m.Reason = problem
		case m.Phase == PhasePending:
			m.Reason = "the prompts are there: it begins"
		case m.Phase == PhasePaused && problem == "":
			m.Reason = "the prompts resolve again; resume to go on"
		}
	}
	if problem != "" || maps.Equal(served, m.Served) {
		return
	}
	before := m.Served
	m.Served = maps.Clone(served)
	m.changed = true
	for _, variant := range []string{m.To, m.From} {
		if was, known := before[variant]; known && was != served[variant] {
			m.moved(variant, fmt.Sprintf("%s, before %s", orElse(served[variant], "no prompt"), orElse(was, "no prompt")))
		}
	}
}

// moved is told when a variant answers with something else than before. A
// candidate that is another one begins again; when stable is, somebody has to
// say whether the comparison is still the one that was wanted.
func (m *move) moved(variant, reason string) {
	if m.Phase == PhaseCompleted || m.Phase == PhaseAborted || m.Phase == PhasePending {
		return
	}
	if variant == m.To && !m.Manual {
		m.Undo = nil
		m.Generation++
		m.Step, m.Spoilt = 0, false
		m.withdraw()
		m.restart()
		if m.Phase == PhasePaused { // whoever paused it is asked
			m.to(PhasePaused, because(fmt.Sprintf("%s answers with something else now: generation %d begins when it is resumed", variant, m.Generation), reason), nil)
			return
		}
		m.to(PhasePending, because(fmt.Sprintf("%s answers with something else now: generation %d", variant, m.Generation), reason), nil)
		return
	}
	m.restart()
	if m.Phase != PhasePaused {
		m.remember()
	}
	m.pause(because(variant+" answers with something else now; resume to go on", reason), true)
}

// Retire ends a rollout whose declaration is gone. Its log is kept, and its
// epoch, which never comes back; declared again, it begins anew.
func Retire(s Status, now time.Time) Status {
	m := move{Status: s.clone(), now: now.UTC().Truncate(time.Millisecond)}
	m.Step, m.Steps, m.SpecHash, m.Target, m.Weights, m.Served, m.Undo = 0, 0, "", "", nil, nil, nil
	m.Manual, m.Spoilt, m.Unresolved = false, false, ""
	m.restart()
	m.to(PhaseNone, "the rollout was taken out of the configuration", nil)
	return m.Status
}
