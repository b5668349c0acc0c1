package routing

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/prompts"
)

// param is one parameter that a variant sets, or leaves out when value is nil.
type param struct {
	name  string
	value []byte
}

func compileParams(v *Variant) []param {
	var out []param
	for name, raw := range v.Param {
		var b bytes.Buffer
		if json.Compact(&b, raw) != nil {
			continue // Validate has refused it
		}
		out = append(out, param{name, b.Bytes()})
	}
	for _, name := range v.Unset {
		out = append(out, param{name: name})
	}
	slices.SortFunc(out, func(a, b param) int { return strings.Compare(a.name, b.name) })
	return out
}

// body is a request under construction: the call's own body, and what is
// known to differ from it.
type body struct {
	call    *call.Call
	edit    *jsonscan.Editor
	changed map[string][]byte // parameters by name; a nil value: left out
}

func (b *body) set(name string, value []byte) {
	b.edit.Set(name, value)
	b.note(name, value)
}

func (b *body) unset(name string) {
	if b.call.Object.Get(name).Exists() || b.changed[name] != nil {
		b.edit.Delete(name)
		b.note(name, nil)
	}
}

func (b *body) note(name string, value []byte) {
	if b.changed == nil {
		b.changed = map[string][]byte{}
	}
	b.changed[name] = value
}

// get returns the value that is in force for a parameter, nil when there is none.
func (b *body) get(name string) []byte {
	if v, ok := b.changed[name]; ok {
		return v
	}
	if v := b.call.Object.Get(name); v.Exists() {
		return v.Of(b.call.Body)
	}
	return nil
}

// parameters applies, from the weakest to the strongest: the prompt version's
// model config and response format, the request's own, the variant's.
func (b *body) parameters(v *prompts.Version, params []param) {
	if v != nil {
		for name, value := range v.ModelConfig {
			name, value := configParam(b.call.Front, name, value)
			if name == "" || slices.Contains(reserved, name) || b.call.Object.Get(name).Exists() {
				continue
			}
			b.set(name, value)
		}
		if len(v.ResponseFormat) > 0 {
			b.responseFormat(v)
		}
	}
	for _, p := range params {
		if p.value == nil {
			b.unset(p.name)
		} else {
			b.set(p.name, p.value)
		}
	}
}

// configParam is configName, with the value in the form that the front has it.
func configParam(front call.Front, name string, value json.RawMessage) (string, []byte) {
	if name == "reasoning_effort" && front == call.Responses {
		return "reasoning", append(append([]byte(`{"effort":`), value...), '}')
	}
	return configName(front, name), value
}

// configName translates MLflow's names of a model config to those of the front; "" drops it.
func configName(front call.Front, name string) string {
	switch name {
	case "provider", "model_name", "extra_params":
		return ""
	case "stop_sequences":
		if front.IsMessages() {
			return name
		}
		return "stop"
	case "max_completion_tokens":
		if front.IsMessages() {
			return "max_tokens"
		}
	case "frequency_penalty", "presence_penalty", "seed", "n":
		if front.IsMessages() { // which does not know them
			return ""
		}
	case "max_tokens":
		if front == call.Responses {
			return "max_output_tokens"
		}
	}
	return name
}

// responseFormat puts the prompt's response format where the front has it,
// unless the request brings its own. The prompt's is a JSON schema, or has
// the form of chat completions already.
func (b *body) responseFormat(v *prompts.Version) {
	var own struct {
		Type   string          `json:"type"`
		Schema json.RawMessage `json:"json_schema"`
	}
	_ = json.Unmarshal(v.ResponseFormat, &own)
	format := []byte(v.ResponseFormat)
	switch own.Type {
	case "json_object", "text":
	case "json_schema":
		if b.call.Front == call.Responses && len(own.Schema) > 2 { // name and schema stand beside the type there
			format = append([]byte(`{"type":"json_schema",`), bytes.TrimSpace(own.Schema)[1:]...)
		}
	default:
		named := jsonscan.AppendQuoted([]byte(`{"name":`), strings.ReplaceAll(v.Name, ".", "_"))
		named = append(append(append(named, `,"strict":true,"schema":`...), v.ResponseFormat...), '}')
		if b.call.Front == call.Responses {
			format = append([]byte(`{"type":"json_schema",`), named[1:]...)
		} else {
			format = append(append([]byte(`{"type":"json_schema","json_schema":`), named...), '}')
		}
	}
	switch {
	case b.call.Front.IsMessages() && !b.call.Object.Get("output_config").Exists():
		if schema := schemaOf(format); schema != nil {
			b.set("output_config", append(append([]byte(`{"format":{"type":"json_schema","schema":`), schema...), "}}"...))
		}
	case b.call.Front == call.ChatCompletions && !b.call.Object.Get("response_format").Exists():
		b.set("response_format", format)
	case b.call.Front == call.Responses && !b.call.Object.Get("text").Exists():
		b.set("text", append(append([]byte(`{"format":`), format...), '}'))
	}
}

// schemaOf is the JSON schema in a response format of chat completions; nil: it has none.
func schemaOf(format []byte) []byte {
	var f struct {
		Schema struct {
			Schema json.RawMessage `json:"schema"`
		} `json:"json_schema"`
	}
	_ = json.Unmarshal(format, &f)
	return f.Schema.Schema
}

// inForce describes the parameters of the request that was sent, for the trace.
func (b *body) inForce() json.RawMessage {
	if len(b.changed) == 0 {
		return nil
	}
	out := []byte{'{'}
	add := func(name string, value []byte) {
		if value == nil || slices.Contains(reserved, name) || name == "stream_options" {
			return
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(jsonscan.AppendQuoted(out, name), ':')
		out = append(out, value...)
	}
	for i := range b.call.Object.Members {
		m := &b.call.Object.Members[i]
		if _, changed := b.changed[m.Key]; !changed && !m.IsArray(b.call.Body) && !m.IsObject(b.call.Body) {
			add(m.Key, m.Of(b.call.Body))
		}
	}
	names := make([]string, 0, len(b.changed))
	for name := range b.changed {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		add(name, b.changed[name])
	}
	return append(out, '}')
}
