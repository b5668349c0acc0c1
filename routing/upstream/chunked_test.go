package upstream

import (
	"bufio"
	"bytes"
	"io"
	"net/http/httputil"
	"strings"
	"testing"
	"testing/iotest"
)

func TestChunks(t *testing.T) {
	for in, want := range map[string]string{
		"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n": "abcde",
		"3 \r\nabc\r\n0\r\n":               "abc",
		"A\r\n0123456789\r\n00\r\n":        "0123456789",
		"3\nabc\n0\n":                      "abc",
		"":                                 "error",
		"3\r\nab":                          "error",
		"3\r\nabcd\r\n0\r\n":               "error",
		"-1\r\nabc":                        "error",
		"+1\r\na\r\n0\r\n":                 "error",
		"0x1\r\na\r\n0\r\n":                "error",
		"\r\n":                             "error",
		"FFFFFFFFFFFFFFFF\r\nabc":          "error",
		"1" + strings.Repeat(" ", 9000) + "\r\na\r\n0\r\n": "error",
	} {
		for name, r := range map[string]io.Reader{"at once": strings.NewReader(in), "by bytes": iotest.OneByteReader(strings.NewReader(in))} {
			got, err := io.ReadAll(&chunkedReader{br: bufio.NewReader(r)})
			if err != nil {
				got = []byte("error")
			}
			if string(got) != want {
				t.Errorf("%.40q, %s: got %q, %v, want %q", in, name, got, err, want)
			}
		}
	}
}

// What has come of a chunk is there before the rest is.
func TestChunksAreNotHeldBack(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	go func() { _, _ = io.WriteString(w, "64\r\nthe first event") }() // ends with the read
	buf := make([]byte, 512)
	n, err := (&chunkedReader{br: bufio.NewReader(r)}).Read(buf)
	if string(buf[:n]) != "the first event" || err != nil {
		t.Errorf("got %q, %v", buf[:n], err)
	}
}

// FuzzChunks holds the reader to the standard library's: what both accept is the same.
func FuzzChunks(f *testing.F) {
	f.Add([]byte("3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"))
	f.Add([]byte("FFFFFFFFFFFFFFF\r\nabc"))
	f.Fuzz(func(t *testing.T, in []byte) {
		want, wantErr := io.ReadAll(io.LimitReader(httputil.NewChunkedReader(bytes.NewReader(in)), 1<<16))
		got, err := io.ReadAll(io.LimitReader(&chunkedReader{br: bufio.NewReader(bytes.NewReader(in))}, 1<<16))
		if err == nil && wantErr == nil && !bytes.Equal(got, want) {
			t.Fatalf("got %q, want %q", got, want)
		}
	})
}
