package export

import (
	"encoding/json"
	"strconv"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/tracing"
)

// The names of OpenTelemetry's semantic conventions for generative AI, all in
// this file: `latest` is that of semantic-conventions-genai v0.1.0, `legacy`
// what is read by software that was written for semantic conventions 1.36 and before.
const (
	namesLatest = "latest"
	namesLegacy = "legacy"
	namesBoth   = "both"
)

// operation is the GenAI operation of an endpoint.
func operation(front string) string {
	switch front {
	case "completions":
		return "text_completion"
	case "embeddings":
		return "embeddings"
	}
	return "chat"
}

// providers are those whose name in the conventions is another one.
var providers = map[string]string{"gemini": "gcp.gemini", "azure": "azure.ai.openai", "mistral": "mistral_ai", "xai": "x_ai"}

func providerName(name string) string {
	if known, ok := providers[name]; ok {
		return known
	}
	return name
}

// numbers and texts are the parameters of requests under their conventional names.
var numbers = map[string]string{
	"temperature": "temperature", "top_p": "top_p", "presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty",
}

var integers = map[string]string{
	"max_tokens": "max_tokens", "max_completion_tokens": "max_tokens", "max_output_tokens": "max_tokens", "seed": "seed", "top_k": "top_k", "n": "choice.count",
}

// genai adds what the conventions have for an attempt.
func genai(a *attributes, t *tracing.Trace, s *tracing.Span, answered bool, names string) {
	latest, legacy := names != namesLegacy, names != namesLatest
	a.text("gen_ai.operation.name", operation(t.Front))
	provider := providerName(deref(s.Provider))
	if latest {
		a.text("gen_ai.provider.name", provider)
	}
	if legacy {
		a.text("gen_ai.system", provider)
	}
	a.text("gen_ai.request.model", deref(s.Model))
	a.text("error.type", deref(s.ErrorClass))
	a.text("gen_ai.conversation.id", deref(t.Session))
	if t.Stream {
		a.truth("gen_ai.request.stream", true)
	}
	parameters(a, t)
	if p := t.Prompt; p != nil {
		a.text("gen_ai.prompt.name", p.Name)
		a.text("gen_ai.prompt.version", strconv.Itoa(p.Version))
	}
	if s.TTFTMS != nil {
		a.float("gen_ai.response.time_to_first_chunk", *s.TTFTMS/1000)
	}
	if answered {
		if t.FinishReason != nil {
			a.texts("gen_ai.response.finish_reasons", *t.FinishReason)
		}
		a.text("gen_ai.response.id", member(t.Response, "id"))
		a.text("gen_ai.response.model", member(t.Response, "model"))
	}
	if u := s.Usage; u != nil {
		a.number("gen_ai.usage.input_tokens", u.InputTokens)
		a.number("gen_ai.usage.output_tokens", u.OutputTokens)
		if legacy {
			a.number("gen_ai.usage.prompt_tokens", u.InputTokens)
			a.number("gen_ai.usage.completion_tokens", u.OutputTokens)
		}
		if u.CachedInputTokens > 0 {
			a.number("gen_ai.usage.cache_read.input_tokens", u.CachedInputTokens)
		}
		if u.CacheWriteInputTokens > 0 {
			if latest {
				a.number("gen_ai.usage.cache_write.input_tokens", u.CacheWriteInputTokens)
			}
			if legacy {
				a.number("gen_ai.usage.cache_creation.input_tokens", u.CacheWriteInputTokens)
			}
		}
		if u.ReasoningOutputTokens > 0 {
			a.number("gen_ai.usage.reasoning.output_tokens", u.ReasoningOutputTokens)
		}
	}
}

func parameters(a *attributes, t *tracing.Trace) {
	if !present(t.Parameters) {
		return
	}
	root := jsonscan.Root(t.Parameters)
	for key, v := range jsonscan.MembersOf(t.Parameters, root) {
		raw := v.Of(t.Parameters)
		if name, ok := numbers[string(key)]; ok {
			var f float64
			if json.Unmarshal(raw, &f) == nil {
				a.float("gen_ai.request."+name, f)
			}
		}
		if name, ok := integers[string(key)]; ok {
			var n int64
			if json.Unmarshal(raw, &n) == nil {
				a.number("gen_ai.request."+name, n)
			}
		}
		switch string(key) {
		case "reasoning_effort":
			var s string
			if json.Unmarshal(raw, &s) == nil {
				a.text("gen_ai.request.reasoning.level", s)
			}
		case "stop":
			var list []string
			if json.Unmarshal(raw, &list) != nil {
				list = make([]string, 1)
				if json.Unmarshal(raw, &list[0]) != nil {
					continue
				}
			}
			a.texts("gen_ai.request.stop_sequences", list...)
		}
	}
}

// member returns a text member of a JSON object, or "".
func member(doc []byte, name string) string {
	if !present(doc) || doc[0] != '{' {
		return ""
	}
	v := jsonscan.Lookup(doc, jsonscan.Root(doc), name)
	if !v.IsString(doc) {
		return ""
	}
	s, _ := jsonscan.Unquote(v.Of(doc))
	return s
}
