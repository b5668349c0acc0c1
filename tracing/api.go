package tracing

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/api"
)

// Routes returns the admin API's routes for traces. The store is looked up on
// each request, because it may be another one after a reload.
func Routes(lookup func() (*Store, error)) []api.Route {
	h := admin{lookup: lookup, now: time.Now}
	return []api.Route{
		{
			Method: http.MethodGet, Path: "/traces", Summary: "Lists traces, the newest first.",
			Query: listParams, Answer: api.List[Row]{}, Handle: h.list,
		},
		{
			Method: http.MethodGet, Path: "/traces/{id}", Summary: "Returns one trace with its bodies, attempts and feedback.",
			Answer: Trace{}, Handle: h.one,
		},
		{
			Method: http.MethodPost, Path: "/traces/{id}/feedback", Summary: "Adds feedback to a trace.",
			Body: FeedbackRequest{}, Answer: Feedback{}, Status: http.StatusCreated, Handle: h.feedback,
		},
		{
			Method: http.MethodGet, Path: "/stats", Summary: "Returns figures over traces: requests, errors, latency, tokens, cost.",
			Query: statsParams, Answer: Stats{}, Handle: h.stats,
		},
	}
}

// FeedbackRequest is feedback as it is sent in.
type FeedbackRequest struct {
	Name    string          `json:"name"`
	Value   json.RawMessage `json:"value"`
	Comment string          `json:"comment,omitempty"`
	Source  string          `json:"source,omitempty"`
}

const timeSummary = "A time (RFC 3339), or how long ago, such as 15m or 7d."

var listParams = []api.Param{
	{Name: "route", Summary: "Of this route."},
	{Name: "variant", Summary: "Answered by this variant."},
	{Name: "model", Summary: "Answered by this model: its id, or provider/id."},
	{Name: "prompt", Summary: "Made with this prompt."},
	{Name: "version", Summary: "Made with this version of a prompt."},
	{Name: "status", Summary: "ok, error, cut or cancelled."},
	{Name: "session", Summary: "Of this session."},
	{Name: "user", Summary: "Of this user."},
	{Name: "tag.{name}", Summary: "With this value of the tag; several must all match."},
	{Name: "since", Summary: "Started then or later. " + timeSummary},
	{Name: "until", Summary: "Started before. " + timeSummary},
	{Name: "q", Summary: "With this text in the request or the answer. Searched for two seconds a page."},
	{Name: "cursor", Summary: "next_cursor of the page before."},
	{Name: "limit", Summary: "Traces a page. Default: 50, at most 1000."},
}

var statsParams = []api.Param{
	{Name: "group_by", Summary: "variant, model, prompt or route. Default: variant."},
	{Name: "route", Summary: "Of this route."},
	{Name: "since", Summary: "Started then or later. Default: 24h. " + timeSummary},
	{Name: "until", Summary: "Started before. Default: now. " + timeSummary},
}

type admin struct {
	lookup func() (*Store, error)
	now    func() time.Time
}

func (h *admin) list(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, listParams)
	if err != nil {
		return err
	}
	f := Filter{
		Route: values.Get("route"), Variant: values.Get("variant"), Model: values.Get("model"), Prompt: values.Get("prompt"),
		Status: values.Get("status"), Session: values.Get("session"), User: values.Get("user"), Text: values.Get("q"), Cursor: values.Get("cursor"),
	}
	if f.Status != "" && !slices.Contains([]string{"ok", "error", "cut", "cancelled"}, f.Status) {
		return api.Invalid("status", "status %q: want ok, error, cut or cancelled", f.Status)
	}
	if f.Version, err = number(values, "version", math32); err != nil {
		return err
	}
	if f.Limit, err = number(values, "limit", MaxLimit); err != nil {
		return err
	}
	if f.Since, err = h.time(values, "since"); err != nil {
		return err
	}
	if f.Until, err = h.time(values, "until"); err != nil {
		return err
	}
	for name := range values {
		if tag, ok := strings.CutPrefix(name, "tag."); ok {
			if f.Tags == nil {
				f.Tags = map[string]string{}
			}
			f.Tags[tag] = values.Get(name)
		}
	}
	s, err := h.lookup()
	if err != nil {
		return err
	}
	p, err := s.Query(r.Context(), f)
	if err != nil {
		return apiError(err)
	}
	warnDamaged(w, p.Damaged)
	api.WriteList(w, p.Items, p.Next)
	return nil
}

const math32 = 1<<31 - 1

func (h *admin) one(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r, nil); err != nil {
		return err
	}
	id := r.PathValue("id")
	if _, err := parseID(id); err != nil {
		return api.Invalid("id", "%v, as in the answer's header x-request-id", err)
	}
	s, err := h.lookup()
	if err != nil {
		return err
	}
	t, err := s.Trace(r.Context(), id)
	if err != nil {
		return apiError(err)
	}
	api.WriteJSON(w, http.StatusOK, t)
	return nil
}

func (h *admin) feedback(w http.ResponseWriter, r *http.Request) error {
	if _, err := parameters(r, nil); err != nil {
		return err
	}
	id := r.PathValue("id")
	if _, err := parseID(id); err != nil {
		return api.Invalid("id", "%v, as in the answer's header x-request-id", err)
	}
	var body FeedbackRequest
	if err := api.Decode(w, r, &body); err != nil {
		return err
	}
	s, err := h.lookup()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), 10*time.Second)
	defer cancel()
	f := Feedback{Name: body.Name, Value: body.Value, Comment: body.Comment, Source: body.Source, At: Time{h.now().UTC()}}
	if err := s.AddFeedback(ctx, id, f); err != nil {
		return apiError(err)
	}
	api.WriteJSON(w, http.StatusCreated, f)
	return nil
}

func (h *admin) stats(w http.ResponseWriter, r *http.Request) error {
	values, err := parameters(r, statsParams)
	if err != nil {
		return err
	}
	by := GroupBy(values.Get("group_by"))
	switch by {
	case "":
		by = ByVariant
	case ByVariant, ByModel, ByPrompt, ByRoute:
	default:
		return api.Invalid("group_by", "group_by %q: want variant, model, prompt or route", by)
	}
	f := Filter{Route: values.Get("route")}
	if f.Since, err = h.time(values, "since"); err != nil {
		return err
	}
	if f.Until, err = h.time(values, "until"); err != nil {
		return err
	}
	if f.Until.IsZero() {
		f.Until = h.now()
	}
	if f.Since.IsZero() {
		f.Since = f.Until.Add(-sinceDefault)
	}
	s, err := h.lookup()
	if err != nil {
		return err
	}
	st, err := s.Stats(r.Context(), by, f)
	if err != nil {
		return apiError(err)
	}
	warnDamaged(w, st.Damaged)
	api.WriteJSON(w, http.StatusOK, st)
	return nil
}

// parameters reads the query and refuses what is not known, repeated or empty.
func parameters(r *http.Request, known []api.Param) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, api.Invalid("", "reading the query: %v", err)
	}
	names := make([]string, len(known))
	for i, p := range known {
		names[i] = p.Name
	}
	for name, v := range values {
		tag := strings.HasPrefix(name, "tag.") && len(name) > len("tag.") && slices.Contains(names, "tag.{name}")
		if !tag && (!slices.Contains(names, name) || name == "tag.{name}") {
			if len(names) == 0 {
				return nil, api.Invalid(name, "unknown parameter %q: there are none here", name)
			}
			return nil, api.Invalid(name, "unknown parameter %q: want one of %s", name, strings.Join(names, ", "))
		}
		if len(v) > 1 {
			return nil, api.Invalid(name, "parameter %q is given %d times", name, len(v))
		}
	}
	return values, nil
}

// number reads a whole number from 1 to most; 0 when it is not given.
func number(values url.Values, name string, most int) (int, error) {
	s := values.Get(name)
	if s == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > most {
		return 0, api.Invalid(name, "%s %q: want a whole number from 1 to %d", name, s, most)
	}
	return n, nil
}

// time reads a time, or a duration that counts back from now.
func (h *admin) time(values url.Values, name string) (time.Time, error) {
	s := values.Get(name)
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t.UTC(), nil
	}
	d, err := caddy.ParseDuration(s)
	if err != nil || d < 0 {
		return time.Time{}, api.Invalid(name, "%s %q: want a time such as 2026-01-31T12:00:00Z, or how long ago, such as 15m or 7d", name, s)
	}
	return h.now().Add(-d).UTC(), nil
}

func apiError(err error) error {
	var wrong *feedbackError
	switch {
	case errors.As(err, &wrong):
		return api.Invalid(wrong.field, "feedback: %v", wrong)
	case errors.Is(err, ErrNotFound):
		return api.NotFound("%v: it was not recorded, or it has been dropped (traces retain, max_disk)", err)
	case errors.Is(err, ErrCursor):
		return api.Invalid("cursor", "%v: use next_cursor with the same parameters", err)
	case errors.Is(err, ErrNoSpace):
		return api.NoSpace("%v", err)
	case errors.Is(err, ErrClosed), errors.Is(err, context.DeadlineExceeded):
		return api.Unavailable("%v; try again", err)
	}
	return err
}

// warnDamaged says in a header which files an answer is missing.
func warnDamaged(w http.ResponseWriter, files []string) {
	for _, name := range files {
		w.Header().Add("LLM-Damaged", name)
	}
}
