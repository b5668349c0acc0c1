// Package routing decides where a call goes and takes it there: routes and
// their variants, sticky assignment by weight, and the handlers llm_router
// and llm_proxy.
package routing

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing/rollout"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// Timeouts bound a call at a provider. They can be set on a provider and on a
// variant; the variant's win.
type Timeouts struct {
	// How long connecting may take, TLS included. Default: 5s.
	ConnectTimeout caddy.Duration `json:"connect_timeout,omitempty"`
	// How long the provider may take to begin an answer. Default: 60s for streams;
	// none otherwise, because a plain answer sends its header when it is complete.
	HeaderTimeout caddy.Duration `json:"header_timeout,omitempty"`
	// How long a stream may take to its first content. Default: 2m.
	FirstTokenTimeout caddy.Duration `json:"first_token_timeout,omitempty"`
	// How long a stream may be silent between two events. Default: 2m.
	IdleTimeout caddy.Duration `json:"idle_timeout,omitempty"`
	// The budget of time of the whole call, with all its attempts. Default: 10m.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// How often a variant is tried before the next one is. Default: 2.
	Attempts int `json:"attempts,omitempty"`
}

func (t Timeouts) validate() error {
	for _, o := range []struct {
		name  string
		value caddy.Duration
	}{
		{"connect_timeout", t.ConnectTimeout},
		{"header_timeout", t.HeaderTimeout},
		{"first_token_timeout", t.FirstTokenTimeout},
		{"idle_timeout", t.IdleTimeout},
		{"timeout", t.Timeout},
	} {
		if o.value < 0 {
			return wrong(o.name, "%s %s: want a duration above zero, such as 500ms, 30s, 2m or 7d", o.name, time.Duration(o.value))
		}
	}
	if t.Attempts < 0 || t.Attempts > maxAttempts {
		return wrong("attempts", "attempts %d: want a whole number from 1 to %d", t.Attempts, maxAttempts)
	}
	return nil
}

const maxAttempts = 10

func (t Timeouts) limits() upstream.Limits {
	return upstream.Limits{
		Connect: time.Duration(t.ConnectTimeout), Header: time.Duration(t.HeaderTimeout), FirstToken: time.Duration(t.FirstTokenTimeout),
		Idle: time.Duration(t.IdleTimeout), Total: time.Duration(t.Timeout), Attempts: t.Attempts,
	}
}

// Route is a named place where traffic is decided. An application reaches it
// by the model name that it already sends.
type Route struct {
	// Which calls take this route, besides those whose model is the route's name.
	Match *Match `json:"match,omitempty"`
	// The ways to answer. Their weights sum to 100; when none has one, a sole variant gets 100.
	Variants []*Variant `json:"variant,omitempty"`
	// What is kept on one variant: `session` (the default: session, else user, else conversation),
	// `user`, `key`, `conversation` or `request` (nothing is kept).
	Sticky string `json:"sticky,omitempty"`
	// The variants to try, in this order, when the one drawn fails before its first content.
	Fallback []string `json:"fallback,omitempty"`
	// What to do with calls in which no prompt is recognised while the variants bind prompts with variables:
	// `stable` (the default: unchanged to stable, while it has any weight), `weighted` (unchanged to the variant drawn) or `reject`.
	Unrecognized string `json:"unrecognized,omitempty"`
	// Whether prompts are recognised in the messages of calls. Default: true.
	Recognize *bool `json:"recognize,omitempty"`
	// Whether parameters that the variant's model is known to refuse are translated or left out. Default: true.
	Adapt *bool `json:"adapt,omitempty"`
	// Moves the traffic from one variant to another in guarded steps. It sets the weights: the variants have none of
	// their own then. Default: none.
	Rollout *rollout.Spec `json:"rollout,omitempty"`
}

// Match says which calls take a route. A call matches by its model's name or
// by its prompt; headers, where given, must all be present as well, and
// decide alone when nothing else is given.
type Match struct {
	// Model names that applications send.
	Model []string `json:"model,omitempty"`
	// Names of prompts that calls name or are recognised by.
	Prompt []string `json:"prompt,omitempty"`
	// Header fields and their values.
	Header map[string]string `json:"header,omitempty"`
}

// Variant is one way to answer on a route: a model, a prompt version, parameters.
type Variant struct {
	// The variant's name. `stable` and `candidate` are the usual two.
	Name string `json:"name"`
	// `provider/model-id`.
	Model string `json:"model"`
	// Its share of the units in percent, with at most two decimals.
	Weight *float64 `json:"weight,omitempty"`
	// The prompt that it binds: `prompts:/name/3`, `name@production`, `name/3` or `name` (the latest version).
	Prompt string `json:"prompt,omitempty"`
	// Parameters of the request's JSON that this variant sets.
	Param map[string]json.RawMessage `json:"param,omitempty"`
	// Parameters of the request's JSON that this variant leaves out.
	Unset []string `json:"unset,omitempty"`
	Timeouts
}

// reserved are the members of a request that are not parameters.
var reserved = []string{"model", "messages", "input", "prompt", "stream"}

var routeName = regexp.MustCompile(`^[a-zA-Z0-9_.:-]+$`)

// Validate checks the route with its variants. Errors are of type
// *ConfigError.
func (r *Route) Validate(name string, providers map[string]*Provider) error {
	if err := r.validate(name, providers); err != nil {
		return within("route", name, err)
	}
	return nil
}

func (r *Route) validate(name string, providers map[string]*Provider) error {
	if !routeName.MatchString(name) {
		return errors.New("want a name of letters, digits and _ . : -")
	}
	if r == nil || len(r.Variants) == 0 {
		return errors.New("no variant; add one such as: variant stable openai/gpt-4o")
	}
	var names []string
	for i, v := range r.Variants {
		if v == nil || v.Name == "" {
			return fmt.Errorf("variant %d of %d has no name; give it one, such as stable", i+1, len(r.Variants))
		}
		if slices.Contains(names, v.Name) {
			return within("variant", v.Name, errors.New("declared twice; give each a name of its own"))
		}
		names = append(names, v.Name)
	}
	for _, v := range r.Variants {
		if err := v.validate(providers); err != nil {
			return within("variant", v.Name, err)
		}
	}
	for i, f := range r.Fallback {
		if !slices.Contains(names, f) {
			return wrong("fallback", "fallback %q is not one of its variants; want one of: %s", f, strings.Join(names, ", "))
		}
		if slices.Contains(r.Fallback[:i], f) {
			return wrong("fallback", "fallback %s is there twice; remove one", f)
		}
	}
	if err := oneOf("sticky", r.Sticky, "session", "user", "key", "conversation", "request"); err != nil {
		return err
	}
	if err := oneOf("unrecognized", r.Unrecognized, "stable", "weighted", "reject"); err != nil {
		return err
	}
	if err := r.Match.validate(); err != nil {
		return err
	}
	if _, err := r.plan(); err != nil {
		return err
	}
	_, err := r.declared()
	return err
}

// plan is the route's rollout on its variants; nil: it has none.
func (r *Route) plan() (*rollout.Plan, error) {
	if r.Rollout == nil {
		return nil, nil
	}
	variants := make([]rollout.Variant, len(r.Variants))
	for i, v := range r.Variants {
		variants[i] = rollout.Variant{Name: v.Name, Definition: v.definition()}
	}
	p, err := rollout.NewPlan(*r.Rollout, variants)
	if err != nil {
		path := []string{"rollout"}
		if spec, ok := errors.AsType[*rollout.SpecError](err); ok && spec.Option != "" {
			path = append(path, spec.Option)
		}
		return nil, &ConfigError{Path: path, Err: fmt.Errorf("rollout: %w", err)}
	}
	if err := r.distinct(p.Spec()); err != nil {
		return nil, err
	}
	if guard, needed := p.Needs()["scorer"]; needed {
		return nil, &ConfigError{Path: []string{"rollout", "guard " + guard}, Err: fmt.Errorf("rollout: guard %s needs scores, and the route has no scorer; remove it", guard)}
	}
	return p, nil
}

// distinct refuses to compare a variant with itself.
func (r *Route) distinct(s rollout.Spec) error {
	definition := func(name string) []byte {
		i := slices.IndexFunc(r.Variants, func(v *Variant) bool { return v.Name == name })
		return r.Variants[i].definition()
	}
	if bytes.Equal(definition(s.From), definition(s.To)) {
		return wrong("rollout", "rollout: %s and %s have the same model, prompt and parameters: there is nothing to move to; change one of them", s.From, s.To)
	}
	return nil
}

// definition is what makes a variant: with another one, it is another variant.
func (v *Variant) definition() []byte {
	ref, _ := prompts.ParseReference(v.Prompt)
	unset := slices.Sorted(slices.Values(v.Unset))
	b, _ := json.Marshal(struct {
		Model  string
		Prompt prompts.Reference
		Param  map[string]json.RawMessage
		Unset  []string
	}{v.Model, ref, v.Param, unset}) // maps are written in the order of their keys, and JSON compacted
	return b
}

func oneOf(option, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return wrong(option, "%s %q: want one of: %s", option, value, strings.Join(allowed, ", "))
}

func (m *Match) validate() error {
	if m == nil {
		return nil
	}
	for i, model := range m.Model {
		if model == "" {
			return wrong("match model ", "match model %q: want a model's name, such as gpt-4", model)
		}
		if slices.Contains(m.Model[:i], model) {
			return wrong("match model "+model, "match model %s is there twice; remove one", model)
		}
	}
	for i, p := range m.Prompt {
		if ref, err := prompts.ParseReference(p); err != nil || ref.Name != p {
			return wrong("match prompt "+p, "match prompt %q: want a prompt's name alone, without version and alias: letters, digits and _ . -", p)
		}
		if slices.Contains(m.Prompt[:i], p) {
			return wrong("match prompt "+p, "match prompt %s is there twice; remove one", p)
		}
	}
	for field := range m.Header {
		if !httpguts.ValidHeaderFieldName(field) {
			return wrong("match header "+field, "match header %q: not a header field; want one such as X-Team", field)
		}
	}
	return nil
}

// Provider is the first part of the model, the name of its provider.
func (v *Variant) Provider() string {
	p, _, _ := strings.Cut(v.Model, "/")
	return p
}

func (v *Variant) validate(providers map[string]*Provider) error {
	provider, model, ok := strings.Cut(v.Model, "/")
	if !ok || provider == "" || model == "" {
		return fmt.Errorf("model %q: want provider/model-id, such as openai/gpt-4o", v.Model)
	}
	if _, declared := providers[provider]; !declared && !IsPreset(provider) {
		return fmt.Errorf("model %q: there is no provider %q; declare it with: provider %s { base_url … }", v.Model, provider, provider)
	}
	if v.Weight != nil {
		if err := checkWeight(*v.Weight); err != nil {
			return wrong("weight", "%w", err)
		}
	}
	if v.Prompt != "" {
		if _, err := prompts.ParseReference(v.Prompt); err != nil {
			return wrong("prompt", "prompt %w", err)
		}
	}
	for _, k := range sortedKeys(v.Param) {
		if err := checkParam(k); err != nil {
			return err
		}
		if !json.Valid(v.Param[k]) {
			return wrong("param "+k, "param %s: %s is not JSON; quote texts", k, v.Param[k])
		}
		if slices.Contains(v.Unset, k) {
			return wrong("param "+k, "param %s is both set and unset; keep one", k)
		}
	}
	for _, k := range v.Unset {
		if err := checkParam(k); err != nil {
			return err
		}
	}
	return v.Timeouts.validate()
}

func checkParam(name string) error {
	switch {
	case name == "":
		return wrong("param ", "param %q: want a field of the request's JSON, such as temperature", name)
	case name == "model" || name == "prompt":
		return wrong("param "+name, "param %s: not a parameter; set the variant's %s instead", name, name)
	case slices.Contains(reserved, name):
		return wrong("param "+name, "param %s: not a parameter; it belongs to each request, remove it", name)
	}
	return nil
}

// declared returns the weights of the configuration in hundredths of a percent.
func (r *Route) declared() ([]uint16, error) {
	given := make(map[string]float64, len(r.Variants))
	for _, v := range r.Variants {
		if v.Weight != nil {
			given[v.Name] = *v.Weight
		}
	}
	if r.Rollout != nil {
		for _, v := range r.Variants {
			if v.Weight != nil {
				return nil, within("variant", v.Name, wrong("weight", "a rollout sets the weights; remove this one"))
			}
		}
		return r.start(), nil
	}
	if len(given) == 0 {
		if len(r.Variants) == 1 {
			return []uint16{hundred}, nil
		}
		return nil, fmt.Errorf("%d variants without weights; give each a weight, such as: weight 80%%", len(r.Variants))
	}
	for _, v := range r.Variants {
		if v.Weight == nil {
			return nil, within("variant", v.Name, errors.New("no weight, while others have one; give each a weight, 0% too"))
		}
	}
	return r.weights(given)
}

// start is what a rollout begins with: all of the traffic on the variant that has it.
func (r *Route) start() []uint16 {
	out := make([]uint16, len(r.Variants))
	from := r.Rollout.From
	if from == "" {
		from = "stable"
	}
	for i, v := range r.Variants {
		if v.Name == from {
			out[i] = hundred
		}
	}
	return out
}

// weights checks that given names every variant, with percents of at most two
// decimals that sum to 100.
func (r *Route) weights(given map[string]float64) ([]uint16, error) {
	out := make([]uint16, len(r.Variants))
	sum := 0
	for i, v := range r.Variants {
		w, ok := given[v.Name]
		if !ok {
			return nil, fmt.Errorf("variant %q has no weight; name every variant", v.Name)
		}
		if err := checkWeight(w); err != nil {
			return nil, fmt.Errorf("variant %q: %w", v.Name, err)
		}
		h := math.Round(w * 100)
		out[i] = uint16(h)
		sum += int(h)
	}
	for name := range given {
		if !slices.ContainsFunc(r.Variants, func(v *Variant) bool { return v.Name == name }) {
			return nil, fmt.Errorf("weight for %q, which is not a variant", name)
		}
	}
	if sum != hundred {
		each := make([]string, len(out))
		for i, v := range r.Variants {
			each[i] = v.Name + " " + percent(int(out[i]))
		}
		return nil, fmt.Errorf("weights sum to %s, want 100: %s", percent(sum), strings.Join(each, ", "))
	}
	return out, nil
}

func checkWeight(w float64) error {
	if math.IsNaN(w) || w < 0 || w > 100 {
		return fmt.Errorf("weight %v: want a percentage from 0 to 100", w)
	}
	if math.Abs(w*100-math.Round(w*100)) > 1e-6 {
		return fmt.Errorf("weight %v: want at most two decimals, such as %.2f", w, w)
	}
	return nil
}

func percent(hundredths int) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", float64(hundredths)/100), "0"), ".")
}

// ConfigError is a mistake in the configuration. Path says what it is about,
// outermost first, such as "route sentiment", "variant stable", "weight", so
// that who has read the configuration from a file can name the line.
type ConfigError struct {
	Path []string
	Err  error
}

func (e *ConfigError) Error() string { return e.Err.Error() }
func (e *ConfigError) Unwrap() error { return e.Err }

// wrong makes an error about an option.
func wrong(option, format string, args ...any) error {
	return &ConfigError{Path: []string{option}, Err: fmt.Errorf(format, args...)}
}

// within says of which provider, route or variant an error is.
func within(kind, name string, err error) error {
	path := []string{kind + " " + name}
	if inner, ok := errors.AsType[*ConfigError](err); ok {
		path = append(path, inner.Path...)
	}
	return &ConfigError{Path: path, Err: fmt.Errorf("%s %q: %w", kind, name, err)}
}
