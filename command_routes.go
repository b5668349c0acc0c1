package frontier

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// routeView is a route as the admin API answers it.
type routeView struct {
	Name    string             `json:"name"`
	Spec    routing.Route      `json:"spec"`
	Status  routeStatus        `json:"status"`
	Weights map[string]float64 `json:"weights"`
}

// routeStatus is what has happened to it.
type routeStatus struct {
	Phase        rollout.Phase         `json:"phase"`
	Step         int                   `json:"step"`
	Steps        int                   `json:"steps"`
	Since        string                `json:"since"`
	HeldMS       int64                 `json:"held_ms"`
	Generation   int                   `json:"generation"`
	Reason       string                `json:"reason"`
	Actor        string                `json:"actor"`
	Guards       []rollout.GuardStatus `json:"guards"`
	Units        map[string]int        `json:"units"`
	Persisted    bool                  `json:"persisted"`
	Log          []rollout.Entry       `json:"log"`
	Declared     map[string]float64    `json:"declared"`
	Unrecognized int64                 `json:"unrecognized"`
	Recognized   int64                 `json:"recognized"`
}

// rollout is where the rollout is, in a word or two; "-": there is none.
func (s *routeStatus) rollout() string {
	switch s.Phase {
	case rollout.PhaseNone, "":
		return "-"
	case rollout.PhasePending, rollout.PhaseCompleted:
		return string(s.Phase)
	}
	return fmt.Sprintf("%s %d/%d", s.Phase, s.Step, s.Steps)
}

func (c *cli) routesCommand() *cobra.Command {
	var asCaddyfile bool
	show := c.command("show ROUTE", "Shows a route with its variants", `
Shows one route: what leads to it, and each variant's model, prompt and weight,
in force and declared in the configuration. With --caddyfile it prints the lines of
a Caddyfile that declare the route as it is now, with the weights in force: put them
in the place of the route's block. A rollout that is under way stays in them, and
goes on; one that is completed or aborted, or whose weights were set by hand, is left out.

	$ caddy llm routes show sentiment
	$ caddy llm routes show sentiment --caddyfile`, exactly("ROUTE"), func(r *request, args []string) error {
		if asCaddyfile && r.json {
			return usagef("--caddyfile and --json: want one of them")
		}
		var route routeView
		if done, err := r.get("/llm/routes"+segments(args[0]), nil, &route); done || err != nil {
			return err
		}
		if !asCaddyfile {
			r.route(&route)
			return nil
		}
		lines, err := route.caddyfile()
		if err != nil {
			return err
		}
		r.text(lines)
		return nil
	})
	show.Flags().BoolVar(&asCaddyfile, "caddyfile", false, "Print the lines of a Caddyfile that declare it as it is now")
	return group(
		&cobra.Command{
			Use: "routes", Short: "Shows the routes",
			Long: "Shows the routes, their variants and the weights in force. To change weights: caddy llm rollout weights.\n\n\t$ caddy llm routes list",
		},
		c.command("list", "Lists the routes", `
Lists the routes with what leads to them, the weights in force, where a rollout is
(its phase and step), and since when it is so: by the configuration or at run time.

	$ caddy llm routes list`, exactly(), listRoutes),
		show,
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
	t := table{columns: []column{{name: "name"}, {name: "match"}, {name: "weights"}, {name: "rollout", paint: paintPhase}, {name: "set"}}}
	for i := range list.Items {
		route := &list.Items[i]
		set := "configuration"
		if route.Status.Since != "" {
			set = localTime(route.Status.Since)
		}
		t.add(route.Name, matches(route.Spec.Match), route.weights(), route.Status.rollout(), set)
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
	phase, set := "", weightsSet(route)
	if spec.Rollout != nil {
		phase, set = route.Status.rollout()+"; see: caddy llm rollout get "+route.Name, ""
	}
	r.fields(
		field{"route", route.Name},
		field{"match", matches(spec.Match)},
		field{"sticky", spec.Sticky},
		field{"fallback", strings.Join(spec.Fallback, " ")},
		field{"unrecognized", spec.Unrecognized},
		field{"recognize", recognize},
		field{"rollout", phase},
		field{"weights set", set},
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

// promptURI writes a prompt version as tables show it.
func promptURI(name string, version int) string { return fmt.Sprintf("%s/%d", name, version) }
