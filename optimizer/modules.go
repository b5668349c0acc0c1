package optimizer

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/optimizer/search"
)

func init() {
	caddy.RegisterModule(Frontier{})
	caddy.RegisterModule(FewShot{})
	caddy.RegisterModule(Rewrite{})
}

// Frontier is the default optimiser. It scores the original once, and then
// looks for solved examples and lines of instruction that help, together: it
// asks a model for edits after showing it failures, tries each edit on its own,
// and keeps what earns its place. Variables are never touched. What it returns
// is the shortest of the prompts that cannot be told from the best.
//
// It is deterministic: the same seed and the same answers give the same
// prompt, however many calls are made at once.
type Frontier struct{ search.Frontier }

// CaddyModule returns the Caddy module information.
func (Frontier) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.optimizers.frontier", New: func() caddy.Module { return new(Frontier) }}
}

// FewShot puts solved examples into the prompt and changes nothing else. It asks no reflector.
type FewShot struct{ search.FewShot }

// CaddyModule returns the Caddy module information.
func (FewShot) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.optimizers.few_shot", New: func() caddy.Module { return new(FewShot) }}
}

// Rewrite asks a model once for a better prompt, and keeps it if it is one.
type Rewrite struct{ search.Rewrite }

// CaddyModule returns the Caddy module information.
func (Rewrite) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.optimizers.rewrite", New: func() caddy.Module { return new(Rewrite) }}
}

// loadOptimizer makes an optimiser of its name, or of an object with `optimizer` and its options.
func loadOptimizer(ctx caddy.Context, raw json.RawMessage) (search.Optimizer, error) {
	const field = "optimizer"
	var name string
	if json.Unmarshal(raw, &name) == nil {
		raw = nil
	} else {
		var object map[string]json.RawMessage
		if err := json.Unmarshal(raw, &object); err != nil || json.Unmarshal(object[field], &name) != nil {
			return nil, api.Invalid(field, "%s is no optimizer: want its name, or an object with %q and its options", excerpt(string(raw)), field)
		}
		delete(object, field)
		raw, _ = json.Marshal(object)
	}
	id := "llm.optimizers." + name
	if _, err := caddy.GetModule(id); err != nil || name == "" {
		var names []string
		for _, m := range caddy.GetModules("llm.optimizers") {
			names = append(names, m.ID.Name())
		}
		return nil, api.Invalid(field, "there is no optimizer %q; there are %s", name, strings.Join(names, ", "))
	}
	module, err := ctx.LoadModuleByID(id, raw)
	if err != nil {
		return nil, api.Invalid(field, "%s", err)
	}
	o, ok := module.(search.Optimizer)
	if !ok {
		return nil, fmt.Errorf("module %s (%T) is no optimizer", id, module)
	}
	return o, nil
}

// excerpt is the beginning of a text, for messages.
func excerpt(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// Interface guards
var (
	_ search.Optimizer = Frontier{}
	_ search.Optimizer = FewShot{}
	_ search.Optimizer = Rewrite{}
)
