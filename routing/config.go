// Package routing decides where a call goes and takes it there: routes and
// their variants, sticky assignment by weight, and the handlers llm_router
// and llm_proxy.
package routing

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/prompts"
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
	for name, d := range map[string]caddy.Duration{
		"connect_timeout": t.ConnectTimeout, "header_timeout": t.HeaderTimeout, "first_token_timeout": t.FirstTokenTimeout,
		"idle_timeout": t.IdleTimeout, "timeout": t.Timeout,
	} {
		if d < 0 {
			return fmt.Errorf("%s %s is negative; want a duration such as 30s", name, time.Duration(d))
		}
	}
	if t.Attempts < 0 || t.Attempts > 10 {
		return fmt.Errorf("attempts %d: want 1 to 10", t.Attempts)
	}
	return nil
}

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

// Validate checks the route but for its variants' own options.
func (r *Route) Validate(name string) error {
	if !routeName.MatchString(name) {
		return fmt.Errorf("route %q: want a name of letters, digits and _ . : -", name)
	}
	if len(r.Variants) == 0 {
		return fmt.Errorf("route %q has no variant; add one such as: variant stable openai/gpt-4o", name)
	}
	var names []string
	for _, v := range r.Variants {
		if v.Name == "" {
			return fmt.Errorf("route %q: a variant has no name", name)
		}
		if slices.Contains(names, v.Name) {
			return fmt.Errorf("route %q: variant %q is declared twice", name, v.Name)
		}
		names = append(names, v.Name)
	}
	for i, f := range r.Fallback {
		if !slices.Contains(names, f) {
			return fmt.Errorf("route %q: fallback %q is not one of its variants: %s", name, f, strings.Join(names, ", "))
		}
		if slices.Contains(r.Fallback[:i], f) {
			return fmt.Errorf("route %q: fallback %q is named twice", name, f)
		}
	}
	if err := oneOf(name, "sticky", r.Sticky, "session", "user", "key", "conversation", "request"); err != nil {
		return err
	}
	if err := oneOf(name, "unrecognized", r.Unrecognized, "stable", "weighted", "reject"); err != nil {
		return err
	}
	if _, err := r.declared(name); err != nil {
		return err
	}
	return nil
}

func oneOf(route, option, value string, allowed ...string) error {
	if value == "" || slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("route %q: %s %q: want one of %s", route, option, value, strings.Join(allowed, ", "))
}

// Provider is the first part of the model, the name of its provider.
func (v *Variant) Provider() string {
	p, _, _ := strings.Cut(v.Model, "/")
	return p
}

// Validate checks the variant's own options.
func (v *Variant) Validate(providers map[string]*Provider) error {
	provider, model, ok := strings.Cut(v.Model, "/")
	if !ok || provider == "" || model == "" {
		return fmt.Errorf("model %q: want provider/model-id, such as openai/gpt-4o", v.Model)
	}
	if providers[provider] == nil && !IsPreset(provider) {
		return fmt.Errorf("model %q: there is no provider %q; declare it with: provider %s { base_url … }", v.Model, provider, provider)
	}
	if err := v.CheckWeight(); err != nil {
		return err
	}
	if v.Prompt != "" {
		if _, err := prompts.ParseReference(v.Prompt); err != nil {
			return err
		}
	}
	for k, raw := range v.Param {
		if slices.Contains(reserved, k) {
			return fmt.Errorf("param %s: not a parameter; a variant sets model and prompt by its own options", k)
		}
		if !json.Valid(raw) {
			return fmt.Errorf("param %s: %s is not JSON", k, raw)
		}
		if slices.Contains(v.Unset, k) {
			return fmt.Errorf("param %s is both set and unset", k)
		}
	}
	for _, k := range v.Unset {
		if slices.Contains(reserved, k) {
			return fmt.Errorf("param %s: not a parameter", k)
		}
	}
	return v.Timeouts.validate()
}

// declared returns the weights of the configuration in hundredths of a percent.
func (r *Route) declared(name string) ([]uint16, error) {
	given := make(map[string]float64, len(r.Variants))
	for _, v := range r.Variants {
		if v.Weight != nil {
			given[v.Name] = *v.Weight
		}
	}
	if len(given) == 0 {
		if len(r.Variants) == 1 {
			return []uint16{hundred}, nil
		}
		return nil, fmt.Errorf("route %q has %d variants without weights; give each a weight, such as: weight 80%%", name, len(r.Variants))
	}
	for _, v := range r.Variants {
		if v.Weight == nil {
			return nil, fmt.Errorf("route %q: variant %q has no weight, while others have; give each one, 0%% too", name, v.Name)
		}
	}
	w, err := r.weights(given)
	if err != nil {
		return nil, fmt.Errorf("route %q: %w", name, err)
	}
	return w, nil
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
		return nil, fmt.Errorf("weights sum to %s, want 100", percent(sum))
	}
	return out, nil
}

// CheckWeight checks the weight by itself.
func (v *Variant) CheckWeight() error {
	if v.Weight == nil {
		return nil
	}
	return checkWeight(*v.Weight)
}

func checkWeight(w float64) error {
	if math.IsNaN(w) || w < 0 || w > 100 {
		return fmt.Errorf("weight %v is not between 0 and 100", w)
	}
	if math.Abs(w*100-math.Round(w*100)) > 1e-6 {
		return fmt.Errorf("weight %v has more than two decimals; the smallest step is 0.01", w)
	}
	return nil
}

func percent(hundredths int) string {
	return strings.TrimSuffix(strings.TrimRight(fmt.Sprintf("%.2f", float64(hundredths)/100), "0"), ".")
}
