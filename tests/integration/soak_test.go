package integration_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// TestSoak is `make soak`: mixed traffic for FRONTIER_SOAK, with a reload every
// ten seconds, changes of weights and prompts, and clients that leave.
func TestSoak(t *testing.T) {
	lasts, err := time.ParseDuration(os.Getenv("FRONTIER_SOAK"))
	if err != nil {
		t.Skip("run by: make soak DURATION=2m")
	}
	wrong := failures{t: t}
	t.Cleanup(wrong.report) // after the gateway's, which prints its log
	g := newGateway(t)
	g.start(g.standard(""))
	g.register("greeting", "Say hello in one word, as a pirate would.")
	for range 20 {
		g.mustChat(request{model: "split", text: "warm up"})
	}
	g.mustLoad(g.standard("traces {\nretain 40d\n}"))
	g.client.CloseIdleConnections()
	before, resident, made := g.figures(), g.resident(), int64(20)

	var plain, streams, left, failed atomic.Int64
	var slowest atomic.Int64 // of plain calls, in microseconds
	var clients sync.WaitGroup
	end := time.Now().Add(lasts)
	for i := range 16 {
		clients.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			r := rand.New(rand.NewPCG(uint64(i), 1))
			for n := 0; time.Now().Before(end); n++ {
				if err := soakCall(g, client, r, n, &plain, &streams, &left, &slowest); err != nil {
					failed.Add(1)
					wrong.add("client %d call %d: %v", i, n, err)
				}
			}
		})
	}
	reloads, changes := 0, 0
	for next := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		time.Sleep(200 * time.Millisecond)
		g.setWeights("split", float64(100-changes%101), float64(changes%101))
		changes++
		if changes%10 == 0 {
			g.api(http.MethodPost, "/prompts", object{"name": "soak", "template": fmt.Sprintf("Number %d: {{text}}", changes)}, nil)
		}
		if time.Now().After(next) {
			g.mustLoad(g.standard(fmt.Sprintf("traces {\nretain %dd\n}", 10+reloads%20)))
			reloads++
			next = next.Add(10 * time.Second)
		}
	}
	clients.Wait()
	c := g.settled()
	made += plain.Load() + streams.Load() + left.Load()
	// A client that leaves at once may have done so before its request was read. A call that was made again because
	// a reload closed its connection may have been read both times.
	if got, again := c.all(), g.again.Load(); got > made+again || got < made-left.Load()/10-1 || c.Damaged != 0 {
		wrong.add("%d calls, %d of them made again; traces: %d stored, %v dropped, %d damaged", made, again, c.Written, c.Dropped, c.Damaged)
	}
	g.client.CloseIdleConnections()
	var after figures
	g.eventually(20*time.Second, "goroutines to return to the baseline", func() bool {
		after = g.figures()
		return after.goroutines <= before.goroutines+2
	})
	if after.heap > before.heap+16<<20 {
		wrong.add("heap grew from %d to %d KiB", before.heap>>10, after.heap>>10)
	}
	t.Logf("%s: %d plain calls (slowest %s), %d streams, %d clients left, %d failed; %d made again; %d reloads, %d changes of weights; traces: %d stored, dropped %v; goroutines %d → %d, heap %d → %d KiB, resident %d → %d MiB",
		lasts, plain.Load(), time.Duration(slowest.Load())*time.Microsecond, streams.Load(), left.Load(), failed.Load(), g.again.Load(), reloads, changes,
		c.Written, c.Dropped, before.goroutines, after.goroutines, before.heap>>10, after.heap>>10, resident>>20, g.resident()>>20)
}

// failures are what went wrong, to be told behind everything else.
type failures struct {
	t     *testing.T
	mu    sync.Mutex
	first []string
	count int
}

func (f *failures) add(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.t.Fail()
	if f.count++; len(f.first) < 20 {
		f.first = append(f.first, fmt.Sprintf(format, args...))
	}
}

func (f *failures) report() {
	for _, text := range f.first {
		f.t.Error(text)
	}
	if f.count > len(f.first) {
		f.t.Errorf("and %d more", f.count-len(f.first))
	}
}

// soakCall makes one call: seven of ten are streams, and one of ten is left early.
func soakCall(g *gateway, client *http.Client, r *rand.Rand, n int, plain, streams, left, slowest *atomic.Int64) error {
	q := request{model: "split", text: fmt.Sprintf("call %d: %s", n, words(1+r.IntN(30))), stream: r.IntN(10) < 7, client: client}
	if r.IntN(8) == 0 {
		q.model = "prompted"
	}
	if q.stream && r.IntN(2) == 0 {
		q.model = "openai/pace-20ms"
	}
	if r.IntN(10) == 0 {
		left.Add(1)
		q.model, q.stream = "openai/pace-20ms", true
		ctx, leave := context.WithCancel(context.Background())
		defer leave()
		resp, err := g.send(ctx, q)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		_, err = bufio.NewReader(resp.Body).ReadString('\n')
		return err
	}
	begun := time.Now()
	a, err := g.chat(q)
	if q.stream {
		streams.Add(1)
	} else {
		plain.Add(1)
		if took := time.Since(begun).Microseconds(); took > slowest.Load() {
			slowest.Store(took)
		}
		time.Sleep(5 * time.Millisecond)
	}
	if err == nil && a.text != "you said: "+q.text {
		err = fmt.Errorf("got %q, want %q", a.text, q.text)
	}
	return err
}
