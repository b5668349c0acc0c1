package dialect

import (
	"bytes"
	"strconv"

	"github.com/caddy-frontier/frontier/internal/answer"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// chatAnswer reads answers of OpenAI's chat completions, of which the first choice counts.
type chatAnswer struct {
	out     writer
	summary Summary
	begun   bool
	done    bool
	calls   []int64 // the provider's index of each call
}

func (a *chatAnswer) complete() bool  { return a.done }
func (a *chatAnswer) state() *Summary { return &a.summary }

func (a *chatAnswer) event(data []byte) Verdict {
	if len(data) == 0 {
		return Pass
	}
	if bytes.Equal(data, doneMark) {
		if !a.done {
			return Broken
		}
		return Done
	}
	if _, verdict := event(data); verdict != Pass {
		return verdict
	}
	return a.read(data)
}

func (a *chatAnswer) whole(doc []byte) Verdict { return a.read(doc) }

// read reads an event or a whole answer: they differ in what a choice calls its message.
func (a *chatAnswer) read(doc []byte) (verdict Verdict) {
	verdict = Pass
	var id, model, choices, usage jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, jsonscan.Root(doc)) {
		switch string(key) {
		case "id":
			id = m
		case "model":
			model = m
		case "choices":
			choices = m
		case "usage":
			usage = m
		case "error":
			if !m.IsNull(doc) {
				return Failed
			}
		case "object":
			if string(m.Of(doc)) == `"error"` {
				return Failed
			}
		}
	}
	if !a.begun {
		a.begun = true
		a.summary.ID, a.summary.Model = text(doc, id), text(doc, model)
		a.out.begin(inside(doc, id), inside(doc, model))
	}
	for c := range jsonscan.Elements(doc, choices) {
		if a.choice(doc, c) {
			verdict = Content
		}
		break
	}
	if usage.IsObject(doc) {
		if u := answer.ParseUsage(usage.Of(doc)); u != nil {
			a.summary.Usage = u
			a.out.usage(u)
		}
	}
	return verdict
}

func (a *chatAnswer) choice(doc []byte, c jsonscan.Value) (content bool) {
	var message, finish jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, c) {
		switch string(key) {
		case "delta", "message":
			message = m
		case "finish_reason":
			finish = m
		}
	}
	thought := false
	for key, m := range jsonscan.MembersOf(doc, message) {
		b := inside(doc, m)
		switch string(key) {
		case "reasoning_content", "reasoning":
			if len(b) == 0 || thought {
				continue
			}
			thought = true // some providers say it under both names
			a.out.thinking(b)
		case "content":
			if len(b) == 0 {
				continue
			}
			a.out.text(b)
		case "refusal":
			if len(b) == 0 {
				continue
			}
			a.out.refusal(b)
		case "tool_calls":
			for t := range jsonscan.Elements(doc, m) {
				b = t.Of(doc)
				a.toolCall(doc, t)
			}
		default:
			continue
		}
		a.summary.Bytes += len(b)
		content = content || len(b) > 0
	}
	if reason := inside(doc, finish); len(reason) > 0 && !a.done {
		a.done = true
		said := string(reason)
		switch said {
		case "function_call":
			said = called
		case stopped, length, called, filtered:
		default:
			said = stopped
		}
		if said == stopped && len(a.calls) > 0 {
			said = called
		}
		a.summary.Finish = a.out.finish(said)
	}
	return content
}

func (a *chatAnswer) toolCall(doc []byte, t jsonscan.Value) {
	index := int64(len(a.calls))
	var id, fun, name, arguments jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, t) {
		switch string(key) {
		case "index":
			index = integer(doc, m)
		case "id":
			id = m
		case "function":
			fun = m
		}
	}
	for key, m := range jsonscan.MembersOf(doc, fun) {
		switch string(key) {
		case "name":
			name = m
		case "arguments":
			arguments = m
		}
	}
	n := -1
	for i, known := range a.calls {
		if known == index {
			n = i
		}
	}
	if n < 0 {
		n = len(a.calls)
		a.calls = append(a.calls, index)
		callID := inside(doc, id)
		if len(callID) == 0 {
			callID = strconv.AppendInt([]byte("call_"), int64(n), 10)
		}
		a.out.call(n, callID, inside(doc, name), nil)
	}
	if b := inside(doc, arguments); len(b) > 0 {
		a.out.arguments(n, b)
	}
}
