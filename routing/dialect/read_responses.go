package dialect

import (
	"bytes"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// readResponses reads a request of OpenAI's responses.
func (r *request) readResponses(doc []byte) {
	for key, v := range jsonscan.MembersOf(doc, jsonscan.Root(doc)) {
		if v.IsNull(doc) {
			continue
		}
		switch string(key) {
		case "model", "stream_options":
		case "instructions":
			r.readInstructions(doc, v)
		case "input":
			if text := inside(doc, v); text != nil {
				r.add(part{kind: isText, text: text})
			}
			for item := range jsonscan.Elements(doc, v) {
				r.responsesItem(doc, item)
			}
		case "max_output_tokens":
			r.maxTokens = number(doc, v)
		case "tools":
			for t := range jsonscan.Elements(doc, v) {
				if kind := inside(doc, jsonscan.Lookup(doc, t, "type")); string(kind) != "function" {
					r.refuse("tools", "tools of the type %.40s cannot be sent, only functions", kind)
					continue
				}
				r.addTool(doc, t, "parameters")
			}
		case "tool_choice":
			r.chatChoice(doc, v)
		case "text":
			for key, m := range jsonscan.MembersOf(doc, v) {
				switch string(key) {
				case "format":
					r.format = chatFormat(doc, m)
				default:
					r.rest = append(r.rest, field{append([]byte("text."), key...), m.Of(doc)})
				}
			}
		case "reasoning":
			for key, m := range jsonscan.MembersOf(doc, v) {
				switch string(key) {
				case "effort":
					r.effort = string(inside(doc, m))
				case "summary", "generate_summary":
					r.thoughts = r.thoughts || m.IsString(doc)
				}
			}
		case "previous_response_id", "conversation", "prompt":
			r.refuse(string(key), "%s names what OpenAI keeps; send the conversation as input", key)
		case "background":
			if doc[v.Start] == 't' {
				r.refuse("background", "background cannot be asked for")
			}
		default:
			r.common(doc, key, v)
		}
	}
}

// readInstructions puts the instructions before any system message of the input.
func (r *request) readInstructions(doc []byte, v jsonscan.Value) {
	after := r.system
	r.system = nil
	r.readSystem(doc, v)
	r.system = append(r.system, after...)
}

func (r *request) responsesItem(doc []byte, v jsonscan.Value) {
	var kind, role string
	var content, id, name, arguments, output, encrypted jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "type":
			kind = string(inside(doc, m))
		case "role":
			role = string(inside(doc, m))
		case "content":
			content = m
		case "call_id":
			id = m
		case "name":
			name = m
		case "arguments":
			arguments = m
		case "output":
			output = m
		case "encrypted_content":
			encrypted = m
		default:
			r.plainName(key)
		}
	}
	switch kind {
	case "", "message":
		switch role {
		case "system", "developer":
			r.readSystem(doc, content)
		case "user", "assistant":
			r.chatContent(doc, content, role == "assistant", r.add)
		default:
			r.refuse("input[].role", "messages of the role %.20s cannot be sent", role)
		}
	case "function_call":
		r.add(part{kind: isCall, assistant: true, id: inside(doc, id), name: inside(doc, name), json: r.arguments(doc, arguments)})
	case "function_call_output":
		p := part{kind: isResult, id: inside(doc, id)}
		r.chatContent(doc, output, false, func(q part) { p.result = append(p.result, q) })
		r.add(p)
	case "reasoning":
		p := part{kind: isThinking, assistant: true, text: summaryText(doc, v)}
		p.signer, p.signature = unmark(inside(doc, encrypted), OpenAI)
		if data, ok := bytes.CutPrefix(p.signature, redactedMark); ok {
			p.kind, p.signature = isRedacted, data
		}
		r.add(p)
	case "item_reference":
		r.refuse("input", "item_reference names what OpenAI keeps; send the item itself")
	default:
		r.add(part{kind: isOther, assistant: true, name: []byte("an item of the type " + kind)})
	}
}

// redactedMark stands before the data of thinking that Anthropic has encrypted.
var redactedMark = []byte("redacted:")

// summaryText is what a reasoning item of ours says: its one summary.
func summaryText(doc []byte, item jsonscan.Value) []byte {
	for s := range jsonscan.Elements(doc, jsonscan.Lookup(doc, item, "summary")) {
		return inside(doc, jsonscan.Lookup(doc, s, "text"))
	}
	return nil
}
