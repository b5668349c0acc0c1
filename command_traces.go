package frontier

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/tracing"
)

// tracePage is how many rows are asked for at once.
const tracePage = 100

func (c *cli) tracesCommand() *cobra.Command {
	return group(
		&cobra.Command{
			Use: "traces", Short: "Shows recorded calls",
			Long: "Shows the calls that the gateway recorded: one trace is one client request with all that was done for it.\n\n\t$ caddy llm traces list --since 1h",
		},
		c.listTracesCommand(),
		c.command("show ID", "Shows one trace with its bodies", `
Shows one call: what was decided, each attempt at a provider, the request, the
answer and the feedback on it. The id is the answer's header x-request-id.

	$ caddy llm traces show 0199f3a27b4c7d10a5e2c4b6d8f01234`, exactly("ID"), func(r *request, args []string) error {
			var t tracing.Trace
			if done, err := r.get("/llm/traces"+segments(args[0]), nil, &t); done || err != nil {
				return err
			}
			r.trace(&t)
			return nil
		}),
		c.tailTracesCommand(),
		c.exportTracesCommand(),
	)
}

// traceFilter are the flags that choose traces.
type traceFilter struct {
	values       map[string]*string
	tags         []string
	since, until string
}

func (f *traceFilter) register(cmd *cobra.Command, ranged bool) {
	flags := cmd.Flags()
	f.values = map[string]*string{}
	for _, flag := range []struct{ name, summary string }{
		{"route", "Of this route"},
		{"variant", "Answered by this variant"},
		{"model", "Answered by this model, provider/model-id"},
		{"prompt", "Made with this prompt: NAME or NAME/VERSION"},
		{"version", "Made with this version of --prompt"},
		{"status", "That ended so: ok, error, cut or cancelled"},
		{"session", "Of this session"},
		{"user", "Of this user"},
	} {
		f.values[flag.name] = flags.String(flag.name, "", flag.summary)
	}
	flags.StringArrayVar(&f.tags, "tag", nil, "With this tag, key=value; may be repeated")
	f.values["q"] = flags.StringP("query", "q", "", "With this text in the request or the answer")
	if ranged {
		flags.StringVar(&f.since, "since", "", "That began since then: a time, a date, or how long ago (90m, 2d)")
		flags.StringVar(&f.until, "until", "", "That began before then: as --since")
	}
}

// query is the filter in the API's terms.
func (f *traceFilter) query(now time.Time) (url.Values, error) {
	q := url.Values{}
	for name, value := range f.values {
		if *value != "" {
			q.Set(name, *value)
		}
	}
	if name, version, ok := strings.Cut(q.Get("prompt"), "/"); ok {
		if q.Has("version") {
			return nil, usagef("the version is given twice: --prompt %s and --version %s", q.Get("prompt"), q.Get("version"))
		}
		q.Set("prompt", name)
		q.Set("version", version)
	}
	tags, err := pairs("tag", f.tags)
	if err != nil {
		return nil, err
	}
	for k, v := range tags {
		q.Set("tag."+k, v)
	}
	return q, setRange(q, f.since, f.until, now)
}

// setRange sets since and until, where given, as the API has times.
func setRange(q url.Values, since, until string, now time.Time) error {
	for name, given := range map[string]string{"since": since, "until": until} {
		if given == "" {
			continue
		}
		t, err := parseWhen(given, now)
		if err != nil {
			return usagef("--%s %s", name, err)
		}
		q.Set(name, t.UTC().Format("2006-01-02T15:04:05.000Z"))
	}
	return nil
}

// parseWhen reads a time: RFC 3339, a local date with or without a time, or
// how long before now.
func parseWhen(given string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339Nano, given); err == nil {
		return t, nil
	}
	for _, layout := range []string{time.DateTime, "2006-01-02T15:04:05", "2006-01-02 15:04", "2006-01-02T15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(layout, given, time.Local); err == nil {
			return t, nil
		}
	}
	if d, err := caddy.ParseDuration(given); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	return time.Time{}, fmt.Errorf("%q: want a time such as 2026-05-01T09:30:00Z, a date such as 2026-05-01, or how long ago, such as 90m or 2d", given)
}

func (c *cli) listTracesCommand() *cobra.Command {
	var (
		filter traceFilter
		limit  int
		cursor string
	)
	cmd := c.command("list", "Lists traces, the newest first", `
Lists recorded calls, the newest first. Filters are combined: all must hold.

	$ caddy llm traces list --status error --since 1h
	$ caddy llm traces list --prompt senti/2 --tag team=support --limit 50`, exactly(), func(r *request, _ []string) error {
		if limit < 1 || limit > 1000 {
			return usagef("--limit %d: want 1 to 1000; caddy llm traces export has no limit", limit)
		}
		q, err := filter.query(time.Now())
		if err != nil {
			return err
		}
		q.Set("limit", strconv.Itoa(limit))
		if cursor != "" {
			q.Set("cursor", cursor)
		}
		list, err := r.listTraces(q, limit)
		if err != nil {
			return err
		}
		if r.json {
			raw, err := marshalJSON(list)
			if err != nil {
				return err
			}
			return r.printJSON(raw)
		}
		if len(list.Items) == 0 {
			r.note("No trace matches.")
			return nil
		}
		t := table{columns: []column{
			{name: "id"},
			{name: "started"},
			{name: "status", paint: paintStatus},
			{name: "route"},
			{name: "variant"},
			{name: "model"},
			{name: "prompt"},
			{name: "latency", right: true},
			{name: "ttft", right: true},
			{name: "in", right: true},
			{name: "out", right: true},
			{name: "cost", right: true},
		}}
		for _, raw := range list.Items {
			var row tracing.Row
			if err := r.decode(raw, &row); err != nil {
				return err
			}
			in, out := tokens(row.Usage)
			t.add(row.ID, row.StartedAt.Local().Format(time.DateTime), row.Status, orDash(row.Route), orDash(row.Variant), modelOf(row.Provider, row.Model),
				servedPrompt(row.Prompt), milliseconds(&row.DurationMS), milliseconds(row.TTFTMS), in, out, dollars(row.CostUSD))
		}
		r.table(t)
		if list.NextCursor != nil {
			r.note("There are more: add --cursor %s", *list.NextCursor)
		}
		return nil
	})
	filter.register(cmd, true)
	cmd.Flags().IntVarP(&limit, "limit", "n", 20, "Most traces to list, up to 1000")
	cmd.Flags().StringVar(&cursor, "cursor", "", "Go on behind the page that ended with this cursor")
	return cmd
}

// listTraces asks for up to limit rows. A search of text ends a page before it
// is full, when its time is up: then it goes on with the next one.
func (r *request) listTraces(q url.Values, limit int) (api.List[json.RawMessage], error) {
	all := api.List[json.RawMessage]{Items: []json.RawMessage{}}
	for {
		answer, err := r.server.do(r.ctx, http.MethodGet, "/llm/traces", q, nil)
		if err != nil {
			return all, err
		}
		var page api.List[json.RawMessage]
		if err := r.decode(answer, &page); err != nil {
			return all, err
		}
		all.Items = append(all.Items, page.Items...)
		all.NextCursor = page.NextCursor
		left := limit - len(all.Items)
		if left <= 0 || page.NextCursor == nil || *page.NextCursor == q.Get("cursor") {
			return all, nil
		}
		q.Set("limit", strconv.Itoa(left))
		q.Set("cursor", *page.NextCursor)
	}
}

// modelOf writes provider/model-id; the model may carry its provider already.
func modelOf(provider, model *string) string {
	switch {
	case model == nil || *model == "":
		return orDash(provider)
	case provider == nil || *provider == "" || strings.HasPrefix(*model, *provider+"/"):
		return *model
	}
	return *provider + "/" + *model
}

func servedPrompt(p *tracing.Prompt) string {
	if p == nil {
		return "-"
	}
	return promptURI(p.Name, p.Version)
}

func tokens(u *tracing.Usage) (in, out string) {
	if u == nil {
		return "-", "-"
	}
	return count(float64(u.InputTokens)), count(float64(u.OutputTokens))
}

func (r *request) trace(t *tracing.Trace) {
	prompt, usage := "", ""
	if t.Prompt != nil {
		prompt = promptURI(t.Prompt.Name, t.Prompt.Version) + " (" + t.Prompt.Source + ")"
	}
	if u := t.Usage; u != nil {
		usage = fmt.Sprintf("%s in (%s cached), %s out (%s reasoning)", count(float64(u.InputTokens)), count(float64(u.CachedInputTokens)),
			count(float64(u.OutputTokens)), count(float64(u.ReasoningOutputTokens)))
		if u.Estimated {
			usage += ", estimated"
		}
	}
	status := t.Status
	if t.HTTPStatus != nil {
		status += fmt.Sprintf(" (HTTP %d)", *t.HTTPStatus)
	}
	route := orEmpty(t.Route)
	if t.Variant != nil {
		route += ", variant " + *t.Variant
	}
	if t.Assignment != nil {
		route = strings.TrimPrefix(route+" ("+*t.Assignment+")", " ")
	}
	ttft := ""
	if t.TTFTMS != nil {
		ttft = milliseconds(t.TTFTMS)
	}
	truncated := ""
	if t.Truncated {
		truncated = "yes: a body was too large to be kept whole"
	}
	r.fields(
		field{"trace", t.ID},
		field{"started", t.StartedAt.Local().Format("2006-01-02 15:04:05.000")},
		field{"status", status},
		field{"error", failure(t.ErrorClass, t.Message)},
		field{"latency", milliseconds(&t.DurationMS)},
		field{"first token", ttft},
		field{"route", route},
		field{"model", modelOf(t.Provider, t.Model)},
		field{"asked for", orEmpty(t.RequestedModel)},
		field{"prompt", prompt},
		field{"variables", labels(t.Variables)},
		field{"parameters", orNone(t.Parameters)},
		field{"adjustments", strings.Join(t.Adjustments, "; ")},
		field{"tokens", usage},
		field{"cost", dollars(t.CostUSD)},
		field{"finish", orEmpty(t.FinishReason)},
		field{"session", orEmpty(t.Session)},
		field{"user", orEmpty(t.User)},
		field{"key", orEmpty(t.Key)},
		field{"tags", labels(t.Tags)},
		field{"near miss", orNone(t.NearMiss)},
		field{"truncated", truncated},
		field{"damaged", t.Damaged},
		field{"notes", strings.Join(t.Notes, "; ")},
	)
	if len(t.Spans) > 0 {
		r.heading("Attempts")
		spans := table{columns: []column{{name: "model"}, {name: "variant"}, {name: "http", right: true}, {name: "latency", right: true}, {name: "ttft", right: true}, {name: "cost", right: true}, {name: "error"}}}
		for _, s := range t.Spans {
			status := "-"
			if s.HTTPStatus != nil {
				status = strconv.Itoa(*s.HTTPStatus)
			}
			spans.add(modelOf(s.Provider, s.Model), orDash(s.Variant), status, milliseconds(&s.DurationMS), milliseconds(s.TTFTMS), dollars(s.CostUSD), failure(s.ErrorClass, s.Message))
		}
		r.table(spans)
	}
	r.body("Request", t.Request)
	r.body("Response", t.Response)
	if len(t.Feedback) > 0 {
		r.heading("Feedback")
		feedback := table{columns: []column{{name: "name"}, {name: "value"}, {name: "source"}, {name: "at"}, {name: "comment"}}}
		for _, f := range t.Feedback {
			feedback.add(f.Name, string(f.Value), f.Source, f.At.Local().Format(time.DateTime), f.Comment)
		}
		r.table(feedback)
	}
}

// failure writes the class of an error and what was wrong, as far as they are known.
func failure(class, message *string) string {
	if orEmpty(class) == "" || orEmpty(message) == "" {
		return orEmpty(class) + orEmpty(message)
	}
	return *class + ": " + *message
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// body prints a body with indentation; one that is not JSON as text.
func (p printer) body(title string, raw json.RawMessage) {
	if orNone(raw) == "" {
		return
	}
	p.heading(title)
	var s string
	if raw[0] == '"' && json.Unmarshal(raw, &s) == nil {
		p.text(ended(s))
		return
	}
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		b.Reset()
		b.Write(raw)
	}
	p.text(ended(b.String()))
}

func (c *cli) exportTracesCommand() *cobra.Command {
	var (
		filter traceFilter
		file   string
		full   bool
	)
	cmd := c.command("export", "Writes traces as lines of JSON", `
Writes all traces that match, the newest first, one JSON object a line: without
bodies, or with --full everything that is known of each call.

	$ caddy llm traces export --since 1d --route sentiment --file traces.jsonl
	$ caddy llm traces export --status error --full`, exactly(), func(r *request, _ []string) (err error) {
		q, err := filter.query(time.Now())
		if err != nil {
			return err
		}
		q.Set("limit", strconv.Itoa(tracePage))
		out := r.out
		if file != "" && file != "-" {
			f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, f.Close()) }()
			out = f
		}
		n, err := r.export(out, q, full)
		if file != "" && file != "-" && err == nil {
			r.note("%s traces written to %s", count(float64(n)), file)
		}
		return err
	})
	filter.register(cmd, true)
	cmd.Flags().StringVarP(&file, "file", "f", "", "File to write to; default: standard output")
	cmd.Flags().BoolVar(&full, "full", false, "With the bodies of request and answer, the attempts and the feedback")
	return cmd
}

func (r *request) export(to io.Writer, q url.Values, full bool) (n int, err error) {
	w := bufio.NewWriter(to)
	defer func() {
		if e := w.Flush(); err == nil {
			err = e
		}
	}()
	err = pages(r, "/llm/traces", q, func(row json.RawMessage) error {
		if full {
			var id struct {
				ID string `json:"id"`
			}
			if err := r.decode(row, &id); err != nil {
				return err
			}
			whole, err := r.server.do(r.ctx, http.MethodGet, "/llm/traces"+segments(id.ID), nil, nil)
			var gone *serverError
			if errors.As(err, &gone) && gone.status == http.StatusNotFound {
				return nil // retention has removed it since
			}
			if err != nil {
				return err
			}
			row = bytes.TrimSpace(whole)
		}
		n++
		_, err := fmt.Fprintf(w, "%s\n", row)
		return err
	})
	return n, err
}
