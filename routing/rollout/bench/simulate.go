package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/routing/rollout"
)

// scenario is one kind of traffic on one kind of rollout.
type scenario struct {
	name   string
	spec   rollout.Spec
	runs   int
	warm   int // the candidate's requests before the fault begins
	limit  int // the candidate's requests after that which are simulated
	answer func(r *rand.Rand, o *rollout.Outcome, faulty bool)
	// requests a unit, which all go as the first of them did; 0: 1
	cluster int
	// how often a client's SDK repeats a failed request; repeats are no outcomes
	repeats int
	// requests in flight: an outcome comes after up to so many other requests
	flight int
	// how many requests later than the candidate's the outcomes of stable come
	lag    int
	wanted wanted
}

// wanted is what a scenario's result is held to; slack is added to every share.
type wanted struct {
	text string
	met  func(t *tally, slack float64) bool
}

// tally is what became of a scenario's runs.
type tally struct {
	runs, aborted, paused, passed, completed int

	after []int // the candidate's requests from the fault to the decision, in runs with one
}

func (t *tally) share(n int) float64 { return float64(n) / float64(t.runs) }

// within is the share of all runs decided within so many requests.
func (t *tally) within(n int) float64 {
	k := 0
	for _, a := range t.after {
		if a <= n {
			k++
		}
	}
	return t.share(k)
}

// quantile is over all runs: those without a decision took for ever.
func (t *tally) quantile(p float64) float64 {
	i := int(math.Ceil(p*float64(t.runs))) - 1
	if i < 0 || i >= len(t.after) {
		return math.Inf(1)
	}
	return float64(t.after[i])
}

func (t *tally) times() string {
	if len(t.after) == 0 {
		return "–"
	}
	var out []string
	for _, p := range []float64{0.5, 0.99, 0.999} {
		if q := t.quantile(p); math.IsInf(q, 1) {
			out = append(out, "–")
		} else {
			out = append(out, strconv.Itoa(int(q)))
		}
	}
	return strings.Join(out, ", ")
}

func (s *scenario) run(seed uint64, runs int) *tally {
	t := &tally{runs: runs}
	plan, err := rollout.NewPlan(s.spec, []rollout.Variant{{Name: "stable"}, {Name: "candidate"}})
	if err != nil {
		panic(err)
	}
	for i := range runs {
		w := &world{scenario: s, plan: plan, r: rand.New(rand.NewPCG(seed, uint64(i)))}
		w.live()
		switch w.status.Phase {
		case rollout.PhaseAborted:
			t.aborted++
			t.after = append(t.after, w.since)
		case rollout.PhasePaused:
			t.paused++
			t.after = append(t.after, w.pausedAt)
		case rollout.PhaseCompleted:
			t.completed++
			t.passed++
			t.after = append(t.after, w.since)
		default:
			if w.passedAt > 0 {
				t.passed++
			}
		}
	}
	slices.Sort(t.after)
	return t
}

// world is one run.
type world struct {
	*scenario
	plan     *rollout.Plan
	r        *rand.Rand
	status   rollout.Status
	evidence *rollout.Evidence
	now      time.Time
	mine     int // the candidate's requests
	since    int // of these, since the fault
	passedAt int
	pausedAt int
	flying   []rollout.Outcome
	late     []rollout.Outcome
	drawn    int
	next     rollout.Outcome
}

// tickEvery is how many requests come between two ticks.
const tickEvery = 500

func (w *world) live() {
	w.now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	w.evidence = w.plan.NewEvidence()
	w.step(rollout.Event{Kind: rollout.Load})
	w.step(rollout.Event{Kind: rollout.Prompts})
	w.step(rollout.Event{Kind: rollout.Tick})
	if w.limit == 0 { // no traffic
		for range 3 * 3600 {
			w.now = w.now.Add(time.Second)
			w.step(rollout.Event{Kind: rollout.Tick})
		}
		return
	}
	for n := 1; w.since < w.limit; n++ {
		w.unit()
		if n%tickEvery == 0 {
			w.now = w.now.Add(time.Second)
			w.step(rollout.Event{Kind: rollout.Tick})
			if w.passedAt == 0 && len(w.status.Guards) > 0 && w.status.Guards[0].Outcome == rollout.Pass {
				w.passedAt = w.mine
			}
		}
		switch w.status.Phase {
		case rollout.PhaseProgressing, rollout.PhaseInconclusive:
		case rollout.PhasePaused:
			if w.pausedAt == 0 {
				w.pausedAt = w.since
			}
		default:
			return
		}
	}
}

// unit sends the requests of a unit, whose bucket is where it falls.
func (w *world) unit() {
	o := &w.next
	*o = rollout.Outcome{Unit: w.r.Uint64(), Share: w.status.Share(), Epoch: w.status.Epoch}
	o.Candidate = w.r.Float64() < o.Share
	o.Latency, o.TTFT, o.Cost = 1, math.NaN(), math.NaN()
	w.answer(w.r, o, w.mine >= w.warm)
	w.drawn++
	if len(w.late) > 0 && w.drawn > w.lag {
		for len(w.late) > 0 && w.late[0].Latency <= float64(w.drawn-w.lag) {
			w.end(&w.late[0])
			w.late = w.late[1:]
		}
	}
	if w.lag > 0 {
		o.Latency = float64(w.drawn) // when it was drawn
	}
	for range max(w.cluster, 1) {
		if o.Candidate {
			w.mine++
			if w.mine > w.warm {
				w.since++
			}
		}
		w.evidence.Draw(o.Epoch, o.Share, o.Candidate, o.Unit)
		if w.lag > 0 && !o.Candidate {
			w.late = append(w.late, *o)
		} else if w.flight > 0 {
			w.fly(*o)
		} else {
			w.end(o)
		}
	}
	// Repeats by the client: requests, but no outcomes.
	for range w.repeats {
		if o.Failed && w.r.Float64() < 0.5 {
			break
		}
	}
}

// fly puts an outcome in flight, and lands another.
func (w *world) fly(o rollout.Outcome) {
	w.flying = append(w.flying, o)
	if len(w.flying) < w.flight {
		return
	}
	i := w.r.IntN(len(w.flying))
	landed := w.flying[i]
	w.flying[i] = w.flying[len(w.flying)-1]
	w.flying = w.flying[:len(w.flying)-1]
	w.end(&landed)
}

func (w *world) end(o *rollout.Outcome) {
	if w.evidence.Observe(o) {
		w.step(rollout.Event{Kind: rollout.Decided})
	}
}

// step decides, and does what the decision says.
func (w *world) step(ev rollout.Event) {
	status, effects := rollout.Step(w.status, w.plan, w.evidence, ev, w.now)
	w.status = status
	for _, e := range effects {
		if e.Kind == rollout.Apply {
			w.evidence.Enter(w.plan, status.Mark())
		}
	}
}
