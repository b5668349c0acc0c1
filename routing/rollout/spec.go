// Package rollout moves a route's traffic from one variant to another, step by
// step, and takes it back when the new one is worse. It is pure: what is
// declared (Spec), what has happened (Status), what was measured (Evidence) and
// the function Step that decides, without I/O, clock or randomness. The
// statistics may be looked at after every request, so none of them is an
// ordinary test.
package rollout

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

// Spec declares a rollout: which variant the traffic moves to, in which steps, and what must hold on the way.
type Spec struct {
	// The variant that has the traffic. Default: stable.
	From string `json:"from,omitempty"`
	// The variant that gets it. Default: candidate.
	To string `json:"to,omitempty"`
	// The steps, at least one, each with more traffic than the one before. After the last one the rollout
	// is completed, and all traffic is the new variant's.
	Steps []StepSpec `json:"step,omitempty"`
	// What the new variant must not be worse in. Default: none; then only the steps' durations and numbers of requests count.
	Guards []GuardSpec `json:"guard,omitempty"`
	// A URL to which each event is posted as JSON: `event`, `route`, `text` (what happened, in words), `at`, `phase`, `step`,
	// `steps`, `weights`, `actor` and `traces` (ids of the traces behind it). A placeholder such as `{env.HOOK}` is resolved at run time.
	// Three attempts of at most 10 s each. Default: none.
	Webhook string `json:"webhook,omitempty"`
}

// StepSpec is one step of a rollout.
type StepSpec struct {
	// The new variant's share of the traffic, with at most two decimals, above 0 and at most 100.
	Percent float64 `json:"percent"`
	// How long the share is held at least. Default: as long as the guards need; at 100 % none, the rollout is then completed.
	Duration caddy.Duration `json:"duration,omitempty"`
	// How many units of the new variant (users, sessions, conversations) must have been measured in this step. Default: 50.
	MinRequests int `json:"min_requests,omitempty"`
	// Whether an operator has to promote the rollout out of this step. Default: false.
	Wait bool `json:"wait,omitempty"`
}

// GuardSpec is one guard of a rollout.
type GuardSpec struct {
	// `errors`, `latency`, `cost`, `format`, `consistency` or `quality`.
	Name string `json:"name"`
	// Its arguments, such as `1.5x` and `p95`.
	Args []string `json:"args,omitempty"`
}

const (
	defaultFrom        = "stable"
	defaultTo          = "candidate"
	defaultMinRequests = 50
	maxSteps           = 100
)

// from and to are the variants with their defaults.
func (s *Spec) from() string { return orElse(s.From, defaultFrom) }
func (s *Spec) to() string   { return orElse(s.To, defaultTo) }

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// SpecError is a mistake in a spec. Option is the line it is about, such as "step 2" (the second one), "guard
// latency" or "webhook"; "": the spec as a whole.
type SpecError struct {
	Option string
	Err    error
}

func (e *SpecError) Error() string { return e.Err.Error() }
func (e *SpecError) Unwrap() error { return e.Err }

func wrong(option, format string, args ...any) error {
	return &SpecError{Option: option, Err: fmt.Errorf(format, args...)}
}

// Validate checks what the spec can be checked for by itself; NewPlan checks
// it with the route's variants.
func (s *Spec) Validate() error {
	if s.from() == s.to() {
		return fmt.Errorf("from %s to %s: want two different variants", s.from(), s.to())
	}
	if len(s.Steps) == 0 {
		return errors.New("no step; add at least one, such as: step 5% 1d")
	}
	if len(s.Steps) > maxSteps {
		return fmt.Errorf("%d steps: want at most %d", len(s.Steps), maxSteps)
	}
	before := 0.0
	for i := range s.Steps {
		if err := s.Steps[i].validate(before); err != nil {
			return wrong(fmt.Sprintf("step %d", i+1), "step %d of %d: %w", i+1, len(s.Steps), err)
		}
		before = s.Steps[i].Percent
	}
	for i, g := range s.Guards {
		if slices.ContainsFunc(s.Guards[:i], func(o GuardSpec) bool { return o.Name == g.Name }) {
			return wrong("guard "+g.Name, "guard %s is there twice; keep one", g.Name)
		}
		if _, err := parseGuard(g); err != nil {
			return wrong("guard "+g.Name, "%w", err)
		}
	}
	if s.Webhook != "" && !strings.Contains(s.Webhook, "{") { // a placeholder is known when it runs
		if u, err := url.Parse(s.Webhook); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
			return wrong("webhook", "webhook event %q: want a URL with http:// or https://", s.Webhook)
		}
	}
	return nil
}

func (s *StepSpec) validate(before float64) error {
	switch p := s.Percent; {
	case math.IsNaN(p) || p <= 0 || p > 100:
		return fmt.Errorf("%v%%: want a percentage above 0 and at most 100", p)
	case math.Abs(p*100-math.Round(p*100)) > 1e-6:
		return fmt.Errorf("%v%%: want at most two decimals, such as %.2f%%", p, p)
	case p <= before:
		return fmt.Errorf("%s after %s: each step wants more traffic than the one before", percent(p/100), percent(before/100))
	case s.Duration < 0:
		return fmt.Errorf("duration %d: want one above zero, such as 30m or 1d", s.Duration)
	case s.MinRequests < 0 || s.MinRequests > 1_000_000:
		return fmt.Errorf("min_requests %d: want a number from 1 to 1000000", s.MinRequests)
	}
	return nil
}

func (s *StepSpec) minRequests() int {
	if s.MinRequests == 0 {
		return defaultMinRequests
	}
	return s.MinRequests
}

// percent is a share in words.
func percent(share float64) string {
	digits := 2
	if share != 0 && math.Abs(share) < 0.001 {
		digits = 4
	}
	n := strconv.FormatFloat(share*100, 'f', digits, 64)
	return strings.TrimSuffix(strings.TrimRight(n, "0"), ".") + " %"
}
