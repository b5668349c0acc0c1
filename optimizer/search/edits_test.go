package search

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/prompts"
)

func TestDiff(t *testing.T) {
	const prompt = "Classify the text as good or bad.\nBe quick about it.\n\nText: {{text}}\nAnswer:"
	tests := []struct {
		name, answer string
		edits        []string
		rejected     int
	}{
		{"same", prompt, nil, 0},
		{"added", "Classify the text as good or bad.\nBe quick about it.\nUse lowercase.\n\nText: {{text}}\nAnswer:", []string{"+ Use lowercase."}, 0},
		{"added before the input", "Classify the text as good or bad.\nBe quick about it.\n\nUse lowercase.\nText: {{text}}\nAnswer:", []string{"+ Use lowercase."}, 0},
		{"dropped", "Classify the text as good or bad.\n\nText: {{text}}\nAnswer:", []string{"- line 2"}, 0},
		{"changed", "Classify the text as good, bad or neither.\nBe quick about it.\n\nText: {{text}}\nAnswer:", []string{"~ line 1: Classify the text as good, bad or neither."}, 0},
		{"variable dropped", "Classify the text as good or bad.\nBe quick about it.\nAnswer:", nil, 1},
		{"variable damaged", "Classify the text as good or bad.\nBe quick about it.\n\nText: the input\nAnswer:", nil, 2},
		{"variable added", "Classify the text as good or bad.\nBe quick about it.\nUse {{style}}.\n\nText: {{text}}\nAnswer:", nil, 1},
		{"heading and list", "Classify the text as good or bad.\nBe quick about it.\n# Rules\nAnswer with one of these words:\n- good\n- bad\n\nText: {{text}}\nAnswer:", []string{"+ Answer with one of these words:\n- good\n- bad"}, 0},
		{"fence", "Classify the text as good or bad.\nBe quick about it.\nAnswer in JSON:\n```\n{\n  \"answer\": \"good\"\n}\n```\n\nText: {{text}}\nAnswer:", []string{"+ Answer in JSON:\n```\n{\n  \"answer\": \"good\"\n}\n```"}, 0},
		{"too long", "Classify the text as good or bad.\nBe quick about it.\n" + strings.Repeat("long ", 1000) + "\n\nText: {{text}}\nAnswer:", nil, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := newSheet(mustText(t, prompt))
			p := s.diff(s.numbered(nil), tt.answer)
			var got []string
			for _, e := range p.edits {
				got = append(got, e.String())
			}
			if !slices.Equal(got, tt.edits) || len(p.rejected) != tt.rejected {
				t.Errorf("edits %q, want %q; rejected %q", got, tt.edits, p.rejected)
			}
			composed, err := s.compose(p.edits, "")
			if err != nil {
				t.Fatal(err)
			}
			if i := strings.Index(composed.Text(), "Use lowercase."); i > strings.Index(composed.Text(), "\n\n") {
				t.Errorf("a new line is in the input's part:\n%s", composed.Text())
			}
		})
	}
}

func TestDiffFromEditedParent(t *testing.T) {
	s := newSheet(mustText(t, "Do it.\n\n{{x}}"))
	one := &edit{kind: addLine, place: place{0, 1}, text: "First rule."}
	two := &edit{kind: addLine, place: place{0, 1}, text: "Second rule."}
	p := s.diff(s.numbered([]*edit{one, two}), "Do it.\nFirst rule.\nA third rule.\n\n{{x}}")
	if len(p.edits) != 1 || p.edits[0].text != "A third rule." || len(p.against) != 0 && p.against[0] != two {
		t.Errorf("edits %v, against %v", p.edits, p.against)
	}
	all, err := s.compose(append([]*edit{one, two}, p.edits...), "EXAMPLES")
	if err != nil {
		t.Fatal(err)
	}
	if want := "Do it.\nFirst rule.\nSecond rule.\nA third rule.\n\nEXAMPLES\n\n{{x}}"; all.Text() != want {
		t.Errorf("composed %q, want %q", all.Text(), want)
	}
}

func TestAnswered(t *testing.T) {
	parent := newSheet(mustText(t, "Classify.\n\nText: {{text}}")).numbered(nil)
	tests := []struct{ name, answer, want string }{
		{"fenced", "Sure:\n```\nClassify.\nNew.\n\nText: {{text}}\n```\nDone.", "Classify.\nNew.\n\nText: {{text}}"},
		{"second block", "```\nnotes\n```\nand\n```text\nClassify.\nText: {{text}}\n```", "Classify.\nText: {{text}}"},
		{"nested", "```\nClassify.\n```json\n{}\n```\nText: {{text}}\n```", "Classify.\n```json\n{}\n```\nText: {{text}}"},
		{"not closed", "```\nClassify.\nText: {{text}}", "Classify.\nText: {{text}}"},
		{"bare", "Classify.\nBetter.\nText: {{text}}", "Classify.\nBetter.\nText: {{text}}"},
		{"all new", "```\nSort it. Input: {{text}}\n```", "Sort it. Input: {{text}}"},
		{"empty", "  \n", ""},
		{"garbage", "I cannot help with that.", ""},
		{"huge", "```\nClassify.\n" + strings.Repeat("x", 200<<10) + "\n```", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := answered(parent, tt.answer)
			if got != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

func TestDemosOfChat(t *testing.T) {
	chat, err := prompts.ParseChat([]prompts.Message{{Role: "system", Content: "Route tickets."}, {Role: "user", Content: "Ticket: {{ticket}}"}})
	if err != nil {
		t.Fatal(err)
	}
	s := newSheet(chat)
	c := Case{Inputs: map[string]string{"ticket": "it burns"}, Expected: "fire"}
	d, ok := newDemo(&c, 0, s.names)
	if !ok {
		t.Fatal("no example")
	}
	got, err := s.compose(nil, demoBlock([]demo{d}))
	if err != nil {
		t.Fatal(err)
	}
	want := "Route tickets.\n\nExamples:\n\nInput: it burns\nOutput: fire"
	if m := got.Messages(); m[0].Content != want || m[1].Content != "Ticket: {{ticket}}" {
		t.Errorf("messages %q", m)
	}
	c.Inputs["ticket"] = "what does {{ name }} mean"
	if _, ok := newDemo(&c, 0, s.names); ok {
		t.Error("a record with braces is an example")
	}
}

func TestQuotes(t *testing.T) {
	cases := []Case{
		{Inputs: map[string]string{"a": "The red house on the hill is for sale, thank you for reading."}},
		{Inputs: map[string]string{"a": "A blue house is not for sale, thank you for reading."}},
		{Inputs: map[string]string{"a": "Nothing here, thank you for reading."}},
	}
	q := newQuotes(cases, "Say whether the red house on the hill is sold.")
	for line, want := range map[string]bool{
		"When it says 'a blue house is not for sale', answer no.": true,
		"Is the red house on the hill meant? Then yes.":           false, // the prompt says so itself
		"Do not answer thank you for reading.":                    false, // all records say so
		"Houses that are not for sale are no.":                    false,
	} {
		if got := q.in(line, 3); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
}
