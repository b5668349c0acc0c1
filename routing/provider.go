package routing

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-frontier/frontier/internal/price"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// Provider is an upstream LLM service: where it is, how to authenticate and
// what it may take. A built-in name (`openai`, `anthropic`, `gemini`, `azure`, `openrouter`, `ollama`,
// `vllm`) presets dialect, URL and the environment variable of the key.
type Provider struct {
	// The wire format it speaks: `openai`, `anthropic` or `gemini`. Calls in another one are translated.
	// Default: that of the built-in name, else `openai`.
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

	client       *upstream.Client
	dialect      string
	usageRefused atomic.Bool // it refuses to report the usage of streams
}

// Price is in US dollars per million tokens.
type Price struct {
	Input  float64 `json:"input"`
	Output float64 `json:"output"`
	// Of cached input tokens. Default: that of input.
	Cached *float64 `json:"cached,omitempty"`
}

type preset struct {
	url       string // placeholders are resolved
	env       string // that has the key
	dialect   string // "": openai
	keyHeader string // "": that of the dialect
}

var presets = map[string]preset{
	"openai":     {url: "https://api.openai.com/v1", env: "OPENAI_API_KEY"},
	"anthropic":  {url: "https://api.anthropic.com/v1", env: "ANTHROPIC_API_KEY", dialect: dialect.Anthropic},
	"gemini":     {url: "https://generativelanguage.googleapis.com/v1beta", env: "GEMINI_API_KEY", dialect: dialect.Gemini},
	"azure":      {url: "{env.AZURE_OPENAI_ENDPOINT}/openai/v1", env: "AZURE_OPENAI_API_KEY", keyHeader: "Api-Key"},
	"openrouter": {url: "https://openrouter.ai/api/v1", env: "OPENROUTER_API_KEY"},
	"ollama":     {url: "http://127.0.0.1:11434/v1"},
	"vllm":       {url: "http://127.0.0.1:8000/v1", env: "VLLM_API_KEY"},
}

// keyHeaders are the fields in which the dialects have the key; OpenAI's is Authorization.
var keyHeaders = map[string]string{dialect.Anthropic: "X-Api-Key", dialect.Gemini: "X-Goog-Api-Key"}

// IsPreset reports whether a provider of this name needs no declaration.
func IsPreset(name string) bool {
	_, ok := presets[name]
	return ok
}

// Validate checks the provider without looking at the environment. Errors are
// of type *ConfigError.
func (p *Provider) Validate(name string) error {
	if err := p.validate(name); err != nil {
		return within("provider", name, err)
	}
	return nil
}

func (p *Provider) validate(name string) error {
	if name == "" || strings.ContainsAny(name, "/@ ") {
		return errors.New("want a name without slash, @ and space")
	}
	if p == nil {
		p = new(Provider)
	}
	switch p.Dialect {
	case "", dialect.OpenAI, dialect.Anthropic, dialect.Gemini:
	default:
		return wrong("dialect", "dialect %q: want openai, anthropic or gemini", p.Dialect)
	}
	if p.BaseURL == "" && presets[name].url == "" {
		return fmt.Errorf("no base_url; add one such as: base_url http://127.0.0.1:8000/v1 (%s need none)", strings.Join(sortedKeys(presets), ", "))
	}
	if err := checkURL(p.BaseURL); err != nil {
		return err
	}
	if slices.ContainsFunc(p.APIKey, func(k string) bool { return strings.TrimSpace(k) == "" }) {
		return wrong("api_key", "api_key: a key is empty; want one such as {env.NAME} or {file.path}")
	}
	if slices.Contains(p.Models, "") {
		return wrong("models", "models: a name is empty; remove it")
	}
	for _, k := range sortedKeys(p.Header) {
		if !httpguts.ValidHeaderFieldName(k) {
			return wrong("header "+k, "header %q: not a header field; want one such as X-Team", k)
		}
		if strings.TrimSpace(p.Header[k]) == "" {
			return wrong("header "+k, "header %s: the value is empty; give it one or remove it", k)
		}
		if strings.ContainsAny(p.Header[k], "\r\n") {
			return wrong("header "+k, "header %s: line breaks are not allowed", k)
		}
	}
	if err := p.Timeouts.validate(); err != nil {
		return err
	}
	if p.MaxResponse < 0 {
		return wrong("max_response", "max_response %d: want a size above zero", p.MaxResponse)
	}
	if p.MaxConnsPerHost < 0 {
		return wrong("max_conns_per_host", "max_conns_per_host %d: want a whole number above zero", p.MaxConnsPerHost)
	}
	for _, id := range sortedKeys(p.Price) {
		if err := p.Price[id].override(name, id).Validate(); err != nil {
			return wrong("price "+id, "price: %w", err)
		}
	}
	return nil
}

// checkURL checks a base URL as far as it can be known before placeholders are resolved.
func checkURL(s string) error {
	if s == "" || strings.Contains(s, "{") {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil { // its text would show credentials in the URL
		return wrong("base_url", "base_url: not a URL; want one such as https://llm.example.com/v1")
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return wrong("base_url", "base_url %q: want a URL such as https://llm.example.com/v1", u.Redacted())
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return wrong("base_url", "base_url: want no user, query or fragment; keys belong to api_key and header")
	}
	return nil
}

// Provision completes the provider from its preset, resolves its secrets and
// makes its client. It connects to nothing.
func (p *Provider) Provision(name string) error {
	if err := p.Validate(name); err != nil {
		return err
	}
	if err := p.provision(name); err != nil {
		return within("provider", name, err)
	}
	return nil
}

func (p *Provider) provision(name string) error {
	known := presets[name]
	base, err := resolve(cmp.Or(p.BaseURL, known.url))
	if err != nil {
		return wrong("base_url", "base_url: %w", err)
	}
	var keys []string
	for _, k := range p.APIKey {
		key, err := resolve(k)
		if err != nil {
			return wrong("api_key", "api_key: %w", err)
		}
		keys = append(keys, key)
	}
	if len(p.APIKey) == 0 && known.env != "" {
		if key := strings.TrimSpace(os.Getenv(known.env)); key != "" {
			keys = append(keys, key)
		}
	}
	for _, key := range keys {
		if !httpguts.ValidHeaderFieldValue(key) {
			return wrong("api_key", "api_key: a key has a line break or another control character in it")
		}
	}
	p.dialect = cmp.Or(p.Dialect, known.dialect, dialect.OpenAI)
	header := http.Header{}
	for k, v := range p.Header {
		value, err := resolve(v)
		if err != nil {
			return wrong("header "+k, "header %s: %w", k, err)
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return wrong("header "+k, "header %s: line breaks are not allowed", k)
		}
		header.Set(k, value)
	}
	p.client, err = upstream.New(upstream.Options{
		Name: name, BaseURL: base, Keys: keys, KeyHeader: cmp.Or(known.keyHeader, keyHeaders[p.dialect]), Header: header, Limits: p.limits(),
		MaxResponse: p.MaxResponse, MaxConns: p.MaxConnsPerHost, StreamUsage: p.StreamUsage == nil || *p.StreamUsage,
	})
	return err
}

// resolve replaces the placeholders of a value. What comes out may be secret
// and is in no error.
func resolve(s string) (string, error) {
	v, err := caddy.NewReplacer().ReplaceOrErr(s, true, true)
	if err != nil {
		return "", fmt.Errorf("%w; want {env.NAME} or {file.path}, of what is set where Caddy runs", err)
	}
	if v = strings.TrimSpace(v); v == "" {
		return "", fmt.Errorf("%s is empty; set it where Caddy runs", s)
	}
	return v, nil
}

func (p Price) override(provider, model string) price.Override {
	return price.Override{Provider: provider, Model: model, Input: p.Input, Output: p.Output, Cached: p.Cached, Source: price.FromConfiguration}
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
	h := p.client.Header
	return len(p.client.Keys) > 0 || h.Get("Authorization") != "" || h.Get("Api-Key") != "" || h.Get("X-Api-Key") != "" || h.Get("X-Goog-Api-Key") != ""
}

// Close closes the provider's idle connections.
func (p *Provider) Close() {
	if p != nil && p.client != nil {
		p.client.Close()
	}
}

// OpenCircuits is how many models (with their keys) are left alone for the moment.
func (p *Provider) OpenCircuits() int { return p.client.OpenCircuits() }

// URL is where the provider is.
func (p *Provider) URL() string { return p.client.URL().String() }
