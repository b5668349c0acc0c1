package scorer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"
)

func init() { caddy.RegisterModule(new(HTTP)) }

const (
	largestJudgement = 1 << 20 // bytes of an answer of a scorer elsewhere
	retryPause       = 500 * time.Millisecond
)

// HTTP has a server of the user's judge answers. It is posted
//
//	{"case": {"id", "inputs", "messages"?, "expected"}, "answer": {"text", "tool_calls"?, "repeat"?}}
//
// and answers, with a status of 2xx and at most 1 MiB,
//
//	{"value": 0.5, "why": "what is wrong, in words", "parts"?: {"name": 1}, "label"?: "…"}
//
// where the value is from 0 to 1, as are those of the parts. A request that
// gets 429, 5xx, or no answer is made once more, when Retry-After says, or
// after half a second; if that would be after the timeout it is not. Whatever else the
// server answers, redirects too, is an error: the answer is not judged, which is no score of 0.
type HTTP struct {
	// The URL that is posted to. Placeholders such as `{env.SCORER_URL}` are replaced when the scorer is loaded.
	URL string `json:"url,omitempty"`
	// Header fields of the requests, for example for authentication. Placeholders such as `{env.TOKEN}` and
	// `{file.path}` are replaced when the scorer is loaded.
	Headers map[string]string `json:"headers,omitempty"`
	// How long a judgement may take, with a second request if one is made. Default: 30s.
	Timeout caddy.Duration `json:"timeout,omitempty"`
	// Whether the server may judge the same answer differently when `repeat` is another number. Default: false.
	Noisy bool `json:"noisy,omitempty"`
	// How often an answer is judged at least, of a noisy server. Default: 5.
	MinRepeats int `json:"repeats,omitempty"`

	url     string
	host    string // what errors name
	header  http.Header
	secrets *strings.Replacer
	client  *http.Client
}

// CaddyModule returns the Caddy module information.
func (*HTTP) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "llm.scorers.http", New: func() caddy.Module { return new(HTTP) }}
}

// Provision replaces placeholders and makes the client.
func (h *HTTP) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	target, err := repl.ReplaceOrErr(h.URL, true, true)
	if err != nil {
		return fmt.Errorf("url: %w; set it where Caddy runs", err)
	}
	u, err := url.Parse(target)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("url: want one with http:// or https://")
	}
	h.url, h.host, h.header = u.String(), u.Host, http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}}
	var secrets []string
	for name, value := range h.Headers {
		if value, err = repl.ReplaceOrErr(value, true, true); err != nil {
			return fmt.Errorf("headers: %s: %w; set it where Caddy runs", name, err)
		}
		value = strings.TrimSpace(value)
		if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return fmt.Errorf("headers: %q is not a header field, or its value has line breaks", name)
		}
		h.header.Set(name, value)
		for word := range strings.FieldsSeq(value) { // without Bearer, and with
			if len(word) >= 8 {
				secrets = append(secrets, word, "[redacted]")
			}
		}
	}
	for _, values := range u.Query() {
		for _, value := range values {
			if len(value) >= 8 {
				secrets = append(secrets, value, "[redacted]")
			}
		}
	}
	h.secrets = strings.NewReplacer(secrets...)
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConnsPerHost = 16
	h.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }} // no credential goes elsewhere
	return nil
}

// Validate checks the configuration.
func (h *HTTP) Validate() error {
	if h.Timeout < 0 {
		return errors.New("timeout: want more than 0")
	}
	if h.MinRepeats < 0 || h.MinRepeats > 100 {
		return fmt.Errorf("repeats %d: want 1 to 100", h.MinRepeats)
	}
	if h.MinRepeats > 1 && !h.Noisy {
		return errors.New("repeats: they are for servers that are noisy; say so")
	}
	return nil
}

// Cleanup closes connections.
func (h *HTTP) Cleanup() error {
	if h.client != nil {
		h.client.CloseIdleConnections()
	}
	return nil
}

// Repeats is how often an answer should be judged.
func (h *HTTP) Repeats() int {
	if !h.Noisy {
		return 1
	}
	return cmp.Or(h.MinRepeats, 5)
}

// Score judges an answer.
func (h *HTTP) Score(ctx context.Context, c Case, a Answer) (Score, error) {
	body, err := json.Marshal(map[string]any{"case": c, "answer": a})
	if err != nil {
		return Score{}, fmt.Errorf("record %q: %w", c.ID, err)
	}
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(time.Duration(h.Timeout), 30*time.Second))
	defer cancel()
	s, wait, err := h.post(ctx, body)
	if err != nil && wait >= 0 && pause(ctx, wait) {
		s, _, err = h.post(ctx, body)
	}
	if err != nil {
		return Score{}, fmt.Errorf("record %q: scorer at %s: %w", c.ID, h.host, err)
	}
	return s, nil
}

// pause waits, unless the context ends before that.
func pause(ctx context.Context, wait time.Duration) bool {
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= wait {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// post makes a request. With an error, wait is when another may succeed; negative: never.
func (h *HTTP) post(ctx context.Context, body []byte) (s Score, wait time.Duration, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, h.url, bytes.NewReader(body))
	if err != nil {
		return Score{}, -1, errors.New("the request cannot be made")
	}
	req.Header = h.header.Clone()
	resp, err := h.client.Do(req)
	if err != nil {
		return Score{}, retryPause, withoutURL(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, largestJudgement+1))
	switch {
	case resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500:
		return Score{}, retryAfter(resp.Header.Get("Retry-After")), h.came(resp.Status, answer)
	case resp.StatusCode/100 != 2:
		return Score{}, -1, h.came(resp.Status, answer)
	case err != nil:
		return Score{}, retryPause, withoutURL(err)
	case len(answer) > largestJudgement:
		return Score{}, -1, fmt.Errorf("it answered more than %d bytes", largestJudgement)
	}
	if s, err = readJudgement(answer); err != nil {
		return Score{}, -1, fmt.Errorf("%w: it answered %s", err, quote(h.secrets.Replace(string(answer))))
	}
	return s, 0, nil
}

// came says what came instead of a judgement, without the secrets that were sent.
func (h *HTTP) came(status string, answer []byte) error {
	if text := strings.TrimSpace(string(answer)); text != "" {
		return fmt.Errorf("it answered %s: %s", status, quote(h.secrets.Replace(text)))
	}
	return fmt.Errorf("it answered %s", status)
}

// withoutURL takes the URL, which may be a secret, out of an error.
func withoutURL(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		return u.Err
	}
	return err
}

// retryAfter reads the header field of that name.
func retryAfter(text string) time.Duration {
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 && seconds < 1<<20 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(time.Until(at), 0)
	}
	return retryPause
}

// readJudgement reads a score.
func readJudgement(doc []byte) (Score, error) {
	var said struct {
		Value *float64           `json:"value"`
		Why   string             `json:"why"`
		Parts map[string]float64 `json:"parts"`
		Label string             `json:"label"`
	}
	if err := json.Unmarshal(doc, &said); err != nil {
		return Score{}, errors.New(`want JSON such as {"value": 0.5, "why": "…"}`)
	}
	if said.Value == nil {
		return Score{}, errors.New("the value is missing")
	}
	if *said.Value < 0 || *said.Value > 1 {
		return Score{}, fmt.Errorf("the value %v is not from 0 to 1", *said.Value)
	}
	for name, value := range said.Parts {
		if value < 0 || value > 1 {
			return Score{}, fmt.Errorf("the part %q: %v is not from 0 to 1", cut(name, 80), value)
		}
	}
	s := judged(*said.Value, said.Why)
	s.Parts, s.Label = said.Parts, said.Label
	return s, nil
}

// Interface guards
var (
	_ caddy.Provisioner  = (*HTTP)(nil)
	_ caddy.Validator    = (*HTTP)(nil)
	_ caddy.CleanerUpper = (*HTTP)(nil)
	_ Scorer             = (*HTTP)(nil)
	_ Noisy              = (*HTTP)(nil)
)
