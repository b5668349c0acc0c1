package price

import (
	"fmt"
	"time"
)

// Source says where the prices of a model come from.
type Source string

// The sources, the later ones over the earlier.
const (
	FromEmbedded      Source = "embedded"      // genai-prices
	FromFile          Source = "prices_file"   // the option prices
	FromConfiguration Source = "configuration" // a provider's option price
)

// Period is when prices hold: for ever, from a day on, or during a part of
// each day. Where a model has several, the last one that holds counts.
type Period struct {
	// From is the day (2006-01-02, in UTC) on which the prices will begin; "": they have begun.
	From string `json:"from,omitempty"`
	// Daily is the part of each day in which the prices hold; nil: all day.
	Daily *Hours `json:"daily,omitempty"`
	// InForce says that these are the prices at the time that was asked about.
	InForce bool `json:"in_force"`
	Prices
}

// Hours is a part of each day, in UTC, as 15:04 or 15:04:05. It may reach over
// midnight; End is not in it.
type Hours struct {
	Start string `json:"start"`
	End   string `json:"end"`
}

// Schedule returns the periods of a model whose prices depend on the time: the
// one in force at t, and those that can be in force later, in the table's
// order. It is empty for a model that has one price for good.
func (i Info) Schedule(t time.Time) []Period {
	if i.model == nil {
		return nil
	}
	m, first := i.model, 0
	for n := range m.periods {
		if p := &m.periods[n]; p.start == p.end && p.from <= t.Unix() {
			first = n // what comes before has ended: this one holds for good
		}
	}
	if len(m.periods)-first < 2 {
		return nil
	}
	var out []Period
	for n := first; n < len(m.periods); n++ {
		p := &m.periods[n]
		prices, _ := p.prices()
		period := Period{InForce: &p.rates == m.at(t), Prices: prices}
		if p.from > t.Unix() {
			period.From = time.Unix(p.from, 0).UTC().Format(time.DateOnly)
		}
		if p.start != p.end {
			period.Daily = &Hours{Start: clock(p.start), End: clock(p.end)}
		}
		out = append(out, period)
	}
	return out
}

// clock writes seconds since midnight.
func clock(s int64) string {
	text := fmt.Sprintf("%02d:%02d", s/3600, s/60%60)
	if s%60 != 0 {
		text += fmt.Sprintf(":%02d", s%60)
	}
	return text
}
