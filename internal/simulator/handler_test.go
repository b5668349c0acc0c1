package simulator_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frontier/frontier/internal/simulator"
)

// serve runs the handler of a Caddyfile's directive.
func serve(t testing.TB, directive string) *httptest.Server {
	t.Helper()
	h := new(simulator.Handler)
	if err := h.UnmarshalCaddyfile(caddyfile.NewTestDispenser(directive)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h.ServeHTTP(w, r, next); err != nil {
			t.Errorf("the handler: %v", err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func post(t testing.TB, s *httptest.Server, path, body string) (int, http.Header, string) {
	t.Helper()
	r, err := http.Post(s.URL+path, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header, string(raw)
}

func decode[T any](t testing.TB, raw string) (v T) {
	t.Helper()
	if err := json.Unmarshal([]byte(raw), &v); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
	return v
}

const fast = "llm_simulator {\n model m {\n ability 1\n jitter 0\n }\n model told {\n answer capital \"The capital is Paris, of course.\"\n }\n}"

type completion struct {
	ID, Object, Model string
	Choices           []struct {
		Index   int
		Text    string
		Message struct {
			Role      string
			Content   *string
			ToolCalls []struct {
				ID, Type string
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		Delta struct {
			Content   string
			ToolCalls []struct {
				Function struct{ Name, Arguments string }
			} `json:"tool_calls"`
		}
		FinishReason *string `json:"finish_reason"`
	}
	Usage *struct {
		Prompt     int `json:"prompt_tokens"`
		Completion int `json:"completion_tokens"`
		Total      int `json:"total_tokens"`
	}
}

func chatBody(model, text, more string) string {
	return fmt.Sprintf(`{"model": %q, "messages": [{"role": "user", "content": %q}]%s}`, model, text, more)
}

const question = "Classify sentiment: positive, negative, or neutral.\n\nText: I love it"

func TestChat(t *testing.T) {
	s := serve(t, fast)
	code, header, raw := post(t, s, "/v1/chat/completions", chatBody("m", question, ""))
	got := decode[completion](t, raw)
	if code != 200 || header.Get("X-Request-Id") == "" || got.Object != "chat.completion" || *got.Choices[0].Message.Content != "positive" || *got.Choices[0].FinishReason != "stop" {
		t.Errorf("%d %s", code, raw)
	}
	if u := got.Usage; u.Completion != 1 || u.Prompt < 15 || u.Prompt > 30 || u.Total != u.Prompt+u.Completion {
		t.Errorf("usage %+v", u)
	}
	_, _, raw = post(t, s, "/v1/chat/completions", chatBody("told", "What is the capital of France?", `, "n": 2, "max_tokens": 3`))
	got = decode[completion](t, raw)
	if len(got.Choices) != 2 || *got.Choices[1].Message.Content != "The capital is" || *got.Choices[1].FinishReason != "length" || got.Usage.Completion != 6 {
		t.Error(raw)
	}
	_, _, raw = post(t, s, "/v1/chat/completions", chatBody("told", "What is the capital of France?", `, "stop": ","`))
	if got = decode[completion](t, raw); *got.Choices[0].Message.Content != "The capital is Paris" {
		t.Error(raw)
	}
}

func TestChatFormats(t *testing.T) {
	s := serve(t, fast)
	const weather = `{"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}`
	_, _, raw := post(t, s, "/v1/chat/completions", chatBody("m", "How is the weather in Paris for 3 days?", `, "tools": [`+weather+`], "tool_choice": "required"`))
	c := decode[completion](t, raw).Choices[0]
	if *c.FinishReason != "tool_calls" || c.Message.Content != nil || c.Message.ToolCalls[0].Function.Name != "get_weather" || c.Message.ToolCalls[0].Function.Arguments != `{"city":"Paris","days":3}` {
		t.Error(raw)
	}
	_, _, raw = post(t, s, "/v1/chat/completions", chatBody("m", question, `, "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "object", "properties": {"label": {"enum": ["positive", "negative"]}}}}}`))
	if got := *decode[completion](t, raw).Choices[0].Message.Content; got != `{"label":"positive"}` {
		t.Error(got)
	}
	_, _, raw = post(t, s, "/v1/chat/completions", chatBody("m", "Hello", `, "response_format": {"type": "json_object"}`))
	if got := *decode[completion](t, raw).Choices[0].Message.Content; !strings.HasPrefix(got, `{"answer":"`) {
		t.Error(got)
	}
}

// events are the data of a stream.
func events(raw string) (out []string) {
	for line := range strings.Lines(raw) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			out = append(out, strings.TrimSpace(data))
		}
	}
	return out
}

func TestChatStream(t *testing.T) {
	s := serve(t, fast)
	_, header, raw := post(t, s, "/v1/chat/completions", chatBody("told", "the capital?", `, "stream": true, "n": 2, "stream_options": {"include_usage": true}`))
	lines := events(raw)
	if !strings.HasPrefix(header.Get("Content-Type"), "text/event-stream") || lines[len(lines)-1] != "[DONE]" {
		t.Fatal(raw)
	}
	said, finished := map[int]string{}, 0
	for _, l := range lines[:len(lines)-2] {
		for _, c := range decode[completion](t, l).Choices {
			said[c.Index] += c.Delta.Content
			if c.FinishReason != nil {
				finished++
			}
		}
	}
	last := decode[completion](t, lines[len(lines)-2])
	if said[0] != "The capital is Paris, of course." || said[1] != said[0] || finished != 2 || len(last.Choices) != 0 || last.Usage.Completion != 16 {
		t.Errorf("%v, finished %d, usage %+v", said, finished, last.Usage)
	}
	_, _, raw = post(t, s, "/v1/chat/completions", chatBody("m", "x", `, "stream": true, "tool_choice": {"type": "function", "function": {"name": "f"}}, "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"ok": {"type": "boolean"}}}}}]`))
	arguments := ""
	for _, l := range events(raw) {
		if l != "[DONE]" {
			for _, call := range decode[completion](t, l).Choices[0].Delta.ToolCalls {
				arguments += call.Function.Arguments
			}
		}
	}
	if !json.Valid([]byte(arguments)) || !strings.Contains(arguments, `"ok":`) {
		t.Error(raw)
	}
}

func TestCompletions(t *testing.T) {
	s := serve(t, fast)
	_, _, raw := post(t, s, "/v1/completions", `{"model": "told", "prompt": ["capital", "capital!"]}`)
	got := decode[completion](t, raw)
	if got.Object != "text_completion" || len(got.Choices) != 2 || got.Choices[1].Text != "The capital is Paris, of course." {
		t.Error(raw)
	}
	_, _, raw = post(t, s, "/v1/completions", `{"model": "told", "prompt": "capital", "stream": true}`)
	if lines := events(raw); len(lines) != 10 || lines[9] != "[DONE]" {
		t.Error(raw)
	}
}

func TestResponses(t *testing.T) {
	s := serve(t, fast)
	type response struct {
		Type, Status string
		Output       []struct {
			Type, Name, Arguments string
			Content               []struct{ Text string }
		}
		Usage struct {
			Output int `json:"output_tokens"`
		}
	}
	_, _, raw := post(t, s, "/v1/responses", `{"model": "m", "instructions": "Classify the sentiment as GOOD or BAD. Answer with only the label.", "input": [{"role": "user", "content": [{"type": "input_text", "text": "I hate this"}]}]}`)
	if got := decode[response](t, raw); got.Status != "completed" || got.Output[0].Content[0].Text != "BAD" || got.Usage.Output != 1 {
		t.Error(raw)
	}
	_, _, raw = post(t, s, "/v1/responses", `{"model": "told", "input": "capital?", "max_output_tokens": 2}`)
	if got := decode[response](t, raw); got.Status != "incomplete" || got.Output[0].Content[0].Text != "The capital" {
		t.Error(raw)
	}
	_, _, raw = post(t, s, "/v1/responses", `{"model": "m", "input": "Weather in Oslo?", "tool_choice": "required", "tools": [{"type": "function", "name": "w", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]}`)
	if got := decode[response](t, raw); got.Output[0].Type != "function_call" || got.Output[0].Name != "w" || got.Output[0].Arguments != `{"city":"Oslo"}` {
		t.Error(raw)
	}
	_, _, raw = post(t, s, "/v1/responses", `{"model": "told", "input": "capital?", "stream": true}`)
	var kinds []string
	for i, l := range events(raw) {
		e := decode[struct {
			Type string
			N    int `json:"sequence_number"`
		}](t, l)
		if e.N != i {
			t.Errorf("event %d has the number %d", i, e.N)
		}
		kinds = append(kinds, strings.TrimPrefix(e.Type, "response."))
	}
	want := []string{"created", "output_item.added", "content_part.added", "output_text.delta", "output_text.done", "content_part.done", "output_item.done", "completed"}
	if got := slices.Compact(kinds); !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestEmbeddings(t *testing.T) {
	s := serve(t, fast)
	type list struct {
		Data []struct{ Embedding []float64 }
	}
	_, _, raw := post(t, s, "/v1/embeddings", `{"model": "m", "input": ["my parcel is late", "the parcel came late", "a goal in the second half"], "dimensions": 128}`)
	got := decode[list](t, raw)
	dot := func(a, b int) (sum float64) {
		for i := range got.Data[a].Embedding {
			sum += got.Data[a].Embedding[i] * got.Data[b].Embedding[i]
		}
		return sum
	}
	if len(got.Data[0].Embedding) != 128 || dot(0, 1) < dot(0, 2)+0.3 || math.Abs(dot(0, 0)-1) > 0.001 {
		t.Errorf("near %f, far %f", dot(0, 1), dot(0, 2))
	}
	if _, _, raw = post(t, s, "/v1/embeddings", `{"model": "m", "input": [1, 2, 3], "encoding_format": "base64"}`); !strings.Contains(raw, `"embedding":"`) {
		t.Error(raw)
	}
}

func TestModels(t *testing.T) {
	s := serve(t, "llm_simulator")
	for path, want := range map[string]string{"/v1/models": `"id":"gpt-4o-mini"`, "/v1/models/gpt-4": `"pricing":{"input":30,"output":60}`, "/v1/models/x": "there is no model", "/": ""} {
		r, err := http.Get(s.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		raw, _ := io.ReadAll(r.Body)
		r.Body.Close()
		if !strings.Contains(string(raw), want) || (path == "/") != (r.StatusCode == http.StatusTeapot) {
			t.Errorf("%s: %d %s", path, r.StatusCode, raw)
		}
	}
}

func TestRefused(t *testing.T) {
	s := serve(t, fast)
	for name, tt := range map[string]struct {
		path, body string
		status     int
		message    string
	}{
		"unknown model":     {"/v1/chat/completions", chatBody("gpt-9", "x", ""), 404, `there is no model "gpt-9" here; use m, told`},
		"no model":          {"/v1/chat/completions", `{"messages": []}`, 400, "names no model"},
		"no messages":       {"/v1/chat/completions", `{"model": "m"}`, 400, "messages is empty"},
		"role":              {"/v1/chat/completions", `{"model": "m", "messages": [{"role": "boss", "content": "x"}]}`, 400, "messages[0]"},
		"not JSON":          {"/v1/chat/completions", `{`, 400, "not a JSON object"},
		"type":              {"/v1/chat/completions", `{"model": 7}`, 400, "model is a number"},
		"n":                 {"/v1/chat/completions", chatBody("m", "x", `, "n": 0`), 400, "n is 0"},
		"max_tokens":        {"/v1/chat/completions", chatBody("m", "x", `, "max_tokens": 0`), 400, "max_tokens is 0"},
		"tool":              {"/v1/chat/completions", chatBody("m", "x", `, "tool_choice": "required"`), 400, "tool_choice"},
		"format":            {"/v1/chat/completions", chatBody("m", "x", `, "response_format": {"type": "xml"}`), 400, "xml"},
		"prompt":            {"/v1/completions", `{"model": "m", "prompt": [1, 2]}`, 400, "prompt: want"},
		"input":             {"/v1/responses", `{"model": "m"}`, 400, "input: want"},
		"embeddings":        {"/v1/embeddings", `{"model": "m", "input": {}}`, 400, "input: want"},
		"path":              {"/v1/images", `{}`, 404, "there is nothing at /v1/images"},
		"method":            {"/v1/models", `{}`, 405, "use GET"},
		"larger than 32MiB": {"/v1/chat/completions", strings.Repeat(" ", 32<<20+1), 413, "32 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, raw := post(t, s, tt.path, tt.body)
			got := decode[struct {
				Error struct{ Message, Type string }
			}](t, raw)
			if code != tt.status || !strings.Contains(got.Error.Message, tt.message) || got.Error.Type != "invalid_request_error" {
				t.Errorf("%d %s", code, raw)
			}
		})
	}
}

func TestSameRequestSameAnswer(t *testing.T) {
	ask := func(s *httptest.Server, more string) string {
		var said []string
		for i := range 10 {
			_, _, raw := post(t, s, "/v1/chat/completions", chatBody("gpt", fmt.Sprintf("Classify sentiment: positive, negative, or neutral.\n\nText: it was okay, number %d", i), more))
			for _, c := range decode[completion](t, raw).Choices {
				said = append(said, *c.Message.Content)
			}
		}
		return strings.Join(said, "|")
	}
	const directive = "llm_simulator {\n seed %d\n model gpt {\n ability 0.75\n }\n}"
	one, other, two := serve(t, fmt.Sprintf(directive, 1)), serve(t, fmt.Sprintf(directive, 1)), serve(t, fmt.Sprintf(directive, 2))
	first := ask(one, "")
	if ask(one, "") != first || ask(other, "") != first {
		t.Error("the same requests had other answers")
	}
	if ask(two, "") == first {
		t.Error("another seed gave the same answers")
	}
	if fifth := ask(one, `, "seed": 5`); fifth == first || ask(other, `, "seed": 5`) != fifth {
		t.Error("the request's seed")
	}
	if ask(one, `, "seed": 5, "temperature": 0`) != first {
		t.Error("at temperature 0 the request's seed changed the answers")
	}
}

func TestFaultsAreReproducible(t *testing.T) {
	const directive = "llm_simulator {\n model m {\n fault 429 20% 2s\n fault 500 5%\n }\n}"
	run := func() (string, int) {
		s := serve(t, directive)
		var codes strings.Builder
		limited := 0
		for range 1000 {
			code, header, _ := post(t, s, "/v1/chat/completions", chatBody("m", "x", ""))
			fmt.Fprint(&codes, code, " ")
			if code == 429 {
				limited++
				if header.Get("Retry-After") != "2" {
					t.Errorf("Retry-After %q", header.Get("Retry-After"))
				}
			}
		}
		return codes.String(), limited
	}
	first, n := run()
	if second, _ := run(); first != second {
		t.Error("a second run had other faults")
	}
	if t.Logf("%d of 1000", n); n < 160 || n > 240 {
		t.Errorf("%d of 1000 calls had a 429; want 200", n)
	}
}

// put asks for a path with the method and a body, and returns the answer's status, Allow header and body.
func put(t *testing.T, s *httptest.Server, method, path, body string) (int, string, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, r.Header.Get("Allow"), strings.TrimSpace(string(raw))
}

// TestModelTurnsBad switches faults on and off between calls.
func TestModelTurnsBad(t *testing.T) {
	const faults = "/simulator/models/vendor/m/faults"
	s := serve(t, "llm_simulator {\n model vendor/m {\n fault 429 100% 2s\n }\n model other\n}")
	ask := func(model string) int {
		code, _, _ := post(t, s, "/v1/chat/completions", chatBody(model, "x", ""))
		return code
	}
	if code := ask("vendor/m"); code != 429 {
		t.Errorf("as declared: %d", code)
	}
	for _, step := range []struct {
		body string
		call int
	}{
		{`[{"kind": "500", "percent": 100}]`, 500},
		{`[]`, 200},
		{`[{"kind": "503", "percent": 100, "wait": "3s"}]`, 503},
	} {
		code, _, raw := put(t, s, http.MethodPut, faults, step.body)
		if _, _, shown := put(t, s, http.MethodGet, faults, ""); code != 200 || shown != raw {
			t.Errorf("%s: %d %s, then %s", step.body, code, raw, shown)
		}
		if got := ask("vendor/m"); got != step.call {
			t.Errorf("after %s a call is answered with %d", step.body, got)
		}
	}
	for _, step := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{http.MethodPut, faults, `{"kind": "500"}`, 400, "want a list of faults"},
		{http.MethodPut, faults, `null`, 400, "want a list of faults"},
		{http.MethodPut, faults, `[] []`, 400, "want a list of faults"},
		{http.MethodPut, faults, `[{"kind": "500", "percentage": 60}]`, 400, "want a list of faults"},
		{http.MethodPut, faults, `[{"kind": "teapot", "percent": 60}]`, 400, "want a status from 400 to 599"},
		{http.MethodPut, faults, `[{"kind": "500", "percent": 60}, {"kind": "cut", "percent": 60}]`, 400, "faults add up to 120%"},
		{http.MethodPut, "/simulator/models/moon/faults", `[]`, 404, `there is no model \"moon\" here`},
		{http.MethodPost, faults, `[]`, 405, "use GET, PUT"},
		{http.MethodGet, "/simulator/models/vendor/m", "", http.StatusTeapot, ""},
	} {
		code, allow, raw := put(t, s, step.method, step.path, step.body)
		if code != step.code || !strings.Contains(raw, step.want) || code == 405 && allow != "GET, PUT" {
			t.Errorf("%s %s %s: %d, Allow %q, %s", step.method, step.path, step.body, code, allow, raw)
		}
	}
	if got := ask("vendor/m"); got != 503 {
		t.Errorf("after what was refused a call is answered with %d", got)
	}
	if got := ask("other"); got != 200 {
		t.Errorf("another model answers %d", got)
	}
}

func TestTimes(t *testing.T) {
	s := serve(t, "llm_simulator {\n model m {\n first_token 60ms\n token_rate 100\n jitter 0\n answer x \"a b c d e\"\n }\n}")
	for _, more := range []string{"", `, "stream": true`} {
		began := time.Now()
		post(t, s, "/v1/chat/completions", chatBody("m", "x", more))
		if took := time.Since(began); took < 100*time.Millisecond || took > 2*time.Second { // 60 ms and four times 10 ms
			t.Errorf("%q took %v", more, took)
		}
	}
}

func TestBrokenStreams(t *testing.T) {
	s := serve(t, "llm_simulator {\n model cut {\n fault cut 100%\n answer x \"a b c d e\"\n }\n model stall {\n fault stall 100%\n answer x \"a b c d e\"\n }\n model slow {\n fault slow_first_token 100% 50ms\n }\n}")
	for _, body := range []string{chatBody("cut", "x", ""), chatBody("cut", "x", `, "stream": true`)} {
		r, err := http.Post(s.URL+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err == nil {
			raw, readErr := io.ReadAll(r.Body)
			r.Body.Close()
			if err = readErr; strings.Count(string(raw), `"content":"`) != 4 || strings.Contains(string(raw), "[DONE]") {
				t.Errorf("%s", raw)
			}
		}
		if err == nil {
			t.Error("the connection was not cut")
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	q, _ := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v1/chat/completions", strings.NewReader(chatBody("stall", "x", `, "stream": true`)))
	r, err := http.DefaultClient.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	buf := make([]byte, 64<<10)
	seen := ""
	for strings.Count(seen, `"content":"`) < 4 { // the role's and three tokens
		n, err := r.Body.Read(buf)
		if seen += string(buf[:n]); err != nil {
			t.Fatal(err, seen)
		}
	}
	cancel()
	if _, err := io.ReadAll(r.Body); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	began := time.Now()
	if post(t, s, "/v1/chat/completions", chatBody("slow", "x", "")); time.Since(began) < 50*time.Millisecond {
		t.Error("the first token was not slow")
	}
	// s.Close waits for the handlers: a stall that outlives its client would hang here.
}

func TestProvisionChecks(t *testing.T) {
	half, two := 0.5, 2.0
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	for name, tt := range map[string]struct {
		h    simulator.Handler
		want string
	}{
		"defaults":   {simulator.Handler{}, ""},
		"null":       {simulator.Handler{Model: map[string]*simulator.Model{"m": nil}}, ""},
		"good":       {simulator.Handler{Model: map[string]*simulator.Model{"m": {Ability: &half}}}, ""},
		"seed":       {simulator.Handler{Seed: -1}, "seed -1"},
		"ability":    {simulator.Handler{Model: map[string]*simulator.Model{"m": {Ability: &two}}}, `model "m": ability 2: want a number from 0 to 1`},
		"fault kind": {simulator.Handler{Model: map[string]*simulator.Model{"m": {Fault: []simulator.Fault{{Kind: "0429", Percent: 1}}}}}, `fault "0429": want a status`},
		"sum":        {simulator.Handler{Model: map[string]*simulator.Model{"m": {Fault: []simulator.Fault{{Kind: "429", Percent: 60}, {Kind: "500", Percent: 60}}}}}, "faults add up to 120%"},
		"id":         {simulator.Handler{Model: map[string]*simulator.Model{"": {}}}, "want an id"},
	} {
		t.Run(name, func(t *testing.T) {
			err := tt.h.Provision(ctx)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}

func BenchmarkChat(b *testing.B) {
	s := serve(b, "llm_simulator {\n model m {\n ability 0.75\n }\n}")
	body := chatBody("m", question, "")
	b.ReportAllocs()
	for b.Loop() {
		post(b, s, "/v1/chat/completions", body)
	}
}
