package scorer

import (
	"context"
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Minimum)) }

// Minimum scores what the strictest of several scorers does. The parts of a
// score are theirs, by name. When one of them cannot judge, neither can this.
// Once an answer has a 0, scorers that ask a model are not asked any more.
type Minimum struct {
	// The scorers, two at least: each a name, or an object with its name in `scorer`.
	ScorersRaw []json.RawMessage `json:"scorers,omitempty" caddy:"namespace=llm.scorers inline_key=scorer"`

	combined
}

// CaddyModule returns the Caddy module information.
func (*Minimum) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.minimum", New: func() caddy.Module { return new(Minimum) }}
}

// Provision loads the scorers.
func (m *Minimum) Provision(ctx caddy.Context) error { return m.load(ctx, m.ScorersRaw) }

// Score judges an answer.
func (m *Minimum) Score(ctx context.Context, c Case, a Answer) (Score, error) {
	var whole Score
	value := 1.0
	var wrong []string
	for i := range m.scorers {
		if value == 0 && asks(m.scorers[i]) > 0 {
			continue
		}
		s, err := m.score(ctx, i, &whole, c, a)
		if err != nil {
			return Score{}, err
		}
		value = min(value, s.Value)
		if s.Value < 1 {
			wrong = append(wrong, m.words(i, s))
		}
	}
	s := judged(value, faults(wrong, 0))
	s.Parts, s.Label = whole.Parts, whole.Label
	return s, nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*Minimum)(nil)
	_ Scorer            = (*Minimum)(nil)
)
