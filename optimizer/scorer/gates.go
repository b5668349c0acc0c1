package scorer

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Gates)) }

// Gates scores what its last scorer does, for answers that pass all scorers
// before it, and 0 for all others. The parts of a score are theirs, by name.
// When one of them cannot judge, neither can this. Once an answer has not
// passed a gate, scorers that ask a model are not asked any more; the others
// are, for what they have to say.
type Gates struct {
	// The scorers, two at least: each a name, or an object with its name in `scorer`. All but the last are gates.
	ScorersRaw []json.RawMessage `json:"scorers,omitempty" caddy:"namespace=llm.scorers inline_key=scorer"`
	// What an answer must score to pass, for each gate in order. Default: 1 for each.
	Thresholds []float64 `json:"thresholds,omitempty"`

	combined
}

// CaddyModule returns the Caddy module information.
func (*Gates) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.gates", New: func() caddy.Module { return new(Gates) }}
}

// Provision loads the scorers.
func (g *Gates) Provision(ctx caddy.Context) error { return g.load(ctx, g.ScorersRaw) }

// Validate checks the thresholds.
func (g *Gates) Validate() error {
	if n := len(g.Thresholds); n > 0 && n != len(g.scorers)-1 {
		return fmt.Errorf("thresholds: %d for %d gates; the last scorer is none", n, len(g.scorers)-1)
	}
	for _, t := range g.Thresholds {
		if t <= 0 || t > 1 {
			return fmt.Errorf("thresholds: %v: want more than 0, and at most 1", t)
		}
	}
	return nil
}

// Score judges an answer.
func (g *Gates) Score(ctx context.Context, c Case, a Answer) (Score, error) {
	var whole Score
	value, shut := 0.0, false
	var wrong []string
	for i := range g.scorers {
		if shut && asks(g.scorers[i]) > 0 {
			continue
		}
		s, err := g.score(ctx, i, &whole, c, a)
		if err != nil {
			return Score{}, err
		}
		if s.Value < 1 {
			wrong = append(wrong, g.words(i, s))
		}
		if i == len(g.scorers)-1 {
			value = s.Value
		} else if s.Value < g.threshold(i) {
			shut = true
		}
	}
	if shut {
		value = 0
	}
	s := judged(value, faults(wrong, 0))
	s.Parts, s.Label = whole.Parts, whole.Label
	return s, nil
}

func (g *Gates) threshold(i int) float64 {
	if len(g.Thresholds) == 0 {
		return 1
	}
	return g.Thresholds[i]
}

// Interface guards
var (
	_ caddy.Provisioner = (*Gates)(nil)
	_ caddy.Validator   = (*Gates)(nil)
	_ Scorer            = (*Gates)(nil)
)
