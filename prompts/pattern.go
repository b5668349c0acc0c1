package prompts

import (
	"fmt"
	"strings"
	"unicode"

	"github.com/caddy-frontier/frontier/internal/call"
)

// minLiteral is how many literal characters that are no space a template
// needs to be recognised: with fewer, texts would match by accident.
const minLiteral = 8

// pattern is one text of a template made ready for taking it apart again.
type pattern struct {
	role             call.Role
	opening, closing string
	inner            []string
	holes            []hole // one more than inner; none: the text is constant
}

type hole struct {
	variable int
	first    bool // the variable's first place in the template; any other must hold the same value
}

func compile(t *Template) []pattern {
	seen := make([]bool, len(t.variables))
	out := make([]pattern, len(t.parts))
	for i := range t.parts {
		src, p := &t.parts[i], &out[i]
		p.role = call.ParseRole(src.spokenBy())
		p.opening = src.literals[0]
		if len(src.holes) == 0 {
			continue
		}
		p.closing = src.literals[len(src.holes)]
		p.inner = src.literals[1:len(src.holes)]
		for _, v := range src.holes {
			p.holes = append(p.holes, hole{variable: v, first: !seen[v]})
			seen[v] = true
		}
	}
	return out
}

// unrecognizable says why a template can never be recognised, or nothing.
func unrecognizable(patterns []pattern) string {
	count := 0
	for i := range patterns {
		p := &patterns[i]
		for j := range p.inner {
			if p.inner[j] == "" {
				return "two of its variables stand side by side, so that nobody can tell where one value ends"
			}
			count += visible(p.inner[j])
		}
		count += visible(p.opening) + visible(p.closing)
	}
	switch {
	case count == 0:
		return "it consists of variables alone, so that every text would match"
	case count < minLiteral:
		return fmt.Sprintf("it has %d literal characters that are no space; at least %d are needed to tell it from any other text", count, minLiteral)
	}
	return ""
}

func visible(s string) (n int) {
	for _, r := range s {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// match takes text apart and stores each value under its variable's index. It
// is true only when that is possible in exactly one way: the opening and the
// closing are anchored, every inner literal is at its leftmost place, and
// none can be moved to the right, one after the other from the last, without
// passing the next one. So the leftmost and the rightmost placements are the
// same, and no value can hold a literal that could have been meant instead.
// What was matched renders to the same bytes again, because the values are
// what stands between the literals, and repeated variables are equal.
//
// The values share text's memory. matched is how many bytes of literals were
// found before it failed, for near misses.
func (p *pattern) match(text string, values []string) (matched int, ok bool) {
	if !strings.HasPrefix(text, p.opening) {
		return 0, false // the index knows how much of it agrees
	}
	if len(p.holes) == 0 {
		return len(p.opening), len(text) == len(p.opening)
	}
	matched = len(p.opening)
	text = text[len(p.opening):]
	if !strings.HasSuffix(text, p.closing) {
		return matched, false
	}
	matched += len(p.closing)
	text = text[:len(text)-len(p.closing)]
	at := 0 // where the hole begins
	for i := range p.holes {
		end, next := len(text), len(text)
		if i < len(p.inner) {
			n := strings.Index(text[at:], p.inner[i])
			if n < 0 {
				return matched, false
			}
			end = at + n
			next = end + len(p.inner[i])
			matched += len(p.inner[i])
		}
		if i > 0 {
			// The literal before this hole: is there another place for it, further right, before the next one begins?
			before := at - len(p.inner[i-1])
			if strings.Contains(text[before+1:end], p.inner[i-1]) {
				return matched, false
			}
		}
		h := p.holes[i]
		if h.first {
			values[h.variable] = text[at:end]
		} else if values[h.variable] != text[at:end] {
			return matched, false
		}
		at = next
	}
	return matched, true
}

// explain says where and why match failed, in words for a person.
func (p *pattern) explain(text string, values []string) (offset int, want, got string) {
	if n := common(text, p.opening); n < len(p.opening) {
		n = len(cut(p.opening, n))
		return n, p.opening[n:], text[n:]
	}
	base := len(p.opening)
	if len(p.holes) == 0 {
		return base, "", text[base:]
	}
	end := len(text) - len(p.closing)
	if end < base || text[end:] != p.closing {
		at := len(cut(text, max(end, base)))
		return at, p.closing, text[at:]
	}
	at := base
	for i := range p.holes {
		stop, next := end, end
		if i < len(p.inner) {
			n := strings.Index(text[at:end], p.inner[i])
			if n < 0 {
				return at, p.inner[i], text[at:]
			}
			stop = at + n
			next = stop + len(p.inner[i])
		}
		if i > 0 {
			literal := p.inner[i-1]
			from := at - len(literal) + 1
			if n := strings.Index(text[from:stop], literal); n >= 0 {
				return from + n, "only one place for " + cut(literal, nearText), text[from+n:]
			}
		}
		h := p.holes[i]
		if h.first {
			values[h.variable] = text[at:stop]
		} else if values[h.variable] != text[at:stop] {
			return at, values[h.variable], text[at:]
		}
		at = next
	}
	return len(text), "", ""
}

// common is the length of the longest common prefix.
func common(a, b string) int {
	n := min(len(a), len(b))
	if a[:n] == b[:n] {
		return n
	}
	i := 0
	for a[i] == b[i] {
		i++
	}
	return i
}

// commonEnd is the length of the longest common suffix.
func commonEnd(a, b string) int {
	i := 0
	for i < len(a) && i < len(b) && a[len(a)-1-i] == b[len(b)-1-i] {
		i++
	}
	return i
}
