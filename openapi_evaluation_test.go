package frontier

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/tracing"
)

// pretendModel finds everything positive. It answers to what is slow once it is let go.
type pretendModel struct{ letGo chan struct{} }

func (m *pretendModel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Messages []struct{ Content string }
		Stream   bool
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if n := len(body.Messages); n > 0 && strings.Contains(body.Messages[n-1].Content, "slow") {
		select {
		case <-r.Context().Done():
			return
		case <-m.letGo:
		}
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprint(w, `{"id":"c","object":"chat.completion","model":"small","choices":[{"index":0,"message":{"role":"assistant","content":"positive"},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":1,"total_tokens":21}}`)
}

// answered puts a call that was answered into the trace store.
func answered(t *testing.T, a *App, text, answer string) {
	t.Helper()
	request := fmt.Sprintf(`{"model":"sentiment","messages":[{"role":"user","content":%q}]}`, text)
	c, _, _, fail := call.Begin(httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(request)), nil)
	if fail != nil {
		t.Fatal(fail)
	}
	c.Route, c.Variant, c.Assignment, c.Provider, c.Model, c.Status, c.Finish = "sentiment", "stable", call.Drawn, "openai", "gpt-4o", call.StatusOK, "stop"
	rec := tracing.NewRecord(c)
	rec.HTTPStatus, rec.Duration, rec.Status = http.StatusOK, time.Second, call.StatusOK
	rec.Response = fmt.Appendf(nil, `{"choices":[{"index":0,"message":{"role":"assistant","content":%q},"finish_reason":"stop"}]}`, answer)
	a.Recorder().Offer(rec)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := a.data.traces.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

// over waits for a run's end, and returns its path.
func (x *described) over(t *testing.T, run map[string]any) string {
	t.Helper()
	id, _ := run["id"].(string)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		w := httptest.NewRecorder()
		x.mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/llm/runs/"+id, nil))
		var now struct {
			State string  `json:"state"`
			Error *string `json:"error"`
		}
		if err := json.Unmarshal(w.Body.Bytes(), &now); err != nil {
			t.Fatal(err)
		}
		switch {
		case now.State == "succeeded":
			return "/runs/" + id
		case now.State != "running" || time.Now().After(deadline):
			t.Fatalf("run %s is %s: %s", id, now.State, orDash(now.Error))
		}
	}
}

// evaluation calls what there is of datasets and runs.
func (x *described) evaluation(t *testing.T, app *App, model *pretendModel) {
	const name, records, reports = "/datasets/{name}", "/datasets/{name}/records", "/runs/{id}/{report}"
	x.call(t, "POST", "/prompts", "/prompts", `{"name": "review", "template": "Classify: {{text}}"}`, 201)
	x.call(t, "POST", "/datasets", "/datasets", `{"name": "reviews", "description": "texts", "tags": {"a": "b"}, "records": [{"text": "fine", "expected": "positive"}, {"id": "2", "inputs": {"text": "bad"}, "expected": "negative", "weight": 2, "tags": {"k": "v"}}], "actor": "ada"}`, 201)
	x.call(t, "POST", "/datasets", "/datasets", `{"name": "reviews"}`, 409)
	x.call(t, "POST", "/datasets", "/datasets", `{"name": "slow", "records": [{"text": "slow", "expected": {"a": 1}}]}`, 201)
	x.call(t, "GET", "/datasets", "/datasets?limit=1", "", 200)
	x.call(t, "GET", "/datasets", "/datasets?limit=x", "", 400)
	x.call(t, "POST", records, "/datasets/reviews/records", `{"records": [{"inputs": {"text": "great"}, "expected": "positive"}], "reason": "more"}`, 201)
	x.call(t, "POST", records, "/datasets/reviews/records", `{"records": [{"inputs": {"text": "great"}, "expected": "positive"}]}`, 200)
	x.call(t, "POST", records, "/datasets/reviews/records", `{"records": [{}], "replace": true}`, 400)
	x.call(t, "GET", records, "/datasets/reviews/records?limit=2", "", 200)
	x.call(t, "GET", records, "/datasets/reviews/records?version=1", "", 200)
	x.call(t, "GET", "/datasets/{name}/export.jsonl", "/datasets/reviews/export.jsonl", "", 200)
	x.call(t, "GET", "/datasets/{name}/export.csv", "/datasets/reviews/export.csv?version=1", "", 200)
	x.call(t, "GET", name, "/datasets/nothing", "", 404)
	answered(t, app, "Is it good?", "yes")
	answered(t, app, "Is it bad?", "no")
	x.call(t, "POST", "/datasets/{name}/capture", "/datasets/asked/capture", `{"route": "sentiment", "variant": "stable", "since": "1d", "sample": 10, "seed": 3, "actor": "ada"}`, 201)
	x.call(t, "POST", "/datasets/{name}/capture", "/datasets/asked/capture", `{"route": "nowhere"}`, 409)
	x.call(t, "GET", name, "/datasets/asked", "", 200)
	x.call(t, "GET", records, "/datasets/asked/records", "", 200)

	const compared = `"dataset": "reviews", "baseline": {"model": "pretend/small", "prompt": "review", "name": "now"}, "candidates": [{"model": "pretend/small", "prompt": "review/1", "parameters": {"temperature": 0}}], "scorer": {"scorer": "label", "labels": ["positive", "negative"]}, "ready": {"consistency": 0.9}, "budget": {"calls": 100, "usd": 1, "time": "1h"}, "parallelism": 2, "stream": false`
	x.call(t, "POST", "/comparisons", "/comparisons", "{"+compared+`, "dry_run": true}`, 200)
	x.call(t, "POST", "/comparisons", "/comparisons", `{"dataset": "reviews", "candidates": []}`, 400)
	run := x.over(t, x.call(t, "POST", "/comparisons", "/comparisons", "{"+compared+`, "actor": "ada", "reason": "a look"}`, 202))
	x.call(t, "GET", "/runs/{id}", run, "", 200)
	for _, form := range reportForms {
		x.call(t, "GET", reports, run+"/report."+form, "", 200)
	}
	x.call(t, "GET", reports, run+"/report.pdf", "", 404)
	x.call(t, "GET", "/runs/{id}/events", run+"/events", "", 200)
	x.call(t, "POST", "/runs/{id}/pause", run+"/pause", "", 409)

	const optimized = `"prompt": "review", "model": "pretend/small", "dataset": "reviews", "train": 2, "scorer": "exact", "optimizer": {"optimizer": "few_shot"}, "reflector": "pretend/small", "instructions_only": false, "parameters": {"temperature": 0}, "budget": {"calls": 40}, "parallelism": 2, "seed": 7, "register": "always"`
	x.call(t, "POST", "/optimizations", "/optimizations", "{"+optimized+`, "dry_run": true}`, 200)
	run = x.over(t, x.call(t, "POST", "/optimizations", "/optimizations", "{"+optimized+`}`, 202))
	x.call(t, "GET", "/runs/{id}", run, "", 200)
	x.call(t, "GET", reports, run+"/report.json", "", 200)
	x.call(t, "GET", "/runs", "/runs?kind=optimization&state=succeeded&limit=1", "", 200)
	x.call(t, "GET", "/runs", "/runs?limit=0", "", 400)

	held := x.call(t, "POST", "/comparisons", "/comparisons", `{"dataset": "slow", "candidates": [{"model": "pretend/small", "prompt": "review"}]}`, 202)
	run = fmt.Sprint("/runs/", held["id"])
	x.call(t, "DELETE", "/runs/{id}", run, "", 409)
	x.call(t, "POST", "/runs/{id}/pause", run+"/pause", `{"reason": "lunch", "actor": "ada"}`, 200)
	x.call(t, "POST", "/runs/{id}/resume", run+"/resume", "", 200)
	x.call(t, "GET", reports, run+"/report.json", "", 409)
	x.call(t, "POST", "/runs/{id}/cancel", run+"/cancel", `{"reason": "enough"}`, 200)
	close(model.letGo)
	x.call(t, "DELETE", "/runs/{id}", run, "", 204)
	x.call(t, "DELETE", name, "/datasets/slow", `{"reason": "over"}`, 204)
	x.call(t, "DELETE", name, "/datasets/slow", "", 404)
}
