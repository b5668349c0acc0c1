package optimizer

import (
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// The formats of an export.
const (
	FormatJSONL = "jsonl"
	FormatCSV   = "csv"
)

// Export writes a version's records (0: the latest's) in a format that can be imported
// again: JSONL, one record a line, or CSV. Nothing is written when the version's file is damaged.
func (d *Datasets) Export(w io.Writer, name string, version int, format string) error {
	if format != FormatJSONL && format != FormatCSV {
		return fmt.Errorf("format %q: want %s or %s", format, FormatJSONL, FormatCSV)
	}
	_, records, err := d.Load(name, version)
	if err != nil {
		return err
	}
	return WriteRecords(w, records, format)
}

// WriteRecords writes records as Export does.
func WriteRecords(w io.Writer, records []Record, format string) error {
	if format == FormatCSV {
		return writeTable(w, records)
	}
	for i := range records {
		line, err := records[i].line()
		if err != nil {
			return err
		}
		if _, err := w.Write(append(line, '\n')); err != nil {
			return err
		}
	}
	return nil
}

// writeTable writes a table. Each input has a column, or all of them one, as JSON,
// where records have not the same ones: an input that is not there is not an empty one.
// What has a carriage return is in JSON too: readers of tables take it for a part of a line end.
func writeTable(w io.Writer, records []Record) error {
	var names []string
	same, seen := true, false
	used := map[string]bool{}
	for i := range records {
		r := &records[i]
		used[columnJSON] = used[columnJSON] || inJSON(r.Expected)
		used[columnWeight] = used[columnWeight] || r.Weight != nil
		used[columnTags] = used[columnTags] || len(r.Tags) > 0
		used[columnTrace] = used[columnTrace] || r.Trace != ""
		used[columnMessages] = used[columnMessages] || len(r.Messages) > 0
		if len(r.Inputs) == 0 {
			same = same && !seen
			continue
		}
		own := slices.Sorted(maps.Keys(r.Inputs))
		for name, value := range r.Inputs {
			same = same && !strings.Contains(name, "\r") && !strings.Contains(value, "\r")
		}
		if !seen {
			names, seen = own, true
			same = same && i == 0
		}
		same = same && slices.Equal(own, names)
	}
	header := []string{columnID}
	if seen && same {
		for _, n := range names {
			header = append(header, inputColumn(n))
		}
	} else if seen {
		header = append(header, columnInputs)
	}
	header = append(header, columnExpected)
	for _, name := range []string{columnMessages, columnJSON, columnWeight, columnTags, columnTrace} {
		if used[name] {
			header = append(header, name)
		}
	}
	cw := csv.NewWriter(w)
	if err := cw.Write(header); err != nil {
		return err
	}
	row := make([]string, len(header))
	for i := range records {
		for k, name := range header {
			row[k] = records[i].cell(name)
		}
		if err := cw.Write(row); err != nil {
			return err
		}
	}
	cw.Flush()
	return cw.Error()
}

// inputColumn is the column of an input.
func inputColumn(name string) string {
	if slices.Contains(columns, name) || strings.HasPrefix(name, inputsPrefix) {
		return inputsPrefix + name
	}
	return name
}

// inJSON reports whether an answer that is wanted cannot stand in a table as a text.
func inJSON(expected json.RawMessage) bool {
	return len(expected) > 0 && string(expected) != "null" && (expected[0] != '"' || string(expected) == `""` || strings.Contains(string(expected), `\r`))
}

func (r *Record) cell(column string) string {
	switch column {
	case columnID:
		return r.ID
	case columnExpected:
		var text string
		if !inJSON(r.Expected) {
			_ = json.Unmarshal(r.Expected, &text)
		}
		return text
	case columnJSON:
		if inJSON(r.Expected) {
			return string(r.Expected)
		}
		return ""
	case columnMessages:
		return string(r.Messages)
	case columnTrace:
		return r.Trace
	case columnWeight:
		if r.Weight == nil {
			return ""
		}
		return strconv.FormatFloat(*r.Weight, 'g', -1, 64)
	case columnTags, columnInputs:
		m := r.Tags
		if column == columnInputs {
			m = r.Inputs
		}
		if len(m) == 0 {
			return ""
		}
		b, _ := marshal(m)
		return string(b)
	}
	if own, ok := strings.CutPrefix(column, inputsPrefix); ok {
		column = own
	}
	return r.Inputs[column]
}
