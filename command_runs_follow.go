package frontier

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/caddy-frontier/frontier/optimizer"
)

// follower follows a run by its stream of events. A stream that ends before
// the run does, as one does when the server restarts, is gone on with behind the
// last event; between two streams, and where there are none, the run is asked for.
type follower struct {
	*request
	id    string
	state func(run *optimizer.Run) // is told the run each time there is news of it
	event func(e *optimizer.Event) // is told each event once
	told  func(text string)        // is told what happens to the server
	away  time.Duration            // how long the server may be
	pause time.Duration            // between two streams
	quiet time.Duration            // after which a stream is taken for dead

	last  string    // the last event's number
	began bool      // there was an answer
	gone  time.Time // since when there has been none; zero: there is
}

// newFollower follows with the times that people want.
func newFollower(r *request, id string) *follower {
	return &follower{
		request: r, id: id, away: awayMost, pause: time.Second, quiet: 20 * time.Second,
		state: func(*optimizer.Run) {}, event: func(*optimizer.Event) {}, told: func(string) {},
	}
}

// follow returns the run once it is over, or paused until somebody does
// something about it; else an error, which is the context's when that has ended.
func (f *follower) follow() (*optimizer.Run, error) {
	for {
		run, err := f.stream()
		if run == nil && f.ctx.Err() == nil {
			// Only what the run itself says is decisive: a stream may fail for any reason.
			run, err = f.look()
		}
		switch {
		case f.ctx.Err() != nil:
			return nil, f.ctx.Err()
		case err != nil:
			return nil, err
		case run != nil:
			return run, nil
		}
		select {
		case <-f.ctx.Done():
			return nil, f.ctx.Err()
		case <-time.After(f.pause):
		}
	}
}

// stream reads one stream to its end; the run is nil unless it is at its own.
func (f *follower) stream() (*optimizer.Run, error) {
	ctx, cancel := context.WithCancel(f.ctx)
	defer cancel()
	dead := time.AfterFunc(f.quiet, cancel)
	defer dead.Stop()
	body, err := f.server.events(ctx, "/llm/runs"+segments(f.id)+"/events", f.last)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	for e, err := range sse.Read(body, &sse.ReadConfig{MaxEventSize: 32 << 20}) {
		if err != nil {
			return nil, err
		}
		dead.Reset(f.quiet)
		if e.LastEventID != "" {
			f.last = e.LastEventID
		}
		switch e.Type {
		case "progress", "run":
			var run optimizer.Run
			if err := f.decode([]byte(e.Data), &run); err != nil {
				return nil, err
			}
			if f.heard(&run) {
				return &run, nil
			}
		default:
			var event optimizer.Event
			if err := f.decode([]byte(e.Data), &event); err != nil {
				return nil, err
			}
			f.event(&event)
		}
	}
	return nil, nil
}

// look asks for the run once.
func (f *follower) look() (*optimizer.Run, error) {
	ctx, cancel := context.WithTimeout(f.ctx, 10*time.Second)
	defer cancel()
	answer, err := f.server.do(ctx, http.MethodGet, "/llm/runs"+segments(f.id), nil, nil)
	if err != nil {
		return nil, f.missed(err)
	}
	var run optimizer.Run
	if err := f.decode(answer, &run); err != nil {
		return nil, err
	}
	if f.heard(&run) {
		return &run, nil
	}
	return nil, nil
}

// heard tells the run, and reports whether there is nothing to wait for.
func (f *follower) heard(run *optimizer.Run) bool {
	if !f.gone.IsZero() {
		f.told("The server answers again, after " + span(time.Since(f.gone).Round(time.Second)) + ".")
		f.gone = time.Time{}
	}
	f.began = true
	f.state(run)
	return run.State.Over() || stuck(run)
}

// missed takes a look that got no answer: a server that reloads or restarts is waited for.
func (f *follower) missed(err error) error {
	var away *unreachableError
	var refused *serverError
	waits := errors.As(err, &away) || errors.As(err, &refused) && (refused.status >= http.StatusInternalServerError || f.began && refused.status == http.StatusNotFound && strings.Contains(refused.message, "no LLM gateway"))
	switch {
	case f.ctx.Err() != nil:
		return nil
	case !waits || !f.began:
		return err
	case f.gone.IsZero():
		f.gone = time.Now()
		f.told(err.Error() + "; waiting for it")
	case time.Since(f.gone) >= f.away:
		return fmt.Errorf("%w; it did not answer for %s; the run goes on when the server does: caddy llm runs watch %s", err, span(f.away), f.id)
	}
	return nil
}

// stuck reports whether a run is paused for a reason that it does not get over
// by itself. It does where it waits, for its provider or the disk, and a person who has paused it may resume it.
func stuck(run *optimizer.Run) bool {
	return run.State == optimizer.Paused && run.Error != nil && !strings.HasPrefix(*run.Error, "waits for ")
}

// events begins a stream of events behind the one with that number.
func (c *adminClient) events(ctx context.Context, path, last string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.origin+path, nil)
	if err != nil {
		return nil, err
	}
	if !c.socket {
		req.Header.Set("Origin", c.origin) // for enforce_origin
	}
	req.Header.Set("Accept", "text/event-stream")
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := (&http.Client{Transport: c.http.Transport}).Do(req) // without the limit on its time
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit))
		if err != nil {
			return nil, err
		}
		return nil, c.refused(resp.StatusCode, answer)
	}
	return resp.Body, nil
}

// getRun asks for a run; answer is how the server has it.
func (r *request) getRun(id string) (run *optimizer.Run, answer json.RawMessage, err error) {
	answer, err = r.server.do(r.ctx, http.MethodGet, "/llm/runs"+segments(id), nil, nil)
	if err != nil {
		return nil, nil, err
	}
	run = new(optimizer.Run)
	return run, answer, r.decode(answer, run)
}
