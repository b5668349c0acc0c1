package dialect

import (
	"bytes"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Clean takes out of a request, which goes to a provider of its own dialect,
// what only a provider of another one can read: see mark. Messages without
// any stay byte for byte. ok is false when there was nothing.
func Clean(front call.Front, body []byte) (out []byte, ok bool) {
	name := map[call.Front]string{call.ChatCompletions: "messages", call.Messages: "messages", call.CountTokens: "messages", call.Responses: "input"}[front]
	list := jsonscan.Lookup(body, jsonscan.Root(body), name)
	if !list.IsArray(body) || !foreign(body, list) {
		return nil, false
	}
	c := cleaner{doc: body, front: front}
	out = append(out, body[:list.Start]...)
	out = c.list(out, list, c.message)
	return append(out, body[list.End:]...), true
}

type cleaner struct {
	doc   []byte
	front call.Front
}

func foreign(doc []byte, v jsonscan.Value) bool { return Marked(v.Of(doc)) }

// list writes a list whose elements are written by element, which leaves out what is not to stay.
func (c *cleaner) list(dst []byte, v jsonscan.Value, element func([]byte, jsonscan.Value) []byte) []byte {
	dst = append(dst, '[')
	for e := range jsonscan.Elements(c.doc, v) {
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		before := len(dst)
		if foreign(c.doc, e) {
			dst = element(dst, e)
		} else {
			dst = append(dst, e.Of(c.doc)...)
		}
		if len(dst) == before {
			dst = bytes.TrimSuffix(dst, []byte{','})
		}
	}
	return append(dst, ']')
}

func (c *cleaner) message(dst []byte, v jsonscan.Value) []byte {
	switch {
	case !v.IsObject(c.doc):
		return append(dst, v.Of(c.doc)...)
	case c.front == call.Responses:
		if c.kind(v) == "reasoning" {
			return dst
		}
		return append(dst, v.Of(c.doc)...)
	}
	before := len(dst)
	thinks := jsonscan.Lookup(c.doc, v, "thinking_blocks")
	thinking := thinks.Exists() && foreign(c.doc, thinks)
	w := jsonscan.Write(dst)
	for key, m := range jsonscan.MembersOf(c.doc, v) {
		switch k := string(key); {
		case thinking && (k == "thinking_blocks" || k == "reasoning_content"):
		case k == "tool_calls" && m.IsArray(c.doc):
			w.RawName(key)
			w.Dst = c.list(w.Dst, m, c.toolCall)
		case k == "content" && m.IsArray(c.doc) && c.front != call.ChatCompletions:
			w.RawName(key)
			w.Dst = c.list(w.Dst, m, c.block)
			if bytes.HasSuffix(w.Dst, []byte(":[]")) { // there was nothing else in it
				return w.Dst[:before]
			}
		default:
			w.Copy(key, m.Of(c.doc))
		}
	}
	return w.End()
}

func (c *cleaner) kind(v jsonscan.Value) string {
	return string(inside(c.doc, jsonscan.Lookup(c.doc, v, "type")))
}

func (c *cleaner) block(dst []byte, v jsonscan.Value) []byte {
	if k := c.kind(v); k == "thinking" || k == "redacted_thinking" {
		return dst
	}
	return append(dst, v.Of(c.doc)...)
}

func (c *cleaner) toolCall(dst []byte, v jsonscan.Value) []byte {
	w := jsonscan.Write(dst)
	for key, m := range jsonscan.MembersOf(c.doc, v) {
		if string(key) != "extra_content" || !foreign(c.doc, m) {
			w.Copy(key, m.Of(c.doc))
		}
	}
	return w.End()
}
