package optimizer

import (
	"encoding/json"
	"fmt"
)

// The forms of a report beside its JSON. They show what models and callers
// have written, none of which is to be trusted.

// writeCSV is the form for spreadsheets: nothing in it is cut.
func writeCSV(run *Run, report json.RawMessage) ([]byte, error) {
	return writeForm(run, report, comparisonCSV, optimizationCSV)
}

// writeMarkdown is the form for pull requests and chats.
func writeMarkdown(run *Run, report json.RawMessage) ([]byte, error) {
	return writeForm(run, report, comparisonMarkdown, optimizationMarkdown)
}

// writeHTML is the form for people: one file that loads nothing and runs nothing.
func writeHTML(run *Run, report json.RawMessage) ([]byte, error) {
	return writeForm(run, report, comparisonHTML, optimizationHTML)
}

func writeForm(run *Run, report json.RawMessage, comparison func(*Run, *Comparison) ([]byte, error), optimization func(*Run, *Optimization) ([]byte, error)) ([]byte, error) {
	switch run.Kind {
	case KindComparison:
		c := new(Comparison)
		if err := json.Unmarshal(report, c); err != nil {
			return nil, fmt.Errorf("reading the report of run %s: %w", run.ID, err)
		}
		for i := range c.Records { // so that no form need look
			answers := make([]AnswerReport, len(c.Candidates))
			copy(answers, c.Records[i].Answers)
			c.Records[i].Answers = answers
		}
		return comparison(run, c)
	case KindOptimization:
		o := new(Optimization)
		if err := json.Unmarshal(report, o); err != nil {
			return nil, fmt.Errorf("reading the report of run %s: %w", run.ID, err)
		}
		return optimization(run, o)
	}
	return nil, fmt.Errorf("run %s is of the kind %q, which has no report", run.ID, run.Kind)
}
