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
)

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// world is a controller's loop: it does what effects say, at once.
type world struct {
	t        testing.TB
	plan     *Plan
	status   Status
	evidence *Evidence
	now      time.Time
	emitted  []string
	last     []Effect
	unit     uint64
}

func newWorld(t testing.TB, spec Spec) *world {
	t.Helper()
	w := &world{t: t, now: epoch}
	w.declare(spec, "a", "b")
	w.do(Event{Kind: Load})
	return w
}

func (w *world) declare(spec Spec, from, to string) {
	w.t.Helper()
	p, err := NewPlan(spec, []Variant{{spec.from(), []byte(from)}, {spec.to(), []byte(to)}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.plan = p
	if w.evidence == nil {
		w.evidence = p.NewEvidence()
	}
}

func (w *world) do(ev Event) *world {
	w.t.Helper()
	status, effects := Step(w.status, w.plan, w.evidence, ev, w.now)
	w.last = effects
	for _, e := range effects {
		switch e.Kind {
		case Apply:
			w.evidence.Enter(w.plan, status.Mark())
		case Emit:
			w.emitted = append(w.emitted, strings.TrimPrefix(e.Name, "llm_rollout_"))
		}
	}
	w.status = status
	sum := 0.0
	for _, p := range status.Weights {
		sum += p
	}
	if math.Abs(sum-100) > 1e-9 {
		w.t.Fatalf("after %s the weights sum to %v: %v", ev.Kind, sum, status.Weights)
	}
	return w
}

func (w *world) started() *world {
	w.t.Helper()
	return w.do(Event{Kind: Prompts}).do(Event{Kind: Tick})
}

// traffic is n new units of the candidate, and as many of stable as the weights say.
func (w *world) traffic(n int, failing bool) *world {
	stables := 0.0
	for range n {
		share := w.status.Share()
		if share == 0 {
			return w
		}
		w.outcome(true, failing)
		for stables += (1 - share) / share; stables >= 1; stables-- {
			w.outcome(false, false)
		}
	}
	return w
}

func (w *world) outcome(mine, failed bool) {
	w.unit++
	o := Outcome{
		Epoch: w.status.Epoch, Share: w.status.Share(), Candidate: mine, Unit: w.unit * 0x9e3779b97f4a7c15, Failed: failed,
		Kind: "status_400", Latency: 1, TTFT: math.NaN(), Cost: 1, Trace: fmt.Sprint("trace", w.unit),
	}
	if w.evidence.Observe(&o) {
		w.do(Event{Kind: Decided})
	}
}

func (w *world) ticks(d time.Duration) *world {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); {
		w.now = w.now.Add(10 * time.Second)
		w.do(Event{Kind: Tick})
	}
	return w
}

func (w *world) want(phase Phase, step int, candidate float64, reason string) *world {
	w.t.Helper()
	if s := &w.status; s.Phase != phase || s.Step != step || s.Weights[s.To] != candidate || !strings.Contains(s.Reason, reason) {
		w.t.Fatalf("got %s, step %d, %v %%, %q; want %s, step %d, %v %%, %q", s.Phase, s.Step, s.Weights[s.To], s.Reason, phase, step, candidate, reason)
	}
	return w
}

func (w *world) order(kinds ...EffectKind) *world {
	w.t.Helper()
	var got []EffectKind
	for _, e := range w.last {
		if e.Kind != Emit {
			got = append(got, e.Kind)
		}
	}
	if !reflect.DeepEqual(got, kinds) {
		w.t.Fatalf("effects %v, want %v", got, kinds)
	}
	return w
}

// simple has no statistics to wait for: half of the traffic, then all.
func simple() Spec {
	return Spec{Steps: []StepSpec{{Percent: 50, Duration: caddy.Duration(time.Hour)}, {Percent: 80, Duration: caddy.Duration(time.Hour)}, {Percent: 100}}}
}

func guarded() Spec { s := simple(); s.Guards = []GuardSpec{{Name: "errors"}}; return s }

func TestWholeRollout(t *testing.T) {
	w := newWorld(t, simple()).want(PhasePending, 0, 0, "waiting for the prompts").order(Apply, Persist)
	w.ticks(time.Minute).want(PhasePending, 0, 0, "not looked up")
	w.do(Event{Kind: Prompts, Reason: "senti@candidate is not there"}).do(Event{Kind: Tick}).want(PhasePending, 0, 0, "senti@candidate")
	w.started().want(PhaseProgressing, 1, 50, "step 1 of 3").order(Persist, Apply)
	w.traffic(100, false).ticks(59*time.Minute + 50*time.Second)
	w.want(PhaseProgressing, 1, 50, "no candidate requests for 10m0s")
	w.traffic(1, false).ticks(10*time.Second).want(PhaseProgressing, 1, 50, "left")
	for range 6 {
		w.traffic(1, false).ticks(10 * time.Minute)
	}
	w.want(PhaseProgressing, 2, 80, "held at 80 %")
	for range 7 {
		w.traffic(20, false).ticks(10 * time.Minute)
	}
	w.want(PhaseCompleted, 3, 100, "all traffic is on candidate")
	if got := fmt.Sprint(w.emitted); got != "[advanced advanced completed]" {
		t.Errorf("emitted %s", got)
	}
}

func TestNoDataIsNeverHealthy(t *testing.T) {
	w := newWorld(t, guarded()).started().ticks(time.Hour).want(PhaseInconclusive, 1, 50, "no candidate requests")
	w.traffic(10, false).ticks(10*time.Second).want(PhaseInconclusive, 1, 50, "40 more candidate units needed")
	w.traffic(90, false).ticks(10*time.Second).want(PhaseInconclusive, 1, 50, "more candidate requests")
	if got := fmt.Sprint(w.emitted); got != "[advanced inconclusive]" {
		t.Errorf("emitted %s", got)
	}
	for range 10 {
		w.traffic(100, false).ticks(10 * time.Minute)
	}
	w.want(PhaseProgressing, 2, 80, "held at 80 %")
}

func TestOneVariantWithoutTraffic(t *testing.T) {
	w := newWorld(t, simple()).started()
	for i := range 60 {
		o := Outcome{Epoch: w.status.Epoch, Share: 0.5, Candidate: true, Unit: uint64(i), Latency: 1}
		w.evidence.Observe(&o)
	}
	w.ticks(10*time.Second).want(PhasePaused, 1, 50, "do not fall on the variants as the weights say")
	w.do(Event{Kind: Resume}).want(PhaseProgressing, 1, 50, "resumed with new evidence").order(Apply, Persist)
}

func TestAbort(t *testing.T) {
	w := newWorld(t, guarded()).started().traffic(100, false).traffic(60, true)
	w.want(PhaseAborted, 1, 0, "aborted at 50 %: failures").order(Apply, Persist)
	last := w.status.Log[len(w.status.Log)-1]
	if !strings.Contains(last.Text, "against 0 %, most often status_400, evidence 1/") || len(last.Traces) != maxTraces {
		t.Errorf("the log says %q of %v", last.Text, last.Traces)
	}
	w.traffic(1000, false).ticks(30*24*time.Hour/100).want(PhaseAborted, 1, 0, "aborted at")
	if err := Check(&w.status, w.plan, Event{Kind: Promote}); err == nil {
		t.Error("an aborted rollout can be promoted")
	}
	w.do(Event{Kind: Promote}).want(PhaseAborted, 1, 0, "")
	w.do(Event{Kind: Undo}).want(PhaseProgressing, 1, 50, "undone").order(Persist, Apply)
	w.ticks(time.Minute).want(PhaseProgressing, 1, 50, "no candidate requests")
	w.do(Event{Kind: Abort, Reason: "no", Actor: "eve"}).want(PhaseAborted, 1, 0, "aborted by an operator: no")
	w.do(Event{Kind: Resume}).want(PhaseProgressing, 1, 50, "begun again")
	if w.status.Log[len(w.status.Log)-2].Actor != "" || w.status.Actor != "" {
		t.Error("an actor who did nothing is named")
	}
}

func TestOperators(t *testing.T) {
	w := newWorld(t, simple()).started()
	w.do(Event{Kind: Pause, Reason: "lunch", Actor: "ann"}).want(PhasePaused, 1, 50, "paused: lunch").order(Persist)
	held := w.status.HeldMS
	w.traffic(100, false).ticks(2*time.Hour).want(PhasePaused, 1, 50, "lunch")
	if w.status.HeldMS != held {
		t.Error("time is held while it is paused")
	}
	w.do(Event{Kind: Resume}).want(PhaseProgressing, 1, 50, "resumed").order(Persist)
	w.do(Event{Kind: Promote}).want(PhaseProgressing, 2, 80, "promoted: step 2").order(Persist, Apply)
	w.do(Event{Kind: Undo}).want(PhaseProgressing, 1, 50, "undone").order(Apply, Persist)
	w.do(Event{Kind: SetWeights, Weights: map[string]float64{"stable": 97.5, "candidate": 2.5}}).want(PhasePaused, 1, 2.5, "weights set by hand: candidate 2.5 %, stable 97.5 %")
	w.do(Event{Kind: SetWeights, Weights: map[string]float64{"candidate": 100}}).want(PhasePaused, 1, 2.5, "")
	w.traffic(200, true).ticks(time.Minute).want(PhasePaused, 1, 2.5, "by hand")
	w.do(Event{Kind: Resume}).want(PhaseProgressing, 1, 50, "resumed with new evidence").order(Persist, Apply)
	w.do(Event{Kind: Promote, Full: true}).want(PhaseCompleted, 3, 100, "promoted to the end").order(Persist, Apply)
	w.do(Event{Kind: Undo}).want(PhaseProgressing, 1, 50, "undone").order(Apply, Persist)
}

func TestEventHappensOnce(t *testing.T) {
	w := newWorld(t, simple()).started()
	w.do(Event{Kind: Promote, ID: "x"}).want(PhaseProgressing, 2, 80, "")
	w.do(Event{Kind: Promote, ID: "x"}).want(PhaseProgressing, 2, 80, "").order()
	w.do(Event{Kind: Promote, ID: "y"}).want(PhaseCompleted, 3, 100, "")
}

func TestPausedIsStillWatched(t *testing.T) {
	w := newWorld(t, guarded()).started().do(Event{Kind: Pause}).traffic(100, true)
	w.want(PhaseAborted, 1, 0, "aborted at 50 %")
}

func TestOutageOfBoth(t *testing.T) {
	w := newWorld(t, guarded()).started().traffic(200, false)
	both := func(stableToo bool) {
		for i := range 40 {
			w.outcome(i%2 == 0, stableToo || i%2 == 0)
		}
	}
	both(true)
	w.want(PhasePaused, 1, 50, "both variants fail")
	for range 3 {
		both(false)
	}
	w.want(PhaseAborted, 1, 0, "aborted at 50 %")
}

func TestStaleAndMissing(t *testing.T) {
	w := newWorld(t, guarded()).started().traffic(2000, false)
	w.do(Event{Kind: Stale, Reason: "outcomes were dropped"}).want(PhasePaused, 1, 50, "not to be trusted: outcomes were dropped")
	w.traffic(100, true).ticks(time.Minute).want(PhasePaused, 1, 50, "dropped")
	w.do(Event{Kind: Resume}).want(PhaseProgressing, 1, 50, "new evidence")
	if f, n := w.evidence.errors.strata.total(candidate); f+n != 0 {
		t.Errorf("%v failures of %v requests still count", f, n)
	}
	w.evidence = nil
	for range 5 {
		status, effects := Step(w.status, w.plan, nil, Event{Kind: Tick}, w.now.Add(time.Hour))
		if status.Phase != PhaseProgressing || status.HeldMS != 0 || len(effects) > 0 {
			t.Fatalf("without evidence: %s, %d ms, %v", status.Phase, status.HeldMS, effects)
		}
	}
}

// Between a decision and the weights that it is about, what was measured is of other weights.
func TestEvidenceOfOtherWeights(t *testing.T) {
	w := newWorld(t, guarded()).started().traffic(100, true)
	other := w.evidence
	w = newWorld(t, guarded()).started().do(Event{Kind: SetWeights, Weights: map[string]float64{"stable": 50, "candidate": 50}}).do(Event{Kind: Resume})
	for _, kind := range []EventKind{Tick, Decided} {
		status, effects := Step(w.status, w.plan, other, Event{Kind: kind}, w.now)
		if status.Phase != PhaseProgressing || len(effects) > 0 {
			t.Errorf("%s: %s %s", kind, status.Phase, status.Reason)
		}
	}
}

func TestTimeIsOnlyHeldWhileItRuns(t *testing.T) {
	w := newWorld(t, simple()).started().traffic(100, false)
	w.ticks(time.Minute)
	held := w.status.HeldMS
	if held != 60_000 {
		t.Errorf("a minute is %d ms", held)
	}
	w.now = w.now.Add(48 * time.Hour)
	w.do(Event{Kind: Load}).order(Apply)
	w.do(Event{Kind: Tick}).want(PhaseProgressing, 1, 50, "")
	w.now = w.now.Add(-47 * time.Hour)
	w.do(Event{Kind: Tick})
	if w.status.HeldMS != held {
		t.Errorf("jumps of the clock count as %d ms", w.status.HeldMS-held)
	}
}

func TestOtherVariantsComeAndGo(t *testing.T) {
	w := newWorld(t, simple()).started()
	p, err := NewPlan(simple(), []Variant{{"stable", []byte("a")}, {"candidate", []byte("b")}, {"third", nil}})
	if err != nil {
		t.Fatal(err)
	}
	w.plan = p
	w.do(Event{Kind: Load}).want(PhaseProgressing, 1, 50, "step 1")
	w.do(Event{Kind: SetWeights, Weights: map[string]float64{"stable": 20, "candidate": 40, "third": 40}}).want(PhasePaused, 1, 40, "by hand")
	if got := w.status.Share(); math.Abs(got-2.0/3) > 1e-9 {
		t.Errorf("the candidate has %v of the two", got)
	}
	w.declare(simple(), "a", "b")
	w.do(Event{Kind: Load}).want(PhasePaused, 1, 40, "by hand")
}

func TestWaitsForOperator(t *testing.T) {
	s := simple()
	s.Steps[0] = StepSpec{Percent: 50, Wait: true}
	w := newWorld(t, s).started().traffic(100, false).ticks(5*time.Minute).want(PhaseProgressing, 1, 50, "waiting for an operator")
	w.do(Event{Kind: Promote}).want(PhaseProgressing, 2, 80, "promoted")
}

func TestSomethingKeepsItFromCompleting(t *testing.T) {
	w := newWorld(t, Spec{Steps: []StepSpec{{Percent: 50}}}).started().traffic(100, false)
	w.do(Event{Kind: Tick, Blocked: "8 % of the traffic is not recognised"}).want(PhaseProgressing, 1, 50, "held at 50 %: 8 %")
	w.do(Event{Kind: Tick}).want(PhaseCompleted, 1, 100, "")

	// A last step that is completed on entry is not entered.
	w = newWorld(t, Spec{Steps: []StepSpec{{Percent: 50}, {Percent: 100}}}).started().traffic(100, false)
	w.do(Event{Kind: Tick, Blocked: "8 % of the traffic is not recognised"}).want(PhaseProgressing, 1, 50, "held at 50 %: 8 %")
	w.do(Event{Kind: Tick}).want(PhaseCompleted, 2, 100, "")
}

func TestSpecChanges(t *testing.T) {
	other := simple()
	other.Steps = other.Steps[1:]
	t.Run("steps", func(t *testing.T) {
		w := newWorld(t, simple()).started()
		before := w.status.Epoch
		w.declare(other, "a", "b")
		w.do(Event{Kind: Load}).want(PhasePending, 0, 50, "generation 2")
		if w.status.Epoch == before {
			t.Error("the evidence still counts")
		}
		w.started().want(PhaseProgressing, 1, 80, "step 1 of 2")
	})
	t.Run("the candidate", func(t *testing.T) {
		w := newWorld(t, simple()).started()
		w.declare(simple(), "a", "another model")
		w.do(Event{Kind: Load}).want(PhasePending, 0, 0, "generation 2").order(Apply, Persist)
	})
	t.Run("stable", func(t *testing.T) {
		w := newWorld(t, simple()).started()
		w.declare(simple(), "another model", "b")
		w.do(Event{Kind: Load}).want(PhasePending, 0, 50, "generation 2")
	})
	t.Run("removed", func(t *testing.T) {
		w := newWorld(t, simple()).started()
		renamed := simple()
		renamed.To = "newer"
		w.declare(renamed, "a", "b")
		w.do(Event{Kind: Load}).want(PhasePending, 0, 0, "generation 2")
		if err := Check(&w.status, w.plan, Event{Kind: Undo}); err == nil {
			t.Error("a removed variant can be brought back")
		}
	})
	t.Run("completed", func(t *testing.T) {
		w := newWorld(t, simple()).started().do(Event{Kind: Promote, Full: true})
		w.declare(other, "a", "b")
		w.do(Event{Kind: Load}).want(PhaseCompleted, 2, 100, "")
		back := other
		back.From, back.To = "candidate", "stable"
		w.declare(back, "b", "a")
		w.do(Event{Kind: Load}).want(PhasePending, 0, 0, "generation 2")
		w.started().want(PhaseProgressing, 1, 80, "")
	})
	t.Run("aborted", func(t *testing.T) {
		w := newWorld(t, simple()).started().do(Event{Kind: Abort})
		w.declare(other, "a", "b")
		w.do(Event{Kind: Load}).want(PhasePending, 0, 0, "generation 2")
	})
}

func TestAliasMoves(t *testing.T) {
	served := func(stable, candidate, third string) Event {
		return Event{Kind: Prompts, Served: map[string]string{"stable": stable, "candidate": candidate, "third": third}}
	}
	w := newWorld(t, simple()).started().do(served("senti/1", "senti/3", "")).do(Event{Kind: Promote})
	w.do(served("senti/1", "senti/4", "")).want(PhasePending, 0, 0, "senti/4, before senti/3").order(Apply, Persist)
	w.do(Event{Kind: Tick}).want(PhaseProgressing, 1, 50, "")
	before := w.status.Epoch
	w.do(served("senti/2", "senti/4", "")).want(PhasePaused, 1, 50, "resume to go on")
	w.do(Event{Kind: Resume}).want(PhaseProgressing, 1, 50, "")
	if w.status.Epoch == before {
		t.Error("the evidence still counts")
	}
	w.do(served("senti/2", "senti/4", "other/1")).want(PhaseProgressing, 1, 50, "").order(Persist)
	w.do(served("senti/2", "senti/4", "other/1")).want(PhaseProgressing, 1, 50, "").order()
	// An operator's pause holds.
	w.do(Event{Kind: Pause})
	w.do(served("senti/2", "senti/6", "other/1")).want(PhasePaused, 0, 0, "begins when it is resumed")
	w.do(Event{Kind: Tick}).want(PhasePaused, 0, 0, "")
	w.do(Event{Kind: Resume}).want(PhaseProgressing, 1, 50, "")
	w.do(served("senti/2", "senti/4", "other/1")).do(Event{Kind: Tick}).want(PhaseProgressing, 1, 50, "")
	// What was moved while nobody looked is found with the next look.
	w.do(Event{Kind: Prompts, Reason: "gone"}).want(PhasePaused, 1, 50, "gone")
	w.do(served("senti/2", "senti/5", "other/1")).want(PhasePaused, 0, 0, "senti/5, before senti/4")
}

func TestPromptsVanish(t *testing.T) {
	w := newWorld(t, simple()).started()
	w.do(Event{Kind: Prompts, Reason: "deleted"}).want(PhasePaused, 1, 50, "do not resolve any more: deleted")
	w.do(Event{Kind: Resume}).want(PhasePaused, 1, 50, "")
	w.do(Event{Kind: Prompts}).do(Event{Kind: Resume}).want(PhaseProgressing, 1, 50, "resumed")
}

func TestStatusRoundTrip(t *testing.T) {
	w := newWorld(t, guarded()).started().traffic(100, false).ticks(time.Minute).do(Event{Kind: Pause, ID: "1"}).do(Event{Kind: Resume}).traffic(60, true)
	b, err := json.Marshal(w.status)
	if err != nil {
		t.Fatal(err)
	}
	var back Status
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(back, w.status) {
		t.Errorf("got %+v\nwant %+v", back, w.status)
	}
	if again, _ := json.Marshal(back); string(again) != string(b) {
		t.Errorf("got %s\nwant %s", again, b)
	}
	for _, name := range []string{"phase", "step", "steps", "since", "generation", "spec_hash", "reason", "guards", "units", "persisted", "log"} {
		if !strings.Contains(string(b), `"`+name+`":`) {
			t.Errorf("no %q in %s", name, b)
		}
	}
}

// FuzzStatus steps from whatever status may be stored.
func FuzzStatus(f *testing.F) {
	w := newWorld(f, guarded()).started().traffic(60, true)
	b, _ := json.Marshal(w.status)
	f.Add(b, uint8(0))
	f.Add([]byte(`{"phase":"progressing","step":99,"spec_hash":"`+w.plan.Hash()+`"}`), uint8(1))
	kinds := []EventKind{Load, Tick, Decided, Prompts, Stale, Promote, Pause, Resume, Abort, Undo, SetWeights}
	f.Fuzz(func(t *testing.T, b []byte, kind uint8) {
		var s Status
		if json.Unmarshal(b, &s) != nil {
			return
		}
		for _, k := range append([]EventKind{kinds[int(kind)%len(kinds)]}, kinds...) {
			s, _ = Step(s, w.plan, w.evidence, Event{Kind: k, Served: map[string]string{"candidate": string(k)}, Weights: map[string]float64{"stable": 50, "candidate": 50}}, epoch)
		}
	})
}

// Undo does not go on where resume would not.
func TestUndoOfWhatWasNotDecidedByHand(t *testing.T) {
	// On evidence that was thrown away.
	served := func(stable string) Event {
		return Event{Kind: Prompts, Served: map[string]string{"stable": stable, "candidate": "p/2"}}
	}
	w := newWorld(t, simple()).do(served("p/1")).do(Event{Kind: Tick}).traffic(100, false).ticks(8 * time.Minute)
	if w.status.HeldMS == 0 {
		t.Fatal("nothing was held")
	}
	w.do(Event{Kind: Pause}).do(served("p/3")).want(PhasePaused, 1, 50, "stable answers with something else now")
	w.do(Event{Kind: Undo}).want(PhaseProgressing, 1, 50, "undone")
	if w.status.HeldMS != 0 {
		t.Errorf("%d ms are held, of a comparison with another stable", w.status.HeldMS)
	}

	// Without the candidate's prompt.
	w = newWorld(t, simple()).started()
	w.do(Event{Kind: Prompts, Reason: "senti@candidate is not there"}).want(PhasePaused, 1, 50, "do not resolve any more")
	w.do(Event{Kind: Undo}).want(PhasePaused, 1, 50, "do not resolve any more")
	if err := Check(&w.status, w.plan, Event{Kind: Undo}); err == nil || !strings.Contains(err.Error(), "senti@candidate") {
		t.Errorf("undo without the candidate's prompt: %v", err)
	}
}

// A status that no Step has made, such as one edited by hand, is made one again.
func TestStatusThatCannotBe(t *testing.T) {
	for name, spoil := range map[string]func(s *Status){
		"no step":            func(s *Status) { s.Step = 0 },
		"a step that is not": func(s *Status) { s.Step = 7 },
		"more than all":      func(s *Status) { s.Weights = map[string]float64{"stable": 50, "candidate": 500} },
		"less than nothing":  func(s *Status) { s.Weights = map[string]float64{"stable": 150, "candidate": -50} },
		"no weights":         func(s *Status) { s.Weights = nil },
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, simple()).started()
			spoil(&w.status)
			w.do(Event{Kind: Load}).do(Event{Kind: Tick}).traffic(100, false).ticks(time.Minute)
			if c := w.status.Weights["candidate"]; c < 0 || c > 80 {
				t.Errorf("weights %v", w.status.Weights)
			}
		})
	}
}

// slow is a guard that only a tick has the time for.
type slow struct {
	guard
	looks int
}

func (s *slow) judge(e *Evidence, alpha float64) GuardStatus {
	s.looks++
	return s.guard.judge(e, alpha)
}

// The request that decides does not wait for guards that it cannot have decided.
func TestDecidedByFailuresAlone(t *testing.T) {
	spec := guarded()
	spec.Guards = append(spec.Guards, GuardSpec{Name: "cost"})
	w := newWorld(t, spec)
	g := &slow{guard: w.plan.guards[1]}
	w.plan.guards[1] = g
	w.started().traffic(100, false).ticks(10 * time.Second)
	looks := g.looks
	w.traffic(60, true).want(PhaseAborted, 1, 0, "aborted at 50 %: failures")
	if g.looks != looks {
		t.Errorf("the costs were looked at %d times on the way to the abort", g.looks-looks)
	}
	if s := w.status.Guards; len(s) != 2 || s[1].Name != "cost" || s[1].Outcome != Pass {
		t.Errorf("guards %+v", s)
	}
}
