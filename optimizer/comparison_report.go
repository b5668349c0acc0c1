package optimizer

import (
	"encoding/json"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
)

// Comparison is the report of a comparison.
type Comparison struct {
	Dataset    DatasetRef        `json:"dataset"`
	Scorer     json.RawMessage   `json:"scorer"`
	Ready      ReadySpec         `json:"ready"`
	Candidates []CandidateReport `json:"candidates"` // the baseline first
	Summary    string            `json:"summary"`    // in a line
	Records    []RecordReport    `json:"records"`
	// Agreement is how far the scorer agrees with people, if there were labelled answers.
	Agreement  *scorer.Agreement `json:"agreement"`
	Incomplete string            `json:"incomplete"` // why not all records were compared; "": they were
	Calls      int               `json:"calls"`
	SpentUSD   *float64          `json:"spent_usd"` // null: a price is unknown
}

// DatasetRef says which records a run has worked with.
type DatasetRef struct {
	Name    string `json:"name"`
	Version int    `json:"version"`
	Hash    string `json:"hash"`
	Records int    `json:"records"`
}

// Verdict is what a comparison says of a candidate.
type Verdict string

// The verdicts.
const (
	Production   Verdict = "production" // it is the baseline
	Ready        Verdict = "ready"
	NotReady     Verdict = "not ready"
	Inconclusive Verdict = "inconclusive"
)

// CandidateReport is what a comparison found of a candidate, or of the baseline.
type CandidateReport struct {
	Name       string                     `json:"name"`
	Model      string                     `json:"model"`
	Prompt     string                     `json:"prompt"` // name/version; "": none
	Parameters map[string]json.RawMessage `json:"parameters"`
	Baseline   bool                       `json:"baseline"`
	Optimized  bool                       `json:"optimized"` // the prompt version is an optimiser's

	Verdict     Verdict     `json:"verdict"`
	SmallSample bool        `json:"small_sample"` // too few records for the interval to decide
	Why         string      `json:"why"`          // the verdict in words
	Consistency Share       `json:"consistency"`  // with the baseline
	Score       *Mean       `json:"score"`        // against what records expect; null: they expect nothing
	Difference  *Difference `json:"difference"`   // of the score to the baseline's
	// Seen and Unseen are for the records that an optimiser learned this prompt from, and the others. Null: it is no optimiser's.
	Seen   *Part `json:"seen"`
	Unseen *Part `json:"unseen"`

	LatencyMS *Quantiles `json:"latency_ms"`
	TTFTMS    *Quantiles `json:"ttft_ms"` // to the first token

	InputTokens    int               `json:"input_tokens"`
	OutputTokens   int               `json:"output_tokens"`
	CostUSD        *float64          `json:"cost_usd"`                // of all its answers; null: a price or a usage is unknown
	CostPerMillion *float64          `json:"cost_per_million_tokens"` // in dollars, by the tokens that were really used
	CostPer1K      *float64          `json:"cost_per_1000_requests"`  // in dollars
	Errors         int               `json:"errors"`                  // the model gave no answer
	Unjudged       int               `json:"unjudged"`                // the scorer gave no score
	FormatBreaks   int               `json:"format_breaks"`           // answers that do not keep to the declared format
	Frontier       bool              `json:"frontier"`                // no other is as good in quality, cost and latency and better in one of them
	Confusion      *scorer.Confusion `json:"confusion,omitempty"`     // of a scorer of labels
}

// Part is a candidate's result on some of the records.
type Part struct {
	Records     int   `json:"records"`
	Consistency Share `json:"consistency"`
	Score       *Mean `json:"score"`
}

// RecordReport is one record with all answers to it, in the order of the candidates.
type RecordReport struct {
	ID       string            `json:"id"`
	Inputs   map[string]string `json:"inputs,omitempty"`
	Messages json.RawMessage   `json:"messages,omitempty"`
	Expected json.RawMessage   `json:"expected"`
	Answers  []AnswerReport    `json:"answers"`
	// Differs says that a candidate does not agree with the baseline.
	Differs bool `json:"differs"`
}

// AnswerReport is one candidate's answer to one record.
type AnswerReport struct {
	Output       string             `json:"output"` // tool calls as JSON
	Score        *float64           `json:"score"`  // null: not judged
	Agrees       *bool              `json:"agrees"` // with the baseline
	Seen         bool               `json:"seen"`   // an optimiser learned this prompt from this record
	Why          string             `json:"why"`    // what is wrong with it, in the scorer's words
	Parts        map[string]float64 `json:"parts,omitempty"`
	Error        string             `json:"error"` // why there is no answer, or no score
	LatencyMS    *float64           `json:"latency_ms"`
	TTFTMS       *float64           `json:"ttft_ms"`
	InputTokens  int                `json:"input_tokens"`
	OutputTokens int                `json:"output_tokens"`
	CostUSD      *float64           `json:"cost_usd"`
	FormatBroken bool               `json:"format_broken"`
	Trace        string             `json:"trace_id"`

	label string // that the scorer found
}

// ComparisonResult is a comparison's result: its report without the records.
type ComparisonResult struct {
	Dataset    DatasetRef        `json:"dataset"`
	Candidates []CandidateReport `json:"candidates"`
	Summary    string            `json:"summary"`
	Agreement  *scorer.Agreement `json:"agreement"`
	Incomplete string            `json:"incomplete"`
	// Ready says that a candidate is: there is something to move to.
	Ready bool `json:"ready"`
}

// Short is the comparison without its records.
func (c *Comparison) Short() ComparisonResult {
	r := ComparisonResult{Dataset: c.Dataset, Candidates: c.Candidates, Summary: c.Summary, Agreement: c.Agreement, Incomplete: c.Incomplete}
	for _, cand := range c.Candidates {
		r.Ready = r.Ready || cand.Verdict == Ready
	}
	return r
}
