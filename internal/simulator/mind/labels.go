package mind

import (
	"slices"
	"strings"
	"unicode"
)

// Label is one of the answers to choose from.
type Label struct {
	Name       string
	Definition string // what the prompt says of it
	Bare       string // the label without its underscores
}

// labelsIn finds what there is to choose from: an enumeration in a sentence, a
// list behind a heading, or the answers of the examples.
func labelsIn(p *Prompt) []Label {
	if l := enumerated(p.Instructions); len(l) > 1 {
		return l
	}
	if l := bulleted(p.Instructions); len(l) > 1 {
		return l
	}
	var names []string
	for _, e := range p.Examples {
		if len(e.Answer) > 40 || strings.Count(e.Answer, " ") > 2 {
			return sentimental(p)
		}
		names = append(names, strings.TrimRight(e.Answer, "."))
	}
	if l := distinct(names); len(l) > 1 && len(l) < 12 && (len(l) < len(names) || tasked(p.Instructions)) && len(p.asked()) == 0 {
		return l
	}
	return sentimental(p)
}

// sentimental has the usual labels of a task that names none.
func sentimental(p *Prompt) []Label {
	if text := strings.ToLower(p.Instructions); strings.Contains(text, "sentiment") && !strings.Contains(text, "rewrite") && !strings.Contains(text, "improve") {
		return distinct([]string{"positive", "negative", "neutral"})
	}
	return nil
}

func distinct(names []string) []Label {
	var out []Label
	seen := map[string]bool{}
	for _, n := range names {
		key := strings.ToLower(n)
		if n == "" || seen[key] || len(out) == maxLabels {
			continue
		}
		seen[key] = true
		out = append(out, Label{Name: n, Bare: strings.NewReplacer("_", " ", "-", " ").Replace(key)})
	}
	return out
}

// chooses are words of sentences that tell what to choose from.
var chooses = []string{
	"classif", "categor", "label", "sentiment", "one of", "either", "whether", "only with", "with only", "answer", "reply", "respond", "choose", "pick", "option", "is it", "is this", "is the",
	"decide", "determine", "assign", "intent", "topic", "tone", "tag", "return", "output", "rate", "route", "judge", "triage", "emotion",
}

// enumerated finds "positive, negative, or neutral" in a sentence.
func enumerated(text string) []Label {
	var best []Label
	for text != "" {
		var s string
		s, text = sentence(text)
		lower := strings.ToLower(s)
		if len(s) > 2000 || !containsAny(lower, chooses) && !strings.ContainsAny(s, "|/") {
			continue
		}
		if l := distinct(splitItems(s)); len(l) > len(best) && (best == nil || containsAll(l, best)) {
			best = l
		}
	}
	return best
}

func containsAny(s string, parts []string) bool {
	for _, p := range parts {
		if strings.Contains(s, p) {
			return true
		}
	}
	return false
}

// containsAll reports whether the labels a have all of b among them.
func containsAll(a, b []Label) bool {
	for _, x := range b {
		if labelOf(x.Name, a) < 0 {
			return false
		}
	}
	return true
}

var (
	// What comes before the first item, and behind the last.
	itemBegins = set(`as into either is of with from be whether are in to among between sentiment: labels: categories: options: only: with: of: following: these: label: category: choose: pick: or: answer: return: output: reply: respond: classes: intents: topics: this: following`)
	itemEnds   = set(`based for in according depending and with when if to of on using without only by the so nothing no but then that, do not from as sentiment label category -- - — – (`)
	// Words that no label is made of.
	notLabels = set(`no not don't never punctuation explanation explanations words word lowercase uppercase case extra text sentence json format comments reasoning following
		the a an this it its your you any other please if when instructions above below quotes markdown preamble`)
)

// splitItems returns the longest run of short items in a sentence.
func splitItems(s string) []string {
	s = strings.TrimRight(strings.TrimSpace(s), ".?!")
	slashes := strings.Contains(s, "|") || strings.Contains(s, "/")
	if !slashes && !strings.Contains(s, ",") && !strings.Contains(strings.ToLower(s), " or ") {
		return nil
	}
	s = strings.NewReplacer(", or ", ",", ", and ", ",", " or ", ",", " OR ", ",", "|", ",", "/", ",", " and/or ", ",").Replace(s)
	listed := strings.Contains(s, ":") || strings.Contains(s, "(")
	pieces := strings.Split(s, ",")
	var best, run []string
	for i, p := range pieces {
		item, first, last := item(p, i > 0 || len(run) > 0)
		if item == "" {
			run = nil
			continue
		}
		if first && len(run) > 0 { // something else began here
			run = nil
		}
		run = append(run, item)
		if i == 1 && !listed && len(run) == 2 {
			run[0] = lastWords(run[0], len(strings.Fields(run[1])))
		}
		if len(run) > len(best) && len(run) > 1 {
			best = run
		}
		if last {
			run = nil
		}
	}
	return best
}

// item trims what is around an item. first and last say that something was
// cut off before or behind.
func item(s string, inside bool) (name string, first, last bool) {
	if i := strings.LastIndexByte(s, '('); i >= 0 && !inside {
		s, first = s[i+1:], true
	}
	words := strings.Fields(s)
	if len(words) > 60 {
		return "", false, false
	}
	if !inside {
		words, first = begun(words, first)
	}
	for i, w := range words {
		if before, _, closed := strings.Cut(w, ")"); closed && before != "" { // the rest is behind the list
			words[i], words, last = before, words[:i+1], true
			break
		}
		w = strings.ToLower(w)
		if i > 0 && (itemEnds[w] || itemEnds[strings.Trim(w, ",;:")] || strings.HasPrefix(w, "(")) {
			words, last = words[:i], true
			break
		}
		if inside && strings.HasSuffix(w, ":") { // neutral: and the text
			words[i], words, last = strings.TrimSuffix(words[i], ":"), words[:i+1], true
			break
		}
	}
	if inside {
		words, first = begun(words, first)
	}
	name = strings.Trim(strings.Join(words, " "), " \"'`*()[]{}<>“”.;")
	words = strings.Fields(name)
	if n := len(words); n == 0 || n > 3 && (inside || n > 12) || len(name) > 80 {
		return "", first, last
	}
	for _, w := range words {
		if no := strings.EqualFold(w, "no") && len(words) == 1; !no && notLabels[strings.ToLower(w)] && (inside || len(words) < 4) {
			return "", first, last
		}
	}
	if !strings.ContainsFunc(name, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }) {
		return "", first, last
	}
	return name, first, last
}

// begun cuts off what comes before an item, such as "Answer only with".
func begun(words []string, first bool) ([]string, bool) {
	for i, word := range slices.Backward(words) {
		w := strings.ToLower(strings.Trim(word, "\"'`*(["))
		if i+1 < len(words) && (strings.HasSuffix(word, ":") || itemBegins[w]) {
			return words[i+1:], true
		}
	}
	return words, first
}

func lastWords(s string, n int) string {
	words := strings.Fields(s)
	return strings.Join(words[max(0, len(words)-n):], " ")
}

// bulleted finds a list of labels, with or without what they mean.
func bulleted(text string) []Label {
	var names, meanings []string
	heading := false
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if rest, ok := bullet(line); ok && heading {
			if r := rulesIn(rest); r.any() {
				names, meanings, heading = nil, nil, false
				continue
			}
			name, meaning := define(rest)
			if strings.Count(name, " ") > 3 || len(name) > 40 {
				continue
			}
			names, meanings = append(names, name), append(meanings, meaning)
			continue
		}
		if line == "" {
			continue
		}
		if len(names) > 1 {
			break
		}
		names, meanings = nil, nil
		lower := strings.ToLower(strings.TrimRight(line, "*_ "))
		heading = strings.HasSuffix(lower, ":") && (containsAny(lower, chooses) || containsAny(lower, []string{"class", "following", "choice", "mean", "definition", "these"}))
	}
	if len(names) < 2 {
		return nil
	}
	labels := distinct(names)
	for i := range labels {
		for j, n := range names {
			if n == labels[i].Name {
				labels[i].Definition = meanings[j]
				break
			}
		}
	}
	return labels
}

// bullet cuts a bullet or number off.
func bullet(line string) (rest string, ok bool) {
	for _, b := range []string{"- ", "* ", "• ", "– "} {
		if rest, ok := strings.CutPrefix(line, b); ok {
			return strings.TrimSpace(rest), true
		}
	}
	i := 0
	for i < len(line) && i < 3 && line[i] >= '0' && line[i] <= '9' {
		i++
	}
	if i > 0 && i+1 < len(line) && (line[i] == '.' || line[i] == ')') && line[i+1] == ' ' {
		return strings.TrimSpace(line[i+1:]), true
	}
	return line, false
}

// define splits "refund: the customer wants money back".
func define(line string) (name, meaning string) {
	at, n := -1, 0
	for _, sep := range []string{":", " - ", " — ", " – ", " = ", " means ", " ("} {
		if i := strings.Index(line, sep); i > 0 && (at < 0 || i < at) {
			at, n = i, len(sep)
		}
	}
	if at < 0 {
		return strings.Trim(line, " \"'`*."), ""
	}
	return strings.Trim(line[:at], " \"'`*."), strings.Trim(line[at+n:], " *)")
}

// labelOf finds the label that an answer begins with, or is.
func labelOf(answer string, labels []Label) int {
	answer = strings.Trim(strings.TrimSpace(answer), "\"'`*.!")
	for i, l := range labels {
		if strings.EqualFold(answer, l.Name) {
			return i
		}
	}
	found := -1
	lower := strings.ToLower(answer)
	for i, l := range labels {
		if mentions(lower, strings.ToLower(l.Name)) && (found < 0 || len(l.Name) > len(labels[found].Name)) {
			found = i
		}
	}
	return found
}

// mentions reports whether a text has a name in it as whole words.
func mentions(text, name string) bool {
	for from := 0; name != ""; {
		i := strings.Index(text[from:], name)
		if i < 0 {
			return false
		}
		i += from
		end := i + len(name)
		if (i == 0 || !wordByte(text[i-1])) && (end == len(text) || !wordByte(text[end])) {
			return true
		}
		from = end
	}
	return false
}

func wordByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '_' || b >= 0x80
}

// arrows finds examples in the instructions: "It's okay." -> neutral.
func (p *Prompt) arrows() {
	var kept strings.Builder
	for line := range strings.Lines(p.Instructions) {
		if text, label, ok := arrow(line); ok {
			p.example(text, label)
			continue
		}
		kept.WriteString(line)
	}
	p.Instructions = strings.TrimSpace(kept.String())
}

func arrow(line string) (text, label string, ok bool) {
	for _, sep := range []string{"->", "=>", "→"} {
		if text, label, ok = strings.Cut(line, sep); ok {
			break
		}
	}
	text, _ = bullet(strings.TrimSpace(text))
	text, label = unquote(strings.TrimSpace(text)), strings.Trim(strings.TrimSpace(label), "\"'`*")
	return text, label, ok && text != "" && label != "" && strings.Count(label, " ") < 3
}

// define looks through the instructions for what they say of the labels, and
// for examples quoted there.
func (p *Prompt) define() {
	if len(p.Labels) == 0 {
		return
	}
	for text := p.Instructions; text != ""; {
		var s string
		s, text = wholeLine(text)
		lower := strings.ToLower(s)
		i := defined(lower, p.Labels)
		if i < 0 {
			continue
		}
		rest := strings.ReplaceAll(lower, strings.ToLower(p.Labels[i].Name), " ")
		if a, b := strings.IndexByte(s, '"'), strings.LastIndexByte(s, '"'); a >= 0 && b > a+3 {
			if quoted := s[a+1 : b]; !strings.Contains(quoted, `"`) && labelOf(quoted, p.Labels) != i {
				p.example(quoted, p.Labels[i].Name)
			}
		}
		least := 2
		if bare, _ := bullet(s); strings.HasPrefix(strings.ToLower(bare), strings.ToLower(p.Labels[i].Name)+":") {
			least = 1
		}
		if contentWords(rest) >= least && len(p.Labels[i].Definition) < maxExample && !strings.Contains(p.Labels[i].Definition, rest) {
			p.Labels[i].Definition = strings.TrimSpace(p.Labels[i].Definition + " " + rest)
		}
	}
}

// wholeLine cuts off a line; a definition may have several sentences.
func wholeLine(s string) (first, rest string) {
	first, rest, _ = strings.Cut(s, "\n")
	return first, rest
}

// defined is the one label that a line is about, or -1.
func defined(line string, labels []Label) int {
	bare, _ := bullet(strings.TrimSpace(line))
	if name, meaning := define(bare); meaning != "" {
		for i, l := range labels {
			if strings.EqualFold(name, l.Name) {
				return i
			}
		}
	}
	found, n := -1, 0
	for i, l := range labels {
		if mentions(line, strings.ToLower(l.Name)) {
			found, n = i, n+1
		}
	}
	if n == 1 {
		return found
	}
	// "If it is neither positive nor negative, answer neutral": the one behind the verb.
	for _, verb := range []string{"answer ", "use ", "choose ", "reply ", "is ", "are ", "as ", "say ", "label it ", "count as "} {
		at := strings.LastIndex(line, verb)
		if at < 0 {
			continue
		}
		behind := strings.Trim(line[at+len(verb):], " \"'`*.")
		for i, l := range labels {
			if strings.EqualFold(behind, l.Name) && strings.Contains(line, "if ") {
				return i
			}
		}
	}
	return -1
}

func contentWords(s string) int {
	n := 0
	for w := range strings.FieldsSeq(s) {
		if w = strings.Trim(w, ".,;:!?\"'()-*`"); len(w) > 2 && !stopWords[w] {
			n++
		}
	}
	return n
}
