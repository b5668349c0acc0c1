package frontier

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/tracing"
)

// document is openapi.json as a tree.
type document map[string]any

func readDocument(t *testing.T) document {
	t.Helper()
	var d document
	if err := json.Unmarshal(openAPI, &d); err != nil {
		t.Fatalf("openapi.json: %v", err)
	}
	return d
}

// resolve follows references.
func (d document) resolve(node any) map[string]any {
	m, _ := node.(map[string]any)
	for m["$ref"] != nil {
		m = d.at(m["$ref"].(string))
	}
	return m
}

// at returns what a reference points to, nil when there is nothing.
func (d document) at(ref string) map[string]any {
	node := any(map[string]any(d))
	for part := range strings.SplitSeq(strings.TrimPrefix(ref, "#/"), "/") {
		m, _ := node.(map[string]any)
		node = m[part]
	}
	m, _ := node.(map[string]any)
	return m
}

func (d document) operation(method, path string) map[string]any {
	item, _ := d["paths"].(map[string]any)[path].(map[string]any)
	op, _ := item[strings.ToLower(method)].(map[string]any)
	return op
}

// schema is the schema of the operation's body, or of its answer with that status.
func (d document) schema(op map[string]any, status int) any {
	node := d.resolve(op["requestBody"])
	if status > 0 {
		responses, _ := op["responses"].(map[string]any)
		if node = d.resolve(responses[fmt.Sprint(status)]); node == nil {
			node = d.resolve(responses["default"])
		}
	}
	content, _ := node["content"].(map[string]any)
	media, _ := content["application/json"].(map[string]any)
	return media["schema"]
}

// documented is the path of a route as openapi.json has it.
func documented(rt api.Route) string {
	return "/llm" + strings.TrimSuffix(rt.Path, "{$}")
}

func TestOpenAPIHasTheMuxsOperations(t *testing.T) {
	d := readDocument(t)
	var want, got []string
	for _, rt := range adminRoutes() {
		want = append(want, rt.Method+" "+documented(rt))
	}
	ids := map[string]bool{}
	for path, item := range d["paths"].(map[string]any) {
		for method, op := range item.(map[string]any) {
			got = append(got, strings.ToUpper(method)+" "+path)
			id, _ := op.(map[string]any)["operationId"].(string)
			if id == "" || ids[id] {
				t.Errorf("%s %s: operationId %q is missing or used twice", method, path, id)
			}
			ids[id] = true
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("operations differ\nopenapi.json: %s\nmux:          %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func TestOpenAPIHasTheRoutesParameters(t *testing.T) {
	d := readDocument(t)
	for _, rt := range adminRoutes() {
		t.Run(rt.Method+" "+rt.Path, func(t *testing.T) {
			op := d.operation(rt.Method, documented(rt))
			got := map[string][]string{}
			list, _ := op["parameters"].([]any)
			for _, node := range list {
				p := d.resolve(node)
				name := p["name"].(string)
				if schema := d.resolve(p["schema"]); schema["patternProperties"] != nil {
					name = "tag.{name}"
				}
				got[p["in"].(string)] = append(got[p["in"].(string)], name)
			}
			want := map[string][]string{}
			for _, m := range pathParameter.FindAllStringSubmatch(rt.Path, -1) {
				want["path"] = append(want["path"], m[1])
			}
			for _, q := range rt.Query {
				want["query"] = append(want["query"], q.Name)
			}
			for _, in := range []string{"path", "query"} {
				if !slices.Equal(got[in], want[in]) {
					t.Errorf("%s parameters: openapi.json has %v, the route %v", in, got[in], want[in])
				}
			}
		})
	}
}

func TestOpenAPIReferencesResolve(t *testing.T) {
	d := readDocument(t)
	used := map[string]bool{}
	var walk func(node any, at string)
	walk = func(node any, at string) {
		switch v := node.(type) {
		case map[string]any:
			if ref, ok := v["$ref"].(string); ok {
				used[ref] = true
				if d.at(ref) == nil {
					t.Errorf("%s: %s points to nothing", at, ref)
				}
			}
			for k, child := range v {
				walk(child, at+"/"+k)
			}
		case []any:
			for i, child := range v {
				walk(child, fmt.Sprintf("%s/%d", at, i))
			}
		}
	}
	walk(map[string]any(d), "#")
	for kind, all := range d["components"].(map[string]any) {
		for name := range all.(map[string]any) {
			if ref := "#/components/" + kind + "/" + name; !used[ref] {
				t.Errorf("%s is never used", ref)
			}
		}
	}
}

func TestOpenAPIExamplesFitTheirSchemas(t *testing.T) {
	d := readDocument(t)
	var walk func(node any, at string)
	walk = func(node any, at string) {
		switch v := node.(type) {
		case map[string]any:
			if example, ok := v["example"]; ok && v["schema"] != nil {
				for _, problem := range d.check(v["schema"], example, "example") {
					t.Errorf("%s: %s", at, problem)
				}
			}
			for k, child := range v {
				if k != "example" {
					walk(child, at+"/"+k)
				}
			}
		case []any:
			for i, child := range v {
				walk(child, fmt.Sprintf("%s/%d", at, i))
			}
		}
	}
	walk(map[string]any(d), "#")
}

// check says where a value does not fit its schema: types, members, required
// ones, lists and enumerations, as openapi.json uses them.
func (d document) check(schema, value any, at string) (problems []string) {
	s := d.resolve(schema)
	if options, ok := s["oneOf"].([]any); ok {
		for _, option := range options {
			more := d.check(option, value, at)
			if more == nil {
				return nil
			}
			problems = append(problems, more...)
		}
		return problems
	}
	if types := typesOf(s); len(types) > 0 && !slices.ContainsFunc(types, func(name string) bool { return isType(value, name) }) {
		return []string{fmt.Sprintf("%s is %T, want %v", at, value, types)}
	}
	if allowed, ok := s["enum"].([]any); ok && !slices.Contains(allowed, value) {
		problems = append(problems, fmt.Sprintf("%s is %v, want one of %v", at, value, allowed))
	}
	switch v := value.(type) {
	case string:
		if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			problems = append(problems, fmt.Sprintf("%s is %q, want %s", at, v, pattern))
		}
		if s["format"] == "date-time" {
			if _, err := time.Parse(time.RFC3339, v); err != nil {
				problems = append(problems, fmt.Sprintf("%s: %v", at, err))
			}
		}
	case []any:
		for i, item := range v {
			problems = append(problems, d.check(s["items"], item, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for _, name := range asList(s["required"]) {
			if _, ok := v[name.(string)]; !ok {
				problems = append(problems, fmt.Sprintf("%s has no %s", at, name))
			}
		}
		for name, member := range v {
			if p, ok := properties[name]; ok {
				problems = append(problems, d.check(p, member, at+"."+name)...)
				continue
			}
			if s["additionalProperties"] == false && s["patternProperties"] == nil {
				problems = append(problems, fmt.Sprintf("%s.%s is not in the schema", at, name))
			} else if more, ok := s["additionalProperties"].(map[string]any); ok {
				problems = append(problems, d.check(more, member, at+"."+name)...)
			}
		}
	}
	return problems
}

func asList(v any) []any {
	list, _ := v.([]any)
	return list
}

func typesOf(schema map[string]any) (types []string) {
	switch v := schema["type"].(type) {
	case string:
		types = []string{v}
	case []any:
		for _, name := range v {
			types = append(types, name.(string))
		}
	}
	return types
}

func isType(value any, name string) bool {
	switch v := value.(type) {
	case nil:
		return name == "null"
	case bool:
		return name == "boolean"
	case string:
		return name == "string"
	case float64:
		return name == "number" || name == "integer" && v == float64(int64(v))
	case []any:
		return name == "array"
	case map[string]any:
		return name == "object"
	}
	return false
}

// TestOpenAPISchemasAreTheGoTypes compares schemas with the types that the
// routes declare, member by member: what is not omitempty must be required.
func TestOpenAPISchemasAreTheGoTypes(t *testing.T) {
	d := readDocument(t)
	compared := 0
	for _, rt := range adminRoutes() {
		op := d.operation(rt.Method, documented(rt))
		if rt.Body != nil {
			d.compare(t, rt.Method+" "+rt.Path+" body", d.schema(op, 0), reflect.TypeOf(rt.Body))
			compared++
		}
		if rt.Answer != nil {
			d.compare(t, rt.Method+" "+rt.Path+" answer", d.schema(op, max(rt.Status, http.StatusOK)), reflect.TypeOf(rt.Answer))
			compared++
		}
	}
	if compared == 0 {
		t.Error("no route declares its types")
	}
	d.compare(t, "Counters", map[string]any{"$ref": "#/components/schemas/Counters"}, reflect.TypeFor[tracing.Counters]())
	d.compare(t, "Error", d.at("#/components/schemas/Error")["properties"].(map[string]any)["error"], reflect.TypeFor[struct {
		Code    string `json:"code"`
		Message string `json:"message"`
		Field   string `json:"field,omitempty"`
	}]())
}

func (d document) compare(t *testing.T, at string, schema any, typ reflect.Type) {
	t.Helper()
	for typ.Kind() == reflect.Pointer {
		typ = typ.Elem()
	}
	s := d.resolve(schema)
	if options := asList(s["oneOf"]); len(options) > 0 {
		s = d.resolve(options[0])
	}
	switch typ.Kind() {
	case reflect.Slice:
		if items, ok := s["items"]; ok {
			d.compare(t, at+"[]", items, typ.Elem())
		}
		return
	case reflect.Struct:
	default:
		return
	}
	properties, _ := s["properties"].(map[string]any)
	if properties == nil {
		return // written by a MarshalJSON: times, templates
	}
	members := map[string]bool{} // to whether it is always there
	types := map[string]reflect.Type{}
	for _, f := range reflect.VisibleFields(typ) {
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if f.Anonymous || name == "" || name == "-" {
			continue
		}
		members[name] = !strings.Contains(options, "omitempty")
		types[name] = f.Type
	}
	if typ.Name() == "Version" {
		members["unrecognizable"] = false // written by its MarshalJSON
	}
	want := slices.Sorted(maps.Keys(members))
	if got := slices.Sorted(maps.Keys(properties)); !slices.Equal(got, want) {
		t.Errorf("%s: openapi.json has %v, %s has %v", at, got, typ, want)
		return
	}
	for name, always := range members {
		if strings.HasSuffix(at, "body") && name == "template" {
			continue
		}
		if required := slices.Contains(asList(s["required"]), any(name)); required != always {
			t.Errorf("%s.%s: required is %v in openapi.json, %v in %s", at, name, required, always, typ)
		}
		if types[name] != nil {
			d.compare(t, at+"."+name, properties[name], types[name])
		}
	}
}

// dataDir is a data directory. A configuration that has ended lets go of it
// in the background, so that it is removed with patience.
func dataDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "frontier")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 200 {
			if os.RemoveAll(dir) == nil {
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Errorf("%s cannot be removed", dir)
	})
	return dir
}

// startGateway runs a configuration with the gateway alone, and returns its admin API.
func startGateway(t *testing.T, route string) (http.Handler, *App) {
	t.Helper()
	return startGatewayWith(t, `"direct": true`, route)
}

// startGatewayWith is startGateway with another option of the app.
func startGatewayWith(t *testing.T, option, route string) (http.Handler, *App) {
	t.Helper()
	config := fmt.Sprintf(`{"admin": {"disabled": true, "config": {"persist": false}}, "logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"llm": {"data_dir": %q, %s, "route": {%s}}}}`, dataDir(t), option, route)
	if err := caddy.Load([]byte(config), true); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Error(err)
		}
	})
	app, err := running()
	if err != nil {
		t.Fatal(err)
	}
	return newAdminMux(adminRoutes()), app
}

// record puts a call into the trace store and returns its id.
func record(t *testing.T, a *App) string {
	t.Helper()
	id := fmt.Sprintf("%012x7%03x8%015x", time.Now().UnixMilli(), 1, 42) // a UUIDv7
	rec := tracing.NewRecord(&call.Call{
		ID: id, Started: time.Now(), Front: call.ChatCompletions, Path: "/chat/completions", Body: []byte(`{"model":"sentiment","messages":[]}`), RequestedModel: "sentiment",
		Route: "sentiment", Variant: "stable", Assignment: "drawn", Provider: "openai", Model: "gpt-4o", Served: call.ServedPrompt{Name: "senti", Version: 1, Source: call.Bound},
		Usage: &call.Usage{Input: 120, Output: 4}, User: "u-42", Tags: map[string]string{"team": "support"}, Sent: json.RawMessage(`{"temperature":0}`),
		Adjustments: []string{"temperature left out"}, Prompt: call.Prompt{Name: "senti", Variables: map[string]string{"text": "x"}},
		Attempts: []call.Attempt{{Provider: "openai", Model: "gpt-4o", Variant: "stable", Started: time.Now(), Duration: time.Second, HTTPStatus: 200, Usage: &call.Usage{Input: 120, Output: 4}}},
	})
	rec.HTTPStatus, rec.Duration, rec.Status, rec.Response = http.StatusOK, time.Second, call.StatusOK, []byte(`{"choices":[]}`)
	a.Recorder().Offer(rec)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	if err := a.data.traces.Sync(ctx); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestOpenAPIDescribesRealAnswers(t *testing.T) {
	d := readDocument(t)
	pretend := &pretendModel{make(chan struct{})}
	model := httptest.NewServer(pretend)
	defer model.Close()
	mux, app := startGatewayWith(t, fmt.Sprintf(`"provider": {"pretend": {"base_url": %q, "dialect": "openai", "price": {"small": {"input": 0.15, "output": 0.6}}}}`, model.URL+"/v1"), `"sentiment": {"match": {"model": ["gpt-4"]}, "variant": [
		{"name": "stable", "model": "openai/gpt-4o", "weight": 100, "prompt": "senti@production", "param": {"temperature": 0}, "timeout": 30000000000},
		{"name": "candidate", "model": "openai/gpt-4o-mini", "weight": 0, "unset": ["top_p"]}], "sticky": "user", "fallback": ["stable"], "recognize": true},
		"moving": {"variant": [{"name": "stable", "model": "openai/gpt-4o"}, {"name": "candidate", "model": "openai/gpt-4o-mini"}],
			"rollout": {"step": [{"percent": 5, "duration": 86400000000000, "min_requests": 100}, {"percent": 50, "wait": true}],
				"guard": [{"name": "errors", "args": ["margin", "2%"]}, {"name": "cost"}], "webhook": "http://127.0.0.1:1/"}}`)
	id := record(t, app)

	x := &described{document: d, mux: mux, called: map[string]bool{}}
	for _, step := range []struct {
		method, pattern, path, body string
		status                      int
	}{
		{"GET", "/{$}", "/", "", 200},
		{"POST", "/prompts", "/prompts", `{"name": "senti", "template": "Classify: {{text}}", "tags": {"a": "b"}, "model_config": {"temperature": 0}, "actor": "ada"}`, 201},
		{"POST", "/prompts", "/prompts", `{"name": "senti", "template": "Classify: {{text}}", "model_config": {"temperature": 0}}`, 200},
		{"POST", "/prompts", "/prompts", `{"name": "senti", "template": [{"role": "user", "content": "{{text}}"}], "response_format": {"type": "object"}, "reason": "shorter"}`, 201},
		{"POST", "/prompts", "/prompts", `{"name": "senti", "template": 3}`, 400},
		{"PUT", "/prompts/{name}/aliases/{alias}", "/prompts/senti/aliases/production", `{"version": 1}`, 200},
		{"PUT", "/prompts/{name}/aliases/{alias}", "/prompts/senti/aliases/old", `{"version": 1}`, 200},
		{"DELETE", "/prompts/{name}/aliases/{alias}", "/prompts/senti/aliases/old", ``, 200},
		{"PUT", "/prompts/{name}/tags/{key}", "/prompts/senti/tags/team", `{"value": "support"}`, 200},
		{"DELETE", "/prompts/{name}/tags/{key}", "/prompts/senti/tags/team", ``, 200},
		{"PUT", "/prompts/{name}/versions/{version}/tags/{key}", "/prompts/senti/versions/1/tags/team", `{"value": "support"}`, 200},
		{"DELETE", "/prompts/{name}/versions/{version}/tags/{key}", "/prompts/senti/versions/1/tags/team", ``, 200},
		{"GET", "/prompts", "/prompts?limit=10", "", 200},
		{"GET", "/prompts", "/prompts?limit=x", "", 400},
		{"GET", "/prompts/{name}", "/prompts/senti", "", 200},
		{"GET", "/prompts/{name}", "/prompts/nothing", "", 404},
		{"GET", "/prompts/{name}/versions/{version}", "/prompts/senti/versions/@production", "", 200},
		{"GET", "/prompts/{name}/versions/{version}", "/prompts/senti/versions/latest", "", 200},
		{"GET", "/prompts/{name}/diff", "/prompts/senti/diff?from=1&to=2", "", 200},
		{"POST", "/prompts/{name}/render", "/prompts/senti/render", `{"version": 1, "variables": {"text": "fine"}}`, 200},
		{"POST", "/prompts/{name}/render", "/prompts/senti/render", `{"variables": {"text": "fine"}}`, 200},
		{"POST", "/prompts/recognize", "/prompts/recognize", `{"messages": [{"role": "user", "content": "Classify: fine"}]}`, 200},
		{"POST", "/prompts/recognize", "/prompts/recognize", `{"messages": [{"role": "user", "content": "Classify it"}], "route": "sentiment"}`, 200},
		{"GET", "/models", "/models?used=true", "", 200},
		{"GET", "/models", "/models?provider=openai&q=GPT-4&limit=1", "", 200},
		{"GET", "/models", "/models?used=perhaps", "", 400},
		{"GET", "/models", "/models?provider=nobody", "", 400},
		{"GET", "/routes", "/routes", "", 200},
		{"GET", "/routes/{name}", "/routes/sentiment", "", 200},
		{"POST", "/routes/{name}/rollout/weights", "/routes/sentiment/rollout/weights", `{"weights": {"stable": 80, "candidate": 20}, "reason": "good", "actor": "ada"}`, 200},
		{"POST", "/routes/{name}/rollout/weights", "/routes/sentiment/rollout/weights", `{"weights": {"stable": 80}}`, 400},
		{"POST", "/routes/{name}/rollout/promote", "/routes/sentiment/rollout/promote", "", 409},
		{"GET", "/routes/{name}", "/routes/moving", "", 200},
		{"POST", "/routes/{name}/rollout/promote", "/routes/moving/rollout/promote", `{"full": false, "reason": "good", "actor": "ada"}`, 200},
		{"POST", "/routes/{name}/rollout/pause", "/routes/moving/rollout/pause", `{"reason": "the holidays"}`, 200},
		{"POST", "/routes/{name}/rollout/pause", "/routes/moving/rollout/pause", "", 409},
		{"POST", "/routes/{name}/rollout/resume", "/routes/moving/rollout/resume", "", 200},
		{"POST", "/routes/{name}/rollout/undo", "/routes/moving/rollout/undo", `{"actor": "ada"}`, 200},
		{"POST", "/routes/{name}/rollout/abort", "/routes/moving/rollout/abort", `{"actor": "ada"}`, 200},
		{"POST", "/routes/{name}/rollout/weights", "/routes/moving/rollout/weights", `{"weights": {"stable": 50, "candidate": 50}}`, 200},
		{"GET", "/traces", "/traces?tag.team=support", "", 200},
		{"POST", "/traces/{id}/feedback", "/traces/" + id + "/feedback", `{"name": "correct", "value": true, "comment": "yes", "source": "desk"}`, 201},
		{"GET", "/traces/{id}", "/traces/" + id, "", 200},
		{"GET", "/traces/{id}", "/traces/x", "", 400},
		{"GET", "/stats", "/stats", "", 200},
		{"GET", "/stats", "/stats?group_by=prompt", "", 200},
		{"GET", "/stats", "/stats?group_by=moon", "", 400},
		{"POST", "/store/verify", "/store/verify", "", 200},
	} {
		x.call(t, step.method, step.pattern, step.path, step.body, step.status)
	}
	x.evaluation(t, app, pretend)
	for _, rt := range adminRoutes() {
		if !x.called[rt.Method+" "+rt.Path] && rt.Path != "/openapi.json" && rt.Path != "/store/backup" { // these two answer with files
			t.Errorf("%s %s was not called", rt.Method, rt.Path)
		}
	}
}

// described calls operations, and holds what they answer to the description.
type described struct {
	document
	mux    http.Handler
	called map[string]bool
}

// call returns the answer, where it is JSON.
func (x *described) call(t *testing.T, method, pattern, path, body string, status int) (answer map[string]any) {
	t.Run(fmt.Sprint(method, " ", path, " ", status), func(t *testing.T) {
		x.called[method+" "+pattern] = true
		w := httptest.NewRecorder()
		x.mux.ServeHTTP(w, httptest.NewRequest(method, "/llm"+path, strings.NewReader(body)))
		if w.Code != status {
			t.Fatalf("status %d, want %d: %s", w.Code, status, w.Body)
		}
		op := x.operation(method, documented(api.Route{Path: pattern}))
		responses := op["responses"].(map[string]any)
		if _, ok := responses[fmt.Sprint(w.Code)]; !ok && w.Code < 300 {
			t.Errorf("openapi.json has no answer with status %d", w.Code)
		}
		kind, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
		content, _ := x.resolve(responses[fmt.Sprint(w.Code)])["content"].(map[string]any)
		switch {
		case w.Code == http.StatusNoContent:
			if content != nil || w.Body.Len() > 0 {
				t.Errorf("no content: described %v, answered %s", content, w.Body)
			}
		case kind != "application/json":
			if content[kind] == nil {
				t.Errorf("%s is not described: %v", kind, content)
			}
		default:
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
				t.Fatal(err)
			}
			for _, problem := range x.check(x.schema(op, w.Code), answer, "answer") {
				t.Errorf("%s\n%s", problem, w.Body)
			}
			if items, ok := answer["items"].([]any); ok && len(items) == 0 {
				t.Error("an empty list shows nothing")
			}
		}
		if w.Code >= 300 {
			return
		}
		headers, _ := x.resolve(responses[fmt.Sprint(w.Code)])["headers"].(map[string]any)
		for _, name := range []string{"ETag", "Location", "LLM-Dataset-Hash"} {
			if _, described := headers[name]; described != (w.Header().Get(name) != "") {
				t.Errorf("header %s: in openapi.json %v, in the answer %q", name, described, w.Header().Get(name))
			}
		}
		if described := x.schema(op, 0) != nil; body != "" {
			var sent any
			if err := json.Unmarshal([]byte(body), &sent); err != nil || !described {
				t.Fatalf("body: %v, described: %v", err, described)
			}
			for _, problem := range x.check(x.schema(op, 0), sent, "body") {
				t.Error(problem)
			}
		}
	})
	return answer
}

// TestOpenAPIErrors holds the answers of the mux itself to the error envelope.
func TestOpenAPIErrors(t *testing.T) {
	d := readDocument(t)
	mux := newAdminMux(adminRoutes())
	for _, step := range []struct {
		method, path string
		status       int
	}{{"GET", "/llm/nothing", 404}, {"DELETE", "/llm/prompts", 405}, {"GET", "/llm/prompts", 404}} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(step.method, step.path, nil))
		var answer any
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != step.status {
			t.Fatalf("%s %s: status %d, want %d: %s", step.method, step.path, w.Code, step.status, w.Body)
		}
		for _, problem := range d.check(map[string]any{"$ref": "#/components/schemas/Error"}, answer, "answer") {
			t.Error(problem)
		}
	}
}
