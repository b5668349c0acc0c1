// Package schemas compiles JSON schemas of foreign hands.
package schemas

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Largest is the largest schema that is compiled, in bytes.
const Largest = 64 << 10

const (
	// largestExpansion bounds what a schema amounts to with its references followed: some small ones take for ever.
	largestExpansion = 10_000
	deepestSchema    = 256
)

// Compile compiles a schema whose checks can be trusted to end. It reads no other
// document, whatever the schema refers to. The error says what is wrong with it.
func Compile(schema []byte) (*jsonschema.Schema, error) {
	if len(schema) > Largest {
		return nil, fmt.Errorf("%d bytes are too many, at most %d are allowed", len(schema), Largest)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, err
	}
	e := expansion{doc: doc}
	if err := e.add(doc); err != nil {
		return nil, err
	}
	const name = "schema.json"
	c := jsonschema.NewCompiler()
	c.UseLoader(noLoader{})
	if err := c.AddResource(name, doc); err != nil {
		return nil, err
	}
	return c.Compile(name)
}

// noLoader keeps schemas from reading files.
type noLoader struct{}

func (noLoader) Load(string) (any, error) {
	return nil, errors.New("references to other documents are not followed")
}

// expansion counts what a schema amounts to.
type expansion struct {
	doc          any
	nodes, depth int
}

// add counts a part of the schema. The error says why the schema is too much.
func (e *expansion) add(v any) error {
	e.nodes++
	e.depth++
	defer func() { e.depth-- }()
	if e.nodes > largestExpansion || e.depth > deepestSchema {
		return errors.New("with its references followed it is too large, or refers to itself")
	}
	switch v := v.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if key == "$defs" || key == "definitions" { // these count where they are referred to
				continue
			}
			part := v[key]
			if ref, ok := part.(string); ok && (key == "$ref" || key == "$dynamicRef" || key == "$recursiveRef") {
				if part, ok = e.resolve(ref); !ok {
					return fmt.Errorf("%s %q: want a path in the schema, such as #/$defs/item", key, ref)
				}
			}
			if err := e.add(part); err != nil {
				return err
			}
		}
	case []any:
		for _, part := range v {
			if err := e.add(part); err != nil {
				return err
			}
		}
	}
	return nil
}

// resolve finds what a reference is to.
func (e *expansion) resolve(ref string) (v any, ok bool) {
	path, ok := strings.CutPrefix(ref, "#/")
	if !ok {
		return nil, false
	}
	v = e.doc
	for part := range strings.SplitSeq(path, "/") {
		part = strings.NewReplacer("~1", "/", "~0", "~").Replace(part)
		object, isObject := v.(map[string]any)
		if v, ok = object[part]; !isObject || !ok {
			return nil, false
		}
	}
	return v, true
}
