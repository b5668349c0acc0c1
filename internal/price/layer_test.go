package price_test

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/price"
)

func writeFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "prices.json")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWith(t *testing.T) {
	file, err := price.ReadFile(writeFile(t, `{"models": {
		"local/llama": {"input": 1.0, "output": 2.0, "cached": 0.5},
		"openai/gpt-4o": {"input": 10, "output": 20},
		"openrouter/meta/llama": {"input": 0, "output": 0}
	}}`))
	if err != nil {
		t.Fatal(err)
	}
	caddyfile := price.Layer{{Provider: "openai", Model: "gpt-4o", Input: 100, Output: 200}}
	base := price.Embedded()
	u := price.Usage{Input: 1_000_000, Output: 1_000_000, CachedInput: 500_000}

	table := base.With(file)
	wantCost(t, table, "local", "llama", noon, u, 0.5+0.25+2)
	wantCost(t, table, "openai", "gpt-4o", noon, u, 30)
	wantCost(t, table, "openrouter", "meta/llama", noon, u, 0)
	wantCost(t, table, "openai", "gpt-4o-2024-08-06", noon, u, 1.25+0.625+10) // overrides are exact
	wantUnknown(t, table, "local", "llama-2", u)
	wantCost(t, table, "local", "llama", noon, price.Usage{}, 0)

	wantCost(t, base.With(file, caddyfile), "openai", "gpt-4o", noon, u, 300)
	wantCost(t, base.With(caddyfile, file), "openai", "gpt-4o", noon, u, 30)
	wantCost(t, table.With(caddyfile), "openai", "gpt-4o", noon, u, 300)
	wantCost(t, table.With(caddyfile), "local", "llama", noon, u, 2.75)
	wantCost(t, base.With(caddyfile), "", "gpt-4o", noon, u, 300)

	wantCost(t, base, "openai", "gpt-4o", noon, u, 1.25+0.625+10)
	wantUnknown(t, base, "local", "llama", u)

	if info, _ := table.Model("openai", "gpt-4o"); info.ContextWindow != 128000 {
		t.Errorf("context window is %d, want the catalogue's 128000", info.ContextWindow)
	}
}

func TestReadFileErrors(t *testing.T) {
	tests := map[string]struct{ content, want string }{
		"empty":           {``, `nothing there; want {"models": `},
		"not JSON":        {`input: 1`, `invalid character`},
		"no models":       {`{}`, `no models; want {"models": `},
		"models a list":   {`{"models": []}`, `no models; want {"models": `},
		"unknown field":   {`{"model": {}}`, `unknown field "model"; want {"models": `},
		"trailing text":   {`{"models": {}} {}`, `unexpected text after the closing brace`},
		"no provider":     {`{"models": {"gpt-4o": {"input": 1, "output": 1}}}`, `model "gpt-4o": name its provider too, as in "openai/gpt-4o"`},
		"empty provider":  {`{"models": {"/gpt-4o": {"input": 1, "output": 1}}}`, `model "/gpt-4o": name provider and model, as in "openai/gpt-4o"`},
		"empty model":     {`{"models": {"openai/": {"input": 1, "output": 1}}}`, `model "openai/": name provider and model`},
		"no output":       {`{"models": {"a/b": {"input": 1}}}`, `model "a/b": set both input and output`},
		"null":            {`{"models": {"a/b": {"input": 1, "output": null}}}`, `model "a/b": set both input and output`},
		"negative":        {`{"models": {"a/b": {"input": -1, "output": 1}}}`, `model "a/b": input price is -1, want US dollars per million tokens, 0 or more`},
		"negative cached": {`{"models": {"a/b": {"input": 1, "output": 1, "cached": -0.5}}}`, `model "a/b": cached price is -0.5`},
		"NaN":             {`{"models": {"a/b": {"input": NaN, "output": 1}}}`, `invalid character 'N'`},
		"out of range":    {`{"models": {"a/b": {"input": 1e999, "output": 1}}}`, `model "a/b": json: cannot unmarshal number 1e999`},
		"text":            {`{"models": {"a/b": {"input": "1", "output": 1}}}`, `model "a/b": json: cannot unmarshal string`},
		"unknown price":   {`{"models": {"a/b": {"input": 1, "output": 1, "cache": 1}}}`, `model "a/b": json: unknown field "cache"; want input, output and perhaps cached`},
		"twice":           {`{"models": {"a/b": {"input": 1, "output": 1}, "a/b": {"input": 2, "output": 1}}}`, `model "a/b" is there twice: remove one`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			path := writeFile(t, tt.content)
			layer, err := price.ReadFile(path)
			if err == nil {
				t.Fatalf("got %v, want an error", layer)
			}
			if got := err.Error(); !strings.HasPrefix(got, "prices file "+path+": ") || !strings.Contains(got, tt.want) {
				t.Errorf("got %q, want the path and %q", got, tt.want)
			}
		})
	}

	missing := filepath.Join(t.TempDir(), "missing.json")
	if _, err := price.ReadFile(missing); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), missing) {
		t.Errorf("got %v, want that %s does not exist", err, missing)
	}
}

func TestOverrideValidate(t *testing.T) {
	inf := math.Inf(1)
	for name, tt := range map[string]struct {
		o  price.Override
		ok bool
	}{
		"good":           {price.Override{Provider: "a", Model: "b", Input: 1, Output: 2}, true},
		"free":           {price.Override{Provider: "a", Model: "b"}, true},
		"NaN":            {price.Override{Provider: "a", Model: "b", Input: math.NaN()}, false},
		"negative":       {price.Override{Provider: "a", Model: "b", Output: -1}, false},
		"infinite":       {price.Override{Provider: "a", Model: "b", Cached: &inf}, false},
		"without names":  {price.Override{Input: 1}, false},
		"provider alone": {price.Override{Provider: "a"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if err := tt.o.Validate(); (err == nil) != tt.ok {
				t.Errorf("got %v", err)
			}
		})
	}
}
