package frontier

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/api"
)

// TestCommandAnswersAreTheAPIs holds the answers with which the commands are
// tested to openapi.json, which is held to the real ones.
func TestCommandAnswersAreTheAPIs(t *testing.T) {
	d := readDocument(t)
	raw, err := os.ReadFile("testdata/command/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var answers map[string]struct {
		Status int `json:"status"`
		Body   any `json:"body"`
	}
	if err := json.Unmarshal(raw, &answers); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	for _, rt := range adminRoutes() {
		mux.HandleFunc(rt.Method+" /llm"+rt.Path, func(http.ResponseWriter, *http.Request) {})
	}
	for asked, answer := range answers {
		method, target, _ := strings.Cut(asked, " ")
		_, pattern := mux.Handler(httptest.NewRequest(method, target, nil))
		_, path, _ := strings.Cut(pattern, " /llm")
		op := d.operation(method, documented(api.Route{Path: path}))
		if op == nil {
			t.Errorf("%s: there is no such operation", asked)
			continue
		}
		for _, problem := range d.check(d.schema(op, answer.Status), answer.Body, "answer") {
			t.Errorf("%s: %s", asked, problem)
		}
	}
}

// TestCommandsOnARealServer goes through the commands with the real admin API.
func TestCommandsOnARealServer(t *testing.T) {
	mux, app := startGateway(t, `"sentiment": {"match": {"model": ["gpt-4"]}, "variant": [
		{"name": "stable", "model": "openai/gpt-4o", "weight": 100, "prompt": "senti@production"}, {"name": "candidate", "model": "openai/gpt-4o-mini", "weight": 0}]}`)
	s := httptest.NewServer(mux)
	defer s.Close()
	id := record(t, app)
	for _, step := range []struct {
		args string
		want []string
		code int
	}{
		{"status", []string{"routes          1", "1 written", "PROVIDER"}, 0},
		{"prompts|list", []string{"There are no prompts yet"}, 0},
		{"prompts|register|senti|--template|Classify: {{text}}|--alias|production|--actor|eve", []string{"prompts:/senti/1 is registered", "prompts:/senti@production is now version 1"}, 0},
		{"prompts|register|senti|--template|Classify: {{text}}", []string{"prompts:/senti/1 has this content already"}, 0},
		{"prompts|register|senti|--template|{{text}}|--model-config|{\"temperature\": 0}", []string{"prompts:/senti/2 is registered", "cannot be recognised"}, 0},
		{"prompts|register|a b|--template|x", []string{"Error: "}, 1},
		{"prompts|list", []string{"senti       2  text  production=1  text"}, 0},
		{"prompts|show|senti", []string{"eve", "production=1"}, 0},
		{"prompts|show|senti@latest", []string{"prompts:/senti/2", `{"temperature":0}`, "{{text}}"}, 0},
		{"prompts|diff|senti|@production|latest", []string{"-Classify: {{text}}", "+{{text}}", "model_config.temperature: null -> 0"}, 0},
		{"prompts|render|senti@production|--var|text=fine", []string{"Classify: fine\n"}, 0},
		{"prompts|render|senti", []string{"Error: ", "text"}, 1},
		{"prompts|recognize|--text|Classify: fine|--route|sentiment", []string{"senti/1", "fine"}, 0},
		{"prompts|recognize|--text|Classiffy: fine", []string{"nothing", "senti/1", "differs at"}, 0},
		{"prompts|alias|senti|candidate|latest", []string{"is now version 2"}, 0},
		{"prompts|alias|senti|candidate|--delete", []string{"is removed"}, 0},
		{"prompts|alias|senti|candidate|--delete", []string{"Error: ", "candidate"}, 1},
		{"models|--used", []string{"openai/gpt-4o       gpt-4o", "embedded", "sentiment/candidate", "2 models"}, 0},
		{"models|openai|--json", []string{`"model":"openai/gpt-4o-mini","provider":"openai","id":"gpt-4o-mini","send":"gpt-4o-mini","context_window":128000`, `"next_cursor":null`}, 0},
		{"models|nobody", []string{`there is no provider "nobody"; there is: openai`}, 1},
		{"routes|list", []string{"stable 100%, candidate 0%"}, 0},
		{"rollout|weights|sentiment|stable=79.5%|candidate=20.5|--reason|good|--actor|eve", []string{"79.5%", "by eve", "good"}, 0},
		{"rollout|weights|sentiment|stable=79.5%", []string{"Error: ", "candidate"}, 1},
		{"routes|show|sentiment", []string{"79.5%", "20.5%", "openai/gpt-4o-mini"}, 0},
		{"traces|list|--user|u-42|--tag|team=support|--since|1h", []string{id, "senti/1", "openai/gpt-4o"}, 0},
		{"traces|list|--user|nobody", []string{"No trace matches."}, 0},
		{"traces|show|" + id, []string{"temperature left out", "Request", "Response"}, 0},
		{"traces|show|x", []string{"Error: "}, 1},
		{"traces|export|--full", []string{`"request":{"model":"sentiment"`}, 0},
		{"stats", []string{"sentiment  stable"}, 0},
		{"stats|--group-by|prompt|--since|1d", []string{"senti/1"}, 0},
	} {
		t.Run(step.args, func(t *testing.T) {
			root := &cobra.Command{Use: "llm", SilenceUsage: true}
			configureCommand(root)
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&out)
			root.SetArgs(append(strings.Split(step.args, "|"), "--address", strings.TrimPrefix(s.URL, "http://")))
			err := root.ExecuteContext(t.Context())
			if (err != nil) != (step.code != 0) {
				t.Errorf("got %v, want exit %d", err, step.code)
			}
			for _, want := range step.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
		})
	}
}
