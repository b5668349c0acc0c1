package frontier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-frontier/frontier/internal/api"
)

// adminClient talks to Caddy's admin endpoint.
type adminClient struct {
	address string // as the user or the configuration has it
	origin  string
	socket  bool
	http    *http.Client
}

// answerLimit bounds one answer; a page of traces or one large trace is far below it.
const answerLimit = 256 << 20

// newAdminClient takes an address as Caddy's `admin` option has it: TCP, or a
// unix socket, whose permission bits do not matter here.
func newAdminClient(address string) (*adminClient, error) {
	parsed, err := caddy.ParseNetworkAddressWithDefaults(address, "tcp", 2019)
	if err != nil || parsed.PortRangeSize() > 1 {
		return nil, fmt.Errorf("%q is not the address of an admin endpoint; want one such as %s or unix//run/caddy/admin.sock", address, caddy.DefaultAdminListen)
	}
	c := &adminClient{address: address, origin: "http://" + parsed.JoinHostPort(0)}
	if parsed.IsUnixNetwork() {
		c.socket = true
		c.origin = "http://127.0.0.1" // a host that the admin endpoint accepts; the socket is what counts
		parsed.Host, _, _ = strings.Cut(parsed.Host, "|")
	}
	c.http = &http.Client{
		Timeout: 2 * time.Minute,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, parsed.Network, parsed.JoinHostPort(0))
		}},
	}
	return c, nil
}

// do sends a request and returns the body of a good answer.
func (c *adminClient) do(ctx context.Context, method, path string, query url.Values, body any) ([]byte, error) {
	_, answer, err := c.send(ctx, method, path, query, body)
	return answer, err
}

// send is do, with the answer's status.
func (c *adminClient) send(ctx context.Context, method, path string, query url.Values, body any) (int, []byte, error) {
	target := c.origin + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	var content io.Reader
	if body != nil {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(body); err != nil {
			return 0, nil, err
		}
		content = &b
	}
	req, err := http.NewRequestWithContext(ctx, method, target, content)
	if err != nil {
		return 0, nil, fmt.Errorf("asking %s: %w", c.address, err)
	}
	if !c.socket {
		req.Header.Set("Origin", c.origin) // for enforce_origin
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return 0, nil, c.unreachable(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	switch {
	case err != nil:
		return 0, nil, fmt.Errorf("reading the answer of %s: %w", c.address, err)
	case len(answer) > answerLimit:
		return 0, nil, fmt.Errorf("the answer of %s is over %d MiB", c.address, answerLimit>>20)
	case resp.StatusCode >= http.StatusBadRequest:
		return 0, nil, c.refused(resp.StatusCode, answer)
	}
	return resp.StatusCode, answer, nil
}

// unreachableError means that nobody answers at the address.
type unreachableError struct {
	message string
	cause   error
}

func (e *unreachableError) Error() string { return e.message }
func (e *unreachableError) Unwrap() error { return e.cause }

func (c *adminClient) unreachable(err error) error {
	if asked, ok := errors.AsType[*url.Error](err); ok {
		err = asked.Err
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	var dial *net.OpError
	if !errors.As(err, &dial) || dial.Op != "dial" {
		return &unreachableError{fmt.Sprintf("asking %s: %s", c.address, err), err}
	}
	cause := dial.Err
	if call, ok := errors.AsType[*os.SyscallError](cause); ok {
		cause = call.Err
	}
	if errors.Is(err, fs.ErrPermission) {
		return &unreachableError{fmt.Sprintf("no access to the admin endpoint at %s (%s): run this as the user that Caddy runs as", c.address, cause), err}
	}
	return &unreachableError{fmt.Sprintf("no Caddy admin endpoint at %s (%s): start it with `caddy run`, or name another with --address", c.address, cause), err}
}

// serverError is an error answer of the admin API.
type serverError struct {
	status  int
	message string
}

func (e *serverError) Error() string { return e.message }

// refused reads our own error envelope, or what Caddy itself says.
func (c *adminClient) refused(status int, answer []byte) error {
	var ours struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	if json.Unmarshal(answer, &ours) == nil && ours.Error.Message != "" {
		return &serverError{status, printable(ours.Error.Message, false)}
	}
	var caddys struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(answer, &caddys) == nil && caddys.Error != "" {
		return &serverError{status, fmt.Sprintf("%s answers: %s", c.address, printable(caddys.Error, false))}
	}
	if status == http.StatusNotFound {
		return &serverError{status, fmt.Sprintf("what runs at %s has no /llm/ in its admin API: it is not a Caddy with the LLM gateway", c.address)}
	}
	return &serverError{status, fmt.Sprintf("%s answers with HTTP status %d", c.address, status)}
}

// segments joins path segments, each escaped.
func segments(parts ...string) string {
	var b strings.Builder
	for _, p := range parts {
		b.WriteByte('/')
		b.WriteString(url.PathEscape(p))
	}
	return b.String()
}

// pages calls fn with each item of a collection, page by page.
func pages[T any](r *request, path string, query url.Values, fn func(T) error) error {
	q := url.Values{}
	maps.Copy(q, query)
	for {
		answer, err := r.server.do(r.ctx, http.MethodGet, path, q, nil)
		if err != nil {
			return err
		}
		var page api.List[T]
		if err := r.decode(answer, &page); err != nil {
			return err
		}
		for _, item := range page.Items {
			if err := fn(item); err != nil {
				return err
			}
		}
		if page.NextCursor == nil || *page.NextCursor == q.Get("cursor") {
			return nil
		}
		q.Set("cursor", *page.NextCursor)
	}
}

// printPages prints a collection as the one page of its API that it would be without limits.
func (r *request) printPages(path string, query url.Values) error {
	all := api.List[json.RawMessage]{Items: []json.RawMessage{}}
	err := pages(r, path, query, func(item json.RawMessage) error {
		all.Items = append(all.Items, item)
		return nil
	})
	if err != nil {
		return err
	}
	raw, err := marshalJSON(all)
	if err != nil {
		return err
	}
	return r.printJSON(raw)
}

// marshalJSON is json.Marshal with <, > and & as they are.
func marshalJSON(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	return b.Bytes(), err
}
