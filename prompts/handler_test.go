package prompts

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frontier/frontier/internal/call"
)

type fakeApp struct {
	view   *View
	routes map[string]string // by model
}

func (a fakeApp) Prompts() *View                              { return a.view }
func (a fakeApp) RouteFor(c *call.Call, _ http.Header) string { return a.routes[c.RequestedModel] }
func (fakeApp) IsProvider(name string) bool                   { return name == "openai" }
func (fakeApp) Admission() *call.Admission                    { return &call.Admission{MaxBody: 1 << 20} }

func newHandler(view *View) *Handler {
	return &Handler{app: fakeApp{view, map[string]string{"gpt-4": "senti"}}}
}

func headers(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i+1 < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

// handle sends a request through the handler, and returns the call that the
// next one saw, nil if none did.
func handle(t *testing.T, h *Handler, method, path string, header http.Header, body string) (*call.Call, *httptest.ResponseRecorder) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	maps.Copy(r.Header, header)
	w := httptest.NewRecorder()
	var seen *call.Call
	err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		seen = call.From(r.Context())
		got, err := io.ReadAll(r.Body)
		if err != nil || string(got) != body {
			t.Errorf("the next handler read %q, %v", got, err)
		}
		w.WriteHeader(http.StatusTeapot)
		return nil
	}))
	if err != nil {
		t.Fatal(err)
	}
	return seen, w
}

func newHandlerView(t *testing.T) *View {
	t.Helper()
	r := newTestRegistry(t, newFakeStore())
	register(t, r, "senti", textOf(t, "Classify: {{text}}"))
	register(t, r, "senti", textOf(t, "Classify {{text}} by {{kind}}."))
	register(t, r, "other", textOf(t, "Translate: {{text}}"))
	register(t, r, "openai", textOf(t, "x"))
	if _, err := r.SetAlias("senti", "production", 1, Change{}); err != nil {
		t.Fatal(err)
	}
	v := NewView(r, []Scope{
		{Route: "senti", Prompts: []string{"senti@production"}, Recognize: true},
		{Route: "else", Prompts: []string{"other"}, Match: []string{"other"}, Recognize: true},
	})
	t.Cleanup(v.Close)
	return v
}

func TestHandlerFindsPrompt(t *testing.T) {
	h := newHandler(newHandlerView(t))
	for _, test := range []struct {
		name, path string
		header     http.Header
		body       string
		want       call.Prompt // Matches apart
		matches    int
	}{
		{
			"parameter on chat", chatPath, nil, `{"model":"gpt-4","prompt":{"id":"senti","version":"2","variables":{"text":"x","kind":{"type":"input_text","text":"y"}}}}`,
			call.Prompt{Name: "senti", Version: 2, Source: call.FromParameter, Pinned: true, Variables: map[string]string{"text": "x", "kind": "y"}},
			0,
		},
		{
			"parameter, version a number", responsesPath, nil, `{"prompt":{"id":"senti","version":1,"variables":{"a":1.50,"b":true,"c":false,"d.e":-1e3}}}`,
			call.Prompt{Name: "senti", Version: 1, Source: call.FromParameter, Pinned: true, Variables: map[string]string{"a": "1.50", "b": "true", "c": "false", "d.e": "-1e3"}},
			0,
		},
		{"parameter, URI", responsesPath, nil, `{"prompt":{"id":"prompts:/senti/1","version":null,"variables":null}}`, call.Prompt{Name: "senti", Version: 1, Source: call.FromParameter, Pinned: true}, 0},
		{"parameter, alias in the id", responsesPath, nil, `{"prompt":{"id":"senti@production"}}`, call.Prompt{Name: "senti", Alias: "production", Source: call.FromParameter}, 0},
		{"parameter, alias as version", responsesPath, nil, `{"prompt":{"id":"senti","version":"production"}}`, call.Prompt{Name: "senti", Alias: "production", Source: call.FromParameter}, 0},
		{"parameter, both agree", responsesPath, nil, `{"prompt":{"id":"senti/1","version":"1"}}`, call.Prompt{Name: "senti", Version: 1, Source: call.FromParameter, Pinned: true}, 0},
		{"parameter, the name alone", responsesPath, nil, `{"prompt":{"id":"s\u0065nti"}}`, call.Prompt{Name: "senti", Source: call.FromParameter}, 0},
		{"parameter on completions", "/v1/completions", nil, `{"prompt":{"id":"senti"}}`, call.Prompt{Name: "senti", Source: call.FromParameter}, 0},
		{
			"parameter before header, variables of both", chatPath, headers("LLM-Prompt", "other", "LLM-Prompt-Variables", `{"text":"h","kind":"h"}`),
			`{"prompt":{"id":"senti","variables":{"text":"p"}}}`,
			call.Prompt{Name: "senti", Source: call.FromParameter, Variables: map[string]string{"text": "p", "kind": "h"}},
			0,
		},
		{"hosted prompt of OpenAI", responsesPath, nil, `{"model":"openai/gpt-4o","prompt":{"id":"pmpt_123","version":"x y","variables":{"i":{"type":"input_image"}}}}`, call.Prompt{}, 0},
		{"hosted prompt without an id", responsesPath, nil, `{"prompt":{}}`, call.Prompt{}, 0},
		{"prompt that is a text", chatPath, nil, `{"prompt":"senti"}`, call.Prompt{}, 0},
		{"header", chatPath, headers("LLM-Prompt", " senti@production ", "LLM-Prompt-Variables", ` {"text": "x", "n": 3} `), `{"model":"gpt-4","messages":[]}`, call.Prompt{Name: "senti", Alias: "production", Source: call.FromHeader, Variables: map[string]string{"text": "x", "n": "3"}}, 0},
		{"header, version", chatPath, headers("LLM-Prompt", "senti/2"), `{"model":"gpt-4"}`, call.Prompt{Name: "senti", Version: 2, Source: call.FromHeader, Pinned: true}, 0},
		{"header before model", chatPath, headers("LLM-Prompt", "other"), `{"model":"senti/2"}`, call.Prompt{Name: "other", Source: call.FromHeader}, 0},
		{"model with alias", chatPath, nil, `{"model":"senti@production"}`, call.Prompt{Name: "senti", Alias: "production", Source: call.FromModel}, 0},
		{"model with version", "/v1/embeddings", nil, `{"model":"senti/2","input":"x"}`, call.Prompt{Name: "senti", Version: 2, Source: call.FromModel, Pinned: true}, 0},
		{"model with latest", chatPath, nil, `{"model":"senti@latest"}`, call.Prompt{Name: "senti", Alias: "latest", Source: call.FromModel}, 0},
		{"model, variables by header", chatPath, headers("LLM-Prompt-Variables", `{"text":"x"}`), `{"model":"senti@production"}`, call.Prompt{Name: "senti", Alias: "production", Source: call.FromModel, Variables: map[string]string{"text": "x"}}, 0},
		{"model of a provider", chatPath, nil, `{"model":"openai/1"}`, call.Prompt{}, 0},
		{"model that is no prompt", chatPath, nil, `{"model":"llama/3"}`, call.Prompt{}, 0},
		{"model with a date", chatPath, nil, `{"model":"senti@20240620"}`, call.Prompt{}, 0},
		{"the prompt's bare name is no reference", chatPath, nil, `{"model":"senti"}`, call.Prompt{}, 0},
		{"recognised", chatPath, nil, `{"model":"gpt-4","messages":[{"role":"user","content":"Classify: x"}]}`, call.Prompt{Name: "senti", Version: 1, Source: call.Recognized, Variables: map[string]string{"text": "x"}}, 1},
		{"recognised, a variable by header", chatPath, headers("LLM-Prompt-Variables", `{"text":"h","kind":"h"}`), `{"model":"gpt-4","messages":[{"role":"user","content":"Classify: x"}]}`, call.Prompt{Name: "senti", Version: 1, Source: call.Recognized, Variables: map[string]string{"text": "x", "kind": "h"}}, 1},
		{"recognised without a route", responsesPath, nil, `{"input":"Translate: x"}`, call.Prompt{Name: "other", Version: 1, Source: call.Recognized, Variables: map[string]string{"text": "x"}}, 1},
		{"another route's prompt", chatPath, nil, `{"model":"gpt-4","messages":[{"role":"user","content":"Translate: x"}]}`, call.Prompt{}, 0},
		{"nothing, variables by header", chatPath, headers("LLM-Prompt-Variables", `{"text":"x"}`), `{"model":"gpt-4","messages":[{"role":"user","content":"hi"}]}`, call.Prompt{Variables: map[string]string{"text": "x"}}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, w := handle(t, h, http.MethodPost, test.path, test.header, test.body)
			if c == nil {
				t.Fatalf("answered %d %s", w.Code, w.Body)
			}
			got := c.Prompt
			if got.Name != test.want.Name || got.Version != test.want.Version || got.Alias != test.want.Alias || got.Source != test.want.Source ||
				got.Pinned != test.want.Pinned || !maps.Equal(got.Variables, test.want.Variables) || len(got.Matches) != test.matches {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			for _, m := range got.Matches {
				if !maps.Equal(m.Variables, test.want.Variables) {
					t.Errorf("got %q for the match, want %q", m.Variables, test.want.Variables)
				}
			}
		})
	}
	c, _ := handle(t, h, http.MethodPost, chatPath, nil, `{"model":"gpt-4","messages":[{"role":"user","content":"Klassify: x"}]}`)
	if c.NearMiss == nil || c.NearMiss.Prompt != "senti" {
		t.Errorf("got near miss %+v", c.NearMiss)
	}
}

func TestHandlerRefuses(t *testing.T) {
	h := newHandler(newHandlerView(t))
	for _, test := range []struct {
		name, path string
		header     http.Header
		body       string
		status     int
		want       string
	}{
		{"header, unknown", chatPath, headers("LLM-Prompt", "senty"), `{}`, 404, `"message":"there is no prompt senty; there is: senti, `},
		{"header, unknown alias", chatPath, headers("LLM-Prompt", "senti@beta"), `{}`, 404, `prompt senti has no alias beta; it has: production → 1; versions 1–2`},
		{"header, unknown version", chatPath, headers("LLM-Prompt", "senti/7"), `{}`, 404, `no version 7`},
		{"header, malformed", chatPath, headers("LLM-Prompt", "senti/x"), `{}`, 400, `the header LLM-Prompt`},
		{"header, variables are no JSON", chatPath, headers("LLM-Prompt-Variables", "x"), `{}`, 400, `must hold a JSON object`},
		{"header, variables in a list", chatPath, headers("LLM-Prompt-Variables", `["x"]`), `{}`, 400, `must hold a JSON object`},
		{"header, variable null", chatPath, headers("LLM-Prompt-Variables", `{"a":null}`), `{}`, 400, `must be text, a number`},
		{"header, variable a list", chatPath, headers("LLM-Prompt-Variables", `{"a":[]}`), `{}`, 400, `must be text, a number`},
		{"header, twice", chatPath, headers("LLM-Prompt-Variables", `{"a":"1","a":"2"}`), `{}`, 400, `member \"a\" repeated`},
		{"header, no variable", chatPath, headers("LLM-Prompt-Variables", `{"a b":"1"}`), `{}`, 400, `cannot be a variable`},
		{"model, unknown version", chatPath, nil, `{"model":"senti/7"}`, 404, `"code":"prompt_not_found"`},
		{"model, unknown alias", chatPath, nil, `{"model":"senti@beta"}`, 404, `production → 1`},
		{"parameter, unknown on chat", chatPath, nil, `{"prompt":{"id":"x"}}`, 404, `there is no prompt x`},
		{"parameter, unknown on a route", responsesPath, nil, `{"model":"gpt-4","prompt":{"id":"pmpt_1"}}`, 404, `there is no prompt pmpt_1`},
		{"parameter, malformed id on a route", responsesPath, nil, `{"model":"gpt-4","prompt":{"id":"a b"}}`, 400, `is not a prompt reference`},
		{"parameter, no id on a route", responsesPath, nil, `{"model":"gpt-4","prompt":{"id":3}}`, 400, `must be a text that names a prompt`},
		{"parameter, version", responsesPath, nil, `{"prompt":{"id":"senti","version":"v1"}}`, 400, `must be a version number or an alias`},
		{"parameter, version 0", responsesPath, nil, `{"prompt":{"id":"senti","version":0}}`, 400, `must be a version number or an alias`},
		{"parameter, version 1.5", responsesPath, nil, `{"prompt":{"id":"senti","version":1.5}}`, 400, `must be a version number or an alias`},
		{"parameter, two versions", responsesPath, nil, `{"prompt":{"id":"senti/1","version":2}}`, 400, `name different versions`},
		{"parameter, alias and version", responsesPath, nil, `{"prompt":{"id":"senti@production","version":"2"}}`, 400, `name different versions`},
		{"parameter, unknown version", responsesPath, nil, `{"prompt":{"id":"senti","version":"9"}}`, 404, `no version 9`},
		{"parameter, image", responsesPath, nil, `{"prompt":{"id":"senti","variables":{"text":{"type":"input_image","image_url":"x"}}}}`, 400, `"param":"prompt.variables.text"`},
		{"parameter, variables a text", responsesPath, nil, `{"prompt":{"id":"senti","variables":"x"}}`, 400, `must be an object`},
		{"parameter, variable twice", responsesPath, nil, `{"prompt":{"id":"senti","variables":{"a":"1","\u0061":"2"}}}`, 400, `given twice`},
		{"parameter, lone surrogate", responsesPath, nil, `{"prompt":{"id":"senti","variables":{"a":"\ud800"}}}`, 400, `must be text`},
		{"body", chatPath, nil, `{`, 400, `not acceptable JSON`},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, w := handle(t, h, http.MethodPost, test.path, test.header, test.body)
			if c != nil || w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("got %d %s, want %d …%s…", w.Code, w.Body, test.status, test.want)
			}
			if c == nil && (w.Header().Get("X-Request-Id") == "" || !strings.Contains(w.Body.String(), `"error":{"message":`)) {
				t.Errorf("not in the dialect: %s", w.Body)
			}
		})
	}
}

func TestHandlerPassesThrough(t *testing.T) {
	h := newHandler(newHandlerView(t))
	for _, test := range []struct{ method, path, body string }{
		{http.MethodGet, "/index.html", ""},
		{http.MethodGet, "/v1/models", ""},
		{http.MethodPost, "/v1/images/generations", `{"prompt":{"id":"x"}}`},
		{http.MethodPost, "/v1/feedback", `{"name":"x"}`},
	} {
		c, w := handle(t, h, test.method, test.path, headers("LLM-Prompt", "nothing"), test.body)
		if w.Code != http.StatusTeapot || c != nil && c.Prompt.Name != "" {
			t.Errorf("%s: got %d %s", test.path, w.Code, w.Body)
		}
	}
}

// The call that an earlier handler parsed is used, not parsed again.
func TestHandlerSharesCall(t *testing.T) {
	h := newHandler(newHandlerView(t))
	r := httptest.NewRequest(http.MethodPost, chatPath, strings.NewReader(`{"model":"senti@production"}`))
	w := httptest.NewRecorder()
	first, r, _, _ := call.Begin(r, nil)
	if err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return nil })); err != nil {
		t.Fatal(err)
	}
	if first.Prompt.Name != "senti" {
		t.Errorf("got %+v", first.Prompt)
	}
}

func BenchmarkHandler(b *testing.B) {
	r := newTestRegistry(b, newFakeStore())
	register(b, r, "bench", chatOf(b, "system", "You are a terse assistant. Answer with care.", "user", "{{text}}"))
	v := NewView(r, []Scope{{Route: "senti", Prompts: []string{"bench"}, Recognize: true}})
	defer v.Close()
	h := newHandler(v)
	body := `{"model":"gpt-4","messages":[{"role":"system","content":"You are a terse assistant. Answer with care."},{"role":"user","content":"` + strings.Repeat("word ", 200) + `"}]}`
	c := begin(chatPath, body)
	header := http.Header{}
	b.ReportAllocs()
	for b.Loop() {
		c.Prompt = call.Prompt{}
		if fail := h.find(c, header); fail != nil || c.Prompt.Name == "" {
			b.Fatal(fail)
		}
	}
}
