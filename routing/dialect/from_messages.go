package dialect

import (
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// messagesAnswer reads answers of Anthropic's messages API.
type messagesAnswer struct {
	out     writer
	summary Summary
	counts  counts
	done    bool // the message says how it ended
	calls   int
	block   struct {
		call  int    // the number of the call; -1: it is none
		input []byte // that came with its begin
		said  bool   // arguments have come
	}
}

// counts are Anthropic's: cached input stands beside the rest.
type counts struct {
	known                                    bool
	input, output, cached, written, thinking int64
}

func (c *counts) add(doc []byte, v jsonscan.Value) {
	for key, m := range jsonscan.MembersOf(doc, v) {
		if m.IsNull(doc) {
			continue
		}
		c.known = true
		switch string(key) {
		case "input_tokens":
			c.input = integer(doc, m)
		case "output_tokens":
			c.output = integer(doc, m)
		case "cache_read_input_tokens":
			c.cached = integer(doc, m)
		case "cache_creation_input_tokens":
			c.written = integer(doc, m)
		case "output_tokens_details":
			c.thinking = integer(doc, jsonscan.Lookup(doc, m, "thinking_tokens"))
		}
	}
}

func (c *counts) usage() *call.Usage {
	if !c.known {
		return nil
	}
	return &call.Usage{Input: c.input + c.cached + c.written, Output: c.output, CachedInput: c.cached, CacheWriteInput: c.written, Reasoning: c.thinking}
}

func (a *messagesAnswer) complete() bool  { return a.done }
func (a *messagesAnswer) state() *Summary { return &a.summary }

func (a *messagesAnswer) event(data []byte) Verdict {
	if len(data) == 0 {
		return Pass
	}
	doc, verdict := event(data)
	if verdict != Pass {
		return verdict
	}
	var kind, message, block, delta, usage jsonscan.Value
	for key, m := range jsonscan.MembersOf(data, doc) {
		switch string(key) {
		case "type":
			kind = m
		case "message":
			message = m
		case "content_block":
			block = m
		case "delta":
			delta = m
		case "usage":
			usage = m
		}
	}
	switch string(inside(data, kind)) {
	case "content_block_delta":
		return a.delta(data, delta)
	case "content_block_start":
		return a.begin(data, block)
	case "content_block_stop":
		a.stop()
	case "message_start":
		a.start(data, message)
	case "message_delta":
		a.counts.add(data, usage)
		a.end(data, delta)
	case "message_stop":
		if !a.done {
			return Broken
		}
		return Done
	case "ping":
		a.out.ping()
	case "error":
		return Failed
	}
	return Pass
}

func (a *messagesAnswer) start(doc []byte, message jsonscan.Value) {
	var id, model []byte
	for key, m := range jsonscan.MembersOf(doc, message) {
		switch string(key) {
		case "id":
			id = inside(doc, m)
			a.summary.ID = text(doc, m)
		case "model":
			model = inside(doc, m)
			a.summary.Model = text(doc, m)
		case "usage":
			a.counts.add(doc, m)
		}
	}
	a.out.begin(id, model)
}

func (a *messagesAnswer) begin(doc []byte, block jsonscan.Value) Verdict {
	var kind string
	var text, id, name, data, input, signature jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, block) {
		switch string(key) {
		case "type":
			kind = string(inside(doc, m))
		case "text", "thinking":
			text = m
		case "id":
			id = m
		case "name":
			name = m
		case "data":
			data = m
		case "input":
			input = m
		case "signature":
			signature = m
		}
	}
	a.block.call, a.block.said, a.block.input = -1, false, a.block.input[:0]
	switch kind {
	case "text":
		return a.content(inside(doc, text), a.out.text)
	case "thinking":
		v := a.content(inside(doc, text), a.out.thinking)
		if s := inside(doc, signature); len(s) > 0 {
			a.out.signature(Anthropic, s)
		}
		return v
	case "redacted_thinking":
		return a.content(inside(doc, data), a.out.redacted)
	case "tool_use":
		a.block.call = a.calls
		a.calls++
		a.out.call(a.block.call, inside(doc, id), inside(doc, name), nil)
		a.block.input = append(a.block.input, input.Of(doc)...)
		a.summary.Bytes += len(a.block.input)
		return Content
	case "server_tool_use": // one that Anthropic runs itself
		return Content
	}
	return Pass
}

// content passes a piece on that has something in it.
func (a *messagesAnswer) content(b []byte, to func([]byte)) Verdict {
	if len(b) == 0 {
		return Pass
	}
	a.summary.Bytes += len(b)
	to(b)
	return Content
}

func (a *messagesAnswer) delta(doc []byte, delta jsonscan.Value) Verdict {
	for key, m := range jsonscan.MembersOf(doc, delta) {
		switch string(key) {
		case "text":
			return a.content(inside(doc, m), a.out.text)
		case "thinking":
			return a.content(inside(doc, m), a.out.thinking)
		case "partial_json":
			b := inside(doc, m)
			if len(b) > 0 && a.block.call >= 0 {
				a.block.said = true
				a.out.arguments(a.block.call, b)
			}
			a.summary.Bytes += len(b)
			return Content
		case "signature":
			a.out.signature(Anthropic, inside(doc, m))
			return Content
		}
	}
	return Pass
}

// stop ends a block. A call whose arguments did not come as deltas had them at its begin.
func (a *messagesAnswer) stop() {
	if a.block.call < 0 || a.block.said {
		return
	}
	if len(a.block.input) == 0 || a.block.input[0] != '{' {
		a.block.input = append(a.block.input[:0], "{}"...)
	}
	literal := jsonscan.AppendQuoted(nil, string(a.block.input))
	a.out.arguments(a.block.call, literal[1:len(literal)-1])
	a.block.said = true
}

// messageReasons are Anthropic's stop reasons in OpenAI's words.
var messageReasons = map[string]string{
	"end_turn": stopped, "stop_sequence": stopped, "pause_turn": stopped, "tool_use": called,
	"max_tokens": length, "model_context_window_exceeded": length, "refusal": filtered,
}

// end reads how the message ended: stop_reason and what goes with it.
func (a *messagesAnswer) end(doc []byte, v jsonscan.Value) {
	var reason, details jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "stop_reason":
			reason = m
		case "stop_details":
			details = m
		}
	}
	a.summary.Usage = a.counts.usage()
	if !reason.IsString(doc) {
		return
	}
	a.done = true
	said := messageReasons[string(inside(doc, reason))]
	if said == filtered {
		if why := inside(doc, jsonscan.Lookup(doc, details, "explanation")); len(why) > 0 {
			a.out.refusal(why)
		}
	}
	if said == "" {
		said = stopped
	}
	if a.summary.Finish = a.out.finish(said); a.summary.Finish == "" {
		a.summary.Finish = text(doc, reason)
	}
	if a.summary.Usage != nil {
		a.out.usage(a.summary.Usage)
	}
}

func (a *messagesAnswer) whole(doc []byte) Verdict {
	root := jsonscan.Root(doc)
	a.start(doc, root)
	for b := range jsonscan.Elements(doc, jsonscan.Lookup(doc, root, "content")) {
		a.begin(doc, b)
		a.stop()
	}
	a.end(doc, root)
	return Content
}

// sameEvents judges a stream that goes on to the client as it is.
type sameEvents struct{ messagesAnswer }

func (e *sameEvents) Event(data []byte) Verdict { return e.event(data) }
func (e *sameEvents) Complete() bool            { return e.done }
func (e *sameEvents) HideUsage() bool           { return false }
func (e *sameEvents) Summary() *Summary         { return &e.summary }
func (e *sameEvents) Terminator() []byte {
	return []byte("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
}
