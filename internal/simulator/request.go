package simulator

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/simulator/mind"
)

// request has the members that are read of the bodies of all endpoints.
type request struct {
	Model         string          `json:"model"`
	Messages      []message       `json:"messages"`     // chat completions
	Prompt        json.RawMessage `json:"prompt"`       // completions
	Input         json.RawMessage `json:"input"`        // responses, embeddings
	Instructions  string          `json:"instructions"` // responses
	Stream        bool            `json:"stream"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	N                   *int            `json:"n"`
	MaxTokens           *int            `json:"max_tokens"`
	MaxCompletionTokens *int            `json:"max_completion_tokens"`
	MaxOutputTokens     *int            `json:"max_output_tokens"`
	Temperature         *float64        `json:"temperature"`
	Seed                *int64          `json:"seed"`
	Stop                json.RawMessage `json:"stop"`
	Tools               []tool          `json:"tools"`
	ToolChoice          json.RawMessage `json:"tool_choice"`
	ResponseFormat      format          `json:"response_format"`
	Text                struct {
		Format format `json:"format"`
	} `json:"text"`
	Dimensions     *int   `json:"dimensions"`
	EncodingFormat string `json:"encoding_format"`
}

type message struct {
	Role    string          `json:"role"`
	Content json.RawMessage `json:"content"`
}

// tool is one of chat completions, or of responses.
type tool struct {
	Type     string   `json:"type"`
	function          // of responses
	Function function `json:"function"`
}

type function struct {
	Name       string          `json:"name"`
	Parameters json.RawMessage `json:"parameters"`
}

type format struct {
	Type       string          `json:"type"`
	Schema     json.RawMessage `json:"schema"` // of responses
	JSONSchema struct {
		Schema json.RawMessage `json:"schema"`
	} `json:"json_schema"`
}

func parse(body []byte) (*request, error) {
	q := new(request)
	if err := json.Unmarshal(body, q); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok && wrong.Field != "" {
			return nil, invalid(wrong.Field, "%s is a %s; want a value of another type", wrong.Field, wrong.Value)
		}
		return nil, invalid("", "the request's body is not a JSON object: %v", err)
	}
	return q, nil
}

// query is a request for a text, whatever endpoint it came by.
type query struct {
	messages []mind.Message
	tool     *function // that has to be called
	json     bool
	schema   json.RawMessage
	stop     []string
	choices  int
	limit    int // of tokens; 0: none
	vary     string
	input    int // tokens
	hot      bool
}

// query takes from the body what all endpoints have in common.
func (q *request) query(messages []mind.Message, limits ...namedLimit) (*query, error) {
	out := &query{messages: messages, choices: 1, input: 3, hot: q.Temperature == nil || *q.Temperature > 0}
	for _, m := range messages {
		out.input += mind.Count(m.Text) + 3
	}
	if q.N != nil {
		if out.choices = *q.N; out.choices < 1 || out.choices > 128 {
			return nil, invalid("n", "n is %d; want from 1 to 128", *q.N)
		}
	}
	for _, l := range limits {
		if l.value == nil {
			continue
		}
		if out.limit = *l.value; out.limit < 1 {
			return nil, invalid(l.name, "%s is %d; want 1 or more", l.name, *l.value)
		}
	}
	if q.Temperature != nil && (*q.Temperature < 0 || *q.Temperature > 2) {
		return nil, invalid("temperature", "temperature is %v; want from 0 to 2", *q.Temperature)
	}
	if q.Seed != nil && out.hot {
		out.vary = "seed " + strconv.FormatInt(*q.Seed, 10)
	}
	var err error
	if out.stop, err = texts(q.Stop); err != nil {
		return nil, invalid("stop", "stop: want a text or a list of texts")
	}
	if out.tool, err = q.called(); err != nil {
		return nil, err
	}
	for i := range q.Tools {
		f := q.Tools[i].either()
		out.input += mind.Count(f.Name) + mind.Count(string(f.Parameters)) + 3
	}
	f := q.ResponseFormat
	if f.Type == "" {
		f = q.Text.Format
	}
	switch f.Type {
	case "", "text":
	case "json_object":
		out.json = true
	case "json_schema":
		if out.schema = f.Schema; len(out.schema) == 0 {
			out.schema = f.JSONSchema.Schema
		}
		if len(out.schema) == 0 {
			return nil, invalid("response_format", "the response format json_schema has no schema; add one")
		}
	default:
		return nil, invalid("response_format", "the response format %q is not known; use text, json_object or json_schema", f.Type)
	}
	return out, nil
}

type namedLimit struct {
	name  string
	value *int
}

func (t *tool) either() function {
	if t.Function.Name != "" {
		return t.Function
	}
	return t.function
}

// called is the function that tool_choice requires to be called. Left to
// itself, the model answers in words.
func (q *request) called() (*function, error) {
	var choice string
	var named struct {
		Type     string   `json:"type"`
		Name     string   `json:"name"`
		Function function `json:"function"`
	}
	_ = json.Unmarshal(q.ToolChoice, &choice)
	_ = json.Unmarshal(q.ToolChoice, &named) // one of the two fits
	name := named.Function.Name
	if name == "" {
		name = named.Name
	}
	if choice != "required" && name == "" {
		return nil, nil
	}
	for i := range q.Tools {
		if f := q.Tools[i].either(); f.Name != "" && (choice == "required" || f.Name == name) {
			return &f, nil
		}
	}
	return nil, invalid("tool_choice", "tool_choice requires a tool that is not among the request's tools; add it to them")
}

// conversation makes the messages of a chat.
func conversation(messages []message) ([]mind.Message, error) {
	if len(messages) == 0 {
		return nil, invalid("messages", "messages is empty; add one such as {\"role\": \"user\", \"content\": \"Hello\"}")
	}
	out := make([]mind.Message, 0, len(messages))
	for i, m := range messages {
		switch m.Role {
		case "system", "developer", "user", "assistant", "tool", "function":
		default:
			return nil, invalid("messages", "messages[%d] has the role %q; want system, developer, user, assistant or tool", i, m.Role)
		}
		out = append(out, mind.Message{Role: m.Role, Text: content(m.Content)})
	}
	return out, nil
}

// content is the text of a message: a string, or the text among its parts.
func content(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(raw, &parts) // what has no text is not read
	var b strings.Builder
	for _, p := range parts {
		if b.Len() > 0 && p.Text != "" {
			b.WriteByte('\n')
		}
		b.WriteString(p.Text)
	}
	return b.String()
}

// texts reads a text or a list of texts.
func texts(raw json.RawMessage) ([]string, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var several []string
	err := json.Unmarshal(raw, &several)
	return several, err
}
