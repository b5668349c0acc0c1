package integration_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// evaluated is a provider for runs: a classifier whose answers depend on the
// request alone, and a reflector. It counts what it is asked.
type evaluated struct {
	mu    sync.Mutex
	asked map[string]int // by the request
	slow  time.Duration
}

func (e *evaluated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Model    string
		Messages []struct{ Content string }
	}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var all strings.Builder
	for _, m := range body.Messages {
		all.WriteString(m.Content + "\n")
	}
	text := all.String()
	e.mu.Lock()
	if e.asked == nil {
		e.asked = map[string]int{}
	}
	e.asked[body.Model+text]++
	e.mu.Unlock()
	time.Sleep(e.slow)
	answer := "Better:\n```\nClassify.\nAnswer in lowercase.\nMixed feelings are neutral.\nText: {{text}}\n```"
	if body.Model != "reflect" {
		answer = e.classify(text)
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(object{
		"id": "c", "object": "chat.completion", "model": body.Model, "usage": object{"prompt_tokens": len(text) / 4, "completion_tokens": 3, "total_tokens": len(text)/4 + 3},
		"choices": []object{{"index": 0, "finish_reason": "stop", "message": object{"role": "assistant", "content": answer}}},
	})
}

// classify says what the last text is; in capitals unless it is told otherwise, and wrongly of some texts unless it is helped.
func (e *evaluated) classify(text string) string {
	last := text[strings.LastIndex(text, "review "):]
	label := "neutral"
	for _, l := range []string{"positive", "negative"} {
		if strings.Contains(last, l) {
			label = l
		}
	}
	if strings.Contains(last, "mixed") {
		label = "negative"
		if strings.Contains(text, "Mixed feelings") {
			label = "neutral"
		}
	}
	if !strings.Contains(text, "lowercase") {
		label = strings.ToUpper(label)
	}
	return label
}

// total is how many calls there were, and how many of them for something that was asked before.
func (e *evaluated) total() (calls, twice int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.asked {
		calls += n
		twice += n - 1
	}
	return calls, twice
}

const runBudget = 150

type runAnswer struct {
	ID, State string
	Error     *string
	Progress  struct{ Calls int }
}

// startRun begins an optimisation on the provider.
func (g *gateway) startRun(parallelism int) (id string) {
	g.Helper()
	g.register("senti", "Classify.\nText: {{text}}")
	var records []object
	for i := range 20 {
		kind := []string{"positive", "negative", "neutral", "mixed"}[i%4]
		expected := strings.ReplaceAll(kind, "mixed", "neutral")
		records = append(records, object{"inputs": object{"text": fmt.Sprintf("review %d is %s", i, kind)}, "expected": expected})
	}
	if status, _ := g.api(http.MethodPost, "/datasets", object{"name": "reviews", "records": records}, nil); status >= 300 {
		g.Fatalf("making a dataset: %d", status)
	}
	var run runAnswer
	status, _ := g.api(http.MethodPost, "/optimizations", object{
		"prompt": "senti", "model": "lab/task", "reflector": "lab/reflect", "dataset": "reviews", "scorer": "exact", "register": "never",
		"parameters": object{"temperature": 0}, "budget": object{"calls": runBudget}, "parallelism": parallelism,
	}, &run)
	if status != http.StatusAccepted {
		g.Fatalf("starting a run: %d", status)
	}
	return run.ID
}

func (g *gateway) runState(id string) (run runAnswer) {
	g.Helper()
	if status, _ := g.api(http.MethodGet, "/runs/"+id, nil, &run); status != http.StatusOK {
		g.Fatalf("reading run %s: %d", id, status)
	}
	return run
}

// finished waits for the run's end, and returns what it found.
func (g *gateway) finished(id string) (result string) {
	g.Helper()
	g.eventually(time.Minute, "the run ends", func() bool { s := g.runState(id).State; return s != "running" && s != "paused" })
	if run := g.runState(id); run.State != "succeeded" {
		g.Fatalf("the run is %+v", run)
	}
	var report object
	g.api(http.MethodGet, "/runs/"+id+"/report.json", nil, &report)
	for _, name := range []string{"calls", "spent_usd"} { // those that a crash lost are counted, too
		delete(report, name)
	}
	doc, err := json.Marshal(report)
	if err != nil {
		g.Fatal(err)
	}
	return string(doc)
}

// laboratory is a gateway with the provider for runs, and configurations of it, which differ by their number.
func laboratory(t *testing.T) (g *gateway, lab *evaluated, config func(number int) string) {
	g, lab = newGateway(t), new(evaluated)
	server := httptest.NewServer(lab)
	t.Cleanup(server.Close)
	return g, lab, func(number int) string {
		return g.standard(`
		provider lab {
			base_url ` + server.URL + `/v1
			api_key sk-lab
			header X-Number ` + strconv.Itoa(number) + `
		}`)
	}
}

// TestRunsSurviveKills: a run whose process is killed again and again finds
// what an undisturbed one finds, pays twice for nothing but what was under way, and stays within its budget.
func TestRunsSurviveKills(t *testing.T) {
	long(t)
	g, lab, config := laboratory(t)
	g.start(config(0))
	want := g.finished(g.startRun(4))
	undisturbed, twice := lab.total()
	if twice != 0 || undisturbed > runBudget {
		t.Errorf("undisturbed, %d calls were made, %d of them twice", undisturbed, twice)
	}

	const parallelism, kills = 2, 3
	g, lab, config = laboratory(t)
	lab.slow = 10 * time.Millisecond
	g.start(config(0))
	id := g.startRun(parallelism)
	for range kills {
		time.Sleep(time.Duration(20+rand.IntN(150)) * time.Millisecond)
		g.kill()
		g.start(config(0))
	}
	if got := g.finished(id); got != want {
		t.Errorf("after %d kills it finds\n%s\ninstead of\n%s", kills, got, want)
	}
	calls, twice := lab.total()
	if calls > runBudget || twice > kills*parallelism {
		t.Errorf("%d calls were made, %d of them twice", calls, twice)
	}
	if counted := g.runState(id).Progress.Calls; counted < calls || counted > runBudget {
		t.Errorf("%d calls were made, and %d are counted", calls, counted)
	}
	t.Logf("%d calls undisturbed; %d with %d kills, %d of them twice", undisturbed, calls, kills, twice)
}

// TestRunsSurviveReloads: a run goes on through reloads without one call made
// twice, waits while its provider is not in the configuration, and goes on by itself when it is again.
func TestRunsSurviveReloads(t *testing.T) {
	long(t)
	g, lab, config := laboratory(t)
	lab.slow = 20 * time.Millisecond
	g.start(config(0))
	id := g.startRun(4)
	for i := range 4 {
		time.Sleep(60 * time.Millisecond)
		g.mustLoad(config(i + 1))
	}
	g.mustLoad(g.standard("")) // without the provider
	g.eventually(10*time.Second, "the run waits", func() bool { return g.runState(id).State == "paused" })
	if run := g.runState(id); run.Error == nil || !strings.Contains(*run.Error, "lab") {
		t.Errorf("it waits, and says %v", run.Error)
	}
	g.mustLoad(config(0))
	g.finished(id)
	if calls, twice := lab.total(); calls > runBudget || twice != 0 {
		t.Errorf("%d calls were made, %d of them twice", calls, twice)
	}
}
