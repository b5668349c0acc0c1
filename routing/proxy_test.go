package routing

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// TestExposedKeyIsWarnedAboutOnce: whoever reaches a public listener could spend the provider's key.
func TestExposedKeyIsWarnedAboutOnce(t *testing.T) {
	request := func(addr, user string) *http.Request {
		repl := caddy.NewReplacer()
		if user != "" {
			repl.Set("http.auth.user.id", user)
		}
		ctx := context.WithValue(t.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(addr)})
		return httptest.NewRequestWithContext(context.WithValue(ctx, caddy.ReplacerCtxKey, repl), http.MethodPost, "/v1/chat/completions", nil)
	}
	for _, tt := range []struct {
		name, addr, user string
		want             int
	}{{"loopback", "127.0.0.1", "", 0}, {"public", "192.0.2.1", "", 1}, {"public, authenticated", "192.0.2.1", "ann", 0}} {
		core, logs := observer.New(zap.WarnLevel)
		h := &Proxy{log: zap.New(core)}
		for range 3 {
			h.warnIfExposed(request(tt.addr, tt.user))
		}
		if logs.Len() != tt.want {
			t.Errorf("%s: %d warnings, want %d", tt.name, logs.Len(), tt.want)
		}
	}
}
