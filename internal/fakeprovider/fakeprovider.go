// Package fakeprovider stands in for a paid LLM provider in tests: it answers
// in the documented wire shapes of OpenAI, Anthropic and Gemini, notes what it was asked, and misbehaves
// on request. What a model does is told by its name: `echo` answers with the
// last user message, `error-429` with that status, `old` does not know
// stream_options, and so on (see behave).
package fakeprovider

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Request is what the provider was sent.
type Request struct {
	Method string              `json:"method"`
	Path   string              `json:"path"`
	Header map[string][]string `json:"header"`
	Body   string              `json:"body"`
	Gone   bool                `json:"gone"` // the caller went away before the answer was complete
}

// Provider is the http.Handler of a fake provider.
type Provider struct {
	mu       sync.Mutex
	requests []*Request
}

// Requests returns what was asked since the last Reset.
func (p *Provider) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	out := make([]Request, len(p.requests))
	for i, r := range p.requests {
		out[i] = *r
	}
	return out
}

// Reset forgets what was asked.
func (p *Provider) Reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

type body struct {
	Model    string `json:"model"`
	Stream   bool   `json:"stream"`
	N        int    `json:"n"`
	Messages []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	} `json:"messages"`
	Input          json.RawMessage `json:"input"`
	Prompt         json.RawMessage `json:"prompt"`
	Tools          []any           `json:"tools"`
	Dimensions     int             `json:"dimensions"`
	ResponseFormat *struct {
		Type string `json:"type"`
	} `json:"response_format"`
	StreamOptions struct {
		IncludeUsage bool `json:"include_usage"`
	} `json:"stream_options"`
	EncodingFormat string `json:"encoding_format"`
}

func (p *Provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/__requests":
		_ = json.NewEncoder(w).Encode(p.Requests())
		return
	case "/__reset":
		p.Reset()
		return
	}
	raw, _ := io.ReadAll(r.Body)
	seen := &Request{Method: r.Method, Path: r.URL.RequestURI(), Header: r.Header.Clone(), Body: string(raw)}
	p.mu.Lock()
	p.requests = append(p.requests, seen)
	p.mu.Unlock()
	defer func() {
		p.mu.Lock()
		seen.Gone = r.Context().Err() != nil
		p.mu.Unlock()
	}()
	if _, rest, ok := strings.Cut(r.URL.Path, "/models/"); ok && strings.Contains(rest, ":") { // below /v1beta, or /v1
		model, method, _ := strings.Cut(rest, ":")
		if !behave(w, r, model, geminiFail) {
			generate(w, r, model, method, raw)
		}
		return
	}
	if strings.HasPrefix(r.URL.Path, "/v1/messages") {
		var m struct {
			Model string `json:"model"`
		}
		_ = json.Unmarshal(raw, &m)
		if !behave(w, r, m.Model, anthropicFail) {
			messages(w, r, raw)
		}
		return
	}
	var b body
	if len(raw) > 0 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		if err := json.Unmarshal(raw, &b); err != nil {
			fail(w, http.StatusBadRequest, "the fake provider could not parse the request: "+err.Error())
			return
		}
	}
	w.Header().Set("X-Request-Id", "req_fake_"+strconv.Itoa(len(p.Requests())))
	w.Header().Set("Openai-Organization", "org-secret")
	w.Header().Set("Set-Cookie", "session=provider")
	if b.Model == "old" && strings.Contains(string(raw), "stream_options") {
		fail(w, http.StatusBadRequest, "unknown field stream_options")
		return
	}
	if behave(w, r, b.Model, fail) {
		return
	}
	switch path := strings.TrimPrefix(r.URL.Path, "/v1"); path {
	case "/chat/completions":
		chat(w, r, &b)
	case "/completions":
		completion(w, &b)
	case "/embeddings":
		embeddings(w, &b)
	case "/responses":
		responses(w, &b)
	default:
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"object":"fake","path":%q,"bytes":%d}`, r.URL.Path, len(raw))
	}
}

// behave plays the faults that a model's name asks for; it reports whether it answered.
func behave(w http.ResponseWriter, r *http.Request, model string, fail func(http.ResponseWriter, int, string)) bool {
	kind, arg, _ := strings.Cut(model, "-")
	switch kind {
	case "error":
		status, _ := strconv.Atoi(arg)
		if status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", "1")
		}
		key := r.Header.Get("Authorization") + r.Header.Get("X-Api-Key") + r.Header.Get("X-Goog-Api-Key")
		fail(w, status, "fake error; your key was "+key)
	case "reset":
		hangUp(w)
	case "html":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<html>502 Bad Gateway</html>")
	case "silent":
		<-r.Context().Done()
	case "slow":
		d, _ := time.ParseDuration(arg)
		select {
		case <-time.After(d):
		case <-r.Context().Done():
			return true
		}
		return false
	default:
		return false
	}
	return true
}

func hangUp(w http.ResponseWriter) {
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func fail(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"message": message, "type": "fake", "param": nil, "code": "fake_" + strconv.Itoa(status)}})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(v)
}

type object = map[string]any

// text is what a model says: what it was told last.
func (b *body) text() string {
	for _, v := range slices.Backward(b.Messages) {
		if v.Role == "user" {
			return "you said: " + plain(v.Content)
		}
	}
	return "you said: " + plain(b.Input) + plain(b.Prompt)
}

func plain(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	var parts []struct {
		Text    string          `json:"text"`
		Content json.RawMessage `json:"content"`
	}
	if json.Unmarshal(raw, &parts) != nil {
		return ""
	}
	var out strings.Builder
	for _, p := range parts {
		out.WriteString(p.Text + plain(p.Content))
	}
	return out.String()
}

func tokens(s string) int { return len(strings.Fields(s)) }

func (b *body) usage() object {
	in := 0
	for _, m := range b.Messages {
		in += tokens(plain(m.Content))
	}
	out := tokens(b.text())
	return object{
		"prompt_tokens": in, "completion_tokens": out, "total_tokens": in + out,
		"prompt_tokens_details":     object{"cached_tokens": in / 2},
		"completion_tokens_details": object{"reasoning_tokens": 0},
	}
}

const created = 1700000000
