package dialect

import (
	"strconv"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// chatWriter writes the stream of a chat completion.
type chatWriter struct {
	buffered
	echo    Echo
	head    []byte // of every event, to where its delta begins
	blocks  int    // of thinking
	thought []byte // the text of the block that is open
	tokens  *call.Usage
}

const chatTail = `},"logprobs":null,"finish_reason":null}]}` + "\n\n"

func (w *chatWriter) begin(id, model []byte) {
	h := append([]byte(nil), `data: {"id":"`...)
	if len(id) > 0 {
		h = append(h, id...)
	} else {
		h = strconv.AppendInt(append(h, "chatcmpl-"...), w.echo.Now.UnixNano(), 36)
	}
	h = append(h, `","object":"chat.completion.chunk","created":`...)
	h = strconv.AppendInt(h, w.echo.Now.Unix(), 10)
	h = append(h, `,"model":"`...)
	h = append(h, model...)
	w.head = append(h, `","choices":[{"index":0,"delta":{`...)
	w.buf = append(append(w.room(), w.head...), `"role":"assistant","content":null`+chatTail...)
}

// delta writes an event whose delta is one text.
func (w *chatWriter) delta(name string, b []byte) {
	dst := append(w.room(), w.head...)
	dst = append(append(append(dst, '"'), name...), `":"`...)
	w.buf = append(append(append(dst, b...), '"'), chatTail...)
}

func (w *chatWriter) text(b []byte)    { w.delta("content", b) }
func (w *chatWriter) refusal(b []byte) { w.delta("refusal", b) }

func (w *chatWriter) thinking(b []byte) {
	w.thought = append(w.thought, b...)
	w.delta("reasoning_content", b)
}

// signature hands out the block that it seals, so that it can come back with the history.
func (w *chatWriter) signature(dialect string, b []byte) {
	w.block(`"type":"thinking","thinking":"`, w.thought, `","signature":"`, mark(dialect, b))
	w.thought = w.thought[:0]
}

func (w *chatWriter) redacted(b []byte) {
	w.block(`"type":"redacted_thinking","data":"`, nil, "", mark(Anthropic, b))
}

func (w *chatWriter) block(kind string, text []byte, then string, opaque []byte) {
	dst := append(append(w.room(), w.head...), `"thinking_blocks":[{"index":`...)
	dst = append(strconv.AppendInt(dst, int64(w.blocks), 10), ',')
	w.blocks++
	dst = append(append(append(append(dst, kind...), text...), then...), opaque...)
	w.buf = append(append(dst, `"}]`...), chatTail...)
}

func (w *chatWriter) call(n int, id, name, signature []byte) {
	dst := append(append(w.room(), w.head...), `"tool_calls":[{"index":`...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = quoted(append(dst, `,"id":`...), id)
	dst = quoted(append(dst, `,"type":"function","function":{"name":`...), name)
	dst = append(dst, `,"arguments":""}`...)
	if len(signature) > 0 { // where Google's own compatibility with OpenAI has it
		dst = quoted(append(dst, `,"extra_content":{"google":{"thought_signature":`...), mark(Gemini, signature))
		dst = append(dst, "}}"...)
	}
	w.buf = append(append(dst, "}]"...), chatTail...)
}

func (w *chatWriter) arguments(n int, b []byte) {
	dst := append(append(w.room(), w.head...), `"tool_calls":[{"index":`...)
	dst = strconv.AppendInt(dst, int64(n), 10)
	dst = append(append(append(dst, `,"function":{"arguments":"`...), b...), `"}}]`...)
	w.buf = append(dst, chatTail...)
}

func (w *chatWriter) ping() { w.buf = append(w.room(), ": ping\n\n"...) }

func (w *chatWriter) finish(reason string) string {
	dst := append(append(w.room(), w.head...), `},"logprobs":null,"finish_reason":"`...)
	w.buf = append(append(dst, reason...), "\"}]}\n\n"...)
	return reason
}

func (w *chatWriter) usage(u *call.Usage) { w.tokens = u }

func (w *chatWriter) end() {
	if !w.once() {
		return
	}
	dst := w.room()
	if w.echo.Usage && w.tokens != nil && w.head != nil {
		dst = append(dst, w.head[:len(w.head)-len(`{"index":0,"delta":{`)]...)
		dst = append(dst, `],"usage":`...)
		dst = append(appendChatUsage(dst, w.tokens), "}\n\n"...)
	}
	w.buf = append(dst, "data: [DONE]\n\n"...)
}

func appendChatUsage(dst []byte, u *call.Usage) []byte {
	w := jsonscan.Write(dst)
	count := func(w *jsonscan.Writer, name string, n int64) {
		w.Name(name)
		w.Dst = strconv.AppendInt(w.Dst, n, 10)
	}
	count(&w, "prompt_tokens", u.Input)
	count(&w, "completion_tokens", u.Output)
	count(&w, "total_tokens", u.Input+u.Output)
	w.Name("prompt_tokens_details")
	d := jsonscan.Write(w.Dst)
	count(&d, "cached_tokens", u.CachedInput)
	if u.CacheWriteInput > 0 {
		count(&d, "cache_write_tokens", u.CacheWriteInput)
	}
	w.Dst = d.End()
	w.Name("completion_tokens_details")
	d = jsonscan.Write(w.Dst)
	count(&d, "reasoning_tokens", u.Reasoning)
	w.Dst = d.End()
	return w.End()
}
