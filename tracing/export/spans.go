package export

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/caddy-frontier/frontier/tracing"
)

// attributes are a span's. What is not known is left out.
type attributes []*commonpb.KeyValue

func (a *attributes) add(key string, v *commonpb.AnyValue) {
	*a = append(*a, &commonpb.KeyValue{Key: key, Value: v})
}

func (a *attributes) text(key, v string) {
	if v != "" {
		a.add(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}})
	}
}

func (a *attributes) number(key string, v int64) {
	a.add(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: v}})
}

func (a *attributes) float(key string, v float64) {
	a.add(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: v}})
}

func (a *attributes) truth(key string, v bool) {
	a.add(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: v}})
}

func (a *attributes) texts(key string, list ...string) {
	if len(list) == 0 {
		return
	}
	values := &commonpb.ArrayValue{}
	for _, s := range list {
		values.Values = append(values.Values, &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}})
	}
	a.add(key, &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: values}})
}

// ids of a trace's spans follow from its id, so that a trace that is sent
// again is the same to the receiver.
func rawID(t *tracing.Trace) []byte {
	raw, err := hex.DecodeString(t.ID)
	if err != nil || len(raw) != 16 {
		return make([]byte, 16)
	}
	return raw
}

// rootID is the random half of the trace's id.
func rootID(t *tracing.Trace) []byte { return rawID(t)[8:] }

func attemptID(t *tracing.Trace, n int) []byte {
	id := binary.BigEndian.AppendUint64(nil, max(xxhash.Sum64String(t.ID+"/"+strconv.Itoa(n)), 1))
	return id
}

// traceContext is where the trace belongs: to the caller's trace, when there is
// one, else to one of its own.
func traceContext(t *tracing.Trace) (id, parent []byte) {
	if t.W3CTraceID == nil || t.W3CSpanID == nil {
		return rawID(t), nil
	}
	id, err := hex.DecodeString(*t.W3CTraceID)
	parent, err2 := hex.DecodeString(*t.W3CSpanID)
	if err != nil || err2 != nil || len(id) != 16 || len(parent) != 8 {
		return rawID(t), nil
	}
	return id, parent
}

func times(start time.Time, ms float64) (from, to uint64) {
	return uint64(start.UnixNano()), uint64(start.Add(time.Duration(ms * float64(time.Millisecond))).UnixNano())
}

// statusOfTrace is an error for answers that failed or broke off. A client
// that went away is neither an error nor a success.
func statusOfTrace(t *tracing.Trace) *tracepb.Status {
	switch t.Status {
	case "ok":
		return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK}
	case "error", "cut":
		message := deref(t.Message)
		if message == "" {
			message = deref(t.ErrorClass)
		}
		return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: message}
	}
	return nil
}

func statusOfAttempt(s *tracing.Span) (*tracepb.Status, []*tracepb.Span_Event) {
	if s.ErrorClass == nil {
		return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_OK}, nil
	}
	var e attributes
	e.text("exception.type", *s.ErrorClass)
	e.text("exception.message", deref(s.Message))
	_, end := times(s.StartedAt.Time, s.DurationMS)
	return &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: deref(s.Message)},
		[]*tracepb.Span_Event{{Name: "exception", TimeUnixNano: end, Attributes: e}}
}

// answered reports whether the attempt is the one whose answer the client got.
func answered(t *tracing.Trace, n int) bool {
	s := &t.Spans[n]
	return n == len(t.Spans)-1 && s.HTTPStatus != nil && *s.HTTPStatus < 300
}

// nameOf is what a trace is called: its route, else the endpoint that was called.
func nameOf(t *tracing.Trace) string {
	if t.Route != nil {
		return *t.Route
	}
	return t.Front
}

func modelOf(s *tracing.Span) string {
	if s.Provider == nil {
		return deref(s.Model)
	}
	return *s.Provider + "/" + deref(s.Model)
}

func promptOf(t *tracing.Trace) string {
	if t.Prompt == nil {
		return ""
	}
	return fmt.Sprintf("%s/%d", t.Prompt.Name, t.Prompt.Version)
}

func deref[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// present reports whether a body or an object of the trace is there.
func present(raw []byte) bool { return len(raw) > 0 && string(raw) != "null" }
