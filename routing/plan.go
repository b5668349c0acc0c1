package routing

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/routing/rollout"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// plan is what the router decided for one call: the variants to try, in order,
// or the one provider of a direct call. Requests are made when they are
// wanted: usually only the first.
type plan struct {
	table   *Table
	call    *call.Call
	request *http.Request

	route     *RouteState
	order     []int // variants, as indices: the one drawn, then the fallback
	unchanged bool  // no prompt was recognised: the messages stay as they are

	drawn  draw           // of a call that is evidence for a rollout
	unfit  string         // why the variant drawn could not be asked: a class
	empty  bool           // there was nothing in the answer
	format rollout.Format // whether the answer keeps to it

	own        bool             // a call of the gateway's own
	config     *prompts.Version // of such a call: for its model config and response format
	provider   *Provider        // of a direct call
	prefix     string
	model      string
	site       string // the provider that the caller's own credential may go to, and no other
	credential string // the caller's, when the last request carried it

	skipped  []call.Attempt // at variants that could not even be asked
	first    *upstream.Target
	prepared []prepared
	buffers  [][]byte
}

// prepared is what the trace has to know of a target, if it is the one that answers.
type prepared struct {
	served      call.ServedPrompt
	adjustments []string
	body        *body
}

func (p *plan) use(variant int) {
	p.order = append(p.order[:0], variant)
	for _, f := range p.route.fallback {
		if f != variant {
			p.order = append(p.order, f)
		}
	}
	p.call.Variant = p.route.variants[variant].Name
}

// release gives the requests' buffers back.
func (p *plan) release() {
	if p == nil {
		return
	}
	for _, b := range p.buffers {
		call.FreeBuffer(b)
	}
	p.buffers = nil
}

// begin makes the first request, so that what is wrong with the call is
// answered before anything is sent. A variant whose prompt is not there is
// passed over for its fallback, as one is whose provider fails; the candidate
// of a rollout is for whatever it is that cannot be made of the call.
func (p *plan) begin() *call.Error {
	for {
		started := time.Now()
		_, fail := p.prepare(0)
		if fail == nil || len(p.order) < 2 {
			return fail
		}
		v := p.route.variants[p.order[0]]
		if fail.Class != unbound && fail.Class != dialect.Unsayable && !p.onTrial(v) {
			return fail
		}
		p.skipped = append(p.skipped, call.Attempt{
			Provider: v.prefix, Model: v.model, Variant: v.Name, Started: started, ErrorClass: fail.Class, Message: fail.Message, Skipped: true,
		})
		p.order = p.order[1:]
	}
}

// prepare makes the i-th request; nil when there is none.
func (p *plan) prepare(i int) (*upstream.Target, *call.Error) {
	if i == 0 && p.first != nil {
		return p.first, nil
	}
	var t *upstream.Target
	var fail *call.Error
	switch {
	case p.route != nil && i < len(p.order):
		t, fail = p.routed(p.route.variants[p.order[i]])
	case p.route == nil && i == 0:
		t, fail = p.direct()
	}
	if i == 0 {
		p.first = t
	}
	return t, fail
}

// direct passes the call on as it is, but for the provider's name before the
// model's, and for a prompt that it names: that is rendered, with its parameters.
func (p *plan) direct() (*upstream.Target, *call.Error) {
	c := p.call
	b := &body{call: c, edit: c.Object.Edit()}
	if p.model != c.RequestedModel {
		b.edit.Set("model", jsonscan.AppendQuoted(nil, p.model))
	}
	version, fail := p.named()
	if fail != nil {
		return nil, fail
	}
	served, fail := p.prompt(b, version)
	if fail != nil {
		return nil, fail
	}
	b.parameters(cmp.Or(version, p.config), nil)
	t, adjustments, fail := p.target(b, p.provider, p.prefix, p.model, upstream.Limits{}, true)
	if fail != nil {
		return nil, fail
	}
	p.prepared = append(p.prepared, prepared{served: served, adjustments: adjustments, body: b})
	return t, nil
}

// routed makes the request of a variant.
func (p *plan) routed(v *variant) (*upstream.Target, *call.Error) {
	c := p.call
	b := &body{call: c, edit: c.Object.Edit()}
	if v.model != c.RequestedModel {
		b.edit.Set("model", jsonscan.AppendQuoted(nil, v.model))
	}
	var served call.ServedPrompt
	var version *prompts.Version
	if !p.unchanged {
		var fail *call.Error
		if version, fail = p.version(v); fail != nil {
			return nil, fail
		}
		if served, fail = p.prompt(b, version); fail != nil {
			return nil, fail
		}
	}
	b.parameters(version, v.params)
	t, adjustments, fail := p.target(b, v.provider, v.prefix, v.model, v.limits.limits(), v.adapts)
	if fail != nil {
		return nil, fail
	}
	t.Variant, t.Window, t.OnTrial = v.Name, v.window, p.onTrial(v)
	p.prepared = append(p.prepared, prepared{served: served, adjustments: adjustments, body: b})
	return t, nil
}

// version is the prompt version that a variant answers this call with; nil: none.
func (p *plan) version(v *variant) (*prompts.Version, *call.Error) {
	named := p.call.Prompt
	if named.Name == "" {
		if v.prompt == nil {
			return nil, nil
		}
		return p.resolveBound(v)
	}
	own := prompts.Reference{Name: named.Name, Version: named.Version, Alias: named.Alias}
	if named.Pinned || v.prompt == nil {
		return p.resolve(own)
	}
	if v.prompt.Name != named.Name && named.Source != call.Recognized && !p.bound(named.Name) {
		return p.resolve(own) // a prompt that has nothing to do with what the route migrates
	}
	return p.resolveBound(v)
}

// unbound is the error class of a variant whose prompt does not exist (yet).
const unbound = "prompt_unbound"

func (p *plan) resolveBound(v *variant) (*prompts.Version, *call.Error) {
	version, err := p.table.resolve(*v.prompt)
	if err != nil {
		return nil, &call.Error{
			Status: http.StatusServiceUnavailable, Class: unbound, Code: "prompt_not_found", NoRetry: true,
			Message: fmt.Sprintf("variant %q of route %q binds a prompt that is not there: %s", v.Name, p.route.Name, err),
		}
	}
	return version, nil
}

func (p *plan) bound(prompt string) bool {
	return slices.ContainsFunc(p.route.variants, func(v *variant) bool { return v.prompt != nil && v.prompt.Name == prompt })
}

func (p *plan) resolve(ref prompts.Reference) (*prompts.Version, *call.Error) {
	v, err := p.table.resolve(ref)
	if err != nil {
		return nil, &call.Error{Status: http.StatusNotFound, Class: "prompt_not_found", Code: "prompt_not_found", Param: "prompt", Message: err.Error()}
	}
	return v, nil
}

// named is the version of a direct call's own prompt; nil: it names none.
func (p *plan) named() (*prompts.Version, *call.Error) {
	named := p.call.Prompt
	if named.Name == "" || named.Source == call.Recognized {
		return nil, nil
	}
	return p.resolve(prompts.Reference{Name: named.Name, Version: named.Version, Alias: named.Alias})
}

// prompt renders the version, if there is one, into the request.
func (p *plan) prompt(b *body, v *prompts.Version) (served call.ServedPrompt, fail *call.Error) {
	if v == nil {
		return served, nil
	}
	named := p.call.Prompt
	if fail := prompts.Apply(p.call, v, b.edit); fail != nil {
		return served, fail
	}
	source := named.Source
	if named.Name == "" {
		source = call.Bound
	}
	return call.ServedPrompt{Name: v.Name, Version: v.Version, Source: source}, nil
}

// callers is the caller's own credential, if the provider may have it: it has
// none of its own, and is the one that the site's directive names.
func (p *plan) callers(provider *Provider, name string) string {
	p.credential = ""
	if name == p.site && !provider.HasKey() && !p.call.Authenticated {
		p.credential = call.Credential(p.request.Header)
	}
	return p.credential
}

// render makes the request's body, which is the call's own if nothing was edited.
func (p *plan) render(b *body) []byte {
	if !b.edit.Changed() {
		return b.call.Body
	}
	buf := b.edit.AppendTo(call.Buffer(len(b.call.Body) + 512))
	p.buffers = append(p.buffers, buf)
	return buf
}

// askUsage asks for the usage of a stream; it reports whether the client did not.
func (b *body) askUsage() (hide bool) {
	doc := b.call.Body
	v := b.call.Object.Get("stream_options")
	if !v.IsObject(doc) {
		b.edit.Set("stream_options", []byte(`{"include_usage":true}`))
		return true
	}
	switch asked := jsonscan.Lookup(doc, v, "include_usage"); {
	case !asked.Exists():
		inner := strings.TrimSpace(string(doc[v.Start+1 : v.End-1]))
		if inner != "" {
			inner = "," + inner
		}
		b.edit.Set("stream_options", []byte(`{"include_usage":true`+inner+`}`))
		return true
	case string(asked.Of(doc)) == "true":
		return false
	default:
		b.edit.Replace(asked, []byte("true"))
		return true
	}
}

// unaskUsage takes back what askUsage asked for.
func (b *body) unaskUsage() {
	own := b.call.Object.Get("stream_options")
	if !own.Exists() {
		b.edit.Delete("stream_options")
		return
	}
	b.edit.Set("stream_options", own.Of(b.call.Body))
}

// choices is how many answers are asked for: n of each prompt.
func (b *body) choices() int {
	return b.repetitions() * max(b.prompts(), 1)
}

// prompts counts those of a call of the completions API: a list of numbers is one, in tokens.
func (b *body) prompts() (n int) {
	if b.call.Front != call.Completions {
		return 1
	}
	for v := range jsonscan.Elements(b.call.Body, b.call.Object.Get("prompt")) {
		if !v.IsString(b.call.Body) && !v.IsArray(b.call.Body) {
			return 1
		}
		n++
	}
	return n
}

// repetitions is the n in force.
func (b *body) repetitions() int {
	n := 0
	for _, c := range b.get("n") {
		if c < '0' || c > '9' || n > 1000 {
			return 1
		}
		n = n*10 + int(c-'0')
	}
	return max(n, 1)
}

// targets is the plan in the form that the client of providers wants.
func (p *plan) targets(i int) (*upstream.Target, error) {
	t, fail := p.prepare(i)
	if fail != nil {
		return nil, fail
	}
	return t, nil
}

// answered notes for the trace which of the targets it was.
func (p *plan) answered(t *upstream.Target) {
	c := p.call
	c.Provider, c.Model = t.Client.Name, t.Model
	i := len(p.prepared) - 1 // targets are made only when those before have failed
	c.Served, c.Adjustments, c.Sent = p.prepared[i].served, p.prepared[i].adjustments, p.prepared[i].body.inForce()
	if p.route != nil && t.Variant != c.Variant {
		c.Variant, c.Assignment = t.Variant, call.Fallback
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
