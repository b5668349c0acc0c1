package optimizer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/optimizer/search"
	"github.com/caddy-frontier/frontier/prompts"
)

// optimization is the job of an optimisation run.
type optimization struct {
	runs      *Runs
	id        string
	spec      *OptimizationSpec
	dataset   *loaded
	train     []Record
	version   *prompts.Version
	judging   *judging
	optimizer search.Optimizer
}

func (o *optimization) run(ctx context.Context, s *session) (report, result any, err error) {
	if u, ok := o.judging.Scorer.(scorer.ModelUser); ok {
		u.UseModels(s)
	}
	l := o.lab(ctx, s)
	found, err := o.optimizer.Optimize(ctx, o.problem(), l)
	if err != nil {
		return nil, nil, err
	}
	l.kept = 0
	again, err := o.again(ctx, l, found)
	if err != nil {
		return nil, nil, err
	}
	full := o.report(found, again)
	if full.Registered, err = o.register(found, full); err != nil {
		return nil, nil, err
	}
	full.Calls, full.SpentUSD = s.ledger.spending()
	if err := s.note(ctx, "result", full.Short()); err != nil {
		return nil, nil, err
	}
	return full, full.Short(), nil
}

// lab is where the optimiser tries its prompts.
func (o *optimization) lab(ctx context.Context, s *session) *lab {
	l := &lab{
		ctx: ctx, session: s, model: o.spec.Model, reflector: o.spec.Reflector, parameters: o.spec.Parameters, judging: o.judging,
		original: o.version.Template, config: o.version, served: call.ServedPrompt{Name: o.version.Name, Version: o.version.Version},
		asks: asksOf(o.judging.Scorer),
	}
	for i := range o.train {
		l.cases = append(l.cases, caseOf(&o.train[i], o.train[i].Expected))
	}
	if again := 2 * len(l.cases) * (1 + l.asks); o.random() && again <= s.left()/4 {
		l.kept = again
	}
	return l
}

// random reports whether the model may answer the same request differently.
func (o *optimization) random() bool {
	raw, ok := o.spec.Parameters["temperature"]
	if !ok {
		raw, ok = o.version.ModelConfig["temperature"]
	}
	t, err := strconv.ParseFloat(string(bytes.TrimSpace(raw)), 64)
	return !ok || err != nil || t > 0
}

func (o *optimization) problem() search.Problem {
	p := search.Problem{
		Prompt: o.version.Template, Seed: o.spec.Seed, InstructionsOnly: o.spec.InstructionsOnly,
		Noisy: isNoisy(o.judging.Scorer), Random: o.random(),
	}
	for i := range o.train {
		rec := &o.train[i]
		p.Cases = append(p.Cases, search.Case{ID: rec.ID, Inputs: rec.Inputs, Expected: plain(rec.Expected), Weight: weightOf(rec)})
	}
	return p
}

// again scores the best prompt and the original with fresh answers, so that
// what is reported is not the luckiest of many. Where model and scorer always
// answer the same, there is nothing to ask again. Nil: the budget does not allow it, or there is no need.
func (o *optimization) again(ctx context.Context, l *lab, found *search.Result) (scores map[int][]search.Outcome, err error) {
	if !o.random() || found.Best.Number == found.Original.Number {
		return nil, nil
	}
	const fresh = 1000 // a repeat that no optimiser has asked for
	scores = map[int][]search.Outcome{}
	for _, c := range []search.Candidate{found.Original, found.Best} {
		var trials []search.Trial
		for i := range o.train {
			trials = append(trials, search.Trial{Prompt: c.Prompt, Case: i, Repeat: fresh})
		}
		out, err := l.Try(ctx, trials)
		if errors.Is(err, errBudget) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		scores[c.Number] = out
	}
	return scores, nil
}

// register makes the best prompt a version, if that is wanted; "": it was not made one.
func (o *optimization) register(found *search.Result, full *Optimization) (uri string, err error) {
	same := found.Best.Number == found.Original.Number
	if same || o.spec.Register == RegisterNever || o.spec.Register == RegisterIfBetter && !full.Better {
		return "", nil
	}
	// After a crash it may be there already.
	if p, ok := o.runs.registry.Current().Prompt(o.version.Name); ok {
		i := slices.IndexFunc(p.Versions, func(v *prompts.Version) bool { return v.Tags[TagRun] == o.id })
		if i >= 0 {
			return p.Versions[i].URI, nil
		}
	}
	tags := map[string]string{TagRun: o.id, TagModel: o.spec.Model}
	if full.Better {
		tags[TagEvidence] = full.Evidence
	}
	message := fmt.Sprintf("optimised for %s on %d records of %s: %s", o.spec.Model, len(o.train), o.spec.Dataset, full.gain())
	v, _, err := o.runs.registry.Register(prompts.Draft{
		Name: o.version.Name, Template: found.Best.Prompt, CommitMessage: message, Tags: tags,
		ResponseFormat: o.version.ResponseFormat, ModelConfig: o.version.ModelConfig, Author: "optimizer", Parent: o.version.Version,
	})
	if err != nil {
		return "", fmt.Errorf("registering the new version: %w", err)
	}
	return v.URI, nil
}

// plain is an expected answer as a text: a JSON string's own, or JSON in a line, with a space behind each colon and comma,
// as people and models write it.
func plain(expected json.RawMessage) string {
	var s string
	if json.Unmarshal(expected, &s) == nil {
		return s
	}
	var compact bytes.Buffer
	if json.Compact(&compact, expected) != nil {
		return string(expected)
	}
	var b strings.Builder
	quoted, escaped := false, false
	for _, c := range compact.Bytes() {
		b.WriteByte(c)
		switch {
		case escaped:
			escaped = false
		case quoted && c == '\\':
			escaped = true
		case c == '"':
			quoted = !quoted
		case !quoted && (c == ',' || c == ':'):
			b.WriteByte(' ')
		}
	}
	return b.String()
}
