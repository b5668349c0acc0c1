package export

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-frontier/frontier/internal/mlflow"
	"github.com/caddy-frontier/frontier/tracing"
)

func init() { caddy.RegisterModule(new(MLflow)) }

// MLflow exports traces to an MLflow tracking server (3.5 or later): over OTLP,
// with what MLflow needs to show and find inputs, outputs, models, tokens, costs,
// sessions, users and tags; then it links each trace with its prompt version,
// and adds the feedback that comes later. The trace's id in MLflow is `tr-` and
// the id here, so that a trace that is sent twice is there once.
//
// A trace has the tags `frontier.route`, `frontier.variant`,
// `frontier.assignment`, `frontier.model`, `frontier.prompt`, `frontier.status`,
// and the call's own tags.
//
// As MLflow's own clients do, it takes credentials from the environment
// variables MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or
// MLFLOW_TRACKING_TOKEN, unless a header Authorization is configured.
//
// What cannot be delivered waits in the trace store for as long as that keeps
// traces, and is delivered later, over restarts and reloads.
type MLflow struct {
	// The tracking server, such as `http://127.0.0.1:5000`. Placeholders are
	// replaced. Default: the environment variable MLFLOW_TRACKING_URI.
	URL string `json:"url,omitempty"`
	// The name of the experiment that gets the traces. It is created when it is
	// not there, and restored when it is deleted. Default: the environment
	// variable MLFLOW_EXPERIMENT_NAME, else `frontier`.
	Experiment string `json:"experiment,omitempty"`
	// Header fields of the requests, for example for authentication.
	// Placeholders are replaced.
	Header map[string]string `json:"header,omitempty"`
	// How long one request may take. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	server     *mlflow.Server
	client     *client
	experiment string // its id; "": not yet known
	checked    time.Time
	sent       *tracing.Batch
	done       int // links of sent that are made, or feedbacks
}

// checkExperiment is how often it is looked whether the experiment is there.
const checkExperiment = time.Minute

// parallelLinks is how many prompt links are under way at once: MLflow takes
// one in a request.
const parallelLinks = 4

// CaddyModule returns the Caddy module information.
func (*MLflow) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.trace_exporters.mlflow", New: func() caddy.Module { return new(MLflow) }}
}

// Provision resolves the address and the headers.
func (m *MLflow) Provision(caddy.Context) error {
	m.Experiment = cmp.Or(m.Experiment, os.Getenv("MLFLOW_EXPERIMENT_NAME"), "frontier")
	var err error
	if m.server, err = mlflow.New(m.URL, m.Header, time.Duration(m.Timeout)); err != nil {
		return err
	}
	m.client = newClient(m.server.HTTP, m.server.Header, cmp.Or(time.Duration(m.Timeout), 30*time.Second))
	return nil
}

// Destination implements tracing.Exporter.
func (m *MLflow) Destination() string { return "mlflow " + m.server.URL + " " + m.Experiment }

// UnmarshalCaddyfile sets up the exporter. Syntax:
//
//	export mlflow [<url>] {
//		experiment <name>
//		header <name> <value>
//		timeout <duration>
//	}
func (m *MLflow) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshal(d, &m.URL, &m.Header, &m.Timeout, map[string]func(string) error{
		"experiment": func(v string) error { m.Experiment = v; return nil },
	})
}

// unmarshal reads what the exporters' blocks have in common, and options with
// one value.
func unmarshal(d *caddyfile.Dispenser, address *string, header *map[string]string, timeout *caddy.Duration, options map[string]func(string) error) error {
	d.Next()
	name := d.Val()
	if d.NextArg() {
		*address = d.Val()
	}
	if d.NextArg() {
		return d.Errf("wrong arguments for export %s; want: export %s [<url>] { … }", name, name)
	}
	seen := map[string]bool{}
	for d.NextBlock(0) {
		option := d.Val()
		args := d.RemainingArgs()
		set, known := options[option]
		if seen[option] && option != "header" {
			return d.Errf("traces export %s: %s is there twice; remove one", name, option)
		}
		seen[option] = true
		switch {
		case option == "header":
			if len(args) != 2 || args[0] == "" {
				return d.Errf("wrong arguments for header; want: header <name> <value>")
			}
			if *header == nil {
				*header = map[string]string{}
			}
			if _, twice := (*header)[args[0]]; twice {
				return d.Errf("traces export %s: header %s is there twice; remove one", name, args[0])
			}
			(*header)[args[0]] = args[1]
		case option == "timeout":
			if len(args) != 1 {
				return d.Errf("wrong arguments for timeout; want: timeout <duration>")
			}
			dur, err := caddy.ParseDuration(args[0])
			if err != nil || dur <= 0 {
				return d.Errf("traces export %s: timeout %q: want a duration above zero, such as 10s", name, args[0])
			}
			*timeout = caddy.Duration(dur)
		case known:
			if len(args) != 1 || args[0] == "" {
				return d.Errf("wrong arguments for %s; want one value", option)
			}
			if err := set(args[0]); err != nil {
				return d.Errf("traces export %s: %s %s", name, option, err)
			}
		default:
			want := append(sorted(options), "header", "timeout")
			return d.Errf("unrecognized export %s option %q; want one of: %s", name, option, strings.Join(want, ", "))
		}
	}
	return nil
}

// Export implements tracing.Exporter.
func (m *MLflow) Export(ctx context.Context, b *tracing.Batch) error {
	if len(b.Feedback) > 0 {
		return m.exportFeedback(ctx, b)
	}
	if m.sent != b {
		if err := m.exportSpans(ctx, b); err != nil {
			return err
		}
		m.sent, m.done = b, 0 // if a link fails, the spans need not be sent again
	}
	if err := m.exportLinks(ctx, b); err != nil {
		return err
	}
	m.sent = nil
	return nil
}

func (m *MLflow) exportSpans(ctx context.Context, b *tracing.Batch) error {
	// MLflow takes traces for a deleted experiment, where nobody sees them.
	if m.experiment == "" || time.Since(m.checked) > checkExperiment {
		id, err := m.server.Experiment(ctx, m.Experiment)
		if err != nil {
			return err
		}
		m.experiment, m.checked = id, time.Now()
	}
	header := http.Header{"X-Mlflow-Experiment-Id": {m.experiment}}
	_, err := m.client.post(ctx, m.server.URL+"/v1/traces", header, true, mlflowResource(), mlflowSpans(b))
	if err != nil && statusOf(err) != 0 {
		m.experiment = "" // it may have been deleted
	}
	return err
}

// exportLinks links the traces with their prompt versions, several at once.
func (m *MLflow) exportLinks(ctx context.Context, b *tracing.Batch) error {
	for m.done < len(b.Traces) {
		group := b.Traces[m.done:min(m.done+parallelLinks, len(b.Traces))]
		results := make(chan error, len(group))
		for i := range group {
			t := &group[i]
			go func() { // awaited below
				if t.Prompt == nil {
					results <- nil
					return
				}
				results <- m.server.LinkPrompt(ctx, "tr-"+t.ID, t.Prompt.Name, mlflowVersion(b, t.Prompt))
			}()
		}
		var failed error
		for range group {
			if err := <-results; err != nil {
				failed = err
			}
		}
		if failed != nil {
			return failed
		}
		m.done += len(group)
	}
	return nil
}

func mlflowVersion(b *tracing.Batch, p *tracing.Prompt) string {
	if b.PromptTags != nil {
		if v := b.PromptTags(p.Name, p.Version)[mlflow.VersionTag]; v != "" {
			return v
		}
	}
	return fmt.Sprint(p.Version)
}

// exportFeedback adds feedback to traces that are there. After a failure it
// may have been added already, so it is looked for first.
func (m *MLflow) exportFeedback(ctx context.Context, b *tracing.Batch) error {
	again := m.sent == b
	if !again {
		m.sent, m.done = b, 0
	}
	for ; m.done < len(b.Feedback); m.done++ {
		if err := m.addFeedback(ctx, &b.Feedback[m.done], again); err != nil {
			return err
		}
		again = false
	}
	m.sent = nil
	return nil
}

// addFeedback adds the feedback to its trace. A trace that MLflow does not
// have is older than the export: there is nothing to be added to.
func (m *MLflow) addFeedback(ctx context.Context, f *tracing.TraceFeedback, again bool) error {
	trace := "tr-" + f.TraceID
	if again {
		have, err := m.server.HasFeedback(ctx, trace, f.ID)
		if err != nil || have {
			return err
		}
	}
	err := m.server.AddFeedback(ctx, trace, mlflow.Feedback{ID: f.ID, Name: f.Name, Value: f.Value, Comment: f.Comment, Source: cmp.Or(f.Source, "admin"), At: f.At.Time})
	switch {
	case mlflow.NotFound(err):
		return nil
	case mlflow.Invalid(err):
		return &tracing.RejectedError{Err: err}
	}
	return err
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// Interface guards
var (
	_ tracing.Exporter      = (*MLflow)(nil)
	_ caddy.Provisioner     = (*MLflow)(nil)
	_ caddyfile.Unmarshaler = (*MLflow)(nil)
)
