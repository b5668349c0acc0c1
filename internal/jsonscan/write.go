package jsonscan

import (
	"strconv"
	"strings"
)

// Writer writes one JSON object behind what Dst holds. Names need no
// escaping, but for those of Member, and raw values must be JSON already. Nothing is checked.
type Writer struct {
	Dst   []byte
	begun bool
}

// Write begins an object behind dst.
func Write(dst []byte) Writer { return Writer{Dst: append(dst, '{')} }

// Name writes a member's name; its value is to be appended to Dst.
func (w *Writer) Name(name string) {
	if w.begun {
		w.Dst = append(w.Dst, ',')
	}
	w.begun = true
	w.Dst = append(w.Dst, '"')
	w.Dst = append(w.Dst, name...)
	w.Dst = append(w.Dst, '"', ':')
}

// RawName writes a name as it stands in other JSON, without its quotes.
func (w *Writer) RawName(name []byte) {
	w.Name("")
	w.Dst = append(append(w.Dst[:len(w.Dst)-len(`":`)], name...), '"', ':')
}

// Raw writes a member whose value is JSON.
func (w *Writer) Raw(name string, value []byte) {
	w.Name(name)
	w.Dst = append(w.Dst, value...)
}

// Copy writes a member as it stands in other JSON.
func (w *Writer) Copy(name, value []byte) {
	w.RawName(name)
	w.Dst = append(w.Dst, value...)
}

// Literal writes a member whose value is the inside of a string literal.
func (w *Writer) Literal(name string, inside []byte) {
	w.Name(name)
	w.Dst = append(append(append(w.Dst, '"'), inside...), '"')
}

// String writes a member when its value is not empty.
func (w *Writer) String(name, value string) {
	if value == "" {
		return
	}
	w.Name(name)
	w.Dst = AppendQuoted(w.Dst, strings.ToValidUTF8(value, "\ufffd"))
}

// Member writes a member of any name and text.
func (w *Writer) Member(name, value string) {
	w.Name("")
	w.Dst = AppendQuoted(w.Dst[:len(w.Dst)-len(`"":`)], strings.ToValidUTF8(name, "\ufffd"))
	w.Dst = append(w.Dst, ':')
	w.Dst = AppendQuoted(w.Dst, strings.ToValidUTF8(value, "\ufffd"))
}

// Int writes a member when its value is not 0.
func (w *Writer) Int(name string, value int64) {
	if value == 0 {
		return
	}
	w.Name(name)
	w.Dst = strconv.AppendInt(w.Dst, value, 10)
}

// End closes the object.
func (w *Writer) End() []byte { return append(w.Dst, '}') }
