// Package simulator is a pretend LLM provider: OpenAI's API, served by models
// that are simulated, so that a gateway can be shown and tested without a key,
// without cost and with the same result every time.
package simulator

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

func init() { caddy.RegisterModule(new(Handler)) }

// Handler is a pretend LLM provider. It answers requests to paths below /v1 as
// OpenAI's API would: chat completions, completions, responses, embeddings and
// models, plain and streamed. Other requests are passed on.
//
// Its models read the prompt and answer by what it says, as well as their
// ability lets them: they find the labels to choose from, rules such as "one
// word" or "use lowercase", definitions and examples, and a prompt that has
// them gives better answers. They know little beyond the mood of a text. No
// request leaves the process.
//
// Everything is decided by the seed: the same request to the same model has the
// same answer and takes the same time. Answers differ with the request's own
// `seed`, and from choice to choice, when its temperature is not 0. Faults are
// decided by the number of the model's call since the configuration was loaded:
// a retry may succeed, and calls one after another have the same faults after every reload.
//
// A model turns bad, and recovers, while it runs: `PUT /simulator/models/{id}/faults`
// takes a list such as `[{"kind": "500", "percent": 60}]`, which is in force from
// the model's next call until the configuration is loaded again; GET shows it.
//
// Any API key is accepted, and none is needed. Bodies of more than 32 MiB are
// refused with 413.
type Handler struct {
	// Begins all that is random. Default: 1.
	Seed int64 `json:"seed,omitempty"`
	// Models by id. Default: `gpt-4` (ability 0.97, 800 ms to the first token), `gpt-4o` (0.95, 450 ms) and `gpt-4o-mini` (0.75, 300 ms).
	Model map[string]*Model `json:"model,omitempty"`

	models  map[string]*model
	ids     []string
	started time.Time
	log     *zap.Logger
}

// model is a declared model at work.
type model struct {
	Model
	id      string
	seed    int64
	ability float64
	jitter  float64
	calls   atomic.Uint64           // since the configuration was loaded
	faults  atomic.Pointer[[]Fault] // those declared, or those switched on since
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.llm_simulator",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets defaults.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.log = ctx.Logger()
	h.started = time.Now()
	if err := h.check(); err != nil {
		return err
	}
	declared := h.Model
	if len(declared) == 0 {
		declared = defaultModels()
	}
	h.ids = slices.Sorted(maps.Keys(declared))
	h.models = map[string]*model{}
	for id, d := range declared {
		m := &model{id: id, seed: h.Seed, ability: 0.9, jitter: 10}
		if d != nil { // null in JSON
			m.Model = *d
		}
		if m.seed == 0 {
			m.seed = 1
		}
		if m.Ability != nil {
			m.ability = *m.Ability
		}
		if m.Jitter != nil {
			m.jitter = *m.Jitter
		}
		faults := append([]Fault{}, m.Fault...)
		m.faults.Store(&faults)
		h.models[id] = m
	}
	return nil
}

// maxBody bounds a request's body.
const maxBody = 32 << 20

// ServeHTTP implements caddyhttp.MiddlewareHandler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	faulty, ok := faultsOf(r.URL.Path)
	path, api := strings.CutPrefix(r.URL.Path, "/v1/")
	if !api && !ok {
		return next.ServeHTTP(w, r)
	}
	w.Header().Set("X-Request-Id", fmt.Sprintf("req_sim%016x", requests.Add(1)))
	serve, allowed := h.endpoint(path)
	if ok {
		serve, allowed = func(w http.ResponseWriter, r *http.Request, body []byte) error {
			return h.switchFaults(w, r, faulty, body)
		}, "GET, PUT"
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	switch {
	case serve == nil:
		return fail(w, notFound("there is nothing at %s here; use POST /v1/chat/completions, /v1/completions, /v1/responses or /v1/embeddings, or GET /v1/models", r.URL.Path))
	case !slices.Contains(strings.Split(allowed, ", "), method):
		return fail(w, wrongMethod(r, allowed))
	}
	var body []byte
	if method != http.MethodGet {
		var err error
		if body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)); err != nil {
			if _, large := errors.AsType[*http.MaxBytesError](err); large {
				return fail(w, &apiError{status: http.StatusRequestEntityTooLarge, message: "the request's body is larger than 32 MiB; send less", code: "request_too_large"})
			}
			return fail(w, invalid("", "the request's body could not be read: %v", err))
		}
	}
	if err := serve(w, r, body); err != nil {
		if refused, ok := errors.AsType[*apiError](err); ok {
			return fail(w, refused)
		}
		if errors.Is(err, http.ErrAbortHandler) {
			panic(http.ErrAbortHandler) // closes the connection
		}
		if r.Context().Err() != nil { // the client left
			return nil
		}
		h.log.Debug("the answer could not be written", zap.Error(err))
	}
	return nil
}

// requests counts those of the process, for their ids.
var requests atomic.Uint64

// endpoint finds what serves a path below /v1/, and the method for it.
func (h *Handler) endpoint(path string) (serve func(http.ResponseWriter, *http.Request, []byte) error, method string) {
	switch path {
	case "chat/completions":
		return h.chat, http.MethodPost
	case "completions":
		return h.completion, http.MethodPost
	case "responses":
		return h.responses, http.MethodPost
	case "embeddings":
		return h.embeddings, http.MethodPost
	case "models":
		return h.listModels, http.MethodGet
	}
	if id, ok := strings.CutPrefix(path, "models/"); ok && id != "" {
		return func(w http.ResponseWriter, _ *http.Request, _ []byte) error { return h.oneModel(w, id) }, http.MethodGet
	}
	return nil, ""
}

// find returns a model by its id.
func (h *Handler) find(id string) (*model, error) {
	if m := h.models[id]; m != nil {
		return m, nil
	}
	names := h.ids
	more := ""
	if len(names) > 20 {
		names, more = names[:20], " and "+strconv.Itoa(len(names)-20)+" more"
	}
	e := notFound("there is no model %q here; use %s%s", id, strings.Join(names, ", "), more)
	e.code, e.param = "model_not_found", "model"
	if id == "" {
		e.status, e.code = http.StatusBadRequest, "missing_required_parameter"
		e.message = `the request names no model; set "model" to ` + strings.Join(names, ", ") + more
	}
	return nil, e
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
