package simulator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/simulator/mind"
)

// fault decides what goes wrong in the model's next call: nil for nothing. It
// goes by the number of the call, so that a retry of the same request may
// succeed, and takes one draw for all kinds, so that their percentages add up.
func (m *model) fault() *Fault {
	n := m.calls.Add(1)
	faults := *m.faults.Load()
	if len(faults) == 0 {
		return nil
	}
	u := 100 * mind.Draw(uint64(m.seed), m.id, "fault", strconv.FormatUint(n, 10))
	for i := range faults {
		f := &faults[i]
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

// checkFaults finds the first mistake in what goes wrong. option is the one at fault.
func checkFaults(faults []Fault) (option string, err error) {
	sum := 0.0
	for i, f := range faults {
		option := "fault " + f.Kind
		if slices.ContainsFunc(faults[:i], func(o Fault) bool { return o.Kind == f.Kind }) {
			return option, fmt.Errorf("fault %s is there twice; remove one", f.Kind)
		}
		if err := f.check(); err != nil {
			return option, err
		}
		if sum += f.Percent; sum > 100.0001 {
			return option, fmt.Errorf("faults add up to %v%%; want 100%% at most", sum)
		}
	}
	return "", nil
}

// faultsOf is the model whose faults a path is about.
func faultsOf(path string) (model string, ok bool) {
	id, ok := strings.CutPrefix(path, "/simulator/models/")
	if !ok {
		return "", false
	}
	return strings.CutSuffix(id, "/faults")
}

// switchFaults shows what goes wrong with a model and lets something else go
// wrong from its next call on, until the configuration is loaded again. The
// numbers of calls go on.
func (h *Handler) switchFaults(w http.ResponseWriter, r *http.Request, id string, body []byte) error {
	m, err := h.find(id)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPut {
		faults := []Fault{}
		d := json.NewDecoder(bytes.NewReader(body))
		d.DisallowUnknownFields()
		if err := d.Decode(&faults); err != nil || d.More() || faults == nil {
			return invalid("", `want a list of faults, such as [{"kind": "500", "percent": 60}]; [] for none`)
		}
		if _, err := checkFaults(faults); err != nil {
			return invalid("", "%s", err.Error())
		}
		m.faults.Store(&faults)
	}
	return answer(w, http.StatusOK, *m.faults.Load())
}
