// Package jsonscan finds the places of values in a JSON document without
// decoding it, so that a body can be looked at once and edited by splicing:
// what is not edited passes through byte for byte.
package jsonscan

import (
	"encoding/binary"
	"fmt"
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
