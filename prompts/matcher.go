package prompts

import (
	"cmp"
	"slices"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
)

// matcher finds renderings of a set of prompt versions in a call's messages.
// It is immutable.
type matcher struct {
	text  slot       // text templates
	chats []chatSlot // chat templates, by where their anchor is
}

// chatSlot holds the chat templates that are looked for by the same message
// and role: the message of theirs that is easiest to tell.
type chatSlot struct {
	message int
	role    call.Role
	slot    slot
}

// slot finds the templates that can match a text: by the literal it opens
// with, else by the literal it ends with, else one after the other.
type slot struct {
	opening, closing index
	rest             []candidate
}

func (s *slot) empty() bool {
	return len(s.opening.keys) == 0 && len(s.closing.keys) == 0 && len(s.rest) == 0
}

// sample returns one of its templates.
func (s *slot) sample() *candidate {
	for _, groups := range [][][]candidate{s.opening.groups, s.closing.groups, {s.rest}} {
		if len(groups) > 0 && len(groups[0]) > 0 {
			return &groups[0][0]
		}
	}
	return nil
}

// candidate is one version to look for.
type candidate struct {
	pattern *pattern // the one that the slot's text is compared with
	version *Version
	bound   bool // a variant of the route binds this very version
	chat    bool
	agreed  int // bytes that agree when the index has found it
	telltale
}

// better orders candidates that match alike: bound before unbound, then the newest first.
func better(a, b *candidate) bool {
	if a.bound != b.bound {
		return a.bound
	}
	return a.version.Version > b.version.Version
}

// newMatcher compiles the versions that can be recognised; bound says which a variant binds.
func newMatcher(versions []*Version, bound func(*Version) bool) *matcher {
	m := &matcher{}
	texts := &slotBuilder{}
	type place struct {
		message int
		role    call.Role
	}
	chats := map[place]*slotBuilder{}
	for _, v := range versions {
		if v.unrecognizable != "" {
			continue
		}
		c := candidate{version: v, bound: bound(v), chat: v.Template.chat}
		if !c.chat {
			c.pattern = &v.patterns[0]
			texts.add(c)
			continue
		}
		at := anchor(v.patterns)
		c.pattern = &v.patterns[at]
		p := place{at, c.pattern.role}
		if chats[p] == nil {
			chats[p] = &slotBuilder{}
		}
		chats[p].add(c)
	}
	m.text = texts.build()
	for p, b := range chats {
		m.chats = append(m.chats, chatSlot{p.message, p.role, b.build()})
	}
	slices.SortFunc(m.chats, func(a, b chatSlot) int {
		return cmp.Or(cmp.Compare(a.message, b.message), cmp.Compare(a.role, b.role))
	})
	return m
}

// anchor chooses the message by which a chat template is looked for: that
// with the longest opening, else with the longest closing.
func anchor(patterns []pattern) (best int) {
	rank := func(p *pattern) int {
		if p.opening != "" {
			return len(p.opening) + 2*MaxTemplate
		}
		if p.closing != "" {
			return len(p.closing) + MaxTemplate
		}
		return len(p.inner)
	}
	for i := range patterns {
		if rank(&patterns[i]) > rank(&patterns[best]) {
			best = i
		}
	}
	return best
}

type slotBuilder struct {
	opening, closing map[string][]candidate
	rest             []candidate
}

func (b *slotBuilder) add(c candidate) {
	if b.opening == nil {
		b.opening, b.closing = map[string][]candidate{}, map[string][]candidate{}
	}
	switch p := c.pattern; {
	case p.opening != "":
		c.agreed = len(p.opening)
		b.opening[p.opening] = append(b.opening[p.opening], c)
	case p.closing != "":
		c.agreed = len(p.closing)
		b.closing[p.closing] = append(b.closing[p.closing], c)
	default:
		b.rest = append(b.rest, c)
	}
}

func (b *slotBuilder) build() slot {
	bestFirst(b.rest)
	b.mark()
	return slot{newIndex(b.opening, false), newIndex(b.closing, true), b.rest}
}

// mark gives the candidates their telltales, where there can be so many for
// one text that they are asked for.
func (b *slotBuilder) mark() {
	all := [][]candidate{b.rest}
	total := len(b.rest)
	for _, m := range []map[string][]candidate{b.opening, b.closing} {
		for _, group := range m {
			all = append(all, group)
			total += len(group)
		}
	}
	if total < manyInOne {
		return
	}
	r := make(rarity, 1<<16)
	for _, group := range all {
		for i := range group {
			r.add(group[i].pattern)
		}
	}
	for _, group := range all {
		for i := range group {
			group[i].telltale = r.telltale(group[i].pattern)
		}
	}
}

func bestFirst(list []candidate) {
	slices.SortFunc(list, func(a, b candidate) int {
		if better(&a, &b) {
			return -1
		}
		if better(&b, &a) {
			return 1
		}
		return strings.Compare(a.version.Name, b.version.Name)
	})
}

// index finds the keys that a text begins (or, from the end, ends) with. Its
// keys are sorted, and each knows the longest other key that it begins with:
// all keys that a text begins with are then on the way from the greatest key
// that is not above the text. So the cost hardly grows with the keys, however
// alike they are, and the neighbours of that place are the closest misses.
type index struct {
	fromEnd bool
	keys    []string
	parent  []int // -1: none
	groups  [][]candidate
	longest int
}

func newIndex(byKey map[string][]candidate, fromEnd bool) index {
	x := index{fromEnd: fromEnd}
	for key := range byKey {
		x.keys = append(x.keys, key)
		x.longest = max(x.longest, len(key))
	}
	slices.SortFunc(x.keys, x.compare)
	var open []int // the chain of keys that the current one begins with
	for i, key := range x.keys {
		for len(open) > 0 && !x.has(key, x.keys[open[len(open)-1]]) {
			open = open[:len(open)-1]
		}
		up := -1
		if len(open) > 0 {
			up = open[len(open)-1]
		}
		x.parent = append(x.parent, up)
		open = append(open, i)
		bestFirst(byKey[key])
		x.groups = append(x.groups, byKey[key])
	}
	return x
}

// find returns the first group whose key the text has (-1: none), from which
// parent leads to the others, and the key that agrees with most of the text.
func (x *index) find(text string) (group, near, agree int) {
	// The loop is sort.Find, without the calls.
	lo, hi := 0, len(x.keys)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if x.compare(x.keys[mid], text) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	group = lo - 1
	for i := lo - 1; i <= lo; i++ {
		if i < 0 || i >= len(x.keys) {
			continue
		}
		n := common(x.keys[i], text)
		if x.fromEnd {
			n = commonEnd(x.keys[i], text)
		}
		if n >= agree {
			near, agree = i, n
		}
	}
	for group >= 0 && !x.has(text, x.keys[group]) {
		group = x.parent[group]
	}
	return group, near, agree
}

// next returns the next shorter key's group.
func (x *index) next(group int) int { return x.parent[group] }

func (x *index) has(text, key string) bool {
	if x.fromEnd {
		return strings.HasSuffix(text, key)
	}
	return strings.HasPrefix(text, key)
}

// compare orders texts, by their last bytes first when they are compared from the end.
func (x *index) compare(a, b string) int {
	if !x.fromEnd {
		return strings.Compare(a, b)
	}
	n := commonEnd(a, b)
	if n == len(a) || n == len(b) {
		return cmp.Compare(len(a), len(b))
	}
	return cmp.Compare(a[len(a)-1-n], b[len(b)-1-n])
}
