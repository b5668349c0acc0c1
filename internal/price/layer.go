package price

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
)

// Layer is a set of prices to put over others, from one source.
type Layer []Override

// Override sets the prices of exactly one model of one provider, in US dollars
// per million tokens.
type Override struct {
	Provider string
	Model    string
	Input    float64
	Output   float64
	// Cached is for input read from the provider's cache. Default: Input.
	Cached *float64
	// Source is where the override stands.
	Source Source
}

// Validate reports what is wrong with the override.
func (o Override) Validate() error {
	if o.Provider == "" || o.Model == "" {
		return fmt.Errorf("model %q: name provider and model, as in \"openai/gpt-4o\"", o.Provider+"/"+o.Model)
	}
	name := o.Provider + "/" + o.Model
	if err := validate(name, "input", o.Input); err != nil {
		return err
	}
	if err := validate(name, "output", o.Output); err != nil {
		return err
	}
	if o.Cached != nil {
		return validate(name, "cached", *o.Cached)
	}
	return nil
}

func validate(name, field string, price float64) error {
	if price < 0 || math.IsNaN(price) || math.IsInf(price, 0) {
		return fmt.Errorf("model %q: %s price is %v, want US dollars per million tokens, 0 or more", name, field, price)
	}
	return nil
}

// override makes a model of o. What the catalogue knows besides prices is kept.
func (t *Table) override(o Override) *model {
	m := &model{provider: o.Provider, id: o.Model, source: o.Source}
	if p := t.catalogue.provider(o.Provider); p != nil {
		if known := t.catalogue.find(p, o.Model); known != nil {
			m.contextWindow = known.contextWindow
		}
	}
	r := rates{Input: rate{known: true, base: o.Input}, Output: rate{known: true, base: o.Output}}
	if o.Cached != nil {
		r.Cached = rate{known: true, base: *o.Cached}
	}
	m.periods = []period{{rates: r}}
	return m
}

// ReadFile reads a prices file:
//
//	{"models": {"<provider>/<model>": {"input": 1.0, "output": 2.0, "cached": 0.5}}}
//
// in US dollars per million tokens. The provider ends at the first slash.
// `cached` may be left out and is then as `input`.
func ReadFile(path string) (Layer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading prices file: %w", err)
	}
	layer, err := parseLayer(data)
	if err != nil {
		return nil, fmt.Errorf("prices file %s: %w", path, err)
	}
	return layer, nil
}

const wantFile = `want {"models": {"<provider>/<model>": {"input": 1.0, "output": 2.0}}}`

func parseLayer(data []byte) (Layer, error) {
	var file struct {
		Models json.RawMessage `json:"models"`
	}
	if err := decodeStrict(data, &file); err != nil {
		return nil, fmt.Errorf("%w; %s", err, wantFile)
	}
	// Key by key rather than into a map, which would hide a model named twice.
	dec := json.NewDecoder(bytes.NewReader(file.Models))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, errors.New("no models; " + wantFile)
	}
	var layer Layer
	seen := make(map[string]bool)
	for dec.More() {
		token, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := token.(string)
		if seen[name] {
			return nil, fmt.Errorf("model %q is there twice: remove one", name)
		}
		seen[name] = true
		var prices json.RawMessage
		if err := dec.Decode(&prices); err != nil {
			return nil, err
		}
		o, err := parseOverride(name, prices)
		if err != nil {
			return nil, err
		}
		layer = append(layer, o)
	}
	return layer, nil
}

func parseOverride(name string, data []byte) (Override, error) {
	provider, model, ok := strings.Cut(name, "/")
	if !ok {
		return Override{}, fmt.Errorf("model %q: name its provider too, as in %q", name, "openai/"+name)
	}
	var prices struct {
		Input  *float64 `json:"input"`
		Output *float64 `json:"output"`
		Cached *float64 `json:"cached"`
	}
	if err := decodeStrict(data, &prices); err != nil {
		return Override{}, fmt.Errorf("model %q: %w; want input, output and perhaps cached, numbers in US dollars per million tokens", name, err)
	}
	if prices.Input == nil || prices.Output == nil {
		return Override{}, fmt.Errorf("model %q: set both input and output, in US dollars per million tokens", name)
	}
	o := Override{Provider: provider, Model: model, Input: *prices.Input, Output: *prices.Output, Cached: prices.Cached, Source: FromFile}
	return o, o.Validate()
}

// decodeStrict refuses unknown fields and anything after the value.
func decodeStrict(data []byte, v any) error {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.DisallowUnknownFields()
	if err := dec.Decode(v); errors.Is(err, io.EOF) {
		return errors.New("nothing there")
	} else if err != nil {
		return err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return errors.New("unexpected text after the closing brace")
	}
	return nil
}
