package frontier

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/caddy-frontier/frontier/routing/rollout"
)

// decisionsShown is how many of the last decisions one screen has.
const decisionsShown = 8

// rollout prints how a route's rollout stands, on one screen.
func (r *request) rollout(route *routeView) {
	r.rolloutScreen(route)
	if route.Spec.Rollout == nil {
		r.note("Route %q has no rollout. Declare one in the configuration: route %s { … rollout { step 5%% 1d … } }", route.Name, route.Name)
	}
}

func (p printer) rolloutScreen(route *routeView) {
	status := &route.Status
	p.paintedFields(paintRollout(status),
		field{"route", route.Name},
		field{"rollout", route.fromTo()},
		field{"steps", route.stepper()},
		field{"weights", route.weights()},
		field{"phase", phaseInWords(status)},
		field{"since", sinceBy(status)},
		field{"reason", status.Reason},
		field{"step", route.stepInWords()},
		field{"held", route.held()},
		field{"units", route.units()},
		field{"not recognised", lostPrompts(status)},
		field{"stored", notStored(status)},
	)
	if len(status.Guards) > 0 {
		p.line("")
		p.guards(status.Guards)
	}
	if log := status.Log; len(log) > 0 {
		title := "Decisions"
		if more := len(log) - decisionsShown; more > 0 {
			title = fmt.Sprintf("Decisions (the last %d of %d)", decisionsShown, len(log))
			log = log[more:]
		}
		p.heading(title)
		for i := range log {
			p.decision(&log[i])
		}
	}
}

func (v *routeView) fromTo() string {
	if v.Spec.Rollout == nil {
		return "none"
	}
	from, to := ends(v.Spec.Rollout)
	s := fmt.Sprintf("from %s to %s", from, to)
	if v.Status.Generation > 1 {
		s += fmt.Sprintf(", generation %d", v.Status.Generation)
	}
	return s
}

// ends are the variants that a rollout moves traffic between.
func ends(s *rollout.Spec) (from, to string) {
	return cmp.Or(s.From, "stable"), cmp.Or(s.To, "candidate")
}

// stepper writes the steps in a row: done, the one in force, and those to come.
func (v *routeView) stepper() string {
	if v.Spec.Rollout == nil {
		return ""
	}
	parts := make([]string, len(v.Spec.Rollout.Steps))
	for i, step := range v.Spec.Rollout.Steps {
		mark := "·"
		switch n := i + 1; {
		case n < v.Status.Step, v.Status.Phase == rollout.PhaseCompleted:
			mark = stepDone
		case n == v.Status.Step:
			mark = stepMark(v.Status.Phase)
		}
		parts[i] = mark + " " + percents(step.Percent)
	}
	return strings.Join(parts, stepGap)
}

const stepDone, stepGap = "✓", "   "

// stepMark is that of the step in force.
func stepMark(phase rollout.Phase) string {
	switch phase {
	case rollout.PhaseAborted:
		return "✗"
	case rollout.PhasePaused:
		return "‖"
	case rollout.PhaseInconclusive:
		return "?"
	}
	return "▸"
}

// paintRollout paints the steps and the phase.
func paintRollout(s *routeStatus) func(field) string {
	colour := paintPhase(string(s.Phase))
	return func(f field) string {
		switch f.name {
		case "steps":
			parts := strings.Split(f.value, stepGap)
			for i, part := range parts {
				switch {
				case strings.HasPrefix(part, stepDone):
					parts[i] = paint(text.FgGreen, part)
				case i+1 == s.Step:
					parts[i] = paint(colour, part)
				}
			}
			return strings.Join(parts, stepGap)
		case "phase":
			name, words, _ := strings.Cut(f.value, ":")
			if words != "" {
				words = ":" + words
			}
			return paint(colour, name) + words
		}
		return f.value
	}
}

func paintPhase(phase string) text.Color {
	name, _, _ := strings.Cut(phase, " ")
	switch rollout.Phase(name) {
	case rollout.PhaseCompleted:
		return text.FgGreen
	case rollout.PhaseAborted:
		return text.FgRed
	case rollout.PhasePaused, rollout.PhaseInconclusive:
		return text.FgYellow
	case rollout.PhaseProgressing:
		return text.FgCyan
	}
	return text.Reset
}

// phaseInWords says what the phase means.
func phaseInWords(s *routeStatus) string {
	switch s.Phase {
	case rollout.PhasePending:
		return "pending: it has not begun"
	case rollout.PhasePaused:
		return "paused: held until somebody resumes it"
	case rollout.PhaseInconclusive:
		return "inconclusive: the time of the step is over, the evidence is not there"
	case rollout.PhaseAborted:
		return "aborted: all traffic was taken back, until somebody resumes it"
	case rollout.PhaseNone:
		return ""
	}
	return string(s.Phase)
}

func sinceBy(s *routeStatus) string {
	if s.Since == "" {
		return ""
	}
	since := localTime(s.Since)
	if s.Actor != "" {
		since += " by " + s.Actor
	}
	return since
}

// step is the step in force; nil: none is.
func (v *routeView) step() *rollout.StepSpec {
	if v.Spec.Rollout == nil || v.Status.Step < 1 || v.Status.Step > len(v.Spec.Rollout.Steps) || v.Status.Phase == rollout.PhaseCompleted {
		return nil
	}
	return &v.Spec.Rollout.Steps[v.Status.Step-1]
}

func (v *routeView) stepInWords() string {
	step := v.step()
	if step == nil {
		return ""
	}
	_, to := ends(v.Spec.Rollout)
	s := fmt.Sprintf("%d of %d: %s for %s", v.Status.Step, v.Status.Steps, percents(step.Percent), to)
	if step.MinRequests > 0 {
		s += fmt.Sprintf(", at least %s units", count(float64(step.MinRequests)))
	}
	if step.Wait {
		s += ", until somebody promotes it"
	}
	return s
}

func (v *routeView) held() string {
	step := v.step()
	if step == nil {
		return ""
	}
	held := span(time.Duration(v.Status.HeldMS) * time.Millisecond)
	if step.Duration == 0 {
		return held + ", as long as the guards need"
	}
	return held + " of at least " + span(time.Duration(step.Duration))
}

func (v *routeView) units() string {
	var parts []string
	for _, variant := range v.Spec.Variants {
		if n, ok := v.Status.Units[variant.Name]; ok {
			parts = append(parts, variant.Name+" "+count(float64(n)))
		}
	}
	return strings.Join(parts, ", ")
}

func lostPrompts(s *routeStatus) string {
	if s.Unrecognized == 0 {
		return ""
	}
	return fmt.Sprintf("%s of %s requests in this step", count(float64(s.Unrecognized)), count(float64(s.Unrecognized+s.Recognized)))
}

func notStored(s *routeStatus) string {
	if s.Persisted {
		return ""
	}
	return "not yet: it would be lost if the server stopped now"
}

func (p printer) guards(guards []rollout.GuardStatus) {
	t := table{columns: []column{
		{name: "guard"}, {name: "outcome", paint: paintOutcome}, {name: "value", right: true}, {name: "interval"}, {name: "threshold"}, {name: "missing", wrap: true},
	}}
	for i := range guards {
		g := &guards[i]
		measure := measureOf(g.Name)
		t.add(g.Name, string(g.Outcome), measure(g.Value), interval(g, measure), threshold(g, measure), g.Needed)
	}
	p.table(t)
}

func paintOutcome(outcome string) text.Color {
	switch rollout.Result(outcome) {
	case rollout.Pass:
		return text.FgGreen
	case rollout.Fail, rollout.Error:
		return text.FgRed
	case rollout.Inconclusive:
		return text.FgYellow
	}
	return text.Reset
}

// measureOf is how a guard's figures are written: differences with a sign, ratios with an x.
func measureOf(guard string) func(*float64) string {
	return func(v *float64) string {
		if v == nil {
			return "-"
		}
		switch guard {
		case "latency", "cost":
			return strings.TrimSuffix(significant(*v), ".") + "x"
		case "consistency":
			return share(*v)
		}
		sign := ""
		if *v > 0 {
			sign = "+"
		}
		return sign + share(*v)
	}
}

// significant writes a ratio with three digits.
func significant(v float64) string {
	digits := 2 - int(math.Floor(math.Log10(max(math.Abs(v), 0.001))))
	return trimZeros(v, min(max(digits, 0), 4))
}

func interval(g *rollout.GuardStatus, measure func(*float64) string) string {
	switch {
	case g.High == nil && (g.Low == nil || *g.Low == 0): // a ratio of which nothing is known
		return "-"
	case g.High == nil:
		return "from " + measure(g.Low)
	case g.Low == nil:
		return "up to " + measure(g.High)
	}
	return measure(g.Low) + " to " + measure(g.High)
}

func threshold(g *rollout.GuardStatus, measure func(*float64) string) string {
	if g.Name == "consistency" || g.Name == "quality" {
		return "≥ " + measure(g.Threshold)
	}
	return "≤ " + measure(g.Threshold)
}

// decision prints an entry of the log, with its traces below it.
func (p printer) decision(e *rollout.Entry) {
	at := e.At.Local().Format(time.DateTime)
	p.wrapped(at+"  ", printable(decisionText(e), false))
	if len(e.Traces) > 0 {
		p.wrapped(strings.Repeat(" ", len(at))+"  ", printable("traces "+strings.Join(e.Traces, " "), false))
	}
}

func decisionText(e *rollout.Entry) string {
	if e.Actor == "" {
		return e.Text
	}
	return e.Actor + ": " + e.Text
}

// span writes a duration as the Caddyfile does: 1d, 12h, 1d6h, 90s as 1m30s.
func span(d time.Duration) string {
	if d >= time.Second {
		d = d.Round(time.Second)
	} else {
		d = d.Round(time.Millisecond)
	}
	return exactSpan(d)
}

func exactSpan(d time.Duration) string {
	const day = 24 * time.Hour
	days := ""
	if d >= day {
		days = fmt.Sprintf("%dd", d/day)
		if d %= day; d == 0 {
			return days
		}
	}
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return days + s
}
