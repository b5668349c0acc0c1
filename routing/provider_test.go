package routing

import (
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/routing/dialect"
)

// A provider that is known by name needs nothing but its key.
func TestPresets(t *testing.T) {
	for _, env := range []string{"OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "AZURE_OPENAI_API_KEY", "OPENROUTER_API_KEY", "VLLM_API_KEY"} {
		t.Setenv(env, "key-of-"+env)
	}
	t.Setenv("AZURE_OPENAI_ENDPOINT", "https://team.openai.azure.com")
	for name, want := range map[string]struct{ url, dialect, header, key string }{
		"openai":     {"https://api.openai.com/v1", dialect.OpenAI, "", "key-of-OPENAI_API_KEY"},
		"anthropic":  {"https://api.anthropic.com/v1", dialect.Anthropic, "X-Api-Key", "key-of-ANTHROPIC_API_KEY"},
		"gemini":     {"https://generativelanguage.googleapis.com/v1beta", dialect.Gemini, "X-Goog-Api-Key", "key-of-GEMINI_API_KEY"},
		"azure":      {"https://team.openai.azure.com/openai/v1", dialect.OpenAI, "Api-Key", "key-of-AZURE_OPENAI_API_KEY"},
		"openrouter": {"https://openrouter.ai/api/v1", dialect.OpenAI, "", "key-of-OPENROUTER_API_KEY"},
		"ollama":     {"http://127.0.0.1:11434/v1", dialect.OpenAI, "", ""},
		"vllm":       {"http://127.0.0.1:8000/v1", dialect.OpenAI, "", "key-of-VLLM_API_KEY"},
	} {
		p := new(Provider)
		if err := p.Provision(name); err != nil {
			t.Fatal(err)
		}
		key := ""
		if len(p.client.Keys) > 0 {
			key = p.client.Keys[0]
		}
		if p.URL() != want.url || p.dialect != want.dialect || p.client.KeyHeader != want.header || key != want.key || p.HasKey() != (want.key != "") {
			t.Errorf("%s: %s, %s, %q, %q", name, p.URL(), p.dialect, p.client.KeyHeader, key)
		}
		p.Close()
	}
	if len(presets) != 7 {
		t.Errorf("%d presets", len(presets))
	}
}

// What a provider is called does not decide how it speaks when its dialect is given.
func TestDialectOfAProvider(t *testing.T) {
	for _, tt := range []struct{ name, given, want, header string }{
		{"local", "", dialect.OpenAI, ""}, {"local", "anthropic", dialect.Anthropic, "X-Api-Key"}, {"anthropic", "openai", dialect.OpenAI, ""}, {"local", "gemini", dialect.Gemini, "X-Goog-Api-Key"},
	} {
		p := &Provider{Dialect: tt.given, BaseURL: "http://127.0.0.1:1/v1", APIKey: []string{"x"}, Timeouts: Timeouts{Timeout: caddy.Duration(1)}}
		if err := p.Provision(tt.name); err != nil {
			t.Fatal(err)
		}
		if p.dialect != tt.want || p.client.KeyHeader != tt.header {
			t.Errorf("%s, %s: %s, %q", tt.name, tt.given, p.dialect, p.client.KeyHeader)
		}
		p.Close()
	}
}
