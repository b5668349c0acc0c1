package scorer_test

import (
	"encoding/json"
	"maps"
	"testing"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
)

func TestCombinations(t *testing.T) {
	check(t, []row{
		{"weighted", `{"scorer":"weighted","scorers":["exact","normalized"],"weights":[1,3]}`, `"a"`, "A", 0.75, `exact: expected exactly "a" but the answer was "A"`},
		{"minimum", `{"scorer":"minimum","scorers":["levenshtein","normalized"]}`, `"ab"`, "aB", 0.5, `levenshtein: 50% similar: expected "ab" but the answer was "aB"`},
		{"gates open", `{"scorer":"gates","scorers":[{"scorer":"regex","pattern":"^a"},"levenshtein"]}`, `"ab"`, "ac", 0.5, `levenshtein: 50% similar: expected "ab" but the answer was "ac"`},
		{
			"a gate shut", `{"scorer":"gates","scorers":[{"scorer":"regex","pattern":"^x"},"levenshtein"]}`, `"ab"`, "ac", 0,
			`regex: the answer does not match the pattern ^x: it was "ac"; levenshtein: 50% similar: expected "ab" but the answer was "ac"`,
		},
		{
			"thresholds", `{"scorer":"gates","scorers":["levenshtein","normalized"],"thresholds":[0.5]}`, `"ab"`, "AB", 0,
			`levenshtein: 0% similar: expected "ab" but the answer was "AB"`,
		},
	})
}

func TestCombinationsForward(t *testing.T) {
	const config = `{"scorer":"gates","scorers":[
		{"scorer":"label","labels":["yes","no"]},
		{"scorer":"weighted","scorers":["exact",{"scorer":"judge","mode":"pairwise","model":"p/m","repeats":3},{"scorer":"judge","model":"p/m"}]}]}`
	s := load(t, config)
	if got := s.(scorer.Caller).Asks(); got != 3 {
		t.Errorf("asks: got %d, want 3", got)
	}
	if got := s.(scorer.Noisy).Repeats(); got != 3 {
		t.Errorf("repeats: got %d, want 3", got)
	}
	asked := &asker{answers: []string{`{"reason":"r","verdict":"tie"}`, `{"reason":"r","verdict":"tie"}`, `{"reason":"r","verdict":"yes"}`}}
	s.(scorer.ModelUser).UseModels(asked)
	c := scorer.Case{Expected: json.RawMessage(`"yes"`)}
	got, err := s.Score(t.Context(), c, scorer.Answer{Text: "YES"})
	if err != nil {
		t.Fatal(err)
	}
	if want := 2. / 3; got.Value != want || got.Label != "yes" || !maps.Equal(got.Parts, map[string]float64{"label": 1, "weighted": want}) {
		t.Errorf("got %+v", got)
	}
	got, err = s.Score(t.Context(), c, scorer.Answer{Text: "no"})
	if err != nil || got.Value != 0 || len(asked.questions) != 3 {
		t.Errorf("a shut gate: got %+v, %v, and %d questions, want none more than 3", got, err, len(asked.questions))
	}
	for config, want := range map[string]int{
		`{"scorer":"minimum","scorers":["exact","normalized"]}`:                                       1,
		`{"scorer":"minimum","scorers":["exact",{"scorer":"judge","model":"p/m","temperature":0.5}]}`: 0,
		`{"scorer":"minimum","scorers":["exact",{"scorer":"http","url":"http://a","noisy":true}]}`:    5,
	} {
		if got := load(t, config).(scorer.Noisy).Repeats(); got != want {
			t.Errorf("%s: repeats: got %d, want %d", config, got, want)
		}
	}
}

func TestConfuse(t *testing.T) {
	c := scorer.Confuse([]scorer.Labelled{{"Yes", "yes"}, {"yes", "no"}, {"no", "no"}, {"no", ""}, {"maybe", ""}})
	got, err := json.Marshal(c)
	want := `{"labels":["maybe","no","yes"],"counts":[[0,0,0],[0,1,0],[0,1,1]],"none":[1,1,0],"n":5,"right":2}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v\nwant %s", got, err, want)
	}
	if got, _ := json.Marshal(scorer.Confuse(nil)); string(got) != `{"labels":[],"counts":[],"none":[],"n":0,"right":0}` {
		t.Errorf("of nothing: got %s", got)
	}
}

func TestAgree(t *testing.T) {
	for _, r := range []struct {
		name  string
		rated []scorer.Rated
		want  string
	}{
		{"nothing", nil, `{"n":0,"threshold":0.5,"accuracy":null,"kappa":null,"mean_absolute_error":null}`},
		{"all the same", []scorer.Rated{{1, 1}, {1, 0.5}}, `{"n":2,"threshold":0.5,"accuracy":1,"kappa":null,"mean_absolute_error":0.25}`},
		{"by chance", []scorer.Rated{{1, 1}, {1, 0}, {0, 1}, {0, 0}}, `{"n":4,"threshold":0.5,"accuracy":0.5,"kappa":0,"mean_absolute_error":0.5}`},
		{"mostly", []scorer.Rated{{1, 1}, {1, 1}, {0, 0}, {0, 1}}, `{"n":4,"threshold":0.5,"accuracy":0.75,"kappa":0.5,"mean_absolute_error":0.25}`},
	} {
		got, err := json.Marshal(scorer.Agree(r.rated, 0.5))
		if err != nil || string(got) != r.want {
			t.Errorf("%s: got %s, %v\nwant %s", r.name, got, err, r.want)
		}
	}
}
