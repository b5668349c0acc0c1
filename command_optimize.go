package frontier

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/optimizer"
	"github.com/caddy-frontier/frontier/optimizer/search"
)

// mostLines is how many lines that earned something are shown.
const mostLines = 5

func (c *cli) optimizeCommand() *cobra.Command {
	var (
		flags                                        runFlags
		model, reflector, optimizerFlag, registering string
		train                                        int
		seed                                         uint64
		instructionsOnly, verbose                    bool
		params                                       []string
	)
	cmd := c.command("optimize PROMPT", "Makes a prompt better for a model", `
Looks for a better prompt for a model: scores the prompt on the records, proposes
changes, tries them, and keeps what earns its place. A prompt that is proven better
becomes the next version; that the original is kept is a normal result, too. The
variables of the prompt are never touched, and no alias moves.

The budget is 300 calls unless a flag says otherwise, and is never exceeded.

Exit codes: 0 a version was registered (with --register never: a better one was
found); 3 the original is kept; 1 the run failed; 130 interrupted: the run goes on
without this command.

	$ caddy llm optimize senti@production --model openai/gpt-4o-mini --dataset reviews
	$ caddy llm optimize senti/1 --model openai/gpt-4o-mini --reflector openai/gpt-4 --dataset reviews/2 --train 40 --param temperature=0 --budget-calls 500 --budget-usd 5 -v
	$ caddy llm optimize senti --model openai/gpt-4o-mini --dataset reviews --dry-run`, exactly("PROMPT"), func(r *request, args []string) error {
		if err := flags.check(r.cmd); err != nil {
			return err
		}
		if model == "" {
			return usagef("--model is missing: want the model that the prompt is for, such as --model openai/gpt-4o-mini")
		}
		changed := r.cmd.Flags().Changed
		if changed("train") && train < 1 {
			return usagef("--train %d: want 1 or more records; leave it away for all", train)
		}
		if changed("seed") && seed == 0 {
			return usagef("--seed 0: want 1 or more")
		}
		spec := optimizer.OptimizationSpec{
			Prompt: args[0], Model: model, Dataset: flags.dataset, Train: train, Reflector: reflector, InstructionsOnly: instructionsOnly,
			Budget: flags.budget(), Parallelism: flags.parallelism, Seed: seed, Register: optimizer.Register(registering),
		}
		if all := []optimizer.Register{"", optimizer.RegisterIfBetter, optimizer.RegisterAlways, optimizer.RegisterNever}; !slices.Contains(all, spec.Register) {
			return usagef("--register %s: want if_better, always or never", registering)
		}
		var err error
		if spec.Scorer, err = parseModule("scorer", flags.scorer); err != nil {
			return err
		}
		if spec.Optimizer, err = parseModule("optimizer", optimizerFlag); err != nil {
			return err
		}
		if spec.Parameters, err = requestParameters("param", params); err != nil {
			return err
		}
		w := newRunWatch(r)
		w.verbose = verbose
		return r.begin("/llm/optimizations", spec, &flags, w)
	})
	flags.register(c, cmd)
	f := cmd.Flags()
	f.StringVar(&model, "model", "", "The model that the prompt is for, provider/model-id")
	f.StringVar(&reflector, "reflector", "", "The model that proposes prompts, a strong one (default: the model itself)")
	f.StringVar(&optimizerFlag, "optimizer", "", "How it is searched: frontier, few_shot, rewrite, or the JSON of one, or a file of that (default frontier)")
	f.IntVar(&train, "train", 0, "From how many records is learned; the others stay unseen (default all)")
	f.BoolVar(&instructionsOnly, "instructions-only", false, "Put no solved examples into the prompt")
	f.StringArrayVar(&params, "param", nil, "A parameter of the requests, such as temperature=0; may be repeated")
	f.Uint64Var(&seed, "seed", 0, "Begins what is random in the search (default 1)")
	f.StringVar(&registering, "register", "", "When the result becomes a version: if_better, always or never (default if_better)")
	f.BoolVarP(&verbose, "verbose", "v", false, "Show each step")
	c.completeFlag(cmd, "model", "/llm/models")
	c.completeFlag(cmd, "reflector", "/llm/models")
	return cmd
}

// optimizationResult prints what an optimisation found.
func (r *request) optimizationResult(run *optimizer.Run) error {
	var spec optimizer.OptimizationSpec
	if err := json.Unmarshal(run.Spec, &spec); err != nil {
		return fmt.Errorf("reading the spec of run %s: %w", run.ID, err)
	}
	answer, err := r.server.do(r.ctx, http.MethodGet, "/llm/runs"+segments(run.ID, "report.json"), nil, nil)
	if err != nil {
		return err
	}
	var o optimizer.Optimization
	if err := r.decode(answer, &o); err != nil {
		return err
	}
	var changes []string
	for _, change := range []string{"fixed", "better", "worse", "broken"} {
		n := 0
		for i := range o.Records {
			if o.Records[i].Change == change {
				n++
			}
		}
		if n > 0 {
			changes = append(changes, fmt.Sprintf("%d %s", n, change))
		}
	}
	outcome := o.Registered
	if outcome == "" {
		outcome = "the original is kept"
		if o.Better && spec.Register == optimizer.RegisterNever {
			outcome = "a better one, not registered (--register never)"
		}
	}
	spent := "at an unknown cost"
	if o.SpentUSD != nil {
		spent = "for " + dollars(o.SpentUSD)
	}
	r.line("")
	r.fields(
		field{"prompt", strings.TrimPrefix(o.Prompt, "prompts:/") + " for " + o.Model},
		field{"learned from", fmt.Sprintf("%s of %s records of %s/%d", count(float64(o.Learned)), count(float64(o.Dataset.Records)), o.Dataset.Name, o.Dataset.Version)},
		field{"score", scores(o.Before, o.After)},
		field{"records", strings.Join(changes, ", ")},
		field{"result", outcome},
		field{"evidence", evidenceText(&o.OptimizationResult)},
		field{"why", o.Reason},
		field{"spent", calls(o.Calls) + " " + spent},
	)
	if o.Diff != "" {
		title := "What changed"
		if o.Registered == "" {
			title = "The best that was found"
		}
		r.heading(title)
		r.diff(o.Diff)
	}
	r.earned(&o)
	r.line("")
	r.nextSteps(run.ID, &o, &spec)
	return nil
}

func scores(before, after *float64) string {
	if before == nil || after == nil {
		return "unknown"
	}
	return share1(*before) + " → " + share1(*after)
}

func evidenceText(o *optimizer.OptimizationResult) string {
	switch {
	case !o.Better && o.Registered == "":
		return "" // the reason says what there is
	case o.Evidence == "holdout":
		return "holdout: on records that the search did not use"
	case o.Evidence == "small_sample":
		return "small sample: it gains, and loses on no record; too few of them to prove it"
	case o.Registered != "":
		return "none: it is registered because --register says always"
	}
	return ""
}

// earned prints the lines of the new prompt that earned most.
func (r *request) earned(o *optimizer.Optimization) {
	lines := slices.Clone(o.Lines)
	slices.SortStableFunc(lines, func(a, b search.Line) int { return cmp.Compare(b.Earned, a.Earned) })
	lines = slices.DeleteFunc(lines, func(l search.Line) bool { return l.Earned <= 0 })
	if len(lines) == 0 {
		return
	}
	r.heading("What earned most")
	for _, l := range lines[:min(len(lines), mostLines)] {
		r.wrapped(fmt.Sprintf("  %+5.1f points  ", 100*l.Earned), printable(excerpted(l.Text, 200), false))
	}
}

// nextSteps says what one does with the result.
func (r *request) nextSteps(id string, o *optimizer.Optimization, spec *optimizer.OptimizationSpec) {
	if o.Registered == "" {
		if o.Diff != "" {
			r.note("The template of the best that was found: caddy llm runs report %s --json", id)
		}
		r.note("The whole search: caddy llm runs report %s --html --output report.html", id)
		return
	}
	name, version, _ := strings.Cut(strings.TrimPrefix(o.Registered, "prompts:/"), "/")
	r.line("Next:")
	scored := string(spec.Scorer)
	if json.Unmarshal(spec.Scorer, &scored) != nil {
		scored = "'" + strings.ReplaceAll(scored, "'", `'\''`) + "'"
	}
	r.shell(fmt.Sprintf("caddy llm compare --dataset %s/%d --candidate %s,prompt=%s --candidate %s,prompt=%s/%s --scorer %s",
		o.Dataset.Name, o.Dataset.Version, o.Model, strings.TrimPrefix(o.Prompt, "prompts:/"), o.Model, name, version, printable(scored, false)))
	r.shell(fmt.Sprintf("caddy llm prompts alias %s candidate %s", name, version))
	r.shell(fmt.Sprintf("caddy llm runs report %s --html --output report.html", id))
}
