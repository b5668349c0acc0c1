package integration_test

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// pilot is a gateway with a rollout on the route "moving", and users who call it.
type pilot struct {
	*gateway
	broken atomic.Bool  // the candidate's provider answers with an error status
	code   atomic.Int64 // which one; 0: 500
	spoilt atomic.Int64 // when it first did, in Unix nanoseconds
	users  atomic.Int64
	calls  atomic.Int64
	failed atomic.Int64
	wrong  failures

	told  sync.Mutex
	hooks []map[string]any // what the webhook got
}

func newPilot(t *testing.T) *pilot {
	p := &pilot{wrong: failures{t: t}}
	t.Cleanup(p.wrong.report)
	p.gateway = newGateway(t)
	real := p.provider
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if p.broken.Load() && bytes.Contains(body, []byte(`"gpt-4o-mini"`)) {
			p.spoilt.CompareAndSwap(0, time.Now().UnixNano())
			w.Header().Set("Content-Type", "application/json")
			w.WriteHeader(cmp.Or(int(p.code.Load()), http.StatusInternalServerError))
			_, _ = io.WriteString(w, `{"error":{"message":"the model is overloaded","type":"server_error"}}`)
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		real.ServeHTTP(w, r)
	}))
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var event map[string]any
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			t.Error(err)
		}
		p.told.Lock()
		defer p.told.Unlock()
		p.hooks = append(p.hooks, event)
		if len(p.hooks) == 1 {
			w.WriteHeader(http.StatusBadGateway) // is posted again
		}
	}))
	p.upstream = upstream.URL
	p.env = append(p.env, "ROLLOUT_HOOK="+hook.URL)
	t.Cleanup(func() { upstream.CloseClientConnections(); upstream.Close(); hook.Close() })
	return p
}

// declare is a configuration with a rollout.
func (p *pilot) declare(candidate, rollout, more string) string {
	return p.config(fmt.Sprintf(`data_dir %s
		route moving {
			variant stable openai/gpt-4 {
				attempts 1
			}
			%s
			fallback stable
			rollout {
				%s
				webhook event {env.ROLLOUT_HOOK}
			}
		}
		%s`, p.data, candidate, rollout, more), "llm openai")
}

const mini = `variant candidate openai/gpt-4o-mini {
	attempts 1
}`

type rolloutStatus struct {
	Name    string
	Weights map[string]float64
	Status  struct {
		Phase       string
		Step, Steps int
		Generation  int
		HeldMS      int64 `json:"held_ms"`
		Reason      string
		Persisted   bool
		Units       map[string]int
		Guards      []struct{ Name, Outcome, Needed string }
		Log         []struct {
			At     time.Time
			Text   string
			Traces []string
		}
	}
}

func (p *pilot) status() (s rolloutStatus) {
	p.Helper()
	p.api(http.MethodGet, "/routes/moving", nil, &s)
	return s
}

func (p *pilot) until(limit time.Duration, phase string, candidate float64) (s rolloutStatus) {
	p.Helper()
	for end := time.Now().Add(limit); ; time.Sleep(20 * time.Millisecond) {
		s = p.status()
		if s.Status.Phase == phase && s.Weights["candidate"] == candidate {
			return s
		}
		if time.Now().After(end) {
			p.Fatalf("waited %s for %s at %v %%; it is %+v", limit, phase, candidate, s)
		}
	}
}

func (p *pilot) verb(verb string, in any) (status int, answer map[string]any) {
	p.Helper()
	status, _ = p.api(http.MethodPost, "/routes/moving/rollout/"+verb, in, &answer)
	return status, answer
}

// metrics are Prometheus's, without the help.
func (p *pilot) metrics() string {
	p.Helper()
	resp, err := http.Get("http://" + address(p.admin) + "/metrics")
	if err != nil {
		p.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		p.Fatal(err)
	}
	return string(raw)
}

// as makes one call of a user.
func (p *pilot) as(client *http.Client, user string) (variant string, err error) {
	body := fmt.Sprintf(`{"model":"moving","user":%q,"messages":[{"role":"user","content":"hello"}]}`, user)
	for try := 0; ; try++ {
		resp, err := client.Post(p.url+"/v1/chat/completions", "application/json", strings.NewReader(body))
		if err != nil && try < 2 { // as SDKs do; see send
			p.again.Add(1)
			continue
		}
		if err != nil {
			return "", err
		}
		raw, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err == nil && (resp.StatusCode != http.StatusOK || !bytes.Contains(raw, []byte("you said: hello"))) {
			err = fmt.Errorf("%d: %s", resp.StatusCode, raw)
		}
		return resp.Header.Get("LLM-Variant"), err
	}
}

// traffic has new users call until the test is over.
func (p *pilot) traffic(clients int) (stop func()) {
	var done atomic.Bool
	var work sync.WaitGroup
	for range clients {
		work.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for !done.Load() {
				p.calls.Add(1)
				if _, err := p.as(client, fmt.Sprintf("user-%d", p.users.Add(1))); err != nil {
					p.failed.Add(1)
					p.wrong.add("a client's request failed: %v", err)
				}
				time.Sleep(time.Millisecond)
			}
		})
	}
	return sync.OnceFunc(func() { done.Store(true); work.Wait() })
}

// TestRolloutRollsBack: a candidate that breaks at 20 % is taken back by
// itself, without a failed request, and stays so through a crash.
func TestRolloutRollsBack(t *testing.T) {
	long(t)
	p := newPilot(t)
	config := p.declare(mini, `step 5% 1s min_requests 30
		step 20% 1h
		guard errors margin 10%
		guard latency 3x`, "")
	p.start(config)
	stop := p.traffic(8)
	defer stop()
	p.until(30*time.Second, "progressing", 20)
	time.Sleep(time.Second)
	p.broken.Store(true)
	s := p.until(10*time.Second, "aborted", 0)
	took := s.Status.Log[len(s.Status.Log)-1].At.Sub(time.Unix(0, p.spoilt.Load()))
	stop()
	if n := p.failed.Load(); n > 0 {
		t.Errorf("%d client requests failed", n)
	}
	last := s.Status.Log[len(s.Status.Log)-1]
	if !strings.Contains(last.Text, "aborted at 20 %: failures") || !strings.Contains(last.Text, "status_500") || len(last.Traces) == 0 {
		t.Errorf("the reason is %+v", last)
	}
	for _, id := range last.Traces {
		if tr := p.trace(id); tr.Route != "moving" {
			t.Errorf("trace %s is %+v", id, tr)
		}
	}
	variant, err := p.as(p.client, "after")
	if err != nil || variant != "stable" {
		t.Errorf("afterwards: %s, %v", variant, err)
	}
	p.eventually(10*time.Second, "the webhook", func() bool {
		p.told.Lock()
		defer p.told.Unlock()
		return len(p.hooks) >= 4
	})
	var events []string
	for _, h := range p.hooks {
		if h["event"] != "llm_rollout_inconclusive" { // when a step's second is over before there is enough evidence
			events = append(events, fmt.Sprint(h["event"]))
		}
		if h["route"] != "moving" || h["text"] == "" {
			t.Errorf("event %v", h)
		}
	}
	if want := []string{"llm_rollout_advanced", "llm_rollout_advanced", "llm_rollout_advanced", "llm_rollout_aborted"}; !slices.Equal(events, want) {
		t.Errorf("events %v, want %v (the first is posted twice)", events, want)
	}
	if log := p.log.String(); !strings.Contains(log, "rollout: aborted at 20 %") {
		t.Error("no line in the log says so")
	}
	metrics := p.metrics()
	for _, line := range []string{
		`caddy_llm_route_weight{route="moving",variant="stable"} 1`, `caddy_llm_rollout_phase{phase="aborted",route="moving"} 1`, `caddy_llm_rollout_step{route="moving"} 2`,
		`caddy_llm_rollout_guard_outcome{guard="errors",outcome="fail",route="moving"} 1`, `caddy_llm_rollout_guard_value{bound="threshold",guard="errors",route="moving"} 0.1`,
		`caddy_llm_rollout_persisted{route="moving"} 1`,
	} {
		if !strings.Contains(metrics, line+"\n") {
			t.Errorf("the metrics have no %s", line)
		}
	}
	if !strings.Contains(metrics, `caddy_llm_rollout_units{route="moving",variant="candidate"} `) {
		t.Error("the metrics have no units")
	}
	p.kill()
	p.start(config)
	if s := p.until(5*time.Second, "aborted", 0); s.Status.Generation != 1 {
		t.Errorf("after a crash: %+v", s)
	}
	if status, _ := p.verb("resume", object{"actor": "ada", "reason": "the provider has repaired it"}); status != http.StatusOK {
		t.Errorf("resume: %d", status)
	}
	p.until(time.Second, "progressing", 5)
	t.Logf("rolled back %s after the first bad answer, %d calls in all, 0 failed: %s", took, p.calls.Load(), last.Text)
}

// TestRolloutToItsEnd goes through all steps while the configuration is
// reloaded in the middle of each, and is killed once.
func TestRolloutToItsEnd(t *testing.T) {
	long(t)
	p := newPilot(t)
	steps := `step 5% 2s min_requests 30
		step 25% 2s
		step 60% 2s
		step 100% 2s
		guard errors margin 10%`
	// A route beside it that nobody calls: no data is never healthy.
	idle := `route idle {
		variant stable openai/gpt-4
		variant candidate openai/gpt-4o-mini
		rollout {
			step 5% 1s
			step 100%
		}
	}`
	p.start(p.declare(mini, steps, idle))
	stop := p.traffic(8)
	defer stop()
	reloads := 0
	for seen := 0.0; ; time.Sleep(500 * time.Millisecond) {
		p.mustLoad(p.declare(mini, steps, idle+fmt.Sprintf("\ntraces {\nretain %dd\n}", 10+reloads%5)))
		reloads++
		s := p.status()
		if w := s.Weights["candidate"]; w < seen {
			t.Fatalf("the weight went from %v to %v: %+v", seen, w, s)
		} else {
			seen = w
		}
		if s.Status.Phase == "completed" {
			break
		}
		if reloads > 150 {
			t.Fatalf("it does not end: %+v", s)
		}
	}
	stop()
	if n := p.failed.Load(); n > 0 {
		t.Errorf("%d client requests failed", n)
	}
	var beside rolloutStatus
	if p.api(http.MethodGet, "/routes/idle", nil, &beside); beside.Status.Phase != "inconclusive" || beside.Weights["candidate"] != 5 || !strings.Contains(beside.Status.Reason, "no candidate requests") {
		t.Errorf("the route that nobody calls: %+v", beside)
	}
	s := p.until(time.Second, "completed", 100)
	if s.Status.Generation != 1 {
		t.Errorf("generation %d", s.Status.Generation)
	}
	if status, _ := p.verb("abort", object{"reason": "second thoughts"}); status != http.StatusOK {
		t.Errorf("abort: %d", status)
	}
	p.until(time.Second, "aborted", 0)
	if status, _ := p.verb("undo", nil); status != http.StatusOK {
		t.Errorf("undo: %d", status)
	}
	p.until(time.Second, "completed", 100)
	t.Logf("%d calls, 0 failed, %d reloads, %d made again", p.calls.Load(), reloads, p.again.Load())
}

// TestCandidateThatRefuses: a new model that refuses a parameter, the commonest
// fault of a migration, is taken back, and no caller gets its refusal.
func TestCandidateThatRefuses(t *testing.T) {
	long(t)
	p := newPilot(t)
	p.code.Store(http.StatusBadRequest)
	p.broken.Store(true)
	p.start(p.declare(mini, "step 20% 1h\nguard errors", ""))
	p.until(5*time.Second, "progressing", 20)
	stop := p.traffic(4)
	defer stop()
	s := p.until(20*time.Second, "aborted", 0)
	stop()
	if !strings.Contains(s.Status.Reason, "status_400") {
		t.Errorf("the reason is %s", s.Status.Reason)
	}
	t.Logf("%d calls, %d failed: %s", p.calls.Load(), p.failed.Load(), s.Status.Reason)
}

// TestRolloutSurvivesStops: what was measured is there after a stop, also one
// soon after a reload, and the time in between does not count.
func TestRolloutSurvivesStops(t *testing.T) {
	long(t)
	p := newPilot(t)
	config := p.declare(mini, "step 20% 1h\nguard errors", "")
	p.start(config)
	p.until(5*time.Second, "progressing", 20)
	for round := range 3 {
		stop := p.traffic(4)
		time.Sleep(700 * time.Millisecond)
		if round > 0 {
			p.mustLoad(p.declare(mini, "step 20% 1h\nguard errors", fmt.Sprintf("traces {\nretain %dd\n}", 10+round)))
		}
		time.Sleep(300 * time.Millisecond)
		stop()
		time.Sleep(1100 * time.Millisecond) // the next tick
		before := p.status()
		p.stop()
		time.Sleep(2 * time.Second)
		p.start(config)
		time.Sleep(1100 * time.Millisecond)
		after := p.status()
		if after.Status.Units["candidate"] < before.Status.Units["candidate"] || after.Status.Units["stable"] < before.Status.Units["stable"] || before.Status.Units["candidate"] == 0 {
			t.Errorf("round %d: units %v, before %v", round, after.Status.Units, before.Status.Units)
		}
		if more := after.Status.HeldMS - before.Status.HeldMS; more < 0 || more > 2500 {
			t.Errorf("round %d: held %d ms more", round, more)
		}
	}
}

// TestRolloutVerbs is what operators do, and what is refused.
func TestRolloutVerbs(t *testing.T) {
	long(t)
	p := newPilot(t)
	p.start(p.declare(mini, "step 10% 1h\nstep 50% 1h\nstep 100% 1h", ""))
	p.until(5*time.Second, "progressing", 10)
	weights := func(stable, candidate float64) object {
		return object{"weights": object{"stable": stable, "candidate": candidate}}
	}
	for i, step := range []struct {
		verb      string
		in        any
		status    int
		phase     string
		candidate float64
	}{
		{"resume", nil, 409, "progressing", 10},
		{"promote", object{"reason": "looks good", "actor": "ada"}, 200, "progressing", 50},
		{"pause", nil, 200, "paused", 50},
		{"pause", nil, 409, "paused", 50},
		{"resume", nil, 200, "progressing", 50},
		{"weights", weights(70, 30), 200, "paused", 30},
		{"weights", weights(70, 20), 400, "paused", 30},
		{"weights", object{"weights": object{"stable": 100}}, 400, "paused", 30},
		{"resume", nil, 200, "progressing", 50},
		{"undo", nil, 200, "paused", 30},
		{"undo", nil, 200, "progressing", 50},
		{"abort", nil, 200, "aborted", 0},
		{"abort", nil, 409, "aborted", 0},
		{"promote", nil, 409, "aborted", 0},
		{"resume", nil, 200, "progressing", 10},
		{"promote", object{"full": true}, 200, "completed", 100},
		{"promote", nil, 409, "completed", 100},
		{"promote", object{"complete": true}, 400, "completed", 100},
	} {
		status, answer := p.verb(step.verb, step.in)
		s := p.status()
		if status != step.status || s.Status.Phase != step.phase || s.Weights["candidate"] != step.candidate {
			t.Errorf("%d %s %v: %d, %s at %v; want %d, %s at %v: %v", i, step.verb, step.in, status, s.Status.Phase, s.Weights, step.status, step.phase, step.candidate, answer)
		}
		if e, _ := answer["error"].(map[string]any); status >= 400 && (e["message"] == "" || e["message"] == nil) {
			t.Errorf("%d %s: no message: %v", i, step.verb, answer)
		}
	}
	_, etag := p.route("moving")
	if status, _ := p.api(http.MethodPost, "/routes/moving/rollout/abort", nil, nil, "If-Match", etag); status != http.StatusOK {
		t.Errorf("abort with the right ETag: %d", status)
	}
	if status, _ := p.api(http.MethodPost, "/routes/moving/rollout/resume", nil, nil, "If-Match", etag); status != http.StatusPreconditionFailed {
		t.Errorf("resume with the ETag of before: %d", status)
	}
	if status, _ := p.api(http.MethodPost, "/routes/nothing/rollout/promote", nil, nil); status != http.StatusNotFound {
		t.Errorf("a route that is not there: %d", status)
	}
}

// TestRolloutChangesOnTheWay: what the Caddyfile and the prompts do to a rollout under way.
func TestRolloutChangesOnTheWay(t *testing.T) {
	long(t)
	p := newPilot(t)
	prompted := `variant candidate openai/gpt-4o-mini {
		prompt greeting@candidate
	}`
	const steps = "step 10% 1h\nstep 50% 1h"
	p.start(p.declare(prompted, steps, ""))
	if s := p.status(); s.Status.Phase != "pending" || !strings.Contains(s.Status.Reason, `"candidate" binds a prompt that is not there`) {
		t.Errorf("without its prompt: %+v", s)
	}
	p.register("greeting", "Say hello.")
	alias := func(version int) {
		t.Helper()
		if status, _ := p.api(http.MethodPut, "/prompts/greeting/aliases/candidate", object{"version": version}, nil); status != http.StatusOK {
			t.Fatalf("moving the alias: %d", status)
		}
	}
	alias(1)
	p.until(5*time.Second, "progressing", 10)
	p.verb("promote", nil)
	p.until(time.Second, "progressing", 50)

	p.register("greeting", "Say hello as a pirate would.")
	if s := p.status(); s.Weights["candidate"] != 50 {
		t.Errorf("a version that nothing points to: %+v", s)
	}
	alias(2)
	if s := p.status(); s.Status.Generation != 2 || s.Weights["candidate"] > 10 || !strings.Contains(fmt.Sprint(s.Status.Log), "greeting/2, before greeting/1") {
		t.Errorf("after the candidate's alias was moved: %+v", s)
	}
	p.until(5*time.Second, "progressing", 10)

	generation := p.status().Status.Generation
	load := func(what, candidate, rollout, more string, generations int, phase string, weight float64) {
		t.Helper()
		p.mustLoad(p.declare(candidate, rollout, more))
		s := p.status()
		if generation += generations; s.Status.Generation != generation || s.Status.Phase != phase || s.Weights["candidate"] != weight {
			t.Errorf("%s: generation %d, %s at %v; want %d, %s at %v: %+v", what, s.Status.Generation, s.Status.Phase, s.Weights, generation, phase, weight, s.Status)
		}
	}
	p.verb("promote", nil)
	load("another route and a comment", prompted, steps+"\n# as agreed", "route other {\nvariant only openai/gpt-4\n}", 0, "progressing", 50)
	load("a timeout", `variant candidate openai/gpt-4o-mini {
		prompt prompts:/greeting@candidate
		timeout 1m
	}`, steps, "", 0, "progressing", 50)
	if err := p.load(p.declare(prompted, "step 20% 1h\nstep 10% 1h", "")); err == nil || !strings.Contains(err.Error(), "more traffic than the one before") {
		t.Errorf("steps that go down: %v", err)
	}
	if err := p.load(p.declare(prompted, "step 30% 1h", "route broken {\nvariant a nowhere/gpt\n}")); err == nil {
		t.Error("a broken configuration was loaded")
	}
	load("after refused configurations", prompted, steps, "", 0, "progressing", 50)
	load("other steps", prompted, "step 30% 1h", "", 1, "pending", 50)
	p.until(5*time.Second, "progressing", 30)
	load("another candidate", `variant candidate openai/gpt-4o`, "step 30% 1h", "", 1, "pending", 0)
	p.until(5*time.Second, "progressing", 30)

	// The rollout is taken out: the declared weights are in force, and a later one begins anew.
	p.mustLoad(p.config(fmt.Sprintf("data_dir %s\nroute moving {\nvariant stable openai/gpt-4 {\nweight 60\n}\nvariant candidate openai/gpt-4o {\nweight 40\n}\n}", p.data), "llm openai"))
	if s := p.status(); s.Status.Phase != "none" || s.Weights["candidate"] != 40 {
		t.Errorf("without the rollout: %+v", s)
	}
	p.mustLoad(p.declare(`variant candidate openai/gpt-4o`, "step 30% 1h", ""))
	if s := p.status(); s.Weights["candidate"] != 0 && s.Weights["candidate"] != 30 {
		t.Errorf("declared again: %+v", s)
	}
	p.until(5*time.Second, "progressing", 30)
}

// TestVariantRemovedUnderConversations: conversations that were on a variant
// go on with another one.
func TestVariantRemovedUnderConversations(t *testing.T) {
	long(t)
	p := newPilot(t)
	p.start(p.declare(mini, "step 50% 1h\nstep 100% 1h", ""))
	p.until(5*time.Second, "progressing", 50)
	turn := func(i int, more ...object) (variant string) {
		t.Helper()
		messages := append([]object{{"role": "user", "content": fmt.Sprintf("conversation %d", i)}}, more...)
		resp, err := p.send(t.Context(), request{model: "moving", messages: messages})
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("conversation %d: %d", i, resp.StatusCode)
		}
		return resp.Header.Get("LLM-Variant")
	}
	later := []object{{"role": "assistant", "content": "yes"}, {"role": "user", "content": "and then?"}}
	var on []int
	for i := range 40 {
		if turn(i) == "candidate" {
			on = append(on, i)
		}
	}
	if len(on) < 5 {
		t.Fatalf("only %d conversations on the candidate", len(on))
	}
	p.verb("abort", nil)
	for _, i := range on {
		if v := turn(i, later...); v != "candidate" {
			t.Errorf("conversation %d went to %s in the middle", i, v)
		}
	}
	renamed := strings.ReplaceAll(p.declare(strings.ReplaceAll(mini, "candidate", "newer"), "step 50% 1h", ""), "rollout {", "rollout stable newer {")
	p.mustLoad(renamed)
	for _, i := range on {
		if v := turn(i, later...); v != "stable" && v != "newer" {
			t.Errorf("conversation %d went to %q", i, v)
		}
	}
}

// TestRolloutSurvivesKills kills the process at random moments while it is
// promoted and aborted: what was acknowledged holds.
func TestRolloutSurvivesKills(t *testing.T) {
	long(t)
	p := newPilot(t)
	config := p.declare(mini, "step 10% 1h\nstep 50% 1h\nstep 90% 1h", "")
	p.start(config)
	r := rand.New(rand.NewPCG(1, 2))
	acknowledged := 0
	for round := range 12 {
		p.until(5*time.Second, "progressing", 10)
		kill := time.AfterFunc(time.Duration(r.IntN(20_000))*time.Microsecond, func() { _ = p.cmd.Process.Kill() })
		last, asked := 10.0, 10.0
		for {
			verb, weight := "promote", map[float64]float64{10: 50, 50: 90}[last]
			if last == 90 {
				verb, weight = "abort", 0
			}
			if last == 0 {
				verb, weight = "resume", 10
			}
			asked = weight
			var s rolloutStatus
			status, _, err := p.tryAPI(http.MethodPost, "/routes/moving/rollout/"+verb, nil, &s)
			if err != nil {
				break
			}
			if status != http.StatusOK || s.Weights["candidate"] != weight {
				t.Fatalf("round %d: %s: %d %+v", round, verb, status, s)
			}
			last = weight
			acknowledged++
		}
		kill.Stop()
		p.kill()
		p.start(config)
		if got := p.status(); got.Weights["candidate"] != last && got.Weights["candidate"] != asked {
			t.Fatalf("round %d: after the crash %v, acknowledged was %v, asked for %v: %+v", round, got.Weights, last, asked, got)
		}
		p.verb("abort", nil)
		p.verb("resume", nil)
	}
	t.Logf("12 crashes, %d acknowledged decisions", acknowledged)
}

// TestRolloutSoak is ten minutes, or FRONTIER_SOAK, of traffic with a reload
// every five seconds in the middle of a rollout.
func TestRolloutSoak(t *testing.T) {
	lasts, err := time.ParseDuration(os.Getenv("FRONTIER_ROLLOUT_SOAK"))
	if err != nil {
		t.Skip("run by: make soak-rollout DURATION=10m")
	}
	p := newPilot(t)
	const steps = "step 10% 1h\nstep 50% 1h\nguard errors\nguard latency"
	p.start(p.declare(mini, steps, ""))
	p.until(5*time.Second, "progressing", 10)
	stop := p.traffic(8)
	defer stop()
	reloads := 0
	for end := time.Now().Add(lasts); time.Now().Before(end); reloads++ {
		time.Sleep(5 * time.Second)
		p.mustLoad(p.declare(mini, steps, fmt.Sprintf("traces {\nretain %dd\n}", 10+reloads%5)))
		if reloads == 10 {
			p.verb("promote", nil)
		}
	}
	stop()
	s := p.status()
	if s.Status.Generation != 1 || s.Status.Phase == "aborted" || s.Status.Phase == "paused" {
		t.Errorf("it is %+v", s)
	}
	t.Logf("%s: %d calls, %d failed, %d made again, %d reloads; held %s, units %v", lasts, p.calls.Load(), p.failed.Load(), p.again.Load(), reloads,
		time.Duration(s.Status.HeldMS)*time.Millisecond, s.Status.Units)
}
