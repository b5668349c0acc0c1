package dialect

import (
	"bytes"
	"encoding/json"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// responsesEvents judges streams of the responses API.
type responsesEvents struct {
	done    bool
	summary Summary
}

func (e *responsesEvents) Event(data []byte) Verdict {
	if len(data) == 0 {
		return Pass
	}
	doc, verdict := event(data)
	if verdict != Pass {
		return verdict
	}
	kind := jsonscan.Lookup(data, doc, "type").Of(data)
	if len(kind) < 2 {
		return Pass
	}
	kind = kind[1 : len(kind)-1]
	switch string(kind) {
	case "response.created":
		e.summary.ID = text(data, jsonscan.Lookup(data, jsonscan.Lookup(data, doc, "response"), "id"))
	case "response.completed", "response.incomplete":
		e.done = true
		e.summary = summarizeObject(data, jsonscan.Lookup(data, doc, "response"), "status", "output")
		return Done
	case "response.failed", "error":
		return Failed
	case "response.output_item.done":
		return Content
	}
	if bytes.HasSuffix(kind, []byte(".delta")) {
		e.summary.Bytes += len(jsonscan.Lookup(data, doc, "delta").Of(data))
		return Content
	}
	return Pass
}

func (e *responsesEvents) Complete() bool     { return e.done }
func (e *responsesEvents) Terminator() []byte { return nil }
func (e *responsesEvents) HideUsage() bool    { return false }
func (e *responsesEvents) Summary() *Summary  { return &e.summary }

func responsesError(e *call.Error) []byte {
	event := struct {
		Type    string  `json:"type"`
		Code    string  `json:"code"`
		Message string  `json:"message"`
		Param   *string `json:"param"`
	}{"error", e.Code, e.Message, nil}
	body, _ := json.Marshal(event)
	return append(append([]byte("event: error\ndata: "), body...), "\n\n"...)
}
