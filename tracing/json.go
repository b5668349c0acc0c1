package tracing

import (
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

var null = []byte("null")

// writer of one JSON object, appended to dst.
type objectWriter struct {
	dst   []byte
	begun bool
}

func object(dst []byte) objectWriter { return objectWriter{dst: append(dst, '{')} }

func (o *objectWriter) comma() {
	if o.begun {
		o.dst = append(o.dst, ',')
	}
	o.begun = true
}

// name writes a member's name, which needs no escaping.
func (o *objectWriter) name(name string) {
	o.comma()
	o.dst = append(o.dst, '"')
	o.dst = append(o.dst, name...)
	o.dst = append(o.dst, '"', ':')
}

// rawName writes a name as it stood in other JSON, without its quotes.
func (o *objectWriter) rawName(name []byte) {
	o.comma()
	o.dst = append(o.dst, '"')
	o.dst = append(o.dst, name...)
	o.dst = append(o.dst, '"', ':')
}

func (o *objectWriter) raw(name, value []byte) {
	o.rawName(name)
	o.dst = append(o.dst, value...)
}

func (o *objectWriter) text(name string, t text) {
	o.name(name)
	o.dst = append(append(append(o.dst, '"'), t.raw...), '"')
}

// string writes a member when its value is not empty.
func (o *objectWriter) string(name, value string) {
	if value == "" {
		return
	}
	o.name(name)
	o.dst = jsonscan.AppendQuoted(o.dst, valid(value))
}

// int writes a member when its value is not 0.
func (o *objectWriter) int(name string, value int64) {
	if value == 0 {
		return
	}
	o.name(name)
	o.dst = appendInt(o.dst, value)
}

func (o *objectWriter) end() []byte { return append(o.dst, '}') }

func appendInt(dst []byte, n int64) []byte { return strconv.AppendInt(dst, n, 10) }

// textOf decodes a string literal; whatever else it is, is "".
func textOf(raw []byte) string {
	s, ok := jsonscan.Unquote(raw)
	if !ok {
		return ""
	}
	return strings.Clone(s)
}

// integer reads a whole number of at most 15 digits; anything else is 0.
func integer(raw []byte) int64 {
	if len(raw) == 0 || len(raw) > 15 {
		return 0
	}
	var n int64
	for _, c := range raw {
		if c < '0' || c > '9' {
			return 0
		}
		n = n*10 + int64(c-'0')
	}
	return n
}
