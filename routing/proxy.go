package routing

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// Proxy takes an LLM API call to the provider that llm_router chose, and its
// answer back. It is terminal for every path below /v1; other paths go on to the next handler.
//
// A provider that speaks another dialect than the client is translated to and from.
//
// Nothing is sent to the client before the answer is certain: a plain answer
// when all of it is there, a stream when its first content has come. Until
// then a failure is answered by the next of the route's fallback variants, and
// when there is none, by an error in the dialect of the call. A stream that
// breaks off later ends with an error event and without its terminator.
//
// Header fields set on answers: `LLM-Model`, `LLM-Route`, `LLM-Variant`, `LLM-Prompt`, `LLM-Attempts`,
// `LLM-Cost-USD` (of plain answers, when known), `LLM-Upstream-Request-ID`, `x-request-id` and `request-id` (the trace's id).
type Proxy struct {
	// The provider that other paths below /v1 than those which llm_router knows are passed through to.
	// Without it they are answered with 404.
	Provider string `json:"provider,omitempty"`

	app         app
	log         *zap.Logger
	exposed     atomic.Bool // it has been warned about
	passthrough http.Handler
}

// CaddyModule returns the Caddy module information.
func (*Proxy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.llm_proxy", New: func() caddy.Module { return new(Proxy) }}
}

// Provision finds the app.
func (h *Proxy) Provision(ctx caddy.Context) (err error) {
	h.log = ctx.Logger()
	if h.app, err = findApp(ctx, "llm_proxy"); err != nil || h.Provider == "" {
		return err
	}
	if err := h.app.UseProvider(h.Provider); err != nil {
		return err
	}
	h.passthrough = newPassthrough(func() *Provider { return h.app.Routing().Providers[h.Provider] })
	return nil
}

func (h *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	c, r, _, fail := call.Begin(r, h.app.Admission())
	if c == nil {
		return h.elsewhere(w, r, next)
	}
	if fail != nil {
		c.Fail(w, fail)
		return nil
	}
	switch c.Front {
	case call.Models:
		h.app.Routing().serveModels(w, c)
		return nil
	case call.Realtime:
		c.Fail(w, &call.Error{
			Status: http.StatusNotImplemented, Class: "not_implemented", Code: "not_implemented",
			Message: "the realtime API is not available here: it is a WebSocket or WebRTC session, which cannot be routed call by call; connect to the provider itself",
		})
		return nil
	case call.Other, call.Feedback:
		if hasDotSegment(r.URL.Path) {
			c.Fail(w, &call.Error{Status: http.StatusBadRequest, Class: "invalid_request", Code: "invalid_path", Message: "the path must not have the segments . and .."})
			return nil
		}
		if h.passthrough == nil || c.Front == call.Feedback {
			c.Fail(w, unknownPath(r))
			return nil
		}
		c.Provider, c.Assignment = h.Provider, call.Direct
		c.SetIDs(w.Header())
		h.servePassthrough(w, r)
		return nil
	}
	p, ok := c.Plan.(*plan)
	if !ok {
		c.Fail(w, &call.Error{
			Status: http.StatusInternalServerError, Class: "misconfigured", Code: "misconfigured", NoRetry: true,
			Message: "llm_proxy needs llm_router before it; the directive llm has both",
		})
		return nil
	}
	leave, fail := p.table.enter()
	if fail != nil {
		c.Fail(w, fail)
		return nil
	}
	defer leave()
	if !c.Authenticated && p.first.Client.Keys != nil && !h.exposed.Load() {
		h.warnIfExposed(r)
	}
	x := upstream.Exchange{Targets: p.targets, Attempts: p.skipped}
	ans, err := x.Do(r.Context())
	c.BodyDone = true // the client of providers keeps nothing of it
	c.Attempts = x.Attempts
	if err != nil {
		p.fail(w, err)
		return nil
	}
	defer ans.Close()
	p.answered(ans.Target)
	p.header(w.Header(), ans)
	if ans.Stream == nil {
		return p.whole(w, ans)
	}
	return p.stream(w, r, ans)
}

// warnIfExposed warns once when anybody who reaches a listener that is not
// loopback can spend the money of a configured key.
func (h *Proxy) warnIfExposed(r *http.Request) {
	addr, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok || addr.IP.IsLoopback() {
		return
	}
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if user, _ := repl.GetString("http.auth.user.id"); user != "" {
			return
		}
	}
	if h.exposed.CompareAndSwap(false, true) {
		h.log.Warn("callers that are not authenticated use a provider's configured key on a listener that is not loopback; add client_key to the global option llm, an authentication handler, or: bind 127.0.0.1",
			zap.Stringer("listener", addr))
	}
}

// header sets what is known before the body. The values share one array.
func (p *plan) header(h http.Header, ans *upstream.Answer) {
	c := p.call
	c.SetIDs(h)
	values := make([]string, 0, 8+len(passedOn))
	set := func(name, value string) {
		values = append(values, value)
		h[name] = values[len(values)-1 : len(values) : len(values)]
	}
	set("Llm-Model", c.Provider+"/"+c.Model)
	set("Llm-Attempts", strconv.Itoa(sent(c.Attempts)))
	if c.Route != "" {
		set("Llm-Route", c.Route)
		set("Llm-Variant", c.Variant)
	}
	if c.Served.Name != "" {
		set("Llm-Prompt", c.Served.Name+"/"+strconv.Itoa(c.Served.Version))
	}
	if id := c.Attempts[len(c.Attempts)-1].UpstreamRequestID; id != "" {
		set("Llm-Upstream-Request-Id", id)
	}
	for _, name := range passedOn {
		if v := ans.Header.Get(name); v != "" {
			set(name, v)
		}
	}
	if p.credential != "" {
		rateLimits(h, ans.Header)
	}
}

// passedOn are a provider's header fields that mean something to the caller.
var passedOn = []string{"Content-Type", "Openai-Version", "Openai-Processing-Ms"}

// rateLimits passes on what concerns the caller's own account.
func rateLimits(h http.Header, from upstream.Fields) {
	for _, f := range from {
		if name := strings.ToLower(f.Name); strings.HasPrefix(name, "x-ratelimit") || strings.HasPrefix(name, "anthropic-ratelimit") {
			h.Set(f.Name, f.Value)
		}
	}
}

// whole answers with a plain answer.
func (p *plan) whole(w http.ResponseWriter, ans *upstream.Answer) error {
	c := p.call
	s := dialect.Summarize(c.Front, ans.Body)
	p.summary(&s)
	h := w.Header()
	if c.Usage != nil {
		if usd, ok := p.table.Prices.Cost(c.Provider, c.Model, c.Started, usageOf(c.Usage)); ok {
			h["Llm-Cost-Usd"] = []string{strconv.FormatFloat(usd, 'f', -1, 64)}
		}
	}
	h["Content-Length"] = []string{strconv.Itoa(len(ans.Body))}
	w.WriteHeader(ans.Status)
	c.Status = call.StatusOK
	if _, err := w.Write(ans.Body); err != nil {
		c.Status = call.StatusCancelled
	}
	if p.isEvidence(ans) {
		p.checkFormat(ans.Body, false) // the client has its answer
	}
	return nil
}

func (p *plan) summary(s *dialect.Summary) {
	c := p.call
	c.Usage, c.Finish = s.Usage, s.Finish
	p.empty = s.Bytes == 0 && c.Front != call.Embeddings && c.Front != call.CountTokens
	c.Attempts[len(c.Attempts)-1].Usage = s.Usage
	if c.Route == "" || p.table.state == nil || c.Assignment == call.Unrecognized || c.Assignment == call.Pinned {
		return
	}
	p.table.state.conversations.put(c.Route, c.Conversation, c.Variant)
	if c.Front == call.Responses {
		p.table.state.conversations.put(c.Route, s.ID, c.Variant)
	}
}

// stream passes the events on as they come, each with a flush.
func (p *plan) stream(w http.ResponseWriter, r *http.Request, ans *upstream.Answer) error {
	c := p.call
	defer ans.Stream.Release()
	h := w.Header()
	h["Cache-Control"] = []string{"no-cache"}
	h["X-Accel-Buffering"] = []string{"no"}
	w.WriteHeader(ans.Status)
	flush := http.NewResponseController(w)
	c.FirstToken = time.Now()
	last := &c.Attempts[len(c.Attempts)-1]
	kept := p.keeper(ans)
	defer func() {
		last.Duration = time.Since(last.Started)
		if kept != nil && c.Status == call.StatusOK {
			p.checkFormat(kept.events, true)
		}
		s := ans.Stream.Summary()
		if s.Usage == nil && c.Status != call.StatusOK {
			s.Usage = s.Estimate(len(ans.Target.Request.Body))
		}
		p.summary(s)
	}()
	for {
		events, err := ans.Stream.Next()
		if errors.Is(err, io.EOF) {
			c.Status = call.StatusOK
			return nil
		}
		if err != nil && r.Context().Err() == nil {
			p.broken(w, err, last)
			_ = flush.Flush()
			return nil
		}
		if err == nil {
			_, err = w.Write(events)
			kept.add(events)
		}
		if err == nil {
			err = flush.Flush()
		}
		if err != nil {
			c.Status = call.StatusCancelled
			last.ErrorClass = string(upstream.Cancelled)
			return nil
		}
	}
}

// broken ends a stream that broke off with one error event.
func (p *plan) broken(w http.ResponseWriter, err error, last *call.Attempt) {
	c := p.call
	class := upstream.Cut
	if f, ok := errors.AsType[*upstream.Fault](err); ok {
		class = f.Class
	}
	c.Status, c.ErrorClass, c.Message = call.StatusCut, string(class), err.Error()
	last.ErrorClass, last.Message = string(class), err.Error()
	e := &call.Error{Status: http.StatusBadGateway, Code: "stream_" + string(class), Message: "the provider's answer broke off (" + string(class) + ")"}
	_, _ = w.Write(dialect.ErrorEvent(c.Front, e, c.ID))
}

// elsewhere handles paths that are not below /v1.
func (h *Proxy) elsewhere(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	if r.Method == http.MethodPost {
		for front, path := range paths {
			if !front.IsMessages() && strings.HasSuffix(r.URL.Path, path) {
				c := &call.Call{}
				c.Fail(w, &call.Error{
					Status: http.StatusNotFound, Code: "not_found",
					Message: fmt.Sprintf("there is nothing at %s; the base URL of the client must end in /v1, so that it asks for /v1%s", r.URL.Path, path),
				})
				return nil
			}
		}
	}
	return next.ServeHTTP(w, r)
}

// hasDotSegment reports whether a path could lead elsewhere than it says.
func hasDotSegment(path string) bool {
	for segment := range strings.SplitSeq(strings.ReplaceAll(path, `\`, "/"), "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

func unknownPath(r *http.Request) *call.Error {
	if strings.HasPrefix(r.URL.Path, "/v1/v1/") {
		return &call.Error{
			Status: http.StatusNotFound, Class: "not_found", Code: "not_found",
			Message: fmt.Sprintf("there is nothing at %s; the base URL of this client must not end in /v1, which it adds itself", r.URL.Path),
		}
	}
	return &call.Error{
		Status: http.StatusNotFound, Class: "not_found", Code: "not_found",
		Message: fmt.Sprintf("there is no %s %s here; available are POST /v1/chat/completions, /v1/completions, /v1/embeddings, /v1/responses, /v1/messages and GET /v1/models", r.Method, r.URL.Path),
	}
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Proxy)(nil)
	_ caddyhttp.MiddlewareHandler = (*Proxy)(nil)
)
