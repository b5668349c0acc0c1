package scorer_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-frontier/frontier/optimizer/scorer"
)

func TestHTTP(t *testing.T) {
	t.Setenv("SCORER_TOKEN", "secret-token")
	for _, r := range []struct {
		name    string
		handler func(w http.ResponseWriter, n int32)
		value   float64
		calls   int32
		err     string // HOST stands for the server's
	}{
		{"judged", func(w http.ResponseWriter, _ int32) { io.WriteString(w, `{"value":0.5,"why":"half","parts":{"a":1}}`) }, 0.5, 1, ""},
		{"busy once", func(w http.ResponseWriter, n int32) {
			if n == 1 {
				w.Header().Set("Retry-After", "0")
				w.WriteHeader(429)
				return
			}
			io.WriteString(w, `{"value":1,"why":""}`)
		}, 1, 2, ""},
		{"down", func(w http.ResponseWriter, _ int32) {
			w.Header().Set("Retry-After", "0")
			http.Error(w, "token secret-token is too good", http.StatusServiceUnavailable)
		}, 0, 2, `record "r1": scorer at HOST: it answered 503 Service Unavailable: "token [redacted] is too good"`},
		{"busy for long", func(w http.ResponseWriter, _ int32) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(503)
		}, 0, 1, `record "r1": scorer at HOST: it answered 503 Service Unavailable`},
		{"hangs up", func(http.ResponseWriter, int32) { panic(http.ErrAbortHandler) }, 0, 2, `record "r1": scorer at HOST: `},
		{"forbidden", func(w http.ResponseWriter, _ int32) { w.WriteHeader(403) }, 0, 1, `record "r1": scorer at HOST: it answered 403 Forbidden`},
		{"redirect", func(w http.ResponseWriter, _ int32) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(307)
		}, 0, 1, `record "r1": scorer at HOST: it answered 307 Temporary Redirect`},
		{"no JSON", func(w http.ResponseWriter, _ int32) { io.WriteString(w, "good") }, 0, 1, `record "r1": scorer at HOST: want JSON such as {"value": 0.5, "why": "…"}: it answered "good"`},
		{"NaN", func(w http.ResponseWriter, _ int32) { io.WriteString(w, `{"value":NaN}`) }, 0, 1, `record "r1": scorer at HOST: want JSON such as {"value": 0.5, "why": "…"}: it answered "{\"value\":NaN}"`},
		{"no value", func(w http.ResponseWriter, _ int32) { io.WriteString(w, `{"value":null}`) }, 0, 1, `record "r1": scorer at HOST: the value is missing: it answered "{\"value\":null}"`},
		{"out of range", func(w http.ResponseWriter, _ int32) { io.WriteString(w, `{"value":1.5}`) }, 0, 1, `record "r1": scorer at HOST: the value 1.5 is not from 0 to 1: it answered "{\"value\":1.5}"`},
		{"part out of range", func(w http.ResponseWriter, _ int32) { io.WriteString(w, `{"value":1,"parts":{"a":-1}}`) }, 0, 1, `record "r1": scorer at HOST: the part "a": -1 is not from 0 to 1: it answered "{\"value\":1,\"parts\":{\"a\":-1}}"`},
		{"too long", func(w http.ResponseWriter, _ int32) { io.WriteString(w, strings.Repeat(" ", 2<<20)) }, 0, 1, `record "r1": scorer at HOST: it answered more than 1048576 bytes`},
	} {
		t.Run(r.name, func(t *testing.T) {
			var calls atomic.Int32
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				var posted struct {
					Case   scorer.Case
					Answer scorer.Answer
				}
				if err := json.NewDecoder(req.Body).Decode(&posted); err != nil || posted.Case.ID != "r1" || posted.Answer.Text != "hi" || req.Header.Get("Authorization") != "Bearer secret-token" {
					t.Errorf("posted %+v, %v, with %v", posted, err, req.Header)
				}
				r.handler(w, calls.Add(1))
			}))
			defer server.Close()
			server.Config.ErrorLog = nil
			s := load(t, fmt.Sprintf(`{"scorer":"http","url":%q,"timeout":"5s","headers":{"Authorization":"Bearer {env.SCORER_TOKEN}"}}`, server.URL+"/score?key=hidden"))
			got, err := s.Score(t.Context(), scorer.Case{ID: "r1", Expected: json.RawMessage(`"x"`)}, scorer.Answer{Text: "hi"})
			want := strings.ReplaceAll(r.err, "HOST", strings.TrimPrefix(server.URL, "http://"))
			if want == "" && err != nil || want != "" && (err == nil || err.Error() != want && !(strings.HasSuffix(want, ": ") && strings.HasPrefix(err.Error(), want))) {
				t.Errorf("got %v\nwant %s", err, want)
			}
			if got.Value != r.value || calls.Load() != r.calls {
				t.Errorf("got %+v after %d calls, want %v after %d", got, calls.Load(), r.value, r.calls)
			}
		})
	}
}

func TestHTTPTimeout(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	defer close(release)
	s := load(t, fmt.Sprintf(`{"scorer":"http","url":%q,"timeout":"20ms"}`, server.URL))
	_, err := s.Score(t.Context(), scorer.Case{ID: "r1"}, scorer.Answer{})
	if want := `record "r1": scorer at ` + strings.TrimPrefix(server.URL, "http://") + ": context deadline exceeded"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
