package prompts

import (
	"strings"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// replaceMessages puts the parts in the place of messages of Anthropic's
// messages API, whose system text is a parameter, all of it.
func (w *writer) replaceMessages(old []call.Message, parts []part, values []string) {
	var system *call.Message
	var list []call.Message
	for i := range old {
		if old[i].Value.Exists() {
			list = append(list, old[i])
		} else {
			system = &old[i]
		}
	}
	var texts []string
	var rest []part
	for i := range parts {
		if call.ParseRole(parts[i].spokenBy()) == call.System {
			texts = append(texts, parts[i].render(values))
		} else {
			rest = append(rest, parts[i])
		}
	}
	var items [][]byte
	switch {
	case len(rest) > 0:
		items = w.merge(list, rest, values)
	case len(list) > 0: // something must remain as a message
		items, texts = [][]byte{newMessage("user", strings.Join(texts, "\n\n"))}, nil
	}
	switch {
	case system == nil:
		w.prependSystem(texts)
	case len(texts) == 0:
		w.ed.Delete("system")
	default:
		w.ed.Replace(system.Text, jsonscan.AppendQuoted(nil, strings.Join(texts, "\n\n")))
	}
	switch {
	case len(items) == 0:
	case len(list) > 0:
		w.ed.Replace(jsonscan.Value{Start: list[0].Value.Start, End: list[len(list)-1].Value.End}, joined(items))
	default:
		w.prepend("messages", items)
	}
}

// prependSystem puts texts before the parameter system of the messages API.
func (w *writer) prependSystem(texts []string) {
	if len(texts) == 0 {
		return
	}
	text := jsonscan.AppendQuoted(nil, strings.Join(texts, "\n\n"))
	own := w.call.Object.Get("system")
	switch {
	case own.IsArray(w.doc):
		block := append(append([]byte(`{"type":"text","text":`), text...), '}')
		for range jsonscan.Elements(w.doc, own) {
			w.ed.Replace(jsonscan.Value{Start: own.Start + 1, End: own.Start + 1}, append(block, ','))
			return
		}
		w.ed.Set("system", inBrackets([][]byte{block}))
	case own.IsString(w.doc) && string(own.Of(w.doc)) != `""`:
		text = append(text[:len(text)-1], `\n\n`...)
		w.ed.Set("system", append(text, own.Of(w.doc)[1:]...))
	default:
		w.ed.Set("system", text)
	}
}
