package routing

import (
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"strings"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
)

// newPassthrough streams other endpoints of a provider through, unbuffered:
// files, images, audio, batches. The standard library's proxy does it, because
// nothing of these calls is ours to decide.
func newPassthrough(provider func() *Provider) http.Handler {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		d := net.Dialer{Timeout: provider().client.Limits.Connect, KeepAlive: 30 * time.Second}
		return d.DialContext(ctx, network, address)
	}
	transport.MaxIdleConnsPerHost = 32
	return &httputil.ReverseProxy{
		Transport:     transport,
		FlushInterval: -1,
		Rewrite: func(pr *httputil.ProxyRequest) {
			p := provider()
			base, h := p.client.URL(), pr.Out.Header
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
			for _, name := range []string{"Authorization", "X-Api-Key", "Api-Key", "Cookie", "Accept-Encoding", "Cf-Connecting-Ip"} {
				h.Del(name)
			}
			if p.HasKey() {
				h.Del("Openai-Organization")
				h.Del("Openai-Project")
				credential = ""
				if len(p.client.Keys) > 0 {
					credential = p.client.Keys[0]
				}
			}
			if credential != "" {
				h.Set("Authorization", "Bearer "+credential)
			}
			maps.Copy(h, p.client.Header)
			h.Set("Accept-Encoding", "identity")
		},
		ModifyResponse: func(resp *http.Response) error {
			h := resp.Header
			if id := h.Get("X-Request-Id"); id != "" {
				h.Set("Llm-Upstream-Request-Id", id)
			}
			for _, name := range []string{"X-Request-Id", "Request-Id", "Set-Cookie", "Openai-Organization", "Openai-Project"} {
				h.Del(name)
			}
			client := provider().client
			for _, values := range h {
				for i := range values {
					values[i] = client.Mask(values[i])
				}
			}
			if resp.StatusCode != http.StatusSwitchingProtocols {
				resp.Body = struct {
					io.Reader
					io.Closer
				}{client.MaskReader(resp.Body), resp.Body}
			}
			if c := call.From(resp.Request.Context()); c != nil {
				c.Attempts = append(c.Attempts, call.Attempt{
					Provider: c.Provider, Started: c.Started, Duration: time.Since(c.Started), HTTPStatus: resp.StatusCode,
					UpstreamRequestID: h.Get("Llm-Upstream-Request-Id"),
				})
			}
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			c := call.From(r.Context())
			if c == nil {
				w.WriteHeader(http.StatusBadGateway)
				return
			}
			if r.Context().Err() != nil {
				c.Status = call.StatusCancelled
				return
			}
			c.Fail(w, &call.Error{Status: http.StatusBadGateway, Class: "connect", Code: "upstream_connect", Message: c.Provider + " could not be reached"})
		},
	}
}
