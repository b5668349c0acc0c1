package scorer

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Regex)) }

// Regex scores 1 for answers that match a pattern, and 0 for all others. With
// `group`, what that group of the first match captured must be the expected
// text too, compared as the scorer `normalized` does; then records need an expected answer.
type Regex struct {
	// The pattern, in RE2's syntax. It may match anywhere in the answer; `^` and `$` bind it to the ends.
	Pattern string `json:"pattern,omitempty"`
	// The name or the number of a group of the pattern. Default: none, the answer need only match.
	Group string `json:"group,omitempty"`

	pattern *regexp.Regexp
	group   int // 0: none
}

// CaddyModule returns the Caddy module information.
func (*Regex) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.regex", New: func() caddy.Module { return new(Regex) }}
}

// Provision compiles the pattern.
func (r *Regex) Provision(caddy.Context) (err error) {
	if r.Pattern == "" {
		return errors.New("pattern: say what an answer must match")
	}
	if r.pattern, err = regexp.Compile(r.Pattern); err != nil {
		return fmt.Errorf("pattern: %w", err)
	}
	if r.Group == "" {
		return nil
	}
	if r.group = slices.Index(r.pattern.SubexpNames(), r.Group); r.group > 0 {
		return nil
	}
	if r.group, err = strconv.Atoi(r.Group); err != nil || r.group < 1 || r.group > r.pattern.NumSubexp() {
		return fmt.Errorf("group: the pattern has no group %q", r.Group)
	}
	return nil
}

// Score judges an answer.
func (r *Regex) Score(_ context.Context, c Case, a Answer) (Score, error) {
	var want string
	if r.group > 0 {
		var err error
		if want, err = c.text(); err != nil {
			return Score{}, err
		}
	}
	match := r.pattern.FindStringSubmatch(a.Text)
	if match == nil {
		return judged(0, fmt.Sprintf("the answer does not match the pattern %s: it was %s", cut(r.Pattern, longestQuote), quote(a.Text))), nil
	}
	if r.group > 0 && normal(match[r.group]) != normal(want) {
		return judged(0, fmt.Sprintf("expected %s where the pattern %s finds %s", quote(want), cut(r.Pattern, longestQuote), quote(match[r.group]))), nil
	}
	return full(), nil
}

// Interface guards
var (
	_ caddy.Provisioner = (*Regex)(nil)
	_ Scorer            = (*Regex)(nil)
)
