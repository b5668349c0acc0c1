package tracing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"zombiezen.com/go/sqlite"
	"zombiezen.com/go/sqlite/sqlitex"

	"github.com/caddy-frontier/frontier/internal/call"
)

func offered(c Counters) int64 {
	n := c.Written + c.Queued
	for _, d := range c.Dropped {
		n += d
	}
	return n
}

func TestRoundTrip(t *testing.T) {
	s := openStore(t, Options{})
	rec := newRecorder(t, s, Config{})
	system := `"You are ` + strings.Repeat("very ", 400) + `helpful."`
	body := `{"model":"gpt-4","messages":[{"role":"system","content":` + system + `},{"role":"user","content":"hi"}],"stream":true,"top_p":0.5}`
	c := parsed(t, "chat/completions", body)
	at := time.UnixMicro(c.Started.UnixMicro())
	c.Session, c.User, c.Key, c.Conversation = "se", "us", "ke", "co"
	c.Tags = map[string]string{"a": "1", "b\"c": "ü", "k3": "", "k4": "4", "k5": "5"}
	c.Retry, c.W3CTraceID = true, strings.Repeat("ab", 16)
	c.Route, c.Variant, c.Assignment = "ro", "va", call.Drawn
	c.Prompt.Variables = map[string]string{"x": "y\n"}
	c.NearMiss = &call.NearMiss{Prompt: "p", Version: 1, Offset: 3, Want: "w", Got: "g"}
	c.Served = call.ServedPrompt{Name: "pr", Version: 7, Source: call.Recognized}
	c.Provider, c.Model, c.Finish, c.Status, c.ErrorClass, c.Message = "openai", "gpt-4o", "stop", call.StatusCut, "upstream_cut", "it broke"
	c.Adjustments = []string{"temperature removed"}
	c.Sent = json.RawMessage(`{"top_p":0.7}`)
	c.Usage = &call.Usage{Input: 100, Output: 20, CachedInput: 30, CacheWriteInput: 0, Reasoning: 5, Estimated: true}
	c.Attempts = []call.Attempt{
		{Provider: "local", Model: "m1", Variant: "va", Started: at, Duration: 1500 * time.Microsecond, HTTPStatus: 500, ErrorClass: "upstream_error", Message: "no"},
		{Provider: "openai", Model: "gpt-4o", Variant: "va", Started: at, Duration: time.Second, FirstToken: 250 * time.Millisecond, HTTPStatus: 200, Usage: c.Usage, UpstreamRequestID: "req_1"},
	}
	r := NewRecord(c)
	r.Status, r.HTTPStatus, r.Duration, r.FirstByte, r.EventStream = c.Status, 200, 1234567*time.Microsecond, 250*time.Millisecond, true
	r.Response = append(call.Buffer(0), events("\n", `{"choices":[{"index":0,"delta":{"content":"yo"}}]}`)...)
	request := string(c.Body)
	rec.Offer(r)
	got := onlyTrace(t, s)
	f := func(v float64) *float64 { return &v }
	want := Trace{
		Row: Row{
			ID: c.ID, StartedAt: Time{at.UTC()}, DurationMS: 1234.567, TTFTMS: f(250), Route: known("ro"), Variant: known("va"), Assignment: known("drawn"),
			Provider: known("openai"), Model: known("gpt-4o"), RequestedModel: known("gpt-4"), Prompt: &Prompt{"pr", 7, "recognized"}, Front: "chat_completions",
			Stream: true, Status: "cut", HTTPStatus: known(200), ErrorClass: known("upstream_cut"), FinishReason: known("stop"), Attempts: 2,
			Usage: &Usage{100, 20, 30, 0, 5, true}, CostUSD: got.CostUSD, Session: known("se"), User: known("us"), Key: known("ke"), Conversation: known("co"),
			Tags: c.Tags, ClientRetry: true,
		},
		Request: json.RawMessage(request), Response: json.RawMessage(`{"choices":[{"index":0,"message":{"role":"assistant","content":"yo"},"finish_reason":null}]}`),
		Parameters: json.RawMessage(`{"top_p":0.7}`), Adjustments: c.Adjustments, Variables: c.Prompt.Variables, Feedback: []Feedback{},
		Message: known("it broke"), NearMiss: json.RawMessage(`{"prompt":"p","version":1,"message":0,"offset":3,"want":"w","got":"g"}`), W3CTraceID: &c.W3CTraceID,
		Spans: []Span{
			{Provider: known("local"), Model: known("m1"), Variant: known("va"), StartedAt: Time{at.UTC()}, DurationMS: 1.5, HTTPStatus: known(500), ErrorClass: known("upstream_error"), Message: known("no")},
			{Provider: known("openai"), Model: known("gpt-4o"), Variant: known("va"), StartedAt: Time{at.UTC()}, DurationMS: 1000, TTFTMS: f(250), HTTPStatus: known(200), Usage: &Usage{100, 20, 30, 0, 5, true}, CostUSD: got.CostUSD, UpstreamRequestID: known("req_1")},
		},
	}
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	sameJSON(t, string(a), string(b))
	if got.CostUSD == nil || *got.CostUSD <= 0 {
		t.Errorf("cost %v", got.CostUSD)
	}
	// What people see who open the file.
	conn, err := sqlite.OpenConn(filepath.Join(s.Dir(), fileKey{dayOf(seqAt(at)), 1}.name()), sqlite.OpenReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	n := 0
	err = sqlitex.ExecuteTransient(conn, "SELECT id, started_at, route, duration_ms, input_tokens, estimated FROM traces", &sqlitex.ExecOptions{ResultFunc: func(stmt *sqlite.Stmt) error {
		n++
		if stmt.ColumnText(0) != c.ID || stmt.ColumnText(1)[:19] != at.UTC().Format("2006-01-02T15:04:05") || stmt.ColumnText(2) != "ro" || stmt.ColumnFloat(3) != 1234.567 || stmt.ColumnInt64(4) != 100 || stmt.ColumnInt64(5) != 1 {
			t.Errorf("view: %s %s", stmt.ColumnText(0), stmt.ColumnText(1))
		}
		return nil
	}})
	if err != nil || n != 1 {
		t.Errorf("%d rows in the view, %v", n, err)
	}
}

// A long text that comes again is kept once, wherever it stands; one that
// never does costs no row.
func TestSharedTexts(t *testing.T) {
	s := openStore(t, Options{})
	rec := newRecorder(t, s, Config{})
	long := func(word string) string { return `"` + strings.Repeat(word+" ", 400) + `"` }
	requests := map[string]string{}
	history := `{"role":"system","content":` + long("rule") + `}`
	for turn := range 6 {
		history += fmt.Sprintf(`,{"role":"user","content":%s},{"role":"assistant","content":"short"}`, long(fmt.Sprint("question", turn)))
		body := `{"model":"gpt-4","messages":[` + history + `],"n":1}`
		c := parsed(t, "chat/completions", body)
		requests[c.ID] = body
		rec.Offer(NewRecord(c))
	}
	syncStore(t, s)
	for id, want := range requests {
		got, err := s.Trace(context.Background(), id)
		if err != nil || string(got.Request) != want {
			t.Errorf("%s: %v, %d bytes, want %d", id, err, len(got.Request), len(want))
		}
	}
	conn, err := sqlite.OpenConn(dbFile(t, s.Dir()), sqlite.OpenReadOnly)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if n, err := pragmaInt(conn, "SELECT count(*) FROM texts"); err != nil || n != 6 { // the system prompt, and five questions that came again
		t.Errorf("%d texts, %v", n, err)
	}
}

// model of the store: what is in it, in plain Go.
type expected struct {
	id, route, variant, model, prompt, status, session, user string
	version                                                  int
	tags                                                     map[string]string
	at                                                       time.Time
	duration, ttft                                           time.Duration
	usage                                                    *call.Usage
	cost                                                     float64
	text                                                     string
}

func offerRandom(t testing.TB, rec *Recorder, r *rand.Rand, at time.Time, n int) expected {
	t.Helper()
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	e := expected{
		id: idAt(at, n), route: pick("", "r1", "r2"), status: pick("ok", "ok", "ok", "error", "cut", "cancelled"), model: pick("", "gpt-4o", "gpt-4o-mini", "unknown-model"),
		session: pick("", "s1", "s2", "s3"), user: pick("", "u1", "u2"), at: at, duration: time.Duration(r.IntN(5_000_000)) * time.Microsecond, ttft: -1, cost: math.NaN(),
		tags: map[string]string{},
	}
	if e.route != "" {
		e.variant = pick("stable", "candidate")
		e.prompt, e.version = pick("", "p1", "p2"), 0
		if e.prompt != "" {
			e.version = 1 + r.IntN(2)
		}
	}
	for range r.IntN(7) {
		e.tags[pick("a", "b", "c", "d", "e", "f", "g")] = pick("1", "2", "drei ü")
	}
	e.text = pick("Needle", "hay", "stack") + fmt.Sprint(n)
	c := parsed(t, "chat/completions", `{"model":"m","messages":[{"role":"user","content":"`+e.text+`"}]}`)
	c.ID, c.Started, c.Route, c.Variant, c.Session, c.User, c.Tags, c.Status = e.id, at, e.route, e.variant, e.session, e.user, e.tags, call.Status(e.status)
	c.Served.Name, c.Served.Version = e.prompt, e.version
	if e.model != "" {
		c.Provider, c.Model = "openai", e.model
	}
	if r.IntN(4) > 0 {
		e.usage = &call.Usage{Input: int64(r.IntN(10000)), Output: int64(r.IntN(1000))}
		c.Usage = e.usage
	}
	rc := NewRecord(c)
	rc.Status, rc.HTTPStatus, rc.Duration = c.Status, 200, e.duration
	if r.IntN(2) == 0 {
		e.ttft = time.Duration(1+r.IntN(1_000_000)) * time.Microsecond
		rc.FirstByte = e.ttft
	}
	e.cost = rec.cost(c.Provider, c.Model, rc, c.Usage)
	rec.Offer(rc)
	return e
}

func ids(rows []Row) []string {
	out := make([]string, len(rows))
	for i := range rows {
		out[i] = rows[i].ID
	}
	return out
}

func fillRandom(t testing.TB, s *Store, rec *Recorder, r *rand.Rand, base time.Time, n int) []expected {
	t.Helper()
	var all []expected
	for i := range n {
		// Answers end in another order than they began in.
		at := base.Add(time.Duration(i)*97*time.Second + time.Duration(r.IntN(600))*time.Second)
		all = append(all, offerRandom(t, rec, r, at, i))
		if i%300 == 299 {
			syncStore(t, s)
		}
	}
	syncStore(t, s)
	slices.SortFunc(all, func(a, b expected) int { return -strings.Compare(a.id, b.id) })
	return all
}

func TestFilters(t *testing.T) {
	s := openStore(t, Options{FlushInterval: time.Hour})
	rec := newRecorder(t, s, Config{})
	r := rand.New(rand.NewPCG(1, 1))
	base := time.Now().UTC().Add(-60 * time.Hour).Truncate(24 * time.Hour).Add(20 * time.Hour)
	all := fillRandom(t, s, rec, r, base, 1500) // over three days
	if n := len(s.days(0, 1<<30)); n < 2 {
		t.Fatalf("%d days", n)
	}
	for name, test := range map[string]struct {
		f    Filter
		want func(e *expected) bool
	}{
		"all":           {Filter{}, func(e *expected) bool { return true }},
		"route":         {Filter{Route: "r1"}, func(e *expected) bool { return e.route == "r1" }},
		"variant":       {Filter{Route: "r1", Variant: "stable"}, func(e *expected) bool { return e.route == "r1" && e.variant == "stable" }},
		"model":         {Filter{Model: "gpt-4o"}, func(e *expected) bool { return e.model == "gpt-4o" }},
		"provider":      {Filter{Model: "openai/gpt-4o"}, func(e *expected) bool { return e.model == "gpt-4o" }},
		"prompt":        {Filter{Prompt: "p1", Version: 2}, func(e *expected) bool { return e.prompt == "p1" && e.version == 2 }},
		"status":        {Filter{Status: "cut"}, func(e *expected) bool { return e.status == "cut" }},
		"session, user": {Filter{Session: "s1", User: "u2"}, func(e *expected) bool { return e.session == "s1" && e.user == "u2" }},
		"tag":           {Filter{Tags: map[string]string{"a": "drei ü"}}, func(e *expected) bool { return e.tags["a"] == "drei ü" }},
		"tags":          {Filter{Tags: map[string]string{"a": "1", "b": "2"}}, func(e *expected) bool { return e.tags["a"] == "1" && e.tags["b"] == "2" }},
		"time": {Filter{Since: base.Add(5 * time.Hour), Until: base.Add(9 * time.Hour)}, func(e *expected) bool {
			return !e.at.Before(base.Add(5*time.Hour)) && e.at.Before(base.Add(9*time.Hour))
		}},
		"text":          {Filter{Text: "nEEDLE"}, func(e *expected) bool { return strings.HasPrefix(e.text, "Needle") }},
		"text and more": {Filter{Text: "needle1", Status: "ok"}, func(e *expected) bool { return strings.HasPrefix(e.text, "Needle1") && e.status == "ok" }},
		"nothing":       {Filter{Route: "r3"}, func(e *expected) bool { return false }},
		"nobody":        {Filter{User: "u3"}, func(e *expected) bool { return false }},
	} {
		t.Run(name, func(t *testing.T) {
			var want []string
			for i := range all {
				if test.want(&all[i]) {
					want = append(want, all[i].id)
				}
			}
			for _, limit := range []int{7, 50, 1000} {
				f := test.f
				f.Limit = limit
				var got []string
				for pages := 0; ; pages++ {
					p, err := s.Query(context.Background(), f)
					if err != nil {
						t.Fatal(err)
					}
					if len(p.Items) > limit || len(p.Items) < limit && p.Next != "" && f.Text == "" {
						t.Fatalf("%d items, next %q", len(p.Items), p.Next)
					}
					got = append(got, ids(p.Items)...)
					if p.Next == "" {
						break
					}
					f.Cursor = p.Next
				}
				if !slices.Equal(got, want) {
					t.Errorf("limit %d: got %d traces, want %d", limit, len(got), len(want))
				}
			}
		})
	}
	p, _ := s.Query(context.Background(), Filter{Limit: 1})
	for _, f := range []Filter{{Cursor: "x"}, {Cursor: p.Next, Route: "r1"}} {
		if _, err := s.Query(context.Background(), f); !errors.Is(err, ErrCursor) {
			t.Errorf("%+v: %v", f, err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := s.Query(ctx, Filter{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for i := range all {
		tr, err := s.Trace(context.Background(), all[i].id)
		if err != nil || tr.ID != all[i].id || !strings.Contains(string(tr.Request), all[i].text) {
			t.Fatalf("trace %s: %v %+v", all[i].id, err, tr)
		}
	}
}

// Pages stay what they are while traces come in.
func TestPagesUnderInserts(t *testing.T) {
	s := openStore(t, Options{FlushInterval: 2 * time.Millisecond})
	rec := newRecorder(t, s, Config{Capture: "metadata"})
	r := rand.New(rand.NewPCG(2, 2))
	base := time.Now().UTC().Add(-2 * time.Hour)
	var want []string
	for i := range 2000 {
		want = append(want, offerRandom(t, rec, r, base.Add(time.Duration(i)*time.Millisecond), i).id)
	}
	syncStore(t, s)
	slices.Reverse(want)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		r := rand.New(rand.NewPCG(3, 3))
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				offerRandom(t, rec, r, time.Now(), i)
				time.Sleep(100 * time.Microsecond)
			}
		}
	})
	for range 3 {
		f := Filter{Until: base.Add(time.Hour), Limit: 37}
		var got []string
		for {
			p, err := s.Query(context.Background(), f)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, ids(p.Items)...)
			if p.Next == "" {
				break
			}
			f.Cursor = p.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("got %d traces, want %d", len(got), len(want))
		}
	}
	close(stop)
	wg.Wait()
}

func TestStats(t *testing.T) {
	s := openStore(t, Options{FlushInterval: time.Hour})
	rec := newRecorder(t, s, Config{Capture: "metadata"})
	base := time.Now().UTC().Add(-50 * time.Hour)
	all := fillRandom(t, s, rec, rand.New(rand.NewPCG(4, 4)), base, 1500)
	since, until := base.Add(3*time.Hour), base.Add(33*time.Hour)
	for _, by := range []GroupBy{ByVariant, ByModel, ByPrompt, ByRoute} {
		for _, route := range []string{"", "r1"} {
			groups := map[string][]expected{}
			for _, e := range all {
				if e.at.Before(since) || !e.at.Before(until) || route != "" && e.route != route {
					continue
				}
				var k string
				switch by {
				case ByVariant:
					k = e.route + "|" + e.variant
				case ByModel:
					if k = e.model; k != "" {
						k = "openai/" + k
					}
				case ByPrompt:
					if e.prompt != "" {
						k = fmt.Sprintf("%s/%d", e.prompt, e.version)
					}
				case ByRoute:
					k = e.route
				}
				groups[k] = append(groups[k], e)
			}
			st, err := s.Stats(context.Background(), by, Filter{Since: since, Until: until, Route: route})
			if err != nil {
				t.Fatal(err)
			}
			if len(st.Items) != len(groups) {
				t.Fatalf("%s: %d groups, want %d", by, len(st.Items), len(groups))
			}
			str := func(p *string) string {
				if p == nil {
					return ""
				}
				return *p
			}
			for _, got := range st.Items {
				k := map[GroupBy]string{ByVariant: str(got.Route) + "|" + str(got.Variant), ByModel: str(got.Model), ByPrompt: str(got.Prompt), ByRoute: str(got.Route)}[by]
				checkGroup(t, fmt.Sprintf("%s %q", by, k), got, groups[k])
			}
			b, err := json.Marshal(st)
			if err != nil || !json.Valid(b) || !strings.Contains(string(b), `"`+string(by)+`":`) {
				t.Errorf("%v: %s", err, b)
			}
		}
	}
}

func checkGroup(t *testing.T, name string, got StatsItem, want []expected) {
	t.Helper()
	var in, out, bad, unknown int64
	var cost float64
	var latency, ttft []float64
	for _, e := range want {
		if e.usage != nil {
			in, out = in+e.usage.Input, out+e.usage.Output
		}
		if e.status == "error" || e.status == "cut" {
			bad++
		}
		if e.status == "ok" {
			latency = append(latency, float64(e.duration.Microseconds())/1000)
		}
		if e.ttft >= 0 {
			ttft = append(ttft, float64(e.ttft.Microseconds())/1000)
		}
		if math.IsNaN(e.cost) {
			unknown++
		} else {
			cost += e.cost
		}
	}
	gotCost := 0.0
	if got.CostUSD != nil {
		gotCost = *got.CostUSD
	}
	if got.Requests != int64(len(want)) || got.InputTokens != in || got.OutputTokens != out || got.Errors != bad || got.CostUnknown != unknown || math.Abs(gotCost-cost) > 1e-9 || got.ErrorRate != float64(bad)/float64(len(want)) {
		t.Errorf("%s: got %+v, want %d requests %d in %d out %d errors %d unknown $%v", name, got, len(want), in, out, bad, unknown, cost)
	}
	check := func(what string, got *float64, q float64, values []float64) {
		if len(values) == 0 {
			if got != nil {
				t.Errorf("%s %s: %v of nothing", name, what, *got)
			}
			return
		}
		slices.Sort(values)
		want := values[int(math.Ceil(q*float64(len(values))))-1]
		if got == nil || math.Abs(*got-want) > want*0.002+0.011 {
			t.Errorf("%s %s: got %v, want %v", name, what, *got, want)
		}
	}
	check("p50", got.LatencyMS.P50, 0.5, latency)
	check("p99", got.LatencyMS.P99, 0.99, latency)
	check("ttft p50", got.TTFTMS.P50, 0.5, ttft)
	check("ttft p95", got.TTFTMS.P95, 0.95, ttft)
}

func TestQueueOverflow(t *testing.T) {
	var full atomic.Bool
	block := make(chan struct{})
	s := openStore(t, Options{FlushInterval: time.Millisecond, FreeSpace: func(string) (int64, error) {
		<-block // a disk that hangs
		if full.Load() {
			return 0, nil
		}
		return 1 << 40, nil
	}})
	rec := newRecorder(t, s, Config{})
	r := rand.New(rand.NewPCG(5, 5))
	const n = 6000
	start := time.Now()
	var slowest time.Duration
	for i := range n {
		rc := sampleRecord(t, r, time.Now(), i)
		at := time.Now()
		rec.Offer(rc)
		slowest = max(slowest, time.Since(at))
	}
	c := s.Counters()
	if c.Dropped["queue_full"] == 0 || offered(c) != n || c.Queued > maxQueued {
		t.Errorf("after %s: %+v", time.Since(start), c)
	}
	if slowest > 2*time.Second {
		t.Errorf("an Offer took %s", slowest)
	}
	close(block)
	syncStore(t, s)
	if c = s.Counters(); c.Queued != 0 || offered(c) != n || c.Written == 0 {
		t.Errorf("%+v", c)
	}
	// The disk is full, and then is not.
	full.Store(true)
	before := s.Counters()
	for i := range 100 {
		rec.Offer(sampleRecord(t, r, time.Now(), i))
	}
	syncStore(t, s)
	if c = s.Counters(); c.Dropped["no_space"] != 100 || c.Written != before.Written {
		t.Errorf("full disk: %+v", c)
	}
	if err := s.AddFeedback(context.Background(), idAt(time.Now(), 1), Feedback{Name: "x", Value: json.RawMessage("1")}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("feedback on a full disk: %v", err)
	}
	full.Store(false)
	rec.Offer(sampleRecord(t, r, time.Now(), 1))
	syncStore(t, s)
	if c = s.Counters(); c.Written != before.Written+1 {
		t.Errorf("after the disk has space again: %+v", c)
	}
}

func TestBytesBound(t *testing.T) {
	block := make(chan struct{})
	s := openStore(t, Options{FlushInterval: time.Millisecond, FreeSpace: func(string) (int64, error) { <-block; return 1 << 40, nil }})
	rec := newRecorder(t, s, Config{})
	for i := range 10 {
		c := parsed(t, "chat/completions", `{"model":"m","messages":[{"role":"user","content":"`+strings.Repeat("x", 3<<20)+`"}]}`)
		c.ID = idAt(time.Now(), i)
		rec.Offer(NewRecord(c))
	}
	if c := s.Counters(); c.Queued > 5 || offered(c) != 10 {
		t.Errorf("%+v", c)
	}
	close(block)
}

// A body that is too large to keep leaves its parameters.
func TestLargeRequest(t *testing.T) {
	s := openStore(t, Options{})
	rec := newRecorder(t, s, Config{})
	c := parsed(t, "chat/completions", `{"model":"m","top_p":0.1,"messages":[{"role":"user","content":"`+strings.Repeat("x", 5<<20)+`"}]}`)
	r := NewRecord(c)
	r.Status = call.StatusOK
	rec.Offer(r)
	if tr := onlyTrace(t, s); !tr.Truncated || string(tr.Request) != "null" || string(tr.Parameters) != `{"top_p":0.1}` {
		t.Errorf("truncated %v, parameters %s", tr.Truncated, tr.Parameters)
	}
	if len(c.Body) < 5<<20 {
		t.Error("the call was changed")
	}
}

func TestCloseWhileOffering(t *testing.T) {
	s := openStore(t, Options{FlushInterval: time.Millisecond})
	rec := newRecorder(t, s, Config{})
	var wg sync.WaitGroup
	var n atomic.Int64
	stop := make(chan struct{})
	for g := range 4 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(6, uint64(g)))
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				offerRandom(t, rec, r, time.Now(), i)
				n.Add(1)
				_, _ = s.Query(context.Background(), Filter{Limit: 5})
				_ = s.AddFeedback(context.Background(), idAt(time.Now(), 1), Feedback{Name: "x", Value: json.RawMessage("1")})
			}
		})
	}
	time.Sleep(50 * time.Millisecond)
	_ = s.Close()
	_ = s.Close()
	time.Sleep(5 * time.Millisecond)
	close(stop)
	wg.Wait()
	c := s.Counters()
	if offered(c) != n.Load() || c.Queued != 0 || c.Dropped["closed"] == 0 {
		t.Errorf("%d offered, %+v", n.Load(), c)
	}
	if _, err := s.Query(context.Background(), Filter{}); !errors.Is(err, ErrClosed) && err != nil {
		t.Errorf("query after close: %v", err)
	}
	again, err := Open(s.Dir(), nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	st, err := again.Stats(context.Background(), ByRoute, Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var have int64
	for _, i := range st.Items {
		have += i.Requests
	}
	if have != c.Written {
		t.Errorf("%d in the file, %d written", have, c.Written)
	}
	_ = again.Close()
}

func TestLock(t *testing.T) {
	s := openStore(t, Options{})
	if _, err := Open(s.Dir(), nil, Options{}); err == nil || !strings.Contains(err.Error(), "data_dir") {
		t.Errorf("second open: %v", err)
	}
	file := filepath.Join(t.TempDir(), "file")
	_ = os.WriteFile(file, nil, 0o600)
	if _, err := Open(file, nil, Options{}); err == nil {
		t.Error("opened a file as directory")
	}
}

func TestRetention(t *testing.T) {
	now := time.Now().UTC()
	var clock atomic.Int64
	clock.Store(now.UnixNano())
	s := openStore(t, Options{Retain: 3 * 24 * time.Hour, FlushInterval: time.Hour, Now: func() time.Time { return time.Unix(0, clock.Load()) }})
	rec := newRecorder(t, s, Config{})
	r := rand.New(rand.NewPCG(7, 7))
	for day := range 6 {
		for i := range 20 {
			offerRandom(t, rec, r, now.Add(-time.Duration(day)*24*time.Hour), i)
		}
	}
	syncStore(t, s)
	tidy := func() {
		if err := s.do(context.Background(), func() error { s.writer.tidy(); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	tidy()
	if n := len(s.days(0, 1<<30)); n != 4 { // today, and three whole days
		t.Errorf("%d days left, want 4", n)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir(), "*.db")); len(left) != 4 {
		t.Errorf("files left: %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(s.Dir(), "*"+blocksSuffix)); len(left) != 4 {
		t.Errorf("files of blocks left: %q", left)
	}
	p, err := s.Query(context.Background(), Filter{Limit: 1000})
	if err != nil || len(p.Items) != 80 || len(p.Damaged) > 0 {
		t.Errorf("%d traces %v", len(p.Items), err)
	}
	// By size: parts of a day go one by one, oldest first.
	s.SetRetention(0, minMaxDisk)
	at := now
	written := 0
	for range 40 {
		for i := range 60 {
			at = at.Add(time.Millisecond)
			c := parsed(t, "chat/completions", `{"model":"m","messages":[{"role":"user","content":"`+randomText(r, 20<<10)+`"}]}`)
			c.ID, c.Started = idAt(at, i), at
			rec.Offer(NewRecord(c))
			written++
		}
		syncStore(t, s)
	}
	tidy()
	files, _ := s.diskFiles()
	var total int64
	for _, f := range files {
		total += f.size
	}
	if total > minMaxDisk+8<<20 || len(files) < 3 {
		t.Errorf("%d bytes in %d files", total, len(files))
	}
	p, err = s.Query(context.Background(), Filter{Limit: 1000})
	if err != nil || len(p.Items) < 200 {
		t.Fatalf("%d traces %v", len(p.Items), err)
	}
	if !slices.IsSortedFunc(p.Items, func(a, b Row) int { return -strings.Compare(a.ID, b.ID) }) {
		t.Error("traces of several parts are not in order")
	}
	if want, _ := parseID(p.Items[0].ID); timeOf(seqOf(want)).UnixMilli() != at.UnixMilli() {
		t.Error("the newest trace is gone")
	}
	if _, err := s.Trace(context.Background(), p.Items[199].ID); err != nil {
		t.Error(err)
	}
}

// A clock that jumps drops nothing for a day.
func TestClockJumps(t *testing.T) {
	start := time.Now().UTC()
	var clock, elapsed atomic.Int64
	s := openStore(t, Options{
		Retain: 3 * 24 * time.Hour, FlushInterval: time.Hour,
		Now:     func() time.Time { return start.Add(time.Duration(clock.Load())) },
		Elapsed: func() time.Duration { return time.Duration(elapsed.Load()) },
	})
	rec := newRecorder(t, s, Config{})
	r := rand.New(rand.NewPCG(7, 7))
	pass := func(wall, real time.Duration) int {
		clock.Add(int64(wall))
		elapsed.Add(int64(real))
		if err := s.do(context.Background(), func() error { s.writer.tidy(); return nil }); err != nil {
			t.Fatal(err)
		}
		return len(s.days(0, 1<<30))
	}
	pass(time.Minute, time.Minute)
	offerRandom(t, rec, r, start.Add(-24*time.Hour), 1)
	syncStore(t, s)
	const year = 365 * 24 * time.Hour
	for _, step := range []struct {
		name       string
		wall, real time.Duration
		want       int
	}{
		{"a minute", time.Minute, time.Minute, 1},
		{"ten years at once", 10 * year, time.Minute, 1},
		{"an hour later", time.Hour, time.Hour, 1},
		{"set right", -10 * year, time.Minute, 1},
		{"a day later", 25 * time.Hour, 25 * time.Hour, 1},
		{"five more days", 5 * 24 * time.Hour, 5 * 24 * time.Hour, 0},
	} {
		if got := pass(step.wall, step.real); got != step.want {
			t.Errorf("%s: %d days left, want %d", step.name, got, step.want)
		}
	}
}

func randomText(r *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"[r.IntN(64)]
	}
	return string(b)
}

func TestSample(t *testing.T) {
	s := openStore(t, Options{})
	share := 25.0
	rec := newRecorder(t, s, Config{Sample: &share})
	n := 0
	for i := range 4000 {
		if rec.sampled(idAt(time.Now(), i)) {
			n++
		}
	}
	if n < 850 || n > 1150 {
		t.Errorf("%d of 4000 at 25 %%", n)
	}
}

func TestConfig(t *testing.T) {
	over := 101.0
	for name, c := range map[string]Config{
		"capture": {Capture: "all"}, "sample": {Sample: &over}, "retain": {Retain: -1}, "max_disk": {MaxDisk: 1}, "redact": {Redact: []string{"("}},
	} {
		if err := c.Validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (&Config{}).Validate(); err != nil {
		t.Error(err)
	}
}

func TestRedactedTrace(t *testing.T) {
	s := openStore(t, Options{})
	rec := newRecorder(t, s, Config{Redact: []string{"card", `\d{4}-\d{4}`}})
	c := parsed(t, "chat/completions", `{"model":"m","card":"x1","messages":[{"role":"user","content":"my number is 1234-5678"}]}`)
	c.Tags = map[string]string{"card": "x2", "t": "1234-5678"}
	c.Prompt.Variables = map[string]string{"card": "x3", "v": "1234-5678"}
	c.Message = "bad 1234-5678"
	r := NewRecord(c)
	r.Response = append(call.Buffer(0), events("\n", `{"choices":[{"delta":{"content":"1234-"}}]}`, `{"choices":[{"delta":{"content":"5678"}}]}`)...)
	r.EventStream = true
	rec.Offer(r)
	tr := onlyTrace(t, s)
	b, _ := json.Marshal(tr)
	for _, secret := range []string{"x1", "x2", "x3", "5678"} {
		if strings.Contains(strings.ReplaceAll(string(b), tr.ID, ""), secret) {
			t.Errorf("%s is in %s", secret, b)
		}
	}
	files, _ := filepath.Glob(filepath.Join(s.Dir(), "*"))
	for _, f := range files {
		if data, _ := os.ReadFile(f); strings.Contains(string(data), "1234-5678") {
			t.Errorf("the number is in %s", f)
		}
	}
}

// Two traces of one moment are both kept, and found by their ids.
func TestSameMoment(t *testing.T) {
	s := openStore(t, Options{})
	rec := newRecorder(t, s, Config{})
	now := time.Now()
	want := map[string]bool{}
	for range 5 {
		c := parsed(t, "chat/completions", chatRequest)
		c.ID, c.Started = idAt(now, 7), now
		want[c.ID] = true
		rec.Offer(NewRecord(c))
	}
	syncStore(t, s)
	p, err := s.Query(context.Background(), Filter{})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, r := range p.Items {
		got[r.ID] = r.Damaged == ""
		if tr, err := s.Trace(context.Background(), r.ID); err != nil || string(tr.Request) != chatRequest {
			t.Errorf("%s: %v %s", r.ID, err, tr.Request)
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
