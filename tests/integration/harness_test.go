package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/fakeprovider"
)

var built struct {
	sync.Once
	dir, path string
	err       error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
	os.Exit(code)
}

// caddyBinary builds Caddy with Frontier, once a run, with the flags that the
// rest of the project is built with. FRONTIER_CADDY names one that is there
// already, such as one that was built with -race.
func caddyBinary(t testing.TB) string {
	t.Helper()
	built.Do(func() {
		if built.path = os.Getenv("FRONTIER_CADDY"); built.path != "" {
			return
		}
		if built.dir, built.err = os.MkdirTemp("", "frontier-integration"); built.err != nil {
			return
		}
		built.path = filepath.Join(built.dir, "caddy")
		out, err := exec.Command("go", "build", "-trimpath", "-tags", "nobadger,nomysql,nopgx", "-o", built.path, "./caddy").CombinedOutput()
		if err != nil {
			built.err = fmt.Errorf("building caddy: %w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.path
}

var handedOut sync.Map

// freePort returns a port below those that the kernel hands out, so that no
// outgoing connection takes it before it is listened on.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 20_000 + rand.IntN(12_000)
		if _, taken := handedOut.LoadOrStore(port, true); taken {
			continue
		}
		if l, err := net.Listen("tcp", address(port)); err == nil {
			_ = l.Close()
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// lockedBuffer collects the log of a process.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// gateway is one Caddy process, with a home, ports and a data directory of its own.
type gateway struct {
	testing.TB
	home     string
	data     string
	port     int
	admin    int
	url      string
	provider *fakeprovider.Provider
	upstream string // URL of the provider
	log      *lockedBuffer
	client   *http.Client
	again    atomic.Int64 // calls that were made again, see send
	env      []string     // more of the process's environment

	cmd    *exec.Cmd
	exited chan error
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	caddyBinary(t)
	home := t.TempDir()
	g := &gateway{
		TB: t, home: home, data: filepath.Join(home, "data"), port: freePort(t), admin: freePort(t),
		provider: new(fakeprovider.Provider), log: new(lockedBuffer), client: newClient(),
	}
	g.url = "http://" + address(g.port)
	server := httptest.NewServer(g.provider)
	g.upstream = server.URL
	t.Cleanup(func() {
		g.kill()
		server.CloseClientConnections()
		server.Close()
		for _, bad := range []string{"DATA RACE", "panic", "goroutine stack exceeds"} {
			if log := g.log.String(); strings.Contains(log, bad) {
				t.Errorf("the process's log has %q", bad)
			}
		}
		if t.Failed() {
			var kept []string
			for line := range strings.Lines(g.log.String()) {
				if !strings.Contains(line, `"msg":"received request"`) {
					kept = append(kept, line)
				}
			}
			log := strings.Join(kept, "")
			if len(log) > 20_000 {
				log = "…" + log[len(log)-20_000:]
			}
			t.Log(log)
		}
	})
	return g
}

func newClient() *http.Client {
	return &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}, Timeout: time.Minute}
}

// config is a Caddyfile: options of the global option llm, and a site.
func (g *gateway) config(options, site string) string {
	return fmt.Sprintf(`
{
	admin %s
	llm {
		provider openai {
			base_url %s/v1
			api_key sk-test
		}
		%s
	}
}
%s {
	%s
}
`, address(g.admin), g.upstream, options, g.url, site)
}

// standard is the configuration that most tests start with: a route of two
// variants, one that binds prompts, and one to any model.
func (g *gateway) standard(options string) string {
	return g.standardIn(g.data, options, "95", "5")
}

func (g *gateway) standardIn(data, options, stable, candidate string) string {
	return g.config(fmt.Sprintf(`data_dir %s
		route split {
			variant stable openai/gpt-4 {
				weight %s
			}
			variant candidate openai/gpt-4o-mini {
				weight %s
			}
			sticky request
		}
		route conversations {
			variant stable openai/gpt-4 {
				weight 95
			}
			variant candidate openai/gpt-4o-mini {
				weight 5
			}
		}
		route prompted {
			variant stable openai/gpt-4 {
				prompt greeting@production
			}
		}
		%s`, data, stable, candidate, options), "llm openai")
}

func (g *gateway) command(args ...string) *exec.Cmd {
	cmd := exec.Command(caddyBinary(g), args...)
	cmd.Dir = g.home
	cmd.Env = append([]string{"HOME=" + g.home, "XDG_DATA_HOME=" + g.home + "/share", "XDG_CONFIG_HOME=" + g.home + "/config", "PATH=" + os.Getenv("PATH")}, g.env...)
	return cmd
}

func (g *gateway) write(config string) string {
	g.Helper()
	file := filepath.Join(g.home, "Caddyfile")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		g.Fatal(err)
	}
	return file
}

// launch starts the process and does not wait until it serves.
func (g *gateway) launch(config string) {
	g.Helper()
	g.cmd = g.command("run", "--adapter", "caddyfile", "--config", g.write(config))
	g.cmd.Stdout, g.cmd.Stderr = g.log, g.log
	if err := g.cmd.Start(); err != nil {
		g.Fatal(err)
	}
	exited, cmd := make(chan error, 1), g.cmd
	g.exited = exited
	go func() { exited <- cmd.Wait() }() // ends with the process, which kill and stop end
}

// start starts the process and waits until it serves; it returns how long that took.
func (g *gateway) start(config string) time.Duration {
	g.Helper()
	begun := time.Now()
	g.launch(config)
	for {
		if c, err := net.Dial("tcp", address(g.port)); err == nil {
			_ = c.Close()
			if status, _ := g.api(http.MethodGet, "/", nil, nil); status == http.StatusOK {
				return time.Since(begun)
			}
		}
		select {
		case err := <-g.exited:
			g.cmd = nil
			g.Fatalf("caddy ended at start: %v", err)
		case <-time.After(5 * time.Millisecond):
		}
		if time.Since(begun) > 30*time.Second {
			g.Fatal("caddy does not serve")
		}
	}
}

// kill ends the process as a crash would.
func (g *gateway) kill() {
	if g.cmd != nil {
		_ = g.cmd.Process.Kill()
		<-g.exited
		g.cmd = nil
	}
	g.client.CloseIdleConnections()
}

// stop ends the process in good order.
func (g *gateway) stop() {
	g.Helper()
	_ = g.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-g.exited:
	case <-time.After(15 * time.Second):
		g.Fatal("caddy does not end")
	}
	g.cmd = nil
	g.client.CloseIdleConnections()
}

// load replaces the running configuration, as caddy reload does.
func (g *gateway) load(config string) error {
	g.Helper()
	resp, err := http.Post("http://"+address(g.admin)+"/load", "text/caddyfile", strings.NewReader(config))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%d: %s", resp.StatusCode, body)
	}
	return nil
}

func (g *gateway) mustLoad(config string) {
	g.Helper()
	if err := g.load(config); err != nil {
		g.Fatal(err)
	}
}

// api calls the admin API below /llm. in and out may be nil; header are pairs.
func (g *gateway) api(method, path string, in, out any, header ...string) (int, http.Header) {
	g.Helper()
	status, h, err := g.tryAPI(method, path, in, out, header...)
	if err != nil && g.cmd != nil && !errors.Is(err, syscall.ECONNREFUSED) {
		g.Errorf("%s %s: %v", method, path, err)
	}
	return status, h
}

func (g *gateway) tryAPI(method, path string, in, out any, header ...string) (int, http.Header, error) {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return 0, nil, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequest(method, "http://"+address(g.admin)+"/llm"+path, body)
	if err != nil {
		return 0, nil, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	req.Close = true // each reload replaces the admin server
	resp, err := g.client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && out != nil {
		if err = json.Unmarshal(raw, out); err != nil {
			err = fmt.Errorf("%w: %q", err, raw)
		}
	}
	return resp.StatusCode, resp.Header, err
}

type object = map[string]any

// register makes a version of a prompt and lets production point to it.
func (g *gateway) register(name, template string) {
	g.Helper()
	var v struct{ Version int }
	if status, _ := g.api(http.MethodPost, "/prompts", object{"name": name, "template": template}, &v); status != http.StatusCreated {
		g.Fatalf("registering %s: %d", name, status)
	}
	if status, _ := g.api(http.MethodPut, "/prompts/"+name+"/aliases/production", object{"version": v.Version}, nil); status != http.StatusOK {
		g.Fatalf("moving the alias of %s: %d", name, status)
	}
}

type routeAnswer struct {
	Name    string
	Weights map[string]float64
	Status  struct {
		Declared map[string]float64
		Since    *time.Time
		Reason   string
	}
}

func (g *gateway) route(name string) (r routeAnswer, etag string) {
	g.Helper()
	status, h := g.api(http.MethodGet, "/routes/"+name, nil, &r)
	if status != http.StatusOK {
		g.Fatalf("route %s: %d", name, status)
	}
	return r, h.Get("ETag")
}

func (g *gateway) setWeights(route string, stable, candidate float64) {
	g.Helper()
	in := object{"weights": object{"stable": stable, "candidate": candidate}, "reason": "test", "actor": "test"}
	var out any
	if status, _ := g.api(http.MethodPost, "/routes/"+route+"/rollout/weights", in, &out); status != http.StatusOK {
		g.Fatalf("setting weights: %d %v", status, out)
	}
}

type counters struct {
	Written, Queued, Damaged int64
	Dropped                  map[string]int64
}

func (c counters) all() int64 {
	n := c.Written
	for _, d := range c.Dropped {
		n += d
	}
	return n
}

// settled returns the trace store's counters when nothing is queued any more.
func (g *gateway) settled() (c counters) {
	g.Helper()
	g.eventually(10*time.Second, "the trace queue to empty", func() bool {
		var s struct{ Traces counters }
		g.api(http.MethodGet, "/", nil, &s)
		c = s.Traces
		return c.Queued == 0
	})
	return c
}

type trace struct {
	ID, Provider, Model, Status, Route, Variant string
	Usage                                       *struct {
		Input  int64 `json:"input_tokens"`
		Output int64 `json:"output_tokens"`
	}
}

// trace waits until a trace can be read.
func (g *gateway) trace(id string) (t trace) {
	g.Helper()
	g.eventually(5*time.Second, "trace "+id, func() bool {
		status, _ := g.api(http.MethodGet, "/traces/"+id, nil, &t)
		return status == http.StatusOK
	})
	return t
}

func (g *gateway) eventually(limit time.Duration, what string, ok func() bool) {
	g.Helper()
	eventually(g, limit, what, ok)
}

func eventually(t testing.TB, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited %s in vain for %s", limit, what)
		}
	}
}

// request is one call of a model.
type request struct {
	model    string
	text     string
	messages []object // instead of text
	stream   bool
	client   *http.Client // nil: the gateway's
}

// send makes a call, and makes it again when the connection is closed without
// an answer, as the vendors' SDKs do: when it is reloaded, any Caddy may do
// that to a call or two. The kernel resets connections that wait at a closing
// SO_REUSEPORT socket (unless net.ipv4.tcp_migrate_req is 1), and net/http
// drops a request that it reads while the server begins to shut down. Neither reaches a handler.
func (g *gateway) send(ctx context.Context, r request) (*http.Response, error) {
	if r.messages == nil {
		r.messages = []object{{"role": "user", "content": r.text}}
	}
	if r.client == nil {
		r.client = g.client
	}
	raw, err := json.Marshal(object{"model": r.model, "messages": r.messages, "stream": r.stream})
	if err != nil {
		return nil, err
	}
	for try := 0; ; try++ {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, g.url+"/v1/chat/completions", bytes.NewReader(raw))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := r.client.Do(req)
		if try == 2 || !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			return resp, err
		}
		g.again.Add(1)
	}
}

// answer is what came back of a call.
type answer struct {
	status  int
	id      string
	variant string
	text    string
	chunks  int
}

// chat makes a call and checks that the answer is whole.
func (g *gateway) chat(r request) (answer, error) {
	resp, err := g.send(context.Background(), r)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, id: resp.Header.Get("X-Request-Id"), variant: resp.Header.Get("LLM-Variant")}
	if r.stream && resp.StatusCode == http.StatusOK {
		return a, a.read(resp.Body)
	}
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%d: %s", resp.StatusCode, raw)
	}
	var body struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.Unmarshal(raw, &body); err != nil || len(body.Choices) == 0 {
		return a, fmt.Errorf("not an answer: %q: %w", raw, err)
	}
	a.text = body.Choices[0].Message.Content
	return a, nil
}

func (g *gateway) mustChat(r request) answer {
	g.Helper()
	a, err := g.chat(r)
	if err != nil {
		g.Fatal(err)
	}
	return a
}

// read reads a stream to its end: one finish reason, then the terminator.
func (a *answer) read(body io.Reader) error {
	var text strings.Builder
	defer func() { a.text = text.String() }()
	finish := ""
	for lines := bufio.NewReader(body); ; {
		line, err := lines.ReadString('\n')
		if err != nil {
			return fmt.Errorf("stream ended after %d chunks: %w", a.chunks, err)
		}
		data, ok := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		if !ok {
			continue
		}
		if data == "[DONE]" {
			if finish == "" {
				return errors.New("stream without a finish reason")
			}
			_, err := io.Copy(io.Discard, lines)
			return err
		}
		var chunk struct {
			Error   any
			Choices []struct {
				Delta        struct{ Content string }
				FinishReason string `json:"finish_reason"`
			}
		}
		if err := json.Unmarshal([]byte(data), &chunk); err != nil {
			return fmt.Errorf("chunk %q: %w", data, err)
		}
		if chunk.Error != nil {
			return fmt.Errorf("error event: %s", data)
		}
		for _, c := range chunk.Choices {
			text.WriteString(c.Delta.Content)
			finish += c.FinishReason
			a.chunks++
		}
	}
}

// words is a text that the provider streams back in n+2 chunks.
func words(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "w%d ", i)
	}
	return strings.TrimSpace(b.String())
}

// figures are what a process says about itself.
type figures struct {
	goroutines int
	heap       int64
}

func (g *gateway) figures() (f figures) {
	g.Helper()
	get := func(path string) string {
		resp, err := g.client.Get("http://" + address(g.admin) + path)
		if err != nil {
			g.Fatal(err)
		}
		defer resp.Body.Close()
		raw, _ := io.ReadAll(resp.Body)
		return string(raw)
	}
	if _, err := fmt.Sscanf(get("/debug/pprof/goroutine?debug=1"), "goroutine profile: total %d", &f.goroutines); err != nil {
		g.Fatal(err)
	}
	_, after, _ := strings.Cut(get("/debug/pprof/heap?gc=1&debug=1"), "# HeapAlloc = ")
	if _, err := fmt.Sscan(after, &f.heap); err != nil {
		g.Fatal(err)
	}
	return f
}

// resident is the process's memory, in bytes.
func (g *gateway) resident() int64 {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", g.cmd.Process.Pid))
	if err != nil {
		g.Skip("needs /proc")
	}
	_, after, _ := strings.Cut(string(raw), "VmRSS:")
	var kib int64
	_, _ = fmt.Sscan(after, &kib)
	return kib << 10
}

func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs a Caddy process for seconds")
	}
	t.Parallel()
}
