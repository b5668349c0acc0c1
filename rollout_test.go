package frontier

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(listener)) }

// listener is an event handler that remembers what it heard.
type listener struct{}

var heard struct {
	sync.Mutex
	events []caddy.Event
}

func (*listener) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.frontier_test", New: func() caddy.Module { return new(listener) }}
}

func (*listener) Handle(_ context.Context, e caddy.Event) error {
	heard.Lock()
	defer heard.Unlock()
	heard.events = append(heard.events, e)
	return nil
}

// Handlers of Caddy's events app hear of a rollout's events.
func TestRolloutEvents(t *testing.T) {
	config := fmt.Sprintf(`{"admin": {"disabled": true, "config": {"persist": false}}, "logging": {"logs": {"default": {"level": "ERROR"}}}, "apps": {
		"events": {"subscriptions": [{"events": ["llm_rollout_advanced", "llm_rollout_aborted"], "handlers": [{"handler": "frontier_test"}]}]},
		"llm": {"data_dir": %q, "route": {"r": {
			"variant": [{"name": "stable", "model": "openai/gpt-4o"}, {"name": "candidate", "model": "openai/gpt-4o-mini"}], "rollout": {"step": [{"percent": 5, "wait": true}]}}}}}}`, dataDir(t))
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	mux := newAdminMux(adminRoutes())
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/llm/routes/r/rollout/promote", nil))
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/llm/routes/r/rollout/abort", strings.NewReader(`{"reason": "second thoughts"}`)))
	if w.Code != http.StatusOK {
		t.Fatalf("abort: %d %s", w.Code, w.Body)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		heard.Lock()
		events := heard.events
		heard.Unlock()
		if n := len(events); n >= 2 && events[n-1].Name() == "llm_rollout_aborted" {
			last := events[n-1]
			if last.Data["route"] != "r" || last.Data["phase"] != "aborted" || last.Data["text"] != "aborted by an operator: second thoughts" {
				t.Errorf("got %v", last.Data)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("heard of %v", events)
		}
	}
}
