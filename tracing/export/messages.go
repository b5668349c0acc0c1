package export

import (
	"encoding/json"

	"github.com/caddy-frontier/frontier/tracing"
)

// message is one of the conventions' gen_ai.input.messages and gen_ai.output.messages.
type message struct {
	Role   string `json:"role"`
	Parts  []any  `json:"parts"`
	Finish string `json:"finish_reason,omitempty"`
}

type textPart struct {
	Type    string `json:"type"`
	Content string `json:"content"`
}

type toolCallPart struct {
	Type      string `json:"type"`
	ID        string `json:"id,omitempty"`
	Name      string `json:"name"`
	Arguments any    `json:"arguments,omitempty"`
}

type toolResponsePart struct {
	Type     string `json:"type"`
	ID       string `json:"id,omitempty"`
	Response any    `json:"response"`
}

// content adds the messages of a request and its answer.
func content(a *attributes, t *tracing.Trace, names string) {
	in, out := inputMessages(t.Request), outputMessages(t.Response)
	if names != namesLegacy {
		a.json("gen_ai.input.messages", in)
		a.json("gen_ai.output.messages", out)
		for name, value := range t.Variables {
			a.text("gen_ai.prompt.variable."+name, value)
		}
	}
	if names != namesLatest {
		a.json("gen_ai.prompt", in)
		a.json("gen_ai.completion", out)
	}
}

func (a *attributes) json(key string, list []message) {
	if len(list) == 0 {
		return
	}
	raw, err := json.Marshal(list)
	if err == nil {
		a.text(key, string(raw))
	}
}

// wireMessage is a message, or an item of the responses API, as requests and answers have it.
type wireMessage struct {
	Type       string          `json:"type"`
	Role       string          `json:"role"`
	Content    json.RawMessage `json:"content"`
	ToolCallID string          `json:"tool_call_id"`
	ToolCalls  []struct {
		ID       string `json:"id"`
		Function struct {
			Name      string `json:"name"`
			Arguments string `json:"arguments"`
		} `json:"function"`
	} `json:"tool_calls"`
	CallID    string          `json:"call_id"`
	Name      string          `json:"name"`
	Arguments string          `json:"arguments"`
	Output    json.RawMessage `json:"output"`
}

func inputMessages(request json.RawMessage) []message {
	if !present(request) {
		return nil
	}
	var r struct {
		Instructions string          `json:"instructions"`
		System       json.RawMessage `json:"system"`
		Messages     json.RawMessage `json:"messages"`
		Input        json.RawMessage `json:"input"`
		Prompt       json.RawMessage `json:"prompt"`
	}
	if json.Unmarshal(request, &r) != nil {
		return []message{{Role: "user", Parts: []any{textPart{"text", string(request)}}}}
	}
	var out []message
	if r.Instructions != "" {
		out = append(out, message{Role: "system", Parts: []any{textPart{"text", r.Instructions}}})
	}
	if present(r.System) {
		out = append(out, message{Role: "system", Parts: parts(r.System)})
	}
	for _, raw := range []json.RawMessage{r.Messages, r.Input, r.Prompt} {
		if present(raw) {
			out = append(out, messages(raw, "user")...)
		}
	}
	return out
}

func outputMessages(response json.RawMessage) []message {
	if !present(response) {
		return nil
	}
	var r struct {
		Choices []struct {
			Message *wireMessage `json:"message"`
			Text    string       `json:"text"`
			Finish  string       `json:"finish_reason"`
		} `json:"choices"`
		Output  json.RawMessage `json:"output"`
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(response, &r) != nil {
		return nil
	}
	var out []message
	for _, c := range r.Choices {
		m := message{Role: "assistant", Finish: c.Finish}
		if c.Message != nil {
			m = c.Message.message("assistant")
			m.Finish = c.Finish
		} else {
			m.Parts = []any{textPart{"text", c.Text}}
		}
		out = append(out, m)
	}
	if present(r.Output) {
		out = append(out, messages(r.Output, "assistant")...)
	}
	if present(r.Content) {
		out = append(out, message{Role: "assistant", Parts: parts(r.Content)})
	}
	return out
}

// messages reads a list of messages, or a text, which is one.
func messages(raw json.RawMessage, role string) []message {
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) != nil {
		return []message{{Role: role, Parts: parts(raw)}}
	}
	out := make([]message, 0, len(list))
	for _, e := range list {
		var m wireMessage
		if json.Unmarshal(e, &m) != nil { // a list of texts
			out = append(out, message{Role: role, Parts: parts(e)})
			continue
		}
		out = append(out, m.message(role))
	}
	return out
}

func (m *wireMessage) message(role string) message {
	out := message{Role: role}
	if m.Role != "" {
		out.Role = m.Role
	}
	switch {
	case m.Type == "function_call":
		out.Role, out.Parts = "assistant", []any{toolCallPart{"tool_call", m.CallID, m.Name, decoded(m.Arguments)}}
	case m.Type == "function_call_output":
		out.Role, out.Parts = "tool", []any{toolResponsePart{"tool_call_response", m.CallID, m.Output}}
	case m.Role == "tool":
		out.Parts = []any{toolResponsePart{"tool_call_response", m.ToolCallID, m.Content}}
	case present(m.Content):
		out.Parts = parts(m.Content)
	}
	for _, c := range m.ToolCalls {
		out.Parts = append(out.Parts, toolCallPart{"tool_call", c.ID, c.Function.Name, decoded(c.Function.Arguments)})
	}
	return out
}

// decoded is a tool call's arguments: JSON in a text, mostly.
func decoded(arguments string) any {
	if json.Valid([]byte(arguments)) {
		return json.RawMessage(arguments)
	}
	return arguments
}

// parts reads a message's content: a text, or a list of parts. What is no text
// stays as it was sent.
func parts(content json.RawMessage) []any {
	var text string
	if json.Unmarshal(content, &text) == nil {
		return []any{textPart{"text", text}}
	}
	var list []json.RawMessage
	if json.Unmarshal(content, &list) != nil {
		return []any{content}
	}
	out := make([]any, 0, len(list))
	for _, raw := range list {
		var p struct {
			Text *string `json:"text"`
		}
		if json.Unmarshal(raw, &p) == nil && p.Text != nil {
			out = append(out, textPart{"text", *p.Text})
			continue
		}
		out = append(out, raw)
	}
	return out
}
