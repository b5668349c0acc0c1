package optimizer

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/tracing"
)

// DatasetLookup finds the datasets of the configuration that is running, and
// what captures read, on every request.
type DatasetLookup func() (*Datasets, *tracing.Store, *prompts.View, error)

// DatasetRoutes returns the admin API's operations on datasets.
func DatasetRoutes(lookup DatasetLookup) []api.Route {
	a := datasetAPI{lookup: lookup, now: time.Now}
	versionParam := api.Param{Name: "version", Summary: "its number; default: the latest"}
	export := func(format string) api.Route {
		return api.Route{
			Method: http.MethodGet, Path: "/datasets/{name}/export." + format, Summary: "Downloads a version's records as " + format + ", which can be imported again.",
			Query: []api.Param{versionParam}, Handle: func(w http.ResponseWriter, r *http.Request) error { return a.export(w, r, format) },
		}
	}
	return []api.Route{
		{
			Method: http.MethodGet, Path: "/datasets", Summary: "Lists the datasets, by name, with their versions but without records.",
			Query:  []api.Param{{Name: "cursor", Summary: "next_cursor of the page before"}, {Name: "limit", Summary: "datasets a page, 1 to 1000; default 100"}},
			Answer: api.List[*Dataset]{}, Handle: a.list,
		},
		{
			Method: http.MethodPost, Path: "/datasets", Summary: "Makes a dataset, with its first records or without any.",
			Body: createDatasetBody{}, Answer: &Dataset{}, Status: http.StatusCreated, Handle: a.create,
		},
		{Method: http.MethodGet, Path: "/datasets/{name}", Summary: "Shows a dataset with its versions.", Answer: &Dataset{}, Handle: a.show},
		{Method: http.MethodDelete, Path: "/datasets/{name}", Summary: "Removes a dataset with all its versions.", Body: who{}, Status: http.StatusNoContent, Handle: a.delete},
		{
			Method: http.MethodPost, Path: "/datasets/{name}/records",
			Summary: "Adds records, or puts them in the place of all there are; either makes the next version (201). When the content stays as it is, so does the version (200).",
			Body:    recordsBody{}, Answer: appendedAnswer{}, Status: http.StatusCreated, Handle: a.append,
		},
		{
			Method: http.MethodGet, Path: "/datasets/{name}/records", Summary: "Lists a version's records.",
			Query: []api.Param{
				versionParam,
				{Name: "cursor", Summary: "next_cursor of the page before; it stays with its version"},
				{Name: "limit", Summary: "records a page, 1 to 1000; default 100"},
			},
			Answer: api.List[Record]{}, Handle: a.records,
		},
		{
			Method: http.MethodPost, Path: "/datasets/{name}/capture",
			Summary: "Makes the next version, and the dataset if there is none, of what a variant answered on a route, from traces, without a call to any model.",
			Body:    captureBody{}, Answer: &Captured{}, Status: http.StatusCreated, Handle: a.capture,
		},
		export(FormatJSONL),
		export(FormatCSV),
	}
}

type datasetAPI struct {
	lookup DatasetLookup
	now    func() time.Time
}

func (a datasetAPI) datasets() (*Datasets, error) {
	d, _, _, err := a.lookup()
	return d, err
}

// change is the condition and the note of a change.
func (b who) change(r *http.Request) DatasetChange {
	return DatasetChange{Actor: b.Actor, Reason: b.Reason, Check: func(etag string) error { return api.CheckMatch(r, etag) }}
}

type createDatasetBody struct {
	Name        string            `json:"name"`
	Description string            `json:"description,omitempty"`
	Tags        map[string]string `json:"tags,omitempty"`
	Records     []json.RawMessage `json:"records,omitempty"` // in any form that an import takes
	who
}

type recordsBody struct {
	Records []json.RawMessage `json:"records"` // in any form that an import takes
	Replace bool              `json:"replace,omitempty"`
	who
}

type captureBody struct {
	Route   string `json:"route"`
	Variant string `json:"variant,omitempty"` // default: stable
	Since   string `json:"since,omitempty"`   // a time, or how long ago; default: 7d
	Sample  int    `json:"sample,omitempty"`  // default: 200
	Seed    uint64 `json:"seed,omitempty"`
	who
}

type appendedAnswer struct {
	Dataset    *Dataset       `json:"dataset"`
	Version    DatasetVersion `json:"version"`
	Added      int            `json:"added"`
	Duplicates int            `json:"duplicates"` // were there already
}

// queryNumber reads a whole number from 1 to most.
func queryNumber(r *http.Request, name string, fallback, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, api.Invalid(name, "%s must be a number from 1 to %d; got %q", name, most, cutText(text))
	}
	return n, nil
}

func (a datasetAPI) list(w http.ResponseWriter, r *http.Request) error {
	limit, err := queryNumber(r, "limit", 100, 1000)
	if err != nil {
		return err
	}
	d, err := a.datasets()
	if err != nil {
		return err
	}
	all, err := d.List()
	if err != nil {
		return err
	}
	if after := r.URL.Query().Get("cursor"); after != "" {
		all = all[sort.Search(len(all), func(i int) bool { return all[i].Name > after }):]
	}
	next := ""
	if len(all) > limit {
		all = all[:limit]
		next = all[limit-1].Name
	}
	api.WriteList(w, all, next)
	return nil
}

func (a datasetAPI) create(w http.ResponseWriter, r *http.Request) error {
	d, err := a.datasets()
	if err != nil {
		return err
	}
	var body createDatasetBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	records, err := parseRecords(body.Records)
	if err != nil {
		return err
	}
	s, err := d.create(body.Name, body.Description, body.Tags, records, body.change(r))
	if err != nil {
		return err
	}
	api.SetETag(w, s.ETag)
	w.Header().Set("Location", "/llm/datasets/"+s.Name)
	api.WriteJSON(w, http.StatusCreated, s)
	return nil
}

// parseRecords reads records in any form that an import takes.
func parseRecords(raw []json.RawMessage) ([]Record, error) {
	out := make([]Record, 0, len(raw))
	for i, m := range raw {
		r, err := parseRecord(m)
		if err != nil {
			return nil, recordError(i, err)
		}
		out = append(out, r)
	}
	return out, nil
}

func (a datasetAPI) show(w http.ResponseWriter, r *http.Request) error {
	d, err := a.datasets()
	if err != nil {
		return err
	}
	s, _, err := d.Get(r.PathValue("name"), 0)
	if err != nil {
		return err
	}
	api.SetETag(w, s.ETag)
	api.WriteJSON(w, http.StatusOK, s)
	return nil
}

func (a datasetAPI) delete(w http.ResponseWriter, r *http.Request) error {
	d, err := a.datasets()
	if err != nil {
		return err
	}
	var body who
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	if err := d.Delete(r.PathValue("name"), body.change(r)); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (a datasetAPI) append(w http.ResponseWriter, r *http.Request) error {
	d, err := a.datasets()
	if err != nil {
		return err
	}
	var body recordsBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	records, err := parseRecords(body.Records)
	if err != nil {
		return err
	}
	put, err := d.Append(r.PathValue("name"), records, body.Replace, body.change(r))
	if err != nil {
		return err
	}
	status := http.StatusOK
	if put.Created {
		status = http.StatusCreated
	}
	api.SetETag(w, put.Dataset.ETag)
	api.WriteJSON(w, status, appendedAnswer{Dataset: put.Dataset, Version: put.Version, Added: put.Added, Duplicates: put.Duplicates})
	return nil
}

// records lists a page. Its cursor says which version it goes on with, so that a
// change in between does not mix two of them.
func (a datasetAPI) records(w http.ResponseWriter, r *http.Request) error {
	limit, err := queryNumber(r, "limit", 100, 1000)
	if err != nil {
		return err
	}
	version, err := queryNumber(r, "version", 0, 1<<31-1)
	if err != nil {
		return err
	}
	from := 0
	if text := r.URL.Query().Get("cursor"); text != "" {
		number := 0
		if n, err := fmt.Sscanf(text, "%d.%d", &number, &from); n != 2 || err != nil || number < 1 || from < 0 || version != 0 && version != number {
			return api.Invalid("cursor", "cursor %q: use next_cursor with the same parameters", cutText(text))
		}
		version = number
	}
	d, err := a.datasets()
	if err != nil {
		return err
	}
	_, v, err := d.Get(r.PathValue("name"), version)
	if err != nil {
		return err
	}
	if v.Version == 0 { // without records
		api.WriteList[Record](w, nil, "")
		return nil
	}
	page, err := d.page(r.PathValue("name"), v, from, limit)
	if err != nil {
		return err
	}
	next := ""
	if from+limit < v.Records {
		next = fmt.Sprintf("%d.%d", v.Version, from+limit)
	}
	api.WriteList(w, page, next)
	return nil
}

func (a datasetAPI) capture(w http.ResponseWriter, r *http.Request) error {
	d, traces, view, err := a.lookup()
	if err != nil {
		return err
	}
	var body captureBody
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	q := CaptureRequest{Route: body.Route, Variant: body.Variant, Sample: body.Sample, Seed: body.Seed}
	if body.Since != "" {
		if q.Since, err = a.since(body.Since); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), captureTime)
	defer cancel()
	captured, err := d.Capture(ctx, r.PathValue("name"), q, traces, view, body.change(r))
	if err != nil {
		return err
	}
	if s, _, err := d.Get(r.PathValue("name"), 0); err == nil {
		api.SetETag(w, s.ETag)
	}
	api.WriteJSON(w, http.StatusCreated, captured)
	return nil
}

// captureTime bounds a capture.
const captureTime = 5 * time.Minute

// since reads a time, or a duration that counts back from now.
func (a datasetAPI) since(text string) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, text); err == nil {
		return t.UTC(), nil
	}
	ago, err := caddy.ParseDuration(text)
	if err != nil || ago <= 0 {
		return time.Time{}, api.Invalid("since", "since %q: want a time such as 2026-01-31T12:00:00Z, or how long ago, such as 7d", cutText(text))
	}
	return a.now().Add(-ago).UTC(), nil
}

func (a datasetAPI) export(w http.ResponseWriter, r *http.Request, format string) error {
	version, err := queryNumber(r, "version", 0, 1<<31-1)
	if err != nil {
		return err
	}
	d, err := a.datasets()
	if err != nil {
		return err
	}
	v, records, err := d.Load(r.PathValue("name"), version)
	if err != nil {
		return err
	}
	kind := "application/jsonl"
	if format == FormatCSV {
		kind = "text/csv; charset=utf-8"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", r.PathValue("name")+"."+format))
	w.Header().Set("LLM-Dataset-Hash", v.Hash)
	w.WriteHeader(http.StatusOK)
	_ = WriteRecords(w, records, format) // the client went away
	return nil
}
