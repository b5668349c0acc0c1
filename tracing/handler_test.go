package tracing

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frontier/frontier/internal/call"
)

type testApp struct{ recorder *Recorder }

func (a testApp) Recorder() *Recorder      { return a.recorder }
func (testApp) Admission() *call.Admission { return &call.Admission{MaxBody: 1 << 20} }

// site serves llm_trace in front of next, on a real listener.
func site(t testing.TB, s *Store, c Config, next caddyhttp.HandlerFunc) (*httptest.Server, *Handler) {
	t.Helper()
	h := &Handler{app: testApp{newRecorder(t, s, c)}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		repl := caddyhttp.NewTestReplacer(r)
		r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, repl))
		err := h.ServeHTTP(w, r, next)
		if he, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
			w.WriteHeader(he.StatusCode)
		} else if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
		w.Header().Set("X-Placeholder", repl.ReplaceAll("{llm.id}", "?"))
	}))
	t.Cleanup(server.Close)
	return server, h
}

func post(t testing.TB, url, body string) *http.Response {
	t.Helper()
	resp, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

// onlyTrace waits for the one trace of a store.
func onlyTrace(t testing.TB, s *Store) Trace {
	t.Helper()
	for range 200 {
		syncStore(t, s)
		p, err := s.Query(context.Background(), Filter{})
		if err != nil {
			t.Fatal(err)
		}
		if len(p.Items) > 1 {
			t.Fatalf("%d traces, want 1", len(p.Items))
		}
		if len(p.Items) == 1 {
			tr, err := s.Trace(context.Background(), p.Items[0].ID)
			if err != nil {
				t.Fatal(err)
			}
			return tr
		}
		time.Sleep(5 * time.Millisecond) // the client has its answer before the handler returns
	}
	t.Fatal("no trace")
	return Trace{}
}

const chatRequest = `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"temperature":0.5,"user":"u1"}`

const chatAnswer = `{"id":"x","object":"chat.completion","model":"gpt-4o-2024-08-06","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}}`

func TestObserveOnly(t *testing.T) {
	s := openStore(t, Options{})
	server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error {
		body, _ := io.ReadAll(r.Body)
		if string(body) != chatRequest || r.ContentLength != int64(len(chatRequest)) {
			t.Errorf("next reads %s", body)
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Add("X-Request-Id", "req_upstream")
		_, err := io.WriteString(w, chatAnswer)
		return err
	})
	resp := post(t, server.URL+"/v1/chat/completions", chatRequest)
	body, _ := io.ReadAll(resp.Body)
	if string(body) != chatAnswer {
		t.Errorf("got %s", body)
	}
	tr := onlyTrace(t, s)
	if ids := resp.Header.Values("X-Request-Id"); len(ids) != 1 || ids[0] != tr.ID || resp.Header.Get("Request-Id") != tr.ID {
		t.Errorf("ids %q, trace %s", ids, tr.ID)
	}
	if got := resp.Header.Get("LLM-Upstream-Request-ID"); got != "req_upstream" {
		t.Errorf("upstream id %q", got)
	}
	if tr.Status != "ok" || *tr.HTTPStatus != 200 || *tr.Model != "gpt-4o-2024-08-06" || *tr.RequestedModel != "gpt-4o" || *tr.FinishReason != "stop" || *tr.User != "u1" || tr.Provider != nil || tr.TTFTMS != nil {
		t.Errorf("row %+v", tr.Row)
	}
	if u := tr.Usage; u == nil || u.InputTokens != 10 || u.OutputTokens != 5 || u.CachedInputTokens != 4 {
		t.Errorf("usage %+v", tr.Usage)
	}
	if tr.CostUSD == nil || *tr.CostUSD <= 0 {
		t.Errorf("cost %v", tr.CostUSD)
	}
	if string(tr.Request) != chatRequest || string(tr.Response) != chatAnswer || string(tr.Parameters) != `{"temperature":0.5}` {
		t.Errorf("request %s\nresponse %s\nparameters %s", tr.Request, tr.Response, tr.Parameters)
	}
	if len(tr.Spans) != 1 || *tr.Spans[0].UpstreamRequestID != "req_upstream" || *tr.Spans[0].HTTPStatus != 200 || tr.Spans[0].CostUSD == nil {
		t.Errorf("spans %+v", tr.Spans)
	}
}

func TestObserveGzip(t *testing.T) {
	for _, cut := range []bool{false, true} {
		t.Run(fmt.Sprint("cut=", cut), func(t *testing.T) {
			s := openStore(t, Options{})
			server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error {
				if got := r.Header.Get("Accept-Encoding"); got != "gzip;q=0.5, zstd" {
					t.Errorf("Accept-Encoding %q", got)
				}
				var b bytes.Buffer
				z := gzip.NewWriter(&b)
				_, _ = io.WriteString(z, chatAnswer)
				_ = z.Close()
				w.Header().Set("Content-Type", "application/json")
				w.Header().Set("Content-Encoding", "gzip")
				out := b.Bytes()
				if cut {
					out = out[:len(out)-20]
				}
				_, err := w.Write(out)
				return err
			})
			r, _ := http.NewRequest(http.MethodPost, server.URL+"/v1/chat/completions", strings.NewReader(chatRequest))
			r.Header.Set("Accept-Encoding", "br, gzip;q=0.5, deflate, zstd")
			resp, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			tr := onlyTrace(t, s)
			if cut {
				if !tr.Truncated || len(tr.Notes) != 1 || !strings.HasPrefix(string(tr.Response), `"{`) {
					t.Errorf("truncated %v, notes %q, response %s", tr.Truncated, tr.Notes, tr.Response)
				}
				return
			}
			if string(tr.Response) != chatAnswer || tr.Usage == nil {
				t.Errorf("response %s, usage %+v", tr.Response, tr.Usage)
			}
		})
	}
}

// Each event must be with the client before the next is made.
func TestStreamIsNotDelayed(t *testing.T) {
	s := openStore(t, Options{})
	next := make(chan struct{})
	server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Type", "text/event-stream")
		rc := http.NewResponseController(w)
		for i := range 3 {
			fmt.Fprintf(w, "data: {\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"%d\"}}]}\n\n", i)
			if err := rc.Flush(); err != nil {
				t.Errorf("flush: %v", err)
			}
			<-next
		}
		_, err := io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
		return err
	})
	resp := post(t, server.URL+"/v1/chat/completions", `{"model":"gpt-4o","stream":true,"messages":[]}`)
	lines := bufio.NewReader(resp.Body)
	for range 3 {
		line, err := lines.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "data: ") {
			t.Fatalf("%q %v", line, err)
		}
		_, _ = lines.ReadString('\n')
		next <- struct{}{}
	}
	_, _ = io.Copy(io.Discard, lines)
	tr := onlyTrace(t, s)
	if !tr.Stream || tr.Status != "ok" || tr.TTFTMS == nil || *tr.FinishReason != "stop" || *tr.TTFTMS > tr.DurationMS {
		t.Errorf("row %+v", tr.Row)
	}
	sameJSON(t, string(tr.Response), `{"model":"gpt-4o","choices":[{"index":0,"message":{"role":"assistant","content":"012"},"finish_reason":"stop"}]}`)
}

func TestReadFrom(t *testing.T) {
	s := openStore(t, Options{})
	server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error {
		n, err := io.Copy(w, struct{ io.Reader }{strings.NewReader(chatAnswer)})
		if n != int64(len(chatAnswer)) {
			t.Errorf("copied %d", n)
		}
		if _, ok := w.(io.ReaderFrom); !ok {
			t.Error("not an io.ReaderFrom")
		}
		return err
	})
	post(t, server.URL+"/v1/chat/completions", chatRequest)
	if tr := onlyTrace(t, s); string(tr.Response) != chatAnswer {
		t.Errorf("response %s", tr.Response)
	}
}

func TestHandlerEndings(t *testing.T) {
	stream := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n")
		_ = http.NewResponseController(w).Flush()
	}
	for _, test := range []struct {
		name, body string
		next       caddyhttp.HandlerFunc
		status     string
		http       int
		class      string
	}{
		{"abort in a stream", "", func(w http.ResponseWriter, r *http.Request) error {
			stream(w)
			panic(http.ErrAbortHandler)
		}, "cut", 200, ""},
		{"abort at once", "", func(w http.ResponseWriter, r *http.Request) error { panic(http.ErrAbortHandler) }, "error", 0, ""},
		{"stream without an end", "", func(w http.ResponseWriter, r *http.Request) error {
			stream(w)
			return nil
		}, "cut", 200, ""},
		{"error event", "", func(w http.ResponseWriter, r *http.Request) error {
			stream(w)
			_, err := io.WriteString(w, "data: {\"error\":{\"code\":\"boom\"}}\n\n")
			return err
		}, "error", 200, "boom"},
		{"handler error", "", func(w http.ResponseWriter, r *http.Request) error {
			return caddyhttp.Error(http.StatusBadGateway, errors.New("no"))
		}, "error", 502, ""},
		{"provider error", "", func(w http.ResponseWriter, r *http.Request) error {
			w.WriteHeader(http.StatusTooManyRequests)
			_, err := io.WriteString(w, `{"error":{"code":"rate_limit_exceeded","message":"slow down"}}`)
			return err
		}, "error", 429, "rate_limit_exceeded"},
		{"short answer", "", func(w http.ResponseWriter, r *http.Request) error {
			w.Header().Set("Content-Length", "100")
			_, err := io.WriteString(w, "short")
			return err
		}, "cut", 200, ""},
		{"bad JSON", `{"model":`, refuse, "error", 400, "invalid_json"},
		{"too large", `{"model":"` + strings.Repeat("x", 1<<20) + `"}`, refuse, "error", 413, "body_too_large"},
		{"the proxy says", "", func(w http.ResponseWriter, r *http.Request) error {
			c := call.From(r.Context())
			c.Provider, c.Model, c.Status, c.ErrorClass, c.Finish = "p", "m", call.StatusCut, "upstream_cut", "length"
			c.FirstToken = c.Started.Add(5 * time.Millisecond)
			c.Usage = &call.Usage{Input: 1, Output: 2, Estimated: true}
			_, err := io.WriteString(w, "{}")
			return err
		}, "cut", 200, "upstream_cut"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := openStore(t, Options{})
			server, _ := site(t, s, Config{}, test.next)
			if test.body == "" {
				test.body = chatRequest
			}
			resp, err := http.Post(server.URL+"/v1/chat/completions", "application/json", strings.NewReader(test.body))
			if err == nil {
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
			tr := onlyTrace(t, s)
			class, status := "", 0
			if tr.ErrorClass != nil {
				class = *tr.ErrorClass
			}
			if tr.HTTPStatus != nil {
				status = *tr.HTTPStatus
			}
			if tr.Status != test.status || status != test.http || class != test.class {
				t.Errorf("got %s %d %q, want %s %d %q", tr.Status, status, class, test.status, test.http, test.class)
			}
		})
	}
}

// refuse is a handler that needs a call.
func refuse(w http.ResponseWriter, r *http.Request) error {
	c, _, _, fail := call.Begin(r, nil)
	if fail == nil {
		return errors.New("not refused")
	}
	c.Fail(w, fail)
	return nil
}

// In front of a stock handler nothing is refused: it gets what was sent.
func TestObserveOnlyRefusesNothing(t *testing.T) {
	for name, body := range map[string]string{
		"bad JSON": `{"model":`, "two models": `{"model":"a","model":"b"}`, "too large": `{"model":"` + strings.Repeat("x", 2<<20) + `"}`,
	} {
		for _, chunked := range []bool{false, true} {
			s := openStore(t, Options{})
			server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error {
				got, err := io.ReadAll(r.Body)
				if err != nil || string(got) != body {
					t.Errorf("%s: %d bytes, %v; want %d", name, len(got), err, len(body))
				}
				_, err = io.WriteString(w, "{}")
				return err
			})
			var r io.Reader = strings.NewReader(body)
			if chunked {
				r = io.MultiReader(r)
			}
			resp, err := http.Post(server.URL+"/v1/chat/completions", "application/json", r)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if tr := onlyTrace(t, s); resp.StatusCode != 200 || tr.Status != "ok" {
				t.Errorf("%s: %d, trace %s", name, resp.StatusCode, tr.Status)
			}
		}
	}
}

func TestCancelled(t *testing.T) {
	s := openStore(t, Options{})
	left := make(chan struct{})
	server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n")
		_ = http.NewResponseController(w).Flush()
		<-left
		<-r.Context().Done()
		return nil
	})
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(chatRequest), chatRequest)
	_, _ = bufio.NewReader(conn).ReadString('\n')
	_ = conn.Close()
	close(left)
	if tr := onlyTrace(t, s); tr.Status != "cancelled" {
		t.Errorf("status %s", tr.Status)
	}
}

func TestTruncatedAnswer(t *testing.T) {
	s := openStore(t, Options{})
	server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error {
		line := []byte(strings.Repeat("x", 1<<20))
		for range 5 {
			if _, err := w.Write(line); err != nil {
				return err
			}
		}
		return nil
	})
	resp := post(t, server.URL+"/v1/chat/completions", chatRequest)
	if n, _ := io.Copy(io.Discard, resp.Body); n != 5<<20 {
		t.Errorf("client got %d bytes", n)
	}
	if tr := onlyTrace(t, s); !tr.Truncated || len(tr.Response) != maxPayload+2 {
		t.Errorf("truncated %v, %d bytes", tr.Truncated, len(tr.Response))
	}
}

func TestNotTraced(t *testing.T) {
	s := openStore(t, Options{})
	server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error { return nil })
	for _, path := range []string{"/", "/v1/models", "/v1/realtime"} {
		resp, err := http.Get(server.URL + path)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	for _, level := range []string{"off"} {
		r, _ := http.NewRequest(http.MethodPost, server.URL+"/v1/chat/completions", strings.NewReader(chatRequest))
		r.Header.Set("LLM-Capture", level)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	server.Close()
	syncStore(t, s)
	if p, _ := s.Query(context.Background(), Filter{}); len(p.Items) != 0 {
		t.Errorf("%d traces", len(p.Items))
	}
}

func TestMetadataOnly(t *testing.T) {
	for name, do := range map[string]func(url string) *http.Request{
		"header": func(url string) *http.Request {
			r, _ := http.NewRequest(http.MethodPost, url+"/v1/chat/completions", strings.NewReader(chatRequest))
			r.Header.Set("LLM-Capture", "metadata")
			return r
		},
		"other path": func(url string) *http.Request {
			r, _ := http.NewRequest(http.MethodPost, url+"/v1/audio/speech", strings.NewReader("secret"))
			return r
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Options{})
			server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error {
				_, err := io.WriteString(w, chatAnswer)
				return err
			})
			resp, err := http.DefaultClient.Do(do(server.URL))
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			tr := onlyTrace(t, s)
			if string(tr.Request) != "null" || string(tr.Response) != "null" || tr.Status != "ok" {
				t.Errorf("got %+v", tr)
			}
			if name == "header" && (tr.Usage == nil || string(tr.Parameters) != `{"temperature":0.5}`) {
				t.Errorf("usage %+v, parameters %s", tr.Usage, tr.Parameters)
			}
		})
	}
}

func TestFeedbackFront(t *testing.T) {
	s := openStore(t, Options{FlushInterval: time.Hour})
	server, _ := site(t, s, Config{}, func(w http.ResponseWriter, r *http.Request) error {
		_, err := io.WriteString(w, chatAnswer)
		return err
	})
	r, _ := http.NewRequest(http.MethodPost, server.URL+"/v1/chat/completions", strings.NewReader(chatRequest))
	r.Header.Set("LLM-Session", "s1")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	id := resp.Header.Get("X-Request-Id")
	onlyTrace(t, s)
	for _, test := range []struct {
		body   string
		status int
	}{
		{`{"trace_id":"` + id + `","name":"thumbs","value":true,"comment":"good"}`, 200},
		{`{"session":"s1","name":"score","value":0.5}`, 200},
		{`{"session":"s2","name":"score","value":0.5}`, 404},
		{`{"trace_id":"` + idAt(time.Now(), 1) + `","name":"score","value":0.5}`, 404},
		{`{"trace_id":"nonsense","name":"score","value":0.5}`, 404},
		{`{"name":"score","value":0.5}`, 400},
		{`{"trace_id":"` + id + `","value":0.5}`, 400},
		{`{"trace_id":"` + id + `","name":"x"}`, 400},
		{`{"trace_id":"` + id + `","name":"x","value":1,"more":1}`, 400},
		{`[]`, 400},
	} {
		resp := post(t, server.URL+"/v1/feedback", test.body)
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != test.status {
			t.Errorf("%s: got %d %s, want %d", test.body, resp.StatusCode, body, test.status)
		}
		if resp.StatusCode >= 400 && !json.Valid(body) {
			t.Errorf("%s: answered with %s", test.body, body)
		}
	}
	tr := onlyTrace(t, s)
	if len(tr.Feedback) != 2 || tr.Feedback[0].Name != "thumbs" || string(tr.Feedback[0].Value) != "true" || tr.Feedback[0].Comment != "good" || tr.Feedback[1].Name != "score" {
		t.Errorf("feedback %+v", tr.Feedback)
	}
}

// BenchmarkHandler is what llm_trace adds to a request, parsing it included.
func BenchmarkHandler(b *testing.B) {
	s := openStore(b, Options{FlushInterval: time.Hour, FreeSpace: func(string) (int64, error) { return 0, nil }})
	h := &Handler{app: testApp{newRecorder(b, s, Config{})}}
	answer := []byte(chatAnswer)
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		_, err := w.Write(answer)
		return err
	})
	w := discard{http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		clear(w.Header())
		r := &http.Request{Method: http.MethodPost, URL: mustURL, Header: http.Header{}, ContentLength: int64(len(chatRequest)), Body: io.NopCloser(strings.NewReader(chatRequest))}
		if err := h.ServeHTTP(w, r, next); err != nil {
			b.Fatal(err)
		}
	}
}

var mustURL = httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil).URL

type discard struct{ h http.Header }

func (d discard) Header() http.Header       { return d.h }
func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) WriteHeader(int)             {}
