package optimizer

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/api"
)

// Pause lets a run make no more calls. What is under way is waited for, off the caller's path, and kept.
func (r *Runs) Pause(id string, w who) (Run, error) {
	return r.steer("pause", id, w, func(run *Run) error {
		if run.State != Running {
			return api.Conflict("run %s is %s; only a running one can be paused", run.ID, run.State)
		}
		run.State, run.Error = Paused, nil
		return nil
	}, func(x *execution) { x.halt(errPaused) })
}

// Resume goes on with a paused run, or tries one again that failed: what was paid for is not paid for again.
func (r *Runs) Resume(id string, w who) (Run, error) {
	return r.steer("resume", id, w, func(run *Run) error {
		if run.State != Paused && run.State != Failed {
			return api.Conflict("run %s is %s; only a paused or failed one can be resumed", run.ID, run.State)
		}
		run.State, run.Error, run.Ended = Running, nil, nil
		return nil
	}, (*execution).begin)
}

// Cancel ends a run. Calls that are under way are given up.
func (r *Runs) Cancel(id string, w who) (Run, error) {
	return r.steer("cancel", id, w, func(run *Run) error {
		if run.State.Over() {
			return api.Conflict("run %s is %s already", run.ID, run.State)
		}
		now := time.Now().UTC()
		run.State, run.Error, run.Ended = Cancelled, nil, &now
		return nil
	}, func(x *execution) {
		x.halt(errCancelled)
		x.giveUp()
	})
}

// steer stores a change of a run's state, then makes it so.
func (r *Runs) steer(verb, id string, w who, change func(*Run) error, then func(*execution)) (Run, error) {
	x, err := r.find(id)
	if err != nil {
		return Run{}, err
	}
	if err := x.change(change); err != nil {
		return Run{}, err
	}
	r.log.Info("a run was steered", zap.String("run", x.id), zap.String("verb", verb), zap.String("actor", w.Actor), zap.String("reason", w.Reason))
	then(x)
	return x.view(), nil
}

// halt ends the work on a run, calls that are under way excepted.
func (x *execution) halt(cause error) {
	x.mu.Lock()
	stop := x.stop
	x.mu.Unlock()
	if stop != nil {
		stop(cause)
	}
}

// giveUp ends the calls that are under way.
func (x *execution) giveUp() {
	x.mu.Lock()
	abort := x.abort
	x.mu.Unlock()
	if abort != nil {
		abort(errAborted)
	}
}

// idle is closed when nothing works on the run.
func (x *execution) idle() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.stopped
}
