package integration_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/fakeprovider"
)

const examples = "../../examples/"

// example is the text of an example's Caddyfile with what must be of this
// machine in it: pairs of old and new. Each old text is there.
func (g *gateway) example(name string, replace ...string) string {
	g.Helper()
	raw, err := os.ReadFile(examples + name + "/Caddyfile")
	if err != nil {
		g.Fatal(err)
	}
	text := string(raw)
	for i := 0; i < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			g.Fatalf("examples/%s has no %q", name, replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	return text
}

// withOptions adds global options to a Caddyfile.
func withOptions(text, options string) string {
	if before, after, has := strings.Cut("\n"+text, "\n{\n"); has {
		return before + "\n{\n" + options + "\n" + after
	}
	return "{\n" + options + "\n}\n" + text
}

// asks makes a chat call and checks what every answer has.
func (g *gateway) asks(t *testing.T, client *http.Client, key string, body object) (*http.Response, string) {
	t.Helper()
	raw, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, g.url+"/v1/chat/completions", bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(answer)
}

func question(model, text string) object {
	return object{"model": model, "messages": []object{{"role": "user", "content": text}}}
}

// TestExamples runs the Caddyfiles of examples/ as they are, but for addresses.
func TestExamples(t *testing.T) {
	own := map[string]func(*testing.T, *gateway){"pool": runPool, "production": runProduction, "split": runSplit, "observe": runObserve, "rollout": runRollout}
	found, err := filepath.Glob(examples + "*/Caddyfile")
	if err != nil || len(found) < 7 {
		t.Fatal(found, err)
	}
	for _, file := range found {
		name := filepath.Base(filepath.Dir(file))
		t.Run(name, func(t *testing.T) {
			long(t)
			g := newGateway(t)
			if run := own[name]; run != nil {
				run(t, g)
				return
			}
			g.startExample(name)
			resp, body := g.asks(t, g.client, "", question("gpt-4o-mini", "Classify sentiment: positive, negative, or neutral.\n\nText: I love it"))
			if resp.StatusCode != http.StatusOK || !strings.Contains(body, `"content":"`) {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			g.checkTrace(t, resp)
		})
	}
}

// startExample starts an example whose site is at port 8080, and whose
// provider is at 9100, is a simulator there, or is OpenAI. It returns what it has loaded.
func (g *gateway) startExample(name string) (text string) {
	g.Helper()
	text = g.example(name, ":8080 {", "http://"+address(g.port)+" {", "\tbind 127.0.0.1\n", "")
	options := "\tadmin " + address(g.admin)
	provider := g.upstream
	if strings.Contains(text, "llm_simulator") {
		provider = "http://" + address(freePort(g))
		text = strings.ReplaceAll(text, ":9100 {", provider+" {")
		text = strings.Replace(text, "\tllm_simulator\n", "\tllm_simulator {\n\t\tmodel gpt-4\n\t\tmodel gpt-4o-mini\n\t}\n", 1) // models that take no time
	}
	text = strings.ReplaceAll(text, "http://127.0.0.1:9100", provider)
	if strings.Contains(text, "llm openai") {
		options += "\n\tllm {\n\t\tprovider openai {\n\t\t\tbase_url " + provider + "/v1\n\t\t}\n\t}"
	}
	text = withOptions(text, options)
	g.start(text)
	return text
}

// checkTrace checks an answer's headers against its trace.
func (g *gateway) checkTrace(t *testing.T, resp *http.Response) {
	t.Helper()
	trace := g.trace(resp.Header.Get("X-Request-Id"))
	equal(t, "LLM-Model", resp.Header.Get("LLM-Model"), trace.Provider+"/"+trace.Model)
	equal(t, "LLM-Route, LLM-Variant", []string{resp.Header.Get("LLM-Route"), resp.Header.Get("LLM-Variant")}, []string{trace.Route, trace.Variant})
	equal(t, "LLM-Attempts", resp.Header.Get("LLM-Attempts") == "", false)
	if trace.Status != "ok" || trace.Usage == nil || trace.Usage.Output == 0 {
		t.Errorf("trace: %+v", trace)
	}
}

func runObserve(t *testing.T, g *gateway) {
	g.startExample("observe")
	resp, body := g.asks(t, g.client, "sk-caller", question("gpt-4o", "hello"))
	if resp.StatusCode != http.StatusOK || !strings.Contains(body, "you said: hello") {
		t.Fatalf("%d %s", resp.StatusCode, body)
	}
	var rows struct{ Items []trace }
	g.eventually(5*time.Second, "the trace", func() bool {
		g.api(http.MethodGet, "/traces", nil, &rows)
		return len(rows.Items) == 1
	})
	if row := rows.Items[0]; row.Status != "ok" || row.Usage == nil || row.Usage.Output != 3 {
		t.Errorf("trace: %+v", row)
	}
}

func runSplit(t *testing.T, g *gateway) {
	g.startExample("split")
	const template = "Classify sentiment: positive, negative, or neutral.\n\nText: {{text}}"
	g.register("sentiment", template)
	g.api(http.MethodPost, "/prompts", object{"name": "sentiment", "template": "Classify the sentiment in one lowercase word: positive, negative, or neutral.\n\nText: {{text}}"}, nil)
	g.api(http.MethodPut, "/prompts/sentiment/aliases/candidate", object{"version": 2}, nil)
	seen := map[string]int{}
	var last *http.Response
	for i := range 60 {
		q := question("gpt-4", strings.ReplaceAll(template, "{{text}}", "I love it"))
		q["user"] = fmt.Sprintf("user-%d", i)
		resp, body := g.asks(t, g.client, "", q)
		how := strings.Join([]string{resp.Header.Get("LLM-Variant"), resp.Header.Get("LLM-Model"), resp.Header.Get("LLM-Prompt")}, " ")
		if how != "stable simulator/gpt-4 sentiment/1" && how != "candidate simulator/gpt-4o-mini sentiment/2" || !strings.Contains(strings.ToLower(body), "positive") {
			t.Fatalf("%s: %s", how, body)
		}
		seen[resp.Header.Get("LLM-Variant")]++
		last = resp
	}
	if seen["candidate"] == 0 || seen["candidate"] >= seen["stable"] {
		t.Errorf("of 60 users: %v, want about a fifth with candidate", seen)
	}
	g.checkTrace(t, last)
}

func runPool(t *testing.T, g *gateway) {
	var machines [3]*httptest.Server
	for i := range machines {
		machines[i] = httptest.NewServer(new(fakeprovider.Provider))
		t.Cleanup(machines[i].Close)
	}
	text := g.example("pool", "http://10.0.0.11:8000", machines[0].URL, "http://10.0.0.12:8000", machines[1].URL, "http://10.0.0.13:11434", machines[2].URL,
		"\tbind 127.0.0.1\n", "", ":8080 {", "http://"+address(g.port)+" {")
	g.start(withOptions(text, "\tadmin "+address(g.admin)))
	variant := func(conversation, turns int) (string, *http.Response) {
		t.Helper()
		var messages []object
		for i := range turns {
			if i > 0 {
				messages = append(messages, object{"role": "assistant", "content": "well"})
			}
			messages = append(messages, object{"role": "user", "content": fmt.Sprintf("turn %d of conversation %d", i, conversation)})
		}
		resp, body := g.asks(t, g.client, "", object{"model": "qwen3", "messages": messages})
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, fmt.Sprintf("you said: turn %d of conversation %d", turns-1, conversation)) {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		return resp.Header.Get("LLM-Variant"), resp
	}
	const conversations = 40
	first := map[int]string{}
	count := map[string]int{}
	for c := range conversations {
		v, resp := variant(c, 1)
		first[c] = v
		count[v]++
		if cost := resp.Header.Get("LLM-Cost-USD"); strings.Trim(cost, "0.") != "" || cost == "" {
			t.Errorf("a call costs %q", cost)
		}
	}
	if count["gpu1"] == 0 || count["gpu2"] == 0 || count["small"] != 0 {
		t.Errorf("conversations by machine: %v", count)
	}
	for c := range conversations {
		for _, turns := range []int{1, 3} {
			if v, _ := variant(c, turns); v != first[c] {
				t.Errorf("conversation %d went from %s to %s at turn %d", c, first[c], v, turns)
			}
		}
	}
	machines[0].CloseClientConnections()
	machines[0].Close()
	var last *http.Response
	for c := range conversations {
		v, resp := variant(c, 5)
		if v != "gpu2" {
			t.Errorf("without gpu1, conversation %d went to %s", c, v)
		}
		last = resp
	}
	g.checkTrace(t, last)
	machines[1].CloseClientConnections()
	machines[1].Close()
	if v, resp := variant(0, 7); v != "small" || resp.Header.Get("LLM-Model") != "small/qwen3:8b" {
		t.Errorf("without both, it went to %s, %s", v, resp.Header.Get("LLM-Model"))
	}
}

func runProduction(t *testing.T, g *gateway) {
	const batchKey, card = "batch-0123456789abcdef", "4111 1111 1111 1111"
	short, err := os.MkdirTemp("", "llm") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(short) })
	for name, key := range map[string]string{"openai.key": providerKey, "batch.key": batchKey} {
		if err := os.WriteFile(filepath.Join(short, name), []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	digest := sha256.Sum256([]byte(clientKey))
	first, spare := httptest.NewServer(g.provider), new(fakeprovider.Provider)
	t.Cleanup(first.Close)
	reserve := httptest.NewServer(spare)
	t.Cleanup(reserve.Close)
	socket := filepath.Join(short, "admin.sock")
	g.env = []string{"RESERVE_API_KEY=" + secondKey}
	text := g.example("production",
		"admin unix//run/caddy/admin.sock|0660", "admin unix/"+socket+"|0660",
		"/etc/caddy", short,
		"sha256:"+strings.Repeat("0", 64), "sha256:"+hex.EncodeToString(digest[:]),
		"provider openai {", "provider openai {\nbase_url "+first.URL+"/v1",
		"https://llm.example.net", reserve.URL,
		"\nllm.example.com {", "\nhttps://localhost:"+fmt.Sprint(g.port)+" {")
	// Its certificate is of Caddy's own authority, as that of any localhost.
	g.launch(withOptions(text, "skip_install_trust\nhttp_port "+fmt.Sprint(freePort(t))))
	llm := func(args ...string) (string, error) {
		out, err := g.command(append(append([]string{"llm"}, args...), "--address", "unix/"+socket)...).Output()
		return string(out), err
	}
	status := ""
	g.eventually(20*time.Second, "the admin socket", func() bool {
		out, err := llm("status")
		status = out
		return err == nil
	})
	if !strings.Contains(status, reserve.URL) || strings.Contains(status, secondKey) {
		t.Errorf("status: %s", status)
	}
	if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v, %v", info.Mode(), err)
	}
	g.url = "https://localhost:" + fmt.Sprint(g.port)
	client := trusting(t, filepath.Join(g.home, "share/caddy/pki/authorities/local/root.crt"))
	g.eventually(20*time.Second, "the site's certificate", func() bool {
		resp, err := client.Get(g.url)
		if err != nil {
			return false
		}
		return resp.Body.Close() == nil
	})

	for _, key := range []string{"", "sk-of-nobody-0123456789"} {
		if resp, body := g.asks(t, client, key, question("gpt-4o", "hi")); resp.StatusCode != http.StatusUnauthorized || !strings.Contains(body, "invalid_api_key") {
			t.Errorf("key %q: %d %s", key, resp.StatusCode, body)
		}
	}
	if n := len(g.provider.Requests()); n != 0 {
		t.Errorf("%d requests to the provider without a key", n)
	}
	var last *http.Response
	for _, key := range []string{batchKey, clientKey} {
		resp, body := g.asks(t, client, key, question("gpt-4o", "my card is "+card))
		if resp.StatusCode != http.StatusOK || !strings.Contains(body, "you said: my card is "+card) {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
		equal(t, "headers", []string{resp.Header.Get("LLM-Route"), resp.Header.Get("LLM-Variant"), resp.Header.Get("LLM-Model")}, []string{"assistant", "stable", "openai/gpt-4o"})
		last = resp
	}
	for _, seen := range g.provider.Requests() {
		equal(t, "the provider's key", seen.Header["Authorization"], []string{"Bearer " + providerKey})
	}
	if resp, _ := g.asks(t, client, clientKey, question("openai/gpt-4o-mini", "hi")); resp.StatusCode != http.StatusNotFound {
		t.Errorf("a model that no route offers: %d", resp.StatusCode)
	}
	if resp, _ := g.asks(t, client, clientKey, question("gpt-4o", strings.Repeat("x", 8<<20))); resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("a body over the limit: %d", resp.StatusCode)
	}
	// In the other two fields that clients send keys in.
	for _, field := range []string{"X-Api-Key", "Api-Key"} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.url+"/v1/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set(field, clientKey)
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}

	first.CloseClientConnections()
	first.Close()
	resp, body := g.asks(t, client, clientKey, question("gpt-4o", "still there?"))
	equal(t, "without OpenAI", []any{resp.StatusCode, resp.Header.Get("LLM-Model"), strings.Contains(body, "you said: still there?")}, []any{http.StatusOK, "reserve/gpt-4o", true})
	for _, seen := range spare.Requests() {
		equal(t, "the reserve's key", seen.Header["Authorization"], []string{"Bearer " + secondKey})
	}

	shown := ""
	g.eventually(5*time.Second, "the trace", func() bool {
		shown, err = llm("traces", "show", last.Header.Get("X-Request-Id"), "--json")
		return err == nil
	})
	var trace struct{ Status, Key, Route string }
	if err := json.Unmarshal([]byte(shown), &trace); err != nil || trace.Status != "ok" || trace.Key != "web" || trace.Route != "assistant" {
		t.Errorf("trace: %+v, %v", trace, err)
	}
	if !strings.Contains(shown, "my card is [redacted]") {
		t.Errorf("the card is in the trace: %s", shown)
	}
	log := g.log.String()
	if n := strings.Count(log, `"msg":"handled request"`); n < 8 {
		t.Errorf("%d lines of access log", n)
	}
	for _, secret := range []string{clientKey, batchKey, providerKey, secondKey, card} {
		if strings.Contains(log, secret) {
			t.Errorf("%s is in the log", secret)
		}
	}
}

// trusting returns a client that trusts one authority only.
func trusting(t *testing.T, root string) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(root)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in ", root)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// TestExampleClients runs the clients of examples/clients that need neither
// Python nor Node: with nothing but the base URL and the key in their environment.
func TestExampleClients(t *testing.T) {
	long(t)
	g := newGateway(t)
	g.start(g.standard(""))
	client := filepath.Join(t.TempDir(), "client")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", client, examples+"clients/go-openai.go").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for name, command := range map[string][]string{"go-openai.go": {client}, "curl.sh": {"sh", examples + "clients/curl.sh"}} {
		t.Run(name, func(t *testing.T) {
			if _, err := exec.LookPath("curl"); err != nil && name == "curl.sh" && os.Getenv("CI") == "" {
				t.Skip(err)
			}
			g.provider.Reset()
			cmd := exec.CommandContext(t.Context(), command[0], command[1:]...)
			cmd.Env = append(os.Environ(), "OPENAI_BASE_URL="+g.url+"/v1", "OPENAI_API_KEY=sk-caller")
			out, err := cmd.CombinedOutput()
			if err != nil || !strings.Contains(string(out), "you said: Say hello.") {
				t.Errorf("%v: %s", err, out)
			}
			equal(t, "requests to the provider", len(g.provider.Requests()), 1)
		})
	}
}
