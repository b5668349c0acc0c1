package tracing

import (
	"bytes"
	"fmt"
	"regexp"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

const redacted = "[redacted]"

// maxNesting bounds how deep JSON may nest that is looked into.
const maxNesting = 512

// redactor applies the redact rules. A nil one leaves everything as it is.
type redactor struct {
	names map[string]bool
	texts []*regexp.Regexp
}

var plainName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

func newRedactor(rules []string) (*redactor, error) {
	if len(rules) == 0 {
		return nil, nil
	}
	x := &redactor{names: map[string]bool{}}
	for _, rule := range rules {
		if plainName.MatchString(rule) {
			x.names[rule] = true
			continue
		}
		re, err := regexp.Compile(rule)
		if err != nil {
			return nil, fmt.Errorf("traces redact %q: neither a name nor a regular expression: %w", rule, err)
		}
		if re.MatchString("") {
			return nil, fmt.Errorf("traces redact %q: matches the empty text", rule)
		}
		x.texts = append(x.texts, re)
	}
	return x, nil
}

// text applies the expressions to a text.
func (x *redactor) text(s string) string {
	if x == nil {
		return s
	}
	for _, re := range x.texts {
		s = re.ReplaceAllLiteralString(s, redacted)
	}
	return s
}

// member applies the rules to the text value of a member.
func (x *redactor) member(name, value string) string {
	if x != nil && x.names[name] {
		return redacted
	}
	return x.text(value)
}

// body applies the rules to a payload and appends it to dst. What is not JSON
// is withheld when names could be in it.
func (x *redactor) body(dst, doc []byte) []byte {
	if !jsonscan.Valid(doc, maxNesting) {
		if len(x.names) > 0 {
			return append(dst, `"[withheld: not JSON, and there are redact rules]"`...)
		}
		return append(dst, x.text(string(doc))...)
	}
	w := redaction{redactor: x, doc: doc, dst: dst}
	start := len(doc) - len(bytes.TrimLeft(doc, " \n\r\t"))
	w.value(jsonscan.Value{Start: start, End: len(bytes.TrimRight(doc, " \n\r\t"))})
	return append(w.dst, doc[w.done:]...)
}

// redaction copies doc to dst up to done.
type redaction struct {
	*redactor
	doc, dst []byte
	done     int
}

func (w *redaction) replace(v jsonscan.Value, with string) {
	w.dst = append(w.dst, w.doc[w.done:v.Start]...)
	w.dst = jsonscan.AppendQuoted(w.dst, with)
	w.done = v.End
}

func (w *redaction) value(v jsonscan.Value) {
	switch w.doc[v.Start] {
	case '{':
		for key, m := range jsonscan.MembersOf(w.doc, v) {
			if w.named(key) {
				w.replace(m, redacted)
				continue
			}
			w.value(m)
		}
	case '[':
		for e := range jsonscan.Elements(w.doc, v) {
			w.value(e)
		}
	case '"':
		if len(w.texts) == 0 {
			return
		}
		raw := v.Of(w.doc)
		s, ok := jsonscan.Unquote(raw)
		if !ok { // not a text, strictly; the expressions see it as it is written
			s = string(raw[1 : len(raw)-1])
		}
		if clean := w.text(s); clean != s {
			w.replace(v, clean)
		}
	}
}

func (w *redaction) named(key []byte) bool {
	if len(w.names) == 0 {
		return false
	}
	if bytes.IndexByte(key, '\\') < 0 {
		return w.names[string(key)]
	}
	quoted := append(append([]byte{'"'}, key...), '"')
	name, ok := jsonscan.Unquote(quoted)
	return ok && w.names[name]
}
