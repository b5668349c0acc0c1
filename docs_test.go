package frontier

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// Every Caddyfile that a reader may copy adapts, is formatted and validates.
func TestDocumentedCaddyfiles(t *testing.T) {
	found := map[string]string{}
	block := regexp.MustCompile("(?s)```caddyfile\n(.*?)```")
	for _, doc := range documents(t) {
		for i, m := range block.FindAllStringSubmatch(read(t, doc), -1) {
			found[doc+" block "+string(rune('1'+i))] = m[1]
		}
	}
	examples, err := filepath.Glob("examples/*/Caddyfile")
	if err != nil || len(examples) < 4 || len(found) < 4 {
		t.Fatalf("%d examples, %d blocks, %v", len(examples), len(found), err)
	}
	for _, e := range examples {
		found[e] = read(t, e)
	}
	// What the examples read when they are loaded.
	secrets := t.TempDir()
	for _, name := range []string{"openai.key", "batch.key"} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte("sk-0123456789abcdef\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("RESERVE_API_KEY", "sk-fedcba9876543210")
	t.Setenv("OTLP_TOKEN", "secret")
	for name, text := range found {
		t.Run(name, func(t *testing.T) {
			if formatted := caddyfile.Format([]byte(text)); !bytes.Equal(formatted, []byte(text)) {
				t.Errorf("not formatted; want\n%s", formatted)
			}
			text := strings.ReplaceAll(text, "/etc/caddy", secrets)
			raw, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(text), map[string]any{"filename": name})
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			var cfg caddy.Config
			if err := caddy.StrictUnmarshalJSON(raw, &cfg); err != nil {
				t.Fatal(err)
			}
			if err := caddy.Validate(&cfg); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// An example that a document shows after naming its file is that file.
func TestDocumentedExamples(t *testing.T) {
	shown := regexp.MustCompile("(?s)`(examples/[a-z]+/Caddyfile)`[^`]*\n\n```caddyfile\n(.*?)```")
	n := 0
	for _, doc := range documents(t) {
		for _, m := range shown.FindAllStringSubmatch(read(t, doc), -1) {
			n++
			if want := read(t, m[1]); m[2] != want {
				t.Errorf("%s shows another %s:\n%s", doc, m[1], m[2])
			}
		}
	}
	if n < 2 {
		t.Errorf("%d examples are shown", n)
	}
}

// Every option of the global block is in docs/configuration.md.
func TestDocumentedOptions(t *testing.T) {
	text := read(t, "docs/configuration.md")
	for kind, syntax := range map[string][]string{
		"llm": globalSyntax, "provider": providerSyntax, "route": routeSyntax, "variant": variantSyntax, "rollout": rolloutSyntax, "traces": tracesSyntax, "limits": limitsSyntax,
	} {
		for _, name := range names(syntax) {
			if kind == "variant" && slices.Contains(names(timeoutSyntax), name) {
				continue // those of a provider, it says
			}
			if !regexp.MustCompile("(?m)^\\| `(limits \\{ )?" + name + "\\b").MatchString(text) {
				t.Errorf("%s: option %s is not described", kind, name)
			}
		}
	}
	to, _, _ := strings.Cut(text[strings.Index(text, "are names of versions to come")-200:], "are names of versions to come")
	for _, m := range regexp.MustCompile("`([a-z]+)`").FindAllStringSubmatch(to[strings.LastIndex(to, "\n"):], -1) {
		if slices.Contains(slices.Concat(names(globalSyntax), names(routeSyntax), names(tracesSyntax)), m[1]) {
			t.Errorf("%s is there, and said to come", m[1])
		}
	}
}

// Links between documents, and to files that they mention in backquotes with
// a known ending, lead somewhere.
func TestDocumentedLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:]+)\)`)
	mentioned := regexp.MustCompile("`((?:examples|docs|tracing|prompts|routing|internal|tests)/[A-Za-z0-9_./-]+)`")
	for _, doc := range documents(t) {
		text := read(t, doc)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(doc), m[1])); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
		for _, m := range mentioned.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(strings.TrimSuffix(m[1], "/")); err != nil {
				t.Errorf("%s: %v", doc, err)
			}
		}
	}
}

func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob("docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	return append(docs, "README.md", "CONTRIBUTING.md", "SECURITY.md")
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
