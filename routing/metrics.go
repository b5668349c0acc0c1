package routing

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-frontier/frontier/routing/rollout"
)

// The metrics of routes, read when they are asked for. Shares are 0–1.
var (
	weightMetric = prometheus.NewDesc("caddy_llm_route_weight", "Share of a route's traffic that a variant has.", []string{"route", "variant"}, nil)
	phaseMetric  = prometheus.NewDesc("caddy_llm_rollout_phase", "1 for the phase that a rollout is in.", []string{"route", "phase"}, nil)
	stepMetric   = prometheus.NewDesc("caddy_llm_rollout_step", "Step of a rollout that is in force, from 1; 0: none was entered.", []string{"route"}, nil)
	stepsMetric  = prometheus.NewDesc("caddy_llm_rollout_steps", "Steps that a rollout has.", []string{"route"}, nil)
	unitsMetric  = prometheus.NewDesc("caddy_llm_rollout_units", "Units (users, sessions, conversations) of a variant measured in this step.", []string{"route", "variant"}, nil)
	guardMetric  = prometheus.NewDesc("caddy_llm_rollout_guard_value", "What a guard has measured of the candidate against stable, with the always-valid interval around it and the threshold.", []string{"route", "guard", "bound"}, nil)
	resultMetric = prometheus.NewDesc("caddy_llm_rollout_guard_outcome", "1 for the outcome that a guard has come to.", []string{"route", "guard", "outcome"}, nil)
	storedMetric = prometheus.NewDesc("caddy_llm_rollout_persisted", "1 when the rollout's status is stored, 0 when it is in force but not stored yet.", []string{"route"}, nil)
)

// Describe is part of prometheus.Collector.
func (t *Table) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{weightMetric, phaseMetric, stepMetric, stepsMetric, unitsMetric, guardMetric, resultMetric, storedMetric} {
		ch <- d
	}
}

// Collect is part of prometheus.Collector.
func (t *Table) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	if !t.attached.Load() {
		return
	}
	for _, r := range t.Routes {
		for i, w := range r.split.Load().weights {
			gauge(weightMetric, float64(w)/hundred, r.Name, r.variants[i].Name)
		}
		if r.rollout == nil {
			continue
		}
		s := r.rollout.state()
		gauge(phaseMetric, 1, r.Name, string(s.Phase))
		gauge(stepMetric, float64(s.Step), r.Name)
		gauge(stepsMetric, float64(s.Steps), r.Name)
		stored := 0.0
		if s.Persisted {
			stored = 1
		}
		gauge(storedMetric, stored, r.Name)
		for variant, n := range s.Units {
			gauge(unitsMetric, float64(n), r.Name, variant)
		}
		for i := range s.Guards {
			collectGuard(gauge, r.Name, &s.Guards[i])
		}
	}
}

func collectGuard(gauge func(*prometheus.Desc, float64, ...string), route string, g *rollout.GuardStatus) {
	gauge(resultMetric, 1, route, g.Name, string(g.Outcome))
	for _, b := range []struct {
		bound string
		value *float64
	}{{"value", g.Value}, {"low", g.Low}, {"high", g.High}, {"threshold", g.Threshold}} {
		if b.value != nil {
			gauge(guardMetric, *b.value, route, g.Name, b.bound)
		}
	}
}

// Interface guards
var _ prometheus.Collector = (*Table)(nil)
