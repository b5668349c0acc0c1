// Package mind is what a simulated model understands and says. It reads a
// prompt as a language model would have to: the task, the labels, the rules,
// the examples and the text to work on; and answers by what it found there, as
// well as its ability lets it. A better prompt gives better answers because of
// what it says, never because it is known here.
//
// Everything is a pure function of the seed, the model and the request. Each
// aspect of an answer (its label, its length, its case, …) is decided by a
// draw of its own over the text that is worked on, not over the prompt: an
// edit of the prompt that mends one aspect leaves the others as they were.
package mind

import (
	"math"
	"strings"
	"unicode/utf8"
)

// Mind is one simulated model.
type Mind struct {
	Seed  int64
	Model string
	// How well it follows instructions and knows things, from 0 to 1.
	Ability float64
	// The share of labels that are wrong besides, from 0 to 1.
	Mistakes float64
}

// Message is a turn of the conversation.
type Message struct {
	Role string
	Text string
}

// Request is what a mind is asked.
type Request struct {
	Messages []Message
	JSON     bool   // the answer is to be a JSON object
	Schema   []byte // the JSON schema of the answer, if there is one
	Vary     string // tells apart several answers to the same request
}

// Answer answers a request.
func (m Mind) Answer(r Request) string {
	r.Messages = recent(r.Messages)
	if len(r.Schema) > 0 {
		return m.Arguments(r, r.Schema)
	}
	if said, ok := rewrite(m, r); ok {
		return said
	}
	t := m.think(r)
	if r.JSON {
		return t.object()
	}
	if t.prompt.Rules.JSON.wanted() && t.obeys("json", 3, t.prompt.Rules.JSON) {
		return t.object()
	}
	return t.say()
}

// Arguments answers a request with a value of a JSON schema, such as the
// arguments of a tool call.
func (m Mind) Arguments(r Request, schema []byte) string {
	r.Messages = recent(r.Messages)
	return m.think(r).fill(schema)
}

// thought is one request being answered.
type thought struct {
	Mind
	prompt *Prompt
	last   string // the last message of the user
	key    string // what draws are over
}

func (m Mind) think(r Request) *thought {
	t := &thought{Mind: m, prompt: Read(r.Messages)}
	for _, msg := range r.Messages {
		if msg.Role == "user" {
			t.last = clip(msg.Text)
		}
	}
	t.key = r.Vary + "\x00" + strings.Join(strings.Fields(t.prompt.Text), " ")
	return t
}

// say answers in words.
func (t *thought) say() string {
	switch {
	case len(t.prompt.Labels) > 0:
		return t.phrase(t.label(t.prompt.Labels))
	case len(t.prompt.asked()) > 0:
		return t.extracted()
	}
	return t.reply()
}

// draw is a number from [0,1) for one aspect of the answer.
func (t *thought) draw(aspect string) float64 {
	return Draw(uint64(t.Seed), t.Model, t.key, aspect)
}

// Draw hashes a seed and texts to a number from [0,1).
func Draw(seed uint64, parts ...string) float64 {
	h := uint64(14695981039346656037) ^ seed*0x9e3779b97f4a7c15
	for _, p := range parts {
		for i := range len(p) {
			h = (h ^ uint64(p[i])) * 1099511628211
		}
		h = (h ^ 0x100) * 1099511628211
	}
	h ^= h >> 30
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 27
	h *= 0x94d049bb133111eb
	h ^= h >> 31
	return float64(h>>11) / (1 << 53)
}

// lapse is how often a model of this ability misses what nobody told it. The
// square sets strong models far apart from middling ones: 0.97 misses little, 0.75 much.
func (t *thought) lapse(weight float64) float64 {
	d := 1 - t.Ability
	return min(weight*d*d, 0.95)
}

// obeys decides whether an aspect is as the prompt wants it. Every mention of
// a rule leaves a small part of the lapses.
func (t *thought) obeys(aspect string, weight float64, rules ...Rule) bool {
	return t.draw(aspect) >= t.slip(weight, rules...)
}

func (t *thought) slip(weight float64, rules ...Rule) float64 {
	p := t.lapse(weight)
	for _, r := range rules {
		p *= math.Pow(1-t.heed(), min(float64(r.For), 2))
	}
	return p
}

// heed is how much of its lapses a rule cures. A very long prompt has each rule heeded less.
func (t *thought) heed() float64 {
	return (0.6 + 0.39*t.Ability) * t.prompt.focus()
}

// clip bounds how much of a message is read: its beginning and its end.
func clip(s string) string {
	if len(s) <= 2*maxRead {
		return s
	}
	head, tail := maxRead, len(s)-maxRead
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s) && !utf8.RuneStart(s[tail]) {
		tail++
	}
	return s[:head] + "\n" + s[tail:]
}

// shorten cuts a text at n bytes.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// recent leaves out what is longest ago of a very long conversation, but for its first message.
func recent(messages []Message) []Message {
	total, from := 0, len(messages)
	for from > 0 && len(messages)-from < maxMessages && total < maxConversation {
		from--
		total += min(len(messages[from].Text), 2*maxRead)
	}
	if from == 0 {
		return messages
	}
	return append([]Message{messages[0]}, messages[from:]...)
}

const (
	maxRead         = 16 << 10 // bytes of a message's beginning, and of its end
	maxConversation = 256 << 10
	maxMessages     = 256
)
