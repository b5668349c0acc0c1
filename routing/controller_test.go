package routing

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/internal/price"
	"github.com/caddy-frontier/frontier/routing/rollout"
)

// memory is a control store that can be full, slow or somebody else's.
type memory struct {
	mu       sync.Mutex
	entries  map[string]control.Entry
	revision uint64
	full     bool
	slow     time.Duration
	commits  int
}

func newMemory() *memory { return &memory{entries: map[string]control.Entry{}} }

func (m *memory) Get(key string) (control.Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries[key]
	if !ok {
		return e, control.ErrNotFound
	}
	return e, nil
}

func (m *memory) Commit(changes ...control.Change) (uint64, error) {
	m.mu.Lock()
	slow := m.slow
	m.mu.Unlock()
	time.Sleep(slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.full {
		return 0, control.ErrNoSpace
	}
	for _, c := range changes {
		if c.Expect != control.Any && m.entries[c.Key].Revision != c.Expect {
			return 0, control.ErrConflict
		}
	}
	m.revision++
	m.commits++
	for _, c := range changes {
		m.entries[c.Key] = control.Entry{Key: c.Key, Value: c.Value, Revision: m.revision}
	}
	return m.revision, nil
}

func (m *memory) set(full bool, slow time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.full, m.slow = full, slow
}

// stored is the status that a restart would find.
func (m *memory) stored(t *testing.T) (s rollout.Status) {
	t.Helper()
	e, err := m.Get(rolloutPrefix + "r")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(e.Value, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// pilot is a route with a rollout, and the traffic on it.
type pilot struct {
	*testing.T
	store *memory
	dir   string
	c     *controller
	r     *RouteState
	spec  *rollout.Spec
	slow  time.Duration // how long the candidate takes to answer, if not 100 ms
	users int
}

func threeSteps() *rollout.Spec {
	return &rollout.Spec{
		Steps:  []rollout.StepSpec{{Percent: 20, Duration: hours(1)}, {Percent: 50, Duration: hours(1)}, {Percent: 100}},
		Guards: []rollout.GuardSpec{{Name: "errors", Args: []string{"margin", "10%"}}},
	}
}

func newTable(t *testing.T, spec *rollout.Spec, models ...string) *Table {
	t.Helper()
	if models == nil {
		models = []string{"p/a", "p/b"}
	}
	providers := map[string]*Provider{"p": {BaseURL: "http://127.0.0.1:1/v1"}}
	if err := providers["p"].Provision("p"); err != nil {
		t.Fatal(err)
	}
	table, err := NewTable(providers, map[string]*Route{"r": {
		Variants: []*Variant{{Name: "stable", Model: models[0]}, {Name: "candidate", Model: models[1]}}, Rollout: spec,
	}}, true, price.Embedded())
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func newPilot(t *testing.T) *pilot {
	p := &pilot{T: t, store: newMemory(), dir: t.TempDir(), spec: threeSteps()}
	p.start()
	return p
}

// start begins with what is stored, as after a restart.
func (p *pilot) start() {
	p.c = newController("r", filepath.Join(p.dir, "r"), p.store, zap.NewNop())
	if e, err := p.store.Get(rolloutPrefix + "r"); err == nil {
		if err := json.Unmarshal(e.Value, &p.c.status); err != nil {
			p.Fatal(err)
		}
		p.c.revision = e.Revision
	}
	p.c.start()
	p.r = newTable(p.T, p.spec).Routes[0]
	p.c.attach(p.r)
}

// call makes one call of a new user, whose variant answers or fails.
func (p *pilot) call(fails func(variant string) bool) (variant string) {
	p.users++
	return p.callAs(fmt.Sprintf("user-%d", p.users), fails)
}

func (p *pilot) callAs(user string, fails func(variant string) bool) string {
	c := &call.Call{ID: user, User: user, Started: time.Now(), Front: call.ChatCompletions}
	plan := &plan{table: p.r.table, call: c, route: p.r}
	if err := plan.assign(); err != nil {
		p.Fatal(err)
	}
	a := call.Attempt{Variant: c.Variant, Started: time.Now(), Duration: 100 * time.Millisecond}
	if p.slow > 0 && c.Variant == "candidate" {
		a.Duration = p.slow
	}
	if c.Status = call.StatusOK; fails(c.Variant) {
		a.ErrorClass, a.HTTPStatus = "status", 500
	}
	c.Attempts = []call.Attempt{a}
	plan.settle()
	return c.Variant
}

func never(string) bool       { return false }
func bad(variant string) bool { return variant == "candidate" }

// traffic makes calls for as long as it lasts, so many an hour.
func (p *pilot) traffic(lasts time.Duration, hourly int, fails func(string) bool) {
	for range int(lasts.Hours() * float64(hourly)) {
		p.call(fails)
		time.Sleep(time.Hour / time.Duration(hourly))
	}
}

func (p *pilot) want(phase rollout.Phase, candidate float64) {
	p.Helper()
	s := p.c.state()
	if s.Phase != phase || s.Weights["candidate"] != candidate {
		p.Fatalf("%s at %v (%s), want %s at %v\n%+v", s.Phase, s.Weights, s.Reason, phase, candidate, s.Log)
	}
	if got := p.r.split.Load().weights[1]; float64(got) != candidate*100 {
		p.Fatalf("the weight in force is %d, want %v", got, candidate*100)
	}
}

func (p *pilot) do(kind rollout.EventKind) error {
	return p.c.do(rollout.Event{Kind: kind, Actor: "ada"}, anyRevision)
}

func hours(n int) caddy.Duration { return caddy.Duration(time.Duration(n) * time.Hour) }

func TestRolloutToTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		defer p.c.close()
		p.want(rollout.PhasePending, 0)
		time.Sleep(1100 * time.Millisecond)
		p.want(rollout.PhaseProgressing, 20)
		p.traffic(50*time.Minute, 1200, never)
		p.want(rollout.PhaseProgressing, 20)
		p.traffic(20*time.Minute, 1200, never)
		p.want(rollout.PhaseProgressing, 50)
		p.traffic(70*time.Minute, 1200, never)
		p.want(rollout.PhaseCompleted, 100)
		if s := p.store.stored(t); s.Phase != rollout.PhaseCompleted {
			t.Errorf("stored: %s", s.Phase)
		}
	})
}

// A candidate that fails is taken back by the very request that shows it, even
// while the store does not answer.
func TestAbortByTheDecidingCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		defer p.c.close()
		time.Sleep(1100 * time.Millisecond)
		p.traffic(30*time.Minute, 1200, never)
		p.want(rollout.PhaseProgressing, 20)
		p.store.set(false, time.Minute)
		began, calls := time.Now(), 0
		for p.r.split.Load().weights[1] > 0 {
			if calls++; calls > 1000 {
				t.Fatal("a candidate that always fails stays")
			}
			p.call(bad)
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("the decision waited %s for the store", took)
		}
		if s := p.c.state(); s.Phase != rollout.PhaseAborted || s.Persisted || !strings.Contains(s.Reason, "failures") || !strings.Contains(s.Reason, "status_500") {
			t.Errorf("got %+v", s)
		}
		time.Sleep(3 * time.Minute)
		if s := p.c.state(); !s.Persisted || p.store.stored(t).Phase != rollout.PhaseAborted {
			t.Errorf("not stored afterwards: %+v", s)
		}
		t.Logf("aborted after %d calls: %s", calls, p.c.state().Reason)
	})
}

// While the store is full nothing moves toward the candidate, and everything
// toward stable.
func TestRolloutWhileTheStoreIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		defer p.c.close()
		time.Sleep(1100 * time.Millisecond)
		p.store.set(true, 0)
		p.traffic(2*time.Hour, 1200, never)
		p.want(rollout.PhaseProgressing, 20)
		if s := p.c.state(); !strings.Contains(s.Reason, "could not be stored") {
			t.Errorf("the reason does not say what it waits for: %s", s.Reason)
		}
		if err := p.do(rollout.Promote); !errors.Is(err, control.ErrNoSpace) {
			t.Errorf("promote: %v", err)
		}
		p.want(rollout.PhaseProgressing, 20)
		if err := p.do(rollout.Abort); err != nil {
			t.Errorf("abort: %v", err)
		}
		p.want(rollout.PhaseAborted, 0)
		if p.c.state().Persisted {
			t.Error("it claims to be stored")
		}
		p.store.set(false, 0)
		time.Sleep(2 * time.Second)
		if s := p.store.stored(t); s.Phase != rollout.PhaseAborted || !p.c.state().Persisted {
			t.Errorf("stored: %s", s.Phase)
		}
		if err := p.do(rollout.Resume); err != nil {
			t.Error(err)
		}
		p.want(rollout.PhaseProgressing, 20)
	})
}

// A request that decides while a move toward the candidate is being stored wins.
func TestAbortOvertakesPromotion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		defer p.c.close()
		time.Sleep(1100 * time.Millisecond)
		p.store.set(false, 10*time.Second)
		promoted := make(chan error)
		go func() { promoted <- p.do(rollout.Promote) }() // ends with the store's answer
		time.Sleep(time.Second)
		for range 500 {
			p.call(bad)
		}
		p.want(rollout.PhaseAborted, 0)
		if err := <-promoted; err == nil || !strings.Contains(err.Error(), "aborted") {
			t.Errorf("promote: %v", err)
		}
		p.want(rollout.PhaseAborted, 0)
		p.store.set(false, 0)
		time.Sleep(30 * time.Second)
		if s := p.store.stored(t); s.Phase != rollout.PhaseAborted {
			t.Errorf("stored: %s at %v", s.Phase, s.Weights)
		}
	})
}

// Held time and evidence go on after a restart; of a crash the last seconds are lost.
func TestRolloutSurvivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		time.Sleep(1100 * time.Millisecond)
		p.traffic(30*time.Minute, 1200, never)
		before := p.c.state()
		p.c.close()
		time.Sleep(10 * time.Hour) // down
		p.start()
		after := p.c.state()
		if after.Phase != before.Phase || after.HeldMS < before.HeldMS-1000 || after.HeldMS > before.HeldMS || after.Generation != 1 {
			t.Errorf("held %d ms in generation %d, before %d", after.HeldMS, after.Generation, before.HeldMS)
		}
		p.c.tick()
		if got := p.c.state().Units; fmt.Sprint(got) != fmt.Sprint(before.Units) || got["candidate"] < 50 {
			t.Errorf("units %v, before %v", got, before.Units)
		}
		p.traffic(20*time.Minute, 1200, never)
		p.want(rollout.PhaseProgressing, 20)
		p.traffic(15*time.Minute, 1200, never)
		p.want(rollout.PhaseProgressing, 50)

		// A crash: the measurements of a moment ago, the status as it was decided.
		time.Sleep(6 * time.Second)
		crashed := p.c
		p.start()
		p.want(rollout.PhaseProgressing, 50)
		p.c.close()
		crashed.close()

		// Damaged measurements are none.
		b, err := os.ReadFile(p.c.file)
		if err != nil {
			t.Fatal(err)
		}
		b[len(b)/2] ^= 1
		if err := os.WriteFile(p.c.file, b, 0o600); err != nil {
			t.Fatal(err)
		}
		p.start()
		p.want(rollout.PhaseProgressing, 50)
		p.c.tick()
		if s := p.c.state(); s.Units["candidate"] != 0 {
			t.Errorf("units of damaged measurements: %v", s.Units)
		}
		p.c.close()
	})
}

// A configuration that is refused after all has changed nothing; one that
// replaces another begins a new generation when the other has gone.
func TestRolloutThroughReloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		defer func() { p.c.close() }()
		time.Sleep(1100 * time.Millisecond)
		p.traffic(30*time.Minute, 1200, never)
		same := newTable(t, threeSteps()).Routes[0]
		p.c.attach(same)
		if w := same.split.Load().weights[1]; w != 2000 {
			t.Errorf("after a reload: %d", w)
		}
		held := p.c.state().HeldMS
		p.c.detach(p.r)
		p.r = same
		if s := p.c.state(); s.HeldMS != held || s.Generation != 1 {
			t.Errorf("a reload that changes nothing: %d ms in generation %d", s.HeldMS, s.Generation)
		}

		refused := newTable(t, threeSteps(), "p/a", "p/c").Routes[0]
		p.c.attach(refused)
		if w := refused.split.Load().weights[1]; w != 0 {
			t.Errorf("another candidate begins with %d", w)
		}
		p.want(rollout.PhaseProgressing, 20)
		p.c.detach(refused)
		p.want(rollout.PhaseProgressing, 20)
		if s := p.c.state(); s.Generation != 1 {
			t.Error("a refused configuration began a generation")
		}

		other := newTable(t, threeSteps(), "p/a", "p/c").Routes[0]
		p.c.attach(other)
		p.c.detach(p.r)
		p.r = other
		p.want(rollout.PhasePending, 0)
		time.Sleep(1100 * time.Millisecond)
		p.want(rollout.PhaseProgressing, 20)
		if s := p.c.state(); s.Generation != 2 {
			t.Errorf("generation %d", s.Generation)
		}

		p.c.detach(p.r)
		p.c.retire()
		synctest.Wait()
		if s := p.store.stored(t); s.Phase != rollout.PhaseNone || s.Weights != nil {
			t.Errorf("stored after the rollout was taken out: %+v", s)
		}
		p.c.attach(p.r)
		p.want(rollout.PhasePending, 0)
	})
}

// The same unit has the same variant through growth and restarts, and shares are right.
func TestMillionUnits(t *testing.T) {
	if testing.Short() {
		t.Skip("a million units")
	}
	table := newTable(t, threeSteps())
	r := table.Routes[0]
	variant := func(i int) string {
		c := &call.Call{User: fmt.Sprintf("user-%d", i)}
		p := &plan{table: table, call: c, route: r}
		if err := p.assign(); err != nil {
			t.Fatal(err)
		}
		return c.Variant
	}
	const n = 1_000_000
	had := make([]bool, n)
	for _, percent := range []float64{5, 20, 50, 80} {
		r.split.Store(newSplit([]uint16{uint16(hundred - 100*percent), uint16(100 * percent)}))
		count := 0
		for i := range n {
			now := variant(i) == "candidate"
			if had[i] && !now {
				t.Fatalf("unit %d left the candidate at %v %%", i, percent)
			}
			if had[i] = now; now {
				count++
			}
		}
		r = newTable(t, threeSteps()).Routes[0] // a restart
		r.split.Store(newSplit([]uint16{uint16(hundred - 100*percent), uint16(100 * percent)}))
		for i := 0; i < n; i += 97 {
			if (variant(i) == "candidate") != had[i] {
				t.Fatalf("unit %d has another variant after a restart", i)
			}
		}
		if got := 100 * float64(count) / n; got < percent-0.3 || got > percent+0.3 {
			t.Errorf("%.2f %% of the units, want %v", got, percent)
		}
	}
}

// A conversation that began on stable at 5 % ends there at 50 %.
func TestConversationKeepsItsVariant(t *testing.T) {
	table := newTable(t, threeSteps())
	table.state = &State{conversations: newConversations(time.Now)}
	r := table.Routes[0]
	moved := 0
	for i := range 2000 {
		id := fmt.Sprintf("conversation-%d", i)
		variant := func(continued bool, candidate uint16) string {
			r.split.Store(newSplit([]uint16{hundred - candidate, candidate}))
			c := &call.Call{Conversation: id, Continued: continued}
			p := &plan{table: table, call: c, route: r}
			if err := p.assign(); err != nil {
				t.Fatal(err)
			}
			table.state.conversations.put("r", id, c.Variant)
			return c.Variant
		}
		first := variant(false, 500)
		if later := variant(true, 5000); later != first {
			t.Fatalf("%s went from %s to %s", id, first, later)
		}
		c := &call.Call{Conversation: id}
		p := &plan{table: table, call: c, route: r}
		if err := p.assign(); err != nil {
			t.Fatal(err)
		}
		if c.Variant != first {
			moved++
		}
	}
	if moved < 500 {
		t.Errorf("only %d of 2,000 would have moved: the test shows nothing", moved)
	}
}

// BenchmarkMeasure is what a rollout adds to a call.
func BenchmarkMeasure(b *testing.B) {
	t := new(testing.T)
	table := newTable(t, &rollout.Spec{
		Steps:  []rollout.StepSpec{{Percent: 20}, {Percent: 100}},
		Guards: []rollout.GuardSpec{{Name: "errors"}, {Name: "latency"}, {Name: "format"}},
	})
	c := newController("r", filepath.Join(b.TempDir(), "r"), newMemory(), zap.NewNop())
	c.start()
	defer c.close()
	c.attach(table.Routes[0])
	if err := c.do(rollout.Event{Kind: rollout.Promote}, anyRevision); err != nil {
		b.Fatal(err)
	}
	users := make([]string, 1<<14)
	for i := range users {
		users[i] = fmt.Sprintf("user-%d", i)
	}
	began := time.Now()
	attempts := []call.Attempt{{Started: began, Duration: time.Second}}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		cl := call.Call{User: users[i&(1<<14-1)], Started: began, Status: call.StatusOK, Attempts: attempts}
		p := plan{table: table, call: &cl, route: table.Routes[0]}
		_ = p.assign()
		attempts[0].Variant = cl.Variant
		p.settle()
		i++
	}
}

// While the store hangs, what moves toward stable does not wait: neither for an
// operator nor for guards that only time looks at.
func TestRolloutWhileTheStoreHangs(t *testing.T) {
	hanging := func(t *testing.T, spec *rollout.Spec) (p *pilot, promoted chan error) {
		p = &pilot{T: t, store: newMemory(), dir: t.TempDir(), spec: spec}
		p.start()
		time.Sleep(1100 * time.Millisecond)
		p.traffic(10*time.Minute, 1200, never)
		p.want(rollout.PhaseProgressing, 20)
		p.store.set(false, time.Hour)
		promoted = make(chan error, 1)
		go func() { promoted <- p.do(rollout.Promote) }() // ends with the store's answer
		time.Sleep(time.Second)
		return p, promoted
	}
	overtaken := func(t *testing.T, p *pilot, promoted chan error) {
		if err := <-promoted; err == nil || !strings.Contains(err.Error(), "aborted") {
			t.Errorf("promote: %v", err)
		}
		p.store.set(false, 0)
		time.Sleep(2 * time.Hour)
		p.want(rollout.PhaseAborted, 0)
		if s := p.store.stored(t); s.Phase != rollout.PhaseAborted || !p.c.state().Persisted {
			t.Errorf("stored: %s at %v", s.Phase, s.Weights)
		}
	}
	t.Run("an operator", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p, promoted := hanging(t, threeSteps())
			defer p.c.close()
			go func() { _ = p.do(rollout.Abort) }() // ends with the store's answer, too
			time.Sleep(time.Millisecond)
			p.want(rollout.PhaseAborted, 0)
			if p.c.state().Persisted {
				t.Error("it claims to be stored")
			}
			overtaken(t, p, promoted)
		})
	})
	t.Run("a guard", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			spec := threeSteps()
			spec.Guards = append(spec.Guards, rollout.GuardSpec{Name: "latency", Args: []string{"p50"}})
			p, promoted := hanging(t, spec)
			defer p.c.close()
			held := p.c.state().HeldMS
			p.slow = time.Minute
			p.traffic(10*time.Second, 360_000, never)
			time.Sleep(1100 * time.Millisecond)
			p.want(rollout.PhaseAborted, 0)
			if p.c.state().HeldMS == held {
				t.Error("no time passes")
			}
			overtaken(t, p, promoted)
		})
	})
}

// What an operator asked for in vain is not waited for.
func TestRefusedForWantOfSpace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		defer p.c.close()
		time.Sleep(1100 * time.Millisecond)
		p.store.set(true, 0)
		if err := p.do(rollout.Promote); !errors.Is(err, control.ErrNoSpace) {
			t.Errorf("promote: %v", err)
		}
		if s := p.c.state(); strings.Contains(s.Reason, "stored") {
			t.Errorf("the reason is %q", s.Reason)
		}
	})
}

// The time between a crash and the next start is not held, however short.
func TestDowntimeIsNotHeld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		time.Sleep(1100 * time.Millisecond)
		p.traffic(10*time.Minute, 1200, never)
		p.c.close()
		held := p.c.state().HeldMS
		time.Sleep(20 * time.Second)
		p.start()
		defer p.c.close()
		time.Sleep(3500 * time.Millisecond)
		if more := p.c.state().HeldMS - held; more > 4000 {
			t.Errorf("20 s down and 3.5 s up are %d ms", more)
		}
	})
}

// Whatever handlers of events do, the rest goes on, and the process ends.
func TestEventHandlerThatBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		forever := make(chan struct{})
		defer close(forever)
		p.c.lock()
		p.r.table.Emit = func(string, map[string]any) { <-forever }
		p.c.unlock()
		time.Sleep(1100 * time.Millisecond)
		p.want(rollout.PhaseProgressing, 20)
		began := time.Now()
		closed := make(chan struct{})
		go func() { p.c.close(); close(closed) }()
		select {
		case <-closed:
			if took := time.Since(began); took > 11*time.Second {
				t.Errorf("closing took %s", took)
			}
		case <-time.After(time.Hour):
			t.Fatal("a handler of events keeps the process from ending")
		}
	})
}

// A webhook that hangs does not keep handlers of events waiting.
func TestWebhookThatHangs(t *testing.T) {
	release := make(chan struct{})
	hook := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer hook.Close()
	defer close(release)
	spec := threeSteps()
	spec.Webhook = hook.URL
	table := newTable(t, spec)
	told := make(chan string, 8)
	table.Emit = func(name string, _ map[string]any) { told <- name }
	c := newController("r", filepath.Join(t.TempDir(), "r"), newMemory(), zap.NewNop())
	c.start()
	defer c.close()
	c.attach(table.Routes[0])
	for _, kind := range []rollout.EventKind{rollout.Promote, rollout.Abort} {
		if err := c.do(rollout.Event{Kind: kind}, anyRevision); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []string{rollout.EventAdvanced, rollout.EventAborted} {
		select {
		case got := <-told:
			if got != want {
				t.Errorf("told %s, want %s", got, want)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%s was not told", want)
		}
	}
}

// Each route has a file of its own, in the folder.
func TestFilesOfRoutes(t *testing.T) {
	seen := map[string]string{}
	for _, route := range []string{"r", "r.tmp", "R:1", ".", "..", "a:b"} {
		file := measurementsFile("dir", route)
		for _, f := range []string{file, file + ".tmp"} {
			if other, taken := seen[f]; taken || filepath.Dir(f) != "dir" {
				t.Errorf("%s of %q (and of %q)", f, route, other)
			}
			seen[f] = route
		}
	}
}

// What keeps a rollout from completing does so after a restart, too.
func TestUnrecognizedSurvivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		defer func() { p.c.close() }()
		time.Sleep(1100 * time.Millisecond)
		p.traffic(70*time.Minute, 1200, never)
		p.want(rollout.PhaseProgressing, 50)
		p.c.unrecognized.Add(1000)
		p.traffic(70*time.Minute, 1200, never)
		p.want(rollout.PhaseProgressing, 50)
		if s := p.c.state(); !strings.Contains(s.Reason, "no prompt is recognised") {
			t.Errorf("the reason is %q", s.Reason)
		}
		p.c.close()
		p.start()
		p.traffic(time.Minute, 1200, never)
		p.want(rollout.PhaseProgressing, 50)
	})
}

// Measurements that are left of a status which is not there any more are none.
func TestMeasurementsWithoutTheirStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		time.Sleep(1100 * time.Millisecond)
		p.traffic(time.Hour/12, 1200, bad)
		p.want(rollout.PhaseAborted, 0)
		p.c.close()
		p.store = newMemory()
		p.start()
		defer p.c.close()
		time.Sleep(1100 * time.Millisecond)
		p.traffic(time.Hour/12, 1200, never)
		p.want(rollout.PhaseProgressing, 20)
	})
}

// A status that this version cannot read does not keep the gateway from starting.
func TestStatusThatCannotBeRead(t *testing.T) {
	dir := t.TempDir()
	store, err := control.Open(filepath.Join(dir, "control"), zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if _, err := store.Commit(control.Change{Key: rolloutPrefix + "r", Value: []byte(`{"phase": 7}`)}); err != nil {
		t.Fatal(err)
	}
	state, err := NewState(store, dir, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	table := newTable(t, threeSteps())
	state.attach(table)
	defer state.detach(table)
	if s := table.Routes[0].rollout.state(); s.Phase != rollout.PhasePending {
		t.Errorf("it is %+v", s)
	}
}

// Measurements that could not be written are written when they can be.
func TestMeasurementsAreWrittenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPilot(t)
		defer p.c.close()
		time.Sleep(1100 * time.Millisecond)
		if err := p.do(rollout.Pause); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if err := os.RemoveAll(p.dir); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(p.dir, nil, 0o600); err != nil { // in the way
			t.Fatal(err)
		}
		p.call(never)
		time.Sleep(10 * time.Second)
		if err := os.Remove(p.dir); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if _, err := os.Stat(p.c.file); err != nil {
			t.Error(err)
		}
	})
}
