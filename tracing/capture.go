package tracing

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-frontier/frontier/internal/call"
)

// maxPayload is how much of a request and of an answer is kept.
const maxPayload = 4 << 20

// captureWriter copies what goes by, up to a limit. It never holds anything
// back: each Write goes to the client before it returns.
type captureWriter struct {
	caddyhttp.ResponseWriterWrapper
	call       *call.Call
	limit      int
	buf        []byte
	size       int64
	length     int64 // announced Content-Length, -1: none
	status     int
	stream     bool
	truncated  bool
	encoding   string
	upstreamID string
	first      time.Time // of the first byte
}

var captureWriters = sync.Pool{New: func() any { return new(captureWriter) }}

func newCaptureWriter(w http.ResponseWriter, c *call.Call, limit int) *captureWriter {
	t := captureWriters.Get().(*captureWriter)
	*t = captureWriter{call: c, limit: limit, length: -1}
	t.ResponseWriter = w
	return t
}

func (w *captureWriter) free() {
	*w = captureWriter{}
	captureWriters.Put(w)
}

// WriteHeader notes the status and makes the ids in the header ours.
func (w *captureWriter) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	if w.status == 0 {
		w.status = status
		w.header(w.Header())
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *captureWriter) header(h http.Header) {
	w.takeID(h, "X-Request-Id")
	w.takeID(h, "Request-Id")
	if w.upstreamID != "" && h["Llm-Upstream-Request-Id"] == nil {
		h["Llm-Upstream-Request-Id"] = []string{w.upstreamID}
	}
	w.stream = strings.HasPrefix(h.Get("Content-Type"), "text/event-stream")
	w.encoding = h.Get("Content-Encoding")
	if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
		w.length = n
	}
}

// takeID leaves our id alone in the header. A stock reverse_proxy has added
// the provider's own behind it.
func (w *captureWriter) takeID(h http.Header, name string) {
	v := h[name]
	if len(v) == 1 && v[0] == w.call.ID {
		return
	}
	for _, id := range v {
		if id != w.call.ID && w.upstreamID == "" {
			w.upstreamID = id
		}
	}
	h[name] = []string{w.call.ID}
}

func (w *captureWriter) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	n, err := w.ResponseWriter.Write(p)
	w.keep(p[:max(n, 0)])
	return n, err
}

// ReadFrom keeps the io.ReaderFrom of the writer below in use.
func (w *captureWriter) ReadFrom(r io.Reader) (int64, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriterWrapper.ReadFrom(&captureReader{r, w})
}

type captureReader struct {
	io.Reader
	w *captureWriter
}

func (r *captureReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.w.keep(p[:n])
	}
	return n, err
}

func (w *captureWriter) keep(p []byte) {
	if len(p) == 0 {
		return
	}
	if w.size == 0 {
		w.first = time.Now()
	}
	w.size += int64(len(p))
	if room := w.limit - len(w.buf); len(p) > room {
		w.truncated = w.limit > 0
		p = p[:room]
	}
	if need := len(w.buf) + len(p); need > cap(w.buf) {
		size := int64(need)
		if w.buf == nil && w.length > size {
			size = min(w.length, int64(w.limit))
		}
		grown := append(call.Buffer(int(size)), w.buf...)
		if w.buf != nil {
			call.FreeBuffer(w.buf)
		}
		w.buf = grown
	}
	w.buf = append(w.buf, p...)
}

// complete reports whether as much was written as was announced.
func (w *captureWriter) complete() bool { return w.length >= 0 && w.size == w.length }

// Interface guards
var (
	_ http.ResponseWriter = (*captureWriter)(nil)
	_ io.ReaderFrom       = (*captureWriter)(nil)
)
