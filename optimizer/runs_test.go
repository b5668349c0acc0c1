package optimizer

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/control"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing"
)

// fakeGateway answers calls by a function, and counts them.
type fakeGateway struct {
	answer func(q routing.Question) (string, error)
	models []string // those it has; nil: all
	price  float64  // of a million tokens; 0: unknown
	before func()   // each call

	mu    sync.Mutex
	calls map[string]int // by model and messages
}

func (g *fakeGateway) Ask(ctx context.Context, q routing.Question) (*routing.Reply, error) {
	if g.before != nil {
		g.before()
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	g.mu.Lock()
	if g.calls == nil {
		g.calls = map[string]int{}
	}
	g.calls[q.Model+string(q.Messages)]++
	g.mu.Unlock()
	text, err := g.answer(q)
	if err != nil {
		return nil, err
	}
	r := &routing.Reply{Text: text, Duration: 30 * time.Millisecond, FirstToken: 10 * time.Millisecond, Usage: &call.Usage{Input: int64(len(q.Messages) / 4), Output: 2}, Trace: "t"}
	if g.price > 0 {
		usd := float64(r.Usage.Input+r.Usage.Output) * g.price / 1e6
		r.CostUSD = &usd
	}
	return r, nil
}

func (g *fakeGateway) CheckModel(model string) error {
	if g.models == nil {
		return nil
	}
	if slices.Contains(g.models, model) {
		return nil
	}
	return fmt.Errorf("there is no model %s", model)
}

func (g *fakeGateway) ModelCost(string) (input, output float64, ok bool) {
	return g.price, g.price, g.price > 0
}

// total is how many calls were made, and twice how many of them for something that was asked before.
func (g *fakeGateway) total() (calls, twice int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range g.calls {
		calls += n
		twice += n - 1
	}
	return calls, twice
}

// bed is a data directory with what runs work with.
type bed struct {
	t        *testing.T
	dir      string
	control  *control.Store
	registry *prompts.Registry
	datasets *Datasets
	runs     *Runs
}

func newBed(t *testing.T) *bed {
	t.Helper()
	b := &bed{t: t, dir: t.TempDir()}
	b.open()
	t.Cleanup(b.close)
	return b
}

func (b *bed) open() {
	b.t.Helper()
	var err error
	must := func() {
		if err != nil {
			b.t.Helper()
			b.t.Fatal(err)
		}
	}
	b.control, err = control.Open(filepath.Join(b.dir, "control"), zap.NewNop(), control.MinFree(1))
	must()
	b.registry, err = prompts.NewRegistry(b.control, zap.NewNop())
	must()
	b.datasets, err = NewDatasets(b.control, filepath.Join(b.dir, "datasets"), zap.NewNop())
	must()
	b.runs, err = NewRuns(Deps{Control: b.control, Datasets: b.datasets, Registry: b.registry}, filepath.Join(b.dir, "runs"), zap.NewNop())
	must()
}

func (b *bed) close() {
	b.runs.Close(time.Second)
	b.registry.Close()
	_ = b.control.Close()
}

// prompt registers a version.
func (b *bed) prompt(name, template string) {
	b.t.Helper()
	parsed, err := prompts.ParseText(template)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, _, err := b.registry.Register(prompts.Draft{Name: name, Template: parsed}); err != nil {
		b.t.Fatal(err)
	}
}

// classified are records of a classifier: whether a text says good or bad.
func classified(n int) []Record {
	list := make([]Record, n)
	for i := range list {
		label := []string{"positive", "negative", "neutral"}[i%3]
		list[i] = Record{
			ID: fmt.Sprintf("r%03d", i), Inputs: map[string]string{"text": fmt.Sprintf("review %d is %s", i, label)}, Expected: json.RawMessage(`"` + label + `"`),
		}
	}
	return list
}

// classify is a model that says what it is asked for, shouting unless the prompt has the word lowercase.
func classify(q routing.Question) (string, error) {
	text := string(q.Messages)
	if strings.Contains(q.Model, "reflect") {
		return "Better:\n```\nClassify.\nAnswer in lowercase.\nText: {{text}}\n```", nil
	}
	at := strings.LastIndex(text, "review ")
	for _, label := range []string{"positive", "negative", "neutral"} {
		if strings.Contains(text[at:], label) {
			if strings.Contains(text, "lowercase") {
				return label, nil
			}
			return strings.ToUpper(label) + " it is", nil
		}
	}
	return "?", nil
}

// wait waits until the run is in one of the states.
func (b *bed) wait(id string, states ...State) Run {
	b.t.Helper()
	for range 2000 {
		run, err := b.runs.Get(id)
		if err != nil {
			b.t.Fatal(err)
		}
		if slices.Contains(states, run.State) {
			return run
		}
		time.Sleep(5 * time.Millisecond)
	}
	run, _ := b.runs.Get(id)
	doc, _ := json.Marshal(run)
	b.t.Fatalf("the run is not %v: %s", states, doc)
	return Run{}
}

func (b *bed) optimize(spec OptimizationSpec) Run {
	b.t.Helper()
	_, run, err := b.runs.Optimize(b.t.Context(), &spec, who{}, false)
	if err != nil {
		b.t.Fatal(err)
	}
	return *run
}

func (b *bed) compare(spec ComparisonSpec) Run {
	b.t.Helper()
	_, run, err := b.runs.Compare(b.t.Context(), &spec, who{}, false)
	if err != nil {
		b.t.Fatal(err)
	}
	return *run
}

func (b *bed) report(id string, report any) {
	b.t.Helper()
	_, doc, err := b.runs.Report(id)
	if err != nil {
		b.t.Fatal(err)
	}
	if err := json.Unmarshal(doc, report); err != nil {
		b.t.Fatal(err)
	}
}

// classifier is a bed with a prompt and its records.
func classifier(t *testing.T, g *fakeGateway, records int) *bed {
	b := newBed(t)
	b.prompt("senti", "Classify.\nText: {{text}}")
	b.put("reviews", classified(records))
	b.runs.Use(g)
	return b
}

var zero = map[string]json.RawMessage{"temperature": json.RawMessage("0")}

func TestComparisonTellsTheVerdict(t *testing.T) {
	g := &fakeGateway{answer: classify, price: 2}
	b := classifier(t, g, 12)
	b.prompt("senti", "Classify, in lowercase.\nText: {{text}}")
	run := b.compare(ComparisonSpec{Dataset: "reviews", Scorer: json.RawMessage(`"exact"`), Candidates: []CandidateSpec{
		{Model: "p/small", Prompt: "senti/1"}, {Model: "p/small", Prompt: "senti/2"},
	}})
	run = b.wait(run.ID, Succeeded, Failed)
	var report Comparison
	b.report(run.ID, &report)
	if len(report.Candidates) != 3 || len(report.Records) != 12 {
		t.Fatalf("%d candidates and %d records", len(report.Candidates), len(report.Records))
	}
	first, second := report.Candidates[1], report.Candidates[2]
	if first.Verdict != NotReady || first.Consistency.Count != 0 || second.Status() != "ready (small sample, n=12)" || second.Consistency.Count != 12 {
		t.Errorf("got %s (%+v) and %s (%+v)", first.Status(), first.Consistency, second.Status(), second.Consistency)
	}
	if second.Difference == nil || first.Difference.Losses != 12 || second.Difference.Losses != 0 {
		t.Errorf("differences %+v, %+v", first.Difference, second.Difference)
	}
	if second.LatencyMS == nil || second.LatencyMS.P50 != 30 || second.TTFTMS.P50 != 10 || second.CostPerMillion == nil || !near(*second.CostPerMillion, 2, 1e-9) {
		t.Errorf("latency %+v, cost %v", second.LatencyMS, second.CostPerMillion)
	}
	if a := report.Records[0].Answers[1]; a.Agrees == nil || *a.Agrees || a.Why == "" || a.Trace != "t" {
		t.Errorf("an answer that is wrong: %+v", a)
	}
	if calls, twice := g.total(); calls != 24 || twice != 0 || run.Progress.Calls != 24 || run.Progress.Done != 24 || run.Progress.SpentUSD == nil {
		t.Errorf("%d calls, %d of them twice, progress %+v", calls, twice, run.Progress)
	}
}

func TestComparisonWithALiveBaseline(t *testing.T) {
	g := &fakeGateway{answer: func(q routing.Question) (string, error) {
		if q.Model == "p/old" && bytes.Contains(q.Messages, []byte("review 1 ")) {
			return "odd", nil
		}
		return classify(q)
	}}
	b := newBed(t)
	b.prompt("senti", "Classify, in lowercase.\nText: {{text}}")
	b.put("reviews", classified(10))
	b.runs.Use(g)
	run := b.compare(ComparisonSpec{Dataset: "reviews", Baseline: &CandidateSpec{Model: "p/old", Prompt: "senti"}, Candidates: []CandidateSpec{{Model: "p/new", Prompt: "senti"}}})
	b.wait(run.ID, Succeeded)
	var report Comparison
	b.report(run.ID, &report)
	base, now := report.Candidates[0], report.Candidates[1]
	if base.Verdict != Production || base.Score.Mean != 0.9 || now.Consistency.Count != 9 || now.Score.Mean != 1 || now.Difference.Wins != 1 {
		t.Errorf("baseline %+v, candidate %+v", base, now)
	}
}

func TestOptimizationRegistersWhatIsBetter(t *testing.T) {
	g := &fakeGateway{answer: classify, price: 1}
	b := classifier(t, g, 12)
	run := b.wait(b.optimize(OptimizationSpec{Prompt: "senti", Model: "p/small", Reflector: "p/reflect", Dataset: "reviews", Scorer: json.RawMessage(`"exact"`), Parameters: zero, InstructionsOnly: true}).ID, Succeeded, Failed)
	var report Optimization
	b.report(run.ID, &report)
	if !report.Better || report.Registered != "prompts:/senti/2" || *report.Before != 0 || *report.After != 1 {
		t.Fatalf("got %+v", report.OptimizationResult)
	}
	v, err := b.registry.Current().Resolve(prompts.Reference{Name: "senti"})
	if err != nil || v.Tags[TagRun] != run.ID || v.Tags[TagEvidence] != "small_sample" || v.Parent != 1 || !strings.Contains(v.Template.Text(), "lowercase") {
		t.Errorf("the registered version is %+v (%v)", v, err)
	}
	if !strings.Contains(report.Diff, "+Answer in lowercase.") || report.Records[0].Change != "fixed" || len(report.Trained) != 12 {
		t.Errorf("the report has the diff %q, the records %+v", report.Diff, report.Records[0])
	}
	if calls, _ := g.total(); calls > defaultCalls || calls != report.Calls {
		t.Errorf("%d calls were made, %d are reported", calls, report.Calls)
	}
	// What it learned from is told apart when the version is compared.
	b.put("more", classified(15))
	run = b.wait(b.compare(ComparisonSpec{Dataset: "more", Candidates: []CandidateSpec{{Model: "p/small", Prompt: "senti"}}}).ID, Succeeded)
	var comparison Comparison
	b.report(run.ID, &comparison)
	if c := comparison.Candidates[1]; c.Seen == nil || c.Seen.Records != 12 || c.Unseen.Records != 3 || c.Unseen.Consistency.Count != 3 {
		t.Errorf("seen %+v, unseen %+v", c.Seen, c.Unseen)
	}
}

// TestOptimizationIsTheSame: at any parallelism, and after a crash at any moment, with no call paid for twice.
func TestOptimizationIsTheSame(t *testing.T) {
	spec := OptimizationSpec{Prompt: "senti", Model: "p/small", Reflector: "p/reflect", Dataset: "reviews", Scorer: json.RawMessage(`"exact"`), Parameters: zero, Budget: &Budget{Calls: 120}, Register: RegisterNever}
	var want, journalWant []byte
	var runID string
	for _, parallel := range []int{1, 8} {
		g := &fakeGateway{answer: classify}
		b := classifier(t, g, 9)
		spec := spec
		spec.Parallelism = parallel
		run := b.wait(b.optimize(spec).ID, Succeeded, Failed)
		_, got, err := b.runs.Report(run.ID)
		if err != nil {
			t.Fatal(err)
		}
		if calls, twice := g.total(); twice != 0 || calls > 120 {
			t.Errorf("at parallelism %d: %d calls, %d of them twice", parallel, calls, twice)
		}
		if want == nil {
			want, runID = got, run.ID
			journalWant, err = os.ReadFile(filepath.Join(b.dir, "runs", run.ID, "journal"))
			if err != nil {
				t.Fatal(err)
			}
		} else if !bytes.Equal(got, want) {
			t.Errorf("at parallelism %d the report is another one:\n%s\n%s", parallel, got, want)
		}
	}
	// A crash leaves some beginning of the journal.
	for i := range 12 {
		cut := len(journalWant) * i / 12
		g := &fakeGateway{answer: classify}
		b := classifier(t, g, 9)
		b.runs.Release(g)
		dir := filepath.Join(b.dir, "runs", runID)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "journal"), journalWant[:cut], 0o600); err != nil {
			t.Fatal(err)
		}
		spec := spec
		spec.Parallelism, spec.Seed, spec.Optimizer, spec.Prompt, spec.Dataset = 3, 1, json.RawMessage(`"frontier"`), "prompts:/senti/1", "reviews/1"
		doc, _ := json.Marshal(spec)
		b.runs.all[runID] = newExecution(b.runs, Run{ID: runID, Kind: KindOptimization, State: Running, Spec: doc})
		b.runs.Use(g)
		b.wait(runID, Succeeded, Failed)
		_, got, err := b.runs.Report(runID)
		if err != nil {
			t.Fatal(err)
		}
		before := answeredIn(t, filepath.Join(b.dir, "before"), journalWant[:cut])
		all := answeredIn(t, filepath.Join(b.dir, "all"), journalWant)
		calls, twice := g.total()
		// A call that the crash caught between being made and being answered may have been paid for, and is made again.
		if twice != 0 || calls != all-before {
			t.Errorf("cut at %d: %d calls (%d twice) were made after the crash, want %d", cut, calls, twice, all-before)
		}
		if same := sameButCalls(t, got, want); same != "" {
			t.Errorf("cut at %d: the report is another one: %s", cut, same)
		}
	}
}

// answeredIn counts the answers in a journal.
func answeredIn(t *testing.T, path string, content []byte) (n int) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	j, entries := openTest(t, path)
	j.close()
	for _, e := range entries {
		if e.Answered != nil {
			n++
		}
	}
	return n
}

// sameButCalls compares reports, but for the calls that a crash lost.
func sameButCalls(t *testing.T, got, want []byte) string {
	t.Helper()
	var a, b map[string]any
	if json.Unmarshal(got, &a) != nil || json.Unmarshal(want, &b) != nil {
		t.Fatal("a report is not JSON")
	}
	extra := a["calls"].(float64) - b["calls"].(float64)
	if extra < 0 || extra > 8 {
		return fmt.Sprintf("%v calls, not %v", a["calls"], b["calls"])
	}
	for _, m := range []map[string]any{a, b} {
		delete(m, "calls")
	}
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if !bytes.Equal(x, y) {
		return string(x) + "\n" + string(y)
	}
	return ""
}

// put makes a dataset.
func (b *bed) put(name string, records []Record) {
	b.t.Helper()
	if _, _, err := b.datasets.Get(name, 0); err == nil {
		if _, err := b.datasets.Append(name, records, true, DatasetChange{}); err != nil {
			b.t.Fatal(err)
		}
		return
	}
	if _, err := b.datasets.Create(name, "", nil, DatasetChange{}); err != nil {
		b.t.Fatal(err)
	}
	if len(records) == 0 {
		return
	}
	if _, err := b.datasets.Append(name, records, false, DatasetChange{}); err != nil {
		b.t.Fatal(err)
	}
}
