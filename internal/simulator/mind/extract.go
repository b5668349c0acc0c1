package mind

import (
	"slices"
	"strings"
	"unicode"
)

// known are the things that can be picked out of a text, by the words they are asked for.
var known = []struct {
	field string
	words []string
}{
	{"email", []string{"email address", "e-mail", "email", "mail"}},
	{"phone", []string{"phone number", "telephone", "phone"}},
	{"order number", []string{"order number", "order id", "order", "invoice number", "invoice id", "ticket number", "reference"}},
	{"amount", []string{"amount", "price", "total", "cost", "sum"}},
	{"date", []string{"date", "day", "due"}},
	{"url", []string{"url", "link", "website"}},
	{"name", []string{"name", "person", "customer", "sender", "author"}},
	{"city", []string{"city", "location", "place", "country"}},
	{"quantity", []string{"quantity", "count", "number", "age", "how many"}},
}

// asked lists what the instructions ask to pick out of the text.
func (p *Prompt) asked() []string {
	text := strings.ToLower(p.Instructions)
	if !containsAny(text, []string{"extract", "find the", "pull out", "identify the", "what is the", "which "}) {
		return nil
	}
	var fields []string
	for _, k := range known {
		for _, w := range k.words {
			if mentions(text, w) && (k.field != "name" || !strings.Contains(text, "name of the label")) {
				fields = append(fields, k.field)
				break
			}
		}
	}
	return fields
}

// extracted answers with what was asked for.
func (t *thought) extracted() string {
	var said []string
	for _, field := range t.prompt.asked() {
		value, ok := extract(field, t.prompt.Text)
		if !ok {
			value = "unknown"
		}
		said = append(said, value)
	}
	r := t.prompt.Rules
	brief := t.obeys("brevity", 4.5, r.Only, r.NoExplain, Rule{For: min(len(t.prompt.Examples), 2)})
	switch {
	case len(said) == 1 && brief:
		return said[0]
	case len(said) == 1:
		return "The " + t.prompt.asked()[0] + " is " + said[0] + "."
	}
	for i, field := range t.prompt.asked() {
		said[i] = field + ": " + said[i]
	}
	return strings.Join(said, "\n")
}

// extract picks one thing out of a text, by the name of a field.
func extract(name, text string) (string, bool) {
	name = strings.ToLower(strings.NewReplacer("_", " ", "-", " ").Replace(name))
	field := ""
	for _, k := range known {
		for _, w := range k.words {
			if field == "" && mentions(name, w) {
				field = k.field
			}
		}
	}
	words := strings.Fields(clip(text))
	switch field {
	case "email":
		return first(words, func(w string) bool {
			i := strings.IndexByte(w, '@')
			return i > 0 && strings.IndexByte(w[i:], '.') > 1
		})
	case "url":
		return first(words, func(w string) bool { return strings.Contains(w, "://") || strings.HasPrefix(w, "www.") })
	case "phone":
		return phone(words)
	case "order number":
		return first(words, func(w string) bool {
			return strings.HasPrefix(w, "#") && len(w) > 1 || digits(w) > 1 && letters(w) > 1 && !strings.ContainsAny(w, "$€£%@:") || digits(w) > 4
		})
	case "amount":
		for i, w := range words {
			if digits(w) == 0 {
				continue
			}
			if w = trimWord(w); strings.ContainsAny(w, "$€£") {
				return w, true
			}
			if i+1 < len(words) && currencies[strings.ToLower(trimWord(words[i+1]))] {
				return w + " " + trimWord(words[i+1]), true
			}
			if strings.Contains(w, ".") && letters(w) == 0 && strings.Count(w, ".") == 1 {
				return w, true
			}
		}
	case "date":
		return date(words)
	case "quantity":
		return first(words, func(w string) bool { return digits(w) > 0 && letters(w) == 0 })
	case "name":
		return properName(words, []string{"is", "am", "i'm", "from", "by", "dear", "hi", "hello", "regards", "sincerely", "mr", "mrs", "ms", "customer", "thanks"})
	case "city":
		return properName(words, []string{"in", "from", "to", "at", "near"})
	}
	return "", false
}

var (
	currencies = set(`usd eur gbp dollars dollar euros euro pounds chf yen`)
	months     = set(`january february march april may june july august september october november december jan feb mar apr jun jul aug sep sept oct nov dec`)
	relative   = set(`today tomorrow yesterday monday tuesday wednesday thursday friday saturday sunday`)
)

func first(words []string, is func(string) bool) (string, bool) {
	for _, w := range words {
		if w = trimWord(w); is(w) {
			return w, true
		}
	}
	return "", false
}

func trimWord(w string) string { return strings.Trim(w, ".,;:!?()[]<>\"'“”") }

func digits(s string) (n int) {
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			n++
		}
	}
	return n
}

func letters(s string) (n int) {
	for _, r := range s {
		if unicode.IsLetter(r) {
			n++
		}
	}
	return n
}

// phone joins neighbouring words of digits until there are enough of them.
func phone(words []string) (string, bool) {
	for i := range words {
		number := ""
		for _, w := range words[i:min(i+5, len(words))] {
			if digits(w) == 0 || letters(w) > 0 || strings.ContainsAny(w, "$€£/:") {
				break
			}
			number = strings.TrimSpace(number + " " + strings.TrimRight(w, ".,;!?"))
			if n := digits(number); n >= 7 && n <= 15 && w != strings.TrimRight(w, ".,;!?") {
				return number, true
			}
		}
		if n := digits(number); n >= 7 && n <= 15 {
			return number, true
		}
	}
	return "", false
}

func date(words []string) (string, bool) {
	for i, w := range words {
		w = trimWord(w)
		if n := strings.Count(w, "-") + strings.Count(w, "/"); digits(w) >= 4 && n == 2 && letters(w) == 0 {
			return w, true
		}
		if n := strings.Count(w, "."); n == 2 && digits(w) >= 4 && letters(w) == 0 {
			return w, true
		}
		if months[strings.ToLower(w)] && unicode.IsUpper([]rune(w)[0]) {
			from, to := i, i+1
			if i > 0 && digits(words[i-1]) > 0 {
				from--
			}
			for to < len(words) && to < i+3 && digits(words[to]) > 0 {
				to++
			}
			if to-from > 1 {
				return trimWord(strings.Join(words[from:to], " ")), true
			}
		}
	}
	return first(words, func(w string) bool { return relative[strings.ToLower(w)] })
}

// properName finds capitalised words behind one of the given ones, else anywhere but at the beginning of a sentence.
func properName(words, behind []string) (string, bool) {
	begins := func(i int) bool {
		return i == 0 || strings.HasSuffix(words[i-1], ".") || strings.HasSuffix(words[i-1], "!") || strings.HasSuffix(words[i-1], "?")
	}
	found := ""
	for i := 0; i < len(words); i++ {
		from := i
		for i < len(words) && capitalized(words[i]) {
			i++
			if trimWord(words[i-1]) != strings.TrimLeft(words[i-1], "\"'(“") { // punctuation ends a name
				break
			}
		}
		if i == from {
			continue
		}
		name := trimWord(strings.Join(words[from:i], " "))
		i--
		if from > 0 {
			before := strings.ToLower(trimWord(words[from-1]))
			if slices.Contains(behind, before) {
				return name, true
			}
		}
		if found == "" && !begins(from) {
			found = name
		}
	}
	return found, found != ""
}

func capitalized(w string) bool {
	w = trimWord(w)
	for i, r := range w {
		if i == 0 && !unicode.IsUpper(r) || i > 0 && !unicode.IsLetter(r) && r != '-' && r != '\'' {
			return false
		}
	}
	return len(w) > 1 && w != "I'm" && w != "I've" && w != "I'd"
}
