package frontier

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/demo"
	"github.com/caddy-frontier/frontier/optimizer"
)

// The parts of the demo that know whether the new model is good enough, and make it so.

// dataset is the demo's name for what production has answered.
const dataset = "sentiment_baseline"

// baseline lets the application make its calls, and captures a dataset from their traces.
func (p *play) baseline() error {
	p.line(fmt.Sprintf("The application asks %s about its %d texts, as it does every day, with the prompt pasted in.", p.Models.Stable.ID(), len(p.Records)))
	p.line("")
	if err := p.weights(100); err != nil { // where the data directory has those of an earlier play
		return err
	}
	began := time.Now()
	calls := make([]demo.Call, len(p.Records))
	for i, r := range p.Records {
		calls[i] = demo.Call{Model: p.Models.Stable.ID(), Message: demo.Paste(p.Prompts[productionName][0], r.Text), User: "evaluation", Tag: p.tag("baseline")}
	}
	_, s, err := p.batch("baseline", calls, 5)
	if err != nil {
		return err
	}
	served := promptURI(productionName, p.production.Version)
	if s.recognized[served] != len(p.Records) {
		return fmt.Errorf("the prompt %s was recognised in %d of %d calls: %v", served, s.recognized[served], len(p.Records), s.recognized)
	}
	var captured optimizer.Captured
	// A directory that was played in before has older traces.
	body := map[string]any{"route": "sentiment", "variant": "stable", "since": apiTime(began.Add(-time.Millisecond)), "sample": len(p.Records), "actor": "demo"}
	if err := p.ask(http.MethodPost, "/llm/datasets"+segments(dataset, "capture"), nil, body, &captured); err != nil {
		return err
	}
	if captured.Version.Records < len(p.Records) {
		return fmt.Errorf("%d records were captured from %d calls", captured.Version.Records, len(p.Records))
	}
	p.dataset = dataset + "/" + strconv.Itoa(captured.Version.Version)
	answers := make([]string, len(captured.Strata))
	for i, stratum := range captured.Strata {
		answers[i] = fmt.Sprintf("%s %d", stratum.Answer, stratum.Used)
	}
	p.line("The gateway has traced them, recognised the prompt, and so knows the texts and the answers.")
	p.line("They become the baseline without one more call:")
	p.line("")
	p.fields(
		field{"dataset", p.dataset},
		field{"records", fmt.Sprintf("%d, from %d traces", captured.Version.Records, captured.LookedAt)},
		field{"variables", "text, as recognised in " + served},
		field{"answers", strings.Join(answers, ", ")},
		field{"latency", milliseconds(&s.latency) + " on average"},
		field{"cost", dollars(&s.cost) + " a call"},
	)
	return nil
}

// compare lets the gateway ask the new model what the old one was asked.
func (p *play) compare() error {
	p.line(fmt.Sprintf("%s is asked the same, with the same prompt. Is it as good?", p.Models.Candidate.ID()))
	c, err := p.comparison(p.candidate(p.production))
	if err != nil {
		return err
	}
	p.compared = c
	if c.Candidates[1].Verdict == optimizer.Ready {
		p.line("It is, with this seed: there is little left to gain.")
	}
	return nil
}

func (p *play) candidate(v *versionView) map[string]any {
	return map[string]any{"model": "simulator/" + p.Models.Candidate.ID(), "prompt": v.URI, "parameters": p.Parameters}
}

// asScenario compares as the scenario does: in lower case, trimmed.
var asScenario = map[string]any{"scorer": "exact", "ignore_case": true}

// comparison runs a comparison with the baseline, and prints what it found.
func (p *play) comparison(candidates ...map[string]any) (*optimizer.ComparisonResult, error) {
	run, err := p.runToTheEnd("/llm/comparisons", map[string]any{
		"dataset": p.dataset, "candidates": candidates, "scorer": asScenario, "ready": map[string]any{"consistency": p.ReadyAtConsistency}, "actor": "demo",
	})
	if err != nil {
		return nil, err
	}
	var c optimizer.ComparisonResult
	if err := json.Unmarshal(run.Result, &c); err != nil {
		return nil, err
	}
	if len(c.Candidates) != len(candidates)+1 || c.Incomplete != "" {
		return nil, fmt.Errorf("run %s compared %d candidates %s, want %d", run.ID, len(c.Candidates)-1, c.Incomplete, len(candidates))
	}
	p.line("")
	p.candidates(c.Candidates)
	p.line(c.Summary)
	p.line("")
	p.ran = run.ID
	return &c, nil
}

// runToTheEnd starts a run and waits for it.
func (p *play) runToTheEnd(path string, body map[string]any) (*optimizer.Run, error) {
	run := new(optimizer.Run)
	if err := p.ask(http.MethodPost, path, nil, body, run); err != nil {
		return nil, err
	}
	for !run.State.Over() {
		if err := p.wait(50 * time.Millisecond); err != nil {
			return nil, err
		}
		if err := p.ask(http.MethodGet, "/llm/runs"+segments(run.ID), nil, nil, run); err != nil {
			return nil, err
		}
		if run.State == optimizer.Paused {
			return nil, fmt.Errorf("run %s is paused: %s", run.ID, orDash(run.Error))
		}
		p.progress(run.Progress.Calls, max(run.Progress.Total, run.Progress.Calls), "calls")
	}
	p.clearProgress()
	if run.State != optimizer.Succeeded {
		return nil, fmt.Errorf("run %s is %s: %s", run.ID, run.State, orDash(run.Error))
	}
	return run, nil
}

// optimize lets the gateway look for a better prompt, on half of the records.
func (p *play) optimize() error {
	p.line(fmt.Sprintf("The gateway looks for a prompt with which %s answers as %s did.\nIt sees %d of the %d records; %s proposes edits when it is shown what failed.",
		p.Models.Candidate.ID(), p.Models.Stable.ID(), p.TrainRecords, len(p.Records), p.Models.Stable.ID()))
	p.line("Nothing of this is scripted.")
	p.line("")
	run, err := p.runToTheEnd("/llm/optimizations", map[string]any{
		"prompt": p.production.URI, "model": "simulator/" + p.Models.Candidate.ID(), "reflector": "simulator/" + p.Models.Stable.ID(),
		"dataset": p.dataset, "train": p.TrainRecords, "scorer": asScenario, "parameters": p.Parameters, "seed": p.host.Seed, "actor": "demo",
	})
	if err != nil {
		return err
	}
	var o optimizer.OptimizationResult
	if err := json.Unmarshal(run.Result, &o); err != nil {
		return err
	}
	if o.Before == nil || o.After == nil {
		return errors.New("the optimisation has no scores: " + o.Reason)
	}
	fields := []field{
		{"right", fmt.Sprintf("%s before, %s after, of the %d records it saw", share(*o.Before), share(*o.After), o.Learned)},
		{"calls", fmt.Sprintf("%d, for %s", o.Calls, dollars(o.SpentUSD))},
	}
	for i, reason := range strings.Split(o.Reason, "; ") {
		fields = append(fields, field{[]string{"because", ""}[min(i, 1)], reason})
	}
	p.fields(fields...)
	p.line("")
	if o.Registered == "" { // a normal result: the original may be as good as it gets
		p.better = p.production
		p.line("Nothing is proven better, so the prompt stays as it is; the alias candidate points to it.")
		return p.alias(p.better, "candidate")
	}
	var report struct {
		Diff string `json:"diff"`
	}
	if err := p.ask(http.MethodGet, "/llm/runs"+segments(run.ID, "report.json"), nil, nil, &report); err != nil {
		return err
	}
	p.diff(strings.ReplaceAll(report.Diff, "\\ No newline at end of file\n", ""))
	p.line("")
	p.better = new(versionView)
	name, version, _ := strings.Cut(strings.TrimPrefix(o.Registered, "prompts:/"), "/")
	if err := p.ask(http.MethodGet, "/llm/prompts"+segments(name, "versions", version), nil, nil, p.better); err != nil {
		return err
	}
	p.line(fmt.Sprintf("It is registered as %s; the alias candidate points to it.", o.Registered))
	return p.alias(p.better, "candidate")
}

// evaluate compares both prompts on all records, those that were not seen apart.
func (p *play) evaluate() error {
	p.line(fmt.Sprintf("Both prompts on all %d records; those that the optimiser did not see are what counts.", len(p.Records)))
	candidates := []map[string]any{p.candidate(p.production)}
	if p.better != p.production {
		candidates = append(candidates, p.candidate(p.better))
	}
	c, err := p.comparison(candidates...)
	if err != nil {
		return err
	}
	before, now := p.compared.Candidates[1].Consistency, c.Candidates[len(c.Candidates)-1]
	if now.Seen != nil && now.Unseen != nil {
		p.line(fmt.Sprintf("The new prompt is right on %d of the %d records that it was learned from, and %d of %d others.",
			now.Seen.Consistency.Count, now.Seen.Records, now.Unseen.Consistency.Count, now.Unseen.Records))
	}
	p.line(fmt.Sprintf("Consistency: from %s to %s, %+.0f points: %s.", share(before.Share), share(now.Consistency.Share), 100*(now.Consistency.Share-before.Share), now.Status()))
	return nil
}
