package mind

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// phrase says a label as the prompt wants it, or in the model's own manner.
func (t *thought) phrase(label string) string {
	r := t.prompt.Rules
	shown := Rule{For: min(r.shownBare, 2)}
	if r.shownLonger > r.shownBare {
		shown = Rule{Against: 1}
	}
	weight := 4.5
	if r.cued {
		weight = 3.2
	}
	explain := r.Explain.wanted() || r.Sentence.wanted()
	if explain && (r.Only.wanted() || r.NoExplain.wanted()) { // it cannot do both
		explain = t.draw("contradiction") < 0.5
	}
	if explain && t.obeys("explain", 1, r.Explain, r.Sentence) {
		return t.explained(label)
	}
	if !t.obeys("brevity", weight, r.Only, r.NoExplain, shown) {
		return t.manner(label)
	}
	said := t.cased(label)
	if !t.obeys("punctuation", 1, r.NoPunct, r.Only, shown) {
		said += "."
	}
	return said
}

// cased gives a label the case that rules or examples ask for, else that in which the prompt has it.
func (t *thought) cased(label string) string {
	r := t.prompt.Rules
	type way struct {
		rule  Rule
		apply func(string) string
	}
	var ways []way
	for _, w := range []way{{r.Lower, strings.ToLower}, {r.Upper, strings.ToUpper}, {r.Capital, capitalize}} {
		if w.rule.wanted() {
			ways = append(ways, w)
		}
	}
	if len(ways) == 0 {
		if r.Lower.Against > 0 || t.draw("case") < t.lapse(10) {
			return capitalize(label)
		}
		return label
	}
	w := ways[0]
	if len(ways) > 1 { // the rules contradict each other
		w = ways[int(t.draw("which case")*float64(len(ways)))]
	}
	if t.draw("case") < t.slip(10, w.rule) {
		if said := capitalize(label); said != w.apply(label) {
			return said
		}
		return label
	}
	return w.apply(label)
}

// manner is how models answer whom nobody told how to.
func (t *thought) manner(label string) string {
	name := capitalize(label)
	switch int(t.draw("manner") * 4) {
	case 0:
		return name + "! The " + t.subject() + " says “" + snippet(t.prompt.Text, 8) + "”."
	case 1:
		return "The " + t.noun() + " is **" + name + "**."
	case 2:
		return name + ". " + t.because(label)
	default:
		return "I would classify this as " + strings.ToLower(label) + "."
	}
}

func (t *thought) explained(label string) string {
	if t.prompt.Rules.Sentence.wanted() {
		return "The " + t.noun() + " is " + t.cased(label) + "."
	}
	return t.cased(label) + ": " + t.because(label)
}

func (t *thought) because(label string) string {
	return "The " + t.subject() + " “" + snippet(t.prompt.Text, 8) + "” points to " + strings.ToLower(label) + "."
}

// noun is what the prompt calls a label, subject what it calls the text.
func (t *thought) noun() string {
	return t.called([]string{"sentiment", "category", "intent", "topic", "emotion", "tone", "class", "label"}, "answer")
}

func (t *thought) subject() string {
	return t.called([]string{"review", "ticket", "email", "comment", "tweet", "message", "sentence", "text"}, "text")
}

func (t *thought) called(names []string, otherwise string) string {
	text := strings.ToLower(t.prompt.Instructions)
	for _, n := range names {
		if mentions(text, n) {
			return n
		}
	}
	return otherwise
}

// object is the answer as a JSON object, with the keys that the prompt asks for.
func (t *thought) object() string {
	keys := quotedKeys(t.prompt.Instructions)
	var b strings.Builder
	b.WriteByte('{')
	write := func(key, value string) {
		if b.Len() > 1 {
			b.WriteByte(',')
		}
		b.WriteString(quote(key) + ":" + quote(value))
	}
	asked := t.prompt.asked()
	switch {
	case len(t.prompt.Labels) > 0:
		key := "answer"
		if n := t.noun(); n != "answer" {
			key = n
		}
		if len(keys) > 0 {
			key = keys[0]
		}
		label := t.label(t.prompt.Labels)
		if r := t.prompt.Rules; r.Lower.wanted() || r.Upper.wanted() || r.Capital.wanted() {
			label = t.cased(label)
		}
		write(key, label)
	case len(asked) > 0:
		for i, field := range asked {
			value, _ := extract(field, t.prompt.Text)
			key := strings.ReplaceAll(field, " ", "_")
			if len(keys) == len(asked) {
				key = keys[i]
			}
			write(key, value)
		}
	default:
		key := "answer"
		if len(keys) > 0 {
			key = keys[0]
		}
		write(key, t.reply())
	}
	return b.String() + "}"
}

// quotedKeys finds keys in something like {"sentiment": "…"}.
func quotedKeys(s string) []string {
	var keys []string
	for len(keys) < 16 {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			break
		}
		s = s[i+1:]
		j := strings.IndexByte(s, '"')
		if j < 0 {
			break
		}
		if after := strings.TrimLeft(s[j+1:], " "); strings.HasPrefix(after, ":") && j > 0 && j < 40 {
			keys = append(keys, s[:j])
		}
		s = s[j+1:]
	}
	return keys
}

func quote(s string) string {
	s = strings.ToValidUTF8(s, "\ufffd")
	out := make([]byte, 0, len(s)+2)
	out = append(out, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			out = append(out, '\\', c)
		case c == '\n':
			out = append(out, '\\', 'n')
		case c < 0x20:
			out = append(out, `\u00`...)
			out = append(out, "0123456789abcdef"[c>>4], "0123456789abcdef"[c&15])
		default:
			out = append(out, c)
		}
	}
	return string(append(out, '"'))
}

func capitalize(s string) string {
	r, n := utf8.DecodeRuneInString(s)
	if n == 0 {
		return s
	}
	return string(unicode.ToUpper(r)) + s[n:]
}

// snippet is the beginning of a text.
func snippet(s string, words int) string {
	fields := strings.Fields(clip(s))
	if len(fields) <= words {
		return strings.Join(fields, " ")
	}
	return strings.TrimRight(strings.Join(fields[:words], " "), ".,;:") + " …"
}

// wordLimit is the number in "at most 20 words", or otherwise.
func wordLimit(instructions string, otherwise int) int {
	words := strings.Fields(strings.ToLower(instructions))
	for i, w := range words {
		if i > 0 && strings.HasPrefix(strings.Trim(w, ".,"), "word") {
			if n, err := strconv.Atoi(words[i-1]); err == nil && n > 0 && n < 1000 {
				return n
			}
		}
	}
	return otherwise
}
