package export

import (
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/price"
	"github.com/caddy-frontier/frontier/tracing"
)

// receiver takes OTLP over HTTP as a collector does, and keeps every span.
type receiver struct {
	*httptest.Server
	status  atomic.Int32                // other than 200: what is answered
	refuse  func(s *tracepb.Span) bool  // 400 to a request with such a span
	taken   func(w http.ResponseWriter) // answers what was taken, in another way
	headers func(h http.Header)         // sees each request's header

	mu       sync.Mutex
	requests int
	spans    map[string]*tracepb.Span // by trace and span id
	twice    int                      // spans that came again
	resource map[string]any
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{spans: map[string]*tracepb.Span{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	if r.headers != nil {
		r.headers(req.Header)
	}
	if s := r.status.Load(); s != 0 {
		http.Error(w, "not now", int(s))
		return
	}
	if req.URL.Path != "/v1/traces" || req.Header.Get("Content-Type") != "application/x-protobuf" {
		http.Error(w, "not OTLP: "+req.URL.Path, http.StatusNotFound)
		return
	}
	var body io.Reader = req.Body
	if req.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = z
	}
	raw, err := io.ReadAll(body)
	var message collector.ExportTraceServiceRequest
	if err == nil {
		err = proto.Unmarshal(raw, &message)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var all []*tracepb.Span
	for _, rs := range message.GetResourceSpans() {
		r.resource = map[string]any{}
		for _, kv := range rs.GetResource().GetAttributes() {
			r.resource[kv.GetKey()] = kv.GetValue().GetStringValue()
		}
		for _, ss := range rs.GetScopeSpans() {
			all = append(all, ss.GetSpans()...)
		}
	}
	for _, s := range all {
		if r.refuse != nil && r.refuse(s) {
			http.Error(w, "this span is not acceptable", http.StatusBadRequest)
			return
		}
	}
	for _, s := range all {
		key := fmt.Sprintf("%x/%x", s.GetTraceId(), s.GetSpanId())
		if r.spans[key] != nil {
			r.twice++
		}
		r.spans[key] = s
	}
	if r.taken != nil {
		r.taken(w)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// roots returns the ids of the traces whose root came.
func (r *receiver) roots() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]bool{}
	for _, s := range r.spans {
		if id := attribute(s, "frontier.trace_id"); id != nil {
			out[id.(string)] = true
		}
	}
	return out
}

func attribute(s *tracepb.Span, key string) any {
	for _, kv := range s.GetAttributes() {
		if kv.GetKey() != key {
			continue
		}
		switch v := kv.GetValue(); {
		case v.GetArrayValue() != nil:
			var list []string
			for _, e := range v.GetArrayValue().GetValues() {
				list = append(list, e.GetStringValue())
			}
			return strings.Join(list, " ")
		default:
			var raw any
			b, _ := json.Marshal(v.GetValue())
			var m map[string]any
			_ = json.Unmarshal(b, &m)
			for _, raw = range m {
				return raw
			}
		}
	}
	return nil
}

func openStore(t testing.TB, dir string) *tracing.Store {
	t.Helper()
	s, err := tracing.Open(dir, nil, tracing.Options{FlushInterval: 20 * time.Millisecond, MinFree: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newRecorder(t testing.TB, s *tracing.Store, c tracing.Config) *tracing.Recorder {
	t.Helper()
	r, err := tracing.NewRecorder(c, s, price.Embedded())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

const answerBody = `{"id":"chatcmpl-1","object":"chat.completion","model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"positive"},"finish_reason":"stop"}],"usage":{"prompt_tokens":600,"completion_tokens":12,"total_tokens":612}}`

// offer records a routed call, the second attempt of which answered.
func offer(t testing.TB, r *tracing.Recorder, change ...func(c *call.Call, h http.Header)) (id string) {
	t.Helper()
	req := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(
		`{"model":"gpt-4","messages":[{"role":"system","content":"You are terse."},{"role":"user","content":"Classify: great"}],"temperature":0.2,"max_tokens":40,"stop":"\n"}`))
	for _, f := range change {
		f(nil, req.Header)
	}
	c, _, _, fail := call.Begin(req, nil)
	if fail != nil {
		t.Fatal(fail)
	}
	u, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	c.ID, c.Started = strings.ReplaceAll(u.String(), "-", ""), time.Now().Add(-time.Second)
	c.Route, c.Variant, c.Assignment = "sentiment", "candidate", call.Drawn
	c.Served = call.ServedPrompt{Name: "senti", Version: 2, Source: call.Recognized}
	c.Prompt.Variables = map[string]string{"text": "great"}
	c.Provider, c.Model = "openai", "gpt-4o-mini"
	c.Session, c.User = "session-1", "user-1"
	c.Tags = map[string]string{"team": "ads"}
	c.Usage = &call.Usage{Input: 600, Output: 12, CachedInput: 400}
	c.Finish, c.Status = "stop", call.StatusOK
	c.Attempts = []call.Attempt{
		{Provider: "openai", Model: "gpt-4", Variant: "stable", Started: c.Started, Duration: 100 * time.Millisecond, HTTPStatus: 503, ErrorClass: "overloaded", Message: "try later"},
		{Provider: "openai", Model: "gpt-4o-mini", Variant: "candidate", Started: c.Started.Add(100 * time.Millisecond), Duration: 300 * time.Millisecond, FirstToken: 50 * time.Millisecond, HTTPStatus: 200, Usage: c.Usage, UpstreamRequestID: "req_1"},
	}
	for _, f := range change {
		f(c, nil)
	}
	rec := tracing.NewRecord(c)
	rec.HTTPStatus, rec.Duration, rec.Status = 200, 400*time.Millisecond, c.Status
	rec.Response = append(call.Buffer(len(answerBody)), answerBody...)
	r.Offer(rec)
	return c.ID
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
		if time.Now().After(end) {
			t.Fatal(what)
		}
	}
}

func syncStore(t testing.TB, s *tracing.Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}
