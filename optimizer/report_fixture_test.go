package optimizer

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/optimizer/search"
	"github.com/caddy-frontier/frontier/prompts"
)

func finishedRun(kind Kind) *Run {
	ended := time.Date(2026, 3, 4, 9, 31, 12, 0, time.UTC)
	return &Run{ID: "01JNQ8W3", Kind: kind, State: Succeeded, Created: ended.Add(-74 * time.Second), Ended: &ended, WorkedMS: 73_400, Actor: "ada"}
}

// reviews are the records of the fixtures: what was said, what the baseline
// answers, and what the cheap model answers with the original prompt.
var reviews = []struct{ text, base, original, optimised string }{
	{"Arrived on time and works like a charm.", "positive", "positive", "positive"},
	{"Stopped charging after two days.", "negative", "negative", "negative"},
	{"It is a cable. It is one metre long.", "neutral", "positive", "neutral"},
	{"Great, another update that breaks everything | thanks `team`", "negative", "positive", "negative"},
	{"Does what it says.", "neutral", "Neutral to positive", "neutral"},
	{"I would buy it again <3", "positive", "positive", "positive"},
	{"The box was empty.", "negative", "negative", "negative"},
	{"My daughter loves it!", "positive", "positive", "positive"},
	{"Colour differs a little from the picture,\nbut fine.", "neutral", "negative", "neutral"},
	{"Worst support I have ever had to deal with.", "negative", "negative", "negative"},
}

// sentiment is a comparison of two prompts of a cheap model with what runs now.
func sentiment() *Comparison {
	c := &Comparison{
		Dataset: DatasetRef{Name: "sentiment", Version: 3, Hash: "sha256:9f2c41d07be5", Records: len(reviews)}, Scorer: json.RawMessage(`{"scorer":"label","labels":["negative","neutral","positive"]}`),
		Ready: ReadySpec{Consistency: 0.9, Agree: 1}, Calls: 30,
		Candidates: []CandidateReport{
			{Name: "openai/gpt-4 sentiment/1", Model: "openai/gpt-4", Prompt: "sentiment/1", Baseline: true},
			{Name: "openai/gpt-4o-mini sentiment/1", Model: "openai/gpt-4o-mini", Prompt: "sentiment/1"},
			{Name: "openai/gpt-4o-mini sentiment/2", Model: "openai/gpt-4o-mini", Prompt: "sentiment/2", Optimized: true},
		},
	}
	milli, perToken := []float64{802, 298, 301}, []float64{30e-6, 0.6e-6, 0.6e-6}
	for i, r := range reviews {
		expected, _ := json.Marshal(r.base)
		rec := RecordReport{ID: fmt.Sprintf("r-%02d", i+1), Inputs: map[string]string{"text": r.text}, Expected: expected}
		for k, output := range []string{r.base, r.original, r.optimised} {
			agrees, score := output == r.base, 0.0
			a := AnswerReport{Output: output, Agrees: &agrees, Score: &score, InputTokens: 41 + 12*(k/2) + len(r.text)/4, OutputTokens: 2, Trace: fmt.Sprintf("%032x", 100*k+i+1), label: output}
			if agrees {
				score = 1
			} else {
				a.Why = fmt.Sprintf("says %q where %q is expected", output, r.base)
			}
			if output == "Neutral to positive" {
				a.label, a.FormatBroken, a.Why = "", true, "names two of the labels"
			}
			latency := milli[k] * (0.86 + 0.04*float64((7*i+3*k)%10))
			if i == 6 {
				latency *= 2.1
			}
			ttft, cost := latency*0.42, perToken[k]*float64(a.InputTokens+a.OutputTokens)
			a.LatencyMS, a.TTFTMS, a.CostUSD = &latency, &ttft, &cost
			a.Seen = k == 2 && i < 5
			rec.Answers = append(rec.Answers, a)
			rec.Differs = rec.Differs || !agrees
		}
		c.Records = append(c.Records, rec)
	}
	spent := 0.0
	for k := range c.Candidates {
		total(c, k)
		spent += *c.Candidates[k].CostUSD
	}
	c.SpentUSD = &spent
	markFrontier(c.Candidates)
	c.Summary = summarize(c.Candidates)
	people := scorer.Agree([]scorer.Rated{{Human: 1, Scorer: 1}, {Human: 0, Scorer: 0}, {Human: 1, Scorer: 1}, {Human: 0, Scorer: 1}, {Human: 1, Scorer: 1}}, 0.5)
	c.Agreement = &people
	return c
}

// total fills in what a candidate's answers amount to.
func total(c *Comparison, k int) {
	r := &c.Candidates[k]
	var latency, ttft, scores, base, weights []float64
	var labels []scorer.Labelled
	agreed, cost := 0, 0.0
	for i := range c.Records {
		a := &c.Records[i].Answers[k]
		latency, ttft = append(latency, *a.LatencyMS), append(ttft, *a.TTFTMS)
		scores, base, weights = append(scores, *a.Score), append(base, *c.Records[i].Answers[0].Score), append(weights, 1)
		labels = append(labels, scorer.Labelled{Expected: plain(c.Records[i].Expected), Found: a.label})
		if *a.Agrees {
			agreed++
		}
		if a.FormatBroken {
			r.FormatBreaks++
		}
		r.InputTokens, r.OutputTokens, cost = r.InputTokens+a.InputTokens, r.OutputTokens+a.OutputTokens, cost+*a.CostUSD
	}
	n := float64(len(c.Records))
	million, thousand := cost/float64(r.InputTokens+r.OutputTokens)*1e6, cost/n*1000
	r.CostUSD, r.CostPerMillion, r.CostPer1K = &cost, &million, &thousand
	r.Consistency, r.Score, r.LatencyMS, r.TTFTMS = shareOf(agreed, len(scores)), meanOf(scores, weights, 1), quantilesOf(latency), quantilesOf(ttft)
	confusion := scorer.Confuse(labels)
	r.Confusion = &confusion
	if !r.Baseline {
		r.Difference = differenceOf(scores, base, weights, 1)
	}
	if r.Optimized {
		r.Seen = &Part{Records: 5, Consistency: shareOf(5, 5), Score: meanOf(scores[:5], weights[:5], 1)}
		r.Unseen = &Part{Records: 5, Consistency: shareOf(5, 5), Score: meanOf(scores[5:], weights[5:], 1)}
	}
	r.judge(c.Ready.Consistency, len(c.Records))
}

// improved is an optimisation that found a better prompt.
func improved(t testing.TB) *Optimization {
	t.Helper()
	parse := func(text string) prompts.Template {
		p, err := prompts.ParseText(text)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	original := parse("You read product reviews.\nSay whether the review is positive, negative or neutral.\n\nReview: {{text}}\n")
	best := parse("You read product reviews.\nAnswer with exactly one word: positive, negative or neutral.\nIrony counts as what is meant, not as what is said.\nA plain description without a judgement is neutral.\n\n```example\nReview: It is a lamp.\nneutral\n```\n\nReview: {{text}}\n")
	number := func(x float64) *float64 { return &x }
	o := &Optimization{
		OptimizationResult: OptimizationResult{
			Prompt: "prompts:/sentiment/1", Model: "openai/gpt-4o-mini", Dataset: DatasetRef{Name: "sentiment", Version: 3, Hash: "sha256:9f2c41d07be5", Records: len(reviews)},
			Registered: "prompts:/sentiment/2", Better: true, Evidence: "small_sample", Reason: "every record passes; of the prompts as good, this is the shortest",
			Before: number(0.6), After: number(1), Learned: len(reviews), Calls: 212, SpentUSD: number(0.0184),
		},
		Template: best, Original: original, Scorer: json.RawMessage(`"label"`),
		Lines: []search.Line{
			{Text: "Answer with exactly one word: positive, negative or neutral.", Earned: 0.12, Cases: 10},
			{Text: "Irony counts as what is meant, not as what is said.", Earned: 0.1, Cases: 10},
			{Text: "A plain description without a judgement is neutral.", Earned: 0.2, Cases: 10},
			{Text: "example: Review: It is a lamp. → neutral", Earned: -0.02, Cases: 6},
		},
		Curve: []CurvePoint{{10, 0.6}, {48, 0.7}, {96, 0.9}, {171, 1}},
	}
	from := prompts.Version{Name: "sentiment", Version: 1, URI: "prompts:/sentiment/1", Template: original}
	to := prompts.Version{Name: "sentiment", URI: "optimised", Template: best}
	o.Diff = prompts.Compare(&from, &to).Diff
	for i, tried := range []struct {
		move  string
		score float64
		cases int
	}{{"original", 0.6, 10}, {"rewrite", 0.7, 10}, {"demos", 0.5, 4}, {"reflect", 0.9, 10}, {"reflect", 0.4, 5}, {"demos", 0.75, 4}, {"reflect", 1, 10}, {"prune", 0.9, 10}} {
		calls := []int{10, 48, 60, 96, 110, 139, 171, 200}[i]
		o.Tried = append(o.Tried, TriedReport{Number: i, Parent: max(0, i-1), Move: tried.move, Score: number(tried.score), Cases: tried.cases, Calls: calls, Template: best})
	}
	for i, r := range reviews {
		id := fmt.Sprintf("r-%02d", i+1)
		expected, _ := json.Marshal(r.base)
		before, after := search.CaseScore{ID: id, Score: number(1), Output: r.original}, search.CaseScore{ID: id, Score: number(1), Output: r.optimised}
		if r.original != r.base {
			*before.Score, before.Why = 0, fmt.Sprintf("says %q where %q is expected", r.original, r.base)
		}
		o.Trained = append(o.Trained, id)
		o.Records = append(o.Records, BeforeAfter{ID: id, Inputs: map[string]string{"text": r.text}, Expected: expected, Before: before, After: after, Change: changeOf(before.Score, after.Score)})
	}
	return o
}

// forms writes a report in all forms, by their endings.
func forms(t testing.TB, run *Run, report any) map[string][]byte {
	t.Helper()
	doc, err := json.Marshal(report)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for ending, write := range map[string]func(*Run, json.RawMessage) ([]byte, error){"csv": writeCSV, "md": writeMarkdown, "html": writeHTML} {
		if out[ending], err = write(run, doc); err != nil {
			t.Fatalf("%s: %v", ending, err)
		}
	}
	return out
}
