package optimizer

import (
	"encoding/json"
	"maps"
	"math"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/api"
)

// limit is the budget's time; 0: none.
func (b *Budget) limit() (time.Duration, error) {
	if b == nil || b.Time == "" {
		return 0, nil
	}
	d, err := caddy.ParseDuration(b.Time)
	if err != nil || d <= 0 {
		return 0, api.Invalid("budget.time", "%q is not a time; want one such as 30m", b.Time)
	}
	return d, nil
}

// boundOutput is how many tokens an answer may have where the budget is in
// dollars and the request itself has no bound: without one, no call has a worst case.
const boundOutput = 4096

// maxOutput is the bound of a request's answer; 0: none.
func maxOutput(parameters map[string]json.RawMessage) int {
	for _, name := range []string{"max_completion_tokens", "max_tokens"} {
		var n int
		if raw, ok := parameters[name]; ok && json.Unmarshal(raw, &n) == nil && n > 0 {
			return n
		}
	}
	return 0
}

// bounded gives a request a bound of its answer if it has none.
func bounded(q asked) asked {
	if maxOutput(q.Parameters) > 0 || q.Config != nil && maxOutput(q.Config.ModelConfig) > 0 {
		return q
	}
	if q.Parameters = maps.Clone(q.Parameters); q.Parameters == nil {
		q.Parameters = map[string]json.RawMessage{}
	}
	q.Parameters["max_tokens"] = json.RawMessage(strconv.Itoa(boundOutput))
	return q
}

// worst is what a bounded call costs at most: a token has a byte at least. Infinite: that is not known (any more).
func (r *Runs) worst(q asked) float64 {
	g, _ := r.current()
	if g == nil {
		return math.Inf(1)
	}
	input, output, ok := g.ModelCost(q.Model)
	if !ok { // the plan knew it; the configuration has changed
		return math.Inf(1)
	}
	out := maxOutput(q.Parameters)
	if out == 0 && q.Config != nil {
		out = maxOutput(q.Config.ModelConfig)
	}
	const overhead = 64 // what providers add to a request
	return (float64(len(q.Messages)+overhead)*input + float64(out)*output) / 1e6
}
