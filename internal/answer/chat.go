package answer

import (
	"bytes"
	"strconv"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// choice is one of the answers of a chat completion or a completion.
type choice struct {
	index            int
	role             []byte
	content          text
	refusal          text
	extra            []extraText // reasoning_content and its like
	calls            []toolCall
	fields           []jsonField // of the message, not texts
	finish           []byte
	logprobs         []logprob
	completion, seen bool
}

type extraText struct {
	name []byte
	text
}

type toolCall struct {
	index               int
	id, kind, name, fun []byte
	arguments           text
	argumentsName       []byte
	extra               []byte // extra_content, where Google has the signature of a call
}

type logprob struct {
	name  []byte
	items []byte // the inside of a list
	set   bool
	other []byte // not a list
}

const (
	maxChoices = 256
	maxCalls   = 1024
)

func (a *Assembler) choiceEvent(doc []byte, v jsonscan.Value) {
	index := 0
	var delta, text, finish, logprobs jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "index":
			index = int(integer(m.Of(doc)))
		case "delta", "message":
			delta = m
		case "text":
			text = m
		case "finish_reason":
			finish = m
		case "logprobs":
			logprobs = m
		}
	}
	c := a.choiceAt(index)
	if c == nil {
		return
	}
	a.last.index, a.last.content = index, c.delta(doc, delta)
	a.last.candid = a.last.candid && !text.Exists() && !finish.IsString(doc) && !logprobs.IsObject(doc)
	if text.Exists() {
		c.completion = true
		c.content.add(text.Of(doc))
	}
	if finish.IsString(doc) {
		c.finish = finish.Of(doc)
	}
	c.addLogprobs(doc, logprobs)
}

func (a *Assembler) choiceAt(index int) *choice {
	for i := range a.choice {
		if a.choice[i].index == index {
			return &a.choice[i]
		}
	}
	if len(a.choice) >= maxChoices {
		return nil
	}
	if len(a.choice) < cap(a.choice) { // take over the buffers of an earlier use
		a.choice = a.choice[:len(a.choice)+1]
		c := &a.choice[len(a.choice)-1]
		*c = choice{index: index, content: text{raw: c.content.raw[:0]}, calls: c.calls[:0]}
		return c
	}
	a.choice = append(a.choice, choice{index: index})
	return &a.choice[len(a.choice)-1]
}

// delta adds what is new to the message. When that is content alone, its
// place is returned.
func (c *choice) delta(doc []byte, v jsonscan.Value) (content jsonscan.Value) {
	members := 0
	for key, m := range jsonscan.MembersOf(doc, v) {
		raw := m.Of(doc)
		members++
		switch string(key) {
		case "content":
			c.seen = true
			c.content.add(raw)
			if raw[0] == '"' {
				content = m
			}
		case "role":
			if c.role == nil && raw[0] == '"' {
				c.role = raw
			}
		case "tool_calls":
			for t := range jsonscan.Elements(doc, m) {
				c.toolCall(doc, t)
			}
		case "refusal":
			c.refusal.add(raw)
		default:
			if raw[0] != '"' {
				if raw[0] != 'n' {
					addField(&c.fields, key, raw)
				}
				continue
			}
			c.extraText(key).add(raw)
		}
	}
	if members != 1 {
		return jsonscan.Value{}
	}
	return content
}

func (c *choice) extraText(name []byte) *text {
	for i := range c.extra {
		if bytes.Equal(c.extra[i].name, name) {
			return &c.extra[i].text
		}
	}
	if len(c.extra) >= 64 {
		return &text{}
	}
	c.extra = append(c.extra, extraText{name: name})
	return &c.extra[len(c.extra)-1].text
}

func (c *choice) toolCall(doc []byte, v jsonscan.Value) {
	index, id := -1, []byte(nil)
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "index":
			index = int(integer(m.Of(doc)))
		case "id":
			if raw := m.Of(doc); raw[0] == '"' && len(raw) > 2 {
				id = raw
			}
		}
	}
	t := c.callAt(index, id)
	if t == nil {
		return
	}
	if id != nil {
		t.id = id
	}
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch raw := m.Of(doc); string(key) {
		case "type":
			if raw[0] == '"' {
				t.kind = raw
			}
		case "extra_content":
			if raw[0] == '{' {
				t.extra = raw
			}
		case "function", "custom":
			if raw[0] != '{' {
				continue
			}
			t.fun = key
			for key, m := range jsonscan.MembersOf(doc, m) {
				switch raw := m.Of(doc); string(key) {
				case "name":
					if raw[0] == '"' && len(t.name) <= 2 {
						t.name = raw
					}
				case "arguments", "input":
					t.argumentsName = key
					t.arguments.add(raw)
				}
			}
		}
	}
}

// callAt finds a tool call by its index. Some providers send none: then a new
// id begins a new call, and what has no id belongs to the last one.
func (c *choice) callAt(index int, id []byte) *toolCall {
	n := len(c.calls)
	if index < 0 {
		if n > 0 && (id == nil || bytes.Equal(id, c.calls[n-1].id)) {
			return &c.calls[n-1]
		}
		index = n
	}
	for i := range c.calls {
		if c.calls[i].index == index {
			return &c.calls[i]
		}
	}
	if n >= maxCalls {
		return nil
	}
	c.calls = append(c.calls, toolCall{index: index})
	return &c.calls[n]
}

// addLogprobs joins the lists in a choice's logprobs, whatever they are called.
func (c *choice) addLogprobs(doc []byte, v jsonscan.Value) {
	for key, m := range jsonscan.MembersOf(doc, v) {
		raw := m.Of(doc)
		var l *logprob
		for i := range c.logprobs {
			if bytes.Equal(c.logprobs[i].name, key) {
				l = &c.logprobs[i]
			}
		}
		if l == nil {
			if len(c.logprobs) >= 16 {
				continue
			}
			c.logprobs = append(c.logprobs, logprob{name: key})
			l = &c.logprobs[len(c.logprobs)-1]
		}
		if raw[0] != '[' {
			l.other = raw
			continue
		}
		l.set = true
		inner := bytes.TrimSpace(raw[1 : len(raw)-1])
		if len(inner) == 0 {
			continue
		}
		if len(l.items) > 0 {
			l.items = append(l.items, ',')
		}
		l.items = append(l.items, inner...)
	}
}

// appendTo writes the chat completion or completion.
func (a *Assembler) appendTo(dst []byte) []byte {
	if a.usage != nil {
		a.answer.Usage = ParseUsage(a.usage)
	}
	if len(a.choice) == 0 && len(a.base) == 0 && a.usage == nil && a.errors == nil {
		return dst
	}
	o := jsonscan.Write(dst)
	for _, f := range a.base {
		switch string(f.name) {
		case "model":
			a.answer.Model = textOf(f.value)
		case "object":
			if string(f.value) == `"chat.completion.chunk"` {
				f.value = []byte(`"chat.completion"`)
			}
		}
		o.Copy(f.name, f.value)
	}
	all := len(a.choice) > 0
	if all || a.errors == nil {
		o.Name("choices")
		o.Dst = append(o.Dst, '[')
		for i := range a.choice {
			c := &a.choice[i]
			if i > 0 {
				o.Dst = append(o.Dst, ',')
			}
			o.Dst = c.appendTo(o.Dst)
			all = all && c.finish != nil
			if a.answer.Finish == "" {
				a.answer.Finish = textOf(c.finish)
			}
		}
		o.Dst = append(o.Dst, ']')
	}
	if a.usage != nil {
		o.Raw("usage", a.usage)
	}
	if a.errors != nil {
		o.Raw("error", a.errors)
	}
	a.answer.Done = a.answer.Done || all
	return o.End()
}

func (c *choice) appendTo(dst []byte) []byte {
	o := jsonscan.Write(dst)
	o.Name("index")
	o.Dst = strconv.AppendInt(o.Dst, int64(c.index), 10)
	if c.completion {
		o.Literal("text", c.content.raw)
	} else {
		o.Name("message")
		o.Dst = c.appendMessage(o.Dst)
	}
	if len(c.logprobs) > 0 {
		o.Name("logprobs")
		l := jsonscan.Write(o.Dst)
		for _, p := range c.logprobs {
			if !p.set {
				l.Copy(p.name, p.other)
				continue
			}
			l.RawName(p.name)
			l.Dst = append(append(append(l.Dst, '['), p.items...), ']')
		}
		o.Dst = l.End()
	}
	finish := c.finish
	if finish == nil {
		finish = null
	}
	o.Raw("finish_reason", finish)
	return o.End()
}

func (c *choice) appendMessage(dst []byte) []byte {
	m := jsonscan.Write(dst)
	role := c.role
	if role == nil {
		role = []byte(`"assistant"`)
	}
	m.Raw("role", role)
	if c.content.set || !c.seen && len(c.calls) == 0 && !c.refusal.set {
		m.Literal("content", c.content.raw)
	} else {
		m.Raw("content", null)
	}
	if c.refusal.set {
		m.Literal("refusal", c.refusal.raw)
	}
	for _, e := range c.extra {
		m.RawName(e.name)
		m.Dst = append(append(append(m.Dst, '"'), e.raw...), '"')
	}
	for _, f := range c.fields {
		m.Copy(f.name, f.value)
	}
	if len(c.calls) > 0 {
		m.Name("tool_calls")
		m.Dst = append(m.Dst, '[')
		for i := range c.calls {
			if i > 0 {
				m.Dst = append(m.Dst, ',')
			}
			m.Dst = c.calls[i].appendTo(m.Dst)
		}
		m.Dst = append(m.Dst, ']')
	}
	return m.End()
}

func (t *toolCall) appendTo(dst []byte) []byte {
	o := jsonscan.Write(dst)
	if t.id != nil {
		o.Raw("id", t.id)
	}
	if t.kind == nil {
		t.kind = []byte(`"function"`)
	}
	o.Raw("type", t.kind)
	if t.extra != nil {
		o.Raw("extra_content", t.extra)
	}
	if t.fun != nil {
		o.RawName(t.fun)
		f := jsonscan.Write(o.Dst)
		if t.name != nil {
			f.Raw("name", t.name)
		}
		if t.argumentsName != nil {
			f.RawName(t.argumentsName)
			f.Dst = append(append(append(f.Dst, '"'), t.arguments.raw...), '"')
		}
		o.Dst = f.End()
	}
	return o.End()
}
