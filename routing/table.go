package routing

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/price"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing/rollout"
	"github.com/caddy-frontier/frontier/tracing"
)

// Table is what the handlers decide by: one configuration's providers and
// routes, compiled. Only weights change, and those by an atomic pointer.
type Table struct {
	Providers map[string]*Provider
	Routes    []*RouteState // by name
	Direct    bool          // calls that no route takes may go to providers
	Prices    *price.Table

	MaxInFlight int // calls at once; 0: no limit

	// Recorder keeps the traces of the gateway's own calls; nil: there are none.
	Recorder *tracing.Recorder

	// Emit tells Caddy's events app of an event of a rollout; nil: nobody is told.
	Emit func(name string, data map[string]any)

	inFlight atomic.Int64
	byName   map[string]*RouteState
	byModel  map[string][]*RouteState // those with headers first
	byPrompt map[string]*RouteState
	byHeader []*RouteState
	formats  *formats
	state    *State
	view     *prompts.View
	unwatch  func() // ends following the prompts
	attached atomic.Bool
}

// RouteState is a route of the configuration with its weights in force.
type RouteState struct {
	Name   string
	Config *Route

	table     *Table
	declared  []uint16
	variants  []*variant
	fallback  []int
	split     atomic.Pointer[split]
	override  atomic.Pointer[Override]
	revision  atomic.Uint64 // of the weights in the control store, in force or replaced; 0: none
	unitless  atomic.Int64  // calls that lacked what the route is sticky by
	stable    int
	recognize bool

	plan    *rollout.Plan // nil: the route has no rollout
	rollout *controller   // set by State.attach
}

// variant is a compiled variant.
type variant struct {
	*Variant
	provider *Provider
	prefix   string // provider's name
	model    string // the provider's id
	prompt   *prompts.Reference
	limits   Timeouts
	params   []param
	adapts   bool  // to what the model is known to refuse
	window   int64 // the model's, in tokens; 0: unknown
}

// Check finds the mistakes that can be found without the environment: no
// variable and no file is looked at. Errors are of type *ConfigError.
func Check(providers map[string]*Provider, routes map[string]*Route) error {
	for _, name := range sortedKeys(providers) {
		if err := providers[name].Validate(name); err != nil {
			return err
		}
	}
	_, err := NewTable(providers, routes, true, nil)
	return err
}

// NewTable checks and compiles a configuration. The errors name what is wrong.
func NewTable(providers map[string]*Provider, routes map[string]*Route, direct bool, prices *price.Table) (*Table, error) {
	t := &Table{
		Providers: providers, Direct: direct, Prices: prices, formats: newFormats(),
		byName: map[string]*RouteState{}, byModel: map[string][]*RouteState{}, byPrompt: map[string]*RouteState{},
	}
	for _, name := range sortedKeys(routes) {
		if err := routes[name].Validate(name, providers); err != nil {
			return nil, err
		}
		r, err := t.compile(name, routes[name])
		if err != nil {
			return nil, err
		}
		t.Routes = append(t.Routes, r)
		t.byName[name] = r
	}
	return t, t.index()
}

func (t *Table) compile(name string, cfg *Route) (*RouteState, error) {
	r := &RouteState{Name: name, Config: cfg, table: t, recognize: cfg.Recognize == nil || *cfg.Recognize}
	var err error
	if r.declared, err = cfg.declared(); err != nil {
		return nil, within("route", name, err)
	}
	r.split.Store(newSplit(r.declared))
	for i, v := range cfg.Variants {
		prefix, model, _ := strings.Cut(v.Model, "/")
		cv := &variant{Variant: v, provider: t.Providers[prefix], prefix: prefix, model: model, limits: v.Timeouts, params: compileParams(v)}
		cv.adapts = cfg.Adapt == nil || *cfg.Adapt
		if t.Prices != nil { // a check by itself has none
			info, _ := t.Prices.Model(prefix, model)
			cv.window = info.ContextWindow
		}
		if v.Prompt != "" {
			ref, err := prompts.ParseReference(v.Prompt)
			if err != nil {
				return nil, within("route", name, within("variant", v.Name, err))
			}
			cv.prompt = &ref
		}
		if v.Name == "stable" {
			r.stable = i
		}
		r.variants = append(r.variants, cv)
	}
	if r.plan, err = cfg.plan(); err != nil {
		return nil, within("route", name, err)
	}
	if err := t.priced(r); err != nil {
		return nil, within("route", name, err)
	}
	for _, f := range cfg.Fallback {
		r.fallback = append(r.fallback, slices.IndexFunc(cfg.Variants, func(v *Variant) bool { return v.Name == f }))
	}
	return r, nil
}

// priced checks that a rollout which compares costs can know them.
func (t *Table) priced(r *RouteState) error {
	if r.plan == nil || t.Prices == nil {
		return nil
	}
	guard, needed := r.plan.Needs()["price"]
	for _, v := range r.variants {
		if spec := r.plan.Spec(); !needed || v.Name != spec.From && v.Name != spec.To {
			continue
		}
		info, _ := t.Prices.Model(v.prefix, v.model)
		if _, known := info.Prices(time.Now()); !known {
			return &ConfigError{Path: []string{"rollout", "guard " + guard}, Err: fmt.Errorf(
				"rollout: guard %s needs a price of %s, which is not known; add to provider %s: price %s <input> <output>", guard, v.Model, v.prefix, v.model)}
		}
	}
	return nil
}

// index makes the maps by which calls find their route.
func (t *Table) index() error {
	promptRoutes := map[string][]string{}
	for _, r := range t.Routes {
		m := r.Config.Match
		if m == nil {
			m = &Match{}
		}
		for _, model := range append([]string{r.Name}, m.Model...) {
			if slices.Contains(t.byModel[model], r) {
				continue
			}
			if model != r.Name && t.byName[model] != nil {
				return within("route", r.Name, wrong("match model "+model, "match model %q is the name of another route; rename that route or remove this", model))
			}
			for _, other := range t.byModel[model] {
				if headersEqual(other, r) && model != r.Name {
					return within("route", r.Name, wrong("match model "+model, "match model %q is also matched by route %q; tell them apart by match header, or remove one", model, other.Name))
				}
			}
			t.byModel[model] = append(t.byModel[model], r)
		}
		for _, p := range m.Prompt {
			promptRoutes[p] = append(promptRoutes[p], r.Name)
			t.byPrompt[p] = r
		}
		if len(m.Header) > 0 && len(m.Model) == 0 && len(m.Prompt) == 0 {
			t.byHeader = append(t.byHeader, r)
		}
	}
	for p, routes := range promptRoutes {
		if len(routes) > 1 {
			delete(t.byPrompt, p) // belongs to no one route: it does not lead anywhere
		}
	}
	for _, rs := range t.byModel {
		slices.SortStableFunc(rs, func(a, b *RouteState) int { return len(b.headers()) - len(a.headers()) })
	}
	return nil
}

func (r *RouteState) headers() map[string]string {
	if r.Config.Match == nil {
		return nil
	}
	return r.Config.Match.Header
}

func headersEqual(a, b *RouteState) bool {
	x, y := a.headers(), b.headers()
	if len(x) != len(y) {
		return false
	}
	for k, v := range x {
		if y[k] != v {
			return false
		}
	}
	return true
}

// accepts reports whether the request carries the headers that the route wants.
func (r *RouteState) accepts(h http.Header) bool {
	for k, v := range r.headers() {
		if h.Get(k) != v {
			return false
		}
	}
	return true
}

// RouteFor returns the route that a call reaches by its model or its headers,
// or nil.
func (t *Table) RouteFor(c *call.Call, h http.Header) *RouteState {
	if r := t.routeFor(c.RequestedModel, h); r != nil {
		return r
	}
	for _, r := range t.byHeader {
		if r.accepts(h) {
			return r
		}
	}
	return nil
}

func (t *Table) routeFor(model string, h http.Header) *RouteState {
	for _, r := range t.byModel[model] {
		if r.Name == model || r.accepts(h) {
			return r
		}
	}
	return nil
}

// Scopes is what recognition has to know of the routes.
func (t *Table) Scopes() []prompts.Scope {
	var scopes []prompts.Scope
	for _, r := range t.Routes {
		s := prompts.Scope{Route: r.Name, Recognize: r.recognize}
		if r.Config.Match != nil {
			s.Match = r.Config.Match.Prompt
		}
		for _, v := range r.variants {
			if v.prompt != nil {
				s.Prompts = append(s.Prompts, v.Prompt)
			}
		}
		scopes = append(scopes, s)
	}
	return scopes
}

// Attach puts run-time state and prompts in force. Until then the declared
// weights are. Detach ends it.
func (t *Table) Attach(s *State, view *prompts.View, log *zap.Logger) {
	t.state, t.view = s, view
	s.attach(t)
	t.attached.Store(true)
	t.unwatch = view.Registry().OnChange(func(*prompts.Snapshot, []string) {
		for _, r := range t.Routes {
			if r.rollout != nil {
				r.rollout.prompts(r)
			}
		}
	})
	if remedies := t.unpriced(time.Now()); len(remedies) > 0 {
		log.Warn("routes use models whose price is not known: what their calls cost is not known either; add their prices, in US dollars per million tokens",
			zap.Strings("add", remedies))
	}
	for _, r := range t.Routes {
		for _, v := range r.variants {
			if v.prompt == nil {
				continue
			}
			if _, err := t.resolve(*v.prompt); err != nil {
				log.Warn("a variant binds a prompt that does not exist yet: its calls are refused until it does",
					zap.String("route", r.Name), zap.String("variant", v.Name), zap.Error(err))
			}
		}
	}
}

// enter admits a call, unless as many as are allowed are under way. Those
// under way are never given up for it.
func (t *Table) enter() (leave func(), fail *call.Error) {
	if n := t.inFlight.Add(1); t.MaxInFlight > 0 && n > int64(t.MaxInFlight) {
		t.inFlight.Add(-1)
		return nil, &call.Error{
			Status: http.StatusTooManyRequests, Class: call.Overloaded, Code: call.Overloaded, RetryAfter: time.Second,
			Message: fmt.Sprintf("the gateway has %d calls under way, which is its limit (limits max_in_flight); try again", t.MaxInFlight),
		}
	}
	return func() { t.inFlight.Add(-1) }, nil
}

// resolve finds a prompt version in the registry as it is now.
func (t *Table) resolve(ref prompts.Reference) (*prompts.Version, error) {
	if t.view == nil {
		return nil, errors.New("the prompt registry is not open")
	}
	return t.view.Current().Resolve(ref)
}

// Detach takes the table away from its state.
func (t *Table) Detach() {
	if t.state != nil {
		t.unwatch()
		t.state.detach(t)
	}
}

// direct finds the provider of a call that no route takes: `provider/id`, or a
// bare name that exactly one provider has.
func (t *Table) direct(model string) (provider string, id string, ok bool) {
	if p, id, found := strings.Cut(model, "/"); found && t.Providers[p] != nil && id != "" {
		return p, id, true
	}
	for _, declared := range []bool{true, false} {
		for name, p := range t.Providers {
			if declared && slices.Contains(p.Models, model) || !declared && t.Prices.Has(name, model) {
				if ok {
					return "", "", false
				}
				provider, ok = name, true
			}
		}
		if ok {
			return provider, model, true
		}
	}
	return "", "", false
}

// known lists what a caller may ask for: routes, what they match, and models of providers.
func (t *Table) known() []string {
	var out []string
	for _, r := range t.Routes {
		out = append(out, r.Name)
		if r.Config.Match != nil {
			out = append(out, r.Config.Match.Model...)
		}
	}
	if t.Direct {
		for _, p := range t.Providers {
			out = append(out, p.Models...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
