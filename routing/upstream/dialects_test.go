package upstream_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// spoken is how a provider of another dialect says the same.
type spoken struct {
	wire                             call.Front
	begin, word, odd, end, over, bad string
	whole, failed                    string
}

func event(kind, data string) string {
	return fmt.Sprintf("event: %s\ndata: {\"type\":\"%s\"%s}\n\n", kind, kind, data)
}

var anthropic = spoken{
	wire:   call.Messages,
	begin:  event("message_start", `,"message":{"id":"msg_1","model":"m","content":[],"usage":{"input_tokens":5,"output_tokens":1}}`) + event("content_block_start", `,"index":0,"content_block":{"type":"text","text":""}`),
	word:   event("content_block_delta", `,"index":0,"delta":{"type":"text_delta","text":"hi"}`),
	odd:    event("ping", "") + event("content_block_delta", `,"index":0,"delta":{"type":"citations_delta","citation":{}}`),
	end:    event("content_block_stop", `,"index":0`) + event("message_delta", `,"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}`),
	over:   event("message_stop", ""),
	bad:    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\n\n",
	whole:  `{"id":"msg_1","type":"message","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":2}}`,
	failed: event("error", `,"error":{"type":"overloaded_error","message":"Overloaded"}`),
}

var gemini = spoken{
	wire:   call.GenerateContent,
	begin:  "data: {\"modelVersion\":\"m\",\"responseId\":\"r\",\"usageMetadata\":{\"promptTokenCount\":5}}\r\n\r\n",
	word:   "data: {\"candidates\":[{\"content\":{\"parts\":[{\"text\":\"hi\"}]}}]}\r\n\r\n",
	odd:    "data: {\"candidates\":[{\"content\":{\"parts\":[{\"executableCode\":{}}]}}]}\r\n\r\n",
	end:    "data: {\"candidates\":[{\"finishReason\":\"STOP\"}],\"usageMetadata\":{\"promptTokenCount\":5,\"candidatesTokenCount\":2}}\r\n\r\n",
	bad:    "data: {\"candidates\":[{\"content\":{\"par\r\n\r\n",
	whole:  `{"candidates":[{"content":{"parts":[{"text":"hi"}]},"finishReason":"STOP"}],"usageMetadata":{"promptTokenCount":5,"candidatesTokenCount":2},"modelVersion":"m"}`,
	failed: "data: {\"error\":{\"code\":503,\"message\":\"overloaded\",\"status\":\"UNAVAILABLE\"}}\r\n\r\n",
}

// said is the text of a stream of chat completions, and whether it came to its end.
func said(stream string) (text string, ended bool) {
	var b strings.Builder
	for line := range strings.Lines(stream) {
		if _, rest, ok := strings.Cut(line, `"delta":{"content":"`); ok {
			word, _, _ := strings.Cut(rest, `"}`)
			b.WriteString(word)
		}
	}
	return b.String(), strings.Contains(stream, `"finish_reason":"stop"`) && strings.HasSuffix(stream, "data: [DONE]\n\n")
}

// The faults of providers of other dialects are those of OpenAI's.
func TestTranslatedStreams(t *testing.T) {
	for name, p := range map[string]spoken{"anthropic": anthropic, "gemini": gemini} {
		cut, long := upstream.Cut, strings.Repeat("x", 9<<20)
		for fault, tt := range map[string]struct {
			body  string
			first upstream.Class // before anything was certain
			later upstream.Class // behind the first content
			text  string
			stall bool
		}{
			"none":                          {body: p.begin + p.word + p.odd + p.word + p.end + p.over, text: "hihi"},
			"no terminator":                 {body: p.begin + p.word + p.end, text: "hi"},
			"two terminators":               {body: p.begin + p.word + p.end + p.over + p.over, text: "hi"},
			"junk between":                  {body: p.begin + "data: hello\n\n" + p.word + ": comment\n\n" + p.end + p.over, text: "hi"},
			"one byte at a time":            {body: p.begin + p.word + p.odd + p.word + p.end + p.over, text: "hihi", stall: true},
			"ends before its first content": {body: p.begin, first: cut},
			"an error event first":          {body: p.begin + p.failed, first: cut},
			"HTML":                          {body: "<html>", first: upstream.BadResponse},
			"ends in the middle":            {body: p.begin + p.word, later: cut, text: "hi"},
			"an error event in the middle":  {body: p.begin + p.word + p.failed, later: cut, text: "hi"},
			"an event cut short":            {body: p.begin + p.word + p.bad + p.end + p.over, later: cut, text: "hi"},
			"an event too large":            {body: p.begin + p.word + "data: {\"a\":\"" + long + "\"}\n\n" + p.end, later: upstream.TooLarge, text: "hi"},
		} {
			t.Run(name+", "+fault, func(t *testing.T) {
				s := serve(t, func(_ int, c net.Conn) {
					kind := "text/event-stream"
					if tt.body == "<html>" {
						kind = "text/html"
					}
					head := answerOf(kind, "")
					_, _ = io.WriteString(c, head)
					if !tt.stall {
						_, _ = io.WriteString(c, tt.body)
					} else {
						for i := range tt.body {
							_, _ = io.WriteString(c, tt.body[i:i+1])
						}
					}
					_ = c.Close()
				})
				target := s.target(t, true, upstream.Limits{Attempts: 1})
				target.Request.Wire = p.wire
				target.Request.Events = dialect.NewTranslator(p.wire, dialect.Echo{Front: call.ChatCompletions, Request: []byte("{}"), Now: time.Unix(1, 0)})
				a, _, err := do(t, target)
				if class(err) != tt.first {
					t.Fatalf("got %v, want %q", err, tt.first)
				}
				if err != nil {
					return
				}
				out, err := readStream(t, a)
				text, ended := said(out)
				if class(err) != tt.later || text != tt.text || ended != (tt.later == "") {
					t.Fatalf("%v, text %q, ended %v: %s", err, text, ended, out)
				}
				if u := a.Stream.Summary().Usage; tt.later == "" && (u == nil || u.Input != 5 || u.Output != 2) {
					t.Errorf("usage %+v", u)
				}
			})
		}
	}
}

func TestTranslatedStreamStalls(t *testing.T) {
	s := serve(t, func(_ int, c net.Conn) {
		_, _ = io.WriteString(c, answerOf("text/event-stream", anthropic.begin+anthropic.word+anthropic.odd))
		time.Sleep(2 * time.Second)
	})
	target := s.target(t, true, upstream.Limits{Idle: 100 * time.Millisecond})
	target.Request.Wire = call.Messages
	target.Request.Events = dialect.NewTranslator(call.Messages, dialect.Echo{Front: call.Responses, Request: []byte("{}"), Now: time.Unix(1, 0)})
	a, _, err := do(t, target)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := readStream(t, a); class(err) != upstream.Stall || !strings.Contains(out, "response.output_text.delta") || strings.Contains(out, "response.completed") {
		t.Errorf("%v: %s", err, out)
	}
}

// Whole answers, and each form in the place of the other.
func TestTranslatedAnswers(t *testing.T) {
	for name, p := range map[string]spoken{"anthropic": anthropic, "gemini": gemini} {
		for fault, tt := range map[string]struct {
			kind, body string
			stream     bool
			want       upstream.Class
		}{
			"whole":                   {"application/json", p.whole, false, ""},
			"whole, for a stream":     {"application/json", p.whole, true, ""},
			"an error with 200":       {"application/json", `{"type":"error","error":{"type":"api_error","message":"x"}}`, false, upstream.BadResponse},
			"without an end":          {"application/json", `{"content":[],"candidates":[]}`, false, upstream.BadResponse},
			"another provider's form": {"application/json", okBody, false, upstream.BadResponse},
			"HTML":                    {"text/html", "<html>", false, upstream.BadResponse},
		} {
			t.Run(name+", "+fault, func(t *testing.T) {
				s := serve(t, func(_ int, c net.Conn) { _, _ = io.WriteString(c, answerOf(tt.kind, tt.body)); _ = c.Close() })
				target := s.target(t, tt.stream, upstream.Limits{Attempts: 1})
				echo := dialect.Echo{Front: call.ChatCompletions, Request: []byte("{}"), Now: time.Unix(1, 0)}
				target.Request.Wire = p.wire
				if tt.stream {
					target.Request.Events = dialect.NewTranslator(p.wire, echo)
				} else {
					target.Request.Translate = func(doc []byte) ([]byte, error) { return dialect.Answer(p.wire, doc, echo) }
				}
				a, _, err := do(t, target)
				if class(err) != tt.want || err != nil && tt.want == "" {
					t.Fatalf("got %v, want %q", err, tt.want)
				}
				if err != nil {
					return
				}
				if tt.stream {
					out, err := readStream(t, a)
					if text, ended := said(out); err != nil || text != "hi" || !ended {
						t.Errorf("%v: %s", err, out)
					}
					return
				}
				defer a.Close()
				if !strings.Contains(string(a.Body), `"content":"hi"`) || a.Header.Get("Content-Type") != "application/json" {
					t.Errorf("%v %s", a.Header, a.Body)
				}
			})
		}
	}
}

// A stream of Anthropic's for a plain call of its own dialect is put together.
func TestMessagesPutTogether(t *testing.T) {
	s := serve(t, func(_ int, c net.Conn) {
		_, _ = io.WriteString(c, answerOf("text/event-stream", anthropic.begin+anthropic.word+anthropic.end+anthropic.over))
		_ = c.Close()
	})
	target := s.target(t, false, upstream.Limits{})
	target.Request.Wire = call.Messages
	a, _, err := do(t, target)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if want := `{"id":"msg_1","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":5,"output_tokens":2}}`; string(a.Body) != want {
		t.Errorf("got %s", a.Body)
	}
}

func TestKeysGoWhereTheDialectHasThem(t *testing.T) {
	for _, tt := range []struct{ header, key, want string }{
		{"", "sk-0123456789abcdef", "Authorization: Bearer sk-0123456789abcdef"},
		{"X-Api-Key", "sk-ant-api03-0123456789", "X-Api-Key: sk-ant-api03-0123456789"},
		{"X-Api-Key", "sk-ant-oat01-0123456789", "Authorization: Bearer sk-ant-oat01-0123456789"},
		{"X-Goog-Api-Key", "AIza0123456789", "X-Goog-Api-Key: AIza0123456789"},
	} {
		var got http.Header
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.Header.Clone()
			_, _ = io.WriteString(w, okBody)
		})}
		go func() { _ = server.Serve(l) }() // ends with Close
		c, err := upstream.New(upstream.Options{Name: "fake", BaseURL: "http://" + l.Addr().String(), Keys: []string{tt.key}, KeyHeader: tt.header})
		if err != nil {
			t.Fatal(err)
		}
		a, _, err := do(t, &upstream.Target{Client: c, Request: upstream.Request{Method: "POST", Path: "/x", Body: []byte("{}")}})
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
		c.Close()
		_ = server.Close()
		name, value, _ := strings.Cut(tt.want, ": ")
		other := map[string]string{"Authorization": "X-Api-Key"}[name]
		if got.Get(name) != value || other != "" && got.Get(other) != "" {
			t.Errorf("%s: got %v", tt.want, got)
		}
	}
}

// Gemini takes a wrong key for a bad request; it is ours that is wrong.
func TestGeminisWrongKey(t *testing.T) {
	s := serve(t, func(_ int, c net.Conn) {
		body := `{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"reason":"API_KEY_INVALID"}]}}`
		fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})
	_, _, err := do(t, s.target(t, false, upstream.Limits{Attempts: 1}))
	if f, ok := err.(*upstream.Fault); !ok || f.Status != http.StatusUnauthorized { //nolint:errorlint // it is not wrapped
		t.Errorf("got %v", err)
	}
}
