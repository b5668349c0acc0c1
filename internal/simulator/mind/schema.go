package mind

import (
	"bytes"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"
)

// fill makes a value of a JSON schema: enums are chosen from like labels,
// strings are picked out of the text by the property's name, and what cannot
// be known is a small value of the right type.
func (t *thought) fill(schema []byte) string {
	f := filler{t: t, root: schema, budget: 8<<20 + len(schema)}
	f.value(schema, "answer", 0)
	return f.out.String()
}

type filler struct {
	t      *thought
	root   []byte
	out    strings.Builder
	budget int // bytes of schema that may still be read: references can make a small one large
}

const (
	maxDepth = 8
	maxValue = 64 << 10
)

// keywords are what is understood of a schema.
type keywords struct {
	Ref         string            `json:"$ref"`
	Const       json.RawMessage   `json:"const"`
	Enum        []json.RawMessage `json:"enum"`
	AnyOf       []json.RawMessage `json:"anyOf"`
	OneOf       []json.RawMessage `json:"oneOf"`
	AllOf       []json.RawMessage `json:"allOf"`
	Type        any               `json:"type"`
	Properties  json.RawMessage   `json:"properties"`
	Items       json.RawMessage   `json:"items"`
	MinItems    float64           `json:"minItems"`
	MaxItems    *float64          `json:"maxItems"`
	Minimum     *float64          `json:"minimum"`
	Maximum     *float64          `json:"maximum"`
	MaxLength   *float64          `json:"maxLength"`
	Format      string            `json:"format"`
	Description string            `json:"description"`
}

func (f *filler) value(schema []byte, name string, depth int) {
	s := f.resolve(schema)
	if len(s.Const) > 0 {
		f.out.Write(s.Const)
		return
	}
	if s.Enum != nil {
		f.enum(s.Enum)
		return
	}
	switch s.kind() {
	case "object":
		f.object(s, depth)
	case "array":
		f.array(s, name, depth)
	case "boolean":
		labels := []Label{{Name: "true", Bare: "true"}, {Name: "false", Bare: "false"}}
		w, _ := yesOrNo(labels, f.t.prompt.Text, spaced(name)+" "+s.Description)
		f.out.WriteString(labels[w.best].Name)
	case "integer", "number":
		f.number(s, name)
	case "null":
		f.out.WriteString("null")
	default:
		f.text(s, name)
	}
}

// resolve follows references within the schema and takes the first of alternatives.
func (f *filler) resolve(schema []byte) *keywords {
	for range maxDepth {
		if f.budget -= len(schema) + 64; f.budget < 0 {
			break
		}
		s := new(keywords)
		_ = json.Unmarshal(schema, s) // what is of another type is as if it were not there
		ref, local := strings.CutPrefix(s.Ref, "#")
		switch {
		case local:
			schema = f.at(ref)
		case len(s.AnyOf) > 0:
			schema = s.AnyOf[0]
		case len(s.OneOf) > 0:
			schema = s.OneOf[0]
		case len(s.AllOf) > 0 && s.Properties == nil:
			schema = s.AllOf[0]
		default:
			return s
		}
	}
	return &keywords{Type: "null"}
}

// at is the part of the schema that a pointer such as /$defs/x names.
func (f *filler) at(pointer string) []byte {
	schema := f.root
	for step := range strings.SplitSeq(strings.TrimPrefix(pointer, "/"), "/") {
		if step == "" {
			continue
		}
		if f.budget -= len(schema); f.budget < 0 {
			return nil
		}
		var members map[string]json.RawMessage
		_ = json.Unmarshal(schema, &members)
		schema = members[strings.NewReplacer("~1", "/", "~0", "~").Replace(step)]
	}
	return schema
}

func (s *keywords) kind() string {
	k := s.Type
	if several, ok := k.([]any); ok && len(several) > 0 {
		k = several[0]
	}
	switch name, _ := k.(string); {
	case name != "":
		return name
	case s.Properties != nil:
		return "object"
	case s.Items != nil:
		return "array"
	}
	return "string"
}

func (f *filler) object(s *keywords, depth int) {
	f.out.WriteByte('{')
	if depth < maxDepth {
		d := json.NewDecoder(bytes.NewReader(s.Properties)) // keeps their order
		if open, err := d.Token(); err == nil && open == json.Delim('{') {
			for n := 0; d.More() && f.out.Len() < maxValue && f.budget > 0; n++ {
				key, err := d.Token()
				name, ok := key.(string)
				var property json.RawMessage
				if err != nil || !ok || d.Decode(&property) != nil {
					break
				}
				if n > 0 {
					f.out.WriteByte(',')
				}
				f.out.WriteString(quote(name) + ":")
				f.value(property, name, depth+1)
			}
		}
	}
	f.out.WriteByte('}')
}

func (f *filler) array(s *keywords, name string, depth int) {
	n := min(max(s.MinItems, 1), 16)
	if s.MaxItems != nil {
		n = min(n, *s.MaxItems)
	}
	f.out.WriteByte('[')
	if depth < maxDepth {
		for i := range int(n) {
			if i > 0 {
				f.out.WriteByte(',')
			}
			f.value(s.Items, name, depth+1)
		}
	}
	f.out.WriteByte(']')
}

// enum chooses as from the labels of a classification.
func (f *filler) enum(values []json.RawMessage) {
	var names []string
	for _, v := range values {
		var name string
		if json.Unmarshal(v, &name) == nil {
			names = append(names, name)
		}
	}
	labels := distinct(names)
	switch {
	case len(labels) == 0 && len(values) == 0:
		f.out.WriteString("null")
		return
	case len(labels) == 0:
		f.out.WriteString(string(values[0]))
		return
	}
	for i := range labels { // what the prompt says of them
		if j := slices.IndexFunc(f.t.prompt.Labels, func(l Label) bool { return strings.EqualFold(l.Name, labels[i].Name) }); j >= 0 {
			labels[i].Definition = f.t.prompt.Labels[j].Definition
		}
	}
	f.out.WriteString(quote(f.t.label(labels)))
}

func (f *filler) number(s *keywords, name string) {
	lowest, highest := math.Inf(-1), math.Inf(1)
	if s.Minimum != nil {
		lowest = *s.Minimum
	}
	if s.Maximum != nil {
		highest = *s.Maximum
	}
	v := 1.0
	if containsAny(strings.ToLower(name), []string{"confidence", "probability"}) {
		v = 0.9
	} else if found, ok := f.numeral(name); ok && found >= lowest && found <= highest {
		v = found
	}
	v = max(lowest, min(highest, v))
	if s.kind() == "integer" {
		f.out.WriteString(strconv.FormatInt(int64(v), 10))
		return
	}
	f.out.WriteString(strconv.FormatFloat(v, 'f', -1, 64))
}

// numeral finds the number of that name in the text, or any.
func (f *filler) numeral(name string) (float64, bool) {
	found, ok := extract(spaced(name), f.t.prompt.Text)
	if !ok {
		found, ok = extract("number", f.t.prompt.Text)
	}
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseFloat(strings.TrimFunc(strings.ReplaceAll(found, ",", ""), func(r rune) bool { return r < '0' || r > '9' }), 64)
	return n, err == nil && !math.IsInf(n, 0)
}

func (f *filler) text(s *keywords, name string) {
	prompt := f.t.prompt
	var said string
	value, ok := extract(spaced(name), prompt.Text)
	switch {
	case ok:
		said = value
	case s.Format == "date":
		said = "2025-01-01"
	case s.Format == "date-time":
		said = "2025-01-01T00:00:00Z"
	case s.Format == "email":
		said = "someone@example.com"
	case s.Format == "uri":
		said = "https://example.com/"
	case s.Format == "uuid":
		said = "00000000-0000-4000-8000-000000000000"
	case len(prompt.Labels) > 0 && containsAny(strings.ToLower(name), []string{"label", "sentiment", "category", "answer", "class", "intent", "topic", "result"}):
		said = f.t.label(prompt.Labels)
	case containsAny(strings.ToLower(name), []string{"text", "query", "question", "input", "message", "content"}):
		said = snippet(prompt.Text, 50)
	case name == "answer":
		said = f.t.reply()
	default:
		if said, ok = properName(strings.Fields(clip(prompt.Text)), []string{"in", "for", "to", "of", "at", "from"}); !ok {
			said = snippet(prompt.Text, 6)
		}
	}
	if s.MaxLength != nil {
		if r := []rune(said); float64(len(r)) > *s.MaxLength {
			said = string(r[:int(max(*s.MaxLength, 0))])
		}
	}
	f.out.WriteString(quote(said))
}

// spaced makes words of a property's name: orderNumber, order_number.
func spaced(name string) string {
	var b strings.Builder
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' && i > 0 && name[i-1] >= 'a' && name[i-1] <= 'z' {
			b.WriteByte(' ')
		}
		b.WriteByte(c)
	}
	return strings.ToLower(strings.ReplaceAll(b.String(), "_", " "))
}
