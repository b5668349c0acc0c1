package dialect

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Target is what a request is translated for.
type Target struct {
	Wire  call.Front // the API of the provider
	Model string     // the provider's id
	Usage bool       // chat completions: ask for a stream's usage
	// NoSampling says that the version of Anthropic's API has no temperature, top_p and top_k.
	NoSampling bool
}

// Wire is the API by which a provider of the dialect answers calls of the
// front. ok is false when it has none for them.
func Wire(dialect string, front call.Front) (wire call.Front, ok bool) {
	conversation := front == call.ChatCompletions || front == call.Responses || front == call.Messages
	switch dialect {
	case Anthropic:
		if conversation {
			return call.Messages, true
		}
		return front, front == call.CountTokens
	case Gemini:
		return call.GenerateContent, conversation
	}
	if front == call.Messages {
		return call.ChatCompletions, true
	}
	return front, front != call.CountTokens
}

// The dialects of providers.
const (
	OpenAI    = "openai"
	Anthropic = "anthropic"
	Gemini    = "gemini"
)

// Unsayable is the error class of requests that a provider's dialect has no words for.
const Unsayable = "untranslatable"

// Request translates a request of the front. What the target's dialect has no
// words for is left out and listed in adjustments, or, where the answer would
// be another one without it, is the error.
func Request(front call.Front, body []byte, to Target) (out []byte, adjustments []string, fail *call.Error) {
	r := requests.Get().(*request)
	r.to, r.from = to, front
	defer r.release()
	switch front {
	case call.ChatCompletions:
		r.readChat(body)
	case call.Responses:
		r.readResponses(body)
	case call.Messages:
		r.readMessages(body)
	}
	if r.fail != nil {
		return nil, nil, r.fail
	}
	r.tidy()
	dst := call.Buffer(len(body) + len(body)/4 + 512)
	switch to.Wire {
	case call.Messages:
		out = r.writeMessages(dst)
	case call.GenerateContent:
		out = r.writeGemini(dst)
	case call.ChatCompletions:
		out = r.writeChat(dst)
	}
	if r.fail != nil {
		call.FreeBuffer(out)
		return nil, nil, r.fail
	}
	return out, r.adjustments, nil
}

var requests = sync.Pool{New: func() any { return new(request) }}

// release gives the request's memory back, without what it points to.
func (r *request) release() {
	clear(r.parts[:cap(r.parts)])
	*r = request{parts: r.parts[:0]}
	if cap(r.parts) < 4096 {
		requests.Put(r)
	}
}

// request is what a request says, whatever its dialect. Texts are the insides
// of JSON literals, and numbers and schemas JSON, all as they stand in the
// body: nothing is decoded that is only passed on.
type request struct {
	to   Target
	from call.Front

	system [][]byte
	parts  []part
	tools  []tool
	choice choice
	allow  map[string]bool // the tools that may be used; nil: all
	alone  bool            // at most one tool call at a time

	stream                        bool
	maxTokens                     []byte
	temperature, topP, topK, seed []byte
	presence, frequency           []byte
	stop                          [][]byte
	format                        format
	effort                        string
	thoughts                      bool   // the client wants to see the thinking
	unthinking                    bool   // and this that there is none
	thinking, budget              []byte // Anthropic's parameter, and its budget
	user                          []byte
	rest                          []field // members with no meaning of their own here
	adjustments                   []string
	fail                          *call.Error
	tail                          int // parts from here on follow the last turn of the assistant
}

// part is one piece of a turn. Parts of one role in a row are one turn.
type part struct {
	kind      kind
	assistant bool
	text      []byte // of text, thinking, refusal; the URL of a link
	id, name  []byte // of calls and results; the name of a file
	json      []byte // the arguments of a call: an object
	media     []byte // the type of what data holds
	data      []byte // base64
	signature []byte // of thinking, or of a call, without its mark
	signer    string // the dialect whose signature it is
	result    []part
	failed    bool // the tool did
}

type kind uint8

const (
	isText kind = iota
	isImage
	isFile
	isAudio
	isCall
	isResult
	isThinking
	isRedacted // thinking, encrypted: data
	isOther    // what only one dialect has: name says what
)

type tool struct {
	name, description []byte
	schema            []byte
	strict            bool
}

// choice is how tools are to be used: "" as the model likes, none, any, or one.
type choice struct {
	mode string
	name []byte
}

type format struct {
	kind   string // "", json_object, json_schema
	name   []byte
	schema []byte
	strict bool
}

type field struct{ name, value []byte }

// refuse notes the first thing that cannot be said.
func (r *request) refuse(param, message string, args ...any) {
	if r.fail == nil {
		r.fail = &call.Error{
			Status: http.StatusBadRequest, Class: Unsayable, Code: "unsupported_parameter", Param: param,
			Message: fmt.Sprintf(message, args...) + "; " + r.to.Model + " is reached by " + wireNames[r.to.Wire],
		}
	}
}

var wireNames = map[call.Front]string{
	call.Messages: "Anthropic's messages API", call.GenerateContent: "Gemini's generateContent", call.ChatCompletions: "OpenAI's chat completions",
}

// plainName refuses a member whose name is escaped: it could be one that counts.
func (r *request) plainName(name []byte) {
	if bytes.IndexByte(name, '\\') >= 0 {
		r.refuse(string(name), "the name %q is escaped, and cannot be translated", name)
	}
}

func (r *request) adjust(format string, args ...any) {
	r.adjustments = append(r.adjustments, fmt.Sprintf(format, args...))
}

// leaveOut notes members that have a value and are not sent.
func (r *request) leaveOut(name string, value []byte) {
	if value != nil {
		r.adjustments = append(r.adjustments, name+" left out")
	}
}

func (r *request) add(p part) { r.parts = append(r.parts, p) }

// tidy looks at the conversation as a whole: where the history ends, what of
// it only another model understands, and what is empty.
func (r *request) tidy() {
	if r.allow != nil {
		r.tools = slices.DeleteFunc(r.tools, func(t tool) bool { return !r.allow[string(t.name)] })
	}
	own := map[call.Front]string{call.Messages: Anthropic, call.GenerateContent: Gemini}[r.to.Wire]
	foreign := 0
	var signature []byte // of thinking before the call that it belongs to
	kept := r.parts[:0]
	for _, p := range r.parts {
		switch p.kind {
		case isThinking, isRedacted:
			switch {
			case p.signer != own || own == "" || len(p.signature) == 0:
				foreign++
				continue
			case own == Gemini:
				signature = p.signature
				continue
			}
		case isText:
			if blank(p.text) && r.to.Wire != call.ChatCompletions {
				continue
			}
		case isCall:
			if p.signer != own {
				p.signature = nil
			}
			if p.signature == nil {
				p.signature = signature
			}
			signature = nil
		}
		kept = append(kept, p)
		if p.assistant {
			r.tail = len(kept)
		}
	}
	r.parts = kept
	if foreign > 0 {
		r.adjust("thinking of another model left out of the history (%d parts)", foreign)
	}
	if len(r.parts) == 0 && len(r.system) > 0 && r.to.Wire != call.ChatCompletions {
		for _, text := range r.system {
			r.add(part{kind: isText, text: text})
		}
		r.system = nil
		r.adjust("system text sent as the user's: there is no other message")
	}
}

// cannot handles a part that the target has no words for: in the history it
// is left out, in the newest turn it is the error.
func (r *request) cannot(i int, what string) {
	if i >= r.tail {
		r.refuse("messages", "%s cannot be sent", what)
		return
	}
	r.adjust("%s left out of the history", what)
}

// blank reports whether a text, as it stands in JSON, is nothing but space.
func blank(inside []byte) bool {
	for i := 0; i < len(inside); i++ {
		switch inside[i] {
		case ' ':
		case '\\':
			i++
			if i >= len(inside) || !strings.ContainsRune("nrt", rune(inside[i])) {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// inside is a string literal without its quotes; nil when v is none.
func inside(doc []byte, v jsonscan.Value) []byte {
	if !v.IsString(doc) || v.End-v.Start < 2 {
		return nil
	}
	return doc[v.Start+1 : v.End-1]
}

// given is a value, nil when it is null.
func given(doc []byte, v jsonscan.Value) []byte {
	if !v.Exists() || v.IsNull(doc) {
		return nil
	}
	return v.Of(doc)
}

// number is a JSON number, nil when v is none.
func number(doc []byte, v jsonscan.Value) []byte {
	if raw := v.Of(doc); len(raw) > 0 && (raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9') {
		return raw
	}
	return nil
}

// quoted writes the inside of a literal with its quotes.
func quoted(dst, inside []byte) []byte {
	return append(append(append(dst, '"'), inside...), '"')
}

// dataURL takes a data URL apart.
func dataURL(url []byte) (media, data []byte, ok bool) {
	rest, ok := bytes.CutPrefix(url, []byte("data:"))
	if !ok {
		return nil, nil, false
	}
	if bytes.IndexByte(rest, '\\') >= 0 {
		rest = bytes.ReplaceAll(rest, []byte(`\/`), []byte("/"))
	}
	head, data, ok := bytes.Cut(rest, []byte(","))
	media, base64 := bytes.CutSuffix(head, []byte(";base64"))
	media, _, _ = bytes.Cut(media, []byte(";"))
	return media, data, ok && base64
}

// object makes the JSON object of a call's arguments. What is none is wrapped.
func (r *request) object(text string) []byte {
	doc := []byte(text)
	root := jsonscan.Root(doc)
	switch {
	case !root.Exists():
		return []byte("{}")
	case root.IsObject(doc) && jsonscan.Valid(doc, maxDepth):
		return root.Of(doc)
	}
	r.adjust("arguments of a tool call that are no JSON object sent as {\"arguments\": …}")
	return append(jsonscan.AppendQuoted([]byte(`{"arguments":`), text), '}')
}
