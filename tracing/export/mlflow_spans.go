package export

import (
	"encoding/json"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/caddy-frontier/frontier/tracing"
)

// What MLflow takes at most; more of a session would have it refuse the whole batch.
const (
	mlflowMaxSession = 250
	mlflowMaxTagKey  = 250
)

var mlflowResource = sync.OnceValue(func() *resourcepb.Resource {
	var a attributes
	a.text("service.name", "frontier")
	return &resourcepb.Resource{Attributes: a}
})

// mlflowSpans are the traces as MLflow reads them: the root has what the client
// sent and got, and everything about the trace; each attempt is a child with
// model, tokens and cost. The root has no tokens: MLflow would take them for a sum.
func mlflowSpans(b *tracing.Batch) []*tracepb.Span {
	spans := make([]*tracepb.Span, 0, 2*len(b.Traces))
	for i := range b.Traces {
		t := &b.Traces[i]
		start, end := times(t.StartedAt.Time, t.DurationMS)
		spans = append(spans, &tracepb.Span{
			TraceId: rawID(t), SpanId: rootID(t), Name: nameOf(t), Kind: tracepb.Span_SPAN_KIND_SERVER,
			StartTimeUnixNano: start, EndTimeUnixNano: end, Attributes: mlflowRoot(b, t), Status: statusOfTrace(t),
		})
		for n := range t.Spans {
			s := &t.Spans[n]
			start, end := times(s.StartedAt.Time, s.DurationMS)
			status, events := statusOfAttempt(s)
			spans = append(spans, &tracepb.Span{
				TraceId: rawID(t), SpanId: attemptID(t, n), ParentSpanId: rootID(t), Name: modelOf(s), Kind: tracepb.Span_SPAN_KIND_CLIENT,
				StartTimeUnixNano: start, EndTimeUnixNano: end, Attributes: mlflowAttempt(t, n), Status: status, Events: events,
			})
		}
	}
	return spans
}

const mlflowTag = "mlflow.traceTag."

func mlflowRoot(b *tracing.Batch, t *tracing.Trace) attributes {
	a := make(attributes, 0, 32)
	a.text("mlflow.spanType", "CHAIN")
	a.content(t)
	a.text("mlflow.llm.model", deref(t.Model)) // not the name that the client asked for
	a.text("session.id", cutText(deref(t.Session), mlflowMaxSession))
	a.text("user.id", cutText(deref(t.User), mlflowMaxSession))
	a.text(mlflowTag+"mlflow.traceName", nameOf(t))
	if t.Prompt != nil {
		link, _ := json.Marshal([]map[string]string{{"name": t.Prompt.Name, "version": mlflowVersion(b, t.Prompt)}})
		a.text(mlflowTag+"mlflow.linkedPrompts", string(link))
	}
	a.text(mlflowTag+"frontier.route", deref(t.Route))
	a.text(mlflowTag+"frontier.variant", deref(t.Variant))
	a.text(mlflowTag+"frontier.assignment", deref(t.Assignment))
	if t.Provider != nil {
		a.text(mlflowTag+"frontier.model", *t.Provider+"/"+deref(t.Model))
	}
	a.text(mlflowTag+"frontier.prompt", promptOf(t))
	a.text(mlflowTag+"frontier.status", t.Status)
	a.text(mlflowTag+"frontier.key", deref(t.Key))
	a.text(mlflowTag+"frontier.w3c_trace_id", deref(t.W3CTraceID))
	for k, v := range t.Tags {
		if len(k) <= mlflowMaxTagKey && !strings.HasPrefix(k, "mlflow.") { // those steer MLflow itself
			a.text(mlflowTag+k, v)
		}
	}
	a.text("frontier.requested_model", deref(t.RequestedModel))
	a.text("frontier.error_class", deref(t.ErrorClass))
	a.text("frontier.conversation", deref(t.Conversation))
	a.text("frontier.damaged", t.Damaged)
	a.texts("frontier.adjustments", t.Adjustments...)
	if t.HTTPStatus != nil {
		a.number("http.response.status_code", int64(*t.HTTPStatus))
	}
	if t.TTFTMS != nil {
		a.float("frontier.ttft_ms", *t.TTFTMS)
	}
	if t.Truncated {
		a.truth("frontier.truncated", true)
	}
	return a
}

// content adds inputs and outputs, as far as they were recorded.
func (a *attributes) content(t *tracing.Trace) {
	if present(t.Request) {
		a.text("mlflow.spanInputs", string(t.Request))
	}
	if present(t.Response) {
		a.text("mlflow.spanOutputs", string(t.Response))
	}
}

func mlflowAttempt(t *tracing.Trace, n int) attributes {
	s := &t.Spans[n]
	a := make(attributes, 0, 32)
	last := answered(t, n)
	a.text("mlflow.spanType", spanType(t.Front))
	genai(&a, t, s, last, namesLatest)
	if s.CostUSD != nil {
		a.text("mlflow.llm.cost", `{"total_cost":`+strconv.FormatFloat(*s.CostUSD, 'g', -1, 64)+`}`)
	}
	switch {
	case !last:
	case t.Prompt == nil:
		a.content(t)
	default: // what the provider got is the rendering of that version
		if len(t.Variables) > 0 {
			in, _ := json.Marshal(map[string]any{"prompt": "prompts:/" + promptOf(t), "variables": t.Variables})
			a.text("mlflow.spanInputs", string(in))
		}
		if present(t.Response) {
			a.text("mlflow.spanOutputs", string(t.Response))
		}
	}
	a.text("frontier.variant", deref(s.Variant))
	a.text("frontier.upstream_request_id", deref(s.UpstreamRequestID))
	if s.HTTPStatus != nil {
		a.number("http.response.status_code", int64(*s.HTTPStatus))
	}
	return a
}

// spanType is sent beside gen_ai.operation.name, which MLflow shows but does not search by.
func spanType(front string) string {
	switch front {
	case "completions":
		return "LLM"
	case "embeddings":
		return "EMBEDDING"
	}
	return "CHAT_MODEL"
}

// cutText cuts between characters.
func cutText(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}
