// Package metrics puts figures into Caddy's own registry, which /metrics of
// the admin endpoint and the directive `metrics` publish.
//
// Names begin with caddy_llm_. Labels are what a configuration names (route,
// variant, provider, model) or words of a closed set: never a user, a session,
// a key, a prompt's text or a trace.
package metrics

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
)

// Namespace and Subsystem are those of every name.
const (
	Namespace = "caddy"
	Subsystem = "llm"
)

// Name is a metric's whole name.
func Name(name string) string { return prometheus.BuildFQName(Namespace, Subsystem, name) }

// Register adds collectors to the registry of a configuration that is being
// provisioned. Each configuration has a new registry, so it is called each
// time: with collectors that live as long as the process, whose values go on
// over reloads, or with ones of the configuration's own.
func Register(ctx caddy.Context, collectors ...prometheus.Collector) error {
	for _, c := range collectors {
		err := ctx.GetMetricsRegistry().Register(c)
		if _, already := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !already {
			return err
		}
	}
	return nil
}
