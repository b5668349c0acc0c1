package price

import (
	"strings"
	"sync"
)

// key names a model.
type key struct{ provider, model string }

// Names come from clients, so both the number and the length of those
// remembered are bounded: 2048 names of at most 256 bytes.
const (
	cacheSize   = 2048
	cacheKeyLen = 256
)

// cache remembers what names mean, unknown ones included. The zero value works.
type cache struct {
	mu     sync.RWMutex
	models map[key]*model // nil: known to be unknown
}

func (c *cache) get(k key) (m *model, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	m, ok = c.models[k]
	return m, ok
}

// put forgets everything when full: a working set far smaller than the cache
// is back at once, and names nobody uses any more are gone.
func (c *cache) put(k key, m *model) {
	if len(k.provider)+len(k.model) > cacheKeyLen {
		return
	}
	// A name may be a piece of a large request body; do not keep that alive.
	k = key{strings.Clone(k.provider), strings.Clone(k.model)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.models == nil || len(c.models) >= cacheSize {
		c.models = make(map[key]*model)
	}
	c.models[k] = m
}

// lookup returns the model a name means, nil if unknown.
func (t *Table) lookup(provider, name string) *model {
	k := key{provider, name}
	if m, ok := t.cache.get(k); ok {
		return m
	}
	m := t.resolve(provider, name)
	t.cache.put(k, m)
	return m
}

func (t *Table) resolve(provider, name string) *model {
	if m, ok := t.overrides[key{provider, name}]; ok {
		return m
	}
	if provider == "" {
		return t.resolveVendor(name)
	}
	p := t.catalogue.provider(provider)
	if p == nil {
		return nil
	}
	return t.catalogue.find(p, name)
}

func (t *Table) resolveVendor(name string) *model {
	for _, id := range vendors {
		p := t.catalogue.byID[id]
		if p == nil {
			continue
		}
		for _, provider := range []string{p.name(), p.id} {
			if m, ok := t.overrides[key{provider, name}]; ok {
				return m
			}
		}
		if m := t.catalogue.find(p, name); m != nil {
			return m
		}
	}
	return nil
}
