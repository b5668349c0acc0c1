package simulator

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The options of each block, as they are written. Messages quote these lines.
var (
	handlerSyntax = []string{"seed <n>", "model <id> [{ … }]"}
	modelSyntax   = []string{
		"ability <0 to 1>", "first_token <duration>", "token_rate <tokens per second>", "jitter <percent>", "price <input> <output>, in US dollars per million tokens",
		"mistakes <percent>", "fault <status>|stall|cut|slow_first_token <percent> [<duration>]", "answer <contained-text> <reply>",
	}
)

// ParseCaddyfile parses the llm_simulator handler. Syntax:
//
//	llm_simulator [<matcher>] {
//		seed <n>
//		model <id> {
//			ability <0 to 1>
//			first_token <duration>
//			token_rate <tokens per second>
//			jitter <percent>
//			price <input> <output>
//			mistakes <percent>
//			fault <status>|stall|cut|slow_first_token <percent> [<duration>]
//			answer <contained-text> <reply>
//		}
//	}
//
// fault and answer can be there several times. Without any model, there are gpt-4, gpt-4o and gpt-4o-mini.
func ParseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	s := new(Handler)
	return s, s.UnmarshalCaddyfile(h.Dispenser)
}

// UnmarshalCaddyfile implements caddyfile.Unmarshaler; the syntax is ParseCaddyfile's.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	p := parser{Dispenser: d, places: map[string]*caddyfile.Dispenser{}}
	d.Next()
	if d.NextArg() {
		return d.Errf("unexpected argument %q; want: llm_simulator [<matcher>] [{ … }]", d.Val())
	}
	err := p.block("llm_simulator", "", handlerSyntax, func(option string) (err error) {
		if option == "seed" {
			h.Seed, err = p.seed()
			return err
		}
		return p.model(h)
	})
	if err != nil {
		return err
	}
	return p.locate(h.check())
}

type parser struct {
	*caddyfile.Dispenser
	places map[string]*caddyfile.Dispenser // of models and their options, for errors that are found later
	syntax []string
}

// block reads the options of a block. owner is the model that they belong to, or "".
func (p *parser) block(kind, owner string, syntax []string, read func(option string) error) error {
	outer := p.syntax
	defer func() { p.syntax = outer }()
	p.syntax = syntax
	last := ""
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		option := p.Val()
		switch line := p.line(option); {
		case option == "{" && last != "":
			return p.Errf("unexpected block; want: %s", p.line(last))
		case line == "":
			names := make([]string, len(syntax))
			for i, s := range syntax {
				names[i], _, _ = strings.Cut(s, " ")
			}
			return p.Errf("unrecognized %s option %q; want one of: %s", kind, option, strings.Join(names, ", "))
		}
		if last = option; !slices.Contains([]string{"model", "fault", "answer"}, option) {
			if p.places[owner+"\n"+option] != nil {
				return p.Errf("%s is there twice; remove one", option)
			}
			p.mark(owner, option)
		}
		if err := read(option); err != nil {
			return err
		}
	}
	return nil
}

func (p *parser) line(option string) string {
	i := slices.IndexFunc(p.syntax, func(s string) bool { name, _, _ := strings.Cut(s, " "); return name == option })
	if i < 0 {
		return ""
	}
	return p.syntax[i]
}

// mark keeps the place of the current token. Of options that are there twice it is the last.
func (p *parser) mark(owner, option string) {
	here := *p.Dispenser
	p.places[owner+"\n"+option] = &here
}

// locate adds to an error the line of what it is about.
func (p *parser) locate(err error) error {
	if err == nil {
		return nil
	}
	if wrong, ok := errors.AsType[*ConfigError](err); ok {
		for _, key := range []string{wrong.Model + "\n" + wrong.Option, wrong.Model + "\n"} {
			if place := p.places[key]; place != nil {
				return place.WrapErr(err)
			}
		}
	}
	return p.WrapErr(err)
}

// args reads as many arguments as an option takes.
func (p *parser) args(option string, least, most int) ([]string, error) {
	args := p.RemainingArgs()
	if len(args) < least || len(args) > most {
		return nil, p.Errf("wrong arguments for %s; want: %s", option, p.line(option))
	}
	return args, nil
}

func (p *parser) seed() (int64, error) {
	args, err := p.args("seed", 1, 1)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseInt(args[0], 10, 64)
	if err != nil || n < 1 {
		return 0, p.Errf("seed %q: want a whole number above zero", args[0])
	}
	return n, nil
}

func (p *parser) model(h *Handler) error {
	token := *p.Dispenser
	args, err := p.args("model", 1, 1)
	if err != nil {
		return err
	}
	id := args[0]
	if p.places[id+"\n"] != nil {
		return p.Errf("model %q is declared twice; put everything into one block", id)
	}
	p.places[id+"\n"] = &token
	m := new(Model)
	if h.Model == nil {
		h.Model = map[string]*Model{}
	}
	h.Model[id] = m
	return p.block("model", id, modelSyntax, func(option string) (err error) {
		switch option {
		case "ability":
			m.Ability, err = p.number(option, "from 0 to 1")
		case "first_token":
			m.FirstToken, err = p.duration(option)
		case "token_rate":
			var v *float64
			if v, err = p.number(option, "of tokens a second"); err == nil {
				m.TokenRate = *v
			}
		case "jitter":
			m.Jitter, err = p.onePercent(option)
		case "price":
			m.Price, err = p.price()
		case "mistakes":
			var v *float64
			if v, err = p.onePercent(option); err == nil {
				m.Mistakes = *v
			}
		case "fault":
			err = p.fault(id, m)
		case "answer":
			var args []string
			if args, err = p.args(option, 2, 2); err == nil {
				p.mark(id, "answer "+args[0])
				m.Answer = append(m.Answer, Answer{Contains: args[0], Reply: args[1]})
			}
		}
		return err
	})
}

func (p *parser) number(option, what string) (*float64, error) {
	args, err := p.args(option, 1, 1)
	if err != nil {
		return nil, err
	}
	v, err := strconv.ParseFloat(args[0], 64)
	if err != nil {
		return nil, p.Errf("%s %q: want a number %s", option, args[0], what)
	}
	return &v, nil
}

func (p *parser) onePercent(option string) (*float64, error) {
	args, err := p.args(option, 1, 1)
	if err != nil {
		return nil, err
	}
	v, err := p.percent(option, args[0])
	return &v, err
}

func (p *parser) percent(option, s string) (float64, error) {
	v, err := strconv.ParseFloat(strings.TrimSuffix(s, "%"), 64)
	if err != nil {
		return 0, p.Errf("%s %q: want a percentage such as 5%%", option, s)
	}
	return v, nil
}

func (p *parser) duration(option string) (caddy.Duration, error) {
	args, err := p.args(option, 1, 1)
	if err != nil {
		return 0, err
	}
	d, err := caddy.ParseDuration(args[0])
	if err != nil || d <= 0 {
		return 0, p.Errf("%s %q: want a duration above zero, such as 800ms", option, args[0])
	}
	return caddy.Duration(d), nil
}

func (p *parser) price() (*Price, error) {
	args, err := p.args("price", 2, 2)
	if err != nil {
		return nil, err
	}
	var v [2]float64
	for i, a := range args {
		if v[i], err = strconv.ParseFloat(a, 64); err != nil {
			return nil, p.Errf("price %q: want a number of US dollars per million tokens", a)
		}
	}
	return &Price{Input: v[0], Output: v[1]}, nil
}

func (p *parser) fault(id string, m *Model) error {
	args, err := p.args("fault", 2, 3)
	if err != nil {
		return err
	}
	p.mark(id, "fault "+args[0])
	f := Fault{Kind: args[0]}
	if f.Percent, err = p.percent("fault "+f.Kind, args[1]); err != nil {
		return err
	}
	if len(args) == 3 {
		d, err := caddy.ParseDuration(args[2])
		if err != nil || d <= 0 {
			return p.Errf("fault %s %q: want a duration above zero, such as 5s", f.Kind, args[2])
		}
		f.Wait = caddy.Duration(d)
	}
	m.Fault = append(m.Fault, f)
	return nil
}

// Interface guards
var (
	_ caddyfile.Unmarshaler = (*Handler)(nil)
)
