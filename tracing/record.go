// Package tracing records what became of every LLM API call: the handler
// llm_trace watches a call and its answer go by, a Recorder takes the finished
// record without ever waiting, and a Store writes records to SQLite files, one
// a UTC day, and answers queries over them.
package tracing

import (
	"sync"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// Record is one finished call on its way to the store. Take one with
// NewRecord; offering it passes on the record, its Response buffer and, when
// the call says so, the call's Body. The call is only read from then on.
type Record struct {
	Call              *call.Call
	Capture           call.Capture
	HTTPStatus        int           // sent to the client; 0: none
	Duration          time.Duration // until the last byte was handed to the client
	FirstByte         time.Duration // of a stream, until its first byte; 0: unknown
	Response          []byte        // what was sent, as it was sent; a buffer of package call
	Truncated         bool          // Response is only the beginning
	EventStream       bool
	Encoding          string // the answer's Content-Encoding
	UpstreamRequestID string // of a provider behind a stock handler
	Observed          bool   // no llm_proxy answered: model and usage are the answer's
	Status            call.Status
	Guessed           bool // Status is the handler's guess; the answer may tell better

	recorder *Recorder
	size     int64
}

var records = sync.Pool{New: func() any { return new(Record) }}

// NewRecord returns an empty record for the call.
func NewRecord(c *call.Call) *Record {
	r := records.Get().(*Record)
	*r = Record{Call: c}
	return r
}

// free gives back everything that the record owns.
func (r *Record) free() {
	if r.Response != nil {
		call.FreeBuffer(r.Response)
	}
	if r.Call != nil && r.Call.BodyDone {
		call.FreeBuffer(r.Call.Body)
	}
	*r = Record{}
	records.Put(r)
}

// memory is what the record keeps from being freed while it waits.
func (r *Record) memory() int64 {
	const itself = 2 << 10
	return itself + int64(cap(r.Response)) + int64(cap(r.Call.Body))
}

// storesRequest reports whether the request body is going to be stored.
func (r *Record) storesRequest() bool {
	return r.Capture == call.CaptureFull && len(r.Call.Body) <= maxPayload
}

// lighten lets go of a request body that is too large to be kept, and keeps
// its parameters. The call itself still belongs to the handlers.
func (r *Record) lighten() {
	if len(r.Call.Body) <= maxPayload {
		return
	}
	c := *r.Call
	if c.Sent == nil {
		c.Sent = appendParameters(nil, &c.Object)
	}
	c.Body, c.Object, c.Messages, c.BodyDone = nil, jsonscan.Object{}, nil, false
	r.Call = &c
	r.Truncated = true
}
