package frontier

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/caddy-frontier/frontier/routing"
)

var (
	timeoutSyntax = []string{
		"connect_timeout <duration>", "header_timeout <duration>", "first_token_timeout <duration>", "idle_timeout <duration>",
		"timeout <duration>", "attempts <n>",
	}
	providerSyntax = slices.Concat([]string{
		"dialect openai", "base_url <url>", "api_key <key> [<key>…], such as {env.NAME} or {file.path}", "header <name> <value>", "models <id…>",
		"price <id> <input> <output> [cached <n>], in US dollars per million tokens", "stream_usage on|off",
	}, timeoutSyntax, []string{"max_response <size>", "max_conns_per_host <n>"})
	routeSyntax = []string{
		"match model <name…> | prompt <name…> | header <field> <value>", "variant <name> <provider/model> [{ … }]",
		"sticky session|user|key|conversation|request", "fallback <variant…>", "unrecognized stable|weighted|reject", "recognize on|off", "adapt on|off",
	}
	variantSyntax = slices.Concat([]string{"weight <percent>", "prompt <uri>", "param <json-field> <value>|unset"}, timeoutSyntax)
)

// named reads the name behind provider and route.
func (p *parser) named(kind string) (name string, err error) {
	token := *p.Dispenser
	if name, err = p.value(kind); err != nil {
		return "", err
	}
	if p.places[p.key(kind+" "+name)] != nil {
		return "", p.fail("%s %q is declared twice; put everything into one block", kind, name)
	}
	p.places[p.key(kind+" "+name)] = &token
	return name, nil
}

// provider parses a provider. Syntax:
//
//	provider <name> {
//		dialect openai
//		base_url <url>
//		api_key <key> [<key>…]
//		header <name> <value>
//		models <id…>
//		price <id> <input> <output> [cached <n>]
//		stream_usage on|off
//		connect_timeout|header_timeout|first_token_timeout|idle_timeout|timeout <duration>
//		attempts <n>
//		max_response <size>
//		max_conns_per_host <n>
//	}
func (p *parser) provider() error {
	name, err := p.named("provider")
	if err != nil {
		return err
	}
	v := new(routing.Provider)
	if p.app.Provider == nil {
		p.app.Provider = map[string]*routing.Provider{}
	}
	p.app.Provider[name] = v
	return p.block("provider "+name, "provider", providerSyntax, func(option string) (err error) {
		switch option {
		case "dialect":
			v.Dialect, err = p.value(option)
		case "base_url":
			v.BaseURL, err = p.value(option)
		case "api_key":
			err = p.list(option, &v.APIKey)
		case "header":
			err = p.header(option, &v.Header)
		case "models":
			err = p.list(option, &v.Models)
		case "price":
			err = p.price(v)
		case "stream_usage":
			err = p.onOff(option, &v.StreamUsage)
		case "max_response":
			err = p.size(option, &v.MaxResponse)
		case "max_conns_per_host":
			err = p.count(option, &v.MaxConnsPerHost, "above zero")
		default:
			err = p.timeout(option, &v.Timeouts)
		}
		return err
	})
}

// timeout parses the options that providers and variants share.
func (p *parser) timeout(option string, t *routing.Timeouts) error {
	switch option {
	case "connect_timeout":
		return p.duration(option, &t.ConnectTimeout)
	case "header_timeout":
		return p.duration(option, &t.HeaderTimeout)
	case "first_token_timeout":
		return p.duration(option, &t.FirstTokenTimeout)
	case "idle_timeout":
		return p.duration(option, &t.IdleTimeout)
	case "timeout":
		return p.duration(option, &t.Timeout)
	case "attempts":
		return p.count(option, &t.Attempts, "from 1 to 10")
	}
	return p.WrapErr(errors.New(option + " is not read")) // a bug: the syntax has it
}

// header reads a field and its value.
func (p *parser) header(option string, dst *map[string]string) error {
	args := p.RemainingArgs()
	if len(args) != 2 {
		return p.usage(option)
	}
	field := http.CanonicalHeaderKey(args[0])
	if err := p.mark("header " + field); err != nil {
		return err
	}
	if *dst == nil {
		*dst = map[string]string{}
	}
	(*dst)[field] = args[1]
	return nil
}

func (p *parser) price(v *routing.Provider) error {
	args := p.RemainingArgs()
	if len(args) != 3 && (len(args) != 5 || args[3] != "cached") {
		return p.usage("price")
	}
	if err := p.mark("price " + args[0]); err != nil {
		return err
	}
	var numbers []float64
	for i, a := range args {
		if i != 1 && i != 2 && i != 4 {
			continue
		}
		f, err := strconv.ParseFloat(a, 64)
		if err != nil {
			return p.fail("price %s: %q is not a price; want US dollars per million tokens, such as 2.5", args[0], a)
		}
		numbers = append(numbers, f)
	}
	pr := routing.Price{Input: numbers[0], Output: numbers[1]}
	if len(numbers) == 3 {
		pr.Cached = &numbers[2]
	}
	if v.Price == nil {
		v.Price = map[string]routing.Price{}
	}
	v.Price[args[0]] = pr
	return nil
}

// route parses a route. Syntax:
//
//	route <name> {
//		match model <name…> | prompt <name…> | header <field> <value>
//		variant <name> <provider/model> { … }
//		sticky session|user|key|conversation|request
//		fallback <variant…>
//		unrecognized stable|weighted|reject
//		recognize on|off
//		adapt on|off
//	}
func (p *parser) route() error {
	name, err := p.named("route")
	if err != nil {
		return err
	}
	r := new(routing.Route)
	if p.app.Route == nil {
		p.app.Route = map[string]*routing.Route{}
	}
	p.app.Route[name] = r
	return p.block("route "+name, "route", routeSyntax, func(option string) (err error) {
		switch option {
		case "match":
			err = p.match(r)
		case "variant":
			err = p.variant(r)
		case "sticky":
			r.Sticky, err = p.value(option)
		case "fallback":
			err = p.list(option, &r.Fallback)
		case "unrecognized":
			r.Unrecognized, err = p.value(option)
		case "recognize":
			err = p.onOff(option, &r.Recognize)
		case "adapt":
			err = p.onOff(option, &r.Adapt)
		}
		return err
	})
}

func (p *parser) match(r *routing.Route) error {
	if !p.NextArg() {
		return p.usage("match")
	}
	if r.Match == nil {
		r.Match = new(routing.Match)
	}
	switch by := p.Val(); by {
	case "model":
		return p.matches(by, &r.Match.Model)
	case "prompt":
		return p.matches(by, &r.Match.Prompt)
	case "header":
		args := p.RemainingArgs()
		if len(args) != 2 {
			return p.usage("match")
		}
		if r.Match.Header == nil {
			r.Match.Header = map[string]string{}
		}
		field := http.CanonicalHeaderKey(args[0])
		r.Match.Header[field] = args[1]
		return p.mark("match header " + field)
	default:
		return p.fail("match %q: want: %s", by, p.line("match"))
	}
}

func (p *parser) matches(by string, dst *[]string) error {
	args := p.RemainingArgs()
	if len(args) == 0 {
		return p.usage("match")
	}
	for _, a := range args {
		if err := p.mark("match " + by + " " + a); err != nil {
			return err
		}
	}
	*dst = append(*dst, args...)
	return nil
}

// variant parses a variant. Syntax:
//
//	variant <name> <provider/model> {
//		weight <percent>
//		prompt <uri>
//		param <json-field> <value>|unset
//		connect_timeout|header_timeout|first_token_timeout|idle_timeout|timeout <duration>
//		attempts <n>
//	}
func (p *parser) variant(r *routing.Route) error {
	v := new(routing.Variant)
	token := *p.Dispenser
	if !p.AllArgs(&v.Name, &v.Model) || v.Name == "" {
		return p.usage("variant")
	}
	if p.places[p.key("variant "+v.Name)] != nil {
		return p.fail("variant %q: declared twice; give each a name of its own", v.Name)
	}
	p.places[p.key("variant "+v.Name)] = &token
	r.Variants = append(r.Variants, v)
	return p.block("variant "+v.Name, "variant", variantSyntax, func(option string) (err error) {
		switch option {
		case "weight":
			v.Weight, err = p.percent(option)
		case "prompt":
			v.Prompt, err = p.value(option)
		case "param":
			err = p.param(v)
		default:
			err = p.timeout(option, &v.Timeouts)
		}
		return err
	})
}

// param takes what is JSON for JSON, and anything else for a string.
func (p *parser) param(v *routing.Variant) error {
	var name, value string
	if !p.AllArgs(&name, &value) || name == "" {
		return p.usage("param")
	}
	if err := p.mark("param " + name); err != nil {
		return err
	}
	if value == "unset" {
		v.Unset = append(v.Unset, name)
		return nil
	}
	raw := json.RawMessage(value)
	if !json.Valid(raw) {
		raw, _ = json.Marshal(value)
	}
	if v.Param == nil {
		v.Param = map[string]json.RawMessage{}
	}
	v.Param[name] = raw
	return nil
}
