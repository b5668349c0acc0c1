package simulator

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-frontier/frontier/internal/simulator/mind"
)

// fault decides what goes wrong in the model's next call: nil for nothing. It
// goes by the number of the call, so that a retry of the same request may
// succeed, and takes one draw for all kinds, so that their percentages add up.
func (m *model) fault() *Fault {
	n := m.calls.Add(1)
	if len(m.Fault) == 0 {
		return nil
	}
	u := 100 * mind.Draw(uint64(m.seed), m.id, "fault", strconv.FormatUint(n, 10))
	for i := range m.Fault {
		f := &m.Fault[i]
		if u -= f.Percent; u < 0 {
			return f
		}
	}
	return nil
}

// failure is the fault as an answer, or nil if it is none that has a status.
func (f *Fault) failure(model string) error {
	if f == nil || f.status() == 0 {
		return nil
	}
	e := &apiError{status: f.status(), code: "simulated_fault", message: fmt.Sprintf("the simulated model %s answers %s now and then, as it was told to", model, f.Kind)}
	wait := time.Duration(f.Wait)
	if e.status == http.StatusTooManyRequests {
		e.code = "rate_limit_exceeded"
		wait = max(wait, time.Second)
	}
	if wait > 0 {
		e.header = map[string]string{"Retry-After": strconv.Itoa(int(math.Ceil(wait.Seconds())))}
	}
	return e
}

// is reports whether this is that fault.
func (f *Fault) is(kind string) bool { return f != nil && f.Kind == kind }
