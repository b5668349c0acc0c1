package optimizer

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

const (
	shownText  = 2000 // bytes of an answer or an input that a page shows
	shownCell  = 160  // that a cell of a Markdown table shows
	shownLabel = 26   // characters of a candidate's name in a plot
)

// legible makes control characters visible, and leaves only what XML allows: documents,
// and the plots in them, are to be well-formed whatever a model has answered.
func legible(s string) string {
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\r\n", "\n")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return r
		case r < ' ':
			return 0x2400 + r // its picture
		case r == 0x7f:
			return 0x2421
		case r > 0x7f && r < 0xa0, r == 0xFFFE, r == 0xFFFF:
			return utf8.RuneError
		}
		return r
	}, s)
}

// cut is text of at most so many bytes, and says so when there is more.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return fmt.Sprintf("%s… (cut: %s bytes in all, which CSV and JSON have)", beginning(s, most), showCount(len(s)))
}

// beginning is at most so many bytes, and whole characters.
func beginning(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return s[:most]
}

// oneLine is text in one line, of at most so many characters.
func oneLine(s string, most int) string {
	s = strings.Join(strings.Fields(beginning(s, 8*most)), " ")
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

// namedText is a part of a record's input.
type namedText struct{ Name, Text string }

// inputsOf are a record's variables, or its messages by their roles.
func inputsOf(inputs map[string]string, messages json.RawMessage, most int) (list []namedText) {
	for _, name := range sortedKeys(inputs) {
		list = append(list, namedText{name, cut(inputs[name], most)})
	}
	var parsed []struct {
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	switch {
	case !known(messages):
	case json.Unmarshal(messages, &parsed) != nil:
		list = append(list, namedText{"messages", cut(string(messages), most)})
	default:
		for _, m := range parsed {
			list = append(list, namedText{m.Role, cut(plain(m.Content), most)})
		}
	}
	return list
}

// inputLine is a record's input in a line: of several messages the last.
func inputLine(inputs map[string]string, messages json.RawMessage, most int) string {
	list := inputsOf(inputs, messages, shownText)
	switch {
	case len(list) == 0:
		return ""
	case len(inputs) == 0 || len(list) == 1:
		return oneLine(list[len(list)-1].Text, most)
	}
	var parts []string
	for _, p := range list {
		parts = append(parts, p.Name+": "+p.Text)
	}
	return oneLine(strings.Join(parts, " · "), most)
}

// expectedText is what a record expects; "": nothing.
func expectedText(expected json.RawMessage) string {
	if !known(expected) {
		return ""
	}
	return plain(expected)
}

// scorerName is a scorer's name, of the two ways to write one.
func scorerName(raw json.RawMessage) string {
	var name string
	if json.Unmarshal(raw, &name) == nil {
		return name
	}
	var object struct {
		Scorer string `json:"scorer"`
	}
	if json.Unmarshal(raw, &object) == nil {
		return object.Scorer
	}
	return ""
}
