package fakeprovider

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// messagesRequest is a request of Anthropic's messages API. Like the real
// one, it takes no other members.
type messagesRequest struct {
	Model         string          `json:"model"`
	MaxTokens     *int            `json:"max_tokens"`
	Messages      []turn          `json:"messages"`
	System        json.RawMessage `json:"system"`
	Stream        bool            `json:"stream"`
	Temperature   *float64        `json:"temperature"`
	TopP          *float64        `json:"top_p"`
	TopK          *int            `json:"top_k"`
	StopSequences []string        `json:"stop_sequences"`
	Tools         []struct {
		Type        string         `json:"type"`
		Name        string         `json:"name"`
		Description string         `json:"description"`
		InputSchema map[string]any `json:"input_schema"`
		Strict      bool           `json:"strict"`
		Cache       any            `json:"cache_control"`
	} `json:"tools"`
	ToolChoice *struct {
		Type  string `json:"type"`
		Name  string `json:"name"`
		Alone bool   `json:"disable_parallel_tool_use"`
	} `json:"tool_choice"`
	Thinking *struct {
		Type    string `json:"type"`
		Budget  int    `json:"budget_tokens"`
		Display string `json:"display"`
	} `json:"thinking"`
	OutputConfig *struct {
		Effort string `json:"effort"`
		Format *struct {
			Type   string         `json:"type"`
			Schema map[string]any `json:"schema"`
		} `json:"format"`
	} `json:"output_config"`
	Metadata *struct {
		UserID string `json:"user_id"`
	} `json:"metadata"`
	ServiceTier  string `json:"service_tier"`
	CacheControl any    `json:"cache_control"`
}

type turn struct {
	Role    string `json:"role"`
	Content blocks `json:"content"`
}

// blocks are content blocks; a text alone stands for one of them.
type blocks []contentBlock

type contentBlock struct {
	Type      string          `json:"type"`
	Text      string          `json:"text"`
	ID        string          `json:"id"`
	Name      string          `json:"name"`
	Input     json.RawMessage `json:"input"`
	ToolUseID string          `json:"tool_use_id"`
	Content   blocks          `json:"content"`
	IsError   bool            `json:"is_error"`
	Thinking  string          `json:"thinking"`
	Signature string          `json:"signature"`
	Data      string          `json:"data"`
	Title     string          `json:"title"`
	Cache     any             `json:"cache_control"`
	Source    *struct {
		Type  string `json:"type"`
		Media string `json:"media_type"`
		Data  string `json:"data"`
		URL   string `json:"url"`
	} `json:"source"`
}

func (b *blocks) UnmarshalJSON(raw []byte) error {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		*b = blocks{{Type: "text", Text: text}}
		return nil
	}
	return strict(raw, (*[]contentBlock)(b))
}

func strict(raw []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	return d.Decode(v)
}

// Signature is what the stand-in signs its thinking with, as Anthropic does.
const Signature = "EqQBCgIYAhIM1gbcDa9GJwZA2b3hGgxBdjrkzLoky3dl1pkiMOYds"

var toolID = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)

// check refuses what Anthropic refuses, in its words.
func (m *messagesRequest) check() string {
	switch {
	case m.MaxTokens == nil:
		return "max_tokens: Field required"
	case *m.MaxTokens < 1:
		return "max_tokens: Input should be greater than or equal to 1"
	case len(m.Messages) == 0:
		return "messages: at least one message is required"
	case m.Temperature != nil && (*m.Temperature < 0 || *m.Temperature > 1):
		return "temperature: Input should be less than or equal to 1"
	case m.Temperature != nil && m.TopP != nil:
		return "`temperature` and `top_p` cannot both be specified for this model. Please use only one."
	case m.Temperature != nil && strings.Contains(m.Model, "claude-opus-5"):
		return "`temperature` is deprecated for this model."
	case m.Thinking != nil && m.Thinking.Type == "enabled" && (m.Thinking.Budget < 1024 || m.Thinking.Budget >= *m.MaxTokens):
		return "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024, and less than max_tokens"
	case m.Thinking != nil && m.Thinking.Type == "enabled" && m.Temperature != nil && *m.Temperature != 1:
		return "`temperature` may only be set to 1 when thinking is enabled"
	}
	for _, s := range m.StopSequences {
		if strings.TrimSpace(s) == "" {
			return "stop_sequences: each stop sequence must contain non-whitespace"
		}
	}
	for i, t := range m.Tools {
		if t.InputSchema["type"] != "object" {
			return fmt.Sprintf("tools.%d.custom.input_schema.type: Field required", i)
		}
	}
	if f := m.OutputConfig; f != nil && f.Format != nil && f.Format.Schema["additionalProperties"] != false {
		return "output_config.format.schema: For 'object' type, 'additionalProperties' must be explicitly set to false"
	}
	return m.checkTurns()
}

func (m *messagesRequest) checkTurns() string {
	open := map[string]bool{}
	for i, t := range m.Messages {
		at := "messages." + strconv.Itoa(i)
		switch {
		case t.Role != "user" && t.Role != "assistant":
			return at + `.role: Input should be 'user' or 'assistant'`
		case len(t.Content) == 0:
			return at + ": all messages must have non-empty content"
		}
		answered := 0
		for _, b := range t.Content {
			switch b.Type {
			case "text":
				if strings.TrimSpace(b.Text) == "" {
					return at + ": text content blocks must be non-empty"
				}
			case "tool_use":
				if !toolID.MatchString(b.ID) {
					return at + `.content.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'`
				}
				if len(b.Input) == 0 || b.Input[0] != '{' {
					return at + ".content.tool_use.input: Input should be an object"
				}
				open[b.ID] = true
			case "tool_result":
				if !open[b.ToolUseID] {
					return at + ": unexpected `tool_use_id` found in `tool_result` blocks: " + b.ToolUseID
				}
				delete(open, b.ToolUseID)
				answered++
			case "thinking":
				if b.Signature != Signature {
					return at + ": Invalid `signature` in `thinking` block"
				}
			case "image":
				if b.Source == nil || b.Source.Type == "base64" && !strings.HasPrefix(b.Source.Media, "image/") {
					return at + ".content.image.source: Field required"
				}
			case "document", "redacted_thinking":
			default:
				return at + ".content: Input tag '" + b.Type + "' is not known"
			}
		}
		if t.Role == "user" && len(open) > 0 { // turns of one role in a row are one
			return at + ": `tool_use` ids were found without `tool_result` blocks immediately after"
		}
	}
	return ""
}

func anthropicFail(w http.ResponseWriter, status int, message string) {
	kind := map[int]string{
		400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large",
		429: "rate_limit_error", 500: "api_error", 529: "overloaded_error",
	}[status]
	if kind == "" {
		kind = "api_error"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object{"type": "error", "error": object{"type": kind, "message": message}, "request_id": "req_011CSHoEeqs5C35K2UUqR7Fy"})
}

// messages answers POST /v1/messages and /v1/messages/count_tokens.
func messages(w http.ResponseWriter, r *http.Request, raw []byte) {
	var m messagesRequest
	counting := strings.HasSuffix(r.URL.Path, "/count_tokens")
	if err := strict(raw, &m); err != nil {
		anthropicFail(w, http.StatusBadRequest, err.Error()+": Extra inputs are not permitted")
		return
	}
	w.Header().Set("Request-Id", "req_011CSHoEeqs5C35K2UUqR7Fy")
	w.Header().Del("X-Request-Id")
	switch {
	case r.Header.Get("Anthropic-Version") == "":
		anthropicFail(w, http.StatusBadRequest, "anthropic-version: header is required")
		return
	case r.Header.Get("X-Api-Key") == "" && r.Header.Get("Authorization") == "":
		anthropicFail(w, http.StatusUnauthorized, "x-api-key header is required")
		return
	case counting:
		answer(w, object{"input_tokens": 14})
		return
	}
	if wrong := m.check(); wrong != "" {
		anthropicFail(w, http.StatusBadRequest, wrong)
		return
	}
	content, reason := m.answer()
	message := object{
		"id": "msg_01XFDUDYJgAACzvnptvVoYEL", "type": "message", "role": "assistant", "model": m.Model + "-20250929", "content": content,
		"stop_reason": reason, "stop_sequence": nil,
		"usage": object{
			"input_tokens": 20, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 12, "service_tier": "standard",
			"output_tokens_details": object{"thinking_tokens": 4},
		},
	}
	if reason == "refusal" {
		message["stop_details"] = object{"type": "refusal", "category": "bio", "explanation": "I cannot help with that."}
	}
	if !m.Stream {
		answer(w, message)
		return
	}
	messagesStream(w, r, &m, message, content)
}

func (m *messagesRequest) answer() (content []object, reason string) {
	content = []object{}
	if m.Thinking != nil && m.Thinking.Type != "disabled" {
		content = append(content, object{"type": "thinking", "thinking": "let me think", "signature": Signature})
	}
	last := m.Messages[len(m.Messages)-1]
	said, asked := "", false
	for _, b := range last.Content {
		said += b.Text
		for _, c := range b.Content {
			said += c.Text + " "
		}
		asked = asked || b.Type == "text"
	}
	switch {
	case strings.HasPrefix(m.Model, "refuse"):
		return content, "refusal"
	case len(m.Tools) > 0 && asked && (m.ToolChoice == nil || m.ToolChoice.Type != "none"):
		content = append(content, object{"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq9", "name": m.Tools[0].Name, "input": object{"city": "Paris"}})
		if m.ToolChoice == nil || !m.ToolChoice.Alone {
			content = append(content, object{"type": "tool_use", "id": "toolu_01A09q90qw90lq917835lq8", "name": m.Tools[0].Name, "input": object{"city": "Oslo"}})
		}
		return content, "tool_use"
	case m.OutputConfig != nil && m.OutputConfig.Format != nil:
		said = `{"label":"positive"}`
	default:
		said = "you said: " + strings.TrimSpace(said)
	}
	reason = "end_turn"
	if *m.MaxTokens == 1 {
		said, reason = "you", "max_tokens"
	}
	return append(content, object{"type": "text", "text": said}), reason
}

// messagesStream sends the events as Anthropic documents them, pings included.
func messagesStream(w http.ResponseWriter, r *http.Request, m *messagesRequest, message object, content []object) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	flush := http.NewResponseController(w)
	event := func(kind string, v object) {
		v["type"] = kind
		raw, _ := json.Marshal(v)
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, raw)
		_ = flush.Flush()
	}
	begun := maps.Clone(message)
	begun["content"], begun["stop_reason"] = []any{}, nil
	delete(begun, "stop_details")
	begun["usage"] = object{"input_tokens": 20, "cache_creation_input_tokens": 3, "cache_read_input_tokens": 7, "output_tokens": 1}
	event("message_start", object{"message": begun})
	event("ping", object{})
	if m.Model == "overloaded" {
		event("error", object{"error": object{"type": "overloaded_error", "message": "Overloaded"}})
		return
	}
	for i, b := range content {
		delta := func(kind, name, text string) {
			event("content_block_delta", object{"index": i, "delta": object{"type": kind, name: text}})
		}
		switch b["type"] {
		case "text":
			event("content_block_start", object{"index": i, "content_block": object{"type": "text", "text": ""}})
			for k, word := range strings.SplitAfter(b["text"].(string), " ") {
				switch {
				case k == 2 && m.Model == "cut":
					hangUp(w)
					return
				case k == 2 && m.Model == "late-error":
					event("error", object{"error": object{"type": "overloaded_error", "message": "Overloaded"}})
					return
				case k == 2 && m.Model == "stall":
					<-r.Context().Done()
					return
				case k == 2 && m.Model == "end-early":
					return
				}
				delta("text_delta", "text", word)
			}
		case "thinking":
			event("content_block_start", object{"index": i, "content_block": object{"type": "thinking", "thinking": "", "signature": ""}})
			for _, word := range strings.SplitAfter(b["thinking"].(string), " ") {
				delta("thinking_delta", "thinking", word)
			}
			delta("signature_delta", "signature", Signature)
		case "tool_use":
			event("content_block_start", object{"index": i, "content_block": object{"type": "tool_use", "id": b["id"], "name": b["name"], "input": object{}}})
			raw, _ := json.Marshal(b["input"])
			delta("input_json_delta", "partial_json", "")
			for _, part := range strings.SplitAfter(string(raw), ":") {
				delta("input_json_delta", "partial_json", part)
			}
		}
		event("content_block_stop", object{"index": i})
	}
	end := object{"stop_reason": message["stop_reason"], "stop_sequence": nil}
	if d := message["stop_details"]; d != nil {
		end["stop_details"] = d
	}
	if m.Model == "late" {
		time.Sleep(time.Second)
	}
	event("message_delta", object{"delta": end, "usage": object{"output_tokens": 12, "output_tokens_details": object{"thinking_tokens": 4}}})
	event("message_stop", object{})
}
