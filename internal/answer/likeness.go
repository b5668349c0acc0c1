package answer

import (
	"bytes"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Likeness remembers an event that said nothing new but some more content.
// Most events of a stream are such, and differ from the one before in that
// text alone: then the rest need not be read again.
type Likeness struct {
	data    []byte
	content jsonscan.Value // the literal in data
}

// Remember takes an event for what the next may be like. content is the place
// of its literal. The event must not change while it is remembered.
func (l *Likeness) Remember(data []byte, content jsonscan.Value) { l.data, l.content = data, content }

// Forget makes the next event unlike any.
func (l *Likeness) Forget() { l.data = nil }

// Same reports whether data is like the event remembered, and returns its
// content: a well-formed string literal.
func (l *Likeness) Same(data []byte) ([]byte, bool) {
	v := l.content
	if l.data == nil || len(data) < len(l.data)-(v.End-v.Start)+2 || !bytes.Equal(data[:v.Start+1], l.data[:v.Start+1]) {
		return nil, false
	}
	rest := l.data[v.End:]
	end := len(data) - len(rest)
	if end < v.Start+2 || !bytes.Equal(data[end:], rest) {
		return nil, false
	}
	literal := data[v.Start:end]
	return literal, literal[len(literal)-1] == '"' && jsonscan.Valid(literal, 1)
}
