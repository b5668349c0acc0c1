package simulator

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
)

// Model is one simulated model.
type Model struct {
	// How well it follows instructions and knows things, from 0 to 1. From about 0.95 it does what a plain prompt says; at 0.75 it
	// tends to answer in its own manner and to misjudge what is not plain, unless the prompt has rules and examples. Default: 0.9.
	Ability *float64 `json:"ability,omitempty"`
	// How long the first token takes. Default: 0.
	FirstToken caddy.Duration `json:"first_token,omitempty"`
	// Tokens a second after the first one, streamed or not: an answer of n tokens takes first_token + (n-1)/token_rate.
	// Default: 0, all at once.
	TokenRate float64 `json:"token_rate,omitempty"`
	// By how many percent times vary to either side. Default: 10.
	Jitter *float64 `json:"jitter,omitempty"`
	// What it is said to cost in the answer of /v1/models. What the gateway computes costs with is the `price` of its own provider.
	Price *Price `json:"price,omitempty"`
	// The percentage of labels that are wrong, besides those that come of its ability. Default: 0.
	Mistakes float64 `json:"mistakes,omitempty"`
	// What goes wrong, and how often, until something else is switched on at run time. The percentages add up to 100 at most.
	Fault []Fault `json:"fault,omitempty"`
	// Answers that are told here. The first whose text is in the prompt is given.
	Answer []Answer `json:"answer,omitempty"`
}

// Price is in US dollars per million tokens.
type Price struct {
	Input  float64 `json:"input"`
	Output float64 `json:"output"`
}

// Fault is something that goes wrong in a share of the calls.
type Fault struct {
	// A status from 400 to 599; `stall` (a few tokens, then nothing until the client leaves, for ten minutes at most); `cut` (a few
	// tokens, then the connection is closed); or `slow_first_token`.
	Kind string `json:"kind"`
	// Of how many percent of the calls.
	Percent float64 `json:"percent"`
	// The Retry-After of a 429 (default: 1s) or 503 (default: none), and how long `slow_first_token` waits more (default: 30s).
	Wait caddy.Duration `json:"wait,omitempty"`
}

// Answer is a reply that is told in the configuration.
type Answer struct {
	// A text in any message of the prompt.
	Contains string `json:"contains"`
	// The whole answer.
	Reply string `json:"reply"`
}

const (
	stall     = "stall"
	cut       = "cut"
	slowFirst = "slow_first_token"
)

func defaultModels() map[string]*Model {
	model := func(ability float64, first time.Duration, rate, input, output float64) *Model {
		return &Model{Ability: &ability, FirstToken: caddy.Duration(first), TokenRate: rate, Price: &Price{input, output}}
	}
	return map[string]*Model{
		"gpt-4":       model(0.97, 800*time.Millisecond, 40, 30, 60),
		"gpt-4o":      model(0.95, 450*time.Millisecond, 80, 2.5, 10),
		"gpt-4o-mini": model(0.75, 300*time.Millisecond, 120, 0.15, 0.6),
	}
}

// ConfigError is a mistake in a model's declaration. Option is the option at fault.
type ConfigError struct {
	Model, Option string
	Err           error
}

func (e *ConfigError) Error() string { return fmt.Sprintf("model %q: %v", e.Model, e.Err) }

func (e *ConfigError) Unwrap() error { return e.Err }

// check finds the first mistake of a declaration. The Caddyfile's parser and Validate both use it.
func (h *Handler) check() error {
	if h.Seed < 0 {
		return fmt.Errorf("seed %d: want a whole number above zero", h.Seed)
	}
	for _, id := range slices.Sorted(maps.Keys(h.Model)) {
		if id == "" || strings.ContainsAny(id, " \t\n") {
			return &ConfigError{id, "", errors.New("want an id without spaces, such as gpt-4")}
		}
		if h.Model[id] == nil {
			continue
		}
		if option, err := h.Model[id].check(); err != nil {
			return &ConfigError{id, option, err}
		}
	}
	return nil
}

func (m *Model) check() (option string, err error) {
	switch {
	case m.Ability != nil && !within(*m.Ability, 0, 1):
		return "ability", fmt.Errorf("ability %v: want a number from 0 to 1", *m.Ability)
	case m.FirstToken < 0:
		return "first_token", fmt.Errorf("first_token %v: want a duration above zero", time.Duration(m.FirstToken))
	case !within(m.TokenRate, 0, 1e6):
		return "token_rate", fmt.Errorf("token_rate %v: want tokens a second, up to 1000000", m.TokenRate)
	case m.Jitter != nil && !within(*m.Jitter, 0, 100):
		return "jitter", fmt.Errorf("jitter %v%%: want from 0%% to 100%%", *m.Jitter)
	case m.Price != nil && (!within(m.Price.Input, 0, 1e9) || !within(m.Price.Output, 0, 1e9)):
		return "price", fmt.Errorf("price %v %v: want US dollars per million tokens, zero or above", m.Price.Input, m.Price.Output)
	case !within(m.Mistakes, 0, 100):
		return "mistakes", fmt.Errorf("mistakes %v%%: want from 0%% to 100%%", m.Mistakes)
	}
	if option, err := checkFaults(m.Fault); err != nil {
		return option, err
	}
	for _, a := range m.Answer {
		if a.Contains == "" || a.Reply == "" {
			return "answer " + a.Contains, errors.New(`answer: want a text and a reply, such as: answer "capital of France" Paris`)
		}
	}
	return "", nil
}

func (f Fault) check() error {
	if f.Kind != stall && f.Kind != cut && f.Kind != slowFirst && f.status() == 0 {
		return fmt.Errorf("fault %q: want a status from 400 to 599, stall, cut or slow_first_token", f.Kind)
	}
	if !within(f.Percent, 0, 100) {
		return fmt.Errorf("fault %s %v%%: want from 0%% to 100%%", f.Kind, f.Percent)
	}
	if f.Wait < 0 {
		return fmt.Errorf("fault %s: want a duration above zero", f.Kind)
	}
	if f.Wait > 0 && f.Kind != slowFirst && f.Kind != "429" && f.Kind != "503" {
		return fmt.Errorf("fault %s takes no duration; only 429, 503 and slow_first_token do", f.Kind)
	}
	return nil
}

// status is the fault's HTTP status, or 0.
func (f Fault) status() int {
	n, err := strconv.Atoi(f.Kind)
	if err != nil || n < 400 || n > 599 || strconv.Itoa(n) != f.Kind {
		return 0
	}
	return n
}

// within is false for what is not a number.
func within(v, low, high float64) bool { return v >= low && v <= high }
