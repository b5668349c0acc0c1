package simulator

import (
	"context"
	"net/http"
	"time"

	"github.com/caddy-frontier/frontier/internal/simulator/mind"
)

const (
	fewTokens = 3 // before a stall or a cut
	longStall = 10 * time.Minute
	longFirst = 30 * time.Second
)

// pace is when the tokens of one answer come.
type pace struct {
	ctx   context.Context
	began time.Time
	first time.Duration
	each  time.Duration
	fault *Fault
}

// pace times an answer. key is what its jitter is drawn over.
func (m *model) pace(r *http.Request, key string, f *Fault) *pace {
	factor := 1 + m.jitter/100*(2*mind.Draw(uint64(m.seed), m.id, "time", key)-1)
	p := &pace{ctx: r.Context(), began: time.Now(), first: time.Duration(float64(m.FirstToken) * factor), fault: f}
	if m.TokenRate > 0 {
		p.each = time.Duration(float64(time.Second) / m.TokenRate * factor)
	}
	if f.is(slowFirst) {
		if wait := time.Duration(f.Wait); wait > 0 {
			p.first += wait
		} else {
			p.first += longFirst
		}
	}
	return p
}

// token waits until token i is due. It plays the faults that happen in the
// midst of an answer, and fails when the client has left.
func (p *pace) token(i int) error {
	if i == fewTokens {
		if p.fault.is(cut) {
			return http.ErrAbortHandler
		}
		if p.fault.is(stall) {
			if err := p.wait(longStall); err != nil {
				return err
			}
			return http.ErrAbortHandler
		}
	}
	return p.wait(time.Until(p.began.Add(p.first + time.Duration(i)*p.each)))
}

// all waits until an answer of n tokens is complete. One that is stalled or cut never is.
func (p *pace) all(n int) error {
	if p.fault.is(cut) || p.fault.is(stall) {
		return p.token(fewTokens)
	}
	return p.token(max(n-1, 0))
}

// end plays the faults of an answer that was over before they came.
func (p *pace) end(n int) error {
	if n <= fewTokens && (p.fault.is(cut) || p.fault.is(stall)) {
		return p.token(fewTokens)
	}
	return nil
}

func (p *pace) wait(d time.Duration) error {
	if d <= 0 {
		return p.ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-p.ctx.Done():
		return p.ctx.Err()
	}
}
