package integration_test

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// goneFault is a caller who leaves.
type goneFault struct {
	name     string
	plays    []play
	stream   bool
	fallback bool
	after    string        // what the caller waits for before leaving; "": nothing
	stay     time.Duration // and then for how long
	reset    bool
	asked    int
	produced bool // something of the answer, which has to be accounted
}

func goneFaults() []goneFault {
	begun := role + delta("hello there")
	partial := head(jsonType, "Content-Length: 5000") + plain[:100]
	return []goneFault{
		{name: "before headers", plays: []play{{hang}}, stay: 200 * time.Millisecond, asked: 1},
		{name: "before headers, reset", plays: []play{{hang}}, stay: 200 * time.Millisecond, reset: true, asked: 1},
		{name: "before headers of a stream", stream: true, plays: []play{{hang}}, stay: 200 * time.Millisecond, asked: 1},
		{name: "within the answer", plays: []play{{partial, hang}}, stay: 200 * time.Millisecond, asked: 1},
		{name: "before the first content", stream: true, plays: []play{{sse, role, hang}}, stay: 200 * time.Millisecond, asked: 1},
		{name: "within a silent stream", stream: true, plays: []play{{sse, begun, hang}}, after: "hello there", stay: 100 * time.Millisecond, asked: 1, produced: true},
		{name: "within a silent stream, reset", stream: true, plays: []play{{sse, begun, hang}}, after: "hello there", stay: 100 * time.Millisecond, reset: true, asked: 1, produced: true},
		{name: "within a busy stream", stream: true, plays: []play{{sse, begun, repeatedly(delta("more"), time.Millisecond)}}, after: "hello there", stay: 100 * time.Millisecond, asked: 1, produced: true},
		{name: "within a stream and unread", stream: true, plays: []play{{sse, repeatedlyLarge()}}, stay: 500 * time.Millisecond, reset: true, asked: 1, produced: true},
		{name: "between two attempts", plays: []play{{http1("429 Slow", errorBody, "Retry-After: 1")}}, stay: 400 * time.Millisecond, asked: 1},
		{name: "before the fallback", fallback: true, plays: []play{{hang}}, stay: 200 * time.Millisecond, asked: 1},
	}
}

// gone lets callers leave, all at once.
func (s *faultSuite) gone(t *testing.T) {
	cases := goneFaults()
	left := make([]time.Time, len(cases))
	var all sync.WaitGroup
	for i, c := range cases {
		all.Go(func() { // until the caller has left
			model, stream := "raw/"+c.model(), ""
			if c.fallback {
				model = "fb-" + c.model()
			}
			if c.stream {
				stream = `,"stream":true`
			}
			conn, err := net.Dial("tcp", address(s.port))
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, s.post("/v1/chat/completions", `{"model":"`+model+`"`+stream+`,`+hi+`}`, "LLM-User: "+c.model()))
			var got []byte
			buf := make([]byte, 4096)
			_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
			for c.after != "" && !bytes.Contains(got, []byte(c.after)) {
				n, err := conn.Read(buf)
				got = append(got, buf[:n]...)
				if err != nil {
					break
				}
			}
			time.Sleep(c.stay)
			if c.reset {
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
			left[i] = time.Now()
			_ = conn.Close()
		})
	}
	all.Wait()
	time.Sleep(1200 * time.Millisecond) // what must not happen would by now
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			seen := s.first.of(c.model())
			if len(seen) != c.asked {
				t.Errorf("the provider was asked %d times, want %d", len(seen), c.asked)
			}
			if len(s.other.of(c.model())) > 0 {
				t.Error("the fallback was asked for nobody")
			}
			for _, r := range seen {
				select {
				case <-r.next:
					if late := r.goneAt.Sub(left[i]); r.gone == nil || late > time.Second {
						t.Errorf("the provider was left %s after the caller had gone", late)
					}
				default:
					t.Error("the provider is still being read")
				}
			}
			record, tr := s.byUser(c.model())
			if record == "" {
				t.Fatal("there is no trace")
			}
			if tr.Status != "cancelled" || tr.Attempts != c.asked {
				t.Errorf("trace: %s %q, %d attempts; want cancelled", tr.Status, tr.ErrorClass, tr.Attempts)
			}
			if c.produced && (tr.Usage == nil || !tr.Usage.Estimated || tr.Usage.Output == 0) {
				t.Errorf("trace: what was produced is not accounted: %+v", tr.Usage)
			}
		})
	}
	t.Run("during the upload", func(t *testing.T) {
		asked := s.first.total()
		conn, err := net.Dial("tcp", address(s.port))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, bare(postLine, `{"model":"raw/`, withKey, "Content-Length: 100000", "LLM-User: gone-in-upload"))
		time.Sleep(100 * time.Millisecond)
		_ = conn.Close()
		record, tr := s.byUser("gone-in-upload")
		if record == "" || tr.Status != "cancelled" {
			t.Errorf("trace: %q %q %d, want cancelled", tr.Status, tr.ErrorClass, tr.HTTPStatus)
		}
		if n := s.first.total(); n != asked {
			t.Errorf("the provider was asked %d times", n-asked)
		}
	})
}

func (c *goneFault) model() string { return "gone-" + modelName(c.name) }

// slowReader reads nothing for longer than any limit, and then everything.
func (s *faultSuite) slowReader(t *testing.T) {
	const events = 400
	event := delta(strings.Repeat("s", 60<<10))
	s.first.set("slow-reader", play{sse, func(w io.Writer) {
		for range events {
			if _, err := io.WriteString(w, event); err != nil {
				return
			}
		}
	}, stop + done})
	before := s.resident()
	conn, err := net.Dial("tcp", address(s.port))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetReadBuffer(64 << 10)
	_, _ = io.WriteString(conn, s.post("/v1/chat/completions", `{"model":"raw/slow-reader","stream":true,`+hi+`}`))
	time.Sleep(limit.idle + limit.firstToken + 500*time.Millisecond)
	if grown := s.resident() - before; grown > 32<<20 {
		t.Errorf("a caller who does not read costs %d MiB", grown>>20)
	}
	_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var r reply
	if r.raw, err = io.ReadAll(conn); err != nil {
		t.Error(err)
	}
	r.parse()
	if want := events*len(event) + len(stop+done); len(r.body) != want || !strings.HasSuffix(r.body, stop+done) {
		t.Errorf("%d bytes, want %d; ends in %s", len(r.body), want, excerpt(r.body[max(len(r.body)-400, 0):]))
	}
}

// crowd sends more calls at once than may be under way.
func (s *faultSuite) crowd(t *testing.T) {
	const most, callers = 200, 1000 // as in faultConfig
	s.first.set("crowd", play{850 * time.Millisecond, http1("200 OK", plain)})
	request := []byte(s.post("/v1/chat/completions", `{"model":"raw/crowd",`+hi+`}`))
	conns := make([]net.Conn, callers)
	for i := range conns {
		c, err := net.Dial("tcp", address(s.port))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		conns[i] = c
	}
	replies := make([]reply, callers)
	var all sync.WaitGroup
	for i, c := range conns {
		all.Go(func() { // until it is answered
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			_, _ = c.Write(request)
			buf := make([]byte, 4096)
			for {
				n, err := c.Read(buf)
				replies[i].raw = append(replies[i].raw, buf[:n]...)
				if err != nil {
					break
				}
			}
			replies[i].parse()
		})
	}
	time.Sleep(400 * time.Millisecond) // the crowd has been let in, or not
	for range 10 {
		if r := exchange(address(s.port), string(request)); r.status != http.StatusTooManyRequests || r.toFirst > 50*time.Millisecond {
			t.Errorf("another call, meanwhile: %d after %s", r.status, r.toFirst)
		}
	}
	all.Wait()
	count := map[int]int{}
	for i := range replies {
		r := &replies[i]
		count[r.status]++
		if r.status == http.StatusTooManyRequests {
			if r.header.Get("Retry-After") == "" {
				t.Fatalf("no Retry-After: %q", r.raw)
			}
			r.mustBeError(t, r.body, "overloaded")
		}
	}
	if count[200] < most || count[200]+count[429] != callers || len(s.first.of("crowd")) != count[200] {
		t.Errorf("%v, and %d at the provider; want %d answers, the others refused", count, len(s.first.of("crowd")), most)
	}
	if r := exchange(address(s.port), s.post("/v1/chat/completions", `{"model":"raw/healthy",`+hi+`}`)); r.status != http.StatusOK {
		t.Errorf("afterwards: %d %q", r.status, r.body)
	}
}
