package answer

import (
	"bytes"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// responses puts together a stream of the responses API. Its last event
// carries the whole response; only a stream that was cut is put together
// from its parts.
type responses struct {
	final []byte // the response object of the last event
	begun []byte // that of the first one
	items []outputItem
	error []byte
}

type outputItem struct {
	index       int
	begun, done []byte // the item as announced, and as completed
	parts       []outputPart
	arguments   text
}

type outputPart struct {
	index   int
	summary bool
	kind    string
	text    text
}

const maxItems = 1024

func (r *responses) any() bool { return r.final != nil || r.begun != nil || r.error != nil }

func (r *responses) event(doc []byte, v jsonscan.Value, a *Answer) {
	var kind, delta, item, response []byte
	output, part := 0, 0
	for key, m := range jsonscan.MembersOf(doc, v) {
		raw := m.Of(doc)
		switch string(key) {
		case "type":
			if raw[0] == '"' {
				kind = raw[1 : len(raw)-1]
			}
		case "response":
			if raw[0] == '{' {
				response = raw
			}
		case "item":
			if raw[0] == '{' {
				item = raw
			}
		case "delta":
			if raw[0] == '"' {
				delta = raw
			}
		case "output_index":
			output = int(integer(raw))
		case "content_index", "summary_index":
			part = int(integer(raw))
		}
	}
	switch string(kind) {
	case "response.completed", "response.incomplete", "response.failed":
		if response != nil {
			r.final = response
			a.Done = true
		}
		return
	case "response.created", "response.in_progress", "response.queued":
		if response != nil {
			r.begun = response
		}
		return
	case "error":
		r.error = doc
		a.Failed = true
		a.Class = errorClass(doc, v)
		return
	}
	if e := jsonscan.Lookup(doc, v, "error"); kind == nil && e.IsObject(doc) {
		r.error = doc
		a.Failed = true
		a.Class = errorClass(doc, e)
		return
	}
	if item == nil && delta == nil {
		return
	}
	it := r.item(output)
	if it == nil {
		return
	}
	switch string(kind) {
	case "response.output_item.added":
		it.begun = item
	case "response.output_item.done":
		it.done = item
	case "response.output_text.delta":
		it.part(part, false, "output_text").add(delta)
	case "response.refusal.delta":
		it.part(part, false, "refusal").add(delta)
	case "response.reasoning_summary_text.delta":
		it.part(part, true, "summary_text").add(delta)
	case "response.reasoning_text.delta":
		it.part(part, false, "reasoning_text").add(delta)
	case "response.function_call_arguments.delta", "response.custom_tool_call_input.delta", "response.mcp_call_arguments.delta":
		if delta != nil {
			it.arguments.add(delta)
		}
	}
}

func (r *responses) item(index int) *outputItem {
	for i := range r.items {
		if r.items[i].index == index {
			return &r.items[i]
		}
	}
	if len(r.items) >= maxItems {
		return nil
	}
	r.items = append(r.items, outputItem{index: index})
	return &r.items[len(r.items)-1]
}

func (it *outputItem) part(index int, summary bool, kind string) *partText {
	for i := range it.parts {
		if p := &it.parts[i]; p.index == index && p.summary == summary {
			return (*partText)(&p.text)
		}
	}
	if len(it.parts) >= maxItems {
		return &partText{}
	}
	it.parts = append(it.parts, outputPart{index: index, summary: summary, kind: kind})
	return (*partText)(&it.parts[len(it.parts)-1].text)
}

// partText is a text whose delta may be missing.
type partText text

func (t *partText) add(raw []byte) {
	if raw != nil {
		(*text)(t).add(raw)
	}
}

func (r *responses) appendTo(dst []byte, a *Answer) []byte {
	base := r.final
	if base == nil {
		base = r.begun
	}
	if base == nil {
		return append(dst, r.error...)
	}
	readResponse(base, a)
	if r.final != nil {
		return append(dst, r.final...)
	}
	a.Finish = ""
	o := jsonscan.Write(dst)
	for key, m := range jsonscan.MembersOf(base, jsonscan.Value{Start: 0, End: len(base)}) {
		switch string(key) {
		case "output", "error":
		case "status":
			o.Copy(key, []byte(`"incomplete"`))
		default:
			o.Copy(key, m.Of(base))
		}
	}
	o.Name("output")
	o.Dst = append(o.Dst, '[')
	first := true
	for i := range r.items {
		item := r.items[i].appendTo(nil)
		if item == nil {
			continue
		}
		if !first {
			o.Dst = append(o.Dst, ',')
		}
		first = false
		o.Dst = append(o.Dst, item...)
	}
	o.Dst = append(o.Dst, ']')
	if r.error != nil {
		o.Raw("error", r.error)
	}
	return o.End()
}

// appendTo writes an item that was cut: as announced, with the texts that came.
func (it *outputItem) appendTo(dst []byte) []byte {
	if it.done != nil {
		return append(dst, it.done...)
	}
	if it.begun == nil && len(it.parts) == 0 && !it.arguments.set {
		return dst
	}
	o := jsonscan.Write(dst)
	if it.begun == nil {
		o.Raw("type", []byte(`"message"`))
	}
	input := false
	for key, m := range jsonscan.MembersOf(it.begun, jsonscan.Value{Start: 0, End: len(it.begun)}) {
		raw := m.Of(it.begun)
		switch string(key) {
		case "content", "summary":
			if len(it.parts) > 0 {
				continue
			}
		case "arguments":
			if it.arguments.set {
				continue
			}
		case "input":
			if it.arguments.set {
				input = true
				continue
			}
		case "status":
			raw = []byte(`"incomplete"`)
		}
		o.Copy(key, raw)
	}
	if it.arguments.set {
		name := "arguments"
		if input {
			name = "input"
		}
		o.Literal(name, it.arguments.raw)
	}
	for _, summary := range []bool{true, false} {
		it.appendParts(&o, summary)
	}
	return o.End()
}

func (it *outputItem) appendParts(o *jsonscan.Writer, summary bool) {
	n := 0
	for _, p := range it.parts {
		if p.summary != summary {
			continue
		}
		if n == 0 {
			name := "content"
			if summary {
				name = "summary"
			}
			o.Name(name)
			o.Dst = append(o.Dst, '[')
		} else {
			o.Dst = append(o.Dst, ',')
		}
		n++
		part := jsonscan.Write(o.Dst)
		part.Name("type")
		part.Dst = append(append(append(part.Dst, '"'), p.kind...), '"')
		name := "text"
		if p.kind == "refusal" {
			name = "refusal"
		}
		part.Literal(name, p.text.raw)
		o.Dst = part.End()
	}
	if n > 0 {
		o.Dst = append(o.Dst, ']')
	}
}

// readResponse reads model, usage and how it ended of a response object.
func readResponse(doc []byte, a *Answer) {
	called := false
	var reason string
	for key, m := range jsonscan.MembersOf(doc, jsonscan.Value{Start: 0, End: len(doc)}) {
		raw := m.Of(doc)
		switch string(key) {
		case "status":
			reason = textOf(raw)
		case "output":
			called = bytes.Contains(raw, []byte(`"function_call"`)) || bytes.Contains(raw, []byte(`"custom_tool_call"`))
		case "incomplete_details":
			if v := jsonscan.Lookup(doc, m, "reason"); v.IsString(doc) {
				a.Finish = textOf(v.Of(doc))
			}
		default:
			a.member(doc, key, m)
		}
	}
	switch reason {
	case "completed":
		a.Finish = "stop"
		if called {
			a.Finish = "tool_calls"
		}
	case "incomplete":
		if a.Finish == "max_output_tokens" {
			a.Finish = "length"
		}
	case "failed":
		a.Failed = true
	}
}

// errorClass is the code, else the type, of a provider's error object.
func errorClass(doc []byte, v jsonscan.Value) string {
	for _, name := range []string{"code", "type"} {
		if s := jsonscan.Lookup(doc, v, name); s.IsString(doc) {
			if c := textOf(s.Of(doc)); c != "" && c != "error" {
				return c
			}
		}
	}
	return "provider_error"
}
