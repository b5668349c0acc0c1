package frontier_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
	"go.uber.org/zap"

	_ "github.com/caddy-frontier/frontier"
	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/prompts"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// golden is a file of testdata/caddyfile: a Caddyfile and what is to come of it.
type golden struct {
	path, caddyfile, want string
}

const separator = "----------\n"

func readGolden(t *testing.T, pattern string) map[string]golden {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files at %s: %v", pattern, err)
	}
	files := map[string]golden{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		in, want, ok := strings.Cut(string(data), separator)
		if !ok {
			t.Fatalf("%s has no line of ten hyphens", path)
		}
		files[strings.TrimSuffix(filepath.Base(path), ".caddyfiletest")] = golden{path, in, strings.TrimSuffix(want, "\n")}
	}
	return files
}

func (g golden) compare(t *testing.T, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(g.path, []byte(g.caddyfile+separator+got+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != g.want {
		t.Errorf("%s\ngot:\n%s\nwant:\n%s", g.path, got, g.want)
	}
}

func adapt(in string) ([]byte, []caddyconfig.Warning, error) {
	return caddyconfig.GetAdapter("caddyfile").Adapt([]byte(in), map[string]any{"filename": "Caddyfile"})
}

// validate does what `caddy validate` does with adapted JSON.
func validate(config []byte) error {
	var cfg *caddy.Config
	if err := caddy.StrictUnmarshalJSON(config, &cfg); err != nil {
		return err
	}
	return caddy.Validate(cfg)
}

// ofApp cuts off what Caddy puts before an error of the app's: it depends on
// which app is loaded first.
func ofApp(err error) error {
	if err == nil {
		return nil
	}
	if _, text, ok := strings.Cut(err.Error(), "provision llm: "); ok {
		return errors.New(text)
	}
	return err
}

// environment sets what the test files refer to, and returns the directory
// that all data goes below.
func environment(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for k, v := range map[string]string{
		"FRONTIER_DATA": filepath.Join(dir, "declared"), "XDG_DATA_HOME": filepath.Join(dir, "xdg"), "HOME": dir,
		"FRONTIER_KEY_1": "sk-first", "FRONTIER_KEY_2": "sk-second", "FRONTIER_HOST": "llm.example.com", "OPENAI_API_KEY": "", "VLLM_API_KEY": "", "MLFLOW_TOKEN": "secret",
	} {
		t.Setenv(k, v)
	}
	return dir
}

// made lists what is below dir.
func made(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if path != dir {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

func TestCaddyfileAdapts(t *testing.T) {
	for name, g := range readGolden(t, "testdata/caddyfile/*.caddyfiletest") {
		t.Run(name, func(t *testing.T) {
			dir := environment(t)
			config, warnings, err := adapt(g.caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range warnings {
				t.Errorf("warning: %s", w)
			}
			if formatted := string(caddyfile.Format([]byte(g.caddyfile))); formatted != g.caddyfile {
				t.Errorf("caddy fmt makes of it:\n%s", formatted)
			}
			var indented bytes.Buffer
			if err := json.Indent(&indented, config, "", "\t"); err != nil {
				t.Fatal(err)
			}
			g.compare(t, indented.String())
			if err := validate(config); err != nil {
				t.Errorf("validate: %v", err)
			}
			if files := made(t, dir); len(files) > 0 {
				t.Errorf("validating made files: %v", files)
			}
		})
	}
}

// Files whose names begin with "validate_" hold what is known only where the
// configuration runs; all others are refused when the Caddyfile is read, with its line.
func TestCaddyfileErrors(t *testing.T) {
	for name, g := range readGolden(t, "testdata/caddyfile/errors/*.caddyfiletest") {
		t.Run(name, func(t *testing.T) {
			dir := environment(t)
			config, _, err := adapt(g.caddyfile)
			if strings.HasPrefix(name, "validate_") {
				if err != nil {
					t.Fatalf("adapt: %v", err)
				}
				err = ofApp(validate(config))
			} else if err != nil && !strings.Contains(err.Error(), ", at Caddyfile:") {
				t.Errorf("the message names no line: %v", err)
			}
			if err == nil {
				t.Fatal("got no error")
			}
			for _, secret := range []string{"secret", "sk-"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the message has a secret in it: %v", err)
				}
			}
			g.compare(t, err.Error())
			if files := made(t, dir); len(files) > 0 {
				t.Errorf("validating made files: %v", files)
			}
		})
	}
}

// What is wrong in a Caddyfile is wrong in JSON, in the same words but for the line.
func TestJSONErrors(t *testing.T) {
	const (
		local   = `"base_url": "http://127.0.0.1:8000/v1"`
		stable  = `{"name": "stable", "model": "openai/gpt-4o"}`
		weights = `{"route": {"r": {"variant": [{"name": "a", "model": "openai/gpt-4o", "weight": %s}, {"name": "b", "model": "openai/gpt-4o", "weight": %s}]}}}`
	)
	provider := func(options string) string { return `{"provider": {"local": {` + options + `}}}` }
	route := func(options string) string { return `{"route": {"r": {"variant": [` + stable + `], ` + options + `}}}` }
	variant := func(options string) string {
		return `{"route": {"r": {"variant": [{"name": "stable", "model": "openai/gpt-4o", ` + options + `}]}}}`
	}
	files := readGolden(t, "testdata/caddyfile/errors/*.caddyfiletest")
	for name, config := range map[string]string{
		"provider_bad_name":               `{"provider": {"team/openai": {` + local + `}}}`,
		"provider_no_base_url":            provider(`"dialect": "openai"`),
		"provider_dialect":                provider(local + `, "dialect": "cohere"`),
		"provider_base_url_host_only":     provider(`"base_url": "localhost:8000/v1"`),
		"provider_base_url_credentials":   provider(`"base_url": "https://user:secret@llm.example.com/v1"`),
		"provider_header_bad":             provider(local + `, "header": {"X Team": "a"}`),
		"provider_header_timeout":         provider(local + `, "header_timeout": -1000000000`),
		"provider_timeout_negative":       provider(local + `, "timeout": "-30s"`),
		"provider_attempts_most":          provider(local + `, "attempts": 11`),
		"provider_attempts_negative":      provider(local + `, "attempts": -1`),
		"provider_max_conns_negative":     provider(local + `, "max_conns_per_host": -5`),
		"provider_price_negative":         provider(local + `, "price": {"gpt-4o": {"input": 2.5, "output": -10}}`),
		"route_bad_name":                  `{"route": {"my route": {"variant": [` + stable + `]}}}`,
		"route_empty":                     `{"route": {"r": null}}`,
		"route_sticky":                    route(`"sticky": "cookie"`),
		"route_unrecognized":              route(`"unrecognized": "drop"`),
		"route_fallback_unknown":          route(`"fallback": ["candidate"]`),
		"route_fallback_repeated_variant": route(`"fallback": ["stable", "stable"]`),
		"match_model_empty":               route(`"match": {"model": [""]}`),
		"match_model_twice":               route(`"match": {"model": ["gpt-4", "gpt-4"]}`),
		"match_prompt_reference":          route(`"match": {"prompt": ["sentiment@production"]}`),
		"match_prompt_twice":              route(`"match": {"prompt": ["sentiment", "sentiment"]}`),
		"match_header_bad":                route(`"match": {"header": {"X Team": "a"}}`),
		"match_model_two_routes":          `{"route": {"a": {"match": {"model": ["gpt-4"]}, "variant": [` + stable + `]}, "b": {"match": {"model": ["gpt-3.5", "gpt-4"]}, "variant": [` + stable + `]}}}`,
		"match_model_is_a_route":          `{"route": {"a": {"match": {"model": ["b"]}, "variant": [` + stable + `]}, "b": {"variant": [` + stable + `]}}}`,
		"variant_twice":                   `{"route": {"r": {"variant": [{"name": "a", "model": "openai/gpt-4o"}, {"name": "a", "model": "openai/gpt-4o-mini"}]}}}`,
		"variant_model_without_provider":  `{"route": {"r": {"variant": [{"name": "stable", "model": "gpt-4o"}]}}}`,
		"variant_model_without_id":        `{"route": {"r": {"variant": [{"name": "stable", "model": "openai/"}]}}}`,
		"variant_unknown_provider":        `{"route": {"r": {"variant": [{"name": "stable", "model": "openai/gpt-4o", "weight": 80}, {"name": "candidate", "model": "acme/gpt-5", "weight": 20}]}}}`,
		"variant_timeout_negative":        variant(`"first_token_timeout": "-1s"`),
		"variant_attempts":                variant(`"attempts": 20`),
		"weights_sum":                     fmt.Sprintf(weights, "70", "20"),
		"weights_negative":                fmt.Sprintf(weights, "-20", "120"),
		"weights_over":                    fmt.Sprintf(weights, "120", "0"),
		"weights_all_zero":                fmt.Sprintf(weights, "0", "0"),
		"weights_decimals":                fmt.Sprintf(weights, "33.333", "66.667"),
		"weights_some_missing":            fmt.Sprintf(weights, "80", "null"),
		"weights_none":                    fmt.Sprintf(weights, "null", "null"),
		"weights_sole":                    `{"route": {"r": {"variant": [{"name": "a", "model": "openai/gpt-4o", "weight": 50}]}}}`,
		"prompt_name":                     variant(`"prompt": "my prompt@production"`),
		"prompt_version":                  variant(`"prompt": "sentiment/two"`),
		"prompt_version_as_alias":         variant(`"prompt": "sentiment@v2"`),
		"param_reserved_model":            variant(`"param": {"model": "x"}`),
		"param_reserved_stream":           variant(`"param": {"stream": true}`),
		"param_reserved_unset":            variant(`"unset": ["messages"]`),
		"traces_capture":                  `{"traces": {"capture": "everything"}}`,
		"traces_sample_range":             `{"traces": {"sample": 120}}`,
		"traces_retain_negative":          `{"traces": {"retain": "-3d"}}`,
		"traces_max_disk_small":           `{"traces": {"max_disk": 1048576}}`,
		"traces_redact":                   `{"traces": {"redact": ["([a-z"]}}`,
		"traces_redact_empty_match":       `{"traces": {"redact": ["x*"]}}`,
		"validate_api_key_env":            provider(local + `, "api_key": ["{env.FRONTIER_NEVER_SET}"]`),
		"validate_data_dir_env":           `{"data_dir": "{env.FRONTIER_NEVER_SET}/llm"}`,
		"provider_base_url_no_scheme":     provider(`"base_url": "127.0.0.1:8000/v1"`),
		"provider_base_url_query":         provider(`"base_url": "https://llm.example.com/v1?key=secret"`),
		"provider_base_url_unparsable":    provider(`"base_url": "http://llm example.com/%zz"`),
		"prompt_alias_empty":              variant(`"prompt": "sentiment@"`),
		"match_prompt_name":               route(`"match": {"prompt": ["my prompt"]}`),
		"validate_api_key_placeholder":    provider(local + `, "api_key": ["{http.request.header.Authorization}"]`),
	} {
		t.Run(name, func(t *testing.T) {
			dir := environment(t)
			g, ok := files[name]
			if !ok {
				t.Fatal("there is no such Caddyfile")
			}
			want := strings.TrimPrefix(g.want, "parsing caddyfile tokens for 'llm': ")
			if i := strings.LastIndex(want, ", at Caddyfile:"); i > 0 {
				want = want[:i]
			}
			err := ofApp(validate([]byte(`{"apps": {"llm": ` + config + `}}`)))
			if err == nil || err.Error() != want {
				t.Errorf("\n got %v\nwant %s", err, want)
			}
			if files := made(t, dir); len(files) > 0 {
				t.Errorf("validating made files: %v", files)
			}
		})
	}
}

// What only JSON can say.
func TestJSON(t *testing.T) {
	const stable = `{"name": "stable", "model": "openai/gpt-4o"}`
	router := `{"http": {"servers": {"s": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "llm_router", "provider": "acme"}]}]}}}}`
	for name, tt := range map[string]struct{ apps, want string }{
		"empty":                      {`{"llm": {}}`, ""},
		"provider null":              {`{"llm": {"provider": {"openai": null}, "route": {"r": {"variant": [` + stable + `]}}}}`, ""},
		"provider null, not preset":  {`{"llm": {"provider": {"local": null}}}`, `provider "local": no base_url`},
		"zero is the default":        {`{"llm": {"provider": {"openai": {"timeout": 0, "attempts": 0}}}}`, ""},
		"variant null":               {`{"llm": {"route": {"r": {"variant": [null]}}}}`, `route "r": variant 1 of 1 has no name; give it one, such as stable`},
		"variant without name":       {`{"llm": {"route": {"r": {"variant": [{"model": "openai/gpt-4o"}]}}}}`, `route "r": variant 1 of 1 has no name; give it one, such as stable`},
		"param set and unset":        {`{"llm": {"route": {"r": {"variant": [{"name": "a", "model": "openai/x", "param": {"n": 1}, "unset": ["n"]}]}}}}`, `route "r": variant "a": param n is both set and unset; keep one`},
		"api_key empty":              {`{"llm": {"provider": {"openai": {"api_key": [" "]}}}}`, `provider "openai": api_key: a key is empty; want one such as {env.NAME} or {file.path}`},
		"api_key of two lines":       {`{"llm": {"provider": {"openai": {"api_key": ["sk-a\nsk-b"]}}}}`, `provider "openai": api_key: a key has a line break or another control character in it`},
		"max_body negative":          {`{"llm": {"limits": {"max_body": -1}}}`, `limits max_body -1: want a size above zero`},
		"handler's unknown provider": {router, `there is no provider "acme"; declare it in the global option: { llm { provider acme { base_url … } } }`},
		"later shadow":               {`{"llm": {"route": {"r": {"variant": [` + stable + `], "shadow": {}}}}}`, `unknown field "shadow"`},
		"export twice":               {`{"llm": {"traces": {"export": [{"exporter": "otlp", "url": "http://h:4318"}, {"exporter": "otlp", "url": "http://h:4318/v1/traces"}]}}}`, `traces export: otlp http://h:4318/v1/traces is there twice; remove one`},
		"export without URL":         {`{"llm": {"traces": {"export": [{"exporter": "mlflow"}]}}}`, `the URL of the server is missing, as an argument or in MLFLOW_TRACKING_URI`},
		"export unset variable":      {`{"llm": {"traces": {"export": [{"exporter": "mlflow", "url": "http://h", "header": {"Authorization": "Bearer {env.NOT_SET}"}}]}}}`, `header Authorization: evaluated placeholder {env.NOT_SET} is empty; set it where Caddy runs`},
		"export semconv":             {`{"llm": {"traces": {"export": [{"exporter": "otlp", "semconv": "v1"}]}}}`, `semconv "v1": want latest, legacy or both`},
		"unknown option":             {`{"llm": {"providers": {}}}`, `unknown field "providers"`},
		"unknown provider option":    {`{"llm": {"provider": {"openai": {"key": "x"}}}}`, `unknown field "key"`},
		"unknown variant option":     {`{"llm": {"route": {"r": {"variant": [{"name": "a", "model": "openai/x", "wieght": 1}]}}}}`, `unknown field "wieght"`},
		"duration":                   {`{"llm": {"provider": {"openai": {"timeout": "soon"}}}}`, `invalid duration`},
	} {
		t.Run(name, func(t *testing.T) {
			environment(t)
			err := validate([]byte(`{"apps": ` + tt.apps + `}`))
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("\n got %v\nwant %s", err, tt.want)
			}
		})
	}
}

// serve runs a configuration in this process until the test ends, and returns
// its address and its log's file. llm are options of the app.
func serve(t *testing.T, dir, llm string) (address, log string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address = l.Addr().String()
	l.Close()
	log = filepath.Join(t.TempDir(), "log")
	config := fmt.Sprintf(`{
		"admin": {"disabled": true, "config": {"persist": false}},
		"logging": {"logs": {"default": {"writer": {"output": "file", "filename": %q}, "encoder": {"format": "json"}}}},
		"apps": {"llm": {"data_dir": %q%s}, "http": {"servers": {"s": {"listen": [%q], "automatic_https": {"disable": true}, "routes": [
			{"handle": [{"handler": "llm_trace"}, {"handler": "llm_prompt"}, {"handler": "llm_router"}, {"handler": "llm_proxy"}]}]}}}}
	}`, log, dir, llm, address)
	t.Cleanup(func() {
		caddy.Stop()
		store := openControl(t, dir)
		store.Close()
	})
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	return address, log
}

// openControl opens the directory's store. A configuration that has ended
// gives it back in the background, after its last request: it is waited for.
func openControl(t *testing.T, dir string) *control.Store {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		store, err := control.Open(filepath.Join(dir, "control"), zap.NewNop())
		if err == nil {
			return store
		}
		if time.Now().After(deadline) {
			t.Fatalf("the directory is still held: %v", err)
		}
	}
}

func TestValidateBesideRunningServer(t *testing.T) {
	dir := filepath.Join(environment(t), "data")
	serve(t, dir, "")
	if store, err := control.Open(filepath.Join(dir, "control"), zap.NewNop()); err == nil {
		store.Close()
		t.Fatal("the directory could be opened twice: the server does not hold it")
	}
	for range 3 {
		if err := validate(fmt.Appendf(nil, `{"apps": {"llm": {"data_dir": %q, "direct": false}}}`, dir)); err != nil {
			t.Fatalf("validate: %v", err)
		}
	}
	// The server's end, at which the directory has to become free, is in serve's cleanup.
}

func TestMissingPrompt(t *testing.T) {
	for name, tt := range map[string]struct {
		seed    func(t *testing.T, r *prompts.Registry)
		message string
	}{
		"no such prompt": {func(*testing.T, *prompts.Registry) {}, `there is no prompt sentiment; none is registered yet`},
		"no such alias": {func(t *testing.T, r *prompts.Registry) {
			template, err := prompts.ParseText("Classify: {{text}}")
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.Register(prompts.Draft{Name: "sentiment", Template: template}); err != nil {
				t.Fatal(err)
			}
		}, `prompt sentiment has no alias production; it has: version 1`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(environment(t), "data")
			seed(t, dir, tt.seed)
			provider := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("the provider was called: %s", r.URL) }))
			defer provider.Close()
			address, log := serve(t, dir, fmt.Sprintf(`,
				"provider": {"local": {"base_url": %q}},
				"route": {"support": {"variant": [{"name": "stable", "model": "local/gpt", "prompt": "sentiment@production"}]}}`, provider.URL+"/v1"))

			if warnings := linesWith(t, log, `"level":"warn"`, "a variant binds a prompt that does not exist yet", `"route":"support"`, `"variant":"stable"`, tt.message); len(warnings) != 1 {
				t.Errorf("got %d warnings, want one: %s", len(warnings), warnings)
			}
			r, err := http.Post("http://"+address+"/v1/chat/completions", "application/json",
				strings.NewReader(`{"model": "support", "messages": [{"role": "user", "content": "good"}]}`))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Body.Close()
			var answer struct {
				Error struct{ Message, Code string }
			}
			if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
				t.Fatal(err)
			}
			if r.StatusCode != http.StatusServiceUnavailable || answer.Error.Code != "prompt_not_found" || !strings.HasSuffix(answer.Error.Message, tt.message) {
				t.Errorf("got %d %+v\nwant 503 prompt_not_found %s", r.StatusCode, answer.Error, tt.message)
			}
		})
	}
}

func seed(t *testing.T, dir string, fill func(*testing.T, *prompts.Registry)) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	store := openControl(t, dir)
	defer store.Close()
	registry, err := prompts.NewRegistry(store, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	fill(t, registry)
}

// linesWith returns the lines of a file that have all the texts in them.
func linesWith(t *testing.T, file string, texts ...string) (lines []string) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if !slices.ContainsFunc(texts, func(s string) bool { return !strings.Contains(line, s) }) {
			lines = append(lines, line)
		}
	}
	return lines
}
