package call

import "github.com/caddy-frontier/frontier/internal/jsonscan"

// Role is who speaks in a message. The role developer counts as system.
type Role uint8

// The roles. OtherRole is a role or item that we do not know.
const (
	OtherRole Role = iota
	System
	User
	Assistant
	Tool
)

// ParseRole names the role.
func ParseRole(name string) Role {
	switch name {
	case "system", "developer":
		return System
	case "user":
		return User
	case "assistant":
		return Assistant
	case "tool", "function":
		return Tool
	}
	return OtherRole
}

// Message is one message of a request, as places in its body. The parameter
// instructions and a plain-text input of the responses API, the prompt of the
// completions API, and the parameter system of the messages API, count as
// messages without a Value.
type Message struct {
	Role    Role
	Value   jsonscan.Value // the element of the list
	Content jsonscan.Value
	Text    jsonscan.Value // the string literal that is all the text there is: the content, or the one text part beside images
}

func (c *Call) scanMessages() (fail *Error) {
	doc := c.Body
	switch c.Front {
	case ChatCompletions:
		fail = c.scanList("messages", c.Object.Get("messages"))
	case Responses:
		if v := c.Object.Get("instructions"); v.IsString(doc) {
			c.Messages = append(c.Messages, Message{Role: System, Content: v, Text: v})
		}
		v := c.Object.Get("input")
		if v.IsString(doc) {
			c.Messages = append(c.Messages, Message{Role: User, Content: v, Text: v})
		}
		fail = c.scanList("input", v)
	case Messages, CountTokens:
		if v := c.Object.Get("system"); v.IsString(doc) || v.IsArray(doc) {
			c.Messages = append(make([]Message, 0, 8), Message{Role: System, Content: v, Text: soleText(doc, v)})
		}
		fail = c.scanList("messages", c.Object.Get("messages"))
	case Completions:
		if v := c.Object.Get("prompt"); v.IsString(doc) {
			c.Messages = append(c.Messages, Message{Role: User, Content: v, Text: v})
		}
	}
	c.Continued = c.PreviousResponseID != ""
	for i := range c.Messages {
		if r := c.Messages[i].Role; r == Assistant || r == Tool {
			c.Continued = true
			break
		}
	}
	return fail
}

// scanList notes the messages of a list. The error is that of one which could
// be read in two ways.
func (c *Call) scanList(param string, list jsonscan.Value) (fail *Error) {
	doc := c.Body
	if c.Messages == nil && list.IsArray(doc) {
		c.Messages = make([]Message, 0, 8)
	}
	var m Message
	var role, kind []byte
	twice := func(name string) { fail = repeated(param + "[]." + name) }
	jsonscan.Records(doc, list, func(key []byte, value jsonscan.Value) {
		switch string(key) {
		case "role":
			if role != nil {
				twice("role")
			}
			if !value.IsString(doc) {
				fail = wrongType(param+"[].role", "a string")
			}
			role = value.Of(doc)
			m.Role = roleOf(role)
		case "content":
			if m.Content.Exists() {
				twice("content")
			}
			m.Content = value
		case "type":
			if kind != nil {
				twice("type")
			}
			kind = value.Of(doc)
		}
	}, func(v jsonscan.Value) {
		if !v.IsObject(doc) {
			fail = wrongType(param, "a list of objects")
		}
		m.Value = v
		switch string(kind) {
		case `"function_call"`, `"reasoning"`, `"custom_tool_call"`:
			m.Role = Assistant
		case `"function_call_output"`, `"custom_tool_call_output"`:
			m.Role = Tool
		}
		if m.Role == User && c.Front.IsMessages() && hasResult(doc, m.Content) {
			m.Role = Tool
		}
		m.Text = soleText(doc, m.Content)
		c.Messages = append(c.Messages, m)
		m, role, kind = Message{}, nil, nil
	})
	return fail
}

// hasResult reports whether a user's message of the messages API carries what a tool returned.
func hasResult(doc []byte, content jsonscan.Value) bool {
	for part := range jsonscan.Elements(doc, content) {
		if string(jsonscan.Lookup(doc, part, "type").Of(doc)) == `"tool_result"` {
			return true
		}
	}
	return false
}

func roleOf(raw []byte) Role {
	if len(raw) < 2 {
		return OtherRole
	}
	return ParseRole(string(raw[1 : len(raw)-1]))
}

// soleText finds the one text of a content: the string itself, or the only
// text part of a list of parts.
func soleText(doc []byte, content jsonscan.Value) (text jsonscan.Value) {
	if content.IsString(doc) {
		return content
	}
	for part := range jsonscan.Elements(doc, content) {
		var kind []byte
		var t jsonscan.Value
		for key, value := range jsonscan.MembersOf(doc, part) {
			switch string(key) {
			case "type":
				kind = value.Of(doc)
			case "text":
				t = value
			}
		}
		switch string(kind) {
		case `"text"`, `"input_text"`:
			if text.Exists() || !t.IsString(doc) {
				return jsonscan.Value{}
			}
			text = t
		}
	}
	return text
}

// Decode returns the message's text, and whether it has one that is valid.
func (m *Message) Decode(body []byte) (string, bool) {
	if !m.Text.Exists() {
		return "", false
	}
	return jsonscan.Unquote(m.Text.Of(body))
}
