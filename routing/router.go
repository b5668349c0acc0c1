package routing

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/prompts"
)

func init() {
	caddy.RegisterModule(Router{})
	caddy.RegisterModule(new(Proxy))
}

// app is what the handlers need of the app.
type app interface {
	Routing() *Table
	// Admission is what is asked of requests before they are read.
	Admission() *call.Admission
	UseProvider(name string) error
}

func findApp(ctx caddy.Context, module string) (app, error) {
	a, err := ctx.App("llm")
	if err != nil {
		return nil, err
	}
	found, ok := a.(app)
	if !ok {
		return nil, fmt.Errorf("%s: the app llm is a %T", module, a)
	}
	return found, nil
}

// Router decides where an LLM API call goes: it finds the route (by the model
// that the call names, by its prompt, or by its headers), draws the variant
// by weight, keeping sessions, users and conversations where they are, and
// prepares the variant's request. A call that no route takes may go directly
// to a provider. It answers errors of the call itself (an unknown model, a
// missing prompt variable) in the dialect of the call; everything else is left to llm_proxy.
type Router struct {
	// The provider for calls that no route takes, whatever their model. Without it, such calls need a model that
	// says where to go: `provider/model-id`, or a bare name that exactly one provider has.
	Provider string `json:"provider,omitempty"`

	app app
}

// CaddyModule returns the Caddy module information.
func (Router) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.llm_router", New: func() caddy.Module { return new(Router) }}
}

// Provision finds the app.
func (h *Router) Provision(ctx caddy.Context) (err error) {
	if h.app, err = findApp(ctx, "llm_router"); err != nil || h.Provider == "" {
		return err
	}
	return h.app.UseProvider(h.Provider)
}

func (h *Router) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) (err error) {
	c, r, _, fail := call.Begin(r, h.app.Admission())
	if c == nil {
		return next.ServeHTTP(w, r)
	}
	if fail != nil {
		c.Fail(w, fail)
		return nil
	}
	switch c.Front {
	case call.ChatCompletions, call.Completions, call.Embeddings, call.Responses, call.Messages, call.CountTokens:
	default:
		return next.ServeHTTP(w, r)
	}
	p, fail := h.app.Routing().decide(c, r, h.Provider)
	if fail == nil {
		if fail = p.begin(); fail != nil {
			p.unfit = fail.Class
		}
	}
	defer p.release()
	if fail != nil {
		c.Fail(w, fail)
	} else {
		c.Plan = p
		err = next.ServeHTTP(w, r)
	}
	p.settle()
	return err
}

// decide finds the route of a call and draws its variant.
func (t *Table) decide(c *call.Call, r *http.Request, provider string) (*plan, *call.Error) {
	if c.RequestedModel == "" && c.Prompt.Name == "" && provider == "" && len(t.byHeader) == 0 {
		return nil, &call.Error{Status: http.StatusBadRequest, Class: "invalid_request", Code: "missing_required_parameter", Param: "model", Message: `the request names no model; set "model" to ` + t.suggest()}
	}
	p := &plan{table: t, call: c, request: r, site: provider}
	route := t.RouteFor(c, r.Header)
	if route == nil && c.Prompt.Name != "" {
		if by := t.byPrompt[c.Prompt.Name]; by != nil && by.accepts(r.Header) {
			route = by
		}
	}
	model := c.RequestedModel
	if model == "" {
		model = t.promptModel(c)
	}
	if route == nil && model != c.RequestedModel {
		route = t.routeFor(model, r.Header)
	}
	if route != nil {
		c.Route = route.Name
		p.route = route
		return p, p.assign()
	}
	c.Assignment = call.Direct
	if c.Prompt.Source == call.FromModel {
		return p, &call.Error{
			Status: http.StatusNotFound, Class: "model_not_found", Code: "model_not_found", Param: "model",
			Message: fmt.Sprintf("%q names a prompt, and it is not clear which route answers it: no route, or more than one, has: match prompt %s", c.RequestedModel, c.Prompt.Name),
		}
	}
	if t.Direct || provider != "" {
		if name, id, ok := t.direct(model); ok && (t.Direct || name == provider) {
			p.provider, p.prefix, p.model = t.Providers[name], name, id
		} else if provider != "" && model != "" {
			p.provider, p.prefix, p.model = t.Providers[provider], provider, model
		}
	}
	if p.provider == nil && model == "" && c.Prompt.Name != "" {
		return p, &call.Error{
			Status: http.StatusBadRequest, Class: "invalid_request", Code: "missing_required_parameter", Param: "model",
			Message: fmt.Sprintf("the request names no model, nor does the model config of prompt %s; set it in either, or have a route with: match prompt %s", c.Prompt.Name, c.Prompt.Name),
		}
	}
	if p.provider == nil {
		return p, &call.Error{
			Status: http.StatusNotFound, Class: "model_not_found", Code: "model_not_found", Param: "model",
			Message: fmt.Sprintf("there is no model %q here; use %s", model, t.suggest()),
		}
	}
	return p, nil
}

// promptModel is the model that the prompt which the call names is made for, ""
// when it does not say. As at OpenAI, such a call need not name one.
func (t *Table) promptModel(c *call.Call) string {
	if c.Prompt.Name == "" || c.Prompt.Source == call.Recognized {
		return ""
	}
	v, err := t.resolve(prompts.Reference{Name: c.Prompt.Name, Version: c.Prompt.Version, Alias: c.Prompt.Alias})
	if err != nil {
		return ""
	}
	model, _ := jsonscan.Unquote(v.ModelConfig["model"])
	return model
}

// suggest names what a caller may ask for, in a sentence.
func (t *Table) suggest() string {
	names := t.known()
	more := ""
	if len(names) > 20 {
		more = fmt.Sprintf(" (and %d more)", len(names)-20)
		names = names[:20]
	}
	s := strings.Join(names, ", ") + more
	if t.Direct && len(t.Providers) > 0 {
		providers := make([]string, 0, len(t.Providers))
		for _, name := range sortedKeys(t.Providers) {
			providers = append(providers, name+"/<model>")
		}
		if s != "" {
			s += ", or "
		}
		s += strings.Join(providers, ", ")
	}
	if s == "" {
		return "the name of a route, once one is configured"
	}
	return s
}

// assign draws the variant of a routed call.
func (p *plan) assign() *call.Error {
	c, r := p.call, p.route
	s := r.split.Load()
	if c.Prompt.Name == "" && len(c.Prompt.Variables) == 0 && p.needsVariables() {
		c.Assignment = call.Unrecognized
		p.unchanged = true
		if r.rollout != nil {
			r.rollout.unrecognized.Add(1)
		}
		switch r.Config.Unrecognized {
		case "reject":
			return p.unrecognized()
		case "weighted":
			p.use(s.pick(p.bucket()))
		default:
			if s.weights[r.stable] > 0 {
				p.use(r.stable)
			} else {
				p.use(s.pick(p.bucket()))
			}
		}
		return nil
	}
	if c.Prompt.Pinned {
		c.Assignment = call.Pinned
		p.use(p.pinned())
		return nil
	}
	if c.Continued {
		id, known := c.Conversation, false
		if c.PreviousResponseID != "" {
			id = c.PreviousResponseID
		}
		var name string
		if p.table.state != nil {
			name, known = p.table.state.conversations.get(r.Name, id)
		}
		if i := r.variant(name); known && i >= 0 {
			c.Assignment = call.Continued
			p.use(i)
			return nil
		}
		if c.PreviousResponseID != "" {
			c.Assignment = call.Continued
			p.use(r.stable)
			return nil
		}
	}
	c.Assignment = call.Drawn
	at := p.place()
	i := s.pick(uint16(at % hundred))
	p.use(i)
	p.drew(s, i, at)
	return nil
}

func (p *plan) bucket() uint16 { return uint16(p.place() % hundred) }

// place is that of the call's unit.
func (p *plan) place() uint64 {
	u, missing := unit(p.route.Config.Sticky, p.call)
	if missing {
		p.route.unitless.Add(1)
	}
	return place(p.route.Name, u)
}

func (r *RouteState) variant(name string) int {
	for i, v := range r.variants {
		if v.Name == name {
			return i
		}
	}
	return -1
}

// needsVariables reports whether a variant binds a prompt that cannot be
// rendered without what only recognition or the request can give.
func (p *plan) needsVariables() bool {
	for _, v := range p.route.variants {
		if v.prompt == nil {
			continue
		}
		if version, err := p.table.resolve(*v.prompt); err == nil && len(version.Variables) > 0 {
			return true
		}
	}
	return false
}

func (p *plan) unrecognized() *call.Error {
	e := &call.Error{Status: http.StatusBadRequest, Class: "unrecognized", Code: "prompt_not_recognized", Param: "messages"}
	e.Message = fmt.Sprintf("route %q takes only requests with one of its prompts, and none was recognised in this one", p.route.Name)
	if m := p.call.NearMiss; m != nil {
		e.Message += fmt.Sprintf("; nearest is %s/%d: at byte %d of message %d it has %q, the request %q", m.Prompt, m.Version, m.Offset, m.Message, m.Want, m.Got)
	}
	return e
}

// pinned is the variant that binds the version which the request names, or stable.
func (p *plan) pinned() int {
	for i, v := range p.route.variants {
		if v.prompt == nil || v.prompt.Name != p.call.Prompt.Name {
			continue
		}
		if version, err := p.table.resolve(*v.prompt); err == nil && version.Version == p.call.Prompt.Version {
			return i
		}
	}
	return p.route.stable
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Router)(nil)
	_ caddyhttp.MiddlewareHandler = (*Router)(nil)
)
