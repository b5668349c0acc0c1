package optimizer

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// CSVOptions say how a table is read.
type CSVOptions struct {
	Expected string // the column with the answer that is wanted; "": expected
}

// The columns of a table that are no inputs. An input of such a name has inputsPrefix before it.
const (
	columnID       = "id"
	columnExpected = "expected"      // a text; empty: unknown
	columnJSON     = "expected_json" // one that is not a text
	columnWeight   = "weight"
	columnTags     = "tags"     // a JSON object
	columnTrace    = "trace_id" // of the record's trace
	columnMessages = "messages" // a JSON list
	columnInputs   = "inputs"   // a JSON object: where records have not all the same inputs
	inputsPrefix   = "inputs."
)

var columns = []string{columnID, columnExpected, columnJSON, columnWeight, columnTags, columnTrace, columnMessages, columnInputs}

// ReadCSV reads records from a table with a header, as of RFC 4180, in UTF-8. The
// columns id, weight, tags (a JSON object), trace_id, messages (a JSON list),
// inputs (a JSON object) and expected_json are what records call so; the column
// expected, or another one that the options name, is the answer that is wanted, and
// unknown where it is empty. All others are inputs; so is any column with
// "inputs." before its name.
func ReadCSV(r io.Reader, o CSVOptions) ([]Record, error) {
	br := bufio.NewReader(r)
	if mark, _ := br.Peek(3); string(mark) == "\xef\xbb\xbf" {
		_, _ = br.Discard(3)
	}
	cr := csv.NewReader(br)
	cr.ReuseRecord = true
	row, err := cr.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("line 1: want a header, which names the columns")
	}
	if err != nil {
		return nil, csvError(err)
	}
	header := slices.Clone(row)
	answer := o.Expected
	if answer == "" {
		answer = columnExpected
	} else if !slices.Contains(header, answer) {
		return nil, fmt.Errorf("line 1: there is no column %q; there are %s", answer, strings.Join(header, ", "))
	}
	for i, name := range header {
		switch {
		case name == "":
			return nil, fmt.Errorf("line 1: column %d has no name", i+1)
		case slices.Contains(header[:i], name):
			return nil, fmt.Errorf("line 1: there are two columns %q", name)
		}
	}
	var out []Record
	for {
		row, err := cr.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, csvError(err)
		}
		line, _ := cr.FieldPos(0)
		rec, err := rowRecord(header, row, answer)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		if out = append(out, rec); len(out) > maxRecords {
			return nil, fmt.Errorf("line %d: a dataset has at most %d records", line, maxRecords)
		}
	}
}

func csvError(err error) error {
	if wrong, ok := errors.AsType[*csv.ParseError](err); ok {
		return fmt.Errorf("line %d: %w", wrong.Line, wrong.Err)
	}
	return err
}

// rowRecord makes a record of a row.
func rowRecord(header, row []string, answer string) (r Record, err error) {
	r.Inputs = map[string]string{}
	for i, name := range header {
		value := strings.Clone(row[i])
		if !utf8.ValidString(value) {
			return r, wrongField(name, "not UTF-8; save the table in that encoding")
		}
		if name == answer {
			if value != "" {
				r.Expected, _ = marshal(value)
			}
			continue
		}
		if !slices.Contains(columns, name) || name == columnExpected {
			r.Inputs[strings.TrimPrefix(name, inputsPrefix)] = value
			continue
		}
		if value == "" {
			continue
		}
		if err := r.column(name, value); err != nil {
			return r, err
		}
	}
	return r, r.check()
}

// column reads a value of one of the columns that are no inputs.
func (r *Record) column(name, value string) error {
	want := ""
	switch name {
	case columnID:
		r.ID = value
	case columnTrace:
		r.Trace = value
	case columnMessages:
		r.Messages = json.RawMessage(value)
	case columnJSON:
		r.Expected = json.RawMessage(value)
	case columnWeight:
		weight, err := strconv.ParseFloat(value, 64)
		if err != nil {
			want = "a number above zero"
		}
		r.Weight = &weight
	case columnTags:
		if json.Unmarshal([]byte(value), &r.Tags) != nil {
			want = "a JSON object of texts"
		}
	case columnInputs:
		var inputs map[string]string
		if json.Unmarshal([]byte(value), &inputs) != nil {
			want = "a JSON object of texts"
		}
		maps.Copy(r.Inputs, inputs)
	}
	if want != "" {
		return wrongField(name, "%q: want %s; a column of that name which is an input must be called %s%s", cutText(value), want, inputsPrefix, name)
	}
	return nil
}
