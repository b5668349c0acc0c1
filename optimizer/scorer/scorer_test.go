package scorer_test

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
)

// load makes a scorer of its configuration.
func load(t testing.TB, config string) scorer.Scorer {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	s, err := scorer.Load(ctx, json.RawMessage(config))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// row is an answer with its score.
type row struct {
	name     string
	config   string
	expected string // JSON
	answer   string
	value    float64
	why      string
}

// check judges the rows' answers.
func check(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			got, err := load(t, r.config).Score(t.Context(), scorer.Case{ID: "r1", Expected: json.RawMessage(r.expected)}, scorer.Answer{Text: r.answer})
			if err != nil {
				t.Fatal(err)
			}
			if diff := got.Value - r.value; diff > 1e-9 || diff < -1e-9 {
				t.Errorf("value: got %v, want %v (%s)", got.Value, r.value, got.Why)
			}
			if got.Why != r.why {
				t.Errorf("why:\n got %s\nwant %s", got.Why, r.why)
			}
		})
	}
}

func TestTexts(t *testing.T) {
	check(t, []row{
		{"the same", `"exact"`, `"neutral"`, " neutral\n", 1, ""},
		{"other case that does not matter", `{"scorer":"exact","ignore_case":true}`, `"neutral"`, "Neutral", 1, ""},
		{"more than the case", `{"scorer":"exact","ignore_case":true}`, `"neutral"`, "Neutral.", 0, `expected exactly "neutral" but the answer was "Neutral."`},
		{"other case", `"exact"`, `"neutral"`, "Neutral.", 0, `expected exactly "neutral" but the answer was "Neutral."`},
		{"space counts", `{"scorer":"exact","trim":false}`, `"neutral"`, "neutral\n", 0, `expected exactly "neutral" but the answer was "neutral\n"`},
		{"empty", `"exact"`, `"neutral"`, "", 0, `expected exactly "neutral" but the answer was empty`},
		{"expected JSON", `"exact"`, `{"a": 1}`, `{"a":1}`, 1, ""},
		{"expected empty", `"exact"`, `""`, "", 1, ""},
		{
			"long", `"exact"`, `"` + strings.Repeat("a", 500) + `é"`, strings.Repeat("a", 500) + "è", 0,
			"the answer differs after byte 461: expected exactly \"" + strings.Repeat("a", 39) + "é\" but it goes on \"" + strings.Repeat("a", 39) + `è"`,
		},

		{"markup", `"normalized"`, `"neutral"`, "**Neutral.**", 1, ""},
		{"quotes and brackets", `"normalized"`, `"neutral"`, "“(NEUTRAL)”!", 1, ""},
		{"list", `"normalized"`, `"neutral"`, "- neutral", 1, ""},
		{"full width and sharp s", `"normalized"`, `"STRASSE 1"`, "ｓｔｒａße\u00a01", 1, ""},
		{"combining", `"normalized"`, "\"caf\u00e9\"", "cafe\u0301", 1, ""},
		{"a sign stays", `"normalized"`, `"5"`, "-5", 0, `expected "5" but the answer was "-5"`},
		{"so do names", `"normalized"`, `"C"`, "C++", 0, `expected "C" but the answer was "C++"`},
		{"only punctuation", `"normalized"`, `"..."`, "???", 0, `expected "..." but the answer was "???"`},

		{"contains", `"contains"`, `"Blue Whale"`, "It is a  blue whale.", 1, ""},
		{"a list", `"contains"`, `["a1","b2"]`, "a1", 0.5, `the answer lacks "b2": it was "a1"`},
		{"all and any", `{"scorer":"contains","all":["x","y"],"any":["p","q"]}`, `null`, "X", 1. / 3, `the answer lacks "y"; the answer has none of "p", "q": it was "X"`},
		{"verbatim", `{"scorer":"contains","all":["X"],"verbatim":true}`, `null`, "x", 0, `the answer lacks "X": it was "x"`},

		{"regex", `{"scorer":"regex","pattern":"^\\d+$"}`, `null`, "12", 1, ""},
		{"no match", `{"scorer":"regex","pattern":"^\\d+$"}`, `null`, "a12", 0, `the answer does not match the pattern ^\d+$: it was "a12"`},
		{"group", `{"scorer":"regex","pattern":"is (?P<what>\\w+)","group":"what"}`, `"blue"`, "it is Blue", 1, ""},
		{"another group", `{"scorer":"regex","pattern":"is (\\w+)","group":"1"}`, `"blue"`, "it is red", 0, `expected "blue" where the pattern is (\w+) finds "red"`},

		{"similar", `"levenshtein"`, `"kitten"`, "sitting", 1 - 3./7, `57% similar: expected "kitten" but the answer was "sitting"`},
		{"not enough", `{"scorer":"levenshtein","threshold":0.9}`, `"kitten"`, "sitting", 0, `57% similar, less than the 90% needed: expected "kitten" but the answer was "sitting"`},
		{"nothing", `"levenshtein"`, `"kitten"`, "", 0, `0% similar: expected "kitten" but the answer was empty`},
	})
}

func TestNumeric(t *testing.T) {
	for _, text := range []string{
		"1234.5", "1,234.50", "1.234,50 €", "$1,234.50", "1'234.50", "1 234,50", "1\u202f234,5", "EUR1234.5", "The total of 3 items is 1,234.5.", "1.2345e3", "+1234.5", "= 1_234.5 USD",
	} {
		t.Run(text, func(t *testing.T) { check(t, []row{{"is", `"numeric"`, "1234.5", text, 1, ""}}) })
	}
	check(t, []row{
		{"expected text", `"numeric"`, `"$ 1,000"`, "1000", 1, ""},
		{"negative", `"numeric"`, `-5`, "it is −5 °C", 1, ""},
		{"negative currency", `"numeric"`, `-5`, "-$5", 1, ""},
		{"range", `"numeric"`, `5`, "4-5", 1, ""},
		{"tolerance", `{"scorer":"numeric","tolerance":0.1}`, `1.0`, "1.1", 1, ""},
		{"relative", `{"scorer":"numeric","relative":0.01}`, `200`, "203", 0, "expected 200 ± 2 but the number of the answer is 203"},
		{"wrong", `"numeric"`, `12.5`, "13", 0, "expected 12.5 but the number of the answer is 13"},
		{"decimal comma", `"numeric"`, `0.234`, "0,234", 1, ""},
		{"no number", `"numeric"`, `4`, "GPT-4 and v4 say so", 0, `expected 4 but the answer has no number: it was "GPT-4 and v4 say so"`},
		{"an address", `"numeric"`, `1`, "10.0.0.1", 0, `expected 1 but the answer has no number: it was "10.0.0.1"`},
		{"abbreviation", `"numeric"`, `5`, "No.5", 1, ""},
		{"a name beside it", `"numeric"`, `5`, "CO2: 5", 1, ""},
		{"lakhs", `"numeric"`, `1234567`, "₹12,34,567", 1, ""},
		{"first", `{"scorer":"numeric","which":"first"}`, `1`, "1 or 2", 1, ""},
		{"only", `{"scorer":"numeric","which":"only"}`, `1`, "1 or 2", 0, `expected only 1 but the answer has several numbers: it was "1 or 2"`},
		{"too large", `"numeric"`, `1`, "1e999", 0, `expected 1 but the answer has no number: it was "1e999"`},
	})
}

func TestLabel(t *testing.T) {
	const config = `{"scorer":"label","labels":["positive","very positive","neutral","negative"]}`
	const strict = `{"scorer":"label","strict":true,"labels":["positive","neutral"]}`
	const all = "positive, very positive, neutral, negative"
	for _, r := range []struct {
		row
		label string
	}{
		{row{"exact", config, `"neutral"`, "**Neutral**", 1, ""}, "neutral"},
		{row{"longer", config, `"very positive"`, "I'd say it is very positive.", 1, ""}, "very positive"},
		{row{"other", config, `"neutral"`, "Label: positive", 0, "named positive, wanted neutral"}, "positive"},
		{row{"twice", config, `"neutral"`, "neutral, quite neutral", 1, ""}, "neutral"},
		{row{"none", config, `"neutral"`, "dunno", 0, "names no label of " + all + `, wanted neutral: the answer was "dunno"`}, ""},
		{row{"empty", config, `"neutral"`, "", 0, "names no label of " + all + `, wanted neutral: the answer was ""`}, ""},
		{row{"part of a word", config, `"positive"`, "non-positive positively", 0, "names no label of " + all + `, wanted positive: the answer was "non-positive positively"`}, ""},
		{row{"several", config, `"neutral"`, "neutral or negative", 0, `names several labels (neutral, negative), wanted only neutral: the answer was "neutral or negative"`}, ""},
		{row{"strict", strict, `"neutral"`, "it is neutral", 0, `wanted nothing but neutral: the answer names neutral in a longer text, "it is neutral"`}, "neutral"},
		{row{"no spaces", `{"scorer":"label","labels":["肯定","否定"]}`, `"肯定"`, "答案是肯定的", 1, ""}, "肯定"},
	} {
		check(t, []row{r.row})
		s, err := load(t, r.config).Score(t.Context(), scorer.Case{Expected: json.RawMessage(r.expected)}, scorer.Answer{Text: r.answer})
		if err != nil || s.Label != r.label {
			t.Errorf("%s: label: got %q, %v, want %q", r.name, s.Label, err, r.label)
		}
	}
	_, err := load(t, strict).Score(t.Context(), scorer.Case{ID: "r7", Expected: json.RawMessage(`"mixed"`)}, scorer.Answer{Text: "neutral"})
	if want := `record "r7": expected "mixed" is none of the labels positive, neutral`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestJSON(t *testing.T) {
	const invoice = `{"total": 12.5, "items": [{"name": "a"}, {"name": "b"}]}`
	check(t, []row{
		{"equal", `"json"`, invoice, `{"items":[{"name":"a"},{"name":"b"}],"total":12.50}`, 1, ""},
		{"a text", `"json"`, invoice, `{"items":[{"name":"a"},{"name":"b"}],"total":"12.50"}`, 2. / 3, `$.total should be 12.5 but was "12.50"`},
		{"expected as text", `"json"`, `"{\"a\": 1}"`, `{"a":2}`, 0, `$.a should be 1 but was 2`},
		{
			"missing and surplus", `"json"`, invoice, `{"items":[{"name":"a"}],"total":12.5,"x y":[1,2]}`, 0.5,
			`$.items[1].name is missing, it should be "b"; $["x y"] should not be there: it was [1,2]`,
		},
		{"extra", `{"scorer":"json","extra":true}`, `{"a":1}`, `{"a":1,"b":2}`, 1, ""},
		{"fields", `{"scorer":"json","fields":["items"]}`, invoice, `{"items":[{"name":"a"},{"name":"c"}]}`, 0.5, `$.items[1].name should be "b" but was "c"`},
		{"tolerance", `{"scorer":"json","tolerance":0.01}`, `[1.00]`, `[1.005]`, 1, ""},
		{"normalized", `{"scorer":"json","normalized":true}`, `["Main St."]`, `["main st"]`, 1, ""},
		{"something else", `"json"`, invoice, `[]`, 0, `$ should be {"items":[{"name":"a"},{"name":"b"}],"total":12.5} but was []`},
		{"missing branch", `"json"`, invoice, `{"total":12.5}`, 1. / 3, `$.items is missing`},
		{"empty list", `"json"`, `{"a":[]}`, `{"a":[]}`, 1, ""},
		{"null", `"json"`, `{"a":null}`, `{"a":{}}`, 0, `$.a should be null but was {}`},
		{"large whole numbers", `"json"`, `[9007199254740993]`, `[9007199254740992]`, 0, `$[0] should be 9007199254740993 but was 9007199254740992`},
		{"no JSON", `"json"`, invoice, "Here it is", 0, `the answer is not JSON (invalid character 'H' looking for beginning of value): it was "Here it is"`},
		{"cut", `"json"`, invoice, `{"a":`, 0, `the answer is not JSON (it ends too early): it was "{\"a\":"`},
		{"followed", `"json"`, `{}`, `{} ok`, 0, `something follows the JSON, which should stand alone: the answer was "{} ok"`},
		{"empty", `"json"`, invoice, "", 0, "expected JSON but the answer was empty"},
		{"fence", `"json"`, `{}`, "```json\n{}\n```", 0, "the answer has a code fence around its JSON, which should stand alone: it was \"```json\\n{}\\n```\""},
		{"fence tolerated", `{"scorer":"json","fenced":true}`, `{"a":1}`, "```json\n{\"a\":1}\n```", 1, ""},
		{"valid only", `{"scorer":"json","valid_only":true}`, `null`, `[1]`, 1, ""},
		{
			"schema", `{"scorer":"json","schema":{"type":"object","required":["a"],"properties":{"b":{"type":"array","items":{"type":"integer"}}}}}`, `null`, `{"b":[1,"x"]}`, 0,
			`$ breaks the schema: missing property 'a'; $.b[1] breaks the schema: got string, want integer`,
		},
	})
	s, err := load(t, `"json"`).Score(t.Context(), scorer.Case{Expected: json.RawMessage(invoice)}, scorer.Answer{Text: `{"total":12.5}`})
	want := map[string]float64{"$.total": 1, "$.items[0].name": 0, "$.items[1].name": 0}
	if err != nil || !maps.Equal(s.Parts, want) {
		t.Errorf("parts: got %v, %v, want %v", s.Parts, err, want)
	}
}

func TestToolCalls(t *testing.T) {
	const want = `[{"name":"weather","arguments":{"city":"Paris","days":2}},{"name":"time","arguments":{}}]`
	weather, clock := scorer.ToolCall{Name: "weather", Arguments: `{"days":2.0,"city":"Paris"}`}, scorer.ToolCall{Name: "time"}
	rome := scorer.ToolCall{Name: "weather", Arguments: `{"days":2,"city":"Rome"}`}
	for _, r := range []struct {
		name, config, expected string
		calls                  []scorer.ToolCall
		value                  float64
		why                    string
	}{
		{"any order", `"tool_calls"`, want, []scorer.ToolCall{clock, weather}, 1, ""},
		{"ordered", `{"scorer":"tool_calls","ordered":true}`, want, []scorer.ToolCall{weather, clock}, 1, ""},
		{
			"not in order", `{"scorer":"tool_calls","ordered":true}`, want,
			[]scorer.ToolCall{clock, weather},
			0,
			`weather should be called with {"city":"Paris","days":2} but was not; time should be called with {} but was not; time should not be called here; weather should not be called here`,
		},
		{"argument", `"tool_calls"`, want, []scorer.ToolCall{rome, clock}, 0.75, `weather.city should be "Paris" but was "Rome"`},
		{"best match", `"tool_calls"`, want, []scorer.ToolCall{rome, weather, clock}, 2. / 3, `weather should not be called here`},
		{"broken", `"tool_calls"`, want, []scorer.ToolCall{{Name: "weather", Arguments: `{"city":`}, clock}, 0.5, `the arguments of weather are not JSON`},
		{"none", `"tool_calls"`, want, nil, 0, `weather should be called with {"city":"Paris","days":2} but was not; time should be called with {} but was not; the answer was a text instead: "hi"`},
		{"none wanted", `"tool_calls"`, `[]`, nil, 1, ""},
		{"one not wanted", `"tool_calls"`, `[]`, []scorer.ToolCall{clock}, 0, "time should not be called here"},
		{"as chat completions", `"tool_calls"`, `[{"id":"1","type":"function","function":{"name":"time","arguments":"{}"}}]`, []scorer.ToolCall{clock}, 1, ""},
	} {
		t.Run(r.name, func(t *testing.T) {
			got, err := load(t, r.config).Score(t.Context(), scorer.Case{Expected: json.RawMessage(r.expected)}, scorer.Answer{Text: "hi", ToolCalls: r.calls})
			if err != nil {
				t.Fatal(err)
			}
			if diff := got.Value - r.value; diff > 1e-9 || diff < -1e-9 || got.Why != r.why {
				t.Errorf("got %v, %s\nwant %v, %s", got.Value, got.Why, r.value, r.why)
			}
		})
	}
}

func TestNoExpected(t *testing.T) {
	for _, config := range []string{
		`"exact"`, `"normalized"`, `"contains"`, `"numeric"`, `"json"`, `"levenshtein"`, `"tool_calls"`,
		`{"scorer":"label","labels":["a","b"]}`, `{"scorer":"regex","pattern":"(a)","group":"1"}`, `{"scorer":"weighted","scorers":["exact","json"]}`,
	} {
		for _, expected := range []string{"", "null", " null "} {
			_, err := load(t, config).Score(t.Context(), scorer.Case{ID: "r9", Expected: json.RawMessage(expected)}, scorer.Answer{Text: "a"})
			if !errors.Is(err, scorer.ErrNoExpected) || !strings.Contains(err.Error(), `record "r9"`) {
				t.Errorf("%s: got %v, want ErrNoExpected of r9", config, err)
			}
		}
	}
}
