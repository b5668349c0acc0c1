package export

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"time"

	"github.com/klauspost/compress/gzip"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/caddy-frontier/frontier/internal/mlflow"
	"github.com/caddy-frontier/frontier/tracing"
)

// client sends requests to one server. It is for one goroutine, but for do.
type client struct {
	http    *http.Client
	headers http.Header
	timeout time.Duration

	message []byte
	packed  bytes.Buffer
	zip     *gzip.Writer
}

func newClient(h *http.Client, headers http.Header, timeout time.Duration) *client {
	zip, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // a valid level
	return &client{http: h, headers: headers, timeout: timeout, zip: zip}
}

// do sends a request and returns the body of a good answer.
func (c *client) do(ctx context.Context, method, url string, header http.Header, body []byte) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	maps.Copy(r.Header, header)
	maps.Copy(r.Header, c.headers)
	resp, err := c.http.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, 32<<20))
	if err != nil {
		return nil, fmt.Errorf("reading the answer of %s: %w", r.URL.Redacted(), err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return nil, mlflow.NewError(r.URL.Redacted(), resp.StatusCode, answer)
	}
	return answer, nil
}

// statusOf returns the status of an answer that is no success, 0 when there was none.
func statusOf(err error) int {
	if e, ok := errors.AsType[*mlflow.Error](err); ok {
		return e.Status
	}
	return 0
}

// post sends the spans as one OTLP request. What the receiver says that it did
// not take is returned; it must not be sent again.
func (c *client) post(ctx context.Context, url string, header http.Header, compress bool, resource *resourcepb.Resource, spans []*tracepb.Span) (*collector.ExportTracePartialSuccess, error) {
	message := &collector.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource:   resource,
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: "github.com/caddy-frontier/frontier"}, Spans: spans}},
	}}}
	var err error
	if c.message, err = (proto.MarshalOptions{}).MarshalAppend(c.message[:0], message); err != nil {
		return nil, &tracing.RejectedError{Err: err}
	}
	body := c.message
	header = header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Content-Type", "application/x-protobuf")
	if compress {
		c.packed.Reset()
		c.zip.Reset(&c.packed)
		_, _ = c.zip.Write(body) // to memory
		_ = c.zip.Close()
		body = c.packed.Bytes()
		header.Set("Content-Encoding", "gzip")
	}
	answer, err := c.do(ctx, http.MethodPost, url, header, body)
	switch statusOf(err) {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnprocessableEntity:
		return nil, &tracing.RejectedError{Err: err}
	}
	if err != nil {
		return nil, err
	}
	var taken collector.ExportTraceServiceResponse
	if proto.Unmarshal(answer, &taken) != nil { // it was a success all the same
		return nil, nil
	}
	return taken.GetPartialSuccess(), nil
}
