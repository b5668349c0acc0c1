package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"strings"

	"github.com/caddy-frontier/frontier/internal/simulator/mind"
)

const (
	dimensions    = 256 // unless the request says how many
	maxDimensions = 4096
	maxInputs     = 2048
)

// embeddings serves /v1/embeddings: texts with many words in common have
// similar vectors. Any model has them.
func (h *Handler) embeddings(w http.ResponseWriter, r *http.Request, body []byte) error {
	in, err := parse(body)
	if err != nil {
		return err
	}
	m, err := h.find(in.Model)
	if err != nil {
		return err
	}
	inputs, err := texts(in.Input)
	if err != nil {
		inputs, err = tokenLists(in.Input)
	}
	if err != nil || len(inputs) == 0 || len(inputs) > maxInputs {
		return invalid("input", "input: want a text, or a list of 1 to %d texts", maxInputs)
	}
	n := dimensions
	if in.Dimensions != nil {
		if n = *in.Dimensions; n < 1 || n > maxDimensions {
			return invalid("dimensions", "dimensions is %d; want from 1 to %d", n, maxDimensions)
		}
	}
	if in.EncodingFormat != "" && in.EncodingFormat != "float" && in.EncodingFormat != "base64" {
		return invalid("encoding_format", "encoding_format is %q; want float or base64", in.EncodingFormat)
	}
	q := new(query)
	for _, text := range inputs {
		q.messages = append(q.messages, mind.Message{Role: "user", Text: text})
		q.input += mind.Count(text)
	}
	p, err := h.begin(r, m, q)
	if err != nil {
		return err
	}
	data := make([]object, len(inputs))
	for i, text := range inputs {
		var v any = mind.Embed(text, n)
		if in.EncodingFormat == "base64" {
			v = packed(mind.Embed(text, n))
		}
		data[i] = object{"object": "embedding", "index": i, "embedding": v}
	}
	if err := p.all(1); err != nil {
		return err
	}
	return answer(w, http.StatusOK, object{
		"object": "list", "model": m.id, "data": data, "usage": object{"prompt_tokens": q.input, "total_tokens": q.input},
	})
}

// tokenLists reads inputs that are tokens already; their numbers are the text.
func tokenLists(raw json.RawMessage) ([]string, error) {
	var one []int
	if json.Unmarshal(raw, &one) == nil {
		return []string{strings.Trim(string(raw), "[] ")}, nil
	}
	var several [][]int
	if err := json.Unmarshal(raw, &several); err != nil {
		return nil, err
	}
	var out []string
	for _, tokens := range several {
		text, err := json.Marshal(tokens)
		if err != nil {
			return nil, err
		}
		out = append(out, strings.Trim(string(text), "[]"))
	}
	return out, nil
}

func packed(v []float32) string {
	raw := make([]byte, 0, 4*len(v))
	for _, x := range v {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(x))
	}
	return base64.StdEncoding.EncodeToString(raw)
}
