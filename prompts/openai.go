package prompts

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Hosted is a version of a prompt that OpenAI hosted, as it can be registered here.
type Hosted struct {
	ID      string `json:"id"`      // pmpt_…
	Version int    `json:"version"` // its number at OpenAI
	Name    string `json:"name"`    // as OpenAI's dashboard shows it; "": the file does not say
	Default bool   `json:"default"` // what an id without a version meant

	Template       Template                   `json:"template"`
	ResponseFormat json.RawMessage            `json:"response_format"`
	ModelConfig    map[string]json.RawMessage `json:"model_config"`

	// LeftOut says in words what has no place in a prompt here.
	LeftOut []string `json:"left_out"`
}

// Hash is that of the version with this content.
func (h *Hosted) Hash() (string, error) {
	return contentHash(&h.Template, h.ResponseFormat, h.ModelConfig)
}

// ReadOpenAI reads versions of prompts that OpenAI hosted, in the order of their ids in the
// file and of their numbers. OpenAI documents no export: what is read are
//
//   - the response objects of its API (`"object": "response"`), whose
//     `instructions` are the prompt's messages and whose `prompt` names it. The
//     variables must have been set to themselves: {"name": "{{name}}"};
//   - objects with `id` and `version`, and otherwise the members of a request
//     to the responses API: `model`, `instructions`, `input`, `temperature`, …;
//     `messages` is understood like `input`;
//   - objects with `id` and a list `versions` of such objects.
//
// The file holds one of them, a list, lists named `data` or `prompts`, or several values one after another.
func ReadOpenAI(raw []byte) ([]Hosted, error) {
	var all []Hosted
	dec := json.NewDecoder(bytes.NewReader(raw))
	for {
		var value json.RawMessage
		if err := dec.Decode(&value); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("it is not JSON: %w", err)
		}
		found, err := hostedOf(value, nil)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	if len(all) == 0 {
		return nil, errors.New("there is no prompt in it")
	}
	first := map[string]int{}
	for i, h := range all {
		if _, ok := first[h.ID]; !ok {
			first[h.ID] = i
		}
	}
	slices.SortStableFunc(all, func(a, b Hosted) int { return cmp.Or(first[a.ID]-first[b.ID], a.Version-b.Version) })
	for i := 1; i < len(all); i++ {
		if all[i].ID == all[i-1].ID && all[i].Version == all[i-1].Version {
			return nil, fmt.Errorf("version %d of %s is in it twice; remove one", all[i].Version, all[i].ID)
		}
	}
	return all, nil
}

// members are those of a JSON object.
type members map[string]json.RawMessage

// hostedOf reads a value of the file. What stands beside a list of versions holds for all of them.
func hostedOf(raw json.RawMessage, inherited members) (out []Hosted, err error) {
	if list := []json.RawMessage(nil); json.Unmarshal(raw, &list) == nil {
		for _, item := range list {
			found, err := hostedOf(item, inherited)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
		return out, nil
	}
	var m members
	if err := json.Unmarshal(raw, &m); err != nil || m == nil {
		return nil, fmt.Errorf("%s is not a prompt: want an object with id, version and messages", excerpt(string(raw)))
	}
	for _, name := range []string{"data", "prompts"} {
		if list, ok := m[name]; ok && bytes.HasPrefix(list, []byte("[")) {
			return hostedOf(list, inherited)
		}
	}
	if versions, ok := m["versions"]; ok {
		delete(m, "versions")
		return hostedOf(versions, m)
	}
	r := hostedReader{members: members{}}
	maps.Copy(r.members, inherited)
	maps.Copy(r.members, m)
	h, err := r.read()
	if err != nil {
		return nil, err
	}
	return []Hosted{h}, nil
}

// hostedReader reads one version. What it has read is taken out of members.
type hostedReader struct {
	members
	out      Hosted
	messages []Message
	declared []string // variables
}

// take removes a member and returns it; nil: it is not there, or null.
func (m members) take(name string) json.RawMessage {
	raw := m[name]
	delete(m, name)
	if string(raw) == "null" {
		return nil
	}
	return raw
}

// word is a text or a number.
func word(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}

func (r *hostedReader) leave(format string, args ...any) {
	r.out.LeftOut = append(r.out.LeftOut, fmt.Sprintf(format, args...))
}

func (r *hostedReader) read() (Hosted, error) {
	response := word(r.take("object")) == "response"
	if err := r.identify(response); err != nil {
		return Hosted{}, err
	}
	label := fmt.Sprintf("version %d of %s", r.out.Version, r.out.ID)
	lists := []string{"instructions", "prompt", "messages", "input"}
	if response {
		lists = lists[:1]
	}
	for _, name := range lists {
		if err := r.readMessages(name, r.take(name)); err != nil {
			return Hosted{}, fmt.Errorf("%s: %w", label, err)
		}
	}
	var err error
	if r.out.Template, err = ParseChat(r.messages); err != nil {
		return Hosted{}, fmt.Errorf("%s: %w; it needs instructions or messages with text", label, err)
	}
	if err := r.readVariables(response); err != nil {
		return Hosted{}, fmt.Errorf("%s: %w", label, err)
	}
	r.readConfig()
	return r.out, nil
}

// identify reads which version of which prompt it is.
func (r *hostedReader) identify(response bool) error {
	var ref members
	if raw := r.members["prompt"]; bytes.HasPrefix(raw, []byte("{")) {
		if !response {
			return fmt.Errorf("%s is a call of a prompt, which does not have its text: want the response to it, or the prompt's own messages", excerpt(string(raw)))
		}
		if err := json.Unmarshal(r.take("prompt"), &ref); err != nil {
			return err
		}
	} else if response {
		return errors.New(`a response has no "prompt": it is not the answer to a call of a prompt`)
	} else {
		ref = r.members
	}
	id := ref.take("id")
	if other := ref.take("prompt_id"); id == nil {
		id = other
	}
	r.out.ID = word(id)
	if !strings.HasPrefix(r.out.ID, HostedPrefix) || checkName("id", r.out.ID) != nil {
		return fmt.Errorf("%q is not the id of one of OpenAI's prompts; want \"id\": \"%s…\"", excerpt(r.out.ID), HostedPrefix)
	}
	number := word(ref.take("version"))
	var ok bool
	if r.out.Version, ok = parseVersion(number); !ok {
		return fmt.Errorf("%s: version %q: want the number that the version has at OpenAI, such as \"version\": \"3\"", r.out.ID, excerpt(number))
	}
	if response {
		r.take("id") // the response's own
	}
	r.out.Name = word(r.take("name"))
	r.declared = names(ref.take("variables"))
	preset := word(r.take("default_version"))
	r.out.Default = string(r.take("is_default")) == "true" || preset == strconv.Itoa(r.out.Version)
	return nil
}

// names are the variables' names, which are declared as an object, as a list, or as a list of objects.
func names(raw json.RawMessage) (out []string) {
	var object members
	if json.Unmarshal(raw, &object) == nil {
		for name := range object {
			out = append(out, name)
		}
	}
	var list []json.RawMessage
	if json.Unmarshal(raw, &list) == nil {
		for _, item := range list {
			var named struct {
				Name string `json:"name"`
			}
			if json.Unmarshal(item, &named) == nil {
				out = append(out, named.Name)
			} else {
				out = append(out, word(item))
			}
		}
	}
	slices.Sort(out)
	return out
}

// readMessages reads a text, which is the system's, or a list of input items.
func (r *hostedReader) readMessages(member string, raw json.RawMessage) error {
	if raw == nil {
		return nil
	}
	var text string
	if json.Unmarshal(raw, &text) == nil {
		role := "system"
		if member == "input" {
			role = "user"
		}
		if text != "" {
			r.messages = append(r.messages, Message{Role: role, Content: text})
		}
		return nil
	}
	var items []struct {
		Type    string          `json:"type"`
		Role    string          `json:"role"`
		Content json.RawMessage `json:"content"`
	}
	if err := json.Unmarshal(raw, &items); err != nil {
		return fmt.Errorf("%s: want a text or a list of messages: %w", member, err)
	}
	for i, item := range items {
		where := fmt.Sprintf("message %d of %s", i+1, member)
		if item.Type != "" && item.Type != "message" {
			r.leave("%s, which is of the type %s", where, item.Type)
			continue
		}
		text, err := r.readContent(where, item.Content)
		if err != nil {
			return err
		}
		switch item.Role {
		case "system", "developer", "user", "assistant":
			if text != "" {
				r.messages = append(r.messages, Message{Role: item.Role, Content: text})
			}
		default:
			r.leave("%s, whose role is %q", where, item.Role)
		}
	}
	return nil
}

// readContent joins a message's texts.
func (r *hostedReader) readContent(where string, raw json.RawMessage) (string, error) {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return text, nil
	}
	var parts []struct {
		Type string  `json:"type"`
		Text *string `json:"text"`
	}
	if err := json.Unmarshal(raw, &parts); err != nil {
		return "", fmt.Errorf("%s: want its content as a text or a list of parts: %w", where, err)
	}
	var texts []string
	for _, p := range parts {
		switch {
		case p.Text != nil && (p.Type == "input_text" || p.Type == "output_text" || p.Type == "text"):
			texts = append(texts, *p.Text)
		default:
			r.leave("the %s in %s: send it in the request's input, beside the prompt", p.Type, where)
		}
	}
	if len(texts) > 1 {
		r.leave("that %s has %d texts: they are one, with line breaks between", where, len(texts))
	}
	return strings.Join(texts, "\n"), nil
}

var inBraces = regexp.MustCompile(`\{\{([^{}]*)\}\}`)

// readVariables compares the variables that are declared with those in the messages.
func (r *hostedReader) readVariables(response bool) error {
	used := r.out.Template.Variables()
	for _, name := range r.declared {
		switch {
		case slices.Contains(used, name):
		case response:
			return fmt.Errorf("{{%s}} is not in its instructions: a value was put in its place. Call the prompt once more with each variable set to itself, as in \"variables\": {%q: \"{{%s}}\"}, and take that response", name, name, name)
		default:
			r.leave("the variable %q, which is declared and in no message", name)
		}
	}
	for _, m := range r.messages {
		for _, found := range inBraces.FindAllStringSubmatch(m.Content, -1) {
			if !slices.Contains(used, strings.TrimSpace(found[1])) {
				r.leave("that %s is a variable: names have letters, digits, '_' and dots between them; it stays as text", found[0])
			}
		}
	}
	return nil
}
