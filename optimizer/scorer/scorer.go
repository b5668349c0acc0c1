// Package scorer says how good an answer is: one scorer a file, each a module
// of the namespace llm.scorers, so that others can add theirs.
package scorer

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/caddy-frontier/frontier/prompts"
)

// Case is what an answer is judged against: a dataset's record.
type Case struct {
	ID     string            `json:"id"`
	Inputs map[string]string `json:"inputs"` // the prompt's variables, or nil
	// Messages are what was asked, of a record that has whole messages instead of variables.
	Messages []prompts.Message `json:"messages,omitempty"`
	// Expected is the answer that is wanted: a JSON string is a text, anything else is JSON itself.
	Expected json.RawMessage `json:"expected"`
}

// Answer is what a model answered.
type Answer struct {
	Text      string     `json:"text"`
	ToolCalls []ToolCall `json:"tool_calls,omitempty"`
	// Repeat numbers judgements of the same answer. A scorer that is not sure
	// of itself draws anew for another number, and says the same for the same.
	Repeat int `json:"repeat,omitempty"`
}

// ToolCall is a function that a model wants called.
type ToolCall struct {
	Name      string `json:"name"`
	Arguments string `json:"arguments"` // JSON
}

// Score is a judgement.
type Score struct {
	Value float64 `json:"value"` // 0 to 1
	// Why names the fault in words, because optimisers learn from the words; it may be empty for a full score.
	Why string `json:"why"`
	// Parts are the scores of what the answer is made of, by path or by the name of a scorer that was combined.
	Parts map[string]float64 `json:"parts,omitempty"`
	// Label is the label that the answer names, as the scorer's configuration spells it, so that confusion tables can be
	// made. Empty: it names none, or several, or the scorer looks for none.
	Label string `json:"label,omitempty"`
}

// ErrNoExpected says that a record has no expected answer, and that its scorer needs one.
var ErrNoExpected = errors.New("no expected answer to compare with")

// Scorer judges answers. An error means that there is no judgement, which is
// never taken for a score of zero. It is used by many goroutines at once.
type Scorer interface {
	Score(ctx context.Context, c Case, a Answer) (Score, error)
}

// Noisy is implemented by scorers whose judgements of one answer may differ
// from Repeat to Repeat.
type Noisy interface {
	// Repeats is how often an answer should be judged, at least; 0: whoever asks decides.
	// 1: once is enough, as it is with scorers that are not Noisy.
	Repeats() int
}

// Asker asks a model. Calls are paid for and recorded by whoever provides it:
// the same question (with the same repeat) is not paid for twice.
type Asker interface {
	Ask(ctx context.Context, q Question) (string, error)
}

// Question is what a scorer asks a model.
type Question struct {
	Model      string // provider/model-id
	Messages   []prompts.Message
	Parameters map[string]json.RawMessage // such as temperature and response_format
	Repeat     int
}

// ModelUser is implemented by scorers that ask a model. UseModels is called
// once, before the first judgement.
type ModelUser interface {
	UseModels(a Asker)
}

// Caller is implemented by scorers that ask a model.
type Caller interface {
	// Asks is how many calls to a model one judgement normally takes, at most.
	// One more is made for a verdict that could not be read.
	Asks() int
}
