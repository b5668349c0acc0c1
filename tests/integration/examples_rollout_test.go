package integration_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"
)

// runRollout watches the example's rollout to its end; then its candidate fails, and it is aborted.
func runRollout(t *testing.T, g *gateway) {
	text := g.startExample("rollout")
	ctx, stop := context.WithCancel(t.Context())
	var users sync.WaitGroup
	for worker := range 4 {
		users.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				body := fmt.Sprintf(`{"model": "gpt-4", "user": "%d-%d", "messages": [{"role": "user", "content": "Classify sentiment: positive or negative. Text: I love it"}]}`, worker, n)
				resp, err := http.Post(g.url+"/v1/chat/completions", "application/json", strings.NewReader(body)) //nolint:noctx // short, and to a process that is ended
				if err == nil {
					_ = resp.Body.Close()
				}
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	defer users.Wait()
	defer stop()

	watched, code := g.llm(t, "rollout", "watch", "sentiment")
	if code != 0 || strings.Count(watched, "\n") < 5 || !strings.Contains(watched, "completed, all traffic is on candidate") {
		t.Errorf("exit %d\n%s", code, watched)
	}
	declared, code := g.llm(t, "routes", "show", "sentiment", "--caddyfile")
	if code != 0 || strings.Contains(declared, "rollout {") || !strings.Contains(declared, "weight 100%") {
		t.Errorf("exit %d\n%s", code, declared)
	}

	// A candidate with another definition begins anew.
	text = strings.Replace(text, "\t\t\tvariant candidate simulator/gpt-4o-mini\n", "\t\t\tvariant other simulator/gpt-4o-mini {\n\t\t\t\tparam temperature 0\n\t\t\t}\n", 1)
	text = strings.Replace(text, "rollout {", "rollout stable other {", 1)
	text = strings.Replace(text, "model gpt-4o-mini\n", "model gpt-4o-mini {\n\t\t\tfault 400 60%\n\t\t}\n", 1)
	g.mustLoad(text)
	watched, code = g.llm(t, "rollout", "watch", "sentiment")
	if code != 3 || !strings.Contains(watched, "aborted at 20 %: failures") || !strings.Contains(watched, "traces ") {
		t.Errorf("exit %d\n%s", code, watched)
	}
	if r, _ := g.route("sentiment"); r.Weights["stable"] != 100 || r.Weights["other"] != 0 {
		t.Errorf("weights after the abort: %v", r.Weights)
	}
}

// llm runs a command against the gateway.
func (g *gateway) llm(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := g.command(append(append([]string{"llm"}, args...), "--address", address(g.admin))...)
	defer context.AfterFunc(ctx, func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill()
		}
	})()
	out, err := cmd.CombinedOutput()
	exit, failed := errors.AsType[*exec.ExitError](err)
	if failed {
		return string(out), exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(out), 0
}
