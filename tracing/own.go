package tracing

import (
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
)

// Own is a call under way that the gateway makes itself, for a run. No handler
// sees it go by.
type Own struct {
	recorder *Recorder
	call     *call.Call
	level    call.Capture
}

// Own begins to record a call of the gateway's own: until its End, Wait waits
// for it. Capture and sample hold for it as for others.
func (r *Recorder) Own(c *call.Call) *Own {
	if r != nil {
		r.calls.Add(1)
	}
	return &Own{r, c, r.level(c)}
}

// Kept reports whether there will be a trace.
func (o *Own) Kept() bool { return o.level != call.CaptureOff }

// End records how the call ended, with the status and the whole answer that a
// client would have got. The answer is copied; the call is only read from then
// on, and its Body goes back to its pool. Among the metrics, tokens and money
// count, which are spent; the number of calls, their time and their errors are
// about the traffic of clients, and do not.
func (o *Own) End(status int, answer []byte) {
	r, c := o.recorder, o.call
	if r == nil {
		return
	}
	defer r.calls.Add(-1)
	rec := NewRecord(c)
	rec.Capture, rec.Status, rec.HTTPStatus = o.level, c.Status, status
	rec.Duration = time.Since(c.Started)
	if !c.FirstToken.IsZero() {
		rec.FirstByte = c.FirstToken.Sub(c.Started)
	}
	if c.Usage != nil {
		calls.observeUsage(rec, c.Usage, r.cost(c.Provider, c.Model, rec, c.Usage))
	}
	if o.level == call.CaptureOff {
		rec.free()
		return
	}
	if len(answer) > 0 && o.level == call.CaptureFull {
		kept := answer[:min(len(answer), maxPayload)]
		rec.Response, rec.Truncated = append(call.Buffer(len(kept)), kept...), len(kept) < len(answer)
	}
	r.Offer(rec)
}
