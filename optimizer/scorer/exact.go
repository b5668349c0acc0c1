package scorer

import (
	"context"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Exact)) }

// Exact scores 1 for answers that are the expected text to the byte, and 0 for
// all others. A record whose expected answer is not a text is compared with
// that as compact JSON.
type Exact struct {
	// Whether white space around the answer and around the expected text is disregarded. Default: true.
	Trim *bool `json:"trim,omitempty"`
	// Whether upper and lower case are the same. Default: false.
	IgnoreCase bool `json:"ignore_case,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Exact) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.exact", New: func() caddy.Module { return new(Exact) }}
}

// Score judges an answer.
func (e *Exact) Score(_ context.Context, c Case, a Answer) (Score, error) {
	want, err := c.text()
	if err != nil {
		return Score{}, err
	}
	got := a.Text
	if e.Trim == nil || *e.Trim {
		want, got = strings.TrimSpace(want), strings.TrimSpace(got)
	}
	if got == want || e.IgnoreCase && strings.EqualFold(got, want) {
		return full(), nil
	}
	return judged(0, differ("expected exactly", want, got)), nil
}

var _ Scorer = (*Exact)(nil)
