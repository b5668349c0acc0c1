package demo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/demo"
)

func TestScenario(t *testing.T) {
	s, err := demo.Load()
	if err != nil {
		t.Fatal(err)
	}
	if s.Models.Stable.ID() != "gpt-4" || s.Models.Candidate.ID() != "gpt-4o-mini" || len(s.Records) != 10 || s.TrainRecords != 5 || len(s.Rollout) != 4 || s.Rollout[0] != (demo.Step{Percent: 5, Hold: "24h"}) {
		t.Errorf("got %+v", s)
	}
}

func TestAskAll(t *testing.T) {
	var atOnce, most atomic.Int64
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer atOnce.Add(-1)
		if n := atOnce.Add(1); n > most.Load() {
			most.Store(n)
		}
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), `"broken"`) {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		w.Header().Set("LLM-Variant", "stable")
		_, _ = fmt.Fprintf(w, `{"choices": [{"message": {"content": %q}}]}`, body)
	}))
	defer gateway.Close()
	app := demo.NewApplication(gateway.URL, nil)
	defer app.Close()
	calls := make([]demo.Call, 20)
	for i := range calls {
		calls[i] = demo.Call{Model: "m", Message: fmt.Sprint("number ", i)}
	}

	last := 0
	answers, err := app.AskAll(t.Context(), calls, 4, func(n int) { last = n })
	if err != nil || last != 20 || most.Load() > 4 {
		t.Errorf("%v, %d calls, %d at once", err, last, most.Load())
	}
	for i, a := range answers {
		if want := fmt.Sprintf(`{"messages":[{"role":"user","content":"number %d"}],"model":"m"}`, i); a.Text != want || a.Variant != "stable" {
			t.Errorf("got %+v, want %s", a, want)
		}
	}

	calls[3].Model = "broken"
	if _, err := app.AskAll(t.Context(), calls, 4, func(int) {}); err == nil || err.Error() != "the gateway answers a call of broken with HTTP status 502: no" {
		t.Errorf("got %v", err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := app.AskAll(ctx, calls, 4, func(int) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTraffic(t *testing.T) {
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if strings.Contains(string(body), `"broken"`) {
			http.Error(w, "no", http.StatusBadGateway)
			return
		}
		variant := "stable"
		if strings.Contains(string(body), `"user":"1"`) {
			variant = "candidate"
		}
		w.Header().Set("LLM-Variant", variant)
		_, _ = io.WriteString(w, `{"choices": [{"message": {"content": "yes"}}]}`)
	}))
	defer gateway.Close()
	app := demo.NewApplication(gateway.URL, nil)
	defer app.Close()
	asked := 0
	traffic := app.Begin(t.Context(), 400, 8, func() demo.Call {
		c := demo.Call{Model: "m", User: fmt.Sprint(asked % 4)}
		if asked == 5 {
			c.Model = "broken"
		}
		asked++
		return c
	})
	for traffic.Tally().Calls < 12 {
		time.Sleep(time.Millisecond)
	}
	got := traffic.Stop()
	if got.Calls != asked || got.Failed != 1 || got.First == nil || got.Served["stable"]+got.Served["candidate"] != asked-1 {
		t.Errorf("asked %d times: %+v", asked, got)
	}
	if got.Users["stable"] != 3 || got.Users["candidate"] != 1 {
		t.Errorf("got %+v", got.Users)
	}
	if again := traffic.Stop(); again.Calls != got.Calls {
		t.Errorf("%d calls, %d after it was stopped", got.Calls, again.Calls)
	}
}

func TestServersDiffer(t *testing.T) {
	s, err := demo.Load()
	if err != nil {
		t.Fatal(err)
	}
	v, err := demo.NewServer(s, t.TempDir(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if v.Gateway == v.Simulator || v.Simulator == v.Admin || v.Admin == v.Gateway {
		t.Errorf("got %+v", v)
	}
}
