package frontier

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/optimizer"
)

// runFlags are what commands that begin a run have in common.
type runFlags struct {
	change changeFlags

	dataset, scorer string
	calls           int
	usd             float64
	time            string
	parallelism     int
	dryRun, detach  bool
	report          string
	strict          bool
}

func (f *runFlags) register(c *cli, cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.dataset, "dataset", "", "The records: NAME or NAME/VERSION")
	flags.StringVar(&f.scorer, "scorer", "", "How answers are scored: a scorer's name, label:A,B,C, or its JSON, or a file of that")
	flags.IntVar(&f.calls, "budget-calls", 0, "Most calls to models, those of judges and reflectors included")
	flags.Float64Var(&f.usd, "budget-usd", 0, "Most US dollars to spend")
	flags.StringVar(&f.time, "budget-time", "", "Longest time to work, such as 30m")
	flags.IntVar(&f.parallelism, "parallelism", 0, "Calls at once, 1 to 64 (default 8)")
	flags.BoolVar(&f.dryRun, "dry-run", false, "Say what it would do and cost, and begin nothing")
	flags.BoolVar(&f.detach, "detach", false, "Begin the run and do not wait for it")
	flags.StringVar(&f.report, "report", "", "Write the report to this file, which ends in .html, .md, .csv or .json")
	f.change.register(cmd)
	c.completeFlag(cmd, "dataset", "/llm/datasets")
}

// check finds what is wrong with the flags before the server is asked.
func (f *runFlags) check(cmd *cobra.Command) error {
	if f.dataset == "" {
		return usagef("--dataset is missing: want --dataset NAME; caddy llm datasets list shows those there are")
	}
	if f.report != "" {
		if _, err := reportForm("report", f.report); err != nil {
			return err
		}
		switch {
		case f.detach:
			return usagef("--report needs the run's end: leave --detach away, or later: caddy llm runs report RUN --output %s", f.report)
		case f.dryRun:
			return usagef("--report needs a run: leave --dry-run away")
		}
	}
	if f.dryRun && f.detach {
		return usagef("--dry-run begins no run to detach from: leave one of them away")
	}
	changed := cmd.Flags().Changed
	if changed("budget-calls") && f.calls < 1 {
		return usagef("--budget-calls %d: want 1 or more", f.calls)
	}
	if changed("budget-usd") && !(f.usd > 0) || math.IsInf(f.usd, 0) {
		return usagef("--budget-usd %v: want a number above 0, such as 2.50; leave it away for no limit", f.usd)
	}
	if changed("budget-time") {
		if d, err := caddy.ParseDuration(f.time); err != nil || d <= 0 {
			return usagef("--budget-time %q: want a time such as 30m or 2h", f.time)
		}
	}
	if changed("parallelism") && (f.parallelism < 1 || f.parallelism > 64) {
		return usagef("--parallelism %d: want 1 to 64", f.parallelism)
	}
	return nil
}

func (f *runFlags) budget() *optimizer.Budget {
	b := optimizer.Budget{Calls: f.calls, USD: f.usd, Time: f.time}
	if b == (optimizer.Budget{}) {
		return nil
	}
	return &b
}

// parseModule reads the flag for a scorer or an optimizer: a name, its JSON, or a file of that.
func parseModule(flag, given string) (json.RawMessage, error) {
	if given == "" {
		return nil, nil
	}
	if list, ok := strings.CutPrefix(given, "label:"); ok && flag == "scorer" {
		var labels []string
		for l := range strings.SplitSeq(list, ",") {
			if l = strings.TrimSpace(l); l != "" {
				labels = append(labels, l)
			}
		}
		if len(labels) < 2 {
			return nil, usagef("--scorer %s: want two labels or more, such as label:positive,negative,neutral", given)
		}
		return marshalJSON(map[string]any{"scorer": "label", "labels": labels})
	}
	text := strings.TrimSpace(given)
	if strings.HasSuffix(text, ".json") {
		raw, err := os.ReadFile(text)
		if err != nil {
			return nil, fmt.Errorf("reading the %s: %w", flag, err)
		}
		text = strings.TrimSpace(string(raw))
	}
	if !strings.HasPrefix(text, "{") {
		if strings.ContainsAny(text, ":[]\" \n") {
			return nil, usagef("--%s %s: want a name, or an object such as {\"%s\": \"…\", …}", flag, given, flag)
		}
		return marshalJSON(text)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		return nil, usagef("--%s: not JSON: %s", flag, err)
	}
	if object[flag] == nil {
		return nil, usagef("--%s: the object needs the member %q, which names it", flag, flag)
	}
	return json.RawMessage(text), nil
}

// parseParameter is a value as JSON has it: what is not JSON is a text.
func parseParameter(value string) json.RawMessage {
	if json.Valid([]byte(value)) && value != "" {
		return json.RawMessage(value)
	}
	raw, _ := json.Marshal(value)
	return raw
}

// requestParameters reads flags of the form name=value.
func requestParameters(flag string, given []string) (map[string]json.RawMessage, error) {
	texts, err := pairs(flag, given)
	if err != nil || len(texts) == 0 {
		return nil, err
	}
	out := make(map[string]json.RawMessage, len(texts))
	for name, value := range texts {
		out[name] = parseParameter(value)
	}
	return out, nil
}

// parseShare reads a share: 0.9 or 90%.
func parseShare(flag, given string) (float64, error) {
	text, percent := strings.CutSuffix(given, "%")
	x, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if percent {
		x /= 100
	}
	if err != nil || !(x > 0 && x <= 1) {
		return 0, usagef("--%s %s: want a share above 0 up to 1, such as 0.9 or 90%%", flag, given)
	}
	return x, nil
}

// begin plans a run, and begins it and shows it to its end unless the flags say otherwise.
func (r *request) begin(path string, spec any, f *runFlags, w *runWatch) error {
	body, err := asObject(spec)
	if err != nil {
		return err
	}
	body["dry_run"] = true
	var plan optimizer.Plan
	answer, err := r.server.do(r.ctx, http.MethodPost, path, nil, body)
	if err != nil {
		return err
	}
	if err := r.decode(answer, &plan); err != nil {
		return err
	}
	if f.dryRun {
		if r.json {
			return r.printJSON(answer)
		}
		r.plan(&plan)
		return nil
	}
	for _, warning := range plan.Warnings {
		r.note("Note: %s", printable(warning, false))
	}
	delete(body, "dry_run")
	var run optimizer.Run
	if answer, err = r.server.do(r.ctx, http.MethodPost, path, nil, f.change.into(body)); err != nil {
		return err
	}
	if err := r.decode(answer, &run); err != nil {
		return err
	}
	r.note("Run %s: %s", run.ID, planned(&plan))
	if f.detach {
		if r.json {
			return r.printJSON(answer)
		}
		r.line(run.ID)
		r.note("Follow it: caddy llm runs watch %s", run.ID)
		return nil
	}
	w.planned = plan.Calls
	return w.toTheEnd(run.ID, f)
}

func asObject(v any) (map[string]any, error) {
	raw, err := marshalJSON(v)
	if err != nil {
		return nil, err
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil, err
	}
	body := make(map[string]any, len(object))
	for k, m := range object {
		body[k] = m
	}
	return body, nil
}

// toTheEnd watches a run, prints its result and ends with the code for it.
func (w *runWatch) toTheEnd(id string, f *runFlags) error {
	run, err := w.watch(id)
	if err != nil {
		return err
	}
	if run == nil {
		return w.exit(exitInterrupted)
	}
	if w.json {
		_, answer, err := w.getRun(id)
		if err == nil {
			err = w.printJSON(answer)
		}
		if err != nil {
			return err
		}
	}
	if err := runEnd(run); err != nil {
		return err
	}
	if !w.json {
		if err := w.runResult(run); err != nil {
			return err
		}
	}
	if f.report != "" {
		form, err := reportForm("report", f.report)
		if err != nil {
			return err
		}
		if err := w.report(id, form, f.report); err != nil {
			return err
		}
	}
	code, err := runCode(run, f.strict)
	if err != nil {
		return err
	}
	return w.exit(code)
}

// runCode is what a command ends with for a run that has succeeded.
func runCode(run *optimizer.Run, strict bool) (int, error) {
	switch run.Kind {
	case optimizer.KindComparison:
		var c optimizer.ComparisonResult
		if err := json.Unmarshal(run.Result, &c); err != nil {
			return 1, fmt.Errorf("reading the result of run %s: %w", run.ID, err)
		}
		ready := func(cand optimizer.CandidateReport) bool {
			return cand.Verdict == optimizer.Ready && !(strict && cand.SmallSample)
		}
		if !slices.ContainsFunc(c.Candidates, ready) {
			return exitNotReady, nil
		}
	case optimizer.KindOptimization:
		var o optimizer.OptimizationResult
		var spec optimizer.OptimizationSpec
		if err := errors.Join(json.Unmarshal(run.Result, &o), json.Unmarshal(run.Spec, &spec)); err != nil {
			return 1, fmt.Errorf("reading the result of run %s: %w", run.ID, err)
		}
		if o.Registered == "" && !(o.Better && spec.Register == optimizer.RegisterNever) {
			return exitNotReady, nil
		}
	}
	return 0, nil
}

// planned is a plan in a line.
func planned(p *optimizer.Plan) string {
	cost := "at an unknown cost"
	if p.Cost != nil {
		cost = "for about " + dollars(p.Cost)
	}
	return fmt.Sprintf("up to %s calls on %s records, %s.", count(float64(p.Calls)), count(float64(p.Records)), cost)
}

// plan prints what a run would do.
func (r *request) plan(p *optimizer.Plan) {
	cost := "unknown"
	if p.Cost != nil {
		cost = "about " + dollars(p.Cost)
	}
	r.fields(
		field{"kind", string(p.Kind)},
		field{"records", count(float64(p.Records))},
		field{"calls", "up to " + count(float64(p.Calls))},
		field{"tokens", "about " + count(float64(p.Tokens))},
		field{"cost", cost},
	)
	for _, w := range p.Warnings {
		r.wrapped("Note: ", printable(w, false))
	}
	r.line("Nothing was begun: leave --dry-run away to begin it.")
}

// runResult prints the result of a run that has succeeded.
func (r *request) runResult(run *optimizer.Run) error {
	if run.State != optimizer.Succeeded {
		return nil
	}
	switch run.Kind {
	case optimizer.KindComparison:
		return r.comparisonResult(run)
	case optimizer.KindOptimization:
		return r.optimizationResult(run)
	}
	return nil
}
