package search

import (
	"errors"
	"slices"
	"strings"

	"github.com/caddy-frontier/frontier/prompts"
)

// sheet is a prompt taken apart into lines, so that each of them can be
// edited alone. Lines that carry variables are locked: no edit touches them.
type sheet struct {
	chat  bool
	roles []string
	lines []line
	names []string // the variables, sorted
	demos place    // where solved examples go
}

// line is a line of a message.
type line struct {
	message int
	text    string
	locked  bool
}

// place is between two lines: before line at, in a message.
type place struct{ message, at int }

func newSheet(t prompts.Template) *sheet {
	s := &sheet{chat: t.IsChat(), names: sorted(t.Variables())}
	for m, message := range t.Messages() {
		s.roles = append(s.roles, message.Role)
		for text := range strings.SplitSeq(message.Content, "\n") {
			s.lines = append(s.lines, line{message: m, text: text, locked: holds(text)})
		}
	}
	// A variable may be spread over lines: then all that is between its braces is locked.
	for m, message := range t.Messages() {
		s.lockSpread(m, message.Content)
	}
	s.demos = s.demoPlace()
	return s
}

// holds reports whether a text has variables.
func holds(text string) bool {
	if text == "" {
		return false
	}
	t, err := prompts.ParseText(text)
	return err != nil || len(t.Variables()) > 0
}

// lockSpread locks the lines of a message one of whose variables has a line break inside its braces.
func (s *sheet) lockSpread(m int, content string) {
	var own []string
	var at []int
	for i, l := range s.lines {
		if l.message == m {
			at = append(at, i)
			if l.locked {
				if t, err := prompts.ParseText(l.text); err == nil {
					own = append(own, t.Variables()...)
				}
			}
		}
	}
	t, err := prompts.ParseText(content)
	if err != nil {
		return
	}
	for _, name := range t.Variables() {
		if !slices.Contains(own, name) {
			for _, i := range at {
				s.lines[i].locked = true
			}
			return
		}
	}
}

// demoPlace is where solved examples go: at the end of a system message that
// holds no variable, where providers' prompt caches reach; else before the
// part with the first variable, its label or opening tag included.
func (s *sheet) demoPlace() place {
	for m, role := range s.roles {
		if role != "system" && role != "developer" {
			continue
		}
		end, free := 0, true
		for i, l := range s.lines {
			if l.message == m {
				end, free = i+1, free && !l.locked
			}
		}
		if free {
			return place{m, end}
		}
	}
	for i, l := range s.lines {
		if l.locked {
			for i > 0 && s.lines[i-1].message == l.message && leads(s.lines[i-1].text) {
				i--
			}
			return place{l.message, i}
		}
	}
	last := len(s.lines) - 1
	return place{s.lines[last].message, last + 1}
}

// leads reports whether a line only introduces what follows it: a label, a tag, or a fence.
func leads(text string) bool {
	text = strings.TrimSpace(text)
	return strings.HasSuffix(text, ":") && len(words(text)) <= 3 || strings.HasPrefix(text, "<") && strings.HasSuffix(text, ">") || strings.HasPrefix(text, "```")
}

// settle moves the place of a new line up, out of the input's part into the
// instructions before it: the model reads both better when a blank line parts them.
func (s *sheet) settle(p place) place {
	for p.at > 0 && p.at < len(s.lines) && s.lines[p.at].locked {
		at := p.at
		for at > 0 && s.lines[at-1].message == p.message && (leads(s.lines[at-1].text) || strings.TrimSpace(s.lines[at-1].text) == "") {
			at--
		}
		if at == p.at || at == 0 || s.lines[at-1].message != p.message {
			break
		}
		p.at = at
	}
	return p
}

// errVariables says that an edit would have changed the prompt's variables.
var errVariables = errors.New("it changes the prompt's variables")

// compose makes the template of the edits, and of a block of solved examples
// which may be empty. The edits are in the order in which they were found.
func (s *sheet) compose(edits []*edit, block string) (prompts.Template, error) {
	texts := make([]strings.Builder, len(s.roles))
	begun := make([]bool, len(s.roles))
	write := func(m int, text string) {
		if begun[m] {
			texts[m].WriteByte('\n')
		}
		begun[m] = true
		texts[m].WriteString(text)
	}
	at := func(i int) { // what goes before line i
		for _, e := range edits {
			if e.kind == addLine && e.at == i {
				write(e.message, e.text)
			}
		}
		if block != "" && s.demos.at == i {
			m := s.demos.message
			if begun[m] && !strings.HasSuffix(texts[m].String(), "\n") {
				write(m, "")
			}
			write(m, block)
			if i < len(s.lines) && s.lines[i].message == m {
				write(m, "")
			}
		}
	}
	for i, l := range s.lines {
		at(i)
		text, keep := l.text, true
		for _, e := range edits {
			if e.at == i && e.kind != addLine {
				text, keep = e.text, e.kind == changeLine
			}
		}
		if keep {
			write(l.message, text)
		}
	}
	at(len(s.lines))
	return s.template(texts)
}

// template makes a template of the messages' texts, and checks its variables.
func (s *sheet) template(texts []strings.Builder) (prompts.Template, error) {
	messages := make([]prompts.Message, len(s.roles))
	for m, role := range s.roles {
		messages[m] = prompts.Message{Role: role, Content: texts[m].String()}
	}
	var t prompts.Template
	var err error
	if s.chat {
		t, err = prompts.ParseChat(messages)
	} else {
		t, err = prompts.ParseText(messages[0].Content)
	}
	if err != nil {
		return prompts.Template{}, err
	}
	if !slices.Equal(sorted(t.Variables()), s.names) {
		return prompts.Template{}, errVariables
	}
	return t, nil
}

func sorted(s []string) []string {
	s = slices.Clone(s)
	slices.Sort(s)
	return s
}

// size is how many tokens a template's messages are.
func size(t prompts.Template) int {
	n := 0
	for _, m := range t.Messages() {
		n += tokens(m.Content)
	}
	return n
}
