package tracing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"time"
)

// GroupBy says what statistics are made for.
type GroupBy string

// The groups.
const (
	ByVariant GroupBy = "variant" // of a route each
	ByModel   GroupBy = "model"   // provider/model
	ByPrompt  GroupBy = "prompt"  // name/version
	ByRoute   GroupBy = "route"
)

// Stats are figures over the traces of a time, by group.
type Stats struct {
	Since Time        `json:"since"`
	Until Time        `json:"until"`
	Items []StatsItem `json:"items"`

	// Damaged names files that could not be read (whole).
	Damaged []string `json:"damaged,omitempty"`
}

// StatsItem are the figures of one group. Latency is of the calls that ended
// well, ttft of all streams that began; both by nearest rank, within 0.2 %.
// Errors are the calls with status error or cut.
type StatsItem struct {
	Route        *string   `json:"route,omitempty"`
	Variant      *string   `json:"variant,omitempty"`
	Model        *string   `json:"model,omitempty"`
	Prompt       *string   `json:"prompt,omitempty"`
	Requests     int64     `json:"requests"`
	Errors       int64     `json:"errors"`
	Cancelled    int64     `json:"cancelled"`
	ErrorRate    float64   `json:"error_rate"`
	LatencyMS    Quantiles `json:"latency_ms"`
	TTFTMS       Quantiles `json:"ttft_ms"`
	InputTokens  int64     `json:"input_tokens"`
	OutputTokens int64     `json:"output_tokens"`
	CostUSD      *float64  `json:"cost_usd"`     // null when no call's cost is known
	CostUnknown  int64     `json:"cost_unknown"` // calls whose cost is not known

	by GroupBy
}

// Quantiles are in milliseconds, null without a call to measure.
type Quantiles struct {
	P50 *float64 `json:"p50"`
	P90 *float64 `json:"p90"`
	P95 *float64 `json:"p95"`
	P99 *float64 `json:"p99"`
}

// MarshalJSON writes the group even where there is none, as null.
func (s StatsItem) MarshalJSON() ([]byte, error) {
	type plain StatsItem
	b, err := json.Marshal(plain(s))
	if err != nil {
		return nil, err
	}
	none := map[GroupBy]bool{ByVariant: s.Variant == nil, ByModel: s.Model == nil, ByPrompt: s.Prompt == nil, ByRoute: s.Route == nil}
	if none[s.by] {
		b = append([]byte(`{"`+string(s.by)+`":null,`), b[1:]...)
	}
	return b, nil
}

// Stats returns figures over the traces that the filter asks for. Of the
// filter, session, user, tags and text cannot be used.
func (s *Store) Stats(ctx context.Context, by GroupBy, f Filter) (st Stats, err error) {
	if f.Session != "" || f.User != "" || len(f.Tags) > 0 || f.Text != "" {
		return st, errors.New("statistics cannot be asked for by session, user, tag or text")
	}
	end, err := s.readers.begin(ctx)
	if err != nil {
		return st, err
	}
	defer end()
	st.Since, st.Until = Time{f.Since}, Time{f.Until}
	m := newMatcher(&f)
	groups := map[string]*group{}
	for _, keys := range s.days(dayOf(m.from), dayOf(min(m.to, seqAt(maxTime)))) {
		files, damaged, err := s.openDay(ctx, keys)
		st.Damaged = append(st.Damaged, damaged...)
		for _, file := range files {
			if err == nil {
				err = m.sum(ctx, file, by, groups)
			}
		}
		for _, file := range files {
			s.readers.done(file, err)
		}
		if err != nil {
			return Stats{}, err
		}
	}
	st.Items = []StatsItem{}
	names := make([]string, 0, len(groups))
	for name := range groups {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		st.Items = append(st.Items, groups[name].item())
	}
	return st, nil
}

// group adds up the calls of a group.
type group struct {
	StatsItem
	cost          float64
	costKnown     int64
	latency, ttft histogram
}

func newGroup(by GroupBy, s *series) *group {
	g := &group{}
	g.by = by
	switch by {
	case ByVariant:
		g.Route, g.Variant = known(s.route), known(s.variant)
	case ByRoute:
		g.Route = known(s.route)
	case ByModel:
		g.Model = known(modelName(s))
	case ByPrompt:
		g.Prompt = known(promptName(s))
	}
	return g
}

func (by GroupBy) name(s *series) string {
	switch by {
	case ByVariant:
		return s.route + "\x00" + s.variant
	case ByModel:
		return modelName(s)
	case ByPrompt:
		return promptName(s)
	}
	return s.route
}

func modelName(s *series) string {
	if s.provider == "" || s.model == "" {
		return s.model
	}
	return s.provider + "/" + s.model
}

func promptName(s *series) string {
	if s.prompt == "" {
		return ""
	}
	return s.prompt + "/" + strconv.FormatInt(s.version, 10)
}

// sum adds a file's traces to the groups.
func (m *matcher) sum(ctx context.Context, f *readFile, by GroupBy, groups map[string]*group) error {
	type target struct {
		*group
		ok, bad, cancelled bool
	}
	targets := make([]target, f.lastSeries+1)
	for id, s := range f.series {
		if int64(id) > f.lastSeries || !m.filter.matches(&s) {
			continue
		}
		name := by.name(&s)
		g := groups[name]
		if g == nil {
			g = newGroup(by, &s)
			groups[name] = g
		}
		targets[id] = target{g, s.status == "ok", s.status == "error" || s.status == "cut", s.status == "cancelled"}
	}
	add := func(b []byte) {
		for ; len(b) >= digestSize; b = b[digestSize:] {
			d := digest(b[:digestSize])
			seq, id := d.seq(), d.series()
			if seq < m.from || seq >= m.to || int(id) >= len(targets) {
				continue
			}
			t := targets[id]
			if t.group == nil {
				continue
			}
			t.add(d, t.ok, t.bad, t.cancelled)
		}
	}
	spans, err := f.spans(nil, m.from, m.to)
	if err != nil {
		return err
	}
	var broken []span
	for _, s := range spans {
		if err := ctx.Err(); err != nil {
			return err
		}
		b, err := f.digests(s)
		if errors.Is(err, errDamaged) {
			f.store.noteDamage(f.key.name(), "segment", err)
			broken = append(broken, s)
			continue
		}
		if err != nil {
			return err
		}
		add(b)
	}
	if len(broken) == 0 {
		return nil
	}
	return m.sumBroken(f, spans, broken, add)
}

// sumBroken adds the traces whose segments are damaged: all rows but those
// that whole segments have.
func (m *matcher) sumBroken(f *readFile, spans, broken []span, add func([]byte)) error {
	seen := map[int64]bool{}
	for _, s := range spans {
		if slices.ContainsFunc(broken, func(o span) bool { return o.n == s.n }) {
			continue
		}
		b, err := f.digests(s)
		if err != nil {
			return fmt.Errorf("reading %s: %w", f.key.name(), err)
		}
		for ; len(b) >= digestSize; b = b[digestSize:] {
			seen[digest(b).seq()] = true
		}
	}
	rows, err := f.rowSpans(nil, m.from, m.to)
	if err != nil {
		return err
	}
	for _, s := range rows {
		b, err := f.digests(s)
		if err != nil {
			return err
		}
		for ; len(b) >= digestSize; b = b[digestSize:] {
			if !seen[digest(b).seq()] {
				add(b[:digestSize])
			}
		}
	}
	return nil
}

func (g *group) add(d digest, ok, bad, cancelled bool) {
	g.Requests++
	switch {
	case ok:
		g.latency.add(d.duration())
	case bad:
		g.Errors++
	case cancelled:
		g.Cancelled++
	}
	if t := d.ttft(); t != noTicks {
		g.ttft.add(t)
	}
	if d.flags()&flagUsage != 0 {
		g.InputTokens += int64(d.input())
		g.OutputTokens += int64(d.output())
	}
	if cost := d.cost(); !math.IsNaN(cost) {
		g.cost += cost
		g.costKnown++
	}
}

func (g *group) item() StatsItem {
	s := g.StatsItem
	s.CostUnknown = s.Requests - g.costKnown
	if g.costKnown > 0 {
		s.CostUSD = &g.cost
	}
	if s.Requests > 0 {
		s.ErrorRate = float64(s.Errors) / float64(s.Requests)
	}
	s.LatencyMS, s.TTFTMS = g.latency.quantiles(), g.ttft.quantiles()
	return s
}

// histogram counts ticks in buckets: exactly up to 511, and in 256 steps for
// each doubling beyond, so that a bucket is at most 0.4 % wide.
type histogram struct {
	counts []uint32
	total  int64
}

const histogramBits = 8

func bucketOf(v uint32) int {
	if v < 2<<histogramBits {
		return int(v)
	}
	shift := bits.Len32(v) - histogramBits - 1
	return shift<<histogramBits + int(v>>shift)
}

// bucketValue is the middle of a bucket.
func bucketValue(i int) float64 {
	if i < 2<<histogramBits {
		return float64(i)
	}
	shift := i>>histogramBits - 1
	low := (i&(1<<histogramBits-1) + 1<<histogramBits) << shift
	return float64(low) + float64(int(1)<<shift-1)/2
}

func (h *histogram) add(v uint32) {
	if h.counts == nil {
		h.counts = make([]uint32, bucketOf(math.MaxUint32)+1)
	}
	h.counts[bucketOf(v)]++
	h.total++
}

func (h *histogram) quantiles() Quantiles {
	return Quantiles{P50: h.quantile(0.5), P90: h.quantile(0.9), P95: h.quantile(0.95), P99: h.quantile(0.99)}
}

func (h *histogram) quantile(q float64) *float64 {
	if h.total == 0 {
		return nil
	}
	rank := max(int64(math.Ceil(q*float64(h.total))), 1)
	for i, n := range h.counts {
		rank -= int64(n)
		if rank <= 0 {
			ms := bucketValue(i) * tick / 1000
			ms = math.Round(ms*1000) / 1000
			return &ms
		}
	}
	return nil
}

// sinceDefault is how far back statistics reach unless asked.
const sinceDefault = 24 * time.Hour
