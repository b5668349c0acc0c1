package upstream

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tmaxmax/go-sse"
)

// split runs the splitter over input that arrives in parts of the given
// sizes, in turn, moving the buffer as Stream does, and returns the data of
// the events that have any.
func split(input []byte, sizes []byte) (events []string) {
	var s splitter
	var buf []byte
	for i := 0; len(input) > 0; i++ {
		n := 1
		if len(sizes) > 0 {
			n = int(sizes[i%len(sizes)]) + 1
		}
		n = min(n, len(input))
		buf = append(buf, input[:n]...)
		input = input[n:]
		parsed := 0
		for {
			end, data, ok := s.next(buf, parsed)
			if !ok {
				break
			}
			if len(data) > 0 {
				events = append(events, string(data))
			}
			parsed = end
		}
		buf = append([]byte(nil), buf[parsed:]...)
		s.moved(parsed)
	}
	return events
}

func TestSplitter(t *testing.T) {
	for input, want := range map[string][]string{
		"data: a\n\ndata:b\n\n":                       {"a", "b"},
		"data: a\r\n\r\ndata: b\r\n\r\n":              {"a", "b"},
		"data: a\r\rdata: b\r\rdata: c\n\n":           {"a", "b", "c"},
		"event: x\nid: 1\ndata: a\ndata: b\n\n":       {"a\nb"},
		": comment\n\ndata: a\n: another\n\n":         {"a"},
		"data:  two spaces\n\n":                       {" two spaces"},
		"data: not finished\n":                        nil,
		"data: a\r\ndata: b\rdata: c\n\r\n":           {"a\nb\nc"},
		"\n\n\ndata: a\n\n\n\n":                       {"a"},
		"data: " + strings.Repeat("x", 9000) + "\n\n": {strings.Repeat("x", 9000)},
	} {
		for _, sizes := range [][]byte{{255}, {0}, {1}, {2}, {0, 5, 1}} {
			if got := split([]byte(input), sizes); !slices.Equal(got, want) {
				t.Errorf("%.60q in parts of %v: got %.60q, want %.60q", input, sizes, got, want)
			}
		}
	}
}

// An event of many lines costs as much however it comes.
func BenchmarkSplitterManyLines(b *testing.B) {
	event := []byte(strings.Repeat("data:\n", 150_000) + "\n")
	for b.Loop() {
		var s splitter
		for n := 256; n < len(event); n += 256 {
			s.next(event[:n], 0)
		}
		if end, data, ok := s.next(event, 0); !ok || end != len(event) || len(data) != 149_999 {
			b.Fatal(end, len(data), ok)
		}
	}
}

// Any split gives the same events, and they are those of another
// implementation of the standard.
func FuzzSplitter(f *testing.F) {
	f.Add([]byte("data: a\r\n\r\ndata: b\n\n:c\ndata: d\rdata: e\r\r"), []byte{0, 3})
	f.Add([]byte("id: 1\ndata\ndata: x\n\n"), []byte{1})
	f.Fuzz(func(t *testing.T, input, sizes []byte) {
		whole := split(input, []byte{255})
		if parts := split(input, sizes); !slices.Equal(whole, parts) {
			t.Fatalf("in parts of %v: %q, whole: %q", sizes, parts, whole)
		}
		if !utf8.Valid(input) || bytes.ContainsAny(input, "\x00") || bytes.HasPrefix(input, byteOrderMark) {
			return
		}
		var want []string
		for e, err := range sse.Read(bytes.NewReader(input), nil) {
			if err != nil {
				break
			}
			if e.Data != "" {
				want = append(want, e.Data)
			}
		}
		// The other implementation also knows the field without a colon, and dispatches what has no blank line behind it.
		if bytes.Contains(input, []byte("data\n")) || bytes.Contains(input, []byte("data\r")) {
			return
		}
		if len(want) == len(whole)+1 && !bytes.HasSuffix(input, []byte("\n\n")) {
			want = want[:len(whole)]
		}
		if !slices.Equal(whole, want) {
			t.Fatalf("%q: got %q, go-sse %q", input, whole, want)
		}
	})
}
