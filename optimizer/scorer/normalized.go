package scorer

import (
	"context"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Normalized)) }

// Normalized scores 1 for answers that say the expected text, however they
// write it, and 0 for all others: case, white space, the forms that Unicode
// has for the same characters, and punctuation, quotation marks and markdown
// around the text do not matter. `**Neutral.**` is `neutral`; `-5` is not `5`.
// It is what answers are judged by when nothing else is configured.
type Normalized struct{}

// CaddyModule returns the Caddy module information.
func (*Normalized) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.normalized", New: func() caddy.Module { return new(Normalized) }}
}

// Score judges an answer.
func (*Normalized) Score(_ context.Context, c Case, a Answer) (Score, error) {
	want, err := c.text()
	if err != nil {
		return Score{}, err
	}
	if normal(a.Text) == normal(want) {
		return full(), nil
	}
	return judged(0, differ("expected", strings.TrimSpace(want), strings.TrimSpace(a.Text))), nil
}

var _ Scorer = (*Normalized)(nil)
