package rollout

import (
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"pgregory.net/rapid"
)

// machine is a controller whose process may die after any effect.
type machine struct {
	plan     *Plan
	status   Status
	evidence *Evidence
	now      time.Time
	n        int

	stored   []byte             // the store
	applied  map[string]float64 // the weights of the request path
	measured bool               // since the last decision, new outcomes came in
}

func (m *machine) process(s Status, ev Event, die int) (Status, []Effect) {
	status, effects := Step(s, m.plan, m.evidence, ev, m.now)
	for i, e := range effects {
		if i == die {
			break
		}
		switch e.Kind {
		case Persist:
			m.stored, _ = json.Marshal(status)
		case Apply:
			m.applied = e.Weights
			m.evidence.Enter(m.plan, status.Mark())
		}
	}
	return status, effects
}

func (m *machine) load(t *rapid.T) Status {
	var s Status
	if m.stored != nil {
		if err := json.Unmarshal(m.stored, &s); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// do steps twice: once to the end, once dying on the way and beginning again
// from what is stored. Both must come to the same.
func (m *machine) do(t *rapid.T, ev Event) {
	m.n++
	ev.ID = fmt.Sprint(m.n)
	before := m.status
	evidence, _ := m.evidence.AppendBinary(nil)
	stored, applied := m.stored, m.applied

	// What is stored every few seconds is stored now, so that the two can be compared.
	m.stored, _ = json.Marshal(before)
	straight, effects := m.process(before, ev, -1)
	weights := m.applied

	m.stored, m.applied = stored, applied
	if m.stored != nil {
		m.stored, _ = json.Marshal(before)
	}
	m.evidence, _ = m.plan.DecodeEvidence(evidence)
	if len(effects) > 0 {
		m.process(before, ev, rapid.IntRange(0, len(effects)).Draw(t, "dies after"))
	}
	again, _ := m.process(m.load(t), Event{Kind: Load}, -1)
	again, _ = m.process(again, ev, -1)
	once, none := m.process(again, ev, -1)
	if !reflect.DeepEqual(once, again) || len(none) > 0 {
		t.Fatalf("%s twice: %+v, and %+v", ev.Kind, again, once)
	}
	if a, b := essence(straight), essence(again); a != b {
		t.Fatalf("%s: %s, and after a crash %s", ev.Kind, a, b)
	}
	if !reflect.DeepEqual(weights, m.applied) {
		t.Fatalf("%s: %v in force, and after a crash %v", ev.Kind, weights, m.applied)
	}
	m.status = again
	m.check(t, &before, ev, effects)
}

func essence(s Status) string {
	return fmt.Sprint(s.Phase, s.Step, s.Weights, s.Epoch, s.Generation, s.Manual, s.Spoilt, s.Reason, s.Revision)
}

func (m *machine) check(t *rapid.T, before *Status, ev Event, effects []Effect) {
	s := &m.status
	sum := 0.0
	for _, w := range s.Weights {
		sum += w
	}
	if math.Abs(sum-100) > 1e-9 {
		t.Fatalf("weights %v", s.Weights)
	}
	human := ev.Kind == Promote || ev.Kind == Resume || ev.Kind == Undo || ev.Kind == SetWeights
	grown := s.Weights[s.To] > before.Weights[s.To]
	if grown && !human {
		started := before.Phase == PhasePending && s.Step == 1
		if why := s.Log[len(s.Log)-1].Text; !started && !strings.Contains(why, "all guards pass") && (len(s.Guards) > 0 || !strings.Contains(why, "was held")) {
			t.Fatalf("%s: from %v to %v without a pass: %s", ev.Kind, before.Weights, s.Weights, s.Reason)
		}
		if !started && !m.measured {
			t.Fatalf("%s: from %v to %v on no data", ev.Kind, before.Weights, s.Weights)
		}
	}
	if before.Phase == PhaseAborted && !human && (s.Phase != PhaseAborted || s.Weights[s.To] != 0) {
		t.Fatalf("%s: an aborted rollout is %s with %v", ev.Kind, s.Phase, s.Weights)
	}
	if s.Phase == PhaseAborted && s.Weights[s.To] != 0 {
		t.Fatalf("aborted with %v", s.Weights)
	}
	if s.Phase == PhaseCompleted && s.Weights[s.To] != 100 {
		t.Fatalf("completed with %v", s.Weights)
	}
	order := ""
	for _, e := range effects {
		if e.Kind != Emit {
			order += string(e.Kind) + " "
		}
	}
	if grown && order != "persist apply " || s.Weights[s.To] < before.Weights[s.To] && order != "apply persist " {
		t.Fatalf("%s: from %v to %v by %s", ev.Kind, before.Weights, s.Weights, order)
	}
	if s.Epoch < before.Epoch || s.Revision < before.Revision {
		t.Fatalf("%s: time goes back", ev.Kind)
	}
	if s.Step != before.Step || s.Epoch != before.Epoch {
		m.measured = false
	}
}

func (m *machine) traffic(t *rapid.T, n int, failing float64) {
	for range n {
		share := m.status.Share()
		m.n++
		u := spread(uint64(m.n))
		mine := float64(u%10_000)/10_000 < share
		o := Outcome{Epoch: m.status.Epoch, Share: share, Candidate: mine, Unit: u, Latency: 1, TTFT: math.NaN(), Cost: 1, Kind: "x"}
		o.Failed = mine && float64(spread(u)%1000)/1000 < failing
		m.measured = m.measured || mine
		if m.evidence.Observe(&o) {
			m.do(t, Event{Kind: Decided})
		}
	}
}

func TestStateMachine(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		hold := caddy.Duration(rapid.SampledFrom([]time.Duration{0, time.Minute, time.Hour}).Draw(t, "hold"))
		spec := Spec{Steps: []StepSpec{{Percent: 20, Duration: hold}, {Percent: 60, Duration: hold, MinRequests: 20}, {Percent: 100, Duration: hold}}}
		if rapid.Bool().Draw(t, "guarded") {
			spec.Guards = []GuardSpec{{Name: "errors", Args: []string{"margin", "20%"}}}
		}
		plan := func(definition string) *Plan {
			p, err := NewPlan(spec, []Variant{{"stable", nil}, {"candidate", []byte(definition)}})
			if err != nil {
				t.Fatal(err)
			}
			return p
		}
		m := &machine{plan: plan("1"), now: epoch}
		m.evidence = m.plan.NewEvidence()
		m.do(t, Event{Kind: Load})
		m.do(t, Event{Kind: Prompts})
		operator := func(kind EventKind) func(*rapid.T) {
			return func(t *rapid.T) { m.do(t, Event{Kind: kind, Full: rapid.IntRange(0, 5).Draw(t, "full") == 0}) }
		}
		t.Repeat(map[string]func(*rapid.T){
			"tick":  func(t *rapid.T) { m.now = m.now.Add(time.Second); m.do(t, Event{Kind: Tick}) },
			"good":  func(t *rapid.T) { m.traffic(t, rapid.IntRange(1, 400).Draw(t, "n"), 0) },
			"good2": func(t *rapid.T) { m.traffic(t, 400, 0); m.now = m.now.Add(time.Second); m.do(t, Event{Kind: Tick}) },
			"bad":   func(t *rapid.T) { m.traffic(t, rapid.IntRange(1, 50).Draw(t, "n"), 0.9) },
			"time": func(t *rapid.T) {
				for range 30 {
					m.now = m.now.Add(10 * time.Second)
					status, _ := m.process(m.status, Event{Kind: Tick}, -1)
					before := m.status
					m.status = status
					m.check(t, &before, Event{Kind: Tick}, effectsOf(&before, &status))
				}
			},
			"jump": func(t *rapid.T) {
				m.now = m.now.Add(time.Duration(rapid.IntRange(-48, 48).Draw(t, "hours")) * time.Hour)
			},
			"promote": operator(Promote), "pause": operator(Pause), "resume": operator(Resume), "abort": operator(Abort), "undo": operator(Undo),
			"weights": func(t *rapid.T) {
				p := float64(rapid.IntRange(0, 100).Draw(t, "percent"))
				m.do(t, Event{Kind: SetWeights, Weights: map[string]float64{"stable": 100 - p, "candidate": p}})
			},
			"stale":   func(t *rapid.T) { m.do(t, Event{Kind: Stale, Reason: "dropped"}) },
			"missing": func(t *rapid.T) { m.do(t, Event{Kind: Prompts, Reason: "gone"}) },
			"there":   func(t *rapid.T) { m.do(t, Event{Kind: Prompts}) },
			"moved": func(t *rapid.T) {
				m.do(t, Event{Kind: Prompts, Served: map[string]string{
					"stable":    rapid.SampledFrom([]string{"a/1", "a/1", "a/1", "a/2"}).Draw(t, "stable"),
					"candidate": rapid.SampledFrom([]string{"a/3", "a/3", "a/4"}).Draw(t, "candidate"),
				}})
			},
		})
	})
}

// effectsOf is for moves whose order was checked elsewhere.
func effectsOf(before, after *Status) []Effect {
	switch a, b := before.Weights[before.To], after.Weights[after.To]; {
	case b > a:
		return []Effect{{Kind: Persist}, {Kind: Apply}}
	case b < a:
		return []Effect{{Kind: Apply}, {Kind: Persist}}
	}
	return nil
}
