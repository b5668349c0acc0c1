package optimizer

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// ReadJSONL reads records, one JSON object a line; empty lines are passed over.
// An object takes one of three forms:
//
//   - with "inputs" or "messages" it is a record: {"id", "inputs" | "messages", "expected", "weight", "tags", "trace_id"};
//   - with "expectations" it is one of MLflow's evaluation datasets, whose
//     expectations.expected_response is the answer that is wanted; what else MLflow writes is passed over;
//   - otherwise it is flat: all members but "id", "expected", "weight" and "tags" are inputs.
//
// Inputs are texts: numbers, true and false become theirs, lists and objects their
// JSON, and null is an input that is not there. Inputs with a list "messages" are messages.
func ReadJSONL(r io.Reader) ([]Record, error) {
	var out []Record
	br := bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		line, err := readRecordLine(br)
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		end := err != nil
		if n == 1 {
			line = bytes.TrimPrefix(line, []byte("\xef\xbb\xbf"))
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			if !utf8.Valid(line) {
				return nil, fmt.Errorf("line %d: not UTF-8", n)
			}
			rec, err := parseRecord(line)
			if err != nil {
				return nil, fmt.Errorf("line %d: %w", n, err)
			}
			if out = append(out, rec); len(out) > maxRecords {
				return nil, fmt.Errorf("line %d: a dataset has at most %d records", n, maxRecords)
			}
		}
		if end {
			return out, nil
		}
	}
}

// readRecordLine reads to the next line end, which it leaves out.
func readRecordLine(br *bufio.Reader) (line []byte, err error) {
	for {
		part, err := br.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxRecord+2 {
			return nil, fmt.Errorf("it has more than %d bytes", maxRecord)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return bytes.TrimSuffix(line, []byte("\n")), err
		}
	}
}

// recordMembers are those of a record.
var recordMembers = []string{"id", "inputs", "messages", "expected", "trace_id", "weight", "tags"}

// parseRecord reads a record in one of its forms, and checks it.
func parseRecord(raw []byte) (r Record, err error) {
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		return r, wrongField("", "want a JSON object%s", because(err))
	}
	present := func(name string) bool { return len(m[name]) > 0 && string(m[name]) != "null" }
	expected := m["expected"]
	var inputs map[string]json.RawMessage
	switch {
	case present("expectations"):
		var e map[string]json.RawMessage
		if json.Unmarshal(m["expectations"], &e) != nil {
			return r, wrongField("expectations", `want an object such as {"expected_response": "…"}`)
		}
		expected = e["expected_response"]
	case present("inputs") || present("messages"):
		for _, name := range sortedKeys(m) {
			if !slices.Contains(recordMembers, name) {
				return r, wrongField(name, "a record has no such member; it has %s", strings.Join(recordMembers, ", "))
			}
		}
	default:
		inputs = m
	}
	r.Expected = expected
	if err := r.readIdentity(m, inputs != nil); err != nil {
		return r, err
	}
	if inputs == nil && present("inputs") {
		if json.Unmarshal(m["inputs"], &inputs) != nil {
			return r, wrongField("inputs", "want an object of texts")
		}
		if list := bytes.TrimSpace(inputs["messages"]); len(list) > 0 && list[0] == '[' && !present("messages") {
			m["messages"], inputs = list, nil
		}
	} else if inputs != nil {
		for _, name := range []string{"id", "expected", "weight", "tags"} {
			delete(inputs, name)
		}
	}
	if r.Inputs, err = texts("inputs", inputs); err != nil {
		return r, err
	}
	if present("messages") {
		r.Messages = m["messages"]
	}
	return r, r.check()
}

// readIdentity reads what a record has besides what is asked and answered.
func (r *Record) readIdentity(m map[string]json.RawMessage, flat bool) (err error) {
	if raw := m["id"]; len(raw) > 0 {
		if r.ID, _, err = plainText(raw); err != nil {
			return wrongField("id", "%s", err)
		}
	}
	if raw := m["weight"]; len(raw) > 0 {
		if json.Unmarshal(raw, &r.Weight) != nil {
			return wrongField("weight", "want a number above zero")
		}
	}
	if raw := m["tags"]; len(raw) > 0 {
		var tags map[string]json.RawMessage
		if json.Unmarshal(raw, &tags) != nil {
			return wrongField("tags", "want an object of texts")
		}
		if r.Tags, err = texts("tags", tags); err != nil {
			return err
		}
	}
	if raw := m["trace_id"]; len(raw) > 0 && !flat {
		if json.Unmarshal(raw, &r.Trace) != nil {
			return wrongField("trace_id", "want a text")
		}
	}
	return nil
}

func because(err error) string {
	if err == nil {
		return ""
	}
	return ": " + strings.TrimPrefix(err.Error(), "json: ")
}

// texts makes texts of JSON values; nil for none.
func texts(field string, m map[string]json.RawMessage) (map[string]string, error) {
	if len(m) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(m))
	for name, raw := range m {
		text, there, err := plainText(raw)
		if err != nil {
			return nil, wrongField(field+"."+name, "%s", err)
		}
		if there {
			out[name] = text
		}
	}
	return out, nil
}

// plainText is a JSON value as a text; null is none.
func plainText(raw json.RawMessage) (text string, there bool, err error) {
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || string(raw) == "null":
		return "", false, nil
	case raw[0] == '"':
		err = json.Unmarshal(raw, &text)
		return text, true, err
	}
	b, err := canonical(raw)
	return string(b), true, err
}
