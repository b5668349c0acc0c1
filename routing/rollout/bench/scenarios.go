package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/routing/rollout"
)

type answer = func(r *rand.Rand, o *rollout.Outcome, faulty bool)

// hold is a rollout that stays at one weight.
func hold(percent float64, guard string, args ...string) rollout.Spec {
	return rollout.Spec{
		Steps:  []rollout.StepSpec{{Percent: percent, Duration: caddy.Duration(1000 * time.Hour)}},
		Guards: []rollout.GuardSpec{{Name: guard, Args: args}},
	}
}

// fails is traffic in which both variants fail at base, and the candidate at
// another rate once the fault has begun.
func fails(base, then float64) answer {
	return func(r *rand.Rand, o *rollout.Outcome, faulty bool) {
		p := base
		if faulty && o.Candidate {
			p = then
		}
		o.Failed = r.Float64() < p
	}
}

// outage is a fault of both.
func outage(base, then float64) answer {
	return func(r *rand.Rand, o *rollout.Outcome, faulty bool) {
		p := base
		if faulty {
			p = then
		}
		o.Failed = r.Float64() < p
	}
}

// slow is traffic with lognormal times, the candidate's longer by a factor.
func slow(factor, sigma float64) answer {
	return func(r *rand.Rand, o *rollout.Outcome, _ bool) {
		o.Latency = math.Exp(sigma * r.NormFloat64())
		o.TTFT = 0.3 * math.Exp(sigma*r.NormFloat64())
		if o.Candidate {
			o.Latency *= factor
			o.TTFT *= factor
		}
		o.Failed = r.Float64() < 0.01
	}
}

// costs is traffic with lognormal costs.
func costs(factor, sigma float64) answer {
	return func(r *rand.Rand, o *rollout.Outcome, _ bool) {
		o.Cost = 0.002 * math.Exp(sigma*r.NormFloat64())
		if o.Candidate {
			o.Cost *= factor
		}
	}
}

func rarely(most float64, what string) wanted {
	return wanted{fmt.Sprintf("%s ≤ %g %%", what, 100*most), func(t *tally, slack float64) bool {
		n := t.aborted
		if what == "paused or aborted" {
			n += t.paused
		}
		return t.share(n) <= most+slack
	}}
}

func caught(share float64, within int) wanted {
	return wanted{fmt.Sprintf("%g %% aborted within %d", 100*share, within), func(t *tally, slack float64) bool {
		return t.within(within) >= share-slack && t.share(t.aborted) >= share-slack
	}}
}

func both(a, b wanted) wanted {
	return wanted{a.text + ", " + b.text, func(t *tally, slack float64) bool { return a.met(t, slack) && b.met(t, slack) }}
}

func median(most int) wanted {
	return wanted{fmt.Sprintf("median ≤ %d", most), func(t *tally, slack float64) bool { return t.within(most) >= 0.5-slack }}
}

func most(what string, share float64) wanted {
	return wanted{fmt.Sprintf("%s ≥ %g %%", what, 100*share), func(t *tally, slack float64) bool {
		return t.share(map[string]int{"passed": t.passed, "paused": t.paused, "completed": t.completed, "aborted": t.aborted}[what]) >= share-slack
	}}
}

// scenarios are those of the design's table first.
func scenarios() []*scenario {
	var out []*scenario
	add := func(runs, warm, limit int, w wanted, spec rollout.Spec, a answer, name string, args ...any) *scenario {
		s := &scenario{name: fmt.Sprintf(name, args...), spec: spec, runs: runs, warm: warm, limit: limit, answer: a, wanted: w}
		out = append(out, s)
		return s
	}
	none := wanted{}
	for _, base := range []float64{0.005, 0.01, 0.05} {
		for _, times := range []float64{1, 1.2} {
			for _, weight := range []float64{5, 20, 50} {
				runs := map[float64]int{5: 200, 20: 600, 50: 1200}[weight]
				add(runs, 0, 10_000, rarely(0.01, "aborted"), hold(weight, "errors"), fails(base, times*base), "%gx failures, base %g %%, at %g %%", times, 100*base, weight)
			}
		}
	}
	for _, weight := range []float64{80, 95, 100} {
		add(1000, 0, 10_000, rarely(0.01, "aborted"), hold(weight, "errors"), fails(0.01, 0.01), "1x failures, base 1 %%, at %g %%", weight)
	}
	for _, weight := range []float64{5, 20, 50} {
		add(5000, 0, 100, caught(0.999, 25), hold(weight, "errors"), fails(0.01, 1), "dead from the start at %g %%", weight)
	}
	for _, c := range []struct {
		weight float64
		within int
	}{{5, 15}, {20, 20}, {50, 40}, {80, 10}, {100, 10}} {
		spec, warm := hold(c.weight, "errors"), 5000
		if c.weight == 100 {
			spec = staying(5, 20, 50, 100)
		}
		runs := 1000
		if c.weight == 5 {
			runs = 200
		}
		add(runs, warm, 200, caught(0.99, c.within), spec, fails(0.01, 1), "dies after 5000 good ones at %g %%", c.weight)
	}
	add(300, 20_000, 200, caught(0.99, 8), staying(5, 20, 50, 100), fails(0.01, 1), "dies after 20000 good ones at 100 %%")
	add(300, 20_000, 200, none, staying(50, 100), fails(0.01, 1), "dies after 20000 good ones at 100 %%, stable hardly measured")
	add(1000, 5000, 200, none, hold(80, "errors"), fails(0.05, 1), "dies after 5000 good ones at 80 %%, base 5 %%")
	for _, weight := range []float64{5, 20, 50} {
		add(20_000, 0, 300, caught(0.999, 60), hold(weight, "errors"), fails(0.01, 0.5), "half dead from the start at %g %%", weight)
	}
	add(2000, 0, 3000, both(median(250), caught(0.99, 1000)), hold(5, "errors"), fails(0.01, 0.05), "1 %% to 5 %% from the start at 5 %%")
	add(600, 2000, 3000, both(median(550), caught(0.99, 1200)), hold(5, "errors"), fails(0.01, 0.05), "1 %% to 5 %% after 2000 good ones at 5 %%")

	clustered := func(r *rand.Rand, o *rollout.Outcome, _ bool) { o.Failed = r.Float64() < 0.01 }
	for _, weight := range []float64{5, 50} {
		add(int(8*weight), 0, 10_000, rarely(0.01, "aborted"), hold(weight, "errors"), clustered, "1x, five failures a unit, at %g %%", weight).cluster = 5
	}
	add(1000, 0, 20_000, both(rarely(0.01, "aborted"), most("completed", 0.95)), ramp(5, 20, 50, 80, 100), fails(0.01, 0.01), "1x, weights grow in the middle, 100 in flight").flight = 100
	add(1000, 0, 20_000, rarely(0.01, "aborted"), ramp(5, 20, 50, 80, 100), fails(0.01, 0.012), "1.2x, weights grow in the middle, 100 in flight").flight = 100
	add(1000, 0, 20_000, most("aborted", 0.95), ramp(5, 20, 50, 80, 100), fails(0.01, 0.1), "1 %% to 10 %%, weights would grow, 100 in flight").flight = 100
	for _, weight := range []float64{5, 50} {
		add(500, 0, 2000, rarely(0.01, "aborted"), hold(weight, "errors"), fails(0.05, 0.05), "1x, base 5 %%, stable 3000 requests slower, at %g %%", weight).lag = 3000
	}
	add(500, 0, 5000, caught(0.99, 3000), hold(50, "errors"), fails(0.01, 1), "dead from the start, stable 3000 requests slower, at 50 %%").lag = 3000
	for _, weight := range []float64{5, 20, 50} {
		add(1000, 500, 1000, both(rarely(0.01, "aborted"), most("paused", 0.99)), hold(weight, "errors"), outage(0.01, 1), "outage of both at %g %%", weight)
	}
	for _, weight := range []float64{80, 95} {
		add(1000, 500, 1000, none, hold(weight, "errors"), outage(0.01, 1), "outage of both at %g %%", weight)
	}
	add(1000, 500, 5000, none, hold(80, "errors"), outage(0.01, 0.1), "both go from 1 %% to 10 %% at 80 %%")
	add(1000, 0, 10_000, rarely(0.01, "aborted"), hold(20, "errors"), fails(0.02, 0.02), "1x, base 2 %%, SDKs repeat, at 20 %%").repeats = 2
	for _, weight := range []float64{5, 50} {
		refuses := func(r *rand.Rand, o *rollout.Outcome, _ bool) {
			o.Failed = r.Float64() < 0.01
			if o.Candidate && r.Float64() < 0.3 {
				o.Failed, o.Kind = true, "status_400"
			}
		}
		add(2000, 0, 500, caught(0.99, 100), hold(weight, "errors"), refuses, "400s for 30 %% of the candidate's requests at %g %%", weight)
		rescued := func(r *rand.Rand, o *rollout.Outcome, _ bool) { // by stable, and fast
			o.Failed = o.Candidate || r.Float64() < 0.01
			o.Latency = 0.5
		}
		add(2000, 0, 200, caught(0.999, 25), hold(weight, "errors"), rescued, "dead, with fallback stable, at %g %%", weight)
	}
	idle := add(3, 0, 0, none, ramp(5, 50, 100), fails(0, 0), "no traffic for 3 hours")
	idle.wanted = wanted{"nothing decided", func(t *tally, _ float64) bool { return t.aborted+t.paused+t.passed == 0 }}

	for _, sigma := range []float64{0.5, 1} {
		for _, factor := range []float64{1, 1.2, 1.5, 3} {
			for _, weight := range []float64{5, 50} {
				w := none
				switch factor {
				case 1, 1.2:
					w = both(rarely(0.01, "aborted"), most("passed", 0.95))
				case 1.5:
					w = rarely(0.01, "aborted")
				case 3:
					w = caught(0.99, 1000)
				}
				runs, limit := 200, 5000
				if weight == 5 {
					runs, limit = 60, 3000
				}
				add(runs, 0, limit, w, hold(weight, "latency"), slow(factor, sigma), "%gx latency, sigma %g, at %g %%", factor, sigma, weight)
			}
		}
	}
	for _, factor := range []float64{1, 1.2, 1.5, 3} {
		w := none
		switch factor {
		case 1:
			w = both(rarely(0.01, "aborted"), most("passed", 0.95))
		case 1.2:
			w = rarely(0.01, "aborted")
		case 3:
			w = caught(0.99, 1000)
		}
		add(60, 0, 5000, w, hold(50, "cost"), costs(factor, 0.7), "%gx cost, sigma 0.7, at 50 %%", factor)
	}
	return out
}

// ramp is a rollout that goes on as soon as its guard passes.
func ramp(percents ...float64) rollout.Spec {
	s := rollout.Spec{Guards: []rollout.GuardSpec{{Name: "errors"}}}
	for _, p := range percents {
		s.Steps = append(s.Steps, rollout.StepSpec{Percent: p})
	}
	return s
}

// staying is one that then stays at its last step.
func staying(percents ...float64) rollout.Spec {
	s := ramp(percents...)
	s.Steps[len(percents)-1].Duration = caddy.Duration(1000 * time.Hour)
	return s
}
