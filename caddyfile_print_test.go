package frontier

import (
	"encoding/json"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"pgregory.net/rapid"

	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// declare adapts a route's lines in a whole Caddyfile, and returns what it declares.
func declare(t *testing.T, name, lines string) *routing.Route {
	t.Helper()
	text := "{\n\tllm {\n\t\tprovider anthropic {\n\t\t\tbase_url http://127.0.0.1:9/v1\n\t\t}\n" + lines + "\t}\n}\n"
	raw, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(caddyfile.Format([]byte(text)), map[string]any{"filename": "Caddyfile"})
	if err != nil || len(warnings) > 0 {
		t.Fatalf("%v %v\n%s", err, warnings, text)
	}
	var config struct {
		Apps struct {
			LLM App `json:"llm"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(raw, &config); err != nil {
		t.Fatal(err)
	}
	return config.Apps.LLM.Route[name]
}

// A route with every option is printed as it was written.
func TestPrintRoute(t *testing.T) {
	const lines = `route everything {
	match model gpt-4 "a model"
	match prompt sentiment
	match header X-Team "support # 1"
	variant old openai/gpt-4 {
		prompt sentiment@production
		connect_timeout 1s500ms
		header_timeout 90s
		first_token_timeout 1h
		idle_timeout 1d12h
		timeout 30m
		attempts 3
	}
	variant new openai/gpt-4o-mini {
		prompt sentiment/3
		param effort low
		param number 1.50
		param quoted "\"1\""
		param stop ` + "`[\"a b\", \"{\"]`" + `
		param words "two words"
		param path C:\dir
		param top_p unset
	}
	variant spare openai/gpt-4o
	sticky user
	fallback spare old
	unrecognized weighted
	recognize off
	adapt on
	rollout old new {
		step 0.5% 1d min_requests 100
		step 20% wait 36h
		step 100%
		guard errors tolerance 1.5x margin 3%
		guard latency 2x p95 ttft
		guard cost
		webhook event {env.HOOK}
	}
}
`
	want := declare(t, "everything", lines)
	got, err := printRoute("everything", want)
	if err != nil {
		t.Fatal(err)
	}
	if formatted := string(caddyfile.Format([]byte(got))); formatted != got {
		t.Errorf("not formatted:\n%s", got)
	}
	if again := declare(t, "everything", got); !reflect.DeepEqual(again, want) {
		t.Errorf("it is read as another route:\n%s", got)
	}
	for _, part := range []string{
		"connect_timeout 1.5s\n", "header_timeout 1m30s\n", "first_token_timeout 1h\n", "idle_timeout 1d12h\n", "\tvariant spare openai/gpt-4o\n",
		"param effort low\n", "step 0.5% 1d min_requests 100\n", "step 20% 1d12h wait\n", "rollout old new {\n", "match header X-Team `support # 1`\n",
	} {
		if !strings.Contains(got, part) {
			t.Errorf("no %q in\n%s", part, got)
		}
	}
}

// Whatever a value is, it is printed so that it is read again, or not at all.
func TestPrintRouteValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringOfN(rapid.RuneFrom([]rune("ab \t\n\"`\\{}#<$0[]")), 0, 8, -1).Draw(t, "value")
		raw, _ := json.Marshal(value)
		r := &routing.Route{
			Match:    &routing.Match{Header: map[string]string{"X-A": value}},
			Variants: []*routing.Variant{{Name: "stable", Model: "openai/a", Param: map[string]json.RawMessage{"p": raw}}},
		}
		lines, err := printRoute("r", r)
		if err != nil {
			if !strings.Contains(err.Error(), "as JSON") {
				t.Fatal(err)
			}
			if !strings.ContainsAny(value, "`\\{\n") {
				t.Fatalf("%q: %v", value, err)
			}
			return
		}
		if err := readsAs(string(caddyfile.Format([]byte(lines))), "r", r); err != nil {
			t.Fatalf("%q: %v\n%s", value, err, lines)
		}
	})
}

// What `routes show --caddyfile` prints declares what is in force.
func TestDeclaration(t *testing.T) {
	answers := readAnswers(t)
	for name, step := range map[string]struct {
		asked   string
		rollout bool
		words   string
	}{
		"as declared":       {"chat", false, "as it is declared"},
		"set at run time":   {"sentiment", false, "set on 2026-05-02 14:05:12 by ada: the evaluation was good"},
		"under way":         {"support", true, "goes on with stable 80%, candidate 20%"},
		"aborted":           {"aborted", false, "was aborted on 2026-05-02 14:05:00"},
		"completed":         {"completed", false, "was completed on 2026-05-09 10:12:00"},
		"an operator's own": {"hand", false, "in force since 2026-05-02 14:00:00 by eve"},
	} {
		t.Run(name, func(t *testing.T) {
			var v routeView
			if err := json.Unmarshal(answers["GET /llm/routes/"+step.asked].Body, &v); err != nil {
				t.Fatal(err)
			}
			lines, err := v.caddyfile()
			if err != nil {
				t.Fatal(err)
			}
			comment, _, _ := strings.Cut(lines, "\n")
			if !strings.HasPrefix(comment, "# Route "+v.Name+" ") || !strings.Contains(comment, step.words) {
				t.Errorf("got %q, want %q in it", comment, step.words)
			}
			got := declare(t, v.Name, lines)
			if (got.Rollout != nil) != step.rollout {
				t.Fatalf("rollout: %v", got.Rollout)
			}
			want := v.Spec
			if !step.rollout {
				want.Rollout = nil
				for i, variant := range got.Variants {
					if *variant.Weight != v.Weights[variant.Name] {
						t.Errorf("%s: weight %v, want %v", variant.Name, *variant.Weight, v.Weights[variant.Name])
					}
					variant.Weight, want.Variants[i].Weight = nil, nil
				}
			}
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(want)
			if string(a) != string(b) {
				t.Errorf("other options:\ngot  %s\nwant %s", a, b)
			}
		})
	}
}

// A rollout that is paused by an operator goes on from its declaration; one
// whose weights are not its step's does not.
func TestDeclarationOfAPausedRollout(t *testing.T) {
	var v routeView
	if err := json.Unmarshal(readAnswers(t)["POST /llm/routes/support/rollout/pause"].Body, &v); err != nil {
		t.Fatal(err)
	}
	if spec, _ := v.declaration(); spec.Rollout == nil {
		t.Error("paused at its step: the rollout is left out")
	}
	v.Status.Step = 0
	if spec, _ := v.declaration(); spec.Rollout != nil {
		t.Error("paused before its first step with weights: the rollout stays")
	}
	v.Weights = map[string]float64{"stable": 100, "candidate": 0}
	if spec, _ := v.declaration(); spec.Rollout == nil || v.Status.Phase != rollout.PhasePaused {
		t.Error("paused before its first step: the rollout is left out")
	}
}

type cannedAnswer struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

func readAnswers(t *testing.T) map[string]cannedAnswer {
	t.Helper()
	raw, err := os.ReadFile("testdata/command/answers.json")
	var answers map[string]cannedAnswer
	if err == nil {
		err = json.Unmarshal(raw, &answers)
	}
	if err != nil {
		t.Fatal(err)
	}
	return answers
}
