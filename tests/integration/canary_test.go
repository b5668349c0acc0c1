package integration_test

import (
	"bytes"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeysStayWhereTheyBelong sends calls in every way, with a provider that
// echoes its caller's credential in errors, and looks for keys in everything
// that the gateway answered, logged or wrote.
func TestKeysStayWhereTheyBelong(t *testing.T) {
	long(t)
	const providers, clients, foreign = "sk-canary-of-the-provider-0001", "client-canary-of-a-team-0002", "sk-canary-of-nobody-0003"
	secrets := t.TempDir()
	for name, key := range map[string]string{"provider": providers, "client": clients} {
		if err := os.WriteFile(filepath.Join(secrets, name), []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g := newGateway(t)
	g.start(g.config(`data_dir `+g.data+`
		client_key team {file.`+secrets+`/client}
		provider fake {
			base_url `+g.upstream+`/v1
			api_key {file.`+secrets+`/provider}
		}`, "llm fake"))
	var answers bytes.Buffer
	send := func(key, path, body string) int {
		t.Helper()
		req, err := http.NewRequest(http.MethodPost, g.url+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+key)
		resp, err := g.client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		_ = resp.Header.Write(&answers)
		_, _ = io.Copy(&answers, resp.Body)
		return resp.StatusCode
	}
	for _, model := range []string{"echo", "error-400", "error-401", "error-403", "error-404", "error-429", "error-500", "html", "reset"} {
		for _, stream := range []string{"false", "true"} {
			send(clients, "/v1/chat/completions", `{"model":"`+model+`","stream":`+stream+`,"messages":[{"role":"user","content":"hi"}]}`)
		}
	}
	if got := send(clients, "/v1/files", `{}`); got != http.StatusOK {
		t.Errorf("passed through: %d", got)
	}
	for _, key := range []string{foreign, ""} {
		if got := send(key, "/v1/chat/completions", `{"model":"gpt-4o","messages":[]}`); got != http.StatusUnauthorized {
			t.Errorf("with a key that is none: %d", got)
		}
	}
	for _, seen := range g.provider.Requests() {
		if got := http.Header(seen.Header).Get("Authorization"); got != "Bearer "+providers {
			t.Errorf("%s was sent %q", seen.Path, got)
		}
		if raw := strings.Join([]string{seen.Body, seen.Path}, " "); strings.Contains(raw, clients) {
			t.Error("the client's key went to the provider")
		}
	}
	if n := len(g.provider.Requests()); n < 18 {
		t.Errorf("the provider saw %d requests", n)
	}
	if c := g.settled(); c.Written < 20 {
		t.Errorf("%d traces", c.Written)
	}
	for _, path := range []string{"/llm/traces?limit=1000", "/llm/", "/config/"} {
		resp, err := g.client.Get("http://" + address(g.admin) + path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(&answers, resp.Body)
		_ = resp.Body.Close()
	}
	if !strings.Contains(answers.String(), `"key":"team"`) {
		t.Error("no trace names the client key")
	}
	g.stop()
	look := func(where string, b []byte) {
		for _, key := range []string{providers, clients, foreign} {
			if bytes.Contains(b, []byte(key)) {
				t.Errorf("%s has a key in it: %s", where, key)
			}
		}
	}
	look("an answer", answers.Bytes())
	look("the log", []byte(g.log.String()))
	files := 0
	err := filepath.WalkDir(g.home, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !d.Type().IsRegular() {
			return err
		}
		b, err := os.ReadFile(path)
		files++
		look(path, b)
		return err
	})
	if err != nil || files < 4 {
		t.Errorf("%d files, %v", files, err)
	}
}
