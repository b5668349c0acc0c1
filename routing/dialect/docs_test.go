package dialect_test

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
)

// examples are values of members, unlike those that ask for nothing.
var examples = map[string]string{
	"messages": `[{"role":"user","content":"x"}]`, "model": `"m"`, "max_completion_tokens": `5`, "max_tokens": `5000`, "temperature": `0.5`, "top_p": `0.5`, "stop": `["a"]`, "stream": `true`,
	"stream_options": `{"include_usage":true}`, "tools": `[{"type":"function","function":{"name":"f"}}]`, "tool_choice": `"required"`, "parallel_tool_calls": `false`,
	"response_format": `{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}`, "reasoning_effort": `"low"`, "user": `"ann"`, "safety_identifier": `"ann"`, "seed": `1`,
	"presence_penalty": `1`, "frequency_penalty": `1`, "n": `2`, "modalities": `["audio"]`, "audio": `{"voice":"x"}`, "web_search_options": `{"a":1}`, "functions": `[]`, "function_call": `"auto"`,
	"service_tier": `"auto"`, "logprobs": `true`, "top_logprobs": `2`, "logit_bias": `{"1":1}`, "metadata": `{"user_id":"ann"}`, "store": `true`, "prediction": `{"type":"content"}`, "verbosity": `"low"`,
	"moderation": `{"a":1}`, "prompt_cache_key": `"k"`, "prompt_cache_retention": `"24h"`, "prompt_cache_options": `{"a":1}`,
	"input": `"x"`, "instructions": `"x"`, "max_output_tokens": `5000`, "reasoning": `{"effort":"low"}`, "text": `{"format":{"type":"json_schema","name":"n","schema":{"type":"object"}}}`,
	"previous_response_id": `"resp_1"`, "conversation": `"conv_1"`, "background": `true`, "include": `["a"]`, "truncation": `"auto"`, "max_tool_calls": `1`, "access_programs": `["a"]`, "context_management": `[{"a":1}]`,
	"system": `"x"`, "top_k": `5`, "stop_sequences": `["a"]`, "thinking": `{"type":"enabled","budget_tokens":2000}`,
	"output_config": `{"effort":"low","format":{"type":"json_schema","schema":{"type":"object"}}}`, "cache_control": `{"type":"ephemeral"}`, "inference_geo": `"eu"`, "speed": `"fast"`,
	"diagnostics": `{"a":1}`, "container": `"c"`, "mcp_servers": `[{"a":1}]`,
}

// messagesMembers are those of MessageCreateParams in anthropic 2.12.0, with temperature, top_p and top_k of the version before.
var messagesMembers = []string{
	"max_tokens", "messages", "model", "cache_control", "container", "diagnostics", "inference_geo", "metadata", "output_config", "service_tier", "speed",
	"stop_sequences", "system", "thinking", "tool_choice", "tools", "stream", "temperature", "top_p", "top_k",
}

// members are the JSON names of an SDK's parameters.
func members(params any) (out []string) {
	for f := range reflect.TypeOf(params).Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			out = append(out, name)
		}
	}
	return out
}

// The table of every member and its fate says what happens, and has every member of the vendors' SDKs.
func TestDocumentedFates(t *testing.T) {
	doc, err := os.ReadFile("../../docs/dialects.md")
	if err != nil {
		t.Fatal(err)
	}
	chat := members(openai.ChatCompletionNewParams{})
	own := members(responses.ResponseNewParams{})
	for _, table := range []struct {
		front   call.Front
		head    string
		base    string // a request without anything else
		to      []string
		members []string
	}{
		{call.ChatCompletions, "chat completions", `"messages":[{"role":"user","content":"x"}]`, []string{"anthropic", "gemini"}, chat},
		{call.Responses, "responses", `"input":"x"`, []string{"anthropic", "gemini"}, own},
		{call.Messages, "messages", `"messages":[{"role":"user","content":"x"}],"max_tokens":5000`, []string{"chatcompletions", "gemini"}, messagesMembers},
	} {
		_, rows, found := strings.Cut(string(doc), "\n| "+table.head+" | to ")
		if !found {
			t.Fatal(table.head, "has no table")
		}
		rows, _, _ = strings.Cut(rows, "\n\n")
		known := map[string]bool{}
		for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (.*) \\| (.*) \\|$").FindAllStringSubmatch(rows, -1) {
			known[row[1]] = true
			for i, target := range table.to {
				checkFate(t, table.front, table.base, row[1], row[2+i], targets[target])
			}
		}
		for _, name := range table.members {
			shared := name == "model" || table.front == call.Responses && (name == "prompt" || slices.Contains(chat, name))
			if !known[name] && !shared {
				t.Errorf("%s: %s has no row", table.head, name)
			}
		}
	}
}

func checkFate(t *testing.T, front call.Front, base, name, fate string, to dialect.Target) {
	t.Helper()
	value, ok := examples[name]
	if !ok {
		t.Errorf("%s has no example", name)
		return
	}
	if front == call.Messages && name == "tools" {
		value = `[{"name":"f","input_schema":{"type":"object"}}]`
	}
	if front == call.Messages && name == "tool_choice" {
		value = `{"type":"any"}`
	}
	body := base
	if !strings.HasPrefix(base, `"`+name+`"`) && !strings.Contains(base, `,"`+name+`"`) {
		body += `,"` + name + `":` + value
	}
	if name == "tool_choice" || name == "parallel_tool_calls" {
		tool := `{"type":"function","name":"f","function":{"name":"f"}}`
		if front == call.Messages {
			tool = `{"name":"f","input_schema":{"type":"object"}}`
		}
		body += `,"tools":[` + tool + `]`
	}
	out, adjustments, fail := dialect.Request(front, []byte("{"+body+"}"), to)
	said := strings.Join(adjustments, "; ")
	switch {
	case strings.HasPrefix(fate, "error"):
		if fail == nil || fail.Param != name {
			t.Errorf("%s for %s is no error: %s", name, to.Model, out)
		}
	case fail != nil:
		t.Errorf("%s for %s: %s", name, to.Model, fail.Message)
	case strings.HasPrefix(fate, "left out"):
		want := name
		if name == "safety_identifier" || name == "metadata" {
			want = "" // its text is the user's
		}
		if !strings.Contains(said, want) || !strings.Contains(said, "left out") {
			t.Errorf("%s for %s is not said to be left out: %q", name, to.Model, said)
		}
	case strings.HasPrefix(fate, "no effect"), strings.HasPrefix(fate, "in the path"):
	default:
		for _, sent := range regexp.MustCompile("^`([A-Za-z_]+)`").FindAllStringSubmatch(fate, 1) {
			if !strings.Contains(string(out), `"`+sent[1]+`":`) {
				t.Errorf("%s for %s is not sent as %s: %s", name, to.Model, sent[1], out)
			}
		}
	}
}
