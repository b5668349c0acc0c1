package scorer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Contains)) }

// Contains scores the share of texts that an answer contains. Case, white
// space, and the forms that Unicode has for the same characters do not matter.
//
// When neither `all` nor `any` is given, the answer must contain the expected
// text; of an expected answer that is a list of texts, each of them.
type Contains struct {
	// Texts that the answer must contain, each of which counts the same.
	All []string `json:"all,omitempty"`
	// Texts of which the answer must contain one. With `all`, this counts as one text more.
	Any []string `json:"any,omitempty"`
	// Whether case matters, and white space, and everything else. Default: false.
	Verbatim bool `json:"verbatim,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Contains) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.contains", New: func() caddy.Module { return new(Contains) }}
}

// Validate checks the texts.
func (s *Contains) Validate() error {
	if slices.ContainsFunc(s.All, s.isEmpty) || slices.ContainsFunc(s.Any, s.isEmpty) {
		return errors.New("all, any: an empty text is in every answer")
	}
	return nil
}

func (s *Contains) isEmpty(text string) bool { return s.form(text) == "" }

func (s *Contains) form(text string) string {
	if s.Verbatim {
		return text
	}
	return fold(text)
}

// Score judges an answer.
func (s *Contains) Score(_ context.Context, c Case, a Answer) (Score, error) {
	all := s.All
	if len(s.All)+len(s.Any) == 0 {
		var err error
		if all, err = expectedTexts(c); err != nil {
			return Score{}, err
		}
	}
	answer := s.form(a.Text)
	has := func(text string) bool { return strings.Contains(answer, s.form(text)) }
	total := len(all)
	var missing []string
	for _, text := range all {
		if !has(text) {
			missing = append(missing, "the answer lacks "+quote(text))
		}
	}
	if len(s.Any) > 0 {
		total++
		if !slices.ContainsFunc(s.Any, has) {
			quoted := make([]string, len(s.Any))
			for i, text := range s.Any {
				quoted[i] = quote(text)
			}
			missing = append(missing, "the answer has none of "+strings.Join(quoted, ", "))
		}
	}
	if len(missing) == 0 {
		return full(), nil
	}
	return judged(1-float64(len(missing))/float64(total), fmt.Sprintf("%s: it was %s", faults(missing, 0), quote(a.Text))), nil
}

func expectedTexts(c Case) ([]string, error) {
	var texts []string
	if json.Unmarshal(c.Expected, &texts) != nil || len(texts) == 0 {
		text, err := c.text()
		if err != nil {
			return nil, err
		}
		texts = []string{strings.TrimSpace(text)}
	}
	if slices.ContainsFunc(texts, func(text string) bool { return fold(text) == "" }) {
		return nil, fmt.Errorf("record %q: the expected text is empty, which every answer contains", c.ID)
	}
	return texts, nil
}

// Interface guards
var (
	_ caddy.Validator = (*Contains)(nil)
	_ Scorer          = (*Contains)(nil)
)
