package prompts

import (
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/call"
)

const long = "Classify the sentiment."

func TestMatchText(t *testing.T) {
	for _, test := range []struct {
		name, template, text string
		want                 map[string]string // nil: no match
	}{
		{"one variable", "Classify: {{text}}", "Classify: it is good", map[string]string{"text": "it is good"}},
		{"empty value", "Classify: {{text}}", "Classify: ", map[string]string{"text": ""}},
		{"constant", "Classify this.", "Classify this.", map[string]string{}},
		{"constant and more", "Classify this.", "Classify this. Now.", nil},
		{"constant and less", "Classify this.", "Classify this", nil},
		{"two variables", "Translate {{a}} into {{b}}!", "Translate red into French!", map[string]string{"a": "red", "b": "French"}},
		{"the opening again in a value", "Classify: {{text}} End.", "Classify: Classify: x End.", map[string]string{"text": "Classify: x"}},
		{"the closing again in a value", "Classify: {{text}} End.", "Classify: x End. End.", map[string]string{"text": "x End."}},
		{"an inner literal in the first value", "Translate {{a}} into {{b}}!", "Translate go into it into French!", nil},
		{"an inner literal in the last value", "Translate {{a}} into {{b}}!", "Translate red into I go into it!", nil},
		{"an inner literal that overlaps itself", "Classify {{a}}---{{b}}", "Classify x----y", nil},
		{"an inner literal that overlaps the closing", "Classify {{a}}aba{{b}}ab", "Classify xabab", nil},
		{"an inner literal that overlaps the closing, with room", "Classify {{a}}aba{{b}}ab", "Classify xabaab", map[string]string{"a": "x", "b": ""}},
		{"two inner literals", "Classify {{a}} by {{b}} for {{c}}", "Classify 1 by 2 for 3", map[string]string{"a": "1", "b": "2", "c": "3"}},
		{"the first of two inner literals twice", "Classify {{a}} by {{b}} for {{c}}", "Classify 1 by 2 by 3 for 4", nil},
		{"the first inner literal behind the second", "Classify {{a}} by {{b}} for {{c}}", "Classify 1 by 2 for 3 by 4", map[string]string{"a": "1", "b": "2", "c": "3 by 4"}},
		{"the second inner literal before the first", "Classify {{a}} by {{b}} for {{c}}", "Classify 1 for 0 by 2 for 3", map[string]string{"a": "1 for 0", "b": "2", "c": "3"}},
		{"the same inner literal twice", "Classify {{a}} and {{b}} and {{c}}", "Classify 1 and 2 and 3", map[string]string{"a": "1", "b": "2", "c": "3"}},
		{"the same inner literal thrice in the text", "Classify {{a}} and {{b}} and {{c}}", "Classify 1 and 2 and 3 and 4", nil},
		{"repeated and equal", "Classify {{a}}, only {{a}}.", "Classify x, only x.", map[string]string{"a": "x"}},
		{"repeated and different", "Classify {{a}}, only {{a}}.", "Classify x, only y.", nil},
		{"repeated, and the literal in the value", "Classify {{a}}, only {{a}}.", "Classify x, only x, only x, only x.", nil},
		{"opening and closing may not overlap", "Classify aa{{x}}aab", "Classify aaab", nil},
		{"no opening", "{{text}}\nClassify this.", "good\nClassify this.", map[string]string{"text": "good"}},
		{"neither", "{{a}} translated is {{b}}", "red translated is rouge", map[string]string{"a": "red", "b": "rouge"}},
		{"neither, twice", "{{a}} translated is {{b}}", "red translated is rot translated is rouge", nil},
		{"braces in a value", "Classify: {{text}}", "Classify: {{text}} }}", map[string]string{"text": "{{text}} }}"}},
		{"unicode", "Übersetze “{{a}}” — bitte", "Übersetze “日本語 🙂” — bitte", map[string]string{"a": "日本語 🙂"}},
		{"not normalised", "Classify caf\u00e9: {{a}}", "Classify cafe\u0301: x", nil},
		{"case counts", "Classify: {{a}}", "classify: x", nil},
		{"space counts", "Classify: {{a}}", "Classify:  x", map[string]string{"a": " x"}},
		{"adjacent variables", "Classify now {{a}}{{b}}", "Classify now x", nil},
		{"one variable alone", "{{a}}", "anything", nil},
		{"too few literals", "Do it: {{a}}", "Do it: x", nil},
		{"just enough literals", "Classify {{a}}", "Classify x", map[string]string{"a": "x"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m := matcherOf(versionOf("p", 1, textOf(t, test.template)))
			got, _ := m.recognize(chatCall(t, "user", test.text), 0)
			if test.want == nil {
				if got.Name != "" {
					t.Errorf("recognised with %q", got.Variables)
				}
				return
			}
			if got.Name != "p" || got.Version != 1 || got.Source != call.Recognized || got.Pinned || !maps.Equal(got.Variables, test.want) {
				t.Errorf("got %+v, want %q", got, test.want)
			}
		})
	}
}

func TestUnrecognizable(t *testing.T) {
	for template, want := range map[string]string{
		"Classify this: {{a}}{{b}}": "side by side",
		"{{a}}":                     "variables alone",
		"{{a}} \n ":                 "variables alone",
		"Say: {{a}} ok":             "6 literal characters",
		"Classify {{a}}":            "",
		"Übersetz {{a}}":            "",
	} {
		got := versionOf("p", 1, textOf(t, template)).Unrecognizable()
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%q: got %q, want …%s…", template, got, want)
		}
	}
	if got := versionOf("p", 1, chatOf(t, "system", "You are kind.", "user", "{{text}}")).Unrecognizable(); got != "" {
		t.Errorf("a chat with a variable alone in one message: %s", got)
	}
}

func TestMatchChat(t *testing.T) {
	chat := chatOf(t, "system", "You are a {{kind}} clerk.", "user", "{{text}}")
	shots := chatOf(t, "system", "You classify.", "user", "good", "assistant", "positive", "user", "Text: {{text}}")
	repeated := chatOf(t, "system", "You translate into {{lang}}.", "user", "In {{lang}}: {{text}}")
	anchored := chatOf(t, "user", "{{question}}", "user", "Answer that, please.")
	for _, test := range []struct {
		name     string
		template Template
		messages string
		want     map[string]string
	}{
		{"whole", chat, `[{"role":"system","content":"You are a kind clerk."},{"role":"user","content":"hi"}]`, map[string]string{"kind": "kind", "text": "hi"}},
		{"developer", chat, `[{"role":"developer","content":"You are a kind clerk."},{"role":"user","content":"hi"}]`, map[string]string{"kind": "kind", "text": "hi"}},
		{"prefix", chat, `[{"role":"system","content":"You are a kind clerk."},{"role":"user","content":"hi"},{"role":"assistant","content":"x"},{"role":"user","content":"y"}]`, map[string]string{"kind": "kind", "text": "hi"}},
		{"part", chat, `[{"role":"system","content":[{"type":"text","text":"You are a kind clerk."}]},{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}},{"type":"text","text":"hi"}]}]`, map[string]string{"kind": "kind", "text": "hi"}},
		{"two parts", chat, `[{"role":"system","content":"You are a kind clerk."},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]`, nil},
		{"other role", chat, `[{"role":"system","content":"You are a kind clerk."},{"role":"assistant","content":"hi"}]`, nil},
		{"other order", chat, `[{"role":"user","content":"hi"},{"role":"system","content":"You are a kind clerk."}]`, nil},
		{"too short", chat, `[{"role":"system","content":"You are a kind clerk."}]`, nil},
		{"not at the start", chat, `[{"role":"user","content":"hi"},{"role":"system","content":"You are a kind clerk."},{"role":"user","content":"hi"}]`, nil},
		{"examples", shots, `[{"role":"system","content":"You classify."},{"role":"user","content":"good"},{"role":"assistant","content":"positive"},{"role":"user","content":"Text: bad"}]`, map[string]string{"text": "bad"}},
		{"another example", shots, `[{"role":"system","content":"You classify."},{"role":"user","content":"good"},{"role":"assistant","content":"negative"},{"role":"user","content":"Text: bad"}]`, nil},
		{"repeated and equal", repeated, `[{"role":"system","content":"You translate into French."},{"role":"user","content":"In French: red"}]`, map[string]string{"lang": "French", "text": "red"}},
		{"repeated and different", repeated, `[{"role":"system","content":"You translate into French."},{"role":"user","content":"In Dutch: red"}]`, nil},
		{"found by its second message", anchored, `[{"role":"user","content":"why?"},{"role":"user","content":"Answer that, please."}]`, map[string]string{"question": "why?"}},
		{"null content", chat, `[{"role":"system","content":"You are a kind clerk."},{"role":"user","content":null}]`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, near := matcherOf(versionOf("p", 1, test.template)).recognize(rawCall(t, test.messages), 0)
			if test.want == nil {
				if got.Name != "" {
					t.Errorf("recognised with %q", got.Variables)
				}
				if near == nil {
					t.Error("no near miss")
				}
				return
			}
			if got.Name != "p" || !maps.Equal(got.Variables, test.want) {
				t.Fatalf("got %+v (nearest %+v), want %q", got, near, test.want)
			}
			if m := got.Matches; len(m) != 1 || m[0].First != 0 || m[0].Count != len(test.template.parts) {
				t.Errorf("got matches %+v", m)
			}
		})
	}
}

func TestWhereTextsAreLookedFor(t *testing.T) {
	m := matcherOf(versionOf("p", 1, textOf(t, "Classify: {{text}}")))
	for _, test := range []struct {
		name, messages string
		want           []int // indexes of the messages that match
	}{
		{"leading system", `[{"role":"system","content":"Classify: x"},{"role":"user","content":"hi"}]`, []int{0}},
		{"later system", `[{"role":"user","content":"hi"},{"role":"system","content":"Classify: x"}]`, nil},
		{"every user message", `[{"role":"user","content":"Classify: 1"},{"role":"assistant","content":"Classify: 2"},{"role":"user","content":"hi"},{"role":"user","content":"Classify: 3"}]`, []int{0, 3}},
		{"assistant, tool and unknown", `[{"role":"assistant","content":"Classify: x"},{"role":"tool","content":"Classify: x"},{"role":"critic","content":"Classify: x"}]`, nil},
		{"escapes", `[{"role":"user","content":"\u0043lassify:\u0020x\n\ud83d\ude42"}]`, []int{0}},
		{"lone surrogate", `[{"role":"user","content":"Classify: \ud83d"}]`, nil},
		{"beside an image", `[{"role":"user","content":[{"type":"text","text":"Classify: x"},{"type":"image_url","image_url":{}}]}]`, []int{0}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, _ := m.recognize(rawCall(t, test.messages), 0)
			var at []int
			for _, match := range got.Matches {
				at = append(at, match.First)
			}
			if !slices.Equal(at, test.want) {
				t.Errorf("got %v, want %v", at, test.want)
			}
		})
	}
	got, _ := m.recognize(rawCall(t, `[{"role":"user","content":"Classify: 1"},{"role":"user","content":"Classify: 3"}]`), 0)
	if got.Variables["text"] != "3" || got.Matches[0].Variables["text"] != "1" {
		t.Errorf("got %+v, want the last match's variables", got)
	}
}

func TestTwoCandidates(t *testing.T) {
	v := func(name string, number int, template Template) *Version { return versionOf(name, number, template) }
	a1 := v("a", 1, textOf(t, long+"\n{{text}}"))
	a2 := v("a", 2, textOf(t, long+"\n{{text}}\nBriefly."))
	a3 := v("a", 3, textOf(t, long+"\n{{text}}"))
	chat4 := v("a", 4, chatOf(t, "user", long+"\n{{text}}"))
	b1 := v("b", 1, textOf(t, long+"\n{{other}}"))
	for _, test := range []struct {
		name     string
		versions []*Version
		bound    []*Version
		text     string
		want     int // 0: no match
		value    string
	}{
		{"two versions: the newest", []*Version{a1, a2}, nil, long + "\nx\nBriefly.", 2, "x"},
		{"only one of them matches", []*Version{a1, a2}, nil, long + "\nx", 1, "x"},
		{"the newest bound one", []*Version{a1, a2, a3}, []*Version{a1, a2}, long + "\nx\nBriefly.", 2, "x"},
		{"an older bound one", []*Version{a1, a2, a3}, []*Version{a1}, long + "\nx\nBriefly.", 1, "x\nBriefly."},
		{"the newest, when none is bound", []*Version{a1, a2, a3}, nil, long + "\nx\nBriefly.", 3, "x\nBriefly."},
		{"chat and text", []*Version{a1, chat4}, nil, long + "\nx", 4, "x"},
		{"chat and bound text", []*Version{a1, chat4}, []*Version{a1}, long + "\nx", 1, "x"},
		{"two prompts", []*Version{a1, b1}, nil, long + "\nx", 0, ""},
		{"two prompts, one bound", []*Version{a1, b1}, []*Version{a1}, long + "\nx", 0, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			for range 2 { // in both orders
				m := newMatcher(test.versions, func(v *Version) bool { return slices.Contains(test.bound, v) })
				got, near := m.recognize(chatCall(t, "user", test.text), 0)
				if got.Version != test.want || got.Variables["text"] != test.value || len(got.Matches) != min(test.want, 1) {
					t.Errorf("got %+v, want version %d", got, test.want)
				}
				if test.want == 0 && (near == nil || !strings.Contains(near.Got, "prompts:/")) {
					t.Errorf("got near miss %+v", near)
				}
				slices.Reverse(test.versions)
			}
		})
	}
	t.Run("two prompts in two messages", func(t *testing.T) {
		m := matcherOf(a2, versionOf("c", 1, textOf(t, "Translate: {{x}}")))
		if got, _ := m.recognize(chatCall(t, "user", long+"\nx\nBriefly.", "user", "Translate: y"), 0); got.Name != "" {
			t.Errorf("recognised %+v", got)
		}
	})
	t.Run("chat and later texts", func(t *testing.T) {
		m := matcherOf(a1, chat4)
		got, _ := m.recognize(chatCall(t, "user", long+"\nx", "assistant", "ok", "user", long+"\ny"), 0)
		if len(got.Matches) != 2 || got.Matches[0].Version != 4 || got.Matches[1].Version != 1 || got.Version != 1 || got.Variables["text"] != "y" {
			t.Errorf("got %+v", got)
		}
	})
}

func TestNearMiss(t *testing.T) {
	chat := versionOf("c", 1, chatOf(t, "system", "You are a clerk.", "user", "Translate {{a}} into {{b}}."))
	text := versionOf("t", 2, textOf(t, "Classify {{a}} by {{b}}, only {{a}}. End"))
	for _, test := range []struct {
		name     string
		version  *Version
		messages string
		want     call.NearMiss
	}{
		{"opening", text, `[{"role":"user","content":"Clasify x"}]`, call.NearMiss{Prompt: "t", Version: 2, Message: 0, Offset: 4, Want: "sify ", Got: "ify x"}},
		{"nothing", text, `[{"role":"system","content":"be kind"},{"role":"user","content":"hello"}]`, call.NearMiss{Prompt: "t", Version: 2, Message: 1, Offset: 0, Want: "Classify ", Got: "hello"}},
		{"inside a character", versionOf("t", 2, textOf(t, "Übersetze {{a}}")), `[{"role":"user","content":"Öffne x"}]`, call.NearMiss{Prompt: "t", Version: 2, Offset: 0, Want: "Übersetze ", Got: "Öffne x"}},
		{"closing", text, `[{"role":"user","content":"Classify x by y, only x. Ende"}]`, call.NearMiss{Prompt: "t", Version: 2, Offset: 24, Want: ". End", Got: " Ende"}},
		{"inner", text, `[{"role":"user","content":"Classify x for y, only x. End"}]`, call.NearMiss{Prompt: "t", Version: 2, Offset: 9, Want: " by ", Got: "x for y, only x. End"}},
		{"two places", text, `[{"role":"user","content":"Classify x by z by y, only x. End"}]`, call.NearMiss{Prompt: "t", Version: 2, Offset: 15, Want: "only one place for  by ", Got: " by y, only x. End"}},
		{"not equal", text, `[{"role":"user","content":"Classify x by y, only z. End"}]`, call.NearMiss{Prompt: "t", Version: 2, Offset: 22, Want: "x", Got: "z. End"}},
		{"role", chat, `[{"role":"system","content":"You are a clerk."},{"role":"assistant","content":"Translate"}]`, call.NearMiss{Prompt: "c", Version: 1, Message: 1, Want: "a user message", Got: "an assistant message"}},
		{"end", chat, `[{"role":"system","content":"You are a clerk."}]`, call.NearMiss{Prompt: "c", Version: 1, Message: 1, Want: "a user message", Got: "no more messages"}},
		{"second message", chat, `[{"role":"system","content":"You are a clerk."},{"role":"user","content":"Translate x in y."}]`, call.NearMiss{Prompt: "c", Version: 1, Message: 1, Offset: 10, Want: " into ", Got: "x in y."}},
		{"two texts", chat, `[{"role":"system","content":"You are a clerk."},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}]`, call.NearMiss{Prompt: "c", Version: 1, Message: 1, Want: "Translate ", Got: "no single valid text"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p, got := matcherOf(test.version).recognize(rawCall(t, test.messages), 0)
			if p.Name != "" || got == nil {
				t.Fatalf("got %+v, %+v", p, got)
			}
			if *got != test.want {
				t.Errorf("got %+v, want %+v", *got, test.want)
			}
		})
	}
	if _, near := matcherOf(text).recognize(chatCall(t, "user", "hello"), minLiteral); near != nil {
		t.Errorf("got %+v for a text that has nothing to do with it", near)
	}
	closest := matcherOf(text, versionOf("u", 1, textOf(t, "Classify it: {{a}}")), versionOf("w", 1, textOf(t, "Write about {{a}}")))
	if _, near := closest.recognize(chatCall(t, "user", "Classify it, x"), 0); near == nil || near.Prompt != "u" {
		t.Errorf("got %+v, want the prompt that agrees longest", near)
	}
}

// Values outlive the request's body, which is pooled.
func TestVariablesAreCopied(t *testing.T) {
	for _, text := range []string{"Classify: good", `Classify: \u0067ood`} {
		c := rawCall(t, `[{"role":"user","content":"`+text+`"}]`)
		got, _ := matcherOf(versionOf("p", 1, textOf(t, "Classify: {{text}}"))).recognize(c, 0)
		for i := range c.Body {
			c.Body[i] = 'x'
		}
		if got.Variables["text"] != "good" {
			t.Errorf("%s: got %q after the body's memory was used again", text, got.Variables)
		}
	}
}

// A text that cannot match is not decoded, however long it is; one that can is.
func TestLongTexts(t *testing.T) {
	tail := strings.Repeat(`x\n`, 1000)
	m := matcherOf(versionOf("p", 1, textOf(t, "Classify:\n\"{{text}}")), versionOf("q", 1, textOf(t, "Klassifiziere\u0007: {{text}}")))
	for raw, want := range map[string]string{
		`Classify:\n\"` + tail:            "p",
		`Classify:\u000a\"` + tail:        "p",
		`Classify:\r\"` + tail:            "",
		`Classif\/\t\r\f\b` + tail:        "",
		`Klassifiziere\u0007: ` + tail:    "q",
		`Classify:\n\"` + tail + `\ud800`: "",
		`Nothing of it` + tail:            "",
		`Classif` + "ü" + tail:            "",
	} {
		got, near := m.recognize(rawCall(t, `[{"role":"user","content":"`+raw+`"}]`), 0)
		if got.Name != want {
			t.Errorf("%.20s: got %q, %+v, want %q", raw, got.Name, near, want)
		}
	}
}

// The index agrees with trying every template.
func TestIndexAgreesWithTryingAll(t *testing.T) {
	var versions []*Version
	openings := []string{"", "a", "ab", "abc", "abd", "b", "ba", "abcabc", "ü", "üa"}
	closings := []string{"", "z", "yz", "xyz", "xz", "a"}
	inner := []string{" longer than eight ", " other than eight "}
	for _, o := range openings {
		for _, c := range closings {
			for _, i := range inner {
				versions = append(versions, versionOf("p", len(versions)+1, textOf(t, o+"{{x}}"+i+"{{y}}"+c)))
			}
		}
	}
	all := matcherOf(versions...)
	for _, o := range openings {
		for _, c := range closings {
			for _, i := range inner {
				text := o + "1" + i + "2" + c
				want := 0
				for _, v := range versions {
					if got, _ := matcherOf(v).recognize(chatCall(t, "user", text), 0); got.Name != "" {
						want = max(want, v.Version)
					}
				}
				if got, near := all.recognize(chatCall(t, "user", text), 0); got.Version != want {
					t.Errorf("%q: got version %d, want %d (%+v)", text, got.Version, want, near)
				}
			}
		}
	}
}
