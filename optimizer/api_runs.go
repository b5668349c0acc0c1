package optimizer

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/caddy-frontier/frontier/internal/api"
)

// RunRoutes returns the admin API's operations on runs. lookup finds the runs
// of the data directory in use, on every request.
func RunRoutes(lookup func() (*Runs, error)) []api.Route {
	a := runsAPI{lookup}
	return []api.Route{
		{
			Method: http.MethodPost, Path: "/comparisons", Summary: "Starts a comparison of candidates with a baseline on a dataset (202), or, with dry_run, says what it would cost (200).",
			Body: compareBody{}, Answer: Run{}, Status: http.StatusAccepted, Handle: a.compare,
		},
		{
			Method: http.MethodPost, Path: "/optimizations", Summary: "Starts the optimisation of a prompt for a model (202), or, with dry_run, says what it would cost (200).",
			Body: optimizeBody{}, Answer: Run{}, Status: http.StatusAccepted, Handle: a.optimize,
		},
		{
			Method: http.MethodGet, Path: "/runs", Summary: "Lists the runs, the newest first.",
			Query: []api.Param{
				{Name: "kind", Summary: "comparison or optimization"},
				{Name: "state", Summary: "planned, running, paused, succeeded, failed or cancelled"},
				{Name: "cursor", Summary: "next_cursor of the page before"},
				{Name: "limit", Summary: "runs a page, 1 to 1000; default 50"},
			},
			Answer: api.List[Run]{}, Handle: a.list,
		},
		{Method: http.MethodGet, Path: "/runs/{id}", Summary: "Shows a run: its state, progress, spec and result.", Answer: Run{}, Handle: a.show},
		{Method: http.MethodDelete, Path: "/runs/{id}", Summary: "Removes a run that is over, with its report.", Status: http.StatusNoContent, Handle: a.delete},
		{Method: http.MethodPost, Path: "/runs/{id}/pause", Summary: "Lets a run make no more calls; those under way are waited for and kept.", Body: who{}, Answer: Run{}, Handle: a.verb((*Runs).Pause)},
		{Method: http.MethodPost, Path: "/runs/{id}/resume", Summary: "Goes on with a paused or failed run; what was paid for is not paid for again.", Body: who{}, Answer: Run{}, Handle: a.verb((*Runs).Resume)},
		{Method: http.MethodPost, Path: "/runs/{id}/cancel", Summary: "Ends a run; calls under way are given up.", Body: who{}, Answer: Run{}, Handle: a.verb((*Runs).Cancel)},
		{Method: http.MethodGet, Path: "/runs/{id}/events", Summary: "Streams a run's events and progress as server-sent events until it is over; Last-Event-ID goes on behind one.", Handle: a.events},
		{Method: http.MethodGet, Path: "/runs/{id}/{report}", Summary: "Returns a run's report: report.json, report.csv, report.md or report.html.", Handle: a.report},
	}
}

type runsAPI struct {
	lookup func() (*Runs, error)
}

type compareBody struct {
	ComparisonSpec
	DryRun bool `json:"dry_run,omitempty"`
	who
}

type optimizeBody struct {
	OptimizationSpec
	DryRun bool `json:"dry_run,omitempty"`
	who
}

func (a runsAPI) compare(w http.ResponseWriter, r *http.Request) error {
	runs, err := a.lookup()
	if err != nil {
		return err
	}
	var body compareBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	plan, run, err := runs.Compare(r.Context(), &body.ComparisonSpec, body.who, body.DryRun)
	return accepted(w, plan, run, err)
}

func (a runsAPI) optimize(w http.ResponseWriter, r *http.Request) error {
	runs, err := a.lookup()
	if err != nil {
		return err
	}
	var body optimizeBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	plan, run, err := runs.Optimize(r.Context(), &body.OptimizationSpec, body.who, body.DryRun)
	return accepted(w, plan, run, err)
}

func accepted(w http.ResponseWriter, plan *Plan, run *Run, err error) error {
	if err != nil {
		return err
	}
	if run == nil {
		api.WriteJSON(w, http.StatusOK, plan)
		return nil
	}
	w.Header().Set("Location", "/llm/runs/"+run.ID)
	api.WriteJSON(w, http.StatusAccepted, run)
	return nil
}

func (a runsAPI) list(w http.ResponseWriter, r *http.Request) error {
	runs, err := a.lookup()
	if err != nil {
		return err
	}
	q := r.URL.Query()
	limit, err := queryNumber(r, "limit", 50, 1000)
	if err != nil {
		return err
	}
	list := slices.DeleteFunc(runs.List(), func(run Run) bool {
		return q.Get("kind") != "" && q.Get("kind") != string(run.Kind) || q.Get("state") != "" && q.Get("state") != string(run.State)
	})
	if after := q.Get("cursor"); after != "" {
		i := slices.IndexFunc(list, func(run Run) bool { return run.ID == after })
		if i < 0 {
			return api.Invalid("cursor", "the cursor is none of this list; begin again without one")
		}
		list = list[i+1:]
	}
	next := ""
	if len(list) > limit {
		list = list[:limit]
		next = list[limit-1].ID
	}
	api.WriteList(w, list, next)
	return nil
}

func (a runsAPI) show(w http.ResponseWriter, r *http.Request) error {
	runs, err := a.lookup()
	if err != nil {
		return err
	}
	run, err := runs.Get(r.PathValue("id"))
	if err != nil {
		return err
	}
	api.WriteJSON(w, http.StatusOK, run)
	return nil
}

func (a runsAPI) delete(w http.ResponseWriter, r *http.Request) error {
	runs, err := a.lookup()
	if err != nil {
		return err
	}
	if err := runs.Delete(r.PathValue("id")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a runsAPI) verb(do func(*Runs, string, who) (Run, error)) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		runs, err := a.lookup()
		if err != nil {
			return err
		}
		var body who
		if err := api.Decode(w, r, &body); err != nil {
			return err
		}
		run, err := do(runs, r.PathValue("id"), body)
		if err != nil {
			return err
		}
		api.WriteJSON(w, http.StatusOK, run)
		return nil
	}
}

// events streams what happens in a run: its own events with their numbers as
// ids, and its progress, which has none. It ends with the event `run` once the
// run is over, and with the connection on a reload; Last-Event-ID goes on.
func (a runsAPI) events(w http.ResponseWriter, r *http.Request) error {
	runs, err := a.lookup()
	if err != nil {
		return err
	}
	x, err := runs.find(r.PathValue("id"))
	if err != nil {
		return err
	}
	last := 0
	if text := r.Header.Get("Last-Event-ID"); text != "" {
		if last, err = strconv.Atoi(text); err != nil || last < 0 {
			return api.Invalid("Last-Event-ID", "%q is no event's number", excerpt(text))
		}
	}
	changed, stop := x.watch()
	defer stop()
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	flush := http.NewResponseController(w)
	for {
		run := x.view()
		for _, e := range x.eventsAfter(last) {
			doc, err := json.Marshal(e)
			if err != nil {
				return nil
			}
			fmt.Fprintf(w, "id: %d\nevent: %s\ndata: %s\n\n", e.Number, e.Kind, doc)
			last = e.Number
		}
		kind := "progress"
		if run.State.Over() {
			kind = "run"
		}
		doc, err := json.Marshal(run)
		if err != nil {
			return nil
		}
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, doc)
		if flush.Flush() != nil || run.State.Over() {
			return nil
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return nil
		}
		select {
		case <-time.After(eventsEvery): // much happens at once
		case <-r.Context().Done():
			return nil
		}
	}
}

// eventsEvery is how often a stream of events tells of progress at most.
const eventsEvery = 50 * time.Millisecond

func (a runsAPI) report(w http.ResponseWriter, r *http.Request) error {
	runs, err := a.lookup()
	if err != nil {
		return err
	}
	form, ok := reportForms[r.PathValue("report")]
	if !ok {
		return api.NotFound("there is no %q of a run; there are report.json, report.csv, report.md and report.html", r.PathValue("report"))
	}
	run, doc, err := runs.Report(r.PathValue("id"))
	if err != nil {
		return err
	}
	out, err := form.write(&run, doc)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", form.contentType)
	_, err = w.Write(out)
	return err
}

// reportForm is a form that reports come in.
type reportForm struct {
	contentType string
	write       func(run *Run, report json.RawMessage) ([]byte, error)
}

var reportForms = map[string]reportForm{
	"report.json": {"application/json", func(_ *Run, report json.RawMessage) ([]byte, error) { return report, nil }},
	"report.csv":  {"text/csv; charset=utf-8", writeCSV},
	"report.md":   {"text/markdown; charset=utf-8", writeMarkdown},
	"report.html": {"text/html; charset=utf-8", writeHTML},
}
