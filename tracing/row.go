package tracing

import (
	"encoding/json"
	"time"
)

// Row is a trace without its bodies, as the admin API shows it.
type Row struct {
	ID             string            `json:"id"`
	StartedAt      Time              `json:"started_at"`
	DurationMS     float64           `json:"duration_ms"`
	TTFTMS         *float64          `json:"ttft_ms"`
	Route          *string           `json:"route"`
	Variant        *string           `json:"variant"`
	Assignment     *string           `json:"assignment"`
	Provider       *string           `json:"provider"`
	Model          *string           `json:"model"`
	RequestedModel *string           `json:"requested_model"`
	Prompt         *Prompt           `json:"prompt"`
	Front          string            `json:"front"`
	Stream         bool              `json:"stream"`
	Status         string            `json:"status"`
	HTTPStatus     *int              `json:"http_status"`
	ErrorClass     *string           `json:"error_class"`
	FinishReason   *string           `json:"finish_reason"`
	Attempts       int               `json:"attempts"`
	Usage          *Usage            `json:"usage"`
	CostUSD        *float64          `json:"cost_usd"`
	Session        *string           `json:"session"`
	User           *string           `json:"user"`
	Key            *string           `json:"key"`
	Conversation   *string           `json:"conversation"`
	Tags           map[string]string `json:"tags"`
	ClientRetry    bool              `json:"client_retry"`

	// Damaged says what of the trace cannot be read any more, and why. What is
	// damaged is shown as null, never as something else.
	Damaged string `json:"damaged,omitempty"`
}

// Prompt is the prompt version that an answer was made with.
type Prompt struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Source  string `json:"source"`
}

// Usage is counted in tokens; InputTokens includes the cached ones.
type Usage struct {
	InputTokens           int64 `json:"input_tokens"`
	OutputTokens          int64 `json:"output_tokens"`
	CachedInputTokens     int64 `json:"cached_input_tokens"`
	CacheWriteInputTokens int64 `json:"cache_write_input_tokens"`
	ReasoningOutputTokens int64 `json:"reasoning_output_tokens"`
	Estimated             bool  `json:"estimated"`
}

// Trace is a row with everything that is known of the call.
type Trace struct {
	Row
	Request     json.RawMessage   `json:"request"`  // JSON, or a string when it was none
	Response    json.RawMessage   `json:"response"` // a stream is re-assembled into one object
	Parameters  json.RawMessage   `json:"parameters"`
	Adjustments []string          `json:"adjustments"`
	Variables   map[string]string `json:"variables"`
	Spans       []Span            `json:"spans"`
	Feedback    []Feedback        `json:"feedback"`
	Message     *string           `json:"message"`      // what went wrong
	NearMiss    json.RawMessage   `json:"near_miss"`    // why no prompt was recognised
	W3CTraceID  *string           `json:"w3c_trace_id"` // the caller's
	W3CSpanID   *string           `json:"w3c_span_id"`  // the caller's span that the call was made in
	Truncated   bool              `json:"truncated"`    // a body was too large to be kept whole
	Notes       []string          `json:"notes,omitempty"`
}

// Span is one attempt at a provider.
type Span struct {
	Provider          *string  `json:"provider"`
	Model             *string  `json:"model"`
	Variant           *string  `json:"variant"`
	StartedAt         Time     `json:"started_at"`
	DurationMS        float64  `json:"duration_ms"`
	TTFTMS            *float64 `json:"ttft_ms"`
	HTTPStatus        *int     `json:"http_status"`
	ErrorClass        *string  `json:"error_class"`
	Message           *string  `json:"message"`
	Usage             *Usage   `json:"usage"`
	CostUSD           *float64 `json:"cost_usd"`
	UpstreamRequestID *string  `json:"upstream_request_id"`
}

// Feedback is what a person or an application says about an answer.
type Feedback struct {
	Name    string          `json:"name"`
	Value   json.RawMessage `json:"value"`
	Comment string          `json:"comment,omitempty"`
	Source  string          `json:"source,omitempty"`
	At      Time            `json:"at"`
}

// Time is written as RFC 3339 in UTC with milliseconds.
type Time struct{ time.Time }

const timeFormat = "2006-01-02T15:04:05.000Z"

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	b := make([]byte, 0, len(timeFormat)+2)
	b = append(b, '"')
	b = t.UTC().AppendFormat(b, timeFormat)
	return append(b, '"'), nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Time) UnmarshalJSON(b []byte) error { return t.Time.UnmarshalJSON(b) }

func known[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// milliseconds turns microseconds into milliseconds.
func milliseconds(us int64) float64 { return float64(us) / 1000 }

// Interface guards
var (
	_ json.Marshaler   = Time{}
	_ json.Unmarshaler = (*Time)(nil)
)
