package dialect

import (
	"strconv"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// messagesWriter writes the stream of a message of Anthropic's.
type messagesWriter struct {
	buffered
	echo   Echo
	thinks bool   // the client wants to see the thinking
	open   string // the type of the block that is open
	index  int    // of the last block
	calls  []int  // the block of each tool call
	reason string
	tokens call.Usage
}

func newMessagesWriter(echo Echo) *messagesWriter {
	w := &messagesWriter{echo: echo, index: -1}
	doc := echo.Request
	kind := jsonscan.Lookup(doc, jsonscan.Lookup(doc, jsonscan.Root(doc), "thinking"), "type")
	w.thinks = kind.Exists() && string(inside(doc, kind)) != "disabled"
	return w
}

func (w *messagesWriter) begin(id, model []byte) {
	dst := append(w.room(), "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\""...)
	if len(id) > 0 {
		dst = append(dst, id...)
	} else {
		dst = strconv.AppendInt(append(dst, "msg_"...), w.echo.Now.UnixNano(), 36)
	}
	dst = append(append(dst, `","type":"message","role":"assistant","model":"`...), model...)
	w.buf = append(dst, "\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":{\"input_tokens\":0,\"output_tokens\":0}}}\n\n"...)
}

// start begins a block, and ends the one before. rest is what its object has behind its type.
func (w *messagesWriter) start(kind string, rest ...[]byte) {
	w.stop()
	w.open = kind
	w.index++
	dst := append(w.room(), "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(w.index), 10)
	dst = append(append(dst, `,"content_block":{"type":"`...), kind...)
	dst = append(dst, '"')
	for _, b := range rest {
		dst = append(dst, b...)
	}
	w.buf = append(dst, "}}\n\n"...)
}

func (w *messagesWriter) stop() {
	if w.open == "" {
		return
	}
	if w.open == "thinking" { // what is not Anthropic's is sealed as such
		w.delta(w.index, "signature_delta", "signature", mark("other", nil))
	}
	w.open = ""
	dst := append(w.room(), "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":"...)
	w.buf = append(strconv.AppendInt(dst, int64(w.index), 10), "}\n\n"...)
}

func (w *messagesWriter) delta(index int, kind, name string, b []byte) {
	dst := append(w.room(), "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":"...)
	dst = strconv.AppendInt(dst, int64(index), 10)
	dst = append(append(dst, `,"delta":{"type":"`...), kind...)
	dst = append(append(append(dst, `","`...), name...), `":"`...)
	w.buf = append(append(dst, b...), "\"}}\n\n"...)
}

func (w *messagesWriter) text(b []byte) {
	if w.open != "text" {
		w.start("text", []byte(`,"text":""`))
	}
	w.delta(w.index, "text_delta", "text", b)
}

// refusal is a text here: the message ends with the reason refusal.
func (w *messagesWriter) refusal(b []byte) { w.text(b) }

func (w *messagesWriter) thinking(b []byte) {
	if !w.thinks {
		return
	}
	if w.open != "thinking" {
		w.start("thinking", []byte(`,"thinking":"","signature":""`))
	}
	w.delta(w.index, "thinking_delta", "thinking", b)
}

func (w *messagesWriter) signature(string, []byte) {} // Anthropic's answers are not translated into its own dialect

func (w *messagesWriter) redacted([]byte) {}

// call begins a block. Gemini's signature has no place in it, and goes before it as thinking without words.
func (w *messagesWriter) call(n int, id, name, signature []byte) {
	if len(signature) > 0 {
		w.start("thinking", []byte(`,"thinking":"","signature":""`))
		w.delta(w.index, "signature_delta", "signature", mark(Gemini, signature))
		w.open = "sealed"
	}
	w.start("tool_use", []byte(`,"id":"`), messagesID(id), []byte(`","name":"`), name, []byte(`","input":{}`))
	w.calls = append(w.calls, w.index)
}

func (w *messagesWriter) arguments(n int, b []byte) {
	if n < len(w.calls) {
		w.delta(w.calls[n], "input_json_delta", "partial_json", b)
	}
}

func (w *messagesWriter) ping() {
	w.buf = append(w.room(), "event: ping\ndata: {\"type\":\"ping\"}\n\n"...)
}

func (w *messagesWriter) finish(reason string) string {
	w.reason = map[string]string{stopped: "end_turn", length: "max_tokens", called: "tool_use", filtered: "refusal"}[reason]
	return w.reason
}

func (w *messagesWriter) usage(u *call.Usage) { w.tokens = *u }

// end writes how the message ended, with the usage, which other providers tell last.
func (w *messagesWriter) end() {
	if !w.once() {
		return
	}
	w.stop()
	dst := append(w.room(), "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\""...)
	dst = append(append(dst, w.reason...), `","stop_sequence":null},"usage":`...)
	dst = appendMessageUsage(dst, &w.tokens)
	w.buf = append(dst, "}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"...)
}

// appendMessageUsage writes usage as Anthropic counts it: cached input stands beside the rest.
func appendMessageUsage(dst []byte, u *call.Usage) []byte {
	w := jsonscan.Write(dst)
	for _, c := range []struct {
		name string
		n    int64
	}{
		{"input_tokens", max(u.Input-u.CachedInput-u.CacheWriteInput, 0)},
		{"cache_creation_input_tokens", u.CacheWriteInput},
		{"cache_read_input_tokens", u.CachedInput},
		{"output_tokens", u.Output},
	} {
		w.Name(c.name)
		w.Dst = strconv.AppendInt(w.Dst, c.n, 10)
	}
	if u.Reasoning > 0 {
		w.Name("output_tokens_details")
		w.Dst = append(strconv.AppendInt(append(w.Dst, `{"thinking_tokens":`...), u.Reasoning, 10), '}')
	}
	return w.End()
}
