package integration_test

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	providerKey = "sk-provider-0f1e2d3c4b5a69788796a5b4"
	secondKey   = "sk-second-aa55aa55aa55aa55aa55aa55"
	clientKey   = "sk-client-00112233445566778899aabb"
)

// anything is a body that is checked otherwise.
const anything = "*"

// fault is a way in which a provider misbehaves, and what is to become of it.
type fault struct {
	name     string
	plays    []play // by attempt; the last one is repeated
	path     string // "": chat completions
	stream   bool
	extra    string // more members of the request, each with a comma before it
	fallback bool   // the route has a variant at a second provider
	passing  bool   // by the site that passes other paths through

	status   int           // 0: 200
	code     string        // of the error, or of the error event that ends the stream
	body     string        // exact; of a stream that is cut, what comes before the error event
	attempts int           // at the provider; 0: one
	least    time.Duration // between two attempts
	most     time.Duration // likewise; 0: a second
	within   time.Duration // the whole call; 0: 2 s
	class    string        // of the trace; "" when all is well
	also     func(t *testing.T, o *outcome)
}

// outcome is what became of it.
type outcome struct {
	answer  reply
	sent    string
	seen    []*seen // by the provider, in order
	second  []*seen
	trace   faultTrace
	record  string // the trace, as the admin API has it
	healthy reply
}

type faultTrace struct {
	Status     string
	HTTPStatus int    `json:"http_status"`
	ErrorClass string `json:"error_class"`
	Finish     string `json:"finish_reason"`
	Attempts   int
	Usage      *struct {
		Input     int64 `json:"input_tokens"`
		Output    int64 `json:"output_tokens"`
		Estimated bool
	}
	Spans []struct {
		Provider   string
		HTTPStatus int    `json:"http_status"`
		ErrorClass string `json:"error_class"`
		Message    string
	}
}

// reply is what a caller on a bare socket got.
type reply struct {
	raw     []byte
	err     error // of the connection, or of the answer's framing
	status  int
	header  http.Header
	body    string
	took    time.Duration
	toFirst time.Duration // until the first byte
}

// faultLimits are the limits of time of the suite's gateway. With
// FRONTIER_FAULTS=real they are what deployments have.
type faultLimits struct{ connect, header, firstToken, idle, readHeader, readBody time.Duration }

func limitsOfFaults() faultLimits {
	if os.Getenv("FRONTIER_FAULTS") == "real" {
		return faultLimits{2 * time.Second, 3 * time.Second, 3 * time.Second, 3 * time.Second, 5 * time.Second, 5 * time.Second}
	}
	return faultLimits{time.Second, time.Second, time.Second, time.Second, 2 * time.Second, 2 * time.Second}
}

var limit = limitsOfFaults()

// faultSuite is one gateway with two providers on bare sockets.
type faultSuite struct {
	*gateway
	limits  faultLimits
	first   *rawProvider
	other   *rawProvider
	full    string // address of a provider that takes no connection
	limited int    // port of a site that only passes through
}

func newFaultSuite(t testing.TB, cases []fault) *faultSuite {
	t.Helper()
	s := &faultSuite{gateway: newGateway(t), limits: limit, limited: freePort(t)}
	s.first = newRawProvider(t, func(b []byte) play { return wellBehaved(b, plain, whole) })
	s.other = newRawProvider(t, func(b []byte) play { return wellBehaved(b, second, secondWhole) })
	var routes strings.Builder
	for _, c := range cases {
		if c.plays != nil {
			s.first.plays[modelName(c.name)] = c.plays
		}
		if c.fallback {
			routes.WriteString(routeWithFallback(modelName(c.name)))
		}
	}
	s.full = fullListener(t)
	for _, c := range goneFaults() {
		s.first.plays[c.model()] = c.plays
		if c.fallback {
			routes.WriteString(routeWithFallback(c.model()))
		}
	}
	s.start(s.faultConfig(routes.String()))
	return s
}

func routeWithFallback(model string) string {
	return fmt.Sprintf("route fb-%s {\nvariant a raw/%s {\nweight 100\n}\nvariant b second/%s {\nweight 0\n}\nfallback b\n}\n", model, model, model)
}

func (s *faultSuite) faultConfig(routes string) string {
	l := s.limits
	provider := func(name, addr, key string) string {
		return fmt.Sprintf(`provider %s {
			dialect openai
			base_url http://%s/v1
			api_key %s
			connect_timeout %s
			header_timeout %s
			first_token_timeout %s
			idle_timeout %s
			timeout 30s
			attempts 2
			max_response 32MiB
		}
		`, name, addr, key, l.connect, l.header, l.firstToken, l.idle)
	}
	return fmt.Sprintf(`{
	admin %s
	servers {
		timeouts {
			read_header %s
			read_body %s
		}
	}
	llm {
		data_dir %s
		%s%s%s%s
		client_key caller sha256:%x
		limits {
			max_body 10MiB
			max_in_flight 200
		}
	}
}
http://:%d {
	llm
}
http://:%d {
	llm raw
}
`, address(s.admin), l.readHeader, l.readBody, s.data,
		provider("raw", s.first.Addr().String(), providerKey), provider("second", s.other.Addr().String(), secondKey),
		provider("refusing", address(freePort(s)), providerKey)+provider("full", s.full, providerKey), routes, sha256.Sum256([]byte(clientKey)), s.port, s.limited)
}

// modelName is a case's name as a model.
func modelName(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(name))
}

// hostile are header fields that no provider may see.
const hostile = "Cookie: session=caller-cookie\r\nAccept-Encoding: gzip, br\r\nX-Hop: hop-by-hop\r\nTE: trailers\r\nProxy-Authorization: Basic Y2FsbGVy\r\n" +
	"X-Forwarded-Host: evil.example\r\nForwarded: host=evil.example\r\nKeep-Alive: timeout=5\r\nOpenAI-Organization: org-of-caller\r\n"

// post is a request in bytes, from a caller that closes the connection afterwards.
func (s *faultSuite) post(path, body string, header ...string) string {
	h := "POST " + path + " HTTP/1.1\r\nHost: " + address(s.port) + "\r\nContent-Type: application/json\r\nAuthorization: Bearer " + clientKey +
		"\r\nConnection: close, X-Hop\r\n" + hostile
	for _, f := range header {
		h += f + "\r\n"
	}
	return h + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body
}

// exchange sends bytes and reads until the gateway closes.
func exchange(address string, steps ...any) (r reply) {
	begun := time.Now()
	c, err := net.Dial("tcp", address)
	if err != nil {
		return reply{err: err}
	}
	defer c.Close()
	_ = c.SetDeadline(begun.Add(40 * time.Second))
	var sent sync.WaitGroup
	sent.Go(func() { // until all is sent, or the connection is closed
		for _, step := range steps {
			switch step := step.(type) {
			case string:
				if _, err := io.WriteString(c, step); err != nil {
					return
				}
			case time.Duration:
				time.Sleep(step)
			case act: // a half-closed caller is one who is gone
				_ = c.Close()
			}
		}
	})
	buf := make([]byte, 32<<10)
	for {
		n, err := c.Read(buf)
		if n > 0 && r.raw == nil {
			r.toFirst = time.Since(begun)
		}
		r.raw = append(r.raw, buf[:n]...)
		if err != nil {
			if err != io.EOF {
				r.err = err
			}
			break
		}
	}
	r.took = time.Since(begun)
	_ = c.Close()
	sent.Wait()
	r.parse()
	return r
}

func (r *reply) parse() {
	br := bufio.NewReader(bytes.NewReader(r.raw))
	resp, err := http.ReadResponse(br, &http.Request{Method: http.MethodPost})
	for err == nil && resp.StatusCode == http.StatusContinue {
		resp, err = http.ReadResponse(br, &http.Request{Method: http.MethodPost})
	}
	if err != nil {
		r.err = fmt.Errorf("%w (%w): %.200q", err, r.err, r.raw)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil && r.err == nil {
		r.err = err
	}
	r.status, r.header, r.body = resp.StatusCode, resp.Header, string(body)
}

// play lets every case happen, many at once: most of them wait.
func (s *faultSuite) play(cases []fault) []outcome {
	out := make([]outcome, len(cases))
	slots := make(chan struct{}, 24)
	var all sync.WaitGroup
	for i := range cases {
		all.Go(func() { // until its case is over
			slots <- struct{}{}
			defer func() { <-slots }()
			s.happen(&cases[i], &out[i])
		})
	}
	all.Wait()
	return out
}

func (s *faultSuite) happen(c *fault, o *outcome) {
	name := modelName(c.name)
	model := "raw/" + name
	if c.fallback {
		model = "fb-" + name
	}
	path := c.path
	if path == "" {
		path = "/v1/chat/completions"
	}
	stream := ""
	if c.stream {
		stream = `,"stream":true`
	}
	input := `"messages":[{"role":"user","content":"hi"}]`
	if path == "/v1/responses" {
		input = `"input":"hi"`
	}
	o.sent = `{"model":"` + model + `"` + stream + `,` + input + c.extra + `}`
	port := s.port
	if c.passing {
		port, path = s.limited, "/v1/moderations"
		o.sent = `{"model":"` + name + `","input":"hi"}`
	}
	o.answer = exchange(address(port), s.post(path, o.sent))
	o.healthy = exchange(address(s.port), s.post("/v1/chat/completions", `{"model":"raw/healthy","messages":[{"role":"user","content":"hi"}]}`))
	o.seen, o.second = s.first.of(name), s.other.of(name)
	if id := o.answer.header.Get("X-Request-Id"); id != "" {
		o.record, o.trace = s.record(id)
	}
}

// record reads a trace when it is there. One that is called damaged is read
// again: noDamage is about those.
func (s *faultSuite) record(id string) (raw string, t faultTrace) {
	for range 300 {
		var m json.RawMessage
		status, _, err := s.tryAPI(http.MethodGet, "/traces/"+id, nil, &m)
		if err == nil && status == http.StatusOK && json.Unmarshal(m, &t) == nil && t.Status != "" {
			return string(m), t
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "", t
}

// TestFaults lets providers misbehave in every way, all at one gateway.
func TestFaults(t *testing.T) {
	long(t)
	tables := []struct {
		name  string
		cases []fault
	}{
		{"status", statusFaults()},
		{"connection", connectionFaults()},
		{"head", headFaults()},
		{"body", bodyFaults()},
		{"stream", streamFaults()},
		{"cut", cutFaults()},
		{"responses", responsesFaults()},
		{"secret", secretFaults()},
		{"fallback", fallbackFaults()},
		{"passing", passingFaults()},
	}
	var cases []fault
	names := map[string]bool{}
	for i := range tables {
		for j := range tables[i].cases {
			c := &tables[i].cases[j]
			c.name = tables[i].name + " " + c.name
			if names[modelName(c.name)] {
				t.Fatalf("two cases are called %s", c.name)
			}
			names[modelName(c.name)] = true
		}
		cases = append(cases, tables[i].cases...)
	}
	s := newFaultSuite(t, cases)
	idle := s.figures()
	begun := time.Now()
	outcomes := s.play(cases)
	t.Logf("%d faults took %s", len(cases), time.Since(begun).Round(time.Millisecond))
	for i := range cases {
		t.Run(cases[i].name, func(t *testing.T) { cases[i].check(t, s, &outcomes[i]) })
	}
	t.Run("clients", s.clients)
	t.Run("gone", s.gone)
	t.Run("slow reader", s.slowReader)
	t.Run("crowd", s.crowd)
	t.Run("unreachable", s.unreachable)
	t.Run("an event of many lines", s.manyLines)
	t.Run("reuse", s.reuse)
	t.Run("traces and log have no key", s.noKeys)
	t.Run("no trace is damaged", func(t *testing.T) {
		if n := strings.Count(s.log.String(), "damaged trace data"); n > 0 {
			t.Errorf("%d times in the log; nothing has damaged them", n)
		}
	})
	t.Run("nothing is left running", func(t *testing.T) {
		eventually(t, 5*time.Second, "the goroutines to end", func() bool {
			s.client.CloseIdleConnections()
			return s.figures().goroutines <= idle.goroutines+10
		})
	})
}

// noKeys looks at everything that is kept.
func (s *faultSuite) noKeys(t *testing.T) {
	s.settled()
	log := s.log.String()
	for _, key := range []string{providerKey, secondKey, clientKey} {
		if i := strings.Index(log, key); i >= 0 {
			t.Errorf("the log has a key: …%s…", log[max(i-200, 0):min(i+200, len(log))])
		}
	}
	levels := map[string]int{}
	for line := range strings.Lines(log) {
		var l struct{ Level, Logger, Msg string }
		if json.Unmarshal([]byte(line), &l) == nil && (l.Level == "error" || l.Level == "warn") {
			levels[l.Level+" "+l.Logger+": "+l.Msg]++
		}
	}
	for _, k := range slices.Sorted(func(yield func(string) bool) {
		for k := range levels {
			if !yield(k) {
				return
			}
		}
	}) {
		t.Logf("%d × %s", levels[k], k)
	}
}
