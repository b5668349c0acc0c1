package tracing

import (
	"sync"

	"github.com/caddy-frontier/frontier/internal/call"
)

// Limits of what waits for the writer.
const (
	maxQueued      = 4096
	maxQueuedBytes = 16 << 20
	flushRecords   = 1024
	flushBytes     = 4 << 20
)

// queue holds finished records until the writer takes them. It is a slice and
// not a channel, so that only the first record of a flush, and the one that
// makes it full, wake the writer.
type queue struct {
	first chan struct{} // a record came into the empty queue
	full  chan struct{} // there is enough for a flush

	mu      sync.Mutex
	records []*Record
	bytes   int64 // of records, not yet taken
	held    int   // records and bytes that are not yet done with, taken ones included
	memory  int64
	closed  bool
}

func newQueue() *queue {
	return &queue{first: make(chan struct{}, 1), full: make(chan struct{}, 1)}
}

// put queues the record, or says why not.
func (q *queue) put(r *Record) dropReason {
	r.size = r.memory()
	q.mu.Lock()
	switch {
	case q.closed:
		q.mu.Unlock()
		return dropClosed
	case q.held >= maxQueued || q.memory+r.size > maxQueuedBytes,
		q.held > maxQueued/2 && r.Call.ErrorClass == call.Overloaded: // a refusal leaves room for calls that were answered
		q.mu.Unlock()
		return dropQueueFull
	}
	q.records = append(q.records, r)
	q.bytes += r.size
	q.held++
	q.memory += r.size
	first := len(q.records) == 1
	full := len(q.records) == flushRecords || q.bytes >= flushBytes && q.bytes-r.size < flushBytes
	q.mu.Unlock()
	if first {
		notify(q.first)
	}
	if full {
		notify(q.full)
	}
	return stored
}

// take exchanges the queued records for an empty slice.
func (q *queue) take(empty []*Record) []*Record {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.records
	q.records, q.bytes = empty[:0], 0
	return taken
}

// done makes room for as many records as were stored or dropped.
func (q *queue) done(n int, memory int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held -= n
	q.memory -= memory
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held
}

// busy reports whether more than half of the queue is in use.
func (q *queue) busy() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.held > maxQueued/2 || q.memory > maxQueuedBytes/2
}

// ready reports whether there is enough for a flush.
func (q *queue) ready() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.records) >= flushRecords || q.bytes >= flushBytes
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
