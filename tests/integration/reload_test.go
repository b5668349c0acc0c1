package integration_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestReloadUnderLoad reloads twenty times while eight clients call.
func TestReloadUnderLoad(t *testing.T) {
	long(t)
	g := newGateway(t)
	g.start(g.standard(""))
	g.register("greeting", "Say hello in one word, as a pirate would.")
	g.setWeights("split", 30, 70)
	for range 3 {
		g.mustChat(request{model: "split", text: "warm up"})
	}
	g.mustLoad(g.standard("traces {\nretain 40d\n}"))
	before, sent := g.figures(), int64(3)

	var done atomic.Bool
	var plain, streams, chunks atomic.Int64
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			client := newClient()
			defer client.CloseIdleConnections()
			for n := 0; !done.Load(); n++ {
				r := request{model: "split", text: fmt.Sprintf("client %d call %d", i, n), client: client}
				switch i % 4 {
				case 0, 1:
					r.model, r.text, r.stream = "openai/pace-20ms", fmt.Sprintf("%d-%d %s", i, n, words(40)), true
				case 2:
					r.model = "prompted"
				case 3:
					client.CloseIdleConnections() // a new connection for each call
				}
				a, err := g.chat(r)
				if err != nil {
					t.Errorf("client %d call %d: %v", i, n, err)
					plain.Add(1)
					continue
				}
				if i%4 < 2 {
					streams.Add(1)
					chunks.Add(int64(a.chunks))
				} else {
					plain.Add(1)
					time.Sleep(5 * time.Millisecond) // the machine is not this test's alone
				}
				if want := "you said: " + r.text; a.text != want {
					t.Errorf("client %d call %d: got %q, want %q", i, n, a.text, want)
				}
			}
		})
	}
	var slowest time.Duration
	for n := range 20 {
		time.Sleep(100 * time.Millisecond)
		begun := time.Now()
		if err := g.load(g.standard(fmt.Sprintf("traces {\nretain %dd\n}\nlimits {\nmax_body %dMiB\n}", 10+n, 10+n))); err != nil {
			t.Errorf("reload %d: %v", n, err)
		}
		slowest = max(slowest, time.Since(begun))
		if r, _ := g.route("split"); r.Weights["candidate"] != 70 {
			t.Errorf("after reload %d the weights are %v, want 30 and 70", n, r.Weights)
		}
		if status, _ := g.api(http.MethodGet, "/prompts/greeting/versions/@production", nil, nil); status != http.StatusOK {
			t.Errorf("after reload %d the prompt: %d", n, status)
		}
	}
	done.Store(true)
	clients.Wait()
	sent += plain.Load() + streams.Load()

	c := g.settled()
	// A call that was made again because a reload closed its connection may have been read both times.
	if got, again := c.all(), g.again.Load(); got < sent || got > sent+again {
		t.Errorf("%d traces stored, %v dropped; %d calls were made, %d of them again", c.Written, c.Dropped, sent, again)
	}
	g.client.CloseIdleConnections()
	var after figures
	g.eventually(15*time.Second, "goroutines to return to the baseline", func() bool {
		after = g.figures()
		return after.goroutines <= before.goroutines+1
	})
	if n := g.again.Load(); n > 100 {
		t.Errorf("%d calls had to be made again", n)
	}
	if after.heap > before.heap+8<<20 {
		t.Errorf("heap grew from %d to %d KiB", before.heap>>10, after.heap>>10)
	}
	t.Logf("20 reloads (slowest %s), %d plain calls (%d had to be made again), %d streams with %d chunks; %d traces stored, dropped %v; goroutines %d → %d, heap %d → %d KiB",
		slowest.Round(time.Millisecond), plain.Load(), g.again.Load(), streams.Load(), chunks.Load(), c.Written, c.Dropped, before.goroutines, after.goroutines, before.heap>>10, after.heap>>10)
}

// free reports whether nobody holds a data directory's stores.
func free(t *testing.T, data string) bool {
	t.Helper()
	locks, err := filepath.Glob(filepath.Join(data, "*", "[lL][oO][cC][kK]"))
	if err != nil || len(locks) < 2 {
		t.Fatalf("the stores' lock files: %v %v", locks, err)
	}
	for _, name := range locks {
		f, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		_ = f.Close()
		if err != nil {
			return false
		}
	}
	return true
}

// background makes a call and returns what waits for its answer.
func (g *gateway) background(r request) (wait func() answer) {
	g.Helper()
	resp, err := g.send(context.Background(), r)
	if err != nil {
		g.Fatal(err)
	}
	a := answer{status: resp.StatusCode, id: resp.Header.Get("X-Request-Id")}
	end := make(chan error, 1)
	go func() { // ends with the stream
		defer resp.Body.Close()
		end <- a.read(resp.Body)
	}()
	return func() answer {
		g.Helper()
		if err := <-end; err != nil {
			g.Fatal(err)
		}
		if want := "you said: " + r.text; a.text != want {
			g.Fatalf("got %q, want %q", a.text, want)
		}
		return a
	}
}

// TestReloadToAnotherDirectory changes the data directory under a stream, and back.
func TestReloadToAnotherDirectory(t *testing.T) {
	long(t)
	g := newGateway(t)
	other := filepath.Join(g.home, "other")
	here, there := g.standard(""), g.standardIn(other, "", "95", "5")
	g.start(here)
	g.register("greeting", "Say hello in one word, as a pirate would.")
	stream := request{model: "openai/pace-20ms", text: words(60), stream: true}

	wait := g.background(stream)
	begun := time.Now()
	g.mustLoad(there)
	took := time.Since(begun)
	if status, _ := g.api(http.MethodGet, "/prompts/greeting", nil, nil); status != http.StatusNotFound {
		t.Errorf("the other directory has the prompt of the first: %d", status)
	}
	if free(t, g.data) {
		t.Error("the first directory's stores were closed under a stream")
	}
	elsewhere := g.mustChat(request{model: "split", text: "in the other directory"})
	first := wait()
	g.eventually(15*time.Second, "the first directory to be released", func() bool { return free(t, g.data) })
	released := time.Since(begun)
	if tr := g.trace(elsewhere.id); tr.Status != "ok" {
		t.Errorf("a call after the reload: %+v", tr)
	}
	if status, _ := g.api(http.MethodGet, "/traces/"+first.id, nil, nil); status != http.StatusNotFound {
		t.Errorf("the stream's trace is in the new directory: %d", status)
	}

	g.mustLoad(here)
	if tr := g.trace(first.id); tr.Status != "ok" || tr.Usage == nil || tr.Usage.Output != 62 {
		t.Errorf("the stream's trace: %+v", tr)
	}
	if a := g.mustChat(request{model: "prompted", text: "hi"}); a.status != http.StatusOK {
		t.Errorf("the prompt of the first directory: %d", a.status)
	}

	// Away and back while a stream of the first time is still there.
	wait = g.background(stream)
	g.mustLoad(there)
	g.mustLoad(here)
	if status, _ := g.api(http.MethodGet, "/prompts/greeting", nil, nil); status != http.StatusOK {
		t.Errorf("back again, the prompt: %d", status)
	}
	second := wait()
	if tr := g.trace(second.id); tr.Status != "ok" {
		t.Errorf("a stream over two reloads: %+v", tr)
	}
	g.eventually(15*time.Second, "the other directory to be released", func() bool { return free(t, other) })
	t.Logf("the reload took %s with a stream in flight; its directory was released after %s", took.Round(time.Millisecond), released.Round(time.Millisecond))
}

// TestFailingReload refuses configurations while calls go on.
func TestFailingReload(t *testing.T) {
	long(t)
	g, holder := newGateway(t), newGateway(t)
	holder.start(holder.standard(""))
	taken, err := net.Listen("tcp", "127.0.0.1:0") // without SO_REUSEPORT, which Caddy would share it by
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	g.start(g.standard("traces {\nretain 40d\n}"))
	g.register("greeting", "Say hello in one word, as a pirate would.")
	g.setWeights("split", 30, 70)

	file := filepath.Join(g.home, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	cases := []struct{ name, config, want string }{
		{"provider that is not there", strings.Replace(g.standard(""), "openai/gpt-4 ", "nobody/gpt-4 ", 1), `nobody`},
		{"provider without a URL", g.standard("provider mine"), `base_url`},
		{"directory of another process", g.standardIn(holder.data, "", "95", "5"), `stop that process`},
		{"directory that is a file", g.standardIn(file, "", "95", "5"), `a file is in the way`},
		{"directory below a file", g.standardIn(filepath.Join(file, "data"), "", "95", "5"), `a file is in the way`},
		{"port of another process", g.standardIn(g.data, "traces {\nretain 1d\n}", "50", "50") + "\nhttp://" + taken.Addr().String() + " {\nbind 127.0.0.1\nrespond hi\n}", `address already in use`},
	}
	var done atomic.Bool
	var calls atomic.Int64
	var clients sync.WaitGroup
	var slowest atomic.Int64
	for i := range 3 {
		clients.Go(func() {
			client := newClient()
			client.Transport.(*http.Transport).DisableKeepAlives = i == 0
			for !done.Load() {
				begun := time.Now()
				if _, err := g.chat(request{model: []string{"split", "prompted", "openai/echo"}[i], text: "on and on", client: client}); err != nil {
					t.Errorf("a call during failing reloads: %v", err)
				}
				slowest.Store(max(slowest.Load(), int64(time.Since(begun))))
				calls.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	for _, c := range cases {
		if strings.HasPrefix(c.name, "port") && g.again.Load() > 0 {
			t.Errorf("%d calls were dropped although no server was touched", g.again.Load())
		}
		for range 2 { // apps are started in random order
			begun := time.Now()
			err := g.load(c.config)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%s: got %v, want an error with %q", c.name, err, c.want)
			}
			t.Logf("%s: refused after %s: %v", c.name, time.Since(begun).Round(time.Millisecond), err)
			if r, _ := g.route("split"); r.Weights["candidate"] != 70 {
				t.Errorf("%s: the weights are %v, want 30 and 70", c.name, r.Weights)
			}
			var s struct {
				DataDir string `json:"data_dir"`
			}
			if status, _ := g.api(http.MethodGet, "/", nil, &s); status != http.StatusOK || s.DataDir != g.data {
				t.Errorf("%s: admin API: %d, data directory %s", c.name, status, s.DataDir)
			}
		}
	}
	done.Store(true)
	clients.Wait()
	if limit := 1500 * time.Millisecond; time.Duration(slowest.Load()) > limit {
		t.Errorf("a call took %s while a reload failed", time.Duration(slowest.Load()))
	}
	g.setWeights("split", 60, 40)
	g.mustLoad(g.standard("traces {\nretain 41d\n}"))
	if r, _ := g.route("split"); r.Weights["candidate"] != 40 {
		t.Errorf("after a reload that works the weights are %v", r.Weights)
	}
	c := g.settled()
	if c.all() != calls.Load() {
		t.Errorf("%d calls, %d traces, dropped %v", calls.Load(), c.Written, c.Dropped)
	}
	t.Logf("%d calls meanwhile, slowest %s", calls.Load(), time.Duration(slowest.Load()).Round(time.Millisecond))
}

// tree lists what is in a directory, with sizes and times.
func tree(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, path, info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// TestValidateBesideServer runs caddy validate and adapt beside a server.
func TestValidateBesideServer(t *testing.T) {
	long(t)
	g := newGateway(t)
	g.start(g.standard(""))
	id := g.mustChat(request{model: "split", text: "hi"}).id
	g.trace(id)
	g.settled()
	time.Sleep(200 * time.Millisecond) // the control store's backup
	before := tree(t, g.data)
	file := filepath.Join(g.home, "Caddyfile")
	if out, err := g.command("validate", "--adapter", "caddyfile", "--config", file).CombinedOutput(); err != nil {
		t.Errorf("validate: %v: %s", err, out)
	}
	if after := tree(t, g.data); after != before {
		t.Errorf("validate touched the data directory:\n%s\nwas\n%s", after, before)
	}
	fresh := filepath.Join(g.home, "not-there")
	g.write(g.standardIn(fresh, "", "95", "5"))
	if out, err := g.command("validate", "--adapter", "caddyfile", "--config", file).CombinedOutput(); err != nil {
		t.Errorf("validate: %v: %s", err, out)
	}
	if _, err := os.Stat(fresh); !os.IsNotExist(err) {
		t.Errorf("validate made the data directory: %v", err)
	}
	if out, err := g.command("reload", "--adapter", "caddyfile", "--config", file, "--address", address(g.admin)).CombinedOutput(); err != nil {
		t.Errorf("reload: %v: %s", err, out)
	}
	g.mustChat(request{model: "split", text: "hi"})
}
