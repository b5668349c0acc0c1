package optimizer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/tracing"
)

// mounted answers as the admin endpoint does.
func mounted(f *traffic) http.Handler {
	mux := http.NewServeMux()
	for _, r := range DatasetRoutes(func() (*Datasets, *tracing.Store, *prompts.View, error) { return f.Datasets, f.traces, f.view, nil }) {
		mux.HandleFunc(r.Method+" /llm"+r.Path, func(w http.ResponseWriter, req *http.Request) {
			if err := r.Handle(w, req); err != nil {
				api.WriteError(w, err)
			}
		})
	}
	return mux
}

func TestDatasetAPI(t *testing.T) {
	f := newTraffic(t, tracing.Config{})
	h := mounted(f)
	do := func(method, path, body, match string, status int) (string, http.Header) {
		t.Helper()
		r := httptest.NewRequest(method, "/llm"+path, strings.NewReader(body))
		if match != "" {
			r.Header.Set("If-Match", match)
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != status {
			t.Fatalf("%s %s: status %d, want %d: %s", method, path, w.Code, status, w.Body)
		}
		return w.Body.String(), w.Header()
	}
	has := func(text string, wants ...string) {
		t.Helper()
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s is not in %s", want, text)
			}
		}
	}
	text, _ := do("GET", "/datasets", "", "", 200)
	has(text, `{"items":[],"next_cursor":null}`)
	text, header := do("POST", "/datasets", `{"name":"d","description":"about","actor":"ann"}`, "", 201)
	has(text, `"name":"d"`, `"latest":0`, `"versions":[]`, `"tags":{}`)
	first := header.Get("ETag")
	text, _ = do("GET", "/datasets/d/records", "", "", 200)
	has(text, `"items":[]`)
	do("POST", "/datasets", `{"name":"d"}`, "", 409)
	do("POST", "/datasets", `{"name":"e","records":[{"q":"x","expected":"y"}],"reason":"why"}`, "", 201)
	text, _ = do("GET", "/datasets?limit=1", "", "", 200)
	has(text, `"next_cursor":"d"`)
	text, _ = do("GET", "/datasets?limit=1&cursor=d", "", "", 200)
	has(text, `"name":"e"`, `"reason":"why"`, `"next_cursor":null`)

	part := `{"records":[{"id":"a","inputs":{"q":"1"},"expected":"x"},{"q":"2","expected":"y"},{"q":"3"}],"actor":"ann"}`
	text, header = do("POST", "/datasets/d/records", part, first, 201)
	has(text, `"added":3`, `"version":1`, `"records":3`, `"actor":"ann"`)
	do("POST", "/datasets/d/records", part, first, 412)
	text, again := do("POST", "/datasets/d/records", part, "", 200)
	has(text, `"duplicates":3`)
	if again.Get("ETag") != header.Get("ETag") {
		t.Error("another ETag of the same")
	}
	text, _ = do("POST", "/datasets/d/records", `{"records":[{"q":"4"},{"q":"5","weight":-1}]}`, "", 400)
	has(text, `"field":"records.1.weight"`)
	do("POST", "/datasets/d/records", `{"recrods":[]}`, "", 400)
	do("POST", "/datasets/nowhere/records", part, "", 404)

	text, _ = do("GET", "/datasets/d/records?limit=2", "", "", 200)
	has(text, `"next_cursor":"1.2"`)
	do("POST", "/datasets/d/records", `{"records":[{"q":"other"}],"replace":true}`, "", 201)
	text, _ = do("GET", "/datasets/d/records?limit=2&cursor=1.2", "", "", 200) // goes on with the version that it began with
	has(text, `"q":"3"`, `"next_cursor":null`)
	text, _ = do("GET", "/datasets/d/records", "", "", 200)
	has(text, `"q":"other"`)
	do("GET", "/datasets/d/records?version=9", "", "", 404)
	do("GET", "/datasets/d/records?cursor=x", "", "", 400)
	do("GET", "/datasets/d/records?limit=0", "", "", 400)
	text, header = do("GET", "/datasets/d/export.jsonl?version=1", "", "", 200)
	if n := strings.Count(text, "\n"); n != 3 || header.Get("LLM-Dataset-Hash") == "" {
		t.Errorf("%d lines, %v", n, header)
	}
	text, _ = do("GET", "/datasets/d/export.csv?version=1", "", "", 200)
	has(text, "id,q,expected\na,1,x\n")
	text, header = do("GET", "/datasets/d", "", "", 200)
	has(text, `"latest":2`)

	text, _ = do("POST", "/datasets/new/capture", `{"route":"r"}`, "", 409)
	has(text, "no trace of route")
	f.trace("chat/completions", chatRequest("user:x"), chatAnswer("y"), func(c *call.Call) { c.Variant = "v" })
	text, _ = do("POST", "/datasets/new/capture", `{"route":"r","variant":"v","since":"1h","sample":5,"actor":"ann"}`, "", 201)
	var captured Captured
	if err := json.Unmarshal([]byte(text), &captured); err != nil || captured.Used != 1 || captured.Version.Version != 1 || captured.Dataset != "new" {
		t.Errorf("got %s, %v", text, err)
	}
	for _, body := range []string{`{}`, `{"route":"r","since":"yesterday"}`, `{"route":"r","sample":-1}`} {
		do("POST", "/datasets/new/capture", body, "", 400)
	}
	do("DELETE", "/datasets/d", `{"reason":"done"}`, first, 412)
	do("DELETE", "/datasets/d", `{"reason":"done"}`, header.Get("ETag"), 204)
	do("GET", "/datasets/d", "", "", 404)
}

func TestDatasetRoutesAreDescribed(t *testing.T) {
	for _, r := range DatasetRoutes(nil) {
		if r.Summary == "" || r.Handle == nil || !strings.HasPrefix(r.Path, "/datasets") {
			t.Error(fmt.Sprint(r.Method, " ", r.Path))
		}
	}
}
