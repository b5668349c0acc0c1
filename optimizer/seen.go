package optimizer

import (
	"encoding/json"
	"strconv"

	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/tracing"
)

// seenBy are the ids of the records that an optimiser learned a prompt version
// from. Nil: it is no optimiser's, or its run is not kept.
func (r *Runs) seenBy(v *prompts.Version) map[string]bool {
	if v == nil || v.Tags[TagRun] == "" {
		return nil
	}
	_, doc, err := r.Report(v.Tags[TagRun])
	var report struct {
		Trained []string `json:"trained_on"`
	}
	if err != nil || json.Unmarshal(doc, &report) != nil {
		return nil
	}
	seen := make(map[string]bool, len(report.Trained))
	for _, id := range report.Trained {
		seen[id] = true
	}
	return seen
}

func promptLabel(name string, version int) string { return name + "/" + strconv.Itoa(version) }

func usageOf(u *tracing.Usage) (input, output int) { return int(u.InputTokens), int(u.OutputTokens) }
