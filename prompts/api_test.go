package prompts

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/control"
)

// adminServer mounts the routes as the root does.
func adminServer(t *testing.T, lookup func() (*View, error)) func(method, path, body string, header ...string) *httptest.ResponseRecorder {
	t.Helper()
	mux := http.NewServeMux()
	for _, r := range Routes(lookup) {
		mux.HandleFunc(r.Method+" /llm"+r.Path, func(w http.ResponseWriter, req *http.Request) {
			if err := r.Handle(w, req); err != nil {
				api.WriteError(w, err)
			}
		})
	}
	return func(method, path, body string, header ...string) *httptest.ResponseRecorder {
		t.Helper()
		r := httptest.NewRequest(method, "/llm"+path, strings.NewReader(body))
		r.Header = headers(header...)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if !json.Valid(w.Body.Bytes()) {
			t.Fatalf("%s %s: not JSON: %s", method, path, w.Body)
		}
		return w
	}
}

func newAdmin(t *testing.T) (func(method, path, body string, header ...string) *httptest.ResponseRecorder, *fakeStore) {
	t.Helper()
	store := newFakeStore()
	r := newTestRegistry(t, store)
	r.now = func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }
	v := NewView(r, []Scope{{Route: "route", Prompts: []string{"senti"}, Recognize: true}})
	t.Cleanup(v.Close)
	return adminServer(t, func() (*View, error) { return v, nil }), store
}

func TestAPI(t *testing.T) {
	do, _ := newAdmin(t)
	for _, step := range []struct {
		name, method, path, body string
		status                   int
		want                     []string // in the body; "-…": not in it
	}{
		{"empty list", "GET", "/prompts", "", 200, []string{`{"items":[],"next_cursor":null}`}},
		{
			"register", "POST", "/prompts", `{"name":"senti","template":"Classify <{{text}}>\nBriefly.\n","commit_message":"first","tags":{"a":"b"},"model_config":{"temperature":0.0},"actor":"eva","reason":"new"}`,
			201,
			[]string{`"name":"senti","version":1,"uri":"prompts:/senti/1","type":"text","template":"Classify <{{text}}>\nBriefly.\n","variables":["text"],"commit_message":"first","tags":{"a":"b"},"response_format":null,"model_config":{"temperature":0.0},"hash":"sha256:`, `"parent":null,"author":"eva","created_at":"2026-01-02T03:04:05.000Z","aliases":[]`, "-unrecognizable"},
		},
		{"register the same", "POST", "/prompts", `{"name":"senti","template":"Classify <{{text}}>\nBriefly.\n","model_config":{"temperature":0.0}}`, 200, []string{`"version":1`}},
		{"register the next", "POST", "/prompts", `{"name":"senti","template":"Sort <{{text}}>\nBriefly, {{name}}.\n","response_format":{"type":"object"}}`, 201, []string{`"version":2`, `"parent":1`}},
		{"register a chat", "POST", "/prompts", `{"name":"chat","template":[{"role":"system","content":"{{a}}"},{"role":"user","content":"{{b}}"}]}`, 201, []string{`"type":"chat"`, `"template":[{"role":"system","content":"{{a}}"},`, `"unrecognizable":"it consists of variables alone`}},
		{"list", "GET", "/prompts?limit=1", "", 200, []string{`"items":[{"name":"chat","tags":{},"latest":1,"aliases":{},"versions":[{"name":"chat","version":1,`, `"next_cursor":"chat"`, "-template"}},
		{"next page", "GET", "/prompts?limit=1&cursor=chat", "", 200, []string{`"items":[{"name":"senti"`, `"next_cursor":null`}},
		{"wrong limit", "GET", "/prompts?limit=0", "", 400, []string{`"field":"limit"`}},
		{"show", "GET", "/prompts/senti", "", 200, []string{`"name":"senti","tags":{},"latest":2,"aliases":{},"versions":[{`, "-template"}},
		{"show an unknown one", "GET", "/prompts/sent", "", 404, []string{`"code":"not_found"`, `there is no prompt sent; there is: senti, chat`}},
		{"alias", "PUT", "/prompts/senti/aliases/production", `{"version":1,"reason":"live","actor":"eva"}`, 200, []string{`"aliases":{"production":1}`}},
		{"alias without a version", "PUT", "/prompts/senti/aliases/production", `{}`, 400, []string{`"field":"version"`}},
		{"alias to an unknown version", "PUT", "/prompts/senti/aliases/production", `{"version":7}`, 400, []string{`it has: production → 1; versions 1–2`}},
		{"alias latest", "PUT", "/prompts/senti/aliases/latest", `{"version":1}`, 400, []string{`"field":"alias"`, "reserved"}},
		{"version", "GET", "/prompts/senti/versions/2", "", 200, []string{`"version":2`, `"response_format":{"type":"object"}`}},
		{"version by alias", "GET", "/prompts/senti/versions/@production", "", 200, []string{`"version":1`, `"aliases":["production"]`}},
		{"version latest", "GET", "/prompts/senti/versions/latest", "", 200, []string{`"version":2`}},
		{"version, wrong", "GET", "/prompts/senti/versions/x", "", 400, []string{`"field":"version"`}},
		{"version, unknown", "GET", "/prompts/senti/versions/3", "", 404, []string{`has no version 3`}},
		{"version, unknown alias", "GET", "/prompts/senti/versions/@x", "", 404, []string{`has no alias x`}},
		{
			"diff", "GET", "/prompts/senti/diff?from=1&to=2", "", 200,
			[]string{`"name":"senti","from":1,"to":2,"diff":"--- prompts:/senti/1\n+++ prompts:/senti/2\n@@ -1,2 +1,2 @@\n-Classify <{{text}}>\n-Briefly.\n+Sort <{{text}}>\n+Briefly, {{name}}.\n"`, `{"field":"variables","from":["text"],"to":["text","name"]}`, `{"field":"response_format","from":null,"to":{"type":"object"}}`, `{"field":"model_config.temperature","from":0.0,"to":null}`},
		},
		{"diff with the parent", "GET", "/prompts/senti/diff", "", 200, []string{`"from":1,"to":2`}},
		{"diff without a parent", "GET", "/prompts/senti/diff?to=1", "", 400, []string{`"field":"from"`}},
		{"diff of the same", "GET", "/prompts/senti/diff?from=@production&to=1", "", 200, []string{`"diff":"","changes":[]`}},
		{"render", "POST", "/prompts/senti/render", `{"version":1,"variables":{"text":"a\"{{text}}"}}`, 200, []string{`{"text":"Classify <a\"{{text}}>\nBriefly.\n"}`}},
		{"render by alias", "POST", "/prompts/senti/render", `{"alias":"production","variables":{"text":1.50}}`, 200, []string{`Classify <1.50>`}},
		{"render the latest", "POST", "/prompts/senti/render", `{"variables":{"text":"x"}}`, 400, []string{`"field":"variables"`, `prompt senti/2: missing variable \"name\"; given: \"text\"`}},
		{"render a chat", "POST", "/prompts/chat/render", `{"variables":{"a":"1","b":true}}`, 200, []string{`{"messages":[{"role":"system","content":"1"},{"role":"user","content":"true"}]}`}},
		{"render both", "POST", "/prompts/senti/render", `{"version":1,"alias":"production"}`, 400, []string{`not both`}},
		{"render with a list", "POST", "/prompts/senti/render", `{"variables":{"text":[]}}`, 400, []string{`"field":"variables.text"`}},
		{"render, unknown field", "POST", "/prompts/senti/render", `{"vars":{}}`, 400, []string{`"field":"vars"`}},
		{"recognize", "POST", "/prompts/recognize", `{"route":"route","messages":[{"role":"user","content":"Classify <x>\nBriefly.\n"}]}`, 200, []string{`{"matched":true,"prompt":"senti","version":1,"variables":{"text":"x"},"nearest":null}`}},
		{"recognize without a route", "POST", "/prompts/recognize", `{"messages":[{"role":"user","content":"Classify <x>\nBriefly.\n"}]}`, 200, []string{`"matched":true,"prompt":"senti"`}},
		{"recognize nothing", "POST", "/prompts/recognize", `{"messages":[{"role":"user","content":"Classify (x>\nBriefly.\n"}]}`, 200, []string{`{"matched":false,"nearest":{"prompt":"senti","version":1,"message":0,"offset":9,"want":"<","got":"(x>\nBriefly.\n"}}`}},
		{"recognize, unknown route", "POST", "/prompts/recognize", `{"route":"x","messages":[]}`, 404, []string{`there is no route x`}},
		{"recognize without messages", "POST", "/prompts/recognize", `{}`, 400, []string{`"field":"messages"`}},
		{"recognize a text", "POST", "/prompts/recognize", `{"messages":"x"}`, 400, []string{`"field":"messages"`}},
		{"tag", "PUT", "/prompts/senti/tags/recognize", `{"value":"off"}`, 200, []string{`"tags":{"recognize":"off"}`}},
		{"recognize off", "POST", "/prompts/recognize", `{"route":"route","messages":[{"role":"user","content":"Classify <x>\nBriefly.\n"}]}`, 200, []string{`"matched":false`}},
		{"untag", "DELETE", "/prompts/senti/tags/recognize", "", 200, []string{`"tags":{}`}},
		{"tag a version", "PUT", "/prompts/senti/versions/@production/tags/quality", `{"value":"0.97"}`, 200, []string{`"version":1`, `"tags":{"a":"b","quality":"0.97"}`}},
		{"untag a version", "DELETE", "/prompts/senti/versions/1/tags/a", "", 200, []string{`"tags":{"quality":"0.97"}`}},
		{"delete the alias", "DELETE", "/prompts/senti/aliases/production", `{"reason":"old"}`, 200, []string{`"aliases":{}`}},
		{"delete it again", "DELETE", "/prompts/senti/aliases/production", "", 404, []string{`has no alias production`}},
		{"register nothing", "POST", "/prompts", ``, 400, []string{`"field":"name"`}},
		{"register no template", "POST", "/prompts", `{"name":"x"}`, 400, []string{`"field":"template"`}},
		{"register a wrong template", "POST", "/prompts", `{"name":"x","template":{}}`, 400, []string{`"field":"template"`}},
		{"register a wrong name", "POST", "/prompts", `{"name":"x y","template":"x"}`, 400, []string{`"field":"name"`}},
		{"register a wrong type", "POST", "/prompts", `{"name":3,"template":"x"}`, 400, []string{`"field":"name"`}},
	} {
		t.Run(step.name, func(t *testing.T) {
			w := do(step.method, step.path, step.body)
			if w.Code != step.status {
				t.Fatalf("got %d %s, want %d", w.Code, w.Body, step.status)
			}
			for _, want := range step.want {
				if not, ok := strings.CutPrefix(want, "-"); ok {
					if strings.Contains(w.Body.String(), `"`+not+`":`) {
						t.Errorf("got %s, which has %s", w.Body, not)
					}
				} else if !strings.Contains(w.Body.String(), want) {
					t.Errorf("got %s, want …%s…", w.Body, want)
				}
			}
		})
	}
}

func TestAPIETags(t *testing.T) {
	do, store := newAdmin(t)
	const body = `{"name":"senti","template":"Classify {{text}}"}`
	if w := do("POST", "/prompts", body, "If-Match", `"1"`); w.Code != http.StatusPreconditionFailed {
		t.Errorf("a prompt that is not there: got %d %s", w.Code, w.Body)
	}
	first := do("POST", "/prompts", body).Header().Get("ETag")
	if first == "" || do("GET", "/prompts/senti", "").Header().Get("ETag") != first || do("GET", "/prompts/senti/versions/1", "").Header().Get("ETag") != first {
		t.Errorf("got %q", first)
	}
	w := do("PUT", "/prompts/senti/aliases/live", `{"version":1}`, "If-Match", first)
	second := w.Header().Get("ETag")
	if w.Code != http.StatusOK || second == first {
		t.Errorf("got %d, ETag %s after %s", w.Code, second, first)
	}
	for _, request := range [][3]string{
		{"PUT", "/prompts/senti/aliases/live", `{"version":1}`},
		{"DELETE", "/prompts/senti/aliases/live", ""},
		{"PUT", "/prompts/senti/tags/a", `{"value":"b"}`},
		{"POST", "/prompts", `{"name":"senti","template":"Sort {{text}}"}`},
	} {
		if w := do(request[0], request[1], request[2], "If-Match", first); w.Code != http.StatusPreconditionFailed || !strings.Contains(w.Body.String(), "precondition_failed") {
			t.Errorf("%s %s: got %d %s", request[0], request[1], w.Code, w.Body)
		}
	}
	if w := do("DELETE", "/prompts/senti/aliases/live", "", "If-Match", second); w.Code != http.StatusOK {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	store.fail = control.ErrNoSpace
	if w := do("PUT", "/prompts/senti/aliases/live", `{"version":1}`); w.Code != http.StatusInsufficientStorage || !strings.Contains(w.Body.String(), `"no_space"`) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if w := do("GET", "/prompts/senti", ""); !strings.Contains(w.Body.String(), `"aliases":{}`) {
		t.Errorf("a refused change is in force: %s", w.Body)
	}
}

func TestAPIUnavailable(t *testing.T) {
	do := adminServer(t, func() (*View, error) { return nil, errors.New("not configured") })
	for _, r := range Routes(nil) {
		path := strings.NewReplacer("{name}", "a", "{version}", "1", "{alias}", "b", "{key}", "c").Replace(r.Path)
		if w := do(r.Method, path, ""); w.Code != http.StatusInternalServerError {
			t.Errorf("%s %s: got %d %s", r.Method, path, w.Code, w.Body)
		}
		if r.Summary == "" || r.Answer == nil {
			t.Errorf("%s %s is not documented", r.Method, path)
		}
	}
}

func TestUnifiedDiff(t *testing.T) {
	lines := func(from, to int) (out string) {
		for i := from; i < to; i++ {
			out += strings.Repeat("x", i) + "\n"
		}
		return out
	}
	for _, test := range []struct{ name, from, to, want string }{
		{"same", "a", "a", ""},
		{"one line", "a", "b", "@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n"},
		{"added at the end", "a\n", "a\nb\n", "@@ -1 +1,2 @@\n a\n+b\n"},
		{"removed at the start", "a\nb\n", "b\n", "@@ -1,2 +1 @@\n-a\n b\n"},
		{
			"two places", "first\n" + lines(1, 12) + "last\n", "First\n" + lines(1, 12) + "Last\n",
			"@@ -1,4 +1,4 @@\n-first\n+First\n x\n xx\n xxx\n@@ -10,4 +10,4 @@\n xxxxxxxxx\n xxxxxxxxxx\n xxxxxxxxxxx\n-last\n+Last\n",
		},
		{"near places", "a\n" + lines(1, 5) + "b\n", "A\n" + lines(1, 5) + "B\n", "@@ -1,6 +1,6 @@\n-a\n+A\n x\n xx\n xxx\n xxxx\n-b\n+B\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := strings.TrimPrefix(unified(test.from, test.to, "f", "t"), "--- f\n+++ t\n")
			if got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

// A diff holds both texts, whatever they are: so many lines that go-diff has to number them beyond one byte.
func TestUnifiedDiffIsComplete(t *testing.T) {
	var a, b strings.Builder
	for i := range 3000 {
		if i%7 != 0 {
			a.WriteString(strings.Repeat("a", i%50) + "," + strings.Repeat("b", i/50) + "\n")
		}
		if i%11 != 0 {
			b.WriteString(strings.Repeat("a", i%50) + "," + strings.Repeat("b", i/50) + "\n")
		}
	}
	removed, added := 0, 0
	for line := range strings.Lines(strings.TrimPrefix(unified(a.String(), b.String(), "f", "t"), "--- f\n+++ t\n")) {
		switch line[0] {
		case '-':
			removed++
		case '+':
			added++
		}
	}
	if got, want := added-removed, strings.Count(b.String(), "\n")-strings.Count(a.String(), "\n"); got != want || removed == 0 || removed > 600 {
		t.Errorf("%d removed, %d added, want a difference of %d", removed, added, want)
	}
	chat := chatOf(t, "system", "Be kind.", "user", "{{a}}\nb")
	if got, want := readable(&chat), "[system]\nBe kind.\n\n[user]\n{{a}}\nb\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
