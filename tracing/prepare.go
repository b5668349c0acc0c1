package tracing

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"

	"github.com/caddy-frontier/frontier/internal/answer"
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// row is a trace's metadata as the store has it. Times are microseconds.
type row struct {
	seq      int64
	id       [16]byte
	series   series
	seriesID int64
	started  int64
	duration int64
	ttft     int64 // -1: unknown
	usage    call.Usage
	cost     float64 // NaN: unknown
	flags    int64
	attempts int64

	session, user, key, conversation string
	tags                             string // a JSON object, "" for none

	block, offset, size int64 // of the entry with the payloads; size 0: none
}

// series is what many rows have in common. It is stored once a file, and is
// what traces are mostly searched and grouped by.
type series struct {
	front, route, variant, assignment, provider, model, requested string
	prompt                                                        string
	version                                                       int64
	source                                                        string
	stream                                                        bool
	status                                                        string
	httpStatus                                                    int64
	errorClass, finish                                            string
}

// The flags of a row. Six bits from flagShift on count how far seq was moved
// on because another trace had it.
const (
	flagUsage = 1 << iota
	flagEstimated
	flagRetry
	flagRequest
	flagResponse
	flagTruncated
	flagManyTags
	flagShift = 16
)

const maxShift = 63

// maxField bounds what comes from outside into a row, in bytes.
const (
	maxField   = 256
	maxTag     = 512
	maxTags    = 32
	maxDetails = 256 << 10
)

// seqOf makes a row's key of an id, a UUIDv7: 48 bits of milliseconds and
// the 12 bits behind them, in which the id's maker counts. So rows lie in the
// order of time, and are found by id without an index.
func seqOf(id [16]byte) int64 {
	top := binary.BigEndian.Uint64(id[:8])
	return int64(top>>16<<12 | top&0xfff)
}

// seqAt is the first key of a time.
func seqAt(t time.Time) int64 { return max(t.UnixMilli(), 0) << 12 }

// timeOf is the time in a key.
func timeOf(seq int64) time.Time { return time.UnixMilli(seq >> 12).UTC() }

// dayOf is the number of the UTC day that a key belongs to.
func dayOf(seq int64) int { return int((seq >> 12) / 86_400_000) }

// preparer turns records into rows and entries. Its buffers are used again for
// each record.
type preparer struct {
	assembler answer.Assembler
	row       row
	answer    []byte // the re-assembled answer
	clean     [2][]byte
	details   []byte
	decoded   []byte
	shared    []jsonscan.Value
}

// entry is what a block holds of a trace. Its slices are good until the next
// record is prepared.
type entry struct {
	id       [16]byte
	details  []byte
	request  []byte
	shared   []jsonscan.Value // of request, in order: long texts, worth keeping once when they come again
	response []byte
}

// prepare reads the record. The row's place in a file is not yet set.
func (p *preparer) prepare(r *Record) (*row, entry) {
	c := r.Call
	w := &p.row
	*w = row{ttft: -1, cost: math.NaN()}
	w.id, _ = parseID(c.ID)
	w.seq = seqOf(w.id)
	w.started = c.Started.UnixMicro()
	w.duration = max(r.Duration.Microseconds(), 0)
	if r.FirstByte > 0 {
		w.ttft = r.FirstByte.Microseconds()
	}
	w.attempts = int64(len(c.Attempts))
	w.session, w.user, w.key, w.conversation = bounded(c.Session), bounded(c.User), bounded(c.Key), bounded(c.Conversation)
	if c.Retry {
		w.flags |= flagRetry
	}
	if r.Truncated || r.Capture == call.CaptureFull && len(c.Body) > maxPayload {
		w.flags |= flagTruncated
	}
	w.series = series{
		front: c.Front.String(), route: bounded(c.Route), variant: bounded(c.Variant), assignment: string(c.Assignment),
		provider: bounded(c.Provider), model: bounded(c.Model), requested: bounded(c.RequestedModel),
		prompt: bounded(c.Served.Name), version: int64(c.Served.Version), source: string(c.Served.Source),
		stream: c.Stream || r.EventStream, status: string(r.Status), httpStatus: int64(r.HTTPStatus),
		errorClass: bounded(c.ErrorClass), finish: bounded(c.Finish),
	}
	w.tags = p.tags(r)

	response, a, notes := p.response(r)
	usage := c.Usage
	s := &w.series
	if usage == nil {
		usage = a.Usage
	}
	if s.model == "" {
		s.model = bounded(a.Model)
	}
	if s.finish == "" {
		s.finish = bounded(a.Finish)
	}
	if s.errorClass == "" && a.Failed {
		s.errorClass = bounded(a.Class)
	}
	if r.Guessed {
		s.status = string(refine(r, a))
	}
	if r.Observed && w.attempts == 0 && (a.Done || s.httpStatus != 0) {
		w.attempts = 1
	}
	if usage != nil {
		w.usage = *usage
		w.flags |= flagUsage
		if usage.Estimated {
			w.flags |= flagEstimated
		}
		w.cost = r.recorder.cost(s.provider, s.model, r, usage)
		if c.Usage == nil {
			calls.observeUsage(r, usage, w.cost)
		}
	}

	e := entry{id: w.id}
	if r.Capture == call.CaptureFull {
		e.response = response
		if r.storesRequest() && len(c.Body) > 0 {
			e.request = c.Body
			p.shared = sharedTextsOf(c, p.shared[:0])
			e.shared = p.shared
		}
	}
	if x := r.recorder.redact; x != nil {
		if e.request != nil {
			p.clean[0] = x.body(p.clean[0][:0], e.request)
			e.request, e.shared = p.clean[0], nil
		}
		if e.response != nil {
			p.clean[1] = x.body(p.clean[1][:0], e.response)
			e.response = p.clean[1]
		}
	}
	if e.request != nil {
		w.flags |= flagRequest
	}
	if e.response != nil {
		w.flags |= flagResponse
	}
	e.details = p.describe(r, usage, notes, e.request != nil)
	return w, e
}

// response decodes and re-assembles what was sent. Its result is nil when
// there is nothing to be kept.
func (p *preparer) response(r *Record) (body []byte, a answer.Answer, notes []string) {
	body = r.Response
	if len(body) == 0 {
		return nil, a, nil
	}
	if r.Encoding != "" && r.Encoding != "identity" {
		var err error
		if p.decoded != nil {
			call.FreeBuffer(p.decoded)
		}
		p.decoded, err = decode(r.Encoding, body)
		if err != nil {
			notes = append(notes, "response: "+err.Error())
			p.row.flags |= flagTruncated
		}
		if body = p.decoded; len(body) == 0 {
			return nil, a, notes
		}
	}
	if r.EventStream {
		out, a := p.assembler.Assemble(p.answer[:0], r.Call.Front, body)
		p.answer = out
		if len(out) == 0 {
			return body, a, append(notes, "response: no event of the stream could be read")
		}
		return out, a, notes
	}
	if c := r.Call; r.Guessed || c.Usage == nil || c.Model == "" || c.Finish == "" {
		a = answer.Read(c.Front, body)
	}
	return body, a, notes
}

// refine corrects what the handler could only guess: whether a stream came to
// its end, and whether it ended in an error.
func refine(r *Record, a answer.Answer) call.Status {
	if !r.EventStream || a.Events == 0 {
		return r.Status
	}
	switch {
	case a.Failed:
		return call.StatusError
	case r.Status == call.StatusError || r.Truncated:
		return r.Status
	case a.Done:
		return call.StatusOK
	case r.Status == call.StatusOK:
		return call.StatusCut
	}
	return r.Status
}

// longText is the size from which on a message's content is looked for among
// those that were stored before: system prompts, and the earlier turns of a
// conversation, which every later request carries again.
const longText = 1 << 10

func sharedTextsOf(c *call.Call, dst []jsonscan.Value) []jsonscan.Value {
	for i := range c.Messages {
		if v := c.Messages[i].Content; v.End-v.Start >= longText {
			dst = append(dst, v)
		}
	}
	slices.SortFunc(dst, func(a, b jsonscan.Value) int { return a.Start - b.Start })
	return dst
}

func (p *preparer) tags(r *Record) string {
	tags := r.Call.Tags
	if len(tags) == 0 {
		return ""
	}
	keys := make([]string, 0, len(tags))
	for k := range tags {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	o := jsonscan.Write(p.details[:0])
	for _, k := range keys[:min(len(keys), maxTags)] {
		o.Member(cut(k, maxTag), cut(r.recorder.redact.member(k, tags[k]), maxTag))
	}
	p.details = o.End()
	return string(p.details)
}

// describe writes what is known of the call besides row and bodies.
func (p *preparer) describe(r *Record, usage *call.Usage, notes []string, request bool) []byte {
	c, x := r.Call, r.recorder.redact
	o := jsonscan.Write(p.details[:0])
	if c.Message != "" {
		o.String("message", cut(x.text(c.Message), 4<<10))
	}
	o.String("w3c_trace_id", c.W3CTraceID)
	o.String("w3c_span_id", c.W3CSpanID)
	parameters := []byte(c.Sent)
	if parameters == nil && !request {
		parameters = appendParameters(nil, &c.Object)
	}
	if len(parameters) > 2 && len(parameters) <= maxDetails && jsonscan.Valid(parameters, maxNesting) {
		o.Name("parameters")
		if x != nil {
			o.Dst = x.body(o.Dst, parameters)
		} else {
			o.Dst = append(o.Dst, parameters...)
		}
	}
	if len(c.Adjustments) > 0 {
		o.Name("adjustments")
		o.Dst = appendTexts(o.Dst, c.Adjustments)
	}
	if r.Capture == call.CaptureFull {
		p.describeContent(&o, r)
	}
	if len(notes) > 0 {
		o.Name("notes")
		o.Dst = appendTexts(o.Dst, notes)
	}
	if len(c.Attempts) > 0 || r.Observed {
		o.Name("spans")
		o.Dst = append(o.Dst, '[')
		for i := range c.Attempts {
			if i > 0 {
				o.Dst = append(o.Dst, ',')
			}
			a := &c.Attempts[i]
			cost := r.recorder.cost(a.Provider, a.Model, r, a.Usage)
			o.Dst = appendSpan(o.Dst, a, cost, x)
		}
		if len(c.Attempts) == 0 {
			a := call.Attempt{
				Model: p.row.series.model, Started: c.Started, Duration: r.Duration, FirstToken: r.FirstByte, HTTPStatus: r.HTTPStatus,
				ErrorClass: p.row.series.errorClass, Usage: usage, UpstreamRequestID: r.UpstreamRequestID,
			}
			o.Dst = appendSpan(o.Dst, &a, p.row.cost, x)
		}
		o.Dst = append(o.Dst, ']')
	}
	p.details = o.End()
	if len(p.details) == 2 {
		return nil
	}
	return p.details
}

// describeContent writes what holds parts of the messages.
func (p *preparer) describeContent(o *jsonscan.Writer, r *Record) {
	c, x := r.Call, r.recorder.redact
	if v := c.Prompt.Variables; len(v) > 0 && sizeOf(v) <= maxPayload {
		names := make([]string, 0, len(v))
		for k := range v {
			names = append(names, k)
		}
		slices.Sort(names)
		o.Name("variables")
		vars := jsonscan.Write(o.Dst)
		for _, k := range names {
			vars.Member(k, x.member(k, v[k]))
		}
		o.Dst = vars.End()
	}
	if m := c.NearMiss; m != nil {
		near := *m
		near.Got, near.Want = x.text(near.Got), x.text(near.Want)
		if b, err := json.Marshal(near); err == nil {
			o.Raw("near_miss", b)
		}
	}
}

func sizeOf(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

func appendTexts(dst []byte, list []string) []byte {
	dst = append(dst, '[')
	for i, s := range list {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = jsonscan.AppendQuoted(dst, cut(s, maxDetails))
	}
	return append(dst, ']')
}

// appendSpan writes an attempt in short form; spans are read back by span.
func appendSpan(dst []byte, a *call.Attempt, cost float64, x *redactor) []byte {
	o := jsonscan.Write(dst)
	o.String("provider", cut(a.Provider, maxField))
	o.String("model", cut(a.Model, maxField))
	o.String("variant", cut(a.Variant, maxField))
	o.Int("started", a.Started.UnixMicro())
	o.Int("duration", a.Duration.Microseconds())
	o.Int("ttft", a.FirstToken.Microseconds())
	o.Int("http_status", int64(a.HTTPStatus))
	o.String("error_class", cut(a.ErrorClass, maxField))
	if a.Message != "" {
		o.String("message", cut(x.text(a.Message), 4<<10))
	}
	if u := a.Usage; u != nil {
		o.Name("usage")
		n := jsonscan.Write(o.Dst)
		n.Int("input", u.Input)
		n.Int("output", u.Output)
		n.Int("cached", u.CachedInput)
		n.Int("cache_write", u.CacheWriteInput)
		n.Int("reasoning", u.Reasoning)
		if u.Estimated {
			n.Int("estimated", 1)
		}
		o.Dst = n.End()
	}
	if !math.IsNaN(cost) {
		o.Name("cost")
		o.Dst = strconv.AppendFloat(o.Dst, cost, 'g', -1, 64)
	}
	o.String("upstream_request_id", cut(a.UpstreamRequestID, maxField))
	return o.End()
}

// parameterNames are the members of a request that say how to answer.
var parameterNames = map[string]bool{
	"temperature": true, "top_p": true, "top_k": true, "max_tokens": true, "max_completion_tokens": true, "max_output_tokens": true,
	"n": true, "stop": true, "seed": true, "presence_penalty": true, "frequency_penalty": true, "logprobs": true, "top_logprobs": true,
	"reasoning_effort": true, "reasoning": true, "response_format": true, "tool_choice": true, "parallel_tool_calls": true,
	"service_tier": true, "verbosity": true, "text": true, "truncation": true, "dimensions": true, "encoding_format": true,
	"logit_bias": true, "modalities": true, "suffix": true, "best_of": true, "echo": true, "min_p": true, "stop_sequences": true, "thinking": true, "output_config": true, "repetition_penalty": true,
}

// appendParameters writes the request's parameters as one object, {} for none.
func appendParameters(dst []byte, request *jsonscan.Object) []byte {
	o := jsonscan.Write(dst)
	for i := range request.Members {
		m := &request.Members[i]
		if parameterNames[m.Key] {
			o.Name(m.Key)
			o.Dst = append(o.Dst, m.Of(request.Doc)...)
		}
	}
	return o.End()
}

// bounded cuts what a client may choose freely, so that no row grows without limit.
func bounded(s string) string { return cut(s, maxField) }

func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return valid(s)
}

func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\ufffd")
}

// hash32 is a text's mark in a digest; 0 is the empty text's.
func hash32(s string) uint32 {
	if s == "" {
		return 0
	}
	return max(uint32(xxhash.Sum64String(s)), 1)
}
