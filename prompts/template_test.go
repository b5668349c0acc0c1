package prompts

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestParseText(t *testing.T) {
	for _, test := range []struct {
		name, source string
		variables    []string
		literals     []string
	}{
		{"none", "Hello", nil, []string{"Hello"}},
		{"one", "Say {{text}}.", []string{"text"}, []string{"Say ", "."}},
		{"spaces", "{{ a }}{{\tb\n}}{{\u00a0c }}", []string{"a", "b", "c"}, []string{"", "", "", ""}},
		{"dots", "{{user.name}} {{a.b.c}}", []string{"user.name", "a.b.c"}, []string{"", " ", ""}},
		{"repeated", "{{a}} {{b}} {{ a }}", []string{"a", "b"}, []string{"", " ", " ", ""}},
		{"braces around", "{{{a}}}", []string{"a"}, []string{"{", "}"}},
		{"opened twice", "{{ {{a}}", []string{"a"}, []string{"{{ ", ""}},
		{"no variable", `{{}} {{1a}} {{a-b}} {{a b}} {{a..b}} {{.a}} {{a.}} {a} {{a} {{ä}}`, nil, []string{`{{}} {{1a}} {{a-b}} {{a b}} {{a..b}} {{.a}} {{a.}} {a} {{a} {{ä}}`}},
		{"no logic", "{% if a %}{{a|upper}}{{#a}}{{/a}}{{a()}}", nil, []string{"{% if a %}{{a|upper}}{{#a}}{{/a}}{{a()}}"}},
		{"unclosed", "{{a", nil, []string{"{{a"}},
		{"JSON", `{"a": {"b": "{{c}}"}}`, []string{"c"}, []string{`{"a": {"b": "`, `"}}`}},
		{"underscores", "{{_}} {{__a1}}", []string{"_", "__a1"}, []string{"", " ", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := textOf(t, test.source)
			if !slices.Equal(got.variables, test.variables) || !slices.Equal(got.parts[0].literals, test.literals) {
				t.Errorf("got %q, %q, want %q, %q", got.variables, got.parts[0].literals, test.variables, test.literals)
			}
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ name, template, want string }{
		{"empty", `""`, "is empty"},
		{"no messages", `[]`, "no messages"},
		{"empty message", `[{"role":"user","content":""}]`, "message 0 of the template is empty"},
		{"role", `[{"role":"tool","content":"x"}]`, "roles are system, developer, user and assistant"},
		{"member", `[{"role":"user","content":"x","name":"y"}]`, "role and content"},
		{"parts", `[{"role":"user","content":[]}]`, "role and content"},
		{"number", `3`, "must be a text or a list"},
		{"object", `{"text":"x"}`, "must be a text or a list"},
		{"null", `null`, "must be a text or a list"},
		{"large", `"` + strings.Repeat("x", MaxTemplate+1) + `"`, "the limit is 1048576"},
		{"large chat", `[{"role":"user","content":"` + strings.Repeat("x", MaxTemplate) + `"},{"role":"user","content":"x"}]`, "more than 1048576 bytes"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got Template
			err := got.UnmarshalJSON([]byte(test.template))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want …%s…", err, test.want)
			}
		})
	}
	if _, err := ParseText("a\xff"); err == nil {
		t.Error("invalid UTF-8 was accepted")
	}
}

func TestRender(t *testing.T) {
	text := textOf(t, "{{a}}-{{ b }}-{{a}} {x}")
	got, err := text.Render(map[string]string{"a": "{{b}}", "b": `"}}{{a}}`, "unused": "x"})
	if err != nil {
		t.Fatal(err)
	}
	if want := (Message{"user", `{{b}}-"}}{{a}}-{{b}} {x}`}); len(got) != 1 || got[0] != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, _ := text.Render(map[string]string{"a": "", "b": ""}); got[0].Content != "-- {x}" {
		t.Errorf("empty values: got %q", got)
	}
	chat := chatOf(t, "developer", "You are {{who}}.", "user", "{{text}}", "assistant", "{{who}}", "user", "go")
	got, err = chat.Render(map[string]string{"who": "kind", "text": "hello"})
	if err != nil {
		t.Fatal(err)
	}
	if want := messagesOf("developer", "You are kind.", "user", "hello", "assistant", "kind", "user", "go"); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestRenderMissing(t *testing.T) {
	chat := chatOf(t, "system", "{{a}} {{b}}", "user", "{{c}} {{a}} {{d}}")
	_, err := chat.Render(map[string]string{"b": "1", "z": "2"})
	if _, ok := errors.AsType[*MissingError](err); !ok {
		t.Fatalf("got %v", err)
	}
	if got, want := err.Error(), `missing variables "a", "c", "d"; given: "b", "z"`; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	text := textOf(t, "{{a}}")
	if _, err = text.Render(nil); err == nil || err.Error() != `missing variable "a"; none were given` {
		t.Errorf("got %v", err)
	}
}

func TestTemplateJSON(t *testing.T) {
	for _, want := range []string{`"a <b> & {{c}} ü\n"`, `[{"role":"system","content":"<x>"},{"role":"user","content":"{{y}}"}]`} {
		var got Template
		if err := json.Unmarshal([]byte(want), &got); err != nil {
			t.Fatal(err)
		}
		raw, err := marshal(got)
		if err != nil || string(raw) != want {
			t.Errorf("got %s, %v, want %s", raw, err, want)
		}
	}
}

func TestParseReference(t *testing.T) {
	long := strings.Repeat("a", 257)
	for _, test := range []struct {
		in      string
		want    Reference
		uri     string
		wantErr string
	}{
		{in: "sentiment", want: Reference{Name: "sentiment"}, uri: "prompts:/sentiment"},
		{in: "a.b-c_D9", want: Reference{Name: "a.b-c_D9"}, uri: "prompts:/a.b-c_D9"},
		{in: "prompts:/s", want: Reference{Name: "s"}, uri: "prompts:/s"},
		{in: "prompts:/s/3", want: Reference{Name: "s", Version: 3}, uri: "prompts:/s/3"},
		{in: "s/3", want: Reference{Name: "s", Version: 3}, uri: "prompts:/s/3"},
		{in: "prompts:/s@production", want: Reference{Name: "s", Alias: "production"}, uri: "prompts:/s@production"},
		{in: "s@production", want: Reference{Name: "s", Alias: "production"}, uri: "prompts:/s@production"},
		{in: "s@latest", want: Reference{Name: "s", Alias: "latest"}, uri: "prompts:/s@latest"},
		{in: "", wantErr: "the name is empty"},
		{in: "/3", wantErr: "the name is empty"},
		{in: "@x", wantErr: "the name is empty"},
		{in: "s@", wantErr: "the alias is empty"},
		{in: "s/", wantErr: "not a version number"},
		{in: "s/0", wantErr: "not a version number"},
		{in: "s/-1", wantErr: "not a version number"},
		{in: "s/+1", wantErr: "not a version number"},
		{in: "s/03", wantErr: "not a version number"},
		{in: "s/v3", wantErr: "not a version number"},
		{in: "s/99999999999", wantErr: "not a version number"},
		{in: "s@3", wantErr: "comes after a slash: s/3"},
		{in: "s@v3", wantErr: "comes after a slash: s/3"},
		{in: "s@a@b", wantErr: "may hold letters"},
		{in: "a b", wantErr: "may hold letters"},
		{in: "prompts://s/3", wantErr: "the name is empty"},
		{in: "..", wantErr: "cannot stand in a URL"},
		{in: "sä", wantErr: "may hold letters"},
		{in: long, wantErr: "the limit is 256"},
		{in: "s@" + long, wantErr: "the limit is 256"},
	} {
		t.Run(test.in, func(t *testing.T) {
			got, err := ParseReference(test.in)
			if test.wantErr != "" {
				if err == nil || !strings.Contains(err.Error(), test.wantErr) {
					t.Errorf("got %v, %v, want …%s…", got, err, test.wantErr)
				}
				return
			}
			if err != nil || got != test.want || got.String() != test.uri {
				t.Errorf("got %+v, %v, %s, want %+v, %s", got, err, got, test.want, test.uri)
			}
		})
	}
}

func TestContentHash(t *testing.T) {
	hash := func(template Template, format string, config map[string]json.RawMessage) string {
		t.Helper()
		var raw json.RawMessage
		if format != "" {
			raw = json.RawMessage(format)
		}
		h, err := contentHash(&template, raw, config)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	base := hash(textOf(t, "a"), `{"x":1,"y":[1.0]}`, map[string]json.RawMessage{"temperature": json.RawMessage(`0.5`), "m": json.RawMessage(`{"b":1,"a":2}`)})
	same := hash(textOf(t, "a"), `{ "y": [1.0], "x": 1 }`, map[string]json.RawMessage{"m": json.RawMessage(`{"a":2, "b":1}`), "temperature": json.RawMessage(`0.5`)})
	if base != same {
		t.Error("space and order count")
	}
	if len(base) != len("sha256:")+64 {
		t.Errorf("got %q", base)
	}
	for name, other := range map[string]string{
		"template": hash(textOf(t, "b"), `{"x":1,"y":[1.0]}`, map[string]json.RawMessage{"temperature": json.RawMessage(`0.5`), "m": json.RawMessage(`{"b":1,"a":2}`)}),
		"format":   hash(textOf(t, "a"), `{"x":2,"y":[1.0]}`, map[string]json.RawMessage{"temperature": json.RawMessage(`0.5`), "m": json.RawMessage(`{"b":1,"a":2}`)}),
		"config":   hash(textOf(t, "a"), `{"x":1,"y":[1.0]}`, map[string]json.RawMessage{"temperature": json.RawMessage(`0.6`), "m": json.RawMessage(`{"b":1,"a":2}`)}),
		"none":     hash(textOf(t, "a"), ``, nil),
		"chat":     hash(chatOf(t, "user", "a"), `{"x":1,"y":[1.0]}`, map[string]json.RawMessage{"temperature": json.RawMessage(`0.5`), "m": json.RawMessage(`{"b":1,"a":2}`)}),
	} {
		if other == base {
			t.Errorf("another %s has the same hash", name)
		}
	}
	template := textOf(t, "a")
	if _, err := contentHash(&template, json.RawMessage(`{"a":1} x`), nil); err == nil {
		t.Error("junk was accepted")
	}
}
