package scorer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// hasExpected reports whether the record says which answer is wanted.
func (c Case) hasExpected() bool {
	raw := bytes.TrimSpace(c.Expected)
	return len(raw) > 0 && string(raw) != "null"
}

// text is the expected answer as a text: a JSON string's text, and anything else as compact JSON.
func (c Case) text() (string, error) {
	if !c.hasExpected() {
		return "", fmt.Errorf("record %q: %w", c.ID, ErrNoExpected)
	}
	var text string
	if json.Unmarshal(c.Expected, &text) == nil {
		return text, nil
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, c.Expected); err != nil {
		return "", fmt.Errorf("record %q: expected: %w", c.ID, err)
	}
	return compact.String(), nil
}

// value is the expected answer as JSON. Of a text that is JSON, as answers of
// models are, it is what the text says.
func (c Case) value() (any, error) {
	if !c.hasExpected() {
		return nil, fmt.Errorf("record %q: %w", c.ID, ErrNoExpected)
	}
	v, err := decode(c.Expected)
	if err != nil {
		return nil, fmt.Errorf("record %q: expected: %w", c.ID, err)
	}
	if text, ok := v.(string); ok {
		if inner, err := decode([]byte(text)); err == nil {
			return inner, nil
		}
	}
	return v, nil
}

// decode reads one JSON value; numbers stay as they are written.
func decode(doc []byte) (any, error) {
	d := json.NewDecoder(bytes.NewReader(doc))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("it ends too early")
		}
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errTrailing
	}
	return v, nil
}

var errTrailing = errors.New("something follows the value")
