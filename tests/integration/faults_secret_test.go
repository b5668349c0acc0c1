package integration_test

import (
	"strings"
	"testing"
	"time"
)

// masked is what stands in place of the provider's key.
var masked = strings.Repeat("*", len(providerKey))

// secretFaults are providers that tell the gateway's own key. checkAnswer
// looks for it in all that the caller gets, checkTrace in all that is kept.
func secretFaults() []fault {
	said := `{"error":{"message":"Incorrect API key provided: ` + providerKey + `","type":"invalid_request_error","code":"invalid_api_key"}}`
	escaped := strings.ReplaceAll(said, "sk-", `sk\u002d`)
	header := []string{"X-Provider: " + providerKey, "X-Request-Id: " + providerKey, "Openai-Version: " + providerKey, "Openai-Processing-Ms: " + providerKey, "Content-Type: application/json; key=" + providerKey, "Retry-After: " + providerKey}
	redacted := strings.ReplaceAll(said, providerKey, masked)
	closedShop := func(t *testing.T, o *outcome) {
		if strings.Contains(string(o.answer.raw), "Incorrect") {
			t.Errorf("the caller got the provider's text: %s", excerpt(o.answer.body))
		}
	}
	unescaped := func(t *testing.T, o *outcome) {
		for what, text := range map[string]string{"the caller got": string(o.answer.raw), "the trace has": o.record} {
			if strings.Contains(strings.ReplaceAll(text, `\u002d`, "-"), providerKey) {
				t.Errorf("%s the key, escaped: %s", what, excerpt(text))
			}
		}
	}
	answer := strings.Replace(plain, "hello", "your key is "+providerKey, 1)
	begun := role + delta("hel")
	return []fault{
		{name: "401", plays: []play{{http1("401 Unauthorized", said, header...)}}, status: 502, code: "upstream_credentials", class: "status_401", also: closedShop},
		{name: "403", plays: []play{{http1("403 Forbidden", said, header...)}}, status: 502, code: "upstream_credentials", class: "status_403", also: closedShop},
		{name: "401 to a stream", stream: true, plays: []play{{http1("401 Unauthorized", said, header...)}}, status: 502, code: "upstream_credentials", class: "status_401", also: closedShop},
		{name: "401 as text", plays: []play{{http1("401 Unauthorized", "bad key "+providerKey, "Content-Type: text/plain")}}, status: 502, code: "upstream_credentials", class: "status_401"},
		{name: "400", plays: []play{{http1("400 Bad Request", said, header...)}}, status: 400, body: redacted, class: "status_400"},
		{name: "400 escaped", plays: []play{{http1("400 Bad Request", escaped)}}, status: 400, body: anything, class: "status_400", also: unescaped},
		{name: "400 gzipped", plays: []play{{http1("400 Bad Request", zipped(said), "Content-Encoding: gzip")}}, status: 400, body: redacted, class: "status_400"},
		{name: "429", plays: []play{{http1("429 Slow", said, header...)}}, attempts: 2, status: 429, body: redacted, class: "status_429"},
		{name: "500", plays: []play{{http1("500 Oops", said, header...)}}, attempts: 2, status: 500, body: redacted, class: "status_500"},
		{name: "redirect", plays: []play{{http1("302 Found", said, append(header, "Location: http://evil.example/?key="+providerKey)...)}}, status: 502, code: "upstream_redirect", class: "status_302"},
		{name: "reason of a status", plays: []play{{http1("400 "+providerKey, said)}}, status: 400, body: redacted, class: "status_400"},
		{name: "status line", plays: []play{{"HTTP/1.1 " + providerKey + "\r\n\r\n"}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "header line", plays: []play{{head(jsonType, providerKey) + plain}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "length", plays: []play{{head(jsonType, "Content-Length: "+providerKey) + plain}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "coding", plays: []play{{head(jsonType, "Transfer-Encoding: "+providerKey) + plain}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "content coding", plays: []play{{http1("200 OK", plain, "Content-Encoding: "+providerKey)}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "content type", stream: true, plays: []play{{http1("200 OK", plain, "Content-Type: text/"+providerKey)}}, body: anything, also: streamsHello},
		{name: "content type of HTML", stream: true, plays: []play{{http1("200 OK", "<html>", "Content-Type: text/html; "+providerKey)}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "header of an answer", plays: []play{{http1("200 OK", plain, header...)}}, body: plain},
		{name: "header of a stream", stream: true, plays: []play{{strings.Replace(sse, "\r\n\r\n", "\r\nX-Request-Id: "+providerKey+"\r\nOpenai-Version: "+providerKey+"\r\n\r\n", 1), whole}}, body: whole},
		{name: "an answer", plays: []play{{http1("200 OK", answer)}}, body: strings.ReplaceAll(answer, providerKey, masked)},
		{name: "an error with 200", plays: []play{{http1("200 OK", said)}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "an event", stream: true, plays: []play{{sse, role + delta(providerKey) + stop + done}}, body: role + delta(masked) + stop + done},
		{name: "an error event first", stream: true, plays: []play{{sse, "data: " + said + "\n\n"}}, status: 502, code: "upstream_cut", class: "cut"},
		{name: "an error event", stream: true, plays: []play{{sse, begun + "data: " + said + "\n\n"}}, body: begun, code: "stream_cut", class: "cut"},
		{name: "a comment", stream: true, plays: []play{{sse, ": " + providerKey + "\n\n" + whole}}, body: anything},
		{name: "an event that is no JSON", stream: true, plays: []play{{sse, role + "data: " + providerKey + "\n\n" + delta("a") + stop + done}}, body: role + delta("a") + stop + done},
		{name: "a chunk size", plays: []play{{head(jsonType, chunked) + providerKey + "\r\n"}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
	}
}

// fallbackFaults have a second provider behind the first.
func fallbackFaults() []fault {
	falls := func(name string, steps ...any) fault {
		return fault{name: name, fallback: true, plays: []play{steps}, body: second}
	}
	streams := func(name string, steps ...any) fault {
		return fault{name: name, fallback: true, stream: true, plays: []play{steps}, body: secondWhole}
	}
	stays := func(name string, status int, body string, steps ...any) fault {
		return fault{name: name, fallback: true, plays: []play{steps}, status: status, body: body, class: "status_400", also: func(t *testing.T, o *outcome) {
			if len(o.second) > 0 {
				t.Errorf("the fallback was asked")
			}
		}}
	}
	twice := func(f fault) fault {
		f.attempts = 2
		return f
	}
	waits := func(f fault) fault {
		f.within = max(limit.header, limit.firstToken) + 1500e6
		return f
	}
	begun := role + delta("hel")
	return []fault{
		falls("502", http1("502 Bad", errorBody)), falls("503", http1("503 Busy", errorBody)), falls("529", http1("529 Busy", errorBody)),
		twice(falls("500", http1("500 Oops", errorBody))), twice(falls("429", http1("429 Slow", errorBody))),
		falls("429 that asks for too much", http1("429 Slow", errorBody, "Retry-After: 3600")),
		falls("401", http1("401 No", errorBody)),
		twice(falls("closed", "")), twice(falls("reset", reset)),
		waits(falls("silent", hang)), falls("HTML", http1("200 OK", "<html>", "Content-Type: text/html")),
		falls("length long", head(jsonType, "Content-Length: 5000")+plain), falls("099", "HTTP/1.1 099 x\r\n\r\n"),
		falls("JSON cut behind a brace", http1("200 OK", plain[:len(plain)-1])), falls("an error with 200", http1("200 OK", errorBody)),
		waits(falls("silent in a body", head(jsonType, "Content-Length: 5000")+plain[:50], hang)),
		stays("400", 400, errorBody, http1("400 Bad", errorBody)),
		stays("400 content filter", 400, filtered, http1("400 Bad", filtered)),
		streams("stream 503", http1("503 Busy", errorBody)), waits(streams("stream silent", hang)), waits(streams("stream silent behind the role", sse, role, hang)),
		waits(streams("stream of comments", sse, repeatedly(": a\n\n", 50e6))),
		streams("stream closed behind the role", sse, role), streams("stream reset behind the role", sse, role, reset),
		streams("stream with an error first", sse, "data: "+errorBody+"\n\n"), streams("stream that is HTML", http1("200 OK", "<html>", "Content-Type: text/html")),
		streams("stream that is an error", http1("200 OK", errorBody)), streams("stream of a terminator", sse, done),
		{name: "stream cut later", fallback: true, stream: true, plays: []play{{sse, begun}}, body: begun, code: "stream_cut", class: "cut", also: func(t *testing.T, o *outcome) {
			if len(o.second) > 0 {
				t.Errorf("the fallback was asked after the first content")
			}
		}},
	}
}

// passingFaults are those of paths that are passed through as they are, with
// the gateway's own key.
func passingFaults() []fault {
	said := `{"error":{"message":"Incorrect API key provided: ` + providerKey + `"}}`
	account := []string{"Set-Cookie: a=b", "OpenAI-Organization: org-x", "OpenAI-Project: p", "x-ratelimit-remaining-requests: 1", "Www-Authenticate: Bearer"}
	pass := func(name string, status int, body string, steps ...any) fault {
		return fault{name: name, passing: true, plays: []play{steps}, status: status, body: body}
	}
	silent := pass("silent", 504, "", hang)
	silent.within, silent.code = limit.header+1200*time.Millisecond, "upstream_header_timeout"
	return []fault{
		pass("whole", 200, plain, http1("200 OK", plain, account...)),
		pass("404", 404, errorBody, http1("404 Not Found", errorBody)),
		pass("401 with the key", 502, "", http1("401 Unauthorized", said)),
		pass("400 with the key", 400, strings.ReplaceAll(said, providerKey, masked), http1("400 Bad Request", said)),
		pass("the key in a field", 200, plain, http1("200 OK", plain, "X-Request-Id: "+providerKey, "X-Debug: "+providerKey)),
		pass("redirect", 502, "", http1("302 Found", "", "Location: http://evil.example/?key="+providerKey)),
		pass("closed", 502, "", ""),
		pass("099", 502, "", "HTTP/1.1 099 x\r\n\r\n"),
		silent,
	}
}
