package answer

import (
	"bytes"
	"encoding/json"
	"errors"
	"strconv"
	"unicode/utf8"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// AppendStream appends the stream of events that says what the whole answer
// doc says, its terminator included. It must be a valid answer of the front:
// see Whole.
func AppendStream(dst []byte, front call.Front, doc []byte) []byte {
	var compact bytes.Buffer // no line of an event may end within its data
	if json.Compact(&compact, doc) != nil {
		return dst
	}
	doc = compact.Bytes()
	whole := jsonscan.Value{End: len(doc)}
	switch front {
	case call.Responses:
		return appendResponseStream(dst, doc, whole)
	case call.Messages:
		return appendMessageStream(dst, doc, whole)
	case call.GenerateContent: // its events are answers like the whole
		return append(append(append(dst, "data: "...), doc...), "\n\n"...)
	}
	return appendChatStream(dst, doc, whole)
}

var (
	errNotJSON   = errors.New("not JSON")
	errNotAnswer = errors.New("JSON, but not what was asked for")
)

// Whole says why doc is not a whole answer of the front, as far as a client
// relies on it: well-formed, and with the member that holds what was asked for.
// Nil: it is one.
func Whole(front call.Front, doc []byte) error {
	if !jsonscan.Valid(doc, maxDepth) || !utf8.Valid(doc) {
		return errNotJSON
	}
	want := "choices"
	switch front {
	case call.Embeddings:
		want = "data"
	case call.Responses:
		want = "output"
	}
	root := jsonscan.Root(doc)
	switch front {
	case call.Messages:
		want = "content"
	case call.CountTokens:
		if !jsonscan.Lookup(doc, root, "input_tokens").Exists() {
			return errNotAnswer
		}
		return nil
	case call.GenerateContent: // without candidates, when the prompt was blocked
		if jsonscan.Lookup(doc, root, "promptFeedback").IsObject(doc) {
			return nil
		}
		want = "candidates"
	}
	if !jsonscan.Lookup(doc, root, want).IsArray(doc) {
		return errNotAnswer
	}
	return nil
}

// appendChatStream writes, for each choice, one event with all of its content
// and one with its finish reason, then the usage.
func appendChatStream(dst, doc []byte, whole jsonscan.Value) []byte {
	base := jsonscan.Write([]byte("data: "))
	var choices jsonscan.Value
	usage := null
	for key, m := range jsonscan.MembersOf(doc, whole) {
		switch string(key) {
		case "choices":
			choices = m
		case "usage":
			usage = m.Of(doc)
		case "object":
			if string(m.Of(doc)) == `"chat.completion"` {
				base.Raw("object", []byte(`"chat.completion.chunk"`))
				continue
			}
			fallthrough
		default:
			base.Copy(key, m.Of(doc))
		}
	}
	event := func(list []byte, more func(*jsonscan.Writer)) {
		w := base
		w.Dst = append(dst, base.Dst...)
		w.Name("choices")
		w.Dst = append(append(append(w.Dst, '['), list...), ']')
		more(&w)
		dst = append(w.End(), "\n\n"...)
	}
	nothing := func(*jsonscan.Writer) {}
	for c := range jsonscan.Elements(doc, choices) {
		content, finish := splitChoice(doc, c)
		event(content, nothing)
		event(finish, nothing)
	}
	if usage[0] == '{' {
		event(nil, func(w *jsonscan.Writer) { w.Raw("usage", usage) })
	}
	return append(dst, "data: [DONE]\n\n"...)
}

// splitChoice makes of a choice the one with its content and the one with its finish reason.
func splitChoice(doc []byte, c jsonscan.Value) (content, finish []byte) {
	w, end := jsonscan.Write(nil), jsonscan.Write(nil)
	completion := false
	index, reason := []byte("0"), null
	for key, m := range jsonscan.MembersOf(doc, c) {
		switch string(key) {
		case "index":
			index = m.Of(doc)
		case "finish_reason":
			reason = m.Of(doc)
		case "message":
			w.Name("delta")
			w.Dst = appendDelta(w.Dst, doc, m)
		case "text":
			completion = true
			fallthrough
		default:
			w.Copy(key, m.Of(doc))
		}
	}
	w.Raw("index", index)
	w.Raw("finish_reason", null)
	end.Raw("index", index)
	if completion {
		end.Raw("text", []byte(`""`))
	} else {
		end.Raw("delta", []byte("{}"))
	}
	end.Raw("finish_reason", reason)
	return w.End(), end.End()
}

// appendDelta writes a message as a delta: its tool calls are numbered.
func appendDelta(dst, doc []byte, message jsonscan.Value) []byte {
	w := jsonscan.Write(dst)
	for key, m := range jsonscan.MembersOf(doc, message) {
		if string(key) != "tool_calls" || !m.IsArray(doc) {
			w.Copy(key, m.Of(doc))
			continue
		}
		w.Name("tool_calls")
		w.Dst = append(w.Dst, '[')
		n := 0
		for t := range jsonscan.Elements(doc, m) {
			if n > 0 {
				w.Dst = append(w.Dst, ',')
			}
			call := jsonscan.Write(w.Dst)
			call.Name("index")
			call.Dst = strconv.AppendInt(call.Dst, int64(n), 10)
			for key, m := range jsonscan.MembersOf(doc, t) {
				if string(key) != "index" {
					call.Copy(key, m.Of(doc))
				}
			}
			w.Dst = call.End()
			n++
		}
		w.Dst = append(w.Dst, ']')
	}
	return w.End()
}

// appendResponseStream writes the events of the responses API: the response
// without output, each item and its texts as they would have come, and the whole.
func appendResponseStream(dst, doc []byte, whole jsonscan.Value) []byte {
	s := responseStream{dst: dst}
	begun := jsonscan.Write(nil)
	var output jsonscan.Value
	kind := "response.completed"
	for key, m := range jsonscan.MembersOf(doc, whole) {
		switch string(key) {
		case "output":
			output = m
			begun.Raw("output", []byte("[]"))
		case "status":
			if string(m.Of(doc)) == `"incomplete"` {
				kind = "response.incomplete"
			}
			begun.Raw("status", []byte(`"in_progress"`))
		case "usage":
			begun.Raw("usage", null)
		default:
			begun.Copy(key, m.Of(doc))
		}
	}
	s.event("response.created", func(w *jsonscan.Writer) { w.Raw("response", begun.End()) })
	i := int64(0)
	for item := range jsonscan.Elements(doc, output) {
		s.item(doc, item, i)
		i++
	}
	s.event(kind, func(w *jsonscan.Writer) { w.Raw("response", whole.Of(doc)) })
	return s.dst
}

type responseStream struct {
	dst    []byte
	number int64 // of the next event
}

func (s *responseStream) event(kind string, fields func(*jsonscan.Writer)) {
	s.dst = append(append(append(s.dst, "event: "...), kind...), "\ndata: "...)
	w := jsonscan.Write(s.dst)
	w.String("type", kind)
	w.Name("sequence_number")
	w.Dst = strconv.AppendInt(w.Dst, s.number, 10)
	s.number++
	fields(&w)
	s.dst = append(w.End(), "\n\n"...)
}

func index(w *jsonscan.Writer, name string, n int64) {
	w.Name(name)
	w.Dst = strconv.AppendInt(w.Dst, n, 10)
}

func (s *responseStream) item(doc []byte, item jsonscan.Value, at int64) {
	begun := jsonscan.Write(nil)
	var id, content, arguments jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, item) {
		switch string(key) {
		case "content":
			content = m
			begun.Raw("content", []byte("[]"))
		case "arguments":
			arguments = m
			begun.Raw("arguments", []byte(`""`))
		case "status":
			begun.Raw("status", []byte(`"in_progress"`))
		default:
			if string(key) == "id" {
				id = m
			}
			begun.Copy(key, m.Of(doc))
		}
	}
	of := func(w *jsonscan.Writer) {
		if id.Exists() {
			w.Raw("item_id", id.Of(doc))
		}
		index(w, "output_index", at)
	}
	s.event("response.output_item.added", func(w *jsonscan.Writer) {
		index(w, "output_index", at)
		w.Raw("item", begun.End())
	})
	n := int64(0)
	for part := range jsonscan.Elements(doc, content) {
		s.part(doc, part, func(w *jsonscan.Writer) { of(w); index(w, "content_index", n) })
		n++
	}
	if arguments.IsString(doc) {
		s.event("response.function_call_arguments.delta", func(w *jsonscan.Writer) { of(w); w.Raw("delta", arguments.Of(doc)) })
		s.event("response.function_call_arguments.done", func(w *jsonscan.Writer) { of(w); w.Raw("arguments", arguments.Of(doc)) })
	}
	s.event("response.output_item.done", func(w *jsonscan.Writer) {
		index(w, "output_index", at)
		w.Raw("item", item.Of(doc))
	})
}

// part writes the events of a text or a refusal; other parts come with their item.
func (s *responseStream) part(doc []byte, part jsonscan.Value, of func(*jsonscan.Writer)) {
	var name string
	var text jsonscan.Value
	begun := jsonscan.Write(nil)
	for key, m := range jsonscan.MembersOf(doc, part) {
		if k := string(key); (k == "text" || k == "refusal") && m.IsString(doc) {
			name, text = k, m
			begun.Copy(key, []byte(`""`))
			continue
		}
		begun.Copy(key, m.Of(doc))
	}
	if name == "" {
		return
	}
	kind := "response.output_text"
	if name == "refusal" {
		kind = "response.refusal"
	}
	s.event("response.content_part.added", func(w *jsonscan.Writer) { of(w); w.Raw("part", begun.End()) })
	s.event(kind+".delta", func(w *jsonscan.Writer) {
		of(w)
		w.Raw("delta", text.Of(doc))
		if name == "text" {
			w.Raw("logprobs", []byte("[]"))
		}
	})
	s.event(kind+".done", func(w *jsonscan.Writer) {
		of(w)
		w.Raw(name, text.Of(doc))
		if name == "text" {
			w.Raw("logprobs", []byte("[]"))
		}
	})
	s.event("response.content_part.done", func(w *jsonscan.Writer) { of(w); w.Raw("part", part.Of(doc)) })
}
