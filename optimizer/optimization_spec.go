package optimizer

import (
	"encoding/json"
)

// OptimizationSpec says which prompt is optimised, and how. In a run all
// defaults are filled in, and the dataset and the prompt are exact versions.
type OptimizationSpec struct {
	Prompt  string `json:"prompt"`  // a prompt URI, or its short forms
	Model   string `json:"model"`   // provider/model-id that the prompt is for
	Dataset string `json:"dataset"` // the records' name, or name/version. Default version: the latest
	// Train is from how many of the records is learned; they are chosen so that their answers are as mixed as all are. The others stay unseen. Default: 0, all.
	Train int `json:"train,omitempty"`
	// Scorer is the name of one, or an object with `scorer` and its options. Default: json where all expected answers are JSON, else normalized.
	Scorer json.RawMessage `json:"scorer,omitempty"`
	// Optimizer is the name of one, or an object with `optimizer` and its options. Default: frontier.
	Optimizer json.RawMessage `json:"optimizer,omitempty"`
	// Reflector is the model that proposes better prompts; a strong one is best. Default: the model itself.
	Reflector        string `json:"reflector,omitempty"`
	InstructionsOnly bool   `json:"instructions_only,omitempty"` // no solved examples in the prompt
	// Parameters are members of the requests, such as temperature. They win over the prompt version's model config.
	Parameters  map[string]json.RawMessage `json:"parameters,omitempty"`
	Budget      *Budget                    `json:"budget,omitempty"`      // default: 300 calls
	Parallelism int                        `json:"parallelism,omitempty"` // calls under way at once, 1 to 64. Default: 8. The result does not depend on it
	Seed        uint64                     `json:"seed,omitempty"`        // begins what is random in the search. Default: 1
	// Register is if_better (proven better, the default), always or never.
	Register Register `json:"register,omitempty"`
}

// Register says when a new prompt becomes a version of the registry.
type Register string

// When to register.
const (
	RegisterIfBetter Register = "if_better"
	RegisterAlways   Register = "always"
	RegisterNever    Register = "never"
)

// defaultCalls is the budget of an optimisation that names none.
const defaultCalls = 300

// The tags of prompt versions that an optimiser has made.
const (
	// TagRun is the run's id: its report says which records were learned from.
	TagRun = "optimizer.run"
	// TagEvidence is how it was proven better: holdout or small_sample; none when it was not.
	TagEvidence = "optimizer.evidence"
	// TagModel is the model that it is for.
	TagModel = "optimizer.model"
)
