package upstream

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-frontier/frontier/routing/dialect"
)

// The waits between attempts at one target.
const (
	firstBackoff = 250 * time.Millisecond
	mostBackoff  = 8 * time.Second
)

// decision is what follows a failed attempt.
type decision uint8

const (
	giveUp    decision = iota // the fault is the call's answer
	elsewhere                 // the next target
	again                     // the same target, after a wait
)

// decide is the whole policy of retries, by the fault, the number of attempts
// that the target has had, and whether another key could be used.
func (f *Fault) decide(attempts, most int, otherKey bool) decision {
	switch f.Class {
	case Cancelled, TotalTime:
		return giveUp
	case Connect:
		if attempts < most {
			return again
		}
		return elsewhere
	case StatusError:
	default:
		return elsewhere // a silent or broken provider is not asked again
	}
	switch {
	case f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden:
		if otherKey {
			return again
		}
		return elsewhere
	case f.Status == http.StatusTooManyRequests, f.Status == http.StatusInternalServerError:
		if otherKey && f.Status == http.StatusTooManyRequests || attempts < most {
			return again
		}
		return elsewhere
	case f.Status >= 500, f.Status < 400: // a redirect is nobody's answer
		return elsewhere
	}
	return giveUp
}

// tooLong reports whether the provider refused the request because it is
// longer than its model takes.
func (f *Fault) tooLong() bool {
	return f.Class == StatusError && f.Status == http.StatusBadRequest && dialect.TooLong(f.Body)
}

// pause is how long to wait before the n-th repetition: what the provider
// asks for, else exponential with full jitter. It is never longer than fits.
func (f *Fault) pause(n int, otherKey bool, now time.Time) time.Duration {
	switch {
	case f.Class == Connect || otherKey:
		return 0
	case f.Class == StatusError && f.RetryAfter(now) > 0:
		return f.RetryAfter(now)
	}
	most := min(firstBackoff<<(n-1), mostBackoff)
	return most/2 + rand.N(most/2)
}

// RetryAfter is how long the provider asks to wait; 0: it does not say.
func (f *Fault) RetryAfter(now time.Time) time.Duration {
	if ms, err := strconv.ParseFloat(f.Header.Get("Retry-After-Ms"), 64); err == nil && ms > 0 {
		return time.Duration(min(ms, 1e12) * float64(time.Millisecond))
	}
	v := f.Header.Get("Retry-After")
	if s, err := strconv.ParseFloat(v, 64); err == nil && s > 0 {
		return time.Duration(min(s, 1e9) * float64(time.Second))
	}
	if at, err := http.ParseTime(v); err == nil && at.After(now) {
		return at.Sub(now)
	}
	return 0
}

// sleep waits; it reports whether the whole of it passed.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
