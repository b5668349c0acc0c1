package price

import (
	"encoding/json"
	"math"
	"slices"
	"time"
)

// Prices are a model's prices in US dollars per million tokens. With tiers,
// its own are those of calls with few input tokens.
type Prices struct {
	Lines
	// ThousandCalls comes on top of tokens, in US dollars per thousand calls; nil: nothing.
	ThousandCalls *float64 `json:"thousand_calls"`
	// Tiers are the prices of larger calls, by rising threshold.
	Tiers []Tier `json:"tiers"`
}

// Lines are the prices of the kinds of tokens, in US dollars per million.
type Lines struct {
	Input  *float64 `json:"input"`  // nil: unknown
	Output *float64 `json:"output"` // nil: unknown
	// Cached is for input read from the provider's cache; nil: as Input.
	Cached *float64 `json:"cached"`
	// CacheWrite is for input written to the provider's cache; nil: as Input.
	CacheWrite *float64 `json:"cache_write"`
	// Reasoning is for output that the model thinks; nil: as Output.
	Reasoning *float64 `json:"reasoning"`
}

// Tier is what all tokens of a call cost that has more than Above input tokens.
type Tier struct {
	Above int64 `json:"above"`
	Lines
}

// rates are the prices of a period.
type rates struct {
	Input      rate `json:"input"`
	Output     rate `json:"output"`
	Cached     rate `json:"cached"`
	CacheWrite rate `json:"cache_write"`
	Reasoning  rate `json:"reasoning"`
	Calls      rate `json:"calls"` // per thousand calls
}

// rate is one price in US dollars per million. Its zero value is unknown.
type rate struct {
	known bool
	base  float64
	tiers []tier // by rising threshold
}

// tier is the price of every token of a call with more than above input tokens.
type tier struct {
	above int64
	price float64
}

// period is when prices hold: for ever, from a day on, or for a part of each day.
type period struct {
	from       int64 // Unix seconds, 0 for always
	start, end int64 // seconds since midnight UTC, end excluded; equal for all day
	rates
}

const day = 24 * 60 * 60

// cost is genai-prices' calculation: each kind of token that has a price of its
// own is taken out of the kind it is a part of.
func (r *rates) cost(u Usage) (usd float64, ok bool) {
	// Every call reads tokens, so without a price for them nothing is known.
	if !r.Input.known || min(u.Input, u.Output, u.CachedInput, u.CacheWriteInput, u.Reasoning) < 0 {
		return 0, false
	}
	input, output := u.Input, u.Output
	usd = r.Calls.at(u.Input) * 1000 // per thousand, and divided by a million below
	if r.Cached.known {
		input -= u.CachedInput
		usd += r.Cached.at(u.Input) * float64(u.CachedInput)
	}
	if r.CacheWrite.known {
		input -= u.CacheWriteInput
		usd += r.CacheWrite.at(u.Input) * float64(u.CacheWriteInput)
	}
	if r.Reasoning.known {
		output -= u.Reasoning
		usd += r.Reasoning.at(u.Input) * float64(u.Reasoning)
	}
	if input < 0 || output < 0 {
		return 0, false
	}
	if input > 0 && !r.Input.known || output > 0 && !r.Output.known {
		return 0, false
	}
	usd += r.Input.at(u.Input)*float64(input) + r.Output.at(u.Input)*float64(output)
	return math.Round(usd*1e6) / 1e12, true // to 1e-12 dollars: no digits of binary fractions
}

func (r *rates) prices() (Prices, bool) {
	p := Prices{Lines: r.lines(0), ThousandCalls: r.Calls.value(0), Tiers: []Tier{}}
	var above []int64
	for _, rt := range []rate{r.Input, r.Output, r.Cached, r.CacheWrite, r.Reasoning} {
		for _, t := range rt.tiers {
			above = append(above, t.above)
		}
	}
	slices.Sort(above)
	for _, n := range slices.Compact(above) {
		p.Tiers = append(p.Tiers, Tier{Above: n, Lines: r.lines(n + 1)})
	}
	return p, r.Input.known
}

// lines are the prices of a call with that many input tokens.
func (r *rates) lines(input int64) Lines {
	return Lines{
		Input: r.Input.value(input), Output: r.Output.value(input), Cached: r.Cached.value(input),
		CacheWrite: r.CacheWrite.value(input), Reasoning: r.Reasoning.value(input),
	}
}

// at returns the price in a call with that many input tokens, 0 if unknown.
func (r *rate) at(input int64) float64 {
	for _, v := range slices.Backward(r.tiers) {
		if input > v.above {
			return v.price
		}
	}
	return r.base
}

// value is at, nil if unknown.
func (r *rate) value(input int64) *float64 {
	if !r.known {
		return nil
	}
	v := r.at(input)
	return &v
}

// UnmarshalJSON reads a number, or {"base": 1, "tiers": [[200000, 2]]}.
func (r *rate) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] != '{' {
		r.known = true
		return json.Unmarshal(data, &r.base)
	}
	var tiered struct {
		Base  float64      `json:"base"`
		Tiers [][2]float64 `json:"tiers"`
	}
	if err := json.Unmarshal(data, &tiered); err != nil {
		return err
	}
	*r = rate{known: true, base: tiered.Base}
	for _, t := range tiered.Tiers {
		r.tiers = append(r.tiers, tier{above: int64(t[0]), price: t[1]})
	}
	return nil
}

func (p *period) holds(t time.Time) bool {
	now := t.Unix()
	if p.from != 0 && now < p.from {
		return false
	}
	if p.start == p.end {
		return true
	}
	// The remainder is negative before 1970.
	now = (now%day + day) % day
	if p.end < p.start {
		return now >= p.start || now < p.end
	}
	return p.start <= now && now < p.end
}

// UnmarshalJSON reads rates with "from" (a date, in UTC) or "daily" (seconds
// since midnight UTC).
func (p *period) UnmarshalJSON(data []byte) error {
	var when struct {
		From  string   `json:"from"`
		Daily [2]int64 `json:"daily"`
	}
	if err := json.Unmarshal(data, &when); err != nil {
		return err
	}
	if when.From != "" {
		from, err := time.Parse(time.DateOnly, when.From)
		if err != nil {
			return err
		}
		p.from = from.Unix()
	}
	p.start, p.end = when.Daily[0], when.Daily[1]
	return json.Unmarshal(data, &p.rates)
}
