package frontier_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"go.uber.org/zap"

	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp" // adapts Caddyfiles

	_ "github.com/caddy-frontier/frontier"
	"github.com/caddy-frontier/frontier/internal/control"
)

func init() { time.Local = time.UTC } // for the golden files

// fake plays the admin API with the answers of testdata/command/answers.json,
// which another test holds to openapi.json.
type fake struct {
	*httptest.Server
	answers map[string]fakeAnswer

	mu       sync.Mutex
	requests []string
	asked    func(r *http.Request) // nil: nothing to do
}

type fakeAnswer struct {
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body"`
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := new(fake)
	raw, err := os.ReadFile("testdata/command/answers.json")
	if err == nil {
		err = json.Unmarshal(raw, &f.answers)
	}
	if err != nil {
		t.Fatal(err)
	}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// ServeHTTP answers by method, path and query, else by method and path alone.
func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	asked := r.Method + " " + r.URL.EscapedPath()
	query := r.URL.RawQuery
	if bytes.Contains(body, []byte(`"dry_run":true`)) {
		query = "dry_run"
	}
	f.mu.Lock()
	a, ok := f.answers[asked+"?"+query]
	if !ok {
		a, ok = f.answers[asked]
	}
	f.mu.Unlock()
	if !ok && strings.Contains(asked, "/report.") {
		a, ok = fakeAnswer{http.StatusOK, json.RawMessage(`"the report"`)}, true
	}
	if r.URL.RawQuery != "" {
		asked += "?" + r.URL.RawQuery
	}
	f.mu.Lock()
	f.requests = append(f.requests, strings.TrimSpace(asked+" "+string(bytes.TrimSpace(body))))
	hook := f.asked
	f.mu.Unlock()
	if hook != nil {
		hook(r)
	}
	w.Header().Set("Content-Type", "application/json")
	if !ok {
		a = fakeAnswer{http.StatusNotImplemented, json.RawMessage(`{"error":{"code":"internal","message":"the fake has no answer to ` + r.Method + " " + r.URL.Path + `"}}`)}
	}
	w.WriteHeader(a.Status)
	var compact bytes.Buffer
	_ = json.Compact(&compact, a.Body)
	_, _ = w.Write(append(compact.Bytes(), '\n'))
}

// become gives a request the answer of another one from now on.
func (f *fake) become(asked, like string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[asked] = f.answers[like]
}

func (f *fake) address() string { return strings.TrimPrefix(f.URL, "http://") }

// result is what a command did.
type result struct {
	stdout, stderr string
	code           int
}

// run runs `caddy args…` as Caddy does.
func run(ctx context.Context, stdin string, args ...string) result {
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	llm := caddycmd.Commands()["llm"]
	cmd := &cobra.Command{Use: llm.Name + " " + llm.Usage, Short: llm.Short, Long: llm.Long}
	llm.CobraFunc(cmd)
	root.AddCommand(cmd)
	var stdout, stderr bytes.Buffer
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	r := result{stdout: stdout.String(), stderr: stderr.String()}
	if err != nil {
		r.code = 1
		_, _ = fmt.Sscanf(err.Error(), "exiting with status %d", &r.code)
	}
	return r
}

// files makes the files that commands read, and goes where they are.
func files(t *testing.T) {
	t.Helper()
	t.Chdir(t.TempDir())
	for name, content := range map[string]string{
		"senti.txt":      "One word, the sentiment: {{text}}\n",
		"chat.json":      `[{"role": "system", "content": "You sell {{product}}."}, {"role": "user", "content": "{{question}}"}]`,
		"broken.json":    `[{"role": "system", "content": "You sell {{product}}."]`,
		"schema.json":    `{"type": "object"}`,
		"variables.json": `{"text": "from a file", "n": 3}`,
		"messages.json":  `[{"role": "user", "content": "Classify the sentiment in one word: great product"}]`,
		"request.json":   `{"model": "gpt-4", "messages": [{"role": "user", "content": "hello"}]}`,
		"empty.txt":      "\n",
		"prompts.json": `[{"id": "pmpt_abc", "version": 1, "name": "Support reply", "model": "gpt-4.1", "instructions": "Answer {{customer}}."},
			{"id": "pmpt_abc", "version": "2", "instructions": "Answer {{customer}} briefly.", "temperature": 0, "tools": [{"type": "web_search"}]},
			{"id": "pmpt_abc", "version": "3", "instructions": "Answer {{customer}} briefly.", "temperature": 0, "tools": []}]`,
		"reviews.csv":   "text,label\ngreat product,positive\nbad,\n",
		"reviews.jsonl": `{"inputs": {"text": "great product"}, "expected": "positive"}` + "\n" + `{"text": "bad", "expected": "negative"}`,
		"broken.jsonl":  "{\"text\": \"fine\"}\n{\"text\"",
		"scorer.json":   `{"scorer": "judge", "model": "openai/gpt-4"}`,
		"call.json":     `{"model": "gpt-4.1", "prompt": {"id": "pmpt_abc", "version": "3"}}`,
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s, err := control.Open("other", zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Backup("frontier.backup"), s.Close()); err != nil {
		t.Fatal(err)
	}
}

func TestCommandGolden(t *testing.T) {
	golden, err := filepath.Abs("testdata/command")
	if err != nil {
		t.Fatal(err)
	}
	const id = "0199f3a27b4c7d10a5e2c4b6d8f01234"
	const runs = "019a2b3c-4d5e-7f60-8123-456789ab"
	const run1, run2, kept, failed, quota, cancelled, never = runs + "cdef", runs + "c002", runs + "c004", runs + "c005", runs + "c006", runs + "c007", runs + "c008"
	for name, commands := range map[string][]string{
		"status": {"status", "status --json"},
		"models": {"models", "models openai", "models --used", "models --used --json", "models nobody"},
		"routes": {
			"routes list", "routes list --json", "routes show sentiment", "routes show chat", "routes show sentimnt", "routes show support",
			"routes show sentiment --caddyfile", "routes show chat --caddyfile", "routes show support --caddyfile", "routes show aborted --caddyfile",
			"routes show completed --caddyfile", "routes show hand --caddyfile",
		},
		"rollout": {
			`rollout weights sentiment stable=80% candidate=20 --reason "the evaluation was good" --actor eve`,
			"rollout weights sentiment stable=80 candidate=20 --json",
			"rollout weights chat stable=90", "rollout weights support stable=66.67 candidate=33.33 --reason more",
			"rollout get support", "rollout get support --json", "rollout get aborted", "rollout get completed", "rollout get sentiment", "rollout get sentimnt",
			"rollout promote support --reason good", "rollout promote support --full --actor eve --json", "rollout pause support --reason lunch", "rollout resume support",
			"rollout abort support", "rollout undo support", "rollout promote aborted", "rollout resume aborted", "rollout pause sentiment",
			"rollout watch completed", "rollout watch aborted", "rollout watch aborted --json", "rollout watch sentiment", "rollout watch sentimnt",
		},
		"prompts": {
			"prompts list", "prompts list --json", "prompts show senti", "prompts show nothing", "prompts show senti/2", "prompts show senti@production",
			"prompts show prompts:/chat/1", "prompts show senti@latest --json",
			"prompts diff senti 1 2", "prompts diff senti @production latest",
			"prompts alias senti production 3", "prompts alias senti @candidate latest --reason better", "prompts alias senti candidate --delete", "prompts alias senti v1 2",
			`prompts render senti@production --var text="great product"`, `prompts render senti/2 --vars variables.json --var text="a=b"`,
			"prompts render chat --var product=soap --var question=Why?", "prompts render senti --json",
			`prompts recognize --text "Classify the sentiment in one word: great product"`, "prompts recognize --file messages.json --route sentiment", "prompts recognize -f request.json --json",
		},
		"register": {
			`prompts register senti --template "Classify: {{text}}" --message "first try" --tag team=support --tag a=b=c --alias production --alias candidate`,
			"prompts register senti --file senti.txt", "prompts register senti --file senti.txt --keep-newline",
			`prompts register chat --file chat.json --response-format schema.json --model-config '{"temperature": 0}'`,
			"prompts register senti --file - --json", "prompts register senti -t x --alias v1",
			"prompts register senti -t x --alias production --json",
			"prompts register senti --file broken.json", "prompts register senti --file empty.txt", "prompts register senti --file missing.txt",
			"prompts register senti -t x --model-config chat.json",
		},
		"import": {
			"prompts import openai prompts.json --dry-run", "prompts import openai prompts.json --dry-run --json", "prompts import openai prompts.json --name pmpt_abc=support_reply",
			"prompts import openai prompts.json --name pmpt_abc=senti", "prompts import openai call.json", "prompts import openai missing.json", "prompts import openai schema.json",
		},
		"traces": {
			"traces list", "traces list --limit 2", "traces list --limit 2 --json", "traces list --route none", "traces list -n 3 -q refund",
			"traces list --variant stable --model openai/gpt-4 --prompt senti/2 --status error --session s --user u --tag team=support --tag a=b --since 2026-05-01T09:30:00+02:00 --until 2026-05-02",
			"traces show " + id, "traces show 0199f3a27b4c7d10a5e2c4b6d8f01235", "traces show 0199f3a27b4c7d10a5e2c4b6d8f01236", "traces show " + id + " --json",
			"traces export --limit 1", "traces export", "traces export --full --route sentiment", "traces export --file out.jsonl",
		},
		"store": {"store verify", "store verify --json", "store backup new.backup", "store backup senti.txt", "store backup -", "store restore nothing.backup", "store restore senti.txt --data-dir d"},
		"stats": {"stats --since 2026-05-01T14:05:12Z --route sentiment", "stats --group-by model", "stats --json"},
		"datasets": {
			"datasets list", "datasets list --json", "datasets show reviews", "datasets show reviews/1 --records 20", "datasets show reviews --json", "datasets show empty", "datasets show nothing",
			"datasets capture reviews --route sentiment --variant stable --since 2026-05-01 --sample 200 --seed 3 --actor eve", "datasets capture reviews --route sentiment --json", "datasets capture empty --route nowhere",
			"datasets import reviews reviews.csv --expected label", "datasets import reviews reviews.csv --expected label --json", "datasets import nothing reviews.jsonl --description texts --replace", "datasets import reviews -",
			"datasets import reviews broken.jsonl", "datasets import reviews missing.csv", "datasets import reviews reviews.csv --expected moon", "datasets import reviews empty.txt",
			"datasets export reviews", "datasets export reviews/1 --output out.csv", "datasets delete reviews --reason old",
		},
		"compare": {
			"compare openai/gpt-4o-mini --dataset reviews --prompt senti@production", "compare openai/gpt-4o-mini --dataset reviews --prompt senti --strict", "compare openai/gpt-4o-mini --dataset reviews --prompt senti --json",
			"compare openai/gpt-4o-mini --dataset reviews --dry-run", "compare openai/gpt-4o-mini --dataset reviews --dry-run --json", "compare openai/gpt-4o-mini --dataset reviews --detach", "compare openai/gpt-4o-mini --dataset reviews --detach --json",
			`compare --dataset reviews/2 --prompt senti/1 --baseline openai/gpt-4,temperature=0 --candidate 'openai/gpt-4o-mini,prompt=senti/2,name=new,stop=["a","b"],user=x' --candidate openai/o3 --scorer "label:positive, negative" --ready 95% --agree 0.5 --labelled judged --budget-calls 30 --budget-usd 2.5 --budget-time 10m --parallelism 4 --dry-run`,
			"compare openai/gpt-4o-mini --dataset reviews --scorer scorer.json --dry-run", "compare openai/gpt-4o-mini --dataset reviews --report report.html",
		},
		"optimize": {
			"optimize senti/1 --model openai/gpt-4o-mini --dataset reviews", "optimize senti/1 --model openai/gpt-4o-mini --dataset reviews --json", "optimize senti/1 --model openai/gpt-4o-mini --dataset reviews --detach",
			`optimize senti/1 --model openai/gpt-4o-mini --dataset reviews --train 5 --reflector openai/gpt-4 --optimizer few_shot --scorer '{"scorer": "exact"}' --instructions-only --param temperature=0 --param user=x --seed 7 --register always --budget-calls 300 --dry-run`,
		},
		"runs": {
			"runs list", "runs list --state running", "runs list --kind optimization --state succeeded", "runs list --json", "runs show " + run1, "runs show " + run2, "runs show " + kept, "runs show " + quota, "runs show " + run1 + " --json", "runs show 019a2b3c",
			"runs watch " + run1, "runs watch " + run2, "runs watch " + run1 + " --strict", "runs watch " + kept, "runs watch " + never, "runs watch " + failed, "runs watch " + quota, "runs watch " + cancelled, "runs watch " + run2 + " --json",
			"runs pause " + run1 + " --reason lunch", "runs resume " + run1, "runs cancel " + run1 + " --json", "runs pause " + cancelled, "runs delete " + run1,
			"runs report " + run1, "runs report " + run1 + " --html", "runs report " + run1 + " --output report.csv", "runs report " + failed, "runs report " + run1 + " --csv -o x.txt",
		},
		"mistakes": {
			"statuss", "moon", "models a b", "prompts shw", "prompts show", "prompts show a b", "prompts show a@1", "prompts register senti", "prompts register senti -t x -f senti.txt",
			"prompts register senti -t x --tag team", "prompts diff senti 1", "prompts alias senti production", "prompts alias senti production two", "prompts alias senti production 2 --delete",
			"prompts render senti --var text", "prompts render senti --var a=1 --var a=2", "prompts recognize", "rollout weights sentiment", "rollout weights sentiment stable",
			"rollout weights sentiment stable=much", "rollout weights sentiment stable=50 stable=50", "rollout weights sentiment stable=101",
			"rollout", "rollout get", "rollout watch support --interval 0s", "rollout abort support now", "rollout undo", "rollout stop support", "routes show support --caddyfile --json", "traces list --since yesterday", "traces list --limit 0",
			"traces list --prompt a/1 --version 2", "traces show", "traces tail --lines -1", "traces tail --interval 0s", "stats --group-by moon", "stats --nothing", "status --address a:1-2", "demo", "demo --moon",
			"prompts import openai", "prompts import openai prompts.json --name a", "prompts import openai prompts.json --name pmpt_x=y",
			"prompts import openai prompts.json --name pmpt_abc=a@b",
			"datasets", "datasets shw", "datasets show", "datasets show a/b", "datasets show reviews --records -1", "datasets capture reviews", "datasets capture reviews --route r --since yesterday", "datasets capture reviews --route r --sample 0",
			"datasets import reviews", "datasets import reviews reviews.csv --format xml", "datasets import reviews reviews.jsonl --expected label", "datasets export reviews --format xml", "datasets delete reviews/1",
			"compare", "compare --dataset reviews", "compare gpt-4 --dataset reviews", "compare openai/gpt-4,prompt --dataset reviews", "compare openai/gpt-4,temperature=0,temperature=1 --dataset reviews", "compare --dataset reviews --candidate openai/gpt-4,prompt=",
			"compare openai/gpt-4 --dataset reviews --scorer label:positive", `compare openai/gpt-4 --dataset reviews --scorer '{"labels": []}'`, "compare openai/gpt-4 --dataset reviews --scorer '{'", `compare openai/gpt-4 --dataset reviews --scorer "is it good"`,
			"compare openai/gpt-4 --dataset reviews --ready 90", "compare openai/gpt-4 --dataset reviews --agree x", "compare openai/gpt-4 --dataset reviews --budget-calls 0", "compare openai/gpt-4 --dataset reviews --budget-usd -1", "compare openai/gpt-4 --dataset reviews --budget-time soon",
			"compare openai/gpt-4 --dataset reviews --parallelism 65", "compare openai/gpt-4 --dataset reviews --report report.pdf", "compare openai/gpt-4 --dataset reviews --report r.md --detach", "compare openai/gpt-4 --dataset reviews --report r.md --dry-run", "compare openai/gpt-4 --dataset reviews --dry-run --detach",
			"optimize", "optimize senti", "optimize senti --dataset reviews", "optimize senti --dataset reviews --model openai/gpt-4 --train 0", "optimize senti --dataset reviews --model openai/gpt-4 --seed 0", "optimize senti --dataset reviews --model openai/gpt-4 --register maybe",
			"optimize senti --dataset reviews --model openai/gpt-4 --param temperature", `optimize senti --dataset reviews --model openai/gpt-4 --optimizer '{"demos": 3}'`,
			"runs", "runs show", "runs list --kind moon", "runs list --state moon", "runs list --limit 0", "runs report " + run1 + " --html --csv", "runs report " + run1 + " --html --json", "runs report " + run1 + " --output report.pdf",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			files(t)
			var b strings.Builder
			for _, line := range commands {
				f.requests = nil
				args := append([]string{"llm", "--address", f.address()}, words(t, line)...)
				r := run(t.Context(), "From standard input: {{text}}", args...)
				if strings.ContainsRune(r.stdout+r.stderr, '\x1b') && !strings.Contains(line, "--json") {
					t.Errorf("%s: escape sequences without a terminal:\n%q", line, r.stdout)
				}
				fmt.Fprintf(&b, "$ caddy llm %s\n", line)
				for _, req := range f.requests {
					fmt.Fprintf(&b, "> %s\n", req)
				}
				b.WriteString(r.stdout)
				for l := range strings.Lines(r.stderr) {
					b.WriteString("! " + l)
				}
				if r.code != 0 {
					fmt.Fprintf(&b, "exit %d\n", r.code)
				}
				b.WriteString("\n")
			}
			got := b.String()
			if u, err := user.Current(); err == nil {
				got = strings.ReplaceAll(got, `"actor":"`+u.Username+`"`, `"actor":"ada"`)
			}
			got = strings.ReplaceAll(got, f.address(), "localhost:2019")
			file := filepath.Join(golden, name+".golden")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("%s differs; look at it, then run the test with -update\ngot:\n%s", file, got)
			}
		})
	}
}

// words splits a command line as a shell does, as far as quotes go.
func words(t *testing.T, line string) (out []string) {
	t.Helper()
	var b strings.Builder
	quote, in := rune(0), false
	for _, r := range line + " " {
		switch {
		case quote == 0 && r == ' ':
			if in {
				out = append(out, b.String())
			}
			b.Reset()
			in = false
		case quote == 0 && (r == '"' || r == '\''):
			quote, in = r, true
		case r == quote:
			quote = 0
		default:
			b.WriteRune(r)
			in = true
		}
	}
	if quote != 0 {
		t.Fatalf("%s: a quote is not closed", line)
	}
	return out
}

// fakeRegistry is an MLflow that has one prompt without versions and accepts
// everything. The tests in tests/sdk/mlflow use a real one.
func fakeRegistry(t *testing.T) *httptest.Server {
	const model = `{"name":"senti","tags":[{"key":"mlflow.prompt.is_prompt","value":"true"}]}`
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := map[string]string{
			"registered-models/search": `{"registered_models":[` + model + `]}`, "registered-models/get": `{"registered_model":` + model + `}`,
			"model-versions/create": `{"model_version":{"version":"1"}}`,
		}[strings.TrimPrefix(r.URL.Path, "/api/2.0/mlflow/")]
		fmt.Fprint(w, cmp.Or(answer, "{}"))
	}))
	t.Cleanup(s.Close)
	return s
}

// TestCommandExamples runs the examples of every command's long description.
func TestCommandExamples(t *testing.T) {
	llm := caddycmd.Commands()["llm"]
	root := &cobra.Command{Use: "llm", Short: llm.Short, Long: llm.Long}
	llm.CobraFunc(root)
	registry := fakeRegistry(t)
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		switch cmd.Name() {
		case "help", "completion":
			return
		case "demo": // a server of its own: see TestDemo
			return
		}
		t.Run(strings.ReplaceAll(cmd.CommandPath(), " ", "_"), func(t *testing.T) {
			if cmd.Short == "" || strings.HasSuffix(cmd.Short, ".") {
				t.Errorf("short description %q: want a phrase without a full stop", cmd.Short)
			}
			examples := 0
			f := newFake(t)
			files(t)
			for line := range strings.Lines(cmd.Long) {
				line, ok := strings.CutPrefix(strings.TrimSpace(line), "$ caddy ")
				if !ok {
					continue
				}
				examples++
				if !strings.HasPrefix(line, strings.TrimSuffix(cmd.CommandPath(), "_")) {
					t.Errorf("%s is no example of %s", line, cmd.CommandPath())
				}
				f.asked = nil
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				if strings.Contains(line, " tail") {
					f.asked = func(*http.Request) { cancel() }
				}
				if strings.Contains(line, " watch") {
					f.asked = func(*http.Request) { f.become("GET /llm/routes/support", "GET /llm/routes/completed") }
				}
				line = strings.ReplaceAll(line, "http://127.0.0.1:5000", registry.URL)
				args := append(words(t, line), "--address", f.address())
				if r := run(ctx, "", args...); r.code != 0 {
					t.Errorf("%s: exit %d\n%s", line, r.code, r.stderr)
				}
			}
			if examples == 0 {
				t.Error("the long description has no example")
			}
		})
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(root)
}

func TestCommandHelp(t *testing.T) {
	r := run(t.Context(), "", "llm")
	if r.code != 0 || !strings.Contains(r.stdout, "prompts") || !strings.Contains(r.stdout, "rollout") {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
	}
}

func TestCommandWithoutServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	for _, step := range []struct{ address, want string }{
		{address, "Error: no Caddy admin endpoint at " + address + " (connection refused): start it with `caddy run`, or name another with --address\n"},
		{"unix/" + socket, "Error: no Caddy admin endpoint at unix/" + socket + " (no such file or directory): start it with `caddy run`, or name another with --address\n"},
	} {
		if r := run(t.Context(), "", "llm", "status", "--address", step.address); r.code != 1 || r.stderr != step.want || r.stdout != "" {
			t.Errorf("exit %d\ngot  %swant %s", r.code, r.stderr, step.want)
		}
	}
}

func TestCommandAtAnotherServer(t *testing.T) {
	for name, step := range map[string]struct {
		status     int
		body, want string
	}{
		"no gateway":       {404, `{"error":{"code":"not_found","message":"the running configuration has no LLM gateway"}}`, "Error: the running configuration has no LLM gateway\n"},
		"Caddy refuses":    {403, `{"error":"host not allowed: x"}`, "Error: %s answers: host not allowed: x\n"},
		"no plugin":        {404, "404 page not found\n", "Error: what runs at %s has no /llm/ in its admin API: it is not a Caddy with the LLM gateway\n"},
		"something else":   {502, "<html>", "Error: %s answers with HTTP status 502\n"},
		"not JSON":         {200, "<html>", "Error: reading the answer of %s: invalid character '<' looking for beginning of value; is it the same version as this command?\n"},
		"another version":  {200, `{"version": 3}`, "Error: reading the answer of %s: json: cannot unmarshal number into Go struct field .version of type string; is it the same version as this command?\n"},
		"breaks off early": {200, "", "Error: reading the answer of %s: unexpected end of JSON input; is it the same version as this command?\n"},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(step.status)
				_, _ = io.WriteString(w, step.body)
			}))
			defer s.Close()
			address := strings.TrimPrefix(s.URL, "http://")
			want := strings.ReplaceAll(step.want, "%s", address)
			if r := run(t.Context(), "", "llm", "status", "--address", address); r.code != 1 || r.stderr != want {
				t.Errorf("exit %d\ngot  %swant %s", r.code, r.stderr, want)
			}
		})
	}
}

func TestCommandFindsTheServer(t *testing.T) {
	f := newFake(t)
	dir, err := os.MkdirTemp("", "llm") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	socket := filepath.Join(dir, "a.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Skip("no unix sockets here: ", err)
	}
	origins := make(chan string, 10)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		origins <- r.Header.Get("Origin")
		f.ServeHTTP(w, r)
	}))
	_ = s.Listener.Close()
	s.Listener = l
	s.Start()
	defer s.Close()
	write := func(name, content string) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for name, args := range map[string][]string{
		"address":        {"--address", f.address()},
		"unix socket":    {"--address", "unix/" + socket},
		"with its mode":  {"--address", "unix/" + socket + "|0600"},
		"JSON config":    {"--config", write("caddy.json", `{"admin": {"listen": "unix/`+socket+`"}}`)},
		"Caddyfile":      {"--config", write("my.conf", "{\n\tadmin "+f.address()+"\n}\n"), "--adapter", "caddyfile"},
		"address before": {"--address", f.address(), "--config", "/nowhere"},
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t.Context(), "", append([]string{"llm", "status"}, args...)...)
			if r.code != 0 || !strings.Contains(r.stdout, "v0.1.0") {
				t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr)
			}
		})
	}
	if o := <-origins; o != "" {
		t.Errorf("over a socket the Origin is %q, want none", o)
	}
	if r := run(t.Context(), "", "llm", "status", "--config", filepath.Join(dir, "missing.json")); r.code != 1 || !strings.Contains(r.stderr, "missing.json") {
		t.Errorf("exit %d\n%s", r.code, r.stderr)
	}
}

func TestCommandExportsToAFile(t *testing.T) {
	f := newFake(t)
	file := filepath.Join(t.TempDir(), "traces.jsonl")
	r := run(t.Context(), "", "llm", "traces", "export", "--full", "--file", file, "--address", f.address())
	if r.code != 0 || r.stdout != "" || r.stderr != "2 traces written to "+file+"\n" {
		t.Errorf("exit %d\n%s%s", r.code, r.stdout, r.stderr) // the third was removed meanwhile
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		var row struct {
			ID       string          `json:"id"`
			Response json.RawMessage `json:"response"`
		}
		if err := json.Unmarshal([]byte(line), &row); err != nil || row.ID == "" || row.Response == nil {
			t.Errorf("%v: %s", err, line)
		}
	}
}

// TestCommandTail has rows come in as they do: newer ones, and one that began
// earlier but ends later. Between, the server is away.
func TestCommandTail(t *testing.T) {
	row := func(n int) string {
		duration := 10
		if n == 4 {
			duration = 60_000
		}
		return fmt.Sprintf(`{"id":"%032d","started_at":"2026-05-02T14:05:%02d.000Z","duration_ms":%d,"status":"ok","provider":"openai","model":"gpt-4o","tags":{},"attempts":1,"front":"chat_completions"}`, n, n, duration)
	}
	page := func(next string, rows ...int) string {
		texts := make([]string, len(rows))
		for i, n := range rows {
			texts[i] = row(n)
		}
		return `{"items":[` + strings.Join(texts, ",") + `],"next_cursor":` + next + `}`
	}
	answers := []string{
		page(`"next"`, 5, 3, 2),
		page(`"next"`, 5, 3, 2),
		"", // away
		"", // still away
		page(`"next"`, 6, 5, 4, 3, 2),
		page("null", 1), // history: it was there before
		page(`"next"`, 8, 7),
		page("null", 6, 5),
	}
	for _, asJSON := range []bool{false, true} {
		t.Run(fmt.Sprint("json ", asJSON), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			var queries []string
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				n := len(queries)
				if n >= len(answers) {
					cancel()
					return
				}
				queries = append(queries, r.URL.RawQuery)
				if answers[n] == "" {
					w.WriteHeader(http.StatusServiceUnavailable)
					_, _ = io.WriteString(w, `{"error":{"code":"unavailable","message":"the store is closed"}}`)
					return
				}
				_, _ = io.WriteString(w, answers[n])
			}))
			defer s.Close()
			args := []string{"llm", "traces", "tail", "-n", "2", "--interval", "1ms", "--route", "r", "--address", strings.TrimPrefix(s.URL, "http://")}
			if asJSON {
				args = append(args, "--json")
			}
			r := run(ctx, "", args...)
			if r.code != 0 || r.stderr != "the store is closed; waiting for it\n" {
				t.Errorf("exit %d\n%s", r.code, r.stderr)
			}
			var got []string
			for line := range strings.Lines(r.stdout) {
				if asJSON {
					var row struct {
						ID string `json:"id"`
					}
					if err := json.Unmarshal([]byte(line), &row); err != nil {
						t.Fatal(err)
					}
					got = append(got, strings.TrimLeft(row.ID, "0"))
				} else if fields := strings.Fields(line); fields[0] != "STARTED" {
					got = append(got, strings.TrimLeft(fields[1], "0"))
				}
			}
			if want := "3 5 4 6 7 8"; strings.Join(got, " ") != want {
				t.Errorf("printed %v, want %s\n%s", got, want, r.stdout)
			}
			for i, q := range queries {
				since := strings.Contains(q, "since=2026-05-02T13%3A55%3A0")
				if !strings.Contains(q, "route=r") || since != (i > 0) || strings.Contains(q, "cursor=next") != (i == 5 || i == 7) {
					t.Errorf("query %d: %s", i, q)
				}
			}
		})
	}
}

// TestCommandIntoAPipe has an *os.File that is no terminal.
func TestCommandIntoAPipe(t *testing.T) {
	f := newFake(t)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	root := &cobra.Command{Use: "llm"}
	caddycmd.Commands()["llm"].CobraFunc(root)
	root.SetOut(w)
	root.SetArgs([]string{"routes", "list", "--address", f.address()})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(got, []byte("NAME ")) || bytes.ContainsAny(got, "\x1b│─") {
		t.Errorf("got\n%s", got)
	}
}
