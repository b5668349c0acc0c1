package search

import (
	"fmt"
	"strings"
	"unicode"
)

// key is what two lines have in common that say the same in the same words:
// letters and digits in lower case, without bullets, numbering and punctuation.
func key(line string) string { return strings.Join(words(line), " ") }

// words are the runs of letters and digits of s, in lower case.
func words(s string) []string {
	return strings.FieldsFunc(strings.ToLower(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) })
}

// grams are the words of s and the pairs of words that follow one another, as
// a set: what texts are compared by.
func grams(s string) map[string]bool {
	set := map[string]bool{}
	before := ""
	for _, w := range words(s) {
		set[w] = true
		if before != "" {
			set[before+" "+w] = true
		}
		before = w
	}
	return set
}

// overlap is the Jaccard index of two sets.
func overlap(a, b map[string]bool) float64 {
	if len(a) > len(b) {
		a, b = b, a
	}
	both := 0
	for g := range a {
		if b[g] {
			both++
		}
	}
	if either := len(a) + len(b) - both; either > 0 {
		return float64(both) / float64(either)
	}
	return 0
}

// tokens estimates how many tokens s is, at four bytes each.
func tokens(s string) int { return (len(s) + 3) / 4 }

// clip shortens s to at most n bytes, at the border of a character, and says so.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n] + " …"
}

// quotes finds texts that repeat a passage of a record.
type quotes struct {
	passages map[string]int // runs of words, by how many records have them
	common   map[string]bool
}

// quoted is how many words in a row make a passage.
const quoted = 5

// newQuotes knows the records' inputs. What the prompt itself says is nobody's quote.
func newQuotes(cases []Case, prompt string) *quotes {
	q := &quotes{passages: map[string]int{}, common: map[string]bool{}}
	for _, p := range passages(prompt) {
		q.common[p] = true
	}
	for i := range cases {
		seen := map[string]bool{}
		for _, value := range cases[i].Inputs {
			for _, p := range passages(value) {
				if !seen[p] {
					seen[p] = true
					q.passages[p]++
				}
			}
		}
	}
	return q
}

// passages are the runs of words of s; a shorter text of at least three words is one.
func passages(s string) []string {
	w := words(s)
	if len(w) < quoted {
		if len(w) < 3 {
			return nil
		}
		return []string{strings.Join(w, " ")}
	}
	out := make([]string, 0, len(w)-quoted+1)
	for i := range len(w) - quoted + 1 {
		out = append(out, strings.Join(w[i:i+quoted], " "))
	}
	return out
}

// in reports whether line repeats a passage that fewer than most records have.
func (q *quotes) in(line string, most int) bool {
	w := words(line)
	for i := range w {
		for n := 3; n <= quoted && i+n <= len(w); n++ {
			p := strings.Join(w[i:i+n], " ")
			if records := q.passages[p]; records > 0 && records < most && !q.common[p] {
				return true
			}
		}
	}
	return false
}

// counted says how many of a thing there are.
func counted(n int, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
