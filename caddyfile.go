package frontier

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/tracing"
)

// directives are the handlers in the order in which a request passes them.
var directives = []string{"llm", "llm_trace", "llm_prompt", "llm_router", "llm_proxy"}

func registerCaddyfile() {
	httpcaddyfile.RegisterGlobalOption("llm", parseGlobal)
	httpcaddyfile.RegisterDirective("llm", parseShorthand)
	httpcaddyfile.RegisterHandlerDirective("llm_trace", parseTrace)
	httpcaddyfile.RegisterHandlerDirective("llm_prompt", parsePrompt)
	httpcaddyfile.RegisterHandlerDirective("llm_router", parseRouter)
	httpcaddyfile.RegisterHandlerDirective("llm_proxy", parseProxy)
	for _, name := range directives {
		httpcaddyfile.RegisterDirectiveOrder(name, httpcaddyfile.Before, "reverse_proxy")
	}
}

// parseShorthand sets up the whole gateway on a site. Syntax:
//
//	llm [<matcher>] [<provider>]
//
// It is the same as the four handlers one after another:
//
//	route [<matcher>] {
//		llm_trace
//		llm_prompt
//		llm_router [<provider>]
//		llm_proxy [<provider>]
//	}
func parseShorthand(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	matcher, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next()
	provider, err := oneProvider(h.Dispenser)
	if err != nil {
		return nil, err
	}
	var handlers []json.RawMessage
	for _, m := range []struct {
		name    string
		handler any
	}{
		{"llm_trace", tracing.Handler{}}, {"llm_prompt", prompts.Handler{}},
		{"llm_router", &routing.Router{Provider: provider}}, {"llm_proxy", &routing.Proxy{Provider: provider}},
	} {
		handlers = append(handlers, caddyconfig.JSONModuleObject(m.handler, "handler", m.name, nil))
	}
	route := caddyhttp.Route{HandlersRaw: handlers}
	if matcher != nil {
		route.MatcherSetsRaw = []caddy.ModuleMap{matcher}
	}
	return []httpcaddyfile.ConfigValue{{Class: "route", Value: route}}, nil
}

// oneProvider reads the optional name of a provider behind a directive.
func oneProvider(d *caddyfile.Dispenser) (string, error) {
	provider := ""
	if d.NextArg() {
		provider = d.Val()
	}
	if d.NextArg() {
		return "", d.ArgErr()
	}
	if d.NextBlock(0) {
		return "", d.Errf("unexpected block; options belong to the global option: { llm { … } }")
	}
	return provider, nil
}

// parseTrace parses the llm_trace handler. Syntax:
//
//	llm_trace [<matcher>] [full|metadata|off]
func parseTrace(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	t := new(tracing.Handler)
	if h.NextArg() {
		t.Capture = h.Val()
		if !slices.Contains([]string{"full", "metadata", "off"}, t.Capture) {
			return nil, h.Errf("llm_trace %q: want full, metadata or off", t.Capture)
		}
	}
	if h.NextArg() || h.NextBlock(0) {
		return nil, h.ArgErr()
	}
	return t, nil
}

// parsePrompt parses the llm_prompt handler. Syntax:
//
//	llm_prompt [<matcher>]
func parsePrompt(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	if h.NextArg() || h.NextBlock(0) {
		return nil, h.ArgErr()
	}
	return new(prompts.Handler), nil
}

// parseRouter parses the llm_router handler. Syntax:
//
//	llm_router [<matcher>] [<provider>]
func parseRouter(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	provider, err := oneProvider(h.Dispenser)
	return &routing.Router{Provider: provider}, err
}

// parseProxy parses the llm_proxy handler. Syntax:
//
//	llm_proxy [<matcher>] [<provider>]
func parseProxy(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	provider, err := oneProvider(h.Dispenser)
	return &routing.Proxy{Provider: provider}, err
}

// parseGlobal parses the global option. Syntax:
//
//	llm {
//		data_dir <path>
//		provider <name> { … }
//		route <name> { … }
//		direct on|off
//		traces { … }
//		prices <file>
//		limits {
//			max_body <size>
//		}
//	}
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	if existing != nil {
		return nil, d.Errf("the global option llm is there twice; put everything into one block")
	}
	d.Next()
	if d.NextArg() {
		return nil, d.ArgErr()
	}
	p := parser{Dispenser: d, app: new(App), lines: map[string]caddyfile.Token{}}
	seen := map[string]bool{}
	for d.NextBlock(0) {
		option := d.Val()
		if option != "provider" && option != "route" {
			if seen[option] {
				return nil, d.Errf("the option %q is there twice", option)
			}
			seen[option] = true
		}
		if err := p.option(option); err != nil {
			return nil, err
		}
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	return httpcaddyfile.App{Name: "llm", Value: caddyconfig.JSON(p.app, nil)}, nil
}

// parser fills an App from the global option's block.
type parser struct {
	*caddyfile.Dispenser
	app   *App
	lines map[string]caddyfile.Token // where providers, routes and variants are declared
}

// later are options of versions to come: an error until then, never ignored.
var later = []string{"rollout", "shadow", "scorer", "export", "client_key", "max_in_flight"}

func (p *parser) unknown(where string, known ...string) error {
	if slices.Contains(later, p.Val()) {
		return p.Errf("the %s option %q is not available in this version yet; remove it", where, p.Val())
	}
	return p.Errf("unrecognized %s option %q; want one of: %s", where, p.Val(), strings.Join(known, ", "))
}

func (p *parser) option(name string) error {
	switch name {
	case "data_dir":
		return p.one(&p.app.DataDir)
	case "provider":
		return p.provider()
	case "route":
		return p.route()
	case "direct":
		return p.onOff(&p.app.Direct)
	case "traces":
		return p.traces()
	case "prices":
		return p.one(&p.app.Prices)
	case "limits":
		return p.limits()
	}
	return p.unknown("llm", "data_dir", "provider", "route", "direct", "traces", "prices", "limits")
}

// named reads the name behind provider and route, and refuses it when it was there before.
func (p *parser) named(kind string) (string, error) {
	token := p.Token()
	var name string
	if !p.AllArgs(&name) {
		return "", p.ArgErr()
	}
	if _, twice := p.lines[kind+" "+name]; twice {
		return "", p.Errf("%s %q is declared twice", kind, name)
	}
	p.lines[kind+" "+name] = token
	return name, nil
}

// at makes an error about something declared at another line, in Caddy's form.
func (p *parser) at(declared string, err error) error {
	t, ok := p.lines[declared]
	if !ok {
		return p.WrapErr(err)
	}
	return fmt.Errorf("%w, at %s:%d", err, t.File, t.Line)
}

// check runs the checks that need the whole block, so that their errors name a line.
func (p *parser) check() error {
	return p.app.check(p.at)
}

func (p *parser) one(dst *string) error {
	if *dst != "" {
		return p.Errf("the option %q is there twice", p.Val())
	}
	if !p.AllArgs(dst) {
		return p.ArgErr()
	}
	return nil
}

func (p *parser) onOff(dst **bool) error {
	name := p.Val()
	var v string
	if *dst != nil {
		return p.Errf("the option %q is there twice", name)
	}
	if !p.AllArgs(&v) {
		return p.ArgErr()
	}
	if v != "on" && v != "off" {
		return p.Errf("%s %q: want on or off", name, v)
	}
	on := v == "on"
	*dst = &on
	return nil
}

func (p *parser) choice(dst *string, allowed ...string) error {
	name := p.Val()
	if err := p.one(dst); err != nil {
		return err
	}
	if !slices.Contains(allowed, *dst) {
		return p.Errf("%s %q: want %s", name, *dst, strings.Join(allowed, ", "))
	}
	return nil
}

func (p *parser) duration(dst *caddy.Duration) error {
	name := p.Val()
	var v string
	if *dst != 0 {
		return p.Errf("the option %q is there twice", name)
	}
	if !p.AllArgs(&v) {
		return p.ArgErr()
	}
	dur, err := caddy.ParseDuration(v)
	if err != nil || dur <= 0 {
		return p.Errf("%s %q: want a duration above zero, such as 500ms, 30s, 2m or 7d", name, v)
	}
	*dst = caddy.Duration(dur)
	return nil
}

func (p *parser) size(dst *int64) error {
	name := p.Val()
	var v string
	if *dst != 0 {
		return p.Errf("the option %q is there twice", name)
	}
	if !p.AllArgs(&v) {
		return p.ArgErr()
	}
	n, err := humanize.ParseBytes(v)
	if err != nil || n == 0 || n > 1<<60 {
		return p.Errf("%s %q: want a size such as 512KiB, 32MiB or 20GiB", name, v)
	}
	*dst = int64(n)
	return nil
}

func (p *parser) count(dst *int, most int) error {
	name := p.Val()
	var v string
	if *dst != 0 {
		return p.Errf("the option %q is there twice", name)
	}
	if !p.AllArgs(&v) {
		return p.ArgErr()
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 || n > most {
		return p.Errf("%s %q: want a whole number from 1 to %d", name, v, most)
	}
	*dst = n
	return nil
}

// percent reads a number with or without a percent sign.
func (p *parser) percent() (*float64, error) {
	name := p.Val()
	var v string
	if !p.AllArgs(&v) {
		return nil, p.ArgErr()
	}
	f, err := strconv.ParseFloat(strings.TrimSuffix(v, "%"), 64)
	if err != nil {
		return nil, p.Errf("%s %q: want a percentage such as 20%%", name, v)
	}
	return &f, nil
}

func (p *parser) limits() error {
	if p.NextArg() {
		return p.ArgErr()
	}
	p.app.Limits = new(Limits)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		switch p.Val() {
		case "max_body":
			if err := p.size(&p.app.Limits.MaxBody); err != nil {
				return err
			}
		default:
			return p.unknown("limits", "max_body")
		}
	}
	return nil
}

func (p *parser) traces() error {
	if p.NextArg() {
		return p.ArgErr()
	}
	c := new(tracing.Config)
	p.app.Traces = c
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		var err error
		switch p.Val() {
		case "capture":
			err = p.choice(&c.Capture, "full", "metadata", "off")
		case "sample":
			c.Sample, err = p.percent()
		case "retain":
			err = p.duration(&c.Retain)
		case "max_disk":
			err = p.size(&c.MaxDisk)
		case "redact":
			args := p.RemainingArgs()
			if len(args) == 0 {
				err = p.ArgErr()
			}
			c.Redact = append(c.Redact, args...)
		default:
			err = p.unknown("traces", "capture", "sample", "retain", "max_disk", "redact")
		}
		if err != nil {
			return err
		}
	}
	if err := c.Validate(); err != nil {
		return p.WrapErr(err)
	}
	return nil
}
