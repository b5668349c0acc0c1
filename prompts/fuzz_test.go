package prompts

import (
	"maps"
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// checkRoundTrip renders a template with values and recognises what comes
// out: exactly those values, or nothing.
func checkRoundTrip(t interface {
	Helper()
	Fatalf(string, ...any)
}, template *Template, values map[string]string,
) {
	t.Helper()
	messages, err := template.Render(values)
	if err != nil {
		t.Fatalf("%v", err)
	}
	raw, err := marshal(messages)
	if err != nil {
		t.Fatalf("%v", err)
	}
	c, err := parseMessages(raw)
	if err != nil {
		t.Fatalf("%v", err)
	}
	v := versionOf("p", 1, *template)
	got, near := matcherOf(v).recognize(c, 0)
	if got.Name == "" {
		if v.unrecognizable == "" && near == nil {
			t.Fatalf("no match and no near miss of %q with %q", template.Messages(), values)
		}
		return
	}
	for i := range got.Matches {
		m := &got.Matches[i]
		if m.First != 0 {
			continue // another user message of a chat template happens to match
		}
		if !maps.Equal(m.Variables, values) {
			t.Fatalf("%q rendered with %q was read as %q", template.Messages(), values, m.Variables)
		}
	}
	// Rendering again gives the same bytes: the version recognised edits
	// nothing, and the same content under another number changes no text.
	c.Prompt = got
	edit := c.Object.Edit()
	if fail := Apply(c, v, edit); fail != nil || edit.Changed() {
		t.Fatalf("applying the recognised version to itself: %v, changed %v", fail, edit.Changed())
	}
	edit = c.Object.Edit()
	if fail := Apply(c, versionOf("p", 2, *template), edit); fail != nil || edit.Changed() {
		t.Fatalf("applying the same template: %v, %s", fail, edit.AppendTo(nil))
	}
}

// FuzzRecognize: render(T, values that contain T's literals) gives exactly
// those values or no match.
func FuzzRecognize(f *testing.F) {
	f.Add("Classify: {{a}} by {{b}} for {{a}}", "x by y", "for")
	f.Add("{{a}} translated is {{b}}", " translated is ", "")
	f.Add("Classify {{a}}---{{b}}", "-", "-x")
	f.Add("Classify {{a}}aba{{b}}ab", "ab", "a")
	f.Add("You are kind.\x00{{a}}\x00Classify {{b}} as {{a}}", "{{b}}", " as ")
	f.Fuzz(func(t *testing.T, source, a, b string) {
		if !utf8.ValidString(source) || !utf8.ValidString(a) || !utf8.ValidString(b) || len(source) > 1<<12 {
			return
		}
		template, err := ParseText(source)
		if texts := strings.Split(source, "\x00"); len(texts) > 1 {
			var messages []Message
			for i, text := range texts {
				messages = append(messages, Message{[]string{"system", "user", "assistant"}[i%3], text})
			}
			template, err = ParseChat(messages)
		}
		if err != nil {
			return
		}
		values := map[string]string{}
		for i, name := range template.variables {
			values[name] = []string{a, b, a + b}[i%3]
		}
		checkRoundTrip(t, &template, values)
	})
}

// The same, with templates and values of few letters, so that values hold
// the literals all the time.
func TestRoundTripProperty(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "b", "ab", "ba", " ", "ü", "abcdefgh", "{{", "}}", "\n", ""})
	text := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(piece, 0, 4).Draw(t, "pieces"), "") })
	source := rapid.Custom(func(t *rapid.T) string {
		var b strings.Builder
		for range rapid.IntRange(0, 5).Draw(t, "holes") {
			b.WriteString(text.Draw(t, "literal"))
			b.WriteString("{{" + rapid.SampledFrom([]string{"x", "y", "z"}).Draw(t, "variable") + "}}")
		}
		b.WriteString(text.Draw(t, "literal"))
		return b.String()
	})
	rapid.Check(t, func(t *rapid.T) {
		var template Template
		var err error
		if rapid.Bool().Draw(t, "chat") {
			var messages []Message
			for range rapid.IntRange(1, 3).Draw(t, "messages") {
				messages = append(messages, Message{rapid.SampledFrom([]string{"system", "user", "assistant"}).Draw(t, "role"), source.Draw(t, "source") + "x"})
			}
			template, err = ParseChat(messages)
		} else {
			template, err = ParseText(source.Draw(t, "source") + "x")
		}
		if err != nil {
			t.Fatalf("%v", err)
		}
		values := map[string]string{}
		for _, name := range template.variables {
			values[name] = text.Draw(t, "value")
		}
		checkRoundTrip(t, &template, values)
	})
}

// FuzzParse: a template's own text is never lost, and rendering every variable as itself gives it back.
func FuzzParse(f *testing.F) {
	f.Add("a {{b}} {{ c.d }} {{{e}}} {{ {{f}}")
	f.Fuzz(func(t *testing.T, source string) {
		template, err := ParseText(source)
		if err != nil {
			return
		}
		got := template.Text()
		if got != source {
			t.Fatalf("got %q, want %q", got, source)
		}
		values := map[string]string{}
		for _, name := range template.variables {
			if !validVariable(name) {
				t.Fatalf("variable %q", name)
			}
			values[name] = "{{" + name + "}}"
		}
		messages, err := template.Render(values)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseText(messages[0].Content)
		if err != nil || len(again.variables) != len(template.variables) || len(again.parts[0].holes) < len(template.parts[0].holes) {
			t.Fatalf("%q became %q", source, messages[0].Content)
		}
	})
}

// FuzzApply: whatever is recognised and applied, the body stays valid JSON
// and the members that the version does not speak of stay byte for byte.
func FuzzApply(f *testing.F) {
	f.Add(`{"model":"m","messages":[{"role":"user","content":"Classify: x"}],"temperature":1.0}`)
	f.Add(`{"messages":[{"role":"developer","content":"You are a kind clerk."},{"role":"user","content":[{"type":"text","text":"hi"},{"type":"image_url","image_url":{"url":"u"}}]}]}`)
	f.Add(`{"messages":[{"role":"user","content":"Classify: x"},{"role":"assistant","content":null},{"content":[{"type":"text","text":"Classify: y"}],"role":"user","name":"n"}]}`)
	versions := []*Version{
		versionOf("p", 1, textOf(f, "Classify: {{text}}")),
		versionOf("p", 2, chatOf(f, "system", "You are a {{kind}} clerk.", "user", "{{text}}")),
	}
	targets := []*Version{
		versionOf("p", 3, textOf(f, "Do classify {{text}}!")),
		versionOf("p", 4, chatOf(f, "system", "Classify.", "user", "e", "assistant", "f", "user", "{{text}}")),
		versionOf("p", 5, chatOf(f, "system", "Classify {{text}}.")),
	}
	m := matcherOf(versions...)
	f.Add(`{"system":[{"type":"text","text":"You are a kind clerk."}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		for i := range 2 * len(targets) {
			target, path, system := targets[i/2], []string{chatPath, messagesPath}[i%2], []string{"messages", "system"}[i%2]
			c := begin(path, body)
			if c == nil {
				return
			}
			c.Prompt, _ = m.recognize(c, 0)
			if c.Prompt.Name == "" {
				c.Prompt = call.Prompt{Name: "p", Source: call.FromHeader, Variables: map[string]string{"text": "t"}}
			}
			edit := c.Object.Edit()
			if fail := Apply(c, target, edit); fail != nil {
				continue
			}
			out := edit.AppendTo(nil)
			after, err := jsonscan.Parse(out, 200, nil)
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for i := range c.Object.Members {
				if k := &c.Object.Members[i]; k.Key != "messages" && k.Key != system && string(after.Get(k.Key).Of(out)) != string(k.Of(c.Body)) {
					t.Fatalf("member %s was changed: %s", k.Key, out)
				}
			}
			if path == chatPath && !after.Get("messages").IsArray(out) {
				t.Fatalf("no messages: %s", out)
			}
		}
	})
}
