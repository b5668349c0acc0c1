package scorer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/caddyserver/caddy/v2"
)

func init() { caddy.RegisterModule(new(ToolCalls)) }

const mostCalls = 64 // that are compared one by one

// ToolCalls scores the functions that an answer wants called. The expected
// answer of a record is a list of `{"name": …, "arguments": {…}}`; an empty
// list wants no calls. A call of the wrong name scores 0, one of the right
// name the share of its arguments that are as expected. The score is the mean
// over the calls; missing ones and calls too many count as 0.
type ToolCalls struct {
	// Whether the calls must come in the order of the list. Default: false.
	Ordered bool `json:"ordered,omitempty"`
	// Whether texts in arguments are compared as the scorer `normalized` does. Default: false, to the byte.
	Normalized bool `json:"normalized,omitempty"`
	// How far numbers in arguments may be off. Default: 0.
	Tolerance float64 `json:"tolerance,omitempty"`
}

// wantedCall is a call as records have it: here, and as chat completions write it.
type wantedCall struct {
	Name      string          `json:"name"`
	Arguments json.RawMessage `json:"arguments"` // an object, or a text that is one
	Function  *wantedCall     `json:"function"`
}

// toolCall is a call with its arguments decoded.
type toolCall struct {
	name      string
	arguments any
	broken    bool // the arguments are not JSON
}

// CaddyModule returns the Caddy module information.
func (*ToolCalls) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.tool_calls", New: func() caddy.Module { return new(ToolCalls) }}
}

// Validate checks the tolerance.
func (t *ToolCalls) Validate() error {
	if t.Tolerance < 0 {
		return errors.New("tolerance: want 0 or more")
	}
	return nil
}

// Score judges an answer.
func (t *ToolCalls) Score(_ context.Context, c Case, a Answer) (Score, error) {
	want, err := wantedCalls(c)
	if err != nil {
		return Score{}, err
	}
	got := make([]toolCall, 0, min(len(a.ToolCalls), mostCalls))
	for _, call := range a.ToolCalls[:min(len(a.ToolCalls), mostCalls)] {
		arguments, err := decodeArguments([]byte(call.Arguments))
		got = append(got, toolCall{call.Name, arguments, err != nil})
	}
	total := max(len(want), len(a.ToolCalls))
	if total == 0 {
		return full(), nil
	}
	var sum float64
	var wrong []string
	parts := make(map[string]float64, len(want))
	matched := make([]bool, len(got))
	for i, pick := range t.match(want, got) {
		key := strconv.Itoa(i) + " " + want[i].name
		if parts[key] = 0; pick < 0 {
			wrong = append(wrong, fmt.Sprintf("%s should be called with %s but was not", want[i].name, show(want[i].arguments)))
			continue
		}
		matched[pick] = true
		value, why := t.call(want[i], got[pick])
		parts[key] = value
		sum += value
		if why != "" {
			wrong = append(wrong, why)
		}
	}
	for i, call := range got {
		if !matched[i] {
			wrong = append(wrong, fmt.Sprintf("%s should not be called here", call.name))
		}
	}
	if len(a.ToolCalls) > mostCalls {
		wrong = append(wrong, fmt.Sprintf("%d calls are too many", len(a.ToolCalls)))
	}
	if len(a.ToolCalls) == 0 && a.Text != "" {
		wrong = append(wrong, "the answer was a text instead: "+quote(a.Text))
	}
	s := judged(sum/float64(total), faults(wrong, 0))
	s.Parts = parts
	return s, nil
}

// match finds the call that each wanted one is compared with; -1: none.
func (t *ToolCalls) match(want, got []toolCall) []int {
	picks := make([]int, len(want))
	taken := make([]bool, len(got))
	for i := range picks {
		picks[i] = -1
		if t.Ordered && i < len(got) && got[i].name == want[i].name {
			picks[i] = i
		}
	}
	if t.Ordered {
		return picks
	}
	for _, perfect := range []bool{true, false} { // those that are quite right first, so that none is taken from another
		for i := range want {
			if picks[i] >= 0 {
				continue
			}
			best := -1.0
			for j := range got {
				if taken[j] || got[j].name != want[i].name {
					continue
				}
				if value, _ := t.call(want[i], got[j]); value > best && (value == 1 || !perfect) {
					best, picks[i] = value, j
				}
			}
			if picks[i] >= 0 {
				taken[picks[i]] = true
			}
		}
	}
	return picks
}

// call scores a call of the right name by its arguments.
func (t *ToolCalls) call(want, got toolCall) (value float64, why string) {
	if got.broken {
		return 0, fmt.Sprintf("the arguments of %s are not JSON", got.name)
	}
	cmp := comparison{tolerance: t.Tolerance, fold: t.Normalized}
	cmp.compare(want.name, 0, want.arguments, got.arguments)
	return cmp.share(), faults(cmp.wrong, cmp.more)
}

func wantedCalls(c Case) ([]toolCall, error) {
	v, err := c.value()
	if err != nil {
		return nil, err
	}
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("record %q: expected: %w", c.ID, err)
	}
	var list []wantedCall
	if err := json.Unmarshal(doc, &list); err != nil {
		return nil, fmt.Errorf(`record %q: expected: want a list of {"name", "arguments"}`, c.ID)
	}
	if len(list) > mostCalls {
		return nil, fmt.Errorf("record %q: expected: %d calls are too many, at most %d are compared", c.ID, len(list), mostCalls)
	}
	calls := make([]toolCall, len(list))
	for i, w := range list {
		if w.Function != nil {
			w = *w.Function
		}
		arguments, err := decodeArguments(w.Arguments)
		if w.Name == "" || err != nil {
			return nil, fmt.Errorf(`record %q: expected call %d: want {"name", "arguments"}`, c.ID, i)
		}
		calls[i] = toolCall{name: w.Name, arguments: arguments}
	}
	return calls, nil
}

// decodeArguments reads arguments. None at all are an empty object; a text is what it says.
func decodeArguments(doc []byte) (any, error) {
	if len(doc) == 0 || string(doc) == "null" || string(doc) == `""` {
		return map[string]any{}, nil
	}
	v, err := decode(doc)
	if text, ok := v.(string); ok && err == nil {
		return decode([]byte(text))
	}
	return v, err
}

// Interface guards
var (
	_ caddy.Validator = (*ToolCalls)(nil)
	_ Scorer          = (*ToolCalls)(nil)
)
