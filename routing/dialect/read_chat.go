package dialect

import (
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// readChat reads a request of OpenAI's chat completions.
func (r *request) readChat(doc []byte) {
	for key, v := range jsonscan.MembersOf(doc, jsonscan.Root(doc)) {
		if v.IsNull(doc) {
			continue
		}
		switch string(key) {
		case "model", "stream_options":
		case "messages":
			r.chatMessages(doc, v)
		case "max_completion_tokens":
			r.maxTokens = number(doc, v)
		case "max_tokens":
			if r.maxTokens == nil {
				r.maxTokens = number(doc, v)
			}
		case "n":
			if string(v.Of(doc)) != "1" {
				r.refuse("n", "n must be 1")
			}
		case "tools":
			for t := range jsonscan.Elements(doc, v) {
				r.chatTool(doc, t)
			}
		case "tool_choice":
			r.chatChoice(doc, v)
		case "response_format":
			r.format = chatFormat(doc, v)
		case "reasoning_effort":
			r.effort = string(inside(doc, v))
		case "functions", "function_call":
			r.refuse(string(key), "%s is not translated; use tools and tool_choice", key)
		case "modalities":
			for m := range jsonscan.Elements(doc, v) {
				if string(m.Of(doc)) != `"text"` {
					r.refuse("modalities", "modalities must be text alone")
				}
			}
		case "audio", "web_search_options":
			r.refuse(string(key), "%s cannot be sent", key)
		default:
			r.common(doc, key, v)
		}
	}
}

// common reads the members that OpenAI's two APIs share.
func (r *request) common(doc, key []byte, v jsonscan.Value) {
	switch string(key) {
	case "stream":
		r.stream = doc[v.Start] == 't'
	case "temperature":
		r.temperature = number(doc, v)
	case "top_p":
		r.topP = number(doc, v)
	case "top_k":
		r.topK = number(doc, v)
	case "seed":
		r.seed = number(doc, v)
	case "presence_penalty":
		r.presence = number(doc, v)
	case "frequency_penalty":
		r.frequency = number(doc, v)
	case "stop", "stop_sequences":
		if v.IsString(doc) {
			r.stop = append(r.stop, inside(doc, v))
		}
		for s := range jsonscan.Elements(doc, v) {
			if text := inside(doc, s); text != nil {
				r.stop = append(r.stop, text)
			}
		}
	case "parallel_tool_calls":
		r.alone = doc[v.Start] == 'f'
	case "user":
		if r.user == nil {
			r.user = inside(doc, v)
		}
	case "safety_identifier":
		r.user = inside(doc, v)
	case "thinking":
		r.readThinking(doc, v)
	default:
		r.plainName(key)
		r.rest = append(r.rest, field{key, v.Of(doc)})
	}
}

// readThinking reads Anthropic's parameter thinking.
func (r *request) readThinking(doc []byte, v jsonscan.Value) {
	r.thinking = v.Of(doc)
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "type":
			switch string(inside(doc, m)) {
			case "enabled", "adaptive", "between_tools":
				r.thoughts = true
			case "disabled":
				r.unthinking = true
			}
		case "budget_tokens":
			r.budget = number(doc, m)
		case "display":
			if string(inside(doc, m)) == "omitted" {
				r.thoughts = false
			}
		}
	}
}

// chatMembers are the places of a message's members.
type chatMembers struct{ role, content, calls, id, refusal, thinking jsonscan.Value }

// chatMessages reads the messages, in one pass.
func (r *request) chatMessages(doc []byte, list jsonscan.Value) {
	var m chatMembers
	jsonscan.Records(doc, list, func(key []byte, v jsonscan.Value) {
		switch string(key) {
		case "role":
			m.role = v
		case "content":
			m.content = v
		case "tool_calls":
			m.calls = v
		case "tool_call_id":
			m.id = v
		case "refusal":
			m.refusal = v
		case "thinking_blocks":
			m.thinking = v
		case "function_call":
			if !v.IsNull(doc) {
				r.refuse("messages[].function_call", "function_call is not translated; use tool_calls")
			}
		case "audio":
			if !v.IsNull(doc) {
				r.adjust("audio of an earlier answer left out of the history")
			}
		default:
			r.plainName(key)
		}
	}, func(jsonscan.Value) {
		r.chatMessage(doc, &m)
		m = chatMembers{}
	})
}

func (r *request) chatMessage(doc []byte, m *chatMembers) {
	switch string(inside(doc, m.role)) {
	case "system", "developer":
		r.readSystem(doc, m.content)
	case "user":
		r.chatContent(doc, m.content, false, r.add)
	case "assistant":
		for b := range jsonscan.Elements(doc, m.thinking) {
			r.messageBlock(doc, b, true, r.add, OpenAI)
		}
		r.chatContent(doc, m.content, true, r.add)
		if text := inside(doc, m.refusal); len(text) > 0 {
			r.add(part{kind: isText, assistant: true, text: text})
		}
		for c := range jsonscan.Elements(doc, m.calls) {
			r.chatCall(doc, c)
		}
	case "tool":
		p := part{kind: isResult, id: inside(doc, m.id)}
		r.chatContent(doc, m.content, false, func(q part) { p.result = append(p.result, q) })
		r.add(p)
	default:
		r.refuse("messages[].role", "messages of the role %.20s cannot be sent", m.role.Of(doc))
	}
}

// readSystem takes a text, or the texts of a list of parts.
func (r *request) readSystem(doc []byte, content jsonscan.Value) {
	add := func(text []byte) {
		if !blank(text) {
			r.system = append(r.system, text)
		}
	}
	add(inside(doc, content))
	for p := range jsonscan.Elements(doc, content) {
		add(inside(doc, jsonscan.Lookup(doc, p, "text")))
	}
}

// chatContent reads a text, or the parts of OpenAI's two APIs.
func (r *request) chatContent(doc []byte, content jsonscan.Value, assistant bool, add func(part)) {
	if text := inside(doc, content); text != nil {
		if len(text) > 0 {
			add(part{kind: isText, assistant: assistant, text: text})
		}
		return
	}
	for v := range jsonscan.Elements(doc, content) {
		if p, ok := r.chatPart(doc, v); ok {
			p.assistant = assistant
			add(p)
		}
	}
}

func (r *request) chatPart(doc []byte, v jsonscan.Value) (p part, ok bool) {
	var kind string
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "type":
			kind = string(inside(doc, m))
		case "text", "refusal":
			p.text = inside(doc, m)
		case "image_url":
			p.kind = isImage
			p.text = inside(doc, m) // of responses
			if m.IsObject(doc) {
				p.text = inside(doc, jsonscan.Lookup(doc, m, "url"))
			}
		case "file", "input_audio":
			for key, f := range jsonscan.MembersOf(doc, m) {
				p.filePart(doc, key, f)
			}
		default:
			p.filePart(doc, key, m)
		}
	}
	switch kind {
	case "text", "input_text", "output_text", "refusal":
		p.kind = isText
		return p, len(p.text) > 0
	case "image_url", "input_image":
		p.kind = isImage
		p.media, p.data, _ = dataURL(p.text)
	case "file", "input_file":
		p.kind = isFile
		if media, data, ok := dataURL(p.data); ok {
			p.media, p.data = media, data
		}
	case "input_audio":
		p.kind = isAudio
	default:
		p.kind, p.name = isOther, []byte("a part of the type "+kind)
		return p, true
	}
	if p.data == nil && p.text == nil {
		what := "a file that OpenAI keeps (file_id)"
		p = part{kind: isOther, name: []byte(what)}
	}
	return p, true
}

// filePart reads the members of a file or a piece of audio.
func (p *part) filePart(doc, key []byte, v jsonscan.Value) {
	switch string(key) {
	case "file_data", "data":
		p.data = inside(doc, v)
	case "filename":
		p.name = inside(doc, v)
	case "file_url":
		p.text = inside(doc, v)
	case "format":
		p.media = append([]byte("audio/"), inside(doc, v)...)
	}
}

func (r *request) chatCall(doc []byte, v jsonscan.Value) {
	p := part{kind: isCall, assistant: true}
	var fun, arguments jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "id":
			p.id = inside(doc, m)
		case "function":
			fun = m
		case "extra_content":
			google := jsonscan.Lookup(doc, m, "google")
			p.signer, p.signature = unmark(inside(doc, jsonscan.Lookup(doc, google, "thought_signature")), Gemini)
		}
	}
	if !fun.Exists() {
		r.refuse("messages[].tool_calls", "tool calls of other types than function cannot be sent")
		return
	}
	for key, m := range jsonscan.MembersOf(doc, fun) {
		switch string(key) {
		case "name":
			p.name = inside(doc, m)
		case "arguments":
			arguments = m
		}
	}
	p.json = r.arguments(doc, arguments)
	r.add(p)
}

// arguments makes the object of a call's arguments, which OpenAI has as text.
func (r *request) arguments(doc []byte, v jsonscan.Value) []byte {
	if v.IsObject(doc) {
		return v.Of(doc)
	}
	text, _ := jsonscan.Unquote(v.Of(doc))
	return r.object(text)
}

func (r *request) chatTool(doc []byte, v jsonscan.Value) {
	kind := inside(doc, jsonscan.Lookup(doc, v, "type"))
	fun := jsonscan.Lookup(doc, v, "function")
	if !fun.IsObject(doc) {
		r.refuse("tools", "tools of the type %.40s cannot be sent, only functions", kind)
		return
	}
	r.addTool(doc, fun, "parameters")
}

// addTool reads a function: its name, description, schema.
func (r *request) addTool(doc []byte, v jsonscan.Value, schema string) {
	var t tool
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch k := string(key); k {
		case "name":
			t.name = inside(doc, m)
		case "description":
			t.description = inside(doc, m)
		case "strict":
			t.strict = doc[m.Start] == 't'
		default:
			if k == schema && m.IsObject(doc) {
				t.schema = m.Of(doc)
			}
		}
	}
	r.tools = append(r.tools, t)
}

// chatChoice reads the tool_choice of OpenAI's two APIs.
func (r *request) chatChoice(doc []byte, v jsonscan.Value) {
	switch string(inside(doc, v)) {
	case "none":
		r.choice.mode = "none"
		return
	case "required":
		r.choice.mode = "any"
		return
	case "auto":
		r.choice.mode = "auto"
		return
	}
	switch string(inside(doc, jsonscan.Lookup(doc, v, "type"))) {
	case "function":
		name := jsonscan.Lookup(doc, v, "name")
		if f := jsonscan.Lookup(doc, v, "function"); f.IsObject(doc) {
			name = jsonscan.Lookup(doc, f, "name")
		}
		r.choice = choice{mode: "tool", name: inside(doc, name)}
	case "allowed_tools":
		if a := jsonscan.Lookup(doc, v, "allowed_tools"); a.IsObject(doc) {
			v = a
		}
		r.choice.mode = "auto"
		if string(inside(doc, jsonscan.Lookup(doc, v, "mode"))) == "required" {
			r.choice.mode = "any"
		}
		allowed := map[string]bool{}
		for t := range jsonscan.Elements(doc, jsonscan.Lookup(doc, v, "tools")) {
			name := jsonscan.Lookup(doc, t, "name")
			if f := jsonscan.Lookup(doc, t, "function"); f.IsObject(doc) {
				name = jsonscan.Lookup(doc, f, "name")
			}
			allowed[string(inside(doc, name))] = true
		}
		r.allow = allowed
	default:
		r.refuse("tool_choice", "this tool_choice cannot be sent")
	}
}

// chatFormat reads a response_format, or the text.format of responses, where
// name and schema stand beside the type.
func chatFormat(doc []byte, v jsonscan.Value) (f format) {
	if s := jsonscan.Lookup(doc, v, "json_schema"); s.IsObject(doc) {
		f = chatFormat(doc, s)
	}
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "type":
			f.kind = string(inside(doc, m))
		case "name":
			f.name = inside(doc, m)
		case "schema":
			f.schema = m.Of(doc)
		case "strict":
			f.strict = doc[m.Start] == 't'
		}
	}
	if f.kind == "text" {
		f.kind = ""
	}
	return f
}
