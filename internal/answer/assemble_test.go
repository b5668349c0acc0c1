package answer

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/call"
)

// events writes the data of a stream with the given line end.
func events(end string, data ...string) string {
	var b strings.Builder
	for _, d := range data {
		b.WriteString("data: " + d + end + end)
	}
	return b.String()
}

func assembleText(t testing.TB, front call.Front, stream string) (string, Answer) {
	t.Helper()
	var a Assembler
	out, got := a.Assemble(nil, front, []byte(stream))
	return string(out), got
}

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("not JSON: %v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

const chunk = `"id":"c1","object":"chat.completion.chunk","created":7,"model":"gpt-4o"`

func TestAssemble(t *testing.T) {
	hello := []string{
		`{` + chunk + `,"choices":[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null}],"obfuscation":"x"}`,
		`{` + chunk + `,"choices":[{"index":0,"delta":{"content":"Hel\"lo \ud83d"},"finish_reason":null}]}`,
		`{` + chunk + `,"choices":[{"index":0,"delta":{"content":"\ude00\n"},"finish_reason":null}]}`,
		`{` + chunk + `,"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`,
		`{` + chunk + `,"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}}}`,
		`[DONE]`,
	}
	helloWant := `{"id":"c1","object":"chat.completion","created":7,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hel\"lo 😀\n"},"finish_reason":"stop"}],
		"usage":{"prompt_tokens":9,"completion_tokens":4,"total_tokens":13,"prompt_tokens_details":{"cached_tokens":3},"completion_tokens_details":{"reasoning_tokens":2}}}`
	helloUsage := &call.Usage{Input: 9, Output: 4, CachedInput: 3, Reasoning: 2}
	done := Answer{Model: "gpt-4o", Finish: "stop", Usage: helloUsage, Done: true, Events: 5}
	for _, test := range []struct {
		name   string
		front  call.Front
		stream string
		want   string
		answer Answer
	}{
		{"text", call.ChatCompletions, events("\n", hello...), helloWant, done},
		{"CRLF", call.ChatCompletions, events("\r\n", hello...), helloWant, done},
		{"CR", call.ChatCompletions, events("\r", hello...), helloWant, done},
		{"byte order mark, comments, fields, junk", call.ChatCompletions, "\xef\xbb\xbf: ping\n\nid: 1\nevent: x\nretry: 5\n\nnot an event\n\ndata: {junk\n\ndata: 17\n\n" + events("\n", hello...) + "data: [DONE]\n\n<html>", helloWant, done},
		{
			"data over several lines", call.ChatCompletions, "data: {\"model\":\"m\",\ndata:\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"index\":0,\ndata: \"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n\n",
			`{"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"ab"},"finish_reason":"stop"}]}`,
			Answer{Model: "m", Finish: "stop", Done: true, Events: 2},
		},
		{"cut between events", call.ChatCompletions, events("\n", hello[:3]...), `{"id":"c1","object":"chat.completion","created":7,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hel\"lo 😀\n"},"finish_reason":null}]}`, Answer{Model: "gpt-4o", Events: 3}},
		{"cut in an event", call.ChatCompletions, events("\n", hello[:2]...) + hello[2][:60], `{"id":"c1","object":"chat.completion","created":7,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"Hel\"lo \ud83d"},"finish_reason":null}]}`, Answer{Model: "gpt-4o", Events: 2}},
		{"without [DONE]", call.ChatCompletions, events("\n", hello[:5]...), helloWant, done},
		{
			"several choices", call.ChatCompletions, events("\n",
				`{"choices":[{"index":1,"delta":{"content":"B"}},{"index":0,"delta":{"content":"A"}}]}`,
				`{"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"length"}]}`,
				`{"choices":[{"index":1,"delta":{"content":"b"},"finish_reason":"stop"}]}`),
			`{"choices":[{"index":1,"message":{"role":"assistant","content":"Bb"},"finish_reason":"stop"},{"index":0,"message":{"role":"assistant","content":"Aa"},"finish_reason":"length"}]}`,
			Answer{Finish: "stop", Done: true, Events: 3},
		},
		{
			"one choice of two cut", call.ChatCompletions, events("\n",
				`{"choices":[{"index":0,"delta":{"content":"A"},"finish_reason":"stop"}]}`,
				`{"choices":[{"index":1,"delta":{"content":"B"}}]}`),
			`{"choices":[{"index":0,"message":{"role":"assistant","content":"A"},"finish_reason":"stop"},{"index":1,"message":{"role":"assistant","content":"B"},"finish_reason":null}]}`,
			Answer{Finish: "stop", Events: 2},
		},
		{
			"tool calls", call.ChatCompletions, events("\n",
				`{"choices":[{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"t0","type":"function","function":{"name":"weather","arguments":""}}]}}]}`,
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"city\":"}}]}}]}`,
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":1,"id":"t1","type":"function","function":{"name":"time","arguments":"{}"}}]}}]}`,
				`{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"\"Rome\"}"}}]}}]}`,
				`{"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}`),
			`{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"t0","type":"function","function":{"name":"weather","arguments":"{\"city\":\"Rome\"}"}},{"id":"t1","type":"function","function":{"name":"time","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`,
			Answer{Finish: "tool_calls", Done: true, Events: 5},
		},
		{
			"tool calls without index", call.ChatCompletions, events("\n",
				`{"choices":[{"delta":{"tool_calls":[{"id":"a","function":{"name":"f","arguments":"{"}}]}}]}`,
				`{"choices":[{"delta":{"tool_calls":[{"function":{"arguments":"}"}}]}}]}`,
				`{"choices":[{"delta":{"tool_calls":[{"id":"b","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`),
			`{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"a","type":"function","function":{"name":"f","arguments":"{}"}},{"id":"b","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`,
			Answer{Finish: "tool_calls", Done: true, Events: 3},
		},
		{
			"refusal, reasoning, logprobs, unknown fields", call.ChatCompletions, events("\n",
				`{"x":1,"choices":[{"index":0,"delta":{"reasoning_content":"I ","refusal":"No"},"logprobs":{"content":[{"token":"a"}],"refusal":null}}]}`,
				`{"x":2,"choices":[{"index":0,"delta":{"reasoning_content":"think","refusal":"pe","audio":{"id":"q"}},"logprobs":{"content":[{"token":"b"}],"refusal":null},"finish_reason":"stop"}]}`),
			`{"x":2,"choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":"Nope","reasoning_content":"I think","audio":{"id":"q"}},"logprobs":{"content":[{"token":"a"},{"token":"b"}],"refusal":null},"finish_reason":"stop"}]}`,
			Answer{Finish: "stop", Done: true, Events: 2},
		},
		{
			"completion", call.Completions, events("\n",
				`{"object":"text_completion","model":"i","choices":[{"index":0,"text":"on","logprobs":null,"finish_reason":null}]}`,
				`{"object":"text_completion","model":"i","choices":[{"index":0,"text":"ce","finish_reason":"length"}]}`, "[DONE]"),
			`{"object":"text_completion","model":"i","choices":[{"index":0,"text":"once","finish_reason":"length"}]}`,
			Answer{Model: "i", Finish: "length", Done: true, Events: 2},
		},
		{
			"error in the stream", call.ChatCompletions, events("\n", hello[0], `{"error":{"message":"busy","type":"server_error","code":"overloaded"}}`),
			`{"id":"c1","object":"chat.completion","created":7,"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":""},"finish_reason":null}],"error":{"message":"busy","type":"server_error","code":"overloaded"}}`,
			Answer{Model: "gpt-4o", Failed: true, Class: "overloaded", Events: 2},
		},
		{
			"responses, completed", call.Responses, events("\n",
				`{"type":"response.created","response":{"id":"r","status":"in_progress","model":"m","output":[]}}`,
				`{"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"hi"}`,
				`{"type":"response.completed","response":{"id":"r","status":"completed","model":"m","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":5,"output_tokens":1,"input_tokens_details":{"cached_tokens":2},"output_tokens_details":{"reasoning_tokens":1}}}}`),
			`{"id":"r","status":"completed","model":"m","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":5,"output_tokens":1,"input_tokens_details":{"cached_tokens":2},"output_tokens_details":{"reasoning_tokens":1}}}`,
			Answer{Model: "m", Finish: "stop", Done: true, Events: 3, Usage: &call.Usage{Input: 5, Output: 1, CachedInput: 2, Reasoning: 1}},
		},
		{
			"responses, cut", call.Responses, events("\n",
				`{"type":"response.created","response":{"id":"r","status":"in_progress","model":"m","output":[],"error":null}}`,
				`{"type":"response.output_item.added","output_index":0,"item":{"type":"reasoning","id":"rs","summary":[]}}`,
				`{"type":"response.reasoning_summary_text.delta","output_index":0,"summary_index":0,"delta":"hm"}`,
				`{"type":"response.output_item.done","output_index":0,"item":{"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"hm"}]}}`,
				`{"type":"response.output_item.added","output_index":1,"item":{"type":"message","id":"m1","status":"in_progress","content":[],"role":"assistant"}}`,
				`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"Hello "}`,
				`{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"wor"}`,
				`{"type":"response.output_item.added","output_index":2,"item":{"type":"function_call","id":"f","name":"get","arguments":""}}`,
				`{"type":"response.function_call_arguments.delta","output_index":2,"delta":"{\"a\""}`),
			`{"id":"r","status":"incomplete","model":"m","output":[{"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"hm"}]},{"type":"message","id":"m1","status":"incomplete","role":"assistant","content":[{"type":"output_text","text":"Hello wor"}]},{"type":"function_call","id":"f","name":"get","arguments":"{\"a\""}]}`,
			Answer{Model: "m", Events: 9},
		},
		{
			"responses, failed", call.Responses, events("\n", `{"type":"response.failed","response":{"status":"failed","model":"m","error":{"code":"server_error","message":"no"}}}`),
			`{"status":"failed","model":"m","error":{"code":"server_error","message":"no"}}`,
			Answer{Model: "m", Failed: true, Class: "server_error", Done: true, Events: 1},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, a := assembleText(t, test.front, test.stream)
			sameJSON(t, got, test.want)
			if !reflect.DeepEqual(a, test.answer) {
				t.Errorf("got  %+v %+v\nwant %+v %+v", a, a.Usage, test.answer, test.answer.Usage)
			}
		})
	}
}

func TestAssembleNothing(t *testing.T) {
	for _, stream := range []string{"", "\n\n", ": ping\n\n", "<html>", "data: \n\n", "data: {\n\n", "data: []\n\n"} {
		for _, front := range []call.Front{call.ChatCompletions, call.Responses} {
			if got, _ := assembleText(t, front, stream); got != "" {
				t.Errorf("%v %q: got %s", front, stream, got)
			}
		}
	}
}

// An assembler that is used again remembers nothing.
func TestAssemblerAgain(t *testing.T) {
	a := new(Assembler)
	first := events("\n", `{"model":"secret","choices":[{"index":0,"delta":{"content":"secret","tool_calls":[{"index":0,"id":"secret"}]},"logprobs":{"content":[1]}}]}`)
	second := events("\n", `{"choices":[{"index":0,"delta":{"content":"x"}}]}`)
	_, _ = a.Assemble(nil, call.ChatCompletions, []byte(first))
	got, _ := a.Assemble(nil, call.ChatCompletions, []byte(second))
	if strings.Contains(string(got), "secret") {
		t.Errorf("got %s", got)
	}
}

func TestReadAnswer(t *testing.T) {
	a := Read(call.Embeddings, []byte(`{"object":"list","data":[],"model":"text-embedding-3-small","usage":{"prompt_tokens":8,"total_tokens":8}}`))
	if a.Model != "text-embedding-3-small" || a.Usage == nil || a.Usage.Input != 8 || a.Usage.Output != 0 {
		t.Errorf("got %+v", a)
	}
	if a := Read(call.ChatCompletions, []byte(`<html>`)); a.Done || a.Usage != nil {
		t.Errorf("got %+v", a)
	}
}

func FuzzAssemble(f *testing.F) {
	f.Add(byte(1), []byte(events("\n", `{`+chunk+`,"choices":[{"index":0,"delta":{"content":"a","tool_calls":[{"index":0,"id":"x","function":{"name":"n","arguments":"{"}}]},"logprobs":{"content":[{}]}}],"usage":{"prompt_tokens":1}}`, "[DONE]")))
	f.Add(byte(2), []byte(events("\r\n", `{"choices":[{"text":"a","finish_reason":"stop"}]}`)))
	f.Add(byte(4), []byte(events("\r", `{"type":"response.created","response":{"model":"m"}}`, `{"type":"response.output_item.added","output_index":0,"item":{"type":"message","content":[]}}`, `{"type":"response.output_text.delta","delta":"x"}`, `{"type":"error","code":"c"}`)))
	f.Add(byte(1), []byte(events("\n", `{"id":"a","choices":[{"index":0,"delta":{"content":"a"}}]}`, `{"id":"a","choices":[{"index":0,"delta":{"content":"b\"c"}}]}`, `{"id":"a","choices":[{"index":0,"delta":{"content":""}}]}`, `{"id":"a","choices":[{"index":0,"delta":{"content":"d"x"}}]}`)))
	f.Add(byte(1), []byte(events("\n", `{"choices":[{"delta":{"content":"a"},"x":"y"}]}`, `{"choices":[{"delta":{"content":"a"},"finish_reason":"z"},{"delta":{"content":"q"},"x":"y"}]}`)))
	f.Add(byte(1), []byte(events("\n", `{"choices":[{"delta":{"content":"a"}}]}`, `{"choices":[{"delta":{"content":"b" }}]}`)))
	f.Add(byte(1), []byte("data: {\"error\":[}\ndata: ]}\n\n"))
	f.Add(byte(1), []byte("data: {\"choices\":{},\"usage\":{\"prompt_tokens\":-1}}\n\n"))
	f.Add(byte(8), []byte(events("\n", `{"type":"message_start","message":{"id":"m","content":[],"usage":{"input_tokens":1}}}`, `{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","input":{}}}`, `{"type":"content_block_delta","index":0,"delta":{"partial_json":"{\"a"}}`, `{"type":"message_delta","delta":{"stop_reason":"x"},"usage":{"output_tokens":2}}`, `{"type":"message_stop"}`)))
	f.Add(byte(8), []byte("data:{\"type\":\"error\"}"))
	again := new(Assembler)
	f.Fuzz(func(t *testing.T, front byte, stream []byte) {
		before := string(stream)
		out, a := again.Assemble(nil, call.Front(front%11), stream)
		if string(stream) != before {
			t.Fatal("the stream was changed")
		}
		if len(out) > 0 && !json.Valid(out) {
			t.Fatalf("not JSON: %q of %q", out, stream)
		}
		fresh, b := (&Assembler{slow: true}).Assemble(nil, call.Front(front%11), stream)
		if string(fresh) != string(out) || !reflect.DeepEqual(a, b) {
			t.Fatalf("a used assembler says %q, a fresh and slow one %q", out, fresh)
		}
		if u := a.Usage; u != nil && (u.Input < 0 || u.Output < 0 || u.CachedInput < 0 || u.Reasoning < 0) {
			t.Fatalf("negative usage %+v", u)
		}
	})
}
