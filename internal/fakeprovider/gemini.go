package fakeprovider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// geminiRequest is a request of Gemini's generateContent. Like the real one,
// it takes no other members.
type geminiRequest struct {
	Contents          []geminiContent `json:"contents"`
	SystemInstruction *geminiContent  `json:"systemInstruction"`
	Tools             []struct {
		Functions []struct {
			Name        string          `json:"name"`
			Description string          `json:"description"`
			Schema      json.RawMessage `json:"parametersJsonSchema"`
			Parameters  json.RawMessage `json:"parameters"`
		} `json:"functionDeclarations"`
	} `json:"tools"`
	ToolConfig *struct {
		Calling struct {
			Mode    string   `json:"mode"`
			Allowed []string `json:"allowedFunctionNames"`
		} `json:"functionCallingConfig"`
	} `json:"toolConfig"`
	Config *struct {
		MaxOutputTokens  *int            `json:"maxOutputTokens"`
		Temperature      *float64        `json:"temperature"`
		TopP             *float64        `json:"topP"`
		TopK             *float64        `json:"topK"`
		Seed             *int            `json:"seed"`
		Presence         *float64        `json:"presencePenalty"`
		Frequency        *float64        `json:"frequencyPenalty"`
		StopSequences    []string        `json:"stopSequences"`
		ResponseMimeType string          `json:"responseMimeType"`
		ResponseSchema   json.RawMessage `json:"responseJsonSchema"`
		CandidateCount   *int            `json:"candidateCount"`
		Thinking         *struct {
			Include bool   `json:"includeThoughts"`
			Budget  *int   `json:"thinkingBudget"`
			Level   string `json:"thinkingLevel"`
		} `json:"thinkingConfig"`
	} `json:"generationConfig"`
	SafetySettings json.RawMessage `json:"safetySettings"`
}

type geminiContent struct {
	Role  string       `json:"role"`
	Parts []geminiPart `json:"parts"`
}

type geminiPart struct {
	Text   *string `json:"text"`
	Inline *struct {
		Mime string `json:"mimeType"`
		Data string `json:"data"`
	} `json:"inlineData"`
	File *struct {
		Mime string `json:"mimeType"`
		URI  string `json:"fileUri"`
	} `json:"fileData"`
	Call *struct {
		ID   string         `json:"id"`
		Name string         `json:"name"`
		Args map[string]any `json:"args"`
	} `json:"functionCall"`
	Result *struct {
		ID       string         `json:"id"`
		Name     string         `json:"name"`
		Response map[string]any `json:"response"`
	} `json:"functionResponse"`
	Thought   bool   `json:"thought"`
	Signature string `json:"thoughtSignature"`
}

// ThoughtSignature is what the stand-in signs its function calls with.
const ThoughtSignature = "CpcHAdHtim9+q4rstcbvQC0ic4x1/vqQlCJWgE+UZ6dTLYGHMMBkF/AxqL5UmP6SY46uYC8t4BTFiXG5zkw6EMI="

// check refuses what Gemini refuses.
func (g *geminiRequest) check(model string) string {
	if len(g.Contents) == 0 {
		return "* GenerateContentRequest.contents: contents is not specified"
	}
	calls := 0
	for i, c := range g.Contents {
		if c.Role != "user" && c.Role != "model" {
			return "Please use a valid role: user, model."
		}
		if len(c.Parts) == 0 {
			return fmt.Sprintf("* GenerateContentRequest.contents[%d].parts: contents.parts must not be empty.", i)
		}
		results, first := 0, true
		for _, p := range c.Parts {
			switch {
			case p.Result != nil:
				results++
				if p.Result.Name == "" || p.Result.Response == nil {
					return "* GenerateContentRequest.contents.function_response.name: Name cannot be empty."
				}
			case p.Call != nil:
				if first && strings.Contains(model, "gemini-3") && p.Signature != "skip_thought_signature_validator" && urlSafe.Replace(p.Signature) != ThoughtSignature {
					return fmt.Sprintf("Function call is missing a thought_signature in functionCall parts. Function call `default_api:%s`, position %d.", p.Call.Name, i)
				}
				first = false
			case p.Text == nil && p.Inline == nil && p.File == nil:
				return "* GenerateContentRequest.contents.parts.data: required oneof field 'data' must have one initialized field"
			}
		}
		if results != calls {
			return "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."
		}
		calls = 0
		for _, p := range c.Parts {
			if p.Call != nil {
				calls++
			}
		}
	}
	return ""
}

// urlSafe undoes the other form of base64, in which some clients send bytes back.
var urlSafe = strings.NewReplacer("-", "+", "_", "/")

// bothCases are members that Google's own packages send in snake case, which
// Gemini takes as well.
var bothCases = strings.NewReplacer(
	`"parameters_json_schema":`, `"parametersJsonSchema":`, `"include_thoughts":`, `"includeThoughts":`, `"thinking_level":`, `"thinkingLevel":`,
	`"thinking_budget":`, `"thinkingBudget":`, `"thought_signature":`, `"thoughtSignature":`, `"function_call":`, `"functionCall":`, `"function_response":`, `"functionResponse":`,
)

func geminiFail(w http.ResponseWriter, status int, message string) {
	word := map[int]string{400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE"}[status]
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(object{"error": object{"code": status, "message": message, "status": word}})
}

// generate answers POST /v1beta/models/{model}:generateContent and :streamGenerateContent.
func generate(w http.ResponseWriter, r *http.Request, model, method string, raw []byte) {
	var g geminiRequest
	if err := strict([]byte(bothCases.Replace(string(raw))), &g); err != nil {
		geminiFail(w, http.StatusBadRequest, "Invalid JSON payload received. "+err.Error())
		return
	}
	if r.Header.Get("X-Goog-Api-Key") == "" {
		geminiFail(w, http.StatusForbidden, "Method doesn't allow unregistered callers")
		return
	}
	if wrong := g.check(model); wrong != "" {
		geminiFail(w, http.StatusBadRequest, wrong)
		return
	}
	parts, reason := g.answer(model)
	usage := object{"promptTokenCount": 30, "cachedContentTokenCount": 7, "candidatesTokenCount": 8, "thoughtsTokenCount": 4, "totalTokenCount": 42}
	chunk := func(parts []object, reason any) object {
		candidate := object{"content": object{"parts": parts, "role": "model"}, "index": 0}
		if parts == nil {
			delete(candidate, "content")
		}
		if reason != nil {
			candidate["finishReason"] = reason
		}
		return object{"candidates": []object{candidate}, "usageMetadata": usage, "modelVersion": model, "responseId": "oLqSaNnpJbLPz7IPrYLByQk"}
	}
	blocked := object{"promptFeedback": object{"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": object{"promptTokenCount": 30, "totalTokenCount": 30}, "modelVersion": model}
	if method == "generateContent" {
		if model == "blocked" {
			answer(w, blocked)
			return
		}
		answer(w, chunk(parts, reason))
		return
	}
	if r.URL.Query().Get("alt") != "sse" {
		answer(w, []object{chunk(parts, reason)})
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(v object) {
		raw, _ := json.Marshal(v)
		fmt.Fprintf(w, "data: %s\r\n\r\n", raw)
		_ = http.NewResponseController(w).Flush()
	}
	if model == "blocked" {
		send(blocked)
		return
	}
	for i, p := range parts {
		text, _ := p["text"].(string)
		if text == "" || p["thought"] != nil {
			send(chunk([]object{p}, nil))
			continue
		}
		words := strings.SplitAfter(text, " ")
		for k, word := range words {
			switch {
			case k == 2 && model == "cut":
				hangUp(w)
				return
			case k == 2 && model == "end-early":
				return
			}
			if i == len(parts)-1 && k == len(words)-1 && reason == "STOP" {
				send(chunk([]object{{"text": word}}, reason)) // the last words come with the reason
				return
			}
			send(chunk([]object{{"text": word}}, nil))
		}
	}
	send(chunk([]object{{"text": ""}}, reason))
}

func (g *geminiRequest) answer(model string) (parts []object, reason string) {
	if c := g.Config; c != nil && c.Thinking != nil && c.Thinking.Include {
		parts = append(parts, object{"text": "**Thinking** about it", "thought": true})
	}
	last := g.Contents[len(g.Contents)-1]
	said, asked := "", false
	for _, p := range last.Parts {
		if p.Text != nil {
			said += *p.Text
			asked = true
		}
		if p.Result != nil {
			said += fmt.Sprint(p.Result.Response["output"]) + " "
		}
	}
	mode := ""
	if g.ToolConfig != nil {
		mode = g.ToolConfig.Calling.Mode
	}
	switch {
	case model == "unsafe":
		return nil, "SAFETY"
	case model == "malformed":
		return nil, "MALFORMED_FUNCTION_CALL"
	case len(g.Tools) > 0 && asked && mode != "NONE":
		for i, city := range []string{"Paris", "Oslo"} {
			call := object{"functionCall": object{"name": g.Tools[0].Functions[0].Name, "args": object{"city": city}}}
			if strings.Contains(model, "gemini-3") {
				call["functionCall"].(object)["id"] = "fc" + strconv.Itoa(i) + "x8a7" // newer models number their calls
				if i == 0 {
					call["thoughtSignature"] = ThoughtSignature
				}
			}
			parts = append(parts, call)
		}
		return parts, "STOP"
	case g.Config != nil && g.Config.ResponseSchema != nil:
		said = `{"label":"positive"}`
	default:
		said = "you said: " + strings.TrimSpace(said)
	}
	reason = "STOP"
	if g.Config != nil && g.Config.MaxOutputTokens != nil && *g.Config.MaxOutputTokens == 1 {
		said, reason = "you", "MAX_TOKENS"
	}
	return append(parts, object{"text": said}), reason
}
