package upstream

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
)

// leastSecret is the length from which on a key is looked for in answers.
// Shorter ones are placeholders such as "ollama", and may stand in any text.
const leastSecret = 12

// keepSecret finds what an answer must never show: the keys, and the values
// of header fields that hold one.
func (c *Client) keepSecret() {
	add := func(s string) {
		if len(s) >= leastSecret {
			c.secrets = append(c.secrets, []byte(s))
			c.longest = max(c.longest, len(s))
		}
	}
	for _, k := range c.Keys {
		add(k)
	}
	for name, values := range c.Header {
		name = strings.ToLower(name)
		if name != "authorization" && name != "cookie" && !strings.Contains(name, "key") && !strings.Contains(name, "token") && !strings.Contains(name, "secret") {
			continue
		}
		for _, v := range values {
			if _, token, ok := strings.Cut(v, " "); ok {
				v = token // Bearer …
			}
			add(v)
		}
	}
}

// mask overwrites the secrets in b, byte for byte: some providers echo them.
func (c *Client) mask(b []byte) {
	for _, s := range c.secrets {
		for rest := b; ; {
			i := bytes.Index(rest, s)
			if i < 0 {
				break
			}
			for j := range s {
				rest[i+j] = '*'
			}
			rest = rest[i+len(s):]
		}
	}
}

// hidden reports whether the document has a secret behind JSON's escapes.
func (c *Client) hidden(doc []byte) bool {
	if len(c.secrets) == 0 || !bytes.Contains(doc, []byte(`\u`)) {
		return false
	}
	var v any
	if json.Unmarshal(doc, &v) != nil {
		return true // not to be told
	}
	var plain bytes.Buffer
	e := json.NewEncoder(&plain)
	e.SetEscapeHTML(false)
	if e.Encode(v) != nil {
		return true
	}
	for _, s := range c.secrets {
		if bytes.Contains(plain.Bytes(), s) {
			return true
		}
	}
	return false
}

// Mask overwrites the client's keys in a text of the provider.
func (c *Client) Mask(s string) string {
	b := []byte(s)
	c.mask(b)
	return string(b)
}

// MaskReader reads what r has, without the client's keys. It holds back only
// what may be the beginning of one.
func (c *Client) MaskReader(r io.Reader) io.Reader {
	if len(c.secrets) == 0 {
		return r
	}
	return &maskReader{r: r, c: c}
}

type maskReader struct {
	r   io.Reader
	c   *Client
	buf []byte // read, and not handed out yet
	err error
}

func (m *maskReader) Read(p []byte) (int, error) {
	for {
		if n := copy(p, m.buf[:m.ready()]); n > 0 {
			m.buf = m.buf[:copy(m.buf, m.buf[n:])]
			return n, nil
		}
		if m.err != nil {
			return 0, m.err
		}
		if len(p) == 0 {
			return 0, nil
		}
		old := len(m.buf)
		m.buf = append(m.buf, make([]byte, max(len(p), m.c.longest))...)
		n, err := m.r.Read(m.buf[old:])
		m.buf, m.err = m.buf[:old+n], err
		m.c.mask(m.buf)
	}
}

// ready is how much of the buffer cannot be the beginning of a secret.
func (m *maskReader) ready() int {
	if m.err != nil {
		return len(m.buf)
	}
	for i := max(0, len(m.buf)-m.c.longest+1); i < len(m.buf); i++ {
		for _, s := range m.c.secrets {
			if bytes.HasPrefix(s, m.buf[i:]) {
				return i
			}
		}
	}
	return len(m.buf)
}
