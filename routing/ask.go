package routing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/answer"
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/prompts"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// Question is a call of the gateway's own to one model: of a run, a judge or
// an optimiser. It goes to that model alone, with one attempt: no fallback, no
// cache, and never evidence for a rollout. Only the provider's limits and the
// length of a request bound it, not max_in_flight.
type Question struct {
	Model string // provider/model-id
	// Messages is the list of messages as chat completions have it: {"role", "content"}, and whatever else a message may carry.
	Messages json.RawMessage
	// Parameters are the request's other members, such as temperature, response_format and tools, by the names that chat
	// completions has for them. What the model is known to refuse is left out, as for a variant's calls.
	Parameters map[string]json.RawMessage
	// Stream measures the time to the first token.
	Stream bool
	// Config is a prompt version whose model config and response format hold where Parameters say nothing; nil: none.
	Config *prompts.Version
	// Prompt is the version that the messages were rendered from, for the trace.
	Prompt call.ServedPrompt
	// Tags are kept with the trace.
	Tags map[string]string
}

// Reply is what the model answered.
type Reply struct {
	Text       string // of the first choice, or its refusal
	ToolCalls  []ToolCall
	Finish     string
	Usage      *call.Usage // nil: unknown
	CostUSD    *float64    // nil: unknown
	Duration   time.Duration
	FirstToken time.Duration // 0: not measured
	Trace      string        // the trace's id; "": capture or sample keep none
	// FormatBroken says that the answer does not keep to the format that the request declares.
	FormatBroken bool
}

// ToolCall is a function that the model wants called.
type ToolCall struct {
	Name      string
	Arguments string // JSON
}

// Ask calls the model and keeps a trace of it. The error is an *AskError, or
// the cause of the context's end.
//
// What becomes of such calls opens and closes no circuit and sets no key aside:
// a run that is throttled, or that asks for a model which does not exist, must not
// be felt by the traffic of clients. Nor does it wait for a circuit of theirs. It shares the
// provider's connections with them (max_conns_per_host).
func (t *Table) Ask(ctx context.Context, q Question) (*Reply, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := t.CheckModel(q.Model); err != nil {
		return nil, &AskError{Class: "model_not_found", Code: "model_not_found", Message: err.Error()}
	}
	document, err := q.document()
	if err != nil {
		return nil, &AskError{Class: "invalid_request", Code: "invalid_request", Message: err.Error()}
	}
	// The call is made of a request as a client would send it. Its context is not the caller's: that might hold a client's call.
	r, err := http.NewRequestWithContext(context.Background(), http.MethodPost, "/v1"+paths[call.ChatCompletions], bytes.NewReader(document))
	if err != nil {
		return nil, err
	}
	c, r, _, refused := call.Begin(r, nil)
	if refused != nil {
		return nil, &AskError{Class: refused.Class, Code: refused.Code, Message: refused.Message}
	}
	c.Assignment, c.Served = call.Run, q.Prompt
	c.Tags = maps.Clone(q.Tags)
	prefix, model, _ := strings.Cut(q.Model, "/")
	a := &asking{plan: plan{table: t, call: c, request: r, own: true, config: q.Config, provider: t.Providers[prefix], prefix: prefix, model: model}}
	record := t.Recorder.Own(c)
	defer func() {
		c.Served = q.Prompt
		record.End(a.status, a.body)
	}()
	reply, err := a.ask(ctx)
	if record.Kept() {
		a.trace(reply, err)
	}
	if c.Status == call.StatusCancelled {
		return nil, context.Cause(ctx)
	}
	return reply, err
}

// document is the request's body.
func (q *Question) document() ([]byte, error) {
	if !jsonscan.Root(q.Messages).IsArray(q.Messages) || !json.Valid(q.Messages) {
		return nil, errors.New("messages: want a list of messages")
	}
	o := jsonscan.Write(make([]byte, 0, len(q.Messages)+512))
	o.Member("model", q.Model)
	o.Raw("messages", q.Messages)
	for _, name := range slices.Sorted(maps.Keys(q.Parameters)) {
		value := q.Parameters[name]
		switch {
		case name == "model" || name == "messages" || name == "stream":
			return nil, fmt.Errorf("parameters: %s is no parameter; it is a part of the question itself", name)
		case !json.Valid(value):
			return nil, fmt.Errorf("parameters: %s is not JSON", name)
		}
		o.RawName(jsonName(name))
		o.Dst = append(o.Dst, value...)
	}
	if q.Stream {
		o.Raw("stream", []byte("true"))
	}
	return o.End(), nil
}

// jsonName is a name as it stands in JSON, without its quotes.
func jsonName(name string) []byte {
	quoted := jsonscan.AppendQuoted(nil, strings.ToValidUTF8(name, "\ufffd"))
	return quoted[1 : len(quoted)-1]
}

// asking is a question under way: the plan of a direct call whose client is the gateway itself.
type asking struct {
	plan
	status int    // of the answer that a client would have got
	body   []byte // of that answer
}

// ask makes the one attempt.
func (a *asking) ask(ctx context.Context) (*Reply, error) {
	c := a.call
	defer a.release()
	target, refused := a.prepare(0)
	if refused != nil {
		return nil, a.failed(refused)
	}
	target.Limits.Attempts, target.Apart = 1, true
	x := upstream.Exchange{Targets: a.targets}
	ans, err := x.Do(ctx)
	c.BodyDone = true
	c.Attempts = x.Attempts
	if err != nil {
		return nil, a.failed(err)
	}
	defer ans.Close()
	a.answered(ans.Target)
	a.status = ans.Status
	if ans.Stream == nil {
		a.body = bytes.Clone(ans.Body)
		s := dialect.Summarize(c.Front, a.body)
		a.summary(&s)
	} else if err := a.consume(ctx, ans); err != nil {
		return nil, err
	}
	c.Status = call.StatusOK
	return a.reply()
}

// consume reads a stream to its end, and puts the answer together.
func (a *asking) consume(ctx context.Context, ans *upstream.Answer) error {
	c := a.call
	defer ans.Stream.Release()
	c.FirstToken = time.Now()
	last := &c.Attempts[len(c.Attempts)-1]
	var events []byte
	var err error
	for err == nil {
		var run []byte
		run, err = ans.Stream.Next()
		events = append(events, run...) // no more than the provider's max_response
	}
	last.Duration = time.Since(last.Started)
	s := ans.Stream.Summary()
	whole := errors.Is(err, io.EOF)
	if s.Usage == nil && !whole {
		s.Usage = s.Estimate(len(ans.Target.Request.Body))
	}
	a.summary(s)
	var assembler answer.Assembler
	a.body, _ = assembler.Assemble(nil, c.Front, events)
	switch {
	case whole:
		return nil
	case ctx.Err() != nil:
		c.Status, c.ErrorClass, last.ErrorClass = call.StatusCancelled, string(upstream.Cancelled), string(upstream.Cancelled)
		return err
	}
	a.broken(new(unsent), err, last)
	return askError(err, c)
}

// failed notes a failure as a client of a direct call would have been told of it.
func (a *asking) failed(err error) error {
	var w unsent
	a.fail(&w, err)
	a.status, a.body = w.status, w.body
	return askError(err, a.call)
}

// unsent keeps the answer that a client would have got.
type unsent struct {
	header http.Header
	status int
	body   []byte
}

func (w *unsent) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

func (w *unsent) WriteHeader(status int) { w.status = status }

func (w *unsent) Write(p []byte) (int, error) {
	w.body = append(w.body, p...)
	return len(p), nil
}

// trace puts the trace's id where the caller finds it.
func (a *asking) trace(reply *Reply, err error) {
	if reply != nil {
		reply.Trace = a.call.ID
	}
	if e, ok := errors.AsType[*AskError](err); ok {
		e.Trace = a.call.ID
	}
}

// completion is what matters of a chat completion.
type completion struct {
	Choices []struct {
		Message struct {
			Content   json.RawMessage `json:"content"`
			Refusal   string          `json:"refusal"`
			ToolCalls []struct {
				Function ToolCall `json:"function"`
			} `json:"tool_calls"`
		} `json:"message"`
	} `json:"choices"`
}

// reply reads the answer.
func (a *asking) reply() (*Reply, error) {
	c := a.call
	var doc completion
	if err := json.Unmarshal(a.body, &doc); err != nil || len(doc.Choices) == 0 {
		c.Status, c.ErrorClass, c.Message = call.StatusError, string(upstream.BadResponse), "the answer is no chat completion"
		return nil, &AskError{Status: a.status, Class: c.ErrorClass, Message: c.Provider + " did not give a usable answer: it is no chat completion", Retry: true, Paid: true}
	}
	m := &doc.Choices[0].Message
	r := &Reply{Text: textOf(m.Content), Finish: c.Finish, Duration: time.Since(c.Started)}
	if r.Text == "" {
		r.Text = m.Refusal
	}
	for _, t := range m.ToolCalls {
		r.ToolCalls = append(r.ToolCalls, t.Function)
	}
	if schema, declared := a.prepared[len(a.prepared)-1].body.format(); declared && len(r.ToolCalls) == 0 {
		r.FormatBroken = !a.table.formats.kept([]byte(r.Text), schema)
	}
	if !c.FirstToken.IsZero() {
		r.FirstToken = c.FirstToken.Sub(c.Started)
	}
	if c.Usage != nil {
		usage := *c.Usage // the trace's is its own
		r.Usage = &usage
		if usd, ok := a.table.Prices.Cost(c.Provider, c.Model, c.Started, usageOf(&usage)); ok {
			r.CostUSD = &usd
		}
	}
	return r, nil
}

// textOf is the text of a message's content: a text, or a list of parts.
func textOf(content json.RawMessage) string {
	var text string
	if json.Unmarshal(content, &text) == nil {
		return text
	}
	var parts []struct {
		Text string `json:"text"`
	}
	_ = json.Unmarshal(content, &parts)
	for _, p := range parts {
		text += p.Text
	}
	return text
}
