package call

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// Admission is what the gateway asks of a request before it reads it. Nil
// asks for nothing but the default size.
type Admission struct {
	MaxBody int64       // bytes; 0: DefaultMaxBody
	Keys    []ClientKey // none: every caller is let in
}

// ClientKey is a key that the gateway gave to one of its callers. Only its
// SHA-256 digest is kept.
type ClientKey struct {
	Name   string
	Digest [sha256.Size]byte
}

const digestPrefix = "sha256:"

// ParseClientKey reads a digest, `sha256:` and 64 hex digits, or makes it of the key itself.
func ParseClientKey(name, value string) (k ClientKey, err error) {
	k.Name = name
	text, isDigest := strings.CutPrefix(value, digestPrefix)
	switch {
	case name == "":
		return k, errors.New("a client_key has no name")
	case !isDigest && len(value) < 16:
		return k, fmt.Errorf("client_key %q is shorter than 16 characters; use a longer one, such as that of: openssl rand -hex 24", name)
	case !isDigest:
		k.Digest = sha256.Sum256([]byte(value))
		return k, nil
	}
	raw, err := hex.DecodeString(text)
	if err != nil || len(raw) != sha256.Size {
		return k, fmt.Errorf("client_key %q: want sha256: and 64 hex digits, as of: printf %%s KEY | sha256sum", name)
	}
	copy(k.Digest[:], raw)
	return k, nil
}

// authenticate finds whose key the request carries. Every key is compared, in
// constant time, so that the time taken tells nothing.
func (a *Admission) authenticate(c *Call, h http.Header) *Error {
	if a == nil || len(a.Keys) == 0 {
		return nil
	}
	credential := Credential(h)
	digest := sha256.Sum256([]byte(credential))
	found := -1
	for i := range a.Keys {
		if subtle.ConstantTimeCompare(digest[:], a.Keys[i].Digest[:]) == 1 {
			found = i
		}
	}
	if credential == "" || found < 0 {
		c.Key = ""
		return &Error{
			Status: http.StatusUnauthorized, Class: "unauthenticated", Code: "invalid_api_key",
			Message: "the gateway wants one of its own client keys, as `Authorization: Bearer …`; this request has none that it knows",
		}
	}
	c.Key, c.Authenticated = a.Keys[found].Name, true
	return nil
}

func (a *Admission) maxBody() int64 {
	if a == nil || a.MaxBody <= 0 {
		return DefaultMaxBody
	}
	return a.MaxBody
}
