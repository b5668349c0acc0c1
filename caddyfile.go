package frontier

import (
	"encoding/json"
	"errors"
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

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/simulator"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/tracing"
)

// directives are the handlers in the order in which a request passes them. The
// shorthand comes behind them: a handler beside it, such as llm_trace metadata, is before its own.
var directives = []string{"llm_trace", "llm_prompt", "llm_router", "llm_proxy", "llm", "llm_simulator"}

func registerCaddyfile() {
	httpcaddyfile.RegisterGlobalOption("llm", parseGlobal)
	httpcaddyfile.RegisterDirective("llm", parseShorthand)
	httpcaddyfile.RegisterHandlerDirective("llm_trace", parseTrace)
	httpcaddyfile.RegisterHandlerDirective("llm_prompt", parsePrompt)
	httpcaddyfile.RegisterHandlerDirective("llm_router", parseRouter)
	httpcaddyfile.RegisterHandlerDirective("llm_proxy", parseProxy)
	httpcaddyfile.RegisterHandlerDirective("llm_simulator", simulator.ParseCaddyfile)
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
	h.Next()
	matcher, err := h.ExtractMatcherSet() // and goes back to before the directive's name
	if err != nil {
		return nil, err
	}
	h.Next()
	provider, err := oneProvider(h)
	if err != nil {
		return nil, err
	}
	var handlers []json.RawMessage
	for _, m := range []struct {
		name    string
		handler any
	}{
		{"llm_trace", tracing.Handler{}},
		{"llm_prompt", prompts.Handler{}},
		{"llm_router", &routing.Router{Provider: provider}},
		{"llm_proxy", &routing.Proxy{Provider: provider}},
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
func oneProvider(h httpcaddyfile.Helper) (string, error) {
	directive, provider := h.Val(), ""
	if h.NextArg() {
		if provider = h.Val(); !declared(h, provider) {
			return "", h.WrapErr(noProvider(provider))
		}
	}
	return provider, end(h, directive+" [<matcher>] [<provider>]")
}

// declared reports whether there is a provider of that name, by declaration or built in.
func declared(h httpcaddyfile.Helper, name string) bool {
	var app struct {
		Provider map[string]json.RawMessage `json:"provider"`
	}
	if option, ok := h.Option("llm").(httpcaddyfile.App); ok {
		_ = json.Unmarshal(option.Value, &app) // our own JSON
	}
	_, ok := app.Provider[name]
	return ok || routing.IsPreset(name)
}

// end refuses what is left behind a directive.
func end(h httpcaddyfile.Helper, syntax string) error {
	if h.NextArg() {
		return h.Errf("unexpected argument %q; want: %s", h.Val(), syntax)
	}
	if h.NextBlock(0) {
		return h.Errf("unexpected block; want: %s; options belong to the global option: { llm { … } }", syntax)
	}
	return nil
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
			return nil, h.Errf("capture %q: want full, metadata or off", t.Capture)
		}
	}
	return t, end(h, "llm_trace [<matcher>] [full|metadata|off]")
}

// parsePrompt parses the llm_prompt handler. Syntax:
//
//	llm_prompt [<matcher>]
func parsePrompt(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	return new(prompts.Handler), end(h, "llm_prompt [<matcher>]")
}

// parseRouter parses the llm_router handler. Syntax:
//
//	llm_router [<matcher>] [<provider>]
func parseRouter(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	provider, err := oneProvider(h)
	return &routing.Router{Provider: provider}, err
}

// parseProxy parses the llm_proxy handler. Syntax:
//
//	llm_proxy [<matcher>] [<provider>]
func parseProxy(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next()
	provider, err := oneProvider(h)
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
//			max_in_flight <n>
//		}
//	}
func parseGlobal(d *caddyfile.Dispenser, existing any) (any, error) {
	d.Next()
	if existing != nil {
		return nil, d.Errf("the global option llm is there twice; put everything into one block")
	}
	if d.NextArg() {
		return nil, d.Errf("unexpected argument %q; want: llm { … }; the directive llm, which takes a provider, belongs to a site", d.Val())
	}
	p := parser{Dispenser: d, app: new(App), places: map[string]*caddyfile.Dispenser{}}
	if err := p.block("", "llm", globalSyntax, p.option); err != nil {
		return nil, err
	}
	if err := p.app.check(); err != nil {
		return nil, p.locate(err)
	}
	return httpcaddyfile.App{Name: "llm", Value: caddyconfig.JSON(p.app, nil)}, nil
}

// The options of each block, as they are written. Messages quote these lines.
var (
	globalSyntax = []string{
		"data_dir <path>", "provider <name> { … }", "route <name> { … }", "direct on|off", "traces { … }", "prices <file>",
		"client_key <name> sha256:<hex>|<placeholder>", "limits { … }",
	}
	tracesSyntax = []string{"capture full|metadata|off", "sample <percent>", "retain <duration>", "max_disk <size>", "redact <name|regexp…>", "export <exporter> [<url>] { … }"}
	limitsSyntax = []string{"max_body <size>", "max_in_flight <n>"}
)

// repeatable options are told apart by their arguments. Any other is there once in a block.
var repeatable = []string{"provider", "route", "client_key", "match", "variant", "header", "price", "param", "redact", "step", "guard", "export"}

// later are options of versions to come: an error until then, never ignored.
var later = []string{
	"route shadow", "route scorer",
}

// parser fills an App from the global option's block.
type parser struct {
	*caddyfile.Dispenser
	app    *App
	path   []string // of the block that is being read, as in routing.ConfigError
	syntax []string // of its options
	places map[string]*caddyfile.Dispenser
}

// block reads the options of a block. element is its part of the path, kind
// what messages call it; read reads the option whose name is the current token.
func (p *parser) block(element, kind string, syntax []string, read func(option string) error) error {
	path, outer := p.path, p.syntax
	defer func() { p.path, p.syntax = path, outer }()
	if p.syntax = syntax; element != "" {
		p.path = append(slices.Clone(path), element)
	}
	last := ""
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		option := p.Val()
		switch line := p.line(option); {
		case option == "{" && last != "":
			return p.Errf("unexpected block; want: %s", p.line(last))
		case slices.Contains(later, kind+" "+option):
			return p.Errf("the %s option %q is not available in this version yet; remove it", kind, option)
		case line == "":
			return p.Errf("unrecognized %s option %q; want one of: %s", kind, option, strings.Join(names(syntax), ", "))
		}
		if last = option; !slices.Contains(repeatable, option) {
			if err := p.mark(option); err != nil {
				return err
			}
		}
		if err := read(option); err != nil {
			return err
		}
	}
	return nil
}

// line is how an option of this block is written, or "".
func (p *parser) line(option string) string {
	i := slices.IndexFunc(p.syntax, func(s string) bool { name, _, _ := strings.Cut(s, " "); return name == option })
	if i < 0 {
		return ""
	}
	return p.syntax[i]
}

func names(syntax []string) []string {
	out := make([]string, len(syntax))
	for i, s := range syntax {
		out[i], _, _ = strings.Cut(s, " ")
	}
	return out
}

func (p *parser) key(element string) string {
	return strings.Join(append(slices.Clone(p.path), element), "\n")
}

// mark keeps where something is declared, and refuses it when it is there already.
func (p *parser) mark(element string) error {
	if p.places[p.key(element)] != nil {
		return p.fail("%s is there twice; remove one", element)
	}
	here := *p.Dispenser
	p.places[p.key(element)] = &here
	return nil
}

// locate adds to an error the line of what it is about.
func (p *parser) locate(err error) error {
	if wrong, ok := errors.AsType[*routing.ConfigError](err); ok {
		for path := wrong.Path; len(path) > 0; path = path[:len(path)-1] {
			if place := p.places[strings.Join(path, "\n")]; place != nil {
				return place.WrapErr(err)
			}
		}
	}
	return p.WrapErr(err)
}

// fail makes an error about the current line, with the same beginning as the checks' own.
func (p *parser) fail(format string, args ...any) error {
	var where strings.Builder
	for _, element := range p.path {
		if kind, name, named := strings.Cut(element, " "); named {
			fmt.Fprintf(&where, "%s %q: ", kind, name)
		} else {
			where.WriteString(kind + " ")
		}
	}
	return p.Errf("%s"+format, append([]any{where.String()}, args...)...)
}

// usage refuses an option's number of arguments.
func (p *parser) usage(option string) error {
	return p.Errf("wrong arguments for %s; want: %s", option, p.line(option))
}

func (p *parser) option(name string) (err error) {
	switch name {
	case "data_dir":
		p.app.DataDir, err = p.value(name)
	case "provider":
		err = p.provider()
	case "route":
		err = p.route()
	case "direct":
		err = p.onOff(name, &p.app.Direct)
	case "traces":
		err = p.traces()
	case "prices":
		p.app.Prices, err = p.value(name)
	case "limits":
		if p.NextArg() {
			return p.usage(name)
		}
		p.app.Limits = new(Limits)
		err = p.block("limits", "limits", limitsSyntax, func(option string) error {
			if option == "max_in_flight" {
				return p.count(option, &p.app.Limits.MaxInFlight, "above zero")
			}
			return p.size(option, &p.app.Limits.MaxBody)
		})
	case "client_key":
		err = p.clientKey(name)
	}
	return err
}

// clientKey checks what can be checked without the environment: a digest.
func (p *parser) clientKey(option string) error {
	var name, value string
	if !p.AllArgs(&name, &value) {
		return p.usage(option)
	}
	if _, twice := p.app.ClientKey[name]; twice {
		return p.Errf("client_key %q is there twice", name)
	}
	if strings.HasPrefix(value, "{") {
		// resolved when the configuration is loaded
	} else if !strings.HasPrefix(value, "sha256:") {
		return p.Errf("client_key %q: a key does not belong into the configuration; want sha256:<hex> or a placeholder such as {env.TEAM_KEY}", name)
	} else if _, err := call.ParseClientKey(name, value); err != nil {
		return p.WrapErr(err)
	}
	if p.app.ClientKey == nil {
		p.app.ClientKey = map[string]string{}
	}
	p.app.ClientKey[name] = value
	return nil
}

func (p *parser) traces() error {
	if p.NextArg() {
		return p.usage("traces")
	}
	c := new(tracing.Config)
	p.app.Traces = c
	return p.block("traces", "traces", tracesSyntax, func(option string) (err error) {
		switch option {
		case "capture":
			c.Capture, err = p.value(option)
		case "sample":
			c.Sample, err = p.percent(option)
		case "retain":
			err = p.duration(option, &c.Retain)
		case "max_disk":
			err = p.size(option, &c.MaxDisk)
		case "redact":
			err = p.list(option, &c.Redact)
		case "export":
			return p.export(c)
		}
		if err == nil {
			if err = c.Validate(); err != nil {
				err = p.WrapErr(err)
			}
		}
		return err
	})
}

// export reads an exporter, in its own module's words.
func (p *parser) export(c *tracing.Config) error {
	if !p.NextArg() {
		return p.usage("export")
	}
	name := p.Val()
	if _, err := caddy.GetModule(exporters + name); err != nil {
		var known []string
		for _, m := range caddy.GetModules(exporters[:len(exporters)-1]) {
			known = append(known, m.ID.Name())
		}
		return p.fail("export %q: there is no such exporter; want one of: %s", name, strings.Join(known, ", "))
	}
	e, err := caddyfile.UnmarshalModule(p.Dispenser, exporters+name)
	if err != nil {
		return err
	}
	c.ExportRaw = append(c.ExportRaw, caddyconfig.JSONModuleObject(e, "exporter", name, nil))
	return nil
}

// exporters is the namespace of trace exporters.
const exporters = "llm.trace_exporters."

// value reads an option's one value.
func (p *parser) value(option string) (v string, err error) {
	if !p.AllArgs(&v) || v == "" {
		return "", p.usage(option)
	}
	return v, nil
}

// list reads an option's values, one or more.
func (p *parser) list(option string, dst *[]string) error {
	args := p.RemainingArgs()
	if len(args) == 0 || slices.Contains(args, "") {
		return p.usage(option)
	}
	for _, a := range args {
		if slices.Contains(*dst, a) && option != "api_key" { // a key is in no message
			return p.fail("%s %s is there twice; remove one", option, a)
		}
		*dst = append(*dst, a)
	}
	return nil
}

func (p *parser) onOff(option string, dst **bool) error {
	v, err := p.value(option)
	if err != nil {
		return err
	}
	if v != "on" && v != "off" {
		return p.fail("%s %q: want on or off", option, v)
	}
	on := v == "on"
	*dst = &on
	return nil
}

// The readers below take what can be read. Whether it is in range is for the
// checks, but for zero, which means the default there.

func (p *parser) duration(option string, dst *caddy.Duration) error {
	v, err := p.value(option)
	if err != nil {
		return err
	}
	dur, err := caddy.ParseDuration(v)
	if err != nil || dur == 0 {
		return p.fail("%s %q: want a duration above zero, such as 500ms, 30s, 2m or 7d", option, v)
	}
	*dst = caddy.Duration(dur)
	return nil
}

func (p *parser) size(option string, dst *int64) error {
	v, err := p.value(option)
	if err != nil {
		return err
	}
	n, err := humanize.ParseBytes(v)
	if err != nil || n == 0 || n > 1<<60 {
		return p.fail("%s %q: want a size such as 512KiB, 32MiB or 20GiB", option, v)
	}
	*dst = int64(n)
	return nil
}

func (p *parser) count(option string, dst *int, want string) error {
	v, err := p.value(option)
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(v)
	if err != nil || n == 0 {
		return p.fail("%s %q: want a whole number %s", option, v, want)
	}
	*dst = n
	return nil
}

// percent reads a number with or without a percent sign.
func (p *parser) percent(option string) (*float64, error) {
	v, err := p.value(option)
	if err != nil {
		return nil, err
	}
	f, err := strconv.ParseFloat(strings.TrimSuffix(v, "%"), 64)
	if err != nil {
		return nil, p.fail("%s %q: want a percentage such as 20%%", option, v)
	}
	return &f, nil
}
