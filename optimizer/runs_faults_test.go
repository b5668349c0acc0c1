package optimizer

import (
	"bytes"
	"context"
	"encoding/json"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/optimizer/scorer"
	"github.com/caddy-frontier/frontier/optimizer/search"
	"github.com/caddy-frontier/frontier/routing"
)

var exact = json.RawMessage(`"exact"`)

func optimizationSpec() OptimizationSpec {
	return OptimizationSpec{Prompt: "senti", Model: "p/small", Reflector: "p/reflect", Dataset: "reviews", Scorer: exact, Parameters: zero, Register: RegisterNever}
}

// TestPausedRunGoesOn: what was under way when it was paused is kept, and nothing is paid for twice, however often it is interrupted.
func TestPausedRunGoesOn(t *testing.T) {
	g := &fakeGateway{answer: classify, before: func() { time.Sleep(time.Millisecond) }}
	b := classifier(t, g, 9)
	spec := optimizationSpec()
	run := b.optimize(spec)
	for range 6 {
		time.Sleep(time.Duration(rand.IntN(25)) * time.Millisecond)
		if _, err := b.runs.Pause(run.ID, who{}); err != nil {
			break // it was over
		}
		if paused, _ := b.runs.Get(run.ID); paused.State != Paused {
			t.Fatalf("the run is %s", paused.State)
		}
		if _, err := b.runs.Resume(run.ID, who{}); err != nil {
			t.Fatal(err)
		}
	}
	b.wait(run.ID, Succeeded)
	if calls, twice := g.total(); twice != 0 || calls > defaultCalls {
		t.Errorf("%d calls, %d of them twice", calls, twice)
	}
	if _, err := b.runs.Pause(run.ID, who{}); err == nil {
		t.Error("a run that is over was paused")
	}
}

// TestRunGoesOnWhenTheDirectoryIsOpenedAgain, as after the end of the process, in the middle of its calls.
func TestRunGoesOnWhenTheDirectoryIsOpenedAgain(t *testing.T) {
	g := &fakeGateway{answer: classify, before: func() { time.Sleep(time.Millisecond) }}
	b := classifier(t, g, 9)
	run := b.optimize(optimizationSpec())
	for range 4 {
		time.Sleep(20 * time.Millisecond)
		b.close()
		b.open()
		b.put("reviews", classified(9))
		b.runs.Use(g)
	}
	run = b.wait(run.ID, Succeeded, Failed)
	if _, twice := g.total(); twice != 0 || run.State != Succeeded {
		t.Errorf("%d calls were made twice; the run is %s", twice, run.State)
	}
}

func TestCancelledRunGivesUpItsCalls(t *testing.T) {
	begun := make(chan struct{}, 100)
	g := &fakeGateway{answer: classify}
	b := classifier(t, g, 9)
	hang := &hanging{fakeGateway: g, begun: begun}
	b.runs.Use(hang)
	run := b.optimize(optimizationSpec())
	<-begun
	if _, err := b.runs.Cancel(run.ID, who{Reason: "enough"}); err != nil {
		t.Fatal(err)
	}
	x, err := b.runs.find(run.ID)
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-x.idle():
	case <-time.After(5 * time.Second):
		t.Fatal("a cancelled run still works")
	}
	run = b.wait(run.ID, Cancelled)
	if run.Ended == nil {
		t.Error("a cancelled run has no end")
	}
	if err := b.runs.Delete(run.ID); err != nil {
		t.Error(err)
	}
	if _, err := b.runs.Get(run.ID); err == nil {
		t.Error("a deleted run is there")
	}
}

// hanging never answers.
type hanging struct {
	*fakeGateway
	begun chan struct{}
}

func (h *hanging) Ask(ctx context.Context, _ routing.Question) (*routing.Reply, error) {
	h.begun <- struct{}{}
	<-ctx.Done()
	return nil, context.Cause(ctx)
}

func TestRunWaitsForItsProvider(t *testing.T) {
	g := &fakeGateway{answer: classify}
	b := classifier(t, g, 9)
	without := &fakeGateway{answer: classify, models: []string{"p/reflect"}}
	var once atomic.Bool
	g.before = func() {
		if once.CompareAndSwap(false, true) { // a reload takes the provider away in the middle
			b.runs.Use(without)
			b.runs.Release(g)
		}
	}
	run := b.optimize(optimizationSpec())
	run = b.wait(run.ID, Paused)
	if run.Error == nil || !strings.Contains(*run.Error, "p/small") {
		t.Errorf("it waits and says %v", run.Error)
	}
	back := &fakeGateway{answer: classify}
	b.runs.Use(back)
	b.runs.Release(without)
	b.wait(run.ID, Succeeded)
	if calls, _ := without.total(); calls != 0 {
		t.Errorf("%d calls without the provider", calls)
	}
}

func TestRunPausesWhenTheQuotaIsUsedUp(t *testing.T) {
	var empty atomic.Bool
	empty.Store(true)
	g := &fakeGateway{answer: func(q routing.Question) (string, error) {
		if empty.Load() {
			return "", &routing.AskError{Status: 429, Code: "insufficient_quota", Message: "you have no money left"}
		}
		return classify(q)
	}}
	b := classifier(t, g, 6)
	run := b.wait(b.optimize(optimizationSpec()).ID, Paused)
	if run.Error == nil || !strings.Contains(*run.Error, "quota") {
		t.Fatalf("it is paused and says %v", run.Error)
	}
	empty.Store(false)
	if _, err := b.runs.Resume(run.ID, who{}); err != nil {
		t.Fatal(err)
	}
	b.wait(run.ID, Succeeded)
}

func TestRunWaitsForTheDisk(t *testing.T) {
	g := &fakeGateway{answer: classify}
	b := newBed(t)
	var full atomic.Bool
	b.runs.room = func() error {
		if full.Load() {
			return control.ErrNoSpace
		}
		return nil
	}
	b.prompt("senti", "Classify.\nText: {{text}}")
	b.put("reviews", classified(6))
	full.Store(true)
	b.runs.Use(g)
	run := b.wait(b.optimize(optimizationSpec()).ID, Paused)
	if run.Error == nil || !strings.Contains(*run.Error, "disk") {
		t.Errorf("it waits and says %v", run.Error)
	}
	if calls, _ := g.total(); calls != 0 {
		t.Errorf("%d calls were made that could not be recorded", calls)
	}
	full.Store(false)
	b.wait(run.ID, Succeeded)
}

func TestTwoOptimizationsOfOnePrompt(t *testing.T) {
	begun := make(chan struct{}, 100)
	b := classifier(t, &fakeGateway{answer: classify}, 6)
	b.runs.Use(&hanging{fakeGateway: &fakeGateway{}, begun: begun})
	first := b.optimize(optimizationSpec())
	spec := optimizationSpec()
	_, _, err := b.runs.Optimize(t.Context(), &spec, who{}, false)
	if err == nil || !strings.Contains(err.Error(), first.ID) {
		t.Errorf("a second run on the same prompt: %v", err)
	}
	other := optimizationSpec()
	other.Model = "p/other"
	if _, _, err := b.runs.Optimize(t.Context(), &other, who{}, false); err != nil {
		t.Errorf("a run on the same prompt for another model: %v", err)
	}
}

func TestModelThatAlwaysFails(t *testing.T) {
	g := &fakeGateway{answer: func(routing.Question) (string, error) {
		return "", &routing.AskError{Status: 400, Class: "invalid_request", Message: "no such thing"}
	}}
	b := classifier(t, g, 6)
	run := b.wait(b.compare(ComparisonSpec{Dataset: "reviews", Candidates: []CandidateSpec{{Model: "p/small", Prompt: "senti"}}}).ID, Succeeded)
	var comparison Comparison
	b.report(run.ID, &comparison)
	c := comparison.Candidates[1]
	if c.Verdict != Inconclusive || c.Errors != 6 || c.Score != nil || c.Consistency.Of != 0 || comparison.Records[0].Answers[1].Error == "" {
		t.Errorf("got %+v", c)
	}
	run = b.wait(b.optimize(optimizationSpec()).ID, Succeeded)
	var optimization Optimization
	b.report(run.ID, &optimization)
	if optimization.Better || optimization.Registered != "" || optimization.Before != nil || optimization.Reason == "" {
		t.Errorf("got %+v", optimization.OptimizationResult)
	}
}

func TestReflectorsThatAreOfNoUse(t *testing.T) {
	for name, answer := range map[string]string{
		"garbage":  "\x00\xff no idea",
		"drops":    "```\nClassify in lowercase.\n```",
		"huge":     "```\n" + strings.Repeat("Answer in lowercase, please. ", 7000) + "\nText: {{text}}\n```",
		"variable": "```\nClassify {{everything}} in lowercase.\nText: {{text}}\n```",
		"empty":    "",
	} {
		t.Run(name, func(t *testing.T) {
			g := &fakeGateway{answer: func(q routing.Question) (string, error) {
				if q.Model == "p/reflect" {
					return answer, nil
				}
				return classify(q)
			}}
			b := classifier(t, g, 6)
			spec := optimizationSpec()
			spec.Budget, spec.InstructionsOnly = &Budget{Calls: 60}, true
			run := b.wait(b.optimize(spec).ID, Succeeded)
			var report Optimization
			b.report(run.ID, &report)
			text := report.Template.Text()
			if !strings.Contains(text, "{{text}}") || strings.Contains(text, "{{everything}}") || len(text) > 100_000 {
				t.Errorf("the best prompt is %q", text[:min(len(text), 200)])
			}
			if report.Calls > 60 {
				t.Errorf("%d calls", report.Calls)
			}
		})
	}
}

func TestScorerThatFails(t *testing.T) {
	b := classifier(t, &fakeGateway{answer: classify}, 6)
	run := b.wait(b.compare(ComparisonSpec{
		Dataset: "reviews", Scorer: json.RawMessage(`{"scorer": "http", "url": "http://127.0.0.1:1/score", "timeout": "1s"}`),
		Candidates: []CandidateSpec{{Model: "p/small", Prompt: "senti"}},
	}).ID, Succeeded)
	var report Comparison
	b.report(run.ID, &report)
	if c := report.Candidates[1]; c.Unjudged != 6 || c.Score != nil || c.Verdict != Inconclusive {
		t.Errorf("got %+v", c)
	}
}

func TestThrottledProviderIsAskedLess(t *testing.T) {
	var under atomic.Int32
	g := &fakeGateway{}
	g.answer = func(q routing.Question) (string, error) {
		now := under.Add(1)
		defer under.Add(-1)
		time.Sleep(2 * time.Millisecond)
		if now > 2 {
			return "", &routing.AskError{Status: 429, Retry: true, RetryAfter: 20 * time.Millisecond, Message: "slow down"}
		}
		return classify(q)
	}
	b := classifier(t, g, 30)
	run := b.wait(b.compare(ComparisonSpec{Dataset: "reviews", Candidates: []CandidateSpec{{Model: "p/small", Prompt: "senti"}}}).ID, Succeeded)
	var report Comparison
	b.report(run.ID, &report)
	if report.Candidates[1].Errors != 0 || report.Calls != 30 {
		t.Errorf("%d errors, %d calls are counted", report.Candidates[1].Errors, report.Calls)
	}
}

// TestThrottle: each 429 halves the bound, and each round of answers that meets it raises it by one.
func TestThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		th := newThrottle()
		take := func() (n int) { // as many turns as there are
			for {
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				err := th.acquire(ctx)
				cancel()
				if err != nil {
					return n
				}
				n++
			}
		}
		if n := take(); n != mostBusy {
			t.Fatalf("%d turns at first, want %d", n, mostBusy)
		}
		for range mostBusy {
			th.release(false, 0)
		}
		for range 8 {
			_ = th.acquire(t.Context())
		}
		th.release(true, 5*time.Second)
		if n := take(); n != 0 {
			t.Errorf("%d turns while the provider wants to be left alone", n)
		}
		for range 7 {
			th.release(false, 0)
		}
		began := time.Now()
		if err := th.acquire(t.Context()); err != nil || time.Since(began) < 4*time.Second {
			t.Errorf("a turn after %s (%v), want 5s", time.Since(began), err)
		}
		if n := take() + 1; n != 4 {
			t.Errorf("%d turns after a 429 with 8 under way, want 4", n)
		}
		for range 4 {
			th.release(false, 0)
		}
		if n := take(); n != 5 {
			t.Errorf("%d turns after a round of answers that met the bound, want 5", n)
		}
		for range 5 {
			th.release(false, 0)
		}
		for range 20 { // a bound that is not met says nothing
			_ = th.acquire(t.Context())
			th.release(false, 0)
		}
		if n := take(); n > 6 {
			t.Errorf("%d turns after answers one at a time, want 6 at most", n)
		}
	})
}

func TestDollarsAreNeverOverspent(t *testing.T) {
	g := &fakeGateway{answer: classify, price: 1000}
	b := classifier(t, g, 9)
	spec := optimizationSpec()
	spec.Budget = &Budget{USD: 40}
	spec.Parameters = map[string]json.RawMessage{"temperature": json.RawMessage("0"), "max_tokens": json.RawMessage("50")}
	run := b.wait(b.optimize(spec).ID, Succeeded, Failed)
	if run.Progress.SpentUSD == nil || *run.Progress.SpentUSD > 40 || *run.Progress.SpentUSD == 0 {
		t.Errorf("spent %v of $40", run.Progress.SpentUSD)
	}
}

func TestPlansRefuse(t *testing.T) {
	b := classifier(t, &fakeGateway{answer: classify, models: []string{"p/small", "p/reflect"}}, 6)
	b.prompt("other", "Say {{word}}.")
	b.prompt("constant", "Say hello.")
	bare := classified(3)
	for i := range bare {
		bare[i].Expected = nil
	}
	b.put("bare", bare)
	b.put("empty", nil)
	b.put("whole", []Record{{ID: "m", Messages: json.RawMessage(`[{"role":"user","content":"hi"}]`), Expected: json.RawMessage(`"hi"`)}})
	optimize := func(change func(*OptimizationSpec)) error {
		spec := optimizationSpec()
		change(&spec)
		_, _, err := b.runs.Optimize(t.Context(), &spec, who{}, true)
		return err
	}
	compare := func(change func(*ComparisonSpec)) error {
		spec := ComparisonSpec{Dataset: "reviews", Candidates: []CandidateSpec{{Model: "p/small", Prompt: "senti"}}}
		change(&spec)
		_, _, err := b.runs.Compare(t.Context(), &spec, who{}, true)
		return err
	}
	for _, c := range []struct {
		name string
		err  error
		want string
	}{
		{"no expected answers", optimize(func(s *OptimizationSpec) { s.Dataset = "bare" }), "no record of bare has an expected answer"},
		{"no expected answers to compare with", compare(func(s *ComparisonSpec) { s.Dataset = "bare" }), "name a baseline"},
		{"no records", optimize(func(s *OptimizationSpec) { s.Dataset = "empty" }), "empty"},
		{"variables that the records lack", optimize(func(s *OptimizationSpec) { s.Prompt = "other" }), "lacks what prompt other/1 has as variables: word"},
		{"none of the variables", optimize(func(s *OptimizationSpec) { s.Prompt = "constant" }), "has none of the records' variables (text)"},
		{"whole messages", optimize(func(s *OptimizationSpec) { s.Dataset = "whole" }), "whole messages"},
		{"no prompt", compare(func(s *ComparisonSpec) { s.Candidates[0].Prompt = "" }), "needs a prompt"},
		{"an unknown prompt", optimize(func(s *OptimizationSpec) { s.Prompt = "nothing" }), "nothing"},
		{"an unknown model", optimize(func(s *OptimizationSpec) { s.Model = "q/x" }), "there is no model q/x"},
		{"an unknown reflector", optimize(func(s *OptimizationSpec) { s.Reflector = "q/x" }), "there is no model q/x"},
		{"an unknown optimizer", optimize(func(s *OptimizationSpec) { s.Optimizer = json.RawMessage(`"gepa"`) }), `there is no optimizer "gepa"; there are few_shot, frontier, rewrite`},
		{"an option it lacks", optimize(func(s *OptimizationSpec) { s.Optimizer = json.RawMessage(`{"optimizer": "frontier", "magic": 1}`) }), "magic"},
		{"an unknown scorer", optimize(func(s *OptimizationSpec) { s.Scorer = json.RawMessage(`"vibes"`) }), "vibes"},
		{"a judge without its model", optimize(func(s *OptimizationSpec) { s.Scorer = json.RawMessage(`{"scorer": "judge", "model": "q/judge"}`) }), "there is no model q/judge"},
		{"a budget below one pass", optimize(func(s *OptimizationSpec) { s.Budget = &Budget{Calls: 5} }), "a budget of 5 calls is below the 6"},
		{"a budget below the comparison", compare(func(s *ComparisonSpec) { s.Budget = &Budget{Calls: 5} }), "a budget of 5 calls is below the 6"},
		{"dollars without prices", optimize(func(s *OptimizationSpec) { s.Budget = &Budget{USD: 1} }), "the price of p/small is not known"},
		{"no time", optimize(func(s *OptimizationSpec) { s.Budget = &Budget{Time: "soon"} }), `"soon" is not a time`},
		{"a negative budget", optimize(func(s *OptimizationSpec) { s.Budget = &Budget{Calls: -1} }), "above zero"},
		{"too many at once", optimize(func(s *OptimizationSpec) { s.Parallelism = 1000 }), "parallelism 1000"},
		{"more to learn from than there is", optimize(func(s *OptimizationSpec) { s.Train = 7 }), "train 7"},
		{"no way to register", optimize(func(s *OptimizationSpec) { s.Register = "maybe" }), `"maybe"`},
		{"a parameter of the run's", compare(func(s *ComparisonSpec) { s.Candidates[0].Parameters = map[string]json.RawMessage{"stream": nil} }), `"stream"`},
		{"the same twice", compare(func(s *ComparisonSpec) { s.Candidates = append(s.Candidates, s.Candidates[0]) }), "two candidates"},
		{"no candidates", compare(func(s *ComparisonSpec) { s.Candidates = nil }), "no candidates"},
		{"a share above one", compare(func(s *ComparisonSpec) { s.Ready = &ReadySpec{Consistency: 90} }), "90 is no share"},
		{"labels that are none", compare(func(s *ComparisonSpec) { s.Labelled = "reviews" }), "needs the tags answer"},
	} {
		if c.err == nil || !strings.Contains(c.err.Error(), c.want) {
			t.Errorf("%s: got the error %v, want %q in it", c.name, c.err, c.want)
		}
	}
	plan, run, err := b.runs.Optimize(t.Context(), new(optimizationSpec()), who{}, true)
	if err != nil || run != nil || plan.Calls != 300 || plan.Cost != nil || len(plan.Warnings) == 0 {
		t.Errorf("a dry run: plan %+v, run %v, %v", plan, run, err)
	}
}

func TestDataThatIsHardToLearnFrom(t *testing.T) {
	same := make([]Record, 6)
	for i := range same {
		same[i] = Record{ID: string(rune('a' + i)), Inputs: map[string]string{"text": "review 1 is positive"}, Expected: json.RawMessage(`"positive"`)}
	}
	for name, records := range map[string][]Record{"one": classified(1), "identical": same} {
		t.Run(name, func(t *testing.T) {
			b := classifier(t, &fakeGateway{answer: classify}, 6)
			b.put("reviews", records)
			run := b.wait(b.optimize(optimizationSpec()).ID, Succeeded, Failed)
			if run.State != Succeeded {
				t.Fatalf("the run is %s: %s", run.State, *run.Error)
			}
			var report Optimization
			b.report(run.ID, &report)
			if report.Calls > defaultCalls || report.Reason == "" {
				t.Errorf("got %+v", report.OptimizationResult)
			}
		})
	}
}

// broken is a guest's optimiser with a programming error.
type broken struct{}

func (broken) Optimize(context.Context, search.Problem, search.Lab) (*search.Result, error) {
	panic("oops")
}

func TestPanicOfAGuestEndsItsRunAlone(t *testing.T) {
	b := classifier(t, &fakeGateway{answer: classify}, 6)
	x := newExecution(b.runs, Run{ID: "r", State: Running})
	_, _, err := x.guard(func() (any, any, error) {
		_, err := broken{}.Optimize(t.Context(), search.Problem{}, nil)
		return nil, nil, err
	})
	if err == nil || !strings.Contains(err.Error(), "oops") {
		t.Errorf("got %v", err)
	}
}

func TestAgreementWithPeople(t *testing.T) {
	b := classifier(t, &fakeGateway{answer: classify}, 6)
	people := classified(4)
	for i := range people {
		people[i].Tags = map[string]string{"answer": "positive", "score": "0"}
	}
	people[0].Tags["score"] = "1"
	b.put("people", people)
	run := b.wait(b.compare(ComparisonSpec{Dataset: "reviews", Scorer: exact, Labelled: "people", Candidates: []CandidateSpec{{Model: "p/small", Prompt: "senti"}}}).ID, Succeeded)
	var report Comparison
	b.report(run.ID, &report)
	a := report.Agreement
	if a == nil || a.N != 4 || a.Accuracy == nil || *a.Accuracy != 0.75 {
		t.Errorf("got %+v", a)
	}
}

func TestEventsAreNotedOnce(t *testing.T) {
	b := classifier(t, &fakeGateway{answer: classify, before: func() { time.Sleep(time.Millisecond) }}, 9)
	run := b.optimize(optimizationSpec())
	time.Sleep(60 * time.Millisecond)
	if _, err := b.runs.Pause(run.ID, who{}); err == nil {
		if _, err := b.runs.Resume(run.ID, who{}); err != nil {
			t.Fatal(err)
		}
	}
	b.wait(run.ID, Succeeded)
	x, _ := b.runs.find(run.ID)
	events := x.eventsAfter(0)
	for i, e := range events {
		if e.Number != i+1 {
			t.Fatalf("event %d has the number %d", i+1, e.Number)
		}
	}
	if len(events) == 0 || events[0].Kind != "probe" && events[0].Kind != "phase" || events[len(events)-1].Kind != "result" {
		t.Errorf("%d events, from %+v to %+v", len(events), events[0], events[len(events)-1])
	}
	// A process that has not worked on the run reads them from its journal.
	b.close()
	b.open()
	x, _ = b.runs.find(run.ID)
	if again := x.eventsAfter(0); len(again) != len(events) || !bytes.Equal(again[0].Data, events[0].Data) {
		t.Errorf("%d events are read back, want %d", len(again), len(events))
	}
}

// Interface guards
var _ scorer.Asker = (*session)(nil)
