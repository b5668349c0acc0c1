package integration_test

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// endless writes chunks until the other side has had enough.
func endless(w io.Writer) {
	c := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat("x", 64<<10))
	for range 4096 { // 256 MiB
		if _, err := io.WriteString(w, c); err != nil {
			return
		}
	}
}

// repeatedly writes s again and again, for as long as it has patience.
func repeatedly(s string, every time.Duration) func(io.Writer) {
	return func(w io.Writer) {
		for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(every) {
			if _, err := io.WriteString(w, s); err != nil {
				return
			}
		}
	}
}

// bytewise writes s a byte at a time.
func bytewise(s string, every time.Duration) func(io.Writer) {
	return func(w io.Writer) {
		for i := range len(s) {
			if _, err := io.WriteString(w, s[i:i+1]); err != nil {
				return
			}
			time.Sleep(every)
		}
	}
}

// leftIn checks that the provider was left alone within that time.
func leftIn(d time.Duration) func(*testing.T, *outcome) {
	return func(t *testing.T, o *outcome) {
		for i, s := range o.seen {
			select {
			case <-s.next:
				if s.gone == nil || s.goneAt.Sub(s.at) > d {
					t.Errorf("attempt %d: the provider was left after %s, want at most %s", i+1, s.goneAt.Sub(s.at), d)
				}
			case <-time.After(time.Second):
				t.Errorf("attempt %d: the provider is still being read", i+1)
			}
		}
	}
}

// connectionFaults are those before a header is complete.
func connectionFaults() []fault {
	good := play{http1("200 OK", plain)}
	broken := fault{status: 502, code: "upstream_bad_response", class: "bad_response"}
	late := limit.header + 1200*time.Millisecond
	is := func(f fault, name string, plays ...play) fault {
		f.name, f.plays = name, plays
		return f
	}
	silent := fault{status: 504, code: "upstream_header_timeout", class: "header_timeout", within: late, also: leftIn(late)}
	gone := fault{status: 502, code: "upstream_connect", class: "connect", attempts: 2}
	big := `,"padding":"` + strings.Repeat("p", 5<<20) + `"`
	return []fault{
		is(gone, "closed before headers", play{}),
		is(gone, "reset before headers", play{reset}),
		{name: "closed before headers once", plays: []play{{}, good}, attempts: 2, body: plain},
		{name: "reset before headers once", plays: []play{{reset}, good}, attempts: 2, body: plain},
		{name: "reset before headers once, stream", stream: true, plays: []play{{reset}, {sse, whole}}, attempts: 2, body: whole},
		is(broken, "closed within the header", play{"HTTP/1.1 200 OK\r\nContent-Ty"}),
		is(broken, "closed behind the header", play{head(jsonType, "Content-Length: 100")}),
		is(broken, "reset behind the header", play{head(jsonType, "Content-Length: 100"), 20 * time.Millisecond, reset}),
		is(broken, "reset within the body", play{head(jsonType, "Content-Length: 1000") + plain[:100], 20 * time.Millisecond, reset}),
		is(silent, "silent", play{hang}),
		is(silent, "silent within the header", play{"HTTP/1.1 200 OK\r\nContent-Ty", hang}),
		is(silent, "silent after the status line", play{"HTTP/1.1 200 OK\r\n", hang}),
		is(silent, "a header that drips", play{bytewise(head(jsonType, "X-Slow: "+strings.Repeat("s", 600), "Content-Length: 2")+"{}", 20*time.Millisecond)}),
		is(silent, "a header that never ends, slowly", play{"HTTP/1.1 200 OK\r\n", repeatedly("X-More: x\r\n", 30*time.Millisecond)}),
		{name: "silent in a body", plays: []play{{head(jsonType, "Content-Length: 1000") + plain[:100], hang}}, status: 504, code: "upstream_stalled", class: "stalled", within: limit.idle + 1200*time.Millisecond, also: leftIn(limit.idle + 1200*time.Millisecond)},
		{name: "silent in a chunked body", plays: []play{{head(jsonType, chunked), chunk(plain[:100]), hang}}, status: 504, code: "upstream_stalled", class: "stalled", within: limit.idle + 1200*time.Millisecond, also: leftIn(limit.idle + 1200*time.Millisecond)},
		{name: "a slow answer in time", plays: []play{{limit.header * 6 / 10, good[0]}}, within: limit.header + time.Second, body: plain},
		{name: "the answer byte by byte", plays: []play{{bytewise(http1("200 OK", plain), 100*time.Microsecond)}}, body: plain},
		{name: "an answer before the body is read", extra: big, within: 4 * time.Second, plays: []play{{early, http1("413 Too Large", errorBody), linger}}, status: 413, body: errorBody, class: "status_413"},
		{name: "an answer, and the body is never read", extra: big, within: limit.header + 2*time.Second, plays: []play{{early, http1("413 Too Large", errorBody), limit.header + 3*time.Second}}, status: 413, body: errorBody, class: "status_413"},
		{name: "closed while the body comes", extra: big, within: 4 * time.Second, plays: []play{{early}}, attempts: 2, status: 502, code: "upstream_connect", class: "connect"},
		{name: "reset while the body comes", extra: big, within: 4 * time.Second, plays: []play{{early, 20 * time.Millisecond, reset}}, attempts: 2, status: 502, code: "upstream_connect", class: "connect"},
		{name: "the body is never read", extra: big, within: limit.header + 2*time.Second, plays: []play{{early, limit.header + 4*time.Second}}, status: 504, code: "upstream_header_timeout", class: "header_timeout"},
		{name: "5 MB", extra: big, within: 4 * time.Second, plays: []play{good}, body: plain, also: func(t *testing.T, o *outcome) {
			want := strings.Replace(o.sent, "raw/", "", 1)
			if len(o.seen) == 1 && string(o.seen[0].body) != want {
				t.Errorf("the provider saw another body: %s", excerpt(string(o.seen[0].body)))
			}
		}},
		{name: "unknown members pass as they are", extra: `,"x":1.0e+2,"big":123456789012345678901234567890,"y":[ 1,2 ],"\u0041":"\u00e9\/"`, plays: []play{good}, body: plain, also: func(t *testing.T, o *outcome) {
			if want := strings.Replace(o.sent, "raw/", "", 1); len(o.seen) == 1 && string(o.seen[0].body) != want {
				t.Errorf("the provider saw %s, want %s", o.seen[0].body, want)
			}
		}},
	}
}

// headFaults are headers that are complete, and wrong.
func headFaults() []fault {
	bad := func(name string, steps ...any) fault {
		return fault{name: name, plays: []play{steps}, status: 502, code: "upstream_bad_response", class: "bad_response"}
	}
	good := func(name string, steps ...any) fault {
		return fault{name: name, plays: []play{steps}, body: plain}
	}
	length := fmt.Sprintf("Content-Length: %d", len(plain))
	cases := []fault{
		bad("length negative", head(jsonType, "Content-Length: -5")+plain),
		bad("length in words", head(jsonType, "Content-Length: many")+plain),
		bad("length with plus", head(jsonType, fmt.Sprintf("Content-Length: +%d", len(plain)))+plain),
		bad("length hexadecimal", head(jsonType, fmt.Sprintf("Content-Length: 0x%x", len(plain)))+plain),
		bad("length empty", head(jsonType, "Content-Length: ")+plain),
		bad("length too large for a number", head(jsonType, "Content-Length: 99999999999999999999999")+plain),
		bad("lengths that differ", head(jsonType, length, "Content-Length: 5")+plain),
		bad("lengths in a list that differ", head(jsonType, length+", 5")+plain),
		good("lengths that agree", head(jsonType, length, length)+plain),
		bad("length short", head(jsonType, fmt.Sprintf("Content-Length: %d", len(plain)-20))+plain),
		bad("length short by one", head(jsonType, fmt.Sprintf("Content-Length: %d", len(plain)-1))+plain),
		bad("length long", head(jsonType, fmt.Sprintf("Content-Length: %d", len(plain)+20))+plain),
		bad("length long by one", head(jsonType, fmt.Sprintf("Content-Length: %d", len(plain)+1))+plain),
		bad("length zero", head(jsonType, "Content-Length: 0")+plain),
		bad("length of a terabyte", head(jsonType, "Content-Length: 1099511627776")+plain),
		good("length and junk behind", head(jsonType, length)+plain+"junk"),
		bad("coding unknown", head(jsonType, "Transfer-Encoding: gzip, chunked")+"5\r\nhello\r\n0\r\n\r\n"),
		bad("coding identity", head(jsonType, "Transfer-Encoding: cow")+plain),
		bad("64 KiB of one field", head(jsonType, "X-Big: "+strings.Repeat("b", 70<<10), length)+plain),
		bad("10,000 fields", head(append(manyFields(10_000, "X-Provider: 1234"), length)...)+plain),
		good("60 KiB of header", head(append(manyFields(60, "X-Provider: "+strings.Repeat("b", 1000)), length)...)+plain),
		bad("a line without a colon", head(jsonType, "no colon here", length)+plain),
		bad("a name with a space", head(jsonType, "X Name: v", length)+plain),
		bad("a space before the colon", head(jsonType, "X-Name : v", length)+plain),
		bad("an empty name", head(jsonType, ": v", length)+plain),
		bad("a folded line", head(jsonType, "X-Fold: a\r\n b", length)+plain),
		bad("a name with NUL", head(jsonType, "X-\x00: v", length)+plain),
		bad("a value with NUL", head("Content-Type: application/json\x00", length)+plain),
		bad("a value with CR", head("Content-Type: application/json\rX-Injected: yes", length)+plain),
		bad("a name that is no token", head(jsonType, "X(Name): v", length)+plain),
		good("line feeds alone", strings.ReplaceAll(head(jsonType, length), "\r\n", "\n")+plain),
		good("names in capitals", strings.ToUpper(head(jsonType, length))+plain),
		good("account fields", head(jsonType, length, "Set-Cookie: a=b; Path=/", "Server: nginx", "OpenAI-Organization: org-x", "x-ratelimit-remaining-requests: 1", "X-Provider: y", "Www-Authenticate: Bearer")+plain),
		good("hop by hop", head(jsonType, length, "Connection: close, X-Provider", "X-Provider: z", "Keep-Alive: timeout=1", "Upgrade: h2c", "Proxy-Authenticate: Basic")+plain),
		good("both length and chunked", head(jsonType, "Content-Length: 7", chunked), chunk(plain), lastly),
	}
	// Lines that end where a buffer of the usual sizes ends.
	for _, n := range []int{4094, 4095, 4096, 8190, 8191, 8192, 16383, 16384} {
		for _, at := range []int{0, len("HTTP/1.1 200 OK\r\nConnection: close\r\n")} {
			cases = append(cases, good(fmt.Sprintf("a line of %d bytes less %d", n, at), head("X-Provider: "+strings.Repeat("b", n-len("X-Provider: ")-at), jsonType, length)+plain))
		}
	}
	return cases
}

func manyFields(n int, field string) []string {
	all := []string{jsonType}
	for range n {
		all = append(all, field)
	}
	return all
}
