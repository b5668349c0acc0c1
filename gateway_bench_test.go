package frontier

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/prompts"
)

// BenchmarkGateway sends plain calls through a whole Caddy with the gateway:
// sticky routing over two variants, a recognised prompt re-rendered, the
// trace written to disk; last, with a rollout that measures every call. The client and the provider beside it work on raw
// connections and allocate nothing, so that allocations are the gateway's and Caddy's.
func BenchmarkGateway(b *testing.B) {
	provider := rawProvider(b)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	config := fmt.Sprintf(`{"admin": {"disabled": true, "config": {"persist": false}}, "logging": {"logs": {"default": {"level": "ERROR"}}},
		"apps": {"llm": {"data_dir": %q, "provider": {"p": {"base_url": "http://%s/v1", "price": {"gpt-4": {"input": 10, "output": 30}, "gpt-4o": {"input": 1, "output": 3}}}},
			"route": {"bench": {"match": {"model": ["gpt-4"]}, "sticky": "user", "fallback": ["stable"], "variant": [
				{"name": "stable", "model": "p/gpt-4", "weight": 80, "prompt": "terse@production"},
				{"name": "candidate", "model": "p/gpt-4o", "weight": 20, "prompt": "terse@candidate"}]},
			"rolling": {"sticky": "user", "fallback": ["stable"], "variant": [
				{"name": "stable", "model": "p/gpt-4", "prompt": "terse@production"},
				{"name": "candidate", "model": "p/gpt-4o", "prompt": "terse@candidate"}],
				"rollout": {"step": [{"percent": 20, "wait": true}], "guard": [{"name": "errors"}, {"name": "latency"}, {"name": "cost"}]}}}},
		"http": {"servers": {"s": {"listen": [%q], "automatic_https": {"disable": true}, "routes": [{"handle": [
			{"handler": "llm_trace"}, {"handler": "llm_prompt"}, {"handler": "llm_router"}, {"handler": "llm_proxy"}]}]}}}}}`, dataDir(b), provider, address)
	if err := caddy.Load([]byte(config), true); err != nil {
		b.Fatal(err)
	}
	defer func() { _ = caddy.Stop() }()
	app, err := running()
	if err != nil {
		b.Fatal(err)
	}
	registerTerse(b, app)
	for _, of := range []struct {
		name, model string
		size        int
	}{{"1KB", "gpt-4", 1}, {"10KB", "gpt-4", 10}, {"100KB", "gpt-4", 100}, {"1KB in a rollout", "rolling", 1}} {
		b.Run(of.name, func(b *testing.B) {
			client := dialRaw(b, address, `{"model":"`+of.model+`","user":"u1","messages":[{"role":"system","content":"You are a terse assistant. Answer with care."}`+
				strings.Repeat(`,{"role":"user","content":"`+strings.Repeat("words and more words\\n", 46)+`"}`, of.size)+`]}`)
			b.ReportAllocs()
			for b.Loop() {
				if err := client.exchange(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func registerTerse(b *testing.B, app *App) {
	b.Helper()
	registry := app.view.Registry()
	for i, system := range []string{"You are a terse assistant. Answer with care.", "You are a terse assistant. Answer with great care, and briefly."} {
		t, err := prompts.ParseChat([]prompts.Message{{Role: "system", Content: system}, {Role: "user", Content: "{{text}}"}})
		if err != nil {
			b.Fatal(err)
		}
		v, _, err := registry.Register(prompts.Draft{Name: "terse", Template: t})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := registry.SetAlias("terse", []string{"production", "candidate"}[i], v.Version, prompts.Change{}); err != nil {
			b.Fatal(err)
		}
	}
}

const rawAnswer = `{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-4-0613","choices":[{"index":0,"message":{"role":"assistant","content":"` +
	`a short answer, as it was asked for"},"finish_reason":"stop"}],"usage":{"prompt_tokens":20,"completion_tokens":8,"total_tokens":28}}`

// rawProvider answers every request with the same bytes.
func rawProvider(b *testing.B) (address string) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = l.Close() })
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: req_1\r\nContent-Length: %d\r\n\r\n%s", len(rawAnswer), rawAnswer)
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with its connection
				defer c.Close()
				r := rawConn{Conn: c, br: bufio.NewReaderSize(c, 16<<10)}
				for r.skipMessage() == nil {
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

type rawConn struct {
	net.Conn
	br      *bufio.Reader
	request []byte
}

func dialRaw(b *testing.B, address, body string) *rawConn {
	b.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = c.Close() })
	return &rawConn{Conn: c, br: bufio.NewReaderSize(c, 16<<10), request: fmt.Appendf(nil, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)}
}

func (c *rawConn) exchange() error {
	if _, err := c.Write(c.request); err != nil {
		return err
	}
	return c.skipMessage()
}

var contentLength = []byte("Content-Length: ")

// skipMessage reads a message with a Content-Length, and a status of 200 if it is an answer.
func (c *rawConn) skipMessage() error {
	length := 0
	for first := true; ; first = false {
		line, err := c.br.ReadSlice('\n')
		if err != nil {
			return err
		}
		if first && bytes.HasPrefix(line, []byte("HTTP")) && !bytes.Contains(line, []byte(" 200 ")) {
			return fmt.Errorf("%s, want %s", bytes.TrimSpace(line), http.StatusText(http.StatusOK))
		}
		if len(line) == 2 {
			break
		}
		if v, ok := bytes.CutPrefix(line, contentLength); ok {
			length, _ = strconv.Atoi(string(bytes.TrimSpace(v)))
		}
	}
	_, err := io.CopyN(io.Discard, c.br, int64(length))
	return err
}
