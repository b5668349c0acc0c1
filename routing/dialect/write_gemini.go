package dialect

import (
	"bytes"
	"path"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// writeGemini writes a request of Gemini's generateContent. The model and
// whether it streams are in the path of the call.
func (r *request) writeGemini(dst []byte) []byte {
	w := jsonscan.Write(dst)
	if len(r.system) > 0 {
		w.Name("systemInstruction")
		w.Dst = append(w.Dst, `{"parts":[`...)
		for i, text := range r.system {
			if i > 0 {
				w.Dst = append(w.Dst, ',')
			}
			w.Dst = append(quoted(append(w.Dst, `{"text":`...), text), '}')
		}
		w.Dst = append(w.Dst, "]}"...)
	}
	w.Name("contents")
	w.Dst = r.geminiContents(w.Dst)
	r.geminiTools(&w)
	if config := r.geminiConfig(); len(config) > len("{}") {
		w.Raw("generationConfig", config)
	}
	for _, f := range r.rest {
		switch string(f.name) {
		case "safetySettings", "cachedContent", "labels", "serviceTier": // Gemini's own, sent by who knows it
			w.Copy(f.name, f.value)
		default:
			r.drop(f)
		}
	}
	if len(r.user) > 0 {
		r.leaveOut("user", r.user)
	}
	return w.End()
}

func (r *request) geminiContents(dst []byte) []byte {
	dst = append(dst, '[')
	for i := 0; i < len(r.parts); {
		before := len(dst)
		if dst[before-1] != '[' {
			dst = append(dst, ',')
		}
		assistant := r.parts[i].assistant
		if assistant {
			dst = append(dst, `{"role":"model","parts":[`...)
		} else {
			dst = append(dst, `{"role":"user","parts":[`...)
		}
		open, calls := len(dst), 0
		add := func(i int, p *part) {
			if len(dst) > open && dst[len(dst)-1] != ',' {
				dst = append(dst, ',')
			}
			if p.kind == isCall {
				calls++
			}
			dst = r.geminiPart(dst, i, p, calls == 1)
		}
		var media []part // of results, which come behind all of them
		for ; i < len(r.parts) && r.parts[i].assistant == assistant; i++ {
			p := &r.parts[i]
			if p.kind == isResult {
				for _, q := range p.result {
					if q.kind != isText {
						media = append(media, q)
					}
				}
			}
			add(i, p)
			if end := i+1 == len(r.parts) || r.parts[i+1].kind != isResult; end && p.kind == isResult {
				for k := range media {
					add(i, &media[k])
				}
				media = nil
			}
		}
		dst = bytes.TrimSuffix(dst, []byte{','})
		if len(dst) == open { // nothing of it could be said
			dst = dst[:before]
			continue
		}
		dst = append(dst, "]}"...)
	}
	return append(dst, ']')
}

// unsignedCall is the signature that Gemini documents for calls of other
// models: without any, its models from version 3 on refuse the history.
const unsignedCall = "skip_thought_signature_validator"

func (r *request) geminiPart(dst []byte, i int, p *part, first bool) []byte {
	switch p.kind {
	case isText:
		return append(quoted(append(dst, `{"text":`...), p.text), '}')
	case isImage, isFile, isAudio:
		return r.geminiMedia(dst, i, p)
	case isCall:
		dst = append(dst, `{"functionCall":{`...)
		if id := geminiID(p.id); id != nil {
			dst = append(quoted(append(dst, `"id":`...), id), ',')
		}
		dst = quoted(append(dst, `"name":`...), p.name)
		dst = append(append(append(dst, `,"args":`...), p.json...), '}')
		switch {
		case p.signature != nil:
			dst = quoted(append(dst, `,"thoughtSignature":`...), p.signature)
		case first && geminiVersion(r.to.Model) >= 300:
			dst = append(dst, `,"thoughtSignature":"`+unsignedCall+`"`...)
		}
		return append(dst, '}')
	case isResult:
		return r.geminiResult(dst, i, p)
	default:
		r.cannot(i, string(p.name))
	}
	return dst
}

// madeID begins the ids that are made for calls to which Gemini gave none.
const madeID = "call_fr"

func geminiID(id []byte) []byte {
	if bytes.HasPrefix(id, []byte(madeID)) {
		return nil
	}
	return id
}

func (r *request) geminiResult(dst []byte, i int, p *part) []byte {
	name := r.nameOf(p.id, i)
	if name == nil {
		r.refuse("messages", "the result of the tool call %q has no call before it, and Gemini wants the name of its tool", p.id)
		return dst
	}
	dst = append(dst, `{"functionResponse":{`...)
	if id := geminiID(p.id); id != nil {
		dst = append(quoted(append(dst, `"id":`...), id), ',')
	}
	dst = quoted(append(dst, `"name":`...), name)
	if p.failed {
		dst = append(dst, `,"response":{"error":"`...)
	} else {
		dst = append(dst, `,"response":{"output":"`...)
	}
	first := true
	for _, q := range p.result {
		if q.kind != isText {
			continue
		}
		if !first {
			dst = append(dst, `\n`...)
		}
		first = false
		dst = append(dst, q.text...)
	}
	return append(dst, `"}}}`...)
}

// nameOf is the name of the tool whose call has that id.
func (r *request) nameOf(id []byte, before int) []byte {
	for i := before - 1; i >= 0; i-- {
		if p := &r.parts[i]; p.kind == isCall && bytes.Equal(p.id, id) {
			return p.name
		}
	}
	return nil
}

func (r *request) geminiMedia(dst []byte, i int, p *part) []byte {
	media := p.media
	switch {
	case p.data != nil:
		switch {
		case len(media) == 0 && p.kind == isFile:
			media = []byte("application/pdf")
		case string(media) == "audio/mp3":
			media = []byte("audio/mpeg")
		}
		dst = quoted(append(dst, `{"inlineData":{"mimeType":`...), media)
		dst = quoted(append(dst, `,"data":`...), p.data)
		return append(dst, "}}"...)
	case !bytes.HasPrefix(p.text, []byte("http")):
		r.cannot(i, "an image that is neither data nor a link")
		return dst
	}
	dst = quoted(append(dst, `{"fileData":{"fileUri":`...), p.text)
	if kind := mediaOfLink(string(p.text)); kind != "" {
		dst = append(append(append(dst, `,"mimeType":"`...), kind...), '"')
	}
	return append(dst, "}}"...)
}

func mediaOfLink(url string) string {
	url, _, _ = strings.Cut(url, "?")
	return map[string]string{
		".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp", ".gif": "image/gif", ".heic": "image/heic", ".pdf": "application/pdf",
	}[strings.ToLower(path.Ext(url))]
}

func (r *request) geminiTools(w *jsonscan.Writer) {
	if len(r.tools) == 0 {
		return
	}
	w.Name("tools")
	w.Dst = append(w.Dst, `[{"functionDeclarations":[`...)
	for i := range r.tools {
		t := &r.tools[i]
		if i > 0 {
			w.Dst = append(w.Dst, ',')
		}
		f := jsonscan.Write(w.Dst)
		f.Literal("name", t.name)
		if len(t.description) > 0 {
			f.Literal("description", t.description)
		}
		if t.schema != nil && !emptySchema(t.schema) {
			f.Raw("parametersJsonSchema", t.schema)
		}
		if t.strict {
			r.adjust("strict of a tool left out")
		}
		w.Dst = f.End()
	}
	w.Dst = append(w.Dst, "]}]"...)
	if r.alone {
		r.adjust("parallel_tool_calls left out")
	}
	mode := map[string]string{"none": "NONE", "auto": "AUTO", "any": "ANY", "tool": "ANY"}[r.choice.mode]
	if mode == "" {
		return
	}
	w.Name("toolConfig")
	w.Dst = append(append(append(w.Dst, `{"functionCallingConfig":{"mode":"`...), mode...), '"')
	if r.choice.mode == "tool" {
		w.Dst = append(quoted(append(w.Dst, `,"allowedFunctionNames":[`...), r.choice.name), ']')
	}
	w.Dst = append(w.Dst, "}}"...)
}

// emptySchema reports whether a tool takes nothing: Gemini refuses an object without properties.
func emptySchema(schema []byte) bool {
	p := jsonscan.Lookup(schema, jsonscan.Value{End: len(schema)}, "properties")
	for range jsonscan.MembersOf(schema, p) {
		return false
	}
	return true
}

func (r *request) geminiConfig() []byte {
	w := jsonscan.Write(nil)
	for _, p := range []struct {
		name  string
		value []byte
	}{
		{"maxOutputTokens", r.maxTokens},
		{"temperature", r.temperature},
		{"topP", r.topP},
		{"topK", r.topK},
		{"seed", r.seed},
		{"presencePenalty", r.presence},
		{"frequencyPenalty", r.frequency},
	} {
		if p.value != nil {
			w.Raw(p.name, p.value)
		}
	}
	if len(r.stop) > 5 {
		r.adjust("%d stop sequences left out: there may be 5", len(r.stop)-5)
		r.stop = r.stop[:5]
	}
	appendTexts(&w, "stopSequences", r.stop)
	switch r.format.kind {
	case "json_schema":
		w.String("responseMimeType", "application/json")
		if r.format.schema != nil {
			w.Raw("responseJsonSchema", r.format.schema)
		}
	case "json_object":
		w.String("responseMimeType", "application/json")
	}
	r.geminiThinking(&w)
	return w.End()
}

// geminiBudgets are the tokens of thinking that an effort stands for, for
// models before version 3; as Google's own compatibility with OpenAI has them.
var geminiBudgets = map[string]int{"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24_576, "xhigh": 24_576, "max": 24_576}

func (r *request) geminiThinking(w *jsonscan.Writer) {
	effort, budget := r.effort, string(r.budget)
	if effort == "" && r.thinking == nil && !r.thoughts {
		return
	}
	if r.unthinking {
		effort = "none"
	}
	version := geminiVersion(r.to.Model)
	if version < 205 {
		r.leaveOut("thinking", []byte{})
		return
	}
	t := jsonscan.Write(nil)
	if version >= 300 {
		if effort == "" && budget != "" {
			effort = "high"
			if n, _ := strconv.Atoi(budget); n < 8192 {
				effort = "low"
			}
			r.adjust("thinking of %s tokens sent as thinkingLevel %s", budget, effort)
		}
		switch effort {
		case "":
		case "none":
			r.adjust("reasoning_effort none sent as minimal")
			effort = "minimal"
		case "xhigh", "max":
			r.adjust("reasoning_effort %s sent as high", effort)
			effort = "high"
		}
		if version == 300 && strings.Contains(r.to.Model, "pro") && (effort == "minimal" || effort == "medium") {
			level := map[string]string{"minimal": "low", "medium": "high"}[effort] // the first of them knows only these
			r.adjust("reasoning_effort %s sent as %s", effort, level)
			effort = level
		}
		t.String("thinkingLevel", strings.ToUpper(effort))
	} else {
		if n, ok := geminiBudgets[effort]; ok && budget == "" {
			if n == 0 && strings.Contains(r.to.Model, "pro") {
				n = 128 // it cannot but think
				r.adjust("reasoning_effort none sent as a budget of 128 tokens")
			}
			budget = strconv.Itoa(n)
		}
		if budget != "" {
			t.Raw("thinkingBudget", []byte(budget))
		}
	}
	if r.thoughts {
		t.Raw("includeThoughts", []byte("true"))
	}
	if config := t.End(); len(config) > len("{}") {
		w.Raw("thinkingConfig", config)
	}
}
