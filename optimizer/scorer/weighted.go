package scorer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Weighted)) }

// Weighted scores the mean of several scorers, by their weights. The parts of
// a score are theirs, by name. When one of them cannot judge, neither can this.
type Weighted struct {
	// The scorers, two at least: each a name, or an object with its name in `scorer`.
	ScorersRaw []json.RawMessage `json:"scorers,omitempty" caddy:"namespace=llm.scorers inline_key=scorer"`
	// The weights of the scorers, in their order, each more than 0. Default: all the same.
	Weights []float64 `json:"weights,omitempty"`

	combined
}

// CaddyModule returns the Caddy module information.
func (*Weighted) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.weighted", New: func() caddy.Module { return new(Weighted) }}
}

// Provision loads the scorers.
func (w *Weighted) Provision(ctx caddy.Context) error { return w.load(ctx, w.ScorersRaw) }

// Validate checks the weights.
func (w *Weighted) Validate() error {
	if n := len(w.Weights); n > 0 && n != len(w.scorers) {
		return fmt.Errorf("weights: %d for %d scorers", n, len(w.scorers))
	}
	var sum float64
	for _, weight := range w.Weights {
		if weight <= 0 {
			return errors.New("weights: want more than 0")
		}
		sum += weight
	}
	if math.IsInf(sum, 0) {
		return errors.New("weights: they are too large")
	}
	return nil
}

// Score judges an answer.
func (w *Weighted) Score(ctx context.Context, c Case, a Answer) (Score, error) {
	var whole Score
	var sum, weights float64
	var wrong []string
	for i := range w.scorers {
		s, err := w.score(ctx, i, &whole, c, a)
		if err != nil {
			return Score{}, err
		}
		weight := 1.0
		if len(w.Weights) > 0 {
			weight = w.Weights[i]
		}
		sum += weight * s.Value
		weights += weight
		if s.Value < 1 {
			wrong = append(wrong, w.words(i, s))
		}
	}
	s := judged(sum/weights, faults(wrong, 0))
	s.Parts, s.Label = whole.Parts, whole.Label
	return s, nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*Weighted)(nil)
	_ caddy.Validator   = (*Weighted)(nil)
	_ Scorer            = (*Weighted)(nil)
)
