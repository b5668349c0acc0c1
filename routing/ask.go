package routing

import (
	"encoding/json"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
)

// Question is a call of the gateway's own to one model: of a run, a judge or
// an optimiser. It goes to that model alone, with one attempt: no fallback, no
// cache, and never evidence for a rollout.
type Question struct {
	Model string // provider/model-id
	// Messages is the list of messages as chat completions have it: {"role", "content"}, and whatever else a message may carry.
	Messages json.RawMessage
	// Parameters are the request's other members, such as temperature, response_format and tools.
	Parameters map[string]json.RawMessage
	// Stream measures the time to the first token.
	Stream bool
	// Prompt is the version that the messages were rendered from, for the trace.
	Prompt call.ServedPrompt
	// Tags are kept with the trace.
	Tags map[string]string
}

// Reply is what the model answered.
type Reply struct {
	Text       string
	ToolCalls  []ToolCall
	Finish     string
	Usage      *call.Usage // nil: unknown
	CostUSD    *float64    // nil: unknown
	Duration   time.Duration
	FirstToken time.Duration // 0: not measured
	Trace      string        // the trace's id
}

// ToolCall is a function that the model wants called.
type ToolCall struct {
	Name      string
	Arguments string // JSON
}

// AskError says why a question has no answer.
type AskError struct {
	Status     int           // the provider's; 0: none
	Class      string        // as error_class of traces
	Code       string        // the provider's code, such as insufficient_quota
	Message    string        // without secrets
	RetryAfter time.Duration // how long the provider asks to wait; 0: it does not say
	Retry      bool          // whether the same question may succeed later
	Paid       bool          // whether the provider may have charged for it
	Trace      string
}

func (e *AskError) Error() string { return e.Message }
