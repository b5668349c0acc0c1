package answer

import (
	"bytes"
	"strconv"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// message puts together a stream of Anthropic's messages API: the message of
// its first event, the blocks in their order, and what its last delta says.
type message struct {
	begun  []byte // the message object of message_start
	delta  []byte // of message_delta: stop_reason and what goes with it
	usage  counts
	blocks []block
	error  []byte
}

type block struct {
	index     int
	begun     []byte
	text      text // of the member that the deltas continue
	signature text
	input     text // partial JSON, still inside its literals
	citations []byte
}

// counts is what a stream has said of its tokens so far. They are cumulative,
// and an event may leave out what has not changed.
type counts struct{ fields []jsonField }

// add takes the usage object of a message_start or a message_delta.
func (u *counts) add(doc []byte, v jsonscan.Value) {
	for key, m := range jsonscan.MembersOf(doc, v) {
		if !m.IsNull(doc) {
			setField(&u.fields, key, m.Of(doc))
		}
	}
}

func (u *counts) appendTo(dst []byte) []byte {
	w := jsonscan.Write(dst)
	for _, f := range u.fields {
		w.Copy(f.name, f.value)
	}
	return w.End()
}

func (m *message) event(doc []byte, v jsonscan.Value, a *Answer) {
	var kind, begun, delta, content, failed jsonscan.Value
	index := 0
	for key, member := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "type":
			kind = member
		case "index":
			index = int(integer(member.Of(doc)))
		case "message":
			begun = member
		case "content_block":
			content = member
		case "delta":
			delta = member
		case "usage":
			m.usage.add(doc, member)
		case "error":
			failed = member
		}
	}
	switch string(kind.Of(doc)) {
	case `"message_start"`:
		if begun.IsObject(doc) {
			m.begun = begun.Of(doc)
			m.usage.add(doc, jsonscan.Lookup(doc, begun, "usage"))
		}
	case `"content_block_start"`:
		if b := m.block(index); b != nil && content.IsObject(doc) {
			b.begun = content.Of(doc)
		}
	case `"content_block_delta"`:
		if b := m.block(index); b != nil {
			b.delta(doc, delta)
		}
	case `"message_delta"`:
		if delta.IsObject(doc) {
			m.delta = delta.Of(doc)
		}
	case `"message_stop"`:
		a.Done = true
	case `"error"`:
		a.Failed = true
		a.Class = errorClass(doc, failed)
		m.error = null
		if failed.Exists() {
			m.error = failed.Of(doc)
		}
	}
}

func (m *message) block(index int) *block {
	for i := range m.blocks {
		if m.blocks[i].index == index {
			return &m.blocks[i]
		}
	}
	if len(m.blocks) >= maxItems {
		return nil
	}
	m.blocks = append(m.blocks, block{index: index})
	return &m.blocks[len(m.blocks)-1]
}

func (b *block) delta(doc []byte, v jsonscan.Value) {
	for key, m := range jsonscan.MembersOf(doc, v) {
		raw := m.Of(doc)
		switch string(key) {
		case "text", "thinking":
			b.text.add(raw)
		case "partial_json":
			b.input.add(raw)
		case "signature":
			b.signature.add(raw)
		case "citation":
			if b.citations != nil {
				b.citations = append(b.citations, ',')
			}
			b.citations = append(b.citations, raw...)
		}
	}
}

// appendTo writes the message. What a cut stream did not say is left open.
func (m *message) appendTo(dst []byte, a *Answer) []byte {
	if m.begun == nil {
		if m.error == nil {
			return dst
		}
		o := jsonscan.Write(dst)
		o.Raw("type", []byte(`"error"`))
		o.Raw("error", m.error)
		return o.End()
	}
	from := len(dst)
	o := jsonscan.Write(dst)
	whole := jsonscan.Value{End: len(m.begun)}
	said := jsonscan.Value{End: len(m.delta)}
	for key, v := range jsonscan.MembersOf(m.begun, whole) {
		switch string(key) {
		case "content", "usage":
		default:
			if m.delta == nil || !jsonscan.Lookup(m.delta, said, string(key)).Exists() {
				o.Copy(key, v.Of(m.begun))
			}
		}
	}
	o.Name("content")
	o.Dst = append(o.Dst, '[')
	for i := range m.blocks {
		if m.blocks[i].begun == nil {
			continue
		}
		if o.Dst[len(o.Dst)-1] != '[' {
			o.Dst = append(o.Dst, ',')
		}
		o.Dst = m.blocks[i].appendTo(o.Dst)
	}
	o.Dst = append(o.Dst, ']')
	for key, v := range jsonscan.MembersOf(m.delta, said) {
		o.Copy(key, v.Of(m.delta))
	}
	o.Name("usage")
	o.Dst = m.usage.appendTo(o.Dst)
	if m.error != nil {
		o.Raw("error", m.error)
	}
	dst = o.End()
	readMessage(dst[from:], a)
	return dst
}

func (b *block) appendTo(dst []byte) []byte {
	o := jsonscan.Write(dst)
	for key, v := range jsonscan.MembersOf(b.begun, jsonscan.Value{End: len(b.begun)}) {
		switch k := string(key); {
		case k == "text" || k == "thinking":
			o.RawName(key)
			o.Dst = append(o.Dst, '"')
			if raw := v.Of(b.begun); raw[0] == '"' {
				o.Dst = append(o.Dst, raw[1:len(raw)-1]...)
			}
			o.Dst = append(append(o.Dst, b.text.raw...), '"')
		case k == "signature" && b.signature.set:
		case k == "input" && b.input.set && len(b.input.raw) > 0:
			o.Name("input")
			o.Dst = b.appendInput(o.Dst)
		default:
			o.Copy(key, v.Of(b.begun))
		}
	}
	if b.signature.set {
		o.Literal("signature", b.signature.raw)
	}
	if b.citations != nil {
		o.Name("citations")
		o.Dst = append(append(append(o.Dst, '['), b.citations...), ']')
	}
	return o.End()
}

// appendInput writes the input of a tool. One that was cut is no JSON, and is
// kept as the text that came.
func (b *block) appendInput(dst []byte) []byte {
	literal := append(append([]byte{'"'}, b.input.raw...), '"')
	text, ok := jsonscan.Unquote(literal)
	if ok && jsonscan.Valid([]byte(text), maxDepth) {
		return append(dst, text...)
	}
	return append(dst, literal...)
}

// readMessage reads model, usage and how it ended of a message object.
func readMessage(doc []byte, a *Answer) {
	for key, m := range jsonscan.MembersOf(doc, jsonscan.Value{End: len(doc)}) {
		switch string(key) {
		case "stop_reason":
			a.Finish = textOf(m.Of(doc))
		default:
			a.member(doc, key, m)
		}
	}
}

// appendMessageStream writes the events of the messages API: the message
// without its content, each block with all of its content as one delta, and how it ended.
func appendMessageStream(dst, doc []byte, whole jsonscan.Value) []byte {
	begun, end := jsonscan.Write(nil), jsonscan.Write(nil)
	var content, usage jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, whole) {
		switch string(key) {
		case "content":
			content = m
			begun.Raw("content", []byte("[]"))
		case "stop_reason", "stop_sequence", "stop_details":
			begun.Copy(key, null)
			end.Copy(key, m.Of(doc))
		case "usage":
			usage = m
			fallthrough
		default:
			begun.Copy(key, m.Of(doc))
		}
	}
	s := messageStream{dst: dst}
	s.event("message_start", func(w *jsonscan.Writer) { w.Raw("message", begun.End()) })
	index := 0
	for b := range jsonscan.Elements(doc, content) {
		s.block(doc, b, index)
		index++
	}
	s.event("message_delta", func(w *jsonscan.Writer) {
		w.Raw("delta", end.End())
		if usage.IsObject(doc) {
			w.Raw("usage", usage.Of(doc))
		}
	})
	s.event("message_stop", func(*jsonscan.Writer) {})
	return s.dst
}

type messageStream struct{ dst []byte }

func (s *messageStream) event(kind string, fields func(*jsonscan.Writer)) {
	s.dst = append(append(append(s.dst, "event: "...), kind...), "\ndata: "...)
	w := jsonscan.Write(s.dst)
	w.String("type", kind)
	fields(&w)
	s.dst = append(w.End(), "\n\n"...)
}

// deltas says how a member of a block is streamed: the type of its deltas,
// their member, and what it is at the beginning.
var deltas = map[string][3]string{
	"text": {"text_delta", "text", `""`}, "thinking": {"thinking_delta", "thinking", `""`},
	"signature": {"signature_delta", "signature", `""`}, "input": {"input_json_delta", "partial_json", "{}"},
}

func (s *messageStream) block(doc []byte, b jsonscan.Value, index int) {
	begun := jsonscan.Write(nil)
	type delta struct {
		how   [3]string
		value []byte
	}
	var parts []delta
	thinks := string(jsonscan.Lookup(doc, b, "type").Of(doc)) == `"thinking"`
	for key, m := range jsonscan.MembersOf(doc, b) {
		how, ok := deltas[string(key)]
		raw := m.Of(doc)
		switch {
		case !ok || how[1] == "partial_json" && raw[0] != '{' || how[1] != "partial_json" && raw[0] != '"' || how[1] == "signature" && !thinks:
			begun.Copy(key, raw)
			continue
		case how[1] == "partial_json":
			raw = jsonscan.AppendQuoted(nil, string(raw))
		}
		begun.Copy(key, []byte(how[2]))
		parts = append(parts, delta{how, raw})
	}
	n := strconv.AppendInt(nil, int64(index), 10)
	s.event("content_block_start", func(w *jsonscan.Writer) { w.Raw("index", n); w.Raw("content_block", begun.End()) })
	if len(parts) == 2 && parts[0].how[1] == "signature" { // it ends its thinking
		parts[0], parts[1] = parts[1], parts[0]
	}
	for _, p := range parts {
		if bytes.Equal(p.value, []byte(`""`)) {
			continue
		}
		s.event("content_block_delta", func(w *jsonscan.Writer) {
			w.Raw("index", n)
			w.Name("delta")
			d := jsonscan.Write(w.Dst)
			d.String("type", p.how[0])
			d.Raw(p.how[1], p.value)
			w.Dst = d.End()
		})
	}
	s.event("content_block_stop", func(w *jsonscan.Writer) { w.Raw("index", n) })
}
