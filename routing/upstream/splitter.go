package upstream

import "bytes"

// splitter finds the events of a stream in a buffer that grows at its end
// (HTML standard, 9.2.5, "Parsing an event stream"). Lines end in LF, CRLF or
// CR; a CR at the end of the buffer is not looked at before it is known what
// follows. However the bytes are split, the events are the same.
type splitter struct {
	begun  bool // the event has
	at     int  // where the current line begins
	search int  // from where its end is looked for
	lines  int  // data lines of the event so far
	first  int  // the data of the first one: buf[first:end]
	end    int
	joined []byte // all of them, when there are several
	failed bool   // the event's name is error
}

// moved says that the first n bytes of the buffer are gone.
func (s *splitter) moved(n int) {
	s.at, s.search, s.first, s.end = s.at-n, s.search-n, s.first-n, s.end-n
}

// next finds the first complete event in buf[from:]: where it ends, blank
// line included, and its data (the fields of that name, joined by LF). No
// byte is looked at twice, however the event comes.
func (s *splitter) next(buf []byte, from int) (end int, data []byte, ok bool) {
	if !s.begun {
		*s = splitter{begun: true, at: from, search: from, joined: s.joined[:0]}
	}
	for {
		eol, after := endOfLine(buf, s.search)
		if eol < 0 {
			s.search = after
			return 0, nil, false
		}
		line := buf[s.at:eol]
		s.at, s.search = after, after
		if len(line) == 0 {
			s.begun = false
			switch s.lines {
			case 0:
			case 1:
				data = buf[s.first:s.end]
			default:
				data = s.joined
			}
			return after, data, true
		}
		value, is := bytes.CutPrefix(line, dataField)
		if !is {
			if name, is := bytes.CutPrefix(line, nameField); is {
				s.failed = string(bytes.TrimPrefix(name, space)) == "error"
			}
			continue
		}
		value = bytes.TrimPrefix(value, space)
		switch s.lines++; s.lines {
		case 1:
			s.first, s.end = eol-len(value), eol
			continue
		case 2:
			s.joined = append(s.joined[:0], buf[s.first:s.end]...)
		}
		s.joined = append(append(s.joined, '\n'), value...)
	}
}

var dataField, nameField, space = []byte("data:"), []byte("event:"), []byte(" ")

// endOfLine returns where the line that contains from ends and where the next
// one begins; eol is -1 when it is not complete, and after is then from where
// to search again.
func endOfLine(buf []byte, from int) (eol, after int) {
	rest := buf[from:]
	n := bytes.IndexByte(rest, '\n')
	if n >= 0 {
		rest = rest[:n]
	}
	if r := bytes.IndexByte(rest, '\r'); r >= 0 {
		switch {
		case r+1 < len(rest):
			return from + r, from + r + 1 // CR alone
		case n >= 0:
			return from + r, from + n + 1 // CRLF
		default:
			return -1, from + r // the last byte: it may become CRLF
		}
	}
	if n < 0 {
		return -1, len(buf)
	}
	return from + n, from + n + 1
}
