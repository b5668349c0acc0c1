// Package call holds the one parsed LLM API call that the handlers llm_trace,
// llm_prompt, llm_router and llm_proxy share through the request's context.
// Whichever of them comes first reads and parses the request, once.
package call

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Front is the API endpoint that the client called.
type Front uint8

// The fronts. Other is any other path under /v1: passed through, never parsed.
// GenerateContent is Gemini's, which so far only providers speak.
const (
	Other Front = iota
	ChatCompletions
	Completions
	Embeddings
	Responses
	Models
	Feedback
	Realtime
	Messages
	CountTokens
	GenerateContent
)

func (f Front) String() string {
	return [...]string{"other", "chat_completions", "completions", "embeddings", "responses", "models", "feedback", "realtime", "messages", "count_tokens", "generate_content"}[f]
}

// IsMessages reports whether requests have the form of Anthropic's messages API.
func (f Front) IsMessages() bool { return f == Messages || f == CountTokens }

// Capture says how much of a call its trace keeps. A request may only lower it.
type Capture uint8

// The capture levels, from most to least.
const (
	CaptureFull     Capture = iota // the metadata row and both bodies
	CaptureMetadata                // the row alone
	CaptureOff                     // nothing
)

// Assignment says why a call went to its variant.
type Assignment string

// The assignments.
const (
	Drawn        Assignment = "drawn"        // by weight
	Pinned       Assignment = "pinned"       // the request names a prompt version by number
	Continued    Assignment = "conversation" // an earlier turn went there
	Unrecognized Assignment = "unrecognized" // no prompt was found in it
	Fallback     Assignment = "fallback"     // the variant drawn failed
	Direct       Assignment = "direct"       // no route
	Run          Assignment = "run"          // no client: the gateway itself asked, for a run
)

// Source says how a prompt came to a call.
type Source string

// The sources, in the order in which they are looked for.
const (
	FromParameter Source = "parameter"
	FromHeader    Source = "header"
	FromModel     Source = "model"
	Recognized    Source = "recognized"
	Bound         Source = "bound"
)

// Status is how a call ended.
type Status string

// The statuses.
const (
	StatusOK        Status = "ok"
	StatusError     Status = "error"
	StatusCut       Status = "cut"       // the answer broke off after its first content
	StatusCancelled Status = "cancelled" // the client went away
)

// Call is one LLM API call. The first group is set when it is parsed and never
// changes; every other group belongs to the handler named there, which
// sets it before it calls the next or before it returns. It is used by one
// goroutine at a time.
type Call struct {
	ID      string // a UUIDv7 in 32 hex digits; the trace's id and the answer's x-request-id
	Started time.Time
	Front   Front
	Path    string          // below /v1, for example "/chat/completions"
	Body    []byte          // as the client sent it; nobody writes to it
	Object  jsonscan.Object // Body's top-level members; none for Other, Models, Realtime

	Refused *Error // why the request cannot be a call; answered by the handlers that need one

	RequestedModel string
	Stream         bool
	Messages       []Message // in order, of a front that has messages
	Continued      bool      // it carries an assistant turn, a tool result or previous_response_id

	Session            string
	User               string
	Key                string // the client key's name, else a fingerprint of the credential; "" without one
	Authenticated      bool   // by a client key, which goes no further
	Conversation       string // conversation id or fingerprint, 16 hex digits; "" when there is nothing to tell by
	PreviousResponseID string
	Tags               map[string]string
	Retry              bool // the SDK says that it is retrying
	Capture            Capture
	W3CTraceID         string // the caller's, 32 hex digits
	W3CSpanID          string // the caller's span, 16 hex digits

	// Set by llm_trace.
	Traced bool // another llm_trace further in has nothing to do

	// Set by llm_prompt.
	Prompt   Prompt
	NearMiss *NearMiss

	// Set by llm_router.
	Route      string
	Variant    string
	Assignment Assignment
	Plan       any // routing's own: the router's decision for the proxy
	Served     ServedPrompt

	// Set by llm_proxy, and by llm_trace from the answer when there was no llm_proxy.
	Provider    string
	Model       string // the provider's model id that answered
	Attempts    []Attempt
	Adjustments []string        // what was changed so that the model accepts the request
	Sent        json.RawMessage // parameters in force (temperature, …), a JSON object; nil: those of the request
	FirstToken  time.Time
	Usage       *Usage
	Status      Status // "": by the answer's HTTP status
	ErrorClass  string
	Message     string // what went wrong, in words without secrets
	Finish      string
	BodyDone    bool // no transport can still be reading Body: it may go back to its pool once it is stored
}

// Prompt is the prompt that a request names, or that was recognised in it.
type Prompt struct {
	Name      string // "": none
	Version   int    // as named by number, which pins it, or as recognised; 0: the variant's binding decides
	Alias     string // as named
	Source    Source
	Pinned    bool
	Variables map[string]string
	Matches   []Match // of a recognised prompt, in the order of messages
}

// Match is one rendering of a template found in the messages.
type Match struct {
	Version   int // the version that was recognised
	First     int // index of the first message
	Count     int // messages it covers: 1 for a text template
	Variables map[string]string
}

// NearMiss is where the closest template parted from the messages: how users
// find out why a prompt is not recognised.
type NearMiss struct {
	Prompt  string `json:"prompt"`
	Version int    `json:"version"`
	Message int    `json:"message"`
	Offset  int    `json:"offset"` // bytes into the message's text
	Want    string `json:"want"`
	Got     string `json:"got"`
}

// ServedPrompt is the version that the answer was made with.
type ServedPrompt struct {
	Name    string
	Version int
	Source  Source
}

// Attempt is one request to a provider.
type Attempt struct {
	Provider          string
	Model             string
	Variant           string
	Started           time.Time
	Duration          time.Duration
	FirstToken        time.Duration // 0: there was none
	HTTPStatus        int           // 0: no answer
	ErrorClass        string
	Message           string
	Usage             *Usage
	UpstreamRequestID string
	Skipped           bool // no request could be made for it: nobody was asked
}

// Usage is counted in tokens. Input includes the cached ones.
type Usage struct {
	Input, Output, CachedInput, CacheWriteInput, Reasoning int64
	Estimated                                              bool
}

type contextKey struct{}

// From returns the call that an earlier handler parsed, or nil.
func From(ctx context.Context) *Call {
	c, _ := ctx.Value(contextKey{}).(*Call)
	return c
}

// With returns the request with the call in its context.
func (c *Call) With(r *http.Request) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), contextKey{}, c))
}
