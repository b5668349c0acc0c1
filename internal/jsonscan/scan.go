// Package jsonscan finds the places of values in a JSON document without
// decoding it, so that a body can be looked at once and edited by splicing:
// what is not edited passes through byte for byte.
package jsonscan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"iter"
	"math/bits"
)

// Value is the place of a JSON value: doc[Start:End]. The zero Value means
// that there is none.
type Value struct {
	Start, End int
}

// Exists reports whether the value is there.
func (v Value) Exists() bool { return v.End > v.Start }

// Of returns the value's bytes in doc.
func (v Value) Of(doc []byte) []byte { return doc[v.Start:v.End] }

// IsString, IsObject and IsArray report the value's kind.
func (v Value) IsString(doc []byte) bool { return v.Exists() && doc[v.Start] == '"' }

// IsObject reports whether the value is an object.
func (v Value) IsObject(doc []byte) bool { return v.Exists() && doc[v.Start] == '{' }

// IsArray reports whether the value is an array.
func (v Value) IsArray(doc []byte) bool { return v.Exists() && doc[v.Start] == '[' }

// IsNull reports whether the value is the literal null.
func (v Value) IsNull(doc []byte) bool { return v.Exists() && doc[v.Start] == 'n' }

// Member is one member of an object.
type Member struct {
	Key string // unescaped
	Value
	keyStart int
}

// Object is a document whose outermost value is an object, and the places of
// that object's members in their order.
type Object struct {
	Doc     []byte
	Members []Member
}

// Get returns the place of the member with that key.
func (o *Object) Get(key string) Value {
	for i := range o.Members {
		if o.Members[i].Key == key {
			return o.Members[i].Value
		}
	}
	return Value{}
}

// SyntaxError says why and where a document is not acceptable JSON.
type SyntaxError struct {
	Offset  int
	Problem string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s at byte %d", e.Problem, e.Offset) }

// Parse checks that doc is one well-formed JSON object (RFC 8259), nested at
// most maxDepth deep, without a repeated key at its top level, and returns the
// places of its members, appended to members[:0]. It reads the document once.
func Parse(doc []byte, maxDepth int, members []Member) (Object, error) {
	s := scanner{doc: doc, maxDepth: maxDepth}
	o := Object{Doc: doc, Members: members[:0]}
	s.space()
	switch {
	case s.i >= len(doc):
		s.fail("empty document")
	case doc[s.i] != '{':
		s.fail("want a JSON object")
	default:
		s.members = &o.Members
		s.value(1)
	}
	if s.err == nil {
		s.space()
		if s.i != len(doc) {
			s.fail("unexpected data after the object")
		}
	}
	if s.err != nil {
		return Object{}, s.err
	}
	return o, nil
}

// Valid reports whether doc is one well-formed JSON value, nested at most maxDepth deep.
func Valid(doc []byte, maxDepth int) bool {
	s := scanner{doc: doc, maxDepth: maxDepth}
	s.space()
	s.value(1)
	s.space()
	return s.err == nil && s.i == len(doc)
}

type scanner struct {
	doc      []byte
	i        int
	maxDepth int
	err      error
	members  *[]Member // set for the outermost object only
}

func (s *scanner) fail(problem string) {
	if s.err == nil {
		s.err = &SyntaxError{Offset: s.i, Problem: problem}
	}
	s.i = len(s.doc)
}

func (s *scanner) space() {
	for s.i < len(s.doc) {
		switch s.doc[s.i] {
		case ' ', '\n', '\r', '\t':
			s.i++
		default:
			return
		}
	}
}

func (s *scanner) value(depth int) {
	if s.i >= len(s.doc) {
		s.fail("unexpected end")
		return
	}
	switch c := s.doc[s.i]; c {
	case '"':
		s.str()
	case '{', '[':
		if depth > s.maxDepth {
			s.fail(fmt.Sprintf("nested deeper than %d", s.maxDepth))
			return
		}
		if c == '{' {
			s.object(depth)
		} else {
			s.array(depth)
		}
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	default:
		s.number()
	}
}

func (s *scanner) object(depth int) {
	members := s.members
	s.members = nil
	s.i++
	s.space()
	if s.i < len(s.doc) && s.doc[s.i] == '}' {
		s.i++
		return
	}
	for {
		s.space()
		keyStart := s.i
		if s.i >= len(s.doc) || s.doc[s.i] != '"' {
			s.fail("want a member name in quotes")
			return
		}
		s.str()
		keyEnd := s.i
		s.space()
		if s.i >= len(s.doc) || s.doc[s.i] != ':' {
			s.fail("want a colon after the member name")
			return
		}
		s.i++
		s.space()
		start := s.i
		s.value(depth + 1)
		if s.err != nil {
			return
		}
		if members != nil {
			s.member(members, keyStart, keyEnd, start)
		}
		s.space()
		if s.i >= len(s.doc) {
			s.fail("unexpected end")
			return
		}
		switch s.doc[s.i] {
		case ',':
			s.i++
		case '}':
			s.i++
			return
		default:
			s.fail("want a comma or the end of the object")
			return
		}
	}
}

func (s *scanner) member(members *[]Member, keyStart, keyEnd, start int) {
	key, ok := knownKey(s.doc[keyStart+1 : keyEnd-1])
	if !ok {
		key, ok = Unquote(s.doc[keyStart:keyEnd])
	}
	if !ok {
		s.fail("member name is not valid text")
		return
	}
	for i := range *members {
		if (*members)[i].Key == key {
			s.i = keyStart
			s.fail(fmt.Sprintf("member %q repeated", key))
			return
		}
	}
	*members = append(*members, Member{Key: key, Value: Value{start, s.i}, keyStart: keyStart})
}

func (s *scanner) array(depth int) {
	s.members = nil
	s.i++
	s.space()
	if s.i < len(s.doc) && s.doc[s.i] == ']' {
		s.i++
		return
	}
	for {
		s.space()
		s.value(depth + 1)
		if s.err != nil {
			return
		}
		s.space()
		if s.i >= len(s.doc) {
			s.fail("unexpected end")
			return
		}
		switch s.doc[s.i] {
		case ',':
			s.i++
		case ']':
			s.i++
			return
		default:
			s.fail("want a comma or the end of the array")
			return
		}
	}
}

const (
	ones  = 0x0101010101010101
	highs = 0x8080808080808080
)

// special marks, in the high bit of each byte, the bytes of x that end a plain
// run of string characters: a quote, a backslash, a control character.
func special(x uint64) uint64 {
	quote := x ^ (ones * '"')
	slash := x ^ (ones * '\\')
	return ((quote-ones)&^quote | (slash-ones)&^slash | (x-ones*0x20)&^x) & highs
}

func (s *scanner) str() {
	d := s.doc
	i := s.i + 1
	for {
		for i+16 <= len(d) {
			w := d[i : i+16 : i+16]
			a, b := special(binary.LittleEndian.Uint64(w)), special(binary.LittleEndian.Uint64(w[8:]))
			if a|b == 0 {
				i += 16
				continue
			}
			if a == 0 {
				a = b
				i += 8
			}
			i += bits.TrailingZeros64(a) >> 3
			break
		}
		if i >= len(d) {
			s.fail("string without an end")
			return
		}
		switch c := d[i]; {
		case c == '"':
			s.i = i + 1
			return
		case c == '\\':
			if i+1 >= len(d) {
				s.fail("string without an end")
				return
			}
			switch d[i+1] {
			case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
				i += 2
			case 'u':
				if i+6 > len(d) || !hex4(d[i+2:i+6]) {
					s.i = i
					s.fail(`invalid \u escape`)
					return
				}
				i += 6
			default:
				s.i = i
				s.fail("invalid escape")
				return
			}
		case c < 0x20:
			s.i = i
			s.fail("control character in a string")
			return
		default:
			i++
		}
	}
}

func hex4(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'f') {
			return false
		}
	}
	return true
}

func (s *scanner) literal(want string) {
	if len(s.doc)-s.i < len(want) || string(s.doc[s.i:s.i+len(want)]) != want {
		s.fail("invalid literal")
		return
	}
	s.i += len(want)
}

func (s *scanner) digits() bool {
	from := s.i
	for s.i < len(s.doc) && s.doc[s.i] >= '0' && s.doc[s.i] <= '9' {
		s.i++
	}
	return s.i > from
}

func (s *scanner) number() {
	if s.doc[s.i] == '-' {
		s.i++
	}
	if s.i < len(s.doc) && s.doc[s.i] == '0' {
		s.i++
	} else if !s.digits() {
		s.fail("invalid character")
		return
	}
	if s.i < len(s.doc) && s.doc[s.i] == '.' {
		s.i++
		if !s.digits() {
			s.fail("invalid number")
			return
		}
	}
	if s.i < len(s.doc) && s.doc[s.i]|0x20 == 'e' {
		s.i++
		if s.i < len(s.doc) && (s.doc[s.i] == '+' || s.doc[s.i] == '-') {
			s.i++
		}
		if !s.digits() {
			s.fail("invalid number")
		}
	}
}

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
