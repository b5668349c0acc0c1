// Package optimizer is the evaluation side of the gateway: datasets of
// examples, and the runs that compare models on them and optimise prompts for
// a model. Nothing on the request path imports it.
package optimizer

import (
	"context"
	"encoding/json"
	"time"

	"github.com/caddy-frontier/frontier/routing"
)

// Gateway is what runs need of the configuration that is running. It changes
// with every reload; runs go on with the next one.
type Gateway interface {
	// Ask calls a model and keeps a trace of it. The error is a *routing.AskError, or the context's.
	Ask(ctx context.Context, q routing.Question) (*routing.Reply, error)
	// CheckModel says why provider/model-id cannot be asked, or nil.
	CheckModel(model string) error
	// ModelCost is what tokens of a model cost at most, in US dollars per million of input and output; ok is false when that is unknown.
	ModelCost(model string) (input, output float64, ok bool)
}

// Record is one example of a dataset.
type Record struct {
	ID string `json:"id"`
	// Inputs are the prompt's variables. A record has inputs or messages.
	Inputs map[string]string `json:"inputs,omitempty"`
	// Messages are what was asked, as chat completions have them.
	Messages json.RawMessage `json:"messages,omitempty"`
	// Expected is the answer that is wanted; a JSON string is a text. Null: unknown.
	Expected json.RawMessage `json:"expected"`
	// Trace is the trace that the record was made of.
	Trace  string            `json:"trace_id,omitempty"`
	Weight *float64          `json:"weight,omitempty"` // default: 1
	Tags   map[string]string `json:"tags,omitempty"`
}

// Run is a job: a comparison or an optimisation.
type Run struct {
	ID       string          `json:"id"`
	Kind     Kind            `json:"kind"`
	State    State           `json:"state"`
	Progress Progress        `json:"progress"`
	Spec     json.RawMessage `json:"spec"`   // the request that began it, with its defaults
	Result   json.RawMessage `json:"result"` // null until it has succeeded
	Error    *string         `json:"error"`  // why it failed, or what it waits for
	Created  time.Time       `json:"created_at"`
	Ended    *time.Time      `json:"ended_at"`
	Actor    string          `json:"actor,omitempty"`
	Reason   string          `json:"reason,omitempty"`

	WorkedMS   int64  `json:"worked_ms"`             // for how long it has been worked on, pauses left out
	ReportHash string `json:"report_hash,omitempty"` // of the report as it was written
}

// Kind is what a run does.
type Kind string

// The kinds of runs.
const (
	KindComparison   Kind = "comparison"
	KindOptimization Kind = "optimization"
)

// Event is a step of a run, as its stream of events tells it.
type Event struct {
	Number int             `json:"number"` // from 1
	Kind   string          `json:"kind"`
	Data   json.RawMessage `json:"data"`
	At     time.Time       `json:"at"`
	// What had been spent by then.
	Calls    int      `json:"calls"`
	SpentUSD *float64 `json:"spent_usd"` // null: a price is unknown
}

// State is where a run is.
type State string

// The states of runs.
const (
	Planned   State = "planned"
	Running   State = "running"
	Paused    State = "paused"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Over reports whether a run in this state stays in it.
func (s State) Over() bool { return s == Succeeded || s == Failed || s == Cancelled }

// Progress is how far a run is.
type Progress struct {
	Done     int      `json:"done"`
	Total    int      `json:"total"`
	ETAMS    *float64 `json:"eta_ms"` // null: unknown
	Calls    int      `json:"calls"`
	SpentUSD *float64 `json:"spent_usd"` // null: a price is unknown
}

// Budget bounds what a run may spend. Zero fields are no bounds.
type Budget struct {
	Calls int     `json:"calls,omitempty"` // paid calls to models, those of reflectors and judges included
	USD   float64 `json:"usd,omitempty"`
	Time  string  `json:"time,omitempty"` // a duration such as 30m
}
