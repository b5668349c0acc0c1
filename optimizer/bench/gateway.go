package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-frontier/frontier" // the gateway
)

// gateway is a Caddy with the gateway in this process, driven by its admin API.
type gateway struct {
	o      *options
	lm     *simlm
	dir    string
	admin  string
	bridge *httptest.Server
}

// startGateway runs a gateway that has a provider for each task and seed: the
// server keeps a budget and the randomness for each key.
func startGateway(lm *simlm, tasks []task, o *options) (*gateway, error) {
	dir, err := os.MkdirTemp("", "frontier-bench-")
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	g := &gateway{o: o, lm: lm, dir: dir, admin: l.Addr().String(), bridge: httptest.NewServer(lm)}
	l.Close()
	providers := map[string]any{}
	for _, t := range tasks {
		for _, seed := range o.seeds {
			env := fmt.Sprintf("FRONTIER_BENCH_%d_%d", t.number, seed)
			if err := os.Setenv(env, g.key(&t, seed)); err != nil {
				return nil, err
			}
			providers[provider(&t, seed)] = map[string]any{"dialect": "openai", "base_url": "http://" + lm.address + "/v1", "api_key": []string{"{env." + env + "}"}}
		}
	}
	config, err := json.Marshal(map[string]any{
		"admin":   map[string]any{"listen": g.admin, "config": map[string]any{"persist": false}},
		"storage": map[string]any{"module": "file_system", "root": filepath.Join(dir, "storage")},
		"logging": map[string]any{"logs": map[string]any{"default": map[string]any{"level": "ERROR"}}},
		"apps":    map[string]any{"llm": map[string]any{"data_dir": filepath.Join(dir, "llm"), "provider": providers}},
	})
	if err != nil {
		return nil, err
	}
	if err := caddy.Load(config, true); err != nil {
		return nil, fmt.Errorf("starting the gateway: %w", err)
	}
	return g, nil
}

func (g *gateway) stop() {
	_ = caddy.Stop()
	g.bridge.Close()
	_ = os.RemoveAll(g.dir)
}

// key is the provider's key: the server counts its calls, and refuses those beyond the number in it.
func (g *gateway) key(t *task, seed int) string {
	return fmt.Sprintf("bench-lim%d-%s-%s-%d", g.o.calls, g.o.mode, t.ID, seed)
}

// provider is the name of a task's provider, prompt and dataset: ids of tasks may have characters that names have not.
func provider(t *task, seed int) string { return fmt.Sprintf("task-%d-%d", t.number, seed) }

// run optimises a task's prompt and returns the held-out score of the result.
func (g *gateway) run(ctx context.Context, t *task, seed int) (score float64, used spending, err error) {
	records, err := g.lm.train(ctx, t.ID)
	if err != nil {
		return 0, used, err
	}
	name := provider(t, seed)
	if err := g.call(ctx, http.MethodPost, "/llm/datasets", map[string]any{"name": name, "records": records}, nil); err != nil {
		return 0, used, err
	}
	if err := g.call(ctx, http.MethodPost, "/llm/prompts", map[string]any{"name": name, "template": t.template()}, nil); err != nil {
		return 0, used, err
	}
	var run struct {
		ID, State string
		Error     *string
	}
	err = g.call(ctx, http.MethodPost, "/llm/optimizations", map[string]any{
		"prompt": name, "dataset": name, "model": name + "/task/" + t.ID, "reflector": name + "/reflect/" + t.ID, "seed": seed,
		"scorer": g.scorer(t, seed), "optimizer": g.o.optimizer, "instructions_only": g.o.mode == "instructions", "register": "never",
		"parameters": map[string]any{"temperature": 0}, "parallelism": g.o.parallelism, "budget": map[string]any{"calls": g.o.calls},
	}, &run)
	for err == nil && (run.State == "running" || run.State == "planned") {
		select {
		case <-ctx.Done():
			return 0, used, ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
		err = g.call(ctx, http.MethodGet, "/llm/runs/"+run.ID, nil, &run)
	}
	if err != nil {
		return 0, used, err
	}
	if used, err = g.lm.spent(g.key(t, seed)); err != nil {
		return 0, used, err
	}
	if run.State != "succeeded" {
		why := ""
		if run.Error != nil {
			why = *run.Error
		}
		return 0, used, fmt.Errorf("the run is %s: %s", run.State, why)
	}
	var report struct {
		Template json.RawMessage `json:"template"`
	}
	if err := g.call(ctx, http.MethodGet, "/llm/runs/"+run.ID+"/report.json", nil, &report); err != nil {
		return 0, used, err
	}
	prompt, err := t.read(report.Template)
	if err != nil {
		return 0, used, err
	}
	score, err = g.lm.holdout(ctx, t.ID, prompt)
	return score, used, err
}

// judgements is how often an answer is judged where the judge is wrong at times.
const judgements = 7

// scorer is the task's scorer: exact is the gateway's own, the others are simlm's.
func (g *gateway) scorer(t *task, seed int) any {
	url := g.bridge.URL + "/score/" + t.ID
	switch {
	case t.JudgeNoise > 0:
		return map[string]any{"scorer": "http", "url": url + "/" + strconv.Itoa(seed), "noisy": true, "repeats": judgements}
	case t.Scorer == "exact":
		return "exact"
	}
	return map[string]any{"scorer": "http", "url": url}
}

// template is a task's prompt as the registry has it.
func (t *task) template() any {
	parts := t.components()
	if len(parts) == 1 && parts[0] != "system" {
		return t.Prompt[parts[0]]
	}
	messages := make([]map[string]string, len(parts))
	for i, name := range parts {
		messages[i] = map[string]string{"role": role(name), "content": t.Prompt[name]}
	}
	return messages
}

func role(component string) string {
	if component == "system" {
		return "system"
	}
	return "user"
}

// read is a template as simlm has the task's prompts.
func (t *task) read(raw json.RawMessage) (map[string]string, error) {
	parts := t.components()
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return map[string]string{parts[0]: text}, nil
	}
	var messages []struct{ Role, Content string }
	if err := json.Unmarshal(raw, &messages); err != nil {
		return nil, err
	}
	if len(messages) != len(parts) {
		return nil, fmt.Errorf("the result has %d messages, and simlm can score %d: %v", len(messages), len(parts), parts)
	}
	prompt := map[string]string{}
	for i, name := range parts {
		if messages[i].Role != role(name) {
			return nil, fmt.Errorf("message %d of the result has the role %s, and simlm can score %s", i, messages[i].Role, role(name))
		}
		prompt[name] = messages[i].Content
	}
	return prompt, nil
}

// call makes a request to the admin API.
func (g *gateway) call(ctx context.Context, method, path string, body, answer any) error {
	var content io.Reader
	if body != nil {
		doc, err := json.Marshal(body)
		if err != nil {
			return err
		}
		content = bytes.NewReader(doc)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+g.admin+path, content)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	doc, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return errors.New(cmp.Or(string(bytes.TrimSpace(doc)), resp.Status))
	}
	if answer == nil {
		return nil
	}
	return json.Unmarshal(doc, answer)
}
