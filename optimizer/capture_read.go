package optimizer

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/tracing"
)

// requestPaths are the APIs whose calls can be examples, as traces call them.
var requestPaths = map[string]string{
	call.ChatCompletions.String(): "/v1/chat/completions",
	call.Responses.String():       "/v1/responses",
	call.Messages.String():        "/v1/messages",
}

// read reads what a trace asks and answers.
func (g *gathering) read(t *tracing.Trace) (one gathered, skip string) {
	c := parseRequest(t)
	if c == nil {
		return one, skipDamaged
	}
	one.record.Trace = t.ID
	if one.record.Expected, skip = readAnswer(c.Front, t.Response); skip != "" {
		return one, skip
	}
	messages, whole := readMessages(c, t.Request)
	if t.Prompt != nil && len(t.Variables) > 0 && t.Prompt.Source != string(call.Recognized) && t.Prompt.Source != string(call.Bound) {
		// The client named the prompt, which is rendered before the messages.
		if len(c.Messages) > 0 {
			return one, skipElsewhere
		}
		one.prompt, one.variables = t.Prompt.Name, t.Variables
		return one, ""
	}
	if !whole {
		return one, skipElsewhere
	}
	one.record.Messages = messages
	if g.view == nil {
		return one, ""
	}
	p, _ := g.view.Recognize(c, g.Route)
	if p.Name == "" || len(p.Matches) != 1 || len(p.Variables) == 0 {
		return one, ""
	}
	m := &p.Matches[0]
	for i := range c.Messages {
		if i >= m.First && i < m.First+m.Count {
			continue
		}
		if c.Messages[i].Role != call.System { // what the variables do not tell
			return one, ""
		}
		one.leftOut = true
	}
	one.prompt, one.variables = p.Name, p.Variables
	return one, ""
}

// parseRequest makes the call of a trace's request again.
func parseRequest(t *tracing.Trace) *call.Call {
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, requestPaths[t.Front], bytes.NewReader(t.Request))
	if err != nil {
		return nil
	}
	c, _, _, refused := call.Begin(r, &call.Admission{MaxBody: int64(len(t.Request))})
	if refused != nil {
		return nil
	}
	return c
}

// readMessages returns what was asked as chat completions have it. whole says
// whether that is all: earlier responses are kept by the provider.
func readMessages(c *call.Call, request []byte) (messages json.RawMessage, whole bool) {
	doc := request
	if c.Front != call.ChatCompletions {
		out, _, refused := dialect.Request(c.Front, request, dialect.Target{Wire: call.ChatCompletions, Model: "any"})
		if refused != nil {
			return nil, false
		}
		doc = out
	}
	v := jsonscan.Lookup(doc, jsonscan.Root(doc), "messages")
	if !v.IsArray(doc) || len(c.Messages) == 0 {
		return nil, false
	}
	return bytes.Clone(v.Of(doc)), true
}

// calledTool is a tool call in an answer that is wanted.
type calledTool struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"`
}

// readAnswer returns the answer's text as a JSON string, or its tool calls as a list.
func readAnswer(front call.Front, doc []byte) (expected json.RawMessage, skip string) {
	var a readableAnswer
	var err error
	switch front {
	case call.Messages:
		err = a.readMessage(doc)
	case call.Responses:
		err = a.readResponse(doc)
	default:
		err = a.readChat(doc)
	}
	switch {
	case err != nil:
		return nil, skipDamaged
	case len(a.tools) > 0:
		expected, err = marshal(a.tools)
	case a.refused:
		return nil, skipRefused
	case strings.TrimSpace(a.text) == "":
		return nil, skipEmpty
	default:
		expected, err = marshal(a.text)
	}
	if err != nil {
		return nil, skipDamaged
	}
	return expected, ""
}

// readableAnswer is what matters of an answer of any API.
type readableAnswer struct {
	text    string
	tools   []calledTool
	refused bool
}

// tool adds a tool call, whose arguments may be JSON in a text.
func (a *readableAnswer) tool(name string, arguments json.RawMessage) {
	var text string
	if json.Unmarshal(arguments, &text) == nil {
		if json.Valid([]byte(text)) {
			arguments = json.RawMessage(text)
		}
	}
	if len(arguments) == 0 {
		arguments = json.RawMessage("{}")
	}
	a.tools = append(a.tools, calledTool{name, arguments})
}

func (a *readableAnswer) readChat(doc []byte) error {
	var d struct {
		Choices []struct {
			Message struct {
				Content   json.RawMessage `json:"content"`
				Refusal   string          `json:"refusal"`
				ToolCalls []struct {
					Function struct {
						Name      string          `json:"name"`
						Arguments json.RawMessage `json:"arguments"`
					} `json:"function"`
				} `json:"tool_calls"`
			} `json:"message"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(doc, &d); err != nil || len(d.Choices) == 0 {
		return err
	}
	m := &d.Choices[0].Message
	a.refused = m.Refusal != ""
	if json.Unmarshal(m.Content, &a.text) != nil {
		var parts []struct {
			Text string `json:"text"`
		}
		_ = json.Unmarshal(m.Content, &parts)
		for _, p := range parts {
			a.text += p.Text
		}
	}
	for _, t := range m.ToolCalls {
		a.tool(t.Function.Name, t.Function.Arguments)
	}
	return nil
}

func (a *readableAnswer) readMessage(doc []byte) error {
	var d struct {
		Content []struct {
			Type  string          `json:"type"`
			Text  string          `json:"text"`
			Name  string          `json:"name"`
			Input json.RawMessage `json:"input"`
		} `json:"content"`
	}
	err := json.Unmarshal(doc, &d)
	for _, b := range d.Content {
		switch b.Type {
		case "text":
			a.text += b.Text
		case "tool_use":
			a.tool(b.Name, b.Input)
		}
	}
	return err
}

func (a *readableAnswer) readResponse(doc []byte) error {
	var d struct {
		Output []struct {
			Type      string          `json:"type"`
			Name      string          `json:"name"`
			Arguments json.RawMessage `json:"arguments"`
			Content   []struct {
				Type string `json:"type"`
				Text string `json:"text"`
			} `json:"content"`
		} `json:"output"`
	}
	err := json.Unmarshal(doc, &d)
	for _, item := range d.Output {
		switch item.Type {
		case "message":
			for _, part := range item.Content {
				switch part.Type {
				case "output_text":
					a.text += part.Text
				case "refusal":
					a.refused = true
				}
			}
		case "function_call":
			a.tool(item.Name, item.Arguments)
		}
	}
	return err
}
