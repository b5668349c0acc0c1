package prompts

import (
	"net/http"
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// maxDepth bounds how deep the header's JSON may nest; more than one level is refused anyway.
const maxDepth = 8

// fromParameter reads OpenAI's parameter prompt. On completions that member
// is the text itself; a prompt is meant only by an object.
func fromParameter(c *call.Call, s *Snapshot, direct bool) (call.Prompt, *call.Error) {
	v := c.Object.Get("prompt")
	if !v.IsObject(c.Body) {
		return call.Prompt{}, nil
	}
	theirs := direct && c.Front == call.Responses // one that OpenAI still hosts may be meant
	var id, version, variables jsonscan.Value
	for key, value := range jsonscan.MembersOf(c.Body, v) {
		switch string(key) {
		case "id":
			id = value
		case "version":
			version = value
		case "variables":
			variables = value
		}
	}
	text, ok := jsonscan.Unquote(id.Of(c.Body))
	if !ok {
		if theirs {
			return call.Prompt{}, nil
		}
		return call.Prompt{}, invalid("prompt.id", `"prompt.id" must be a text that names a prompt: %s`, referenceHelp)
	}
	ref, err := ParseReference(text)
	if err != nil {
		if theirs {
			return call.Prompt{}, nil
		}
		return call.Prompt{}, invalid("prompt.id", "%s", err)
	}
	ref.Name, ref.Alias = strings.Clone(ref.Name), strings.Clone(ref.Alias)
	_, known := s.Prompt(ref.Name)
	imported := s.hosted[text]
	var fail *call.Error
	switch {
	case imported != nil:
		ref, fail = imported.reference(text, c.Body, version)
	case known:
		fail = readVersion(c.Body, version, &ref)
	case theirs && c.RequestedModel != "":
		return call.Prompt{}, nil
	}
	if fail != nil {
		return call.Prompt{}, fail
	}
	p, fail := resolve(s, ref, call.FromParameter, "prompt.id")
	if fail != nil {
		return call.Prompt{}, fail
	}
	p.Variables, fail = readVariables(c.Body, variables, "prompt.variables")
	return p, fail
}

// readVersion reads the parameter's version, a number in digits or as a JSON
// number, or an alias, into ref.
func readVersion(body []byte, v jsonscan.Value, ref *Reference) *call.Error {
	if !v.Exists() || v.IsNull(body) {
		return nil
	}
	text, isText := string(v.Of(body)), v.IsString(body)
	if isText {
		s, ok := jsonscan.Unquote(v.Of(body))
		if !ok {
			return invalid("prompt.version", `"prompt.version" must be a version number or an alias`)
		}
		text = strings.Clone(s)
	}
	got := *ref
	if n, ok := parseVersion(text); ok {
		got.Version = n
	} else if isText && (text == latest || checkAlias(text) == nil) {
		got.Alias = text
	} else {
		return invalid("prompt.version", `"prompt.version" must be a version number or an alias; got %s`, excerpt(text))
	}
	if ref.Version != 0 && got != *ref || ref.Alias != "" && got != *ref {
		return invalid("prompt.version", `"prompt.id" and "prompt.version" name different versions: %s and %s`, ref, excerpt(text))
	}
	*ref = got
	return nil
}

// readVariables reads an object of values: text, numbers, true and false, or
// OpenAI's {"type": "input_text", "text": "…"}.
func readVariables(body []byte, v jsonscan.Value, param string) (map[string]string, *call.Error) {
	if !v.Exists() || v.IsNull(body) {
		return nil, nil
	}
	if !v.IsObject(body) {
		return nil, invalid(param, "%q must be an object of the variables' values", param)
	}
	out := map[string]string{}
	for key, value := range jsonscan.MembersOf(body, v) {
		name, ok := jsonscan.Unquote(append(append([]byte{'"'}, key...), '"'))
		if !ok || !validVariable(name) {
			return nil, invalid(param, "%q has the member %q, which cannot be a variable: letters, digits, '_' and dots between them", param, excerpt(name))
		}
		text, ok := variableText(body, value)
		if kind, _ := jsonscan.Unquote(jsonscan.Lookup(body, value, "type").Of(body)); !ok && (kind == "input_image" || kind == "input_file") {
			return nil, invalid(param+"."+name, `"%s.%s" is an %s, and the variables of prompts are text here: send images and files in the request's input, beside the prompt`, param, name, kind)
		}
		if !ok {
			return nil, invalid(param+"."+name, `"%s.%s" must be text, a number, true or false, or {"type": "input_text", "text": "…"}`, param, name)
		}
		if _, twice := out[name]; twice {
			return nil, invalid(param+"."+name, `"%s.%s" is given twice`, param, name)
		}
		out[name] = text
	}
	return out, nil
}

func variableText(body []byte, v jsonscan.Value) (string, bool) {
	switch body[v.Start] {
	case '{':
		kind := jsonscan.Lookup(body, v, "type")
		v = jsonscan.Lookup(body, v, "text")
		if string(kind.Of(body)) != `"input_text"` || !v.IsString(body) {
			return "", false
		}
	case '"':
	case '[', 'n':
		return "", false
	default:
		return string(v.Of(body)), true
	}
	text, ok := jsonscan.Unquote(v.Of(body))
	return strings.Clone(text), ok
}

// headerVariables reads the header LLM-Prompt-Variables.
func headerVariables(h http.Header) (map[string]string, *call.Error) {
	const name = "LLM-Prompt-Variables"
	text := h.Get(name)
	if text == "" {
		return nil, nil
	}
	doc := []byte(text)
	o, err := jsonscan.Parse(doc, maxDepth, nil)
	if err != nil {
		return nil, invalid(name, "the header %s must hold a JSON object: %s", name, err)
	}
	whole := jsonscan.Value{Start: strings.IndexByte(text, '{'), End: len(strings.TrimRight(text, " \t\r\n"))}
	return readVariables(o.Doc, whole, name)
}
