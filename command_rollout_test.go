package frontier

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jedib0t/go-pretty/v6/text"
	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/routing/rollout"
)

// watching serves the answers one after another, the last one for ever, and
// returns a watch of them.
func watching(t *testing.T, answers ...cannedAnswer) (w *watch, stdout, stderr *bytes.Buffer) {
	t.Helper()
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		a := answers[min(int(asked.Add(1))-1, len(answers)-1)]
		rw.WriteHeader(a.Status)
		_, _ = rw.Write(a.Body)
	}))
	t.Cleanup(s.Close)
	server, err := newAdminClient(strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	cmd := new(cobra.Command)
	cmd.SetErr(stderr)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &watch{request: &request{cli: new(cli), printer: printer{out: stdout}, cmd: cmd, ctx: ctx, server: server}, route: "support", away: time.Minute}, stdout, stderr
}

// at is an answer's route with other decisions.
func at(t *testing.T, a cannedAnswer, phase rollout.Phase, decisions ...string) cannedAnswer {
	t.Helper()
	var body map[string]any
	if err := json.Unmarshal(a.Body, &body); err != nil {
		t.Fatal(err)
	}
	status := body["status"].(map[string]any)
	status["phase"] = phase
	var log []any
	for i, d := range decisions {
		log = append(log, map[string]any{"at": time.Date(2026, 5, 2, 12, 0, i, 0, time.UTC), "text": d})
	}
	status["log"] = log
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return cannedAnswer{http.StatusOK, raw}
}

func TestWatch(t *testing.T) {
	all := readAnswers(t)
	now := all["GET /llm/routes/support"]
	away := cannedAnswer{http.StatusServiceUnavailable, json.RawMessage(`{"error":{"code":"unavailable","message":"no gateway runs"}}`)}
	for name, step := range map[string]struct {
		answers        []cannedAnswer
		json           bool
		away           time.Duration
		code, lines    int
		stdout, stderr string
		fails          string
	}{
		"completed": {
			answers: []cannedAnswer{at(t, now, rollout.PhaseProgressing, "a"), at(t, now, rollout.PhaseProgressing, "a"), at(t, now, rollout.PhaseProgressing, "a", "b", "c"), at(t, now, rollout.PhaseCompleted, "a", "b", "c", "d")},
			stdout:  "2026-05-02 12:00:00  a\n2026-05-02 12:00:01  b\n2026-05-02 12:00:02  c\n2026-05-02 12:00:03  d\n",
		},
		"aborted": {answers: []cannedAnswer{at(t, now, rollout.PhaseProgressing, "a"), at(t, now, rollout.PhaseAborted, "a", "b")}, code: exitAborted, stdout: "2026-05-02 12:00:00  a\n2026-05-02 12:00:01  b\n"},
		"the log is cut meanwhile": {
			answers: []cannedAnswer{at(t, now, rollout.PhasePaused, "a"), at(t, now, rollout.PhaseCompleted, "y", "z")},
			stdout:  "2026-05-02 12:00:00  a\n2026-05-02 12:00:00  y\n2026-05-02 12:00:01  z\n",
		},
		"as JSON": {answers: []cannedAnswer{now, now, at(t, now, rollout.PhasePaused, "a"), now, all["GET /llm/routes/completed"]}, json: true, lines: 4},
		"the server restarts": {
			answers: []cannedAnswer{at(t, now, rollout.PhaseProgressing, "a"), away, away, at(t, now, rollout.PhaseCompleted, "a", "b")},
			stdout:  "2026-05-02 12:00:00  a\n2026-05-02 12:00:01  b\n", stderr: "no gateway runs; waiting for it\nThe server answers again, after 0s.\n",
		},
		"the server is away for long": {answers: []cannedAnswer{now, away}, away: time.Nanosecond, fails: "no gateway runs; it did not answer for 0s", code: 1},
		"the server is not there":     {answers: []cannedAnswer{away}, fails: "no gateway runs", code: 1},
		"the route goes":              {answers: []cannedAnswer{now, all["GET /llm/routes/sentimnt"]}, fails: `there is no route "sentimnt"`, code: 1},
		"the rollout goes":            {answers: []cannedAnswer{now, all["GET /llm/routes/sentiment"]}, fails: "taken out of the configuration", code: 1},
	} {
		t.Run(name, func(t *testing.T) {
			w, stdout, stderr := watching(t, step.answers...)
			w.json = step.json
			if step.away > 0 {
				w.away = step.away
			}
			code, err := w.run(time.Millisecond)
			if code != step.code || (err != nil) != (step.fails != "") || err != nil && !strings.Contains(err.Error(), step.fails) {
				t.Errorf("got %d, %v, want %d, %q", code, err, step.code, step.fails)
			}
			if step.stdout != "" && stdout.String() != step.stdout {
				t.Errorf("got\n%swant\n%s", stdout, step.stdout)
			}
			if step.stderr != "" && stderr.String() != step.stderr {
				t.Errorf("stderr: got\n%swant\n%s", stderr, step.stderr)
			}
			if n := strings.Count(stdout.String(), "\n"); step.lines > 0 && n != step.lines {
				t.Errorf("%d lines, want %d:\n%s", n, step.lines, stdout)
			}
		})
	}
}

func TestWatchInterrupted(t *testing.T) {
	w, _, _ := watching(t, readAnswers(t)["GET /llm/routes/support"])
	ctx, cancel := context.WithCancel(w.ctx)
	w.ctx = ctx
	time.AfterFunc(20*time.Millisecond, cancel)
	if code, err := w.run(time.Millisecond); code != exitInterrupted || err != nil {
		t.Errorf("got %d, %v", code, err)
	}
}

// On a terminal each frame is drawn over the last one, nothing is cleared
// before, and the terminal is left as it was, with the last frame on it.
func TestWatchOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	all := readAnswers(t)
	w, stdout, _ := watching(t, all["GET /llm/routes/support"], all["GET /llm/routes/aborted"])
	w.terminal, w.colour = true, true
	if code, err := w.run(time.Millisecond); code != exitAborted || err != nil {
		t.Errorf("got %d, %v", code, err)
	}
	got := stdout.String()
	begin, end := "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
	frames, after, ended := strings.Cut(got, end)
	if !strings.HasPrefix(frames, begin+"\x1b[H") || !ended || strings.Count(frames, "\x1b[H") != 2 || strings.Contains(frames, "\x1b[2J") {
		t.Errorf("frames: %q", got)
	}
	for _, want := range []string{paint(text.FgCyan, "▸ 20%"), paint(text.FgGreen, "pass"), "held at 20 %"} {
		if !strings.Contains(frames, want) {
			t.Errorf("no %q in the frames: %q", want, frames)
		}
	}
	if !strings.Contains(after, paint(text.FgRed, "✗ 20%")) || !strings.Contains(after, "evidence 1/812") || strings.Contains(after, "\x1b[?") {
		t.Errorf("what stays: %q", after)
	}
	for frame := range strings.SplitSeq(frames, "\x1b[H") {
		if n := strings.Count(frame, "\r\n"); n >= 24 {
			t.Errorf("a frame of %d lines for 24", n+1)
		}
		if frame != begin && !strings.Contains(frame, "Ctrl-C ends") {
			t.Errorf("no foot: %q", frame)
		}
		for line := range strings.SplitSeq(frame, "\r\n") {
			if n := text.StringWidthWithoutEscSequences(line); n > 80 {
				t.Errorf("a line of %d columns: %q", n, line)
			}
		}
	}
}

func TestRolloutFigures(t *testing.T) {
	f := func(x float64) *float64 { return &x }
	errors, latency := measureOf("errors"), measureOf("latency")
	for _, step := range []struct{ got, want string }{
		{errors(f(0.0042)), "+0.42%"},
		{errors(f(-0.011)), "-1.1%"},
		{errors(nil), "-"},
		{latency(f(0.62041)), "0.62x"},
		{latency(f(12.345)), "12.3x"},
		{latency(f(0.00513)), "0.0051x"},
		{measureOf("consistency")(f(0.913)), "91.3%"},
		{interval(&rollout.GuardStatus{Low: f(0)}, latency), "-"},
		{interval(&rollout.GuardStatus{Low: f(0.5)}, latency), "from 0.5x"},
		{interval(&rollout.GuardStatus{High: f(0.5)}, latency), "up to 0.5x"},
		{threshold(&rollout.GuardStatus{Name: "quality", Threshold: f(-0.05)}, measureOf("quality")), "≥ -5%"},
		{span(0), "0s"},
		{span(90 * time.Second), "1m30s"},
		{span(time.Hour), "1h"},
		{span(24 * time.Hour), "1d"},
		{span(36*time.Hour + 1500*time.Millisecond), "1d12h0m2s"},
		{span(5 * time.Microsecond), "0s"},
	} {
		if step.got != step.want {
			t.Errorf("got %s, want %s", step.got, step.want)
		}
	}
}
