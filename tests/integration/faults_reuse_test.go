package integration_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// reuse is about connections that are kept.
func (s *faultSuite) reuse(t *testing.T) {
	body := func(n int) string { return strings.Replace(plain, "hello", fmt.Sprintf("answer %d", n), 1) }
	kept := func(b string, fields ...string) string {
		return strings.Replace(head(append(fields, jsonType, fmt.Sprintf("Content-Length: %d", len(b)))...), "Connection: close\r\n", "", 1) + b
	}
	call := func(t *testing.T, model string) (int, string) {
		t.Helper()
		req, _ := http.NewRequest(http.MethodPost, s.url+"/v1/chat/completions", strings.NewReader(`{"model":"raw/`+model+`",`+hi+`}`))
		req.Header.Set("Authorization", "Bearer "+clientKey)
		resp, err := s.client.Do(req)
		if err != nil {
			t.Error(err)
			return 0, ""
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	numbered := func(n int, tail ...any) []play {
		var plays []play
		for i := range n {
			plays = append(plays, append(play{kept(body(i))}, tail...))
		}
		return plays
	}
	settle := func() { // what others left is found out to be closed
		time.Sleep(20 * time.Millisecond)
		call(t, "healthy")
	}
	t.Run("one connection serves many calls", func(t *testing.T) {
		s.first.set("kept", numbered(20, keep)...)
		conns := map[int]bool{}
		for i := range 20 {
			if status, got := call(t, "kept"); status != http.StatusOK || got != body(i) {
				t.Fatalf("call %d: %d %s", i, status, got)
			}
		}
		for _, r := range s.first.of("kept") {
			conns[r.conn] = true
		}
		if len(conns) > 2 {
			t.Errorf("%d connections", len(conns))
		}
	})
	t.Run("closed behind each answer", func(t *testing.T) {
		settle()
		s.first.set("stale", numbered(60)...)
		for i := range 60 {
			if status, got := call(t, "stale"); status != http.StatusOK || got != body(i) {
				t.Fatalf("call %d: %d %s", i, status, got)
			}
		}
	})
	t.Run("closed behind each answer, many at once", func(t *testing.T) {
		settle()
		s.first.set("stales", play{kept(plain)})
		var all sync.WaitGroup
		failed := make(chan string, 400)
		for range 16 {
			all.Go(func() { // until its calls are answered
				for range 20 {
					if status, got := call(t, "stales"); status != http.StatusOK {
						failed <- fmt.Sprint(status, got)
					}
				}
			})
		}
		all.Wait()
		if n := len(failed); n > 0 {
			t.Errorf("%d of 320 calls failed, such as: %s", n, <-failed)
		}
	})
	t.Run("all closed at once", func(t *testing.T) {
		settle()
		for range 5 {
			settle()
			s.first.set("pooled", play{50 * time.Millisecond, kept(plain), keep})
			var all sync.WaitGroup
			for range 20 {
				all.Go(func() { call(t, "pooled") }) // until it is answered
			}
			all.Wait()
			s.first.mu.Lock()
			for c := range s.first.conns {
				_ = c.Close()
			}
			s.first.mu.Unlock()
			for range 3 {
				if status, got := call(t, "pooled"); status != http.StatusOK {
					t.Fatalf("%d %s", status, got)
				}
			}
		}
	})
	t.Run("an answer that nobody asked for", func(t *testing.T) {
		settle()
		evil := kept(strings.Replace(plain, "hello", "poison", 1))
		for name, extra := range map[string][]any{"with the first": {evil, keep}, "a millisecond later": {time.Millisecond, evil, keep}} {
			for range 20 {
				settle()
				s.first.set("poison", append(play{kept(plain)}, extra...))
				if status, got := call(t, "poison"); status != http.StatusOK || got != plain {
					t.Fatalf("%s: the call itself: %d %s", name, status, got)
				}
				time.Sleep(3 * time.Millisecond)
				s.first.set("next", play{http1("200 OK", plain)})
				if status, got := call(t, "next"); status != http.StatusOK || got != plain {
					t.Fatalf("%s: the next call got %d %s", name, status, got)
				}
			}
		}
	})
	t.Run("length and chunked are not kept", func(t *testing.T) {
		settle()
		s.first.set("both", play{strings.Replace(head(jsonType, "Content-Length: 7", chunked), "Connection: close\r\n", "", 1), chunk(plain), lastly, keep})
		call(t, "both")
		call(t, "both")
		if seen := s.first.of("both"); len(seen) != 2 || seen[0].conn == seen[1].conn {
			t.Errorf("a connection whose framing is in doubt was used again (RFC 9112, 6.1)")
		}
	})
	t.Run("stream is not kept with junk", func(t *testing.T) {
		settle()
		junk := strings.Replace(sseChunked, "Connection: close\r\n", "", 1)
		s.first.set("junk", play{junk, chunk(whole), lastly + kept(strings.Replace(plain, "hello", "poison", 1)), keep})
		for range 10 {
			settle()
			_ = exchange(address(s.port), s.post("/v1/chat/completions", `{"model":"raw/junk","stream":true,`+hi+`}`))
			if _, got := call(t, "healthy"); got != plain {
				t.Fatalf("the next call got %s", got)
			}
		}
	})
}

// fullListener is an address at which connecting takes for ever: its queue is full.
func fullListener(t testing.TB) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	at := address(name.(*syscall.SockaddrInet4).Port)
	for range 16 {
		c, err := net.DialTimeout("tcp", at, 100*time.Millisecond)
		if err != nil {
			return at
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	t.Skip("the queue of a listener does not fill here")
	return ""
}

// unreachable asks providers that cannot be connected.
func (s *faultSuite) unreachable(t *testing.T) {
	for provider, within := range map[string]time.Duration{"refusing": time.Second, "full": 2*limit.connect + time.Second} {
		for _, stream := range []string{"", `,"stream":true`} {
			if provider == "full" && stream == "" {
				continue
			}
			r := exchange(address(s.port), s.post("/v1/chat/completions", `{"model":"`+provider+`/m"`+stream+`,`+hi+`}`))
			if r.status != http.StatusBadGateway || r.took > within {
				t.Errorf("%s: %d after %s: %.300q", provider, r.status, r.took, r.body)
			}
			r.mustBeError(t, r.body, "upstream_connect")
			_, tr := s.record(r.header.Get("X-Request-Id"))
			if tr.Status != "error" || tr.ErrorClass != "connect" || tr.Attempts != 2 {
				t.Errorf("%s: trace %+v", provider, tr)
			}
			if strings.Contains(r.body, "127.0.0.1") {
				t.Errorf("the caller got the provider's address: %s", r.body)
			}
		}
	}
}

// manyLines sends an event of very many lines in very small pieces: what it
// costs must grow with its size, and not with the square of it.
func (s *faultSuite) manyLines(t *testing.T) {
	event := "data: {\"id\":\"c1\",\n" + strings.Repeat("data:\n", 150_000) + "data: \"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
	s.first.set("many-lines", play{sse, func(w io.Writer) {
		for i := 0; i < len(event); i += 512 {
			if _, err := io.WriteString(w, event[i:min(i+512, len(event))]); err != nil {
				return
			}
			time.Sleep(500 * time.Microsecond)
		}
	}, stop + done})
	before := s.processorTime()
	r := exchange(address(s.port), s.post("/v1/chat/completions", `{"model":"raw/many-lines","stream":true,`+hi+`}`))
	if used := s.processorTime() - before; used > 700*time.Millisecond {
		t.Errorf("%d bytes took %s of processor time", len(event), used)
	}
	if r.status != http.StatusOK && r.status < 500 {
		t.Errorf("%d after %s, %d bytes", r.status, r.took, len(r.body))
	}
}

// processorTime is what the process has used so far.
func (s *faultSuite) processorTime() time.Duration {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.cmd.Process.Pid))
	if err != nil {
		s.Skip("needs /proc")
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * 10 * time.Millisecond
}
