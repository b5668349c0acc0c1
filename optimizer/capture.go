package optimizer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/api"
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/tracing"
)

// CaptureRequest says which traces a dataset is made of.
type CaptureRequest struct {
	Route   string
	Variant string    // "": stable
	Since   time.Time // zero: DefaultCaptureSince ago
	Sample  int       // how many records at most; 0: DefaultCaptureSample
	Seed    uint64    // of the choice, when there are more
}

// The defaults of captures.
const (
	DefaultCaptureSince  = 7 * 24 * time.Hour
	DefaultCaptureSample = 200
)

// Captured is what became of a capture.
type Captured struct {
	Dataset     string            `json:"dataset"`
	Version     DatasetVersion    `json:"version"`
	LookedAt    int               `json:"looked_at"`    // traces
	Used        int               `json:"used"`         // records
	Skipped     map[string]int    `json:"skipped"`      // traces, by reason
	Duplicates  int               `json:"duplicates"`   // traces that ask what a newer one does
	Disagreeing int               `json:"disagreeing"`  // of these, those with another answer
	Inputs      string            `json:"inputs"`       // variables or messages
	Prompt      *string           `json:"prompt"`       // whose variables they are
	LeftOut     int               `json:"left_out"`     // traces with system messages besides the prompt, which variables do not tell
	OlderUnseen bool              `json:"older_unseen"` // there were enough newer traces: older ones were not looked at
	Strata      []CapturedStratum `json:"strata"`       // answers, the most frequent first; 50 at most
}

// CapturedStratum is an answer, and how many records have it.
type CapturedStratum struct {
	Answer string `json:"answer"` // its beginning
	Found  int    `json:"found"`
	Used   int    `json:"used"`
}

// Why traces are not used.
const (
	skipStatus       = "failed"       // the call did not end well
	skipRetry        = "client_retry" // the client said that it asks again
	skipOwn          = "own_calls"    // of runs, or shadows
	skipAPI          = "other_api"    // embeddings and the like
	skipCapture      = "no_bodies"    // captured without them
	skipTruncated    = "truncated"    // too large to be captured whole
	skipDamaged      = "damaged"      // cannot be read any more
	skipShort        = "answer_cut"   // by a limit of tokens
	skipRefused      = "refused"      // by a filter or the model
	skipEmpty        = "empty_answer"
	skipElsewhere    = "not_whole"    // what was asked is in part elsewhere: an earlier response, a prompt before the messages
	skipUnrecognized = "unrecognized" // no prompt was found in it, as was in most
	skipOther        = "other_prompt" // another prompt than in most
	skipSize         = "too_large"    // for a record
)

// What inputs are.
const (
	variablesWord = "variables"
	messagesWord  = "messages"
)

// Limits of captures.
const (
	maxLookedAt     = 200_000   // traces
	maxGathered     = 192 << 20 // bytes of what is asked and answered
	leastGathered   = 2000      // as many usable traces are looked at, if there are
	gatheredASample = 20        // or as many times the sample
	shownStrata     = 50
)

// Capture makes the next version of a dataset, which it makes if need be, of what
// clients asked on a route and what a variant answered, without a call to any
// model. It takes the place of the records there were. Of those that ask the same the newest answer counts, and
// when there are more than are wanted, each answer gets its share.
//
// The inputs are the variables of the prompt that was recognised in most of the
// requests, or, without such a prompt, the messages as they were sent, in the form of chat completions.
func (d *Datasets) Capture(ctx context.Context, name string, q CaptureRequest, traces *tracing.Store, view *prompts.View, c DatasetChange) (*Captured, error) {
	if err := checkDatasetName(name); err != nil {
		return nil, err
	}
	if q.Route == "" {
		return nil, api.Invalid("route", "route: whose traces?")
	}
	if q.Sample < 0 || q.Sample > maxRecords {
		return nil, api.Invalid("sample", "sample %d: want a number from 1 to %d", q.Sample, maxRecords)
	}
	q.Variant, q.Sample = cmp.Or(q.Variant, "stable"), cmp.Or(q.Sample, DefaultCaptureSample)
	if q.Since.IsZero() {
		q.Since = d.now().Add(-DefaultCaptureSince)
	}
	g := &gathering{CaptureRequest: q, traces: traces, view: view, out: Captured{Dataset: name, Skipped: map[string]int{}, Strata: []CapturedStratum{}}}
	if err := g.gather(ctx); err != nil {
		return nil, err
	}
	found := g.unique(g.kind())
	if len(found) == 0 {
		return nil, g.nothing(ctx)
	}
	picked := Sample(found, q.Sample, q.Seed)
	records := make([]Record, len(picked))
	for i, p := range picked {
		records[i] = found[p]
	}
	since := q.Since.UTC().Truncate(time.Millisecond)
	put, err := d.put(name, records, true, true, DatasetSource{Kind: SourceCapture, Route: q.Route, Variant: q.Variant, Since: &since}, c)
	if err != nil {
		return nil, err
	}
	g.out.Version, g.out.Used = put.Version, len(records)
	g.count(found, records)
	return &g.out, nil
}

// gathering is a capture under way.
type gathering struct {
	CaptureRequest
	traces *tracing.Store
	view   *prompts.View
	found  []gathered // the newest first
	size   int
	out    Captured
}

// gathered is what a trace asks and answers, in the forms in which it can be said.
type gathered struct {
	record    Record // with messages, if they say all; without id
	prompt    string // whose variables say it; "": none
	variables map[string]string
	leftOut   bool // system messages that the variables do not tell
}

// gather reads traces until there are enough.
func (g *gathering) gather(ctx context.Context) error {
	f := tracing.Filter{Route: g.Route, Variant: g.Variant, Since: g.Since, Limit: tracing.MaxLimit}
	enough := min(max(leastGathered, gatheredASample*g.Sample), maxRecords)
	for {
		page, err := g.traces.Query(ctx, f)
		if err != nil {
			return captureError(err)
		}
		for i := range page.Items {
			if len(g.found) >= enough || g.out.LookedAt >= maxLookedAt || g.size >= maxGathered {
				g.out.OlderUnseen = true
				return nil
			}
			g.out.LookedAt++
			skip, err := g.take(ctx, &page.Items[i])
			if err != nil {
				return err
			}
			if skip != "" {
				g.out.Skipped[skip]++
			}
		}
		if page.Next == "" {
			return nil
		}
		f.Cursor = page.Next
	}
}

func captureError(err error) error {
	if errors.Is(err, tracing.ErrClosed) {
		return api.Unavailable("traces: %s; try again", err)
	}
	return fmt.Errorf("reading traces: %w", err)
}

// take reads one trace. skip says why it cannot be used.
func (g *gathering) take(ctx context.Context, row *tracing.Row) (skip string, err error) {
	if skip := skipRow(row); skip != "" {
		return skip, nil
	}
	t, err := g.traces.Trace(ctx, row.ID)
	switch {
	case errors.Is(err, tracing.ErrNotFound): // retention was faster
		return skipDamaged, nil
	case err != nil:
		return "", captureError(err)
	case t.Damaged != "":
		return skipDamaged, nil
	case t.Truncated:
		return skipTruncated, nil
	case string(t.Request) == "null" || string(t.Response) == "null":
		return skipCapture, nil
	}
	one, skip := g.read(&t)
	if skip != "" {
		return skip, nil
	}
	if one.size() > maxRecord {
		return skipSize, nil
	}
	g.found = append(g.found, one)
	g.size += one.size()
	return "", nil
}

func (o *gathered) size() int {
	n := len(o.record.Messages) + len(o.record.Expected)
	for k, v := range o.variables {
		n += len(k) + len(v)
	}
	return n
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// skipRow says by a trace's row why it cannot be used.
func skipRow(row *tracing.Row) string {
	switch deref(row.FinishReason) {
	case "length", "max_tokens", "incomplete", "model_context_window_exceeded", "pause_turn":
		return skipShort
	case "content_filter", "refusal":
		return skipRefused
	}
	switch {
	case deref(row.Assignment) == string(call.Run) || deref(row.Assignment) == "shadow":
		return skipOwn
	case row.Status != string(call.StatusOK):
		return skipStatus
	case row.ClientRetry:
		return skipRetry
	case row.Damaged != "":
		return skipDamaged
	case requestPaths[row.Front] == "":
		return skipAPI
	}
	return ""
}

// kind is the prompt whose variables are the inputs: that of most of the traces. "": messages are.
func (g *gathering) kind() string {
	by := map[string]int{}
	for i := range g.found {
		if p := g.found[i].prompt; p != "" {
			by[p]++
		}
	}
	most := ""
	for _, p := range sortedKeys(by) {
		if by[p] > by[most] {
			most = p
		}
	}
	if 2*by[most] >= len(g.found) {
		return most
	}
	return ""
}

// unique makes records of that kind, each for what only one of them asks.
func (g *gathering) unique(prompt string) []Record {
	g.out.Inputs = messagesWord
	if prompt != "" {
		g.out.Inputs, g.out.Prompt = variablesWord, &prompt
	}
	var out []Record
	at := map[string]int{}
	for i := range g.found {
		one := &g.found[i]
		r := one.record
		switch {
		case prompt != "" && one.prompt == "":
			g.out.Skipped[skipUnrecognized]++
			continue
		case prompt != "" && one.prompt != prompt:
			g.out.Skipped[skipOther]++
			continue
		case prompt != "":
			r.Inputs, r.Messages = one.variables, nil
		case len(r.Messages) == 0:
			g.out.Skipped[skipElsewhere]++
			continue
		}
		if r.check() != nil {
			g.out.Skipped[skipDamaged]++
			continue
		}
		if prompt != "" && one.leftOut {
			g.out.LeftOut++
		}
		r.ID = r.asked()
		if before, there := at[r.ID]; there {
			g.out.Duplicates++
			if string(out[before].Expected) != string(r.Expected) {
				g.out.Disagreeing++
			}
			continue
		}
		at[r.ID] = len(out)
		out = append(out, r)
	}
	return out
}

// count counts answers among what was found and what was used.
func (g *gathering) count(found, used []Record) {
	strata := map[string]*CapturedStratum{}
	for i := range found {
		key := found[i].label()
		if strata[key] == nil {
			strata[key] = &CapturedStratum{Answer: cutText(key)}
		}
		strata[key].Found++
	}
	for i := range used {
		strata[used[i].label()].Used++
	}
	for _, s := range strata {
		g.out.Strata = append(g.out.Strata, *s)
	}
	slices.SortFunc(g.out.Strata, func(a, b CapturedStratum) int {
		return cmp.Or(cmp.Compare(b.Found, a.Found), strings.Compare(a.Answer, b.Answer), cmp.Compare(b.Used, a.Used))
	})
	g.out.Strata = g.out.Strata[:min(len(g.out.Strata), shownStrata)]
}

// nothing says why there is not a single record.
func (g *gathering) nothing(ctx context.Context) error {
	since := g.Since.UTC().Format(time.RFC3339)
	if g.out.LookedAt == 0 {
		other, err := g.traces.Query(ctx, tracing.Filter{Route: g.Route, Limit: 1})
		if err != nil {
			return captureError(err)
		}
		if len(other.Items) == 0 {
			return api.Conflict("there is no trace of route %q", cutText(g.Route))
		}
		last := &other.Items[0]
		return api.Conflict("route %q has no trace of variant %q since %s; its newest one is of %s, of variant %q",
			cutText(g.Route), cutText(g.Variant), since, last.StartedAt.UTC().Format(time.RFC3339), deref(last.Variant))
	}
	if g.out.Skipped[skipCapture] > 0 && g.out.Skipped[skipCapture]+g.out.Skipped[skipStatus] == g.out.LookedAt {
		return api.Conflict("the traces of route %q hold no bodies: what was asked and answered was not captured; set `capture full` in the global option llm, traces", cutText(g.Route))
	}
	var reasons []string
	for _, reason := range slices.SortedFunc(maps.Keys(g.out.Skipped), func(a, b string) int {
		return cmp.Or(cmp.Compare(g.out.Skipped[b], g.out.Skipped[a]), strings.Compare(a, b))
	}) {
		reasons = append(reasons, fmt.Sprintf("%s %d", reason, g.out.Skipped[reason]))
	}
	return api.Conflict("none of the %d traces of route %q, variant %q, since %s can be used: %s",
		g.out.LookedAt, cutText(g.Route), cutText(g.Variant), since, strings.Join(reasons, ", "))
}
