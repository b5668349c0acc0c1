package prompts

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/caddy-frontier/frontier/internal/api"
)

// Limits of names.
const (
	maxName       = 256
	latest        = "latest"
	uriScheme     = "prompts:/"
	maxVersion    = 1<<31 - 1
	referenceHelp = `write name, name/3, name@alias or prompts:/name@alias`
)

// Reference names a prompt and, by number or alias, one of its versions.
// Without either it means the latest version, as the alias "latest" does.
type Reference struct {
	Name    string
	Version int // 0: not by number
	Alias   string
}

// ParseReference reads a prompt URI of MLflow (prompts:/name/3,
// prompts:/name@alias, prompts:/name) or a short form (name/3, name@alias,
// name).
func ParseReference(s string) (Reference, error) {
	rest := strings.TrimPrefix(s, uriScheme)
	at := strings.IndexAny(rest, "/@")
	if at < 0 {
		at = len(rest)
	}
	r := Reference{Name: rest[:at]}
	if err := checkName("name", r.Name); err != nil {
		return Reference{}, fmt.Errorf("%q is not a prompt reference: %w; %s", excerpt(s), err, referenceHelp)
	}
	switch {
	case at == len(rest):
	case rest[at] == '@':
		r.Alias = rest[at+1:]
		if r.Alias == latest {
			break
		}
		if numeric(r.Alias) {
			return Reference{}, fmt.Errorf("%q is not a prompt reference: a version number comes after a slash: %s/%s", excerpt(s), excerpt(r.Name), strings.TrimLeft(excerpt(r.Alias), "vV"))
		}
		if err := checkName("alias", r.Alias); err != nil {
			return Reference{}, fmt.Errorf("%q is not a prompt reference: %w; %s", excerpt(s), err, referenceHelp)
		}
	default:
		n, ok := parseVersion(rest[at+1:])
		if !ok {
			return Reference{}, fmt.Errorf("%q is not a prompt reference: %q is not a version number; %s", excerpt(s), excerpt(rest[at+1:]), referenceHelp)
		}
		r.Version = n
	}
	return r, nil
}

// String returns the prompt URI.
func (r Reference) String() string {
	switch {
	case r.Version > 0:
		return uriScheme + r.Name + "/" + strconv.Itoa(r.Version)
	case r.Alias != "":
		return uriScheme + r.Name + "@" + r.Alias
	}
	return uriScheme + r.Name
}

// parseVersion reads a version number: decimal, from 1, without a sign or leading zeros.
func parseVersion(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxVersion || s != strconv.Itoa(n) {
		return 0, false
	}
	return n, true
}

// checkName says what is wrong with the name of a prompt or alias: MLflow's
// rule is ^[a-zA-Z0-9_.-]+$.
func checkName(kind, name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the %s is empty", kind)
	case len(name) > maxName:
		return fmt.Errorf("the %s has %d bytes; the limit is %d", kind, len(name), maxName)
	case name == "." || name == "..":
		return fmt.Errorf("the %s %q cannot stand in a URL", kind, name)
	}
	for i := range len(name) {
		if c := name[i]; !letter(c) && (c < '0' || c > '9') && c != '.' && c != '-' {
			return fmt.Errorf("the %s %q may hold letters, digits, '_', '.' and '-' only", kind, excerpt(name))
		}
	}
	return nil
}

// checkAlias refuses, as MLflow does, what would be taken for a version.
func checkAlias(alias string) error {
	if err := checkName("alias", alias); err != nil {
		return api.Invalid("alias", "%s", err)
	}
	if alias == latest {
		return api.Invalid("alias", "the alias %q is reserved: it is always the newest version", alias)
	}
	if numeric(alias) {
		return api.Invalid("alias", "the alias %q looks like a version number", alias)
	}
	return nil
}

// numeric reports whether s matches ^[vV]?\d+$.
func numeric(s string) bool {
	if s != "" && s[0]|0x20 == 'v' {
		s = s[1:]
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// excerpt bounds what a message quotes.
func excerpt(s string) string {
	const most = 80
	if len(s) <= most {
		return s
	}
	return cut(s, most) + "…"
}

// cut returns the first n bytes of s, fewer where that would split a character.
func cut(s string, n int) string {
	if n >= len(s) {
		return s
	}
	for n > 0 && s[n]&0xc0 == 0x80 {
		n--
	}
	return s[:n]
}
