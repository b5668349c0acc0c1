package price_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/price"
)

var noon = time.Date(2026, 1, 15, 12, 0, 0, 0, time.UTC)

func near(got, want float64) bool {
	return math.Abs(got-want) <= 1e-12*math.Max(1, math.Abs(want))
}

func wantCost(t *testing.T, table *price.Table, provider, model string, at time.Time, u price.Usage, want float64) {
	t.Helper()
	got, ok := table.Cost(provider, model, at, u)
	if !ok || !near(got, want) {
		t.Errorf("Cost(%q, %q, %v, %+v) = %v, %v, want %v", provider, model, at, u, got, ok, want)
	}
}

func wantUnknown(t *testing.T, table *price.Table, provider, model string, u price.Usage) {
	t.Helper()
	if got, ok := table.Cost(provider, model, noon, u); ok || got != 0 {
		t.Errorf("Cost(%q, %q, %+v) = %v, %v, want unknown", provider, model, u, got, ok)
	}
}

// The cases hold what the Python package answers; gen/generate.py writes them.
func TestCostAgreesWithGenAIPrices(t *testing.T) {
	data, err := os.ReadFile("testdata/cases.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cases []struct {
			Provider        string    `json:"provider"`
			Model           string    `json:"model"`
			At              time.Time `json:"at"`
			Input           int64     `json:"input"`
			Output          int64     `json:"output"`
			CachedInput     int64     `json:"cached_input"`
			CacheWriteInput int64     `json:"cache_write_input"`
			Reasoning       int64     `json:"reasoning"`
			Matched         string    `json:"matched"`
			USD             float64   `json:"usd"`
		} `json:"cases"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Cases) < 30 {
		t.Fatalf("%d cases, want 30 or more", len(file.Cases))
	}
	table := price.Embedded()
	for i, c := range file.Cases {
		t.Run(fmt.Sprintf("%d %s %s", i, c.Provider, c.Model), func(t *testing.T) {
			u := price.Usage{
				Input: c.Input, Output: c.Output, CachedInput: c.CachedInput,
				CacheWriteInput: c.CacheWriteInput, Reasoning: c.Reasoning,
			}
			wantCost(t, table, c.Provider, c.Model, c.At, u, c.USD)
			info, ok := table.Model(c.Provider, c.Model)
			if !ok || info.ID != c.Matched {
				t.Errorf("model is %q, %v, want %q", info.ID, ok, c.Matched)
			}
		})
	}
}

func TestCostUnknown(t *testing.T) {
	u := price.Usage{Input: 10, Output: 10}
	tests := map[string]struct {
		provider, model string
		usage           price.Usage
	}{
		"provider":                 {"local", "gpt-4o", u},
		"built-in local provider":  {"ollama", "gpt-4o", u},
		"another one":              {"vllm", "gpt-4o", u},
		"model":                    {"openai", "no-such-model", u},
		"model of no vendor":       {"", "no-such-model", u},
		"no names":                 {"", "", u},
		"model without prices":     {"openai", "omni-moderation-latest", u},
		"output without price":     {"openai", "text-embedding-3-small", u},
		"negative count":           {"openai", "gpt-4o", price.Usage{Input: -1}},
		"more cached than input":   {"openai", "gpt-4o", price.Usage{Input: 1, CachedInput: 2}},
		"parts exceed input":       {"anthropic", "claude-3-haiku", price.Usage{Input: 3, CachedInput: 2, CacheWriteInput: 2}},
		"more reasoning than said": {"perplexity", "sonar-deep-research", price.Usage{Input: 1, Output: 1, Reasoning: 2}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			wantUnknown(t, price.Embedded(), tt.provider, tt.model, tt.usage)
		})
	}
}

func TestCostWithoutProvider(t *testing.T) {
	table := price.Embedded()
	u := price.Usage{Input: 1_000_000}
	wantCost(t, table, "", "gpt-4o-mini", noon, u, 0.15)
	wantCost(t, table, "", "claude-3-haiku-20240307", noon, u, 0.25)
	wantCost(t, table, "", "gemini-2.0-flash", noon, u, 0.1)

	for model, want := range map[string]string{
		"gpt-4o-mini": "openai", "claude-opus-4-6": "anthropic", "gemini-2.5-pro": "gemini",
	} {
		info, ok := table.Model("", model)
		if !ok || info.Provider != want {
			t.Errorf("provider of %s is %q, %v, want %q", model, info.Provider, ok, want)
		}
	}
	with := table.With(price.Layer{{Provider: "gemini", Model: "gemini-2.0-flash", Input: 7}})
	wantCost(t, with, "", "gemini-2.0-flash", noon, u, 7)
}

func TestModel(t *testing.T) {
	table := price.Embedded()
	info, ok := table.Model("openai", "gpt-4o-mini-2024-07-18")
	if !ok || info.ID != "gpt-4o-mini" || info.Provider != "openai" || info.ContextWindow != 128000 {
		t.Fatalf("got %+v, %v", info, ok)
	}
	p, ok := info.Prices(noon)
	if !ok || *p.Input != 0.15 || *p.Output != 0.6 || *p.Cached != 0.075 || p.CacheWrite != nil || len(p.Tiers) > 0 {
		t.Errorf("got prices %+v, %v", p, ok)
	}

	*p.Input = 99
	wantCost(t, table, "openai", "gpt-4o-mini", noon, price.Usage{Input: 1_000_000}, 0.15)

	info, _ = table.Model("azure", "gpt-4o-2024-08-06")
	if info.Provider != "openai" {
		t.Errorf("azure's gpt-4o is from %q, want openai", info.Provider)
	}
	info, _ = table.Model("gemini", "gemini-2.5-pro")
	p, ok = info.Prices(noon)
	if !ok || len(p.Tiers) != 1 || *p.Input != 1.25 {
		t.Errorf("got prices %+v, %v, want tiered from 1.25", p, ok)
	}
	info, ok = table.Model("openai", "omni-moderation-latest")
	if !ok {
		t.Error("a model without prices is not known")
	}
	if p, ok := info.Prices(noon); ok {
		t.Errorf("got prices %+v, want none", p)
	}
	if _, ok := table.Model("local", "x"); ok {
		t.Error("local/x is known")
	}
	if _, ok := (price.Info{}).Prices(noon); ok {
		t.Error("the zero Info has prices")
	}
}

func TestCatalogueNames(t *testing.T) {
	table := price.Embedded().With(price.Layer{{Provider: "local", Model: "my-model", Input: 1, Output: 1}})

	models := table.Models("gemini")
	if !slices.Contains(models, "gemini-2.5-pro") || !slices.IsSorted(models) {
		t.Errorf("Models(gemini) = %q", models)
	}
	if got := table.Models("local"); !slices.Equal(got, []string{"my-model"}) {
		t.Errorf("Models(local) = %q", got)
	}
	if got := table.Models("nobody"); len(got) != 0 {
		t.Errorf("Models(nobody) = %q", got)
	}
	if got := table.Models(""); len(got) != 0 {
		t.Errorf("Models of no provider = %q", got)
	}

	if got := table.ProvidersOf("gemini-2.5-pro"); !slices.Contains(got, "gemini") || slices.Contains(got, "google") {
		t.Errorf("ProvidersOf(gemini-2.5-pro) = %q", got)
	}
	if got := table.ProvidersOf("my-model"); !slices.Equal(got, []string{"local"}) {
		t.Errorf("ProvidersOf(my-model) = %q", got)
	}
	if got := table.ProvidersOf("gpt-4o-and-nobody-else"); len(got) != 0 {
		t.Errorf("ProvidersOf(a name nobody has) = %q", got)
	}

	for _, tt := range []struct {
		provider, model string
		want            bool
	}{
		{"openai", "gpt-4o", true},
		{"openai", "gpt-4o-mini-2024-07-18", true},
		{"gemini", "gemini-2.5-pro", true},
		{"google", "gemini-2.5-pro", true},
		{"anthropic", "claude-3-haiku-anything", false},
		{"local", "my-model", true},
		{"local", "gpt-4o", false},
		{"", "gpt-4o", false},
	} {
		if got := table.Has(tt.provider, tt.model); got != tt.want {
			t.Errorf("Has(%q, %q) = %v, want %v", tt.provider, tt.model, got, tt.want)
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	table := price.Embedded().With()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				table.Cost("openai", fmt.Sprintf("gpt-4o-%d", (g+i)%50), noon, price.Usage{Input: 1})
				table.Model("", "gemini-2.5-pro")
			}
		})
	}
	wg.Wait()
}

func BenchmarkCost(b *testing.B) {
	u := price.Usage{Input: 5000, Output: 800, CachedInput: 3000, CacheWriteInput: 1000}
	for _, bb := range []struct{ name, provider, model string }{
		{"plain", "anthropic", "claude-3-5-haiku-20241022"},
		{"scheduled", "deepseek", "deepseek-v4-flash"},
		{"no provider", "", "gemini-2.5-pro"},
		{"unknown", "local", "llama"},
	} {
		b.Run(bb.name, func(b *testing.B) {
			table := price.Embedded()
			b.ReportAllocs()
			for b.Loop() {
				table.Cost(bb.provider, bb.model, noon, u)
			}
		})
	}
}

func BenchmarkCostParallel(b *testing.B) {
	table := price.Embedded()
	u := price.Usage{Input: 5000, Output: 800, CachedInput: 3000}
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			table.Cost("openai", "gpt-4o-mini", noon, u)
		}
	})
}
