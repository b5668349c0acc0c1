package prompts

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// carried are the parameters that go into a model config, under the names
// that all APIs' requests are made from.
var carried = map[string]string{
	"model": "model", "temperature": "temperature", "top_p": "top_p", "max_output_tokens": "max_tokens", "max_tokens": "max_tokens",
	"presence_penalty": "presence_penalty", "frequency_penalty": "frequency_penalty", "stop": "stop", "seed": "seed", "reasoning_effort": "reasoning_effort",
}

// usual are values that say nothing: responses list every parameter, with
// OpenAI's defaults. A member without values here is not about what is asked for.
var usual = map[string][]string{
	"temperature": {"1", "1.0"}, "top_p": {"1", "1.0"}, "presence_penalty": {"0", "0.0"}, "frequency_penalty": {"0", "0.0"}, "top_logprobs": {"0"},
	"tools": {"[]"}, "tool_choice": {`"auto"`}, "parallel_tool_calls": {"true"}, "truncation": {`"disabled"`}, "service_tier": {`"auto"`, `"default"`},
	"background": {"false"}, "include": {"[]"}, "stream": {"false"},

	"status": nil, "output": nil, "output_text": nil, "usage": nil, "error": nil, "incomplete_details": nil, "metadata": nil, "billing": nil, "user": nil,
	"created": nil, "created_at": nil, "updated_at": nil, "completed_at": nil, "created_by": nil, "description": nil, "store": nil, "previous_response_id": nil,
	"conversation": nil, "safety_identifier": nil, "prompt_cache_key": nil, "prompt_cache_retention": nil, "moderation": nil,
}

// remedies are what to do about what is left out.
var remedies = map[string]string{
	"tools":       "the application sends them in its request",
	"tool_choice": "the application sends it in its request",
}

// readConfig reads the parameters, and says which of them are left out.
func (r *hostedReader) readConfig() {
	r.readText()
	r.readReasoning()
	config := map[string]json.RawMessage{}
	for _, name := range slices.Sorted(maps.Keys(r.members)) {
		raw := r.take(name)
		values, known := usual[name]
		if raw == nil || known && (values == nil || slices.Contains(values, compacted(raw))) {
			continue
		}
		if to, ok := carried[name]; ok {
			config[to] = raw
			continue
		}
		note := name + " " + excerpt(compacted(raw))
		if remedy := remedies[name]; remedy != "" {
			note += ": " + remedy
		}
		r.leave("%s", note)
	}
	if len(config) > 0 {
		r.out.ModelConfig = config
	}
}

func compacted(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, raw) != nil {
		return string(raw)
	}
	return b.String()
}

// readText reads the format of the answer, which the responses API has in the
// member text, and chat completions in response_format.
func (r *hostedReader) readText() {
	var text members
	_ = json.Unmarshal(r.take("text"), &text)
	format := text.take("format")
	if own := r.take("response_format"); format == nil {
		format = own
	}
	for _, name := range slices.Sorted(maps.Keys(text)) {
		if raw := text.take(name); raw != nil && string(raw) != `"medium"` { // the usual verbosity
			r.leave("text.%s %s", name, excerpt(compacted(raw)))
		}
	}
	var f members
	if json.Unmarshal(format, &f) != nil {
		return
	}
	switch kind := word(f["type"]); kind {
	case "text":
	case "json_object":
		r.out.ResponseFormat = json.RawMessage(`{"type":"json_object"}`)
	case "json_schema":
		schema := f["json_schema"]
		if schema == nil { // the responses API has name and schema beside the type
			delete(f, "type")
			maps.DeleteFunc(f, func(_ string, raw json.RawMessage) bool { return string(raw) == "null" })
			schema, _ = marshal(f)
		}
		r.out.ResponseFormat, _ = marshal(members{"type": json.RawMessage(`"json_schema"`), "json_schema": bytes.TrimSpace(schema)})
	default:
		r.leave("the response format %q", kind)
	}
}

// readReasoning reads the effort; how its summary is written is left out.
func (r *hostedReader) readReasoning() {
	var reasoning members
	_ = json.Unmarshal(r.take("reasoning"), &reasoning)
	if effort := reasoning.take("effort"); effort != nil {
		r.members["reasoning_effort"] = effort
	}
	for _, name := range slices.Sorted(maps.Keys(reasoning)) {
		if raw := reasoning.take(name); raw != nil {
			r.leave("reasoning.%s %s", name, excerpt(compacted(raw)))
		}
	}
}
