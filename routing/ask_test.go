package routing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/fakeprovider"
	"github.com/caddy-frontier/frontier/internal/price"
	"github.com/caddy-frontier/frontier/tracing"
)

// asked is a table with a fake provider of each dialect, and a trace store.
type asked struct {
	*testing.T
	*Table
	fake  *fakeprovider.Provider
	store *tracing.Store
}

func newAsked(t *testing.T, traces tracing.Config, handler http.Handler) *asked {
	t.Helper()
	a := &asked{T: t, fake: new(fakeprovider.Provider)}
	if handler == nil {
		handler = a.fake
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	url := server.URL + "/v1"
	providers := map[string]*Provider{
		"openai":    {BaseURL: url, APIKey: []string{"sk-of-openai-123"}, MaxResponse: 1 << 20},
		"anthropic": {BaseURL: url, APIKey: []string{"sk-of-anthropic"}},
		"gemini":    {BaseURL: url, APIKey: []string{"key-of-gemini-1"}},
	}
	prices := price.Embedded()
	for name, p := range providers {
		p.Timeouts = Timeouts{Attempts: 3}
		if err := p.Provision(name); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		prices = prices.With(price.Layer{{Provider: name, Model: "echo", Input: 1, Output: 2}})
	}
	var err error
	if a.Table, err = NewTable(providers, nil, false, prices); err != nil {
		t.Fatal(err)
	}
	if a.store, err = tracing.Open(t.TempDir(), nil, tracing.Options{FlushInterval: 10 * time.Millisecond, MinFree: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.store.Close() })
	if a.Recorder, err = tracing.NewRecorder(traces, a.store, prices); err != nil {
		t.Fatal(err)
	}
	return a
}

func question(model string) Question {
	return Question{Model: model, Messages: json.RawMessage(`[{"role":"system","content":"be short"},{"role":"user","content":"hello there friend"}]`)}
}

// traces are those that were kept, the newest first.
func (a *asked) traces() []*tracing.Trace {
	a.Helper()
	if err := a.store.Sync(a.Context()); err != nil {
		a.Fatal(err)
	}
	page, err := a.store.Query(a.Context(), tracing.Filter{Limit: 100})
	if err != nil {
		a.Fatal(err)
	}
	var out []*tracing.Trace
	for _, r := range page.Items {
		one, err := a.store.Trace(a.Context(), r.ID)
		if err != nil {
			a.Fatal(err)
		}
		out = append(out, &one)
	}
	return out
}

func (a *asked) failure(ctx context.Context, q Question) *AskError {
	a.Helper()
	reply, err := a.Ask(ctx, q)
	e, ok := errors.AsType[*AskError](err)
	if !ok || reply != nil {
		a.Fatalf("got %v, %v", reply, err)
	}
	return e
}

func TestAskAnswers(t *testing.T) {
	for _, provider := range []string{"openai", "anthropic", "gemini"} {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprint(provider, " stream ", stream), func(t *testing.T) {
				a := newAsked(t, tracing.Config{}, nil)
				q := question(provider + "/echo")
				q.Stream = stream
				q.Parameters = map[string]json.RawMessage{"temperature": json.RawMessage("0.5"), "max_tokens": json.RawMessage("50")}
				q.Prompt = call.ServedPrompt{Name: "greeting", Version: 3, Source: call.Bound}
				q.Tags = map[string]string{"run": "r1"}
				reply, err := a.Ask(t.Context(), q)
				if err != nil {
					t.Fatal(err)
				}
				if reply.Text != "you said: hello there friend" || reply.Finish != "stop" || len(reply.ToolCalls) != 0 {
					t.Errorf("got %+v", reply)
				}
				if reply.Usage == nil || reply.Usage.Output == 0 || reply.Usage.Estimated {
					t.Errorf("usage %+v", reply.Usage)
				} else if want := (float64(reply.Usage.Input) + 2*float64(reply.Usage.Output)) / 1e6; reply.CostUSD == nil || *reply.CostUSD != want {
					t.Errorf("cost %v, want %v", reply.CostUSD, want)
				}
				if reply.Duration <= 0 || (reply.FirstToken > 0) != stream || reply.FirstToken > reply.Duration {
					t.Errorf("took %v, first token after %v", reply.Duration, reply.FirstToken)
				}
				traces := a.traces()
				if len(traces) != 1 || traces[0].ID != reply.Trace {
					t.Fatalf("%d traces, reply's is %q", len(traces), reply.Trace)
				}
				one := traces[0]
				if one.Route != nil || one.Variant != nil || *one.Assignment != "run" || *one.Provider != provider || *one.Model != "echo" ||
					*one.RequestedModel != provider+"/echo" || one.Prompt.Name != "greeting" || one.Prompt.Version != 3 || one.Tags["run"] != "r1" ||
					one.Status != "ok" || *one.HTTPStatus != 200 || one.Stream != stream || one.Attempts != 1 || one.CostUSD == nil {
					t.Errorf("trace %+v", one)
				}
				if !strings.Contains(string(one.Request), "hello there friend") || !strings.Contains(string(one.Response), "you said") {
					t.Errorf("request %s\nresponse %s", one.Request, one.Response)
				}
				if (one.TTFTMS != nil) != stream {
					t.Errorf("ttft %v", one.TTFTMS)
				}
			})
		}
	}
}

func TestAskToolCallsAndAdaptation(t *testing.T) {
	a := newAsked(t, tracing.Config{}, nil)
	for _, stream := range []bool{false, true} {
		q := question("openai/gpt-5-mini")
		q.Stream = stream
		q.Parameters = map[string]json.RawMessage{
			"temperature": json.RawMessage("0"), "max_tokens": json.RawMessage("50"),
			"tools": json.RawMessage(`[{"type":"function","function":{"name":"get_weather","parameters":{"type":"object"}}}]`),
		}
		reply, err := a.Ask(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		want := []ToolCall{{Name: "get_weather", Arguments: `{"city":"Paris"}`}, {Name: "get_weather", Arguments: `{"city":"Oslo"}`}}
		if reply.Text != "" || reply.Finish != "tool_calls" || !reflect.DeepEqual(reply.ToolCalls, want) {
			t.Errorf("got %+v", reply)
		}
		var sent map[string]json.RawMessage
		requests := a.fake.Requests()
		if err := json.Unmarshal([]byte(requests[len(requests)-1].Body), &sent); err != nil {
			t.Fatal(err)
		}
		if sent["temperature"] != nil || sent["max_tokens"] != nil || string(sent["max_completion_tokens"]) != "50" || string(sent["model"]) != `"gpt-5-mini"` {
			t.Errorf("sent %s", requests[len(requests)-1].Body)
		}
	}
	if one := a.traces()[0]; len(one.Adjustments) != 2 {
		t.Errorf("adjustments %q", one.Adjustments)
	}
}

func TestAskErrors(t *testing.T) {
	answers := func(status int, header, body string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			if name, value, ok := strings.Cut(header, ": "); ok {
				w.Header().Set(name, value)
			}
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		})
	}
	fake := new(fakeprovider.Provider)
	tests := map[string]struct {
		handler http.Handler // nil: the fake provider
		model   string
		stream  bool
		want    AskError
		status  string // of the trace; "": error
		sent    int    // of the fake provider
	}{
		"throttled": {model: "openai/error-429", want: AskError{Status: 429, Class: "status_429", Code: "fake_429", RetryAfter: time.Second, Retry: true}, sent: 1},
		"no quota": {
			handler: answers(429, "Retry-After: 1", `{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","code":"insufficient_quota"}}`), model: "openai/m",
			want: AskError{Status: 429, Class: "status_429", Code: "insufficient_quota", RetryAfter: time.Second},
		},
		"gemini says when": {
			handler: answers(429, "", `{"error":{"code":429,"status":"RESOURCE_EXHAUSTED","message":"slow","details":[{"@type":"x","retryDelay": "34.5s"}]}}`), model: "gemini/m",
			want: AskError{Status: 429, Class: "status_429", Code: "RESOURCE_EXHAUSTED", RetryAfter: 34500 * time.Millisecond, Retry: true},
		},
		"too long": {
			handler: answers(400, "", `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 9 tokens"}}`), model: "anthropic/m",
			want: AskError{Status: 400, Class: "status_400", Code: "context_length_exceeded"},
		},
		"overloaded": {model: "anthropic/error-529", want: AskError{Status: 529, Class: "status_529", Code: "overloaded_error", Retry: true}, sent: 1},
		"broken":     {model: "openai/error-500", want: AskError{Status: 500, Class: "status_500", Code: "fake_500", Retry: true}, sent: 1},
		"a proxy's":  {model: "openai/error-504", want: AskError{Status: 504, Class: "status_504", Code: "fake_504", Retry: true, Paid: true}, sent: 1},
		"refused":    {model: "openai/error-400", want: AskError{Status: 400, Class: "status_400", Code: "fake_400"}, sent: 1},
		"not there":  {model: "openai/error-404", want: AskError{Status: 404, Class: "status_404", Code: "fake_404"}, sent: 1},
		"wrong key":  {model: "openai/error-401", want: AskError{Status: 401, Class: "status_401", Code: "upstream_credentials"}, sent: 1},
		"hangs up":   {model: "openai/reset", want: AskError{Class: "connect", Code: "upstream_connect", Retry: true, Paid: true}, sent: 1},
		"HTML":       {model: "openai/html", want: AskError{Status: 200, Class: "bad_response", Code: "upstream_bad_response", Retry: true, Paid: true}, sent: 1},
		"cut":        {model: "openai/cut", stream: true, want: AskError{Class: "cut", Code: "upstream_cut", Retry: true, Paid: true}, status: "cut", sent: 1},
		"error event": {
			handler: answers(200, "Content-Type: text/event-stream", "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"),
			model:   "anthropic/m", stream: true, want: AskError{Class: "cut", Code: "overloaded_error", Retry: true, Paid: true},
		},
		"too large": {
			handler: answers(200, "Content-Type: application/json", `{"choices":[{"index":0,"message":{"content":"`+strings.Repeat("x", 2<<20)+`"},"finish_reason":"stop"}]}`), model: "openai/m",
			want: AskError{Status: 200, Class: "response_too_large", Code: "upstream_response_too_large", Paid: true},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			fake.Reset()
			handler := tt.handler
			if handler == nil {
				handler = fake
			}
			a := newAsked(t, tracing.Config{}, handler)
			q := question(tt.model)
			q.Stream = tt.stream
			e := a.failure(t.Context(), q)
			if e.Trace == "" || e.Message == "" || strings.Contains(e.Message, "sk-of") {
				t.Errorf("trace %q, message %q", e.Trace, e.Message)
			}
			got := *e
			got.Trace, got.Message = "", ""
			if got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if n := len(fake.Requests()); n != tt.sent {
				t.Errorf("%d requests, want %d", n, tt.sent)
			}
			one := a.traces()[0]
			if want := tt.status; one.Status != want && (want != "" || one.Status != "error") || *one.ErrorClass != e.Class || one.ID != e.Trace || one.Message == nil {
				t.Errorf("trace %+v", one)
			}
		})
	}
}

func TestAskOfNobody(t *testing.T) {
	a := newAsked(t, tracing.Config{}, nil)
	listener := httptest.NewServer(nil)
	listener.Close() // nobody listens there any more
	p := &Provider{BaseURL: listener.URL + "/v1"}
	if err := p.Provision("gone"); err != nil {
		t.Fatal(err)
	}
	a.Providers["gone"] = p
	if e := a.failure(t.Context(), question("gone/m")); e.Class != "connect" || !e.Retry || e.Paid {
		t.Errorf("got %+v", e)
	}
	for model, want := range map[string]string{
		"gpt-4o": "want provider/model-id", "openai/": "want provider/model-id", "/m": "want provider/model-id",
		"nowhere/m": `there is no provider "nowhere"; this configuration has anthropic, gemini, gone, openai`,
	} {
		e := a.failure(t.Context(), question(model))
		if !strings.Contains(e.Message, want) || e.Retry || e.Paid || e.Trace != "" {
			t.Errorf("%s: %+v", model, e)
		}
	}
	for _, name := range []string{"model", "messages", "stream"} {
		q := question("openai/echo")
		q.Parameters = map[string]json.RawMessage{name: json.RawMessage("true")}
		if e := a.failure(t.Context(), q); !strings.Contains(e.Message, name) {
			t.Errorf("%s: %s", name, e.Message)
		}
	}
	for _, messages := range []string{"", "{}", "[", `[{"role":"user","content":"x"}]]`} {
		q := question("openai/echo")
		q.Messages = json.RawMessage(messages)
		if e := a.failure(t.Context(), q); e.Class != "invalid_request" {
			t.Errorf("%q: %+v", messages, e)
		}
	}
	if n := len(a.fake.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

func TestAskCancelled(t *testing.T) {
	for _, tt := range []struct {
		model  string
		stream bool
	}{{"openai/silent", false}, {"openai/silent", true}, {"openai/stall", true}} {
		a := newAsked(t, tracing.Config{}, nil)
		cause := errors.New("the run was cancelled")
		ctx, cancel := context.WithCancelCause(t.Context())
		go func() { // ends with the request that it waits for
			for len(a.fake.Requests()) == 0 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(20 * time.Millisecond)
			cancel(cause)
		}()
		q := question(tt.model)
		q.Stream = tt.stream
		if _, err := a.Ask(ctx, q); !errors.Is(err, cause) {
			t.Fatalf("%+v: got %v", tt, err)
		}
		if one := a.traces()[0]; one.Status != "cancelled" || *one.ErrorClass != "cancelled" || one.Usage == nil || !one.Usage.Estimated {
			t.Errorf("%+v: trace %+v", tt, one)
		}
		if _, err := a.Ask(ctx, q); !errors.Is(err, cause) || len(a.fake.Requests()) != 1 {
			t.Errorf("%+v: asked again: %v", tt, err)
		}
	}
}

// What becomes of a run's calls must not be felt by those of clients.
func TestAskOpensNoCircuit(t *testing.T) {
	a := newAsked(t, tracing.Config{}, nil)
	for range 8 {
		a.failure(t.Context(), question("openai/error-503"))
		a.failure(t.Context(), question("openai/error-429"))
	}
	if n := a.Providers["openai"].OpenCircuits(); n != 0 {
		t.Errorf("%d circuits are open", n)
	}
	// Nor is a key set aside, or another one tried.
	two := &Provider{BaseURL: a.Providers["openai"].BaseURL, APIKey: []string{"sk-first-key-1", "sk-second-key-2"}}
	if err := two.Provision("two"); err != nil {
		t.Fatal(err)
	}
	a.Providers["two"] = two
	a.fake.Reset()
	keys := map[string]int{}
	for range 4 {
		a.failure(t.Context(), question("two/error-401"))
	}
	for _, r := range a.fake.Requests() {
		keys[r.Header["Authorization"][0]]++
	}
	if len(keys) != 2 || keys["Bearer sk-first-key-1"] != 2 {
		t.Errorf("asked with %v", keys)
	}
	if n := a.inFlight.Load(); n != 0 {
		t.Errorf("%d calls in flight", n)
	}
}

// How much of it is recorded is configured as for others.
func TestAskCapture(t *testing.T) {
	a := newAsked(t, tracing.Config{Capture: "metadata"}, nil)
	reply, err := a.Ask(t.Context(), question("openai/echo"))
	if err != nil {
		t.Fatal(err)
	}
	if one := a.traces()[0]; one.ID != reply.Trace || string(one.Request) != "null" || string(one.Response) != "null" {
		t.Errorf("trace %+v", one)
	}
	a = newAsked(t, tracing.Config{Capture: "off"}, nil)
	if reply, err = a.Ask(t.Context(), question("openai/echo")); err != nil || reply.Trace != "" || len(a.traces()) != 0 {
		t.Errorf("got %+v, %v", reply, err)
	}
	a.Recorder = nil
	if reply, err = a.Ask(t.Context(), question("openai/echo")); err != nil || reply.Trace != "" {
		t.Errorf("got %+v, %v", reply, err)
	}
}

// A configuration that is replaced waits for the gateway's own calls too.
func TestRecorderWaitsForAsk(t *testing.T) {
	a := newAsked(t, tracing.Config{}, nil)
	done := make(chan error, 1)
	go func() { // ends with its answer
		_, err := a.Ask(t.Context(), question("openai/slow-150ms"))
		done <- err
	}()
	for len(a.fake.Requests()) == 0 {
		time.Sleep(time.Millisecond)
	}
	a.Recorder.Wait(10 * time.Second)
	if n := len(a.traces()); n != 1 {
		t.Errorf("%d traces after the wait", n)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestModelCost(t *testing.T) {
	a := newAsked(t, tracing.Config{}, nil)
	a.Prices = a.Prices.With(price.Layer{{Provider: "openai", Model: "priced", Input: 3, Output: 4}})
	if in, out, ok := a.ModelCost("openai/priced"); !ok || in != 3 || out != 4 {
		t.Errorf("got %v, %v, %v", in, out, ok)
	}
	// Of more than 200,000 tokens it costs more.
	if in, out, ok := a.ModelCost("gemini/gemini-2.5-pro"); !ok || in != 2.5 || out != 15 {
		t.Errorf("got %v, %v, %v", in, out, ok)
	}
	for _, model := range []string{"openai/nobody-knows-it", "priced", ""} {
		if _, _, ok := a.ModelCost(model); ok {
			t.Errorf("%q has a price", model)
		}
	}
}

func TestCheckModelWantsAKey(t *testing.T) {
	t.Setenv("ANTHROPIC_API_KEY", "")
	p := new(Provider)
	if err := p.Provision("anthropic"); err != nil {
		t.Fatal(err)
	}
	local := &Provider{BaseURL: "http://127.0.0.1:1/v1"}
	if err := local.Provision("openai"); err != nil {
		t.Fatal(err)
	}
	table := &Table{Providers: map[string]*Provider{"anthropic": p, "openai": local}, Prices: price.Embedded()}
	if err := table.CheckModel("anthropic/claude"); err == nil || !strings.Contains(err.Error(), "ANTHROPIC_API_KEY") {
		t.Errorf("got %v", err)
	}
	if err := table.CheckModel("openai/any"); err != nil {
		t.Error(err)
	}
}
