package tracing

import (
	"cmp"
	"sync"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/metrics"
)

// callMetrics counts calls as they end. A request pays for it with a look-up
// and a few atomic additions.
type callMetrics struct {
	requests, errors, tokens, cost *prometheus.CounterVec
	duration, firstToken           *prometheus.HistogramVec
	inFlight                       prometheus.Gauge

	mu      sync.RWMutex
	series  map[callLabels]*callSeries
	learned map[string]bool // models of calls without a route that have a label of their own
	classes map[string]bool
}

// calls goes on over reloads.
var calls = newCallMetrics()

// RegisterMetrics publishes the figures of calls with the configuration.
func RegisterMetrics(ctx caddy.Context) error {
	return metrics.Register(ctx, calls.requests, calls.errors, calls.tokens, calls.cost, calls.duration, calls.firstToken, calls.inFlight)
}

// What comes from outside gets at most this many values of a label; then it is "other".
const (
	maxLearned = 256
	maxClasses = 64
	other      = "other"
)

// callLabels are what a call is counted under.
type callLabels struct{ route, variant, provider, model string }

// callSeries are the counters of a call's labels, looked up once.
type callSeries struct {
	key                  callLabels
	duration, firstToken prometheus.Observer
	cost                 prometheus.Counter
	tokens               [5]prometheus.Counter
	status               [4]prometheus.Counter
}

var (
	statuses   = [...]call.Status{call.StatusOK, call.StatusError, call.StatusCut, call.StatusCancelled}
	tokenTypes = [...]string{"input", "output", "cached_input", "cache_write_input", "reasoning_output"}
)

func newCallMetrics() *callMetrics {
	labels := []string{"route", "variant", "provider", "model"}
	counter := func(name, help string, more ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metrics.Namespace, Subsystem: metrics.Subsystem, Name: name, Help: help}, append(labels[:4:4], more...))
	}
	histogram := func(name, help string, buckets ...float64) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: metrics.Namespace, Subsystem: metrics.Subsystem, Name: name, Help: help, Buckets: buckets}, labels)
	}
	return &callMetrics{
		requests:   counter("requests_total", "LLM API calls that ended, by status: ok, error, cut (the answer broke off) or cancelled (the client went away).", "status"),
		errors:     counter("request_errors_total", "LLM API calls that ended in an error or broke off, by the class of the error.", "class"),
		tokens:     counter("tokens_total", "Tokens of calls. Input includes cached_input and cache_write_input, output includes reasoning_output.", "type"),
		cost:       counter("cost_usd_total", "What calls cost, in US dollars, as far as prices are known."),
		duration:   histogram("request_duration_seconds", "Time from a call's arrival until its answer's last byte.", .05, .1, .25, .5, 1, 2, 4, 8, 15, 30, 60, 120, 300),
		firstToken: histogram("time_to_first_token_seconds", "Time from a call's arrival until the first content of its streamed answer.", .05, .1, .2, .4, .8, 1.5, 3, 6, 12, 30, 60),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: metrics.Namespace, Subsystem: metrics.Subsystem, Name: "requests_in_flight", Help: "LLM API calls that are under way.",
		}),
		series: map[callLabels]*callSeries{}, learned: map[string]bool{}, classes: map[string]bool{},
	}
}

// observe counts a call that is over.
func (m *callMetrics) observe(rec *Record, cost float64) {
	c := rec.Call
	g := m.of(c, rec.Status)
	i := 0
	for i < len(statuses)-1 && statuses[i] != rec.Status {
		i++
	}
	g.status[i].Inc()
	g.duration.Observe(rec.Duration.Seconds())
	if rec.FirstByte > 0 {
		g.firstToken.Observe(rec.FirstByte.Seconds())
	}
	if rec.Status == call.StatusError || rec.Status == call.StatusCut {
		m.errors.WithLabelValues(g.key.route, g.key.variant, g.key.provider, g.key.model, m.class(c.ErrorClass)).Inc()
	}
	g.use(c.Usage, cost)
}

// observeUsage counts what only the answer told.
func (m *callMetrics) observeUsage(rec *Record, u *call.Usage, cost float64) {
	m.of(rec.Call, rec.Status).use(u, cost)
}

func (g *callSeries) use(u *call.Usage, cost float64) {
	if u == nil {
		return
	}
	for i, n := range [...]int64{u.Input, u.Output, u.CachedInput, u.CacheWriteInput, u.Reasoning} {
		if n > 0 {
			g.tokens[i].Add(float64(n))
		}
	}
	if cost > 0 { // it is NaN when it is not known
		g.cost.Add(cost)
	}
}

// of returns the counters of the call. The models of routes are those of
// the configuration; one that a client may choose counts under its own name
// once it has answered.
func (m *callMetrics) of(c *call.Call, status call.Status) *callSeries {
	key := callLabels{c.Route, c.Variant, c.Provider, c.Model}
	if key.route == "" {
		key.model = valid(cmp.Or(key.model, c.RequestedModel))
	}
	m.mu.RLock()
	g := m.series[key]
	known := key.route != "" || m.learned[key.model]
	m.mu.RUnlock()
	if g != nil {
		return g
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !known {
		if status == call.StatusOK && len(m.learned) < maxLearned {
			m.learned[key.model] = true
		} else if !m.learned[key.model] {
			key.model = other
		}
	}
	if g = m.series[key]; g != nil {
		return g
	}
	g = &callSeries{key: callLabels{valid(key.route), valid(key.variant), valid(key.provider), valid(key.model)}}
	labels := []string{g.key.route, g.key.variant, g.key.provider, g.key.model}
	g.duration, g.firstToken, g.cost = m.duration.WithLabelValues(labels...), m.firstToken.WithLabelValues(labels...), m.cost.WithLabelValues(labels...)
	for i, t := range tokenTypes {
		g.tokens[i] = m.tokens.WithLabelValues(append(labels[:4:4], t)...)
	}
	for i, s := range statuses {
		g.status[i] = m.requests.WithLabelValues(append(labels[:4:4], string(s))...)
	}
	m.series[key] = g
	return g
}

// class bounds the error classes: those of providers behind stock handlers are their own words.
func (m *callMetrics) class(class string) string {
	if class == "" {
		return "unknown"
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if class = valid(class); !m.classes[class] {
		if len(m.classes) >= maxClasses {
			return other
		}
		m.classes[class] = true
	}
	return class
}
