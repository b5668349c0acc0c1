package integration_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// streamFaults are streams that are odd, and whole all the same.
func streamFaults() []fault {
	ok := func(name, want string, steps ...any) fault {
		return fault{name: name, stream: true, plays: []play{steps}, body: want, also: finished}
	}
	n2 := func(f fault) fault {
		f.extra = `,"n":2`
		return f
	}
	asked := func(f fault) fault {
		f.extra = `,"stream_options":{"include_usage":true}`
		return f
	}
	within := func(f fault, d time.Duration) fault {
		f.within = d
		return f
	}
	text := role + delta("hel") + delta("lo") + stop
	typed := func(contentType string) string {
		return strings.Replace(sse, "Content-Type: text/event-stream\r\n", contentType, 1)
	}
	choice := func(index int, rest string) string {
		return before + fmt.Sprintf(`{"index":%d,%s}]}`, index, rest) + "\n\n"
	}
	tool := before + `{"index":0,"delta":{"role":"assistant","content":null,"tool_calls":[{"index":0,"id":"call_1","type":"function","function":{"name":"f","arguments":""}}]},"finish_reason":null}]}` + "\n\n" +
		before + `{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"a\":1}"}}]},"finish_reason":null}]}` + "\n\n" +
		before + `{"index":0,"delta":{},"finish_reason":"tool_calls"}]}` + "\n\n"
	reasoning := before + `{"index":0,"delta":{"role":"assistant","reasoning_content":"hm"},"finish_reason":null}]}` + "\n\n"
	refusal := before + `{"index":0,"delta":{"refusal":"no"},"finish_reason":null}]}` + "\n\n"
	filter := before + `{"index":0,"delta":{},"finish_reason":"content_filter"}]}` + "\n\n"
	nullUsage := strings.ReplaceAll(text, `]}`+"\n\n", `],"usage":null}`+"\n\n")
	megabytes := func(n int) string { return delta(strings.Repeat("m", n<<20)) }
	manyLines := "data: {\"id\":\"c1\",\n" + strings.Repeat("data: \n", 20_000) + "data: \"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
	crlf := strings.ReplaceAll(whole, "\n", "\r\n")
	cases := []fault{
		ok("whole", whole, sse, whole),
		ok("chunked", whole, sseChunked, chunk(role), chunk(delta("hel")+delta("lo")+stop), chunk(done), lastly),
		ok("chunked with a trailer", whole, sseChunked, chunk(whole), "0\r\nX-Provider: t\r\n\r\n"),
		ok("chunked without the last chunk", whole, sseChunked, chunk(whole)),
		ok("chunked, kept open", whole, sseChunked, chunk(whole), hang),
		ok("with its length", whole, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/event-stream\r\n"+fmt.Sprintf("Content-Length: %d\r\n\r\n", len(whole))+whole),
		ok("byte by byte", whole, sse, bytewise(whole, 50*time.Microsecond)),
		ok("chunks of a byte", whole, sseChunked, func(w io.Writer) {
			for i := range len(whole) {
				_, _ = fmt.Fprintf(w, "1\r\n%s\r\n", whole[i:i+1])
			}
		}, lastly),
		ok("HTTP 1.0", whole, "HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n", whole),
		ok("CRLF", crlf, sse, crlf),
		ok("CRLF, split between CR and LF", crlf, sse, func(w io.Writer) {
			for _, part := range strings.SplitAfter(crlf, "\r") {
				_, _ = io.WriteString(w, part)
				time.Sleep(time.Millisecond)
			}
		}),
		{name: "CR", stream: true, plays: []play{{sse, strings.ReplaceAll(whole, "\n", "\r")}}, body: anything, also: func(t *testing.T, o *outcome) {
			if got := strings.ReplaceAll(o.answer.body, "\r", "\n"); strings.TrimRight(got, "\n") != strings.TrimRight(whole, "\n") {
				t.Errorf("got %s", excerpt(got))
			}
		}},
		ok("byte order mark", whole, sse, "\xef\xbb\xbf"+whole),
		ok("no space behind the colon", strings.ReplaceAll(whole, "data: ", "data:"), sse, strings.ReplaceAll(whole, "data: ", "data:")),
		ok("comments", ": hi\n\n"+role+": still here\n\n"+delta("a")+stop+done, sse, ": hi\n\n"+role+": still here\n\n"+delta("a")+stop+done),
		ok("fields event, id, retry", "event: message\nid: 1\nretry: 10\n"+role+"id: 2\n"+delta("a")+stop+done, sse, "event: message\nid: 1\nretry: 10\n"+role+"id: 2\n"+delta("a")+stop+done),
		ok("data in several lines", role+strings.Replace(delta("a"), `"choices"`, "\ndata: \"choices\"", 1)+stop+done, sse, role+strings.Replace(delta("a"), `"choices"`, "\ndata: \"choices\"", 1)+stop+done),
		within(ok("an event of 7 MiB", role+megabytes(7)+stop+done, sse, role+megabytes(7)+stop+done), 5*time.Second),
		within(ok("an event of 20,000 lines in small pieces", role+manyLines+stop+done, sseChunked, chunk(role), func(w io.Writer) {
			for i := 0; i < len(manyLines); i += 100 {
				_, _ = fmt.Fprintf(w, "%x\r\n%s\r\n", min(100, len(manyLines)-i), manyLines[i:min(i+100, len(manyLines))])
			}
		}, chunk(stop+done), lastly), 5*time.Second),
		ok("broken framing behind the terminator", whole, sseChunked, fmt.Sprintf("%x\r\n%s\r\nzz\r\n", len(whole), whole)),
		ok("events of spaces", role+delta("a")+stop+done, sse, role+"data:  \n\ndata:\t\n\n"+delta("a")+stop+done),
		ok("an event of nothing that is no JSON", role+delta("a")+stop+done, sse, role+"data: hello\n\n"+delta("a")+stop+done),
		ok("content type with charset", whole, typed("Content-Type: text/event-stream; charset=utf-8\r\n"), whole),
		ok("content type in capitals", whole, typed("Content-Type: TEXT/EVENT-STREAM\r\n"), whole),
		ok("content type missing", whole, typed(""), whole),
		ok("gzip", whole, strings.Replace(sse, "Connection", "Content-Encoding: gzip\r\nConnection", 1), zipped(whole)),
		ok("finished, then closed", whole, sse, text),
		ok("finished, then reset", whole, sse, text, 50*time.Millisecond, reset),
		within(ok("finished, then silence", whole, sse, text, hang), 4*time.Second),
		within(ok("finished, then keep-alives for ever", anything, sse, text, repeatedly(": still here\n\n", 100*time.Millisecond)), 5*time.Second),
		within(ok("finished, then a drip for ever", whole, sse, text, repeatedly(":", 100*time.Millisecond)), 5*time.Second),
		ok("finished and a terminator without its blank line", whole, sse, text+"data: [DONE]\n"),
		ok("finished and a terminator without any line end", whole, sse, text+"data: [DONE]"),
		ok("terminator twice", whole, sse, whole+done),
		ok("terminator with spaces", whole, sse, text+"data:  [DONE] \n\n"),
		ok("events behind the terminator", whole, sse, whole+delta("more")+stop+done),
		ok("an error behind the terminator", whole, sse, whole+"data: "+errorBody+"\n\n"),
		ok("junk behind the terminator", whole, sse, whole+strings.Repeat("\x00junk", 1000)),
		ok("junk behind the last chunk", whole, sseChunked, chunk(whole), lastly+"HTTP/1.1 200 OK\r\n\r\n"),
		ok("an endless tail behind the terminator", whole, sse, whole, repeatedly(delta("more"), time.Millisecond)),
		ok("usage, not asked for", role+delta("a")+stop+done, sse, role+delta("a")+stop+usage+done),
		asked(ok("usage, asked for", role+delta("a")+stop+usage+done, sse, role+delta("a")+stop+usage+done)),
		ok("usage null everywhere, not asked for", text+done, sse, nullUsage+usage+done),
		asked(ok("usage null everywhere, asked for", nullUsage+usage+done, sse, nullUsage+usage+done)),
		ok("usage between finish and close", text+done, sse, text+usage),
		ok("usage a moment after finish", text+done, sse, text, 300*time.Millisecond, usage),
		ok("empty choices first", before+"]}\n\n"+text+done, sse, before+"]}\n\n"+text+done),
		n2(ok("two choices", choice(0, `"delta":{"content":"a"},"finish_reason":"stop"`)+choice(1, `"delta":{"content":"b"},"finish_reason":"length"`)+done, sse,
			choice(0, `"delta":{"content":"a"},"finish_reason":"stop"`)+choice(1, `"delta":{"content":"b"},"finish_reason":"length"`))),
		ok("tool call first", tool+done, sse, tool),
		ok("reasoning first", reasoning+text+done, sse, reasoning+text),
		ok("refusal first", refusal+stop+done, sse, refusal+stop),
		ok("filtered at once", role+filter+done, sse, role+filter+done),
		ok("finished without content", role+stop+done, sse, role+stop+done),
		within(ok("keep-alives, then content", ": a\n\n: a\n\n"+whole, sse, ": a\n\n", limit.firstToken/3, ": a\n\n", limit.firstToken/3, whole), limit.firstToken+time.Second),
		within(ok("slower than the limits together", role+delta("a")+delta("b")+delta("c")+delta("d")+stop+done, sse, role+delta("a"), limit.idle*6/10, delta("b"), limit.idle*6/10, delta("c"), limit.idle*6/10, delta("d"), limit.idle*6/10, stop+done), 3*limit.idle+time.Second),
		within(ok("longer than read_body", anything, sse, role, func(w io.Writer) {
			for end := time.Now().Add(limit.readBody + limit.idle); time.Now().Before(end); time.Sleep(limit.idle / 4) {
				_, _ = io.WriteString(w, delta("a"))
			}
		}, stop+done), limit.readBody+limit.idle+2*time.Second),
		{name: "events within one long chunk", stream: true, within: limit.idle + 1500*time.Millisecond, plays: []play{{sseChunked, fmt.Sprintf("%x\r\n", len(whole)), role + delta("hel"), limit.idle * 8 / 10, delta("lo") + stop + done + "\r\n" + lastly}}, body: whole, also: func(t *testing.T, o *outcome) {
			if o.answer.toFirst > limit.idle/2 {
				t.Errorf("the first event was held back for %s", o.answer.toFirst)
			}
		}},
		{name: "JSON for a stream", stream: true, plays: []play{{http1("200 OK", plain)}}, body: anything, also: streamsHello},
		{name: "JSON for a stream, no type", stream: true, plays: []play{{head(fmt.Sprintf("Content-Length: %d", len(plain))) + plain}}, body: anything, also: streamsHello},
	}
	return cases
}

// finished checks the end of a whole stream, and that usage was reported where the provider reported it.
func finished(t *testing.T, o *outcome) {
	if !strings.HasPrefix(o.answer.header.Get("Content-Type"), "text/event-stream") {
		t.Errorf("content type %q", o.answer.header.Get("Content-Type"))
	}
	if n := strings.Count(o.answer.body, "[DONE]"); n != 1 {
		t.Errorf("%d terminators: %s", n, excerpt(o.answer.body))
	}
	if o.trace.Usage != nil && !o.trace.Usage.Estimated && o.trace.Usage.Output != 2 {
		t.Errorf("trace: usage %+v", o.trace.Usage)
	}
	if o.trace.Finish == "" {
		t.Error("trace: no finish reason")
	}
}

// streamsHello checks a stream that was made of a whole answer.
func streamsHello(t *testing.T, o *outcome) {
	finished(t, o)
	body := o.answer.body
	if !strings.Contains(body, `"content":"hello"`) || !strings.Contains(body, `"finish_reason":"stop"`) || !strings.HasSuffix(body, done) || !strings.Contains(body, "chat.completion.chunk") {
		t.Errorf("not a stream of the answer: %s", excerpt(body))
	}
}
