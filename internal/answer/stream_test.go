package answer

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/call"
)

// TestThereAndBack takes whole answers apart into events, and puts those
// together again.
func TestThereAndBack(t *testing.T) {
	for name, tt := range map[string]struct {
		front call.Front
		doc   string
		other string // what comes back, when it is not the same
	}{
		"text":           {call.ChatCompletions, `{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hi \"you\""},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2}}`, ""},
		"two choices":    {call.ChatCompletions, `{"id":"c","choices":[{"index":0,"message":{"role":"assistant","content":"a"},"finish_reason":"stop"},{"index":1,"message":{"role":"assistant","content":"b"},"finish_reason":"length"}]}`, ""},
		"tools":          {call.ChatCompletions, `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"x","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}},{"id":"y","type":"function","function":{"name":"g","arguments":"{}"}}]},"finish_reason":"tool_calls"}]}`, ""},
		"reasoning":      {call.ChatCompletions, `{"choices":[{"index":0,"message":{"role":"assistant","content":"a","reasoning_content":"hm"},"logprobs":{"content":[{"token":"a"}]},"finish_reason":"stop"}]}`, ""},
		"completion":     {call.Completions, `{"object":"text_completion","choices":[{"index":0,"text":"abc","finish_reason":"stop"}],"usage":{"prompt_tokens":1}}`, ""},
		"spaces":         {call.ChatCompletions, "\n {\"choices\" : [\n{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"a\"},\"finish_reason\":\"stop\"} ] } \n", ""},
		"response":       {call.Responses, `{"id":"r","object":"response","status":"completed","model":"m","output":[{"id":"msg","type":"message","role":"assistant","status":"completed","content":[{"type":"output_text","text":"hi","annotations":[]}]},{"id":"fc","type":"function_call","name":"f","call_id":"k","arguments":"{}"}],"usage":{"input_tokens":1,"output_tokens":2}}`, ""},
		"response, more": {call.Responses, `{"id":"r","status":"incomplete","incomplete_details":{"reason":"max_output_tokens"},"output":[{"type":"message","content":[{"type":"refusal","refusal":"no"}]}]}`, ""},
		"message": {
			call.Messages, `{"id":"msg","type":"message","role":"assistant","model":"m","content":[{"type":"thinking","thinking":"hm","signature":"s"},{"type":"redacted_thinking","data":"d"},{"type":"text","text":"hi \"you\"","citations":null},{"type":"tool_use","id":"t","name":"f","input":{"a":[1,"x"]}},{"type":"tool_use","id":"u","name":"g","input":{}}],"stop_reason":"tool_use","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":2}}`, "",
		},
		"message, empty": {call.Messages, `{"id":"msg","content":[],"stop_reason":"refusal","stop_sequence":null,"stop_details":{"type":"refusal"},"usage":{"input_tokens":1}}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if err := Whole(tt.front, []byte(tt.doc)); err != nil {
				t.Fatal("not taken for an answer:", err)
			}
			stream := string(AppendStream(nil, tt.front, []byte(tt.doc)))
			for line := range strings.SplitSeq(stream, "\n") {
				if data, ok := strings.CutPrefix(line, "data: "); ok && data != "[DONE]" && !json.Valid([]byte(data)) {
					t.Errorf("not JSON: %s", data)
				}
			}
			back, a := assembleText(t, tt.front, stream)
			sameJSON(t, back, tt.doc)
			if !a.Done || a.Failed {
				t.Errorf("%+v", a)
			}
		})
	}
}

func TestWhole(t *testing.T) {
	for name, tt := range map[string]struct {
		front call.Front
		doc   string
	}{
		"an error":        {call.ChatCompletions, `{"error":{"message":"no"}}`},
		"nothing":         {call.ChatCompletions, ``},
		"cut":             {call.ChatCompletions, `{"choices":[{"index":0}`},
		"two":             {call.ChatCompletions, `{"choices":[]}{"choices":[]}`},
		"of another kind": {call.Responses, `{"choices":[]}`},
		"a list":          {call.ChatCompletions, `[{"choices":[]}]`},
		"not embeddings":  {call.Embeddings, `{"data":null}`},
		"not a message":   {call.Messages, `{"type":"error","error":{}}`},
		"not a count":     {call.CountTokens, `{"content":[]}`},
		"not Gemini's":    {call.GenerateContent, `{"error":{"code":400}}`},
	} {
		if Whole(tt.front, []byte(tt.doc)) == nil {
			t.Errorf("%s is taken for an answer", name)
		}
	}
}

func FuzzAppendStream(f *testing.F) {
	f.Add([]byte(`{"choices":[{"index":0,"message":{"content":"a","tool_calls":[{"id":"x"}]}}],"usage":{}}`))
	f.Add([]byte(`{"content":[{"type":"text","text":"a"},{"type":"tool_use","input":{}},{"type":"thinking","signature":"s","thinking":"t"},1],"usage":{}}`))
	f.Add([]byte(`{"output":[{"id":1,"content":[{"text":"a"},{}],"arguments":"x"}],"choices":[1,{"message":[]}]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		for _, front := range []call.Front{call.ChatCompletions, call.Completions, call.Responses, call.Messages} {
			if Whole(front, doc) != nil {
				continue
			}
			for line := range strings.SplitSeq(string(AppendStream(nil, front, doc)), "\n") {
				if data, ok := strings.CutPrefix(line, "data: "); ok && data != "[DONE]" && !json.Valid([]byte(data)) {
					t.Fatalf("not JSON: %q", data)
				}
			}
		}
	})
}
