package optimizer

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

func TestReadJSONL(t *testing.T) {
	text := "\xef\xbb\xbf" + `{"id":"a","inputs":{"text":"good","n":3,"list":[1, 2],"none":null},"expected":"positive","weight":2,"tags":{"k":1},"trace_id":"t"}

{"messages":[{"role":"user","content":"hi"}],"expected":{"b":1,"a":[2.0]}}
{"text":"flat","answer":"is an input","expected":"x","id":7,"tags":{"from":"csv"},"trace_id":"an input"}
{"inputs":{"question":"q"},"expectations":{"expected_response":"r","expected_facts":["f"]},"dataset_record_id":"dr-1","source":{"human":{}}}
{"inputs":{"messages":[{"role":"user","content":"m"}]},"expectations":{"expected_response":"r"}}
{"text":"unknown"}`
	got, err := ReadJSONL(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	two := 2.0
	raw := func(s string) json.RawMessage { return json.RawMessage(s) }
	want := []Record{
		{ID: "a", Inputs: map[string]string{"text": "good", "n": "3", "list": "[1,2]"}, Expected: raw(`"positive"`), Weight: &two, Tags: map[string]string{"k": "1"}, Trace: "t"},
		{Messages: raw(`[{"role":"user","content":"hi"}]`), Expected: raw(`{"b":1,"a":[2.0]}`)},
		{ID: "7", Inputs: map[string]string{"text": "flat", "answer": "is an input", "trace_id": "an input"}, Expected: raw(`"x"`), Tags: map[string]string{"from": "csv"}},
		{Inputs: map[string]string{"question": "q"}, Expected: raw(`"r"`)},
		{Messages: raw(`[{"role":"user","content":"m"}]`), Expected: raw(`"r"`)},
		{Inputs: map[string]string{"text": "unknown"}, Expected: raw("null")},
	}
	if len(got) != len(want) {
		t.Fatalf("%d records", len(got))
	}
	for i := range want {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%d:\ngot  %+v\nwant %+v", i, got[i], want[i])
		}
	}
}

func TestReadJSONLErrors(t *testing.T) {
	for text, want := range map[string]string{
		`[1]`:                                "line 1: want a JSON object",
		"{\"a\":\"b\"}\n{":                   "line 2: want a JSON object",
		"\n\n{}":                             "line 3: want either",
		`{"inputs":{"a":"b"},"expcted":"x"}`: "line 1: expcted: a record has no such member",
		`{"inputs":"x"}`:                     "line 1: inputs: want an object",
		`{"a":"b","weight":"heavy"}`:         "line 1: weight: want a number",
		`{"a":"b","weight":0}`:               "line 1: weight: 0: want a number above zero",
		`{"a":"b","tags":[1]}`:               "line 1: tags: want an object",
		`{"messages":[]}`:                    "line 1: messages: want a list",
		"{\"a\":\"\xff\"}":                   "line 1: not UTF-8",
		`null`:                               "line 1: want a JSON object",
		`{"inputs":{"a":"b"},"expectations":"x"}`: "line 1: expectations: want an object",
	} {
		if _, err := ReadJSONL(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
	long := `{"a":"` + strings.Repeat("x", maxRecord) + `"}`
	if _, err := ReadJSONL(strings.NewReader("{\"a\":\"b\"}\n" + long)); err == nil || !strings.HasPrefix(err.Error(), "line 2: it has more than") {
		t.Errorf("got %v", err)
	}
}

func TestReadCSV(t *testing.T) {
	text := "\xef\xbb\xbftext,label,weight,inputs.id\r\n\"good, \"\"very\"\"\nso\",positive,2,1\r\nbad,,,2\r\n"
	got, err := ReadCSV(strings.NewReader(text), CSVOptions{Expected: "label"})
	if err != nil {
		t.Fatal(err)
	}
	two := 2.0
	want := []Record{
		{Inputs: map[string]string{"text": "good, \"very\"\nso", "id": "1"}, Expected: json.RawMessage(`"positive"`), Weight: &two},
		{Inputs: map[string]string{"text": "bad", "id": "2"}, Expected: json.RawMessage("null")},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for text, want := range map[string]string{
		"":                       "line 1: want a header",
		"a,a\n1,2\n":             `line 1: there are two columns "a"`,
		"a,\n1,2\n":              "line 1: column 2 has no name",
		"a,b\n1\n":               "line 2: wrong number of fields",
		"a,b\n1,2\n\"x\"y,2\n":   "line 3:",
		"a,tags\n1,x\n":          "line 2: tags: \"x\": want a JSON object of texts; a column of that name which is an input must be called inputs.tags",
		"a,weight\n1,2\n1,-2\n":  "line 3: weight: -2: want a number above zero",
		"messages\n[1\n":         "line 2: messages: not JSON",
		"a,expected_json\n1,{\n": "line 2: expected: not JSON",
		"expected\nx\n":          "line 2: want either",
		"a\n\xff\n":              "line 2: a: not UTF-8",
	} {
		if _, err := ReadCSV(strings.NewReader(text), CSVOptions{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
	if _, err := ReadCSV(strings.NewReader("a,b\n"), CSVOptions{Expected: "c"}); err == nil || !strings.Contains(err.Error(), "there are a, b") {
		t.Errorf("got %v", err)
	}
}

// What is exported is imported as it was.
func TestRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	words := []string{"", "a", "two words", "a,b", "\"quoted\"", "line\nbreak", "carriage\r\nreturn", " space ", "é&<>", "inputs.", "id", "expected", "null", "{}", "messages", "inputs"}
	word := func() string { return words[r.IntN(len(words))] }
	for n := range 300 {
		var records []Record
		names := []string{"x" + word(), word() + "y"}
		for i := range 1 + r.IntN(5) {
			rec := Record{ID: fmt.Sprint("r", i), Expected: json.RawMessage("null")}
			if n%3 == 0 && r.IntN(2) == 0 {
				rec.Messages, _ = marshal([]any{map[string]any{"role": "user", "content": word()}})
			} else {
				rec.Inputs = map[string]string{names[0]: word()}
				if n%2 == 0 || r.IntN(2) == 0 {
					rec.Inputs[names[1]] = word()
				}
			}
			switch r.IntN(4) {
			case 0:
				rec.Expected, _ = marshal(word())
			case 1:
				rec.Expected = json.RawMessage(`{"a":[1,"x"]}`)
			}
			if r.IntN(3) == 0 {
				w := r.Float64() + 0.1
				rec.Weight, rec.Trace, rec.Tags = &w, "0123", map[string]string{"k": word()}
			}
			records = append(records, rec)
		}
		for _, format := range []string{FormatJSONL, FormatCSV} {
			var b bytes.Buffer
			if err := WriteRecords(&b, records, format); err != nil {
				t.Fatal(err)
			}
			text := b.String()
			var got []Record
			var err error
			if format == FormatCSV {
				got, err = ReadCSV(&b, CSVOptions{})
			} else {
				got, err = ReadJSONL(&b)
			}
			if err != nil {
				t.Fatalf("%s: %v\n%s", format, err, text)
			}
			for i := range got {
				if len(got[i].Inputs) == 0 {
					got[i].Inputs = nil
				}
			}
			if !reflect.DeepEqual(got, records) {
				t.Fatalf("%s:\ngot  %+v\nwant %+v\n%s", format, got, records, text)
			}
		}
	}
}
