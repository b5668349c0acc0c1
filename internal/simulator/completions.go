package simulator

import (
	"net/http"
	"time"

	"github.com/caddy-frontier/frontier/internal/simulator/mind"
)

// maxPrompts bounds the prompts of one request.
const maxPrompts = 128

// completion serves /v1/completions: a prompt is answered as a user's message is.
func (h *Handler) completion(w http.ResponseWriter, r *http.Request, body []byte) error {
	in, err := parse(body)
	if err != nil {
		return err
	}
	m, err := h.find(in.Model)
	if err != nil {
		return err
	}
	prompts, err := texts(in.Prompt)
	if err != nil || len(prompts) == 0 || len(prompts) > maxPrompts {
		return invalid("prompt", "prompt: want a text, or a list of 1 to %d texts; prompts of tokens are not taken", maxPrompts)
	}
	var (
		replies []reply
		first   *query
		input   int
	)
	for i, prompt := range prompts {
		q, err := in.query([]mind.Message{{Role: "user", Text: prompt}}, namedLimit{"max_tokens", in.MaxTokens})
		if err != nil {
			return err
		}
		q.tool = nil
		if first == nil {
			first = q
		}
		input += q.input
		replies = append(replies, m.think(q)...)
		if i > 0 && len(replies) > maxPrompts {
			return invalid("prompt", "prompt and n ask for more than %d answers; ask for fewer", maxPrompts)
		}
	}
	p, err := h.begin(r, m, first)
	if err != nil {
		return err
	}
	head := object{"id": id("cmpl-"), "object": "text_completion", "created": time.Now().Unix(), "model": m.id, "system_fingerprint": "fp_simulator"}
	choice := func(i int, text string, finish any) object {
		return object{"index": i, "text": text, "logprobs": nil, "finish_reason": finish}
	}
	if !in.Stream {
		choices := make([]object, len(replies))
		for i := range replies {
			choices[i] = choice(i, replies[i].text(), replies[i].finish)
		}
		if err := p.all(longest(replies)); err != nil {
			return err
		}
		head["choices"], head["usage"] = choices, usage(input, produced(replies))
		return answer(w, http.StatusOK, head)
	}
	s := newStream(w)
	send := func(i int, text string, finish any) error {
		head["choices"] = []object{choice(i, text, finish)}
		return s.event("", head)
	}
	n := longest(replies)
	for k := range n {
		if err := p.token(k); err != nil {
			return err
		}
		for i := range replies {
			if k < len(replies[i].tokens) {
				if err := send(i, replies[i].tokens[k], nil); err != nil {
					return err
				}
			}
		}
	}
	if err := p.end(n); err != nil {
		return err
	}
	for i := range replies {
		if err := send(i, "", replies[i].finish); err != nil {
			return err
		}
	}
	if in.StreamOptions.IncludeUsage {
		head["choices"], head["usage"] = []object{}, usage(input, produced(replies))
		if err := s.event("", head); err != nil {
			return err
		}
	}
	return s.done()
}
