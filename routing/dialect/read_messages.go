package dialect

import (
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// readMessages reads a request of Anthropic's messages API.
func (r *request) readMessages(doc []byte) {
	for key, v := range jsonscan.MembersOf(doc, jsonscan.Root(doc)) {
		if v.IsNull(doc) {
			continue
		}
		switch string(key) {
		case "model":
		case "system":
			r.readInstructions(doc, v)
		case "messages":
			var role, content jsonscan.Value
			jsonscan.Records(doc, v, func(key []byte, m jsonscan.Value) {
				switch string(key) {
				case "role":
					role = m
				case "content":
					content = m
				default:
					r.plainName(key)
				}
			}, func(jsonscan.Value) {
				r.message(doc, role, content)
				role, content = jsonscan.Value{}, jsonscan.Value{}
			})
		case "max_tokens":
			r.maxTokens = number(doc, v)
		case "metadata":
			r.user = inside(doc, jsonscan.Lookup(doc, v, "user_id"))
		case "tools":
			for t := range jsonscan.Elements(doc, v) {
				kind := inside(doc, jsonscan.Lookup(doc, t, "type"))
				if kind != nil && string(kind) != "custom" {
					r.refuse("tools", "tools of the type %.60s run at Anthropic and cannot be sent, only tools with an input_schema", kind)
					continue
				}
				r.addTool(doc, t, "input_schema")
			}
		case "tool_choice":
			r.messagesChoice(doc, v)
		case "output_config":
			for key, m := range jsonscan.MembersOf(doc, v) {
				switch string(key) {
				case "effort":
					r.effort = string(inside(doc, m))
				case "format":
					if !m.IsNull(doc) {
						r.format = chatFormat(doc, m)
					}
				}
			}
		case "container", "mcp_servers":
			r.refuse(string(key), "%s is Anthropic's own and cannot be sent", key)
		default:
			r.common(doc, key, v)
		}
	}
}

func (r *request) messagesChoice(doc []byte, v jsonscan.Value) {
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "type":
			r.choice.mode = string(inside(doc, m))
		case "name":
			r.choice.name = inside(doc, m)
		case "disable_parallel_tool_use":
			r.alone = doc[m.Start] == 't'
		}
	}
}

func (r *request) message(doc []byte, role, content jsonscan.Value) {
	assistant := false
	switch string(inside(doc, role)) {
	case "system":
		r.readSystem(doc, content)
		return
	case "assistant":
		assistant = true
	case "user":
	default:
		r.refuse("messages[].role", "messages of the role %.20s cannot be sent", role.Of(doc))
	}
	r.messageContent(doc, content, assistant, r.add)
}

func (r *request) messageContent(doc []byte, content jsonscan.Value, assistant bool, add func(part)) {
	if text := inside(doc, content); text != nil {
		add(part{kind: isText, assistant: assistant, text: text})
		return
	}
	for b := range jsonscan.Elements(doc, content) {
		r.messageBlock(doc, b, assistant, add, Anthropic)
	}
}

// messageBlock reads a content block. own is the dialect whose signatures carry no mark.
func (r *request) messageBlock(doc []byte, v jsonscan.Value, assistant bool, add func(part), own string) {
	p := part{assistant: assistant}
	var kind string
	var content, source jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "type":
			kind = string(inside(doc, m))
		case "text", "thinking":
			p.text = inside(doc, m)
		case "id", "tool_use_id":
			p.id = inside(doc, m)
		case "name", "title":
			p.name = inside(doc, m)
		case "input":
			p.json = m.Of(doc)
		case "content":
			content = m
		case "source":
			source = m
		case "signature", "data":
			p.signer, p.signature = unmark(inside(doc, m), own)
		case "is_error":
			p.failed = doc[m.Start] == 't'
		}
	}
	switch kind {
	case "text":
		p.kind = isText
	case "thinking":
		p.kind = isThinking
	case "redacted_thinking":
		p.kind = isRedacted
	case "tool_use":
		p.kind = isCall
		if len(p.json) == 0 || p.json[0] != '{' {
			p.json = []byte("{}")
		}
	case "tool_result":
		p.kind = isResult
		r.messageContent(doc, content, false, func(q part) { p.result = append(p.result, q) })
	case "image":
		p.kind = isImage
		p.source(doc, source)
	case "document":
		p.kind = isFile
		p.source(doc, source)
	default:
		p.kind, p.name = isOther, []byte("a block of the type "+kind)
	}
	add(p)
}

// source reads where an image or a document is.
func (p *part) source(doc []byte, v jsonscan.Value) {
	var kind string
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "type":
			kind = string(inside(doc, m))
		case "media_type":
			p.media = inside(doc, m)
		case "data":
			p.data = inside(doc, m)
		case "url":
			p.text = inside(doc, m)
		}
	}
	switch {
	case kind == "text" && p.data != nil:
		*p = part{kind: isText, assistant: p.assistant, text: p.data}
	case p.data == nil && p.text == nil:
		p.kind, p.name = isOther, []byte("a file that Anthropic keeps")
	}
}
