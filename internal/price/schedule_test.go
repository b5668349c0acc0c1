package price_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/price"
)

func TestTiers(t *testing.T) {
	info, ok := price.Embedded().Model("gemini", "gemini-2.5-pro")
	if !ok || info.Source != price.FromEmbedded {
		t.Fatalf("%+v, %v", info, ok)
	}
	p, _ := info.Prices(noon)
	got, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"input":1.25,"output":10,"cached":0.125,"cache_write":null,"reasoning":null,"thousand_calls":null,` +
		`"tiers":[{"above":200000,"input":2.5,"output":15,"cached":0.25,"cache_write":null,"reasoning":null}]}`
	if string(got) != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// TestTiersAreWhatCallsCost holds what is shown of every model to what a call costs.
func TestTiersAreWhatCallsCost(t *testing.T) {
	table, tiers := price.Embedded(), 0
	for _, provider := range []string{"openai", "anthropic", "gemini", "openrouter", "deepseek"} {
		for _, id := range table.Models(provider) {
			info, _ := table.Model(provider, id)
			p, known := info.Prices(noon)
			if !known || p.Output == nil {
				continue
			}
			for _, tier := range append([]price.Tier{{Above: -1, Lines: p.Lines}}, p.Tiers...) {
				tiers++
				u := price.Usage{Input: tier.Above + 1, Output: 1000}
				want := *tier.Input*float64(u.Input)/1e6 + *tier.Output*1000/1e6
				if p.ThousandCalls != nil {
					want += *p.ThousandCalls / 1000
				}
				if got, ok := table.Cost(provider, id, noon, u); !ok || got-want > 1e-9 || want-got > 1e-9 {
					t.Errorf("%s/%s above %d: shown as %v, a call costs %v", provider, id, tier.Above, want, got)
				}
			}
		}
	}
	if tiers < 200 {
		t.Errorf("%d tiers were compared", tiers)
	}
}

func TestSchedule(t *testing.T) {
	at := func(s string) time.Time {
		v, err := time.Parse(time.RFC3339, s)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	type period struct {
		From, Start, End string
		Input            float64
		InForce          bool
	}
	for name, tt := range map[string]struct {
		provider, model string
		at              time.Time
		want            []period
	}{
		"one price":              {"openai", "gpt-4o-mini", noon, nil},
		"peak":                   {"deepseek", "deepseek-chat", noon, []period{{Input: 0.135}, {Start: "00:30", End: "16:30", Input: 0.27, InForce: true}}},
		"off-peak":               {"deepseek", "deepseek-chat", at("2026-01-15T23:00:00Z"), []period{{Input: 0.135, InForce: true}, {Start: "00:30", End: "16:30", Input: 0.27}}},
		"a price that will rise": {"openai", "o3", at("2025-01-01T00:00:00Z"), []period{{Input: 10, InForce: true}, {From: "2025-06-10", Input: 2}}},
		"and that has":           {"openai", "o3", noon, nil},
		"several": {"deepseek", "deepseek-v4-flash", at("2026-09-01T00:00:00Z"), []period{
			{Input: 0.22, InForce: true},
			{From: "2026-09-10", Input: 0.15},
			{Start: "01:00", End: "04:00", Input: 0.3},
			{Start: "06:00", End: "10:00", Input: 0.3},
		}},
		"unknown model": {"local", "x", noon, nil},
	} {
		t.Run(name, func(t *testing.T) {
			info, _ := price.Embedded().Model(tt.provider, tt.model)
			got := info.Schedule(tt.at)
			if len(got) != len(tt.want) {
				t.Fatalf("got %+v, want %+v", got, tt.want)
			}
			for i, w := range tt.want {
				g := period{From: got[i].From, Input: *got[i].Input, InForce: got[i].InForce}
				if got[i].Daily != nil {
					g.Start, g.End = got[i].Daily.Start, got[i].Daily.End
				}
				if g != w {
					t.Errorf("period %d: got %+v, want %+v", i, g, w)
				}
			}
		})
	}
}

func TestSource(t *testing.T) {
	file, err := price.ReadFile(writeFile(t, `{"models": {"local/a": {"input": 1, "output": 2}, "openai/gpt-4o": {"input": 1, "output": 2}}}`))
	if err != nil {
		t.Fatal(err)
	}
	table := price.Embedded().With(file, price.Layer{{Provider: "local", Model: "a", Input: 3, Source: price.FromConfiguration}})
	for model, want := range map[[2]string]price.Source{
		{"openai", "gpt-4o"}: price.FromFile, {"openai", "gpt-4o-mini"}: price.FromEmbedded, {"local", "a"}: price.FromConfiguration,
	} {
		if info, _ := table.Model(model[0], model[1]); info.Source != want {
			t.Errorf("%v: source %q, want %q", model, info.Source, want)
		}
	}
}
