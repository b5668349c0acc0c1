package integration_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"
)

func zipped(s string) string {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, s)
	_ = w.Close()
	return b.String()
}

// bomb is a megabyte or so that becomes a gigabyte.
var bomb = sync.OnceValue(func() string {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	_, _ = io.WriteString(w, `{"a":"`)
	zeros := bytes.Repeat([]byte("0"), 1<<20)
	for range 256 {
		_, _ = w.Write(zeros)
	}
	_ = w.Close()
	return b.String()
})

// bodyFaults are whole answers that are none, or that hide one.
func bodyFaults() []fault {
	bad := func(name string, steps ...any) fault {
		return fault{name: name, plays: []play{steps}, status: 502, code: "upstream_bad_response", class: "bad_response"}
	}
	good := func(name string, steps ...any) fault {
		return fault{name: name, plays: []play{steps}, body: plain}
	}
	large := func(name string, steps ...any) fault {
		return fault{name: name, plays: []play{steps}, status: 502, code: "upstream_response_too_large", class: "response_too_large", within: 8 * time.Second}
	}
	inChunks := head(jsonType, chunked)
	html := "<!DOCTYPE html><html><body>Welcome to nginx</body></html>"
	noLeak := func(f fault) fault {
		f.also = func(t *testing.T, o *outcome) {
			if strings.Contains(string(o.answer.raw), "nginx") {
				t.Errorf("the caller got the provider's page: %q", o.answer.raw)
			}
		}
		return f
	}
	return []fault{
		good("chunks", inChunks, chunk(plain[:10]), chunk(plain[10:]), lastly),
		good("chunks of a byte", inChunks, func(w io.Writer) {
			for i := range len(plain) {
				_, _ = fmt.Fprintf(w, "1\r\n%s\r\n", plain[i:i+1])
			}
		}, lastly),
		good("chunks with extensions", inChunks+fmt.Sprintf("%x;name=value;other=\"quoted\"\r\n%s\r\n0;last\r\n\r\n", len(plain), plain)),
		good("chunks with a trailer", inChunks, chunk(plain), "0\r\nX-Provider: trailer\r\nSet-Cookie: a=b\r\n\r\n"),
		good("until it is closed", head(jsonType)+plain),
		bad("last chunk missing", inChunks, chunk(plain)),
		bad("chunk cut", inChunks+fmt.Sprintf("%x\r\n%s", len(plain)+10, plain)),
		bad("chunk size in words", inChunks+"zz\r\n"+plain+"\r\n0\r\n\r\n"),
		bad("chunk size negative", inChunks+"-5\r\nhello\r\n0\r\n\r\n"),
		bad("chunk size empty", inChunks+"\r\n"+plain+"\r\n0\r\n\r\n"),
		bad("chunk size with 0x", inChunks+fmt.Sprintf("0x%x\r\n%s\r\n0\r\n\r\n", len(plain), plain)),
		bad("chunk size of 16 F", inChunks+"FFFFFFFFFFFFFFFF\r\n"+plain),
		bad("chunk size of 17 digits", inChunks+"10000000000000000\r\n"+plain),
		bad("chunk size of a megabyte of digits", inChunks+strings.Repeat("0", 1<<20)+"5\r\nhello\r\n0\r\n\r\n"),
		bad("chunk without its line end", inChunks+fmt.Sprintf("%x\r\n%s0\r\n\r\n", len(plain), plain)),
		bad("chunk extension of a megabyte", inChunks+"5;"+strings.Repeat("e", 1<<20)+"\r\nhello\r\n0\r\n\r\n"),
		large("endless", inChunks, endless),
		large("endless without framing", head(jsonType), func(w io.Writer) {
			b := bytes.Repeat([]byte(" "), 1<<20)
			for range 256 {
				if _, err := w.Write(b); err != nil {
					return
				}
			}
		}),
		large("gzip bomb", http1("200 OK", bomb(), "Content-Encoding: gzip")),
		good("gzip, unasked for", http1("200 OK", zipped(plain), "Content-Encoding: gzip")),
		good("gzip, in capitals", http1("200 OK", zipped(plain), "Content-Encoding: GZIP")),
		good("coding identity", http1("200 OK", plain, "Content-Encoding: identity")),
		bad("gzip that is not", http1("200 OK", plain, "Content-Encoding: gzip")),
		bad("gzip cut", http1("200 OK", zipped(plain)[:40], "Content-Encoding: gzip")),
		bad("gzip with a wrong checksum", http1("200 OK", zipped(plain)[:len(zipped(plain))-8]+"12345678", "Content-Encoding: gzip")),
		bad("gzip of nothing", http1("200 OK", "", "Content-Encoding: gzip")),
		bad("gzip undeclared", http1("200 OK", zipped(plain))),
		bad("deflate", http1("200 OK", "x\x9c\x03\x00", "Content-Encoding: deflate")),
		bad("br", http1("200 OK", "\x8b\x02\x80{}\x03", "Content-Encoding: br")),
		noLeak(bad("HTML", http1("200 OK", html, "Content-Type: text/html"))),
		noLeak(bad("HTML called JSON", http1("200 OK", html))),
		bad("text", http1("200 OK", "hello", "Content-Type: text/plain")),
		good("JSON called text", http1("200 OK", plain, "Content-Type: text/plain")),
		good("JSON without a type", head("Connection: close", fmt.Sprintf("Content-Length: %d", len(plain)))+plain),
		bad("nothing", http1("200 OK", "")),
		bad("nothing until it is closed", head(jsonType)),
		bad("null", http1("200 OK", "null")),
		bad("a list", http1("200 OK", "[]")),
		bad("a number", http1("200 OK", "42")),
		bad("a text", http1("200 OK", `"hello"`)),
		bad("an empty object", http1("200 OK", "{}")),
		bad("another object", http1("200 OK", `{"status":"ok"}`)),
		bad("JSON cut", http1("200 OK", plain[:len(plain)-30])),
		bad("JSON cut behind a brace", http1("200 OK", plain[:len(plain)-1])),
		bad("JSON cut until it is closed", head(jsonType)+plain[:len(plain)-1]),
		bad("JSON with a missing quote", http1("200 OK", strings.Replace(plain, `"hello"`, `"hello`, 1))),
		bad("JSON twice", http1("200 OK", plain+plain)),
		bad("JSON and junk", http1("200 OK", plain+"junk}")),
		bad("JSON with NUL", http1("200 OK", strings.Replace(plain, "hello", "he\x00lo", 1))),
		bad("JSON with invalid UTF-8", http1("200 OK", strings.Replace(plain, "hello", "he\xff\xfelo", 1))),
		bad("JSON in UTF-16", http1("200 OK", utf16(plain))),
		bad("nested 100,000 deep", http1("200 OK", `{"choices":`+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000)+"}")),
		bad("an error with 200", http1("200 OK", errorBody)),
		{name: "an error that is null", plays: []play{{http1("200 OK", strings.Replace(plain, "{", `{"error":null,`, 1))}}, body: strings.Replace(plain, "{", `{"error":null,`, 1)},
		{name: "JSON with a byte order mark", plays: []play{{http1("200 OK", "\xef\xbb\xbf"+plain)}}, body: plain},
		{name: "JSON with space around", plays: []play{{http1("200 OK", " \r\n"+plain+"\n ")}}, body: " \r\n" + plain + "\n "},
		{name: "embeddings", path: "/v1/embeddings", extra: `,"input":"hi"`, plays: []play{{http1("200 OK", embedding)}}, body: embedding},
		{name: "embeddings cut", path: "/v1/embeddings", extra: `,"input":"hi"`, plays: []play{{http1("200 OK", embedding[:len(embedding)-1])}}, status: 502, code: "upstream_bad_response", class: "bad_response"},
		{name: "a stream for a plain call", plays: []play{{sse, role + delta("hel") + delta("lo") + stop + usage + done}}, body: anything, also: answersHello},
		{name: "a stream for a plain call, without the end", plays: []play{{sse, role + delta("hel")}}, status: 502, code: "upstream_cut", class: "cut"},
		{name: "a stream for a plain call, with an error", plays: []play{{sse, "data: " + errorBody + "\n\n"}}, status: 502, code: "upstream_cut", class: "cut"},
	}
}

const embedding = `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.1,-2e-3]}],"model":"m","usage":{"prompt_tokens":1,"total_tokens":1}}`

// answersHello checks a chat completion that was put together from a stream.
func answersHello(t *testing.T, o *outcome) {
	if !strings.Contains(o.answer.body, `"content":"hello"`) || !strings.Contains(o.answer.body, `"finish_reason":"stop"`) || strings.Contains(o.answer.body, "data:") {
		t.Errorf("not the completion that the stream amounts to: %s", excerpt(o.answer.body))
	}
	if got := o.answer.header.Get("Content-Type"); !strings.HasPrefix(got, "application/json") {
		t.Errorf("content type %q", got)
	}
}

func utf16(s string) string {
	var b strings.Builder
	b.WriteString("\xff\xfe")
	for i := range len(s) {
		b.WriteByte(s[i])
		b.WriteByte(0)
	}
	return b.String()
}
