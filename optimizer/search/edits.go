package search

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// kind is what an edit does.
type kind int

const (
	addLine kind = iota
	dropLine
	changeLine
)

// edit is one line of difference from the original prompt. It can be tried,
// kept or left out alone, and goes together with edits of other proposals.
type edit struct {
	kind
	place        // of addLine, the place of the new line; else at is the line
	text  string // the new line
	votes int    // proposals that had it
}

func (e *edit) String() string {
	switch e.kind {
	case dropLine:
		return fmt.Sprintf("- line %d", e.at+1)
	case changeLine:
		return fmt.Sprintf("~ line %d: %s", e.at+1, e.text)
	default:
		return "+ " + e.text
	}
}

// clashes reports whether two edits are of the same line of the original.
func (e *edit) clashes(o *edit) bool {
	return e.kind != addLine && o.kind != addLine && e.at == o.at
}

// same reports whether two edits are the same.
func (e *edit) same(o *edit) bool {
	return e.kind == o.kind && (e.kind == addLine || e.at == o.at) && key(e.text) == key(o.text)
}

const (
	maxAnswer = 64 << 10 // of a proposal, in bytes
	maxLine   = 2000     // of a new line, in bytes
	maxNew    = 40       // lines that one proposal may add or change
	maxLines  = 2000     // of a proposal and of a prompt, to be compared
)

// source is where a line of a numbered prompt comes from: a line of the
// original, an edit, or neither for the marks between messages.
type source struct {
	text  string
	line  int // -1: none
	edit  *edit
	place place // of what is written after it
}

// numbered is the prompt with the edits, as the reflector sees it: with marks
// between the messages of a chat, and without solved examples.
func (s *sheet) numbered(edits []*edit) []source {
	var out []source
	message := -1
	add := func(m, at int, src source) {
		if s.chat && m != message {
			message = m
			out = append(out, source{text: "[" + s.roles[m] + "]", line: -1, place: place{m, at}})
		}
		out = append(out, src)
	}
	before := func(i int) {
		for _, e := range edits {
			if e.kind == addLine && e.at == i {
				add(e.message, i, source{text: e.text, line: -1, edit: e, place: e.place})
			}
		}
	}
	for i, l := range s.lines {
		before(i)
		src := source{text: l.text, line: i, place: place{l.message, i + 1}}
		for _, e := range edits {
			if e.at == i && e.kind != addLine {
				src.edit, src.text = e, e.text
			}
		}
		if src.edit == nil || src.edit.kind != dropLine {
			add(l.message, i, src)
		}
	}
	before(len(s.lines))
	return out
}

func text(lines []source) string {
	texts := make([]string, len(lines))
	for i, l := range lines {
		texts[i] = l.text
	}
	return strings.Join(texts, "\n")
}

// proposal is what was made of a reflector's answer.
type proposal struct {
	edits    []*edit
	against  []*edit  // edits of the parent that it took back
	rejected []string // what was not allowed, in words
}

// diff takes a reflector's answer apart into edits, by the longest common
// subsequence of lines with the prompt it was shown. It trusts nothing: a line
// with a variable is never changed, dropped or added, whatever the answer says.
func (s *sheet) diff(parent []source, answer string) proposal {
	var p proposal
	lines := strings.Split(strings.ReplaceAll(answer, "\r\n", "\n"), "\n")
	if len(lines) > maxLines || len(parent) > maxLines {
		p.rejected = append(p.rejected, fmt.Sprintf("the answer or the prompt has more than %d lines", maxLines))
		return p
	}
	kept, pairs := align(parent, lines)
	last := parent[0].place // of the next new line
	if parent[0].line == 0 {
		last.at = 0
	}
	from, added := 0, 0
	var run *edit // the new line just before, which the next may continue
	fenced := false
	for j, text := range lines {
		text = strings.TrimRight(text, " \t")
		if k := pairs[j]; k >= 0 {
			last, from, run, fenced = parent[k].place, k+1, nil, false
			continue
		}
		if run != nil && (fenced || continues(run.text, text)) {
			if why := s.refuse(run.text + "\n" + text); why == "" {
				run.text += "\n" + text
				fenced = fenced != strings.HasPrefix(strings.TrimSpace(text), "```")
			}
			continue
		}
		if run = nil; key(text) == "" || heads(text) && (j+1 == len(lines) || !opens(lines[j+1])) {
			continue
		}
		if why := s.refuse(text); why != "" {
			p.rejected = append(p.rejected, fmt.Sprintf("%q: %s", clip(text, 80), why))
			continue
		}
		if added++; added > maxNew {
			p.rejected = append(p.rejected, fmt.Sprintf("more than %d new lines", maxNew))
			break
		}
		run = &edit{kind: addLine, place: s.settle(last), text: text}
		fenced = strings.HasPrefix(text, "```")
		// A line in the place of one that is gone, and like it, is that line changed.
		next := len(parent)
		for _, k := range pairs[j:] {
			if k >= 0 {
				next = k
				break
			}
		}
		if k := likest(parent, kept, from, next, text); k >= 0 {
			kept[k] = true
			if l := parent[k].line; l >= 0 && parent[k].edit == nil {
				run.kind, run.place = changeLine, place{s.lines[l].message, l}
			}
		}
		p.edits = append(p.edits, run)
	}
	for k, src := range parent {
		switch {
		case kept[k] || key(src.text) == "":
		case src.edit != nil:
			p.against = append(p.against, src.edit)
		case src.line < 0:
		case s.lines[src.line].locked:
			p.rejected = append(p.rejected, fmt.Sprintf("line %d was left out or changed: it carries a variable", src.line+1))
		default:
			p.edits = append(p.edits, &edit{kind: dropLine, place: place{s.lines[src.line].message, src.line}})
		}
	}
	return p
}

// continues reports whether a new line goes with the one before: it is
// indented, has no words (a bracket), or is an item of a list that was announced.
func continues(before, text string) bool {
	if text == "" {
		return false
	}
	first, _, _ := strings.Cut(before, "\n")
	bullet := strings.HasPrefix(text, "- ") || strings.HasPrefix(text, "* ")
	return text[0] == ' ' || text[0] == '\t' || key(text) == "" || strings.HasSuffix(first, ":") && (bullet || first == before)
}

// opens reports whether a line begins a block, to which the line before belongs.
func opens(text string) bool {
	text = strings.TrimSpace(text)
	return strings.HasPrefix(text, "```") || strings.HasPrefix(text, "{") && !strings.HasPrefix(text, "{{")
}

// heads reports whether a line is only a heading of others.
func heads(text string) bool {
	return strings.HasPrefix(text, "#") || strings.HasSuffix(text, ":") && len(words(text)) <= 3
}

// refuse says why a new line cannot be one, or "".
func (s *sheet) refuse(text string) string {
	switch {
	case len(text) > maxLine:
		return "it is too long for a line"
	case !utf8.ValidString(text):
		return "it is not valid UTF-8"
	case strings.Contains(text, "{{"):
		return "it holds braces, which are for variables"
	}
	own := grams(text)
	for _, l := range s.lines {
		if !l.locked {
			continue
		}
		// "Text: the input" for "Text: {{text}}" is a damaged variable, not a new line.
		label, _, ok := strings.Cut(l.text, "{{")
		if label = key(label); ok && label != "" && (key(text) == label || len(words(label)) <= 3 && strings.HasPrefix(strings.ToLower(strings.TrimSpace(text)), strings.ToLower(strings.TrimSpace(l.text[:strings.Index(l.text, "{{")])))) {
			return "it takes the place of a line that carries a variable"
		}
		if overlap(own, grams(l.text)) > 0.7 {
			return "it takes the place of a line that carries a variable"
		}
	}
	return ""
}

// align finds the longest common subsequence of the parent's lines and the
// answer's: which of the parent's are in it, and for each of the answer's the
// parent's line, or -1.
func align(parent []source, lines []string) (kept []bool, pairs []int) {
	a, b := make([]string, len(parent)), make([]string, len(lines))
	for i := range parent {
		a[i] = trim(parent[i].text)
	}
	for i := range lines {
		b[i] = trim(lines[i])
	}
	length := make([][]int32, len(a)+1)
	for i := range length {
		length[i] = make([]int32, len(b)+1)
	}
	for i, x := range slices.Backward(a) {
		for j, y := range slices.Backward(b) {
			if x == y {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	kept, pairs = make([]bool, len(a)), make([]int, len(b))
	for j := range pairs {
		pairs[j] = -1
	}
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i] == b[j]:
			kept[i], pairs[j] = true, i
			i, j = i+1, j+1
		case length[i+1][j] >= length[i][j+1]:
			i++
		default:
			j++
		}
	}
	return kept, pairs
}

// trim is a line as it is compared: without the white space at its ends.
func trim(s string) string { return strings.TrimSpace(s) }

// likest is the line of the parent from i on to before next that is gone and
// most like text, or -1 when none is like it.
func likest(parent []source, kept []bool, i, next int, text string) int {
	best, most := -1, 0.35
	own := grams(text)
	for k := i; k < next; k++ {
		if kept[k] || parent[k].line < 0 || holds(parent[k].text) || key(parent[k].text) == "" {
			continue
		}
		if o := overlap(own, grams(parent[k].text)); o > most {
			best, most = k, o
		}
	}
	return best
}
