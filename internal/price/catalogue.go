package price

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"
)

// catalogue is the decoded prices.json: the providers in genai-prices' order,
// and their models in the order they are tried.
type catalogue struct {
	providers []*provider
	byID      map[string]*provider
}

type provider struct {
	id       string
	match    *clause // which other names mean this provider; nil for none
	fallback []string
	models   []*model
	names    map[string]bool // lower-case ids and other names given in full
}

// model is a model of the catalogue, or an override.
type model struct {
	provider      string // our name
	id            string
	match         *clause // nil in an override
	contextWindow int64   // in tokens, 0 for unknown
	source        Source
	periods       []period
}

// vendors are where a model is looked for when no provider is named.
var vendors = []string{"openai", "anthropic", "google"}

// ourNames are the providers this project calls differently.
var ourNames = map[string]string{"google": "gemini"}

func (p *provider) name() string {
	if name, ok := ourNames[p.id]; ok {
		return name
	}
	return p.id
}

// at returns the prices in force at t: those of the last period that holds t,
// or of the first one if none does.
func (m *model) at(t time.Time) *rates {
	for i := len(m.periods) - 1; i > 0; i-- {
		if m.periods[i].holds(t) {
			return &m.periods[i].rates
		}
	}
	return &m.periods[0].rates
}

// provider finds a provider by its id or another of its names, nil if unknown.
func (c *catalogue) provider(name string) *provider {
	name = strings.ToLower(name)
	if p := c.byID[name]; p != nil {
		return p
	}
	for _, p := range c.providers {
		if p.match != nil && p.match.matches(name) {
			return p
		}
	}
	return nil
}

// find returns the provider's model that a name means, nil if unknown.
func (c *catalogue) find(p *provider, name string) *model {
	name = strings.ToLower(name)
	if m := c.match(p, name); m != nil {
		return m
	}
	if dashed := dashedDate(name); dashed != name {
		return c.match(p, dashed)
	}
	return nil
}

func (c *catalogue) match(p *provider, name string) *model {
	if m := p.model(name); m != nil {
		return m
	}
	for _, id := range p.fallback {
		if m := c.byID[id].model(name); m != nil {
			return m
		}
	}
	return nil
}

func (p *provider) model(name string) *model {
	for _, m := range p.models {
		if m.match.matches(name) {
			return m
		}
	}
	return nil
}

var compactDate = regexp.MustCompile(`-20\d{6}(?:[-:]|$)`)

// dashedDate writes the first date of a model's name, such as gpt-5-20250807,
// as gpt-5-2025-08-07. Some routers leave the dashes out.
func dashedDate(name string) string {
	at := compactDate.FindStringIndex(name)
	if at == nil {
		return name
	}
	start := at[0] + 1
	date, err := time.Parse("20060102", name[start:start+8])
	if err != nil {
		return name
	}
	return name[:start] + date.Format(time.DateOnly) + name[start+8:]
}

type catalogueJSON struct {
	Providers []struct {
		ID       string   `json:"id"`
		Match    *clause  `json:"match"`
		Fallback []string `json:"fallback"`
		Models   []struct {
			ID            string   `json:"id"`
			Match         *clause  `json:"match"`
			ContextWindow int64    `json:"context_window"`
			Prices        []period `json:"prices"`
		} `json:"models"`
	} `json:"providers"`
}

func readCatalogue(r io.Reader) (*catalogue, error) {
	var file catalogueJSON
	if err := json.NewDecoder(r).Decode(&file); err != nil {
		return nil, err
	}
	if len(file.Providers) == 0 {
		return nil, errors.New("no providers")
	}
	c := &catalogue{byID: make(map[string]*provider, len(file.Providers))}
	for _, fp := range file.Providers {
		p := &provider{id: fp.ID, match: fp.Match, fallback: fp.Fallback, names: make(map[string]bool)}
		for _, fm := range fp.Models {
			if fm.Match == nil || len(fm.Prices) == 0 {
				return nil, fmt.Errorf("model %s/%s has no match or no prices", fp.ID, fm.ID)
			}
			p.names[strings.ToLower(fm.ID)] = true
			fm.Match.names(p.names)
			p.models = append(p.models, &model{
				provider: p.name(), id: fm.ID, match: fm.Match, contextWindow: fm.ContextWindow, source: FromEmbedded, periods: fm.Prices,
			})
		}
		c.providers = append(c.providers, p)
		c.byID[p.id] = p
	}
	for _, p := range c.providers {
		if i := slices.IndexFunc(p.fallback, func(id string) bool { return c.byID[id] == nil }); i >= 0 {
			return nil, fmt.Errorf("provider %s falls back to %s, which does not exist", p.id, p.fallback[i])
		}
	}
	return c, nil
}
