package prompts

import (
	"fmt"
	"maps"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/api"
)

// Snapshot is the registry at one moment. It never changes, so a request can
// read one without waiting for anything.
type Snapshot struct {
	prompts map[string]*Prompt
	names   []string // sorted
	hosted  map[string]*hosted
}

// Prompt is a prompt with all its versions. Nobody may write to one.
type Prompt struct {
	Name     string
	Tags     map[string]string
	Latest   int // the newest version's number
	Aliases  map[string]int
	Versions []*Version // by number
	ETag     string     // another one after any change of the prompt

	hosted map[string]*hosted
}

// Prompt returns the prompt of that name.
func (s *Snapshot) Prompt(name string) (*Prompt, bool) {
	p, ok := s.prompts[name]
	return p, ok
}

// Names lists the prompts' names, sorted.
func (s *Snapshot) Names() []string { return slices.Clone(s.names) }

// Resolve returns the version that the reference means now. When there is
// none, the error says what there is.
func (s *Snapshot) Resolve(r Reference) (*Version, error) {
	p, ok := s.prompts[r.Name]
	if !ok && strings.HasPrefix(r.Name, HostedPrefix) {
		return nil, api.NotFound("there is no prompt %s; if OpenAI hosted it, register it here with: caddy llm prompts import openai FILE", excerpt(r.Name))
	}
	if !ok {
		return nil, api.NotFound("there is no prompt %s; %s", excerpt(r.Name), s.nearest(r.Name))
	}
	n := r.Version
	if n == 0 {
		n = p.Latest
		if r.Alias != "" && r.Alias != latest {
			if n, ok = p.Aliases[r.Alias]; !ok {
				return nil, api.NotFound("prompt %s has no alias %s; it has: %s", p.Name, r.Alias, p.inventory())
			}
		}
	}
	v := p.Version(n)
	if v == nil {
		return nil, api.NotFound("prompt %s has no version %d; it has: %s", p.Name, n, p.inventory())
	}
	return v, nil
}

// Version returns the version of that number, or nil.
func (p *Prompt) Version(n int) *Version {
	i := sort.Search(len(p.Versions), func(i int) bool { return p.Versions[i].Version >= n })
	if i == len(p.Versions) || p.Versions[i].Version != n {
		return nil
	}
	return p.Versions[i]
}

// inventory lists the aliases and versions for a message.
func (p *Prompt) inventory() string {
	const most = 10
	var b strings.Builder
	for i, alias := range slices.Sorted(maps.Keys(p.Aliases)) {
		if i == most {
			fmt.Fprintf(&b, "and %d more aliases; ", len(p.Aliases)-most)
			break
		}
		fmt.Fprintf(&b, "%s → %d; ", alias, p.Aliases[alias])
	}
	switch n := len(p.Versions); {
	case n == 0:
		b.WriteString("no versions")
	case n == 1:
		fmt.Fprintf(&b, "version %d", p.Versions[0].Version)
	case p.Versions[n-1].Version-p.Versions[0].Version == n-1:
		fmt.Fprintf(&b, "versions %d–%d", p.Versions[0].Version, p.Versions[n-1].Version)
	default:
		fmt.Fprintf(&b, "%d versions up to %d", n, p.Latest)
	}
	return b.String()
}

// nearest names the prompts that a mistyped name may have meant.
func (s *Snapshot) nearest(name string) string {
	const most = 5
	if len(s.names) == 0 {
		return "none is registered yet"
	}
	names := slices.Clone(s.names)
	slices.SortStableFunc(names, func(a, b string) int {
		return max(common(b, name), commonEnd(b, name)) - max(common(a, name), commonEnd(a, name))
	})
	more := ""
	if n := len(names) - most; n > 0 {
		names, more = names[:most], " and "+strconv.Itoa(n)+" more"
	}
	return "there is: " + strings.Join(names, ", ") + more
}

// with returns the snapshot with the prompts changed; nil removes one.
func (s *Snapshot) with(changed map[string]*Prompt) *Snapshot {
	next := &Snapshot{prompts: maps.Clone(s.prompts)}
	if next.prompts == nil {
		next.prompts = map[string]*Prompt{}
	}
	for name, p := range changed {
		if p == nil {
			delete(next.prompts, name)
			continue
		}
		next.prompts[name] = p
	}
	next.names = slices.Sorted(maps.Keys(next.prompts))
	next.indexHosted()
	return next
}
