package tracing

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/caddy-frontier/frontier/internal/call"
)

func finished(route, variant, provider, model string, status call.Status) *Record {
	return &Record{
		Call:   &call.Call{Route: route, Variant: variant, Provider: provider, Model: model, Usage: &call.Usage{Input: 100, Output: 10, CachedInput: 40}},
		Status: status, Duration: 300 * time.Millisecond,
	}
}

func TestMetricsOfCalls(t *testing.T) {
	m := newCallMetrics()
	for range 3 {
		m.observe(finished("senti", "stable", "openai", "gpt-4", call.StatusOK), 0.5)
	}
	cut := finished("senti", "stable", "openai", "gpt-4", call.StatusCut)
	cut.Call.ErrorClass, cut.Call.Usage, cut.FirstByte = "idle_timeout", nil, 200*time.Millisecond
	m.observe(cut, math.NaN())
	m.observeUsage(cut, &call.Usage{Input: 7}, math.NaN()) // what the answer told
	const labels = `model="gpt-4",provider="openai",route="senti"`
	if err := testutil.CollectAndCompare(m.requests, strings.NewReader(`
# HELP caddy_llm_requests_total LLM API calls that ended, by status: ok, error, cut (the answer broke off) or cancelled (the client went away).
# TYPE caddy_llm_requests_total counter
caddy_llm_requests_total{`+labels+`,status="cancelled",variant="stable"} 0
caddy_llm_requests_total{`+labels+`,status="cut",variant="stable"} 1
caddy_llm_requests_total{`+labels+`,status="error",variant="stable"} 0
caddy_llm_requests_total{`+labels+`,status="ok",variant="stable"} 3
`)); err != nil {
		t.Error(err)
	}
	if err := testutil.CollectAndCompare(m.errors, strings.NewReader(`
# HELP caddy_llm_request_errors_total LLM API calls that ended in an error or broke off, by the class of the error.
# TYPE caddy_llm_request_errors_total counter
caddy_llm_request_errors_total{class="idle_timeout",`+labels+`,variant="stable"} 1
`)); err != nil {
		t.Error(err)
	}
	for kind, want := range map[string]float64{"input": 307, "output": 30, "cached_input": 120, "cache_write_input": 0} {
		if got := testutil.ToFloat64(m.tokens.WithLabelValues("senti", "stable", "openai", "gpt-4", kind)); got != want {
			t.Errorf("%s tokens %v, want %v", kind, got, want)
		}
	}
	if got := testutil.ToFloat64(m.cost.WithLabelValues("senti", "stable", "openai", "gpt-4")); got != 1.5 {
		t.Errorf("cost %v, want 1.5", got)
	}
	if n := testutil.CollectAndCount(m.firstToken); n != 1 {
		t.Errorf("%d histograms of first tokens, want 1", n)
	}
}

// Whoever calls models that do not exist does not make series.
func TestMetricsAreBounded(t *testing.T) {
	m := newCallMetrics()
	for n := range 1000 {
		m.observe(finished("", "", "openai", fmt.Sprint("made-up-", n), call.StatusError), math.NaN())
	}
	m.observe(finished("", "", "openai", "gpt-4o", call.StatusOK), math.NaN())
	m.observe(finished("", "", "openai", "gpt-4o", call.StatusError), math.NaN())
	if n := testutil.CollectAndCount(m.requests); n != 2*len(statuses) {
		t.Errorf("%d series of requests, want those of gpt-4o and other", n)
	}
	if got := testutil.ToFloat64(m.requests.WithLabelValues("", "", "openai", "other", "error")); got != 1000 {
		t.Errorf("%v failed requests for other models, want 1000", got)
	}
	if got := testutil.ToFloat64(m.requests.WithLabelValues("", "", "openai", "gpt-4o", "error")); got != 1 {
		t.Errorf("%v failed requests for a model that is there, want 1", got)
	}
	for n := range 1000 {
		r := finished("", "", "openai", fmt.Sprint("any\xffname-", n), call.StatusOK) // a server that knows every name
		m.observe(r, math.NaN())
		r.Status, r.Call.ErrorClass = call.StatusError, fmt.Sprint("class-", n)
		m.observe(r, math.NaN())
	}
	if n := testutil.CollectAndCount(m.requests); n > (maxLearned+1)*len(statuses) {
		t.Errorf("%d series of requests, want at most those of %d models and other", n, maxLearned)
	}
}

func BenchmarkObserve(b *testing.B) {
	m := newCallMetrics()
	r := finished("senti", "stable", "openai", "gpt-4", call.StatusOK)
	b.ReportAllocs()
	for b.Loop() {
		m.observe(r, 0.5)
	}
}
