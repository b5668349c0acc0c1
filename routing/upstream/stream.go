package upstream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
)

// maxEvent bounds one event of a stream.
const maxEvent = 8 << 20

// afterFinish is how long is waited for usage once every choice has its finish
// reason, and afterUsage how long for the terminator behind it.
const (
	afterFinish = time.Second
	afterUsage  = 200 * time.Millisecond
)

// Stream is an answer that comes in events. It is used by one goroutine.
type Stream struct {
	a      *attempt
	body   io.Reader
	events dialect.Events
	other  dialect.Translator // events, when the client speaks another dialect
	ready  []byte             // what it made of them for the client
	buf    []byte
	out    int // buf[out:kept] is ready for the client
	kept   int
	parsed int // buf[kept:parsed] is dropped, buf[parsed:] is not looked at yet
	split  splitter
	total  int64
	end    time.Time // of the wait behind the last finish reason
	begun  bool      // what may be a byte order mark has been looked at
	done   bool      // the terminator has been seen
	err    error
}

func newStream(a *attempt, body io.Reader) *Stream {
	s := &Stream{a: a, body: body, events: a.target.Request.Events, buf: call.Buffer(0)}
	s.other, _ = s.events.(dialect.Translator)
	return s
}

// open reads until the first event that carries content. What came before it
// is kept and is part of the first Next.
func (s *Stream) open() *Fault {
	first := s.a.started.Add(s.a.limits.FirstToken)
	for {
		content := s.parse()
		if content || s.done && s.events.Complete() {
			return nil
		}
		if s.done {
			return fault(Cut, errors.New("the stream ended before its first content"))
		}
		if s.err == nil {
			s.fill(first)
			continue
		}
		if errors.Is(s.err, io.EOF) {
			if s.events.Complete() {
				return nil
			}
			return fault(Cut, errors.New("the stream ended before its first content"))
		}
		if f, ok := errors.AsType[*Fault](s.err); ok {
			return f
		}
		if isTimeout(s.err) {
			return s.a.timeout(FirstToken, fmt.Errorf("no content within %s", s.a.limits.FirstToken))
		}
		return fault(Cut, s.err)
	}
}

// Next returns the next run of complete events, to be passed on as they are;
// it is valid until the next call. The error is io.EOF when the stream ended
// as it should, else a *Fault.
func (s *Stream) Next() ([]byte, error) {
	deadline := time.Now().Add(s.a.limits.Idle)
	for {
		if s.out < s.kept {
			run := s.buf[s.out:s.kept]
			s.out = s.kept
			return run, nil
		}
		if len(s.ready) > 0 {
			run := s.ready
			s.ready = s.ready[:0]
			return run, nil
		}
		if s.done {
			return nil, io.EOF
		}
		if s.err != nil {
			return s.ending()
		}
		s.fill(s.finishing(deadline))
		before := s.parsed
		s.parse()
		if s.parsed != before { // an event that the client does not see
			deadline = time.Now().Add(s.a.limits.Idle)
		}
	}
}

// finishing brings the deadline forward once every choice has its finish reason.
func (s *Stream) finishing(deadline time.Time) time.Time {
	if !s.events.Complete() {
		return deadline
	}
	wait := afterFinish
	if s.events.Summary().Usage != nil {
		wait = afterUsage
	}
	if at := time.Now().Add(wait); s.end.IsZero() || at.Before(s.end) {
		s.end = at
	}
	if s.end.Before(deadline) {
		return s.end
	}
	return deadline
}

// ending turns the end of the input into the end of the stream.
func (s *Stream) ending() ([]byte, error) {
	if s.events.Complete() {
		s.done = true
		s.a.resp.keep = s.a.resp.keep && s.a.resp.done
		if t := s.events.Terminator(); len(t) > 0 {
			return t, nil
		}
		return nil, io.EOF
	}
	var f *Fault
	switch {
	case errors.As(s.err, &f):
		return nil, f
	case errors.Is(s.err, io.EOF):
		return nil, fault(Cut, errors.New("the provider ended the stream before it was complete"))
	case isTimeout(s.err):
		return nil, s.a.timeout(Stall, fmt.Errorf("no event within %s", s.a.limits.Idle))
	}
	return nil, fault(Cut, s.err)
}

// Summary is what the stream has said of itself so far.
func (s *Stream) Summary() *dialect.Summary { return s.events.Summary() }

// Release gives the buffer back.
func (s *Stream) Release() {
	call.FreeBuffer(s.buf)
	s.buf = nil
}

// fill reads once, until the deadline.
func (s *Stream) fill(deadline time.Time) {
	if s.out == s.kept {
		// All that is kept has been handed out: move the rest to the front.
		n := copy(s.buf, s.buf[s.parsed:])
		s.split.moved(s.parsed)
		s.buf, s.out, s.kept, s.parsed = s.buf[:n], 0, 0, 0
	}
	if len(s.buf)-s.parsed > maxEvent {
		s.err = errEventTooLarge
		return
	}
	if len(s.buf) == cap(s.buf) {
		grown := append(call.Buffer(2*cap(s.buf)), s.buf...)
		call.FreeBuffer(s.buf)
		s.buf = grown
	}
	s.a.untilTime(deadline)
	n, err := s.body.Read(s.buf[len(s.buf):cap(s.buf)])
	from := max(s.parsed, len(s.buf)-s.a.target.Client.longest)
	s.buf = s.buf[:len(s.buf)+n]
	s.a.target.Client.mask(s.buf[from:])
	s.total += int64(n)
	if s.total > s.a.target.Client.MaxResponse {
		err = &Fault{Class: TooLarge, Err: errTooLarge}
	}
	if err != nil && (n == 0 || !errors.Is(err, io.EOF)) {
		s.err = err
	}
	if errors.Is(s.err, io.EOF) && len(s.buf) > s.parsed { // the last event may lack its blank line
		if s.buf[len(s.buf)-1] != '\n' {
			s.buf = append(s.buf, '\n')
		}
		s.buf = append(s.buf, '\n')
	}
}

var errEventTooLarge = &Fault{Class: BadResponse, Err: fmt.Errorf("an event larger than %d bytes", maxEvent)}

// parse looks at every complete event in the buffer and keeps those that are
// meant for the client. It reports whether one of them carried content.
func (s *Stream) parse() (content bool) {
	if !s.begun {
		if len(s.buf) < len(byteOrderMark) && s.err == nil && bytes.HasPrefix(byteOrderMark, s.buf) {
			return false
		}
		s.begun = true
		if bytes.HasPrefix(s.buf, byteOrderMark) {
			s.parsed = len(byteOrderMark)
		}
	}
	for !s.done {
		end, data, ok := s.split.next(s.buf, s.parsed)
		if !ok {
			return content
		}
		if end-s.parsed > maxEvent {
			s.err = errEventTooLarge
			return content
		}
		event := s.buf[s.parsed:end]
		s.parsed = end
		verdict := s.events.Event(data)
		if s.split.failed && len(data) > 0 {
			verdict = dialect.Failed
		}
		switch verdict {
		case dialect.Drop:
			continue
		case dialect.Failed:
			s.err = &Fault{Class: Cut, Err: errors.New("the provider sent an error event"), Body: bytes.Clone(data)}
			return content
		case dialect.Broken:
			s.err = &Fault{Class: Cut, Err: errors.New("an event of the answer is not valid JSON")}
			return content
		case dialect.Content:
			content = true
		case dialect.Done:
			s.done = true
		}
		s.keep(event, data)
	}
	return content
}

var byteOrderMark = []byte("\xef\xbb\xbf")

var usageNull = []byte(`,"usage":null`)

// keep moves the event behind those that are kept already.
func (s *Stream) keep(event, data []byte) {
	if s.other != nil {
		s.ready = append(s.ready, s.other.Output()...)
		return
	}
	if s.events.HideUsage() && len(data) > 0 {
		if at := bytes.LastIndex(event, usageNull); at >= 0 {
			s.kept += copy(s.buf[s.kept:], event[:at])
			event = event[at+len(usageNull):]
		}
	}
	if at := s.parsed - len(event); at == s.kept {
		s.kept = s.parsed
		return
	}
	s.kept += copy(s.buf[s.kept:], event)
}
