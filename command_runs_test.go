package frontier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/optimizer"
	"github.com/caddy-frontier/frontier/optimizer/search"
)

// eventServer streams one part after another, each on a connection of its own.
type eventServer struct {
	parts []string // "": the server answers with 503
	looks []string // answers to a look, the last one for ever; "": 503
	hold  bool     // the last stream stays open

	mu     sync.Mutex
	last   []string // the Last-Event-IDs
	looked int
}

func (s *eventServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	part, hold := "", false
	if strings.HasSuffix(r.URL.Path, "/events") {
		if n := len(s.last); n < len(s.parts) {
			part, hold = s.parts[n], s.hold && n == len(s.parts)-1
		}
		s.last = append(s.last, r.Header.Get("Last-Event-ID"))
	} else if len(s.looks) > 0 {
		part = s.looks[min(s.looked, len(s.looks)-1)]
		s.looked++
	}
	s.mu.Unlock()
	if part == "" {
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = io.WriteString(w, `{"error":{"code":"unavailable","message":"no gateway runs"}}`)
		return
	}
	_, _ = io.WriteString(w, part)
	if hold {
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}
}

func stateOf(kind optimizer.Kind, state optimizer.State, reason string, calls int) string {
	run := optimizer.Run{ID: "019a2b3c-4d5e", Kind: kind, State: state, Spec: json.RawMessage(`{"budget":{"calls":20}}`), Progress: optimizer.Progress{Done: calls, Total: 10, Calls: calls}}
	if reason != "" {
		run.Error = &reason
	}
	raw, _ := json.Marshal(run)
	return string(raw)
}

func streamed(kind, data string) string { return "event: " + kind + "\ndata: " + data + "\n\n" }

func step(number int, e search.Event) string {
	data, _ := json.Marshal(e)
	raw, _ := json.Marshal(optimizer.Event{Number: number, Kind: e.Kind, Data: data, At: time.Date(2026, 5, 2, 12, 0, number, 0, time.UTC)})
	return fmt.Sprintf("id: %d\n", number) + streamed(e.Kind, string(raw))
}

// following is a watch of such a server's run.
func following(t *testing.T, s *eventServer) (w *runWatch, stderr *bytes.Buffer) {
	t.Helper()
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	client, err := newAdminClient(strings.TrimPrefix(server.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	stderr = new(bytes.Buffer)
	cmd := new(cobra.Command)
	cmd.SetErr(stderr)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return newRunWatch(&request{cli: new(cli), printer: printer{out: new(bytes.Buffer)}, cmd: cmd, ctx: ctx, server: client}), stderr
}

func TestFollowRun(t *testing.T) {
	const optimization, comparison = optimizer.KindOptimization, optimizer.KindComparison
	score := 0.6
	better := 0.9
	probe := step(1, search.Event{Kind: "probe", Score: &score, Cases: 10})
	rejected := step(2, search.Event{Kind: "rejected", Move: "reflect", Text: "it loses\n3 records"})
	best := step(3, search.Event{Kind: "best", Move: "best", Candidate: 4, Score: &better, Cases: 10, Edits: []string{"+ one word"}})
	running := stateOf(optimization, optimizer.Running, "", 3)
	over := streamed("run", stateOf(optimization, optimizer.Succeeded, "", 9))
	const steps = "12:00:01  probe      60 % on 10 records\n12:00:02  rejected   reflect  it loses 3 records\n12:00:03  best       prompt 4  90 % on 10 records  + one word\n"
	for name, step := range map[string]struct {
		server *eventServer
		away   time.Duration
		state  optimizer.State
		last   []string
		stderr string
		fails  string
	}{
		"one stream": {server: &eventServer{parts: []string{probe + rejected + best + over}}, state: optimizer.Succeeded, last: []string{""}, stderr: steps},
		"streams that break off": {
			server: &eventServer{parts: []string{probe + streamed("progress", running), rejected + "id: 9\nevent: half", best + over}, looks: []string{running}},
			state:  optimizer.Succeeded, last: []string{"", "1", "2"}, stderr: steps,
		},
		"no streams": {server: &eventServer{looks: []string{running, running, stateOf(optimization, optimizer.Failed, "x", 3)}}, state: optimizer.Failed},
		"a server that restarts": {
			server: &eventServer{parts: []string{probe + streamed("progress", running), "", rejected + best + over}, looks: []string{running, ""}}, state: optimizer.Succeeded, last: []string{"", "1", "1"},
			stderr: steps[:strings.Index(steps, "12:00:02")] + "no gateway runs; waiting for it\n" + steps[strings.Index(steps, "12:00:02"):strings.Index(steps, "12:00:03")] + steps[strings.Index(steps, "12:00:03"):] + "The server answers again, after 0s.\n",
		},
		"a server that stays away": {server: &eventServer{parts: []string{streamed("progress", running)}, looks: []string{""}}, away: time.Nanosecond, fails: "no gateway runs; it did not answer for 0s; the run goes on when the server does: caddy llm runs watch 019a2b3c-4d5e"},
		"no server":                {server: &eventServer{}, fails: "no gateway runs"},
		"an exhausted quota": {
			server: &eventServer{parts: []string{streamed("progress", running) + streamed("progress", stateOf(optimization, optimizer.Paused, "the quota is used up; mend that and resume the run", 3))}}, state: optimizer.Paused,
		},
		"a provider that is missing for a while": {
			server: &eventServer{parts: []string{streamed("progress", stateOf(comparison, optimizer.Paused, "waits for its provider: there is none", 3)) + streamed("progress", stateOf(comparison, optimizer.Running, "", 3)) +
				streamed("progress", stateOf(comparison, optimizer.Paused, "", 3)) + streamed("run", stateOf(comparison, optimizer.Cancelled, "", 3))}},
			state: optimizer.Cancelled, stderr: "The run is held up: it waits for its provider: there is none.\nThe run goes on.\nThe run is paused. Go on with it: caddy llm runs resume 019a2b3c-4d5e\n",
		},
		"something else": {server: &eventServer{parts: []string{streamed("progress", "[]")}, looks: []string{"<html>"}}, fails: "is it the same version as this command?"},
	} {
		t.Run(name, func(t *testing.T) {
			w, stderr := following(t, step.server)
			w.verbose = true
			f := newFollower(w.request, "019a2b3c-4d5e")
			f.state, f.event, f.told, f.pause = w.state, w.event, w.tell, time.Millisecond
			if step.away > 0 {
				f.away = step.away
			}
			run, err := f.follow()
			if (err != nil) != (step.fails != "") || err != nil && !strings.Contains(err.Error(), step.fails) {
				t.Fatalf("got %v, want %q", err, step.fails)
			}
			if err == nil && run.State != step.state {
				t.Errorf("the run is %s, want %s", run.State, step.state)
			}
			if step.last != nil && !slices.Equal(step.server.last, step.last) {
				t.Errorf("Last-Event-ID: got %q, want %q", step.server.last, step.last)
			}
			if got := stderr.String(); step.fails == "" && got != step.stderr {
				t.Errorf("got\n%swant\n%s", got, step.stderr)
			}
		})
	}
}

// A stream on which nothing comes is left, and the run asked for.
func TestFollowRunOnADeadStream(t *testing.T) {
	s := &eventServer{hold: true, parts: []string{streamed("progress", stateOf(optimizer.KindComparison, optimizer.Running, "", 3))}, looks: []string{stateOf(optimizer.KindComparison, optimizer.Succeeded, "", 10)}}
	w, _ := following(t, s)
	f := newFollower(w.request, "019a2b3c-4d5e")
	f.quiet, f.pause = 20*time.Millisecond, time.Millisecond
	if run, err := f.follow(); err != nil || run.State != optimizer.Succeeded {
		t.Errorf("got %v, %v", run, err)
	}
}

func TestFollowRunInterrupted(t *testing.T) {
	s := &eventServer{hold: true, parts: []string{streamed("progress", stateOf(optimizer.KindComparison, optimizer.Running, "", 3))}}
	w, _ := following(t, s)
	ctx, cancel := context.WithCancel(w.ctx)
	w.ctx = ctx
	f := newFollower(w.request, "019a2b3c-4d5e")
	f.state = func(*optimizer.Run) { cancel() }
	if run, err := f.follow(); !errors.Is(err, context.Canceled) || run != nil {
		t.Errorf("got %v, %v", run, err)
	}
}

func TestRunProgress(t *testing.T) {
	best, left, spent := 0.9, 72_000.0, 0.0123
	budget := json.RawMessage(`{"budget":{"calls":300}}`)
	for want, w := range map[string]runWatch{
		"0 calls": {last: optimizer.Run{Kind: optimizer.KindComparison}},
		"4 of 10 calls (40 %)  about 1m12s left  $0.0123 spent": {planned: 10, last: optimizer.Run{Kind: optimizer.KindComparison, Progress: optimizer.Progress{Calls: 4, ETAMS: &left, SpentUSD: &spent}}},
		"10 of 10 calls (100 %)  cost unknown":                  {planned: 9, last: optimizer.Run{Kind: optimizer.KindComparison, Progress: optimizer.Progress{Calls: 14, Total: 10}}},
		"60 of 300 calls (20 %)  best 90 %  $0.0123 spent":      {best: &best, last: optimizer.Run{Kind: optimizer.KindOptimization, Spec: budget, Progress: optimizer.Progress{Calls: 60, SpentUSD: &spent}}},
		"1 call  cost unknown  paused":                          {last: optimizer.Run{Kind: optimizer.KindOptimization, State: optimizer.Paused, Spec: json.RawMessage(`{"budget":{"usd":3}}`), Progress: optimizer.Progress{Calls: 1}}},
	} {
		if got := w.progressText(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// On a terminal the progress is a line that the next one replaces.
func TestRunProgressOnATerminal(t *testing.T) {
	w, _ := following(t, &eventServer{parts: []string{
		streamed("progress", stateOf(optimizer.KindComparison, optimizer.Running, "", 5)) + streamed("progress", stateOf(optimizer.KindComparison, optimizer.Paused, "", 5)) + streamed("run", stateOf(optimizer.KindComparison, optimizer.Succeeded, "", 10)),
	}})
	var out bytes.Buffer
	w.cmd.SetErr(&out)
	w.screen = printer{out: &out, terminal: true, width: 60}
	if _, err := w.watch("019a2b3c-4d5e"); err != nil {
		t.Fatal(err)
	}
	const bar = "\r[===============               ] 5 of 10 calls (50 %)  cost\x1b[K"
	paused := "\r\x1b[KThe run is paused. Go on with it: caddy llm runs resume 019a2b3c-4d5e\n"
	if got, want := out.String(), bar+paused+bar+bar+"\r\x1b[K"; got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestParseCandidate(t *testing.T) {
	for given, want := range map[string]string{
		"a/b":                                   `{"model":"a/b","prompt":"default"}`,
		"a/b/c:free,prompt=x@y,temperature=0.5": `{"model":"a/b/c:free","prompt":"x@y","parameters":{"temperature":0.5}}`,
		`a/b,stop=["x,y","="],user=al ice`:      `{"model":"a/b","prompt":"default","parameters":{"stop":["x,y","="],"user":"al ice"}}`,
		`a/b,name=one,seed=7,user="7"`:          `{"name":"one","model":"a/b","prompt":"default","parameters":{"seed":7,"user":"7"}}`,
		`a/b,stop=[x,y=2`:                       `{"model":"a/b","prompt":"default","parameters":{"stop":"[x","y":2}}`,
		"a/b,":                                  "",
		"a/b,=1":                                "",
		"a/b,name=x,name=y":                     "",
		"prompt=x/1":                            "",
	} {
		c, err := parseCandidate("--candidate", given, "default")
		got := ""
		if err == nil {
			raw, _ := json.Marshal(c)
			got = string(raw)
		}
		if got != want {
			t.Errorf("%s: got %s (%v), want %s", given, got, err, want)
		}
	}
}

func TestMillionTokens(t *testing.T) {
	for usd, want := range map[float64]string{30: "$30.00", 0.6: "$0.60", 0.15: "$0.15", 0.075: "$0.075", 0.0376: "$0.038", 0: "$0.00"} {
		if got := millionTokens(&usd); got != want {
			t.Errorf("%v: got %s, want %s", usd, got, want)
		}
	}
}

func TestPartEnd(t *testing.T) {
	big := json.RawMessage(bytes.Repeat([]byte("x"), partSize))
	small := json.RawMessage(`{}`)
	lines := []json.RawMessage{small, small, big, small}
	var ends []int
	for from := 0; from < len(lines); {
		from = partEnd(lines, from)
		ends = append(ends, from)
	}
	if !slices.Equal(ends, []int{2, 3, 4}) {
		t.Errorf("got %v", ends)
	}
}
