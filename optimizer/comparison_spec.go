package optimizer

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/prompts"
)

// ComparisonSpec says what is compared. In a run all defaults are filled in,
// and the dataset and prompts are exact versions.
type ComparisonSpec struct {
	// Dataset is the records' name, or name/version. Default version: the latest.
	Dataset string `json:"dataset"`
	// Baseline is asked like a candidate, and its answers are what consistency is measured against. Without it they are the
	// records' expected answers, and latency and cost are those of the traces that the records were captured from.
	Baseline   *CandidateSpec  `json:"baseline,omitempty"`
	Candidates []CandidateSpec `json:"candidates"`
	// Scorer is the name of one, or an object with `scorer` and its options. Default: json where all expected answers are JSON, else normalized.
	Scorer json.RawMessage `json:"scorer,omitempty"`
	Ready  *ReadySpec      `json:"ready,omitempty"`
	// Labelled names a dataset of judgements by people: its records have the tags `answer` and `score` (0 to 1). The report says how far the scorer agrees with them.
	Labelled    string  `json:"labelled,omitempty"`
	Budget      *Budget `json:"budget,omitempty"`
	Parallelism int     `json:"parallelism,omitempty"` // calls under way at once, 1 to 64. Default: 8
	// Stream asks for streams, which tell the time to the first token. Default: true.
	Stream *bool `json:"stream,omitempty"`
}

// CandidateSpec is a model with a prompt and parameters.
type CandidateSpec struct {
	Name   string `json:"name,omitempty"`   // in the report. Default: the model, and the prompt where that does not tell candidates apart
	Model  string `json:"model"`            // provider/model-id
	Prompt string `json:"prompt,omitempty"` // a prompt URI, or its short forms; none for records that have whole messages
	// Parameters are members of the request, such as temperature. They win over the prompt version's model config.
	Parameters map[string]json.RawMessage `json:"parameters,omitempty"`
}

// ReadySpec says when a candidate is ready.
type ReadySpec struct {
	// Consistency is the share of records on which it must agree with the baseline. Default: 0.9.
	Consistency float64 `json:"consistency,omitempty"`
	// Agree is the score from which two answers count as agreeing. Default: 1, or 0.5 with a scorer that is not sure of itself.
	Agree float64 `json:"agree,omitempty"`
}

// label is how the report calls it.
func (c *CandidateSpec) label() string {
	if c.Name != "" {
		return c.Name
	}
	if c.Prompt != "" {
		return c.Model + " " + shortPrompt(c.Prompt)
	}
	return c.Model
}

// shortPrompt is a prompt URI as people read it: name/version.
func shortPrompt(uri string) string { return strings.TrimPrefix(uri, "prompts:/") }

// reservedParameters are those of a request that a run sets itself.
var reservedParameters = []string{"model", "messages", "stream", "stream_options", "n"}

// resolve checks a candidate, and makes its prompt an exact version.
func (c *CandidateSpec) resolve(field string, g Gateway, known *prompts.Snapshot) (*prompts.Version, error) {
	if c.Model == "" {
		return nil, api.Invalid(field+".model", "%s names no model; want provider/model-id", field)
	}
	if err := g.CheckModel(c.Model); err != nil {
		return nil, api.Invalid(field+".model", "%s", err)
	}
	for _, name := range reservedParameters {
		if _, ok := c.Parameters[name]; ok {
			return nil, api.Invalid(field+".parameters", "%s sets the parameter %q, which the run sets itself", field, name)
		}
	}
	if c.Prompt == "" {
		return nil, nil
	}
	return resolvePrompt(field+".prompt", &c.Prompt, known)
}

// resolvePrompt makes a reference an exact version.
func resolvePrompt(field string, ref *string, known *prompts.Snapshot) (*prompts.Version, error) {
	r, err := prompts.ParseReference(*ref)
	if err != nil {
		return nil, api.Invalid(field, "%s", err)
	}
	v, err := known.Resolve(r)
	if err != nil {
		return nil, api.Invalid(field, "%s", err)
	}
	*ref = v.URI
	return v, nil
}

// checkInputs says which records a prompt cannot be rendered with. Variables
// of the records that it does not have are a warning; that none of them is in it, an error.
func checkInputs(field string, v *prompts.Version, records []Record) (warnings []string, err error) {
	if v == nil {
		for i := range records {
			if len(records[i].Messages) == 0 {
				return nil, api.Invalid(field, "record %q has variables (%s) and no messages, so %s needs a prompt", records[i].ID, strings.Join(sortedKeys(records[i].Inputs), ", "), field)
			}
		}
		return nil, nil
	}
	surplus := map[string]bool{}
	for i := range records {
		rec := &records[i]
		if len(rec.Messages) > 0 {
			return nil, api.Invalid(field, "record %q has whole messages, which %s %s cannot be rendered with; want records with its variables: %s", rec.ID, field, shortPrompt(v.URI), strings.Join(v.Variables, ", "))
		}
		used := 0
		for name := range rec.Inputs {
			if slices.Contains(v.Variables, name) {
				used++
			} else {
				surplus[name] = true
			}
		}
		var missing []string
		for _, name := range v.Variables {
			if _, ok := rec.Inputs[name]; !ok {
				missing = append(missing, name)
			}
		}
		if len(missing) > 0 {
			return nil, api.Invalid(field, "record %q lacks what prompt %s has as variables: %s; it has %s", rec.ID, shortPrompt(v.URI), strings.Join(missing, ", "), strings.Join(sortedKeys(rec.Inputs), ", "))
		}
		if used == 0 && len(rec.Inputs) > 0 {
			return nil, api.Invalid(field, "prompt %s has none of the records' variables (%s), so every answer would be the same", shortPrompt(v.URI), strings.Join(sortedKeys(rec.Inputs), ", "))
		}
	}
	if len(surplus) > 0 {
		warnings = append(warnings, fmt.Sprintf("prompt %s lacks variables of the records, which it is tried without: %s", shortPrompt(v.URI), strings.Join(sortedKeys(surplus), ", ")))
	}
	return warnings, nil
}

// Plan is what a run would do. With dry_run that is all there is.
type Plan struct {
	Kind     Kind     `json:"kind"`
	Records  int      `json:"records"`
	Calls    int      `json:"calls"`    // at most; more only where calls fail and are tried again
	Tokens   int      `json:"tokens"`   // about how many
	Cost     *float64 `json:"cost_usd"` // about; null: a price is unknown
	Warnings []string `json:"warnings"` // what to think about before
	Spec     any      `json:"spec"`     // with its defaults
}

// estimate adds calls to a plan: their input in bytes, and answers of that many.
func (p *Plan) estimate(g Gateway, model string, calls, inBytes, outBytes int) {
	p.Calls += calls
	in, out := inBytes/4, outBytes/4
	p.Tokens += in + out
	input, output, ok := g.ModelCost(model)
	if !ok {
		p.Cost = nil
		return
	}
	if p.Cost != nil {
		sum := *p.Cost + float64(in)*input/1e6 + float64(out)*output/1e6
		p.Cost = &sum
	}
}

// checkBudget refuses a budget that cannot be kept, or that cannot be enough. needed is how many calls there must be at least.
func (b *Budget) check(g Gateway, needed int, what string, models ...string) error {
	if b == nil {
		return nil
	}
	if b.Calls < 0 || b.USD < 0 {
		return api.Invalid("budget", "a budget is a number above zero; leave out what is not limited")
	}
	if b.Calls > 0 && b.Calls < needed {
		return api.Invalid("budget.calls", "a budget of %d calls is below the %d that %s takes at least", b.Calls, needed, what)
	}
	if _, err := b.limit(); err != nil {
		return err
	}
	if b.USD > 0 {
		for _, m := range models {
			if _, _, ok := g.ModelCost(m); !ok {
				return api.Invalid("budget.usd", "the price of %s is not known, so a budget in dollars cannot be kept; give its price (provider … { price … }), or a budget in calls", m)
			}
		}
	}
	return nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
