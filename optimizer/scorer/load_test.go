package scorer_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
)

// guest is a scorer of somebody else's, with a value that is none.
type guest struct {
	Value float64 `json:"value"`
}

func init() { caddy.RegisterModule(new(guest)) }

func (*guest) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.zz_guest", New: func() caddy.Module { return new(guest) }}
}

func (g *guest) Score(context.Context, scorer.Case, scorer.Answer) (scorer.Score, error) {
	return scorer.Score{Value: g.Value}, nil
}

func TestGuest(t *testing.T) {
	const config = `{"scorer":"minimum","scorers":["exact",{"scorer":"zz_guest","value":%s}]}`
	c := scorer.Case{ID: "r1", Expected: json.RawMessage(`"a"`)}
	got, err := load(t, fmt.Sprintf(config, "0.5")).Score(t.Context(), c, scorer.Answer{Text: "a"})
	if err != nil || got.Value != 0.5 || got.Why != "zz_guest: 0.5 of 1" {
		t.Errorf("got %+v, %v", got, err)
	}
	_, err = load(t, fmt.Sprintf(config, "1.5")).Score(t.Context(), c, scorer.Answer{Text: "a"})
	if want := `scorer "zz_guest": record "r1": the score 1.5 is not from 0 to 1`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestLoadErrors(t *testing.T) {
	const known = "contains, exact, gates, http, json, judge, label, levenshtein, minimum, normalized, numeric, regex, tool_calls, weighted, zz_guest"
	for config, want := range map[string]string{
		``:                                       `want a scorer: its name, or an object with its name in the field scorer`,
		`null`:                                   `want a scorer: its name, or an object with its name in the field scorer`,
		`[]`:                                     `a scorer is its name, or an object with its name in the field scorer`,
		`{"labels":[]}`:                          `the field scorer is missing: it names the scorer`,
		`"exakt"`:                                `unknown scorer "exakt"; there are ` + known,
		`{"scorer":"exact","trimm":true}`:        `scorer "exact": unknown field "trimm"`,
		`"label"`:                                `scorer "label": labels: list the labels that an answer may name, two at least`,
		`{"scorer":"label","labels":["A","a."]}`: `scorer "label": labels: "A" and "a." cannot be told apart`,
		`"regex"`:                                `scorer "regex": pattern: say what an answer must match`,
		`{"scorer":"regex","pattern":"("}`:       "scorer \"regex\": pattern: error parsing regexp: missing closing ): `(`",
		`{"scorer":"regex","pattern":"a","group":"1"}`:    `scorer "regex": group: the pattern has no group "1"`,
		`{"scorer":"contains","all":[""]}`:                `scorer "contains": all, any: an empty text is in every answer`,
		`{"scorer":"numeric","which":"best"}`:             `scorer "numeric": which "best": want last, first or only`,
		`{"scorer":"numeric","tolerance":-1}`:             `scorer "numeric": tolerance, relative: want 0 or more`,
		`{"scorer":"levenshtein","threshold":2}`:          `scorer "levenshtein": threshold 2: want a share from 0 to 1`,
		`{"scorer":"json","schema":{"$ref":"file:///x"}}`: `scorer "json": schema: $ref "file:///x": want a path in the schema, such as #/$defs/item`,
		`{"scorer":"json","schema":{"a":{"$ref":"#/a"}}}`: `scorer "json": schema: with its references followed it is too large, or refers to itself`,
		`"judge"`:       `scorer "judge": model "": name the model that judges, as provider/model-id`,
		`"Equivalence"`: `scorer "judge": model "": name the model that judges, as provider/model-id`,
		`{"scorer":"Equivalence","mode":"rubric"}`:         `scorer "Equivalence" has the mode equivalence; leave mode out, or use the scorer judge`,
		`{"scorer":"judge","model":"p/m","mode":"rubric"}`: `scorer "judge": rubric: say what a good answer is; the mode rubric judges by it`,
		`{"scorer":"judge","model":"p/m","mode":"x"}`:      `scorer "judge": mode "x": want equivalence, correctness, rubric or pairwise`,
		`{"scorer":"judge","model":"p/m","scale":1}`:       `scorer "judge": scale 1: want 2 to 100`,
		`"http"`: `scorer "http": url: want one with http:// or https://`,
		`{"scorer":"http","url":"http://a","repeats":3}`: `scorer "http": repeats: they are for servers that are noisy; say so`,
		`"weighted"`: `scorer "weighted": scorers: list those that are combined, two at least`,
		`{"scorer":"minimum","scorers":["exact","x"]}`:                         `scorer "minimum": scorers[1]: unknown scorer "x"; there are ` + known,
		`{"scorer":"gates","scorers":["exact","label"]}`:                       `scorer "gates": scorers[1]: scorer "label": labels: list the labels that an answer may name, two at least`,
		`{"scorer":"weighted","scorers":["exact","json"],"weights":[1]}`:       `scorer "weighted": weights: 1 for 2 scorers`,
		`{"scorer":"weighted","scorers":["exact","json"],"weights":[1,0]}`:     `scorer "weighted": weights: want more than 0`,
		`{"scorer":"gates","scorers":["exact","json"],"thresholds":[1,1]}`:     `scorer "gates": thresholds: 2 for 1 gates; the last scorer is none`,
		`{"scorer":"gates","scorers":["exact","json"],"thresholds":[1.5]}`:     `scorer "gates": thresholds: 1.5: want more than 0, and at most 1`,
		`{"scorer":"http","url":"http://a","headers":{"X":"{env.NONE_SUCH}"}}`: "scorer \"http\": headers: X: evaluated placeholder {env.NONE_SUCH} is empty; set it where Caddy runs",
	} {
		ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
		_, err := scorer.Load(ctx, json.RawMessage(config))
		cancel()
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %s", config, err, want)
		}
	}
}

func TestCanonical(t *testing.T) {
	for config, want := range map[string]string{
		`"exact"`:                                `{"scorer":"exact"}`,
		`{"labels":["b","a"], "scorer":"label"}`: `{"labels":["b","a"],"scorer":"label"}`,
		`{"scorer":"Correctness","model":"p/m"}`: `{"mode":"correctness","model":"p/m","scorer":"judge"}`,
		`{"scorer":"json","schema":{"type":"object","minProperties":1.0}}`: `{"schema":{"minProperties":1.0,"type":"object"},"scorer":"json"}`,
		`{"scorers":["exact",{"scorer":"json"}],"scorer":"minimum"}`:       `{"scorer":"minimum","scorers":[{"scorer":"exact"},{"scorer":"json"}]}`,
	} {
		got, err := scorer.Canonical(json.RawMessage(config))
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v, want %s", config, got, err, want)
		}
	}
	if _, err := scorer.Canonical(json.RawMessage(`{`)); err == nil {
		t.Error("broken JSON has a canonical form")
	}
}

func TestDefault(t *testing.T) {
	for _, r := range []struct {
		want     string
		expected []string
	}{
		{`"normalized"`, nil},
		{`"normalized"`, []string{"null"}},
		{`"normalized"`, []string{`"a"`, `{}`}},
		{`"normalized"`, []string{`1`}},
		{`"json"`, []string{`{}`, `[1]`, ``, `"{\"a\":1}"`}},
	} {
		var cases []scorer.Case
		for _, e := range r.expected {
			cases = append(cases, scorer.Case{Expected: json.RawMessage(e)})
		}
		if got := scorer.Default(cases); string(got) != r.want {
			t.Errorf("%v: got %s, want %s", r.expected, got, r.want)
		}
	}
}
