package mind

import (
	"slices"
	"strings"
)

// Prompt is what is found in the messages of a request.
type Prompt struct {
	Instructions string    // everything but the examples and the text
	Text         string    // what is to be worked on
	Fields       []Field   // other named texts, such as the context of a question
	Examples     []Example // solved for the model to learn from
	Labels       []Label   // to choose from; none: it is not a classification
	Rules        Rules
	Tokens       int // of the instructions and examples
}

// Field is a named part of the prompt.
type Field struct{ Name, Text string }

// Example is a text and the answer to it.
type Example struct{ Text, Answer string }

const (
	maxExamples = 64
	maxLabels   = 64
	maxFields   = 32
	maxExample  = 2 << 10 // bytes of its text that are read, and of its answer
)

// Read finds the parts of a prompt. It never fails: what it cannot make out is
// an instruction or the text.
func Read(messages []Message) *Prompt {
	p := new(Prompt)
	var instructions strings.Builder
	last := -1
	for i, m := range messages {
		if m.Role == "user" {
			last = i
		}
	}
	var asked string // by the turn before an assistant's
	for i, m := range messages {
		switch m.Role {
		case "assistant":
			if asked != "" && m.Text != "" && i < last {
				p.example(asked, m.Text)
			}
			asked = ""
		case "user", "system", "developer":
			s := sections(clip(m.Text))
			open := p.gather(s)
			rest := s.instructions()
			if m.Role != "user" {
				instructions.WriteString(rest + "\n")
				if open != nil {
					p.Text = open.text
				}
				continue
			}
			if open == nil {
				rest, asked = divide(rest, instructions.Len() > 0)
			} else {
				asked = open.text
			}
			if i != last && answered(messages, i) && strings.Contains(instructions.String(), rest) {
				continue // the same instructions with every turn
			}
			instructions.WriteString(rest + "\n")
			if i == last {
				p.Text = asked
			}
		}
	}
	p.Instructions = strings.TrimSpace(instructions.String() + p.Instructions)
	if p.Text == "" && last >= 0 && p.Instructions == "" {
		p.Text = strings.TrimSpace(clip(messages[last].Text))
	}
	p.arrows()
	p.Rules = rulesIn(p.Instructions)
	p.Labels = labelsIn(p)
	p.define()
	p.Rules.learn(p)
	p.Tokens = Count(p.Instructions)
	for _, e := range p.Examples {
		p.Tokens += Count(e.Text) + Count(e.Answer)
	}
	return p
}

func answered(messages []Message, i int) bool {
	return i+1 < len(messages) && messages[i+1].Role == "assistant"
}

func (p *Prompt) example(text, answer string) {
	text, answer = strings.TrimSpace(text), strings.TrimSpace(answer)
	if len(p.Examples) < maxExamples && text != "" && answer != "" {
		p.Examples = append(p.Examples, Example{unquote(shorten(text, maxExample)), unquote(shorten(answer, maxExample))})
	}
}

// gather keeps a message's examples and fields, and returns the input that waits for its answer.
func (p *Prompt) gather(s parts) (open *part) {
	for i := range s {
		switch s[i].kind {
		case input:
			if open != nil && len(p.Fields) < maxFields {
				p.Fields = append(p.Fields, Field{open.name, open.text})
			}
			open = &s[i]
		case answer:
			if format := s[i].text; open != nil && (strings.HasPrefix(format, "one of") || strings.Contains(format, "|")) {
				p.Instructions += format + "\n" // shows what examples look like, and is none
				open = nil
			} else if open != nil && s[i].text != "" {
				p.example(open.text, s[i].text)
				open = nil
			}
		}
	}
	return open
}

// kind is what a part of a message is for.
type kind int

const (
	instruction kind = iota
	input
	answer
)

type part struct {
	kind kind
	name string
	text string
}

type parts []part

// The names of parts, by their last words.
var (
	inputNames = set(`text input review message sentence question q query ticket email comment document tweet feedback content passage customer context
		article post statement transcript request utterance conversation source user headline`)
	answerNames = set(`answer output label sentiment a category response result classification class prediction expected intent topic completion assistant
		reply verdict decision summary translation`)
	instructionNames = set(`rules instructions instruction labels categories classes options format definitions guidelines constraints notes note requirements task
		examples example intents topics criteria steps hints important reminder`)
	listed = set(`text input q a output answer label sentence expected`) // may stand behind a bullet
)

// sections cuts a message into its parts, by headings at the beginning of a
// line ("Text: …"), tags (<text>…</text>) and fences.
func sections(text string) parts {
	var out parts
	var body strings.Builder
	current, blank := part{}, true
	fence, tag := "", ""
	end := func(next part) {
		current.text = strings.TrimSpace(body.String())
		body.Reset()
		if current.text != "" || current.kind == answer {
			out = append(out, current)
		}
		current, blank = next, false
	}
	for line := range strings.Lines(text) {
		trimmed := strings.TrimSpace(line)
		if fence != "" {
			if trimmed == fence {
				end(part{})
				fence = ""
				continue
			}
			body.WriteString(line)
			continue
		}
		if tag != "" {
			if before, _, ok := strings.Cut(line, tag); ok {
				body.WriteString(before)
				end(part{})
				tag = ""
				continue
			}
			body.WriteString(line)
			continue
		}
		if ruler(trimmed) {
			end(part{})
			continue
		}
		if trimmed == `"""` || trimmed == "'''" || strings.HasPrefix(trimmed, "```") {
			if fence = trimmed; fence[0] == '`' {
				fence = "```"
			}
			if current.kind == instruction || strings.TrimSpace(body.String()) != "" {
				end(part{kind: input})
			}
			continue
		}
		if k, name, rest, ok := tagged(trimmed); ok {
			end(part{kind: k, name: name})
			closing := "</" + name + ">"
			if before, _, closed := strings.Cut(rest, closing); closed {
				body.WriteString(before)
				end(part{})
			} else {
				tag = closing
				body.WriteString(rest + "\n")
			}
			continue
		}
		k, name, rest, ok := heading(trimmed)
		switch {
		case ok && k == answer && !pending(out, current, body.String()):
			ok = false // such as the format of the output, told before any input
		case ok && k == input && current.kind == input && name == current.name && !blank:
			ok = false // a line of the text
		}
		switch {
		case ok && k == instruction:
			end(part{})
			body.WriteString(line)
		case ok && k == answer && strings.Contains(line, "("): // Sentiment (good, bad):
			end(part{})
			body.WriteString(line)
			end(part{kind: answer, name: name})
			body.WriteString(rest + "\n")
		case ok:
			end(part{kind: k, name: name})
			body.WriteString(rest + "\n")
			if k == input { // Text: … Label: … in one line
				if before, label, found := answerInLine(rest); found {
					body.Reset()
					body.WriteString(before)
					end(part{kind: answer})
					body.WriteString(label)
					end(part{})
				}
			}
		case trimmed == "" && current.kind == answer && strings.TrimSpace(body.String()) != "":
			end(part{})
		case current.kind == input && blank && trimmed != "" && imperative(trimmed):
			end(part{})
			body.WriteString(line)
		default:
			body.WriteString(line)
		}
		blank = trimmed == ""
	}
	end(part{})
	return out
}

// ruler reports whether a line only separates, such as ---.
func ruler(line string) bool {
	return len(line) > 2 && strings.Trim(line, "-=*_") == ""
}

// pending reports whether an input waits for its answer.
func pending(done parts, current part, body string) bool {
	if current.kind == input {
		return strings.TrimSpace(body) != ""
	}
	for _, p := range slices.Backward(done) {
		switch p.kind {
		case input:
			return true
		case answer:
			return false
		}
	}
	return false
}

func (s parts) instructions() string {
	var out strings.Builder
	for _, p := range s {
		switch {
		case p.kind == instruction:
			out.WriteString(p.text + "\n")
		case p.kind == answer && p.text == "":
			out.WriteString(cue + "\n")
		}
	}
	return strings.TrimSpace(out.String())
}

// cue is what remains in the instructions of an empty "Answer:" at the end.
const cue = "Answer:"

// heading recognises the beginning of a part: one of the known names and a colon.
func heading(line string) (k kind, name, rest string, ok bool) {
	bare := strings.TrimLeft(line, "#*-_> ")
	bulleted := strings.HasPrefix(line, "- ") || strings.HasPrefix(line, "* ")
	i := strings.IndexByte(bare, ':')
	if i < 0 && strings.HasPrefix(line, "#") {
		bare += ":"
		i = len(bare) - 1
	}
	if i < 1 || i > 60 {
		return 0, "", "", false
	}
	name, _, _ = strings.Cut(strings.ToLower(strings.Trim(bare[:i], "*_ ")), "(")
	name = strings.TrimRight(name, " 0123456789)#.")
	if strings.Count(name, " ") > 3 {
		return 0, "", "", false
	}
	word := name
	if j := strings.LastIndexByte(name, ' '); j >= 0 {
		word = name[j+1:]
	}
	if bulleted && !listed[word] {
		return 0, "", "", false
	}
	rest = strings.TrimSpace(strings.TrimLeft(bare[i+1:], "*_"))
	return named(word, name, rest)
}

func named(word, name, rest string) (kind, string, string, bool) {
	switch {
	case word == "classify" || word == "analyze":
		return input, name, rest, rest != ""
	case inputNames[word]:
		return input, name, rest, true
	case answerNames[word]:
		return answer, name, rest, true
	case instructionNames[word]:
		return instruction, name, rest, true
	}
	return 0, "", "", false
}

// tagged recognises <text> at the beginning of a line.
func tagged(line string) (k kind, name, rest string, ok bool) {
	if !strings.HasPrefix(line, "<") {
		return 0, "", "", false
	}
	name, rest, ok = strings.Cut(line[1:], ">")
	if !ok || len(name) > 30 {
		return 0, "", "", false
	}
	word := strings.ToLower(name)
	if i := strings.LastIndexAny(word, "_-"); i >= 0 {
		word = word[i+1:]
	}
	if instructionNames[word] {
		return 0, "", "", false
	}
	k, _, _, ok = named(word, word, "x")
	return k, name, rest, ok
}

// answerInLine finds the answer behind an example's text in the same line.
func answerInLine(line string) (text, label string, ok bool) {
	for i := len(line) - 1; i > 0 && len(line)-i < 60; i-- {
		if line[i] != ':' {
			continue
		}
		j := strings.LastIndexAny(line[:i], " \t|,;.")
		if j > 0 && answerNames[strings.ToLower(line[j+1:i])] {
			label = strings.TrimSpace(line[i+1:])
			return strings.TrimRight(line[:j], " \t|,;"), label, label != ""
		}
	}
	return "", "", false
}

// imperative reports whether a line behind a text is about the answer rather
// than more of the text.
func imperative(line string) bool {
	if len(line) > 300 {
		return false
	}
	r := rulesIn(line)
	return r.any() || tasked(line) && len(enumerated(line)) > 1
}

// divide separates the instructions of a message without headings from its
// text. instructed says that there are instructions elsewhere already.
func divide(message string, instructed bool) (instructions, text string) {
	message = strings.TrimSpace(message)
	if first, rest, ok := strings.Cut(message, "\n\n"); ok && (!instructed || tasked(first)) && tasked(first) {
		var told, kept []string
		told = append(told, first)
		for p := range strings.SplitSeq(rest, "\n\n") {
			if p = strings.TrimSpace(p); p == "" {
				continue
			}
			if p == cue || imperative(p) {
				told = append(told, p)
			} else {
				kept = append(kept, p)
			}
		}
		return strings.Join(told, "\n"), strings.Join(kept, "\n\n")
	}
	if i := strings.LastIndex(message, "\n\n"); i > 0 && imperative(message[i+2:]) {
		return message[i+2:], strings.TrimSpace(message[:i])
	}
	if !tasked(message) {
		if instructed {
			return "", message
		}
		return message, message
	}
	if instructed && !strings.ContainsAny(message, ":\n\"") {
		return "", message
	}
	for i := range min(len(message), 400) {
		if !strings.HasPrefix(message[i:], ": ") && !strings.HasPrefix(message[i:], ":\n") {
			continue
		}
		rest := strings.TrimSpace(message[i+1:])
		if s, _ := sentence(rest); len(splitItems(s)) < 2 && !imperative(s) && strings.Contains(rest, " ") {
			return message[:i+1], unquote(rest)
		}
	}
	if i, j := strings.IndexByte(message, '"'), strings.LastIndexByte(message, '"'); i > 0 && j > i+8 {
		return message[:i] + message[j+1:], message[i+1 : j]
	}
	// Leading sentences that tell something; what follows is the text.
	rest := message
	for rest != "" {
		s, after := sentence(rest)
		if !tasked(s) && !imperative(s) {
			break
		}
		rest = after
	}
	rest = strings.TrimSpace(rest)
	if rest == "" {
		if i := strings.LastIndex(message, ": "); i > 0 && len(splitItems(message[i+2:])) < 2 {
			return message[:i+1], strings.TrimSpace(message[i+2:])
		}
		return message, message
	}
	return strings.TrimSuffix(message, rest), rest
}

// sentence cuts the first sentence off.
func sentence(s string) (first, rest string) {
	for i := range len(s) {
		switch s[i] {
		case '\n':
			return s[:i], s[i+1:]
		case '.', '?', '!':
			if i+1 == len(s) || s[i+1] == ' ' || s[i+1] == '\n' {
				return s[:i+1], s[i+1:]
			}
		}
	}
	return s, ""
}

var taskWords = set(`classify classification categorize categorise label decide determine extract summarize summarise translate rewrite identify detect assign sentiment
	tell find list give write answer judge rate tag route triage which is what`)

// tasked reports whether a text tells what to do.
func tasked(s string) bool {
	n := 0
	for w := range strings.FieldsSeq(s) {
		w = strings.ToLower(strings.Trim(w, ",.:;?!\"'*"))
		if taskWords[w] || n == 0 && (w == "return" || w == "output" || w == "respond" || w == "reply" || w == "given") {
			return true
		}
		if n++; n > 40 {
			return false
		}
	}
	return false
}

// unquote removes quotation marks around a text.
func unquote(s string) string {
	for _, q := range []string{`"`, "'", "`", "**", "“"} {
		end := q
		if q == "“" {
			end = "”"
		}
		if len(s) > len(q)+len(end) && strings.HasPrefix(s, q) && strings.HasSuffix(s, end) {
			return s[len(q) : len(s)-len(end)]
		}
	}
	return s
}
