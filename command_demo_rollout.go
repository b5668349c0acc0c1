package frontier

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/caddy-frontier/frontier/internal/demo"
	"github.com/caddy-frontier/frontier/routing/rollout"
	"github.com/caddy-frontier/frontier/tracing"
)

// The production that the demo simulates.
const (
	productionUsers = 3000
	productionRate  = 500.0 // calls a second
	productionFast  = 800.0 // with --fast
)

// rollOut declares the scenario's rollout and follows it to its end.
func (p *play) rollOut() error {
	p.line(p.scenarioRollout())
	p.line(fmt.Sprintf("Here each is held for %s (--hold). The guards, and what they need, stay as they are.", p.host.Hold))
	p.line("These lines take the place of the weights in the route's block, and the Caddyfile is reloaded:")
	p.line("")
	p.host.Rollout = true
	for _, line := range p.host.Lines() {
		p.shell(strings.ReplaceAll(line, "\t", "    "))
	}
	p.line("")
	p.app.Close() // idle connections, which the reload would close under a call
	if err := p.host.Start(); err != nil {
		return fmt.Errorf("reloading the Caddyfile: %w", err)
	}
	traffic := p.users("rollout", p.rate())
	defer traffic.Stop()
	p.line(fmt.Sprintf("%s users call %s, up to %s times a second in all:", count(productionUsers), p.Models.Stable.ID(), count(p.rate())))
	p.line("")
	w := p.watch(traffic)
	route, err := w.until(func(r *rolloutView) bool { return r.Status.Phase == rollout.PhaseCompleted })
	if err != nil {
		return err
	}
	if err := w.let(time.Second); err != nil {
		return err
	}
	tally := traffic.Stop()
	if err := w.unanswered(); err != nil {
		return err
	}
	if route.Weights["candidate"] != 100 {
		return fmt.Errorf("the rollout is completed, with the weights %v", route.Weights)
	}
	p.line("")
	p.line("What each step took, and what the guards had found when last read in it:")
	p.line("")
	p.table(w.stepTable())
	p.line("")
	return p.servedTable(p.began, tally)
}

// scenarioRollout says what the scenario's rollout is.
func (p *play) scenarioRollout() string {
	var steps []string
	for _, s := range p.Rollout {
		step := percents(s.Percent)
		if s.Hold != "" {
			step += " for " + s.Hold
		}
		steps = append(steps, step)
	}
	return "The scenario's rollout, in percent of the users: " + strings.Join(steps, ", ") + "."
}

// rate is how many calls a second there are in all.
func (p *play) rate() float64 {
	if p.host.Fast {
		return productionFast
	}
	return productionRate
}

// users begin to call, so often in a second. Which of them calls next is drawn from the seed.
func (p *play) users(tag string, rate float64) *demo.Traffic {
	draw := rand.New(rand.NewPCG(uint64(p.host.Seed), 0)) //nolint:gosec // a play is to be the same again
	call := demo.Call{Model: p.Models.Stable.ID(), Tag: p.tag(tag)}
	latency := p.Models.Stable.LatencyMS / 1000
	if p.host.Fast {
		latency /= demo.Faster
	}
	atOnce := max(16, int(1.5*rate*latency))
	return p.app.Begin(p.ctx, rate, atOnce, func() demo.Call {
		c := call
		c.User = fmt.Sprintf("user-%d-%04d", p.host.Seed, draw.IntN(productionUsers)+1)
		c.Message = demo.Paste(p.Prompts[productionName][0], p.Records[draw.IntN(len(p.Records))].Text)
		return c
	})
}

// rolloutView is a route whose rollout is followed.
type rolloutView struct {
	Status struct {
		Phase  rollout.Phase         `json:"phase"`
		Step   int                   `json:"step"`
		Reason string                `json:"reason"`
		Guards []rollout.GuardStatus `json:"guards"`
		Units  map[string]int        `json:"units"`
		Log    []rollout.Entry       `json:"log"`
	} `json:"status"`
	Weights map[string]float64 `json:"weights"`
}

func (p *play) readRollout() (*rolloutView, error) {
	v := new(rolloutView)
	return v, p.ask(http.MethodGet, "/llm/routes/sentiment", nil, nil, v)
}

// onlooker follows a rollout while there is traffic.
type onlooker struct {
	*play
	traffic *demo.Traffic
	began   time.Time
	told    rollout.Entry // the last decision that was printed
	held    int           // the last step of which it was printed what it waits for
	steps   []stepTaken
}

// stepTaken is what was seen of a step.
type stepTaken struct {
	step         int
	percent      float64
	began, ended time.Time
	before       int // answers of the candidate before it
	answers      int // and in it
	units        map[string]int
	guards       []rollout.GuardStatus
}

const (
	watchEvery = 100 * time.Millisecond
	// watchLimit is for how long a rollout may decide nothing, besides what it is to hold.
	watchLimit = 2 * time.Minute
)

func (p *play) watch(traffic *demo.Traffic) *onlooker {
	return &onlooker{play: p, traffic: traffic, began: time.Now()}
}

// until follows the rollout until it is so. It prints the decisions as they
// are made and, on a terminal, where the rollout is. An unanswered call ends it.
func (w *onlooker) until(so func(*rolloutView) bool) (*rolloutView, error) {
	defer w.clearLive()
	decided := time.Now()
	for {
		v, err := w.readRollout()
		if err != nil {
			if unanswered := w.unanswered(); unanswered != nil {
				err = unanswered // what users miss is the worse
			}
			return nil, err
		}
		if w.tell(v) {
			decided = time.Now()
		}
		w.keep(v)
		if so(v) {
			return v, nil
		}
		if err := w.unanswered(); err != nil {
			return nil, err
		}
		if time.Since(decided) > watchLimit+w.host.Hold {
			return nil, fmt.Errorf("the rollout does not go on: %s, %s", v.Status.Phase, v.Status.Reason)
		}
		w.live(v)
		if err := w.wait(watchEvery); err != nil {
			return nil, err
		}
	}
}

// let goes on for a while.
func (w *onlooker) let(d time.Duration) error {
	end := time.Now().Add(d)
	_, err := w.until(func(*rolloutView) bool { return time.Now().After(end) })
	return err
}

// unanswered is the error of a call that got no answer, if there was one.
func (w *onlooker) unanswered() error {
	t := w.traffic.Tally()
	if t.Failed == 0 || w.ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("%s of %s calls got no answer, which the fallback was to prevent; the first: %w", count(float64(t.Failed)), count(float64(t.Calls)), t.First)
}

// tell prints the decisions that are new, and reports whether there were any.
func (w *onlooker) tell(v *rolloutView) bool {
	log := v.Status.Log
	first := len(log)
	for first > 0 && log[first-1].At.After(w.play.began.Truncate(time.Millisecond)) && (!log[first-1].At.Equal(w.told.At) || log[first-1].Text != w.told.Text) {
		first--
	}
	for _, e := range log[first:] {
		w.clearLive()
		line := e.Text
		if w.colour {
			switch v.Status.Phase {
			case rollout.PhaseAborted:
				line = paint(text.FgRed, line)
			case rollout.PhaseCompleted:
				line = paint(text.FgGreen, line)
			default:
				line = paint(text.Bold, line)
			}
		}
		w.line(w.at(e.At) + line)
		w.told = e
	}
	return first < len(log)
}

// at is the time of something since the traffic began, as a line begins with it.
func (w *onlooker) at(t time.Time) string {
	return fmt.Sprintf("%5.1f s  ", max(t.Sub(w.began).Seconds(), 0))
}

// keep remembers what there is to see of the step, and prints once what it waits for.
func (w *onlooker) keep(v *rolloutView) {
	s := &v.Status
	now, served := time.Now(), w.traffic.Tally().Served["candidate"]
	last := len(w.steps) - 1
	if s.Phase == rollout.PhaseProgressing || s.Phase == rollout.PhaseInconclusive {
		if last < 0 || w.steps[last].step != s.Step {
			w.steps = append(w.steps, stepTaken{step: s.Step, percent: v.Weights["candidate"], began: now, before: served})
			last++
		}
	} else if last < 0 || !w.steps[last].ended.IsZero() {
		return
	}
	t := &w.steps[last]
	if last > 0 && w.steps[last-1].ended.IsZero() {
		w.steps[last-1].ended = now
	}
	t.answers = served - t.before
	if s.Step != t.step || s.Phase == rollout.PhaseCompleted || s.Phase == rollout.PhaseAborted {
		t.ended = now
	}
	if len(s.Guards) == 0 {
		return
	}
	t.guards, t.units = s.Guards, s.Units
	if w.held != s.Step && strings.HasPrefix(s.Reason, "held") {
		w.held = s.Step
		w.clearLive()
		w.line(w.at(now) + s.Reason)
	}
}

// live shows, on a terminal only, the steps, the weights and what is missing, in a line that the next one replaces.
func (w *onlooker) live(v *rolloutView) {
	if !w.terminal {
		return
	}
	var steps []string
	for i, s := range w.Rollout {
		step := percents(s.Percent)
		if i+1 == v.Status.Step {
			step = "[" + step + "]"
		}
		steps = append(steps, step)
	}
	line := fmt.Sprintf("%s%s  stable %s, candidate %s  %s calls  %s", w.at(time.Now()), strings.Join(steps, " > "),
		percents(v.Weights["stable"]), percents(v.Weights["candidate"]), count(float64(w.traffic.Tally().Calls)), printable(v.Status.Reason, false))
	width := w.liveWidth()
	if r := []rune(line); len(r) > width {
		line = string(r[:width-3]) + "..."
	}
	fmt.Fprintf(w.out, "\r%-*s", width, line)
}

func (w *onlooker) clearLive() {
	if w.terminal {
		fmt.Fprintf(w.out, "\r%*s\r", w.liveWidth(), "")
	}
}

// liveWidth leaves the last column free, where some terminals would begin another line.
func (w *onlooker) liveWidth() int {
	if w.width <= 0 {
		return 79
	}
	return max(w.width-1, 20)
}

// stepTable is what each step took.
func (w *onlooker) stepTable() table {
	t := table{columns: []column{{name: "step", right: true}, {name: "took", right: true}, {name: "users measured", right: true}, {name: "answers", right: true}}}
	for _, name := range []string{"errors", "latency", "cost"} {
		t.columns = append(t.columns, column{name: name})
	}
	for _, s := range w.steps {
		took := float64(s.ended.Sub(s.began).Milliseconds())
		row := []string{percents(s.percent), milliseconds(&took), count(float64(s.units["candidate"])), count(float64(s.answers))}
		for _, name := range []string{"errors", "latency", "cost"} {
			row = append(row, found(s.guards, name))
		}
		t.add(row...)
	}
	return t
}

// found is what a guard had found, and what it may at most.
func found(guards []rollout.GuardStatus, name string) string {
	for _, g := range guards {
		if g.Name != name || g.Value == nil || g.Threshold == nil {
			continue
		}
		if name == "errors" {
			return fmt.Sprintf("%+.1f%% (of +%g%%)", *g.Value*100, *g.Threshold*100)
		}
		return fmt.Sprintf("%.2fx (of %gx)", *g.Value, *g.Threshold)
	}
	return "-"
}

// servedTable prints who answered the calls since then, as the gateway's
// statistics have it, and holds that against what the users had.
func (p *play) servedTable(since time.Time, tally demo.Tally) error {
	stats, dropped, err := p.settled(since, tally.Calls)
	if err != nil {
		return err
	}
	t := table{columns: []column{{name: "answered by"}, {name: "model"}}}
	for _, name := range []string{"calls", "users", "failed", "p50", "p95", "cost", "cost of 1,000"} {
		t.columns = append(t.columns, column{name: name, right: true})
	}
	models := map[string]string{"stable": p.Models.Stable.ID(), "candidate": p.Models.Candidate.ID()}
	for _, name := range []string{"stable", "candidate"} {
		for _, item := range stats.Items {
			if orDash(item.Variant) != name {
				continue
			}
			if answers := int(item.Requests - item.Errors); answers > tally.Served[name] || answers < tally.Served[name]-dropped || item.CostUSD == nil {
				return fmt.Errorf("the statistics have %d answers of %s, and the users had %d", item.Requests-item.Errors, name, tally.Served[name])
			}
			thousand := *item.CostUSD / float64(item.Requests) * 1000
			t.add(name, models[name], count(float64(item.Requests)), count(float64(tally.Users[name])), strconv.FormatInt(item.Errors, 10),
				milliseconds(item.LatencyMS.P50), milliseconds(item.LatencyMS.P95), dollars(item.CostUSD), dollars(&thousand))
		}
	}
	p.table(t)
	if dropped > 0 {
		p.line(fmt.Sprintf("Without %s calls, whose traces were dropped: this machine is too busy to keep them all.", count(float64(dropped))))
	}
	return nil
}

// settled returns the statistics since then by variant, once they have all
// calls but those whose traces were dropped, as happens on a machine that is too busy.
func (p *play) settled(since time.Time, calls int) (stats *tracing.Stats, dropped int, err error) {
	query := url.Values{"group_by": {"variant"}, "route": {"sentiment"}, "since": {apiTime(since)}}
	for limit := time.Now().Add(10 * time.Second); ; {
		var gateway struct {
			Traces tracing.Counters `json:"traces"`
		}
		if err := p.ask(http.MethodGet, "/llm/", nil, nil, &gateway); err != nil {
			return nil, 0, err
		}
		dropped = 0
		for _, n := range gateway.Traces.Dropped {
			dropped += int(n)
		}
		stats = new(tracing.Stats)
		if err := p.ask(http.MethodGet, "/llm/stats", query, nil, stats); err != nil {
			return nil, 0, err
		}
		n := dropped
		for _, item := range stats.Items {
			n += int(item.Requests)
		}
		if n == calls {
			return stats, dropped, nil
		}
		if time.Now().After(limit) {
			return nil, 0, fmt.Errorf("the gateway has %d traces of %d calls, and has dropped %d", n-dropped, calls, dropped)
		}
		if err := p.wait(100 * time.Millisecond); err != nil {
			return nil, 0, err
		}
	}
}

// apiTime writes a time as the admin API has them.
func apiTime(t time.Time) string {
	return t.UTC().Truncate(time.Millisecond).Format("2006-01-02T15:04:05.000Z")
}
