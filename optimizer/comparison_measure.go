package optimizer

import (
	"context"
	"errors"
	"hash/fnv"
	"math"
	"time"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/tracing"
)

// report makes the report of what was answered; trials are by record, then by candidate.
func (c *comparison) report(ctx context.Context, candidates []candidate, trials [][]trial) *Comparison {
	full := &Comparison{Dataset: c.dataset.Version, Scorer: c.spec.Scorer, Ready: *c.spec.Ready, Records: make([]RecordReport, len(trials))}
	captured := c.spec.Baseline == nil
	if captured {
		full.Candidates = append(full.Candidates, CandidateReport{Name: "baseline", Baseline: true})
	}
	for i := range trials {
		rec := &c.dataset.Records[i]
		out := RecordReport{ID: rec.ID, Inputs: rec.Inputs, Messages: rec.Messages, Expected: rec.Expected}
		if captured {
			out.Answers = append(out.Answers, c.captured(ctx, rec, &full.Candidates[0]))
		}
		for k := range trials[i] {
			out.Answers = append(out.Answers, c.answer(&trials[i][k], candidates[k].baseline))
		}
		full.Records[i] = out
	}
	for _, cand := range candidates {
		r := CandidateReport{Name: cand.label(), Model: cand.Model, Prompt: shortPrompt(cand.Prompt), Parameters: cand.Parameters, Baseline: cand.baseline}
		seen := c.runs.seenBy(cand.version)
		r.Optimized = seen != nil
		k := len(full.Candidates)
		for i := range full.Records {
			full.Records[i].Answers[k].Seen = seen[full.Records[i].ID]
		}
		full.Candidates = append(full.Candidates, r)
	}
	for k := range full.Candidates {
		c.measure(full, k)
	}
	for i := range full.Records {
		for k, a := range full.Records[i].Answers {
			full.Records[i].Differs = full.Records[i].Differs || !full.Candidates[k].Baseline && a.Agrees != nil && !*a.Agrees
		}
	}
	markFrontier(full.Candidates)
	full.Summary = summarize(full.Candidates)
	return full
}

// answer is what the report says of one answer.
func (c *comparison) answer(t *trial, baseline bool) AnswerReport {
	var a AnswerReport
	if t.Err != nil {
		a.Error = t.Err.Error()
		if fault, ok := errors.AsType[*routing.AskError](t.Err); ok {
			a.Trace = fault.Trace
		}
		return a
	}
	a.Output, a.Trace, a.CostUSD, a.FormatBroken = shown(t.Reply), t.Trace, t.CostUSD, t.FormatBroken
	a.LatencyMS = milliseconds(t.Duration)
	if t.FirstToken > 0 {
		a.TTFTMS = milliseconds(t.FirstToken)
	}
	if t.Usage != nil {
		a.InputTokens, a.OutputTokens = int(t.Usage.Input), int(t.Usage.Output)
	}
	if t.Unjudged != nil {
		a.Error = t.Unjudged.Error()
	}
	if t.Score != nil {
		a.Score, a.Why, a.Parts, a.label = &t.Score.Value, t.Score.Why, t.Score.Parts, t.Score.Label
	}
	switch {
	case baseline:
		agrees := true
		a.Agrees = &agrees
	case t.Agrees != nil:
		agrees := t.Agrees.Value >= c.agreeAt()
		a.Agrees = &agrees
		if a.Why == "" && !agrees {
			a.Why = t.Agrees.Why
		}
	}
	return a
}

// captured is the baseline's answer to a record as its trace has it; r learns which model it was.
func (c *comparison) captured(ctx context.Context, rec *Record, r *CandidateReport) AnswerReport {
	a := AnswerReport{Output: plain(rec.Expected), Trace: rec.Trace}
	if known(rec.Expected) {
		agrees, score := true, 1.0
		a.Agrees, a.Score = &agrees, &score
	}
	if rec.Trace == "" || c.runs.traces == nil {
		return a
	}
	t, err := c.runs.traces.Trace(ctx, rec.Trace)
	if err != nil { // it is not kept any more
		return a
	}
	r.describe(&t.Row)
	a.LatencyMS, a.TTFTMS, a.CostUSD = &t.DurationMS, t.TTFTMS, t.CostUSD
	if t.Usage != nil {
		a.InputTokens, a.OutputTokens = usageOf(t.Usage)
	}
	return a
}

// describe takes model and prompt from a trace, if they are the same in all.
func (r *CandidateReport) describe(t *tracing.Row) {
	if t.Provider == nil || t.Model == nil {
		return
	}
	model := *t.Provider + "/" + *t.Model
	switch r.Model {
	case "", model:
		r.Model = model
	default:
		r.Model = "several models"
	}
	if t.Prompt == nil {
		return
	}
	prompt := promptLabel(t.Prompt.Name, t.Prompt.Version)
	switch r.Prompt {
	case "", prompt:
		r.Prompt = prompt
	default:
		r.Prompt = "several versions"
	}
}

func milliseconds(d time.Duration) *float64 {
	ms := float64(d.Microseconds()) / 1000
	return &ms
}

// measure fills in what the answers of candidate k amount to.
func (c *comparison) measure(full *Comparison, k int) {
	r := &full.Candidates[k]
	var latency, ttft []float64
	var cost float64
	all, seen, unseen := new(tally), new(tally), new(tally)
	answers, priced := 0, 0
	var labels []scorer.Labelled
	labelled := false
	for i := range full.Records {
		a := &full.Records[i].Answers[k]
		rec := &c.dataset.Records[i]
		base := &full.Records[i].Answers[0]
		switch {
		case a.Error != "" && a.Output == "" && a.LatencyMS == nil:
			r.Errors++
		case a.Error != "":
			r.Unjudged++
		}
		if a.Output != "" || a.LatencyMS != nil {
			answers++
		}
		if a.LatencyMS != nil {
			latency = append(latency, *a.LatencyMS)
		}
		if a.TTFTMS != nil {
			ttft = append(ttft, *a.TTFTMS)
		}
		r.InputTokens += a.InputTokens
		r.OutputTokens += a.OutputTokens
		if a.CostUSD != nil {
			cost += *a.CostUSD
			priced++
		}
		if a.FormatBroken {
			r.FormatBreaks++
		}
		if a.Score != nil {
			labels = append(labels, scorer.Labelled{Expected: plain(rec.Expected), Found: a.label})
			labelled = labelled || a.label != ""
		}
		all.add(a, base, weightOf(rec))
		if r.Optimized {
			part := unseen
			if a.Seen {
				part = seen
			}
			part.add(a, base, weightOf(rec))
		}
	}
	seed := seedOf(c.dataset.Version.Hash)
	r.Consistency, r.Score = shareOf(all.agreed, all.compared), meanOf(all.scores, all.weights, seed)
	if !r.Baseline {
		r.Difference = differenceOf(all.paired, all.pairedBase, all.pairedWeights, seed)
	}
	if r.Optimized {
		r.Seen, r.Unseen = seen.part(seed), unseen.part(seed)
	}
	r.LatencyMS, r.TTFTMS = quantilesOf(latency), quantilesOf(ttft)
	if answers > 0 && priced == answers {
		per := cost / float64(answers) * 1000
		r.CostUSD, r.CostPer1K = &cost, &per
		if tokens := r.InputTokens + r.OutputTokens; tokens > 0 {
			million := cost / float64(tokens) * 1e6
			r.CostPerMillion = &million
		}
	}
	if labelled {
		confusion := scorer.Confuse(labels)
		r.Confusion = &confusion
	}
	r.judge(c.spec.Ready.Consistency, len(full.Records))
}

// tally counts a candidate's answers.
type tally struct {
	records, agreed, compared         int
	scores, weights                   []float64
	paired, pairedBase, pairedWeights []float64
}

func (t *tally) add(a, base *AnswerReport, weight float64) {
	t.records++
	if a.Agrees != nil {
		t.compared++
		if *a.Agrees {
			t.agreed++
		}
	}
	if a.Score == nil {
		return
	}
	t.scores, t.weights = append(t.scores, *a.Score), append(t.weights, weight)
	if base.Score != nil {
		t.paired, t.pairedBase, t.pairedWeights = append(t.paired, *a.Score), append(t.pairedBase, *base.Score), append(t.pairedWeights, weight)
	}
}

func (t *tally) part(seed uint64) *Part {
	return &Part{Records: t.records, Consistency: shareOf(t.agreed, t.compared), Score: meanOf(t.scores, t.weights, seed)}
}

func weightOf(r *Record) float64 {
	if r.Weight == nil {
		return 1
	}
	return *r.Weight
}

// seedOf makes intervals the same for the same records.
func seedOf(hash string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(hash))
	return h.Sum64()
}

// markFrontier marks the candidates on the Pareto front of quality, cost and latency, those of the three that are known of all.
func markFrontier(list []CandidateReport) {
	points := make([][]float64, len(list))
	for i := range list {
		points[i] = []float64{-list[i].quality(), value(list[i].CostPer1K), math.NaN()}
		if list[i].LatencyMS != nil {
			points[i][2] = list[i].LatencyMS.P50
		}
	}
	for axis := 2; axis >= 0; axis-- {
		known := true
		for _, p := range points {
			known = known && !math.IsNaN(p[axis])
		}
		if !known {
			for i := range points {
				points[i] = append(points[i][:axis:axis], points[i][axis+1:]...)
			}
		}
	}
	for i, d := range dominated(points) {
		list[i].Frontier = !d
	}
}

// quality is the score where records expect something, else the consistency; NaN: neither.
func (r *CandidateReport) quality() float64 {
	switch {
	case r.Score != nil:
		return r.Score.Mean
	case r.Consistency.Of > 0:
		return r.Consistency.Share
	}
	return math.NaN()
}

func value(p *float64) float64 {
	if p == nil {
		return math.NaN()
	}
	return *p
}
