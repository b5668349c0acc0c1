package scorer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/caddyserver/caddy/v2"
)

// combined are the scorers that a combination is made of.
type combined struct {
	names   []string // unique
	scorers []Scorer
}

func (c *combined) load(ctx caddy.Context, raw []json.RawMessage) error {
	if len(raw) < 2 {
		return errors.New("scorers: list those that are combined, two at least")
	}
	seen := make(map[string]int)
	for i, config := range raw {
		s, err := Load(ctx, config)
		if err != nil {
			return fmt.Errorf("scorers[%d]: %w", i, err)
		}
		name, _, err := read(config)
		if err != nil {
			return fmt.Errorf("scorers[%d]: %w", i, err)
		}
		if seen[name]++; seen[name] > 1 {
			name += " " + strconv.Itoa(seen[name])
		}
		c.names, c.scorers = append(c.names, name), append(c.scorers, s)
	}
	return nil
}

// score has one of the scorers judge, and keeps the score as a part of the whole.
func (c *combined) score(ctx context.Context, i int, whole *Score, record Case, a Answer) (Score, error) {
	s, err := c.scorers[i].Score(ctx, record, a)
	if err != nil {
		return Score{}, fmt.Errorf("scorer %q: %w", c.names[i], err)
	}
	if math.IsNaN(s.Value) || s.Value < 0 || s.Value > 1 {
		return Score{}, fmt.Errorf("scorer %q: record %q: the score %v is not from 0 to 1", c.names[i], record.ID, s.Value)
	}
	if whole.Parts == nil {
		whole.Parts = make(map[string]float64, len(c.scorers))
	}
	whole.Parts[c.names[i]] = s.Value
	if whole.Label == "" {
		whole.Label = s.Label
	}
	return s, nil
}

// words says what a part found.
func (c *combined) words(i int, s Score) string {
	if s.Why == "" {
		return fmt.Sprintf("%s: %s of 1", c.names[i], number(s.Value))
	}
	return c.names[i] + ": " + s.Why
}

// UseModels lets the scorers that ask models do so.
func (c *combined) UseModels(a Asker) {
	for _, s := range c.scorers {
		if user, ok := s.(ModelUser); ok {
			user.UseModels(a)
		}
	}
}

// Asks is how many calls to models one judgement takes, at most.
func (c *combined) Asks() int {
	n := 0
	for _, s := range c.scorers {
		n += asks(s)
	}
	return n
}

// Repeats is how often an answer should be judged, for the noisiest of the scorers.
func (c *combined) Repeats() int {
	most, open := 1, false
	for _, s := range c.scorers {
		if noisy, ok := s.(Noisy); ok {
			n := noisy.Repeats()
			most, open = max(most, n), open || n == 0
		}
	}
	if most == 1 && open {
		return 0
	}
	return most
}

// asks is how many calls to models a judgement of the scorer takes.
func asks(s Scorer) int {
	if caller, ok := s.(Caller); ok {
		return caller.Asks()
	}
	if _, ok := s.(ModelUser); ok {
		return 1
	}
	return 0
}

// Interface guards
var (
	_ ModelUser = (*combined)(nil)
	_ Caller    = (*combined)(nil)
	_ Noisy     = (*combined)(nil)
)
