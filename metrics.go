package frontier

import (
	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-frontier/frontier/internal/metrics"
	"github.com/caddy-frontier/frontier/tracing"
)

// registerMetrics publishes the figures of calls, and those of this configuration.
func (a *App) registerMetrics(ctx caddy.Context) error {
	if err := tracing.RegisterMetrics(ctx); err != nil {
		return err
	}
	return metrics.Register(ctx, collector{a})
}

// collector reads figures that are kept anyway, when they are asked for.
type collector struct{ app *App }

var (
	tracesWritten  = describe("traces_written_total", "Traces that were stored.")
	tracesQueued   = describe("traces_queued", "Traces that wait to be stored.")
	tracesDropped  = describe("traces_dropped_total", "Traces that could not be stored, by reason.", "reason")
	tracesDamaged  = describe("traces_damaged_total", "Damage that was found in stored traces.")
	tracesExported = describe("traces_exported_total", "Traces that were delivered to an exporter's destination.", "destination")
	tracesRefused  = describe("traces_refused_total", "Traces that an exporter's destination does not accept.", "destination")
	exportFailures = describe("export_failures_total", "Attempts to deliver traces that failed; they are repeated.", "destination")
	openCircuits   = describe("circuits_open", "Models of a provider that are left alone for a moment, after faults in a row.", "provider")
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(metrics.Name(name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (c collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{tracesWritten, tracesQueued, tracesDropped, tracesDamaged, tracesExported, tracesRefused, exportFailures, openCircuits} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(ch chan<- prometheus.Metric) {
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v int64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, kind, float64(v), labels...)
	}
	if !c.app.started.Load() { // handlers may still be adding providers
		return
	}
	for name, p := range c.app.Provider {
		send(openCircuits, prometheus.GaugeValue, int64(p.OpenCircuits()), name)
	}
	counters := c.app.data.traces.Counters()
	send(tracesWritten, prometheus.CounterValue, counters.Written)
	send(tracesQueued, prometheus.GaugeValue, counters.Queued)
	send(tracesDamaged, prometheus.CounterValue, counters.Damaged)
	for _, reason := range tracing.DropReasons() {
		send(tracesDropped, prometheus.CounterValue, counters.Dropped[reason], reason)
	}
	for _, e := range c.app.data.exports.Status() {
		send(tracesExported, prometheus.CounterValue, e.Exported, e.Destination)
		send(tracesRefused, prometheus.CounterValue, e.Refused, e.Destination)
		send(exportFailures, prometheus.CounterValue, e.Failures, e.Destination)
	}
}

// Interface guards
var _ prometheus.Collector = collector{}
