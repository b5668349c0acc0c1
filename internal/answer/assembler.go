package answer

import (
	"bytes"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Assembler puts the events of a stream together into the one object that the
// answer would have been without streaming. Texts are joined as they stand in
// the JSON, without decoding them. It can be used again and again.
type Assembler struct {
	front  call.Front
	answer Answer
	base   []jsonField // members of the answer besides choices, the last value of each
	usage  []byte
	errors []byte // the error event, raw
	choice []choice
	resp   responses
	msg    message
	joined []byte // data lines of one event
	like   Likeness
	last   lastChoice
	slow   bool // tests: read every event in full
}

// lastChoice is what the event that is being read says of its choice.
type lastChoice struct {
	index   int
	content jsonscan.Value // the literal
	candid  bool           // it may say nothing but this content
}

type jsonField struct{ name, value []byte }

// text is a JSON string that grows: the inside of the literal.
type text struct {
	raw []byte
	set bool
}

// Assemble reads the whole stream and appends the object it amounts to to
// dst. It returns dst unchanged when nothing in the stream could be read.
func (a *Assembler) Assemble(dst []byte, front call.Front, stream []byte) ([]byte, Answer) {
	a.reset(front)
	a.split(stream)
	switch {
	case a.front == call.Responses && a.resp.any():
		dst = a.resp.appendTo(dst, &a.answer)
	case a.front == call.Messages:
		dst = a.msg.appendTo(dst, &a.answer)
	case a.front == call.GenerateContent:
		a.answer.Events = 0 // nobody asks for a stream of it that he wants whole
	default:
		dst = a.appendTo(dst)
	}
	return dst, a.answer
}

func (a *Assembler) reset(front call.Front) {
	*a = Assembler{front: front, base: a.base[:0], choice: a.choice[:0], joined: a.joined[:0], slow: a.slow, resp: responses{items: a.resp.items[:0]}, msg: message{blocks: a.msg.blocks[:0]}}
}

// split finds the events: lines that end in LF, CRLF or CR, data lines joined
// by a line feed, a blank line at the end. A last event without its blank line
// counts: what is missing shows as a stream without an end.
func (a *Assembler) split(stream []byte) {
	stream = bytes.TrimPrefix(stream, []byte("\xef\xbb\xbf"))
	end := byte('\n')
	if bytes.IndexByte(stream, '\n') < 0 {
		end = '\r'
	}
	var data []byte
	lines := 0
	for len(stream) > 0 {
		line := stream
		if i := bytes.IndexByte(stream, end); i >= 0 {
			line, stream = stream[:i], stream[i+1:]
		} else {
			stream = nil
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		if len(line) == 0 {
			if lines > 0 {
				a.event(data)
			}
			data, lines = nil, 0
			continue
		}
		value, ok := bytes.CutPrefix(line, []byte("data:"))
		if !ok {
			continue // a comment, or a field that says nothing the data does not
		}
		value = bytes.TrimPrefix(value, []byte(" "))
		lines++
		switch lines {
		case 1:
			data = value
		case 2:
			a.joined = append(append(append(a.joined[:0], data...), '\n'), value...)
			data = a.joined
		default:
			a.joined = append(append(a.joined, '\n'), value...)
			data = a.joined
		}
	}
	if lines > 0 {
		a.event(data)
	}
}

func (a *Assembler) event(data []byte) {
	data = bytes.TrimSpace(data)
	if string(data) == "[DONE]" {
		a.answer.Done = true
		return
	}
	if literal, ok := a.like.Same(data); ok && !a.slow {
		a.answer.Events++
		a.choiceAt(a.last.index).content.add(literal)
		return
	}
	if len(data) == 0 || data[0] != '{' || !jsonscan.Valid(data, maxDepth) {
		return
	}
	if len(a.joined) > 0 {
		// What is kept of the event must not change with the next one.
		data, a.joined = bytes.Clone(data), a.joined[:0]
	}
	whole := jsonscan.Value{Start: 0, End: len(data)}
	a.answer.Events++
	switch a.front {
	case call.Responses:
		a.resp.event(data, whole, &a.answer)
		return
	case call.Messages:
		a.msg.event(data, whole, &a.answer)
		return
	}
	a.like.Forget()
	a.last = lastChoice{candid: true}
	choices := 0
	for key, v := range jsonscan.MembersOf(data, whole) {
		raw := v.Of(data)
		switch string(key) {
		case "choices":
			for c := range jsonscan.Elements(data, v) {
				a.choiceEvent(data, c)
				choices++
			}
		case "usage":
			if raw[0] == '{' {
				a.last.candid = false
				a.usage = raw
			}
		case "error":
			if raw[0] != 'n' {
				a.last.candid = false
				a.errors = raw
				a.answer.Failed = true
				a.answer.Class = errorClass(data, v)
			}
		case "obfuscation":
		default:
			setField(&a.base, key, raw)
		}
	}
	if a.last.candid && choices == 1 && a.last.content.Exists() {
		a.like.Remember(data, a.last.content)
	}
}

func setField(fields *[]jsonField, name, value []byte) {
	for i := range *fields {
		if f := &(*fields)[i]; bytes.Equal(f.name, name) {
			f.value = value
			return
		}
	}
	if len(*fields) < 64 {
		*fields = append(*fields, jsonField{name, value})
	}
}

// addField adds to a list that is there, and replaces anything else.
func addField(fields *[]jsonField, name, value []byte) {
	for i := range *fields {
		f := &(*fields)[i]
		if bytes.Equal(f.name, name) && f.value[0] == '[' && value[0] == '[' {
			f.value = joinLists(f.value, value)
			return
		}
	}
	setField(fields, name, value)
}

func joinLists(a, b []byte) []byte {
	inner := bytes.TrimSpace(b[1 : len(b)-1])
	if len(inner) == 0 {
		return a
	}
	out := append([]byte(nil), bytes.TrimSpace(a[:len(a)-1])...)
	if len(out) > 1 {
		out = append(out, ',')
	}
	return append(append(out, inner...), ']')
}

func (t *text) add(raw []byte) {
	if raw[0] != '"' {
		return
	}
	t.set = true
	t.raw = append(t.raw, raw[1:len(raw)-1]...)
}
