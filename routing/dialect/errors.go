package dialect

import (
	"bytes"
	"encoding/json"
	"regexp"
	"time"
)

// TooLong reports whether an error says that the request is longer than its model takes.
func TooLong(body []byte) bool {
	for _, says := range []string{
		"context_length_exceeded",  // OpenAI
		"prompt is too long",       // Anthropic
		"exceed context limit",     // Anthropic: input length and max_tokens
		"input token count",        // Gemini
		"maximum context length",   // vLLM and others that speak OpenAI's dialect
		"exceeds the context size", // llama.cpp
	} {
		if bytes.Contains(body, []byte(says)) {
			return true
		}
	}
	return false
}

// RetryDelay is how long an error of Gemini asks to wait: it says so in its
// body, not in a header. 0: it does not say.
func RetryDelay(body []byte) time.Duration {
	m := retryDelay.FindSubmatch(body)
	if m == nil {
		return 0
	}
	d, _ := time.ParseDuration(string(m[1])) // 0 when it is none
	return d
}

var retryDelay = regexp.MustCompile(`"retryDelay"\s*:\s*"([0-9.]{1,9}s)"`)

// ReadError reads the error of a provider, whatever its dialect. Code is what
// it calls the kind of error; both are "" when it has another form.
func ReadError(body []byte) (code, message string) {
	body = bytes.TrimSuffix(bytes.TrimPrefix(bytes.TrimSpace(body), []byte("[")), []byte("]")) // Gemini's, of a stream
	var shape struct {
		Error struct {
			Type    string `json:"type"`
			Code    any    `json:"code"`
			Status  string `json:"status"`
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(body, &shape) != nil {
		return "", ""
	}
	e := &shape.Error
	code, _ = e.Code.(string)
	for _, c := range []string{e.Type, e.Status} {
		if code == "" {
			code = c
		}
	}
	return code, e.Message
}
