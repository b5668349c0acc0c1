package frontier_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-frontier/frontier/internal/demo"
)

// asCaddy makes the test binary a Caddy, with its exit codes, signals and files.
const asCaddy = "FRONTIER_TEST_AS_CADDY"

func TestMain(m *testing.M) {
	if os.Getenv(asCaddy) != "" {
		caddycmd.Main()
		return
	}
	os.Exit(m.Run())
}

// demonstration is a running `caddy llm demo`.
type demonstration struct {
	*testing.T
	*exec.Cmd
	temp   string
	home   string
	out    *bufio.Reader
	read   strings.Builder
	stderr bytes.Buffer
}

func startDemo(t *testing.T, args ...string) *demonstration {
	t.Helper()
	d := &demonstration{T: t, temp: t.TempDir(), home: t.TempDir()}
	d.Cmd = exec.Command(os.Args[0], append([]string{"llm", "demo"}, args...)...)
	d.Env = []string{asCaddy + "=1", "HOME=" + d.home, "TMPDIR=" + d.temp, "PATH=" + os.Getenv("PATH"), "HTTP_PROXY=http://127.0.0.1:1"}
	d.Stderr = &d.stderr
	out, err := d.StdoutPipe()
	if err == nil {
		err = d.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	d.out = bufio.NewReader(out)
	kill := time.AfterFunc(3*time.Minute, func() { _ = d.Process.Kill() })
	t.Cleanup(func() { kill.Stop(); _ = d.Process.Kill() })
	return d
}

// until reads the output up to a line that begins so, and returns the line.
func (d *demonstration) until(start string) string {
	d.Helper()
	for {
		line, err := d.out.ReadString('\n')
		d.read.WriteString(line)
		if strings.HasPrefix(line, start) {
			return line
		}
		if err != nil {
			_ = d.Wait() // for what it wrote to stderr
			d.Fatalf("no line %q: %v\n%s%s", start, err, &d.read, &d.stderr)
		}
	}
}

// end reads the rest and returns the exit code.
func (d *demonstration) end() int {
	d.Helper()
	rest, err := io.ReadAll(d.out)
	if err != nil {
		d.Fatal(err)
	}
	d.read.Write(rest)
	_ = d.Wait()
	return d.ProcessState.ExitCode()
}

// files lists what is left in the temporary directory and in the user's home.
func (d *demonstration) files() (left []string) {
	for _, dir := range []string{d.temp, d.home} {
		_ = filepath.WalkDir(dir, func(path string, e fs.DirEntry, _ error) error {
			if e != nil && path != dir {
				left = append(left, path)
			}
			return nil
		})
	}
	return left
}

func field(out, name string) string {
	m := regexp.MustCompile(`(?m)^` + name + ` +(\S+)$`).FindStringSubmatch(out)
	if m == nil {
		return ""
	}
	return m[1]
}

// TestDemo plays the whole of it, looks at the server that it leaves up, and stops it.
func TestDemo(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "--fast")
	d.until("Ctrl-C stops it.")
	out := d.read.String()
	if strings.ContainsRune(out, '\x1b') || strings.ContainsRune(out, '\r') {
		t.Errorf("escape sequences in a pipe: %q", out)
	}
	checkWidth(t, out)
	for _, want := range []string{
		"latencies are divided", "prompts:/sentiment_classifier/2", "\n+- Use lowercase\n", "records    10, from 10 traces",
		"not ready", "of the 5 records that it was learned from, and 5 of 5 others", "points after optimisation", "ready (small sample, n=10)", "is registered as prompts:/sentiment_production/2",
		"500 of 500 users met the same variant", "Consistency: from ", "\n      guard latency\n", "all guards pass at 5 %", "step 3 of 4, 50 %",
		"completed, all traffic is on candidate",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	admin := "http://" + field(out, "admin API")

	var trace struct {
		DurationMS float64 `json:"duration_ms"`
		Model      string  `json:"model"`
		Usage      struct {
			Input int `json:"input_tokens"`
		} `json:"usage"`
	}
	ask(t, admin+"/llm/traces/"+field(out, "trace"), &trace)
	if trace.Model != "gpt-4" || !strings.Contains(out, fmt.Sprintf("\ntokens   %d in, ", trace.Usage.Input)) {
		t.Errorf("the trace printed is not %+v", trace)
	}

	// What was printed of each variant in the split and in the rollout is what the statistics have.
	var stats struct {
		Items []struct {
			Variant  string  `json:"variant"`
			Requests int     `json:"requests"`
			Cost     float64 `json:"cost_usd"`
			Output   int     `json:"output_tokens"`
		} `json:"items"`
	}
	ask(t, admin+"/llm/stats?group_by=variant&route=sentiment", &stats)
	compared := map[string]int{"stable": 10, "candidate": 0} // calls of part 4
	for _, item := range stats.Items {
		users := column(t, out, item.Variant, "simulator/")
		requests := column(t, out, item.Variant, "")
		rollout := column(t, out, item.Variant, "gpt-")
		n := item.Requests - compared[item.Variant] - number(t, rollout[2])
		if users[3] != strconv.Itoa(n/2) || requests[1] != strconv.Itoa(n) {
			t.Errorf("%s had %d calls in the split; printed are\n%v\n%v\n%v", item.Variant, n, users, requests, rollout)
		}
		if rollout[4] != "0" {
			t.Errorf("%s failed in the rollout: %v", item.Variant, rollout)
		}
	}
	for _, step := range []string{"5%", "20%", "50%"} {
		if taken := column(t, out, step, ""); len(taken) != 14 || number(t, taken[3]) < 20 {
			t.Errorf("step %s measured %v users", step, taken)
		}
	}
	if len(stats.Items) != 2 {
		t.Errorf("got %+v", stats)
	}

	var route struct {
		Weights map[string]float64 `json:"weights"`
	}
	ask(t, admin+"/llm/routes/sentiment", &route)
	if route.Weights["candidate"] != 100 {
		t.Errorf("weights are %v", route.Weights)
	}

	// The commands that it says to look around with work.
	looked := 0
	for line := range strings.SplitSeq(out, "\n") {
		_, args, ok := strings.Cut(line, " llm ")
		if ok && strings.HasPrefix(line, "  ") {
			looked++
			if r := run(t.Context(), "", append([]string{"llm"}, words(t, args)...)...); r.code != 0 || r.stdout == "" {
				t.Errorf("%s: exit %d\n%s", line, r.code, r.stderr)
			}
		}
	}
	if looked < 5 || !strings.Contains(out, "curl -i "+field(out, "gateway")+"/chat/completions") {
		t.Errorf("%d commands to look around with", looked)
	}

	if err := d.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := d.end(); code != 0 || d.stderr.Len() > 0 || !strings.HasSuffix(d.read.String(), "Stopped.\n") {
		t.Errorf("exit %d\n%s", code, &d.stderr)
	}
	if left := d.files(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// checkWidth holds lines to what a terminal shows at once, but for commands and what the gateway itself says.
func checkWidth(t *testing.T, out string) {
	t.Helper()
	said := regexp.MustCompile(`^ *[\d.]+ s  |^reason  `)
	for line := range strings.Lines(out) {
		if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > 100 && !strings.Contains(line, os.Args[0]) && !said.MatchString(line) {
			t.Errorf("a line of %d columns: %s", n, line)
		}
	}
}

func number(t *testing.T, s string) int {
	t.Helper()
	n, err := strconv.Atoi(s)
	if err != nil {
		t.Error(err)
	}
	return n
}

// column returns the words of the line that begins with two words like these.
func column(t *testing.T, out, first, second string) []string {
	t.Helper()
	for line := range strings.Lines(out) {
		words := strings.Fields(line)
		if len(words) < 2 || words[0] != first || !strings.HasPrefix(words[1], second) {
			continue
		}
		if _, err := strconv.ParseFloat(strings.ReplaceAll(words[1], ",", ""), 64); second != "" || err == nil {
			for i := range words {
				words[i] = strings.ReplaceAll(words[i], ",", "")
			}
			return words
		}
	}
	t.Fatalf("no line %s %s in\n%s", first, second, out)
	return nil
}

func ask(t *testing.T, url string, v any) {
	t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil {
		err = json.Unmarshal(raw, v)
	}
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d, %v: %s", url, resp.StatusCode, err, raw)
	}
}

// TestDemoRegression plays until the candidate's users are saved, takes the
// rollout up again while they go on calling, and stops the server.
func TestDemoRegression(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "regression", "--fast")
	d.until("Ctrl-C stops it.")
	out := d.read.String()
	checkWidth(t, out)
	for _, want := range []string{
		`binds a prompt that is not there`, "step 2 of 4, 20 %", "turns bad: 60% of its answers are HTTP 500", "s  aborted at 20 %: failures ",
		"\nrolled back       at 20%, ", "\nreason            aborted at 20 %: failures ", "\nweights now       stable 100%, candidate 0%; ",
		"\nfailed requests   0 of ", " of 3,000: the candidate failed ", "\nfirst bad answer  HTTP 500, in trace ", "1  candidate  simulator/gpt-4o-mini ",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	admin := "http://" + field(out, "admin API")
	var trace struct {
		Status     string `json:"status"`
		Variant    string `json:"variant"`
		Assignment string `json:"assignment"`
	}
	ask(t, admin+"/llm/traces/"+field(out, "trace"), &trace)
	if trace.Status != "ok" || trace.Variant != "stable" || trace.Assignment != "fallback" {
		t.Errorf("the trace shown is not of a call that was saved: %+v", trace)
	}
	for line := range strings.SplitSeq(out, "\n") {
		_, args, ok := strings.Cut(line, " llm ")
		if ok && strings.HasPrefix(line, "  ") && !strings.HasPrefix(args, "rollout ") {
			if r := run(t.Context(), "", append([]string{"llm"}, words(t, args)...)...); r.code != 0 || r.stdout == "" {
				t.Errorf("%s: exit %d\n%s", line, r.code, r.stderr)
			}
		}
	}

	// The candidate is cured as it is said to be, and the rollout begun again.
	faults := regexp.MustCompile(`curl -X PUT (\S+/faults) -d '\[\]'`).FindStringSubmatch(out)
	if faults == nil || !strings.Contains(out, "llm rollout resume sentiment --address ") {
		t.Fatalf("the way on is not told:\n%s", out)
	}
	send(t, http.MethodPut, faults[1], "[]")
	send(t, http.MethodPost, admin+"/llm/routes/sentiment/rollout/resume", "{}")
	var route struct {
		Status struct {
			Phase string         `json:"phase"`
			Step  int            `json:"step"`
			Units map[string]int `json:"units"`
		} `json:"status"`
		Weights map[string]float64 `json:"weights"`
	}
	for limit := time.Now().Add(30 * time.Second); route.Status.Units["candidate"] == 0; time.Sleep(100 * time.Millisecond) {
		ask(t, admin+"/llm/routes/sentiment", &route)
		if time.Now().After(limit) {
			t.Fatalf("nobody meets the candidate: %+v", route)
		}
	}
	if route.Status.Step != 1 || route.Weights["candidate"] != 5 {
		t.Errorf("begun again is %+v", route)
	}

	if err := d.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := d.end(); code != 0 || d.stderr.Len() > 0 || !strings.Contains(d.read.String(), "\nStopped. Meanwhile 0 of ") {
		t.Errorf("exit %d\n%s%s", code, d.read.String(), &d.stderr)
	}
	if left := d.files(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func send(t *testing.T, method, url, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if raw, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %d, %v: %s", method, url, resp.StatusCode, err, raw)
	}
}

// TestDemoRegressionIsHonest takes the gateway away: calls that got no answer are told, and the exit code is 1.
func TestDemoRegressionIsHonest(t *testing.T) {
	t.Parallel()
	d := startDemo(t, "regression", "--fast", "--exit")
	admin := strings.Fields(d.until("admin API"))[2]
	d.until("2/4")
	d.until("  ") // the rollout's first decision: from here on, users are all there is
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+admin+"/config/apps/http", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	code := d.end()
	want := regexp.MustCompile(`^Error: part 2, ".+": [\d,]+ of [\d,]+ calls got no answer, which the fallback was to prevent; the first: .+\n$`)
	if code != 1 || !want.MatchString(d.stderr.String()) || strings.Contains(d.read.String(), "Done in") {
		t.Errorf("exit %d\n%s%s", code, &d.read, &d.stderr)
	}
}

// TestDemoExits plays in one directory: what one play left there does not trouble the next.
func TestDemoExits(t *testing.T) {
	if testing.Short() {
		t.Skip("plays one after another")
	}
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "a b")
	d := startDemo(t, "regression", "--fast", "--exit", "--seed", "2", "--data-dir", dir)
	if code := d.end(); code != 0 || d.stderr.Len() > 0 || !strings.Contains(d.read.String(), "\nDone in ") {
		t.Fatalf("exit %d\n%s%s", code, &d.read, &d.stderr)
	}
	// What was rolled back is begun again, and what was begun is taken out of the configuration and declared anew.
	for _, again := range []struct {
		play     []string
		at, says string
	}{
		{[]string{"regression"}, "2/4", "resumed"},
		{nil, "10/10", "5 % for candidate"},
	} {
		d := startDemo(t, append(again.play, "--fast", "--data-dir", dir)...)
		d.until(again.at)
		for !strings.Contains(d.until("  "), again.says) {
		}
		if err := d.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if code := d.end(); code != 1 || d.stderr.String() != "Error: the demo was interrupted\n" {
			t.Errorf("exit %d\n%s%s", code, &d.read, &d.stderr)
		}
	}
	if left := d.files(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	for _, name := range []string{"Caddyfile", "caddy.log", "llm/control", "llm/traces"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestDemoInterrupted(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	d.until("4/10")
	if err := d.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := d.end(); code != 1 || d.stderr.String() != "Error: the demo was interrupted\n" {
		t.Errorf("exit %d\n%s", code, &d.stderr)
	}
	if left := d.files(); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestDemoFails takes the gateway away while it is called.
func TestDemoFails(t *testing.T) {
	t.Parallel()
	d := startDemo(t)
	admin := strings.Fields(d.until("admin API"))[2]
	d.until("2/10")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+admin+"/config/apps/http", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	code := d.end()
	message := regexp.MustCompile(`^Error: part \d, ".+": .+; Caddy's log is (.+)\n$`).FindStringSubmatch(d.stderr.String())
	if code != 1 || message == nil {
		t.Fatalf("exit %d\n%s%s", code, &d.read, &d.stderr)
	}
	if _, err := os.Stat(message[1]); err != nil {
		t.Error(err)
	}
}

func TestDemoCannotStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		args, want string
		code       int
	}{
		{"--port " + port, "Error: starting the demo's server: finding a port: listen tcp 127.0.0.1:" + port + ": bind: address already in use\n", 1},
		{"--data-dir " + file, "Error: starting the demo's server: mkdir " + file + ": not a directory\n", 1},
		{"--port 70000", "Error: --port 70000: want 1 to 65535, or 0 for one that is free\n", 2},
		{"--seed 0", "Error: --seed 0: want a number above zero\n", 2},
		{"--hold 0s", "Error: --hold 0s: want a time from 1s to 1h\n", 2},
		{"regression --hold 2s", "Error: --hold 2s: want a time from 3s to 1h\n", 2},
		{"regression --port " + port, "Error: starting the demo's server: finding a port: ", 1},
		{"--json", "Error: the demo takes no --json", 2},
	} {
		d := startDemo(t, strings.Fields(step.args)...)
		if code := d.end(); code != step.code || !strings.HasPrefix(d.stderr.String(), step.want) {
			t.Errorf("%s: exit %d\n%s", step.args, code, &d.stderr)
		}
		if left := d.files(); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// TestDemoConfiguration holds the demo's Caddyfile to what a reader may expect of one.
func TestDemoConfiguration(t *testing.T) {
	s, err := demo.Load()
	if err != nil {
		t.Fatal(err)
	}
	v, err := demo.NewServer(s, filepath.Join(t.TempDir(), "a b"), 0)
	if err != nil {
		t.Fatal(err)
	}
	v.Seed = 7
	t.Run("without the rollout", func(t *testing.T) { checkConfiguration(t, v) })
	v.Rollout, v.Hold = true, 2*time.Second
	t.Run("with the rollout", func(t *testing.T) { checkConfiguration(t, v) })
}

func checkConfiguration(t *testing.T, v *demo.Server) {
	t.Helper()
	text, err := v.Caddyfile()
	if err != nil {
		t.Fatal(err)
	}
	if formatted := caddyfile.Format(text); !bytes.Equal(formatted, text) {
		t.Errorf("not formatted; want\n%s", formatted)
	}
	raw, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(text, map[string]any{"filename": "Caddyfile"})
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	var cfg caddy.Config
	if err := caddy.StrictUnmarshalJSON(raw, &cfg); err != nil {
		t.Fatal(err)
	}
	if cfg.Admin.Config.Persist == nil || *cfg.Admin.Config.Persist {
		t.Error("the configuration would be saved over the user's")
	}
}
