package upstream

import "bytes"

// splitter finds the events of a stream in a buffer that grows at its end
// (HTML standard, 9.2.5, "Parsing an event stream"). Lines end in LF, CRLF or
// CR; a CR at the end of the buffer is not looked at before it is known what
// follows. However the bytes are split, the events are the same.
type splitter struct {
	line int    // where the search for the end of the current line goes on
	data []byte // of an event with several data lines
}

// moved says that the first n bytes of the buffer are gone.
func (s *splitter) moved(n int) { s.line = max(s.line-n, 0) }

// next finds the first complete event in buf[from:]: where it ends, blank
// line included, and its data (the fields of that name, joined by LF).
func (s *splitter) next(buf []byte, from int) (end int, data []byte, ok bool) {
	at, lines := from, 0
	for {
		eol, after := endOfLine(buf, max(at, s.line))
		if eol < 0 {
			s.line = 0
			if at == from { // the event's first line: large events are one long line
				s.line = after
			}
			return 0, nil, false
		}
		line := buf[at:eol]
		at = after
		if len(line) == 0 {
			s.line = 0
			return at, data, true
		}
		value, is := bytes.CutPrefix(line, dataField)
		if !is {
			continue
		}
		value = bytes.TrimPrefix(value, space)
		switch lines++; lines {
		case 1:
			data = value
		case 2:
			s.data = append(append(append(s.data[:0], data...), '\n'), value...)
			data = s.data
		default:
			s.data = append(append(s.data, '\n'), value...)
			data = s.data
		}
	}
}

var dataField, space = []byte("data:"), []byte(" ")

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
