package frontier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-frontier/frontier/routing/rollout"
)

// What watch ends with besides 0, completed, and 1, an error.
const (
	exitAborted     = 3
	exitInterrupted = 130 // as shells have it
)

// awayMost is how long watch waits for a server that does not answer.
const awayMost = 2 * time.Minute

func (c *cli) watchRolloutCommand() *cobra.Command {
	interval := time.Second
	cmd := c.command("watch ROUTE", "Shows a rollout as it moves", `
Shows what rollout get shows, again each second, until the rollout is completed or
aborted, or Ctrl-C. Without a terminal it prints the last decision, then each one that is
made, a line each; with --json the admin API's JSON of the route, a line for each
change of phase, step, weights or log. It goes on when the server reloads or
restarts, if that takes at most `+span(awayMost)+`.

Exit codes: 0 the rollout is completed; 3 it is aborted; 130 interrupted.

	$ caddy llm rollout watch support`, exactly("ROUTE"), func(r *request, args []string) error {
		if interval <= 0 {
			return usagef("--interval %s: want a time such as 1s", interval)
		}
		ctx, stop := signal.NotifyContext(r.ctx, os.Interrupt, syscall.SIGTERM)
		defer stop()
		r.ctx = ctx
		code, err := (&watch{request: r, route: args[0], away: awayMost}).run(interval)
		if err != nil || code == 0 {
			return err
		}
		r.cmd.SilenceErrors = true
		return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(r.cmd, nil)
	})
	cmd.Flags().DurationVar(&interval, "interval", interval, "How often to look")
	return cmd
}

// watch follows one rollout.
type watch struct {
	*request
	route string
	away  time.Duration // how long the server may be

	screen *screen   // nil: not on a terminal
	last   routeView // as printed
	began  bool
	ending bool      // it is over, but that was not stored yet
	gone   time.Time // since when the server has not answered; zero: it does
	notice string    // why, for the screen
}

// run returns the exit code.
func (w *watch) run(interval time.Duration) (code int, err error) {
	if w.terminal && !w.json && os.Getenv("TERM") != "dumb" {
		w.screen = newScreen(w.out)
	}
	defer func() {
		if w.screen == nil {
			return
		}
		w.screen.close()
		if w.began { // what was seen last stays
			w.rolloutScreen(&w.last)
		}
	}()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		over, err := w.look()
		if w.ctx.Err() != nil {
			return exitInterrupted, nil
		}
		if err != nil {
			return 1, err
		}
		if over {
			if w.last.Status.Phase == rollout.PhaseAborted {
				return exitAborted, nil
			}
			return 0, nil
		}
		select {
		case <-w.ctx.Done():
			return exitInterrupted, nil
		case <-tick.C:
		}
	}
}

// look asks once, and prints what is new.
func (w *watch) look() (over bool, err error) {
	ctx, cancel := context.WithTimeout(w.ctx, 10*time.Second)
	defer cancel()
	answer, err := w.server.do(ctx, http.MethodGet, "/llm/routes"+segments(w.route), nil, nil)
	if err != nil {
		return false, w.missed(err)
	}
	var now routeView
	if err := w.decode(answer, &now); err != nil {
		return false, err
	}
	if now.Spec.Rollout == nil {
		if w.began {
			return false, fmt.Errorf("route %q has no rollout any more: its declaration was taken out of the configuration", w.route)
		}
		return false, fmt.Errorf("route %q has no rollout; declare one in the configuration: route %s { … rollout { step 5%% 1d … } }", w.route, w.route)
	}
	if !w.gone.IsZero() {
		w.tell(fmt.Sprintf("The server answers again, after %s.", span(time.Since(w.gone).Round(time.Second))))
		w.gone = time.Time{}
	}
	switch {
	case w.json:
		if !w.began || changed(&w.last, &now) {
			if err := w.printJSONLine(answer); err != nil {
				return false, err
			}
		}
	case w.screen == nil:
		for _, e := range w.decided(&now) {
			w.oneLine(&e)
		}
	}
	w.last, w.began = now, true
	w.draw()
	phase := now.Status.Phase
	ends := phase == rollout.PhaseCompleted || phase == rollout.PhaseAborted
	if ends && !now.Status.Persisted && !w.ending { // the store is a moment behind; a full disk may stay so
		w.ending = true
		return false, nil
	}
	return ends, nil
}

// missed takes a look that got no answer: a server that reloads or restarts is waited for.
func (w *watch) missed(err error) error {
	var away *unreachableError
	var refused *serverError
	waits := errors.As(err, &away) || errors.As(err, &refused) && refused.status >= http.StatusInternalServerError
	switch {
	case w.ctx.Err() != nil:
		return nil
	case !waits || !w.began:
		return err
	case w.gone.IsZero():
		w.gone = time.Now()
		w.tell(fmt.Sprintf("%s; waiting for it", err))
	case time.Since(w.gone) >= w.away:
		return fmt.Errorf("%w; it did not answer for %s", err, span(w.away))
	}
	w.draw()
	return nil
}

// tell notes something about the server: on the screen, or as commands do.
func (w *watch) tell(s string) {
	w.notice = s
	if w.screen == nil {
		w.note("%s", s)
	}
}

// changed reports whether something was decided between two looks.
func changed(before, now *routeView) bool {
	key := func(v *routeView) string {
		var last rollout.Entry
		if n := len(v.Status.Log); n > 0 {
			last = v.Status.Log[n-1]
		}
		b, _ := json.Marshal([]any{v.Status.Phase, v.Status.Step, v.Status.Generation, v.Weights, v.Status.Persisted, last})
		return string(b)
	}
	return key(before) != key(now)
}

// decided are the decisions since the last look; of the first look the last one.
func (w *watch) decided(now *routeView) []rollout.Entry {
	log := now.Status.Log
	if !w.began {
		return log[max(0, len(log)-1):]
	}
	old := w.last.Status.Log
	if len(old) == 0 {
		return log
	}
	end := &old[len(old)-1]
	for i, e := range slices.Backward(log) {
		if e.At.Equal(end.At) && e.Text == end.Text {
			return log[i+1:]
		}
	}
	return log // all of it is new
}

func (w *watch) oneLine(e *rollout.Entry) {
	s := e.At.Local().Format(time.DateTime) + "  " + decisionText(e)
	if len(e.Traces) > 0 {
		s += "  traces " + strings.Join(e.Traces, " ")
	}
	w.line(printable(s, false))
}

func (p printer) printJSONLine(answer []byte) error {
	var b bytes.Buffer
	if err := json.Compact(&b, answer); err != nil {
		return err
	}
	_, err := fmt.Fprintf(p.out, "%s\n", bytes.TrimSpace(b.Bytes()))
	return err
}

// draw shows the rollout on the screen, if there is one.
func (w *watch) draw() {
	if w.screen == nil {
		return
	}
	width, height := w.screen.size()
	var frame, foot strings.Builder
	p := w.printer
	p.width, p.out = width, &frame
	p.rolloutScreen(&w.last)
	p.out = &foot
	p.line("")
	if w.notice != "" {
		p.wrapped("", printable(w.notice, false))
	}
	p.line(time.Now().Format(time.TimeOnly) + "  Ctrl-C ends")
	w.screen.draw(linesOf(&frame), linesOf(&foot), height)
}

func linesOf(b *strings.Builder) []string {
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// screen draws frame over frame on a terminal's other screen, which is put away
// at the end. Each frame is one write over the last one, so that nothing flickers.
type screen struct {
	out  io.Writer
	size func() (width, height int)
}

func newScreen(out io.Writer) *screen {
	s := &screen{out: out, size: func() (width, height int) {
		if f, ok := out.(*os.File); ok {
			if w, h, err := term.GetSize(int(f.Fd())); err == nil {
				return w, h
			}
		}
		return 80, 24
	}}
	fmt.Fprint(out, "\x1b[?1049h\x1b[?25l\x1b[?7l") // the other screen, no cursor, no wrapping
	return s
}

// draw shows as much of a frame as there is room for above its foot.
func (s *screen) draw(frame, foot []string, height int) {
	lines := slices.Concat(frame[:max(0, min(len(frame), height-len(foot)))], foot)
	fmt.Fprint(s.out, "\x1b[H"+strings.Join(lines, "\x1b[K\r\n")+"\x1b[K\x1b[J")
}

func (s *screen) close() { fmt.Fprint(s.out, "\x1b[?7h\x1b[?25h\x1b[?1049l") }
