package frontier

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/routing"
)

// routeView is a route as the admin API answers it.
type routeView struct {
	Name   string        `json:"name"`
	Spec   routing.Route `json:"spec"`
	Status struct {
		Phase    string             `json:"phase"`
		Since    string             `json:"since"`
		Reason   string             `json:"reason"`
		Actor    string             `json:"actor"`
		Declared map[string]float64 `json:"declared"`
	} `json:"status"`
	Weights map[string]float64 `json:"weights"`
}

func (c *cli) routesCommand() *cobra.Command {
	return group(
		&cobra.Command{
			Use: "routes", Short: "Shows the routes",
			Long: "Shows the routes, their variants and the weights in force. To change weights: caddy llm rollout weights.\n\n\t$ caddy llm routes list",
		},
		c.command("list", "Lists the routes", `
Lists the routes with what leads to them and the weights in force, which are
those of the configuration or those set at run time.

	$ caddy llm routes list`, exactly(), listRoutes),
		c.command("show ROUTE", "Shows a route with its variants", `
Shows one route: what leads to it, and each variant's model, prompt and weight,
in force and declared in the configuration.

	$ caddy llm routes show sentiment`, exactly("ROUTE"), func(r *request, args []string) error {
			var route routeView
			if done, err := r.get("/llm/routes"+segments(args[0]), nil, &route); done || err != nil {
				return err
			}
			r.route(&route)
			return nil
		}),
	)
}

func listRoutes(r *request, _ []string) error {
	var list api.List[routeView]
	if done, err := r.get("/llm/routes", nil, &list); done || err != nil {
		return err
	}
	if len(list.Items) == 0 {
		r.note("There are no routes. Declare one in the configuration's global option: llm { route NAME { variant stable PROVIDER/MODEL } }")
		return nil
	}
	t := table{columns: []column{{name: "name"}, {name: "match"}, {name: "weights"}, {name: "set"}}}
	for i := range list.Items {
		route := &list.Items[i]
		set := "configuration"
		if route.Status.Since != "" {
			set = localTime(route.Status.Since)
		}
		t.add(route.Name, matches(route.Spec.Match), route.weights(), set)
	}
	r.table(t)
	return nil
}

// weights writes the weights in force in the order in which the variants are declared.
func (v *routeView) weights() string {
	var parts []string
	for _, variant := range v.Spec.Variants {
		parts = append(parts, variant.Name+" "+percents(v.Weights[variant.Name]))
	}
	return strings.Join(parts, ", ")
}

func matches(m *routing.Match) string {
	if m == nil {
		return ""
	}
	var parts []string
	if len(m.Model) > 0 {
		parts = append(parts, "model "+strings.Join(m.Model, " "))
	}
	if len(m.Prompt) > 0 {
		parts = append(parts, "prompt "+strings.Join(m.Prompt, " "))
	}
	for _, name := range sortedKeys(m.Header) {
		parts = append(parts, "header "+name+" "+m.Header[name])
	}
	return strings.Join(parts, ", ")
}

func (r *request) route(route *routeView) {
	spec := &route.Spec
	recognize := ""
	if spec.Recognize != nil && !*spec.Recognize {
		recognize = "off"
	}
	phase := route.Status.Phase
	if phase == "none" {
		phase = ""
	}
	r.fields(
		field{"route", route.Name},
		field{"match", matches(spec.Match)},
		field{"sticky", spec.Sticky},
		field{"fallback", strings.Join(spec.Fallback, " ")},
		field{"unrecognized", spec.Unrecognized},
		field{"recognize", recognize},
		field{"rollout", phase},
		field{"weights set", weightsSet(route)},
		field{"reason", route.Status.Reason},
	)
	r.line("")
	t := table{columns: []column{
		{name: "variant"}, {name: "weight", right: true}, {name: "declared", right: true}, {name: "model"}, {name: "prompt"}, {name: "parameters"},
	}}
	for _, v := range spec.Variants {
		t.add(v.Name, percents(route.Weights[v.Name]), percents(route.Status.Declared[v.Name]), v.Model, v.Prompt, parameters(v))
	}
	r.table(t)
}

func weightsSet(route *routeView) string {
	if route.Status.Since == "" {
		return "by the configuration"
	}
	set := localTime(route.Status.Since)
	if route.Status.Actor != "" {
		set += " by " + route.Status.Actor
	}
	return set
}

func parameters(v *routing.Variant) string {
	var parts []string
	for _, name := range sortedKeys(v.Param) {
		parts = append(parts, name+"="+string(v.Param[name]))
	}
	for _, name := range v.Unset {
		parts = append(parts, name+" unset")
	}
	return strings.Join(parts, " ")
}

func (c *cli) rolloutCommand() *cobra.Command {
	var change changeFlags
	weights := c.command("weights ROUTE VARIANT=PERCENT…", "Sets the weights of a route", `
Sets how a route's traffic is split over its variants, in force for the next
request and after restarts. Every variant is named, and the weights sum to 100.
When the configuration's own weights of the route change, those win again.

	$ caddy llm rollout weights sentiment stable=80% candidate=20% --reason "the evaluation was good"`,
		exactly("ROUTE", "VARIANT=PERCENT…"), func(r *request, args []string) error {
			weights, err := parseWeights(args[1:])
			if err != nil {
				return err
			}
			var route routeView
			body := change.into(map[string]any{"weights": weights})
			if done, err := r.call(http.MethodPost, "/llm/routes"+segments(args[0])+"/rollout/weights", nil, body, &route); done || err != nil {
				return err
			}
			r.route(&route)
			return nil
		})
	change.register(weights)
	return group(&cobra.Command{
		Use: "rollout", Short: "Moves a route's traffic",
		Long: "Moves a route's traffic from one variant to another.\n\n\t$ caddy llm rollout weights sentiment stable=95 candidate=5",
	}, weights)
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

// promptURI writes a prompt version as tables show it.
func promptURI(name string, version int) string { return fmt.Sprintf("%s/%d", name, version) }
