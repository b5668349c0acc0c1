package tracing

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frontier/frontier/internal/call"
)

func init() { caddy.RegisterModule(Handler{}) }

// Handler is a middleware that records LLM API calls: the requests to paths
// below /v1 and what was answered to them. Other requests pass untouched.
//
// It reads and parses the request once, for the handlers behind it too, copies
// the answer as it goes by without delaying a byte of it, and hands both to
// the trace store of the `llm` app when the answer is over. A request never
// waits for the disk and never fails because of tracing: records that cannot
// be stored are dropped and counted. A stream is stored as the one complete
// answer it amounts to. Calls to /v1/models and /v1/realtime are not recorded;
// of paths below /v1 that the gateway does not know, the metadata is. Bodies of
// more than 4 MiB are not kept whole; the trace says so.
//
// Alone in front of a stock `reverse_proxy` it is observe-only mode: nothing
// is routed or rewritten, and model, usage and finish reason are taken from
// the answers. Encodings that it cannot read are then removed from the
// request's Accept-Encoding, so that providers answer uncompressed or with gzip
// or zstd, and a request id of the provider's is sent to the client as
// LLM-Upstream-Request-ID.
//
// The answer carries the trace's id in the headers X-Request-ID and Request-ID.
//
// `POST /v1/feedback` takes what users think of an answer:
// `{"trace_id": "…", "name": "thumbs", "value": true, "comment": "…"}`, or
// `"session"` instead of `"trace_id"` for that session's newest trace. It is
// answered with 200 when it is stored, and 404 when there is no such trace.
//
// It sets these placeholders:
//
// Placeholder | Description
// ------------|-------------
// `{llm.id}` | The trace's id, 32 hex digits
// `{llm.route}` | The route that the call belongs to
// `{llm.variant}` | The variant that answered
// `{llm.provider}` | The provider that answered
// `{llm.model}` | The provider's name for the model that answered
// `{llm.prompt}` | The prompt that was served, as name/version
// `{llm.status}` | `ok`, `error`, `cut` or `cancelled`; known when the answer is over
//
// Those but the first are empty in observe-only mode, and where there is none.
type Handler struct {
	// How much of this handler's calls is kept: "full" (bodies and metadata),
	// "metadata" or "off". It can only lower what the `llm` app's traces keep,
	// and so can a request's header LLM-Capture. Default: "full".
	Capture string `json:"capture,omitempty"`

	app     app
	capture call.Capture
}

// app is what the handler needs of the llm app.
type app interface {
	// Recorder is asked for on every request. Nil: nothing is recorded.
	Recorder() *Recorder
	// Admission is what is asked of requests before they are read.
	Admission() *call.Admission
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.llm_trace",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the llm app.
func (h *Handler) Provision(ctx caddy.Context) error {
	var err error
	if h.capture, err = parseCapture(h.Capture); err != nil {
		return err
	}
	a, err := ctx.App("llm")
	if err != nil {
		return fmt.Errorf("getting the llm app: %w", err)
	}
	var ok bool
	if h.app, ok = a.(app); !ok {
		return fmt.Errorf("the llm app is of type %T, which does not record traces", a)
	}
	return nil
}

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	c, r, _, fail := call.Begin(r, h.app.Admission())
	if c == nil || c.Traced {
		return next.ServeHTTP(w, r)
	}
	c.Traced = true
	if repl, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		repl.Map(func(key string) (any, bool) { return placeholder(c, key) })
	}
	if c.Front != call.Models && c.Front != call.Realtime { // those are not traced
		c.SetIDs(w.Header())
	}
	recorder := h.app.Recorder()
	recorder.begin()
	defer recorder.end()
	if c.Front == call.Feedback {
		serveFeedback(w, r, c, recorder, fail)
		return nil
	}
	level := max(recorder.level(c), h.capture)
	if c.Front == call.Models || c.Front == call.Realtime || recorder == nil {
		return next.ServeHTTP(w, r)
	}
	if level == call.CaptureOff { // counted all the same
		err := next.ServeHTTP(w, r)
		recorder.count(c, err)
		return err
	}
	limit := maxPayload
	if c.Front == call.Other {
		limit, level = 0, call.CaptureMetadata
	}
	t := newCaptureWriter(w, c, limit)
	over := false
	defer func() {
		if !over { // a panic is on its way up, most likely http.ErrAbortHandler
			h.record(t, r, recorder, level, errPanic)
		}
	}()
	// A request that is refused is answered by the handlers that need a call: a stock one behind this one takes what it likes.
	err := serveReadable(t, r, next)
	over = true
	h.record(t, r, recorder, level, err)
	t.free()
	return err
}

var errPanic = errors.New("the handler panicked")

// record makes the record of the answer that went through t and offers it.
func (h *Handler) record(t *captureWriter, r *http.Request, recorder *Recorder, level call.Capture, err error) {
	c := t.call
	rec := NewRecord(c)
	rec.Capture = level
	rec.Duration = time.Since(c.Started)
	rec.HTTPStatus = t.status
	rec.Response, t.buf = t.buf, nil
	rec.Truncated = t.truncated
	rec.EventStream = t.stream
	rec.Encoding = t.encoding
	rec.UpstreamRequestID = t.upstreamID
	rec.Observed = c.Provider == "" && len(c.Attempts) == 0 && c.Status == ""
	var he caddyhttp.HandlerError
	switch {
	case t.status != 0:
	case errors.As(err, &he):
		rec.HTTPStatus = he.StatusCode
	case err == nil && r.Context().Err() == nil:
		rec.HTTPStatus = http.StatusOK // net/http's answer when nobody wrote one
	}
	switch {
	case !c.FirstToken.IsZero():
		rec.FirstByte = c.FirstToken.Sub(c.Started)
	case !t.first.IsZero() && t.status < http.StatusBadRequest && (c.Stream || t.stream):
		rec.FirstByte = t.first.Sub(c.Started)
	}
	if c.Status == "" {
		c.Status, rec.Guessed = guessStatus(t, r, rec.HTTPStatus, err), true
	}
	rec.Status = c.Status
	calls.observe(rec, recorder.cost(c.Provider, c.Model, rec, c.Usage))
	recorder.Offer(rec)
}

func guessStatus(t *captureWriter, r *http.Request, status int, err error) call.Status {
	short := t.length > t.size && r.Method != http.MethodHead
	switch {
	case status >= 400:
		return call.StatusError
	case r.Context().Err() != nil && !t.complete():
		return call.StatusCancelled
	case t.status == 0 && err != nil:
		return call.StatusError
	case err != nil || short:
		return call.StatusCut
	}
	return call.StatusOK
}

// serveReadable calls next with an Accept-Encoding that the recorder can
// undo. llm_proxy never forwards the header; a stock reverse_proxy does. The
// header is put back for the handlers in front of this one.
func serveReadable(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	before, ok := r.Header["Accept-Encoding"]
	if !ok || len(before) == 1 && before[0] == "gzip" {
		return next.ServeHTTP(w, r)
	}
	if readable := readableEncodings(before); readable == "" {
		delete(r.Header, "Accept-Encoding")
	} else {
		r.Header["Accept-Encoding"] = []string{readable}
	}
	err := next.ServeHTTP(w, r)
	r.Header["Accept-Encoding"] = before
	return err
}

func readableEncodings(header []string) string {
	var kept []string
	for _, line := range header {
		for part := range strings.SplitSeq(line, ",") {
			part = strings.TrimSpace(part)
			name, _, _ := strings.Cut(part, ";")
			switch strings.ToLower(strings.TrimSpace(name)) {
			case "gzip", "zstd", "identity":
				kept = append(kept, part)
			}
		}
	}
	return strings.Join(kept, ", ")
}

func placeholder(c *call.Call, key string) (any, bool) {
	name, ok := strings.CutPrefix(key, "llm.")
	if !ok {
		return nil, false
	}
	switch name {
	case "id":
		return c.ID, true
	case "route":
		return c.Route, true
	case "variant":
		return c.Variant, true
	case "provider":
		return c.Provider, true
	case "model":
		return c.Model, true
	case "prompt":
		if c.Served.Name == "" {
			return "", true
		}
		return c.Served.Name + "/" + strconv.Itoa(c.Served.Version), true
	case "status":
		return string(c.Status), true
	}
	return nil, false
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
