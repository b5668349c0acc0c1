package tracing

import (
	"encoding/binary"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/price"
)

// Recorder is one configuration's way into the store. It is cheap, outlives
// nothing, and is safe for concurrent use. A nil Recorder records nothing.
type Recorder struct {
	store   *Store
	capture call.Capture
	sample  uint32 // of 1<<32
	all     bool
	redact  *redactor
	prices  *price.Table
	calls   atomic.Int64 // under way
}

// NewRecorder returns a recorder into the store. Prices may be nil: then no
// cost is known.
func NewRecorder(c Config, store *Store, prices *price.Table) (*Recorder, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := &Recorder{store: store, prices: prices, all: true}
	r.capture, _ = parseCapture(c.Capture)
	r.redact, _ = newRedactor(c.Redact)
	if c.Sample != nil && *c.Sample < 100 {
		r.all = false
		r.sample = uint32(*c.Sample / 100 * math.MaxUint32)
	}
	return r, nil
}

// Wait waits until no call is under way whose record is still to come, at most
// for limit. A configuration that is replaced waits before it lets go of the store.
func (r *Recorder) Wait(limit time.Duration) {
	for end := time.Now().Add(limit); r.calls.Load() > 0 && time.Now().Before(end); {
		time.Sleep(20 * time.Millisecond)
	}
}

func (r *Recorder) begin() {
	if r != nil {
		r.calls.Add(1)
		calls.inFlight.Inc()
	}
}

func (r *Recorder) end() {
	if r != nil {
		r.calls.Add(-1)
		calls.inFlight.Dec()
	}
}

// Store returns the store that the recorder writes to.
func (r *Recorder) Store() *Store { return r.store }

// level says how much of the call is to be kept.
func (r *Recorder) level(c *call.Call) call.Capture {
	if r == nil || !r.sampled(c.ID) {
		return call.CaptureOff
	}
	return max(r.capture, c.Capture)
}

// sampled draws by the random end of the id, so that every process decides alike.
func (r *Recorder) sampled(id string) bool {
	if r.all {
		return true
	}
	raw, err := parseID(id)
	return err == nil && binary.BigEndian.Uint32(raw[12:]) < r.sample
}

// Offer hands the record over and returns at once: it is queued, or dropped
// and counted. The record must not be used afterwards.
func (r *Recorder) Offer(rec *Record) {
	if r == nil {
		rec.free()
		return
	}
	rec.recorder = r
	rec.Capture = max(rec.Capture, r.capture)
	r.store.offer(rec)
}

// count counts a call that leaves no trace.
func (r *Recorder) count(c *call.Call, err error) {
	rec := NewRecord(c)
	rec.Duration = time.Since(c.Started)
	if !c.FirstToken.IsZero() {
		rec.FirstByte = c.FirstToken.Sub(c.Started)
	}
	switch {
	case c.Status != "":
		rec.Status = c.Status
	case err != nil:
		rec.Status = call.StatusError
	default:
		rec.Status = call.StatusOK
	}
	calls.observe(rec, r.cost(c.Provider, c.Model, rec, c.Usage))
	rec.Call = nil // it is not the record's
	rec.free()
}

// cost returns what the usage costs, NaN when that is not known.
func (r *Recorder) cost(provider, model string, rec *Record, u *call.Usage) float64 {
	if u == nil || r.prices == nil || model == "" {
		return math.NaN()
	}
	usd, ok := r.prices.Cost(provider, model, rec.Call.Started, price.Usage{
		Input: u.Input, Output: u.Output, CachedInput: u.CachedInput, CacheWriteInput: u.CacheWriteInput, Reasoning: u.Reasoning,
	})
	if !ok || math.IsInf(usd, 0) {
		return math.NaN()
	}
	return usd
}

// parseID reads a trace's id: a UUIDv7 in 32 hex digits.
func parseID(s string) (id [16]byte, err error) {
	if len(s) != 32 {
		return id, fmt.Errorf("%q is not a trace id: want 32 hex digits", s)
	}
	for i := range id {
		hi, lo := hexDigit(s[2*i]), hexDigit(s[2*i+1])
		if hi > 15 || lo > 15 {
			return id, fmt.Errorf("%q is not a trace id: want 32 hex digits", s)
		}
		id[i] = hi<<4 | lo
	}
	return id, nil
}

func hexDigit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 0xff
}
