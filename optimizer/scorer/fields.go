package scorer

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	deepest   = 64  // levels of JSON that are compared field by field; what is below is compared as a whole
	mostParts = 256 // fields whose scores are kept one by one
)

// comparison compares JSON field by field. Its zero value tolerates nothing.
type comparison struct {
	tolerance float64            // of numbers
	fields    []string           // paths that are looked at; none: all
	extra     bool               // fields that were not expected do not matter
	fold      bool               // texts are compared as normalized does
	parts     map[string]float64 // of expected fields, by path

	total, right int
	wrong        []string // the first faults
	more         int      // how many there are besides
}

// share is how much of what was expected is there.
func (c *comparison) share() float64 {
	if c.total == 0 {
		return 1
	}
	return float64(c.right) / float64(c.total)
}

// compare compares what is at a path.
func (c *comparison) compare(path string, depth int, want, got any) {
	before := got
	switch want := want.(type) {
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok && len(want) > 0 && depth < deepest {
			c.another(path, depth, want, before)
			return
		}
		if !ok || depth == deepest || len(want) == 0 && len(got) == 0 {
			break
		}
		for _, key := range sortedKeys(want) {
			below := member(path, key)
			if v, ok := got[key]; ok {
				c.compare(below, depth+1, want[key], v)
			} else {
				c.missing(below, depth+1, want[key])
			}
		}
		for _, key := range sortedKeys(got) {
			if _, ok := want[key]; !ok {
				c.surplus(member(path, key), got[key])
			}
		}
		return
	case []any:
		got, ok := got.([]any)
		if !ok && len(want) > 0 && depth < deepest {
			c.another(path, depth, want, before)
			return
		}
		if !ok || depth == deepest || len(want) == 0 && len(got) == 0 {
			break
		}
		for i, v := range want {
			below := element(path, i)
			if i < len(got) {
				c.compare(below, depth+1, v, got[i])
			} else {
				c.missing(below, depth+1, v)
			}
		}
		for i := len(want); i < len(got); i++ {
			c.surplus(element(path, i), got[i])
		}
		return
	}
	c.leaf(path, c.same(want, got), func() string {
		return fmt.Sprintf("%s should be %s but was %s", path, show(want), show(got))
	})
}

// another counts the fields of what is something else altogether.
func (c *comparison) another(path string, depth int, want, got any) {
	wrong, more := len(c.wrong), c.more
	c.missing(path, depth, want)
	if len(c.wrong)+c.more == wrong+more { // none of the fields that are looked at
		return
	}
	c.wrong, c.more = c.wrong[:wrong], more
	c.fault(func() string { return fmt.Sprintf("%s should be %s but was %s", path, show(want), show(got)) })
}

// missing counts a field that is not there by what it was expected to hold.
func (c *comparison) missing(path string, depth int, want any) {
	wrong, more := len(c.wrong), c.more
	switch want := want.(type) {
	case map[string]any:
		if len(want) > 0 && depth < deepest {
			for _, key := range sortedKeys(want) {
				c.missing(member(path, key), depth+1, want[key])
			}
			c.instead(wrong, more, func() string { return path + " is missing" })
			return
		}
	case []any:
		if len(want) > 0 && depth < deepest {
			for i, v := range want {
				c.missing(element(path, i), depth+1, v)
			}
			c.instead(wrong, more, func() string { return path + " is missing" })
			return
		}
	}
	c.leaf(path, false, func() string { return fmt.Sprintf("%s is missing, it should be %s", path, show(want)) })
}

// fault keeps what is wrong, as long as it will be told.
func (c *comparison) fault(words func() string) {
	if len(c.wrong) < mostFaults {
		c.wrong = append(c.wrong, words())
	} else {
		c.more++
	}
}

// instead tells one fault instead of several that came after the first ones.
func (c *comparison) instead(wrong, more int, words func() string) {
	if len(c.wrong)+c.more > wrong+more+1 {
		c.wrong, c.more = c.wrong[:wrong], more
		c.fault(words)
	}
}

// surplus counts a field that was not expected, as one.
func (c *comparison) surplus(path string, got any) {
	if c.extra || !c.looksAt(path) {
		return
	}
	c.total++
	c.fault(func() string { return fmt.Sprintf("%s should not be there: it was %s", path, show(got)) })
}

func (c *comparison) leaf(path string, right bool, words func() string) {
	if !c.looksAt(path) {
		return
	}
	c.total++
	value := 0.0
	if right {
		c.right++
		value = 1
	} else {
		c.fault(words)
	}
	if c.parts != nil && len(c.parts) < mostParts {
		c.parts[path] = value
	}
}

// looksAt reports whether a path is one of the fields, or below one.
func (c *comparison) looksAt(path string) bool {
	if len(c.fields) == 0 {
		return true
	}
	return slices.ContainsFunc(c.fields, func(field string) bool {
		rest, ok := strings.CutPrefix(path, field)
		return ok && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// same reports whether two values are equal. Numbers are, however they are written.
func (c *comparison) same(want, got any) bool {
	switch want := want.(type) {
	case json.Number:
		got, ok := got.(json.Number)
		return ok && c.sameNumber(want.String(), got.String())
	case string:
		got, ok := got.(string)
		return ok && (want == got || c.fold && normal(want) == normal(got))
	case []any:
		got, ok := got.([]any)
		return ok && slices.EqualFunc(want, got, c.same)
	case map[string]any:
		got, ok := got.(map[string]any)
		if !ok || len(want) != len(got) {
			return false
		}
		for key, v := range want {
			if other, ok := got[key]; !ok || !c.same(v, other) {
				return false
			}
		}
		return true
	}
	switch got.(type) {
	case []any, map[string]any:
		return false
	}
	return want == got // null and booleans
}

func (c *comparison) sameNumber(want, got string) bool {
	if want == got {
		return true
	}
	a, errA := strconv.ParseFloat(want, 64)
	b, errB := strconv.ParseFloat(got, 64)
	if errA != nil || errB != nil { // out of range
		return false
	}
	if c.tolerance == 0 && !strings.ContainsAny(want+got, ".eE") && max(math.Abs(a), math.Abs(b)) >= 1<<53 {
		return false // whole numbers that floating point may not tell apart
	}
	if c.tolerance == 0 {
		return a == b
	}
	return near(a, b, c.tolerance)
}

// show writes a value as JSON.
func show(v any) string {
	doc, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return cut(string(doc), longestQuote)
}

func member(path, key string) string {
	for i, r := range key {
		if r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (i == 0 || r < '0' || r > '9') {
			return path + "[" + strconv.Quote(cut(key, longestQuote)) + "]"
		}
	}
	if key == "" {
		return path + `[""]`
	}
	return path + "." + cut(key, longestQuote)
}

func element(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

func sortedKeys(object map[string]any) []string {
	keys := make([]string, 0, len(object))
	for key := range object {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
