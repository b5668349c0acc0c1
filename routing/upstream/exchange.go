package upstream

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/answer"
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
)

// Request is one request to a provider.
type Request struct {
	Method string
	Path   string     // below the base URL, such as "/chat/completions"
	Query  string     // without the question mark
	Header Fields     // besides those that every request has
	Key    string     // "": one of the client's own, if it has any
	Body   []byte     // must not change until the exchange is over
	Wire   call.Front // the provider's API, in which the answer comes
	Stream bool
	Events dialect.Events // judges the events of a stream; nil for a whole answer
	// Translate makes the client's answer of a whole one; nil: they are the same.
	Translate func([]byte) ([]byte, error)
	// Amend returns another form of the request that a provider which gave
	// this error may accept, or nil. It is tried at once, and once.
	Amend func(*Fault) *Request
}

// Target is one way to get an answer: a request for a provider.
type Target struct {
	Client  *Client
	Variant string // for the record
	Model   string // for the record
	Window  int64  // how many tokens the model takes; 0: unknown
	OnTrial bool   // an error status that others would be left with is one reason more to ask the next target
	Apart   bool   // what becomes of it opens and closes no circuit and sets no key aside: those are for others' calls
	Request Request
	Limits  Limits
}

// Exchange gets one answer from the first of its targets that can give it.
type Exchange struct {
	// Targets returns the i-th way to get the answer, nil behind the last one.
	// It is asked only when the ones before have failed.
	Targets func(i int) (*Target, error)
	// Attempts is what was tried, in order.
	Attempts []call.Attempt
}

// Answer is what a provider answered, once that is certain. Close must be
// called when it has been used.
type Answer struct {
	Target *Target
	Status int
	Header Fields
	Body   []byte  // a whole answer, or an error status that is passed on
	Stream *Stream // nil for a whole answer

	attempt *attempt
}

// Close ends the exchange. The body must not be used afterwards.
func (a *Answer) Close() {
	a.attempt.end()
	if a.Body != nil {
		call.FreeBuffer(a.Body)
		a.Body = nil
	}
}

// Do tries the targets in turn. The error is a *Fault, that of the last
// attempt, or what Targets returned.
func (x *Exchange) Do(ctx context.Context) (*Answer, error) {
	start := time.Now()
	var last *Fault
	var deadline time.Time
	t, err := x.Targets(0)
	for i := 0; t != nil && err == nil; {
		limits := t.Limits.Over(t.Client.Limits)
		if deadline.IsZero() {
			deadline = start.Add(limits.Total)
		}
		var next *Target
		asked := false // for the next one
		peek := func() bool {
			if !asked {
				asked = true
				next, err = x.Targets(i + 1)
			}
			return next != nil && err == nil
		}
		a, f := x.ask(ctx, t, limits, deadline, peek)
		if f == nil {
			return a, nil
		}
		last = f
		if f.tooLong() {
			// Only a model that takes more can do better.
			for window := t.Window; peek() && (window == 0 || next.Window <= window); {
				i++
				asked = false
			}
		} else if f.decide(limits.Attempts, limits.Attempts, false) == giveUp && !(t.OnTrial && f.Class == StatusError) {
			return nil, last
		}
		if !peek() {
			return nil, last
		}
		t = next
		i++
	}
	if last != nil {
		return nil, last
	}
	return nil, err
}

// ask tries one target, as often as its limits and the kind of fault allow.
// other reports whether there is another one.
func (x *Exchange) ask(ctx context.Context, t *Target, limits Limits, deadline time.Time, other func() bool) (*Answer, *Fault) {
	c := t.Client
	fresh := false // a connection that broke may have been kept too long, as may the others
	for n := 1; ; n++ {
		now := time.Now()
		key := t.Request.Key
		if key == "" {
			key = c.health.pick(c.Keys, now)
		}
		if !t.Apart && !c.health.allow(t.Model, key, now) && other() {
			f := &Fault{Class: CircuitOpen, Err: fmt.Errorf("%s failed %d times in a row and is left alone for a moment", c.Name, openAfter)}
			x.Attempts = append(x.Attempts, call.Attempt{
				Provider: c.Name, Model: t.Model, Variant: t.Variant, Started: now, ErrorClass: string(f.Class), Message: f.Reason(),
			})
			return nil, f
		}
		a, f := x.try(ctx, t, key, limits, now, deadline, fresh)
		now = now.Add(x.Attempts[len(x.Attempts)-1].Duration)
		if !t.Apart && (f == nil || !f.stale) {
			c.health.note(t.Model, key, f, now)
		}
		if f == nil {
			return a, nil
		}
		fresh = f.Class == Connect
		if t.Request.Amend != nil {
			if r := t.Request.Amend(f); r != nil {
				amended := *t
				amended.Request = *r
				amended.Request.Amend = nil
				t = &amended
				n--
				continue
			}
		}
		otherKey := !t.Apart && t.Request.Key == "" && n < len(c.Keys) && c.health.spare(c.Keys, key, now)
		d := f.decide(n, limits.Attempts, otherKey)
		if f.stale && n == 1 {
			d = again
		}
		if d == elsewhere && f.Class == StatusError && f.Status >= 500 && n < limits.Attempts && !other() {
			d = again
		}
		if d != again {
			return nil, f
		}
		pause := f.pause(n, otherKey, now)
		if now.Add(pause).After(deadline) {
			return nil, f
		}
		if !sleep(ctx, pause) {
			return nil, fault(Cancelled, context.Cause(ctx))
		}
	}
}

func (x *Exchange) try(ctx context.Context, t *Target, key string, limits Limits, now, deadline time.Time, fresh bool) (*Answer, *Fault) {
	at := &attempt{target: t, key: key, limits: limits, deadline: deadline, started: now, fresh: fresh}
	ans, f := at.run(ctx)
	record := call.Attempt{Provider: t.Client.Name, Model: t.Model, Variant: t.Variant, Started: at.started, Duration: time.Since(at.started)}
	if at.resp != nil {
		record.HTTPStatus = at.resp.status
		record.UpstreamRequestID = requestID(at.resp.fields)
	}
	if f != nil {
		at.end()
		if ctx.Err() != nil {
			f = fault(Cancelled, context.Cause(ctx))
		}
		record.ErrorClass, record.Message = string(f.Class), f.Reason()
		x.Attempts = append(x.Attempts, record)
		return nil, f
	}
	if ans.Stream != nil {
		record.FirstToken = record.Duration
	}
	x.Attempts = append(x.Attempts, record)
	return ans, nil
}

func requestID(f Fields) string {
	if id := f.Get("X-Request-Id"); id != "" {
		return id
	}
	return f.Get("Request-Id")
}

// attempt is one request to one provider, from taking a connection to giving it back.
type attempt struct {
	target   *Target
	key      string
	limits   Limits
	deadline time.Time // of the whole call
	armed    time.Time // the connection's deadline
	started  time.Time
	cn       *conn
	resp     *response
	stop     func() bool // of the watch on the client's context
	slot     bool
	fresh    bool // no kept connection will do
	ended    bool
	sending  chan struct{} // closed when a large request has been sent
}

func (a *attempt) run(ctx context.Context) (*Answer, *Fault) {
	if f := a.connect(ctx); f != nil {
		return nil, f
	}
	a.stop = context.AfterFunc(ctx, a.cn.close)
	r := &a.target.Request
	header := a.limits.Header
	if header == 0 && r.Stream {
		header = DefaultHeader
	}
	late := HeaderTime
	if r.Stream && a.limits.FirstToken <= header { // the first content cannot come before the header
		header, late = a.limits.FirstToken, FirstToken
	}
	a.until(header)
	if len(r.Body) > sentAside {
		a.sendAside()
	} else if err := a.cn.send(r, a.key); err != nil && isTimeout(err) {
		return nil, a.timeout(late, err)
	} else if err != nil && a.cn.reused {
		return nil, a.broke(err)
	} // otherwise an answer may be there all the same: a provider may refuse before it has read everything
	resp, err := a.cn.receive()
	switch {
	case err == nil:
	case isTimeout(err):
		return nil, a.timeout(late, err)
	case errors.Is(err, errMalformed):
		return nil, fault(BadResponse, err)
	default:
		return nil, a.broke(err)
	}
	a.resp = resp
	body, err := resp.decode()
	if err != nil {
		return nil, &Fault{Class: BadResponse, Status: resp.status, Err: err}
	}
	switch {
	case resp.status >= 300:
		return nil, a.refused(body)
	case resp.status > http.StatusAccepted: // without content, or a part of it
		return nil, &Fault{Class: BadResponse, Status: resp.status, Err: fmt.Errorf("HTTP status %d", resp.status)}
	}
	ans := &Answer{Target: a.target, Status: resp.status, attempt: a}
	var f *Fault
	switch {
	case !r.Stream:
		if ans.Body, f = a.whole(body); f == nil && r.Translate != nil {
			ans.Body, f = a.translate(ans.Body)
		}
	case !a.isStream():
		body, f = a.convert(body, late)
	case !strings.HasPrefix(resp.fields.Get("Content-Type"), eventStream): // in capitals
		a.setContentType(eventStream)
	}
	if r.Stream && f == nil {
		ans.Stream = newStream(a, body)
		f = ans.Stream.open()
	}
	ans.Header = resp.fields
	return ans, f
}

// sentAside is from which size on a body is sent while the answer is waited
// for: a provider that refuses it may not read it to its end.
const sentAside = 256 << 10

// sendAside sends the request from a goroutine, which end waits for.
func (a *attempt) sendAside() {
	sending, cn := make(chan struct{}), a.cn
	a.sending = sending
	go func() {
		defer close(sending)
		_ = cn.send(&a.target.Request, a.key) // an error shows when the answer is read
	}()
}

// broke is the fault of a connection that ended before an answer began.
func (a *attempt) broke(err error) *Fault {
	f := fault(Connect, fmt.Errorf("%s closed the connection before it answered: %w", a.target.Client.Name, err))
	f.stale, f.sent = a.cn.reused, true
	return f
}

const eventStream = "text/event-stream"

func (a *attempt) isStream() bool {
	kind := a.resp.fields.Get("Content-Type")
	return len(kind) >= len(eventStream) && strings.EqualFold(kind[:len(eventStream)], eventStream)
}

// convert makes a stream of an answer that is not declared as one: it is one
// all the same, or a whole answer. late is the class of a timeout before its first byte.
func (a *attempt) convert(body io.Reader, late Class) (io.Reader, *Fault) {
	br := bufio.NewReader(body)
	for {
		b, err := br.Peek(1)
		switch {
		case err != nil && isTimeout(err):
			return nil, a.timeout(late, err)
		case err != nil:
			return nil, &Fault{Class: BadResponse, Status: a.resp.status, Err: err}
		case b[0] <= ' ':
			_, _ = br.Discard(1)
			continue
		case b[0] == '{':
			whole, f := a.whole(br)
			if f != nil {
				return nil, f
			}
			defer call.FreeBuffer(whole)
			a.setContentType(eventStream)
			return bytes.NewReader(answer.AppendStream(nil, a.target.Request.Wire, whole)), nil
		case b[0] == '<':
			return nil, a.notAnAnswer("HTML or XML")
		}
		a.setContentType(eventStream)
		return br, nil
	}
}

// translate makes the client's answer of a whole one.
func (a *attempt) translate(doc []byte) ([]byte, *Fault) {
	defer call.FreeBuffer(doc)
	out, err := a.target.Request.Translate(doc)
	if err != nil {
		return nil, &Fault{Class: BadResponse, Status: a.resp.status, Err: err}
	}
	return out, nil
}

// setContentType corrects what the provider said of its answer.
func (a *attempt) setContentType(kind string) {
	a.resp.fields = slices.DeleteFunc(a.resp.fields, func(f Field) bool { return strings.EqualFold(f.Name, "Content-Type") })
	a.resp.fields = append(a.resp.fields, Field{"Content-Type", kind})
}

func (a *attempt) notAnAnswer(what string) *Fault {
	return &Fault{Class: BadResponse, Status: a.resp.status, Err: fmt.Errorf("the answer is %s (content type %.80q)", what, a.resp.fields.Get("Content-Type"))}
}

func (a *attempt) connect(ctx context.Context) *Fault {
	c := a.target.Client
	if c.slots != nil {
		select {
		case c.slots <- struct{}{}:
		default:
			wait := time.NewTimer(a.limits.Connect)
			defer wait.Stop()
			select {
			case c.slots <- struct{}{}:
			case <-wait.C:
				return fault(Connect, fmt.Errorf("all %d connections to %s are in use (max_conns_per_host)", c.MaxConns, c.Name))
			case <-ctx.Done():
				return fault(Cancelled, context.Cause(ctx))
			}
		}
		a.slot = true
	}
	if !a.fresh {
		if a.cn = c.take(a.started); a.cn != nil {
			return nil
		}
	}
	limit := min(a.limits.Connect, time.Until(a.deadline))
	if limit <= 0 {
		return a.timeout(TotalTime, context.DeadlineExceeded)
	}
	cn, err := c.dial(ctx, limit)
	if err != nil {
		return fault(Connect, fmt.Errorf("connecting to %s: %w", c.Name, err))
	}
	a.cn = cn
	return nil
}

// until sets the deadline of the next reads and writes: limit from now (0:
// none), and never later than the call's.
func (a *attempt) until(limit time.Duration) {
	if limit > 0 {
		a.untilTime(time.Now().Add(limit))
	} else {
		a.untilTime(a.deadline)
	}
}

// untilTime sets the deadline of the next reads and writes, never later than the call's.
func (a *attempt) untilTime(d time.Time) {
	if a.deadline.Before(d) {
		d = a.deadline
	}
	if !d.Equal(a.armed) {
		a.armed = d
		_ = a.cn.raw.SetDeadline(d)
	}
}

// timeout is the fault of a deadline that has passed: the call's, or that of the phase.
func (a *attempt) timeout(class Class, err error) *Fault {
	if !time.Now().Before(a.deadline) {
		return fault(TotalTime, fmt.Errorf("no answer within %s: %w", a.limits.Total, err))
	}
	return fault(class, err)
}

// whole reads an answer to its end. An answer that came as a stream is put together.
func (a *attempt) whole(body io.Reader) ([]byte, *Fault) {
	size := 0
	if a.resp.length > 0 && a.resp.length <= a.target.Client.MaxResponse {
		size = int(min(a.resp.length, 1<<20)) + 1
	}
	buf, err := a.readAll(body, call.Buffer(size), a.target.Client.MaxResponse, a.limits.Idle)
	switch {
	case err == nil:
	case isTimeout(err):
		return nil, a.timeout(Stall, err)
	case errors.Is(err, errTooLarge):
		return nil, &Fault{Class: TooLarge, Status: a.resp.status, Err: err}
	default:
		return nil, &Fault{Class: BadResponse, Status: a.resp.status, Err: err}
	}
	a.target.Client.mask(buf)
	if n := len(byteOrderMark); bytes.HasPrefix(buf, byteOrderMark) {
		buf = buf[:copy(buf, buf[n:])]
	}
	front := a.target.Request.Wire
	wrong := answer.Whole(front, buf)
	if wrong == nil {
		if a.isStream() {
			a.setContentType("application/json")
		}
		return buf, nil
	}
	var events answer.Assembler
	joined, of := events.Assemble(call.Buffer(len(buf)), front, buf)
	switch {
	case of.Events > 0 && of.Done && !of.Failed && answer.Whole(front, joined) == nil:
		a.setContentType("application/json")
		call.FreeBuffer(buf)
		return joined, nil
	case of.Events > 0:
		return nil, fault(Cut, errors.New("the answer is a stream that is not complete"))
	}
	return nil, a.notAnAnswer(wrong.Error())
}

// refused reads the body of an error status.
func (a *attempt) refused(body io.Reader) *Fault {
	buf, err := a.readAll(body, nil, 1<<20, min(a.limits.Idle, errorBodyTime))
	if err != nil {
		a.resp.keep = false
	}
	a.target.Client.mask(buf)
	if a.target.Client.hidden(buf) {
		buf = nil
	}
	status := a.resp.status
	if status == http.StatusBadRequest && bytes.Contains(buf, []byte("API_KEY_INVALID")) {
		status = http.StatusUnauthorized // Gemini takes a wrong key for a bad request
	}
	return &Fault{Class: StatusError, Status: status, Header: slices.Clone(a.resp.fields), Body: buf, Wire: a.target.Request.Wire}
}

// errorBodyTime is how long an error's body may keep us waiting for its next bytes.
const errorBodyTime = 5 * time.Second

var errTooLarge = errors.New("the answer is larger than max_response")

// readAll reads to the end, of which each part must come within idle.
func (a *attempt) readAll(r io.Reader, buf []byte, limit int64, idle time.Duration) ([]byte, error) {
	for {
		a.until(idle)
		if len(buf) == cap(buf) {
			grown := call.Buffer(max(2*cap(buf), 4096))
			grown = append(grown, buf...)
			call.FreeBuffer(buf)
			buf = grown
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if int64(len(buf)) > limit {
			return buf, errTooLarge
		}
		if errors.Is(err, io.EOF) {
			return buf, nil
		}
		if err != nil {
			return buf, err
		}
	}
}

// end gives the connection back if it is in order, else closes it.
func (a *attempt) end() {
	if a.ended {
		return
	}
	a.ended = true
	if a.slot {
		defer func() { <-a.target.Client.slots }()
	}
	if a.cn == nil {
		return
	}
	if a.sending != nil {
		select {
		case <-a.sending:
		default: // the answer did not wait for all of it
			a.cn.close()
			<-a.sending
		}
	}
	inTime := a.stop == nil || a.stop()
	switch {
	case !inTime || a.resp == nil || !a.resp.keep:
		a.cn.close()
	case a.resp.done && a.cn.br.Buffered() == 0:
		a.target.Client.put(a.cn, time.Now())
	case a.resp.done:
		a.cn.close() // junk behind the answer
	default:
		a.drain()
	}
}

// drain waits, off the request's path, for the last bytes of an answer of
// which all that matters has been read, so that the connection can be kept.
// The goroutine ends within a second.
func (a *attempt) drain() {
	c, cn, resp := a.target.Client, a.cn, a.resp
	rest := func() bool {
		var b [512]byte
		for range 16 {
			if _, err := resp.Read(b[:]); err != nil {
				return errors.Is(err, io.EOF) && resp.keep && cn.br.Buffered() == 0
			}
			if resp.done {
				return cn.br.Buffered() == 0
			}
		}
		return false
	}
	finish := func() {
		_ = cn.raw.SetDeadline(time.Now().Add(time.Second))
		if rest() {
			c.put(cn, time.Now())
		} else {
			cn.close()
		}
	}
	if cn.br.Buffered() > 0 {
		finish()
		return
	}
	go finish()
}
