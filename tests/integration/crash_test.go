package integration_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// acknowledged is what the admin API has confirmed, and what it may have done besides.
type acknowledged struct {
	mu       sync.Mutex
	versions map[string]int // the latest version
	alias    map[string]int
	weight   float64
	// What was asked for when the process died: done or not, both are right.
	asked struct {
		version, alias map[string]int
		weight         float64
	}
	changes int
}

// change makes one change through the admin API. It reports whether it was acknowledged.
func (a *acknowledged) change(g *gateway, n int) bool {
	name := fmt.Sprintf("p%d", n%7)
	a.mu.Lock()
	defer a.mu.Unlock()
	var status int
	var err error
	switch n % 3 {
	case 0:
		want := a.versions[name] + 1
		a.asked.version[name] = want
		var v struct{ Version int }
		status, _, err = g.tryAPI(http.MethodPost, "/prompts", object{"name": name, "template": template(name, want)}, &v)
		if err == nil && v.Version == want {
			a.versions[name] = want
		} else if err == nil {
			g.Errorf("registering %s: %d, version %d, want %d", name, status, v.Version, want)
		}
	case 1:
		if a.versions[name] == 0 {
			return true
		}
		want := 1 + rand.IntN(a.versions[name])
		a.asked.alias[name] = want
		if status, _, err = g.tryAPI(http.MethodPut, "/prompts/"+name+"/aliases/production", object{"version": want}, nil); err == nil {
			a.alias[name] = want
		}
	case 2:
		want := float64(rand.IntN(10_001)) / 100
		a.asked.weight = want
		in := object{"weights": object{"stable": (10_000 - want*100) / 100, "candidate": want}}
		if status, _, err = g.tryAPI(http.MethodPost, "/routes/split/rollout/weights", in, nil); err == nil {
			a.weight = want
		}
	}
	if err == nil {
		a.changes++
		if status != http.StatusOK && status != http.StatusCreated {
			g.Errorf("change %d: status %d", n, status)
		}
	}
	return err == nil
}

func template(name string, version int) string {
	return fmt.Sprintf("%s in version %d says: answer {{text}} in one word. %s", name, version, strings.Repeat("And be careful. ", version%50))
}

// check compares what the process has with what was acknowledged, and takes over what it has.
func (a *acknowledged) check(g *gateway) (lost int) {
	g.Helper()
	for name, version := range a.versions {
		var p struct {
			Latest  int
			Aliases map[string]int
		}
		if status, _ := g.api(http.MethodGet, "/prompts/"+name, nil, &p); status != http.StatusOK && version > 0 {
			g.Errorf("prompt %s is gone: %d", name, status)
			lost++
			continue
		}
		if p.Latest != version && p.Latest != a.asked.version[name] {
			g.Errorf("prompt %s is at version %d, acknowledged is %d", name, p.Latest, version)
			lost++
		}
		if got := p.Aliases["production"]; got != a.alias[name] && got != a.asked.alias[name] {
			g.Errorf("prompt %s: production is version %d, acknowledged is %d", name, got, a.alias[name])
			lost++
		}
		a.versions[name], a.alias[name] = p.Latest, p.Aliases["production"]
		var v struct{ Template string }
		if g.api(http.MethodGet, "/prompts/"+name+"/versions/"+strconv.Itoa(p.Latest), nil, &v); v.Template != template(name, p.Latest) {
			g.Errorf("prompt %s/%d has the template %q", name, p.Latest, v.Template)
			lost++
		}
	}
	r, _ := g.route("split")
	if got := r.Weights["candidate"]; got != a.weight && got != a.asked.weight {
		g.Errorf("the candidate's weight is %v, acknowledged is %v", got, a.weight)
		lost++
	}
	a.weight = r.Weights["candidate"]
	return lost
}

// TestKill ends the process twenty times without notice while it is written to.
func TestKill(t *testing.T) {
	long(t)
	const kills = 20
	g := newGateway(t)
	ack := &acknowledged{versions: map[string]int{}, alias: map[string]int{}, weight: 5}
	ack.asked.version, ack.asked.alias, ack.asked.weight = map[string]int{}, map[string]int{}, 5
	var startups []time.Duration
	var oldest time.Duration // of the traces that were lost
	made, n, lost := 0, 0, 0
	kept := map[string]bool{}
	for range kills {
		startups = append(startups, g.start(g.standard("")))
		var done atomic.Bool
		var work sync.WaitGroup
		answered := map[string]time.Time{}
		work.Go(func() {
			for !done.Load() && ack.change(g, n) {
				n++
			}
		})
		work.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for !done.Load() {
				a, err := g.chat(request{model: "split", text: "before the crash", client: client})
				if err != nil {
					return
				}
				answered[a.id] = time.Now()
				time.Sleep(2 * time.Millisecond)
			}
		})
		run := time.Duration(20+rand.IntN(300)) * time.Millisecond
		if len(startups)%5 == 0 {
			run += 1500 * time.Millisecond
		}
		time.Sleep(run)
		killed := time.Now()
		g.kill()
		done.Store(true)
		work.Wait()

		startups = append(startups, g.start(g.standard("")))
		lost += ack.check(g)
		made += len(answered)
		there := g.listed()
		opened := 0
		for id, at := range answered {
			got, ok := there[id]
			if !ok {
				oldest = max(oldest, killed.Sub(at))
				continue
			}
			kept[id] = true
			if got.Status != "ok" || got.Route != "split" || got.Usage == nil {
				t.Errorf("trace %s is damaged: %+v", id, got)
			}
			if opened++; opened <= 10 { // with its bodies
				g.trace(id)
			}
		}
		g.kill()
	}
	g.start(g.standard(""))
	missing := maps.Clone(kept)
	for id := range g.listed() {
		delete(missing, id)
	}
	if len(missing) > 0 {
		t.Errorf("%d traces that were there after one crash are not listed after all of them", len(missing))
	}
	if c := g.settled(); c.Damaged != 0 {
		t.Errorf("damaged traces: %d", c.Damaged)
	}
	// One second is the flush interval; the rest is for a transaction on a busy, shared disk. It is 0.3 s here when nothing else runs.
	if limit := 4 * time.Second; oldest > limit {
		t.Errorf("a trace was lost %s after its answer, want at most %s", oldest, limit)
	}
	slices.Sort(startups)
	slowest := startups[len(startups)-1]
	if most := startups[len(startups)-3]; most > 2*time.Second { // a shared disk may stall now and then
		t.Errorf("starts took up to %s", startups[len(startups)-3:])
	}
	t.Logf("%d kills at work, as many at rest: %d changes acknowledged, %d lost; %d calls, %d traces kept, the oldest lost was answered %s before the kill; starts: median %s, slowest %s; %d prompts with %d versions",
		kills, ack.changes, lost, made, len(kept), oldest.Round(time.Millisecond), startups[len(startups)/2].Round(time.Millisecond), slowest.Round(time.Millisecond),
		len(ack.versions), sum(maps.Values(ack.versions)))
}

// listed returns all traces that there are.
func (g *gateway) listed() map[string]trace {
	g.Helper()
	all, cursor := map[string]trace{}, ""
	for {
		var page struct {
			Items      []trace
			NextCursor *string `json:"next_cursor"`
		}
		status, h := g.api(http.MethodGet, "/traces?limit=1000"+cursor, nil, &page)
		if status != http.StatusOK || h.Get("LLM-Damaged") != "" {
			g.Fatalf("listing traces: %d, damaged %q", status, h.Get("LLM-Damaged"))
		}
		for _, i := range page.Items {
			all[i.ID] = i
		}
		if page.NextCursor == nil {
			return all
		}
		cursor = "&cursor=" + *page.NextCursor
	}
}

func sum(seq func(func(int) bool)) (n int) {
	for v := range seq {
		n += v
	}
	return n
}

// TestRequestsBeforeStart calls from the first moment of the process on.
func TestRequestsBeforeStart(t *testing.T) {
	long(t)
	g := newGateway(t)
	g.start(g.standard(""))
	g.register("greeting", "Say hello in one word, as a pirate would.")
	g.setWeights("split", 0, 100)
	g.stop()
	refused, answered := 0, 0
	for range 6 {
		g.launch(g.standard(""))
		for ok := 0; ok < 5; {
			a, err := g.chat(request{model: []string{"prompted", "split"}[ok%2], text: "early"})
			switch {
			case errors.Is(err, syscall.ECONNREFUSED):
				refused++
				time.Sleep(time.Millisecond)
			case err != nil:
				t.Fatalf("a request before the start: %v", err)
			default:
				if ok%2 == 1 && a.variant != "candidate" {
					t.Errorf("an early call went to %s: the weights set at run time were not in force", a.variant)
				}
				ok++
				answered++
			}
		}
		g.stop()
	}
	if n := g.again.Load(); n > 0 {
		t.Errorf("%d requests were dropped", n)
	}
	t.Logf("6 starts: %d attempts refused, then %d answered, none failed", refused, answered)
}

// TestTwoProcesses starts a second process with the same data directory.
func TestTwoProcesses(t *testing.T) {
	long(t)
	g, second := newGateway(t), newGateway(t)
	g.start(g.standard(""))
	second.launch(second.standardIn(g.data, "", "95", "5"))
	begun := time.Now()
	select {
	case err := <-second.exited:
		second.cmd = nil
		if err == nil {
			t.Error("the second process ended without an error")
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the second process goes on")
	}
	log := second.log.String()
	for _, want := range []string{g.data, "already open", "caddy reload", "data directory"} {
		if !strings.Contains(log, want) {
			t.Errorf("the second process's error says nothing of %q", want)
		}
	}
	g.mustChat(request{model: "split", text: "hi"})
	for line := range strings.Lines(log) {
		if strings.Contains(line, "already open") {
			t.Logf("ended after %s: %s", time.Since(begun).Round(time.Millisecond), line)
		}
	}
}

// TestStop ends the process in good order, with streams in flight that began
// before a reload.
func TestStop(t *testing.T) {
	long(t)
	g := newGateway(t)
	stream := request{model: "openai/pace-20ms", text: words(60), stream: true}
	g.start(g.standard(""))
	wait := g.background(stream)
	g.mustLoad(g.standard("traces {\nretain 40d\n}"))
	g.stop() // without a grace_period Caddy waits
	whole := wait()

	// With one, what is over must be stored although a stream still holds the directory.
	grace := func(config string) string {
		return strings.Replace(config, "admin ", "grace_period 1s\n\tadmin ", 1)
	}
	g.start(grace(g.standard("")))
	if tr := g.trace(whole.id); tr.Status != "ok" {
		t.Errorf("the stream that was waited for: %+v", tr)
	}
	stream.text = words(2000)
	resp, err := g.send(t.Context(), stream)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	g.mustLoad(grace(g.standard("traces {\nretain 40d\n}")))
	ids := make(chan string, 1000)
	go func() { // ends with the process
		defer close(ids)
		for {
			a, err := g.chat(request{model: "split", text: "just before the end"})
			if err != nil {
				return
			}
			ids <- a.id
		}
	}()
	time.Sleep(100 * time.Millisecond)
	begun := time.Now()
	g.stop()
	took := time.Since(begun)
	g.start(g.standard(""))
	n := 0
	for id := range ids {
		n++
		if status, _ := g.api(http.MethodGet, "/traces/"+id, nil, nil); status != http.StatusOK {
			t.Errorf("trace %s was lost in an orderly end: %d", id, status)
		}
	}
	t.Logf("ended in %s with a stream of an earlier configuration in flight; %d traces of the last moment are there", took.Round(time.Millisecond), n)
}
