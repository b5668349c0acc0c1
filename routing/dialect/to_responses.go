package dialect

import (
	"slices"
	"strconv"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// responsesWriter writes the stream of a response of OpenAI's.
type responsesWriter struct {
	buffered
	echo    Echo
	whole   bool   // no stream, but the response that it amounts to
	repeats []byte // what the response object repeats of the request
	id      []byte
	model   []byte
	number  int64  // of the next event
	written []byte // the items that are complete, separated by commas
	items   int
	status  string
	reason  string // why it is incomplete
	tokens  *call.Usage

	open    string // the type of the item that is open
	said    []byte // its text or arguments so far
	refuses bool   // its text is a refusal
	callID  []byte
	name    []byte
	sealed  []byte // encrypted_content
}

// repeated are the members of a request that its response says again, and
// what they are when the request has none.
var repeated = []field{
	{[]byte("instructions"), []byte("null")},
	{[]byte("max_output_tokens"), []byte("null")},
	{[]byte("metadata"), []byte("{}")},
	{[]byte("parallel_tool_calls"), []byte("true")},
	{[]byte("reasoning"), []byte(`{"effort":null,"summary":null}`)},
	{[]byte("temperature"), []byte("null")},
	{[]byte("text"), []byte(`{"format":{"type":"text"}}`)},
	{[]byte("tool_choice"), []byte(`"auto"`)},
	{[]byte("tools"), []byte("[]")},
	{[]byte("top_p"), []byte("null")},
	{[]byte("truncation"), []byte(`"disabled"`)},
	{[]byte("user"), []byte("null")},
}

func newResponsesWriter(echo Echo) *responsesWriter {
	w := &responsesWriter{echo: echo, status: "in_progress"}
	root := jsonscan.Root(echo.Request)
	for _, f := range repeated {
		value := f.value
		if v := jsonscan.Lookup(echo.Request, root, string(f.name)); given(echo.Request, v) != nil {
			value = v.Of(echo.Request)
		}
		w.repeats = append(append(append(append(w.repeats, `,"`...), f.name...), `":`...), value...)
	}
	// No line of an event may end within its data.
	for i, c := range w.repeats {
		if c == '\n' || c == '\r' {
			w.repeats[i] = ' '
		}
	}
	return w
}

// event begins an event; what it has behind its number is to be appended, and close called.
func (w *responsesWriter) event(kind string) []byte {
	dst := append(append(append(w.room(), "event: "...), kind...), "\ndata: {\"type\":\""...)
	dst = append(append(dst, kind...), `","sequence_number":`...)
	dst = strconv.AppendInt(dst, w.number, 10)
	w.number++
	return dst
}

func (w *responsesWriter) close(dst []byte) {
	if w.whole { // only the response at the end is wanted
		dst = dst[:0]
	} else {
		dst = append(dst, "}\n\n"...)
	}
	w.buf = dst
}

// place says which item an event is about.
func (w *responsesWriter) place(dst []byte) []byte {
	dst = append(w.appendItemID(append(dst, `,"item_id":`...)), `,"output_index":`...)
	return strconv.AppendInt(dst, int64(w.items), 10)
}

func (w *responsesWriter) appendItemID(dst []byte) []byte {
	dst = append(dst, '"')
	dst = append(dst, map[string]string{"message": "msg_", "function_call": "fc_", "reasoning": "rs_"}[w.open]...)
	dst = append(append(dst, w.id...), '_')
	return append(strconv.AppendInt(dst, int64(w.items), 10), '"')
}

func (w *responsesWriter) begin(id, model []byte) {
	if len(id) == 0 {
		id = strconv.AppendInt(nil, w.echo.Now.UnixNano(), 36)
	}
	w.id = append(w.id, id...)
	w.model = append(w.model, model...)
	for _, kind := range []string{"response.created", "response.in_progress"} {
		w.close(w.appendResponse(append(w.event(kind), `,"response":`...)))
	}
}

func (w *responsesWriter) appendResponse(dst []byte) []byte {
	dst = append(append(append(dst, `{"id":"resp_`...), w.id...), `","object":"response","created_at":`...)
	dst = strconv.AppendInt(dst, w.echo.Now.Unix(), 10)
	dst = append(append(dst, `,"status":"`...), w.status...)
	dst = append(dst, `","background":false,"error":null,"incomplete_details":`...)
	if w.reason == "" {
		dst = append(dst, "null"...)
	} else {
		dst = append(append(append(dst, `{"reason":"`...), w.reason...), `"}`...)
	}
	dst = append(append(append(dst, `,"model":"`...), w.model...), `","previous_response_id":null,"store":false`...)
	dst = append(append(append(append(dst, w.repeats...), `,"output":[`...), w.written...), `],"usage":`...)
	if w.tokens == nil {
		return append(dst, "null}"...)
	}
	u := w.tokens
	dst = strconv.AppendInt(append(dst, `{"input_tokens":`...), u.Input, 10)
	dst = strconv.AppendInt(append(dst, `,"input_tokens_details":{"cached_tokens":`...), u.CachedInput, 10)
	if u.CacheWriteInput > 0 {
		dst = strconv.AppendInt(append(dst, `,"cache_write_tokens":`...), u.CacheWriteInput, 10)
	}
	dst = strconv.AppendInt(append(dst, `},"output_tokens":`...), u.Output, 10)
	dst = strconv.AppendInt(append(dst, `,"output_tokens_details":{"reasoning_tokens":`...), u.Reasoning, 10)
	dst = strconv.AppendInt(append(dst, `},"total_tokens":`...), u.Input+u.Output, 10)
	return append(dst, "}}"...)
}

// start begins an item, and ends the one before.
func (w *responsesWriter) start(kind string) {
	w.stop()
	w.open, w.said, w.sealed, w.refuses = kind, w.said[:0], w.sealed[:0], false
	dst := append(w.event("response.output_item.added"), `,"output_index":`...)
	dst = strconv.AppendInt(dst, int64(w.items), 10)
	w.close(w.appendItem(append(dst, `,"item":`...), "in_progress"))
}

// appendItem writes the item that is open as it is now.
func (w *responsesWriter) appendItem(dst []byte, status string) []byte {
	begun := status == "in_progress"
	dst = w.appendItemID(append(dst, `{"id":`...))
	dst = append(append(append(dst, `,"type":"`...), w.open...), '"')
	switch w.open {
	case "message":
		dst = append(append(append(dst, `,"role":"assistant","status":"`...), status...), `","content":[`...)
		if !begun {
			dst = w.appendPart(dst, w.said)
		}
		return append(dst, "]}"...)
	case "function_call":
		dst = append(append(append(dst, `,"status":"`...), status...), `","call_id":`...)
		dst = quoted(append(quoted(dst, w.callID), `,"name":`...), w.name)
		return append(quoted(append(dst, `,"arguments":`...), w.said), '}')
	}
	dst = append(dst, `,"summary":[`...)
	if !begun && len(w.said) > 0 {
		dst = append(quoted(append(dst, `{"type":"summary_text","text":`...), w.said), '}')
	}
	dst = append(dst, ']')
	if len(w.sealed) > 0 {
		dst = quoted(append(dst, `,"encrypted_content":`...), w.sealed)
	}
	return append(dst, '}')
}

func (w *responsesWriter) appendPart(dst, text []byte) []byte {
	if w.refuses {
		return append(quoted(append(dst, `{"type":"refusal","refusal":`...), text), '}')
	}
	return append(quoted(append(dst, `{"type":"output_text","text":`...), text), `,"annotations":[],"logprobs":[]}`...)
}

// stop ends the item that is open.
func (w *responsesWriter) stop() {
	switch w.open {
	case "":
		return
	case "message":
		kind, name := "response.output_text.done", `,"content_index":0,"logprobs":[],"text":`
		if w.refuses {
			kind, name = "response.refusal.done", `,"content_index":0,"refusal":`
		}
		w.close(quoted(append(w.place(w.event(kind)), name...), w.said))
		w.close(w.appendPart(append(w.place(w.event("response.content_part.done")), `,"content_index":0,"part":`...), w.said))
	case "function_call":
		dst := quoted(append(w.place(w.event("response.function_call_arguments.done")), `,"name":`...), w.name)
		w.close(quoted(append(dst, `,"arguments":`...), w.said))
	case "reasoning":
		if len(w.said) > 0 {
			w.close(quoted(append(w.place(w.event("response.reasoning_summary_text.done")), `,"summary_index":0,"text":`...), w.said))
			dst := append(w.place(w.event("response.reasoning_summary_part.done")), `,"summary_index":0,"part":{"type":"summary_text","text":`...)
			w.close(append(quoted(dst, w.said), '}'))
		}
	}
	if w.items > 0 {
		w.written = append(w.written, ',')
	}
	w.written = w.appendItem(w.written, "completed")
	dst := append(w.event("response.output_item.done"), `,"output_index":`...)
	dst = strconv.AppendInt(dst, int64(w.items), 10)
	w.close(w.appendItem(append(dst, `,"item":`...), "completed"))
	w.items++
	w.open = ""
}

func (w *responsesWriter) part(refuses bool) {
	if w.open == "message" && w.refuses == refuses {
		return
	}
	w.start("message")
	w.refuses = refuses
	w.close(w.appendPart(append(w.place(w.event("response.content_part.added")), `,"content_index":0,"part":`...), nil))
}

func (w *responsesWriter) text(b []byte) {
	w.part(false)
	w.said = append(w.said, b...)
	dst := quoted(append(w.place(w.event("response.output_text.delta")), `,"content_index":0,"delta":`...), b)
	w.close(append(dst, `,"logprobs":[]`...))
}

func (w *responsesWriter) refusal(b []byte) {
	w.part(true)
	w.said = append(w.said, b...)
	w.close(quoted(append(w.place(w.event("response.refusal.delta")), `,"content_index":0,"delta":`...), b))
}

func (w *responsesWriter) thinking(b []byte) {
	if w.open != "reasoning" {
		w.start("reasoning")
		w.close(append(w.place(w.event("response.reasoning_summary_part.added")), `,"summary_index":0,"part":{"type":"summary_text","text":""}`...))
	}
	w.said = append(w.said, b...)
	w.close(quoted(append(w.place(w.event("response.reasoning_summary_text.delta")), `,"summary_index":0,"delta":`...), b))
}

// signature seals the reasoning; one without words is an item of its own.
func (w *responsesWriter) signature(dialect string, b []byte) {
	if w.open != "reasoning" {
		w.start("reasoning")
	}
	w.sealed = append(w.sealed[:0], mark(dialect, b)...)
	w.stop()
}

func (w *responsesWriter) redacted(b []byte) {
	w.start("reasoning")
	w.sealed = append(w.sealed[:0], mark(Anthropic, slices.Concat(redactedMark, b))...)
	w.stop()
}

func (w *responsesWriter) call(_ int, id, name, signature []byte) {
	w.stop()
	if len(signature) > 0 {
		w.signature(Gemini, signature)
	}
	w.callID, w.name = append(w.callID[:0], id...), append(w.name[:0], name...)
	w.start("function_call")
}

func (w *responsesWriter) arguments(_ int, b []byte) {
	w.said = append(w.said, b...)
	w.close(quoted(append(w.place(w.event("response.function_call_arguments.delta")), `,"delta":`...), b))
}

func (w *responsesWriter) ping() { w.buf = append(w.room(), ": ping\n\n"...) }

func (w *responsesWriter) finish(reason string) string {
	w.status = "completed"
	switch reason {
	case length:
		w.status, w.reason = "incomplete", "max_output_tokens"
	case filtered:
		w.status, w.reason = "incomplete", "content_filter"
	}
	return w.status
}

func (w *responsesWriter) usage(u *call.Usage) { w.tokens = u }

func (w *responsesWriter) end() {
	if !w.once() {
		return
	}
	w.stop()
	if w.whole {
		w.buf = w.appendResponse(w.room())
		return
	}
	kind := "response." + w.status
	w.close(w.appendResponse(append(w.event(kind), `,"response":`...)))
}
