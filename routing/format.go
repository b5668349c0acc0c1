package routing

import (
	"bytes"
	"encoding/json"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/caddy-frontier/frontier/internal/answer"
	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
	"github.com/caddy-frontier/frontier/internal/schemas"
	"github.com/caddy-frontier/frontier/routing/rollout"
	"github.com/caddy-frontier/frontier/routing/upstream"
)

const (
	keptSchemas = 256
	// largestFormatted is up to where the text of a stream is kept to be checked.
	largestFormatted = 1 << 20
)

// formats checks answers against the formats that their requests declare. It
// keeps the schemas that it has compiled.
type formats struct {
	schemas *lru.Cache[string, *jsonschema.Schema] // nil value: not a schema
}

func newFormats() *formats {
	cache, _ := lru.New[string, *jsonschema.Schema](keptSchemas) // fails for sizes below one
	return &formats{cache}
}

// format is what a request asks for: JSON, and of which schema, if of any.
func (b *body) format() (schema []byte, declared bool) {
	switch b.call.Front {
	case call.ChatCompletions:
		format := b.get("response_format")
		return formatOf(format, jsonscan.Lookup(format, jsonscan.Root(format), "json_schema"))
	case call.Responses:
		text := b.get("text")
		format := jsonscan.Lookup(text, jsonscan.Root(text), "format").Of(text)
		return formatOf(format, jsonscan.Root(format))
	}
	return nil, false
}

func formatOf(format []byte, holder jsonscan.Value) (schema []byte, declared bool) {
	kind, _ := jsonscan.Unquote(jsonscan.Lookup(format, jsonscan.Root(format), "type").Of(format))
	switch string(kind) {
	case "json_object":
		return nil, true
	case "json_schema":
		return jsonscan.Lookup(format, holder, "schema").Of(format), true
	}
	return nil, false
}

// keeper keeps the events of a stream whose format is to be checked. Nil: it is not.
type keeper struct{ events []byte }

func (p *plan) keeper(ans *upstream.Answer) *keeper {
	if !p.isEvidence(ans) {
		return nil
	}
	if _, declared := p.prepared[len(p.prepared)-1].body.format(); !declared {
		return nil
	}
	return new(keeper)
}

// add keeps events. Of a stream that is too long nothing can be said.
func (k *keeper) add(events []byte) {
	if k != nil && len(k.events) <= largestFormatted {
		k.events = append(k.events, events...)
	}
}

// checkFormat notes how the answer of the variant that was drawn stands to the
// declared format. doc is a whole answer, or, of a stream, its events.
func (p *plan) checkFormat(doc []byte, stream bool) {
	schema, declared := p.prepared[len(p.prepared)-1].body.format()
	if !declared {
		return
	}
	front := p.call.Front
	if stream {
		if len(doc) > largestFormatted {
			return
		}
		var events answer.Assembler
		doc, _ = events.Assemble(nil, front, doc)
	}
	text, ok := answerText(front, doc)
	switch {
	case !ok:
	case p.table.formats.kept(text, schema):
		p.format = rollout.FormatKept
	default:
		p.format = rollout.FormatBroken
	}
}

// answerText is what the format is about. There is none in tool calls and refusals.
func answerText(front call.Front, doc []byte) (text []byte, ok bool) {
	root := jsonscan.Root(doc)
	if front == call.Responses {
		for item := range jsonscan.Elements(doc, jsonscan.Lookup(doc, root, "output")) {
			for part := range jsonscan.Elements(doc, jsonscan.Lookup(doc, item, "content")) {
				if v := jsonscan.Lookup(doc, part, "text"); v.IsString(doc) {
					s, _ := jsonscan.Unquote(v.Of(doc))
					text, ok = append(text, s...), true
				}
			}
		}
		return text, ok
	}
	for choice := range jsonscan.Elements(doc, jsonscan.Lookup(doc, root, "choices")) {
		message := jsonscan.Lookup(doc, choice, "message")
		content := jsonscan.Lookup(doc, message, "content")
		if !content.IsString(doc) || jsonscan.Lookup(doc, message, "tool_calls").IsArray(doc) {
			return nil, false
		}
		s, _ := jsonscan.Unquote(content.Of(doc))
		return []byte(s), true
	}
	return nil, false
}

// kept reports whether the text is JSON of the schema. What is no schema asks for nothing more, and neither does one that is too large.
func (f *formats) kept(text, schema []byte) bool {
	s := f.compiled(schema)
	if s == nil {
		return json.Valid(text)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	return err == nil && s.Validate(value) == nil
}

func (f *formats) compiled(schema []byte) *jsonschema.Schema {
	if len(schema) == 0 || len(schema) > schemas.Largest {
		return nil
	}
	if s, known := f.schemas.Get(string(schema)); known {
		return s
	}
	s, _ := schemas.Compile(schema) // nil: what is no schema asks for nothing
	f.schemas.Add(string(schema), s)
	return s
}
