package optimizer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of datasets.
const (
	maxRecords     = 100_000   // of a version
	maxDataset     = 256 << 20 // bytes of a version
	maxRecord      = 8 << 20   // bytes of a record: what a part of the admin API may carry
	maxVersions    = 20        // that are kept besides those that runs use
	maxKept        = 1 << 30   // bytes of these, the newest one apart
	maxDatasetName = 100
	maxRecordID    = 200
	maxRecordTags  = 64
	maxLabel       = 4 << 10 // bytes of a tag, a reason, a description
	maxVariables   = 1000    // of a record
	maxVariable    = 256     // bytes of a variable's name
)

// fieldError is what is wrong with a record. Its place is put before it on the way up.
type fieldError struct {
	field string // "": the record itself
	text  string
}

func wrongField(field, format string, args ...any) error {
	return &fieldError{field, fmt.Sprintf(format, args...)}
}

func (e *fieldError) Error() string {
	if e.field == "" {
		return e.text
	}
	return e.field + ": " + e.text
}

// check reads a record of a foreign hand: what is JSON in it becomes canonical,
// and an id is made of what is asked when there is none.
func (r *Record) check() error {
	if len(r.Inputs) > 0 == (len(r.Messages) > 0) {
		return wrongField("", `want either "inputs", an object of texts, or "messages", a list`)
	}
	if err := r.checkAsked(); err != nil {
		return err
	}
	var err error
	if len(r.Expected) == 0 {
		r.Expected = json.RawMessage("null")
	}
	if r.Expected, err = canonical(r.Expected); err != nil {
		return wrongField("expected", "%s", err)
	}
	if r.Weight != nil && (!(*r.Weight > 0) || math.IsInf(*r.Weight, 0)) {
		return wrongField("weight", "%v: want a number above zero", *r.Weight)
	}
	if err := checkTags(r.Tags); err != nil {
		return err
	}
	if err := checkRecordID("id", r.ID); err != nil {
		return err
	}
	return checkRecordID("trace_id", r.Trace)
}

func checkRecordID(field, id string) error {
	if len(id) > maxRecordID || !utf8.ValidString(id) || strings.ContainsFunc(id, unicode.IsControl) {
		return wrongField(field, "want a text of at most %d bytes without control characters", maxRecordID)
	}
	return nil
}

func (r *Record) checkAsked() (err error) {
	if len(r.Messages) > 0 {
		if r.Messages, err = canonical(r.Messages); err != nil {
			return wrongField("messages", "%s", err)
		}
		var list []struct {
			Role string `json:"role"`
		}
		if json.Unmarshal(r.Messages, &list) != nil || len(list) == 0 {
			return wrongField("messages", `want a list of messages as chat completions have them: [{"role": "user", "content": "…"}]`)
		}
		for i, m := range list {
			if m.Role == "" {
				return wrongField(fmt.Sprintf("messages.%d.role", i), "it is missing")
			}
		}
		return nil
	}
	if len(r.Inputs) > maxVariables {
		return wrongField("inputs", "there are %d; the limit is %d", len(r.Inputs), maxVariables)
	}
	for name, value := range r.Inputs {
		if name == "" || len(name) > maxVariable || !utf8.ValidString(name) {
			return wrongField("inputs", "the name %q: want a text of 1 to %d bytes", cutText(name), maxVariable)
		}
		if !utf8.ValidString(value) {
			return wrongField("inputs."+name, "not UTF-8")
		}
	}
	return nil
}

func checkTags(tags map[string]string) error {
	if len(tags) > maxRecordTags {
		return wrongField("tags", "there are %d; the limit is %d", len(tags), maxRecordTags)
	}
	for k, v := range tags {
		if k == "" || len(k) > maxVariable || len(v) > maxLabel || !utf8.ValidString(k) || !utf8.ValidString(v) {
			return wrongField("tags", "the tag %q: want a name of 1 to %d bytes, and a text of at most %d", cutText(k), maxVariable, maxLabel)
		}
	}
	return nil
}

// cutText is the beginning of a text, for a message.
func cutText(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// line is the record as its file has it: JSON that is the same for the same
// content, without a line end. The record must have been checked.
func (r *Record) line() ([]byte, error) {
	b, err := marshal(r)
	if err == nil && len(b) > maxRecord {
		err = wrongField("", "it has %d bytes; the limit is %d", len(b), maxRecord)
	}
	return b, err
}

// asked is the content that a record asks with, under which its answers stand.
func (r *Record) asked() string {
	var b []byte
	if len(r.Messages) > 0 {
		b = ordered(r.Messages)
	} else {
		b, _ = marshal(r.Inputs)
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:8])
}

// answered is the content of the record with its answer.
func (r *Record) answered() string {
	sum := sha256.Sum256(append([]byte(r.asked()), ordered(r.Expected)...))
	return hex.EncodeToString(sum[:8])
}

// canonical is JSON without white space. Members stay in their order and numbers as they were written: examples
// are shown to models as they are here. A text has one form.
func canonical(raw json.RawMessage) (json.RawMessage, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil && string(bytes.TrimSpace(raw)) != "null" {
		return marshal(text)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, fmt.Errorf("not JSON: %w", err)
	}
	return b.Bytes(), nil
}

// ordered is JSON with its members sorted: what is the same content in another order is the same record.
func ordered(raw json.RawMessage) []byte {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return raw
	}
	b, err := marshal(v)
	if err != nil {
		return raw
	}
	return b
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
