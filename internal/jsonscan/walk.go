package jsonscan

import (
	"bytes"
	"iter"
)

// The functions below read a document that Parse or Valid has accepted. On
// another document they may return wrong places, but stay inside it.

// Elements yields the places of the elements of the array v.
func Elements(doc []byte, v Value) iter.Seq[Value] {
	return func(yield func(Value) bool) {
		if !v.IsArray(doc) {
			return
		}
		for i := next(doc, v.Start+1); i < v.End-1; {
			end := skip(doc, i)
			if end <= i || !yield(Value{i, end}) {
				return
			}
			i = next(doc, end)
		}
	}
}

// MembersOf yields the raw names (without quotes, not unescaped) and the
// places of the values of the object v.
func MembersOf(doc []byte, v Value) iter.Seq2[[]byte, Value] {
	return func(yield func([]byte, Value) bool) {
		if !v.IsObject(doc) {
			return
		}
		for i := next(doc, v.Start+1); i < v.End-1; {
			keyEnd := skip(doc, i)
			start := next(doc, keyEnd)
			end := skip(doc, start)
			if keyEnd < i+2 || end <= start || !yield(doc[i+1:keyEnd-1], Value{start, end}) {
				return
			}
			i = next(doc, end)
		}
	}
}

// Records walks the objects of the array v in one pass: member is called for
// each member of an object, then element with the object's own place. For an
// element that is no object only element is called.
func Records(doc []byte, v Value, member func(key []byte, value Value), element func(Value)) {
	if !v.IsArray(doc) {
		return
	}
	for i := next(doc, v.Start+1); i < v.End-1; {
		start := i
		if doc[i] != '{' {
			i = skip(doc, i)
		} else {
			for i = next(doc, i+1); i < v.End-1 && doc[i] != '}'; {
				keyEnd := skip(doc, i)
				from := next(doc, keyEnd)
				end := skip(doc, from)
				if keyEnd < i+2 || end <= from {
					return
				}
				member(doc[i+1:keyEnd-1], Value{from, end})
				i = next(doc, end)
			}
			i++
		}
		if i <= start || i > v.End {
			return
		}
		element(Value{start, i})
		i = next(doc, i)
	}
}

// Root returns the place of a document's value: the document without the
// white space, and other control characters, around it.
func Root(doc []byte) Value {
	i, j := 0, len(doc)
	for i < j && doc[i] <= ' ' {
		i++
	}
	for j > i && doc[j-1] <= ' ' {
		j--
	}
	return Value{i, j}
}

// Lookup returns the place of the first member of the object v with that key.
func Lookup(doc []byte, v Value, key string) Value {
	for k, m := range MembersOf(doc, v) {
		if string(k) == key {
			return m
		}
	}
	return Value{}
}

// next skips space, commas and colons.
func next(doc []byte, i int) int {
	for i < len(doc) {
		switch doc[i] {
		case ' ', '\n', '\r', '\t', ',', ':':
			i++
		default:
			return i
		}
	}
	return i
}

// skip returns the end of the value that starts at i.
func skip(doc []byte, i int) int {
	if i >= len(doc) {
		return len(doc)
	}
	switch doc[i] {
	case '"':
		return skipString(doc, i)
	case '{', '[':
		depth := 0
		for i < len(doc) {
			switch doc[i] {
			case '"':
				i = skipString(doc, i)
				continue
			case '{', '[':
				depth++
			case '}', ']':
				depth--
				if depth == 0 {
					return i + 1
				}
			}
			i++
		}
		return len(doc)
	}
	for i < len(doc) {
		switch doc[i] {
		case ',', '}', ']', ' ', '\n', '\r', '\t', ':':
			return i
		}
		i++
	}
	return i
}

func skipString(doc []byte, i int) int {
	from := i + 1
	for i = from; i < len(doc); i++ {
		n := bytes.IndexByte(doc[i:], '"')
		if n < 0 {
			return len(doc)
		}
		i += n
		slashes := 0
		for j := i - 1; j >= from && doc[j] == '\\'; j-- {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
	return len(doc)
}
