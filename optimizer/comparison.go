package optimizer

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
)

// comparison is the job of a comparison run.
type comparison struct {
	runs     *Runs
	spec     *ComparisonSpec
	dataset  *loaded
	versions []*prompts.Version // of the candidates' prompts; nil: none
	baseline *prompts.Version
	judging  *judging
	labelled []Record
}

// block is how many records are asked about before their answers are judged.
const block = 32

// trial is one candidate's answer to one record, judged.
type trial struct {
	answered
	Answer scorer.Answer
	// Score is against what the record expects, Agrees against the baseline's answer. Nil: there is none, for Err or Unjudged.
	Score, Agrees *scorer.Score
	Unjudged      error
}

func (c *comparison) run(ctx context.Context, s *session) (report, result any, err error) {
	if u, ok := c.judging.Scorer.(scorer.ModelUser); ok {
		u.UseModels(s)
	}
	candidates := c.candidates()
	total := len(c.dataset.Records) * len(candidates)
	trials := make([][]trial, 0, len(c.dataset.Records))
	short := ""
	for from := 0; from < len(c.dataset.Records); from += block {
		records := c.dataset.Records[from:min(from+block, len(c.dataset.Records))]
		part, err := c.block(ctx, s, records, candidates)
		if errors.Is(err, errBudget) {
			short = "the budget was used up after " + strconv.Itoa(from) + " of " + strconv.Itoa(len(c.dataset.Records)) + " records"
			break
		}
		if err != nil {
			return nil, nil, err
		}
		trials = append(trials, part...)
		s.progress(len(trials)*len(candidates), total)
	}
	if len(trials) == 0 && short != "" {
		return nil, nil, errors.New(short + ": there is nothing to compare")
	}
	agreement, err := c.agreement(ctx, s)
	if err != nil {
		return nil, nil, err
	}
	full := c.report(ctx, candidates, trials)
	full.Incomplete, full.Agreement = short, agreement
	full.Calls, full.SpentUSD = s.ledger.spending()
	for i := range full.Candidates {
		if err := s.note(ctx, "candidate", full.Candidates[i]); err != nil {
			return nil, nil, err
		}
	}
	return full, full.Short(), nil
}

// candidate is one to be asked.
type candidate struct {
	*CandidateSpec
	version  *prompts.Version
	baseline bool
}

// candidates are all that is asked, a live baseline first.
func (c *comparison) candidates() []candidate {
	var list []candidate
	if c.spec.Baseline != nil {
		list = append(list, candidate{c.spec.Baseline, c.baseline, true})
	}
	for i := range c.spec.Candidates {
		list = append(list, candidate{&c.spec.Candidates[i], c.versions[i], false})
	}
	return list
}

// block asks all candidates about some records, and judges what they answer.
func (c *comparison) block(ctx context.Context, s *session, records []Record, candidates []candidate) ([][]trial, error) {
	var questions []asked
	for i := range records {
		for _, cand := range candidates {
			q, err := cand.question(&records[i], *c.spec.Stream)
			if err != nil {
				return nil, err
			}
			q.Tags = s.run.tags("comparison", map[string]string{"record": records[i].ID, "candidate": cand.label()})
			questions = append(questions, q)
		}
	}
	answers, err := s.ask(ctx, questions)
	if err != nil {
		return nil, err
	}
	out := make([][]trial, len(records))
	group, inside := errgroup.WithContext(ctx)
	group.SetLimit(s.parallel)
	for i := range records {
		out[i] = make([]trial, len(candidates))
		for k := range candidates {
			out[i][k] = newTrial(answers[i*len(candidates)+k])
		}
		group.Go(func() error { return c.judge(inside, s, &records[i], out[i]) })
	}
	return out, group.Wait()
}

func newTrial(a answered) trial {
	t := trial{answered: a}
	if a.Err == nil {
		t.Answer = scorer.Answer{Text: a.Text, ToolCalls: toolCalls(a.Reply)}
	}
	return t
}

// judge judges the answers to one record.
func (c *comparison) judge(ctx context.Context, s *session, rec *Record, trials []trial) error {
	reference := rec.Expected
	if c.spec.Baseline != nil {
		if reference = nil; trials[0].Err == nil {
			reference = expectedOf(trials[0].Reply)
		}
	}
	for k := range trials {
		t := &trials[k]
		if t.Err != nil {
			continue
		}
		var err error
		if known(rec.Expected) {
			if t.Score, err = c.judged(ctx, s, rec, rec.Expected, t); err != nil {
				return err
			}
		}
		switch {
		case !known(reference):
		case c.spec.Baseline == nil:
			t.Agrees = t.Score
		default:
			if t.Agrees, err = c.judged(ctx, s, rec, reference, t); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *comparison) judged(ctx context.Context, s *session, rec *Record, expected json.RawMessage, t *trial) (*scorer.Score, error) {
	score, err := judgeRepeatedly(ctx, s, c.judging, caseOf(rec, expected), t.Answer)
	if err != nil {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if ends(err) {
			return nil, err
		}
		t.Unjudged = err
		return nil, nil
	}
	return &score, nil
}

// judgeRepeatedly is the mean of as many judgements as the scorer wants, with the words of the worst.
func judgeRepeatedly(ctx context.Context, s *session, j *judging, c scorer.Case, a scorer.Answer) (scorer.Score, error) {
	repeats := repeatsOf(j.Scorer)
	var mean scorer.Score
	sum, worst := 0.0, 2.0
	for a.Repeat = range repeats {
		one, err := s.judge(ctx, j, c, a)
		if err != nil {
			return mean, err
		}
		sum += one.Value
		if one.Value < worst {
			worst, mean = one.Value, one
		}
	}
	mean.Value = sum / float64(repeats)
	return mean, nil
}

// repeatsOf is how often an answer is judged.
func repeatsOf(s scorer.Scorer) int {
	n, ok := s.(scorer.Noisy)
	if !ok {
		return 1
	}
	return cmp.Or(max(n.Repeats(), 0), unsure)
}

// isNoisy reports whether a scorer is not sure of itself.
func isNoisy(s scorer.Scorer) bool {
	n, ok := s.(scorer.Noisy)
	return ok && n.Repeats() != 1
}

// unsure is how often an answer is judged by a scorer that is not sure of itself, and does not say how often it wants to be asked.
const unsure = 3

func known(expected json.RawMessage) bool { return len(expected) > 0 && string(expected) != "null" }

// question renders a candidate's prompt for a record.
func (c *candidate) question(rec *Record, stream bool) (asked, error) {
	q := asked{Question: routing.Question{Model: c.Model, Messages: rec.Messages, Parameters: c.Parameters, Config: c.version, Stream: stream}}
	if c.version == nil {
		return q, nil
	}
	messages, err := c.version.Render(rec.Inputs)
	if err != nil {
		return q, err
	}
	if q.Messages, err = json.Marshal(messages); err != nil {
		return q, err
	}
	q.Prompt = call.ServedPrompt{Name: c.version.Name, Version: c.version.Version}
	return q, nil
}

// expectedOf is an answer as a record expects one: a text, or tool calls.
func expectedOf(r *routing.Reply) json.RawMessage {
	var v any = r.Text
	if r.Text == "" && len(r.ToolCalls) > 0 {
		v = toolCalls(r)
	}
	doc, _ := json.Marshal(v)
	return doc
}

// caseOf is a record as scorers have it.
func caseOf(rec *Record, expected json.RawMessage) scorer.Case {
	c := scorer.Case{ID: rec.ID, Inputs: rec.Inputs, Expected: expected}
	if len(rec.Messages) > 0 {
		_ = json.Unmarshal(rec.Messages, &c.Messages) // messages of parts have no place in a case
	}
	return c
}

// agreement has the labelled answers judged, and compares with what people say of them.
func (c *comparison) agreement(ctx context.Context, s *session) (*scorer.Agreement, error) {
	if len(c.labelled) == 0 {
		return nil, nil
	}
	var pairs []scorer.Rated
	for i := range c.labelled {
		rec := &c.labelled[i]
		human, err := strconv.ParseFloat(rec.Tags["score"], 64)
		if err != nil {
			return nil, err // the plan has looked
		}
		score, err := judgeRepeatedly(ctx, s, c.judging, caseOf(rec, rec.Expected), scorer.Answer{Text: rec.Tags["answer"]})
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if ends(err) {
			return nil, err
		}
		if err == nil {
			pairs = append(pairs, scorer.Rated{Human: human, Scorer: score.Value})
		}
	}
	a := scorer.Agree(pairs, c.agreeAt())
	return &a, nil
}

// agreeAt is the score from which two answers agree.
func (c *comparison) agreeAt() float64 { return c.spec.Ready.Agree }
