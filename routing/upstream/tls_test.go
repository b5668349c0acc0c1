package upstream_test

import (
	"bufio"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-frontier/frontier/routing/upstream"
)

// TestMain makes the certificate of httptest's servers one of the system's.
func TestMain(m *testing.M) {
	s := httptest.NewTLSServer(nil)
	der := s.Certificate().Raw
	s.Close()
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		panic(err)
	}
	file := filepath.Join(dir, "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		panic(err)
	}
	os.Setenv("SSL_CERT_FILE", file)
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

func secure(t *testing.T, baseURL string) *upstream.Target {
	t.Helper()
	c, err := upstream.New(upstream.Options{Name: "fake", BaseURL: baseURL, Keys: []string{testKey}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return &upstream.Target{Client: c, Model: "m", Request: upstream.Request{Method: "POST", Path: "/chat/completions", Body: []byte(`{}`)}}
}

func answering(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+testKey || r.URL.Path != "/v1/chat/completions" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		_, _ = io.WriteString(w, okBody)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestHTTPS(t *testing.T) {
	s := answering(t)
	target := secure(t, s.URL+"/v1")
	for range 3 {
		a, _, err := do(t, target)
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
	}
	_, port, _ := net.SplitHostPort(s.Listener.Addr().String())
	_, _, err := do(t, secure(t, "https://localhost:"+port+"/v1")) // a name that the certificate has not
	if class(err) != upstream.Connect || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate for another name: %v", err)
	}
}

// TestProxyOfTheEnvironment goes through a proxy that speaks CONNECT.
func TestProxyOfTheEnvironment(t *testing.T) {
	s := answering(t)
	var tunnels atomic.Int64
	var refuse atomic.Bool
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with its connection
				defer c.Close()
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err != nil {
					return
				}
				user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
				if refuse.Load() || r.Method != http.MethodConnect || r.Host != "example.com:443" || user != "u" || password != "p" {
					_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
					return
				}
				to, err := net.Dial("tcp", s.Listener.Addr().String())
				if err != nil {
					return
				}
				defer to.Close()
				tunnels.Add(1)
				_, _ = io.WriteString(c, "HTTP/1.1 200 Connection established\r\n\r\n")
				go func() { _, _ = io.Copy(to, c) }() // ends with either connection
				_, _ = io.Copy(c, to)
			}()
		}
	}()
	t.Setenv("HTTPS_PROXY", "http://u:p@"+l.Addr().String())
	target := secure(t, "https://example.com/v1")
	for range 3 {
		a, _, err := do(t, target)
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
	}
	if n := tunnels.Load(); n != 1 {
		t.Errorf("%d tunnels for 3 calls", n)
	}
	refuse.Store(true)
	_, _, err = do(t, secure(t, "https://example.com/v1"))
	if class(err) != upstream.Connect || !strings.Contains(err.Error(), "407") || strings.Contains(err.Error(), "u:p") {
		t.Errorf("a proxy that refuses: %v", err)
	}
}
