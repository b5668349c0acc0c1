package dialect

import (
	"bytes"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// writeChat writes a request of OpenAI's chat completions.
func (r *request) writeChat(dst []byte) []byte {
	w := jsonscan.Write(dst)
	w.String("model", r.to.Model)
	w.Name("messages")
	w.Dst = r.chatTurns(w.Dst)
	if r.stream {
		w.Raw("stream", []byte("true"))
		if r.to.Usage {
			w.Raw("stream_options", []byte(`{"include_usage":true}`))
		}
	}
	for _, p := range []field{
		{[]byte("max_tokens"), r.maxTokens},
		{[]byte("temperature"), r.temperature},
		{[]byte("top_p"), r.topP},
		{[]byte("seed"), r.seed},
		{[]byte("presence_penalty"), r.presence},
		{[]byte("frequency_penalty"), r.frequency},
	} {
		if p.value != nil {
			w.Copy(p.name, p.value)
		}
	}
	r.leaveOut("top_k", r.topK)
	if len(r.stop) > 4 {
		r.adjust("%d stop sequences left out: there may be 4", len(r.stop)-4)
		r.stop = r.stop[:4]
	}
	appendTexts(&w, "stop", r.stop)
	r.chatTools(&w)
	if r.format.kind == "json_schema" {
		w.Name("response_format")
		w.Dst = append(w.Dst, `{"type":"json_schema","json_schema":{"name":"answer","schema":`...)
		w.Dst = append(append(w.Dst, r.format.schema...), "}}"...)
	}
	if effort := r.chatEffort(); effort != "" {
		w.String("reasoning_effort", effort)
	}
	if len(r.user) > 0 {
		w.Literal("user", r.user)
	}
	for _, f := range r.rest {
		switch string(f.name) {
		case "n", "logprobs", "top_logprobs", "logit_bias", "reasoning_effort", "verbosity", "prompt_cache_key", "store", "max_completion_tokens":
			w.Copy(f.name, f.value)
		default:
			r.drop(f)
		}
	}
	return w.End()
}

// chatEffort is the effort that Anthropic's parameters for thinking come to.
func (r *request) chatEffort() string {
	switch {
	case r.effort == "xhigh", r.effort == "max":
		r.adjust("effort %s sent as high", r.effort)
		return "high"
	case r.effort != "" || r.thinking == nil:
		return r.effort
	case r.budget == nil:
		return ""
	}
	budget, _ := strconv.Atoi(string(r.budget))
	effort := "high"
	switch {
	case budget < 4096:
		effort = "low"
	case budget < 16_384:
		effort = "medium"
	}
	r.adjust("thinking of %d tokens sent as reasoning_effort %s", budget, effort)
	return effort
}

func (r *request) chatTurns(dst []byte) []byte {
	dst = append(dst, '[')
	message := func(role string) {
		if dst[len(dst)-1] != '[' {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"role":"`...), role...), `","content":`...)
	}
	for _, text := range r.system {
		message("system")
		dst = append(quoted(dst, text), '}')
	}
	for i := 0; i < len(r.parts); {
		end := i + 1
		for end < len(r.parts) && r.parts[end].assistant == r.parts[i].assistant {
			end++
		}
		if r.parts[i].assistant {
			message("assistant")
			dst = r.chatAssistant(dst, i, end)
			i = end
			continue
		}
		var rest []int // what is no result, and comes behind them
		var images []part
		for ; i < end; i++ {
			p := &r.parts[i]
			if p.kind != isResult {
				rest = append(rest, i)
				continue
			}
			message("tool")
			dst = r.chatResult(dst, i, &images)
		}
		if len(rest) == 0 && len(images) == 0 {
			continue
		}
		message("user")
		if len(rest) == 1 && len(images) == 0 && r.parts[rest[0]].kind == isText {
			dst = append(quoted(dst, r.parts[rest[0]].text), '}')
			continue
		}
		dst = append(dst, '[')
		part := func(i int, p *part) {
			if c := dst[len(dst)-1]; c != '[' && c != ',' {
				dst = append(dst, ',')
			}
			dst = r.chatPartOut(dst, i, p)
		}
		for k := range images {
			part(i, &images[k])
		}
		for _, k := range rest {
			part(k, &r.parts[k])
		}
		dst = append(bytes.TrimSuffix(dst, []byte{','}), "]}"...)
	}
	return append(dst, ']')
}

// chatAssistant writes the content and the calls of the assistant's turn.
func (r *request) chatAssistant(dst []byte, from, end int) []byte {
	texts := 0
	for i := from; i < end; i++ {
		switch p := &r.parts[i]; p.kind {
		case isText:
			if texts == 0 {
				dst = append(dst, '"')
			}
			texts++
			dst = append(dst, p.text...)
		case isCall:
		case isOther:
			r.cannot(i, string(p.name))
		default:
			r.cannot(i, "a picture or file of the assistant's")
		}
	}
	if texts > 0 {
		dst = append(dst, '"')
	} else {
		dst = append(dst, "null"...)
	}
	calls := 0
	for i := from; i < end; i++ {
		p := &r.parts[i]
		if p.kind != isCall {
			continue
		}
		if calls == 0 {
			dst = append(dst, `,"tool_calls":[`...)
		} else {
			dst = append(dst, ',')
		}
		calls++
		dst = quoted(append(dst, `{"id":`...), chatID(p.id))
		dst = quoted(append(dst, `,"type":"function","function":{"name":`...), p.name)
		dst = jsonscan.AppendQuoted(append(dst, `,"arguments":`...), string(p.json))
		dst = append(dst, "}}"...)
	}
	if calls > 0 {
		dst = append(dst, ']')
	}
	return append(dst, '}')
}

// chatResult writes what a tool returned. Its pictures come behind, as the user's.
func (r *request) chatResult(dst []byte, i int, images *[]part) []byte {
	dst = append(dst, '"')
	first := true
	for _, q := range r.parts[i].result {
		switch q.kind {
		case isText:
			if !first {
				dst = append(dst, `\n`...)
			}
			first = false
			dst = append(dst, q.text...)
		case isImage:
			r.adjust("the picture of a tool's result sent as the user's")
			*images = append(*images, q)
		default:
			r.cannot(i, "a part of a tool's result that is neither text nor picture")
		}
	}
	dst = quoted(append(dst, `","tool_call_id":`...), chatID(r.parts[i].id))
	return append(dst, '}')
}

func (r *request) chatPartOut(dst []byte, i int, p *part) []byte {
	switch p.kind {
	case isText:
		return appendTextBlock(dst, p.text)
	case isImage:
		dst = append(dst, `{"type":"image_url","image_url":{"url":`...)
		if p.data == nil {
			return append(quoted(dst, p.text), "}}"...)
		}
		dst = append(append(append(dst, `"data:`...), p.media...), ";base64,"...)
		return append(append(dst, p.data...), `"}}`...)
	case isFile:
		if p.data == nil {
			r.cannot(i, "a link to a document")
			return dst
		}
		dst = append(append(append(dst, `{"type":"file","file":{"file_data":"data:`...), p.media...), ";base64,"...)
		dst = append(append(dst, p.data...), '"')
		name := p.name
		if len(name) == 0 {
			name = []byte("document.pdf")
		}
		return append(quoted(append(dst, `,"filename":`...), name), "}}"...)
	default:
		r.cannot(i, string(p.name))
	}
	return dst
}

func (r *request) chatTools(w *jsonscan.Writer) {
	if len(r.tools) == 0 {
		return
	}
	w.Name("tools")
	w.Dst = append(w.Dst, '[')
	for i := range r.tools {
		t := &r.tools[i]
		if i > 0 {
			w.Dst = append(w.Dst, ',')
		}
		w.Dst = append(w.Dst, `{"type":"function","function":`...)
		f := jsonscan.Write(w.Dst)
		f.Literal("name", t.name)
		if len(t.description) > 0 {
			f.Literal("description", t.description)
		}
		if t.schema != nil {
			f.Raw("parameters", t.schema)
		}
		if t.strict {
			f.Raw("strict", []byte("true"))
		}
		w.Dst = append(f.End(), '}')
	}
	w.Dst = append(w.Dst, ']')
	switch r.choice.mode {
	case "none", "auto":
		w.String("tool_choice", r.choice.mode)
	case "any":
		w.String("tool_choice", "required")
	case "tool":
		w.Name("tool_choice")
		w.Dst = quoted(append(w.Dst, `{"type":"function","function":{"name":`...), r.choice.name)
		w.Dst = append(w.Dst, "}}"...)
	}
	if r.alone {
		w.Raw("parallel_tool_calls", []byte("false"))
	}
}

// maxChatID is how long OpenAI lets the id of a tool call be.
const maxChatID = 40

func chatID(id []byte) []byte {
	if len(id) > 0 && len(id) <= maxChatID {
		return id
	}
	return hashedID(id)
}

// hashedID stands for an id that the target does not take: the same for the call and its result.
func hashedID(id []byte) []byte {
	return strconv.AppendUint([]byte("call_"), xxhash.Sum64(id), 36)
}
