// Package price says what a call costs, from the tokens it used.
//
// The prices are the data of genai-prices (MIT, see LICENSE-genai-prices),
// embedded; a prices file and the Caddyfile override them model by model.
// Prices are US dollars per million tokens, costs are US dollars. A price that
// is not known is never taken for 0.
package price

import (
	"bytes"
	"compress/gzip"
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

//go:generate python3 gen/generate.py

//go:embed prices.json.gz
var embedded []byte

// Usage counts the tokens of one call.
type Usage struct {
	// Input are all tokens read, those below included.
	Input int64
	// Output are all tokens written, Reasoning included.
	Output int64
	// CachedInput is the part of Input the provider read from its cache.
	CachedInput int64
	// CacheWriteInput is the part of Input the provider wrote to its cache.
	CacheWriteInput int64
	// Reasoning is the part of Output that the model thought and did not say.
	Reasoning int64
}

// Table knows the prices of models. It is immutable and safe for concurrent
// use; Embedded and With make one.
//
// A provider is named as genai-prices does (`openai`, `anthropic`, `google`,
// `openrouter`, `azure`, …), as this project does (`gemini`), or by a name that
// genai-prices' rules recognise (`vertex`, `bedrock`, `openai-eu`). The empty
// provider stands for the first of openai, anthropic and gemini that knows the
// model. Overrides apply to exactly the names they were given.
type Table struct {
	catalogue *catalogue
	overrides map[key]*model
	cache     cache
}

// Info is what the table knows of a model.
type Info struct {
	// Provider is whose model it is; it differs from the provider asked for
	// when that was empty, another name for it, or one that resells the model.
	Provider string
	// ID is the catalogue's id, such as gpt-4o-mini for gpt-4o-mini-2024-07-18.
	ID string
	// ContextWindow is how many tokens the model can read; 0 is unknown.
	ContextWindow int64
	// Source is where its prices come from, if it has any.
	Source Source

	model *model
}

// Embedded returns the table of genai-prices. The first call decodes it, which
// takes tens of milliseconds, so make it while provisioning.
func Embedded() *Table { return embeddedTable() }

var embeddedTable = sync.OnceValue(readEmbedded)

func readEmbedded() *Table {
	zr, err := gzip.NewReader(bytes.NewReader(embedded))
	if err != nil {
		panic(fmt.Sprintf("price: embedded table: %v", err))
	}
	c, err := readCatalogue(zr)
	if err != nil {
		panic(fmt.Sprintf("price: embedded table: %v", err))
	}
	return &Table{catalogue: c}
}

// With returns a table with the overrides of the layers added to t's own. The
// last override of a model wins, and replaces all of the model's prices.
func (t *Table) With(layers ...Layer) *Table {
	nt := &Table{catalogue: t.catalogue, overrides: make(map[key]*model)}
	maps.Copy(nt.overrides, t.overrides)
	for _, layer := range layers {
		for _, o := range layer {
			nt.overrides[key{o.Provider, o.Model}] = nt.override(o)
		}
	}
	return nt
}

// Cost returns what a call at the given time costs, in US dollars. It returns
// false when that is not known: the model is not in the table, it has no price
// for a kind of token that was used, or the counts contradict each other.
// Cached tokens without a price of their own cost what other input does.
func (t *Table) Cost(provider, model string, at time.Time, u Usage) (usd float64, ok bool) {
	m := t.lookup(provider, model)
	if m == nil {
		return 0, false
	}
	return m.at(at).cost(u)
}

// Model returns what is known of a model; its prices may still be unknown.
func (t *Table) Model(provider, model string) (Info, bool) {
	m := t.lookup(provider, model)
	if m == nil {
		return Info{}, false
	}
	return Info{Provider: m.provider, ID: m.id, ContextWindow: m.contextWindow, Source: m.source, model: m}, true
}

// Prices returns the model's prices at the given time, false when it has none.
func (i Info) Prices(at time.Time) (Prices, bool) {
	if i.model == nil {
		return Prices{}, false
	}
	return i.model.at(at).prices()
}

// Models returns the ids of a provider's models, overrides included, sorted.
// It is empty for the empty provider.
func (t *Table) Models(provider string) []string {
	var ids []string
	if p := t.catalogue.provider(provider); p != nil {
		for _, m := range p.models {
			ids = append(ids, m.id)
		}
	}
	for k := range t.overrides {
		if k.provider == provider {
			ids = append(ids, k.model)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// Has reports whether the provider is known to have a model of exactly this
// name. Unlike Cost and Model it does not guess: the name is the id of a model,
// a name that genai-prices lists for one, or has an override.
func (t *Table) Has(provider, model string) bool {
	if _, ok := t.overrides[key{provider, model}]; ok {
		return true
	}
	p := t.catalogue.provider(provider)
	return p != nil && p.names[strings.ToLower(model)]
}

// ProvidersOf returns the providers that have a model of exactly this name, in
// the sense of Has, sorted. Google is called gemini.
func (t *Table) ProvidersOf(model string) []string {
	var names []string
	lower := strings.ToLower(model)
	for _, p := range t.catalogue.providers {
		if p.names[lower] {
			names = append(names, p.name())
		}
	}
	for k := range t.overrides {
		if k.model == model {
			names = append(names, k.provider)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
