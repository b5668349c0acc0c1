package routing

import (
	"fmt"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/price"
)

// CheckModel says why provider/model-id cannot be asked, or nil. Whether the
// provider has such a model only the provider knows.
func (t *Table) CheckModel(model string) error {
	name, id, found := strings.Cut(model, "/")
	p := t.Providers[name]
	switch {
	case !found || name == "" || id == "":
		hint := "openai/gpt-4o-mini"
		if p, id, ok := t.direct(model); ok {
			hint = p + "/" + id
		}
		return fmt.Errorf("model %q: want provider/model-id, such as %s", model, hint)
	case p == nil:
		known := strings.Join(sortedKeys(t.Providers), ", ")
		if known == "" {
			known = "none"
		}
		return fmt.Errorf("model %q: there is no provider %q; this configuration has %s; declare it in the global option: { llm { provider %s } }", model, name, known, name)
	case !p.HasKey() && p.needsKey(name):
		return fmt.Errorf("model %q: provider %s has no key; set %s where Caddy runs, or api_key", model, name, presets[name].env)
	}
	return nil
}

// needsKey reports whether the provider is one of the built-in services that answer nobody without a key.
func (p *Provider) needsKey(name string) bool {
	known := presets[name]
	return known.env != "" && p.BaseURL == "" && !strings.HasPrefix(known.url, "http://")
}

// ModelCost is what a million tokens of input and of output cost at most, in US
// dollars: at the highest price of any size of call, any time from now on, any kind of
// token. ok is false when it is not known. A price that some providers ask for the call itself is not in it.
func (t *Table) ModelCost(model string) (input, output float64, ok bool) {
	provider, id, _ := strings.Cut(model, "/")
	now := time.Now()
	info, _ := t.Prices.Model(provider, id)
	prices, known := info.Prices(now)
	if !known {
		return 0, 0, false
	}
	all := []price.Prices{prices}
	for _, period := range info.Schedule(now) {
		all = append(all, period.Prices)
	}
	highest := func(at *float64, candidates ...*float64) {
		for _, c := range candidates {
			if c != nil {
				*at = max(*at, *c)
			}
		}
	}
	for _, p := range all {
		if p.Input == nil || p.Output == nil {
			return 0, 0, false
		}
		lines := []price.Lines{p.Lines}
		for _, tier := range p.Tiers {
			lines = append(lines, tier.Lines)
		}
		for _, l := range lines {
			highest(&input, l.Input, l.Cached, l.CacheWrite)
			highest(&output, l.Output, l.Reasoning)
		}
	}
	return input, output, true
}
