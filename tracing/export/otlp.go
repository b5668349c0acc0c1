package export

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/mlflow"
	"github.com/caddy-frontier/frontier/tracing"
)

func init() { caddy.RegisterModule(new(OTLP)) }

// OTLP exports traces to an OpenTelemetry collector, or to anything else that
// takes OTLP over HTTP with protobuf, under the names of OpenTelemetry's
// conventions for generative AI.
//
// A call is a span of kind server, with one of kind client below it for each
// attempt at a provider; models, tokens and costs are with the attempts. When
// the client sent a W3C traceparent, the call is part of the client's trace,
// below the span that made it; else it is a trace of its own, whose id is that
// of the trace here. `frontier.trace_id` has the latter in any case. What is
// recorded is exported: the traceparent's sampled flag decides nothing.
//
// These environment variables of OpenTelemetry are honoured where the
// configuration says nothing: OTEL_EXPORTER_OTLP_TRACES_ENDPOINT and
// OTEL_EXPORTER_OTLP_ENDPOINT, and likewise …_HEADERS, …_TIMEOUT,
// …_COMPRESSION, …_PROTOCOL, …_CERTIFICATE, …_CLIENT_CERTIFICATE and
// …_CLIENT_KEY; OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES,
// OTEL_SDK_DISABLED, OTEL_SEMCONV_STABILITY_OPT_IN
// (`gen_ai_latest_experimental`), and OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT.
//
// What cannot be delivered waits in the trace store for as long as that keeps
// traces, and is delivered later, over restarts and reloads. If the receiver
// took a request but its answer was lost, the same spans come again under the same ids.
type OTLP struct {
	// The receiver, such as `http://127.0.0.1:4318`; `/v1/traces` is added
	// unless it ends so. Placeholders are replaced. Default: OpenTelemetry's
	// environment variables, else `http://localhost:4318`.
	URL string `json:"url,omitempty"`
	// Header fields of the requests, for example for authentication. Placeholders are replaced.
	Header map[string]string `json:"header,omitempty"`
	// How long one request may take. Default: 10s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Whether the messages of requests and answers are exported, as far as they
	// are recorded. Default: false.
	Content *bool `json:"content,omitempty"`
	// Which names the attributes have: `latest` (semantic-conventions-genai
	// 0.1.0), `legacy` (semantic conventions 1.36 and before), or `both`. Default: `latest`.
	Semconv string `json:"semconv,omitempty"`

	url      string
	gzip     bool
	content  bool
	disabled bool
	resource *resourcepb.Resource
	client   *client
	log      *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (*OTLP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.trace_exporters.otlp", New: func() caddy.Module { return new(OTLP) }}
}

// Provision completes the configuration by the environment.
func (o *OTLP) Provision(ctx caddy.Context) error {
	o.log = ctx.Logger()
	return o.provision(os.Getenv)
}

func (o *OTLP) provision(env environment) (err error) {
	if o.url, err = o.endpoint(env); err != nil {
		return err
	}
	repl := caddy.NewReplacer()
	if o.url, err = repl.ReplaceOrErr(o.url, true, true); err != nil {
		return fmt.Errorf("%w; set it where Caddy runs", err)
	}
	u, err := mlflow.ParseURL(o.url)
	if err != nil {
		return err
	}
	o.url = u.String()
	headers, err := mlflow.ResolveHeader(repl, o.Header)
	if err != nil {
		return err
	}
	if err := env.headers(headers); err != nil {
		return err
	}
	timeout := time.Duration(o.Timeout)
	if timeout == 0 {
		if timeout, err = env.timeout(); err != nil {
			return err
		}
	}
	if o.gzip, err = env.compression(); err != nil {
		return err
	}
	var trust *tls.Config
	if trust, err = env.tls(); err != nil {
		return err
	}
	switch o.Semconv = cmp.Or(o.Semconv, env.semconv()); o.Semconv {
	case namesLatest, namesLegacy, namesBoth:
	default:
		return fmt.Errorf("semconv %q: want latest, legacy or both", o.Semconv)
	}
	o.content = env.content()
	if o.Content != nil {
		o.content = *o.Content
	}
	o.disabled = env.disabled()
	if o.resource, err = env.resource(); err != nil {
		return err
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = trust
	o.client = newClient(&http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, headers, timeout)
	return nil
}

// endpoint is where spans go.
func (o *OTLP) endpoint(env environment) (string, error) {
	base := o.URL
	if base == "" {
		whole, general, err := env.endpoint()
		if err != nil || whole != "" {
			return whole, err
		}
		base = cmp.Or(general, "http://localhost:4318")
	}
	base = strings.TrimRight(base, "/")
	if strings.HasSuffix(base, "/v1/traces") {
		return base, nil
	}
	return base + "/v1/traces", nil
}

// Destination implements tracing.Exporter.
func (o *OTLP) Destination() string { return "otlp " + o.url }

// UnmarshalCaddyfile sets up the exporter. Syntax:
//
//	export otlp [<url>] {
//		header <name> <value>
//		timeout <duration>
//		content on|off
//		semconv latest|legacy|both
//	}
func (o *OTLP) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	return unmarshal(d, &o.URL, &o.Header, &o.Timeout, map[string]func(string) error{
		"content": func(v string) error {
			on := v == "on"
			if o.Content = &on; !on && v != "off" {
				return fmt.Errorf("%q: want on or off", v)
			}
			return nil
		},
		"semconv": func(v string) error {
			if o.Semconv = v; v != namesLatest && v != namesLegacy && v != namesBoth {
				return fmt.Errorf("%q: want latest, legacy or both", v)
			}
			return nil
		},
	})
}

// Export implements tracing.Exporter. Conventions have no place for feedback
// on a call that is over, so it is not exported.
func (o *OTLP) Export(ctx context.Context, b *tracing.Batch) error {
	if o.disabled || len(b.Traces) == 0 {
		return nil
	}
	left, err := o.client.post(ctx, o.url, nil, o.gzip, o.resource, o.spans(b))
	if n := left.GetRejectedSpans(); n > 0 || left.GetErrorMessage() != "" {
		o.log.Warn("the receiver did not take all spans", zap.Int64("spans", n), zap.String("message", left.GetErrorMessage()))
	}
	return err
}

func (o *OTLP) spans(b *tracing.Batch) []*tracepb.Span {
	spans := make([]*tracepb.Span, 0, 2*len(b.Traces))
	for i := range b.Traces {
		t := &b.Traces[i]
		id, parent := traceContext(t)
		start, end := times(t.StartedAt.Time, t.DurationMS)
		root := &tracepb.Span{
			TraceId: id, SpanId: rootID(t), ParentSpanId: parent, Name: "llm " + nameOf(t), Kind: tracepb.Span_SPAN_KIND_SERVER,
			StartTimeUnixNano: start, EndTimeUnixNano: end, Attributes: o.root(t), Status: statusOfTrace(t),
		}
		spans = append(spans, root)
		for n := range t.Spans {
			s := &t.Spans[n]
			start, end := times(s.StartedAt.Time, s.DurationMS)
			status, events := statusOfAttempt(s)
			spans = append(spans, &tracepb.Span{
				TraceId: id, SpanId: attemptID(t, n), ParentSpanId: rootID(t), Name: operation(t.Front) + " " + deref(s.Model), Kind: tracepb.Span_SPAN_KIND_CLIENT,
				StartTimeUnixNano: start, EndTimeUnixNano: end, Attributes: o.attempt(t, n), Status: status, Events: events,
			})
		}
	}
	return spans
}

// root has what is about the call as a whole, but no usage: it is with the
// attempts, and would be counted twice.
func (o *OTLP) root(t *tracing.Trace) attributes {
	a := make(attributes, 0, 24)
	a.text("frontier.trace_id", t.ID)
	a.text("frontier.route", deref(t.Route))
	a.text("frontier.variant", deref(t.Variant))
	a.text("frontier.assignment", deref(t.Assignment))
	a.text("frontier.requested_model", deref(t.RequestedModel))
	a.text("frontier.prompt", promptOf(t))
	a.text("frontier.status", t.Status)
	a.text("frontier.key", deref(t.Key))
	a.text("frontier.damaged", t.Damaged)
	a.text("error.type", deref(t.ErrorClass))
	a.text("session.id", deref(t.Session))
	a.text("user.id", deref(t.User))
	for k, v := range t.Tags {
		a.text("frontier.tag."+k, v)
	}
	if t.HTTPStatus != nil {
		a.number("http.response.status_code", int64(*t.HTTPStatus))
	}
	if o.content && len(t.Spans) == 0 {
		content(&a, t, o.Semconv)
	}
	return a
}

func (o *OTLP) attempt(t *tracing.Trace, n int) attributes {
	s := &t.Spans[n]
	a := make(attributes, 0, 32)
	genai(&a, t, s, answered(t, n), o.Semconv)
	a.text("session.id", deref(t.Session))
	a.text("user.id", deref(t.User))
	if s.CostUSD != nil { // proposed for the conventions: open-telemetry/semantic-conventions-genai#443
		a.float("gen_ai.usage.cost.amount", *s.CostUSD)
		a.text("gen_ai.usage.cost.currency", "USD")
		a.text("gen_ai.usage.cost.source", "local")
	}
	if s.HTTPStatus != nil {
		a.number("http.response.status_code", int64(*s.HTTPStatus))
	}
	a.text("frontier.variant", deref(s.Variant))
	a.text("frontier.upstream_request_id", deref(s.UpstreamRequestID))
	if o.content && n == len(t.Spans)-1 {
		content(&a, t, o.Semconv)
	}
	return a
}

// Interface guards
var (
	_ tracing.Exporter      = (*OTLP)(nil)
	_ caddy.Provisioner     = (*OTLP)(nil)
	_ caddyfile.Unmarshaler = (*OTLP)(nil)
)
