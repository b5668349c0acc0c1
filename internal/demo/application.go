package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Application is a program that calls a model by OpenAI's API. It knows the
// gateway's URL and nothing else of it, and has no key.
type Application struct {
	url        string
	parameters map[string]json.RawMessage
	client     *http.Client
}

// NewApplication makes one that calls the API at a base URL with the given parameters.
func NewApplication(url string, parameters map[string]json.RawMessage) *Application {
	return &Application{url: url, parameters: parameters, client: &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{MaxIdleConnsPerHost: 1000}, // and no proxy
	}}
}

// Close closes idle connections.
func (a *Application) Close() { a.client.CloseIdleConnections() }

// Call is one chat completion that an application asks for.
type Call struct {
	Model   string
	Message string  // of the user; "": none
	Prompt  *Prompt // nil: none
	User    string
	Tag     string // key=value, kept with the trace
}

// Prompt names a registered prompt, as OpenAI's parameter of that name does.
type Prompt struct {
	ID        string            `json:"id"`
	Version   string            `json:"version"`
	Variables map[string]string `json:"variables"`
}

// Answer is an answer, with what the gateway's headers say of it.
type Answer struct {
	Text    string
	Trace   string
	Model   string
	Variant string
	Prompt  string
}

// answerLimit bounds an answer, which is a few words.
const answerLimit = 1 << 20

// Ask makes a call.
func (a *Application) Ask(ctx context.Context, c Call) (Answer, error) {
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	body := map[string]any{"model": c.Model, "messages": []message{}}
	for name, value := range a.parameters {
		body[name] = value
	}
	if c.Message != "" {
		body["messages"] = []message{{"user", c.Message}}
	}
	if c.Prompt != nil {
		body["prompt"] = c.Prompt
	}
	if c.User != "" {
		body["user"] = c.User
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return Answer{}, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+"/chat/completions", bytes.NewReader(raw))
	if err != nil {
		return Answer{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if c.Tag != "" {
		req.Header.Set("LLM-Tags", c.Tag)
	}
	resp, err := a.client.Do(req)
	if err != nil {
		return Answer{}, fmt.Errorf("calling the gateway: %w", err)
	}
	defer resp.Body.Close()
	raw, err = io.ReadAll(io.LimitReader(resp.Body, answerLimit))
	if err != nil {
		return Answer{}, fmt.Errorf("reading the gateway's answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return Answer{}, fmt.Errorf("the gateway answers a call of %s with HTTP status %d: %s", c.Model, resp.StatusCode, bytes.TrimSpace(raw))
	}
	var answer struct {
		Choices []struct {
			Message message `json:"message"`
		} `json:"choices"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil || len(answer.Choices) == 0 {
		return Answer{}, fmt.Errorf("the gateway's answer is no chat completion: %s", bytes.TrimSpace(raw))
	}
	h := resp.Header
	return Answer{
		Text: answer.Choices[0].Message.Content, Trace: h.Get("X-Request-Id"),
		Model: h.Get("LLM-Model"), Variant: h.Get("LLM-Variant"), Prompt: h.Get("LLM-Prompt"),
	}, nil
}

// AskAll makes calls, so many at once, and returns the answers in their order.
// done is told how many there are, one after another. The first error ends it.
func (a *Application) AskAll(ctx context.Context, calls []Call, atOnce int, done func(n int)) ([]Answer, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var (
		workers sync.WaitGroup
		mu      sync.Mutex
		n       int
	)
	answers := make([]Answer, len(calls))
	next := make(chan int)
	for range min(atOnce, len(calls)) {
		workers.Go(func() { // ends with next; waited for below
			for i := range next {
				answer, err := a.Ask(ctx, calls[i])
				if err != nil {
					cancel(err)
					continue
				}
				answers[i] = answer
				mu.Lock()
				n++
				done(n)
				mu.Unlock()
			}
		})
	}
	for i := range calls {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	workers.Wait()
	return answers, context.Cause(ctx)
}
