package prompts

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/call"
)

// MaxTemplate is the largest template, all its messages together: 1 MiB.
const MaxTemplate = 1 << 20

// Message is one message of a chat template, or of what a template renders to.
type Message struct {
	Role    string `json:"role"`
	Content string `json:"content"`
}

// Template is what a prompt version says: one text, or a list of messages.
// In JSON it is a string or a list of {"role", "content"}.
//
// A variable is written {{name}}, with spaces inside the braces and dots in
// the name allowed, as in MLflow. Everything else is literal: braces that
// hold no variable stay as they are, and there is no logic of any kind. The
// zero Template is empty and not valid. A Template never changes.
type Template struct {
	chat      bool
	parts     []part // of a text template: one, without a role
	variables []string
}

// part is one text of a template with its holes: the literals are one more
// than the holes, and a hole stands between two of them.
type part struct {
	role     string
	source   string
	literals []string
	holes    []int // indexes of Template.variables
}

// ParseText returns the text template.
func ParseText(source string) (Template, error) {
	var t Template
	if err := t.add("", source, map[string]int{}); err != nil {
		return Template{}, api.Invalid("template", "the template %s", err)
	}
	return t, nil
}

// ParseChat returns the chat template. Its roles are system, developer, user and assistant.
func ParseChat(messages []Message) (Template, error) {
	t := Template{chat: true}
	if len(messages) == 0 {
		return t, api.Invalid("template", "the template has no messages")
	}
	size, known := 0, map[string]int{}
	for i, m := range messages {
		if size += len(m.Content); size > MaxTemplate {
			return Template{}, api.Invalid("template", "the template has more than %d bytes in its messages", MaxTemplate)
		}
		switch call.ParseRole(m.Role) {
		case call.System, call.User, call.Assistant:
		default:
			return Template{}, api.Invalid("template", "message %d of the template has the role %q; the roles are system, developer, user and assistant", i, m.Role)
		}
		if err := t.add(m.Role, m.Content, known); err != nil {
			return Template{}, api.Invalid("template", "message %d of the template %s", i, err)
		}
	}
	return t, nil
}

// add parses one more text; known holds the indexes of the variables so far.
func (t *Template) add(role, source string, known map[string]int) error {
	switch {
	case source == "":
		return errors.New("is empty")
	case len(source) > MaxTemplate:
		return fmt.Errorf("has %d bytes; the limit is %d", len(source), MaxTemplate)
	case !utf8.ValidString(source):
		return errors.New("is not valid UTF-8")
	}
	p := part{role: role, source: source}
	literal, at := 0, 0
	for {
		n := strings.Index(source[at:], "{{")
		if n < 0 {
			break
		}
		at += n
		name, end := variable(source[at:])
		if end == 0 {
			at++
			continue
		}
		i, ok := known[name]
		if !ok {
			i = len(t.variables)
			known[name] = i
			t.variables = append(t.variables, name)
		}
		p.literals = append(p.literals, source[literal:at])
		p.holes = append(p.holes, i)
		at += end
		literal = at
	}
	p.literals = append(p.literals, source[literal:])
	t.parts = append(t.parts, p)
	return nil
}

// variable reads a variable at the start of s, which begins with "{{", and
// returns its name and length, or 0. The language is that of MLflow:
// \{\{\s*([a-zA-Z_][a-zA-Z0-9_]*(?:\.[a-zA-Z_][a-zA-Z0-9_]*)*)\s*\}\}
func variable(s string) (name string, end int) {
	i := 2 + spaces(s[2:])
	from := i
	for {
		if i >= len(s) || !letter(s[i]) {
			return "", 0
		}
		for i < len(s) && (letter(s[i]) || s[i] >= '0' && s[i] <= '9') {
			i++
		}
		if i >= len(s) || s[i] != '.' {
			break
		}
		i++
	}
	name = s[from:i]
	i += spaces(s[i:])
	if !strings.HasPrefix(s[i:], "}}") {
		return "", 0
	}
	return name, i + 2
}

func letter(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }

// spaces is the length of the white space s begins with: Python's \s.
func spaces(s string) int {
	for i, r := range s {
		if !unicode.IsSpace(r) && (r < 0x1c || r > 0x1f) {
			return i
		}
	}
	return len(s)
}

// validVariable reports whether name can stand in a template.
func validVariable(name string) bool {
	got, end := variable("{{" + name + "}}")
	return got == name && end == len(name)+4
}

// IsChat reports whether it is a list of messages.
func (t *Template) IsChat() bool { return t.chat }

// Variables lists the template's variables in the order of their first use.
func (t *Template) Variables() []string { return slices.Clone(t.variables) }

// Messages returns the messages as they were written. A text template is one user message.
func (t *Template) Messages() []Message {
	out := make([]Message, len(t.parts))
	for i, p := range t.parts {
		out[i] = Message{Role: p.spokenBy(), Content: p.source}
	}
	return out
}

func (p *part) spokenBy() string {
	if p.role == "" {
		return "user"
	}
	return p.role
}

// Text returns a text template as it was written, and "" of a chat template.
func (t *Template) Text() string {
	if t.chat || len(t.parts) == 0 {
		return ""
	}
	return t.parts[0].source
}

// MissingError is the error of rendering a template without all of its variables.
type MissingError struct {
	Missing []string // in the template's order
	Given   []string // sorted
}

func (e *MissingError) Error() string {
	given := "none were given"
	if len(e.Given) > 0 {
		given = "given: " + quoted(e.Given)
	}
	noun := "variable"
	if len(e.Missing) > 1 {
		noun = "variables"
	}
	return fmt.Sprintf("missing %s %s; %s", noun, quoted(e.Missing), given)
}

func quoted(names []string) string {
	const most = 20
	var b strings.Builder
	for i, name := range names {
		if i == most {
			fmt.Fprintf(&b, " and %d more", len(names)-most)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", excerpt(name))
	}
	return b.String()
}

// Render puts the values in the place of the variables, in one pass: values
// are never expanded again, and braces in them stay literal. A text template
// becomes one user message. Values without a variable are not used. When a
// value is missing the error is a *MissingError and nothing is rendered.
func (t *Template) Render(values map[string]string) ([]Message, error) {
	in, err := t.inOrder(values)
	if err != nil {
		return nil, err
	}
	out := make([]Message, len(t.parts))
	for i := range t.parts {
		p := &t.parts[i]
		out[i] = Message{Role: p.spokenBy(), Content: p.render(in)}
	}
	return out, nil
}

// inOrder returns the values in the order of the template's variables.
func (t *Template) inOrder(values map[string]string) ([]string, error) {
	in := make([]string, len(t.variables))
	var missing []string
	for i, name := range t.variables {
		value, ok := values[name]
		if !ok {
			missing = append(missing, name)
		}
		in[i] = value
	}
	if missing == nil {
		return in, nil
	}
	e := &MissingError{Missing: missing}
	for name := range values {
		e.Given = append(e.Given, name)
	}
	slices.Sort(e.Given)
	return nil, e
}

func (p *part) render(values []string) string {
	if len(p.holes) == 0 {
		return p.source
	}
	size := 0
	for _, l := range p.literals {
		size += len(l)
	}
	for _, h := range p.holes {
		size += len(values[h])
	}
	var b strings.Builder
	b.Grow(size)
	for i, h := range p.holes {
		b.WriteString(p.literals[i])
		b.WriteString(values[h])
	}
	b.WriteString(p.literals[len(p.holes)])
	return b.String()
}

// rendersTo reports whether render would return text, without rendering.
func (p *part) rendersTo(text string, values []string) bool {
	for i, h := range p.holes {
		var ok bool
		if text, ok = strings.CutPrefix(text, p.literals[i]); !ok {
			return false
		}
		if text, ok = strings.CutPrefix(text, values[h]); !ok {
			return false
		}
	}
	return text == p.literals[len(p.holes)]
}

// MarshalJSON writes a string or a list of messages.
func (t Template) MarshalJSON() ([]byte, error) {
	if t.chat {
		return marshal(t.Messages())
	}
	return marshal(t.Text())
}

// UnmarshalJSON reads a string or a list of messages.
func (t *Template) UnmarshalJSON(raw []byte) error {
	var err error
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) > 0 && raw[0] == '"':
		var text string
		if err = json.Unmarshal(raw, &text); err == nil {
			*t, err = ParseText(text)
		}
	case len(raw) > 0 && raw[0] == '[':
		var messages []Message
		dec := json.NewDecoder(bytes.NewReader(raw))
		dec.DisallowUnknownFields()
		if err = dec.Decode(&messages); err != nil {
			return api.Invalid("template", "the template's messages must be objects with the members role and content, both text: %s", strings.TrimPrefix(err.Error(), "json: "))
		}
		*t, err = ParseChat(messages)
	default:
		err = api.Invalid("template", `the template must be a text or a list of {"role", "content"}`)
	}
	return err
}

// marshal is json.Marshal that leaves <, > and & as they are.
func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
