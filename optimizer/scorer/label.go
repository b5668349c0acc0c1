package scorer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Label)) }

// Label finds the label that an answer names, and scores 1 when it is the
// expected one, else 0. Labels are compared as the scorer `normalized` does.
// In longer answers a label is found as whole words, and the longest label
// counts where several begin alike: `very positive` does not name `positive`.
// An answer that names several labels names none.
//
// The expected answer of a record must be one of the labels; when it is not,
// the record is not judged.
type Label struct {
	// The labels, at least two.
	Labels []string `json:"labels,omitempty"`
	// Whether the answer must be nothing but the label. Default: false, a label in a longer answer is found.
	Strict bool `json:"strict,omitempty"`

	forms []form // longest first
}

// form is a label and how it is looked for.
type form struct{ label, normal string }

// CaddyModule returns the Caddy module information.
func (*Label) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.label", New: func() caddy.Module { return new(Label) }}
}

// Provision prepares the labels.
func (l *Label) Provision(caddy.Context) error {
	for _, label := range l.Labels {
		l.forms = append(l.forms, form{label, normal(label)})
	}
	slices.SortStableFunc(l.forms, func(a, b form) int { return cmp.Compare(len(b.normal), len(a.normal)) })
	return nil
}

// Validate checks the labels.
func (l *Label) Validate() error {
	if len(l.Labels) < 2 {
		return errors.New("labels: list the labels that an answer may name, two at least")
	}
	seen := make(map[string]string, len(l.forms))
	for _, f := range l.forms {
		if f.normal == "" {
			return errors.New("labels: one is empty")
		}
		if other, ok := seen[f.normal]; ok {
			return fmt.Errorf("labels: %q and %q cannot be told apart", other, f.label)
		}
		seen[f.normal] = f.label
	}
	return nil
}

// Score judges an answer.
func (l *Label) Score(_ context.Context, c Case, a Answer) (Score, error) {
	text, err := c.text()
	if err != nil {
		return Score{}, err
	}
	want, ok := l.is(normal(text))
	if !ok {
		return Score{}, fmt.Errorf("record %q: expected %s is none of the labels %s", c.ID, quote(text), l.list())
	}
	got, ok := l.is(normal(a.Text))
	if !ok {
		named := l.named(fold(a.Text))
		switch {
		case len(named) == 0:
			return judged(0, fmt.Sprintf("names no label of %s, wanted %s: the answer was %s", l.list(), want, quote(a.Text))), nil
		case len(named) > 1:
			return judged(0, fmt.Sprintf("names several labels (%s), wanted only %s: the answer was %s", strings.Join(named, ", "), want, quote(a.Text))), nil
		case l.Strict:
			s := judged(0, fmt.Sprintf("wanted nothing but %s: the answer names %s in a longer text, %s", want, named[0], quote(a.Text)))
			s.Label = named[0]
			return s, nil
		}
		got = named[0]
	}
	s := full()
	if got != want {
		s = judged(0, fmt.Sprintf("named %s, wanted %s", got, want))
	}
	s.Label = got
	return s, nil
}

// is finds the label that a normal text is.
func (l *Label) is(text string) (label string, ok bool) {
	for _, f := range l.forms {
		if f.normal == text {
			return f.label, true
		}
	}
	return "", false
}

// named lists the labels that a folded text has in it, in the order of the configuration.
func (l *Label) named(text string) []string {
	found := make(map[string]bool)
	free := []byte(text) // where no longer label has been found
	for _, f := range l.forms {
		for at := 0; ; {
			i := bytes.Index(free[at:], []byte(f.normal))
			if i < 0 {
				break
			}
			start, end := at+i, at+i+len(f.normal)
			if standsAlone(text, start, end) {
				found[f.label] = true
				for j := start; j < end; j++ {
					free[j] = 0
				}
			}
			at = start + 1
		}
	}
	var labels []string
	for _, label := range l.Labels {
		if found[label] {
			labels = append(labels, label)
		}
	}
	return labels
}

// standsAlone reports whether what is between start and end is not a part of a longer word.
func standsAlone(text string, start, end int) bool {
	first, _ := utf8.DecodeRuneInString(text[start:])
	last, _ := utf8.DecodeLastRuneInString(text[:end])
	before, n := utf8.DecodeLastRuneInString(text[:start])
	if before == '-' {
		before, _ = utf8.DecodeLastRuneInString(text[:start-n]) // non-positive is not positive
	}
	after, n := utf8.DecodeRuneInString(text[end:])
	if after == '-' {
		after, _ = utf8.DecodeRuneInString(text[end+n:])
	}
	return (!inWord(first) || !inWord(before)) && (!inWord(last) || !inWord(after))
}

// inWord reports whether characters beside this one belong to the same word.
// In scripts that put no spaces between words they need not.
func inWord(r rune) bool {
	if r == utf8.RuneError {
		return false
	}
	return (unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r)) &&
		!unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Thai, unicode.Lao, unicode.Khmer, unicode.Myanmar)
}

func (l *Label) list() string { return cut(strings.Join(l.Labels, ", "), longestQuote) }

// Interface guards
var (
	_ caddy.Provisioner = (*Label)(nil)
	_ caddy.Validator   = (*Label)(nil)
	_ Scorer            = (*Label)(nil)
)
