package frontier

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestImportOpenAIOnARealServer imports one file after another, as somebody
// does who has not found all versions at once.
func TestImportOpenAIOnARealServer(t *testing.T) {
	mux, app := startGateway(t, ``)
	s := httptest.NewServer(mux)
	defer s.Close()
	file := filepath.Join(t.TempDir(), "prompts.json")
	version := func(id, number, text string, more ...string) string {
		return `{"id": "` + id + `", "version": "` + number + `", "instructions": "` + text + `"` + strings.Join(more, "") + `}`
	}
	one, two, three := version("pmpt_a", "1", "One {{x}}", `, "name": "Support: reply"`), version("pmpt_a", "2", "Two {{x}}", `, "model": "gpt-4.1", "is_default": true`), version("pmpt_a", "3", "Two {{x}}", `, "model": "gpt-4.1"`)
	for _, step := range []struct {
		name, file, args string
		code             int
		want             []string
	}{
		{"dry run", one + two, "--dry-run", 0, []string{"Support_reply/1", "would be registered", "Nothing was registered; 2 of 2"}},
		{"the first", one + two, "--actor|eve", 0, []string{"Support_reply/1           x          registered", "Support_reply/2  gpt-4.1  x          registered", "prompts:/Support_reply@production is now version 2"}},
		{"again", one + two, "", 0, []string{"Support_reply/1           x          unchanged", "Support_reply/2  gpt-4.1  x          unchanged"}},
		{"one more, of the same content", one + two + three, "", 0, []string{"3  Support_reply/2  gpt-4.1  x          has the same content"}},
		{"and again", three + two, "", 0, []string{"2  Support_reply/2  gpt-4.1  x          unchanged", "3  Support_reply/2  gpt-4.1  x          unchanged"}},
		{"a version that was missed", version("pmpt_a", "4", "Four"), "", 0, []string{"4  Support_reply/3                    registered"}},
		{"its first content again", version("pmpt_a", "5", "One {{x}}"), "", 0, []string{"5  Support_reply/4         x          registered"}},
		{"another content", version("pmpt_a", "1", "Changed {{x}}"), "", 1, []string{"nothing was registered: version 1 of pmpt_a was imported as Support_reply/1 and has other content in this file"}},
		{"another name", one, "--name|pmpt_a=other", 1, []string{"pmpt_a is prompt Support_reply here already: leave --name pmpt_a=other away"}},
		{"its own name", one, "--name|pmpt_a=Support_reply", 0, []string{"unchanged"}},
		{"a name that is taken", version("pmpt_b", "1", "B", `, "name": "Support reply"`), "", 1, []string{"there is a prompt Support_reply already, which is not pmpt_b: choose another name with --name pmpt_b=NAME"}},
		{"two of a name", version("pmpt_b", "1", "B", `, "name": "n"`) + version("pmpt_c", "1", "C", `, "name": "n"`), "", 1, []string{"pmpt_b and pmpt_c would both be prompt n: name one with --name pmpt_c=NAME"}},
		{"no name", version("pmpt_b", "7", "B"), "", 0, []string{"7  pmpt_b/1                    registered", "prompts:/pmpt_b@production is now version 1"}},
		{"a conflict stops all", version("pmpt_d", "1", "D") + version("pmpt_b", "7", "Not B"), "", 1, []string{"nothing was registered"}},
	} {
		t.Run(step.name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(step.file), 0o600); err != nil {
				t.Fatal(err)
			}
			root := &cobra.Command{Use: "llm", SilenceUsage: true}
			configureCommand(root)
			var out bytes.Buffer
			root.SetOut(&out)
			root.SetErr(&out)
			args := []string{"prompts", "import", "openai", file, "--address", strings.TrimPrefix(s.URL, "http://")}
			if step.args != "" {
				args = append(args, strings.Split(step.args, "|")...)
			}
			root.SetArgs(args)
			if err := root.ExecuteContext(t.Context()); (err != nil) != (step.code != 0) {
				t.Errorf("got %v, want exit %d", err, step.code)
			}
			for _, want := range step.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
		})
	}
	current := app.Prompts().Current()
	if got := strings.Join(current.Names(), " "); got != "Support_reply pmpt_b" {
		t.Errorf("prompts: %s", got)
	}
	p, _ := current.Prompt("Support_reply")
	var tags []string
	for _, v := range p.Versions {
		tags = append(tags, v.Tags["openai.id"]+"/"+v.Tags["openai.version"])
	}
	if got := strings.Join(tags, ", "); got != "pmpt_a/1, pmpt_a/2 3, pmpt_a/4, pmpt_a/5" {
		t.Errorf("tags: %s", got)
	}
	if p.Aliases["production"] != 2 || p.Versions[0].Author != "eve" || p.Versions[0].CommitMessage != "version 1 of pmpt_a at OpenAI" {
		t.Errorf("%+v, %+v", p.Aliases, p.Versions[0])
	}
	if got, _ := json.Marshal(p.Versions[1].ModelConfig); string(got) != `{"model":"gpt-4.1"}` {
		t.Errorf("model config %s", got)
	}
}
