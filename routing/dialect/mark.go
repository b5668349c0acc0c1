package dialect

import "bytes"

// Some of what a model says only it can read: the signature of its thinking.
// Where a client of another dialect is handed such a thing, so that the
// conversation can go on, it carries a mark that says whose it is. So what
// comes back with the history goes to its maker, and to nobody else.
const markPrefix = "~frontier:"

func mark(dialect string, opaque []byte) []byte {
	out := make([]byte, 0, len(markPrefix)+len(dialect)+1+len(opaque))
	return append(append(append(append(out, markPrefix...), dialect...), ':'), opaque...)
}

// unmark says whose the signature is that was found in a request of the dialect own.
func unmark(inside []byte, own string) (dialect string, opaque []byte) {
	rest, ok := bytes.CutPrefix(inside, []byte(markPrefix))
	if !ok {
		return own, inside
	}
	name, opaque, _ := bytes.Cut(rest, []byte{':'})
	return string(name), opaque
}

// Marked reports whether a request may carry a mark.
func Marked(body []byte) bool { return bytes.Contains(body, []byte(markPrefix)) }
