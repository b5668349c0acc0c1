package upstream_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/routing/dialect"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

// rawServer plays script to each connection in turn; each request is read
// whole before the script's function answers it.
type rawServer struct {
	net.Listener
	conns, requests atomic.Int64
	gone            chan struct{} // a connection was closed by the client
}

func serve(t *testing.T, answer func(n int, c net.Conn)) *rawServer {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &rawServer{Listener: l, gone: make(chan struct{}, 100)}
	t.Cleanup(func() { l.Close() })
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.conns.Add(1)
			go func() { // ends with its connection
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						s.gone <- struct{}{}
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					answer(int(s.requests.Add(1)), c)
				}
			}()
		}
	}()
	return s
}

func (s *rawServer) target(t *testing.T, stream bool, limits upstream.Limits) *upstream.Target {
	t.Helper()
	c, err := upstream.New(upstream.Options{Name: "fake", BaseURL: "http://" + s.Addr().String() + "/v1", Keys: []string{testKey}, MaxResponse: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	r := upstream.Request{Method: "POST", Path: "/chat/completions", Body: []byte(`{"model":"m"}`), Stream: stream}
	if stream {
		r.Events = dialect.NewEvents(call.ChatCompletions, 1, true)
	}
	return &upstream.Target{Client: c, Model: "m", Request: r, Limits: limits}
}

func targets(ts ...*upstream.Target) func(int) (*upstream.Target, error) {
	return func(i int) (*upstream.Target, error) {
		if i < len(ts) {
			return ts[i], nil
		}
		return nil, nil
	}
}

func do(t *testing.T, ts ...*upstream.Target) (*upstream.Answer, *upstream.Exchange, error) {
	t.Helper()
	x := &upstream.Exchange{Targets: targets(ts...)}
	a, err := x.Do(t.Context())
	return a, x, err
}

const testKey = "sk-of-the-provider-1"

const (
	okBody   = `{"id":"1","choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}`
	sseHead  = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
	role     = `data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	word     = `data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}` + "\n\n"
	finish   = `data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	usageEv  = `data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2}}` + "\n\n"
	doneMark = "data: [DONE]\n\n"
)

// answerOf is an answer that ends with its connection.
func answerOf(kind, body string) string {
	return "HTTP/1.1 200 OK\r\nContent-Type: " + kind + "\r\nConnection: close\r\n\r\n" + body
}

func plain(c net.Conn, body string) {
	fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func chunk(c net.Conn, s string) { fmt.Fprintf(c, "%x\r\n%s\r\n", len(s), s) }

func readStream(t *testing.T, a *upstream.Answer) (string, error) {
	t.Helper()
	defer a.Close()
	defer a.Stream.Release()
	var out strings.Builder
	for {
		b, err := a.Stream.Next()
		if errors.Is(err, io.EOF) {
			return out.String(), nil
		}
		if err != nil {
			return out.String(), err
		}
		out.Write(b)
	}
}

func class(err error) upstream.Class {
	if f, ok := errors.AsType[*upstream.Fault](err); ok {
		return f.Class
	}
	return ""
}

func TestWholeAnswers(t *testing.T) {
	tests := map[string]struct {
		answer string
		want   upstream.Class // "": it is an answer
	}{
		"content length":          {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(okBody), okBody), ""},
		"chunked with trailers":   {fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-T: 1\r\n\r\n", len(okBody), okBody), ""},
		"until close":             {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + okBody, ""},
		"informational first":     {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n" + okBody, ""},
		"too short":               {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n" + okBody, upstream.BadResponse},
		"bad chunk":               {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", upstream.BadResponse},
		"cut chunk":               {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nabc", upstream.BadResponse},
		"two lengths":             {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", upstream.BadResponse},
		"status 600":              {"HTTP/1.1 600 Odd\r\nContent-Length: 0\r\n\r\n", upstream.BadResponse},
		"a part":                  {"HTTP/1.1 206 Part\r\nConnection: close\r\n\r\n" + okBody, upstream.BadResponse},
		"no content":              {"HTTP/1.1 204 None\r\n\r\n", upstream.BadResponse},
		"odd header name":         {"HTTP/1.1 200 OK\r\nX(a): 1\r\nConnection: close\r\n\r\n" + okBody, upstream.BadResponse},
		"NUL in a header":         {"HTTP/1.1 200 OK\r\nX: a\x00b\r\nConnection: close\r\n\r\n" + okBody, upstream.BadResponse},
		"byte order mark":         {answerOf("application/json", "\ufeff"+okBody), ""},
		"status 099":              {"HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", upstream.BadResponse},
		"not HTTP":                {"hello\r\n\r\n", upstream.BadResponse},
		"endless header":          {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 80<<10) + "\r\n\r\n", upstream.BadResponse},
		"html":                    {"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<html>", upstream.BadResponse},
		"stream for a plain call": {sseHead + "0\r\n\r\n", upstream.BadResponse},
		"lies about gzip":         {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n" + okBody, upstream.BadResponse},
		"unknown encoding":        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: br\r\nConnection: close\r\n\r\n" + okBody, upstream.BadResponse},
		"larger than allowed":     {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{" + strings.Repeat(" ", 2<<20) + "}", upstream.TooLarge},
		"an error with 200":       {answerOf("application/json", `{"error":{"message":"no"}}`), upstream.BadResponse},
		"another kind of answer":  {answerOf("application/json", `{"data":[]}`), upstream.BadResponse},
		"two documents":           {answerOf("application/json", okBody+okBody), upstream.BadResponse},
		"cut JSON, right length":  {answerOf("application/json", okBody[:40]+"}"), upstream.BadResponse},
		"a stream, cut":           {answerOf("text/event-stream", role+word), upstream.Cut},
		"a stream, failed":        {answerOf("text/event-stream", role+word+finish+`data: {"error":{"message":"x"}}`+"\n\n"), upstream.Cut},
		"redirect":                {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", upstream.StatusError},
		"nothing":                 {"", upstream.Connect},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(_ int, c net.Conn) {
				_, _ = io.WriteString(c, tt.answer)
				c.Close()
			})
			a, x, err := do(t, s.target(t, false, upstream.Limits{Total: 5 * time.Second}))
			if class(err) != tt.want {
				t.Fatalf("got %v, want class %q", err, tt.want)
			}
			if err == nil {
				if string(a.Body) != okBody {
					t.Errorf("body %q", a.Body)
				}
				a.Close()
			}
			want := 1
			if tt.want == upstream.Connect {
				want = 2
			}
			if len(x.Attempts) != want {
				t.Errorf("%d attempts, want %d", len(x.Attempts), want)
			}
		})
	}
}

func TestConnectionsAreKept(t *testing.T) {
	s := serve(t, func(_ int, c net.Conn) { plain(c, okBody) })
	target := s.target(t, false, upstream.Limits{})
	for range 20 {
		a, _, err := do(t, target)
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections for 20 requests", n)
	}
}

// TestManyStaleConnections: a provider closes all that were kept, and the next
// call is answered over its first new one.
func TestManyStaleConnections(t *testing.T) {
	s := serve(t, func(_ int, c net.Conn) {
		time.Sleep(20 * time.Millisecond) // so that each call needs a connection of its own
		plain(c, okBody)
		c.Close()
	})
	target := s.target(t, false, upstream.Limits{Attempts: 1})
	for range 5 {
		var calls sync.WaitGroup
		for range 8 {
			calls.Go(func() {
				a, _, err := do(t, target)
				if err != nil {
					t.Error(err)
					return
				}
				a.Close()
			})
		}
		calls.Wait()
	}
}

func TestHeaderLinesOfAnyLength(t *testing.T) {
	for _, n := range []int{8190, 8191, 8192, 8193, 16383, 16384} {
		line := "X: " + strings.Repeat("x", n-len("X: "))
		s := serve(t, func(_ int, c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\n%s\r\nContent-Length: %d\r\n\r\n%s", line, len(okBody), okBody)
		})
		a, _, err := do(t, s.target(t, false, upstream.Limits{Total: time.Second}))
		if err != nil {
			t.Errorf("a line of %d bytes: %v", n, err)
			continue
		}
		a.Close()
	}
}

func TestStaleConnectionIsNoFailure(t *testing.T) {
	s := serve(t, func(n int, c net.Conn) {
		plain(c, okBody)
		if n == 1 {
			c.Close()
		}
	})
	target := s.target(t, false, upstream.Limits{})
	for range 3 {
		a, _, err := do(t, target)
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
		time.Sleep(20 * time.Millisecond) // lets the close arrive
	}
}

func TestStreams(t *testing.T) {
	all := role + word + finish + doneMark
	tests := map[string]struct {
		play func(c net.Conn)
		want string
		end  upstream.Class
	}{
		"complete": {func(c net.Conn) { chunk(c, all); fmt.Fprint(c, "0\r\n\r\n") }, all, ""},
		"split anywhere": {func(c net.Conn) {
			for i := range all {
				chunk(c, all[i:i+1])
			}
			fmt.Fprint(c, "0\r\n\r\n")
		}, all, ""},
		"CRLF": {func(c net.Conn) { chunk(c, strings.ReplaceAll(all, "\n", "\r\n")); fmt.Fprint(c, "0\r\n\r\n") }, strings.ReplaceAll(all, "\n", "\r\n"), ""},
		"usage is kept from a client that did not ask": {func(c net.Conn) { chunk(c, role+word+finish+usageEv+doneMark); fmt.Fprint(c, "0\r\n\r\n") }, all, ""},
		"usage null is removed": {func(c net.Conn) {
			chunk(c, role+strings.Replace(word, "]}", `],"usage":null}`, 1)+finish+doneMark)
			fmt.Fprint(c, "0\r\n\r\n")
		}, all, ""},
		"no terminator":               {func(c net.Conn) { chunk(c, role+word+finish); fmt.Fprint(c, "0\r\n\r\n") }, all, ""},
		"terminator twice, then junk": {func(c net.Conn) { chunk(c, all+doneMark+"junk"); fmt.Fprint(c, "0\r\n\r\n") }, all, ""},
		"no blank line at the end":    {func(c net.Conn) { chunk(c, strings.TrimSuffix(all, "\n\n")); fmt.Fprint(c, "0\r\n\r\n") }, all, ""},
		"an event that is none":       {func(c net.Conn) { chunk(c, role+"data: {oops}\n\n"+word+finish+doneMark); fmt.Fprint(c, "0\r\n\r\n") }, all, ""},
		"an event cut short":          {func(c net.Conn) { chunk(c, role+word+word[:40]+"\n\n"+finish+doneMark); fmt.Fprint(c, "0\r\n\r\n") }, role + word, upstream.Cut},
		"an event that is not UTF-8":  {func(c net.Conn) { chunk(c, role+word+strings.Replace(word, "hi", "h\xff", 1)+finish+doneMark) }, role + word, upstream.Cut},
		"the key": {func(c net.Conn) {
			chunk(c, role+strings.Replace(word, "hi", testKey, 1))
			time.Sleep(5 * time.Millisecond)
			chunk(c, finish+doneMark)
			fmt.Fprint(c, "0\r\n\r\n")
		}, role + strings.Replace(word, "hi", strings.Repeat("*", len(testKey)), 1) + finish + doneMark, ""},
		"the key, split": {func(c net.Conn) {
			for _, b := range role + strings.Replace(word, "hi", testKey, 1) + finish + doneMark {
				chunk(c, string(b))
				time.Sleep(10 * time.Microsecond)
			}
			fmt.Fprint(c, "0\r\n\r\n")
		}, role + strings.Replace(word, "hi", strings.Repeat("*", len(testKey)), 1) + finish + doneMark, ""},
		"comments":                   {func(c net.Conn) { chunk(c, ": ping\n\n"+all); fmt.Fprint(c, "0\r\n\r\n") }, ": ping\n\n" + all, ""},
		"cut by the end":             {func(c net.Conn) { chunk(c, role+word); fmt.Fprint(c, "0\r\n\r\n") }, role + word, upstream.Cut},
		"cut by a closed connection": {func(c net.Conn) { chunk(c, role+word); c.Close() }, role + word, upstream.Cut},
		"stalls byte by byte": {func(c net.Conn) {
			chunk(c, role+word)
			for range 60 {
				chunk(c, "d")
				time.Sleep(20 * time.Millisecond)
			}
		}, role + word, upstream.Stall},
		"comments after the end": {func(c net.Conn) {
			chunk(c, role+word+finish+usageEv)
			for range 100 {
				time.Sleep(20 * time.Millisecond)
				if _, err := fmt.Fprint(c, "2\r\n:\n\r\n"); err != nil {
					return
				}
			}
		}, role + word + finish + doneMark, ""},
		"the end, then a broken chunk": {func(c net.Conn) { fmt.Fprintf(c, "%x\r\n%s\r\nzz\r\n", len(all), all) }, all, ""},
		"stalls":                       {func(c net.Conn) { chunk(c, role+word); time.Sleep(time.Second) }, role + word, upstream.Stall},
		"error event":                  {func(c net.Conn) { chunk(c, role+word); chunk(c, `data: {"error":{"message":"x"}}`+"\n\n") }, role + word, upstream.Cut},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(_ int, c net.Conn) { fmt.Fprint(c, sseHead); tt.play(c) })
			a, _, err := do(t, s.target(t, true, upstream.Limits{Idle: 200 * time.Millisecond}))
			if err != nil {
				t.Fatal(err)
			}
			got, err := readStream(t, a)
			if class(err) != tt.end {
				t.Errorf("ended with %v, want class %q", err, tt.end)
			}
			if got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

// TestAnswersInTheOtherForm asks for a stream and gets an answer, and the reverse.
func TestAnswersInTheOtherForm(t *testing.T) {
	for name, tt := range map[string]struct {
		stream bool
		answer string
		want   string
	}{
		"JSON for a stream": {
			true, answerOf("application/json", `{"id":"1","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}`),
			`data: {"id":"1","choices":[{"delta":{"role":"assistant","content":"hi"},"index":0,"finish_reason":null}]}` + "\n\n" + `data: {"id":"1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n" + doneMark,
		},
		"a stream that is not declared": {true, answerOf("text/plain", role+word+finish+doneMark), role + word + finish + doneMark},
		"a stream without a type":       {true, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + role + word + finish, role + word + finish + doneMark},
		"a stream for a plain call":     {false, answerOf("text/event-stream", role+word+finish+usageEv+doneMark), `{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2}}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, func(_ int, c net.Conn) { fmt.Fprint(c, tt.answer); c.Close() })
			a, _, err := do(t, s.target(t, tt.stream, upstream.Limits{}))
			if err != nil {
				t.Fatal(err)
			}
			kind := "application/json"
			var got string
			if tt.stream {
				kind = "text/event-stream"
				if got, err = readStream(t, a); err != nil {
					t.Error(err)
				}
			} else {
				got = string(a.Body)
				defer a.Close()
			}
			if got != tt.want || a.Header.Get("Content-Type") != kind {
				t.Errorf("got  %s\nwant %s (%s)", got, tt.want, a.Header.Get("Content-Type"))
			}
		})
	}
}

func TestMaskReader(t *testing.T) {
	s := serve(t, nil)
	c := s.target(t, false, upstream.Limits{}).Client
	const text = "a key: " + testKey + ", half of one: sk-of-the"
	for _, r := range []io.Reader{strings.NewReader(text), iotest.OneByteReader(strings.NewReader(text)), iotest.DataErrReader(strings.NewReader(text))} {
		got, err := io.ReadAll(c.MaskReader(r))
		if want := strings.ReplaceAll(text, testKey, strings.Repeat("*", len(testKey))); string(got) != want || err != nil {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if got := c.Mask("id-" + testKey); strings.Contains(got, testKey) {
		t.Error(got)
	}
}

func TestLargeEvents(t *testing.T) {
	for name, tt := range map[string]struct {
		size int
		end  upstream.Class
	}{"7 MiB": {7 << 20, ""}, "9 MiB": {9 << 20, upstream.BadResponse}} {
		t.Run(name, func(t *testing.T) {
			large := strings.Replace(word, "hi", strings.Repeat("x", tt.size), 1)
			s := serve(t, func(_ int, c net.Conn) {
				fmt.Fprint(c, sseHead)
				chunk(c, role+word+large+finish+doneMark)
				fmt.Fprint(c, "0\r\n\r\n")
			})
			target := s.target(t, true, upstream.Limits{})
			target.Client.MaxResponse = 64 << 20
			a, _, err := do(t, target)
			if err != nil {
				t.Fatal(err)
			}
			got, err := readStream(t, a)
			if class(err) != tt.end || tt.end == "" && got != role+word+large+finish+doneMark {
				t.Errorf("%d bytes, %v", len(got), err)
			}
		})
	}
}

func TestNothingIsCommittedBeforeContent(t *testing.T) {
	faults := map[string]struct {
		play   func(c net.Conn)
		limits upstream.Limits
		class  upstream.Class
	}{
		"role, then silence":  {func(c net.Conn) { fmt.Fprint(c, sseHead); chunk(c, role); time.Sleep(time.Second) }, upstream.Limits{FirstToken: 100 * time.Millisecond}, upstream.FirstToken},
		"only the terminator": {func(c net.Conn) { fmt.Fprint(c, sseHead); chunk(c, role+doneMark); fmt.Fprint(c, "0\r\n\r\n") }, upstream.Limits{}, upstream.Cut},
		"a redirect": {func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")
		}, upstream.Limits{}, upstream.StatusError},
		"role, then the end":  {func(c net.Conn) { fmt.Fprint(c, sseHead); chunk(c, role); fmt.Fprint(c, "0\r\n\r\n") }, upstream.Limits{}, upstream.Cut},
		"role, then an error": {func(c net.Conn) { fmt.Fprint(c, sseHead); chunk(c, role+"data: {\"error\":{}}\n\n") }, upstream.Limits{}, upstream.Cut},
		"silence, no header":  {func(net.Conn) { time.Sleep(time.Second) }, upstream.Limits{FirstToken: 100 * time.Millisecond}, upstream.FirstToken},
		"no header":           {func(net.Conn) { time.Sleep(time.Second) }, upstream.Limits{Header: 100 * time.Millisecond}, upstream.HeaderTime},
		"503":                 {func(c net.Conn) { fmt.Fprint(c, "HTTP/1.1 503 Busy\r\nContent-Length: 2\r\n\r\n{}") }, upstream.Limits{}, upstream.StatusError},
		"html": {func(c net.Conn) {
			fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1\r\n\r\n<")
		}, upstream.Limits{}, upstream.BadResponse},
	}
	for name, tt := range faults {
		t.Run(name, func(t *testing.T) {
			bad := serve(t, func(_ int, c net.Conn) { tt.play(c) })
			good := serve(t, func(_ int, c net.Conn) {
				fmt.Fprint(c, sseHead)
				chunk(c, role+word+finish+doneMark)
				fmt.Fprint(c, "0\r\n\r\n")
			})
			a, x, err := do(t, bad.target(t, true, tt.limits), good.target(t, true, upstream.Limits{}))
			if err != nil {
				t.Fatal(err)
			}
			got, err := readStream(t, a)
			if err != nil || got != role+word+finish+doneMark {
				t.Errorf("got %q, %v", got, err)
			}
			if len(x.Attempts) != 2 || x.Attempts[0].ErrorClass != string(tt.class) {
				t.Errorf("attempts %+v, want the first to be %q", x.Attempts, tt.class)
			}
			if n := bad.requests.Load(); n != 1 {
				t.Errorf("the failing provider was asked %d times", n)
			}
		})
	}
}

func TestCallersMistakeIsNotTriedElsewhere(t *testing.T) {
	bad := serve(t, func(_ int, c net.Conn) { fmt.Fprint(c, "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}") })
	good := serve(t, func(_ int, c net.Conn) { plain(c, okBody) })
	_, _, err := do(t, bad.target(t, false, upstream.Limits{}), good.target(t, false, upstream.Limits{}))
	if class(err) != upstream.StatusError || good.requests.Load() != 0 {
		t.Errorf("got %v, %d requests to the fallback", err, good.requests.Load())
	}
}

func TestRefusedConnectionIsRetriedOnceThenLeft(t *testing.T) {
	dead := serve(t, nil)
	target := dead.target(t, false, upstream.Limits{})
	dead.Close()
	good := serve(t, func(_ int, c net.Conn) { plain(c, okBody) })
	a, x, err := do(t, target, good.target(t, false, upstream.Limits{}))
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if len(x.Attempts) != 3 {
		t.Errorf("attempts %+v, want two at the dead one and one more", x.Attempts)
	}
}

func TestTotalTimeIsTheCallsBudget(t *testing.T) {
	slow := func() *rawServer { return serve(t, func(int, net.Conn) { time.Sleep(2 * time.Second) }) }
	limits := upstream.Limits{Total: 250 * time.Millisecond, Header: 150 * time.Millisecond}
	start := time.Now()
	_, _, err := do(t, slow().target(t, false, limits), slow().target(t, false, limits), slow().target(t, false, limits))
	if took := time.Since(start); class(err) != upstream.TotalTime || took > time.Second {
		t.Errorf("got %v after %s", err, took)
	}
}

func TestClientGoneCancelsTheProvider(t *testing.T) {
	s := serve(t, func(_ int, c net.Conn) { fmt.Fprint(c, sseHead); chunk(c, role+word) })
	ctx, cancel := context.WithCancel(t.Context())
	x := &upstream.Exchange{Targets: targets(s.target(t, true, upstream.Limits{}))}
	a, err := x.Do(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Stream.Next(); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case <-s.gone:
	case <-time.After(time.Second):
		t.Error("the provider was not told within a second")
	}
	a.Close()
}

// TestAnswersThatDoNotWait: a provider refuses a large request without reading it.
func TestAnswersThatDoNotWait(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	defer func() { close(done); l.Close() }()
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			fmt.Fprint(c, "HTTP/1.1 413 Too large\r\nContent-Length: 2\r\n\r\n{}")
			go func() { <-done; c.Close() }()
		}
	}()
	s := &rawServer{Listener: l}
	target := s.target(t, false, upstream.Limits{Header: 5 * time.Second})
	target.Request.Body = []byte(`{"x":"` + strings.Repeat("a", 20<<20) + `"}`)
	start := time.Now()
	_, _, err = do(t, target)
	if f, ok := errors.AsType[*upstream.Fault](err); !ok || f.Status != 413 || time.Since(start) > 3*time.Second {
		t.Errorf("got %v after %s", err, time.Since(start))
	}
}

func TestLargeBodies(t *testing.T) {
	s := serve(t, func(_ int, c net.Conn) { plain(c, okBody) })
	target := s.target(t, false, upstream.Limits{})
	target.Request.Body = []byte(`{"x":"` + strings.Repeat("a", 5<<20) + `"}`)
	a, _, err := do(t, target)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
}

func TestBadBaseURLs(t *testing.T) {
	for url, want := range map[string]string{"ftp://x/v1": "want a URL", "http://": "want a URL", "http://u:p@x/v1": "keys belong to api_key"} {
		if _, err := upstream.New(upstream.Options{BaseURL: url}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", url, err, want)
		}
	}
}

func BenchmarkExchange(b *testing.B) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header()["Content-Type"] = []string{"application/json"}
		_, _ = io.WriteString(w, okBody)
	})}
	go func() { _ = srv.Serve(l) }() // ends with Close
	defer srv.Close()
	c, err := upstream.New(upstream.Options{Name: "fake", BaseURL: "http://" + l.Addr().String() + "/v1", Keys: []string{"sk"}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	t := &upstream.Target{Client: c, Request: upstream.Request{Method: "POST", Path: "/x", Body: make([]byte, 1024)}}
	b.ReportAllocs()
	for b.Loop() {
		x := upstream.Exchange{Targets: targets(t)}
		a, err := x.Do(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		a.Close()
	}
}
