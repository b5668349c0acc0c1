package export

import (
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/tracing"
)

// exported sends one call through the exporter and returns its spans: the
// root, then the attempts.
func exported(t *testing.T, o *OTLP, r *receiver, c tracing.Config, change ...func(*call.Call, http.Header)) []*tracepb.Span {
	t.Helper()
	e := newExporting(t, t.TempDir())
	e.recorder = newRecorder(t, e.store, c)
	e.set.Use(list(o))
	id := offer(t, e.recorder, change...)
	eventually(t, "not exported", func() bool { return r.roots()[id] })
	r.mu.Lock()
	defer r.mu.Unlock()
	var root *tracepb.Span
	for _, s := range r.spans {
		if attribute(s, "frontier.trace_id") == id {
			root = s
		}
	}
	spans := []*tracepb.Span{root}
	for len(spans) < len(r.spans) { // by start
		var next *tracepb.Span
		for _, s := range r.spans {
			if string(s.GetParentSpanId()) == string(root.GetSpanId()) && s.GetStartTimeUnixNano() > spans[len(spans)-1].GetStartTimeUnixNano()-1 && !slices.Contains(spans, s) &&
				(next == nil || s.GetStartTimeUnixNano() < next.GetStartTimeUnixNano()) {
				next = s
			}
		}
		if next == nil {
			t.Fatalf("%d spans came that do not hang together", len(r.spans))
		}
		spans = append(spans, next)
	}
	return spans
}

func same(t *testing.T, s *tracepb.Span, want map[string]any) {
	t.Helper()
	for key, v := range want {
		if got := attribute(s, key); got != v {
			t.Errorf("span %q: %s is %v (%T), want %v", s.GetName(), key, got, got, v)
		}
	}
}

const (
	parentTrace = "0af7651916cd43dd8448eb211c80319c"
	parentSpan  = "b7ad6b7169203331"
)

func withParent(_ *call.Call, h http.Header) {
	if h != nil {
		h.Set("Traceparent", "00-"+parentTrace+"-"+parentSpan+"-01")
	}
}

func TestOTLPSpans(t *testing.T) {
	r := newReceiver(t)
	spans := exported(t, otlp(t, r.URL), r, tracing.Config{}, withParent)
	if len(spans) != 3 {
		t.Fatalf("%d spans, want the call and two attempts", len(spans))
	}
	for _, s := range spans {
		if id := hexOf(s.GetTraceId()); id != parentTrace {
			t.Errorf("span %q is in trace %s, want the caller's", s.GetName(), id)
		}
	}
	root, first, second := spans[0], spans[1], spans[2]
	if hexOf(root.GetParentSpanId()) != parentSpan || root.GetName() != "llm sentiment" || root.GetKind() != tracepb.Span_SPAN_KIND_SERVER || root.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_OK {
		t.Errorf("root %v", root)
	}
	if d := time.Duration(root.GetEndTimeUnixNano() - root.GetStartTimeUnixNano()); d != 400*time.Millisecond {
		t.Errorf("the call took %s, want 400ms", d)
	}
	same(t, root, map[string]any{
		"frontier.route": "sentiment", "frontier.variant": "candidate", "frontier.requested_model": "gpt-4", "frontier.prompt": "senti/2", "session.id": "session-1",
		"user.id": "user-1", "frontier.tag.team": "ads", "http.response.status_code": float64(200), "gen_ai.usage.input_tokens": nil,
	})
	if first.GetName() != "chat gpt-4" || first.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_ERROR || first.GetStatus().GetMessage() != "try later" ||
		len(first.GetEvents()) != 1 || first.GetEvents()[0].GetName() != "exception" {
		t.Errorf("first attempt %v", first)
	}
	same(t, first, map[string]any{"error.type": "overloaded", "http.response.status_code": float64(503), "gen_ai.usage.input_tokens": nil, "gen_ai.response.id": nil})
	if second.GetName() != "chat gpt-4o-mini" || second.GetKind() != tracepb.Span_SPAN_KIND_CLIENT || second.GetStatus().GetCode() != tracepb.Status_STATUS_CODE_OK {
		t.Errorf("second attempt %v", second)
	}
	same(t, second, map[string]any{
		"gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai", "gen_ai.system": nil, "gen_ai.request.model": "gpt-4o-mini",
		"gen_ai.response.model": "gpt-4o-mini-2024-07-18", "gen_ai.response.id": "chatcmpl-1", "gen_ai.response.finish_reasons": "stop",
		"gen_ai.conversation.id": "session-1", "gen_ai.request.temperature": 0.2, "gen_ai.request.max_tokens": float64(40), "gen_ai.request.stop_sequences": "\n",
		"gen_ai.prompt.name": "senti", "gen_ai.prompt.version": "2", "gen_ai.usage.input_tokens": float64(600), "gen_ai.usage.output_tokens": float64(12),
		"gen_ai.usage.cache_read.input_tokens": float64(400), "gen_ai.response.time_to_first_chunk": 0.05, "gen_ai.usage.cost.currency": "USD",
		"frontier.upstream_request_id": "req_1",
	})
	if cost, ok := attribute(second, "gen_ai.usage.cost.amount").(float64); !ok || cost <= 0 {
		t.Errorf("cost %v", cost)
	}
	for _, s := range spans {
		for _, kv := range s.GetAttributes() {
			if text := kv.GetValue().GetStringValue(); strings.Contains(text, "Classify") || strings.Contains(text, "positive") {
				t.Errorf("span %q has content in %s, which nobody asked for", s.GetName(), kv.GetKey())
			}
		}
	}
	if r.resource["service.name"] != "frontier" {
		t.Errorf("resource %v", r.resource)
	}
}

// A call without a caller's trace is a trace of its own, under its own id.
func TestOTLPOwnTrace(t *testing.T) {
	r := newReceiver(t)
	root := exported(t, otlp(t, r.URL), r, tracing.Config{})[0]
	if attribute(root, "frontier.trace_id") != hexOf(root.GetTraceId()) || len(root.GetParentSpanId()) != 0 {
		t.Errorf("root %v", root)
	}
}

func TestOTLPContent(t *testing.T) {
	const in = `[{"role":"system","parts":[{"type":"text","content":"You are terse."}]},{"role":"user","parts":[{"type":"text","content":"Classify: great"}]}]`
	const out = `[{"role":"assistant","parts":[{"type":"text","content":"positive"}],"finish_reason":"stop"}]`
	on, off := true, false
	for name, tt := range map[string]struct {
		option  *bool
		env     string
		capture string
		semconv string
		want    map[string]any
	}{
		"asked for":                        {&on, "", "", "latest", map[string]any{"gen_ai.input.messages": in, "gen_ai.output.messages": out, "gen_ai.prompt": nil, "gen_ai.prompt.variable.text": "great"}},
		"asked for by environment":         {nil, "SPAN_ONLY", "", "latest", map[string]any{"gen_ai.input.messages": in, "gen_ai.output.messages": out}},
		"the option is stronger":           {&off, "true", "", "latest", map[string]any{"gen_ai.input.messages": nil, "gen_ai.output.messages": nil}},
		"asked for, but not recorded":      {&on, "", "metadata", "latest", map[string]any{"gen_ai.input.messages": nil, "gen_ai.output.messages": nil, "gen_ai.prompt.variable.text": nil}},
		"under the old names":              {&on, "", "", "legacy", map[string]any{"gen_ai.prompt": in, "gen_ai.completion": out, "gen_ai.input.messages": nil, "gen_ai.system": "openai", "gen_ai.provider.name": nil}},
		"under both":                       {&on, "", "", "both", map[string]any{"gen_ai.prompt": in, "gen_ai.input.messages": in, "gen_ai.system": "openai", "gen_ai.provider.name": "openai"}},
		"an environment without an answer": {nil, "NO_CONTENT", "", "latest", map[string]any{"gen_ai.input.messages": nil}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(t)
			o := &OTLP{URL: r.URL, Content: tt.option, Semconv: tt.semconv, log: zap.NewNop()}
			if err := o.provision(variables("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", tt.env)); err != nil {
				t.Fatal(err)
			}
			spans := exported(t, o, r, tracing.Config{Capture: tt.capture})
			same(t, spans[2], tt.want)
		})
	}
}

func variables(pairs ...string) environment {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func TestOTLPEnvironment(t *testing.T) {
	for name, tt := range map[string]struct {
		env  environment
		o    OTLP
		url  string
		fail string
	}{
		"default":         {variables(), OTLP{}, "http://localhost:4318/v1/traces", ""},
		"endpoint":        {variables("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/otel/"), OTLP{}, "http://collector:4318/otel/v1/traces", ""},
		"traces endpoint": {variables("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://b:2/in"), OTLP{}, "http://b:2/in", ""},
		"configured":      {variables("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a:1", "OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), OTLP{URL: "https://cloud/api/otel"}, "https://cloud/api/otel/v1/traces", ""},
		"grpc":            {variables("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), OTLP{}, "", "OTEL_EXPORTER_OTLP_PROTOCOL is \"grpc\", but this exporter speaks http/protobuf"},
		"timeout":         {variables("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"), OTLP{}, "", "want milliseconds"},
		"compression":     {variables("OTEL_EXPORTER_OTLP_COMPRESSION", "zstd"), OTLP{}, "", "want gzip or none"},
		"headers":         {variables("OTEL_EXPORTER_OTLP_HEADERS", "token"), OTLP{}, "", "OTEL_EXPORTER_OTLP_HEADERS is not a list of key=value"},
		"certificate":     {variables("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/ca.pem"), OTLP{}, "", "OTEL_EXPORTER_OTLP_CERTIFICATE: open /nowhere/ca.pem"},
		"credentials":     {variables(), OTLP{URL: "http://user:pass@h:4318"}, "", "credentials belong to header"},
		"not a URL":       {variables(), OTLP{URL: "collector:4317"}, "", "is not the URL of a server"},
		"names":           {variables(), OTLP{Semconv: "old"}, "", "want latest, legacy or both"},
	} {
		t.Run(name, func(t *testing.T) {
			o := tt.o
			err := o.provision(tt.env)
			if tt.fail != "" {
				if err == nil || !strings.Contains(err.Error(), tt.fail) {
					t.Errorf("got %v, want %s", err, tt.fail)
				}
				return
			}
			if err != nil || o.url != tt.url {
				t.Errorf("got %s, %v; want %s", o.url, err, tt.url)
			}
		})
	}
	r := newReceiver(t)
	var seen http.Header
	r.headers = func(h http.Header) { seen = h }
	o := &OTLP{URL: r.URL, Header: map[string]string{"X-Own": "mine"}, log: zap.NewNop()}
	if err := o.provision(variables("OTEL_EXPORTER_OTLP_HEADERS", "Authorization=Basic%20abc, x-own=other", "OTEL_SERVICE_NAME", "gateway", "OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=prod,service.name=x",
		"OTEL_SEMCONV_STABILITY_OPT_IN", "http,gen_ai_latest_experimental/dup", "OTEL_EXPORTER_OTLP_COMPRESSION", "none")); err != nil {
		t.Fatal(err)
	}
	exported(t, o, r, tracing.Config{})
	if seen.Get("Authorization") != "Basic abc" || seen.Get("X-Own") != "mine" || seen.Get("Content-Encoding") != "" || o.Semconv != namesBoth {
		t.Errorf("header %v, names %s", seen, o.Semconv)
	}
	if r.resource["service.name"] != "gateway" || r.resource["deployment.environment"] != "prod" {
		t.Errorf("resource %v", r.resource)
	}
	off := otlp(t, r.URL)
	off.disabled = true
	if err := off.Export(t.Context(), &tracing.Batch{Traces: make([]tracing.Trace, 1)}); err != nil {
		t.Error(err)
	}
}

// Every form of request and answer has its messages.
func TestMessages(t *testing.T) {
	for name, tt := range map[string]struct{ request, in, response, out string }{
		"tools": {
			`{"messages":[{"role":"user","content":[{"type":"text","text":"look"},{"type":"image_url","image_url":{"url":"http://x"}}]},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}]},{"role":"tool","tool_call_id":"c1","content":"done"}]}`,
			`[{"role":"user","parts":[{"type":"text","content":"look"},{"type":"image_url","image_url":{"url":"http://x"}}]},{"role":"assistant","parts":[{"type":"tool_call","id":"c1","name":"f","arguments":{"a":1}}]},{"role":"tool","parts":[{"type":"tool_call_response","id":"c1","response":"done"}]}]`,
			`{"choices":[{"message":{"role":"assistant","content":null,"tool_calls":[{"id":"c2","function":{"name":"g","arguments":"not json"}}]},"finish_reason":"tool_calls"}]}`,
			`[{"role":"assistant","parts":[{"type":"tool_call","id":"c2","name":"g","arguments":"not json"}],"finish_reason":"tool_calls"}]`,
		},
		"responses": {
			`{"instructions":"be brief","input":[{"role":"user","content":"hi"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"ok"}]}`,
			`[{"role":"system","parts":[{"type":"text","content":"be brief"}]},{"role":"user","parts":[{"type":"text","content":"hi"}]},{"role":"assistant","parts":[{"type":"tool_call","id":"c","name":"f","arguments":{}}]},{"role":"tool","parts":[{"type":"tool_call_response","id":"c","response":"ok"}]}]`,
			`{"output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hello"}]}]}`,
			`[{"role":"assistant","parts":[{"type":"text","content":"hello"}]}]`,
		},
		"texts":    {`{"prompt":["a","b"]}`, `[{"role":"user","parts":[{"type":"text","content":"a"}]},{"role":"user","parts":[{"type":"text","content":"b"}]}]`, `{"choices":[{"text":"c","finish_reason":"length"}]}`, `[{"role":"assistant","parts":[{"type":"text","content":"c"}],"finish_reason":"length"}]`},
		"one text": {`{"input":"a"}`, `[{"role":"user","parts":[{"type":"text","content":"a"}]}]`, `{"error":{"message":"no"}}`, `null`},
		"no JSON":  {`"plain"`, `[{"role":"user","parts":[{"type":"text","content":"\"plain\""}]}]`, `"upstream said no"`, `null`},
		"nothing":  {`null`, `null`, `null`, `null`},
	} {
		t.Run(name, func(t *testing.T) {
			for _, side := range []struct {
				got  []message
				want string
			}{{inputMessages(json.RawMessage(tt.request)), tt.in}, {outputMessages(json.RawMessage(tt.response)), tt.out}} {
				got, err := json.Marshal(side.got)
				if err != nil || string(got) != side.want {
					t.Errorf("got  %s, %v\nwant %s", got, err, side.want)
				}
			}
		})
	}
}

func hexOf(b []byte) string { return hex.EncodeToString(b) }
