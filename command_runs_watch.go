package frontier

import (
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/caddy-frontier/frontier/optimizer"
	"github.com/caddy-frontier/frontier/optimizer/search"
)

// exitNotReady is what a run ends with whose candidates are not ready, or that keeps the original prompt.
const exitNotReady = 3

// runWatch shows a run until it is over.
type runWatch struct {
	*request
	screen  printer // for what is not output: standard error
	verbose bool    // each step of a search is a line
	planned int     // calls; 0: unknown
	every   time.Duration

	last   optimizer.Run
	begun  bool
	best   *float64 // score so far, of an optimisation
	drawn  int      // columns of the line of progress
	spoken time.Time

	from   time.Time // when it was first seen to go on
	fromAt int       // how far it was then
}

func newRunWatch(r *request) *runWatch {
	return &runWatch{request: r, screen: newPrinter(r.cmd.ErrOrStderr()), every: 30 * time.Second}
}

// watch follows the run and returns it. On an interrupt the run goes on, and it is nil.
func (w *runWatch) watch(id string) (*optimizer.Run, error) {
	ctx, stop := signal.NotifyContext(w.ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	before := w.ctx
	w.ctx = ctx
	f := newFollower(w.request, id)
	f.state, f.event, f.told = w.state, w.event, w.tell
	run, err := f.follow()
	w.ctx = before
	w.clear()
	if ctx.Err() != nil && before.Err() == nil {
		w.note("The run goes on without this command. See it again: caddy llm runs watch %s; end it: caddy llm runs cancel %s", id, id)
		return nil, nil
	}
	return run, err
}

// state shows how far the run is, and what keeps it.
func (w *runWatch) state(run *optimizer.Run) {
	before := w.last
	w.last = *run
	paused := run.State == optimizer.Paused && !stuck(run)
	if was := w.begun && before.State == optimizer.Paused; paused && (!was || orDash(before.Error) != orDash(run.Error)) {
		if run.Error != nil {
			w.tell("The run is held up: it " + *run.Error + ".")
		} else {
			w.tell("The run is paused. Go on with it: caddy llm runs resume " + run.ID)
		}
	} else if was && run.State == optimizer.Running {
		w.tell("The run goes on.")
	}
	w.begun = true
	if done, _ := w.done(); run.State != optimizer.Running || w.from.IsZero() {
		w.from, w.fromAt = time.Now(), done
	}
	w.draw()
}

// left is for how long the run still works, about; 0: unknown.
func (w *runWatch) left() time.Duration {
	if eta := w.last.Progress.ETAMS; eta != nil {
		return time.Duration(*eta) * time.Millisecond
	}
	done, total := w.done()
	if w.last.State != optimizer.Running || w.from.IsZero() || done <= w.fromAt || total <= done {
		return 0
	}
	return time.Since(w.from) / time.Duration(done-w.fromAt) * time.Duration(total-done)
}

// event shows a step of a search.
func (w *runWatch) event(e *optimizer.Event) {
	if w.last.Kind == optimizer.KindComparison || e.Kind == "result" {
		return
	}
	var step search.Event
	if json.Unmarshal(e.Data, &step) != nil {
		return
	}
	if step.Score != nil && (step.Kind == "probe" || step.Kind == "best" || step.Kind == "accepted") && (w.best == nil || *step.Score > *w.best) {
		w.best = step.Score
	}
	if w.verbose {
		w.tell(e.At.Local().Format(time.TimeOnly) + "  " + stepText(e.Kind, &step))
	}
}

// stepText is a step of a search in a line.
func stepText(kind string, e *search.Event) string {
	parts := []string{fmt.Sprintf("%-9s", kind)}
	if e.Move != "" && e.Move != kind {
		parts = append(parts, e.Move)
	}
	if e.Candidate > 0 {
		parts = append(parts, fmt.Sprintf("prompt %d", e.Candidate))
	}
	if e.Score != nil {
		parts = append(parts, fmt.Sprintf("%s on %d records", share1(*e.Score), e.Cases))
	}
	if e.Text != "" {
		parts = append(parts, excerpted(e.Text, 160))
	}
	if len(e.Edits) > 0 {
		parts = append(parts, excerpted(strings.Join(e.Edits, "; "), 240))
	}
	return strings.TrimRight(strings.Join(parts, "  "), " ")
}

// tell prints a line above that of the progress.
func (w *runWatch) tell(s string) {
	w.clear()
	w.note("%s", printable(s, false))
	w.redraw()
}

// draw shows the progress: on a terminal in a line that the next one replaces, else now and then in one of its own.
func (w *runWatch) draw() {
	if w.screen.terminal {
		w.redraw()
		return
	}
	switch now := time.Now(); {
	case w.spoken.IsZero():
		w.spoken = now
	case now.Sub(w.spoken) >= w.every && w.last.State == optimizer.Running:
		w.spoken = now
		w.note("%s", w.progressText())
	}
}

func (w *runWatch) redraw() {
	if !w.screen.terminal || !w.begun || w.last.State.Over() {
		return
	}
	line := w.progressText()
	if done, total := w.done(); total > 0 {
		const width = 30
		full := width * min(done, total) / total
		line = "[" + strings.Repeat("=", full) + strings.Repeat(" ", width-full) + "] " + line
	}
	if w.screen.width > 1 {
		line = text.Trim(line, w.screen.width-1)
	}
	fmt.Fprintf(w.screen.out, "\r%s\x1b[K", line)
	w.drawn = text.StringWidth(line)
}

func (w *runWatch) clear() {
	if w.drawn > 0 {
		fmt.Fprint(w.screen.out, "\r\x1b[K")
		w.drawn = 0
	}
}

// done is how far the run is; total is 0 while that is unknown.
func (w *runWatch) done() (done, total int) {
	p := w.last.Progress
	if w.last.Kind == optimizer.KindOptimization {
		var spec optimizer.OptimizationSpec
		if json.Unmarshal(w.last.Spec, &spec) == nil && spec.Budget != nil && spec.Budget.Calls > 0 {
			return p.Calls, spec.Budget.Calls
		}
		return p.Calls, 0
	}
	return max(p.Done, p.Calls), max(p.Total, w.planned)
}

func (w *runWatch) progressText() string {
	p := w.last.Progress
	done, total := w.done()
	var parts []string
	if total > 0 {
		done = min(done, total)
		parts = append(parts, fmt.Sprintf("%s of %s calls (%d %%)", count(float64(done)), count(float64(total)), 100*done/total))
	} else {
		parts = append(parts, calls(done))
	}
	if w.best != nil {
		parts = append(parts, "best "+share1(*w.best))
	}
	if left := w.left(); left >= time.Second {
		most := "about "
		if w.last.Kind == optimizer.KindOptimization {
			most = "at most " // it may end before its budget does
		}
		parts = append(parts, most+span(left.Round(time.Second))+" left")
	}
	if p.SpentUSD != nil {
		parts = append(parts, dollars(p.SpentUSD)+" spent")
	} else if p.Calls > 0 {
		parts = append(parts, "cost unknown")
	}
	if w.last.State == optimizer.Paused {
		parts = append(parts, "paused")
	}
	return strings.Join(parts, "  ")
}

// runEnd says of a run that has no result why; nil: it has one.
func runEnd(run *optimizer.Run) error {
	why := ""
	if run.Error != nil {
		why = ": " + *run.Error
	}
	switch run.State {
	case optimizer.Succeeded:
		return nil
	case optimizer.Cancelled:
		return fmt.Errorf("run %s was cancelled", run.ID)
	case optimizer.Failed:
		return fmt.Errorf("run %s failed%s; to try again, with what is paid for kept: caddy llm runs resume %s", run.ID, why, run.ID)
	}
	return fmt.Errorf("run %s is paused%s: caddy llm runs resume %s", run.ID, why, run.ID)
}

// calls counts them.
func calls(n int) string {
	if n == 1 {
		return "1 call"
	}
	return count(float64(n)) + " calls"
}

// exit ends a command with that code and no further words; 0 is no error.
func (r *request) exit(code int) error {
	if code == 0 {
		return nil
	}
	r.cmd.SilenceErrors = true
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return code, nil })(r.cmd, nil)
}

// share1 is a share in percent to three digits, as the tables of evaluation have it.
func share1(x float64) string {
	s := fmt.Sprintf("%.1f", 100*x)
	return strings.TrimSuffix(s, ".0") + " %"
}
