// Package demo has what `caddy llm demo` plays with: the reference scenario,
// a Caddy with the gateway and simulated models, and an application that
// calls the gateway as applications do.
package demo

import (
	"encoding/json"
	"fmt"
	"strings"

	_ "embed"
)

//go:embed scenario.json
var scenarioJSON []byte

// Scenario is the migration that is played.
type Scenario struct {
	About  string `json:"about"`
	Models struct {
		Stable    Model `json:"stable"`
		Candidate Model `json:"candidate"`
	} `json:"models"`
	Prompts            map[string][]string        `json:"prompts"` // templates by name, the oldest version first
	Parameters         map[string]json.RawMessage `json:"parameters"`
	Normalize          []string                   `json:"normalize"`
	Records            []Record                   `json:"records"`
	TrainRecords       int                        `json:"train_records"` // from how many of them an optimiser learns
	ReadyAtConsistency float64                    `json:"ready_at_consistency"`
	Rollout            []Step                     `json:"rollout"`
}

// Step is one of the rollout: the candidate's share, and how long it is to be held ("": not at all).
type Step struct {
	Percent float64 `json:"percent"`
	Hold    string  `json:"hold"`
}

// Model is a model to be simulated. Its name has the real provider before the slash.
type Model struct {
	Name                string  `json:"model"`
	LatencyMS           float64 `json:"latency_ms"`
	USDPerMillionTokens float64 `json:"usd_per_million_tokens"`
}

// ID is the model's name without its provider.
func (m Model) ID() string {
	_, id, _ := strings.Cut(m.Name, "/")
	return id
}

// Record is one input of the classifier.
type Record struct {
	Text string `json:"text"`
}

// Load returns the reference scenario.
func Load() (*Scenario, error) {
	s := new(Scenario)
	if err := json.Unmarshal(scenarioJSON, s); err != nil {
		return nil, fmt.Errorf("reading the scenario: %w", err)
	}
	return s, nil
}

// Paste puts a text into a template as an application does that has its prompt in its own code.
func Paste(template, text string) string {
	return strings.ReplaceAll(template, "{{text}}", text)
}
