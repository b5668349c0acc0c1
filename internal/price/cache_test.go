package price

import (
	"strconv"
	"strings"
	"testing"
	"time"
)

// Clients choose the names, so a flood of them must not grow the table.
func TestCacheIsBounded(t *testing.T) {
	table := Embedded().With()
	for i := range 3 * cacheSize {
		table.lookup("nobody", strconv.Itoa(i))
	}
	table.lookup("nobody", strings.Repeat("x", cacheKeyLen))
	if got := len(table.cache.models); got > cacheSize {
		t.Errorf("%d names remembered, want %d at most", got, cacheSize)
	}
	for k := range table.cache.models {
		if len(k.provider)+len(k.model) > cacheKeyLen {
			t.Errorf("a name of %d bytes is remembered", len(k.model))
		}
	}
	if m := table.lookup("openai", "gpt-4o"); m == nil {
		t.Error("gpt-4o is unknown after the flood")
	}
}

func TestDashedDate(t *testing.T) {
	for name, want := range map[string]string{
		"gpt-5-20250807":       "gpt-5-2025-08-07",
		"gpt-5-20250807-pro":   "gpt-5-2025-08-07-pro",
		"gpt-5-20250807:free":  "gpt-5-2025-08-07:free",
		"gpt-5-20251307":       "gpt-5-20251307",
		"gpt-5-202508071":      "gpt-5-202508071",
		"gpt-5":                "gpt-5",
		"claude@20250807":      "claude@20250807",
		"gpt-5-20250230":       "gpt-5-20250230",
		"model-20251399-extra": "model-20251399-extra",
	} {
		if got := dashedDate(name); got != want {
			t.Errorf("dashedDate(%q) = %q, want %q", name, got, want)
		}
	}
}

func TestPeriodOverMidnight(t *testing.T) {
	p := period{start: 22 * 3600, end: 6 * 3600}
	for hour, want := range map[int]bool{21: false, 22: true, 23: true, 0: true, 5: true, 6: false, 12: false} {
		for _, year := range []int{1969, 2026} {
			if got := p.holds(time.Date(year, 5, 1, hour, 0, 0, 0, time.UTC)); got != want {
				t.Errorf("in %d at %d: %v, want %v", year, hour, got, want)
			}
		}
	}
}

// A tier starts above its threshold, and prices all tokens of the call.
func TestTiers(t *testing.T) {
	r := rate{known: true, base: 1, tiers: []tier{{above: 100, price: 2}, {above: 1000, price: 3}}}
	for input, want := range map[int64]float64{0: 1, 100: 1, 101: 2, 1000: 2, 1001: 3} {
		if got := r.at(input); got != want {
			t.Errorf("price with %d input tokens is %v, want %v", input, got, want)
		}
	}
}

// The parts that cost nothing of their own are charged as what they are a part of.
func TestCostWithoutPartPrices(t *testing.T) {
	r := rates{Input: rate{known: true, base: 1}, Output: rate{known: true, base: 2}}
	usd, ok := r.cost(Usage{Input: 100, Output: 10, CachedInput: 60, CacheWriteInput: 30, Reasoning: 8})
	if want := 120e-6; !ok || usd < want-1e-12 || usd > want+1e-12 {
		t.Errorf("got %v, %v, want %v", usd, ok, want)
	}
}

func BenchmarkResolve(b *testing.B) {
	table := Embedded()
	b.ReportAllocs()
	for b.Loop() {
		table.resolve("openrouter", "z-ai/glm-4.5")
	}
}

func BenchmarkReadCatalogue(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		readEmbedded()
	}
}
