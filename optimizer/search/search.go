// Package search finds better prompts: the optimisers, their moves, and the
// ledger and the journal of what they pay for.
//
// An optimiser is a deterministic function of its problem and of what the Lab
// answers. It never looks at a clock, draws only from generators that the
// problem's seed begins, and never lets the order in which parallel calls end
// change what it does. So a run that was killed is continued by running it
// again from the start on a Lab that remembers what was paid for.
package search

import (
	"context"
	"errors"

	"github.com/caddy-frontier/frontier/prompts"
)

// Case is a record that an optimiser may learn from.
type Case struct {
	ID       string
	Inputs   map[string]string // the prompt's variables
	Expected string            // the answer that is wanted, as a text
	Weight   float64           // how much it counts; 0 stands for 1
}

// Problem is what is to be optimised.
type Problem struct {
	Prompt prompts.Template
	Cases  []Case
	Seed   uint64
	// InstructionsOnly leaves solved examples out of prompts.
	InstructionsOnly bool
	// Noisy says that the scorer may judge the same answer differently.
	Noisy bool
	// Random says that the model may answer the same request differently.
	Random bool
}

// Trial is one prompt tried on one case.
type Trial struct {
	Prompt prompts.Template
	Case   int // its index in the problem
	// Repeat asks for another answer to the same request; 0 is the first.
	Repeat int
}

// Outcome is what became of a trial.
type Outcome struct {
	Output   string
	Score    float64 // 0 to 1: the mean of its judgements
	Feedback string  // what is wrong, in the scorer's words
	// Err says why there is no score: the model or the scorer failed. It is not a score of zero.
	Err error
}

// Question is what an optimiser asks the reflector.
type Question struct {
	Messages    []prompts.Message
	Temperature float64
	// Repeat asks for another answer to the same question; 0 is the first.
	Repeat int
}

// Reply is what the reflector answered.
type Reply struct {
	Text string
	Err  error
}

// ErrBudget says that the budget does not allow what was asked for. Nothing of it was paid for.
var ErrBudget = errors.New("the budget is used up")

// Lab is where prompts are tried, and the only thing that costs. What was
// tried or asked before is remembered, and costs nothing.
type Lab interface {
	// Try makes the trials, several at once, and returns their outcomes in order.
	// The error is ErrBudget when the budget does not allow all that are new, or
	// the context's; then there are no outcomes.
	Try(ctx context.Context, trials []Trial) ([]Outcome, error)
	// Ask asks the reflector, several questions at once. Its errors are those of Try.
	Ask(ctx context.Context, questions []Question) ([]Reply, error)
	// Cost is how many calls the trials would be: those that were not made before.
	Cost(trials []Trial) int
	// Left is how many more calls the budget allows, at what calls have cost so far.
	Left() int
	// Note tells whoever watches of a step of the search. It must be one that json.Marshal can write.
	Note(e Event)
}

// Event is a step of a search, as it is shown and reported.
type Event struct {
	Kind      string   `json:"kind"` // probe, candidate, accepted, rejected, best, phase
	Move      string   `json:"move,omitempty"`
	Candidate int      `json:"candidate,omitempty"` // its number; 0: the original
	Parent    int      `json:"parent,omitempty"`
	Score     *float64 `json:"score,omitempty"` // mean over the cases tried
	Cases     int      `json:"cases,omitempty"`
	Text      string   `json:"text,omitempty"` // why, in words
	Edits     []string `json:"edits,omitempty"`
}

// Candidate is a prompt with what is known of it.
type Candidate struct {
	Number int              `json:"number"` // 0: the original
	Parent int              `json:"parent"`
	Move   string           `json:"move"`
	Prompt prompts.Template `json:"prompt"`
	Scores []CaseScore      `json:"scores"` // by case; those that were not tried have a nil Score
	Calls  int              `json:"calls"`  // how many had been made when it was found
}

// CaseScore is a candidate's score of one case.
type CaseScore struct {
	ID     string   `json:"id"`
	Score  *float64 `json:"score"`
	Output string   `json:"output,omitempty"`
	Why    string   `json:"why,omitempty"`
}

// Line is what one line or example of the best prompt, which the original did
// not have, earned: the mean score that is expected with it less that without
// it, by all trials of the search that had it or did not.
type Line struct {
	Text   string  `json:"text"`
	Earned float64 `json:"earned"`
	Cases  int     `json:"cases"` // records on which it was tried
}

// Result is what a search has found.
type Result struct {
	Original Candidate   `json:"original"`
	Best     Candidate   `json:"best"` // the original when nothing is better
	Tried    []Candidate `json:"tried"`
	Lines    []Line      `json:"lines"`
	// Better says that the best is proven to be better, as Verdict tells.
	Better bool `json:"better"`
	// Evidence is what that rests on: holdout, small_sample, or none when nothing else is the best or it could not be tried.
	Evidence string `json:"evidence"`
	// Verdict compares the best with the original; null when they are the same.
	Verdict *Verdict `json:"verdict"`
	// Reason says in words why the search ended, and why the best is the best.
	Reason string `json:"reason"`
}

// Optimizer searches for a better prompt. Guest modules of the namespace
// llm.optimizers implement it.
type Optimizer interface {
	// Optimize ends when nothing more is to be gained or the budget is used up,
	// which is no error. An error of the Lab other than ErrBudget is returned as it is.
	Optimize(ctx context.Context, p Problem, lab Lab) (*Result, error)
}
