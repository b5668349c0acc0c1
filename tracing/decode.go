package tracing

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/caddy-frontier/frontier/internal/call"
)

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
