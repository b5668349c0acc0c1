package prompts

import (
	"bytes"
	"cmp"
	"slices"
	"strings"
	"sync"
	"unicode/utf8"
	"unsafe"

	"github.com/caddy-frontier/frontier/internal/call"
)

const (
	nearText   = 48 // bytes of want and got of a near miss
	manyInOne  = 16 // as many candidates for one text make it worth to collect its grams
	nothingSet = -1
)

// recognize finds which prompt the call's messages are a rendering of. When
// there is none, or more than one, the prompt is empty and the near miss says
// what came closest, if at least floor bytes of its literals agreed.
func (m *matcher) recognize(c *call.Call, floor int) (call.Prompt, *call.NearMiss) {
	if len(c.Messages) == 0 {
		return call.Prompt{}, nil
	}
	s := searches.Get().(*search)
	defer s.release()
	s.call, s.closest = c, nothingSet
	if cap(s.texts) < len(c.Messages) {
		s.texts = make([]decoded, len(c.Messages))
	}
	s.texts = s.texts[:len(c.Messages)]
	for i := range m.chats {
		p := &m.chats[i]
		if p.message < len(c.Messages) && c.Messages[p.message].Role == p.role {
			s.try(&p.slot, p.message)
		} else {
			s.miss(p.slot.sample(), 0, 0)
		}
	}
	if !m.text.empty() {
		for i := range c.Messages {
			if r := c.Messages[i].Role; r == call.User || r == call.System && i == 0 {
				s.try(&m.text, i)
			}
		}
	}
	if s.other == nil && len(s.hits) > 0 {
		return s.prompt(), nil
	}
	return call.Prompt{}, s.nearMiss(floor)
}

// search is the state of one recognition.
type search struct {
	call  *call.Call
	texts []decoded
	arena []string // the values of the hits
	hits  []hit
	other *candidate // of another prompt than the hits: nothing can be told then
	grams grams

	buffer []byte // of head

	// The closest miss.
	missed  *candidate
	message int
	closest int // bytes of literals that agreed; nothingSet: no miss
}

type decoded struct {
	text string
	done bool
	ok   bool
}

// hit is a candidate that matches the messages from first on.
type hit struct {
	*candidate
	first, count int
	values       []string
}

var searches = sync.Pool{New: func() any { return new(search) }}

func (s *search) release() {
	clear(s.texts)
	clear(s.arena[:cap(s.arena)])
	clear(s.hits[:cap(s.hits)])
	s.texts, s.arena, s.hits = s.texts[:0], s.arena[:0], s.hits[:0]
	s.call, s.other, s.missed = nil, nil, nil
	if cap(s.arena) > 4096 || cap(s.texts) > 4096 || cap(s.buffer) > 64<<10 {
		return // an unusual request: its memory is not worth keeping
	}
	searches.Put(s)
}

// text decodes a message's text, once.
func (s *search) text(i int) (string, bool) {
	d := &s.texts[i]
	if !d.done {
		d.text, d.ok = s.call.Messages[i].Decode(s.call.Body)
		d.done = true
	}
	return d.text, d.ok
}

// try looks for the slot's templates at the message.
func (s *search) try(sl *slot, i int) {
	if !s.call.Messages[i].Text.Exists() {
		return
	}
	var groups [32][]candidate
	found := groups[:0]
	if x := &sl.opening; len(x.keys) > 0 {
		text, ok := s.head(i, x.longest)
		if !ok {
			return
		}
		group, near, agree := x.find(text)
		if agree < len(x.keys[near]) {
			s.miss(&x.groups[near][0], i, agree)
		}
		for ; group >= 0; group = x.next(group) {
			found = append(found, x.groups[group])
		}
	}
	if len(found) == 0 && len(sl.closing.keys) == 0 && len(sl.rest) == 0 {
		return
	}
	text, ok := s.text(i)
	if !ok {
		return
	}
	if x := &sl.closing; len(x.keys) > 0 {
		group, near, agree := x.find(text)
		if agree < len(x.keys[near]) {
			s.miss(&x.groups[near][0], i, agree)
		}
		for ; group >= 0; group = x.next(group) {
			found = append(found, x.groups[group])
		}
	}
	if len(sl.rest) > 0 {
		found = append(found, sl.rest)
	}
	total := 0
	for _, group := range found {
		total += len(group)
	}
	many := total >= manyInOne
	if many {
		s.grams.fill(text)
	}
	for _, group := range found {
		for k := range group {
			switch c := &group[k]; {
			case many && !s.grams.mayHave(&c.telltale):
				if s.closest < c.agreed {
					s.miss(c, i, c.agreed)
				}
			case c.chat:
				s.chat(c)
			default:
				s.single(c, i, text)
			}
		}
	}
}

func (s *search) single(c *candidate, i int, text string) {
	values := s.room(c)
	matched, ok := c.pattern.match(text, values)
	if !ok {
		s.arena = s.arena[:len(s.arena)-len(values)]
		s.miss(c, i, matched)
		return
	}
	s.hit(hit{c, i, 1, values})
}

// chat compares a chat template with the first messages.
func (s *search) chat(c *candidate) {
	values := s.room(c)
	agreed, at, ok := 0, 0, true
	for i := range c.version.patterns {
		p := &c.version.patterns[i]
		at = i
		if ok = i < len(s.call.Messages) && s.call.Messages[i].Role == p.role && s.call.Messages[i].Text.Exists(); !ok {
			break
		}
		var text string
		if text, ok = s.text(i); !ok {
			break
		}
		var matched int
		matched, ok = p.match(text, values)
		agreed += matched
		if !ok {
			break
		}
	}
	if !ok {
		s.arena = s.arena[:len(s.arena)-len(values)]
		s.miss(c, at, max(agreed, c.agreed))
		return
	}
	s.hit(hit{c, 0, len(c.version.patterns), values})
}

// room makes space for the values of a version's variables.
func (s *search) room(c *candidate) []string {
	n := len(c.version.Template.variables)
	from := len(s.arena)
	s.arena = slices.Grow(s.arena, n)[:from+n]
	return s.arena[from : from+n : from+n]
}

func (s *search) hit(h hit) {
	if len(s.hits) > 0 && s.hits[0].version.Name != h.version.Name {
		s.other = h.candidate
		return
	}
	for i := range s.hits {
		if old := &s.hits[i]; old.chat == h.chat && old.first == h.first {
			if better(h.candidate, old.candidate) {
				*old = h
			}
			return
		}
	}
	s.hits = append(s.hits, h)
}

// prompt makes the result of the hits, which are of one prompt.
func (s *search) prompt() call.Prompt {
	hits := s.hits
	if hits[0].chat {
		// Of a chat and a text version that match the same message the better one wins, too.
		chat, text := hits[0], false
		for _, h := range hits[1:] {
			text = text || h.first < chat.count && better(h.candidate, chat.candidate)
		}
		hits = slices.DeleteFunc(hits, func(h hit) bool {
			return text && h.chat || !text && !h.chat && h.first < chat.count
		})
	}
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Compare(a.first, b.first) })
	p := call.Prompt{Name: hits[0].version.Name, Source: call.Recognized, Matches: make([]call.Match, len(hits))}
	for i := range hits {
		h := &hits[i]
		p.Matches[i] = call.Match{Version: h.version.Version, First: h.first, Count: h.count, Variables: s.variables(h)}
	}
	last := &p.Matches[len(hits)-1]
	p.Version, p.Variables = last.Version, last.Variables
	return p
}

// variables makes the hit's values outlive the request's body. A text that
// had to be unescaped has memory of its own already.
func (s *search) variables(h *hit) map[string]string {
	out := make(map[string]string, len(h.values))
	own := true
	for i := range h.version.patterns {
		raw := s.call.Messages[h.first+i].Text
		own = own && (len(h.version.patterns[i].holes) == 0 || len(s.texts[h.first+i].text) < raw.End-raw.Start-2)
	}
	var all string
	if !own {
		all = strings.Join(h.values, "")
		if len(h.values) == 1 {
			all = strings.Clone(all) // Join does not copy a single text
		}
	}
	for i, name := range h.version.Template.variables {
		value := h.values[i]
		if !own {
			value, all = all[:len(value)], all[len(value):]
		}
		out[name] = value
	}
	return out
}

func (s *search) miss(c *candidate, message, agreed int) {
	if agreed > s.closest || agreed == s.closest && message > s.message {
		s.missed, s.message, s.closest = c, message, agreed
	}
}

func (s *search) nearMiss(floor int) *call.NearMiss {
	if s.other != nil {
		h := &s.hits[0]
		return &call.NearMiss{
			Prompt: h.version.Name, Version: h.version.Version, Message: h.first,
			Want: "a rendering of one prompt only", Got: "one of " + s.other.version.Reference().String() + ", too",
		}
	}
	if s.missed == nil || s.closest < floor {
		return nil
	}
	return s.explain(s.missed)
}

// explain says where the candidate that came closest parts from the messages.
func (s *search) explain(c *candidate) *call.NearMiss {
	n := &call.NearMiss{Prompt: c.version.Name, Version: c.version.Version, Message: s.message}
	values := make([]string, len(c.version.Template.variables))
	if !c.chat {
		s.explainText(n, c.pattern, values)
		return n
	}
	for i := range c.version.patterns {
		p := &c.version.patterns[i]
		n.Message = i
		if i >= len(s.call.Messages) {
			n.Want, n.Got = roleNames[p.role], "no more messages"
			return n
		}
		if r := s.call.Messages[i].Role; r != p.role {
			n.Want, n.Got = roleNames[p.role], roleNames[r]
			return n
		}
		if text, ok := s.text(i); ok {
			if _, fits := p.match(text, values); fits {
				continue
			}
		}
		break
	}
	s.explainText(n, &c.version.patterns[n.Message], values)
	return n
}

var roleNames = [...]string{
	call.OtherRole: "a message of another role", call.System: "a system message", call.User: "a user message",
	call.Assistant: "an assistant message", call.Tool: "a tool message",
}

func (s *search) explainText(n *call.NearMiss, p *pattern, values []string) {
	text, ok := "", false
	if s.call.Messages[n.Message].Text.Exists() {
		text, ok = s.head(n.Message, len(p.opening)+nearText+utf8.UTFMax)
		if ok && common(text, p.opening) == len(p.opening) {
			text, ok = s.text(n.Message)
		}
	}
	if !ok {
		n.Want, n.Got = strings.Clone(cut(p.opening, nearText)), "no single valid text"
		return
	}
	offset, want, got := p.explain(text, values)
	n.Offset, n.Want, n.Got = offset, strings.Clone(cut(want, nearText)), strings.Clone(cut(got, nearText))
}

// head returns enough of a message's decoded text to compare its first n
// bytes: a long text that cannot match is then never decoded as a whole. It
// is good until the next call.
func (s *search) head(i, n int) (string, bool) {
	raw := s.call.Messages[i].Text.Of(s.call.Body)
	if s.texts[i].done || len(raw) < 8*n+64 {
		return s.text(i)
	}
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw[:n], '\\') < 0 {
		return unsafe.String(unsafe.SliceData(raw), n), true
	}
	b := s.buffer[:0]
	for len(b) < n {
		plain := bytes.IndexByte(raw[:n], '\\')
		if plain < 0 {
			plain = n
		}
		b = append(b, raw[:plain]...)
		raw = raw[plain:]
		if plain == n {
			break
		}
		c := raw[1]
		switch c {
		case '"', '\\', '/':
		case 'n':
			c = '\n'
		case 't':
			c = '\t'
		case 'r':
			c = '\r'
		default:
			return s.text(i)
		}
		b = append(b, c)
		raw = raw[2:]
	}
	s.buffer = b
	return unsafe.String(unsafe.SliceData(b), len(b)), true
}
