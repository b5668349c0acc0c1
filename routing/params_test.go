package routing

import (
	"encoding/json"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/prompts"
)

func newBody(t *testing.T, path, text string) *body {
	t.Helper()
	c, _, _, err := call.Begin(httptest.NewRequest("POST", path, strings.NewReader(text)), nil)
	if err != nil {
		t.Fatal(err)
	}
	return &body{call: c, edit: c.Object.Edit()}
}

func same(t *testing.T, got []byte, want string) {
	t.Helper()
	var a, b any
	if err := json.Unmarshal(got, &a); err != nil {
		t.Fatalf("%s: %v", got, err)
	}
	if err := json.Unmarshal([]byte(want), &b); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(a, b) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestParameterPrecedence(t *testing.T) {
	version := &prompts.Version{
		Name:           "p",
		ModelConfig:    map[string]json.RawMessage{"temperature": json.RawMessage("0.1"), "max_tokens": json.RawMessage("10"), "stop_sequences": json.RawMessage(`["x"]`), "model_name": json.RawMessage(`"y"`), "model": json.RawMessage(`"z"`), "seed": json.RawMessage("1")},
		ResponseFormat: json.RawMessage(`{"type":"object"}`),
	}
	variant := compileParams(&Variant{Param: map[string]json.RawMessage{"seed": json.RawMessage("7"), "temperature": json.RawMessage("0.9")}, Unset: []string{"user", "absent"}})
	b := newBody(t, "/v1/chat/completions", `{"model":"m","temperature":0.5,"user":"u","messages":[]}`)
	b.parameters(version, variant)
	same(t, b.edit.AppendTo(nil), `{"model":"m","temperature":0.9,"messages":[],"max_tokens":10,"stop":["x"],"seed":7,
		"response_format":{"type":"json_schema","json_schema":{"name":"p","strict":true,"schema":{"type":"object"}}}}`)
	same(t, b.inForce(), `{"temperature":0.9,"max_tokens":10,"stop":["x"],"seed":7,
		"response_format":{"type":"json_schema","json_schema":{"name":"p","strict":true,"schema":{"type":"object"}}}}`)
}

func TestRequestsOwnParametersWinOverTheModelConfig(t *testing.T) {
	version := &prompts.Version{Name: "p", ModelConfig: map[string]json.RawMessage{"temperature": json.RawMessage("0.1"), "max_tokens": json.RawMessage("9")}, ResponseFormat: json.RawMessage(`{"type":"json_object"}`)}
	b := newBody(t, "/v1/chat/completions", `{"model":"m","temperature":0.5,"response_format":{"type":"text"},"messages":[]}`)
	b.parameters(version, nil)
	same(t, b.edit.AppendTo(nil), `{"model":"m","temperature":0.5,"response_format":{"type":"text"},"messages":[],"max_tokens":9}`)
	b = newBody(t, "/v1/responses", `{"model":"m","input":"x"}`)
	b.parameters(version, nil)
	same(t, b.edit.AppendTo(nil), `{"model":"m","input":"x","temperature":0.1,"max_output_tokens":9,"text":{"format":{"type":"json_object"}}}`)
}

func TestReasoningEffortOfTheModelConfig(t *testing.T) {
	version := &prompts.Version{Name: "p", ModelConfig: map[string]json.RawMessage{"reasoning_effort": json.RawMessage(`"low"`)}}
	for _, tt := range []struct{ path, body, want string }{
		{"/v1/chat/completions", `{"model":"m"}`, `{"model":"m","reasoning_effort":"low"}`},
		{"/v1/responses", `{"model":"m"}`, `{"model":"m","reasoning":{"effort":"low"}}`},
		{"/v1/responses", `{"model":"m","reasoning":{"effort":"high"}}`, `{"model":"m","reasoning":{"effort":"high"}}`},
	} {
		b := newBody(t, tt.path, tt.body)
		b.parameters(version, nil)
		same(t, b.edit.AppendTo(nil), tt.want)
	}
}

func TestResponseFormats(t *testing.T) {
	const schema, chat = `{"type":"object"}`, `{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}`
	for _, tt := range []struct{ path, format, want string }{
		{"/v1/chat/completions", schema, `{"response_format":{"type":"json_schema","json_schema":{"name":"a_b","strict":true,"schema":{"type":"object"}}}}`},
		{"/v1/chat/completions", chat, `{"response_format":` + chat + `}`},
		{"/v1/responses", schema, `{"text":{"format":{"type":"json_schema","name":"a_b","strict":true,"schema":{"type":"object"}}}}`},
		{"/v1/responses", chat, `{"text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}}}`},
		{"/v1/completions", schema, `{}`},
		{"/v1/messages", schema, `{"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}`},
		{"/v1/messages", chat, `{"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}}}`},
		{"/v1/messages", `{"type":"json_object"}`, `{}`},
	} {
		b := newBody(t, tt.path, `{}`)
		b.parameters(&prompts.Version{Name: "a.b", ResponseFormat: json.RawMessage(tt.format)}, nil)
		same(t, b.edit.AppendTo(nil), tt.want)
	}
}

func TestAdapt(t *testing.T) {
	tests := map[string]struct {
		model, body, want string
		adjustments       []string
	}{
		"reasoning": {
			"o3-mini", `{"temperature":0.2,"max_tokens":5,"top_p":1,"logprobs":true,"messages":[]}`, `{"max_completion_tokens":5,"top_p":1,"messages":[]}`,
			[]string{"logprobs left out", "max_tokens sent as max_completion_tokens", "temperature left out"},
		},
		"reasoning, nothing to do": {"gpt-5", `{"temperature":1,"max_completion_tokens":5,"messages":[]}`, `{"temperature":1,"max_completion_tokens":5,"messages":[]}`, nil},
		"both limits":              {"o1", `{"max_tokens":5,"max_completion_tokens":6,"messages":[]}`, `{"max_completion_tokens":6,"messages":[]}`, []string{"max_tokens sent as max_completion_tokens"}},
		"plain":                    {"gpt-4o", `{"temperature":0.2,"max_tokens":5,"reasoning_effort":"low","messages":[]}`, `{"temperature":0.2,"max_tokens":5,"messages":[]}`, []string{"reasoning_effort left out"}},
		"chat model of gpt-5":      {"gpt-5-chat-latest", `{"temperature":0.2,"messages":[]}`, `{"temperature":0.2,"messages":[]}`, nil},
		"unknown model":            {"llama-3", `{"temperature":0.2,"reasoning_effort":"low","messages":[]}`, `{"temperature":0.2,"reasoning_effort":"low","messages":[]}`, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBody(t, "/v1/chat/completions", tt.body)
			if got := b.adapt(familyOf("openai", tt.model), ""); !reflect.DeepEqual(got, tt.adjustments) {
				t.Errorf("adjustments %q, want %q", got, tt.adjustments)
			}
			same(t, b.edit.AppendTo(nil), tt.want)
		})
	}
}

func TestAdaptResponses(t *testing.T) {
	for model, want := range map[string]string{
		"gpt-5": `{"input":"x","max_output_tokens":5,"reasoning":{"effort":"low"}}`, "gpt-4o": `{"input":"x","temperature":0.2,"max_output_tokens":5}`,
	} {
		b := newBody(t, "/v1/responses", `{"input":"x","temperature":0.2,"max_output_tokens":5,"reasoning":{"effort":"low"}}`)
		b.adapt(familyOf("openai", model), "")
		same(t, b.edit.AppendTo(nil), want)
	}
}

func TestDotSegments(t *testing.T) {
	for path, want := range map[string]bool{
		"/v1/files": false, "/v1/files/a..b": false, "/v1/...": false, "/v1/../x": true, "/v1/a/../../x": true, "/v1/./x": true, "/v1/..": true, `/v1/..\x`: true,
	} {
		if got := hasDotSegment(path); got != want {
			t.Errorf("%s: %v", path, got)
		}
	}
}

func TestAttemptsThatWereSent(t *testing.T) {
	attempts := []call.Attempt{{ErrorClass: "circuit_open"}, {ErrorClass: unbound, Skipped: true}, {ErrorClass: "connect"}, {}}
	if n := sent(attempts); n != 2 {
		t.Errorf("%d", n)
	}
}

func TestUsageIsAskedFor(t *testing.T) {
	tests := map[string]struct {
		body, want string
		hide       bool
	}{
		"no options":    {`{"stream":true}`, `{"stream":true,"stream_options":{"include_usage":true}}`, true},
		"null":          {`{"stream_options":null}`, `{"stream_options":{"include_usage":true}}`, true},
		"other options": {`{"stream_options":{"x":1}}`, `{"stream_options":{"x":1,"include_usage":true}}`, true},
		"empty options": {`{"stream_options":{ }}`, `{"stream_options":{"include_usage":true}}`, true},
		"refused":       {`{"stream_options":{"include_usage":false,"x":1}}`, `{"stream_options":{"include_usage":true,"x":1}}`, true},
		"asked":         {`{"stream_options":{"include_usage":true}}`, `{"stream_options":{"include_usage":true}}`, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBody(t, "/v1/chat/completions", tt.body)
			if hide := b.askUsage(); hide != tt.hide {
				t.Errorf("hide %v, want %v", hide, tt.hide)
			}
			same(t, b.edit.AppendTo(nil), tt.want)
		})
	}
}

func TestAdaptClaude(t *testing.T) {
	tests := map[string]struct {
		model, body, want string
		adjustments       []string
	}{
		"samples no more": {
			"claude-opus-5-5", `{"temperature":0.2,"top_k":5,"top_p":null,"max_tokens":5}`, `{"top_p":null,"max_tokens":5}`,
			[]string{"temperature left out", "top_k left out"},
		},
		"one sampler": {"claude-sonnet-4-5-20250929", `{"temperature":0.2,"top_p":0.5,"max_tokens":5}`, `{"temperature":0.2,"max_tokens":5}`, []string{"top_p left out"}},
		"both":        {"claude-3-5-sonnet-20241022", `{"temperature":0.2,"top_p":0.5,"max_tokens":5}`, `{"temperature":0.2,"top_p":0.5,"max_tokens":5}`, nil},
		"budget":      {"claude-opus-4-7", `{"thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":5}`, `{"thinking":{"type":"adaptive"},"max_tokens":5}`, []string{"thinking with a budget sent as adaptive"}},
		"adaptive":    {"claude-haiku-4-5", `{"thinking":{"type":"adaptive"},"output_config":{"effort":"low"},"max_tokens":5}`, `{"max_tokens":5}`, []string{"thinking left out", "output_config left out"}},
		"max_tokens":  {"claude-3-haiku-20240307", `{"max_tokens":128000}`, `{"max_tokens":4096}`, []string{"max_tokens 128000 sent as 4096"}},
		"unknown":     {"llama", `{"max_tokens":128000,"thinking":{"type":"adaptive"}}`, `{"max_tokens":128000,"thinking":{"type":"adaptive"}}`, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			b := newBody(t, "/v1/messages", tt.body)
			if got := b.adapt(familyOf("anthropic", tt.model), tt.model); !reflect.DeepEqual(got, tt.adjustments) {
				t.Errorf("adjustments %q, want %q", got, tt.adjustments)
			}
			same(t, b.edit.AppendTo(nil), tt.want)
		})
	}
}
