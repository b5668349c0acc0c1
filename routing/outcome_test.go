package routing

import (
	"fmt"
	"math"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/rollout"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// Which calls are evidence, and what for: the variant that was drawn, before any fallback.
func TestOutcomes(t *testing.T) {
	table := newTable(t, &rollout.Spec{Steps: []rollout.StepSpec{{Percent: 50}}})
	table.state = &State{conversations: newConversations(time.Now)}
	r := table.Routes[0]
	c := newController("r", filepath.Join(t.TempDir(), "r"), newMemory(), zap.NewNop())
	c.start()
	defer c.close()
	c.attach(r)
	if err := c.do(rollout.Event{Kind: rollout.Promote}, anyRevision); err != nil {
		t.Fatal(err)
	}
	user := "" // one that the candidate is drawn for
	for i := 0; user == ""; i++ {
		if u := fmt.Sprint("user-", i); r.split.Load().pick(bucket("r", u)) == 1 {
			user = u
		}
	}
	began := time.Now()
	attempt := func(variant, class string, code int, took time.Duration) call.Attempt {
		return call.Attempt{Variant: variant, Provider: "p", Started: began, Duration: took, ErrorClass: class, HTTPStatus: code}
	}
	candidate, stable, status := "candidate", "stable", string(upstream.StatusError)
	tests := map[string]struct {
		call   call.Call
		unfit  string
		empty  bool
		drawn  bool    // counted as drawn
		failed string  // "": an outcome without a failure; "-": no outcome
		ttft   float64 // 0: none
	}{
		"answered":             {call: call.Call{Attempts: []call.Attempt{attempt(candidate, "", 200, time.Second)}}, drawn: true},
		"after a retry":        {call: call.Call{Attempts: []call.Attempt{attempt(candidate, status, 500, time.Second), attempt(candidate, "", 200, time.Second)}}, drawn: true},
		"rescued":              {call: call.Call{Attempts: []call.Attempt{attempt(candidate, status, 500, time.Second), attempt(stable, "", 200, time.Second)}}, drawn: true, failed: "status_500"},
		"refused parameter":    {call: call.Call{Attempts: []call.Attempt{attempt(candidate, status, 400, time.Second)}}, drawn: true, failed: "status_400"},
		"unknown model":        {call: call.Call{Attempts: []call.Attempt{attempt(candidate, status, 404, time.Second)}}, drawn: true, failed: "status_404"},
		"no answer":            {call: call.Call{Attempts: []call.Attempt{attempt(candidate, "header_timeout", 0, time.Minute)}}, drawn: true, failed: "header_timeout"},
		"cut":                  {call: call.Call{Stream: true, Status: call.StatusCut, Attempts: []call.Attempt{attempt(candidate, "cut", 200, time.Second)}}, drawn: true, failed: "cut", ttft: math.Inf(1)},
		"circuit open":         {call: call.Call{Attempts: []call.Attempt{attempt(candidate, "circuit_open", 0, 0), attempt(stable, "", 200, time.Second)}}, drawn: true, failed: "circuit_open"},
		"prompt is not there":  {call: call.Call{Attempts: []call.Attempt{attempt(candidate, unbound, 0, 0), attempt(stable, "", 200, time.Second)}}, drawn: true, failed: unbound},
		"variable is missing":  {call: call.Call{}, unfit: "missing_variable", drawn: true, failed: "missing_variable"},
		"empty":                {call: call.Call{Attempts: []call.Attempt{attempt(candidate, "", 200, time.Second)}}, empty: true, drawn: true, failed: "empty"},
		"client left":          {call: call.Call{Status: call.StatusCancelled, Attempts: []call.Attempt{attempt(candidate, "cancelled", 0, time.Second)}}, drawn: true, failed: "-"},
		"left the fallback":    {call: call.Call{Status: call.StatusCancelled, Attempts: []call.Attempt{attempt(candidate, "header_timeout", 0, time.Minute), attempt(stable, "cancelled", 0, time.Second)}}, drawn: true, failed: "header_timeout"},
		"left between retries": {call: call.Call{Status: call.StatusCancelled, Attempts: []call.Attempt{attempt(candidate, status, 500, time.Second)}}, drawn: true, failed: "-"},
		"refused by us":        {call: call.Call{Status: call.StatusError}, drawn: true, failed: "-"},
		"repeated by the SDK":  {call: call.Call{Retry: true, Attempts: []call.Attempt{attempt(candidate, status, 500, time.Second)}}, failed: "-"},
		"pinned":               {call: call.Call{Prompt: call.Prompt{Name: "p", Version: 1, Pinned: true}, Attempts: []call.Attempt{attempt(stable, status, 500, time.Second)}}, failed: "-"},
		"later turn":           {call: call.Call{Continued: true, PreviousResponseID: "resp_1", Attempts: []call.Attempt{attempt(stable, status, 500, time.Second)}}, failed: "-"},
		"first token measured": {call: call.Call{Stream: true, Attempts: []call.Attempt{{Variant: candidate, Started: began, Duration: 3 * time.Second, FirstToken: time.Second}}}, drawn: true, ttft: 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c.mu.Lock() // what is left stays
			defer c.mu.Unlock()
			cl := tt.call
			cl.User, cl.ID, cl.Front = user, name, call.ChatCompletions
			p := &plan{table: table, call: &cl, route: r, unfit: tt.unfit, empty: tt.empty}
			if fail := p.assign(); fail != nil {
				t.Fatal(fail)
			}
			p.settle()
			c.leaving.Lock()
			left := c.left
			c.left = nil
			c.leaving.Unlock()
			drawn := len(left) > 0 && left[0].drawn
			if drawn {
				left = left[1:]
			}
			if drawn != tt.drawn || len(left) > 1 || (len(left) == 0) != (tt.failed == "-") {
				t.Fatalf("drawn %v, %d outcomes", drawn, len(left))
			}
			if len(left) == 0 {
				return
			}
			o := left[0].Outcome
			if !o.Candidate || o.Kind != tt.failed || o.Failed != (tt.failed != "") || o.Share != 0.5 || o.Trace != name {
				t.Errorf("got %+v", o)
			}
			if want := cmpNaN(tt.ttft); o.TTFT != want && !(math.IsNaN(o.TTFT) && math.IsNaN(want)) {
				t.Errorf("first token after %v, want %v", o.TTFT, want)
			}
		})
	}
}

func cmpNaN(v float64) float64 {
	if v == 0 {
		return math.NaN()
	}
	return v
}

// How answers stand to the formats that their requests declare.
func TestFormats(t *testing.T) {
	table := newTable(t, &rollout.Spec{Steps: []rollout.StepSpec{{Percent: 50}}})
	const label = `{"type":"object","properties":{"label":{"enum":["positive","negative"]}},"required":["label"],"additionalProperties":false}`
	chat := `{"model":"r","messages":[],"response_format":{"type":"json_schema","json_schema":{"name":"l","schema":` + label + `}}}`
	answered := func(text string) string {
		return fmt.Sprintf(`{"object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}]}`, text)
	}
	stream := func(parts ...string) string {
		var b strings.Builder
		for _, s := range parts {
			fmt.Fprintf(&b, "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{\"content\":%q},\"finish_reason\":null}]}\n\n", s)
		}
		return b.String() + "data: {\"object\":\"chat.completion.chunk\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
	}
	tests := map[string]struct {
		path, request, answer string
		stream                bool
		want                  rollout.Format
	}{
		"none declared":         {"chat/completions", `{"model":"r","messages":[]}`, answered("Positive!"), false, rollout.NoFormat},
		"text declared":         {"chat/completions", `{"model":"r","messages":[],"response_format":{"type":"text"}}`, answered("Positive!"), false, rollout.NoFormat},
		"kept":                  {"chat/completions", chat, answered(`{"label":"positive"}`), false, rollout.FormatKept},
		"another value":         {"chat/completions", chat, answered(`{"label":"Positive"}`), false, rollout.FormatBroken},
		"fenced":                {"chat/completions", chat, answered("```json\n{\"label\":\"positive\"}\n```"), false, rollout.FormatBroken},
		"not JSON":              {"chat/completions", chat, answered("Positive!"), false, rollout.FormatBroken},
		"cut short":             {"chat/completions", chat, answered(`{"label":"pos`), false, rollout.FormatBroken},
		"any JSON":              {"chat/completions", `{"model":"r","messages":[],"response_format":{"type":"json_object"}}`, answered(`{"x":1}`), false, rollout.FormatKept},
		"any JSON, not":         {"chat/completions", `{"model":"r","messages":[],"response_format":{"type":"json_object"}}`, answered(`x`), false, rollout.FormatBroken},
		"a tool call":           {"chat/completions", chat, `{"choices":[{"message":{"content":null,"tool_calls":[{"id":"1"}]}}]}`, false, rollout.NoFormat},
		"a refusal":             {"chat/completions", chat, `{"choices":[{"message":{"content":null,"refusal":"no"}}]}`, false, rollout.NoFormat},
		"streamed":              {"chat/completions", chat, stream(`{"la`, `bel":"neg`, `ative"}`), true, rollout.FormatKept},
		"streamed, broken":      {"chat/completions", chat, stream(`{"la`, `bel":"neg`, `atives"}`), true, rollout.FormatBroken},
		"not a schema":          {"chat/completions", strings.ReplaceAll(chat, label, `{"type":12}`), answered(`{"label":12}`), false, rollout.FormatKept},
		"a schema that expands": {"chat/completions", strings.ReplaceAll(chat, label, expanding(24)), answered(`{"label":12}`), false, rollout.FormatKept},
		"a schema of itself":    {"chat/completions", strings.ReplaceAll(chat, label, `{"$ref":"#/$defs/a","$defs":{"a":{"anyOf":[{"type":"string"},{"$ref":"#/$defs/a"}]}}}`), answered(`12`), false, rollout.FormatKept},
		"a schema with parts":   {"chat/completions", strings.ReplaceAll(chat, label, `{"$ref":"#/$defs/a","$defs":{"a":{"type":"string"}}}`), answered(`12`), false, rollout.FormatBroken},
		"a schema elsewhere":    {"chat/completions", strings.ReplaceAll(chat, label, `{"$ref":"file:///etc/hosts"}`), answered(`{"label":12}`), false, rollout.FormatKept},
		"responses":             {"responses", `{"model":"r","input":"x","text":{"format":{"type":"json_schema","name":"l","schema":` + label + `}}}`, `{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"{\"label\":\"positive\"}"}]}]}`, false, rollout.FormatKept},
		"responses, broken":     {"responses", `{"model":"r","input":"x","text":{"format":{"type":"json_schema","name":"l","schema":` + label + `}}}`, `{"object":"response","status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"positive"}]}]}`, false, rollout.FormatBroken},
		"responses, none":       {"responses", `{"model":"r","input":"x"}`, `{"object":"response","output":[]}`, false, rollout.NoFormat},
		"another kind of call":  {"embeddings", `{"model":"r","input":"x"}`, `{"data":[]}`, false, rollout.NoFormat},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _, _, fail := call.Begin(httptest.NewRequest("POST", "/v1/"+tt.path, strings.NewReader(tt.request)), nil)
			if fail != nil {
				t.Fatal(fail)
			}
			p := &plan{table: table, call: c, prepared: []prepared{{body: &body{call: c, edit: c.Object.Edit()}}}}
			p.checkFormat([]byte(tt.answer), tt.stream)
			if p.format != tt.want {
				t.Errorf("got %v, want %v", p.format, tt.want)
			}
		})
	}
}

// expanding is a small schema that would take for ever: each part refers twice to the next one.
func expanding(levels int) string {
	var defs []string
	for i := range levels {
		defs = append(defs, fmt.Sprintf(`"d%d":{"allOf":[{"$ref":"#/$defs/d%d"},{"$ref":"#/$defs/d%d"}]}`, i, i+1, i+1))
	}
	return fmt.Sprintf(`{"$ref":"#/$defs/d0","$defs":{%s,"d%d":{"type":"object"}}}`, strings.Join(defs, ","), levels)
}
