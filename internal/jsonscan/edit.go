package jsonscan

import (
	"cmp"
	"slices"
)

// Editor collects changes to a document and writes them all with one copy.
// Changes must not overlap; a later Set or Delete of one member replaces the
// earlier one.
type Editor struct {
	object *Object
	edits  []edit
	added  []addition
}

type edit struct {
	start, end int
	with       []byte
	member     string // of Set and Delete
	deleted    bool
}

type addition struct {
	key   string
	value []byte
}

// Edit begins a change of the document.
func (o *Object) Edit() *Editor { return &Editor{object: o} }

// Changed reports whether anything is to be changed.
func (e *Editor) Changed() bool { return len(e.edits)+len(e.added) > 0 }

// Replace puts with in the place of v. The slice is kept, not copied.
func (e *Editor) Replace(v Value, with []byte) {
	e.edits = append(e.edits, edit{start: v.Start, end: v.End, with: with})
}

// Set gives the top-level member key the raw JSON value, and adds it when it is missing.
func (e *Editor) Set(key string, value []byte) {
	e.forget(key)
	for i := range e.object.Members {
		if m := &e.object.Members[i]; m.Key == key {
			e.edits = append(e.edits, edit{start: m.Start, end: m.End, with: value, member: key})
			return
		}
	}
	e.added = append(e.added, addition{key, value})
}

// Delete removes the top-level member key, if it is there.
func (e *Editor) Delete(key string) {
	e.forget(key)
	for i := range e.object.Members {
		if m := &e.object.Members[i]; m.Key == key {
			e.edits = append(e.edits, edit{start: m.keyStart, end: m.End, member: key, deleted: true})
			return
		}
	}
}

func (e *Editor) forget(key string) {
	e.edits = slices.DeleteFunc(e.edits, func(x edit) bool { return x.member == key })
	e.added = slices.DeleteFunc(e.added, func(x addition) bool { return x.key == key })
}

// AppendTo appends the changed document to dst.
func (e *Editor) AppendTo(dst []byte) []byte {
	o := e.object
	slices.SortStableFunc(e.edits, func(a, b edit) int { return cmp.Compare(a.start, b.start) })
	deleted := 0
	for _, x := range e.edits {
		if x.deleted {
			deleted++
		}
	}
	open := 0
	for o.Doc[open] != '{' {
		open++
	}
	dst = append(dst, o.Doc[:open+1]...)
	left := len(o.Members) - deleted
	for i, a := range e.added {
		dst = AppendQuoted(dst, a.key)
		dst = append(dst, ':')
		dst = append(dst, a.value...)
		if i < len(e.added)-1 || left > 0 {
			dst = append(dst, ',')
		}
	}
	at := open + 1
	for _, x := range e.edits {
		if x.start < at {
			continue // inside something that is gone
		}
		if !x.deleted {
			dst = append(dst, o.Doc[at:x.start]...)
			dst = append(dst, x.with...)
			at = x.end
			continue
		}
		// A member goes together with the comma behind it; the last one with the comma before it.
		end, comma := x.end, false
		for end < len(o.Doc) && !comma && o.Doc[end] != '}' {
			comma = o.Doc[end] == ','
			end++
		}
		dst = append(dst, o.Doc[at:x.start]...)
		if !comma {
			dst = trimComma(dst)
			end = x.end
		}
		at = end
	}
	return append(dst, o.Doc[at:]...)
}

func trimComma(b []byte) []byte {
	for i, v := range slices.Backward(b) {
		switch v {
		case ' ', '\n', '\r', '\t':
		case ',':
			return b[:i]
		default:
			return b
		}
	}
	return b
}
