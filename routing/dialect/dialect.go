// Package dialect knows the wire formats of LLM APIs: pure functions over
// requests, answers, the events of streams and errors. One format a file.
package dialect

import (
	"unicode/utf8"

	"github.com/caddy-frontier/frontier/internal/answer"
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Verdict is what one event of a stream means.
type Verdict uint8

// The verdicts.
const (
	Pass    Verdict = iota // belongs to the stream, but a client that saw only this has seen no answer yet
	Content                // text, a tool call, reasoning or a refusal
	Drop                   // nothing that the client asked for
	Done                   // the last event
	Failed                 // the provider reports an error
	Broken                 // was part of the answer, and cannot be read
)

// Events judges the events of one stream, in order.
type Events interface {
	// Event looks at the data of the next event.
	Event(data []byte) Verdict
	// Complete reports whether every choice has its finish reason.
	Complete() bool
	// Terminator is what ends a stream whose provider left it out.
	Terminator() []byte
	// HideUsage reports whether usage was asked for on our own account.
	HideUsage() bool
	// Summary is what has been learnt so far.
	Summary() *Summary
}

// Summary is what an answer says of itself.
type Summary struct {
	ID     string // of the answer; responses are continued by it
	Model  string
	Finish string // the first choice's finish reason
	Usage  *call.Usage
	Bytes  int // of content so far: what usage is estimated by when a stream breaks off; of a whole answer, those of the first choice
}

// Estimate is the usage of a call whose provider did not get to report it:
// about four bytes a token, which is what English text comes to.
func (s *Summary) Estimate(request int) *call.Usage {
	const bytesPerToken = 4
	return &call.Usage{Input: int64(request / bytesPerToken), Output: int64((s.Bytes + bytesPerToken - 1) / bytesPerToken), Estimated: true}
}

// NewEvents returns the judge of a front's streams. choices is the request's
// n; hideUsage means that the client did not ask for usage.
func NewEvents(front call.Front, choices int, hideUsage bool) Events {
	switch front {
	case call.Responses:
		return &responsesEvents{}
	case call.Messages:
		e := &sameEvents{messagesAnswer{out: nothing{}}}
		return e
	}
	return &chatEvents{choices: max(choices, 1), hideUsage: hideUsage}
}

// Summarize reads a whole answer.
func Summarize(front call.Front, body []byte) Summary {
	switch front {
	case call.Responses:
		return summarizeObject(body, jsonscan.Root(body), "status", "output")
	case call.Messages, call.CountTokens:
		return summarizeObject(body, jsonscan.Root(body), "stop_reason", "content")
	}
	return summarizeChat(body)
}

// summarizeObject reads an answer that has all it says at its top: how it ended
// under the name finish, its content as a list under the name content.
func summarizeObject(doc []byte, v jsonscan.Value, finish, content string) (s Summary) {
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "id":
			s.ID = text(doc, m)
		case "model":
			s.Model = text(doc, m)
		case "usage":
			s.Usage = answer.ParseUsage(m.Of(doc))
		case finish:
			s.Finish = text(doc, m)
		case content:
			s.Bytes = m.End - m.Start - len("[]")
		}
	}
	return s
}

// maxDepth bounds how deep an event may nest.
const maxDepth = 512

// event finds the object of an event that says more than that the connection
// lives. What was none is dropped; what was meant to be one is not: a client
// that never sees it has another answer.
func event(data []byte) (doc jsonscan.Value, v Verdict) {
	doc = jsonscan.Root(data)
	switch {
	case !doc.IsObject(data):
		return doc, Drop
	case jsonscan.Valid(data[doc.Start:doc.End], maxDepth) && utf8.Valid(data):
		return doc, Pass
	case doc.End > doc.Start+1 && jsonscan.Root(data[doc.Start+1:]).IsString(data[doc.Start+1:]):
		return doc, Broken
	}
	return doc, Drop
}

// ErrorEvent is the event that ends a stream which broke off: typed, and
// without a success terminator behind it.
func ErrorEvent(front call.Front, e *call.Error, requestID string) []byte {
	var out []byte
	switch front {
	case call.Responses:
		return responsesError(e)
	case call.Messages:
		out = []byte("event: error\n")
	}
	out = append(append(out, "data: "...), e.Body(front, requestID)...)
	return append(out, "\n\n"...)
}

func text(doc []byte, v jsonscan.Value) string {
	s, _ := jsonscan.Unquote(v.Of(doc))
	return string([]byte(s)) // the document's buffer is used again
}

func integer(doc []byte, v jsonscan.Value) (n int64) {
	for _, c := range v.Of(doc) {
		if c < '0' || c > '9' || n > 1<<53 {
			return n
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
