package dialect_test

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/routing/dialect"
)

// conversation makes a request of about so many bytes: a long system text, turns with tools.
func conversation(size int) []byte {
	var b strings.Builder
	b.WriteString(`{"model":"x","temperature":0.2,"max_tokens":500,"user":"ann","tools":[{"type":"function","function":{"name":"w","parameters":{"type":"object","properties":{"city":{"type":"string"}}}}}],"messages":[{"role":"system","content":"Be brief and kind."}`)
	for b.Len() < size-150 {
		b.WriteString(`,{"role":"user","content":"What is the weather in \"Paris\"? ` + strings.Repeat("lorem ipsum ", 12) + `"},{"role":"assistant","content":null,"tool_calls":[{"id":"call_1","type":"function","function":{"name":"w","arguments":"{\"city\":\"Paris\"}"}}]},{"role":"tool","tool_call_id":"call_1","content":"sunny ` + strings.Repeat("and warm ", 12) + `"}`)
	}
	b.WriteString(`,{"role":"user","content":"thanks"}]}`)
	return []byte(b.String())
}

func wholeMessage(size int) []byte {
	return []byte(`{"id":"msg_01","type":"message","role":"assistant","model":"claude-opus-4-7","content":[{"type":"text","text":"` + strings.Repeat(`It is warm today, as it was on every other day of this week and of the last.\n\nHe said \"so\", and left. `, size/110) +
		`"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":9,"cache_read_input_tokens":4,"output_tokens":3}}`)
}

// What a translated call costs over one that is passed through: its request and its whole answer.
func BenchmarkTranslate(b *testing.B) {
	for name, size := range map[string]int{"1KB": 1 << 10, "10KB": 10 << 10} {
		request, answer := conversation(size), wholeMessage(size)
		for target, to := range targets {
			if to.Wire != call.ChatCompletions {
				b.Run("request/"+name+"/"+target, func(b *testing.B) {
					b.ReportAllocs()
					b.SetBytes(int64(len(request)))
					for b.Loop() {
						out, _, fail := dialect.Request(call.ChatCompletions, request, to)
						if fail != nil {
							b.Fatal(fail)
						}
						call.FreeBuffer(out)
					}
				})
			}
		}
		for _, front := range []call.Front{call.ChatCompletions, call.Responses} {
			b.Run("answer/"+name+"/"+front.String(), func(b *testing.B) {
				b.ReportAllocs()
				b.SetBytes(int64(len(answer)))
				e := echo(front, `{"model":"x","input":"hi"}`)
				for b.Loop() {
					out, err := dialect.Answer(call.Messages, answer, e)
					if err != nil {
						b.Fatal(err)
					}
					call.FreeBuffer(out)
				}
			})
		}
	}
}

// What one event of a stream costs.
func BenchmarkTranslateEvent(b *testing.B) {
	for name, bench := range map[string]struct {
		wire  call.Front
		front call.Front
		first string
		data  string
	}{
		"anthropic to chat": {
			call.Messages, call.ChatCompletions, `{"type":"message_start","message":{"id":"msg_1","model":"claude-opus-4-7"}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"tok000012 xxxxxx"}}`,
		},
		"gemini to chat": {
			call.GenerateContent, call.ChatCompletions, `{"modelVersion":"gemini-2.5-flash","responseId":"oLqSaNnpJbLPz7IPrYLByQk"}`,
			`{"candidates": [{"content": {"parts": [{"text": "tok000012 xxxxxx"}],"role": "model"},"index": 0}],"usageMetadata": {"promptTokenCount": 97,"totalTokenCount": 189,"promptTokensDetails": [{"modality": "TEXT","tokenCount": 97}],"thoughtsTokenCount": 92},"modelVersion": "gemini-2.5-flash","responseId": "oLqSaNnpJbLPz7IPrYLByQk"}`,
		},
		"anthropic to responses": {
			call.Messages, call.Responses, `{"type":"message_start","message":{"id":"msg_1","model":"claude-opus-4-7"}}`,
			`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"tok000012 xxxxxx"}}`,
		},
		"openai to messages": {
			call.ChatCompletions, call.Messages, `{"id":"chatcmpl-fake0001","model":"gpt-4o-mini","choices":[]}`,
			`{"choices":[{"delta":{"content":"tok000012 xxxxxx"},"finish_reason":null,"index":0,"logprobs":null}],"created":1700000000,"id":"chatcmpl-fake0001","model":"gpt-4o-mini-2024-07-18","object":"chat.completion.chunk","system_fingerprint":"fp_fake"}`,
		},
	} {
		b.Run(name, func(b *testing.B) {
			data := []byte(bench.data)
			var tr dialect.Translator
			b.ReportAllocs()
			n := 0
			for b.Loop() {
				if n%1000 == 0 { // a stream does not go on for ever
					tr = dialect.NewTranslator(bench.wire, dialect.Echo{Front: bench.front, Request: []byte("{}"), Now: time.Unix(1, 0)})
					tr.Event([]byte(bench.first))
				}
				n++
				if tr.Event(data) != dialect.Content || len(tr.Output()) == 0 {
					b.Fatal("no content")
				}
			}
		})
	}
}

// What looking for marks costs a conversation that is passed through.
func BenchmarkMarked(b *testing.B) {
	body := conversation(10 << 10)
	for b.Loop() {
		if dialect.Marked(body) {
			b.Fatal("marked")
		}
	}
}

// Whatever comes, translators do not panic and write valid JSON; texts and calls survive a round trip.
func FuzzRequest(f *testing.F) {
	for _, name := range []string{"chat-conversation", "chat-structured", "chat-signed-history", "responses-conversation", "messages-conversation", "messages-signed-history"} {
		seed, err := os.ReadFile("testdata/requests/" + name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := jsonscan.Parse(body, 128, nil); err != nil {
			return
		}
		for _, front := range []call.Front{call.ChatCompletions, call.Responses, call.Messages} {
			for name, to := range targets {
				out, _, fail := dialect.Request(front, body, to)
				if fail == nil && !jsonscan.Valid(out, 512) {
					t.Fatalf("%s for %s: %s", front, name, out)
				}
				call.FreeBuffer(out)
			}
			if out, ok := dialect.Clean(front, body); ok && !jsonscan.Valid(out, 512) {
				t.Fatalf("cleaned %s: %s", front, out)
			}
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, name := range []string{
		"messages-text.sse", "messages-thinking-tools.sse", "messages-whole.json", "messages-refusal.json", "generate_content-tools.sse",
		"generate_content-whole.json", "generate_content-blocked.json", "chat_completions-tools.sse", "chat_completions-whole.json",
	} {
		seed, err := os.ReadFile("testdata/answers/" + name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, wire := range []call.Front{call.ChatCompletions, call.Messages, call.GenerateContent} {
			for _, front := range []call.Front{call.ChatCompletions, call.Responses, call.Messages} {
				e := echo(front, `{"thinking":{"type":"adaptive"}}`)
				if jsonscan.Valid(data, 512) {
					if out, err := dialect.Answer(wire, data, e); err == nil && !jsonscan.Valid(out, 512) {
						t.Fatalf("%s for %s: %s", wire, front, out)
					}
				}
				tr := dialect.NewTranslator(wire, e)
				var stream []byte
				for _, event := range events(data) {
					if v := tr.Event(event); v == dialect.Failed || v == dialect.Broken || v == dialect.Done {
						break
					}
					stream = append(stream, tr.Output()...)
				}
				stream = append(stream, tr.Terminator()...)
				for _, event := range events(stream) {
					if string(event) != "[DONE]" && !jsonscan.Valid(event, 512) {
						t.Fatalf("%s for %s: %s", wire, front, event)
					}
				}
			}
		}
	})
}
