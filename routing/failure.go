package routing

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// fail answers a call for which no target had an answer.
func (p *plan) fail(w http.ResponseWriter, err error) {
	c := p.call
	if n := len(c.Attempts); n > 0 {
		last := &c.Attempts[n-1]
		c.Provider, c.Model = last.Provider, last.Model
		w.Header()["Llm-Attempts"] = []string{strconv.Itoa(sent(c.Attempts))}
		if c.Route != "" {
			w.Header()["Llm-Route"], w.Header()["Llm-Variant"] = []string{c.Route}, []string{c.Variant}
		}
		if last.UpstreamRequestID != "" {
			w.Header()["Llm-Upstream-Request-Id"] = []string{last.UpstreamRequestID}
		}
	}
	var e *call.Error
	if errors.As(err, &e) {
		c.Fail(w, e)
		return
	}
	var f *upstream.Fault
	if !errors.As(err, &f) {
		c.Fail(w, &call.Error{Status: http.StatusBadGateway, Class: "upstream", Message: err.Error()})
		return
	}
	if f.Class == upstream.Cancelled {
		c.Status, c.ErrorClass = call.StatusCancelled, string(f.Class)
		if sent(c.Attempts) > 0 { // the provider had the request
			c.Usage = new(dialect.Summary).Estimate(len(c.Body))
			c.Attempts[len(c.Attempts)-1].Usage = c.Usage
		}
		return
	}
	e = p.faultError(f)
	e.NoRetry = true
	if f.Class == upstream.StatusError {
		p.refused(w, f, e)
		return
	}
	c.Fail(w, e)
}

// sent counts the attempts that asked a provider: not those at a variant
// without its prompt, or without words for the call, or at an open circuit.
func sent(attempts []call.Attempt) (n int) {
	for i := range attempts {
		if a := &attempts[i]; a.ErrorClass != string(upstream.CircuitOpen) && !a.Skipped {
			n++
		}
	}
	return n
}

// faultError says what a fault means to the caller.
func (p *plan) faultError(f *upstream.Fault) *call.Error {
	provider := p.call.Provider
	e := &call.Error{Status: http.StatusBadGateway, Class: string(f.Class), Code: "upstream_" + string(f.Class)}
	switch f.Class {
	case upstream.HeaderTime, upstream.FirstToken, upstream.TotalTime, upstream.Stall:
		e.Status = http.StatusGatewayTimeout
		e.Message = fmt.Sprintf("%s did not answer in time (%s)", provider, f.Class)
	case upstream.Connect:
		e.Message = fmt.Sprintf("%s could not be reached, or closed the connection before it answered", provider)
	case upstream.StatusError:
		e.Class = "status_" + strconv.Itoa(f.Status)
		e.Message = fmt.Sprintf("%s answered with HTTP status %d", provider, f.Status)
	default:
		e.Message = fmt.Sprintf("%s did not give a usable answer (%s)", provider, f.Class)
	}
	return e
}

// refused passes a provider's error status on. What concerns our own
// credential is not the caller's affair, and its text is never passed on.
func (p *plan) refused(w http.ResponseWriter, f *upstream.Fault, e *call.Error) {
	c := p.call
	switch {
	case f.Status < 400:
		e.Code, e.Message = "upstream_redirect", fmt.Sprintf("%s answered with a redirect (HTTP status %d), which is not followed", c.Provider, f.Status)
		c.Fail(w, e)
		return
	case p.credential == "" && (f.Status == http.StatusUnauthorized || f.Status == http.StatusForbidden):
		e.Code = "upstream_credentials"
		e.Message = fmt.Sprintf("%s refused the gateway's credentials (HTTP status %d); its operator has to look at api_key", c.Provider, f.Status)
		c.Fail(w, e)
		return
	}
	e.Status = f.Status
	if s, err := strconv.Atoi(f.Header.Get("Retry-After")); err == nil && s >= 0 {
		e.RetryAfter = time.Duration(s) * time.Second
	}
	if f.Wire != c.Front {
		p.translatedError(w, f, e)
		return
	}
	var shape providerError
	if json.Unmarshal(f.Body, &shape) != nil || len(shape.Error) == 0 || shape.Error[0] != '{' {
		if reason := shape.reason(); reason != "" {
			e.Message += ": " + reason
		}
		c.Fail(w, e)
		return
	}
	c.Status, c.ErrorClass, c.Message = call.StatusError, e.Class, e.Message
	h := w.Header()
	c.SetIDs(h)
	h.Set("Content-Type", "application/json")
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int(e.RetryAfter/time.Second)))
	}
	if p.credential != "" {
		rateLimits(h, f.Header)
	}
	if f.Status == http.StatusTooManyRequests || f.Status >= 500 {
		h.Set("X-Should-Retry", "false")
	}
	h.Set("Content-Length", strconv.Itoa(len(f.Body)))
	w.WriteHeader(f.Status)
	_, _ = w.Write(f.Body)
}

// translatedError passes on what an error of another dialect says.
func (p *plan) translatedError(w http.ResponseWriter, f *upstream.Fault, e *call.Error) {
	code, message := dialect.ReadError(f.Body)
	if message != "" {
		e.Message = message
	}
	switch {
	case dialect.TooLong(f.Body):
		e.Code = "context_length_exceeded" // what SDKs and frameworks look for
	case code != "":
		e.Code = code
	}
	e.NoRetry = f.Status == http.StatusTooManyRequests || f.Status >= 500
	if p.credential != "" {
		rateLimits(w.Header(), f.Header)
	}
	p.call.Fail(w, e)
}

// providerError is what is looked for in the body of an error status. OpenAI's
// shape is passed on as it is; of others the reason is.
type providerError struct {
	Error   json.RawMessage `json:"error"`
	Message json.RawMessage `json:"message"`
	Detail  json.RawMessage `json:"detail"` // of FastAPI
}

// reason is the text of an error that has not OpenAI's shape, bounded.
func (p *providerError) reason() string {
	for _, raw := range []json.RawMessage{p.Error, p.Message, p.Detail} {
		var s string
		if json.Unmarshal(raw, &s) == nil && s != "" {
			return s[:min(len(s), 500)]
		}
	}
	return ""
}
