package frontier

import (
	"encoding/json"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
)

// Every scorer and optimiser of the guide loads, and all that there are are in it with their options.
func TestDocumentedScorers(t *testing.T) {
	text := read(t, "docs/evaluation.md")
	t.Setenv("SCORER_TOKEN", "secret")
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancel()
	n := 0
	for _, m := range regexp.MustCompile("`(\\{\"scorer\": .*?\\})` \\|").FindAllStringSubmatch(text, -1) {
		n++
		if _, err := scorer.Load(ctx, json.RawMessage(m[1])); err != nil {
			t.Errorf("%s: %v", m[1], err)
		}
	}
	if n < 10 {
		t.Errorf("%d scorers are shown", n)
	}
	for _, namespace := range []string{"llm.scorers", "llm.optimizers"} {
		for _, m := range caddy.GetModules(namespace) {
			row := regexp.MustCompile("(?m)^\\| `" + m.ID.Name() + "` \\|.*(\n\\| \\|.*)?").FindString(text)
			if row == "" {
				t.Errorf("%s is not described", m.ID)
			}
			for _, f := range reflect.VisibleFields(reflect.TypeOf(m.New()).Elem()) {
				name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
				if name != "" && !strings.Contains(row, `"`+name+`"`) && m.ID.Name() != "few_shot" { // whose options are frontier's
					t.Errorf("%s: the option %s is not shown", m.ID, name)
				}
			}
		}
	}
}

// Every command line of the documents is one that the commands understand.
func TestDocumentedCommands(t *testing.T) {
	block := regexp.MustCompile("(?s)```sh\n(.*?)```")
	inline := regexp.MustCompile("`(caddy llm [^`…]*)`")
	n := 0
	for _, doc := range []string{"docs/evaluation.md", "docs/admin.md"} {
		text := read(t, doc)
		var lines []string
		for _, m := range block.FindAllStringSubmatch(text, -1) {
			lines = append(lines, regexp.MustCompile(`(?m)^(?:\./)?caddy llm [^\n']*(?:'[^']*'[^\n']*)*`).FindAllString(m[1], -1)...)
		}
		for _, m := range inline.FindAllStringSubmatch(text, -1) {
			if !strings.ContainsAny(m[1], "[|{") {
				lines = append(lines, m[1])
			}
		}
		for _, line := range lines {
			n++
			args := shellWords(strings.TrimPrefix(line, "./"))[2:]
			root := &cobra.Command{Use: "llm"}
			configureCommand(root)
			cmd, rest, err := root.Find(args)
			if err != nil || cmd == root {
				t.Errorf("%s: %s: %v", doc, line, err)
				continue
			}
			root.SetErr(new(strings.Builder))
			if err := cmd.ParseFlags(rest); err != nil {
				t.Errorf("%s: %s: %v", doc, line, err)
			}
		}
	}
	if n < 30 {
		t.Errorf("%d commands are shown", n)
	}
}

// shellWords splits a command line as a shell does, as far as quotes and comments go.
func shellWords(line string) (words []string) {
	for _, m := range regexp.MustCompile(`(?:[^\s'"#]|'[^']*'|"[^"]*")+|#.*`).FindAllString(line, -1) {
		if strings.HasPrefix(m, "#") || m == "&" {
			break
		}
		words = append(words, strings.NewReplacer("'", "", `"`, "").Replace(m))
	}
	return words
}
