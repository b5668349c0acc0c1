package export

import (
	"fmt"
	"net/http"
	"path/filepath"
	"sync"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/tracing"
)

func otlp(t testing.TB, url string) *OTLP {
	t.Helper()
	o := &OTLP{URL: url, log: zap.NewNop()}
	if err := o.provision(func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	return o
}

// exporting is a store with exporters, as a data directory has them.
type exporting struct {
	dir      string
	store    *tracing.Store
	set      *Set
	recorder *tracing.Recorder
}

func newExporting(t testing.TB, dir string) *exporting {
	t.Helper()
	e := &exporting{dir: dir, store: openStore(t, filepath.Join(dir, "traces"))}
	e.set = NewSet(e.store, filepath.Join(dir, "exports"), nil, zap.NewNop())
	e.set.minBackoff, e.set.maxBackoff = 5*time.Millisecond, 20*time.Millisecond
	e.recorder = newRecorder(t, e.store, tracing.Config{})
	t.Cleanup(e.close)
	return e
}

func (e *exporting) close() {
	e.set.Close(100 * time.Millisecond)
	_ = e.store.Close()
}

func list(e ...tracing.Exporter) []tracing.Exporter { return e }

// While the receiver is away nothing is lost, and afterwards everything comes
// once; over restarts of the process too.
func TestOutage(t *testing.T) {
	r := newReceiver(t)
	dir := t.TempDir()
	e := newExporting(t, dir)
	e.set.Use(list(otlp(t, r.URL)))
	first := offer(t, e.recorder)
	eventually(t, "the first trace was not exported", func() bool { return r.roots()[first] })

	r.status.Store(http.StatusServiceUnavailable)
	want, batches := 1, 5
	if testing.Short() {
		batches = 1
	}
	for range 2 { // restarts
		for range batches {
			for range 1000 { // what waits to be written is bounded
				offer(t, e.recorder)
				want++
			}
			syncStore(t, e.store)
		}
		eventually(t, "no attempt failed", func() bool { return e.set.Status()[0].Error != nil })
		e.close()
		e = newExporting(t, dir)
		e.set.Use(list(otlp(t, r.URL)))
	}
	r.status.Store(0)
	eventually(t, "not all traces came", func() bool { return e.set.Status()[0].Exported == int64(want-1) })
	if n := len(r.roots()); n != want || r.twice > 0 {
		t.Errorf("%d traces came, want %d; %d spans came twice", n, want, r.twice)
	}
	if s := e.set.Status(); len(s) != 1 || s[0].Exported != int64(want-1) || s[0].Error != nil {
		t.Errorf("status %+v", s)
	}
}

// A trace that the receiver never accepts does not hold up the others.
func TestRefusedTrace(t *testing.T) {
	r := newReceiver(t)
	e := newExporting(t, t.TempDir())
	r.refuse = func(s *tracepb.Span) bool { return attribute(s, "frontier.tag.poison") != nil }
	e.set.Use(list(otlp(t, r.URL)))
	for n := range 100 {
		offer(t, e.recorder, func(c *call.Call, _ http.Header) {
			if c != nil && n == 40 {
				c.Tags["poison"] = "yes"
			}
		})
	}
	eventually(t, "the others were not exported", func() bool { return len(r.roots()) == 99 && e.set.Status()[0].Refused == 1 })
}

// A reload that keeps the destination keeps its runner; the last settings win.
func TestReloadKeepsDestination(t *testing.T) {
	r := newReceiver(t)
	var mu sync.Mutex
	tokens := map[string]int{}
	r.headers = func(h http.Header) {
		mu.Lock()
		defer mu.Unlock()
		tokens[h.Get("Authorization")]++
	}
	e := newExporting(t, t.TempDir())
	var before []tracing.Exporter
	want := 0
	for generation := range 5 {
		o := &OTLP{URL: r.URL, Header: map[string]string{"Authorization": fmt.Sprint("token-", generation)}, log: zap.NewNop()}
		if err := o.provision(func(string) string { return "" }); err != nil {
			t.Fatal(err)
		}
		now := list(o)
		e.set.Use(now)
		e.set.Release(before)
		before = now
		for range 50 {
			offer(t, e.recorder)
			want++
		}
		syncStore(t, e.store)
	}
	eventually(t, "not all traces came", func() bool { return len(r.roots()) == want })
	mu.Lock()
	defer mu.Unlock()
	if r.twice > 0 || tokens["token-4"] == 0 || tokens[""] > 0 {
		t.Errorf("%d spans came twice; requests by token: %v", r.twice, tokens)
	}
}

// A destination that takes the place of another of its kind gets what that one
// could not deliver, and each trace goes to one of them.
func TestReloadMovesDestination(t *testing.T) {
	old, moved := newReceiver(t), newReceiver(t)
	e := newExporting(t, t.TempDir())
	before := list(otlp(t, old.URL))
	e.set.Use(before)
	for range 40 {
		offer(t, e.recorder)
	}
	eventually(t, "not exported", func() bool { return len(old.roots()) == 40 })
	old.status.Store(http.StatusBadGateway)
	for range 40 {
		offer(t, e.recorder)
	}
	syncStore(t, e.store)
	e.set.Use(list(otlp(t, moved.URL)))
	e.set.Release(before)
	for range 40 {
		offer(t, e.recorder)
	}
	eventually(t, "not exported to where it moved", func() bool { return len(moved.roots()) == 80 })
	for id := range moved.roots() {
		if old.roots()[id] {
			t.Errorf("trace %s is in both", id)
		}
	}
	eventually(t, "the old one goes on", func() bool { return len(e.set.Status()) == 1 })
}

// A configuration that is refused after all leaves everything as it was.
func TestRefusedConfiguration(t *testing.T) {
	r, other := newReceiver(t), newReceiver(t)
	e := newExporting(t, t.TempDir())
	first := list(otlp(t, r.URL))
	e.set.Use(first)
	refused := list(otlp(t, other.URL))
	e.set.Use(refused)
	e.set.Release(refused)
	id := offer(t, e.recorder)
	eventually(t, "not exported", func() bool { return r.roots()[id] })
	eventually(t, "the refused one is still there", func() bool { return len(e.set.Status()) == 1 })
	if n := len(other.roots()); n > 0 {
		t.Errorf("%d traces went to a destination that was refused", n)
	}
	// And another reload can still move it.
	r.status.Store(http.StatusServiceUnavailable)
	id = offer(t, e.recorder)
	syncStore(t, e.store)
	e.set.Use(list(otlp(t, other.URL)))
	e.set.Release(first)
	eventually(t, "not moved", func() bool { return other.roots()[id] })
}

// A receiver that takes a request and loses its answer gets the same spans
// again, under the same ids.
func TestLostAnswer(t *testing.T) {
	r := newReceiver(t)
	lost := false
	r.taken = func(w http.ResponseWriter) {
		if !lost {
			lost = true
			panic(http.ErrAbortHandler)
		}
	}
	e := newExporting(t, t.TempDir())
	e.set.Use(list(otlp(t, r.URL)))
	id := offer(t, e.recorder)
	eventually(t, "not exported", func() bool { return e.set.Status()[0].Exported == 1 })
	if len(r.roots()) != 1 || !r.roots()[id] || len(r.spans) != 3 || r.twice != 3 {
		t.Errorf("%d spans of %d traces, %d twice", len(r.spans), len(r.roots()), r.twice)
	}
}
