package dialect_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
)

// What would make another answer of it is refused, and named.
func TestWhatCannotBeSaid(t *testing.T) {
	const messages = `"messages":[{"role":"user","content":"x"}]`
	for name, tt := range map[string]struct {
		front  call.Front
		target string
		body   string
		param  string
	}{
		"several choices":    {call.ChatCompletions, "anthropic", `{"n":2,` + messages + `}`, "n"},
		"several, Gemini":    {call.ChatCompletions, "gemini", `{"n":2,` + messages + `}`, "n"},
		"audio":              {call.ChatCompletions, "anthropic", `{"modalities":["text","audio"],` + messages + `}`, "modalities"},
		"functions":          {call.ChatCompletions, "gemini", `{"functions":[],` + messages + `}`, "functions"},
		"web search":         {call.ChatCompletions, "anthropic", `{"web_search_options":{},` + messages + `}`, "web_search_options"},
		"custom tool":        {call.ChatCompletions, "anthropic", `{"tools":[{"type":"custom","custom":{"name":"x"}}],` + messages + `}`, "tools"},
		"sound":              {call.ChatCompletions, "anthropic", `{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}]}]}`, "messages"},
		"kept file":          {call.ChatCompletions, "gemini", `{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]}`, "messages"},
		"odd image":          {call.ChatCompletions, "anthropic", `{"messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"data:image/tiff;base64,AA"}}]}]}`, "messages"},
		"escaped name":       {call.ChatCompletions, "anthropic", `{"messages":[{"role":"user","c\u006fntent":"x"}]}`, `c\u006fntent`},
		"unknown role":       {call.ChatCompletions, "anthropic", `{"messages":[{"role":"function","content":"x"}]}`, "messages[].role"},
		"unknown call":       {call.ChatCompletions, "gemini", `{"messages":[{"role":"tool","tool_call_id":"x","content":"y"}]}`, "messages"},
		"old model, schema":  {call.ChatCompletions, "old", `{"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{}}},` + messages + `}`, "response_format"},
		"earlier response":   {call.Responses, "anthropic", `{"input":"x","previous_response_id":"resp_1"}`, "previous_response_id"},
		"hosted tool":        {call.Responses, "gemini", `{"input":"x","tools":[{"type":"web_search"}]}`, "tools"},
		"item reference":     {call.Responses, "anthropic", `{"input":[{"type":"item_reference","id":"x"}]}`, "input"},
		"background":         {call.Responses, "anthropic", `{"input":"x","background":true}`, "background"},
		"Anthropic's tool":   {call.Messages, "chatcompletions", `{"tools":[{"type":"bash_20250124","name":"bash"}],` + messages + `}`, "tools"},
		"Anthropic's file":   {call.Messages, "gemini", `{"messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"x"}}]}]}`, "messages"},
		"Anthropic's search": {call.Messages, "chatcompletions", `{"messages":[{"role":"user","content":[{"type":"search_result"}]}]}`, "messages"},
	} {
		to := targets[tt.target]
		if tt.target == "old" {
			to = dialect.Target{Wire: call.Messages, Model: "claude-3-7-sonnet-20250219"}
		}
		_, _, fail := dialect.Request(tt.front, []byte(tt.body), to)
		if fail == nil || fail.Param != tt.param || fail.Class != dialect.Unsayable || fail.Status != 400 {
			t.Errorf("%s: got %+v", name, fail)
		}
	}
}

// In the history it is left out, and listed: the conversation goes on.
func TestUnsupportedHistory(t *testing.T) {
	body := `{"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{"data":"AA","format":"wav"}}]},{"role":"assistant","content":"I heard."},{"role":"user","content":"and?"}]}`
	out, adjustments, fail := dialect.Request(call.ChatCompletions, []byte(body), targets["anthropic"])
	if fail != nil || !reflect.DeepEqual(adjustments, []string{"audio left out of the history"}) {
		t.Fatal(fail, adjustments)
	}
	if want := `"messages":[{"role":"assistant","content":"I heard."},{"role":"user","content":"and?"}]`; !strings.Contains(string(out), want) {
		t.Errorf("got %s", out)
	}
}

func TestSmallThings(t *testing.T) {
	for name, tt := range map[string]struct {
		front        call.Front
		target, body string
		want         string // a part of the request
		adjustment   string
	}{
		"most tokens":       {call.ChatCompletions, "anthropic", `{"messages":[{"role":"user","content":"x"}]}`, `"max_tokens":64000`, ""},
		"more than most":    {call.ChatCompletions, "anthropic", `{"max_tokens":99000,"messages":[{"role":"user","content":"x"}]}`, `"max_tokens":64000`, "max_tokens 99000 sent as 64000"},
		"open schema":       {call.ChatCompletions, "anthropic", `{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","additionalProperties":{"type":"string"}}}}}`, `"schema":{"type":"object","additionalProperties":false}`, "1 limits and open objects left out of the answer's schema"},
		"most effort":       {call.Messages, "chatcompletions", `{"max_tokens":9,"messages":[{"role":"user","content":"x"}],"output_config":{"effort":"max"}}`, `"reasoning_effort":"high"`, "effort max sent as high"},
		"of a strange name": {call.ChatCompletions, "alias", `{"messages":[{"role":"user","content":"x"}]}`, `"max_tokens":4096`, ""},
		"system alone":      {call.ChatCompletions, "anthropic", `{"messages":[{"role":"system","content":"x"}]}`, `"messages":[{"role":"user","content":"x"}]`, "system text sent as the user's: there is no other message"},
		"odd arguments":     {call.ChatCompletions, "anthropic", `{"messages":[{"role":"assistant","tool_calls":[{"id":"a","function":{"name":"f","arguments":"{cut"}}]}]}`, `"input":{"arguments":"{cut"}`, `arguments of a tool call that are no JSON object sent as {"arguments": …}`},
		"allowed tools":     {call.ChatCompletions, "gemini", `{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"b"}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"b"}}]}}}`, `"tools":[{"functionDeclarations":[{"name":"b"}]}],"toolConfig":{"functionCallingConfig":{"mode":"ANY"}}`, ""},
		"json mode":         {call.ChatCompletions, "gemini", `{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}}`, `"generationConfig":{"responseMimeType":"application/json"}`, ""},
		"no json mode":      {call.ChatCompletions, "anthropic", `{"messages":[{"role":"user","content":"x"}],"response_format":{"type":"json_object"}}`, `"max_tokens"`, "response_format json_object left out: only a schema can be asked for"},
		"native thinking":   {call.ChatCompletions, "anthropic", `{"messages":[{"role":"user","content":"x"}],"temperature":0.5,"thinking":{"type":"enabled","budget_tokens":2000}}`, `"thinking":{"type":"enabled","budget_tokens":2000}`, "temperature left out"},
		"native safety":     {call.ChatCompletions, "gemini", `{"messages":[{"role":"user","content":"x"}],"safetySettings":[{"a":1}]}`, `"safetySettings":[{"a":1}]`, ""},
		"no thinking":       {call.Messages, "gemini-2.5", `{"max_tokens":9,"messages":[{"role":"user","content":"x"}],"thinking":{"type":"disabled"}}`, `"thinkingBudget":0`, ""},
		"long id":           {call.Messages, "chatcompletions", `{"max_tokens":9,"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"toolu_0123456789012345678901234567890123456789","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_0123456789012345678901234567890123456789"}]}]}`, `"tool_call_id":"call_`, ""},
		"newer version":     {call.ChatCompletions, "versioned", `{"messages":[{"role":"user","content":"x"}],"temperature":0.5}`, `"messages"`, "temperature left out"},
	} {
		t.Run(name, func(t *testing.T) {
			to := targets[tt.target]
			switch tt.target {
			case "alias":
				to = dialect.Target{Wire: call.Messages, Model: "smart"}
			case "versioned":
				to = dialect.Target{Wire: call.Messages, Model: "claude-sonnet-4-5", NoSampling: true}
			}
			out, adjustments, fail := dialect.Request(tt.front, []byte(tt.body), to)
			if fail != nil {
				t.Fatal(fail)
			}
			if !strings.Contains(string(out), tt.want) {
				t.Errorf("%s is not in %s", tt.want, out)
			}
			if got := strings.Join(adjustments, "; "); got != tt.adjustment {
				t.Errorf("adjustments %q, want %q", got, tt.adjustment)
			}
		})
	}
}

func TestClaudeVersions(t *testing.T) {
	for model, want := range map[string][4]bool{ // samples, one sampler, adaptive, structured
		"claude-3-haiku-20240307": {true, false, false, false}, "claude-3-5-sonnet-20241022": {true, false, false, false}, "claude-3-7-sonnet-latest": {true, false, false, false},
		"claude-sonnet-4-20250514": {true, false, false, false}, "claude-opus-4-1-20250805": {true, true, false, false}, "claude-sonnet-4@20250514": {true, false, false, false},
		"claude-haiku-4-5": {true, true, false, true}, "us.anthropic.claude-opus-4-6-v1:0": {true, true, true, true}, "claude-opus-4-7": {false, true, true, true},
		"claude-sonnet-5": {false, true, true, true}, "claude-fable-5-2": {false, true, true, true}, "claude-mythos-preview": {false, true, true, true},
	} {
		c := dialect.ClaudeOf(model)
		if got := [4]bool{c.Samples(), c.OneSampler(), c.Adaptive(), c.Structured()}; got != want {
			t.Errorf("%s: got %v, want %v", model, got, want)
		}
	}
	for model, want := range map[string]int{
		"claude-3-opus-20240229": 4096, "claude-3-5-haiku-latest": 8192, "claude-3-7-sonnet-20250219": 64_000, "claude-opus-4-1": 32_000, "claude-sonnet-4-20250514": 64_000,
		"claude-opus-4-5": 64_000, "claude-opus-4-6": 128_000, "claude-haiku-5-5": 128_000, "something": 4096,
	} {
		if got := dialect.ClaudeOf(model).MaxTokens(model); got != want {
			t.Errorf("%s: %d tokens, want %d", model, got, want)
		}
	}
}

// A conversation that was at another provider goes on at one of its own dialect.
func TestClean(t *testing.T) {
	for name, tt := range map[string]struct {
		front    call.Front
		in, want string
	}{
		"chat": {
			call.ChatCompletions,
			`{"a": 1,"messages": [ {"role":"user","content":"x"}, {"thinking_blocks":[{"signature":"~frontier:anthropic:s"}],"reasoning_content":"hm","role":"assistant","tool_calls":[{"extra_content":{"google":{"thought_signature":"~frontier:gemini:s"}},"id":"c"},{"id":"d","extra_content":{"google":{}}}]} ], "z":2}`,
			`{"a": 1,"messages": [{"role":"user","content":"x"},{"role":"assistant","tool_calls":[{"id":"c"},{"id":"d","extra_content":{"google":{}}}]}], "z":2}`,
		},
		"messages": {
			call.Messages,
			`{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"own"},{"type":"thinking","thinking":"","signature":"~frontier:gemini:s"},{"type":"text","text":"b"}]},{"role":"assistant","content":[{"type":"thinking","signature":"~frontier:other:"}]},{"role":"user","content":"~frontier: is what I say"}]}`,
			`{"messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"a","signature":"own"},{"type":"text","text":"b"}]},{"role":"user","content":"~frontier: is what I say"}]}`,
		},
		"responses": {
			call.Responses,
			`{"input":[{"type":"reasoning","encrypted_content":"gAAA"},{"type":"reasoning","encrypted_content":"~frontier:anthropic:s"},{"role":"user","content":"x"}]}`,
			`{"input":[{"type":"reasoning","encrypted_content":"gAAA"},{"role":"user","content":"x"}]}`,
		},
	} {
		if got, ok := dialect.Clean(tt.front, []byte(tt.in)); !ok || string(got) != tt.want {
			t.Errorf("%s: got  %s\nwant %s", name, got, tt.want)
		}
	}
	if _, ok := dialect.Clean(call.Responses, []byte(`{"input":"~frontier:"}`)); ok {
		t.Error("a text was cleaned")
	}
}

// said is what a conversation says, whatever its dialect: roles, texts, calls, results.
func said(t *rapid.T, doc []byte) (out []string) {
	var body struct {
		System   any
		Messages []struct {
			Role      string
			Content   any
			ToolCalls []struct {
				ID       string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
			ToolCallID string `json:"tool_call_id"`
		}
	}
	if err := json.Unmarshal(doc, &body); err != nil {
		t.Fatal(err)
	}
	for _, m := range body.Messages {
		if m.Role == "tool" {
			out = append(out, fmt.Sprintf("result %s %v", m.ToolCallID, m.Content))
			continue
		}
		if s, ok := m.Content.(string); ok && s != "" {
			out = append(out, m.Role+" "+s)
		}
		for _, c := range m.ToolCalls {
			out = append(out, fmt.Sprintf("call %s %s %s", c.ID, c.Function.Name, c.Function.Arguments))
		}
	}
	return out
}

// A conversation of chat completions says the same after a way through Anthropic's dialect.
func TestRoundTrip(t *testing.T) {
	text := rapid.StringMatching(`[a-z"\\\n\t{}ü€😀/<]{0,12}[a-z]`)
	rapid.Check(t, func(t *rapid.T) {
		var messages []map[string]any
		for i := range rapid.IntRange(1, 4).Draw(t, "turns") {
			messages = append(messages, map[string]any{"role": "user", "content": text.Draw(t, "user")})
			answer := map[string]any{"role": "assistant", "content": text.Draw(t, "assistant")}
			var results []map[string]any
			for k := range rapid.IntRange(0, 2).Draw(t, "calls") {
				id := fmt.Sprintf("call_%d_%d", i, k)
				arguments, _ := json.Marshal(map[string]any{"a": text.Draw(t, "argument"), "n": rapid.Float64().Draw(t, "number")})
				calls, _ := answer["tool_calls"].([]any)
				answer["tool_calls"] = append(calls, map[string]any{"id": id, "type": "function", "function": map[string]any{"name": "f", "arguments": string(arguments)}})
				results = append(results, map[string]any{"role": "tool", "tool_call_id": id, "content": text.Draw(t, "result")})
			}
			messages = append(append(messages, answer), results...)
		}
		messages = append(messages, map[string]any{"role": "user", "content": "end"})
		body, _ := json.Marshal(map[string]any{"messages": messages})
		there, _, fail := dialect.Request(call.ChatCompletions, body, targets["anthropic"])
		if fail != nil {
			t.Fatal(fail)
		}
		back, _, fail := dialect.Request(call.Messages, bytes.Clone(there), targets["chatcompletions"])
		if fail != nil {
			t.Fatal(fail)
		}
		if got, want := said(t, back), said(t, body); !reflect.DeepEqual(got, want) {
			t.Fatalf("got  %q\nwant %q\nby %s", got, want, there)
		}
	})
}

// A stream of Anthropic's that goes to a client of its own is judged as any other.
func TestMessagesEvents(t *testing.T) {
	e := dialect.NewEvents(call.Messages, 1, false)
	for _, step := range []struct {
		data string
		want dialect.Verdict
	}{
		{`{"type":"message_start","message":{"id":"msg_1","model":"m","usage":{"input_tokens":5,"cache_read_input_tokens":3,"output_tokens":1}}}`, dialect.Pass},
		{`{"type":"ping"}`, dialect.Pass},
		{`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`, dialect.Pass},
		{`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}`, dialect.Content},
		{`{"type":"content_block_delta","index":0,"delta":{"type":"text_`, dialect.Broken},
		{`{"type":"content_block_start","index":1,"content_block":{"type":"tool_use","id":"t","name":"f","input":{}}}`, dialect.Content},
		{`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":9}}`, dialect.Pass},
		{`{"type":"message_stop"}`, dialect.Done},
		{`{"type":"error","error":{"type":"overloaded_error"}}`, dialect.Failed},
	} {
		if got := e.Event([]byte(step.data)); got != step.want {
			t.Errorf("%s: got %d, want %d", step.data, got, step.want)
		}
	}
	if s := e.Summary(); !e.Complete() || s.ID != "msg_1" || s.Finish != "tool_use" || *s.Usage != (call.Usage{Input: 8, Output: 9, CachedInput: 3}) {
		t.Errorf("%+v %+v", s, s.Usage)
	}
	if dialect.NewEvents(call.Messages, 1, false).Event([]byte(`{"type":"message_stop"}`)) != dialect.Broken {
		t.Error("an end without a reason is taken for one")
	}
}

// Faults of providers are known by their dialect's words for them.
func TestErrorsAreRead(t *testing.T) {
	for body, want := range map[string][2]string{
		`{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`:                     {"overloaded_error", "Overloaded"},
		`{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED"}}`:                          {"RESOURCE_EXHAUSTED", "Quota"},
		"[{\n\"error\":{\"code\":400,\"message\":\"Bad\",\"status\":\"INVALID_ARGUMENT\"}}]":              {"INVALID_ARGUMENT", "Bad"},
		`{"error":{"message":"no","type":"invalid_request_error","param":null,"code":"model_not_found"}}`: {"model_not_found", "no"},
		`<html>`: {"", ""},
	} {
		if code, message := dialect.ReadError([]byte(body)); [2]string{code, message} != want {
			t.Errorf("%s: %q %q", body, code, message)
		}
	}
	for _, long := range []string{
		`{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 208310 tokens > 200000 maximum"}}`,
		`{"error":{"code":400,"message":"The input token count (1048577) exceeds the maximum number of tokens allowed (1048576).","status":"INVALID_ARGUMENT"}}`,
		`{"error":{"code":"context_length_exceeded"}}`,
	} {
		if !dialect.TooLong([]byte(long)) {
			t.Error(long)
		}
	}
}
