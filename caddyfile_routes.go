package frontier

import (
	"encoding/json"
	"slices"
	"strconv"

	"github.com/caddy-frontier/frontier/routing"
)

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
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if ok, err := p.timeouts(&v.Timeouts); err != nil {
			return err
		} else if ok {
			continue
		}
		var err error
		switch p.Val() {
		case "dialect":
			err = p.choice(&v.Dialect, "openai", "anthropic", "gemini")
		case "base_url":
			err = p.one(&v.BaseURL)
		case "api_key":
			if v.APIKey = append(v.APIKey, p.RemainingArgs()...); len(v.APIKey) == 0 {
				err = p.ArgErr()
			}
		case "header":
			var field, value string
			if !p.AllArgs(&field, &value) {
				return p.ArgErr()
			}
			if v.Header == nil {
				v.Header = map[string]string{}
			}
			v.Header[field] = value
		case "models":
			if v.Models = append(v.Models, p.RemainingArgs()...); len(v.Models) == 0 {
				err = p.ArgErr()
			}
		case "price":
			err = p.price(v)
		case "stream_usage":
			err = p.onOff(&v.StreamUsage)
		case "max_response":
			err = p.size(&v.MaxResponse)
		case "max_conns_per_host":
			err = p.count(&v.MaxConnsPerHost, 1<<20)
		default:
			err = p.unknown("provider", "dialect", "base_url", "api_key", "header", "models", "price", "stream_usage", "connect_timeout",
				"header_timeout", "first_token_timeout", "idle_timeout", "timeout", "attempts", "max_response", "max_conns_per_host")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// timeouts parses the options that providers and variants share.
func (p *parser) timeouts(t *routing.Timeouts) (ok bool, err error) {
	switch p.Val() {
	case "connect_timeout":
		err = p.duration(&t.ConnectTimeout)
	case "header_timeout":
		err = p.duration(&t.HeaderTimeout)
	case "first_token_timeout":
		err = p.duration(&t.FirstTokenTimeout)
	case "idle_timeout":
		err = p.duration(&t.IdleTimeout)
	case "timeout":
		err = p.duration(&t.Timeout)
	case "attempts":
		err = p.count(&t.Attempts, 10)
	default:
		return false, nil
	}
	return true, err
}

func (p *parser) price(v *routing.Provider) error {
	args := p.RemainingArgs()
	if len(args) != 3 && (len(args) != 5 || args[3] != "cached") {
		return p.Errf("price: want <id> <input> <output> [cached <n>], in US dollars per million tokens, such as: price gpt-4o 2.5 10 cached 1.25")
	}
	var numbers []float64
	for i, a := range args {
		if i != 1 && i != 2 && i != 4 {
			continue
		}
		f, err := strconv.ParseFloat(a, 64)
		if err != nil || f < 0 {
			return p.Errf("price %s: %q is not a price; want US dollars per million tokens, such as 2.5", args[0], a)
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
	if _, twice := v.Price[args[0]]; twice {
		return p.Errf("price %s is there twice", args[0])
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
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		var err error
		switch p.Val() {
		case "match":
			err = p.match(r)
		case "variant":
			err = p.variant(name, r)
		case "sticky":
			err = p.choice(&r.Sticky, "session", "user", "key", "conversation", "request")
		case "fallback":
			if r.Fallback = append(r.Fallback, p.RemainingArgs()...); len(r.Fallback) == 0 {
				err = p.ArgErr()
			}
		case "unrecognized":
			err = p.choice(&r.Unrecognized, "stable", "weighted", "reject")
		case "recognize":
			err = p.onOff(&r.Recognize)
		case "adapt":
			err = p.onOff(&r.Adapt)
		default:
			err = p.unknown("route", "match", "variant", "sticky", "fallback", "unrecognized", "recognize", "adapt")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) match(r *routing.Route) error {
	args := p.RemainingArgs()
	if len(args) < 2 {
		return p.Errf("match: want model <name…>, prompt <name…> or header <field> <value>")
	}
	if r.Match == nil {
		r.Match = new(routing.Match)
	}
	switch args[0] {
	case "model":
		r.Match.Model = append(r.Match.Model, args[1:]...)
	case "prompt":
		r.Match.Prompt = append(r.Match.Prompt, args[1:]...)
	case "header":
		if len(args) != 3 {
			return p.Errf("match header: want a field and a value, such as: match header X-Team search")
		}
		if r.Match.Header == nil {
			r.Match.Header = map[string]string{}
		}
		r.Match.Header[args[1]] = args[2]
	default:
		return p.Errf("match %q: want model, prompt or header", args[0])
	}
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
func (p *parser) variant(route string, r *routing.Route) error {
	v := new(routing.Variant)
	token := p.Token()
	if !p.AllArgs(&v.Name, &v.Model) {
		return p.Errf("variant: want a name and a model, such as: variant stable openai/gpt-4o")
	}
	if slices.ContainsFunc(r.Variants, func(o *routing.Variant) bool { return o.Name == v.Name }) {
		return p.Errf("variant %q is declared twice", v.Name)
	}
	p.lines["variant "+route+" "+v.Name] = token
	r.Variants = append(r.Variants, v)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if ok, err := p.timeouts(&v.Timeouts); err != nil {
			return err
		} else if ok {
			continue
		}
		var err error
		switch p.Val() {
		case "weight":
			if v.Weight != nil {
				return p.Errf("variant %q has two weights", v.Name)
			}
			v.Weight, err = p.percent()
			if err == nil {
				err = p.wrap(v.CheckWeight())
			}
		case "prompt":
			err = p.one(&v.Prompt)
		case "param":
			err = p.param(v)
		default:
			err = p.unknown("variant", "weight", "prompt", "param", "connect_timeout", "header_timeout", "first_token_timeout", "idle_timeout", "timeout", "attempts")
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) wrap(err error) error {
	if err == nil {
		return nil
	}
	return p.WrapErr(err)
}

// param takes what is JSON for JSON, and anything else for a string.
func (p *parser) param(v *routing.Variant) error {
	var name, value string
	if !p.AllArgs(&name, &value) {
		return p.Errf("param: want a field and a value, or a field and unset, such as: param temperature 0.2")
	}
	if _, set := v.Param[name]; set || slices.Contains(v.Unset, name) {
		return p.Errf("param %s is there twice", name)
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
