package dialect

import (
	"bytes"
	"strconv"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// writeMessages writes a request of Anthropic's messages API.
func (r *request) writeMessages(dst []byte) []byte {
	c := ClaudeOf(r.to.Model)
	w := jsonscan.Write(dst)
	w.String("model", r.to.Model)
	most, limit := r.maxTokens, c.MaxTokens(r.to.Model)
	if n, err := strconv.Atoi(string(most)); most == nil || err == nil && n > limit && c.Known(r.to.Model) {
		if most != nil {
			r.adjust("max_tokens %d sent as %d", n, limit)
		}
		most = strconv.AppendInt(nil, int64(limit), 10)
	}
	w.Raw("max_tokens", most)
	if r.stream {
		w.Raw("stream", []byte("true"))
	}
	r.messagesSystem(&w)
	w.Name("messages")
	w.Dst = r.messagesTurns(w.Dst)
	r.messagesTools(&w, c)
	thinks := r.messagesThinking(&w, c, most)
	r.messagesSampling(&w, c, thinks)
	r.messagesStop(&w)
	if len(r.user) > 0 {
		w.Name("metadata")
		m := jsonscan.Write(w.Dst)
		m.Literal("user_id", r.user)
		w.Dst = m.End()
	}
	for _, f := range r.rest {
		switch string(f.name) {
		case "service_tier":
			if s := string(f.value); s == `"auto"` || s == `"standard_only"` {
				w.Copy(f.name, f.value)
				continue
			}
			r.leaveOut("service_tier", f.value)
		case "cache_control", "container", "context_management", "inference_geo", "speed": // Anthropic's own, sent by who knows it
			w.Copy(f.name, f.value)
		default:
			r.drop(f)
		}
	}
	r.leaveOut("seed", r.seed)
	r.leaveOut("presence_penalty", r.presence)
	r.leaveOut("frequency_penalty", r.frequency)
	return w.End()
}

// drop notes a member that has no place in the target, unless it asks for nothing.
func (r *request) drop(f field) {
	switch string(f.value) {
	case "false", "{}", "[]":
		return
	}
	r.adjust("%s left out", f.name)
}

func (r *request) messagesSystem(w *jsonscan.Writer) {
	switch len(r.system) {
	case 0:
	case 1:
		w.Literal("system", r.system[0])
	default:
		w.Name("system")
		w.Dst = append(w.Dst, '[')
		for i, text := range r.system {
			if i > 0 {
				w.Dst = append(w.Dst, ',')
			}
			w.Dst = appendTextBlock(w.Dst, text)
		}
		w.Dst = append(w.Dst, ']')
	}
}

func appendTextBlock(dst, text []byte) []byte {
	dst = append(dst, `{"type":"text","text":`...)
	return append(quoted(dst, text), '}')
}

// messagesTurns writes the messages: parts of one role in a row are one.
func (r *request) messagesTurns(dst []byte) []byte {
	dst = append(dst, '[')
	for i := 0; i < len(r.parts); {
		end := i + 1
		for end < len(r.parts) && r.parts[end].assistant == r.parts[i].assistant {
			end++
		}
		before := len(dst)
		if dst[before-1] != '[' {
			dst = append(dst, ',')
		}
		if r.parts[i].assistant {
			dst = append(dst, `{"role":"assistant","content":`...)
		} else {
			dst = append(dst, `{"role":"user","content":`...)
		}
		if end == i+1 && r.parts[i].kind == isText {
			dst = quoted(dst, r.parts[i].text)
		} else {
			dst = append(dst, '[')
			open := len(dst)
			for ; i < end; i++ {
				if len(dst) > open && dst[len(dst)-1] != ',' {
					dst = append(dst, ',')
				}
				dst = r.messagesBlock(dst, i, &r.parts[i])
			}
			dst = bytes.TrimSuffix(dst, []byte{','})
			if len(dst) == open { // nothing of it could be said
				dst = dst[:before]
				continue
			}
			dst = append(dst, ']')
		}
		dst = append(dst, '}')
		i = end
	}
	return append(dst, ']')
}

// messagesBlock writes a content block, or nothing when it cannot be said.
func (r *request) messagesBlock(dst []byte, i int, p *part) []byte {
	switch p.kind {
	case isText:
		return appendTextBlock(dst, p.text)
	case isImage:
		return r.messagesImage(dst, i, p)
	case isFile:
		return r.messagesFile(dst, i, p)
	case isCall:
		dst = append(dst, `{"type":"tool_use","id":`...)
		dst = quoted(dst, messagesID(p.id))
		dst = append(dst, `,"name":`...)
		dst = quoted(dst, p.name)
		dst = append(dst, `,"input":`...)
		return append(append(dst, p.json...), '}')
	case isResult:
		return r.messagesResult(dst, i, p)
	case isThinking:
		dst = append(dst, `{"type":"thinking","thinking":`...)
		dst = quoted(dst, p.text)
		dst = append(dst, `,"signature":`...)
		return append(quoted(dst, p.signature), '}')
	case isRedacted:
		dst = append(dst, `{"type":"redacted_thinking","data":`...)
		return append(quoted(dst, p.signature), '}')
	case isAudio:
		r.cannot(i, "audio")
	default:
		r.cannot(i, string(p.name))
	}
	return dst
}

func (r *request) messagesImage(dst []byte, i int, p *part) []byte {
	switch string(p.media) {
	case "image/jpeg", "image/png", "image/gif", "image/webp":
	case "image/jpg":
		p.media = []byte("image/jpeg")
	case "":
		if bytes.HasPrefix(p.text, []byte("https:")) || bytes.HasPrefix(p.text, []byte("http:")) {
			dst = append(dst, `{"type":"image","source":{"type":"url","url":`...)
			return append(quoted(dst, p.text), "}}"...)
		}
		fallthrough
	default:
		r.cannot(i, "an image that is neither JPEG, PNG, GIF nor WebP, nor a link,")
		return dst
	}
	dst = append(dst, `{"type":"image","source":`...)
	return append(appendBase64(dst, p), '}')
}

func appendBase64(dst []byte, p *part) []byte {
	dst = append(dst, `{"type":"base64","media_type":`...)
	dst = quoted(dst, p.media)
	dst = append(dst, `,"data":`...)
	return append(quoted(dst, p.data), '}')
}

func (r *request) messagesFile(dst []byte, i int, p *part) []byte {
	switch {
	case p.data != nil && (len(p.media) == 0 || string(p.media) == "application/pdf"):
		p.media = []byte("application/pdf")
		dst = append(dst, `{"type":"document","source":`...)
		dst = appendBase64(dst, p)
	case p.data == nil && len(p.text) > 0:
		dst = append(dst, `{"type":"document","source":{"type":"url","url":`...)
		dst = append(quoted(dst, p.text), '}')
	default:
		r.cannot(i, "a file that is no PDF")
		return dst
	}
	if len(p.name) > 0 {
		dst = quoted(append(dst, `,"title":`...), p.name)
	}
	return append(dst, '}')
}

func (r *request) messagesResult(dst []byte, i int, p *part) []byte {
	dst = append(dst, `{"type":"tool_result","tool_use_id":`...)
	dst = quoted(dst, messagesID(p.id))
	switch {
	case len(p.result) == 0:
	case len(p.result) == 1 && p.result[0].kind == isText:
		dst = quoted(append(dst, `,"content":`...), p.result[0].text)
	default:
		dst = append(dst, `,"content":[`...)
		for k := range p.result {
			if c := dst[len(dst)-1]; c != '[' && c != ',' {
				dst = append(dst, ',')
			}
			dst = r.messagesBlock(dst, i, &p.result[k])
		}
		dst = append(bytes.TrimSuffix(dst, []byte{','}), ']')
	}
	if p.failed {
		dst = append(dst, `,"is_error":true`...)
	}
	return append(dst, '}')
}

// messagesID makes a tool call's id one that Anthropic takes: ^[a-zA-Z0-9_-]+$.
func messagesID(id []byte) []byte {
	fits := len(id) > 0
	for _, c := range id {
		fits = fits && (c == '_' || c == '-' || c-'0' <= 9 || c|0x20-'a' <= 'z'-'a')
	}
	if fits {
		return id
	}
	return hashedID(id)
}

// schemaLimits are what Anthropic's structured outputs do not know: limits of
// numbers, texts and lists. They also want every object closed.
var schemaLimits = map[string]bool{
	"minimum": true, "maximum": true, "exclusiveMinimum": true, "exclusiveMaximum": true, "multipleOf": true,
	"minLength": true, "maxLength": true, "maxItems": true, "minItems": true, "uniqueItems": true, "minProperties": true, "maxProperties": true,
}

// closedSchema writes a JSON schema as Anthropic's structured outputs take it.
func closedSchema(dst, doc []byte, v jsonscan.Value, limits *int) []byte {
	switch {
	case v.IsArray(doc):
		dst = append(dst, '[')
		for e := range jsonscan.Elements(doc, v) {
			if dst[len(dst)-1] != '[' {
				dst = append(dst, ',')
			}
			dst = closedSchema(dst, doc, e, limits)
		}
		return append(dst, ']')
	case !v.IsObject(doc):
		return append(dst, v.Of(doc)...)
	}
	w := jsonscan.Write(dst)
	object := false
	for key, m := range jsonscan.MembersOf(doc, v) {
		name := string(key)
		switch {
		case schemaLimits[name] && !m.IsObject(doc):
			*limits++
			continue
		case name == "additionalProperties":
			if string(m.Of(doc)) != "false" {
				*limits++
			}
			continue
		case name == "type":
			object = bytes.Contains(m.Of(doc), []byte(`"object"`))
		case name == "properties" || name == "$defs" || name == "definitions":
			w.RawName(key)
			p := jsonscan.Write(w.Dst)
			for key, s := range jsonscan.MembersOf(doc, m) { // names here are the user's own
				p.RawName(key)
				p.Dst = closedSchema(p.Dst, doc, s, limits)
			}
			w.Dst = p.End()
			continue
		case name == "enum" || name == "const" || name == "default" || name == "examples":
			w.Copy(key, m.Of(doc))
			continue
		}
		w.RawName(key)
		w.Dst = closedSchema(w.Dst, doc, m, limits)
	}
	if object {
		w.Raw("additionalProperties", []byte("false"))
	}
	return w.End()
}

func (r *request) closed(dst, schema []byte, what string) []byte {
	limits := 0
	dst = closedSchema(dst, schema, jsonscan.Value{End: len(schema)}, &limits)
	if limits > 0 {
		r.adjust("%d limits and open objects left out of %s", limits, what)
	}
	return dst
}

func (r *request) messagesTools(w *jsonscan.Writer, c Claude) {
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
		tw := jsonscan.Write(w.Dst)
		tw.Literal("name", t.name)
		if len(t.description) > 0 {
			tw.Literal("description", t.description)
		}
		tw.Name("input_schema")
		strict := t.strict && c.Structured()
		switch {
		case t.schema == nil || !jsonscan.Lookup(t.schema, jsonscan.Value{End: len(t.schema)}, "type").Exists():
			tw.Dst = append(tw.Dst, `{"type":"object"`...)
			if inner := bytes.TrimSpace(bytes.Trim(t.schema, "{} \n\r\t")); len(inner) > 0 {
				tw.Dst = append(append(tw.Dst, ','), t.schema[1:len(t.schema)-1]...)
			}
			tw.Dst = append(tw.Dst, '}')
		case strict:
			tw.Dst = r.closed(tw.Dst, t.schema, "the schema of a strict tool")
		default:
			tw.Dst = append(tw.Dst, t.schema...)
		}
		if strict {
			tw.Raw("strict", []byte("true"))
		} else if t.strict {
			r.adjust("strict of a tool left out")
		}
		w.Dst = tw.End()
	}
	w.Dst = append(w.Dst, ']')
	mode := r.choice.mode
	if mode == "" && r.alone {
		mode = "auto"
	}
	if mode == "" {
		return
	}
	w.Name("tool_choice")
	cw := jsonscan.Write(w.Dst)
	cw.String("type", mode)
	if mode == "tool" {
		cw.Literal("name", r.choice.name)
	}
	if r.alone && mode != "none" {
		cw.Raw("disable_parallel_tool_use", []byte("true"))
	}
	w.Dst = cw.End()
}

// budgets are the tokens of thinking that an effort stands for, for models
// that are told a budget.
var budgets = map[string]int{"minimal": 1024, "low": 2048, "medium": 8192, "high": 16_384, "xhigh": 32_768, "max": 32_768}

// messagesThinking writes thinking and output_config. It reports whether the model thinks by a budget.
func (r *request) messagesThinking(w *jsonscan.Writer, c Claude, most []byte) (budgeted bool) {
	effort := r.effort
	forced := len(r.tools) > 0 && (r.choice.mode == "any" || r.choice.mode == "tool")
	switch {
	case r.thinking != nil:
		w.Raw("thinking", r.thinking)
		budgeted = r.budget != nil
	case effort == "":
	case effort == "none":
		r.adjust("reasoning_effort none left out: the model's own default is in force")
		effort = ""
	case !c.Thinks():
		r.adjust("reasoning_effort left out")
		effort = ""
	case forced:
		r.adjust("reasoning_effort left out: a forced tool excludes thinking")
		effort = ""
	case c.Adaptive():
		w.Raw("thinking", []byte(`{"type":"adaptive"}`))
	default:
		limit, _ := strconv.Atoi(string(most))
		budget := min(budgets[effort], limit/2)
		if budget < 1024 || r.endsInCalls() {
			r.adjust("reasoning_effort left out: there is no room for thinking")
			break
		}
		w.Name("thinking")
		w.Dst = append(strconv.AppendInt(append(w.Dst, `{"type":"enabled","budget_tokens":`...), int64(budget), 10), '}')
		r.adjust("reasoning_effort %s sent as a budget of %d tokens", effort, budget)
		budgeted = true
	}
	if effort != "" && !c.Adaptive() {
		effort = ""
	}
	switch effort {
	case "minimal":
		r.adjust("reasoning_effort minimal sent as low")
		effort = "low"
	case "xhigh":
		if c.version < 407 {
			effort = "high"
		}
	}
	if effort != "" || r.format.kind == "json_schema" {
		w.Name("output_config")
		o := jsonscan.Write(w.Dst)
		o.String("effort", effort)
		if r.format.kind == "json_schema" {
			r.messagesFormat(&o, c)
		}
		w.Dst = o.End()
	}
	if r.format.kind == "json_object" {
		r.adjust("response_format json_object left out: only a schema can be asked for")
	}
	return budgeted
}

// endsInCalls reports whether the newest turn answers tool calls of a turn
// without signed thinking: a model with a budget refuses to think on from there.
func (r *request) endsInCalls() bool {
	signed := false
	for i := range r.parts {
		signed = signed || r.parts[i].kind == isThinking
	}
	return !signed && r.tail < len(r.parts) && r.parts[r.tail].kind == isResult
}

func (r *request) messagesFormat(w *jsonscan.Writer, c Claude) {
	if !c.Structured() {
		r.refuse("response_format", "a JSON schema for the answer cannot be asked for")
		return
	}
	if r.format.schema == nil {
		r.refuse("response_format", "response_format needs a schema")
		return
	}
	w.Name("format")
	w.Dst = append(w.Dst, `{"type":"json_schema","schema":`...)
	w.Dst = append(r.closed(w.Dst, r.format.schema, "the answer's schema"), '}')
}

func (r *request) messagesSampling(w *jsonscan.Writer, c Claude, thinks bool) {
	temperature, topP, topK := r.temperature, r.topP, r.topK
	switch {
	case !c.Samples() || r.to.NoSampling:
		r.leaveOut("temperature", temperature)
		r.leaveOut("top_p", topP)
		r.leaveOut("top_k", topK)
		return
	case thinks:
		r.leaveOut("temperature", temperature)
		r.leaveOut("top_k", topK)
		temperature, topK = nil, nil
		if topP != nil {
			r.leaveOut("top_p", topP)
			topP = nil
		}
	case c.OneSampler() && temperature != nil && topP != nil:
		r.adjust("top_p left out: the model takes it or temperature")
		topP = nil
	}
	if f, err := strconv.ParseFloat(string(temperature), 64); err == nil && f > 1 {
		r.adjust("temperature %s sent as 1", temperature)
		temperature = []byte("1")
	}
	for _, p := range []field{{[]byte("temperature"), temperature}, {[]byte("top_p"), topP}, {[]byte("top_k"), topK}} {
		if p.value != nil {
			w.Copy(p.name, p.value)
		}
	}
}

func (r *request) messagesStop(w *jsonscan.Writer) {
	kept := r.stop[:0]
	for _, s := range r.stop {
		if blank(s) {
			r.adjust("a stop sequence of white space left out")
			continue
		}
		kept = append(kept, s)
	}
	appendTexts(w, "stop_sequences", kept)
}

// appendTexts writes a member that is a list of texts, if there is any.
func appendTexts(w *jsonscan.Writer, name string, list [][]byte) {
	if len(list) == 0 {
		return
	}
	w.Name(name)
	w.Dst = append(w.Dst, '[')
	for i, s := range list {
		if i > 0 {
			w.Dst = append(w.Dst, ',')
		}
		w.Dst = quoted(w.Dst, s)
	}
	w.Dst = append(w.Dst, ']')
}
