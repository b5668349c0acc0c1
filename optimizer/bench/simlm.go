package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// simlm is the benchmark, as its command line offers it.
type simlm struct {
	dir, tasks string
	address    string // of its server
	server     *exec.Cmd

	mu      sync.Mutex
	scorers map[string]*scorer
}

// task is one of the benchmark's.
type task struct {
	ID         string            `json:"id"`
	Prompt     map[string]string `json:"prompt"` // by component: prompt, or system and user
	Scorer     string            `json:"scorer"`
	JudgeNoise float64           `json:"judge_noise"`

	number int
}

// components are the names of the parts that the task's prompt has, in the order of their messages.
func (t *task) components() []string {
	return slices.DeleteFunc([]string{"system", "user", "prompt"}, func(name string) bool { return t.Prompt[name] == "" })
}

// record is a training record.
type record struct {
	ID       string            `json:"id"`
	Inputs   map[string]string `json:"inputs"`
	Expected json.RawMessage   `json:"expected"`
}

func (s *simlm) command(ctx context.Context, args ...string) *exec.Cmd {
	//nolint:gosec // whoever runs the benchmark says where it is
	cmd := exec.CommandContext(ctx, "python3", append([]string{filepath.Join(s.dir, "simlm.py")}, args...)...)
	cmd.Stderr = os.Stderr
	return cmd
}

// list returns the tasks.
func (s *simlm) list(ctx context.Context) (tasks []task, err error) {
	out, err := s.command(ctx, "tasks", s.tasks).Output()
	if err != nil {
		return nil, fmt.Errorf("listing the tasks: %w", err)
	}
	if err := lines(out, &tasks); err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return nil, fmt.Errorf("%s has no tasks", s.tasks)
	}
	sortTasks(tasks)
	for i := range tasks {
		tasks[i].number = i + 1
	}
	return tasks, nil
}

// train returns a task's training records.
func (s *simlm) train(ctx context.Context, id string) (records []record, err error) {
	out, err := s.command(ctx, "train", id, s.tasks).Output()
	if err != nil {
		return nil, fmt.Errorf("reading the training records: %w", err)
	}
	return records, lines(out, &records)
}

// lines reads JSON, one value a line.
func lines[T any](out []byte, list *[]T) error {
	for line := range bytes.Lines(out) {
		var v T
		if err := json.Unmarshal(line, &v); err != nil {
			return fmt.Errorf("reading what simlm prints: %w", err)
		}
		*list = append(*list, v)
	}
	return nil
}

// holdout scores a prompt on records that nobody has seen.
func (s *simlm) holdout(ctx context.Context, id string, prompt map[string]string) (float64, error) {
	file, err := os.CreateTemp("", "prompt-*.json")
	if err != nil {
		return 0, err
	}
	defer os.Remove(file.Name())
	if err := errors.Join(json.NewEncoder(file).Encode(prompt), file.Close()); err != nil {
		return 0, err
	}
	out, err := s.command(ctx, "holdout", id, file.Name(), s.tasks).Output()
	if err != nil {
		return 0, fmt.Errorf("scoring the result: %w", err)
	}
	return strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
}

// serve starts the server, and waits until it answers.
func (s *simlm) serve(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	s.address = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(s.address)
	s.server = s.command(ctx, "serve", port, s.tasks)
	if err := s.server.Start(); err != nil {
		return fmt.Errorf("starting simlm: %w", err)
	}
	for range 600 {
		resp, err := http.Get("http://" + s.address + "/v1/models")
		if err == nil {
			resp.Body.Close()
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.close()
	return errors.New("simlm does not answer")
}

func (s *simlm) close() {
	for _, sc := range s.scorers {
		sc.in.Close()
	}
	if s.server != nil && s.server.Process != nil {
		_ = s.server.Process.Kill()
		_ = s.server.Wait()
	}
}

// spending is what the server counted of a key.
type spending struct {
	Task    int `json:"task"`
	Reflect int `json:"reflect"`
}

func (s *simlm) spent(key string) (n spending, err error) {
	resp, err := http.Get("http://" + s.address + "/runs/" + key)
	if err != nil {
		return n, err
	}
	defer resp.Body.Close()
	return n, json.NewDecoder(resp.Body).Decode(&n)
}

// scorer is a process that scores answers to a task's training records.
type scorer struct {
	mu  sync.Mutex
	in  io.WriteCloser
	out *bufio.Reader
}

// ServeHTTP is the bridge from the gateway's http scorer to simlm's: the path
// names the task and, for a judge that is wrong at times, a salt.
func (s *simlm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var body struct {
		Case struct {
			ID string `json:"id"`
		} `json:"case"`
		Answer struct {
			Text   string `json:"text"`
			Repeat int    `json:"repeat"`
		} `json:"answer"`
	}
	id, salt, noisy := strings.Cut(strings.TrimPrefix(r.URL.Path, "/score/"), "/")
	err := json.NewDecoder(r.Body).Decode(&body)
	if err == nil {
		question := map[string]any{"id": body.Case.ID, "output": body.Answer.Text}
		if noisy {
			question["salt"] = salt + ":" + strconv.Itoa(body.Answer.Repeat)
		}
		var line []byte
		if line, err = s.score(id, question); err == nil {
			var verdict struct {
				Score    float64 `json:"score"`
				Feedback string  `json:"feedback"`
			}
			if err = json.Unmarshal(line, &verdict); err == nil {
				w.Header().Set("Content-Type", "application/json")
				_ = json.NewEncoder(w).Encode(map[string]any{"value": verdict.Score, "why": verdict.Feedback})
				return
			}
		}
	}
	http.Error(w, err.Error(), http.StatusBadRequest)
}

// score has one answer scored.
func (s *simlm) score(id string, question any) ([]byte, error) {
	sc, err := s.scorer(id)
	if err != nil {
		return nil, err
	}
	line, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	sc.mu.Lock()
	defer sc.mu.Unlock()
	if _, err := sc.in.Write(append(line, '\n')); err != nil {
		return nil, err
	}
	return sc.out.ReadBytes('\n')
}

func (s *simlm) scorer(id string) (*scorer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sc := s.scorers[id]; sc != nil {
		return sc, nil
	}
	cmd := s.command(context.Background(), "score", id, "-", s.tasks) // ends when its input does
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting simlm's scorer: %w", err)
	}
	sc := &scorer{in: in, out: bufio.NewReader(out)}
	if s.scorers == nil {
		s.scorers = map[string]*scorer{}
	}
	s.scorers[id] = sc
	return sc, nil
}
