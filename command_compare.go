package frontier

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/optimizer"
)

func (c *cli) compareCommand() *cobra.Command {
	var (
		flags                                    runFlags
		candidates                               []string
		baseline, prompt, ready, agree, labelled string
	)
	cmd := c.command("compare [MODEL…]", "Compares models and prompts with what runs now", `
Asks each candidate about each record of a dataset, scores the answers and says of
each candidate whether it can take the place of the baseline. The baseline's answers
are those that the dataset has (of traces, where it was captured); or, with
--baseline, those of a model that is asked as well.

A candidate is a model, with what comes after commas: prompt=NAME/VERSION,
name=NAME for the report, and any parameter of the request, such as temperature=0.
Models as arguments are candidates without more. --prompt is the prompt of all that
name none.

Ready means that the answers of a candidate agree with the baseline's on at least
--ready of the records: by the lower end of the 95 % interval, or, with fewer than
35 records, by the share itself and the words "small sample". docs/evaluation.md
says what the figures mean.

Exit codes: 0 a candidate is ready; 3 none is, or the records cannot decide
(with --strict, one that is ready by a small sample only does not count); 1 the run
failed; 130 interrupted: the run goes on without this command.

	$ caddy llm compare openai/gpt-4o-mini --dataset reviews --prompt senti@production
	$ caddy llm compare --dataset reviews/2 --baseline openai/gpt-4,prompt=senti/1 --candidate openai/gpt-4o-mini,prompt=senti/1 --candidate openai/gpt-4o-mini,prompt=senti/2,temperature=0 --scorer label:positive,negative,neutral
	$ caddy llm compare openai/gpt-4o-mini --dataset reviews --prompt senti --budget-usd 2.50 --dry-run`, anyNumber, func(r *request, args []string) error {
		spec := optimizer.ComparisonSpec{Dataset: flags.dataset, Labelled: labelled, Budget: flags.budget(), Parallelism: flags.parallelism}
		if err := flags.check(r.cmd); err != nil {
			return err
		}
		for _, list := range []struct {
			what  string
			given []string
		}{{"candidate", args}, {"--candidate", candidates}} {
			for _, given := range list.given {
				cand, err := parseCandidate(list.what, given, prompt)
				if err != nil {
					return err
				}
				spec.Candidates = append(spec.Candidates, *cand)
			}
		}
		if len(spec.Candidates) == 0 {
			return usagef("there is no candidate: want a model, such as caddy llm compare openai/gpt-4o-mini --dataset %s, or --candidate", flags.dataset)
		}
		var err error
		if baseline != "" {
			if spec.Baseline, err = parseCandidate("--baseline", baseline, prompt); err != nil {
				return err
			}
		}
		if spec.Scorer, err = parseModule("scorer", flags.scorer); err != nil {
			return err
		}
		var want optimizer.ReadySpec
		if ready != "" {
			if want.Consistency, err = parseShare("ready", ready); err != nil {
				return err
			}
		}
		if agree != "" {
			if want.Agree, err = parseShare("agree", agree); err != nil {
				return err
			}
		}
		if want != (optimizer.ReadySpec{}) {
			spec.Ready = &want
		}
		return r.begin("/llm/comparisons", spec, &flags, newRunWatch(r))
	})
	flags.register(c, cmd)
	f := cmd.Flags()
	f.StringArrayVar(&candidates, "candidate", nil, "A candidate: MODEL[,prompt=PROMPT][,name=NAME][,PARAMETER=VALUE…]; may be repeated")
	f.StringVar(&baseline, "baseline", "", "What candidates are compared with, asked like one: MODEL[,prompt=PROMPT]…")
	f.StringVar(&prompt, "prompt", "", "The prompt of the candidates and the baseline that name none")
	f.StringVar(&ready, "ready", "", "On which share of the records a candidate must agree (default 0.9)")
	f.StringVar(&agree, "agree", "", "The score from which two answers agree (default 1; 0.5 with a judge)")
	f.StringVar(&labelled, "labelled", "", "A dataset of judgements by people, with which the scorer is compared")
	f.BoolVar(&flags.strict, "strict", false, "Do not count a candidate that is ready by a small sample only")
	c.completeFlag(cmd, "prompt", "/llm/prompts")
	c.completeFlag(cmd, "candidate", "/llm/models")
	c.completeFlag(cmd, "baseline", "/llm/models")
	c.completeFlag(cmd, "labelled", "/llm/datasets")
	return cmd
}

// anyNumber takes as many arguments as there are.
func anyNumber(*cobra.Command, []string) error { return nil }

// parseCandidate reads MODEL[,name=value…]. Values are JSON or texts; JSON may have commas in it.
func parseCandidate(what, given, prompt string) (*optimizer.CandidateSpec, error) {
	model, rest, more := strings.Cut(given, ",")
	if !strings.Contains(model, "/") || strings.Contains(model, "=") {
		return nil, usagef("%s %s: want MODEL[,prompt=PROMPT][,name=NAME][,PARAMETER=VALUE…] with a model such as openai/gpt-4o-mini", what, given)
	}
	c := &optimizer.CandidateSpec{Model: model}
	for more {
		var name, value string
		var err error
		if name, value, rest, more, err = nextMember(rest); err != nil {
			return nil, usagef("%s %s: %s", what, given, err)
		}
		switch _, twice := c.Parameters[name]; {
		case twice, name == "prompt" && c.Prompt != "", name == "name" && c.Name != "":
			return nil, usagef("%s %s: %s is given twice", what, given, name)
		case name == "prompt":
			c.Prompt = value
		case name == "name":
			c.Name = value
		default:
			if c.Parameters == nil {
				c.Parameters = map[string]json.RawMessage{}
			}
			c.Parameters[name] = parseParameter(value)
		}
	}
	if c.Prompt == "" {
		c.Prompt = prompt
	}
	return c, nil
}

// nextMember cuts name=value off a list with commas between.
func nextMember(list string) (name, value, rest string, more bool, err error) {
	name, after, ok := strings.Cut(list, "=")
	if name = strings.TrimSpace(name); !ok || name == "" || strings.Contains(name, ",") {
		return "", "", "", false, fmt.Errorf("%q: want name=value, such as prompt=senti/2 or temperature=0", list)
	}
	if after != "" && strings.ContainsRune(`{["`, rune(after[0])) {
		d := json.NewDecoder(bytes.NewReader([]byte(after)))
		var raw json.RawMessage
		if d.Decode(&raw) == nil {
			if rest = after[d.InputOffset():]; rest == "" || rest[0] == ',' {
				return name, string(raw), strings.TrimPrefix(rest, ","), rest != "", nil
			}
		}
	}
	value, rest, more = strings.Cut(after, ",")
	if value == "" {
		return "", "", "", false, fmt.Errorf("%s has no value", name)
	}
	return name, value, rest, more, nil
}
