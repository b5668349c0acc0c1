package export

import (
	"bytes"
	"io"
	"net/http"
	"path/filepath"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/tracing"
)

// nowhere answers every request with success, and counts bytes.
type nowhere struct{ bytes int64 }

func (n *nowhere) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Body != nil {
		size, _ := io.Copy(io.Discard, r.Body)
		n.bytes += size
	}
	answer := `{"experiment":{"experiment_id":"1"}}`
	if r.Header.Get("Content-Type") == "application/x-protobuf" {
		answer = ""
	}
	return &http.Response{StatusCode: http.StatusOK, Body: io.NopCloser(bytes.NewBufferString(answer)), Request: r}, nil
}

// BenchmarkExport reads traces from the store and exports them, all but the
// system calls of sending. Each trace has two attempts.
func BenchmarkExport(b *testing.B) {
	dir := b.TempDir()
	store := openStore(b, filepath.Join(dir, "traces"))
	follower, err := store.Follow(b.Context(), nil)
	if err != nil {
		b.Fatal(err)
	}
	begin := follower.Positions()
	follower.Stop()
	recorder := newRecorder(b, store, tracing.Config{})
	for range 20 {
		for range 100 {
			offer(b, recorder)
		}
		syncStore(b, store)
	}
	sink := new(nowhere)
	m := &MLflow{URL: "http://mlflow:5000", Experiment: "x"}
	if err := m.Provision(caddy.Context{}); err != nil {
		b.Fatal(err)
	}
	m.server.HTTP.Transport = sink
	o := otlp(b, "http://collector:4318")
	o.client.http.Transport = sink
	on := otlp(b, "http://collector:4318")
	on.content, on.client.http.Transport = true, sink
	for name, e := range map[string]tracing.Exporter{"mlflow": m, "otlp": o, "otlp_content": on} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			sink.bytes = 0
			n := 0
			f, err := store.Follow(b.Context(), begin)
			if err != nil {
				b.Fatal(err)
			}
			defer func() { f.Stop() }()
			for n < b.N {
				batch, err := f.Next(b.Context(), batchTraces, batchBytes)
				if err != nil {
					b.Fatal(err)
				}
				if batch == nil {
					f.Stop()
					if f, err = store.Follow(b.Context(), begin); err != nil {
						b.Fatal(err)
					}
					continue
				}
				if err := e.Export(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
				f.Done(batch)
				n += batch.Len()
			}
			b.ReportMetric(float64(sink.bytes)/float64(n), "bytes/op")
		})
	}
}
