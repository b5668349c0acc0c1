//go:build linux

package tracing

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
)

// threadTime is the CPU time of the writer's thread, the system's part included.
func threadTime(b *testing.B, s *Store) time.Duration {
	const rusageThread = 1
	var u syscall.Rusage
	err := s.do(context.Background(), func() error {
		runtime.LockOSThread()
		return syscall.Getrusage(rusageThread, &u)
	})
	if err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchmarkWriter stores n records a flush and reports the CPU time of each,
// parsing, compressing, SQLite and system calls included.
func benchmarkWriter(b *testing.B, c Config, stream bool) {
	s := openStore(b, Options{FlushInterval: time.Hour})
	rec := newRecorder(b, s, c)
	random := rand.New(rand.NewPCG(1, 2))
	now := time.Now().UTC()
	var spent time.Duration
	var allocated uint64
	var bytes int64
	n := 0
	for b.Loop() {
		batch := make([]*Record, flushRecords)
		for i := range batch {
			n++
			r := sampleRecord(b, random, now.Add(time.Duration(n)*time.Millisecond), n)
			if stream {
				streamed(r, random)
			}
			bytes += int64(len(r.Call.Body) + len(r.Response))
			batch[i] = r
		}
		runtime.GC() // so that the garbage of making records is not counted
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		start := threadTime(b, s)
		for _, r := range batch {
			rec.Offer(r)
		}
		spent += threadTime(b, s) - start // when everything is stored
		runtime.ReadMemStats(&after)
		allocated += after.TotalAlloc - before.TotalAlloc
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(spent.Nanoseconds())/1e3/float64(n), "µs-cpu/record")
	b.ReportMetric(float64(allocated)/float64(n), "B/record")
	b.ReportMetric(float64(bytes)/float64(n), "payload-B/record")
	if c := s.Counters(); c.Written != int64(n) {
		b.Fatalf("%+v, want %d written", c, n)
	}
	files, _ := filepath.Glob(filepath.Join(s.Dir(), "*"))
	var size int64
	for _, f := range files {
		if info, err := os.Stat(f); err == nil && !strings.HasSuffix(f, "-wal") {
			size += info.Size()
		}
	}
	b.ReportMetric(float64(size)/float64(n), "disk-B/record")
}

// streamed turns the record's answer into a stream of some forty events.
func streamed(r *Record, random *rand.Rand) {
	var b strings.Builder
	id := r.Call.ID[:20]
	for i := range 14 {
		fmt.Fprintf(&b, `data: {"id":"chatcmpl-%s","object":"chat.completion.chunk","created":1700000000,"model":"gpt-4o-mini","service_tier":"default","system_fingerprint":"fp_44added55e","choices":[{"index":0,"delta":{"content":"%s"},"logprobs":null,"finish_reason":null}]}`+"\n\n", id, prose(random, 4+i%7))
	}
	fmt.Fprintf(&b, `data: {"id":"chatcmpl-%s","object":"chat.completion.chunk","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n", id)
	call.FreeBuffer(r.Response)
	r.Response = append(call.Buffer(b.Len()), b.String()...)
	r.EventStream = true
}

func BenchmarkWriter(b *testing.B) {
	b.Run("full", func(b *testing.B) { benchmarkWriter(b, Config{}, false) })
	b.Run("stream", func(b *testing.B) { benchmarkWriter(b, Config{}, true) })
	b.Run("metadata", func(b *testing.B) { benchmarkWriter(b, Config{Capture: "metadata"}, false) })
	b.Run("redact", func(b *testing.B) { benchmarkWriter(b, Config{Redact: []string{"ssn", `\b\d{5}\b`}}, false) })
}

// BenchmarkQuery reads a store of a million traces, which it makes first:
// FRONTIER_TRACES=/some/dir keeps it for the next time.
func BenchmarkQuery(b *testing.B) {
	dir := os.Getenv("FRONTIER_TRACES")
	if dir == "" {
		b.Skip("set FRONTIER_TRACES to a directory for a million traces")
	}
	s, err := Open(dir, nil, Options{FlushInterval: time.Hour, MaxDisk: 1 << 40, Retain: 1000 * 24 * time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	base := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	fill(b, s, base, 1_000_000)
	ctx := context.Background()
	end := base.Add(24 * time.Hour)
	for _, q := range []struct {
		name string
		f    Filter
	}{
		{"newest", Filter{}},
		{"newest/route", Filter{Route: "sentiment", Variant: "stable"}},
		{"one-in-many/user", Filter{User: "user-777"}},
		{"one-in-many/session", Filter{Session: "session-4242"}},
		{"one-in-many/tag", Filter{Tags: map[string]string{"request": "77777"}}},
		{"one-in-many/status", Filter{Status: "cancelled"}},
		{"none/user", Filter{User: "nobody"}},
		{"text/none", Filter{Text: "a text that nobody has written"}},
	} {
		b.Run(q.name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Query(ctx, q.f); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("stats/300k", func(b *testing.B) {
		var n int64
		for b.Loop() {
			st, err := s.Stats(ctx, ByVariant, Filter{Since: end.Add(-24 * time.Hour * 3 / 10), Until: end})
			if err != nil {
				b.Fatal(err)
			}
			n = 0
			for _, i := range st.Items {
				n += i.Requests
			}
		}
		b.ReportMetric(float64(n), "traces")
	})
	b.Run("stats/1M", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Stats(ctx, ByVariant, Filter{Since: base, Until: end}); err != nil {
				b.Fatal(err)
			}
		}
	})
	p, err := s.Query(ctx, Filter{Limit: 1})
	if err != nil {
		b.Fatal(err)
	}
	b.Run("trace", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Trace(ctx, p.Items[0].ID); err != nil {
				b.Fatal(err)
			}
		}
	})
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	b.Logf("Go heap in use %d MiB", m.HeapInuse>>20)
}

// fill makes traces of one day until there are n.
func fill(b *testing.B, s *Store, base time.Time, n int) {
	st, err := s.Stats(context.Background(), ByRoute, Filter{Since: base, Until: base.Add(24 * time.Hour)})
	if err != nil {
		b.Fatal(err)
	}
	have := 0
	for _, i := range st.Items {
		have += int(i.Requests)
	}
	rec := newRecorder(b, s, Config{})
	random := rand.New(rand.NewPCG(3, 4))
	step := 24 * time.Hour / time.Duration(n)
	var pool []*Record
	for range 512 {
		pool = append(pool, sampleRecord(b, random, base, 0))
	}
	start := time.Now()
	for i := have; i < n; i++ {
		from := pool[random.IntN(len(pool))]
		at := base.Add(time.Duration(i) * step)
		c := *from.Call
		c.ID, c.Started = idAt(at, i), at
		c.User, c.Session = fmt.Sprintf("user-%d", random.IntN(20000)), fmt.Sprintf("session-%d", random.IntN(200000))
		c.Tags = map[string]string{"env": "prod", "request": fmt.Sprint(i)}
		c.Variant = []string{"stable", "candidate"}[random.IntN(2)]
		if random.IntN(100_000) == 0 {
			c.Status = call.StatusCancelled
		}
		r := NewRecord(&c)
		r.HTTPStatus, r.Status = 200, c.Status
		r.Duration = time.Duration(math.Exp(random.NormFloat64())*800) * time.Millisecond
		r.Response = append(call.Buffer(len(from.Response)), from.Response...)
		rec.Offer(r)
		if i%flushRecords == flushRecords-1 {
			syncStore(b, s)
		}
	}
	syncStore(b, s)
	if n > have {
		b.Logf("stored %d traces in %s", n-have, time.Since(start).Round(time.Millisecond))
	}
}
