package simulator

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/caddy-frontier/frontier/internal/simulator/mind"
)

// responses serves /v1/responses. Nothing is stored: previous_response_id is not looked up.
func (h *Handler) responses(w http.ResponseWriter, r *http.Request, body []byte) error {
	in, err := parse(body)
	if err != nil {
		return err
	}
	m, err := h.find(in.Model)
	if err != nil {
		return err
	}
	messages, err := in.items()
	if err != nil {
		return err
	}
	q, err := in.query(messages, namedLimit{"max_output_tokens", in.MaxOutputTokens})
	if err != nil {
		return err
	}
	q.choices = 1
	p, err := h.begin(r, m, q)
	if err != nil {
		return err
	}
	a := &response{pace: p, reply: m.think(q)[0], head: object{
		"id": id("resp_"), "object": "response", "created_at": time.Now().Unix(), "status": "in_progress", "model": m.id, "output": []object{}, "error": nil,
		"incomplete_details": nil, "instructions": nil, "metadata": object{}, "parallel_tool_calls": true, "tool_choice": "auto", "tools": []any{},
		"temperature": 1, "top_p": 1, "previous_response_id": nil, "usage": nil,
	}}
	if in.Instructions != "" {
		a.head["instructions"] = in.Instructions
	}
	a.item = object{"id": id("msg_"), "type": "message", "role": "assistant", "status": "in_progress", "content": []object{}}
	if a.reply.tool != "" {
		a.item = object{"id": id("fc_"), "type": "function_call", "status": "in_progress", "call_id": id("call_"), "name": a.reply.tool, "arguments": ""}
	}
	if in.Stream {
		return a.stream(w, q.input)
	}
	if err := p.all(len(a.reply.tokens)); err != nil {
		return err
	}
	a.complete(q.input)
	return answer(w, http.StatusOK, a.head)
}

// items makes messages of instructions and input.
func (q *request) items() ([]mind.Message, error) {
	var out []mind.Message
	if q.Instructions != "" {
		out = append(out, mind.Message{Role: "system", Text: q.Instructions})
	}
	var text string
	if json.Unmarshal(q.Input, &text) == nil && text != "" {
		return append(out, mind.Message{Role: "user", Text: text}), nil
	}
	var items []message
	if json.Unmarshal(q.Input, &items) != nil || len(items) == 0 {
		return nil, invalid("input", "input: want a text, or a list of messages such as {\"role\": \"user\", \"content\": \"Hello\"}")
	}
	for _, i := range items {
		if i.Role != "" { // others are calls and their results
			out = append(out, mind.Message{Role: i.Role, Text: content(i.Content)})
		}
	}
	return out, nil
}

type response struct {
	pace  *pace
	reply reply
	head  object
	item  object
}

func (a *response) part() object {
	return object{"type": "output_text", "text": a.reply.text(), "annotations": []any{}, "logprobs": []any{}}
}

// complete puts the whole answer into head and item.
func (a *response) complete(input int) {
	n := len(a.reply.tokens)
	a.head["usage"] = object{
		"input_tokens": input, "output_tokens": n, "total_tokens": input + n,
		"input_tokens_details": object{"cached_tokens": 0}, "output_tokens_details": object{"reasoning_tokens": 0},
	}
	status := "completed"
	if a.reply.finish == "length" {
		status = "incomplete"
		a.head["incomplete_details"] = object{"reason": "max_output_tokens"}
	}
	a.head["status"], a.item["status"] = status, status
	if a.reply.tool != "" {
		a.item["arguments"] = a.reply.text()
	} else {
		a.item["content"] = []object{a.part()}
	}
	a.head["output"] = []object{a.item}
}

func (a *response) stream(w http.ResponseWriter, input int) error {
	s := newStream(w)
	var failed error
	n := 0
	send := func(kind string, v object) {
		if failed != nil {
			return
		}
		v["type"], v["sequence_number"] = kind, n
		n++
		failed = s.event(kind, v)
	}
	item := func(v object) object {
		v["item_id"], v["output_index"] = a.item["id"], 0
		if a.reply.tool == "" {
			v["content_index"] = 0
		}
		return v
	}
	send("response.created", object{"response": a.head})
	if err := a.pace.token(0); err != nil {
		return err
	}
	send("response.output_item.added", object{"output_index": 0, "item": a.item})
	delta := "response.function_call_arguments.delta"
	if a.reply.tool == "" {
		delta = "response.output_text.delta"
		send("response.content_part.added", item(object{"part": object{"type": "output_text", "text": "", "annotations": []any{}, "logprobs": []any{}}}))
	}
	for k, token := range a.reply.tokens {
		if err := a.pace.token(k); err != nil {
			return err
		}
		d := item(object{"delta": token})
		if a.reply.tool == "" {
			d["logprobs"] = []any{}
		}
		if send(delta, d); failed != nil {
			return failed
		}
	}
	if err := a.pace.end(len(a.reply.tokens)); err != nil {
		return err
	}
	if a.reply.tool != "" {
		send("response.function_call_arguments.done", item(object{"name": a.reply.tool, "arguments": a.reply.text()}))
	} else {
		send("response.output_text.done", item(object{"text": a.reply.text(), "logprobs": []any{}}))
		send("response.content_part.done", item(object{"part": a.part()}))
	}
	a.complete(input)
	send("response.output_item.done", object{"output_index": 0, "item": a.item})
	send("response."+a.head["status"].(string), object{"response": a.head})
	return failed
}
