package scorer_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
)

// TestHuge judges answers that are large, and made to be slow.
func TestHuge(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long under the race detector")
	}
	const size = 200 << 10
	configs := []string{
		`"exact"`, `"normalized"`, `"contains"`, `"levenshtein"`, `{"scorer":"label","labels":["a","b c"]}`,
		`{"scorer":"regex","pattern":"(a+)+$"}`, `{"scorer":"json","fenced":true,"schema":{"type":"array","items":{"type":"string"}}}`,
	}
	for _, unit := range []string{"a", "a ", "1,", "-1 ", "{", "[", `{"a":`, "[1,", "🙂", "\xff", "- ", "((", "**", "a\n", "e\u0301"} {
		text := strings.Repeat(unit, size/len(unit))
		for _, config := range configs {
			want := `"` + strings.Repeat("b c ", size/8) + `x"`
			if strings.Contains(config, "label") {
				want = `"a"`
			}
			judgeQuickly(t, config, want, text)
		}
		judgeQuickly(t, `"numeric"`, "1", text)
	}
	list := "[" + strings.TrimSuffix(strings.Repeat("1,", size/2), ",") + "]"
	judgeQuickly(t, `"json"`, strings.ReplaceAll(list, "1", "2"), list)
	var words strings.Builder
	for i := range size / 8 {
		words.WriteString(strings.Repeat(string(rune('a'+i%26)), 1+i%7) + " ")
	}
	judgeQuickly(t, `"levenshtein"`, `"`+words.String()+`"`, "x"+words.String()[size/16:]+"y")
}

func judgeQuickly(t *testing.T, config, expected, text string) {
	t.Helper()
	begin := time.Now()
	s, err := load(t, config).Score(t.Context(), scorer.Case{Expected: json.RawMessage(expected)}, scorer.Answer{Text: text})
	if err != nil {
		t.Fatalf("%s, %.10q: %v", config, text, err)
	}
	sound(t, s)
	if took := time.Since(begin); took > 20*time.Second {
		t.Errorf("%s, %.10q: it took %v", config, text, took)
	}
}

// sound checks what holds of every score.
func sound(t *testing.T, s scorer.Score) {
	t.Helper()
	if math.IsNaN(s.Value) || s.Value < 0 || s.Value > 1 {
		t.Errorf("the value %v is not from 0 to 1", s.Value)
	}
	if len(s.Why) > 4000 || !utf8.ValidString(s.Why) {
		t.Errorf("the words are too long, or not UTF-8: %q", s.Why)
	}
	if _, err := json.Marshal(s); err != nil {
		t.Error(err)
	}
}

func FuzzScorers(f *testing.F) {
	var scorers []scorer.Scorer
	for _, config := range []string{
		`"exact"`, `"normalized"`, `"contains"`, `"levenshtein"`, `{"scorer":"label","labels":["neutral","very positive","肯定"]}`,
		`"numeric"`, `{"scorer":"numeric","which":"only","relative":0.1}`, `"json"`, `{"scorer":"json","fenced":true,"tolerance":1,"normalized":true}`, `"tool_calls"`,
	} {
		scorers = append(scorers, load(f, config))
	}
	for _, seed := range [][2]string{
		{"neutral", "**Neutral**."},
		{"12.5", "1.234,50 €"},
		{`{"a":[1,{"b":null}]}`, "```json\n{\"a\":[1.0]}\n```"},
		{`[{"name":"f","arguments":"{}"}]`, `{"x":1}`},
		{"肯定", "\xff-1e5"},
		{"", ""},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, expected, answer string) {
		quoted, err := json.Marshal(expected)
		if err != nil {
			t.Skip()
		}
		wants := []json.RawMessage{quoted}
		if json.Valid([]byte(expected)) {
			wants = append(wants, json.RawMessage(expected))
		}
		for _, want := range wants {
			for _, s := range scorers {
				score, err := s.Score(t.Context(), scorer.Case{ID: "f", Expected: want}, scorer.Answer{Text: answer, ToolCalls: []scorer.ToolCall{{Name: "f", Arguments: answer}}})
				if err == nil {
					sound(t, score)
				}
			}
		}
	})
}
