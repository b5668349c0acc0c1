package upstream_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/routing/upstream"
)

func status(c net.Conn, code int, header ...string) {
	fmt.Fprintf(c, "HTTP/1.1 %d X\r\n%sContent-Length: 2\r\n\r\n{}", code, strings.Join(header, ""))
}

func TestRetries(t *testing.T) {
	tests := map[string]struct {
		answers  []int // statuses, in turn; the last one goes on
		header   string
		alone    bool // no fallback
		ok       bool
		requests int64
		atLeast  time.Duration
		atMost   time.Duration
	}{
		"500 once":                                 {answers: []int{500, 200}, ok: true, requests: 2, atMost: 2 * time.Second},
		"500 for ever":                             {answers: []int{500}, ok: true, requests: 2, atMost: 2 * time.Second},
		"503 goes to the fallback at once":         {answers: []int{503}, ok: true, requests: 1, atMost: 200 * time.Millisecond},
		"503 once, no fallback":                    {answers: []int{503, 200}, alone: true, ok: true, requests: 2, atMost: 2 * time.Second},
		"503 for ever, no fallback":                {answers: []int{503}, alone: true, requests: 2, atMost: 2 * time.Second},
		"429 with Retry-After":                     {answers: []int{429, 200}, header: "Retry-After: 1\r\n", ok: true, requests: 2, atLeast: 900 * time.Millisecond, atMost: 2 * time.Second},
		"429 in milliseconds":                      {answers: []int{429, 200}, header: "retry-after-ms: 300\r\n", ok: true, requests: 2, atLeast: 280 * time.Millisecond, atMost: time.Second},
		"429 that asks for more time than is left": {answers: []int{429}, header: "Retry-After: 60\r\n", ok: true, requests: 1, atMost: 200 * time.Millisecond},
		"429 that asks for ages":                   {answers: []int{429}, header: "Retry-After: 99999999999999999999999\r\n", ok: true, requests: 1, atMost: 200 * time.Millisecond},
		"409 is the caller's":                      {answers: []int{409}, requests: 1, atMost: 200 * time.Millisecond},
		"429 for ever, no fallback":                {answers: []int{429}, alone: true, requests: 2, atMost: 2 * time.Second},
		"400 is the caller's":                      {answers: []int{400}, requests: 1, atMost: 200 * time.Millisecond},
		"401 goes to the fallback":                 {answers: []int{401}, ok: true, requests: 1, atMost: 200 * time.Millisecond},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t, func(n int, c net.Conn) {
				code := tt.answers[min(n, len(tt.answers))-1]
				if code == 200 {
					plain(c, okBody)
					return
				}
				status(c, code, tt.header)
			})
			good := serve(t, func(_ int, c net.Conn) { plain(c, okBody) })
			list := []*upstream.Target{s.target(t, false, upstream.Limits{Total: 5 * time.Second})}
			if !tt.alone {
				list = append(list, good.target(t, false, upstream.Limits{}))
			}
			start := time.Now()
			a, _, err := do(t, list...)
			took := time.Since(start)
			if (err == nil) != tt.ok {
				t.Fatalf("got %v", err)
			}
			if a != nil {
				a.Close()
			}
			if n := s.requests.Load(); n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
			if took < tt.atLeast || took > tt.atMost {
				t.Errorf("took %s, want %s to %s", took, tt.atLeast, tt.atMost)
			}
		})
	}
}

// keyServer notes the keys it sees and refuses those in refuse.
func keyServer(t *testing.T, refuse map[string]int) (client *upstream.Client, seen func() []string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var keys []string
	go func() { // ends with the listener
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() { // ends with its connection
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, r.Body)
					key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
					mu.Lock()
					keys = append(keys, key)
					code := refuse[key]
					mu.Unlock()
					if code != 0 {
						status(c, code)
					} else {
						plain(c, okBody)
					}
				}
			}()
		}
	}()
	t.Cleanup(func() { l.Close() })
	client, err = upstream.New(upstream.Options{Name: "fake", BaseURL: "http://" + l.Addr().String() + "/v1", Keys: []string{"a", "b", "c"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client, func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := keys
		keys = nil
		return out
	}
}

func TestKeysAreBalancedAndSetAside(t *testing.T) {
	for _, code := range []int{401, 403, 429} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			refuse := map[string]int{}
			client, seen := keyServer(t, refuse)
			target := &upstream.Target{Client: client, Request: upstream.Request{Method: "POST", Path: "/x", Body: []byte("{}")}}
			call := func() {
				t.Helper()
				a, _, err := do(t, target)
				if err != nil {
					t.Fatal(err)
				}
				a.Close()
			}
			for range 6 {
				call()
			}
			count := map[string]int{}
			for _, k := range seen() {
				count[k]++
			}
			if count["a"] != 2 || count["b"] != 2 || count["c"] != 2 {
				t.Errorf("not balanced: %v", count)
			}
			refuse["b"] = code // no request is under way
			for range 6 {
				call() // each is answered all the same
			}
			count = map[string]int{}
			for _, k := range seen() {
				count[k]++
			}
			if count["b"] != 1 || count["a"]+count["c"] != 6 {
				t.Errorf("the refused key was not set aside: %v", count)
			}
		})
	}
}

func TestCircuit(t *testing.T) {
	var mu sync.Mutex
	well := false
	bad := serve(t, func(_ int, c net.Conn) {
		mu.Lock()
		defer mu.Unlock()
		if well {
			plain(c, okBody)
			return
		}
		status(c, 503)
	})
	good := serve(t, func(_ int, c net.Conn) { plain(c, okBody) })
	first, second := bad.target(t, false, upstream.Limits{}), good.target(t, false, upstream.Limits{})
	for range 50 {
		a, _, err := do(t, first, second)
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
	}
	if n := bad.requests.Load(); n > 6 {
		t.Errorf("a provider that always fails was asked %d times of 50", n)
	}
	mu.Lock()
	well = true
	mu.Unlock()
	for end := time.Now().Add(30 * time.Second); ; {
		a, x, err := do(t, first, second)
		if err != nil {
			t.Fatal(err)
		}
		a.Close()
		if len(x.Attempts) == 1 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("not closed 30 s after the recovery")
		}
		time.Sleep(20 * time.Millisecond)
	}
	if a, _, err := do(t, first); err != nil { // alone it is asked whatever the circuit says
		t.Fatal(err)
	} else {
		a.Close()
	}
}

func TestContextLengthGoesToALargerWindow(t *testing.T) {
	short := serve(t, func(_ int, c net.Conn) {
		body := `{"error":{"code":"context_length_exceeded","message":"too long"}}`
		fmt.Fprintf(c, "HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	})
	same := serve(t, func(_ int, c net.Conn) { plain(c, okBody) })
	large := serve(t, func(_ int, c net.Conn) { plain(c, okBody) })
	windows := func(list ...int64) []*upstream.Target {
		var out []*upstream.Target
		for i, s := range []*rawServer{short, same, large} {
			target := s.target(t, false, upstream.Limits{})
			target.Window = list[i]
			out = append(out, target)
		}
		return out
	}
	a, x, err := do(t, windows(8_000, 8_000, 128_000)...)
	if err != nil {
		t.Fatal(err)
	}
	a.Close()
	if len(x.Attempts) != 2 || same.requests.Load() != 0 || large.requests.Load() != 1 {
		t.Errorf("attempts %+v", x.Attempts)
	}
	if _, _, err := do(t, windows(8_000, 8_000, 0)...); class(err) != upstream.StatusError {
		t.Errorf("no larger window: %v", err)
	}
}

func TestAmendedRequestIsTriedOnce(t *testing.T) {
	s := serve(t, func(n int, c net.Conn) {
		if n == 1 {
			body := `{"error":{"message":"unknown field stream_options"}}`
			fmt.Fprintf(c, "HTTP/1.1 400 X\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			return
		}
		plain(c, okBody)
	})
	target := s.target(t, false, upstream.Limits{Attempts: 1})
	calls := 0
	target.Request.Amend = func(f *upstream.Fault) *upstream.Request {
		calls++
		r := target.Request
		return &r
	}
	a, _, err := do(t, target)
	if err != nil || calls != 1 {
		t.Fatal(err, calls)
	}
	a.Close()
}

// A key behind JSON's escapes is a key all the same.
func TestErrorsThatHideTheKey(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":{"message":"bad key ` + testKey + `"}}`:                                    `{"error":{"message":"bad key ********************"}}`,
		`{"error":{"message":"bad key ` + strings.Replace(testKey, "-", `\u002d`, 1) + `"}}`: "",
		`{"error":{"message":"\u00fcber"}}`:                                                  `{"error":{"message":"\u00fcber"}}`,
	} {
		s := serve(t, func(_ int, c net.Conn) {
			fmt.Fprintf(c, "HTTP/1.1 400 X\r\nX-Request-Id: %s\r\nContent-Length: %d\r\n\r\n%s", testKey, len(body), body)
		})
		_, x, err := do(t, s.target(t, false, upstream.Limits{}))
		f, ok := errors.AsType[*upstream.Fault](err)
		if !ok || string(f.Body) != want || strings.Contains(fmt.Sprintf("%+v %+v", x.Attempts, f.Header), testKey) {
			t.Errorf("%s: got %q, %+v", body, f.Body, x.Attempts)
		}
	}
}
