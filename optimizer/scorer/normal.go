package scorer

import (
	"strings"
	"unicode"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// fold makes texts that differ only in case, in white space, and in how
// Unicode writes the same characters, the same.
func fold(text string) string {
	text = norm.NFKC.String(cases.Fold().String(norm.NFKC.String(text)))
	text = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) { // such as zero width spaces and the byte order mark
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// normal is a text folded and without the punctuation, quotation marks and
// markup around it. Of a text that is nothing else, nothing is taken.
func normal(text string) string {
	folded := fold(text)
	if bare := strip(folded); bare != "" {
		return bare
	}
	return folded
}

// strip takes off what is around a folded text. What could be part of a value
// stays: the signs of -5, .5, 5% and C++, and brackets that are not around everything.
func strip(text string) string {
	for {
		before := len(text)
		text = strings.TrimSpace(text)
		for _, markup := range []string{"- ", "• ", "# ", "## ", "### ", "> "} {
			text = strings.TrimPrefix(text, markup)
		}
		text = strings.TrimFunc(text, isQuote)
		text = strings.TrimRight(text, ".,;:!?…。、")
		text = strings.TrimLeft(text, "¿¡;:!?")
		text = unbracket(text)
		if len(text) == before {
			return text
		}
	}
}

// isQuote reports whether the character quotes or, in markdown, emphasises.
func isQuote(r rune) bool {
	switch r {
	case '"', '\'', '`', '*', '_', '„', '‚', '「', '」', '『', '』':
		return true
	}
	return unicode.In(r, unicode.Pi, unicode.Pf)
}

var brackets = map[byte]byte{'(': ')', '[': ']', '{': '}', '<': '>'}

// unbracket takes off a pair of brackets that is around everything.
func unbracket(text string) string {
	if len(text) < 2 || brackets[text[0]] == 0 || text[len(text)-1] != brackets[text[0]] {
		return text
	}
	inner := text[1 : len(text)-1]
	if strings.IndexByte(inner, text[0]) >= 0 || strings.IndexByte(inner, brackets[text[0]]) >= 0 {
		return text // (a) and (b)
	}
	return inner
}
