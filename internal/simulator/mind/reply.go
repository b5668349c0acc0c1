package mind

import "strings"

// reply answers what is no classification and asks for nothing to be picked out.
func (t *thought) reply() string {
	p := t.prompt
	told := strings.ToLower(p.Instructions)
	text := p.Text
	if text == "" {
		text = t.last
	}
	switch {
	case strings.TrimSpace(text) == "":
		return "How can I help you?"
	case containsAny(told, []string{"summar", "tl;dr", "shorten"}) && text != p.Instructions:
		return snippet(text, wordLimit(told, 20))
	case containsAny(told, []string{"uppercase", "capital letters"}) && containsAny(told, []string{"rewrite", "convert", "repeat"}):
		return strings.ToUpper(snippet(text, 200))
	case containsAny(told, []string{"repeat", "say exactly", "echo"}) && text != p.Instructions:
		return snippet(text, 200)
	}
	if s, ok := t.fromContext(text); ok {
		return s
	}
	if e, ok := t.nearest(text); ok {
		return e
	}
	limit := wordLimit(told, 12)
	return []string{
		"Here is a short answer to “" + snippet(text, limit) + "”: it depends on what matters most to you.",
		"You asked about “" + snippet(text, limit) + "”. In brief: there is more than one good way.",
		"About “" + snippet(text, limit) + "”: let us take it one step at a time.",
	}[int(t.draw("reply")*3)]
}

// fromContext answers a question with the sentence of the prompt that has most in common with it.
func (t *thought) fromContext(question string) (string, bool) {
	v := vectorOf(question)
	best, found := 0.2, ""
	for _, f := range t.prompt.Fields {
		for rest := clip(f.Text); rest != ""; {
			var s string
			if s, rest = sentence(rest); len(s) < 2000 {
				w := vectorOf(s)
				if c := v.cosine(&w); c > best {
					best, found = c, strings.TrimSpace(s)
				}
			}
		}
	}
	return found, found != ""
}

// nearest repeats the answer of an example that is about the same.
func (t *thought) nearest(text string) (string, bool) {
	v := vectorOf(text)
	best, found := 0.6, ""
	for _, e := range t.prompt.Examples {
		w := vectorOf(e.Text)
		if c := v.cosine(&w); c > best {
			best, found = c, e.Answer
		}
	}
	return found, found != ""
}
