package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

type envelope struct {
	Error struct{ Code, Message, Field string }
}

// TestAdminAPI calls the admin API over Caddy's real endpoint.
func TestAdminAPI(t *testing.T) {
	long(t)
	g := newGateway(t)
	g.start(g.standard(""))

	var list struct{ Items []routeAnswer }
	if status, _ := g.api(http.MethodGet, "/routes", nil, &list); status != http.StatusOK || len(list.Items) != 3 || list.Items[0].Name != "conversations" {
		t.Errorf("routes: %d %+v", status, list)
	}
	r, old := g.route("split")
	if r.Weights["candidate"] != 5 || r.Status.Declared["stable"] != 95 || old == "" {
		t.Errorf("route: %+v, ETag %q", r, old)
	}
	weights := func(candidate float64, header ...string) (status int, tag string, e envelope) {
		t.Helper()
		var raw json.RawMessage
		in := object{"weights": object{"stable": 100 - candidate, "candidate": candidate}, "reason": "because", "actor": "me"}
		status, h := g.api(http.MethodPost, "/routes/split/rollout/weights", in, &raw, header...)
		_ = json.Unmarshal(raw, &e)
		return status, h.Get("ETag"), e
	}
	status, tag, _ := weights(10, "If-Match", old)
	if status != http.StatusOK || tag == old {
		t.Errorf("weights with the current ETag: %d, ETag %s after %s", status, tag, old)
	}
	if status, _, e := weights(11, "If-Match", old); status != http.StatusPreconditionFailed || e.Error.Code != "precondition_failed" {
		t.Errorf("weights with a stale ETag: %d %+v", status, e)
	}
	if r, now := g.route("split"); now != tag || r.Weights["candidate"] != 10 || r.Status.Reason != "because" {
		t.Errorf("after that: %+v, ETag %s, want %s", r, now, tag)
	}
	if status, tag, _ = weights(12, "If-Match", tag); status != http.StatusOK {
		t.Errorf("weights with the new ETag: %d", status)
	}
	// New declared weights replace those; an ETag read afterwards is good.
	g.mustLoad(g.standardIn(g.data, "", "80", "20"))
	if status, _, e := weights(13, "If-Match", tag); status != http.StatusPreconditionFailed {
		t.Errorf("weights with an ETag from before a reload that changed them: %d %+v", status, e)
	}
	_, tag = g.route("split")
	if status, _, e := weights(13, "If-Match", tag); status != http.StatusOK {
		t.Errorf("weights after the declared ones were changed: %d %+v", status, e)
	}

	for _, c := range []struct {
		name, method, path string
		body               any
		status             int
		code, message      string
	}{
		{"do not sum up", "POST", "/routes/split/rollout/weights", object{"weights": object{"stable": 50, "candidate": 40}}, 400, "invalid", "90"},
		{"negative", "POST", "/routes/split/rollout/weights", object{"weights": object{"stable": 110, "candidate": -10}}, 400, "invalid", "weight"},
		{"three decimals", "POST", "/routes/split/rollout/weights", object{"weights": object{"stable": 99.999, "candidate": 0.001}}, 400, "invalid", "two decimals"},
		{"another variant", "POST", "/routes/split/rollout/weights", object{"weights": object{"stable": 50, "nobody": 50}}, 400, "invalid", "name every variant"},
		{"none", "POST", "/routes/split/rollout/weights", object{}, 400, "invalid", "name every variant"},
		{"unknown field", "POST", "/routes/split/rollout/weights", object{"weight": 1}, 400, "invalid", "weight"},
		{"no such route", "GET", "/routes/nobody", nil, 404, "not_found", "/llm/routes"},
		{"no such path", "GET", "/nothing/here", nil, 404, "not_found", "openapi.json"},
		{"method", "DELETE", "/routes/split", nil, 405, "invalid", "GET"},
		{"no such prompt", "GET", "/prompts/nobody", nil, 404, "not_found", "nobody"},
		{"no such trace", "GET", "/traces/01a20a546c597b56b11efa4a97d693a9", nil, 404, "not_found", "no such trace"},
	} {
		var e envelope
		status, h := g.api(c.method, c.path, c.body, &e)
		if status != c.status || e.Error.Code != c.code || !strings.Contains(e.Error.Message, c.message) {
			t.Errorf("%s: %d %+v, want %d %s and %q", c.name, status, e.Error, c.status, c.code, c.message)
		}
		if c.status == 405 && !strings.Contains(h.Get("Allow"), "GET") {
			t.Errorf("%s: Allow %q", c.name, h.Get("Allow"))
		}
	}
	if r, _ := g.route("split"); r.Weights["candidate"] != 13 {
		t.Errorf("what was refused changed the weights to %v", r.Weights)
	}
	var description struct {
		OpenAPI string
		Paths   map[string]any
	}
	if status, h := g.api(http.MethodGet, "/openapi.json", nil, &description); status != http.StatusOK || h.Get("Content-Type") != "application/json" || len(description.Paths) < 10 {
		t.Errorf("openapi.json: %d, %d paths", status, len(description.Paths))
	}

	g.mustLoad(fmt.Sprintf("{\nadmin %s\n}\n%s {\nrespond hi\n}\n", address(g.admin), g.url))
	for _, path := range []string{"/", "/routes", "/prompts", "/traces"} {
		var e envelope
		if status, _ := g.api(http.MethodGet, path, nil, &e); status != http.StatusNotFound || !strings.Contains(e.Error.Message, "no LLM gateway") {
			t.Errorf("%s without a gateway: %d %+v", path, status, e)
		}
	}
	if status, _ := g.api(http.MethodGet, "/openapi.json", nil, nil); status != http.StatusOK {
		t.Errorf("openapi.json without a gateway: %d", status)
	}
}

// TestConversationsStay grows the candidate while conversations go on.
func TestConversationsStay(t *testing.T) {
	long(t)
	g := newGateway(t)
	g.start(g.standard(""))
	type conversation struct {
		messages []object
		variant  string
	}
	var all []*conversation
	turn := func(c *conversation, text string) string {
		t.Helper()
		c.messages = append(c.messages, object{"role": "user", "content": text})
		a := g.mustChat(request{model: "conversations", messages: c.messages})
		c.messages = append(c.messages, object{"role": "assistant", "content": a.text})
		return a.variant
	}
	candidates := map[float64]int{}
	for _, weight := range []float64{5, 50, 100} {
		g.setWeights("conversations", 100-weight, weight)
		for i, c := range all {
			if v := turn(c, "and then?"); v != c.variant {
				t.Errorf("at %v %% conversation %d moved from %s to %s", weight, i, c.variant, v)
			}
		}
		for i := range 100 {
			c := &conversation{messages: []object{{"role": "system", "content": fmt.Sprintf("It is %d o'clock.", i)}}}
			c.variant = turn(c, fmt.Sprintf("question %d at %v", i, weight))
			if c.variant == "candidate" {
				candidates[weight]++
			}
			all = append(all, c)
		}
	}
	g.mustLoad(g.standard("traces {\nretain 40d\n}"))
	g.stop()
	g.start(g.standard(""))
	for i, c := range all {
		if v := turn(c, "still there?"); v != c.variant {
			t.Errorf("after a reload and a restart conversation %d moved from %s to %s", i, c.variant, v)
		}
	}
	if candidates[5] > 15 || candidates[50] < 30 || candidates[50] > 70 || candidates[100] != 100 {
		t.Errorf("candidates of 100 new conversations at each weight: %v", candidates)
	}
	t.Logf("candidates of 100 new conversations at each weight: %v; none of %d moved", candidates, len(all))
}

// TestWeights sets weights by the admin API and by the configuration.
func TestWeights(t *testing.T) {
	long(t)
	g := newGateway(t)
	g.start(g.standard(""))
	variant := func() string { t.Helper(); return g.mustChat(request{model: "split", text: "who?"}).variant }
	var took []time.Duration
	for i := range 40 {
		candidate := float64(100 * (i % 2))
		begun := time.Now()
		g.setWeights("split", 100-candidate, candidate)
		took = append(took, time.Since(begun))
		if want := []string{"stable", "candidate"}[i%2]; variant() != want {
			t.Errorf("the request after change %d did not go to %s", i, want)
		}
	}
	slices.Sort(took)
	inForce := func(when string, candidate float64) {
		t.Helper()
		r, _ := g.route("split")
		if r.Weights["candidate"] != candidate {
			t.Errorf("%s the weights are %v, want a candidate of %v", when, r.Weights, candidate)
		}
	}
	g.stop()
	g.start(g.standard(""))
	inForce("after a restart", 100)
	if v := variant(); v != "candidate" {
		t.Errorf("after a restart a request went to %s", v)
	}
	if !strings.Contains(g.log.String(), "to keep them, declare them") {
		t.Error("the log says nothing of declared weights that are not in force")
	}
	g.mustLoad(g.standard("traces {\nretain 40d\n}"))
	inForce("after a reload that changes something else", 100)

	g.mustLoad(g.standardIn(g.data, "", "80", "20"))
	inForce("after the declared weights were changed", 20)
	if !strings.Contains(g.log.String(), "the declared weights were changed") {
		t.Error("the log says nothing of declared weights that replaced others")
	}
	g.mustLoad(g.standard(""))
	inForce("after the declared weights were changed back", 5)
	g.stop()
	g.start(g.standard(""))
	inForce("and after a restart", 5)
	g.setWeights("split", 60, 40)
	inForce("set again", 40)
	t.Logf("a change of weights took %s in the median, %s at most, and was in force for the next request", took[len(took)/2].Round(time.Microsecond), took[len(took)-1].Round(time.Microsecond))
}
