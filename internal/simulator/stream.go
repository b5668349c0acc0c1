package simulator

import (
	"encoding/json"
	"net/http"
	"sync/atomic"
)

// answers counts those of the process, for their ids.
var answers atomic.Uint64

// stream writes server-sent events and flushes each.
type stream struct {
	w     http.ResponseWriter
	flush *http.ResponseController
}

// newStream sends the header: clients see that an answer has begun before its first token.
func newStream(w http.ResponseWriter) *stream {
	h := w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(http.StatusOK)
	s := &stream{w: w, flush: http.NewResponseController(w)}
	_ = s.flush.Flush() // a writer that cannot is none that streams
	return s
}

// event sends one, with a name or without.
func (s *stream) event(name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	out := make([]byte, 0, len(raw)+len(name)+20)
	if name != "" {
		out = append(append(append(out, "event: "...), name...), '\n')
	}
	out = append(append(append(out, "data: "...), raw...), "\n\n"...)
	if _, err := s.w.Write(out); err != nil {
		return err
	}
	_ = s.flush.Flush()
	return nil
}

// done sends the end of a stream of chunks.
func (s *stream) done() error {
	_, err := s.w.Write([]byte("data: [DONE]\n\n"))
	return err
}
