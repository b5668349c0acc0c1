package integration_test

import (
	"bufio"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestOverload sends far more calls than max_in_flight lets through: what is
// let through is answered, a stream that runs is not touched, the rest is
// refused at once, and the moment after everything is as before.
func TestOverload(t *testing.T) {
	long(t)
	const limit, callers, lasts = 20, 200, 3 * time.Second
	g := newGateway(t)
	g.start(g.standard("limits {\n max_in_flight 20\n }"))

	running, err := g.send(t.Context(), request{model: "openai/pace-20ms", text: words(200), stream: true}) // four seconds
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(running.Body)
	if _, err := lines.ReadString('\n'); err != nil {
		t.Fatal(err)
	}

	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: callers}}
	var mu sync.Mutex
	var answered, refused []time.Duration
	var calls sync.WaitGroup
	end := time.Now().Add(lasts)
	for range callers {
		calls.Go(func() {
			for time.Now().Before(end) {
				begun := time.Now()
				resp, err := client.Post(g.url+"/v1/chat/completions", "application/json", strings.NewReader(`{"model":"openai/slow-100ms","messages":[{"role":"user","content":"hi"}]}`))
				if err != nil {
					t.Error(err)
					return
				}
				body, _ := io.ReadAll(resp.Body)
				_ = resp.Body.Close()
				took := time.Since(begun)
				mu.Lock()
				switch resp.StatusCode {
				case http.StatusOK:
					answered = append(answered, took)
				case http.StatusTooManyRequests:
					refused = append(refused, took)
					if resp.Header.Get("Retry-After") != "1" || !strings.Contains(string(body), `"code":"overloaded"`) {
						t.Errorf("refused with %v: %s", resp.Header, body)
					}
				default:
					t.Errorf("%d: %s", resp.StatusCode, body)
				}
				mu.Unlock()
				if resp.StatusCode == http.StatusTooManyRequests {
					time.Sleep(50 * time.Millisecond) // impatient, against what it was told
				}
			}
		})
	}
	calls.Wait()
	begun := time.Now()
	if a := g.mustChat(request{model: "openai/gpt-4o", text: "again"}); a.text != "you said: again" {
		t.Errorf("after the load: %q", a.text)
	}
	recovered := time.Since(begun)
	rest, err := io.ReadAll(lines)
	if err != nil || !strings.HasSuffix(string(rest), "data: [DONE]\n\n") {
		t.Errorf("the running stream ended with %v, %q", err, rest[max(0, len(rest)-80):])
	}
	slices.Sort(answered)
	slices.Sort(refused)
	if len(answered) < limit || len(refused) < callers {
		t.Fatalf("%d answered, %d refused", len(answered), len(refused))
	}
	if p50 := refused[len(refused)/2]; p50 > 50*time.Millisecond || recovered > 2*time.Second {
		t.Errorf("refused after %s (median), recovered after %s", p50, recovered)
	}
	c := g.settled()
	if made := int64(len(answered) + len(refused) + 2); c.all() != made {
		t.Errorf("%d calls, %d traces, dropped %v", made, c.Written, c.Dropped)
	}
	t.Logf("%d answered, %d refused: p50 %s, p99 %s; recovered after %s; dropped traces %v", len(answered), len(refused),
		refused[len(refused)/2].Round(time.Millisecond), refused[len(refused)*99/100].Round(time.Millisecond), recovered.Round(time.Millisecond), c.Dropped)
}
