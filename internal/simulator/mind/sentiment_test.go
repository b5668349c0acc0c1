package mind

import (
	"slices"
	"strings"
	"testing"
)

// Sentences that are not of the reference migration.
func TestJudge(t *testing.T) {
	for text, want := range map[string]int{
		"I will never buy from this brand again.":                  -1,
		"Not good at all.":                                         -1,
		"I don't like it.":                                         -1,
		"It isn't the worst, but I wouldn't recommend it.":         -1,
		"Fast shipping and friendly staff.":                        1,
		"The battery lasts two days and the screen is gorgeous.":   1,
		"Average quality for an average price.":                    0,
		"The package arrived on Tuesday.":                          0,
		"Love the design, hate the battery.":                       0,
		"Absolutely not worth the money.":                          -1,
		"Pretty decent, I guess.":                                  0,
		"Five stars, would buy again!":                             1,
		"The app keeps crashing.":                                  -1,
		"It does the job.":                                         0,
		"Could not be happier!":                                    1,
		"Great food but awful service.":                            -1,
		"This is the best coffee I have ever had.":                 1,
		"It broke after two days.":                                 -1,
		"Meh.":                                                     0,
		"The hotel was clean and comfortable, we would come back.": 1,
		"I was not impressed.":                                     -1,
		"Nothing wrong with it.":                                   0,
		"Very slow delivery and rude staff":                        -1,
		"It's a chair. You can sit on it.":                         0,
		"Too expensive for what it is.":                            -1,
		"A huge disappointment.":                                   -1,
		"Exactly what I needed, works perfectly.":                  1,
	} {
		if got := judge(text); got.verdict() != want {
			t.Errorf("%q: got %d, want %d: %+v", text, got.verdict(), want, got)
		}
	}
}

// A word with two weights would get one of them by chance.
func TestLexiconIsUnambiguous(t *testing.T) {
	if n := len(lexicon); n < 150 {
		t.Errorf("%d words", n)
	}
	for w := range lexicon {
		if lukewarm[w] || intensity[w] != 0 {
			t.Errorf("%q has two meanings", w)
		}
	}
	for _, p := range phrases {
		if p.text != strings.ToLower(p.text) {
			t.Errorf("%q can never be found", p.text)
		}
	}
	for s, of := range subjectsOf {
		if len(slices.Compact(slices.Clone(of))) != len(of) {
			t.Errorf("%q belongs to %v", s, of)
		}
	}
}
