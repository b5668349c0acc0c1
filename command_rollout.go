package frontier

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/routing/rollout"
)

func (c *cli) rolloutCommand() *cobra.Command {
	var full bool
	promote := c.rolloutVerb(rollout.Promote, "Enters the next step of a rollout", `
Enters the next step of a rollout whatever its guards say, or, with --full, ends it
with all traffic on the new variant. A guard that fails aborts it all the same.

	$ caddy llm rollout promote support --reason "the evaluation was good"
	$ caddy llm rollout promote support --full`, &full)
	promote.Flags().BoolVar(&full, "full", false, "Skip the steps that are left")
	return group(
		&cobra.Command{
			Use: "rollout", Short: "Shows and moves a route's traffic",
			Long: "Shows how a route's traffic moves from one variant to another, and moves it.\n\n\t$ caddy llm rollout get support\n\t$ caddy llm rollout weights sentiment stable=95 candidate=5",
		},
		c.command("get ROUTE", "Shows how a rollout stands", `
Shows a rollout on one screen: its steps, the weights in force, why it is where it
is and what is missing, its guards, and its last decisions with the ids of the
traces behind them (caddy llm traces show ID).

	$ caddy llm rollout get support`, exactly("ROUTE"), func(r *request, args []string) error {
			var route routeView
			if done, err := r.get("/llm/routes"+segments(args[0]), nil, &route); done || err != nil {
				return err
			}
			r.rollout(&route)
			return nil
		}),
		c.watchRolloutCommand(),
		promote,
		c.rolloutVerb(rollout.Pause, "Holds a rollout where it is", `
Holds a rollout where it is, with the weights in force, until resume. A guard that
fails still aborts it.

	$ caddy llm rollout pause support --reason "a release of ours"`, nil),
		c.rolloutVerb(rollout.Resume, "Goes on with a rollout", `
Goes on with a rollout that is paused, and begins one again that was aborted.

	$ caddy llm rollout resume support`, nil),
		c.rolloutVerb(rollout.Abort, "Takes all traffic back", `
Gives all traffic to the variant that the rollout comes from, for the next request,
until somebody resumes it.

	$ caddy llm rollout abort support --reason "answers are too long"`, nil),
		c.rolloutVerb(rollout.Undo, "Takes the last decision back", `
Takes the last decision back, yours or the rollout's own: the phase, the step and the
weights are again what they were before it.

	$ caddy llm rollout undo support`, nil),
		c.weightsCommand(),
	)
}

// rolloutVerb makes the command for something that an operator does. full is promote's.
func (c *cli) rolloutVerb(kind rollout.EventKind, short, long string, full *bool) *cobra.Command {
	var change changeFlags
	verb := string(kind)
	cmd := c.command(verb+" ROUTE", short, long, exactly("ROUTE"), func(r *request, args []string) error {
		body := change.into(map[string]any{})
		if full != nil && *full {
			body["full"] = true
		}
		var route routeView
		done, err := r.call(http.MethodPost, "/llm/routes"+segments(args[0])+"/rollout/"+verb, nil, body, &route)
		if done || err != nil {
			return refusal(verb, args[0], err)
		}
		r.rollout(&route)
		return nil
	})
	change.register(cmd)
	return cmd
}

// refusal says of a change that the server refuses what to do about it.
func refusal(verb, route string, err error) error {
	refused, ok := errors.AsType[*serverError](err)
	if !ok {
		return err
	}
	switch refused.status {
	case http.StatusConflict:
		if strings.Contains(refused.message, "has no rollout") {
			return err
		}
		return fmt.Errorf("%s is not possible now: %w; see: caddy llm rollout get %s", verb, err, route)
	case http.StatusInsufficientStorage:
		return fmt.Errorf("%w; abort and pause are in force at once even so", err)
	}
	return err
}

func (c *cli) weightsCommand() *cobra.Command {
	var change changeFlags
	cmd := c.command("weights ROUTE VARIANT=PERCENT…", "Sets the weights of a route", `
Sets how a route's traffic is split over its variants, in force for the next
request and after restarts. Every variant is named, and the weights sum to 100.
A rollout is paused by it. When the configuration's own weights of the route
change, those win again; caddy llm routes show ROUTE --caddyfile prints the lines
that declare the weights in force.

	$ caddy llm rollout weights sentiment stable=80% candidate=20% --reason "the evaluation was good"`,
		exactly("ROUTE", "VARIANT=PERCENT…"), func(r *request, args []string) error {
			weights, err := parseWeights(args[1:])
			if err != nil {
				return err
			}
			var route routeView
			body := change.into(map[string]any{"weights": weights})
			done, err := r.call(http.MethodPost, "/llm/routes"+segments(args[0])+"/rollout/weights", nil, body, &route)
			if done || err != nil {
				return refusal("weights", args[0], err)
			}
			if route.Spec.Rollout != nil {
				r.rollout(&route)
				return nil
			}
			r.route(&route)
			return nil
		})
	change.register(cmd)
	return cmd
}

// parseWeights reads variant=percent, with or without a percent sign. Whether
// they fit the route is the server's to say.
func parseWeights(args []string) (map[string]float64, error) {
	weights := make(map[string]float64, len(args))
	for _, arg := range args {
		name, text, ok := strings.Cut(arg, "=")
		if !ok || name == "" {
			return nil, usagef("%q is not a weight: want VARIANT=PERCENT, such as stable=80", arg)
		}
		weight, err := strconv.ParseFloat(strings.TrimSuffix(text, "%"), 64)
		if err != nil || weight < 0 || weight > 100 {
			return nil, usagef("%q is not a weight: want a percentage from 0 to 100, such as %s=80", arg, name)
		}
		if _, twice := weights[name]; twice {
			return nil, usagef("the weight of %q is given twice", name)
		}
		weights[name] = weight
	}
	return weights, nil
}
