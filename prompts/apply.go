package prompts

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Apply writes the version, rendered with the call's variables, into the
// request. Everything that the version does not speak of stays byte for byte.
//
// A recognised prompt is rendered again where it was found: a text in the
// place of the text, a chat in the place of the messages. What stands in a
// message beside the text (images, name, cache_control) stays with the last
// message of the same role. When the version is the very one that was
// recognised, nothing is edited. Where a text becomes a chat and was
// recognised more than once, the chat's system messages come once.
//
// A prompt that was named, or that the variant binds, comes before the
// request's own messages: a text as one user message, a chat as its messages.
//
// The error is a 400 that says which variables are missing, or that the API
// called has no place for such a prompt. Response format and model config are
// not applied here.
func Apply(c *call.Call, v *Version, ed *jsonscan.Editor) *call.Error {
	if c.Prompt.Source == call.FromParameter {
		ed.Delete("prompt")
	}
	w := writer{call: c, doc: c.Body, version: v, ed: ed}
	switch c.Front {
	case call.Completions:
		return w.completion()
	case call.ChatCompletions, call.Responses, call.Messages, call.CountTokens:
	case call.Embeddings:
		return w.unfit("the embeddings API has no place for a prompt")
	default:
		return w.unfit("this API has no place for a prompt")
	}
	if len(c.Prompt.Matches) > 0 {
		return w.again()
	}
	messages, err := v.Render(c.Prompt.Variables)
	if err != nil {
		return w.failed(err)
	}
	var items [][]byte
	var system []string
	for _, m := range messages {
		if c.Front.IsMessages() && call.ParseRole(m.Role) == call.System {
			system = append(system, m.Content)
			continue
		}
		items = append(items, newMessage(m.Role, m.Content))
	}
	w.prependSystem(system)
	if len(items) > 0 {
		w.prepend(w.list(), items)
	}
	return nil
}

// list is the member that holds the messages.
func (w *writer) list() string {
	if w.call.Front == call.Responses {
		return "input"
	}
	return "messages"
}

// writer is one application of a version to a call.
type writer struct {
	call    *call.Call
	doc     []byte
	version *Version
	ed      *jsonscan.Editor
	before  [][]byte // what goes before a plain-text input, which later matches may replace
}

func (w *writer) failed(err error) *call.Error {
	e := &call.Error{
		Status: http.StatusBadRequest, Class: "invalid_request", Code: "missing_prompt_variables", Param: "prompt.variables",
		Message: fmt.Sprintf("prompt %s/%d: %s", w.version.Name, w.version.Version, err),
	}
	if _, ok := errors.AsType[*MissingError](err); !ok {
		e.Code = "invalid_prompt"
	}
	return e
}

func (w *writer) unfit(why string) *call.Error {
	return invalid("prompt", "prompt %s/%d cannot be used here: %s", w.version.Name, w.version.Version, why)
}

// completion renders into the completions API's prompt, which is one text.
func (w *writer) completion() *call.Error {
	c, v := w.call, w.version
	if v.Template.chat {
		return w.unfit("the completions API takes one text, and this is a chat prompt")
	}
	values, again := c.Prompt.Variables, len(c.Prompt.Matches) > 0
	if again {
		if w.recognized(&c.Prompt.Matches[0]) {
			return nil
		}
		values = c.Prompt.Matches[0].Variables
	}
	if own := c.Object.Get("prompt"); !again && own.Exists() && !own.IsNull(w.doc) && !own.IsObject(w.doc) {
		if raw := string(own.Of(w.doc)); raw != `""` && raw != `[]` {
			return w.unfit(`the request has a "prompt" of its own, and the completions API takes one text; leave it away or empty`)
		}
	}
	messages, err := v.Render(values)
	if err != nil {
		return w.failed(err)
	}
	w.ed.Set("prompt", jsonscan.AppendQuoted(nil, messages[0].Content))
	return nil
}

// recognized reports whether the match is of the version itself.
func (w *writer) recognized(m *call.Match) bool {
	return m.Version == w.version.Version && w.call.Prompt.Name == w.version.Name
}

// prepend puts messages before those in the list under key, or before the
// text that stands there for one user message.
func (w *writer) prepend(key string, items [][]byte) {
	list := w.call.Object.Get(key)
	switch {
	case list.IsArray(w.doc):
		for range jsonscan.Elements(w.doc, list) {
			w.ed.Replace(jsonscan.Value{Start: list.Start + 1, End: list.Start + 1}, append(joined(items), ','))
			return
		}
	case list.IsString(w.doc) && string(list.Of(w.doc)) != `""`:
		items = append(items, w.rawMessage(list))
	}
	w.ed.Set(key, inBrackets(items))
}

// again renders every match in its place.
func (w *writer) again() *call.Error {
	for i := range w.call.Prompt.Matches {
		m := &w.call.Prompt.Matches[i]
		if w.recognized(m) {
			continue
		}
		values, err := w.version.Template.inOrder(m.Variables)
		if err != nil {
			return w.failed(err)
		}
		w.match(m, values, i == 0)
	}
	if len(w.before) > 0 {
		w.prepend("input", w.before)
	}
	return nil
}

func (w *writer) match(m *call.Match, values []string, first bool) {
	parts := w.version.Template.parts
	old := w.call.Messages[m.First : m.First+m.Count]
	if len(old) == 1 && !w.version.Template.chat || sameRoles(old, parts) {
		for i := range old {
			if text, changed := w.rendered(&old[i], &parts[i], values); changed {
				w.ed.Replace(old[i].Text, text)
			}
		}
		return
	}
	if !first {
		parts = withoutSystem(parts)
	}
	w.replace(old, parts, values)
}

// rendered returns the part as a string literal, and whether it differs from the message's text.
func (w *writer) rendered(m *call.Message, p *part, values []string) ([]byte, bool) {
	if text, ok := m.Decode(w.doc); ok && p.rendersTo(text, values) {
		return m.Text.Of(w.doc), false
	}
	return jsonscan.AppendQuoted(nil, p.render(values)), true
}

func sameRoles(old []call.Message, parts []part) bool {
	if len(old) != len(parts) {
		return false
	}
	for i := range old {
		if old[i].Role != call.ParseRole(parts[i].spokenBy()) || !old[i].Text.Exists() {
			return false
		}
	}
	return true
}

func withoutSystem(parts []part) []part {
	var out []part
	for i := range parts {
		if call.ParseRole(parts[i].spokenBy()) != call.System {
			out = append(out, parts[i])
		}
	}
	if len(out) == 0 {
		return parts
	}
	return out
}

// replace puts the parts in the place of messages whose number or roles
// differ from theirs.
func (w *writer) replace(old []call.Message, parts []part, values []string) {
	// The responses API keeps the first system text in the parameter
	// instructions, and may have the first user message as plain input.
	if w.call.Front.IsMessages() {
		w.replaceMessages(old, parts, values)
		return
	}
	var instructions, input *call.Message
	var list []call.Message
	for i := range old {
		switch m := &old[i]; {
		case m.Value.Exists():
			list = append(list, *m)
		case m.Role == call.System:
			instructions = m
		default:
			input = m
		}
	}
	if instructions != nil {
		lead := 0
		var texts []string
		for lead < len(parts) && call.ParseRole(parts[lead].spokenBy()) == call.System {
			texts = append(texts, parts[lead].render(values))
			lead++
		}
		if lead == len(parts) && len(old) > 1 {
			lead = 0 // something must remain as the input
		}
		if lead == 0 {
			w.ed.Delete("instructions")
		} else {
			w.ed.Replace(instructions.Text, jsonscan.AppendQuoted(nil, strings.Join(texts, "\n\n")))
			parts = parts[lead:]
		}
	}
	switch {
	case len(list) > 0:
		whole := jsonscan.Value{Start: list[0].Value.Start, End: list[len(list)-1].Value.End}
		w.ed.Replace(whole, joined(w.merge(list, parts, values)))
	case input != nil:
		if len(parts) == 1 && len(w.before) == 0 && call.ParseRole(parts[0].spokenBy()) == call.User {
			w.ed.Replace(input.Text, jsonscan.AppendQuoted(nil, parts[0].render(values)))
			return
		}
		w.ed.Replace(input.Text, inBrackets(append(w.before, w.merge(nil, parts, values)...)))
		w.before = nil
	case len(parts) > 0 && w.call.Object.Get("input").IsArray(w.doc):
		w.prepend("input", w.merge(nil, parts, values))
	default:
		w.before = w.merge(nil, parts, values)
	}
}

// merge renders the parts as messages. A part goes into the last message of
// its role that is still free, so that what stands beside the text there
// stays; what stands beside the text in the others is kept as a message.
func (w *writer) merge(old []call.Message, parts []part, values []string) [][]byte {
	into := make([]int, len(parts))
	free := len(old) - 1
	for j := len(parts) - 1; j >= 0; j-- {
		into[j] = -1
		for i := free; i >= 0; i-- {
			if old[i].Role == call.ParseRole(parts[j].spokenBy()) && old[i].Text.Exists() {
				into[j], free = i, i-1
				break
			}
		}
	}
	var out [][]byte
	done := 0
	keep := func(until int) {
		for ; done < until; done++ {
			if rest := w.withoutText(&old[done]); rest != nil {
				out = append(out, rest)
			}
		}
	}
	for j := range parts {
		p := &parts[j]
		if into[j] < 0 {
			out = append(out, newMessage(p.spokenBy(), p.render(values)))
			continue
		}
		keep(into[j])
		done++
		m := &old[into[j]]
		text, _ := w.rendered(m, p, values)
		out = append(out, w.splice(m, m.Text, text))
	}
	keep(len(old))
	return out
}

// splice returns the message with another value in the place of one of its.
func (w *writer) splice(m *call.Message, at jsonscan.Value, with []byte) []byte {
	out := make([]byte, 0, m.Value.End-m.Value.Start+len(with))
	out = append(out, w.doc[m.Value.Start:at.Start]...)
	out = append(out, with...)
	return append(out, w.doc[at.End:m.Value.End]...)
}

// withoutText returns the message without its text part, nil when there is nothing else in it.
func (w *writer) withoutText(m *call.Message) []byte {
	var others [][]byte
	for p := range jsonscan.Elements(w.doc, m.Content) {
		if m.Text.Start < p.Start || m.Text.Start >= p.End {
			others = append(others, p.Of(w.doc))
		}
	}
	if others == nil {
		return nil
	}
	return w.splice(m, m.Content, inBrackets(others))
}

func newMessage(role, content string) []byte {
	out := make([]byte, 0, len(content)+len(content)/16+48)
	out = jsonscan.AppendQuoted(append(out, `{"role":`...), role)
	out = jsonscan.AppendQuoted(append(out, `,"content":`...), content)
	return append(out, '}')
}

// rawMessage is a user message of the string literal at v.
func (w *writer) rawMessage(v jsonscan.Value) []byte {
	out := append([]byte(nil), `{"role":"user","content":`...)
	return append(append(out, v.Of(w.doc)...), '}')
}

func joined(items [][]byte) []byte {
	var out []byte
	for i, item := range items {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, item...)
	}
	return out
}

func inBrackets(items [][]byte) []byte {
	return append(append([]byte{'['}, joined(items)...), ']')
}
