package integration_test

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	errorBody = `{"error":{"message":"the provider says no","type":"some_error","param":null,"code":"some_code"}}`
	tooLong   = `{"error":{"message":"maximum context length is 8 tokens","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}`
	filtered  = `{"error":{"message":"content management policy","type":"invalid_request_error","param":"prompt","code":"content_filter","innererror":{"code":"ResponsibleAIPolicyViolation"}}}`
)

// statusFaults are answers with another status than 200.
func statusFaults() []fault {
	good := play{http1("200 OK", plain)}
	throttled := func(fields ...string) play { return play{http1("429 Too Many Requests", errorBody, fields...)} }
	final := func(t *testing.T, o *outcome) {
		if got := o.answer.header.Get("X-Should-Retry"); got != "false" {
			t.Errorf("x-should-retry: %q, want false", got)
		}
	}
	asks := func(want string) func(*testing.T, *outcome) {
		return func(t *testing.T, o *outcome) {
			final(t, o)
			if got := o.answer.header.Get("Retry-After"); got != want {
				t.Errorf("Retry-After: %q, want %q", got, want)
			}
		}
	}
	date := func(in time.Duration) func() string {
		return func() string {
			return http1("429 Too Many Requests", errorBody, "Retry-After: "+time.Now().Add(in).UTC().Format(http.TimeFormat))
		}
	}
	cases := []fault{
		{name: "429 once", plays: []play{throttled(), good}, attempts: 2, least: 100 * time.Millisecond, body: plain},
		{name: "429 retry after 1", plays: []play{throttled("Retry-After: 1"), good}, attempts: 2, least: time.Second, most: 1800 * time.Millisecond, within: 4 * time.Second, body: plain},
		{name: "429 retry after 0", plays: []play{throttled("Retry-After: 0"), good}, attempts: 2, body: plain},
		{name: "429 retry after ms", plays: []play{throttled("retry-after-ms: 400"), good}, attempts: 2, least: 400 * time.Millisecond, body: plain},
		{name: "429 retry after 99999", plays: []play{throttled("Retry-After: 99999"), good}, status: 429, body: errorBody, class: "status_429", also: asks("99999")},
		{name: "429 retry after 10 million", plays: []play{throttled("Retry-After: 10000000"), good}, status: 429, body: errorBody, class: "status_429", also: final},
		{name: "429 retry after more than a number holds", plays: []play{throttled("Retry-After: 99999999999999999999999"), good}, status: 429, body: errorBody, class: "status_429", also: final},
		{name: "429 retry after ms, a year", plays: []play{throttled("retry-after-ms: 31536000000"), good}, status: 429, body: errorBody, class: "status_429", also: final},
		{name: "429 retry after a date", plays: []play{{date(2500 * time.Millisecond)}, good}, attempts: 2, least: time.Second, most: 3500 * time.Millisecond, within: 5 * time.Second, body: plain},
		{name: "429 retry after a date in 70 years", plays: []play{throttled("Retry-After: Wed, 01 Jan 2098 00:00:00 GMT"), good}, status: 429, body: errorBody, class: "status_429", also: final},
		{name: "429 retry after a past date", plays: []play{throttled("Retry-After: Wed, 01 Jan 2020 00:00:00 GMT"), good}, attempts: 2, body: plain},
		{name: "429 retry after garbage", plays: []play{throttled("Retry-After: soon"), good}, attempts: 2, least: 100 * time.Millisecond, body: plain},
		{name: "429 retry after NaN", plays: []play{throttled("Retry-After: NaN"), good}, attempts: 2, least: 100 * time.Millisecond, body: plain},
		{name: "429 retry after negative", plays: []play{throttled("Retry-After: -5"), good}, attempts: 2, least: 100 * time.Millisecond, body: plain},
		{name: "429 persistent", plays: []play{throttled()}, attempts: 2, least: 100 * time.Millisecond, status: 429, body: errorBody, class: "status_429", also: final},
		{name: "429 to a stream", stream: true, plays: []play{throttled(), {sse, whole}}, attempts: 2, least: 100 * time.Millisecond, body: whole},
		{name: "500 once", plays: []play{{http1("500 Oops", errorBody)}, good}, attempts: 2, body: plain},
		{name: "500 once to a stream", stream: true, plays: []play{{http1("500 Oops", errorBody)}, {sse, whole}}, attempts: 2, body: whole},
		{name: "500 for ever", plays: []play{{http1("500 Oops", errorBody)}}, attempts: 2, status: 500, body: errorBody, class: "status_500", also: final},
		{name: "500 with HTML", plays: []play{{http1("500 Oops", "<html>stack trace</html>", "Content-Type: text/html")}}, attempts: 2, status: 500, code: "", class: "status_500", also: final},
		{name: "500 with an endless body", within: 4 * time.Second, attempts: 2, most: 3 * time.Second, plays: []play{{"HTTP/1.1 500 Oops\r\n" + chunked + "\r\n\r\n", endless}, {http1("500 Oops", errorBody)}}, status: 500, body: errorBody, class: "status_500"},
		{name: "599", plays: []play{{http1("599 x", errorBody)}}, attempts: 2, status: 599, body: errorBody, class: "status_599"},
		{name: "400 with text", plays: []play{{http1("400 Bad Request", "no such thing", "Content-Type: text/plain")}}, status: 400, class: "status_400"},
		{name: "400 with nothing", plays: []play{{http1("400 Bad Request", "")}}, status: 400, class: "status_400"},
		{name: "400 with an error that is text", plays: []play{{http1("400 Bad Request", `{"error":"model is loading"}`)}}, status: 400, class: "status_400"},
		{name: "400 with a short body", plays: []play{{"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 500\r\n\r\n{\"error\":{\"mess"}}, status: 400, class: "status_400"},
		{name: "400 context length", plays: []play{{http1("400 Bad Request", tooLong)}}, status: 400, body: tooLong, class: "status_400"},
		{name: "400 content filter", plays: []play{{http1("400 Bad Request", filtered)}}, status: 400, body: filtered, class: "status_400"},
		{name: "400 to a stream", stream: true, plays: []play{{http1("400 Bad Request", errorBody)}}, status: 400, body: errorBody, class: "status_400"},
		{name: "redirect 304", plays: []play{{"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"}}, status: 502, code: "upstream_redirect", class: "status_304"},
		{name: "204", plays: []play{{"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "204 to a stream", stream: true, plays: []play{{"HTTP/1.1 204 No Content\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "206, which nobody asked for", plays: []play{{http1("206 Partial Content", plain, "Content-Range: bytes 0-10/9999")}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "100 first", plays: []play{{"HTTP/1.1 100 Continue\r\n\r\n", http1("200 OK", plain)}}, body: plain},
		{name: "103 first", plays: []play{{"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\nX-Provider: hint\r\n\r\n", http1("200 OK", plain)}}, body: plain},
		{name: "100 a hundred times", plays: []play{{strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 100), http1("200 OK", plain)}}, body: plain},
		{name: "100 for ever", within: limit.header + 1500*time.Millisecond, plays: []play{{repeatedly("HTTP/1.1 100 Continue\r\n\r\n", 20*time.Millisecond)}}, status: 504, code: "upstream_header_timeout", class: "header_timeout"},
		{name: "101", plays: []play{{"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n", http1("200 OK", plain)}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "without a reason", plays: []play{{http1("200", plain)}}, body: plain},
		{name: "HTTP 1.0", plays: []play{{"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + plain}}, body: plain},
	}
	for _, status := range []string{"502 Bad Gateway", "503 Service Unavailable", "529 Overloaded"} {
		code := statusCode(status)
		cases = append(cases,
			fault{name: status[:3] + " once", plays: []play{{http1(status, errorBody)}, good}, attempts: 2, body: plain},
			fault{name: status[:3] + " for ever", plays: []play{{http1(status, errorBody)}}, attempts: 2, status: code, body: errorBody, class: "status_" + status[:3], also: final})
	}
	for _, status := range []string{"402 Payment Required", "404 Not Found", "405 No", "408 Request Timeout", "409 Conflict", "413 Too Large", "418 I'm a teapot", "422 Unprocessable", "451 Legal"} {
		cases = append(cases, fault{name: status[:3], plays: []play{{http1(status, errorBody, "Set-Cookie: a=b", "Server: nginx")}}, status: statusCode(status), body: errorBody, class: "status_" + status[:3]})
	}
	for _, status := range []string{"301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"} {
		cases = append(cases, fault{
			name: "redirect " + status[:3], plays: []play{{http1(status, "", "Location: http://evil.example/v1/chat/completions")}}, status: 502, code: "upstream_redirect", class: "status_" + status[:3],
			also: func(t *testing.T, o *outcome) {
				if strings.Contains(string(o.answer.raw), "evil.example") {
					t.Errorf("the caller got the redirect's place: %q", o.answer.raw)
				}
			},
		})
	}
	for name, line := range map[string]string{
		"099": "HTTP/1.1 099 x", "1000": "HTTP/1.1 1000 x", "600": "HTTP/1.1 600 x", "999": "HTTP/1.1 999 x", "20": "HTTP/1.1 20 OK", "words": "HTTP/1.1 abc OK",
		"two spaces": "HTTP/1.1  200 OK", "plus": "HTTP/1.1 +20 OK", "minus": "HTTP/1.1 -200 OK", "HTTP 2": "HTTP/2 200 OK", "HTTP 3.7": "HTTP/3.7 200 OK", "lower case": "http/1.1 200 OK", "no version": "200 OK",
		"ICY": "ICY 200 OK", "preface": "PRI * HTTP/2.0\r\n\r\nSM\r\n", "SSH": "SSH-2.0-OpenSSH_9.6", "a request": "GET / HTTP/1.1", "a tab": "HTTP/1.1\t200\tOK",
	} {
		cases = append(cases, fault{name: "line " + name, plays: []play{{strings.Replace(http1("200 OK", plain), "HTTP/1.1 200 OK", line, 1)}}, status: 502, code: "upstream_bad_response", class: "bad_response"})
	}
	return cases
}

func statusCode(line string) int {
	return int(line[0]-'0')*100 + int(line[1]-'0')*10 + int(line[2]-'0')
}
