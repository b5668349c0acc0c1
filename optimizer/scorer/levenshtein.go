package scorer

import (
	"context"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/agnivade/levenshtein"
	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Levenshtein)) }

const (
	mostPairs = 4_000_000 // of characters, up to where texts are compared by character
	mostWords = 2000      // up to where longer ones are compared by word
)

// Levenshtein scores how similar an answer is to the expected text: 1 minus
// the share of characters that must be inserted, deleted or replaced to make
// one of the other. White space around either is disregarded.
//
// Long texts that differ over long stretches, of more than 2000 characters
// or so, are compared by words instead; and where those are more than 2000,
// what follows counts as different.
type Levenshtein struct {
	// Answers less similar than this score 0. Default: 0, none do.
	Threshold float64 `json:"threshold,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Levenshtein) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.levenshtein", New: func() caddy.Module { return new(Levenshtein) }}
}

// Validate checks the threshold.
func (l *Levenshtein) Validate() error {
	if l.Threshold < 0 || l.Threshold > 1 {
		return fmt.Errorf("threshold %v: want a share from 0 to 1", l.Threshold)
	}
	return nil
}

// Score judges an answer.
func (l *Levenshtein) Score(_ context.Context, c Case, a Answer) (Score, error) {
	want, err := c.text()
	if err != nil {
		return Score{}, err
	}
	want, got := strings.TrimSpace(want), strings.TrimSpace(a.Text)
	if want == got {
		return full(), nil
	}
	value := similarity(want, got)
	why := fmt.Sprintf("%.0f%% similar", 100*value)
	if value < l.Threshold {
		why += fmt.Sprintf(", less than the %.0f%% needed", 100*l.Threshold)
		value = 0
	}
	return judged(value, why+": "+differ("expected", want, got)), nil
}

// similarity is 1 for equal texts and 0 for those that have nothing in common.
func similarity(a, b string) float64 {
	longer := max(utf8.RuneCountInString(a), utf8.RuneCountInString(b))
	if longer == 0 {
		return 1
	}
	restA, restB := apart(a, b)
	if runesA, runesB := utf8.RuneCountInString(restA), utf8.RuneCountInString(restB); runesA*runesB <= mostPairs {
		return 1 - float64(levenshtein.ComputeDistance(restA, restB))/float64(longer)
	}
	wordsA, wordsB := strings.Fields(restA), strings.Fields(restB)
	beyond := max(len(wordsA)-mostWords, len(wordsB)-mostWords, 0)
	words := max(len(wordsA), len(wordsB))
	if words == 0 { // they differ in white space
		return 1
	}
	ids := make(map[string]rune)
	distance := levenshtein.ComputeDistance(asRunes(ids, wordsA), asRunes(ids, wordsB)) + beyond
	// What differs of the words differs of that part of the texts which the words are.
	part := float64(max(utf8.RuneCountInString(restA), utf8.RuneCountInString(restB))) / float64(longer)
	return 1 - part*min(float64(distance)/float64(words), 1)
}

// apart is what is between the beginning and the end that two texts share.
func apart(a, b string) (string, string) {
	start := 0
	for start < min(len(a), len(b)) && a[start] == b[start] {
		start++
	}
	for start > 0 && start < len(a) && !utf8.RuneStart(a[start]) || start > 0 && start < len(b) && !utf8.RuneStart(b[start]) {
		start--
	}
	a, b = a[start:], b[start:]
	end := 0
	for end < min(len(a), len(b)) && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	for end > 0 && !utf8.RuneStart(a[len(a)-end]) {
		end--
	}
	return a[:len(a)-end], b[:len(b)-end]
}

// asRunes writes words as one character each, because that is what distances are between.
func asRunes(ids map[string]rune, words []string) string {
	var text strings.Builder
	for _, word := range words[:min(len(words), mostWords)] {
		id, ok := ids[word]
		if !ok {
			id = rune(len(ids) + 1) // at most 2 * mostWords, which are all characters
			ids[word] = id
		}
		text.WriteRune(id)
	}
	return text.String()
}

// Interface guards
var (
	_ caddy.Validator = (*Levenshtein)(nil)
	_ Scorer          = (*Levenshtein)(nil)
)
