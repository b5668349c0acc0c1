package call_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/caddy-frontier/frontier/internal/call"
)

var keys []call.ClientKey // set by a test

func begin(t *testing.T, method, path, body string, header ...string) (*call.Call, *http.Request, *call.Error) {
	t.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	c, r, first, err := call.Begin(r, &call.Admission{MaxBody: 1000, Keys: keys})
	if c != nil && !first {
		t.Fatal("not the first")
	}
	return c, r, err
}

func TestFronts(t *testing.T) {
	for request, want := range map[string]call.Front{
		"POST /v1/chat/completions": call.ChatCompletions, "POST /v1/completions": call.Completions, "POST /v1/embeddings": call.Embeddings,
		"POST /v1/responses": call.Responses, "GET /v1/models": call.Models, "GET /v1/models/gpt-4": call.Models, "POST /v1/feedback": call.Feedback,
		"GET /v1/realtime": call.Realtime, "GET /v1/responses/resp_1": call.Other, "POST /v1/files": call.Other, "GET /v1/chat/completions": call.Other,
		"DELETE /v1/models/x": call.Other, "POST /v1/messages": call.Messages, "POST /v1/messages/count_tokens": call.CountTokens, "POST /v1/messages/batches": call.Other,
	} {
		method, path, _ := strings.Cut(request, " ")
		c, _, err := begin(t, method, path, `{}`)
		if c == nil || err != nil || c.Front != want {
			t.Errorf("%s: got %+v, %v; want %s", request, c, err, want)
		}
	}
	for _, path := range []string{"/", "/v1", "/v2/chat/completions", "/health"} {
		if c, _, _ := begin(t, "POST", path, "{}"); c != nil {
			t.Errorf("%s is taken for a call", path)
		}
	}
}

func TestBadRequests(t *testing.T) {
	tests := map[string]struct {
		body, want string
		status     int
	}{
		"not JSON":          {`hello`, "not acceptable JSON", 400},
		"two models":        {`{"model":"a","model":"b"}`, `member "model" repeated`, 400},
		"depth bomb":        {`{"a":` + strings.Repeat("[", 400) + strings.Repeat("]", 400) + `}`, "nested deeper", 400},
		"model a number":    {`{"model":5}`, `"model" must be a string`, 400},
		"stream a string":   {`{"model":"a","stream":"yes"}`, `"stream" must be true or false`, 400},
		"messages a text":   {`{"model":"a","messages":"hi"}`, `"messages" must be a list`, 400},
		"too large":         {`{"model":"` + strings.Repeat("a", 1000) + `"}`, "larger than the limit of 1000 bytes", 413},
		"messages of texts": {`{"model":"a","messages":["hi"]}`, `"messages" must be a list of objects`, 400},
		"role a number":     {`{"model":"a","messages":[{"role":5}]}`, `"messages[].role" must be a string`, 400},
		"two roles":         {`{"model":"a","messages":[{"role":"user","role":"system","content":"x"}]}`, `"messages[].role" is there more than once`, 400},
		"two contents":      {`{"model":"a","messages":[{"role":"user","content":"a","content":"b"}]}`, `"messages[].content" is there more than once`, 400},
		"n a text":          {`{"model":"a","n":"2","messages":[]}`, `"n" must be a whole number`, 400},
		"n nothing":         {`{"model":"a","n":0,"messages":[]}`, `"n" must be a whole number`, 400},
		"stream_options":    {`{"model":"a","stream_options":true,"messages":[]}`, `"stream_options" must be an object`, 400},
		"usage asked twice": {`{"model":"a","stream_options":{"include_usage":true,"include_usage":false},"messages":[]}`, `"stream_options.include_usage" is there more than once`, 400},
		"lone surrogate":    {`{"model":"\ud800"}`, `"model" must be valid text`, 400},
		"nothing":           {``, "empty document", 400},
		"null model is no":  {`{"model":null}`, "", 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _, err := begin(t, "POST", "/v1/chat/completions", tt.body)
			if tt.want == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || err.Status != tt.status || !strings.Contains(err.Message, tt.want) {
				t.Fatalf("got %+v, want %d with %q", err, tt.status, tt.want)
			}
			if c == nil {
				t.Fatal("no call: the error could be neither answered nor traced")
			}
		})
	}
}

func TestBodyCanBeReadAgain(t *testing.T) {
	const body = `{"model":"m","messages":[]}`
	_, r, _ := begin(t, "POST", "/v1/chat/completions", body)
	if b, _ := io.ReadAll(r.Body); string(b) != body {
		t.Errorf("got %q", b)
	}
	c, _, first, err := call.Begin(r, nil)
	if first || err != nil || c == nil {
		t.Error("the second handler parsed it again")
	}
}

func TestIdentity(t *testing.T) {
	c, _, _ := begin(t, "POST", "/v1/chat/completions",
		`{"model":"m","user":"body-user","metadata":{"team":"search","session_id":"meta-session"},"messages":[]}`,
		"Baggage", "session.id=bag%20session,user.id=bag-user;p=1", "LLM-Tags", "team=ads, env=prod", "Traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		"Authorization", "Bearer sk-secret", "X-Stainless-Retry-Count", "1", "LLM-Capture", "metadata")
	if c.Session != "bag session" || c.User != "bag-user" {
		t.Errorf("session %q, user %q", c.Session, c.User)
	}
	if c.Tags["team"] != "ads" || c.Tags["env"] != "prod" {
		t.Errorf("tags %v", c.Tags)
	}
	if c.W3CTraceID != "0af7651916cd43dd8448eb211c80319c" || !c.Retry || c.Capture != call.CaptureMetadata {
		t.Errorf("%+v", c)
	}
	if c.Key == "" || strings.Contains(c.Key, "secret") {
		t.Errorf("key %q", c.Key)
	}
	if len(c.ID) != 32 || c.ID[12] != '7' {
		t.Errorf("id %q is no UUIDv7", c.ID)
	}
}

func TestClientKeys(t *testing.T) {
	team, err := call.ParseClientKey("team", "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b") // of "secret"
	if err != nil {
		t.Fatal(err)
	}
	other, err := call.ParseClientKey("other", "a-key-of-some-length")
	if err != nil {
		t.Fatal(err)
	}
	keys = []call.ClientKey{team, other}
	defer func() { keys = nil }()
	for credential, want := range map[string]string{"Bearer secret": "team", "bearer a-key-of-some-length": "other", "Bearer wrong": "", "": "", "Bearer ": "", "secret": "team"} {
		c, _, err := begin(t, "POST", "/v1/chat/completions", `{"model":"m"}`, "Authorization", credential)
		if c.Key != want || (err == nil) != (want != "") || c.Authenticated != (want != "") {
			t.Errorf("%q: key %q, %v", credential, c.Key, err)
		}
		if err != nil && (err.Status != 401 || err.Code != "invalid_api_key" || c.Body != nil) {
			t.Errorf("%q: %+v, %d bytes read", credential, err, len(c.Body))
		}
	}
	if c, _, err := begin(t, "GET", "/v1/models", "", "X-Api-Key", "secret"); err != nil || c.Key != "team" {
		t.Errorf("x-api-key: %v", err)
	}
	for _, bad := range []string{"sha256:12", "sha256:zz", "short"} {
		if _, err := call.ParseClientKey("k", bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestConversation(t *testing.T) {
	of := func(body string, header ...string) string {
		c, _, err := begin(t, "POST", "/v1/chat/completions", body, header...)
		if err != nil {
			t.Fatal(err)
		}
		return c.Conversation
	}
	first := of(`{"messages":[{"role":"system","content":"Today is 2026-11-23 10:15."},{"role":"user","content":"hi"}]}`)
	if later := of(`{"messages":[{"role":"system","content":"Today is 2026-11-24 09:01."},{"role":"user","content":"hi"},{"role":"assistant","content":"ho"},{"role":"user","content":"more"}]}`); later != first {
		t.Error("a later turn is another conversation")
	}
	if other := of(`{"messages":[{"role":"system","content":"Today is 2026-11-23 10:15."},{"role":"user","content":"hello"}]}`); other == first {
		t.Error("another first message is the same conversation")
	}
	if other := of(`{"messages":[{"role":"system","content":"Today is 2026-11-23 10:15."},{"role":"user","content":"hi"}]}`, "LLM-User", "u2"); other == first {
		t.Error("another user is the same conversation")
	}
	if none := of(`{"messages":[]}`); none != "" {
		t.Errorf("no messages, but conversation %q", none)
	}
	c, _, _ := begin(t, "POST", "/v1/responses", `{"model":"m","input":"x","conversation":{"id":"conv_1"}}`)
	if c.Conversation != "conv_1" || !c.Continued {
		t.Errorf("conversation %q, continued %v", c.Conversation, c.Continued)
	}
}

func TestMessages(t *testing.T) {
	tests := map[string]struct {
		path, body string
		roles      []call.Role
		texts      []string // "-": none
		continued  bool
	}{
		"chat": {
			"/v1/chat/completions", `{"messages":[{"content":"a","role":"developer"},{"role":"user","content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{}}]},{"role":"user","content":[{"type":"text","text":"c"},{"type":"text","text":"d"}]}]}`,
			[]call.Role{call.System, call.User, call.User},
			[]string{"a", "b", "-"},
			false,
		},
		"tool result": {
			"/v1/chat/completions", `{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":null,"tool_calls":[]},{"role":"tool","content":"r"}]}`,
			[]call.Role{call.User, call.Assistant, call.Tool},
			[]string{"a", "-", "r"},
			true,
		},
		"responses, text":  {"/v1/responses", `{"instructions":"i","input":"x"}`, []call.Role{call.System, call.User}, []string{"i", "x"}, false},
		"responses, items": {"/v1/responses", `{"input":[{"role":"user","content":[{"type":"input_text","text":"x"}]},{"type":"function_call","name":"f"},{"type":"function_call_output","output":"1"}]}`, []call.Role{call.User, call.Assistant, call.Tool}, []string{"x", "-", "-"}, true},
		"completions":      {"/v1/completions", `{"prompt":"p"}`, []call.Role{call.User}, []string{"p"}, false},
		"messages": {
			"/v1/messages", `{"system":[{"type":"text","text":"s","cache_control":{}}],"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image"}]},{"role":"assistant","content":"b"},{"role":"user","content":[{"type":"tool_result","content":"r"},{"type":"text","text":"c"}]}]}`,
			[]call.Role{call.System, call.User, call.Assistant, call.Tool},
			[]string{"s", "a", "b", "c"},
			true,
		},
		"messages, plain":            {"/v1/messages/count_tokens", `{"messages":[{"role":"user","content":"a"}],"system":"s"}`, []call.Role{call.System, call.User}, []string{"s", "a"}, false},
		"messages, two system texts": {"/v1/messages", `{"messages":[],"system":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}`, []call.Role{call.System}, []string{"-"}, false},
		"odd elements":               {"/v1/chat/completions", `{"messages":[{"role":"narrator","content":{}},{"content":[1,"x"]},{}]}`, []call.Role{0, 0, 0}, []string{"-", "-", "-"}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _, err := begin(t, "POST", tt.path, tt.body)
			if err != nil {
				t.Fatal(err)
			}
			if len(c.Messages) != len(tt.roles) || c.Continued != tt.continued {
				t.Fatalf("%d messages, continued %v", len(c.Messages), c.Continued)
			}
			for i := range c.Messages {
				text, ok := c.Messages[i].Decode(c.Body)
				if !ok {
					text = "-"
				}
				if c.Messages[i].Role != tt.roles[i] || text != tt.texts[i] {
					t.Errorf("message %d: role %d, text %q", i, c.Messages[i].Role, text)
				}
			}
		})
	}
}

func TestBuffers(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 4097, 1 << 20, 5 << 20} {
		b := call.Buffer(n)
		if len(b) != 0 || cap(b) < n {
			t.Errorf("Buffer(%d) has length %d, capacity %d", n, len(b), cap(b))
		}
		call.FreeBuffer(b)
	}
	call.FreeBuffer(make([]byte, 10)) // one of another size is left alone
	call.FreeBuffer(nil)
}

func FuzzBegin(f *testing.F) {
	f.Add("/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"x"}],"metadata":{"a":"b"}}`)
	f.Add("/v1/responses", `{"input":[{"type":"message"}],"conversation":{"id":1}}`)
	f.Fuzz(func(t *testing.T, path, body string) {
		if !strings.HasPrefix(path, "/v1/") || strings.ContainsAny(path, " ?#%\x7f") {
			return
		}
		for _, ch := range path {
			if ch < 0x20 || ch > 0x7e {
				return
			}
		}
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		c, _, _, err := call.Begin(r, nil)
		if c == nil {
			t.Fatal("no call")
		}
		if err == nil {
			for i := range c.Messages {
				_, _ = c.Messages[i].Decode(c.Body)
			}
		}
	})
}

func BenchmarkBegin(b *testing.B) {
	for name, size := range map[string]int{"1KB": 1, "10KB": 10, "100KB": 100} {
		body := `{"model":"gpt-4o-mini","temperature":0.2,"user":"bench","messages":[{"role":"system","content":"You are terse."}` +
			strings.Repeat(`,{"role":"user","content":"`+strings.Repeat("some words\\n", 90)+`"}`, size) + `]}`
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(body))
				c, _, _, err := call.Begin(r, nil)
				if err != nil {
					b.Fatal(err)
				}
				call.FreeBuffer(c.Body)
			}
		})
	}
}

// slowBody never ends: its last read runs into the server's deadline.
type slowBody struct{ io.Reader }

func (b slowBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		return n, os.ErrDeadlineExceeded
	}
	return n, nil
}

func TestUploadsThatFail(t *testing.T) {
	for name, tt := range map[string]struct {
		body   io.Reader
		length int64
		status int
	}{
		"too slow":               {slowBody{strings.NewReader(`{"model"`)}, 100, http.StatusRequestTimeout},
		"too slow, no length":    {slowBody{strings.NewReader(`{"model"`)}, -1, http.StatusRequestTimeout},
		"shorter than announced": {strings.NewReader(`{"model"`), 100, http.StatusBadRequest},
		"limited elsewhere":      {http.MaxBytesReader(nil, io.NopCloser(strings.NewReader(strings.Repeat(" ", 1000))), 10), -1, http.StatusRequestEntityTooLarge},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("POST", "/v1/chat/completions", tt.body)
			r.ContentLength = tt.length
			if _, _, _, err := call.Begin(r, nil); err == nil || err.Status != tt.status {
				t.Errorf("got %v, want %d", err, tt.status)
			}
		})
	}
}

// Large bodies are read whole, though memory follows what has come.
func TestLargeUploads(t *testing.T) {
	body := `{"model":"a","x":"` + strings.Repeat("y", 3<<20) + `"}`
	for _, length := range []int64{-1, int64(len(body))} {
		r := httptest.NewRequest("POST", "/v1/chat/completions", strings.NewReader(body))
		r.ContentLength = length
		c, _, _, err := call.Begin(r, nil)
		if err != nil || string(c.Body) != body {
			t.Errorf("length %d: %v", length, err)
		}
	}
}

// Errors are in the dialect that the client spoke.
func TestErrorsInTheDialectOfTheCall(t *testing.T) {
	e := &call.Error{Status: 529, Code: "overloaded_error", Message: `too "much"`}
	if got, want := string(e.Body(call.Messages, "id")), `{"type":"error","error":{"type":"overloaded_error","message":"too \"much\""},"request_id":"id"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got, want := string(e.Body(call.Responses, "id")), `{"error":{"message":"too \"much\"","type":"server_error","param":null,"code":"overloaded_error"},"request_id":"id"}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	for status, kind := range map[int]string{400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error", 413: "request_too_large", 422: "invalid_request_error", 429: "rate_limit_error", 500: "api_error", 502: "api_error", 504: "timeout_error"} {
		w := httptest.NewRecorder()
		c := &call.Call{ID: "x", Front: call.CountTokens}
		c.Fail(w, &call.Error{Status: status, Message: "m"})
		if !strings.Contains(w.Body.String(), `"type":"`+kind+`"`) {
			t.Errorf("%d: %s", status, w.Body)
		}
	}
}

func TestTraceparent(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for name, tt := range map[string]struct{ header, trace, span, flags string }{
		"sampled":        {"00-" + trace + "-" + span + "-01", trace, span, "-01"},
		"not sampled":    {"00-" + trace + "-" + span + "-00", trace, span, "-00"},
		"later version":  {"01-" + trace + "-" + span + "-01-more", trace, span, "-01"},
		"none":           {"", "", "", ""},
		"no trace":       {"00-" + strings.Repeat("0", 32) + "-" + span + "-01", "", "", ""},
		"no span":        {"00-" + trace + "-" + strings.Repeat("0", 16) + "-01", "", "", ""},
		"upper case":     {"00-" + strings.ToUpper(trace) + "-" + span + "-01", "", "", ""},
		"forbidden":      {"ff-" + trace + "-" + span + "-01", "", "", ""},
		"short":          {"00-" + trace + "-" + span, "", "", ""},
		"not hex":        {"00-" + trace[:31] + "\r-" + span + "-01", "", "", ""},
		"something else": {strings.Repeat("x", 200), "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", strings.NewReader(`{"model":"m","messages":[]}`))
			r.Header.Set("Traceparent", tt.header)
			c, _, _, fail := call.Begin(r, nil)
			if fail != nil {
				t.Fatal(fail)
			}
			if c.W3CTraceID != tt.trace || c.W3CSpanID != tt.span {
				t.Errorf("got %q and %q", c.W3CTraceID, c.W3CSpanID)
			}
			want := ""
			if tt.trace != "" {
				want = "00-" + trace + "-" + c.ID[16:] + tt.flags
			}
			if got := c.Traceparent(r.Header); got != want {
				t.Errorf("goes on as %q, want %q", got, want)
			}
		})
	}
}
