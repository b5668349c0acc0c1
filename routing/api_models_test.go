package routing

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/internal/price"
	"github.com/caddy-frontier/frontier/prompts"
)

// modelsTable has two providers of whom one declares its models.
func modelsTable(t *testing.T, direct bool) *Table {
	t.Helper()
	cached := 0.5
	providers := map[string]*Provider{
		"deepseek": {BaseURL: "http://127.0.0.1:1/v1"},
		"local": {
			BaseURL: "http://127.0.0.1:1/v1", Models: []string{"llama", "gpt-4o", "taken"},
			Price: map[string]Price{"llama": {Input: 1, Output: 2, Cached: &cached}, "hidden": {Input: 0, Output: 0}},
		},
	}
	prices := price.Embedded().With(price.Layer{{Provider: "local", Model: "gpt-4o", Input: 3, Output: 4, Source: price.FromFile}}).With(providers["local"].Prices("local"))
	table, err := NewTable(providers, map[string]*Route{
		"r": {Match: &Match{Model: []string{"taken"}}, Variants: []*Variant{{Name: "stable", Model: "local/llama", Weight: new(100.0)}, {Name: "candidate", Model: "local/mystery", Weight: new(0.0)}}},
		"s": {Variants: []*Variant{{Name: "stable", Model: "local/llama", Weight: new(100.0)}, {Name: "other", Model: "deepseek/mystery", Weight: new(0.0)}}},
	}, direct, prices)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// modelsAPI asks for the list of models.
func modelsAPI(t *testing.T, table *Table, query string) (status int, list api.List[modelAnswer], body string) {
	t.Helper()
	w := httptest.NewRecorder()
	h := routesAPI{func() (*Table, error) { return table, nil }}
	if err := h.modelsRoute().Handle(w, httptest.NewRequest(http.MethodGet, "/llm/models?"+query, nil)); err != nil {
		api.WriteError(w, err)
	} else if err := json.Unmarshal(w.Body.Bytes(), &list); err != nil {
		t.Fatal(err)
	}
	return w.Code, list, w.Body.String()
}

func TestModels(t *testing.T) {
	table := modelsTable(t, true)
	_, list, _ := modelsAPI(t, table, "provider=local")
	type row struct {
		model, send, source string
		window              int64
		uses                int
	}
	want := []row{
		{"local/gpt-4o", "gpt-4o", "prices_file", 0, 0},
		{"local/hidden", "hidden", "configuration", 0, 0}, // a price makes a name known
		{"local/llama", "llama", "configuration", 0, 2},
		{"local/mystery", "local/mystery", "", 0, 1},
		{"local/taken", "local/taken", "", 0, 0}, // the bare name leads to a route
	}
	var got []row
	for _, m := range list.Items {
		r := row{model: m.Model, uses: len(m.UsedBy)}
		if m.Send != nil {
			r.send = *m.Send
		}
		if m.Price != nil {
			r.source = string(m.Price.Source)
		}
		if m.ContextWindow != nil {
			r.window = *m.ContextWindow
		}
		got = append(got, r)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if llama := list.Items[2]; *llama.Price.Input != 1 || *llama.Price.Cached != 0.5 || llama.Price.CacheWrite != nil || llama.UsedBy[0] != (modelUse{"r", "stable"}) {
		t.Errorf("%+v", llama)
	}

	_, list, _ = modelsAPI(t, table, "provider=deepseek&q=CHAT")
	if len(list.Items) != 1 || len(list.Items[0].Periods) != 2 || *list.Items[0].ContextWindow == 0 || list.Items[0].Price.Source != price.FromEmbedded {
		t.Errorf("%+v", list.Items)
	}
	for _, m := range list.Items {
		for _, p := range m.Periods {
			if p.InForce && *p.Input != *m.Price.Input {
				t.Errorf("the price in force is %v and %v", *p.Input, *m.Price.Input)
			}
		}
	}
}

func TestModelsUnknownIsNull(t *testing.T) {
	_, _, body := modelsAPI(t, modelsTable(t, true), "q=local/mystery")
	const want = `{"items":[{"model":"local/mystery","provider":"local","id":"mystery","send":"local/mystery","context_window":null,"price":null,"periods":[],"used_by":[{"route":"r","variant":"candidate"}]}],"next_cursor":null}` + "\n"
	if body != want {
		t.Errorf("got  %swant %s", body, want)
	}
}

func TestModelsWithoutDirectCalls(t *testing.T) {
	_, list, _ := modelsAPI(t, modelsTable(t, false), "used=true")
	if len(list.Items) != 3 {
		t.Fatalf("%+v", list.Items)
	}
	for _, m := range list.Items {
		if m.Send != nil {
			t.Errorf("%s: %q leads nowhere", m.Model, *m.Send)
		}
	}
}

func TestModelsPages(t *testing.T) {
	table := modelsTable(t, true)
	_, whole, _ := modelsAPI(t, table, "limit=1000")
	var got []string
	for query := "limit=2"; ; {
		_, page, _ := modelsAPI(t, table, query)
		for _, m := range page.Items {
			got = append(got, m.Model)
		}
		if page.NextCursor == nil {
			break
		}
		query = "limit=2&cursor=" + *page.NextCursor
	}
	if len(got) != len(whole.Items) || len(got) < 10 || !slices.IsSorted(got) || len(slices.Compact(slices.Clone(got))) != len(got) {
		t.Errorf("%d models by pages, %d at once: %q", len(got), len(whole.Items), got)
	}
	for query, want := range map[string]string{
		"limit=0": "from 1 to 1000", "used=perhaps": "true or false", "provider=nobody": `there is no provider \"nobody\"; there is: deepseek, local`,
	} {
		if status, _, body := modelsAPI(t, table, query); status != http.StatusBadRequest || !strings.Contains(body, want) {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
}

func TestUnknownPricesAreWarnedAboutOnce(t *testing.T) {
	store, err := control.Open(t.TempDir(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	registry, err := prompts.NewRegistry(store, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	state, err := NewState(store, t.TempDir(), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	table := modelsTable(t, true)
	view := prompts.NewView(registry, table.Scopes())
	defer view.Close()
	core, logs := observer.New(zap.WarnLevel)
	table.Attach(state, view, zap.New(core))
	defer table.Detach()
	if logs.Len() != 1 {
		t.Fatalf("%d warnings, want 1: %v", logs.Len(), logs.All())
	}
	got, _ := json.Marshal(logs.All()[0].ContextMap()["add"])
	if want := `["provider deepseek { price mystery \u003cinput\u003e \u003coutput\u003e }","provider local { price mystery \u003cinput\u003e \u003coutput\u003e }"]`; string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
