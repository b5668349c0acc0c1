package routing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-frontier/frontier/routing/rollout"
)

// announcement is an event of a rollout, as it is told to the world: through
// Caddy's events app, and posted to the webhook.
type announcement struct {
	Event   string             `json:"event"`
	Route   string             `json:"route"`
	Text    string             `json:"text"`
	At      time.Time          `json:"at"`
	Phase   rollout.Phase      `json:"phase"`
	Step    int                `json:"step"`
	Steps   int                `json:"steps"`
	Weights map[string]float64 `json:"weights"`
	Actor   string             `json:"actor"` // "": nobody's decision, or not told
	Traces  []string           `json:"traces"`

	emit    func(name string, data map[string]any)
	webhook string
}

const (
	handlersTimeout = 10 * time.Second
	webhookAttempts = 3
	webhookTimeout  = 10 * time.Second
)

// announce hands an event to tell and to post. Holds mu, and does not wait.
func (c *controller) announce(e *rollout.Effect) {
	a := announcement{
		Event: e.Name, Route: c.route, Text: e.Text, At: c.status.Since, Phase: c.status.Phase,
		Step: c.status.Step, Steps: c.status.Steps, Weights: maps.Clone(c.status.Weights), Actor: c.status.Actor, Traces: append([]string{}, e.Traces...),
	}
	if len(c.routes) > 0 {
		a.emit = c.routes[0].table.Emit
	}
	if c.plan != nil {
		a.webhook = c.plan.Spec().Webhook
	}
	for _, box := range []chan announcement{c.untold, c.unposted} {
		select {
		case box <- a:
		default:
			c.log.Error("an event of the rollout is not told: too many wait for their receiver", zap.String("event", a.Event))
		}
	}
}

// tell has the handlers of Caddy's events app hear of events, one after
// another. They may block; whoever comes next waits for them in bounded time.
func (c *controller) tell() {
	for {
		select {
		case <-c.stop:
			return
		case a := <-c.untold:
			if a.emit == nil {
				continue
			}
			heard := make(chan struct{})
			go func() { // ends when the last handler does
				defer close(heard)
				a.emit(a.Event, a.data())
			}()
			select {
			case <-c.stop:
			case <-heard:
			case <-time.After(handlersTimeout):
				c.log.Error("a handler of an event of the rollout does not end; it is not waited for any longer", zap.String("event", a.Event))
			}
		}
	}
}

// post posts events to the webhook, one after another, each in bounded time.
func (c *controller) post() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c.running.Go(func() { <-c.stop; cancel() })
	client := &http.Client{
		Timeout:       webhookTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	for {
		select {
		case <-c.stop:
			return
		case a := <-c.unposted:
			if a.webhook == "" {
				continue
			}
			if err := a.post(ctx, client); err != nil {
				c.log.Error("the webhook was not told of an event of the rollout", zap.String("event", a.Event), zap.String("text", a.Text), zap.Error(err))
			}
		}
	}
}

// data is the event's for handlers of Caddy's events app.
func (a *announcement) data() map[string]any {
	return map[string]any{
		"route": a.Route, "text": a.Text, "phase": string(a.Phase), "step": a.Step, "steps": a.Steps, "weights": a.Weights, "actor": a.Actor, "traces": a.Traces,
	}
}

// post posts the event, and posts it again when that fails.
func (a *announcement) post(ctx context.Context, client *http.Client) error {
	target, err := caddy.NewReplacer().ReplaceOrErr(a.webhook, true, true)
	if err != nil {
		return fmt.Errorf("webhook event: %w; set it where Caddy runs", err)
	}
	body, err := json.Marshal(a)
	if err != nil {
		return err
	}
	for n := 1; ; n++ {
		if err = attempt(ctx, client, target, body); err == nil || n == webhookAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(n) * time.Second):
		}
	}
}

func attempt(ctx context.Context, client *http.Client, target string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("webhook event: want a URL with http:// or https://")
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := client.Do(req)
	if err != nil {
		if f, ok := errors.AsType[*url.Error](err); ok {
			err = f.Err // without the URL, which may be a secret
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("it answered %s", resp.Status)
	}
	return nil
}
