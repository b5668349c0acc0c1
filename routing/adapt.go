package routing

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/routing/dialect"
)

// family is what a family of models is known to accept. The table is small on
// purpose: it holds what refuses a request outright, not what merely has no effect.
type family struct {
	match    func(model string) bool
	rename   map[string]string // parameters under another name
	only     map[string]string // parameters that take one value; any other is left out
	unwanted []string          // parameters that are refused
}

// Source: OpenAI's API reference and its guide "Reasoning models": these
// models want max_completion_tokens and refuse sampling parameters.
var reasoningFamily = &family{
	match:    isReasoning,
	rename:   map[string]string{"max_tokens": "max_completion_tokens"},
	only:     map[string]string{"temperature": "1", "top_p": "1", "presence_penalty": "0", "frequency_penalty": "0", "n": "1"},
	unwanted: []string{"logprobs", "top_logprobs", "logit_bias"},
}

// Other models do not know a reasoning effort.
var plainFamily = &family{match: func(m string) bool { return strings.HasPrefix(m, "gpt-3.5") || strings.HasPrefix(m, "gpt-4") }, unwanted: []string{"reasoning_effort"}}

func isReasoning(model string) bool {
	for _, p := range []string{"o1", "o3", "o4"} {
		if rest, ok := strings.CutPrefix(model, p); ok && (rest == "" || rest[0] == '-') {
			return true
		}
	}
	return strings.HasPrefix(model, "gpt-5") && !strings.Contains(model, "chat")
}

func familyOf(provider, model string) *family {
	if _, after, ok := strings.Cut(model, "/"); ok && provider == "openrouter" {
		model = after
	}
	for _, f := range []*family{reasoningFamily, plainFamily} {
		if f.match(model) {
			return f
		}
	}
	return nil
}

// adapt changes the parameters that the family refuses, and says what it did.
func (b *body) adapt(f *family, model string) (adjustments []string) {
	if b.call.Front == call.Messages {
		return b.adaptClaude(model)
	}
	if f == nil || b.call.Front != call.ChatCompletions && b.call.Front != call.Responses {
		return nil
	}
	for from, to := range f.rename {
		if b.call.Front == call.Responses {
			break // max_output_tokens is the same for all models there
		}
		if v := b.get(from); v != nil {
			if b.get(to) == nil {
				b.set(to, v)
			}
			b.unset(from)
			adjustments = append(adjustments, from+" sent as "+to)
		}
	}
	for name, want := range f.only {
		if v := b.get(name); v != nil && string(v) != want && string(v) != want+".0" && string(v) != "null" {
			b.unset(name)
			adjustments = append(adjustments, name+" left out")
		}
	}
	for _, name := range f.unwanted {
		if name == "reasoning_effort" && b.call.Front == call.Responses {
			name = "reasoning"
		}
		if v := b.get(name); v != nil && string(v) != "null" && string(v) != "false" {
			b.unset(name)
			adjustments = append(adjustments, name+" left out")
		}
	}
	slices.Sort(adjustments)
	return adjustments
}

// adaptClaude changes what the model of a request of the messages API is
// known to refuse. Translated requests are written for their model in the first place.
func (b *body) adaptClaude(model string) (adjustments []string) {
	c := dialect.ClaudeOf(model)
	has := func(name string) bool { v := b.get(name); return v != nil && string(v) != "null" }
	leaveOut := func(name string) {
		if has(name) {
			b.unset(name)
			adjustments = append(adjustments, name+" left out")
		}
	}
	switch {
	case !c.Samples():
		leaveOut("temperature")
		leaveOut("top_p")
		leaveOut("top_k")
	case c.OneSampler() && has("temperature"):
		leaveOut("top_p")
	}
	switch kind := thinkingKind(b.get("thinking")); {
	case kind == `"enabled"` && !c.Budgets():
		b.set("thinking", []byte(`{"type":"adaptive"}`))
		adjustments = append(adjustments, "thinking with a budget sent as adaptive")
	case kind == `"adaptive"` && !c.Adaptive():
		leaveOut("thinking")
		leaveOut("output_config")
	}
	if n, err := strconv.Atoi(string(b.get("max_tokens"))); err == nil && c.Known(model) && n > c.MaxTokens(model) {
		b.set("max_tokens", strconv.AppendInt(nil, int64(c.MaxTokens(model)), 10))
		adjustments = append(adjustments, fmt.Sprintf("max_tokens %d sent as %d", n, c.MaxTokens(model)))
	}
	return adjustments
}

func thinkingKind(raw []byte) string {
	return string(jsonscan.Lookup(raw, jsonscan.Value{End: len(raw)}, "type").Of(raw))
}
