package integration_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// cutFaults are streams that break off, before and after their first content.
func cutFaults() []fault {
	begun := role + delta("hel")
	failed := func(name, class string, steps ...any) fault {
		return fault{name: name, stream: true, plays: []play{steps}, status: 502, code: "upstream_" + class, class: class}
	}
	cut := func(name, want string, steps ...any) fault {
		return fault{name: name, stream: true, plays: []play{steps}, body: want, code: "stream_cut", class: "cut"}
	}
	as := func(f fault, class string) fault {
		f.code, f.class = "stream_"+class, class
		return f
	}
	late := limit.firstToken + 1200*time.Millisecond
	silent := func(name string, steps ...any) fault {
		f := failed(name, "first_token_timeout", steps...)
		f.status, f.within, f.also = 504, late, leftIn(late)
		return f
	}
	stalled := func(name, want string, steps ...any) fault {
		f := as(cut(name, want, steps...), "stalled")
		f.within, f.also = limit.idle+1500*time.Millisecond, leftIn(limit.idle+1500*time.Millisecond)
		return f
	}
	within := func(f fault, d time.Duration) fault {
		f.within = d
		return f
	}
	n2 := func(f fault) fault {
		f.extra = `,"n":2`
		return f
	}
	broken := strings.Replace(delta("lost"), `"}`, "", 1) // a literal without its end
	nine := delta(strings.Repeat("m", 9<<20))
	emptyFinish := strings.ReplaceAll(begun, `"finish_reason":null`, `"finish_reason":""`)
	completion := `data: {"id":"c1","object":"text_completion","created":1,"model":"m","choices":[{"index":0,"text":"hel","finish_reason":null}]}` + "\n\n"
	completed := strings.Replace(completion, `"finish_reason":null`, `"finish_reason":"stop"`, 1)
	on := func(f fault, path, extra string) fault {
		f.path, f.extra = path, extra
		return f
	}
	other := before + `{"index":1,"delta":{"content":"b"},"finish_reason":null}]}` + "\n\n"
	html := http1("200 OK", "<html>nginx</html>", "Content-Type: text/html")
	secretError := `data: {"error":{"message":"provider-internal text","code":"x"}}` + "\n\n"
	own := func(f fault) fault {
		f.also = func(t *testing.T, o *outcome) {
			if strings.Contains(string(o.answer.raw), "provider-internal") {
				t.Logf("the provider's text reaches the caller: %s", excerpt(o.answer.body))
			}
		}
		return f
	}
	return []fault{
		// before the first content
		failed("closed behind the header", "cut", sse),
		failed("reset behind the header", "cut", sse, 20*time.Millisecond, reset),
		failed("closed behind the role", "cut", sse, role),
		failed("reset behind the role", "cut", sse, role, 20*time.Millisecond, reset),
		failed("last chunk behind the role", "cut", sseChunked, chunk(role), lastly),
		failed("terminator alone", "cut", sse, done),
		failed("terminator behind the role", "cut", sse, role+done),
		failed("an error first", "cut", sse, "data: "+errorBody+"\n\n"+done),
		failed("an error behind the role", "cut", sse, role+"data: "+errorBody+"\n\n"+done),
		failed("comments, then closed", "cut", sse, ": a\n\n: b\n\n"),
		failed("first content cut within", "cut", sse, role+delta("hel")[:60]),
		silent("silent behind the header", sse, hang),
		silent("silent behind the role", sse, role, hang),
		silent("comments for ever", sse, repeatedly(": keep-alive\n\n", 50*time.Millisecond)),
		silent("empty deltas for ever", sse, role, repeatedly(delta(""), 50*time.Millisecond)),
		silent("events of spaces for ever", sse, repeatedly("data: \n\n", 50*time.Millisecond)),
		silent("a drip before content", sse, bytewise(role+strings.Repeat(":", 1000), 20*time.Millisecond)),
		silent("silent within the first content", sse, role+delta("hel")[:60], hang),
		within(failed("9 MiB first", "bad_response", sse, nine+stop+done), 6*time.Second),
		within(failed("9 MiB behind the role", "bad_response", sse, role+nine+stop+done), 6*time.Second),
		within(failed("an endless line", "bad_response", sseChunked, chunk("data: "), endless), 6*time.Second),
		within(failed("an endless row of comments", "response_too_large", sse, func(w io.Writer) {
			line := strings.Repeat(": "+strings.Repeat("c", 1000)+"\n\n", 100)
			for range 4096 {
				if _, err := io.WriteString(w, line); err != nil {
					return
				}
			}
		}), 6*time.Second),
		failed("HTML", "bad_response", html),
		failed("an error as JSON", "bad_response", http1("200 OK", errorBody)),
		failed("chunk size in words", "cut", sseChunked, "zz\r\n"+whole),
		failed("gzip that is not", "bad_response", strings.Replace(sse, "Connection", "Content-Encoding: gzip\r\nConnection", 1), whole),
		failed("gzip cut", "cut", strings.Replace(sse, "Connection", "Content-Encoding: gzip\r\nConnection", 1), zipped(begun + delta("lo") + stop)[:60]),
		failed("content type of another stream", "bad_response", strings.Replace(sse, "text/event-stream", "application/x-ndjson", 1), `{"a":1}`+"\n"),

		// after it
		cut("closed", begun, sse, begun),
		cut("reset", begun, sse, begun, 50*time.Millisecond, reset),
		cut("last chunk", begun, sseChunked, chunk(begun), lastly),
		cut("no last chunk", begun, sseChunked, chunk(begun)),
		cut("within a chunk", begun, sseChunked, chunk(begun), 50*time.Millisecond, "ffff\r\ndata: {"),
		cut("chunk size in words later", begun, sseChunked, chunk(begun), 50*time.Millisecond, "zz\r\n"+stop+done),
		cut("shorter than its length", begun, strings.Replace(sse, "Connection", "Content-Length: 5000\r\nConnection", 1), begun),
		cut("within an event", begun, sse, begun+delta("lo")[:60]),
		cut("an event without its blank line", begun+delta("lo"), sse, begun+strings.TrimSuffix(delta("lo"), "\n")),
		{name: "the finish without its blank line", stream: true, plays: []play{{sse, begun + strings.TrimSuffix(stop, "\n\n")}}, body: begun + stop + done},
		own(cut("an error in the middle", begun, sse, begun+secretError+done)),
		own(cut("an error in the middle, event: error", begun, sse, begun+"event: error\n"+secretError+done)),
		own(cut("an error and nothing else", begun, sse, begun+secretError)),
		cut("an error as text", begun, sse, begun+`data: {"error":"overloaded"}`+"\n\n"+done),
		cut("truncated JSON in the middle", begun, sse, begun+broken+delta("rest")+stop+done),
		cut("truncated JSON with the finish", begun, sse, begun+strings.Replace(stop, "]}", "", 1)+done),
		cut("two events in one", begun, sse, begun+strings.TrimSuffix(delta("a"), "\n\n")+strings.TrimPrefix(delta("b"), "data: ")+stop+done),
		cut("invalid UTF-8", begun, sse, begun+delta("\xff\xfe")+stop+done),
		cut("NUL in an event", begun, sse, begun+delta("\x00")+stop+done),
		as(within(cut("9 MiB in the middle", begun, sse, begun, 50*time.Millisecond, nine+stop+done), 6*time.Second), "bad_response"),
		as(within(cut("endless", anything, sse, repeatedlyLarge()), 8*time.Second), "response_too_large"),
		cut("an error by its name alone", begun, sse, begun+"event: error\ndata: {\"message\":\"overloaded\"}\n\n"+done),
		cut("finish reasons that are empty", emptyFinish, sse, emptyFinish),
		on(cut("completion", completion, sse, completion), "/v1/completions", ""),
		on(cut("completion of two prompts, one answered", completion+completed, sse, completion+completed), "/v1/completions", `,"prompt":["a","b"]`),
		stalled("silent", begun, sse, begun, hang),
		stalled("silent within an event", begun, sse, begun+delta("lo")[:40], hang),
		stalled("silent within a chunk", begun, sseChunked, chunk(begun), 50*time.Millisecond, "ffff\r\ndata: {", hang),
		stalled("a drip that is no event", begun, sse, begun, bytewise("data: "+strings.Repeat("x", 300), 20*time.Millisecond)),
		n2(cut("the second of two never comes", role+delta("a")+stop, sse, role+delta("a")+stop)),
		n2(cut("the second of two is not finished", begun+other+stop, sse, begun+other+stop)),
		cut("another choice than was asked for is not finished", begun+other+stop, sse, begun+other+stop),
	}
}

func repeatedlyLarge() func(io.Writer) {
	e := delta(strings.Repeat("e", 64<<10))
	return func(w io.Writer) {
		for range 2048 { // 128 MiB
			if _, err := io.WriteString(w, e); err != nil {
				return
			}
		}
	}
}

// responsesFaults are streams of the responses API.
func responsesFaults() []fault {
	event := func(kind, rest string) string {
		return fmt.Sprintf("event: %s\ndata: {\"type\":\"%s\",%s}\n\n", kind, kind, rest)
	}
	created := event("response.created", `"response":{"id":"resp_1","object":"response","status":"in_progress","model":"m","output":[]}`)
	text := event("response.output_text.delta", `"item_id":"i","output_index":0,"content_index":0,"delta":"hel"`)
	more := event("response.output_text.delta", `"item_id":"i","output_index":0,"content_index":0,"delta":"lo"`)
	response := func(status string) string {
		return `"response":{"id":"resp_1","object":"response","status":"` + status + `","model":"m","output":[],"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5}}`
	}
	completed := event("response.completed", response("completed"))
	failedEvent := event("response.failed", `"response":{"id":"resp_1","status":"failed","error":{"code":"server_error","message":"provider-internal"}}`)
	errorEvent := event("error", `"code":"server_error","message":"provider-internal","param":null`)
	ok := func(name, want string, steps ...any) fault {
		return fault{name: name, path: "/v1/responses", stream: true, plays: []play{steps}, body: want}
	}
	cut := func(name, want string, steps ...any) fault {
		return fault{name: name, path: "/v1/responses", stream: true, plays: []play{steps}, body: want, code: "stream_cut", class: "cut"}
	}
	failed := func(name, class string, steps ...any) fault {
		return fault{name: name, path: "/v1/responses", stream: true, plays: []play{steps}, status: 502, code: "upstream_" + class, class: class}
	}
	stalled := cut("stalled", created+text, sse, created+text, hang)
	stalled.class, stalled.code, stalled.within = "stalled", "stream_stalled", limit.idle+1500*time.Millisecond
	silent := failed("silent behind created", "first_token_timeout", sse, created, hang)
	silent.status, silent.within = 504, limit.firstToken+1200*time.Millisecond
	return []fault{
		ok("whole", created+text+more+completed, sse, created+text+more+completed),
		ok("kept open", created+text+more+completed, sse, created+text+more+completed, hang),
		ok("junk behind the end", created+text+completed, sse, created+text+completed+text+done),
		ok("incomplete", created+text+event("response.incomplete", response("incomplete")), sse, created+text+event("response.incomplete", response("incomplete"))),
		ok("byte by byte", created+text+completed, sse, bytewise(created+text+completed, 50*time.Microsecond)),
		{name: "plain", path: "/v1/responses", plays: []play{{http1("200 OK", `{"id":"resp_1","object":"response","status":"completed","model":"m","output":[]}`)}}, body: `{"id":"resp_1","object":"response","status":"completed","model":"m","output":[]}`},
		{name: "plain, cut behind a brace", path: "/v1/responses", plays: []play{{http1("200 OK", `{"id":"resp_1","object":"response","status":"completed","usage":{"input_tokens":1}`)}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		cut("cut", created+text, sse, created+text),
		cut("reset", created+text, sse, created+text, 50*time.Millisecond, reset),
		cut("terminator of the other API", created+text, sse, created+text+done),
		cut("failed later", created+text, sse, created+text+failedEvent),
		cut("an error later", created+text, sse, created+text+errorEvent),
		cut("truncated JSON in the middle", created+text, sse, created+text+strings.Replace(more, "lo\"}", "", 1)+completed),
		cut("completed, truncated", created+text, sse, created+text+strings.Replace(completed, "}}", "", 1)),
		failed("failed at once", "cut", sse, created+failedEvent),
		failed("an error at once", "cut", sse, errorEvent),
		failed("closed behind created", "cut", sse, created),
		stalled, silent,
	}
}
