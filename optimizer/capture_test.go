package optimizer

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/tracing"
)

// traffic is a shelf with the traces of a route r.
type traffic struct {
	*shelf
	traces   *tracing.Store
	recorder *tracing.Recorder
	view     *prompts.View
}

func newTraffic(t *testing.T, config tracing.Config) *traffic {
	t.Helper()
	f := &traffic{shelf: newShelf(t)}
	var err error
	if f.traces, err = tracing.Open(t.TempDir(), nil, tracing.Options{FlushInterval: 10 * time.Millisecond, MinFree: 1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.traces.Close() })
	if f.recorder, err = tracing.NewRecorder(config, f.traces, nil); err != nil {
		t.Fatal(err)
	}
	c, err := control.Open(filepath.Join(t.TempDir(), "control"), zap.NewNop(), control.MinFree(1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	registry, err := prompts.NewRegistry(c, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(registry.Close)
	f.view = prompts.NewView(registry, []prompts.Scope{{Route: "r", Prompts: []string{"senti"}, Recognize: true}})
	t.Cleanup(f.view.Close)
	return f
}

func (f *traffic) register(name, template string) {
	f.Helper()
	d := prompts.Draft{Name: name}
	raw, _ := marshal(template)
	if err := json.Unmarshal(raw, &d.Template); err != nil {
		f.Fatal(err)
	}
	if _, _, err := f.view.Registry().Register(d); err != nil {
		f.Fatal(err)
	}
}

// trace records a call to the route r, as the variant stable answered it.
func (f *traffic) trace(path, request, response string, edit func(*call.Call)) {
	f.Helper()
	c, _, _, fail := call.Begin(httptest.NewRequest("POST", "/v1/"+path, strings.NewReader(request)), nil)
	if fail != nil {
		f.Fatal(fail)
	}
	c.Route, c.Variant, c.Assignment, c.Provider, c.Model, c.Status, c.Finish = "r", "stable", call.Drawn, "p", "m", call.StatusOK, "stop"
	c.Usage = &call.Usage{Input: 1, Output: 1}
	if edit != nil {
		edit(c)
	}
	rec := tracing.NewRecord(c)
	rec.HTTPStatus, rec.Status, rec.Duration = 200, c.Status, time.Millisecond
	rec.Response = append(call.Buffer(len(response)), response...)
	f.recorder.Offer(rec)
	if err := f.traces.Sync(f.Context()); err != nil {
		f.Fatal(err)
	}
}

func chatRequest(messages ...string) string {
	var list []map[string]string
	for _, m := range messages {
		role, text, _ := strings.Cut(m, ":")
		list = append(list, map[string]string{"role": role, "content": text})
	}
	b, _ := marshal(map[string]any{"model": "r", "messages": list})
	return string(b)
}

func chatAnswer(text string) string {
	return fmt.Sprintf(`{"id":"1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}]}`, text)
}

func (f *traffic) capture(q CaptureRequest) (*Captured, []Record) {
	f.Helper()
	q.Route = "r"
	got, err := f.Capture(f.Context(), "d", q, f.traces, f.view, DatasetChange{Actor: "ann"})
	if err != nil {
		f.Fatal(err)
	}
	v, records, err := f.Load("d", 0)
	if err != nil || v.Hash != got.Version.Hash {
		f.Fatalf("got %+v, want %+v, %v", v, got.Version, err)
	}
	return got, records
}

func TestCaptureVariables(t *testing.T) {
	f := newTraffic(t, tracing.Config{})
	f.register("senti", "Classify this text, as one word: {{text}}")
	ask := func(text, answer string, edit func(*call.Call)) {
		t.Helper()
		f.trace("chat/completions", chatRequest("user:Classify this text, as one word: "+text), chatAnswer(answer), edit)
	}
	ask("fine", "negative", nil) // older, and answered otherwise
	ask("great", "positive", nil)
	ask("fine", "positive", nil)
	ask("fine", "positive", nil)
	ask("awful", "negative", nil)
	f.trace("chat/completions", chatRequest("system:Be kind.", "user:Classify this text, as one word: so"), chatAnswer("neutral"), nil)
	f.trace("chat/completions", chatRequest("user:Hello!"), chatAnswer("Hi!"), nil)
	ask("a", "x", func(c *call.Call) { c.Status = call.StatusError })
	ask("b", "x", func(c *call.Call) { c.Status = call.StatusCut })
	ask("c", "x", func(c *call.Call) { c.Retry = true })
	ask("d", "x", func(c *call.Call) { c.Finish = "length" })
	ask("e", "x", func(c *call.Call) { c.Assignment = "shadow" })
	ask("f", "", nil)
	ask("g", "x", func(c *call.Call) { c.Variant = "candidate" })
	ask("h", "x", func(c *call.Call) { c.Route = "other" })
	ask("i", "x", func(c *call.Call) { c.Route, c.Variant, c.Assignment = "", "", call.Run })
	f.trace("embeddings", `{"model":"r","input":"x"}`, `{"data":[]}`, nil)

	got, records := f.capture(CaptureRequest{})
	answers := map[string]string{}
	for _, r := range records {
		if len(r.Inputs) != 1 || r.ID == "" || len(r.Trace) != 32 {
			t.Errorf("record %+v", r)
		}
		answers[r.Inputs["text"]] = r.label()
	}
	if want := map[string]string{"fine": "positive", "great": "positive", "awful": "negative", "so": "neutral"}; !reflect.DeepEqual(answers, want) {
		t.Errorf("got %v", answers)
	}
	skipped := map[string]int{skipUnrecognized: 1, skipStatus: 2, skipRetry: 1, skipShort: 1, skipOwn: 1, skipEmpty: 1, skipAPI: 1}
	if !reflect.DeepEqual(got.Skipped, skipped) {
		t.Errorf("skipped %v\nwant %v", got.Skipped, skipped)
	}
	if got.LookedAt != 14 || got.Used != 4 || got.Duplicates != 2 || got.Disagreeing != 1 || got.Inputs != "variables" || *got.Prompt != "senti" || got.LeftOut != 1 || got.OlderUnseen {
		t.Errorf("got %+v", got)
	}
	if want := []CapturedStratum{{"positive", 2, 2}, {"negative", 1, 1}, {"neutral", 1, 1}}; !reflect.DeepEqual(got.Strata, want) {
		t.Errorf("strata %+v", got.Strata)
	}
	if v := got.Version; v.Version != 1 || v.Source.Kind != SourceCapture || v.Source.Route != "r" || v.Source.Variant != "stable" || v.Source.Since == nil || v.Actor != "ann" {
		t.Errorf("version %+v", v)
	}
	// Without another trace it is the same version.
	if again, _ := f.capture(CaptureRequest{}); again.Version.Version != 1 {
		t.Errorf("version %d", again.Version.Version)
	}
}

func TestCaptureMessages(t *testing.T) {
	f := newTraffic(t, tracing.Config{})
	f.trace("chat/completions", chatRequest("system:Be kind.", "user:Hello!"), chatAnswer("Hi!"), nil)
	f.trace("chat/completions", chatRequest("user:Weather?"),
		`{"choices":[{"index":0,"message":{"role":"assistant","content":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"get","arguments":"{\"city\": \"Oslo\"}"}}]},"finish_reason":"tool_calls"}]}`, nil)
	f.trace("messages", `{"model":"r","max_tokens":9,"system":"Be kind.","messages":[{"role":"user","content":"Bonjour"}]}`,
		`{"type":"message","content":[{"type":"text","text":"Sa"},{"type":"text","text":"lut"}],"stop_reason":"end_turn"}`, func(c *call.Call) { c.Finish = "end_turn" })
	f.trace("responses", `{"model":"r","instructions":"Be kind.","input":"Hallo"}`,
		`{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"Servus"}]}]}`, func(c *call.Call) { c.Finish = "completed" })
	f.trace("responses", `{"model":"r","input":"more","previous_response_id":"resp_1"}`,
		`{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"x"}]}]}`, nil)
	f.trace("chat/completions", chatRequest("user:Bad?"), `{"choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":"I won't"},"finish_reason":"stop"}]}`, nil)
	f.trace("chat/completions", `{"model":"r","prompt":{"id":"senti"},"messages":[{"role":"user","content":"and?"}]}`, chatAnswer("x"), func(c *call.Call) {
		c.Served = call.ServedPrompt{Name: "senti", Version: 1, Source: call.FromParameter}
		c.Prompt = call.Prompt{Name: "senti", Source: call.FromParameter, Variables: map[string]string{"text": "x"}}
	})
	got, records := f.capture(CaptureRequest{})
	var texts []string
	for _, r := range records {
		texts = append(texts, string(r.Messages)+" "+string(r.Expected))
	}
	want := []string{
		`[{"role":"system","content":"Be kind."},{"role":"user","content":"Hallo"}] "Servus"`,
		`[{"role":"system","content":"Be kind."},{"role":"user","content":"Bonjour"}] "Salut"`,
		`[{"content":"Weather?","role":"user"}] [{"name":"get","arguments":{"city":"Oslo"}}]`,
		`[{"content":"Be kind.","role":"system"},{"content":"Hello!","role":"user"}] "Hi!"`,
	}
	if !slices.Equal(texts, want) {
		t.Errorf("got\n%s", strings.Join(texts, "\n"))
	}
	if skipped := map[string]int{skipElsewhere: 2, skipRefused: 1}; !reflect.DeepEqual(got.Skipped, skipped) || got.Inputs != "messages" || got.Prompt != nil {
		t.Errorf("got %+v", got)
	}
}

func TestCaptureNamedPrompt(t *testing.T) {
	f := newTraffic(t, tracing.Config{})
	for _, text := range []string{"a", "b"} {
		f.trace("chat/completions", `{"model":"r","prompt":{"id":"senti"},"messages":[]}`, chatAnswer("x"), func(c *call.Call) {
			c.Served = call.ServedPrompt{Name: "senti", Version: 1, Source: call.FromParameter}
			c.Prompt = call.Prompt{Name: "senti", Source: call.FromParameter, Variables: map[string]string{"text": text}}
		})
	}
	got, records := f.capture(CaptureRequest{})
	if len(records) != 2 || records[0].Inputs["text"] != "b" || *got.Prompt != "senti" {
		t.Errorf("got %+v, %+v", got, records)
	}
}

func TestCaptureSamples(t *testing.T) {
	f := newTraffic(t, tracing.Config{})
	for i := range 60 {
		f.trace("chat/completions", chatRequest(fmt.Sprint("user:question ", i)), chatAnswer([]string{"yes", "yes", "no"}[i%3]), nil)
	}
	got, records := f.capture(CaptureRequest{Sample: 12})
	counts := map[string]int{}
	for _, r := range records {
		counts[r.label()]++
	}
	if counts["yes"] != 8 || counts["no"] != 4 || got.LookedAt != 60 || got.Used != 12 || got.Strata[0] != (CapturedStratum{"yes", 40, 8}) {
		t.Errorf("got %v, %+v", counts, got)
	}
	if again, _ := f.capture(CaptureRequest{Sample: 12}); again.Version.Hash != got.Version.Hash {
		t.Error("another sample of the same traces")
	}
	if other, _ := f.capture(CaptureRequest{Sample: 12, Seed: 7}); other.Version.Hash == got.Version.Hash {
		t.Error("the same sample with another seed")
	}
}

func TestCaptureOfNothing(t *testing.T) {
	f := newTraffic(t, tracing.Config{})
	failing := func(q CaptureRequest) string {
		t.Helper()
		_, err := f.Capture(t.Context(), "d", q, f.traces, f.view, DatasetChange{})
		if code(err) != "conflict" {
			t.Errorf("got %v", err)
		}
		return fmt.Sprint(err)
	}
	if err := failing(CaptureRequest{Route: "r"}); !strings.Contains(err, `no trace of route "r"`) {
		t.Error(err)
	}
	f.trace("chat/completions", chatRequest("user:x"), chatAnswer("y"), func(c *call.Call) { c.Status, c.Variant = call.StatusError, "old" })
	if err := failing(CaptureRequest{Route: "r"}); !strings.Contains(err, `no trace of variant "stable" since`) || !strings.Contains(err, `of variant "old"`) {
		t.Error(err)
	}
	if err := failing(CaptureRequest{Route: "r", Variant: "old"}); !strings.Contains(err, "none of the 1 traces") || !strings.Contains(err, "failed 1") {
		t.Error(err)
	}
	if _, err := f.Capture(t.Context(), "d", CaptureRequest{}, f.traces, f.view, DatasetChange{}); code(err) != "invalid" {
		t.Errorf("got %v", err)
	}
	if all, _ := f.List(); len(all) != 0 {
		t.Errorf("%d datasets", len(all))
	}
	f = newTraffic(t, tracing.Config{Capture: "metadata"})
	f.trace("chat/completions", chatRequest("user:x"), chatAnswer("y"), nil)
	if err := failing(CaptureRequest{Route: "r"}); !strings.Contains(err, "capture full") {
		t.Error(err)
	}
}
