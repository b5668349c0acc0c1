package frontier

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/caddy-frontier/frontier/internal/demo"
	"github.com/caddy-frontier/frontier/routing/rollout"
	"github.com/caddy-frontier/frontier/tracing"
)

// The parts of the play in which the candidate turns bad. Users call all the
// time, and more seldom while the server stays up afterwards.

const (
	// turnedBad is what goes wrong with the candidate.
	turnedBad = `[{"kind": "500", "percent": 60}]`
	// calmRate is how often in a second users call while somebody looks around.
	calmRate = 100.0
)

func (p *play) regressionParts() []part {
	return []part{
		{"Production", p.productionAlone},
		{"5% of the users", p.firstStep},
		{"20% of the users, and a provider that turns bad", p.turnBad},
		{"What happened", p.account},
	}
}

// regression is what its parts hand on.
type regression struct {
	watch  *onlooker
	turned time.Time // when the candidate turned bad
	abort  rollout.Entry
	at     string // the step's percentage
	tally  demo.Tally
}

// productionAlone has users call while the rollout waits for the candidate's prompt.
func (p *play) productionAlone() (err error) {
	if p.production, err = p.registerVersion(productionName, p.Prompts[productionName][0], "as the application has it"); err != nil {
		return err
	}
	if err := p.alias(p.production, "production"); err != nil {
		return err
	}
	if err := p.fromTheStart(); err != nil { // where the data directory has what came of an earlier play
		return err
	}
	p.line(fmt.Sprintf("%s users call %s, up to %s times a second in all. A rollout to %s is declared:",
		count(productionUsers), p.Models.Stable.ID(), count(p.rate()), p.Models.Candidate.ID()))
	p.line("")
	for _, line := range p.host.Lines() {
		p.shell(strings.ReplaceAll(line, "\t", "    "))
	}
	p.line("")
	p.line(p.scenarioRollout())
	p.line(fmt.Sprintf("Here each is held for %s (--hold). The guards, and what they need, stay as they are.", p.host.Hold))
	p.line("")
	traffic := p.users("users", p.rate())
	w := p.watch(traffic)
	p.bad.watch = w
	v, err := w.until(func(*rolloutView) bool { return time.Since(w.began) > time.Second })
	if err == nil && v.Status.Phase == rollout.PhasePending {
		p.line(w.at(time.Now()) + v.Status.Reason)
	}
	return err
}

// fromTheStart takes a rollout back that another play has left behind.
func (p *play) fromTheStart() error {
	v, err := p.readRollout()
	if err != nil || v.Status.Phase == rollout.PhasePending || v.Status.Phase == rollout.PhaseAborted {
		return err
	}
	return p.ask(http.MethodPost, "/llm/routes/sentiment/rollout/abort", nil, map[string]any{"actor": "demo", "reason": "played again"}, new(rolloutView))
}

// firstStep gives the candidate its prompt, upon which the rollout starts.
func (p *play) firstStep() (err error) {
	w := p.bad.watch
	p.line(fmt.Sprintf("%s gets its prompt, and the rollout starts by itself. All is well:", p.Models.Candidate.ID()))
	p.line("")
	templates := p.Prompts[classifier]
	if p.better, err = p.registerVersion(productionName, templates[len(templates)-1], "with rules, for "+p.Models.Candidate.ID()); err != nil {
		return err
	}
	if err := p.alias(p.better, "candidate"); err != nil {
		return err
	}
	v, err := p.readRollout()
	if err != nil {
		return err
	}
	if v.Status.Phase == rollout.PhaseAborted {
		if err := p.ask(http.MethodPost, "/llm/routes/sentiment/rollout/resume", nil, map[string]any{"actor": "demo", "reason": "played again"}, v); err != nil {
			return err
		}
	}
	_, err = w.until(func(v *rolloutView) bool { return v.Status.Step == 2 || v.Status.Phase == rollout.PhaseAborted })
	return err
}

// turnBad lets the candidate fail, and waits for what the gateway does about it.
func (p *play) turnBad() error {
	w := p.bad.watch
	v, err := p.readRollout()
	if err != nil {
		return err
	}
	if v.Status.Phase != rollout.PhaseProgressing || v.Status.Step != 2 {
		return fmt.Errorf("the rollout was to be in its second step, and is %s in step %d: %s", v.Status.Phase, v.Status.Step, v.Status.Reason)
	}
	if err := w.let(500 * time.Millisecond); err != nil {
		return err
	}
	p.bad.turned = time.Now()
	if err := p.host.SwitchFaults(p.ctx, p.Models.Candidate, turnedBad); err != nil {
		return err
	}
	what := fmt.Sprintf("the provider of %s turns bad: 60%% of its answers are HTTP 500", p.Models.Candidate.ID())
	if p.colour {
		what = paint(text.FgYellow, what)
	}
	p.line(w.at(p.bad.turned) + what)
	p.line("")
	p.shell("curl -X PUT " + p.host.FaultsURL(p.Models.Candidate) + " \\")
	p.shell("  -d '" + turnedBad + "'")
	p.line("")
	v, err = w.until(func(v *rolloutView) bool { return v.Status.Phase == rollout.PhaseAborted })
	if err != nil {
		return err
	}
	log := v.Status.Log
	p.bad.abort = log[len(log)-1]
	if len(w.steps) > 0 {
		p.bad.at = percents(w.steps[len(w.steps)-1].percent)
	}
	if err := w.let(1500 * time.Millisecond); err != nil { // for what was under way, and to see that stable has it all
		return err
	}
	p.bad.tally = w.traffic.Stop()
	return w.unanswered()
}

// account tells what happened, from the gateway's traces.
func (p *play) account() error {
	all := p.bad.tally
	if all.Failed > 0 {
		return p.bad.watch.unanswered()
	}
	rescued, first, err := p.damage()
	if err != nil {
		return err
	}
	if p.bad.abort.Actor != "" {
		return fmt.Errorf("it was %s who aborted the rollout", p.bad.abort.Actor)
	}
	if len(rescued) == 0 || first.trace == "" {
		return errors.New("no trace is of a call that the candidate has failed")
	}
	users, latencies := map[string]bool{}, make([]float64, 0, len(rescued))
	for i := range rescued {
		users[orDash(rescued[i].User)] = true
		latencies = append(latencies, rescued[i].DurationMS)
	}
	sort.Float64s(latencies)
	median := latencies[len(latencies)/2]
	v, err := p.readRollout()
	if err != nil {
		return err
	}
	if v.Weights["stable"] != 100 || v.Weights["candidate"] != 0 {
		return fmt.Errorf("the rollout was aborted, with the weights %v", v.Weights)
	}
	after, err := p.onlyStable()
	if err != nil {
		return err
	}
	since := float64(p.bad.abort.At.Sub(first.at).Milliseconds())
	p.fields(
		field{"rolled back", fmt.Sprintf("at %s, %s after the first bad answer, by nobody but the guard", p.bad.at, milliseconds(&since))},
		field{"reason", p.bad.abort.Text},
		field{"first bad answer", fmt.Sprintf("HTTP %d, in trace %s", first.http, first.trace)},
		field{"weights now", fmt.Sprintf("stable %s, candidate %s; stable alone had the last %s calls", percents(v.Weights["stable"]), percents(v.Weights["candidate"]), count(float64(after)))},
		field{"users affected", fmt.Sprintf("%s of %s: the candidate failed %s of their calls", count(float64(len(users))), count(productionUsers), count(float64(len(rescued))))},
		field{"what they had", fmt.Sprintf("the answer of %s, after %s in the median", p.Models.Stable.ID(), milliseconds(&median))},
		field{"failed requests", fmt.Sprintf("%d of %s", all.Failed, count(float64(all.Calls)))},
	)
	p.line("")
	if err := p.servedTable(p.opened, all); err != nil {
		return err
	}
	return p.behind()
}

// badAnswer is one of the candidate's.
type badAnswer struct {
	at    time.Time
	http  int
	trace string
}

// damage are the calls that the candidate failed and the fallback answered,
// and the candidate's first bad answer.
func (p *play) damage() (rescued []tracing.Row, first badAnswer, err error) {
	// Every call has its trace before they are looked at.
	if _, _, err := p.settled(p.opened, p.bad.tally.Calls); err != nil {
		return nil, first, err
	}
	var repeated []tracing.Row
	q := url.Values{"route": {"sentiment"}, "since": {apiTime(p.bad.turned.Add(-time.Minute))}, "limit": {strconv.Itoa(damagePage)}}
	err = pages(p.request, "/llm/traces", q, func(row tracing.Row) error {
		if orDash(row.Assignment) == "fallback" {
			rescued = append(rescued, row)
		}
		if row.Attempts > 1 {
			repeated = append(repeated, row)
		}
		return nil
	})
	if err != nil {
		return nil, first, err
	}
	slices.SortFunc(repeated, func(a, b tracing.Row) int { return a.StartedAt.Compare(b.StartedAt.Time) })
	const enough = 20 // of the earliest calls, one has the earliest bad answer
	for _, row := range repeated[:min(len(repeated), enough)] {
		var t tracing.Trace
		if err := p.ask(http.MethodGet, "/llm/traces"+segments(row.ID), nil, nil, &t); err != nil {
			return nil, first, err
		}
		for _, s := range t.Spans {
			if s.ErrorClass == nil || s.HTTPStatus == nil {
				continue
			}
			if at := s.StartedAt.Add(time.Duration(s.DurationMS * float64(time.Millisecond))); first.trace == "" || at.Before(first.at) {
				first = badAnswer{at, *s.HTTPStatus, t.ID}
			}
		}
	}
	return rescued, first, nil
}

// damagePage is how many traces are asked for at once.
const damagePage = 1000

// behind shows one of the traces that the guard names.
func (p *play) behind() error {
	if len(p.bad.abort.Traces) == 0 {
		return errors.New("the guard names no trace")
	}
	var t tracing.Trace
	for i, id := range p.bad.abort.Traces {
		var one tracing.Trace
		if err := p.ask(http.MethodGet, "/llm/traces"+segments(id), nil, nil, &one); err != nil {
			return fmt.Errorf("reading a trace that the guard names: %w", err)
		}
		asked := len(one.Spans) > 0 && one.Spans[0].HTTPStatus != nil // rather than left alone, after many faults
		if i == 0 || asked {
			t = one
		}
		if asked {
			break
		}
	}
	p.traced = t.ID
	p.line("")
	p.line(fmt.Sprintf("The guard names %d traces. One of them, as its user never saw it:", len(p.bad.abort.Traces)))
	p.line("")
	p.fields(
		field{"trace", t.ID},
		field{"user", orDash(t.User)},
		field{"status", fmt.Sprintf("%s, after %s", t.Status, milliseconds(&t.DurationMS))},
	)
	p.line("")
	spans := table{columns: []column{{name: "attempt", right: true}, {name: "variant"}, {name: "model"}, {name: "http", right: true}, {name: "latency", right: true}, {name: "error"}}}
	for i, s := range t.Spans {
		status := "-"
		if s.HTTPStatus != nil {
			status = strconv.Itoa(*s.HTTPStatus)
		}
		spans.add(strconv.Itoa(i+1), orDash(s.Variant), modelOf(s.Provider, s.Model), status, milliseconds(&s.DurationMS), cut(orDash(s.Message), 40))
	}
	p.table(spans)
	return nil
}

// onlyStable checks that stable alone had the calls since a moment after the rollback.
func (p *play) onlyStable() (int64, error) {
	const moment = 100 * time.Millisecond
	query := url.Values{"group_by": {"variant"}, "route": {"sentiment"}, "since": {apiTime(p.bad.abort.At.Add(moment))}}
	var stats tracing.Stats
	if err := p.ask(http.MethodGet, "/llm/stats", query, nil, &stats); err != nil {
		return 0, err
	}
	var stable int64
	for _, item := range stats.Items {
		switch {
		case orDash(item.Variant) == "stable":
			stable = item.Requests
		case item.Requests > 0:
			return 0, fmt.Errorf("%s had %d calls after the rollback", orDash(item.Variant), item.Requests)
		}
	}
	return stable, nil
}

// lookAfter says how the rollout is taken up again while users go on calling.
func (p *play) lookAfter() {
	p.line("")
	p.line(fmt.Sprintf("The server is still up, and users go on, %s calls a second. Look around from another terminal:", count(calmRate)))
	p.line("")
	p.commands("traces show "+p.traced, "traces list --limit 5", "routes show sentiment", "stats")
	p.line("")
	p.line("The candidate gets nothing until somebody begins the rollout again, once its provider is well:")
	p.line("")
	p.shell("curl -X PUT " + p.host.FaultsURL(p.Models.Candidate) + " -d '[]'")
	p.commands("rollout resume sentiment")
	p.line("")
	p.line("Ctrl-C stops it.")
}
