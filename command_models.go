package frontier

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/price"
)

// modelView is a model as the admin API answers it.
type modelView struct {
	Model         string  `json:"model"`
	Send          *string `json:"send"`
	ContextWindow *int64  `json:"context_window"`
	Price         *struct {
		Source price.Source `json:"source"`
		price.Prices
	} `json:"price"`
	Periods []price.Period `json:"periods"`
	UsedBy  []struct {
		Route   string `json:"route"`
		Variant string `json:"variant"`
	} `json:"used_by"`
}

func (c *cli) modelsCommand() *cobra.Command {
	var used bool
	cmd := c.command("models [PROVIDER]", "Lists the models with their prices", `
Lists the models of the configured providers, or of one: what to send as the
model to get it directly, its context window, what a million tokens cost in US
dollars now, where that price comes from, and which routes' variants use it. The
lines below a model are its prices for larger calls and at other times.

A provider's models are those that it declares or, if it declares none, those of
the embedded price table; those it has a price for; and those in use.

	$ caddy llm models
	$ caddy llm models openai
	$ caddy llm models --used`, exactly("[PROVIDER]"), func(r *request, args []string) error {
		q := url.Values{"limit": {"1000"}}
		if len(args) > 0 {
			q.Set("provider", args[0])
		}
		if used {
			q.Set("used", "true")
		}
		if r.json {
			return r.printPages("/llm/models", q)
		}
		var all []modelView
		if err := pages(r, "/llm/models", q, func(m modelView) error { all = append(all, m); return nil }); err != nil {
			return err
		}
		r.models(all)
		return nil
	})
	cmd.Flags().BoolVar(&used, "used", false, "Only those that a route's variant uses")
	return cmd
}

// sources are the words for where a price comes from.
var sources = map[price.Source]string{price.FromEmbedded: "embedded", price.FromFile: "prices file", price.FromConfiguration: "configuration"}

func (r *request) models(all []modelView) {
	if len(all) == 0 {
		r.note("There is no such model. Declare what a provider has with its option models, or use a model in a route's variant.")
		return
	}
	t := table{columns: []column{{name: "model"}, {name: "send"}, {name: "context", right: true}}}
	for _, name := range []string{"input", "output", "cached", "cache write", "reasoning"} {
		t.columns = append(t.columns, column{name: name, right: true})
	}
	t.columns = append(t.columns, column{name: "price from"}, column{name: "used by"})
	var unknown struct{ price, output, window int }
	for i := range all {
		m := &all[i]
		window, source, prices := "unknown", "", price.Prices{}
		if m.ContextWindow != nil {
			window = count(float64(*m.ContextWindow))
		} else {
			unknown.window++
		}
		if m.Price == nil {
			unknown.price++
		} else {
			source, prices = sources[m.Price.Source], m.Price.Prices
			if prices.Output == nil {
				unknown.output++
			}
			if calls := prices.ThousandCalls; calls != nil {
				source += ", and " + perMillion(calls, "") + " a thousand calls"
			}
		}
		var uses []string
		for _, u := range m.UsedBy {
			uses = append(uses, u.Route+"/"+u.Variant)
		}
		cells := append([]string{m.Model, orDash(m.Send), window}, priceCells(prices.Lines)...)
		t.add(append(cells, source, strings.Join(uses, " "))...)
		if len(m.Periods) == 0 {
			t.addPrices("", prices.Tiers)
		}
		for n := range m.Periods {
			p := &m.Periods[n]
			label := when(m.Periods, n)
			t.add(append([]string{"  " + label, "", ""}, priceCells(p.Lines)...)...)
			t.addPrices(label+", ", p.Tiers)
		}
	}
	r.table(t)
	missing := []string{}
	for _, u := range []struct {
		n    int
		what string
	}{{unknown.price, "the price of %d"}, {unknown.output, "the price of output of %d"}, {unknown.window, "the context window of %d"}} {
		if u.n > 0 {
			missing = append(missing, fmt.Sprintf(u.what, u.n))
		}
	}
	summary := fmt.Sprintf("%d models, prices in US dollars per million tokens.", len(all))
	if len(missing) > 0 {
		summary += " Unknown: " + strings.Join(missing, ", ") + "."
	}
	if unknown.price > 0 {
		summary += " The provider's option price adds one: price <id> <input> <output>."
	}
	r.note("%s", summary)
}

// addPrices adds a line for each tier.
func (t *table) addPrices(label string, tiers []price.Tier) {
	for _, tier := range tiers {
		t.add(append([]string{"  " + label + "above " + thousands(tier.Above), "", ""}, priceCells(tier.Lines)...)...)
	}
}

func priceCells(l price.Lines) []string {
	input, output := "as input", "as output"
	if l.Input == nil {
		input = "unknown"
	}
	if l.Output == nil {
		output = "unknown"
	}
	return []string{perMillion(l.Input, "unknown"), perMillion(l.Output, "unknown"), perMillion(l.Cached, input), perMillion(l.CacheWrite, input), perMillion(l.Reasoning, output)}
}

func perMillion(usd *float64, none string) string {
	if usd == nil {
		return none
	}
	s := trimZeros(*usd, 6)
	if point := strings.IndexByte(s, '.'); point >= 0 && point == len(s)-2 {
		s += "0"
	}
	return "$" + s
}

func thousands(n int64) string {
	if n%1000 == 0 && n > 0 {
		return strconv.FormatInt(n/1000, 10) + "k"
	}
	return count(float64(n))
}

// when says in words when the n-th of a model's periods is in force. Of two
// prices by the time of day, the lower is off-peak.
func when(periods []price.Period, n int) string {
	p := &periods[n]
	var others []*price.Hours
	label := ""
	for i := range periods {
		o := &periods[i]
		if (o.Daily == nil) == (p.Daily == nil) {
			continue
		}
		if o.Daily != nil {
			others = append(others, o.Daily)
		}
		if o.Input != nil && p.Input != nil && *p.Input < *o.Input {
			label = "off-peak "
		}
	}
	if p.From != "" {
		label += "from " + p.From
	}
	hours := ""
	switch {
	case p.Daily != nil:
		hours = p.Daily.Start + "–" + p.Daily.End + " UTC"
	case len(others) == 1:
		hours = others[0].End + "–" + others[0].Start + " UTC"
	case len(others) > 1:
		hours = "other hours"
	case p.From == "":
		hours = "until then"
	}
	if p.From != "" && hours != "" {
		hours = ", " + hours
	}
	label += hours
	if p.InForce {
		label += " (now)"
	}
	return label
}
