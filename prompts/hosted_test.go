package prompts

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
)

// hostedVersion registers the next version of a prompt with OpenAI's id and number.
func hostedVersion(t *testing.T, r *Registry, name, template, id, number string) {
	t.Helper()
	if _, _, err := r.Register(Draft{Name: name, Template: textOf(t, template), Tags: map[string]string{TagOpenAIID: id, TagOpenAIVersion: number}}); err != nil {
		t.Fatal(err)
	}
}

func newHostedHandler(t *testing.T) (*Handler, *Registry) {
	t.Helper()
	r := newTestRegistry(t, newFakeStore())
	hostedVersion(t, r, "reply", "First: {{text}}", "pmpt_1", "3")
	hostedVersion(t, r, "reply", "Second: {{text}}", "pmpt_1", "4 5")
	register(t, r, "reply", textOf(t, "Ours: {{text}}"))
	hostedVersion(t, r, "pmpt_2", "Named by its id: {{text}}", "pmpt_2", "7")
	register(t, r, "pmpt_3", textOf(t, "Not imported: {{text}}"))
	v := NewView(r, nil)
	t.Cleanup(v.Close)
	return newHandler(v), r
}

func TestHostedPrompts(t *testing.T) {
	h, r := newHostedHandler(t)
	ask := func(path, body string) (*call.Call, string) {
		t.Helper()
		c, w := handle(t, h, http.MethodPost, path, nil, body)
		return c, w.Body.String()
	}
	for _, tt := range []struct {
		name, path, body, prompt string
		version                  int
		alias                    string
	}{
		{"version", responsesPath, `{"prompt":{"id":"pmpt_1","version":"3","variables":{"text":"x"}}}`, "reply", 1, ""},
		{"the next", responsesPath, `{"model":"gpt-4","prompt":{"id":"pmpt_1","version":"4","variables":{"text":"x"}}}`, "reply", 2, ""},
		{"of the same content", responsesPath, `{"model":"openai/gpt-4o","prompt":{"id":"pmpt_1","version":"5","variables":{"text":"x"}}}`, "reply", 2, ""},
		{"a number", chatPath, `{"prompt":{"id":"pm\u0070t_1","version":4,"variables":{"text":"x"}}}`, "reply", 2, ""},
		{"no version", responsesPath, `{"prompt":{"id":"pmpt_1","variables":{"text":"x"}}}`, "reply", 0, ""},
		{"version null", responsesPath, `{"prompt":{"id":"pmpt_1","version":null,"variables":{"text":"x"}}}`, "reply", 0, ""},
		{"named by its id", responsesPath, `{"prompt":{"id":"pmpt_2","version":"7","variables":{"text":"x"}}}`, "pmpt_2", 1, ""},
		{"not imported", responsesPath, `{"prompt":{"id":"pmpt_3","version":"1","variables":{"text":"x"}}}`, "pmpt_3", 1, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, answer := ask(tt.path, tt.body)
			if c == nil {
				t.Fatal(answer)
			}
			want := call.Prompt{Name: tt.prompt, Version: tt.version, Alias: tt.alias, Source: call.FromParameter, Pinned: tt.version > 0}
			got := c.Prompt
			if got.Name != want.Name || got.Version != want.Version || got.Alias != want.Alias || got.Source != want.Source || got.Pinned != want.Pinned || !maps.Equal(got.Variables, map[string]string{"text": "x"}) {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
	for _, tt := range []struct {
		name, path, body, want string
		status                 int
	}{
		{"unknown, without a model", responsesPath, `{"prompt":{"id":"pmpt_9","version":"1"}}`, `there is no prompt pmpt_9; if OpenAI hosted it, register it here with: caddy llm prompts import openai FILE`, 404},
		{"unknown, on a route", responsesPath, `{"model":"gpt-4","prompt":{"id":"pmpt_9"}}`, `caddy llm prompts import openai FILE`, 404},
		{"unknown, on chat completions", chatPath, `{"model":"openai/gpt-4o","prompt":{"id":"pmpt_9"}}`, `caddy llm prompts import openai FILE`, 404},
		{
			"unknown version", responsesPath, `{"model":"openai/gpt-4o","prompt":{"id":"pmpt_1","version":"1"}}`,
			`OpenAI's version 1 of pmpt_1 is not among those that were imported as prompt reply: 3 (here 1), 4 (here 2), 5 (here 2); import it with: caddy llm prompts import openai FILE`, 404,
		},
		{"our own number", responsesPath, `{"prompt":{"id":"pmpt_2","version":"1"}}`, `7 (here 1)`, 404},
		{"an alias", responsesPath, `{"prompt":{"id":"pmpt_1","version":"production"}}`, `OpenAI's version production`, 404},
		{
			"image", responsesPath, `{"prompt":{"id":"pmpt_1","variables":{"text":{"type":"input_image","image_url":"https://x/y.png"}}}}`,
			`\"prompt.variables.text\" is an input_image, and the variables of prompts are text here: send images and files in the request's input, beside the prompt`, 400,
		},
		{"file", responsesPath, `{"prompt":{"id":"pmpt_1","variables":{"text":{"type":"input_file","file_id":"file-1"}}}}`, `is an input_file`, 400},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, w := handle(t, h, http.MethodPost, tt.path, nil, tt.body)
			if c != nil || w.Code != tt.status || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d …%s…", w.Code, w.Body, tt.status, tt.want)
			}
		})
	}
	// What OpenAI may still host is left to it.
	if c, answer := ask(responsesPath, `{"model":"openai/gpt-4o","prompt":{"id":"pmpt_9","version":"1"}}`); c == nil || c.Prompt.Name != "" {
		t.Error(answer)
	}
	// Changes are in force for the next request.
	if _, err := r.SetAlias("reply", "production", 1, Change{}); err != nil {
		t.Fatal(err)
	}
	if c, answer := ask(responsesPath, `{"prompt":{"id":"pmpt_1"}}`); c == nil || c.Prompt.Alias != "production" || c.Prompt.Pinned {
		t.Errorf("%+v %s", c, answer)
	}
	six := "4 6"
	if _, err := r.SetTags("reply", 2, map[string]*string{TagOpenAIVersion: &six}, Change{}); err != nil {
		t.Fatal(err)
	}
	if c, answer := ask(responsesPath, `{"prompt":{"id":"pmpt_1","version":"6"}}`); c == nil || c.Prompt.Version != 2 {
		t.Error(answer)
	}
	hostedVersion(t, r, "reply", "In its place: {{text}}", "pmpt_1", "6")
	if c, answer := ask(responsesPath, `{"prompt":{"id":"pmpt_1","version":"6"}}`); c == nil || c.Prompt.Version != 4 {
		t.Error(answer)
	}
	for _, version := range []int{1, 2, 4} {
		if _, err := r.SetTags("reply", version, map[string]*string{TagOpenAIID: nil}, Change{}); err != nil {
			t.Fatal(err)
		}
	}
	if c, answer := ask(responsesPath, `{"prompt":{"id":"pmpt_1","version":"6"}}`); c != nil || !strings.Contains(answer, "there is no prompt pmpt_1") {
		t.Error(answer)
	}
}

func TestHostedIDOfTwoPrompts(t *testing.T) {
	r := newTestRegistry(t, newFakeStore())
	hostedVersion(t, r, "b", "B {{text}}", "pmpt_1", "1")
	hostedVersion(t, r, "a", "A {{text}}", "pmpt_1", "1")
	if got := r.Current().hosted["pmpt_1"].prompt.Name; got != "a" {
		t.Errorf("got %s, want the first by name", got)
	}
}

func BenchmarkHostedPrompt(b *testing.B) {
	r, err := NewRegistry(newFakeStore(), zap.NewNop())
	if err != nil {
		b.Fatal(err)
	}
	defer r.Close()
	template, err := ParseText("Classify: {{text}}")
	if err != nil {
		b.Fatal(err)
	}
	if _, _, err := r.Register(Draft{Name: "reply", Template: template, Tags: map[string]string{TagOpenAIID: "pmpt_1", TagOpenAIVersion: "2"}}); err != nil {
		b.Fatal(err)
	}
	for name, body := range map[string]string{
		"by name": `{"model":"gpt-4","prompt":{"id":"reply","version":"1","variables":{"text":"great"}}}`,
		"by id":   `{"model":"gpt-4","prompt":{"id":"pmpt_1","version":"2","variables":{"text":"great"}}}`,
	} {
		b.Run(name, func(b *testing.B) {
			c := begin(responsesPath, body)
			s := r.Current()
			b.ReportAllocs()
			for b.Loop() {
				if p, fail := fromParameter(c, s, false); fail != nil || p.Version != 1 {
					b.Fatal(p, fail)
				}
			}
		})
	}
}
