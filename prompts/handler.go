package prompts

import (
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frontier/frontier/internal/call"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler finds out which prompt of the registry an LLM API request is about,
// and with which variables, for `llm_router` behind it. It looks in this
// order, and the first that is found counts:
//
//  1. the parameter `prompt` in the body, as OpenAI has it on responses:
//     `{"id": "sentiment", "version": "3", "variables": {"text": "…"}}`. It is
//     understood on chat completions and messages, too. The id is a prompt's name,
//     `name@alias`, `name/3` or `prompts:/…`; the version is a number or an
//     alias. The id may also be the one that the prompt had when OpenAI hosted
//     it (pmpt_…), with OpenAI's version number, if it was imported: the tags
//     openai.id and openai.version of versions say so. An id of neither kind is
//     left alone where OpenAI may host it: in a call of the responses API that
//     names a model, and that no route takes.
//  2. the header `LLM-Prompt: sentiment@production`, with
//     `LLM-Prompt-Variables: {"text": "…"}`;
//  3. the model: `sentiment@production` or `sentiment/3`, if there is such a
//     prompt, and no provider that is named like it;
//  4. recognition: the messages are a rendering of a registered template;
//  5. nothing: what the variant binds is used.
//
// A version number pins: exactly that version is served. A name or an alias
// says which prompt it is, and the variant's binding says which version.
//
// The header `LLM-Prompt-Variables` gives variables to a prompt that is found
// in any of these ways; the variables in the body's parameter, and those that
// were recognised, win over it. So it can give what a new version needs and
// the recognised one did not have. Variables are text, numbers or true and
// false.
//
// A prompt that is named and does not exist is answered with a 404
// `prompt_not_found` that lists what there is; malformed variables with a
// 400. Anything that is not a call of a model passes through.
type Handler struct {
	app app
}

// app is what the handler needs of the app llm.
type app interface {
	// Prompts returns the prompts as this configuration looks at them.
	Prompts() *View
	// RouteFor names the route that the call reaches by its model or headers, or "".
	RouteFor(c *call.Call, h http.Header) string
	// IsProvider reports whether a provider of that name is configured.
	IsProvider(name string) bool
	// Admission is what is asked of requests before they are read.
	Admission() *call.Admission
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.llm_prompt",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision finds the app.
func (h *Handler) Provision(ctx caddy.Context) error {
	module, err := ctx.App("llm")
	if err != nil {
		return fmt.Errorf("getting the app llm: %w", err)
	}
	var ok bool
	if h.app, ok = module.(app); !ok {
		return fmt.Errorf("the app llm is a %T, which llm_prompt cannot use", module)
	}
	return nil
}

func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	c, r, _, fail := call.Begin(r, h.app.Admission())
	if c == nil {
		return next.ServeHTTP(w, r)
	}
	if fail == nil {
		fail = h.find(c, r.Header)
	}
	if fail != nil {
		c.Fail(w, fail)
		return nil
	}
	return next.ServeHTTP(w, r)
}

// find sets the call's prompt.
func (h *Handler) find(c *call.Call, header http.Header) *call.Error {
	switch c.Front {
	case call.ChatCompletions, call.Completions, call.Embeddings, call.Responses, call.Messages, call.CountTokens:
	default:
		return nil
	}
	extra, fail := headerVariables(header)
	if fail != nil {
		return fail
	}
	view := h.app.Prompts()
	route := h.app.RouteFor(c, header)
	p, fail := named(c, header, view.Current(), route == "", h.app.IsProvider)
	if fail != nil {
		return fail
	}
	if p.Name == "" {
		p, c.NearMiss = view.Recognize(c, route)
	}
	c.Prompt = p
	addVariables(&c.Prompt, extra)
	return nil
}

// named finds the prompt that the request names: by the parameter, by the
// header, by the model.
func named(c *call.Call, header http.Header, s *Snapshot, direct bool, isProvider func(string) bool) (call.Prompt, *call.Error) {
	if p, fail := fromParameter(c, s, direct); fail != nil || p.Name != "" {
		return p, fail
	}
	if text := header.Get("Llm-Prompt"); text != "" {
		ref, err := ParseReference(strings.TrimSpace(text))
		if err != nil {
			return call.Prompt{}, invalid("LLM-Prompt", "the header LLM-Prompt: %s", err)
		}
		return resolve(s, ref, call.FromHeader, "LLM-Prompt")
	}
	if ref, ok := modelReference(c.RequestedModel, s, isProvider); ok {
		return resolve(s, ref, call.FromModel, "model")
	}
	return call.Prompt{}, nil
}

// modelReference reads name@alias or name/3 of a prompt that exists.
func modelReference(model string, s *Snapshot, isProvider func(string) bool) (Reference, bool) {
	if !strings.ContainsAny(model, "/@") {
		return Reference{}, false
	}
	ref, err := ParseReference(model)
	if err != nil || ref.Version == 0 && ref.Alias == "" {
		return Reference{}, false
	}
	if ref.Version > 0 && !strings.HasPrefix(model, uriScheme) && isProvider(ref.Name) {
		return Reference{}, false
	}
	_, ok := s.Prompt(ref.Name)
	return ref, ok
}

// resolve checks that the prompt and what is named of it exist.
func resolve(s *Snapshot, ref Reference, source call.Source, param string) (call.Prompt, *call.Error) {
	if _, err := s.Resolve(ref); err != nil {
		return call.Prompt{}, &call.Error{
			Status: http.StatusNotFound, Class: "prompt_not_found", Code: "prompt_not_found", Param: param, Message: err.Error(),
		}
	}
	return call.Prompt{Name: ref.Name, Version: ref.Version, Alias: ref.Alias, Source: source, Pinned: ref.Version > 0}, nil
}

func invalid(param, format string, args ...any) *call.Error {
	return &call.Error{
		Status: http.StatusBadRequest, Class: "invalid_request", Code: "invalid_prompt", Param: param, Message: fmt.Sprintf(format, args...),
	}
}

// addVariables gives the prompt those of the variables that it has not got.
func addVariables(p *call.Prompt, extra map[string]string) {
	if len(extra) == 0 {
		return
	}
	p.Variables = merged(p.Variables, extra)
	for i := range p.Matches {
		p.Matches[i].Variables = merged(p.Matches[i].Variables, extra)
	}
}

func merged(own, extra map[string]string) map[string]string {
	out := make(map[string]string, len(own)+len(extra))
	maps.Copy(out, extra)
	maps.Copy(out, own)
	return out
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
