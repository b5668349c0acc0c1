package frontier

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// printRoute writes a route as a Caddyfile declares it: what route parses.
func printRoute(name string, r *routing.Route) (string, error) {
	r = canonical(r)
	w := new(caddyfileWriter)
	w.open("route", name)
	if m := r.Match; m != nil {
		w.list("match model", m.Model)
		w.list("match prompt", m.Prompt)
		for _, field := range sortedKeys(m.Header) {
			w.line("match", "header", field, m.Header[field])
		}
	}
	for _, v := range r.Variants {
		w.variant(v)
	}
	w.value("sticky", r.Sticky)
	w.list("fallback", r.Fallback)
	w.value("unrecognized", r.Unrecognized)
	w.onOff("recognize", r.Recognize)
	w.onOff("adapt", r.Adapt)
	if r.Rollout != nil {
		w.rollout(r.Rollout)
	}
	w.close()
	out := string(caddyfile.Format(w.Bytes()))
	if err := readsAs(out, name, r); err != nil {
		return "", fmt.Errorf("route %q has what a Caddyfile cannot say (%w); take it over as JSON, from: caddy llm routes show %s --json", name, err, name)
	}
	return out, nil
}

// canonical is the route as a Caddyfile is read: JSON may have header fields in
// any case, and one end of a rollout alone.
func canonical(r *routing.Route) *routing.Route {
	c := *r
	if r.Match != nil && r.Match.Header != nil {
		match := *r.Match
		match.Header = map[string]string{}
		for field, value := range r.Match.Header {
			match.Header[http.CanonicalHeaderKey(field)] = value
		}
		c.Match = &match
	}
	if s := r.Rollout; s != nil && (s.From == "") != (s.To == "") {
		spec := *s
		spec.From, spec.To = ends(s)
		c.Rollout = &spec
	}
	return &c
}

// readsAs checks that the lines are read as the route that they were written of.
func readsAs(lines, name string, want *routing.Route) error {
	tokens, err := caddyfile.Tokenize([]byte("llm {\n"+lines+"}\n"), "the route")
	if err != nil {
		return err
	}
	p := parser{Dispenser: caddyfile.NewDispenser(tokens), app: new(App), places: map[string]*caddyfile.Dispenser{}}
	p.Next()
	if err := p.block("", "llm", globalSyntax, p.option); err != nil {
		return err
	}
	got, err := json.Marshal(p.app.Route[name])
	if err != nil {
		return err
	}
	wanted, err := json.Marshal(want)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, wanted) {
		return fmt.Errorf("it is read as %s", got)
	}
	return nil
}

// caddyfileWriter writes options; formatting is Caddy's.
type caddyfileWriter struct{ bytes.Buffer }

func (w *caddyfileWriter) line(tokens ...string) {
	for i, t := range tokens {
		if i > 0 {
			w.WriteByte(' ')
		}
		w.WriteString(quoted(t))
	}
	w.WriteByte('\n')
}

func (w *caddyfileWriter) open(tokens ...string) {
	w.line(tokens...)
	w.Truncate(w.Len() - 1)
	w.WriteString(" {\n")
}

func (w *caddyfileWriter) close() { w.WriteString("}\n") }

func (w *caddyfileWriter) value(option, v string) {
	if v != "" {
		w.line(option, v)
	}
}

// list writes an option, of one or two words, with all of its values.
func (w *caddyfileWriter) list(option string, values []string) {
	if len(values) > 0 {
		w.line(append(strings.Fields(option), values...)...)
	}
}

func (w *caddyfileWriter) onOff(option string, v *bool) {
	switch {
	case v == nil:
	case *v:
		w.line(option, "on")
	default:
		w.line(option, "off")
	}
}

func (w *caddyfileWriter) duration(option string, d caddy.Duration) {
	if d != 0 {
		w.line(option, exactSpan(time.Duration(d)))
	}
}

func (w *caddyfileWriter) variant(v *routing.Variant) {
	before := w.Len()
	w.open("variant", v.Name, v.Model)
	empty := w.Len()
	if v.Weight != nil {
		w.line("weight", percents(*v.Weight))
	}
	w.value("prompt", v.Prompt)
	for _, name := range sortedKeys(v.Param) {
		w.line("param", name, paramValue(v.Param[name]))
	}
	for _, name := range v.Unset {
		w.line("param", name, "unset")
	}
	w.duration("connect_timeout", v.ConnectTimeout)
	w.duration("header_timeout", v.HeaderTimeout)
	w.duration("first_token_timeout", v.FirstTokenTimeout)
	w.duration("idle_timeout", v.IdleTimeout)
	w.duration("timeout", v.Timeout)
	if v.Attempts != 0 {
		w.line("attempts", fmt.Sprint(v.Attempts))
	}
	if w.Len() == empty {
		w.Truncate(before)
		w.line("variant", v.Name, v.Model)
		return
	}
	w.close()
}

// paramValue writes JSON; a string that is not JSON itself without its quotes.
func paramValue(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil && s != "" && s != "unset" && !json.Valid([]byte(s)) {
		return s
	}
	return string(raw)
}

func (w *caddyfileWriter) rollout(s *rollout.Spec) {
	if s.From != "" || s.To != "" {
		w.open("rollout", s.From, s.To)
	} else {
		w.open("rollout")
	}
	for _, step := range s.Steps {
		tokens := []string{"step", percents(step.Percent)}
		if step.Duration != 0 {
			tokens = append(tokens, exactSpan(time.Duration(step.Duration)))
		}
		if step.MinRequests != 0 {
			tokens = append(tokens, "min_requests", fmt.Sprint(step.MinRequests))
		}
		if step.Wait {
			tokens = append(tokens, "wait")
		}
		w.line(tokens...)
	}
	for _, g := range s.Guards {
		w.line(append([]string{"guard", g.Name}, g.Args...)...)
	}
	if s.Webhook != "" {
		w.line("webhook", "event", s.Webhook)
	}
	w.close()
}

// plain is a token that needs no quotes: braces are those of placeholders.
var plain = regexp.MustCompile("^(?:[^\\s\"`\\\\{}]|\\{[^\\s\"`\\\\{}]+\\})+$")

// quoted writes a token as Caddy's lexer reads it. What cannot be written is
// noticed by reading it again.
func quoted(token string) string {
	switch {
	case plain.MatchString(token) && token[0] != '#' && !strings.HasPrefix(token, "<<"):
		return token
	case !strings.Contains(token, "`"):
		return "`" + token + "`"
	}
	return `"` + strings.ReplaceAll(token, `"`, `\"`) + `"`
}

// caddyfile prints the lines that make what is in force what is declared.
func (v *routeView) caddyfile() (string, error) {
	spec, made := v.declaration()
	lines, err := printRoute(v.Name, &spec)
	if err != nil {
		return "", err
	}
	return "# Route " + v.Name + " " + printable(made, false) + "\n" + lines, nil
}

// declaration is the route with the weights in force, and what it was made
// from. A rollout that is under way stays, and goes on by what is stored.
func (v *routeView) declaration() (spec routing.Route, made string) {
	s := &v.Status
	spec = v.Spec
	if spec.Rollout != nil && !v.over() {
		return spec, fmt.Sprintf("as it is declared: its rollout is %s, and goes on with %s.", s.rollout(), v.weights())
	}
	spec.Rollout = nil
	spec.Variants = make([]*routing.Variant, len(v.Spec.Variants))
	for i, variant := range v.Spec.Variants {
		copied := *variant
		weight := v.Weights[variant.Name]
		copied.Weight = &weight
		spec.Variants[i] = &copied
	}
	switch {
	case v.Spec.Rollout != nil && s.Phase == rollout.PhasePaused:
		return spec, fmt.Sprintf("with the weights in force since %s, without its rollout: %s", sinceBy(s), s.Reason)
	case v.Spec.Rollout != nil:
		return spec, fmt.Sprintf("with the weights in force, without its rollout, which was %s on %s: %s", s.Phase, sinceBy(s), s.Reason)
	case maps.Equal(s.Declared, v.Weights):
		return spec, "as it is declared: these weights are in force."
	}
	made = "with the weights set on " + sinceBy(s)
	if s.Reason != "" {
		made += ": " + s.Reason
	}
	return spec, made
}

// over reports whether the weights in force are not the rollout's any more to move.
func (v *routeView) over() bool {
	switch v.Status.Phase {
	case rollout.PhaseCompleted, rollout.PhaseAborted:
		return true
	case rollout.PhasePaused: // set by hand, if they are not the step's
		from, to := ends(v.Spec.Rollout)
		wanted := 0.0
		if step := v.step(); step != nil {
			wanted = step.Percent
		}
		return math.Round(v.Weights[to]*100) != math.Round(wanted*100) || math.Round(v.Weights[from]*100) != math.Round((100-wanted)*100)
	}
	return false
}
