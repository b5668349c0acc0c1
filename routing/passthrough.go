package routing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// passthrough streams other endpoints of a provider through, unbuffered:
// files, images, audio, batches. The standard library's proxy does it, because
// nothing of these calls is ours to decide but whose key goes where.
type passthrough struct {
	provider func() *Provider
}

func newPassthrough(provider func() *Provider) http.Handler {
	p := &passthrough{provider}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	transport.MaxIdleConnsPerHost = 32
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{Timeout: p.client().Limits.Connect, KeepAlive: 30 * time.Second}
		return d.DialContext(ctx, network, address)
	}
	return &httputil.ReverseProxy{
		Transport: transport, FlushInterval: -1,
		Rewrite: p.rewrite, ModifyResponse: p.modify, ErrorHandler: p.fail,
	}
}

func (p *passthrough) client() *upstream.Client { return p.provider().client }

// servePassthrough passes one call through. Its answer has to begin within the
// provider's header_timeout if it has one, else within its timeout; how long
// it then takes is not limited.
func (h *Proxy) servePassthrough(w http.ResponseWriter, r *http.Request) {
	limits := h.app.Routing().Providers[h.Provider].client.Limits
	limit := limits.Header
	if limit == 0 {
		limit = limits.Total
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	late := time.AfterFunc(limit, func() { cancel(errHeaderTime) })
	defer late.Stop()
	h.passthrough.ServeHTTP(w, r.WithContext(context.WithValue(ctx, lateKey{}, late)))
}

// lateKey is that of the timer that ends a call whose answer does not begin.
type lateKey struct{}

var (
	errHeaderTime  = errors.New("no answer in time")
	errRedirect    = errors.New("a redirect")
	errCredentials = errors.New("the key is refused")
	errStatus      = errors.New("not an HTTP status")
)

func (p *passthrough) rewrite(pr *httputil.ProxyRequest) {
	provider := p.provider()
	base, h := provider.client.URL(), pr.Out.Header
	pr.Out.URL.Scheme, pr.Out.URL.Host, pr.Out.Host = base.Scheme, base.Host, base.Host
	rest := strings.TrimPrefix(pr.In.URL.EscapedPath(), "/v1")
	pr.Out.URL.Path, pr.Out.URL.RawPath = base.Path+strings.TrimPrefix(pr.In.URL.Path, "/v1"), base.EscapedPath()+rest
	credential := call.Credential(pr.In.Header)
	if c := call.From(pr.In.Context()); c != nil && c.Authenticated {
		credential = "" // a client key is ours and goes no further
	}
	for name := range h {
		if strings.HasPrefix(name, "Llm-") {
			delete(h, name)
		}
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "X-Goog-Api-Key", "Cookie", "Accept-Encoding", "Cf-Connecting-Ip"} {
		h.Del(name)
	}
	if provider.HasKey() {
		h.Del("Openai-Organization")
		h.Del("Openai-Project")
		credential = ""
		if len(provider.client.Keys) > 0 {
			credential = provider.client.Keys[0]
		}
	}
	if credential != "" {
		provider.client.SetKey(h, credential)
	}
	maps.Copy(h, provider.client.Header)
	h.Set("Accept-Encoding", "identity")
}

// modify takes out of an answer what is not the caller's affair.
func (p *passthrough) modify(resp *http.Response) error {
	if late, ok := resp.Request.Context().Value(lateKey{}).(*time.Timer); ok {
		late.Stop()
	}
	provider := p.provider()
	h := resp.Header
	for _, values := range h {
		for i := range values {
			values[i] = provider.client.Mask(values[i])
		}
	}
	id := h.Get("X-Request-Id")
	if id != "" {
		h.Set("Llm-Upstream-Request-Id", id)
	}
	if c := call.From(resp.Request.Context()); c != nil {
		c.Attempts = append(c.Attempts, call.Attempt{
			Provider: c.Provider, Started: c.Started, Duration: time.Since(c.Started), HTTPStatus: resp.StatusCode, UpstreamRequestID: id,
		})
	}
	for _, name := range []string{"X-Request-Id", "Request-Id", "Set-Cookie", "Openai-Organization", "Openai-Project"} {
		h.Del(name)
	}
	switch {
	case resp.StatusCode < 100 || resp.StatusCode > 599:
		return errStatus
	case resp.StatusCode >= 300 && resp.StatusCode < 400 && resp.StatusCode != http.StatusNotModified:
		return errRedirect
	}
	if !provider.HasKey() {
		return nil
	}
	if resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden {
		return errCredentials
	}
	for name := range h {
		if strings.HasPrefix(name, "X-Ratelimit") || name == "Www-Authenticate" {
			delete(h, name)
		}
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{provider.client.MaskReader(resp.Body), resp.Body}
	}
	return nil
}

func (p *passthrough) fail(w http.ResponseWriter, r *http.Request, err error) {
	c := call.From(r.Context())
	if c == nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	e := &call.Error{Status: http.StatusBadGateway, Class: string(upstream.BadResponse), NoRetry: true}
	switch {
	case errors.Is(context.Cause(r.Context()), errHeaderTime):
		e.Status, e.Class = http.StatusGatewayTimeout, string(upstream.HeaderTime)
		e.Message = c.Provider + " did not answer in time"
	case r.Context().Err() != nil:
		c.Status, c.ErrorClass = call.StatusCancelled, string(upstream.Cancelled)
		return
	case errors.Is(err, errCredentials):
		e.Class, e.Code = "status", "upstream_credentials"
		e.Message = c.Provider + " refused the gateway's credentials; its operator has to look at api_key"
	case errors.Is(err, errRedirect):
		e.Class, e.Code = "status", "upstream_redirect"
		e.Message = c.Provider + " answered with a redirect, which is not followed"
	case errors.Is(err, errStatus), strings.Contains(err.Error(), "malformed"):
		e.Message = fmt.Sprintf("%s did not give a usable answer", c.Provider)
	default:
		e.Class, e.Message = string(upstream.Connect), c.Provider+" could not be reached, or closed the connection before it answered"
	}
	if e.Code == "" {
		e.Code = "upstream_" + e.Class
	}
	c.Fail(w, e)
}
