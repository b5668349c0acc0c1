package upstream

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// Field is one header field.
type Field struct{ Name, Value string }

// Fields are a response's header fields in their order. Those of an Answer
// are valid until it is closed.
type Fields []Field

// Get returns the first value of the field, or "".
func (f Fields) Get(name string) string {
	for i := range f {
		if len(f[i].Name) == len(name) && strings.EqualFold(f[i].Name, name) {
			return f[i].Value
		}
	}
	return ""
}

// appendHead appends the request's line and header.
func (c *Client) appendHead(b []byte, r *Request, key string) []byte {
	b = append(b, r.Method...)
	b = append(b, ' ')
	b = append(b, c.base.EscapedPath()...)
	b = append(b, r.Path...)
	if r.Query != "" {
		b = append(b, '?')
		b = append(b, r.Query...)
	}
	b = append(b, " HTTP/1.1\r\nHost: "...)
	b = append(b, c.host...)
	b = append(b, "\r\nUser-Agent: frontier\r\nContent-Type: application/json\r\nAccept-Encoding: identity\r\nAccept: "...)
	if r.Stream {
		b = append(b, "text/event-stream"...)
	} else {
		b = append(b, "application/json"...)
	}
	if key != "" {
		name, scheme := c.credential(key)
		b = append(append(append(b, "\r\n"...), name...), ": "...)
		b = append(append(b, scheme...), key...)
	}
	for name, values := range c.Header {
		for _, v := range values {
			b = append(append(append(append(b, "\r\n"...), name...), ": "...), v...)
		}
	}
	for _, f := range r.Header {
		b = append(append(append(append(b, "\r\n"...), f.Name...), ": "...), f.Value...)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len(r.Body)), 10)
	return append(b, "\r\n\r\n"...)
}

// credential is the header field that carries a key, and what goes before it.
func (c *Client) credential(key string) (name, scheme string) {
	if c.KeyHeader == "" || strings.HasPrefix(key, "sk-ant-oat") { // Anthropic's OAuth tokens are bearer tokens
		return "Authorization", "Bearer "
	}
	return c.KeyHeader, ""
}

// SetKey sets the header field that carries the key.
func (c *Client) SetKey(h http.Header, key string) {
	name, scheme := c.credential(key)
	h.Set(name, scheme+key)
}

// joinLimit is up to which size head and body are copied together, which is
// cheaper than a second system call or a vector.
const joinLimit = 32 << 10

func (cn *conn) send(r *Request, key string) error {
	head := cn.client.appendHead(cn.head[:0], r, key)
	if len(r.Body) <= joinLimit {
		head = append(head, r.Body...)
		cn.head = head
		_, err := cn.Write(head)
		return err
	}
	cn.head = head
	v := net.Buffers{head, r.Body}
	_, err := v.WriteTo(cn.Conn)
	return err
}

// maxHead bounds a response's header.
const maxHead = 64 << 10

// response is the head of an answer, and its body.
type response struct {
	status int
	fields Fields
	body   io.Reader
	length int64 // of the body; -1: unknown
	keep   bool  // the connection can be used again after the body
	done   bool  // the body has been read to its end
	chunks bool
	cn     *conn
}

// receive reads the head of the answer; informational ones are skipped.
func (cn *conn) receive() (*response, error) {
	for {
		r, err := cn.receiveOne()
		if err != nil || r.status >= 200 || r.status < 100 {
			return r, err
		}
		if r.status == http.StatusSwitchingProtocols {
			return nil, fmt.Errorf("%w: status 101", errMalformed)
		}
	}
}

func (cn *conn) receiveOne() (*response, error) {
	head := cn.answer[:0]
	for begun := false; ; {
		line, err := cn.br.ReadSlice('\n')
		head = append(head, line...)
		if len(head) > maxHead {
			return nil, fmt.Errorf("%w: header larger than %d bytes", errMalformed, maxHead)
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			if errors.Is(err, io.EOF) && len(head) > 0 {
				return nil, fmt.Errorf("%w: header ends early", errMalformed)
			}
			return nil, err
		}
		if err == nil && !begun && len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		begun = err != nil // the rest of a line longer than the buffer is no line of its own
	}
	cn.answer = head
	cn.client.mask(head)
	text := string(head)
	line, rest, _ := strings.Cut(text, "\n")
	version, after, _ := strings.Cut(strings.TrimSuffix(line, "\r"), " ")
	if len(after) < 3 || version != "HTTP/1.1" && version != "HTTP/1.0" {
		return nil, fmt.Errorf("%w: status line %.40q", errMalformed, line)
	}
	status, err := strconv.Atoi(after[:3])
	if err != nil || status < 100 || status > 599 || len(after) > 3 && after[3] != ' ' {
		return nil, fmt.Errorf("%w: status line %.40q", errMalformed, line)
	}
	r := &response{status: status, length: -1, keep: version == "HTTP/1.1", cn: cn, fields: cn.fields[:0]}
	for {
		line, rest, _ = strings.Cut(rest, "\n")
		line = strings.TrimSuffix(line, "\r")
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		value = strings.Trim(value, " \t")
		if !ok || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("%w: header line %.40q", errMalformed, line)
		}
		r.fields = append(r.fields, Field{name, value})
	}
	cn.fields = r.fields
	return r, r.frame()
}

// frame works out where the body ends (RFC 9112, 6.3).
func (r *response) frame() error {
	for _, f := range r.fields {
		switch {
		case strings.EqualFold(f.Name, "Content-Length"):
			n, err := strconv.ParseUint(f.Value, 10, 62)
			if err != nil || r.length >= 0 && r.length != int64(n) {
				return fmt.Errorf("%w: Content-Length %.40q", errMalformed, f.Value)
			}
			r.length = int64(n)
		case strings.EqualFold(f.Name, "Transfer-Encoding"):
			if !strings.EqualFold(f.Value, "chunked") {
				return fmt.Errorf("%w: Transfer-Encoding %.40q", errMalformed, f.Value)
			}
			r.chunks = true
		case strings.EqualFold(f.Name, "Connection"):
			if strings.Contains(strings.ToLower(f.Value), "close") {
				r.keep = false
			}
		}
	}
	if r.chunks && r.length >= 0 {
		r.keep = false // RFC 9112, 6.1
	}
	switch {
	case r.status < 200 || r.status == http.StatusNoContent || r.status == http.StatusNotModified:
		r.body, r.length, r.done = http.NoBody, 0, true
	case r.chunks:
		r.length = -1
		r.body = &chunkedReader{br: r.cn.br}
	case r.length >= 0:
		r.body = io.LimitReader(r.cn.br, r.length)
		r.done = r.length == 0
	default:
		r.body, r.keep = r.cn.br, false
	}
	return nil
}

// Read reads the body. A body that is shorter than it says is io.ErrUnexpectedEOF.
func (r *response) Read(p []byte) (int, error) {
	if r.done {
		return 0, io.EOF
	}
	n, err := r.body.Read(p)
	if r.length >= 0 {
		r.length -= int64(n)
		if r.length == 0 {
			r.done = true
			return n, nil
		}
		if errors.Is(err, io.EOF) {
			return n, io.ErrUnexpectedEOF
		}
		return n, err
	}
	if errors.Is(err, io.EOF) {
		r.done = true
		if r.chunks {
			if terr := r.trailer(); terr != nil {
				r.keep = false
			}
		}
	}
	return n, err
}

// trailer reads and drops what follows the last chunk.
func (r *response) trailer() error {
	for total := 0; total < maxHead; {
		line, err := r.cn.br.ReadSlice('\n')
		if err != nil {
			return err
		}
		total += len(line)
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			return nil
		}
	}
	return errMalformed
}

// decode undoes a content coding that we did not ask for.
func (r *response) decode() (io.Reader, error) {
	switch enc := r.fields.Get("Content-Encoding"); {
	case enc == "" || strings.EqualFold(enc, "identity"):
		return r, nil
	case strings.EqualFold(enc, "gzip"):
		return gzip.NewReader(r)
	default:
		return nil, fmt.Errorf("%w: Content-Encoding %.40q was not asked for", errMalformed, enc)
	}
}
