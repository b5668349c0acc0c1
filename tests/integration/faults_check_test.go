package integration_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// check compares what became of a case with what is wanted.
func (c *fault) check(t *testing.T, s *faultSuite, o *outcome) {
	c.checkAnswer(t, &o.answer)
	c.checkSeen(t, s, o)
	c.checkTrace(t, o)
	if o.healthy.err != nil || o.healthy.status != http.StatusOK || o.healthy.body != plain {
		t.Errorf("the healthy call afterwards: %d %.200q %v", o.healthy.status, o.healthy.body, o.healthy.err)
	}
	if c.also != nil {
		c.also(t, o)
	}
}

func (c *fault) checkAnswer(t *testing.T, r *reply) {
	t.Helper()
	want := c.status
	if want == 0 {
		want = http.StatusOK
	}
	within := c.within
	if within == 0 {
		within = 2 * time.Second
	}
	if r.err != nil {
		t.Errorf("the answer's framing: %v", r.err)
	}
	if r.status != want {
		t.Errorf("status %d, want %d: %.300q", r.status, want, r.body)
		return
	}
	if r.took > within {
		t.Errorf("took %s, want at most %s", r.took.Round(time.Millisecond), within)
	}
	for _, name := range []string{"Set-Cookie", "Server", "Openai-Organization", "Openai-Project", "X-Ratelimit-Remaining-Requests", "Location", "X-Provider", "Www-Authenticate"} {
		if v := r.header.Values(name); len(v) > 0 && (name != "Server" || v[0] != "Caddy") {
			t.Errorf("the caller got %s: %q", name, v)
		}
	}
	for _, secret := range []string{providerKey, secondKey} {
		if bytes.Contains(r.raw, []byte(secret)) {
			t.Errorf("the caller got a provider's key: %.2000q", r.raw)
		}
	}
	switch {
	case want != http.StatusOK && c.body == "":
		r.mustBeError(t, r.body, c.code)
		if !strings.HasPrefix(r.header.Get("Content-Type"), "application/json") {
			t.Errorf("an error with content type %q", r.header.Get("Content-Type"))
		}
	case c.code == "" || want != http.StatusOK:
		if r.body != c.body && c.body != anything {
			t.Errorf("body\n got %s\nwant %s", excerpt(r.body), excerpt(c.body))
		}
	default: // a stream that was cut
		rest, ok := strings.CutPrefix(r.body, c.body)
		if c.body == anything {
			i := strings.LastIndex(strings.TrimSuffix(r.body, "\n\n"), "\n\n")
			rest, ok = r.body[i+2:], i >= 0
		}
		if !ok {
			t.Errorf("before the error event\n got %s\nwant %s", excerpt(r.body), excerpt(c.body))
			return
		}
		if strings.Contains(rest, "[DONE]") {
			t.Errorf("a terminator behind a cut: %s", excerpt(rest))
		}
		data, ok := strings.CutPrefix(rest, "data: ")
		if c.path == "/v1/responses" {
			data, ok = strings.CutPrefix(rest, "event: error\ndata: ")
		}
		if !ok || strings.Count(rest, "\n\n") != 1 || !strings.HasSuffix(rest, "\n\n") {
			t.Errorf("want one error event at the end, got %s", excerpt(rest))
			return
		}
		if c.path != "/v1/responses" {
			r.mustBeError(t, data, c.code)
		}
	}
}

func (c *fault) checkSeen(t *testing.T, s *faultSuite, o *outcome) {
	t.Helper()
	want := max(c.attempts, 1)
	if len(o.seen) != want {
		t.Errorf("the provider was asked %d times, want %d", len(o.seen), want)
	}
	most := c.most
	if most == 0 {
		most = time.Second
	}
	for i, r := range o.seen {
		if i > 0 {
			if gap := r.at.Sub(o.seen[i-1].at); gap < c.least || gap > most {
				t.Errorf("%s between two attempts, want %s to %s", gap.Round(time.Millisecond), c.least, most)
			}
			if len(r.body) > 0 && !bytes.Equal(r.body, o.seen[0].body) {
				t.Errorf("attempt %d had another body: %s", i+1, excerpt(string(r.body)))
			}
		}
		if !c.passing { // the standard library's proxy does as it likes with TE
			checkHead(t, s, r)
		}
	}
}

// checkHead checks what no request to a provider may carry.
func checkHead(t *testing.T, s *faultSuite, r *seen) {
	t.Helper()
	for _, bad := range []string{clientKey, "caller-cookie", "hop-by-hop", "evil", "Y2FsbGVy", "org-of-caller"} {
		if strings.Contains(r.head, bad) {
			t.Errorf("the provider saw %s: %q", bad, r.head)
		}
	}
	for name, want := range map[string]string{
		"Host": s.first.Addr().String(), "Authorization": "Bearer " + providerKey, "Accept-Encoding": "identity",
		"Content-Type": "application/json", "Connection": "", "Te": "", "Transfer-Encoding": "", "Expect": "",
	} {
		if got := strings.Join(r.field(name), "|"); got != want {
			t.Errorf("the provider saw %s: %q, want %q", name, got, want)
		}
	}
}

func (c *fault) checkTrace(t *testing.T, o *outcome) {
	t.Helper()
	if o.record == "" {
		t.Error("there is no trace")
		return
	}
	for _, secret := range []string{providerKey, secondKey, clientKey} {
		if strings.Contains(o.record, secret) {
			t.Errorf("the trace has a key: %.2000s", o.record)
		}
	}
	if c.passing {
		return // its trace is of metadata, and has no classes
	}
	tr := o.trace
	want := "ok"
	switch {
	case c.class == "":
	case c.status == 0 || c.status == http.StatusOK:
		want = "cut"
	default:
		want = "error"
	}
	status := c.status
	if status == 0 {
		status = http.StatusOK
	}
	if tr.Status != want || tr.ErrorClass != c.class || tr.HTTPStatus != status {
		t.Errorf("trace: %s %q %d, want %s %q %d", tr.Status, tr.ErrorClass, tr.HTTPStatus, want, c.class, status)
	}
	tried := max(c.attempts, 1)
	if c.fallback && len(o.second) > 0 {
		tried++
	}
	if tr.Attempts != tried || len(tr.Spans) != tried {
		t.Errorf("trace: %d attempts and %d spans, want %d", tr.Attempts, len(tr.Spans), tried)
	}
	if n := len(tr.Spans); n > 0 {
		if class := spanClass(c.class); tr.Spans[n-1].ErrorClass != class {
			t.Errorf("trace: the last span has %q, want %q", tr.Spans[n-1].ErrorClass, class)
		}
	}
	if want == "cut" && (tr.Usage == nil || !tr.Usage.Estimated) {
		t.Errorf("trace: the usage of a cut stream is not marked as estimated: %+v", tr.Usage)
	}
}

func spanClass(class string) string {
	if strings.HasPrefix(class, "status_") {
		return "status"
	}
	return class
}

func excerpt(s string) string {
	if len(s) > 1200 {
		return fmt.Sprintf("%q… (%d bytes) …%q", s[:500], len(s), s[len(s)-500:])
	}
	return strconv.Quote(s)
}

// errorShape is OpenAI's error, with our request id.
type errorShape struct {
	Error *struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Code    *string `json:"code"`
	} `json:"error"`
	RequestID string `json:"request_id"`
}

// mustBeError checks an error of the gateway's own, or one passed on when code is "".
func (r *reply) mustBeError(t *testing.T, raw, code string) {
	t.Helper()
	var e errorShape
	if err := json.Unmarshal([]byte(raw), &e); err != nil || e.Error == nil || e.Error.Message == "" {
		t.Errorf("not an error in OpenAI's shape: %.300q", raw)
		return
	}
	if code == "" {
		return
	}
	if e.Error.Code == nil || *e.Error.Code != code || e.Error.Type == "" {
		t.Errorf("error %.300s; want code %s, and a type", raw, code)
	}
	if e.RequestID == "" || e.RequestID != r.header.Get("X-Request-Id") {
		t.Errorf("request_id %q; x-request-id is %q", e.RequestID, r.header.Get("X-Request-Id"))
	}
}
