package dialect_test

import (
	"testing"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
)

func TestChatEvents(t *testing.T) {
	const c = `{"id":"x","model":"m-1","choices":[{"index":0,`
	tests := map[string]struct {
		data string
		want dialect.Verdict
	}{
		"role alone":          {c + `"delta":{"role":"assistant","content":""},"finish_reason":null}]}`, dialect.Pass},
		"content":             {c + `"delta":{"content":"a"}}]}`, dialect.Content},
		"content null":        {c + `"delta":{"content":null,"tool_calls":[]}}]}`, dialect.Pass},
		"tool call":           {c + `"delta":{"tool_calls":[{"index":0}]}}]}`, dialect.Content},
		"reasoning":           {c + `"delta":{"reasoning_content":"hm"}}]}`, dialect.Content},
		"refusal":             {c + `"delta":{"refusal":"no"}}]}`, dialect.Content},
		"text of completions": {c + `"text":"a"}]}`, dialect.Content},
		"finish":              {c + `"delta":{},"finish_reason":"stop"}]}`, dialect.Pass},
		"usage alone":         {`{"choices":[],"usage":{"prompt_tokens":1}}`, dialect.Drop},
		"error":               {`{"error":{"message":"x"}}`, dialect.Failed},
		"no error":            {`{"error":null,"choices":[]}`, dialect.Pass},
		"done":                {`[DONE]`, dialect.Done},
		"junk":                {`hello`, dialect.Drop},
		"no event at all":     {`{not json}`, dialect.Drop},
		"cut short":           {c + `"delta":{"content":"a`, dialect.Broken},
		"invalid UTF-8":       {c + `"delta":{"content":"` + "\xff" + `"}}]}`, dialect.Broken},
		"vLLM's error":        {`{"object":"error","message":"x"}`, dialect.Failed},
		"comment":             {``, dialect.Pass},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := dialect.NewEvents(call.ChatCompletions, 1, true).Event([]byte(tt.data)); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// Events that are like the one before are judged as if it had not been there.
func TestLikeEvents(t *testing.T) {
	events := []string{
		`{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{"content":"bc"},"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{"content":""},"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{"content":"d\"e"},"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{"content":"d"e"},"finish_reason":null}]}`,
		`{"choices":[{"index":0,"delta":{"content":"` + "\xff" + `"},"finish_reason":null}]}`,
		`{"choices":[{"index":1,"delta":{"content":"x"},"finish_reason":null}]}`,
		`{"choices":[{"index":1,"delta":{"content":"x"},"finish_reason":"stop"}]}`,
		`{"choices":[{"index":1,"delta":{"content":"yy"},"finish_reason":"stop"}]}`,
		`{"choices":[{"index":0,"delta":{"content":"x"},"logprobs":{"content":[]}}],"usage":null}`,
		`{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":1}}`,
		`{"choices":[{"index":0,"delta":{"content":"x"}}],"usage":{"prompt_tokens":2}}`,
	}
	for _, first := range events {
		for _, second := range events {
			alike, alone := dialect.NewEvents(call.ChatCompletions, 2, true), dialect.NewEvents(call.ChatCompletions, 2, true)
			alike.Event([]byte(first))
			before := alike.Summary().Bytes
			if got, want := alike.Event([]byte(second)), alone.Event([]byte(second)); got != want || alike.Summary().Bytes-before != alone.Summary().Bytes {
				t.Errorf("%s behind %s: got %d and %d bytes, want %d and %d", second, first, got, alike.Summary().Bytes-before, want, alone.Summary().Bytes)
			}
		}
	}
}

func TestEveryChoiceMustFinish(t *testing.T) {
	e := dialect.NewEvents(call.ChatCompletions, 2, false)
	if e.Complete() {
		t.Error("complete before anything came")
	}
	e.Event([]byte(`{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}`))
	if e.Complete() {
		t.Error("complete with one of two choices")
	}
	e.Event([]byte(`{"choices":[{"index":1,"delta":{},"finish_reason":"length"}]}`))
	if !e.Complete() {
		t.Error("not complete with both choices")
	}
	e.Event([]byte(`{"id":"r1","model":"m","choices":[],"usage":{"prompt_tokens":11,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":4},"completion_tokens_details":{"reasoning_tokens":2}}}`))
	s := e.Summary()
	if s.Finish != "stop" || s.Model != "m" || s.ID != "r1" || *s.Usage != (call.Usage{Input: 11, Output: 7, CachedInput: 4, Reasoning: 2}) {
		t.Errorf("%+v %+v", s, s.Usage)
	}
}

func TestResponsesEvents(t *testing.T) {
	e := dialect.NewEvents(call.Responses, 1, false)
	for _, step := range []struct {
		data string
		want dialect.Verdict
	}{
		{`{"type":"response.created","response":{"id":"resp_1"}}`, dialect.Pass},
		{`{"type":"response.output_item.added","item":{}}`, dialect.Pass},
		{`{"type":"response.output_text.delta","delta":"a"}`, dialect.Content},
		{`{"type":"response.function_call_arguments.delta","delta":"a"}`, dialect.Content},
		{`{"type":"response.completed","response":{"id":"resp_1","model":"m","status":"completed","usage":{"input_tokens":3,"output_tokens":2,"input_tokens_details":{"cached_tokens":1}}}}`, dialect.Done},
	} {
		if got := e.Event([]byte(step.data)); got != step.want {
			t.Errorf("%s: got %d, want %d", step.data, got, step.want)
		}
	}
	if s := e.Summary(); !e.Complete() || s.ID != "resp_1" || s.Usage.Input != 3 || s.Usage.CachedInput != 1 || s.Finish != "completed" {
		t.Errorf("%+v", s)
	}
	if got := dialect.NewEvents(call.Responses, 1, false).Event([]byte(`{"type":"response.failed"}`)); got != dialect.Failed {
		t.Errorf("response.failed: %d", got)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"choices":[{"index":0,"delta":{"content":"a"}}],"usage":{}}`))
	f.Add([]byte(`{"type":"response.completed","response":{"usage":{"input_tokens":1}}}`))
	f.Fuzz(func(_ *testing.T, data []byte) {
		for _, front := range []call.Front{call.ChatCompletions, call.Responses} {
			e := dialect.NewEvents(front, 1, true)
			e.Event(data)
			e.Complete()
			dialect.Summarize(front, data)
		}
	})
}

func BenchmarkChatEvent(b *testing.B) {
	data := []byte(`{"choices":[{"delta":{"content":"tok000012 xxxxxx"},"finish_reason":null,"index":0,"logprobs":null}],"created":1700000000,"id":"chatcmpl-fake0001","model":"gpt-4o-mini-2024-07-18","object":"chat.completion.chunk","system_fingerprint":"fp_fake"}`)
	e := dialect.NewEvents(call.ChatCompletions, 1, true)
	b.ReportAllocs()
	for b.Loop() {
		e.Event(data)
	}
}
