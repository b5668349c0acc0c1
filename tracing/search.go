package tracing

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// search looks for a text in JSON, where it may be written in two ways.
type search struct {
	forms [][]byte // lower case
	buf   []byte
}

func newSearch(text string) *search {
	text = strings.ToValidUTF8(text, "\ufffd")
	plain := jsonscan.AppendQuoted(nil, text)
	s := &search{forms: [][]byte{lower(nil, plain[1:len(plain)-1])}}
	ascii := false
	for i := range len(text) {
		ascii = ascii || text[i] >= 0x80
	}
	if ascii { // a writer that escapes what is not ASCII
		var b []byte
		for _, r := range string(plain[1 : len(plain)-1]) {
			switch {
			case r < 0x80:
				b = append(b, byte(r))
			case r < 0x10000:
				b = fmt.Appendf(b, `\u%04x`, r)
			default:
				r -= 0x10000
				b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
			}
		}
		s.forms = append(s.forms, lower(nil, b))
	}
	return s
}

func (s *search) in(doc []byte) bool {
	if len(doc) == 0 {
		return false
	}
	s.buf = lower(s.buf[:0], doc)
	for _, form := range s.forms {
		if bytes.Contains(s.buf, form) {
			return true
		}
	}
	return false
}

func lower(dst, b []byte) []byte {
	dst = append(dst, b...)
	for i, c := range dst {
		if c-'A' <= 'Z'-'A' {
			dst[i] = c + 'a' - 'A'
		}
	}
	return dst
}
