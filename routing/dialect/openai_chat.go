package dialect

import (
	"bytes"
	"unicode/utf8"

	"github.com/caddy-frontier/frontier/internal/answer"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// chatEvents judges streams of chat completions and of completions.
type chatEvents struct {
	choices   int // as many as the request asked for
	finished  uint64
	seen      uint64
	hideUsage bool
	summary   Summary

	like    answer.Likeness
	kept    []byte         // the event that others may be like
	content jsonscan.Value // of the event that is being read, when its choice says nothing else
}

var doneMark = []byte("[DONE]")

func (e *chatEvents) Event(data []byte) Verdict {
	if len(data) == 0 {
		return Pass // a comment, or another field: keeps the connection alive
	}
	if bytes.Equal(data, doneMark) {
		return Done
	}
	if literal, ok := e.like.Same(data); ok && len(literal) > len(`""`) && utf8.Valid(literal) {
		e.summary.Bytes += len(literal) - len(`""`)
		return Content
	}
	e.like.Forget()
	e.content = jsonscan.Value{}
	doc, verdict := event(data)
	if verdict != Pass {
		return verdict
	}
	choices := 0
	var reported jsonscan.Value
	for key, v := range jsonscan.MembersOf(data, doc) {
		switch string(key) {
		case "id":
			if e.summary.ID == "" {
				e.summary.ID = text(data, v)
			}
		case "model":
			if e.summary.Model == "" {
				e.summary.Model = text(data, v)
			}
		case "choices":
			for c := range jsonscan.Elements(data, v) {
				choices++
				if e.choice(data, c) {
					verdict = Content
				}
			}
		case "usage":
			if v.IsObject(data) {
				reported = v
			}
		case "error":
			if !v.IsNull(data) {
				return Failed
			}
		case "object":
			if string(v.Of(data)) == `"error"` {
				return Failed // vLLM's
			}
		}
	}
	if reported.Exists() {
		e.summary.Usage = answer.ParseUsage(reported.Of(data))
		if choices == 0 && e.hideUsage {
			return Drop
		}
	} else if choices == 1 && e.content.Exists() && verdict == Content {
		e.kept = append(e.kept[:0], data...)
		e.like.Remember(e.kept, e.content)
	}
	return verdict
}

// choice notes a choice's progress and reports whether it carries content.
func (e *chatEvents) choice(doc []byte, v jsonscan.Value) (content bool) {
	index := int64(0)
	plain := true
	var finish jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch string(key) {
		case "index":
			index = integer(doc, m)
		case "finish_reason":
			finish = m
		case "logprobs":
			plain = plain && m.IsNull(doc)
		case "text":
			plain = false
			if m.IsString(doc) {
				n := m.End - m.Start - len(`""`)
				e.summary.Bytes += n
				content = content || n > 0
			}
		case "delta":
			var n int
			n, e.content = deltaContent(doc, m)
			e.summary.Bytes += n
			content = content || n > 0
		}
	}
	bit := uint64(1) << (index & 63)
	e.seen |= bit
	if finish.IsString(doc) && finish.End-finish.Start > len(`""`) {
		e.finished |= bit
		if e.summary.Finish == "" {
			e.summary.Finish = text(doc, finish)
		}
	}
	if !plain || finish.IsString(doc) {
		e.content = jsonscan.Value{}
	}
	return content
}

// deltaContent is how many bytes of content a delta carries: text, tool
// calls, reasoning, a refusal. If it is text alone, its place is returned.
func deltaContent(doc []byte, delta jsonscan.Value) (n int, alone jsonscan.Value) {
	members := 0
	for key, v := range jsonscan.MembersOf(doc, delta) {
		members++
		switch string(key) {
		case "role":
			continue
		case "content":
			if v.IsString(doc) {
				alone = v
			}
		}
		switch raw := v.Of(doc); string(raw) {
		case "null", `""`, "[]", "{}":
		default:
			n += max(len(raw)-len(`""`), 1)
		}
	}
	if members != 1 {
		alone = jsonscan.Value{}
	}
	return n, alone
}

func (e *chatEvents) Complete() bool {
	if e.seen == 0 || e.finished != e.seen {
		return false
	}
	n := 0
	for m := e.finished; m != 0; m &= m - 1 {
		n++
	}
	return n >= min(e.choices, 64)
}

func (e *chatEvents) Terminator() []byte { return []byte("data: [DONE]\n\n") }
func (e *chatEvents) HideUsage() bool    { return e.hideUsage }
func (e *chatEvents) Summary() *Summary  { return &e.summary }

// firstChoice reads how it ended and how much is in it.
func (s *Summary) firstChoice(body []byte, c jsonscan.Value) {
	for key, m := range jsonscan.MembersOf(body, c) {
		switch string(key) {
		case "finish_reason":
			s.Finish = text(body, m)
		case "message":
			n, _ := deltaContent(body, m)
			s.Bytes += n
		case "text":
			s.Bytes += max(m.End-m.Start-len(`""`), 0)
		}
	}
}

// summarizeChat reads whole chat completions, completions and embeddings.
func summarizeChat(body []byte) (s Summary) {
	for key, v := range jsonscan.MembersOf(body, jsonscan.Root(body)) {
		switch string(key) {
		case "id":
			s.ID = text(body, v)
		case "model":
			s.Model = text(body, v)
		case "usage":
			s.Usage = answer.ParseUsage(v.Of(body))
		case "choices":
			for c := range jsonscan.Elements(body, v) {
				s.firstChoice(body, c)
				break
			}
		}
	}
	return s
}
