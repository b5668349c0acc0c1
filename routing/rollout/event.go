package rollout

import "fmt"

// EventKind is what happened.
type EventKind string

const (
	// Load: the status was read from the store, or the configuration was. It
	// begins a rollout, a new generation when the spec has changed, and puts the weights in force.
	Load EventKind = "load"
	// Tick: time has passed. To be sent every second or so.
	Tick EventKind = "tick"
	// Decided: Observe has returned true.
	Decided EventKind = "decided"
	// Prompts: the variants' prompts were looked up. Reason says why they do not resolve; else Served says what to.
	// A candidate that answers with something else than before begins again; when stable does, the rollout pauses.
	Prompts EventKind = "prompts"
	// Stale: the measurement is not to be trusted; Reason says why.
	Stale EventKind = "stale"

	// What operators do.
	Promote    EventKind = "promote"
	Pause      EventKind = "pause"
	Resume     EventKind = "resume"
	Abort      EventKind = "abort"
	Undo       EventKind = "undo"
	SetWeights EventKind = "weights"
)

// Event is something that happened to a rollout.
type Event struct {
	Kind EventKind
	// ID makes the event happen once, however often it is sent; empty: each time.
	ID     string
	Reason string
	Actor  string
	// Full promotes to the end instead of to the next step.
	Full bool
	// Weights of every variant, checked by the caller to be of the route and to sum to 100.
	Weights map[string]float64
	// Served are the prompt versions that the variants answer with, by variant, such as "sentiment/2".
	Served map[string]string
	// Blocked says, with Tick, what keeps the rollout from completing, if anything does.
	Blocked string
}

// EffectKind is what is to be done.
type EffectKind string

const (
	// Persist: store the status by compare-and-swap. When another has stored one
	// meanwhile, the rest of the effects and the status are to be forgotten, unless they were applied already.
	Persist EffectKind = "persist"
	// Apply: put Weights in force for the next request, and call Evidence.Enter
	// with the status's mark, under the evidence's lock.
	Apply EffectKind = "apply"
	// Emit: tell the world, as Name with Text.
	Emit EffectKind = "emit"
)

// The events that are emitted.
const (
	EventAdvanced     = "llm_rollout_advanced"
	EventAborted      = "llm_rollout_aborted"
	EventCompleted    = "llm_rollout_completed"
	EventInconclusive = "llm_rollout_inconclusive"
)

// Effect is to be done in the order given: weights that move toward the
// candidate are persisted before they are applied; those that move toward stable
// are applied at once, and persisted then, which is tried again until it succeeds.
type Effect struct {
	Kind    EffectKind
	Weights map[string]float64
	Name    string
	Text    string
	Traces  []string
}

// Check says why an operator's event cannot be: Step ignores such an event.
func Check(s *Status, p *Plan, ev Event) error {
	running := s.Phase == PhaseProgressing || s.Phase == PhaseInconclusive
	switch ev.Kind {
	case Promote:
		switch {
		case s.Phase == PhaseCompleted:
			return fmt.Errorf("the rollout is completed")
		case s.Phase == PhaseAborted:
			return fmt.Errorf("the rollout was aborted; resume begins it again")
		case s.Unresolved != "":
			return fmt.Errorf("the prompts do not resolve: %s", s.Unresolved)
		}
	case Pause:
		if !running && s.Phase != PhasePending {
			return fmt.Errorf("the rollout is %s", s.Phase)
		}
	case Resume:
		switch {
		case s.Phase != PhasePaused && s.Phase != PhaseAborted:
			return fmt.Errorf("the rollout is %s", s.Phase)
		case s.Unresolved != "" && s.Step > 0:
			return fmt.Errorf("the prompts do not resolve: %s", s.Unresolved)
		}
	case Abort:
		if s.Phase == PhaseAborted {
			return fmt.Errorf("the rollout was aborted already")
		}
	case Undo:
		if len(s.Undo) == 0 {
			return fmt.Errorf("there is nothing to undo")
		}
		switch b := &s.Undo[len(s.Undo)-1]; {
		case !p.fits(b.Weights):
			return fmt.Errorf("the route has other variants now")
		case s.Unresolved != "" && (b.Phase == PhaseProgressing || b.Phase == PhaseInconclusive):
			return fmt.Errorf("the prompts do not resolve: %s", s.Unresolved)
		}
	case SetWeights:
		if !p.fits(ev.Weights) {
			return fmt.Errorf("weights want every variant of the route by its name")
		}
	}
	return nil
}
