package routing

import (
	"bytes"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// paths are the paths of the providers' APIs below their base URLs. Gemini's has the model in it.
var paths = map[call.Front]string{
	call.ChatCompletions: "/chat/completions", call.Completions: "/completions", call.Embeddings: "/embeddings", call.Responses: "/responses",
	call.Messages: "/messages", call.CountTokens: "/messages/count_tokens",
}

// target makes the request of the edited body for a provider: as it is when
// the provider speaks the client's dialect, else translated. adapt says
// whether parameters that the model is known to refuse are changed, which for
// a direct call of a client happens only when it is translated.
func (p *plan) target(b *body, provider *Provider, prefix, model string, limits upstream.Limits, adapt bool) (*upstream.Target, []string, *call.Error) {
	c := p.call
	wire, ok := dialect.Wire(provider.dialect, c.Front)
	if !ok {
		return nil, nil, &call.Error{
			Status: http.StatusBadRequest, Class: dialect.Unsayable, Code: "unsupported_endpoint", Param: "model",
			Message: fmt.Sprintf("%s is not available for %s/%s: the provider speaks the dialect %s", c.Path, prefix, model, provider.dialect),
		}
	}
	t := &upstream.Target{Client: provider.client, Model: model, Limits: limits}
	key := p.callers(provider, prefix)
	t.Request = upstream.Request{Method: http.MethodPost, Path: paths[wire], Wire: wire, Stream: c.Stream, Key: key, Header: p.forwarded(wire, provider)}
	if wire == c.Front {
		return t, p.same(t, b, provider, prefix, adapt), nil
	}
	if wire == call.GenerateContent {
		path := "/models/" + url.PathEscape(strings.TrimPrefix(model, "models/"))
		if c.Stream {
			t.Request.Path, t.Request.Query = path+":streamGenerateContent", "alt=sse"
		} else {
			t.Request.Path = path + ":generateContent"
		}
	}
	return p.translated(t, b, provider, prefix, adapt)
}

// same makes the request of a call whose dialect the provider speaks: what is not edited passes through byte for byte.
func (p *plan) same(t *upstream.Target, b *body, provider *Provider, prefix string, adapt bool) (adjustments []string) {
	c := p.call
	if (p.route != nil || p.own) && adapt {
		adjustments = b.adapt(familyOf(prefix, t.Model), t.Model)
	}
	hideUsage := false
	if c.Stream && provider.client.StreamUsage && !provider.usageRefused.Load() && (c.Front == call.ChatCompletions || c.Front == call.Completions) {
		hideUsage = b.askUsage()
	}
	if c.Stream {
		t.Request.Events = dialect.NewEvents(c.Front, b.choices(), hideUsage)
	}
	t.Request.Body = p.render(b)
	if c.Continued && dialect.Marked(t.Request.Body) {
		if body, ok := dialect.Clean(c.Front, t.Request.Body); ok {
			t.Request.Body = body
			adjustments = append(adjustments, "thinking of another model left out of the history")
		}
	}
	if hideUsage {
		t.Request.Amend = func(f *upstream.Fault) *upstream.Request {
			if !refusesUsage(f) {
				return nil
			}
			provider.usageRefused.Store(true) // remembered: it is not asked again
			b.unaskUsage()
			r := t.Request
			r.Body, r.Events = p.render(b), dialect.NewEvents(c.Front, b.choices(), false)
			return &r
		}
	}
	return adjustments
}

// refusesUsage reports whether a provider does not know how to report the usage of streams.
func refusesUsage(f *upstream.Fault) bool {
	return f.Status == http.StatusBadRequest && (bytes.Contains(f.Body, []byte("stream_options")) || bytes.Contains(f.Body, []byte("include_usage")))
}

// translated makes the request of a call in another dialect than the provider's.
func (p *plan) translated(t *upstream.Target, b *body, provider *Provider, prefix string, adapt bool) (*upstream.Target, []string, *call.Error) {
	c, r := p.call, &t.Request
	source := p.render(b)
	to := dialect.Target{Wire: r.Wire, Model: t.Model, Usage: provider.client.StreamUsage && !provider.usageRefused.Load()}
	if v := provider.client.Header.Get("Anthropic-Version"); v != "" && v != anthropicVersion {
		to.NoSampling = true // later versions have no temperature
	}
	adjustments, fail := p.say(r, source, to, prefix, adapt)
	if fail != nil {
		return nil, nil, fail
	}
	echo := dialect.Echo{Front: c.Front, Request: source, Usage: usageAsked(c), Now: time.Now()}
	if c.Stream {
		r.Events = dialect.NewTranslator(r.Wire, echo)
	} else {
		r.Translate = func(doc []byte) ([]byte, error) { return dialect.Answer(r.Wire, doc, echo) }
	}
	if c.Stream && to.Usage && r.Wire == call.ChatCompletions {
		r.Amend = func(f *upstream.Fault) *upstream.Request {
			if !refusesUsage(f) {
				return nil
			}
			provider.usageRefused.Store(true)
			amended := t.Request
			to.Usage = false
			if _, fail := p.say(&amended, source, to, prefix, adapt); fail != nil {
				return nil
			}
			amended.Events = dialect.NewTranslator(amended.Wire, echo)
			return &amended
		}
	}
	return t, adjustments, nil
}

// say sets the request's body: source in the words of the target's dialect.
func (p *plan) say(r *upstream.Request, source []byte, to dialect.Target, prefix string, adapt bool) ([]string, *call.Error) {
	out, adjustments, fail := dialect.Request(p.call.Front, source, to)
	if fail != nil {
		return nil, fail
	}
	p.buffers = append(p.buffers, out)
	r.Body = out
	if f := familyOf(prefix, to.Model); to.Wire == call.ChatCompletions && adapt && f != nil {
		object, err := jsonscan.Parse(out, maxNesting, nil)
		if err != nil {
			return nil, &call.Error{Status: http.StatusInternalServerError, Class: "internal", Message: "the translated request is not JSON: " + err.Error()}
		}
		said := &body{call: &call.Call{Front: to.Wire, Body: out, Object: object}, edit: object.Edit()}
		adjustments = append(adjustments, said.adapt(f, to.Model)...)
		r.Body = p.render(said)
	}
	return adjustments, nil
}

// maxNesting bounds how deep a translated request may nest: deeper than what is let in.
const maxNesting = 256

// usageAsked reports whether the client of a chat completion's stream wants to see its usage.
func usageAsked(c *call.Call) bool {
	v := jsonscan.Lookup(c.Body, c.Object.Get("stream_options"), "include_usage")
	return v.Exists() && string(v.Of(c.Body)) == "true"
}

// anthropicVersion is what translated requests are written in: the last one with temperature.
const anthropicVersion = "2023-06-01"

// forwarded are the client's header fields that a provider of its dialect
// understands. Those that say who is calling go only where the client's own credential goes.
func (p *plan) forwarded(wire call.Front, provider *Provider) upstream.Fields {
	var out upstream.Fields
	add := func(name string) bool {
		v := p.request.Header.Get(name)
		if v != "" {
			out = append(out, upstream.Field{Name: name, Value: v})
		}
		return v != ""
	}
	switch {
	case wire.IsMessages():
		same := wire == p.call.Front
		if same {
			add("Anthropic-Beta")
		}
		if provider.client.Header.Get("Anthropic-Version") == "" && (!same || !add("Anthropic-Version")) {
			out = append(out, upstream.Field{Name: "Anthropic-Version", Value: anthropicVersion})
		}
	case wire == p.call.Front:
		add("OpenAI-Beta")
		if p.credential != "" {
			add("OpenAI-Organization")
			add("OpenAI-Project")
		}
	}
	if parent := p.call.Traceparent(p.request.Header); parent != "" {
		out = append(out, upstream.Field{Name: "Traceparent", Value: parent})
		add("Tracestate")
	}
	return out
}
