package mind

import (
	"unicode"
	"unicode/utf8"
)

// Tokens splits a text as the simulator counts it: a token is a word with the
// space before it (a long word is one more for every further eight bytes), up
// to three digits, one other character, or a run of white space. English comes
// to about four and a half bytes a token. The tokens together are the text.
func Tokens(s string) []string {
	var out []string
	for len(s) > 0 {
		n := next(s)
		out = append(out, s[:n])
		s = s[n:]
	}
	return out
}

// Count is how many tokens a text has.
func Count(s string) int {
	n := 0
	for ; len(s) > 0; n++ {
		s = s[next(s):]
	}
	return n
}

// longest is the longest piece of a word.
const longest = 8

// next is the length of the first token of s, which is not empty.
func next(s string) int {
	start := 0
	if s[0] == ' ' && len(s) > 1 && s[1] > ' ' {
		start = 1
	}
	switch first, size := decode(s[start:]); {
	case unicode.IsSpace(first):
		n := size
		for n < len(s) {
			r, size := decode(s[n:])
			if !unicode.IsSpace(r) || n+size < len(s) && r == ' ' && s[n+size] > ' ' { // that one belongs to the word
				break
			}
			n += size
		}
		return n
	case first >= '0' && first <= '9':
		n := start + 1
		for n < len(s) && n < start+3 && s[n] >= '0' && s[n] <= '9' {
			n++
		}
		return n
	case unicode.IsLetter(first) && !wide(first):
		n := start + size
		for n < len(s) {
			r, size := decode(s[n:])
			if !unicode.IsLetter(r) && !unicode.IsMark(r) || wide(r) || n+size > start+longest {
				break
			}
			n += size
		}
		return n
	default:
		return start + size
	}
}

func decode(s string) (rune, int) {
	if s[0] < utf8.RuneSelf {
		return rune(s[0]), 1
	}
	return utf8.DecodeRuneInString(s)
}

// wide are characters that are a token each.
func wide(r rune) bool { return r >= 0x2e80 }
