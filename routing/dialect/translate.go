package dialect

import (
	"errors"
	"sync"
	"time"

	"github.com/caddy-frontier/frontier/internal/answer"
	"github.com/caddy-frontier/frontier/internal/call"
)

// Translator are Events whose stream the client gets in another dialect.
type Translator interface {
	Events
	// Output is what the client gets for the events since the last Output. It
	// is valid until the next event. Terminator's belongs to it.
	Output() []byte
}

// Echo is what an answer repeats of the request that the client sent.
type Echo struct {
	Front   call.Front
	Request []byte // the request's body
	Usage   bool   // a stream's usage was asked for
	Now     time.Time
}

// NewTranslator returns the judge of a stream of the wire's API that makes one of the client's front of it.
func NewTranslator(wire call.Front, echo Echo) Translator {
	var w writer
	switch echo.Front {
	case call.Responses:
		w = newResponsesWriter(echo)
	case call.Messages:
		w = newMessagesWriter(echo)
	default:
		w = &chatWriter{echo: echo}
	}
	t := &translator{writer: w}
	switch wire {
	case call.Messages:
		t.reader = &messagesAnswer{out: w}
	case call.GenerateContent:
		t.reader = &geminiAnswer{out: w}
	default:
		t.reader = &chatAnswer{out: w}
	}
	return t
}

// Answer translates a whole answer of the wire's API. The error says why it is none.
func Answer(wire call.Front, doc []byte, echo Echo) ([]byte, error) {
	echo.Usage = true
	t := NewTranslator(wire, echo).(*translator)
	scratch := call.Buffer(2*len(doc) + 1024)
	switch w := t.writer.(type) {
	case *responsesWriter:
		w.whole, w.buf = true, scratch
	case *chatWriter:
		w.buf = scratch
	case *messagesWriter:
		w.buf = scratch
	}
	if t.reader.whole(doc) == Failed {
		return nil, errors.New("the provider reports an error instead of an answer")
	}
	if !t.Complete() {
		return nil, errors.New("the answer does not say how it ended")
	}
	t.writer.end()
	if echo.Front == call.Responses {
		return t.Output(), nil
	}
	a := assemblers.Get().(*answer.Assembler)
	stream := t.Output()
	out, of := a.Assemble(call.Buffer(len(doc)+512), echo.Front, stream)
	assemblers.Put(a)
	call.FreeBuffer(stream)
	if !of.Done || of.Failed {
		return nil, errors.New("the answer cannot be put together")
	}
	return out, nil
}

var assemblers = sync.Pool{New: func() any { return new(answer.Assembler) }}

// reader takes the answers of one dialect apart.
type reader interface {
	event(data []byte) Verdict
	whole(doc []byte) Verdict
	complete() bool
	state() *Summary
}

// writer puts the events of one front together. What it is given are the
// insides of JSON literals, good until it returns.
type writer interface {
	begin(id, model []byte)
	text(b []byte)
	refusal(b []byte)
	thinking(b []byte)
	// signature seals the thinking before it.
	signature(dialect string, b []byte)
	redacted(b []byte)
	// call begins the n-th tool call, counted from 0. signature is Gemini's, if it has one.
	call(n int, id, name, signature []byte)
	arguments(n int, b []byte)
	ping()
	// finish says how it ended, in OpenAI's words for it; it returns the front's.
	finish(reason string) string
	usage(u *call.Usage)
	// end writes what closes the stream, once.
	end()
	output() []byte
}

// How answers end, in the words of chat completions.
const (
	stopped  = "stop"
	length   = "length"
	called   = "tool_calls"
	filtered = "content_filter"
)

type translator struct {
	reader reader
	writer writer
}

func (t *translator) Event(data []byte) Verdict {
	v := t.reader.event(data)
	if v == Done {
		t.writer.end()
	}
	return v
}

func (t *translator) Complete() bool     { return t.reader.complete() }
func (t *translator) HideUsage() bool    { return false }
func (t *translator) Summary() *Summary  { return t.reader.state() }
func (t *translator) Output() []byte     { return t.writer.output() }
func (t *translator) Terminator() []byte { t.writer.end(); return t.writer.output() }

// buffered is the output of a writer.
type buffered struct {
	buf   []byte
	taken bool
	ended bool
}

// room is where to append; what was handed out before is overwritten.
func (b *buffered) room() []byte {
	if b.taken {
		b.buf, b.taken = b.buf[:0], false
	}
	return b.buf
}

func (b *buffered) output() []byte {
	if b.taken {
		return nil
	}
	b.taken = true
	return b.buf
}

// once reports whether the stream has not been ended yet, and ends it.
func (b *buffered) once() bool {
	first := !b.ended
	b.ended = true
	return first
}

// nothing writes nothing: for a stream that goes to a client of its own dialect.
type nothing struct{}

func (nothing) begin(_, _ []byte)                {}
func (nothing) text([]byte)                      {}
func (nothing) refusal([]byte)                   {}
func (nothing) thinking([]byte)                  {}
func (nothing) signature(string, []byte)         {}
func (nothing) redacted([]byte)                  {}
func (nothing) call(int, []byte, []byte, []byte) {}
func (nothing) arguments(int, []byte)            {}
func (nothing) ping()                            {}
func (nothing) finish(string) string             { return "" }
func (nothing) usage(*call.Usage)                {}
func (nothing) end()                             {}
func (nothing) output() []byte                   { return nil }
