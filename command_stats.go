package frontier

import (
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/tracing"
)

func (c *cli) statsCommand() *cobra.Command {
	var groupBy, route, since, until string
	cmd := c.command("stats", "Shows statistics over traces", `
Shows requests, errors, latency, tokens and cost by variant, model, prompt or route.

	$ caddy llm stats --route sentiment --since 1d
	$ caddy llm stats --group-by model`, exactly(), func(r *request, _ []string) error {
		switch groupBy {
		case "variant", "model", "prompt", "route":
		default:
			return usagef("--group-by %q: want variant, model, prompt or route", groupBy)
		}
		q := url.Values{"group_by": {groupBy}}
		if route != "" {
			q.Set("route", route)
		}
		if err := setRange(q, since, until, time.Now()); err != nil {
			return err
		}
		var stats tracing.Stats
		if done, err := r.get("/llm/stats", q, &stats); done || err != nil {
			return err
		}
		if len(stats.Items) == 0 {
			r.note("No trace matches.")
			return nil
		}
		r.stats(groupBy, &stats)
		return nil
	})
	flags := cmd.Flags()
	flags.StringVar(&groupBy, "group-by", "variant", "variant, model, prompt or route")
	flags.StringVar(&route, "route", "", "Of this route")
	flags.StringVar(&since, "since", "", "Since then: a time, a date, or how long ago (90m, 2d); default: 24h")
	flags.StringVar(&until, "until", "", "Until then: as --since")
	return cmd
}

func (r *request) stats(groupBy string, stats *tracing.Stats) {
	t := table{columns: []column{{name: groupBy}}}
	if groupBy == "variant" {
		t.columns = []column{{name: "route"}, {name: "variant"}}
	}
	for _, name := range []string{"requests", "errors", "cancelled", "p50", "p95", "p99", "ttft p50", "ttft p95", "in", "out", "cost"} {
		t.columns = append(t.columns, column{name: name, right: true})
	}
	unknown := int64(0)
	for i := range stats.Items {
		item := &stats.Items[i]
		name := map[string]*string{"variant": item.Variant, "model": item.Model, "prompt": item.Prompt, "route": item.Route}[groupBy]
		failed := "0"
		if item.Errors > 0 {
			failed = fmt.Sprintf("%s (%s)", count(float64(item.Errors)), share(item.ErrorRate))
		}
		cost := dollars(item.CostUSD)
		if item.CostUnknown > 0 && item.CostUSD != nil {
			cost += "+"
		}
		unknown += item.CostUnknown
		cells := []string{orDash(name)}
		if groupBy == "variant" {
			cells = []string{orDash(item.Route), orDash(name)}
		}
		t.add(append(cells, count(float64(item.Requests)), failed, count(float64(item.Cancelled)),
			milliseconds(item.LatencyMS.P50), milliseconds(item.LatencyMS.P95), milliseconds(item.LatencyMS.P99),
			milliseconds(item.TTFTMS.P50), milliseconds(item.TTFTMS.P95),
			count(float64(item.InputTokens)), count(float64(item.OutputTokens)), cost)...)
	}
	r.table(t)
	if unknown > 0 {
		r.note("The cost of %s requests is not known and not in the sum: no usage was reported for them, or the prices of their models are missing (the provider's option price adds them).", count(float64(unknown)))
	}
}
