package tracing

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/caddy-frontier/frontier/internal/call"
	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

// readAnswer reads what a complete JSON answer says of itself.
func readAnswer(front call.Front, doc []byte) (a answer) {
	doc = bytes.TrimSpace(doc)
	if len(doc) == 0 || doc[0] != '{' || !jsonscan.Valid(doc, maxNesting) {
		return a
	}
	a.done = true
	if front == call.Responses {
		readResponse(doc, &a)
		return a
	}
	for key, m := range jsonscan.MembersOf(doc, jsonscan.Value{Start: 0, End: len(doc)}) {
		raw := m.Of(doc)
		switch string(key) {
		case "model":
			a.model = textOf(raw)
		case "usage":
			if raw[0] == '{' {
				a.usage = parseUsage(raw)
			}
		case "choices":
			for c := range jsonscan.Elements(doc, m) {
				if f := jsonscan.Lookup(doc, c, "finish_reason"); f.IsString(doc) {
					a.finish = textOf(f.Of(doc))
				}
				break
			}
		case "error":
			if raw[0] == '{' {
				a.failed = true
				a.class = errorClass(doc, m)
			}
		}
	}
	return a
}

// parseUsage reads a usage object under the names that chat completions,
// completions, embeddings and responses have for it. Nil: it counts nothing.
func parseUsage(raw []byte) *call.Usage {
	u := &call.Usage{}
	found := false
	for key, m := range jsonscan.MembersOf(raw, jsonscan.Value{Start: 0, End: len(raw)}) {
		v := m.Of(raw)
		switch string(key) {
		case "prompt_tokens", "input_tokens":
			u.Input, found = integer(v), true
		case "completion_tokens", "output_tokens":
			u.Output, found = integer(v), true
		case "prompt_tokens_details", "input_tokens_details":
			for key, d := range jsonscan.MembersOf(raw, m) {
				switch string(key) {
				case "cached_tokens":
					u.CachedInput = integer(d.Of(raw))
				case "cache_write_tokens":
					u.CacheWriteInput = integer(d.Of(raw))
				}
			}
		case "completion_tokens_details", "output_tokens_details":
			if d := jsonscan.Lookup(raw, m, "reasoning_tokens"); d.Exists() {
				u.Reasoning = integer(d.Of(raw))
			}
		}
	}
	if !found {
		return nil
	}
	return u
}

var errTooLarge = errors.New("larger than 4 MiB")

// decode undoes the answer's Content-Encoding, as far as it goes: of a stream
// that was cut the beginning is returned with the error.
func decode(encoding string, b []byte) ([]byte, error) {
	var r io.Reader
	switch encoding {
	case "gzip", "x-gzip":
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			return nil, fmt.Errorf("not gzip: %w", err)
		}
		r = z
	case "zstd":
		z, err := zstd.NewReader(bytes.NewReader(b), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(16<<20))
		if err != nil {
			return nil, fmt.Errorf("not zstd: %w", err)
		}
		defer z.Close()
		r = z
	default:
		return nil, fmt.Errorf("content encoding %q cannot be read", encoding)
	}
	buf := bytes.NewBuffer(call.Buffer(4 * len(b)))
	_, err := io.Copy(buf, io.LimitReader(r, maxPayload+1))
	if buf.Len() > maxPayload {
		return buf.Bytes()[:maxPayload], errTooLarge
	}
	return buf.Bytes(), err
}
