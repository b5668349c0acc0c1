package tracing

import (
	"encoding/json"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-frontier/frontier/internal/api"
)

// adminMux mounts the routes as the root does.
func adminMux(lookup func() (*Store, error)) http.Handler {
	mux := http.NewServeMux()
	for _, route := range Routes(lookup) {
		mux.HandleFunc(route.Method+" /llm"+route.Path, func(w http.ResponseWriter, r *http.Request) {
			if err := route.Handle(w, r); err != nil {
				api.WriteError(w, err)
			}
		})
	}
	return mux
}

func TestAdminAPI(t *testing.T) {
	s := openStore(t, Options{FlushInterval: time.Hour})
	rec := newRecorder(t, s, Config{})
	r := rand.New(rand.NewPCG(11, 11))
	var id string
	for i := range 5 {
		rc := sampleRecord(t, r, time.Now().Add(-time.Duration(i)*time.Minute), i)
		if i == 0 {
			id = rc.Call.ID
		}
		rec.Offer(rc)
	}
	syncStore(t, s)
	mux := adminMux(func() (*Store, error) { return s, nil })
	for _, test := range []struct {
		method, url, body string
		status            int
		want              string // in the answer
	}{
		{"GET", "/llm/traces", "", 200, `"next_cursor":null`},
		{"GET", "/llm/traces?limit=2", "", 200, `"next_cursor":"`},
		{"GET", "/llm/traces?since=90s&route=sentiment&status=ok&tag.env=prod", "", 200, id},
		{"GET", "/llm/traces?since=2020-01-01T00:00:00Z&until=1h", "", 200, `{"items":[],"next_cursor":null}`},
		{"GET", "/llm/traces?limit=0", "", 400, `"field":"limit"`},
		{"GET", "/llm/traces?limit=1001", "", 400, "from 1 to 1000"},
		{"GET", "/llm/traces?version=x", "", 400, `"field":"version"`},
		{"GET", "/llm/traces?status=bad", "", 400, "ok, error, cut or cancelled"},
		{"GET", "/llm/traces?since=yesterday", "", 400, "15m or 7d"},
		{"GET", "/llm/traces?cursor=zzz", "", 400, `"field":"cursor"`},
		{"GET", "/llm/traces?rout=x", "", 400, "want one of route, variant, model"},
		{"GET", "/llm/traces?route=a&route=b", "", 400, "2 times"},
		{"GET", "/llm/traces/" + id, "", 200, `"request":{"model":"sentiment"`},
		{"GET", "/llm/traces/" + id + "?x=1", "", 400, "unknown parameter"},
		{"GET", "/llm/traces/xyz", "", 400, "32 hex digits"},
		{"GET", "/llm/traces/" + idAt(time.Now(), 9), "", 404, "not_found"},
		{"POST", "/llm/traces/" + id + "/feedback", `{"name":"quality","value":0.9,"source":"bob"}`, 201, `"source":"bob"`},
		{"POST", "/llm/traces/" + id + "/feedback", `{"value":0.9}`, 400, `"field":"name"`},
		{"POST", "/llm/traces/" + id + "/feedback", `{"nam":"x"}`, 400, `"field":"nam"`},
		{"POST", "/llm/traces/" + idAt(time.Now(), 9) + "/feedback", `{"name":"a","value":1}`, 404, "not_found"},
		{"GET", "/llm/stats", "", 200, `"route":"sentiment","variant":`},
		{"GET", "/llm/stats?group_by=model&since=7d", "", 200, `"model":"openai/gpt-4o-mini"`},
		{"GET", "/llm/stats?group_by=user", "", 400, `"field":"group_by"`},
		{"GET", "/llm/stats?user=x", "", 400, "unknown parameter"},
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(test.method, test.url, strings.NewReader(test.body)))
		if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) || !json.Valid(w.Body.Bytes()) {
			t.Errorf("%s %s: got %d %.300s, want %d %s", test.method, test.url, w.Code, w.Body, test.status, test.want)
		}
	}
	_ = s.Close()
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/llm/traces", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("closed store: %d %s", w.Code, w.Body)
	}
}

// The names of the fields are those of the design.
func TestRowNames(t *testing.T) {
	b, _ := json.Marshal(Row{})
	var got map[string]any
	_ = json.Unmarshal(b, &got)
	for name := range strings.FieldsSeq("id started_at duration_ms ttft_ms route variant assignment provider model requested_model prompt stream status http_status error_class finish_reason attempts usage cost_usd session user key conversation tags client_retry") {
		if _, ok := got[name]; !ok {
			t.Errorf("no %s in %s", name, b)
		}
	}
}
