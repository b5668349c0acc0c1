package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// play is what a provider does when it is asked: a string is sent as it is, a
// chunk is sent as one of chunked coding, a time.Duration is a pause, a
// func() string is sent when its turn comes, and a func(io.Writer) writes what
// it likes. At its end the connection is closed, unless an act says otherwise.
type play []any

type chunk string

// patience is how long a provider goes on with what never ends.
var patience = 3*limit.idle + 4*time.Second

type act uint8

const (
	hang   act = iota + 1 // say nothing more until the gateway goes away
	reset                 // close with RST
	keep                  // take another request on the connection
	early                 // first: answer before the body is read
	linger                // read what still comes, then close
)

// seen is a request that a provider got.
type seen struct {
	at     time.Time
	head   string
	body   []byte
	conn   int
	next   chan struct{} // closed when the gateway has sent more, or has gone
	gone   error         // why it went; nil: it did not
	goneAt time.Time
}

func (s *seen) field(name string) (values []string) {
	for line := range strings.SplitSeq(s.head, "\r\n") {
		if n, v, ok := strings.Cut(line, ":"); ok && strings.EqualFold(n, name) {
			values = append(values, strings.TrimSpace(v))
		}
	}
	return values
}

// rawProvider is a provider on a bare socket. What it does depends on the
// model that it is asked for, and on how often it has been asked for it.
type rawProvider struct {
	net.Listener
	mu        sync.Mutex
	plays     map[string][]play
	otherwise func(body []byte) play
	requests  map[string][]*seen
	conns     map[net.Conn]bool
	accepted  int
	all       sync.WaitGroup
}

func newRawProvider(t testing.TB, otherwise func(body []byte) play) *rawProvider {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &rawProvider{Listener: l, plays: map[string][]play{}, otherwise: otherwise, requests: map[string][]*seen{}, conns: map[net.Conn]bool{}}
	p.all.Go(p.accept) // until the listener is closed, below
	t.Cleanup(func() {
		_ = l.Close()
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close()
		}
		p.mu.Unlock()
		p.all.Wait()
	})
	return p
}

func (p *rawProvider) accept() {
	for {
		c, err := p.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.accepted++
		id := p.accepted
		p.conns[c] = true
		p.mu.Unlock()
		p.all.Go(func() { // until the connection is closed
			p.serve(c, id)
			_ = c.Close()
			p.mu.Lock()
			delete(p.conns, c)
			p.mu.Unlock()
		})
	}
}

// set tells the provider what to do from now on.
func (p *rawProvider) set(model string, plays ...play) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.plays[model] = plays
	p.requests[model] = nil
}

func (p *rawProvider) of(model string) []*seen {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*seen(nil), p.requests[model]...)
}

func (p *rawProvider) total() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range p.requests {
		n += len(r)
	}
	return n
}

var modelOf = regexp.MustCompile(`"model":"([^"]*)"`)

func (p *rawProvider) serve(c net.Conn, id int) {
	br := bufio.NewReader(c)
	for {
		s := &seen{conn: id, next: make(chan struct{})}
		var head strings.Builder
		for {
			line, err := br.ReadString('\n')
			if err != nil {
				return
			}
			if line == "\r\n" {
				break
			}
			head.WriteString(line)
		}
		s.at, s.head = time.Now(), head.String()
		length := 0
		if f := s.field("Content-Length"); len(f) > 0 {
			length, _ = strconv.Atoi(f[0])
		}
		start, err := br.Peek(min(length, 256))
		if err != nil {
			return
		}
		model := ""
		if m := modelOf.FindSubmatch(start); m != nil {
			model = string(m[1])
		}
		p.mu.Lock()
		n := len(p.requests[model])
		p.requests[model] = append(p.requests[model], s)
		plays := p.plays[model]
		p.mu.Unlock()
		var todo play
		if len(plays) > 0 {
			todo = plays[min(n, len(plays)-1)]
		}
		isEarly := len(todo) > 0 && todo[0] == early
		if !isEarly {
			body := make([]byte, length)
			if _, err := io.ReadFull(br, body); err != nil {
				p.mu.Lock()
				s.gone, s.goneAt = err, time.Now()
				p.mu.Unlock()
				close(s.next)
				return
			}
			p.mu.Lock()
			s.body = body
			p.mu.Unlock()
			if plays == nil {
				todo = p.otherwise(body)
			}
			p.all.Go(func() { // until the gateway sends or goes, or the connection is closed
				_, err := br.Peek(1)
				p.mu.Lock()
				s.gone, s.goneAt = err, time.Now()
				p.mu.Unlock()
				close(s.next)
			})
		}
		if !p.perform(c, br, s, todo) {
			return
		}
	}
}

// perform reports whether another request may come on the connection.
func (p *rawProvider) perform(c net.Conn, br *bufio.Reader, s *seen, todo play) bool {
	for _, step := range todo {
		var err error
		switch step := step.(type) {
		case string:
			_, err = io.WriteString(c, step)
		case chunk:
			_, err = fmt.Fprintf(c, "%x\r\n%s\r\n", len(step), step)
		case time.Duration:
			time.Sleep(step)
		case func() string:
			_, err = io.WriteString(c, step())
		case func(io.Writer):
			step(c)
		case act:
			switch step {
			case early:
			case hang:
				select {
				case <-s.next:
				case <-time.After(patience):
				}
				return false
			case reset:
				_ = c.(*net.TCPConn).SetLinger(0)
				return false
			case linger:
				_ = c.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, br)
				return false
			case keep:
				<-s.next
				p.mu.Lock()
				defer p.mu.Unlock()
				return s.gone == nil
			}
		default:
			panic(fmt.Sprintf("a step of type %T", step))
		}
		if err != nil {
			return false
		}
	}
	return false
}

// http1 is an answer with its length, of a provider that closes afterwards.
func http1(status, body string, header ...string) string {
	h := "HTTP/1.1 " + status + "\r\nConnection: close\r\n"
	typed := false
	for _, f := range header {
		h += f + "\r\n"
		typed = typed || strings.HasPrefix(f, "Content-Type")
	}
	if !typed {
		h += "Content-Type: application/json\r\n"
	}
	return h + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// head is a status 200 and these fields, without any framing of the body.
func head(fields ...string) string {
	return "HTTP/1.1 200 OK\r\nConnection: close\r\n" + strings.Join(append(fields, "", ""), "\r\n")
}

const (
	jsonType = "Content-Type: application/json"
	chunked  = "Transfer-Encoding: chunked"
	lastly   = "0\r\n\r\n"

	sse        = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
	sseChunked = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"

	plain  = `{"id":"c1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"hello"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}`
	second = `{"id":"c2","object":"chat.completion","created":1,"model":"m2","choices":[{"index":0,"message":{"role":"assistant","content":"from the second"},"finish_reason":"stop"}],"usage":{"prompt_tokens":3,"completion_tokens":4,"total_tokens":7}}`

	before = `data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[`
	role   = before + `{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}` + "\n\n"
	stop   = before + `{"index":0,"delta":{},"finish_reason":"stop"}]}` + "\n\n"
	usage  = before + `],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}` + "\n\n"
	done   = "data: [DONE]\n\n"
)

// delta is an event with some content.
func delta(content string) string {
	return before + `{"index":0,"delta":{"content":"` + content + `"},"finish_reason":null}]}` + "\n\n"
}

var (
	whole       = role + delta("hel") + delta("lo") + stop + done
	secondWhole = role + delta("from the second") + stop + done
)

// wellBehaved answers every call as it should be answered.
func wellBehaved(body []byte, answer, stream string) play {
	if strings.Contains(string(body), `"stream":true`) {
		return play{sse, stream}
	}
	return play{http1("200 OK", answer)}
}
