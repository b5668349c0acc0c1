package scorer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-frontier/frontier/internal/schemas"
)

func init() { caddy.RegisterModule(new(JSON)) }

// JSON scores answers that are to be JSON by the share of fields that are as
// expected. Fields that were not expected count as faults. Numbers are equal
// however they are written, but a number is not a text: `12.5` is `12.50`, not
// `"12.50"`. Lists are compared in order.
//
// An answer that is not JSON, or not of the schema, scores 0. The parts of a
// score are its fields, by paths such as `$.items[0].name`.
//
// Records need an expected answer, unless there is a schema; then a record
// without one is only judged by the schema.
type JSON struct {
	// A JSON schema that answers must keep. It refers to nothing outside of itself, and not to itself in circles. At most 64 KiB.
	Schema json.RawMessage `json:"schema,omitempty"`
	// Paths of the fields that are compared, each with what is below it, such as `$.total`. Default: all.
	Fields []string `json:"fields,omitempty"`
	// Whether answers may have fields that were not expected. Default: false.
	Extra bool `json:"extra,omitempty"`
	// How far numbers may be off. Default: 0.
	Tolerance float64 `json:"tolerance,omitempty"`
	// Whether texts are compared as the scorer `normalized` does. Default: false, to the byte.
	Normalized bool `json:"normalized,omitempty"`
	// Whether a code fence around the JSON is tolerated. Default: false.
	Fenced bool `json:"fenced,omitempty"`
	// Whether an answer need only be JSON, of the schema if there is one, whatever was expected. Default: false.
	ValidOnly bool `json:"valid_only,omitempty"`

	schema *jsonschema.Schema
	fields []string
}

// CaddyModule returns the Caddy module information.
func (*JSON) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.json", New: func() caddy.Module { return new(JSON) }}
}

// Provision compiles the schema.
func (j *JSON) Provision(caddy.Context) (err error) {
	if len(j.Schema) > 0 {
		if j.schema, err = schemas.Compile(j.Schema); err != nil {
			return fmt.Errorf("schema: %w", err)
		}
	}
	for _, field := range j.Fields {
		switch {
		case field == "":
			return errors.New("fields: one is empty")
		case field[0] == '[':
			field = "$" + field
		case field[0] != '$':
			field = "$." + field
		}
		j.fields = append(j.fields, field)
	}
	return nil
}

// Validate checks the tolerance.
func (j *JSON) Validate() error {
	if j.Tolerance < 0 {
		return errors.New("tolerance: want 0 or more")
	}
	return nil
}

// Score judges an answer.
func (j *JSON) Score(_ context.Context, c Case, a Answer) (Score, error) {
	compared := !j.ValidOnly && (j.schema == nil || c.hasExpected())
	cmp := comparison{tolerance: j.Tolerance, fields: j.fields, extra: j.Extra, fold: j.Normalized, parts: make(map[string]float64)}
	var want any
	if compared {
		var err error
		if want, err = c.value(); err != nil {
			return Score{}, err
		}
		expected := cmp
		if expected.missing("$", 0, want); expected.total == 0 {
			return Score{}, fmt.Errorf("record %q: the expected answer has none of the fields %s", c.ID, strings.Join(j.fields, ", "))
		}
		clear(cmp.parts)
	}
	text, fault := j.bare(a.Text)
	if fault != "" {
		return judged(0, fault), nil
	}
	got, err := decode([]byte(text))
	switch {
	case errors.Is(err, errTrailing):
		return judged(0, fmt.Sprintf("something follows the JSON, which should stand alone: the answer was %s", quote(a.Text))), nil
	case err != nil:
		return judged(0, fmt.Sprintf("the answer is not JSON (%v): it was %s", err, quote(a.Text))), nil
	}
	if compared {
		cmp.compare("$", 0, want, got)
	}
	var broken []string
	if j.schema != nil {
		broken = violations(j.schema.Validate(got))
	}
	score := judged(cmp.share(), faults(append(broken, cmp.wrong...), cmp.more))
	if len(cmp.parts) > 0 {
		score.Parts = cmp.parts
	}
	if len(broken) > 0 {
		score.Value = 0
	}
	return score, nil
}

// bare is the answer without a code fence, if that is tolerated.
func (j *JSON) bare(text string) (bare, fault string) {
	text = strings.TrimSpace(text)
	inner, fenced := strings.CutPrefix(text, "```")
	switch {
	case text == "":
		return "", "expected JSON but the answer was empty"
	case !fenced:
		return text, ""
	case !j.Fenced:
		return "", "the answer has a code fence around its JSON, which should stand alone: it was " + quote(text)
	}
	_, inner, _ = strings.Cut(inner, "\n") // the language
	return strings.TrimSuffix(strings.TrimSpace(inner), "```"), ""
}

// Interface guards
var (
	_ caddy.Provisioner = (*JSON)(nil)
	_ caddy.Validator   = (*JSON)(nil)
	_ Scorer            = (*JSON)(nil)
)
