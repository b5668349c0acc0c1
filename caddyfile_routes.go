package frontier

import (
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/routing"
	"github.com/caddy-frontier/frontier/routing/rollout"
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
		"rollout [<from> <to>] { … }",
	}
	rolloutSyntax = []string{"step <percent> [<duration>] [min_requests <n>] [wait]", "guard <name> [<args…>]", "webhook event <url>"}
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
//		rollout [<from> <to>] { … }
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
		case "rollout":
			err = p.rollout(r)
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

// rollout parses a rollout. Syntax:
//
//	rollout [<from> <to>] {
//		step <percent> [<duration>] [min_requests <n>] [wait]
//		guard <name> [<args…>]
//		webhook event <url>
//	}
//
// The guards and their arguments: errors [tolerance 1.25x] [margin 2%],
// latency [1.5x] [p50|p95|ttft …], cost [1.2x], format [tolerance 1.25x] [margin 2%].
func (p *parser) rollout(r *routing.Route) error {
	s := new(rollout.Spec)
	r.Rollout = s
	switch args := p.RemainingArgs(); len(args) {
	case 0:
	case 2:
		s.From, s.To = args[0], args[1]
	default:
		return p.usage("rollout")
	}
	return p.block("rollout", "rollout", rolloutSyntax, func(option string) error {
		args := p.RemainingArgs()
		switch option {
		case "step":
			return p.step(s, args)
		case "guard":
			if len(args) == 0 {
				return p.usage(option)
			}
			s.Guards = append(s.Guards, rollout.GuardSpec{Name: args[0], Args: args[1:]})
			return p.mark("guard " + args[0])
		default:
			if len(args) != 2 || args[0] != "event" {
				return p.usage(option)
			}
			s.Webhook = args[1]
			return nil
		}
	})
}

// step reads a step's percentage and, in any order, what belongs to it.
func (p *parser) step(s *rollout.Spec, args []string) error {
	if len(args) == 0 {
		return p.usage("step")
	}
	if err := p.mark("step " + strconv.Itoa(len(s.Steps)+1)); err != nil {
		return err
	}
	var step rollout.StepSpec
	var err error
	if step.Percent, err = strconv.ParseFloat(strings.TrimSuffix(args[0], "%"), 64); err != nil {
		return p.fail("step %q: want a percentage such as 5%%, and then what belongs to it: %s", args[0], p.line("step"))
	}
	for rest := args[1:]; len(rest) > 0; rest = rest[1:] {
		switch {
		case rest[0] == "wait" && !step.Wait:
			step.Wait = true
		case rest[0] == "min_requests" && len(rest) > 1 && step.MinRequests == 0:
			rest = rest[1:]
			if step.MinRequests, err = strconv.Atoi(rest[0]); err != nil || step.MinRequests == 0 {
				return p.fail("step %s: min_requests %q: want a whole number above zero", args[0], rest[0])
			}
		case step.Duration == 0:
			d, err := caddy.ParseDuration(rest[0])
			if err != nil || d == 0 {
				return p.fail("step %s: %q: want a duration above zero such as 30m or 1d, min_requests <n>, or wait", args[0], rest[0])
			}
			step.Duration = caddy.Duration(d)
		default:
			return p.usage("step")
		}
	}
	s.Steps = append(s.Steps, step)
	return nil
}
