package integration_test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// scrape returns what /metrics of the admin endpoint publishes of the gateway.
func (g *gateway) scrape() string {
	g.Helper()
	resp, err := http.Get("http://" + address(g.admin) + "/metrics")
	if err != nil {
		g.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		g.Fatal(resp.StatusCode, err)
	}
	var own strings.Builder
	for line := range strings.Lines(string(raw)) {
		if strings.Contains(line, "caddy_llm_") {
			own.WriteString(line)
		}
	}
	return own.String()
}

// What the dashboard asks for is published, is right, and goes on over reloads.
func TestMetrics(t *testing.T) {
	long(t)
	g := newGateway(t)
	config := g.standard("traces {\n export otlp http://127.0.0.1:9\n }")
	g.start(config)
	for range 3 {
		g.mustChat(request{model: "split", text: "hello"})
		g.mustChat(request{model: "split", text: "hello", stream: true})
	}
	g.mustChat(request{model: "openai/gpt-4o", text: "hello"})
	for _, model := range []string{"openai/error-400", "openai/error-404", "openai/error-422"} {
		if a, err := g.chat(request{model: model, text: "hello"}); err == nil || a.status < 400 {
			t.Fatalf("%s: %d, %v", model, a.status, err)
		}
	}
	g.mustLoad(config + "\n# another\n")
	g.mustChat(request{model: "split", text: "hello"})
	g.settled()
	published := g.scrape()

	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	raw, err := os.ReadFile(examples + "grafana/dashboard.json")
	if err == nil {
		err = json.Unmarshal(raw, &dashboard)
	}
	if err != nil || len(dashboard.Panels) < 10 {
		t.Fatal(len(dashboard.Panels), err)
	}
	for _, p := range dashboard.Panels {
		for _, target := range p.Targets {
			for _, name := range regexp.MustCompile(`caddy_llm_\w+`).FindAllString(target.Expr, -1) {
				if !regexp.MustCompile(`(?m)^` + name + `[ {]`).MatchString(published) {
					t.Errorf("panel %q: %s is not published", p.Title, name)
				}
			}
		}
	}
	sum := func(pattern string) (total float64) {
		for _, m := range regexp.MustCompile(`(?m)^`+pattern+` (\S+)$`).FindAllStringSubmatch(published, -1) {
			var v float64
			if err := json.Unmarshal([]byte(m[1]), &v); err != nil {
				t.Fatal(m[0], err)
			}
			total += v
		}
		return total
	}
	for pattern, want := range map[string]float64{
		`caddy_llm_requests_total\{.*route="split",status="ok".*\}`:                           7,
		`caddy_llm_requests_total\{model="gpt-4o",provider="openai",route="",status="ok".*\}`: 1,
		`caddy_llm_requests_total\{model="other",.*status="error".*\}`:                        3,
		`caddy_llm_request_duration_seconds_count\{.*route="split".*\}`:                       7,
		`caddy_llm_time_to_first_token_seconds_count\{.*route="split".*\}`:                    3,
		`caddy_llm_requests_in_flight`:                                                        0,
		`caddy_llm_traces_written_total`:                                                      11,
		`caddy_llm_traces_queued`:                                                             0,
		`caddy_llm_traces_dropped_total\{reason="queue_full"\}`:                               0,
		`caddy_llm_circuits_open\{provider="openai"\}`:                                        0,
		`caddy_llm_traces_exported_total\{destination="otlp http://127.0.0.1:9/v1/traces"\}`:  0,
	} {
		if got := sum(pattern); got != want {
			t.Errorf("%s is %v, want %v", pattern, got, want)
		}
	}
	for _, pattern := range []string{`caddy_llm_tokens_total\{.*route="split",type="input".*\}`, `caddy_llm_tokens_total\{.*type="output".*\}`, `caddy_llm_cost_usd_total\{.*route="split".*\}`} {
		if sum(pattern) <= 0 {
			t.Errorf("%s is not above zero", pattern)
		}
	}
	g.eventually(10*time.Second, "a failed attempt to export", func() bool {
		published = g.scrape()
		return sum(`caddy_llm_export_failures_total\{.*\}`) > 0
	})
	if t.Failed() {
		t.Log(published)
	}
}

// The provider's call is in the client's distributed trace.
func TestTraceContext(t *testing.T) {
	g := newGateway(t)
	g.start(g.standard(""))
	body := strings.NewReader(`{"model":"split","messages":[{"role":"user","content":"hello"}]}`)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/v1/chat/completions", body)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	req.Header.Set("Tracestate", "vendor=value")
	resp, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	id := resp.Header.Get("X-Request-Id")
	seen := g.provider.Requests()
	if len(seen) != 1 || len(id) != 32 {
		t.Fatal(len(seen), id)
	}
	if got, want := http.Header(seen[0].Header).Get("Traceparent"), "00-0af7651916cd43dd8448eb211c80319c-"+id[16:]+"-01"; got != want || http.Header(seen[0].Header).Get("Tracestate") != "vendor=value" {
		t.Errorf("the provider got %s, want %s; %v", got, want, seen[0].Header)
	}
	var whole struct {
		Trace string `json:"w3c_trace_id"`
		Span  string `json:"w3c_span_id"`
	}
	g.eventually(5*time.Second, "the trace", func() bool {
		status, _ := g.api(http.MethodGet, "/traces/"+id, nil, &whole)
		return status == http.StatusOK
	})
	if whole.Trace != "0af7651916cd43dd8448eb211c80319c" || whole.Span != "b7ad6b7169203331" {
		t.Errorf("%+v", whole)
	}
}
