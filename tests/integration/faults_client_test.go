package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// clientFault is a way in which a caller misbehaves.
type clientFault struct {
	name   string
	sent   []any  // as of exchange; @MODEL@ becomes the case's model
	site   int    // a port; 0: that of the site without pass-through
	status []int  // any of these; none: the connection is closed without an answer
	code   string // of the error; "": any
	plain  bool   // the error is net/http's own, not JSON
	asked  int    // how many requests reach the provider; -1: any
	within time.Duration
	also   func(t *testing.T, r *reply, seen []*seen)
}

// bare is a request in bytes, with exactly these fields.
func bare(line string, body string, fields ...string) string {
	h := line + "\r\nHost: gateway.example\r\nConnection: close\r\n"
	for _, f := range fields {
		h += f + "\r\n"
	}
	return h + "\r\n" + body
}

const (
	postLine = "POST /v1/chat/completions HTTP/1.1"
	withKey  = "Authorization: Bearer " + clientKey
	hi       = `"messages":[{"role":"user","content":"hi"}]`
	chatBody = `{"model":"raw/@MODEL@",` + hi + `}`
)

func lengthOf(body string) string {
	return fmt.Sprintf("Content-Length: %d", len(strings.ReplaceAll(body, "@MODEL@", placeholderOfModel)))
}

// placeholderOfModel is as long as every case's model is made.
const placeholderOfModel = "client-0000"

// clients lets callers misbehave, many at once.
func (s *faultSuite) clients(t *testing.T) {
	cases := slices.Concat(keyFaults(), jsonFaults(), uploadFaults(), pathFaults(s.limited), framingFaults())
	replies := make([]reply, len(cases))
	slots := make(chan struct{}, 24)
	var all sync.WaitGroup
	model := func(i int) string { return fmt.Sprintf("client-%04d", i) }
	for i, c := range cases {
		all.Go(func() { // until its case is over
			slots <- struct{}{}
			defer func() { <-slots }()
			var steps []any
			for _, step := range c.sent {
				if text, ok := step.(string); ok {
					step = strings.ReplaceAll(text, "@MODEL@", model(i))
				}
				steps = append(steps, step)
			}
			port := c.site
			if port == 0 {
				port = s.port
			}
			replies[i] = exchange(address(port), steps...)
		})
	}
	all.Wait()
	t.Logf("%d faults of callers", len(cases))
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) { c.check(t, s, &replies[i], s.first.of(model(i))) })
	}
}

func (c *clientFault) check(t *testing.T, s *faultSuite, r *reply, seen []*seen) {
	within := c.within
	if within == 0 {
		within = 1500 * time.Millisecond
	}
	if r.took > within {
		t.Errorf("took %s, want at most %s", r.took.Round(time.Millisecond), within)
	}
	if c.asked >= 0 && len(seen) != c.asked {
		t.Errorf("the provider was asked %d times, want %d", len(seen), c.asked)
	}
	for _, r := range seen {
		checkHead(t, s, r)
		if line, _, _ := strings.Cut(r.head, "\r\n"); !strings.HasPrefix(line, "POST /v1/") || strings.ContainsAny(line, "?#@") {
			t.Errorf("the provider saw %q", line)
		}
	}
	switch {
	case len(c.status) == 0:
		if len(r.raw) > 0 && r.status < 400 {
			t.Errorf("answered: %.300q", r.raw)
		}
	case !slices.Contains(c.status, r.status):
		t.Errorf("status %d, want %v: %.300q %v", r.status, c.status, r.body, r.err)
	case r.status >= 400 && !c.plain:
		r.mustBeError(t, r.body, "")
		if c.code != "" {
			r.mustBeError(t, r.body, c.code)
		}
		if len(r.raw) > 8<<10 {
			t.Errorf("an error of %d bytes", len(r.raw))
		}
	}
	for _, leak := range []string{providerKey, "read tcp", s.first.Addr().String()} {
		if strings.Contains(string(r.raw), leak) {
			t.Errorf("the answer tells %s: %.500q", leak, r.raw)
		}
	}
	if c.also != nil {
		c.also(t, r, seen)
	}
}

// keyFaults are about the caller's key.
func keyFaults() []clientFault {
	refused := func(name string, fields ...string) clientFault {
		return clientFault{name: "key " + name, sent: []any{bare(postLine, chatBody, append(fields, lengthOf(chatBody))...)}, status: []int{401}, code: "invalid_api_key"}
	}
	taken := func(name string, fields ...string) clientFault {
		return clientFault{name: "key " + name, sent: []any{bare(postLine, chatBody, append(fields, lengthOf(chatBody))...)}, status: []int{200}, asked: 1}
	}
	unread := func(t *testing.T, r *reply, _ []*seen) {
		if strings.Contains(string(r.raw), "100 Continue") {
			t.Errorf("the body was asked for: %.200q", r.raw)
		}
	}
	return []clientFault{
		refused("absent"), refused("wrong", "Authorization: Bearer sk-wrong"), refused("empty", "Authorization: Bearer "), refused("of the provider", "Authorization: Bearer "+providerKey),
		refused("with basic", "Authorization: Basic "+clientKey), refused("with junk behind", withKey+"x"), refused("twice, wrong first", "Authorization: Bearer sk-wrong", withKey),
		refused("digest itself", "Authorization: Bearer sha256:0000"), refused("in a cookie", "Cookie: key="+clientKey),
		taken("as bearer", withKey), taken("as x-api-key", "X-Api-Key: "+clientKey), taken("in lower case", "authorization: bearer "+clientKey),
		{name: "key in the query", sent: []any{bare("POST /v1/chat/completions?api_key="+clientKey+"&key="+clientKey+" HTTP/1.1", chatBody, lengthOf(chatBody))}, status: []int{401}, code: "invalid_api_key"},
		{name: "key wrong and a body that never comes", sent: []any{bare(postLine, "{", "Content-Length: 9000000", "Authorization: Bearer sk-wrong")}, status: []int{401}, code: "invalid_api_key", within: time.Second},
		{name: "key wrong and expect", sent: []any{bare(postLine, "", "Content-Length: 1000", "Expect: 100-continue", "Authorization: Bearer sk-wrong")}, status: []int{401}, code: "invalid_api_key", within: time.Second, also: unread},
		{name: "key wrong for models", sent: []any{bare("GET /v1/models HTTP/1.1", "")}, status: []int{401}, code: "invalid_api_key"},
		{name: "key right for models", sent: []any{bare("GET /v1/models HTTP/1.1", "", withKey)}, status: []int{200}},
	}
}

// jsonFaults are bodies that are not what they should be.
func jsonFaults() []clientFault {
	post := func(name, body string, status int, asked int) clientFault {
		return clientFault{name: "body " + name, sent: []any{bare(postLine, body, withKey, "Content-Type: application/json", lengthOf(body))}, status: []int{status}, asked: asked}
	}
	bad := func(name, body string) clientFault { return post(name, body, 400, 0) }
	same := func(name, body string) clientFault {
		c := post(name, body, 200, 1)
		c.also = func(t *testing.T, _ *reply, seen []*seen) {
			want := strings.Replace(body, "raw/@MODEL@", "@MODEL@", 1)
			if len(seen) == 1 && modelOf.ReplaceAllString(string(seen[0].body), `"model":"@MODEL@"`) != want {
				t.Errorf("the provider saw %s", excerpt(string(seen[0].body)))
			}
		}
		return c
	}
	either := func(name, body string) clientFault { // refused, or passed on as it is
		c := same(name, body)
		c.status, c.asked = []int{200, 400}, -1
		return c
	}
	with := func(member string) string { return `{"model":"raw/@MODEL@",` + hi + `,` + member + `}` }
	bounded := func(c clientFault, status ...int) clientFault {
		c.status, c.asked = status, -1
		c.also = func(t *testing.T, r *reply, _ []*seen) {
			if len(r.raw) > 16<<10 {
				t.Errorf("an answer of %d bytes", len(r.raw))
			}
			if r.header.Get("X-Injected") != "" {
				t.Error("a model's name became a header field")
			}
		}
		return c
	}
	deep := func(n int) string { return with(`"x":` + strings.Repeat("[", n) + strings.Repeat("]", n)) }
	cases := []clientFault{
		bad("not JSON", "hello"), bad("empty", ""), bad("of spaces", "   "), bad("a list", "["+chatBody+"]"), bad("null", "null"), bad("a text", `"hi"`), bad("cut", chatBody[:len(chatBody)-3]),
		bad("twice", chatBody+chatBody), bad("with junk behind", chatBody+"x"), bad("a form", "model=raw/@MODEL@&stream=true"),
		bad("model twice", `{"model":"raw/@MODEL@","model":"raw/other",`+hi+`}`), bad("model twice, escaped", `{"model":"raw/@MODEL@","mod\u0065l":"raw/other",`+hi+`}`),
		bad("stream twice", with(`"stream":false,"stream":true`)), bad("messages twice", with(hi)), bad("another member twice", with(`"x":1,"x":2`)),
		either("a member twice, deeper", `{"model":"raw/@MODEL@","messages":[{"role":"user","role":"system","content":"hi"}]}`),
		bad("nested 200 deep", deep(200)), bad("nested 100,000 deep", deep(100_000)), same("nested 100 deep", deep(100)),
		bad("invalid UTF-8", `{"model":"raw/@MODEL@","messages":[{"role":"user","content":"h`+"\xff\xfe"+`i"}]}`), bad("overlong UTF-8", with("\"x\":\"\xc0\xaf\"")), bad("surrogate in UTF-8", with("\"x\":\"\xed\xa0\x80\"")),
		bad("NUL in a text", with("\"x\":\"a\x00b\"")), bad("NUL behind", chatBody+"\x00"), bad("a line break in a text", with("\"x\":\"a\nb\"")), bad("byte order mark", "\xef\xbb\xbf"+chatBody), bad("UTF-16", utf16(chatBody)),
		bad("NaN", with(`"x":NaN`)), bad("a leading zero", with(`"x":01`)), bad("a trailing comma", with(`"x":1,`)), bad("single quotes", with(`'x':1`)), bad("a comment", with(`/* */"x":1`)), bad("a bad escape", with(`"x":"\q"`)), bad("a plus", with(`"x":+1`)),
		same("huge numbers", with(`"x":1e999999,"y":123456789012345678901234567890123456789,"z":-0.0`)), same("a lone surrogate, escaped", with(`"x":"\ud800"`)),
		bad("model a number", `{"model":5,`+hi+`}`), bad("model a list", `{"model":["raw/@MODEL@"],`+hi+`}`), bad("model an object", `{"model":{},`+hi+`}`), bad("model a bool", `{"model":true,`+hi+`}`),
		bounded(bad("model null", `{"model":null,`+hi+`}`), 400, 404), bounded(bad("model missing", `{`+hi+`}`), 400, 404), bounded(bad("model empty", `{"model":"",`+hi+`}`), 400, 404), bounded(bad("model unknown", `{"model":"nobody",`+hi+`}`), 404),
		bounded(bad("model of another host", `{"model":"http://evil.example/v1/x",`+hi+`}`), 400, 404), bounded(bad("model of a megabyte", `{"model":"`+strings.Repeat("m", 1<<20)+`",`+hi+`}`), 400, 404),
		bounded(bad("model of 100 KB at a provider", `{"model":"raw/`+strings.Repeat("m", 100<<10)+`",`+hi+`}`), 200, 400, 404),
		bounded(bad("model with a line break", `{"model":"raw/x\r\nX-Injected: yes",`+hi+`}`), 200, 400, 404), bounded(bad("model with dots", `{"model":"raw/../../x",`+hi+`}`), 200, 400, 404),
		bad("stream a text", with(`"stream":"true"`)), bad("stream a number", with(`"stream":1`)), bad("stream a list", with(`"stream":[]`)), same("stream null", with(`"stream":null`)),
		bad("messages a text", `{"model":"raw/@MODEL@","messages":"hi"}`), bad("messages an object", `{"model":"raw/@MODEL@","messages":{}}`), bad("messages null", `{"model":"raw/@MODEL@","messages":null}`), either("messages of numbers", `{"model":"raw/@MODEL@","messages":[1,null,"x"]}`),
		either("messages empty", `{"model":"raw/@MODEL@","messages":[]}`), either("messages missing", `{"model":"raw/@MODEL@"}`),
		bad("stream_options a text", with(`"stream":true,"stream_options":"yes"`)), bad("include_usage a text", with(`"stream":true,"stream_options":{"include_usage":"yes"}`)),
	}
	for _, member := range []string{`"n":"2"`, `"n":-1`, `"n":1.5`, `"n":[]`, `"n":1e99`, `"max_tokens":"many"`, `"temperature":"hot"`, `"tools":5`, `"user":5`, `"metadata":"x"`, `"safety_identifier":{}`, `"previous_response_id":"x"`, `"logprobs":3`} {
		cases = append(cases, either(member, with(member)))
	}
	for _, coding := range []string{"gzip", "br", "deflate", "identity, gzip", "x-unknown"} {
		body := zipped(chatBody)
		cases = append(cases, clientFault{name: "body coded as " + coding, sent: []any{bare(postLine, body, withKey, "Content-Encoding: "+coding, fmt.Sprintf("Content-Length: %d", len(body)))}, status: []int{400, 415}})
	}
	return cases
}

// uploadFaults are bodies that are too large, or that do not come.
func uploadFaults() []clientFault {
	const most = 10 << 20
	padded := func(size int) string {
		body := strings.Replace(chatBody, `,"messages"`, `,"p":"@PAD@","messages"`, 1)
		n := len(strings.ReplaceAll(body, "@MODEL@", placeholderOfModel)) - len("@PAD@")
		return strings.Replace(body, "@PAD@", strings.Repeat("p", size-n), 1)
	}
	inChunks := func(body string) string {
		size := len(strings.ReplaceAll(body, "@MODEL@", placeholderOfModel))
		return fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", size, body)
	}
	no100 := func(t *testing.T, r *reply, _ []*seen) {
		if strings.Contains(string(r.raw), "100 Continue") {
			t.Errorf("the body was asked for: %.200q", r.raw)
		}
	}
	late := limit.readBody + 1500*time.Millisecond
	drip := []any{bare(postLine, "", withKey, "Content-Length: 5000")}
	for range 40 {
		drip = append(drip, "{", 250*time.Millisecond)
	}
	dripChunks := []any{bare(postLine, "", withKey, chunked)}
	slowHead := []any{postLine + "\r\nHost: x\r\n"}
	for range 40 {
		dripChunks = append(dripChunks, "1\r\n{\r\n", 250*time.Millisecond)
		slowHead = append(slowHead, "X-More: x\r\n", 250*time.Millisecond)
	}
	return []clientFault{
		{name: "upload over the limit, declared", sent: []any{bare(postLine, "", withKey, fmt.Sprintf("Content-Length: %d", most+1))}, status: []int{413}, code: "request_too_large", within: time.Second},
		{name: "upload of a terabyte, declared", sent: []any{bare(postLine, "", withKey, "Content-Length: 1099511627776")}, status: []int{413}, code: "request_too_large", within: time.Second},
		{name: "upload over the limit, sent", sent: []any{bare(postLine, padded(most+1), withKey, fmt.Sprintf("Content-Length: %d", most+1))}, status: []int{413}, code: "request_too_large"},
		{name: "upload over the limit, in chunks", sent: []any{bare(postLine, inChunks(padded(most+1)), withKey, chunked)}, status: []int{413}, code: "request_too_large"},
		{name: "upload over the limit, expecting", sent: []any{bare(postLine, "", withKey, "Expect: 100-continue", "Content-Length: 99999999")}, status: []int{413}, code: "request_too_large", within: time.Second, also: no100},
		{name: "upload at the limit", sent: []any{bare(postLine, padded(most), withKey, fmt.Sprintf("Content-Length: %d", most))}, status: []int{200}, asked: 1},
		{name: "upload at the limit, in chunks", sent: []any{bare(postLine, inChunks(padded(most)), withKey, chunked)}, status: []int{200}, asked: 1},
		{name: "upload expecting", sent: []any{bare(postLine, "", withKey, "Expect: 100-continue", lengthOf(chatBody)), 300 * time.Millisecond, chatBody}, status: []int{200}, asked: 1, also: func(t *testing.T, r *reply, _ []*seen) {
			if !strings.HasPrefix(string(r.raw), "HTTP/1.1 100 Continue\r\n") {
				t.Errorf("no 100: %.100q", r.raw)
			}
		}},
		{name: "upload that drips", sent: drip, status: []int{408}, within: late},
		{name: "upload that drips in chunks", sent: dripChunks, status: []int{408}, within: late},
		{name: "upload that stops", sent: []any{bare(postLine, "{", withKey, "Content-Length: 5000")}, status: []int{408}, within: late},
		{name: "upload of no chunk", sent: []any{bare(postLine, "", withKey, chunked)}, status: []int{408}, within: late},
		{name: "upload in broken chunks", sent: []any{bare(postLine, "zz\r\n{}\r\n0\r\n\r\n", withKey, chunked)}, status: []int{400}},
		{name: "upload in chunks of 16 F", sent: []any{bare(postLine, "FFFFFFFFFFFFFFFF\r\n{}", withKey, chunked)}, status: []int{400, 408}, within: late},
		{name: "upload in chunks of a byte", sent: []any{bare(postLine, "", withKey, chunked), byteChunks(`{"model":"raw/`), "b\r\n@MODEL@\r\n", byteChunks(`",`+hi+`}`) + "0\r\nX-Trailer: evil\r\n\r\n"}, status: []int{200}, asked: 1},
		{name: "header that drips", sent: slowHead, within: limit.readHeader + 1500*time.Millisecond},
		{name: "header that stops", sent: []any{postLine + "\r\nHost: x\r\nX-Half"}, within: limit.readHeader + 1500*time.Millisecond},
		{name: "no header at all", sent: []any{""}, within: limit.readHeader + 1500*time.Millisecond},
		{name: "header of 2 MiB", sent: []any{bare(postLine, chatBody, withKey, "X-Big: "+strings.Repeat("b", 2<<20), lengthOf(chatBody))}, status: []int{431}, plain: true},
	}
}

func byteChunks(s string) (out string) {
	for i := range len(s) {
		out += "1\r\n" + s[i:i+1] + "\r\n"
	}
	return out
}

// pathFaults are targets and methods that try to lead elsewhere.
func pathFaults(passing int) []clientFault {
	var cases []clientFault
	at := func(name, line string, site int, asked int, status ...int) {
		cases = append(cases, clientFault{
			name: name + " " + line, site: site, asked: asked, status: status,
			sent: []any{bare(line+" HTTP/1.1", chatBody, withKey, lengthOf(chatBody), "X-Forwarded-Host: evil.example", "X-Original-Url: http://evil.example/", "X-Forwarded-Proto: https")},
			also: func(t *testing.T, r *reply, _ []*seen) {
				if strings.HasPrefix(line, "CONNECT") && r.body != "" {
					t.Error("a tunnel")
				}
			},
		})
	}
	for _, target := range []string{"http://evil.example/v1/chat/completions", "https://evil.example:443/v1/chat/completions", "/v1/chat/completions?base_url=http://evil.example", "/v1/chat/completions?", "/v1/chat/completions?@evil.example"} {
		at("target", "POST "+target, 0, 1, 200)
		at("passing target", "POST "+target, passing, 1, 200)
	}
	for _, target := range []string{
		"/v1/../v1/chat/completions", "/v1/%2e%2e/v1/chat/completions", "/v1/./chat/completions", "/v1/chat/completions/", "/v1//chat/completions", "//evil.example/v1/chat/completions", "/v1/@evil.example/chat/completions",
		"/v1/http://evil.example/v1/chat/completions", "/V1/chat/completions", "/v1/chat/completions%00", "/v1/chat/completions;a=b", `/v1/\evil.example`, "/v1/", "/chat/completions", "/openai/v1/chat/completions", "/v1/messages/batches", "/v2/chat/completions", "/v1/chat/completions%0d%0aX-Injected:%20yes",
	} {
		at("target", "POST "+target, 0, 0, 400, 404)
	}
	for _, target := range []string{"/v1/../secret", "/v1/%2e%2e/secret", "/v1/files/..%2f..%2fsecret", "/v1/files/%2e%2e/%2e%2e/%2e%2e/secret", `/v1/files/..\..\secret`, "/v1/..;/secret/..", "/v1/./x"} {
		at("passing target", "GET "+target, passing, 0, 400, 404)
	}
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "post", "FOO"} {
		at("method", method+" /v1/chat/completions", 0, 0, 404, 405)
		cases[len(cases)-1].plain = method == "HEAD"
	}
	// Caddy answers what no handler takes with 200 and nothing: no tunnel.
	at("method", "CONNECT evil.example:443", 0, 0, 200, 400, 404, 405)
	at("method", "PRI *", 0, 0, 200, 400, 404, 405, 505)
	return cases
}

// framingFaults are requests whose end is in doubt.
func framingFaults() []clientFault {
	smuggled := "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n" + withKey + "\r\n" + lengthOf(chatBody) + "\r\n\r\n" + chatBody
	inChunk := fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(strings.ReplaceAll(chatBody, "@MODEL@", placeholderOfModel)), chatBody)
	bad := func(name string, body string, fields ...string) clientFault {
		return clientFault{name: "framing " + name, sent: []any{bare(postLine, body, append(fields, withKey)...)}, status: []int{400, 501}, plain: true}
	}
	valid := func(t *testing.T, _ *reply, seen []*seen) {
		for _, s := range seen {
			if !json.Valid(s.body) {
				t.Errorf("the provider saw %s", excerpt(string(s.body)))
			}
		}
	}
	return []clientFault{
		bad("lengths that differ", chatBody+smuggled, lengthOf(chatBody), "Content-Length: 5"),
		bad("length negative", chatBody, "Content-Length: -1"), bad("length with plus", chatBody, "Content-Length: +50"), bad("length in words", chatBody, "Content-Length: ten"), bad("length in a list", chatBody, "Content-Length: 50, 51"),
		bad("coding unknown", inChunk, "Transfer-Encoding: xchunked"), bad("coding chunked twice", inChunk, "Transfer-Encoding: chunked, chunked"), bad("coding gzip, chunked", inChunk, "Transfer-Encoding: gzip, chunked"),
		bad("a space before the colon", chatBody, lengthOf(chatBody), "X-Bad : 1"), bad("a name with NUL", chatBody, lengthOf(chatBody), "X\x00: 1"), bad("a value with NUL", chatBody, lengthOf(chatBody), "X: a\x00b"), bad("hosts that differ", chatBody, lengthOf(chatBody), "Host: evil.example"),
		{name: "framing length and chunked", sent: []any{bare(postLine, inChunk, withKey, "Content-Length: 5", chunked)}, status: []int{200, 400}, asked: -1, plain: true, also: valid},
		{name: "framing a request behind the request", sent: []any{bare(postLine, chatBody+smuggled, withKey, lengthOf(chatBody))}, status: []int{200}, asked: 1},
		{name: "framing HTTP 1.0", sent: []any{bare("POST /v1/chat/completions HTTP/1.0", chatBody, withKey, lengthOf(chatBody))}, status: []int{200}, asked: 1},
		{name: "framing HTTP 1.0, stream", sent: []any{bare("POST /v1/chat/completions HTTP/1.0", streamBody, withKey, lengthOf(streamBody))}, status: []int{200}, asked: 1, also: func(t *testing.T, r *reply, _ []*seen) {
			if r.body != whole || r.header.Get("Transfer-Encoding") != "" {
				t.Errorf("%.300q", r.raw)
			}
		}},
		{name: "framing HTTP 1.1 without a host", sent: []any{postLine + "\r\n" + withKey + "\r\nContent-Length: 0\r\n\r\n"}, status: []int{400}, plain: true},
		{name: "framing HTTP 3.0", sent: []any{bare("POST /v1/chat/completions HTTP/3.0", chatBody, withKey, lengthOf(chatBody))}, status: []int{400, 505}, plain: true},
		{name: "framing upgrade to websocket", sent: []any{bare(postLine, chatBody, withKey, lengthOf(chatBody), "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: x")}, status: []int{200}, asked: 1},
		{name: "framing upgrade to h2c", sent: []any{bare(postLine, chatBody, withKey, lengthOf(chatBody), "Upgrade: h2c", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMAAABkAAQAAP__")}, status: []int{200}, asked: 1},
		{name: "framing two requests at once", asked: 2, status: []int{200}, sent: []any{strings.Replace(bare(postLine, chatBody, withKey, lengthOf(chatBody)), "Connection: close\r\n", "", 1) + bare(postLine, chatBody, withKey, lengthOf(chatBody))}, also: func(t *testing.T, r *reply, _ []*seen) {
			if n := strings.Count(string(r.raw), plain); n != 2 {
				t.Errorf("%d answers: %.900q", n, r.raw)
			}
		}},
	}
}

const streamBody = `{"model":"raw/@MODEL@","stream":true,` + hi + `}`

// byUser finds the trace of a caller that did not hear of its id.
func (s *faultSuite) byUser(user string) (raw string, t faultTrace) {
	for range 300 {
		var list struct{ Items []struct{ ID string } }
		if status, _, err := s.tryAPI(http.MethodGet, "/traces?user="+url.QueryEscape(user), nil, &list); err == nil && status == http.StatusOK && len(list.Items) > 0 {
			return s.record(list.Items[0].ID)
		}
		time.Sleep(10 * time.Millisecond)
	}
	return "", t
}
