package scorer

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	longestQuote = 400  // bytes of a text that words quote
	longestWords = 4000 // bytes of all words of a score
	mostFaults   = 10   // faults that are told one by one
)

// judged is a score, with its value between 0 and 1 in any case.
func judged(value float64, why string) Score {
	return Score{Value: bounded(value), Why: cut(why, longestWords)}
}

func bounded(value float64) float64 {
	if math.IsNaN(value) {
		return 0
	}
	return min(max(value, 0), 1)
}

// full is the score of an answer without a fault.
func full() Score { return Score{Value: 1} }

// quote quotes a text, cut to what a reader needs.
func quote(text string) string { return strconv.Quote(cut(text, longestQuote)) }

// cut shortens a text to n bytes, between characters.
func cut(text string, n int) string {
	if len(text) <= n {
		return text
	}
	const more = "…"
	n -= len(more)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + more
}

// differ says how a text is not the wanted one. Of long texts it quotes where they part.
func differ(how, want, got string) string {
	if got == "" {
		return fmt.Sprintf("%s %s but the answer was empty", how, quote(want))
	}
	at := 0
	if len(want) > longestQuote || len(got) > longestQuote {
		for at < min(len(want), len(got)) && want[at] == got[at] {
			at++
		}
		at = max(at-40, 0) // some of what comes before, to find it by
		for at > 0 && !utf8.RuneStart(want[at]) {
			at--
		}
	}
	if at == 0 {
		return fmt.Sprintf("%s %s but the answer was %s", how, quote(want), quote(got))
	}
	return fmt.Sprintf("the answer differs after byte %d: %s %s but it goes on %s", at, how, quote(want[at:]), quote(got[at:]))
}

// faults joins what is wrong, as far as a reader can take it in. More are how many there are besides.
func faults(all []string, more int) string {
	if len(all) > mostFaults {
		more += len(all) - mostFaults
		all = all[:mostFaults]
	}
	if more > 0 {
		all = append(slices.Clip(all), fmt.Sprintf("and %d more faults", more))
	}
	return strings.Join(all, "; ")
}

// number writes a value as people do.
func number(v float64) string { return strconv.FormatFloat(v, 'g', 10, 64) }
