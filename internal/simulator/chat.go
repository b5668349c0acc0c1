package simulator

import (
	"net/http"
	"time"
)

// chat serves /v1/chat/completions.
func (h *Handler) chat(w http.ResponseWriter, r *http.Request, body []byte) error {
	in, err := parse(body)
	if err != nil {
		return err
	}
	m, err := h.find(in.Model)
	if err != nil {
		return err
	}
	messages, err := conversation(in.Messages)
	if err != nil {
		return err
	}
	q, err := in.query(messages, namedLimit{"max_tokens", in.MaxTokens}, namedLimit{"max_completion_tokens", in.MaxCompletionTokens})
	if err != nil {
		return err
	}
	p, err := h.begin(r, m, q)
	if err != nil {
		return err
	}
	c := &chatAnswer{query: q, pace: p, replies: m.think(q), usage: in.StreamOptions.IncludeUsage}
	c.head = object{"id": id("chatcmpl-"), "object": "chat.completion", "created": time.Now().Unix(), "model": m.id, "system_fingerprint": "fp_simulator"}
	if in.Stream {
		return c.stream(w)
	}
	return c.whole(w)
}

type chatAnswer struct {
	*query
	pace    *pace
	replies []reply
	head    object
	usage   bool // in a stream
}

func (c *chatAnswer) whole(w http.ResponseWriter) error {
	choices := make([]object, len(c.replies))
	for i := range c.replies {
		r := &c.replies[i]
		message := object{"role": "assistant", "content": r.text(), "refusal": nil}
		if r.tool != "" {
			message["content"] = nil
			message["tool_calls"] = []object{{"id": id("call_"), "type": "function", "function": object{"name": r.tool, "arguments": r.text()}}}
		}
		choices[i] = object{"index": i, "message": message, "logprobs": nil, "finish_reason": r.finish}
	}
	if err := c.pace.all(longest(c.replies)); err != nil {
		return err
	}
	c.head["choices"], c.head["usage"] = choices, usage(c.input, produced(c.replies))
	return answer(w, http.StatusOK, c.head)
}

func (c *chatAnswer) stream(w http.ResponseWriter) error {
	s := newStream(w)
	c.head["object"] = "chat.completion.chunk"
	if c.usage {
		c.head["usage"] = nil
	}
	send := func(i int, delta object, finish any) error {
		c.head["choices"] = []object{{"index": i, "delta": delta, "logprobs": nil, "finish_reason": finish}}
		return s.event("", c.head)
	}
	if err := c.pace.token(0); err != nil {
		return err
	}
	for i := range c.replies {
		first := object{"role": "assistant", "content": "", "refusal": nil}
		if name := c.replies[i].tool; name != "" {
			first = object{"role": "assistant", "content": nil, "tool_calls": []object{{"index": 0, "id": id("call_"), "type": "function", "function": object{"name": name, "arguments": ""}}}}
		}
		if err := send(i, first, nil); err != nil {
			return err
		}
	}
	n := longest(c.replies)
	for k := range n {
		if err := c.pace.token(k); err != nil {
			return err
		}
		for i := range c.replies {
			r := &c.replies[i]
			if k >= len(r.tokens) {
				continue
			}
			delta := object{"content": r.tokens[k]}
			if r.tool != "" {
				delta = object{"tool_calls": []object{{"index": 0, "function": object{"arguments": r.tokens[k]}}}}
			}
			if err := send(i, delta, nil); err != nil {
				return err
			}
		}
	}
	if err := c.pace.end(n); err != nil {
		return err
	}
	for i := range c.replies {
		if err := send(i, object{}, c.replies[i].finish); err != nil {
			return err
		}
	}
	if c.usage {
		c.head["choices"], c.head["usage"] = []object{}, usage(c.input, produced(c.replies))
		if err := s.event("", c.head); err != nil {
			return err
		}
	}
	return s.done()
}
