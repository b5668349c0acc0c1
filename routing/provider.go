package routing

import (
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/price"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// Provider is an upstream LLM service: where it is, how to authenticate and
// what it may take. A built-in name (`openai`, `openrouter`, `ollama`,
// `vllm`) presets dialect, URL and the environment variable of the key.
type Provider struct {
	// The wire format it speaks: `openai`.
	Dialect string `json:"dialect,omitempty"`
	// Where it is, with `/v1`.
	BaseURL string `json:"base_url,omitempty"`
	// Its API keys. Use placeholders such as `{env.OPENAI_API_KEY}` or `{file./run/secrets/key}`: they are resolved when the
	// configuration is loaded and never appear in it. Default: that of the built-in name's environment variable, if it is set.
	APIKey []string `json:"api_key,omitempty"`
	// Header fields sent with every request. Placeholders are resolved as in `api_key`.
	Header map[string]string `json:"header,omitempty"`
	// Bare model names that this provider answers to.
	Models []string `json:"models,omitempty"`
	// Prices by model id, in US dollars per million tokens. They win over the embedded table.
	Price map[string]Price `json:"price,omitempty"`
	// Whether streams are asked for their usage. Default: true.
	StreamUsage *bool `json:"stream_usage,omitempty"`
	// The largest answer, in bytes. Default: 64 MiB.
	MaxResponse int64 `json:"max_response,omitempty"`
	// How many connections may be in use at once. Default: 0, no limit.
	MaxConnsPerHost int `json:"max_conns_per_host,omitempty"`
	Timeouts

	client *upstream.Client
}

// Price is in US dollars per million tokens.
type Price struct {
	Input  float64 `json:"input"`
	Output float64 `json:"output"`
	// Of cached input tokens. Default: that of input.
	Cached *float64 `json:"cached,omitempty"`
}

type preset struct {
	url, env string
}

var presets = map[string]preset{
	"openai":     {"https://api.openai.com/v1", "OPENAI_API_KEY"},
	"openrouter": {"https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"},
	"ollama":     {"http://127.0.0.1:11434/v1", ""},
	"vllm":       {"http://127.0.0.1:8000/v1", "VLLM_API_KEY"},
}

// laterDialects are known names that this version cannot speak yet.
var laterDialects = []string{"anthropic", "gemini"}

// IsPreset reports whether a provider of this name needs no declaration.
func IsPreset(name string) bool {
	_, ok := presets[name]
	return ok
}

// Provision completes the provider from its preset, resolves its secrets and
// makes its client. It connects to nothing.
func (p *Provider) Provision(name string) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("provider %q: %w", name, fmt.Errorf(format, args...))
	}
	if name == "" || strings.ContainsAny(name, "/@ ") {
		return fail("want a name without slash, @ and space")
	}
	dialect := p.Dialect
	if dialect == "" && slices.Contains(laterDialects, name) && p.BaseURL == "" {
		dialect = name
	}
	switch {
	case dialect == "" || dialect == "openai":
	case slices.Contains(laterDialects, dialect):
		return fail("dialect %q is not available yet; %s also answers in OpenAI's: set dialect openai and a base_url", dialect, name)
	default:
		return fail("unknown dialect %q: want openai", dialect)
	}
	url, known := p.BaseURL, presets[name]
	if url == "" {
		url = known.url
	}
	if url == "" {
		return fail("no base_url; add one such as: base_url http://127.0.0.1:8000/v1 (built-in names: openai, openrouter, ollama, vllm)")
	}
	repl := caddy.NewReplacer()
	var keys []string
	for _, k := range p.APIKey {
		key, err := repl.ReplaceOrErr(k, true, true)
		if err != nil {
			return fail("api_key: %w", err)
		}
		if key = strings.TrimSpace(key); key == "" {
			return fail("api_key %s is empty", k)
		}
		keys = append(keys, key)
	}
	if len(p.APIKey) == 0 && known.env != "" {
		if key := strings.TrimSpace(os.Getenv(known.env)); key != "" {
			keys = append(keys, key)
		}
	}
	header := http.Header{}
	for k, v := range p.Header {
		value, err := repl.ReplaceOrErr(v, true, true)
		if err != nil {
			return fail("header %s: %w", k, err)
		}
		if strings.ContainsAny(k+value, "\r\n") {
			return fail("header %s: line breaks are not allowed", k)
		}
		header.Set(k, value)
	}
	if err := p.Timeouts.validate(); err != nil {
		return fail("%w", err)
	}
	if p.MaxResponse < 0 || p.MaxConnsPerHost < 0 {
		return fail("max_response and max_conns_per_host cannot be negative")
	}
	url, err := repl.ReplaceOrErr(url, true, true)
	if err != nil {
		return fail("base_url: %w", err)
	}
	p.client, err = upstream.New(upstream.Options{
		Name: name, Dialect: "openai", BaseURL: url, Keys: keys, Header: header, Limits: p.limits(),
		MaxResponse: p.MaxResponse, MaxConns: p.MaxConnsPerHost, StreamUsage: p.StreamUsage == nil || *p.StreamUsage,
	})
	if err != nil {
		return fail("%w", err)
	}
	for model, pr := range p.Price {
		if err := pr.override(name, model).Validate(); err != nil {
			return fail("price: %w", err)
		}
	}
	return nil
}

func (p Price) override(provider, model string) price.Override {
	return price.Override{Provider: provider, Model: model, Input: p.Input, Output: p.Output, Cached: p.Cached}
}

// Prices are the declared prices as a layer over the embedded table.
func (p *Provider) Prices(name string) price.Layer {
	var l price.Layer
	for model, pr := range p.Price {
		l = append(l, pr.override(name, model))
	}
	return l
}

// HasKey reports whether the provider is called with a key of its own.
func (p *Provider) HasKey() bool {
	return len(p.client.Keys) > 0 || p.client.Header.Get("Authorization") != "" || p.client.Header.Get("Api-Key") != ""
}

// Close closes the provider's idle connections.
func (p *Provider) Close() {
	if p.client != nil {
		p.client.Close()
	}
}

// URL is where the provider is.
func (p *Provider) URL() string { return p.client.URL().String() }
