package scorer

import (
	"context"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(Numeric)) }

// Numeric scores 1 for answers whose number is near enough to the expected
// one, and 0 for all others. The number may stand in a text, with a currency
// or a unit, and with separators: `1,234.50`, `1.234,50 €`, `1'234.50` and
// `1 234,50` are the same. A single comma before exactly three digits
// separates thousands; a single dot begins the decimals. A percent sign
// changes nothing: `50%` is 50.
type Numeric struct {
	// How far the number may be off. Default: 0.
	Tolerance float64 `json:"tolerance,omitempty"`
	// How far the number may be off, as a share of the expected one, such as 0.01. The larger of both tolerances counts. Default: 0.
	Relative float64 `json:"relative,omitempty"`
	// Which number counts of an answer with several: `last`, `first`, or `only`, which takes answers with
	// several different numbers for wrong. Default: `last`.
	Which string `json:"which,omitempty"`
}

// CaddyModule returns the Caddy module information.
func (*Numeric) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.numeric", New: func() caddy.Module { return new(Numeric) }}
}

// Validate checks the tolerances.
func (n *Numeric) Validate() error {
	if n.Tolerance < 0 || n.Relative < 0 {
		return errors.New("tolerance, relative: want 0 or more")
	}
	switch n.Which {
	case "", "last", "first", "only":
		return nil
	}
	return fmt.Errorf("which %q: want last, first or only", n.Which)
}

// Score judges an answer.
func (n *Numeric) Score(_ context.Context, c Case, a Answer) (Score, error) {
	text, err := c.text()
	if err != nil {
		return Score{}, err
	}
	wanted := numbers(text)
	if len(wanted) != 1 {
		return Score{}, fmt.Errorf("record %q: expected %s is not one number", c.ID, quote(text))
	}
	want, given := wanted[0], numbers(a.Text)
	if len(given) == 0 {
		return judged(0, fmt.Sprintf("expected %s but the answer has no number: it was %s", number(want), quote(a.Text))), nil
	}
	got := given[len(given)-1]
	switch n.Which {
	case "first":
		got = given[0]
	case "only":
		if slices.ContainsFunc(given, func(v float64) bool { return v != got }) {
			return judged(0, fmt.Sprintf("expected only %s but the answer has several numbers: it was %s", number(want), quote(a.Text))), nil
		}
	}
	if near(want, got, max(n.Tolerance, n.Relative*math.Abs(want))) {
		return full(), nil
	}
	within := ""
	if t := max(n.Tolerance, n.Relative*math.Abs(want)); t > 0 {
		within = " ± " + number(t)
	}
	return judged(0, fmt.Sprintf("expected %s%s but the number of the answer is %s", number(want), within, number(got))), nil
}

// near reports whether two numbers are no further apart than allowed, up to
// what floating point makes of decimal fractions.
func near(a, b, tolerance float64) bool {
	return a == b || math.Abs(a-b) <= tolerance+1e-12*max(math.Abs(a), math.Abs(b))
}

// A number, from its first digit on. The separators that may be spaces are
// those that do not break lines; a plain space separates thousands only where there is nothing but one number.
var (
	digits = regexp.MustCompile(`(?:\d{1,3}(?:[\x{a0}\x{202f}\x{2009}'’]\d{3})+|\d[\d,_]*(?:\.\d[\d,_]*)*|\.\d+)(?:,\d+|\.\d+)?(?:[eE][+-]?\d{1,3}\b)?`)
	spaced = regexp.MustCompile(`^\D*\d{1,3}(?: \d{3})+(?:[.,]\d+)?\D*$`)
)

// numbers lists the numbers of a text.
func numbers(text string) []float64 {
	if len(text) < 100 && spaced.MatchString(text) {
		text = strings.ReplaceAll(text, " ", "\u00a0")
	}
	var all []float64
	for _, at := range digits.FindAllStringIndex(text, -1) {
		if r, _ := utf8.DecodeLastRuneInString(text[:at[0]]); text[at[0]] == '.' && unicode.IsLetter(r) {
			at[0]++ // No.5
		}
		negative, ok := begins(text[:at[0]])
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(plain(text[at[0]:at[1]]), 64)
		if err != nil || math.IsInf(v, 0) {
			continue
		}
		if negative {
			v = -v
		}
		all = append(all, v)
	}
	return all
}

// begins looks at what is before a number: its sign, and whether it is one
// at all, and not part of a name such as GPT4.
func begins(before string) (negative, ok bool) {
	before = before[max(0, len(before)-24):] // a sign and a word fit
	before = strings.TrimRightFunc(before, func(r rune) bool { return unicode.Is(unicode.Sc, r) })
	for _, sign := range []string{"-", "−", "+"} {
		rest, signed := strings.CutSuffix(before, sign)
		if !signed {
			continue
		}
		switch r, _ := utf8.DecodeLastRuneInString(rest); {
		case unicode.IsLetter(r): // GPT-4
			return false, false
		case unicode.IsDigit(r): // 4-5
			return false, true
		}
		return sign != "+", true
	}
	word := strings.TrimLeftFunc(before[len(strings.TrimRightFunc(before, unicode.IsLetter)):], func(r rune) bool { return r == utf8.RuneError })
	return false, word == "" || currencies[strings.ToUpper(word)]
}

var currencies = map[string]bool{
	"USD": true, "US": true, "EUR": true, "GBP": true, "JPY": true, "CHF": true, "CNY": true, "RMB": true, "INR": true, "RS": true, "AUD": true, "A": true, "CAD": true, "C": true,
	"SEK": true, "NOK": true, "DKK": true, "KR": true, "PLN": true, "CZK": true, "BRL": true, "R": true, "KRW": true, "MXN": true, "TRY": true, "ZAR": true, "SGD": true, "HKD": true,
}

var separators = strings.NewReplacer("\u00a0", "", "\u202f", "", "\u2009", "", "'", "", "’", "", "_", "")

// plain writes a number as strconv reads it. What strconv does not read is no number: 10.0.0.1.
func plain(text string) string {
	text = strings.TrimRight(separators.Replace(text), ",")
	comma, dot := strings.LastIndexByte(text, ','), strings.LastIndexByte(text, '.')
	switch {
	case comma > dot && dot >= 0: // 1.234,5
		return ungroup(text[:comma], ".") + "." + text[comma+1:]
	case comma >= 0 && dot >= 0: // 1,234.5
		return ungroup(text[:dot], ",") + text[dot:]
	case strings.Count(text, ".") > 1: // 1.234.567
		return ungroup(text, ".")
	case strings.Count(text, ",") > 1, comma > 0 && comma <= 3 && len(text)-comma == 4 && text[0] != '0': // 1,234
		return ungroup(text, ",")
	}
	return strings.Replace(text, ",", ".", 1)
}

// ungroup takes the separators of thousands out, and those of lakhs. Where they separate something else they stay.
func ungroup(text, separator string) string {
	groups := strings.Split(text, separator)
	for i, group := range groups {
		if n := len(group); n == 0 || n > 3 || i > 0 && n < 2 || i > 0 && i == len(groups)-1 && n != 3 {
			return text
		}
	}
	return strings.Join(groups, "")
}

// Interface guards
var (
	_ caddy.Validator = (*Numeric)(nil)
	_ Scorer          = (*Numeric)(nil)
)
