package call

import (
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"

	"github.com/caddy-frontier/frontier/internal/jsonscan"
)

func hexID(id [16]byte) string { return hex.EncodeToString(id[:]) }

// Credential returns the client's own API key, in whichever header it came.
func Credential(h http.Header) string {
	if a := h.Get("Authorization"); a != "" {
		if scheme, key, ok := strings.Cut(a, " "); ok && strings.EqualFold(scheme, "Bearer") {
			return strings.TrimSpace(key)
		}
		return a
	}
	if k := h.Get("X-Api-Key"); k != "" {
		return k
	}
	if k := h.Get("Api-Key"); k != "" {
		return k
	}
	return h.Get("X-Goog-Api-Key")
}

// keyFingerprint names a credential without telling it: the hash is short
// enough to be useless for guessing and long enough to tell keys apart.
func keyFingerprint(h http.Header) string {
	k := Credential(h)
	if k == "" {
		return ""
	}
	return "key-" + strconv.FormatUint(xxhash.Sum64String(k)>>24, 16)
}

// fingerprint names the conversation that the call belongs to: the hash of
// its system text with runs of digits removed (system prompts carry clocks)
// and of its first user message, salted with user or key. A conversation id
// of the responses API is used as it is.
func (c *Call) fingerprint() {
	if v := c.Object.Get("conversation"); v.Exists() && c.Front == Responses {
		if v.IsObject(c.Body) {
			v = jsonscan.Lookup(c.Body, v, "id")
		}
		if v.IsString(c.Body) {
			c.Conversation = bounded(cloneText(v.Of(c.Body)))
			c.Continued = true
			return
		}
	}
	var d xxhash.Digest
	d.Reset()
	found := false
	for i := range c.Messages {
		m := &c.Messages[i]
		switch m.Role {
		case System:
			hashWithoutDigits(&d, m.Content.Of(c.Body))
			continue
		case User:
			_, _ = d.Write(m.Content.Of(c.Body))
			found = true
		default:
			continue
		}
		break
	}
	if !found {
		return
	}
	salt := c.User
	if salt == "" {
		salt = c.Key
	}
	_, _ = d.WriteString("\x00")
	_, _ = d.WriteString(salt)
	var sum [8]byte
	c.Conversation = hex.EncodeToString(d.Sum(sum[:0]))
}

func hashWithoutDigits(d *xxhash.Digest, b []byte) {
	from := 0
	for i, ch := range b {
		if ch-'0' <= 9 {
			_, _ = d.Write(b[from:i])
			from = i + 1
		}
	}
	_, _ = d.Write(b[from:])
	_, _ = d.WriteString("\x00")
}

func cloneText(raw []byte) string {
	s, _ := jsonscan.Unquote(raw)
	return strings.Clone(s)
}
