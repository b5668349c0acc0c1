package tracing

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/price"
)

func openStore(t testing.TB, o Options) *Store {
	t.Helper()
	if o.FlushInterval == 0 {
		o.FlushInterval = 20 * time.Millisecond
	}
	if o.MinFree == 0 {
		o.MinFree = 1
	}
	s, err := Open(t.TempDir(), nil, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newRecorder(t testing.TB, s *Store, c Config) *Recorder {
	t.Helper()
	r, err := NewRecorder(c, s, price.Embedded())
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func syncStore(t testing.TB, s *Store) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := s.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

// idAt is a UUIDv7 of that time; n counts within the millisecond.
func idAt(t time.Time, n int) string {
	var b [16]byte
	ms := uint64(t.UnixMilli())
	for i := range 6 {
		b[i] = byte(ms >> (40 - 8*i))
	}
	b[6], b[7] = 0x70|byte(n>>8&0xf), byte(n)
	r := rand.Uint64()
	for i := range 8 {
		b[8+i] = byte(r >> (8 * i))
	}
	b[8] = b[8]&0x3f | 0x80
	return hex.EncodeToString(b[:])
}

// parsed makes a call of a request, as the handler would.
func parsed(t testing.TB, path, body string) *call.Call {
	t.Helper()
	r := httptest.NewRequest(http.MethodPost, "/v1/"+path, strings.NewReader(body))
	c, _, _, err := call.Begin(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

var words = strings.Fields(`the quick brown fox jumps over a lazy dog while several engineers measure how many requests each second
	their gateway forwards to models in another region and whether prompts that were written for one of them still work with
	the next because latency cost and quality all change at once customer invoice refund shipment delayed address please answer
	politely summarize classify sentiment positive negative neutral translate into german french japanese report table column`)

func prose(r *rand.Rand, n int) string {
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[r.IntN(len(words))])
		if r.IntN(8) == 0 {
			fmt.Fprintf(&b, " %d", r.IntN(100000))
		}
		b.WriteByte(' ')
	}
	return b.String()[:n]
}

// sampleRecord is a routed chat completion of about 4 KB with varied text.
func sampleRecord(t testing.TB, r *rand.Rand, at time.Time, n int) *Record {
	t.Helper()
	request := `{"model":"sentiment","messages":[{"role":"system","content":"You are a helpful assistant of the shop."},{"role":"user","content":"` +
		prose(r, 2400) + `"}],"temperature":0.2,"max_tokens":400}`
	c := parsed(t, "chat/completions", request)
	c.ID, c.Started = idAt(at, n), at
	c.Route, c.Variant, c.Assignment = "sentiment", []string{"stable", "candidate"}[r.IntN(2)], call.Drawn
	c.Served = call.ServedPrompt{Name: "senti", Version: 1 + r.IntN(2), Source: call.Recognized}
	c.Provider, c.Model = "openai", "gpt-4o-mini"
	c.Session, c.User, c.Key = fmt.Sprintf("session-%d", r.IntN(100000)), fmt.Sprintf("user-%d", r.IntN(20000)), "team-a"
	c.Tags = map[string]string{"env": "prod", "feature": words[r.IntN(20)]}
	c.Usage = &call.Usage{Input: int64(500 + r.IntN(500)), Output: int64(r.IntN(300))}
	c.Finish = "stop"
	c.Status = call.StatusOK
	d := time.Duration(200+r.IntN(2000)) * time.Millisecond
	c.Attempts = []call.Attempt{{Provider: "openai", Model: "gpt-4o-mini", Variant: c.Variant, Started: at, Duration: d, HTTPStatus: 200, Usage: c.Usage, UpstreamRequestID: "req_" + idAt(at, n)}}
	response := `{"id":"chatcmpl-` + idAt(at, n)[:20] + `","object":"chat.completion","created":1700000000,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"` +
		prose(r, 900) + `","refusal":null,"annotations":[]},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":600,"completion_tokens":120,"total_tokens":720,"prompt_tokens_details":{"cached_tokens":0,"audio_tokens":0},"completion_tokens_details":{"reasoning_tokens":0,"audio_tokens":0,"accepted_prediction_tokens":0,"rejected_prediction_tokens":0}},"service_tier":"default","system_fingerprint":"fp_44added55e"}`
	rec := NewRecord(c)
	rec.HTTPStatus, rec.Duration, rec.Status = 200, d, c.Status
	rec.Response = append(call.Buffer(len(response)), response...)
	return rec
}

// events writes the data of a stream with the given line end.
func events(end string, data ...string) string {
	var b strings.Builder
	for _, d := range data {
		b.WriteString("data: " + d + end + end)
	}
	return b.String()
}

func sameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("not JSON: %v: %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(g, w) {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
