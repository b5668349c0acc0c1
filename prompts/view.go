package prompts

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddy-frontier/frontier/internal/call"
)

// Scope is what one route looks for in requests.
type Scope struct {
	Route string
	// Prompts are the references (or just the names) that the route's
	// variants bind. All versions of these prompts are looked for.
	Prompts []string
	// Match are the names of the route's "match prompt": prompts that lead
	// to the route requests which do not name it.
	Match []string
	// Recognize off leaves the route's prompts out of recognition; they can
	// still be named.
	Recognize bool
}

// View is the registry as one configuration looks at it: with the templates
// of its routes compiled for recognition. It follows the registry's changes;
// a request reads it without waiting.
type View struct {
	registry *Registry
	scopes   []Scope
	stop     func()

	compiling sync.Mutex
	compiled  atomic.Pointer[matchers]
}

// matchers are the compiled scopes; immutable.
type matchers struct {
	routes map[string]*matcher // nil where recognition is off
	global *matcher
}

// NewView compiles the scopes and begins to follow the registry until Close.
func NewView(reg *Registry, scopes []Scope) *View {
	v := &View{registry: reg, scopes: slices.Clone(scopes)}
	v.compiled.Store(&matchers{})
	v.stop = reg.OnChange(func(_ *Snapshot, changed []string) { v.compile(changed) })
	v.compile(nil)
	return v
}

// Close ends following the registry.
func (v *View) Close() { v.stop() }

// Registry returns the registry it looks at.
func (v *View) Registry() *Registry { return v.registry }

// Current returns the registry's prompts as they are now.
func (v *View) Current() *Snapshot { return v.registry.Current() }

// Recognize looks for a rendering of a registered template in the call's
// messages: of those that the route binds, or, without a route, of those that
// lead to exactly one route by "match prompt". When nothing is recognised the
// prompt is empty, and the near miss, if there is one, says what came closest.
func (v *View) Recognize(c *call.Call, route string) (call.Prompt, *call.NearMiss) {
	compiled := v.compiled.Load()
	if route == "" {
		// Most such calls have nothing to do with these prompts: what hardly agrees is no near miss.
		return compiled.global.recognize(c, minLiteral)
	}
	m := compiled.routes[route]
	if m == nil {
		return call.Prompt{}, nil
	}
	return m.recognize(c, 0)
}

// hasRoute reports whether there is such a route.
func (v *View) hasRoute(name string) bool {
	return slices.ContainsFunc(v.scopes, func(s Scope) bool { return s.Route == name })
}

// compile compiles the scopes that the changed prompts belong to; nil: all of
// them. It runs in whichever goroutine changes the registry.
func (v *View) compile(changed []string) {
	v.compiling.Lock()
	defer v.compiling.Unlock()
	old := v.compiled.Load()
	current := v.registry.Current()
	next := &matchers{routes: maps.Clone(old.routes), global: old.global}
	if next.routes == nil {
		next.routes = map[string]*matcher{}
	}
	touched := func(names []string) bool {
		return changed == nil || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(changed, name) })
	}
	for i := range v.scopes {
		s := &v.scopes[i]
		refs := s.references()
		if s.Recognize && touched(slices.Collect(maps.Keys(refs))) {
			next.routes[s.Route] = compileScope(current, refs)
		}
	}
	if refs := v.global(); next.global == nil || touched(slices.Collect(maps.Keys(refs))) {
		next.global = compileScope(current, refs)
	}
	v.compiled.Store(next)
}

// references groups what the route binds by the prompt's name.
func (s *Scope) references() map[string][]Reference {
	out := map[string][]Reference{}
	for _, p := range s.Prompts {
		if r, err := ParseReference(p); err == nil {
			out[r.Name] = append(out[r.Name], r)
		}
	}
	return out
}

// global lists the prompts that lead to exactly one route, with what that
// route binds of them.
func (v *View) global() map[string][]Reference {
	routes := map[string][]*Scope{}
	for i := range v.scopes {
		s := &v.scopes[i]
		for _, name := range slices.Compact(slices.Sorted(slices.Values(s.Match))) {
			routes[name] = append(routes[name], s)
		}
	}
	out := map[string][]Reference{}
	for name, scopes := range routes {
		if len(scopes) == 1 && scopes[0].Recognize {
			out[name] = scopes[0].references()[name]
		}
	}
	return out
}

// compileScope compiles all versions of the prompts, and notes which of them
// the references mean.
func compileScope(s *Snapshot, refs map[string][]Reference) *matcher {
	var versions []*Version
	bound := map[*Version]bool{}
	for _, name := range slices.Sorted(maps.Keys(refs)) {
		p, ok := s.Prompt(name)
		if !ok || p.Tags["recognize"] == "off" {
			continue
		}
		versions = append(versions, p.Versions...)
		for _, r := range refs[name] {
			if v, err := s.Resolve(r); err == nil {
				bound[v] = true
			}
		}
	}
	return newMatcher(versions, func(v *Version) bool { return bound[v] })
}

// matchAll compiles every prompt there is, for trying out.
func matchAll(s *Snapshot) *matcher {
	refs := map[string][]Reference{}
	for _, name := range s.names {
		refs[name] = nil
	}
	return compileScope(s, refs)
}
