package dialect

import (
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// geminiAnswer reads answers of Gemini's generateContent, of which the first
// candidate counts. The events of its streams are answers like the whole.
type geminiAnswer struct {
	out     writer
	summary Summary
	begun   bool
	done    bool
	calls   int
}

func (a *geminiAnswer) complete() bool  { return a.done }
func (a *geminiAnswer) state() *Summary { return &a.summary }

func (a *geminiAnswer) event(data []byte) Verdict {
	if len(data) == 0 {
		return Pass
	}
	if _, verdict := event(data); verdict != Pass {
		return verdict
	}
	return a.read(data)
}

func (a *geminiAnswer) whole(doc []byte) Verdict { return a.read(doc) }

func (a *geminiAnswer) read(doc []byte) (verdict Verdict) {
	verdict = Pass
	var id, model, candidates, feedback, usage jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, jsonscan.Root(doc)) {
		switch string(key) {
		case "responseId":
			id = m
		case "modelVersion":
			model = m
		case "candidates":
			candidates = m
		case "promptFeedback":
			feedback = m
		case "usageMetadata":
			usage = m
		case "error":
			return Failed
		}
	}
	if !a.begun {
		a.begun = true
		a.summary.ID, a.summary.Model = text(doc, id), text(doc, model)
		a.out.begin(inside(doc, id), inside(doc, model))
	}
	if u := geminiUsage(doc, usage); u != nil {
		a.summary.Usage = u
		a.out.usage(u)
	}
	for c := range jsonscan.Elements(doc, candidates) {
		return a.candidate(doc, c)
	}
	if reason := inside(doc, jsonscan.Lookup(doc, feedback, "blockReason")); len(reason) > 0 && !a.done {
		a.blocked("the prompt", reason, inside(doc, jsonscan.Lookup(doc, feedback, "blockReasonMessage")))
		return Content
	}
	return verdict
}

// blocked says, as a refusal, why Gemini does not answer.
func (a *geminiAnswer) blocked(what string, reason, message []byte) {
	why := "Gemini blocked " + what + ": " + string(reason)
	if len(message) > 0 {
		why += " (" + string(message) + ")"
	}
	a.out.refusal([]byte(why))
	a.done = true
	a.summary.Finish = a.out.finish(filtered)
}

func geminiUsage(doc []byte, v jsonscan.Value) *call.Usage {
	if !v.IsObject(doc) {
		return nil
	}
	u := &call.Usage{}
	for key, m := range jsonscan.MembersOf(doc, v) {
		switch n := integer(doc, m); string(key) {
		case "promptTokenCount", "toolUsePromptTokenCount":
			u.Input += n
		case "cachedContentTokenCount":
			u.CachedInput = n
		case "candidatesTokenCount":
			u.Output += n
		case "thoughtsTokenCount":
			u.Output += n
			u.Reasoning = n
		}
	}
	return u
}

func (a *geminiAnswer) candidate(doc []byte, c jsonscan.Value) (verdict Verdict) {
	verdict = Pass
	var content, finish, message jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, c) {
		switch string(key) {
		case "content":
			content = m
		case "finishReason":
			finish = m
		case "finishMessage":
			message = m
		}
	}
	reason := string(inside(doc, finish))
	switch reason {
	case "MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS", "MISSING_THOUGHT_SIGNATURE", "MALFORMED_RESPONSE", "NO_IMAGE", "OTHER":
		return Failed // not an answer, and nobody's wish
	}
	for p := range jsonscan.Elements(doc, jsonscan.Lookup(doc, content, "parts")) {
		if a.part(doc, p) {
			verdict = Content
		}
	}
	switch {
	case a.done:
	case reason == "" || reason == "FINISH_REASON_UNSPECIFIED":
	case reason == "STOP":
		a.finished(stopped)
	case reason == "MAX_TOKENS", reason == "CONTINUATION":
		a.finished(length)
	case a.summary.Bytes == 0: // SAFETY, RECITATION, … before a word was said
		a.blocked("the answer", []byte(reason), inside(doc, message))
		return Content
	default:
		a.finished(filtered)
	}
	return verdict
}

func (a *geminiAnswer) finished(how string) {
	a.done = true
	if how == stopped && a.calls > 0 {
		how = called
	}
	a.summary.Finish = a.out.finish(how)
}

func (a *geminiAnswer) part(doc []byte, p jsonscan.Value) (content bool) {
	var said, fun, signature jsonscan.Value
	thought := false
	for key, m := range jsonscan.MembersOf(doc, p) {
		switch string(key) {
		case "text":
			said = m
		case "thought":
			thought = doc[m.Start] == 't'
		case "functionCall":
			fun = m
		case "thoughtSignature":
			signature = m
		}
	}
	if fun.IsObject(doc) {
		a.functionCall(doc, fun, inside(doc, signature))
		return true
	}
	b := inside(doc, said)
	if len(b) == 0 {
		return false
	}
	a.summary.Bytes += len(b)
	if thought {
		a.out.thinking(b)
	} else {
		a.out.text(b)
	}
	return true
}

func (a *geminiAnswer) functionCall(doc []byte, fun jsonscan.Value, signature []byte) {
	var id, name, args jsonscan.Value
	for key, m := range jsonscan.MembersOf(doc, fun) {
		switch string(key) {
		case "id":
			id = m
		case "name":
			name = m
		case "args":
			args = m
		}
	}
	n := a.calls
	a.calls++
	callID := inside(doc, id)
	if len(callID) == 0 { // unlike those of other answers of the conversation
		unlike := a.summary.ID[:min(len(a.summary.ID), 16)]
		if strings.ContainsFunc(unlike, func(c rune) bool { return c == '"' || c == '\\' || c < ' ' }) {
			unlike = ""
		}
		callID = strconv.AppendInt(append([]byte(madeID+unlike), '_'), int64(n), 10)
	}
	a.out.call(n, callID, inside(doc, name), signature)
	object := args.Of(doc)
	if !args.IsObject(doc) {
		object = []byte("{}")
	}
	a.summary.Bytes += len(object)
	literal := jsonscan.AppendQuoted(nil, string(object))
	a.out.arguments(n, literal[1:len(literal)-1])
}
