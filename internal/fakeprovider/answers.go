package fakeprovider

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"strings"
	"time"
)

var toolCalls = []object{
	{"id": "call_1", "type": "function", "function": object{"name": "get_weather", "arguments": `{"city":"Paris"}`}},
	{"id": "call_2", "type": "function", "function": object{"name": "get_weather", "arguments": `{"city":"Oslo"}`}},
}

func (b *body) message() (object, string) {
	if len(b.Tools) > 0 && len(b.Messages) > 0 && b.Messages[len(b.Messages)-1].Role == "user" {
		return object{"role": "assistant", "content": nil, "tool_calls": toolCalls}, "tool_calls"
	}
	text := b.text()
	if b.ResponseFormat != nil && b.ResponseFormat.Type == "json_schema" {
		text = `{"label":"positive"}`
	}
	return object{"role": "assistant", "content": text, "refusal": nil}, "stop"
}

func chat(w http.ResponseWriter, r *http.Request, b *body) {
	if b.Stream {
		chatStream(w, r, b)
		return
	}
	var choices []object
	for i := range max(b.N, 1) {
		m, finish := b.message()
		choices = append(choices, object{"index": i, "message": m, "logprobs": nil, "finish_reason": finish})
	}
	answer(w, object{"id": "chatcmpl-fake", "object": "chat.completion", "created": created, "model": b.Model + "-2024-01-01", "choices": choices, "usage": b.usage(), "service_tier": "default"})
}

// chatStream streams word by word. The model `cut` stops after two words
// without an end, `stall` falls silent there, `late` begins after a second,
// `pace-20ms` waits that long between words.
func chatStream(w http.ResponseWriter, r *http.Request, b *body) {
	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	flush := http.NewResponseController(w)
	chunk := func(choices []object, extra object) {
		v := object{"id": "chatcmpl-fake", "object": "chat.completion.chunk", "created": created, "model": b.Model + "-2024-01-01", "choices": choices}
		maps.Copy(v, extra)
		raw, _ := json.Marshal(v)
		fmt.Fprintf(w, "data: %s\n\n", raw)
		_ = flush.Flush()
	}
	var usage object
	if b.StreamOptions.IncludeUsage {
		usage = object{"usage": nil}
	}
	delta := func(i int, d object, finish any) {
		chunk([]object{{"index": i, "delta": d, "logprobs": nil, "finish_reason": finish}}, usage)
	}
	n := max(b.N, 1)
	for i := range n {
		delta(i, object{"role": "assistant", "content": ""}, nil)
	}
	pace := time.Duration(0)
	if arg, ok := strings.CutPrefix(b.Model, "pace-"); ok {
		pace, _ = time.ParseDuration(arg)
	}
	if b.Model == "late" {
		time.Sleep(time.Second)
	}
	m, finish := b.message()
	if finish == "tool_calls" {
		for i, c := range toolCalls {
			f := c["function"].(object)
			delta(0, object{"tool_calls": []object{{"index": i, "id": c["id"], "type": "function", "function": object{"name": f["name"], "arguments": ""}}}}, nil)
			for _, part := range strings.SplitAfter(f["arguments"].(string), ":") {
				delta(0, object{"tool_calls": []object{{"index": i, "function": object{"arguments": part}}}}, nil)
			}
		}
	} else {
		for k, word := range strings.SplitAfter(m["content"].(string), " ") {
			if k == 2 && b.Model == "cut" {
				hangUp(w)
				return
			}
			if k == 2 && b.Model == "stall" {
				<-r.Context().Done()
				return
			}
			if pace > 0 {
				select {
				case <-time.After(pace):
				case <-r.Context().Done():
					return
				}
			}
			for i := range n {
				delta(i, object{"content": word}, nil)
			}
		}
	}
	for i := range n {
		delta(i, object{}, finish)
	}
	if b.StreamOptions.IncludeUsage {
		chunk([]object{}, object{"usage": b.usage()})
	}
	fmt.Fprint(w, "data: [DONE]\n\n")
}

func completion(w http.ResponseWriter, b *body) {
	answer(w, object{
		"id": "cmpl-fake", "object": "text_completion", "created": created, "model": b.Model,
		"choices": []object{{"index": 0, "text": b.text(), "logprobs": nil, "finish_reason": "stop"}}, "usage": b.usage(),
	})
}

func embeddings(w http.ResponseWriter, b *body) {
	var inputs []string
	if json.Unmarshal(b.Input, &inputs) != nil {
		inputs = []string{plain(b.Input)}
	}
	var data []object
	for i, in := range inputs {
		vector := make([]float32, max(b.Dimensions, 4))
		for k := range vector {
			vector[k] = float32(len(in)+k) / 100
		}
		var v any = vector
		if b.EncodingFormat == "base64" {
			raw := make([]byte, 0, 4*len(vector))
			for _, f := range vector {
				raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(f))
			}
			v = base64.StdEncoding.EncodeToString(raw)
		}
		data = append(data, object{"object": "embedding", "index": i, "embedding": v})
	}
	answer(w, object{"object": "list", "model": b.Model, "data": data, "usage": object{"prompt_tokens": 3, "total_tokens": 3}})
}

func (b *body) response(status string, output []object) object {
	return object{
		"id": "resp_fake_" + fmt.Sprint(time.Now().UnixNano()), "object": "response", "created_at": created, "status": status, "model": b.Model, "output": output,
		"parallel_tool_calls": true, "tool_choice": "auto", "tools": []any{}, "error": nil, "incomplete_details": nil, "instructions": nil, "metadata": object{},
		"temperature": 1, "top_p": 1,
		"usage": object{"input_tokens": 7, "output_tokens": 5, "total_tokens": 12, "input_tokens_details": object{"cached_tokens": 2}, "output_tokens_details": object{"reasoning_tokens": 1}},
	}
}

func responses(w http.ResponseWriter, b *body) {
	text := b.text()
	item := object{"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": []object{{"type": "output_text", "text": text, "annotations": []any{}}}}
	if !b.Stream {
		answer(w, b.response("completed", []object{item}))
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	n := 0
	event := func(kind string, v object) {
		v["type"], v["sequence_number"] = kind, n
		n++
		raw, _ := json.Marshal(v)
		fmt.Fprintf(w, "event: %s\ndata: %s\n\n", kind, raw)
		_ = http.NewResponseController(w).Flush()
	}
	begun := b.response("in_progress", []object{})
	event("response.created", object{"response": begun})
	event("response.output_item.added", object{"output_index": 0, "item": object{"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []any{}}})
	event("response.content_part.added", object{"item_id": "msg_1", "output_index": 0, "content_index": 0, "part": object{"type": "output_text", "text": "", "annotations": []any{}}})
	for _, word := range strings.SplitAfter(text, " ") {
		event("response.output_text.delta", object{"item_id": "msg_1", "output_index": 0, "content_index": 0, "delta": word, "logprobs": []any{}})
	}
	event("response.output_text.done", object{"item_id": "msg_1", "output_index": 0, "content_index": 0, "text": text, "logprobs": []any{}})
	event("response.output_item.done", object{"output_index": 0, "item": item})
	done := b.response("completed", []object{item})
	done["id"] = begun["id"]
	event("response.completed", object{"response": done})
}
