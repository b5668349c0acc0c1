package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestObserveOnly puts llm_trace alone in front of a stock reverse_proxy.
func TestObserveOnly(t *testing.T) {
	long(t)
	g := newGateway(t)
	g.start(g.config("data_dir "+g.data, "llm_trace\nreverse_proxy "+g.upstream))
	for _, stream := range []bool{false, true} {
		a := g.mustChat(request{model: "gpt-4o", text: "look and do not touch", stream: stream})
		if a.text != "you said: look and do not touch" {
			t.Errorf("stream %v: %q", stream, a.text)
		}
		tr := g.trace(a.id)
		// A stream that was not asked for its usage has none: nothing is rewritten.
		if tr.Status != "ok" || tr.Model != "gpt-4o-2024-01-01" && tr.Model != "gpt-4o" || !stream && (tr.Usage == nil || tr.Usage.Output != 7) {
			t.Errorf("stream %v: %+v", stream, tr)
		}
	}
	req, _ := http.NewRequest(http.MethodPost, g.url+"/v1/chat/completions", strings.NewReader(
		`{"model":"gpt-4o","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"with usage"}]}`))
	req.Header.Set("Content-Type", "application/json")
	resp, err := g.client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	if tr := g.trace(resp.Header.Get("X-Request-Id")); tr.Status != "ok" || tr.Usage == nil || tr.Usage.Output != 4 {
		t.Errorf("stream with usage: %+v", tr)
	}
	for _, seen := range g.provider.Requests() {
		if strings.Contains(seen.Body, `"include_usage":true`) != strings.Contains(seen.Body, "with usage") {
			t.Errorf("the request was rewritten: %s", seen.Body)
		}
	}
}

// TestClientGone leaves calls before they are over.
func TestClientGone(t *testing.T) {
	long(t)
	g := newGateway(t)
	g.start(g.standard(""))
	for _, c := range []struct {
		name  string
		r     request
		reads int // lines of the answer
	}{
		{"in a stream", request{model: "openai/pace-20ms", text: words(500), stream: true}, 6},
		{"in a stream that is stuck", request{model: "openai/stall", text: words(500), stream: true}, 4},
		{"before a stream", request{model: "openai/silent", text: "hi", stream: true}, 0},
		{"before an answer", request{model: "openai/slow-20s", text: "hi"}, 0},
	} {
		g.provider.Reset()
		ctx, leave := context.WithCancel(t.Context())
		if c.reads == 0 {
			time.AfterFunc(200*time.Millisecond, leave)
		}
		resp, err := g.send(ctx, c.r)
		if err == nil {
			lines := bufio.NewReader(resp.Body)
			for range c.reads {
				if _, err := lines.ReadString('\n'); err != nil {
					t.Fatal(err)
				}
			}
			leave()
			_ = resp.Body.Close()
		}
		<-ctx.Done()
		left := time.Now()
		eventually(t, time.Second, "the provider to notice that the client left "+c.name, func() bool {
			seen := g.provider.Requests()
			return len(seen) == 1 && seen[0].Gone
		})
		noticed := time.Since(left)
		var page struct{ Items []trace }
		g.eventually(5*time.Second, "the trace of a client that left "+c.name, func() bool {
			g.api(http.MethodGet, "/traces?status=cancelled&limit=1&model="+c.r.model, nil, &page)
			return len(page.Items) == 1
		})
		leave()
		t.Logf("left %s: the provider's request was cancelled %s later", c.name, noticed.Round(time.Millisecond))
	}
	if c := g.settled(); c.all() != 4 {
		t.Errorf("4 calls, %d traces, dropped %v", c.Written, c.Dropped)
	}
}

// TestSlowReader takes streams more slowly than the provider sends them.
func TestSlowReader(t *testing.T) {
	long(t)
	const readers, events = 8, 48 << 10
	var sent atomic.Int64
	flood := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		pad := strings.Repeat("x", 900)
		for i := range events {
			n, err := fmt.Fprintf(w, `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"flood","choices":[{"index":0,"delta":{"content":"%d %s"},"finish_reason":null}]}`+"\n\n", i, pad)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
		fmt.Fprint(w, `data: {"id":"c","object":"chat.completion.chunk","created":1,"model":"flood","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`+"\n\ndata: [DONE]\n\n")
	}))
	defer flood.Close()
	g := newGateway(t)
	g.upstream = flood.URL
	g.start(g.standard(""))
	idle := g.resident()
	var bodies []io.ReadCloser
	for range readers {
		resp, err := g.send(t.Context(), request{model: "openai/flood", text: "all of it", stream: true, client: newClient()})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		bodies = append(bodies, resp.Body)
	}
	last := int64(-1)
	eventually(t, 10*time.Second, "the provider to be held back", func() bool {
		n := sent.Load()
		same := n == last
		last = n
		time.Sleep(300 * time.Millisecond)
		return same
	})
	held, grown := sent.Load(), g.resident()-idle
	if whole := int64(readers) * events * 1000; held > whole/3 {
		t.Errorf("the provider sent %d MiB of %d to readers that do not read", held>>20, whole>>20)
	}
	if limit := int64(readers)*5<<20 + 24<<20; grown > limit && os.Getenv("FRONTIER_CADDY") == "" { // a captured answer is bounded at 4 MiB; a binary with -race needs more
		t.Errorf("%d streams that nobody reads cost %d MiB", readers, grown>>20)
	}
	var a answer
	if err := a.read(bodies[0]); err != nil {
		t.Errorf("the first reader goes on: %v", err)
	}
	for i, n := range strings.Fields(strings.ReplaceAll(a.text, strings.Repeat("x", 900), "")) {
		if n != fmt.Sprint(i) {
			t.Fatalf("event %d is number %s", i, n)
		}
	}
	t.Logf("%d idle readers: the provider was held at %.1f MiB a stream; memory grew by %.1f MiB in all", readers, float64(held)/readers/(1<<20), float64(grown)/(1<<20))
}
