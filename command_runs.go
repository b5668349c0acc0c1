package frontier

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/optimizer"
)

func (c *cli) runsCommand() *cobra.Command {
	return group(
		&cobra.Command{
			Use: "runs", Short: "Shows and steers comparisons and optimisations",
			Long: "Shows and steers runs: comparisons and optimisations, under way and over. A run's id may be cut to its first\ncharacters, 8 at least, where no other run's begins so.\n\n\t$ caddy llm runs list --state running",
		},
		c.listRunsCommand(),
		c.command("show RUN", "Shows a run and its result", `
Shows a run: its state, how far it is, what it has cost, and its result when it has
succeeded.

	$ caddy llm runs show 019a2b3c-4d5e-7f60-8123-456789abcdef`, exactly("RUN"), func(r *request, args []string) error {
			var run optimizer.Run
			if done, err := r.get("/llm/runs"+segments(args[0]), nil, &run); done || err != nil {
				return err
			}
			r.run(&run)
			return r.runResult(&run)
		}),
		c.watchRunCommand(),
		c.runVerb("pause", "Lets a run make no more calls", `
Lets a run make no more calls, until resume. Calls that are under way are waited for
and kept.

	$ caddy llm runs pause 019a2b3c-4d5e-7f60-8123-456789abcdef --reason "the provider is slow"`),
		c.runVerb("resume", "Goes on with a run", `
Goes on with a run that is paused, or tries again one that failed. What was paid for
is not paid for again.

	$ caddy llm runs resume 019a2b3c-4d5e-7f60-8123-456789abcdef`),
		c.runVerb("cancel", "Ends a run", `
Ends a run for good. Calls that are under way are given up.

	$ caddy llm runs cancel 019a2b3c-4d5e-7f60-8123-456789abcdef`),
		c.command("delete RUN", "Removes a run that is over", `
Removes a run that is over, with its report. Prompt versions that it registered stay;
but comparisons no longer know which records they were learned from.

	$ caddy llm runs delete 019a2b3c-4d5e-7f60-8123-456789abcdef`, exactly("RUN"), func(r *request, args []string) error {
			if _, err := r.server.do(r.ctx, http.MethodDelete, "/llm/runs"+segments(args[0]), nil, nil); err != nil {
				return err
			}
			r.note("Run %s is removed.", args[0])
			return nil
		}),
		c.runReportCommand(),
	)
}

func (c *cli) listRunsCommand() *cobra.Command {
	var kind, state string
	limit := 20
	cmd := c.command("list", "Lists runs, the newest first", `
Lists runs, the newest first.

	$ caddy llm runs list
	$ caddy llm runs list --kind optimization --state succeeded`, exactly(), func(r *request, _ []string) error {
		q := url.Values{"limit": {strconv.Itoa(limit)}}
		for _, f := range []struct {
			flag, value string
			allowed     []string
		}{
			{"kind", kind, []string{string(optimizer.KindComparison), string(optimizer.KindOptimization)}},
			{"state", state, []string{"planned", "running", "paused", "succeeded", "failed", "cancelled"}},
		} {
			if f.value == "" {
				continue
			}
			if !slices.Contains(f.allowed, f.value) {
				return usagef("--%s %q: want one of %s", f.flag, f.value, strings.Join(f.allowed, ", "))
			}
			q.Set(f.flag, f.value)
		}
		if limit < 1 || limit > 1000 {
			return usagef("--limit %d: want 1 to 1000", limit)
		}
		var list api.List[optimizer.Run]
		if done, err := r.get("/llm/runs", q, &list); done || err != nil {
			return err
		}
		if len(list.Items) == 0 {
			if kind != "" || state != "" {
				r.note("No run matches.")
				return nil
			}
			r.note("There are no runs; caddy llm compare and caddy llm optimize begin them.")
			return nil
		}
		t := table{columns: []column{
			{name: "id"}, {name: "kind"}, {name: "state", paint: paintState}, {name: "began"}, {name: "calls", right: true}, {name: "spent", right: true}, {name: "of"}, {name: "result"},
		}}
		for i := range list.Items {
			run := &list.Items[i]
			t.add(run.ID, string(run.Kind), string(run.State), run.Created.Local().Format(time.DateTime), count(float64(run.Progress.Calls)), dollars(run.Progress.SpentUSD), runSubject(run), runOutcome(run))
		}
		r.table(t)
		if list.NextCursor != nil {
			r.note("There are more: --limit shows up to 1000.")
		}
		return nil
	})
	cmd.Flags().StringVar(&kind, "kind", "", "Of this kind: comparison or optimization")
	cmd.Flags().StringVar(&state, "state", "", "In this state: running, paused, succeeded, failed or cancelled")
	cmd.Flags().IntVarP(&limit, "limit", "n", limit, "Most runs to list, up to 1000")
	return cmd
}

func (c *cli) runVerb(verb, short, long string) *cobra.Command {
	var change changeFlags
	cmd := c.command(verb+" RUN", short, long, exactly("RUN"), func(r *request, args []string) error {
		var run optimizer.Run
		if done, err := r.call(http.MethodPost, "/llm/runs"+segments(args[0])+"/"+verb, nil, change.into(map[string]any{}), &run); done || err != nil {
			return err
		}
		r.run(&run)
		return nil
	})
	change.register(cmd)
	return cmd
}

func (c *cli) watchRunCommand() *cobra.Command {
	var verbose, strict bool
	cmd := c.command("watch RUN", "Follows a run to its end", `
Follows a run until it is over, and shows its result. On a terminal there is a bar
with the time left and the money spent. It goes on when the server reloads or
restarts, if that takes at most `+span(awayMost)+`. Ctrl-C ends the command, not the run. With
--json it prints the run in the end.

Exit codes are those of compare and optimize.

	$ caddy llm runs watch 019a2b3c-4d5e-7f60-8123-456789abcdef`, exactly("RUN"), func(r *request, args []string) error {
		run, _, err := r.getRun(args[0]) // its whole id
		if err != nil {
			return err
		}
		w := newRunWatch(r)
		w.verbose = verbose
		return w.toTheEnd(run.ID, &runFlags{strict: strict})
	})
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "Show each step of an optimisation")
	cmd.Flags().BoolVar(&strict, "strict", false, "Do not count a candidate that is ready by a small sample only")
	return cmd
}

// reportForms are the forms of reports, by the ending of their files.
var reportForms = []string{"html", "md", "csv", "json"}

func (c *cli) runReportCommand() *cobra.Command {
	chosen := map[string]*bool{}
	var output string
	cmd := c.command("report RUN", "Prints or saves a run's report", `
Prints the report of a run that has succeeded, with each record and each answer, as
Markdown; or as one HTML page that needs nothing else, as CSV with a line for each
answer, or as JSON. The ending of --output says which, where no flag does.

	$ caddy llm runs report 019a2b3c-4d5e-7f60-8123-456789abcdef
	$ caddy llm runs report 019a2b3c-4d5e-7f60-8123-456789abcdef --output report.html`, exactly("RUN"), func(r *request, args []string) error {
		form := ""
		if r.json {
			form = "json"
		}
		for _, f := range reportForms[:3] {
			if !*chosen[f] {
				continue
			}
			if form != "" {
				return usagef("--%s and --%s: a report has one form", form, f)
			}
			form = f
		}
		if form == "" && output != "" && output != "-" {
			var err error
			if form, err = reportForm("output", output); err != nil {
				return err
			}
		}
		if form == "" {
			form = "md"
		}
		if form == "html" && (output == "" || output == "-") && r.terminal {
			return usagef("--html is a page for a browser: add --output FILE.html")
		}
		return r.report(args[0], form, output)
	})
	for _, f := range reportForms[:3] {
		chosen[f] = cmd.Flags().Bool(f, false, map[string]string{"html": "As one HTML page", "md": "As Markdown", "csv": "As CSV"}[f])
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "File to write it to, - for standard output")
	return cmd
}

// reportForm is the form of a report that a file's name asks for.
func reportForm(flag, file string) (string, error) {
	i := strings.LastIndexByte(file, '.')
	if form := strings.ToLower(file[i+1:]); i >= 0 && slices.Contains(reportForms, form) {
		return form, nil
	}
	return "", usagef("--%s %s: want a file that ends in .%s", flag, file, strings.Join(reportForms, ", ."))
}

// report prints a report, or writes it to a file.
func (r *request) report(id, form, file string) error {
	raw, err := r.server.do(r.ctx, http.MethodGet, "/llm/runs"+segments(id, "report."+form), nil, nil)
	if err != nil {
		return err
	}
	switch {
	case file != "" && file != "-":
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			return fmt.Errorf("writing the report: %w", err)
		}
		r.note("The report is in %s.", file)
	case form == "json":
		return r.printJSON(raw)
	default:
		r.text(string(raw))
	}
	return nil
}

// run prints a run without its result.
func (r *request) run(run *optimizer.Run) {
	ended := ""
	if run.Ended != nil {
		ended = run.Ended.Local().Format(time.DateTime)
	}
	who := run.Actor
	if run.Reason != "" {
		who = strings.TrimSpace(who + ": " + run.Reason)
	}
	progress := ""
	if !run.State.Over() {
		w := runWatch{last: *run}
		progress = w.progressText()
	}
	why := ""
	if run.Error != nil {
		why = *run.Error
	}
	cost := dollars(run.Progress.SpentUSD)
	if run.Progress.SpentUSD == nil && run.Progress.Calls > 0 {
		cost = "unknown"
	}
	r.paintedFields(func(f field) string {
		if c := paintState(f.value); f.name == "state" && c != text.Reset {
			return paint(c, f.value)
		}
		return f.value
	},
		field{"run", run.ID},
		field{"kind", string(run.Kind)},
		field{"of", runSubject(run)},
		field{"state", string(run.State)},
		field{"why", why},
		field{"progress", progress},
		field{"began", run.Created.Local().Format(time.DateTime)},
		field{"ended", ended},
		field{"by", who},
		field{"calls", count(float64(run.Progress.Calls))},
		field{"spent", cost},
	)
}

// runSubject says what a run is about.
func runSubject(run *optimizer.Run) string {
	switch run.Kind {
	case optimizer.KindComparison:
		var spec optimizer.ComparisonSpec
		if json.Unmarshal(run.Spec, &spec) != nil {
			return "-"
		}
		var models []string
		for _, c := range spec.Candidates {
			if !slices.Contains(models, c.Model) {
				models = append(models, c.Model)
			}
		}
		return strings.Join(models, ", ") + " on " + spec.Dataset
	case optimizer.KindOptimization:
		var spec optimizer.OptimizationSpec
		if json.Unmarshal(run.Spec, &spec) != nil {
			return "-"
		}
		return strings.TrimPrefix(spec.Prompt, "prompts:/") + " for " + spec.Model + " on " + spec.Dataset
	}
	return "-"
}

// runOutcome is a run's result in a few words.
func runOutcome(run *optimizer.Run) string {
	if run.State != optimizer.Succeeded {
		return orDash(run.Error)
	}
	if run.Kind == optimizer.KindOptimization {
		var o optimizer.OptimizationResult
		if json.Unmarshal(run.Result, &o) != nil {
			return "-"
		}
		if o.Registered == "" {
			return "the original is kept"
		}
		return o.Registered
	}
	var c optimizer.ComparisonResult
	if json.Unmarshal(run.Result, &c) != nil {
		return "-"
	}
	verdicts := map[optimizer.Verdict]int{}
	for i := range c.Candidates {
		if !c.Candidates[i].Baseline {
			verdicts[c.Candidates[i].Verdict]++
		}
	}
	var parts []string
	for _, v := range []optimizer.Verdict{optimizer.Ready, optimizer.NotReady, optimizer.Inconclusive} {
		if verdicts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", verdicts[v], v))
		}
	}
	return strings.Join(parts, ", ")
}

func paintState(state string) text.Color {
	switch state {
	case "succeeded":
		return text.FgGreen
	case "failed":
		return text.FgRed
	case "paused", "cancelled":
		return text.FgYellow
	}
	return text.Reset
}
