// Package answer knows the two forms that an answer of an LLM API has: one
// JSON object, and a stream of events. It puts the events of a stream together
// into the object, takes an object apart into events, and reads what an
// answer says of itself.
package answer

import (
	"bytes"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// maxDepth bounds how deep an answer may nest.
const maxDepth = 512

// Answer is what an answer says of itself.
type Answer struct {
	Model  string
	Finish string // the first choice's finish reason
	Usage  *call.Usage
	Done   bool   // a stream that reached its end, a document that is whole
	Failed bool   // it is, or ends in, an error
	Events int    // of a stream: those that could be read
	Class  string // of an error, as the provider calls it
}

// Read reads what a complete JSON answer says of itself.
func Read(front call.Front, doc []byte) (a Answer) {
	doc = bytes.TrimSpace(doc)
	if len(doc) == 0 || doc[0] != '{' || !jsonscan.Valid(doc, maxDepth) {
		return a
	}
	a.Done = true
	switch {
	case front == call.Responses:
		readResponse(doc, &a)
		return a
	case front.IsMessages():
		readMessage(doc, &a)
		return a
	}
	for key, m := range jsonscan.MembersOf(doc, jsonscan.Value{Start: 0, End: len(doc)}) {
		if string(key) != "choices" {
			a.member(doc, key, m)
			continue
		}
		for c := range jsonscan.Elements(doc, m) {
			if f := jsonscan.Lookup(doc, c, "finish_reason"); f.IsString(doc) {
				a.Finish = textOf(f.Of(doc))
			}
			break
		}
	}
	return a
}

// member reads a member that answers of all fronts have.
func (a *Answer) member(doc, key []byte, m jsonscan.Value) {
	switch string(key) {
	case "model":
		a.Model = textOf(m.Of(doc))
	case "usage":
		if m.IsObject(doc) {
			a.Usage = ParseUsage(m.Of(doc))
		}
	case "error":
		if m.IsObject(doc) {
			a.Failed = true
			a.Class = errorClass(doc, m)
		}
	}
}

// ParseUsage reads a usage object under the names that chat completions,
// completions, embeddings, responses and messages have for it. Anthropic counts
// cached input apart from the rest: it is included here. Nil: it counts nothing.
func ParseUsage(raw []byte) *call.Usage {
	u := &call.Usage{}
	found, apart := false, int64(0)
	for key, m := range jsonscan.MembersOf(raw, jsonscan.Value{Start: 0, End: len(raw)}) {
		v := m.Of(raw)
		switch string(key) {
		case "prompt_tokens", "input_tokens":
			u.Input, found = integer(v), true
		case "completion_tokens", "output_tokens":
			u.Output, found = integer(v), true
		case "cache_read_input_tokens":
			u.CachedInput = integer(v)
			apart += u.CachedInput
		case "cache_creation_input_tokens":
			u.CacheWriteInput = integer(v)
			apart += u.CacheWriteInput
		case "prompt_tokens_details", "input_tokens_details":
			for key, d := range jsonscan.MembersOf(raw, m) {
				switch string(key) {
				case "cached_tokens":
					u.CachedInput = integer(d.Of(raw))
				case "cache_write_tokens":
					u.CacheWriteInput = integer(d.Of(raw))
				}
			}
		case "completion_tokens_details", "output_tokens_details":
			for key, d := range jsonscan.MembersOf(raw, m) {
				if k := string(key); k == "reasoning_tokens" || k == "thinking_tokens" {
					u.Reasoning = integer(d.Of(raw))
				}
			}
		}
	}
	if !found {
		return nil
	}
	u.Input += apart
	return u
}

var null = []byte("null")

// textOf decodes a string literal; whatever else it is, is "".
func textOf(raw []byte) string {
	s, ok := jsonscan.Unquote(raw)
	if !ok {
		return ""
	}
	return strings.Clone(s)
}

// integer reads a whole number of at most 15 digits; anything else is 0.
func integer(raw []byte) int64 {
	if len(raw) == 0 || len(raw) > 15 {
		return 0
	}
	var n int64
	for _, c := range raw {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
