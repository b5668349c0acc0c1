package routing

import (
	"fmt"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/price"
)

// modelAnswer is a model of a configured provider in the admin API. What is
// not known is null.
type modelAnswer struct {
	Model         string         `json:"model"` // provider/id, as routes name it
	Provider      string         `json:"provider"`
	ID            string         `json:"id"`             // the provider's own
	Send          *string        `json:"send"`           // the model of a direct call; null: there is none, routes alone lead to it
	ContextWindow *int64         `json:"context_window"` // tokens
	Price         *modelPrice    `json:"price"`          // in force now; null: unknown
	Periods       []price.Period `json:"periods"`        // of a price that depends on the time: now and later
	UsedBy        []modelUse     `json:"used_by"`
}

type modelPrice struct {
	Source price.Source `json:"source"`
	price.Prices
}

type modelUse struct {
	Route   string `json:"route"`
	Variant string `json:"variant"`
}

// modelsRoute is the admin API's list of models.
func (h routesAPI) modelsRoute() api.Route {
	return api.Route{
		Method: http.MethodGet, Path: "/models", Summary: "Lists the models of the configured providers: what to send, context windows, prices, the variants that use them.",
		Query: []api.Param{
			{Name: "provider", Summary: "of this provider"},
			{Name: "q", Summary: "whose name contains this, in either case"},
			{Name: "used", Summary: "true: that a route's variant uses"},
			{Name: "cursor", Summary: "next_cursor of the page before"},
			{Name: "limit", Summary: "models a page, 1 to 1000; default 100"},
		},
		Answer: api.List[modelAnswer]{}, Handle: h.models,
	}
}

func (h routesAPI) models(w http.ResponseWriter, r *http.Request) error {
	t, err := h.lookup()
	if err != nil {
		return err
	}
	q, limit, used := r.URL.Query(), 100, false
	if text := q.Get("limit"); text != "" {
		if limit, err = strconv.Atoi(text); err != nil || limit < 1 || limit > 1000 {
			return api.Invalid("limit", "limit must be a number from 1 to 1000; got %q", text)
		}
	}
	if text := q.Get("used"); text != "" {
		if used, err = strconv.ParseBool(text); err != nil {
			return api.Invalid("used", "used must be true or false; got %q", text)
		}
	}
	providers := sortedKeys(t.Providers)
	if only := q.Get("provider"); only != "" {
		if t.Providers[only] == nil {
			return api.Invalid("provider", "there is no provider %q; there is: %s", only, strings.Join(providers, ", "))
		}
		providers = []string{only}
	}
	uses := t.uses()
	var names []string
	for _, provider := range providers {
		names = append(names, t.modelsOf(provider, uses)...)
	}
	contained := strings.ToLower(q.Get("q"))
	names = slices.DeleteFunc(names, func(name string) bool {
		return used && uses[name] == nil || !strings.Contains(strings.ToLower(name), contained)
	})
	slices.Sort(names)
	if after := q.Get("cursor"); after != "" {
		names = names[sort.SearchStrings(names, after+"\x00"):]
	}
	next := ""
	if len(names) > limit {
		names, next = names[:limit], names[limit-1]
	}
	items, now := make([]modelAnswer, len(names)), time.Now()
	for i, name := range names {
		items[i] = t.describe(name, uses[name], now)
	}
	api.WriteList(w, items, next)
	return nil
}

// uses are the variants by the model that they use.
func (t *Table) uses() map[string][]modelUse {
	uses := map[string][]modelUse{}
	for _, r := range t.Routes {
		for _, v := range r.variants {
			uses[v.Model] = append(uses[v.Model], modelUse{r.Name, v.Name})
		}
	}
	return uses
}

// modelsOf names a provider's models: those it declares or, if it declares
// none, those the price table has; those it has a price for; those in use.
func (t *Table) modelsOf(provider string, uses map[string][]modelUse) []string {
	p := t.Providers[provider]
	ids := slices.Concat(p.Models, sortedKeys(p.Price))
	if len(p.Models) == 0 {
		ids = append(ids, t.Prices.Models(provider)...)
	}
	names := make([]string, 0, len(ids))
	for _, id := range ids {
		names = append(names, provider+"/"+id)
	}
	for name := range uses {
		if strings.HasPrefix(name, provider+"/") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (t *Table) describe(name string, used []modelUse, now time.Time) modelAnswer {
	provider, id, _ := strings.Cut(name, "/")
	a := modelAnswer{Model: name, Provider: provider, ID: id, Send: t.send(provider, id), Periods: []price.Period{}, UsedBy: []modelUse{}}
	a.UsedBy = append(a.UsedBy, used...)
	info, _ := t.Prices.Model(provider, id)
	if info.ContextWindow > 0 {
		a.ContextWindow = &info.ContextWindow
	}
	if prices, known := info.Prices(now); known {
		a.Price = &modelPrice{info.Source, prices}
		a.Periods = append(a.Periods, info.Schedule(now)...)
	}
	return a
}

// send is the shortest name by which a direct call reaches the model: a name
// that a route takes leads elsewhere.
func (t *Table) send(provider, id string) *string {
	if !t.Direct {
		return nil
	}
	for _, name := range []string{id, provider + "/" + id} {
		if p, found, ok := t.direct(name); ok && p == provider && found == id && len(t.byModel[name]) == 0 {
			return &name
		}
	}
	return nil
}

// unpriced says how to price the models that variants use and whose price is
// not known: their calls' costs are not.
func (t *Table) unpriced(now time.Time) (remedies []string) {
	for _, name := range sortedKeys(t.uses()) {
		provider, id, _ := strings.Cut(name, "/")
		info, _ := t.Prices.Model(provider, id)
		if _, known := info.Prices(now); !known {
			remedies = append(remedies, fmt.Sprintf("provider %s { price %s <input> <output> }", provider, id))
		}
	}
	return remedies
}
