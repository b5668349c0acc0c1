package frontier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/tracing"
	"github.com/caddy-frontier/frontier/tracing/export"
)

func registerCommand() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "llm",
		Usage: "<command>",
		Short: "Works with the LLM gateway of a running Caddy",
		Long: `
Shows and changes what the LLM gateway of a running Caddy has: prompts, traces,
routes and their weights, datasets; compares models and optimises prompts. It is a client of Caddy's admin API (/llm/…), which it
finds as other commands do: by --address, else by the configuration named with
--config, else at ` + caddy.DefaultAdminListen + `. It opens no files of the server's,
but for store restore, which wants it stopped. To see it all without a server and
without a key: caddy llm demo.

On a terminal it prints tables; into a pipe the same as plain text in columns.
With --json it prints the admin API's own JSON.

Exit codes: 0 done; 1 the server, or the connection to it, says no; 2 the
command line is wrong; 3 a rollout that is watched was aborted, no candidate is
ready, or an optimisation keeps the original prompt.

For example:

	$ caddy llm status
	$ caddy llm routes list
	$ caddy llm traces tail`,
		CobraFunc: configureCommand,
	})
}

// cli is what the commands below `caddy llm` share: where the server is, and how to print.
type cli struct {
	address, config, adapter string
	json                     bool
}

func configureCommand(cmd *cobra.Command) {
	c := new(cli)
	flags := cmd.PersistentFlags()
	flags.StringVar(&c.address, "address", "", "The admin API's address, if the configuration does not tell it")
	flags.StringVarP(&c.config, "config", "c", "", "Configuration file that tells the admin API's address")
	flags.StringVarP(&c.adapter, "adapter", "a", "", "Name of config adapter to apply to --config")
	flags.BoolVar(&c.json, "json", false, "Print the admin API's JSON")
	group(cmd)
	cmd.AddCommand(
		c.statusCommand(),
		c.modelsCommand(),
		c.routesCommand(),
		c.rolloutCommand(),
		c.promptsCommand(),
		c.tracesCommand(),
		c.statsCommand(),
		c.datasetsCommand(),
		c.compareCommand(),
		c.optimizeCommand(),
		c.runsCommand(),
		c.storeCommand(),
		c.demoCommand(),
	)
}

func (c *cli) statusCommand() *cobra.Command {
	return c.command("status", "Shows the gateway in a few figures", `
Shows the running gateway: its version, its data directory, the providers and
whether they have a key, how many routes, prompts and traces there are, where
rollouts are, and the traffic of the last hour.

	$ caddy llm status`, exactly(), func(r *request, _ []string) error {
		var status struct {
			Version   string                  `json:"version"`
			Since     string                  `json:"since"`
			DataDir   string                  `json:"data_dir"`
			Routes    int                     `json:"routes"`
			Providers map[string]providerView `json:"providers"`
			Prompts   int                     `json:"prompts"`
			Traces    tracing.Counters        `json:"traces"`
			Exports   []export.Status         `json:"exports"`
		}
		if done, err := r.get("/llm/", nil, &status); done || err != nil {
			return err
		}
		r.fields(
			field{"version", status.Version},
			field{"running since", localTime(status.Since)},
			field{"data directory", status.DataDir},
			field{"routes", fmt.Sprint(status.Routes)},
			field{"prompts", fmt.Sprint(status.Prompts)},
			field{"traces", recorded(&status.Traces)},
		)
		r.providers(status.Providers)
		if err := r.rollouts(); err != nil {
			return err
		}
		r.exports(status.Exports)
		return r.traffic()
	})
}

// rollouts prints where the rollouts are.
func (r *request) rollouts() error {
	var list api.List[routeView]
	if _, err := r.get("/llm/routes", nil, &list); err != nil {
		return err
	}
	t := table{columns: []column{{name: "route"}, {name: "rollout", paint: paintPhase}, {name: "weights"}, {name: "since"}}}
	for i := range list.Items {
		if route := &list.Items[i]; route.Spec.Rollout != nil {
			t.add(route.Name, route.Status.rollout(), route.weights(), localTime(route.Status.Since))
		}
	}
	if len(t.rows) > 0 {
		r.line("")
		r.table(t)
	}
	return nil
}

// traffic prints what the routes did in the last hour.
func (r *request) traffic() error {
	var stats tracing.Stats
	if _, err := r.get("/llm/stats", url.Values{"group_by": {"variant"}, "since": {"1h"}}, &stats); err != nil || len(stats.Items) == 0 {
		return err
	}
	r.heading("The last hour")
	r.stats("variant", &stats)
	return nil
}

// providerView is what the status says of a provider.
type providerView struct {
	BaseURL string `json:"base_url"`
	Key     bool   `json:"key"`
}

func (r *request) providers(all map[string]providerView) {
	if len(all) == 0 {
		return
	}
	t := table{columns: []column{{name: "provider"}, {name: "base url"}, {name: "key", paint: paintMissing}}}
	for _, name := range sortedKeys(all) {
		key := "none"
		if all[name].Key {
			key = "configured"
		}
		t.add(name, all[name].BaseURL, key)
	}
	r.line("")
	r.table(t)
}

// recorded says in one line what became of the traces offered since the store was opened.
func (r *request) exports(all []export.Status) {
	if len(all) == 0 {
		return
	}
	t := table{columns: []column{{name: "traces exported to"}, {name: "delivered", right: true}, {name: "refused", right: true}, {name: "failing", paint: paintMissing}}}
	for _, e := range all {
		failing := "no"
		if e.Error != nil {
			failing = *e.Error
		}
		t.add(e.Destination, count(float64(e.Exported)), count(float64(e.Refused)), failing)
	}
	r.line("")
	r.table(t)
}

func recorded(c *tracing.Counters) string {
	parts := []string{count(float64(c.Written)) + " written"}
	if c.Queued > 0 {
		parts = append(parts, count(float64(c.Queued))+" waiting")
	}
	for _, reason := range sortedKeys(c.Dropped) {
		parts = append(parts, fmt.Sprintf("%s dropped (%s)", count(float64(c.Dropped[reason])), strings.ReplaceAll(reason, "_", " ")))
	}
	if c.Damaged > 0 {
		parts = append(parts, count(float64(c.Damaged))+" damaged")
	}
	return strings.Join(parts, ", ")
}

// request is one run of a command.
type request struct {
	*cli
	printer
	cmd    *cobra.Command
	ctx    context.Context
	server *adminClient
}

// command makes a command that talks to the server. Its long description ends
// with an example, which a test runs.
func (c *cli) command(use, short, long string, args cobra.PositionalArgs, run func(*request, []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Long: strings.TrimSpace(long), Args: args, DisableFlagsInUseLine: true, ValidArgsFunction: c.complete(use),
		RunE: func(cmd *cobra.Command, args []string) error {
			r := &request{cli: c, printer: newPrinter(cmd.OutOrStdout()), cmd: cmd, ctx: cmd.Context()}
			if r.ctx == nil {
				r.ctx = context.Background()
			}
			address, err := caddycmd.DetermineAdminAPIAddress(c.address, nil, c.config, c.adapter)
			if err != nil {
				return err
			}
			if r.server, err = newAdminClient(address); err != nil {
				return usage(cmd, err)
			}
			err = run(r, args)
			if _, ok := errors.AsType[*usageError](err); ok {
				return usage(cmd, err)
			}
			return err
		},
	}
}

// group makes cmd a command that is nothing but its subcommands.
func group(cmd *cobra.Command, subcommands ...*cobra.Command) *cobra.Command {
	cmd.AddCommand(subcommands...)
	cmd.SetFlagErrorFunc(usage)
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		message := fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+args[0])
		if cmd.SuggestionsMinimumDistance <= 0 {
			cmd.SuggestionsMinimumDistance = 2
		}
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			message += fmt.Sprintf("; did you mean %q?", cmd.CommandPath()+" "+near[0])
		} else {
			var names []string
			for _, sub := range cmd.Commands() {
				if sub.IsAvailableCommand() {
					names = append(names, sub.Name())
				}
			}
			message += "; there are " + strings.Join(names, ", ")
		}
		return usage(cmd, errors.New(message))
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

// usageError is a mistake in the command line that only the command finds.
type usageError struct{ message string }

func (e *usageError) Error() string { return e.message }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// usage prints a mistake in the command line and ends with exit code 2, which
// Caddy gives only to errors of its own type: this is the way to get one.
func usage(cmd *cobra.Command, err error) error {
	cmd.PrintErrf("Error: %s\nRun '%s --help' for its options and an example.\n", err, cmd.CommandPath())
	cmd.SilenceErrors = true
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return 2, nil })(cmd, nil)
}

// exactly says which arguments a command takes, in the words of its usage.
// The last may end in "…": one or more of it. One in brackets may be missing.
func exactly(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		many := len(names) > 0 && strings.HasSuffix(names[len(names)-1], "…")
		switch {
		case len(args) < len(names) && !strings.HasPrefix(names[len(args)], "["):
			return usage(cmd, fmt.Errorf("%s is missing: %s %s", names[len(args)], cmd.CommandPath(), strings.Join(names, " ")))
		case len(args) > len(names) && !many:
			return usage(cmd, fmt.Errorf("%q is one argument too many: %s", args[len(names)], strings.TrimSpace(cmd.CommandPath()+" "+strings.Join(names, " "))))
		}
		return nil
	}
}

// get asks the server and decodes its answer into v. With --json it prints
// the answer instead, and is done.
func (r *request) get(path string, query url.Values, v any) (done bool, err error) {
	return r.call(http.MethodGet, path, query, nil, v)
}

// call is get with any method, and a body when that is not nil.
func (r *request) call(method, path string, query url.Values, body, v any) (done bool, err error) {
	answer, err := r.server.do(r.ctx, method, path, query, body)
	if err != nil {
		return false, err
	}
	if r.json {
		return true, r.printJSON(answer)
	}
	return false, r.decode(answer, v)
}

func (r *request) decode(answer []byte, v any) error {
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("reading the answer of %s: %w; is it the same version as this command?", r.server.address, err)
	}
	return nil
}

// note tells the person who runs the command something that is not output.
func (r *request) note(format string, args ...any) {
	r.cmd.PrintErrf(format+"\n", args...)
}

// read returns what a file holds, or standard input when it is "-".
func (r *request) read(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(r.cmd.InOrStdin())
	}
	return os.ReadFile(file)
}

// changeFlags are the flags of commands that change something.
type changeFlags struct{ reason, actor string }

func (f *changeFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.reason, "reason", "", "Why, for the record")
	cmd.Flags().StringVar(&f.actor, "actor", whoami(), "Who, for the record")
}

// into adds who and why to a request's body.
func (f *changeFlags) into(body map[string]any) map[string]any {
	if f.reason != "" {
		body["reason"] = f.reason
	}
	if f.actor != "" {
		body["actor"] = f.actor
	}
	return body
}

func whoami() string {
	u, err := user.Current()
	if err != nil {
		return ""
	}
	return u.Username
}

// pairs reads flags of the form key=value.
func pairs(flag string, given []string) (map[string]string, error) {
	out := make(map[string]string, len(given))
	for _, kv := range given {
		k, v, ok := strings.Cut(kv, "=")
		if !ok || k == "" {
			return nil, usagef("--%s %q: want key=value", flag, kv)
		}
		if _, twice := out[k]; twice {
			return nil, usagef("--%s %s is given twice", flag, k)
		}
		out[k] = v
	}
	return out, nil
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
